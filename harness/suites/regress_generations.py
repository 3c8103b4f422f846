"""Many generations of a living tree, each backed up with the one before as reference: does anything rot?

    PXB_GENERATIONS=100 PXB_GENERATIONS_FILES=20000 PXB_GENERATIONS_OUTPUT=FOLDER pytest -s harness/suites/regress_generations.py

PXB_GENERATIONS            generations after the first backup; default 6, so that the suite never rots
PXB_GENERATIONS_FILES      files of the tree that is made; default 800
PXB_GENERATIONS_TREE       a tree to copy instead: one byte of 1 % of its files is edited per generation, sizes stay
PXB_GENERATIONS_SHARE      of the files that change per generation; default 0.01
PXB_GENERATIONS_PROFILES   default: upstream,tight,stored
PXB_GENERATIONS_OUTPUT     where table.md, table.csv, plot.png and plot.svg go; default: nowhere

The temporary directory (--basetemp) holds the tree and, per profile, all its chunks once more; memory is the place for it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pxarbench_harness.exhaustive import series
from pxarbench_harness.exhaustive.generations import Edited, Keeper, Mixed, live_through

GENERATIONS = int(os.environ.get("PXB_GENERATIONS", "6"))
FILES = int(os.environ.get("PXB_GENERATIONS_FILES", "800"))
TREE = os.environ.get("PXB_GENERATIONS_TREE")
SHARE = float(os.environ.get("PXB_GENERATIONS_SHARE", "0.01"))
PROFILES = os.environ.get("PXB_GENERATIONS_PROFILES", "upstream,tight,stored").split(",")
OUTPUT = os.environ.get("PXB_GENERATIONS_OUTPUT")


def test_generations(pxarbench: Path, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    def say(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    tree: Mixed | Edited
    if TREE:
        shutil.copytree(TREE, tmp_path / "tree", symlinks=True)
        tree = Edited(tmp_path / "tree", seed, SHARE)
        title = f"{Path(TREE).parent.name}: {GENERATIONS} generations, {SHARE:.1%} of the files edited in each, sizes kept"
    else:
        tree = Mixed(tmp_path / "tree", FILES, seed, share=SHARE)
        title = f"{FILES:,} files: {GENERATIONS} generations, a mix of changes to {SHARE:.1%} of the files in each"
    tree.plant()
    keepers = [Keeper(pxarbench, profile, tmp_path / profile) for profile in PROFILES]
    between = [GENERATIONS // 4, GENERATIONS // 2, 3 * GENERATIONS // 4]
    say(f"\n{title}, profiles {', '.join(PROFILES)}")
    found = live_through(tree, keepers, GENERATIONS, restore_at=between, say=say)
    if OUTPUT:
        series.publish(found.rows, Path(OUTPUT), title)
    say(f"{sum(found.restored.values())} restores compared, {len(found.problems)} problems")
    assert found.problems == []
