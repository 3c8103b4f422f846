"""Records in groups: the measured runs of a case, the cases of a dataset and a mutation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from .. import stats
from ..record import Record


@dataclass(frozen=True)
class Series:
    """The measured runs of one case, in order of rounds."""

    case: str
    label: str
    subject: str
    mode: str
    runs: tuple[Record, ...]

    @property
    def seconds(self) -> list[float]:
        return [run.seconds for run in self.runs]

    @property
    def last(self) -> Record:
        return self.runs[-1]

    @property
    def cache(self) -> str:
        return self.last.cache

    @property
    def key(self) -> tuple[str, str, str]:
        """What is compared with each other across mutations."""
        return self.subject, self.mode, self.cache

    def outcome(self, name: str) -> int | None:
        values = self.last.outcome
        return None if values is None else values.get(name)

    @cached_property
    def summary(self) -> stats.Summary:
        return _summary(tuple(self.seconds), self.last.seed)

    @property
    def archives(self) -> list[dict[str, Any]]:
        """What pxarbench said about each archive; [] of other programs."""
        raw = (self.last.outcome or {}).get("raw") or {}
        archives = raw.get("archives", [])
        return [a for a in archives if isinstance(a, dict)] if isinstance(archives, list) else []


@lru_cache(maxsize=4096)
def _summary(samples: tuple[float, ...], seed: int) -> stats.Summary:
    return stats.summary(samples, seed)


@lru_cache(maxsize=4096)
def _ratio(a: tuple[float, ...], b: tuple[float, ...], paired: bool, seed: int) -> stats.Ratio:
    return stats.median_ratio(a, b, paired=paired, seed=seed)


@lru_cache(maxsize=256)
def order(subject: str, mode: str) -> tuple[int, str, int, int, str]:
    """The programs and modes in the order in which they are registered; data first, for the ratios refer to it."""
    from ..subjects import SUBJECTS

    base = subject.partition("@")[0]
    programs = list(SUBJECTS)
    modes = list(SUBJECTS[base].modes) if base in SUBJECTS else []
    return (
        programs.index(base) if base in programs else len(programs), subject, 0 if mode == "data" else 1,
        modes.index(mode) if mode in modes else len(modes), mode,
    )  # fmt: skip


def series(records: Iterable[Record]) -> list[Series]:
    """One per case and generation; those without a single measured run that ended well are not among them."""
    grouped: dict[tuple[str, int], list[Record]] = {}
    for r in records:
        if r.phase == "measured" and r.outcome is not None:
            grouped.setdefault((r.case, r.generation), []).append(r)
    return [
        Series(case, runs[0].label, runs[0].subject, runs[0].mode, tuple(sorted(runs, key=lambda r: (r.round, r.sequence))))
        for (case, _), runs in grouped.items()
    ]


def find(group: Sequence[Series], subject: str, mode: str, cache: str = "") -> Series | None:
    return next((s for s in group if (s.subject, s.mode) == (subject, mode) and cache in ("", s.cache)), None)


def ratio(a: Series, b: Series, seed: int) -> stats.Ratio:
    paired = [r.round for r in a.runs] == [r.round for r in b.runs]
    return _ratio(tuple(a.seconds), tuple(b.seconds), paired, seed)


def ordered(group: Iterable[Series]) -> list[Series]:
    return sorted(group, key=lambda s: (s.cache != "warm", order(s.subject, s.mode)))


def labels(records: Sequence[Record]) -> dict[tuple[str, str, str], str]:
    """(subject, mode, cache) -> its name in this report, in order; the cache state is named where there are several."""
    keys = {(r.subject, r.mode, r.cache): r.label for r in records}
    several = len({cache for _, _, cache in keys}) > 1
    found = sorted(keys, key=lambda k: (k[2] != "warm", order(k[0], k[1])))
    return {key: f"{keys[key]}, {key[2]}" if several else keys[key] for key in found}


@dataclass(frozen=True)
class Block:
    """One dataset with one mutation (of one generation of a chain)."""

    dataset: str
    mutation: str
    generation: int
    records: tuple[Record, ...]

    @cached_property
    def group(self) -> list[Series]:
        return ordered(series(self.records))

    @property
    def name(self) -> str:
        return f"{self.mutation}, generation {self.generation}" if self.generation else self.mutation

    @cached_property
    def measured(self) -> Record | None:
        """A run after the mutation: warm-ups and references come before it and do not know its files."""
        after = (r for r in self.records if r.phase in ("measured", "proof", "discarded"))
        return next(after, None)

    def base(self, s: Series) -> Series | None:
        """What ratios refer to."""
        return find(self.group, "pxarbench", "data", s.cache)


def blocks(records: Iterable[Record]) -> list[Block]:
    """In order of first appearance."""
    grouped: dict[tuple[str, str, int], list[Record]] = {}
    for r in records:
        grouped.setdefault((r.dataset["name"], r.mutation["text"], r.generation), []).append(r)
    return [Block(*key, tuple(runs)) for key, runs in grouped.items()]


def datasets(found: Iterable[Block]) -> dict[str, list[Block]]:
    grouped: dict[str, list[Block]] = {}
    for block in found:
        grouped.setdefault(block.dataset, []).append(block)
    return grouped
