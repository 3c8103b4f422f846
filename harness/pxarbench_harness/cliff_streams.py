"""A snapshot's payload layout from its index and metadata stream alone: what is used, what is wasted, what a reader fetches.

Written from bench/spec/datastore.md, pxar.md and reuse-stored.md; shares no code with the program under test. Meant for
snapshots that the harness has just made: what is malformed raises ValueError.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import run

DIDX_MAGIC = bytes.fromhex("1c914ea519bab3cd")
INDEX_HEADER = 4096
BLOB_MAGIC = bytes.fromhex("42ab3807be8370a1")
BLOB_ZSTD_MAGIC = bytes.fromhex("31b958426fb6a37f")
BLOB_HEADER = 12

PAYLOAD_REF = 0x419D3D6BC4BA977E
PAYLOAD_HEADER = 16
MARKER = 16

#: Upper bounds of the classes of payload.new_chunks_by_size in --stats.
SIZE_CLASSES = (("lt_16k", 1 << 14), ("lt_64k", 1 << 16), ("lt_256k", 1 << 18), ("lt_1m", 1 << 20), ("lt_4m", 1 << 22))
LARGEST_CLASS = "ge_4m"


@dataclass(frozen=True)
class Chunk:
    start: int
    end: int
    digest: bytes

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Reference:
    """Of one file: where its payload header is, and the size of its contents."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + PAYLOAD_HEADER + self.size


def parse_index(data: bytes) -> list[Chunk]:
    if data[:8] != DIDX_MAGIC or len(data) < INDEX_HEADER or (len(data) - INDEX_HEADER) % 40:
        raise ValueError("no dynamic index")
    chunks, start = [], 0
    for end, digest in struct.iter_unpack("<Q32s", data[INDEX_HEADER:]):
        if end <= start:
            raise ValueError(f"index: entry {len(chunks)} ends at {end}, the one before at {start}")
        chunks.append(Chunk(start, end, digest))
        start = end
    return chunks


def blob_content(data: bytes) -> bytes:
    magic, (crc,) = data[:8], struct.unpack_from("<I", data, 8)
    if zlib.crc32(data[BLOB_HEADER:]) != crc:
        raise ValueError("blob: wrong CRC")
    if magic == BLOB_MAGIC:
        return data[BLOB_HEADER:]
    if magic == BLOB_ZSTD_MAGIC:
        return run.run(["zstd", "-dcq"], stdin=data[BLOB_HEADER:]).check_ok().stdout
    raise ValueError(f"blob: magic {magic.hex()}")


def read_stream(store: Path, chunks: Iterable[Chunk]) -> bytes:
    names = (chunk.digest.hex() for chunk in chunks)
    return b"".join(blob_content((store / ".chunks" / name[:4] / name).read_bytes()) for name in names)


def parse_references(metadata: bytes) -> list[Reference]:
    """In archive order. Items of a metadata stream follow each other: type, full size, content."""
    found, at = [], 0
    while at < len(metadata):
        if len(metadata) - at < 16:
            raise ValueError(f"metadata: {len(metadata) - at} bytes at {at}")
        kind, size = struct.unpack_from("<QQ", metadata, at)
        if not 16 <= size <= len(metadata) - at:
            raise ValueError(f"metadata: item of {size} bytes at {at}")
        if kind == PAYLOAD_REF:
            if size != 32:
                raise ValueError(f"metadata: reference of {size} bytes at {at}")
            found.append(Reference(*struct.unpack_from("<QQ", metadata, at + 16)))
        at += size
    return found


def first_unordered(references: Sequence[Reference]) -> int | None:
    """The number of the first reference that does not lie behind its predecessor's contents."""
    for number in range(1, len(references)):
        if references[number].offset < references[number - 1].end:
            return number
    return None


def _touched(chunks: Sequence[Chunk], references: Iterable[Reference]) -> Iterable[tuple[int, int, int]]:
    """(number of an index entry, used from, used to) in archive order, positions within the chunk. Linear when ordered."""
    at = 0
    for ref in references:
        if not chunks or ref.end > chunks[-1].end:
            raise ValueError(f"reference {ref.offset} .. {ref.end} lies behind the payload")
        if at and chunks[at].start > ref.offset:
            at = 0
        while chunks[at].end <= ref.offset:
            at += 1
        last = at
        while True:
            chunk = chunks[last]
            yield last, max(ref.offset, chunk.start) - chunk.start, min(ref.end, chunk.end) - chunk.start
            if chunk.end >= ref.end:
                break
            last += 1
        at = last


@dataclass(frozen=True)
class Layout:
    """Bytes count headers of files; the stream's own markers count as used."""

    entries: int
    distinct: int
    virtual_size: int
    live: int  # files with their headers
    stored_size: int  # of the distinct chunks
    stored_waste: int  # bytes of listed chunks that nothing uses through any listed instance
    worst_waste: float  # greatest share of a chunk that is wasted
    most_instances: int
    new_sizes: dict[str, int]  # chunks that the older index does not have, by size
    new_chunks: int
    small_chunks: int  # of these, smaller than the smallest that the chunker cuts by itself


def _unused(size: int, used: list[tuple[int, int]]) -> int:
    left, at = 0, 0
    for begin, end in sorted(used):
        left += max(0, begin - at)
        at = max(at, end)
    return left + size - at


def size_class(size: int) -> str:
    return next((name for name, bound in SIZE_CLASSES if size < bound), LARGEST_CLASS)


def layout(
    chunks: Sequence[Chunk], references: Sequence[Reference], older: Iterable[Chunk], chunk_average: int
) -> Layout:
    used: dict[bytes, list[tuple[int, int]]] = {}
    sizes: dict[bytes, int] = {}
    listed: dict[bytes, int] = {}
    for chunk in chunks:
        sizes[chunk.digest] = chunk.size
        listed[chunk.digest] = listed.get(chunk.digest, 0) + 1
        used.setdefault(chunk.digest, [])
    for number, begin, end in _touched(chunks, references):
        used[chunks[number].digest].append((begin, end))
    if chunks:  # a marker may be cut off from everything else, but never cut in two
        used[chunks[0].digest].append((0, MARKER))
        used[chunks[-1].digest].append((chunks[-1].size - MARKER, chunks[-1].size))
    waste = {digest: _unused(size, used[digest]) for digest, size in sizes.items()}
    known = {chunk.digest for chunk in older}
    new = [size for digest, size in sizes.items() if digest not in known]
    classes = dict.fromkeys([*(name for name, _ in SIZE_CLASSES), LARGEST_CLASS], 0)
    for size in new:
        classes[size_class(size)] += 1
    return Layout(
        entries=len(chunks),
        distinct=len(sizes),
        virtual_size=chunks[-1].end if chunks else 0,
        live=sum(ref.end - ref.offset for ref in references),
        stored_size=sum(sizes.values()),
        stored_waste=sum(waste.values()),
        worst_waste=max((waste[digest] / size for digest, size in sizes.items()), default=0.0),
        most_instances=max(listed.values(), default=0),
        new_sizes=classes,
        new_chunks=len(new),
        small_chunks=sum(size < chunk_average // 4 for size in new),
    )


@dataclass(frozen=True)
class Fetches:
    """What a full restore in archive order reads from a store that hands out whole chunks."""

    chunks: int
    bytes: int


def fetches(chunks: Sequence[Chunk], references: Iterable[Reference], kept: int) -> Fetches:
    """The reader keeps the `kept` chunks it used last."""
    cache: OrderedDict[bytes, None] = OrderedDict()
    count = size = 0
    for number, _, _ in _touched(chunks, references):
        chunk = chunks[number]
        if chunk.digest in cache:
            cache.move_to_end(chunk.digest)
            continue
        count, size = count + 1, size + chunk.size
        cache[chunk.digest] = None
        if len(cache) > kept:
            cache.popitem(last=False)
    return Fetches(count, size)
