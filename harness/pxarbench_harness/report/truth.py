"""The truth table: what each way of detecting changes sees of each kind of change, from proof runs; and the scenarios."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..record import Record
from . import words
from .cases import order
from .folder import Folder
from .model import Block as Part
from .model import Cell, Details, Heading, Paragraph, Table, Tone
from .surface import Names, _kind
from .words import UNKNOWN

#: bench/spec's list of scenarios, in a few words.
SCENARIOS: Mapping[str, str] = {
    "S0": "nothing changes",
    "S1": "other mtimes only",
    "S2": "files written anew",
    "S3": "files grow at their end",
    "S4": "files deleted",
    "S5": "new files between old ones",
    "S6": "directories renamed",
    "S7": "attributes only",
    "S8": "other contents, size and mtime as before",
    "S9": "other size, mtime as before",
    "S10": "names of files with several added and removed",
    "S11": "identical files, some deleted",
    "S12": "files that end at the ends of chunks",
    "S13": "a previous snapshot that is of no use",
    "S14": "limits of the cache",
    "S15": "generations of random changes",
}

_COUNTED = (
    "changed", "detected", "missed", "expected_missed", "reread", "needless", "expected_needless", "collateral",
)  # fmt: skip


def reads_everything(subject: str, mode: str) -> bool:
    """Modes that read all there is detect by contents, and read the unchanged by design."""
    from ..subjects import SUBJECTS

    known = SUBJECTS.get(subject.partition("@")[0])
    return known is not None and mode in known.reading_modes


#: A case in one generation.
Key = tuple[str, int]


def judged(runs: Sequence[Record], problems: Sequence[str] = (), restored: Collection[Key] | None = None) -> Cell:
    """Of all proof runs of one mode with one kind of change. `problems`: what the checks found in these and in the measured
    runs beside them. `restored`: cases whose snapshot came back and was compared; None: not known."""
    failed = [r for r in runs if r.outcome is None]
    total: Counter[str] = Counter()
    unexpected_miss = unexpected_hit = false = 0
    for r in runs:
        v: Mapping[str, int] = r.verdict or {}
        total.update({name: v.get(name, 0) for name in _COUNTED})
        unexpected_miss += max(0, v.get("missed", 0) - v.get("expected_missed", 0))
        unexpected_hit += max(0, v.get("expected_missed", 0) - v.get("missed", 0))
        if not reads_everything(r.subject, r.mode):
            false += max(0, v.get("needless", 0) - v.get("expected_needless", 0))
    title = f"{words.many(len(runs), 'run')}: " + ", ".join(f"{name.replace('_', ' ')} {total[name]:,}" for name in _COUNTED)
    if failed:
        return Cell(f"✗ error ({len(failed)} of {len(runs)})", title, tone=Tone.BAD)
    if unexpected_miss:
        return Cell(f"✗ missed {unexpected_miss:,} of {total['changed']:,}", title, tone=Tone.BAD)
    if unexpected_hit:
        # Strict, as an expected failure that does not fail: the expectation is wrong, or the run did something else.
        return Cell(f"✗ detected, a miss was expected ({unexpected_hit:,})", title, tone=Tone.BAD)
    if false:
        return Cell(f"✗ false re-read ({false:,})", title, tone=Tone.BAD)
    if problems:
        # A file that came back damaged or not at all counts as detected: nobody brought back its old contents.
        return Cell(f"✗ {words.many(len(problems), 'problem')}", f"{title}; first: {problems[0]}", tone=Tone.BAD)
    # Without a restore the counts are what the program told, or merely what was foretold.
    unproven = restored is not None and any((r.case, r.generation) not in restored for r in runs)
    untold = ", not restored" if unproven else ""
    if total["missed"]:
        rest = f", detected {total['detected']:,}" if total["detected"] else ""
        return Cell(f"○ missed (expected){rest}{untold}", title, tone=Tone.NOTED)
    if total["changed"]:
        return Cell(f"✓ detected{untold}", title, tone=Tone.NOTED if unproven else Tone.GOOD)
    if total["needless"] and not all(reads_everything(r.subject, r.mode) for r in runs):
        return Cell("· re-read (expected)", title, tone=Tone.NOTED)
    return Cell("✓ nothing changed", title, tone=Tone.GOOD)


def judged_runs(records: Iterable[Record]) -> list[Record]:
    """Those that say what was noticed, and those that failed where they should have said it. Programs that do not tell what they
    read are judged by what the last measured run stored."""
    return [r for r in records if r.verdict is not None or (r.phase in ("proof", "measured") and r.outcome is None)]


def _operation(record: Record) -> str:
    """Of the last step; what a chain did before is its history."""
    text = record.mutation["text"].rpartition(">")[2].partition("*")[0]
    return _kind(text)[0]


def _skipped(folder: Folder) -> dict[tuple[str, str], str]:
    """(operation, "subject mode" or "") -> why it was not run, from the plan."""
    found = {}
    for name, reason in unavailable(folder).items():
        text = name.partition(", ")[2]
        found[_kind(text.rpartition(">")[2].partition("*")[0])[0], ""] = reason
    return found


def unavailable(folder: Folder) -> dict[str, str]:
    """"dataset, mutation" of blocks that could not be made -> why."""
    listed = folder.plan.get("skipped")
    return {str(name): str(reason) for name, reason in listed.items()} if isinstance(listed, dict) else {}


def sections(folder: Folder, names: Names) -> list[Part]:
    proofs = judged_runs(folder.records)
    if not proofs:
        return []
    columns = sorted({(r.subject, r.mode) for r in proofs}, key=lambda k: order(*k))
    cells: dict[tuple[str, tuple[str, str]], list[Record]] = {}
    operations: dict[str, None] = {}
    for r in proofs:
        operations.setdefault(_operation(r))
        cells.setdefault((_operation(r), (r.subject, r.mode)), []).append(r)
    problems: dict[tuple[str, tuple[str, str]], list[str]] = {}
    for r in folder.records:
        if r.phase != "discarded":
            problems.setdefault((_operation(r), (r.subject, r.mode)), []).extend(r.problems)
    restored = {(r.case, r.generation) for r in folder.records if r.restored}
    skipped = _skipped(folder)
    for operation, _ in skipped:
        operations.setdefault(operation)
    rows = []
    counts = []
    for operation in operations:
        row: list[str | Cell] = [Cell(operation, _described(operation))]
        for column in columns:
            runs = cells.get((operation, column))
            reason = skipped.get((operation, ""), "")
            if runs:
                row.append(judged(runs, problems.get((operation, column), ()), restored))
                counts.append((operation, _label(*column), str(len(runs)), *(_count(runs, name) for name in _COUNTED)))
            else:
                row.append(Cell("skipped" if reason else UNKNOWN, reason or "not measured"))
        rows.append(tuple(row))
    bad = sum(1 for row in rows for c in row if isinstance(c, Cell) and c.tone is Tone.BAD)
    expected = sum(1 for row in rows for c in row if isinstance(c, Cell) and c.text.startswith("○"))
    text = (
        "What each mode noticed of each kind of change, file by file, as decided and as restored. "
        f"{words.many(expected, 'cell')} with expected misses (contents changed in a way that the mode cannot see, as foretold); "
    )
    text += f"**{words.many(bad, 'cell')} that should not be so**, in bold." if bad else "nothing that was not expected."
    behind = Table(("change", "mode", "runs", *(n.replace("_", " ") for n in _COUNTED)), tuple(counts), texts=2, merged=1)
    reasons = tuple((operation, reason) for (operation, _), reason in skipped.items())
    parts: list[Part] = [
        Heading("Truth table"),
        Paragraph(text),
        Table(("change", *(_label(*c) for c in columns)), tuple(rows), texts=1 + len(columns)),
    ]
    if reasons:
        parts.append(Table(("change that could not be made here", "why"), reasons, texts=2))
    return [*parts, Details("The counts behind it, of files", (behind,))]


def _label(subject: str, mode: str) -> str:
    return mode if subject == "pxarbench" else f"{subject} {mode}"


def _count(runs: Sequence[Record], name: str) -> str:
    return f"{sum((r.verdict or {}).get(name, 0) for r in runs):,}"


def _described(operation: str) -> str:
    """The operation's own sentence, where there is one."""
    try:
        from ..mutate import OPERATIONS  # type: ignore[attr-defined]
    except ImportError:
        return ""
    known: Any = OPERATIONS.get(operation.partition(":")[0])
    return str(getattr(known, "text", "")) if known is not None else ""


# ---- scenarios ----


def scenario_sections(folder: Folder, names: Names) -> list[Part]:
    found: dict[str, list[Record]] = {}
    for r in folder.records:
        if r.scenario:
            found.setdefault(r.scenario, []).append(r)
    if not found:
        return []
    columns = sorted({(r.subject, r.mode) for runs in found.values() for r in runs}, key=lambda k: order(*k))
    rows = []
    titles = _titles(folder)
    for scenario in sorted(found, key=_scenario_order):
        mutations = list(dict.fromkeys(r.mutation["text"] for r in found[scenario] if r.phase in ("measured", "proof")))
        row: list[str | Cell] = [
            scenario, Cell(titles.get(scenario) or SCENARIOS.get(scenario, ""), "; ".join(mutations[:12])), _few(mutations),
        ]  # fmt: skip
        for column in columns:
            row.append(_expectation([r for r in found[scenario] if (r.subject, r.mode) == column]))
        rows.append(tuple(row))
    heads = ("id", "scenario", "changes", *(_label(*c) for c in columns))
    return [
        Heading("Scenarios"),
        Paragraph(
            "Whether what was expected of each scenario held in every run. A miss that was expected is no violation, and is named."
        ),
        Table(heads, tuple(rows), texts=len(heads)),
    ]


def _titles(folder: Folder) -> dict[str, str]:
    """As the plan calls the scenarios; those with several blocks have the first one's title, so ours is better."""
    listed = folder.plan.get("blocks")
    found: dict[str, set[str]] = {}
    for block in listed if isinstance(listed, list) else ():
        if isinstance(block, dict) and isinstance(block.get("scenario"), str) and isinstance(block.get("title"), str):
            found.setdefault(block["scenario"], set()).add(block["title"])
    return {scenario: next(iter(texts)) for scenario, texts in found.items() if len(texts) == 1}


def _few(texts: Sequence[str]) -> str:
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def _scenario_order(name: str) -> tuple[int, str]:
    digits = name.lstrip("S").partition("-")[0]
    return (int(digits) if digits.isascii() and digits.isdecimal() else 999, name)


def _expectation(runs: Sequence[Record]) -> Cell:
    if not runs:
        return Cell(UNKNOWN, "not measured")
    problems = [p for r in runs for p in r.problems]
    restored = sum(r.restored for r in runs)
    measured = sum(r.phase == "measured" for r in runs)
    title = f"{measured} measured runs, {restored} restored and compared"
    verdict = judged(judged_runs(runs))
    if problems:
        return Cell(f"✗ violated ({len(problems)})", f"{title}; first: {problems[0]}", tone=Tone.BAD)
    if verdict.tone is Tone.BAD:
        return Cell(verdict.text, f"{title}; {verdict.title}", tone=Tone.BAD)
    if verdict.text.startswith("○"):
        return Cell("✓ holds, missed as expected", f"{title}; {verdict.title}", tone=Tone.NOTED)
    return Cell("✓ holds", title, tone=Tone.GOOD)
