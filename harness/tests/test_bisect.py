"""ci/bisect: a scratch repository whose commits build programs that say a number. The planted commit is found, or it is said
why not; and what is not the search's own is as it was."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pxarbench_harness import locate, run
from pxarbench_harness.compare import builds
from pxarbench_harness.gates import verdict as verdicts
from pxarbench_harness.gates.verdict import Finding, Level, Verdict
from pxarbench_harness.history import bisect, bisect_cli, git, parsers, probe
from pxarbench_harness.history.bisect import BAD, GOOD, SKIP, STOP, Step
from pxarbench_harness.history.probe import ProbeBroken, ProbeFailed, Question, Ratio
from pxarbench_harness.record import Record

BUILD = "sh ./build.sh"
PROGRAM = "bin/program"


@dataclass(frozen=True)
class Scratch:
    repository: git.Repository
    commits: list[str]  # the oldest first
    folder: Path

    def words(self, good: int, bad: int, *more: str) -> list[str]:
        return [
            "case", "number", self.commits[good], self.commits[bad], "--repository", str(self.repository.path),
            "--build", BUILD, "--program", PROGRAM, "--work", str(self.folder / "work"), *(more or ("--command", "{program}")),
        ]  # fmt: skip

    def untouched(self) -> tuple[str, str, bytes, str, str]:
        """What no search may change."""
        ask = self.repository.must
        index = (self.repository.path / ".git" / "index").read_bytes()
        return ask("status", "--porcelain"), ask("for-each-ref"), index, ask("worktree", "list"), ask("rev-parse", "HEAD")


def made(folder: Path, bodies: Sequence[str]) -> Scratch:
    """A commit per program; `bodies`: shell text, "" for one that does not build."""
    path = folder / "repository"
    path.mkdir(parents=True)
    repository = git.Repository(path)
    repository.must("init", "--quiet", "--initial-branch=main")
    who = git.identity(repository)
    commits = []
    for number, body in enumerate(bodies):
        build = f"mkdir -p bin && printf '#!/bin/sh\\n%s\\n' '{body}' > {PROGRAM} && chmod +x {PROGRAM}"
        build = build if body else "echo error: x >&2; exit 3"
        (path / "build.sh").write_text(f"# {number}\n{build}\n")
        repository.must("add", "build.sh")
        repository.must("commit", "--quiet", "-m", f"change {number}", env=who)
        commits.append(repository.must("rev-parse", "HEAD"))
    (path / "build.sh").write_text("somebody is working on it")
    (path / "new").write_text("and has staged something")
    repository.must("add", "new")
    return Scratch(repository, commits, folder)


def values(*numbers: int | str | None) -> list[str]:
    return ["" if n is None else f"echo {n}" for n in numbers]


Said = Callable[[], str]


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Said:
    """What we, git and our steps printed."""

    def text() -> str:
        found = capfd.readouterr()
        return found.out + found.err

    return text


# ---- searches ----


@pytest.mark.parametrize("first", range(1, 6))
def test_the_first_commit_with_another_number_is_found(first: int, tmp_path: Path, said: Said) -> None:
    scratch = made(tmp_path, values(*(7 if n < first else 9 for n in range(6))))
    before = scratch.untouched()
    assert bisect_cli.main(scratch.words(0, 5)) == 0
    text = said()
    assert f"first bad commit: {scratch.commits[first]}" in text and f"change {first}" in text
    assert "number: 7 before, 9 from it on" in text
    assert before == scratch.untouched()
    assert not list((tmp_path / "work").iterdir())  # nothing is left behind


def test_digests_and_fractions_are_compared_too(tmp_path: Path, said: Said) -> None:
    scratch = made(tmp_path, values("ab", "ab", "cd", "cd"))
    assert bisect_cli.main(scratch.words(0, 3)) == 0
    assert f"first bad commit: {scratch.commits[2]}" in said()
    assert [probe.number(text) for text in ("0.5", "12", "0x1", "nan", "-3")] == [0.5, 12, "0x1", "nan", -3]


def test_a_third_number_is_bad(tmp_path: Path, said: Said) -> None:
    """The first commit that left the good number is looked for, wherever the number went from there."""
    scratch = made(tmp_path, values(7, 7, 8, 8, 8, 9))
    assert bisect_cli.main(scratch.words(0, 5)) == 0
    assert f"first bad commit: {scratch.commits[2]}" in said()


def test_what_cannot_be_built_or_run_is_skipped(tmp_path: Path, said: Said) -> None:
    # The one in the middle comes first.
    scratch = made(tmp_path, [*values(7, 7, 7, 7, None, 7, 9), "exit 3", *values(9)])
    assert bisect_cli.main(scratch.words(0, 8)) == 0
    text = said()
    assert f"first bad commit: {scratch.commits[6]}" in text and "cannot be told: does not build" in text


def test_why_a_commit_does_not_build(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "v1: does not build:\n/usr/bin/cc -Werror -c x.c\nx.c:2:2: error: #error half\n1 error generated"

    def find(*_: object, **__: object) -> builds.Build:
        raise builds.BuildFailed(said)

    monkeypatch.setattr(builds, "find", find)
    with pytest.raises(bisect.BuildFailed, match="^x.c:2:2: error: #error half$"):
        bisect.build(bisect.Plan("r", Question("c", "n", "counters"), "g", "b"), "f" * 40, lambda _: None)
    said = "is no revision"
    with pytest.raises(bisect.BuildFailed, match="^is no revision$"):
        bisect.build(bisect.Plan("r", Question("c", "n", "counters"), "g", "b"), "f" * 40, lambda _: None)


def test_skipped_commits_in_the_way_are_told(tmp_path: Path, said: Said) -> None:
    bodies = [*values(7, 7, None, None), "echo gone >&2; exit 3", *values(9, 9)]
    scratch = made(tmp_path, bodies)
    before = scratch.untouched()
    assert bisect_cli.main(scratch.words(0, 6)) == 4
    text = said()
    tail = text[text.index("could not be told; ") :]
    for number in (2, 3, 4, 5):
        assert scratch.commits[number][:12] in tail
    for number in (0, 1, 6):
        assert scratch.commits[number][:12] not in tail
    assert "cannot be told: does not build: error: x" in text and "the command ended with 3: gone" in text
    assert before == scratch.untouched()


def test_merged_lines_are_searched(tmp_path: Path, said: Said) -> None:
    """The number changed on a side line, which was merged later."""
    scratch = made(tmp_path, values(7, 7, 7))
    ask, who = scratch.repository.must, git.identity(scratch.repository)
    other = ask("show", f"{scratch.commits[1]}:build.sh").replace("echo 7", "echo 9") + "\n"
    blob = ask("hash-object", "-w", "--stdin", stdin=other.encode())
    tree = ask("mktree", stdin=f"100644 blob {blob}\tbuild.sh\n".encode())
    side = ask("commit-tree", tree, "-p", scratch.commits[1], "-m", "side", env=who)
    merge = ask("commit-tree", tree, "-p", scratch.commits[2], "-p", side, "-m", "merge", env=who)
    assert bisect_cli.main(replace(scratch, commits=[*scratch.commits, merge]).words(0, 3)) == 0
    assert f"first bad commit: {side}" in said()


def test_the_ends_are_measured_first(tmp_path: Path, said: Said) -> None:
    scratch = made(tmp_path, values(7, 9, 7, None, 9))
    assert bisect_cli.main(scratch.words(0, 2)) == 4
    assert "nothing to look for: number is 7 at both ends" in said()
    assert bisect_cli.main(scratch.words(0, 3)) == 1
    assert "the bad end" in said()
    assert bisect_cli.main(scratch.words(4, 0)) == 1
    assert "is no ancestor of" in said()
    assert bisect_cli.main(scratch.words(1, 1)) == 1
    assert bisect_cli.main(scratch.words(0, 4, "--command", "exit 1")) == 1
    assert "an end cannot be measured" in said()
    assert scratch.repository.must("worktree", "list").count("\n") == 0


@pytest.mark.parametrize("numbers", [(7, 7, 9, 9), (7, 7, 7, None, 9, 9, 9)], ids=["at once", "after one was skipped"])
def test_a_step_that_cannot_judge_stops_the_search(numbers: tuple[int | None, ...], tmp_path: Path, said: Said) -> None:
    """What is wrong with the tool says nothing of the commit: neither good nor bad nor skipped."""
    scratch = made(tmp_path, values(*numbers))
    work = tmp_path / "work"
    # Behind both ends: a program that takes the folder away in which it is measured, and puts a file there.
    count = tmp_path / "count"
    evil = f"echo >> {count}; [ $(wc -l < {count}) -gt 2 ] && rm -rf {work} && touch {work}; {{program}}"
    assert bisect_cli.main(scratch.words(0, len(numbers) - 1, "--command", evil)) == 1
    text = said()
    assert "a step could not go on: " in text and "first bad commit" not in text and "first bad one" not in text
    assert ("cannot be told: does not build" in text) == (None in numbers)
    assert scratch.repository.must("worktree", "list").count("\n") == 0


def test_somebody_elses_search_goes_on(tmp_path: Path, said: Said) -> None:
    scratch = made(tmp_path, values(7, 7, 9, 9))
    (scratch.repository.path / "build.sh").unlink()
    scratch.repository.must("reset", "--quiet", "--hard")
    scratch.repository.must("bisect", "start", scratch.commits[3], scratch.commits[0])
    before = scratch.repository.must("bisect", "log"), scratch.repository.must("rev-parse", "HEAD")
    assert bisect_cli.main(scratch.words(0, 3)) == 0
    assert f"first bad commit: {scratch.commits[2]}" in said()
    assert before == (scratch.repository.must("bisect", "log"), scratch.repository.must("rev-parse", "HEAD"))


def commands() -> set[str]:
    """Of all processes."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip())
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_search_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    nap = f"sleep 60.{os.getpid()}"  # no other process has this command
    scratch = made(tmp_path, [*values(7), f"touch {tmp_path}/started; {nap}; echo 7", *values(9)])
    before = scratch.untouched()
    environment = {**os.environ, "PYTHONPATH": str(locate.REPOSITORY / "harness"), "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-m", "pxarbench_harness.history", "bisect", *scratch.words(0, 2)]
    process = subprocess.Popen(words, env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=30) == 130
    assert before == scratch.untouched()
    assert not list(tmp_path.glob("pxarbench-bisect-*"))
    assert nap not in commands()


def test_kept_builds_are_those_of_the_command(tmp_path: Path, said: Said) -> None:
    scratch = made(tmp_path, values(7, 9))
    kept = ["--cache-folder", str(tmp_path / "builds"), "--command", "{program}"]
    assert bisect_cli.main(scratch.words(0, 1, *kept)) == 0
    said()
    for other in ("sh ./build.sh && sed -i s/7/6/ bin/program", f"{BUILD} # again"):
        assert bisect_cli.main([*scratch.words(0, 1, *kept), "--build", other]) == 0
        assert f"number: {6 if 'sed' in other else 7} before" in said()
    for program in (tmp_path / "builds").glob(f"{scratch.commits[0][:16]}-*/{PROGRAM}"):
        program.unlink()
    assert bisect_cli.main(scratch.words(0, 1, *kept)) == 0, "made again"


def test_a_single_commit_needs_no_steps(tmp_path: Path, said: Said) -> None:
    scratch = made(tmp_path, values(7, 9))
    assert bisect_cli.main(scratch.words(0, 1)) == 0
    text = said()
    assert f"first bad commit: {scratch.commits[1]}" in text and "0 steps" in text


# ---- a step by itself ----


@pytest.mark.parametrize(
    "body,code", [("echo 7", GOOD), ("echo 9", BAD), ("echo 8", BAD), ("exit 3", SKIP), ("true", SKIP), ("", SKIP)]
)
def test_exit_codes_of_a_step(body: str, code: int, tmp_path: Path) -> None:
    scratch = made(tmp_path, [body])
    question = Question("case", "number", "command", command="{program}")
    plan = bisect.Plan(
        str(scratch.repository.path), question, scratch.commits[0], scratch.commits[0], BUILD, PROGRAM, str(tmp_path / "cache"),
        good_value=7, bad_value=9,
    )  # fmt: skip
    scratch.repository.must("update-ref", "BISECT_HEAD", scratch.commits[0])
    bisect.write_plan(tmp_path / "plan.json", plan)
    assert bisect.read_plan(tmp_path / "plan.json") == plan
    environment = {"PYTHONPATH": str(locate.REPOSITORY / "harness")}
    words = [sys.executable, "-m", "pxarbench_harness.history", "bisect-step", str(tmp_path / "plan.json")]
    assert run.run(words, cwd=scratch.repository.path, env=environment).returncode == code
    (told,) = [Step(**json.loads(text)) for text in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert (told.commit, told.code) == (scratch.commits[0], code)


def test_a_step_without_a_plan_stops(tmp_path: Path) -> None:
    assert bisect_cli.step([str(tmp_path / "none")]) == STOP
    (tmp_path / "plan.json").write_text("{")
    assert bisect_cli.step([str(tmp_path / "plan.json")]) == STOP
    assert bisect_cli.step([]) == STOP


# ---- judging ----


@pytest.mark.parametrize(
    "found,good,bad,tolerance,code",
    [
        (7, 7, 9, False, GOOD),
        (8, 7, 9, False, BAD),
        (7.0, 7, 9, False, GOOD),
        ("ab", "ab", "cd", False, GOOD),
        ("ef", "ab", "cd", True, BAD),
        (1001, 1000, 1020, True, GOOD),
        (1011, 1000, 1020, True, BAD),
        (1010, 1000, 1020, True, BAD),
        (989, 1000, 980, True, BAD),
        ("gone", 7, 9, True, BAD),
    ],
)
def test_numbers(found: probe.Value, good: probe.Value, bad: probe.Value, tolerance: bool, code: int) -> None:
    assert bisect.judge_value(found, good, bad, tolerance=tolerance) == code


@pytest.mark.parametrize(
    "found,whole,code",
    [
        ((0.00, -0.01, 0.01), 0.10, GOOD),
        ((0.10, 0.08, 0.12), 0.10, BAD),
        ((0.05, 0.03, 0.07), 0.10, SKIP),
        ((-0.10, -0.11, -0.08), -0.10, BAD),
        ((0.0, -0.01, 0.01), -0.10, GOOD),
        ((-0.05, -0.09, -0.01), -0.10, SKIP),
        ((0.2, 0.15, 0.3), -0.10, GOOD),
    ],
)
def test_ratios(found: tuple[float, float, float], whole: float, code: int) -> None:
    assert bisect.judge_ratio(Ratio(*found), Ratio(whole, whole, whole)) == code


@pytest.mark.parametrize(
    "good,bad,name,same",
    [
        (10**8, 10**8 + 90_000, "instructions", True),
        (10**8, 10**8 + 110_000, "instructions", False),
        (10**8, 10**8 - 110_000, "instructions", False),
        (1_000, 1_500, "instructions", True),
        (1_000, 1_501, "instructions", False),
        (1_000, 1_008, "allocations", True),
        (1_000, 1_009, "allocations", False),
        ("a", "b", "instructions", False),
    ],
)
def test_counts_of_instructions_differ_from_run_to_run(
    good: probe.Value, bad: probe.Value, name: str, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values_of_both = iter((good, bad))
    monkeypatch.setattr(bisect, "build", lambda *_: Path("x"))
    monkeypatch.setattr(probe, "value", lambda *_: next(values_of_both))
    plan = bisect.Plan("", Question("instructions-x", name, "instructions"), "g", "b")
    if same:
        with pytest.raises(bisect.NothingToFind, match="runs of one program differ as much"):
            bisect._ends(plan, lambda _: None)
    else:
        assert bisect._ends(plan, lambda _: None)[0].bad_value == bad


def test_a_difference_has_to_be_sure() -> None:
    assert bisect.differs(Ratio(0.1, 0.01, 0.2)) and bisect.differs(Ratio(-0.1, -0.2, -0.01))
    assert not bisect.differs(Ratio(0.1, -0.01, 0.2))


def measuring(monkeypatch: pytest.MonkeyPatch, noise: dict[int, float]) -> list[tuple[str, int]]:
    """Programs that print their time in ms stand for programs that take so long. `noise`: rounds -> half of the interval."""
    asked: list[tuple[str, int]] = []

    def ratio(question: Question, good: Path, program: Path) -> Ratio:
        before, here = (int(run.run([p]).check_ok().stdout) for p in (good, program))
        asked.append((program.parent.parent.name, question.rounds))
        change = here / before - 1
        wide = noise.get(question.rounds, 0.001)
        return Ratio(change, change - wide, change + wide)

    monkeypatch.setattr(probe, "ratio", ratio)
    return asked


def a_plan(scratch: Scratch, bad: int) -> bisect.Plan:
    question = Question("restore", "wall", "time", rounds=10)
    return bisect.Plan(
        str(scratch.repository.path), question, scratch.commits[0], scratch.commits[bad], BUILD, PROGRAM,
        str(scratch.folder / "cache"),
    )  # fmt: skip


def test_times_are_judged_by_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = made(tmp_path, values(100, 102, 104, 107, 110))
    measuring(monkeypatch, {})
    plan, _, text = bisect._ends(a_plan(scratch, 4), lambda _: None)
    assert plan.ratio is not None and plan.ratio.change == pytest.approx(0.1) and text.startswith("+10.0 %")
    codes = [bisect.step(plan, commit, lambda _: None).code for commit in scratch.commits]
    assert codes == [GOOD, GOOD, GOOD, BAD, BAD]


def test_an_interval_that_does_not_decide_gets_more_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = made(tmp_path, values(100, 107, 110))
    asked = measuring(monkeypatch, {10: 0.05})
    plan, _, _ = bisect._ends(a_plan(scratch, 2), lambda _: None)
    asked.clear()
    assert bisect.step(plan, scratch.commits[1], lambda _: None).code == BAD
    assert [rounds for _, rounds in asked] == [10, 20]
    measuring(monkeypatch, {10: 0.05, 20: 0.05})
    done = bisect.step(plan, scratch.commits[1], lambda _: None)
    assert done.code == SKIP and "contains the middle" in done.text


def test_rounds_are_not_doubled_beyond_what_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = made(tmp_path, values(100, 107, 110))
    asked = measuring(monkeypatch, {1000: 0.05})
    plan = a_plan(scratch, 2)
    plan, _, _ = bisect._ends(replace(plan, question=replace(plan.question, rounds=600)), lambda _: None)
    assert bisect.step(plan, scratch.commits[1], lambda _: None).code == BAD
    plan = replace(plan, question=replace(plan.question, rounds=1000))
    assert bisect.step(plan, scratch.commits[1], lambda _: None).code == SKIP
    assert max(rounds for _, rounds in asked) == 1000


COMPARED = Finding("time", "restore", "wall", Level.OK, "slower", 100, 110, "ns", (), 0.1, 0.05, 0.15)


@pytest.mark.parametrize(
    "finding,wanted",
    [
        (COMPARED, Ratio(0.1, 0.05, 0.15)),
        (replace(COMPARED, high=None), Ratio(0.1, 0.05, math.inf)),
        (replace(COMPARED, low=None, high=None), Ratio(0.1, 0.1, 0.1)),
        (replace(COMPARED, details=("two copies of base: +0.1 %", "the session: two copies differ")), "slower"),
        (replace(COMPARED, change=None), "slower"),
        (None, "ended badly"),
        ("ci/compare: --case restore: unknown; there is\n(ci/compare --help)\n", "--case restore: unknown; there is"),
    ],
)
def test_what_a_comparison_says(
    finding: Finding | str | None, wanted: Ratio | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compare(words: Sequence[str], **_: object) -> run.Result:
        output = Path(words[words.index("--output") + 1])
        if isinstance(finding, Finding):
            output.mkdir()
            verdicts.write(output / "verdict.json", Verdict(
                "compare", "2026-01-01T00:00:00Z", "a", "b", "", "", (finding,), ("restore",)
            ))  # fmt: skip
        said = finding if isinstance(finding, str) else "ended badly"
        return run.Result(tuple(words), 1, b"", said.encode(), 0)

    monkeypatch.setattr(run, "run", compare)
    question = Question("restore", "wall_ns", "time", work=str(tmp_path))
    if isinstance(wanted, Ratio):
        assert probe.ratio(question, Path("g"), Path("b")) == wanted
    else:
        # What was asked for wrongly stops the search; everything else may be the commit's fault.
        with pytest.raises(ProbeBroken if isinstance(finding, str) else ProbeFailed, match=wanted):
            probe.ratio(question, Path("g"), Path("b"))


def test_ends_that_may_be_noise_are_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = made(tmp_path, values(100, 110))
    measuring(monkeypatch, {10: 0.2})
    with pytest.raises(bisect.NothingToFind, match="may be noise"):
        bisect._ends(a_plan(scratch, 1), lambda _: None)


# ---- the command line ----


@pytest.mark.parametrize(
    "more,wanted",
    [
        (["--source", "session", "--dataset", "tiny"], "needs --dataset and --mode"),
        (["--source", "command"], "needs --command"),
        (["--command", "x", "--rounds", "1"], "--rounds must be from 2 to 100"),
        (["--command", "x", "--rounds", "1001"], "--rounds must be from 2 to 1000"),
        (["--source", "time", "--rounds", "2"], "--rounds must be at least 3 for source time"),
        (["--command", "x", "--program", "../x"], "below the files of the commit"),
        (["--command", "x", "--program", "/bin/true"], "below the files of the commit"),
        (["--command", "x", "--files", "-1"], "--files"),
        (["--command", "x"], "has no commit nowhere"),
        ([], "neither ci/gate --list nor ci/compare --list has it"),
    ],
)
def test_what_cannot_be_done_is_said(more: list[str], wanted: str, tmp_path: Path, said: Said) -> None:
    scratch = made(tmp_path, values(7))
    words = ["no-such-case", "n", "nowhere", "HEAD", "--repository", str(scratch.repository.path), *more]
    assert bisect_cli.main(words) == 1
    text = said()
    assert wanted in text and "Traceback" not in text
    assert bisect_cli.main([*words[:4], "--repository", str(tmp_path), "--command", "x"]) == 1
    assert "is no git repository" in said()


@pytest.mark.parametrize("words", [[], ["case", "n", "good"], ["case", "n", "a", "b", "--source", "rumour"]])
def test_usage_errors_are_1(words: list[str], said: Said) -> None:
    with pytest.raises(SystemExit) as ended:
        bisect_cli.main(words)
    assert ended.value.code == 1 and "usage: ci/bisect" in said()


def test_sources_are_known_by_their_cases() -> None:
    from pxarbench_harness.gates import counters, encodings, instructions

    def source(case: str, name: str = "n") -> str:
        return bisect_cli._source(parsers.bisect().parse_args([case, name, "a", "b"]))

    assert source("restore", "wall_ns") == "time" and source("restore", "peak-rss_bytes") == "memory"
    assert source("restore", "stored") == "bytes"
    assert source(counters.case_ids()[0]) == "counters"
    assert source(encodings.cases()[0]) == "encodings"
    assert source(instructions.case_ids()[0]) == "instructions"


# ---- the real numbers, of the real program ----


def test_numbers_of_the_gates(pxarbench: Path, tmp_path: Path) -> None:
    """One case of each gate, asked alone: the golden number, whenever the gate itself is green."""
    import csv

    from pxarbench_harness.gates import encodings

    case = encodings.cases()[0]
    with open(locate.results() / "golden" / "encodings.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    golden = next(row for row in rows if row["case"] == case and len(row["sha256"]) == 64)
    found = probe.value(Question(case, golden["stream"], "encodings", work=str(tmp_path / "w")), pxarbench)
    assert found == golden["sha256"]
    with pytest.raises(ProbeFailed, match="there is no nonsense; there are"):
        probe.value(Question(case, "nonsense", "encodings", work=str(tmp_path / "w")), pxarbench)
    for source in ("encodings", "counters", "instructions"):
        with pytest.raises(ProbeBroken, match=f"gate {source} has no case nonsense"):
            probe.value(Question("nonsense", "n", source, work=str(tmp_path / "w")), pxarbench)


def test_a_case_of_a_session(pxarbench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sessions are run; what is asked of the first is asked of its records."""
    measure, kept = probe._records, {}

    def records(question: Question, programs: Sequence[str], rounds: int, work: Path) -> list[Record]:
        key = (question.dataset, programs[1])
        if key not in kept:
            kept[key] = measure(question, programs, rounds, work)
        return kept[key]

    monkeypatch.setattr(probe, "_records", records)
    question = Question(
        "x", "reused_files", "session", dataset="wide", files=40, mutation="none", mode="metadata", work=str(tmp_path / "w"),
        rounds=2,
    )  # fmt: skip
    reused = probe.value(question, pxarbench)
    assert isinstance(reused, int) and reused > 5
    assert probe.value(replace(question, name="problems"), pxarbench) == 0
    with pytest.raises(ProbeBroken, match="another size of the dataset"):
        probe.value(replace(question, version="0123456789ab"), pxarbench)
    with pytest.raises(ProbeBroken, match="there is no nonsense; there are .*padding_bytes"):
        probe.value(replace(question, name="nonsense"), pxarbench)
    odd = kept["wide", str(pxarbench)]
    kept["wide", str(pxarbench)] = [replace(r, problems=("the restored tree differs",)) for r in odd]
    with pytest.raises(ProbeFailed, match="the restored tree differs"):
        probe.value(question, pxarbench)
    assert probe.value(replace(question, name="problems"), pxarbench) == len(odd)
    with pytest.raises(ProbeFailed, match="nowhere"):
        probe.value(replace(question, dataset="nowhere"), pxarbench)
    with pytest.raises(ProbeFailed):
        probe.value(question, Path("/bin/false"))
    same = probe.ratio(replace(question, name="wall_ns"), pxarbench, pxarbench)
    assert same.low <= same.change <= same.high and abs(same.change) < 2
