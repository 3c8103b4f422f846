"""gates/golden.py, cases.py, counters.py: the file, what it means, and that a program that does worse is seen."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pxarbench_harness import measure, record, run
from pxarbench_harness.gates import cases, counters, golden, required
from pxarbench_harness.gates.cases import Group
from pxarbench_harness.gates.counters import UNTOLD, Measured
from pxarbench_harness.gates.golden import Golden, GoldenBroken, NotBlessed
from pxarbench_harness.gates.verdict import Finding, Level

HEAD = "dataset,mutation,mode,counter,value\n"
CASE = ("linux-like", "edit:1%:uniform", "metadata")
NUMBERS = {"version": "00aa11bb22cc", "padding": 1000, "injected": 12, "payload_checksum": "ab" * 32, "dead_chunks": 0}

MODES = ("legacy", "data", "metadata", "metadata-upstream")
SMALL = Group("duplicates", ("none", "delete:30%:uniform"), files=80, modes=MODES)


# ---- the file ----


def test_file_comes_back_as_it_was_written() -> None:
    other = ("a,b", 'say "x"', "data")
    numbers = {"version": "123456789012", "x": -5, "text": "007", "long": "9" * 40, "y_checksum": "12"}
    one = Golden({CASE: NUMBERS, other: numbers}, ("2026-01-01 0123abc first",))
    text = golden.to_text(one)
    back = golden.parse(text, "f")
    assert back == one and golden.to_text(back) == text
    assert back.cases[other]["text"] == "007" and back.cases[other]["x"] == -5 and back.cases[other]["long"] == "9" * 40
    lines = text.splitlines()
    assert lines[0] == "# 2026-01-01 0123abc first" and lines[1] + "\n" == HEAD and lines[2:] == sorted(lines[2:])


@given(st.text(max_size=80), st.booleans())
@example('"', True)
@example("a,b,c,version,1\r", True)
@example("\x00\u2028\x0b", True)
def test_any_text_is_numbers_or_refused(text: str, headed: bool) -> None:
    try:
        made = golden.parse(HEAD + text if headed else text, "f")
    except GoldenBroken as error:
        assert str(error).startswith("f: ")
    else:
        assert all("version" in numbers for numbers in made.cases.values())


@pytest.mark.parametrize(
    "text,sentence",
    [
        (HEAD + "\n", "f: line 2: 0 columns"),
        ("", "f: does not begin with dataset,mutation"),
        ("a,b\n", "f: line 1: 2 columns, expected 5"),
        ("a,b,c,d,e\n", "f: does not begin with"),
        (HEAD + "a,b,c,version,1\na,b,c,version,2\n", "f: line 3: twice: a,b,c,version"),
        (HEAD + "a,b,c,version,1\na,b,c,reused,2\n", "f: line 3: not sorted: a,b,c,reused"),
        (HEAD + "a,b,c,reused,1\n", "f: a b c: has no version"),
        (HEAD + "a,b,c,version,\n", "f: line 2: an empty column"),
        (HEAD + "a,b,c,version,1,2\n", "f: line 2: 6 columns"),
        (HEAD + "# late\n", "f: line 2: 1 columns"),
        (HEAD + 'a,b,c,version,"1\n', "f: line 2: "),
        (HEAD + "<<<<<<< HEAD\n", "f: line 2: 1 columns"),
        (HEAD + "a,b,c,version,123", "f: line 2: cut off"),
    ],
)
def test_broken_file_is_named_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(GoldenBroken) as told:
        golden.parse(text, "f")
    assert str(told.value).startswith(sentence)


def test_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "golden.csv"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(GoldenBroken, match="golden.csv"):
        golden.read(path)
    assert golden.read(tmp_path / "absent.csv") == Golden()


# ---- what a difference means ----


@pytest.mark.parametrize(
    "name,old,new,words",
    [
        ("padding", 1000, 1031, "padding +3.1 %"),
        ("injected", 100, 312, "injected +212"),
        ("injected", 1000, 12, "injected -988"),
        ("bytes_read", 10**9, 10**9 + 7, "bytes read +7 (+7e-07 %)"),
        ("padding", 0, 16, "padding +16"),
        ("upload_amplification_permille", 1000, 1500, "upload amplification permille +50.0 %"),
        ("payload_checksum", "aa", "bb", "payload checksum differs"),
        ("missed", None, 3, "missed 3 (was not counted)"),
        ("missed", 3, None, "missed not counted any more (was 3)"),
    ],
)
def test_change_in_words(name: str, old: golden.Value | None, new: golden.Value | None, words: str) -> None:
    assert golden.change(name, old, new) == words


def test_difference_in_words() -> None:
    old = Golden({CASE: NUMBERS, ("gone", "none", "data"): NUMBERS})
    new = Golden({CASE: {**NUMBERS, "padding": 1031, "injected": 224}, ("new", "none", "data"): NUMBERS})
    assert golden.difference(old, new) == [
        "new: new none data", "gone: gone none data",
        "injected +212, padding +3.1 % in linux-like edit:1%:uniform metadata",
    ]  # fmt: skip
    assert golden.difference(old, old) == []
    other = Golden({CASE: {**NUMBERS, "version": "1"}})
    assert golden.difference(Golden({CASE: NUMBERS}), other) == [
        "another version of the benchmark in linux-like edit:1%:uniform metadata"
    ]


# ---- blessing ----


def test_blessing_keeps_the_reason_in_the_history(tmp_path: Path) -> None:
    path = tmp_path / "golden" / "counters.csv"
    said = golden.blessed(path, {CASE: NUMBERS}, "the first")
    assert said[0] == "new: linux-like edit:1%:uniform metadata" and said[-1].endswith("the first")
    said = golden.blessed(path, {CASE: {**NUMBERS, "padding": 1031}}, "one chunk more, as the reference client")
    assert said[0] == "padding +3.1 % in linux-like edit:1%:uniform metadata"
    history = golden.read(path).history
    assert len(history) == 2 and history[1].endswith("one chunk more, as the reference client")
    day, commit, reason = history[0].split(" ", 2)
    assert len(day) == 10 and commit == measure.commit() and reason == "the first"
    assert not list(path.parent.glob("*.partial"))


def test_nothing_is_written_when_nothing_differs(tmp_path: Path) -> None:
    path = tmp_path / "counters.csv"
    golden.blessed(path, {CASE: NUMBERS}, "the first")
    before = path.read_bytes()
    assert golden.blessed(path, {CASE: NUMBERS}, "again") == ["counters.csv: nothing differs, nothing was written"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("reason", ["", "  ", ".", "a\nb c", "x" * 201, "a\x1b[31mred"])
def test_blessing_without_a_reason_is_refused(tmp_path: Path, reason: str) -> None:
    path = tmp_path / "counters.csv"
    with pytest.raises(NotBlessed, match="reason"):
        golden.blessed(path, {CASE: NUMBERS}, reason)
    assert not path.exists()


def test_broken_file_is_not_blessed_over(tmp_path: Path) -> None:
    path = tmp_path / "counters.csv"
    path.write_text("<<<<<<< HEAD\n")
    with pytest.raises(GoldenBroken, match="bring it back from git"):
        golden.blessed(path, {CASE: NUMBERS}, "some reason")
    assert path.read_text() == "<<<<<<< HEAD\n"


# ---- judgement ----


def judged(new: dict[str, golden.Value], unseen: dict[str, str] | None = None) -> dict[str, Finding]:
    return {f.name: f for f in counters.judge_case("c", NUMBERS, new, unseen or {})}


def test_equal_numbers_are_found_too() -> None:
    found = judged(dict(NUMBERS))
    assert set(found) == set(NUMBERS) - {"version"} and {f.level for f in found.values()} == {Level.OK}


def test_any_difference_is_a_regression_whatever_its_direction() -> None:
    found = judged({**NUMBERS, "padding": 900, "injected": 13, "payload_checksum": "cd" * 32, "extra": 1})
    bad = {name: f.text for name, f in found.items() if f.level is Level.REGRESSION}
    assert bad == {
        "padding": "was 1,000, is 900 (-10.0 %)", "injected": "was 12, is 13 (+1)",
        "payload_checksum": f"was {'ab' * 32}, is {'cd' * 32}", "extra": "was not there, is 1",
    }  # fmt: skip
    assert found["dead_chunks"].level is Level.OK
    told = [f.details for f in found.values() if f.details]
    assert told == [("extra 1 (was not counted), injected +1, padding -10.0 %, payload checksum differs",)]


def test_number_that_is_not_counted_any_more_is_a_regression() -> None:
    short = {name: value for name, value in NUMBERS.items() if name != "padding"}
    assert judged(short)["padding"].level is Level.REGRESSION
    assert "padding" not in judged(short, {"padding": "cannot be counted here"})


def test_another_version_is_never_compared() -> None:
    found = judged({**NUMBERS, "version": "ffffffffffff", "padding": 5})
    assert set(found) == {"version"}
    assert found["version"].level is Level.INCONCLUSIVE and "not compared" in found["version"].text


def test_case_without_golden_numbers_and_counter_that_cannot_be_told_are_inconclusive() -> None:
    now = Measured({CASE: dict(NUMBERS)}, {CASE: "linux-like-x"}, [], ["linux-like-x"], {"padding": "no"})
    found = counters.judge(Golden(), now)
    assert [(f.case, f.name, f.level) for f in found] == [
        ("linux-like-x", "", Level.INCONCLUSIVE), ("", "padding", Level.INCONCLUSIVE),
    ]  # fmt: skip


def test_golden_numbers_that_are_gone_are_an_error() -> None:
    """A job with nothing to compare with is not one that is new."""
    now = Measured({CASE: dict(NUMBERS)}, {CASE: "linux-like-x"}, [], ["linux-like-x"])
    assert [f.level for f in counters.judge(Golden(), now, ["linux-like-x"])] == [Level.ERROR]
    assert [f.level for f in counters.judge(Golden({CASE: NUMBERS}), now, ["linux-like-x"])] == [Level.OK] * 4


def test_findings_know_their_line() -> None:
    text = golden.to_text(Golden({("a", "b", "data"): NUMBERS, CASE: NUMBERS}, ("first",)))
    now = Measured({CASE: {**NUMBERS, "padding": 5, "extra": 1}}, {CASE: "x"}, [], ["x"])
    lines = text.splitlines()
    for finding in counters.judge(golden.parse(text, "f"), now):
        counter = "version" if finding.name == "extra" else finding.name
        assert finding.line and lines[finding.line - 1].startswith(f"{','.join(CASE)},{counter},")


def test_blessing_is_refused_when_a_case_gave_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {("duplicates-80", "none", "data"): dict(NUMBERS)}
    made = Measured(there, {case: "duplicates-80-none-data-warm" for case in there}, [], ["duplicates-80-none-data-warm"])
    monkeypatch.setattr(counters, "measure_all", lambda *_: made)
    with pytest.raises(NotBlessed, match="7 cases gave no numbers: duplicates-80-delete"):
        counters.bless(Path("/bin/true"), tmp_path, "some reason", path=tmp_path / "g.csv", groups=[SMALL])
    assert not (tmp_path / "g.csv").exists()


def test_golden_case_that_did_not_run_is_an_error() -> None:
    there = Golden({(SMALL.recipe.name, "none", "data"): NUMBERS, ("elsewhere", "none", "data"): NUMBERS})
    (found,) = counters.absent(there, Measured(), [SMALL])
    assert found.level is Level.ERROR and found.case == "duplicates-80-none-data-warm"
    assert len(counters.absent(there, Measured(), [*cases.GROUPS, SMALL])) == 2


# ---- the cases ----


def test_cases_are_those_of_the_files_in_git() -> None:
    ids = counters.case_ids()
    assert len(ids) == len(set(ids)) == sum(len(g.mutations) * len(g.modes) for g in cases.GROUPS)
    assert list(required.read()["counters"]) == ids
    there = golden.read(counters.GOLDEN)
    assert len(there.cases) == len(ids) and there.history
    assert Counter(case[2] for case in there.cases) == Counter(
        mode for group in cases.GROUPS for mode in group.modes for _ in group.mutations
    )
    assert not any(numbers.get(UNTOLD) for numbers in there.cases.values())


def test_one_case_alone_needs_its_block_and_mode_only() -> None:
    wanted = ["home-like-300-edit1pct-uniform-metadata-warm", "home-like-300-none-data-warm", "hardlinks-120-none-legacy-warm"]
    home, links = cases.only(wanted)
    assert home.recipe.name == "home-like-300"
    assert (home.mutations, home.modes) == (("none", "edit:1%:uniform"), ("data", "metadata"))
    assert (links.recipe.name, links.mutations, links.modes) == ("hardlinks-120", ("none",), ("legacy",))
    assert set(wanted) < set(cases.case_ids([home, links])) and len(cases.case_ids([home, links])) == 5
    (mixed,) = (name for name in cases.case_ids() if "-mix5pct-" in name and name.endswith("-data-warm"))
    (chain,) = cases.only([mixed])
    assert len(chain.mutations) == 1 and cases.case_ids([chain]) == [mixed]
    with pytest.raises(ValueError, match="no such case: home-like-300-none-data-cold"):
        cases.only([*wanted, "home-like-300-none-data-cold"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("measured")


@pytest.fixture(scope="module")
def measured(pxarbench: Path, place: Path) -> Measured:
    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")
    return counters.measure_all(pxarbench, place, [SMALL])


def bad(found: list[Finding]) -> list[str]:
    return [f"{f.gate} {f.case} {f.name}: {f.text}" for f in found if f.level is not Level.OK]


def test_same_program_elsewhere_gives_the_same_numbers(pxarbench: Path, measured: Measured, tmp_path: Path) -> None:
    assert bad(measured.findings) == [] and len(measured.numbers) == 8 == len(measured.executed)
    path = tmp_path / "counters.csv"
    golden.blessed(path, measured.numbers, "a test")
    other = next((p for p in map(Path, ("/dev/shm", "/var/tmp")) if os.access(p, os.W_OK)
                  and measure.filesystem(p) != measure.filesystem(tmp_path)), tmp_path)  # fmt: skip
    with tempfile.TemporaryDirectory(dir=other) as work:
        found, executed, versions = counters.run(pxarbench, Path(work), path=path, groups=[SMALL])
    assert versions == {measured.ids[case]: numbers["version"] for case, numbers in measured.numbers.items()}
    assert bad(found) == [] and executed == sorted(measured.executed)
    judged_ones = [f for f in found if f.gate == "counters"]
    assert len(judged_ones) == sum(len(numbers) - 1 for numbers in measured.numbers.values()) > 120
    assert sum(f.gate == "checks" for f in found) == 8


def test_one_case_alone_gives_the_same_numbers(pxarbench: Path, measured: Measured, tmp_path: Path) -> None:
    case = (SMALL.recipe.name, "delete:30%:uniform", "metadata")
    path = tmp_path / "counters.csv"
    golden.blessed(path, measured.numbers, "a test")
    found, executed, _ = counters.run(pxarbench, tmp_path, path=path, groups=[SMALL], only=[measured.ids[case]])
    assert executed == [measured.ids[case]] and bad(found) == []
    assert sum(f.gate == "counters" for f in found) == len(measured.numbers[case]) - 1


def test_numbers_mean_what_they_say(measured: Measured) -> None:
    name = SMALL.recipe.name
    unchanged, deleted = (measured.numbers[name, m, "metadata"] for m in SMALL.mutations)
    files = int(measured.numbers[name, "none", "data"]["reencoded"])
    assert (unchanged["reused"], unchanged["reencoded"], unchanged["bytes_read"]) == (files, 0, 0)
    assert int(deleted["padding"]) > int(unchanged["padding"]) and deleted["collateral"] == deleted["reencoded"]
    for mode in MODES[1:]:
        assert measured.numbers[name, "none", mode]["uploaded_raw"] == 0
    legacy = measured.numbers[name, "none", "legacy"]
    assert "payload_checksum" not in legacy and legacy["bytes_read"] == measured.numbers[name, "none", "data"]["bytes_read"]
    assert {numbers[UNTOLD] for numbers in measured.numbers.values()} == {0}


def wrapped(tmp_path: Path, program: Path, body: str) -> Path:
    """A program that does something else on backups, and what it should otherwise. `body` sees the words as "$@"."""
    script = tmp_path / "pxarbench"
    named = f"program={shlex.quote(str(program))}"
    script.write_text(f'#!/bin/bash\n{named}\nif [ "$1" = backup ]; then\n{body}\nfi\nexec "$program" "$@"\n')
    script.chmod(0o755)
    return script


#: What a program does worse, and (gate, counter) of findings that must be there.
WORSE = {
    "threshold": ('exec "$program" "$@" --padding-threshold 0.3', ("counters", "padding")),
    # As reading every tenth file twice: children of a program are counted with it.
    "double-read": ('find "${2#*:}" -type f | sort | awk "NR % 10 == 0" | xargs cat >/dev/null', ("counters", UNTOLD)),
    "upstream": ('exec "$program" "$@" --reuse-profile upstream', ("counters", "dead_chunks")),
    "leaves-files-out": ('set -- "$@" --exclude "*7*"', ("checks", "measured")),
}


@pytest.mark.parametrize("worse", WORSE)
def test_program_that_does_worse_is_seen(worse: str, pxarbench: Path, measured: Measured, tmp_path: Path) -> None:
    body, (gate, name) = WORSE[worse]
    path = tmp_path / "counters.csv"
    golden.blessed(path, measured.numbers, "a test")
    work = tmp_path / "work"
    work.mkdir()
    found = counters.run(wrapped(tmp_path, pxarbench, body), work, path=path, groups=[SMALL]).findings
    red = [f for f in found if f.level is not Level.OK]
    assert {f.level for f in red} == {Level.REGRESSION}
    assert any((f.gate, f.name) == (gate, name) for f in red), bad(found)[:20]
    if worse == "double-read":
        assert {f.name for f in red} == {UNTOLD}
    if worse == "threshold":
        assert {f.gate for f in red} == {"counters"}
        assert all("-metadata" in f.case and "delete30pct" in f.case for f in red)


LINE = Group("duplicates", ("none",), files=40, modes=("data",), server="loopback")
#: Words before a backup, and the counters that differ then; all that is stored is right.
REPOSITORY = 'for word in "$@"; do [ "${last:-}" = --repository ] && repository=$word; last=$word; done\n'
IN_VAIN = {
    "asks-for-nothing": ('"$program" snapshot list --repository "$repository" >/dev/null', {"wire_connections", "wire_calls"}),
    "comes-twice": ('"$program" "$@" --backup-id other >/dev/null 2>&1', {"wire_connections", "wire_payload_entries"}),
}


@pytest.fixture(scope="module")
def on_the_line(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")
    return counters.measure_all(pxarbench, tmp_path_factory.mktemp("line"), [LINE])


@pytest.mark.parametrize("way", IN_VAIN)
def test_calls_in_vain_are_seen(way: str, pxarbench: Path, on_the_line: Measured, tmp_path: Path) -> None:
    body, expected = IN_VAIN[way]
    path = tmp_path / "counters.csv"
    assert bad(on_the_line.findings) == [] and len(on_the_line.numbers) == 1
    golden.blessed(path, on_the_line.numbers, "a test")
    work = tmp_path / "work"
    work.mkdir()
    found = counters.run(wrapped(tmp_path, pxarbench, REPOSITORY + body), work, path=path, groups=[LINE]).findings
    red = [f for f in found if f.level is not Level.OK]
    assert {f.level for f in red} == {Level.REGRESSION} and {f.gate for f in red} == {"counters"}, bad(found)
    assert expected <= {f.name for f in red} and all(f.name.startswith("wire_") for f in red), bad(found)


def test_program_that_fails_is_a_regression_and_its_cases_did_not_run(pxarbench: Path, tmp_path: Path) -> None:
    program = wrapped(tmp_path, pxarbench, 'case "$*" in *"mode metadata"*) echo broken >&2; exit 1 ;; esac')
    work = tmp_path / "work"
    work.mkdir()
    found, executed, _ = counters.run(program, work, path=tmp_path / "none.csv", groups=[SMALL])
    assert executed == []
    red = [f for f in found if f.level is Level.REGRESSION]
    assert red and {f.gate for f in red} == {"checks"} and any("broken" in f.text for f in red)


def test_problems_are_not_blessed(pxarbench: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    program = wrapped(tmp_path, pxarbench, WORSE["leaves-files-out"][0])
    path = tmp_path / "counters.csv"
    with pytest.raises(NotBlessed, match="golden numbers stay as they are"):
        counters.bless(program, work, "some reason", path=path, groups=[SMALL])
    assert not path.exists()
    with pytest.raises(NotBlessed, match="reason"):
        counters.bless(program, work, "", path=path, groups=[SMALL])


def test_what_cannot_be_told_here_is_inconclusive(
    pxarbench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "listxattr", lambda path: ["security.selinux"])
    counted = counters.run_counted

    def blind(*words: object, **options: object) -> tuple[run.Result, run.Usage]:
        result, usage = counted(*words, **options)  # type: ignore[arg-type]
        return result, replace(usage, io={})

    monkeypatch.setattr(counters, "run_counted", blind)
    made = counters.measure_all(pxarbench, tmp_path, [])
    assert set(made.unseen) == {UNTOLD, "metadata_bytes", "stream_bytes"}
    assert "security.selinux" in made.unseen["metadata_bytes"]
    found = counters.judge(Golden(), made)
    assert {f.level for f in found} == {Level.INCONCLUSIVE} and len(found) == 3
    with pytest.raises(NotBlessed, match="security.selinux"):
        counters.bless(pxarbench, tmp_path, "some reason", path=tmp_path / "c.csv", groups=[])


def test_version_follows_what_decides_and_nothing_else(pxarbench: Path, measured: Measured, place: Path) -> None:
    plan = cases.plan(SMALL, pxarbench, place)
    records = record.read(plan.output / "records.jsonl")
    one = next(r for r in records if r.phase == "measured" and r.mode == "metadata")

    def version(**changes: object) -> str:
        return cases.version(SMALL.recipe.digest, replace(one, **changes), plan.settings)  # type: ignore[arg-type]

    first = version()
    elsewhere = [word.replace("/", "/else/") if "/" in word else word for word in one.command]
    assert version(command=tuple(elsewhere), seed=9, wall_ns=1, host={}, commit="x") == first
    assert version(dataset={**one.dataset, "tree_digest": "0" * 64}) == first
    others = [
        version(dataset={**one.dataset, "portable_digest": "0" * 64}),
        version(mutation={**one.mutation, "text": "delete:31%:uniform"}),
        version(command=(*one.command, "--reuse-profile", "stored")),
        version(mode="data"),
        cases.version("0" * 64, one, plan.settings),
        cases.version(SMALL.recipe.digest, one, replace(plan.settings, threads=1)),
    ]
    assert len({first, *others}) == 7


def test_reading_that_the_kernel_does_not_count_is_seen(pxarbench: Path, measured: Measured, place: Path) -> None:
    """A program that maps its files could read them twice, and nobody would see it."""
    records = record.read(cases.plan(SMALL, pxarbench, place).output / "records.jsonl")
    one = next(r for r in records if r.phase == "measured" and r.mode == "data" and r.restored)
    assert one.outcome is not None

    def untold(beside: int) -> object:
        rchar = 5_000 + one.outcome["file_bytes_read"] + beside  # type: ignore[index]
        return counters.numbers(replace(one, io={"rchar": rchar}), None, 5_000)[UNTOLD]

    assert [untold(by) for by in (0, counters.READ_BESIDE, counters.READ_BESIDE + 7, -9)] == [0, 0, 7, -9]
