"""Changing a tree in place, so that it can be put back exactly whatever happens in between.

    mutation.jsonl     the operation log: a header (schema, mutation, seed, digest of the tree before), one line per step
                       with its declared oracle, and, once everything was done and checked, {"digest_after": ...}
    mutation.saved/    what undoing needs (saved.py)

Both are on disk before the first change, the last line only after the last. Undo therefore works from any point, also
after kill -9, and running it twice does no harm. The steps name nothing of the machine: `replay` performs them on an equal
tree elsewhere, with the same digest afterwards. Steps of a chain have mutation.1.jsonl, mutation.2.jsonl, ...
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tree import Tree, scan, show
from . import primitives, repair, saved
from .draft import Draft
from .operation import OPERATIONS, MutationFailed, NotAvailable, Op, op_of, op_values
from .oracle import PXAR_LOOKS_AT, Change, Oracle, judge
from .plan import Mutation, parse

SCHEMA = "pxarbench-oplog/2"
#: A file changed within the same tick of the kernel's clock as before keeps its change time; this is longer than a tick.
TICK_NS = 20_000_000


@dataclass(frozen=True)
class Applied:
    mutation: Mutation
    oracle: Oracle
    tree: Tree  # as it is now


@dataclass
class Prepared:
    """A mutation whose journal is on disk; the tree is as it was. `perform` it whole, or step by step; then `finish`."""

    draft: Draft
    log: Path | None

    @property
    def ops(self) -> Sequence[Op]:
        return self.draft.ops

    def perform_one(self, op: Op) -> None:
        primitives.step()
        primitives.PRIMITIVES[op.how].perform(os.fsencode(self.draft.tree.root), op)

    def perform(self) -> None:
        root = os.fsencode(self.draft.tree.root)
        for op in self.draft.ops:
            self.perform_one(op)
        for folder, mtime_ns in self.draft.stamped.items():
            primitives.step()
            primitives.set_mtime(os.path.join(root, folder), mtime_ns)
        primitives.step()

    def finish(self) -> Applied:
        """Looks at the tree: exactly what was planned must have happened. MutationFailed."""
        draft = self.draft
        before = draft.tree
        flags = any(e.flags or e.project for e in before.entries.values())
        after = scan(before.root, known=before, inode_flags=flags)
        oracle = _verified(draft, after)
        if self.log is not None:
            with open(self.log, "a", encoding="ascii") as out:
                out.write(json.dumps({"digest_after": after.digest()}) + "\n")
                out.flush()
                os.fsync(out.fileno())
        return Applied(draft.mutation, oracle, after)


def _verified(draft: Draft, after: Tree) -> Oracle:
    text = draft.mutation.text
    wrong = draft.deviations(after)
    if wrong:
        raise MutationFailed("mutation: " + "; ".join(wrong[:3]))
    changes, gone = judge(draft.tree, after)
    found = {change.path: change.differs for change in changes}
    planned, planned_gone = draft.predicted()
    for path in sorted(found.keys() | planned.keys()):
        if found.get(path) != planned.get(path):
            raise MutationFailed(
                f"mutation {text}: {show(path)} differs in {_words(found.get(path))}, planned was {_words(planned.get(path))}"
            )
    if gone != planned_gone:
        raise MutationFailed(f"mutation {text}: {len(gone)} files are gone, planned were {len(planned_gone)}")
    for sentence in undeclared(draft.ops, changes, gone):
        raise MutationFailed(f"mutation {text}: {sentence}")
    return Oracle(tuple(draft.ops), changes, gone)


def _words(facets: frozenset[str] | None) -> str:
    return ", ".join(sorted(facets)) if facets else "nothing"


def undeclared(ops: Sequence[Op], changes: Sequence[Change], gone: frozenset[bytes]) -> list[str]:
    """What contradicts the declarations of the operations' classes; [] when nothing does."""
    classes = {OPERATIONS[op.op] for op in ops}
    if len(classes) != 1:
        return []
    (cls,) = classes
    found = []
    for change in changes:
        is_new = "name" in change.differs or "type" in change.differs
        if is_new and not cls.makes_new:
            found.append(f"{show(change.path)} is new, which {cls.word} does not declare")
        elif not is_new and not cls.facets <= change.differs <= cls.facets | cls.sometimes:
            found.append(f"{show(change.path)} differs in {_words(change.differs)}, {cls.word} declares {_words(cls.facets)}")
    if gone and not cls.makes_gone:
        found.append(f"files are gone, which {cls.word} does not declare")
    return found


# ---- the log ----


def _oracle_of(op: Op, planned: dict[bytes, frozenset[str]]) -> dict[str, Any]:
    """Of the file that the step changes or makes."""
    facets = planned.get(op.to) or planned.get(op.path) or frozenset()
    change = Change(op.path, facets, op.size_after, op.size_before)
    return {
        "differs": sorted(facets),
        "content_changed": change.content_changed,
        "attributes_changed": change.attributes_changed,
        "seen_by_size_and_mtime": change.seen_by_size_and_mtime,
        "must_be_reread": change.noticed_by(PXAR_LOOKS_AT),
    }


def write_header(log: Path, tree: Tree, mutation: Mutation, lines: Sequence[dict[str, Any]] = (), **more: Any) -> None:
    """Makes the log, durably. From now on undo works."""
    header = {
        "schema": SCHEMA, "mutation": mutation.text, "seed": mutation.seed or 0, "digest_before": tree.digest(),
        "steps": len(lines), **more,
    }  # fmt: skip
    part = log.with_name(log.name + ".partial")
    with open(part, "w", encoding="ascii") as out:
        for line in [header, *lines]:
            out.write(json.dumps(line) + "\n")
        out.flush()
        os.fsync(out.fileno())
    primitives.step()
    os.rename(part, log)
    saved.sync_folder(log.parent)


@dataclass(frozen=True)
class Recorded:
    header: dict[str, Any]
    ops: tuple[Op, ...]
    digest_after: str  # "" unless the mutation was carried out completely


def read(log: Path) -> Recorded:
    """MutationFailed: no such log. A last line without its end (a crash) counts as not written."""
    lines = log.read_bytes().split(b"\n")[:-1]
    try:
        header = json.loads(lines[0])
        if header.get("schema") != SCHEMA:
            raise ValueError
    except (ValueError, IndexError, AttributeError):
        raise MutationFailed(f"{log}: not an operation log of schema {SCHEMA}") from None
    ops, digest = [], ""
    for line in lines[1:]:
        values = json.loads(line)
        if "digest_after" in values:
            digest = values["digest_after"]
            continue
        values.pop("oracle", None)
        ops.append(op_of(values))
    return Recorded(header, tuple(ops), digest)


# ---- applying ----


def draft_of(tree: Tree, mutation: Mutation, log: Path) -> Draft:
    """What would be done. Nothing is changed. NotAvailable."""
    draft = Draft(tree, mutation, log)
    cls = OPERATIONS[mutation.operation]
    if reason := cls.available(tree, mutation):
        raise NotAvailable(f"mutation {mutation.text}: {reason}")
    cls().plan(draft)
    draft.close()
    return draft


def prepare(draft: Draft, log: Path) -> Prepared:
    """The journal of a draft, on disk."""
    if log.exists():
        raise MutationFailed(f"{log}: a mutation is already applied; undo it first")
    try:
        saved.save(draft, saved.saved_folder(log))
    except Exception:  # half of it is worth nothing, and its links are names too many for the tree's files
        saved.remove(saved.saved_folder(log))
        raise
    primitives.step()
    planned, _ = draft.predicted()
    lines = [{**op_values(op), "oracle": _oracle_of(op, planned)} for op in draft.ops]
    write_header(log, draft.tree, draft.mutation, lines)
    return Prepared(draft, log)


def _wait_for_a_tick(draft: Draft) -> None:
    newest = max((draft.tree.entries[p].ctime_ns for p in draft.now if p in draft.tree.entries), default=0)
    ahead = newest + TICK_NS - time.time_ns()
    if 0 < ahead <= TICK_NS:
        time.sleep(ahead / 1e9)


def _carry_out(prepared: Prepared) -> Applied:
    _wait_for_a_tick(prepared.draft)
    prepared.perform()
    return prepared.finish()


def apply(tree: Tree, mutation: Mutation, log: Path) -> Applied:
    """Changes the tree below tree.root. On failure the tree may be half changed: undo(log) puts it back.

    NotAvailable: nothing was changed. MutationFailed: afterwards something else differs than what was planned.
    """
    if log.exists():
        raise MutationFailed(f"{log}: a mutation is already applied; undo it first")
    cls = OPERATIONS[mutation.operation]
    if cls.carries_itself_out:
        return cls().carry_out(tree, mutation, log)
    draft = draft_of(tree, mutation, log)
    if not draft.ops:
        return Applied(mutation, Oracle(), tree)
    return _carry_out(prepare(draft, log))


def replay(recorded: Path, tree: Tree, log: Path | None = None) -> Applied:
    """Performs a log's steps on an equal tree. With `log`, undo(log) puts it back; without, nothing does.

    MutationFailed: the tree is another one, or did not become what it became when the log was written.
    """
    past = read(recorded)
    mutation = parse(past.header["mutation"])
    if past.header["digest_before"] != tree.digest():
        raise MutationFailed(f"{recorded}: was recorded on another tree")
    draft = Draft(tree, mutation, log or recorded)
    for op in past.ops:
        draft.add(op)
    draft.close()
    done = _carry_out(prepare(draft, log) if log else Prepared(draft, None))
    if past.digest_after and done.tree.digest() != past.digest_after:
        raise MutationFailed(f"{recorded}: replayed, the tree became another one than when it was recorded")
    return done


# ---- putting back ----


def undo(log: Path, root: Path) -> str | None:
    """Puts every entry of the log back and removes the log. Returns the digest the tree must now have; None: no log."""
    log.with_name(log.name + ".partial").unlink(missing_ok=True)
    folder = saved.saved_folder(log)
    if not log.exists():  # nothing was done yet, or all is undone
        saved.remove(folder)
        return None
    past = read(log)
    word = past.header.get("carried_out_by")
    if word:
        OPERATIONS[word]().take_back(past.header, log, root)
    else:
        repair.repair(saved.load(folder), folder, root)
    primitives.step()
    log.unlink()
    saved.sync_folder(log.parent)
    primitives.step()
    saved.remove(folder)
    return str(past.header["digest_before"])


_LOG = re.compile(r"mutation(?:\.(\d+))?\.(?:jsonl|jsonl\.partial|saved)")


def log_path(folder: Path, number: int) -> Path:
    return folder / ("mutation.jsonl" if number == 0 else f"mutation.{number}.jsonl")


def next_log(folder: Path) -> Path:
    """For the next step of a chain."""
    number = 0
    while log_path(folder, number).exists():
        number += 1
    return log_path(folder, number)


def undo_all(folder: Path, root: Path) -> str | None:
    """Undoes all steps of a chain, the newest first. The digest the tree must now have; None: there was nothing."""
    numbers = {int(m[1] or 0) for m in map(_LOG.fullmatch, os.listdir(folder)) if m}
    digest = None
    for number in sorted(numbers, reverse=True):
        digest = undo(log_path(folder, number), root) or digest
    return digest


def earlier(log: Path) -> list[Recorded]:
    """The steps of the chain before `log`, oldest first."""
    found = []
    number = 0
    while (path := log_path(log.parent, number)) != log and path.exists():
        found.append(read(path))
        number += 1
    return found
