"""Mode legacy: one stream per directory, one catalog per snapshot, and what a change of mode finds of the other modes.

The catalog is read here once more, from bench/spec/datastore.md 7, and compared with the tree itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backup_tools import (
    NAME, T1, T2, T3, T4, Faults, Repository, blob_content, index_entries, is_sanitized, noise, sentence, settle,
    warnings_of, write_tree,
)  # fmt: skip
from loop_mount import mounted

from pxarbench_harness import run

CATALOG = "catalog.pcat1.didx"
CATALOG_MAGIC = bytes.fromhex("91fd60f9c46758d5")
PAYLOAD = 0x28147A1B0B7C1A25

KINDS = {
    stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFBLK: "b", stat.S_IFCHR: "c", stat.S_IFIFO: "p",
    stat.S_IFSOCK: "s",
}  # fmt: skip

# ---- a catalog, read from the specification ----


@dataclass(frozen=True)
class Listed:
    kind: str
    size: int = 0
    mtime: int = 0


class Numbers:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        assert self.at + size <= len(self.data)
        self.at += size
        return self.data[self.at - size : self.at]

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def signed(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            if byte == 0:
                return -value
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


def catalog_block(stream: bytes, at: int, path: bytes, out: dict[bytes, Listed]) -> None:
    numbers = Numbers(stream[at:])
    table = Numbers(numbers.take(numbers.unsigned()))
    for _ in range(table.unsigned()):
        kind = chr(table.take(1)[0])
        name = path + table.take(table.unsigned())
        assert name not in out
        if kind == "d":
            out[name] = Listed("d")
            catalog_block(stream, at - table.unsigned(), name + b"/", out)
        else:
            out[name] = Listed(kind, table.unsigned(), table.signed()) if kind == "f" else Listed(kind)
    assert table.at == len(table.data)


def read_catalog(stream: bytes) -> dict[bytes, Listed]:
    """Everything listed, by path, in the order of the catalog."""
    assert stream[:8] == CATALOG_MAGIC
    listed: dict[bytes, Listed] = {}
    catalog_block(stream, struct.unpack("<Q", stream[-8:])[0], b"", listed)
    return listed


def should_list(tree: Path, archive: str) -> dict[bytes, Listed]:
    """What the catalog says of a directory, from the directory."""
    listed = {archive.encode(): Listed("d")}
    first: set[tuple[int, int]] = set()

    def walk(folder: bytes, path: bytes) -> None:
        for name in sorted(os.listdir(folder)):
            found = os.lstat(folder + b"/" + name)
            kind = KINDS[stat.S_IFMT(found.st_mode)]
            if kind == "f":
                again = found.st_nlink > 1 and (found.st_dev, found.st_ino) in first
                first.add((found.st_dev, found.st_ino))
                mtime = found.st_mtime_ns // 10**9
                listed[path + b"/" + name] = Listed("h") if again else Listed("f", found.st_size, mtime)
            else:
                listed[path + b"/" + name] = Listed(kind)
            if kind == "d":
                walk(folder + b"/" + name, path + b"/" + name)

    walk(os.fsencode(tree), archive.encode())
    return listed


# ---- snapshots ----


def stored_stream(repository: Repository, at: int, name: str) -> bytes:
    entries = index_entries((repository.snapshot(at) / name).read_bytes())
    return b"".join(blob_content(repository.chunk(digest).read_bytes()) for _, digest in entries)


def catalog(repository: Repository, at: int) -> dict[bytes, Listed]:
    return read_catalog(stored_stream(repository, at, CATALOG))


def stored_names(repository: Repository, at: int) -> list[str]:
    """As the manifest lists them; the directory must hold the same."""
    names = [file["filename"] for file in repository.manifest(at)["files"]]
    on_disk = [path.name for path in repository.snapshot(at).iterdir() if path.name != "index.json.blob"]
    assert sorted(names) == sorted(on_disk)
    return names


def dump(repository: Repository, at: int, name: str = f"{NAME}.pxar.didx") -> list[Any]:
    archive = repository.scratch / "dump.pxar"
    archive.write_bytes(stored_stream(repository, at, name))
    lines = run.run([repository.program, "pxar", "dump", archive], timeout=60).check_ok().text.splitlines()
    return [json.loads(line) for line in lines]


def files_of(repository: Repository, at: int) -> dict[str, str]:
    """Path and digest of every file with contents."""
    return {entry["path"]: entry["sha256"] for entry in dump(repository, at) if entry["kind"] == "file"}


def files_in(tree: Path) -> dict[str, str]:
    found = {}
    for path in sorted(tree.rglob("*")):
        if path.is_file() and not path.is_symlink():
            found[f"/{path.relative_to(tree)}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


def legacy(repository: Repository, tree: Path, at: int, *more: str | os.PathLike[str]) -> Any:
    """A run that must succeed."""
    done = repository.run(tree, at, *more, mode="legacy")
    done.result.check_ok()
    assert done.stats["mode"] == "legacy"
    return done


# ---- what is stored ----


def test_absent_option_means_legacy(repository: Repository, tree: Path) -> None:
    words = repository.words(tree, T1, "--output-format", "json")
    at = words.index("--change-detection-mode")
    counted = run.run(words[:at] + words[at + 2 :], timeout=60).check_ok().json()
    assert counted["mode"] == "legacy"
    assert stored_names(repository, T1) == [f"{NAME}.pxar.didx", CATALOG]


def test_mode_applies_to_every_directory_and_to_nothing_else(repository: Repository, tree: Path, tmp_path: Path) -> None:
    image, config, log = tmp_path / "disk", tmp_path / "app", tmp_path / "app-log"
    image.write_bytes(noise("image", 100_000))
    config.write_text("x = 1\n")
    log.write_text("done\n")
    more = [f"disk.img:{image}", f"two.pxar:{tree}/d0", f"app.conf:{config}", f"app.log:{log}"]
    stored = {
        "legacy": [f"{NAME}.pxar.didx", "disk.img.fidx", "two.pxar.didx", "app.conf.blob", "app.log.blob", CATALOG],
        "data": [
            f"{NAME}.ppxar.didx", f"{NAME}.mpxar.didx", "disk.img.fidx", "two.ppxar.didx", "two.mpxar.didx",
            "app.conf.blob", "app.log.blob",
        ],
    }  # fmt: skip
    stored["metadata"] = stored["data"]
    for at, mode in ((T1, "legacy"), (T2, "data"), (T3, "metadata")):
        done = repository.run(tree, at, *more, mode=mode)
        done.result.check_ok()
        assert stored_names(repository, at) == stored[mode]
        archives = done.stats["archives"]
        assert [archive["name"] for archive in archives] == [NAME, "disk", "two", "app", "app"]
        trees = "unified" if mode == "legacy" else "split"
        assert [archive["kind"] for archive in archives] == [trees, "image", trees, "blob", "blob"]
        names = [name for archive in archives for name in archive["stored"]]
        assert names + ([CATALOG] if mode == "legacy" else []) == stored[mode]
        sizes = {file["filename"]: (file["size"], file["csum"]) for file in repository.manifest(at)["files"]}
        for archive in archives:
            streams = [archive["payload"], archive["metadata"], archive["stream"], archive["blob"]]
            for name, stream in zip(archive["stored"], [stream for stream in streams if stream], strict=True):
                assert sizes[name] == (stream["size"], stream["csum"])
        assert archives[3]["blob"]["raw_size"] == 6 and archives[1]["stream"]["size"] == 100_000
        assert archives[1]["file_bytes_read"] == 100_000
        streams = [archive[key] for archive in archives for key in ("metadata", "payload", "stream")]
        streams = [stream for stream in [*streams, done.stats["catalog"]] if stream]
        totals = repository.manifest(at)["unprotected"]["chunk_upload_stats"]
        blobs = sum(archive["blob"]["size"] for archive in archives if archive["blob"])
        assert totals["count"] == sum(stream["new_chunks"] for stream in streams)
        assert totals["size"] == sum(stream["new_bytes"] for stream in streams) + blobs
        assert totals["compressed_size"] == sum(stream["compressed_bytes"] for stream in streams)
        # Images know their chunks in every mode.
        assert archives[1]["stream"]["known_chunks"] == (0 if at == T1 else archives[1]["stream"]["chunks"])
        assert (done.stats["catalog"] is None) == (mode != "legacy")
        verified = run.run([repository.program, "snapshot", "files", f"host/me/{repository.snapshot(at).name}",
                            "--repository", repository.path], timeout=60).check_ok()  # fmt: skip
        assert all(name in verified.text for name in stored[mode])


def test_contents_are_those_of_the_tree(repository: Repository, tree: Path) -> None:
    legacy(repository, tree, T1)
    wanted = files_in(tree)
    assert wanted.pop("/z-hard")
    assert files_of(repository, T1) == wanted
    (link,) = [entry for entry in dump(repository, T1) if entry["kind"] == "hardlink"]
    assert (link["path"], link["target"]) == ("/z-hard", "d0/f00")


def test_decisions_name_where_contents_are(repository: Repository, tree: Path, tmp_path: Path) -> None:
    decisions = tmp_path / "decisions"
    legacy(repository, tree, T1, "--decisions", decisions)
    stream = stored_stream(repository, T1, f"{NAME}.pxar.didx")
    lines = [json.loads(line) for line in decisions.read_text().splitlines()]
    files = [line for line in lines if line["action"] != "hardlink"]
    assert len(files) == 21 and len(lines) == 22
    for line in files:
        assert (line["action"], line["reason"]) == ("reencoded", "no-reference")
        at = line["offset"]
        assert struct.unpack("<QQ", stream[at : at + 16]) == (PAYLOAD, 16 + line["size"])
        assert stream[at + 16 : at + 16 + line["size"]] == (tree / line["path"]).read_bytes()


# ---- the second run ----


def test_unchanged_tree_uploads_nothing(repository: Repository, tree: Path) -> None:
    first = legacy(repository, tree, T1)
    second = legacy(repository, tree, T2)
    one, two = first.archive["stream"], second.archive["stream"]
    assert one["chunks"] >= 3 and one["known_chunks"] == 0
    assert (two["known_chunks"], two["new_chunks"], two["csum"]) == (one["chunks"], 0, one["csum"])
    assert two["known_bytes"] == two["size"] == one["size"]
    assert second.stats["catalog"]["new_chunks"] == 0
    assert second.stats["catalog"]["csum"] == first.stats["catalog"]["csum"]
    # Known are chunks, not files: everything is read.
    assert second.archive["file_bytes_read"] == first.archive["file_bytes_read"] > 0
    assert second.archive["reused_files"] == 0 and second.reason == "not-asked"


def test_lines_of_a_legacy_run(repository: Repository, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "big").write_bytes(noise("big", 2_000_000))
    settle(tree)
    first = legacy(repository, tree, T1).log.splitlines()
    assert first[1].startswith("Client name: ") and first[2].startswith("Starting backup protocol: ")
    assert first[3] == "No previous manifest available."
    assert first[4] == f"Upload directory '{tree}' as {NAME}.pxar.didx"
    assert first[5].startswith(f"{NAME}.pxar: had to backup 1.908 MiB of 1.908 MiB (compressed 1.90")
    assert first[6].startswith("Uploaded backup catalog (") and first[6].endswith(" B)")
    assert first[7].startswith("Duration: ") and first[8].startswith("End Time: ") and len(first) == 9

    done = legacy(repository, tree, T2)
    second = done.log.splitlines()
    assert second[3].startswith("Downloading previous manifest (")
    assert second[5].startswith(f"{NAME}.pxar: had to backup 0 B of 1.908 MiB (compressed 0 B) in ")
    assert second[6] == f"{NAME}.pxar: backup was done incrementally, reused 1.908 MiB (100.0%)"
    assert second[7] == f"Uploaded backup catalog ({done.stats['catalog']['size']} B)"
    assert "Change detection summary" not in done.log and "metadata reference" not in done.log


def test_contents_with_the_old_time_and_size_are_noticed(repository: Repository, tree: Path) -> None:
    legacy(repository, tree, T1)
    (tree / "d1" / "f01").write_bytes(noise("other", (tree / "d1" / "f01").stat().st_size))
    settle(tree)
    done = legacy(repository, tree, T2)
    assert done.archive["stream"]["new_chunks"] > 0
    assert files_of(repository, T2)["/d1/f01"] == files_in(tree)["/d1/f01"]


def test_identical_trees_give_identical_streams(repository: Repository, tmp_path: Path) -> None:
    """Whatever order the directory is in, however many threads there are, however reads are cut."""
    names = [f"n{number:03}" for number in range(100)]
    csums = set()
    for number, (order, words) in enumerate(
        [(names, ["--threads", "1"]), (names[::-1], ["--threads", "4"]), (names, ["--read-size-max", "999"])]
    ):
        tree = tmp_path / f"tree{number}"
        (tree / "sub").mkdir(parents=True)
        for name in order:
            (tree / "sub" / name).write_bytes(noise(name, 100 + 37 * int(name[1:]) ** 2))
        settle(tree)
        done = legacy(repository, tree, T1 + number, *words)
        csums.add((done.archive["stream"]["csum"], done.stats["catalog"]["csum"]))
    assert len(csums) == 1


def test_chunks_are_cut_without_suggestions(repository: Repository, tmp_path: Path) -> None:
    """One repeated byte has no hash cuts: chunks of the greatest size, wherever files begin."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(5):
        (tree / f"f{number}").write_bytes(bytes([65 + number]) * 200_000)
    settle(tree)
    legacy(repository, tree, T1)
    ends = [end for end, _ in repository.index(T1, "pxar")]
    assert ends[:-1] == [262144 * number for number in range(1, len(ends))]


def test_memory_is_bounded(repository: Repository, tmp_path: Path) -> None:
    if is_sanitized(repository.program):
        pytest.skip("a sanitizer's own memory is not the program's")
    tree = tmp_path / "tree"
    tree.mkdir()
    with open(tree / "big", "wb") as file:
        file.truncate(300 << 20)
    for number in range(3000):
        (tree / f"small{number:04}").write_bytes(b"x" * 1000)
    # By a shell in between: what a process starts with counts the memory of the one that made it.
    shell = ["sh", "-c", '"$@"; exit "$?"', "sh"]
    done = repository.run(tree, T1, "--chunk-size", "4096", "--threads", "2", mode="legacy", before=shell)
    assert done.archive["file_bytes_read"] == (300 << 20) + 3_000_000
    assert done.stats["peak_rss_bytes"] < 200 << 20


# ---- the catalog ----


def test_catalog_lists_the_tree(repository: Repository, tree: Path) -> None:
    (tree / "old").write_bytes(b"o" * 300)
    os.utime(tree / "old", ns=(-5 * 10**9 + 1, -5 * 10**9 + 1))
    (tree / "oldest").touch()
    os.utime(tree / "oldest", ns=(-10 * 10**9, -10 * 10**9))
    with open(os.fsencode(tree) + b"/\xff\xfe name\n", "wb") as file:
        file.write(b"bytes")
    (tree / "d1" / "empty" / "deeper").mkdir(parents=True)
    (tree / "d1" / "long").symlink_to("x" * 200)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tree / "socket"))
    legacy(repository, tree, T1)
    listed = catalog(repository, T1)
    wanted = should_list(tree, f"{NAME}.pxar.didx")
    assert listed == wanted
    # Archive order: names ascend within each directory, contents follow their directory here.
    assert list(listed) == list(wanted)
    assert {entry.kind for entry in listed.values()} == {"d", "f", "l", "h", "p", "s"}
    assert listed[f"{NAME}.pxar.didx/old".encode()] == Listed("f", 300, -5)


def test_one_catalog_for_all_archives(repository: Repository, tree: Path, tmp_path: Path) -> None:
    other = write_tree(tmp_path / "other", files=3)
    empty = tmp_path / "empty"
    empty.mkdir()
    # Not in the order of their names: that of the command line counts.
    legacy(repository, tree, T1, f"zz.pxar:{other}", f"aa.pxar:{empty}")
    wanted = should_list(tree, f"{NAME}.pxar.didx")
    wanted |= should_list(other, "zz.pxar.didx") | should_list(empty, "aa.pxar.didx")
    listed = catalog(repository, T1)
    assert listed == wanted and list(listed) == list(wanted)
    assert stored_names(repository, T1) == [f"{NAME}.pxar.didx", "zz.pxar.didx", "aa.pxar.didx", CATALOG]


def test_catalog_is_cut_at_its_own_size(repository: Repository, tmp_path: Path) -> None:
    """Chunks of 512 KiB on average, whatever the archives' are: never less than a quarter of that."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(8000):
        (tree / (f"{number:06}" + noise(str(number), 110).hex())).touch()
    legacy(repository, tree, T1)
    assert catalog(repository, T1) == should_list(tree, f"{NAME}.pxar.didx")
    ends = [end for end, _ in index_entries((repository.snapshot(T1) / CATALOG).read_bytes())]
    sizes = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    assert len(sizes) > 2 and all(131072 <= size <= 2097152 for size in sizes[:-1])


def test_without_a_directory_there_is_no_catalog(repository: Repository, tmp_path: Path) -> None:
    config = tmp_path / "app"
    config.write_text("x")
    words = ["backup", f"app.conf:{config}", "--repository", repository.path, "--backup-id", "me"]
    words += ["--backup-time", str(T1), "--sync-level", "none"]
    run.run([repository.program, *words], timeout=60).check_ok()
    assert stored_names(repository, T1) == ["app.conf.blob"]


def test_entries_that_vanish_are_not_listed(repository: Repository, tree: Path, faults: Faults) -> None:
    done = repository.run(tree, T1, mode="legacy", env=faults("open *d1/f04 1 unlink", "stat *d1/f04 1 unlink"))
    done.result.check_ok()
    assert any("vanished" in line for line in done.log.splitlines())
    assert not (tree / "d1" / "f04").exists()
    listed = catalog(repository, T1)
    assert listed == should_list(tree, f"{NAME}.pxar.didx")
    assert [entry["path"] for entry in dump(repository, T1) if entry["path"] == "/d1/f04"] == []


# ---- the patterns ----


def test_patterns_are_the_last_member_of_the_root(repository: Repository, tree: Path) -> None:
    # Sorted by its name this would come before all others; one in the tree itself does not count.
    (tree / ".pxarexclude-cli").write_text("never")
    words = ["--exclude", "foo/", "--exclude", "!bar", "--exclude", "/x//", "--exclude", "f0[13]", "--skip-lost-and-found"]
    done = legacy(repository, tree, T1, *words)
    text = b"foo/\n!bar\n/x/\nf0[13]\nlost+found\n"
    entries = dump(repository, T1)
    root = [entry["path"] for entry in entries if entry["path"].count("/") == 1]
    assert root[-1] == "/.pxarexclude-cli" and root.count("/.pxarexclude-cli") == 1
    (member,) = [entry for entry in entries if entry["path"] == "/.pxarexclude-cli"]
    assert (member["mode"], member["mtime"]) == ("0100600", [0, 0])
    assert (member["uid"], member["gid"]) == (os.getuid(), os.getgid())
    assert (member["size"], member["sha256"]) == (len(text), hashlib.sha256(text).hexdigest())
    assert text in stored_stream(repository, T1, f"{NAME}.pxar.didx")
    listed = catalog(repository, T1)
    name = f"{NAME}.pxar.didx/.pxarexclude-cli".encode()
    assert list(listed)[-1] == name and listed[name] == Listed("f", len(text), 0)
    # Not one of the tree's files.
    files = [entry for entry in entries if entry["kind"] == "file"]
    assert done.archive["entries"]["files"] == done.archive["reencoded_files"] == len(files) - 1
    assert "/d0/f03" not in [entry["path"] for entry in files]


def test_no_patterns_no_member(repository: Repository, tree: Path) -> None:
    (tree / ".pxarexclude").write_text("f05\n")  # these are not the command line's
    legacy(repository, tree, T1)
    paths = [entry["path"] for entry in dump(repository, T1)]
    assert "/.pxarexclude-cli" not in paths and "/.pxarexclude" in paths and "/d2/f05" not in paths


def test_patterns_that_are_not_utf8_are_kept(repository: Repository, tree: Path) -> None:
    legacy(repository, tree, T1, "--exclude", os.fsdecode(b"a\xff"))
    assert b"a\xff\n" in stored_stream(repository, T1, f"{NAME}.pxar.didx")


# ---- from mode to mode ----


def test_modes_follow_each_other(repository: Repository, tree: Path) -> None:
    """change-detection.md 4: what each mode finds of the snapshot before."""
    missing = "Previous manifest does not contain an archive called '{}', skipping download.."

    first = repository.backup(tree, T1, mode="legacy")
    data = repository.backup(tree, T2, mode="data")
    assert data.archive["reference"]["reason"] == "not-asked"
    for name in ("root.mpxar.didx", "root.ppxar.didx"):
        assert missing.format(name) in data.log
    assert data.archive["payload"]["known_chunks"] == data.archive["metadata"]["known_chunks"] == 0

    metadata = repository.backup(tree, T3, mode="metadata")
    assert metadata.reason == "used" and metadata.archive["reencoded_files"] == 0
    assert metadata.archive["reused_files"] == 21

    last = repository.backup(tree, T4, mode="legacy")
    assert missing.format("root.pxar.didx") in last.log and missing.format(CATALOG) in last.log
    assert last.archive["stream"]["known_chunks"] == 0
    # Not known, but there: nothing is written twice.
    assert last.archive["stream"]["duplicate_chunks"] == last.archive["stream"]["new_chunks"]
    assert last.archive["stream"]["csum"] == first.archive["stream"]["csum"]
    assert repository.index(T1, "pxar") == repository.index(T4, "pxar")
    repository.check_whole()


def test_metadata_after_legacy_reuses_nothing(repository: Repository, tree: Path) -> None:
    repository.backup(tree, T1, mode="legacy")
    done = repository.backup(tree, T2)
    assert done.reason == "no-metadata-index" and done.archive["reused_files"] == 0
    assert "Previous manifest does not contain an archive called 'root.mpxar.didx', skipping download.." in done.log
    again = repository.backup(tree, T3)
    assert again.reason == "used" and again.archive["reencoded_files"] == 0
    repository.check_whole()


# ---- faults ----


@pytest.mark.parametrize("call", ["create", "write", "rename"])
@pytest.mark.parametrize("name", ["*/root.pxar*", "*/catalog.pcat1*", "*.chunks/*"], ids=["archive", "catalog", "chunks"])
def test_a_failed_change_leaves_no_snapshot(
    repository: Repository, tree: Path, faults: Faults, name: str, call: str
) -> None:
    done = repository.run(tree, T1, mode="legacy", env=faults(f"{call} {name} 1 errno 28"))
    assert "No space left on device" in done.failed()
    assert repository.listed() == [] and repository.temporary_files() == []
    assert not repository.snapshot(T1).exists()
    legacy(repository, tree, T2)


def test_a_full_store_leaves_no_snapshot(pxarbench: Path, tree: Path, tmp_path: Path) -> None:
    """Without a shim, so that sanitizers see the way out of a failure, too."""
    (tree / "big").write_bytes(noise("big", 6_000_000))
    image = tmp_path / "disk"
    image.write_bytes(noise("disk", 6_000_000))
    with mounted("tmpfs", tmp_path / "memory", "-o", "size=3m,nr_inodes=10k") as folder:
        repository = Repository(pxarbench, folder / "store", tmp_path)
        for sources in ([f"{NAME}.pxar:{tree}"], [f"small.pxar:{tree}/d0", f"big.img:{image}"]):
            words = repository.words(tree, T1)
            words = [*words[:2], *sources, *words[3:]]
            words[words.index("--change-detection-mode") + 1] = "legacy"
            assert "No space left on device" in sentence(run.run(words, timeout=60))
            assert repository.listed() == [] and repository.temporary_files() == []


@pytest.mark.parametrize("name", ["d0/f00", "d1/f10", "z-last"])
def test_a_file_that_cannot_be_read_leaves_no_snapshot(
    repository: Repository, tree: Path, faults: Faults, name: str
) -> None:
    (tree / "z-last").write_bytes(b"z" * 1000)
    (tree / "y-big").write_bytes(noise("y", 3_000_000))
    settle(tree)
    done = repository.run(tree, T1, mode="legacy", env=faults(f"read *{name} 1 errno 5"))
    assert f'error at "{name}"' in done.failed() and "Input/output error" in done.failed()
    assert repository.listed() == [] and repository.temporary_files() == []


@pytest.mark.parametrize("change", ["truncate 100", "append 5000"], ids=["shrinks", "grows"])
@pytest.mark.parametrize("size", [9000, 3_000_000], ids=["small", "big"])
def test_files_that_change_size_keep_the_listed_one(
    repository: Repository, tree: Path, faults: Faults, change: str, size: int
) -> None:
    (tree / "changing").write_bytes(noise("c", size))
    done = repository.run(tree, T1, mode="legacy", env=faults(f"read *changing 1 {change}"))
    done.result.check_ok()
    assert len(warnings_of(done.result)) == 1
    (entry,) = [entry for entry in dump(repository, T1) if entry["path"] == "/changing"]
    assert entry["size"] == size
    content = noise("c", size)
    if change.startswith("truncate"):
        content = content[:100] + bytes(size - 100)
    assert entry["sha256"] == hashlib.sha256(content).hexdigest()


def damaged_indexes() -> Iterator[Any]:
    for name in (f"{NAME}.pxar.didx", CATALOG):
        for how in ("missing", "short", "changed"):
            yield pytest.param(name, how, id=f"{name}-{how}")


@pytest.mark.parametrize(("name", "how"), damaged_indexes())
def test_damaged_previous_index_is_no_list_of_known_chunks(
    repository: Repository, tree: Path, name: str, how: str
) -> None:
    first = legacy(repository, tree, T1)
    index = repository.snapshot(T1) / name
    data = bytearray(index.read_bytes())
    if how == "missing":
        index.unlink()
    elif how == "short":
        index.write_bytes(data[:-7])
    else:
        data[-1] ^= 1
        index.write_bytes(data)
    done = legacy(repository, tree, T2)
    assert done.stats["warnings"] == 1 and "Error downloading .didx from previous manifest: " in done.log
    stream, catalog_stream = done.archive["stream"], done.stats["catalog"]
    broken, whole = (catalog_stream, stream) if name == CATALOG else (stream, catalog_stream)
    assert broken["known_chunks"] == 0 and whole["known_chunks"] == whole["chunks"]
    assert stream["csum"] == first.archive["stream"]["csum"]
    wanted = files_in(tree)
    del wanted["/z-hard"]
    assert files_of(repository, T2) == wanted


def test_files_are_stored_once_under_their_first_name_that_stays(
    repository: Repository, tree: Path, faults: Faults
) -> None:
    """The first of two names vanishes: the second one carries the contents."""
    done = repository.run(tree, T1, mode="legacy", env=faults("open *d0/f00 1 unlink"))
    done.result.check_ok()
    assert files_of(repository, T1)["/z-hard"] == hashlib.sha256((tree / "z-hard").read_bytes()).hexdigest()
    assert catalog(repository, T1) == should_list(tree, f"{NAME}.pxar.didx")


def test_catalog_of_another_key_is_not_known(repository: Repository, tree: Path) -> None:
    legacy(repository, tree, T1)
    manifest = repository.manifest(T1)
    manifest["files"][0]["crypt-mode"] = "encrypt"
    repository.set_manifest(T1, manifest)
    done = legacy(repository, tree, T2)
    assert done.archive["stream"]["known_chunks"] == 0


def test_require_reference_asks_nothing_of_legacy(repository: Repository, tree: Path) -> None:
    legacy(repository, tree, T1, "--require-reference")


def test_dry_run_names_the_unified_index_in_every_mode(repository: Repository, tree: Path) -> None:
    for mode in ("legacy", "data", "metadata"):
        done = repository.run(tree, T1, "--dry-run", mode=mode)
        done.result.check_ok()
        assert f"Would upload directory '{tree}' as {NAME}.pxar.didx of host/me/" in done.log
    assert repository.listed() == []


def test_create_makes_the_stream_of_a_backup(repository: Repository, tree: Path, tmp_path: Path) -> None:
    legacy(repository, tree, T1, "--exclude", "f1?")
    archive = tmp_path / "x.pxar"
    made = run.run([repository.program, "pxar", "create", tree, archive, "--exclude", "f1?", "--output-format", "json"],
                   timeout=60).check_ok().json()  # fmt: skip
    assert archive.read_bytes() == stored_stream(repository, T1, f"{NAME}.pxar.didx")
    assert made["kind"] == "unified" and made["stream"]["size"] == archive.stat().st_size
    assert (made["metadata"], made["payload"]) == (None, None)
    shutil.rmtree(tree)
    assert "No such file" in sentence(run.run([repository.program, "pxar", "create", tree, tmp_path / "y.pxar"]))
    assert not (tmp_path / "y.pxar").exists()
