"""CSV (RFC 4180, UTF-8): of a session a row per measured run, of a verdict a row per finding.

Units are those of the columns' names; an empty cell is a number that is not known.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from ..gates.verdict import Finding, Verdict
from ..report.model import plain
from .series import QUANTITIES, Export, Quantity

_CASE = (
    "session", "commit", "host", "case", "version", "dataset", "mutation", "subject", "mode", "cache", "scenario", "generation",
    "round", "position", "started",
)  # fmt: skip


def column(quantity: Quantity) -> str:
    unit = {"bytes/s": "bytes_per_second"}.get(quantity.unit, quantity.unit)
    return quantity.name if quantity.name.endswith(unit) else f"{quantity.name}_{unit}"


def _harmless(cell: object) -> object:
    """A spreadsheet runs text that begins with one of these; names of files and what programs said get into cells."""
    if not isinstance(cell, str):
        return "" if cell is None else cell
    text = plain(cell)
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


def _written(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return out.getvalue()


def render(export: Export) -> Mapping[str, str]:
    rows = [
        (run.session, run.commit, run.host_fingerprint, run.case, series.version, run.dataset["name"], run.mutation["text"],
         run.subject, run.mode, run.cache, run.scenario, run.generation, run.round, run.position, run.started,
         *(quantity.of(run) for quantity in QUANTITIES))
        for series in export.series for run in series.runs
    ]  # fmt: skip
    return {"": _written((*_CASE, *map(column, QUANTITIES)), rows)}


_FINDING = (
    "gate", "case", "name", "level", "text", "base", "head", "unit", "change", "low", "high", "detectable", "limit", "rounds",
)  # fmt: skip


def findings(verdict: Verdict) -> Mapping[str, str]:
    def row(finding: Finding) -> list[object]:
        return [finding.level.value if name == "level" else getattr(finding, name) for name in _FINDING]

    return {"": _written(_FINDING, map(row, verdict.all_findings))}
