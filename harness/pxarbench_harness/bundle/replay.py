"""Does again what a bundle says was done, on this machine, and compares every integer (ci/replay).

A session is run with one round and a warm cache: integers depend on neither. Of what a gate wrote, the gates are run again.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import datasets, locate, measure, mutate, run
from .. import session as sessions
from ..gates import verdict as verdicts
from ..gates.verdict import Finding, Level, Verdict, VerdictBroken
from ..record import Record, RecordBroken
from ..session.journal import FINISHED, read_plan
from ..state import StateChanged
from ..tree import Tree
from . import again as agains
from . import judge, make, program
from .again import Again, NotTrusted
from .archive import BundleBroken, BundleFailed
from .judge import Standing
from .make import FOLDER
from .manifest import Manifest

GATES_TIMEOUT = 3600.0
VERDICT, OF_GATES = "verdict.json", "replay.json"
#: What ran when no case could: the trees were looked at.
DATASETS = "datasets"
#: Whose numbers are exact everywhere. Of instructions: for one processor and one set of libraries.
EXACT_GATES = ("checks", "encodings", "counters")


@dataclass(frozen=True)
class Where:
    binary: Path
    folder: Path  # the unpacked bundle
    output: Path | None  # None: below results/runs
    work: Path  # folders for stores are made in it
    cache: Path | None = None  # of datasets; None: the usual one
    builds: Mapping[str, Path] | None = None
    trusted: bool = False


def forget(output: Path) -> None:
    """Removes what an earlier replay concluded there: it must not be taken for this one's. Verdicts of anything else stay."""
    of_gates = (output / OF_GATES).exists()
    for path in (output / OF_GATES, output / VERDICT):
        try:
            if of_gates or verdicts.read(path).kind == "replay":
                path.unlink(missing_ok=True)
        except (OSError, VerdictBroken):
            pass


class ReplayFailed(Exception):
    """It could not be done again; the text says why."""


FAILURES = (
    ReplayFailed, BundleBroken, BundleFailed, NotTrusted, program.BuildFailed, sessions.SessionFailed, datasets.DatasetFailed,
    measure.ToolMissing, mutate.AlteredByOthers, mutate.MutationFailed, run.CommandFailed, StateChanged, RecordBroken,
    VerdictBroken, OSError, ValueError,
)  # fmt: skip


# ---- a session ----


def of_session(manifest: Manifest, where: Where, say: Callable[[str], None]) -> tuple[Verdict, Path]:
    """The verdict, and the folder of the new session, which holds it too. Any of FAILURES."""
    assert manifest.plan is not None
    recorded = make.records_of(manifest, where.folder)
    made, unlike = agains.recipes(manifest, trusted=where.trusted)
    grounds = {}
    for key, recipe in made.items():
        if key not in unlike and recipe.name in manifest.datasets:
            with datasets.prepare(recipe, cache=where.cache, say=say) as dataset:
                kind = measure.filesystem(dataset.root).partition(" ")[0]
                there = manifest.datasets[recipe.name]
                grounds[key] = judge.ground(
                    recipe.name, there, dataset.tree.digest(), dataset.tree.portable_digest(), dataset.source, kind,
                    _attributes(dataset.tree, manifest, key),
                )  # fmt: skip
    other = {key: known.reason for key, known in grounds.items() if known.standing is Standing.OTHER} | unlike
    for reason in other.values():
        say(reason)
    draft = _again(manifest, made, where, where.folder / "none", frozenset(other))
    by_name = {made[key].name: known for key, known in grounds.items()}
    if not draft.plan.contenders or not (draft.plan.blocks or draft.plan.exhaustive):
        return _nothing(manifest, where, draft, by_name, other)
    output = where.output or _output(draft)
    output.mkdir(parents=True, exist_ok=True)
    there = read_plan(output)
    for left in sessions.abandoned(where.work):
        shutil.rmtree(left, ignore_errors=True)  # another one may be removing it as well
    done = replace(draft, plan=replace(draft.plan, output=output, work=sessions.work_folder(where.work, output)))
    running = sessions.Session(done.plan, say=say)
    try:
        running.run()
    except BaseException:
        running.discard()
        raise
    verdict = _verdict(manifest, where, done, running, recorded, by_name, other)
    if there is not None and there.get("state") == FINISHED:
        text = "nothing ran: the session in the folder for the output was finished before (another --output does it again)"
        verdict = replace(verdict, findings=(*verdict.findings, Finding("checks", "", "", Level.WARNING, text)))
    verdicts.write(output / VERDICT, verdict)
    return verdict, output


def _nothing(
    manifest: Manifest, where: Where, draft: Again, grounds: Mapping[str, judge.Ground], other: Mapping[str, str]
) -> tuple[Verdict, Path]:
    """Every dataset is another one here, or no subject is: all that was looked at are the trees."""
    output = where.output or sessions.new_output(locate.results())
    output.mkdir(parents=True, exist_ok=True)
    here_program = program.described(where.binary)
    said = "nothing can be done again here"
    verdict = Verdict(
        kind="replay", started=_now(), base=f"bundle {manifest.name}", head=here_program["version"],
        head_commit=program.harness_commit(), host_fingerprint="", executed=(DATASETS,),
        findings=(
            *judge.program(manifest.program, here_program), *_grounds(grounds.values(), other), *_left_out(draft),
            Finding("checks", "", "", Level.INCONCLUSIVE, said),
        ),
    )  # fmt: skip
    verdicts.write(output / VERDICT, verdict)
    return verdict, output


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _left_out(done: Again) -> list[Finding]:
    return [Finding("checks", "", "", Level.INCONCLUSIVE, f"not done again: {text}") for text in done.left_out]


def _attributes(now: Tree, manifest: Manifest, key: str) -> frozenset[str]:
    """Facets that only some file systems show to an archive, and that this tree has, or gets by a mutation of the plan."""
    assert manifest.plan is not None
    found: set[str] = set()
    if any(entry.xattrs for entry in now.entries.values()):
        found |= {"xattr", "acl", "fcaps"}
    if any(entry.project for entry in now.entries.values()):
        found.add("project")
    for block in manifest.plan["blocks"]:
        if block["recipe"] == key:
            for word in re.findall("[a-z][a-z-]*", block["mutation"]):
                operation = mutate.OPERATIONS.get(word)
                found |= operation.facets | operation.sometimes if operation else frozenset()
    return frozenset(found)


def _again(manifest: Manifest, made: Mapping[str, Any], where: Where, output: Path, unusable: frozenset[str]) -> Again:
    return agains.again(
        manifest, made, binary=where.binary, builds=where.builds or {}, folder=where.folder, output=output,
        work=where.work / "none", cache=where.cache, trusted=where.trusted, unusable=unusable,
    )  # fmt: skip


def _output(draft: Again) -> Path:
    """That of a replay of the same plan that was interrupted, or a new one."""
    for path in sessions.unfinished(locate.results() / "runs", draft.plan.digest()):
        return path
    return sessions.new_output(locate.results())


def _verdict(
    manifest: Manifest, where: Where, done: Again, running: sessions.Session, recorded: Sequence[Record],
    grounds: Mapping[str, judge.Ground], other: Mapping[str, str],
) -> Verdict:  # fmt: skip
    """`recorded`: records of the bundle."""
    assert manifest.plan is not None
    there = agains.renamed(recorded, done.names_there)
    here = agains.renamed(running.records, done.names_here)
    measured_there, measured_here = ({r.case for r in records if r.phase == "measured"} for records in (there, here))
    excuses = _excuses(running, done)
    doubts = {r.case: known.reason for r in there if (known := grounds.get(r.dataset["name"])) and known.reason}
    doubts = judge.moot(there, here) | doubts
    executed = sorted(measured_here)
    same_harness = manifest.commit != "" and "+" not in manifest.commit and manifest.commit == measure.commit()
    here_program = program.described(where.binary)
    findings = [
        *judge.program(manifest.program, here_program),
        *_grounds(grounds.values(), other),
        *_left_out(done),
        *judge.left_out({
            r.case: "the bundle's plan does not ask for it"
            for r in recorded if r.case not in done.asked and r.phase in ("measured", "proof")
        }),
        *judge.left_out({case: why for case, why in excuses.items() if case in measured_there}),
        *judge.operation_logs(
            _logs(where.folder / FOLDER), _logs(running.plan.output), same_harness=same_harness, wanted=done.logs
        ),
        *judge.problems(there, here),
        *judge.lines(there, here, doubts, measured_there & measured_here),
    ]
    if not measured_there and not manifest.plan["exhaustive"]:
        findings.append(Finding("checks", "", "", Level.ERROR, "the bundle has no result of anything that was done again"))
    if not executed and measured_there <= excuses.keys():
        executed = [DATASETS]
    if manifest.plan["during"]:
        text = "files that change while they are read depend on moments: not done again"
        findings.append(Finding("checks", "during", "", Level.INCONCLUSIVE, text))
    if manifest.plan["exhaustive"]:
        tables = [_table(folder / "exhaustive.json") for folder in (where.folder / FOLDER, running.plan.output)]
        findings += judge.rows("checks", "exhaustive", tables[0], tables[1], "length")
        executed = sorted([*executed, "exhaustive"])
    host = running.records[-1] if running.records else None
    return Verdict(
        kind="replay", started=_now(), base=f"bundle {manifest.name}",
        head=here_program["version"], head_commit=program.harness_commit(),
        host_fingerprint=host.host_fingerprint if host else "", host=dict(host.host) if host else {},
        findings=tuple(findings), executed=tuple(executed),
        required=tuple(sorted(case for case in measured_there if case not in excuses)),
        settings={
            "seed": manifest.plan["seed"], "rounds": 1, "program": here_program.get("sha256", ""),
            "bundle_commit": manifest.commit,
        },
    )  # fmt: skip


def _excuses(running: sessions.Session, done: Again) -> dict[str, str]:
    """Cases that the session could not make here: case -> why."""
    found = {done.names_here[case]: why for case, why in running.inconclusive.items() if case in done.names_here}
    for block in done.plan.blocks:
        why = running.unavailable.get(block.name)
        for subject, mode in done.plan.contenders if why else ():
            case = sessions.case_id(block.recipe.name, block.chain, subject, mode, agains.CACHE)
            found[done.names_here[case]] = str(why)
    return found


def _grounds(grounds: Any, other: Mapping[str, str]) -> list[Finding]:
    found = []
    for known in grounds:
        if known.standing is Standing.SAME:
            found.append(Finding("checks", "", f"dataset {known.name}", Level.OK, "the same tree"))
        elif known.standing is Standing.ALIKE:
            found.append(Finding("checks", "", f"dataset {known.name}", Level.INCONCLUSIVE, known.reason))
    return found + [Finding("checks", "", "", Level.INCONCLUSIVE, reason) for reason in other.values()]


def _logs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("oplog-*.jsonl"))}


def _table(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReplayFailed(f"{path}: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ReplayFailed(f"{path}: holds no rows")
    return rows


# ---- what a gate wrote ----


def of_gate(manifest: Manifest, where: Where, say: Callable[[str], None]) -> tuple[Verdict, Path]:
    """Runs the gates again, and compares what both found out about the program, whatever the golden files say."""
    there = verdicts.read(where.folder / FOLDER / "verdict.json")
    gates = [gate for gate in manifest.gates if gate in ("encodings", "counters", "instructions")]
    if not gates:
        raise ReplayFailed("the verdict in the bundle is of no gate that can be run again")
    output = where.output or sessions.new_output(locate.results())
    output.mkdir(parents=True, exist_ok=True)
    (output / VERDICT).unlink(missing_ok=True)  # of an earlier job
    say(f"running the gates {', '.join(gates)}")
    words = [sys.executable, "-m", "pxarbench_harness.gates", *gates, "--binary", where.binary, "--output", output]
    done = run.run(words, env={"PYTHONPATH": str(locate.REPOSITORY / "harness")}, timeout=GATES_TIMEOUT)
    if not (output / VERDICT).exists():
        done.check_ok()
        raise ReplayFailed(f"the gates ended with exit {done.returncode} and wrote no verdict")
    here = verdicts.read(output / VERDICT)
    here_program = program.described(where.binary)
    verdict = Verdict(
        kind="replay", started=here.started, base=f"bundle {manifest.name}", head=here_program["version"],
        head_commit=program.harness_commit(), host_fingerprint=here.host_fingerprint, host=here.host,
        findings=(*judge.program(manifest.program, here_program), *judge.heads(there, here, EXACT_GATES)),
        executed=here.executed, required=there.executed,
        settings={"gates": gates, "program": here_program.get("sha256", "")},
    )  # fmt: skip
    verdicts.write(output / OF_GATES, verdict)
    return verdict, output
