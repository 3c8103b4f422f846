"""From a session's records, a verdict, or both, to the line that is remembered. Pure."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import integers, stats
from ..gates.verdict import GATES, Finding, Level, Verdict
from ..record import Record
from .line import KINDS, NOTES_MAX, TEXT_MAX, Case, Measured, Run, to_json

#: Raise it when the way in which a session's values are obtained changes, so that older ones are not compared.
CASE_VERSION = 1

#: Of a record: what differs from run to run.
MEASURED = ("wall_ns", "user_ns", "system_ns", "peak_rss_bytes")
#: Exact beside integers.COUNTERS. What is uploaded is compressed: another version of the library may change it, but on one
#: machine it is exact. The store's size is not: file names in it hold times.
EXACT = (*integers.COUNTERS, "uploaded_bytes", "listed_chunks")
#: Gates of ci/compare whose cases are its own.
_OF_COMPARISONS = ("time", "memory", "bytes")
#: What of a host is equal in whatever is measured there.
_HOST = ("cpu", "cores", "memory_bytes", "kernel", "distribution", "hypervisor")
#: The subject whose values are exact. Others draw keys or limits by chance.
OURS = integers.EXACT_SUBJECT


class NothingToRemember(Exception):
    """There is neither a case nor a verdict in it."""


def _hash(value: Any, length: int) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:length]


# ---- the machine ----


def machine(host: Mapping[str, Any]) -> str:
    """Fingerprint of what must be equal before two times may be compared: the host, hyperfine, compiler and flags.

    Record.host_fingerprint will not do: the program under test is part of it, which differs from commit to commit.
    """
    tools = {name: text for name, text in host.get("tools", {}).items() if _decides(name)}
    return _hash({**{k: v for k, v in host.items() if k != "tools"}, "tools": tools}, 12)


def _decides(tool: str) -> bool:
    """Programs other than ours have their versions in the case's version."""
    subject, _, property_ = tool.partition(" ")
    return tool == "hyperfine" or (subject == OURS and property_ in ("compiler", "flags", "preset"))


def machine_text(host: Mapping[str, Any]) -> str:
    memory = host.get("memory_bytes")
    words = [
        str(host.get("cpu", "")),
        f"{host['cores']} cores" if "cores" in host else "",
        f"{memory / 2**30:.1f} GiB" if isinstance(memory, int) else "",
        str(host.get("kernel", "")),
        str(host.get("store_filesystem", "")),
        str(host.get("tools", {}).get(f"{OURS} compiler", "")),
    ]
    return ", ".join(word for word in words if word)[:TEXT_MAX]


# ---- records ----


def version(run: Record) -> str:
    """Of the benchmark that this record belongs to: the tree, the change, the mode and its settings. Not of the program."""
    facets = {name: count for name, count in run.mutation["facets"].items() if name not in ("inode", "ctime")}
    settings = {name: text for name, text in run.settings.items() if name != "discarded"}
    subject = run.subject.partition("@")[0]  # of which build is no matter
    others = {name: text for name, text in run.host.get("tools", {}).items() if name.partition(" ")[0] == subject}
    return _hash(
        {
            "version": CASE_VERSION,
            "dataset": {name: run.dataset[name] for name in ("name", "files", "bytes", "entries", "tree_digest")},
            "mutation": {**{k: run.mutation[k] for k in ("text", "files", "bytes", "gone")}, "facets": facets},
            "mode": [subject, run.mode, run.cache, run.generation],
            "settings": settings,
            "tools": {} if subject == OURS else others,
        },
        12,
    )


def _measured(values: Sequence[int]) -> Measured:
    found = stats.summary([float(v) for v in values])
    low, high = (found.interval.low, found.interval.high) if found.interval else (None, None)
    return Measured(statistics.median(values), low, high, len(values))


def _case(runs: Sequence[Record]) -> Case | str:
    """Of the measured runs of one case and generation; a reason when they are not to be trusted."""
    first = runs[0]
    problems = [problem for run in runs for problem in run.problems]
    failed = [run for run in runs if run.exit_code != 0 or run.outcome is None]
    if problems or failed:
        return f"{first.case}: " + (problems[0] if problems else f"failed with exit code {failed[0].exit_code}")
    versions = {version(run) for run in runs}
    if len(versions) > 1:
        return f"{first.case}: its runs are not of one benchmark"
    exact: dict[str, int] = {}
    digests: dict[str, str] = {}
    if first.subject.partition("@")[0] == OURS:
        for name in EXACT:
            seen = {run.outcome.get(name) for run in runs if run.outcome is not None}
            if len(seen) > 1:
                return f"{first.case}: {name} differs between repetitions"
            value = seen.pop()
            if value is not None:
                exact[name] = value
        for name in sorted({name for run in runs for name in (run.outcome or {})["checksums"]}):
            found = {(run.outcome or {})["checksums"].get(name) for run in runs}
            if len(found) > 1 or None in found:
                return f"{first.case}: checksum {name} differs between repetitions"
            digests[name] = str(found.pop())
    generation = f"-g{first.generation}" if first.generation else ""
    what = {"dataset": first.dataset["name"], "mutation": first.mutation["text"], "subject": first.subject,
            "mode": first.mode, "cache": first.cache}  # fmt: skip
    return Case(
        first.case + generation, "session", versions.pop(), what, exact, digests, {},
        {name: _measured([getattr(run, name) for run in runs]) for name in MEASURED},
    )  # fmt: skip


def _cases(records: Iterable[Record]) -> tuple[list[Case], list[str]]:
    groups: dict[tuple[str, int], list[Record]] = {}
    broken: dict[str, str] = {}
    for run in records:
        if "@" in run.subject:
            continue  # another build, beside the commit's own
        if run.problems or (run.exit_code and run.phase in ("proof", "measured")):
            said = run.problems[0] if run.problems else f"failed with exit code {run.exit_code}"
            broken.setdefault(run.case, f"{run.case}: {said}")
        if run.phase == "measured":
            groups.setdefault((run.case, run.generation), []).append(run)
    found, left_out = [], list(broken.values())
    for (case, _), runs in sorted(groups.items()):
        if case in broken:
            continue
        made = _case(runs)
        if isinstance(made, Case):
            found.append(made)
        else:
            left_out.append(made)
    return found, left_out


# ---- verdicts ----


def _values(finding: Finding) -> dict[str, dict[str, Any]]:
    """What a finding adds to its case: by kind of value."""
    name, head = value_name(finding), finding.head
    if isinstance(head, str):
        return {"digests": {name: head}}
    if head is None or isinstance(head, bool) or head < 0:
        return {}
    if finding.gate in ("time", "memory"):
        low, high = finding.low, finding.high
        base = finding.base if isinstance(finding.base, (int, float)) else None
        ends = (None, None) if low is None or high is None or not base else (base * (1 + low), base * (1 + high))
        return {"measured": {name: Measured(float(head), *ends, finding.rounds or 1)}}
    if head != int(head):
        return {}
    # Of bytes two builds' runs are compared, with some slack; of the others every digit.
    return {"counted" if finding.gate in ("instructions", "bytes") else "exact": {name: int(head)}}


def value_name(finding: Finding) -> str:
    """With its unit, as in records: "wall_ns"."""
    name = finding.name or finding.gate
    end = {"ns": "_ns", "bytes": "_bytes"}.get(finding.unit, "") if finding.gate in ("time", "memory") else ""
    return name if name.endswith(end) else name + end


def _trusted(finding: Finding) -> bool:
    """A time that could not be told from noise is none; an exact number is one, whatever it was compared with."""
    if finding.gate in ("checks", "required") or finding.level is Level.ERROR:
        return False
    return finding.level is not Level.INCONCLUSIVE or finding.gate not in ("time", "memory")


def _of_findings(verdict: Verdict) -> tuple[list[Case], list[str]]:
    versions = verdict.settings.get("versions", {})
    versions = dict(versions) if isinstance(versions, Mapping) else {}
    if verdict.kind == "compare":
        one = _hash([verdict.settings.get(name) for name in ("cases", "files", "bytes")], 12)
        versions = {f.case: one for f in verdict.findings if f.gate in _OF_COMPARISONS} | versions
    versions |= {f.case: f.head for f in verdict.findings if f.name == "version" and f.head is not None}
    # What a check of the result refused is worth nothing, whatever its counters say.
    refused = {f.case: f"{f.case}: {f.text}" for f in verdict.findings if f.gate == "checks" and f.level.is_bad and f.case}
    groups: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    left_out = [*refused.values(), *(f"{case}: is required, and did not run" for case in verdict.missing)]
    for finding in verdict.findings:
        if finding.case in refused or finding.gate in ("checks", "required") or finding.name == "version":
            continue
        if not _trusted(finding):
            left_out.append(f"{finding.case}: {finding.gate}: {finding.text}")
            continue
        case = groups.setdefault((finding.case, finding.gate), {})
        for kind, values in _values(finding).items():
            case.setdefault(kind, {}).update(values)
    found = [
        Case(case, gate, str(versions.get(case, ""))[:200], **values)
        for (case, gate), values in sorted(groups.items()) if values
    ]  # fmt: skip
    return found, left_out


# ---- both ----


def commit_of(text: str) -> tuple[str, bool]:
    """"0123abc+changes" and "0123abc+" -> its hexadecimal part, and whether there were changes; "unknown" -> ""."""
    name, plus, _ = text.partition("+")
    is_commit = 7 <= len(name) <= 64 and all(c in "0123456789abcdef" for c in name)
    return (name, bool(plus)) if is_commit else ("", bool(plus))


def of(
    records: Sequence[Record] = (), verdict: Verdict | None = None, *, committed: str = "", branch: str = "", note: str = "",
    commit: str = "",
) -> Run:  # fmt: skip
    """`commit`: instead of what the records or the verdict name. NothingToRemember; ValueError: they do not belong together."""
    if not records and verdict is None:
        raise NothingToRemember("neither records nor a verdict")
    named = {r.commit for r in records} | ({verdict.head_commit} if verdict else set())
    hosts = {machine(r.host) for r in records}
    if len(hosts) > 1:
        raise ValueError("the records are of different machines")
    both = [records[0].host, verdict.host] if records and verdict else []
    if any(len({str(host[name]) for host in both if name in host}) > 1 for name in _HOST):
        raise ValueError("the records are of another machine than the verdict")
    commits = {commit_of(name) for name in named} - {("", False)}
    is_changed = any(changed for _, changed in commits)
    if commit:
        commits = {commit_of(commit)}
        if ("", False) in commits or ("", True) in commits:
            raise ValueError(f"--commit {commit}: is no commit in hexadecimal digits")
    # Of two abbreviations of one commit the longer one.
    chosen = max(commits, key=lambda c: (len(c[0]), c[1]), default=("", False))
    if any(not chosen[0].startswith(name) for name, _ in commits):
        raise ValueError(f"they are of different commits: {', '.join(sorted(n for n, _ in commits))}")
    cases, left_out = _cases(records)
    more, why = _of_findings(verdict) if verdict else ([], [])
    if not cases and not more and not left_out and not why and verdict is None:
        raise NothingToRemember("no measured run is among the records")
    host: Mapping[str, Any] = records[0].host if records else verdict.host if verdict else {}
    here = machine(host) if host.get("cpu") else verdict.host_fingerprint[:200] if verdict else ""
    if not here:
        why += [f"{c.case}: {c.source}: which machine it was is not known" for c in more if c.counted or c.measured]
        more = [replace(c, counted={}, measured={}) for c in more if c.exact or c.digests]
    started = min([r.started for r in records] + ([verdict.started] if verdict else []))
    dropped = list(dict.fromkeys(text[:TEXT_MAX] for text in left_out + why))
    if len(dropped) > NOTES_MAX:
        dropped = [*dropped[: NOTES_MAX - 1], f"and {len(dropped) - NOTES_MAX + 1} more"]
    run = Run(
        id="0" * 16,
        kind="session" if records else verdict.kind if verdict and verdict.kind in KINDS else "gate",
        started=started.replace("+00:00", "Z"),
        commit=chosen[0],
        is_changed=is_changed or any(changed for _, changed in commits),
        committed=committed,
        branch=branch,
        machine=here,
        machine_text=machine_text(host),
        cases=tuple(sorted([*cases, *more], key=lambda c: (c.source, c.case, c.version))),
        gates=_levels(verdict) if verdict else {},
        exit_code=None if verdict is None else verdict.exit_code(),
        left_out=tuple(dropped),
        note=note,
    )
    return _named(run)


def _levels(verdict: Verdict) -> dict[str, str]:
    return {gate: level.value for gate in GATES if (level := verdict.level_of(gate)) is not None}


def _named(run: Run) -> Run:
    """With the hash of what it says, notes and branch left out, as its id."""
    plain = replace(run, id="0" * 16, branch="", note="", committed="")
    return replace(run, id=hashlib.sha256(to_json(plain).encode()).hexdigest()[:16])


def with_commit(run: Run, commit: str, committed: str) -> Run:
    """The commit in full, and its time. The id stays: it does not depend on who knows more about the commit."""
    return replace(run, commit=commit, committed=committed)
