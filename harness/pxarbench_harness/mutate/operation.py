"""What an operation is: its words, what it needs, what it declares; and the registry that other modules extend.

An operation (`edit`, `rename`, ...) turns a tree and the words of a mutation into a list of `Op`: primitive steps
(primitives.py) with everything needed to perform them again elsewhere. It changes nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..tree import Entry, Tree
from .oracle import FACETS

if TYPE_CHECKING:
    from .draft import Draft
    from .oplog import Applied
    from .plan import Mutation

SECOND = 1_000_000_000

#: What `judge` says of a file that has a new name.
NEW = frozenset({"name", "content", "size", "mtime", "ctime", "inode"})


class MutationFailed(Exception):
    """The tree is not what the mutation was to make of it."""


class NotAvailable(MutationFailed):
    """The tree or the machine has not what the operation needs. Nothing was changed."""


class AlteredByOthers(Exception):
    """A file is in a state that neither the mutation nor its undoing leaves behind: nothing was done to it."""


@dataclass(frozen=True)
class Op:
    """One primitive step. Which fields matter depends on `how`; paths are relative to the root, sizes in bytes."""

    path: bytes
    op: str  # the operation's word
    size_before: int = 0
    size_after: int = 0
    mtime_ns_before: int = 0
    mtime_ns_after: int = 0
    how: str = "touch"  # of primitives.PRIMITIVES
    to: bytes = b""  # the other name: of a rename, an exchange, a link
    source: bytes = b""  # whose contents a new file gets
    at: int = 0
    amount: int = 0
    value: str = ""  # mode (octal), owner (uid:gid), attribute (name=hex), link target, filler
    seed: int = 0

    def key(self) -> bytes:
        """New contents are drawn from it."""
        # The time tells the generations of one file apart.
        return b"%b %d %d %b" % (self.op.encode(), self.seed, self.mtime_ns_after, self.path)


_NAMES = ("path", "to", "source")
_DEFAULTS = {f.name: f.default for f in fields(Op)}


def op_values(op: Op) -> dict[str, Any]:
    """For JSON; what has its default is left out."""
    values: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(op, name)
        if value != default or name in ("path", "op", "how"):
            values[name] = _text(value) if name in _NAMES else value
    return values


def _text(path: bytes) -> str:
    """As os.fsdecode in a UTF-8 locale, in every locale."""
    return path.decode("utf-8", "surrogateescape")


def op_of(values: dict[str, Any]) -> Op:
    return Op(**{n: v.encode("utf-8", "surrogateescape") if n in _NAMES else v for n, v in values.items()})


#: name -> class. Modules add theirs with `@register`.
OPERATIONS: dict[str, type[Operation]] = {}


def register(cls: type[Operation]) -> type[Operation]:
    """`cls.word` becomes a word of the grammar."""
    assert cls.word and cls.word not in OPERATIONS, cls
    assert cls.facets <= FACETS and cls.sometimes <= FACETS, cls
    if cls.carries_itself_out:
        assert cls.carry_out is not Operation.carry_out, cls  # one that writes a log of steps is taken back as any other
    elif not cls.during:
        assert cls.plan is not Operation.plan, cls
    OPERATIONS[cls.word] = cls
    return cls


class Operation:
    """Subclasses fill the class attributes and `plan`.

    grammar   "rate": OP:RATE%[:LAYOUT]...; "bare": the word alone; "argument": OP:anything
    facets    declared: what differs (oracle.FACETS) about every file that it changes, under the name it has afterwards;
              `sometimes`: what differs for some of them. A file may be declared new (NEW), another one gone.
    """

    word: ClassVar[str] = ""
    text: ClassVar[str] = ""  # one sentence
    needs: ClassVar[str] = ""  # what tree or machine must have; "": a regular file with one link
    grammar: ClassVar[str] = "rate"
    facets: ClassVar[frozenset[str]] = frozenset()
    sometimes: ClassVar[frozenset[str]] = frozenset()
    makes_new: ClassVar[bool] = False  # files under new names, declared NEW
    makes_gone: ClassVar[bool] = False
    during: ClassVar[bool] = False  # happens while a backup reads
    minimum: ClassVar[int] = 0  # size of a candidate

    @classmethod
    def candidates(cls, tree: Tree, mutation: Mutation | None = None) -> dict[bytes, Entry]:
        """What is chosen from, RATE % of it. Files that chattr protects are left out."""
        return {
            e.path: e
            for e in tree.entries.values()
            if e.kind == "file" and e.links == 1 and not e.flags and e.size >= cls.minimum and cls.fits(e, mutation)
        }

    @classmethod
    def fits(cls, entry: Entry, mutation: Mutation | None) -> bool:
        return True

    @classmethod
    def available(cls, tree: Tree, mutation: Mutation | None = None) -> str:
        """Why it cannot be done to this tree, here; "" when it can."""
        if cls.grammar == "rate" and not cls.candidates(tree, mutation):
            return f"the tree has no {cls.needs or 'regular file with one link'}"
        return ""

    def plan(self, draft: Draft) -> None:
        """Adds Ops. NotAvailable."""
        raise NotImplementedError

    # An operation that is no list of Ops (a git replay, a mount) overrides the next two. It must write `log` with
    # oplog.write_header(log, ..., carried_out_by=word) before its first change.

    carries_itself_out: ClassVar[bool] = False

    def carry_out(self, tree: Tree, mutation: Mutation, log: Path) -> Applied:
        raise NotImplementedError

    def take_back(self, header: dict[str, Any], log: Path, root: Path) -> None:
        """From any point of carry_out, and twice. The engine removes the log afterwards."""
        raise NotImplementedError
