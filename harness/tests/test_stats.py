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
