"""The power table: simulated trials through the code that judges real ones, going on, and a wrapper that lengthens runs."""

from __future__ import annotations

import math
import os
import random
import shutil
from pathlib import Path

import pytest

from pxarbench_harness import run
from pxarbench_harness.compare import findings, power
from pxarbench_harness.compare.cases import Case, Numbers, named
from pxarbench_harness.compare.decide import BASE, NULL
from pxarbench_harness.gates.verdict import Level

LIMITS = findings.read_limits()
ABOUT = {"program": "p", "rounds": 6}


class SimulatedBench:
    """Takes 100 ms with noise of 0.5 %, and as much longer as the arm's name says."""

    def __init__(self, seed: int) -> None:
        self.noise = random.Random(seed)

    def measure(self, case: Case, arm: str, binary: Path, *, prove: bool = False) -> Numbers:
        slower = int(arm[3:]) / 1000 if arm.startswith("sl-") else 0.0
        wall = round(1e8 * (1 + slower) * math.exp(self.noise.gauss(0, 0.005)))
        return Numbers(wall, wall // 2, wall // 4, 10_000_000, 1, 1)


def arms() -> dict[str, Path]:
    return {arm: Path(arm) for arm in (BASE, NULL, *power.EQUALS, *map(power.arm_name, power.SLOWDOWNS))}


@pytest.fixture(scope="module")
def trials() -> list[power.Trial]:
    cases = [named("chunk"), named("restore")]
    made = []
    for number in range(3):
        bench = SimulatedBench(number)
        said, runs = power.trial(
            bench, cases, arms(), rounds=6, seed=number, limits=LIMITS, say=lambda _text: None,  # type: ignore[arg-type]
        )  # fmt: skip
        made.append(power.Trial(number, runs, tuple(said)))
    return made


def test_planted_slowdowns_are_counted(trials: list[power.Trial]) -> None:
    rows = {(row.case, row.quantity, row.planted): row for row in power.rows(trials, power.SLOWDOWNS)}
    assert len(rows) == 2 * 3 * 6
    for case in ("chunk", "restore"):
        assert rows[case, "wall", 0.0].trials == 6
        assert rows[case, "wall", 0.0].levels[Level.OK] == 6
        assert rows[case, "wall", 0.01].levels[Level.REGRESSION] == 0
        assert rows[case, "wall", 0.10].levels[Level.REGRESSION] == 3
        assert rows[case, "wall", 0.10].change == pytest.approx(0.1, abs=0.01)
    assert rows["chunk", "wall", 0.05].levels[Level.REGRESSION] == 3


def test_suspects_alone_are_measured_again(trials: list[power.Trial]) -> None:
    first = len(arms()) * 2 * 6 * 2
    assert all(first < trial.runs < 2 * first for trial in trials)


def test_the_table_and_the_page(trials: list[power.Trial]) -> None:
    rows = power.rows(trials, power.SLOWDOWNS)
    lines = power.table_csv(rows).splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[0].startswith("case,quantity,planted,comparisons,regression,ok,")
    assert any(line.startswith("chunk,wall,0.1,3,3,0,0,0,") for line in lines)
    page = power.page(trials, rows, ABOUT, 6)
    row = next(line for line in page.splitlines() if line.startswith("| chunk"))
    assert row.startswith("| chunk | 0 of 6 | 0 of 3 |")
    assert "| 3 of 3 |" in row
    assert "6 sessions of 6 comparisons; 0 with a false alarm" in page


def test_trials_survive_an_interruption(trials: list[power.Trial]) -> None:
    text = "".join(power.to_line(one, ABOUT) for one in trials)
    assert power.from_lines(text, ABOUT, "f") == trials
    assert power.from_lines(text[:-40], ABOUT, "f") == trials[:2]
    assert power.from_lines("", ABOUT, "f") == []


@pytest.mark.parametrize(("old", "new", "says"), [
    ("pxarbench-power/1", "pxarbench-power/2", "f:1: schema"), ('"rounds": 6', '"rounds": 7', "f:1: was made with another"),
    ('"regression"', '"worse"', "worse"), ('"runs"', '"rums"', "runs"),
    ('{"schema"', '{schema', "f:1: Expecting"),
])  # fmt: skip
def test_trials_of_something_else_are_refused(trials: list[power.Trial], old: str, new: str, says: str) -> None:
    text = "".join(power.to_line(one, ABOUT) for one in trials)
    assert old in text
    with pytest.raises(ValueError, match=says):
        power.from_lines(text.replace(old, new, 1), ABOUT, "f")


@pytest.mark.skipif(shutil.which(os.environ.get("CC") or "cc") is None, reason="no C compiler")
def test_the_wrapper_lengthens_a_run_and_hands_through_what_the_program_says(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nsleep 0.2\necho "$@"\nexit 7\n')
    program.chmod(0o755)
    made = power.programs(program, tmp_path, (0.5, 2.0))
    assert len({len(os.fspath(path)) for path in made.values()}) == 1
    results = {arm: run.run([made[arm], "a", "b c"]) for arm in (BASE, power.arm_name(2.0))}
    assert {(one.returncode, one.text) for one in results.values()} == {(7, "a b c\n")}
    # It never takes less than the share says, however busy the machine is.
    assert results[power.arm_name(2.0)].wall_ns >= 3 * 200_000_000


def test_too_few_rounds_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert power.main(["--output", os.fspath(tmp_path), "--rounds", "2"]) == 1
    assert "fewer than 4 show nothing" in capsys.readouterr().err
