"""Modification times by rule: two machines must not have different trees because one of them was slower."""

from __future__ import annotations

import calendar
import os
import time
from pathlib import Path


def seconds_of(text: str) -> int:
    """Of "2024-01-31T12:00:00Z". ValueError when it is no such text."""
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def set_all(root: Path, seconds: int) -> None:
    """Every entry, the root included; folders after what is in them."""
    times = (seconds, seconds)
    for folder, folders, names in os.walk(os.fsencode(root), topdown=False):
        for name in names:
            os.utime(os.path.join(folder, name), times, follow_symlinks=False)
        for name in folders:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                os.utime(path, times, follow_symlinks=False)
        os.utime(folder, times)
