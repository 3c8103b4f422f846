"""The command line of ci/bisect."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import locate, run
from ..gates.verdict import EXIT_ERROR, EXIT_INCONCLUSIVE, EXIT_OK
from ..report.model import plain
from . import bisect, cli, git, probe
from .probe import Question

_EPILOG = """\
examples:
  ci/bisect home-like-300-none-data-warm bytes_read v1.0 HEAD              a golden counter
  ci/bisect instructions-backup-data-first instructions v1.0 HEAD
  ci/bisect backup-data-first wall_ns v1.0 HEAD --source time --rounds 20  a case of ci/compare
  ci/bisect linux-edit-1-clustered-metadata-warm padding_bytes v1.0 HEAD --source session \\
      --dataset linux --mutation edit:1%:clustered --mode metadata         a case of ci/bench
  ci/bisect mine size v1.0 HEAD --command 'stat -c %s {program}'
ci/trend prints such commands.

sources: counters, encodings, instructions (cases and numbers of ci/gate), time, memory, bytes (of ci/compare), session (of
ci/bench; the number `problems` counts what its checks find), command. Without --source: by the name of the case.

Exact numbers: the first commit whose number is not that of GOOD. Instructions: the nearer end. What is measured: GOOD's program
and the commit's take turns, and the middle of the difference has to lie outside of the interval; else the rounds are doubled
once, then the commit is skipped. A commit that does not build, or whose run fails, is skipped.

exit codes: 0 found; 1 failed; 4 inconclusive: the ends do not differ, or skipped commits are in the way; 130 interrupted.
The steps end with 0 good, 1 bad, 125 cannot be told, as git bisect run wants it.
"""


def parser() -> cli.Parser:
    p = cli.Parser(prog="ci/bisect", description="Finds the commit that changed one number of one case.",
                   epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    p.add_argument("case", metavar="CASE", help="word id")
    p.add_argument("name", metavar="COUNTER", help="which number of it")
    p.add_argument("good", metavar="GOOD", help="commit, an ancestor of BAD")
    p.add_argument("bad", metavar="BAD", help="commit")
    p.add_argument("--source", choices=probe.SOURCES, help="what has this case")
    p.add_argument("--version", default="", metavar="HEX", help="of the benchmark: stop when it is another one")
    p.add_argument("--rounds", type=int, default=10, metavar="N", help="of what is measured (default: 10)")
    p.add_argument("--command", default="", metavar="WORDS", help="of a shell; {program} is the program")
    session = p.add_argument_group("source session")
    session.add_argument("--dataset", default="", metavar="NAME")
    session.add_argument("--files", type=int, default=0, metavar="N", help="number of files of a generated dataset")
    session.add_argument("--mutation", default="none", metavar="M")
    session.add_argument("--mode", default="", metavar="M", help="of pxarbench")
    session.add_argument("--cache", default="warm", choices=("warm", "cold"))
    session.add_argument("--backup-option", action="append", default=[], metavar="WORD", help="as of ci/bench; repeatable")
    how = p.add_argument_group("how")
    how.add_argument("--repository", type=Path, default=locate.REPOSITORY, metavar="DIR", help="default: this one")
    how.add_argument("--build", default="", metavar="WORDS",
                     help="of a shell in the files of a commit (default: as ci/compare builds)")  # fmt: skip
    how.add_argument("--program", default="build/release/bin/pxarbench", metavar="FILE", help="what --build makes")
    how.add_argument("--cache-folder", type=Path, metavar="DIR", help="for builds (default: that of ci/compare)")
    how.add_argument("--work", type=Path, metavar="DIR", help="for trees and stores (default: $TMPDIR)")
    how.add_argument("--no-setup", action="store_true", help="do not look for missing packages")
    return p


def _source(args: argparse.Namespace) -> str:
    """ValueError: nobody knows the case."""
    if args.source:
        return str(args.source)
    if args.command:
        return "command"
    if args.dataset:
        return "session"
    from ..compare.cases import NAMES
    from ..gates import counters, encodings, instructions

    if args.case in NAMES:
        return "memory" if "rss" in args.name else "bytes" if args.name in ("stored", "read") else "time"
    for name, ids in (("counters", counters.case_ids), ("encodings", encodings.cases), ("instructions", instructions.case_ids)):
        if args.case in ids():
            return name
    raise ValueError(
        f"case {args.case}: neither ci/gate --list nor ci/compare --list has it; of ci/bench it needs --dataset and --mode"
    )


def _plan(args: argparse.Namespace) -> bisect.Plan:
    if args.rounds < 2:
        raise ValueError("--rounds must be at least 2")
    if args.files < 0:
        raise ValueError("--files must not be negative")
    program = Path(args.program)
    if program.is_absolute() or ".." in program.parts:
        raise ValueError("--program must be a path below the files of the commit")
    question = Question(
        args.case, args.name, _source(args), args.dataset, args.files, args.mutation, args.mode, args.cache, args.version,
        args.command, args.rounds, str(args.work.absolute()) if args.work else "", tuple(args.backup_option),
    )  # fmt: skip
    if question.source == "command" and not args.command:
        raise ValueError("--source command needs --command")
    if question.source == "session" and not (args.dataset and args.mode):
        raise ValueError("--source session needs --dataset and --mode")
    repository = git.Repository(args.repository.absolute())
    if not repository.is_there:
        raise git.GitFailed(f"{args.repository} is no git repository")
    cache = str(args.cache_folder.absolute()) if args.cache_folder else ""
    return bisect.Plan(str(repository.path), question, args.good, args.bad, args.build, args.program, cache)


def _say(text: str) -> None:
    print(plain(text), flush=True)


def _told(plan: bisect.Plan, answer: bisect.Answer) -> int:
    name = plan.question.name
    skipped = sum(one.code == bisect.SKIP for one in answer.steps)
    if answer.first_bad is not None:
        _say("")
        _say(f"first bad commit: {answer.first_bad.name}")
        _say(f"  {answer.first_bad.committed}  {answer.first_bad.subject}")
        own = next((one for one in answer.steps if one.commit == answer.first_bad.name), None)
        _say(f"  {name}: {answer.good_text} before, {own.text if own else answer.bad_text} from it on")
        _say(f"  {len(answer.steps)} steps{f', {skipped} skipped' if skipped else ''}")
        return EXIT_OK
    _say("")
    _say(f"{skipped} commits could not be told; the first bad one is among these {len(answer.candidates)}:")
    for commit in answer.candidates[:50]:
        _say(f"  {commit.name[:12]} {commit.subject[:100]}")
    return EXIT_INCONCLUSIVE


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    try:
        plan = _plan(args)
        return _told(plan, bisect.search(plan, _say))
    except bisect.NothingToFind as error:
        print(f"ci/bisect: nothing to look for: {plain(str(error))}", file=sys.stderr)
        return EXIT_INCONCLUSIVE
    except (bisect.BisectFailed, probe.ProbeBroken, git.GitFailed, run.CommandFailed, OSError, ValueError) as error:
        print(f"ci/bisect: {plain(str(error))}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("ci/bisect: interrupted", file=sys.stderr)
        return cli.EXIT_INTERRUPTED


def step(words: Sequence[str]) -> int:
    """`bisect-step PLAN`, started by git in the search's work tree."""
    try:
        return bisect.main_of_step(Path(words[0]), _say)
    except KeyboardInterrupt:
        return bisect.STOP
    except Exception as error:  # git takes 1 for "bad": whatever goes wrong here must not be taken for that
        _say(f"stopped: {type(error).__name__}: {error}")
        return bisect.STOP


if __name__ == "__main__":
    sys.exit(main())
