"""The primitive steps: what each does to the model of a tree, and to the tree.

Times never come from the clock: a step that changes a file sets its mtime. What a write takes away on the side (setuid
bits, capabilities) is put back, so that a step changes what it says and nothing else, for root as for others.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

from ..tree import Entry
from .draft import LATER, Draft, folder_of, names_below
from .operation import MutationFailed, Op

PIECE = 1 << 20
CAPABILITY = "security.capability"
FALLOC_PUNCH = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


def step() -> None:
    """Between any two changes of the tree or the journal; tests let the program die here."""


@dataclass(frozen=True)
class Primitive:
    simulate: Callable[[Draft, Op], None]
    perform: Callable[[bytes, Op], None]  # (full path of op.path's root, op)


PRIMITIVES: dict[str, Primitive] = {}


def primitive(how: str, simulate: Callable[[Draft, Op], None]) -> Callable[[Callable[[bytes, Op], None]], None]:
    def add(perform: Callable[[bytes, Op], None]) -> None:
        PRIMITIVES[how] = Primitive(simulate, perform)

    return add


# ---- contents ----


def noise(key: bytes, size: int) -> Iterator[bytes]:
    """Incompressible bytes, the same for the same key."""
    for number in range(0, size, PIECE):
        length = min(PIECE, size - number)
        yield hashlib.shake_128(key + b" %d" % (number // PIECE)).digest(length)


@cache
def _order(seed: bytes) -> tuple[int, ...]:
    drawn = hashlib.shake_128(seed).digest(1024)
    return tuple(sorted(range(256), key=lambda i: (drawn[4 * i : 4 * i + 4], i)))


def other_bytes(key: bytes) -> bytes:
    """A table for bytes.translate: every byte becomes another one, and contents stay as compressible as they were."""
    # One cycle over all 256 values has no fixed point. 16 orders, rotated: making one per file would cost more than the file.
    digest = hashlib.shake_128(key).digest(3)
    order = _order(b"order %d" % (digest[0] % 16))
    hop = 1 + (digest[1] | digest[2] << 8) % 255
    table = bytearray(256)
    for i, byte in enumerate(order):
        table[byte] = order[(i + hop) % 256]
    return bytes(table)


def data_segments(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of what is no hole in [start, end)."""
    at = start
    while at < end:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        if at >= end:
            return
        stop = min(end, os.lseek(fd, at, os.SEEK_HOLE))
        yield at, stop - at
        at = stop


def pieces(offset: int, length: int) -> Iterator[tuple[int, int]]:
    for at in range(offset, offset + length, PIECE):
        yield at, min(PIECE, offset + length - at)


def write_all(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written


def punch(fd: int, offset: int, length: int) -> None:
    result = _libc.fallocate(fd, FALLOC_PUNCH, ctypes.c_int64(offset), ctypes.c_int64(length))
    if result != 0:
        raise OSError(ctypes.get_errno(), "punching a hole: " + os.strerror(ctypes.get_errno()))


def exchange(a: bytes, b: bytes) -> None:
    """Two names change places at once."""
    if _libc.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "exchanging names: " + os.strerror(number), os.fsdecode(a))


def set_mtime(path: bytes, mtime_ns: int) -> None:
    st = os.stat(path, follow_symlinks=False)
    os.utime(path, ns=(st.st_atime_ns, mtime_ns), follow_symlinks=False)


@contextmanager
def _written(path: bytes, op: Op) -> Iterator[int]:
    """A descriptor to change the contents by; then what the kernel took away comes back, and the time is set."""
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        try:
            capability = os.getxattr(fd, CAPABILITY)
        except OSError:
            capability = b""
        yield fd
        step()
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            os.fchmod(fd, mode)
        if capability:
            os.setxattr(fd, CAPABILITY, capability)
    finally:
        os.close(fd)
    set_mtime(path, op.mtime_ns_after)


def _full(root: bytes, path: bytes) -> bytes:
    return os.path.join(root, path)


def _new_contents(draft: Draft, op: Op, **more: object) -> None:
    e = draft.need(op.path)
    draft.put(replace(
        e, size=op.size_after, mtime_ns=op.mtime_ns_after, ctime_ns=LATER, digest=draft.other_contents(), **more,
    ))  # fmt: skip
    draft.added_bytes += max(0, op.size_after - e.size)


def _simulate_write(draft: Draft, op: Op) -> None:
    draft.overwrites(op.path, op.at, op.amount)
    _new_contents(draft, op)


@primitive("write", _simulate_write)
def _write(root: bytes, op: Op) -> None:
    """Every byte of [at, at + amount) becomes another one; holes stay holes."""
    table = other_bytes(op.key())
    with _written(_full(root, op.path), op) as fd:
        segments = list(data_segments(fd, op.at, op.at + op.amount)) or [(op.at, min(op.amount, 4096))]
        for offset, length in segments:
            for at, size in pieces(offset, length):
                write_all(fd, os.pread(fd, size, at).translate(table), at)
                step()


@primitive("mmap", _simulate_write)
def _mmap(root: bytes, op: Op) -> None:
    """As write, through a shared mapping."""
    table = other_bytes(op.key())
    with _written(_full(root, op.path), op) as fd, mmap.mmap(fd, 0) as memory:
        for at, size in pieces(op.at, op.amount):
            memory[at : at + size] = memory[at : at + size].translate(table)
            step()
        memory.flush()


@primitive("append", _new_contents)
def _append(root: bytes, op: Op) -> None:
    with _written(_full(root, op.path), op) as fd:
        at = op.size_before
        for piece in (op.value.encode() * op.amount,) if op.value else noise(op.key(), op.amount):
            write_all(fd, piece, at)
            at += len(piece)
            step()


def _simulate_insert(draft: Draft, op: Op) -> None:
    draft.overwrites(op.path, op.at, op.size_before - op.at)
    _new_contents(draft, op)


@primitive("insert", _simulate_insert)
def _insert(root: bytes, op: Op) -> None:
    """`amount` bytes at `at`; what follows moves back, from its end on."""
    with _written(_full(root, op.path), op) as fd:
        for at, size in reversed(list(pieces(op.at, op.size_before - op.at))):
            write_all(fd, os.pread(fd, size, at), at + op.amount)
            step()
        at = op.at
        for piece in noise(op.key(), op.amount):
            write_all(fd, piece, at)
            at += len(piece)


def _simulate_truncate(draft: Draft, op: Op) -> None:
    draft.overwrites(op.path, op.size_after, op.size_before - op.size_after)
    _new_contents(draft, op)


@primitive("truncate", _simulate_truncate)
def _truncate(root: bytes, op: Op) -> None:
    with _written(_full(root, op.path), op) as fd:
        os.ftruncate(fd, op.size_after)


@primitive("punch", _simulate_write)
def _punch(root: bytes, op: Op) -> None:
    with _written(_full(root, op.path), op) as fd:
        punch(fd, op.at, op.amount)


# ---- attributes ----


def _simulate_touch(draft: Draft, op: Op) -> None:
    draft.put(replace(draft.need(op.path), mtime_ns=op.mtime_ns_after, ctime_ns=LATER))


@primitive("touch", _simulate_touch)
def _touch(root: bytes, op: Op) -> None:
    set_mtime(_full(root, op.path), op.mtime_ns_after)


def _simulate_chmod(draft: Draft, op: Op) -> None:
    draft.put(replace(draft.need(op.path), mode=int(op.value, 8), mtime_ns=op.mtime_ns_after, ctime_ns=LATER))


@primitive("chmod", _simulate_chmod)
def _chmod(root: bytes, op: Op) -> None:
    path = _full(root, op.path)
    os.chmod(path, int(op.value, 8))
    if op.mtime_ns_after != op.mtime_ns_before:
        set_mtime(path, op.mtime_ns_after)


def _simulate_ctime(draft: Draft, op: Op) -> None:
    draft.put(replace(draft.need(op.path), ctime_ns=LATER))


@primitive("chmod-back", _simulate_ctime)
def _chmod_back(root: bytes, op: Op) -> None:
    path = _full(root, op.path)
    mode = stat.S_IMODE(os.stat(path).st_mode)
    os.chmod(path, mode ^ 0o020)
    step()
    os.chmod(path, mode)


def _simulate_chown(draft: Draft, op: Op) -> None:
    uid, gid = map(int, op.value.split(":"))
    draft.put(replace(draft.need(op.path), uid=uid, gid=gid, ctime_ns=LATER))


@primitive("chown", _simulate_chown)
def _chown(root: bytes, op: Op) -> None:
    uid, gid = map(int, op.value.split(":"))
    with _written(_full(root, op.path), op) as fd:
        os.fchown(fd, uid, gid)


def _attribute(op: Op) -> tuple[str, bytes]:
    name, _, value = op.value.partition("=")
    return name, bytes.fromhex(value)


def _simulate_xattr(draft: Draft, op: Op) -> None:
    e = draft.need(op.path)
    draft.put(replace(e, xattrs=tuple(sorted({**dict(e.xattrs), **dict([_attribute(op)])}.items())), ctime_ns=LATER))


@primitive("xattr", _simulate_xattr)
def _xattr(root: bytes, op: Op) -> None:
    os.setxattr(_full(root, op.path), *_attribute(op))


# ---- names ----


def _simulate_delete(draft: Draft, op: Op) -> None:
    draft.need(op.path)
    draft.drops(op.path)
    draft.stamp(folder_of(op.path))
    draft.now[op.path] = None


@primitive("delete", _simulate_delete)
def _delete(root: bytes, op: Op) -> None:
    os.unlink(_full(root, op.path))


def _fresh(draft: Draft, op: Op, kind: str, mode: int, **more: object) -> None:
    """A new inode. Owner and mode are those of the folder's or the source's, as nothing may depend on who runs this."""
    draft.free(op.path)
    folder = draft.need(folder_of(op.path))
    draft.stamp(folder_of(op.path))
    model = draft.tree.entries.get(op.source, folder)
    entry = Entry(
        op.path, kind, mode, model.uid, model.gid, op.mtime_ns_after, op.size_after, inode=draft.next_inode(),
        device=folder.device, ctime_ns=LATER,
    )  # fmt: skip
    draft.put(replace(entry, **more))
    draft.added_bytes += op.size_after


def owner_text(entry: Entry, mode: int) -> str:
    """The value of a step that makes something: owned like `entry`."""
    return f"{entry.uid}:{entry.gid}:{mode:o}"


def _owned(op: Op) -> tuple[int, int, int]:
    uid, gid, mode = op.value.split(":")
    return int(uid), int(gid), int(mode, 8)


def _own(path: bytes, op: Op) -> None:
    """Gives a new name the owner that `_fresh` foretold, no attributes inherited from its folder, mode and time."""
    uid, gid, mode = _owned(op)
    st = os.stat(path, follow_symlinks=False)
    if (st.st_uid, st.st_gid) != (uid, gid):
        os.chown(path, uid, gid, follow_symlinks=False)
    if not stat.S_ISLNK(st.st_mode):
        for name in os.listxattr(path):
            if name.startswith("system.posix_acl"):  # of a folder's default ACL
                os.removexattr(path, name)
        os.chmod(path, mode)
    set_mtime(path, op.mtime_ns_after)


def _simulate_create(draft: Draft, op: Op) -> None:
    uid, gid, mode = _owned(op)
    digest = draft.tree.entries[op.source].digest if op.how == "copy" else draft.other_contents()
    _fresh(draft, op, "file", mode, uid=uid, gid=gid, digest=digest)


def _fill(root: bytes, op: Op, table: bytes | None) -> None:
    """`source` is there, at its old name or at `to`, where an earlier step put it."""
    path = _full(root, op.path)
    new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        step()
        old = os.open(_full(root, op.to or op.source), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.ftruncate(new, op.size_after)
            for offset, length in data_segments(old, 0, op.size_after):
                for at, size in pieces(offset, length):
                    data = os.pread(old, size, at)
                    write_all(new, data if table is None else data.translate(table), at)
        finally:
            os.close(old)
    finally:
        os.close(new)
    step()
    _own(path, op)


@primitive("create", _simulate_create)
def _create(root: bytes, op: Op) -> None:
    """A new file: the first bytes of `source`, each another one."""
    _fill(root, op, other_bytes(op.key()))


@primitive("copy", _simulate_create)
def _copy(root: bytes, op: Op) -> None:
    _fill(root, op, None)


@primitive("make", _simulate_create)
def _make(root: bytes, op: Op) -> None:
    """A new file of incompressible bytes."""
    path = _full(root, op.path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        for number, piece in enumerate(noise(op.key(), op.size_after)):
            write_all(fd, piece, number * PIECE)
    finally:
        os.close(fd)
    step()
    _own(path, op)


def _simulate_rename(draft: Draft, op: Op) -> None:
    e = draft.need(op.path)
    draft.free(op.to)
    draft.stamp(folder_of(op.path))
    draft.stamp(folder_of(op.to))
    if e.kind == "directory":
        moved = names_below(draft.below(op.path), op.path, op.to)
        for old, new in moved:
            draft.put(replace(draft.need(old), path=new))
            draft.now[old] = None
    draft.put(replace(e, path=op.to, ctime_ns=LATER))
    draft.now[op.path] = None


@primitive("rename", _simulate_rename)
def _rename(root: bytes, op: Op) -> None:
    os.rename(_full(root, op.path), _full(root, op.to))


def _simulate_exchange(draft: Draft, op: Op) -> None:
    a, b = draft.need(op.path), draft.need(op.to)
    draft.stamp(folder_of(op.path))
    draft.stamp(folder_of(op.to))
    draft.put(replace(a, path=op.to, ctime_ns=LATER))
    draft.put(replace(b, path=op.path, ctime_ns=LATER))


@primitive("exchange", _simulate_exchange)
def _exchange(root: bytes, op: Op) -> None:
    exchange(_full(root, op.path), _full(root, op.to))


def _simulate_link(draft: Draft, op: Op) -> None:
    e = draft.need(op.path)
    draft.free(op.to)
    draft.stamp(folder_of(op.to))
    draft.put(replace(e, links=e.links + 1, ctime_ns=LATER))
    draft.put(replace(e, path=op.to, links=e.links + 1, ctime_ns=LATER))


@primitive("link", _simulate_link)
def _link(root: bytes, op: Op) -> None:
    os.link(_full(root, op.path), _full(root, op.to), follow_symlinks=False)


def _simulate_replace(draft: Draft, op: Op) -> None:
    """`to` is the temporary name."""
    e = draft.need(op.path)
    if draft.entry(op.to) is not None:
        raise MutationFailed("a temporary name is taken")
    draft.drops(op.path)
    draft.stamp(folder_of(op.path))
    draft.put(replace(e, inode=draft.next_inode(), links=1, link_to=b"", mtime_ns=op.mtime_ns_after, ctime_ns=LATER))
    draft.added_bytes += e.size
    draft.temporary.add(op.to)


@primitive("replace", _simulate_replace)
def _replace(root: bytes, op: Op) -> None:
    """Another inode with the same contents and attributes takes the name."""
    path, new = _full(root, op.path), _full(root, op.to)
    st = os.stat(path, follow_symlinks=False)
    value = f"{st.st_uid}:{st.st_gid}:{stat.S_IMODE(st.st_mode):o}"
    _fill(root, replace(op, path=op.to, to=b"", source=op.path, value=value, size_after=st.st_size), None)
    for name in os.listxattr(path, follow_symlinks=False):
        os.setxattr(new, name, os.getxattr(path, name), follow_symlinks=False)
    os.chmod(new, stat.S_IMODE(st.st_mode))
    set_mtime(new, op.mtime_ns_after)
    step()
    os.rename(new, path)


def _simulate_symlink(draft: Draft, op: Op) -> None:
    uid, gid, target = op.value.split(":", 2)
    _fresh(draft, op, "symlink", 0o777, uid=int(uid), gid=int(gid), size=0, target=target.encode("utf-8", "surrogateescape"))


@primitive("symlink", _simulate_symlink)
def _symlink(root: bytes, op: Op) -> None:
    path = _full(root, op.path)
    uid, gid, target = op.value.split(":", 2)
    os.symlink(target.encode("utf-8", "surrogateescape"), path)
    step()
    st = os.stat(path, follow_symlinks=False)
    if (st.st_uid, st.st_gid) != (int(uid), int(gid)):
        os.chown(path, int(uid), int(gid), follow_symlinks=False)
    set_mtime(path, op.mtime_ns_after)


def _simulate_mkdir(draft: Draft, op: Op) -> None:
    uid, gid, mode = _owned(op)
    _fresh(draft, op, "directory", mode, uid=uid, gid=gid)
    draft.stamped[op.path] = op.mtime_ns_after  # set again when everything is in it


@primitive("mkdir", _simulate_mkdir)
def _mkdir(root: bytes, op: Op) -> None:
    path = _full(root, op.path)
    os.mkdir(path, 0o700)
    step()
    _own(path, op)
