"""A few hundred files among which every operation of mutate/ finds candidates: the tree of the truth table.

Sizes reach over the least, the average and the largest chunk of the default average (1, 4, 16 MiB) with one file each side.
"""

from __future__ import annotations

import struct

from .planting import SECOND_NS, Data, Dice, Fifo, File, Folder, Hole, Plan, Symlink, timestamp
from .recipe import Recipe

_MIB = 1 << 20
_ACL_VERSION, _ANY_ID = 2, 0xFFFFFFFF


def _acl(mode: int, uid: int, permissions: int) -> bytes:
    """An access ACL with one named user, as the kernel takes it. The mask is the mode's group part: setting it leaves the
    mode as it is, so the tree is the same where there are no ACLs."""
    user, group, other = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    rows = ((0x01, user, _ANY_ID), (0x02, permissions, uid), (0x04, group, _ANY_ID), (0x10, group, _ANY_ID),
            (0x20, other, _ANY_ID))  # fmt: skip
    return struct.pack("<I", _ACL_VERSION) + b"".join(struct.pack("<HHI", *row) for row in rows)


def plan(recipe: Recipe) -> Plan:
    values = recipe.values
    seed, compressibility = values["seed"], values["compressibility"]
    epoch = timestamp(values["newest"])
    dice = Dice(seed, "truth")
    out = Plan(epoch_ns=epoch)
    number = 0

    def add(path: str, size: int, *, mode: int = 0o644, mtime: int | None = None, links: tuple[str, ...] = (),
            xattrs: tuple[tuple[str, bytes], ...] = ()) -> None:  # fmt: skip
        nonlocal number
        number += 1
        contents = (Data(size, f"{seed}/truth/{path}", compressibility),) if size else ()
        # Fractions of a second: an operation that works on them must have something to lose.
        when = epoch - number * 61 * SECOND_NS + 123_456_789 if mtime is None else mtime
        out.nodes.append(File(path.encode(), when, contents, mode, tuple(name.encode() for name in links), xattrs))

    for folder in range(10):
        for file in range(12):
            depth = "/sub" * (file % 4)
            size = min(max(round(dice.lognormal(6_000, 1.2)), 1), 90_000)
            add(f"src/module{folder:02d}{depth}/file{file:02d}.c", size, mode=0o755 if file == 3 else 0o644)
    for pair in range(24):
        # Equal size, time and mode, other contents: what is exchanged between them, size and time cannot tell.
        for half in ("a", "b"):
            add(f"pairs/{pair:02d}-{half}.dat", 2_000 + 137 * pair, mtime=epoch - (5000 + pair) * SECOND_NS)
    for file in range(8):
        add(f"empty/nothing{file}", 0)
    for file, size in enumerate((1, 2, 15, 16, 17, 255, 4095, 4096, 4097, 65535, 65536, 65537)):
        add(f"sizes/{file:02d}-{size}", size)
    for file in range(8):
        add(f"large/around-min-{file}.bin", _MIB * 3 // 4 + file * 70_001)
    for file in range(2):
        add(f"large/around-avg-{file}.bin", _MIB * 7 // 2 + file * 900_003)
    add("large/beyond-max.bin", 20 * _MIB)
    for file in range(16):
        add(f"links/first/h{file:02d}", 3_000 + 100 * file, links=(f"links/other/h{file:02d}",) if file % 2 else
            (f"links/first/h{file:02d}.same", f"a-links/h{file:02d}"))  # fmt: skip
    for file in range(16):
        mode = 0o640 if file % 2 else 0o664
        attributes: tuple[tuple[str, bytes], ...] = (("user.comment", b"number %d" % file),)
        if file % 2:
            attributes += (("user.empty", b""), ("user.binary", bytes(range(40))))
        add(f"attributes/x{file:02d}", 1_500 + file, mode=mode, xattrs=attributes)
    for file in range(12):
        mode = 0o664 if file % 2 else 0o640
        access = ("system.posix_acl_access", _acl(mode, 1000 + file, 4 + 2 * (file % 2)))
        add(f"attributes/acl{file:02d}", 1_700 + file, mode=mode, xattrs=(access,))
    for file in range(10):
        add(f"logs/messages.{file}" if file else "logs/messages", 30_000 - 900 * file)
    for file in range(20):
        add(f"spool/{file:04d}", 900 + 50 * file, mtime=epoch - (40 - file) * SECOND_NS)
    for folder in ("alpha", "beta", "gamma", "delta"):
        for file in range(10):
            add(f"moving/{folder}/inner{file % 3}/f{file:02d}", 2_500 + 300 * file)
    for file in range(20):
        # A file in front of and behind each of a row of folders: what is inserted or deleted meets neighbours of all kinds.
        add(f"rows/{file:02d}.txt", 12_000 + 777 * file)
    holes = (Data(5_000, f"{seed}/truth/hole", compressibility), Hole(300_000), Data(10_000, f"{seed}/truth/behind"))
    for file in range(4):
        out.nodes.append(File(f"sparse/s{file}".encode(), epoch - (900 + file) * SECOND_NS, holes, 0o600))

    for link in range(16):
        target = b"../src/module%02d/file00.c" % (link % 10) if link % 4 else b"/there/is/no/such/place/%d" % link
        out.nodes.append(Symlink(b"symlinks/l%02d" % link, epoch - (700 + link) * SECOND_NS, target))
    for pipe in range(6):
        out.nodes.append(Fifo(b"pipes/p%d" % pipe, epoch - (800 + pipe) * SECOND_NS))
    for place in range(4):
        out.folders[b"hollow/e%d" % place] = Folder(0o700 if place % 2 else 0o755, epoch - (600 + place) * SECOND_NS)
    return out
