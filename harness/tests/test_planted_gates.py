"""The planted regressions of the gates fit the sources, and what counts as "red" and "silent" is what it should be. That the gates
notice them is for harness/suites/planted_gates.py, which builds once per defect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pxarbench_harness import locate, planted, planted_gates
from pxarbench_harness.gates.verdict import GATES, Finding, Level, Verdict
from pxarbench_harness.report import render

DEFECTS = planted.load_all(planted.FOLDER_GATES)
DEFECT = planted.Defect("d", "a defect", (), (), (), ("counters",))


def test_the_regressions_asked_for_are_there() -> None:
    assert {defect.name for defect in DEFECTS} >= {
        "walk-sleeps", "tenth-file-read-twice", "one-more-allocation", "threshold-of-thirty", "held-at-every-hole", "flag-bit",
        "goodbye-order", "zstd-level-three", "suggestion-ignored", "no-size-check",
    }  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_fits_the_sources_and_names_gates(defect: planted.Defect) -> None:
    assert planted.planted(defect, locate.REPOSITORY)
    assert defect.gates and set(defect.gates) <= {gate for of in planted_gates.JUDGES.values() for gate in of}


def test_every_gate_but_the_required_cases_is_judged() -> None:
    assert sorted(gate for of in planted_gates.JUDGES.values() for gate in of) == sorted(set(GATES) - {"required"})


def verdict(command: str, **levels: Level) -> Verdict:
    """All gates of a command, silent but for `levels`."""
    found = tuple(Finding(gate, "case", "n", levels.get(gate, Level.OK), "text") for gate in planted_gates.JUDGES[command])
    return Verdict("gate", "2026-01-01T00:00:00Z", "golden", "head", "", "f", found, ("case",))


def gate(**levels: Level) -> Verdict:
    return verdict(planted_gates.GATE, **levels)


def wrong(defect: planted.Defect, **verdicts: Verdict) -> tuple[str, ...]:
    return planted_gates.row(defect, {f"ci/{name}": one for name, one in verdicts.items()}).wrong


def test_the_right_gate_red_is_right() -> None:
    assert wrong(DEFECT, gate=gate(counters=Level.REGRESSION)) == ()


def test_a_gate_that_stays_silent_is_wrong() -> None:
    assert wrong(DEFECT, gate=gate()) == (
        "gate counters has to be red, and is ok", "ci/gate ended with 0 instead of 2",
    )  # fmt: skip


def test_another_gate_red_as_well_is_wrong() -> None:
    found = wrong(DEFECT, gate=gate(counters=Level.REGRESSION, encodings=Level.REGRESSION))
    assert found == ("gate encodings has to be silent, and is regression",)


def test_an_exact_gate_may_not_be_inconclusive() -> None:
    assert wrong(DEFECT, gate=gate(counters=Level.REGRESSION, checks=Level.INCONCLUSIVE))
    assert not wrong(DEFECT, gate=gate(counters=Level.REGRESSION, instructions=Level.INCONCLUSIVE))


def test_trouble_of_the_tool_is_no_red_gate() -> None:
    """Exit code 1 comes before 2: what a half job found is not to be trusted."""
    found = wrong(DEFECT, gate=gate(counters=Level.REGRESSION, instructions=Level.ERROR))
    assert "ci/gate ended with 1 instead of 2" in found


def test_a_gate_that_compared_nothing_is_wrong() -> None:
    whole = gate(counters=Level.REGRESSION)
    without = replace(whole, findings=tuple(f for f in whole.findings if f.gate != "encodings"))
    assert wrong(DEFECT, gate=without) == ("gate encodings compared nothing",)


def test_a_command_that_was_left_out_has_no_say_and_is_missed_where_it_is_needed() -> None:
    slow = replace(DEFECT, gates=("time",))
    assert wrong(slow, gate=gate()) == ("gate time has to be red, and ci/compare did not run",)
    assert wrong(slow, gate=gate(), compare=verdict("ci/compare", time=Level.REGRESSION)) == ()
    assert wrong(slow, gate=gate(), compare=verdict("ci/compare", time=Level.INCONCLUSIVE))


def test_the_table_marks_what_is_wrong() -> None:
    row = planted_gates.row(DEFECT, {planted_gates.GATE: gate(encodings=Level.REGRESSION)})
    page = render.markdown(planted_gates.report([row], {"d": DEFECT}))
    assert "| a defect | ok | **red** | **ok** | ok | 2 |" in page
    assert "1 not as they must be" in page and "d: gate counters has to be red, and is ok" in page
