"""What does ci/compare find, and what does it accuse wrongly? Plants slowdowns of known size into a program, and counts.

    python3 -m pxarbench_harness.compare.power --trials 20 --output FOLDER

A trial is what ci/compare does, with more arms at once: the program, its copy, two further copies (A/A: every accusation is a
false alarm), and one per slowdown. All arms are the same program behind stretch.c, which afterwards keeps a processor busy for
that share of the time: what differs is the duration alone, and by how much is known. Rounds, orders, tests and confirmation are
those of ci/compare; sharing base and copy between the slowdowns of a trial saves more than half of the runs. So many arms make
a half of a round three times as long as in ci/compare, and what drifts cancels out less: a trial finds rather less than that.

Each trial is written when it is done, with all of its samples: the same command goes on after an interruption, and with more
--trials. --judge-again applies other rules or limits to the samples that are there.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .. import measure, run
from ..gates.golden import write_whole
from ..gates.verdict import EXIT_ERROR, Level
from ..report import render
from ..report.model import Bullets, Heading, Paragraph, Report, Table
from . import builds, decide, findings
from .cases import NAMES, Bench, Case, CaseFailed, Numbers, named, version
from .cli import EXIT_INTERRUPTED, ROUNDS, ROUNDS_MAX
from .rounds import CONFIRM, FIRST, Sample, run_rounds, warm_up
from .workplace import stoppable, work_folder

SCHEMA = "pxarbench-power/1"
SLOWDOWNS = (0.01, 0.02, 0.03, 0.05, 0.10)
TRIALS = 20
#: Copies beside base and null: two, so that 20 trials are 40 comparisons of a program with itself.
EQUALS = ("aa-0000", "aa-0001")


def arm_name(share: float) -> str:
    """Of equal length for all."""
    return f"sl-{round(share * 1000):04d}"


@dataclass(frozen=True)
class Said:
    """About one quantity of one case of one arm in one trial."""

    arm: str
    case: str
    quantity: str
    level: Level
    change: float
    detectable: float | None


def _of(samples: Iterable[Sample], arm: str, cases: Sequence[str]) -> list[Sample]:
    """As if only base, its copy and `arm` had run, the latter as head."""
    chosen = []
    for sample in samples:
        if sample.case in cases and sample.arm in (decide.BASE, decide.NULL, arm):
            chosen.append(replace(sample, arm=decide.HEAD) if sample.arm == arm else sample)
    return chosen


def suspects(
    first: Sequence[Sample], arms: Sequence[str], cases: Sequence[str], limits: findings.AllLimits
) -> dict[str, list[str]]:
    """Case -> arms of which rounds are needed again."""
    found: dict[str, list[str]] = {}
    for arm in arms:
        for case in findings.suspects(_of(first, arm, cases), cases, limits):
            found.setdefault(case, []).append(arm)
    return found


def judged(
    first: Sequence[Sample], confirm: Sequence[Sample], arms: Sequence[str], cases: Sequence[str], limits: findings.AllLimits
) -> list[Said]:
    """What ci/compare would say about each arm. ValueError: a suspect was not measured again."""
    said = []
    for arm in arms:
        one, two = _of(first, arm, cases), _of(confirm, arm, cases)
        found = [f for quantity in findings.MEASURED for f in findings.measured(one, two, cases, quantity, limits)]
        for f in (*found, *findings.counted(one, cases, limits)):
            said.append(Said(arm, f.case, f.name, f.level, f.change or 0.0, f.detectable))
    return said


# ---- the programs ----


def programs(binary: Path, folder: Path, slowdowns: Sequence[float]) -> dict[str, Path]:
    """Arm -> program. CommandFailed, OSError: no compiler."""
    arms = {}
    shares = {**dict.fromkeys((decide.BASE, decide.NULL, *EQUALS), 0.0), **{arm_name(share): share for share in slowdowns}}
    for arm, share in shares.items():
        home = folder / arm.ljust(len(EQUALS[0]), "-")
        home.mkdir(parents=True)
        shutil.copyfile(binary, home / "real")
        (home / "real").chmod(0o755)
        source = Path(__file__).with_name("stretch.c")
        arms[arm] = home / "pxarbench"
        compiler = os.environ.get("CC") or "cc"
        run.run([compiler, "-O2", f"-DPERMILLE={round(share * 1000)}", "-o", arms[arm], source]).check_ok()
    return arms


def trial(
    bench: Bench, cases: Sequence[Case], arms: Mapping[str, Path], copies: Mapping[str, Path], *, rounds: int, seed: int,
    limits: findings.AllLimits, say: Callable[[str], None],
) -> tuple[list[Sample], list[Sample]]:  # fmt: skip
    """Samples of one: first rounds, and confirming ones of the suspects with other copies of the programs."""
    first = run_rounds(bench, cases, lambda _case: arms, rounds=rounds, seed=seed, series=FIRST, sink=lambda _sample: None)
    again = suspects(first, heads_of(arms), [case.name for case in cases], limits)

    def accused(case: Case) -> Mapping[str, Path]:
        return {arm: path for arm, path in copies.items() if arm in (decide.BASE, decide.NULL, *again[case.name])}

    confirm = run_rounds(
        bench, [case for case in cases if case.name in again], accused, rounds=rounds, seed=seed, series=CONFIRM,
        sink=lambda _sample: None, before=len(first),
    )  # fmt: skip
    say(f"measured again: {', '.join(again) or 'nothing'}; {len(first)} and {len(confirm)} runs")
    return first, confirm


def heads_of(arms: Iterable[str]) -> list[str]:
    return [arm for arm in arms if arm not in (decide.BASE, decide.NULL)]


# ---- the file of trials ----


@dataclass(frozen=True)
class Trial:
    number: int
    runs: int
    said: tuple[Said, ...]


def samples_file(folder: Path, number: int) -> Path:
    return folder / f"samples-{number + 1:03d}.jsonl.gz"


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    with gzip.open(path, "wt", encoding="ascii") as out:
        for sample in samples:
            out.write(json.dumps(sample.as_json()) + "\n")


def read_samples(path: Path) -> list[Sample]:
    """OSError, ValueError: names the file."""
    names = {f.name for f in fields(Numbers)}
    try:
        with gzip.open(path, "rt", encoding="ascii") as lines:
            told = [json.loads(line) for line in lines]
        return [
            Sample(**{k: v for k, v in one.items() if k not in names}, numbers=Numbers(**{k: one[k] for k in names}))
            for one in told
        ]
    except (EOFError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def to_line(one: Trial, about: Mapping[str, Any]) -> str:
    said = [[s.arm, s.case, s.quantity, s.level.value, s.change, s.detectable] for s in one.said]
    return json.dumps({"schema": SCHEMA, "about": about, "trial": one.number, "runs": one.runs, "said": said}) + "\n"


def from_lines(text: str, about: Mapping[str, Any], name: str) -> list[Trial]:
    """ValueError names the line. The last line may be half a one: an interruption."""
    trials = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            if values["schema"] != SCHEMA:
                raise ValueError(f"schema {values['schema']!r}")
            other = [key for key in {**about, **values["about"]} if values["about"].get(key) != about.get(key)]
            if other:
                raise ValueError("was made with " + ", ".join(
                    f"another {key} ({values['about'].get(key)}, not {about.get(key)})" for key in other
                ))  # fmt: skip
            said = tuple(Said(a, c, q, Level(level), float(change), d) for a, c, q, level, change, d in values["said"])
            trials.append(Trial(int(values["trial"]), int(values["runs"]), said))
        except json.JSONDecodeError as error:
            if number == len(lines) and not text.endswith("\n"):
                break
            raise ValueError(f"{name}:{number}: {error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{name}:{number}: {error}") from None
    return trials


# ---- the table ----


@dataclass(frozen=True)
class Row:
    case: str
    quantity: str
    planted: float
    trials: int
    levels: Mapping[Level, int]
    change: float  # median
    detectable: float | None  # median of those that told one


def rows(trials: Sequence[Trial], slowdowns: Sequence[float]) -> list[Row]:
    found = []
    planted = {**dict.fromkeys(EQUALS, 0.0), **{arm_name(share): share for share in slowdowns}}
    every = [said for one in trials for said in one.said]
    for quantity in dict.fromkeys(said.quantity for said in every):
        for case in dict.fromkeys(said.case for said in every):
            for share in sorted(set(planted.values())):
                here = [s for s in every if (s.quantity, s.case) == (quantity, case) and planted.get(s.arm) == share]
                if here:
                    told = [s.detectable for s in here if s.detectable is not None]
                    found.append(Row(
                        case, quantity, share, len(here), {level: sum(s.level is level for s in here) for level in Level},
                        statistics.median(s.change for s in here), statistics.median(told) if told else None,
                    ))  # fmt: skip
    return found


def table_csv(found: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    levels = (Level.REGRESSION, Level.OK, Level.INCONCLUSIVE, Level.WARNING, Level.IMPROVED)
    medians = ("median_change", "median_detectable")
    writer.writerow(["case", "quantity", "planted", "comparisons", *(level.value for level in levels), *medians])
    for row in found:
        numbers = [f"{row.change:.5f}", "" if row.detectable is None else f"{row.detectable:.5f}"]
        counts = [row.levels[one] for one in levels]
        writer.writerow([row.case, row.quantity, f"{row.planted:g}", row.trials, *counts, *numbers])
    return out.getvalue()


def page(trials: Sequence[Trial], found: Sequence[Row], about: Mapping[str, Any], rounds: int) -> str:
    shares = sorted({row.planted for row in found})
    cells = []
    for case in dict.fromkeys(row.case for row in found):
        wall = {row.planted: row for row in found if row.case == case and row.quantity == "wall"}
        told = [row.detectable for row in wall.values() if row.detectable is not None]
        counts = [f"{wall[s].levels[Level.REGRESSION]} of {wall[s].trials}" if s in wall else "–" for s in shares]
        cells.append((case, *counts, f"{100 * statistics.median(told):.1f} %" if told else "–"))
    names = ("case", *("A/A" if share == 0 else f"+{100 * share:g} %" for share in shares), "detectable (predicted)")
    equal = [said for one in trials for said in one.said if said.arm in EQUALS]
    sessions = [{said.level for said in one.said if said.arm == arm} for one in trials for arm in EQUALS]
    accused = sum(Level.REGRESSION in levels for levels in sessions)
    unsure = sum(Level.INCONCLUSIVE in levels and Level.REGRESSION not in levels for levels in sessions)
    return render.markdown(Report((
        Heading("Power of ci/compare", 2),
        Paragraph(
            f"Slowdowns of known size, {rounds} rounds, {len(trials)} trials: how often was the case called a regression of "
            f"its wall time? {sum(one.runs for one in trials):,} runs."
        ),
        Table(names, tuple(cells)),
        Bullets((
            f"A program against itself: {len(sessions)} sessions of {len(equal) // max(1, len(sessions))} comparisons; "
            f"{accused} with a false alarm (of wall or processor time, peak memory or bytes); {unsure} with something "
            f"inconclusive. Two sessions each share the runs of base and of its copy.",
            "A session is inconclusive as a whole when two copies of the program cannot be told to be equal; that counts as "
            "not detected here.",
            ", ".join(f"{key} {value}" for key, value in about.items()),
        )),
    )))  # fmt: skip


# ---- the command ----


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python3 -m pxarbench_harness.compare.power", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Plants slowdowns of known size; counts how many ci/compare finds, and how many where are none.",
        epilog="examples:\n  ... --trials 20 --output power       six minutes per trial on two cores; goes on where it was\n"
        "  ... --trials 2 --rounds 4 --case chunk --output short    does it work at all?\n"
        "  ... --output power --judge-again                         after a change of limits.toml or decide.py\n"
        "  ... --output power --pool 5                              what five times the rounds would have found\n",
    )  # fmt: skip
    p.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="of trials.jsonl, power.csv, power.md")
    p.add_argument("--build", default="HEAD", metavar="BUILD", help="as for ci/compare (default HEAD)")
    p.add_argument("--trials", type=int, default=TRIALS, metavar="N", help=f"in total, with those there already ({TRIALS})")
    p.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"per trial (default {ROUNDS})")
    p.add_argument("--case", action="append", default=[], choices=NAMES, help="only this one; may be given several times")
    p.add_argument("--seed", type=int, default=1, metavar="N")
    p.add_argument("--judge-again", action="store_true", help="no runs: what is said today about the samples that are there")
    p.add_argument(
        "--pool", type=int, metavar="N", help="no runs: what N times the rounds would have found, from the samples that are there"
    )
    p.add_argument("--work", type=Path, metavar="FOLDER", help="of trees and stores (default: in memory if there is room)")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)

    def say(text: str) -> None:
        print(f"power: {text}", file=sys.stderr, flush=True)

    try:
        with stoppable():
            return _run(args, say)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on")
        return EXIT_INTERRUPTED
    except (builds.BuildFailed, CaseFailed, run.CommandFailed, findings.LimitsBroken, ValueError, OSError) as error:
        say(str(error))
        return EXIT_ERROR


def rules(limits: findings.AllLimits) -> str:
    """A digest of what decides: trials judged by other rules do not belong into one table."""
    return hashlib.sha256(Path(decide.__file__).read_bytes() + repr(limits).encode()).hexdigest()[:12]


def write_tables(folder: Path, trials: Sequence[Trial], about: Mapping[str, Any], rounds: int) -> None:
    found = rows(trials, SLOWDOWNS)
    write_whole(folder / "power.csv", table_csv(found))
    write_whole(folder / "power.md", page(trials, found, about, rounds))


def about_of(file: Path) -> tuple[dict[str, Any], list[str], int]:
    """How the trials were made, of which cases, with how many rounds. OSError, ValueError."""
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    try:
        about = json.loads(first)["about"]
        return dict(about), about["of"].split(), int(about["rounds"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}:1: {error}") from None


def judge_again(folder: Path, say: Callable[[str], None]) -> None:
    """Trials of which a case is suspected now, and was not when it was measured, cannot be judged, and are left out."""
    file = folder / "trials.jsonl"
    old, cases, rounds = about_of(file)
    text = file.read_text(encoding="utf-8")
    limits = findings.read_limits()
    about = {**old, "rules": rules(limits)}
    trials = []
    for one in from_lines(text, old, str(file)):
        samples = read_samples(samples_file(folder, one.number))
        first, confirm = ([s for s in samples if s.series == series] for series in (FIRST, CONFIRM))
        try:
            said = judged(first, confirm, heads_of(sorted({s.arm for s in samples})), cases, limits)
        except ValueError as error:
            say(f"trial {one.number + 1}: {error}")
        else:
            trials.append(replace(one, said=tuple(said)))
    write_whole(file, "".join(to_line(one, about) for one in trials))
    write_tables(folder, trials, about, rounds)


def pool(folder: Path, count: int) -> str:
    """The page of --pool; also written as power-poolN.csv and .md."""
    from .power_pool import pooled

    if count < 2:
        raise ValueError(f"--pool {count}: at least 2")
    file = folder / "trials.jsonl"
    about, cases, rounds = about_of(file)
    limits = findings.read_limits()
    done = from_lines(file.read_text(encoding="utf-8"), about, str(file))
    samples = [read_samples(samples_file(folder, one.number)) for one in done]
    about = {**about, "rules": rules(limits), "rounds": rounds * count, "pooled": f"{count} trials each"}
    trials = pooled(samples, count, cases, limits)
    found = rows(trials, SLOWDOWNS)
    text = page(trials, found, about, rounds * count)
    write_whole(folder / f"power-pool{count}.csv", table_csv(found))
    write_whole(folder / f"power-pool{count}.md", text)
    return text


def _run(args: argparse.Namespace, say: Callable[[str], None]) -> int:
    if args.pool is not None:
        print(pool(args.output, args.pool))
        return 0
    if args.judge_again:
        judge_again(args.output, say)
        print((args.output / "power.md").read_text(encoding="utf-8"))
        return 0
    limits = findings.read_limits()
    names = [name for name in NAMES if name in args.case or not args.case]
    if not decide.rounds_min(len(names)) <= args.rounds <= ROUNDS_MAX:
        least = decide.rounds_min(len(names))
        raise ValueError(f"--rounds {args.rounds}: fewer than {least} show nothing; at most {ROUNDS_MAX}")
    build = builds.find(args.build, say=say)
    args.output.mkdir(parents=True, exist_ok=True)
    with work_folder(args.work) as work:
        about = {
            "program": build.sha256[:12], "cases": version(), "of": " ".join(names), "rounds": args.rounds, "seed": args.seed,
            "rules": rules(limits), "host": measure.host(work, work, {}).fingerprint,
        }  # fmt: skip
        file = args.output / "trials.jsonl"
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        trials = from_lines(text, about, str(file))
        write_whole(file, "".join(to_line(one, about) for one in trials))
        missing = sorted(set(range(args.trials)) - {one.number for one in trials})
        cases = [named(name) for name in names]
        bench = Bench(work)
        if missing:
            say("preparing the tree and the stores")
            bench.prepare(build.binary, cases)
        for number in missing:
            say(f"trial {number + 1} of {args.trials}")
            # New copies for each trial, as for each ci/compare.
            with tempfile.TemporaryDirectory(prefix="pxarbench-arms-") as folder:
                arms, copies = (programs(build.binary, Path(folder) / series, SLOWDOWNS) for series in (FIRST, CONFIRM))
                warm_up(bench, cases if number == missing[0] else cases[-1:], arms)
                seed = args.seed * 10_000 + number
                first, confirm = trial(bench, cases, arms, copies, rounds=args.rounds, seed=seed, limits=limits, say=say)
            said = judged(first, confirm, heads_of(arms), names, limits)
            trials.append(Trial(number, len(first) + len(confirm), tuple(said)))
            write_samples(samples_file(args.output, number), (*first, *confirm))
            with open(file, "a", encoding="utf-8") as out:
                out.write(to_line(trials[-1], about))
            write_tables(args.output, trials, about, args.rounds)
        bench.verify()
    print((args.output / "power.md").read_text(encoding="utf-8") if trials else "no trials")
    return 0


if __name__ == "__main__":
    sys.exit(main())
