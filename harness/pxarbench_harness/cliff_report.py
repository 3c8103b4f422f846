"""From the data of a cliff session (cliff.py) to its report and chart. Pure but for write()."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .cliff_reference import (
    COMPRESSED, SIMULATED, SIMULATED_FIRST_GENERATION, Case, Difference, Figure, Simulated, as_printed, differences, parse_lines,
)  # fmt: skip
from .report import render
from .report.build import Block, Bullets, Heading, Paragraph, Report, Table
from .report.words import percent

MIB = 1 << 20

#: A difference from the reference or the simulation above this asks for an explanation.
FLAGGED = 0.02
SIMULATED_FLAGGED = 0.10

#: The columns of the table beside the reference: (heading, name of the figure).
BESIDE = (
    ("reused files", "reused files"),
    ("re-encoded files", "re-encoded files"),
    ("reused", "reused bytes"),
    ("re-encoded", "re-encoded bytes"),
    ("padding", "padding"),
    ("partial chunks", "partial chunks"),
    ("injected chunks", "ppxar injected chunks"),
    ("not reused", "ppxar not reused"),
    ("payload", "ppxar size"),
    ("compressed", "ppxar compressed"),
)


def relative(ours: float, theirs: float) -> str:
    """Signed difference in percent of `theirs`."""
    if ours == theirs:
        return "equal"
    return f"{100 * (ours - theirs) / theirs:+.1f} %" if theirs else "–"


def seconds(times_ns: Sequence[int]) -> str:
    return f"{median(times_ns) / 1e9:.2f}" if times_ns else "–"


def case_of(item: Mapping[str, Any]) -> Case:
    return Case(item["layout"], item["rate"])


def live(item: Mapping[str, Any]) -> int:
    return int(item["reused_bytes"] + item["reencoded_bytes"])


def reread(item: Mapping[str, Any]) -> float:
    """Share of all files' bytes that was read again."""
    return float(item["reencoded_bytes"] / live(item))


def waste(item: Mapping[str, Any]) -> float:
    return float(item["layout"]["stored_waste"] / live(item))


def reference_figures(item: Mapping[str, Any]) -> dict[str, Figure]:
    return parse_lines(item["reference"]["lines"]) if item["reference"] else {}


def reference_share(figures: Mapping[str, Figure], name: str) -> float | None:
    if "reused bytes" not in figures:
        return None
    return figures[name].value / (figures["reused bytes"].value + figures["re-encoded bytes"].value)


def compared_with_reference(item: Mapping[str, Any]) -> list[Difference]:
    """Every figure that `upstream` prints otherwise than the reference did, with what depends on zstd's version left out."""
    ours = parse_lines(item["runs"]["upstream"]["lines"])
    return [d for d in differences(ours, reference_figures(item)) if d.name not in COMPRESSED]


def worst(found: Iterable[Difference]) -> float:
    return max((abs(d.relative) for d in found), default=0.0)


# ---- sections ----


def _head(data: Mapping[str, Any]) -> list[Block]:
    tree, first, program = data["dataset"], data["data_run"], data["program"]
    lines = [
        f"tree: `{tree['name']}` ({tree['source']}), {tree['files']:,} files, {tree['bytes'] / MIB:,.1f} MiB, "
        f"contents' digest {tree['content_digest'][:16]}",
        f"first run, mode `data`: {first['payload_chunks']:,} payload chunks, {first['payload_size']:,} bytes, "
        f"index {first['payload_csum'][:16]}, {first['wall_ns'] / 1e9:.2f} s",
        f"program: commit {data['commit']}, {program['preset']}, {program['compiler']}, {program['sha256'][:12]}",
        f"machine: {data['host']['cpu']}, {data['host']['cores']} cores, tree and store on {data['host']['tree_filesystem']}",
        f"{data['rounds']} round{'s' if data['rounds'] > 1 else ''}, settings in shuffled order (seed {data['seed']}); {data['started']}",
    ]
    runs = [r for c in data["cases"] for r in c["runs"].values()]
    restored = [r for r in runs if r["restored_equal"] is not None]
    lines.append(
        f"checked: in {len(runs)} snapshots index and references agree with the run's counters and with `analyze`; {len(restored)} restored, of which "
        f"{sum(r['restored_equal'] for r in restored)} are equal to the tree in all attributes and contents"
    )
    blocks: list[Block] = [Heading("The reuse cliff", 1), Bullets(tuple(lines))]
    if not data["quiet_machine"]:
        blocks.append(Paragraph("**Other work shared the machine: times are noisy.** Everything else does not depend on it."))
    if data["problems"]:
        blocks += [Heading("Problems"), Bullets(tuple(data["problems"]))]
    return blocks


def _cliff(data: Mapping[str, Any]) -> list[Block]:
    names = [s["name"] for s in data["settings"]]
    has_reference = any(c["reference"] for c in data["cases"])
    rows = []
    for item in data["cases"]:
        runs = item["runs"]
        whole = live(next(iter(runs.values())))
        row = [case_of(item).name, f"{item['touched']:,}", percent(item["touched_bytes"] / whole)]
        if has_reference:
            share = reference_share(reference_figures(item), "re-encoded bytes")
            row.append("–" if share is None else percent(share))
        rows.append((*row, *(percent(reread(runs[name])) for name in names)))
    columns = ("changed", "files", "their bytes", *(["reference 3.2.7"] if has_reference else []), *names)
    return [
        Heading("Bytes read again"),
        Paragraph(
            "Of all files' bytes (16-byte headers included), those of files whose data was read, chunked and hashed again. "
            "`stored-unlimited` has no limit on instances and absorbs nothing (`--max-instances 1000000 --absorb-below 0`); "
            "`stored` is the profile as it comes."
        ),
        Table(columns, tuple(rows)),
    ]


def _beside_reference(data: Mapping[str, Any]) -> list[Block]:
    cases = [c for c in data["cases"] if c["reference"] and "upstream" in c["runs"]]
    if not cases:
        return []
    rows, notes, small, equal = [], [], [], 0
    for item in cases:
        ours, theirs = parse_lines(item["runs"]["upstream"]["lines"]), reference_figures(item)
        found = compared_with_reference(item)
        equal += not found
        cells = []
        for _, name in BESIDE:
            a, b = ours.get(name), theirs.get(name)
            if a is None or b is None or a.text != b.text:
                cells.append(f"{a.text if a else 'none'} / {b.text if b else 'none'}")
            else:
                cells.append(a.text)
        if item["touched"] != item["reference"]["touched"]:
            notes.append(f"{case_of(item).name}: {item['touched']} files changed, the reference's run changed {item['reference']['touched']}")
        for d in found:
            text = f"{case_of(item).name}: {d.name} {d.ours}, reference {d.reference} ({d.relative:+.2%})"
            (notes if abs(d.relative) > FLAGGED else small).append(text)
        rows.append((case_of(item).name, *cells, "equal" if not found else percent(worst(found))))
    files = {c["reference"]["files"] for c in cases}
    text = (
        f"As the two print it; where they differ: ours / the reference's. In {equal} of {len(cases)} cases every figure of the "
        "summary and upload lines is the same text (compressed sizes, which depend on zstd's version, are shown and not counted). "
        f"The reference's tree had {', '.join(f'{n:,}' for n in sorted(files))} files, this one {data['dataset']['files']:,}."
    )
    blocks: list[Block] = [
        Heading("`upstream` beside the reference client 3.2.7"),
        Paragraph(text),
        Table(("changed", *(title for title, _ in BESIDE), "largest difference"), tuple(rows)),
    ]
    blocks.append(Paragraph(f"Differences of more than {FLAGGED:.0%}: " + ("none." if not notes else "")))
    if notes:
        blocks.append(Bullets(tuple(notes)))
    if small:
        blocks += [
            Paragraph(
                "Smaller ones. Each reference run followed a data run of its own, whose layout varies a little from run to run (change-detection.md 10.2: "
                "a suggested boundary can come too late). A boundary more or less changes the number of chunks in the same injected bytes, and how many of the "
                "chunks cut anew are known already, which is all that differs here; the decisions do not:"
            ),
            Bullets(tuple(small)),
        ]
    return blocks


def _share_cell(ours: float, printed: str) -> str:
    if as_printed(100 * ours, printed):
        return f"{percent(ours)} / {printed} % (equal as printed)"
    return f"{percent(ours)} / {printed} % ({relative(100 * ours, float(printed))})"


def _count_cell(ours: int, theirs: int) -> str:
    return f"{ours:,} / {theirs:,} ({relative(ours, theirs)})"


def far_from_simulation(item: Mapping[str, Any], simulated: Simulated) -> list[str]:
    """What of a run is neither within SIMULATED_FLAGGED of the simulation nor equal to it as it is printed."""
    shape, found = item["layout"], []
    for title, share, printed in (
        ("re-read", reread(item), simulated.reread),
        ("stored waste", waste(item), simulated.stored_waste),
    ):
        if not as_printed(100 * share, printed) and abs(100 * share - float(printed)) > SIMULATED_FLAGGED * float(printed):
            found.append(f"{title} {relative(100 * share, float(printed))}")
    for title, ours, theirs in (
        ("index entries", shape["entries"], simulated.index_entries),
        ("new small chunks", shape["small_chunks"], simulated.small_chunks),
    ):
        if abs(ours - theirs) > SIMULATED_FLAGGED * theirs:
            found.append(f"{title} {relative(ours, theirs)}")
    return found


def _on_entries(data: Mapping[str, Any]) -> str:
    """Why the specification's numbers of entries are those of distinct chunks."""
    words = [
        "On index entries: every raw run between two reused files is a new chunk of its own and is followed by at least one more listing, so an "
        "index has at least about twice as many entries as new small chunks. The table's 4,427 entries with 3,695 small chunks (5 %) and 4,743 with "
        "4,434 (10 %) are fewer: it counts a kept chunk once, however often it is listed. What it counts is the column of distinct chunks."
    ]
    pairs = [
        (case_of(c).rate, SIMULATED_FIRST_GENERATION[case_of(c)], c["runs"]["stored"]["layout"]["entries"])
        for c in data["cases"] if case_of(c) in SIMULATED_FIRST_GENERATION and "stored" in c["runs"]
    ]  # fmt: skip
    if pairs:
        words.append(
            "The simulation of reuse-stored.md 4, which lists them again, has in its first generation (defaults of `stored`, edits at random) "
            + ", ".join(f"{theirs:,} entries at {rate} %" for rate, theirs, _ in pairs)
            + "; here `stored` has "
            + ", ".join(f"{ours:,} ({relative(ours, theirs)})" for _, theirs, ours in pairs)
            + "."
        )
    return " ".join(words)


def _beside_simulation(data: Mapping[str, Any]) -> list[Block]:
    names = [n for n in ("stored-unlimited", "stored") if any(s["name"] == n for s in data["settings"])]
    rows, flagged = [], []
    for item in data["cases"]:
        simulated = SIMULATED.get(case_of(item))
        if simulated is None:
            continue
        for name in names:
            r = item["runs"][name]
            shape = r["layout"]
            rows.append((
                f"{case_of(item).rate} %, {name}", _share_cell(reread(r), simulated.reread), _share_cell(waste(r), simulated.stored_waste),
                _count_cell(shape["small_chunks"], simulated.small_chunks), _count_cell(shape["distinct"], simulated.index_entries),
                _count_cell(shape["entries"], simulated.index_entries), f"{shape['most_instances']}",
            ))  # fmt: skip
        if "stored-unlimited" in names:
            far = far_from_simulation(item["runs"]["stored-unlimited"], simulated)
            flagged += [f"{case_of(item).rate} %: {text}" for text in far]
    if not rows:
        return []
    return [
        Heading("`stored` beside the simulation of reuse-stored.md 3"),
        Paragraph(
            "Uniform changes; measured / simulated. The simulation's settings are those of `stored-unlimited`: threshold 10 % per "
            "chunk, no limit on instances, nothing absorbed. Small: less than a quarter of the average, the least that the chunker "
            "cuts by itself. The last column is how often the chunk that is listed most often is listed."
        ),
        Table(
            ("changed", "re-read", "stored waste", "new small chunks", "distinct chunks / \"index entries\"", "index entries", "most listings"),
            tuple(rows),
        ),
        Paragraph(f"`stored-unlimited`, more than {SIMULATED_FLAGGED:.0%} from the simulation: " + ("none." if not flagged else "")),
        *([Bullets(tuple(flagged)), Paragraph(_on_entries(data))] if flagged else []),
    ]


def _costs(data: Mapping[str, Any]) -> list[Block]:
    kept = [int(k) for k in next(iter(data["cases"][0]["runs"].values()))["fetches"]]
    rows = []
    for item in data["cases"]:
        for setting in data["settings"]:
            r = item["runs"][setting["name"]]
            shape = r["layout"]
            rows.append((
                f"{case_of(item).name}, {setting['name']}",
                f"{r['padding_bytes'] / MIB:,.1f}", percent(waste(r)), f"{r['payload_size'] / live(r):.3f}", f"{shape['entries']:,}",
                f"{shape['new_chunks']:,}", f"{shape['small_chunks']:,}", f"{r['new_bytes'] / MIB:,.1f}", f"{r['uploaded_bytes'] / MIB:,.1f}",
                *(f"{r['fetches'][str(k)]['chunks']:,} ({r['fetches'][str(k)]['bytes'] / live(r):.2f})" for k in kept),
                *(seconds([r[name]] if r.get(name) else []) for name in ("restore_ns", "restore_cpu_ns")), seconds(r["wall_ns"]), seconds(r["cpu_ns"]),
            ))  # fmt: skip
    columns = (
        "changed, setting", "padding MiB", "stored waste", "virtual / live", "entries", "new chunks", "of these small", "new MiB",
        "uploaded MiB", *(f"fetches, LRU {k}" for k in kept), "restore s", "restore CPU s", "backup s", "backup CPU s",
    )  # fmt: skip
    return [
        Heading("What it costs"),
        Paragraph(
            "Padding is virtual: bytes of listed chunks that no file refers to through that listing. Stored waste: bytes of listed chunks "
            "that no file refers to through any listing, of all files' bytes. Fetches: chunks that a restore of everything in archive order "
            "gets from a store of whole chunks when it keeps the k used last, in brackets their bytes over the files' bytes. New and "
            f"uploaded: before and after compression, uploaded with the metadata stream. Times: "
            f"{'medians of ' + str(data['rounds']) if data['rounds'] > 1 else 'one run'}, advisory; restore (– : not measured) once, into memory."
        ),
        Table(columns, tuple(rows)),
        Heading("New chunks by size"),
        Table(
            ("changed, setting", *next(iter(data["cases"][0]["runs"].values()))["layout"]["new_sizes"]),
            tuple(
                (f"{case_of(item).name}, {name}", *(f"{n:,}" for n in r["layout"]["new_sizes"].values()))
                for item in data["cases"] for name, r in item["runs"].items()
            ),
        ),
    ]  # fmt: skip


def report(data: Mapping[str, Any]) -> Report:
    blocks = [*_head(data), *_cliff(data), *_beside_reference(data), *_beside_simulation(data), *_costs(data)]
    return Report(tuple(blocks))


# ---- the chart ----

#: Percent; what is less is drawn there, or a few bytes of markers would stretch the axis over everything else.
LEAST_DRAWN = 0.01

_LOOKS = {
    "upstream": ("#c44e52", "o", "-"),
    "tight": ("#dd8452", "s", "-"),
    "stored-unlimited": ("#64b5cd", "^", "--"),
    "stored": ("#4c72b0", "D", "-"),
}


def series(data: Mapping[str, Any], layout: str, setting: str, value: Callable[[Mapping[str, Any]], float]) -> list[tuple[float, float]]:
    """Points (rate in percent, value) of one setting, by rate."""
    points = [
        (float(item["rate"]), value(item["runs"][setting]))
        for item in data["cases"] if item["layout"] == layout and setting in item["runs"]
    ]  # fmt: skip
    return sorted(points)


def _reference_series(data: Mapping[str, Any], layout: str, name: str) -> list[tuple[float, float]]:
    points = []
    for item in data["cases"]:
        share = reference_share(reference_figures(item), name)
        if item["layout"] == layout and share is not None:
            points.append((float(item["rate"]), share))
    return sorted(points)


def chart(data: Mapping[str, Any], paths: Sequence[Path]) -> bool:
    """False when matplotlib is not installed."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
    except ImportError:
        return False
    layouts = [name for name in ("uniform", "clustered") if any(c["layout"] == name for c in data["cases"])]
    panels: list[tuple[str, Callable[[Mapping[str, Any]], float], str | None, bool]] = [
        ("reused, % of all bytes", lambda r: 100 * (1 - reread(r)), "reused bytes", False),
        ("padding (virtual), % of all bytes", lambda r: 100 * r["padding_bytes"] / live(r), "padding", True),
        ("stored waste, % of all bytes", lambda r: 100 * waste(r), None, True),
    ]
    matplotlib.rcParams["svg.hashsalt"] = "pxarbench"  # the same data, the same file
    figure, grid = pyplot.subplots(
        len(panels), len(layouts), figsize=(5.4 * len(layouts), 9.6), sharex=True, sharey="row", squeeze=False
    )
    for row, (title, value, figure_name, logarithmic) in enumerate(panels):
        for column, layout in enumerate(layouts):
            axes = grid[row][column]
            for setting in data["settings"]:
                colour, marker, line = _LOOKS.get(setting["name"], ("#555555", "x", "-"))
                points = series(data, layout, setting["name"], value)
                if logarithmic:
                    points = [(x, max(y, LEAST_DRAWN)) for x, y in points]
                axes.plot(
                    [x for x, _ in points], [y for _, y in points], line, color=colour, marker=marker, markersize=4.5,
                    linewidth=1.5, label=setting["title"].replace("`", ""),
                )  # fmt: skip
            if figure_name is not None:
                points = _reference_series(data, layout, figure_name)
                axes.plot(
                    [x for x, _ in points], [100 * y for _, y in points], linestyle="none", marker="o", markersize=9,
                    markerfacecolor="none", markeredgecolor="#333333", label="reference client 3.2.7",
                )  # fmt: skip
            axes.set_xscale("log")
            if logarithmic:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"≤ {v:g}" if v == LEAST_DRAWN else f"{v:g}"))
                axes.set_ylim(bottom=0.7 * LEAST_DRAWN)
            else:
                axes.set_ylim(0, 103)
            axes.grid(True, color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            rates = sorted({float(c["rate"]) for c in data["cases"]})
            axes.xaxis.set_major_locator(FixedLocator(rates))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            if row == 0:
                axes.set_title(f"{layout} changes")
            if column == 0:
                axes.set_ylabel(title)
            if row == len(panels) - 1:
                axes.set_xlabel("files changed, %")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=2, frameon=False)
    tree = data["dataset"]
    figure.suptitle(f"Reuse after a change: {tree['source']}, {tree['files']:,} files", fontsize=11)
    figure.tight_layout(rect=(0, 0.075, 1, 0.985))
    for path in paths:
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})
    pyplot.close(figure)
    return True


def write(data: Mapping[str, Any], folder: Path) -> None:
    text = render.markdown(report(data))
    if chart(data, [folder / "chart.png", folder / "chart.svg"]):
        head, rest = text.split("\n\n", 1)
        text = f"{head}\n\n![reused share, padding and stored waste over the share of changed files](chart.svg)\n\n{rest}"
    (folder / "report.md").write_text(text)
