"""The command line of ci/trend."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..gates.verdict import EXIT_ERROR, EXIT_INCONCLUSIVE, EXIT_OK, EXIT_REGRESSION
from ..report import charts, html, render
from ..report.model import Chart, plain
from . import cli, git, store, trend
from .series import Choice

_EPILOG = """\
examples:
  ci/trend --file history.jsonl -o trend                    trend/trend.html, trend.md, trend.txt, charts as PNG and SVG
  ci/trend --branch pxarbench-history --remote origin -o trend
  ci/trend --file history.jsonl --case '*metadata*' --name 'wall*'
  ci/trend --file history.jsonl --check                     for a nightly job

A number that changed its level is told with the commits between the last run before and the first run after it, and with the
ci/bisect command that finds the one. Runs of other branches, machines and versions of the benchmark are never joined.

exit codes: 0 done; 1 failed, or there are no runs; with --check also 2: the last change of some number was for the worse, and
came with the last runs (--recent), 4: no series is long enough to tell; 130 interrupted
"""


def parser() -> cli.Parser:
    p = cli.Parser(prog="ci/trend", description="Draws a history, and tells where a number changed its level, and why.",
                   epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    cli.add_place(p)
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
    out.add_argument("--check", action="store_true", help="exit with 2 when the last change of a number was for the worse, "
                     "and recent")  # fmt: skip
    out.add_argument("--recent", type=int, default=20, metavar="N",
                     help="of --check: changes first seen in the last N runs of a series (default: 20)")  # fmt: skip
    return p


def write(folder: Path, analysis: trend.Analysis) -> list[str]:
    """Names of the files in `folder`. OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    made = trend.report(analysis)
    texts = {"trend.md": render.markdown(made), "trend.txt": render.text(made), "trend.html": html.page(made)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    names = list(texts)
    for old in folder.glob("chart-[0-9][0-9].*"):
        old.unlink()
    for number, chart in enumerate(trend.charts(analysis), 1):
        for kind in ("png", "svg"):
            picture = charts.file(_titled(chart), kind)
            if picture:
                names.append(f"chart-{number:02}.{kind}")
                (folder / names[-1]).write_bytes(picture)
    return names


def _titled(chart: Chart) -> Chart:
    """A page has the title below the picture; a file has to say by itself what it shows."""
    ((panel,),) = chart.rows
    return replace(chart, rows=((replace(panel, title=chart.title),),))


def _trend(args: argparse.Namespace) -> int:
    if args.last < 2 or args.recent < 1:
        raise ValueError("--last must be at least 2, --recent at least 1")
    place = cli.place(args)
    read = store.read(place, skip_broken=args.skip_broken)
    repository = git.Repository(args.repository.absolute())
    choice = Choice(args.of_branch, args.machine, args.case, args.name, args.with_changed, args.across_machines, args.last)
    notes = [f"passed over: {text}" for text in read.broken]
    analysis = trend.analyse(read.runs, choice, repository if repository.is_there else None, notes)
    if not analysis.series:
        for text in analysis.notes:
            print(plain(text), file=sys.stderr)
        print(f"ci/trend: {place.place}: nothing to look at among {len(read.runs)} runs", file=sys.stderr)
        return EXIT_ERROR
    if args.format == "markdown":
        sys.stdout.write(render.markdown(trend.report(analysis)))
    else:
        render.terminal(trend.report(analysis, with_charts=False))
    if args.output is not None:
        names = write(args.output, analysis)
        print(f"written: {args.output}/ ({', '.join(names[:3])}, {len(names) - 3} charts)", file=sys.stderr)
    return _code(analysis, args.recent) if args.check else EXIT_OK


def _code(analysis: trend.Analysis, recent: int) -> int:
    if analysis.recent(recent):
        return EXIT_REGRESSION
    told = any(len(s.points) > 1 for s in analysis.series)
    return EXIT_OK if told else EXIT_INCONCLUSIVE


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    try:
        return _trend(args)
    except cli.FAILURES as error:
        print(f"ci/trend: {plain(str(error))}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("ci/trend: interrupted", file=sys.stderr)
        return cli.EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
