"""For tests of sessions: a small dataset, and the stand-in for the program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pxarbench_harness import archive, datasets, measure
from pxarbench_harness import session as sessions
from pxarbench_harness.subjects import Settings

FAKE = Path(__file__).with_name("fake_pxarbench.py")
BOTH = (("pxarbench", "data"), ("pxarbench", "metadata"))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in makes no archives; that they are looked into is shown with the program itself (test_session.py)."""
    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")
    monkeypatch.setattr(archive, "problems", lambda *_: [])


def tinier() -> datasets.Recipe:
    """The dataset tiny with smaller large files: the stand-in copies them often."""
    full = datasets.load("tiny")
    return replace(full, values={**full.values, "large": 200_000, "content_digest": "", "portable_digest": ""})


def small_plan(folder: Path, cache: Path, *chains: str) -> sessions.Plan:
    return sessions.Plan(
        blocks=sessions.product([tinier()], chains or ["edit:1%:clustered"]), contenders=BOTH, rounds=1, warmups=0,
        counts_syscalls=False, output=folder / "out", work=folder / "work", cache=cache, settings=Settings(binary=FAKE),
    )  # fmt: skip


def quiet(plan: sessions.Plan) -> sessions.Session:
    made = sessions.Session(plan, say=lambda text: None)
    made.run()
    return made
