"""Writes the reports of a session's folder again: python3 -m pxarbench_harness.report FOLDER."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import FolderBroken, render, write


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m pxarbench_harness.report",
        description="Writes report.html, report.md, report.txt and report.rfc.txt of a session again, from its records alone.",
    )
    parser.add_argument("folder", type=Path, help="where records.jsonl is")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the resampling behind the intervals (default: 1)")
    parser.add_argument("--print", action="store_true", help="also print it")
    options = parser.parse_args(words)
    try:
        report = write(options.folder, seed=options.seed)
    except (FolderBroken, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    if options.print:
        render.terminal(report)
    print(f"written: {options.folder}/report.html, report.md, report.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
