"""What every program in every mode notices of a change, against what its subject says that it looks at: with the real programs.

One small tree, one file for each kind of change; then what the oracle makes of the listings before and after has to be exactly
what the program read again, and what came back with old contents exactly what cannot be noticed.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pxarbench_harness import measure, tree
from pxarbench_harness.mutate import oracle as oracles
from pxarbench_harness.mutate.oracle import Oracle
from subject_tools import Runs, differences, every_mode, flip, set_mtime, subject, with_contents_of

BASE = 1_600_000_000 * 10**9 + 123_456_789
SIZE = 20_000


def replaced(path: Path, change: Callable[[Path], None] = lambda path: None) -> None:
    """Another inode under the same name, with the same mode and mtime."""
    other = path.with_name("other")
    shutil.copyfile(path, other)
    other.chmod(path.stat().st_mode & 0o7777)
    change(other)
    set_mtime(other, path.stat().st_mtime_ns)
    os.rename(other, path)


def content_restored(path: Path) -> None:
    before = path.stat().st_mtime_ns
    flip(path)
    set_mtime(path, before)


def size_restored(path: Path) -> None:
    before = path.stat().st_mtime_ns
    with open(path, "ab") as file:
        file.write(b"more")
    set_mtime(path, before)


def there_and_back(path: Path) -> None:
    path.chmod(0o600)
    path.chmod(0o644)


def of_another_type(path: Path) -> None:
    """Was a symlink."""
    path.unlink()
    path.write_bytes(b"now a file")
    set_mtime(path, BASE)


#: The name of a file, and what happens to it.
CHANGES: dict[str, Callable[[Path], object]] = {
    "a-content": flip,
    "b-content-restored": content_restored,
    "c-subsecond": lambda p: set_mtime(p, p.stat().st_mtime_ns + 1),
    "d-subsecond-content": lambda p: (flip(p), set_mtime(p, BASE + 1)),
    "e-inode": replaced,
    "f-inode-content": lambda p: replaced(p, flip),
    "g-there-and-back": there_and_back,
    "h-size-restored": size_restored,
    "i-mode": lambda p: p.chmod(0o755),
    "j-mtime-back": lambda p: (flip(p), set_mtime(p, BASE - 10**9)),
    "k-touch": lambda p: set_mtime(p, BASE + 10**9),
    "l-delete": lambda p: p.unlink(),
    "m-rename": lambda p: os.rename(p, p.with_name("m-renamed")),
    "n-link-added": lambda p: os.link(p, p.with_name("n-second-name")),
    "o-xattr": lambda p: os.setxattr(p, "user.new", b"value"),
    "p-type": of_another_type,
    "q-content-of-two-names": flip,
    "r-swap-1": lambda p: (os.rename(p, p.with_name("x")), os.rename(p.with_name("r-swap-2"), p),
                           os.rename(p.with_name("x"), p.with_name("r-swap-2"))),
}  # fmt: skip


def build(root: Path) -> None:
    root.mkdir()
    dice = random.Random("subjects")
    names = [*CHANGES, "r-swap-2", *(f"s-same-{number}" for number in range(8))]
    for name in names:
        path = root / name
        path.write_bytes(dice.randbytes(SIZE))
        path.chmod(0o644)
        set_mtime(path, BASE)
    (root / "p-type").unlink()
    os.symlink("nowhere", root / "p-type")
    os.link(root / "q-content-of-two-names", root / "q-second-name")


def change(root: Path) -> None:
    for name, doing in CHANGES.items():
        try:
            doing(root / name)
        except OSError:
            if name != "o-xattr":  # a file system without them
                raise


@pytest.mark.parametrize(("name", "mode"), every_mode(), ids=lambda word: word)
def test_reads_again_exactly_what_it_can_notice(tmp_path: Path, name: str, mode: str) -> None:
    root = tmp_path / "tree"
    build(root)
    runs = Runs(subject(name, mode, tmp_path / "home"), root, tmp_path)
    filesystem = measure.filesystem(root).split()[0]
    if name == "bup":
        time.sleep(1.1)  # it trusts nothing that changed within the second before
    runs.backup()
    runs.backup()
    before = tree.scan(root)
    time.sleep(0.05)  # ticks of the clock that file times come from
    change(root)
    after = tree.scan(root)
    outcome = runs.backup(decisions=True)

    changes, gone = oracles.judge(before, after)
    by_name = oracles.judge_names(before, after)
    oracle = Oracle(changes=changes, gone=gone, by_name=by_name)
    looks_at = runs.subject.looks_at(filesystem)
    relevant = by_name if runs.subject.counts_names else changes
    noticed = frozenset(c.path for c in relevant if c.noticed_by(looks_at))
    files = [e for e in after.entries.values() if e.kind == "file" and (runs.subject.counts_names or not e.link_to)]
    if runs.subject.reads_everything:
        noticed = frozenset(e.path for e in files)
    if runs.subject.tells_decisions:
        assert runs.reread is not None
        assert runs.reread - (runs.collateral - noticed) == noticed
        assert runs.collateral <= runs.reread
        assert len(runs.reread) < len(files) or runs.subject.reads_everything, "something was trusted"

    want = runs.subject.expected(after, oracle, filesystem)
    assert want.files == len(files)
    if not runs.subject.reads_everything:
        assert want.changed_files == len(noticed)
        assert outcome.reference == "used"
        if outcome.changed_files is not None:
            assert outcome.changed_files == want.changed_files

    missed = frozenset(c.path for c in oracle.missed_by(looks_at))
    if runs.reread is not None:
        missed -= runs.reread  # by luck: they shared a chunk with others
    back = runs.restored()
    assert differences(runs.subject, with_contents_of(after, before, missed), back, filesystem) == []


#: What of CHANGES no one can see with size and mtime alone, and what one sees who looks at ctime.
BLIND = {b"b-content-restored", b"f-inode-content", b"r-swap-1", b"r-swap-2"}


def test_the_table_of_changes_tells_the_modes_apart(tmp_path: Path) -> None:
    """Else the test above would compare empty sets."""
    root = tmp_path / "tree"
    build(root)
    before = tree.scan(root)
    time.sleep(0.05)
    change(root)
    changes, _ = oracles.judge(before, tree.scan(root))
    oracle = Oracle(changes=changes)
    assert {c.path for c in oracle.missed_by(frozenset({"size", "mtime", "name", "type", "hardlink"}))} == BLIND
    assert {c.path for c in oracle.missed_by(frozenset({"size", "mtime", "inode", "name", "type"}))} == {b"b-content-restored"}
    assert oracle.missed_by(frozenset({"size", "ctime", "name", "type"})) == ()
