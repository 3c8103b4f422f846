"""Real trees through an archive and back: `PXB_ROUNDTRIP_TREES=/usr:/srv pytest harness/suites/regress_roundtrip.py`.

Each tree is backed up, restored and backed up again; all attributes of source and target are compared by a lister that
knows no archives, and both backups must have given the same streams. Nothing may write into a tree meanwhile. The
temporary directory (--basetemp) should be on a file system that can hold what the tree has.

The default, this system's /etc, keeps the suite a part of the normal test run.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pxarbench_harness.roundtrip import roundtrip, without_unstored
from pxarbench_harness.tree import scan

TREES = os.environ.get("PXB_ROUNDTRIP_TREES", "/etc").split(os.pathsep)


@pytest.mark.parametrize("mode", ["data", "legacy"])
@pytest.mark.parametrize("tree", TREES)
def test_a_real_tree_round_trips(
    pxarbench: Path, tree: str, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can read and restore all of a system's files")
    before = without_unstored(scan(Path(tree), inode_flags=True))
    store = tmp_path / "store"
    (store / ".chunks").mkdir(parents=True)
    (store / ".lock").touch()
    outcome = roundtrip(pxarbench, Path(tree), store, tmp_path / "target", mode=mode, before=before)
    streams = {which: outcome.stream(which) for which in (("metadata", "payload") if mode == "data" else ("stream",))}
    with capsys.disabled():
        print(f"\n{tree}, {mode}: {outcome.entries:,} entries, {before.file_bytes / 2**20:,.1f} MiB, ", end="")
        print(f"{len(outcome.differences)} differences", end="")
        for which, (first, second) in streams.items():
            same = "the same again" if first == second else f"then {second[0]}"
            print(f"\n  {which}: {first[1]:,} bytes, csum {first[0]}, {same}", end="")
        print()
    assert outcome.differences == []
    for first, second in streams.values():
        assert first == second
