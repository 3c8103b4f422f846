"""All sequences of up to three operations over a small tree, with cache limits 1, 2 and large, in every reuse profile.

    PXB_EXHAUSTIVE=full pytest -s harness/suites/regress_exhaustive.py          the nightly job

8,421 sequences, of which 7,282 apply. They lead to 1,719 different trees; each of these is backed up once per setting. Whether
the disk holds what the model says is looked at after every sequence, and every run's decisions are those of its twin.

    PXB_EXHAUSTIVE_REPEAT=1           back up after every sequence
    PXB_EXHAUSTIVE_SHARD=2/5          the second of five parts
    PXB_EXHAUSTIVE_STATE=FOLDER       keep what is done there, and go on with it after an interruption
    PXB_EXHAUSTIVE_PROFILES=tight     some profiles only
    PXB_EXHAUSTIVE_CHAINED=1          a run after each operation, each with the one before as its reference

Without PXB_EXHAUSTIVE=full every single operation and no more, so that the suite never rots.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import measure
from pxarbench_harness.exhaustive import cases, places, search

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import detect_model  # noqa: E402
import stored_model  # noqa: E402

FULL = os.environ.get("PXB_EXHAUSTIVE") == "full"
SHARD = os.environ.get("PXB_EXHAUSTIVE_SHARD", "1/1")
STATE = os.environ.get("PXB_EXHAUSTIVE_STATE")
PROFILES = os.environ.get("PXB_EXHAUSTIVE_PROFILES", ",".join(cases.PROFILES)).split(",")
REPEATS = os.environ.get("PXB_EXHAUSTIVE_REPEAT", "") not in ("", "0")
CHAINED = os.environ.get("PXB_EXHAUSTIVE_CHAINED", "") not in ("", "0")


def decide_again(case: dict[str, Any]) -> dict[str, Any]:
    """The twin, written from the specification alone."""
    return stored_model.windowed(case) if case["profile"] == "stored" else detect_model.cached(case)


def test_every_sequence(pxarbench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def say(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    settings = cases.settings_of(PROFILES)
    wanted = search.shard(search.units() if FULL else search.units()[:21], SHARD)
    kind = "chained" if CHAINED else "repeating" if REPEATS else "single"
    name = f"{kind}-{'+'.join(PROFILES)}-{SHARD.replace('/', 'of')}{'' if FULL else '-short'}"
    header: dict[str, object] = {"search": name, "settings": search.shown(settings), "program": measure.build_text(pxarbench)}
    journal = search.Journal(Path(STATE) / f"{name}.jsonl", header) if STATE else None
    with places.planting_ground(tmp_path / "ground") as (folder, sees_xattrs):
        ground = cases.Ground(pxarbench, folder / "exhaustive", settings, sees_xattrs, decide_again)
        say(f"\n{name}: {len(wanted)} units; {search.shown(settings)}; extended attributes: {sees_xattrs}")
        total = search.run_units(search.Search(ground, chained=CHAINED, repeats=REPEATS), wanted, journal, say)
    say(
        f"{name}: {total.sequences} sequences, {total.skipped} more do not apply; {total.sequences - total.repeated} different "
        f"runs of them, {total.cases} cases, {total.restores} restored by the program, {total.missed_files} expected misses, {total.collateral_files} collateral files, "
        f"{len(total.findings)} findings, {total.seconds:.0f} s"
    )
    shortest = search.minimal(total.findings)
    assert not shortest, "\n" + "".join(finding.text() for finding in shortest[:20])
