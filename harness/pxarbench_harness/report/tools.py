"""Programs beside each other: what they cost, what they can, and why the settings are fair; and files that change meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..record import Record
from . import words
from .cases import Block, Series, order
from .folder import Folder
from .model import Block as Part
from .model import Bullets, Cell, Heading, Paragraph, Table, Tone
from .surface import Names
from .times import anchor, middle
from .words import PERCENT, UNKNOWN

#: Changes that are a column of their own; more would not fit side by side, the others are in the tables of their dataset.
_MOST_CHANGES = 3


def _first(records: Sequence[Record], key: tuple[str, str, str]) -> Record | None:
    firsts = (r for r in records if r.phase == "reference" and r.outcome is not None)
    return next((r for r in firsts if (r.subject, r.mode, r.cache) == key), None)


def _pair(s: Series | None) -> tuple[str | Cell, str | Cell]:
    if s is None:
        return UNKNOWN, UNKNOWN
    summary = s.summary
    added = middle([r.store_added_bytes for r in s.runs])
    return Cell(words.ranged(summary.median, summary.interval, 3), f"n = {summary.n}", target=f"#{anchor(s)}"), words.size(added)


def _comparison(dataset: str, blocks: Sequence[Block], records: Sequence[Record], names: Names) -> Table | None:
    own = [r for r in records if r.dataset["name"] == dataset]
    keys = [k for k in names if any((r.subject, r.mode, r.cache) == k for r in own)]
    if len({k[0].partition("@")[0] for k in keys}) < 2 and len({k[0] for k in keys}) < 2:
        return None
    single = [b for b in blocks if not b.generation]
    changes = [b for b in single if b.mutation != "none"]
    # Those that most programs were measured with, in order of the session; a change that only one saw compares nothing.
    several = [b for b in changes if len({s.subject for s in b.group}) > 1]
    chosen = sorted(several, key=lambda b: -len(b.group))[:_MOST_CHANGES]
    chosen = [b for b in single if b.mutation == "none"][:1] + [b for b in changes if b in chosen]
    rows = []
    for key in keys:
        first = _first(own, key)
        row: list[str | Cell] = [names[key]]
        counts = {len(s.runs) for b in chosen for s in b.group if s.key == key}
        row.append("–" if not counts else str(min(counts)) if len(counts) == 1 else f"{min(counts)}..{max(counts)}")
        row.append(UNKNOWN if first is None else Cell(words.seconds(first.seconds), f"n = 1, run {first.sequence} of the session"))
        row.append(UNKNOWN if first is None else words.size(first.store_bytes))
        for block in chosen:
            row += _pair(next((s for s in block.group if s.key == key), None))
        rows.append(tuple(row))
    heads = ["program and mode", "n", "first s (n = 1)", "store then"]
    for block in chosen:
        name = "unchanged" if block.mutation == "none" else block.mutation
        heads += [f"{name} s ({PERCENT} %)", "added"]
    return Table(tuple(heads), tuple(rows))


def _classes(records: Sequence[Record]) -> dict[str, Any]:
    from ..subjects import SUBJECTS

    names = sorted({r.subject.partition("@")[0] for r in records}, key=lambda n: order(n, "data"))
    return {name: SUBJECTS[name] for name in names if name in SUBJECTS}


def sections(folder: Folder, sets: dict[str, list[Block]], names: Names) -> list[Part]:
    records = folder.records
    parts: list[Part] = []
    for dataset, blocks in sets.items():
        table = _comparison(dataset, blocks, records, names)
        if table is not None:
            parts += [Heading(dataset, 3), table]
    if not parts:
        return []
    classes = _classes(records)
    parts.insert(0, Heading("Programs beside each other"))
    parts.insert(1, Paragraph(
        "The first backup is one run. The others: medians with their intervals, and what the store grew by. Restored and compared: "
        "see each dataset."
    ))
    rows = []
    for row in dict.fromkeys(name for kind in classes.values() for name in getattr(kind, "capabilities", {})):
        rows.append((row, *(kind.capabilities.get(row, UNKNOWN) for kind in classes.values())))
    if rows:
        parts += [Heading("What they can", 3), Table(("", *classes), tuple(rows), texts=1 + len(classes))]
    modes = [
        (mode if name == "pxarbench" else f"{name} {mode}", text)
        for name, kind in classes.items() for mode, text in getattr(kind, "mode_texts", {}).items()
        if any(r.subject.partition("@")[0] == name and r.mode == mode for r in records)
    ]  # fmt: skip
    if modes:
        parts += [Heading("Modes", 3), Table(("mode", "what it does"), tuple(modes), texts=2)]
    fair = [f"**{name}**: {' '.join(kind.fair)}" for name, kind in classes.items() if getattr(kind, "fair", ())]
    if fair:
        parts += [Heading("Settings, and why they are fair", 3), Bullets(tuple(fair))]
    return parts


# ---- files that change while they are read ----


def _happened(row: dict[str, Any]) -> Cell:
    verdict = str(row.get("verdict", ""))
    sentence = str(row.get("sentence", "") or row.get("why_not", ""))
    if verdict in ("not reached", "skipped"):
        return Cell(UNKNOWN, f"{verdict}: {row.get('why_not') or sentence}")
    text = str(row.get("stored", "")) or UNKNOWN
    if row.get("exit_code") not in (0, None):
        text += f", exit {row['exit_code']}"
    if row.get("warnings"):
        text += ", said"
    if row.get("next_run") not in ("as it is now", "", None):
        text += ", next run does not repair"
    return Cell(f"✗ {text}" if verdict == "problem" else text, sentence, tone=Tone.BAD if verdict == "problem" else Tone.PLAIN)


def during_sections(folder: Folder) -> list[Part]:
    found = folder.during
    listed = found.get("rows") if isinstance(found, dict) else found
    if not isinstance(listed, list):
        return []
    rows = [row for row in listed if isinstance(row, dict) and {"operation", "place", "subject", "mode"} <= row.keys()]
    if not rows:
        return []
    columns = sorted({(str(r["subject"]), str(r["mode"])) for r in rows}, key=lambda k: order(*k))
    cells = {(str(r["operation"]), str(r["place"]), str(r["subject"]), str(r["mode"])): r for r in rows}
    texts = found.get("texts", {}) if isinstance(found, dict) else {}
    texts = texts if isinstance(texts, dict) else {}
    shown = []
    for operation, place in dict.fromkeys((str(r["operation"]), str(r["place"])) for r in rows):
        line: list[str | Cell] = [Cell(operation, str(texts.get(operation, ""))), place]
        for column in columns:
            row = cells.get((operation, place, *column))
            line.append(UNKNOWN if row is None else _happened(row))
        shown.append(tuple(line))
    heads = ("change", "moment", *(m if s == "pxarbench" else f"{s} {m}" for s, m in columns))
    parts: list[Part] = [
        Heading("Files that change while they are read"),
        Paragraph(
            "What is stored of a file that changes at a known moment of the backup. said: the program named the file. One run each; "
            "the next run has to bring the file as it is then."
        ),
        Table(heads, tuple(shown), texts=len(heads), merged=1),
    ]
    skipped = found.get("skipped") if isinstance(found, dict) else None
    if isinstance(skipped, list) and skipped:
        parts.append(Bullets(tuple(f"skipped: {text}" for text in skipped)))
    return parts
