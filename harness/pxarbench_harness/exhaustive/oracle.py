"""What a metadata run must find changed, from two models alone: bench/spec/change-detection.md 5 for an unharmed reference.

Old offsets never go back in here (a name keeps its place in the order), and one file system holds everything, so of the
predicate's rules those about names, kinds, attributes and sizes remain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .garden import File, Names, digest_of, first_names

#: What --decisions says of an unchanged file that is read again, for the sake of its neighbours.
COLLATERAL = frozenset({"threshold", "instances", "absorbed"})
#: What is said instead of these when the bytes turned out to be the old ones.
TOUCHED = "touched-but-identical"
ATTRIBUTES = frozenset({"mtime", "mode", "xattr", "xattr-value"})


@dataclass(frozen=True)
class Reference:
    """The snapshot before: what the tree was, and the SHA-256 of what was stored, which after a miss is something else."""

    names: Names
    digests: Mapping[bytes, str]  # of each file's first name


@dataclass(frozen=True)
class Verdict:
    reasons: Mapping[bytes, frozenset[str]]  # of each file that must be read: the words that may be said
    identical: Mapping[bytes, frozenset[str]]  # of these, the touched ones: the words that may be said of the difference
    missed: frozenset[bytes]  # count as unchanged, hold other bytes
    reusable: frozenset[bytes]


def _why(old: File, new: File, sees_xattrs: bool) -> set[str]:
    why = set()
    if len(old.content) != len(new.content):
        why.add("size")
    if old.mtime_ns != new.mtime_ns:
        why.add("mtime")
    if old.mode != new.mode:
        why.add("mode")
    if sees_xattrs and old.xattrs != new.xattrs:
        why.add("xattr")
        if {name for name, _ in old.xattrs} == {name for name, _ in new.xattrs}:
            why.add("xattr-value")  # the list comes in the file system's order, which a new value may change
    return why


def judge(reference: Reference, now: Names, *, sees_xattrs: bool = True) -> Verdict:
    reasons: dict[bytes, frozenset[str]] = {}
    identical: dict[bytes, frozenset[str]] = {}
    missed, reusable = set(), set()
    old_firsts = first_names(reference.names)
    for path, file in first_names(now).items():
        old = reference.names.get(path)
        if old is None:
            reasons[path] = frozenset({"new"})
        elif not isinstance(old, File):
            reasons[path] = frozenset({"type"})
        elif path not in old_firsts:
            reasons[path] = frozenset({"hardlink"})
        else:
            why = _why(old, file, sees_xattrs)
            is_same = reference.digests[path] == digest_of(file.content)
            if not why:
                reusable.add(path)
                if not is_same:
                    missed.add(path)
            elif is_same and why <= ATTRIBUTES:
                reasons[path], identical[path] = frozenset({TOUCHED}), frozenset(why)
            else:
                reasons[path] = frozenset(why)
    return Verdict(reasons, identical, frozenset(missed), frozenset(reusable))
