"""Trees beyond a limit of the format are refused with the path of what is too much."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_tools import T1, Repository, sentence

from pxarbench_harness import run


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """pytest removes directories by recursion, which ends somewhere: what is made in here goes before."""
    yield tmp_path
    run.run(["rm", "-rf", *[os.fspath(path) for path in tmp_path.iterdir()]]).check_ok()


def test_directories_too_deep(repository: Repository, deep: Path) -> None:
    tree = deep / "tree"
    tree.mkdir()
    here = os.open(tree, os.O_RDONLY)
    for _ in range(4200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    text = sentence(repository.run(tree, T1, mode="data").result)
    assert text.startswith('error at "d/d/') and text.endswith("directories deeper than 4096")
    assert repository.listed() == []
