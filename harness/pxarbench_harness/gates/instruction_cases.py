"""The commands whose instructions are counted, on inputs that are the same everywhere.

Everything that a count could depend on is fixed: contents, names, times, modes of the files; the length of every path (the
working folder is made to be of one length, all words are relative to it); one thread for the work; the order in which the
names of a directory were made is drawn by lot, so that no file system hands them out sorted.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import run

#: Part of the version of every case. Counts of another version are never compared: raise it with any change of what is counted
#: (callgrind.py), or below that the digest of inputs and words does not see.
CASES_VERSION = 2

SEED = 20240229
FOLDER_LENGTH = 160  # bytes of the working folder's path
_PREFIX, _DRAWN = "pxarbench-gate-instructions-", 8  # of its name, and how many letters tempfile draws
DIRECTORIES, FILES_EACH = 24, 25
LARGE_EVERY = 25  # files; large enough to end chunks
CHUNK_KIB = 64
TIME = 1_700_000_000  # of files and backups, seconds
SECONDS_MAX = 60


class CaseBroken(Exception):
    """A case whose inputs could not be made, or whose answer is not understood."""


# ---- inputs ----


@dataclass(frozen=True)
class Input:
    path: str
    content: bytes


def _content(draw: random.Random, size: int) -> bytes:
    """Half of it does not compress."""
    noise = draw.randbytes(size // 2)
    return noise + b"all work and no play " * ((size - len(noise)) // 21) + b"." * ((size - len(noise)) % 21)


def tree_inputs() -> list[Input]:
    """600 files in 24 directories, in the order in which they are made."""
    draw = random.Random(SEED)
    files = []
    for number in range(DIRECTORIES * FILES_EACH):
        folder = f"part-{number % DIRECTORIES % 3}/group-{number % DIRECTORIES:02}"
        size = 40_000 if number % LARGE_EVERY == 7 else draw.choice((0, 180, 700, 1_500, 2_900))
        files.append(Input(f"{folder}/{draw.randrange(16**6):06x}-{number:04}.txt", _content(draw, size)))
    draw.shuffle(files)
    return files


def plain_input() -> bytes:
    return random.Random(SEED + 1).randbytes(512 * 1024)


def make_tree(root: Path, files: Sequence[Input]) -> None:
    for number, file in enumerate(files):
        path = root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(0o644)
        if number % 50 == 0:
            os.link(path, path.with_suffix(".link"))
        if number % 50 == 25:
            path.with_suffix(".to").symlink_to(path.name)
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            path = Path(folder, name)
            os.utime(path, (TIME, TIME), follow_symlinks=False)
        os.chmod(folder, 0o755)
        os.utime(folder, (TIME, TIME))


# ---- what a command says that it did ----


def _archive_work(said: Mapping[str, Any]) -> str:
    payload, metadata = said["payload"], said["metadata"]
    return (
        f"entries {said['entries']['files']}+{said['entries']['directories']}, reused {said['reused_files']}, "
        f"encoded {said['reencoded_files']}, read {said['file_bytes_read']}, padding {said['padding_bytes']}, "
        f"metadata {metadata['size']} in {metadata['chunks']}, payload {payload['size']} in {payload['chunks']}, "
        f"injected {payload['injected_chunks']}, new {payload['new_chunks']}+{metadata['new_chunks']}"
    )


def _create_work(result: run.Result) -> str:
    return _archive_work(json.loads(result.stdout))


def _backup_work(result: run.Result) -> str:
    return _archive_work(json.loads(result.stdout)["archives"][0])


def _restore_work(result: run.Result) -> str:
    said = json.loads(result.stdout)
    return f"entries {said['entries']}, files {said['files']}, bytes {said['file_bytes']}, chunks {said['payload_chunks']}"


def _lines_work(result: run.Result) -> str:
    return f"lines {result.stdout.count(b'%c' % 10)}, bytes {len(result.stdout)}"


def _chunk_work(result: run.Result) -> str:
    return f"chunks {len(json.loads(result.stdout))}"


def _analyze_work(result: run.Result) -> str:
    (archive,) = json.loads(result.stdout)["archives"]
    return "; ".join(f"files {one['files']}, index entries {one['index_entries']}" for one in archive["snapshots"])


# ---- the commands ----


@dataclass(frozen=True)
class Case:
    name: str
    words: tuple[str, ...]  # after the program
    work: Callable[[run.Result], str]
    prepare: Callable[[Bench], None]  # before each run; what is kept is made once
    rewind: Callable[[Bench], None]  # after each run


def may_execute(folder: Path) -> bool:
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC


class Bench:
    """The working folder with the inputs, the program, a store. Made when first asked for, removed by `close`.

    `parent` must be on a file system that can hold 70,000 directories; memory is best.
    """

    def __init__(self, parent: Path, binary: Path) -> None:
        spare = FOLDER_LENGTH - len(os.fsencode(parent)) - 1 - len(_PREFIX) - _DRAWN
        if spare < 0:
            raise CaseBroken(f"{parent}: the path is too long, {FOLDER_LENGTH - 1 - len(_PREFIX) - _DRAWN} bytes are possible")
        parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix="i" * spare, dir=parent))
        self.program = binary.name
        if may_execute(self.folder):
            shutil.copyfile(binary, self.folder / self.program)
            (self.folder / self.program).chmod(0o755)
        else:  # as in /dev/shm of containers: the words and all paths are of the same length through a link, too
            self.program = binary.resolve().name
            (self.folder / self.program).symlink_to(binary.resolve())
        self.files = tree_inputs()
        self._kept: set[Path] = set()

    def close(self) -> None:
        # One process for 65,536 folders is a second quicker than Python.
        run.run(["rm", "-rf", "--", self.folder]).check_ok()

    def native(self, words: Sequence[str]) -> run.Result:
        """A run that is not counted."""
        result = run.run(["env", "-i", "LC_ALL=C.UTF-8", f"./{self.program}", *words], cwd=self.folder, timeout=SECONDS_MAX)
        return result.check_ok()

    def remove(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    @cached_property
    def tree(self) -> None:
        make_tree(self.folder / "tree", self.files)

    @cached_property
    def plain(self) -> None:
        (self.folder / "plain").write_bytes(plain_input())

    @cached_property
    def archive(self) -> None:
        self.tree
        self.native(_create("kept"))

    @cached_property
    def store(self) -> None:
        """With its 65,536 folders: making them is not what is counted."""
        self.tree
        (self.folder / "small").mkdir()
        self.native(["--quiet", "backup", "a.pxar:small", "--backup-id", "small", "--backup-time", str(TIME), *_STORE])

    @cached_property
    def base(self) -> None:
        """The snapshot that others refer to."""
        self.store
        self.native(_backup("data", 1))
        self._kept = set(self._chunks(1))

    @cached_property
    def second(self) -> None:
        """One more snapshot, of a tree with a changed file."""
        self.base
        self.change()
        try:
            self.native(_backup("metadata", 3))
        finally:
            self.unchange()

    def _chunks(self, number: int) -> list[Path]:
        """Those that a snapshot lists."""
        found = []
        for name in ("a.mpxar.didx", "a.ppxar.didx"):
            path = f"store/host/counted/{_snapshot_time(number)}/{name}"
            for entry in json.loads(self.native(["index", "show", path, "--output-format", "json"]).stdout)["entries"]:
                digest = entry["digest"]
                found.append(self.folder / "store" / ".chunks" / digest[:4] / digest)
        return found

    def forget(self, number: int) -> None:
        """Snapshot and chunks are gone as if it had never been made."""
        for path in self._chunks(number):
            if path not in self._kept:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "store/host/counted" / _snapshot_time(number))

    @cached_property
    def _changed(self) -> tuple[Path, bytes]:
        file = next(file for file in sorted(self.files, key=lambda file: file.path) if len(file.content) == 2_900)
        return self.folder / "tree" / file.path, file.content

    def change(self) -> None:
        path, content = self._changed
        path.write_bytes(content[::-1])
        os.utime(path, (TIME + 60, TIME + 60))

    def unchange(self) -> None:
        path, content = self._changed
        path.write_bytes(content)
        os.utime(path, (TIME, TIME))


_STORE = ("--repository", "./store", "--threads", "1", "--chunk-size", str(CHUNK_KIB), "--sync-level", "none")


def _snapshot_time(number: int) -> str:
    return f"2023-11-14T22:13:2{number}Z"  # TIME + number


def _create(name: str) -> list[str]:
    """`name`: four letters, as everywhere."""
    words = ["--quiet", "pxar", "create", "tree", f"{name}.mpxar", "--payload-output", f"{name}.ppxar", "--threads", "1"]
    return [*words, "--output-format", "json"]


def _backup(mode: str, number: int) -> list[str]:
    words = ["--quiet", "backup", "a.pxar:tree", "--backup-id", "counted", "--backup-time", str(TIME + number)]
    return [*words, "--change-detection-mode", mode, "--output-format", "json", *_STORE]


def _extract(*words: str) -> tuple[str, ...]:
    return ("--quiet", *words, "--ignore-ownership", "--output-format", "json")


def _begin_change(bench: Bench) -> None:
    bench.base
    bench.change()


def _end_change(bench: Bench) -> None:
    bench.unchange()
    bench.forget(2)


#: In this order: the first backup finds no chunk of the tree in the store.
CASES: tuple[Case, ...] = (
    Case("pxar-create", tuple(_create("made")), _create_work,
         lambda bench: bench.tree, lambda bench: bench.remove("made.mpxar", "made.ppxar")),
    Case("pxar-list", ("--quiet", "pxar", "list", "kept.mpxar"), _lines_work,
         lambda bench: bench.archive, lambda bench: None),
    Case("pxar-extract", _extract("pxar", "extract", "kept.mpxar", "--payload-input", "kept.ppxar", "back"), _restore_work,
         lambda bench: bench.archive, lambda bench: bench.remove("back")),
    Case("chunk", ("--quiet", "chunk", "plain", "--average", str(CHUNK_KIB * 1024)), _chunk_work,
         lambda bench: bench.plain, lambda bench: None),
    Case("backup-data-first", tuple(_backup("data", 2)), _backup_work,
         lambda bench: bench.store, lambda bench: bench.forget(2)),
    Case("backup-data-unchanged", tuple(_backup("data", 2)), _backup_work,
         lambda bench: bench.base, lambda bench: bench.forget(2)),
    Case("backup-metadata-unchanged", tuple(_backup("metadata", 2)), _backup_work,
         lambda bench: bench.base, lambda bench: bench.forget(2)),
    Case("backup-metadata-changed", tuple(_backup("metadata", 2)), _backup_work,
         _begin_change, _end_change),
    Case("restore", _extract("restore", f"host/counted/{_snapshot_time(1)}", "a.pxar", "back", *_STORE[:2]), _restore_work,
         lambda bench: bench.base, lambda bench: bench.remove("back")),
    Case("analyze", ("--quiet", "analyze", f"host/counted/{_snapshot_time(1)}", f"host/counted/{_snapshot_time(3)}",
                     *_STORE[:2], "--chunk-size", str(CHUNK_KIB), "--output-format", "json"), _analyze_work,
         lambda bench: bench.second, lambda bench: None),
)  # fmt: skip


def version(environment: Sequence[str]) -> str:
    """Changes with inputs, words and environment: 12 hexadecimal digits."""
    digest = hashlib.sha256(f"{CASES_VERSION} {FOLDER_LENGTH} {environment!r}".encode())
    for file in tree_inputs():
        digest.update(f"{file.path} {len(file.content)} ".encode() + file.content)
    digest.update(plain_input())
    for case in CASES:
        digest.update(f"{case.name} {case.words!r}".encode())
    return digest.hexdigest()[:12]
