"""From the records of a session, and what lies beside them in its folder, to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..record import Record
from . import circumstances, costs, folder as folders, network, surface, times, tools, truth, words
from .cases import Block as Together
from .surface import Names
from .cases import Series, blocks, datasets, find, labels, ratio, series
from .folder import Folder
from .model import Block, Bullets, Details, Heading, Paragraph, Report, Table
from .words import PERCENT

__all__ = [
    "Block", "Bullets", "Heading", "Paragraph", "Report", "Series", "Table", "build", "find", "of_folder", "ratio", "series",
]  # fmt: skip

GUIDE = (
    "Median of whole commands, started by hyperfine, of all measured runs; in brackets the bootstrap interval that holds it "
    f"with {PERCENT} % confidence where runs are many. It never reaches beyond the fastest and the slowest run, and only with 50 % "
    "(n = 2), 75 % (3), 88 % (4), 94 % (5) does the true median lie between these. None for a single run. n: measured runs; their "
    "numbers are links to what hyperfine wrote.",
    "Ratio to data: median time divided by that of mode data; 0.125 means eight times as fast. Intervals of two rows that "
    "overlap widely mean that this session cannot tell them apart.",
    "user+sys: processor time of all threads, median; above the median time when several work at once. Peak RSS: the greatest "
    "of all runs, by the kernel's count (floor: some 10 MiB of the timer itself). read calls, write calls: bytes through system "
    "calls; from disk, to disk: bytes of block devices.",
    "reused: unchanged files, taken over as references into old chunks. re-encoded: files whose bytes were read. collateral: the "
    "re-encoded ones that had not changed, because their range's padding was above the threshold.",
    "read: bytes of file contents read from the tree. read / necessary: divided by the bytes of files whose contents changed, "
    "without which nobody can store the tree. new: bytes of chunks that were not known. uploaded: the same after compression, "
    "metadata and payload stream together. stored: bytes that the store's files grew by.",
    "padding: bytes of old chunks that are carried along although no file of the new snapshot uses them, and their share of the "
    "payload stream. partly referenced: injected chunks with such bytes. not referenced: injected chunks of only such bytes.",
    "Reference runs and warm-ups are listed, but not in any statistic. Each measured run starts from the same stored state.",
    "Times compare within this session only: same machine, same data, interleaved rounds.",
)

#: Above this many changes of a dataset, the tables of each change are folded away.
_FEW = 3


def _change(folder: Folder, block: Together, names: Names, seed: int) -> list[Block]:
    """Tables of one change."""
    parts: list[Block] = []
    group = block.group
    if group:
        parts += [times.effort(group, names, seed), times.work(group, names)]
        parts += [t for t in (times.padding(group, names), times.against(group, seed)) if t is not None]
        parts.append(times.samples(folder, group, names))
        parts += times.sample_details(folder, block, names)
    listed = times.unmeasured(folder, block.records, names)
    if listed is not None:
        parts.append(listed)
    parts.append(times.checked(block.records))
    return parts


def _dataset(folder: Folder, name: str, found: Sequence[Together], names: Names, seed: int) -> list[Block]:
    """The headline of one dataset; of few changes also their tables."""
    tree = found[0].records[0].dataset
    size = f"{tree['files']:,} files, {tree['bytes'] / words.MIB:,.1f} MiB"
    parts: list[Block] = [Heading(name), Paragraph(f"{size}; {tree['source']}.")]
    measured = [block for block in found if block.group]
    if measured:
        glance = times.at_a_glance(measured, names, seed)
        table = times.headline(folder, measured, names, seed)
        if glance is None:
            parts.append(table)
        else:
            parts += [glance, Details(f"All numbers of {words.many(len(measured), 'change')}", (table,))]
    if len(found) <= _FEW:
        for block in found:
            parts += [Heading(_title(block), 3), *_change(folder, block, names, seed)]
    return parts


def _title(block: Together) -> str:
    title = f"{block.dataset}, {block.name}"
    run = block.measured
    if run is not None and run.mutation["files"]:
        title += f"; changed: {run.mutation['files']:,} files, {run.mutation['bytes'] / words.MIB:,.2f} MiB"
    return title


def _every_change(
    folder: Folder, sets: Mapping[str, list[Together]], names: Names, seed: int
) -> list[Block]:
    """Tables of each change of the datasets with many, folded away."""
    parts: list[Block] = []
    for name, found in sets.items():
        if len(found) <= _FEW:
            continue
        parts.append(Heading(name, 3))
        proofs = []
        for block in found:
            if block.group or any(r.phase != "proof" for r in block.records):
                parts.append(Details(_title(block), tuple(_change(folder, block, names, seed)), printed=False))
            else:
                proofs.append(block)
        if proofs:
            lines = tuple(f"{block.name}: {times.checked(block.records).text}" for block in proofs)
            parts.append(Details(f"{words.many(len(proofs), 'change')} that only proofs were made of", (Bullets(lines),)))
    return [Heading("Each change"), *parts] if parts else []


def of_folder(folder: Folder, *, seed: int = 1, skipped: Mapping[str, str] | None = None) -> Report:
    title = Heading("pxarbench: change detection modes", 1)
    records = folder.records
    if not records:
        return Report((title, Paragraph("No runs."), *([Bullets(folder.notes)] if folder.notes else [])))
    names = labels(records)
    found = blocks(records)
    sets = datasets(found)
    parts: list[Block] = [title, Bullets(circumstances.overview(folder))]
    for name, reason in _skipped(folder, skipped).items():
        parts.append(Paragraph(f"**Skipped: {name}**: {reason}."))
    for name, reason in truth.unavailable(folder).items():
        parts.append(Paragraph(f"**Could not be made here: {name}**: {reason}."))
    problems = [
        f"{r.case}, {r.phase}{f' {r.round}' if r.round else ''}: {p}" for r in records for p in r.problems if r.phase != "discarded"
    ]  # fmt: skip
    if problems:
        parts += [Heading("Problems"), Bullets(tuple(problems))]
    for name, together in sets.items():
        parts += _dataset(folder, name, together, names, seed)
    parts += truth.scenario_sections(folder, names)
    parts += surface.sections(folder, found, names, seed)
    parts += truth.sections(folder, names)
    parts += costs.why_sections(found, names)
    parts += costs.generation_sections(found, names)
    parts += costs.restore_sections(found, names)
    parts += costs.cache_sections(found, names, seed)
    parts += network.sections(found, names)
    parts += tools.sections(folder, sets, names)
    parts += tools.during_sections(folder)
    parts += costs.roofline_sections(folder, found, names, seed)
    parts += costs.syscall_sections(folder, names)
    parts += _every_change(folder, sets, names, seed)
    parts += circumstances.sections(folder, names)
    parts += [Heading("How to read it"), Bullets(GUIDE)]
    return Report(tuple(parts), title=f"pxarbench: {records[0].session}")


def _skipped(folder: Folder, skipped: Mapping[str, str] | None) -> dict[str, str]:
    found = dict(skipped or {})
    listed = folder.plan.get("missing")
    if isinstance(listed, dict):
        found = {**{str(k): str(v) for k, v in listed.items()}, **found}
    return found


def build(records: Sequence[Record], *, seed: int = 1, skipped: Mapping[str, str] | None = None) -> Report:
    """`records` of one session, without its folder: no links to raw samples, nothing that only the folder has."""
    return of_folder(folders.of_records(records), seed=seed, skipped=skipped)
