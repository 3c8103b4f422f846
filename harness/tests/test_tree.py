"""tree.py: the harness's own view of a tree, on which every restore check rests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pxarbench_harness import tree


@pytest.fixture
def small(tmp_path: Path) -> Path:
    root = tmp_path / "small"
    (root / "d").mkdir(parents=True)
    (root / "d" / "file").write_bytes(b"contents")
    (root / "other").write_bytes(b"1234")
    os.link(root / "other", root / "second")
    os.symlink("d/file", root / "link")
    os.mkfifo(root / "fifo")
    (root / os.fsdecode(b"\xff")).write_bytes(b"")
    return root


def change(root: Path, what: str) -> None:
    path = root / "d" / "file"
    st = path.stat()
    match what:
        case "contents":
            path.write_bytes(b"Contents")
            os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
        case "size":
            path.write_bytes(b"content")
            os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
        case "mtime":
            os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns + 1))
        case "mode":
            path.chmod(st.st_mode ^ 0o001)
        case "setuid":
            path.chmod(0o4644)
        case "link target":
            (root / "link").unlink()
            (root / "link").symlink_to("d/File")
        case "hardlink":
            data, st = (root / "second").read_bytes(), (root / "second").stat()
            (root / "second").unlink()
            (root / "second").write_bytes(data)
            os.utime(root / "second", ns=(st.st_atime_ns, st.st_mtime_ns))
        case "type":
            (root / "fifo").unlink()
            (root / "fifo").write_bytes(b"")
        case "xattr":
            os.setxattr(path, "user.x", b"1")
        case "missing":
            path.unlink()
        case "surplus":
            (root / "surplus").mkdir()
        case "directory mode":
            (root / "d").chmod(0o700)
        case "root mode":
            root.chmod(0o700)
        case "owner":
            os.chown(path, 4321, 8765)


CHANGES = {
    "contents": "digest", "size": "size", "mtime": "mtime_ns", "mode": "mode", "setuid": "mode", "link target": "target",
    "hardlink": "link_to", "type": "kind", "xattr": "xattrs", "missing": "missing", "surplus": "should not be there",
    "directory mode": "mode", "root mode": "mode", "owner": "uid",
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_every_kind_of_change_is_a_difference(small: Path, what: str) -> None:
    if what == "owner" and os.geteuid() != 0:
        pytest.skip("changing owners needs root")
    before = tree.scan(small)
    assert tree.differences(before, tree.scan(small)) == []
    change(small, what)
    for after in (tree.scan(small), tree.scan(small, known=before)):
        assert any(CHANGES[what] in text for text in tree.differences(before, after))
        assert after.digest() != before.digest()


def test_content_digest_ignores_owner_and_time_but_not_contents(small: Path) -> None:
    before = tree.scan(small)
    change(small, "mtime")
    change(small, "mode")
    assert tree.scan(small).content_digest() == before.content_digest()
    change(small, "contents")
    assert tree.scan(small).content_digest() != before.content_digest()


def test_listing_survives_a_file(small: Path, tmp_path: Path) -> None:
    if hasattr(os, "setxattr"):
        os.setxattr(small / "other", "user.bytes", b"\0\xff")
    before = tree.scan(small)
    tree.save(before, tmp_path / "listing")
    assert tree.load(tmp_path / "listing", small).entries == before.entries
    assert b"\xff" in before.entries


def test_hashing_in_processes_gives_the_same_digests(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree.scan(small)
    monkeypatch.setattr(tree, "_PARALLEL_BYTES", 1)
    assert tree.scan(small).entries == before.entries


def test_left_out_kinds_may_be_missing_but_nothing_else(small: Path) -> None:
    before = tree.scan(small)
    (small / "fifo").unlink()
    os.utime(small, ns=(0, before.entries[b"."].mtime_ns))
    assert tree.differences(before, tree.scan(small), leave_out=lambda e: e.kind == "fifo") == []
    assert tree.differences(before, tree.scan(small)) == ["fifo: missing (fifo)"]
