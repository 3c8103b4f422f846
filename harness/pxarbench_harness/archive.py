"""What every archive of pxarbench must fulfil, found by a second reader in the snapshot of a run that told its decisions.

Index checksums, references that grow strictly and hit headers of their size, chunks that hold what they are called by; and
where old chunks were listed again: that they are the ones the reused files lie in, and the padding that the program told.
Shares no code with the program: exhaustive/streams.py and invariants.py are written from the specifications.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cliff_streams import Reference, first_unordered, parse_references
from .exhaustive.invariants import PPM, Layout, Place, Rules, problems_of
from .exhaustive.streams import PAYLOAD, Broken, Chunks, Index, need, read_index
from .subjects import Outcome

ARCHIVE = "root"
_HEADER = 16


@dataclass
class Headers:
    """Which bytes of which chunks were seen to be payload headers: (digest, position) -> size of the contents behind. Chunks
    never change, so that of a snapshot only those need reading that no earlier one had."""

    known: dict[tuple[bytes, int], int] = field(default_factory=dict)

    def check(self, chunks: Chunks, index: Index, references: Sequence[Reference]) -> None:
        """Broken: names the first reference that hits something else."""
        ends = [end for end, _ in index]
        held: tuple[int, bytes] = (-1, b"")
        for ref in references:
            k = bisect_right(ends, ref.offset)
            at = ref.offset - (ends[k - 1] if k else 0)
            key = (index[k][1], at)
            if self.known.get(key) == ref.size:
                continue
            if held[0] != k:
                held = (k, chunks.read(index[k][1]))
            header = held[1][at : at + _HEADER]
            if len(header) < _HEADER:
                header += chunks.read(index[k + 1][1])[: _HEADER - len(header)]
            need(
                header == struct.pack("<QQ", PAYLOAD, _HEADER + ref.size),
                "reference {} of {} bytes hits no header of its size", ref.offset, ref.size,
            )  # fmt: skip
            self.known[key] = ref.size


def _path(line: dict[str, Any]) -> bytes:
    return base64.b64decode(line["path_b64"]) if "path_b64" in line else os.fsencode(line["path"])


def _places(decisions: Path) -> list[Place]:
    places = []
    with open(decisions, "rb") as lines:
        for text in lines:
            line = json.loads(text)
            if line["action"] in ("reused", "reencoded"):
                old = line["old_offset"] if line["action"] == "reused" else None
                places.append(Place(_path(line), line["size"], line["offset"], old))
    return places


def problems(store: Path, outcome: Outcome, decisions: Path, headers: Headers) -> list[str]:
    """Of the snapshot that a run of a split mode has just made, while it and the one it refers to are in the store. Sentences,
    [] when all is well."""
    try:
        return [f"archive: {text}" for text in _problems(store, outcome, decisions, headers)]
    except Broken as error:
        return [f"archive: {error}"]
    except (OSError, ValueError, KeyError, IndexError) as error:
        return [f"archive: {type(error).__name__}: {error}"]


def _problems(store: Path, outcome: Outcome, decisions: Path, headers: Headers) -> list[str]:
    (told,) = outcome.raw["archives"]
    folder = store / outcome.snapshot
    index, csum = read_index(folder / f"{ARCHIVE}.ppxar.didx")
    metadata_index, metadata_csum = read_index(folder / f"{ARCHIVE}.mpxar.didx")
    said = []
    if dict(outcome.checksums) != {"payload": csum, "metadata": metadata_csum}:
        said.append("the program tells other checksums than the indexes have")
    chunks = Chunks(store)
    references = parse_references(chunks.stream(metadata_index))
    unordered = first_unordered(references)
    if unordered is not None:
        said.append(f"reference {unordered} at {references[unordered].offset} does not lie behind its predecessor")
        return said
    headers.check(chunks, index, references)
    places = _places(decisions)
    if [(p.offset, p.size) for p in places] != [(r.offset, r.size) for r in references]:
        said.append(f"{len(places)} decisions and {len(references)} references do not name the same places")
        return said
    reference = told["reference"]
    old: Index = []
    if reference["reason"] == "used":
        old, _ = read_index(store / reference["snapshot"] / f"{ARCHIVE}.ppxar.didx")
    layout = Layout(old, index, places)
    rules = Rules(outcome.raw["profile"], round(outcome.raw["padding_threshold"] * PPM), outcome.raw["max_instances"])
    said += problems_of(layout, rules, early_chunks=int(told.get("early_chunks") or 0), flushes=int(told["flushes"]))
    if old:
        mine = {
            "padding_bytes": layout.padding,
            "partial_chunks": layout.partial_chunks,
            "unreferenced_chunks": layout.unreferenced_chunks,
        }
        for name, value in mine.items():
            if told[name] != value:
                said.append(f"the program counts {told[name]} {name}, the index has {value}")
    return said
