"""A small tree that every operation finds something in, equal wherever it is planted."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pxarbench_harness.mutate.operations_attributes import ACL, CAPABILITY, acl, capability

EPOCH = 1_500_000_000 * 10**9


def contents(name: str, size: int) -> bytes:
    """Half of it compressible."""
    return (hashlib.shake_128(name.encode()).digest(size // 2) + name.encode() * size)[:size]


def plant(root: Path) -> None:
    """Modes, owners and times are set whatever umask and clock say. Needs root for a capability and an owner."""
    root.mkdir()
    top = os.fsencode(root)
    folders = ["a", "a/deep", "a/deep/er", "b", "c", "c/x", "d"]
    for folder in folders:
        (root / folder).mkdir()
    sizes = [0, 1, 2, 100, 511, 512, 4095, 4096, 4097, 8192, 20_000, 70_000]
    number = 0
    for folder in folders:
        for k in range(9):
            number += 1
            size = sizes[number * 5 % len(sizes)]
            path = root / folder / f"f{k}"
            path.write_bytes(contents(f"{folder}/{k}", size))
            os.chmod(path, (0o644, 0o600, 0o755, 0o4755)[number % 4])
            os.utime(path, ns=(EPOCH, EPOCH + number * 1_000_000_007))
    for k in range(6):  # alike in all but contents
        path = root / "b" / f"same{k}"
        path.write_bytes(contents(f"same{k}", 3000))
        os.chmod(path, 0o640)
        os.utime(path, ns=(EPOCH, EPOCH + (k // 4) * 10**9))
    with open(root / "c" / "holes", "wb") as file:
        file.seek(300_000)
        file.write(b"data" * 5000)
        file.truncate(900_000)
    with open(root / "c" / "zeros", "wb") as file:
        file.truncate(50_000)
    (root / "c" / "big").write_bytes(contents("big", 2_500_000))
    for group in range(3):
        (root / "d" / f"h{group}").write_bytes(contents(f"h{group}", 1000 * group + 7))
        for other in range(group % 2 + 1):
            os.link(root / "d" / f"h{group}", root / "a" / f"h{group}-{other}")
    for k in range(5):
        os.symlink(f"f{k}", root / "c" / f"link{k}")
    os.mkfifo(root / "d" / "pipe")
    odd = os.path.join(top, b"d/na\xffme")
    with open(odd, "wb") as file:
        file.write(b"odd")
    os.setxattr(root / "a" / "f3", ACL, acl(0o640, 7))
    os.setxattr(root / "a" / "f4", CAPABILITY, capability(7))
    os.chown(root / "a" / "f5", 1234, 2345)
    for where, _, names in os.walk(top, topdown=False):
        for name in names:
            full = os.path.join(where, name)
            st = os.lstat(full)
            if st.st_mtime_ns > EPOCH + 10**13:
                if not os.path.islink(full):
                    os.chmod(full, 0o644)
                os.utime(full, ns=(EPOCH, EPOCH + 5), follow_symlinks=False)
        os.chmod(where, 0o755)
        os.utime(where, ns=(EPOCH, EPOCH + 77))
    try:
        for k in (6, 7, 8):
            os.setxattr(root / "b" / f"f{k}", "user.old", b"value %d" % k)
    except OSError:  # a tmpfs of an older kernel
        pass
