"""What the gates of one job found, and the exit code that follows from it.

Written as one JSON file, verdict.json (results/schema/verdict.v1.json), by ci/gate and ci/compare alike; everything that shows
it to somebody (terminal, job summary, annotations, JUnit, history) is made from that file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from .. import locate

SCHEMA = "pxarbench-verdict/1"
KINDS = ("gate", "compare", "replay")

#: In the order in which they are shown.
GATES = ("checks", "encodings", "counters", "instructions", "bytes", "memory", "time", "required")

EXIT_OK, EXIT_ERROR, EXIT_REGRESSION, EXIT_WARNINGS, EXIT_INCONCLUSIVE = range(5)


class VerdictBroken(Exception):
    """A file is no verdict of this schema; the text names file and field."""


class Level(Enum):
    """What one comparison says, the worst last."""

    OK = "ok"
    IMPROVED = "improved"  # of measured things only: an exact number that differs is a regression until it is blessed
    WARNING = "warning"
    INCONCLUSIVE = "inconclusive"  # cannot be told: too noisy, another machine, another version of the benchmark
    REGRESSION = "regression"
    ERROR = "error"  # the tool did not do its work: a case that did not run, a build that failed

    @property
    def is_bad(self) -> bool:
        return self not in (Level.OK, Level.IMPROVED)


@dataclass(frozen=True)
class Finding:
    """One comparison. Equal ones are found too: a gate that compared nothing must not look like one that found nothing."""

    gate: str  # of GATES
    case: str  # word id, as in records; for encodings the tree and mode
    name: str  # of the counter, stream or quantity; "" when the case as a whole is meant
    level: Level
    text: str  # one sentence for people, without the case
    base: int | float | str | None = None  # None: was not there
    head: int | float | str | None = None
    unit: str = ""  # "ns", "bytes", "instructions", "sha256"; "" for plain counts
    details: tuple[str, ...] = ()  # lines: entry and field, hex windows, what else was tried
    # Of measured quantities only, else None. All are shares of the base: 0.03 is 3 % more than it.
    change: float | None = None  # median of the paired ratios, less 1
    low: float | None = None  # interval of 95 %
    high: float | None = None
    detectable: float | None = None  # the least change that this many rounds of this noise would have shown
    limit: float | None = None
    rounds: int | None = None
    line: int | None = None  # of the golden file, where `base` stands

    def __post_init__(self) -> None:
        """No number is what is no number: it is neither more nor less than any limit, and would pass for "as before"."""
        for name in ("base", "head", "change", "low", "high", "detectable", "limit"):
            number = getattr(self, name)
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{self.gate} {self.case} {self.name}: {name} is {number}")


@dataclass(frozen=True)
class Verdict:
    kind: str  # of KINDS
    started: str  # UTC, ISO 8601
    base: str  # "golden", or a revision or build in words
    head: str
    head_commit: str  # "" when not known; "+" at its end: with changes that are not committed
    host_fingerprint: str
    findings: tuple[Finding, ...]
    executed: tuple[str, ...]  # cases, sorted
    required: tuple[str, ...] = ()
    host: Mapping[str, Any] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)  # rounds, seed, limits: what it takes to do it again
    schema: str = SCHEMA

    @property
    def missing(self) -> tuple[str, ...]:
        """Required cases that did not run. A skip is not a pass."""
        there = set(self.executed)
        return tuple(case for case in self.required if case not in there)

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        absent = [Finding("required", case, "", Level.ERROR, "is required, and did not run") for case in self.missing]
        if not self.executed:
            absent.append(Finding("required", "", "", Level.ERROR, "nothing ran"))
        return (*self.findings, *absent)

    def at(self, *levels: Level) -> list[Finding]:
        return [f for f in self.all_findings if f.level in levels]

    def level_of(self, gate: str) -> Level | None:
        """The worst of one gate. None: it compared nothing."""
        return worst(f.level for f in self.all_findings if f.gate == gate)

    def exit_code(self, *, warnings_fail: bool = False) -> int:
        """Trouble of the tool comes first: what a half job found is not to be trusted in either direction."""
        level = worst(f.level for f in self.all_findings)
        if level is Level.ERROR or level is None:
            return EXIT_ERROR
        if level is Level.REGRESSION:
            return EXIT_REGRESSION
        if warnings_fail and self.at(Level.WARNING):
            return EXIT_WARNINGS
        return EXIT_INCONCLUSIVE if level is Level.INCONCLUSIVE else EXIT_OK


def worst(levels: Iterable[Level]) -> Level | None:
    order = list(Level)
    return max(levels, key=order.index, default=None)


def exact(
    gate: str, case: str, values: Sequence[tuple[str, int | str | None, int | str | None]], unit: str = ""
) -> list[Finding]:
    """Of (name, base, head): equal or a regression. A name that only one side has is a regression as well."""
    found = []
    for name, base, head in values:
        same = base == head and type(base) is type(head)
        text = "as before" if same else f"was {_said(base)}, is {_said(head)}"
        found.append(Finding(gate, case, name, Level.OK if same else Level.REGRESSION, text, base, head, unit))
    return found


def _said(value: int | str | None) -> str:
    return "not there" if value is None else f"{value:,}" if isinstance(value, int) else value


# ---- the file ----


@lru_cache
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((locate.results() / "schema" / "verdict.v1.json").read_text())
    return loaded


def to_json(verdict: Verdict) -> str:
    values = asdict(verdict)
    for finding in values["findings"]:
        finding["level"] = finding["level"].value
        if finding["line"] is None:
            del finding["line"]
    return json.dumps(values, sort_keys=True, indent=1, allow_nan=False) + "\n"


#: Of a number in a file: 64 bits and a sign.
DIGITS_MAX = 20


def _integer(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def from_json(text: str) -> Verdict:
    """VerdictBroken names the first field that is wrong."""
    import jsonschema

    try:
        values = json.loads(text, parse_int=_integer, parse_float=_real, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise VerdictBroken(f"no JSON: {error}") from None
    validator = jsonschema.validators.validator_for(schema())(schema())
    wrong = jsonschema.exceptions.best_match(validator.iter_errors(values))
    if wrong is not None:
        raise VerdictBroken(f"{'/'.join(map(str, wrong.absolute_path)) or 'verdict'}: {wrong.message}")
    findings = tuple(
        Finding(**{**one, "level": Level(one["level"]), "details": tuple(one["details"])}) for one in values["findings"]
    )
    lists = {name: tuple(values[name]) for name in ("executed", "required")}
    return Verdict(**{f.name: values[f.name] for f in fields(Verdict)} | lists | {"findings": findings})


def write(path: Path, verdict: Verdict) -> None:
    """As a whole or not at all."""
    from .golden import write_whole  # what only reads verdicts needs nothing of it

    write_whole(path, to_json(verdict))


def read(path: Path) -> Verdict:
    """OSError, VerdictBroken."""
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (VerdictBroken, UnicodeDecodeError) as error:
        raise VerdictBroken(f"{path}: {error}") from None
