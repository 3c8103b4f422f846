"""A mutation on paper: the steps, and the listing that the tree must have after them.

`Draft.add` plays each step on a model of the tree (only the entries that change are kept), so what apply has to find
afterwards is known before anything is done: every compared field of every entry, which contents are new, which inodes.
From the same model follows what undoing needs.
"""

from __future__ import annotations

import bisect
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..tree import COMPARED, Entry, Tree, show
from .layouts import choose_k, count, half
from .operation import OPERATIONS, SECOND, MutationFailed, NotAvailable, Op
from .oracle import _differs as differs

if TYPE_CHECKING:
    from .plan import Mutation

#: Stands for contents of which only one thing is known: they are not what was there before.
UNKNOWN = "?"
#: A change time to come.
LATER = -(1 << 62)

_NAME_MAX = 255


def folder_of(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or b"."


def beside(path: bytes, name: bytes) -> bytes:
    folder = path.rpartition(b"/")[0]
    return folder + b"/" + name if folder else name


@dataclass
class Keep:
    """What must be kept of a file before its contents go."""

    regions: list[tuple[int, int]] = field(default_factory=list)  # (offset, length) that are overwritten
    whole: bool = False  # the inode itself goes away


@dataclass
class Draft:
    tree: Tree
    mutation: Mutation
    log: Path  # where the operation log will be; earlier ones of a chain lie beside it
    ops: list[Op] = field(default_factory=list)
    now: dict[bytes, Entry | None] = field(default_factory=dict)  # entries that are to change; None: gone
    keep: dict[bytes, Keep] = field(default_factory=dict)
    stamped: dict[bytes, int] = field(default_factory=dict)  # directory, as it is called afterwards -> its mtime then
    temporary: set[bytes] = field(default_factory=set)  # names that are there in between
    added_bytes: int = 0
    _new: int = 0
    _closed: bool = False

    # ---- choosing ----

    @property
    def seed(self) -> int:
        return self.mutation.seed or 0

    def dice(self, more: str = "") -> random.Random:
        m = self.mutation
        return random.Random(f"{m.operation} {m.rate} {m.layout} {self.seed} {more}")

    def bytes(self, default: int) -> int:
        return default if self.mutation.bytes is None else self.mutation.bytes

    def choose(
        self, candidates: Mapping[bytes, Entry] | None = None, *, fit: Callable[[Entry], bool] | None = None
    ) -> list[Entry]:
        """RATE % of the candidates (of those of the operation), by layout and size class, in order of path.

        `fit`: one that does not fit is replaced by the next candidate that was not chosen.
        """
        m = self.mutation
        if candidates is None:
            candidates = OPERATIONS[m.operation].candidates(self.tree, m)
        pool = half(candidates, m.size)
        if not pool:
            raise NotAvailable(f"mutation {m.text}: " + (OPERATIONS[m.operation].available(self.tree, m) or "no candidates"))
        k = min(count(len(candidates), m.rate), len(pool))
        ordered = sorted(pool)
        chosen = self.in_layout(pool, k)
        if fit is None:
            return [pool[path] for path in chosen]
        taken, fitting = set(chosen), []
        for path in chosen:
            if fit(pool[path]):
                fitting.append(path)
                continue
            at = bisect.bisect(ordered, path)
            for other in ordered[at:] + ordered[:at]:
                if other not in taken:
                    taken.add(other)
                    if fit(pool[other]):
                        fitting.append(other)
                        break
        if not fitting:
            raise NotAvailable(f"mutation {m.text}: no candidate fits")
        return [pool[path] for path in sorted(fitting)]

    def in_layout(self, pool: Mapping[bytes, Entry], k: int) -> list[bytes]:
        """k of the pool, in order of path."""
        m = self.mutation
        return choose_k(sorted(pool), k, m.layout, m.seed, {p: e.mtime_ns for p, e in pool.items()})

    # ---- the model ----

    def entry(self, path: bytes) -> Entry | None:
        return self.now[path] if path in self.now else self.tree.entries.get(path)

    def need(self, path: bytes) -> Entry:
        entry = self.entry(path)
        if entry is None:
            raise MutationFailed(f"{show(path)}: is not there")
        return entry

    def put(self, entry: Entry) -> None:
        self.now[entry.path] = entry

    def free(self, path: bytes) -> None:
        if self.entry(path) is not None:
            raise MutationFailed(f"{show(path)}: is there already")
        if self.need(folder_of(path)).kind != "directory":
            raise MutationFailed(f"{show(folder_of(path))}: is no directory")

    def free_name(self, path: bytes, *, word: bytes = b"", folder: bytes | None = None, first: bool = False) -> bytes:
        """A name that sorts right behind `path` ("name~1", "name~2", ...), or before it; in its folder or another one."""
        name = path.rpartition(b"/")[2]
        stem = re.sub(rb"~[a-z]*\d+$", b"", name)[: _NAME_MAX - 12]
        for number in range(1, 1 << 20):
            new = b"!" + stem if first else stem
            new += b"~%b%d" % (word, number)
            full = beside(path, new) if folder is None else (new if folder == b"." else folder + b"/" + new)
            if self.never_was(full):
                return full
        raise MutationFailed(f"{show(path)}: no free name")

    def never_was(self, path: bytes) -> bool:
        """Neither now nor before the mutation: what comes here is new to every backup."""
        return self.entry(path) is None and path not in self.tree.entries

    @cached_property
    def _paths(self) -> list[bytes]:
        return sorted(self.tree.entries)

    def below(self, folder: bytes) -> list[bytes]:
        """All old paths below a directory."""
        start = bisect.bisect_left(self._paths, folder + b"/")
        return self._paths[start : bisect.bisect_left(self._paths, folder + b"0", start)]

    def stamp(self, folder: bytes) -> None:
        """The directory's names change, so its mtime does: to a second after the old one, whatever the clock says."""
        if folder not in self.stamped:
            entry = self.need(folder)
            self.stamped[folder] = entry.mtime_ns + SECOND
            self.put(replace(entry, mtime_ns=entry.mtime_ns + SECOND, ctime_ns=LATER))

    def next_inode(self) -> int:
        self._new += 1
        return -self._new

    def other_contents(self) -> str:
        self._new += 1
        return f"{UNKNOWN}{self._new}"

    def overwrites(self, path: bytes, offset: int, length: int) -> None:
        """Contents [offset, offset + length) of the old file at `path` go."""
        if self.is_old(path) and length:
            self.keep.setdefault(path, Keep()).regions.append((offset, length))

    def drops(self, path: bytes) -> None:
        """The inode at `path` loses this name."""
        entry = self.tree.entries.get(path)
        if entry is not None and self.is_old(path) and entry.kind != "directory" and entry.links == 1:
            self.keep.setdefault(path, Keep()).whole = True

    def is_old(self, path: bytes) -> bool:
        """`path` has the inode that it had before."""
        old, now = self.tree.entries.get(path), self.entry(path)
        if old is None or now is None or (old.inode, old.device) != (now.inode, now.device):
            # What is destroyed must lie where it lay before, else undoing would look for it in the wrong place.
            if now is not None and now.inode >= 0:
                raise MutationFailed(f"{show(path)}: was moved and is destroyed in one mutation")
            return False
        return True

    def add(self, op: Op) -> Op:
        from .primitives import PRIMITIVES

        PRIMITIVES[op.how].simulate(self, op)
        self.ops.append(op)
        return op

    # ---- what must be there afterwards ----

    def close(self) -> None:
        """After the last step: hardlink groups are told anew."""
        if self._closed:
            return
        self._closed = True
        groups: dict[tuple[int, int], list[bytes]] = {}
        for path, now in self.now.items():
            for e in (now, self.tree.entries.get(path)):
                if e is not None and e.kind == "file" and (e.links > 1 or e.link_to):
                    groups.setdefault((e.device, e.inode), [])
        if not groups:
            return
        for path, old in self.tree.entries.items():
            if old.links > 1 and path not in self.now and (old.device, old.inode) in groups:
                groups[old.device, old.inode].append(path)
        for path, now in self.now.items():
            if now is not None and now.kind == "file" and (now.device, now.inode) in groups:
                groups[now.device, now.inode].append(path)
        for names in groups.values():
            names.sort(key=lambda path: path.split(b"/"))  # as a walk meets them, and tree.scan
            entries = [self.need(name) for name in names]
            if not entries:
                continue
            changed = any(e.ctime_ns == LATER for e in entries) or len(names) != entries[0].links
            for name, e in zip(names, entries, strict=True):
                self.put(replace(
                    e, link_to=b"" if name == names[0] else names[0], links=len(names),
                    ctime_ns=LATER if changed else e.ctime_ns,
                ))  # fmt: skip

    def predicted(self) -> tuple[dict[bytes, frozenset[str]], frozenset[bytes]]:
        """What `judge` must find: facets per changed file, and first names that are gone."""
        changes, gone = {}, set()
        for path, now in self.now.items():
            old = self.tree.entries.get(path)
            if now is not None and now.kind == "file" and not now.link_to:
                facets = differs(old, now)
                if facets:
                    changes[path] = facets
            elif old is not None and old.kind == "file" and not old.link_to:
                gone.add(path)
        return changes, frozenset(gone)

    def deviations(self, after: Tree) -> list[str]:
        """One sentence per entry that is not as planned; [] when all are."""
        before = self.tree.entries
        changed = {p for p in before.keys() | after.entries.keys() if before.get(p) != after.entries.get(p)}
        planned = {p for p, now in self.now.items() if before.get(p) != now}
        if changed != planned:
            idle, stray = planned - changed, changed - planned
            names = ", ".join(show(p) for p in sorted(idle | stray)[:3])
            kind = "files" if all(before.get(p, self.now.get(p)) for p in idle) else "names"
            return [f"{len(idle)} of {len(planned)} planned {kind} did not change, {len(stray)} others did ({names})"]
        found = []
        for path in sorted(planned):
            want, have = self.now[path], after.entries.get(path)
            if want is None or have is None:
                if want is not have:
                    found.append(f"{show(path)}: {'should be gone' if want is None else 'is not there'}")
                continue
            for name in COMPARED:
                a, b = getattr(want, name), getattr(have, name)
                if name == "digest" and a.startswith(UNKNOWN):
                    old = before.get(path)
                    a = b if old is None or old.digest != b else "other contents"
                if a != b:
                    found.append(f"{show(path)} is not as planned: {name} is {b!r}, not {a!r}")
        return found


def names_below(paths: Iterable[bytes], folder: bytes, to: bytes) -> list[tuple[bytes, bytes]]:
    """(old, new) for a folder that becomes `to`."""
    return [(path, to + path[len(folder) :]) for path in paths]
