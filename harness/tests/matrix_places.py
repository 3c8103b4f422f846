"""Where the determinism matrix runs: the same two trees on every file system that can be mounted here."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from loop_mount import mounted

from pxarbench_harness import determinism, measure, run
from pxarbench_harness.determinism import ATTRIBUTES, PLAIN, Place

#: Those that keep extended attributes and flags of which the archive format reads all.
WITH_ATTRIBUTES = ("ext4", "xfs", "btrfs")


def prepare_places(pxarbench: Path, folder: Path, seed: int, stack: ExitStack) -> dict[tuple[str, str], Place]:
    """By file system and kind of tree; at least on the file system of `folder`. The mounts end with `stack`."""
    trees = determinism.make_trees(folder / "source", seed)
    roots = {}
    for name in determinism.FILESYSTEMS:
        try:
            roots[name] = stack.enter_context(mounted(name, folder / f"mount-{name}"))
        except pytest.skip.Exception:  # not root, or no such mkfs: the others are compared
            continue
    if not roots:
        roots[measure.filesystem(folder).split()[0]] = folder
    found = {}
    for name, root in roots.items():
        for kind in (PLAIN, ATTRIBUTES) if name in WITH_ATTRIBUTES else (PLAIN,):
            store = folder / f"store-{name}-{kind}"
            found[name, kind] = Place.prepare(pxarbench, trees, root / f"tree-{kind}", store, kind)
    return found


def known_profiles(pxarbench: Path) -> list[str]:
    text = run.run([pxarbench, "backup", "--help"]).check_ok().text
    said = text.partition("--reuse-profile")[2].partition("\n  --")[0]
    return [profile for profile in determinism.PROFILES if profile in said]
