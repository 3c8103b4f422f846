"""Between which commits a number changed, and what to type to find the one."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from . import changes, collect, git
from .changes import Change
from .series import Kind, Point, Series

#: Counts of instructions repeat better than this; the gate's own limit is wider.
COUNTED_TOLERANCE = 0.002
#: Changes of measured values below this are not told: the difference between two days is as large. Memory repeats better.
LEAST = {"peak_rss_bytes": 0.01, "peak-rss_bytes": 0.01}
LEAST_ELSE = 0.02

#: Of these, more is better.
_MORE = frozenset({"reused_files", "reused"})
#: Of these, less is better: what was read, kept, wasted or spent.
_LESS = frozenset(
    {
        "reencoded_files", "reencoded", "reencoded_bytes", "collateral_files", "collateral", "file_bytes_read", "bytes_read",
        "uploaded_bytes", "uploaded_raw", "new_bytes", "new_chunks", "padding_bytes", "padding", "partial_chunks",
        "dead_chunks", "unreferenced_chunks", "warnings", "missed", "read_needlessly", "rejected_ranges", "index_entries",
        "kernel_bytes_untold", "stream_bytes",
        "restore_chunks", "metadata_bytes", "catalog_bytes", "instructions", "allocations", "library calls", "stored", "read",
    }
)  # fmt: skip
_LESS_ENDS = ("_ns", "rss_bytes", "_permille")


class Direction(Enum):
    WORSE = "worse"
    BETTER = "better"
    OTHER = "changed"


def direction(name: str, before: float, after: float) -> Direction:
    """By the name of the quantity; OTHER where nobody can say."""
    if name in _MORE:
        return Direction.WORSE if after < before else Direction.BETTER
    if name in _LESS or name.endswith(_LESS_ENDS):
        return Direction.WORSE if after > before else Direction.BETTER
    return Direction.OTHER


@dataclass(frozen=True)
class Culprit:
    """The change came with one of the commits behind `good`, up to and including `bad`."""

    good: str
    bad: str
    commits: tuple[git.Commit, ...] | None  # those, the oldest first; None: this repository cannot tell
    why: str = ""  # nobody is to blame, or they cannot be listed: the reason
    command: str = ""  # to find the one; "" where there is nothing to look for


@dataclass(frozen=True)
class Found:
    """One change of one series."""

    series: Series
    change: Change
    direction: Direction
    culprit: Culprit
    before: str = ""  # of digests, which are no numbers
    after: str = ""

    @property
    def first(self) -> Point:
        """Of the new level."""
        return self.series.points[self.change.at]


def changes_of(series: Series, significance: float) -> list[Change]:
    """By the kind of the series."""
    points = series.points
    match series.key.kind:
        case Kind.EXACT:
            return changes.steps([p.number for p in points])
        case Kind.COUNTED:
            return changes.steps([p.number for p in points], COUNTED_TOLERANCE)
        case Kind.DIGEST:
            return changes.steps(numbered([str(p.value) for p in points]))
        case Kind.MEASURED:
            return changes.shifts([p.number for p in points], significance=significance, least=least_of(series.key.name))


def least_of(name: str) -> float:
    """Share by which a measured value has to change before it is told."""
    return LEAST.get(name, LEAST_ELSE)


def numbered(texts: Sequence[str]) -> list[int]:
    """Equal ones have equal numbers, in the order in which they first appear, from 1."""
    known: dict[str, int] = {}
    return [known.setdefault(text, len(known) + 1) for text in texts]


class Unrelated(str):
    """Why commits cannot be listed, when no search among them is possible either."""


Names = Callable[[str, str], "tuple[git.Commit, ...] | str"]


def names(repository: git.Repository | None) -> Names:
    """Lists the commits between two, or says why it cannot."""

    def between(good: str, bad: str) -> tuple[git.Commit, ...] | str:
        if repository is None or not repository.is_there:
            return "there is no repository to ask"
        for name in (good, bad):
            if repository.commit(name) is None:
                return f"this repository does not have {name[:12]}"
        if not repository.is_ancestor(good, bad):
            return Unrelated(f"{good[:12]} is no ancestor of {bad[:12]}: the commits lie on different lines")
        return tuple(repository.between(good, bad))

    return between


def found(series: Series, significance: float, between: Names) -> list[Found]:
    """All changes of one series, the oldest first."""
    points, made = series.points, []
    for change in changes_of(series, significance):
        before, after = points[change.at - 1], points[change.at]
        is_digest = series.key.kind is Kind.DIGEST
        way = Direction.OTHER if is_digest else direction(series.key.name, change.before, change.after)
        texts = (str(before.value), str(after.value)) if is_digest else ("", "")
        made.append(Found(series, change, way, _culprit(series, change, between), *texts))
    return made


def _culprit(series: Series, change: Change, between: Names) -> Culprit:
    points = series.points
    good, bad = points[change.earliest - 1].run.commit, points[change.latest].run.commit
    if good.startswith(bad) or bad.startswith(good):
        if change.chance is None:
            return Culprit(good, bad, None, "both values are of the same commit: they do not repeat")
        return Culprit(good, bad, None, "both levels are of the same commit: it was the machine, not the program")
    subject = series.what.what.get("subject", collect.OURS)
    if subject != collect.OURS:
        return Culprit(good, bad, None, f"no commit changes {subject}: it was the machine, or another version of it")
    listed = between(good, bad)
    if isinstance(listed, Unrelated):
        return Culprit(good, bad, None, listed)
    command = command_of(series, good, bad)
    if isinstance(listed, str):
        return Culprit(good, bad, None, listed, command)
    if len(listed) == 1:
        return Culprit(good, bad, listed, "", "")
    return Culprit(good, bad, listed, "", command)


def command_of(series: Series, good: str, bad: str) -> str:
    """What finds the commit."""
    key, what = series.key, series.what.what
    options = {"source": key.source, "version": key.version}
    if key.source == "session":
        options |= {name: what.get(name, "") for name in ("dataset", "mutation", "mode", "cache")}
    # What begins with a dash would be taken for an option: ci/history writes no such line.
    if any(value.startswith("-") for value in (key.case, key.name, *options.values())):
        return ""
    words = ["ci/bisect", key.case, key.name, good[:12], bad[:12]]
    return shlex.join([*words, *(word for name, value in options.items() if value for word in (f"--{name}", value))])
