"""What changes around the files: patterns that leave some out, a file system mounted over a folder; and the words of what
can only happen while a backup runs.

Programs disagree about both by design. A pxar archive leaves out what .pxarexclude names and does not enter other file
systems; restic, borg and the others know no .pxarexclude, and enter unless told otherwise. The listing of a tree is the
same for all, so `as_pxar_sees` says what of it an archive must hold, and `for_pxar` what changed in its eyes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import run
from ..tree import Entry, Tree, scan
from . import oplog
from .draft import Draft
from .operation import SECOND, MutationFailed, NotAvailable, Op, Operation, register
from .oracle import Oracle, judge
from .plan import Mutation
from .primitives import owner_text

EXCLUDES = b".pxarexclude"
#: Behind it every line of the root's .pxarexclude is one path, literally.
MARK = "# pxarbench: one file per line"
_SPECIAL = b"*?[]\\"

MOUNTED = b"on-the-mounted-file-system"


# ---- patterns ----


def pattern(path: bytes) -> bytes:
    """A line that matches this path and nothing else (bench/spec/archive-creation.md A5)."""
    return b"/" + b"".join(b"\\" + bytes([byte]) if byte in _SPECIAL else bytes([byte]) for byte in path)


def _path(line: bytes) -> bytes:
    literal, escaped = bytearray(), False
    for byte in line[1:]:
        if byte == ord("\\") and not escaped:
            escaped = True
            continue
        literal.append(byte)
        escaped = False
    return bytes(literal)


def _can_be_named(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:  # an operation log holds texts
        return False
    return b"\n" not in path and path == path.strip() and b"\r" not in path


@register
class Exclude(Operation):
    word = "exclude"
    text = "a .pxarexclude in the root names these files: archives leave them out from now on, other programs do not care"
    needs = "regular file with one link and a name that fits into a line of text"
    facets = frozenset({"content", "size", "mtime", "ctime"})
    makes_new = True

    @classmethod
    def fits(cls, entry: Entry, mutation: Mutation | None) -> bool:
        return entry.path != EXCLUDES and _can_be_named(entry.path)

    def plan(self, draft: Draft) -> None:
        there = draft.entry(EXCLUDES)
        before = b""
        if there is not None:
            if there.kind != "file" or there.links > 1:
                raise NotAvailable("the root's .pxarexclude is no regular file with one link")
            before = (draft.tree.root / os.fsdecode(EXCLUDES)).read_bytes()
        known = _named_in(before)
        text = "" if MARK.encode() in before.splitlines() else ("\n" if before else "") + MARK + "\n"
        text += "".join(pattern(e.path).decode() + "\n" for e in draft.choose(fit=lambda e: e.path not in known))
        mtime_ns = draft.need(b".").mtime_ns + SECOND
        if there is None:
            value = owner_text(draft.need(b"."), 0o644)
            draft.add(Op(EXCLUDES, self.word, how="make", value=value, mtime_ns_after=mtime_ns))
            there = draft.need(EXCLUDES)
        mtime_ns = max(mtime_ns, there.mtime_ns + SECOND)
        draft.add(Op(
            EXCLUDES, self.word, there.size, there.size + len(text.encode()), there.mtime_ns, mtime_ns, "append",
            amount=1, value=text,
        ))  # fmt: skip


def _named_in(contents: bytes) -> frozenset[bytes]:
    lines = contents.split(b"\n")
    begin = lines.index(MARK.encode()) + 1 if MARK.encode() in lines else len(lines)
    return frozenset(_path(line) for line in lines[begin:] if line)


def excluded(tree: Tree) -> frozenset[bytes]:
    """What `exclude` put into the root's .pxarexclude. Patterns of others are not looked at: datasets have none."""
    entry = tree.entries.get(EXCLUDES)
    if entry is None or entry.kind != "file":
        return frozenset()
    return _named_in((tree.root / os.fsdecode(EXCLUDES)).read_bytes()) & tree.entries.keys()


# ---- mount points ----


def beyond(tree: Tree) -> frozenset[bytes]:
    """Everything on another file system than the root. Mount points themselves are archived, as empty folders."""
    device = tree.entries[b"."].device
    points = {path for path, e in tree.entries.items() if e.kind == "directory" and e.device != device}
    return frozenset(path for path in tree.entries if any(parent in points for parent in _parents(path)))


def _parents(path: bytes) -> Iterable[bytes]:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def is_mounted(path: Path) -> bool:
    return os.path.ismount(path)


@register
class Mount(Operation):
    word, grammar = "mount", "bare"
    text = "a file system in memory, with one file, is mounted over a folder with files"
    needs = "a folder with files in it; root"
    carries_itself_out = True
    makes_new = makes_gone = True

    @classmethod
    def points(cls, tree: Tree) -> list[bytes]:
        """Folders that may be hidden: with a file directly in them."""
        device = tree.entries[b"."].device
        parents = {e.path.rpartition(b"/")[0] for e in tree.files() if e.links == 1}
        return sorted(path for path in parents if path and tree.entries[path].device == device)

    @classmethod
    def available(cls, tree: Tree, mutation: Mutation | None = None) -> str:
        if os.geteuid() != 0:
            return "mounting needs root"
        if shutil.which("mount") is None or shutil.which("umount") is None:
            return "mount or umount is not installed"
        return "" if cls.points(tree) else "the tree has no folder with files in it"

    def carry_out(self, tree: Tree, mutation: Mutation, log: Path) -> oplog.Applied:
        if reason := self.available(tree, mutation):
            raise NotAvailable(f"mutation {mutation.text}: {reason}")
        if log.exists():
            raise MutationFailed(f"{log}: a mutation is already applied; undo it first")
        points = self.points(tree)
        at = len(points) // 2 if mutation.seed is None else random.Random(f"mount {mutation.seed}").randrange(len(points))
        folder = tree.entries[points[at]]
        point = Path(os.fsdecode(os.path.join(os.fsencode(tree.root), folder.path)))
        oplog.write_header(log, tree, mutation, carried_out_by=self.word, folder=os.fsdecode(folder.path))
        options = f"size=1m,mode={folder.mode:o},uid={folder.uid},gid={folder.gid}"
        done = run.run(["mount", "-t", "tmpfs", "-o", options, "pxarbench", point])
        if done.returncode != 0:
            oplog.undo(log, tree.root)
            raise NotAvailable(f"mutation {mutation.text}: {done.stderr.decode(errors='replace').strip()}")
        file = point / os.fsdecode(MOUNTED)
        file.write_bytes(b"on another file system\n" * 40)
        file.chmod(0o644)
        os.chown(file, folder.uid, folder.gid)
        mtime_ns = folder.mtime_ns + SECOND
        for path in (file, point):
            os.utime(path, ns=(mtime_ns, mtime_ns))
        after = scan(tree.root, known=tree)
        changes, gone = judge(tree, after)
        if not any(c.path == folder.path + b"/" + MOUNTED for c in changes):
            raise MutationFailed(f"mutation {mutation.text}: nothing is mounted at {point}")
        with open(log, "a", encoding="ascii") as out:
            out.write(json.dumps({"digest_after": after.digest()}) + "\n")
        return oplog.Applied(mutation, Oracle((), changes, gone), after)

    def take_back(self, header: dict[str, Any], log: Path, root: Path) -> None:
        point = root / header["folder"]
        while is_mounted(point):  # a crash between mount and log cannot be: the log comes first
            run.run(["umount", point]).check_ok()


# ---- what an archive makes of it ----


def as_pxar_sees(tree: Tree) -> Tree:
    """The entries that a pxar archive has to hold, and no others. For a tree without exclusions and mount points: `tree`."""
    out = excluded(tree) | beyond(tree)
    return Tree(tree.root, {p: e for p, e in tree.entries.items() if p not in out}) if out else tree


def for_pxar(before: Tree, applied: oplog.Applied) -> oplog.Applied:
    """The same mutation as an archive sees it. `before`: what the previous archive had to hold, `as_pxar_sees` at that time
    (it looks into .pxarexclude as it is on disk)."""
    if applied.mutation.operation not in (Exclude.word, Mount.word):
        return applied
    after = as_pxar_sees(applied.tree)
    changes, gone = judge(before, after)
    return replace(applied, tree=after, oracle=Oracle(applied.oracle.ops, changes, gone))


# ---- while a backup reads ----


class _WhileReading(Operation):
    grammar = "bare"
    during = True

    @classmethod
    def available(cls, tree: Tree, mutation: Mutation | None = None) -> str:
        return f"{cls.word} happens while a backup reads: see --suite during"


@register
class VanishDuring(_WhileReading):
    word, text = "vanish-during", "a file is removed while a backup reads"


@register
class ShrinkDuring(_WhileReading):
    word, text = "shrink-during", "a file gets shorter while a backup reads"


@register
class GrowDuring(_WhileReading):
    word, text = "grow-during", "a file gets longer while a backup reads"


@register
class RewriteDuring(_WhileReading):
    word, text = "rewrite-during", "a file gets other contents while a backup reads"


@register
class DenyDuring(_WhileReading):
    word, text = "deny-during", "a file may not be read any more, while a backup reads"
