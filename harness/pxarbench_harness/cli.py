"""The command line of ci/bench."""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import locate

if TYPE_CHECKING:
    from .session import Plan, Session

EXIT_OK, EXIT_ERROR, EXIT_INCONCLUSIVE, EXIT_INTERRUPTED = 0, 1, 4, 130

SUITES = ("modes", "cliff", "truth", "ageing", "tools", "network", "during", "exhaustive")

_EPILOG = """\
mutations:
  none                                         nothing changes
  OP:P%[:LAYOUT][:small|:large][:bytes=N][:seed=N]
                                               OP on P percent of the files, e.g. edit:1%, append:0.1%:zipf:bytes=4096
  M>M>M                                        a chain: a backup after each step but the last, which is measured
  M*K                                          K generations of M, each measured, all kept
  OP is one of
<operations>
  LAYOUT is uniform (default: every n-th file), clustered (neighbours), zipf (few folders), tail (last names), recent
  (youngest files)

suites (--suite; what they leave open is chosen with the other options):
<suites>

datasets: <datasets>

subjects and modes (--modes M of pxarbench, SUBJECT:M of another, all):
<subjects>

caches: warm (the tree was read before), cold (cache emptied before each measured run, and shown to have been)

The same command goes on with a session that was interrupted, and ends with the same table; --fresh begins anew.

exit codes: 0 all cases measured and checked; 1 something failed, or a check found a problem;
4 inconclusive: a subject or a change that was asked for is not possible here, a snapshot could not be restored, or no cold
run was cold: the rest was measured; 130 interrupted: the same command goes on
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        # argparse would exit with 2, which means "regression" here.
        self.print_usage(sys.stderr)
        self.exit(EXIT_ERROR, f"{self.prog}: error: {message}\n")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _not_negative(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _build(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not re.fullmatch("[a-z0-9][a-z0-9-]*", name) or not path:
        raise argparse.ArgumentTypeError("expected NAME=FILE, the name of a-z, 0-9 and -")
    return name, Path(path).absolute()


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError("expected a time, such as 90s, 10m or 1h")
    return float(match[1]) * {"": 60, "s": 1, "m": 60, "h": 3600}[match[2]]


def parser() -> argparse.ArgumentParser:
    p = _Parser(
        prog="ci/bench",
        description="Measures what change detection costs and gains: builds pxarbench, prepares a dataset, runs the modes in "
        "interleaved rounds, restores and compares every case, prints a report and writes it below results/runs/.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = p.add_argument_group("what is measured")
    what.add_argument("--suite", choices=SUITES, default="", help="a set of cases with its own expectations, see below")
    what.add_argument("--dataset", action="append", metavar="NAME",
                      help="see below; repeatable (default: linux, or the suite's)")  # fmt: skip
    what.add_argument("--files", type=_positive, metavar="N",
                      help="number of files of a generated dataset (of coco-like: images)")  # fmt: skip
    what.add_argument("--mutation", action="append", metavar="M",
                      help="see below; repeatable (default: none and edit:1%%:clustered)")  # fmt: skip
    what.add_argument("--subjects", type=_words, default=["pxarbench"], metavar="S,S", help="see below (default: pxarbench)")
    what.add_argument("--modes", type=_words, default=[], metavar="M,M", help="see below (default: each subject's own)")
    what.add_argument("--caches", type=_words, default=["warm"], metavar="C,C", help="warm, cold (default: warm)")
    what.add_argument("--rounds", "--number-of-runs", dest="rounds", type=_positive, metavar="N",
                      help="measured runs of each case (default: 5, or the suite's)")  # fmt: skip
    what.add_argument("--warmups", type=_not_negative, default=1, metavar="N",
                      help="unmeasured runs of each case before (default: 1)")  # fmt: skip
    what.add_argument("--budget", type=_duration, metavar="TIME",
                      help="10m, 90s, 1h: the most informative cases that fit; says what it leaves out")  # fmt: skip
    what.add_argument("--seed", type=int, default=1, metavar="N", help="of the order of runs and the statistics (default: 1)")
    how = p.add_argument_group("how")
    how.add_argument("--restore-every", choices=("all", "last", "sample", "none"), metavar="WHICH",
                     help="whose snapshots are restored and compared: all measured runs', each case's last (default), "
                     "a sample of one case in four, none; where misses are expected, always the last")  # fmt: skip
    how.add_argument("--sync-level", choices=("none", "file", "filesystem"), default="", help="of pxarbench (default: its own)")
    how.add_argument("--threads", type=_positive, default=0, metavar="N", help="of pxarbench (default: its own)")
    how.add_argument("--backup-option", action="append", default=[], metavar="WORD",
                     help="passed on to `pxarbench backup`, e.g. --backup-option=--cache-limit=2; repeatable")  # fmt: skip
    how.add_argument("--server", default="", metavar="loopback[:RTTms[,MBIT]]",
                     help="pxarbench backs up over TLS to a server that is started and stopped here, with this round trip time "
                     "and bandwidth; e.g. loopback:30ms,1000, or by name: loopback:near, :lan (0.3 ms, 10 Gbit/s), :wan (30 ms, "
                     "1 Gbit/s), :far (100 ms, 1 Gbit/s)")  # fmt: skip
    how.add_argument("--line", action="append", default=[], metavar="NAME",
                     help="such a line as a subject of its own, pxarbench@NAME, beside a folder: near, lan, wan, far; or netem-wan "
                     "etc., where the kernel delays (tc netem in network namespaces; needs root); repeatable")  # fmt: skip
    how.add_argument("--repository", default="", metavar="R",
                     help="pxarbench backs up to this repository on a server ([USER@REALM[!TOKEN]@]HOST[:PORT]:DATASTORE); "
                     "PBS_PASSWORD and PBS_FINGERPRINT as always. Snapshots are forgotten again, chunks stay")  # fmt: skip
    how.add_argument("--binary", type=Path, metavar="FILE", help="measure this program instead of building one")
    how.add_argument("--build", type=_build, action="append", default=[], metavar="NAME=FILE",
                     help="another build, as subject pxarbench@NAME beside the others; repeatable")  # fmt: skip
    how.add_argument("--no-roofline", action="store_true",
                     help="do not measure how fast walk, read, digest and compression could be")  # fmt: skip
    how.add_argument("--no-syscalls", action="store_true", help="do not count system calls")
    how.add_argument("--no-setup", action="store_true", help="do not look for missing packages")
    where = p.add_argument_group("where, and what is printed")
    where.add_argument("--output", type=Path, metavar="DIR",
                       help="folder for records and reports (default: results/runs/DATE-N)")  # fmt: skip
    where.add_argument("--work", type=Path, metavar="DIR",
                       help="folder for stores and restored trees (default: in the cache; restored trees in memory where it has "
                       "room)")  # fmt: skip
    where.add_argument("--fresh", action="store_true", help="begin anew instead of going on with an interrupted session")
    where.add_argument("--keep", action="store_true", help="keep the stores")
    where.add_argument("--format", choices=("text", "markdown", "rfc"), default="text",
                       help="of what is printed; files get all")  # fmt: skip
    where.add_argument("--list", action="store_true", help="print the cases and stop; under --budget with estimated seconds")
    where.add_argument("--prepare", action="store_true", help="prepare the datasets and stop")
    return p


def _wrapped(words: Sequence[str], indent: int = 2) -> str:
    prefix = " " * indent
    return textwrap.fill(", ".join(words), 118, initial_indent=prefix, subsequent_indent=prefix)


def _epilog() -> str:
    """From what there is. Without the packages that measuring needs, those parts are not told."""
    try:
        from . import subjects
        from .datasets import recipe
        from .mutate import OPERATIONS
        from .session import suites
    except ImportError as error:
        return _EPILOG + f"\n(ci/setup --for bench provides what is missing here: {error})\n"
    parts = {
        "operations": "\n".join(f"    {name:<17} {operation.text}" for name, operation in sorted(OPERATIONS.items())),
        "suites": "\n".join(f"  {name:<9} {suite.text}" for name, suite in suites.SUITES.items()),
        "datasets": _wrapped(recipe.names()).strip(),
        "subjects": "\n".join(
            f"  {name}\n" + "\n".join(f"    {mode:<19} {text}" for mode, text in subject.mode_texts.items())
            for name, subject in subjects.SUBJECTS.items()
        ),
    }
    text = _EPILOG
    for name, part in parts.items():
        text = text.replace(f"<{name}>", part)
    return text


def _plan(args: argparse.Namespace, words: Sequence[str]) -> Plan:
    """What was asked for. ValueError and RecipeBroken say what is wrong with it."""
    from . import datasets
    from .session import CACHES, Plan, budget, case_ids, contenders, product, registry, suites, unique
    from .subjects import Settings, remote

    for name, path in [("--binary", args.binary), *((f"--build {name}", path) for name, path in args.build)]:
        if path is not None and not os.access(path, os.X_OK):
            raise ValueError(f"{name}: {path} is not a program")
    suite = suites.SUITES[args.suite] if args.suite else suites.NONE
    lines = tuple(dict.fromkeys(args.line or suite.lines))
    for name in lines:
        if name not in remote.LINES:
            raise ValueError(f"--line {name}: unknown; there are {', '.join(remote.LINES)}")
        if name in dict(args.build):
            raise ValueError(f"--line {name}: a build has that name")
    settings = Settings(
        binary=args.binary or locate.pxarbench(), sync_level=args.sync_level, threads=args.threads,
        extra=tuple(args.backup_option), builds=dict(args.build), server=args.server, repository=args.repository,
        lines=lines,
    )  # fmt: skip
    if args.server and args.repository:
        raise ValueError("--server and --repository exclude each other")
    if args.server:
        remote.server_words(args.server)
    if args.repository.startswith(("/", ".")):
        raise ValueError("--repository: a folder; that is what --work is for")
    for cache in args.caches:
        if cache not in CACHES:
            raise ValueError(f"cache {cache}: unknown; there are {', '.join(CACHES)}")
    recipes = [datasets.load(name) for name in dict.fromkeys(args.dataset or suite.datasets)]
    if args.files:
        recipes = [r.with_files(args.files) if "files" in r.values else r for r in recipes]
    others = [name for name, _ in args.build] + list(lines)
    names = list(dict.fromkeys([*args.subjects, *(f"pxarbench@{name}" for name in others)]))
    chosen = contenders(registry(settings), names, args.modes or suite.modes_of_all, suite.modes)
    if args.mutation:
        blocks = product(recipes, args.mutation)
    else:
        blocks = unique(suite.blocks(recipes))
    plan = Plan(
        blocks=blocks, contenders=chosen, rounds=args.rounds or suite.rounds, output=Path(), work=Path(), settings=settings,
        caches=tuple(dict.fromkeys(args.caches)), warmups=args.warmups, seed=args.seed, keep=args.keep, suite=args.suite,
        restore=args.restore_every or suite.restore, counts_syscalls=not args.no_syscalls,
        roofline=suite.roofline and not args.no_roofline, during=suite.during, exhaustive=suite.exhaustive,
        doctor=bool(args.suite), argv=tuple(words),
    )  # fmt: skip
    ids = case_ids(plan)
    twice = next((name for name in ids if ids.count(name) > 1), None) if len(set(ids)) != len(ids) else None
    if twice is not None:
        raise ValueError(f"two different cases are both called {twice}")
    return budget.fitted(plan, args.budget) if args.budget else budget.estimated(plan)


def _list(plan: Plan, with_seconds: bool) -> None:
    from .session import budget, case_ids

    for name, is_asked in (("during", plan.during), ("exhaustive", plan.exhaustive)):
        if is_asked:
            print("\n".join(f"{name}-{subject}-{mode}" for subject, mode in plan.contenders))
    if not plan.blocks:
        return
    if not with_seconds:
        print("\n".join(case_ids(plan)))
        return
    for block, seconds in zip(plan.blocks, plan.estimates, strict=True):
        for name in case_ids(replace(plan, blocks=(block,))):
            print(f"{seconds / max(1, len(plan.contenders) * len(plan.caches)):7.0f} s  {name}")
    print(f"{budget.total(plan):7.0f} s  all, with first backups")
    for text in plan.left_out:
        print(f"left out: {text}")


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    p = parser()
    if {"-h", "--help"} & set(words):
        p.epilog = _epilog()
    args = p.parse_args(words)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what it says is to be seen when it happens, also in a pipe
    # Only now: --help needs none of the packages.
    from . import datasets, measure, mutate, run, session
    from .datasets.recipe import RecipeBroken
    from .state import StateChanged

    def stop(text: object) -> int:
        print(f"ci/bench: {text}", file=sys.stderr)
        return EXIT_ERROR

    try:
        plan = _plan(args, words)
    except (RecipeBroken, ValueError) as error:
        return stop(error)
    if args.list:
        _list(plan, with_seconds=bool(args.budget))
        return EXIT_OK
    failures = (
        session.SessionFailed, datasets.DatasetFailed, measure.ToolMissing, mutate.AlteredByOthers, mutate.MutationFailed,
        run.CommandFailed, StateChanged, RecipeBroken, OSError, ValueError,
    )  # fmt: skip
    if args.prepare:
        try:
            for recipe in dict.fromkeys(block.recipe for block in plan.blocks):
                with datasets.prepare(recipe):
                    pass
        except failures as error:
            return stop(error)
        return EXIT_OK
    try:
        output = _output(args, plan)
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return stop(f"--output: cannot make {error.filename or args.output}: {error.strerror}")
    place = args.work.absolute() if args.work else locate.cache() / "work"
    # Named by the user: then everything goes there.
    memory = None if args.work else session.work_folder(session.MEMORY, output)
    for left in [*session.abandoned(place), *([] if memory is None else session.abandoned(session.MEMORY))]:
        print(f"removing {left}, left behind by a run that was killed")
        shutil.rmtree(left, ignore_errors=True)  # another run may be removing it, too
    work = session.work_folder(place, output)
    running = session.Session(replace(plan, output=output, work=work, memory=memory), fresh=args.fresh)
    failed = ""
    try:
        try:
            running.run()
        except failures as error:
            failed = str(error)
        return _finish(args, running, output, work, failed)
    except KeyboardInterrupt:
        print("ci/bench: interrupted; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED


def _output(args: argparse.Namespace, plan: Plan) -> Path:
    """The session's folder: that of an interrupted one of the same plan, the named one, or a new one."""
    from . import session

    if args.output is not None:
        named: Path = args.output.absolute()
        return named
    if not args.fresh:
        for path in session.unfinished(locate.results() / "runs", plan.digest()):
            return path
    return session.new_output(locate.results())


def _finish(args: argparse.Namespace, running: Session, output: Path, work: Path, failed: str) -> int:
    """Reports, and the exit code."""
    from . import report

    def stop(text: object) -> int:
        print(f"ci/bench: {text}", file=sys.stderr)
        return EXIT_ERROR

    if running.records:
        try:
            made = report.write(output, records=running.records, seed=args.seed, skipped=running.missing)
        except OSError as error:
            return stop(f"{failed}{'; ' if failed else ''}no report: {error} (the same command writes it when there is room)")
        print()
        if args.format == "text":
            report.render.terminal(made)
        elif args.format == "markdown":
            sys.stdout.write(report.render.markdown(made))
        else:
            sys.stdout.write(report.rfc.from_records(running.records, seed=args.seed))
        print(f"\nwritten: {output}/ (report.html, report.md, report.txt, records.jsonl, raw/)")
        if args.keep:
            print(f"kept: {work}/")
    elif not failed and not (running.plan.during or running.plan.exhaustive):
        failed = "nothing was measured"
    elif not failed:
        print(f"\nwritten: {output}/")
    else:
        running.discard()
    if failed:
        return stop(failed)
    if running.problems:
        return stop(f"{len(running.problems)} problems, the first: {running.problems[0]}")
    reasons = running.reasons()
    if reasons:
        print(f"ci/bench: inconclusive: {'; '.join(reasons)}", file=sys.stderr)
        return EXIT_INCONCLUSIVE
    return EXIT_OK
