"""stats.py: pure functions."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxarbench_harness import stats

positive = st.floats(0.001, 1e4)


def test_summary_of_known_samples() -> None:
    s = stats.summary([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (s.n, s.total, s.mean, s.median, s.minimum, s.maximum) == (5, 20.0, 4.0, 3.0, 1.0, 10.0)
    assert s.sd == pytest.approx(3.5355339)
    assert s.interval is not None and s.interval.low <= 3.0 <= s.interval.high


def test_one_sample_has_no_spread_and_no_infinity() -> None:
    s = stats.summary([2.5])
    assert (s.mean, s.median, s.sd, s.interval) == (2.5, 2.5, None, None)
    assert stats.mean_error([2.5]) is None
    assert stats.root_sum(None, 1.0) is None
    assert stats.median_ratio([2.0], [4.0], paired=True) == stats.Ratio(0.5, None)


def test_equal_samples_have_an_interval_without_width() -> None:
    s = stats.summary([2.0, 2.0, 2.0])
    assert s.sd == 0 and s.interval == stats.Interval(2.0, 2.0)


def test_pairs_cancel_what_disturbs_a_whole_round() -> None:
    base = [1.0, 2.0, 4.0, 8.0, 16.0]
    half = [x / 2 for x in base]
    paired = stats.median_ratio(half, base, paired=True).interval
    apart = stats.median_ratio(half, base, paired=False).interval
    assert paired == stats.Interval(0.5, 0.5)
    assert apart is not None and apart.high - apart.low > 0.5


def test_same_seed_same_interval() -> None:
    a, b = [1.0, 1.1, 1.3, 0.9], [2.0, 2.2, 2.1, 2.5]
    assert stats.median_ratio(a, b, paired=False, seed=3) == stats.median_ratio(a, b, paired=False, seed=3)


@pytest.mark.parametrize("samples", [([], [1.0]), ([1.0], []), ([1.0, 2.0], [1.0])], ids=["none", "no-base", "no-pairs"])
def test_what_cannot_be_compared_is_refused(samples: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError):
        stats.median_ratio(*samples, paired=True)


@given(st.lists(positive, min_size=2, max_size=12))
def test_deviation_agrees_with_its_definition(samples: list[float]) -> None:
    middle = math.fsum(samples) / len(samples)
    defined = math.sqrt(math.fsum((x - middle) ** 2 for x in samples) / (len(samples) - 1))
    assert stats.deviation(samples) == pytest.approx(defined, rel=1e-6, abs=1e-9)
    assert stats.mean_error(samples) == pytest.approx(statistics.stdev(samples) / math.sqrt(len(samples)))


# ---- break-even ----


def test_crossing_is_linear_in_the_logarithm_of_the_rate() -> None:
    found = stats.crossing([(0.1, 0.2), (1.0, 0.6), (10.0, 1.4)], 1.0)
    assert found is not None and found.kind is stats.Crossed.AT and not found.falls_again
    assert found.rate == pytest.approx(10**0.5)  # half way between 1 and 10
    assert (found.least, found.greatest) == (0.1, 10.0)


def test_crossing_at_a_measured_rate_is_that_rate() -> None:
    found = stats.crossing([(10.0, 2.0), (1.0, 1.0), (0.1, 0.5)], 1.0)  # in any order
    assert found is not None and found.rate == pytest.approx(1.0)


def test_never_and_always_name_the_measured_rates() -> None:
    assert stats.crossing([(0.1, 0.2), (50.0, 0.9)], 1.0) == stats.Crossing(stats.Crossed.NEVER, None, 0.1, 50.0)
    assert stats.crossing([(0.1, 1.2), (50.0, 2.0)], 1.0) == stats.Crossing(stats.Crossed.ALWAYS, None, 0.1, 50.0)
    assert stats.crossing([], 1.0) is None


def test_curves_that_fall_again_are_told() -> None:
    found = stats.crossing([(0.1, 0.2), (1.0, 1.2), (10.0, 0.8)], 1.0)
    assert found is not None and found.falls_again and found.rate is not None and 0.1 < found.rate < 1.0


@pytest.mark.parametrize("points", [[(0.0, 1.0), (1.0, 2.0)], [(1.0, 1.0), (1.0, 2.0)], [(-1.0, 2.0)]])
def test_rates_without_a_logarithm_or_twice_are_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="rates"):
        stats.crossing(points, 1.5)


@given(
    st.lists(st.floats(1e-3, 100), min_size=1, max_size=9, unique=True),
    st.lists(st.floats(0, 2), min_size=9, max_size=9),
    st.floats(0.01, 1.99),
)
def test_crossing_lies_between_the_neighbours_that_enclose_it(rates: list[float], values: list[float], level: float) -> None:
    curve = sorted(zip(rates, values, strict=False))
    found = stats.crossing(curve, level)
    assert found is not None
    if found.kind is stats.Crossed.AT:
        assert found.rate is not None
        below = [r for r, _ in curve if r < found.rate * (1 + 1e-9)]
        first = next(r for r, v in curve if v >= level)
        assert below and found.rate <= first
        assert all(v < level for r, v in curve if r < first)
    elif found.kind is stats.Crossed.NEVER:
        assert all(v < level for _, v in curve)
    else:
        assert curve[0][1] >= level


def test_ratio_is_of_medians_one_slow_run_does_not_move_it() -> None:
    assert stats.median_ratio([2.0, 2.0, 200.0], [1.0, 1.0, 1.0], paired=True).value == 2.0
    assert stats.median_ratio([2.0, 2.0, 200.0], [1.0, 1.0, 1.0], paired=False).value == 2.0


def test_interval_is_as_wide_as_95_percent_ask_for() -> None:
    """Of 100 runs the 95 % interval of the median ends near the 40th and the 60th; one of 80 % near the 44th and the 57th."""
    interval = stats.summary([float(n) for n in range(1, 101)]).interval
    assert interval is not None
    assert 38 < interval.low < 42.5 and 58.5 < interval.high < 63
