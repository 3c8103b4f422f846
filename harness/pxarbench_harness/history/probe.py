"""One number of one case of one program: what ci/bisect asks at every commit."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from .. import record, run
from ..gates import verdict as verdicts
from ..gates.verdict import Finding
from . import collect

#: Of two programs that run in turn: judged by the interval of their ratio. Everything else by the number itself.
COMPARED_SOURCES = ("time", "memory", "bytes")

Value = int | float | str


class ProbeFailed(Exception):
    """This program has no such number: a crash, a case that it cannot do. Another commit may have it."""


class ProbeBroken(Exception):
    """What was asked for cannot be had at all, whatever the program; the text says why."""


@dataclass(frozen=True)
class Question:
    """What to measure, and how."""

    case: str
    name: str
    source: str  # of parsers.SOURCES
    dataset: str = ""  # the next five: of source session
    files: int = 0
    mutation: str = ""
    mode: str = ""
    cache: str = "warm"
    version: str = ""  # of the benchmark, when it is to be a certain one
    command: str = ""  # of source command: {program} is the program, the last line of its output is the number
    rounds: int = 10  # of what is measured
    work: str = ""  # folder for trees and stores; "": the usual one
    extra: tuple[str, ...] = field(default=())  # further words for `pxarbench backup`, of source session

    @property
    def is_measured(self) -> bool:
        """Two builds are measured in turn, and an interval decides."""
        return self.source in COMPARED_SOURCES or (self.source == "session" and self.name in collect.MEASURED)


@dataclass(frozen=True)
class Ratio:
    """Of a program to the good one, as shares: 0.03 is 3 % more."""

    change: float
    low: float
    high: float

    @property
    def text(self) -> str:
        return f"{100 * self.change:+.1f} % ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


@contextmanager
def _folder(question: Question) -> Iterator[Path]:
    if question.work:
        Path(question.work).mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="pxarbench-bisect-", dir=question.work or None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


# ---- numbers ----


def value(question: Question, program: Path) -> Value:
    """ProbeFailed, ProbeBroken."""
    with _folder(question) as work:
        try:
            match question.source:
                case "command":
                    return _command(question, program)
                case "session":
                    return _session(question, program, work)
                case "counters":
                    return _counters(question, program, work)
                case "encodings":
                    return _encodings(question, program, work)
                case "instructions":
                    return _instructions(question, program, work)
        except OSError as error:
            raise ProbeBroken(str(error)) from None
    raise ProbeBroken(f"source {question.source} compares two programs, and has no number of one")


def _command(question: Question, program: Path) -> Value:
    result = run.run(["/bin/sh", "-c", question.command.replace("{program}", str(program))])
    if result.returncode != 0:
        raise ProbeFailed(f"the command ended with {result.returncode}: {_end(result)}")
    lines = [text.strip() for text in result.stdout.decode(errors="replace").splitlines() if text.strip()]
    if not lines:
        raise ProbeFailed("the command printed nothing")
    return number(lines[-1])


def number(text: str) -> Value:
    """What looks like a number is one."""
    for kind in (int, float):
        try:
            found = kind(text)
        except ValueError:
            continue
        if math.isfinite(found):
            return found
    return text


def _end(result: run.Result) -> str:
    lines = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "without a word"


def _records(question: Question, programs: Sequence[str], rounds: int, work: Path) -> list[record.Record]:
    """Of one session of its own. `programs`: words that name them."""
    if not question.dataset or not question.mode:
        raise ProbeBroken("source session needs --dataset, --mode and, unless nothing changed, --mutation")
    words = [
        sys.executable, "-m", "pxarbench_harness", *programs, "--dataset", question.dataset, "--mutation",
        question.mutation or "none", "--modes", question.mode, "--caches", question.cache, "--rounds", str(rounds),
        "--no-roofline", "--no-syscalls", "--output", str(work / "session"), "--work", str(work / "work"),
    ]  # fmt: skip
    words += ["--files", str(question.files)] if question.files else []
    words += [f"--backup-option={word}" for word in question.extra]
    result = run.run(words, env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])})
    path = work / "session" / "records.jsonl"
    if not path.exists():
        # A program that cannot even say its version looks like a question that makes no sense; the ends are asked first.
        raise ProbeFailed(_end(result))
    try:
        found = list(record.read(path))
    except record.RecordBroken as error:
        raise ProbeBroken(str(error)) from None
    if not any(r.phase == "measured" for r in found):
        raise ProbeFailed(_end(result))
    return found


def _checked(question: Question, found: Sequence[record.Record]) -> None:
    versions = {collect.version(r) for r in found if r.phase == "measured"}
    if question.version and versions != {question.version}:
        raise ProbeBroken(
            f"this is not the benchmark that was asked for: version {', '.join(sorted(versions))}, not {question.version} "
            "(another size of the dataset: --files? another option?)"
        )


def _session(question: Question, program: Path, work: Path) -> Value:
    """One round: exact numbers are equal in all. "problems" counts what the checks found."""
    found = _records(question, ["--binary", str(program)], 1, work)
    _checked(question, found)
    problems = [problem for r in found for problem in r.problems]
    if question.name == "problems":
        return len(problems)
    if problems:
        raise ProbeFailed(f"{problems[0]} (the number `problems` can be looked for as well)")
    (measured,) = [r for r in found if r.phase == "measured"][:1]
    if measured.outcome is None:
        raise ProbeFailed(f"the backup ended with {measured.exit_code}")
    values: dict[str, Any] = {**measured.outcome["checksums"], **{n: measured.outcome.get(n) for n in collect.EXACT}}
    if question.name not in values:
        known = ", ".join(sorted({*values, *collect.MEASURED, "problems"}))
        raise ProbeBroken(f"there is no {question.name}; there are {known}")
    told: Value | None = values[question.name]
    if told is None:
        raise ProbeFailed(f"this program does not tell {question.name}")
    return told


def _of_findings(question: Question, findings: Sequence[Finding]) -> Value:
    own = [f for f in findings if f.case == question.case]
    for finding in own:
        wanted = question.name in (finding.name or finding.gate, collect.value_name(finding))
        if finding.gate == question.source and wanted and finding.head is not None:
            return finding.head
    for finding in own:
        if finding.gate == question.source and finding.name in ("", "version") and finding.level.is_bad:
            raise ProbeFailed(finding.text)
    if own:
        names = ", ".join(sorted({f.name for f in own if f.name}))
        raise ProbeFailed(f"there is no {question.name}; there are {names or 'none'}")
    whole = [f.text for f in findings if f.level.is_bad and not f.case]
    raise ProbeFailed(whole[0] if whole else f"case {question.case} was not judged")


def _counters(question: Question, program: Path, work: Path) -> Value:
    from ..gates import cases, counters

    try:
        groups = cases.only([question.case])
    except ValueError:
        raise ProbeBroken(f"gate counters has no case {question.case} (ci/gate counters --list)") from None
    measured = counters.measure_all(program, work, groups, lambda _: None)
    by_id = {name: case for case, name in measured.ids.items()}
    if question.case not in by_id:
        bad = [f.text for f in measured.findings if f.level.is_bad]
        raise ProbeFailed(bad[0] if bad else "did not run")
    numbers = measured.numbers[by_id[question.case]]
    if question.version and numbers.get("version") != question.version:
        is_now = numbers.get("version")
        raise ProbeBroken(f"this is not the benchmark that was asked for: version {is_now}, not {question.version}")
    if question.name == "problems":
        return sum(f.case == question.case and f.level.is_bad for f in measured.findings)
    if question.name not in numbers:
        raise ProbeFailed(f"there is no {question.name}; there are {', '.join(sorted(numbers))}")
    return numbers[question.name]


def _encodings(question: Question, program: Path, work: Path) -> Value:
    from ..gates import encodings

    if question.case not in encodings.cases():
        raise ProbeBroken(f"gate encodings has no case {question.case} (ci/gate encodings --list)")
    findings, _ = encodings.run(program, work, only=[question.case])
    return _of_findings(question, findings)


def _instructions(question: Question, program: Path, work: Path) -> Value:
    from ..gates import instructions

    named = {instructions.case_id(name): name for name in instructions.names()}
    if question.case not in named:
        raise ProbeBroken(f"gate instructions has no case {question.case} (ci/gate instructions --list)")
    try:
        counts = instructions.count(program, work, only=[named[question.case]])
    except instructions.InstructionsBroken as error:
        raise ProbeBroken(str(error)) from None
    if named[question.case] in counts.failed:
        raise ProbeFailed(counts.failed[named[question.case]])
    values = counts.cases[named[question.case]].values
    if question.name not in values:
        raise ProbeBroken(f"there is no {question.name}; there are {', '.join(values)}")
    return int(values[question.name])


# ---- two programs in turn ----


def ratio(question: Question, good: Path, program: Path) -> Ratio:
    """Both measured in turn in one session. ProbeFailed, ProbeBroken."""
    with _folder(question) as work:
        try:
            by = _of_session if question.source == "session" else _of_compare
            return by(question, good, program, work)
        except OSError as error:
            raise ProbeBroken(str(error)) from None


def _of_session(question: Question, good: Path, program: Path, work: Path) -> Ratio:
    """A pair per round; rounds are shuffled, so that each is first as often as not."""
    from ..compare import decide

    # Side by side, with paths of one length: the environment of a process moves its stack.
    programs = {}
    for name, path in (("good", good), ("here", program)):
        (work / name).mkdir()
        programs[name] = work / name / "pxarbench"
        shutil.copy2(path, programs[name])
    words = ["--subjects", "pxarbench@good,pxarbench@here"]
    words += [word for name, path in programs.items() for word in ("--build", f"{name}={path}")]
    found = _records(question, words, question.rounds, work)
    _checked(question, found)
    rounds: dict[int, dict[str, int]] = {}
    for r in found:
        if r.phase == "measured" and r.exit_code == 0:
            rounds.setdefault(r.round, {})[r.subject.partition("@")[2]] = int(getattr(r, question.name))
    pairs = [(one["good"], one["here"]) for one in rounds.values() if min(one.get("good", 0), one.get("here", 0)) > 0]
    if len(pairs) < 2:
        raise ProbeFailed("fewer than two rounds have a result of both programs")
    told = decide.estimate(numpy.asarray([math.log(here / before) for before, here in pairs]))
    return Ratio(told.change, told.low, told.high)


def _of_compare(question: Question, good: Path, program: Path, work: Path) -> Ratio:
    words = [
        sys.executable, "-m", "pxarbench_harness.compare", str(good), str(program), "--case", question.case, "--rounds",
        str(question.rounds), "--no-instructions", "--output", str(work / "compare"),
    ]  # fmt: skip
    result = run.run(words, env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])})
    path = work / "compare" / "verdict.json"
    if not path.exists():
        said = result.stderr.decode(errors="replace").strip().splitlines()
        if said and said[-1] == "(ci/compare --help)":  # it was asked for something that does not exist
            raise ProbeBroken(" ".join(said[:-1]))
        raise ProbeFailed(_end(result))
    try:
        findings = verdicts.read(path).findings
    except verdicts.VerdictBroken as error:
        raise ProbeBroken(str(error)) from None
    for f in findings:
        named = question.name in (f.name, collect.value_name(f))
        if f.case == question.case and f.gate == question.source and named:
            noisy = [text for text in f.details if text.startswith("the session: ")]
            if f.change is None or noisy:
                raise ProbeFailed(f.text)
            if f.low is None:  # exact
                return Ratio(f.change, f.change, f.change)
            return Ratio(f.change, f.low, math.inf if f.high is None else f.high)
    own = {collect.value_name(f) for f in findings if f.gate == question.source and f.case == question.case}
    names = ", ".join(sorted(own))
    raise ProbeBroken(f"there is no {question.name}; there are {names or 'none'}")


def described(found: Value | Ratio) -> str:
    if isinstance(found, Ratio):
        return found.text
    return f"{found:,}" if isinstance(found, int) else str(found)[:40]
