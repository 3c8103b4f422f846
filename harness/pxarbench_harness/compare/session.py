"""One comparison from two programs to a verdict: rounds, rounds again for suspects, instruction counts."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import locate, measure
from ..gates.verdict import Finding, Level, Verdict
from ..run import CommandFailed
from . import findings as judge
from .builds import Build, place
from .cases import NEEDED_BYTES, Bench, Case, CaseFailed, named, version
from .decide import BASE, HEAD
from .rounds import CONFIRM, FIRST, Sample, run_rounds, warm_up

_MEMORY = Path("/dev/shm")
_INODES_MIN = 200_000


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


def in_memory() -> bool:
    """Is there a file system in memory with enough room?"""
    if not os.access(_MEMORY, os.W_OK | os.X_OK):
        return False
    free = os.statvfs(_MEMORY)
    return free.f_bavail * free.f_frsize >= NEEDED_BYTES and (free.f_favail >= _INODES_MIN or not free.f_files)


@contextmanager
def work_folder(place: Path | None) -> Iterator[Path]:
    """A new folder, removed at the end."""
    parent = place if place is not None else _MEMORY if in_memory() else None
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="pxarbench-compare-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(base: Build, head: Build, settings: Settings, samples_file: Path, say: Callable[[str], None]) -> Compared:
    """`samples_file` gets a JSON line per run, as soon as it was made. CaseFailed: base does not do its work, or head only
    sometimes. A head that never does the work of a case is a finding."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    chosen = [named(name) for name in settings.cases]
    # Programs are not started from the work folder: file systems in memory often forbid that.
    with work_folder(settings.work) as work, tempfile.TemporaryDirectory(prefix="pxarbench-arms-") as programs:
        host = measure.host(work, work, {})
        arms = place(base, head, Path(programs))
        bench = Bench(work, files=settings.files)
        say("preparing the tree and the stores")
        bench.prepare(arms[BASE], chosen)
        found, usable = _warmed(bench, chosen, arms)
        with open(samples_file, "w", encoding="ascii") as out:

            def sink(sample: Sample) -> None:
                out.write(json.dumps(sample.as_json()) + "\n")

            def rounds_of(cases: Sequence[Case], series: str, before: int) -> list[Sample]:
                tell = _progress(series, settings.rounds, len(cases), say)
                return run_rounds(
                    bench, cases, arms, rounds=settings.rounds, seed=settings.seed, series=series, sink=sink, before=before,
                    tell=tell,
                )  # fmt: skip

            first = rounds_of(usable, FIRST, 0)
            names = [case.name for case in usable]
            again = judge.suspects(first, names, settings.limits)
            confirm: list[Sample] = []
            if again:
                say(f"measuring again to be sure: {', '.join(again)}")
                confirm = rounds_of([named(name) for name in again], CONFIRM, len(first))
            bench.verify()
        for quantity in judge.MEASURED:
            found += judge.measured(first, confirm, names, quantity, settings.limits) if names else []
        found += judge.counted(first, names, settings.limits)
        executed = list(settings.cases)
        if settings.instructions:
            more, counted = _instructions(base, head, work, say)
            found += more
            executed += counted
    verdict = Verdict(
        kind="compare", started=started, base=base.text, head=head.text, head_commit=head.commit,
        host_fingerprint=host.fingerprint, host=asdict(host), findings=tuple(judge.advised(found, settings.advise)),
        executed=tuple(sorted(executed)), required=settings.cases,
        settings={
            "rounds": settings.rounds, "seed": settings.seed, "cases": version(), "runs": len(first) + len(confirm),
            "measured again": ", ".join(again) or "nothing", "limits": settings.limits_file,
            "advice only": ", ".join(settings.advise) or "nothing", "files": bench.files, "bytes": bench.bytes,
            "base": base.word, "base is": base.kind, "base program": base.sha256,
            "head": head.word, "head is": head.kind, "head program": head.sha256,
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


def _warmed(bench: Bench, cases: Sequence[Case], arms: dict[str, Path]) -> tuple[list[Finding], list[Case]]:
    """Cases in which head does its work, and a finding for each of the others. CaseFailed: base does not do its own."""
    found, usable = [], []
    for case in cases:
        warm_up(bench, [case], {arm: path for arm, path in arms.items() if arm != HEAD})
        try:
            warm_up(bench, [case], {HEAD: arms[HEAD]})
        except CaseFailed as error:
            first, *more = str(error).splitlines()
            found.append(Finding("checks", case.name, "", Level.REGRESSION, first, details=tuple(more)))
        else:
            usable.append(case)
    return found, usable


def _instructions(base: Build, head: Build, work: Path, say: Callable[[str], None]) -> tuple[list[Finding], list[str]]:
    """Counts of both builds on this machine, and the cases that gave one. Without valgrind: nothing, which is said."""
    from ..gates import instruction_cases, instructions

    if instructions.find_valgrind() is None:
        say("instructions are not counted: valgrind is not installed")
        return [], []
    say("counting instructions of both builds, about a minute")
    try:
        ran = instructions.between(base.binary, head.binary, work)
    except (instructions.InstructionsBroken, instruction_cases.CaseBroken, CommandFailed, OSError) as error:
        return [Finding("instructions", "", "", Level.ERROR, str(error))], []
    return list(ran.findings), list(ran.executed)


def repository_file(path: Path) -> str:
    """A path for people: within the repository without the machine's folders."""
    absolute = path.resolve()
    return os.fspath(absolute.relative_to(locate.REPOSITORY) if absolute.is_relative_to(locate.REPOSITORY) else path)
