"""What tests of change detection share: runs with their decisions, and checks of an archive from its streams alone.

The rules are written down here once more, from bench/spec/change-detection.md and reuse-stored.md. Nothing is taken
from the program but the bytes that it stored.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup_tools import Backup, Repository, blob_content, payload_references

PAYLOAD = 0x28147A1B0B7C1A25
MARKER_SIZE = HEADER_SIZE = 16
PPM = 1_000_000
PROFILES = ("tight", "upstream", "stored")

Range = tuple[int, int]


# ---- runs with decisions ----


@dataclass(frozen=True)
class Run:
    backup: Backup
    lines: list[dict[str, Any]]  # of --decisions

    @property
    def archive(self) -> Any:
        return self.backup.archive

    @property
    def log(self) -> str:
        return self.backup.log

    @property
    def actions(self) -> dict[str, str]:
        return {path_of(line): line["action"] for line in self.lines}

    @property
    def reasons(self) -> dict[str, str]:
        """Why each file was reused or re-encoded; that its contents turned out equal is another matter."""
        return {path_of(line): reason_of(line) for line in self.lines if line["action"] != "hardlink"}

    @property
    def changed(self) -> dict[str, str]:
        """Files that do not count as unchanged, with the reason."""
        collateral = ("unchanged", "threshold", "instances", "absorbed")
        return {path: reason for path, reason in self.reasons.items() if reason not in collateral}

    @property
    def offsets(self) -> dict[str, int]:
        return {path_of(line): line["offset"] for line in self.lines if line["action"] != "hardlink"}


def path_of(line: dict[str, Any]) -> str:
    return os.fsdecode(base64.b64decode(line["path_b64"])) if "path_b64" in line else str(line["path"])


def reason_of(line: dict[str, Any]) -> str:
    return str(line.get("difference", line["reason"]))


def backup(repository: Repository, tree: Path, at: int, *more: str, mode: str = "metadata") -> Run:
    decisions = repository.scratch / f"decisions-{at}.jsonl"
    done = repository.backup(tree, at, *more, "--decisions", decisions, mode=mode)
    return Run(done, [json.loads(line) for line in decisions.read_text().splitlines()])


# ---- an archive from its streams ----


@dataclass(frozen=True)
class Usage:
    """Which bytes of the payload stream belong to files, and what is left of each chunk."""

    size: int
    chunks: list[tuple[int, int, bytes]]  # start, end, digest
    ranges: list[Range]  # of files, header included, ascending
    live: dict[bytes, int]  # by digest: bytes used through any listing

    @property
    def padding(self) -> int:
        """Bytes of the stream that no file and no own marker uses, listing by listing."""
        return self.size - 2 * MARKER_SIZE - sum(end - start for start, end in self.ranges)

    @property
    def listed(self) -> dict[bytes, int]:
        times: dict[bytes, int] = defaultdict(int)
        for _, _, digest in self.chunks:
            times[digest] += 1
        return dict(times)

    @property
    def waste(self) -> dict[bytes, int]:
        """What each stored chunk holds in vain."""
        return {digest: end - start - self.live[digest] for start, end, digest in self.chunks}

    def size_of(self, digest: bytes) -> int:
        return next(end - start for start, end, known in self.chunks if known == digest)


def union_size(ranges: Iterable[Range]) -> int:
    total, behind = 0, 0
    for start, end in sorted(ranges):
        total += max(0, end - max(start, behind))
        behind = max(behind, end)
    return total


#: Contents of chunks by digest: unpacking one takes a process.
_unpacked: dict[bytes, bytes] = {}
_UNPACKED_MAX = 4096


def payload_of(repository: Repository, at: int) -> bytes:
    if len(_unpacked) > _UNPACKED_MAX:
        _unpacked.clear()
    parts = []
    for _, digest in repository.index(at, "ppxar"):
        path = repository.chunk(digest)
        if digest not in _unpacked:
            _unpacked[digest] = blob_content(path.read_bytes())
            assert hashlib.sha256(_unpacked[digest]).digest() == digest
        assert path.is_file()
        parts.append(_unpacked[digest])
    return b"".join(parts)


def usage(repository: Repository, at: int) -> Usage:
    """Checks on the way that references strictly increase and stand at headers of the right size."""
    entries = repository.index(at, "ppxar")
    payload = payload_of(repository, at)
    size = entries[-1][0]
    assert len(payload) == size
    references = [(offset, length) for _, offset, length in payload_references(repository.stream(at, "mpxar"))]
    behind = MARKER_SIZE
    for offset, length in references:
        assert offset >= behind, "references strictly increase and do not overlap"
        assert payload[offset : offset + HEADER_SIZE] == struct.pack("<QQ", PAYLOAD, HEADER_SIZE + length)
        behind = offset + HEADER_SIZE + length
    assert behind <= size - MARKER_SIZE
    ranges = [(offset, offset + HEADER_SIZE + length) for offset, length in references]
    used = [(0, MARKER_SIZE), *ranges, (size - MARKER_SIZE, size)]
    chunks, start, at_range = [], 0, 0
    parts: dict[bytes, list[Range]] = defaultdict(list)
    for end, digest in entries:
        chunks.append((start, end, digest))
        parts[digest] += []
        while at_range < len(used) and used[at_range][1] <= start:
            at_range += 1
        for number in range(at_range, len(used)):
            begin, behind = used[number]
            if begin >= end:
                break
            parts[digest].append((max(begin, start) - start, min(behind, end) - start))
        start = end
    return Usage(size, chunks, ranges, {digest: union_size(found) for digest, found in parts.items()})


# ---- trees ----


def write(path: Path, content: bytes, ns: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(ns, ns))


def forget(repository: Repository, at: int) -> None:
    """Takes a snapshot away again, so that the one before is the reference of the next run."""
    for path in repository.snapshot(at).iterdir():
        path.unlink()
    repository.snapshot(at).rmdir()
    repository.wanted.pop(at, None)
