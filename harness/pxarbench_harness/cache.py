"""The kernel's page cache: emptied, filled, and how much of a tree is in it.

A cold run must be shown to have been cold. Looking at a file's pages needs the file open, and opening files brings their
inodes and folders back into memory, which is what a backup that only compares attributes waits for. So chill() opens a small
seeded sample before the cache is dropped, and asks about it afterwards: nothing is looked up again.

"Cold" is: no contents, no folders, no inodes, of no file, this machine's programs included (drop_caches 3). Where that is
not allowed, files are given up one by one (POSIX_FADV_DONTNEED): contents only, names and attributes stay in memory, and
the method's name says so.
"""

from __future__ import annotations

import ctypes
import os
import random
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from . import measure, run

#: A run with more than this share of its tree or store in memory was not cold.
COLD_LIMIT = 0.02

#: A tree with less than this share in memory is read again by keep_warm().
WARM_LIMIT = 0.95

#: Of the files of a tree, at most this share and this many are asked about: those stay known to the kernel meanwhile.
SAMPLE_SHARE = 0.01
SAMPLE_FILES = 512

#: Bytes that resident() looks at before it stops; None there means all.
SAMPLE_BYTES = 1 << 30

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
PAGE = os.sysconf("SC_PAGESIZE")

#: File systems that have no other place than memory.
_MEMORY_ONLY = ("tmpfs", "ramfs", "devtmpfs", "rootfs")
#: File systems whose contents are (also) kept outside of this kernel's page cache, where it cannot be dropped or seen.
_CACHED_ELSEWHERE = ("zfs", "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "fuse", "ceph", "glusterfs")


class CacheStays(Exception):
    """The cache cannot be emptied, or what is in it cannot be seen; the text says why."""


@dataclass(frozen=True)
class Chill:
    """What chill() did. `resident`: the largest share found; `shares` has it for each place that was asked for."""

    how: str  # "drop_caches" or "fadvise"
    resident: float
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def cold(self) -> bool:
        return is_cold(self.resident)


def is_cold(resident: float | None) -> bool:
    """What nobody measured was not cold."""
    return resident is not None and resident <= COLD_LIMIT


def never_cold(path: Path) -> str:
    """Why files below `path` cannot be made cold; "": they can."""
    kind = (measure.filesystem(path).split() or ["unknown"])[0]
    if kind in _MEMORY_ONLY:
        return f"{path} is on {kind}, which has no other place than memory"
    if kind in _CACHED_ELSEWHERE or kind.startswith("fuse."):
        return f"{path} is on {kind}, which keeps contents where this kernel neither drops nor sees them"
    return ""


# ---- emptying and filling ----


def drop(paths: Sequence[Path]) -> str:
    """Empties the cache of what lies below `paths`: "drop_caches" (everything, of the whole machine) or "fadvise" (these
    files' contents). CacheStays: neither is possible. What is dirty is written first: only clean pages can be dropped."""
    for path in paths:
        reason = never_cold(path)
        if reason:
            raise CacheStays(reason)
    for path in paths:
        run.sync_filesystem(path)
    try:
        # 1: pages, 2: dentries and inodes (and with them the file system's own caches of these). Twice: inodes can be freed
        # only when their pages are gone, and the first pass over a list spares what was used recently.
        for _ in range(2):
            DROP_CACHES.write_text("3\n")
        return "drop_caches"
    except OSError as error:
        refused = f"{DROP_CACHES}: {error.strerror}"
    given_up = 0
    for path in paths:
        for name in _files(path):
            with suppress(OSError), closing(_Opened(name)) as opened:
                os.posix_fadvise(opened.fd, 0, 0, os.POSIX_FADV_DONTNEED)
                given_up += 1
    if given_up == 0:
        raise CacheStays(f"{refused}, and no file below {', '.join(map(str, paths))} can be opened")
    return "fadvise"


def warm(root: Path) -> int:
    """Reads everything a backup may: folders, attributes, extended attributes, contents. Bytes read.

    What does not fit into memory pushes out what was there before: resident() tells.
    """
    buffer = bytearray(1 << 20)
    total = 0
    for entry in _walk(root):
        with suppress(OSError):
            os.listxattr(entry.path, follow_symlinks=False)
            if entry.is_file(follow_symlinks=False):
                with closing(_Opened(entry.path)) as opened:
                    while got := os.readv(opened.fd, [buffer]):
                        total += got
    return total


def keep_warm(root: Path, *, sample_bytes: int = 64 << 20, seed: int = 1) -> float | None:
    """For a warm run: the share of `root` in memory, after reading it again where that was less than WARM_LIMIT.

    A kernel may take out what nobody used for a while, though there is room (DAMON), and a tree may be larger than memory: then
    the answer is still low. None: it cannot be seen; the tree was read.
    """
    if unseen():
        warm(root)
        return None
    share = resident(root, sample_bytes=sample_bytes, seed=seed)
    if share < WARM_LIMIT:
        warm(root)
        share = resident(root, sample_bytes=sample_bytes, seed=seed)
    return share


def chill(paths: Sequence[Path], *, seed: int = 1) -> Chill:
    """Empties the cache and says what stayed of the trees below `paths` (the source, and the store with the reference).

    Programs are dropped too: start the command's `--version` once before timing it, unless loading it is to be measured.
    CacheStays: this machine cannot; the text says why.
    """
    reason = unseen()
    if reason:
        raise CacheStays(reason)
    with ExitStack() as held:
        # Opened before the drop: looking them up afterwards would bring back what was dropped.
        samples = {str(path): _sample(path, seed, held) for path in paths}
        how = drop(paths)
        shares = {path: _share(sample) for path, sample in samples.items()}
    return Chill(how, max(shares.values(), default=0.0), shares)


# ---- looking ----


def resident(root: Path, *, sample_bytes: int | None = SAMPLE_BYTES, seed: int = 1) -> float:
    """Share of the bytes of regular files below `root` that are in memory, 0 to 1 (1 for a tree without any).

    Brings no contents in, but folders and inodes: after a drop, ask chill(). Looks at files in seeded random order until
    they are `sample_bytes` together. CacheStays: cannot be seen.
    """
    reason = unseen()
    if reason:
        raise CacheStays(reason)
    if measure.filesystem(root).split()[0] in _MEMORY_ONLY:
        return 1.0
    names = list(_files(root))
    random.Random(f"resident/{seed}").shuffle(names)
    pages = present = 0
    for name in names:
        if sample_bytes is not None and pages * PAGE >= sample_bytes:
            break
        with suppress(OSError), closing(_Opened(name)) as opened:
            pages += opened.pages
            present += opened.present()
    return present / pages if pages else 1.0


def _sample(root: Path, seed: int, held: ExitStack) -> list[_Opened]:
    """Open files of `root`: the largest, which hold most of the bytes, and some at random (seeded)."""
    sizes = {name: size for name, size in _sizes(root) if size}
    names = sorted(sizes)
    allowed = min(SAMPLE_FILES, max(4, int(len(names) * SAMPLE_SHARE)))
    chosen = sorted(names, key=lambda name: (-sizes[name], name))[: allowed // 4]
    chosen += random.Random(f"chill/{seed}").sample(names, min(allowed, len(names)))
    opened = []
    for name in sorted(set(chosen)):
        with suppress(OSError):
            file = _Opened(name)
            held.callback(file.close)
            opened.append(file)
    if chosen and not opened:
        raise CacheStays(f"{root}: none of {len(chosen)} files can be opened")
    return opened


def _share(sample: Iterable[_Opened]) -> float:
    pages = present = 0
    for opened in sample:
        pages += opened.pages
        present += opened.present()
    return present / pages if pages else 0.0


def _walk(root: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below `root`, links not followed, other file systems not entered; what vanishes meanwhile is left out."""
    try:
        device = os.lstat(root).st_dev
    except OSError:
        return
    open_folders = [str(root)]
    while open_folders:
        with suppress(OSError), os.scandir(open_folders.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_dev == device:
                    open_folders.append(entry.path)


def _files(root: Path) -> Iterator[str]:
    with suppress(OSError):
        if stat.S_ISREG(os.lstat(root).st_mode):
            yield str(root)
            return
    for entry in _walk(root):
        if entry.is_file(follow_symlinks=False):
            yield entry.path


def _sizes(root: Path) -> Iterator[tuple[str, int]]:
    for name in _files(root):
        with suppress(OSError):
            yield name, os.lstat(name).st_size


class _Opened:
    """A regular file, open for looking. OSError: it cannot be."""

    def __init__(self, name: str) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self.fd = os.open(name, flags | os.O_NOATIME)
        except PermissionError:  # another's file: its access time may change
            self.fd = os.open(name, flags)
        self.size = os.fstat(self.fd).st_size

    @property
    def pages(self) -> int:
        return -(-self.size // PAGE)

    def present(self) -> int:
        """Pages of it in memory. Of another's files the kernel tells nothing: they count as there, so that a run is rather
        discarded than taken for cold."""
        if self.size == 0:
            return 0
        try:
            return min(self.pages, _cachestat(self.fd) if has_cachestat() else _mincore(self.fd, self.size))
        except OSError:
            return self.pages

    def close(self) -> None:
        os.close(self.fd)


# ---- the kernel's words ----

_CACHESTAT = 451  # one number on all architectures
_PROT_READ, _MAP_SHARED = 1, 1


class _Range(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_uint64), ("length", ctypes.c_uint64)]


class _Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("cache", "dirty", "writeback", "evicted", "recently_evicted")]


@lru_cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    return libc


def _failed() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _cachestat(fd: int) -> int:
    whole, counts = _Range(0, 0), _Counts()
    number, flags = ctypes.c_long(_CACHESTAT), ctypes.c_uint(0)
    if _libc().syscall(number, ctypes.c_uint(fd), ctypes.byref(whole), ctypes.byref(counts), flags) != 0:
        raise _failed()
    return int(counts.cache)


def _mincore(fd: int, size: int) -> int:
    """Mapping a file does not read it. Of files one may not write the kernel answers "all there"."""
    libc = _libc()
    address = libc.mmap(None, size, _PROT_READ, _MAP_SHARED, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        raise _failed()
    try:
        flags = ctypes.create_string_buffer(-(-size // PAGE))
        if libc.mincore(address, size, flags) != 0:
            raise _failed()
        return sum(byte & 1 for byte in flags.raw[: -(-size // PAGE)])
    finally:
        libc.munmap(address, size)


@lru_cache
def has_cachestat() -> bool:
    """Linux 6.5 and later, unless a system call filter forbids it."""
    return not _refused(_cachestat)


def unseen() -> str:
    """Why residency cannot be measured here; "": it can."""
    if has_cachestat():
        return ""
    refused = _refused(lambda fd: _mincore(fd, 1))
    return f"neither cachestat(2) nor mincore(2) works: {refused}" if refused else ""


def _refused(look: Callable[[int], int]) -> str:
    """Tried on a file of our own: of others the kernel would not tell."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
            file.flush()
            return "" if look(file.fileno()) == 1 else "it sees nothing of a file just written"
    except (OSError, AttributeError) as error:
        return str(error)


def instrument() -> str:
    """By which call residency is measured."""
    return "cachestat" if has_cachestat() else "mincore"


def proof(folder: Path, size: int = 1 << 20) -> str:
    """Why cold runs on the file system of `folder` could not be shown to be cold; "": a file of `size` bytes written there
    was seen in memory, given up, and seen to be gone. Concerns that file alone."""
    reason = never_cold(folder) or unseen()
    if reason:
        return reason
    name = folder / f".pxarbench-proof-{os.getpid()}"
    try:
        with open(name, "xb") as out:
            out.write(os.urandom(size))
            out.flush()
            os.fsync(out.fileno())
        with closing(_Opened(str(name))) as opened:
            if opened.present() < opened.pages:
                return f"{instrument()} does not see a file that was just written below {folder}"
            os.posix_fadvise(opened.fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if not is_cold(opened.present() / opened.pages):
                return f"contents of a file below {folder} stay in memory after POSIX_FADV_DONTNEED"
    except OSError as error:
        return f"{name}: {error.strerror}"
    finally:
        name.unlink(missing_ok=True)
    return ""
