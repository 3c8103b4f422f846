"""state.py: stores are brought back exactly, or the session stops."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pxarbench_harness.state import State, StateChanged, look


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "chunk").write_bytes(b"old")
    return root


def listing(root: Path) -> set[Path]:
    return set(root.rglob("*"))


def test_everything_new_is_removed_and_nothing_else(filled: Path) -> None:
    before, state = listing(filled), State.capture([filled])
    (filled / "a" / "b" / "new").write_bytes(b"1")
    (filled / "x" / "y").mkdir(parents=True)
    (filled / "x" / "y" / "index").write_bytes(b"2")
    (filled / "a" / "link").symlink_to("/nowhere")
    assert state.rewind() == 3
    assert listing(filled) == before
    assert state.rewind() == 0


def test_a_store_that_was_not_there_goes_away_again(tmp_path: Path) -> None:
    state = State.capture([tmp_path / "none"])
    (tmp_path / "none" / "a").mkdir(parents=True)
    state.rewind()
    assert not (tmp_path / "none").exists()


def test_changed_replaced_or_removed_files_are_told(filled: Path) -> None:
    state = State.capture([filled])
    chunk = filled / "a" / "b" / "chunk"
    chunk.write_bytes(b"new")
    with pytest.raises(StateChanged, match="chunk: was changed"):
        state.rewind()
    state = State.capture([filled])
    chunk.rename(filled / "moved")
    with pytest.raises(StateChanged, match="chunk: was removed"):
        state.rewind()


# ---- files that are rewritten ----


def test_rewritten_files_come_back_from_the_copy(filled: Path, tmp_path: Path) -> None:
    (filled / "index").write_bytes(b"one")
    (filled / "gone" / "deep").mkdir(parents=True)
    (filled / "gone" / "deep" / "file").write_bytes(b"there")
    before = {path: path.read_bytes() if path.is_file() else None for path in listing(filled)}
    state = State.capture([filled], tmp_path / "saved")
    for _ in range(2):
        st = (filled / "a" / "b" / "chunk").stat()
        (filled / "a" / "b" / "chunk").write_bytes(b"NEW")
        os.utime(filled / "a" / "b" / "chunk", ns=(st.st_atime_ns, st.st_mtime_ns))  # only its ctime tells
        (filled / "index").unlink()
        shutil.rmtree(filled / "gone")
        (filled / "more").write_bytes(b"1")
        assert state.rewind() == 1
        assert {path: path.read_bytes() if path.is_file() else None for path in listing(filled)} == before
    state.forget()
    assert not (tmp_path / "saved").exists()


def test_file_added_to_a_known_folder_is_seen_by_a_quick_listing(filled: Path) -> None:
    """Folders whose time is as it was are not read again: a new name must change that time, or be found all the same."""
    state = State.capture([filled])
    for number in range(50):
        (filled / "a" / "b" / f"new{number}").write_bytes(b"1")
        assert state.rewind() == 1, number
    old = look([filled])
    (filled / "a" / "later").write_bytes(b"12")
    assert look([filled], old).size() == old.size() + 2


def test_folders_without_parts_of_a_second_are_always_read(filled: Path) -> None:
    os.utime(filled / "a", ns=(0, 5_000_000_000))
    state = State.capture([filled])
    (filled / "a" / "new").write_bytes(b"1")
    os.utime(filled / "a", ns=(0, 5_000_000_000))
    assert state.rewind() == 1


def test_what_rewinding_cannot_see_is_found_by_looking_at_everything(filled: Path) -> None:
    """A file that came into a folder without the folder's time telling so: the run after it would find it stored already."""
    state = State.capture([filled])
    state.verify()
    folder = filled / "a" / "b"
    before = folder.stat()
    (folder / "unseen").write_bytes(b"x")
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert state.rewind() == 0  # it trusts the folder's time
    with pytest.raises(StateChanged, match="b/unseen: was left behind by a run"):
        state.verify()
    (folder / "unseen").unlink()
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    state.verify()
    kept = next(path for path in sorted(filled.rglob("*")) if path.is_file())
    kept.unlink()
    with pytest.raises(StateChanged, match="was changed or removed by a run"):
        state.verify()
    kept.write_bytes(b"another")
    with pytest.raises(StateChanged, match="was changed or removed by a run"):
        state.verify()
