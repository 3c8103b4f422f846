"""Charts as SVG: text stays text, colours are the page's variables, and equal data gives an equal file."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

from .model import Chart, Line, Panel, plain

#: Apart in lightness as well as in hue, for readers who do not see all hues; markers and dashes tell them apart again.
LIGHT = ("#0a5fa8", "#c2410c", "#00735a", "#8a3a86", "#6b5900", "#111827", "#0e7f9c", "#b0255f")
DARK = ("#6bb2f5", "#f79152", "#3fcf9f", "#dc9bd9", "#d9c04a", "#e5e7eb", "#5fd4ec", "#f58ab4")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_DASHES: tuple[Any, ...] = (
    "-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), "-", (0, (5, 1.5)), (0, (1.5, 1.2)), "-",
)  # fmt: skip
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "---", "++", "oo")

#: What matplotlib is told, and what the page makes of it.
_INK, _FAINT, _GRID, _PAPER = "#010101", "#020202", "#030303", "#040404"
_SERIES = tuple(f"#0101{10 + i}" for i in range(len(LIGHT)))
_VARIABLES = {
    _INK: "--ink", _FAINT: "--faint", _GRID: "--grid", _PAPER: "--paper", **{c: f"--s{i}" for i, c in enumerate(_SERIES)},
}  # fmt: skip

_WIDTH, _HEIGHT = 4.1, 2.75  # inches of one panel


@dataclass(frozen=True)
class _Ink:
    """What is drawn with: names that the page gives colours to, or colours for a file that stands by itself."""

    ink: str
    faint: str
    grid: str
    paper: str
    series: tuple[str, ...]


_NAMES = _Ink(_INK, _FAINT, _GRID, _PAPER, _SERIES)
#: Those of the page in daylight.
_COLOURS = _Ink("#1b1f24", "#5a6270", "#dfe3e8", "#ffffff", LIGHT)


def _clean(text: str, prefix: str, chart: Chart) -> str:
    """Only the <svg> element, without what refers to other places, its names made unique in the page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'\bid="([^"]+)"', lambda m: f'id="{prefix}-{m.group(1)}"', text)
    text = re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{prefix}-{m.group(1)})", text)
    text = re.sub(r'xlink:href="#([^"]+)"', lambda m: f'href="#{prefix}-{m.group(1)}"', text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"font: ((?:[a-z0-9]+ )*?)([0-9.]+px) [^;\"]*", r"font: \1\2 var(--font)", text)
    head = f'<svg role="img" aria-label="{escape(plain(chart.title))}" aria-describedby="{prefix}-desc"'
    text = text.replace("<svg", head, 1)
    at = text.index(">") + 1
    return text[:at] + f'<desc id="{prefix}-desc">{escape(plain(chart.alt))}</desc>' + text[at:]


def _label(text: str) -> str:
    """A dollar would begin a formula."""
    return plain(text).replace("$", r"\$")


def _look(chart: Chart, name: str) -> int:
    names = chart.palette
    return (names.index(name) if name in names else len(names)) % len(LIGHT)


def _line(axes: Any, line: Line, look: int, ink: _Ink) -> None:
    x = [p[0] for p in line.points]
    y = [p[1] for p in line.points]
    if any(i is not None for i in line.intervals):
        low = [v if i is None else i[0] for v, i in zip(y, line.intervals, strict=True)]
        high = [v if i is None else i[1] for v, i in zip(y, line.intervals, strict=True)]
        axes.vlines(x, low, high, color=ink.series[look], linewidth=3.2, alpha=0.3)
    if line.is_level:
        axes.plot(x, y, color=ink.series[look], linewidth=2.2, alpha=0.8, label=line.name, zorder=2.5)
        return
    axes.plot(
        x, y, color=ink.series[look], marker=_MARKERS[look], markersize=6, linewidth=1.6, linestyle=_DASHES[look],
        label=line.name, markeredgecolor=ink.paper, markeredgewidth=0.6, clip_on=False, zorder=3 + look / 100,
    )  # fmt: skip


def _bars(axes: Any, panel: Panel, chart: Chart, ink: _Ink) -> None:
    names = [name for name, _ in panel.bars]
    starts = [0.0] * len(names)
    parts = list(dict.fromkeys(part for _, found in panel.bars for part, _ in found))
    for part in parts:
        values = [dict(found).get(part, 0.0) for _, found in panel.bars]
        look = _look(chart, part)
        axes.barh(
            range(len(names)), values, left=starts, color=ink.series[look], edgecolor=ink.paper, linewidth=0.8, height=0.66,
            hatch=_HATCHES[look], label=part,
        )  # fmt: skip
        starts = [s + v for s, v in zip(starts, values, strict=True)]
    axes.set_yticks(range(len(names)), [_label(n) for n in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _number(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _panel(axes: Any, panel: Panel, chart: Chart, ink: _Ink, *, titled: bool, left: bool, bottom: bool) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(ink.faint)
    axes.tick_params(colors=ink.faint, labelcolor=ink.ink, labelsize=8.5)
    axes.set_axisbelow(True)
    axes.grid(True, axis="x" if panel.bars else "both", color=ink.grid, linewidth=0.7)
    if titled and panel.title:
        axes.set_title(_label(panel.title), fontsize=10, color=ink.ink, loc="left")
    if panel.bars:
        _bars(axes, panel, chart, ink)
        axes.xaxis.set_major_formatter(FuncFormatter(_number))
    else:
        for line in panel.lines:
            _line(axes, line, _look(chart, line.name), ink)
        for x in panel.marks:
            axes.axvline(x, color=ink.ink, linewidth=0.9, linestyle=(0, (2, 2)))
        if panel.level is not None:
            axes.axhline(panel.level, color=ink.ink, linewidth=0.9, linestyle=(0, (2, 2)))
        if panel.log_x:
            axes.set_xscale("log")
            rates = sorted({x for line in panel.lines for x, _ in line.points})
            axes.xaxis.set_major_locator(FixedLocator(_apart(rates)))
            axes.xaxis.set_minor_locator(NullLocator())
        if panel.log_y:
            axes.set_yscale("log")
            axes.yaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(_number))
        axes.yaxis.set_major_formatter(FuncFormatter(_number))
        if panel.x_names:
            named = [_label(name) for _, name in panel.x_names]
            axes.set_xticks([x for x, _ in panel.x_names], named, rotation=45, ha="right")
        if panel.y_range is not None:
            axes.set_ylim(*panel.y_range)
    if bottom or panel.bars:
        axes.set_xlabel(_label(panel.x_label), fontsize=9, color=ink.ink)
    if left:
        axes.set_ylabel(_label(panel.y_label), fontsize=9, color=ink.ink)


def _apart(rates: Sequence[float]) -> list[float]:
    """Those rates whose labels do not touch: a factor of 1.9 apart on a scale of at most four decades."""
    shown: list[float] = []
    for rate in rates:
        if not shown or rate >= 1.9 * shown[-1]:
            shown.append(rate)
    return shown


def svg(chart: Chart, prefix: str) -> str:
    """`prefix`: makes names unique in a page. "" when matplotlib is not installed: the table is there."""
    drawn = _drawn(chart, "svg", _NAMES)
    return _clean(drawn.decode(), prefix, chart) if drawn else ""


def file(chart: Chart, kind: str) -> bytes:
    """A picture that stands by itself, `kind` "svg" or "png", on white. b"" when matplotlib is not installed."""
    return _drawn(chart, kind, _COLOURS)


def _drawn(chart: Chart, kind: str, ink: _Ink) -> bytes:
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        return b""
    rows, columns = len(chart.rows), max(len(row) for row in chart.rows)
    bars = any(panel.bars for row in chart.rows for panel in row)
    height = sum(max(_bar_height(p) if p.bars else _HEIGHT for p in row) for row in chart.rows)
    width = 9.2 if bars and columns == 1 else max(_WIDTH * columns, 5.6)
    names = list(dict.fromkeys(n for row in chart.rows for p in row for n in _names(p)))
    legend_rows = -(-sum(len(n) + 6 for n in names) // int(width * 13)) if len(names) > 1 else 0
    legend = 0.32 * legend_rows
    settings = {"svg.hashsalt": "pxarbench", "svg.fonttype": "none", "font.family": "sans-serif", "hatch.linewidth": 0.7,
                "axes.unicode_minus": True}  # fmt: skip
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **settings, "backend": "svg"}):
        figure = Figure(figsize=(width, height + legend))
        below = legend / (height + legend)
        figure.set_layout_engine("constrained", rect=(0, below, 1, 1 - below))
        (FigureCanvasSVG if kind == "svg" else FigureCanvasAgg)(figure)
        in_page = ink is _NAMES
        figure.patch.set_alpha(0 if in_page else 1)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=not bars)
        handles: dict[str, Any] = {}
        for r, row in enumerate(chart.rows):
            for c in range(columns):
                axes = grid[r][c]
                axes.patch.set_alpha(0)
                if c >= len(row):
                    axes.set_visible(False)
                    continue
                titled = r == 0 or row[c].title != chart.rows[0][c].title
                _panel(axes, row[c], chart, ink, titled=titled, left=c == 0, bottom=r == rows - 1)
                for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                    handles.setdefault(label, handle)
        if len(handles) > 1:
            ordered = sorted(handles, key=lambda n: _look(chart, n))
            figure.legend(
                [handles[n] for n in ordered], [_label(n) for n in ordered], loc="lower left", bbox_to_anchor=(0, 0),
                frameon=False, fontsize=9, ncols=-(-len(ordered) // legend_rows), labelcolor=ink.ink, handlelength=3.2,
                columnspacing=1.6,
            )  # fmt: skip
        out = io.BytesIO()
        undated = {"Date": None, "Creator": None, "Format": None, "Type": None} if kind == "svg" else {"Software": None}
        figure.savefig(out, format=kind, transparent=in_page, metadata=undated, dpi=120)
    return out.getvalue()


def _names(panel: Panel) -> list[str]:
    return [line.name for line in panel.lines] + [part for _, found in panel.bars for part, _ in found]


def _bar_height(panel: Panel) -> float:
    return 0.75 + 0.27 * len(panel.bars)
