"""Instructions of one command, counted by callgrind, and what of them is the program's own doing.

Judged are, of everything from main() on:

- *instructions*: those in the program's own code, and those that the C library executes because the program called it (found
  from the calls, not from where they lie: what OpenSSL makes the C library do is OpenSSL's). Functions that wait or lock
  are left out, with all that they do: how often threads wait for each other depends on timing. Each call of the allocator
  counts as 100 instructions, about what it takes: what it really takes depends on which blocks the other threads left free.
- *allocations*: calls of malloc and its relatives, made by the program or by the C library for it.
- *library calls*: calls of libraries other than the C library. What these execute depends on their version and on the
  processor, so it is not judged: hashing twice shows as calls, another level of compression as bytes and time.

The environment is empty but for four words: no function is resolved while it runs, and both the C library and OpenSSL take
the code that every x86-64 processor of the last fifteen years can run, so that counts do not depend on the processor.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import run

#: The only words in the environment. Sorted by what they decide: messages, binding, the C library's and OpenSSL's dispatch.
ENVIRONMENT = (
    "LC_ALL=C.UTF-8",
    "LD_BIND_NOW=1",
    "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM:glibc.malloc.arena_max=1",
    "OPENSSL_ia32cap=0x0:0x0",
)
SECONDS_MAX = 120
_FILE_MAX = 64 << 20  # bytes; of a usual command 0.3 MB

_ALLOCATING = frozenset((
    "malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "memalign",
    "strdup", "strndup", "asprintf", "vasprintf", "getline", "getdelim", "open_memstream", "fopen", "fdopen",
    "opendir", "fdopendir",
))  # fmt: skip
_WAITING = re.compile(r"_*(pthread_|sem_|sched_|thrd_|mtx_|cnd_)|_*(clock_nanosleep|nanosleep|usleep|sleep|poll|ppoll|futex)$")
#: Those that count as so many instructions a call.
_TARIFF = 100
_TARIFFED = frozenset((
    "malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "memalign", "free", "cfree",
    "strdup", "strndup",
))  # fmt: skip
_BEFORE_MAIN = ("_start", "(below main)")
_VARIANT = re.compile(r"__(memcpy|memmove|memset|strlen)\w*?_((?:sse|avx|evex|erms)\w*)")
_OWN, _LIBC, _LOADER, _STUB, _OTHER = "own", "libc", "loader", "stub", "other"


class ProfileBroken(Exception):
    """callgrind did not run, or wrote something that is not understood."""


@dataclass(frozen=True)
class Arc:
    """Calls from one function to another. `instructions`: of these calls, with all that they called."""

    caller: tuple[str, str]  # object, function
    callee: tuple[str, str]
    calls: int
    instructions: int


@dataclass(frozen=True)
class Profile:
    """What one run of callgrind wrote. Objects are file names without folders, "???" where code lies in none that is known."""

    exclusive: Mapping[tuple[str, str], int]  # of an object's function, without what it called
    arcs: tuple[Arc, ...]


@dataclass(frozen=True)
class Count:
    """Of one command. Equal inputs and equal toolchains give equal counts, but for what threads do in another order."""

    instructions: int
    allocations: int
    library_calls: int
    #: Instructions by function: the program's own alone, and `libc calloc`, with all that it called. Sums to `instructions`.
    functions: Mapping[str, int] = field(default_factory=dict, repr=False)
    dispatch: str = ""  # the C library's variants that ran, where their names are known
    work: str = ""  # what the command said that it did; another text: another amount of work

    @property
    def values(self) -> dict[str, int]:
        return {"instructions": self.instructions, "allocations": self.allocations, "library calls": self.library_calls}


# ---- the file ----

_POSITION = re.compile(r"(ob|fl|fi|fe|fn|cob|cfi|cfl|cfn)=\((\d+)\)(?: (.*))?$")
_CALLS = re.compile(r"calls=(\d+) ")
_COST = re.compile(r"(?:[+-]?\d+|\*) (\d+)$")
_NO_COST = re.compile(r"(?:[+-]?\d+|\*)$")
_KIND = {"ob": "ob", "cob": "ob", "fn": "fn", "cfn": "fn"}


def parse(text: str) -> Profile:
    """Of an output file with one event and compressed names. ProfileBroken names the line."""
    names: dict[str, dict[str, str]] = {"ob": {}, "fl": {}, "fn": {}}
    exclusive: Counter[tuple[str, str]] = Counter()
    calls: Counter[tuple[tuple[str, str], tuple[str, str]]] = Counter()
    inclusive: Counter[tuple[tuple[str, str], tuple[str, str]]] = Counter()
    here = {"ob": "", "fn": "", "cob": "", "cfn": ""}
    pending: tuple[tuple[str, str], tuple[str, str]] | None = None
    body = total = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("events:"):
            if line.split()[1:] != ["Ir"]:
                raise ProfileBroken(f"line {number}: counts {line[7:].strip()}, not Ir alone")
            body = number
        elif line.startswith(("summary:", "totals:")):
            total = int(line.split()[1])
        elif found := _POSITION.match(line):
            word, key, name = found.groups()
            kind = _KIND.get(word, "fl")
            if name is not None:
                names[kind][key] = _short(kind, name)
            if key not in names[kind]:
                raise ProfileBroken(f"line {number}: ({key}) was never named: {line}")
            here[word] = names[kind][key]
            if word == "fn":
                here["cob"] = ""
        elif found := _CALLS.match(line):
            pending = (here["ob"], here["fn"]), (here["cob"] or here["ob"], here["cfn"])
            calls[pending] += int(found.group(1))
        elif body and (found := _COST.match(line)):
            if pending:
                inclusive[pending] += int(found.group(1))
                pending, here["cob"] = None, ""
            else:
                exclusive[here["ob"], here["fn"]] += int(found.group(1))
        elif body and _NO_COST.match(line):  # a call that cost nothing, or a line without instructions
            if pending:
                pending, here["cob"] = None, ""
        elif body:
            raise ProfileBroken(f"line {number}: not understood: {line[:200]}")
    if not body or not exclusive:
        raise ProfileBroken("no counts in it")
    if total and total != sum(exclusive.values()):
        raise ProfileBroken(f"its functions have {sum(exclusive.values()):,} instructions, its summary {total:,}")
    return Profile(dict(exclusive), tuple(Arc(*key, calls[key], inclusive[key]) for key in sorted(calls)))


def _short(kind: str, name: str) -> str:
    if kind == "ob":
        return name.rsplit("/", 1)[-1]
    return re.sub(r"'\d+$", "", name) if kind == "fn" else name  # 'N: the depth of a recursion


# ---- what of it is the program's ----


def _group(name: str, program: str) -> str:
    if name == program:
        return _OWN
    if name == "???":  # stubs of functions whose address is taken: as if the caller had called the target
        return _STUB
    if name.startswith("ld-linux") or name.startswith("ld-musl") or name.startswith("ld64"):
        return _LOADER
    return _LIBC if name.startswith(("libc.so", "libc-")) else _OTHER


def _stubs(profile: Profile) -> dict[tuple[str, str], tuple[str, str]]:
    """Stub -> the one function it leads to."""
    return {arc.caller: arc.callee for arc in profile.arcs if arc.caller[0] == "???" and arc.callee[0] != "???"}


def _name(function: tuple[str, str]) -> str:
    return function[1].split("@", 1)[0]


Function = tuple[str, str]


def _reached(starts: Iterable[Function], below: Mapping[Function, Sequence[Function]]) -> set[Function]:
    found: set[Function] = set()
    pending = list(starts)
    while pending:
        function = pending.pop()
        if function not in found:
            found.add(function)
            pending += below.get(function, ())
    return found


def counted(profile: Profile, program: str) -> Count:
    """`program`: the file name of the program. ProfileBroken when it executed nothing."""
    functions: Counter[str] = Counter()
    for (where, name), cost in profile.exclusive.items():
        if where == program:
            functions[name] += cost
    if not functions:
        raise ProfileBroken(f"no instruction of {program} was counted")

    stubs = _stubs(profile)
    library_calls = allocations = 0
    entries: set[tuple[str, str]] = set()
    for arc in profile.arcs:
        if _group(arc.caller[0], program) != _OWN:
            continue
        target = stubs.get(arc.callee, arc.callee)
        group = _group(target[0], program)
        if group == _OTHER:
            library_calls += arc.calls
        if group != _LIBC or arc.caller[1] in _BEFORE_MAIN or _WAITING.match(_name(target)):
            continue
        entries.add(target)
        plain = _name(target).lstrip("_")
        if plain in _ALLOCATING:
            allocations += arc.calls
        functions[f"libc {_name(target)}"] += arc.calls * _TARIFF if plain in _TARIFFED else arc.instructions
    below: dict[Function, list[Function]] = {}
    for arc in profile.arcs:
        if _group(arc.caller[0], program) == _LIBC and _group(arc.callee[0], program) == _LIBC:
            below.setdefault(arc.caller, []).append(arc.callee)
    # What a sort calls back has lines of its own. The first function of a thread is called by the C library, too, but not
    # below a call of the program.
    back = [arc for arc in profile.arcs if arc.callee[0] == program and _group(arc.caller[0], program) == _LIBC]
    for entry in sorted(entries):
        reached = _reached([entry], below)
        for arc in [arc for arc in back if arc.caller in reached]:
            functions[f"libc {_name(entry)}"] -= arc.instructions
            back.remove(arc)
    variants = {f"{kind} {variant}" for where, name in profile.exclusive if _group(where, program) == _LIBC
                for kind, variant in _VARIANT.findall(name)}  # fmt: skip
    return Count(sum(functions.values()), allocations, library_calls, dict(functions), ", ".join(sorted(variants)))


# ---- running ----


def command(valgrind: str, out: Path, words: Sequence[str]) -> list[str]:
    """The same words every time but for `out`, whose length is the caller's to keep."""
    options = ["--tool=callgrind", "--command-line-only=yes", "--fair-sched=try", "--dump-line=no", "--zero-before=main"]
    return ["env", "-i", *ENVIRONMENT, valgrind, *options, f"--callgrind-out-file={out}", *words]


def measure(valgrind: str, words: Sequence[str], *, cwd: Path, out: Path, program: str) -> tuple[Count, run.Result]:
    """One run of `words` in `cwd`; the profile is written to `out` and removed. CommandFailed, ProfileBroken."""
    try:
        result = run.run(command(valgrind, out, words), cwd=cwd, timeout=SECONDS_MAX).check_ok()
        if out.stat().st_size > _FILE_MAX:
            raise ProfileBroken(f"{out}: is larger than {_FILE_MAX} bytes")
        return counted(parse(out.read_text(encoding="utf-8", errors="replace")), program), result
    except FileNotFoundError:
        raise ProfileBroken(f"{out}: callgrind wrote nothing") from None
    finally:
        out.unlink(missing_ok=True)


def least(counts: Sequence[Count]) -> Count:
    """Of repetitions: the one with the fewest instructions. Threads that get into each other's way only ever add."""
    return min(counts, key=lambda count: (count.instructions, count.allocations, count.library_calls))
