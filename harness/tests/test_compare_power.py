"""The power table: simulated trials through the code that judges real ones, going on, and a wrapper that lengthens runs."""

from __future__ import annotations

import gzip
import math
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pxarbench_harness import run
from pxarbench_harness.compare import decide, findings, power, power_pool
from pxarbench_harness.compare.cases import Case, Numbers, named
from pxarbench_harness.compare.decide import BASE, NULL
from pxarbench_harness.compare.rounds import CONFIRM, Sample
from pxarbench_harness.gates.verdict import Level

LIMITS = findings.read_limits()
ABOUT = {"program": "p", "rounds": 6, "of": "chunk restore", "rules": "then"}
SAMPLES: dict[int, list[Sample]] = {}


class SimulatedBench:
    """Takes 100 ms with this noise, and as much longer as the arm's name says."""

    def __init__(self, seed: int, scatter: float = 0.005) -> None:
        self.noise = random.Random(seed)
        self.scatter = scatter

    def measure(self, case: Case, arm: str, binary: Path, *, prove: bool = False) -> Numbers:
        slower = int(arm[3:]) / 1000 if arm.startswith("sl-") else 0.0
        wall = round(1e8 * (1 + slower) * math.exp(self.noise.gauss(0, self.scatter)))
        return Numbers(wall, wall // 2, wall // 4, 10_000_000, 1, 1)


def arms() -> dict[str, Path]:
    return {arm: Path(arm) for arm in (BASE, NULL, *power.EQUALS, *map(power.arm_name, power.SLOWDOWNS))}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """What is detectable is predicted from fewer sessions: nothing here asks for its value."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decide, "_SESSIONS", 10)
        yield


@pytest.fixture(scope="module")
def trials() -> list[power.Trial]:
    cases = [named("chunk"), named("restore")]
    made = []
    for number in range(3):
        bench = SimulatedBench(number)
        given = {"rounds": 6, "seed": number, "limits": LIMITS, "say": lambda _text: None}
        first, confirm = power.trial(bench, cases, arms(), arms(), **given)  # type: ignore[arg-type]
        SAMPLES[number] = [*first, *confirm]
        said = power.judged(first, confirm, power.heads_of(arms()), ["chunk", "restore"], LIMITS)
        made.append(power.Trial(number, len(first) + len(confirm), tuple(said)))
    return made


def test_planted_slowdowns_are_counted(trials: list[power.Trial]) -> None:
    rows = {(row.case, row.quantity, row.planted): row for row in power.rows(trials, power.SLOWDOWNS)}
    assert len(rows) == 2 * (3 + 2) * 6  # three that are measured, two that are counted
    assert rows["chunk", "stored", 0.10].levels[Level.OK] == 3
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
    for samples in SAMPLES.values():
        again = [sample for sample in samples if sample.series == CONFIRM]
        assert [sample.number for sample in samples] == list(range(len(samples)))
        # As in ci/compare: each round visits all cases.
        assert {(s.round, s.case) for s in again[: len(again) // 6]} == {(0, "chunk"), (0, "restore")}
        assert power.arm_name(0.01) not in {sample.arm for sample in again}


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
    assert "6 sessions of 10 comparisons; 0 with a false alarm" in page


def test_trials_survive_an_interruption(trials: list[power.Trial]) -> None:
    text = "".join(power.to_line(one, ABOUT) for one in trials)
    assert power.from_lines(text, ABOUT, "f") == trials
    assert power.from_lines(text[:-40], ABOUT, "f") == trials[:2]
    assert power.from_lines("", ABOUT, "f") == []


@pytest.mark.parametrize(("old", "new", "says"), [
    ("pxarbench-power/1", "pxarbench-power/2", "f:1: schema"),
    ('"rounds": 6', '"rounds": 7', r"f:1: was made with another rounds \(7, not 6\)"),
    ('"regression"', '"worse"', "worse"), ('"runs"', '"rums"', "runs"),
    ('{"schema"', '{schema', "f:1: Expecting"),
])  # fmt: skip
def test_trials_of_something_else_are_refused(trials: list[power.Trial], old: str, new: str, says: str) -> None:
    text = "".join(power.to_line(one, ABOUT) for one in trials)
    assert old in text
    with pytest.raises(ValueError, match=says):
        power.from_lines(text.replace(old, new, 1), ABOUT, "f")


def test_trials_are_judged_again_from_their_samples(trials: list[power.Trial], tmp_path: Path) -> None:
    for one in trials:
        power.write_samples(power.samples_file(tmp_path, one.number), SAMPLES[one.number])
    assert power.read_samples(power.samples_file(tmp_path, 0)) == SAMPLES[0]
    (tmp_path / "trials.jsonl").write_text("".join(power.to_line(replace(one, said=()), ABOUT) for one in trials))
    # Of the last one the confirming rounds are missing: what is suspected in it cannot be judged.
    first = [sample for sample in SAMPLES[2] if sample.series != CONFIRM]
    power.write_samples(power.samples_file(tmp_path, 2), first)
    told: list[str] = []
    power.judge_again(tmp_path, told.append)
    assert len(told) == 1 and "trial 3: " in told[0] and "was not measured again" in told[0]
    about = {**ABOUT, "rules": power.rules(LIMITS)}
    assert power.from_lines((tmp_path / "trials.jsonl").read_text(), about, "f") == trials[:2]
    assert "2 trials" in (tmp_path / "power.md").read_text()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]\n", b'{"number": 1}\n'])
def test_broken_samples_are_named(tmp_path: Path, content: bytes) -> None:
    file = power.samples_file(tmp_path, 0)
    file.write_bytes(content if not content else gzip.compress(content))
    if content:
        with pytest.raises(ValueError, match="samples-001"):
            power.read_samples(file)
    else:
        assert power.read_samples(file) == []


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


def noisy_trials(count: int) -> list[list[Sample]]:
    """Runs that scatter by 4 %: what 5 % costs is lost in six rounds."""
    made = []
    for number in range(count):
        bench = SimulatedBench(100 + number, scatter=0.04)
        given = {"rounds": 6, "seed": number, "limits": LIMITS, "say": lambda _text: None}
        first, confirm = power.trial(bench, [named("chunk")], arms(), arms(), **given)  # type: ignore[arg-type]
        made.append([*first, *confirm])
    return made


def levels(trials: list[power.Trial], share: float) -> list[Level]:
    arm = power.arm_name(share)
    return [said.level for one in trials for said in one.said if (said.arm, said.quantity) == (arm, "wall")]


def test_pooled_trials_find_what_single_ones_miss() -> None:
    samples = noisy_trials(33)
    pooled = power_pool.pooled(samples, 16, ["chunk"], LIMITS)
    assert [one.number for one in pooled] == [0, 1]  # the 33rd is left over
    assert [one.runs for one in pooled] == [16 * 6 * 2 * len(arms())] * 2
    assert levels(pooled, 0.10) == [Level.REGRESSION] * 2
    single = power_pool.pooled(samples[:4], 1, ["chunk"], LIMITS)
    assert Level.REGRESSION not in levels(single, 0.05)
    assert levels(power_pool.pooled(samples, 16, ["chunk"], LIMITS), 0.05) == [Level.REGRESSION] * 2
    assert all(
        said.level in (Level.OK, Level.INCONCLUSIVE) for one in pooled for said in one.said if said.arm in power.EQUALS
    )


def test_pooled_rounds_stay_apart_and_confirming_ones_are_not_counted_as_first() -> None:
    samples = noisy_trials(2)
    of_both = power_pool.joined(samples, CONFIRM)
    assert {sample.series for sample in of_both} == {CONFIRM}
    assert len({(s.round, s.position) for s in of_both}) == len(of_both) == 2 * 6 * 2 * len(arms())
    with pytest.raises(ValueError, match="3 trials are not two groups of 2"):
        power_pool.pooled([*samples, samples[0]], 2, ["chunk"], LIMITS)


def test_pooling_on_the_command_line(
    trials: list[power.Trial], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = {**ABOUT, "rules": power.rules(LIMITS)}
    two = [trials[0], replace(trials[1], number=1)]
    (tmp_path / "trials.jsonl").write_text("".join(power.to_line(one, about) for one in two))
    assert power.main(["--output", str(tmp_path), "--pool", "1"]) == 1
    assert "--pool 1: at least 2" in capsys.readouterr().err
    for number in range(4):
        power.write_samples(power.samples_file(tmp_path, number), SAMPLES[number % 2])
    four = [replace(trials[number % 2], number=number) for number in range(4)]
    (tmp_path / "trials.jsonl").write_text("".join(power.to_line(one, about) for one in four))
    assert power.main(["--output", str(tmp_path), "--pool", "2"]) == 0
    assert "12 rounds, 2 trials" in capsys.readouterr().out
    assert (tmp_path / "power-pool2.csv").read_text().count("chunk,wall") == 6
    assert not (tmp_path / "power.csv").exists()
