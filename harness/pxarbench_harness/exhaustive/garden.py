"""A tree held twice: on disk, changed by system calls, and as a model of what is there now.

A model is a dict from path to node and is never changed in place: what was true before an operation stays at hand, to be
compared with and to go back to. Files are compared by identity: two names of one `File` are hardlinks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ..tree import Tree

#: Every time in here is of one moment in 2001 and some nanoseconds: nothing depends on when a test runs.
EPOCH_NS = 1_000_000_000 * 10**9

Xattrs = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, eq=False)
class File:
    content: bytes
    mtime_ns: int
    mode: int = 0o644
    xattrs: Xattrs = ()


@dataclass(frozen=True)
class Directory:
    """Equal to every other of its mode: nothing is known of a directory but what is in it."""

    mode: int = 0o755


@dataclass(frozen=True, eq=False)
class Symlink:
    target: bytes


@dataclass(frozen=True, eq=False)
class Fifo:
    mode: int = 0o600


Node = File | Directory | Symlink | Fifo
Names = Mapping[bytes, Node]


def archive_order(names: Iterable[bytes]) -> list[bytes]:
    """Directories are walked where their name comes, so a/b stands before a-b."""
    return sorted(names, key=lambda path: path.split(b"/"))


def first_names(names: Names) -> dict[bytes, File]:
    """Regular files in archive order, those with several names under the first of them."""
    found: dict[bytes, File] = {}
    seen: set[int] = set()
    for path in archive_order(names):
        node = names[path]
        if isinstance(node, File) and id(node) not in seen:
            seen.add(id(node))
            found[path] = node
    return found


@lru_cache(maxsize=4096)
def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def state_of(names: Names) -> str:
    """Two trees of equal state differ in nothing that a backup sees."""
    numbers: dict[int, int] = {}
    whole = hashlib.sha256()
    for path in archive_order(names):
        node = names[path]
        if isinstance(node, File):
            number = numbers.setdefault(id(node), len(numbers))  # equal for the names of one file
            values: tuple[object, ...] = (digest_of(node.content), node.mtime_ns, node.mode, node.xattrs, number)
        else:
            values = (node,) if isinstance(node, Directory) else (type(node).__name__, vars(node))
        whole.update(repr((path, values)).encode())
    return whole.hexdigest()[:16]


def _same(a: Node | None, b: Node) -> bool:
    return a is b or (isinstance(b, Directory) and a == b)


class Garden:
    """Every method does to the disk what it does to the model."""

    def __init__(self, root: Path) -> None:
        self.root = os.fsencode(root)
        self.names: dict[bytes, Node] = {}

    def _full(self, path: bytes) -> bytes:
        return self.root + b"/" + path

    def _set(self, path: bytes, node: Node) -> None:
        self.names = {**self.names, path: node}

    def _replace(self, old: File, new: File) -> None:
        """For all names of an inode."""
        self.names = {path: new if node is old else node for path, node in self.names.items()}

    def file(self, path: bytes) -> File:
        node = self.names[path]
        assert isinstance(node, File)
        return node

    # ---- making ----

    def create(self, path: bytes, node: Node) -> None:
        full = self._full(path)
        if isinstance(node, File):
            fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if node.content:
                    os.write(fd, node.content)
                os.fchmod(fd, node.mode)
                for name, value in node.xattrs:
                    os.setxattr(fd, name, value)
                os.utime(fd, ns=(node.mtime_ns, node.mtime_ns))
            finally:
                os.close(fd)
        elif isinstance(node, Directory):
            os.mkdir(full)
            os.chmod(full, node.mode)
        elif isinstance(node, Symlink):
            os.symlink(node.target, full)
        else:
            os.mkfifo(full)
            os.chmod(full, node.mode)
        self._set(path, node)

    def link(self, path: bytes, new: bytes) -> None:
        os.link(self._full(path), self._full(new))
        self._set(new, self.names[path])

    # ---- changing a file ----

    def write(self, path: bytes, content: bytes, mtime_ns: int) -> None:
        """In place; the new time is set afterwards, and may be the old one."""
        old, full = self.file(path), self._full(path)
        fd = os.open(full, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, len(content))
            if content:
                os.pwrite(fd, content, 0)
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(fd)
        self._replace(old, replace(old, content=content, mtime_ns=mtime_ns))

    def touch(self, path: bytes, mtime_ns: int) -> None:
        old = self.file(path)
        os.utime(self._full(path), ns=(mtime_ns, mtime_ns))
        self._replace(old, replace(old, mtime_ns=mtime_ns))

    def chmod(self, path: bytes, mode: int) -> None:
        old = self.file(path)
        os.chmod(self._full(path), mode)
        self._replace(old, replace(old, mode=mode))

    def set_xattr(self, path: bytes, name: str, value: bytes) -> None:
        old = self.file(path)
        os.setxattr(self._full(path), name, value)
        values = {**dict(old.xattrs), name: value}
        self._replace(old, replace(old, xattrs=tuple(values.items())))

    # ---- names ----

    def unlink(self, path: bytes) -> None:
        os.unlink(self._full(path))
        self.names = {p: node for p, node in self.names.items() if p != path}

    def rmdir(self, path: bytes) -> None:
        os.rmdir(self._full(path))
        self.names = {p: node for p, node in self.names.items() if p != path}

    def rename(self, old: bytes, new: bytes) -> None:
        """With all that is below; `new` must not exist."""
        assert new not in self.names
        os.rename(self._full(old), self._full(new))
        below = old + b"/"
        self.names = {
            new + p[len(old) :] if p == old or p.startswith(below) else p: node for p, node in self.names.items()
        }

    def swap(self, a: bytes, b: bytes) -> None:
        """Two files change their names."""
        spare = a + b".spare"
        os.rename(self._full(a), self._full(spare))
        os.rename(self._full(b), self._full(a))
        os.rename(self._full(spare), self._full(b))
        self.names = {**self.names, a: self.names[b], b: self.names[a]}

    # ---- going back ----

    def become(self, wanted: Names) -> None:
        """Makes the tree what an earlier model says, touching only what differs."""
        for path in reversed(archive_order(p for p, node in self.names.items() if not _same(wanted.get(p), node))):
            if isinstance(self.names[path], Directory):
                # What still is below has its own place in `wanted`, so it cannot be there when this is not.
                self.rmdir(path)
            else:
                self.unlink(path)
        others: dict[int, bytes] = {id(node): path for path, node in self.names.items() if isinstance(node, File)}
        for path in archive_order(p for p in wanted if p not in self.names):
            node = wanted[path]
            first = others.get(id(node))
            if first is not None:
                self.link(first, path)
            else:
                self.create(path, node)
                if isinstance(node, File):
                    others[id(node)] = path


def model_differences(names: Names, found: Tree) -> list[str]:
    """Whether the disk holds what the model says: one sentence per difference."""
    said: list[str] = []
    first = {id(node): path for path, node in reversed(first_names(names).items())}
    for path in names.keys() | (found.entries.keys() - {b"."}):
        node, entry = names.get(path), found.entries.get(path)
        if node is None or entry is None:
            said.append(f"{path!r}: {'not on disk' if entry is None else 'not in the model'}")
            continue
        kind = {File: "file", Directory: "directory", Symlink: "symlink", Fifo: "fifo"}[type(node)]
        if entry.kind != kind:
            said.append(f"{path!r}: is a {entry.kind}, not a {kind}")
        elif isinstance(node, File):
            here = (entry.size, entry.digest, entry.mtime_ns, entry.mode, entry.xattrs)
            there = (len(node.content), digest_of(node.content), node.mtime_ns, node.mode, tuple(sorted(node.xattrs)))
            if here != there:
                said.append(f"{path!r}: is {here}, not {there}")
            if bool(entry.link_to) != (first[id(node)] != path):
                said.append(f"{path!r}: link or not")
        elif isinstance(node, Symlink) and entry.target != node.target:
            said.append(f"{path!r}: points to {entry.target!r}")
    return said
