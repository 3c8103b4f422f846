"""casync: one archive of the tree, cut into chunks by content. It compares no trees, but can keep an encoder cache.

The cache knows a file by its inode and the later of mtime and ctime. So it notices everything, but for one thing: of a file whose
mtime lies in the future, other contents under that same mtime are not seen.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from .. import measure, run
from ..tree import Entry, Tree, show
from .base import Command, Outcome, Settings, Subject, SubjectFailed

_MODES: Mapping[str, tuple[frozenset[str] | None, str]] = {
    "default": (None, "reads everything"),
    "cache": (
        frozenset({"size", "ctime", "inode", "name", "type", "hardlink"}),
        "trusts a chunk when all files in it have the same inode and ctime (--cache)",
    ),
}

#: While it extracts, a file has a longer name than later.
_LONGEST_NAME = 237


class Casync(Subject):
    name = "casync"
    modes = tuple(_MODES)
    mode_texts: ClassVar[Mapping[str, str]] = {mode: text for mode, (_, text) in _MODES.items()}
    default_modes = ("default", "cache")
    reading_modes = ("default",)
    sees_inode_changes = True
    deterministic = True
    capabilities: ClassVar[Mapping[str, str]] = {
        "detection": "none; with an encoder cache per chunk: inode and the later of mtime and ctime",
        "decisions": "none",
        "chunks": "by content of the whole archive, 16 to 256 KiB, 64 KiB on average; a file each",
        "compression": "zstd",
        "encryption": "none",
        "hardlinks": "no: each name becomes a file",
        "sparse files": "stored as zeros, restored with holes",
        "xattrs": "yes, not of symlinks",
        "ACLs": "yes",
        "file capabilities": "yes",
        "chattr flags": "yes",
        "sockets and devices": "yes",
        "times": "mtime, nanoseconds, not before 1970",
        "restore of one file": "by mounting (FUSE)",
    }
    fair: ClassVar[tuple[str, ...]] = (
        "Default compression (zstd), default chunk size (64 KiB), default features (all: --with=best).",
        "--exclude-nodump=no, --exclude-file=no: the whole tree, as the others store it.",
        "No encryption: it has none. Never calls fsync.",
        "One store per mode.",
    )

    def __init__(self, mode: str, home: Path, settings: Settings) -> None:
        super().__init__(mode, home, settings)
        self.store = home / "store"
        self.indexes = home / "indexes"
        self.cache = home / "cache"
        self._index = Path()  # of the run that was started last
        self._compared = False  # whether there was a cache then

    @classmethod
    def missing(cls, settings: Settings) -> str:
        return "" if shutil.which("casync") else "casync is not installed (Debian package: casync)"

    @classmethod
    def versions(cls, settings: Settings) -> dict[str, str]:
        return {"casync": measure.version_of("casync")}

    @classmethod
    def unfit(cls, tree: Tree) -> str:
        for entry in tree.entries.values():
            if len(entry.path.rpartition(b"/")[2]) > _LONGEST_NAME:
                return f"casync: cannot extract names of more than {_LONGEST_NAME} bytes, as {show(entry.path)[:40]}..."
            if entry.mtime_ns < 0:
                return f"casync: stores no times before 1970, as of {show(entry.path)}"
        return ""

    @property
    def rewinds(self) -> Literal["remove-new", "copy"]:  # type: ignore[override]
        return "copy" if self.mode == "cache" else "remove-new"  # entries of the cache are written anew

    def looks_at(self, filesystem: str) -> frozenset[str]:
        facets = _MODES[self.mode][0]
        return super().looks_at(filesystem) if facets is None else facets

    def described(self) -> dict[str, str]:
        return {"compression": "zstd", "cache": "kept" if self.mode == "cache" else "none"}

    def state(self) -> list[Path]:
        return [self.store, self.indexes, self.cache]

    def create(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        for folder in self.state():
            folder.mkdir()

    def backup(self, tree: Path, backup_time: int, decisions: Path | None = None) -> Command:
        self._index = self.indexes / f"t{backup_time}.caidx"
        self._compared = self.mode == "cache" and any(self.cache.iterdir())
        words = ["casync", "make", f"--store={self.store}", "--exclude-nodump=no", "--exclude-file=no"]
        if self.mode == "cache":
            words.append(f"--cache={self.cache}")
        return Command((*words, os.fspath(self._index), os.fspath(tree)))

    def outcome(self, output: bytes) -> Outcome:
        digest = output.decode(errors="replace").strip()  # with a cache it does not know one
        if not self._index.is_file() or len(digest) != (0 if self.mode == "cache" else 64):
            raise SubjectFailed(f"casync: no archive was made: {digest[-500:]}")
        if self.reads_everything:
            reference = "not-asked"
        else:
            reference = "used" if self._compared else "no-previous-snapshot"
        return Outcome(snapshot=self._index.name, reference=reference, checksums={"archive": digest} if digest else {})

    def comes_back(self, entry: Entry) -> Entry:
        return replace(entry, link_to=b"", xattrs=() if entry.kind == "symlink" else entry.xattrs)

    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        index = self.indexes / outcome.snapshot
        run.run(["casync", "extract", f"--store={self.store}", index, target / "tree"]).check_ok()
        return target / "tree"
