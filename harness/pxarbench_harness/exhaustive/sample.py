"""A seeded sample of the sequences, as rows for a report: `python3 -m pxarbench_harness.exhaustive.sample --help`.

All sequences, with the second implementation deciding along, are suites/regress_exhaustive.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import locate
from .cases import PROFILES, Ground, Setting, settings_of
from .operations import WORDS, apply_all
from .places import planting_ground
from .search import LENGTH, Search, Tally, Words, minimal

SCHEMA = "pxarbench-exhaustive/1"


def chosen(length: int, count: int, seed: int) -> Iterator[Words]:
    """Sequences of this length in random order, the same for the same seed; more than `count`, for some do not apply."""
    everything = list(itertools.product(WORDS, repeat=length))
    random.Random(f"exhaustive {seed} {length}").shuffle(everything)
    yield from everything[: 4 * count]


def rows(
    program: Path, work: Path, output: Path, say: Callable[[str], None] = lambda _: None, *, count: int = 20, seed: int = 1,
    settings: Sequence[Setting] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """`count` sequences of each length, in all settings. Writes output/exhaustive.json, and returns its rows: length,
    sequences, cases, misses (expected ones), collateral, restored, problems (sentences, those of shortest sequences)."""
    settings = settings_of(PROFILES) if settings is None else settings
    found: list[dict[str, Any]] = []
    findings: list[str] = []
    with planting_ground(work) as (folder, sees_xattrs), tempfile.TemporaryDirectory(dir=folder) as place:
        ground = Ground(program, Path(place) / "exhaustive", settings, sees_xattrs)
        search = Search(ground, restore_every=10)
        for length in range(LENGTH + 1):
            tally = Tally()
            for words in chosen(length, count, seed):
                if tally.sequences - tally.repeated >= count:
                    break
                ground.garden.become(ground.base_names)
                if apply_all(ground.garden, words):
                    search.sequence(words, tally)
                else:
                    tally.skipped += 1
            sentences = [finding.text() for finding in minimal(tally.findings)]
            findings += sentences
            found.append({
                "length": length, "sequences": tally.sequences - tally.repeated, "cases": tally.cases,
                "misses": tally.missed_files, "collateral": tally.collateral_files, "restored": tally.restores,
                "problems": len(tally.findings),
            })  # fmt: skip
            say(f"exhaustive: {found[-1]}")
            for text in sentences:
                say(text)
    output.mkdir(parents=True, exist_ok=True)
    part = output / "exhaustive.json.partial"
    whole = {"schema": SCHEMA, "seed": seed, "settings": [s.id for s in settings], "rows": found, "findings": findings}
    part.write_text(json.dumps(whole, indent=1) + "\n")
    os.rename(part, output / "exhaustive.json")
    return found


def table(found: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    names = ("length", "sequences", "cases", "misses", "collateral", "restored", "problems")
    lines = ["| " + " | ".join(names) + " |", "|" + "--:|" * len(names)]
    lines += ["| " + " | ".join(f"{row[name]:,}" for name in names) + " |" for row in found]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    text = (__doc__ or "").split(":")[0]
    parser = argparse.ArgumentParser(prog="python3 -m pxarbench_harness.exhaustive.sample", description=text)
    parser.add_argument("--binary", type=Path, default=None, help="the program; default: $PXARBENCH, else the newest build")
    parser.add_argument("--count", type=int, default=20, help="sequences of each length (default 20)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="folder for exhaustive.json")
    parser.add_argument("--work", type=Path, default=None, help="folder for trees and stores; default: a temporary one")
    options = parser.parse_args(words)
    program = options.binary or locate.pxarbench()
    if program is None:
        parser.error("pxarbench is not built")
    with tempfile.TemporaryDirectory(prefix="pxarbench-exhaustive-", dir=options.work) as work:
        found = rows(program, Path(work), options.output, print, count=options.count, seed=options.seed)
    print(table(found))
    return 1 if any(row["problems"] for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
