"""Instruction counts of the hot commands, against results/golden/instructions.csv, or of two builds against each other.

Counts hold for one *toolchain*: compiler and its options, C library, valgrind, kind of file system, inputs. The file may have
numbers for several; for a toolchain that is not there nothing is compared, and the finding is inconclusive and says what
differs. What is counted, and what not: callgrind.py.

Limits, of instructions, allocations and library calls alike: 0.5 % more is a regression, 0.2 % more a warning, once a second
count has confirmed it. 0.2 % less is an improvement: nothing fails, but until it is blessed that much could be lost again
unnoticed. A command that by its own words did other work than the golden one, and takes more than the limit, is
inconclusive: what changed then is the amount of work, which is for the counters to judge.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import ssl
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from .. import measure
from .. import run as processes
from . import callgrind, instruction_cases
from .callgrind import Count
from .golden import GoldenBroken, NotBlessed, history_line, write_whole
from .instruction_golden import DECIDING, DOUBTFUL, FUNCTION_SHARE_MIN, QUANTITIES, Golden, Toolchain
from .instruction_golden import golden_path, read, to_text
from .verdict import Finding, Level

GATE = "instructions"
HARD, SOFT = 0.005, 0.002  # shares of the base
#: Differences that are never judged, however small the command is: threads may hand over in another order.
FLOORS = {"instructions": 500, "allocations": 8, "library calls": 8}

#: A case is run until two of its runs agree this well, and the least one counts.
AGREE = 0.0005
RUNS_MIN, RUNS_MAX = 3, 6

TOLD = 5  # functions named with a difference
TOOLCHAINS_MAX = 8

_MEMORY = Path("/dev/shm")
_MEMORY_FREE_MIN, _INODES_FREE_MIN = 64 << 20, 100_000


class InstructionsBroken(ValueError):
    """The counts could not be made; the text says why."""


class Ran(NamedTuple):
    findings: list[Finding]
    executed: list[str]  # ids of cases that gave a count
    versions: Mapping[str, str] = {}  # of each of them, the toolchain's key: counts of another one are something else


def case_id(name: str) -> str:
    return f"instructions-{name}"


# ---- what counts depend on ----


def _producer(binary: Path) -> str:
    """The compiler with its options, as it says itself in the debug information; several are possible in one program."""
    found = set(re.findall(rb"(?:GNU C\d\d |[\w ]{0,20}clang version )[ -~]{3,600}", binary.read_bytes()))
    return "; ".join(sorted(text.decode("ascii") for text in found)) or "unknown: the program has no debug information"


def _libc_build() -> str:
    """Hash of the C library that programs of this machine use."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[-1]
        if re.search(r"/libc(\.so|-).*$", path) and os.path.isfile(path):
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
    return ""


def _processor() -> str:
    """Of what the C library and others choose code by: told, not decisive, since these choices are fixed."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""
    flags = next((line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith(("flags", "Features"))), [])
    return " ".join(name for name in ("sse4_2", "avx", "avx2", "bmi2", "erms", "sha_ni", "avx512f") if name in flags)


def toolchain(binary: Path, valgrind: str, work: Path, dispatch: str) -> Toolchain:
    return Toolchain({
        "machine": platform.machine(),
        "compiler": _producer(binary),
        "libc": " ".join(platform.libc_ver()),
        "libc build": _libc_build(),
        "valgrind": measure.version_of(valgrind),
        "filesystem": measure.filesystem(work).split(" ")[0],  # without the device
        "cases": instruction_cases.version(callgrind.ENVIRONMENT),
        "dispatch": dispatch,
        "processor": _processor(),
        "openssl": ssl.OPENSSL_VERSION,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "zstd": next((path.resolve().name for path in Path("/usr/lib").glob("*/libzstd.so.1")), ""),
    })  # fmt: skip


# ---- counting ----


@dataclass(frozen=True)
class Counts:
    toolchain: Toolchain
    cases: Mapping[str, Count]  # by the case's name
    failed: Mapping[str, str] = field(default_factory=dict)  # case -> reason


def find_valgrind() -> str | None:
    return shutil.which("valgrind")


def _scratch(work: Path) -> Path:
    """In memory if there is room: the store alone has 65,536 folders, and the kind of file system decides some counts."""
    if os.access(_MEMORY, os.W_OK | os.X_OK):
        free = os.statvfs(_MEMORY)
        if free.f_bavail * free.f_frsize >= _MEMORY_FREE_MIN and (free.f_favail or _INODES_FREE_MIN) >= _INODES_FREE_MIN:
            return _MEMORY
    return work


def _one(bench: instruction_cases.Bench, case: instruction_cases.Case, valgrind: str) -> Count:
    done: list[Count] = []
    words = [f"./{bench.program}", *case.words]
    while len(done) < RUNS_MAX:
        case.prepare(bench)
        out = bench.folder / "callgrind.out"
        count, result = callgrind.measure(valgrind, words, cwd=bench.folder, out=out, program=bench.program)
        work = case.work(result)
        case.rewind(bench)
        done.append(Count(**{**vars(count), "work": work}))
        if len({one.work for one in done}) > 1:
            raise instruction_cases.CaseBroken(f"two runs of one command did other work: {done[0].work} / {work}")
        if len(done) >= RUNS_MIN:
            least, second = sorted(one.instructions for one in done)[:2]
            if second / least - 1 <= AGREE:
                break
    return callgrind.least(done)


def count(
    binary: Path,
    work: Path,
    *,
    only: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Counts:
    """Counts all cases, or `only` those that are named. `work`: an existing folder, used when there is no room in memory.

    InstructionsBroken: no valgrind, no such case. A case that fails is in `failed`, the others go on.
    """
    valgrind = find_valgrind()
    if valgrind is None:
        raise InstructionsBroken("valgrind is not installed (Debian package valgrind; ci/setup installs it)")
    unknown = sorted(set(only or ()) - {case.name for case in instruction_cases.CASES})
    if unknown:
        raise InstructionsBroken(f"no such case: {', '.join(unknown)} (there are: {', '.join(names())})")
    chosen = [case for case in instruction_cases.CASES if only is None or case.name in only]
    counts: dict[str, Count] = {}
    failed: dict[str, str] = {}
    bench = instruction_cases.Bench(_scratch(work), binary)
    try:
        for case in chosen:
            progress(case.name)
            try:
                counts[case.name] = _one(bench, case, valgrind)
            except (processes.CommandFailed, callgrind.ProfileBroken, instruction_cases.CaseBroken, OSError) as error:
                failed[case.name] = str(error)
            except (ValueError, KeyError, TypeError) as error:  # its answer has another shape
                failed[case.name] = f"the program's answer is not understood: {error!r}"
        dispatch = ", ".join(sorted({one.dispatch for one in counts.values()} - {""}))
        return Counts(toolchain(binary, valgrind, bench.folder, dispatch), counts, failed)
    finally:
        bench.close()


def names() -> list[str]:
    return [case.name for case in instruction_cases.CASES]


def case_ids() -> list[str]:
    return [case_id(name) for name in names()]


# ---- judging ----


def _level(more: int, base: int, quantity: str) -> Level:
    if abs(more) <= FLOORS[quantity] or abs(more) <= SOFT * base:
        return Level.OK
    if more < 0:
        return Level.IMPROVED
    return Level.REGRESSION if more > HARD * base else Level.WARNING


def differences(base: Mapping[str, int], head: Mapping[str, int], least: int) -> list[str]:
    """The functions that differ most, the largest difference first. What `base` does not name had less than `least`."""
    more = {name: head.get(name, 0) - base.get(name, 0) for name in {*base, *head}}
    lines = []
    for name in sorted(more, key=lambda name: (-abs(more[name]), name))[:TOLD]:
        if more[name] == 0:
            break
        was = f"{base[name]:,}" if name in base else f"less than {least:,}" if least else "0"
        lines.append(f"{more[name]:+13,}  {name}: {was} -> {head.get(name, 0):,}")
    return lines


def judge(name: str, base: Count, head: Count, *, written_down: bool = True) -> list[Finding]:
    """One finding per quantity. `written_down`: `base` is from the file, where small functions are not named."""
    found = []
    # What the file does not name is not compared: all such functions together have few instructions, one by one none has many.
    least = int(base.instructions * FUNCTION_SHARE_MIN) if written_down else 0
    known = {one: cost for one, cost in head.functions.items() if one in base.functions or cost >= max(least, 1)}
    for quantity in QUANTITIES:
        old, new = base.values[quantity], head.values[quantity]
        level = _level(new - old, old, quantity)
        change = new / old - 1 if old else None
        text = f"{new:,}" if change is None or new == old else f"{new:,}, {change:+.2%} of {old:,}"
        details: tuple[str, ...] = ()
        if level is not Level.OK:
            details = tuple(differences(base.functions, known, least))
        # Less, too: who leaves out half of the work is not quicker.
        if level is not Level.OK and base.work != head.work:
            level = Level.INCONCLUSIVE
            text += "; but it does other work than before"
            details = (f"was: {base.work}", f"is:  {head.work}", *details)
        elif level is Level.IMPROVED:
            text += "; bless it, or that much can be lost again unnoticed" if written_down else ""
        unit = "instructions" if quantity == "instructions" else ""
        found.append(Finding(GATE, case_id(name), quantity, level, text, old, new, unit, details, change, limit=HARD))
    return found


def judge_all(base: Mapping[str, Count], head: Mapping[str, Count], *, written_down: bool = True) -> list[Finding]:
    """Of cases that both have; one that only `head` has cannot be told, one that only `base` has is an error."""
    found = []
    for name in sorted({*base, *head}):
        if name not in head:
            found.append(Finding(GATE, case_id(name), "", Level.ERROR, "was not counted"))
        elif name not in base:
            text = "has no golden counts for this toolchain: --bless makes them"
            found.append(Finding(GATE, case_id(name), "", Level.INCONCLUSIVE, text))
        else:
            found += judge(name, base[name], head[name], written_down=written_down)
    return found


# ---- the gate ----


def other_toolchain(head: Toolchain, golden: Golden) -> tuple[str, tuple[str, ...]]:
    """Why nothing can be compared: a sentence, and for each toolchain of the file what differs from it."""
    if not golden.toolchains:
        return "there are no golden counts yet (ci/gate instructions --bless --reason TEXT)", ()
    lines = []
    for key, other in sorted(golden.toolchains.items()):
        differing = [name for name in DECIDING if other.fields.get(name) != head.fields.get(name)]
        lines += [f"{key}: {name}: {other.fields.get(name, '')!r}, here {head.fields.get(name, '')!r}" for name in differing]
    return f"there are no golden counts for this toolchain ({head.key})", tuple(lines)


def _failures(counts: Counts, side: str = "") -> list[Finding]:
    """`side`: "base " or "head " where there are two."""
    found = []
    for name, why in counts.failed.items():
        first, *rest = why.splitlines() or [""]
        text = f"{side}could not be counted: {first}"
        found.append(Finding(GATE, case_id(name), "", Level.ERROR, text, details=tuple(rest)))
    return found


def _suspects(findings: Iterable[Finding], there: Iterable[str]) -> list[str]:
    """Cases to count once more before anybody is told."""
    bad = {one.case for one in findings if one.level in (Level.WARNING, Level.REGRESSION)}
    return sorted(name for name in there if case_id(name) in bad)


def against(head: Counts, golden: Golden) -> Ran:
    """Pure. Every case has findings, whatever happened to it."""
    executed = [case_id(name) for name in head.cases]
    versions = dict.fromkeys(executed, head.toolchain.key)
    found = _failures(head)
    key = head.toolchain.key
    known = golden.counts.get(key)
    if known is None:
        text, details = other_toolchain(head.toolchain, golden)
        for number, (name, one) in enumerate(head.cases.items()):
            shown = details if number == 0 else ()
            level, unit = Level.INCONCLUSIVE, "instructions"
            found.append(Finding(GATE, case_id(name), "instructions", level, text, None, one.instructions, unit, shown))
        return Ran(found, executed, versions)
    base = {name: count for name, count in known.items() if name in head.cases}
    told = golden.toolchains[key].fields
    places = {(case_id(case), name): line for (of, case, name), line in golden.lines.items() if of == key}
    for one in judge_all(base, head.cases):
        placed = replace(one, line=places.get((one.case, one.name)))
        found.append(_remarked(placed, told, head.toolchain.fields))
    return Ran(found, executed, versions)


def _remarked(finding: Finding, golden: Mapping[str, str], here: Mapping[str, str]) -> Finding:
    """With what of the surroundings is not as it was, if anything is wrong."""
    if finding.level in (Level.OK, Level.IMPROVED):
        return finding
    other = [name for name in here if name not in DECIDING and golden.get(name, "") != here[name]]
    doubtful = [name for name in other if name in DOUBTFUL and golden.get(name) and here[name]]
    if "dispatch" in doubtful and not _dispatched_otherwise(golden["dispatch"], here["dispatch"]):
        doubtful.remove("dispatch")
    details = [f"{name}: golden {golden.get(name, '')!r}, here {here[name]!r}" for name in other]
    level, text = finding.level, finding.text
    if doubtful and level in (Level.WARNING, Level.REGRESSION):
        level, text = Level.INCONCLUSIVE, f"{text}; but with another {' and '.join(doubtful)}"
    return replace(finding, level=level, text=text, details=(*finding.details, *details))


def _dispatched_otherwise(golden: str, here: str) -> bool:
    """Of "memset sse2, strlen sse2": whether any of them took other code. That one more is called is the program's doing."""

    def variants(text: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for word in filter(None, text.split(", ")):
            kind, _, variant = word.partition(" ")
            found.setdefault(kind, set()).add(variant)
        return found

    before, now = variants(golden), variants(here)
    return any(before[kind].isdisjoint(now[kind]) for kind in before.keys() & now.keys())


def run(
    binary: Path, work: Path, *, golden: Path | None = None, only: Collection[str] = (), required: Collection[str] = ()
) -> Ran:
    """`work`: an existing folder. `only`: these cases. `required`: cases that were blessed on some toolchain or other.
    GoldenBroken, InstructionsBroken, CaseBroken, OSError: the gate as a whole did not come to its end."""
    path = golden or golden_path()
    before = read(path)  # first: a broken file is known before a minute has passed
    if required and not any(before.counts.values()):
        raise GoldenBroken(f"{path}: its counts are gone, and {len(required)} cases are required")
    named = {case_id(name): name for name in names()}
    unknown = sorted(set(only) - named.keys())
    if unknown:
        raise InstructionsBroken(f"no such case: {', '.join(unknown)} (ci/gate --list)")
    head = count(binary, work, only=[named[case] for case in only]) if only else count(binary, work)
    again = _suspects(against(head, before).findings, head.cases)
    if again:
        head = confirmed(head, count(binary, work, only=again))
    return against(head, before)


def between(base: Path, head: Path, work: Path) -> Ran:
    """Of two builds on this machine, however they were built. Executed is what both were counted in."""
    old, new = count(base, work), count(head, work)
    both = [name for name in old.cases if name in new.cases]
    again = _suspects(_between(old, new), both)
    if again:
        old, new = (confirmed(one, count(binary, work, only=again)) for one, binary in ((old, base), (new, head)))
    executed = [case_id(name) for name in old.cases if name in new.cases]
    return Ran(_between(old, new), executed, dict.fromkeys(executed, new.toolchain.key))


def _between(base: Counts, head: Counts) -> list[Finding]:
    both = [name for name in base.cases if name in head.cases]
    found = judge_all({name: base.cases[name] for name in both}, {name: head.cases[name] for name in both}, written_down=False)
    return [*_failures(base, "base "), *_failures(head, "head "), *found]


def confirmed(first: Counts, again: Counts) -> Counts:
    """Pure: of cases that were counted twice the least counts. A case that fails the second time has failed."""
    cases = {}
    for name, one in first.cases.items():
        if name not in again.failed:
            cases[name] = callgrind.least([one, again.cases.get(name, one)])
    return replace(first, cases=cases, failed={**first.failed, **again.failed})


# ---- blessing ----


def blessed(golden: Golden, head: Counts, line: str) -> tuple[Golden, list[str]]:
    """Pure: the new file, and what changes in words; []: nothing. `line`: the history's.

    What is within the limits never grows, else a little more each time would never be seen: the least count stays, since threads
    that get into each other's way only ever add. Counts of other toolchains stay as long as this one's do not change: then
    they would be those of another program.
    """
    key = head.toolchain.key
    before = golden.counts.get(key, {})
    said = []
    changed = set()
    kept = {}
    for name, count in head.cases.items():
        old = before.get(name)
        kept[name] = count
        if old is None:
            said.append(f"{name}: {count.instructions:,} instructions, {count.allocations:,} allocations (new)")
            continue
        judged = judge(name, old, count)
        words = [f"{f.name} {f.change:+.2%}" for f in judged if f.level is not Level.OK and f.change is not None]
        if old.work != count.work:
            words.append(f"work: {old.work} -> {count.work}")
        if words:
            changed.add(name)
            said.append(f"{name}: {', '.join(words)}")
        else:
            kept[name] = callgrind.least([old, count])
    said += [f"{name}: gone" for name in sorted(before.keys() - head.cases.keys())]
    fields = golden.toolchains[key].fields if key in golden.toolchains else head.toolchain.fields
    said += [f"{name}: {fields.get(name, '')!r} -> {value!r}" for name, value in head.toolchain.fields.items()
             if fields.get(name, "") != value and name in DOUBTFUL]  # fmt: skip
    counts: dict[str, Mapping[str, Count]] = {key: kept}
    toolchains = {key: head.toolchain}
    for other, cases in golden.counts.items():
        left = {name: count for name, count in cases.items() if name not in changed and name in head.cases}
        if other == key or golden.toolchains[other].fields.get("cases") != head.toolchain.fields.get("cases"):
            continue
        gone = sorted(set(cases) - set(left))
        if gone:
            said.append(f"toolchain {other}: {len(gone)} of {len(cases)} cases are forgotten, to be blessed there again")
        if left and len(counts) < TOOLCHAINS_MAX:
            counts[other], toolchains[other] = left, golden.toolchains[other]
    return Golden(toolchains, counts, (*golden.history, line)), said


def bless(binary: Path, work: Path, reason: str, *, golden: Path | None = None) -> tuple[list[str], list[str]]:
    """Rewrites the file. What changed in words, and the cases. NotBlessed, GoldenBroken, InstructionsBroken: nothing is
    written, as when nothing differs."""
    line = history_line(reason)
    path = golden or golden_path()
    read(path)
    head = count(binary, work)
    if head.failed:
        raise NotBlessed("not all commands could be counted: " + "; ".join(f"{n}: {why}" for n, why in head.failed.items()))
    executed = [case_id(name) for name in head.cases]
    after, said = blessed(read(path), head, line)
    if not said:
        return [f"{path.name}: nothing differs by more than the limits, nothing was written"], executed
    write_whole(path, to_text(after))
    return [*said, f"{path.name}: blessed: {line}"], executed
