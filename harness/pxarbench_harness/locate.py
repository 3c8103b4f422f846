"""Where things are: the repository, the program under test, the cache, the reference vectors.

Nothing is created or started here. A finder returns None when the thing is absent; saying so is the caller's.
"""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

#: Build directories that may hold a program, best first for measuring.
PRESETS = ("release", "dev", "asan")


def pxarbench() -> Path | None:
    """$PXARBENCH, else the newest program among the known build directories."""
    named = os.environ.get("PXARBENCH")
    if named:
        # A wrong name must be seen, not replaced by another build: hand it back even if nothing is there.
        return Path(named)
    built = [REPOSITORY / "build" / preset / "bin" / "pxarbench" for preset in PRESETS]
    found = [path for path in built if os.access(path, os.X_OK)]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def vectors() -> Path | None:
    """$PXB_VECTORS, else shared/vectors beside the repository."""
    named = os.environ.get("PXB_VECTORS")
    path = Path(named) if named else REPOSITORY.parent / "shared" / "vectors"
    return path if path.is_dir() else None


def cache() -> Path:
    """$PXARBENCH_CACHE, else ~/.cache/pxarbench (or below $XDG_CACHE_HOME)."""
    named = os.environ.get("PXARBENCH_CACHE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pxarbench"


def results() -> Path:
    return REPOSITORY / "results"


def recipes() -> Path:
    return REPOSITORY / "datasets"
