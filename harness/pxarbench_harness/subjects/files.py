"""Small things that several subjects need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from .. import tree


def originals(printed: Iterable[str], root: Path, prints: Callable[[bytes], str], lossy: str) -> frozenset[bytes]:
    """Paths below `root` of files as a program printed them (absolute; others are dropped). `prints`: what it makes of a path;
    `lossy`: the character that may stand for what it could not print. Where two files print alike, one is taken."""
    top = os.fsencode(root) + b"/"
    names = frozenset(printed)
    found = {os.fsencode(name) for name in names if lossy not in name}
    doubtful = {name for name in names if lossy in name}
    if doubtful:
        for folder, _, files in os.walk(os.fsencode(root)):
            for name in files:
                path = os.path.join(folder, name)
                if prints(path) in doubtful:
                    found.add(path)
    return frozenset(path.removeprefix(top) for path in found if path.startswith(top))


def first_names(paths: Iterable[bytes], root: Path) -> frozenset[bytes]:
    """The same files, each under its first name: programs come upon the names of a file in an order of their own."""
    wanted = frozenset(paths)
    linked = {path for path in wanted if _links(os.path.join(os.fsencode(root), path)) > 1}
    if not linked:
        return wanted
    entries = tree.scan(root, contents=False).entries
    return wanted - linked | frozenset(entries[path].link_to or path for path in linked)


def _links(path: bytes) -> int:
    try:
        return os.lstat(path).st_nlink
    except FileNotFoundError:  # gone since
        return 0


def keeping_errors(words: Iterable[str], errors: Path) -> tuple[str, ...]:
    """The command with what it writes to standard error in a file; after a failure also on standard error."""
    script = '"$@" 2>"$0"; code=$?; [ $code -eq 0 ] || cat "$0" >&2; exit $code'
    return ("sh", "-c", script, os.fspath(errors), *words)
