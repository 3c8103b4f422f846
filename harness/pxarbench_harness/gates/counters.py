"""Golden counters: exact numbers of what each mode reads, keeps, wastes and stores, against results/golden/counters.csv.

Counted is what holds on every machine and file system. Left out therefore: times and memory; everything that hangs on owners
(checksums of metadata streams; of mode legacy, whose one stream holds the owners, its checksum and chunks) or on the release
of zstd (compressed sizes). The encodings gate has streams with fixed owners.

What the kernel counted (`rchar` of the command, less that of `pxarbench version`) holds a part that differs between machines:
the compressed metadata of the snapshot before, indexes, files of the kernel's; some 30 to 60 KiB here. So it is not golden to
the byte: `kernel_bytes_untold` is what is left of it when the bytes of files that the program tells of and READ_BESIDE are
taken away, 0 when nothing is. A second reading of a hundredth of a dataset shows. Below 0: the program tells of more than the
kernel saw it read, so it reads in a way that is not counted (mapped files, io_uring), and a second reading would not show.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .. import datasets, locate, measure, mutate
from .. import session as sessions
from ..record import Record
from ..run import CommandFailed, run_counted
from ..state import StateChanged
from . import cases, golden
from .cases import Group
from .golden import VERSION, Case, Golden, NotBlessed, Numbers, Value
from .verdict import Finding, Level

NAME = "counters"
CHECKS = "checks"
GOLDEN = locate.results() / "golden" / "counters.csv"

#: Bytes beside files that a backup may read: the metadata, indexes and manifest of the snapshot before.
READ_BESIDE = 128 << 10
UNTOLD = "kernel_bytes_untold"
#: Hang on extended attributes: not compared where every new file gets some (SELinux labels, a default ACL).
WITH_ATTRIBUTES = frozenset({"metadata_bytes", "stream_bytes"})

_STOPS = (
    sessions.SessionFailed, datasets.DatasetFailed, measure.ToolMissing, mutate.AlteredByOthers, mutate.MutationFailed,
    CommandFailed, StateChanged, OSError, ValueError,
)  # fmt: skip


@dataclass
class Measured:
    """What the sessions gave. `findings`: of checks and trouble; numbers are not judged yet."""

    numbers: dict[Case, dict[str, Value]] = field(default_factory=dict)
    ids: dict[Case, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    unseen: dict[str, str] = field(default_factory=dict)  # counters that cannot be told here -> why


# ---- numbers of one record ----


def _permille(part: int, whole: int) -> int | None:
    return None if whole <= 0 else part * 1000 // whole


def numbers(measured: Record, proof: Record | None, startup: int | None) -> dict[str, Value]:
    """Of one case. `startup`: bytes that the program reads to say its version; None: what the kernel counts is left out."""
    outcome = measured.outcome
    assert outcome is not None
    (archive,) = outcome["raw"]["archives"]
    payload: Mapping[str, Any] | None = archive["payload"]
    necessary = measured.necessary_bytes
    found: dict[str, Value | None] = {
        "reused": outcome["reused_files"],
        "reencoded": outcome["reencoded_files"],
        "changed": outcome["changed_files"],
        "collateral": outcome["collateral_files"],
        "bytes_read": outcome["file_bytes_read"],
        "warnings": outcome["warnings"],
        "read_amplification_permille": _permille(outcome["file_bytes_read"], necessary),
    }
    if payload is None:
        found["stream_bytes"] = archive["stream"]["size"]
        found["catalog_bytes"] = outcome["raw"]["catalog"]["size"]
    else:
        restored = outcome["restore"]
        found |= {
            "injected": outcome["injected_chunks"],
            "injected_bytes": outcome["injected_bytes"],
            "padding": outcome["padding_bytes"],
            "partial_chunks": outcome["partial_chunks"],
            "dead_chunks": outcome["unreferenced_chunks"],
            "rejected_ranges": archive["rejected_ranges"],
            "index_entries": payload["chunks"],
            "new_chunks": payload["new_chunks"],
            "uploaded_raw": payload["new_bytes"],
            "payload_bytes": payload["size"],
            "payload_checksum": payload["csum"],
            "metadata_bytes": archive["metadata"]["size"],
            "upload_amplification_permille": _permille(payload["new_bytes"], necessary),
        }
        if restored:
            found["restore_chunks"] = restored["fetched_chunks"]
            found["restore_amplification_permille"] = _permille(restored["fetched_bytes"], restored["file_bytes"])
    if proof is not None and proof.verdict is not None:
        found["missed"] = proof.verdict["missed"]
        found["read_needlessly"] = proof.verdict.get("needless")
    found |= _on_the_wire(outcome)
    # What comes from a server is read as well.
    if startup is not None and "rchar" in measured.io and not outcome["network"]:
        beside = measured.io["rchar"] - startup - outcome["file_bytes_read"]
        found[UNTOLD] = beside if beside < 0 else max(0, beside - READ_BESIDE)
    return {name: value for name, value in found.items() if value is not None}


#: Heard on the line, and equal on every machine: the metadata stream, which holds owners, is cut elsewhere for others.
_CALLS = (
    "connections", "calls", "refused", "unanswered", "index_downloads", "index_downloads_again", "file_downloads_again",
    "uploads_known", "uploads_again", "payload_uploads", "payload_upload_bytes", "payload_entries", "chunks_again",
    "payload_chunks", "metadata_chunks_left", "chunks_not_listed", "not_understood",
)  # fmt: skip
#: Of these, what a restore does.
_CALLS_OF_RESTORES = (
    "connections", "calls", "refused", "unanswered", "index_downloads", "index_downloads_again", "file_downloads_again",
    "chunks_again", "payload_chunks", "metadata_chunks_left", "chunks_not_listed", "not_understood",
)  # fmt: skip


def _on_the_wire(outcome: Mapping[str, Any]) -> dict[str, Value]:
    """Of a run through a server on whose line somebody listened."""
    calls = outcome.get("calls") or {}
    if not calls:
        return {}
    found: dict[str, Value] = {f"wire_{name}": calls[name] for name in _CALLS}
    (archive,) = outcome["raw"]["archives"]
    streams = [archive[name] for name in ("metadata", "payload") if archive[name]]
    # Told as a difference: how many chunks the metadata stream has depends on the machine.
    found["wire_uploads_untold"] = calls["uploads"] - sum(s["new_chunks"] + s["duplicate_chunks"] for s in streams)
    restored = outcome["restore"]
    if restored:
        found |= {f"restore_wire_{name}": restored[f"wire_{name}"] for name in _CALLS_OF_RESTORES}
    return found


# ---- sessions ----


def _startup(binary: Path) -> int | None:
    """Libraries and settings: what every command reads before it does anything."""
    counts = []
    for _ in range(3):  # the first may find less in memory, which is not what is counted, and yet: the least of three
        result, usage = run_counted([binary, "version"], timeout=60)
        result.check_ok()
        counts.append(usage.io.get("rchar"))
    known = [count for count in counts if count is not None]
    return min(known, default=None)


def _own_attributes(work: Path) -> list[str]:
    """Names of the extended attributes that a new file gets without being asked."""
    probe = work / "probe"
    probe.write_bytes(b"")
    try:
        return sorted(os.listxattr(probe))
    except OSError:
        return []
    finally:
        probe.unlink()


def _of_session(made: sessions.Session, group: Group, startup: int | None, into: Measured) -> None:
    plan, recipe = made.plan, group.recipe
    by_case: dict[str, dict[str, Record]] = {}
    for record in made.records:
        # Of a block whose own runs failed there is no number, but there are sentences.
        for problem in record.problems:
            into.findings.append(Finding(CHECKS, record.case, record.phase, Level.REGRESSION, problem))
        if record.phase in ("measured", "proof"):
            by_case.setdefault(record.case, {})[record.phase] = record
    for problem in made.other_problems:
        into.findings.append(Finding(CHECKS, recipe.name, "", Level.REGRESSION, problem))
    for name, why in [*made.missing.items(), *made.inconclusive.items(), *made.unavailable.items()]:
        into.findings.append(Finding(NAME, name, "", Level.INCONCLUSIVE, f"has no numbers here: {why}"))
    for name, records in sorted(by_case.items()):
        measured = records.get("measured")
        if measured is None or measured.outcome is None or not measured.restored or name in made.inconclusive:
            continue
        case = (measured.dataset["name"], measured.mutation["text"], measured.mode)
        into.ids[case] = name
        into.numbers[case] = {
            VERSION: cases.version(recipe.digest, measured, plan.settings),
            **numbers(measured, records.get("proof"), startup),
        }
        into.executed.append(name)
        if not any(f.gate == CHECKS and f.case == name for f in into.findings):
            text = "restored and compared, decisions and archive as they must be"
            into.findings.append(Finding(CHECKS, name, "", Level.OK, text))


def measure_all(
    binary: Path, work: Path, groups: Sequence[Group] = cases.GROUPS, say: Callable[[str], None] = lambda _: None
) -> Measured:
    """Runs the sessions, one dataset after the other. Trouble of one does not stop the others: it is a finding."""
    into = Measured()
    startup = _startup(binary)
    if startup is None:
        into.unseen[UNTOLD] = "the kernel does not count what programs read here"
    own = _own_attributes(work)
    if own:
        why = f"new files get attributes of their own here ({golden.few(own)}); another place for it: --work, e.g. on tmpfs"
        into.unseen.update(dict.fromkeys(WITH_ATTRIBUTES, why))
    for group in groups:
        plan = cases.plan(group, binary, work)
        made = sessions.Session(plan, say=lambda text: None)
        name = group.recipe.name
        say(f"  {name}: {len(plan.blocks)} mutations, {len(plan.contenders)} modes")
        try:
            made.run()
        except _STOPS as error:
            failed = any(record.outcome is None for record in made.records)
            # A program that fails did wrong; anything else is trouble of this tool.
            level, gate = (Level.REGRESSION, CHECKS) if failed else (Level.ERROR, NAME)
            into.findings.append(Finding(gate, name, "", level, f"the session ended: {error}"))
        _of_session(made, group, startup, into)
    return into


# ---- judgement ----


def _says(name: str, old: Value | None, new: Value | None) -> str:
    def shown(value: Value | None) -> str:
        return "not there" if value is None else f"{value:,}" if isinstance(value, int) else value

    said = f"was {shown(old)}, is {shown(new)}"
    if isinstance(old, int) and isinstance(new, int):
        said += f" ({golden.change(name, old, new).removeprefix(name.replace('_', ' ')).strip()})"
    return said


def _unit(name: str) -> str:
    if name.endswith(golden.CHECKSUM):
        return "sha256"
    return "bytes" if name.endswith(golden.SIZES) and not name.endswith("_permille") else ""


def judge_case(
    case_id: str, old: Numbers, new: Numbers, unseen: Mapping[str, str], lines: Mapping[str, int] | None = None
) -> list[Finding]:
    """Every number equal, or a regression until it is blessed. `lines`: of the golden file, by counter."""
    at = lines or {}
    if old[VERSION] != new[VERSION]:
        text = (
            f"the benchmark itself is another one (version {old[VERSION]} is golden, this is {new[VERSION]}): "
            "not compared; --bless when that is meant"
        )
        both = old[VERSION], new[VERSION]
        return [Finding(NAME, case_id, VERSION, Level.INCONCLUSIVE, text, *both, line=at.get(VERSION))]
    found: list[Finding] = []
    told = False
    for name in sorted((old.keys() | new.keys()) - {VERSION} - unseen.keys()):
        a, b = old.get(name), new.get(name)
        if a == b and type(a) is type(b):
            found.append(Finding(NAME, case_id, name, Level.OK, "as before", a, b, _unit(name), line=at.get(name)))
            continue
        # The whole of the case in one line, once.
        details = () if told else (", ".join(golden.changes(old, new)),)
        told = True
        # What is new has no line; the case's first one is near it.
        line = at.get(name, at.get(VERSION))
        found.append(Finding(NAME, case_id, name, Level.REGRESSION, _says(name, a, b), a, b, _unit(name), details, line=line))
    return found


def judge(before: Golden, measured: Measured, required: Collection[str] = ()) -> list[Finding]:
    """`required`: cases that were blessed, so that golden numbers of them must be there."""
    found = []
    lines: dict[Case, dict[str, int]] = {}
    for (case, counter), number in before.lines.items():
        lines.setdefault(case, {})[counter] = number
    for case, now in sorted(measured.numbers.items()):
        name = measured.ids[case]
        if case in before.cases:
            found += judge_case(name, before.cases[case], now, measured.unseen, lines.get(case))
        elif name in required:
            found.append(Finding(NAME, name, "", Level.ERROR, "is required, and its golden numbers are gone"))
        else:
            found.append(Finding(NAME, name, "", Level.INCONCLUSIVE, "has no golden numbers yet: --bless makes them"))
    for counter, why in sorted(measured.unseen.items()):
        found.append(Finding(NAME, "", counter, Level.INCONCLUSIVE, f"not compared: {why}"))
    return found


def absent(before: Golden, measured: Measured, groups: Sequence[Group]) -> list[Finding]:
    """Golden cases that did not run: one that is no more is taken out by blessing. Of some groups only: theirs."""
    named = {case: name for group in groups for case, name in cases.ids(group).items()}
    expected = before.cases.keys() if set(groups) >= set(cases.GROUPS) else before.cases.keys() & named.keys()
    return [
        Finding(NAME, named.get(case, golden.in_words(case)), "", Level.ERROR, "has golden numbers, and did not run")
        for case in sorted(expected) if case not in measured.numbers
    ]  # fmt: skip


# ---- the gate ----


class Ran(NamedTuple):
    findings: list[Finding]
    executed: list[str]  # cases that have numbers
    versions: dict[str, str]  # of these


def run(
    binary: Path, work: Path, *, path: Path = GOLDEN, groups: Sequence[Group] = cases.GROUPS,
    only: Collection[str] = (), required: Collection[str] = (), say: Callable[[str], None] = lambda _: None,
) -> Ran:  # fmt: skip
    """`only`: these cases, and what runs with them. `required`: cases that must have golden numbers.
    GoldenBroken, OSError, CommandFailed, ValueError: it cannot begin."""
    before = golden.read(path)
    if only:
        groups = cases.only(only, groups)
    measured = measure_all(binary, work, groups, say)
    every = [*measured.findings, *judge(before, measured, required), *absent(before, measured, groups)]
    versions = {measured.ids[case]: str(now[VERSION]) for case, now in measured.numbers.items()}
    return Ran(every, sorted(measured.executed), versions)


def bless(
    binary: Path, work: Path, reason: str, *, path: Path = GOLDEN, groups: Sequence[Group] = cases.GROUPS,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[str], list[str]]:  # fmt: skip
    """Makes the numbers of this program golden. What differs in sentences, and the cases. NotBlessed: something was wrong, or
    cannot be told here; numbers of a program that fails its checks are not worth keeping."""
    golden.history_line(reason)  # refused before minutes are spent
    measured = measure_all(binary, work, groups, say)
    bad = [f for f in measured.findings if f.level is not Level.OK]
    if bad:
        first = bad[0]
        raise NotBlessed(f"{len(bad)} problems, the first: {first.case}: {first.text}; golden numbers stay as they are")
    if measured.unseen:
        raise NotBlessed("; ".join(sorted(set(measured.unseen.values()))))
    left_out = sorted(set(cases.case_ids(groups)) - set(measured.executed))
    if left_out:
        raise NotBlessed(f"{len(left_out)} cases gave no numbers: {golden.few(left_out)}")
    untold = [measured.ids[case] for case, now in sorted(measured.numbers.items()) if now.get(UNTOLD)]
    if untold:
        raise NotBlessed(
            f"{golden.few(untold)}: the kernel counted other bytes read than the program tells of: no number for every machine"
        )
    return golden.blessed(path, measured.numbers, reason), sorted(measured.executed)


def case_ids() -> list[str]:
    """All that it would run."""
    return cases.case_ids()
