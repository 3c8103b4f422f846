"""BorgBackup 1.2, without encryption. Its modes are those of its files cache: what of a file must be equal to trust it unread.

The cache has a peculiarity. At the end of a run, borg forgets every file whose time (ctime or mtime, as the mode has it) is not
older than the newest of all files that it stored anew in this run: such a file might still be changed within the same tick of
the clock. It will be read again, needlessly. In a tree in which all files have one mtime, that is every file in every run. Its
documentation's advice is to have a file that is newer than everything else; so each run is given one, outside of the tree.

Times before 1970 and after January 2038 are stored as these limits and compared with the file's own: where mtimes are looked at,
such a file is read in every run.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from .. import measure, run
from ..tree import Entry
from .base import Command, Outcome, Settings, Subject, SubjectFailed
from .files import first_names, keeping_errors, originals

_ALWAYS = frozenset({"size", "name", "type", "hardlink"})
#: mode -> (--files-cache, the facets it looks at; None: reads everything, what it is).
_MODES: Mapping[str, tuple[str, frozenset[str] | None, str]] = {
    "rechunk": ("rechunk,ctime", None, "reads everything, remembers it (--files-cache rechunk,ctime)"),
    "default": ("ctime,size,inode", _ALWAYS | {"ctime", "inode"}, "trusts equal size, ctime and inode"),
    "ctime": ("ctime,size", _ALWAYS | {"ctime"}, "trusts equal size and ctime (--files-cache ctime,size)"),
    "mtime-inode": ("mtime,size,inode", _ALWAYS | {"mtime", "inode"}, "trusts equal size, mtime, inode (--files-cache mtime,size,inode)"),
    "mtime": ("mtime,size", _ALWAYS | {"mtime"}, "trusts equal size and mtime (--files-cache mtime,size)"),
}

#: Statuses of --list. A: not in the files cache (new, or forgotten); M: in it, but different; C: changed while it was read.
_READ = frozenset("AMC")
_REUSED = "U"
_FORGOTTEN = "A"

#: It keeps times as what 32-bit systems can hold, in any time zone: from 1970 to January 2038.
_LATEST_NS = (2**31 - 1 - 48 * 3600) * 10**9
#: The latest mtime that all file systems can hold; the file that is newer than all others has it.
_NEWEST = (2**31 - 1, 2**31 - 1)
#: A tick of the clock that file times come from is at most 10 ms.
_TICK = 0.02


class Borg(Subject):
    name = "borg"
    keeps_one_name = True
    modes = tuple(_MODES)
    mode_texts: ClassVar[Mapping[str, str]] = {mode: text for mode, (_, _, text) in _MODES.items()}
    default_modes = ("rechunk", "default")
    reading_modes = ("rechunk",)
    kinds_left_out = frozenset({"socket"})
    sees_inode_changes = True
    tells_decisions = True
    rewinds = "copy"
    capabilities: ClassVar[Mapping[str, str]] = {
        "detection": "size and ctime or mtime, inode unless told not to; no other attributes",
        "decisions": "per file: added, modified, unchanged (--list)",
        "chunks": "by content within each file, 512 KiB to 8 MiB, 2 MiB on average; packed into files of 500 MiB",
        "compression": "lz4",
        "encryption": "possible; here none",
        "hardlinks": "yes",
        "sparse files": "stored as zeros, restored without holes",
        "xattrs": "yes",
        "ACLs": "yes",
        "file capabilities": "yes",
        "chattr flags": "some",
        "sockets and devices": "devices and fifos, no sockets",
        "times": "mtime, nanoseconds, from 1970 to 2038; ctime recorded",
        "restore of one file": "yes",
    }
    fair: ClassVar[tuple[str, ...]] = (
        "Default compression (lz4).",
        "No encryption (repository mode none), as pxarbench here; borg has authentication and encryption, restic always uses them.",
        "Its caches are kept between runs, as a user's are.",
        "Calls fsync at the end of each segment and of the run, by default.",
        "One thread: borg 1.2 has no more.",
        "A file newer than all others is backed up along with the tree, as its documentation advises; without it borg forgets the "
        "newest files of the tree after each run and reads them again, all of them where all have one time.",
        "One repository per mode.",
    )

    def __init__(self, mode: str, home: Path, settings: Settings) -> None:
        super().__init__(mode, home, settings)
        self.repository = home / "repository"
        self.base = home / "base"
        self.newest = home / "newest"
        self._knows_files = False  # whether there was a files cache before the run that was started last

    @classmethod
    def missing(cls, settings: Settings) -> str:
        return "" if shutil.which("borg") else "borg is not installed (Debian package: borgbackup)"

    @classmethod
    def versions(cls, settings: Settings) -> dict[str, str]:
        return {"borg": measure.version_of("borg")}

    def looks_at(self, filesystem: str) -> frozenset[str]:
        facets = _MODES[self.mode][1]
        return super().looks_at(filesystem) if facets is None else facets

    def described(self) -> dict[str, str]:
        return {"compression": "lz4", "encryption": "none", "files_cache": _MODES[self.mode][0], "cache": "kept"}

    def state(self) -> list[Path]:
        return [self.repository, self.base]

    @property
    def _env(self) -> dict[str, str]:
        return {
            "BORG_BASE_DIR": os.fspath(self.base),  # caches and what it knows of repositories
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def create(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.base.mkdir()
        self.newest.touch()
        run.run(["borg", "init", "--encryption", "none", self.repository], env=self._env).check_ok()

    def backup(self, tree: Path, backup_time: int, decisions: Path | None = None) -> Command:
        self._knows_files = any(path.stat().st_size for path in self.base.glob(".cache/borg/*/files"))
        time.sleep(_TICK)  # untimed: the tree may have been changed just now
        os.utime(self.newest, _NEWEST)  # and its ctime is now
        words = ["borg", "create", "--json", "--files-cache", _MODES[self.mode][0]]
        if decisions is not None:
            words += ["--list", "--log-json"]
        words += [f"{self.repository}::{_archive(backup_time)}", os.fspath(tree), os.fspath(self.newest)]
        return Command(tuple(words) if decisions is None else keeping_errors(words, decisions), self._env)

    def outcome(self, output: bytes) -> Outcome:
        try:
            said = json.loads(output[output.index(b"{") :])
            archive = said["archive"]
        except (ValueError, KeyError):
            raise SubjectFailed(f"borg: no summary in its output: {output[-500:].decode(errors='replace')}") from None
        if self.reads_everything:
            reference = "not-asked"
        else:
            reference = "used" if self._knows_files else "no-previous-snapshot"
        return Outcome(
            snapshot=archive["name"],
            reference=reference,
            uploaded_bytes=archive["stats"]["deduplicated_size"],
            files=archive["stats"]["nfiles"] - 1,  # without the newest
            own_duration_ns=round(archive["duration"] * 1e9),
            raw=said,
        )

    def reread(self, decisions: Path, output: bytes, tree: Path) -> frozenset[bytes] | None:
        return first_names(_listed(decisions, tree, _READ), tree)

    def collateral(self, decisions: Path, output: bytes, tree: Path) -> frozenset[bytes]:
        if self.reads_everything:
            return frozenset()
        forgotten = set(_listed(decisions, tree, frozenset(_FORGOTTEN)))
        if "mtime" in self.looks_at(""):
            forgotten.update(path for path in _listed(decisions, tree, _READ) if _out_of_range(tree, path))
        return first_names(forgotten, tree)

    def comes_back(self, entry: Entry) -> Entry:
        return replace(entry, mtime_ns=min(max(entry.mtime_ns, 0), _LATEST_NS))

    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        words = ["borg", "extract", "--numeric-ids", f"{self.repository}::{outcome.snapshot}", os.fspath(tree.relative_to("/"))]
        run.run(words, cwd=target, env=self._env).check_ok()
        return target / tree.relative_to("/")


def _archive(backup_time: int) -> str:
    return f"t{backup_time}"


def _out_of_range(tree: Path, path: bytes) -> bool:
    mtime = os.lstat(os.path.join(os.fsencode(tree), path)).st_mtime_ns
    return not 0 <= mtime <= _LATEST_NS


def as_borg_prints(path: bytes) -> str:
    """Bytes that are no UTF-8 become question marks."""
    return os.fsdecode(path).encode("utf-8", "replace").decode()


def _listed(log: Path, tree: Path, statuses: frozenset[str]) -> frozenset[bytes]:
    """Files (below `tree`) with one of these statuses, of a log of JSON lines. C comes after the A or M of its file."""
    return originals(_printed(log, statuses), tree, as_borg_prints, "?")


def _printed(log: Path, statuses: frozenset[str]) -> Iterator[str]:
    with open(log, encoding="utf-8", newline="\n") as lines:
        for line in lines:
            try:
                said: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            if said.get("type") == "file_status" and said["status"] in statuses:
                yield said["path"]
