"""The sample of sequences that a session runs: seeded, counted, and red when a case goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pxarbench_harness.exhaustive import cases, sample
from pxarbench_harness.exhaustive.cases import Ground, Setting, Taken
from pxarbench_harness.tree import Tree

ONE = [Setting("tight", 65536)]


def test_same_seed_same_sequences() -> None:
    first = list(sample.chosen(2, 10, 1))
    assert first == list(sample.chosen(2, 10, 1)) != list(sample.chosen(2, 10, 2)) and len(set(first)) == 40


def test_rows(pxarbench: Path, tmp_path: Path) -> None:
    rows = sample.rows(pxarbench, tmp_path / "work", tmp_path / "out", count=3, settings=ONE)
    assert [(row["length"], row["sequences"], row["cases"], row["problems"]) for row in rows] == [
        (0, 1, 1, 0), (1, 3, 3, 0), (2, 3, 3, 0), (3, 3, 3, 0),
    ]  # fmt: skip
    whole = json.loads((tmp_path / "out" / "exhaustive.json").read_text())
    assert whole["rows"] == rows and whole["schema"] == sample.SCHEMA and whole["findings"] == []
    assert sample.table(rows).count("\n") == 6


def test_finding_is_counted_and_said(pxarbench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Ground.run_case

    def wrong(self: Ground, setting: Setting, before: Taken | None, at: int, tree: Tree) -> tuple[list[str], Taken | None]:
        problems, taken = real(self, setting, before, at, tree)
        return ([*problems, "planted"] if before else problems), taken

    monkeypatch.setattr(cases.Ground, "run_case", wrong)
    said: list[str] = []
    rows = sample.rows(pxarbench, tmp_path / "work", tmp_path / "out", said.append, count=1, settings=ONE)
    assert [row["problems"] for row in rows] == [1, 1, 1, 1] and any("planted" in text for text in said)
