"""Bringing a store back to the state it had before a run, exactly.

Stores only ever add files (chunks, indexes, snapshots) under names of their own. So the list of files before, with size,
time and inode, is enough: what is new is removed, and anything else that changed is an error, because then the next
repetition would not start from the same state.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

#: (size, mtime_ns, inode) of a file; None for a folder.
Mark = tuple[int, int, int] | None


class StateChanged(Exception):
    """A run changed or removed a file that was there before it."""


def _list(roots: list[Path]) -> dict[str, Mark]:
    found: dict[str, Mark] = {}
    pending = [os.fspath(root) for root in roots if root.exists()]
    for root in pending:
        found[root] = None
    while pending:
        with os.scandir(pending.pop()) as names:
            for name in names:
                if name.is_dir(follow_symlinks=False):
                    found[name.path] = None
                    pending.append(name.path)
                else:
                    st = name.stat(follow_symlinks=False)
                    found[name.path] = (st.st_size, st.st_mtime_ns, st.st_ino)
    return found


@dataclass(frozen=True)
class State:
    roots: tuple[Path, ...]
    files: dict[str, Mark]

    @classmethod
    def capture(cls, roots: list[Path]) -> State:
        return cls(tuple(roots), _list(roots))

    def rewind(self) -> int:
        """Removes what came since. Returns the number of removed files. StateChanged: names what else changed."""
        now = _list(list(self.roots))
        for path, mark in self.files.items():
            if path not in now:
                raise StateChanged(f"{path}: was removed by a run")
            if now[path] != mark:
                raise StateChanged(f"{path}: was changed by a run")
        added = sorted((path for path in now if path not in self.files), reverse=True)  # contents before their folder
        for path in added:
            os.rmdir(path) if now[path] is None else os.unlink(path)
        return sum(1 for path in added if now[path] is not None)
