"""The list of cases that have to run: results/golden/required.txt. Fewer is an error, whatever the others say.

    # what a line is
    counters home-like-300-none-data-warm          GATE CASE, sorted
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .. import locate
from .golden import GoldenBroken, few, text_of, write_whole
from .verdict import GATES, Finding, Level

PATH = locate.results() / "golden" / "required.txt"
_HEAD = "# GATE CASE: what ci/gate has to run; a skip is not a pass. Rewritten by ci/gate --bless.\n"


def read(path: Path = PATH) -> dict[str, tuple[str, ...]]:
    """By gate. Nothing there requires nothing. GoldenBroken names the line; OSError."""
    found: dict[str, list[str]] = {}
    before = ""
    for number, line in enumerate((text_of(path) or "").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(" ")
        if len(words) != 2 or not all(words) or words[0] not in GATES:
            raise GoldenBroken(f"{path}: line {number}: expected GATE CASE: {line[:200]}")
        if line <= before:
            raise GoldenBroken(f"{path}: line {number}: {'twice' if line == before else 'not sorted'}: {line[:200]}")
        before = line
        found.setdefault(words[0], []).append(words[1])
    return {gate: tuple(cases) for gate, cases in found.items()}


def of(required: Mapping[str, Sequence[str]], gates: Iterable[str]) -> tuple[str, ...]:
    """Of these gates only: who runs one gate need not have run the others."""
    return tuple(sorted({case for gate in gates for case in required.get(gate, ())}))


def gaps(
    gate: str, required: Mapping[str, Sequence[str]], executed: Iterable[str], optional: Iterable[str] = ()
) -> list[Finding]:
    """Where the list cannot be relied on: it was emptied, or does not know a case, which nobody would miss then."""
    listed, how = required.get(gate, ()), f"ci/gate {gate} --bless"
    if not listed:
        text = f"{PATH.name} has no case of gate {gate}: nothing tells what has to run ({how})"
        return [Finding("required", "", gate, Level.ERROR, text)]
    text = f"ran, and is not in {PATH.name}: nobody would miss it ({how})"
    left = sorted(set(executed) - set(listed) - set(optional))
    return [Finding("required", case, "", Level.ERROR, text) for case in left]


def rewrite(gate: str, executed: Iterable[str], path: Path = PATH) -> list[str]:
    """Requires of a gate what it has just run. Sentences for people, [] when the list stays. GoldenBroken, OSError."""
    required = read(path)
    before, now = set(required.get(gate, ())), set(executed)
    bad = sorted(case for case in now if not case or len(case.split()) != 1 or not case.isprintable())
    if bad:
        raise GoldenBroken(f"{gate}: {bad[0]!r} cannot stand in {path.name}")
    if before == now:
        return []
    required[gate] = tuple(sorted(now))
    lines = sorted(f"{name} {case}\n" for name, cases in required.items() for case in cases)
    write_whole(path, _HEAD + "".join(lines))
    said = []
    if now - before:
        said.append(f"{path.name}: {len(now - before)} more required: {few(sorted(now - before))}")
    if before - now:
        said.append(f"{path.name}: {len(before - now)} no longer required: {few(sorted(before - now))}")
    return said
