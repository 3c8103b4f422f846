"""The command line of ci/bench."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from . import locate

EXIT_OK, EXIT_ERROR, EXIT_INCONCLUSIVE = 0, 1, 4

DEFAULT_DATASETS = ["linux"]
DEFAULT_MUTATIONS = ["none", "edit:1%:clustered"]
DEFAULT_ROUNDS = 5

_EPILOG = """\
mutations:
  none                            nothing changes
  touch:P%[:LAYOUT][:seed=N]      P percent of the files get an mtime one second later
  edit:P%[:LAYOUT][:seed=N]       the same, and one byte more
  LAYOUT is uniform (default: every n-th file) or clustered (neighbours)

exit codes: 0 all cases measured and checked; 1 something failed, or a check found a problem;
4 inconclusive: a subject that was asked for cannot run here, the rest was measured
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


def parser() -> argparse.ArgumentParser:
    p = _Parser(
        prog="ci/bench",
        description="Measures what change detection costs and gains: builds pxarbench, prepares a dataset, runs the modes in "
        "interleaved rounds, restores and compares every case, prints a report and writes it below results/runs/.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--dataset", action="append", metavar="NAME", help="tiny, coco-like, linux; repeatable (default: linux)")
    p.add_argument("--files", type=_positive, metavar="N", help="number of images of coco-like (default: 6000; real set: 123403)")
    p.add_argument("--mutation", action="append", metavar="M", help="repeatable (default: none and edit:1%%:clustered)")
    p.add_argument("--modes", type=_words, default=[], metavar="M,M", help="of pxarbench (default: data,metadata)")
    p.add_argument("--subjects", type=_words, default=["pxarbench"], metavar="S,S",
                   help="pxarbench, restic (default: pxarbench)")  # fmt: skip
    p.add_argument("--rounds", "--number-of-runs", dest="rounds", type=_positive, default=DEFAULT_ROUNDS, metavar="N",
                   help="measured runs of each case (default: 5)")  # fmt: skip
    p.add_argument("--warmups", type=_not_negative, default=1, metavar="N", help="unmeasured runs of each case before (default: 1)")
    p.add_argument("--format", choices=("text", "markdown", "rfc"), default="text", help="of what is printed; files get all")
    p.add_argument("--output", type=Path, metavar="DIR", help="new folder for records and reports (default: results/runs/DATE-N)")
    p.add_argument("--work", type=Path, metavar="DIR", help="folder for stores and restored trees (default: in the cache)")
    p.add_argument("--seed", type=int, default=1, metavar="N", help="of the order of runs and the statistics (default: 1)")
    p.add_argument("--sync-level", choices=("none", "file", "filesystem"), default="", help="of pxarbench (default: its own)")
    p.add_argument("--threads", type=_positive, default=0, metavar="N", help="of pxarbench (default: its own)")
    p.add_argument("--backup-option", action="append", default=[], metavar="WORD",
                   help="passed on to `pxarbench backup`, e.g. --backup-option=--reuse-profile=upstream; repeatable")  # fmt: skip
    p.add_argument("--binary", type=Path, metavar="FILE", help="measure this program instead of building one")
    p.add_argument("--no-setup", action="store_true", help="do not look for missing packages")
    p.add_argument("--keep", action="store_true", help="keep the stores")
    p.add_argument("--list", action="store_true", help="print the cases and stop")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what it says is to be seen when it happens, also in a pipe
    # Only now: --help needs none of the packages.
    from . import bench, datasets, measure, mutate, report, run
    from .datasets.recipe import RecipeBroken
    from .state import StateChanged
    from .subjects import SUBJECTS, Settings

    def stop(text: object) -> int:
        print(f"ci/bench: {text}", file=sys.stderr)
        return EXIT_ERROR

    unknown = [name for name in args.subjects if name not in SUBJECTS]
    if unknown or not args.subjects:
        return stop(f"subject {', '.join(unknown) or '(none)'}: unknown; there are {', '.join(SUBJECTS)}")
    wrong = [mode for mode in args.modes if mode not in SUBJECTS["pxarbench"].modes]
    if wrong:
        return stop(f"mode {wrong[0]}: unknown; there are {', '.join(SUBJECTS['pxarbench'].modes)}")
    try:
        recipes = [datasets.load(name) for name in dict.fromkeys(args.dataset or DEFAULT_DATASETS)]
        if args.files:
            recipes = [r.with_files(args.files) if "files" in r.values else r for r in recipes]
        mutations = tuple(dict.fromkeys(mutate.parse(text) for text in args.mutation or DEFAULT_MUTATIONS))
    except (RecipeBroken, ValueError) as error:
        return stop(error)

    def plan(output: Path, work: Path) -> bench.Plan:
        return bench.Plan(
            recipes=tuple(recipes), mutations=mutations, subjects=tuple(dict.fromkeys(args.subjects)), rounds=args.rounds,
            output=output, work=work, modes=tuple(args.modes), warmups=args.warmups, seed=args.seed, keep=args.keep,
            settings=Settings(binary=args.binary or locate.pxarbench(), sync_level=args.sync_level, threads=args.threads,
                              extra=tuple(args.backup_option)),
        )  # fmt: skip

    if args.list:
        print("\n".join(bench.case_ids(plan(Path(), Path()))))
        return EXIT_OK

    try:
        if args.output is None:
            output = bench.new_output(locate.results())
        else:
            output = args.output.absolute()
            if output.exists() and any(output.iterdir()):
                return stop(f"{output}: exists and is not empty")
            output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return stop(error)
    # Beside others of the same folder, never the folder itself: it is removed at the end.
    place = args.work.absolute() if args.work else locate.cache() / "work"
    for left in bench.abandoned(place):
        print(f"removing {left}, left behind by a run that was killed")
        shutil.rmtree(left)
    work = place / f"{bench.WORK_PREFIX}{output.name}-{os.getpid()}"

    session = bench.Session(plan(output, work))
    failed = ""
    try:
        session.run()
    except KeyboardInterrupt:
        failed = "interrupted"
    except (
        bench.SessionFailed, datasets.DatasetFailed, measure.ToolMissing, mutate.AlteredByOthers, mutate.MutationFailed,
        run.CommandFailed, StateChanged, OSError, ValueError,
    ) as error:  # fmt: skip
        failed = str(error)

    made = report.build(session.records, seed=args.seed, skipped=session.missing)
    rfc = report.rfc.from_records(session.records, seed=args.seed)
    if session.records:
        (output / "report.md").write_text(report.render.markdown(made), encoding="utf-8")
        (output / "report.txt").write_text(report.render.text(made), encoding="utf-8")
        if rfc:
            (output / "report.rfc.txt").write_text(rfc, encoding="utf-8")
        print()
        if args.format == "text":
            report.render.terminal(made)
        else:
            sys.stdout.write(report.render.markdown(made) if args.format == "markdown" else rfc)
        print(f"\nwritten: {output}/ (report.md, report.txt, records.jsonl, raw/)")
        if args.keep:
            print(f"kept: {work}/")
    elif not failed:
        failed = "nothing was measured"
    else:
        shutil.rmtree(output, ignore_errors=True)
    if failed:
        return stop(failed)
    if session.problems:
        return stop(f"{len(session.problems)} problems, the first: {session.problems[0]}")
    if session.missing:
        print(f"ci/bench: inconclusive: {'; '.join(session.missing.values())}", file=sys.stderr)
        return EXIT_INCONCLUSIVE
    return EXIT_OK
