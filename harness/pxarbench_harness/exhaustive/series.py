"""Table and plot of a history: one row per generation and profile."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from .generations import Row

MIB, KIB = 1 << 20, 1 << 10
DERIVED = ("read_share", "virtual_over_live", "waste_share", "amplification")
#: Validated for colour-blind readers, in this order; the markers tell them apart as well.
COLOURS = {"upstream": "#eb6834", "tight": "#2a78d6", "stored": "#008300"}
MARKS = {"upstream": "^", "tight": "s", "stored": "o"}


def write_csv(rows: Sequence[Row], path: Path) -> None:
    names = [f.name for f in fields(Row)]
    with open(path, "w", newline="", encoding="ascii") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*names, *DERIVED])
        for row in rows:
            values = [getattr(row, name) for name in (*names, *DERIVED)]
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else "" if value is None else value for value in values])


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("generation", lambda r: str(r.generation)),
    ("changed", lambda r: f"{r.changed_bytes / max(1, r.live_bytes):.1%}"),
    ("re-read", lambda r: f"{r.read_share:.1%}"),
    ("padding", lambda r: f"{r.padding_bytes / max(1, r.virtual_bytes):.1%}"),
    ("worst range", lambda r: "" if r.padding_worst is None else f"{r.padding_worst:.2%}"),
    ("stored waste", lambda r: f"{r.waste_share:.2%}"),
    ("worst chunk", lambda r: f"{r.waste_worst:.2%}"),
    ("index entries", lambda r: f"{r.index_entries:,}"),
    ("chunks", lambda r: f"{r.chunks:,}"),
    ("mean chunk", lambda r: f"{r.chunk_mean / KIB:,.0f} KiB"),
    ("virtual / live", lambda r: f"{r.virtual_over_live:.2f}"),
    ("restore, LRU 8", lambda r: f"{r.amplification:.2f}"),
    ("new chunks", lambda r: f"{r.new_chunks:,}"),
    ("below 256 KiB", lambda r: f"{r.new_small_chunks:,}"),
)


def milestones(last: int) -> list[int]:
    return [g for g in (0, 1, 2, 3, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 150, 200, 300, 500, 1000) if g < last] + [last]


def table(rows: Sequence[Row], generations: Sequence[int] | None = None) -> str:
    """Markdown, one table per profile."""
    last = max(row.generation for row in rows)
    wanted = set(generations if generations is not None else milestones(last))
    parts = []
    for profile in dict.fromkeys(row.profile for row in rows):
        lines = [f"### {profile}", "", "| " + " | ".join(name for name, _ in COLUMNS) + " |"]
        lines.append("|" + "---:|" * len(COLUMNS))
        for row in rows:
            if row.profile == profile and row.generation in wanted:
                lines.append("| " + " | ".join(show(row) for _, show in COLUMNS) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


PANELS: tuple[tuple[str, Callable[[Row], float], bool], ...] = (
    ("bytes read again, % of the tree", lambda r: 100 * r.read_share, False),
    ("padding, % of the payload stream", lambda r: 100 * r.padding_bytes / max(1, r.virtual_bytes), False),
    ("stored waste, % of the chunks' bytes", lambda r: 100 * r.waste_share, False),
    ("payload stream over live bytes", lambda r: r.virtual_over_live, False),
    ("index entries", lambda r: r.index_entries, True),
    ("mean chunk, KiB", lambda r: r.chunk_mean / KIB, True),
    ("new chunks below 256 KiB", lambda r: r.new_small_chunks, True),
    ("bytes fetched over restored, LRU 8", lambda r: r.amplification, False),
)


def plot(rows: Sequence[Row], folder: Path, title: str) -> bool:
    """plot.png and plot.svg; False when matplotlib is not installed."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    matplotlib.rcParams["svg.hashsalt"] = "pxarbench"  # the same data, the same file
    matplotlib.rcParams["svg.fonttype"] = "none"
    shown = [row for row in rows if row.generation > 0]
    profiles = list(dict.fromkeys(row.profile for row in shown))
    figure, axes = pyplot.subplots(2, 4, figsize=(17, 7.5), sharex=True)
    for axis, (name, value, _) in zip(axes.flat, PANELS, strict=True):
        for profile in profiles:
            mine = [row for row in shown if row.profile == profile]
            axis.plot(
                [row.generation for row in mine], [value(row) for row in mine], label=profile, linewidth=2,
                color=COLOURS.get(profile), marker=MARKS.get(profile), markevery=max(1, len(mine) // 8), markersize=5,
            )  # fmt: skip
        axis.set_title(name, fontsize=10, loc="left")
        axis.set_ylim(0, max(value(row) for row in shown) * 1.08 or 1)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        axis.tick_params(labelsize=9)
    for axis in axes[1]:
        axis.set_xlabel("generation", fontsize=9)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    figure.legend(handles, labels, loc="upper right", ncol=len(labels), frameon=False, fontsize=10)
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    figure.savefig(folder / "plot.png", dpi=110)
    figure.savefig(folder / "plot.svg", metadata={"Date": None})
    pyplot.close(figure)
    return True


def read_csv(path: Path) -> list[Row]:
    """What write_csv wrote, so that tables and plots can be made again."""

    def number(text: str) -> float | int | None:
        return None if text == "" else int(text) if text.lstrip("-").isdigit() else float(text)

    with open(path, newline="", encoding="ascii") as lines:
        return [
            Row(**{f.name: line[f.name] if f.name == "profile" else number(line[f.name]) for f in fields(Row)})  # type: ignore[arg-type]
            for line in csv.DictReader(lines)
        ]


def publish(rows: Sequence[Row], folder: Path, title: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(rows, folder / "table.csv")
    (folder / "table.md").write_text(f"# {title}\n\n{table(rows)}")
    plot(rows, folder, title)
