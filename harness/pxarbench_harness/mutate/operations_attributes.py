"""Operations that change what a listing shows besides contents and times; and a new inode with nothing else new."""

from __future__ import annotations

import os
import struct
import tempfile
from typing import ClassVar

from ..tree import Entry, Tree
from .draft import Draft, beside
from .operation import Operation, register
from .operations import change
from .plan import Mutation
from .primitives import CAPABILITY

ACL = "system.posix_acl_access"
OTHER_ID = 65534  # of users and groups; no account's files in any dataset
XATTR = "user.pxarbench"


def acl(mode: int, permission: int) -> bytes:
    """An access ACL with one named user, as the kernel hands it out. The mask is the group's part of `mode`, which stays."""
    nobody = 0xFFFF_FFFF
    entries = (
        (0x01, mode >> 6 & 7, nobody), (0x02, permission, OTHER_ID), (0x04, mode >> 3 & 7, nobody),
        (0x10, mode >> 3 & 7, nobody), (0x20, mode & 7, nobody),
    )  # fmt: skip
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def capability(number: int) -> bytes:
    """Permitted and effective, revision 2."""
    return struct.pack("<5I", 0x0200_0001, 1 << number, 0, 0, 0)


class _Attribute(Operation):
    """Sets an extended attribute to the first of two values that it does not have."""

    @classmethod
    def values(cls, e: Entry) -> tuple[str, bytes, bytes]:
        raise NotImplementedError

    @classmethod
    def available(cls, tree: Tree, mutation: Mutation | None = None) -> str:
        missing = super().available(tree, mutation)
        if missing:
            return missing
        name, value, _ = cls.values(next(iter(cls.candidates(tree, mutation).values())))
        # Beside the tree, not in it: the file systems are nearly always the same, and apply would notice if not.
        with tempfile.NamedTemporaryFile(prefix=".pxarbench-probe-", dir=tree.root.parent) as probe:
            try:
                os.setxattr(probe.name, name, value)
            except OSError as error:
                return f"{name} cannot be set here: {error.strerror}"
        return ""

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            name, one, other = self.values(e)
            value = other if dict(e.xattrs).get(name) == one else one
            change(draft, e, "xattr", mtime_ns=e.mtime_ns, value=f"{name}={value.hex()}")


def _without_acl(entry: Entry) -> bool:
    return all(name != ACL for name, _ in entry.xattrs)


@register
class Chmod(Operation):
    word, text, facets = "chmod", "the group's right to write is turned over", frozenset({"mode", "ctime"})
    needs = "regular file with one link, without an ACL"

    @classmethod
    def fits(cls, entry: Entry, mutation: Mutation | None) -> bool:
        return _without_acl(entry)  # with one, the group's rights are the ACL's mask

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            change(draft, e, "chmod", mtime_ns=e.mtime_ns, value=f"{e.mode ^ 0o020:o}")


@register
class CtimeOnly(Operation):
    word, text, facets = "ctime-only", "chmod there and back: only the inode's change time is new", frozenset({"ctime"})

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            change(draft, e, "chmod-back", mtime_ns=e.mtime_ns)


@register
class Chown(Operation):
    word, text, facets = "chown", f"owner and group {OTHER_ID} (or one less)", frozenset({"owner", "ctime"})

    @classmethod
    def available(cls, tree: Tree, mutation: Mutation | None = None) -> str:
        return super().available(tree, mutation) or ("" if os.geteuid() == 0 else "only root gives files away")

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            new = OTHER_ID if e.uid != OTHER_ID else OTHER_ID - 1
            change(draft, e, "chown", mtime_ns=e.mtime_ns, value=f"{new}:{new}")


@register
class Acl(_Attribute):
    word, text, facets = "acl", f"an access ACL that names user {OTHER_ID}; the mode stays", frozenset({"acl", "ctime"})
    needs = "regular file with one link (on a file system with ACLs)"

    @classmethod
    def values(cls, e: Entry) -> tuple[str, bytes, bytes]:
        return ACL, acl(e.mode, 4), acl(e.mode, 6)


@register
class Capability(_Attribute):
    word, text, facets = "capability", "a file capability", frozenset({"fcaps", "ctime"})
    needs = "regular file with one link (and the right to set capabilities)"

    @classmethod
    def values(cls, e: Entry) -> tuple[str, bytes, bytes]:
        return CAPABILITY, capability(13), capability(10)  # net_raw, net_bind_service


@register
class Xattr(_Attribute):
    word, text, facets = "xattr", f"one more extended attribute, {XATTR}", frozenset({"xattr", "ctime"})
    needs = "regular file with one link (on a file system with user attributes)"

    @classmethod
    def values(cls, e: Entry) -> tuple[str, bytes, bytes]:
        return XATTR, b"one", b"two"


@register
class XattrValue(Operation):
    word, text, facets = "xattr-value", "another value of an extended attribute", frozenset({"xattr", "ctime"})
    needs = "regular file with one link that has a user attribute"

    @classmethod
    def fits(cls, entry: Entry, mutation: Mutation | None) -> bool:
        return any(name.startswith("user.") for name, _ in entry.xattrs)

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            name, value = next(x for x in e.xattrs if x[0].startswith("user."))
            other = bytes([value[0] ^ 1]) + value[1:] if value else b"1"
            change(draft, e, "xattr", mtime_ns=e.mtime_ns, value=f"{name}={other.hex()}")


@register
class AtomicReplace(Operation):
    word, text = "atomic-replace", "another inode with the same contents and attributes takes the name"
    facets: ClassVar[frozenset[str]] = frozenset({"inode", "ctime"})

    def plan(self, draft: Draft) -> None:
        for number, e in enumerate(draft.choose()):
            change(draft, e, "replace", mtime_ns=e.mtime_ns, to=beside(e.path, b".pxarbench-%d" % number))


