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

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import locate
from .callgrind import Count

COLUMNS = ("toolchain", "case", "name", "value")
TOOLCHAIN = "toolchain"  # the case that describes one
FUNCTION_SHARE_MIN = 0.005  # of a command's instructions: functions with less are not written down
QUANTITIES = ("instructions", "allocations", "library calls")

#: Fields of a toolchain on which counts depend: with another one nothing is compared.
DECIDING = ("machine", "compiler", "libc", "valgrind", "filesystem", "cases")
#: On which they hardly ever depend (a security update of the C library): counts that are equal all the same say so themselves,
#: and a difference is inconclusive. The remaining fields are told, no more: what those libraries execute is not counted.
DOUBTFUL = ("libc build", "dispatch")


class InstructionsBroken(ValueError):
    """The counts could not be made, or the golden file is not one."""


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


def _count_of(rows: Mapping[str, str], at: str) -> Count:
    functions = {}
    values = {}
    for name, value in rows.items():
        if name == "work":
            continue
        if not re.fullmatch(r"0|[1-9][0-9]{0,17}", value):
            raise InstructionsBroken(f"{at}: {name}: not a count: {value}")
        if name.startswith("function:"):
            functions[name.removeprefix("function:")] = int(value)
        elif name in QUANTITIES:
            values[name] = int(value)
        else:
            raise InstructionsBroken(f"{at}: unknown name: {name}")
    missing = [name for name in (*QUANTITIES, "work") if name not in rows]
    if missing:
        raise InstructionsBroken(f"{at}: no {', no '.join(missing)}")
    return Count(*(values[name] for name in QUANTITIES), functions=functions, work=rows["work"])


def parse(text: str, name: str) -> Golden:
    """`name`: of the file, for errors. InstructionsBroken."""
    lines = text.splitlines()
    history = []
    while lines and lines[0].startswith("#"):
        history.append(lines.pop(0)[1:].strip())
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error as error:
        raise InstructionsBroken(f"{name}: {error}") from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise InstructionsBroken(f"{name}: does not begin with {','.join(COLUMNS)}")
    tables: dict[str, dict[str, dict[str, str]]] = {}
    before: list[str] = []
    for number, row in enumerate(rows[1:], len(history) + 2):
        if len(row) != len(COLUMNS):
            raise InstructionsBroken(f"{name}: line {number}: {len(row)} columns instead of {len(COLUMNS)}")
        if row[:3] <= before:
            raise InstructionsBroken(f"{name}: line {number}: twice, or not sorted: {','.join(row[:3])}")
        before = row[:3]
        tables.setdefault(row[0], {}).setdefault(row[1], {})[row[2]] = row[3]
    toolchains, counts = {}, {}
    for key, cases in tables.items():
        toolchains[key] = Toolchain(cases.pop(TOOLCHAIN, {}))
        if toolchains[key].key != key:
            raise InstructionsBroken(f"{name}: {key}: the toolchain that is described has the key {toolchains[key].key}")
        counts[key] = {case: _count_of(table, f"{name}: {key} {case}") for case, table in cases.items()}
    return Golden(toolchains, counts, tuple(history))


def read(path: Path) -> Golden:
    """A file that is not there has nothing in it. InstructionsBroken, OSError."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return Golden()
    except UnicodeDecodeError as error:
        raise InstructionsBroken(f"{path}: {error}") from None


def _rows(count: Count) -> Iterable[tuple[str, str]]:
    least = count.instructions * FUNCTION_SHARE_MIN
    yield from ((f"function:{name}", str(cost)) for name, cost in count.functions.items() if cost >= least)
    yield from ((name, str(value)) for name, value in count.values.items())
    yield "work", count.work


def to_text(golden: Golden) -> str:
    rows = [(key, TOOLCHAIN, name, value) for key, one in golden.toolchains.items() for name, value in one.fields.items()]
    for key, cases in golden.counts.items():
        rows += [(key, case, name, value) for case, count in cases.items() for name, value in _rows(count)]
    out = io.StringIO()
    out.writelines(f"# {line}\n" for line in golden.history)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted(rows))
    return out.getvalue()
