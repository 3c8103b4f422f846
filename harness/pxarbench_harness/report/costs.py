"""What happened and what it costs: reasons of reading again, padding over generations, restoring, system calls, rooflines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import stats
from ..record import Record
from . import words
from .cases import Block, Series, ratio
from .folder import Folder
from .model import Block as Part
from .model import Bullets, Cell, Chart, Details, Heading, Line, Panel, Paragraph, Table
from .surface import Names
from .times import anchor, middle, samples_title
from .words import UNKNOWN

#: More bars than these make no picture, and more reasons than these cannot be told apart in one.
_MOST_BARS = 40
_MOST_REASONS = 7
#: Longer tables are folded away.
_LONG = 16

#: Reasons of not reading a file: no part of a histogram of what was read.
_REUSED = "unchanged"

#: Those of pxarbench that do not speak for themselves.
_MEANINGS = {
    "no-reference": "nothing to compare with",
    "new": "not there in the reference",
    "type": "no regular file there",
    "hardlink": "a hardlink there, or its first name is gone",
    "threshold": "unchanged, but too much of its old chunks is of no use",
    "instances": "unchanged, but its old chunk would be listed too often",
    "absorbed": "unchanged, but its small old chunk is written anew with what is beside it",
    "non-monotone": "unchanged, but out of order in the reference",
    "out-of-range": "unchanged, but outside of the reference's payload",
}


def reasons(s: Series) -> dict[str, int]:
    """reason -> files, of what was read again. {}: the program does not tell."""
    known = dict((s.last.outcome or {}).get("reasons") or {})
    if not known:
        for archive in s.archives:
            found = archive.get("reasons")
            if isinstance(found, Mapping):
                for name, count in found.items():
                    if isinstance(count, int):
                        known[str(name)] = known.get(str(name), 0) + count
    return {name: count for name, count in known.items() if name != _REUSED and count}


def why_sections(blocks: Sequence[Block], names: Names) -> list[Part]:
    found = [
        (block, s, reasons(s)) for block in blocks for s in block.group
        if s.last.outcome is not None and s.last.outcome["reference"] == "used"
    ]  # fmt: skip
    found = [(block, s, why) for block, s, why in found if why]
    if not found:
        return []
    totals: dict[str, int] = {}
    for _, _, why in found:
        for name, count in why.items():
            totals[name] = totals.get(name, 0) + count
    order = sorted(totals, key=lambda n: (-totals[n], n))
    rows = tuple(
        (block.dataset, block.name, Cell(names[s.key], target=f"#{anchor(s)}"), *(f"{why.get(n, 0):,}" for n in order),
         f"{sum(why.values()):,}")
        for block, s, why in found
    )
    table = Table(("dataset", "change", "mode", *order, "files read again"), rows, texts=3, merged=2)
    meanings = "; ".join(f"`{n}`: {_MEANINGS[n]}" for n in order if n in _MEANINGS)
    text = "Of the last measured run of each case (counts are equal in all), in the words of the program."
    text += f" {meanings}." if meanings else ""
    return [Heading("Why files were read again"), Paragraph(text), _why_chart(found, order, table, names)]


def _why_chart(found: Sequence[tuple[Block, Series, dict[str, int]]], order: Sequence[str], table: Table, names: Names) -> Chart:
    """Of too many cases those with the most files read again, still in their order."""
    title = "Why files were read again"
    longest = sorted(range(len(found)), key=lambda i: (-_again(found[i][1], found[i][2]), i))[:_MOST_BARS]
    drawn = [found[i] for i in sorted(longest)]
    if len(drawn) < len(found):
        title += f": the {len(drawn)} of {len(found)} cases with the largest shares"
    told = list(order[:_MOST_REASONS])
    rest = order[_MOST_REASONS:]
    many_sets = len({block.dataset for block, _, _ in drawn}) > 1
    bars = []
    for block, s, why in drawn:
        whole = s.last.dataset["files"] or 1
        parts = [(n, 100 * why[n] / whole) for n in told if n in why]
        other = sum(why.get(n, 0) for n in rest)
        if other:
            parts.append(("other", 100 * other / whole))
        bars.append((f"{block.dataset + ', ' if many_sets else ''}{block.name}: {names[s.key]}", tuple(parts)))
    block, s, why = found[longest[0]]
    alt = (
        f"One bar per change and mode, divided by reason. The longest: {block.name}, {names[s.key]}, "
        f"{sum(why.values()):,} files, most of them for the reason {max(why, key=lambda n: why[n])}."
    )
    panel = Panel("", "files read again, % of all", "", bars=tuple(bars))
    return Chart(title, alt, ((panel,),), table, (*told, "other"))


def _again(s: Series, why: Mapping[str, int]) -> float:
    return sum(why.values()) / (s.last.dataset["files"] or 1)


# ---- generations ----


def generation_sections(blocks: Sequence[Block], names: Names) -> list[Part]:
    chains: dict[tuple[str, str], list[Block]] = {}
    for block in blocks:
        if block.generation > 0:
            chains.setdefault((block.dataset, block.mutation), []).append(block)
    parts: list[Part] = []
    for (dataset, mutation), found in chains.items():
        found.sort(key=lambda b: b.generation)
        rows = []
        curves: dict[str, dict[str, list[tuple[float, float]]]] = {"padding": {}, "waste": {}, "entries": {}, "read": {}}
        keys = [k for k in names if any(s.key == k for b in found for s in b.group)]
        for key in keys:
            for block in found:
                s = next((s for s in block.group if s.key == key), None)
                if s is None:
                    continue
                run, ledger = s.last, ledger_of(s)
                read = s.outcome("file_bytes_read")
                padding = words.share(s.outcome("padding_bytes"), s.outcome("payload_bytes"))
                waste = words.share(ledger.get("stored_waste"), run.dataset["bytes"])
                entries = s.outcome("listed_chunks")
                if entries is None:
                    entries = _entries(s)
                again = words.share(read, run.dataset["bytes"])
                if padding is None and entries is None and again is None and run.store_bytes is None:
                    continue
                for what, value in (("padding", padding), ("waste", waste), ("entries", entries), ("read", again)):
                    if value is not None:
                        scaled = float(value) if what == "entries" else 100 * value
                        curves[what].setdefault(names[key], []).append((block.generation, scaled))
                rows.append((
                    names[key], str(block.generation), Cell(str(len(s.runs)), target=f"#{anchor(s)}"), words.percent(padding),
                    words.percent(waste), words.count(entries), words.percent(again), words.size(run.store_bytes),
                    words.ranged(s.summary.median, s.summary.interval, 3),
                ))  # fmt: skip
        if not rows:
            continue
        columns = (
            "mode", "generation", "n", "padding of payload", "stored waste", "index entries", "read again", "store", "median s",
        )  # fmt: skip
        table = Table(columns, tuple(rows), merged=1)
        labels = {
            "padding": "padding, % of payload", "waste": "stored waste, % of all bytes", "entries": "index entries",
            "read": "read again, % of all bytes",
        }  # fmt: skip
        panels = [
            Panel(labels[w], "generation", "", tuple(Line(n, tuple(p)) for n, p in lines.items()), y_range=_from_zero(lines))
            for w, lines in curves.items() if any(len(p) > 1 for p in lines.values())
        ]  # fmt: skip
        if not parts:
            parts.append(Heading("Over generations"))
        title = f"{dataset}, {mutation}"
        parts.append(Heading(title, 3))
        if panels:
            grid = tuple(tuple(panels[i : i + 2]) for i in range(0, len(panels), 2))
            ends = [
                f"{name}: padding {points[0][1]:.3g} % after generation {points[0][0]:g}, {points[-1][1]:.3g} % after "
                f"{points[-1][0]:g}"
                for name, points in curves["padding"].items()
            ]
            alt = "Generation by generation, a line per mode. " + "; ".join(ends) + ("." if ends else "")
            parts.append(Chart(f"Ledger over generations: {title}", alt, grid, table, tuple(names.values())))
        else:
            parts.append(table)
    return parts


def _from_zero(lines: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[float, float]:
    top = max((y for points in lines.values() for _, y in points), default=0.0)
    return 0.0, top * 1.08 or 1.0


def ledger_of(s: Series) -> dict[str, int]:
    """Sum over the archives of where padding comes from; {}: the program does not tell."""
    known = dict((s.last.outcome or {}).get("ledger") or {})
    if not known:
        for archive in s.archives:
            found = archive.get("ledger")
            if isinstance(found, Mapping):
                for name, value in found.items():
                    if isinstance(value, int):
                        known[str(name)] = known.get(str(name), 0) + value
    return known


def _entries(s: Series) -> int | None:
    counts = [a["payload"]["chunks"] for a in s.archives if isinstance(a.get("payload"), Mapping) and "chunks" in a["payload"]]
    return sum(counts) if counts else None


# ---- restoring ----


def restore_sections(blocks: Sequence[Block], names: Names) -> list[Part]:
    rows = []
    for block in blocks:
        for s in block.group:
            cost = next((c for r in reversed(s.runs) if (c := (r.outcome or {}).get("restore"))), None)
            if not cost:
                continue
            fetched, files = cost.get("fetched_bytes"), cost.get("file_bytes")
            times = words.share(fetched, files)
            others = ", ".join(
                f"{name.replace('_', ' ')} {value:,}" for name, value in sorted(cost.items())
                if name not in ("fetched_bytes", "fetched_chunks", "file_bytes")
            )
            rows.append((
                block.dataset, block.name, Cell(names[s.key], target=f"#{anchor(s)}"), words.count(cost.get("fetched_chunks")),
                words.size(fetched), words.size(files), UNKNOWN if times is None else Cell(f"{times:.2f}", others),
            ))  # fmt: skip
    if not rows:
        return []
    columns = ("dataset", "change", "mode", "chunks fetched", "bytes fetched", "bytes of files", "fetched / restored")
    text = (
        "What restoring the last measured snapshot got from its store, before it was compared: one restore each. Padding and "
        "chunks listed again are fetched too."
    )
    table = Table(columns, tuple(rows), texts=3, merged=2)
    folded = table if len(rows) <= _LONG else Details(f"Table of {len(rows)} restores", (table,))
    return [Heading("Restoring"), Paragraph(text), folded]


# ---- system calls ----

_MOST_CALLS = 14


def _change_of(run: Record) -> tuple[str, str, int]:
    return run.dataset["name"], run.mutation["text"], run.generation


def syscall_sections(folder: Folder, names: Names) -> list[Part]:
    proofs = [r for r in folder.records if r.phase == "proof" and r.syscalls]
    if not proofs:
        return []
    # Runs are shuffled: changes in order of appearance, modes as everywhere.
    places = {key: place for place, key in enumerate(dict.fromkeys(map(_change_of, proofs)))}
    modes = {key: place for place, key in enumerate(names)}
    proofs.sort(key=lambda r: (places[_change_of(r)], modes[r.subject, r.mode, r.cache]))
    totals: dict[str, int] = {}
    for r in proofs:
        for name, count in (r.syscalls or {}).items():
            totals[name] = totals.get(name, 0) + count
    calls = sorted((n for n in totals if n != "total"), key=lambda n: (-totals[n], n))[:_MOST_CALLS]
    rows = []
    for r in proofs:
        counted = r.syscalls or {}
        files = r.dataset["files"]
        total = counted.get("total", sum(v for n, v in counted.items() if n != "total"))
        name = f"{r.mutation['text']}, generation {r.generation}" if r.generation else r.mutation["text"]
        rows.append((
            r.dataset["name"], name, names[r.subject, r.mode, r.cache], f"{total:,}", f"{total / files:.2f}" if files else UNKNOWN,
            *(f"{counted.get(call, 0):,}" for call in calls),
        ))  # fmt: skip
    table = Table(("dataset", "change", "mode", "all", "per file", *calls), tuple(rows), texts=3, merged=2)
    return [
        Heading("System calls"),
        Paragraph("Counted by the kernel's tracing in the proof run, which is not timed: n = 1, all threads and children."),
        table if len(rows) <= _LONG else Details(f"Table of {words.many(len(rows), 'run')}", (table,)),
    ]


# ---- rooflines ----


@dataclass(frozen=True)
class _Roof:
    dataset: str
    name: str
    seconds: tuple[float, ...]  # of the whole tree, one per round
    rate: str
    how: str


def _roofs(found: Any) -> list[_Roof]:
    """Rows of roofline.json; what is not one is left out."""
    listed = found.get("rows") if isinstance(found, dict) else None
    roofs = []
    for item in listed if isinstance(listed, list) else ():
        seconds = item.get("seconds") if isinstance(item, dict) else None
        if not isinstance(seconds, list) or not seconds or not all(_positive(x) for x in seconds):
            continue
        threads, rate = item.get("threads"), item.get("rate")
        name = ", ".join(str(word) for word in (
            item.get("name", "?"), f"{threads} thread{'' if threads == 1 else 's'}" if threads else "", item.get("cache", ""),
        ) if word)  # fmt: skip
        per_second = ""
        if _positive(rate):
            per_second = f"{rate:,.0f} entries/s" if item.get("unit") == "entries" else f"{rate / words.MIB:,.0f} MiB/s"
        how = str(item.get("how", ""))
        if _positive(item.get("measured_bytes")) and _positive(item.get("bytes")) and item["measured_bytes"] < item["bytes"]:
            how += f" (a sample of {words.size(item['measured_bytes'])}, scaled up)"
        roofs.append(_Roof(str(item.get("dataset", "")), name, tuple(float(x) for x in seconds), per_second, how))
    return roofs


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def roofline_sections(folder: Folder, blocks: Sequence[Block], names: Names, seed: int) -> list[Part]:
    roofs = _roofs(folder.roofline)
    if not roofs:
        return []
    samples = "raw/roofline.jsonl"
    target = samples if folder.path is not None and (folder.path / samples).is_file() else ""
    rows: list[tuple[str | Cell, ...]] = []
    for dataset in dict.fromkeys(roof.dataset for roof in roofs):
        for roof in (r for r in roofs if r.dataset == dataset):
            summary = stats.summary(roof.seconds, seed)
            rows.append((
                dataset, Cell(f"roofline: {roof.name}", roof.how), Cell(str(summary.n), target=target),
                Cell(words.ranged(summary.median, summary.interval, 3), ", ".join(f"{x:.3f}" for x in roof.seconds)), roof.rate,
            ))  # fmt: skip
        still = next((b for b in blocks if b.mutation == "none" and b.dataset == dataset), None)
        for s in still.group if still is not None else ():
            summary = s.summary
            rate = s.last.dataset["bytes"] / summary.median if summary.median else 0
            rows.append((
                dataset, Cell(f"nothing changed: {names[s.key]}", target=f"#{anchor(s)}"), str(summary.n),
                Cell(words.ranged(summary.median, summary.interval, 3), samples_title(s)),
                f"{rate / words.MIB:,.0f} MiB/s of the tree",
            ))  # fmt: skip
    parts: list[Part] = [
        Heading("Rooflines"),
        Paragraph(
            "What each part of the work costs by itself on this machine, beside the backups: no mode can be faster than what it "
            "has to do."
        ),
        Table(("dataset", "what", "n", f"median s ({words.PERCENT} %)", "rate"), tuple(rows), texts=2, merged=1),
    ]
    notes = folder.roofline.get("notes")
    if isinstance(notes, list) and notes:
        parts.append(Bullets(tuple(str(note) for note in notes)))
    return parts


# ---- cold and warm ----


def cache_sections(blocks: Sequence[Block], names: Names, seed: int) -> list[Part]:
    rows = []
    for block in blocks:
        by_key = {s.key: s for s in block.group}
        for (subject, mode, cache), cold in by_key.items():
            warm = by_key.get((subject, mode, "warm"))
            if cache != "cold" or warm is None:
                continue
            times = ratio(cold, warm, seed)
            before = [r.resident for r in cold.runs if r.resident is not None]
            rows.append((
                block.dataset, block.name, Cell(cold.label, target=f"#{anchor(cold)}"), f"{len(warm.runs)}, {len(cold.runs)}",
                words.ranged(warm.summary.median, warm.summary.interval, 3),
                words.ranged(cold.summary.median, cold.summary.interval, 3),
                words.ranged(times.value, times.interval, 2), words.percent(max(before)) if before else UNKNOWN,
                words.mib(middle([r.io.get("read_bytes") for r in cold.runs])),
            ))  # fmt: skip
    if not rows:
        return []
    columns = ("dataset", "change", "mode", "n", "warm s", "cold s", "cold / warm", "in cache before, at most", "from disk MiB")
    return [
        Heading("Cold and warm cache"),
        Paragraph(
            "Cold: the tree and the store were dropped from the page cache before the run; runs that were not cold are discarded "
            "and named under Circumstances."
        ),
        Table(columns, tuple(rows), texts=3, merged=2),
    ]
