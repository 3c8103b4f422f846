"""Sections of times and of what was stored: what most readers come for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .. import stats
from ..record import Record
from . import words
from .cases import Block, Series, order, ratio
from .folder import Folder
from .model import Cell, Details, Link, Paragraph, Table
from .words import MIB, PERCENT, UNKNOWN


def anchor(s: Series) -> str:
    return f"case-{s.case}" + (f"-g{s.last.generation}" if s.last.generation else "")


def samples_title(s: Series) -> str:
    return f"n = {len(s.runs)}, seconds: " + ", ".join(words.seconds(value) for value in s.seconds)


def time_cell(s: Series) -> Cell:
    summary = s.summary
    return Cell(words.ranged(summary.median, summary.interval, 3), samples_title(s), target=f"#{anchor(s)}")


def ratio_cell(s: Series, base: Series | None, seed: int, digits: int = 3) -> Cell:
    if base is None:
        return Cell(UNKNOWN, "mode data was not measured beside it")
    if base is s:
        return Cell("1", "what the others are compared with")
    found = ratio(s, base, seed)
    return Cell(words.ranged(found.value, found.interval, digits), f"{len(s.runs)} runs against {len(base.runs)} of {base.label}")


def _links(folder: Folder, s: Series) -> Cell:
    found = [Link(str(run.round or number), folder.sample(run)) for number, run in enumerate(s.runs, 1) if folder.sample(run)]
    return Cell(UNKNOWN, "no raw files kept") if not found else Cell("", links=tuple(found))


def middle(values: Sequence[int | None]) -> int | None:
    """Of repetitions that should be equal; the median where they are not."""
    known = sorted(v for v in values if v is not None)
    return known[len(known) // 2] if known else None


def _stored(s: Series) -> Cell:
    added = [run.store_added_bytes for run in s.runs]
    known = [a for a in added if a is not None]
    value = middle(added)
    if value is None:
        return Cell(UNKNOWN)
    spread = f"; {min(known):,} .. {max(known):,}" if min(known) != max(known) else ", equal in all"
    return Cell(words.size(value), f"median of {words.many(len(known), 'run')}{spread}")


def headline(folder: Folder, blocks: Sequence[Block], names: dict[tuple[str, str, str], str], seed: int) -> Table:
    """Of one dataset: a row per mutation and mode."""
    rows = []
    for block in blocks:
        for s in block.group:
            rows.append((
                Cell(block.name, _mutation_title(block)), Cell(names[s.key], target=f"#{anchor(s)}"), str(len(s.runs)),
                time_cell(s), ratio_cell(s, block.base(s), seed), _padding(s), words.size(s.outcome("uploaded_bytes")), _stored(s),
                _links(folder, s),
            ))  # fmt: skip
    columns = (
        "change", "mode", "n", f"median s ({PERCENT} %)", "ratio to data", "padding", "uploaded", "stored", "raw samples",
    )  # fmt: skip
    return Table(columns, tuple(rows), texts=2, merged=1, linked=frozenset({8}))


def _mutation_title(block: Block) -> str:
    run = block.measured
    if run is None:
        return ""
    return f"{words.many(run.mutation['files'], 'file')}, {words.size(run.mutation['bytes'])} to be read again by mode metadata"


def _padding(s: Series) -> Cell:
    padding, payload = s.outcome("padding_bytes"), s.outcome("payload_bytes")
    if padding is None or not payload:
        return Cell(UNKNOWN)
    return Cell(words.size(padding), f"{words.percent(padding / payload)} of a payload stream of {words.size(payload)}")


def at_a_glance(blocks: Sequence[Block], names: dict[tuple[str, str, str], str], seed: int) -> Table | None:
    """Of one dataset: changes down, modes across, ratio of times. None where the headline table is as short."""
    blocks = [b for b in blocks if not b.generation]  # those have a section of their own
    present = Counter(s.key for b in blocks for s in b.group)
    keys = [k for k in names if present[k] >= max(2, len(blocks) / 4)]
    if len(blocks) < 4 or len(keys) < 2:
        return None
    rows = []
    for block in blocks:
        by_key = {s.key: s for s in block.group}
        cells: list[str | Cell] = [Cell(block.name, _mutation_title(block))]
        for key in keys:
            s = by_key.get(key)
            if s is None:
                cells.append(UNKNOWN)
                continue
            base = block.base(s)
            summary = s.summary
            text = words.ranged(summary.median, summary.interval, 3)
            if base is not None and base is not s:
                text += f" · {ratio(s, base, seed).value:.2f}×"
            cells.append(Cell(text, samples_title(s), target=f"#{anchor(s)}"))
        rows.append(tuple(cells))
    counts = {len(s.runs) for b in blocks for s in b.group if s.key in keys}
    n = f"n = {min(counts)}" if len(counts) == 1 else f"n = {min(counts)} .. {max(counts)}"
    return Table(
        ("change", *(names[k] for k in keys)), tuple(rows),
        caption=f"Median seconds with the {PERCENT} % interval ({n}) and times the median of data.",
    )  # fmt: skip


def effort(group: Sequence[Series], names: dict[tuple[str, str, str], str], seed: int) -> Table:
    rows = []
    for s in group:
        cpu = stats.summary([(r.user_ns + r.system_ns) / 1e9 for r in s.runs], seed)
        peak = max(r.peak_rss_bytes for r in s.runs)
        read, written = (middle([r.io.get(name) for r in s.runs]) for name in ("rchar", "wchar"))
        disk_read, disk_written = (middle([r.io.get(name) for r in s.runs]) for name in ("read_bytes", "write_bytes"))
        calls = middle([_calls(r) for r in s.runs])
        rows.append((
            names[s.key], str(len(s.runs)), words.ranged(cpu.median, cpu.interval, 3), f"{peak / MIB:.1f}", words.mib(read),
            words.mib(written), words.mib(disk_read), words.mib(disk_written), words.count(calls),
        ))  # fmt: skip
    columns = (
        "mode", "n", f"user+sys s ({PERCENT} %)", "peak RSS MiB", "read calls MiB", "write calls MiB", "from disk MiB",
        "to disk MiB", "reads and writes",
    )  # fmt: skip
    return _without_unknown(Table(columns, tuple(rows), caption="What it took."))


def _calls(run: Record) -> int | None:
    known = [run.io[name] for name in ("syscr", "syscw") if name in run.io]
    return sum(known) if known else None


def _without_unknown(table: Table) -> Table:
    """Without columns in which nothing is known: an old kernel, a program that does not tell."""
    kept = [
        i for i in range(len(table.columns))
        if i < table.texts or any((c if isinstance(c, str) else c.text) != UNKNOWN for c in (row[i] for row in table.rows))
    ]  # fmt: skip
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return Table(tuple(table.columns[i] for i in kept), rows, texts=table.texts, caption=table.caption)


def work(group: Sequence[Series], names: dict[tuple[str, str, str], str]) -> Table:
    """Of the last measured run: all repetitions have equal counters, or it is a problem."""
    rows = []
    for s in group:
        read, necessary = s.outcome("file_bytes_read"), s.last.necessary_bytes
        counted = (words.count(s.outcome(n)) for n in ("reused_files", "reencoded_files", "collateral_files"))
        rows.append((
            names[s.key], *counted, words.mib(read), _amplification(read, necessary), words.mib(s.outcome("new_bytes")),
            words.mib(s.outcome("uploaded_bytes")),
        ))  # fmt: skip
    columns = ("mode", "reused", "re-encoded", "collateral", "read MiB", "read / necessary", "new MiB", "uploaded MiB")
    return Table(columns, tuple(rows), caption="What was done, of the last run: all have equal counts.")


def _amplification(read: int | None, necessary: int) -> Cell:
    if read is None:
        return Cell(UNKNOWN)
    title = f"{read:,} bytes read, {necessary:,} necessary"
    if necessary == 0:
        return Cell("0 / 0" if read == 0 else f"{words.size(read)} / 0", title)
    return Cell(f"{read / necessary:,.2f}", title)


def padding(group: Sequence[Series], names: dict[tuple[str, str, str], str]) -> Table | None:
    rows = []
    for s in group:
        wasted, payload = s.outcome("padding_bytes"), s.outcome("payload_bytes")
        if s.outcome("injected_chunks") is None or wasted is None or not payload or s.last.outcome is None:
            continue
        if s.last.outcome["reference"] != "used":
            continue
        chunks = (words.count(s.outcome(n)) for n in ("injected_chunks", "partial_chunks", "unreferenced_chunks"))
        rows.append((names[s.key], words.size(wasted), words.percent(wasted / payload), *chunks))
    columns = ("mode", "padding", "share of payload", "chunks injected", "partly referenced", "not referenced")
    return Table(columns, tuple(rows), caption="Padding.") if rows else None


#: Equal jobs of two programs: (ours, theirs, what both do).
_AGAINST = (
    ("metadata", ("restic", "default"), "trust size and times"),
    ("data", ("restic", "force"), "read everything"),
)


def against(group: Sequence[Series], seed: int) -> Table | None:
    rows = []
    for mode, (subject, their_mode), job in _AGAINST:
        for ours in (s for s in group if (s.subject, s.mode) == ("pxarbench", mode)):
            theirs = next((s for s in group if s.key == (subject, their_mode, ours.cache)), None)
            if theirs is not None:
                found = ratio(theirs, ours, seed)
                rows.append((f"{mode} against {theirs.label}", job, f"{words.ranged(found.value, found.interval, 2)} times as fast"))
    return Table(("pair", "both", "speed"), tuple(rows), texts=2) if rows else None


def samples(folder: Folder, group: Sequence[Series], names: dict[tuple[str, str, str], str]) -> Table:
    rounds = sorted({r.round for s in group for r in s.runs})
    rows = []
    for s in group:
        by_round = {r.round: r for r in s.runs}
        cells: list[str | Cell] = [names[s.key]]
        for number in rounds:
            run = by_round.get(number)
            cells.append(UNKNOWN if run is None else Cell(words.seconds(run.seconds), _run_title(run), target=folder.sample(run)))
        rows.append(tuple(cells))
    return Table(("seconds of round", *(str(n) for n in rounds)), tuple(rows))


def _run_title(run: Record) -> str:
    return f"run {run.sequence} of the session, place {run.position} in its round, load {run.load_average:.2f}"


def sample_details(folder: Folder, block: Block, names: dict[tuple[str, str, str], str]) -> list[Details]:
    """A table of all raw samples for each case: where the numbers of other tables lead to."""
    found = []
    for s in block.group:
        rows = []
        for run in s.runs:
            rows.append((
                Cell(str(run.round), _run_title(run), target=folder.sample(run)), str(run.sequence), str(run.position),
                f"{run.seconds:.6f}", f"{run.user_ns / 1e9:.6f}", f"{run.system_ns / 1e9:.6f}", f"{run.peak_rss_bytes:,}",
                words.count((run.outcome or {}).get("uploaded_bytes")), words.count(run.store_added_bytes),
                UNKNOWN if run.resident is None else words.percent(run.resident), f"{run.load_average:.2f}",
            ))  # fmt: skip
        columns = (
            "round", "run", "place", "wall s", "user s", "system s", "peak RSS B", "uploaded B", "stored B", "in cache before",
            "load",
        )  # fmt: skip
        table = Table(columns, tuple(rows), caption=f"{s.case}: every measured run")
        found.append(Details(f"{names[s.key]}: {words.many(len(s.runs), 'sample')}", (table,), anchor=anchor(s), printed=False))
    return found


def unmeasured(folder: Folder, records: Sequence[Record], names: dict[tuple[str, str, str], str]) -> Table | None:
    rows = tuple(
        (names[r.subject, r.mode, r.cache], r.phase, "" if r.outcome is None else str(r.outcome["reference"]),
         Cell(words.seconds(r.seconds), _run_title(r), target=folder.sample(r)))
        for r in records
        if r.phase in ("reference", "warm-up")
    )  # fmt: skip
    columns = ("mode", "phase (not in the statistics)", "reference", "seconds")
    return Table(columns, rows, texts=3) if rows else None


def checked(records: Sequence[Record]) -> Paragraph:
    bad = [r for r in records if r.problems]
    if bad:
        return Paragraph(f"**{len(bad)} of {len(records)} runs with problems**, see below.")
    in_order = sorted(records, key=lambda r: order(r.subject, r.mode))
    restored = list(dict.fromkeys(r.label for r in in_order if r.restored))
    proven = list(dict.fromkeys(r.label for r in in_order if r.phase == "proof"))
    text = f"Checked: the mode did its work in all {len(records)} runs; restored and compared, equal: "
    text += ", ".join(restored) or "none"
    text += f"; file by file against the oracle: {', '.join(proven)}." if proven else "."
    placed = (r for r in records if r.host["tree_filesystem"])
    left_out = {(r.settings.get("not_compared"), r.host["tree_filesystem"].split()[0]) for r in placed}
    for fields, place in sorted((fields, place) for fields, place in left_out if fields):
        text += f" Not compared: {fields}, which archives do not store from {place}."
    return Paragraph(text)
