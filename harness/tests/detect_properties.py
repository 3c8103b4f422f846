"""What every answer about a case must hold, read from the answer alone: no decision is made again here."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Any

Json = dict[str, Any]

HEADER, BATCH, PPM = 16, 128, 1_000_000


def check(case: Json, answer: Json, limited: bool) -> None:
    """`limited`: the cache may have been full."""
    ends = [end for end, _ in case["old_index"]]
    starts = [0, *ends[:-1]]
    files = [(ordinal, *event[1:]) for ordinal, event in enumerate(case["events"]) if event[0] == "file"]
    written = answer["files"]

    # Each file once, in order; what changed is never reused, what is reused has not changed.
    assert [file[0] for file in written] == [file[0] for file in files]
    for (_, _, reason, *_), (_, action, why, _) in zip(files, written, strict=True):
        if action == "reused":
            assert reason == why == "unchanged"
        elif reason == "unchanged":
            assert why in (("threshold", "instances", "absorbed") if case["profile"] == "stored" else ("threshold",))
        else:
            assert why == reason
    offsets = [file[3] for file in written]
    assert all(a < b for a, b in zip(offsets, offsets[1:], strict=False))

    # Batches, and encoded files and injected chunks that fill the stream from the start marker to the tail marker.
    pieces: list[tuple[int, int, int | None]] = []  # (start, size, old chunk)
    for boundary, entries, size in answer["inject"]:
        assert 0 < len(entries) <= BATCH and size == sum(ends[k] - starts[k] for k in entries)
        at = boundary
        for k in entries:
            pieces.append((at, ends[k] - starts[k], k))
            at += ends[k] - starts[k]
    for (_, size, *_), (_, action, _, offset) in zip(files, written, strict=True):
        if action == "reencoded":
            pieces.append((offset, HEADER + size, None))
    pieces.sort(key=lambda piece: piece[0])
    at = HEADER
    for start, size, _ in pieces:
        assert start == at
        at += size
    assert answer["payload_size"] == at + HEADER

    # The bytes behind each reference are the old file's own.
    piece_starts = [piece[0] for piece in pieces]
    kinds = [(digest, end - start) for (end, digest), start in zip(case["old_index"], starts, strict=True)]
    used: Counter[tuple[str, int]] = Counter()
    used_by_piece: Counter[int] = Counter()
    for (_, size, _, old, *_), (_, action, _, offset) in zip(files, written, strict=True):
        if action != "reused":
            continue
        left, at = HEADER + size, offset
        while left:
            k = bisect_right(piece_starts, at) - 1
            start, length, entry = pieces[k]
            old_entry = bisect_right(ends, old)
            assert entry is not None and kinds[entry] == kinds[old_entry] and at - start == old - starts[old_entry]
            part = min(left, start + length - at)
            left, at, old = left - part, at + part, old + part
            used[kinds[entry]] += part
            used_by_piece[k] += part

    # Arithmetic.
    listed = Counter(piece[2] for piece in pieces if piece[2] is not None)
    injected = sum(size for _, size, entry in pieces if entry is not None)
    reused = sum(used.values())
    encoded = sum(size for _, size, entry in pieces if entry is None)
    unused = [size - used_by_piece[k] for k, (_, size, entry) in enumerate(pieces) if entry is not None]
    whole = [used_by_piece[k] == 0 for k, (_, _, entry) in enumerate(pieces) if entry is not None]
    ledger = answer["ledger"]
    assert answer["injected_chunks"] == sum(listed.values()) and answer["injected_bytes"] == injected
    assert answer["reused_bytes"] == reused and answer["reencoded_bytes"] == encoded
    assert answer["reused_files"] == sum(file[1] == "reused" for file in written)
    assert answer["reencoded_files"] == sum(file[1] == "reencoded" for file in written)
    assert answer["padding"] == ledger["padding"] == injected - reused == sum(unused)
    assert answer["partial_chunks"] == ledger["partial_chunks"] == sum(size > 0 for size in unused)
    assert answer["unreferenced_chunks"] == ledger["unreferenced_chunks"] == sum(whole)
    assert ledger["size"] == answer["payload_size"] == 2 * HEADER + injected + encoded
    assert ledger["size"] == ledger["referenced"] + ledger["padding"]
    assert ledger["padding"] == sum(ledger[f"{kind}_padding"] for kind in ("start", "end", "hole", "dead"))

    # What the profiles promise.
    if case["profile"] == "upstream":
        assert sum(whole) <= answer["flushes"]
    else:
        assert not any(whole)
    kinds_listed = Counter(kinds[piece[2]] for piece in pieces if piece[2] is not None)
    waste = {kind: max(0, kind[1] - used[kind]) for kind in kinds_listed}
    assert answer["stored_waste"] == sum(waste.values())
    assert answer["relisted_chunks"] == sum(count > 1 for count in kinds_listed.values())
    if case["profile"] == "stored":
        assert max(listed.values(), default=0) <= case["max_instances"]
        wasteful = [kind for kind, size in waste.items() if size * PPM > kind[1] * case["threshold_ppm"]]
        # A chunk that was decided before all of its files were seen may have lost more than it promised.
        assert len(wasteful) <= answer["early_chunks"], f"waste of old chunks {wasteful}"
        assert limited or answer["early_chunks"] == 0

    if "index" in answer:
        check_index(case, answer, pieces)


def check_index(case: Json, answer: Json, pieces: list[tuple[int, int, int | None]]) -> None:
    """Injected entries stand where they must, new chunks in between, none larger than the largest size."""
    new_ends = [end for end, _ in answer["index"]]
    digests = dict(answer["index"])
    assert all(a < b for a, b in zip(new_ends, new_ends[1:], strict=False))
    assert new_ends[-1] == answer["payload_size"]
    injected = {}
    for start, size, entry in pieces:
        if entry is not None:
            injected[start + size] = start
            assert digests[start + size] == case["old_index"][entry][1]
    for start, end in zip([0, *new_ends[:-1]], new_ends, strict=True):
        if end in injected:
            assert start == injected[end]
        else:
            assert end - start <= 4 * case["chunk_average"]
