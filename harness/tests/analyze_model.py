"""What `analyze` must say, computed once more: byte by byte, from the stored files alone.

Written from the words of the specification and of the schema, not from the program: a payload stream is an array with
one flag per byte, a chunk an array of flags by digest, a cache an ordered dictionary.
"""

from __future__ import annotations

import bisect
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pxarbench_harness import run

HEADER = 16
CLASSES = ["lt_16k", "lt_64k", "lt_256k", "lt_1m", "lt_4m", "ge_4m"]
LIMITS = dict(zip(CLASSES, [1 << bits for bits in (14, 16, 18, 20, 22, 64)]))


@dataclass(frozen=True)
class File:
    path: bytes
    offset: int
    size: int
    mtime: tuple[int, int]

    @property
    def end(self) -> int:
        return self.offset + HEADER + self.size


@dataclass(frozen=True)
class Stream:
    """One archive of one snapshot."""

    name: str  # of the snapshot
    index: Sequence[tuple[int, bytes]]
    files: Sequence[File]  # archive order
    kinds: dict[bytes, Any]  # all other paths
    metadata_size: int
    starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", [0, *(end for end, _ in self.index)][:-1])

    @property
    def size(self) -> int:
        return self.index[-1][0]

    def chunks(self) -> Iterator[tuple[int, int, bytes]]:
        """Start, end, digest."""
        for start, (end, digest) in zip(self.starts, self.index):
            yield start, end, digest

    def touched(self, file: File) -> range:
        """Entries that the file has bytes in."""
        first = bisect.bisect_right(self.starts, file.offset) - 1
        return range(first, bisect.bisect_left(self.starts, file.end))


def path_bytes(entry: Any, key: str = "path") -> bytes:
    import base64

    return entry[key].encode() if key in entry else base64.b64decode(entry[f"{key}_b64"])


def read_stream(
    program: Path, scratch: Path, name: str, index: Sequence[tuple[int, bytes]], metadata: bytes
) -> Stream:
    path = scratch / "analyze-model.mpxar"
    path.write_bytes(metadata)
    text = run.run([program, "pxar", "dump", path], timeout=60).check_ok().text
    path.unlink()
    entries = [json.loads(line) for line in text.splitlines()]
    files = [
        File(path_bytes(e), e["payload_offset"], e["size"], tuple(e["mtime"])) for e in entries if e["kind"] == "file"
    ]
    kinds = {path_bytes(e): e["kind"] for e in entries if e["kind"] not in ("file", "version", "prelude")}
    return Stream(name, index, files, kinds, len(metadata))


# ---- padding ----


def used_bytes(stream: Stream) -> np.ndarray:
    used = np.zeros(stream.size, dtype=bool)
    used[:HEADER] = used[-HEADER:] = True
    for file in stream.files:
        used[file.offset : file.end] = True
    return used


def unused_by_digest(stream: Stream) -> dict[bytes, np.ndarray]:
    """What no listing uses."""
    used = used_bytes(stream)
    unused: dict[bytes, np.ndarray] = {}
    for start, end, digest in stream.chunks():
        here = ~used[start:end]
        unused[digest] = here & unused[digest] if digest in unused else here
    return unused


def ranges_of(stream: Stream) -> tuple[list[dict[str, int]], dict[str, int]]:
    """The ledger: ranges, and what is counted per chunk."""
    used = used_bytes(stream)
    ranges: list[dict[str, int]] = []
    totals = {"partial_chunks": 0, "unreferenced_chunks": 0, "dead_padding": 0}
    goes_on = False
    for start, end, _ in stream.chunks():
        here = np.flatnonzero(used[start:end])
        size = end - start
        totals["partial_chunks"] += len(here) < size
        if len(here) == 0:
            totals["unreferenced_chunks"] += 1
            totals["dead_padding"] += size
            goes_on = False
            continue
        head, tail = int(here[0]), size - 1 - int(here[-1])
        if not goes_on or head > 0:
            ranges.append(dict.fromkeys(("referenced", "start_padding", "end_padding", "hole_padding"), 0))
            ranges[-1]["start"] = start
        last = ranges[-1]
        last["end"] = end
        last["referenced"] += len(here)
        last["start_padding"] += head
        last["end_padding"] += tail
        last["hole_padding"] += size - head - tail - len(here)
        goes_on = tail == 0
    return ranges, totals


def ledger_of(stream: Stream) -> dict[str, int]:
    ranges, totals = ranges_of(stream)
    sums = {key: sum(r[key] for r in ranges) for key in ("start_padding", "end_padding", "hole_padding")}
    used = int(used_bytes(stream).sum())
    listings = listings_of(stream)
    assert sum(sums.values()) + totals["dead_padding"] == stream.size - used
    return {
        "size": stream.size,
        "referenced": used,
        "padding": stream.size - used,
        **sums,
        **totals,
        "ranges": len(ranges),
        "stored_waste": sum(int(unused.sum()) for unused in unused_by_digest(stream).values()),
        "relisted_chunks": sum(count > 1 for count in listings.values()),
    }


# ---- chunks ----


def listings_of(stream: Stream) -> dict[bytes, int]:
    listings: dict[bytes, int] = {}
    for _, digest in stream.index:
        listings[digest] = listings.get(digest, 0) + 1
    return listings


def sizes_of(stream: Stream) -> dict[bytes, int]:
    return {digest: end - start for start, end, digest in stream.chunks()}


def size_classes(sizes: Sequence[int]) -> dict[str, int]:
    classes = dict.fromkeys(LIMITS, 0)
    for size in sizes:
        classes[next(name for name, limit in LIMITS.items() if size < limit)] += 1
    return classes


# ---- reads ----


def ppm(a: int, b: int) -> int:
    return a * 10**6 // b if b else 0


def nearest_rank(values: Sequence[int], percent: int) -> int:
    ordered = sorted(values)
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else 0


def distribution(values: Sequence[int]) -> dict[str, int]:
    return {"median": nearest_rank(values, 50), "p95": nearest_rank(values, 95), "max": max(values, default=0)}


def full_restore(stream: Stream, keep: int) -> tuple[int, int]:
    """Chunks and bytes fetched."""
    cache: OrderedDict[bytes, int] = OrderedDict()
    fetched = []
    for file in stream.files:
        for k in stream.touched(file):
            end, digest = stream.index[k]
            if digest not in cache:
                fetched.append(end - stream.starts[k])
            cache[digest] = 0
            cache.move_to_end(digest)
            if len(cache) > keep:
                cache.popitem(last=False)
    return len(fetched), sum(fetched)


def reads_of(stream: Stream, lru: Sequence[int]) -> dict[str, Any]:
    restored = sum(file.size for file in stream.files)
    filled = [file for file in stream.files if file.size > 0]
    entries = [len(stream.touched(file)) for file in filled]
    fetched = [sum(stream.index[k][0] - stream.starts[k] for k in stream.touched(file)) for file in filled]
    full = []
    for keep in lru:
        chunks, size = full_restore(stream, keep)
        full.append({"lru": keep, "chunks": chunks, "bytes": size, "ppm": ppm(size, restored)})
    return {
        "restored_bytes": restored,
        "full": full,
        "files": len(filled),
        "touched_entries": sum(entries),
        "fetched_ppm": distribution([ppm(size, file.size) for size, file in zip(fetched, filled)]),
        "file_entries": distribution(entries),
    }


# ---- all of a snapshot ----


def analysis_of(
    stream: Stream,
    *,
    before: Stream | None,
    lru: Sequence[int] = (1, 8, 32),
    average: int = 4 << 20,
    ranges: bool = False,
) -> dict[str, Any]:
    sizes = sizes_of(stream)
    ledger = ledger_of(stream)
    joints = [(one.end, two.offset) for one, two in zip(stream.files, stream.files[1:])]
    change = None
    if before is not None:
        old = sizes_of(before)
        change = {
            "new_chunks": len(sizes.keys() - old.keys()),
            "new_bytes": sum(sizes[d] for d in sizes.keys() - old.keys()),
            "dropped_chunks": len(old.keys() - sizes.keys()),
            "dropped_bytes": sum(old[d] for d in old.keys() - sizes.keys()),
        }
    result = {
        "snapshot": stream.name,
        "files": len(stream.files),
        "content_bytes": sum(file.size for file in stream.files),
        "metadata_size": stream.metadata_size,
        "ledger": ledger,
        "waste_max_ppm": max(ppm(int(gaps.sum()), len(gaps)) for gaps in unused_by_digest(stream).values()),
        "virtual_ppm": ppm(ledger["size"], ledger["referenced"]),
        "index_entries": len(stream.index),
        "listings_max": max(listings_of(stream).values()),
        "entry_size_mean": stream.size // len(stream.index),
        "chunks": len(sizes),
        "chunk_bytes": sum(sizes.values()),
        "undersized_chunks": sum(size < average // 4 for size in sizes.values()),
        "empty_entries": 0,
        "discontinuities": sum(begin != end for end, begin in joints),
        "backward_files": sum(begin < end for end, begin in joints),
        "chunk_sizes": {
            "mean": sum(sizes.values()) // len(sizes),
            "median": nearest_rank(list(sizes.values()), 50),
            **size_classes(list(sizes.values())),
        },
        "reads": reads_of(stream, lru),
        "change": change,
    }
    if ranges:
        result["ranges"] = ranges_of(stream)[0]
    return result


# ---- ghosts ----


def parts_of(stream: Stream, unused: dict[bytes, np.ndarray]) -> dict[bytes, list[tuple[int, int, int, int]]]:
    """By digest, for chunks that have unused bytes: begin, file, end, offset of `begin` in the file with its header."""
    parts: dict[bytes, list[tuple[int, int, int, int]]] = {}
    for number, file in enumerate(stream.files):
        for k in stream.touched(file):
            start, (end, digest) = stream.starts[k], stream.index[k]
            if digest in unused and unused[digest].any():
                begin, stop = max(file.offset, start), min(file.end, end)
                parts.setdefault(digest, []).append((begin - start, number, stop - start, begin - file.offset))
    return parts


def fate(file: File, newest: Stream, by_path: dict[bytes, File]) -> str:
    if file.path in by_path:
        now = by_path[file.path]
        return "moved" if (now.size, now.mtime) == (file.size, file.mtime) else "replaced"
    return "replaced" if file.path in newest.kinds else "deleted"


def ghosts_of(streams: Sequence[Stream], *, top: int = 20) -> dict[str, Any]:
    """`streams` of one archive; names end in the time, which so sorts."""
    newest, *older = sorted(streams, key=lambda s: s.name.rsplit("/", 1)[1], reverse=True)
    by_path = {file.path: file for file in newest.files}
    unused = unused_by_digest(newest)
    totals = {name: {"files": 0, "bytes": 0} for name in ("deleted", "replaced", "moved")}
    headers = 0
    found: list[dict[str, Any]] = []
    for stream in older:
        content = [0] * len(stream.files)
        for digest, parts in parts_of(stream, unused).items():
            gaps = unused[digest]
            for begin, number, end, within in sorted(parts):
                mine = np.flatnonzero(gaps[begin:end]) + within  # offsets in the file
                headers += int((mine < HEADER).sum())
                content[number] += int((mine >= HEADER).sum())
                gaps[begin:end] = False
        for file, size in zip(stream.files, content):
            if size > 0:
                kind = fate(file, newest, by_path)
                totals[kind]["files"] += 1
                totals[kind]["bytes"] += size
                ghost = {"path": file.path, "snapshot": stream.name, "size": file.size, "bytes": size, "fate": kind}
                found.append(ghost)
    found.sort(key=lambda ghost: -ghost["bytes"])
    return {
        "newest": newest.name,
        **totals,
        "header_bytes": headers,
        "unattributed_bytes": sum(int(gaps.sum()) for gaps in unused.values()),
        "files": found[:top] if top else found,
    }


def with_path_bytes(ghosts: Any) -> Any:
    """The program's ghosts in the form of ghosts_of()."""
    files = []
    for ghost in ghosts["files"]:
        rest = {key: value for key, value in ghost.items() if not key.startswith("path")}
        files.append({"path": path_bytes(ghost), **rest})
    return {**ghosts, "files": files}
