"""A run as a case for a second implementation of change detection, and its answer beside what the program did.

The second implementation is handed in (tests/detect_model.py and stored_model.py, written from the specification alone). What
those are compared with elsewhere is the program's core; here it is the whole program over a real tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import base
from .garden import Directory, File, Names, archive_order, first_names
from .oracle import COLLATERAL, Verdict
from .streams import Index

Json = dict[str, Any]
Twin = Callable[[Json], Json]


def events_of(names: Names, verdict: Verdict, old_places: Mapping[bytes, tuple[int, int]]) -> list[list[object]]:
    """The walk over a tree, in the words of bin/detect_driver."""
    told: list[list[object]] = []
    firsts = first_names(names)
    depth = 0
    for path in archive_order(names):
        node, here = names[path], path.count(b"/")
        told += [["leave"]] * (depth - here)
        depth = here
        if isinstance(node, Directory):
            told.append(["enter"])
            depth += 1
        elif not isinstance(node, File):
            told.append(["special"])
        elif path not in firsts:
            told.append(["link"])
        elif path in verdict.reusable:
            told.append(["file", len(node.content), "unchanged", old_places[path][0]])
        else:
            told.append(["file", len(node.content), "mtime", *old_places.get(path, (0,))])
    return told + [["leave"]] * depth


def case_of(
    profile: str, limit: int, options: Mapping[str, int], old: Index, old_files: Mapping[bytes, tuple[int, int]],
    events: list[list[object]],
) -> Json:  # fmt: skip
    average = base.CHUNK_KIB << 10
    return {
        "profile": profile, "cache_limit": limit, "threshold_ppm": 100_000, "chunk_average": average,
        "absorb_below": average // 16, "absorb_until": average // 4, "max_instances": 8, **options,
        "old_index": [[end, digest.hex()] for end, digest in old],
        "old_files": [list(place) for place in old_files.values()], "events": events,
    }  # fmt: skip


def differences(answer: Json, case: Json, lines: list[Json], stats: Json) -> list[str]:
    """What the program decided that its twin did not."""
    files = [line for line in lines if line["action"] != "hardlink"]
    said = []
    for (_, action, reason, offset), line in zip(answer["files"], files, strict=True):
        is_same = action == line["action"] and offset == line["offset"]
        is_collateral = reason in COLLATERAL or line["reason"] in COLLATERAL
        if not is_same or (is_collateral and reason != line["reason"]):
            said.append(f"the twin says {action} for {reason} at {offset}: {line}")
    counters = ("injected_chunks", "partial_chunks", "unreferenced_chunks", "early_chunks", "injected_bytes")
    wanted = {name: (answer[name], stats[name]) for name in counters}
    wanted["size"] = (answer["payload_size"], stats["payload"]["size"])
    if case["profile"] == "stored":
        wanted["given_up"] = (answer["given_up"], [stats["given_up_chunks"][r] for r in ("threshold", "instances", "absorbed")])
    else:
        wanted["flushes"] = (answer["flushes"], stats["flushes"])
        wanted["rejected_ranges"] = (answer["rejected_ranges"], stats["rejected_ranges"])
    return said + [f"the twin says {name} {twin}, not {mine}" for name, (twin, mine) in wanted.items() if twin != mine]
