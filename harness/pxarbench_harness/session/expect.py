"""What has to hold in a scenario, beyond what every run has to fulfil. Sentences, [] when it holds."""

from __future__ import annotations

from ..check import Read
from ..mutate.oracle import Oracle
from ..subjects import Outcome, Subject
from ..tree import Tree


def problems(
    scenario: str, subject: Subject, filesystem: str, oracle: Oracle, outcome: Outcome, read: Read | None,
    missed: frozenset[bytes] | None, now: Tree, seen: Tree | None,
) -> list[str]:  # fmt: skip
    return []
