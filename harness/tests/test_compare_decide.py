"""Deciding about two builds, with simulated sessions: what is found, what is not, and that nobody is accused wrongly."""

from __future__ import annotations

import math
from itertools import product

import numpy
import pytest

from pxarbench_harness.compare import decide
from pxarbench_harness.compare.decide import BASE, HEAD, NULL, Limits, Round, Series
from pxarbench_harness.gates.verdict import Level

LIMITS = Limits(floor=0.02, promise=0.05)
CASES = 7
ROUNDS = 10


def rounds(
    dice: numpy.random.Generator, *, noise: float, head: float = 0.0, null: float = 0.0, rare: float = 0.0, n: int = ROUNDS
) -> list[Round]:
    """`noise` of one run, as a share; `rare`: share of runs that something disturbs by some 15 %. Whole rounds differ, too."""
    made = []
    for _ in range(n):
        round_ = dice.normal(0, 0.05)
        values = {}
        for arm, shift in ((BASE, 0.0), (NULL, null), (HEAD, head)):
            logs = round_ + dice.normal(0, noise, 2) + math.log1p(shift)
            logs += numpy.where(dice.random(2) < rare, dice.exponential(0.15, 2), 0)
            values[arm] = list(1e8 * numpy.exp(logs))
        made.append(values)
    return made


def session(dice: numpy.random.Generator, heads: dict[str, float], **of: float) -> Series:
    measured = {case: rounds(dice, head=head, **of) for case, head in heads.items()}  # type: ignore[arg-type]
    return decide.assess(measured, dict.fromkeys(measured, LIMITS))


def levels(dice: numpy.random.Generator, heads: dict[str, float], **of: float) -> dict[str, Level]:
    first = session(dice, heads, **of)
    again = decide.suspects(first)
    confirmed = session(dice, {case: heads[case] for case in again}, **of) if again else None
    return {case: judged.level for case, judged in decide.judge(first, confirmed).items()}


def cases(slow: float = 0.0) -> dict[str, float]:
    return {f"case-{number}": slow if number == 0 else 0.0 for number in range(CASES)}


def dice(seed: int) -> numpy.random.Generator:
    return numpy.random.default_rng(seed)


# ---- what is found ----


@pytest.mark.parametrize(("slow", "noise", "least"), [(0.05, 0.01, 40), (0.1, 0.02, 40), (0.05, 0.02, 28)])
def test_slower_builds_are_found(slow: float, noise: float, least: int) -> None:
    rolled = dice(1)
    found = [levels(rolled, cases(slow), noise=noise)["case-0"] for _ in range(40)]
    assert found.count(Level.REGRESSION) >= least, found


def test_a_slowdown_of_ten_percent_is_found_although_every_tenth_run_is_disturbed() -> None:
    rolled = dice(2)
    found = [levels(rolled, cases(0.1), noise=0.01, rare=0.1)["case-0"] for _ in range(20)]
    assert found.count(Level.REGRESSION) >= 19, found


def test_faster_builds_are_no_regression() -> None:
    rolled = dice(3)
    found = [levels(rolled, cases(-0.1), noise=0.01)["case-0"] for _ in range(20)]
    assert found == [Level.IMPROVED] * 20


def test_less_than_the_floor_is_no_regression_however_sure() -> None:
    rolled = dice(4)
    found = [levels(rolled, cases(0.015), noise=0.001) for _ in range(20)]
    assert {level for one in found for level in one.values()} == {Level.OK}


def test_other_cases_are_not_accused() -> None:
    rolled = dice(5)
    for _ in range(20):
        found = levels(rolled, cases(0.2), noise=0.02)
        assert found.pop("case-0") is Level.REGRESSION
        assert Level.REGRESSION not in found.values()


# ---- no false alarm ----


@pytest.mark.parametrize(("noise", "rare"), [(0.005, 0.0), (0.01, 0.0), (0.02, 0.1), (0.05, 0.05), (0.1, 0.2)])
def test_equal_builds_are_not_accused(noise: float, rare: float) -> None:
    rolled = dice(6)
    sessions = [levels(rolled, cases(), noise=noise, rare=rare) for _ in range(40)]
    assert sum(Level.REGRESSION in found.values() for found in sessions) == 0
    if noise <= 0.01:
        assert all(set(found.values()) == {Level.OK} for found in sessions)


def test_suspicions_of_equal_builds_are_rarer_than_alpha_even_without_a_floor() -> None:
    rolled, none = dice(7), Limits(floor=0.0, promise=0.05)
    suspected = 0
    for _ in range(150):
        measured = {case: rounds(rolled, noise=0.02) for case in cases()}
        series = decide.assess(measured, dict.fromkeys(measured, none))
        suspected += any(one.is_more for one in series.cases.values())
    assert suspected <= 150 * decide.ALPHA


def test_disturbances_that_last_from_one_half_into_the_other_accuse_nobody() -> None:
    """Halves of a round are neighbours in time, so what lasts for two or three runs hits both: they are not independent, as the
    test takes them to be. Suspicions get more; what further rounds confirm does not."""
    rolled, suspected, accused, sessions = dice(19), 0, 0, 60
    none = Limits(floor=0.0, promise=0.5)

    def bursts() -> list[Round]:
        noise = rolled.normal(0, 0.007, (ROUNDS, 6))
        for lasts in (2, 3):
            begins = rolled.exponential(0.12, (ROUNDS, 6 + lasts)) * (rolled.random((ROUNDS, 6 + lasts)) < 0.025)
            noise += sum(begins[:, at : at + 6] for at in range(lasts))
        made = []
        for logs in 1e8 * numpy.exp(noise):
            order = [str(arm) for arm in rolled.permutation([BASE, NULL, HEAD])]
            made.append({arm: [logs[at], logs[5 - at]] for at, arm in enumerate(order)})
        return made

    for _ in range(sessions):
        first = decide.assess({str(case): bursts() for case in range(CASES)}, {str(case): none for case in range(CASES)})
        again = decide.suspects(first)
        suspected += bool(again)
        confirmed = decide.assess({case: bursts() for case in again}, dict.fromkeys(again, none)) if again else None
        accused += Level.REGRESSION in {told.level for told in decide.judge(first, confirmed).values()}
    assert suspected <= sessions * 0.1
    assert accused == 0


# ---- noisy sessions ----


def test_two_copies_that_differ_make_the_whole_session_inconclusive() -> None:
    rolled = dice(8)
    measured = {case: rounds(rolled, noise=0.005, head=0.3, null=0.06 if case == "case-3" else 0.0) for case in cases()}
    series = decide.assess(measured, dict.fromkeys(measured, LIMITS))
    assert "case-3: two copies of the same program differ by +" in series.troubles[0]
    assert decide.suspects(series) == []
    found = decide.judge(series, None)
    assert {one.level for one in found.values()} == {Level.INCONCLUSIVE}
    assert "too noisy" in found["case-0"].text


def test_copies_that_scatter_make_the_session_inconclusive() -> None:
    rolled = dice(9)
    series = session(rolled, cases(0.3), noise=0.4)
    assert "cannot be told to be equally fast" in series.troubles[-1]
    assert {one.level for one in decide.judge(series, None).values()} == {Level.INCONCLUSIVE}


def test_noise_raises_the_limit() -> None:
    rolled = dice(10)
    quiet = session(rolled, cases(), noise=0.001).cases["case-0"]
    loud = session(rolled, cases(), noise=0.05).cases["case-0"]
    assert quiet.limit == LIMITS.floor
    assert loud.limit == loud.null.reach > LIMITS.floor


def test_what_cannot_be_excluded_is_not_ok() -> None:
    rolled = dice(11)
    found = [levels(rolled, cases(0.045), noise=0.03)["case-0"] for _ in range(20)]
    assert Level.OK not in found or found.count(Level.OK) <= 2
    assert Level.INCONCLUSIVE in found


@pytest.mark.parametrize(("change", "says"), [(0.03, "+3.0 % (+2.5 % to +4.8 %), within the limit of 3.5 %"),
                                              (0.04, "+4.0 % (+2.5 % to +4.8 %)")])  # fmt: skip
def test_what_is_above_a_noisy_limit_is_not_called_within_it(change: float, says: str) -> None:
    head, null = decide.Estimate(change, 0.025, 0.048, (0.03,)), decide.Estimate(0.0, -0.035, 0.03, (0.0,))
    series = Series({"a": decide.Assessed(head, null, LIMITS, 0.035, 0.5, 1.0, 1)}, ())
    assert decide.judge(series, None)["a"] == decide.Judged(Level.OK, says)


# ---- confirmation ----


def test_what_is_not_confirmed_is_inconclusive() -> None:
    rolled = dice(12)
    first = session(rolled, cases(0.1), noise=0.01)
    assert decide.suspects(first) == ["case-0"]
    calm = session(rolled, {"case-0": 0.0}, noise=0.01)
    found = decide.judge(first, calm)["case-0"]
    assert found.level is Level.INCONCLUSIVE
    assert "did not confirm" in found.text
    noisy = Series(calm.cases, ("x: two copies differ",))
    found = decide.judge(first, noisy)["case-0"]
    assert found.level is Level.INCONCLUSIVE
    assert "too noisy" in found.text


def test_a_suspect_that_nobody_measured_again_is_an_error() -> None:
    first = session(dice(13), cases(0.1), noise=0.01)
    with pytest.raises(ValueError, match="case-0: was not measured again"):
        decide.judge(first, None)


# ---- the parts ----


def signed_rank_by_counting(values: list[float]) -> float:
    real = [value for value in values if value]
    sizes = sorted(abs(value) for value in real)
    ranks = [sizes.index(abs(v)) + 1 + (sizes.count(abs(v)) - 1) / 2 for v in real]
    reached = sum(rank for rank, value in zip(ranks, real, strict=True) if value > 0)
    sums = [sum(rank for rank, up in zip(ranks, signs, strict=True) if up) for signs in product((0, 1), repeat=len(real))]
    return sum(one >= reached for one in sums) / len(sums)


@pytest.mark.parametrize("values", [
    [1.0, 2.0, 3.0, 4.0], [-1.0, 2.0, 3.0], [0.0, 0.0], [], [0.0, 5.0, -3.0, 2.0, 4.0], [-4.0, -5.0],
])  # fmt: skip
def test_signed_rank_against_counting_all_signs(values: list[float]) -> None:
    assert decide.signed_rank(values) == pytest.approx(signed_rank_by_counting(values))


@pytest.mark.parametrize("values", [
    [1.0] * 9 + [2.0] * 3 + [-1.0] * 2, [1.0] * 12, [-2.0] * 3 + [1.0] * 9,
    [1.0] * 12 + [-1.0] * 3, [1.0] * 10 + [-1.0] * 3, [3.0] * 4 + [-1.0, 2.0] * 5,
])  # fmt: skip
def test_signed_rank_of_equals_is_what_counting_says(values: list[float]) -> None:
    """Peaks of memory are whole pages: many are equal, and the normal distribution would accuse too many."""
    assert decide.signed_rank(values) == pytest.approx(signed_rank_by_counting(values), abs=0.004)


def test_holm_adjusts_as_in_the_textbook() -> None:
    assert decide.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert decide.holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
    assert decide.holm({}) == {}


@pytest.mark.parametrize("number", [1, 2, 7, 20])
def test_rounds_min_is_the_least_with_which_agreement_is_significant(number: int) -> None:
    def shows(n: int) -> bool:
        return decide.signed_rank([1.0 + x for x in range(2 * n)]) * number < decide.ALPHA

    least = decide.rounds_min(number)
    assert shows(least)
    assert not shows(least - 1)


def test_walsh_rank_is_where_the_test_turns() -> None:
    values = [float(x) for x in dice(14).normal(0.5, 1, 12)]
    rank = decide._walsh_rank(12, 3)
    assert rank is not None
    means = sorted((a + b) / 2 for i, a in enumerate(values) for b in values[i:])
    assert decide.signed_rank([v - (means[rank] - 1e-9) for v in values]) * 3 < decide.ALPHA
    assert decide.signed_rank([v - (means[rank] + 1e-9) for v in values]) * 3 >= decide.ALPHA


@pytest.mark.parametrize("noise", [0.005, 0.02])
def test_the_detectable_change_is_detected(noise: float) -> None:
    rolled = dice(15)
    told = [session(rolled, cases(), noise=noise).cases["case-0"].detectable for _ in range(5)]
    size = float(numpy.median([one for one in told if one is not None]))
    found = [levels(rolled, cases(size), noise=noise)["case-0"] for _ in range(40)]
    assert found.count(Level.REGRESSION) >= 35, (size, found)


@pytest.mark.parametrize("n", [2, 7, 10, 20])
def test_the_interval_is_that_of_resampled_medians(n: int) -> None:
    values = dice(17).normal(0, 1, n)
    medians = numpy.median(values[dice(18).integers(0, n, size=(40_000, n))], axis=1)
    found = decide.estimate(values)
    for end, at in ((found.low, 0.025), (found.high, 0.975)):
        # Medians of few values are few: the end is one of them, at or next to the quantile.
        assert (medians < math.log1p(end) - 1e-9).mean() - 0.01 <= at <= (medians <= math.log1p(end) + 1e-9).mean() + 0.01
    assert found.change == pytest.approx(math.expm1(float(numpy.median(values))))


def test_with_too_few_rounds_nothing_is_detectable() -> None:
    assert decide.detectable(numpy.asarray([0.1, 0.2]), 0.02, 7) is None
    assert decide.detectable(numpy.asarray([0.1]), 0.02, 1) is None


def test_equal_samples_are_equal() -> None:
    same = [{BASE: [100, 100], NULL: [100, 100], HEAD: [100, 100]}] * ROUNDS
    series = decide.assess({"a": same}, {"a": LIMITS})
    assert (series.cases["a"].head.change, series.cases["a"].limit) == (0.0, LIMITS.floor)
    assert series.cases["a"].p_more == pytest.approx(1.0, abs=1e-4)
    assert decide.judge(series, None)["a"].level is Level.OK


def test_the_answer_depends_on_nothing_but_the_samples() -> None:
    measured = {case: rounds(dice(16), noise=0.02, head=0.04) for case in cases()}
    limits = dict.fromkeys(measured, LIMITS)
    assert decide.assess(measured, limits) == decide.assess(measured, limits)


@pytest.mark.parametrize(
    "values", [{BASE: [1], NULL: [1], HEAD: [0]}, {BASE: [1], NULL: [1, 2], HEAD: [1]}, {BASE: [], NULL: [], HEAD: []}]
)
def test_what_are_no_samples_is_refused(values: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="are no samples"):
        decide.assess({"a": [values]}, {"a": LIMITS})


def test_one_half_round_says_nothing() -> None:
    series = decide.assess({"a": [{BASE: [1], NULL: [1], HEAD: [9]}]}, {"a": LIMITS})
    assert decide.judge(series, None)["a"].level is Level.INCONCLUSIVE
