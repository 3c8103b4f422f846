"""Backup, restore, backup again: the restored tree must be the tree, and give the same metadata stream.

Two independent proofs: the comparison of all attributes (tree.py, which knows no archives), and the streams' checksums.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from . import run
from .tree import COMPARED, Entry, Tree, differences, scan


@dataclass(frozen=True)
class Outcome:
    differences: list[str]  # of the restored tree, [] when equal
    entries: int
    first: dict[str, object]  # statistics of the two backups, one archive each
    second: dict[str, object]

    def stream(self, which: str) -> tuple[object, object]:
        """Checksum and size of "metadata", "payload" or "stream" (unified archives) in both backups."""
        a, b = (stats[which] for stats in (self.first, self.second))
        return (a["csum"], a["size"]), (b["csum"], b["size"])  # type: ignore[index]


def _backup(program: Path, tree: Path, store: Path, at: int, mode: str, more: tuple[str, ...]) -> dict[str, object]:
    stats = store.parent / f"roundtrip-{at}.json"
    words = ["backup", f"root.pxar:{tree}", "--repository", store, "--change-detection-mode", mode, "--backup-id", "rt",
             "--backup-time", str(at), "--sync-level", "none", "--stats", stats, *more]  # fmt: skip
    run.run([program, *words], timeout=3600).check_ok()
    (archive,) = json.loads(stats.read_text())["archives"]
    stats.unlink()
    return dict(archive)


def roundtrip(
    program: Path, source: Path, store: Path, target: Path, *, mode: str = "data", more: tuple[str, ...] = (),
    restore_more: tuple[str, ...] = (), before: Tree | None = None, fields: tuple[str, ...] = COMPARED,
    inode_flags: bool = True,
) -> Outcome:  # fmt: skip
    """`target` must not exist. `before`: the scan of the source, if there is one. The source must not change meanwhile."""
    before = before or scan(source, inode_flags=inode_flags)
    first = _backup(program, source, store, 1_000_000_000, mode, more)
    words = ["restore", "host/rt/2001-09-09T01:46:40Z", "root.pxar", target, "--repository", store, *restore_more]
    run.run([program, *words], timeout=3600).check_ok()
    found = differences(before, scan(target, inode_flags=inode_flags), fields=fields)
    second = _backup(program, target, store, 1_000_000_100, mode, more)
    return Outcome(found, len(before.entries), first, second)


def without_unstored(tree: Tree) -> Tree:
    """Without the extended attributes that no archive has (bench/spec/archive-creation.md A9)."""

    def keep(name: str) -> bool:
        stored = ("security.NTACL", "security.capability", "system.posix_acl_access", "system.posix_acl_default")
        return name.startswith(("user.", "trusted.")) or name in stored

    def strip(entry: Entry) -> Entry:
        if entry.kind not in ("file", "directory"):  # of others none are read
            return _replaced(entry, ())
        return _replaced(entry, tuple(pair for pair in entry.xattrs if keep(pair[0])))

    return Tree(tree.root, {path: strip(entry) for path, entry in tree.entries.items()})


def _replaced(entry: Entry, xattrs: tuple[tuple[str, bytes], ...]) -> Entry:
    return entry if entry.xattrs == xattrs else replace(entry, xattrs=xattrs)
