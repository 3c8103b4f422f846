"""Decisions about files with several names, of programs that know them by name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pxarbench_harness import check
from pxarbench_harness.mutate.oracle import Change, Oracle
from pxarbench_harness.tree import Entry, Tree

LOOKS_AT = frozenset({"size", "mtime", "name", "type", "hardlink"})


def file(path: bytes, **fields: Any) -> Entry:
    return Entry(path=path, kind="file", mode=0o644, uid=0, gid=0, mtime_ns=1, size=5, digest="d", **fields)


TREE = Tree(
    Path("/"), {e.path: e for e in (file(b"a", links=2), file(b"b", link_to=b"a", links=2), file(b"c"), file(b"d"), file(b"e"))}
)
NEW_NAME = Change(b"a", frozenset({"name", "content"}), 5, 0)


def subject(**values: Any) -> Any:
    return SimpleNamespace(**{
        "reads_everything": False, "counts_names": False, "keeps_one_name": False, "deterministic": False,
        "looks_at": lambda filesystem: LOOKS_AT, **values,
    })  # fmt: skip


def said(who: Any, read: set[bytes], *changes: Change, by_name: tuple[Change, ...] | None = None) -> list[str]:
    outcome: Any = SimpleNamespace(reencoded_files=None, collateral_files=0)
    oracle = Oracle(changes=changes, by_name=by_name)
    return check.decisions(who, check.Read(frozenset(read), frozenset(), len(read)), outcome, oracle, TREE, "ext4")


def test_one_name_is_kept() -> None:
    """borg knows a file again under whichever name it meets first; of a file with one name there is no such choice."""
    assert said(subject(keeps_one_name=True), set(), NEW_NAME) == []
    assert said(subject(keeps_one_name=True), {b"a"}, NEW_NAME) == []
    assert said(subject(), set(), NEW_NAME) == ["decisions: 1 changed files were reused, the first is a"]
    single = Change(b"c", frozenset({"name", "content"}), 5, 0)
    assert said(subject(keeps_one_name=True), set(), single) == ["decisions: 1 changed files were reused, the first is c"]
    written = Change(b"a", frozenset({"content", "size", "mtime"}), 5, 4)
    assert said(subject(keeps_one_name=True), set(), written) == ["decisions: 1 changed files were reused, the first is a"]
    formerly = Change(b"c", frozenset({"hardlink"}), 5, 5)
    assert said(subject(keeps_one_name=True), set(), formerly) == []


def test_every_name_counts() -> None:
    """restic reads a new name of an old file, which is no needless reading that nobody expected."""
    later = (Change(b"b", frozenset({"name", "content"}), 5, 0),)
    who = subject(counts_names=True)
    assert said(who, {b"a"}, by_name=later) == []
    assert said(who, {b"c"}, by_name=later) == ["decisions: 1 files were read again for nothing, the first is c"]
    outcome: Any = SimpleNamespace(reencoded_files=1, collateral_files=0)
    read = check.Read(frozenset({b"a"}), frozenset(), 1)
    verdict = check.verdict(who, Oracle(by_name=later), "ext4", TREE, outcome, read, frozenset())
    assert verdict is not None and (verdict["needless"], verdict["expected_needless"]) == (1, 1)
