"""A damaged datastore: the run says what is wrong with the previous snapshot, does without it, and stores everything.

Source: bench/spec/change-detection.md 4 and 5.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backup_tools import (
    NAME, T1, T2, T3, Repository, blob, index_body, index_bytes, noise, payload_references, sentence, settle, warnings_of,
    write_tree,
)  # fmt: skip

from pxarbench_harness import run
from pxarbench_harness.tree import scan

Damage = Callable[[Path], None]


# ---- damages of a file ----


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage(path: Path) -> None:
    path.write_bytes(noise("garbage", path.stat().st_size))


def flipped(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def magic(path: Path) -> None:
    flipped(path, 0)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def other_content(path: Path) -> None:
    """A good blob, but of something else."""
    path.write_bytes(blob(b"something else"))


def bomb(path: Path) -> None:
    """Small when stored, far more than a chunk may have when unpacked."""
    if shutil.which("zstd") is None:
        pytest.skip("there is no program zstd")
    frame = run.run(["zstd", "-q", "-c", "-1"], stdin=bytes(64 << 20)).check_ok().stdout
    path.write_bytes(bytes.fromhex("31b958426fb6a37f") + struct.pack("<I", zlib.crc32(frame)) + frame)


MANIFEST_DAMAGES = [empty, truncated, halved, garbage, flipped, magic, other_content, bomb]
MANIFEST_GONE = [missing, fifo]  # without a manifest that is a file the snapshot is unfinished
INDEX_DAMAGES = [missing, empty, truncated, halved, garbage, flipped, magic, directory, fifo]
CHUNK_DAMAGES = [missing, empty, truncated, halved, garbage, flipped, magic, directory, fifo, other_content, bomb]

by_name = {"ids": lambda damage: damage.__name__.replace("_", "-")}


# ---- what is backed up ----


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


@pytest.fixture
def first(repository: Repository, tree: Path) -> Repository:
    repository.backup(tree, T1, mode="data")
    return repository


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A tree with long names: its metadata stream has a dozen chunks of 64 KiB."""
    root = tmp_path / "wide"
    for number in range(2400):
        path = root / f"d{number % 6}" / (f"f{number:04}-" + noise(f"n{number}", 115).hex())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(f"w{number}", 1200))
    settle(root)
    return root


def change(tree: Path) -> None:
    (tree / "d1" / "new").write_bytes(noise("new", 20_000))
    (tree / "d0" / "f03").write_bytes(noise("other", 5_000))
    (tree / "d2" / "f02").unlink()
    settle(tree)


def check_refusal(repository: Repository, tree: Path, reason: str) -> str:
    """On a copy: a run that is refused in its middle has mended the metadata stream up to there."""
    copy = Repository(repository.program, repository.scratch / "copy", repository.scratch)
    shutil.rmtree(copy.path)
    run.run(["cp", "-a", repository.path, copy.path]).check_ok()
    refused = copy.run(tree, T2, "--require-reference").failed()
    assert f"({reason})" in refused
    assert copy.snapshot(T1).exists() and not copy.snapshot(T2).exists() and copy.temporary_files() == []
    shutil.rmtree(copy.path)
    return refused


def check_fallback(repository: Repository, tree: Path, reason: str) -> str:
    """First that it can be refused, then that the run does without the reference. Returns the reason's details."""
    check_refusal(repository, tree, reason)
    done = repository.backup(tree, T2)
    assert done.reason == reason
    detail: str = done.archive["reference"]["detail"]
    begin = "continue without reference: " if reason == "metadata-broke-midway" else "reference for 'root': "
    assert begin + reason + (f": {detail}" if detail else "") in done.log
    if reason != "metadata-broke-midway":
        assert done.archive["reused_files"] == 0
    repository.check_restore(T2)
    # And it serves as reference for the next one.
    again = repository.backup(tree, T3)
    assert again.reason == "used" and again.archive["reencoded_files"] == 0
    repository.check_restore(T3)
    return detail


def check_not_restorable(repository: Repository, at: int, *named: object) -> str:
    target = repository.scratch / "none"
    text = sentence(repository.restore(at, target))
    for word in named:
        assert str(word) in text
    assert len(text) < 800
    shutil.rmtree(target, ignore_errors=True)
    return text


# ---- manifest and indexes ----


@pytest.mark.parametrize("changed", [False, True], ids=["unchanged", "changed"])
@pytest.mark.parametrize("damage", MANIFEST_DAMAGES, **by_name)
def test_damaged_manifest(first: Repository, tree: Path, damage: Damage, changed: bool) -> None:
    path = first.snapshot(T1) / "index.json.blob"
    damage(path)
    if changed:
        change(tree)
    check_not_restorable(first, T1, "index.json.blob")
    assert "index.json.blob" in check_fallback(first, tree, "manifest-unreadable")


@pytest.mark.parametrize("damage", MANIFEST_GONE, **by_name)
def test_missing_manifest_means_unfinished(first: Repository, tree: Path, damage: Damage) -> None:
    damage(first.snapshot(T1) / "index.json.blob")
    check_not_restorable(first, T1, first.snapshot(T1))
    assert first.backup(tree, T2).reason == "no-previous-snapshot"
    del first.wanted[T1]
    if damage is fifo:  # nothing of ours makes such a snapshot, so nothing of ours takes it away
        shutil.rmtree(first.snapshot(T1))
    first.check_whole()


@pytest.mark.parametrize(
    "text",
    [b"[]", b"{}", b'{"files": [{"filename": "../../x.didx"}]}', b'{"files": 3}', b'{"a":' * 100000, b"\xff\xfe{}"],
    ids=["list", "nothing", "path", "number", "deep", "no-utf8"],
)
def test_manifest_that_is_no_manifest(first: Repository, tree: Path, text: bytes) -> None:
    (first.snapshot(T1) / "index.json.blob").write_bytes(blob(text))
    check_not_restorable(first, T1, "index.json.blob")
    check_fallback(first, tree, "manifest-unreadable")


@pytest.mark.parametrize("changed", [False, True], ids=["unchanged", "changed"])
@pytest.mark.parametrize("damage", INDEX_DAMAGES, **by_name)
@pytest.mark.parametrize(
    ("stream", "reason"), [("mpxar", "metadata-index-bad"), ("ppxar", "payload-index-bad")], ids=["metadata", "payload"]
)
def test_damaged_index(
    first: Repository, tree: Path, stream: str, reason: str, damage: Damage, changed: bool
) -> None:
    name = f"root.{stream}.didx"
    damage(first.snapshot(T1) / name)
    if changed:
        change(tree)
    check_not_restorable(first, T1, name)
    assert name in check_fallback(first, tree, reason)


@pytest.mark.parametrize("stream", ["mpxar", "ppxar"])
def test_index_of_another_snapshot(first: Repository, tree: Path, stream: str) -> None:
    """A good index, but not the one that the manifest means."""
    change(tree)
    name = f"root.{stream}.didx"
    first.backup(tree, T2)
    shutil.copy(first.snapshot(T1) / name, first.snapshot(T2) / name)
    check_not_restorable(first, T2, name)
    assert first.backup(tree, T3).reason == ("metadata-index-bad" if stream == "mpxar" else "payload-index-bad")
    first.check_restore(T3)
    first.check_restore(T1)


@pytest.mark.parametrize("size", [(16 << 20) + 1, 1 << 62])
def test_index_with_a_chunk_larger_than_any(first: Repository, tree: Path, size: int) -> None:
    """Index and manifest agree, but no store holds such a chunk."""
    change(tree)
    name = f"{NAME}.ppxar.didx"
    entries = first.index(T1, "ppxar")
    begin = entries[-2][0] if len(entries) > 1 else 0
    entries[-1] = (begin + size, entries[-1][1])
    (first.snapshot(T1) / name).write_bytes(index_bytes(entries))
    manifest = first.manifest(T1)
    (listed,) = (file for file in manifest["files"] if file["filename"] == name)
    listed |= {"size": begin + size, "csum": hashlib.sha256(index_body(entries)).hexdigest()}
    first.set_manifest(T1, manifest)
    backup = first.backup(tree, T2)
    assert backup.reason == "payload-index-bad"
    assert f"chunk {len(entries) - 1} has {size} bytes" in backup.archive["reference"]["detail"]
    first.check_restore(T2)


# ---- snapshots of other kinds ----


def edit_files(repository: Repository, edit: Callable[[list[Any]], list[Any]]) -> None:
    manifest = repository.manifest(T1)
    manifest["files"] = edit(manifest["files"])
    repository.set_manifest(T1, manifest)


def test_previous_archive_in_one_stream(first: Repository, tree: Path) -> None:
    os.rename(first.snapshot(T1) / "root.ppxar.didx", first.snapshot(T1) / "root.pxar.didx")
    edit_files(first, lambda files: [{**f, "filename": "root.pxar.didx"} for f in files if "ppxar" in f["filename"]])
    check_not_restorable(first, T1, "root.pxar.didx")
    check_fallback(first, tree, "no-metadata-index")


def test_previous_archive_of_another_name(first: Repository, tree: Path) -> None:
    edit_files(first, lambda files: [{**f, "filename": f["filename"].replace("root.", "home.")} for f in files])
    check_fallback(first, tree, "no-metadata-index")


@pytest.mark.parametrize(
    ("stream", "reason"), [("mpxar", "no-metadata-index"), ("ppxar", "no-payload-index")], ids=["metadata", "payload"]
)
def test_index_that_the_manifest_does_not_list(first: Repository, tree: Path, stream: str, reason: str) -> None:
    edit_files(first, lambda files: [file for file in files if stream not in file["filename"]])
    check_not_restorable(first, T1, f"root.{stream}.didx")
    check_fallback(first, tree, reason)


@pytest.mark.parametrize("crypt_mode", ["encrypt", "sign-only"])
def test_previous_archive_of_another_crypt_mode(first: Repository, tree: Path, crypt_mode: str) -> None:
    edit_files(first, lambda files: [{**file, "crypt-mode": crypt_mode} for file in files])
    check_fallback(first, tree, "crypt-mode-mismatch")


def test_previous_manifest_with_a_key(first: Repository, tree: Path) -> None:
    manifest = first.manifest(T1)
    fingerprint = ":".join(["0e"] * 32)
    manifest.setdefault("unprotected", {})["key-fingerprint"] = fingerprint
    first.set_manifest(T1, manifest)
    assert fingerprint in check_fallback(first, tree, "manifest-keyed")


def test_previous_snapshot_that_failed_verification(first: Repository, tree: Path) -> None:
    """Row 16 is healed this way: nothing of it counts as known."""
    victim = first.chunk(first.index(T1, "ppxar")[1][1])
    victim.unlink()
    manifest = first.manifest(T1)
    manifest.setdefault("unprotected", {})["verify_state"] = {
        "state": "failed", "upid": "UPID:host:00000001:00000002:00000003:00000004:verify:a:root@pam:"}  # fmt: skip
    first.set_manifest(T1, manifest)
    check_fallback(first, tree, "no-previous-snapshot")
    assert victim.is_file()
    first.check_restore(T1)


# ---- chunks of the metadata stream ----


@pytest.mark.parametrize("changed", [False, True], ids=["unchanged", "changed"])
@pytest.mark.parametrize("damage", CHUNK_DAMAGES, **by_name)
def test_damaged_metadata_chunk(first: Repository, tree: Path, damage: Damage, changed: bool) -> None:
    ((_, digest),) = first.index(T1, "mpxar")
    damage(first.chunk(digest))
    if changed:
        change(tree)
    check_not_restorable(first, T1, first.chunk(digest), "root.mpxar")
    if first.chunk(digest).is_file() or not first.chunk(digest).exists():
        assert digest.hex() in check_fallback(first, tree, "metadata-unreadable")
        return
    # Something that is no file at all stands in the way of the chunk: removing it is not the program's business.
    if changed:
        check_fallback(first, tree, "metadata-unreadable")
    else:
        assert digest.hex() in first.run(tree, T2).failed()


@pytest.mark.parametrize("which", [1, 4, -1], ids=["second", "middle", "last"])
@pytest.mark.parametrize("damage", [missing, truncated, flipped, garbage, other_content], **by_name)
def test_reference_that_breaks_midway(repository: Repository, wide: Path, damage: Damage, which: int) -> None:
    repository.backup(wide, T1, mode="data")
    entries = repository.index(T1, "mpxar")
    assert len(entries) > 6
    start, digest = entries[which - 1][0], entries[which][1]
    damage(repository.chunk(digest))
    text = check_not_restorable(repository, T1, repository.chunk(digest), "root.mpxar", f"offset {start}")
    assert f"chunk {which % len(entries)} " in text
    assert digest.hex() in check_refusal(repository, wide, "metadata-broke-midway")
    done = repository.backup(wide, T2)
    assert done.reason == "metadata-broke-midway" and digest.hex() in done.archive["reference"]["detail"]
    assert [line for line in done.log.splitlines() if "continue without reference" in line and digest.hex() in line]
    assert done.archive["reused_files"] + done.archive["reencoded_files"] == 2400
    assert done.archive["reencoded_files"] > 0
    if which > 1:
        assert done.archive["reused_files"] > 0
    repository.check_restore(T2)
    assert repository.backup(wide, T3).reason == "used"
    repository.check_restore(T3)


@pytest.mark.parametrize("which", [1, 4, -1], ids=["second", "middle", "last"])
@pytest.mark.parametrize("damage", [missing, truncated, flipped], **by_name)
def test_chunks_of_a_reference_that_breaks_are_stored_again(
    repository: Repository, wide: Path, damage: Damage, which: int
) -> None:
    """No padding is allowed, so everything is read again and the new stream has the chunks of the damaged one."""
    repository.backup(wide, T1, mode="data")
    entries = repository.index(T1, "mpxar")
    damage(repository.chunk(entries[which][1]))
    done = repository.backup(wide, T2, "--padding-threshold", "0")
    assert done.reason == "metadata-broke-midway" and done.archive["reused_files"] == 0
    assert repository.index(T2, "mpxar") == entries
    for at in (T2, T1):
        repository.check_restore(at)


def test_data_mode_does_not_notice_nor_need_the_reference(repository: Repository, wide: Path) -> None:
    repository.backup(wide, T1, mode="data")
    (repository.snapshot(T1) / "root.mpxar.didx").unlink()
    done = repository.backup(wide, T2, mode="data")
    assert done.reason == "not-asked"
    (said,) = (line for line in done.log.splitlines() if line.startswith("Error downloading .didx"))
    assert "root.mpxar.didx" in said and warnings_of(done.result) == []
    repository.check_restore(T2)


# ---- chunks of the payload stream ----


@pytest.mark.parametrize("damage", [missing, truncated, flipped, other_content], **by_name)
def test_damaged_payload_chunk_is_carried_on(first: Repository, tree: Path, damage: Damage) -> None:
    """Row 16: nobody reads it, so nobody notices before the restore, which says what is damaged and whose it is."""
    number = 2
    digest = first.index(T1, "ppxar")[number][1]
    damage(first.chunk(digest))
    text = check_not_restorable(first, T1, digest.hex(), "root.ppxar.didx")
    done = first.backup(tree, T2)
    assert done.reason == "used" and digest in [entry[1] for entry in first.index(T2, "ppxar")]
    text = check_not_restorable(first, T2, digest.hex(), "root.ppxar.didx")
    files = {name.decode() for name in scan(tree).entries}
    assert any(name in text for name in files if "/f" in name), text


# ---- a metadata stream that lies ----


def test_metadata_stream_of_noise(first: Repository, tree: Path) -> None:
    first.set_stream(T1, "mpxar", noise("stream", 5000))
    check_not_restorable(first, T1, "root.mpxar.didx")
    check_fallback(first, tree, "metadata-unreadable")


def test_metadata_stream_that_is_a_whole_archive(first: Repository, tree: Path, pxarbench: Path, tmp_path: Path) -> None:
    """Of version 1: it has the same files, but nothing in it refers to the payload stream."""
    unified = tmp_path / "whole.pxar"
    run.run([pxarbench, "pxar", "create", tree, unified]).check_ok()
    first.set_stream(T1, "mpxar", unified.read_bytes())
    assert "version 1" in check_fallback(first, tree, "metadata-unreadable")


def test_metadata_stream_that_ends_early(first: Repository, tree: Path) -> None:
    content = first.stream(T1, "mpxar")
    first.set_stream(T1, "mpxar", content[: len(content) * 2 // 3])
    check_not_restorable(first, T1, "root.mpxar.didx", "offset")
    check_fallback(first, tree, "metadata-broke-midway")


def test_metadata_stream_with_a_broken_item(first: Repository, tree: Path) -> None:
    content = bytearray(first.stream(T1, "mpxar"))
    at, _, _ = payload_references(content)[5]
    content[at - 8] = 33  # the size of the item
    first.set_stream(T1, "mpxar", bytes(content))
    check_not_restorable(first, T1, "root.mpxar.didx", "offset")
    check_fallback(first, tree, "metadata-broke-midway")


def with_offsets(repository: Repository, edit: Callable[[list[int]], list[int]]) -> None:
    """Puts other payload offsets into the previous metadata stream."""
    content = bytearray(repository.stream(T1, "mpxar"))
    found = payload_references(content)
    assert len(found) > 15
    for (at, _, _), offset in zip(found, edit([offset for _, offset, _ in found]), strict=True):
        content[at : at + 8] = struct.pack("<Q", offset)
    repository.set_stream(T1, "mpxar", bytes(content))


def swapped(offsets: list[int]) -> list[int]:
    offsets[4], offsets[9] = offsets[9], offsets[4]
    return offsets


def repeated(offsets: list[int]) -> list[int]:
    return [*offsets[:6], offsets[5], *offsets[7:]]


def overlapping(offsets: list[int]) -> list[int]:
    return [*offsets[:6], offsets[5] + 1, *offsets[7:]]


def backward(offsets: list[int]) -> list[int]:
    return offsets[::-1]


def beyond(offsets: list[int]) -> list[int]:
    return [*offsets[:6], 2**63, *offsets[7:]]


def far_beyond(offsets: list[int]) -> list[int]:
    return [*offsets[:6], 2**64 - 1, *offsets[7:]]


def at_the_end(offsets: list[int]) -> list[int]:
    return [*offsets[:-1], offsets[-1] + 1_000_000]


def into_the_start_marker(offsets: list[int]) -> list[int]:
    return [8, *offsets[1:]]


OFFSETS = [swapped, repeated, overlapping, backward, beyond, far_beyond, at_the_end, into_the_start_marker]


def rejected_offsets(repository: Repository, offsets: list[int]) -> int:
    """By the rule: each range behind the ones accepted before it, and within the stream."""
    sizes = [size for _, _, size in payload_references(repository.stream(T1, "mpxar"))]
    behind, rejected = 16, 0
    end = repository.index(T1, "ppxar")[-1][0]
    for offset, size in zip(offsets, sizes, strict=True):
        if offset < behind or offset + 16 + size > end:
            rejected += 1
        else:
            behind = offset + 16 + size
    assert rejected > 0
    return rejected


@pytest.mark.parametrize("edit", OFFSETS, **by_name)
def test_references_that_do_not_increase_or_lie_outside(
    first: Repository, tree: Path, edit: Callable[[list[int]], list[int]]
) -> None:
    offsets = [offset for _, offset, _ in payload_references(first.stream(T1, "mpxar"))]
    edited = edit(list(offsets))
    with_offsets(first, edit)
    done = first.backup(tree, T2)
    if edit in (far_beyond, into_the_start_marker):
        assert done.reason == "metadata-broke-midway"  # no archive may say that: seen by the decoder
    else:
        assert done.reason == "used"
        reasons = done.archive["reasons"]
        rejected = reasons.get("non-monotone", 0) + reasons.get("out-of-range", 0)
        said = [line for line in done.log.splitlines() if line.startswith("re-encode: ")]
        assert len(said) == rejected == len(set(said)) == rejected_offsets(first, edited)
    # Files whose wrong offset could be right come back wrong: nobody can see that the archive lies. Others are exact.
    new = [offset for _, offset, _ in payload_references(first.stream(T2, "mpxar"))]
    assert new == sorted(set(new))
    assert [entry["payload_offset"] for entry in first.dump(T2) if entry.get("kind") == "file"] == new
    if edit not in (swapped, backward):
        first.check_restore(T2)
