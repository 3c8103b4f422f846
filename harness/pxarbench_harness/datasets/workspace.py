"""What a builder is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .recipe import Recipe


class DatasetFailed(Exception):
    """The dataset cannot be prepared; the text says why, and what was tried."""


@dataclass(frozen=True)
class Workspace:
    recipe: Recipe
    root: Path  # empty; the builder fills it
    scratch: Path  # beside it; survives an interruption, is removed when the dataset is done
    downloads: Path  # kept between datasets and runs; may not exist yet
    say: Callable[[str], None]
    step: Callable[[str], None]  # call after each stage, with its name
