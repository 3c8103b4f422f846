"""What generated trees are made of: seeded choices, contents, a plan of entries, and planting the plan on disk.

A generator is a pure function from a recipe to a Plan; only `plant` touches the disk. So the same recipe gives the same
tree on every machine: names are bytes, modes and times are set explicitly (folders last: filling them changes them), and
of Python's random module only random() is used, the one function that is promised to give the same numbers in all releases.
"""

from __future__ import annotations

import base64
import calendar
import errno
import hashlib
import math
import os
import random
import shutil
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import NormalDist
from typing import Any, TypeVar

from .workspace import DatasetFailed, Workspace

Item = TypeVar("Item")

SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS


def timestamp(text: str) -> int:
    """"2026-01-01T00:00:00Z" in nanoseconds since 1970."""
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) * SECOND_NS


# ---- seeded choices ----


class Dice:
    """Choices that follow from the words alone."""

    def __init__(self, *words: object) -> None:
        self.unit = random.Random("/".join(map(str, words))).random  # at least 0, below 1

    def below(self, count: int) -> int:
        return int(self.unit() * count)

    def between(self, first: int, last: int) -> int:
        """Both ends included."""
        return first + self.below(last - first + 1)

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        out = list(items)
        for last in range(len(out) - 1, 0, -1):
            other = self.below(last + 1)
            out[last], out[other] = out[other], out[last]
        return out

    def lognormal(self, median: float, sigma: float) -> float:
        return lognormal_quantile(median, sigma, self.unit())

    def poisson(self, mean: float) -> int:
        level, product, count = math.exp(-mean), self.unit(), 0
        while product > level:
            product *= self.unit()
            count += 1
        return count


class Weighted:
    """Picks with given probabilities; weights need not add up to 1."""

    def __init__(self, weights: Mapping[Item, float] | Sequence[tuple[Item, float]]) -> None:
        pairs = list(weights.items()) if isinstance(weights, Mapping) else list(weights)
        self._items: list[Any] = [item for item, _ in pairs]
        self._sums = list(accumulate(weight for _, weight in pairs))

    def pick(self, dice: Dice) -> Any:
        return self._items[min(bisect_right(self._sums, dice.unit() * self._sums[-1]), len(self._items) - 1)]


def lognormal_quantile(median: float, sigma: float, share: float) -> float:
    return median * math.exp(sigma * NormalDist().inv_cdf(min(max(share, 1e-12), 1 - 1e-12)))


def pareto_quantile(smallest: float, shape: float, largest: float, share: float) -> float:
    """Of the Pareto distribution that is cut off at `largest`."""
    kept: float = 1 - (smallest / largest) ** shape
    return float(smallest / (1 - share * kept) ** (1 / shape))


def lognormal_sizes(dice: Dice, count: int, median: float, sigma: float, largest: int) -> list[int]:
    """Cut off at `largest`. One from each of `count` equally probable intervals, in random order: the law is met at every
    count, and the total does not hang on whether a rare giant was drawn."""
    if count == 0:
        return []
    kept = NormalDist().cdf(math.log(largest / median) / sigma)
    shares = [kept * (number + dice.unit()) / count for number in range(count)]
    return dice.shuffled([min(round(lognormal_quantile(median, sigma, share)), largest) for share in shares])


# ---- contents ----

_UNIT = 256  # of mixed contents: compressible within a page, a disk block, a chunk
_WORDS = b"the archive holds what the folder held and the folder holds what the archive held before it was read again "


@dataclass(frozen=True, slots=True)
class Data:
    """Seeded bytes. compressibility: the share of them that zlib can take away, 0 to 1. What remains is as unlikely to
    occur elsewhere as noise, so equal chunks come from equal seeds only (or from compressibility 1)."""

    size: int
    seed: str
    compressibility: float = 0.0

    def read(self) -> bytes:
        noisy = round(_UNIT * (1 - self.compressibility))
        if noisy >= _UNIT:
            return noise(self.seed, self.size)
        units = -(-self.size // _UNIT)
        filler = (_WORDS * (_UNIT // len(_WORDS) + 1))[: _UNIT - noisy]
        source = noise(self.seed, units * noisy)
        return b"".join(source[noisy * n : noisy * (n + 1)] + filler for n in range(units))[: self.size]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Noise as lines of base64, as an attachment is."""

    size: int
    seed: str

    def read(self) -> bytes:
        return base64.encodebytes(noise(self.seed, self.size * 3 // 4 + 3))[: self.size].ljust(self.size, b"\n")


@dataclass(frozen=True, slots=True)
class Repeated:
    """`pattern` again and again, from its byte `start` on."""

    size: int
    pattern: bytes
    start: int = 0

    def read(self) -> bytes:
        begin = self.start % len(self.pattern)
        return (self.pattern * ((begin + self.size) // len(self.pattern) + 1))[begin : begin + self.size]


@dataclass(frozen=True, slots=True)
class Exactly:
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self) -> bytes:
        return self.content


@dataclass(frozen=True, slots=True)
class Hole:
    """Never written: zeros that take no room, where the file system has holes."""

    size: int


Piece = Data | Encoded | Repeated | Exactly | Hole


def noise(seed: str, size: int) -> bytes:
    """Incompressible; by a published standard, so equal for ever."""
    return hashlib.shake_128(seed.encode()).digest(size)


# ---- a plan ----


@dataclass(frozen=True, slots=True)
class File:
    path: bytes  # relative
    mtime_ns: int
    contents: tuple[Piece, ...] = ()
    mode: int = 0o644
    links: tuple[bytes, ...] = ()  # further names of the same inode
    xattrs: tuple[tuple[str, bytes], ...] = ()  # set where the file system has them

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.contents)

    @property
    def written(self) -> int:
        """Bytes that take room on disk."""
        return sum(piece.size for piece in self.contents if not isinstance(piece, Hole))


@dataclass(frozen=True, slots=True)
class Symlink:
    path: bytes
    mtime_ns: int
    target: bytes


@dataclass(frozen=True, slots=True)
class Fifo:
    path: bytes
    mtime_ns: int
    mode: int = 0o620


Node = File | Symlink | Fifo


@dataclass(frozen=True, slots=True)
class Folder:
    """Attributes of a directory, which need not have anything in it."""

    mode: int = 0o755
    mtime_ns: int | None = None  # None: that of the newest thing in it


@dataclass
class Plan:
    nodes: list[Node] = field(default_factory=list)
    folders: dict[bytes, Folder] = field(default_factory=dict)  # only those that differ from Folder(), or may be empty
    epoch_ns: int = 1_600_000_000 * SECOND_NS  # mtime of an empty folder

    def files(self) -> Iterator[File]:
        return (node for node in self.nodes if isinstance(node, File))

    @property
    def disk_bytes(self) -> int:
        """About what the tree takes on disk: whole blocks, an inode each."""
        return sum(-(-f.written // 4096) * 4096 for f in self.files()) + 4096 * len(self.folders) + 1024 * len(self.nodes)

    def all_folders(self) -> dict[bytes, Folder]:
        """Those of `folders` and all that are above anything, the root b"" included; each after its parent."""
        found = {b""}
        for path in [*(name.rpartition(b"/")[0] for node in self.nodes for name in _names(node)), *self.folders]:
            while path not in found:
                found.add(path)
                path = path.rpartition(b"/")[0]
        return {path: self.folders.get(path, Folder()) for path in sorted(found)}


def _names(node: Node) -> tuple[bytes, ...]:
    return (node.path, *node.links) if isinstance(node, File) else (node.path,)


ORDERS = ("sorted", "shuffled", "oldest first")


def in_order_of_creation(nodes: Sequence[Node], order: str, seed: object) -> list[Node]:
    """The order decides about the layout on disk, so it belongs to the recipe."""
    ordered = sorted(nodes, key=lambda node: node.path)
    if order == "sorted":
        return ordered
    if order == "shuffled":
        return Dice(seed, "creation").shuffled(ordered)
    if order == "oldest first":
        return sorted(ordered, key=lambda node: node.mtime_ns)
    raise DatasetFailed(f"order of creation {order!r}: expected one of {', '.join(ORDERS)}")


# ---- on disk ----

_SAY_EVERY_FILES = 10_000
_SAY_EVERY_BYTES = 128 << 20
_WITHOUT_XATTRS = {errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.ENOSPC}


def _write_pieces(fd: int, contents: Sequence[Piece]) -> None:
    size, ends_in_hole = 0, False
    for piece in contents:
        if isinstance(piece, Hole):
            os.lseek(fd, piece.size, os.SEEK_CUR)
        else:
            data = memoryview(piece.read())
            while data:
                data = data[os.write(fd, data) :]
        size += piece.size
        ends_in_hole = isinstance(piece, Hole)
    if ends_in_hole:
        os.ftruncate(fd, size)


def _plant_file(root: int, file: File, left_out: set[str]) -> None:
    # 0o600 whatever the umask is; the real mode comes after the contents.
    fd = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root)
    try:
        _write_pieces(fd, file.contents)
        os.fchmod(fd, file.mode)
        for name, value in file.xattrs:
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno not in _WITHOUT_XATTRS:
                    raise
                left_out.add(name.split(".")[0] + ".* attributes")
        for name in file.links:
            os.link(file.path, name, src_dir_fd=root, dst_dir_fd=root)
        os.utime(fd, ns=(file.mtime_ns, file.mtime_ns))
    finally:
        os.close(fd)


def _plant_node(root: int, node: Node, left_out: set[str]) -> None:
    if isinstance(node, File):
        _plant_file(root, node, left_out)
        return
    if isinstance(node, Symlink):
        os.symlink(node.target, node.path, dir_fd=root)
    else:
        os.mkfifo(node.path, 0o600, dir_fd=root)
        os.chmod(node.path, node.mode, dir_fd=root)
    os.utime(node.path, ns=(node.mtime_ns, node.mtime_ns), dir_fd=root, follow_symlinks=False)


def _folder_times(plan: Plan, folders: Mapping[bytes, Folder]) -> dict[bytes, int]:
    newest: dict[bytes, int] = {}
    for node in plan.nodes:
        for name in _names(node):
            parent = name.rpartition(b"/")[0]
            newest[parent] = max(newest.get(parent, node.mtime_ns), node.mtime_ns)
    times: dict[bytes, int] = {}
    for path in sorted(folders, reverse=True):  # children before their parents
        own = folders[path].mtime_ns
        times[path] = own if own is not None else newest.get(path, plan.epoch_ns)
        if path:
            parent = path.rpartition(b"/")[0]
            newest[parent] = max(newest.get(parent, times[path]), times[path])
    return times


def plant(work: Workspace, plan: Plan) -> str:
    """Makes the tree in work.root, which is empty. Returns how, in words. DatasetFailed when there is too little room."""
    recipe, values = work.recipe, work.recipe.values
    free = shutil.disk_usage(work.root).free
    if free < plan.disk_bytes:
        raise DatasetFailed(f"dataset {recipe.name}: needs {plan.disk_bytes:,} bytes, {free:,} are free in {work.root}")
    nodes = in_order_of_creation(plan.nodes, values["creation"], values["seed"])
    folders = plan.all_folders()
    work.say(f"dataset {recipe.name}: making {len(nodes):,} entries in {len(folders):,} folders")
    work.step("planned")
    left_out: set[str] = set()
    made = {b""}
    written = said = 0
    root = os.open(work.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, node in enumerate(nodes, 1):
            for name in _names(node):
                _make_folders(root, name.rpartition(b"/")[0], made)
            _plant_node(root, node, left_out)
            written += node.written if isinstance(node, File) else 0
            if number % _SAY_EVERY_FILES == 0 or written - said >= _SAY_EVERY_BYTES:
                said = written
                work.say(f"dataset {recipe.name}: {number:,} of {len(nodes):,} entries, {written >> 20:,} MiB")
        for path in folders:
            _make_folders(root, path, made)
        work.step("written")
        times = _folder_times(plan, folders)
        for path in sorted(folders, reverse=True):
            os.chmod(path or b".", folders[path].mode, dir_fd=root)
            os.utime(path or b".", ns=(times[path], times[path]), dir_fd=root)
    except OSError as error:
        raise DatasetFailed(f"dataset {recipe.name}: {error}") from error
    finally:
        os.close(root)
    work.step("dated")
    text = f"generated, seed {values['seed']}"
    return text + (f"; left out (file system): {', '.join(sorted(left_out))}" if left_out else "")


def _make_folders(root: int, path: bytes, made: set[bytes]) -> None:
    missing = []
    while path not in made:
        missing.append(path)
        path = path.rpartition(b"/")[0]
    for folder in reversed(missing):
        os.mkdir(folder, 0o700, dir_fd=root)
        made.add(folder)
