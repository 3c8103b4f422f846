"""The benchmark as pytest items, one per case: `pytest harness/suites/bench_modes.py -k metadata`.

Selecting, skipping and JUnit are pytest's; measuring is the session's (pxarbench_harness/session/). Rounds are
interleaved over the cases, so the first item of a dataset runs the session for all selected ones.

PXB_BENCH_DATASETS (default: tiny) and PXB_BENCH_ROUNDS (default: 2) choose the size: at the default the suite belongs to the
normal test run, so that it never rots.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pxarbench_harness import datasets, mutate, session
from pxarbench_harness.record import Record
from pxarbench_harness.subjects import SUBJECTS, Settings

DATASETS = os.environ.get("PXB_BENCH_DATASETS", "tiny").split(",")
ROUNDS = int(os.environ.get("PXB_BENCH_ROUNDS", "2"))
MUTATIONS = ("none", "edit:1%:clustered", "touch:1%:uniform")

#: Dataset, mutation, subject, mode.
Key = tuple[str, str, str, str]

KEYS: list[Key] = [
    (dataset, mutation, subject, mode)
    for dataset in DATASETS for mutation in MUTATIONS for subject in ("pxarbench", "restic")
    for mode in SUBJECTS[subject].default_modes
]  # fmt: skip


def word_id(key: Key) -> str:
    dataset, mutation, subject, mode = key
    return session.case_id(dataset, mutate.parse_chain(mutation), subject, mode, "warm")


@pytest.fixture(scope="session")
def measured(
    request: pytest.FixtureRequest, pxarbench: Path, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Key], list[Record]]:
    """All records of a case. Runs the dataset's session when it is asked for the first time."""
    settings = Settings(binary=pxarbench)
    calls = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    selected: list[Key] = [call.params["key"] for call in calls if "key" in call.params]
    sessions: dict[str, session.Session] = {}

    def records(key: Key) -> list[Record]:
        dataset, _, subject, _ = key
        missing = SUBJECTS[subject].missing(settings)
        if missing:
            pytest.skip(missing)
        if dataset not in sessions:
            keys = [k for k in selected if k[0] == dataset]
            folder = tmp_path_factory.mktemp("bench")
            sessions[dataset] = session.Session(
                session.Plan(
                    blocks=session.product([datasets.load(dataset)], [k[1] for k in keys]),
                    contenders=tuple(dict.fromkeys((k[2], k[3]) for k in keys)), rounds=ROUNDS,
                    output=folder / "out", work=folder / "work", seed=seed, settings=settings,
                    # What is made in a second need not outlive the test run.
                    cache=folder / "cache" if dataset == "tiny" else None,
                )
            )  # fmt: skip
            sessions[dataset].run()
        return [r for r in sessions[dataset].records if r.case == word_id(key)]

    return records


@pytest.mark.parametrize("key", KEYS, ids=word_id)
def test_case(key: Key, measured: Callable[[Key], list[Record]]) -> None:
    """Measured in every round, its mode proven, its last snapshot restored and equal to the tree."""
    records = measured(key)
    assert [problem for r in records for problem in r.problems] == []
    rounds = [r for r in records if r.phase == "measured"]
    assert [r.round for r in rounds] == list(range(1, ROUNDS + 1))
    assert [r.restored for r in rounds] == [False] * (ROUNDS - 1) + [True]
    assert all(r.wall_ns > 0 and r.peak_rss_bytes > 0 for r in rounds)
