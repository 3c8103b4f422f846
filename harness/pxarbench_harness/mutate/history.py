"""`replay:FROM..TO`: a tree goes from one of its real versions to another, as a checkout or an rsync would leave it.

Two kinds of trees have versions: a dataset with steps beside it (datasets/steps.py; labels or numbers, 0 is the tree as
prepared), and a working copy with its .git (any revisions). FROM is what the tree must be now.

Times follow one rule, whatever the clock says: an entry with the same kind and contents keeps its time; what is new or
changed has that of the new version (of git: its commit's), so has a folder in which a name came or went. Modes of a
checkout do not follow the umask, and git's index is written without inode numbers: two machines get the same tree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import run
from ..tree import Entry, Tree, scan
from . import oplog, wholly
from .operation import MutationFailed, NotAvailable, Operation, register
from .oracle import Oracle, judge
from .plan import Mutation

if TYPE_CHECKING:
    from ..datasets.steps import Step

SECOND = 1_000_000_000

_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "TZ": "UTC",
    "GIT_OPTIONAL_LOCKS": "0", "GIT_COMMITTER_NAME": "pxarbench", "GIT_COMMITTER_EMAIL": "pxarbench@localhost",
}  # fmt: skip


def split(argument: str) -> tuple[str, str]:
    """FROM and TO. NotAvailable when it is not of this form."""
    origin, dots, target = argument.partition("..")
    if not (dots and origin and target):
        raise NotAvailable(f"replay:{argument}: expected replay:FROM..TO")
    return origin, target


def has_git(tree: Tree) -> bool:
    return (tree.root / ".git").is_dir()


def steps_of(tree: Tree) -> tuple[Step, ...]:
    from ..datasets import steps

    return steps.of(tree.root.parent)


def labels(tree: Tree) -> list[str]:
    """Of a tree with steps: what FROM and TO may be, the tree as prepared first."""
    return ["0", *(step.label for step in steps_of(tree))]


def single_steps(mutation: Mutation, tree: Tree) -> tuple[Mutation, ...]:
    """The same way, one version at a time: what a series of backups goes through."""
    origin, target = split(mutation.argument)
    if has_git(tree):
        words = ["rev-list", "--first-parent", "--reverse", f"{origin}..{target}"]
        path = [_commit(tree.root, origin), *_git(tree.root, *words).split()]
    else:
        steps = steps_of(tree)
        path = [str(n) for n in range(_number(steps, origin), _number(steps, target) + 1)]
    if len(path) < 2:
        raise NotAvailable(f"{mutation.text}: there is no way from {origin} forward to {target}")
    return tuple(replace(mutation, argument=f"{a}..{b}") for a, b in zip(path, path[1:], strict=False))


@register
class Replay(Operation):
    word, grammar = "replay", "argument"
    text = "from one real version of the tree to another: steps of a dataset, or revisions of a git working copy"
    needs = "FROM..TO"
    carries_itself_out = True
    makes_new = makes_gone = True

    @classmethod
    def available(cls, tree: Tree, mutation: Mutation | None = None) -> str:
        try:
            if has_git(tree):
                if mutation is not None:
                    for revision in split(mutation.argument):
                        _commit(tree.root, revision)
            elif not steps_of(tree):
                return "the tree has no history: neither later versions beside it nor a .git"
            elif mutation is not None:
                for word in split(mutation.argument):
                    _number(steps_of(tree), word)
        except (NotAvailable, run.CommandFailed) as reason:
            return str(reason)
        return ""

    def carry_out(self, tree: Tree, mutation: Mutation, log: Path) -> oplog.Applied:
        if reason := self.available(tree, mutation):
            raise NotAvailable(f"mutation {mutation.text}: {reason}")
        after = _checkout(tree, mutation, log) if has_git(tree) else _steps(tree, mutation, log)
        changes, gone = judge(tree, after)
        with open(log, "a", encoding="ascii") as out:
            out.write(json.dumps({"digest_after": after.digest()}) + "\n")
            out.flush()
            os.fsync(out.fileno())
        return oplog.Applied(mutation, Oracle((), changes, gone), after)

    def take_back(self, header: dict[str, Any], log: Path, root: Path) -> None:
        wholly.put_back(log, root)


# ---- versions of a dataset ----


def _number(steps: Sequence[Step], word: str) -> int:
    if word.isdecimal() and int(word) <= len(steps):
        return int(word)
    for step in steps:
        if step.label == word:
            return step.number
    raise NotAvailable(f"there is no version {word!r}; there are 0 to {len(steps)}, {', '.join(s.label for s in steps)}")


def _steps(tree: Tree, mutation: Mutation, log: Path) -> Tree:
    steps = steps_of(tree)
    origin, target = (_number(steps, word) for word in split(mutation.argument))
    if target <= origin:
        raise NotAvailable(f"mutation {mutation.text}: versions are replayed forward")
    if tree.digest() != steps[origin].previous:  # of step origin + 1, which stands at `origin`
        raise NotAvailable(f"mutation {mutation.text}: the tree is not at version {origin}")
    wanted = steps[target - 1].manifest(tree.root)
    source: dict[bytes, Path] = {}
    for step in steps[origin:target]:
        for entry in step.manifest(tree.root).entries.values():
            if entry.kind == "file" and not entry.link_to and step.contents(entry.path).exists():
                source[entry.path] = step.contents(entry.path)
    leaving = [p for p, e in tree.entries.items() if e.kind == "file" and _goes(e, wanted.entries.get(p))]
    wholly.keep(tree, leaving, log)
    oplog.write_header(log, tree, mutation, carried_out_by=Replay.word)
    wholly.become(tree, wanted, source.__getitem__)
    after = scan(tree.root, known=tree)
    if after.digest() != steps[target - 1].digest:
        raise MutationFailed(f"mutation {mutation.text}: the tree did not become version {steps[target - 1].label}")
    return after


def _goes(old: Entry, new: Entry | None) -> bool:
    return new is None or new.kind != "file" or (old.size, old.digest, old.link_to) != (new.size, new.digest, new.link_to)


# ---- git ----


def _git(root: Path, *words: str, seconds: int = 0) -> str:
    command = [
        "git", "-c", f"safe.directory={root}", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false",
        "-c", "core.autocrlf=false", "-c", "core.fileMode=true", "-c", "core.logAllRefUpdates=false", "-c", "gc.auto=0",
        "-c", "advice.detachedHead=false", "-c", "checkout.workers=1", "-C", os.fspath(root), *words,
    ]  # fmt: skip
    return run.run(command, env={**_ENVIRONMENT, "GIT_COMMITTER_DATE": f"{seconds} +0000"}).check_ok().text


def _commit(root: Path, revision: str) -> str:
    if revision.startswith("-"):
        raise NotAvailable(f"{revision!r} is no revision")
    try:
        return _git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except run.CommandFailed:
        raise NotAvailable(f"the repository has no revision {revision!r}") from None


def _changed_names(root: Path, origin: str, target: str) -> list[bytes]:
    """Tracked names that a checkout changes or removes."""
    names = _git(root, "diff", "--name-only", "--no-renames", "-z", origin, target).split("\0")
    return [os.fsencode(name) for name in names if name]


def _checkout(tree: Tree, mutation: Mutation, log: Path) -> Tree:
    root = tree.root
    origin, target = (_commit(root, revision) for revision in split(mutation.argument))
    if _commit(root, "HEAD") != origin:
        raise NotAvailable(f"mutation {mutation.text}: the working copy is at another revision")
    seconds = int(_git(root, "show", "--no-patch", "--format=%ct", target))
    leaving = [
        *_changed_names(root, origin, target),
        *(p for p in tree.entries if p.startswith(b".git/") and not p.startswith(b".git/objects/")),
    ]
    wholly.keep(tree, leaving, log)
    oplog.write_header(log, tree, mutation, carried_out_by=Replay.word)
    _git(root, "checkout", "--quiet", "--detach", target, seconds=seconds)
    _git(root, "read-tree", target)  # an index that knows no inode and no time
    found = scan(root, known=tree)
    by_rule = _by_rule(tree, found, seconds * SECOND)
    wholly.become(found, by_rule, lambda path: Path(os.fsdecode(path)))
    after = scan(root, known=found)
    if after.digest() != by_rule.digest():
        raise MutationFailed(f"mutation {mutation.text}: times and modes could not be set by rule")
    return after


def _same(old: Entry | None, new: Entry) -> bool:
    return old is not None and (old.kind, old.digest, old.target) == (new.kind, new.digest, new.target)


def _by_rule(before: Tree, found: Tree, mtime_ns: int) -> Tree:
    """The listing after a checkout, without what the clock, the umask and the user put into it."""
    moved = {
        os.path.dirname(path) or b"."
        for path in before.entries.keys() | found.entries.keys()
        if path != b"." and (path not in before.entries or path not in found.entries
                             or before.entries[path].kind != found.entries[path].kind)
    }  # fmt: skip
    ruled: dict[bytes, Entry] = {}
    for path, entry in found.entries.items():
        old = before.entries.get(path)
        folder = os.path.dirname(path) or b"."
        owner = old or before.entries.get(folder) or ruled.get(folder) or before.entries[b"."]
        kept = old is not None and _same(old, entry) and path not in moved
        mode = entry.mode
        if entry.kind == "file":
            mode = 0o755 if entry.mode & 0o100 else 0o644
        elif entry.kind == "directory":
            mode = 0o755
        if old is not None and old.kind == entry.kind and not (entry.kind == "file" and (old.mode ^ entry.mode) & 0o100):
            mode = old.mode
        ruled[path] = replace(
            entry, mode=mode, uid=owner.uid, gid=owner.gid, mtime_ns=old.mtime_ns if old is not None and kept else mtime_ns
        )
    return Tree(found.root, ruled)
