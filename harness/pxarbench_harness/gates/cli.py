"""The command line of ci/gate: runs the gates that compare with what is golden in git, or makes new numbers golden."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import inspect
import io
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import locate
from .commands import Parser
from .verdict import EXIT_ERROR, EXIT_OK, Finding, Level, Verdict

EXIT_INTERRUPTED = 130

#: Bytes that a gate may need for datasets and stores.
ROOM = 1 << 30
#: Of a compiler's output, its end.
LOG_LINES = 40

#: In the order in which they run: the quickest first.
GATES = ("encodings", "counters", "instructions")
_TEXTS = {
    "encodings": "streams, cuts, indexes and manifests of the trees in fixtures/trees, to the byte",
    "counters": "what each mode reads, keeps, wastes and stores of five small datasets, to the file; and the session's checks",
    "instructions": "instructions of the hot commands on small inputs, counted by valgrind",
}

_EPILOG = """\
gates:
<gates>

examples:
  ci/gate                                      all gates, the program built in build/release
  ci/gate counters --binary build/dev/bin/pxarbench
  ci/gate counters --case home-like-300-edit1pct-uniform-metadata-warm
  ci/gate counters --bless --reason "ranges end with their chunk: one chunk less is listed"

Golden files lie in results/golden; --bless rewrites those of the chosen gates from the program that is there, prints what
changed, and keeps the reason in the file's history. results/golden/required.txt lists the cases that have to run.

exit codes: 0 nothing differs; 1 the tool failed, or a required case did not run; 2 regression; 3 warnings under
--warnings-as-failures; 4 inconclusive: another version of the benchmark, another machine; 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    epilog = _EPILOG.replace("<gates>", "\n".join(f"  {name:<13} {text}" for name, text in _TEXTS.items()))
    p = Parser(
        prog="ci/gate",
        description="Compares the program with the golden numbers of this repository. Any difference is a regression until it\n"
        "is blessed. Writes verdict.json, summary.md and summary.txt.",
        epilog=epilog,
    )
    p.add_argument("gates", nargs="*", metavar="GATE", help="see below (default: all)")
    p.add_argument("--case", action="append", default=[], metavar="ID",
                   help="only this case of the one named gate; repeatable")  # fmt: skip
    p.add_argument("--binary", type=Path, metavar="FILE", help="this program instead of one built in build/release")
    p.add_argument("--bless", action="store_true", help="make what this program gives golden")
    p.add_argument("--reason", default="", metavar="TEXT", help="of --bless: one line, why that is right")
    p.add_argument("--output", type=Path, metavar="FOLDER", help="for the verdict (default: results/latest-gate)")
    p.add_argument("--work", type=Path, metavar="FOLDER",
                   help="for datasets and stores, some 500 MB, removed at the end (default: /dev/shm, or $TMPDIR)")  # fmt: skip
    p.add_argument("--warnings-as-failures", action="store_true", help="exit with 3 when there are warnings")
    p.add_argument("--whole", action="store_true", help="print what is equal, too")
    p.add_argument("--list", action="store_true", help="print the cases and stop")
    p.add_argument("--no-setup", action="store_true", help="do not look for missing packages")
    p.add_argument("--build-failed", type=Path, help=argparse.SUPPRESS)  # ci/gate: what the compiler said
    return p


# ---- gates ----


class GateMissing(Exception):
    """A gate cannot be had here; the text says why."""


def load(name: str) -> ModuleType:
    """Only when it is wanted: some need packages that others do not."""
    try:
        return importlib.import_module(f"{__package__}.{name}")
    except ImportError as error:
        raise GateMissing(f"gate {name}: {error} (ci/setup --for gate)") from error


@contextmanager
def _quoted() -> Iterator[None]:
    """What programs say is not to be taken for commands by the runner of a workflow."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        yield
        return
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", flush=True)
    try:
        yield
    finally:
        print(f"::{token}::", flush=True)


@dataclass
class Job:
    """What the gates gave. `executed` of several gates: their cases have different names."""

    findings: list[Finding] = field(default_factory=list)
    executed: set[str] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)  # of the cases, where a gate tells


def _usual_place() -> Path | None:
    """In memory where there is room: nothing waits for a disk, and files get no attributes of their own. None: $TMPDIR."""
    import psutil

    shared = Path("/dev/shm")
    try:
        roomy = shutil.disk_usage(shared).free >= ROOM and psutil.virtual_memory().available >= 2 * ROOM
    except OSError:
        return None
    return shared if roomy and os.access(shared, os.W_OK) else None


@contextmanager
def _folder(place: Path | None, name: str) -> Iterator[Path]:
    """A new one, removed afterwards whatever happens."""
    if place is None:
        place = _usual_place()
    else:
        place.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"pxarbench-gate-{name}-", dir=place))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _trouble(error: BaseException) -> str:
    """In a sentence; of a mistake in this code also where it is."""
    ours = type(error).__module__.partition(".")[0] == (__package__ or "").partition(".")[0]
    if ours or isinstance(error, OSError | ValueError):  # what a gate raises on purpose tells all
        return str(error)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def _answer(gate: ModuleType, binary: Path, work: Path, only: Sequence[str], required: Sequence[str]) -> Any:
    """Findings, executed cases; some tell versions, too."""
    known = inspect.signature(gate.run).parameters
    if only and "only" not in known:
        raise ValueError("this gate runs all of its cases or none (--case)")
    words = {"only": tuple(only)} if only else {}
    return gate.run(binary, work, **words, **({"required": required} if "required" in known else {}))


def _versions(gate: ModuleType, answer: Any) -> dict[str, str]:
    told = getattr(answer, "versions", None) or getattr(gate, "versions", dict)
    versions: dict[str, str] = told() if callable(told) else told
    return {case: version for case, version in versions.items() if case in set(answer[1])}


def _silent(name: str, found: Sequence[Finding], executed: Sequence[str]) -> list[Finding]:
    """Cases that ran without anything being compared: equal values are findings, too."""
    told = {f.case for f in found if f.gate == name}
    return [Finding(name, case, "", Level.ERROR, "ran, and nothing was compared") for case in executed if case not in told]


def judge(
    names: Sequence[str], binary: Path, place: Path | None, say: Callable[[str], None], *,
    only: Sequence[str] = (), required: Mapping[str, Sequence[str]] | None = None,
) -> Job:  # fmt: skip
    """Runs these gates. Trouble of one is a finding: the others run all the same. `only`: these cases of each. `required`: the
    list of cases that have to run, by gate."""
    from .required import gaps

    listed = required or {}
    job = Job()
    for name in names:
        say(f"gate {name} ...")
        begun = time.monotonic()
        try:
            gate = load(name)
            with _folder(place, name) as work:
                answer = _answer(gate, binary, work, only, listed.get(name, ()))
            found, executed, versions = list(answer[0]), list(answer[1]), _versions(gate, answer)
            optional = gate.optional_ids() if hasattr(gate, "optional_ids") else ()
        except (Exception, SystemExit) as error:  # whatever it is, the other gates' findings must not be lost
            text = _trouble(error)
            job.findings.append(Finding(name, "", "", Level.ERROR, f"the gate did not come to its end: {text}"))
            say(f"gate {name}: {text}")
            continue
        found += _silent(name, found, executed)
        if not only:
            found += gaps(name, listed, executed, optional)
        both = sorted(job.executed & set(executed))
        found += [Finding(name, case, "", Level.ERROR, "is a case of another gate, too") for case in both]
        job.findings += found
        job.executed.update(executed)
        job.versions |= versions
        bad = sum(f.level.is_bad for f in found)
        spent = time.monotonic() - begun
        say(f"gate {name}: {len(found):,} comparisons, {bad:,} of them not as they should be ({spent:.0f} s)")
    return job


def bless(names: Sequence[str], binary: Path, place: Path | None, reason: str, say: Callable[[str], None]) -> list[str]:
    """Makes this program's numbers golden, gate by gate. What went wrong, in sentences."""
    from . import required

    wrong = []
    for name in names:
        say(f"gate {name} ...")
        try:
            gate = load(name)
            with _folder(place, name) as work:
                lines, ran = gate.bless(binary, work, reason)
            lines = [*lines, *required.rewrite(name, ran)]
        except Exception as error:
            wrong.append(f"{name}: {_trouble(error)}")
            continue
        for line in lines:
            say(f"  {line}")
    return wrong


# ---- the verdict ----


def _commit(binary: Path | None) -> str:
    """Of this checkout, whose program it is. "": it lies elsewhere, and may be of any other."""
    from .. import measure

    if binary is not None and not binary.resolve().is_relative_to(locate.REPOSITORY):
        return ""
    commit = measure.commit().replace("+changes", "+")
    return commit if re.fullmatch(r"[0-9a-f]{7,64}\+?", commit) else ""


def made(names: Sequence[str], binary: Path | None, started: str, job: Job, wanted: Sequence[str]) -> Verdict:
    """The verdict of a job. `binary`: None when it could not be built."""
    from .. import measure

    # Without the program: the same machine has the same fingerprint, whatever it judges.
    host = measure.host(locate.results(), locate.results(), {})
    return Verdict(
        kind="gate", started=started, base="golden", head=measure.build_text(binary) if binary else "no program",
        head_commit=_commit(binary), host_fingerprint=host.fingerprint, findings=tuple(job.findings),
        executed=tuple(sorted(job.executed)), required=tuple(wanted), host=asdict(host),
        settings={"gates": ", ".join(names), "versions": dict(sorted(job.versions.items()))},
    )  # fmt: skip


VERDICT_FILES = ("verdict.json", "summary.md", "summary.txt")


def _ready(args: argparse.Namespace) -> Path:
    """The folder for the verdict, without an earlier one: however this job ends, nobody must take that for its own. OSError:
    it cannot be written, which is known before minutes are spent."""
    folder: Path = (args.output or locate.results() / "latest-gate").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for name in VERDICT_FILES:
        (folder / name).unlink(missing_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder


def _write(folder: Path, verdict: Verdict, *, warnings_fail: bool) -> None:
    from . import show
    from .golden import write_whole
    from .verdict import to_json

    write_whole(folder / "verdict.json", to_json(verdict))
    write_whole(folder / "summary.md", show.markdown(verdict, warnings_fail=warnings_fail))
    write_whole(folder / "summary.txt", show.text(verdict, warnings_fail=warnings_fail))


def _binary(args: argparse.Namespace) -> Path:
    """ValueError: there is none."""
    named: Path | None = args.binary or locate.pxarbench()
    if named is None:
        raise ValueError("pxarbench is not built (ci/gate builds it; or --binary FILE)")
    binary = named.absolute()
    if not binary.is_file() or not os.access(binary, os.X_OK):
        raise ValueError(f"--binary: {named} is not a program")
    return binary


def _list(names: Sequence[str]) -> int:
    from . import required

    known = required.read()
    for name in names:
        gate = load(name)
        ask = getattr(gate, "case_ids", None) or getattr(gate, "cases", None)
        for case in ask() if callable(ask) else known.get(name, ()):
            print(f"{name} {case}")
    return EXIT_OK


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    p = parser()
    args = p.parse_args(words)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what it says is to be seen when it happens, also in a pipe

    def stop(text: object) -> int:
        print(f"ci/gate: {text}", file=sys.stderr)
        return EXIT_ERROR

    names = list(dict.fromkeys(args.gates)) or list(GATES)
    for name in names:
        if name not in GATES:
            return stop(f"gate {name}: unknown; there are {', '.join(GATES)}")
    if args.case and (args.bless or len(names) != 1):
        return stop("--case: of one named gate, and not with --bless: numbers become golden as a whole")
    if args.reason and not args.bless:
        return stop("--reason belongs to --bless")
    try:
        if args.list:
            return _list(names)
        if args.bless:
            return EXIT_ERROR if args.build_failed else _bless(args, names, stop)
        return _gate(args, names)
    except KeyboardInterrupt:
        print("ci/gate: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        return stop(_trouble(error))


def _bless(args: argparse.Namespace, names: Sequence[str], stop: Callable[[object], int]) -> int:
    from . import golden, required

    golden.history_line(args.reason)
    binary = _binary(args)
    with golden.alone(required.PATH.parent), _quoted():
        wrong = bless(names, binary, args.work, args.reason, print)
    return stop("; ".join(wrong)) if wrong else EXIT_OK


def _not_built(names: Sequence[str], log: Path) -> Job:
    said = log.read_text(errors="replace").splitlines()
    text = "the program could not be built"
    return Job([Finding(name, "", "", Level.ERROR, text, details=tuple(said[-LOG_LINES:])) for name in names])


def _digest(binary: Path) -> str:
    """As the verdict tells it: of the first time that it is asked for."""
    from .. import measure

    return measure.build(binary)["sha256"]


def _replaced(names: Sequence[str], binary: Path) -> list[Finding]:
    """Somebody built anew meanwhile: nobody knows which program was judged."""
    try:
        if hashlib.sha256(binary.read_bytes()).hexdigest() == _digest(binary):
            return []
    except FileNotFoundError:
        pass
    return [Finding(name, "", "", Level.ERROR, "the program was replaced while it was judged") for name in names]


def _gate(args: argparse.Namespace, names: Sequence[str]) -> int:
    from . import required, show

    output = _ready(args)
    known = required.read()
    wanted = tuple(sorted(set(args.case))) or required.of(known, names)
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with _quoted():
        binary = None if args.build_failed else _binary(args)
        if binary is None:
            job, wanted = _not_built(names, args.build_failed), ()
        else:
            _digest(binary)
            job = judge(names, binary, args.work, print, only=args.case, required=known)
            job.findings += _replaced(names, binary)
        verdict = made(names, binary, started, job, wanted)
        _write(output, verdict, warnings_fail=args.warnings_as_failures)
        print()
        show.terminal(verdict, whole=args.whole, warnings_fail=args.warnings_as_failures)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        sys.stdout.write(show.annotations(verdict))
    print(f"written: {output}/ (verdict.json, summary.md, summary.txt)")
    return verdict.exit_code(warnings_fail=args.warnings_as_failures)
