"""The tree that all sequences begin with: for an average of 64 KiB, chunks of 16 to 256 KiB.

A chunk ends at the first start of a file behind 16 KiB, or, within large files, where the rolling hash says so. Contents
are the same everywhere, so the layout is known; a test compares ENDS with what the program cut:

    | a0 | b/b0 b/b1 | b/c b/d b/e | c/p c/q c/r | d/a, d/big | d/big | d/big, d/s d/t | d/u | e/m00 ... e/m11 | f | s0 s1 | v z | tail |
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from .garden import EPOCH_NS, Directory, Fifo, File, Node, Symlink

CHUNK_KIB = 64


@lru_cache(maxsize=1024)
def noise(seed: str, size: int) -> bytes:
    """Incompressible, the same on every machine."""
    return hashlib.shake_128(seed.encode()).digest(size)


#: Path, size. Times differ, but for s0 and s1.
SIZES: tuple[tuple[str, int], ...] = (
    ("a0", 20000),  # the first chunk, behind the start marker
    ("b/b0", 8000),  # these two are one chunk
    ("b/b1", 9000),
    ("b/c", 0),
    ("b/d", 100),  # tiny
    ("b/e", 20000),
    ("c/p", 6000),  # three to a chunk
    ("c/q", 6000),
    ("c/r", 6000),
    ("d/a", 3000),
    ("d/big", 287702),  # begins inside a chunk, has one for itself, and ends inside a third one
    ("d/s", 10),
    ("d/t", 12000),
    ("d/u", 17000),  # a chunk of its own
    *((f"e/m{number:02}", 1360) for number in range(12)),  # one is 8 % of their chunk, two are 16 %
    ("f/h1", 5000),
    ("f/i1", 6000),
    ("f/j1", 9000),
    ("s0", 12000),
    ("s1", 12000),  # as s0, but for the contents
    ("v", 3000),
    ("z", 21329),  # cut to where the hash cuts, so that the tail marker is alone
)


def contents(path: str, size: int) -> bytes:
    """Noise, but for the big file: the hash cuts that once, early, and not again before the largest chunk is full."""
    if path != "d/big":
        return noise(path, size)
    head = noise("big 8", 24000)
    return (head + head[:4096] * (size // 4096))[:size]


#: Where the chunks of the first backup end.
ENDS = (20032, 37064, 57212, 75260, 97850, 359994, 378036, 395052, 411564, 431612, 455644, 480005, 480021)

LINKS = (("f/h1", "f/h2"), ("f/i1", "f/i2"), ("f/j1", "f/j2"))


def plant() -> dict[bytes, Node]:
    names: dict[bytes, Node] = {name: Directory() for name in (b"b", b"c", b"d", b"e", b"f")}
    for number, (path, size) in enumerate(SIZES):
        mtime = EPOCH_NS + (1000 if path in ("s0", "s1") else 1001 + number) * 1000
        xattrs = (("user.a", b"1"), ("user.b", b"")) if path in ("c/q", "d/t") else ()
        names[path.encode()] = File(contents(path, size), mtime, xattrs=xattrs)
    for first, second in LINKS:
        names[second.encode()] = names[first.encode()]
    names[b"f/link"] = Symlink(b"h1")
    names[b"f/pipe"] = Fifo()
    return names
