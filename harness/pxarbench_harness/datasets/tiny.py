"""A small tree with every kind of entry that a backup meets, and the sizes at which archives have edges."""

from __future__ import annotations

import os
import random
import socket
import stat
from pathlib import Path

from .workspace import DatasetFailed, Workspace

#: Around header sizes, page sizes, read sizes and chunk limits.
_SIZES = (0, 1, 15, 16, 17, 255, 4095, 4096, 4097, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1)
_BASE_TIME = 1_600_000_000
_WORDS = b"the quick brown fox jumps over the lazy dog and reads the archive backwards ".split()


def _text(dice: random.Random, size: int) -> bytes:
    """Compressible: words in random order."""
    parts: list[bytes] = []
    length = 0
    while length < size:
        word = dice.choice(_WORDS)
        parts.append(word)
        length += len(word) + 1
    return b" ".join(parts)[:size].ljust(size, b".")


def _write(path: Path | bytes, data: bytes, mode: int = 0o644) -> None:
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def build(work: Workspace) -> str:
    root = work.root
    dice = random.Random(work.recipe.values["seed"])
    left_out: list[str] = []

    edges = root / "edges"
    edges.mkdir()
    for size in _SIZES:
        _write(edges / f"size-{size:07d}", dice.randbytes(size))
    large = root / "large"
    large.mkdir()
    largest = work.recipe.values["large"]
    _write(large / "random.bin", dice.randbytes(largest))
    _write(large / "repeated.bin", b"0123456789abcdef" * (largest // 18))
    with open(large / "sparse.bin", "wb") as sparse:
        sparse.seek(largest // 2)
        sparse.write(b"end of a hole")
    (large / "sparse.bin").chmod(0o600)
    work.step("large")

    source = root / "source"
    for folder in range(12):
        place = source / f"module{folder:02d}"
        place.mkdir(parents=True)
        for number in range(30):
            _write(place / f"file{number:02d}.c", _text(dice, dice.randrange(200, 30_000)), 0o644 if number % 5 else 0o755)
    deep = root / "deep"
    for level in range(24):
        deep = deep / f"level{level:02d}"
    deep.mkdir(parents=True)
    _write(deep / "bottom", b"far down\n")

    names = os.fsencode(root / "names")
    os.mkdir(names)
    for name in (
        b"with space", b"with\nnewline", b"-dash", b"caf\xc3\xa9", b"not-utf8-\xff\xfe", b"x" * 255, b".hidden",
        b"'quoted\"", b"%s",
    ):  # fmt: skip
        try:
            _write(os.path.join(names, name), name)
        except OSError as error:
            raise DatasetFailed(f"dataset {work.recipe.name}: the file system takes no file named {name!r}: {error}") from None

    links = root / "links"
    links.mkdir()
    os.symlink("../source/module00/file00.c", links / "relative")
    os.symlink("/absolute/and/dangling", links / "dangling")
    os.symlink("t" * 900, links / "long")
    _write(links / "a-first-name", dice.randbytes(70_000))
    os.link(links / "a-first-name", links / "b-second-name")
    os.link(links / "a-first-name", source / "z-third-name")

    special = root / "special"
    special.mkdir()
    os.mkfifo(special / "fifo", 0o620)
    _bind(special / "socket")
    for name, mode in (("setuid", 0o4755), ("setgid", 0o2755), ("unreadable-by-others", 0o400)):
        _write(special / name, name.encode(), mode)
    (special / "sticky").mkdir()
    (special / "sticky").chmod(0o1777)
    (special / "empty").mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.mknod(special / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(special / "loop", 0o660 | stat.S_IFBLK, os.makedev(7, 250))
        os.chown(special / "setgid", 1234, 5678)
        os.chmod(special / "setgid", 0o2755)  # chown clears it
        os.lchown(links / "relative", 1000, 1000)
    else:
        left_out.append("devices and foreign owners (not root)")

    try:
        os.setxattr(special / "unreadable-by-others", "user.comment", b"first\0second")
        os.setxattr(special / "unreadable-by-others", "user.empty", b"")
        os.setxattr(source, "user.on-a-directory", b"yes")
    except OSError:
        left_out.append("extended attributes (file system)")

    work.step("written")
    _times(root, dice)
    source_text = f"generated, seed {work.recipe.values['seed']}"
    return source_text + (f"; left out: {', '.join(left_out)}" if left_out else "")


def _bind(path: Path) -> None:
    # A socket's name is limited to 108 bytes, a cache's path is not: bind by a relative name.
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)
    path.chmod(0o640)


def _times(root: Path, dice: random.Random) -> None:
    """Fixed times of every kind: with nanoseconds, on the second, before 1970. Folders last: filling them changes them."""
    paths = [os.path.join(folder, name) for folder, dirs, files in os.walk(os.fsencode(root)) for name in dirs + files]
    for path in sorted(paths, key=lambda p: (-p.count(b"/"), p)):
        seconds, nanoseconds = _BASE_TIME + dice.randrange(10**7), dice.choice((0, 1, 123456789, 999999999))
        os.utime(path, ns=(0, seconds * 10**9 + nanoseconds), follow_symlinks=False)
    os.utime(root / "edges" / "size-0000001", ns=(0, -86_400 * 10**9 + 5))
    os.utime(root / "edges" / "size-0000015", ns=(0, 0))
    os.utime(root / "edges", ns=(0, _BASE_TIME * 10**9))
    os.utime(root, ns=(0, _BASE_TIME * 10**9))
