"""Bringing snapshots back and comparing them with what they have to hold: several at once, for nothing is timed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import check, run
from ..subjects import Outcome, Subject
from ..tree import Tree

#: At once. Each writes a whole tree: more of them wait for the disk, and need the room.
AT_ONCE = 2


@dataclass(frozen=True)
class Restore:
    subject: Subject
    outcome: Outcome
    root: Path  # of the tree that was backed up
    scratch: Path  # a new folder, removed at the end
    now: Tree  # as the program sees it
    stored: Tree  # what the snapshot has to hold: check.as_stored()
    seen: Tree | None  # what the snapshot before it holds
    left_out: frozenset[str]  # fields


@dataclass(frozen=True)
class Back:
    problems: tuple[str, ...]
    missed: frozenset[bytes] | None  # None: nothing came back
    seconds: float
    cost: Mapping[str, int] = field(default_factory=dict)  # Subject.restore_cost


def one(job: Restore) -> Back:
    started = time.monotonic()
    problems: list[str] = []
    missed, cost = None, {}
    job.scratch.mkdir()
    try:
        root = job.subject.restore(job.outcome, job.root, job.scratch)
        back = check.restored(job.subject, job.now, job.stored, job.seen, root, job.left_out)
        problems += back.problems
        missed = back.missed
        cost = dict(job.subject.restore_cost())
    except (run.CommandFailed, OSError, KeyError, ValueError) as error:
        problems.append(f"restore: {error}")
    finally:
        shutil.rmtree(job.scratch)
    return Back(tuple(problems), missed, time.monotonic() - started, cost)


#: What the forked processes find in their copy of this one's memory: trees are too large to be sent to them.
_jobs: list[Restore] = []


def _numbered(number: int) -> Back:
    return one(_jobs[number])


def several(jobs: Sequence[Restore]) -> list[Back]:
    """In the order of `jobs`."""
    if len(jobs) < 2:
        return [one(job) for job in jobs]
    _jobs[:] = jobs
    try:
        return run.map_parallel(_numbered, range(len(jobs)), workers=AT_ONCE)
    finally:
        _jobs.clear()
