"""The command lines of ci/history, ci/trend and ci/bisect. --help needs none of the packages that the rest does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .. import locate
from ..compare.cli import ROUNDS_MAX
from ..gates.verdict import EXIT_ERROR
from . import line

BRANCH = "pxarbench-history"
#: Where ci/bisect gets a number from.
SOURCES = (*line.SOURCES, "command")

_HISTORY = """\
examples:
  ci/history append results/runs/2026-01-02-001 --file history.jsonl
  ci/history append build/gate/verdict.json --branch pxarbench-history
  ci/history append results/runs/2026-01-02-001 build/gate/verdict.json --branch pxarbench-history --remote origin
  ci/history show --file history.jsonl --case '*metadata*'

A FOLDER is that of a session (records.jsonl), or of a gate or a comparison (verdict.json), or both. Appending the same run
again adds nothing. On a branch the lines lie in history.jsonl; the branch is made when it is not there, shares no commit with
others, and neither the work tree nor the index is touched. --remote fetches it from there and pushes it.

exit codes: 0 done (also: it was there already), 1 failed, 130 interrupted
"""


_TREND = """\
examples:
  ci/trend --file history.jsonl -o trend                    trend/trend.html, trend.md, trend.txt, charts as PNG and SVG
  ci/trend --branch pxarbench-history --remote origin -o trend
  ci/trend --file history.jsonl --case '*metadata*' --name 'wall*'
  ci/trend --file history.jsonl --check                     for a nightly job

A number that changed its level is told with the commits between the last run before and the first run after it, and with the
ci/bisect command that finds the one. Runs of other branches, machines and versions of the benchmark are never joined.

exit codes: 0 done; 1 failed, or there are no runs; with --check also 2: a number is worse than before the last runs (--recent),
4: no series is long enough to tell, or the newest run lacks a case; 130 interrupted
"""


_BISECT = """\
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


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        # argparse would exit with 2, which means "regression" here.
        self.print_usage(sys.stderr)
        self.exit(EXIT_ERROR, f"{self.prog}: error: {message}\n")


def add_place(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("where the history is (default: branch " + BRANCH + " of --repository)")
    where.add_argument("--file", type=Path, metavar="FILE", help="a file of lines")
    where.add_argument("--branch", metavar="NAME", help="a branch of its own")
    where.add_argument("--remote", default="", metavar="NAME", help="that branch of a remote repository")
    where.add_argument("--repository", type=Path, default=locate.REPOSITORY, metavar="DIR", help="default: this one")


def history() -> Parser:
    p = Parser(prog="ci/history", description="Remembers runs, one line each.", epilog=_HISTORY,
               formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    commands = p.add_subparsers(dest="command", metavar="COMMAND", required=True)
    append = commands.add_parser("append", help="add one line for a run", epilog=_HISTORY,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    append.add_argument("sources", nargs="+", type=Path, metavar="FOLDER|verdict.json", help="of one run")
    add_place(append)
    append.add_argument("--commit", default="", metavar="HEX", help="that was measured (default: what the run says)")
    append.add_argument("--of-branch", default=None, metavar="NAME",
                        help="branch that the commit is on; runs of different branches are not compared (default: the one "
                        "checked out, or $GITHUB_REF_NAME, $CI_COMMIT_REF_NAME)")  # fmt: skip
    append.add_argument("--note", default="", metavar="TEXT", help="kept with the line, e.g. a link to the job")
    append.add_argument("--print", action="store_true", help="print the line, and add it nowhere")
    show = commands.add_parser("show", help="print what is there", epilog=_HISTORY,
                               formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add_place(show)
    show.add_argument("--case", metavar="PATTERN", help="the values of these cases, too, e.g. '*metadata*'")
    show.add_argument("--name", default="*", metavar="PATTERN", help="of these values (default: all)")
    show.add_argument("--last", type=int, default=20, metavar="N", help="runs (default: 20; 0: all)")
    show.add_argument("--json", action="store_true", help="the lines themselves, checked")
    show.add_argument("--skip-broken", action="store_true", help="pass over lines that cannot be read, and name them")
    return p


def trend() -> Parser:
    p = Parser(prog="ci/trend", description="Draws a history, and tells where a number changed its level, and why.",
                   epilog=_TREND, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add_place(p)
    what = p.add_argument_group("which runs and values (patterns as of a shell)")
    what.add_argument("--of-branch", metavar="NAME", help="runs of commits of this branch (default: all, each by itself)")
    what.add_argument("--machine", metavar="HEX", help="runs of this machine (default: all, each by itself)")
    what.add_argument("--case", default="*", metavar="PATTERN", help="default: all")
    what.add_argument("--name", default="*", metavar="PATTERN", help="of the quantity, e.g. wall_ns, 'padding*' (default: all)")
    what.add_argument("--last", type=int, default=240, metavar="N", help="runs of each series (default: 240)")
    what.add_argument("--across-machines", action="store_true",
                      help="exact numbers, which are equal everywhere, of all machines in one series")  # fmt: skip
    what.add_argument("--with-changed", action="store_true", help="also runs with changes that were not committed")
    what.add_argument("--skip-broken", action="store_true", help="pass over lines that cannot be read, and name them")
    out = p.add_argument_group("what comes of it")
    out.add_argument("-o", "--output", type=Path, metavar="DIR", help="for trend.html, trend.md, trend.txt and the charts")
    out.add_argument("--format", choices=("text", "markdown"), default="text", help="of what is printed (default: text)")
    out.add_argument("--no-setup", action="store_true", help="do not look for missing packages")
    out.add_argument("--check", action="store_true", help="exit with 2 when a number became worse, with 4 when one is missing")
    out.add_argument("--recent", type=int, default=20, metavar="N",
                     help="of --check: changes first seen in the last N runs of a series (default: 20)")  # fmt: skip
    return p


def bisect() -> Parser:
    p = Parser(prog="ci/bisect", description="Finds the commit that changed one number of one case.",
                   epilog=_BISECT, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    p.add_argument("case", metavar="CASE", help="word id")
    p.add_argument("name", metavar="COUNTER", help="which number of it")
    p.add_argument("good", metavar="GOOD", help="commit, an ancestor of BAD")
    p.add_argument("bad", metavar="BAD", help="commit")
    p.add_argument("--source", choices=SOURCES, help="what has this case")
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
