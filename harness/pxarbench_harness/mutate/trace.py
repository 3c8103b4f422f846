"""`trace:FILE`: changes that were recorded elsewhere, made again.

FILE is an operation log of this harness, which needs an equal tree and leads to an equal one; or a trace of anybody's, JSON
lines, one change each, in order:

    {"op": "append", "path": "a/b", "bytes": 100}
    {"op": "write", "path": "a/b", "offset": 4096, "bytes": 8192}      behind the end it appends; no holes
    {"op": "truncate", "path": "a/b", "size": 10}                      never larger
    {"op": "create", "path": "a/c", "bytes": 5000, "mode": "0644"}
    {"op": "mkdir", "path": "a/d", "mode": "0755"}
    {"op": "delete", "path": "a/c"}                                    a name of a file, symlink, ...
    {"op": "rename", "path": "a/b", "to": "a/e"}                       what is at `to` goes, as with rename(2)
    {"op": "exchange", "path": "a", "to": "b"}
    {"op": "link", "path": "a/b", "to": "a/f"}
    {"op": "symlink", "path": "a/g", "target": "b"}
    {"op": "touch", "path": "a/b"}
    {"op": "chmod", "path": "a/b", "mode": "0600"}
    {"op": "chown", "path": "a/b", "uid": 1000, "gid": 1000}
    {"op": "setxattr", "path": "a/b", "name": "user.x", "value": "6869"}   in hex

Paths are relative to the tree. `mtime_ns` may say when; else every change comes a second after the file's last one: times
never come from the clock. A trace says where bytes changed and not to what: new contents are noise, drawn from path and
line, so one trace makes the same tree on every machine. A first line {"schema": "pxarbench-trace/1"} may be there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..tree import Entry, Tree
from . import oplog
from .draft import Draft, folder_of
from .operation import SECOND, MutationFailed, NotAvailable, Op, Operation, register
from .oracle import FACETS
from .plan import Mutation
from .primitives import owner_text

SCHEMA = "pxarbench-trace/1"
_MOST_BYTES = 1 << 40


def schema_of(file: Path) -> str:
    """Of its first line. NotAvailable: the file cannot be read, or is neither."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            first = json.loads(lines.readline())
    except (OSError, ValueError) as error:
        raise NotAvailable(f"{file}: {error}") from None
    schema = first.get("schema", SCHEMA if "op" in first else None) if isinstance(first, dict) else None
    if schema not in (SCHEMA, oplog.SCHEMA):
        raise NotAvailable(f"{file}: its first line is neither of {SCHEMA} nor of {oplog.SCHEMA}")
    return str(schema)


@register
class Trace(Operation):
    word, grammar = "trace", "argument"
    text = "changes that were recorded: an operation log, or a trace of any system"
    needs = "FILE"
    sometimes = FACETS
    makes_new = makes_gone = True
    carries_itself_out = True

    @classmethod
    def available(cls, tree: Tree, mutation: Mutation | None = None) -> str:
        try:
            if mutation is not None:
                schema_of(Path(mutation.argument))
        except NotAvailable as reason:
            return str(reason)
        return ""

    def carry_out(self, tree: Tree, mutation: Mutation, log: Path) -> oplog.Applied:
        file = Path(mutation.argument)
        if schema_of(file) == oplog.SCHEMA:
            return replace(oplog.replay(file, tree, log), mutation=mutation)
        draft = Draft(tree, mutation, log)
        translate(file, draft)
        draft.close()
        if not draft.ops:
            return oplog.Applied(mutation, oplog.Oracle(), tree)
        prepared = oplog.prepare(draft, log)  # from here on undoing works as after every list of steps
        prepared.perform()
        return prepared.finish()


def translate(file: Path, draft: Draft) -> None:
    """Adds the steps. MutationFailed names file and line; nothing is changed."""
    with open(file, encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
                if "schema" in values and number == 1:
                    continue
                _STEPS[values["op"]](_Line(values, number, draft))
            except KeyError as missing:
                raise MutationFailed(f"{file}: line {number}: no or unknown {missing}") from None
            except (ValueError, TypeError, MutationFailed) as error:
                raise MutationFailed(f"{file}: line {number}: {error}") from None


class _Line:
    def __init__(self, values: dict[str, Any], number: int, draft: Draft) -> None:
        self.values, self.number, self.draft = values, number, draft
        self.path = self.name("path")

    def name(self, field: str) -> bytes:
        text = self.values[field]
        if not isinstance(text, str):
            raise ValueError(f"{field} is no text")
        path = text.encode("utf-8", "surrogateescape")
        if not path or path.startswith(b"/") or {b"", b".", b".."} & set(path.split(b"/")) or b"\0" in path:
            raise ValueError(f"{field} {text!r} is no plain path below the tree")
        return path

    def count(self, field: str) -> int:
        value = self.values[field]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_BYTES:
            raise ValueError(f"{field} is {value!r}, expected 0 to 2^40")
        return value

    def mode(self, default: str) -> int:
        mode = int(self.values.get("mode", default), 8)
        if not 0 <= mode <= 0o7777:
            raise ValueError(f"mode {mode:o}")
        return mode

    def file(self) -> Entry:
        entry = self.draft.need(self.path)
        if entry.kind != "file" or entry.links > 1:
            raise ValueError(f"{self.values['path']} is no regular file with one link")
        return entry

    def later(self, entry: Entry) -> int:
        return int(self.values.get("mtime_ns", entry.mtime_ns + SECOND))

    def add(self, how: str, entry: Entry, **more: Any) -> None:
        """A step on an entry that is there; its size and time stay unless `more` says otherwise."""
        before = {"size_before": entry.size, "size_after": entry.size}
        before |= {"mtime_ns_before": entry.mtime_ns, "mtime_ns_after": entry.mtime_ns}
        self.draft.add(Op(self.path, Trace.word, **{**before, "seed": self.number, "how": how, **more}))

    def fresh(self, how: str, mode: int, **more: Any) -> None:
        folder = self.draft.need(folder_of(self.path))
        made = {"value": owner_text(folder, mode), "mtime_ns_after": self.later(folder), "seed": self.number, "how": how}
        self.draft.add(Op(self.path, Trace.word, **{**made, **more}))


def _append(line: _Line) -> None:
    entry, amount = line.file(), line.count("bytes")
    if amount:
        line.add("append", entry, size_after=entry.size + amount, amount=amount, mtime_ns_after=line.later(entry))


def _write(line: _Line) -> None:
    entry, at, amount = line.file(), line.count("offset"), line.count("bytes")
    if at > entry.size:
        raise ValueError(f"offset {at} lies behind the end, at {entry.size}: that would make a hole")
    inside = min(amount, entry.size - at)
    if inside:
        line.add("write", entry, at=at, amount=inside, mtime_ns_after=line.later(entry))
    if amount > inside:
        line.values["bytes"] = amount - inside
        _append(line)


def _truncate(line: _Line) -> None:
    entry, size = line.file(), line.count("size")
    if size > entry.size:
        raise ValueError(f"size {size} is larger than {entry.size}")
    if size < entry.size:
        line.add("truncate", entry, size_after=size, mtime_ns_after=line.later(entry))


def _delete(line: _Line) -> None:
    entry = line.draft.need(line.path)
    if entry.kind == "directory":
        raise ValueError("folders are not deleted; name what is in them")
    line.add("delete", entry)


def _rename(line: _Line) -> None:
    to = line.name("to")
    there = line.draft.entry(to)
    if there is not None:
        if there.kind == "directory":
            raise ValueError(f"{line.values['to']} is a folder")
        line.draft.add(Op(to, Trace.word, there.size, there.size, there.mtime_ns, there.mtime_ns, "delete"))
    line.add("rename", line.draft.need(line.path), to=to)


def _touch(line: _Line) -> None:
    entry = line.draft.need(line.path)
    line.add("touch", entry, mtime_ns_after=line.later(entry))


def _symlink(line: _Line) -> None:
    folder = line.draft.need(folder_of(line.path))
    line.fresh("symlink", 0o777, value=f"{folder.uid}:{folder.gid}:{line.values['target']}")


def _setxattr(line: _Line) -> None:
    value = bytes.fromhex(line.values["value"]).hex()
    line.add("xattr", line.draft.need(line.path), value=f"{line.values['name']}={value}")


_STEPS: dict[str, Callable[[_Line], None]] = {
    "append": _append,
    "write": _write,
    "truncate": _truncate,
    "create": lambda line: line.fresh("make", line.mode("0644"), size_after=line.count("bytes")),
    "mkdir": lambda line: line.fresh("mkdir", line.mode("0755")),
    "delete": _delete,
    "rename": _rename,
    "exchange": lambda line: line.add("exchange", line.draft.need(line.path), to=line.name("to")),
    "link": lambda line: line.add("link", line.file(), to=line.name("to")),
    "symlink": _symlink,
    "touch": _touch,
    "chmod": lambda line: line.add("chmod", line.draft.need(line.path), value=f"{line.mode(''):o}"),
    "chown": lambda line: line.add("chown", line.file(), value=f"{line.count('uid')}:{line.count('gid')}"),
    "setxattr": _setxattr,
}
