"""The reuse cliff: what is reused, wasted and gained over the rate of changes, for each layout of the changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .. import stats
from . import words
from .cases import Block, Series, order, ratio
from .folder import Folder
from .model import Block as Part
from .model import Cell, Chart, Heading, Line, Panel, Paragraph, Table
from .times import anchor, ratio_cell, time_cell
from .words import PERCENT, UNKNOWN

#: Fewer rates make no curve.
LEAST_RATES = 3
LAYOUTS = ("uniform", "clustered", "zipf", "tail", "recent")

Names = dict[tuple[str, str, str], str]


@dataclass(frozen=True)
class Point:
    """One case at one rate. Shares are of bytes; None: the program does not tell."""

    rate: float
    series: Series
    reused: float | None  # of the tree's bytes
    padding: float | None  # of the payload stream
    reread_unchanged: float | None  # of the bytes that need not be read again
    ratio: stats.Ratio | None  # of times, to data


@dataclass(frozen=True)
class Curve:
    """One mode of one subject, over the rates of one layout."""

    key: tuple[str, str, str]
    points: tuple[Point, ...]

    def values(self, name: str) -> list[tuple[float, float]]:
        found = ((p.rate, getattr(p, name)) for p in self.points)
        return [(rate, value) for rate, value in found if value is not None]

    @property
    def ratios(self) -> list[tuple[float, stats.Ratio]]:
        return [(p.rate, p.ratio) for p in self.points if p.ratio is not None]


@dataclass(frozen=True)
class Surface:
    """One operation on one dataset: layout -> curves."""

    dataset: str
    operation: str
    files: int
    bytes: int
    layouts: dict[str, list[Curve]]

    @property
    def rates(self) -> list[float]:
        return sorted({p.rate for curves in self.layouts.values() for c in curves for p in c.points})


def _point(s: Series, base: Series | None, seed: int) -> Point | None:
    run = s.last
    if run.outcome is None:
        return None
    whole, changed = run.dataset["bytes"], run.mutation["bytes"]
    read = s.outcome("reencoded_bytes")
    if read is None:
        read = s.outcome("file_bytes_read")
    reused = None if read is None or not whole else max(0.0, 1 - read / whole)
    unchanged = whole - changed
    return Point(
        rate=float(run.mutation["rate"]),
        series=s,
        reused=reused,
        padding=words.share(s.outcome("padding_bytes"), s.outcome("payload_bytes")),
        reread_unchanged=None if read is None or unchanged <= 0 else max(0, read - changed) / unchanged,
        ratio=None if base is None or base is s else ratio(s, base, seed),
    )


def _rate(block: Block) -> float | None:
    """Of a single change with a rate; chains and replays have none."""
    run = block.measured
    if run is None or block.generation or any(c in block.mutation for c in ">*"):
        return None
    try:
        rate = float(run.mutation["rate"])
    except ValueError:
        return None
    return rate if rate > 0 else None


def _kind(text: str) -> tuple[str, str]:
    """(operation with all that is not rate or layout, layout) of a mutation's words."""
    operation, *rest = text.split(":")
    layout = next((w for w in rest if w in LAYOUTS), "uniform")
    kept = [w for w in rest[1:] if w != layout and not w.startswith("seed=")]
    return ":".join([operation, *kept]), layout


def surfaces(blocks: Sequence[Block], seed: int) -> list[Surface]:
    """Those with enough rates, in order of appearance. Modes that never use a reference are what others are compared with;
    they are no curves."""
    found: dict[tuple[str, str], dict[str, dict[tuple[str, str, str], dict[float, Point]]]] = {}
    trees: dict[tuple[str, str], tuple[int, int]] = {}
    for block in blocks:
        rate = _rate(block)
        if rate is None:
            continue
        operation, layout = _kind(block.mutation)
        for s in block.group:
            point = _point(s, block.base(s), seed)
            if point is None or s.last.outcome is None or s.last.outcome["reference"] == "not-asked":
                continue
            key = block.dataset, operation
            trees.setdefault(key, (s.last.dataset["files"], s.last.dataset["bytes"]))
            found.setdefault(key, {}).setdefault(layout, {}).setdefault(s.key, {}).setdefault(rate, point)
    result = []
    for key, layouts in found.items():
        curves = {
            layout: [
                Curve(k, tuple(points[r] for r in sorted(points)))
                for k, points in sorted(layouts[layout].items(), key=lambda item: (item[0][2] != "warm", order(*item[0][:2])))
                if len(points) > 1
            ]
            for layout in sorted(layouts, key=lambda name: LAYOUTS.index(name))
        }
        surface = Surface(*key, *trees[key], curves)
        surface = replace(surface, layouts={layout: found for layout, found in surface.layouts.items() if found})
        if len(surface.rates) >= LEAST_RATES:
            result.append(surface)
    return result


# ---- break-even ----


def said(found: stats.Crossing | None, low: stats.Crossing | None = None, high: stats.Crossing | None = None) -> Cell:
    """`low`, `high`: where the ends of the interval cross."""
    if found is None:
        return Cell(UNKNOWN, "not measured")
    title = f"measured from {found.least:g} % to {found.greatest:g} %, in between linear in the logarithm of the rate"
    match found.kind:
        case stats.Crossed.NEVER:
            text = f"not up to {found.greatest:g} %"
        case stats.Crossed.ALWAYS:
            text = f"always, from {found.least:g} % on"
        case _:
            assert found.rate is not None
            text = f"{found.rate:.2g} %"
    # Where all three say the same there is no interval to tell.
    if low is not None and high is not None and (found.kind is stats.Crossed.AT or {low.kind, high.kind} != {found.kind}):
        text += f" ({_end(low, least=True)} .. {_end(high, least=False)})"
    if found.falls_again:
        title += "; at some higher rate it is below again"
    return Cell(text + ("*" if found.falls_again else ""), title)


def _end(found: stats.Crossing, *, least: bool) -> str:
    if found.kind is stats.Crossed.AT:
        return f"{found.rate:.2g}"
    if found.kind is stats.Crossed.ALWAYS:
        return f"below {found.least:g}"
    return f"above {found.greatest:g}"


def even_in_time(curve: Curve) -> tuple[stats.Crossing | None, stats.Crossing | None, stats.Crossing | None]:
    """Where the mode stops being faster than data, by medians; and where the ends of the ratio's interval do."""
    ratios = curve.ratios
    middle = stats.crossing([(rate, r.value) for rate, r in ratios], 1.0)
    if not ratios or any(r.interval is None for _, r in ratios):
        return middle, None, None
    slow = stats.crossing([(rate, r.interval.high) for rate, r in ratios if r.interval is not None], 1.0)
    fast = stats.crossing([(rate, r.interval.low) for rate, r in ratios if r.interval is not None], 1.0)
    return middle, slow, fast


def half_reread(curve: Curve) -> stats.Crossing | None:
    return stats.crossing(curve.values("reread_unchanged"), 0.5)


def break_even(surface: Surface, names: Names) -> Table:
    rows = []
    for layout, curves in surface.layouts.items():
        for curve in curves:
            runs = {len(p.series.runs) for p in curve.points}
            rows.append((
                layout, names[curve.key], f"{len(curve.points)}", f"{min(runs)}" if len(runs) == 1 else f"{min(runs)}..{max(runs)}",
                said(*even_in_time(curve)), said(half_reread(curve)),
            ))  # fmt: skip
    columns = ("layout", "mode", "rates", "n each", f"as slow as data ({PERCENT} %)", "half of the unchanged read again")
    return Table(columns, tuple(rows), texts=2, merged=1, caption="Break-even: the rate of changed files from which on ...")


# ---- the chart and the table behind it ----


def _panels(surface: Surface, names: Names) -> list[tuple[Panel, ...]]:
    wanted = (
        ("reused", "reused, % of all bytes", (0.0, 103.0)),
        ("padding", "padding, % of payload", None),
    )
    rows = []
    for attribute, label, span in wanted:
        panels = []
        top = 0.0
        for layout, curves in surface.layouts.items():
            lines = []
            for curve in curves:
                points = tuple((rate, 100 * value) for rate, value in curve.values(attribute))
                if points:
                    lines.append(Line(names[curve.key], points))
                    top = max(top, *(y for _, y in points))
            panels.append((layout, tuple(lines)))
        if any(lines for _, lines in panels):
            scale = span or (0.0, top * 1.08 or 1.0)
            rows.append(tuple(
                Panel(f"{layout} changes", "files changed, %", label, lines, log_x=True, y_range=scale) for layout, lines in panels
            ))  # fmt: skip
    times = []
    top = 1.0
    for layout, curves in surface.layouts.items():
        lines = []
        for curve in curves:
            ratios = curve.ratios
            if ratios:
                spans = tuple(None if r.interval is None else (r.interval.low, r.interval.high) for _, r in ratios)
                lines.append(Line(names[curve.key], tuple((rate, r.value) for rate, r in ratios), spans))
                top = max(top, *(r.value for _, r in ratios), *(s[1] for s in spans if s is not None))
        times.append((layout, tuple(lines)))
    if any(lines for _, lines in times):
        rows.append(tuple(
            Panel(f"{layout} changes", "files changed, %", "time, data = 1", lines, log_x=True, y_range=(0.0, top * 1.05), level=1.0)
            for layout, lines in times
        ))  # fmt: skip
    return rows


def table(surface: Surface, names: Names, blocks: Sequence[Block], seed: int) -> Table:
    bases = {id(s): b.base(s) for b in blocks for s in b.group}
    rows = []
    for layout, curves in surface.layouts.items():
        for curve in curves:
            for p in curve.points:
                base = bases.get(id(p.series))
                rows.append((
                    layout, Cell(names[curve.key], target=f"#{anchor(p.series)}"), f"{p.rate:g}", str(len(p.series.runs)),
                    words.percent(p.reused), words.percent(p.reread_unchanged), words.percent(p.padding), time_cell(p.series),
                    ratio_cell(p.series, base, seed),
                ))  # fmt: skip
    columns = (
        "layout", "mode", "changed %", "n", "reused", "unchanged read again", "padding", f"median s ({PERCENT} %)", "ratio to data",
    )  # fmt: skip
    return Table(columns, tuple(rows), texts=2, merged=2)


def _alt(surface: Surface, names: Names) -> str:
    parts = []
    for layout, curves in surface.layouts.items():
        for curve in curves:
            values = curve.values("reused")
            if values:
                (low, first), (high, last) = values[0], values[-1]
                parts.append(
                    f"{layout}, {names[curve.key]}: {words.percent(first)} reused at {low:g} % changed, {words.percent(last)} at "
                    f"{high:g} %"
                )
    return "Over the share of changed files, on a logarithmic scale. " + "; ".join(parts) + "."


def sections(folder: Folder, blocks: Sequence[Block], names: Names, seed: int) -> list[Part]:
    found = surfaces(blocks, seed)
    if not found:
        return []
    parts: list[Part] = [
        Heading("The reuse cliff"),
        Paragraph(
            "How much of the tree is taken over unread, what is carried along as padding, and the time beside a run that reads "
            "everything, for each rate of changed files. Bars behind the points: intervals."
        ),
    ]
    for surface in found:
        mean = surface.bytes / surface.files if surface.files else 0
        size = f"{mean / 1024:,.1f} KiB" if mean < 2**20 else f"{mean / 2**20:,.1f} MiB"
        title = f"{surface.dataset}, {surface.operation}: {surface.files:,} files, {size} on average"
        rows = _panels(surface, names)
        behind = table(surface, names, blocks, seed)
        parts.append(Heading(title, 3))
        if rows:
            alt, palette = _alt(surface, names), tuple(names.values())
            parts.append(Chart(f"Reuse over the rate of changes: {title}", alt, tuple(rows), behind, palette))
        else:
            parts.append(behind)
        parts.append(break_even(surface, names))
    return parts
