"""restic, as a user runs it: default compression, its cache kept. `unchanged` trusts size and times, `force` reads all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from .. import measure, run
from .base import Command, Outcome, Settings, Subject, SubjectFailed

_HOST = "pxarbench"


class Restic(Subject):
    name = "restic"
    modes = ("force", "unchanged")
    reading_modes = ("force",)
    # restic keeps no sockets.
    kinds_left_out = frozenset({"socket"})
    counts_names = True
    sees_inode_changes = True

    def __init__(self, mode: str, home: Path, settings: Settings) -> None:
        super().__init__(mode, home, settings)
        self.repository = home / "repository"
        self.cache = home / "cache"

    @classmethod
    def missing(cls, settings: Settings) -> str:
        return "" if shutil.which("restic") else "restic is not installed"

    @classmethod
    def versions(cls, settings: Settings) -> dict[str, str]:
        return {"restic": measure.version_of("restic", "version")}

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
        force = ["--force"] if self.mode == "force" else []
        words = [*self._words(), "backup", "--json", "--quiet", "--host", _HOST, *force, os.fspath(tree)]
        return Command(tuple(words), self._env)

    def outcome(self, output: bytes) -> Outcome:
        for line in reversed(output.decode(errors="replace").splitlines()):
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and said.get("message_type") == "summary":
                break
        else:
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
            own_duration_ns=round(said["total_duration"] * 1e9),
            raw=said,
        )

    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        run.run([*self._words(), "restore", outcome.snapshot, "--target", target], env=self._env).check_ok()
        return target / tree.relative_to("/")
