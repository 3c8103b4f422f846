"""The reuse cliff as pytest items, one per case: how much is read again when a share of the files changed, per profile.

PXB_CLIFF_DATASET (default: tiny), PXB_CLIFF_ROUNDS (default: 1) and PXB_CLIFF_CASES (LAYOUT:PERCENT,...) choose the size; at
the default the suite belongs to the normal test run. The published figures come from the same code, by its command line:
`python3 -m pxarbench_harness.cliff --help`.

Each item: the streams and the program's own account agree, references are in order, no chunk of the profile `stored` has
more stored waste than the threshold, the restored tree is equal; with the Linux tree of the reference's runs also: `upstream`
decides as the reference did.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import cliff, cliff_report, datasets, locate
from pxarbench_harness.cliff_reference import RUNS, Case, load

DATASET = os.environ.get("PXB_CLIFF_DATASET", "tiny")
ROUNDS = int(os.environ.get("PXB_CLIFF_ROUNDS", "1"))
#: The figures of the summary: what was reused, and with how much padding.
DECISIONS = (
    "total files", "hardlinks", "reused files", "reused bytes", "re-encoded files", "re-encoded bytes", "padding", "partial chunks",
)  # fmt: skip
#: Of the tiny tree a tenth of a percent is one file.
CASES = cliff.parse_cases(os.environ["PXB_CLIFF_CASES"]) if "PXB_CLIFF_CASES" in os.environ else (
    cliff.CASES if DATASET == "linux" else tuple(Case(layout, rate) for layout in ("uniform", "clustered") for rate in ("0.2", "5"))
)  # fmt: skip


@pytest.fixture(scope="session")
def measured(pxarbench: Path, seed: int, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("cliff")
    vectors = locate.vectors()
    known = DATASET == "linux" and vectors is not None and (vectors / RUNS).is_file()
    plan = cliff.Plan(
        binary=pxarbench, recipe=datasets.load(DATASET), work=folder / "work", cases=CASES, rounds=ROUNDS, seed=seed,
        settings=cliff.available(pxarbench), references=tuple(load(vectors / RUNS)) if known and vectors else (),
        # What is made in a second need not outlive the test run; its chunks are as small as its files.
        cache=folder / "cache" if DATASET == "tiny" else None, chunk_kib=64 if DATASET == "tiny" else 4096,
    )  # fmt: skip
    data = cliff.Cliff(plan).run()
    cliff_report.write(data, folder)
    print((folder / "report.md").read_text())
    return data


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.layout}-{case.rate}pct".replace(".", "p"))
def test_case(case: Case, measured: dict[str, Any]) -> None:
    assert [p for p in measured["problems"] if p.startswith(f"{case.name},")] == []
    (item,) = (c for c in measured["cases"] if cliff_report.case_of(c) == case)
    assert set(item["runs"]) == {s["name"] for s in measured["settings"]} and len(item["runs"]) >= 2
    for done in item["runs"].values():
        assert done["restored_equal"] and done["reencoded_files"] >= item["touched"] and len(done["wall_ns"]) == ROUNDS
    if item["reference"] is not None and item["reference"]["files"] == measured["dataset"]["files"]:
        found = cliff_report.compared_with_reference(item)
        # Decisions are alike to the byte; chunks can differ by a boundary that came too late in the reference's own data run.
        assert [d for d in found if d.name in DECISIONS or abs(d.relative) > cliff_report.FLAGGED] == []
