"""What a mutation knows: what every backup has to notice, and what each way of looking must miss.

Two sources that must agree: the operations declare what they do (operations.py), and `judge` compares the listings of the
tree before and after. From both follows, for a detection that looks at certain facets of a file, which files it has to
read again, which changed contents it cannot see, and which files it reads for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..tree import Entry, Tree

if TYPE_CHECKING:
    from .operations import Op

#: What can differ about a regular file, between the last backup and now. "name": there was nothing of this name. "type":
#: there was something that is no file. "hardlink": it was there, but as a later name of a file with several (its bytes were
#: stored under the first one). "inode": it is another inode, perhaps with equal contents.
FACETS = frozenset({
    "content", "size", "mtime", "ctime", "inode", "mode", "owner", "xattr", "acl", "fcaps", "flags", "project", "name",
    "type", "hardlink",
})  # fmt: skip

#: What mode metadata compares (bench/spec/change-detection.md 5).
PXAR_LOOKS_AT = FACETS - {"content", "ctime", "inode"}

_ACL = frozenset({"system.posix_acl_access", "system.posix_acl_default"})
_FCAPS = frozenset({"security.capability"})


@dataclass(frozen=True)
class Change:
    """A regular file (under its first name) that is not what it was."""

    path: bytes
    differs: frozenset[str]  # of FACETS, never empty
    size: int  # now
    size_before: int

    @property
    def content_changed(self) -> bool:
        return "content" in self.differs

    @property
    def attributes_changed(self) -> bool:
        return bool(self.differs & (PXAR_LOOKS_AT - {"size", "name", "type", "hardlink"}))

    @property
    def seen_by_size_and_mtime(self) -> bool:
        return bool(self.differs & {"size", "mtime", "name", "type"})

    def noticed_by(self, looks_at: frozenset[str]) -> bool:
        return bool(self.differs & looks_at)


@dataclass(frozen=True)
class Oracle:
    """What a mutation did. Empty for none."""

    ops: tuple[Op, ...] = ()
    changes: tuple[Change, ...] = ()  # in order of path
    gone: frozenset[bytes] = frozenset()  # first names of files that are there no more
    #: The same changes for programs to which every name of a file is a file (judge_names); None: not known.
    by_name: tuple[Change, ...] | None = None

    def noticed_by(self, looks_at: frozenset[str]) -> tuple[Change, ...]:
        """The files that a detection which looks at these facets has to read again."""
        return tuple(c for c in self.changes if c.noticed_by(looks_at))

    def missed_by(self, looks_at: frozenset[str]) -> tuple[Change, ...]:
        """Files with other contents that it cannot see: expected misses."""
        return tuple(c for c in self.changes if c.content_changed and not c.noticed_by(looks_at))

    def needless_for(self, looks_at: frozenset[str]) -> tuple[Change, ...]:
        """Files with the old contents that it reads all the same."""
        return tuple(c for c in self.changes if not c.content_changed and c.noticed_by(looks_at))

    @cached_property
    def content_changed(self) -> frozenset[bytes]:
        return frozenset(c.path for c in self.changes if c.content_changed)

    @property
    def necessary_bytes(self) -> int:
        """Of files whose contents changed: nobody can store the tree without reading these."""
        return sum(c.size for c in self.changes if c.content_changed)

    # ---- for mode metadata of pxar archives ----

    @cached_property
    def must_be_reread(self) -> frozenset[bytes]:
        return frozenset(c.path for c in self.noticed_by(PXAR_LOOKS_AT))

    @property
    def files(self) -> int:
        return len(self.must_be_reread)

    @property
    def bytes(self) -> int:
        """That have to be read again."""
        return sum(c.size for c in self.noticed_by(PXAR_LOOKS_AT))


def _xattr_facets(old: Entry, new: Entry) -> set[str]:
    found = set()
    for wanted, facet in ((_ACL, "acl"), (_FCAPS, "fcaps")):
        if [x for x in old.xattrs if x[0] in wanted] != [x for x in new.xattrs if x[0] in wanted]:
            found.add(facet)
    special = _ACL | _FCAPS
    if [x for x in old.xattrs if x[0] not in special] != [x for x in new.xattrs if x[0] not in special]:
        found.add("xattr")
    return found


def _differs(old: Entry | None, new: Entry) -> frozenset[str]:
    if old is None:
        return frozenset({"name", "content", "size", "mtime", "ctime", "inode"})
    if old.kind != "file":
        return frozenset({"type", "content", "size", "mtime", "ctime", "inode"})
    found = _xattr_facets(old, new)
    if old.link_to:
        found.add("hardlink")
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("content", (old.size, old.digest), (new.size, new.digest)),
        ("size", old.size, new.size),
        ("mtime", old.mtime_ns, new.mtime_ns),
        ("ctime", old.ctime_ns, new.ctime_ns),
        ("inode", (old.device, old.inode), (new.device, new.inode)),
        ("mode", old.mode, new.mode),
        ("owner", (old.uid, old.gid), (new.uid, new.gid)),
        ("flags", old.flags, new.flags),
        ("project", old.project, new.project),
    )
    found.update(name for name, a, b in pairs if a != b)
    return frozenset(found)


def judge(before: Tree, after: Tree) -> tuple[tuple[Change, ...], frozenset[bytes]]:
    """All files that differ between two listings with digests, and the first names that are gone.

    Hardlinks: the names of a file count as one, under the first of them in the order of `after`. A file that lost or gained
    a name without anything else happening to it differs in "ctime" only.
    """
    changes = []
    for entry in after.files():
        old = before.entries.get(entry.path)
        differs = _differs(old, entry)
        if differs:
            changes.append(Change(entry.path, differs, entry.size, old.size if old is not None and old.kind == "file" else 0))
    now = {e.path for e in after.files()}
    gone = frozenset(e.path for e in before.files() if e.path not in now)
    return tuple(changes), gone


def judge_names(before: Tree, after: Tree) -> tuple[Change, ...]:
    """Like judge's changes, but every name counts as a file of its own: nothing ever differs in "hardlink", and a name that
    an old file gained differs in "name"."""
    changes = []
    for entry in after.entries.values():
        if entry.kind != "file":
            continue
        old = before.entries.get(entry.path)
        differs = _differs(old, entry) - {"hardlink"}
        if differs:
            changes.append(Change(entry.path, differs, entry.size, old.size if old is not None and old.kind == "file" else 0))
    return tuple(changes)


def described(changes: Iterable[Change]) -> dict[str, int]:
    """How many files differ in each facet, for a record."""
    counted: dict[str, int] = {}
    for change in changes:
        for facet in sorted(change.differs):
            counted[facet] = counted.get(facet, 0) + 1
    return dict(sorted(counted.items()))
