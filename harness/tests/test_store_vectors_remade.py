"""The real client's backups, made again by the core: the same sources give the same snapshots.

The sources of the real server's datastore are made on ext4 and packed in the order and with the options of the reference
(all of its backups but the encrypted and the signed ones). Chunk lists, and with them every byte of every stream, must
be the reference's. Then the core goes on where the reference ended, on top of the real snapshots.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backup_tools import blob_content
from real_sources import (  # noqa: F401 (fixtures)
    ENCRYPTED,
    EXCLUDES,
    Sources,
    by_key,
    copy_without,
    dynamic_chunks,
    ext4,
    fixed_chunks,
    joined,
    sources,
    sum_of,
)
from store_tools import RealSnapshot, RealStore, real_store  # noqa: F401 (a fixture)

from pxarbench_harness import run
from pxarbench_harness.tree import differences, scan

Cli = Callable[..., run.Result]
Json = dict[str, Any]

#: Snapshots of the reference, in its order, and the mode in which each was made.
MODES = {
    "plain-1": "legacy", "img-1": "legacy", "split-1": "data", "split-2": "metadata", "excl-1": "data", "excl-2": "legacy",
}  # fmt: skip

#: The reference takes one chunk too many where a range ends with its chunk (D1 in bench/spec/change-detection.md 13), and
#: does not compare the values of extended attributes.
LIKE_UPSTREAM = ["--reuse-profile", "upstream", "--compare", "upstream"]

LATER = ["--backup-time", "1700100000"]
LATER_NAME = "host/split/2023-11-16T02:00:00Z"

#: backup(store, snapshot, key, mode, more options...): the equivalent of a real backup. Gives the statistics.
Backup = Callable[..., Json]


@pytest.fixture(scope="module")
def backup(pxarbench: Path, sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> Backup:
    stats = tmp_path_factory.mktemp("stats") / "stats.json"

    def make(store: Path, snapshot: RealSnapshot, key: str, mode: str, *more: str) -> Json:
        if key == "img-1":
            what = [f"disk.img:{sources.folder / 'disk.img'}"]
        else:
            what = [f"root.pxar:{sources.tree(key)}", "--chunk-size", "64"]
        if key == "plain-1":
            what += [f"{name}:{sources.folder / name}" for name in ("app.conf", "rnd.conf")]
        for pattern in EXCLUDES.get(key, ()):
            what += ["--exclude", pattern]
        words = ["--repository", store, "--backup-id", snapshot.manifest["backup-id"],
                 "--backup-time", str(snapshot.manifest["backup-time"]), "--change-detection-mode", mode,
                 "--sync-level", "none", "--stats", stats]  # fmt: skip
        run.run([pxarbench, "backup", *what, *words, *more]).check_ok()
        told: Json = json.loads(stats.read_text())
        return told

    return make


@pytest.fixture(scope="module")
def remade(backup: Backup, real_store: RealStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A datastore of ours with the snapshots of MODES."""
    store = tmp_path_factory.mktemp("remade")
    # The 65,536 empty directories of a new datastore would take most of the time.
    (store / ".chunks").mkdir()
    (store / ".lock").touch()
    for key, mode in MODES.items():
        backup(store, by_key(real_store, key), key, mode, *(LIKE_UPSTREAM if mode == "metadata" else []))
    return store


def manifest(store: Path, snapshot: RealSnapshot) -> Json:
    read: Json = json.loads(blob_content((store / snapshot.name / "index.json.blob").read_bytes()))
    return read


def listed(manifest: Json) -> list[Json]:
    """Its files, in order. The bytes of zstd frames depend on the release of the library: no size, no checksum of a
    compressed blob."""
    return [{**f, "csum": "", "size": 0} if f["filename"] == "app.conf.blob" else f for f in manifest["files"]]


@pytest.mark.parametrize("key", MODES)
def test_the_same_sources_give_the_same_snapshot(key: str, remade: Path, real_store: RealStore) -> None:
    snapshot = by_key(real_store, key)
    assert listed(manifest(remade, snapshot)) == listed(snapshot.manifest)
    for name, file in snapshot.files.items():
        if name == "index.json.blob":
            continue
        path = remade / snapshot.name / name
        if name.endswith(".blob"):
            assert sum_of(blob_content(path.read_bytes())) == file["decoded"], name
            continue
        assert (fixed_chunks(path) if name.endswith(".fidx") else dynamic_chunks(path)) == snapshot.chunks(name), name
        assert sum_of(joined(remade, snapshot.chunks(name))) == file["stream"], name
    assert sorted(os.listdir(remade / snapshot.name)) == sorted(snapshot.files)


def test_only_the_same_chunks_are_stored(remade: Path, real_store: RealStore) -> None:
    stored = {name for folder in (remade / ".chunks").iterdir() for name in os.listdir(folder)}
    assert stored == set().union(*(by_key(real_store, key).distinct_chunks() for key in MODES))


def test_uploads_are_counted_as_by_the_reference(remade: Path, real_store: RealStore) -> None:
    wrong = {}
    for key in MODES:
        snapshot = by_key(real_store, key)
        ours, real = (m["unprotected"]["chunk_upload_stats"] for m in (manifest(remade, snapshot), snapshot.manifest))
        # Without the manifest, as the client sent it: smaller than stored, because it had no counts in it.
        sent = real["size"] - ours["size"]
        if not 200 < sent < snapshot.files["index.json.blob"]["size"]:
            wrong[f"{key} size"] = (ours["size"], real["size"])
        for what in ("count", "duplicates"):
            if ours[what] != real[what]:
                wrong[f"{key} {what}"] = (ours[what], real[what])
    assert wrong == {}


# ---- going on where the reference ended ----


def restored_is(cli: Cli, store: Path, name: str, source: Path, target: Path) -> None:
    cli("restore", name, "root.pxar", target, "--repository", store).check_ok()
    assert differences(scan(source, inode_flags=True), scan(target, inode_flags=True)) == []


def stored_chunks(store: Path) -> set[str]:
    return {name for folder in (store / ".chunks").iterdir() for name in os.listdir(folder)}


@pytest.mark.parametrize(("key", "profile"), [("split-1", "tight"), ("split-1", "upstream"), ("split-2", "tight")])
def test_the_real_snapshot_is_reused_unread(
    cli: Cli, key: str, profile: str, backup: Backup, real_store: RealStore, sources: Sources, ext4: Path, tmp_path: Path
) -> None:
    later = ["split-2"] if key == "split-1" else []
    store = copy_without(real_store, tmp_path / "store", *later)
    snapshot = by_key(store, key)
    before = stored_chunks(store.path)

    stats = backup(store.path, snapshot, key, "metadata", "--reuse-profile", profile, *LATER)
    assert stats["snapshot"] == LATER_NAME
    (archive,) = stats["archives"]
    files = list(scan(sources.tree(key), contents=False).files())
    assert archive["reference"] == {"reason": "used", "detail": "", "snapshot": snapshot.name}
    assert archive["reused_files"] == archive["entries"]["files"] == len(files)
    assert archive["reused_bytes"] == sum(16 + entry.size for entry in files)
    assert archive["reasons"] == {"unchanged": len(files)}
    assert archive["reencoded_files"] == archive["file_bytes_read"] == archive["rejected_ranges"] == 0

    # What is new: the metadata, and of the payload the two markers, at most a chunk each.
    lists = {name: dynamic_chunks(store.path / LATER_NAME / name) for name in ("root.mpxar.didx", "root.ppxar.didx")}
    new = stored_chunks(store.path) - before
    assert new <= {digest for chunks in lists.values() for _, _, digest in chunks}
    assert sum(end - start for start, end, digest in lists["root.ppxar.didx"] if digest in new) <= 32
    assert archive["payload"]["injected_chunks"] >= len(snapshot.chunks("root.ppxar.didx")) - 2
    restored_is(cli, store.path, LATER_NAME, sources.tree(key), ext4 / f"reused-{key}-{profile}")
    for name in (LATER_NAME, snapshot.name):
        cli("verify", name, "--repository", store.path).check_ok()


def test_upstream_rejects_a_range_that_ends_with_its_chunk(
    cli: Cli, backup: Backup, real_store: RealStore, sources: Sources, ext4: Path, tmp_path: Path
) -> None:
    """Nothing has changed since the second `split` snapshot, and still (D1): the payload has padding in front of links/h0,
    so a range ends with docs/new-file; its chunk ends there, too; the next one comes in as nothing but padding, which is
    too much: the files of the range are read again."""
    snapshot = by_key(real_store, "split-2")
    begins = {entry["path"]: entry["payload_offset"] for entry in snapshot.dump if "payload_offset" in entry}
    range_end = begins["/docs/new-file"] + 16 + 20000
    assert range_end in [end for _, end, _ in snapshot.chunks("root.ppxar.didx")] and begins["/links/h0"] > range_end
    store = copy_without(real_store, tmp_path / "store")
    stats = backup(store.path, snapshot, "split-2", "metadata", "--reuse-profile", "upstream", *LATER)
    (archive,) = stats["archives"]
    assert archive["reasons"] == {"unchanged": 21, "threshold": 7}
    restored_is(cli, store.path, LATER_NAME, sources.tree("split-2"), ext4 / "rejected")


@pytest.mark.parametrize("compare", ["upstream", "strict"])
def test_changes_on_top_of_the_real_snapshot_give_the_references_next(
    cli: Cli, compare: str, backup: Backup, real_store: RealStore, sources: Sources, ext4: Path, tmp_path: Path
) -> None:
    """With and without a look at the values of extended attributes: the one file with another value is among those whose
    range was rejected anyway."""
    real = by_key(real_store, "split-2")
    store = copy_without(real_store, tmp_path / "store", "split-2")
    before = stored_chunks(store.path)
    backup(store.path, real, "split-2", "metadata", "--reuse-profile", "upstream", "--compare", compare)
    assert manifest(store.path, real)["files"] == real.manifest["files"]
    for name in ("root.mpxar.didx", "root.ppxar.didx"):
        assert dynamic_chunks(store.path / real.name / name) == real.chunks(name), name
    # Everything it refers to was there in the copy already: it has the chunks of the snapshot that was taken out.
    assert stored_chunks(store.path) == before
    restored_is(cli, store.path, real.name, sources.tree("split-2"), ext4 / f"changed-{compare}")


def test_tight_needs_less_than_the_reference(
    cli: Cli, backup: Backup, real_store: RealStore, sources: Sources, ext4: Path, tmp_path: Path
) -> None:
    """Our own profile reuses the same files, without the chunk too many at the end of a range that ends with its chunk."""
    real = by_key(real_store, "split-2")
    told = {}
    for profile in ("upstream", "tight"):
        store = copy_without(real_store, tmp_path / profile, "split-2")
        (told[profile],) = backup(store.path, real, "split-2", "metadata", "--reuse-profile", profile)["archives"]
    assert told["tight"]["reused_files"] == told["upstream"]["reused_files"] > 0
    assert told["tight"]["unreferenced_chunks"] == 0 < told["upstream"]["unreferenced_chunks"]
    tight, theirs = dynamic_chunks(tmp_path / "tight" / real.name / "root.ppxar.didx"), real.chunks("root.ppxar.didx")
    assert len(tight) < len(theirs) and tight[-1][1] < theirs[-1][1]
    assert {chunk[2] for chunk in tight} <= {chunk[2] for chunk in theirs}
    restored_is(cli, tmp_path / "tight", real.name, sources.tree("split-2"), ext4 / "tight")


@pytest.mark.parametrize("key", ENCRYPTED)
def test_an_encrypted_snapshot_is_no_reference(
    cli: Cli, key: str, backup: Backup, real_store: RealStore, sources: Sources, ext4: Path, tmp_path: Path
) -> None:
    store = copy_without(real_store, tmp_path / "store", *(["enc-2"] if key == "enc-1" else []))
    stats = backup(store.path, by_key(store, key), key, "metadata", *LATER)
    (archive,) = stats["archives"]
    assert archive["reference"]["reason"] == "manifest-keyed" and archive["reused_files"] == 0
    assert real_store.said["key_file"]["fingerprint"] in archive["reference"]["detail"]
    restored_is(cli, store.path, stats["snapshot"], sources.tree(key), ext4 / f"after-{key}")
