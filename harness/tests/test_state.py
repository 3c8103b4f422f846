"""state.py: stores are brought back exactly, or the session stops."""

from __future__ import annotations

from pathlib import Path

import pytest

from pxarbench_harness.state import State, StateChanged


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
