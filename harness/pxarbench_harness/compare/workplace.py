"""Where a comparison works: a folder in memory, removed at the end whatever happens, and who else measures beside it.

The folder is locked as long as its process lives. So one that can be locked was left by a process that was killed, and is
removed; one that cannot is that of somebody who measures at the same time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType

from .cases import NEEDED_BYTES

PREFIX = "pxarbench-compare-"
_MEMORY = Path("/dev/shm")
_INODES_MIN = 200_000


def in_memory() -> bool:
    """Is there a file system in memory with enough room?"""
    if not os.access(_MEMORY, os.W_OK | os.X_OK):
        return False
    free = os.statvfs(_MEMORY)
    return free.f_bavail * free.f_frsize >= NEEDED_BYTES and (free.f_favail >= _INODES_MIN or not free.f_files)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, handler) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, old in zip(_SIGNALS, before, strict=True):
            if signal.getsignal(number) is handler:  # else it was interrupted, and ends undisturbed
                signal.signal(number, old)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    for number in _SIGNALS:  # whoever is impatient does not stop the cleaning
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def stoppable() -> AbstractContextManager[None]:
    """SIGTERM, with which jobs are cancelled, ends in a KeyboardInterrupt, too; further signals are ignored until the end."""
    return _handled(_interrupt)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder. None: somebody else does, or it is gone, or not ours."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return None
    return opened


def others(folder: Path) -> int:
    """How many other comparisons work beside `folder` now."""
    count = 0
    for path in folder.parent.glob(PREFIX + "*"):
        if path != folder and path.is_dir() and not path.is_symlink():
            opened = _locked(path)
            if opened is None:
                count += path.exists()
            else:
                os.close(opened)
    return count


def _remove_left(parent: Path) -> None:
    """Of killed processes of this user."""
    for path in parent.glob(PREFIX + "*"):
        if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.getuid():
            continue
        opened = _locked(path)
        if opened is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(opened)


def _new(parent: Path) -> tuple[Path, int]:
    """A folder and the descriptor that holds it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        folder.chmod(0o755)  # other users must be able to see that it is in use
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(opened, fcntl.LOCK_EX)
        if folder.exists():
            return folder, opened
        os.close(opened)  # somebody took it for one that was left


@contextmanager
def work_folder(place: Path | None) -> Iterator[Path]:
    """A new folder, removed at the end. None: in memory if there is room."""
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    parent = place if place is not None else _MEMORY if in_memory() else Path(tempfile.gettempdir())
    _remove_left(parent)
    folder, opened = _new(parent)
    try:
        yield folder
    finally:
        with _handled(signal.SIG_IGN):
            shutil.rmtree(folder, ignore_errors=True)
            os.close(opened)
