"""Goes through all sequences, a unit at a time, so that a search can be split and resumed.

A unit is the empty sequence, one operation, or two operations with everything that can follow them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .cases import FIRST_TIME, Finding, Ground, Setting, Taken
from .garden import state_of
from .operations import WORDS, apply_all, apply_next

Words = tuple[str, ...]
LENGTH = 3


def units(words: Sequence[str] = WORDS) -> list[Words]:
    return [(), *((a,) for a in words), *((a, b) for a in words for b in words)]


def sequences_of(unit: Words, words: Sequence[str] = WORDS) -> Iterator[Words]:
    yield unit
    if len(unit) == 2:
        for word in words:
            yield (*unit, word)


@dataclass
class Tally:
    sequences: int = 0
    skipped: int = 0  # an operation did not apply
    repeated: int = 0  # of the sequences: they gave a tree that was there before, and were not backed up again
    cases: int = 0
    restores: int = 0
    missed_files: int = 0  # expected misses that came true
    collateral_files: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    states: list[str] = field(default_factory=list)  # of the trees that were backed up

    def add(self, other: Tally) -> None:
        for name in ("sequences", "skipped", "repeated", "cases", "restores", "missed_files", "collateral_files", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.findings += other.findings
        self.states += other.states


@dataclass
class Search:
    ground: Ground
    #: Every n-th case is restored by the program and compared with the tree, besides the check of the streams.
    restore_every: int = 50
    #: A run after each operation, each with the one before as reference; else one run after the last, with the base.
    chained: bool = False
    #: Not chained: whether two sequences that give the same tree are both backed up. What a run does depends on the tree
    #: and on the reference, not on the way to the tree.
    repeats: bool = False
    case_number: int = 0
    seen: set[str] = field(default_factory=set)

    def unit(self, unit: Words) -> Tally:
        tally, started = Tally(), time.monotonic()
        garden = self.ground.garden
        garden.become(self.ground.base_names)
        if not apply_all(garden, unit):
            tally.skipped = len(list(sequences_of(unit)))
            return tally
        lineage = self._lineage(unit) if self.chained else {}
        here = garden.names
        for sequence in sequences_of(unit):
            garden.become(here)
            if len(sequence) > len(unit) and not apply_next(garden, unit, sequence[-1]):
                tally.skipped += 1
                continue
            self.sequence(sequence, tally, lineage, is_prefix=len(sequence) == len(unit))
        for setting in self.ground.settings:
            for taken in lineage.get(setting.id, []):
                self.ground.drop(setting, taken)
        tally.seconds = time.monotonic() - started
        return tally

    def _lineage(self, unit: Words) -> dict[str, list[Taken]]:
        """Runs after all but the last operation of `unit`; the tree is left as `unit` makes it."""
        found: dict[str, list[Taken]] = {setting.id: [] for setting in self.ground.settings}
        garden = self.ground.garden
        garden.become(self.ground.base_names)
        for at in range(len(unit)):
            if at:
                tree = self.ground.look()
                for setting in self.ground.settings:
                    chain = found[setting.id]
                    before = chain[-1] if chain else self.ground.base[setting.id]
                    _, taken = self.ground.run_case(setting, before, FIRST_TIME + at, tree)
                    if taken:
                        chain.append(taken)
            assert apply_next(garden, unit[:at], unit[at])
        return found

    def sequence(
        self, words: Words, tally: Tally, lineage: dict[str, list[Taken]] | None = None, *, is_prefix: bool = False
    ) -> None:
        """All settings, over the tree as it is."""
        lineage = lineage if lineage is not None else {}
        tree = self.ground.look()
        tally.sequences += 1
        state = state_of(self.ground.garden.names)
        if state in self.seen and not self.chained and not self.repeats:
            tally.repeated += 1
            return
        self.seen.add(state)
        tally.states.append(state)
        for setting in self.ground.settings:
            chain = lineage.get(setting.id, [])
            before = chain[-1] if chain else self.ground.base[setting.id]
            problems, taken = self.ground.run_case(setting, before, FIRST_TIME + 1 + len(chain), tree)
            tally.cases += 1
            self.case_number += 1
            if taken:
                for path, stored in taken.archive.items():
                    if stored.offset is not None and stored.entry.digest != tree.entries[path].digest:
                        tally.missed_files += 1
                tally.collateral_files += self.ground.collateral
                if not problems and self.case_number % self.restore_every == 0:
                    tally.restores += 1
                    problems = self.ground.restore_differences(setting, taken, before, tree)
            if problems:
                tally.findings.append(Finding(words, setting.id, problems))
            if taken and is_prefix and len(words) == 2 and self.chained:
                chain.append(taken)  # what follows refers to it
            elif taken:
                self.ground.drop(setting, taken)


# ---- many units ----


def shard(all_units: Sequence[Words], text: str) -> list[Words]:
    """`2/5`: the second of five parts of about equal length."""
    part, _, count = text.partition("/")
    number, parts = int(part), int(count or "1")
    if not 1 <= number <= parts:
        raise ValueError(f"no shard {text}")
    return [unit for k, unit in enumerate(all_units) if k % parts == number - 1]


@dataclass
class Journal:
    """What is done already, a line per unit, so that an interrupted search goes on where it was."""

    path: Path
    header: dict[str, object]

    def load(self) -> dict[Words, Tally]:
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.header) + "\n")
            return {}
        first, *lines = self.path.read_text().splitlines()
        if json.loads(first) != self.header:
            raise ValueError(f"{self.path} is of another search: {first}")
        done: dict[Words, Tally] = {}
        for line in lines:
            try:
                values = json.loads(line)
            except ValueError:  # cut off by an interruption: that unit is done again
                continue
            unit = tuple(values.pop("unit"))
            found = [Finding(tuple(f["words"]), f["setting"], f["problems"]) for f in values.pop("findings")]
            done[unit] = Tally(**values, findings=found)
        return done

    def add(self, unit: Words, tally: Tally) -> None:
        values = {**vars(tally), "unit": unit, "findings": [vars(finding) for finding in tally.findings]}
        with open(self.path, "a", encoding="ascii") as out:
            out.write(json.dumps(values) + "\n")


def run_units(
    search: Search, wanted: Iterable[Words], journal: Journal | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Tally:  # fmt: skip
    """All of them, those of the journal not again. Says now and then how far it is."""
    wanted = list(wanted)
    done = journal.load() if journal else {}
    search.seen.update(state for tally in done.values() for state in tally.states)
    total = Tally()
    said_at = time.monotonic()
    for number, unit in enumerate(wanted, 1):
        tally = done.get(unit)
        if tally is None:
            tally = search.unit(unit)
            if journal:
                journal.add(unit, tally)
        total.add(tally)
        total.states.clear()
        for finding in tally.findings:
            say(finding.text())
        if time.monotonic() - said_at > 30 or number == len(wanted):
            said_at = time.monotonic()
            rate = total.seconds / total.cases * 1000 if total.cases else 0
            say(
                f"{number}/{len(wanted)} units, {total.sequences} sequences ({total.skipped} more do not apply, "
                f"{total.repeated} give a tree again), {total.cases} cases, {rate:.1f} ms each, {total.restores} restored, {total.missed_files} expected misses, "
                f"{len(total.findings)} findings"
            )
    return total


def minimal(findings: Sequence[Finding]) -> list[Finding]:
    """Those with no shorter finding of the same setting within them."""

    def is_within(a: Words, b: Words) -> bool:
        rest = iter(b)
        return all(word in rest for word in a)

    found: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (len(f.words), f.words)):
        if not any(f.setting == finding.setting and is_within(f.words, finding.words) for f in found):
            found.append(finding)
    return found


def shown(settings: Sequence[Setting]) -> str:
    return ", ".join(setting.id for setting in settings)
