"""Change detection a second time, from bench/spec/change-detection.md 6 to 10 and 12 alone: slow and simple, one class per section.
Nothing is taken from the program, so that an error must be made twice to stay unseen.

`answer(case)` takes what bin/detect_driver takes and gives what it gives (fixtures/detect/README.md); profiles tight and upstream here,
stored in stored_model.py, which shares everything behind the decisions: positions, orders, ledger, index.

Corrections to the letter of the specification, its section 13: D1 only in upstream; D2, a held chunk is known by its entry; D12, in
tight the held chunk is kept until a raw payload byte must be written or the next range starts elsewhere (upstream drains it in emit).
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import payload_model

Json = dict[str, Any]

HEADER, BATCH, FILE_BLOCK, PPM = 16, 128, 4 << 20, 1_000_000


class Refused(Exception):
    """A case that no walk makes."""


class OldIndex:
    def __init__(self, entries: list[tuple[int, str]]) -> None:
        self.ends = [end for end, _ in entries]
        self.digests = [bytes.fromhex(digest) for _, digest in entries]

    def start(self, k: int) -> int:
        return self.ends[k - 1] if k else 0

    def size(self, k: int) -> int:
        return self.ends[k] - self.start(k)

    def kind(self, k: int) -> tuple[bytes, int]:
        return self.digests[k], self.size(k)

    def holding(self, offset: int) -> int:
        """The chunk with that byte."""
        return bisect_right(self.ends, offset)


@dataclass
class Listing:
    """A chunk as a range lists it. `padding` is what this listing leaves unused."""

    entry: int
    size: int
    padding: int = 0


# ---- sections 9, 10 and 12: what is written ----


@dataclass
class Stream:
    """The new archive's payload, as far as the archiver knows it, and the order of its files."""

    old: OldIndex
    contents: dict[int, int] | None  # byte value by ordinal; None: no bytes are made
    position: int = HEADER
    parts: list[bytes] = field(default_factory=lambda: [struct.pack("<QQ", payload_model.START_MARKER, HEADER)])
    suggestions: list[int] = field(default_factory=list)
    orders: list[payload_model.Order] = field(default_factory=list)
    files: list[tuple[int, str, str, int]] = field(default_factory=list)
    injected: list[tuple[int, list[int], int]] = field(default_factory=list)
    raw: list[tuple[int, int]] = field(default_factory=list)  # [start, end) of encoded files
    used: list[tuple[int, int]] = field(default_factory=list)  # [start, end) of references
    old_used: list[tuple[int, int]] = field(default_factory=list)
    chunks: list[tuple[int, int]] = field(default_factory=list)  # (start, entry) of every listing

    def encode(self, ordinal: int, size: int, reason: str) -> None:
        self.suggestions.append(self.position)
        self.files.append((ordinal, "reencoded", reason, self.position))
        self.raw.append((self.position, self.position + HEADER + size))
        self.position += HEADER + size
        if self.contents is not None:
            self.parts.append(struct.pack("<QQ", payload_model.PAYLOAD, HEADER + size))
            blocks = [min(FILE_BLOCK, size - at) for at in range(0, size, FILE_BLOCK)]
            self.parts += [bytes([self.contents[ordinal]]) * block for block in blocks]

    def refer(self, ordinal: int, offset: int, old: tuple[int, int]) -> None:
        assert offset >= self.position
        self.suggestions.append(self.position)
        self.files.append((ordinal, "reused", "unchanged", offset))
        self.used.append((offset, offset + old[1] - old[0]))
        self.old_used.append(old)

    def inject(self, entries: list[int]) -> None:
        for at in range(0, len(entries), BATCH):
            batch = entries[at : at + BATCH]
            order = payload_model.Order(self.position, [(self.old.size(k), self.old.digests[k]) for k in batch])
            self.orders.append(order)
            self.injected.append((self.position, batch, order.size))
            for k in batch:
                self.chunks.append((self.position, k))
                self.position += self.old.size(k)

    def index(self, average: int) -> list[list[Any]]:
        parts = [*self.parts, struct.pack("<QQ", payload_model.TAIL_MARKER, HEADER)]
        made = payload_model.cut(parts, self.suggestions, self.orders, average)
        return [[end, digest.hex()] for end, digest in made]

    # -- what of it belongs to files: from positions alone, after the fact --

    def unused(self, start: int, entry: int) -> tuple[int, int, int]:
        """(head, holes, tail) of a listing."""
        end = start + self.old.size(entry)
        at = bisect_left(self.used, start, key=lambda used: used[1])
        pieces = []
        while at < len(self.used) and self.used[at][0] < end:
            pieces.append((max(self.used[at][0], start), min(self.used[at][1], end)))
            at += 1
        pieces = [(a, b) for a, b in pieces if a < b]
        if not pieces:
            return end - start, 0, 0
        head, tail = pieces[0][0] - start, end - pieces[-1][1]
        return head, end - start - head - tail - sum(b - a for a, b in pieces), tail

    def ledger(self) -> Json:
        names = ("start_padding", "end_padding", "hole_padding", "dead_padding", "ranges", "partial_chunks", "unreferenced_chunks")
        out = dict.fromkeys(names, 0)
        pieces: list[tuple[int, int | None]] = [(0, None), (self.position, None)]
        pieces += [(start, None) for start, _ in self.raw]
        pieces += self.chunks
        joined = False  # whether the next piece may belong to the range under way
        for start, entry in sorted(pieces, key=lambda piece: piece[0]):
            head, holes, tail = (0, 0, 0) if entry is None else self.unused(start, entry)
            out["partial_chunks"] += head + holes + tail > 0
            if entry is not None and head == self.old.size(entry):
                out["unreferenced_chunks"] += 1
                out["dead_padding"] += head
                joined = False
                continue
            out["ranges"] += not joined or head > 0
            out["start_padding"] += head
            out["hole_padding"] += holes
            out["end_padding"] += tail
            joined = tail == 0
        size = self.position + HEADER
        referenced = 2 * HEADER + sum(b - a for a, b in self.raw + self.used)
        return {"size": size, "referenced": referenced, "padding": size - referenced, **out}

    def answer(self, average: int) -> Json:
        """What every profile answers."""
        ledger = self.ledger()
        reused = sum(b - a for a, b in self.used)
        injected = sum(size for _, _, size in self.injected)
        # A chunk is stored once, however often and under however many old entries it is listed.
        listed = Counter(self.old.kind(entry) for _, entry in self.chunks)
        live = dict.fromkeys(listed, 0)
        for a, b in self.old_used:
            for k in range(self.old.holding(a), self.old.holding(b - 1) + 1):
                live[self.old.kind(k)] += min(b, self.old.ends[k]) - max(a, self.old.start(k))
        out = {
            "files": [list(file) for file in self.files],
            "inject": [list(order) for order in self.injected],
            "reused_files": len(self.used),
            "reused_bytes": reused,
            "reencoded_files": len(self.raw),
            "reencoded_bytes": sum(b - a for a, b in self.raw),
            "injected_chunks": len(self.chunks),
            "injected_bytes": injected,
            "partial_chunks": ledger["partial_chunks"],
            "unreferenced_chunks": ledger["unreferenced_chunks"],
            "padding": injected - reused,
            "payload_size": self.position + HEADER,
            "relisted_chunks": sum(count > 1 for count in listed.values()),
            "stored_waste": sum(max(0, kind[1] - live[kind]) for kind in listed),
            "ledger": ledger,
        }
        if self.contents is not None:
            out["index"] = self.index(average)
        return out


# ---- the events of a walk ----


@dataclass(frozen=True)
class Event:
    ordinal: int  # among all events
    kind: str  # file, link, special, enter, leave
    size: int = 0
    reason: str = ""
    range: tuple[int, int] | None = None  # of a reusable file in the old stream
    old_end: int = 0  # of a changed file


def events(case: Json) -> list[Event]:
    """Checked: ranges go up and lie in the old stream, directories that are left were entered."""
    out: list[Event] = []
    top, depth, size = 0, 0, case["old_index"][-1][0]
    old_sizes = dict(case["old_files"])
    for ordinal, (kind, *rest) in enumerate(case["events"]):
        if kind != "file":
            depth += {"enter": 1, "leave": -1}.get(kind, 0)
            if depth < 0:
                raise Refused("leaves the root")
            out.append(Event(ordinal, kind))
            continue
        length, reason, offset = rest[:3]
        if reason != "unchanged":
            old_size = rest[3] if len(rest) > 3 else old_sizes.get(offset, length)
            out.append(Event(ordinal, kind, length, reason, old_end=min(offset + HEADER + old_size, size) if offset else 0))
            continue
        end = offset + HEADER + length
        if offset < top or end > size:
            raise Refused("range goes back or lies outside")
        top = end
        out.append(Event(ordinal, kind, length, reason, range=(offset, end)))
    return out


def new_stream(case: Json) -> Stream:
    ordinals = [k for k, event in enumerate(case["events"]) if event[0] == "file"]
    contents = dict(zip(ordinals, case["contents"], strict=True)) if "contents" in case else None
    return Stream(OldIndex(case["old_index"]), contents)


# ---- sections 6 to 8 ----


@dataclass
class Cache:
    case: Json
    stream: Stream
    enabled: bool = False
    entries: list[tuple[Event, int] | None] = field(default_factory=list)  # files with their offset from the range's start
    range: tuple[int, int] = (0, 0)
    held: Listing | None = None
    fd_count: int = 0
    flushes: int = 0
    rejected: int = 0
    partial: int = 0  # by the bookkeeping of section 8; the ledger knows it from positions
    unreferenced: int = 0

    @property
    def tight(self) -> bool:
        return bool(self.case["profile"] == "tight")

    # -- section 7 --

    def covering(self, a: int, b: int) -> tuple[list[Listing], int, int]:
        old = self.stream.old
        i = next(k for k, end in enumerate(old.ends) if end > a)
        chunks = []
        for k in range(i, len(old.ends)):
            chunks.append(Listing(k, old.size(k)))
            if old.ends[k] > b or (self.tight and old.ends[k] == b):
                break
        start_padding = a - old.start(i)
        end_padding = old.ends[chunks[-1].entry] - b
        chunks[0].padding += start_padding
        chunks[-1].padding += end_padding
        return chunks, start_padding, end_padding

    # -- section 8 --

    def inject(self, chunks: list[Listing]) -> None:
        self.partial += sum(chunk.padding > 0 for chunk in chunks)
        self.unreferenced += sum(chunk.padding == chunk.size for chunk in chunks)
        self.stream.inject([chunk.entry for chunk in chunks])

    def drain(self) -> None:
        if self.held is not None:
            held, self.held = self.held, None
            self.inject([held])

    def encode(self, event: Event, reason: str) -> None:
        self.drain()
        self.stream.encode(event.ordinal, event.size, reason)

    def emit(self, base: int | None) -> None:
        if not self.tight:
            self.drain()
        entries, self.entries = self.entries, []
        self.enabled, self.fd_count, self.range = False, 0, (self.range[1], self.range[1])
        for entry in entries:
            if entry is None:
                continue
            event, offset = entry
            if base is None:
                self.encode(event, "threshold")
            else:
                assert event.range is not None
                self.stream.refer(event.ordinal, base + offset, event.range)

    def flush(self, keep: bool) -> None:
        a, b = self.range
        if a == b:
            self.emit(None)
            return
        self.flushes += 1
        prev, self.held = self.held, None
        chunks, start_padding, end_padding = self.covering(a, b)
        counted = start_padding + end_padding
        total = b - a + start_padding + end_padding
        same = prev is not None and prev.entry == chunks[0].entry
        referenced = prev.size - prev.padding if prev is not None and same else 0
        counted -= referenced
        assert counted >= 0
        if counted * PPM > total * self.case["threshold_ppm"]:
            self.rejected += 1
            self.held = prev
            self.emit(None)
            return
        if same:
            chunks[0].padding -= referenced
        elif prev is not None:
            self.inject([prev])
        self.emit(self.stream.position + start_padding)
        if keep:
            self.held = chunks.pop()
        self.inject(chunks)

    # -- section 6.1 --

    def insert(self, entry: tuple[Event, int] | None, counts: bool = True) -> None:
        self.entries.append(entry)
        self.enabled = True
        self.fd_count += counts

    def make_room(self) -> None:
        if self.fd_count >= self.case["cache_limit"]:
            self.flush(True)

    def reusable(self, event: Event) -> None:
        assert event.range is not None
        a, b = event.range
        if self.range[1] == 0:
            self.range = (a, a)
        if self.range[1] == a:
            self.range = (self.range[0], b)
        else:
            self.flush(True)
            self.range = (a, b)
        self.insert((event, a - self.range[0]))

    def take(self, event: Event) -> None:
        if event.kind == "leave":
            if self.enabled:
                self.insert(None, counts=False)
            return
        self.make_room()
        if event.range is not None:
            self.reusable(event)
        elif event.kind == "file":
            self.flush(False)
            self.encode(event, event.reason)
        elif event.kind == "link" or self.enabled:
            self.insert(None)
        else:
            self.emit(None)

    def finish(self) -> None:
        self.flush(False)
        self.drain()


def cached(case: Json) -> Json:
    """Profiles tight and upstream."""
    cache = Cache(case, new_stream(case))
    for event in events(case):
        cache.take(event)
    cache.finish()
    out = cache.stream.answer(case["chunk_average"])
    assert (out["partial_chunks"], out["unreferenced_chunks"]) == (cache.partial, cache.unreferenced)
    return {
        **out,
        "flushes": cache.flushes,
        "rejected_ranges": cache.rejected,
        "given_up": [0, 0, 0],
        "early_chunks": 0,
    }
