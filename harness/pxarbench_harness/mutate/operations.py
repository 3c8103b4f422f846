"""Operations that change contents and times. Names: operations_names.py; attributes: operations_attributes.py."""

from __future__ import annotations

import os
from typing import Any

from ..tree import Entry, Tree
from .draft import Draft
from .operation import OPERATIONS, SECOND, Op, Operation, register
from .plan import Mutation
from .primitives import data_segments, pieces

__all__ = ["OPERATIONS", "Op", "Operation"]

#: Size of a change where the mutation does not say.
CHANGE_BYTES = 512
#: Average chunk size of pxarbench and of the reference client.
AVERAGE_CHUNK = 4 << 20
DAY = 86_400 * SECOND

WRITTEN = frozenset({"content", "mtime", "ctime"})
RESIZED = WRITTEN | {"size"}
TIMED = frozenset({"mtime", "ctime"})


def change(draft: Draft, e: Entry, how: str, *, size: int | None = None, mtime_ns: int | None = None, **more: Any) -> Op:
    """A step on an existing file; its mtime becomes a second later unless told."""
    return draft.add(Op(
        e.path, draft.mutation.operation, e.size, e.size if size is None else size, e.mtime_ns,
        e.mtime_ns + SECOND if mtime_ns is None else mtime_ns, how, seed=draft.seed, **more,
    ))  # fmt: skip


@register
class Nothing(Operation):
    word, grammar, text = "none", "bare", "nothing"

    def plan(self, draft: Draft) -> None:
        pass


@register
class Touch(Operation):
    word, text, facets = "touch", "mtime one second later", TIMED

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            change(draft, e, "touch")


@register
class Edit(Operation):
    word, text, facets = "edit", "a byte # (bytes=N: N of them) appended", RESIZED

    def plan(self, draft: Draft) -> None:
        more = draft.bytes(1)
        for e in draft.choose():
            change(draft, e, "append", size=e.size + more, at=e.size, amount=more, value="#")


@register
class Append(Operation):
    word, text, facets = "append", f"{CHANGE_BYTES} (bytes=N: N) incompressible bytes appended", RESIZED

    def plan(self, draft: Draft) -> None:
        more = draft.bytes(CHANGE_BYTES)
        for e in draft.choose():
            change(draft, e, "append", size=e.size + more, at=e.size, amount=more)


class _Rewriting(Operation):
    """Other bytes in the old place, as many as before."""

    needs, facets, minimum, how = "regular file with one link that is not empty", WRITTEN, 1, "write"

    def mtime(self, e: Entry) -> int:
        return e.mtime_ns + SECOND

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            amount = min(draft.bytes(e.size), e.size)
            change(draft, e, self.how, mtime_ns=self.mtime(e), at=(e.size - amount) // 2, amount=amount)


@register
class Rewrite(_Rewriting):
    word, text = "rewrite", "every byte another one, in place (bytes=N: N bytes in the middle)"


@register
class MmapWrite(_Rewriting):
    word, text, how = "mmap-write", "as rewrite, through a shared memory mapping", "mmap"


@register
class Subsecond(_Rewriting):
    word, text = "subsecond", "as rewrite, mtime one nanosecond later"

    def mtime(self, e: Entry) -> int:
        return e.mtime_ns + 1


@register
class ContentRestored(_Rewriting):
    word, text = "content-restored", "as rewrite, then the old mtime is put back"
    facets = frozenset({"content", "ctime"})

    def mtime(self, e: Entry) -> int:
        return e.mtime_ns


@register
class SameTick(ContentRestored):
    word, text = "same-tick", "as rewrite, within the clock tick of the last change: mtime is equal"


@register
class MtimeBack(_Rewriting):
    word, text = "mtime-back", "as rewrite, mtime a day before the old one"

    def mtime(self, e: Entry) -> int:
        return e.mtime_ns - DAY


@register
class SizeRestored(Operation):
    word, text, facets = "size-restored", "other size (bytes=N appended), then the old mtime is put back", RESIZED - {"mtime"}

    def plan(self, draft: Draft) -> None:
        more = draft.bytes(CHANGE_BYTES)
        for e in draft.choose():
            change(draft, e, "append", size=e.size + more, mtime_ns=e.mtime_ns, at=e.size, amount=more)


class _Timed(Operation):
    facets, when = TIMED, 0

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            change(draft, e, "touch", mtime_ns=self.when if e.mtime_ns != self.when else self.when + SECOND)


@register
class MtimeFuture(_Timed):
    word, text, when = "mtime-future", "mtime in the year 2100", 4_102_444_800 * SECOND


@register
class MtimeNegative(_Timed):
    word, text, when = "mtime-negative", "mtime in the year 1938", -1_000_000_000 * SECOND


class _Inserting(Operation):
    facets = RESIZED

    def place(self, e: Entry) -> int:
        return 0

    def plan(self, draft: Draft) -> None:
        more = draft.bytes(CHANGE_BYTES)
        for e in draft.choose():
            change(draft, e, "insert", size=e.size + more, at=self.place(e), amount=more)


@register
class Prepend(_Inserting):
    word, text = "prepend", f"{CHANGE_BYTES} (bytes=N: N) bytes before the first"


@register
class InsertMiddle(_Inserting):
    word, text = "insert-middle", f"{CHANGE_BYTES} (bytes=N: N) bytes in the middle"
    needs, minimum = "regular file with one link of 2 bytes or more", 2

    def place(self, e: Entry) -> int:
        return e.size // 2


@register
class Truncate(Operation):
    word, text, facets = "truncate", "the second half (bytes=N: the last N bytes) cut off", RESIZED
    needs, minimum = "regular file with one link that is not empty", 1

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            change(draft, e, "truncate", size=max(0, e.size - draft.bytes((e.size + 1) // 2)))


@register
class Empty(Operation):
    word, text, facets = "empty", "cut to size 0", RESIZED
    needs, minimum = "regular file with one link that is not empty", 1

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            change(draft, e, "truncate", size=0)


@register
class PunchHole(Operation):
    word, text, facets = "punch-hole", "a hole of 4 KiB (bytes=N: N bytes) where data was; the size stays", WRITTEN
    needs, minimum = "regular file with one link of 4 KiB or more that is not all zeros", 4096

    def plan(self, draft: Draft) -> None:
        starts: dict[bytes, int] = {}

        def has_data(e: Entry) -> bool:
            start = _first_data(draft.tree, e)
            if start is not None:
                starts[e.path] = start
            return start is not None

        for e in draft.choose(fit=has_data):
            start = starts[e.path]
            change(draft, e, "punch", at=start, amount=min(draft.bytes(4096), e.size - start))


def _first_data(tree: Tree, e: Entry) -> int | None:
    """Start of the first block of 4 KiB that is not all zeros."""
    fd = os.open(os.path.join(os.fsencode(tree.root), e.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for offset, length in data_segments(fd, 0, e.size):
            for at, size in pieces(offset, length):
                data = os.pread(fd, size, at)
                rest = data.lstrip(b"\0")
                if rest:
                    return (at + len(data) - len(rest)) // 4096 * 4096
    finally:
        os.close(fd)
    return None


class _Growing(Operation):
    facets, times = RESIZED, 1.0

    @classmethod
    def edge(cls, mutation: Mutation | None) -> int:
        average = AVERAGE_CHUNK if mutation is None or mutation.bytes is None else mutation.bytes
        return max(1, int(average * cls.times))

    @classmethod
    def fits(cls, entry: Entry, mutation: Mutation | None) -> bool:
        return entry.size <= cls.edge(mutation)

    def plan(self, draft: Draft) -> None:
        size = self.edge(draft.mutation) + 1
        for e in draft.choose():
            change(draft, e, "append", size=size, at=e.size, amount=size - e.size)


class _Shrinking(_Growing):
    @classmethod
    def fits(cls, entry: Entry, mutation: Mutation | None) -> bool:
        return entry.size >= cls.edge(mutation)

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            change(draft, e, "truncate", size=self.edge(draft.mutation) - 1)


def _edges() -> None:
    for name, times, words in (("min", 0.25, "a quarter of"), ("avg", 1.0, "once"), ("max", 4.0, "four times")):
        edge = f"{words} the average chunk size (4 MiB, or bytes=N)"
        register(type(f"Grow{name.title()}", (_Growing,), {
            "__module__": __name__, "word": f"grow-{name}", "times": times, "text": f"appended to, to just above {edge}",
            "needs": f"regular file with one link of at most {edge}",
        }))  # fmt: skip
        register(type(f"Shrink{name.title()}", (_Shrinking,), {
            "__module__": __name__, "word": f"shrink-{name}", "times": times, "text": f"cut to just below {edge}",
            "needs": f"regular file with one link of at least {edge}",
        }))  # fmt: skip


_edges()
