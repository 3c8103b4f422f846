"""The gate of instruction counts: reading callgrind's files, what of them is the program's, limits, the golden file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import run
from pxarbench_harness.gates import callgrind, instruction_cases, instruction_golden, instructions
from pxarbench_harness.gates.callgrind import Count, Profile, ProfileBroken
from pxarbench_harness.gates.golden import GoldenBroken, NotBlessed
from pxarbench_harness.gates.verdict import Finding, Level

# ---- callgrind's file ----

HEAD = "# callgrind format\nversion: 1\ncreator: callgrind-3.19.0\ncmd: ./tool\npart: 1\n\npositions: line\nevents: Ir\n"

#: main calls work (twice), work calls calloc and memcpy; a sort calls back; a library is called; a thread is started.
BODY = """\
summary: 1000

ob=(1) /x/tool
fl=(1) main.c
fn=(1) main
0 100
cfn=(2) work
calls=2 0
0 500
cob=(2) /lib/libz.so.1
cfi=(9) z.c
cfn=(3) crc32
calls=7 0
0 90
cob=(3) /lib/libc.so.6
cfn=(4) pthread_create@@GLIBC_2.34
calls=1 0
0 30

fn=(2)
+3 200
cob=(3)
cfn=(5) calloc
calls=4 0
* 80
cob=(3)
cfn=(6) qsort
calls=1 0
-1 150
cob=(4) ???
cfn=(7) 0x00000000001000
calls=4 0
0 44

fn=(8) compare
0 50
cob=(3)
cfn=(9) strcmp
calls=5 0
0 20

fn=(10) thread
0 10
cob=(3)
cfn=(11) nanosleep
calls=3 0
0 60

ob=(3)
fl=(2) libc.c
fn=(5)
0 40
cfn=(12) _int_malloc
calls=4 0
0 40

fn=(12)
0 40

fn=(6)
0 30
cfn=(13) msort
calls=1 0
0 120

fn=(13)
0 50
cfn=(13)
calls=2 0
0 60
cob=(1)
cfn=(8)
calls=5 0
0 70

fn=(9)
0 20

fn=(11)
0 60

fn=(4)
0 30

fn=(14) free
0 40

fn=(15) start_thread
0 200
cob=(1)
cfn=(10)
calls=1 0
0 70

ob=(4)
fn=(7)
0 4
cob=(3)
cfn=(14)
calls=4 0
0 40

ob=(2)
fn=(3)
0 90

fn=(16) of_its_own
0 36
cob=(3)
cfn=(5)
calls=100 0
0 999
"""


def profile() -> Profile:
    return callgrind.parse(HEAD + BODY)


def test_a_file_is_read() -> None:
    read = profile()
    assert read.exclusive["tool", "main"] == 100 and read.exclusive["libc.so.6", "calloc"] == 40
    arcs = {(arc.caller[1], arc.callee): (arc.calls, arc.instructions) for arc in read.arcs}
    assert arcs["main", ("tool", "work")] == (2, 500)
    assert arcs["work", ("libc.so.6", "calloc")] == (4, 80)
    assert arcs["compare", ("libc.so.6", "strcmp")] == (5, 20)


def test_own_and_for_it() -> None:
    counted = callgrind.counted(profile(), "tool")
    assert counted.functions == {
        "main": 100, "work": 200, "compare": 50, "thread": 10,
        "libc calloc": 400, "libc qsort": 80, "libc free": 400, "libc strcmp": 20,
    }  # fmt: skip
    assert counted.instructions == sum(counted.functions.values())


def test_allocations_are_the_programs() -> None:
    assert callgrind.counted(profile(), "tool").allocations == 4  # not the hundred of the library


def test_calls_of_libraries() -> None:
    assert callgrind.counted(profile(), "tool").library_calls == 7


def test_waiting_is_not_counted() -> None:
    functions = callgrind.counted(profile(), "tool").functions
    assert not {"libc nanosleep", "libc pthread_create"} & set(functions)


@pytest.mark.parametrize("name", ["nanosleep", "clock_nanosleep", "usleep", "__pthread_cond_wait", "poll"])
def test_waits(name: str) -> None:
    read = callgrind.parse(HEAD + BODY.replace("(6) qsort", f"(6) {name}"))
    assert f"libc {name}" not in callgrind.counted(read, "tool").functions


def test_depths_of_a_recursion_are_one_function() -> None:
    read = callgrind.parse(HEAD + BODY.replace("(12) _int_malloc", "(12) calloc'2"))
    assert read.exclusive["libc.so.6", "calloc"] == 80


def test_another_program_is_an_error() -> None:
    with pytest.raises(ProfileBroken, match="no instruction of other"):
        callgrind.counted(profile(), "other")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no counts"),
        (HEAD, "no counts"),
        (HEAD.replace("Ir", "Ir Dr") + BODY, "not Ir alone"),
        (HEAD + BODY.replace("fn=(2)\n+3", "fn=(99)\n+3"), r"\(99\) was never named"),
        (HEAD + BODY.replace("0 100", "0 101", 1), "summary 1,000"),
        (HEAD + BODY.replace("0 100", "what is this", 1), "line 14: not understood: what"),
    ],
    ids=["empty", "only-head", "two-events", "unnamed", "sum", "garbage"],
)
def test_broken_files(text: str, why: str) -> None:
    with pytest.raises(ProfileBroken, match=why):
        callgrind.parse(text)


def test_a_command_that_fails(tmp_path: Path) -> None:
    if instructions.find_valgrind() is None:
        pytest.skip("valgrind is not installed")
    with pytest.raises(run.CommandFailed, match="false"):
        callgrind.measure("valgrind", ["/bin/false"], cwd=tmp_path, out=tmp_path / "out", program="false")
    assert not list(tmp_path.iterdir())


# ---- limits ----


def count(instructions_: int = 1_000_000, allocations: int = 10_000, library: int = 10_000, **more: Any) -> Count:
    return replace(Count(instructions_, allocations, library, {"a": 600_000, "b": 400_000}, "sse2", "files 3"), **more)


def found(base: Count, head: Count, quantity: str = "instructions") -> Finding:
    return next(one for one in instructions.judge("x", base, head) if one.name == quantity)


@pytest.mark.parametrize(
    ("more", "level"),
    [
        (0, Level.OK), (2_000, Level.OK), (-2_000, Level.OK), (2_001, Level.WARNING), (5_000, Level.WARNING),
        (5_001, Level.REGRESSION), (-2_001, Level.IMPROVED), (-900_000, Level.IMPROVED),
    ],
)  # fmt: skip
def test_limits(more: int, level: Level) -> None:
    assert found(count(), count(1_000_000 + more)).level is level


def test_limits_of_calls() -> None:
    assert found(count(), count(allocations=10_051), "allocations").level is Level.REGRESSION
    assert found(count(), count(library=10_051), "library calls").level is Level.REGRESSION
    assert found(count(), count(library=10_020), "library calls").level is Level.OK


def test_little_is_never_judged() -> None:
    """Threads that hand over in another order allocate a few times more or less."""
    assert found(count(allocations=10), count(allocations=18), "allocations").level is Level.OK
    assert found(count(allocations=10), count(allocations=19), "allocations").level is Level.REGRESSION
    assert found(count(1_000), count(1_500)).level is Level.OK


def test_nothing_before() -> None:
    one = found(count(allocations=0), count(allocations=100), "allocations")
    assert one.level is Level.REGRESSION and one.change is None


def test_other_work_is_not_judged() -> None:
    one = found(count(), count(2_000_000, work="files 4"))
    assert one.level is Level.INCONCLUSIVE and one.details[:2] == ("was: files 3", "is:  files 4")
    assert found(count(), count(work="files 4")).level is Level.OK
    # Half of the work is no improvement.
    assert found(count(), count(500_000, work="files 2")).level is Level.INCONCLUSIVE


def test_functions_that_differ_are_named() -> None:
    head = count(1_100_000, functions={"a": 600_000, "b": 450_000, "new": 50_000, "tiny": 3})
    details = found(count(), head).details
    assert [line.split()[:2] for line in details] == [["+50,000", "b:"], ["+50,000", "new:"]]
    assert "less than 5,000 -> 50,000" in details[1]


def test_only_a_few_functions_are_named() -> None:
    head = count(2_000_000, functions={f"f{number}": 100_000 + number for number in range(20)})
    details = found(count(), head).details
    assert len(details) == instructions.TOLD and details[0].split()[1] == "a:"


def test_two_builds_name_small_functions_too() -> None:
    base, head = count(functions={"a": 10}), count(1_100_000, functions={"a": 10, "tiny": 3})
    details = instructions.judge("x", base, head, written_down=False)[0].details
    assert details == ("           +3  tiny: 0 -> 3",)


def test_cases_that_only_one_side_has() -> None:
    """Of what was never counted, or was forgotten by blessing elsewhere, nothing can be told."""
    levels = {one.case: one.level for one in instructions.judge_all({"a": count()}, {"b": count()})}
    assert levels == {"instructions-a": Level.ERROR, "instructions-b": Level.INCONCLUSIVE}


# ---- the file ----

CHAIN = instruction_golden.Toolchain({**dict.fromkeys(instruction_golden.DECIDING, "here"), "openssl": "3"})
OTHER = instruction_golden.Toolchain({**CHAIN.fields, "libc": "another"})


def golden(*chains: instructions.Toolchain, **cases: Count) -> instructions.Golden:
    cases = cases or {"x": count()}
    return instruction_golden.Golden({c.key: c for c in chains}, {c.key: cases for c in chains}, ("2026-01-02 abc first",))


def counts(chain: instructions.Toolchain = CHAIN, failed: dict[str, str] | None = None, **cases: Count) -> instructions.Counts:
    return instructions.Counts(chain, cases or {"x": count()}, failed or {})


def test_written_and_read() -> None:
    before = golden(CHAIN, OTHER, x=replace(count(), work='with "quotes", and, commas', dispatch=""))
    text = instruction_golden.to_text(before)
    assert instruction_golden.parse(text, "f") == before
    assert instruction_golden.to_text(instruction_golden.parse(text, "f")) == text


def test_small_functions_are_not_written() -> None:
    text = instruction_golden.to_text(golden(CHAIN, x=count(functions={"a": 5_000, "b": 4_999})))
    assert "function:a,5000" in text and "function:b" not in text


def test_nothing_there_is_empty(tmp_path: Path) -> None:
    assert instruction_golden.read(tmp_path / "none.csv") == instruction_golden.Golden()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("toolchain,case", "toolchain;case"), "line 2: 3 columns"),
        (lambda text: text.replace(",allocations,", ",allocation,"), "unknown name: allocation"),
        (lambda text: text.replace("allocations,10000", "allocations,-1"), "not a count: -1"),
        (lambda text: text.replace("allocations,10000", "allocations,10000,1"), "5 columns"),
        (lambda text: text + text.splitlines()[-1] + "\n", "line 16: twice"),
        (lambda text: text.replace("libc,here", "libc,there"), "the toolchain that is described has the key"),
        (lambda text: "".join(line for line in text.splitlines(True) if ",work," not in line), "x: no work"),
        (lambda text: text + 'a,"\n', "unexpected end"),
        (lambda text: text[:-3], "line 15: cut off"),
    ],
    ids=["head", "name", "number", "columns", "order", "key", "missing", "quotes", "cut"],
)
def test_broken_golden_files(change: Callable[[str], str], why: str, tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_text(change(instruction_golden.to_text(golden(CHAIN))))
    with pytest.raises(GoldenBroken, match=why):
        instruction_golden.read(path)


def test_the_golden_file_is_of_these_cases() -> None:
    """Whoever changes inputs or commands blesses new counts with it."""
    known = instruction_golden.read(instruction_golden.golden_path())
    version = instruction_cases.version(callgrind.ENVIRONMENT)
    assert known.toolchains and {chain.fields["cases"] for chain in known.toolchains.values()} == {version}
    assert all(set(cases) == set(instructions.names()) for cases in known.counts.values())


# ---- the gate ----


def test_equal_counts_are_findings_too() -> None:
    ran = instructions.against(counts(), golden(CHAIN))
    assert ran.executed == ["instructions-x"] and ran.versions == {"instructions-x": CHAIN.key}
    assert [(one.name, one.level) for one in ran.findings] == [(name, Level.OK) for name in instruction_golden.QUANTITIES]


def test_another_toolchain_is_inconclusive() -> None:
    ran = instructions.against(counts(), golden(OTHER))
    assert [one.level for one in ran.findings] == [Level.INCONCLUSIVE]
    assert ran.findings[0].details == (f"{OTHER.key}: libc: 'another', here 'here'",)
    assert ran.executed == ["instructions-x"]


def test_without_golden_counts() -> None:
    assert "--bless" in instructions.against(counts(), instruction_golden.Golden()).findings[0].text


def test_what_decides_nothing_is_told_with_a_regression() -> None:
    chain = instruction_golden.Toolchain({**CHAIN.fields, "openssl": "4"})
    bad = instructions.against(counts(chain, x=count(2_000_000)), golden(CHAIN)).findings[0]
    assert bad.level is Level.REGRESSION and bad.details[-1] == "openssl: golden '3', here '4'"
    assert all(not one.details for one in instructions.against(counts(chain), golden(CHAIN)).findings)


@pytest.mark.parametrize("name", instruction_golden.DOUBTFUL)
def test_what_hardly_ever_decides_makes_a_difference_inconclusive(name: str) -> None:
    before, now = (instruction_golden.Toolchain({**CHAIN.fields, name: value}) for value in ("memset old", "memset new"))
    assert before.key == now.key
    bad = instructions.against(counts(now, x=count(2_000_000)), golden(before)).findings[0]
    assert bad.level is Level.INCONCLUSIVE and f"another {name}" in bad.text
    assert f"{name}: golden 'memset old', here 'memset new'" in bad.details
    assert {one.level for one in instructions.against(counts(now), golden(before)).findings} == {Level.OK}


@pytest.mark.parametrize(
    ("before", "now", "level"),
    [
        ("memset sse2, strlen sse2", "memcpy sse2, memset sse2, strlen sse2", Level.REGRESSION),
        ("memset sse2, strlen sse2", "memset sse2, memset sse2_erms", Level.REGRESSION),
        ("memset sse2, strlen sse2", "memset sse2, strlen avx2", Level.INCONCLUSIVE),
    ],
)
def test_a_function_that_the_program_had_not_called_is_no_other_dispatch(before: str, now: str, level: Level) -> None:
    chains = (instruction_golden.Toolchain({**CHAIN.fields, "dispatch": text}) for text in (before, now))
    known, here = golden(next(chains)), counts(next(chains), x=count(2_000_000))
    assert instructions.against(here, known).findings[0].level is level


def test_a_case_that_failed_is_an_error_and_did_not_run() -> None:
    ran = instructions.against(counts(failed={"y": "exit 1\nno such option"}), golden(CHAIN, x=count(), y=count()))
    bad = [one for one in ran.findings if one.case == "instructions-y"]
    assert [one.level for one in bad] == [Level.ERROR] and "exit 1" in bad[0].text and bad[0].details == ("no such option",)
    assert ran.executed == ["instructions-x"]


def test_no_valgrind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(instructions.InstructionsBroken, match="valgrind is not installed"):
        instructions.count(Path("/bin/true"), tmp_path)


def test_no_such_case(tmp_path: Path) -> None:
    if instructions.find_valgrind() is None:
        pytest.skip("valgrind is not installed")
    with pytest.raises(instructions.InstructionsBroken, match="no such case: nonsense .*pxar-create"):
        instructions.count(Path("/bin/true"), tmp_path, only=["nonsense"])


def test_single_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def counting(binary: Path, work: Path, only: object = None) -> instructions.Counts:
        asked.append(only)
        return counts(chunk=count())

    monkeypatch.setattr(instructions, "count", counting)
    path = tmp_path / "g.csv"
    path.write_text(instruction_golden.to_text(golden(CHAIN, chunk=count())))
    ran = instructions.run(Path("/bin/true"), tmp_path, golden=path, only=["instructions-chunk"])
    assert asked == [["chunk"]] and ran.executed == ["instructions-chunk"]
    assert {one.level for one in ran.findings} == {Level.OK}
    with pytest.raises(instructions.InstructionsBroken, match="no such case: chunk "):
        instructions.run(Path("/bin/true"), tmp_path, golden=path, only=["chunk"])


def test_counts_that_are_gone_are_no_other_toolchain(tmp_path: Path) -> None:
    for text in (None, instruction_golden.to_text(instruction_golden.Golden())):
        if text is not None:
            (tmp_path / "g.csv").write_text(text)
        with pytest.raises(GoldenBroken, match="g.csv: its counts are gone, and 1 cases are required"):
            instructions.run(Path("/bin/true"), tmp_path, golden=tmp_path / "g.csv", required=["instructions-x"])


def test_findings_know_their_line(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_text(instruction_golden.to_text(golden(OTHER, CHAIN)))
    lines = path.read_text().splitlines()
    for one in instructions.against(counts(), instruction_golden.read(path)).findings:
        assert one.line and lines[one.line - 1] == f"{CHAIN.key},x,{one.name},{one.base}"


def test_what_looks_bad_is_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.csv"
    path.write_text(instruction_golden.to_text(golden(CHAIN, x=count(), y=count(), z=count())))
    asked: list[object] = []

    def counting(binary: Path, work: Path, only: object = None) -> instructions.Counts:
        asked.append(only)
        first = counts(x=count(1_010_000), y=count(1_010_000), z=count())
        return first if only is None else counts(x=count(1_000_500), y=count(1_009_000))

    monkeypatch.setattr(instructions, "count", counting)
    ran = instructions.run(Path("/bin/true"), tmp_path, golden=path)
    assert asked == [None, ["x", "y"]]
    bad = {one.case: one for one in ran.findings if one.level is not Level.OK}
    assert set(bad) == {"instructions-y"} and bad["instructions-y"].head == 1_009_000


def test_failing_the_second_time_is_failing() -> None:
    made = instructions.confirmed(counts(x=count(), y=count()), instructions.Counts(CHAIN, {}, {"x": "exit 1"}))
    assert set(made.cases) == {"y"} and set(made.failed) == {"x"}


def test_between_two_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "base": counts(x=count(), y=count(), z=count()),
        "head": counts(x=count(1_010_000), y=count(1_010_000), failed={"z": "exit 1"}),
        "base again": counts(x=count(1_009_500), y=count()),
        "head again": counts(x=count(1_010_000), y=count(1_000_000)),
    }
    monkeypatch.setattr(
        instructions, "count", lambda binary, work, only=None: answers[binary.name + (" again" if only == ["x", "y"] else "")]
    )
    ran = instructions.between(Path("base"), Path("head"), tmp_path)
    assert ran.executed == ["instructions-x", "instructions-y"]
    bad = [(one.case, one.level) for one in ran.findings if one.level is not Level.OK]
    assert bad == [("instructions-z", Level.ERROR), ("instructions-x", Level.REGRESSION)]


# ---- blessing ----


def test_blessing_replaces_and_tells() -> None:
    after, said = instructions.blessed(golden(CHAIN), counts(x=count(1_031_000)), "why")
    assert after.counts[CHAIN.key]["x"].instructions == 1_031_000
    assert after.history == ("2026-01-02 abc first", "why") and said == ["x: instructions +3.10%"]


def test_blessing_does_not_creep() -> None:
    """What is within the limits stays: a little more each time is seen once it is too much."""
    before = golden(CHAIN, x=count(), y=count())
    after, said = instructions.blessed(before, counts(x=count(1_001_900), y=count(1_031_000)), "why")
    assert after.counts[CHAIN.key]["x"].instructions == 1_000_000 and said == ["y: instructions +3.10%"]
    assert instructions.blessed(before, counts(x=count(1_001_900), y=count()), "why")[1] == []
    less, _ = instructions.blessed(before, counts(x=count(998_500), y=count(1_031_000)), "why")
    assert less.counts[CHAIN.key]["x"].instructions == 998_500


def test_blessing_writes_nothing_when_nothing_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.csv"
    path.write_text(instruction_golden.to_text(golden(CHAIN)))
    before = path.read_bytes()
    monkeypatch.setattr(instructions, "count", lambda binary, work: counts(x=count(1_001_000)))
    said, ran = instructions.bless(Path("/bin/true"), tmp_path, "some reason", golden=path)
    assert "nothing was written" in said[0] and ran == ["instructions-x"] and path.read_bytes() == before
    other = instruction_golden.Toolchain({**CHAIN.fields, "libc build": "new"})
    monkeypatch.setattr(instructions, "count", lambda binary, work: counts(other))
    said, _ = instructions.bless(Path("/bin/true"), tmp_path, "some reason", golden=path)
    assert said[0] == "libc build: '' -> 'new'" and instruction_golden.read(path).toolchains[CHAIN.key] == other


def test_blessing_forgets_what_other_toolchains_had() -> None:
    """Their counts are those of another program now."""
    before = golden(CHAIN, OTHER, x=count(), y=count())
    after, said = instructions.blessed(before, counts(x=count(1_031_000), y=count()), "why")
    assert set(after.counts[OTHER.key]) == {"y"} and "1 of 2 cases are forgotten" in said[-1]


def test_blessing_for_one_more_toolchain_keeps_the_others() -> None:
    after, said = instructions.blessed(golden(OTHER), counts(), "why")
    assert set(after.counts) == {CHAIN.key, OTHER.key} and "(new)" in said[0]


def test_blessing_forgets_other_versions_of_the_cases() -> None:
    old = instruction_golden.Toolchain({**CHAIN.fields, "cases": "old"})
    assert set(instructions.blessed(golden(old), counts(), "why")[0].counts) == {CHAIN.key}


def test_blessing_wants_a_reason(tmp_path: Path) -> None:
    with pytest.raises(NotBlessed):
        instructions.bless(Path("/bin/true"), tmp_path, " ", golden=tmp_path / "g.csv")
    assert not (tmp_path / "g.csv").exists()


# ---- inputs ----


def test_inputs_are_the_same_everywhere(tmp_path: Path) -> None:
    files = instruction_cases.tree_inputs()
    assert files == instruction_cases.tree_inputs() and len({file.path for file in files}) == len(files)
    instruction_cases.make_tree(tmp_path / "a", files)
    listed = run.run(["find", ".", "-printf", "%P %y %s %m %T@ %l\n"], cwd=tmp_path / "a").check_ok().text.splitlines()
    assert len([line for line in listed if " f " in line]) == len(files) + len(files) // 50
    assert len({line.split()[4] for line in listed if " d " not in line}) == 1


def test_names_are_not_made_in_order() -> None:
    """Else a file system that hands them out in that order, or backwards, would make sorting cheaper."""
    order: dict[str, list[str]] = {}
    for file in instruction_cases.tree_inputs():
        order.setdefault(os.path.dirname(file.path), []).append(file.path)
    assert all(names not in (sorted(names), sorted(names, reverse=True)) for names in order.values())


def test_paths_have_one_length(tmp_path: Path) -> None:
    for parent in (tmp_path, tmp_path / "longer"):
        bench = instruction_cases.Bench(parent, Path("/bin/true"))
        assert len(str(bench.folder)) == instruction_cases.FOLDER_LENGTH
        bench.close()
        assert not bench.folder.exists()


def test_two_at_once_have_folders_of_their_own(tmp_path: Path) -> None:
    """Processes of two containers that share /dev/shm have equal numbers."""
    benches = [instruction_cases.Bench(tmp_path, Path("/bin/true")) for _ in range(2)]
    assert benches[0].folder != benches[1].folder and benches[0].folder.stat().st_mode & 0o777 == 0o700
    for bench in benches:
        bench.close()


def test_programs_run_where_nothing_may_be_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/shm of a container."""
    monkeypatch.setattr(instruction_cases, "may_execute", lambda folder: False)
    (tmp_path / "tool").symlink_to("/bin/true")
    bench = instruction_cases.Bench(tmp_path, tmp_path / "tool")
    assert (bench.folder / bench.program).resolve() == Path("/bin/true").resolve()
    assert bench.native([]).returncode == 0
    bench.close()
    assert Path("/bin/true").exists()


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(instruction_cases.CaseBroken, match="too long"):
        instruction_cases.Bench(tmp_path / ("x" * instruction_cases.FOLDER_LENGTH), Path("/bin/true"))


# ---- with callgrind ----

TOOL = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char text[5000];
static void *volatile held;

/* Some 2,000 instructions: as much as a program does for one entry of a tree. */
static unsigned entry(unsigned number)
{
    for (unsigned i = 0; i < 400; i++)
        number = number * 31 + (unsigned char)text[(i + number) % 5000];
    char *copy = strdup(text);
    number += (unsigned)strlen(copy);
    free(copy);
    return number;
}

int main(int count, char **words)
{
    memset(text, 'x', sizeof text - 1);
    unsigned sum = 0;
    for (unsigned i = 0; i < 500; i++) {
        sum = entry(sum + (unsigned)count);
#ifdef ALLOCATES
        held = malloc(48);
        free(held);
#endif
#ifdef SLEEPS
        nanosleep(&(struct timespec){0, 1000}, NULL);
#endif
    }
    printf("%u %s\n", sum, count > 1 ? words[1] : "");
}
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Count]:
    """Count of the tool above, built with some options, called with some words."""
    if instructions.find_valgrind() is None or shutil.which("gcc") is None:
        pytest.skip("needs valgrind and gcc")
    folder = tmp_path_factory.mktemp("tool")
    (folder / "tool.c").write_text(TOOL)

    def call(option: str, *words: str) -> Count:
        program = folder / f"tool{option}"
        if not program.exists():
            run.run(["gcc", "-O2", "-g", option, "-o", program, folder / "tool.c"]).check_ok()
        return callgrind.measure("valgrind", [str(program), *words], cwd=folder, out=folder / "out", program=program.name)[0]

    return call


def test_counts_repeat(measured: Callable[..., Count]) -> None:
    assert measured("-DPLAIN") == measured("-DPLAIN")


def test_the_environment_decides_nothing(measured: Callable[..., Count], monkeypatch: pytest.MonkeyPatch) -> None:
    before = measured("-DPLAIN")
    monkeypatch.setenv("A_LONG_WORD", "x" * 10_000)
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")
    monkeypatch.setenv("VALGRIND_OPTS", "--cache-sim=yes")
    assert measured("-DPLAIN") == before


def test_one_more_allocation_is_seen(measured: Callable[..., Count]) -> None:
    base, head = measured("-DPLAIN"), measured("-DALLOCATES")
    assert head.allocations == base.allocations + 500
    levels = {one.name: one.level for one in instructions.judge("x", base, head, written_down=False)}
    assert levels["instructions"] is Level.REGRESSION and levels["allocations"] is Level.REGRESSION
    named = instructions.judge("x", base, head, written_down=False)[0].details
    assert any("libc malloc" in line for line in named) and any("libc free" in line for line in named)


def test_sleeping_is_not_seen(measured: Callable[..., Count]) -> None:
    levels = {one.level for one in instructions.judge("x", measured("-DPLAIN"), measured("-DSLEEPS"), written_down=False)}
    assert levels == {Level.OK}


# ---- with the program ----


def test_counts_of_the_program(pxarbench: Path, tmp_path: Path) -> None:
    """One command without threads, and the one with most to bring back to where it was after each of its runs."""
    if instructions.find_valgrind() is None:
        pytest.skip("valgrind is not installed")
    first = instructions.count(pxarbench, tmp_path, only=["pxar-list", "backup-metadata-changed"])
    second = instructions.count(pxarbench, tmp_path, only=["pxar-list"])
    assert not first.failed and not second.failed and set(first.cases) == {"pxar-list", "backup-metadata-changed"}
    assert first.cases["pxar-list"] == second.cases["pxar-list"]
    assert "encoded 7" in first.cases["backup-metadata-changed"].work
    assert not list(tmp_path.iterdir())


def test_a_program_that_fails_is_told_for_each_case(tmp_path: Path) -> None:
    if instructions.find_valgrind() is None:
        pytest.skip("valgrind is not installed")
    made = instructions.count(Path("/bin/false"), tmp_path, only=["pxar-create", "chunk"])
    assert set(made.failed) == {"pxar-create", "chunk"} and not made.cases


def test_a_program_that_says_something_else(tmp_path: Path) -> None:
    if instructions.find_valgrind() is None:
        pytest.skip("valgrind is not installed")
    made = instructions.count(Path("/bin/echo"), tmp_path, only=["chunk"])
    assert set(made.failed) == {"chunk"} and not made.cases
