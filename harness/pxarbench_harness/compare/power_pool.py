"""How much more would more rounds have found? Answered from the samples of power.py's trials, without new runs.

`count` trials after one another stand for one session with as many times the rounds, the next group of as many for the rounds
that confirm: trials are minutes apart, but what is compared is compared within a half of a round, and a session of that length
lasts as long. The last group is confirmed by the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import findings
from .power import Said, Trial, heads_of, judged
from .rounds import CONFIRM, FIRST, Sample


def joined(trials: Sequence[Sequence[Sample]], series: str) -> list[Sample]:
    """The first rounds of all of them, numbered on, as one series of that name."""
    found: list[Sample] = []
    before = 0
    for samples in trials:
        first = [sample for sample in samples if sample.series == FIRST]
        found += [replace(sample, series=series, round=sample.round + before) for sample in first]
        before += 1 + max(sample.round for sample in first)
    return found


def pooled(
    trials: Sequence[Sequence[Sample]], count: int, cases: Sequence[str], limits: findings.AllLimits
) -> list[Trial]:
    """What ci/compare would say in each group. What is left over at the end is not used. ValueError: fewer than two groups."""
    groups = [trials[start : start + count] for start in range(0, len(trials) - count + 1, count)]
    if len(groups) < 2:
        raise ValueError(f"{len(trials)} trials are not two groups of {count}: one is confirmed by another")
    told = []
    for number, group in enumerate(groups):
        first = joined(group, FIRST)
        confirm = joined(groups[(number + 1) % len(groups)], CONFIRM)
        said: list[Said] = judged(first, confirm, heads_of(sorted({s.arm for s in first})), cases, limits)
        told.append(Trial(number, len(first), tuple(said)))
    return told
