"""Does again what a bundle says was done, on this machine, and compares every integer.

    ci/replay FILE.tar.zst [--binary FILE | --build] [--output FOLDER]

A session is run with one round and a warm cache: integers depend on neither. Of what a gate wrote, the gates are run again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import datasets, locate, measure, mutate, record, run
from .. import session as sessions
from ..gates import verdict as verdicts
from ..gates.verdict import EXIT_ERROR, Finding, Level, Verdict, VerdictBroken
from ..record import RecordBroken
from ..state import StateChanged
from . import again as agains
from . import judge, manifest as manifests, program
from .again import Again, NotTrusted
from .archive import BundleBroken, BundleFailed
from .judge import Standing
from .make import FOLDER
from .manifest import Manifest, digest_of
from .words import Parser, harmless

EXIT_INTERRUPTED = 130
GATES_TIMEOUT = 3600.0
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


class ReplayFailed(Exception):
    """It could not be done again; the text says why."""


_FAILURES = (
    ReplayFailed, BundleBroken, BundleFailed, NotTrusted, program.BuildFailed, sessions.SessionFailed, datasets.DatasetFailed,
    measure.ToolMissing, mutate.AlteredByOthers, mutate.MutationFailed, run.CommandFailed, StateChanged, RecordBroken,
    VerdictBroken, OSError, ValueError,
)  # fmt: skip


# ---- a session ----


def of_session(manifest: Manifest, where: Where, say: Callable[[str], None]) -> tuple[Verdict, Path]:
    """The verdict, and the folder of the new session, which holds it too. Any of _FAILURES."""
    assert manifest.plan is not None
    made, unlike = agains.recipes(manifest, trusted=where.trusted)
    grounds = {}
    for key, recipe in made.items():
        if key not in unlike and recipe.name in manifest.datasets:
            with datasets.prepare(recipe, cache=where.cache, say=say) as dataset:
                kind = measure.filesystem(dataset.root).partition(" ")[0]
                there = manifest.datasets[recipe.name]
                grounds[key] = judge.ground(
                    recipe.name, there, dataset.tree.digest(), dataset.tree.portable_digest(), kind,
                )  # fmt: skip
    other = {key: known.reason for key, known in grounds.items() if known.standing is Standing.OTHER} | unlike
    for reason in other.values():
        say(reason)
    draft = _again(manifest, made, where, where.folder / "none", frozenset(other))
    if not draft.plan.contenders or not (draft.plan.blocks or draft.plan.exhaustive):
        raise ReplayFailed("nothing can be done again here: " + "; ".join([*other.values(), *draft.left_out]))
    output = where.output or _output(draft)
    output.mkdir(parents=True, exist_ok=True)
    for left in sessions.abandoned(where.work):
        shutil.rmtree(left)
    done = replace(draft, plan=replace(draft.plan, output=output, work=sessions.work_folder(where.work, output)))
    running = sessions.Session(done.plan, say=say)
    try:
        running.run()
    except BaseException:
        running.discard()
        raise
    verdict = _verdict(manifest, where, done, running, {made[key].name: ground for key, ground in grounds.items()}, other)
    verdicts.write(output / "verdict.json", verdict)
    return verdict, output


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
    manifest: Manifest, where: Where, done: Again, running: sessions.Session, grounds: Mapping[str, judge.Ground],
    other: Mapping[str, str],
) -> Verdict:  # fmt: skip
    assert manifest.plan is not None
    recorded = where.folder / FOLDER / "records.jsonl"
    all_there = list(record.read(recorded)) if recorded.exists() else []
    there = agains.renamed(all_there, done.names_there)
    here = agains.renamed(running.records, done.names_here)
    measured_there, measured_here = ({r.case for r in records if r.phase == "measured"} for records in (there, here))
    excuses = _excuses(running, done)
    doubts = {r.case: known.reason for r in there if (known := grounds.get(r.dataset["name"])) and known.reason}
    doubts |= judge.moot(there, here)
    executed = sorted(measured_here)
    same_harness = manifest.commit != "" and "+" not in manifest.commit and manifest.commit == measure.commit()
    here_program = program.described(where.binary)
    findings = [
        *judge.program(manifest.program, here_program),
        *_grounds(grounds.values(), other),
        *(Finding("checks", "", "", Level.INCONCLUSIVE, f"not done again: {text}") for text in done.left_out),
        *judge.left_out({case: why for case, why in excuses.items() if case in measured_there}),
        *judge.operation_logs(_logs(where.folder / FOLDER), _logs(running.plan.output), same_harness=same_harness),
        *judge.problems(there, here),
        *judge.lines(there, here, doubts, measured_there & measured_here),
    ]
    if manifest.plan["during"]:
        findings.append(Finding(
            "checks", "during", "", Level.INCONCLUSIVE, "files that change while they are read depend on moments: not done again",
        ))  # fmt: skip
    if manifest.plan["exhaustive"]:
        tables = [_table(folder / "exhaustive.json") for folder in (where.folder / FOLDER, running.plan.output)]
        findings += judge.rows("checks", "exhaustive", tables[0], tables[1], "length")
        executed = sorted([*executed, "exhaustive"])
    host = running.records[-1] if running.records else None
    return Verdict(
        kind="replay", started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), base=f"bundle {manifest.name}",
        head=here_program["version"], head_commit=program.harness_commit(),
        host_fingerprint=host.host_fingerprint if host else "", host=dict(host.host) if host else {},
        findings=tuple(findings), executed=tuple(executed),
        required=tuple(sorted(case for case in measured_there if case not in excuses)),
        settings={
            "seed": manifest.plan["seed"], "rounds": 1, "program": here_program.get("sha256", ""), "bundle_commit": manifest.commit,
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
    say(f"running the gates {', '.join(gates)}")
    words = [sys.executable, "-m", "pxarbench_harness.gates", *gates, "--binary", where.binary, "--output", output]
    done = run.run(words, env={"PYTHONPATH": str(locate.REPOSITORY / "harness")}, timeout=GATES_TIMEOUT)
    if not (output / "verdict.json").exists():
        done.check_ok()
        raise ReplayFailed(f"the gates ended with exit {done.returncode} and wrote no verdict")
    here = verdicts.read(output / "verdict.json")
    here_program = program.described(where.binary)
    verdict = Verdict(
        kind="replay", started=here.started, base=f"bundle {manifest.name}", head=here_program["version"],
        head_commit=program.harness_commit(), host_fingerprint=here.host_fingerprint, host=here.host,
        findings=(*judge.program(manifest.program, here_program), *judge.heads(there, here, EXACT_GATES)),
        executed=here.executed, required=there.executed,
        settings={"gates": gates, "program": here_program.get("sha256", "")},
    )  # fmt: skip
    verdicts.write(output / "replay.json", verdict)
    return verdict, output


# ---- the command line ----


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise argparse.ArgumentTypeError("expected NAME=FILE")
    return name, Path(path).absolute()


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="ci/replay",
        description="Does again what a bundle of ci/bundle holds: prepares its datasets, runs its plan with one round (or its "
        "gates), and compares every integer with those recorded there.",
        epilog="examples:\n"
        "  ci/replay evidence.tar.zst                     with the program of this checkout\n"
        "  ci/replay evidence.tar.zst --build             with the program of the commit that made it\n"
        "  ci/replay evidence.tar.zst --binary build/dev/bin/pxarbench --output /tmp/again\n\n"
        "exit codes: 0 every integer is the same; 1 it could not be done again, or is no bundle; 2 some differ, or a check\n"
        "found a problem; 3 warnings, under --warnings-as-failures (another program is one); 4 inconclusive: a dataset is\n"
        "another one here, or a subject is missing; 130 interrupted: the same command goes on",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("bundle", type=Path, metavar="FILE.tar.zst")
    which = p.add_mutually_exclusive_group()
    which.add_argument("--binary", type=Path, metavar="FILE", help="this program, instead of building one")
    which.add_argument("--build", action="store_true", help="build the commit that the bundle names, in a worktree in the cache")
    p.add_argument("--program", type=_named, action="append", default=[], metavar="NAME=FILE",
                   help="the program of a subject pxarbench@NAME; repeatable")  # fmt: skip
    p.add_argument("--trust", action="store_true", help="follow recipes that are not in datasets/, pass on any option")
    p.add_argument("--output", type=Path, metavar="DIR", help="folder for records and verdict (default: results/runs/DATE-N)")
    p.add_argument("--work", type=Path, metavar="DIR", help="folder for stores and restored trees (default: in the cache)")
    p.add_argument("--warnings-as-failures", action="store_true", help="exit 3 when there are warnings")
    p.add_argument("--all", action="store_true", help="print what is the same as well")
    p.add_argument("--no-setup", action="store_true", help="do not look for missing packages")
    return p


def _binary(args: argparse.Namespace, manifest: Manifest) -> Path:
    if args.build:
        return program.built(manifest.commit, locate.cache() / "builds", print)
    found: Path | None = args.binary or locate.pxarbench()
    if found is None:
        raise ReplayFailed("pxarbench is not built (--binary FILE names one, --build builds that of the bundle)")
    if not found.is_file():
        raise ReplayFailed(f"{found}: no such program")
    return found.absolute()


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)

    def stop(text: object) -> int:
        print(f"ci/replay: {harmless(str(text))}", file=sys.stderr)
        return EXIT_ERROR

    def say(text: str) -> None:
        print(harmless(text), flush=True)

    try:
        with tempfile.TemporaryDirectory(prefix="pxarbench-replay-") as scratch:
            folder = Path(scratch) / "bundle"
            manifest = manifests.read(args.bundle, folder)
            say(f"{args.bundle}: {manifest.kind} {manifest.name} of {manifest.started}, sha256 {digest_of(args.bundle)[:12]}")
            if manifest.kind not in ("session", "gate"):
                return stop(f"{args.bundle}: holds a verdict of kind {manifest.kind}; ci/compare does a comparison again")
            where = Where(
                _binary(args, manifest), folder, args.output.absolute() if args.output else None,
                args.work.absolute() if args.work else locate.cache() / "work", builds=dict(args.program), trusted=args.trust,
            )  # fmt: skip
            verdict, output = (of_session if manifest.kind == "session" else of_gate)(manifest, where, say)
            return _finish(args, verdict, output)
    except _FAILURES as error:
        return stop(error)
    except KeyboardInterrupt:
        print("ci/replay: interrupted; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED


def _finish(args: argparse.Namespace, verdict: Verdict, output: Path) -> int:
    from ..gates import show

    print()
    show.terminal(verdict, whole=args.all, warnings_fail=args.warnings_as_failures)
    counted = sum(f.gate in EXACT_GATES and f.base is not None and f.name != "program" for f in verdict.findings)
    equal = sum(f.level is Level.OK for f in verdict.findings if f.base is not None and f.name != "program")
    print(f"\n{equal:,} of {counted:,} integers and digests are the same; written: {output}/")
    return verdict.exit_code(warnings_fail=args.warnings_as_failures)


if __name__ == "__main__":
    sys.exit(main())
