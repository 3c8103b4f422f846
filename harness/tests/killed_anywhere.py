"""Kills a mutation at each of its steps, and its undoing too: afterwards the tree is always what it was.

A program, started by test_operations.py: `killed_anywhere.py TREE MUTATION [without-links]`. It forks a few hundred times, which
takes a small process a millisecond, and one with all tests and their libraries in it twenty times as long.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from pxarbench_harness import mutate, tree
from pxarbench_harness.mutate import primitives, repair, saved


def dying(work: Callable[[], object], point: int) -> bool:
    """`work` in a child that is gone at its `point`-th step, with nothing flushed or cleaned up. False: it got through."""
    child = os.fork()
    if child == 0:
        left = [point]

        def step() -> None:
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)

        primitives.step = repair.step = saved.step = step  # type: ignore[assignment]
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), code
    return code == 9


def killed_anywhere(root: Path, text: str) -> int:
    """How often it was killed."""
    before = tree.scan(root)
    digest, log = before.digest(), root.parent / "mutation.jsonl"
    point, times, died = 0, 0, True
    while died:
        died = dying(lambda: mutate.apply(before, mutate.parse(text), log), point)
        if not died:
            break
        times += 1
        # Undoing dies, too: earlier and later as the points go on.
        dying(lambda: mutate.undo(log, before.root), point * 7 % 31)
        dying(lambda: mutate.undo(log, before.root), point * 3 % 17)
        assert mutate.undo(log, before.root) in (None, digest)
        now = tree.scan(before.root, known=before)
        assert tree.differences(before, now) == [], point
        assert {p: e.links for p, e in now.entries.items()} == {p: e.links for p, e in before.entries.items()}
        before.entries.update(now.entries)
        assert sorted(os.listdir(root.parent)) == [root.name]
        point += 1 if point < 20 else 1 + point // 12
    point = 0
    while dying(lambda: mutate.undo(log, before.root), point):
        point += 1
    assert tree.scan(before.root).digest() == digest
    return times + point


def refuse(*args: object, **more: object) -> None:
    raise OSError(18, "another file system")


if __name__ == "__main__":
    if "without-links" in sys.argv[3:]:
        os.link = refuse  # type: ignore[assignment]
    print(killed_anywhere(Path(sys.argv[1]), sys.argv[2]))
