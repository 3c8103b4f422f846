"""What each program makes of files that change while it reads them: `python3 -m pxarbench_harness.during --help`.

Every case is one change at one known moment of a backup (mutate/during.py), of a small tree made anew for it:

    listed, opened, read, mid-read, reopened, behind      PLACES below says what they are

Then the snapshot is restored and looked at, and the backup made once more: it has to bring the file as it is now.

pxarbench is judged strictly, by bench/spec/archive-creation.md A3, A8, A10, A11 (EXPECTED below). Of the others it is
recorded what they store and say; judged is only what every backup owes: all other files come back, a run that says it went
well has a snapshot, and the next run makes good what this one could not know.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from . import locate, run
from . import measure as machine
from .mutate.during import During, Moment, missing
from .subjects import Outcome, Settings, Subject, SubjectFailed, registry
from .tree import COMPARED, Entry, Tree, differences, scan

SCHEMA = "pxarbench-during/1"
PLACES = {
    "listed": "all names of the folder were handed out, nobody has looked at the file yet",
    "opened": "while the file is being opened",
    "read": "the file is open and its attributes are known; before the first byte is read",
    "mid-read": "before the second read of a large file",
    "reopened": "between the two openings of a file, for its attributes and for its contents",
    "behind": "the file was read and closed, the backup is not yet finished",
}

_SECOND = 1_000_000_000
_BASE_TIME = 1_600_000_000
_FIRST_RUN = 1_700_000_000
_TIMEOUT = 300.0  # seconds, of one backup; nothing here takes longer than a few

#: Above what pxarbench reads together with the attributes, and more than any program reads at once.
LARGE = (9 << 20) + 12345
SMALL = 9000
FOLDER, EARLIER, LAST = "d", "earlier", "z-last"
VICTIM, VICTIM_LARGE, VICTIM_FOLDER = "victim", "victim-large", "victim-folder"


@dataclass(frozen=True)
class Case:
    operation: str
    place: str

    @property
    def name(self) -> str:
        if self.operation.endswith("-directory"):
            return VICTIM_FOLDER
        return VICTIM_LARGE if self.place in ("mid-read", "reopened") else VICTIM

    @property
    def path(self) -> bytes:
        return f"{FOLDER}/{self.name}".encode()


@dataclass(frozen=True)
class Wanted:
    """What pxarbench has to make of a case. `{path}`, `{name}`: of the victim."""

    stored: str
    warnings: tuple[str, ...] = ()
    exit_code: int = 0
    error: str = ""  # in the sentence of a run that must fail


_VANISHED = 'warning: file vanished while reading: "{path}"'
_SHRUNK = 'warning: file size shrunk while reading: "{path}", file will be padded with zeros!'
_GREW = 'warning: file size increased while reading: "{path}", file will be truncated!'
_DENIED = 'warning: failed to open file: "{name}": access denied ("{path}")'

#: A3: attributes are those of the file that was opened; another inode at the second opening is a file that vanished. A8:
#: EPERM ends the run. A10: what is not there or not allowed is left out with a warning. A11: contents have the size that
#: the attributes say. What is read of an open file is what the file system gives: nobody can tell torn from whole there.
EXPECTED: dict[tuple[str, str], Wanted] = {
    ("vanish", "listed"): Wanted("absent", (_VANISHED,)),
    ("vanish", "opened"): Wanted("old"),
    ("vanish", "mid-read"): Wanted("old"),
    ("vanish", "reopened"): Wanted("absent", (_VANISHED,)),
    ("vanish", "behind"): Wanted("old"),
    ("replace", "listed"): Wanted("new"),
    ("replace", "opened"): Wanted("old"),
    ("replace", "reopened"): Wanted("absent", (_VANISHED,)),
    ("replace", "behind"): Wanted("old"),
    ("shrink", "listed"): Wanted("new"),
    ("shrink", "opened"): Wanted("new"),
    ("shrink", "read"): Wanted("zero-padded", (_SHRUNK,)),
    ("shrink", "mid-read"): Wanted("zero-padded", (_SHRUNK,)),
    ("shrink", "behind"): Wanted("old"),
    ("grow", "listed"): Wanted("new"),
    ("grow", "opened"): Wanted("new"),
    ("grow", "read"): Wanted("old", (_GREW,)),
    ("grow", "mid-read"): Wanted("old", (_GREW,)),
    ("grow", "behind"): Wanted("old"),
    ("rewrite", "listed"): Wanted("new"),
    ("rewrite", "opened"): Wanted("new"),
    ("rewrite", "read"): Wanted("new"),
    ("rewrite", "mid-read"): Wanted("torn"),
    ("rewrite", "behind"): Wanted("old"),
    ("deny", "listed"): Wanted("absent", (_DENIED,)),
    ("refuse", "opened"): Wanted("no snapshot", exit_code=1, error="Operation not permitted"),
    ("vanish-directory", "listed"): Wanted("absent", (_VANISHED,)),
    ("vanish-directory", "opened"): Wanted("absent", (_VANISHED,)),
    ("deny-directory", "listed"): Wanted("absent", (_DENIED,)),
}

#: Mode metadata looks at attributes first and opens every file that it has to read a second time, small ones as well.
EXPECTED_TWICE = {("vanish", "opened"): Wanted("absent", (_VANISHED,)), ("replace", "opened"): Wanted("absent", (_VANISHED,))}

CASES = tuple(Case(*key) for key in EXPECTED)

TEXTS = {
    "vanish": "the file is removed",
    "replace": "another file, with other contents, is renamed over it",
    "shrink": "it is cut to a third",
    "grow": "5,000 bytes are appended",
    "rewrite": "other bytes are written over its own, the size stays",
    "deny": "its permissions are taken away (the backup runs without the right to read everything)",
    "refuse": "the kernel refuses to open it (EPERM)",
    "vanish-directory": "a folder with two files is removed",
    "deny-directory": "the permissions of a folder are taken away",
}


# ---- the tree ----


def noise(seed: str, size: int) -> bytes:
    """The same on every machine; does not compress."""
    return hashlib.shake_128(seed.encode()).digest(size)


def plant(root: Path, number: int) -> None:
    """The tree of case `number`. What must be read differs from case to case: the victims, a file before, and one behind."""
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("a", f"{FOLDER}/{VICTIM_FOLDER}", "k"):
        (root / folder).mkdir(parents=True)
    files = {f"{folder}/file-{n}": noise(f"{folder}{n}", 700 * n + 1) for folder in ("a", FOLDER, "k") for n in range(4)}
    files[f"{FOLDER}/{VICTIM}"] = noise(f"victim {number}", SMALL)
    files[f"{FOLDER}/{VICTIM_LARGE}"] = noise(f"large {number}", LARGE)
    files |= {f"{FOLDER}/{VICTIM_FOLDER}/{n}": noise(f"inside {n} {number}", SMALL) for n in ("one", "two")}
    files[f"{FOLDER}/{EARLIER}"] = noise(f"earlier {number}", SMALL)
    files[LAST] = noise(f"last {number}", SMALL)
    for name, contents in files.items():
        path = root / name
        path.write_bytes(contents)
        path.chmod(0o644)
        _set_time(path, _BASE_TIME + (number if re.search(f"{VICTIM}|{EARLIER}|{LAST}", name) else 0))
    for path in sorted([root, *(p for p in root.rglob("*") if p.is_dir())], reverse=True):
        path.chmod(0o755)
        _set_time(path, _BASE_TIME)


def _set_time(path: Path, seconds: int) -> None:
    os.utime(path, ns=(seconds * _SECOND, seconds * _SECOND))


def changing(case: Case, root: Path, spare: Path, number: int) -> Callable[[], None]:
    """What happens. `spare`: a file beside the tree that may be renamed into it. New times are a second later than old ones,
    by rule and not by clock."""
    victim = root / os.fsdecode(case.path)
    later = _BASE_TIME + number + 1
    size = victim.stat().st_size
    if case.operation == "replace":
        spare.write_bytes(noise(f"new {number}", size))
        spare.chmod(0o644)
        _set_time(spare, later)

    def change() -> None:
        if case.operation == "vanish":
            victim.unlink()
        elif case.operation == "vanish-directory":
            shutil.rmtree(victim)
        elif case.operation == "replace":
            os.rename(spare, victim)
        elif case.operation in ("deny", "deny-directory"):
            victim.chmod(0)
        else:
            if case.operation == "shrink":
                os.truncate(victim, size // 3)
            else:
                with open(victim, "ab" if case.operation == "grow" else "r+b") as file:
                    file.write(noise(f"new {number}", 5000 if case.operation == "grow" else size))
            _set_time(victim, later)

    return change


def moments(case: Case, root: Path) -> tuple[Moment, Moment | None]:
    """When, and which other moment must have come as well."""
    victim = root / os.fsdecode(case.path)
    if case.place == "listed":
        return Moment(root / FOLDER, "list", 2), None
    if case.place == "opened":
        return Moment(victim, "open"), None
    if case.place in ("read", "mid-read"):
        return Moment(victim, "read", 1 if case.place == "read" else 2), None
    if case.place == "reopened":
        # The file before it is held where its contents are read, until the victim was opened and closed once.
        return Moment(root / FOLDER / EARLIER, "read"), Moment(victim, "close")
    return Moment(root / LAST, "read"), Moment(victim, "finish")


# ---- a case ----


@dataclass
class Row:
    operation: str
    place: str
    subject: str
    mode: str
    happened: bool = False
    why_not: str = ""
    by: str = ""  # the process that was stopped
    exit_code: int | None = None
    warnings: list[str] = field(default_factory=list)  # what the program said about the victim
    stored: str = ""  # absent, old, new, torn, zero-padded, previous, partly; "no snapshot"
    others_equal: bool | None = None
    next_exit_code: int | None = None
    next_run: str = ""  # "as it is now", or what the next snapshot has
    verdict: str = ""  # ok, problem, not reached, skipped
    sentence: str = ""
    expected: str = ""  # of pxarbench: what must be stored; "": nothing is expected


@dataclass(frozen=True)
class Candidate:
    """A program in a mode. `make`: with an empty folder for everything it keeps."""

    name: str
    mode: str
    make: Callable[[Path], Subject]


def _maker(kind: type[Subject], mode: str, settings: Settings) -> Callable[[Path], Subject]:
    return lambda home: kind(mode, home, settings)


def candidates(
    settings: Settings, names: Sequence[str] | None = None, modes: Sequence[str] | None = None
) -> tuple[list[Candidate], list[str]]:
    """Installed programs and their modes; sentences about those that are not there. `modes`: of these names; None: all of
    pxarbench, the default ones of the others, each of which would cost minutes."""
    found: list[Candidate] = []
    left_out: list[str] = []
    known = registry(settings)
    for name, kind in known.items():
        if names and name not in names:
            continue
        if reason := kind.missing(settings):
            left_out.append(f"{name}: {reason}")
            continue
        usual = kind.modes if name.startswith("pxarbench") else kind.default_modes or kind.modes
        for mode in usual if modes is None else [mode for mode in kind.modes if mode in modes]:
            found.append(Candidate(name, mode, _maker(kind, mode, settings)))
    left_out += [f"{name}: no such program is known" for name in names or () if name not in known]
    return found, left_out


_TROUBLE = re.compile(
    r"warn|error|changed|vanish|no such|denied|not permitted|shr[au]nk|increased|skip|fail|cannot|can't|unable|disappear", re.I
)


def _said(result: run.Result, name: str) -> list[str]:
    lines = (result.stdout + b"\n" + result.stderr).decode(errors="replace").splitlines()
    return [line.strip()[:300] for line in lines if name in line and _TROUBLE.search(line)]


def as_mere_owner() -> list[str]:
    """Words in front of a command that take away root's right to read everything. FileNotFoundError: not possible."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise FileNotFoundError("setpriv is not installed: root is never denied anything")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


class Series:
    """One program in one mode: a store, a tree, cases one after the other."""

    def __init__(self, candidate: Candidate, work: Path) -> None:
        self.candidate = candidate
        self.work = work
        self.root = work / "tree"
        self.subject = candidate.make(work / "home")
        self.subject.create()
        self.filesystem = machine.filesystem(work).split(" ")[0]
        self.runs = 0
        plant(self.root, 0)
        result, outcome = self.backup()
        if result.returncode != 0 or outcome is None:
            said = result.stderr.decode(errors="replace")[-500:]
            raise SubjectFailed(f"{candidate.name} {candidate.mode}: the first backup: {said}")

    def backup(self, before: Sequence[str] = ()) -> tuple[run.Result, Outcome | None]:
        """None: there is no snapshot, or the program does not say which."""
        self.runs += 1
        command = self.subject.backup(self.root, _FIRST_RUN + self.runs)
        result = run.run([*before, *command.argv], env=command.env, cwd=command.cwd, timeout=_TIMEOUT)
        try:
            return result, self.subject.outcome(result.stdout)
        except (SubjectFailed, run.CommandFailed, OSError, ValueError, KeyError):
            return result, None

    def restored(self, outcome: Outcome) -> Tree | str:
        """The sentence: why not."""
        target = self.work / "restored"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        try:
            return scan(self.subject.restore(outcome, self.root, target))
        except (run.CommandFailed, OSError, SubjectFailed) as error:
            return str(error)[-300:]

    def fields(self) -> list[str]:
        return [name for name in COMPARED if name not in self.subject.fields_left_out(self.filesystem)]

    def case(self, case: Case, number: int) -> Row:
        row = Row(case.operation, case.place, self.candidate.name, self.candidate.mode)
        judged = self.candidate.name.startswith("pxarbench")
        row.expected = wanted(row.mode, case).stored if judged else ""
        before: list[str] = []
        if case.operation.startswith("deny"):
            try:
                before = as_mere_owner()
            except FileNotFoundError as reason:
                row.verdict, row.sentence = "skipped", str(reason)
                return row
        plant(self.root, number)
        old, old_bytes = scan(self.root), _contents(self.root, case)
        at, after = moments(case, self.root)
        refuse = case.operation == "refuse"
        change = None if refuse else changing(case, self.root, self.work / "spare", number)
        with During(change, at, after, refuse) as during:
            result, outcome = self.backup(before)
        row.happened, row.why_not, row.by = during.happened, during.why_not, during.by
        row.exit_code = result.returncode
        row.warnings = _said(result, case.name)
        now = scan(self.root)
        if outcome is None:
            row.stored = "no snapshot"
        else:
            self._look(row, case, old, old_bytes, now, outcome)
        if not row.happened:
            row.verdict, row.sentence = "not reached", row.why_not
            return row
        self._again(row, case, now, before)
        row.sentence = problem_of(row, case, result) if judged else ""
        row.sentence = row.sentence or owed(row)
        row.verdict = "problem" if row.sentence else "ok"
        return row

    def _look(self, row: Row, case: Case, old: Tree, old_bytes: dict[str, bytes], now: Tree, outcome: Outcome) -> None:
        back = self.restored(outcome)
        if isinstance(back, str):
            row.stored, row.others_equal = f"cannot be restored: {back}", False
            return
        then, found = _without(old, case.path, back), _without(back, case.path, back)
        row.others_equal = not differences(then, found, leave_out=self.subject.leaves_out, fields=self.fields())
        row.stored = stored(case, old_bytes, _contents(self.root, case), _contents(back.root, case))

    def _again(self, row: Row, case: Case, now: Tree, before: Sequence[str]) -> None:
        """The following backup: of the tree as it now is, with all rights."""
        result, outcome = self.backup()
        row.next_exit_code = result.returncode
        back = self.restored(outcome) if outcome else "no snapshot"
        if isinstance(back, str):
            row.next_run = back
            return
        found = differences(now, back, leave_out=self.subject.leaves_out, fields=self.fields())
        row.next_run = found[0] if found else "as it is now"


def _without(tree: Tree, path: bytes, times: Tree) -> Tree:
    """All but the victim and what is below it. Its folder's time changes with it, before or after it was looked at."""
    kept: dict[bytes, Entry] = {}
    for name, entry in tree.entries.items():
        if name == path or name.startswith(path + b"/"):
            continue
        if name == os.path.dirname(path) and name in times.entries:
            entry = replace(entry, mtime_ns=times.entries[name].mtime_ns)
        kept[name] = entry
    return Tree(tree.root, kept)


def _contents(root: Path, case: Case) -> dict[str, bytes]:
    """The victim's files; {} when it is not there."""
    victim = root / os.fsdecode(case.path)
    if victim.is_dir():
        return {path.name: path.read_bytes() for path in sorted(victim.iterdir())}
    return {victim.name: victim.read_bytes()} if victim.exists() else {}


def stored(case: Case, old: dict[str, bytes], new: dict[str, bytes], have: dict[str, bytes]) -> str:
    """Which of its states the snapshot has of the victim."""
    if not have:
        return "absent"
    if have == old:  # first: changes of attributes alone leave old and new the same
        return "old"
    if have == new:
        return "new"
    if case.name == VICTIM_FOLDER:
        return "partly"
    ((_, was),), (is_now,), (got,) = old.items(), new.values() or (b"",), have.values()
    if len(got) == len(was):
        kept = len(os.path.commonprefix([got, is_now]))
        kept = max(kept, len(os.path.commonprefix([got, was])))
        if not got[kept:].strip(b"\0"):
            return "zero-padded"
    pieces = sum(got[at : at + 512] in (was[at : at + 512], is_now[at : at + 512]) for at in range(0, len(got), 512))
    if pieces == -(-len(got) // 512):
        return "torn"
    return "neither old nor new"


def wanted(mode: str, case: Case) -> Wanted:
    """Of pxarbench."""
    key = (case.operation, case.place)
    return EXPECTED_TWICE.get(key, EXPECTED[key]) if mode.startswith("metadata") else EXPECTED[key]


def problem_of(row: Row, case: Case, result: run.Result) -> str:
    """How pxarbench differs from EXPECTED; "" when it does not."""
    want = wanted(row.mode, case)
    path, name = os.fsdecode(case.path), case.name
    warnings = [line for line in result.stderr.decode(errors="replace").splitlines() if line.startswith("warning: ")]
    if row.exit_code != want.exit_code:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        return f"exit {row.exit_code}, expected {want.exit_code}: {said[-1] if said else ''}"
    if want.error and not any(want.error in line and path in line for line in row.warnings):
        return f"no sentence names {path} and {want.error!r}"
    if row.stored != want.stored:
        return f"the snapshot has the file {row.stored}, expected {want.stored}"
    expected = [text.format(path=path, name=name) for text in want.warnings]
    if warnings != expected:
        return f"said {warnings}, expected {expected}"
    return ""


def owed(row: Row) -> str:
    """What every backup owes, whatever happened to one file; "" when it was kept."""
    if row.stored == "no snapshot":
        if row.exit_code == 0:
            return "it said that all went well, but there is no snapshot"
    elif row.stored == "previous" or row.stored.startswith(("cannot", "neither")):
        return f"the snapshot has the file: {row.stored}"
    elif not row.others_equal:
        return "other files than the changing one are not as they were"
    if row.next_exit_code != 0:
        return f"the next backup ends with exit {row.next_exit_code}"
    if row.next_run != "as it is now":
        return f"the next backup does not repair it: {row.next_run}"
    return ""


# ---- all of them ----


def measure(
    subjects: Sequence[Candidate], work: Path, output: Path, say: Callable[[str], None],
    cases: Sequence[Case] = CASES, left_out: Sequence[str] = (),
) -> list[dict[str, Any]]:  # fmt: skip
    """Runs all cases with all subjects, in folders below `work` (made, removed), and writes output/during.json, whose rows
    are returned. Rows with verdict "problem" are findings. Where the kernel does not let us, there are none, and the file says
    why. `left_out`: sentences about programs that are not there. SubjectFailed: a program cannot back up a tree that rests."""
    work.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    reason = missing(work)
    if reason:
        say(f"during: skipped: {reason}")
    for candidate in () if reason else subjects:
        folder = Path(tempfile.mkdtemp(prefix="during-", dir=work))
        folder.chmod(0o755)
        try:
            series = Series(candidate, folder)
            for number, case in enumerate(cases, 1):
                # Far apart: the second after a case's time belongs to its change.
                rows.append(series.case(case, 10 * number))
                if rows[-1].verdict == "problem":
                    say(shown(rows[-1]))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        mine = [row for row in rows if (row.subject, row.mode) == (candidate.name, candidate.mode)]
        say(f"during: {candidate.name} {candidate.mode}: " + ", ".join(
            f"{sum(row.verdict == word for row in mine)} {word}" for word in ("ok", "problem", "not reached", "skipped")
        ))  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    skipped = [*left_out, *([reason] if reason else [])]
    whole = {"schema": SCHEMA, "texts": TEXTS, "places": PLACES, "skipped": skipped, "rows": [asdict(row) for row in rows]}
    part = output / "during.json.partial"
    part.write_text(json.dumps(whole, indent=1) + "\n")
    os.rename(part, output / "during.json")
    return [asdict(row) for row in rows]


def shown(row: Row) -> str:
    return f"{row.operation} {row.place}, {row.subject} {row.mode}: {row.sentence}"


def table(found: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line per case, a column per program and mode."""
    rows = [Row(**values) for values in found]
    columns = list(dict.fromkeys((row.subject, row.mode) for row in rows))
    lines = ["| change | moment | " + " | ".join(f"{s} {m}" for s, m in columns) + " |", "|---|---|" + "---|" * len(columns)]
    cells = {(row.operation, row.place, row.subject, row.mode): row for row in rows}
    for operation, place in dict.fromkeys((row.operation, row.place) for row in rows):
        words = [_cell(cells.get((operation, place, *column))) for column in columns]
        lines.append(f"| {operation} | {place} | " + " | ".join(words) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row.verdict in ("not reached", "skipped"):
        return "–"
    text = row.stored + ("" if row.exit_code == 0 else f", exit {row.exit_code}")
    text += ", said" if row.warnings else ""
    text += "" if row.next_run == "as it is now" else ", **next run does not repair**"
    return text + (" **problem**" if row.verdict == "problem" else "")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m pxarbench_harness.during", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--binary", type=Path, default=None, help="the program; default: $PXARBENCH, else the newest build")
    parser.add_argument("--subjects", default="", help="comma separated; default: all that are installed")
    parser.add_argument("--modes", default="", help="comma separated; default: all of pxarbench, the usual ones of others")
    parser.add_argument("--cases", default="", help="OPERATION:PLACE,...; default: all")
    parser.add_argument("--output", type=Path, required=True, help="folder for during.json")
    parser.add_argument("--work", type=Path, default=None, help="folder for trees and stores; default: a temporary one")
    options = parser.parse_args(words)
    binary = options.binary or locate.pxarbench()
    names, modes = ([word for word in text.split(",") if word] or None for text in (options.subjects, options.modes))
    found, left_out = candidates(Settings(binary=binary), names, modes)
    for text in left_out:
        print(f"skipped: {text}")
    wanted = [tuple(word.split(":")) for word in options.cases.split(",") if word]
    unknown = [":".join(word) for word in wanted if word not in EXPECTED]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}")
    cases = [case for case in CASES if not wanted or (case.operation, case.place) in wanted]
    with tempfile.TemporaryDirectory(prefix="pxarbench-during-", dir=options.work) as work:
        rows = measure(found, Path(work), options.output, lambda text: print(text, flush=True), cases, left_out)
    print(table(rows))
    return 1 if any(row["verdict"] == "problem" for row in rows) else 0 if rows else 4


if __name__ == "__main__":
    sys.exit(main())
