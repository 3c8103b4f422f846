"""How long cases take, and which of them fit into a given time.

Seconds of a block are sums of a few rates, measured once on a machine of two cores: per entry, per byte, per run. They decide
what is left out, never what is measured; what is left to do is scaled by what the session took so far.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .. import locate
from ..datasets import Recipe
from .plan import BlockPlan, Plan


@dataclass(frozen=True)
class Rates:
    """Seconds."""

    run: float = 0.5  # start, sync, rewinding and listing the store, each run
    byte_read: float = 0.9e-9  # of a run that reads everything
    entry_seen: float = 4e-6
    byte_stored: float = 6e-9  # of a first backup
    byte_compared: float = 2e-9  # restored and hashed, two at a time
    entry_compared: float = 45e-6
    entry_listed: float = 45e-6  # of the tree, by the harness: twice per block
    traced: float = 6.0  # a run under a tracer takes so many times as long
    other_subject: float = 4.0  # programs other than pxarbench take so many times as long


RATES = Rates()

#: Entries and bytes of datasets that were never prepared here: about.
SIZES: Mapping[str, tuple[int, int]] = {
    "linux": (83_500, 1_310_000_000), "linux-git": (83_500, 4_000_000_000), "linux-history": (85_000, 1_400_000_000),
    "coco-like": (6_000, 960_000_000), "coco": (123_500, 20_000_000_000), "tiny": (446, 36_000_000),
    "at-chunk-edges": (60, 350_000_000), "truth": (700, 10_000_000),
}  # fmt: skip
UNKNOWN = (20_000, 500_000_000)


def size_of(recipe: Recipe, cache: Path | None = None) -> tuple[int, int]:
    """Entries and bytes: of the prepared dataset, else about."""
    stamp = (cache or locate.cache()) / "datasets" / recipe.key / "stamp.json"
    try:
        values = json.loads(stamp.read_text())
        return int(values["entries"]), int(values["bytes"])
    except (OSError, ValueError, KeyError):
        return SIZES.get(recipe.name, UNKNOWN)


def _run(entries: int, size: int, subject: str, mode: str, rates: Rates) -> float:
    slower = 1.0 if subject.partition("@")[0] == "pxarbench" else rates.other_subject
    reads = rates.byte_read * size if mode in ("data", "legacy", "force") else 0.0
    return rates.run + slower * (rates.entry_seen * entries + reads)


def first_seconds(plan: Plan, recipe: Recipe, rates: Rates = RATES) -> float:
    """First backups and warm-ups of a dataset."""
    entries, size = size_of(recipe, plan.cache)
    seconds = 4 * rates.entry_listed * entries
    for subject, mode in plan.contenders:
        slower = 1.0 if subject.partition("@")[0] == "pxarbench" else rates.other_subject
        seconds += slower * rates.byte_stored * size + plan.warmups * _run(entries, size, subject, mode, rates)
    return seconds


def block_seconds(plan: Plan, block: BlockPlan, rates: Rates = RATES) -> float:
    entries, size = size_of(block.recipe, plan.cache)
    generations = block.chain.generations
    restored = {"all": plan.rounds, "last": 1, "sample": 0.25, "none": 0}[plan.restore]
    kept = len(block.chain.steps) - 1 + generations - 1
    seconds = 2 * rates.entry_listed * entries * (1 + kept)
    for subject, mode in plan.contenders:
        one = _run(entries, size, subject, mode, rates)
        traced = rates.traced if plan.counts_syscalls and block.counts_syscalls else 0.0
        rounds = (1 if generations > 1 else plan.rounds) * len(plan.caches)
        seconds += one * (kept + rounds + 2 + traced)
        seconds += restored * len(plan.caches) * (rates.byte_compared * size + rates.entry_compared * entries)
    return seconds


def estimated(plan: Plan) -> Plan:
    """With the seconds of each block."""
    return replace(plan, estimates=tuple(round(block_seconds(plan, block), 1) for block in plan.blocks))


def total(plan: Plan) -> float:
    recipes = {block.recipe.key: block.recipe for block in plan.blocks}.values()
    return sum(plan.estimates) + sum(first_seconds(plan, recipe) for recipe in recipes)


def priority(block: BlockPlan) -> tuple[int, int, str]:
    """The lower, the earlier: what tells most about a mode for the time it takes.

    Nothing changed; one percent edited, both extremes of layout; the blind spot, deletions; ten percent edited; the rest of the
    scenarios; the rest of the rates; chains; generations, which take long.
    """
    last = block.chain.steps[-1]
    text = block.chain.text
    if block.chain.generations > 1:
        rank = 6
    elif text == "none":
        rank = 0
    elif last.operation in ("edit", "rewrite") and last.rate in ("1", "10") and last.layout in ("uniform", "clustered"):
        rank = 1 if last.rate == "1" else 3
    elif block.scenario in ("S8", "S4"):
        rank = 2
    elif block.scenario or last.operation not in ("edit", "touch"):
        rank = 4 if len(block.chain.steps) == 1 else 5
    else:
        rank = 5
    return rank, 0 if last.layout != "zipf" else 1, text


def fitted(plan: Plan, seconds: float) -> Plan:
    """As many blocks as fit, by priority; fewer rounds first, down to three (two, when even the first does not fit)."""
    rounds = plan.rounds
    while rounds > 3 and total(estimated(replace(plan, rounds=rounds))) > seconds:
        rounds -= 1
    plan = estimated(replace(plan, rounds=rounds))
    chosen: list[int] = []
    left = seconds
    begun: set[str] = set()
    for number in sorted(range(len(plan.blocks)), key=lambda n: (priority(plan.blocks[n]), n)):
        block = plan.blocks[number]
        first = first_seconds(plan, block.recipe) if block.recipe.key not in begun else 0.0
        needed = plan.estimates[number] + first
        if needed <= left or not chosen:
            chosen.append(number)
            begun.add(block.recipe.key)
            left -= needed
    chosen.sort()
    out = [n for n in range(len(plan.blocks)) if n not in chosen]
    said = [f"{plan.blocks[n].name}: about {plan.estimates[n]:.0f} s more" for n in out]
    if left < 0:
        least = f"{seconds - left:.0f} s, {-left:.0f} s over the budget"
        said.insert(0, f"nothing more: the least that can be measured takes {least}")
    return replace(
        plan, blocks=tuple(plan.blocks[n] for n in chosen), estimates=tuple(plan.estimates[n] for n in chosen),
        left_out=(*plan.left_out, *said),
    )  # fmt: skip
