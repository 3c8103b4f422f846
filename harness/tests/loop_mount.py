"""File systems of their own for tests that need what only real ones have: images, mounted where root may do that."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pxarbench_harness import run

#: Options of mkfs by type. ext4 without project ids: many kernels are built without its quota; XFS always has them. XFS refuses images below 300 MiB, Btrfs wants about 110.
MKFS: dict[str, tuple[int, Sequence[str]]] = {
    "ext4": (1024, ["mkfs.ext4", "-q", "-F", "-O", "ea_inode", "-I", "256", "-N", "250000"]),
    "xfs": (1024, ["mkfs.xfs", "-q", "-f"]),
    "btrfs": (512, ["mkfs.btrfs", "-q", "-f"]),
    "vfat": (64, ["mkfs.vfat"]),
}


@contextlib.contextmanager
def mounted(kind: str, folder: Path, *options: str) -> Iterator[Path]:
    """A fresh file system of `kind` (ext4, xfs, btrfs, vfat, tmpfs), mounted below `folder`; skips where it cannot be."""
    if os.geteuid() != 0:
        pytest.skip(f"only root can mount {kind}")
    point = folder / f"{kind}-mount"
    point.mkdir(parents=True)
    if kind == "tmpfs":
        words = ["mount", "-t", "tmpfs", *options, "pxarbench-tmpfs", os.fspath(point)]
    else:
        mebibytes, mkfs = MKFS[kind]
        if shutil.which(mkfs[0]) is None:
            pytest.skip(f"there is no {mkfs[0]}")
        image = folder / f"{kind}.img"
        with open(image, "wb") as file:
            file.truncate(mebibytes << 20)
        run.run([*mkfs, image], timeout=120).check_ok()
        words = ["mount", "-o", ",".join(["loop", *options]), os.fspath(image), os.fspath(point)]
    made = run.run(words, timeout=60)
    if made.returncode != 0:
        pytest.skip(f"{kind} cannot be mounted here: {made.stderr.decode(errors='replace').strip()}")
    try:
        yield point
    finally:
        run.run(["umount", point], timeout=60).check_ok()
