"""A datastore written by the real server, opened in place: lists, indexes, blobs, catalogs, verification.

The vectors are not part of the repository: see store_tools for where they are looked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from store_tools import RealSnapshot, RealStore, archive_lines, fingerprint, real_store  # noqa: F401 (a fixture)

from pxarbench_harness import run

Cli = Callable[..., run.Result]

ENCRYPTED_MAGICS = (bytes.fromhex("7b6785be222d4cf0"), bytes.fromhex("e6591bbf0bbfd80b"))


# ---- the vectors themselves ----


def test_store_has_exactly_the_files_of_the_description(real_store: RealStore) -> None:
    for snapshot in real_store.snapshots:
        stored = {path.name: path.read_bytes() for path in snapshot.folder.iterdir()}
        assert {name: len(data) for name, data in stored.items()} == {n: f["size"] for n, f in snapshot.files.items()}
        for name, data in stored.items():
            assert hashlib.sha256(data).hexdigest() == snapshot.files[name]["sha256"]
    assert len(real_store.snapshots) == 9 and len(real_store.encrypted) == 2


# ---- snapshot list, snapshot files ----


def _listed(snapshot: RealSnapshot) -> dict[str, Any]:
    manifest = snapshot.manifest
    assert int(datetime.fromisoformat(snapshot.said["backup-time"]).timestamp()) == manifest["backup-time"]
    return {
        "backup-type": manifest["backup-type"],
        "backup-id": manifest["backup-id"],
        "backup-time": manifest["backup-time"],
        "files": [{key: file[key] for key in ("filename", "crypt-mode", "size")} for file in manifest["files"]],
        "size": sum(file["size"] for file in manifest["files"]),
    }


def test_list_gives_the_servers_snapshots(cli: Cli, real_store: RealStore) -> None:
    before = sorted(os.listdir(real_store.path))
    listed = cli("snapshot", "list", "--repository", real_store.path, "--output-format", "json").check_ok().json()
    assert listed == [_listed(snapshot) for snapshot in real_store.snapshots]
    text = cli("snapshot", "list", "--repository", real_store.path).check_ok().text
    assert [line.split()[0] for line in text.splitlines()] == [snapshot.name for snapshot in real_store.snapshots]
    assert sorted(os.listdir(real_store.path)) == before  # looking changes nothing


def test_list_of_one_group(cli: Cli, real_store: RealStore) -> None:
    environment = {"PBS_REPOSITORY": str(real_store.path)}
    result = cli("snapshot", "list", "host/split", "--output-format", "json", env=environment)
    wanted = [_listed(snapshot) for snapshot in real_store.group("host/split")]
    assert len(wanted) == 2
    assert result.check_ok().json() == wanted


def test_files_gives_the_servers_manifests(cli: Cli, real_store: RealStore) -> None:
    for snapshot in real_store.snapshots:
        words = ["snapshot", "files", snapshot.name, "--repository", real_store.path]
        files = snapshot.manifest["files"]
        assert cli(*words, "--output-format", "json-pretty").check_ok().json() == files
        rows = [line.split() for line in cli(*words).check_ok().text.splitlines()]
        assert rows == [[str(file[key]) for key in ("filename", "crypt-mode", "size", "csum")] for file in files]
        # What the manifest lists is what is there, but for the manifest.
        assert {file["filename"] for file in files} == set(snapshot.files) - {"index.json.blob"}


# ---- index show ----


def test_index_show_gives_the_servers_chunks(cli: Cli, real_store: RealStore) -> None:
    kinds = []
    for snapshot in real_store.snapshots:
        csums = {file["filename"]: file["csum"] for file in snapshot.manifest["files"]}
        for name, file in snapshot.files.items():
            if "chunks" not in file:
                continue
            path = snapshot.folder / name
            index = cli("index", "show", path, "--output-format", "json").check_ok().json()
            entries = [(entry["start"], entry["end"], entry["digest"]) for entry in index["entries"]]
            assert entries == snapshot.chunks(name)
            assert all(entry["size"] == entry["end"] - entry["start"] for entry in index["entries"])
            assert index["csum"] == index["computed-csum"] == csums[name]
            assert index["csum-valid"] is True
            assert index["size"] == entries[-1][1] == file["stream"]["size"]
            assert index.get("chunk-size") == file.get("chunk_size")
            assert index["kind"] == {".didx": "dynamic", ".fidx": "fixed"}[path.suffix]
            text = cli("index", "show", path).check_ok().text
            assert [line.split()[-1] for line in text.splitlines()[-len(entries) :]] == [e[2] for e in entries]
            kinds.append(index["kind"])
    assert kinds.count("fixed") == 1 and kinds.count("dynamic") >= 10


def _changed_index(snapshot: RealSnapshot, name: str, at: int, path: Path) -> Path:
    data = bytearray((snapshot.folder / name).read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("group", "name"), [("host/plain", "root.pxar.didx"), ("host/img", "disk.img.fidx")])
def test_index_show_sees_a_changed_entry(
    cli: Cli, real_store: RealStore, tmp_path: Path, group: str, name: str
) -> None:
    snapshot = real_store.group(group)[0]
    changed = _changed_index(snapshot, name, 4096 + 8, tmp_path / name)
    result = cli("index", "show", changed, "--output-format", "json").check_ok()
    assert result.json()["csum-valid"] is False
    assert "does not match" in result.stderr.decode()
    changed.write_bytes(changed.read_bytes()[:-1])
    assert cli("index", "show", changed).returncode == 1
    result = cli("index", "show", _changed_index(snapshot, name, 0, changed))
    assert result.returncode == 1
    assert "neither a dynamic nor a fixed index" in result.stderr.decode()


# ---- blob show ----


def test_blob_show_gives_the_servers_contents(cli: Cli, real_store: RealStore) -> None:
    shown = 0
    for snapshot in real_store.snapshots:
        for name, file in snapshot.files.items():
            if not name.endswith(".blob"):
                continue
            path = snapshot.folder / name
            data = path.read_bytes()
            blob = cli("blob", "show", path, "--output-format", "json").check_ok().json()
            assert (blob["encoded-size"], blob["encoded-digest"]) == (file["size"], file["sha256"])
            encrypted = data[:8] in ENCRYPTED_MAGICS
            assert encrypted == (snapshot.is_encrypted and name != "index.json.blob")
            assert int(blob["crc"], 16) == zlib.crc32(data[44 if encrypted else 12 :])
            raw = cli("blob", "show", path, "--raw")
            if encrypted:
                assert blob["kind"].startswith("encrypted") and "digest" not in blob and "size" not in blob
                assert "not decoded: encrypted" in cli("blob", "show", path).check_ok().text
                assert raw.returncode == 1 and raw.stdout == b"" and "is encrypted" in raw.stderr.decode()
            else:
                assert (blob["size"], blob["digest"]) == (file["decoded"]["size"], file["decoded"]["sha256"])
                assert hashlib.sha256(raw.check_ok().stdout).hexdigest() == blob["digest"]
            shown += 1
    assert shown >= 14


def test_blob_show_decodes_the_servers_manifests_and_chunks(cli: Cli, real_store: RealStore) -> None:
    for snapshot in real_store.snapshots:
        manifest = snapshot.folder / "index.json.blob"
        assert cli("blob", "show", manifest, "--raw").check_ok().stdout == snapshot.manifest_text
    start, end, digest = real_store.group("host/plain")[0].chunks("root.pxar.didx")[0]
    chunk = cli("blob", "show", real_store.chunk_path(digest), "--output-format", "json").check_ok().json()
    assert (chunk["size"], chunk["digest"]) == (end - start, digest)


def test_blob_show_refuses_other_files(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "x.blob"
    for data, sentence in (
        (b"", "too few"),
        (b"x" * 100, "unknown magic"),
        (bytes.fromhex("42ab3807be8370a1") + bytes(4) + b"x", "crc is"),
        (ENCRYPTED_MAGICS[0] + bytes(30), "too few for an encrypted"),
    ):
        path.write_bytes(data)
        result = cli("blob", "show", path)
        assert result.returncode == 1 and result.stdout == b""
        assert sentence in result.stderr.decode() and str(path) in result.stderr.decode()
    assert cli("blob", "show", tmp_path / "missing").returncode == 1
    assert cli("blob", "show").returncode == 2
    assert cli("blob").returncode == 2


# ---- catalog dump ----


def test_catalog_dump_gives_the_reference_s_lines(cli: Cli, real_store: RealStore) -> None:
    dumped = 0
    for snapshot in real_store.snapshots:
        if snapshot.catalog_lines is None:
            continue
        words = ["catalog", "dump", snapshot.name]
        for archive in ([], ["root.pxar"], ["root.pxar.didx"], ["catalog.pcat1.didx"]):
            result = cli(*words, *archive, "--repository", real_store.path).check_ok()
            assert result.text.splitlines() == snapshot.catalog_lines
        assert cli(*words, "root.mpxar", "--repository", real_store.path).returncode == 1
        dumped += 1
    assert dumped == 3


def test_catalog_dump_of_split_archives_is_their_content(cli: Cli, real_store: RealStore) -> None:
    dumped = 0
    for snapshot in real_store.unencrypted:
        if not snapshot.is_split:
            continue
        wanted = archive_lines(snapshot, "root.mpxar.didx")
        for archive in ([], ["root.pxar"], ["root.mpxar"], ["root.ppxar.didx"]):
            result = cli("catalog", "dump", snapshot.name, *archive, "--repository", real_store.path).check_ok()
            assert result.text.splitlines() == wanted
        dumped += 1
    assert dumped == 3


def test_catalogs_say_what_their_archives_hold(real_store: RealStore) -> None:
    """The two roads to these lines agree, so either may serve as oracle."""
    for snapshot in real_store.unencrypted:
        if snapshot.catalog_lines is not None:
            assert archive_lines(snapshot, "root.pxar.didx") == snapshot.catalog_lines


def test_catalog_dump_needs_no_contents(cli: Cli, real_store: RealStore, tmp_path: Path) -> None:
    """Of a split archive only the chunks of the metadata stream are read."""
    store = real_store.copy(tmp_path / "store")
    snapshot = store.group("host/split")[1]
    needed = {digest for _, _, digest in snapshot.chunks("root.mpxar.didx")}
    for _, _, digest in snapshot.chunks("root.ppxar.didx"):
        if digest not in needed:
            store.chunk_path(digest).unlink(missing_ok=True)
    result = cli("catalog", "dump", snapshot.name, "--repository", store.path).check_ok()
    assert result.text.splitlines() == archive_lines(snapshot, "root.mpxar.didx")


def test_catalog_dump_of_what_is_no_archive(cli: Cli, real_store: RealStore) -> None:
    image = real_store.group("host/img")[0]
    result = cli("catalog", "dump", image.name, "--repository", real_store.path)
    assert result.returncode == 1 and "neither a catalog nor an archive" in result.stderr.decode()
    assert cli("catalog", "dump", image.name, "disk.img", "--repository", real_store.path).returncode == 2
    assert cli("catalog", "dump", image.name, "other.pxar", "--repository", real_store.path).returncode == 1


def test_encrypted_snapshots_are_recognised(cli: Cli, real_store: RealStore) -> None:
    for snapshot in real_store.encrypted:
        result = cli("catalog", "dump", snapshot.name, "--repository", real_store.path)
        assert result.returncode == 1 and result.stdout == b""
        assert "root.mpxar.didx: is encrypted" in result.stderr.decode()


# ---- verify ----


def _verify(cli: Cli, store: RealStore, snapshot: RealSnapshot, *archives: str) -> tuple[int, Any]:
    result = cli("verify", snapshot.name, *archives, "--repository", store.path, "--output-format", "json")
    return result.returncode, json.loads(result.stdout)


def test_verify_finds_the_servers_snapshots_good_and_changes_nothing(cli: Cli, real_store: RealStore) -> None:
    before = fingerprint(real_store.path)
    for snapshot in real_store.snapshots:
        code, said = _verify(cli, real_store, snapshot)
        assert (code, said["ok"], said["problems"]) == (0, True, [])
        assert said["snapshot"] == snapshot.name
        files = snapshot.manifest["files"]
        assert [file["filename"] for file in said["files"]] == [file["filename"] for file in files]
        wanted = "encrypted" if snapshot.is_encrypted else "ok"
        assert [file["result"] for file in said["files"]] == [wanted] * len(files)
        for file in said["files"]:
            assert file["chunks"] == len(snapshot.files[file["filename"]].get("chunks", []))
        assert said["chunks"] == len(snapshot.distinct_chunks())  # each once
        text = cli("verify", snapshot.name, "--repository", real_store.path).check_ok().text.splitlines()
        state = "not verified: encrypted" if snapshot.is_encrypted else "ok"
        assert text[:-1] == [f"{file['filename']}: {state}" for file in files]
    assert fingerprint(real_store.path) == before


def _write_chunk(path: Path, content: bytes) -> None:
    path.write_bytes(bytes.fromhex("42ab3807be8370a1") + zlib.crc32(content).to_bytes(4, "little") + content)


def _missing(path: Path) -> None:
    path.unlink()


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _replaced(path: Path) -> None:
    _write_chunk(path, b"other content")


def _encrypted(path: Path) -> None:
    path.write_bytes(ENCRYPTED_MAGICS[0] + zlib.crc32(b"cipher").to_bytes(4, "little") + bytes(32) + b"cipher")


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (_missing, "missing-chunk"),
        (_flipped, "damaged-chunk"),
        (_cut, "damaged-chunk"),
        (_emptied, "damaged-chunk"),
        (_replaced, "wrong-digest"),
        (_encrypted, "wrong-kind"),
    ],
)
@pytest.mark.parametrize(("group", "index"), [("host/split", "root.ppxar.didx"), ("host/img", "disk.img.fidx")])
def test_verify_names_a_bad_chunk(
    cli: Cli,
    real_store: RealStore,
    tmp_path: Path,
    fault: Callable[[Path], None],
    problem: str,
    group: str,
    index: str,
) -> None:
    store = real_store.copy(tmp_path / "store")
    snapshot = store.group(group)[0]
    start, _, digest = snapshot.chunks(index)[2]
    fault(store.chunk_path(digest))
    before = fingerprint(store.path)
    code, said = _verify(cli, store, snapshot)
    assert code == 1 and said["ok"] is False
    (found,) = said["problems"]
    assert (found["filename"], found["problem"], found["chunk"], found["offset"]) == (index, problem, digest, start)
    assert [f["filename"] for f in said["files"] if f["result"] == "failed"] == [index]
    text = cli("verify", snapshot.name, "--repository", store.path)
    assert text.returncode == 1
    assert f"{index}: {problem}: chunk {digest} at offset {start}: " in text.text
    assert text.stderr.decode().strip() == f"error: {snapshot.name}: problems found: 1"
    assert fingerprint(store.path) == before  # nothing is renamed
    # Other snapshots do not use it.
    assert _verify(cli, store, store.group("host/excl")[1])[0] == (
        1 if digest in store.group("host/excl")[1].distinct_chunks() else 0
    )


def test_verify_of_chosen_archives(cli: Cli, real_store: RealStore, tmp_path: Path) -> None:
    store = real_store.copy(tmp_path / "store")
    snapshot = store.group("host/plain")[0]
    (snapshot.folder / "app.conf.blob").unlink()
    code, said = _verify(cli, store, snapshot, "root.pxar", "rnd.conf")
    assert code == 0 and [f["filename"] for f in said["files"]] == ["root.pxar.didx", "rnd.conf.blob"]
    code, said = _verify(cli, store, snapshot, "app.conf")
    assert code == 1 and [p["problem"] for p in said["problems"]] == ["missing-file"]
    split = store.group("host/split")[0]
    code, said = _verify(cli, store, split, "root.mpxar")
    assert code == 0 and [f["filename"] for f in said["files"]] == ["root.ppxar.didx", "root.mpxar.didx"]
    assert cli("verify", split.name, "nothing.img", "--repository", store.path).returncode == 1


def test_verify_compares_files_with_the_manifest(cli: Cli, real_store: RealStore, tmp_path: Path) -> None:
    store = real_store.copy(tmp_path / "store")
    snapshot = store.group("host/plain")[0]

    def problems() -> list[tuple[str, str]]:
        code, said = _verify(cli, store, snapshot)
        assert code == (1 if said["problems"] else 0)
        return [(p["filename"], p["problem"]) for p in said["problems"]]

    index = snapshot.folder / "root.pxar.didx"
    good = index.read_bytes()
    _changed_index(snapshot, index.name, 32, index)  # the stored checksum: nobody trusts it
    assert problems() == []
    index.write_bytes(good)
    _changed_index(snapshot, index.name, 4096 + 8, index)
    assert problems() == [(index.name, "wrong-csum")]
    index.write_bytes(good[:-40])  # one chunk less
    assert problems() == [(index.name, "wrong-size"), (index.name, "wrong-csum")]
    index.write_bytes(good[:-1])
    assert problems() == [(index.name, "damaged-index")]
    index.unlink()
    index.symlink_to("/dev/zero")
    assert problems() == [(index.name, "unreadable")]
    index.unlink()
    index.write_bytes(good)

    blob = snapshot.folder / "app.conf.blob"
    blob.write_bytes(blob.read_bytes() + b"x")
    assert problems() == [(blob.name, "wrong-size"), (blob.name, "wrong-csum"), (blob.name, "damaged-blob")]
    (snapshot.folder / "index.json.blob").write_bytes(b"garbage garbage")
    assert cli("verify", snapshot.name, "--repository", store.path).returncode == 1


# ---- exit codes ----


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["list", "host"], 2),
        (["list", "host/../x"], 2),
        (["list", "--ns", "../x"], 2),
        (["list", "--ns", "nowhere"], 1),
        (["files"], 2),
        (["files", "host/x"], 2),
        (["files", "host/x/2026-01-02T03:04:05Z"], 1),
        (["files", "host/x/2026-01-02T03:04:05Z", "more"], 2),
        (["list", "--wrong"], 2),
        ([], 2),
        (["forgot"], 2),
        (["list", "--help"], 0),
        (["files", "--help"], 0),
        (["--help"], 0),
    ],
    ids=lambda value: "-".join(value).replace("/", "_") or "nothing" if isinstance(value, list) else str(value),
)
def test_exit_codes_of_snapshot(cli: Cli, tmp_path: Path, words: list[str], code: int) -> None:
    (tmp_path / ".chunks").mkdir()
    assert cli("snapshot", *words, env={"PBS_REPOSITORY": str(tmp_path)}).returncode == code


@pytest.mark.parametrize("command", [["catalog", "dump"], ["verify"]], ids=["catalog-dump", "verify"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["host/x"], 2),
        (["host/x/2026-01-02T03:04:05Z"], 1),
        (["host/x/2026-01-02T03:04:05Z", "--ns", "../x"], 2),
        (["host/x/2026-01-02T03:04:05Z", "--ns", "nowhere"], 1),
        (["host/x/2026-01-02T03:04:05Z", "--wrong"], 2),
        (["--help"], 0),
    ],
    ids=["nothing", "group", "missing", "bad-namespace", "missing-namespace", "option", "help"],
)
def test_exit_codes_of_catalog_and_verify(
    cli: Cli, tmp_path: Path, command: list[str], words: list[str], code: int
) -> None:
    (tmp_path / ".chunks").mkdir()
    assert cli(*command, *words, env={"PBS_REPOSITORY": str(tmp_path)}).returncode == code


def test_help_of_verify_says_that_it_only_reads(cli: Cli) -> None:
    text = cli("verify", "--help").check_ok().text
    assert "Only reads" in text and "not renamed" in text and "no verify state" in text


def test_exit_codes_without_datastore(cli: Cli, tmp_path: Path) -> None:
    assert cli("snapshot", "list", env={"PBS_REPOSITORY": ""}).returncode == 2
    assert cli("snapshot", "list", "--repository", tmp_path / "missing").returncode == 1
    assert not (tmp_path / "missing").exists()
    assert cli("snapshot", "list", "--repository", tmp_path).returncode == 1
    assert not any(tmp_path.iterdir())
    assert cli("index", "show", tmp_path / "missing.didx").returncode == 1
    assert cli("index", "show", tmp_path).returncode == 1
    assert cli("index").returncode == 2
