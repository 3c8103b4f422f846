"""What a run says and does when it finds no reference: every row of bench/spec/change-detection.md 4, made by damaging,
editing or taking away a part of the previous snapshot. Row 3 asks an old server and needs one.

test_faults_reference.py has the same rows with many more kinds of damage; here it is the words that count.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from backup_tools import T1, T2, T3, Backup, Faults, Repository, payload_references, write_tree
from detection_tools import backup

from pxarbench_harness.tree import scan

ENTRY = 0xD5956474E588ACEF
FINGERPRINT = ":".join(["0e"] * 32)
SUMMARY = "Change detection summary:\n"
DOWNLOADING = "Downloading previous manifest ("
Damage = Callable[[Repository], None]


def cut_manifest(repository: Repository) -> None:
    path = repository.snapshot(T1) / "index.json.blob"
    path.write_bytes(path.read_bytes()[:-1])


def edited(edit: Callable[[dict[str, Any]], None]) -> Damage:
    def damage(repository: Repository) -> None:
        manifest = repository.manifest(T1)
        edit(manifest)
        repository.set_manifest(T1, manifest)

    return damage


def files_without(stream: str) -> Damage:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["files"] = [file for file in manifest["files"] if stream not in file["filename"]]

    return edited(edit)


def files_with(**members: str) -> Damage:
    return edited(lambda manifest: [file.update({k.replace("_", "-"): v for k, v in members.items()})
                                    for file in manifest["files"]] and None)  # fmt: skip


def verified_as_bad(manifest: dict[str, Any]) -> None:
    upid = "UPID:host:00000001:00000002:00000003:00000004:verify:a:root@pam:"
    manifest.setdefault("unprotected", {})["verify_state"] = {"state": "failed", "upid": upid}


def flip_index(stream: str) -> Damage:
    """In an entry: the header's own checksum does not count."""

    def damage(repository: Repository) -> None:
        path = repository.snapshot(T1) / f"root.{stream}.didx"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    return damage


def drop_chunk(which: int) -> Damage:
    def damage(repository: Repository) -> None:
        repository.chunk(repository.index(T1, "mpxar")[which][1]).unlink()

    return damage


def without_root(repository: Repository) -> None:
    """A metadata stream that opens as an archive of version 2, but its first entry says that it is no directory."""
    stream = bytearray(repository.stream(T1, "mpxar"))
    assert struct.unpack_from("<QQ", stream, 24) == (ENTRY, 56)
    struct.pack_into("<Q", stream, 40, 0o100644)
    repository.set_stream(T1, "mpxar", bytes(stream))


def ends_midway(repository: Repository) -> None:
    """Opens well; the item that the sixth file's lookup meets says it is shorter than it can be."""
    stream = bytearray(repository.stream(T1, "mpxar"))
    at, _, _ = payload_references(stream)[5]
    stream[at - 8] = 33
    repository.set_stream(T1, "mpxar", bytes(stream))


@dataclass(frozen=True)
class Row:
    damage: Damage
    reason: str
    lines: tuple[str, ...]  # printed, in this order; the first word of a line that goes on differently
    detail: str = ""  # part of what the statistics and the log give as the cause
    with_summary: bool = False
    not_printed: tuple[str, ...] = field(default=())


CONTINUE = "continue without reference"
ROWS: dict[str, Row] = {
    "2-verification-failed": Row(
        edited(verified_as_bad), "no-previous-snapshot", ("No previous manifest available.",),
        not_printed=(DOWNLOADING,),
    ),
    "4-manifest-unreadable": Row(
        cut_manifest, "manifest-unreadable", (DOWNLOADING, "Couldn't download previous manifest - "), "index.json.blob",
    ),
    "5-manifest-of-a-key": Row(
        edited(lambda manifest: manifest.setdefault("unprotected", {}).update({"key-fingerprint": FINGERPRINT})),
        "manifest-keyed",
        (DOWNLOADING, f"Couldn't re-use previous manifest - missing key - manifest was created with key {FINGERPRINT}"),
        FINGERPRINT,
    ),
    "8-no-metadata-index": Row(
        files_without("mpxar"), "no-metadata-index",
        ("Previous manifest does not contain an archive called 'root.mpxar.didx', skipping download..",
         f"No previous metadata index, {CONTINUE}"),
        "root.mpxar.didx",
    ),
    "9-metadata-index-bad": Row(
        flip_index("mpxar"), "metadata-index-bad", (f"No previous metadata index, {CONTINUE}",), "root.mpxar.didx",
    ),
    "10-no-payload-index": Row(
        files_without("ppxar"), "no-payload-index",
        ("Previous manifest does not contain an archive called 'root.ppxar.didx', skipping download..",
         f"No previous payload index found in manifest, {CONTINUE}"),
        "root.ppxar.didx",
    ),
    "11-encrypted": Row(
        files_with(crypt_mode="encrypt"), "crypt-mode-mismatch", (f"Crypt mode mismatch, {CONTINUE}",), "encrypt",
    ),
    "11-signed": Row(
        files_with(crypt_mode="sign-only"), "crypt-mode-mismatch", (f"Crypt mode mismatch, {CONTINUE}",), "sign-only",
    ),
    "12-payload-index-bad": Row(
        flip_index("ppxar"), "payload-index-bad", (f"Previous payload index unusable, {CONTINUE}",), "root.ppxar.didx",
    ),
    "14-at-the-start": Row(
        drop_chunk(0), "metadata-unreadable", (f"Previous metadata archive unreadable, {CONTINUE}",), "root.mpxar",
    ),
    "14-midway": Row(
        ends_midway, "metadata-broke-midway",
        ("Using previous index as metadata reference for 'root.mpxar.didx'",
         f"previous metadata archive became unreadable, {CONTINUE}: metadata-broke-midway: "),
        "offset", with_summary=True,
    ),
    "15-root": Row(
        without_root, "root-unreadable", (f"Previous metadata archive unreadable, {CONTINUE}",), "", with_summary=True,
    ),
}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


@pytest.fixture
def first(repository: Repository, tree: Path) -> Repository:
    repository.backup(tree, T1, mode="data")
    return repository


FILES = 21  # of write_tree: 20 and an empty one


def lines_in_order(log: str, wanted: tuple[str, ...]) -> bool:
    rest = iter([line.removeprefix("warning: ") for line in log.splitlines()])
    return all(any(line.startswith(text) for line in rest) for text in wanted)


def check_refused(repository: Repository, tree: Path, reason: str, **options: Any) -> None:
    """On a copy: a run that is refused in its middle has mended the metadata stream up to there."""
    copy = Repository(repository.program, repository.scratch / "refused", repository.scratch)
    shutil.rmtree(copy.path)
    shutil.copytree(repository.path, copy.path)
    said = copy.run(tree, T2, "--require-reference", **options).failed()
    assert f"archive 'root' has no usable reference ({reason})" in said
    assert not copy.snapshot(T2).exists() and copy.temporary_files() == []
    shutil.rmtree(copy.path)


def check_row(repository: Repository, tree: Path, row: Row, done: Backup) -> None:
    archive = done.archive
    assert archive["reference"]["reason"] == row.reason
    detail = archive["reference"]["detail"] or ""
    assert row.detail in detail
    assert lines_in_order(done.log, row.lines), done.log
    cause = f"{row.reason}: {detail}" if detail else row.reason
    if row.reason != "metadata-broke-midway":
        assert f"\nreference for 'root': {cause}\n" in done.log
        assert archive["reasons"] == {"no-reference": FILES}
        assert (archive["reused_files"], archive["injected_chunks"]) == (0, 0)
    else:
        assert cause in done.log and archive["reasons"]["no-reference"] >= FILES - 6
        assert sum(archive["reasons"].values()) == FILES
    assert [text for text in row.not_printed if text in done.log] == []
    assert (SUMMARY in done.log) == row.with_summary
    repository.check_restore(T2)
    assert repository.backup(tree, T3).reason == "used"
    repository.check_restore(T3)


@pytest.mark.parametrize("name", ROWS)
def test_row(first: Repository, tree: Path, name: str) -> None:
    row = ROWS[name]
    row.damage(first)
    check_refused(first, tree, row.reason)
    check_row(first, tree, row, first.backup(tree, T2))


def test_row_1_and_13_reference_is_used(first: Repository, tree: Path) -> None:
    done = first.backup(tree, T2, "--require-reference")
    assert done.reason == "used"
    used = (DOWNLOADING, "Using previous index as metadata reference for 'root.mpxar.didx'", SUMMARY.strip())
    assert lines_in_order(done.log, used)
    assert "reference for 'root':" not in done.log and "skipping download" not in done.log
    assert done.archive["reference"]["snapshot"].endswith(first.snapshot(T1).name)
    assert done.archive["reasons"] == {"unchanged": FILES}


def test_row_2_first_snapshot_of_a_group(repository: Repository, tree: Path) -> None:
    refused = repository.run(tree, T1, "--require-reference").failed()
    assert "archive 'root' has no usable reference (no-previous-snapshot)" in refused
    done = repository.backup(tree, T1)
    assert lines_in_order(done.log, ("No previous manifest available.", "reference for 'root': no-previous-snapshot"))
    assert done.archive["reasons"] == {"no-reference": FILES} and SUMMARY not in done.log
    assert done.archive["payload"]["known_chunks"] == 0


def test_row_6_other_modes_use_the_manifest_for_known_chunks_alone(first: Repository, tree: Path) -> None:
    """And ask for no reference, so --require-reference has nothing to refuse."""
    done = first.backup(tree, T2, "--require-reference", mode="data")
    assert done.reason == "not-asked" and SUMMARY not in done.log and "reference for" not in done.log
    assert done.archive["payload"]["new_chunks"] == done.archive["metadata"]["new_chunks"] == 0
    assert done.archive["payload"]["known_chunks"] == done.archive["payload"]["chunks"]
    assert done.archive["file_bytes_read"] > 0


def test_row_7_previous_snapshot_cannot_be_opened(first: Repository, tree: Path, faults: Faults) -> None:
    """Fatal for the reference client, a reason here. The writer looks at the folder before the reader does."""
    folder = first.snapshot(T1)
    for number in range(1, 9):
        environment = {**os.environ, **faults(f"open {folder} {number} errno 13")}
        done = first.run(tree, T2, env=environment)
        if done.result.returncode == 0:
            break
        assert folder.name in done.result.text + done.log and not first.snapshot(T2).exists()
    shutil.rmtree(first.snapshot(T2))
    refused = first.run(tree, T2, "--require-reference", env=environment).failed()
    assert "archive 'root' has no usable reference (snapshot-unreadable)" in refused
    row = Row(lambda repository: None, "snapshot-unreadable",
              (DOWNLOADING, "Couldn't download previous manifest - ",
               f"No previous snapshot to refer to, {CONTINUE}"), folder.name)  # fmt: skip
    first.wanted[T2] = scan(tree)
    check_row(first, tree, row, first.run(tree, T2, env=environment))


def test_row_8_renamed_source_and_unified_archive(repository: Repository, tree: Path, tmp_path: Path) -> None:
    repository.backup(tree, T1, mode="legacy")
    check_refused(repository, tree, "no-metadata-index")
    row = ROWS["8-no-metadata-index"]
    done = repository.backup(tree, T2)
    check_row(repository, tree, row, done)


def test_row_14_midway_keeps_what_was_decided_before(repository: Repository, tmp_path: Path) -> None:
    """From the broken item on everything is read; the files before are reused, and the decisions say which is which."""
    tree = write_tree(tmp_path / "tree", files=30, size=70_000, folders=2)
    repository.backup(tree, T1, mode="data")
    ends_midway(repository)
    done = backup(repository, tree, T2)
    reasons = list(done.reasons.values())
    assert set(reasons[:5]) <= {"unchanged", "threshold"} and set(reasons[6:]) == {"no-reference"}
    assert done.archive["reused_files"] > 0
    repository.check_restore(T2)


def test_row_16_is_carried_on_by_data_too_and_healed_by_a_verification(first: Repository, tree: Path) -> None:
    victim = first.chunk(first.index(T1, "ppxar")[1][1])
    victim.unlink()
    for at, mode in ((T2, "data"), (T3, "metadata")):
        done = first.run(tree, at, mode=mode)
        done.result.check_ok()
        assert not victim.exists()
        assert first.restore(at, first.scratch / f"none-{at}").returncode == 1
    manifest = first.manifest(T3)
    verified_as_bad(manifest)
    first.set_manifest(T3, manifest)
    healed = first.backup(tree, T3 + 1)
    assert healed.reason == "no-previous-snapshot" and victim.exists()
    first.check_restore(T3 + 1)
    first.check_restore(T1)
