"""From samples to findings. Pure: what decide.py says of each quantity, in the words of a verdict."""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..gates.verdict import Finding, Level
from . import decide
from .decide import BASE, HEAD, NULL, Limits
from .rounds import Sample, by_round, values

LIMITS_FILE = Path(__file__).with_name("limits.toml")


@dataclass(frozen=True)
class Quantity:
    """Something that is measured, not counted."""

    gate: str
    name: str
    field: str  # of Numbers
    unit: str


#: Processor time does not show that threads wait for each other, but on a busy machine it is the quieter of the two.
MEASURED = (
    Quantity("time", "wall", "wall_ns", "ns"),
    Quantity("time", "processor", "processor_ns", "ns"),
    Quantity("memory", "peak-rss", "peak_rss_bytes", "bytes"),
)
COUNTED = {"stored": "stored_bytes", "read": "read_bytes"}


class LimitsBroken(Exception):
    """The file of limits is at fault; the text names the field."""


@dataclass(frozen=True)
class AllLimits:
    of: Mapping[str, Mapping[str, Limits]]  # name of a measured quantity -> case ("" for all others) -> limits
    bytes_floor: float
    bytes_slack: int

    def limits(self, name: str, case: str) -> Limits:
        return self.of[name].get(case, self.of[name][""])


def read_limits(path: Path = LIMITS_FILE) -> AllLimits:
    """OSError, LimitsBroken."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LimitsBroken(f"{path}: {error}") from None

    def known(table: Any, where: str, names: Collection[str]) -> None:
        for name in table if isinstance(table, dict) else ():
            if name not in names:
                raise LimitsBroken(f"{path}: there is no {where}{name}; there are {', '.join(names)}")

    def number(table: Any, name: str, where: str) -> float:
        value = table.get(name) if isinstance(table, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise LimitsBroken(f"{path}: {where}.{name} is {value!r}, no number from 0 on")
        return float(value)

    def share(table: Any, name: str, where: str) -> float:
        value = number(table, name, where)
        if value >= 1:
            raise LimitsBroken(f"{path}: {where}.{name} is {value!r}, a share below 1: 0.02 is 2 %")
        return value

    def limits(table: Any, where: str, also: Collection[str] = ()) -> Limits:
        known(table, f"{where}.", ("floor", "promise", *also))
        found = Limits(share(table, "floor", where), share(table, "promise", where))
        if found.promise <= found.floor:
            raise LimitsBroken(f"{path}: {where}.promise is not above its floor")
        return found

    known(said, "", (*(quantity.name for quantity in MEASURED), "bytes"))
    of = {}
    for name in (quantity.name for quantity in MEASURED):
        table = said.get(name)
        cases = table.get("case", {}) if isinstance(table, dict) else {}
        if not isinstance(cases, dict):
            raise LimitsBroken(f"{path}: {name}.case is no table")
        of[name] = {"": limits(table, name, ("case",))}
        of[name] |= {case: limits(one, f"{name}.case.{case}") for case, one in cases.items()}
    counted = said.get("bytes")
    known(counted, "bytes.", ("floor", "slack"))
    return AllLimits(of, share(counted, "floor", "bytes"), int(number(counted, "slack", "bytes")))


def assess(samples: Sequence[Sample], cases: Iterable[str], quantity: Quantity, limits: AllLimits) -> decide.Series:
    chosen = list(cases)
    return decide.assess(
        {case: by_round(samples, case, quantity.field) for case in chosen},
        {case: limits.limits(quantity.name, case) for case in chosen},
    )


def suspects(samples: Sequence[Sample], cases: Sequence[str], limits: AllLimits) -> list[str]:
    """Cases of which rounds are needed again, in the order of `cases`."""
    found = {case for quantity in MEASURED for case in decide.suspects(assess(samples, cases, quantity, limits))}
    return [case for case in cases if case in found]


def measured(
    first: Sequence[Sample],
    confirm: Sequence[Sample],
    cases: Sequence[str],
    quantity: Quantity,
    limits: AllLimits,
    lost: Collection[str] = (),
) -> list[Finding]:
    """A finding per case. `confirm`: rounds of the cases that suspects() named, at least; they may be more. `lost`: cases that
    failed in these, of which nothing is said. ValueError: a suspect was not measured again."""
    one = assess(first, cases, quantity, limits)
    one = replace(one, cases={case: told for case, told in one.cases.items() if case not in lost})
    measured_again = {sample.case for sample in confirm}
    again = [case for case in decide.suspects(one) if case in measured_again]
    two = assess(confirm, again, quantity, limits) if again else None
    judged = decide.judge(one, two)
    found = []
    for case, told in one.cases.items():
        of_base = values(first, case, quantity.field, BASE) + values(first, case, quantity.field, NULL)
        details = [f"two copies of base: {decide.between(told.null)}"]
        if two is not None and case in two.cases:
            details.append(f"confirming rounds: {decide.between(two.cases[case].head)}")
            details.append(f"two copies of base in these: {decide.between(two.cases[case].null)}")
        details += [f"the session: {trouble}" for trouble in one.troubles]
        found.append(Finding(
            quantity.gate, case, quantity.name, judged[case].level, judged[case].text,
            base=round(statistics.median(of_base)),
            head=round(statistics.median(values(first, case, quantity.field, HEAD))),
            unit=quantity.unit, details=tuple(details), change=told.head.change, low=told.head.low,
            high=told.head.high if math.isfinite(told.head.high) else None, detectable=told.detectable,
            limit=told.limit if math.isfinite(told.limit) else None, rounds=len(by_round(first, case, quantity.field)),
        ))  # fmt: skip
    return found


def counted(samples: Sequence[Sample], cases: Sequence[str], limits: AllLimits) -> list[Finding]:
    """A finding per case and number that must not differ. More is a regression, less an improvement."""
    found = []
    for case in cases:
        for name, field in COUNTED.items():
            base = values(samples, case, field, BASE) + values(samples, case, field, NULL)
            head = values(samples, case, field, HEAD)
            if max(base + head) > 0:
                found.append(_counted(case, name, base, head, limits))
            elif name == "read":  # every program reads something
                found.append(Finding("bytes", case, name, Level.WARNING, "not compared: this kernel does not count them"))
    return found


def _counted(case: str, name: str, base: Sequence[int], head: Sequence[int], limits: AllLimits) -> Finding:
    slack = limits.bytes_slack if name == "read" else 0
    old, new = round(statistics.median(base)), round(statistics.median(head))
    differs = {arm: max(of_arm) - min(of_arm) > slack for arm, of_arm in (("base", base), ("head", head))}
    details = tuple(
        f"{arm}: {min(of_arm):,} to {max(of_arm):,}, not the same each time"
        for arm, of_arm in (("base", base), ("head", head))
        if differs[arm]
    )
    more, least = new - old, max(slack, limits.bytes_floor * old)
    change = more / old if old else None
    if min(head) <= max(base) + slack and min(base) <= max(head) + slack and (details or abs(more) <= least):
        level, text = Level.OK, "as before"
    elif abs(more) <= least:
        level, text = Level.OK, f"{more:+,} bytes, within the limit"
    else:
        level = Level.REGRESSION if more > 0 else Level.IMPROVED
        text = f"{more:+,} bytes" + (f", {decide.percent(change)}" if change is not None else "")
    if differs["head"] and not differs["base"]:
        # What is stored follows from the tree alone. What is read may have been a matter of luck: then, once is not enough.
        is_worse = level is Level.REGRESSION or (name == "stored" and max(head) - max(base) > least)
        level = Level.REGRESSION if is_worse else Level.WARNING
        text += "; differs from run to run, which base does not"
    return Finding("bytes", case, name, level, text, old, new, "bytes", details, change, limit=limits.bytes_floor)


def advised(findings: Iterable[Finding], gates: Sequence[str]) -> list[Finding]:
    """Of these gates nothing fails a job: what would is a warning."""
    bad = (Level.REGRESSION, Level.INCONCLUSIVE)
    return [
        Finding(**{**vars(one), "level": Level.WARNING, "details": (f"advice only; would be: {one.level.value}", *one.details)})
        if one.gate in gates and one.level in bad
        else one
        for one in findings
    ]  # fmt: skip
