"""The determinism matrix: one backup, run in many circumstances, must give one result.

A case is what may decide the result: mode, profile, cache limit, the tree's attributes. A variation is what must not: number
of threads, a busy machine, `ulimit -n`, sizes of reads, the file system that the tree is on, whether decisions are written.
A result is the checksum of each stream's index and the digest of the decisions file.

What may be compared across file systems: trees whose entries look alike there. `plain` trees have no extended attributes and no
chattr flags, so tmpfs (of which the archive format reads neither) can take part. `attributes` trees have at most one extended
attribute per file, since every file system lists several in an order of its own, which the format keeps; tmpfs stays out.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from . import run
from .tree import FS_IOC_GETFLAGS

FS_IOC_SETFLAGS = 0x40086602
NODUMP = 0x40

REFERENCE_TIME = 1_700_000_001
RUN_TIME = REFERENCE_TIME + 99
ARCHIVE = "root"

PLAIN, ATTRIBUTES = "plain", "attributes"


@dataclass(frozen=True)
class Case:
    mode: str
    profile: str = ""  # "" where the mode has no use for one
    cache_limit: int = 0  # 0: the program's default
    tree: str = PLAIN

    @property
    def name(self) -> str:
        limit = f"limit {self.cache_limit}" if self.cache_limit else ""
        return " ".join(part for part in (self.mode, self.profile, limit, self.tree) if part)


@dataclass(frozen=True)
class Variation:
    threads: int
    loaded: bool
    descriptors: int  # ulimit -n
    read_size_max: int  # 0: the program's own
    filesystem: str
    decisions: bool

    @property
    def name(self) -> str:
        words = [f"{self.threads} threads", "loaded" if self.loaded else "", f"{self.descriptors} descriptors"]
        words += [f"reads of {self.read_size_max}" if self.read_size_max else "", self.filesystem]
        return ", ".join(word for word in [*words, "" if self.decisions else "no decisions"] if word)


@dataclass(frozen=True)
class Result:
    streams: tuple[tuple[str, str], ...]  # name and checksum of the index
    decisions: str | None


THREADS = tuple(range(1, 9))
DESCRIPTORS = (32, 64, 1024, 65536)
READ_SIZES = (0, 61, 4093, 65536, 1 << 20)
FILESYSTEMS = ("tmpfs", "ext4", "xfs", "btrfs")
PROFILES = ("tight", "upstream", "stored")


def cases(profiles: Sequence[str], trees: Sequence[str] = (PLAIN, ATTRIBUTES), cache_limits: Sequence[int] = (0, 3)) -> list[Case]:
    found = []
    for tree in trees:
        found += [Case("metadata", profile, limit, tree) for profile in profiles for limit in cache_limits]
        found += [Case(mode, tree=tree) for mode in ("data", "legacy")]
    return found


def product(filesystems: Sequence[str]) -> list[Variation]:
    return [
        Variation(*values)
        for values in itertools.product(THREADS, (False, True), DESCRIPTORS, READ_SIZES, filesystems, (True, False))
    ]


def _pairs(variation: Variation) -> frozenset[tuple[str, object, str, object]]:
    values = [(f.name, getattr(variation, f.name)) for f in fields(variation)]
    return frozenset((a, x, b, y) for (a, x), (b, y) in itertools.combinations(values, 2))


def chosen(every: Sequence[Variation], count: int, seed: int) -> list[Variation]:
    """`count` of them, greedily, so that as many pairs of circumstances as possible meet; the same for the same seed."""
    if count >= len(every):
        return list(every)
    dice = random.Random(seed)
    met: set[tuple[str, object, str, object]] = set()
    found: list[Variation] = []
    left = list(every)
    while len(found) < count:
        candidates = dice.sample(left, min(len(left), 200))
        best = max(candidates, key=lambda v: len(_pairs(v) - met))
        found.append(best)
        left.remove(best)
        met |= _pairs(best)
    return found


def pairs_met(variations: Iterable[Variation], every: Iterable[Variation]) -> tuple[int, int]:
    """How many of all pairs of circumstances these have together."""
    met = frozenset().union(*(_pairs(v) for v in variations))
    return len(met), len(frozenset().union(*(_pairs(v) for v in every)))


# ---- the tree, before and after ----

_OLD_NS = 1_600_000_000 * 10**9
_LATER_NS = 1_650_000_000 * 10**9


def make_trees(folder: Path, seed: int) -> tuple[Path, Path]:
    """`old`, and `new`, which changed in every way that matters to the detection; about 6 MiB each, all times set."""
    dice = random.Random(seed)
    old, new = folder / "old", folder / "new"
    old.mkdir(parents=True)
    for directory in range(12):
        place = old / f"d{directory % 4}" / f"e{directory:02}"
        place.mkdir(parents=True)
        for number in range(40):
            size = dice.choice([0, 1, 15, 16, 17, 4095, 4096, 9000, 20000, dice.randrange(60000)])
            (place / f"f{number:02}").write_bytes(dice.randbytes(size) if number % 3 else b"x" * size)
    for number, size in enumerate((262143, 262144, 262145, 1_500_000)):
        (old / f"large{number}").write_bytes(dice.randbytes(size))
    deep = old.joinpath("deep", *(f"l{level}" for level in range(30)))
    deep.mkdir(parents=True)
    (deep / "leaf").write_bytes(b"leaf")
    os.link(old / "large0", old / "d0" / "link")
    os.symlink("large1", old / "symlink")
    os.mkfifo(old / "pipe")
    (old / os.fsdecode(b"n\xff\xfe")).write_bytes(b"not UTF-8")
    _settle(old)
    shutil.copytree(old, new, symlinks=True, copy_function=_copy)
    os.unlink(new / "d0" / "link")
    os.link(new / "large0", new / "d0" / "link")
    later = []
    for number, path in enumerate(sorted(new.glob("d*/e*/f*"))):
        if number % 41 == 5:
            path.write_bytes(dice.randbytes(dice.randrange(30000)))
            later.append(path)
        elif number % 59 == 7:
            later.append(path)  # touched, contents as they were
        elif number % 61 == 9:
            path.unlink()
        elif number % 67 == 11:
            path.rename(path.with_name("r" + path.name))
    for number in range(5):
        added = new / "d1" / f"new{number}"
        added.write_bytes(dice.randbytes(5000 * number))
        later.append(added)
    _settle(new)
    for path in later:
        os.utime(path, ns=(0, _LATER_NS))
    return old, new


def _copy(source: str, target: str) -> None:
    if Path(source).is_fifo():
        os.mkfifo(target)
    else:
        shutil.copy2(source, target)


def _settle(root: Path) -> None:
    for folder, names, files in os.walk(root, topdown=False):
        for name in [*names, *files]:
            os.utime(os.path.join(folder, name), ns=(0, _OLD_NS), follow_symlinks=False)
        os.utime(folder, ns=(0, _OLD_NS))


def _give_attributes(root: Path) -> None:
    """One extended attribute on every third file, no-dump on every fifth: as a rule of the name, so alike everywhere."""
    for path in sorted(root.rglob("f*")):
        mark = int(hashlib.sha256(path.name.encode()).hexdigest(), 16)
        if mark % 3 == 0:
            os.setxattr(path, "user.mark", path.name.encode())
        if mark % 5 == 0:
            fd = os.open(path, os.O_RDONLY)
            try:
                (flags,) = struct.unpack("I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))[:4])
                fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("Q", flags | NODUMP))
            finally:
                os.close(fd)


def _put(source: Path, target: Path, kind: str) -> None:
    """`target` becomes a copy of `source` with the attributes of `kind`."""
    shutil.rmtree(target, ignore_errors=True)
    run.run(["cp", "-a", "--no-preserve=xattr", source, target]).check_ok()
    if kind == ATTRIBUTES:
        _give_attributes(target)


# ---- running ----


@contextmanager
def busy_machine() -> Iterator[None]:
    """Keeps every processor busy twice over."""
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.send_signal(signal.SIGKILL)
            spinner.wait()


def hard_limit() -> int:
    """Of descriptors: variations above it run with it, for raising it takes more than being root in many containers."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


@dataclass(frozen=True)
class Place:
    """One tree on one file system, and the store with the snapshot that its runs refer to."""

    tree: Path
    store: Path

    @classmethod
    def prepare(cls, binary: Path, trees: tuple[Path, Path], tree: Path, store: Path, kind: str) -> Place:
        (store / ".chunks").mkdir(parents=True)
        (store / ".lock").touch()
        made = cls(tree, store)
        _put(trees[0], tree, kind)
        run.run(made.words(binary, Case("data"), REFERENCE_TIME)).check_ok()
        _put(trees[1], tree, kind)
        return made

    def words(self, binary: Path, case: Case, at: int, *more: str | os.PathLike[str]) -> list[str | os.PathLike[str]]:
        profile = ["--reuse-profile", case.profile] if case.profile else []
        limit = ["--cache-limit", str(case.cache_limit)] if case.cache_limit else []
        return [
            binary, "backup", f"{ARCHIVE}.pxar:{self.tree}", "--repository", self.store, "--backup-id", "same", "--backup-time", str(at),
            "--change-detection-mode", case.mode, "--chunk-size", "64", "--sync-level", "none", *profile, *limit, *more,
        ]  # fmt: skip

    def result(self, binary: Path, case: Case, variation: Variation) -> Result:
        """Runs once and takes the snapshot away again; chunks stay, which must not matter either."""
        stats, decisions = self.store.with_suffix(".stats"), self.store.with_suffix(".decisions")
        more: list[str | os.PathLike[str]] = ["--stats", stats, "--threads", str(variation.threads)]
        if variation.read_size_max:
            more += ["--read-size-max", str(variation.read_size_max)]
        if variation.decisions:
            more += ["--decisions", decisions]
        descriptors = min(variation.descriptors, hard_limit())
        limit = f"--nofile={descriptors}:{descriptors}"
        run.run(["prlimit", limit, *self.words(binary, case, RUN_TIME, *more)], timeout=300).check_ok()
        said = json.loads(stats.read_text())
        archive = said["archives"][0]
        streams = tuple((name, archive[name]["csum"]) for name in ("metadata", "payload", "stream") if archive[name])
        if case.mode == "metadata" and archive["reference"]["reason"] != "used":
            raise AssertionError(f"{case.name}: no reference was used: {archive['reference']}")
        shutil.rmtree(self.store / said["snapshot"])
        return Result(streams, hashlib.sha256(decisions.read_bytes()).hexdigest() if variation.decisions else None)


@dataclass(frozen=True)
class Row:
    """All results of a case."""

    case: Case
    results: tuple[tuple[Variation, Result], ...]

    @property
    def streams(self) -> frozenset[tuple[tuple[str, str], ...]]:
        return frozenset(result.streams for _, result in self.results)

    @property
    def decisions(self) -> frozenset[str]:
        return frozenset(result.decisions for _, result in self.results if result.decisions is not None)

    @property
    def is_one(self) -> bool:
        return len(self.streams) == 1 and len(self.decisions) <= 1

    @property
    def strays(self) -> list[str]:
        """The variations whose result is not the first one's."""
        first = self.results[0][1]
        said = next((r.decisions for _, r in self.results if r.decisions is not None), None)
        return [v.name for v, r in self.results if r.streams != first.streams or r.decisions not in (None, said)]


def measure(binary: Path, places: dict[tuple[str, str], Place], wanted: Sequence[Case], variations: Sequence[Variation]) -> list[Row]:
    """`places` by file system and kind of tree; a variation on a file system that has no such tree is left out."""
    results: dict[Case, list[tuple[Variation, Result]]] = {case: [] for case in wanted}

    def series(loaded: bool) -> None:
        for case, variation in itertools.product(wanted, variations):
            where = places.get((variation.filesystem, case.tree))
            if where is not None and variation.loaded == loaded:
                results[case].append((variation, where.result(binary, case, variation)))

    series(loaded=False)
    if any(v.loaded for v in variations):
        with busy_machine():
            series(loaded=True)
    return [Row(case, tuple(found)) for case, found in results.items() if found]


def table(rows: Iterable[Row]) -> str:
    lines = [
        "| case | runs | file systems | distinct streams | distinct decisions | checksums of the first |",
        "| --- | ---: | --- | ---: | ---: | --- |",
    ]
    for row in rows:
        systems = " ".join(name for name in FILESYSTEMS if any(v.filesystem == name for v, _ in row.results))
        csum = " ".join(f"{name} {csum[:12]}" for name, csum in row.results[0][1].streams)
        lines.append(f"| {row.case.name} | {len(row.results)} | {systems} | {len(row.streams)} | {len(row.decisions)} | {csum} |")
    return "\n".join(lines)
