"""Progress of long preparations: a bar on a terminal, else one line every few seconds."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Seconds between two lines.
INTERVAL = 3.0


class Progress:
    """A context. Either the work calls add(), or `probe` is asked for (files, bytes) done so far, from a thread of its own.

    `total_bytes` 0: unknown. Nothing is printed for work that ends within one interval.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        label: str,
        *,
        total_bytes: int = 0,
        probe: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._say, self._label, self._total, self._probe = say, label, total_bytes, probe
        self.files = self.bytes = 0
        self._started = self._last = time.monotonic()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self._say is print and sys.stderr.isatty():
            self._open_bar()
        if self._probe is not None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        if self._bar is not None:
            self._bar.stop()

    def add(self, files: int = 0, size: int = 0) -> None:
        self.files += files
        self.bytes += size
        if time.monotonic() - self._last >= (0.2 if self._bar is not None else INTERVAL):
            self._tell()

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        # No refreshing thread: hashing forks, and a fork beside threads is asking for trouble.
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[files]:,} files"),
            TimeElapsedColumn(), console=Console(stderr=True), auto_refresh=False, transient=True,
        )  # fmt: skip
        self._bar.start()
        self._task = self._bar.add_task(self._label, total=self._total or None, files=0)

    def _tell(self) -> None:
        self._last = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.bytes, files=self.files, refresh=True)
            return
        share = f" ({min(100, 100 * self.bytes // self._total)} %)" if self._total else ""
        seconds = self._last - self._started
        self._say(f"{self._label}: {self.bytes / 2**20:,.1f} MiB{share}, {self.files:,} files, {seconds:.0f} s")

    def _watch(self) -> None:
        assert self._probe is not None
        pause = INTERVAL
        while not self._end.wait(pause):
            began = time.monotonic()
            self.files, self.bytes = self._probe()
            self._tell()
            # Looking must not become the work itself.
            pause = max(INTERVAL, 10 * (time.monotonic() - began))


def below(folder: Path) -> tuple[int, int]:
    """Files and bytes below a folder that others are filling right now; what vanishes meanwhile is not counted."""
    files = size = 0
    pending = [os.fsencode(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        files += 1
                        size += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return files, size


def size_of(path: Path) -> tuple[int, int]:
    """The same for one file that grows."""
    try:
        return 0, path.stat().st_size
    except OSError:
        return 0, 0
