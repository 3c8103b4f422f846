"""session/budget.py and suites.py: what is left out when time is short, and what is never left out silently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pxarbench_harness import cli, datasets, mutate
from pxarbench_harness import session as sessions
from pxarbench_harness.session import budget, expect, suites


def plan_of(suite: str, *names: str) -> sessions.Plan:
    chosen = suites.SUITES[suite]
    recipes = [datasets.load(name) for name in names or chosen.datasets]
    modes = tuple(("pxarbench", mode) for mode in chosen.modes or ("data", "metadata"))
    return sessions.Plan(
        blocks=sessions.unique(chosen.blocks(recipes)), contenders=modes, rounds=chosen.rounds, output=Path(), work=Path(),
        cache=Path("/nowhere"), restore=chosen.restore,
    )  # fmt: skip


def test_more_time_never_leaves_out_more() -> None:
    plan = plan_of("cliff")
    before: set[str] = set()
    for minutes in (1, 5, 10, 20, 60, 600):
        fitted = budget.fitted(plan, 60 * minutes)
        chosen = {block.name for block in fitted.blocks}
        assert chosen and len(chosen) + len(fitted.left_out) >= len(plan.blocks)
        assert budget.total(fitted) <= 60 * minutes or len(chosen) == 1
        assert len(chosen) >= len(before)
        before = chosen
    assert before == {block.name for block in plan.blocks}


def test_what_is_left_out_is_said_by_name() -> None:
    fitted = budget.fitted(plan_of("modes"), 300)
    names = {block.name for block in plan_of("modes").blocks} - {block.name for block in fitted.blocks}
    assert names and all(any(name in text for text in fitted.left_out) for name in names)


def test_most_informative_come_first() -> None:
    fitted = budget.fitted(plan_of("modes"), 420)
    chains = [block.chain.text for block in fitted.blocks]
    assert "none" in chains and "rewrite:1%:clustered" in chains
    assert not any("*" in chain for chain in chains), "generations come last"


def test_a_budget_that_is_too_small_for_anything_says_so() -> None:
    fitted = budget.fitted(plan_of("modes"), 1)
    assert len(fitted.blocks) == 1 and "s over the budget" in fitted.left_out[0]


def test_rounds_are_given_up_before_cases() -> None:
    plan = replace(plan_of("tools"), rounds=9)
    enough_for_five = budget.total(budget.estimated(replace(plan, rounds=5)))
    fitted = budget.fitted(plan, enough_for_five)
    assert fitted.rounds == 5 and not fitted.left_out


def test_modes_fit_half_an_hour_on_two_cores() -> None:
    assert budget.total(budget.estimated(plan_of("modes"))) < 30 * 60


def test_list_prints_seconds_under_a_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list", "--suite", "cliff", "--budget", "10m"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.endswith("all, with first backups") for line in said)
    assert any(line.startswith("left out: linux, edit:") for line in said)
    assert all(" s  " in line or line.startswith("left out: ") for line in said)


# ---- suites ----


def test_every_scenario_has_its_expectations() -> None:
    scenarios = {block.scenario for block in plan_of("modes").blocks}
    assert scenarios == set(expect.EXPECTED) == {f"S{n}" for n in (*range(13), 15)}


def test_cliff_has_enough_points() -> None:
    steps = [block.chain.steps[0] for block in plan_of("cliff").blocks]
    assert len({step.rate for step in steps}) >= 8 and {step.layout for step in steps} == {"uniform", "clustered", "zipf"}
    assert len(steps) == len(set(steps))


def test_truth_has_every_operation_that_a_single_backup_can_be_asked_about() -> None:
    asked = {block.chain.steps[-1].operation for block in plan_of("truth").blocks}
    assert asked == {w for w, op in mutate.OPERATIONS.items() if op.grammar != "argument" and not op.during}


@pytest.mark.parametrize("name", suites.SUITES)
def test_all_suites_can_be_listed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list", "--suite", name]) == 0
    listed = capsys.readouterr().out.split()
    assert len(listed) == len(set(listed))
