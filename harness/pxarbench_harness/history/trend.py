"""What a history tells, as a report: where numbers changed their level, which commits are to blame, and charts of it."""

from __future__ import annotations

import fnmatch
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..report.model import Block, Bullets, Cell, Chart, Details, Heading, Line, Panel, Paragraph, Report, Table, Tone
from ..report.words import many
from . import changes, culprit, git, series
from .culprit import Direction, Found
from .line import Run
from .series import Choice, Kind, Series

#: Charts of a page; those with the newest changes come first.
CHARTS_MAX = 40
COMMITS_SHOWN, ABSENT_SHOWN = 20, 20
_NAMED_TICKS = 14

_UNITS = {"_ns": (1e9, "s"), "_bytes": (2.0**20, "MiB")}
_TITLES = {
    "wall_ns": "time", "user_ns": "user time", "system_ns": "system time",
    "peak_rss_bytes": "peak memory", "peak-rss_bytes": "peak memory", "processor_ns": "processor time",
}  # fmt: skip
#: While nothing happens in them: the time as a whole is drawn.
_NOT_DRAWN = ("user_ns", "system_ns", "processor_ns")


@dataclass(frozen=True)
class Analysis:
    """Of one history."""

    runs: int  # looked at
    order: str  # of the commits, in words
    notes: tuple[str, ...]
    series: tuple[Series, ...]
    found: tuple[Found, ...]  # the newest first
    significance: float  # of the test of one measured series
    too_short: int  # measured series with too few runs to show any change
    tested: int  # measured series with enough
    absent: tuple[str, ...] = ()  # what the newest runs do not have, in words

    @property
    def standing(self) -> tuple[Found, ...]:
        """The last change of its series, and for the worse."""
        return tuple(f for f in self.found if f.direction is Direction.WORSE and self.is_last(f))

    def recent(self, runs: int) -> tuple[Found, ...]:
        """The last changes of series that are worse now than before the last so many runs. What changed earlier has been told
        often enough; a step back that takes a part of it away does not hide the rest."""
        window: dict[int, list[Found]] = {}  # of each series, the newest first
        for f in self.found:
            if len(f.series.points) - f.change.at <= runs:
                window.setdefault(id(f.series), []).append(f)
        return tuple(changed[0] for changed in window.values() if _is_worse(changed[-1], changed[0]))

    @property
    def can_tell(self) -> bool:
        """Whether any series has runs enough to show a change."""
        measured = [s for s in self.series if s.key.kind is Kind.MEASURED]
        counted = [s for s in self.series if s.key.kind is not Kind.MEASURED]
        return len(measured) > self.too_short or any(len(s.points) > 1 for s in counted)

    def is_last(self, one: Found) -> bool:
        return one is next(f for f in self.found if f.series is one.series)


def _is_worse(first: Found, last: Found) -> bool:
    """From the level before one change to the level behind another, later or the same."""
    key, before, after = first.series.key, first.change.before, last.change.after
    if key.kind is Kind.DIGEST or culprit.direction(key.name, before, after) is not Direction.WORSE:
        return False
    least = {Kind.MEASURED: culprit.least_of(key.name), Kind.COUNTED: culprit.COUNTED_TOLERANCE}.get(key.kind, 0.0)
    return abs(after - before) > least * before


def analyse(
    runs: Iterable[Run], choice: Choice, repository: git.Repository | None, notes: Sequence[str] = ()
) -> Analysis:
    """`notes`: what there is to say beforehand. GitFailed."""
    ordered = series.ordered(runs, choice, repository)
    collected = series.collect(ordered.runs, choice)
    measured = [s for s in collected if s.key.kind is Kind.MEASURED]
    long = [s for s in measured if len(s.points) >= changes.runs_needed(changes.FAMILY_SIGNIFICANCE)]
    significance = changes.significance(len(long))
    too_short = sum(len(s.points) < changes.runs_needed(significance) for s in measured)
    between = _remembered(culprit.names(repository))
    found = [f for s in collected for f in culprit.found(s, significance, between)]
    places = {run.id: place for place, run in enumerate(ordered.runs)}
    found.sort(key=lambda f: (-places[f.first.run.id], _rank(f.direction), f.series.key.case, f.series.key.name))
    said = (*notes, *ordered.notes)
    return Analysis(
        len(ordered.runs), ordered.by, said, tuple(collected), tuple(found), significance, too_short, len(long),
        tuple(_absent(ordered.runs, choice)),
    )  # fmt: skip


def _absent(runs: Sequence[Run], choice: Choice) -> list[str]:
    """What the newest run of each set of cases left out, or lacks of what the one before it on its machine had: a case that is
    not measured any more cannot get worse. Of the branch that was measured last; sets of cases are told apart by having none in
    common."""
    line = [run for run in runs if run.branch == runs[-1].branch]
    seen: set[tuple[str, str]] = set()
    found = []
    for number in range(len(line) - 1, -1, -1):
        run = line[number]
        names = _names(run)
        if not names & seen:
            before = next((o for o in reversed(line[:number]) if o.machine == run.machine and names & _names(o)), run)
            gone = {case for _, case in _names(before) - names}
            said = [*run.left_out, *(f"{case}: was in the run before" for case in sorted(gone))]
            chosen = [text for text in said if fnmatch.fnmatchcase(text.partition(":")[0], choice.case)]
            found += [f"not in the newest {run.kind} ({run.commit[:12]}): {text}" for text in chosen]
        seen |= names
    return found


def _names(run: Run) -> set[tuple[str, str]]:
    """Its cases, those among them that it left out."""
    return {(run.kind, case.case) for case in run.cases} | {(run.kind, text.partition(":")[0]) for text in run.left_out}


def _remembered(between: culprit.Names) -> culprit.Names:
    """Many series change at one commit: git is asked once."""
    known: dict[tuple[str, str], tuple[git.Commit, ...] | str] = {}

    def ask(good: str, bad: str) -> tuple[git.Commit, ...] | str:
        if (good, bad) not in known:
            known[good, bad] = between(good, bad)
        return known[good, bad]

    return ask


def _rank(way: Direction) -> int:
    return list(Direction).index(way)


# ---- words ----


def _unit(name: str) -> tuple[float, str]:
    return next((unit for end, unit in _UNITS.items() if name.endswith(end)), (1.0, ""))


def said(value: float, name: str, kind: Kind = Kind.MEASURED) -> str:
    """Exact numbers to the last digit."""
    if kind is not Kind.MEASURED:
        return f"{value:,.0f}"
    divisor, unit = _unit(name)
    if not unit:
        return f"{value:,.0f}"
    scaled = value / divisor
    # What is small is told exactly: 16 bytes are not 0.0 MiB.
    if unit == "MiB" and value < 100_000:
        return f"{value:,.0f} B"
    return f"{scaled:.4g} {unit}" if scaled < 1000 else f"{scaled:,.1f} {unit}"


def difference(one: Found) -> str:
    change = one.change.change
    if one.before:
        return "differs"
    if change is None or abs(change) < 0.0005:
        return f"{one.change.after - one.change.before:+,.0f}"
    return f"{100 * change:+.1f} %" if abs(change) < 10 else f"× {change + 1:.1f}"


def _levels(one: Found) -> tuple[str, str]:
    if one.before:
        return one.before[:12], one.after[:12]
    key = one.series.key
    return said(one.change.before, key.name, key.kind), said(one.change.after, key.name, key.kind)


def _range(one: Found) -> str:
    found = one.culprit
    if found.good == found.bad:
        return f"{found.bad[:12]} itself"
    if found.commits is None:
        return f"{found.good[:12]}..{found.bad[:12]}"
    if len(found.commits) == 1:
        return f"{found.bad[:12]} {_subject(found.commits[0], 60)}"
    return f"{found.good[:12]}..{found.bad[:12]}, {len(found.commits)} commits"


def _subject(commit: git.Commit, most: int) -> str:
    """Without what would end our own quotes: anybody may have written it."""
    return commit.subject[:most].replace("`", "'")


def headline(one: Found) -> str:
    """One sentence, for a terminal and for a comment."""
    before, after = _levels(one)
    key = one.series.key
    return f"{key.case}, {key.name}: {one.direction.value}, {before} to {after} ({difference(one)}) with {_range(one)}"


# ---- the report ----


def report(analysis: Analysis, *, with_charts: bool = True, title: str = "pxarbench: trend") -> Report:
    """`with_charts`: not in plain text, where they are long tables."""
    blocks: list[Block] = [Heading(title, 1)]
    blocks += _summary(analysis)
    if analysis.found:
        blocks += [Heading("Where something changed"), _table(analysis.found), *_details(analysis)]
    blocks += _charts(analysis) if with_charts else []
    blocks += _how(analysis)
    summary = [f"**{headline(one)}**" for one in analysis.standing[:5]]
    return Report(tuple(blocks), title, tuple(summary))


def _summary(analysis: Analysis) -> list[Block]:
    kinds = {kind: sum(s.key.kind is kind for s in analysis.series) for kind in Kind}
    moved = {id(f.series) for f in analysis.found}
    commits = len({p.run.commit for s in analysis.series for p in s.points})
    text = (
        f"{many(analysis.runs, 'run')} of {many(commits, 'commit')}, by {analysis.order}: "
        f"{kinds[Kind.EXACT] + kinds[Kind.DIGEST]} exact, {kinds[Kind.COUNTED]} counted and {kinds[Kind.MEASURED]} measured "
        f"series. {many(len(analysis.found), 'change')} in {len(moved)} of them; "
        f"{many(len(analysis.standing), 'series', 'series')} ended worse than before the last change."
    )
    rest = len(analysis.absent) - ABSENT_SHOWN
    more = (f"and {rest} more that the newest runs do not have",) if rest > 0 else ()
    notes = (*analysis.notes, *analysis.absent[:ABSENT_SHOWN], *more)
    return [Paragraph(text), *([Bullets(notes)] if notes else [])]


def _table(found: Sequence[Found]) -> Table:
    rows = []
    for one in found:
        before, after = _levels(one)
        key = one.series.key
        tone = {Direction.WORSE: Tone.BAD, Direction.BETTER: Tone.GOOD, Direction.OTHER: Tone.NOTED}[one.direction]
        chance = "exact" if one.change.chance is None else f"{one.change.chance:.2g}"
        rows.append((
            one.first.run.commit[:12], key.case, key.name, Cell(one.direction.value, tone=tone), _range(one), before, after,
            difference(one), chance,
        ))  # fmt: skip
    columns = ("first seen at", "case", "quantity", "", "came with", "before", "after", "difference", "chance")
    return Table(columns, tuple(rows), texts=5, merged=1)


def _details(analysis: Analysis) -> list[Block]:
    """Once per range: the commits, and what finds the one among them."""
    groups: dict[tuple[str, str], list[Found]] = {}
    for one in analysis.found:
        groups.setdefault((one.culprit.good, one.culprit.bad), []).append(one)
    blocks: list[Block] = [Heading("Which commits")]
    for (good, bad), ones in groups.items():
        first = ones[0].culprit
        names = ", ".join(dict.fromkeys(one.series.key.name for one in ones))
        lines: list[str] = []
        if first.why:
            lines.append(first.why)
        for commit in (first.commits or ())[:COMMITS_SHOWN]:
            lines.append(f"`{commit.name[:12]}` {commit.committed[:10]} {_subject(commit, 100)}")
        if first.commits is not None and len(first.commits) > COMMITS_SHOWN:
            lines.append(f"and {len(first.commits) - COMMITS_SHOWN} more")
        # An exact number is found with a run per step; a time needs many.
        wanted = sorted((one for one in ones if one.culprit.command), key=_effort)
        if wanted:
            lines.append(f"to find the one: `{wanted[0].culprit.command}`")
        title = f"{good[:12]} to {bad[:12]}: {names}" if good != bad else f"{bad[:12]}: {names}"
        blocks += [Heading(title, 3), Bullets(tuple(lines))]
    return blocks


def _family_chance(analysis: Analysis) -> float:
    """At most, of any false change among the measured series."""
    return min(1.0, analysis.significance * max(1, analysis.tested))


def _effort(one: Found) -> tuple[int, bool]:
    """Of finding the commit, the least first: processor times follow the time as a whole."""
    return list(Kind).index(one.series.key.kind), one.series.key.name in _NOT_DRAWN


def _how(analysis: Analysis) -> list[Block]:
    lines = [
        "Only values of one branch, one machine and one version of the benchmark are in one series.",
        "An exact number changed where it differs from the one before. A counted one changed where it leaves its level by more "
        f"than {100 * culprit.COUNTED_TOLERANCE:.1f} %.",
        f"Measured values: E-divisive with a permutation test (level {analysis.significance:.2g} per series, so that the "
        f"chance of any false change among all of them is {_family_chance(analysis):.0%}), a level of at least "
        f"{changes.RUNS_MIN} runs, and changes of at least {culprit.LEAST_ELSE:.0%} (memory: "
        f"{culprit.LEAST['peak_rss_bytes']:.0%}). The range of commits is that in which the change lies with 95 %.",
        "Times of different days are compared here, so this is a reason to look, not a verdict: `ci/compare` and `ci/bisect` "
        "measure two builds in turn.",
    ]
    if analysis.too_short:
        few = many(analysis.too_short, "measured series", "measured series")
        lines.append(f"{few} with fewer than {changes.runs_needed(analysis.significance)} runs: too few to show a change.")
    return [Details("How changes are found", (Bullets(tuple(lines)),))]


# ---- charts ----


def _wanted(analysis: Analysis) -> list[Series]:
    """Those that changed, in the order of their newest change; then times and memory that did not. Digests have no height."""
    moved = list({id(f.series): f.series for f in analysis.found if f.series.key.kind is not Kind.DIGEST}.values())
    shown = {id(s) for s in moved}
    still = [
        s for s in analysis.series
        if s.key.kind is Kind.MEASURED and id(s) not in shown and len(s.points) > 1 and s.key.name not in _NOT_DRAWN
    ]  # fmt: skip
    return moved + still


def charts(analysis: Analysis) -> list[Chart]:
    return [_chart(one, [f for f in analysis.found if f.series is one]) for one in _wanted(analysis)[:CHARTS_MAX]]


def _charts(analysis: Analysis) -> list[Block]:
    drawn = charts(analysis)
    if not drawn:
        return []
    rest = len(_wanted(analysis)) - len(drawn)
    more = f"{many(rest, 'more series', 'more series')} not drawn: choose with `--case` and `--name`."
    return [Heading("Over the commits"), *drawn, *([Paragraph(more)] if rest else [])]


def _chart(one: Series, found: Sequence[Found]) -> Chart:
    key, points = one.key, one.points
    divisor, unit = _unit(key.name)
    values = [p.number / divisor for p in points]
    intervals: list[tuple[float, float] | None] = []
    for p in points:
        m = p.measured
        intervals.append(None if m is None or m.low is None or m.high is None else (m.low / divisor, m.high / divisor))
    lines = [Line("runs", tuple(enumerate(values)), tuple(intervals))]
    ends = [0, *sorted(f.change.at for f in found), len(points)]
    if key.kind is Kind.MEASURED:
        levels = [found_level / divisor for found_level in _level_values(found, points)]
        for number, level in enumerate(levels):
            begin, end = ends[number], ends[number + 1]
            lines.append(Line("level (median)", ((begin - 0.4, level), (end - 0.6, level)), is_level=True))
    every = max(1, -(-len(points) // _NAMED_TICKS))
    ticks = tuple((float(i), points[i].run.commit[:9]) for i in range(0, len(points), every))
    title = _TITLES.get(key.name, key.name)
    marks = tuple(end - 0.5 for end in ends[1:-1])
    panel = Panel("", "commit", f"{title} ({unit})" if unit else title, tuple(lines), marks=marks, x_names=ticks)
    where = f", machine {key.machine[:12]}" if key.machine else ""
    seen = "; ".join(f"{difference(f)} at {f.first.run.commit[:9]}" for f in sorted(found, key=lambda f: f.change.at))
    alt = f"{len(points)} runs{where}, {key.source}, version {key.version or 'not told'}. "
    alt += f"Changed: {seen}." if seen else "No change."
    return Chart(f"{key.case}: {title}", alt, ((panel,),), _values(one), palette=("runs", "level (median)"))


def _level_values(found: Sequence[Found], points: Sequence[series.Point]) -> list[float]:
    if not found:
        return [statistics.median(p.number for p in points)]
    ordered = sorted(found, key=lambda f: f.change.at)
    return [ordered[0].change.before, *(f.change.after for f in ordered)]


def _values(one: Series) -> Table:
    rows = []
    for p in one.points:
        rows.append((p.run.commit[:12], p.run.started, said(p.number, one.key.name, one.key.kind)))
    return Table(("commit", "run", "value"), tuple(rows), texts=2)
