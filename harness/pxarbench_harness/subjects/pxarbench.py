"""Our own program, by its command line and the JSON it writes (--stats, --decisions)."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from .. import measure, run
from .base import Command, Outcome, Settings, Subject, SubjectFailed

STATS_SCHEMA = "pxarbench-stats/1"
ARCHIVE = "root.pxar"

#: Reasons of change-detection.md 5 that lie in the file itself. The others re-encode a file that did not change.
_COLLATERAL = frozenset({"threshold", "instances", "absorbed", "non-monotone", "out-of-range"})
_UNCHANGED = "unchanged"
#: No judgement was made at all.
_NO_REFERENCE = "no-reference"

#: The archive format reads no extended attributes there (bench/spec/pxar.md 7), though today's kernels have them.
_WITHOUT_XATTRS = frozenset({"tmpfs", "vfat", "msdos"})

#: Every file carries a 16-byte header in the payload stream, which reused_bytes and reencoded_bytes count.
_PAYLOAD_HEADER = 16


class Pxarbench(Subject):
    name = "pxarbench"
    modes = ("data", "metadata")
    reading_modes = ("data",)
    deterministic = True

    def __init__(self, mode: str, home: Path, settings: Settings) -> None:
        super().__init__(mode, home, settings)
        assert settings.binary is not None
        self.binary = settings.binary
        self.store = home / "store"
        self.stats = home / "stats.json"

    @classmethod
    def missing(cls, settings: Settings) -> str:
        if settings.binary is None:
            return "pxarbench is not built"
        return "" if os.access(settings.binary, os.X_OK) else f"{settings.binary} is not a program"

    @classmethod
    def versions(cls, settings: Settings) -> dict[str, str]:
        assert settings.binary is not None
        version = run.run([settings.binary, "version"]).check_ok().text.strip()
        return {"pxarbench": version, **{f"pxarbench {k}": v for k, v in measure.build(settings.binary).items() if v}}

    @property
    def backup_id(self) -> str:
        """One per mode: the seed's benchmark shared a group, so that one mode's runs became the other's reference."""
        return f"bench-{self.mode}"

    def described(self) -> dict[str, str]:
        return {
            "sync_level": self.settings.sync_level or "default",
            "threads": str(self.settings.threads or "default"),
            "extra": " ".join(self.settings.extra),
        }

    def state(self) -> list[Path]:
        return [self.store]

    def create(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)  # the store itself is made by the first backup

    def backup(self, tree: Path, backup_time: int, decisions: Path | None = None) -> Command:
        self.stats.unlink(missing_ok=True)  # a run that writes none must not be judged by its predecessor's
        words = [
            os.fspath(self.binary), "backup", f"{ARCHIVE}:{tree}",
            "--repository", os.fspath(self.store), "--backup-id", self.backup_id,
            "--change-detection-mode", self.mode, "--backup-time", str(backup_time), "--stats", os.fspath(self.stats),
        ]  # fmt: skip
        if self.settings.sync_level:
            words += ["--sync-level", self.settings.sync_level]
        if self.settings.threads:
            words += ["--threads", str(self.settings.threads)]
        if decisions is not None:
            words += ["--decisions", os.fspath(decisions)]
        return Command((*words, *self.settings.extra))

    def outcome(self, output: bytes) -> Outcome:
        try:
            stats = json.loads(self.stats.read_text())
        except (OSError, ValueError) as error:
            raise SubjectFailed(f"pxarbench: --stats: {error}") from None
        if stats.get("schema") != STATS_SCHEMA:
            raise SubjectFailed(f"pxarbench: --stats has schema {stats.get('schema')!r}, expected {STATS_SCHEMA!r}")
        if stats["result"] != "ok":
            raise SubjectFailed(f"pxarbench: {stats['error']}")
        if stats["mode"] != self.mode:
            raise SubjectFailed(f"pxarbench: ran in mode {stats['mode']}, asked for {self.mode}")
        return _outcome(stats)

    def reread(self, decisions: Path) -> frozenset[bytes] | None:
        paths = set()
        with open(decisions, "rb") as lines:
            for line in lines:
                decision = json.loads(line)
                if decision["action"] == "reencoded":
                    paths.add(_path(decision))
        return frozenset(paths)

    def fields_left_out(self, filesystem: str) -> frozenset[str]:
        return frozenset({"xattrs"}) if filesystem in _WITHOUT_XATTRS else frozenset()

    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        run.run(
            [self.binary, "restore", outcome.snapshot, ARCHIVE, target / "tree", "--repository", self.store]
        ).check_ok()
        return target / "tree"


def _path(decision: dict[str, Any]) -> bytes:
    if "path_b64" in decision:
        return base64.b64decode(decision["path_b64"])
    return str(decision["path"]).encode()


def _outcome(stats: dict[str, Any]) -> Outcome:
    (archive,) = stats["archives"]
    payload, metadata = archive["payload"], archive["metadata"]
    reasons = archive["reasons"]
    judged = {reason: count for reason, count in reasons.items() if reason not in (_UNCHANGED, _NO_REFERENCE)}
    streams = (payload, metadata)
    return Outcome(
        snapshot=stats["snapshot"],
        reference=archive["reference"]["reason"],
        reused_files=archive["reused_files"],
        reencoded_files=archive["reencoded_files"],
        changed_files=sum(count for reason, count in judged.items() if reason not in _COLLATERAL),
        collateral_files=sum(count for reason, count in judged.items() if reason in _COLLATERAL),
        file_bytes_read=archive["file_bytes_read"],
        reencoded_bytes=archive["reencoded_bytes"] - _PAYLOAD_HEADER * archive["reencoded_files"],
        uploaded_bytes=sum(s["compressed_bytes"] for s in streams),
        new_bytes=sum(s["new_bytes"] for s in streams),
        new_chunks=sum(s["new_chunks"] for s in streams),
        injected_chunks=archive["injected_chunks"],
        injected_bytes=archive["injected_bytes"],
        partial_chunks=archive["partial_chunks"],
        unreferenced_chunks=archive["unreferenced_chunks"],
        padding_bytes=archive["padding_bytes"],
        payload_bytes=payload["size"],
        own_peak_rss_bytes=stats["peak_rss_bytes"],
        own_duration_ns=stats["duration_ns"],
        warnings=stats["warnings"],
        checksums={"metadata": metadata["csum"], "payload": payload["csum"]},
        raw=stats,
    )
