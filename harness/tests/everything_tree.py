"""A tree that holds everything a Linux file system can hold and an archive can store.

Written with system calls alone: no tool of the project, and no setfacl, takes part in making it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

from pxarbench_harness.tree import FS_IOC_FSGETXATTR, FS_IOC_GETFLAGS

FS_IOC_SETFLAGS = 0x40086602
FS_IOC_FSSETXATTR = 0x401C5820

APPEND, NOATIME, NODUMP, DIRSYNC, IMMUTABLE, SYNC = 0x20, 0x80, 0x40, 0x10000, 0x10, 0x8

# Tags of the kernel's ACL format (linux/posix_acl.h).
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NO_ID = 0xFFFFFFFF


def acl(entries: Sequence[tuple[int, int, int]]) -> bytes:
    """(tag, permissions, id) as the value of system.posix_acl_*."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def capability(permitted: int) -> bytes:
    """security.capability, version 2, effective."""
    return struct.pack("<IIIII", 0x02000001, permitted & 0xFFFFFFFF, 0, permitted >> 32, 0)


def set_flags(path: Path, flags: int) -> bool:
    """False where the file system has none of that kind."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        (present,) = struct.unpack("I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))[:4])
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("Q", present | flags))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL):
            raise
        return False
    finally:
        os.close(fd)
    return True


def clear_flags(root: Path) -> None:
    """Immutable and append-only files would stay for ever."""
    for folder, _, files in os.walk(os.fsencode(root)):
        for path in [folder, *(os.path.join(folder, name) for name in files)]:
            if not stat.S_ISREG(os.lstat(path).st_mode) and path != folder:
                continue
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                (present,) = struct.unpack("I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))[:4])
                if present & (IMMUTABLE | APPEND):
                    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("Q", present & ~(IMMUTABLE | APPEND)))
            except OSError:
                pass  # a file system without flags
            finally:
                os.close(fd)


def set_project(path: Path, project: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        value = bytearray(fcntl.ioctl(fd, FS_IOC_FSGETXATTR, bytes(28)))
        struct.pack_into("I", value, 12, project)
        fcntl.ioctl(fd, FS_IOC_FSSETXATTR, bytes(value))
    finally:
        os.close(fd)


def _file(path: Path, content: bytes = b"x") -> Path:
    path.write_bytes(content)
    return path


def names(root: Path) -> None:
    root.mkdir()
    for number, name in enumerate(
        [b"a" * 255, b"\xff\xfe", b"new\nline", b"tab\t", b" ", b"-", b"~", b"\x01", "ä".encode(), "\u4e2d".encode() * 85,
         b"back\\slash", b'quo"te', b".hidden", b"..x", b"[a]*?", b"A", b"a", b"aa", b"a.b", b"\x7f"]
    ):  # fmt: skip
        with open(os.path.join(os.fsencode(root), name), "wb") as file:
            file.write(bytes([number]) * number)


def kinds(root: Path) -> None:
    root.mkdir()
    _file(root / "empty", b"")
    _file(root / "file", bytes(range(256)) * 100)
    with open(root / "sparse", "wb") as file:
        file.seek(3 << 20)
        file.write(b"end of a hole")
        file.truncate(5 << 20)
    os.symlink("target/that/is/not/there", root / "symlink")
    os.symlink("x" * 1000, root / "symlink-long")  # XFS takes 1,023 bytes at most
    os.symlink(b"\xff\n", os.path.join(os.fsencode(root), b"symlink-bytes"))
    os.mkfifo(root / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)  # a socket's path is at most 107 bytes long
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    os.mknod(root / "chardev", stat.S_IFCHR | 0o620, os.makedev(1, 3))
    os.mknod(root / "blockdev", stat.S_IFBLK | 0o660, os.makedev(8, 300))
    try:
        os.mknod(root / "bigdev", stat.S_IFCHR | 0o600, os.makedev(4095, 1048575))
    except OSError:  # XFS has fewer bits
        os.mknod(root / "bigdev", stat.S_IFCHR | 0o600, os.makedev(511, 262143))
    for name, mode in [("suid", 0o4755), ("sgid", 0o2755), ("sticky", 0o1644), ("none", 0o000), ("all", 0o7777)]:
        os.chmod(_file(root / name), mode)
    os.chown(_file(root / "owned"), 12345, 54321)
    os.chown(root / "symlink", 7, 8, follow_symlinks=False)
    for name, mode in [("dir-0", 0o000), ("dir-sticky", 0o1777), ("dir-sgid", 0o2750)]:
        (root / name).mkdir()
        _file(root / name / "inside")
        os.chmod(root / name, mode)


def times(root: Path) -> None:
    root.mkdir()
    for name, ns in [
        ("epoch", 0), ("nanos", 999_999_999), ("before", -1), ("before-epoch", -305112600 * 10**9 - 10**6),
        ("1902", -(2**31) * 10**9), ("2200", 7258118400 * 10**9 + 5),
    ]:  # fmt: skip
        os.utime(_file(root / name), ns=(ns, ns))


def links(root: Path) -> None:
    (root / "a").mkdir(parents=True)
    (root / "z" / "deep").mkdir(parents=True)
    _file(root / "a" / "first", b"shared contents")
    os.link(root / "a" / "first", root / "z" / "second")
    os.link(root / "a" / "first", root / "z" / "deep" / "third")
    os.symlink("a/first", root / "sym")
    os.link(root / "sym", root / "sym-link", follow_symlinks=False)


def attributes(root: Path) -> None:
    """Extended attributes and capabilities."""
    root.mkdir()
    path = _file(root / "xattrs")
    for name, value in [
        ("user.z", b"last"), ("user.a", b"first"), ("user.empty", b""), ("user.zeros", b"\0\0"), ("trusted.t", b"\xff"),
        ("user.big", b"B" * 3000), ("user.\u00e4", b"umlaut"), ("security.NTACL", b"nt"),
    ]:  # fmt: skip
        os.setxattr(path, name, value)
    os.setxattr(_file(root / "skipped"), "security.other", b"no archive has this")
    os.setxattr(_file(root / "caps"), "security.capability", capability(1 << 13 | 1 << 38))
    os.setxattr(_file(root / "caps-and-user"), "user.k", b"v")
    os.setxattr(root / "caps-and-user", "security.capability", capability(1))


def acls(root: Path) -> None:
    root.mkdir()
    named = [(USER_OBJ, 6, NO_ID), (USER, 4, 1001), (USER, 7, 1002), (GROUP_OBJ, 4, NO_ID), (GROUP, 1, 5), (MASK, 5, NO_ID),
             (OTHER, 0, NO_ID)]  # fmt: skip
    os.setxattr(_file(root / "acl"), "system.posix_acl_access", acl(named))
    plain = [(USER_OBJ, 7, NO_ID), (GROUP_OBJ, 5, NO_ID), (MASK, 4, NO_ID), (OTHER, 1, NO_ID)]
    os.setxattr(_file(root / "acl-mask"), "system.posix_acl_access", acl(plain))
    folder = root / "acl-default"
    folder.mkdir()
    os.setxattr(folder, "system.posix_acl_default", acl(named))
    _file(folder / "inherited")
    (folder / "inherited-dir").mkdir()
    folder = root / "acl-default-minimal"
    folder.mkdir()
    os.setxattr(folder, "system.posix_acl_default", acl([(USER_OBJ, 7, NO_ID), (GROUP_OBJ, 5, NO_ID), (OTHER, 0, NO_ID)]))
    os.setxattr(folder, "system.posix_acl_access", acl(named))
    os.setxattr(folder, "user.dir", b"d")


def flags(root: Path) -> None:
    root.mkdir()
    for name, value in [("noatime", NOATIME), ("nodump", NODUMP), ("sync", SYNC), ("append", APPEND),
                        ("immutable", IMMUTABLE), ("both", IMMUTABLE | NOATIME)]:  # fmt: skip
        set_flags(_file(root / name), value)
    for name, value in [("dir-dirsync", DIRSYNC), ("dir-immutable", IMMUTABLE), ("dir-append", APPEND)]:
        (root / name).mkdir()
        _file(root / name / "inside")
        set_flags(root / name, value)


def projects(root: Path) -> None:
    root.mkdir()
    set_project(_file(root / "seven"), 7)
    (root / "dir").mkdir()
    set_project(root / "dir", 4_000_000_000)
    _file(root / "dir" / "none")


def deep(root: Path, levels: int = 40) -> None:
    for level in range(levels):
        root = root / f"level-{level}"
    root.mkdir(parents=True)
    _file(root / "bottom", b"down here")


def wide(root: Path, count: int) -> None:
    root.mkdir()
    for number in range(count):
        fd = os.open(root / f"entry-{number:06}", os.O_WRONLY | os.O_CREAT, 0o644)
        if number % 1000 == 0:
            os.write(fd, b"%d" % number)
        os.close(fd)


def settle(root: Path) -> None:
    """Times that are no whole seconds and none of the moment; those that were set on purpose stay."""
    for number, (folder, folders, files) in enumerate(os.walk(os.fsencode(root), topdown=False)):
        for name in [*folders, *files, b"."]:
            path = os.path.join(folder, name)
            if os.lstat(path).st_mtime > 1_700_000_000 and os.lstat(path).st_mtime < 4_000_000_000:
                ns = 1_600_000_000 * 10**9 + number * 10**9 + len(name)
                try:
                    os.utime(path, ns=(ns, ns), follow_symlinks=False)
                except PermissionError:
                    pass  # immutable


def build(
    root: Path, *, entries: int, with_flags: bool, with_projects: bool, with_xattrs: bool, with_acls: bool
) -> None:  # fmt: skip
    """`root` exists and is empty. `entries`: of the wide directory."""
    names(root / "names")
    kinds(root / "kinds")
    times(root / "times")
    links(root / "links")
    deep(root / "deep")
    wide(root / "wide", entries)
    if with_xattrs:
        attributes(root / "attributes")
    if with_acls:
        acls(root / "acls")
    if with_projects:
        projects(root / "projects")
    settle(root)
    if with_flags:
        flags(root / "flags")
