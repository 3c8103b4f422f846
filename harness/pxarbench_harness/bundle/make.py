"""From a finished session's folder, or what a gate wrote, to a bundle; and what a bundle holds, in words (ci/bundle)."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import integers, locate, record
from ..gates import verdict as verdicts
from ..gates.verdict import Verdict, VerdictBroken
from ..mutate import parse_chain
from ..record import Record, RecordBroken
from ..session.journal import FINISHED, SCHEMA as PLAN_SCHEMA
from .archive import BundleBroken, BundleFailed, is_path
from .manifest import Manifest

INTEGERS = "integers.csv"
#: Of a bundle: the folder, the golden files that a gate compared with, recorded changes that a mutation played back.
FOLDER, GOLDEN, TRACES = "folder", "golden", "traces"
#: What records.jsonl has again, and what is of no use to anybody else.
_LEFT_OUT = ("blocks", "lock")
_RAW = "raw"

#: Of plan.json; the schema of bundle.json says of which form they are.
_PLAN = (
    "digest", "suite", "blocks", "recipes", "contenders", "settings", "caches", "rounds", "warmups", "restore", "seed",
    "during", "exhaustive",
)  # fmt: skip
_BLOCK = ("dataset", "mutation", "scenario", "title", "recipe", "counts_syscalls")


@dataclass
class Collected:
    manifest: Manifest
    contents: dict[str, bytes | Path] = field(default_factory=dict)


def collect(folder: Path, *, raw: bool = False, but: Path | None = None) -> Collected:
    """Everything of `folder` that goes into a bundle, `but` one file: the bundle itself, of last time.

    BundleFailed says what it is not, or what is wrong with it.
    """
    if not folder.is_dir():
        raise BundleFailed(f"{folder}: no folder")
    contents: dict[str, bytes | Path] = {}
    notes: list[str] = []
    for path in _files(folder, raw, notes):
        if but is not None and path.absolute() == but.absolute():
            continue
        contents[f"{FOLDER}/{path.relative_to(folder).as_posix()}"] = path
    if (folder / "plan.json").exists():
        made = _of_session(folder, contents)
    elif (folder / "verdict.json").exists():
        made = _of_verdict(folder, contents)
    else:
        raise BundleFailed(f"{folder}: neither a session (plan.json, records.jsonl) nor what a gate wrote (verdict.json)")
    return Collected(Manifest(**{**made.__dict__, "notes": (*made.notes, *notes)}), contents)


def _files(folder: Path, raw: bool, notes: list[str]) -> Iterator[Path]:
    """Regular files, each under the folder itself: links lead to what no session wrote."""
    left_out = set(_LEFT_OUT) | (set() if raw else {_RAW})
    for place, folders, names in os.walk(folder):
        top = Path(place) == folder
        folders[:] = sorted(n for n in folders if not (top and n in left_out) and not (Path(place) / n).is_symlink())
        for name in sorted(names):
            path = Path(place) / name
            if (top and name in left_out) or name.endswith(".partial"):
                continue
            relative = path.relative_to(folder).as_posix()
            if not stat.S_ISREG(path.lstat().st_mode) or not is_path(f"{FOLDER}/{relative}"):
                notes.append(f"left out: {relative!r}: not a regular file with a plain name")
                continue
            yield path
    if not raw and (folder / _RAW).is_dir():
        notes.append("left out: raw/, what each run said and hyperfine's own files (--raw takes them)")


# ---- a session ----


def _of_session(folder: Path, contents: dict[str, bytes | Path]) -> Manifest:
    plan = _plan_of(folder)
    try:
        records = list(record.read(folder / "records.jsonl")) if (folder / "records.jsonl").exists() else []
    except (OSError, RecordBroken) as error:
        raise BundleFailed(str(error)) from None
    lines = integers.of(records)
    contents[INTEGERS] = _text_of(lines)
    if not records and not plan["exhaustive"]:
        raise BundleFailed(f"{folder}: nothing was measured that could be reproduced")
    contents_of_traces, traces, notes = _traces(plan)
    contents.update(contents_of_traces)
    ours = [r for r in records if r.subject == integers.EXACT_SUBJECT] or records
    tools = dict(ours[-1].host.get("tools", {})) if ours else {}
    program = {k.removeprefix("pxarbench").strip() or "version": v for k, v in tools.items() if k.split()[0] == "pxarbench"}
    return Manifest(
        kind="session", name=folder.absolute().name, started=str(plan["started"]), seed=int(plan["seed"]),
        commit=_commit(records), program=program, tools={k: v for k, v in tools.items() if k.split()[0] != "pxarbench"},
        hosts={r.host_fingerprint: dict(r.host) for r in records}, datasets=_pristine(records),
        plan={name: plan[name] for name in (*_PLAN, "missing", "skipped")}, traces=traces, gates=(), integers=len(lines),
        notes=notes,
    )  # fmt: skip


def _text_of(lines: Sequence[integers.Line]) -> bytes:
    return "".join(",".join(map(str, line)) + "\n" for line in lines).encode()


def records_of(manifest: Manifest, folder: Path) -> list[Record]:
    """Of an unpacked bundle of a session. BundleBroken: integers.csv, which people read, does not say what they say."""
    path = folder / FOLDER / "records.jsonl"
    try:
        records = list(record.read(path)) if path.exists() else []
        told = (folder / INTEGERS).read_bytes()
    except FileNotFoundError:
        raise BundleBroken(f"{INTEGERS} is missing") from None
    except RecordBroken as error:
        raise BundleBroken(str(error)) from None
    lines = integers.of(records)
    if told != _text_of(lines) or manifest.integers != len(lines):
        raise BundleBroken(f"{INTEGERS} does not hold the integers of {FOLDER}/records.jsonl")
    return records


def _plan_of(folder: Path) -> dict[str, Any]:
    try:
        plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleFailed(f"{folder / 'plan.json'}: {error}") from None
    if not isinstance(plan, dict) or plan.get("schema") != PLAN_SCHEMA:
        raise BundleFailed(f"{folder / 'plan.json'}: not a plan of schema {PLAN_SCHEMA}")
    if plan.get("state") != FINISHED:
        raise BundleFailed(f"{folder}: the session is not finished; the same command of ci/bench goes on with it")
    absent = [name for name in _PLAN if name not in plan]
    if absent:
        raise BundleFailed(
            f"{folder / 'plan.json'}: {', '.join(absent)} missing: the session was made before plans said what it takes to "
            "do them again"
        )
    try:
        blocks = [{name: block[name] for name in _BLOCK} for block in plan["blocks"]]
    except (KeyError, TypeError) as error:
        raise BundleFailed(f"{folder / 'plan.json'}: blocks: {error!r}") from None
    return {**plan, "blocks": blocks, "missing": plan.get("missing", {}), "skipped": plan.get("skipped", {})}


def _commit(records: Sequence[Record]) -> str:
    known = {r.commit for r in records} - {"unknown"}
    return known.pop() if len(known) == 1 else ""


def _pristine(records: Sequence[Record]) -> dict[str, dict[str, str]]:
    """The datasets as first backups found them."""
    found: dict[str, dict[str, str]] = {}
    for r in records:
        if r.phase == "reference":
            found[r.dataset["name"]] = {
                "tree_digest": r.dataset["tree_digest"], "portable_digest": r.dataset.get("portable_digest", ""),
                "source": r.dataset["source"],
                "filesystem": str(r.host.get("tree_filesystem", "")).partition(" ")[0],
            }  # fmt: skip
    return found


def _traces(plan: Mapping[str, Any]) -> tuple[dict[str, bytes | Path], dict[str, str], tuple[str, ...]]:
    """Files that `trace:FILE` plays back: contents, argument -> file of the bundle, what could not be had."""
    contents: dict[str, bytes | Path] = {}
    names: dict[str, str] = {}
    notes: list[str] = []
    for block in plan["blocks"]:
        try:
            steps = parse_chain(block["mutation"]).steps
        except ValueError as error:
            raise BundleFailed(f"plan.json: {error}") from None
        for step in steps:
            if step.operation != "trace" or step.argument in names:
                continue
            name = f"{TRACES}/{len(names) + 1:03d}.jsonl"
            try:
                contents[name] = Path(step.argument).read_bytes()
                names[step.argument] = name
            except OSError as error:
                notes.append(f"left out: the trace {step.argument}: {error.strerror}; its cases cannot be reproduced")
    return contents, names, tuple(notes)


# ---- what a gate wrote ----


def _of_verdict(folder: Path, contents: dict[str, bytes | Path]) -> Manifest:
    try:
        found: Verdict = verdicts.read(folder / "verdict.json")
    except (OSError, VerdictBroken) as error:
        raise BundleFailed(str(error)) from None
    golden = locate.results() / "golden"
    if found.kind == "gate":
        for path in sorted(golden.rglob("*")):
            name = f"{GOLDEN}/{path.relative_to(golden).as_posix()}"
            if path.is_file() and not path.is_symlink() and is_path(name):
                contents[name] = path
    seed = found.settings.get("seed")
    tools = found.host.get("tools", {})
    return Manifest(
        kind=found.kind, name=folder.absolute().name, started=found.started, seed=seed if type(seed) is int else None,
        commit=found.head_commit, program=_program(found), tools=_texts(tools),
        hosts={found.host_fingerprint: dict(found.host)} if found.host_fingerprint else {}, datasets={}, plan=None, traces={},
        gates=tuple(gate for gate in verdicts.GATES if found.level_of(gate) is not None and gate != "required"), integers=0,
    )  # fmt: skip


def _program(verdict: Verdict) -> dict[str, str]:
    """The side that was judged: in words that end with the beginning of its SHA-256."""
    match = re.search(r"\b([0-9a-f]{12,64})$", verdict.head)
    return {"build": verdict.head, **({"sha256": match[1]} if match else {})}


def _texts(values: object) -> dict[str, str]:
    if not isinstance(values, Mapping):
        return {}
    return {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}


# ---- what a bundle holds ----


def shown(manifest: Manifest, size: int) -> str:
    """In words, as they are in the bundle: not yet for a terminal. `size`: of the file."""
    unpacked = sum(file.size for file in manifest.files)
    program = manifest.program
    lines = [
        f"{manifest.kind} {manifest.name}, begun {manifest.started}",
        f"  {len(manifest.files):,} files, {unpacked:,} bytes in {size:,}",
        f"  commit   {manifest.commit or 'not known'}",
        f"  program  {program.get('version') or program.get('build', 'not known')}",
        f"  sha256   {program.get('sha256', 'not known')}",
    ]
    for fingerprint, host in manifest.hosts.items():
        words = ", ".join(str(host.get(name, "")) for name in ("cpu", "kernel", "distribution"))
        lines.append(f"  host     {fingerprint}: {words}")
    for name, about in manifest.datasets.items():
        lines.append(f"  dataset  {name}: {about['source']}, tree {about['tree_digest'][:12]}, on {about['filesystem']}")
    if manifest.plan is not None:
        plan = manifest.plan
        modes = ", ".join(f"{subject}:{mode}" for subject, mode in plan["contenders"])
        lines.append(f"  plan     {len(plan['blocks']):,} blocks, {plan['rounds']} rounds, seed {plan['seed']}; {modes}")
        lines.append(f"  integers {manifest.integers:,}")
    if manifest.gates:
        lines.append(f"  gates    {', '.join(manifest.gates)}")
    lines += [f"  note     {note}" for note in manifest.notes]
    return "\n".join(lines)
