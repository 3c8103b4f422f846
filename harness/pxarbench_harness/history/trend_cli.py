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
from . import cli, git, parsers, store, trend
from .series import Choice


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
    return EXIT_OK if analysis.can_tell and not analysis.absent else EXIT_INCONCLUSIVE


def main(arguments: Sequence[str] | None = None) -> int:
    args = parsers.trend().parse_args(arguments)
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
