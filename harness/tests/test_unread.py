"""What has not changed is not read: no read of a file's contents, and no open but the one for its attributes.

Seen from outside, by a library between the program and the system calls, and not by the program's own counters.
Source: bench/spec/change-detection.md 5.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from backup_tools import T1, T2, T3, Faults, Repository, settle, write_tree

FILES = 30


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = write_tree(tmp_path / "tree", files=FILES, size=70_000, folders=3)
    for name in ("large", "tiny"):
        (root / "d1" / name).write_bytes(os.urandom(3_000_000 if name == "large" else 1))
    settle(root)
    return root


def regular_files(tree: Path) -> list[Path]:
    return [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]


@pytest.mark.parametrize("profile", ["tight", "upstream", "stored"])
@pytest.mark.parametrize("decisions", [False, True], ids=["", "decisions"])
def test_unchanged_files_are_not_read(
    repository: Repository, tree: Path, faults: Faults, profile: str, decisions: bool
) -> None:
    repository.backup(tree, T1, mode="data")
    options = ["--reuse-profile", profile, *(["--decisions", os.devnull] if decisions else [])]
    unreadable = faults(f"read {tree}/* 1+ errno {errno.EIO}")
    done = repository.run(tree, T2, *options, env=unreadable)
    assert done.archive["file_bytes_read"] == 0
    assert "\nNo file data was read.\n" in done.log
    anew = [path for path in regular_files(tree) if path.stat().st_size == 0] if profile == "stored" else []
    # The empty one shares the last chunk with the old tail marker: half of its 32 bytes would be of no use.
    assert done.archive["reencoded_files"] == len(anew) <= 1
    assert done.archive["reused_files"] + len(anew) == len({path.stat().st_ino for path in regular_files(tree)})
    # The library does see reads: in the other mode the first one fails.
    assert "Input/output error" in repository.run(tree, T3, mode="data", env=unreadable).failed()


def test_unchanged_files_are_opened_once_for_their_attributes(
    repository: Repository, tree: Path, faults: Faults, tmp_path: Path
) -> None:
    repository.backup(tree, T1, mode="data")
    opened, read = tmp_path / "opened", tmp_path / "read"
    rules = [f"open {tree}/d*/* 1+ note {opened}", f"read {tree}/* 1+ note {read}"]
    repository.run(tree, T2, env=faults(*rules)).result.check_ok()
    files = [path for path in regular_files(tree) if path.parent != tree]
    assert opened.stat().st_size == len(files) and not read.exists()

    # One file more that has changed: opened once more for its contents, and only it is read.
    opened.unlink()
    (changed,) = tree.glob("d1/large")
    os.truncate(changed, 2_999_999)
    done = repository.run(tree, T3, "--padding-threshold", "1", env=faults(*rules))
    assert done.archive["file_bytes_read"] == 2_999_999
    assert opened.stat().st_size == len(files) + 1 and read.stat().st_size > 0


def test_only_the_changed_file_is_read(repository: Repository, tree: Path, faults: Faults) -> None:
    repository.backup(tree, T1, mode="data")
    (changed,) = tree.glob("d1/large")
    os.truncate(changed, 2_999_999)
    others = [path for path in regular_files(tree) if path != changed and path.parent == changed.parent]
    assert len(others) > 5
    rules = [f"read {path} 1+ errno {errno.EIO}" for path in others[:20]]
    done = repository.run(tree, T2, "--padding-threshold", "1", env=faults(*rules))
    assert done.archive["file_bytes_read"] == 2_999_999 and done.archive["reasons"]["size"] == 1
    assert "\nFile data read: 2.861 MiB.\n" in done.log
