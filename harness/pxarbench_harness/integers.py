"""The exact integers of a session: what must be equal whoever repeats it, wherever, and however often it was interrupted.

    python3 -m pxarbench_harness.integers FOLDER [OTHER]     prints them; with OTHER, only what differs (exit 1)

A line is `case,phase,generation,counter,value`, sorted. Nothing in it depends on time, machine, load or order of runs:
times, memory, sizes of files that hold times, and the programs' own free text are left out. Repetitions of a case must be
equal among each other (check.py), so each appears once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from .record import Record, RecordBroken, read

#: Of an outcome: what the same program must report for the same tree and the same store.
COUNTERS = (
    "reused_files", "reencoded_files", "changed_files", "collateral_files", "file_bytes_read", "reencoded_bytes", "new_bytes",
    "new_chunks", "injected_chunks", "injected_bytes", "partial_chunks", "unreferenced_chunks", "padding_bytes",
    "payload_bytes", "warnings",
)  # fmt: skip
#: Only of programs that are deterministic themselves (Subject.deterministic): others draw keys or chunk limits by chance.
EXACT_SUBJECT = "pxarbench"

Line = tuple[str, str, int, str, str]


def _lines(record: Record) -> Iterable[Line]:
    def line(name: str, value: object) -> Line:
        return (record.case, record.phase, record.generation, name, str(value))

    yield line("dataset.tree_digest", record.dataset["tree_digest"])
    yield line("necessary_bytes", record.necessary_bytes)
    for name in ("files", "bytes", "gone"):
        yield line(f"mutation.{name}", record.mutation[name])
    for facet, count in record.mutation["facets"].items():
        # Counted by the kernel, not by the mutation: which inode a new file gets is the file system's business.
        if facet not in ("inode", "ctime"):
            yield line(f"mutation.facets.{facet}", count)
    if record.verdict is not None and record.subject.partition("@")[0] == EXACT_SUBJECT:
        for name, count in record.verdict.items():
            yield line(f"verdict.{name}", count)
    outcome = record.outcome
    if outcome is None:
        yield line("failed", record.exit_code)
    elif record.subject.partition("@")[0] == EXACT_SUBJECT:
        for name in COUNTERS:
            yield line(name, outcome.get(name))
        for name, checksum in outcome["checksums"].items():
            yield line(f"checksum.{name}", checksum)


def of(records: Iterable[Record]) -> list[Line]:
    """Sorted, each once. Reference runs and warm-ups are left out: a session that was interrupted has more of them."""
    found: set[Line] = set()
    for record in records:
        if record.phase in ("measured", "proof"):
            found.update(_lines(record))
    return sorted(found)


def differences(a: Sequence[Line], b: Sequence[Line]) -> list[str]:
    """One sentence per line that only one of them has; a counter that repetitions disagree on shows up as two lines."""
    left, right = set(a), set(b)
    said = [(*line, "only in the first") for line in left - right] + [(*line, "only in the second") for line in right - left]
    return [", ".join(map(str, line[:-1])) + f": {line[-1]}" for line in sorted(said)]


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not 1 <= len(words) <= 2 or words[0].startswith("-"):
        print((__doc__ or "").strip())
        return 0 if words in (["-h"], ["--help"]) else 2
    try:
        sessions = [of(read(Path(word) / "records.jsonl")) for word in words]
    except (OSError, RecordBroken) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if len(sessions) == 1:
        for line in sessions[0]:
            print(",".join(map(str, line)))
        return 0
    found = differences(*sessions)
    for text in found[:100]:
        print(text)
    if len(found) > 100:
        print(f"and {len(found) - 100} more")
    counted = f"{len(sessions[0]):,} and {len(sessions[1]):,} integers"
    print(f"{len(found):,} differences among {counted}" if found else f"equal: {counted}")
    return 1 if found or not sessions[0] else 0


if __name__ == "__main__":
    sys.exit(main())
