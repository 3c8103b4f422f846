"""Running a subject over a small tree, for tests."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pxarbench_harness import locate, run, tree
from pxarbench_harness.subjects import SUBJECTS, Outcome, Settings, Subject
from pxarbench_harness.tree import COMPARED, Tree

FIRST_TIME = 1_700_000_000


def settings() -> Settings:
    # A tree of one chunk would be read again as a whole: with any padding allowed, what is read is what was noticed.
    return Settings(binary=locate.pxarbench(), extra=("--padding-threshold", "1", "--absorb-below", "0"))


def every_mode() -> list[tuple[str, str]]:
    """(subject, mode) of all that could run somewhere; subjects() skips those that cannot run here."""
    return [(name, mode) for name, subject in SUBJECTS.items() for mode in subject.modes]


def subject(name: str, mode: str, home: Path) -> Subject:
    """With an empty store; skips, naming the reason."""
    reason = SUBJECTS[name].missing(settings())
    if reason:
        pytest.skip(reason)
    made = SUBJECTS[name](mode, home, settings())
    made.create()
    return made


@dataclass
class Runs:
    """Backups of one store, one after the other."""

    subject: Subject
    tree: Path
    scratch: Path
    time: int = FIRST_TIME
    outcomes: list[Outcome] = field(default_factory=list)
    reread: frozenset[bytes] | None = None  # of the last run, with `collateral`
    collateral: frozenset[bytes] = frozenset()

    def backup(self, *, decisions: bool = False) -> Outcome:
        self.time += 1
        told = self.scratch / f"decisions-{self.time}" if decisions else None
        command = self.subject.backup(self.tree, self.time, told)
        done = run.run(command.argv, env=command.env, cwd=command.cwd, timeout=300).check_ok()
        outcome = self.subject.outcome(done.stdout)
        self.outcomes.append(outcome)
        if told is not None:
            self.reread = self.subject.reread(told, done.stdout, self.tree)
            self.collateral = self.subject.collateral(told, done.stdout, self.tree)
        return outcome

    def restored(self) -> Path:
        target = self.scratch / f"restored-{self.time}"
        target.mkdir()
        return self.subject.restore(self.outcomes[-1], self.tree, target)


def differences(subject: Subject, source: Tree, restored: Path, filesystem: str) -> list[str]:
    """What did not come back although it should have."""
    wanted = Tree(source.root, {path: subject.comes_back(entry) for path, entry in source.entries.items()})
    fields = [name for name in COMPARED if name not in subject.fields_left_out(filesystem)]
    return tree.differences(wanted, tree.scan(restored), leave_out=subject.leaves_out, fields=fields)


def with_contents_of(now: Tree, before: Tree, missed: frozenset[bytes]) -> Tree:
    """`now`, but these files have the contents that they had."""
    entries = dict(now.entries)
    for path, entry in now.entries.items():
        first = entry.link_to or path
        if first in missed:
            entries[path] = replace(entry, digest=before.entries[first].digest, size=before.entries[first].size)
    return Tree(now.root, entries)


def flip(path: Path, offset: int = 100) -> None:
    """Another byte in place: mtime and ctime are now."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x55]))


def set_mtime(path: Path, mtime_ns: int) -> None:
    os.utime(path, ns=(0, mtime_ns))
