"""The machine, what the doctor found, runs that do not count, sessions taken up again."""

from __future__ import annotations

from typing import Any

from ..record import Record
from . import words
from .folder import Folder
from .model import Block as Part
from .model import Bullets, Cell, Details, Heading, Table, Tone
from .surface import Names

#: Cases that are named at the top; more are counted.
_NAMED_MAX = 6


def head(folder: Folder) -> tuple[str, ...]:
    first = folder.records[0]
    host = first.host
    lines = [
        f"session {first.session}, {first.started}, commit {first.commit}, seed {first.seed}",
        f"{host['cpu']}, {host['cores']} cores, {host['memory_bytes'] / 2**30:.1f} GiB; {host['distribution']}, "
        f"kernel {host['kernel']}; host {first.host_fingerprint}",
        f"tree on {host['tree_filesystem']}, store on {host['store_filesystem']}",
        *(f"{tool}: {version}" for tool, version in host["tools"].items()),
    ]
    return tuple(lines)


def overview(folder: Folder) -> tuple[str, ...]:
    """What a reader should know first."""
    records = folder.records
    phases = {p: sum(r.phase == p for r in records) for p in ("reference", "warm-up", "measured", "proof", "discarded")}
    lines = [
        f"{words.many(len(records), 'run')}: {phases['measured']} measured, {phases['warm-up']} warm-ups, "
        f"{words.many(phases['reference'], 'first backup')}, {phases['proof']} with every decision written down"
        + (f", {phases['discarded']} discarded" if phases["discarded"] else "")
        + f"; {sum(r.restored for r in records)} snapshots restored and compared."
    ]
    bad = [r for r in records if r.problems]
    lines.append(f"**{words.many(len(bad), 'run')} with problems**, listed under Problems." if bad else "No check found a problem.")
    lines += _never_restored(folder.records)
    if folder.plan.get("state") not in (None, "finished"):
        lines.append("**The session is not finished**: this is what there is so far.")
    hosts = {r.host_fingerprint for r in records}
    if len(hosts) > 1:
        lines.append(f"**Runs come from {len(hosts)} machines** ({', '.join(sorted(hosts))}): their times must not be compared.")
    attempts = max(r.attempt for r in records)
    if attempts > 1:
        lines.append(f"Taken up again {words.many(attempts - 1, 'time')} after an interruption, see Circumstances.")
    return (*lines, *folder.notes)


def _never_restored(records: tuple[Record, ...]) -> list[str]:
    """A backup that nobody has brought back is a promise; the reader should not take it for a result."""
    measured = dict.fromkeys(r.case for r in records if r.phase == "measured")
    restored = {r.case for r in records if r.restored}
    missing = [case for case in measured if case not in restored]
    if not missing:
        return []
    named = f": {', '.join(missing)}" if len(missing) <= _NAMED_MAX else ""
    return [f"**{len(missing)} of {words.many(len(measured), 'case')} never restored**{named}."]


def _attempts(records: tuple[Record, ...]) -> list[str]:
    if max(r.attempt for r in records) < 2:
        return []
    lines = []
    for attempt in sorted({r.attempt for r in records}):
        runs = [r for r in records if r.attempt == attempt]
        what = "first start" if attempt == 1 else "taken up again"
        count = words.many(len(runs), "run")
        lines.append(f"{what}: runs {runs[0].sequence} to {runs[-1].sequence}, from {runs[0].started} on ({count})")
    return lines


def _discarded(folder: Folder, names: Names) -> Table | None:
    rows = tuple(
        (r.dataset["name"], r.mutation["text"], names[r.subject, r.mode, r.cache],
         Cell(str(r.sequence), target=folder.sample(r)), words.seconds(r.seconds),
         words.percent(r.resident), "; ".join(r.problems) or _unfit(r))
        for r in folder.records if r.phase == "discarded"
    )  # fmt: skip
    columns = ("dataset", "change", "mode", "run", "seconds", "in cache before", "why")
    caption = "Measured, but not what they should have been; in no statistic."
    return Table(columns, rows, texts=3, caption=caption) if rows else None


def _unfit(run: Record) -> str:
    return f"{run.cache}, but {words.percent(run.resident)} in the cache" if run.resident else ""


_VERDICTS = {"ok": Tone.GOOD, "warn": Tone.NOTED}
_MARKS = {"ok": "✓ ok", "warn": "! warn", "unknown": "? unknown"}


def _doctor(found: Any) -> Table | None:
    """Findings of doctor.json, warnings first; what is not one is left out."""
    listed = found.get("findings") if isinstance(found, dict) else None
    findings = [f for f in listed if isinstance(f, dict)] if isinstance(listed, list) else []
    findings.sort(key=lambda f: f.get("verdict") != "warn")
    rows = []
    for finding in findings:
        name, value, verdict, advice = (str(finding.get(key) or "") for key in ("name", "value", "verdict", "advice"))
        rows.append((name, value, Cell(_MARKS.get(verdict, verdict), tone=_VERDICTS.get(verdict, Tone.PLAIN)), advice))
    return Table(("what", "found", "verdict", "advice"), tuple(rows), texts=4) if rows else None


def sections(folder: Folder, names: Names) -> list[Part]:
    parts: list[Part] = [Heading("Circumstances"), Bullets(head(folder))]
    attempts = _attempts(folder.records)
    if attempts:
        parts += [Heading("Interruptions", 3), Bullets(tuple(attempts))]
    discarded = _discarded(folder, names)
    if discarded is not None:
        parts += [Heading("Discarded runs", 3), discarded]
    doctor = _doctor(folder.doctor) if folder.doctor is not None else None
    if doctor is not None:
        parts += [Heading("What the doctor found", 3), doctor]
    left_out = folder.plan.get("left_out")
    if isinstance(left_out, list) and left_out:
        parts.append(Details(f"Left out by the budget: {words.many(len(left_out), 'case')}", (Bullets(tuple(map(str, left_out))),)))
    argv = folder.plan.get("argv")
    if isinstance(argv, list) and argv:
        parts.append(Bullets((f"command: {' '.join(map(str, argv))}",)))
    commands = {(r.subject, r.mode): " ".join(r.command) for r in folder.records if r.phase == "measured"}
    if commands:
        lines = tuple(f"{subject} {mode}: {command}" for (subject, mode), command in sorted(commands.items()))
        parts.append(Details("Commands that were timed, the last of each mode", (Bullets(lines),)))
    return parts
