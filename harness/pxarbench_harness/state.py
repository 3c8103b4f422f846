"""Bringing a store back to the state it had before a run, exactly.

Most stores only ever add files (chunks, indexes, snapshots) under names of their own. So the list of files before, with
size, time and inode, is enough: what is new is removed, and anything else that changed is an error, because then the next
repetition would not start from the same state. Programs that rewrite files of theirs (Subject.rewinds == "copy") get them
back from a copy made beforehand.

A store has tens of thousands of folders, nearly all of which no run touches: a folder whose own time and inode are as they
were still has the names it had, so that only its files are looked at again.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import run

#: (size, mtime_ns, inode) of a file; of a copied one its ctime_ns, too.
Mark = tuple[int, ...]

#: A file system's clock ticks up to every 10 ms: what changes within the tick of a listing would not show.
_TICK = 0.02
_SECOND = 1_000_000_000


class StateChanged(Exception):
    """A run changed or removed a file that was there before it."""


@dataclass(frozen=True, slots=True)
class _Folder:
    mark: tuple[int, int]
    files: tuple[str, ...]  # full paths
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    folders: dict[str, _Folder]
    files: dict[str, Mark]

    def size(self, root: Path | None = None) -> int:
        """Bytes of all files, or of those below `root`."""
        if root is None:
            return sum(mark[0] for mark in self.files.values())
        prefix = os.fspath(root) + os.sep
        return sum(mark[0] for path, mark in self.files.items() if path.startswith(prefix))


def _mark(path: str, with_ctime: bool) -> Mark:
    st = os.stat(path, follow_symlinks=False)
    mark = (st.st_size, st.st_mtime_ns, st.st_ino)
    return (*mark, st.st_ctime_ns) if with_ctime else mark


def _folder_mark(path: str) -> tuple[int, int]:
    st = os.stat(path, follow_symlinks=False)
    return st.st_mtime_ns, st.st_ino


def _read_folder(path: str, mark: tuple[int, int]) -> _Folder:
    files, folders = [], []
    with os.scandir(path) as names:
        for name in names:
            (folders if name.is_dir(follow_symlinks=False) else files).append(name.path)
    return _Folder(mark, tuple(files), tuple(folders))


def _list(roots: list[Path], with_ctime: bool, old: Listing | None) -> Listing:
    found = Listing({}, {})
    pending = [os.fspath(root) for root in roots if root.exists()]
    while pending:
        path = pending.pop()
        mark = _folder_mark(path)
        known = old.folders.get(path) if old is not None else None
        # No part of a second: perhaps this file system's times have none, and prove nothing.
        fresh = known is None or known.mark != mark or mark[0] % _SECOND == 0
        folder = _read_folder(path, mark) if fresh or known is None else known
        found.folders[path] = folder
        pending += folder.folders
        for file in folder.files:
            try:
                found.files[file] = _mark(file, with_ctime)
            except FileNotFoundError:
                raise StateChanged(f"{file}: was removed while the store was listed") from None
    return found


def look(roots: list[Path], old: Listing | None = None) -> Listing:
    """All files below `roots`. `old`: an earlier listing, which makes it quicker."""
    found = _list(roots, False, old)
    time.sleep(_TICK)
    return found


@dataclass
class State:
    roots: tuple[Path, ...]
    listing: Listing
    saved: Path | None = None  # where copies of the roots are: of programs that rewrite files
    kept: int = 0  # snapshots, of stores that are somewhere else (Subject.kept)
    _copies: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def capture(cls, roots: list[Path], saved: Path | None = None, old: Listing | None = None) -> State:
        """`saved`: a folder that does not exist yet; with it, files that a run rewrites are brought back from there. `old`:
        what look() told before, which makes it quicker."""
        state = cls(tuple(roots), _list(roots, saved is not None, old), saved)
        if saved is not None:
            saved.mkdir(parents=True)
            for number, root in enumerate(roots):
                state._copies[os.fspath(root)] = saved / str(number)
                if root.exists():
                    run.run(["cp", "-a", "--reflink=auto", root, saved / str(number)]).check_ok()
        time.sleep(_TICK)
        return state

    def now(self) -> Listing:
        """As the roots are at this moment."""
        return _list(list(self.roots), self.saved is not None, self.listing)

    def verify(self) -> None:
        """StateChanged: something is not as it was captured. Reads every folder, whatever its time says."""
        now = _list(list(self.roots), self.saved is not None, None)
        for path in (*now.files, *now.folders):
            if path not in self.listing.files and path not in self.listing.folders:
                raise StateChanged(f"{path}: was left behind by a run")
        for path, mark in self.listing.files.items():
            if now.files.get(path) != mark:
                raise StateChanged(f"{path}: was changed or removed by a run")

    def rewind(self, now: Listing | None = None) -> int:
        """Removes what came since. Returns the number of removed files. StateChanged: names what else changed. `now`: what
        now() has just returned."""
        now = now or self.now()
        gone = [path for path in self.listing.folders if path not in now.folders]
        gone += [path for path in self.listing.files if path not in now.files]
        altered = [path for path, mark in self.listing.files.items() if path in now.files and now.files[path] != mark]
        if self.saved is None:
            for path in gone:
                raise StateChanged(f"{path}: was removed by a run")
            for path in altered:
                raise StateChanged(f"{path}: was changed by a run")
        touched = set()
        added = [path for path in now.files if path not in self.listing.files]
        for path in added:
            os.unlink(path)
            touched.add(os.path.dirname(path))
        for path in sorted((path for path in now.folders if path not in self.listing.folders), reverse=True):
            os.rmdir(path)  # contents before their folder
            touched.add(os.path.dirname(path))
        for path in sorted(path for path in gone if path in self.listing.folders):
            os.mkdir(path)
            touched.update((path, os.path.dirname(path)))
        for path in (*altered, *(path for path in gone if path in self.listing.files)):
            self._bring_back(path)
            touched.add(os.path.dirname(path))
        for path in touched:
            old = self.listing.folders.get(path)
            if old is not None:
                self.listing.folders[path] = _Folder(_folder_mark(path), old.files, old.folders)
        if touched:
            time.sleep(_TICK)
        return len(added)

    def _bring_back(self, path: str) -> None:
        for root, copy in self._copies.items():
            if path.startswith(root + os.sep):
                partial = path + ".rewound"
                shutil.copy2(copy / os.path.relpath(path, root), partial, follow_symlinks=False)
                os.replace(partial, path)
                self.listing.files[path] = _mark(path, True)
                return
        raise StateChanged(f"{path}: lies in none of the saved folders")

    def forget(self) -> None:
        """Removes the copies. The state cannot be rewound to any more."""
        if self.saved is not None:
            shutil.rmtree(self.saved)
