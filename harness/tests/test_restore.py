"""Restores through the program: names, selections, chunk reads, overwriting, errors and exit codes, users without rights."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from backup_tools import (
    GROUP,
    NAME,
    T1,
    T2,
    Repository,
    blob_content,
    index_entries,
    noise,
    payload_references,
    sentence,
    settle,
    time_text,
    warnings_of,
    write_tree,
)
from everything_tree import NO_ID, set_flags
from everything_tree import acl as posix_acl
from loop_mount import mounted

from pxarbench_harness import run
from pxarbench_harness.tree import differences, scan

Cli = Callable[..., run.Result]

HEADER = 16  # bytes of an item's header, and of the payload's markers


# ---- archives of our own making ----


def described(kind: str, name: str = "", **more: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": kind}
    if name:
        entry["name"] = name
    if kind != "hardlink":
        entry |= {"mode": "0755" if kind == "dir" else "0644", "uid": os.getuid(), "gid": os.getgid(), "mtime": [T1, 5]}
    return {**entry, **more}


def text(content: str) -> dict[str, str]:
    return {"kind": "b64", "data": base64.b64encode(content.encode()).decode()}


def folder(name: str, *entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return described("dir", name, entries=list(entries), **more)


class Archives:
    """Split and unified archives out of one description."""

    def __init__(self, cli: Cli, directory: Path) -> None:
        self.cli = cli
        self.split, self.payload = directory / "x.mpxar", directory / "x.ppxar"
        self.unified = directory / "x.pxar"
        self.source = directory / "x.json"

    def make(self, *entries: dict[str, Any], **root: Any) -> Archives:
        for path in (self.split, self.payload, self.unified):
            path.unlink(missing_ok=True)
        tree = {"schema": "pxar-vector-tree/1", "name": "x", "comment": "", "from_filesystem": False, "root": folder("", *entries)}
        self.source.write_text(json.dumps({**tree, **root}))
        self.cli("pxar", "encode", self.source, self.split, "--payload-output", self.payload).check_ok()
        self.cli("pxar", "encode", self.source, self.unified).check_ok()
        return self

    def extract(self, target: Path, *words: str | os.PathLike[str], unified: bool = False, **options: Any) -> run.Result:
        source = [self.unified] if unified else [self.split, "--payload-input", self.payload]
        return self.cli("pxar", "extract", *source, target, *words, **options)


@pytest.fixture
def archives(cli: Cli, tmp_path: Path) -> Archives:
    return Archives(cli, tmp_path)


def tree_of(root: Path) -> list[str]:
    return sorted(f"{path.relative_to(root)}{'/' if path.is_dir() and not path.is_symlink() else ''}" for path in root.rglob("*"))


# ---- snapshots ----


def restore(repository: Repository, at: int, archive: str, target: Path | str, *words: str, **options: Any) -> run.Result:
    fixed = ["restore", f"{GROUP}/{time_text(at)}", archive, target, *words, "--repository", repository.path]
    return run.run([repository.program, *fixed], timeout=60, **options)


NAMES = [f"{NAME}.{stream}{end}" for stream in ("pxar", "mpxar", "ppxar") for end in ("", ".didx")]


@pytest.mark.parametrize("mode", ["data", "legacy"])
def test_every_name_of_an_archive(repository: Repository, tmp_path: Path, mode: str) -> None:
    tree = write_tree(tmp_path / "tree")
    wanted = repository.backup(tree, T1, mode=mode) and repository.wanted[T1]
    for name in NAMES:
        target = tmp_path / "restored"
        result = restore(repository, T1, name, target)
        if mode == "legacy" and ".pxar" not in name:
            assert "archive not found in manifest" in sentence(result)
            assert not target.exists()
            continue
        result.check_ok()
        assert differences(wanted, scan(target)) == []
        shutil.rmtree(target)


def test_images_and_files_come_back(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(noise("disk", 5 << 20) + bytes(9 << 20) + noise("end", 100))
    (tmp_path / "app").write_bytes(b"a = 1\n")
    words = [f"disk.img:{tmp_path / 'disk'}", f"app.conf:{tmp_path / 'app'}", f"run.log:{tmp_path / 'app'}"]
    fixed = ["--repository", repository.path, "--backup-id", "me", "--backup-time", str(T1), "--sync-level", "none"]
    run.run([repository.program, "backup", *words, *fixed], timeout=60).check_ok()
    for name, source in [("disk.img", "disk"), ("disk.img.fidx", "disk"), ("app.conf", "app"), ("run.log.blob", "app")]:
        content = (tmp_path / source).read_bytes()
        target = tmp_path / "target"
        restore(repository, T1, name, target).check_ok()
        assert target.read_bytes() == content
        assert "exists" in sentence(restore(repository, T1, name, target))
        target.unlink()
        assert restore(repository, T1, name, "-").check_ok().stdout == content
        assert "patterns" in sentence(restore(repository, T1, name, target, "a"), 2)
        assert not target.exists()


def test_standard_output(repository: Repository, tmp_path: Path, cli: Cli) -> None:
    tree = write_tree(tmp_path / "tree")
    repository.backup(tree, T1, mode="data")
    repository.backup(tree, T2, mode="legacy")
    assert "unable to pipe split archive" in sentence(restore(repository, T1, f"{NAME}.pxar", "-"), 2)
    piped = restore(repository, T2, f"{NAME}.pxar", "-").check_ok().stdout
    (tmp_path / "piped.pxar").write_bytes(piped)
    cli("pxar", "extract", tmp_path / "piped.pxar", tmp_path / "extracted").check_ok()
    assert differences(repository.wanted[T2], scan(tmp_path / "extracted")) == []
    catalog = restore(repository, T2, "catalog.pcat1", "-").check_ok().stdout
    assert catalog == repository_stream(repository, T2, "catalog.pcat1.didx")
    refused = sentence(restore(repository, T2, f"{NAME}.pxar", "-", "/d0"), 2)
    assert "patterns not allowed when restoring to stdout" in refused


def test_full_standard_output_is_named(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("key = value\n")
    repository.backup(write_tree(tmp_path / "tree"), T1, f"app.conf:{tmp_path / 'app.conf'}")
    with open("/dev/full", "wb") as full:
        command = [repository.program, "restore", f"{GROUP}/{time_text(T1)}", "app.conf", "-", "--repository", repository.path]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1
    assert b'write "standard output" at offset 0: No space left on device' in done.stderr
    file = restore(repository, T1, "app.conf", tmp_path / "again").check_ok()
    assert b"restored 12 B of data" in file.stderr and b"entries" not in file.stderr


def repository_stream(repository: Repository, at: int, name: str) -> bytes:
    entries = index_entries((repository.snapshot(at) / name).read_bytes())
    return b"".join(blob_content(repository.chunk(digest).read_bytes()) for _, digest in entries)


# ---- chunk reads ----


@pytest.fixture(scope="module")
def wide(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Repository, Path]]:
    """10,000 small files and a large one among them, in chunks of about 64 KiB: a few dozen metadata chunks."""
    scratch = tmp_path_factory.mktemp("wide")
    repository = Repository(pxarbench, scratch / "store", scratch)
    tree = scratch / "tree"
    for number in range(10_000):
        path = tree / f"d{number % 10}" / f"s{number // 10 % 10}" / f"file-with-a-rather-long-name-{number:05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(path.name, 300))
    (tree / "d5" / "s5" / "large").write_bytes(noise("large", 1 << 20))
    settle(tree)
    repository.backup(tree, T1, mode="data")
    repository.backup(tree, T2, mode="legacy")
    yield repository, tree
    shutil.rmtree(scratch)


def covering(ends: Sequence[int], begin: int, end: int) -> int:
    """How many chunks hold bytes of begin..end."""
    return bisect_right(ends, end - 1) - bisect_right(ends, begin) + 1


def chunk_reads(result: run.Result) -> tuple[int, int]:
    found = re.search(r"read (\d+) metadata chunks, (\d+) payload chunks", result.check_ok().stderr.decode())
    assert found, result
    return int(found[1]), int(found[2])


def where(repository: Repository, path: str) -> Any:
    (entry,) = (e for e in repository.dump(T1) if e.get("path") == path)
    return entry


LARGE = "/d5/s5/large"


def test_one_file_by_its_path_reads_what_is_on_the_way(wide: tuple[Repository, Path], tmp_path: Path) -> None:
    repository, tree = wide
    metadata_ends = [end for end, _ in repository.index(T1, "mpxar")]
    payload_ends = [end for end, _ in repository.index(T1, "ppxar")]
    assert len(metadata_ends) >= 12 and len(payload_ends) > 30
    for path in (LARGE, "/d0/s0/file-with-a-rather-long-name-00000", "/d9/s9/file-with-a-rather-long-name-09999"):
        result = restore(repository, T1, f"{NAME}.pxar", tmp_path / "out", path)
        metadata_chunks, payload_chunks = chunk_reads(result)
        assert (tmp_path / "out" / path[1:]).read_bytes() == (tree / path[1:]).read_bytes()
        entry = where(repository, path)
        wanted = covering(payload_ends, entry["payload_offset"], entry["payload_offset"] + HEADER + entry["size"])
        assert payload_chunks == wanted
        # The beginning; per directory its table (at most 100 rows and the tail, so two chunks), and its entry and
        # that of its member, which begin in one place each.
        depth = path.count("/")
        assert metadata_chunks <= 1 + 3 * depth < len(metadata_ends)
        counters = json.loads(
            restore(repository, T1, f"{NAME}.pxar", tmp_path / "json", path, "--output-format", "json").check_ok().stdout
        )
        assert (counters["metadata_chunks"], counters["payload_chunks"]) == (metadata_chunks, payload_chunks)
        shutil.rmtree(tmp_path / "out")
        shutil.rmtree(tmp_path / "json")


def test_one_file_of_a_unified_archive(wide: tuple[Repository, Path], tmp_path: Path) -> None:
    repository, tree = wide
    ends = [end for end, _ in repository.index(T2, "pxar")]
    metadata_chunks, payload_chunks = chunk_reads(restore(repository, T2, f"{NAME}.pxar", tmp_path / "out", LARGE))
    assert (tmp_path / "out" / LARGE[1:]).read_bytes() == (tree / LARGE[1:]).read_bytes()
    assert payload_chunks == 0
    assert metadata_chunks <= (1 << 20) // 65536 * 2 + 10 < len(ends)


def test_a_pattern_reads_all_metadata_and_the_contents_that_match(wide: tuple[Repository, Path], tmp_path: Path) -> None:
    repository, tree = wide
    metadata_ends = [end for end, _ in repository.index(T1, "mpxar")]
    payload_ends = [end for end, _ in repository.index(T1, "ppxar")]
    entry = where(repository, LARGE)
    wanted = covering(payload_ends, entry["payload_offset"], entry["payload_offset"] + HEADER + entry["size"])
    for _ in range(5):  # reading ahead is a matter of time: the count is not
        result = restore(repository, T1, f"{NAME}.pxar", tmp_path / "out", "larg?")
        metadata_chunks, payload_chunks = chunk_reads(result)
        assert tree_of(tmp_path / "out") == ["d5/", "d5/s5/", "d5/s5/large"]
        assert metadata_chunks == len(metadata_ends)
        # The markers at both ends of the payload are checked.
        assert wanted <= payload_chunks <= wanted + 2 < len(payload_ends)
        shutil.rmtree(tmp_path / "out")


def test_damage_elsewhere_does_not_matter(wide: tuple[Repository, Path], tmp_path: Path) -> None:
    repository, tree = wide
    entry = where(repository, LARGE)
    begin, end = entry["payload_offset"], entry["payload_offset"] + HEADER + entry["size"]
    entries = repository.index(T1, "ppxar")
    starts = [0, *(end for end, _ in entries)]
    outside = [digest for start, (stop, digest) in zip(starts, entries) if stop <= begin or start >= end]
    chunk = repository.chunk(outside[len(outside) // 2])
    whole = chunk.read_bytes()
    chunk.unlink()
    try:
        restore(repository, T1, f"{NAME}.pxar", tmp_path / "out", LARGE).check_ok()
        assert "chunk" in sentence(restore(repository, T1, f"{NAME}.pxar", tmp_path / "all"))
    finally:
        chunk.write_bytes(whole)


# ---- selections ----


def small(archives: Archives) -> Archives:
    return archives.make(
        described("file", "a", content=text("hello")),
        folder("d", folder("empty", mode="0711"), described("file", "f", content=text("f")), mode="0750"),
        described("hardlink", "h", target="a"),
    )


@pytest.mark.parametrize("unified", [False, True], ids=["split", "unified"])
def test_patterns_from_options_and_files(archives: Archives, tmp_path: Path, unified: bool) -> None:
    small(archives)
    chosen = {
        ("--pattern", "/d/f"): ["d/", "d/f"],
        ("--pattern", "f"): ["d/", "d/f"],
        ("--pattern", "/d", "--pattern", "!f"): ["d/", "d/empty/"],
        ("--pattern", "h", "--pattern", "a"): ["a", "h"],
        ("--pattern", "/h", "--pattern", "/a"): ["a", "h"],
    }
    for words, wanted in chosen.items():
        archives.extract(tmp_path / "out", *words, unified=unified).check_ok()
        assert tree_of(tmp_path / "out") == wanted
        shutil.rmtree(tmp_path / "out")
        listing = tmp_path / "list"
        listing.write_text("\n".join(words[1::2]) + "\n\n")
        archives.extract(tmp_path / "out", "--files-from", listing, unified=unified).check_ok()
        assert tree_of(tmp_path / "out") == wanted
        shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("pattern", ["/d/empty", "empty", "empty/"])
def test_empty_directory_below_a_parent_that_is_not_selected(archives: Archives, tmp_path: Path, pattern: str) -> None:
    """Checklist 21: it is made, and its parents with their attributes."""
    small(archives).extract(tmp_path / "out", "--pattern", pattern).check_ok()
    assert tree_of(tmp_path / "out") == ["d/", "d/empty/"]
    assert stat.S_IMODE((tmp_path / "out" / "d").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "out" / "d" / "empty").stat().st_mode) == 0o711
    assert (tmp_path / "out" / "d").stat().st_mtime_ns == T1 * 10**9 + 5


def test_hardlink_without_its_target_names_both(archives: Archives, tmp_path: Path) -> None:
    """Checklist 32."""
    small(archives)
    for words in (["--pattern", "/h"], ["--pattern", "h*"]):
        refused = sentence(archives.extract(tmp_path / "out", *words, "--strict", "--allow-existing-dirs"))
        assert refused == "/h: is a hardlink to /a, which is not selected"
        result = archives.extract(tmp_path / "out", *words, "--allow-existing-dirs")
        assert result.returncode == 1
        assert "error: /h: is a hardlink to /a, which is not selected" in result.stderr.decode()
        assert tree_of(tmp_path / "out") == []


def test_what_is_not_there_is_said(archives: Archives, tmp_path: Path) -> None:
    words = ["--pattern", "/d/missing", "--pattern", "/a/below"]
    log = small(archives).extract(tmp_path / "out", *words).check_ok().stderr.decode()
    assert "not in the archive: /d/missing" in log and "not in the archive: /a/below" in log
    assert "no entry of the archive is selected" in log
    assert tree_of(tmp_path / "out") == []
    assert (tmp_path / "out").stat().st_mtime_ns == T1 * 10**9 + 5
    assert 'pattern "a[b": set without end' in sentence(archives.extract(tmp_path / "out2", "--pattern", "a[b"), 2)
    assert not (tmp_path / "out2").exists()


# ---- overwriting ----

KINDS = {
    "files": described("file", "n", content=text("new")),
    "symlinks": described("symlink", "n", target="new"),
    "hardlinks": described("hardlink", "n", target="a"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", ["", "files", "symlinks", "hardlinks", "all"])
def test_overwriting(archives: Archives, tmp_path: Path, kind: str, option: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret")
    archives.make(described("file", "a", content=text("a")), KINDS[kind])
    words = [] if not option else ["--overwrite"] if option == "all" else [f"--overwrite-{option}"]
    for old in ("file", "symlink", "directory", "fifo"):
        target = tmp_path / "out"
        target.mkdir()
        path = target / "n"
        if old == "file":
            path.write_text("old")
        elif old == "symlink":
            path.symlink_to(outside)
        elif old == "directory":
            path.mkdir()
        else:
            os.mkfifo(path)
        before = path.lstat()
        result = archives.extract(target, *words, "--strict", timeout=20)
        if option in (kind, "all") and old != "directory":
            result.check_ok()
            made = path.lstat()
            if kind == "symlinks":
                assert os.readlink(path) == "new"
            else:
                assert stat.S_ISREG(made.st_mode) and path.read_text() == ("new" if kind == "files" else "a")
        else:
            assert "/n: exists already" in sentence(result)
            assert path.lstat().st_ino == before.st_ino
        assert outside.read_text() == "secret"
        shutil.rmtree(target)


def test_existing_directories(archives: Archives, tmp_path: Path) -> None:
    archives.make(folder("d", described("file", "f", content=text("f"))))
    target = tmp_path / "out"
    (target / "d").mkdir(parents=True)
    (target / "d" / "kept").touch()
    assert "/d: exists already" in sentence(archives.extract(target, "--strict"))
    archives.extract(target, "--allow-existing-dirs").check_ok()
    assert tree_of(target) == ["d/", "d/f", "d/kept"]
    shutil.rmtree(target / "d")
    (tmp_path / "outside").mkdir()
    (target / "d").symlink_to(tmp_path / "outside")
    assert "is not a directory" in sentence(archives.extract(target, "--allow-existing-dirs", "--overwrite", "--strict"))
    assert tree_of(tmp_path / "outside") == []


# ---- errors and exit codes ----


def test_errors_are_collected_and_reported(archives: Archives, tmp_path: Path) -> None:
    archives.make(
        folder("a", folder("b", described("file", "f", content=text("f"))), described("file", "g", content=text("g"))),
        described("file", "c", content=text("c")),
        described("hardlink", "h", target="a/g"),
    )
    target = tmp_path / "out"
    target.mkdir()
    (target / "a").write_text("in the way")
    result = archives.extract(target, "--output-format", "json")
    assert result.returncode == 1
    lines = [line for line in result.stderr.decode().splitlines() if line.startswith("error: ")]
    assert lines == [
        "error: /a: exists already",
        "error: /h: is a hardlink to /a/g, which could not be extracted",
        "error: there were errors: 2",
    ]
    counters = json.loads(result.stdout)
    assert counters["errors"] == 2 and counters["files"] == 1
    assert tree_of(target) == ["a", "c"]
    strict = archives.extract(target, "--strict", "--overwrite")
    assert "/a: exists already" in sentence(strict)


def test_usage(archives: Archives, cli: Cli, tmp_path: Path) -> None:
    small(archives)
    assert "--payload-input" in sentence(cli("pxar", "extract", archives.split, tmp_path / "out"), 2)
    assert not (tmp_path / "out").exists()
    sentence(cli("pxar", "extract", archives.unified, tmp_path / "out", "--payload-input", archives.payload))
    assert not (tmp_path / "out").exists()
    for words in (["pxar", "extract"], ["restore", "host/x/2026-01-01T00:00:00Z", "a.pxar"]):
        assert cli(*words).returncode == 2
    for group in (["restore"], ["pxar", "extract"]):
        help_text = cli(*group, "--help").check_ok().text
        assert "an empty directory that matches is made" in help_text.replace("\n" + " " * 27, " ")
        for option in ("--pattern", "--overwrite-files", "--ignore-acls", "--prelude-target", "--ignore-extract-device-errors"):
            assert option in help_text


def test_prelude(archives: Archives, tmp_path: Path) -> None:
    prelude = b'{"exclude-patterns":"*.tmp\\n"}'
    archives.make(described("file", "a", content=text("a")), prelude_b64=base64.b64encode(prelude).decode())
    written = tmp_path / "prelude"
    archives.extract(tmp_path / "1", "--prelude-target", written).check_ok()
    assert written.read_bytes() == prelude
    assert "exists" in sentence(archives.extract(tmp_path / "2", "--prelude-target", written))
    archives.extract(tmp_path / "2", "--prelude-target", written, "--overwrite-files").check_ok()
    log = archives.extract(tmp_path / "3", "--prelude-target", written, unified=True).check_ok().stderr.decode()
    assert "No prelude entry found, skip prelude restore." in log


# ---- rights ----

FCAPS = base64.b64encode(bytes.fromhex("0100000200200000000000000000000000000000")).decode()


def special(archives: Archives) -> Archives:
    return archives.make(
        described("chardev", "dev", major=4095, minor=70000),
        folder("ro", described("file", "f", content=text("f"), mode="0444"), mode="0555"),
        described(
            "file",
            "x",
            content=text("x"),
            uid=0,
            gid=0,
            fcaps_b64=FCAPS,
            flags=0x400000,
            xattrs=[
                {"name": "trusted.t", "value_b64": "dA=="},
                {"name": "user.u", "value_b64": "dQ=="},
            ],
        ),
    )


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A directory that belongs to nobody, on a disk; whatever is in it is removed, immutable or not."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv to become somebody else")
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
    os.chown(directory, 65534, 65534)
    directory.chmod(0o755)
    yield directory
    subprocess.run(["chattr", "-R", "-i", "-a", directory], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(directory)


def as_nobody(archives: Archives, program: Path, directory: Path, *words: str) -> run.Result:
    for path in (archives.split, archives.payload):
        os.chown(shutil.copy(path, directory), 65534, 65534)
    mine = shutil.copy(program, directory / "pxarbench")
    become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    command = [mine, "pxar", "extract", directory / "x.mpxar", directory / "out", "--payload-input", directory / "x.ppxar"]
    return run.run([*become, *command, *words], timeout=60)


def test_a_user_needs_to_ignore_ownership(archives: Archives, pxarbench: Path, nobody: Path) -> None:
    refused = sentence(as_nobody(special(archives), pxarbench, nobody, "--strict", "--no-device-nodes"))
    assert "/ro/f: cannot change owner" in refused and "--ignore-ownership" in refused


def test_a_user_is_told_what_could_not_be_set(archives: Archives, pxarbench: Path, nobody: Path) -> None:
    """Checklist 26."""
    options = ["--ignore-ownership", "--ignore-extract-device-errors"]
    result = as_nobody(special(archives), pxarbench, nobody, *options, "--output-format", "json").check_ok()
    log = result.stderr.decode()
    assert "1 extended attributes were refused" in log
    assert "1 files are without their capabilities" in log
    assert "1 files are without some of their chattr flags" in log
    assert "1 device nodes could not be restored" in log
    counters = json.loads(result.stdout)
    assert counters["device_errors"] == 1 and counters["errors"] == 0
    assert counters["not_applied"]["fcaps"] == 1 and counters["not_applied"]["xattrs_denied"] == 1
    out = nobody / "out"
    assert tree_of(out) == ["ro/", "ro/f", "x"]
    assert stat.S_IMODE((out / "ro").stat().st_mode) == 0o555
    assert (out / "ro").stat().st_mtime_ns == T1 * 10**9 + 5
    assert os.getxattr(out / "x", "user.u") == b"u" and os.stat(out / "x").st_uid == 65534


def test_root_sets_everything(archives: Archives, nobody: Path) -> None:
    """Checklist 19, and that flags come last."""
    special(archives).extract(nobody / "out").check_ok()
    x = nobody / "out" / "x"
    assert sorted(os.listxattr(x)) == ["security.capability", "trusted.t", "user.u"]
    assert x.stat().st_mtime_ns == T1 * 10**9 + 5
    with pytest.raises(PermissionError):
        x.write_text("immutable")
    device = (nobody / "out" / "dev").stat()
    assert stat.S_ISCHR(device.st_mode) and (os.major(device.st_rdev), os.minor(device.st_rdev)) == (4095, 70000)


def test_options_that_leave_attributes_out(archives: Archives, nobody: Path) -> None:
    special(archives)
    for words, kept in (
        (["--no-xattrs"], None),
        (["--ignore-xattrs"], None),
        (["--no-fcaps"], ["trusted.t", "user.u"]),
    ):
        archives.extract(nobody / "out", *words).check_ok()
        names = sorted(os.listxattr(nobody / "out" / "x"))
        if kept is None:
            assert "user.u" not in names and "trusted.t" not in names
        else:
            assert names == kept
        subprocess.run(["chattr", "-R", "-i", nobody / "out"], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(nobody / "out")
    archives.extract(nobody / "out", "--ignore-permissions", "--no-device-nodes").check_ok()
    assert stat.S_IMODE((nobody / "out" / "ro").stat().st_mode) == 0o700
    assert stat.S_IMODE((nobody / "out" / "ro" / "f").stat().st_mode) == 0o600


def test_default_acl_of_the_target_gives_no_rights(archives: Archives, tmp_path: Path) -> None:
    """What is restored has the ACLs of the archive, none included. The target's own flags stay, which is said."""
    acl = {"users": [{"id": 1002, "perm": 4}], "groups": [], "group_obj": 4}
    inside = [described("file", "f", content=text("f"), mode="0660"), described("fifo", "p", mode="0660")]
    archives.make(folder("d", *inside, mode="0770"), described("file", "with", content=text("w"), mode="0660", acl=acl), *inside)
    with mounted("ext4", tmp_path) as mount:
        target, plain = mount / "target", mount / "plain"
        target.mkdir()
        entries = [(1, 7, NO_ID), (2, 7, 1001), (4, 5, NO_ID), (16, 7, NO_ID), (32, 5, NO_ID)]
        os.setxattr(target, "system.posix_acl_default", posix_acl(entries))
        (target / "d").mkdir()
        assert "system.posix_acl_default" in os.listxattr(target / "d")
        archives.extract(target, "--allow-existing-dirs").check_ok()
        archives.extract(plain).check_ok()
        assert differences(scan(plain), scan(target)) == []
        names = {path.name: os.listxattr(path) for path in [target, *target.rglob("*")]}
        assert names.pop("with") == ["system.posix_acl_access"]
        assert not any(names.values())

        kept = mount / "kept"
        kept.mkdir()
        os.setxattr(kept, "system.posix_acl_default", posix_acl(entries))
        archives.extract(kept, "--ignore-acls").check_ok()
        assert "system.posix_acl_access" in os.listxattr(kept / "f")

        flagged = mount / "flagged"
        flagged.mkdir()
        assert set_flags(flagged, 0x40)  # nodump
        done = archives.extract(flagged)
        done.check_ok()
        assert b"flagged has chattr flags that new files inherit" in done.stderr


def test_set_id_bits_and_devices_are_said(archives: Archives, nobody: Path) -> None:
    """A program of somebody else does not become one of whoever restores it."""
    own = described("file", "own", content=text("x"), mode="06755")
    other = described("file", "other", content=text("x"), mode="06755", uid=1234, gid=4321)
    archives.make(own, other, described("chardev", "null", major=1, minor=3))
    done = archives.extract(nobody / "t", "--ignore-ownership")
    done.check_ok()
    assert stat.S_IMODE(os.lstat(nobody / "t" / "own").st_mode) == 0o6755
    assert stat.S_IMODE(os.lstat(nobody / "t" / "other").st_mode) == 0o755
    assert b"1 files are without set-id bits" in done.stderr
    assert b"restored 1 device nodes" in done.stderr and b"restored 2 files that are stored with set-id bits" in done.stderr
    archives.extract(nobody / "u").check_ok()
    assert stat.S_IMODE(os.lstat(nobody / "u" / "other").st_mode) == 0o6755


def test_order_of_system_calls(archives: Archives, pxarbench: Path, nobody: Path) -> None:
    """Checklist 20: owner, xattrs, capabilities, mode, times, flags; a directory's after all that is in it."""
    if shutil.which("strace") is None:
        pytest.skip("no strace")
    special(archives)
    trace = nobody / "trace"
    calls = "fchown,fchownat,fsetxattr,setxattr,fchmod,chmod,fchmodat,utimensat,ioctl,openat,mkdirat"
    words = ["pxar", "extract", archives.split, nobody / "out", "--payload-input", archives.payload]
    traced = run.run(["strace", "-o", trace, "-e", f"trace={calls}", pxarbench, *words, "--no-device-nodes"], timeout=60)
    if b"ptrace" in traced.stderr:
        pytest.skip("no right to trace")
    traced.check_ok()
    lines = trace.read_text().splitlines()

    def first(pattern: str, begin: int = 0) -> int:
        (number, *_) = (n for n, line in enumerate(lines) if n >= begin and re.search(pattern, line))
        return number

    at = first(r'openat\(\d+, "x", O_WRONLY\|O_CREAT\|O_EXCL')
    for step in (r"chown", r"trusted\.t", r"user\.u", r"security\.capability", r"chmod", r"utimensat", r"SETFLAGS|FS_IOC"):
        found = first(step, at)
        assert found >= at, step
        at = found
    made, filled = first(r'mkdirat\(\d+, "ro", 0700\)'), first(r'openat\(\d+, "f", O_WRONLY')
    modes = [n for n, line in enumerate(lines) if re.search(r"chmod.*0555", line)]
    assert made < filled < min(modes)


# ---- snapshots that are damaged ----


def test_damaged_payload_is_never_a_success(repository: Repository, tmp_path: Path) -> None:
    """Checklist 24."""
    tree = write_tree(tmp_path / "tree")
    repository.backup(tree, T1, mode="data")
    payload = repository.stream(T1, "ppxar")
    offset = next(e["payload_offset"] for e in repository.dump(T1) if e.get("path") == "/d1/f04")
    wrong_header = payload[:offset] + b"\0" + payload[offset + 1 :]
    for number, (content, where_text) in enumerate(((wrong_header, "/d1/f04"), (payload[: offset + 100], "/d1/f04"))):
        repository.set_stream(T1, "ppxar", content)
        result = restore(repository, T1, f"{NAME}.pxar", tmp_path / f"out{number}")
        assert where_text in sentence(result)
        repository.set_stream(T1, "ppxar", payload)
    repository.check_restore(T1)


# ---- references that are not in order ----


def swapped(found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found[4], found[9] = found[9], found[4]
    return found


def repeated(found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [*found[:6], *[found[5]] * 4, *found[10:]]


def reversed_(found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return found[::-1]


@pytest.fixture(scope="module")
def ordered(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """Twenty files of about 40 KB in chunks of at most 64 KiB: nearly every one has a chunk to itself, or two."""
    scratch = tmp_path_factory.mktemp("ordered")
    repository = Repository(pxarbench, scratch / "store", scratch)
    repository.backup(write_tree(scratch / "tree", size=40_000), T1, mode="data")
    repository.set_stream(T1, "ppxar", repository.stream(T1, "ppxar"))
    yield repository
    shutil.rmtree(scratch)


class Reordered:
    """The snapshot with other references, as archives of older clients may have them, and what it must give back."""

    def __init__(self, repository: Repository, edit: Callable[[list[tuple[int, int]]], list[tuple[int, int]]]) -> None:
        dumped = [entry for entry in repository.dump(T1) if entry.get("kind") == "file"]
        tree = repository.scratch / "tree"
        contents = {entry["payload_offset"]: (tree / entry["path"][1:]).read_bytes() for entry in dumped}
        self.original = repository.stream(T1, "mpxar")
        metadata = bytearray(self.original)
        references = payload_references(metadata)
        assert len(references) == len(dumped) == 21
        edited = edit([(offset, size) for _, offset, size in references])
        for (at, _, _), reference in zip(references, edited, strict=True):
            metadata[at : at + 16] = struct.pack("<QQ", *reference)
        self.metadata = bytes(metadata)
        self.wanted = {entry["path"]: contents[offset] for entry, (offset, _) in zip(dumped, edited, strict=True)}

    def check(self, target: Path, names: str = "") -> None:
        for path, content in self.wanted.items():
            if names in path:
                assert (target / path[1:]).read_bytes() == content, path
        shutil.rmtree(target)


@pytest.fixture(params=[swapped, repeated, reversed_], ids=["swapped", "repeated", "reversed"])
def reordered(ordered: Repository, request: pytest.FixtureRequest) -> Iterator[Reordered]:
    archive = Reordered(ordered, request.param)
    ordered.set_stream(T1, "mpxar", archive.metadata)
    yield archive
    ordered.set_stream(T1, "mpxar", archive.original)


def test_references_in_any_order_are_restored(ordered: Repository, reordered: Reordered, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = restore(ordered, T1, f"{NAME}.pxar", out)
    _, chunks = chunk_reads(done)
    reordered.check(out)
    (warning,) = warnings_of(done)
    assert re.search(r"root\.ppxar\.didx: \d+ files have contents that lie before those of earlier files", warning)
    # Whole chunks are read again at most where a file begins, and nothing is read ahead in vain each time.
    assert chunks <= 3 * len(ordered.index(T1, "ppxar"))
    restore(ordered, T1, f"{NAME}.pxar", out, "f?[0-9]").check_ok()
    reordered.check(out, "/f")
    restore(ordered, T1, f"{NAME}.pxar", out, "/d1").check_ok()
    reordered.check(out, "/d1/")


def test_references_in_any_order_are_refused_by_what_reads_files_in_order(
    ordered: Repository, reordered: Reordered, cli: Cli, tmp_path: Path
) -> None:
    """As the reference does: such an archive may as well be damaged. Single paths of it are read all the same."""
    metadata, payload, out = (tmp_path / name for name in ("x.mpxar", "x.ppxar", "out"))
    metadata.write_bytes(reordered.metadata)
    payload.write_bytes(ordered.stream(T1, "ppxar"))
    for words in (["extract", metadata, "--payload-input", payload, out], ["dump", metadata, "--payload-input", payload]):
        refused = sentence(cli("pxar", *words))
        assert re.search(r"reference to payload offset \d+, but the payload was read up to \d+", refused)
        assert "x.mpxar: corrupt at offset " in refused
    shutil.rmtree(out)
    cli("pxar", "extract", metadata, "--payload-input", payload, out, "--pattern", "/d1").check_ok()
    reordered.check(out, "/d1/")


# ---- there and back ----


def test_attributes_and_links_survive_a_restore(archives: Archives, cli: Cli, nobody: Path) -> None:
    """Checklist 16 to 20 on the disk: what was extracted is archived again to the same bytes."""
    mask = {"users": [{"id": 1000, "perm": 6}], "groups": [{"id": 7, "perm": 4}], "group_obj": 4}
    defaults = {"default": {"user_obj": 7, "group_obj": 5, "other": 0, "mask": None}}
    named = {"default": {"user_obj": 7, "group_obj": 5, "other": 0, "mask": 7}, "default_users": [{"id": 1, "perm": 7}]}
    xattrs = [{"name": "user.b", "value_b64": "Yg=="}, {"name": "user.a", "value_b64": ""}]
    archives.make(
        described("file", "a", content=text("a"), acl=mask, mode="0660", flags=0x400000, fcaps_b64=FCAPS),
        folder("d", described("file", "f", content=text("f"), mode="4755"), described("hardlink", "g", target="a"),
               acl=named, flags=0x10000, mode="2750"),
        folder("e", described("hardlink", "z", target="d/f"), acl=defaults),
        described("chardev", "null", major=1, minor=3, mode="0666"),
        described("symlink", "s", target="d/f", mode="0777"),
        described("fifo", "t", mode="0620"),
        described("file", "u", content=text("u"), xattrs=xattrs),
    )  # fmt: skip
    out = nobody / "out"
    archives.extract(out).check_ok()
    assert (out / "a").stat().st_ino == (out / "d" / "g").stat().st_ino
    assert (out / "d" / "f").stat().st_ino == (out / "e" / "z").stat().st_ino
    again = nobody / "again.mpxar"
    cli("pxar", "create", out, again, "--payload-output", nobody / "again.ppxar").check_ok()
    differing = cli("pxar", "diff", archives.split, again)
    assert differing.returncode == 0, differing
    assert again.read_bytes() == archives.split.read_bytes()
    assert (nobody / "again.ppxar").read_bytes() == archives.payload.read_bytes()


def test_symlinks_with_several_links_stay_separate(repository: Repository, tmp_path: Path) -> None:
    """Checklist 18."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").symlink_to("nowhere")
    os.link(tree / "a", tree / "b", follow_symlinks=False)
    (tree / "f").write_text("f")
    (tree / "d").mkdir()
    os.link(tree / "f", tree / "d" / "g")
    repository.backup(tree, T1, mode="data")
    restore(repository, T1, f"{NAME}.pxar", tmp_path / "out").check_ok()
    a, b = ((tmp_path / "out" / name).lstat() for name in "ab")
    assert a.st_ino != b.st_ino and a.st_nlink == b.st_nlink == 1
    assert (tmp_path / "out" / "f").stat().st_ino == (tmp_path / "out" / "d" / "g").stat().st_ino
