"""What the reference client said in its runs over the Linux tree, and what a simulation expects of the profile `stored`.

Pure: text in, figures out. The runs themselves are vectors (reference-runs/, see locate.vectors()); the table of the
simulation stands in bench/spec/reuse-stored.md 3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

RUNS = Path("reference-runs") / "linux-6.1.192-cliff.json"

UNITS = {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40, "PiB": 50}

_H = r"(\d+(?:\.\d+)? (?:B|KiB|MiB|GiB|TiB|PiB))"
_SUMMARY = (
    (re.compile(r" - (\d+) total files \((\d+) hardlinks\)"), ("total files", "hardlinks")),
    (re.compile(rf" - (\d+) unchanged, reusable files with {_H} data"), ("reused files", "reused bytes")),
    (re.compile(rf" - (\d+) changed or non-reusable files with {_H} data"), ("re-encoded files", "re-encoded bytes")),
    (re.compile(rf" - {_H} padding in (\d+) partially reused chunks"), ("padding", "partial chunks")),
)
_STREAM = (
    (
        re.compile(rf"\S+\.([mp]pxar): reused {_H} from previous snapshot for unchanged files \((\d+) chunks\)"),
        ("injected bytes", "injected chunks"),
    ),
    (
        re.compile(rf"\S+\.([mp]pxar): had to backup {_H} of {_H} \(compressed {_H}\) in .*"),
        ("not reused", "size", "compressed"),
    ),
    (
        re.compile(rf"\S+\.([mp]pxar): backup was done incrementally, reused {_H} \((\d+\.\d)%\)"),
        ("incremental", "incremental %"),
    ),
)
_DURATION = re.compile(r"Duration: (\d+\.\d+)s")

#: Depends on the compressor's version, not on what is reused.
COMPRESSED = ("mpxar compressed", "ppxar compressed")


@dataclass(frozen=True)
class Figure:
    """A number as it was printed: two of them are equal when their texts are."""

    text: str

    @property
    def value(self) -> float:
        number, _, unit = self.text.partition(" ")
        return float(number) * (1 << UNITS[unit]) if unit else float(number)

    def difference(self, other: Figure) -> float:
        """Relative to `other`, 0 when both print the same."""
        if self.text == other.text:
            return 0.0
        return (self.value - other.value) / other.value if other.value else float("inf")


def parse_lines(lines: Iterable[str]) -> dict[str, Figure]:
    """Figures by name, of the lines of change-detection.md 12 among `lines`; others are passed over."""
    found: dict[str, Figure] = {}
    for line in lines:
        for pattern, names in _SUMMARY:
            if match := pattern.fullmatch(line):
                found.update({name: Figure(text) for name, text in zip(names, match.groups(), strict=True)})
        for pattern, names in _STREAM:
            if match := pattern.fullmatch(line):
                stream, *texts = match.groups()
                found.update({f"{stream} {name}": Figure(text) for name, text in zip(names, texts, strict=True)})
    return found


def duration(lines: Iterable[str]) -> float | None:
    for line in lines:
        if match := _DURATION.fullmatch(line):
            return float(match[1])
    return None


@dataclass(frozen=True)
class Case:
    """Which files are changed. `rate` in percent, as it is written."""

    layout: str
    rate: str

    @property
    def name(self) -> str:
        return f"{self.layout} {self.rate} %"

    @property
    def mutation(self) -> str:
        return f"edit:{self.rate}%:{self.layout}"


@dataclass(frozen=True)
class ReferenceRun:
    case: Case
    files: int
    touched: int
    lines: tuple[str, ...]

    @property
    def figures(self) -> dict[str, Figure]:
        return parse_lines(self.lines)


def load(path: Path) -> list[ReferenceRun]:
    """ValueError when a run failed, or when its lines are not those of change-detection.md 12."""
    runs = []
    for item in json.loads(path.read_text()):
        case = Case(str(item["layout"]), f"{item['rate']:g}")
        if item["rc"] != 0:
            raise ValueError(f"{path}: {case.name}: the reference's run failed")
        run = ReferenceRun(case, int(item["files"]), int(item["touched"]), tuple(item["summary"]))
        missing = {"total files", "reused bytes", "re-encoded bytes", "padding", "ppxar not reused"} - run.figures.keys()
        if missing:
            raise ValueError(f"{path}: {case.name}: no line tells {', '.join(sorted(missing))}")
        runs.append(run)
    return runs


@dataclass(frozen=True)
class Difference:
    name: str
    ours: str
    reference: str
    relative: float


def differences(ours: Mapping[str, Figure], reference: Mapping[str, Figure]) -> list[Difference]:
    """What is not printed alike, in the reference's order; a figure that one of them lacks counts as infinitely far."""
    found = []
    for name in [*reference, *(n for n in ours if n not in reference)]:
        a, b = ours.get(name), reference.get(name)
        if a is None or b is None:
            found.append(Difference(name, a.text if a else "none", b.text if b else "none", float("inf")))
        elif a.text != b.text:
            found.append(Difference(name, a.text, b.text, a.difference(b)))
    return found


@dataclass(frozen=True)
class Simulated:
    """A row of reuse-stored.md 3, as printed there. Shares in percent of the bytes of all files with their headers."""

    reread: str
    stored_waste: str
    index_entries: int
    small_chunks: int


SIMULATED = {
    Case("uniform", "0.2"): Simulated("0.3", "0.11", 1_121, 157),
    Case("uniform", "0.5"): Simulated("0.8", "0.30", 1_340, 392),
    Case("uniform", "1"): Simulated("1.4", "0.57", 1_713, 782),
    Case("uniform", "2"): Simulated("3.4", "1.14", 2_447, 1_551),
    Case("uniform", "5"): Simulated("11.7", "2.5", 4_427, 3_695),
    Case("uniform", "10"): Simulated("38", "2.5", 4_743, 4_434),
}

#: Index entries of the first generation in reuse-stored.md 4: 8 instances, absorbing, edits at random.
SIMULATED_FIRST_GENERATION = {Case("uniform", "0.2"): 1_248, Case("uniform", "1"): 2_411, Case("uniform", "5"): 4_750}


def as_printed(value: float, printed: str) -> bool:
    """Whether `value` reads `printed` at the precision of that."""
    return f"{value:.{len(printed.partition('.')[2])}f}" == printed
