"""ci/compare: is HEAD slower, bigger or wrong, compared with BASE?"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ..gates.verdict import EXIT_ERROR, GATES, to_json

EXIT_INTERRUPTED = 130
ROUNDS, ROUNDS_MAX = 10, 1000
WRITTEN = ("verdict.json", "compare.md", "samples.jsonl")

_EXAMPLES = """
BASE and HEAD are git revisions, folders of sources, build folders or programs. What has to be built is built the same way
(preset release) below the cache ($PXARBENCH_CACHE, else ~/.cache/pxarbench), where the builds of revisions are kept. Relative
paths begin at the repository.

  ci/compare main HEAD                    what did the last commits change?
  ci/compare HEAD .                       what do my uncommitted changes cost?
  ci/compare v1/bin/pxarbench build/dev   two programs that are there already
  ci/compare HEAD~1 HEAD --case restore --rounds 30
  ci/compare main HEAD --advise time --output compared

exit codes: 0 ok, 1 a tool failed, 2 regression, 3 warnings with --warnings-as-failures, 4 inconclusive, 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # ends the program, as the other does
        self.exit(EXIT_ERROR, f"ci/compare: {message}\n(ci/compare --help)\n")


def parser() -> argparse.ArgumentParser:
    p = _Parser(
        prog="ci/compare", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures two builds in turn on the same data and says whether the second one got worse.",
    )  # fmt: skip
    p.add_argument("base", metavar="BASE", nargs="?", help="what it was")
    p.add_argument("head", metavar="HEAD", nargs="?", help="what it is")
    p.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"of six runs per case (default {ROUNDS})")
    p.add_argument("--case", action="append", default=[], metavar="NAME", help="only this one; may be given several times")
    p.add_argument("--seed", type=int, default=1, metavar="N", help="of the order of runs (default 1)")
    p.add_argument("--limits", type=Path, metavar="FILE", help="instead of compare/limits.toml")
    p.add_argument("--advise", default="", metavar="GATES", help="time,memory: there, warnings instead of failures")
    p.add_argument("--no-instructions", action="store_true", help="do not count instructions")
    p.add_argument("--warnings-as-failures", action="store_true", help="exit 3 if there is any")
    p.add_argument("--output", type=Path, metavar="FOLDER", help="what is written (default results/latest-compare)")
    p.add_argument("--work", type=Path, metavar="FOLDER", help="of trees and stores (default: in memory if there is room)")
    p.add_argument("--jobs", type=int, default=0, metavar="N", help="of building (default: as many as processors)")
    p.add_argument("--list", action="store_true", help="print the cases, and end")
    p.add_argument("--no-setup", action="store_true", help="do not install what is missing")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    p = parser()
    args = p.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    from .workplace import stoppable

    try:
        with stoppable():
            return _main(p, args)
    except KeyboardInterrupt:
        print("ci/compare: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _main(p: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    from . import decide, findings, session
    from .cases import CASES, NAMES

    if args.list:
        for case in CASES:
            print(f"{case.name:26} {case.sentence}")
        return 0
    if args.base is None or args.head is None:
        p.error("which two builds? BASE and HEAD")
    unknown = [name for name in args.case if name not in NAMES]
    if unknown:
        p.error(f"--case {unknown[0]}: unknown; there are {', '.join(NAMES)}")
    cases = tuple(name for name in NAMES if name in args.case or not args.case)
    least = decide.rounds_min(len(cases))
    if not least <= args.rounds <= ROUNDS_MAX:
        p.error(
            f"--rounds {args.rounds}: at least {least} are needed for {len(cases)} cases, fewer show nothing; "
            f"at most {ROUNDS_MAX}"
        )
    advise = tuple(word for word in args.advise.split(",") if word)
    for word in advise:
        if word not in GATES:
            p.error(f"--advise {word}: no gate; there are {', '.join(GATES)}")
    limits_file = args.limits or findings.LIMITS_FILE
    try:
        limits = findings.read_limits(limits_file)
    except (OSError, findings.LimitsBroken) as error:
        p.error(f"--limits: {error}")
    strange = [name for of in limits.of.values() for name in of if name and name not in NAMES]
    if strange:
        p.error(f"--limits: {limits_file}: there is no case {strange[0]}")
    settings = session.Settings(
        cases, args.rounds, args.seed, limits, session.repository_file(limits_file), instructions=not args.no_instructions,
        advise=advise, work=args.work,
    )  # fmt: skip
    return _compare(args, settings)


def _compare(args: argparse.Namespace, settings: object) -> int:
    from .. import locate, run
    from ..datasets.workspace import DatasetFailed
    from ..gates import show
    from ..gates.golden import write_whole
    from . import builds, cases, markdown, session

    assert isinstance(settings, session.Settings)

    def say(text: str) -> None:
        print(f"ci/compare: {text}", file=sys.stderr)

    output = (args.output or locate.results() / "latest-compare").absolute()
    try:
        for name in WRITTEN:  # nobody is to take an older verdict for this one's
            (output / name).unlink(missing_ok=True)
        base, head = (builds.find(word, jobs=args.jobs, say=say) for word in (args.base, args.head))
        if base.sha256 == head.sha256:
            say("both are the same program: what differs is noise")
        output.mkdir(parents=True, exist_ok=True)
        verdict = session.compare(base, head, settings, output / "samples.jsonl", say).verdict
        page = markdown.page(verdict, warnings_fail=args.warnings_as_failures)
        write_whole(output / "compare.md", page)
        write_whole(output / "verdict.json", to_json(verdict))
    except (
        builds.BuildFailed, cases.CaseFailed, DatasetFailed, run.CommandFailed, OSError, shutil.Error, ValueError
    ) as error:  # fmt: skip
        say(str(error))
        return EXIT_ERROR
    print()
    show.terminal(verdict, warnings_fail=args.warnings_as_failures)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        sys.stdout.write(show.annotations(verdict))
    print(f"written: {output}/ ({', '.join(WRITTEN)})")
    return verdict.exit_code(warnings_fail=args.warnings_as_failures)
