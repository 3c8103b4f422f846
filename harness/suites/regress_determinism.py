"""The determinism matrix in full: one result per case, whatever the circumstances (pxarbench_harness/determinism.py).

    PXB_DETERMINISM=full pytest -s harness/suites/regress_determinism.py --basetemp=FOLDER

Circumstances: 1 to 8 threads x idle or busy x `ulimit -n` 32 to 65536 (or the machine's hard limit) x sizes of reads x tmpfs,
ext4, xfs, btrfs (images on loop devices, so for root only) x with and without --decisions. Cases: metadata in each profile
with two cache limits, data, legacy; trees without and with extended attributes and flags. PXB_DETERMINISM=N takes N
circumstances, chosen so that as many pairs as possible meet (--seed); the default, 2, keeps the suite a part of the normal test run.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from pxarbench_harness import determinism

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from matrix_places import known_profiles, prepare_places  # noqa: E402

WANTED = os.environ.get("PXB_DETERMINISM", "2")


def test_one_result_in_all_circumstances(
    pxarbench: Path, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        places = prepare_places(pxarbench, tmp_path, seed, stack)
        every = determinism.product(list(dict.fromkeys(name for name, _ in places)))
        variations = determinism.chosen(every, len(every) if WANTED == "full" else int(WANTED), seed)
        rows = determinism.measure(pxarbench, places, determinism.cases(known_profiles(pxarbench)), variations)
    met, pairs = determinism.pairs_met(variations, every)
    with capsys.disabled():
        print(f"\n{len(variations):,} of {len(every):,} circumstances, {met:,} of {pairs:,} pairs of them; seed {seed}; ", end="")
        print(f"{sum(len(row.results) for row in rows):,} runs; hard limit of descriptors {determinism.hard_limit():,}")
        print(determinism.table(rows))
    assert [(row.case.name, row.strays) for row in rows if not row.is_one] == []
