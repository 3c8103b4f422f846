"""Sets of cases: which chains of mutations on which datasets, in which modes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..datasets import Recipe
from .plan import BlockPlan, product


@dataclass(frozen=True)
class Suite:
    text: str
    blocks: Callable[[Sequence[Recipe]], Iterable[BlockPlan]]  # on the chosen datasets
    datasets: tuple[str, ...] = ("linux",)
    modes: tuple[str, ...] = ()  # of pxarbench; (): its default ones
    modes_of_all: tuple[str, ...] = ()
    rounds: int = 5
    restore: str = "last"
    roofline: bool = False


NONE = Suite("", lambda recipes: product(recipes, ["none", "edit:1%:clustered"]))
SUITES: dict[str, Suite] = {}
