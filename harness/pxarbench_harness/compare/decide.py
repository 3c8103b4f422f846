"""Is one build slower, or bigger in memory, than the other? Pure functions of samples; README.md gives the reasons.

A session has rounds. In each, every arm runs the same case twice, there and back (base head null null head base): "base",
"null" (a copy of base, of which everybody knows that it is equally fast) and "head". Each half is a sample: logarithms of
ratios within it, so that what disturbed the whole of it cancels out. Over all halves, the median: one disturbed run in ten
moves it little.

    head against base   head's logarithm less the mean of those of base and null
    null against base   the same of the two copies: what this session takes for a difference where there is none
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy
import numpy.typing

from ..gates.verdict import Level

BASE, NULL, HEAD = "base", "null", "head"

#: Chance that a session without any change has a suspect among all of its cases; it then still needs to be confirmed.
ALPHA = 0.05
CONFIDENCE = 0.95
#: Share of changes of the size `detectable` that are found. The first rounds and those that confirm must both find one, so
#: each of them has to find the root of it.
POWER = 0.95
#: Of an interval; of one of the sessions that detectable() imagines; these sessions; where their chance begins.
_RESAMPLES, _SESSION_RESAMPLES, _SESSIONS, _SEED = 1_999, 499, 200, 1
_VALUES_MAX = 4_000_000  # of resamples in memory
#: Of up to so many values all signs are counted; of more, the normal distribution is near enough.
_EXACT_MAX = 50
#: Random signs for values of equal size, where the normal distribution would promise too much.
_SIGNS = 19_999

Floats = numpy.typing.NDArray[numpy.float64]
#: Arm -> its values in one round, all above 0; the first of each arm belong together, the second, ...
Round = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Limits:
    """Shares of the base, from limits.toml."""

    floor: float  # a change below is no regression, however sure it is
    promise: float  # a change of this size must not stay unseen: a session too noisy to exclude it is inconclusive


@dataclass(frozen=True)
class Estimate:
    """Of a ratio over the rounds, as shares of the base: 0.03 is 3 % more."""

    change: float
    low: float
    high: float
    logs: tuple[float, ...] = field(repr=False)  # one per half of a round

    @property
    def reach(self) -> float:
        """The far end of the interval, in either direction."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Assessed:
    """One case after one series of rounds."""

    head: Estimate
    null: Estimate
    limits: Limits
    limit: float  # the floor, or what the session's own noise makes of it
    p_more: float  # chance of such rounds if head were slower by no more than the limit; adjusted for all cases (Holm)
    p_less: float  # the same of being faster by more
    among: int  # cases that were judged together

    @cached_property
    def detectable(self) -> float | None:
        """The least change that rounds of this noise would have shown. None: with so few rounds nothing can be shown."""
        return detectable(numpy.asarray(self.head.logs), self.limit, self.among) if math.isfinite(self.limit) else None

    @property
    def is_more(self) -> bool:
        return self.p_more < ALPHA and self.head.low > self.limit

    @property
    def is_less(self) -> bool:
        return self.p_less < ALPHA and self.head.high < -self.limit


@dataclass(frozen=True)
class Series:
    cases: Mapping[str, Assessed]
    troubles: tuple[str, ...]  # why nothing measured in these rounds is to be believed; () for nothing


@dataclass(frozen=True)
class Judged:
    level: Level
    text: str  # one sentence, without the case


# ---- one series of rounds ----


def arm_logs(rounds: Sequence[Round], arm: str) -> Floats:
    """Of all halves in order. ValueError: a value that is not above 0, arms with different numbers of values."""
    logs = []
    for values in rounds:
        if len({len(of_arm) for of_arm in values.values()}) != 1 or min(values[arm], default=0) <= 0:
            raise ValueError(f"arm {arm}: {values} are no samples")
        logs += map(math.log, values[arm])
    return numpy.asarray(logs)


def _bounds(rows: Floats, resamples: int) -> tuple[Floats, Floats]:
    """Ends of the percentile bootstrap interval of the median, row by row."""
    from scipy.stats import bootstrap  # slow to import, and --help does not need it

    def median(values: Floats, axis: int) -> Floats:
        return numpy.asarray(numpy.median(values, axis=axis))

    interval = bootstrap(
        (rows,), median, axis=-1, vectorized=True, method="percentile", confidence_level=CONFIDENCE, n_resamples=resamples,
        batch=max(1, _VALUES_MAX // rows.size), random_state=numpy.random.default_rng(_SEED),
    ).confidence_interval  # fmt: skip
    return interval.low, interval.high


def estimate(logs: Floats) -> Estimate:
    """Median and percentile bootstrap interval; of a single sample the interval is everything."""
    if len(logs) < 2:
        low, high = -1.0, math.inf
    else:
        below, above = _bounds(logs, _RESAMPLES)
        low, high = math.expm1(below), math.expm1(above)
    return Estimate(math.expm1(float(numpy.median(logs))), low, high, tuple(map(float, logs)))


def signed_rank(values: Sequence[float]) -> float:
    """Wilcoxon's test: chance of so many and so large positive values if they lay evenly about 0."""
    from scipy.stats import permutation_test, rankdata, wilcoxon

    real = numpy.asarray([value for value in values if value != 0])
    if not (real > 0).any():
        return 1.0
    if len(set(numpy.abs(real))) == len(real):
        method = "exact" if len(real) <= _EXACT_MAX else "approx"
        return float(wilcoxon(real, alternative="greater", method=method, correction=True).pvalue)

    def rank_sum(signed: Floats, axis: int) -> Floats:
        return numpy.asarray(signed.sum(axis=axis))

    found = permutation_test(
        (rankdata(numpy.abs(real)) * numpy.sign(real),), rank_sum, permutation_type="samples", vectorized=True,
        n_resamples=_SIGNS, alternative="greater", random_state=numpy.random.default_rng(_SEED),
    )  # fmt: skip
    return float(found.pvalue)


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """Adjusted so that comparing each with ALPHA keeps the chance of any false one below ALPHA."""
    adjusted, highest = {}, 0.0
    for number, name in enumerate(sorted(chances, key=lambda name: chances[name])):
        highest = max(highest, min(1.0, chances[name] * (len(chances) - number)))
        adjusted[name] = highest
    return adjusted


def rounds_min(cases: int) -> int:
    """With fewer, not even halves that all agree show anything."""
    return (math.floor(math.log2(cases / ALPHA)) + 2) // 2


@lru_cache
def _walsh_rank(n: int, cases: int) -> int | None:
    """signed_rank(values - x) < ALPHA / cases as long as x is below the k-th smallest mean of two values: k, from 0. (The sum
    of the positive ranks is the number of these means above x.)"""

    def shows(rank_sum: int) -> bool:
        """Whether values would be significant whose positive ranks have this sum."""
        signed = []
        for rank in range(n, 0, -1):
            is_up = rank <= rank_sum
            rank_sum -= rank if is_up else 0
            signed.append(rank if is_up else -rank)
        return signed_rank(signed) * cases < ALPHA

    total = n * (n + 1) // 2
    least = bisect.bisect_left(range(total + 1), True, key=shows)
    return total - least if least <= total else None


def detectable(logs: Floats, limit: float, cases: int) -> float | None:
    """The least change that rounds of this noise would have shown, in POWER of all sessions, confirmation included."""
    n = len(logs)
    rank = _walsh_rank(n, cases)
    if n < 2 or rank is None:
        return None
    dice = numpy.random.default_rng(_SEED)
    centred = logs - numpy.median(logs)
    sessions = centred[dice.integers(0, n, size=(_SESSIONS, n))]
    low, _ = _bounds(sessions, _SESSION_RESAMPLES)
    first, second = numpy.triu_indices(n)
    # One after the other: a thousand rounds have two million pairs.
    means = [numpy.partition((session[first] + session[second]) / 2, rank)[rank] for session in sessions]
    needed = math.log1p(limit) - numpy.minimum(low, means)
    return math.expm1(float(numpy.quantile(needed, math.sqrt(POWER))))


def assess(measured: Mapping[str, Sequence[Round]], limits: Mapping[str, Limits]) -> Series:
    """Of case -> its rounds."""
    heads, nulls, least = {}, {}, {}
    for case, rounds in measured.items():
        base, null = arm_logs(rounds, BASE), arm_logs(rounds, NULL)
        heads[case] = estimate(arm_logs(rounds, HEAD) - (base + null) / 2)
        nulls[case] = estimate(null - base)
        least[case] = max(limits[case].floor, nulls[case].reach)
    more = holm({case: signed_rank([x - math.log1p(least[case]) for x in head.logs]) for case, head in heads.items()})
    less = holm({case: signed_rank([-x - math.log1p(least[case]) for x in head.logs]) for case, head in heads.items()})
    cases = {
        case: Assessed(head, nulls[case], limits[case], least[case], more[case], less[case], len(heads))
        for case, head in heads.items()
    }
    return Series(cases, tuple(_troubles(nulls, limits)))


def _troubles(nulls: Mapping[str, Estimate], limits: Mapping[str, Limits]) -> list[str]:
    """What is wrong with a session in which a program differs from its own copy."""
    apart = holm({
        case: 2 * min(signed_rank([x - math.log1p(limits[case].floor) for x in null.logs]),
                      signed_rank([-x - math.log1p(limits[case].floor) for x in null.logs]))
        for case, null in nulls.items()
    })  # fmt: skip
    found = [
        f"{case}: two copies of the same program differ by {between(null)}"
        for case, null in nulls.items()
        if apart[case] < ALPHA and (null.low > limits[case].floor or null.high < -limits[case].floor)
    ]
    wide = [case for case, null in nulls.items() if null.reach > limits[case].promise]
    if len(wide) * 2 > len(nulls):
        copies = "two copies of the same program cannot be told to be equally fast"
        found.append(f"in {len(wide)} of {len(nulls)} cases {copies}: {', '.join(wide)}")
    return found


# ---- the verdict ----


def judge(first: Series, confirmed: Series | None) -> dict[str, Judged]:
    """`confirmed`: rounds of those cases that `first` suspects (Assessed.is_more); None when there were none.

    ValueError: a suspect was not measured again.
    """
    return {case: _judged(case, assessed, first, confirmed) for case, assessed in first.cases.items()}


def suspects(series: Series) -> list[str]:
    """Cases that need rounds again. A noisy session accuses nobody."""
    return [] if series.troubles else [case for case, assessed in series.cases.items() if assessed.is_more]


def _judged(case: str, one: Assessed, first: Series, confirmed: Series | None) -> Judged:
    if first.troubles:
        return Judged(Level.INCONCLUSIVE, f"not judged, the session is too noisy: {first.troubles[0]}")
    if one.is_more:
        again = confirmed.cases.get(case) if confirmed is not None else None
        if confirmed is None or again is None:
            raise ValueError(f"{case}: was not measured again")
        if confirmed.troubles:
            text = f"{between(one.head)}, but the rounds that should confirm it were too noisy: {confirmed.troubles[0]}"
            return Judged(Level.INCONCLUSIVE, text)
        if not again.is_more:
            text = f"{between(one.head)}, which further rounds did not confirm: {between(again.head)}"
            return Judged(Level.INCONCLUSIVE, text)
        text = f"{between(one.head)}, confirmed by {between(again.head)}; the limit is {_share(one.limit)}"
        return Judged(Level.REGRESSION, text)
    if one.is_less:
        return Judged(Level.IMPROVED, between(one.head))
    if one.head.high < one.limits.promise:
        within = one.head.low > 0 and one.head.change <= one.limit
        return Judged(Level.OK, between(one.head) + (f", within the limit of {_share(one.limit)}" if within else ""))
    least = f"a change of {_share(one.limits.promise)} cannot be excluded"
    rest = "too few rounds" if one.detectable is None else f"so many rounds of this noise show {_share(one.detectable)} or more"
    return Judged(Level.INCONCLUSIVE, f"{between(one.head)}: {least}, {rest}")


def _share(share: float) -> str:
    return percent(share).lstrip("+")


def percent(share: float) -> str:
    return f"{100 * share:+.1f} %" if math.isfinite(share) else "any"


def between(found: Estimate) -> str:
    return f"{percent(found.change)} ({percent(found.low)} to {percent(found.high)})"
