"""A tree as data: one entry per name with everything a backup has to bring back, and a digest over all of it.

Nothing here knows archives or the C core: it is the second road to one answer when restores are compared.
Paths are bytes relative to the root; the root itself is b".".
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from . import run

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "chardev",
    stat.S_IFBLK: "blockdev",
}

_HASH_PIECE = 1 << 20
#: Below this, starting processes costs more than it saves.
_PARALLEL_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    path: bytes
    kind: str
    mode: int  # permission bits with setuid, setgid, sticky
    uid: int
    gid: int
    mtime_ns: int
    size: int  # of a regular file, else 0
    target: bytes = b""  # of a symlink
    rdev: int = 0
    link_to: bytes = b""  # a later name of a hardlinked file: its first name, in order of a walk
    xattrs: tuple[tuple[str, bytes], ...] = ()  # sorted by name
    digest: str = ""  # SHA-256 of a regular file's contents; "" when not computed
    flags: int = 0  # chattr flags that archives know; 0 unless asked for
    project: int = 0  # quota project id; 0 unless asked for
    links: int = field(default=1, compare=False)
    inode: int = field(default=0, compare=False)
    device: int = field(default=0, compare=False)
    ctime_ns: int = field(default=0, compare=False)
    #: What digests are made of, once it was asked for: listings share most of their entries, and are digested again and again.
    _lines: list[bytes] = field(default_factory=list, init=False, compare=False, repr=False)

    def lines(self) -> tuple[bytes, bytes]:
        """For Tree.digest() and Tree.portable_digest()."""
        if not self._lines:
            mode = 0 if self.kind == "symlink" else self.mode
            portable = _fields(self.path, self.kind, mode, self.mtime_ns, self.size, self.target, self.link_to, self.digest)
            self._lines[:] = (_canonical(self), portable)
        return self._lines[0], self._lines[1]


#: What two trees are compared by.
COMPARED = tuple(f.name for f in fields(Entry) if f.compare and f.name != "path")


@dataclass(frozen=True)
class Tree:
    root: Path
    entries: dict[bytes, Entry]  # sorted by path

    def files(self) -> Iterator[Entry]:
        """Regular files, each inode once (under its first name)."""
        return (e for e in self.entries.values() if e.kind == "file" and not e.link_to)

    @property
    def file_count(self) -> int:
        return sum(1 for _ in self.files())

    @property
    def file_bytes(self) -> int:
        return sum(e.size for e in self.files())

    def count(self, kind: str) -> int:
        return sum(1 for e in self.entries.values() if e.kind == kind)

    def digest(self) -> str:
        """Over every compared field of every entry."""
        whole = hashlib.sha256()
        for entry in self.entries.values():
            whole.update(entry.lines()[0])
        return whole.hexdigest()

    def content_digest(self) -> str:
        """Over names, kinds, contents and link targets only: equal on every machine, whoever made the tree."""
        whole = hashlib.sha256()
        for e in self.entries.values():
            if e.kind in ("file", "directory", "symlink"):
                whole.update(_fields(e.path, e.kind, e.size, e.target, e.link_to, e.digest))
        return whole.hexdigest()

    def portable_digest(self) -> str:
        """Over all that one recipe makes equal on every machine: content_digest() and also pipes, sockets, modes, mtimes.

        Without owners, xattrs and devices: those depend on who made the tree, and on what file system. Symbolic links have
        no mode of their own.
        """
        whole = hashlib.sha256()
        for e in self.entries.values():
            if e.kind not in ("chardev", "blockdev"):
                whole.update(e.lines()[1])
        return whole.hexdigest()


def _fields(*values: object) -> bytes:
    parts = [v if isinstance(v, bytes) else str(v).encode() for v in values]
    return b"".join(b"%d:%b" % (len(part), part) for part in parts) + b"\n"


def _canonical(e: Entry) -> bytes:
    xattrs = _fields(*(word for pair in e.xattrs for word in pair))
    return _fields(
        e.path, e.kind, e.mode, e.uid, e.gid, e.mtime_ns, e.size, e.target, e.rdev, e.link_to, xattrs, e.digest,
        *((e.flags, e.project) if e.flags or e.project else ()),
    )  # fmt: skip


def _xattrs(path: bytes) -> tuple[tuple[str, bytes], ...]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:  # a file system without them
        return ()
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names))


#: chattr flags that an archive can hold (bench/spec/pxar.md 6); the others are the file system's own business.
CHATTR_FLAGS = 0x20 | 0x80 | 0x4 | 0x800000 | 0x40 | 0x10000 | 0x10 | 0x8 | 0x400 | 0x20000000
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_FSGETXATTR = 0x801C581F


def _flags_and_project(path: bytes) -> tuple[int, int]:
    """Of a regular file or directory; 0 where the file system has none."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = project = 0
        try:
            (flags,) = struct.unpack("I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))[:4])
        except OSError:
            pass
        try:
            (project,) = struct.unpack_from("I", fcntl.ioctl(fd, FS_IOC_FSGETXATTR, bytes(28)), 12)
        except OSError:
            pass
        return flags & CHATTR_FLAGS, project
    finally:
        os.close(fd)


def hash_file(path: bytes | str | os.PathLike[str]) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_HASH_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _hash_files(paths: list[bytes]) -> list[str]:
    return [hash_file(path) for path in paths]


def hash_all(paths: list[bytes], sizes: list[int]) -> list[str]:
    """SHA-256 of each file, spread over the processors when that pays."""
    if sum(sizes) + 20000 * len(paths) < _PARALLEL_BYTES:
        return _hash_files(paths)
    slices: list[list[bytes]] = [[]]
    weight = 0
    for path, size in zip(paths, sizes, strict=True):
        slices[-1].append(path)
        weight += size + 20000
        if weight >= _PARALLEL_BYTES // 2:
            slices.append([])
            weight = 0
    return [digest for part in run.map_parallel(_hash_files, slices) for digest in part]


def _entry(path: bytes, full: bytes, st: os.stat_result, inode_flags: bool) -> Entry:
    kind = KINDS[stat.S_IFMT(st.st_mode)]
    flags, project = _flags_and_project(full) if inode_flags and kind in ("file", "directory") else (0, 0)
    return Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(st.st_mode),
        uid=st.st_uid,
        gid=st.st_gid,
        mtime_ns=st.st_mtime_ns,
        size=st.st_size if kind == "file" else 0,
        target=os.readlink(full) if kind == "symlink" else b"",
        rdev=st.st_rdev if kind in ("chardev", "blockdev") else 0,
        xattrs=_xattrs(full),
        flags=flags,
        project=project,
        links=st.st_nlink if kind == "file" else 1,
        inode=st.st_ino,
        device=st.st_dev,
        ctime_ns=st.st_ctime_ns,
    )


def scan(root: Path, *, known: Tree | None = None, contents: bool = True, inode_flags: bool = False) -> Tree:
    """Reads a whole tree. Digests are taken over from `known` where size, mtime, ctime and inode are still the same.

    ACLs and file capabilities are among the extended attributes. `inode_flags`: chattr flags and project ids, too, which
    means opening every file.
    """
    top = os.fsencode(root)
    found = [_entry(b".", top, os.lstat(top), inode_flags)]
    pending = [(top, b"")]
    while pending:
        folder, prefix = pending.pop()
        with os.scandir(folder) as names:
            for name in names:
                entry = _entry(prefix + name.name, name.path, name.stat(follow_symlinks=False), inode_flags)
                found.append(entry)
                if entry.kind == "directory":
                    pending.append((name.path, entry.path + b"/"))
    found.sort(key=lambda e: e.path)

    # The first name is the one that a walk meets first: "a/x" comes before "a-b/x", though not in order of whole paths.
    first_names: dict[tuple[int, int], bytes] = {}
    for e in sorted((e for e in found if e.links > 1), key=lambda e: e.path.split(b"/")):
        first_names.setdefault((e.device, e.inode), e.path)
    digests: dict[int, str] = {}
    wanted: list[int] = []
    for number, e in enumerate(found):
        if e.kind != "file":
            continue
        if e.links > 1 and (first := first_names[e.device, e.inode]) != e.path:
            found[number] = replace(e, link_to=first)
        if contents:
            old = known.entries.get(e.path) if known else None
            same = old is not None and (old.size, old.mtime_ns, old.ctime_ns, old.inode) == (
                e.size, e.mtime_ns, e.ctime_ns, e.inode)  # fmt: skip
            if old is not None and same and old.digest:
                digests[number] = old.digest
            else:
                wanted.append(number)
    hashed = hash_all([os.path.join(top, found[n].path) for n in wanted], [found[n].size for n in wanted])
    digests.update(zip(wanted, hashed, strict=True))
    for number, digest in digests.items():
        found[number] = replace(found[number], digest=digest)
    return Tree(root, {e.path: e for e in found})


def show(path: bytes) -> str:
    return path.decode(errors="backslashreplace")


def differences(
    expected: Tree, actual: Tree, *, leave_out: Callable[[Entry], bool] = lambda _: False, fields: Iterable[str] = COMPARED
) -> list[str]:
    """One sentence per difference, [] when the trees are equal. `leave_out`: entries of `expected` that may be missing."""
    names = tuple(fields)
    found = []
    for path, want in expected.entries.items():
        have = actual.entries.get(path)
        if have is None:
            if not leave_out(want):
                found.append(f"{show(path)}: missing ({want.kind})")
            continue
        if leave_out(want):
            continue
        for name in names:
            a, b = getattr(want, name), getattr(have, name)
            if a != b:
                text = ("{:#o}", "{:#o}") if name == "mode" else ("{!r}", "{!r}")
                found.append(f"{show(path)}: {name} is {text[0].format(b)}, expected {text[1].format(a)}")
    found += [f"{show(path)}: should not be there" for path in actual.entries if path not in expected.entries]
    return found


# ---- as a file ----


def save(tree: Tree, path: Path) -> None:
    """JSON lines. Names of any bytes survive: undecodable ones travel as lone surrogates, which JSON escapes."""
    with open(path, "w", encoding="ascii") as out:
        for e in tree.entries.values():
            values = {f.name: getattr(e, f.name) for f in fields(Entry) if f.init}
            for name in ("path", "target", "link_to"):
                values[name] = os.fsdecode(values[name])
            values["xattrs"] = [[name, value.hex()] for name, value in e.xattrs]
            out.write(json.dumps(values) + "\n")


def load(path: Path, root: Path) -> Tree:
    entries = {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            values = json.loads(line)
            for name in ("path", "target", "link_to"):
                values[name] = os.fsencode(values[name])
            values["xattrs"] = tuple((name, bytes.fromhex(value)) for name, value in values["xattrs"])
            entry = Entry(**values)
            entries[entry.path] = entry
    return Tree(root, entries)
