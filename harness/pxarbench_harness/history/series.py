"""From lines to series: the values of one quantity, in the order of the commits they were measured at. Pure but for the order.

What may stand in one series is decided here and nowhere else: values of one branch, one machine, one version of the benchmark.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from . import git
from .line import Case, Measured, Run


class Kind(Enum):
    EXACT = "exact"
    DIGEST = "digest"
    COUNTED = "counted"
    MEASURED = "measured"


@dataclass(frozen=True)
class Key:
    """Values are compared with each other when all of this is equal."""

    branch: str
    machine: str  # "" for exact values that were asked for across machines
    source: str
    case: str
    version: str
    kind: Kind
    name: str


@dataclass(frozen=True)
class Point:
    run: Run
    value: float | str
    measured: Measured | None = None

    @property
    def number(self) -> float:
        assert not isinstance(self.value, str)
        return self.value


@dataclass(frozen=True)
class Series:
    key: Key
    what: Case  # of the newest run: what it takes to measure it again
    machine_text: str
    points: tuple[Point, ...]  # in the order of commits

    @property
    def commits(self) -> int:
        return len({point.run.commit for point in self.points})


@dataclass(frozen=True)
class Choice:
    """Which of the runs are looked at; patterns as of a shell, "*" for all."""

    branch: str | None = None  # None: all, each by itself
    machine: str | None = None
    case: str = "*"
    name: str = "*"
    with_changed: bool = False  # runs with changes that are not committed
    across_machines: bool = False  # exact values of all machines in one series
    last: int = 240  # of each series


@dataclass(frozen=True)
class Ordered:
    runs: tuple[Run, ...]
    by: str  # in words
    notes: tuple[str, ...] = ()  # what was left out, and why


def ordered(runs: Iterable[Run], choice: Choice, repository: git.Repository | None) -> Ordered:
    """Ancestors first where this repository knows all the commits; else by the time of the commit, or of the run."""
    chosen: list[Run] = []
    out: dict[str, int] = {}

    def leave(reason: str) -> None:
        out[reason] = out.get(reason, 0) + 1

    for run in runs:
        if choice.branch is not None and run.branch != choice.branch:
            leave("of other branches")
        elif choice.machine is not None and run.machine != choice.machine:
            leave("of other machines")
        elif not run.commit:
            leave("of unknown commits")
        elif run.is_changed and not choice.with_changed:
            leave("with changes that were not committed")
        else:
            chosen.append(run)
    notes = tuple(f"left out: {count} run{'s' if count > 1 else ''} {reason}" for reason, count in out.items())
    places: dict[str, int] = {}
    if repository is not None and repository.is_there:
        places = repository.places(sorted({run.commit for run in chosen}))
    unknown = sorted({run.commit for run in chosen} - places.keys())
    if chosen and not unknown:
        chosen.sort(key=lambda run: (places[run.commit], run.started, run.id))
        return Ordered(tuple(chosen), "order of the commits", notes)
    chosen.sort(key=lambda run: (run.committed or run.started, run.commit, run.started, run.id))
    if unknown and repository is not None:
        why = f"this repository does not have {unknown[0][:12]}" + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else "")
        notes = (*notes, f"ordered by the time of the commits: {why}")
    return Ordered(tuple(chosen), "time of the commits", notes)


def _values(case: Case) -> Iterable[tuple[Kind, str, float | str, Measured | None]]:
    for name, count in case.exact.items():
        yield Kind.EXACT, name, count, None
    for name, digest in case.digests.items():
        yield Kind.DIGEST, name, digest, None
    for name, count in case.counted.items():
        yield Kind.COUNTED, name, count, None
    for name, measured in case.measured.items():
        if measured.value > 0:  # 0: memory or time that nobody could measure
            yield Kind.MEASURED, name, measured.value, measured


def collect(runs: Sequence[Run], choice: Choice) -> list[Series]:
    """`runs`: as ordered() left them. Series in the order of source, case, kind and name."""
    points: dict[Key, list[Point]] = {}
    last: dict[Key, tuple[Case, str]] = {}
    for run in runs:
        for case in run.cases:
            if not fnmatch.fnmatchcase(case.case, choice.case):
                continue
            for kind, name, value, measured in _values(case):
                if not fnmatch.fnmatchcase(name, choice.name):
                    continue
                everywhere = choice.across_machines and kind in (Kind.EXACT, Kind.DIGEST)
                key = Key(run.branch, "" if everywhere else run.machine, case.source, case.case, case.version, kind, name)
                points.setdefault(key, []).append(Point(run, value, measured))
                last[key] = (case, "" if everywhere else run.machine_text)
    kinds = list(Kind)
    order = sorted(points, key=lambda k: (k.branch, k.machine, k.source, k.case, kinds.index(k.kind), k.name, k.version))
    return [Series(key, *last[key], tuple(points[key][-choice.last :])) for key in order]
