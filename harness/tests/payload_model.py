"""The payload index of a backup, worked out a second time from bench/spec alone: change-detection.md 5 to 10 and 13,
chunking.md 3, 5 and 6. Slow and simple. Nothing is taken from the program, so that an error must be made twice to stay
unseen. File contents of less than 4 MiB only (one write each)."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

PAYLOAD, START_MARKER, TAIL_MARKER = 0x28147A1B0B7C1A25, 0x834C68C2194A4ED2, 0x6C72B78B984C81B5
WRITER_BUFFER = 262144
TABLE = tuple(
    int(line, 16)
    for line in (Path(__file__).parents[2] / "bench" / "spec" / "buzhash_table.txt").read_text().split()
)

Index = list[tuple[int, bytes]]  # (end, digest)


# ---- where the rolling hash accepts ----


def _roll(data: bytes, average: int) -> list[int]:
    """Offsets behind each accepted byte. Those below 64 lack bytes in front."""
    mask = 2 * average - 1
    table, found, h = TABLE, [], 0
    for i, byte in enumerate(data):
        h = (h << 1 & 0xFFFFFFFF) ^ (h >> 31) ^ table[byte]
        if i >= 64:
            h ^= table[data[i - 64]]
        if h & mask >= mask - 2:
            found.append(i + 1)
    return found


@lru_cache(maxsize=256)
def _roll_whole(data: bytes, average: int) -> tuple[int, ...]:
    if data.count(data[0]) == len(data):
        return ()  # one byte repeated hashes to 0, which is never accepted (chunking.md 2)
    return tuple(at for at in _roll(data, average) if at >= 64)


def accepted(parts: list[bytes], average: int) -> list[int]:
    """In the concatenation of `parts`: the hash depends on 64 bytes, so long parts are looked at once."""
    found: list[int] = []
    tail, at = b"", 0
    for part in parts:
        head = part[:63]
        found += [at - len(tail) + k for k in _roll(tail + head, average) if k > len(tail) and k >= 64]
        if len(part) >= 64:
            found += [at + k for k in _roll_whole(part, average)]
        tail = (tail + part[-63:])[-63:]
        at += len(part)
    return found


# ---- the chunk stream ----


def pieces(writes: list[int]) -> list[int]:
    out, buffered = [], 0
    for size in writes:
        if size > WRITER_BUFFER - buffered:
            if buffered:
                out.append(buffered)
            buffered = 0
        if size >= WRITER_BUFFER:
            out.append(size)
        else:
            buffered += size
    return [*out, buffered] if buffered else out


@dataclass
class Order:
    boundary: int
    chunks: list[tuple[int, bytes]]  # (size, digest)

    @property
    def size(self) -> int:
        return sum(size for size, _ in self.chunks)


def cut(parts: list[bytes], suggestions: list[int], orders: list[Order], average: int) -> Index:
    """Chunking.md 6 with 5 as its scan; everything is queued before the first byte."""
    smallest, largest = average // 4, average * 4
    raw, accepts = b"".join(parts), accepted(parts, average)
    waiting, suggestions, orders = pieces([len(part) for part in parts]), suggestions[:], orders[:]
    consumed = start = buffered = scanned = 0  # `start`: of the chunk, in raw bytes
    out: Index = []
    end = 0

    def put(size: int, digest: bytes) -> None:
        nonlocal end
        end += size
        out.append((end, digest))

    def by_hash() -> int:
        first = max(scanned + 1, smallest, 65)  # nothing is tested before the window was full (chunking.md 3)
        at = bisect_left(accepts, start + first)
        size = min(accepts[at] - start if at < len(accepts) else largest, largest)
        return size if size <= buffered else 0

    def scan() -> int:
        begin = consumed + scanned
        while suggestions:
            wanted = suggestions[0]
            size = wanted - consumed
            if wanted > consumed + buffered:
                break
            if wanted < begin or size < smallest:
                suggestions.pop(0)
                continue
            if size > largest:
                break
            suggestions.pop(0)
            if wanted == begin:
                break
            return size
        return by_hash()

    while True:
        size = scan() if scanned < buffered else 0
        forced = bool(orders) and orders[0].boundary <= consumed + (size or buffered)
        if forced:
            size = orders[0].boundary - consumed
            assert size >= 0
        if size:
            put(size, hashlib.sha256(raw[start : start + size]).digest())
        if forced:
            order = orders.pop(0)
            for chunk in order.chunks:
                put(*chunk)
            consumed += order.size
        if size or forced:
            start, consumed, buffered, scanned = start + size, consumed + size, buffered - size, 0
            continue
        scanned = buffered
        if not waiting:
            break
        buffered += waiting.pop(0)
    assert not orders
    if buffered:
        put(buffered, hashlib.sha256(raw[start:]).digest())
    return out


# ---- look-ahead and injection ----


@dataclass
class Held:
    entry: int
    size: int
    padding: int
    digest: bytes


@dataclass
class Options:
    tight: bool
    threshold_ppm: int
    limit: int
    average: int = 65536


@dataclass
class Model:
    options: Options
    previous: Index | None
    position: int = 16
    parts: list[bytes] = field(default_factory=lambda: [struct.pack("<QQ", START_MARKER, 16)])
    suggestions: list[int] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    references: list[tuple[bytes, int]] = field(default_factory=list)  # (path, payload offset) in archive order
    reused: set[bytes] = field(default_factory=set)
    entries: list[tuple[bytes, int] | None] = field(default_factory=list)  # files: (path, offset in the range)
    counted: int = 0
    enabled: bool = False
    range: tuple[int, int] = (0, 0)
    held: Held | None = None

    def encode(self, path: bytes, content: bytes) -> None:
        if self.options.tight:
            self.inject_held()
        self.suggestions.append(self.position)
        self.references.append((path, self.position))
        self.parts += [struct.pack("<QQ", PAYLOAD, 16 + len(content)), content]
        self.position += 16 + len(content)

    def inject(self, chunks: list[Held]) -> None:
        for at in range(0, len(chunks), 128):
            order = Order(self.position, [(c.size, c.digest) for c in chunks[at : at + 128]])
            self.orders.append(order)
            self.position += order.size

    def inject_held(self) -> None:
        held, self.held = self.held, None
        if held:
            self.inject([held])

    def emit(self, base: int | None) -> None:
        if not self.options.tight:
            self.inject_held()
        entries, self.entries = self.entries, []
        self.enabled, self.counted, self.range = False, 0, (self.range[1], self.range[1])
        for entry in entries:
            if entry is None:
                continue
            path, offset = entry
            if base is None:
                self.encode(path, self.read(path))
            else:
                self.suggestions.append(self.position)
                self.references.append((path, base + offset))
                self.reused.add(path)

    def flush(self, keep: bool) -> None:
        begin, end = self.range
        if begin == end:
            self.emit(None)
            return
        assert self.previous is not None
        before, self.held = self.held, None
        index, first = self.previous, next(k for k, (chunk_end, _) in enumerate(self.previous) if chunk_end > begin)
        chunks: list[Held] = []
        for k in range(first, len(index)):
            chunk_start = index[k - 1][0] if k else 0
            chunks.append(Held(k, index[k][0] - chunk_start, 0, index[k][1]))
            if index[k][0] >= end if self.options.tight else index[k][0] > end:
                break
        start_padding = begin - (index[first - 1][0] if first else 0)
        end_padding = index[chunks[-1].entry][0] - end
        chunks[0].padding += start_padding
        chunks[-1].padding += end_padding
        used = before.size - before.padding if before and before.entry == first else 0
        padding = start_padding + end_padding
        if (padding - used) * 1_000_000 > (end - begin + padding) * self.options.threshold_ppm:
            self.held = before
            self.emit(None)
            return
        chunks[0].padding -= used
        if before and before.entry != first:
            self.inject([before])
        self.emit(self.position + start_padding)
        if keep:
            self.held = chunks.pop()
        self.inject(chunks)

    def make_room(self) -> None:
        if self.previous is not None and self.counted >= self.options.limit:
            self.flush(True)

    def insert(self, entry: tuple[bytes, int] | None, counts: bool = True) -> None:
        self.entries.append(entry)
        self.enabled = True
        self.counted += counts

    def changed(self, path: bytes) -> None:
        if self.previous is not None:
            self.make_room()
            self.flush(False)
        self.encode(path, self.read(path))

    def unchanged(self, path: bytes, begin: int, size: int) -> None:
        self.make_room()
        if self.range[1] == 0:
            self.range = (begin, begin)
        if self.range[1] != begin:
            if not self.options.tight or self.entries:
                self.flush(True)
            self.range = (begin, begin)
        self.range = (self.range[0], begin + 16 + size)
        self.insert((path, begin - self.range[0]))

    def later_name(self) -> None:
        if self.previous is not None:
            self.make_room()
            self.insert(None)

    def special(self) -> None:
        if self.previous is not None:
            self.make_room()
            if self.enabled:
                self.insert(None)
            else:
                self.emit(None)

    def walk(self, folder: bytes, prefix: bytes, reusable: dict[bytes, tuple[int, int]], seen: set[int]) -> None:
        for name in sorted(os.listdir(folder)):
            st, path = os.lstat(folder + b"/" + name), prefix + name
            if stat.S_ISDIR(st.st_mode):
                self.special()
                self.walk(folder + b"/" + name, path + b"/", reusable, seen)
                if self.enabled:
                    self.insert(None, counts=False)
            elif not stat.S_ISREG(st.st_mode):
                self.special()
            elif st.st_ino in seen:
                self.later_name()
            else:
                if st.st_nlink > 1:
                    seen.add(st.st_ino)
                if path in reusable:
                    self.unchanged(path, *reusable[path])
                else:
                    self.changed(path)

    def read(self, path: bytes) -> bytes:
        return (self.root / os.fsdecode(path)).read_bytes()

    def run(self, root: Path, reusable: dict[bytes, tuple[int, int]]) -> Index:
        """`reusable`: by path, the (old payload offset, size) of files that count as unchanged."""
        self.root = root
        self.walk(os.fsencode(root), b"", reusable, set())
        if self.previous is not None:
            self.flush(False)
            self.inject_held()
        self.parts.append(struct.pack("<QQ", TAIL_MARKER, 16))
        return cut(self.parts, self.suggestions, self.orders, self.options.average)
