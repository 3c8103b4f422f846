"""What a builder is given, and what it hands back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..tree import Tree
from .progress import Progress
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

    def tell(self, text: str) -> None:
        self.say(f"dataset {self.recipe.name}: {text}")

    def progress(self, doing: str, *, total_bytes: int = 0, probe: Callable[[], tuple[int, int]] | None = None) -> Progress:
        return Progress(self.say, f"dataset {self.recipe.name}: {doing}", total_bytes=total_bytes, probe=probe)


@dataclass(frozen=True)
class Built:
    """What a builder made. A builder may also return its `source` alone: everything else then has its default."""

    source: str  # which source, in words
    order: str = "generated"  # in which order the entries were created; datasets/README.md lists the words
    keep: tuple[str, ...] = ()  # names in the scratch folder that belong to the dataset
    facts: Mapping[str, Any] = field(default_factory=dict)  # for stamp.json
    tree: Tree | None = None  # a listing of the root that was made anyway


def tied(argv: Sequence[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    """The command, ended by the kernel when this process is: after kill -9 nothing goes on writing into the cache."""
    return ["setpriv", "--pdeathsig", "KILL", *argv] if shutil.which("setpriv") else list(argv)


def empty(folder: Path) -> None:
    """Leaves an empty folder of that name, whether there was one or not.

    The old one is renamed first: whoever still writes into it does not write into the new one.
    """
    if folder.exists():
        old = folder.with_name(folder.name + ".removed")
        if old.exists():
            shutil.rmtree(old)
        folder.rename(old)
        shutil.rmtree(old)
    folder.mkdir()
