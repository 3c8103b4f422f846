"""Our own program, by its command line and the JSON it writes (--stats, --decisions). Any number of builds of it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from .. import measure, run
from ..mutate.oracle import PXAR_LOOKS_AT
from ..tree import Entry
from .base import Command, Outcome, Settings, Subject, SubjectFailed

STATS_SCHEMA = "pxarbench-stats/1"
ARCHIVE = "root.pxar"

#: Reasons of change-detection.md 5 that lie in the file itself. The others re-encode a file that did not change.
_COLLATERAL = frozenset({"threshold", "instances", "absorbed", "non-monotone", "out-of-range"})
_UNCHANGED = "unchanged"
#: No judgement was made at all.
_NO_REFERENCE = "no-reference"

#: What the archive format does not read there (bench/spec/pxar.md 7), though today's kernels may have it.
_ATTRIBUTES = frozenset({"xattr", "acl", "fcaps"})
NOT_READ: Mapping[str, frozenset[str]] = {
    "tmpfs": _ATTRIBUTES | {"project"},
    "vfat": _ATTRIBUTES | {"project"},
    "msdos": _ATTRIBUTES | {"project"},
    "fuse": frozenset({"acl", "fcaps", "project"}),
    "btrfs": frozenset({"project"}),
}

#: Every file carries a 16-byte header in the payload stream, which reused_bytes and reencoded_bytes count.
_PAYLOAD_HEADER = 16

#: Chunks that a reader keeps, where restores are reckoned.
_READER_KEEPS = 8


@dataclass(frozen=True)
class _Mode:
    of_program: str  # --change-detection-mode
    text: str
    words: tuple[str, ...] = ()
    compares_contents_only: bool = False  # size and mtime, nothing else


_MODES: Mapping[str, _Mode] = {
    "legacy": _Mode("legacy", "one stream with a catalog; reads everything"),
    "data": _Mode("data", "metadata and payload streams; reads everything"),
    "metadata": _Mode("metadata", "reuses unread what has the same attributes, size and mtime; reuse profile tight"),
    "metadata-upstream": _Mode(
        "metadata",
        "as metadata, but lists old chunks as the reference client does (one too many where a range ends with its chunk)",
        ("--reuse-profile", "upstream"),
    ),
    "metadata-stored": _Mode(
        "metadata",
        "as metadata, but keeps an old chunk or not by the share of it that no file needs any more",
        ("--reuse-profile", "stored"),
    ),
    "metadata-content": _Mode(
        "metadata",
        "as metadata, but compares size and mtime only: changed attributes cost no reading",
        ("--compare", "content"),
        compares_contents_only=True,
    ),
}


class Pxarbench(Subject):
    name = "pxarbench"
    modes = tuple(_MODES)
    mode_texts: ClassVar[Mapping[str, str]] = {name: mode.text for name, mode in _MODES.items()}
    default_modes = ("data", "metadata")
    reading_modes = ("legacy", "data")
    deterministic = True
    tells_decisions = True
    capabilities: ClassVar[Mapping[str, str]] = {
        "detection": "attributes, size, mtime to the nanosecond; never ctime or inode",
        "decisions": "per file, with the reason (--decisions)",
        "chunks": "by content, 1 to 16 MiB, 4 MiB on average; old chunks may be listed again whole, with padding",
        "compression": "zstd level 1",
        "encryption": "none here",
        "hardlinks": "yes",
        "sparse files": "stored as zeros, restored with holes",
        "xattrs": "yes, not from tmpfs and FAT, not of symlinks",
        "ACLs": "yes, not from tmpfs, FUSE and FAT",
        "file capabilities": "yes, not from tmpfs, FUSE and FAT",
        "chattr flags": "yes, with project ids",
        "sockets and devices": "yes",
        "times": "mtime, nanoseconds",
        "restore of one file": "yes, reads only the chunks it lies in",
    }
    fair: ClassVar[tuple[str, ...]] = (
        "zstd level 1, the level that archives of this format are made with.",
        "No encryption.",
        "Default --sync-level (filesystem): when a run ends, its snapshot is on disk.",
        "As many threads as processors, by default.",
        "One store and one backup id per mode, so that no mode's snapshots are in the way of another's reference.",
    )
    #: Of Settings.builds; "": Settings.binary.
    build: ClassVar[str] = ""

    def __init__(self, mode: str, home: Path, settings: Settings) -> None:
        super().__init__(mode, home, settings)
        binary = self.program(settings)
        assert binary is not None
        self.binary = binary
        self.store = home / "store"
        self.stats = home / "stats.json"
        self._restored = ""  # the last restored snapshot

    @classmethod
    def program(cls, settings: Settings) -> Path | None:
        return settings.builds.get(cls.build) if cls.build else settings.binary

    @classmethod
    def missing(cls, settings: Settings) -> str:
        binary = cls.program(settings)
        if binary is None:
            return f"{cls.name} is not built"
        return "" if os.access(binary, os.X_OK) else f"{binary} is not a program"

    @classmethod
    def versions(cls, settings: Settings) -> dict[str, str]:
        binary = cls.program(settings)
        assert binary is not None
        version = run.run([binary, "version"]).check_ok().text.strip()
        return {cls.name: version, **{f"{cls.name} {k}": v for k, v in measure.build(binary).items() if v}}

    @property
    def repository(self) -> str:
        return os.fspath(self.store)

    @property
    def start(self) -> tuple[str, ...]:
        """The first words of its commands."""
        return (os.fspath(self.binary),)

    @property
    def sync_words(self) -> tuple[str, ...]:
        return ("--sync-level", self.settings.sync_level) if self.settings.sync_level else ()

    @property
    def environment(self) -> Mapping[str, str]:
        """What the program needs beside the repository."""
        return {}

    @property
    def backup_id(self) -> str:
        """One per mode: the seed's benchmark shared a group, so that one mode's runs became the other's reference."""
        return f"bench-{self.mode}"

    def looks_at(self, filesystem: str) -> frozenset[str]:
        if self.reads_everything:
            return super().looks_at(filesystem)
        if _MODES[self.mode].compares_contents_only:
            return frozenset({"size", "mtime", "name", "type", "hardlink"})
        return PXAR_LOOKS_AT - NOT_READ.get(filesystem, frozenset())

    def described(self) -> dict[str, str]:
        return {
            "sync_level": self.settings.sync_level or "default",
            "threads": str(self.settings.threads or "default"),
            "extra": " ".join(self.settings.extra),
        }

    def state(self) -> list[Path]:
        return [self.store]

    def create(self) -> None:
        # As the other programs' stores, this one is made before the first backup, which otherwise would have 65,536 folders
        # to make. Empty is enough: the program makes the folders of chunks that it needs.
        self.store.mkdir(parents=True, exist_ok=True)
        (self.store / ".chunks").mkdir(exist_ok=True)
        (self.store / ".lock").touch()

    def backup(self, tree: Path, backup_time: int, decisions: Path | None = None) -> Command:
        self.stats.unlink(missing_ok=True)  # a run that writes none must not be judged by its predecessor's
        mode = _MODES[self.mode]
        words = [
            *self.start, "backup", f"{ARCHIVE}:{tree}",
            "--repository", self.repository, "--backup-id", self.backup_id,
            "--change-detection-mode", mode.of_program, "--backup-time", str(backup_time),
            "--stats", os.fspath(self.stats), *mode.words,
        ]  # fmt: skip
        words += self.sync_words
        if self.settings.threads:
            words += ["--threads", str(self.settings.threads)]
        if decisions is not None:
            words += ["--decisions", os.fspath(decisions)]
        return Command((*words, *self.settings.extra), self.environment)

    def outcome(self, output: bytes) -> Outcome:
        try:
            stats = json.loads(self.stats.read_text())
        except (OSError, ValueError) as error:
            raise SubjectFailed(f"{self.name}: --stats: {error}") from None
        if stats.get("schema") != STATS_SCHEMA:
            raise SubjectFailed(f"{self.name}: --stats has schema {stats.get('schema')!r}, expected {STATS_SCHEMA!r}")
        if stats["result"] != "ok":
            raise SubjectFailed(f"{self.name}: {stats['error']}")
        mode = _MODES[self.mode]
        if stats["mode"] != mode.of_program:
            raise SubjectFailed(f"{self.name}: ran in mode {stats['mode']}, asked for {mode.of_program}")
        for option, value in zip(mode.words[::2], mode.words[1::2], strict=True):
            key = {"--reuse-profile": "profile", "--compare": "compare"}[option]
            if stats[key] != value:
                raise SubjectFailed(f"{self.name}: ran with {option} {stats[key]}, asked for {value}")
        return _outcome(stats)

    def reread(self, decisions: Path, output: bytes, tree: Path) -> frozenset[bytes] | None:
        return frozenset(_path(d) for d in _decisions(decisions) if d["action"] == "reencoded")

    def collateral(self, decisions: Path, output: bytes, tree: Path) -> frozenset[bytes]:
        read_again = (d for d in _decisions(decisions) if d["action"] == "reencoded")
        return frozenset(_path(d) for d in read_again if d.get("reason") in _COLLATERAL)

    def fields_left_out(self, filesystem: str) -> frozenset[str]:
        return frozenset({"xattrs"}) if _ATTRIBUTES <= NOT_READ.get(filesystem, frozenset()) else frozenset()

    def comes_back(self, entry: Entry) -> Entry:
        return without_xattrs_of_symlinks(entry)

    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        run.run(
            [*self.start, "restore", outcome.snapshot, ARCHIVE, target / "tree", "--repository", self.repository],
            env=self.environment,
        ).check_ok()
        self._restored = outcome.snapshot
        return target / "tree"

    def restore_cost(self) -> Mapping[str, int]:
        """Of a reader that keeps 8 chunks, reckoned from metadata and index by `analyze`."""
        if not self._restored or self.mode == "legacy":
            return {}
        told = run.run(
            [*self.start, "analyze", self._restored, "--repository", self.repository, "--lru", str(_READER_KEEPS),
             "--output-format", "json"],
            env=self.environment,
        ).json()  # fmt: skip
        reads = told["archives"][0]["snapshots"][0]["reads"]
        (full,) = reads["full"]
        return {
            "file_bytes": reads["restored_bytes"],
            "fetched_bytes": full["bytes"],
            "fetched_chunks": full["chunks"],
        }


def without_xattrs_of_symlinks(entry: Entry) -> Entry:
    return replace(entry, xattrs=()) if entry.kind == "symlink" else entry


def of_build(name: str, base: type[Pxarbench] = Pxarbench) -> type[Pxarbench]:
    """The subject "pxarbench@NAME" of Settings.builds[NAME]."""
    return type(f"Pxarbench_{name}", (base,), {"name": f"{Pxarbench.name}@{name}", "build": name})


def _decisions(path: Path) -> list[dict[str, Any]]:
    with open(path, "rb") as lines:
        return [json.loads(line) for line in lines]


def _path(decision: dict[str, Any]) -> bytes:
    if "path_b64" in decision:
        return base64.b64decode(decision["path_b64"])
    return str(decision["path"]).encode()


def _outcome(stats: dict[str, Any]) -> Outcome:
    (archive,) = stats["archives"]
    payload, metadata = archive["payload"], archive["metadata"]
    if payload is None:  # one stream, and the catalog beside it
        payload, metadata = archive["stream"], stats["catalog"]
        checksums = {"stream": payload["csum"], "catalog": metadata["csum"]}
    else:
        checksums = {"metadata": metadata["csum"], "payload": payload["csum"]}
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
        listed_chunks=payload["chunks"],
        files=archive["reused_files"] + archive["reencoded_files"],
        own_peak_rss_bytes=stats["peak_rss_bytes"],
        own_duration_ns=stats["duration_ns"],
        warnings=stats["warnings"],
        checksums=checksums,
        reasons=dict(reasons),
        ledger=dict(archive.get("ledger") or {}),
        network=dict(stats.get("network") or {}),
        raw=stats,
    )
