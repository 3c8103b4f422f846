"""Rounds of runs: all arms in turn, there and back, in a seeded order."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .cases import Bench, Case, CaseFailed, Numbers
from .decide import HEAD, Round

#: Series of rounds of a session.
FIRST, CONFIRM = "first", "confirm"


@dataclass(frozen=True)
class Sample:
    """One run. `number` counts all runs of a session in the order in which they were made."""

    number: int
    series: str  # of FIRST, CONFIRM
    round: int
    case: str
    position: int  # within the round, from 0
    arm: str
    numbers: Numbers

    def as_json(self) -> dict[str, Any]:
        return {**{k: v for k, v in asdict(self).items() if k != "numbers"}, **self.numbers.as_json()}


def order(seed: int, series: str, case: str, number: int, arms: Sequence[str]) -> tuple[str, ...]:
    """Of one round: all arms shuffled, then the same backwards. What drifts steadily hits all of them alike."""
    one = list(arms)
    random.Random(f"{seed}/{series}/{case}/{number}").shuffle(one)
    return (*one, *reversed(one))


def run_rounds(
    bench: Bench,
    cases: Sequence[Case],
    arms: Callable[[Case], Mapping[str, Path]],
    *,
    rounds: int,
    seed: int,
    series: str,
    sink: Callable[[Sample], None],
    before: int = 0,
    tell: Callable[[int], None] = lambda _done: None,
    lost: dict[str, CaseFailed] | None = None,
) -> list[Sample]:
    """`arms`: of a case, name -> program. `sink` gets each sample as soon as it is there; `before`: runs that were made
    earlier. Each round visits all cases: a disturbance of a second hits one round of a few cases, not all rounds of one.

    `lost` gets cases in which HEAD failed, and why; no more rounds are made of them. CaseFailed: another arm failed, or any
    when there is no `lost`.
    """
    found: list[Sample] = []
    for number in range(rounds):
        for case in cases:
            if lost is not None and case.name in lost:
                continue
            programs = arms(case)
            for position, arm in enumerate(order(seed, series, case.name, number, sorted(programs))):
                try:
                    numbers = bench.measure(case, arm, programs[arm])
                except CaseFailed as error:
                    if lost is None or arm != HEAD:
                        raise
                    lost[case.name] = error
                    break
                found.append(Sample(before + len(found), series, number, case.name, position, arm, numbers))
                sink(found[-1])
        tell(number + 1)
    return found


def warm_up(bench: Bench, cases: Sequence[Case], arms: Mapping[str, Path]) -> None:
    """Each arm in each case once, with a proof that it did its work. CaseFailed."""
    for case in cases:
        for arm in sorted(arms):
            bench.measure(case, arm, arms[arm], prove=True)


def by_round(samples: Sequence[Sample], case: str, quantity: str) -> list[Round]:
    """Of one case, for decide: arm -> values of a round in the order of its halves."""
    found: dict[int, dict[str, list[float]]] = {}
    for sample in sorted(samples, key=lambda sample: sample.number):
        if sample.case == case:
            found.setdefault(sample.round, {}).setdefault(sample.arm, []).append(getattr(sample.numbers, quantity))
    return [found[number] for number in sorted(found)]


def values(samples: Sequence[Sample], case: str, quantity: str, arm: str) -> list[int]:
    return [getattr(s.numbers, quantity) for s in samples if s.case == case and s.arm == arm]
