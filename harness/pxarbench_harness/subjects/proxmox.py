"""The reference client, against a real server: when it is installed and $PBS_REPOSITORY and $PBS_PASSWORD say where that is.

It reports in sentences, with rounded sizes: what is read from them is as exact as they are. Its store is the server's and is
not rewound. Repetitions of a run find the chunks of the ones before, so what they upload is less; what they read is not.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from .. import measure, run
from ..cliff_reference import Figure, duration, parse_lines
from ..mutate.oracle import PXAR_LOOKS_AT
from ..tree import Entry
from .base import Command, Outcome, Settings, Subject, SubjectFailed
from .pxarbench import ARCHIVE, NOT_READ, Pxarbench, without_xattrs_of_symlinks

_PROGRAM = "proxmox-backup-client"
_NEEDED = ("PBS_REPOSITORY", "PBS_PASSWORD")

_SNAPSHOT = re.compile(r"Starting backup: (?:\[[^\]]*\]:)?((?:host|vm|ct)/\S+)")
_NO_PREVIOUS = "No previous manifest available."
_REFERENCE_USED = "Using previous index as metadata reference"
#: Of an archive in one stream. (Those of the two streams are parse_lines' business.)
_ONE_STREAM = re.compile(r"\S+\.pxar: had to backup (\S+ \S+) of (\S+ \S+) \(compressed (\S+ \S+)\) in .*")


class ProxmoxBackupClient(Subject):
    name = _PROGRAM
    modes = ("legacy", "data", "metadata")
    mode_texts: ClassVar[Mapping[str, str]] = {
        "legacy": "one stream with a catalog; reads everything",
        "data": "metadata and payload streams; reads everything",
        "metadata": "reuses unread what has the same attributes (of xattrs: names only), size and mtime",
    }
    default_modes = ("data", "metadata")
    reading_modes = ("legacy", "data")
    rewinds = "never"
    capabilities: ClassVar[Mapping[str, str]] = {
        **Pxarbench.capabilities,
        "detection": "attributes (of xattrs: names only), size, mtime to the nanosecond; never ctime or inode",
        "decisions": "counts only",
        "encryption": "possible (AES-256-GCM); here none",
    }
    fair: ClassVar[tuple[str, ...]] = (
        "zstd level 1, no encryption (--crypt-mode none), as pxarbench here.",
        "Talks to a server over TLS; the others write to a folder.",
        "Its store is not rewound: repetitions upload less than the first run after a change.",
        "Sizes are rounded by its messages.",
    )

    def __init__(self, mode: str, home: Path, settings: Settings) -> None:
        super().__init__(mode, home, settings)
        self._id = "pxarbench-" + hashlib.sha256(os.fsencode(home)).hexdigest()[:12]

    @classmethod
    def missing(cls, settings: Settings) -> str:
        if shutil.which(_PROGRAM) is None:
            return f"{_PROGRAM} is not installed (package of that name, from Proxmox)"
        unset = [name for name in _NEEDED if not os.environ.get(name)]
        return f"{_PROGRAM}: {' and '.join(unset)} not set: no server to back up to" if unset else ""

    @classmethod
    def versions(cls, settings: Settings) -> dict[str, str]:
        return {_PROGRAM: measure.version_of(_PROGRAM, "version")}

    def looks_at(self, filesystem: str) -> frozenset[str]:
        if self.reads_everything:
            return super().looks_at(filesystem)
        return PXAR_LOOKS_AT - NOT_READ.get(filesystem, frozenset())

    def described(self) -> dict[str, str]:
        return {"encryption": "none", "backup_id": self._id}

    def state(self) -> list[Path]:
        return []

    def create(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)

    def backup(self, tree: Path, backup_time: int, decisions: Path | None = None) -> Command:
        words = (
            _PROGRAM, "backup", f"{ARCHIVE}:{tree}", "--backup-id", self._id, "--backup-type", "host",
            "--backup-time", str(backup_time), "--change-detection-mode", self.mode, "--crypt-mode", "none",
        )  # fmt: skip
        return Command(("sh", "-c", 'exec "$@" 2>&1', "sh", *words))  # it says everything on standard error

    def outcome(self, output: bytes) -> Outcome:
        lines = output.decode(errors="replace").splitlines()
        snapshot = next((match[1] for line in lines if (match := _SNAPSHOT.search(line))), None)
        seconds = duration(lines)
        if snapshot is None or seconds is None:
            raise SubjectFailed(f"{_PROGRAM}: no summary in its output: {output[-500:].decode(errors='replace')}")
        figures = parse_lines(lines)
        for line in lines:
            if match := _ONE_STREAM.fullmatch(line):
                names = ("pxar not reused", "pxar size", "pxar compressed")
                figures.update({name: Figure(text) for name, text in zip(names, match.groups(), strict=True)})
        return Outcome(
            snapshot=snapshot,
            reference=_reference(self.mode, lines),
            reused_files=_number(figures, "reused files"),
            reencoded_files=_number(figures, "re-encoded files"),
            reencoded_bytes=_number(figures, "re-encoded bytes"),
            uploaded_bytes=_sum(figures, "compressed"),
            new_bytes=_sum(figures, "not reused"),
            injected_chunks=_number(figures, "ppxar injected chunks"),
            injected_bytes=_number(figures, "ppxar injected bytes"),
            partial_chunks=_number(figures, "partial chunks"),
            padding_bytes=_number(figures, "padding"),
            payload_bytes=_number(figures, "ppxar size"),
            files=_files(figures),
            own_duration_ns=round(seconds * 1e9),
            raw={name: figure.text for name, figure in figures.items()},
        )

    def fields_left_out(self, filesystem: str) -> frozenset[str]:
        return frozenset({"xattrs"}) if "xattr" in NOT_READ.get(filesystem, frozenset()) else frozenset()

    def comes_back(self, entry: Entry) -> Entry:
        return without_xattrs_of_symlinks(entry)

    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        run.run([_PROGRAM, "restore", outcome.snapshot, ARCHIVE, target / "tree"]).check_ok()
        return target / "tree"


def _reference(mode: str, lines: list[str]) -> str:
    if mode != "metadata":
        return "not-asked"
    if any(line.startswith(_REFERENCE_USED) for line in lines):
        return "used"
    return "no-previous-snapshot" if _NO_PREVIOUS in lines else "none that it could use"


def _number(figures: Mapping[str, Figure], name: str) -> int | None:
    return round(figures[name].value) if name in figures else None


def _sum(figures: Mapping[str, Figure], what: str) -> int | None:
    found = [figure.value for name, figure in figures.items() if name.endswith(f"pxar {what}")]
    return round(sum(found)) if found else None


def _files(figures: Mapping[str, Figure]) -> int | None:
    total = _number(figures, "total files")
    return None if total is None else total - (_number(figures, "hardlinks") or 0)
