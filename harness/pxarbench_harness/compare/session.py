"""One comparison from two programs to a verdict: rounds, rounds again for suspects, instruction counts."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import locate, measure, run, tree
from ..gates.verdict import Finding, Level, Verdict
from . import findings as judge
from .builds import Build, place
from .cases import Bench, Case, CaseFailed, StoreBroken, named, version
from .decide import BASE, HEAD
from .rounds import CONFIRM, FIRST, Sample, run_rounds, warm_up
from .workplace import others, work_folder

@dataclass(frozen=True)
class Settings:
    cases: tuple[str, ...]
    rounds: int
    seed: int
    limits: judge.AllLimits
    limits_file: str
    instructions: bool = True
    advise: tuple[str, ...] = ()
    work: Path | None = None  # None: in memory where there is room
    files: int | None = None  # of the tree; None: as the recipe says


@dataclass(frozen=True)
class Compared:
    verdict: Verdict
    samples: tuple[Sample, ...] = field(repr=False)


def compare(base: Build, head: Build, settings: Settings, samples_file: Path, say: Callable[[str], None]) -> Compared:
    """`samples_file` gets a JSON line per run, as soon as it was made. CaseFailed: base does not do its work. A head that does
    not, always or sometimes, is a finding."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    chosen = [named(name) for name in settings.cases]
    # Programs are not started from the work folder: file systems in memory often forbid that.
    with work_folder(settings.work) as work, tempfile.TemporaryDirectory(prefix="pxarbench-arms-") as programs:
        host = measure.host(work, work, {})
        least_memory = run.run_counted(["true"])[1].peak_rss_bytes
        texts, programs_are = (base.text, head.text), (base.sha256, head.sha256)
        arms = place(base, head, Path(programs) / FIRST)
        bench = Bench(work, files=settings.files)
        say("preparing the tree and the stores")
        bench.prepare(arms[BASE], chosen)
        folders = (work, Path(programs) / FIRST / HEAD, Path(programs) / CONFIRM / HEAD)
        found, usable = _warmed(bench, chosen, arms, folders)
        lost: dict[str, CaseFailed] = {}
        beside: list[int] = []
        with open(samples_file, "w", encoding="ascii", buffering=1) as out:

            def sink(sample: Sample) -> None:
                out.write(json.dumps(sample.as_json()) + "\n")

            def rounds_of(cases: Sequence[Case], arms: Mapping[str, Path], series: str, before: int) -> list[Sample]:
                progress = _progress(series, settings.rounds, len(cases), say)

                def tell(done: int) -> None:
                    beside.append(others(work))
                    progress(done)

                return run_rounds(
                    bench, cases, lambda _case: arms, rounds=settings.rounds, seed=settings.seed, series=series, sink=sink,
                    before=before, tell=tell, lost=lost,
                )  # fmt: skip

            first = rounds_of(usable, arms, FIRST, 0)
            names = [case.name for case in usable if case.name not in lost]
            again = judge.suspects(first, names, settings.limits)
            confirm: list[Sample] = []
            if again:
                say(f"measuring again to be sure: {', '.join(again)}")
                # Other copies: where one lies in memory has a share in how fast it is.
                copies = place(base, head, Path(programs) / CONFIRM)
                confirm = rounds_of([named(name) for name in again], copies, CONFIRM, len(first))
        found += [_failed(name, error, folders, "not in every round: ") for name, error in lost.items()]
        if any(beside):
            text = f"others measured beside it on this machine ({max(beside)} at once): each is the noise of the other"
            found.append(Finding("time", "", "", Level.WARNING, text))
        found += left_as_it_was(bench)
        for quantity in judge.MEASURED:
            found += judge.measured(first, confirm, names, quantity, settings.limits, lost) if names else []
        found += judge.counted(first, [name for name in names if name not in lost], settings.limits)
        executed = list(settings.cases)
        if (base.sha256, head.sha256) != programs_are:
            found.append(Finding("checks", "", "", Level.ERROR, "a program was built anew while it was measured"))
        elif settings.instructions:
            more, counted = _instructions(base, head, work, say)
            found += more
            executed += counted
    verdict = Verdict(
        kind="compare", started=started, base=texts[0], head=texts[1], head_commit=head.commit,
        host_fingerprint=host.fingerprint, host=asdict(host), findings=tuple(judge.advised(found, settings.advise)),
        executed=tuple(sorted(executed)), required=settings.cases,
        settings={
            "rounds": settings.rounds, "seed": settings.seed, "cases": version(), "runs": len(first) + len(confirm),
            "measured again": ", ".join(again) or "nothing", "limits": settings.limits_file,
            "least memory seen": least_memory,
            "advice only": ", ".join(settings.advise) or "nothing", "files": bench.files, "bytes": bench.bytes,
            "base": base.word, "base is": base.kind, "base program": programs_are[0],
            "head": head.word, "head is": head.kind, "head program": programs_are[1],
        },
    )  # fmt: skip
    return Compared(verdict, (*first, *confirm))


def _progress(series: str, rounds: int, cases: int, say: Callable[[str], None]) -> Callable[[int], None]:
    started = time.monotonic()

    def tell(done: int) -> None:
        left = (time.monotonic() - started) / done * (rounds - done)
        what = "round" if series == FIRST else "confirming round"
        say(f"{what} {done} of {rounds}, {cases} cases" + (f"; about {left:.0f} s left" if done < rounds else ""))

    return tell


def _warmed(
    bench: Bench, cases: Sequence[Case], arms: dict[str, Path], folders: Sequence[Path]
) -> tuple[list[Finding], list[Case]]:
    """Cases in which head does its work, and a finding for each of the others. CaseFailed: base does not do its own."""
    found, usable = [], []
    for case in cases:
        warm_up(bench, [case], {arm: path for arm, path in arms.items() if arm != HEAD})
        try:
            warm_up(bench, [case], {HEAD: arms[HEAD]})
        except StoreBroken:
            raise
        except CaseFailed as error:
            found.append(_failed(case.name, error, folders))
        else:
            usable.append(case)
    return found, usable


def left_as_it_was(bench: Bench) -> list[Finding]:
    """What is not, after all runs. Whose it was is not known, so what was measured is not to be trusted in either direction."""
    found = []
    try:
        bench.verify()
    except CaseFailed as error:
        found.append(str(error))
    changed = tree.differences(bench.tree, tree.scan(bench.work / "tree"))
    if changed:
        found.append(f"{len(changed)} changes of the tree that was backed up: {changed[0]}")
    return [Finding("checks", "", "", Level.ERROR, text) for text in found]


def _failed(case: str, error: CaseFailed, folders: Sequence[Path], often: str = "") -> Finding:
    """`folders`: have other names each time, which nobody needs to know."""
    text = str(error)
    for folder in folders:
        text = text.replace(f"{folder}/", "")
    first, *more = text.splitlines()
    return Finding("checks", case, "", Level.REGRESSION, often + first, details=tuple(more))


def _instructions(base: Build, head: Build, work: Path, say: Callable[[str], None]) -> tuple[list[Finding], list[str]]:
    """Counts of both builds on this machine, and the cases that gave one. Without valgrind: nothing, which is said."""
    from ..gates import instruction_cases, instructions

    if instructions.find_valgrind() is None:
        text = "not counted: valgrind is not installed (--no-instructions: then they are not asked for)"
        say(f"instructions are {text}")
        return [Finding("instructions", "", "", Level.WARNING, text)], []
    say("counting instructions of both builds, about a minute")
    try:
        ran = instructions.between(base.binary, head.binary, work)
    except (instructions.InstructionsBroken, instruction_cases.CaseBroken, run.CommandFailed, OSError) as error:
        return [Finding("instructions", "", "", Level.ERROR, str(error))], []
    return list(ran.findings), list(ran.executed)


def repository_file(path: Path) -> str:
    """A path for people: within the repository without the machine's folders."""
    absolute = path.resolve()
    return os.fspath(absolute.relative_to(locate.REPOSITORY) if absolute.is_relative_to(locate.REPOSITORY) else path)
