"""One JSON line per run: the canonical record, from which every report is made.

The fields are those of results/schema/result.v1.json; harness/README.md explains them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import locate

SCHEMA = "pxarbench-result/1"
PHASES = ("reference", "warm-up", "measured", "proof", "discarded")


class RecordBroken(Exception):
    """A line is no record of this schema; the text names file, line and field."""


@dataclass(frozen=True)
class Record:
    session: str
    sequence: int  # of the session, from 1
    started: str  # UTC
    case: str
    dataset: Mapping[str, Any]
    mutation: Mapping[str, Any]
    subject: str
    mode: str
    cache: str
    phase: str
    round: int  # 1.. of measured runs, else 0
    position: int  # within the round, from 1: rounds are shuffled
    command: tuple[str, ...]
    settings: Mapping[str, str]
    exit_code: int
    wall_ns: int
    user_ns: int
    system_ns: int
    peak_rss_bytes: int
    io: Mapping[str, int]  # what the kernel counted: rchar, wchar, syscr, syscw, read_bytes, write_bytes; {}: not known
    syscalls: Mapping[str, int] | None  # of a proof run: "total", and by name where strace is there; else None
    resident: float | None  # share of the tree's bytes in the page cache just before the run; None: not measured
    store_bytes: int | None  # all files of the store after the run; None: it failed
    store_added_bytes: int | None  # of these, what was not there before the run
    necessary_bytes: int  # of files whose contents changed since the reference (all, when there is none)
    verdict: Mapping[str, int] | None  # of a proof run, of files: see harness/README.md; else None
    outcome: Mapping[str, Any] | None  # None: the run failed
    problems: tuple[str, ...]  # what the checks found
    restored: bool  # this run's snapshot was restored and compared
    suite: str  # "" outside of a suite
    scenario: str  # "S4"; "" outside of a scenario
    generation: int  # of a chain of mutations: 1..; else 0
    attempt: int  # 1; higher in a session that was interrupted and taken up again
    seed: int
    load_average: float
    commit: str
    host_fingerprint: str
    host: Mapping[str, Any] = field(repr=False)
    schema: str = SCHEMA

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and not self.problems

    @property
    def label(self) -> str:
        """Subject and mode as reports show them."""
        return self.mode if self.subject == "pxarbench" else f"{self.subject} {self.mode}"

    @property
    def seconds(self) -> float:
        return self.wall_ns / 1e9


def to_json(record: Record) -> str:
    return json.dumps(asdict(record), sort_keys=True)


def from_json(line: str) -> Record:
    values = json.loads(line)
    values["command"] = tuple(values["command"])
    values["problems"] = tuple(values["problems"])
    return Record(**{f.name: values[f.name] for f in fields(Record)})


@lru_cache
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((locate.results() / "schema" / "result.v1.json").read_text())
    return loaded


@lru_cache
def _validator() -> Any:
    """Made once: checking the schema itself takes longer than checking a record."""
    import jsonschema

    return jsonschema.validators.validator_for(schema())(schema())


def validate(line: str) -> None:
    """RecordBroken names the first field that is wrong."""
    import jsonschema

    error = jsonschema.exceptions.best_match(_validator().iter_errors(json.loads(line)))
    if error is not None:
        raise RecordBroken(f"{'/'.join(map(str, error.absolute_path)) or 'record'}: {error.message}")


def append(path: Path, records: Iterable[Record]) -> None:
    with open(path, "a", encoding="utf-8") as out:
        for record in records:
            out.write(to_json(record) + "\n")


def read(path: Path) -> Iterator[Record]:
    with open(path, "rb") as lines:
        for number, encoded in enumerate(lines, 1):
            try:
                line = encoded.decode()
                validate(line)
                yield from_json(line)
            except (ValueError, KeyError, TypeError, RecursionError, RecordBroken) as error:
                raise RecordBroken(f"{path}: line {number}: {error}") from None
