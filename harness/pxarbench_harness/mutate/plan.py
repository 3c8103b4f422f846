"""What to change: the words of the command line, and the choice of files.

    none
    touch:P%[:uniform|:clustered][:seed=N]     mtime one second later, contents as they were
    edit:P%[:uniform|:clustered][:seed=N]      one byte '#' appended, mtime one second later

The choice is that of the reference runs: all regular files with one link, paths sorted by bytes, n of them, k = max(1,
round(n * P / 100)); uniform takes indices floor(i * n / k), clustered k files from index floor(n / 3) on. A seed moves
the start, so that several seeds give several samples; without one the choice is the plain rule.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

OPERATIONS = ("none", "touch", "edit")
LAYOUTS = ("uniform", "clustered")

_SYNTAX = re.compile(
    r"(?P<op>touch|edit):(?P<rate>\d+(?:\.\d+)?)%(?::(?P<layout>uniform|clustered))?(?::seed=(?P<seed>\d+))?"
)


@dataclass(frozen=True)
class Mutation:
    operation: str
    rate: str = ""  # percent, as written: "0.1"
    layout: str = ""
    seed: int | None = None

    @property
    def text(self) -> str:
        """As the command line takes it."""
        if self.operation == "none":
            return "none"
        text = f"{self.operation}:{self.rate}%:{self.layout}"
        return text if self.seed is None else f"{text}:seed={self.seed}"

    @property
    def words(self) -> str:
        """As a part of a case id."""
        if self.operation == "none":
            return "none"
        words = f"{self.operation}{self.rate.replace('.', 'p')}pct-{self.layout}"
        return words if self.seed is None else f"{words}-seed{self.seed}"


def parse(text: str) -> Mutation:
    """ValueError says what is expected."""
    if text == "none":
        return Mutation("none")
    match = _SYNTAX.fullmatch(text)
    if match is None or not 0 < Fraction(match["rate"]) <= 100:
        raise ValueError(
            f"mutation {text!r}: expected none, touch:P% or edit:P% (0 < P <= 100), "
            "optionally followed by :uniform or :clustered and by :seed=N"
        )
    seed = match["seed"]
    return Mutation(match["op"], match["rate"], match["layout"] or "uniform", int(seed) if seed is not None else None)


def choose(files: Sequence[bytes], mutation: Mutation) -> list[bytes]:
    """The files to change, in order of path. `files`: all candidates in any order."""
    if mutation.operation == "none":
        return []
    ordered = sorted(files)
    n = len(ordered)
    if n == 0:
        raise ValueError(f"mutation {mutation.text}: the tree has no regular file with one link")
    # Python's round() on a Fraction is exact and rounds halves to even, as round() of the reference runs did.
    k = max(1, round(n * Fraction(mutation.rate) / 100))
    dice = None if mutation.seed is None else random.Random(mutation.seed)
    if mutation.layout == "uniform":
        shift = 0 if dice is None else dice.randrange(n)
        return [ordered[i] for i in sorted((i * n // k + shift) % n for i in range(k))]
    start = min(n // 3, n - k) if dice is None else dice.randrange(n - k + 1)
    return ordered[start : start + k]
