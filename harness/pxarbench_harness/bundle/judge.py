"""What a replay found: integers of there and of here, line by line. Pure.

An integer that differs is a regression, whoever is to blame: the program, when it is another one; else what was thought to be
reproducible is not. It is inconclusive where the two did not have the same to do: another tree, other steps of a mutation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from .. import integers
from ..gates.verdict import Finding, Level, Verdict
from ..integers import Line
from ..record import Record
from ..report.words import many
from ..subjects.pxarbench import NOT_READ

_DETAILS = 20
#: Characters by which verdicts name a program.
_PREFIX = 12


class Standing(Enum):
    """Of a dataset's tree before any mutation."""

    SAME = "same"
    ALIKE = "alike"  # but for owners, extended attributes, devices: these depend on who made it, and where
    OTHER = "other"


@dataclass(frozen=True)
class Ground:
    """One dataset, here."""

    name: str
    standing: Standing
    reason: str  # "" when it is the same


def ground(
    name: str, there: Mapping[str, str], tree_digest: str, portable_digest: str, source: str, filesystem: str,
    attributes: frozenset[str],
) -> Ground:  # fmt: skip
    """`there`: of Manifest.datasets. Everything else is of here: `filesystem` its type alone, `attributes` facets of files that
    not every file system shows."""
    if tree_digest == there["tree_digest"]:
        left_out = NOT_READ.get(filesystem, frozenset()) ^ NOT_READ.get(there["filesystem"], frozenset())
        if left_out & attributes:
            reason = f"archives do not hold the same attributes of a tree on {filesystem} and on {there['filesystem']}"
            return Ground(name, Standing.ALIKE, f"dataset {name}: {reason}")
        return Ground(name, Standing.SAME, "")
    if portable_digest == there["portable_digest"]:
        reason = "owners, extended attributes or devices are others here, as another user or file system makes them"
        return Ground(name, Standing.ALIKE, f"dataset {name}: {reason}")
    return Ground(
        name, Standing.OTHER,
        f"dataset {name}: the tree is another one here: {tree_digest[:12]} ({source}), there {there['tree_digest'][:12]} "
        f"({there['source']})",
    )  # fmt: skip


# ---- integers ----

_Key = tuple[str, str, int, str]


def _by_key(lines: Iterable[Line]) -> dict[_Key, str]:
    """Repetitions that disagree among each other show up as several values."""
    found: dict[_Key, list[str]] = {}
    for *key, value in lines:
        found.setdefault((key[0], key[1], key[2], key[3]), []).append(value)  # type: ignore[arg-type]
    return {key: " and ".join(sorted(values)) for key, values in found.items()}


def _value(text: str | None) -> int | str | None:
    return int(text) if text is not None and re.fullmatch("0|-?[1-9][0-9]{0,17}", text) else text


def _gate(counter: str) -> str:
    return "encodings" if counter.startswith("checksum.") else "counters"


def lines(
    there: Sequence[Record], here: Sequence[Record], doubts: Mapping[str, str], cases: Iterable[str]
) -> list[Finding]:
    """One finding per integer of `cases`. `doubts`: case -> why a difference would prove nothing."""
    wanted = set(cases)
    left, right = (_by_key(line for line in integers.of(records) if line[0] in wanted) for records in (there, here))
    found = []
    for key in sorted(left.keys() | right.keys()):
        case, phase, generation, counter = key
        base, head = _value(left.get(key)), _value(right.get(key))
        name = "/".join([phase, *([str(generation)] if generation else []), counter])
        unit = "sha256" if isinstance(base, str) and len(base) == 64 else ""
        if base == head:
            found.append(Finding(_gate(counter), case, name, Level.OK, "as there", base, head, unit))
            continue
        text = f"was {_said(base)} there, is {_said(head)} here"
        doubt = doubts.get(case)
        level = Level.INCONCLUSIVE if doubt else Level.REGRESSION
        found.append(Finding(_gate(counter), case, name, level, text, base, head, unit, (doubt,) if doubt else ()))
    return found


def _said(value: int | float | str | None) -> str:
    if value is None:
        return "nothing"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else value


def moot(there: Sequence[Record], here: Sequence[Record]) -> dict[str, str]:
    """Cases whose trees are not the same once they were changed: case -> sentence."""
    name = "dataset.tree_digest"
    left, right = ({k: v for k, v in _by_key(integers.of(records)).items() if k[3] == name} for records in (there, here))
    return {
        key[0]: "the mutation led to another tree here"
        for key in sorted(left.keys() & right.keys()) if left[key] != right[key]
    }  # fmt: skip


# ---- what else is told ----


def problems(there: Sequence[Record], here: Sequence[Record]) -> list[Finding]:
    """What the checks of a session found: here, and there. The same there makes it evidence, and no news."""
    found = []
    for case in sorted({r.case for r in (*there, *here) if r.problems}):
        was = sorted({p for r in there if r.case == case for p in r.problems})
        now = sorted({p for r in here if r.case == case for p in r.problems})
        details = tuple(now[:_DETAILS]) or tuple(was[:_DETAILS])
        if was and now:
            level, text = Level.WARNING, "the checks find problems, as they did there"
        elif now:
            level, text = Level.REGRESSION, "the checks find problems that were not there"
        else:
            level, text = Level.REGRESSION, "the checks found problems there, which do not show here"
        found.append(Finding("checks", case, "problems", level, text, len(was), len(now), "", details))
    return found


def operation_logs(
    there: Mapping[str, bytes], here: Mapping[str, bytes], *, same_harness: bool, wanted: Iterable[str]
) -> list[Finding]:
    """Of mutations that ran here: what was done to which file. The program has no part in it. File name -> contents; `wanted`:
    how names begin of logs that both have to have."""
    found = []
    needed = [re.compile(f"{re.escape(begin)}(-[0-9]+)?\\.jsonl") for begin in wanted]
    for name in sorted(there.keys() ^ here.keys()):
        if any(pattern.fullmatch(name) for pattern in needed):
            text = "only the bundle has it" if name in there else "is not in the bundle: its steps were not compared"
            found.append(Finding("checks", "", name, Level.INCONCLUSIVE, text))
    for name in sorted(there.keys() & here.keys()):
        if there[name] == here[name]:
            found.append(Finding("checks", "", name, Level.OK, "the same steps"))
            continue
        number = _first_difference(there[name], here[name])
        why = "with the same harness" if same_harness else "the harness is another one"
        level = Level.REGRESSION if same_harness else Level.INCONCLUSIVE
        found.append(Finding("checks", "", name, level, f"other steps from line {number} on: {why}"))
    return found


def _first_difference(a: bytes, b: bytes) -> int:
    """From 1."""
    one, other = a.splitlines(), b.splitlines()
    return next((n for n, (x, y) in enumerate(zip(one, other, strict=False), 1) if x != y), min(len(one), len(other)) + 1)


def left_out(excuses: Mapping[str, str]) -> list[Finding]:
    """`excuses`: case -> why it was not compared. One finding per reason."""
    cases: dict[str, list[str]] = {}
    for case, reason in sorted(excuses.items()):
        cases.setdefault(reason, []).append(case)
    found = []
    for reason, names in cases.items():
        text = f"{many(len(names), 'case')} not compared: {reason}"
        found.append(Finding("counters", "", "", Level.INCONCLUSIVE, text, details=tuple(names[:_DETAILS])))
    return found


def rows(
    gate: str, case: str, there: Sequence[Mapping[str, object]], here: Sequence[Mapping[str, object]], key: str
) -> list[Finding]:
    """Tables of whole numbers, e.g. those of exhaustive.json: rows are told apart by the field `key`."""
    found = []
    left, right = ({str(row.get(key)): row for row in table} for table in (there, here))
    for row in sorted(left.keys() | right.keys()):
        names = sorted((left.get(row, {}).keys() | right.get(row, {}).keys()) - {key})
        for name in names:
            base, head = (_whole(side.get(row, {}).get(name)) for side in (left, right))
            same = base == head
            text = "as there" if same else f"was {_said(base)} there, is {_said(head)} here"
            level = Level.OK if same else Level.REGRESSION
            found.append(Finding(gate, case, f"{key} {row}/{name}", level, text, base, head))
    return found


def _whole(value: object) -> int | str | None:
    return value if value is None or (isinstance(value, int) and not isinstance(value, bool)) else str(value)


def heads(there: Verdict, here: Verdict, exact_gates: Sequence[str]) -> list[Finding]:
    """What two runs of the same gates found out about the program, whatever they compared it with."""
    left, right = _numbered(there), _numbered(here)
    found = []
    for key in sorted(left.keys() | right.keys()):
        gate, case, name, _ = key
        one, other = left.get(key), right.get(key)
        base, head = _of_head(one), _of_head(other)
        unit = one.unit if one else other.unit if other else ""
        if base == head:
            found.append(Finding(gate, case, name, Level.OK, "as there", base, head, unit))
            continue
        text = f"was {_said(base)} there, is {_said(head)} here"
        level = Level.REGRESSION
        if gate not in exact_gates:
            level, text = Level.INCONCLUSIVE, f"{text}: holds for one processor and one set of libraries"
        elif (one is None and _is_blind(there, gate, case)) or (other is None and _is_blind(here, gate, case)):
            level, text = Level.INCONCLUSIVE, f"{text}: one of the two could not compare this case"
        details = other.details if other is not None and other.level.is_bad else ()
        found.append(Finding(gate, case, name, level, text, base, head, unit, details))
    return found


def _numbered(verdict: Verdict) -> dict[tuple[str, str, str, int], Finding]:
    """Several findings may have one name: they are told apart by their order."""
    found: dict[tuple[str, str, str, int], Finding] = {}
    for finding in verdict.findings:
        number = 0
        while (key := (finding.gate, finding.case, finding.name, number)) in found:
            number += 1
        found[key] = finding
    return found


def _of_head(finding: Finding | None) -> int | float | str | None:
    """What is known of the program: a value, or the level of a finding that is about none."""
    if finding is None or finding.head is not None:
        return None if finding is None else finding.head
    return None if finding.base is not None else finding.level.value


def _is_blind(verdict: Verdict, gate: str, case: str) -> bool:
    """Whether the gate said that it could not look at the case, or at any."""
    told = (Level.INCONCLUSIVE, Level.ERROR)
    return any(f.gate == gate and f.case in ("", case) and f.level in told and f.head is None for f in verdict.findings)


def program(there: Mapping[str, str], here: Mapping[str, str]) -> list[Finding]:
    """Whether it is the same program: by its bytes. Another one is no failure, but has to be known."""
    if not there:
        return [Finding("checks", "", "program", Level.WARNING, "the bundle does not say which program it was")]
    base, head = there.get("sha256", ""), here.get("sha256", "")
    if len(base) >= _PREFIX and head.startswith(base):
        return [Finding("checks", "", "program", Level.OK, "the same program", base, head, "sha256")]
    details = tuple(
        f"{name}: {there.get(name) or 'not known'} there, {here.get(name) or 'not known'} here"
        for name in ("version", "compiler", "flags", "preset") if there.get(name, "") != here.get(name, "")
    )  # fmt: skip
    text = "another build of the program than there"
    return [Finding("checks", "", "program", Level.WARNING, text, base, head, "sha256", details)]
