"""The verdict of a job: exit codes, what is missing, the file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pxarbench_harness.gates import verdict
from pxarbench_harness.gates.verdict import Finding, Level, Verdict, VerdictBroken


def made(*levels: Level, executed: tuple[str, ...] = ("a", "b"), required: tuple[str, ...] = ()) -> Verdict:
    findings = tuple(Finding("counters", "a", f"n{i}", level, "said") for i, level in enumerate(levels))
    return Verdict("gate", "2026-01-02T03:04:05Z", "golden", "this", "0123abcd+", "f", findings, executed, required)


@pytest.mark.parametrize(
    "levels,code,strict",
    [
        ((Level.OK,), 0, 0),
        ((Level.OK, Level.IMPROVED), 0, 0),
        ((Level.WARNING, Level.OK), 0, 3),
        ((Level.WARNING, Level.INCONCLUSIVE), 4, 3),
        ((Level.INCONCLUSIVE, Level.OK), 4, 4),
        ((Level.REGRESSION, Level.INCONCLUSIVE, Level.WARNING), 2, 2),
        ((Level.REGRESSION, Level.ERROR), 1, 1),
        ((), 1, 1),
    ],
)
def test_exit_codes(levels: tuple[Level, ...], code: int, strict: int) -> None:
    assert made(*levels).exit_code() == code
    assert made(*levels).exit_code(warnings_fail=True) == strict


def test_a_skip_is_not_a_pass() -> None:
    assert made(Level.OK, required=("a", "b")).exit_code() == 0
    short = made(Level.OK, required=("a", "b", "c"))
    assert short.missing == ("c",) and short.exit_code() == 1
    assert short.level_of("required") is Level.ERROR and short.level_of("counters") is Level.OK
    assert made(Level.OK, executed=()).exit_code() == 1
    assert made(Level.OK).level_of("time") is None


def test_exact_numbers() -> None:
    found = verdict.exact("counters", "c", [("x", 1, 1), ("y", 1000, 2), ("z", None, 2), ("gone", "aa", None), ("t", 1, "1")])
    assert [f.level for f in found] == [Level.OK] + 4 * [Level.REGRESSION]
    assert found[1].text == "was 1,000, is 2" and found[2].text == "was not there, is 2" and found[3].text == "was aa, is not there"


def test_file_comes_back(tmp_path: Path) -> None:
    one = made(Level.OK, Level.REGRESSION, required=("b",))
    measured = Finding("time", "a", "wall", Level.INCONCLUSIVE, "said", 10.5, 11, "ns", ("x", "y"), 0.1, -0.1, 0.2, 0.3, 0.05, 10)
    one = replace(one, findings=(*one.findings, measured), host={"cpu": "x"}, settings={"rounds": 10})
    verdict.write(tmp_path / "verdict.json", one)
    assert verdict.read(tmp_path / "verdict.json") == one


@pytest.mark.parametrize(
    "wrong,said",
    [
        (lambda v: v.pop("executed"), "'executed' is a required property"),
        (lambda v: v["findings"][0].update(level="fine"), "findings/0/level"),
        (lambda v: v["findings"][0].update(gate="other"), "findings/0/gate"),
        (lambda v: v.update(schema="pxarbench-verdict/2"), "schema"),
        (lambda v: v.update(started="yesterday"), "started"),
        (lambda v: v.update(executed=["a", "a"]), "executed"),
        (lambda v: v.update(more=1), "'more' was unexpected"),
    ],
)
def test_broken_files_are_refused(wrong, said: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    values = json.loads(verdict.to_json(made(Level.OK)))
    wrong(values)
    path = tmp_path / "verdict.json"
    path.write_text(json.dumps(values))
    with pytest.raises(VerdictBroken, match=said) as broken:
        verdict.read(path)
    assert str(path) in str(broken.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100000])
def test_no_json(text: str) -> None:
    with pytest.raises(VerdictBroken):
        verdict.from_json(text)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "1" * 30, "9" * 5000])
def test_what_is_no_number_is_refused(number: str) -> None:
    text = verdict.to_json(replace(made(Level.OK), settings={"seed": 12345}))
    assert verdict.from_json(text).settings["seed"] == 12345
    with pytest.raises(VerdictBroken, match="no JSON"):
        verdict.from_json(text.replace("12345", number))


@pytest.mark.parametrize("name", ["base", "head", "change", "low", "high", "detectable", "limit"])
def test_no_finding_has_what_is_no_number(name: str) -> None:
    """It would be neither above a limit nor below."""
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=f"{name} is"):
            Finding("time", "a", "wall", Level.OK, "as before", **{name: value})


def test_the_line_of_the_golden_file_is_kept_and_absent_where_there_is_none() -> None:
    one = made(Level.OK)
    assert '"line"' not in verdict.to_json(one)
    placed = replace(one, findings=(replace(one.findings[0], line=7),))
    assert verdict.from_json(verdict.to_json(placed)) == placed


def test_schema_and_code_name_the_same() -> None:
    properties = verdict.schema()["$defs"]["finding"]["properties"]
    assert properties["gate"]["enum"] == list(verdict.GATES)
    assert properties["level"]["enum"] == [level.value for level in Level]
    assert verdict.schema()["properties"]["kind"]["enum"] == list(verdict.KINDS)
