"""bup: a git repository of hash-split files. Its detection is `bup index`, which lists what changed; `bup save` reads that.

Both are one timed command, as a user has to run both. The index takes a file for changed while the second of its last change
is not over, because some file systems tell no less than seconds: what changed just before a run is read again in the next one. So
each run is preceded, untimed, by a second of waiting. A file with an mtime in the future is read twice in the same way.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from .. import measure, run
from .base import Command, Outcome, Settings, Subject, SubjectFailed

_BRANCH = "main"

#: mode -> (commands before, the facets it looks at; None: reads everything, what it is).
_MODES: Mapping[str, tuple[str, frozenset[str] | None, str]] = {
    "clear": ("bup index --clear && ", None, "reads everything (bup index --clear before)"),
    "default": (
        "",
        frozenset({"size", "mtime", "ctime", "inode", "name", "type"}),
        "trusts equal size, mtime, ctime, inode, number of names and device",
    ),
}
#: An entry of `bup index --status`: what happened to it, and an absolute path. Names may hold line feeds.
_ENTRY = re.compile(rb"^([AMD ]) (/.*?)\n(?=[AMD ] /|\Z)", re.MULTILINE | re.DOTALL)


class Bup(Subject):
    name = "bup"
    modes = tuple(_MODES)
    mode_texts: ClassVar[Mapping[str, str]] = {mode: text for mode, (_, _, text) in _MODES.items()}
    default_modes = ("clear", "default")
    reading_modes = ("clear",)
    counts_names = True
    sees_inode_changes = True
    tells_decisions = True
    rewinds = "copy"
    restores_to_memory = False
    capabilities: ClassVar[Mapping[str, str]] = {
        "detection": "size, mtime, ctime, inode, number of names, device",
        "decisions": "per file: added, modified, unchanged (bup index --status)",
        "chunks": "by content within each file, 8 KiB on average; packed by git",
        "compression": "zlib level 1",
        "encryption": "none",
        "hardlinks": "yes; every name is read",
        "sparse files": "stored as zeros, restored without holes",
        "xattrs": "yes",
        "ACLs": "yes",
        "file capabilities": "yes",
        "chattr flags": "yes",
        "sockets and devices": "yes",
        "times": "mtime, nanoseconds",
        "restore of one file": "yes",
    }
    fair: ClassVar[tuple[str, ...]] = (
        "Default compression (zlib level 1); one thread, which is all it has.",
        "No encryption: it has none.",
        "bup index and bup save together are the timed command; the index is kept between runs.",
        "Calls fsync for every pack, by default.",
        "One repository per mode.",
    )

    def __init__(self, mode: str, home: Path, settings: Settings) -> None:
        super().__init__(mode, home, settings)
        self.repository = home / "repository"
        self._snapshot = ""  # of the run that was started last
        self._compared = False  # whether there was an index of an earlier run then

    @classmethod
    def missing(cls, settings: Settings) -> str:
        return "" if shutil.which("bup") else "bup is not installed (Debian package: bup)"

    @classmethod
    def versions(cls, settings: Settings) -> dict[str, str]:
        return {"bup": measure.version_of("bup")}

    def looks_at(self, filesystem: str) -> frozenset[str]:
        facets = _MODES[self.mode][1]
        return super().looks_at(filesystem) if facets is None else facets

    def described(self) -> dict[str, str]:
        return {"compression": "zlib 1", "index": "cleared" if self.reads_everything else "kept"}

    def state(self) -> list[Path]:
        return [self.repository]

    @property
    def _env(self) -> dict[str, str]:
        # Snapshots are named after the local time.
        return {"BUP_DIR": os.fspath(self.repository), "TZ": "UTC"}

    def create(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        run.run(["bup", "init"], env=self._env).check_ok()

    def backup(self, tree: Path, backup_time: int, decisions: Path | None = None) -> Command:
        time.sleep(1.1)  # untimed: else files that were changed just now would be read again by the next run
        self._snapshot = time.strftime("%Y-%m-%d-%H%M%S", time.gmtime(backup_time))
        self._compared = (self.repository / "bupindex").exists()
        script = _MODES[self.mode][0] + 'bup index "$1" && '
        if decisions is not None:
            script += 'bup index --status "$1" >"$3" && '
        # It writes its index through a mapping, which on tmpfs changes no time: rewinding would not see that it changed.
        script += f'bup save -q -n {_BRANCH} -d "$2" "$1" && touch -c "$BUP_DIR/bupindex"'
        words = ["sh", "-c", script, "bup", os.fspath(tree), str(backup_time)]
        return Command((*words, *([] if decisions is None else [os.fspath(decisions)])), self._env)

    def outcome(self, output: bytes) -> Outcome:
        named = run.run(["bup", "ls", _BRANCH], env=self._env).check_ok().text.split()
        if self._snapshot not in named:
            raise SubjectFailed(f"bup: there is no snapshot {self._snapshot} in {_BRANCH}")
        if self.reads_everything:
            reference = "not-asked"
        else:
            reference = "used" if self._compared else "no-previous-snapshot"
        return Outcome(snapshot=self._snapshot, reference=reference)

    def reread(self, decisions: Path, output: bytes, tree: Path) -> frozenset[bytes] | None:
        top = os.fsencode(tree) + b"/"
        listed = (match.groups() for match in _ENTRY.finditer(decisions.read_bytes()))
        read_again = (path for status, path in listed if status in b"AM" and not path.endswith(b"/"))
        return frozenset(path.removeprefix(top) for path in read_again if os.path.isfile(path) and not os.path.islink(path))

    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        words = ["bup", "restore", "-q", "-C", target / "tree", f"/{_BRANCH}/{outcome.snapshot}{tree}/."]
        run.run(words, env=self._env).check_ok()
        return target / "tree"
