"""Where a tree can be planted so that archives see its extended attributes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .. import measure, run

#: Archives take no extended attributes from other file systems (tmpfs among them).
GOOD = ("ext4", "xfs", "btrfs", "ext3", "ext2")


def sees_xattrs(folder: Path) -> bool:
    return measure.filesystem(folder).split(" ")[0] in GOOD


@contextlib.contextmanager
def planting_ground(preferred: Path, *, mebibytes: int = 512) -> Iterator[tuple[Path, bool]]:
    """A folder, and whether archives see its extended attributes: `preferred` itself, a file system mounted below it from
    an image (root), a folder in /var/tmp; the last resort is `preferred` without them."""
    preferred.mkdir(parents=True, exist_ok=True)
    if sees_xattrs(preferred):
        yield preferred, True
        return
    if os.geteuid() == 0 and shutil.which("mkfs.ext4"):
        image, point = preferred / "ext4.img", preferred / "ext4"
        point.mkdir()
        with open(image, "wb") as file:
            file.truncate(mebibytes << 20)
        run.run(["mkfs.ext4", "-q", "-F", "-N", "150000", image], timeout=120).check_ok()
        if run.run(["mount", "-o", "loop", image, point], timeout=60).returncode == 0:
            try:
                yield point, True
            finally:
                run.run(["umount", point], timeout=60).check_ok()
                image.unlink()
            return
    elsewhere = Path("/var/tmp")
    if elsewhere.is_dir() and os.access(elsewhere, os.W_OK) and sees_xattrs(elsewhere):
        with tempfile.TemporaryDirectory(prefix="pxarbench-", dir=elsewhere) as folder:
            yield Path(folder), True
        return
    yield preferred, False
