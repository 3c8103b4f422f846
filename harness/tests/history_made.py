"""Seeded histories for tests of trends, and a repository with the commits they are of. Nothing is measured.

`python3 harness/tests/history_made.py FOLDER` writes one to look at: FOLDER/repository and FOLDER/history.jsonl.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pxarbench_harness.history import git
from pxarbench_harness.history.line import Case, Measured, Run
from pxarbench_harness.history.store import FileStore

MACHINE = "8bc6c61bc072"


def repository(path: Path, subjects: Sequence[str]) -> tuple[git.Repository, list[str]]:
    """One commit after the other on branch main; nothing is checked out."""
    path.mkdir(parents=True, exist_ok=True)
    made = git.Repository(path)
    made.must("init", "--quiet", "--initial-branch=main")
    tree = made.must("mktree", stdin=b"")
    names: list[str] = []
    for number, subject in enumerate(subjects):
        when = f"{1767225600 + 3600 * number} +0000"
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER")
               for key, value in (("NAME", "x"), ("EMAIL", "x@localhost"), ("DATE", when))}  # fmt: skip
        parent = ["-p", names[-1]] if names else []
        names.append(made.must("commit-tree", tree, *parent, "-m", subject, env=who))
    made.must("update-ref", "refs/heads/main", names[-1])
    return made, names


@dataclass(frozen=True)
class Steps:
    """Where something happens: number of the commit -> share by which it changes, or new value."""

    time: dict[int, float]
    memory: dict[int, float]
    padding: dict[int, int]
    payload: dict[int, str]
    instructions: dict[int, float]


NONE = Steps({}, {}, {}, {}, {})


def _grown(steps: dict[int, float], number: int) -> float:
    return math.prod(1 + share for at, share in steps.items() if at <= number)


def _last(steps: dict[int, int] | dict[int, str], number: int, else_: int | str) -> int | str:
    return next((steps[at] for at in sorted(steps, reverse=True) if at <= number), else_)


def runs(
    commits: Sequence[str], steps: Steps = NONE, *, noise: float = 0.02, seed: int = 1, every: int = 1, machine: str = MACHINE
) -> list[Run]:
    """A run of every so many-th commit, two cases each."""
    rng = random.Random(f"history {seed}")
    made = []
    for number in range(0, len(commits), every):
        cases = []
        for mode, seconds in (("data", 1.08), ("metadata", 0.46)):
            steps_here = steps if mode == "metadata" else NONE
            wall = seconds * 1e9 * _grown(steps_here.time, number) * rng.lognormvariate(0, noise)
            rss = 46e6 * _grown(steps_here.memory, number) * rng.lognormvariate(0, 0.002)
            case = f"linux-edit-1-clustered-{mode}-warm"
            what = {"dataset": "linux", "mutation": "edit:1%:clustered", "subject": "pxarbench", "mode": mode, "cache": "warm"}
            exact = {"padding_bytes": int(_last(steps_here.padding, number, 1_163_919)), "reused_files": 77_793}
            digests = {"payload": str(_last(steps_here.payload, number, "ab" * 32))}
            measured = {
                "wall_ns": Measured(wall, wall * 0.97, wall * 1.04, 5),
                "user_ns": Measured(wall * 1.4, None, None, 5),
                "peak_rss_bytes": Measured(rss, None, None, 5),
            }
            cases.append(Case(case, "session", "01450c51ad81", what, exact, digests, {}, measured))
        counted = {"instructions": round(98_765_432 * _grown(steps.instructions, number) * (1 + rng.uniform(-1, 1) * 1e-4))}
        cases.append(Case("backup-data-first", "instructions", "0123456789ab", {}, {}, {}, counted, {}))
        seconds_in = 1767225600 + 3600 * number
        made.append(Run(
            f"{rng.getrandbits(64):016x}", "session", git.utc(seconds_in + 600), commits[number], False, git.utc(seconds_in),
            "main", machine, "AMD EPYC, 2 cores, 23.5 GiB", tuple(cases), {"counters": "ok"}, 0,
        ))  # fmt: skip
    return made


#: The history to look at.
SHOWN = Steps({31: 0.07, 44: -0.05}, {20: 0.04}, {12: 1_200_400, 36: 1_163_919}, {36: "cd" * 32}, {25: 0.011})


def write(folder: Path, count: int = 60) -> tuple[git.Repository, Path]:
    words = ("walk: read ahead", "chunk: SIMD scan | twice", "detect: padding <rule>", "store: fewer syncs", "pxar: sorted")
    made, names = repository(folder / "repository", [f"{words[i % len(words)]} ({i})" for i in range(count)])
    path = folder / "history.jsonl"
    path.unlink(missing_ok=True)
    for run in runs(names, SHOWN):
        FileStore(path).append(run)
    return made, path


if __name__ == "__main__":
    write(Path(sys.argv[1]))
