"""Bringing snapshots back and comparing them with what they have to hold: several at once, for nothing is timed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from .. import check, run
from ..subjects import Outcome, Subject
from ..tree import Tree

#: At once. Each writes a whole tree: more of them wait for the disk, and need the room.
AT_ONCE = 2


#: A file system in memory. Restoring is not measured, and a disk needs minutes for what memory does in seconds.
MEMORY = Path("/dev/shm")
#: Bytes that a file or folder takes there beside its contents: a page that is not full, an inode.
_ENTRY_BYTES = 5120


def _keeps_xattrs(folder: Path, names: frozenset[str]) -> bool:
    """Whether attributes of such names can be set there. Those of users: since Linux 6.6, where it was configured."""
    if not all(name.startswith("user.") or name == "security.capability" for name in names):
        return False
    probe = folder / f"pxarbench-probe-{os.getpid()}"
    try:
        probe.touch()
        for name in names:
            if name.startswith("user."):
                os.setxattr(probe, name, b"1")
                os.removexattr(probe, name)
        return True
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)


def fits_in_memory(tree: Tree, memory: Path = MEMORY) -> bool:
    """Whether snapshots of `tree` can be restored there: there is room for as many as are restored at once while the other half
    of the memory stays what it is, above all cache, and everything that is compared can be stored."""
    needed = AT_ONCE * (tree.file_bytes + _ENTRY_BYTES * len(tree.entries))
    names = frozenset(name for entry in tree.entries.values() for name, _ in entry.xattrs)
    try:
        free = shutil.disk_usage(memory).free
    except OSError:
        return False
    if not os.access(memory, os.W_OK | os.X_OK) or needed > min(free, psutil.virtual_memory().available // 2):
        return False
    return _keeps_xattrs(memory, names) if names else True


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
    job.scratch.mkdir(parents=True)
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
