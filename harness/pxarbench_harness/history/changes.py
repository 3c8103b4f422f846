"""Where a series of numbers changes its level. Pure, seeded.

Two kinds of series, two ways:

- `steps`: of exact numbers, and of counts that repeat but for a few in a thousand. A number that is not within `tolerance` of
  its level begins a new one. The level is that of the first number behind the step, so that many small ones add up to a step.
- `shifts`: of measured numbers, E-divisive: of all places, the one at which the two halves differ most by their energy
  distance (all differences between two numbers of different halves, less those within each), and a permutation test that
  says how often chance alone does as well; then the same within either half. D. Matteson and N. James, A nonparametric
  approach for multiple change point analysis of multivariate data, 2014. It assumes nothing about how the noise is
  distributed, but that it comes in no order: a machine that is slow for an hour looks like a change that was taken back.

A library would be `ruptures`, which Debian 12 does not have; the method is short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy

#: A level lasts at least so many runs: one outlier, or two, are none.
RUNS_MIN = 3
#: Of the chance that any of the series that are looked at together shows a change although there is none.
FAMILY_SIGNIFICANCE = 0.05
PERMUTATIONS_MAX = 19_999
#: A test ends early when chance was as good so often (Besag and Clifford, 1991): series without a change cost next to nothing.
_ENOUGH = 20
#: What it then says of a chance is wrong by a fifth or so.
_SURE = 0.6
#: And when it was never as good, although that often would be expected at the level of the test: by chance once in a million.
_NONE = 14
#: Orders that are tried at once, and numbers of a table for them: what fits into a processor's cache.
_BATCH, _BATCH_NUMBERS = 100, 100_000
#: Of a series only the last so many runs are looked at: the work grows with the square.
RUNS_MAX = 500
_LOCATIONS = 199


@dataclass(frozen=True)
class Change:
    """The first number of the new level is values[at]; with 95 % it is one of values[earliest .. latest]."""

    at: int
    earliest: int
    latest: int
    before: float  # level: median of the numbers from the change before up to this one
    after: float
    chance: float | None = None  # that noise alone does as well, of one series; None: exact

    @property
    def change(self) -> float | None:
        """Share of the level before; None: that was 0."""
        return None if self.before == 0 else self.after / self.before - 1


def steps(values: Sequence[float], tolerance: float = 0.0) -> list[Change]:
    """`tolerance`: share of the level."""
    found: list[Change] = []
    begin = 0
    for i in range(1, len(values)):
        if abs(values[i] - values[begin]) > tolerance * abs(values[begin]):
            found.append(Change(i, i, i, float(values[i - 1]), float(values[i])))
            begin = i
    return found


def significance(series: int) -> float:
    """Of one test when so many series are looked at together (Bonferroni); not less than the permutations can show."""
    return max(FAMILY_SIGNIFICANCE / max(1, series), 2 / (PERMUTATIONS_MAX + 1))


def runs_needed(significance: float) -> int:
    """Runs of which a change in the middle is beyond chance: two of all ways to divide them look like it."""
    count = 2 * RUNS_MIN
    while 2 / math.comb(count, count // 2) > _SURE * significance:
        count += 1
    return count


def shifts(
    values: Sequence[float], *, significance: float = FAMILY_SIGNIFICANCE, least: float = 0.0, runs_min: int = RUNS_MIN,
    seed: int = 1,
) -> list[Change]:  # fmt: skip
    """Of numbers above 0, in order; of more than RUNS_MAX the last ones. Changes of less than `least` (a share) are left out.

    ValueError: one is not above 0.
    """
    if len(values) > RUNS_MAX:
        skipped = len(values) - RUNS_MAX
        found = shifts(values[skipped:], significance=significance, least=least, runs_min=runs_min, seed=seed)
        return [replace(c, at=c.at + skipped, earliest=c.earliest + skipped, latest=c.latest + skipped) for c in found]
    if any(not math.isfinite(v) or v <= 0 for v in values):
        raise ValueError("only numbers above 0 can be compared by their ratio")
    # Logarithms: what matters is by how much more or less, and one slow run must not weigh more than a fast one.
    logs = numpy.log(numpy.asarray(values, dtype=float))
    generator = numpy.random.default_rng(seed)
    places: dict[int, float] = {}
    _divide(logs, 0, len(logs), significance, runs_min, generator, places)
    _drop_small(logs, places, least)
    ordered = sorted(places)
    ends = [0, *ordered, len(logs)]
    found = []
    for number, at in enumerate(ordered, 1):
        left, right = ends[number - 1], ends[number + 1]
        earliest, latest = _located(logs[left:right], at - left, runs_min, generator)
        before, after = numpy.median(logs[left:at]), numpy.median(logs[at:right])
        found.append(Change(at, left + earliest, left + latest, math.exp(before), math.exp(after), places[at]))
    return found


def _divide(
    logs: Any, begin: int, end: int, significance: float, runs_min: int, generator: Any, places: dict[int, float]
) -> None:
    part = logs[begin:end]
    if len(part) < 2 * runs_min or part.min() == part.max():
        return
    best = _energies(part[None], runs_min)[0]
    chance = _chance(part, float(best.max()), significance, runs_min, generator)
    if chance > significance:
        return
    at = begin + runs_min + int(best.argmax())
    places[at] = chance
    _divide(logs, begin, at, significance, runs_min, generator, places)
    _divide(logs, at, end, significance, runs_min, generator, places)


def _energies(rows: Any, runs_min: int) -> Any:
    """Of each row of numbers, and each place from runs_min to n - runs_min: n m / (n + m) times the energy distance."""
    n = rows.shape[1]
    distances = numpy.abs(rows[:, :, None] - rows[:, None, :])
    ones = numpy.ones(n)
    to_all = (distances @ ones).cumsum(axis=1)
    distances *= numpy.tri(n, k=-1)
    to_earlier = (distances @ ones).cumsum(axis=1)
    at = numpy.arange(runs_min, n - runs_min + 1)
    # Each pair counts twice, and none with itself does: sums over i != j.
    left = 2 * to_earlier[:, at - 1]  # within the first `at`
    across = to_all[:, at - 1] - left
    right = to_all[:, -1:] - left - 2 * across
    m = n - at
    between = 2 * across / (at * m)
    within = left / (at * (at - 1)) + right / (m * (m - 1))
    return at * m / n * (between - within)


def _chance(part: Any, observed: float, significance: float, runs_min: int, generator: Any) -> float:
    """Estimate of how often an order by chance has a place that is as good."""
    n = len(part)
    most = min(PERMUTATIONS_MAX, max(999, math.ceil(2 * _ENOUGH / significance) - 1))
    done = as_good = 0
    # Rounding must not make an equal one look smaller.
    enough = observed - 1e-9 * abs(observed)
    batch = max(1, min(_BATCH, _BATCH_NUMBERS // (n * n)))
    while done < most:
        count = min(batch, most - done)
        orders = numpy.argsort(generator.random((count, n)), axis=1)
        as_good += int((_energies(part[orders], runs_min).max(axis=1) >= enough).sum())
        done += count
        if as_good >= _ENOUGH or (as_good == 0 and done * significance >= _NONE):
            break
    return (as_good + 1) / (done + 1)


def _drop_small(logs: Any, places: dict[int, float], least: float) -> None:
    """The smallest first: what is left over is measured anew when its neighbour is gone."""
    while places:
        ordered = sorted(places)
        ends = [0, *ordered, len(logs)]
        sizes = {
            at: abs(math.expm1(numpy.median(logs[at : ends[i + 1]]) - numpy.median(logs[ends[i - 1] : at])))
            for i, at in enumerate(ordered, 1)
        }
        smallest = min(ordered, key=lambda at: sizes[at])
        if sizes[smallest] >= least and sizes[smallest] > 0:
            return
        del places[smallest]


def _located(part: Any, at: int, runs_min: int, generator: Any) -> tuple[int, int]:
    """Between which places it lies with 95 %: both halves drawn anew from themselves, and the best place looked for again."""
    if len(part) < 2 * runs_min:
        return at, at
    draws = numpy.concatenate(
        [
            part[:at][generator.integers(0, at, (_LOCATIONS, at))],
            part[at:][generator.integers(0, len(part) - at, (_LOCATIONS, len(part) - at))],
        ],
        axis=1,
    )
    found = [runs_min + int(_energies(row[None], runs_min).argmax()) for row in draws]
    low, high = numpy.percentile(found, [2.5, 97.5], method="nearest")
    return min(at, int(low)), max(at, int(high))
