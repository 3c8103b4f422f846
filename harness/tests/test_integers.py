"""What of a session must be equal everywhere, and what must not count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import integers, record
from pxarbench_harness.record import Record

OUTCOME: dict[str, Any] = {
    "snapshot": "host/a/2026", "reference": "used", "reused_files": 9, "reencoded_files": 1, "checksums": {"payload": "ab"}, "raw": {},
}  # fmt: skip


def made(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "session": "s", "sequence": 1, "started": "2026-01-01T00:00:00Z", "case": "tiny-edit1pct-uniform-metadata-warm",
        "dataset": {"name": "tiny", "source": "x", "files": 10, "bytes": 100, "entries": 12, "tree_digest": "0" * 64},
        "mutation": {
            "text": "edit:1%:uniform", "operation": "edit", "rate": "1", "layout": "uniform", "files": 1, "bytes": 5,
            "facets": {"mtime": 1, "ctime": 1}, "gone": 0,
        },
        "subject": "pxarbench", "mode": "metadata", "cache": "warm", "phase": "measured", "round": 1, "position": 1,
        "command": ("x",), "settings": {}, "exit_code": 0, "wall_ns": 1, "user_ns": 1, "system_ns": 1, "peak_rss_bytes": 1,
        "io": {}, "syscalls": None, "resident": None, "store_bytes": 1, "store_added_bytes": 1, "necessary_bytes": 5,
        "verdict": None, "outcome": OUTCOME, "problems": (), "restored": False, "suite": "", "scenario": "", "generation": 0,
        "attempt": 1, "seed": 1, "load_average": 0.5, "commit": "c", "host_fingerprint": "0" * 12, "host": {},
    }  # fmt: skip
    return Record(**{**values, **changes})


def test_circumstances_do_not_count() -> None:
    later = made(sequence=7, round=2, position=2, wall_ns=99, started="2027-01-01T00:00:00Z", load_average=9.0, attempt=2)
    lines = integers.of([made()])
    assert lines and integers.of([made(), later]) == lines
    other_inodes = made(mutation={**made().mutation, "facets": {"mtime": 1, "ctime": 3, "inode": 2}})
    assert integers.of([other_inodes]) == lines


@pytest.mark.parametrize("name", ["reused_files", "reencoded_files", "padding_bytes", "new_chunks", "file_bytes_read"])
def test_each_counter_counts(name: str) -> None:
    other = made(outcome={**OUTCOME, name: 4711})
    found = integers.differences(integers.of([made()]), integers.of([other]))
    assert [line for line in found if name in line] == found and len(found) == 2


def test_checksums_digests_and_oracle_count() -> None:
    for other in (
        made(outcome={**OUTCOME, "checksums": {"payload": "cd"}}),
        made(dataset={**made().dataset, "tree_digest": "1" * 64}),
        made(necessary_bytes=6),
        made(mutation={**made().mutation, "files": 2}),
    ):
        assert integers.differences(integers.of([made()]), integers.of([other]))


def test_repetitions_that_disagree_are_seen() -> None:
    both = integers.of([made(), made(round=2, outcome={**OUTCOME, "reused_files": 8})])
    assert integers.differences(integers.of([made()]), both) != []


def test_other_programs_only_by_tree_and_oracle() -> None:
    restic, other = made(subject="restic"), made(subject="restic", outcome={**OUTCOME, "reused_files": 1})
    assert integers.of([restic]) == integers.of([other]) != []


def test_references_and_warm_ups_do_not_count() -> None:
    assert integers.of([made(phase="reference"), made(phase="warm-up"), made(phase="discarded")]) == []


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "validate", lambda line: json.loads(line))
    for name, made_record in (("a", made()), ("b", made(wall_ns=5)), ("c", replace(made(), necessary_bytes=9))):
        (tmp_path / name).mkdir()
        record.append(tmp_path / name / "records.jsonl", [made_record])
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert integers.main([a]) == 0
    assert "tiny-edit1pct-uniform-metadata-warm,measured,0,reused_files,9" in capsys.readouterr().out
    assert integers.main([a, b]) == 0 and "equal: " in capsys.readouterr().out
    assert integers.main([a, c]) == 1 and "necessary_bytes, 9: only in the second" in capsys.readouterr().out
    assert integers.main([a, str(tmp_path / "none")]) == 2
    assert integers.main([]) == 2
