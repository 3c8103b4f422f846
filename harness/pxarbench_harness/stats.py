"""Statistics of samples: pure functions, seeded where chance is used."""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import reduce

import numpy

CONFIDENCE = 0.95
_RESAMPLES = 9999


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """Of one series. sd and interval are None for a single sample: nothing can be said about spread."""

    n: int
    total: float
    mean: float
    sd: float | None  # of one run
    minimum: float
    maximum: float
    median: float
    interval: Interval | None  # of the median


@dataclass(frozen=True)
class Ratio:
    """median(a) / median(b)"""

    value: float
    interval: Interval | None


def mean(samples: Sequence[float]) -> float:
    return statistics.fmean(samples)


def deviation(samples: Sequence[float]) -> float | None:
    """Of one run, with n - 1; None for n = 1."""
    return statistics.stdev(samples) if len(samples) > 1 else None


def mean_error(samples: Sequence[float]) -> float | None:
    """Standard error of the mean."""
    sd = deviation(samples)
    return None if sd is None else sd / math.sqrt(len(samples))


def root_sum(a: float | None, b: float | None) -> float | None:
    """Uncertainty of a difference of two independent values."""
    return None if a is None or b is None else math.hypot(a, b)


def _resampled(values: list[Sequence[float]], paired: bool, statistic: str, seed: int) -> Interval | None:
    from scipy.stats import bootstrap  # slow to import, and most of the harness does not need it

    if min(map(len, values)) < 2:
        return None

    def median(a, axis=-1):  # type: ignore[no-untyped-def]
        return numpy.median(a, axis=axis)

    def ratio(a, b, axis=-1):  # type: ignore[no-untyped-def]
        return numpy.median(a, axis=axis) / numpy.median(b, axis=axis)

    found = bootstrap(
        tuple(numpy.asarray(v, dtype=float) for v in values),
        median if statistic == "median" else ratio,
        paired=paired, vectorized=True, method="percentile", confidence_level=CONFIDENCE, n_resamples=_RESAMPLES,
        random_state=numpy.random.default_rng(seed),
    )  # fmt: skip
    return Interval(float(found.confidence_interval.low), float(found.confidence_interval.high))


def summary(samples: Sequence[float], seed: int = 1) -> Summary:
    if not samples:
        raise ValueError("no samples")
    return Summary(
        n=len(samples),
        # Added up from the left, as the seed's benchmark did: an exact sum prints another last digit of its figures.
        total=reduce(operator.add, samples),
        mean=mean(samples),
        sd=deviation(samples),
        minimum=min(samples),
        maximum=max(samples),
        median=statistics.median(samples),
        interval=_resampled([samples], False, "median", seed),
    )


def median_ratio(a: Sequence[float], b: Sequence[float], *, paired: bool, seed: int = 1) -> Ratio:
    """`paired`: sample i of both comes from round i, so that what disturbed a whole round cancels out."""
    if not a or not b:
        raise ValueError("no samples")
    if paired and len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} samples are no pairs")
    value = statistics.median(a) / statistics.median(b)
    return Ratio(value, _resampled([a, b], paired, "ratio", seed))


# ---- where a curve over the change rate passes a level ----


class Crossed(Enum):
    AT = "at"  # at Crossing.rate
    ALWAYS = "always"  # at or above the level from the least rate on
    NEVER = "never"  # below it up to the greatest rate


@dataclass(frozen=True)
class Crossing:
    """Where a value first reaches a level, the rates between those measured being filled in."""

    kind: Crossed
    rate: float | None  # of AT, else None; in the unit of the rates given
    least: float  # rate measured
    greatest: float
    falls_again: bool = False  # some later value is below the level once more


def crossing(points: Sequence[tuple[float, float]], level: float) -> Crossing | None:
    """Of points (rate, value): the least rate at which value >= level.

    Between two neighbours the value is taken to be linear in the logarithm of the rate, for rates are chosen evenly on
    that scale. None without points. ValueError: a rate that is not above 0, or one that is given twice.
    """
    curve = sorted(points)
    if not curve:
        return None
    rates = [rate for rate, _ in curve]
    if rates[0] <= 0 or len(set(rates)) != len(rates):
        raise ValueError("rates must be above 0 and differ from each other")
    above = [value >= level for _, value in curve]
    if not any(above):
        return Crossing(Crossed.NEVER, None, rates[0], rates[-1])
    first = above.index(True)
    falls = not all(above[first:])
    if first == 0:
        return Crossing(Crossed.ALWAYS, None, rates[0], rates[-1], falls)
    (low_rate, low), (high_rate, high) = curve[first - 1], curve[first]
    share = (level - low) / (high - low)
    rate = math.exp(math.log(low_rate) + share * (math.log(high_rate) - math.log(low_rate)))
    # Rounding must not put it outside of the two it lies between.
    return Crossing(Crossed.AT, min(max(rate, low_rate), high_rate), rates[0], rates[-1], falls)
