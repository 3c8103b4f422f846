#!/usr/bin/python3
"""Stands between a test and pxarbench, and lies: $LIE says how, $LIE_PROGRAM is the real program.

A lie is told in metadata runs only, so that the reference is honest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIE, PROGRAM = os.environ["LIE"], os.environ["LIE_PROGRAM"]
Line = dict[str, Any]

#: Options that make it another program than asked for.
OTHER_WORDS = {
    "blind": ["--compare", "content"],
    "greedy": ["--padding-threshold", "0.5"],
    "stingy": ["--padding-threshold", "0"],
    "upstream": ["--reuse-profile", "upstream"],
    "loses": ["--exclude", "/c/r"],
}


def value_of(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def replaced(words: list[str], name: str, value: str) -> list[str]:
    if name not in words:
        return [*words, name, value]
    at = words.index(name)
    return [*words[: at + 1], value, *words[at + 2 :]]


def change_lines(words: list[str], change: Callable[[list[Line]], None]) -> None:
    path = Path(value_of(words, "--decisions"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def change_stats(words: list[str], change: Callable[[Line], None]) -> None:
    path = Path(value_of(words, "--stats"))
    stats = json.loads(path.read_text())
    change(stats["archives"][0])
    path.write_text(json.dumps(stats))


def damage_last_chunk(words: list[str]) -> None:
    """The newest chunk gets another byte where its contents begin or end."""
    chunks = (Path(value_of(words, "--repository")) / ".chunks").glob("*/*")
    newest = max(chunks, key=lambda path: path.stat().st_mtime_ns)
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)


def other_reason(lines: list[Line]) -> None:
    for line in lines:
        if line["action"] == "reencoded":
            line["reason"] = "owner"


def other_place(lines: list[Line]) -> None:
    for line in lines:
        if line["action"] == "reused":
            line["old_offset"] += 16


def claims_reuse(lines: list[Line]) -> None:
    for line in lines:
        if line["action"] == "reencoded":
            line.update(action="reused", reason="unchanged", old_offset=line["offset"])


def add(name: str, by: int) -> Callable[[Line], None]:
    def change(archive: Line) -> None:
        archive[name] += by

    return change


LINES: dict[str, Callable[[list[Line]], None]] = {
    "other-reason": other_reason,
    "other-place": other_place,
    "claims-reuse": claims_reuse,
    "forgets-a-line": lambda lines: lines.pop() and None,
}
STATS: dict[str, Callable[[Line], None]] = {
    "padding": add("padding_bytes", -1),
    "reads-nothing": lambda archive: archive.update(file_bytes_read=0),
    "injections": add("injected_chunks", 1),
}


def main() -> int:
    words = sys.argv[1:]
    if words[0] == "restore" and LIE == "restores-less":
        code = subprocess.call([PROGRAM, *words])
        (Path(words[3]) / "c" / "r").unlink()
        return code
    if words[0] != "backup" or value_of(words, "--change-detection-mode") != "metadata":
        return subprocess.call([PROGRAM, *words])
    if LIE in OTHER_WORDS:
        words = replaced(words, *OTHER_WORDS[LIE])
    if LIE == "reads-all":
        words = replaced(words, "--change-detection-mode", "data")
    code = subprocess.call([PROGRAM, *words])
    if LIE in LINES:
        change_lines(words, LINES[LIE])
    elif LIE in STATS:
        change_stats(words, STATS[LIE])
    elif LIE == "damages":
        damage_last_chunk(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
