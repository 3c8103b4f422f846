"""The golden file of instruction counts, results/golden/instructions.csv: reading it strictly, writing it.

    toolchain,case,name,value
    0123456789ab,backup-data-first,allocations,3120
    0123456789ab,backup-data-first,function:node_read,77685
    0123456789ab,backup-data-first,instructions,9876543
    0123456789ab,backup-data-first,work,"entries 600+28, ..."
    0123456789ab,toolchain,compiler,GNU C17 12.2.0 -O2 ...

The key of a toolchain is a hash of what decides counts; its other fields are told with differences. What is blessed when,
and what is compared with what: instructions.py.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import locate
from .callgrind import Count
from .golden import GoldenBroken, table, table_text, text_of

COLUMNS = ("toolchain", "case", "name", "value")
TOOLCHAIN = "toolchain"  # the case that describes one
FUNCTION_SHARE_MIN = 0.005  # of a command's instructions: functions with less are not written down
QUANTITIES = ("instructions", "allocations", "library calls")

#: Fields of a toolchain on which counts depend: with another one nothing is compared.
DECIDING = ("machine", "compiler", "libc", "valgrind", "filesystem", "cases")
#: On which they hardly ever depend (a security update of the C library): counts that are equal all the same say so themselves,
#: and a difference is inconclusive. The remaining fields are told, no more: what those libraries execute is not counted.
DOUBTFUL = ("libc build", "dispatch")


def golden_path() -> Path:
    return locate.results() / "golden" / "instructions.csv"


@dataclass(frozen=True)
class Toolchain:
    fields: Mapping[str, str]

    @property
    def key(self) -> str:
        deciding = json.dumps([self.fields.get(name, "") for name in DECIDING])
        return hashlib.sha256(deciding.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Golden:
    toolchains: Mapping[str, Toolchain] = field(default_factory=dict)  # key ->
    counts: Mapping[str, Mapping[str, Count]] = field(default_factory=dict)  # key -> case ->
    history: tuple[str, ...] = ()
    #: Of the file, for who wants to look: (key, case, name) -> line.
    lines: Mapping[tuple[str, str, str], int] = field(default_factory=dict, compare=False, repr=False)


def _count_of(rows: Mapping[str, str], at: str) -> Count:
    functions = {}
    values = {}
    for name, value in rows.items():
        if name == "work":
            continue
        if not re.fullmatch(r"0|[1-9][0-9]{0,17}", value):
            raise GoldenBroken(f"{at}: {name}: not a count: {value}")
        if name.startswith("function:"):
            functions[name.removeprefix("function:")] = int(value)
        elif name in QUANTITIES:
            values[name] = int(value)
        else:
            raise GoldenBroken(f"{at}: unknown name: {name}")
    missing = [name for name in (*QUANTITIES, "work") if name not in rows]
    if missing:
        raise GoldenBroken(f"{at}: no {', no '.join(missing)}")
    return Count(*(values[name] for name in QUANTITIES), functions=functions, work=rows["work"])


def parse(text: str, name: str) -> Golden:
    """`name`: of the file, for errors. GoldenBroken."""
    read = table(text, name, COLUMNS, lambda row: row[:3])
    tables: dict[str, dict[str, dict[str, str]]] = {}
    lines = {}
    for number, (key, case, what, value) in read.rows:
        tables.setdefault(key, {}).setdefault(case, {})[what] = value
        lines[key, case, what] = number
    toolchains, counts = {}, {}
    for key, cases in tables.items():
        toolchains[key] = Toolchain(cases.pop(TOOLCHAIN, {}))
        if toolchains[key].key != key:
            raise GoldenBroken(f"{name}: {key}: the toolchain that is described has the key {toolchains[key].key}")
        counts[key] = {case: _count_of(rows, f"{name}: {key} {case}") for case, rows in cases.items()}
    return Golden(toolchains, counts, read.history, lines)


def read(path: Path) -> Golden:
    """A file that is not there has nothing in it. GoldenBroken, OSError."""
    text = text_of(path)
    return Golden() if text is None else parse(text, str(path))


def _rows(count: Count) -> Iterable[tuple[str, str]]:
    least = count.instructions * FUNCTION_SHARE_MIN
    yield from ((f"function:{name}", str(cost)) for name, cost in count.functions.items() if cost >= least)
    yield from ((name, str(value)) for name, value in count.values.items())
    yield "work", count.work


def to_text(golden: Golden) -> str:
    rows = [(key, TOOLCHAIN, name, value) for key, one in golden.toolchains.items() for name, value in one.fields.items()]
    for key, cases in golden.counts.items():
        rows += [(key, case, name, value) for case, count in cases.items() for name, value in _rows(count)]
    return table_text(golden.history, COLUMNS, sorted(rows))
