"""Where in the tree the files lie that are changed.

    uniform     indices floor(i * n / k) of the n candidates sorted by path
    clustered   k files in a row, from index floor(n / 3) on
    zipf        folders in an order drawn by lot; the r-th is hit with a probability proportional to 1/r, each time its
                next file in order of path
    tail        the last k names in order of path
    recent      the k with the newest mtime; of equal ones the last names

A seed moves the start of uniform and clustered and draws another lot for zipf. Nothing depends on the machine.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction

from ..tree import Entry

LAYOUTS = ("uniform", "clustered", "zipf", "tail", "recent")


def count(n: int, rate: str) -> int:
    """k: how many of n are RATE %."""
    # Python's round() on a Fraction is exact and rounds halves to even, as round() of the reference runs did.
    return max(1, round(n * Fraction(rate) / 100))


def _zipf(ordered: Sequence[bytes], k: int, seed: int | None) -> list[bytes]:
    dice = random.Random(f"zipf {seed or 0}")
    folders: dict[bytes, list[bytes]] = {}
    for path in ordered:
        folders.setdefault(path.rpartition(b"/")[0], []).append(path)
    ranks = list(folders.values())
    dice.shuffle(ranks)
    ends = list(itertools.accumulate(1 / (r + 1) for r in range(len(ranks))))
    taken = [0] * len(ranks)
    heir = list(range(len(ranks) + 1))  # of an emptied folder: the next one, as in union-find

    def alive(rank: int) -> int:
        at = rank
        while heir[at] != at:
            at = heir[at]
        while heir[rank] != at:
            heir[rank], rank = at, heir[rank]
        return at

    chosen = []
    while len(chosen) < k:
        rank = alive(min(bisect.bisect(ends, dice.random() * ends[-1]), len(ranks) - 1))
        if rank == len(ranks):  # all behind are empty, too
            rank = alive(0)
        files = ranks[rank]
        chosen.append(files[taken[rank]])
        taken[rank] += 1
        if taken[rank] == len(files):
            heir[rank] = rank + 1
    return sorted(chosen)


def choose_k(ordered: Sequence[bytes], k: int, layout: str, seed: int | None, mtimes: Mapping[bytes, int]) -> list[bytes]:
    """k of them, in order of path. `ordered`: sorted; `mtimes` is needed by recent only."""
    n = len(ordered)
    if layout == "zipf":
        return _zipf(ordered, k, seed)
    if layout == "tail":
        return list(ordered[n - k :])
    if layout == "recent":
        newest = sorted(ordered, key=lambda p: (mtimes[p], p), reverse=True)
        return sorted(newest[:k])
    dice = None if seed is None else random.Random(seed)
    if layout == "uniform":
        shift = 0 if dice is None else dice.randrange(n)
        return [ordered[i] for i in sorted((i * n // k + shift) % n for i in range(k))]
    start = min(n // 3, n - k) if dice is None else dice.randrange(n - k + 1)
    return list(ordered[start : start + k])


def half(candidates: Mapping[bytes, Entry], size: str) -> dict[bytes, Entry]:
    """Below ("small") or from the median size on ("large"); equal sizes are told apart by path. "": all."""
    if not size or len(candidates) < 2:
        return dict(candidates)
    ranked = sorted(candidates.values(), key=lambda e: (e.size, e.path))
    middle = len(ranked) // 2
    return {e.path: e for e in (ranked[:middle] if size == "small" else ranked[middle:])}
