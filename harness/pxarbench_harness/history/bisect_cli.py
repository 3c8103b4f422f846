"""The command line of ci/bisect."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import run
from ..compare.decide import rounds_min
from ..gates.verdict import EXIT_ERROR, EXIT_INCONCLUSIVE, EXIT_OK
from ..report.model import plain
from . import bisect, cli, git, parsers, probe
from .probe import Question


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
    if not 2 <= args.rounds <= parsers.ROUNDS_MAX:
        raise ValueError(f"--rounds must be from 2 to {parsers.ROUNDS_MAX}")
    if args.files < 0:
        raise ValueError("--files must not be negative")
    program = Path(args.program)
    if program.is_absolute() or ".." in program.parts:
        raise ValueError("--program must be a path below the files of the commit")
    question = Question(
        args.case, args.name, _source(args), args.dataset, args.files, args.mutation, args.mode, args.cache, args.version,
        args.command, args.rounds, str(args.work.absolute()) if args.work else "", tuple(args.backup_option),
    )  # fmt: skip
    if question.source in probe.COMPARED_SOURCES and args.rounds < rounds_min(1):
        raise ValueError(f"--rounds must be at least {rounds_min(1)} for source {question.source}: fewer show nothing")
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
    args = parsers.bisect().parse_args(arguments)
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
        text = f"{type(error).__name__}: {error}"
        with contextlib.suppress(Exception):
            bisect.stopped(Path(words[0]), text, _say)
        return bisect.STOP


if __name__ == "__main__":
    sys.exit(main())
