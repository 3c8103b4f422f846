"""restic, as a user runs it: default compression, its cache kept. Its detection looks at ctime and inode unless told not to."""

from __future__ import annotations

import codecs
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from .. import measure, run
from ..tree import Entry
from .base import Command, Outcome, Settings, Subject, SubjectFailed
from .files import originals

_HOST = "pxarbench"

_SIZE_AND_MTIME = frozenset({"size", "mtime", "name", "type"})
#: mode -> (words, the facets it looks at; None: reads everything, what it is).
_MODES: Mapping[str, tuple[tuple[str, ...], frozenset[str] | None, str]] = {
    "force": (("--force",), None, "reads everything (--force: no parent snapshot)"),
    "default": ((), _SIZE_AND_MTIME | {"ctime", "inode"}, "trusts equal size, mtime, ctime and inode"),
    "ignore-ctime": (("--ignore-ctime",), _SIZE_AND_MTIME | {"inode"}, "trusts equal size, mtime and inode (--ignore-ctime)"),
    "ignore-inode": (("--ignore-inode",), _SIZE_AND_MTIME, "trusts equal size and mtime (--ignore-inode implies --ignore-ctime)"),
}


class Restic(Subject):
    name = "restic"
    modes = tuple(_MODES)
    mode_texts: ClassVar[Mapping[str, str]] = {mode: text for mode, (_, _, text) in _MODES.items()}
    default_modes = ("force", "default")
    reading_modes = ("force",)
    # restic keeps no sockets.
    kinds_left_out = frozenset({"socket"})
    counts_names = True
    sees_inode_changes = True
    tells_decisions = True
    capabilities: ClassVar[Mapping[str, str]] = {
        "detection": "size, mtime to the nanosecond, ctime, inode; the last two can be ignored",
        "decisions": "per file, without a reason (-vv)",
        "chunks": "by content within each file, 512 KiB to 8 MiB, 1 MiB on average; packed into files of 16 MiB",
        "compression": "zstd, level of its mode auto",
        "encryption": "always (AES-256-CTR, Poly1305)",
        "hardlinks": "yes; every name is read",
        "sparse files": "stored as zeros, restored without holes",
        "xattrs": "yes, not of symlinks",
        "ACLs": "yes",
        "file capabilities": "yes",
        "chattr flags": "no",
        "sockets and devices": "devices and fifos, no sockets",
        "times": "mtime, nanoseconds; ctime recorded",
        "restore of one file": "yes",
    }
    fair: ClassVar[tuple[str, ...]] = (
        "Repository format 2 with default compression (auto).",
        "Always encrypts: there is no way without.",
        "Its cache is kept between runs, as a user's is.",
        "Calls fsync for every file it stores, by default.",
        "Default number of readers (2 files at once).",
        "One repository per mode.",
    )

    def __init__(self, mode: str, home: Path, settings: Settings) -> None:
        super().__init__(mode, home, settings)
        self.repository = home / "repository"
        self.cache = home / "cache"

    @classmethod
    def missing(cls, settings: Settings) -> str:
        return "" if shutil.which("restic") else "restic is not installed (Debian package: restic)"

    @classmethod
    def versions(cls, settings: Settings) -> dict[str, str]:
        return {"restic": measure.version_of("restic", "version")}

    def looks_at(self, filesystem: str) -> frozenset[str]:
        facets = _MODES[self.mode][1]
        return super().looks_at(filesystem) if facets is None else facets

    def described(self) -> dict[str, str]:
        return {"compression": "default", "cache": "kept", "force": "yes" if self.mode == "force" else "no"}

    def state(self) -> list[Path]:
        return [self.repository, self.cache]

    def _words(self) -> list[str]:
        return ["restic", "-r", os.fspath(self.repository), "--cache-dir", os.fspath(self.cache)]

    @property
    def _env(self) -> dict[str, str]:
        return {"RESTIC_PASSWORD": "pxarbench"}

    def create(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        run.run([*self._words(), "init"], env=self._env).check_ok()

    def backup(self, tree: Path, backup_time: int, decisions: Path | None = None) -> Command:
        told = "--quiet" if decisions is None else "--verbose=2"
        words = [*self._words(), "backup", "--json", told, "--host", _HOST, *_MODES[self.mode][0], os.fspath(tree)]
        return Command(tuple(words), self._env)

    def outcome(self, output: bytes) -> Outcome:
        said = None
        for message in _messages(output):
            if message.get("message_type") == "summary":
                said = message
        if said is None:
            raise SubjectFailed(f"restic: no summary in its output: {output[-500:].decode(errors='replace')}")
        new, changed = said["files_new"], said["files_changed"]
        # With a parent, unchanged files show up as such; a parent is not named in the summary.
        compared = said["files_unmodified"] + changed > 0
        return Outcome(
            snapshot=said["snapshot_id"],
            reference="used" if compared else ("not-asked" if self.mode == "force" else "no-previous-snapshot"),
            reused_files=said["files_unmodified"],
            reencoded_files=new + changed,
            changed_files=new + changed if compared else 0,
            collateral_files=0,
            new_bytes=said["data_added"],
            new_chunks=said["data_blobs"] + said["tree_blobs"],
            files=said["files_unmodified"] + new + changed,
            own_duration_ns=round(said["total_duration"] * 1e9),
            raw=said,
        )

    def reread(self, decisions: Path, output: bytes, tree: Path) -> frozenset[bytes] | None:
        printed = (
            message["item"]
            for message in _messages(output)
            if message.get("message_type") == "verbose_status"
            and message.get("action") in ("new", "modified")
            and not message["item"].endswith("/")  # a folder
        )
        return originals(printed, tree, as_go_prints, "\ufffd")

    def comes_back(self, entry: Entry) -> Entry:
        return replace(entry, xattrs=()) if entry.kind == "symlink" else entry

    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        run.run([*self._words(), "restore", outcome.snapshot, "--target", target], env=self._env).check_ok()
        return target / tree.relative_to("/")


def _messages(output: bytes) -> Iterator[dict[str, Any]]:
    for line in output.decode(errors="replace").split("\n"):  # not splitlines(): names may hold other separators
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            yield said


def _one_for_each_byte(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd", error.start + 1


codecs.register_error("pxarbench.go", _one_for_each_byte)


def as_go_prints(path: bytes) -> str:
    """Each byte that is no UTF-8 becomes a U+FFFD of its own in what a program written in Go prints as JSON."""
    return path.decode("utf-8", "pxarbench.go")
