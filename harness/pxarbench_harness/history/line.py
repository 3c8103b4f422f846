"""One JSON line per run: what is remembered of it when the run's own files are gone.

results/schema/history.v1.json describes the same. Lines come from files and branches that anyone may have written to: reading
is strict, bounded, and names the field that is wrong. Times in nanoseconds, sizes in bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .. import locate

SCHEMA = "pxarbench-history/1"
KINDS = ("session", "gate", "compare", "replay")
#: Where a value comes from: ci/bench, or a gate of a verdict.
SOURCES = ("session", "encodings", "counters", "instructions", "bytes", "memory", "time")

#: Bounds of what is read. A large suite writes a line of about 200 kB.
LINE_BYTES_MAX = 8 << 20
CASES_MAX, VALUES_MAX, NOTES_MAX = 20_000, 2_000, 1_000
TEXT_MAX = 1_000
INTEGER_MAX = (1 << 63) - 1

CASE_PATTERN = r"^[ -~]{1,300}$"
NAME_PATTERN = r"^[ -~]{1,200}$"
TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"
COMMIT_PATTERN = r"^([0-9a-f]{7,64})?$"
VERSION_PATTERN = r"^[ -~]{0,200}$"
ID_PATTERN = r"^[0-9a-f]{16}$"


class LineBroken(Exception):
    """A line is no run of this schema; the text names the field."""


@dataclass(frozen=True)
class Measured:
    """What differs from run to run. low, high: interval of 95 %, None where n says nothing about spread."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 1


@dataclass(frozen=True)
class Case:
    """What one run found of one case."""

    case: str  # word id
    source: str  # of SOURCES
    version: str  # of the benchmark: values of different versions are never compared; "" when the source names none
    what: Mapping[str, str] = field(default_factory=dict)  # dataset, mutation, subject, mode, cache: what ci/bench takes
    exact: Mapping[str, int] = field(default_factory=dict)  # equal wherever the same program does the same
    digests: Mapping[str, str] = field(default_factory=dict)  # likewise
    counted: Mapping[str, int] = field(default_factory=dict)  # equal but for a few in a thousand: instructions
    measured: Mapping[str, Measured] = field(default_factory=dict)  # wall_ns, user_ns, system_ns, peak_rss_bytes


@dataclass(frozen=True)
class Run:
    id: str  # hash of what it was made from: the same run is not remembered twice
    kind: str  # of KINDS
    started: str  # UTC
    commit: str  # "" when not known
    is_changed: bool  # with changes that are not committed
    committed: str  # UTC; "" when not known
    branch: str  # "" when not known
    machine: str  # fingerprint of what must be equal before times are compared; not of the program under test
    machine_text: str  # in words
    cases: tuple[Case, ...]
    gates: Mapping[str, str] = field(default_factory=dict)  # gate -> its worst level
    exit_code: int | None = None  # of the verdict, None without one
    left_out: tuple[str, ...] = ()  # why a case of the run is not among `cases`
    note: str = ""
    schema: str = SCHEMA


def _empty_left_out(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in ({}, (), [])}


def _case_values(case: Case) -> dict[str, Any]:
    measured = {name: [m.value, m.low, m.high, m.n] for name, m in case.measured.items()}
    return _empty_left_out({**vars(case), "measured": measured})


def to_json(run: Run) -> str:
    """Without line end. What is written can be read: LineBroken otherwise, e.g. for a value that is too large."""
    values = _empty_left_out({**vars(run), "cases": [_case_values(case) for case in run.cases]})
    values["cases"] = values.get("cases", [])
    try:
        text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise LineBroken(f"cannot be written: {error}") from None
    from_json(text)
    return text


@lru_cache
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((locate.results() / "schema" / "history.v1.json").read_text(encoding="utf-8"))
    return loaded


# ---- reading: by hand, for a schema validator would take minutes for what a year brings ----


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise LineBroken("a name is there twice in one object")
    return found


def _no_constant(text: str) -> None:
    raise LineBroken(f"{text} is no number")


class _Object:
    """The members of one JSON object, each taken once; what is left over in the end is an error."""

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, dict):
            raise LineBroken(f"{where or 'line'}: is no object")
        self.left, self.where = dict(values), where

    def name(self, key: str) -> str:
        return f"{self.where}/{key}" if self.where else key

    def take(self, key: str, *, default: Any = ...) -> Any:
        if key not in self.left and default is ...:
            raise LineBroken(f"{self.name(key)}: is missing")
        return self.left.pop(key, default)

    def text(self, key: str, pattern: str = "") -> str:
        value = _text(self.take(key), self.name(key))
        if pattern and re.fullmatch(pattern.strip("^$"), value) is None:
            raise LineBroken(f"{self.name(key)}: {value[:80]!r} does not match {pattern}")
        return value

    def one_of(self, key: str, names: Iterable[str]) -> str:
        value = self.take(key)
        if value not in (known := list(names)):
            raise LineBroken(f"{self.name(key)}: {str(value)[:80]!r} is none of {', '.join(known)}")
        return str(value)

    def texts(self, key: str, most: int) -> tuple[str, ...]:
        values = self.take(key, default=[])
        if not isinstance(values, list) or len(values) > most:
            raise LineBroken(f"{self.name(key)}: is no list of at most {most}")
        return tuple(_text(value, f"{self.name(key)}/{number}") for number, value in enumerate(values))

    def table(self, key: str, convert: Callable[[Any, str], Any]) -> dict[str, Any]:
        values = self.take(key, default={})
        if not isinstance(values, dict) or len(values) > VALUES_MAX:
            raise LineBroken(f"{self.name(key)}: is no object of at most {VALUES_MAX} members")
        for name in values:
            if re.fullmatch(NAME_PATTERN.strip("^$"), name) is None:
                raise LineBroken(f"{self.name(key)}: {name[:80]!r} does not match {NAME_PATTERN}")
        return {name: convert(value, f"{self.name(key)}/{name}") for name, value in values.items()}

    def end(self) -> None:
        if self.left:
            raise LineBroken(f"{self.name(next(iter(self.left))[:80])}: is not known")


def _integer(value: Any, where: str) -> int:
    # 5.0 is an integer to JSON Schema as well as to us: other writers have only one kind of number.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= INTEGER_MAX:
        raise LineBroken(f"{where}: is no integer from 0 to {INTEGER_MAX}")
    return int(value)


def _number(value: Any, where: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= INTEGER_MAX or not math.isfinite(value):
        raise LineBroken(f"{where}: is no number from 0 to {INTEGER_MAX}")
    return float(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise LineBroken(f"{where}: is no text of at most {TEXT_MAX} characters")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise LineBroken(f"{where}: holds half a character, which no file can take")
    return value


def _measured(value: Any, where: str) -> Measured:
    if not isinstance(value, list) or len(value) != 4:
        raise LineBroken(f"{where}: is no list of value, low, high, n")
    low, high = (None if end is None else _number(end, where) for end in value[1:3])
    n = _integer(value[3], where)
    if n == 0:
        raise LineBroken(f"{where}: n is 0")
    if low is not None and high is not None and low > high:
        raise LineBroken(f"{where}: low is above high")
    return Measured(_number(value[0], where), low, high, n)


def _case(values: Any, where: str) -> Case:
    one = _Object(values, where)
    case = Case(
        case=one.text("case", CASE_PATTERN),
        source=one.one_of("source", SOURCES),
        version=one.text("version", VERSION_PATTERN),
        what=one.table("what", _text),
        exact=one.table("exact", _integer),
        digests=one.table("digests", _text),
        counted=one.table("counted", _integer),
        measured=one.table("measured", _measured),
    )
    one.end()
    return case


def from_json(text: str) -> Run:
    """LineBroken names the first field that is wrong."""
    try:
        values = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise LineBroken(f"no JSON: {error}") from None
    one = _Object(values, "")
    one.one_of("schema", [SCHEMA])
    cases = one.take("cases")
    if not isinstance(cases, list) or len(cases) > CASES_MAX:
        raise LineBroken(f"cases: is no list of at most {CASES_MAX}")
    is_changed = one.take("is_changed")
    if not isinstance(is_changed, bool):
        raise LineBroken("is_changed: is neither true nor false")
    code = one.take("exit_code")
    if code is not None and _integer(code, "exit_code") > 255:
        raise LineBroken("exit_code: is above 255")
    committed = one.text("committed", rf"^({TIME_PATTERN.strip('^$')})?$")
    run = Run(
        id=one.text("id", ID_PATTERN),
        kind=one.one_of("kind", KINDS),
        started=one.text("started", TIME_PATTERN),
        commit=one.text("commit", COMMIT_PATTERN),
        is_changed=is_changed,
        committed=committed,
        branch=one.text("branch"),
        machine=one.text("machine", VERSION_PATTERN),
        machine_text=one.text("machine_text"),
        cases=tuple(_case(case, f"cases/{number}") for number, case in enumerate(cases)),
        gates=one.table("gates", _text),
        exit_code=code if code is None else int(code),
        left_out=one.texts("left_out", NOTES_MAX),
        note=one.text("note"),
    )
    one.end()
    if len({(case.case, case.source, case.version) for case in run.cases}) != len(run.cases):
        raise LineBroken("cases: one is there twice")
    return run
