"""What tests of faults share: a datastore with a few snapshots, faults from outside, and a second road into its files.

The formats are written down here once more, from bench/spec/datastore.md and pxar.md, and not taken from the program.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import run
from pxarbench_harness.tree import Tree, differences, scan

#: Long ago, so that what the tests make is never newer than a file's mtime can be.
T1, T2, T3, T4 = 1_000_000_000, 1_000_000_100, 1_000_000_200, 1_000_000_300

NAME = "root"
GROUP = "host/me"

DIDX_MAGIC = bytes.fromhex("1c914ea519bab3cd")
BLOB_MAGIC = bytes.fromhex("42ab3807be8370a1")
BLOB_ZSTD_MAGIC = bytes.fromhex("31b958426fb6a37f")
PAYLOAD_REF = 0x419D3D6BC4BA977E


def time_text(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


# ---- what a run said ----


def errors_of(result: run.Result) -> list[str]:
    return [line for line in result.stderr.decode().splitlines() if line.startswith("error: ")]


def warnings_of(result: run.Result) -> list[str]:
    return [line for line in result.stderr.decode().splitlines() if line.startswith("warning: ")]


def sentence(result: run.Result, code: int = 1) -> str:
    """The one sentence of a failed run, its last line."""
    assert result.returncode == code, result
    found = errors_of(result)
    assert len(found) == 1 and result.stderr.decode().splitlines()[-1] == found[0], result
    return found[0].removeprefix("error: ")


@dataclass(frozen=True)
class Backup:
    result: run.Result
    stats: Any  # of --stats; None when the run ended without any

    @property
    def log(self) -> str:
        return self.result.stderr.decode()

    @property
    def archive(self) -> Any:
        self.result.check_ok()
        assert self.stats["result"] == "ok" and len(self.stats["archives"]) == 1
        return self.stats["archives"][0]

    @property
    def reason(self) -> str:
        reason: str = self.archive["reference"]["reason"]
        return reason

    def failed(self) -> str:
        """The sentence of the run, which must be in the statistics as well."""
        text = sentence(self.result)
        assert self.stats["result"] == "failed" and self.stats["error"] == text
        return text


class Repository:
    """One group of one datastore directory. Knows what each snapshot must give back."""

    def __init__(self, program: Path, path: Path, scratch: Path) -> None:
        self.program = program
        self.path = path
        self.scratch = scratch
        self.wanted: dict[int, Tree] = {}
        # The datastore's 65,536 empty directories would take most of a test's time; the program makes what it needs.
        (path / ".chunks").mkdir(parents=True)
        (path / ".lock").touch()

    def words(self, tree: Path, at: int, *more: str | os.PathLike[str], mode: str = "metadata") -> list[str]:
        fixed = ["backup", f"{NAME}.pxar:{tree}", "--repository", self.path, "--change-detection-mode", mode]
        fixed += ["--backup-id", "me", "--backup-time", str(at), "--chunk-size", "64", "--sync-level", "none"]
        return [os.fspath(word) for word in [self.program, *fixed, *more]]

    def run(
        self,
        tree: Path,
        at: int,
        *more: str | os.PathLike[str],
        mode: str = "metadata",
        before: Sequence[str] = (),
        **options: Any,
    ) -> Backup:
        """A backup that may fail. `before`: words in front of the program."""
        stats = self.scratch / f"stats-{at}.json"
        stats.unlink(missing_ok=True)
        words = [*before, *self.words(tree, at, "--stats", stats, *more, mode=mode)]
        options.setdefault("timeout", 60)
        result = run.run(words, **options)
        return Backup(result, json.loads(stats.read_text()) if stats.exists() else None)

    def backup(self, tree: Path, at: int, *more: str | os.PathLike[str], mode: str = "metadata") -> Backup:
        """A backup that must succeed, of a tree that stays as it is while it runs."""
        done = self.run(tree, at, *more, mode=mode)
        done.result.check_ok()
        self.wanted[at] = scan(tree)
        return done

    def snapshot(self, at: int) -> Path:
        return self.path / GROUP / time_text(at)

    def listed(self) -> list[int]:
        result = run.run([self.program, "snapshot", "list", "--repository", self.path], timeout=60).check_ok()
        named = re.findall(rf"{GROUP}/(\S+Z)", result.text)
        known = {time_text(at): at for at in range(T1, T4 + 1)}
        return [known[text] for text in named]

    def restore(self, at: int, target: Path) -> run.Result:
        words = ["restore", f"{GROUP}/{time_text(at)}", f"{NAME}.pxar", target, "--repository", self.path]
        return run.run([self.program, *words], timeout=60)

    def check_restore(self, at: int) -> None:
        target = self.scratch / "restored"
        shutil.rmtree(target, ignore_errors=True)
        self.restore(at, target).check_ok()
        assert differences(self.wanted[at], scan(target)) == []
        shutil.rmtree(target)

    def check_whole(self) -> None:
        """Exactly the snapshots that must be there are listed, each gives back its tree, nothing else lies around."""
        assert self.listed() == sorted(self.wanted)
        for at in self.wanted:
            self.check_restore(at)
        group = self.path / GROUP
        names = sorted(path.name for path in group.iterdir()) if group.exists() else []
        assert names == sorted([*(time_text(at) for at in self.wanted), *(["owner"] if self.wanted else [])])
        assert self.temporary_files() == []

    def temporary_files(self) -> list[Path]:
        return [path for path in self.path.rglob("*") if "tmp" in path.name]

    # ---- the second road ----

    def chunk(self, digest: bytes) -> Path:
        return self.path / ".chunks" / digest.hex()[:4] / digest.hex()

    def index(self, at: int, stream: str) -> list[tuple[int, bytes]]:
        return index_entries((self.snapshot(at) / f"{NAME}.{stream}.didx").read_bytes())

    def stream(self, at: int, stream: str) -> bytes:
        return b"".join(blob_content(self.chunk(digest).read_bytes()) for _, digest in self.index(at, stream))

    def manifest(self, at: int) -> Any:
        return json.loads(blob_content((self.snapshot(at) / "index.json.blob").read_bytes()))

    def set_manifest(self, at: int, manifest: Any) -> None:
        (self.snapshot(at) / "index.json.blob").write_bytes(blob(json.dumps(manifest).encode()))

    def set_stream(self, at: int, stream: str, content: bytes, *, chunk_size: int = 65536) -> None:
        """Puts another stream in place: chunks, index, manifest."""
        entries = []
        for begin in range(0, len(content), chunk_size):
            part = content[begin : begin + chunk_size]
            digest = hashlib.sha256(part).digest()
            self.chunk(digest).parent.mkdir(exist_ok=True)
            self.chunk(digest).write_bytes(blob(part))
            entries.append((begin + len(part), digest))
        name = f"{NAME}.{stream}.didx"
        (self.snapshot(at) / name).write_bytes(index_bytes(entries))
        manifest = self.manifest(at)
        (listed,) = (file for file in manifest["files"] if file["filename"] == name)
        listed["size"] = len(content)
        listed["csum"] = hashlib.sha256(index_body(entries)).hexdigest()
        self.set_manifest(at, manifest)

    def dump(self, at: int) -> list[Any]:
        """The new snapshot's entries as `pxar dump` shows them, from streams put together here."""
        x, y = self.scratch / "dump.mpxar", self.scratch / "dump.ppxar"
        x.write_bytes(self.stream(at, "mpxar"))
        y.write_bytes(self.stream(at, "ppxar"))
        result = run.run([self.program, "pxar", "dump", x, "--payload-input", y], timeout=60).check_ok()
        return [json.loads(line) for line in result.text.splitlines()]


# ---- formats ----


def index_entries(data: bytes) -> list[tuple[int, bytes]]:
    assert data[:8] == DIDX_MAGIC and len(data) > 4096 and (len(data) - 4096) % 40 == 0
    return [(end, digest) for end, digest in struct.iter_unpack("<Q32s", data[4096:])]


def index_body(entries: Sequence[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack("<Q32s", end, digest) for end, digest in entries)


def index_bytes(entries: Sequence[tuple[int, bytes]]) -> bytes:
    body = index_body(entries)
    header = DIDX_MAGIC + bytes(16) + struct.pack("<q", T1) + hashlib.sha256(body).digest()
    return header.ljust(4096, b"\0") + body


def blob(content: bytes) -> bytes:
    return BLOB_MAGIC + struct.pack("<I", zlib.crc32(content)) + content


def blob_content(data: bytes) -> bytes:
    magic, content = data[:8], data[12:]
    assert struct.unpack("<I", data[8:12])[0] == zlib.crc32(content)
    if magic == BLOB_MAGIC:
        return content
    assert magic == BLOB_ZSTD_MAGIC
    if shutil.which("zstd") is None:
        pytest.skip("stored chunks are compressed and there is no program zstd")
    return run.run(["zstd", "-dcq"], stdin=content).check_ok().stdout


def payload_references(metadata: bytes) -> list[tuple[int, int, int]]:
    """(where the offset is stored, offset, size) of every reference into the payload stream."""
    head = struct.pack("<QQ", PAYLOAD_REF, 32)
    found = []
    at = metadata.find(head)
    while at >= 0:
        found.append((at + 16, *struct.unpack("<QQ", metadata[at + 16 : at + 32])))
        at = metadata.find(head, at + 32)
    return found


# ---- trees ----


def noise(seed: str, size: int) -> bytes:
    """Incompressible, the same on every run."""
    return hashlib.shake_128(seed.encode()).digest(size)


def write_tree(root: Path, *, files: int = 20, size: int = 9000, folders: int = 3) -> Path:
    """Files `d0/f00` ... with contents of their own, a symlink, a hardlink, an empty file and a FIFO."""
    for number in range(files):
        path = root / f"d{number % folders}" / f"f{number:02}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(f"{path.name}", size + 13 * number))
    (root / "empty").touch()
    (root / "link").symlink_to("d0/f00")
    os.link(root / "d0" / "f00", root / "z-hard")
    os.mkfifo(root / "pipe")
    settle(root)
    return root


def settle(root: Path) -> None:
    """Old, even times: two writes within one tick of the kernel's clock must not look like none."""
    for folder, names, files in os.walk(root, topdown=False):
        for name in [*names, *files]:
            os.utime(os.path.join(folder, name), ns=(T1 * 10**9, T1 * 10**9), follow_symlinks=False)
        os.utime(folder, ns=(T1 * 10**9, T1 * 10**9))


# ---- faults ----

Faults = Callable[..., dict[str, str]]

SANITIZERS = (b"__asan_init", b"__tsan_init", b"__msan_init")


def is_sanitized(program: Path) -> bool:
    data = program.read_bytes()
    return any(name in data for name in SANITIZERS)


def build_shim(directory: Path) -> Path:
    source = Path(__file__).with_name("shim") / "fault_shim.c"
    library = directory / "fault_shim.so"
    flags = ["-std=gnu17", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    run.run(["cc", *flags, "-o", library, source, "-ldl"]).check_ok()
    return library


@pytest.fixture(scope="session")
def faults(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> Faults:
    """faults("read */f07 1 errno 5", ...) -> the environment in which these rules of shim/fault_shim.c hold."""
    if is_sanitized(pxarbench):
        pytest.skip("a sanitizer's runtime must be loaded first: no faults from a preloaded library")
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to build the fault shim")
    library = build_shim(tmp_path_factory.mktemp("shim"))

    def environment(*rules: str) -> dict[str, str]:
        return {"LD_PRELOAD": str(library), "FAULT_RULES": "\n".join(rules)}

    return environment


@pytest.fixture
def repository(pxarbench: Path, store: Path, tmp_path: Path) -> Repository:
    return Repository(pxarbench, store, tmp_path)
