"""Changing a tree in place, so that it can be put back exactly whatever happens in between.

The whole log (JSON lines: a header, then one operation each, with the state before and after) is on disk before the
first file is touched. Undo therefore works from any point, also after kill -9, and running it twice does no harm.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..tree import Tree, scan, show
from .plan import Mutation, choose

SCHEMA = "pxarbench-oplog/1"
SECOND = 1_000_000_000
APPENDED = b"#"


class MutationFailed(Exception):
    """The tree is not what the mutation was to make of it."""


class AlteredByOthers(Exception):
    """A file is in a state that neither the mutation nor its undoing leaves behind: nothing was done to it."""


@dataclass(frozen=True)
class Op:
    """One operation, with what a change detection has to make of it."""

    path: bytes
    op: str
    size_before: int
    size_after: int
    mtime_ns_before: int
    mtime_ns_after: int

    @property
    def content_changed(self) -> bool:
        return self.size_after != self.size_before

    @property
    def attributes_changed(self) -> bool:
        return self.mtime_ns_after != self.mtime_ns_before or self.content_changed

    @property
    def must_be_reread(self) -> bool:
        """Whoever judges by size and mtime has to read the file again."""
        return self.attributes_changed


@dataclass(frozen=True)
class Oracle:
    """What the mutation knows must be detected."""

    ops: tuple[Op, ...]

    @property
    def must_be_reread(self) -> frozenset[bytes]:
        return frozenset(op.path for op in self.ops if op.must_be_reread)

    @property
    def content_changed(self) -> frozenset[bytes]:
        return frozenset(op.path for op in self.ops if op.content_changed)

    @property
    def files(self) -> int:
        return len(self.must_be_reread)

    @property
    def bytes(self) -> int:
        """That have to be read again."""
        return sum(op.size_after for op in self.ops if op.must_be_reread)


@dataclass(frozen=True)
class Applied:
    mutation: Mutation
    oracle: Oracle
    tree: Tree  # as it is now


def _line(op: Op) -> dict[str, Any]:
    values = asdict(op)
    values["path"] = os.fsdecode(op.path)
    values["undo"] = {"truncate": op.size_before, "mtime_ns": op.mtime_ns_before}
    values["oracle"] = {
        "content_changed": op.content_changed,
        "attributes_changed": op.attributes_changed,
        "must_be_reread": op.must_be_reread,
    }
    return values


def _read(log: Path) -> tuple[dict[str, Any], list[Op]]:
    with open(log, encoding="ascii") as lines:
        header = json.loads(next(lines))
        if header.get("schema") != SCHEMA:
            raise MutationFailed(f"{log}: not an operation log of schema {SCHEMA}")
        ops = []
        for line in lines:
            values = json.loads(line)
            del values["undo"], values["oracle"]
            values["path"] = os.fsencode(values["path"])
            ops.append(Op(**values))
    return header, ops


def _plan(tree: Tree, mutation: Mutation) -> list[Op]:
    candidates = {e.path: e for e in tree.files() if e.links == 1}
    grown = len(APPENDED) if mutation.operation == "edit" else 0
    ops = []
    for path in choose(list(candidates), mutation):
        e = candidates[path]
        ops.append(Op(path, mutation.operation, e.size, e.size + grown, e.mtime_ns, e.mtime_ns + SECOND))
    return ops


def _set_mtime(path: bytes, mtime_ns: int) -> None:
    os.utime(path, ns=(os.stat(path).st_atime_ns, mtime_ns), follow_symlinks=False)


def _perform(root: bytes, op: Op) -> None:
    path = os.path.join(root, op.path)
    if op.op == "edit":
        with open(path, "ab", buffering=0) as file:
            file.write(APPENDED)
    _set_mtime(path, op.mtime_ns_after)


def apply(tree: Tree, mutation: Mutation, log: Path) -> Applied:
    """Changes the tree below tree.root. On failure the tree may be half changed: undo(log) puts it back.

    MutationFailed when afterwards other files than the planned ones differ, or the planned ones do not.
    """
    if log.exists():
        raise MutationFailed(f"{log}: a mutation is already applied; undo it first")
    ops = _plan(tree, mutation)
    if not ops:
        return Applied(mutation, Oracle(()), tree)
    header = {"schema": SCHEMA, "mutation": mutation.text, "digest_before": tree.digest(), "files": len(ops)}
    part = log.with_name(log.name + ".partial")
    with open(part, "w", encoding="ascii") as out:
        for line in [header, *map(_line, ops)]:
            out.write(json.dumps(line) + "\n")
        out.flush()
        os.fsync(out.fileno())
    os.rename(part, log)
    _sync_folder(log.parent)

    root = os.fsencode(tree.root)
    for op in ops:
        _perform(root, op)
    after = scan(tree.root, known=tree)
    _verify(tree, after, ops)
    return Applied(mutation, Oracle(tuple(ops)), after)


def _verify(before: Tree, after: Tree, ops: Iterable[Op]) -> None:
    changed = {p for p in before.entries.keys() | after.entries.keys() if before.entries.get(p) != after.entries.get(p)}
    planned = {op.path for op in ops}
    if changed != planned:
        idle, stray = planned - changed, changed - planned
        names = ", ".join(show(p) for p in sorted(idle | stray)[:3])
        raise MutationFailed(
            f"mutation: {len(idle)} of {len(planned)} planned files did not change, {len(stray)} others did ({names})"
        )
    for op in ops:
        now = after.entries[op.path]
        content = now.digest != before.entries[op.path].digest
        if (now.size, now.mtime_ns, content) != (op.size_after, op.mtime_ns_after, op.content_changed):
            raise MutationFailed(f"mutation: {show(op.path)} is not as planned")


def undo(log: Path, root: Path) -> str | None:
    """Puts every file of the log back and removes the log. Returns the digest the tree must now have; None: no log."""
    log.with_name(log.name + ".partial").unlink(missing_ok=True)  # nothing was done yet when only this is there
    if not log.exists():
        return None
    header, ops = _read(log)
    top = os.fsencode(root)
    for op in ops:
        path = os.path.join(top, op.path)
        st = os.stat(path, follow_symlinks=False)
        if st.st_size == op.size_before and st.st_mtime_ns == op.mtime_ns_before:
            continue  # not reached, or put back before
        # In between: appended, and the time is whatever the kernel gave.
        if st.st_size not in (op.size_before, op.size_after):
            raise AlteredByOthers(f"{os.fsdecode(path)}: {st.st_size} bytes, expected {op.size_after} or {op.size_before}")
        if st.st_size != op.size_before:
            os.truncate(path, op.size_before)
        _set_mtime(path, op.mtime_ns_before)
    log.unlink()
    _sync_folder(log.parent)
    return str(header["digest_before"])


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
