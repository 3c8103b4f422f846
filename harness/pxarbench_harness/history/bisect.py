"""git bisect run on one number of one case.

    ends      both are built and measured first: without a difference there is nothing to look for
    steps     git chooses a commit, this module's step builds and measures it: exit 0 good, 1 bad, 125 cannot be told
    answer    the first bad commit, or those among which it is when some could not be told

The search has a work tree of its own without files in it (git bisect start --no-checkout): the checkout, its index and a search
of somebody else's are not touched. The harness is the one this search was started with, at every commit.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from .. import run
from . import git, parsers, probe
from .probe import ProbeBroken, ProbeFailed, Question, Ratio, Value

GOOD, BAD, SKIP, STOP = 0, 1, 125, 255  # as git bisect run wants them
#: Beside the plan: what the steps found, and why one of them could not go on.
STEPS, STOPPED = "steps.jsonl", "stopped"
BUILD_SECONDS_MAX = 3600
#: Rounds are added to an interval that does not decide, so often.
TRIES = 2


class BisectFailed(Exception):
    """It cannot begin, or not go on; the text says why."""


class NothingToFind(Exception):
    """The ends do not differ, or not surely."""


class BuildFailed(Exception):
    """This commit has no program."""


@dataclass(frozen=True)
class Plan:
    """All that a step has to know: written by the search, read by its steps."""

    repository: str
    question: Question
    good: str  # commits
    bad: str
    build: str = ""  # command, run by a shell in the commit's files; "": as ci/compare builds
    program: str = "build/release/bin/pxarbench"  # what it makes
    cache: str = ""  # folder for builds; "": the usual one
    good_program: str = ""
    good_value: Value | None = None
    bad_value: Value | None = None
    ratio: Ratio | None = None  # of bad to good, of what is measured


@dataclass(frozen=True)
class Step:
    commit: str
    code: int  # GOOD, BAD or SKIP
    text: str  # the number, or why there is none


@dataclass(frozen=True)
class Answer:
    good_text: str
    bad_text: str
    steps: tuple[Step, ...]
    first_bad: git.Commit | None
    candidates: tuple[git.Commit, ...] = field(default=())  # when some could not be told


# ---- judging: pure ----


def judge_value(found: Value, good: Value, bad: Value, *, tolerance: bool) -> int:
    """Exact: whatever is not the good number is bad. With `tolerance`: the nearer of the two."""
    if not tolerance:
        return GOOD if found == good else BAD
    if isinstance(found, str) or isinstance(good, str) or isinstance(bad, str):
        return GOOD if found == good else BAD
    return GOOD if abs(found - good) < abs(found - bad) else BAD


def judge_ratio(found: Ratio, whole: Ratio) -> int:
    """The middle between good and bad decides, when the interval does not contain it."""
    middle = math.expm1(math.log1p(whole.change) / 2)
    low, high = (found.low, found.high) if whole.change > 0 else (-found.high, -found.low)
    middle = abs(middle)
    if low > middle:
        return BAD
    return GOOD if high < middle else SKIP


def differs(whole: Ratio) -> bool:
    """Surely, that is."""
    return whole.low > 0 or whole.high < 0


def repeats(good: Value, bad: Value, name: str) -> bool:
    """Whether runs of one program may differ as much: counts of instructions."""
    from ..gates import instructions  # slow to import, and steps do not need it

    if isinstance(good, str) or isinstance(bad, str):
        return good == bad
    return abs(bad - good) <= max(2 * instructions.AGREE * abs(good), instructions.FLOORS.get(name, 0))


# ---- builds ----


def build(plan: Plan, commit: str, say: Callable[[str], None]) -> Path:
    """The program of a commit, kept in the cache. BuildFailed; OSError."""
    if not plan.build:
        return _as_compared(plan, commit, say)
    # By another command it is another program.
    how = hashlib.sha256(f"{plan.build}\0{plan.program}".encode()).hexdigest()
    home = Path(plan.cache) / f"{commit[:16]}-{how[:8]}"
    program = home / plan.program
    if (home / ".built").exists() and program.is_file():
        return program
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    try:
        words = [*run.git_words(plan.repository), "archive", "--format=tar", commit]
        run.pipeline([words, ["tar", "-x", "-C", str(home)]])
    except run.CommandFailed as error:
        raise BuildFailed(str(error)) from None
    made = run.run(["/bin/sh", "-c", plan.build], cwd=home, timeout=BUILD_SECONDS_MAX)
    if made.returncode != 0:
        said = (made.stderr or made.stdout).decode(errors="replace").strip().splitlines()
        raise BuildFailed(f"does not build: {said[-1][:300] if said else f'exit {made.returncode}'}")
    if not program.is_file():
        raise BuildFailed(f"the build made no {plan.program}")
    (home / ".built").touch()
    return program


def _as_compared(plan: Plan, commit: str, say: Callable[[str], None]) -> Path:
    from ..compare import builds

    cache = Path(plan.cache) if plan.cache else None
    try:
        return builds.find(commit, repository=Path(plan.repository), cache=cache, say=say).binary
    except builds.BuildFailed as error:
        lines = [text for text in str(error).splitlines() if text.strip()]
        # The compiler's complaint, not its command line with -Werror in it.
        raise BuildFailed(next((text for text in lines if "error: " in text), lines[0])[:300]) from None


# ---- one step ----


def _ratio(plan: Plan, program: Path) -> tuple[int, str]:
    assert plan.ratio is not None
    question = plan.question
    for attempt in range(1, TRIES + 1):
        found = probe.ratio(question, Path(plan.good_program), program)
        code = judge_ratio(found, plan.ratio)
        if code != SKIP or attempt == TRIES:
            break
        question = replace(question, rounds=min(2 * question.rounds, parsers.ROUNDS_MAX))
    told = found.text if code != SKIP else f"{found.text}: contains the middle between good and bad"
    return code, told


def step(plan: Plan, commit: str, say: Callable[[str], None]) -> Step:
    """Builds and judges one commit. ProbeBroken, OSError: no commit can be judged."""
    try:
        program = build(plan, commit, say)
        if plan.question.is_measured:
            return Step(commit, *_ratio(plan, program))
        found = probe.value(plan.question, program)
    except (BuildFailed, ProbeFailed) as error:
        return Step(commit, SKIP, str(error))
    assert plan.good_value is not None and plan.bad_value is not None
    tolerance = plan.question.source == "instructions"
    return Step(commit, judge_value(found, plan.good_value, plan.bad_value, tolerance=tolerance), probe.described(found))


WORDS = {GOOD: "good", BAD: "bad", SKIP: "cannot be told"}


def stopped(state: Path, text: str, say: Callable[[str], None]) -> int:
    """No commit can be judged: tells git, and the search why."""
    say(f"stopped: {text}")
    state.with_name(STOPPED).write_text(text, encoding="utf-8", errors="replace")
    return STOP


def main_of_step(state: Path, say: Callable[[str], None]) -> int:
    """What git bisect run starts in the search's work tree."""
    plan = read_plan(state)
    commit = git.Repository(Path.cwd()).must("rev-parse", "--verify", "BISECT_HEAD")
    try:
        done = step(plan, commit, say)
    except (ProbeBroken, git.GitFailed, OSError, run.CommandFailed) as error:
        return stopped(state, f"{commit[:12]}: {error}", say)
    with open(state.with_name(STEPS), "a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(done)) + "\n")
    say(f"{commit[:12]}  {WORDS[done.code]}: {done.text}")
    return done.code


def write_plan(path: Path, plan: Plan) -> None:
    path.write_text(json.dumps(asdict(plan)), encoding="utf-8")


def read_plan(path: Path) -> Plan:
    """Of write_plan."""
    values = json.loads(path.read_text(encoding="utf-8"))
    question = Question(**{**values["question"], "extra": tuple(values["question"]["extra"])})
    ratio = None if values["ratio"] is None else Ratio(**values["ratio"])
    return Plan(**{**values, "question": question, "ratio": ratio})


# ---- the search ----


def _ends(plan: Plan, say: Callable[[str], None]) -> tuple[Plan, str, str]:
    """Both built and measured. NothingToFind, BisectFailed."""
    programs = []
    for name, commit in (("good", plan.good), ("bad", plan.bad)):
        try:
            programs.append(build(plan, commit, say))
        except BuildFailed as error:
            raise BisectFailed(f"the {name} end {commit[:12]}: {error}") from None
    plan = replace(plan, good_program=str(programs[0]))
    try:
        if plan.question.is_measured:
            return _measured_ends(plan, programs[1])
        values = [probe.value(plan.question, program) for program in programs]
    except ProbeFailed as error:
        raise BisectFailed(f"an end cannot be measured: {error}") from None
    good, bad = values
    if good == bad:
        raise NothingToFind(f"{plan.question.name} is {probe.described(good)} at both ends")
    if plan.question.source == "instructions" and repeats(good, bad, plan.question.name):
        ends = f"{probe.described(good)} and {probe.described(bad)}"
        raise NothingToFind(f"{plan.question.name} is {ends} at the ends: runs of one program differ as much")
    return replace(plan, good_value=good, bad_value=bad), probe.described(good), probe.described(bad)


def _measured_ends(plan: Plan, bad_program: Path) -> tuple[Plan, str, str]:
    whole = probe.ratio(plan.question, Path(plan.good_program), bad_program)
    if not differs(whole):
        raise NothingToFind(f"{plan.question.name} differs by {whole.text} between the ends: that may be noise (--rounds)")
    return replace(plan, ratio=whole), "+0.0 %", whole.text


def search(plan: Plan, say: Callable[[str], None]) -> Answer:
    """BisectFailed, NothingToFind, ProbeBroken, GitFailed, OSError."""
    repository = git.Repository(Path(plan.repository))
    ends = [repository.commit(plan.good), repository.commit(plan.bad)]
    for word, commit in zip((plan.good, plan.bad), ends, strict=True):
        if commit is None:
            raise BisectFailed(f"{plan.repository} has no commit {word}")
    good, bad = (commit.name for commit in ends if commit is not None)
    if good == bad or not repository.is_ancestor(good, bad):
        raise BisectFailed(f"{plan.good} is no ancestor of {plan.bad}: nothing lies between them")
    between = repository.between(good, bad)
    with tempfile.TemporaryDirectory(prefix="pxarbench-bisect-") as scratch:
        # Builds by a command of one's own are no use to anybody else.
        kept = plan.cache or (str(Path(scratch) / "builds") if plan.build else "")
        plan = replace(plan, good=good, bad=bad, cache=kept)
        say(f"{len(between)} commits behind {good[:12]} up to {bad[:12]}: about {math.ceil(math.log2(len(between)))} steps")
        plan, good_text, bad_text = _ends(plan, say)
        say(f"{good[:12]}  good: {good_text}")
        say(f"{bad[:12]}  bad: {bad_text}")
        steps, first = _run(plan, repository, Path(scratch)) if len(between) > 1 else ((), bad)
    found = repository.commit(first) if first else None
    judged = {one.commit: one.code for one in steps} | {bad: BAD}
    candidates = () if found else _candidates(repository, good, bad, judged)
    return Answer(good_text, bad_text, steps, found, candidates)


def _run(plan: Plan, repository: git.Repository, scratch: Path) -> tuple[tuple[Step, ...], str]:
    """Steps, and the first bad commit; "": those that are left cannot be told."""
    state, tree = scratch / "plan.json", scratch / "tree"
    write_plan(state, plan)
    repository.must("worktree", "add", "--detach", "--no-checkout", str(tree), plan.bad)
    inside = git.Repository(tree)
    try:
        inside.must("bisect", "start", "--no-checkout", plan.bad, plan.good)
        words = [sys.executable, "-m", "pxarbench_harness.history", "bisect-step", str(state)]
        # What git itself says on the way is about its own commands; the steps say what is to be known.
        code = inside.run_shown("bisect", "run", *words)
        if (scratch / STOPPED).exists():
            raise BisectFailed(f"a step could not go on: {(scratch / STOPPED).read_text(encoding='utf-8')}")
        log = scratch / STEPS
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        steps = tuple(Step(**json.loads(text)) for text in lines)
        if code == 0:
            return steps, inside.must("rev-parse", "--verify", "refs/bisect/bad")
        if code == 2 or any(one.code == SKIP for one in steps) and "skip" in inside.must("bisect", "log"):
            return steps, ""
        raise BisectFailed(f"git bisect run ended with {code}")
    finally:
        repository.ask("worktree", "remove", "--force", str(tree))


def _candidates(repository: git.Repository, good: str, bad: str, judged: dict[str, int]) -> tuple[git.Commit, ...]:
    """Between the last good and the first bad one of those that could be told."""
    line = repository.between(good, bad)
    begin = max((i + 1 for i, commit in enumerate(line) if judged.get(commit.name) == GOOD), default=0)
    end = min((i for i, commit in enumerate(line) if judged.get(commit.name) == BAD and i >= begin), default=len(line) - 1)
    return tuple(line[begin : end + 1])
