"""Where snapshots are restored to."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from session_tools import quiet, small_plan

from pxarbench_harness import session, tree
from pxarbench_harness.session import restores
from pxarbench_harness.tree import Tree

GIB = 1 << 30


@pytest.fixture
def listed(tmp_path: Path) -> Tree:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "f").write_bytes(b"x" * 1000)
    return tree.scan(tmp_path / "t")


def _room(monkeypatch: pytest.MonkeyPatch, *, free: int, available: int) -> None:
    monkeypatch.setattr(restores.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=available))


def test_needs_room_for_all_at_once_and_half_of_the_memory(
    listed: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = restores.AT_ONCE * (1000 + 2 * 5120)
    _room(monkeypatch, free=needed, available=2 * needed)
    assert restores.fits_in_memory(listed, tmp_path)
    _room(monkeypatch, free=needed - 1, available=2 * needed)
    assert not restores.fits_in_memory(listed, tmp_path)
    _room(monkeypatch, free=needed, available=2 * needed - 1)
    assert not restores.fits_in_memory(listed, tmp_path)
    assert not restores.fits_in_memory(listed, tmp_path / "absent")


@pytest.mark.parametrize(
    "names,kept,fits",
    [(("user.a",), True, True), (("user.a",), False, False), (("security.capability",), False, True),
     (("system.posix_acl_access",), True, False), (("trusted.x", "user.a"), True, False)],
)  # fmt: skip
def test_attributes_must_be_kept_there(
    listed: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], kept: bool, fits: bool
) -> None:
    def answer(*_: object) -> None:
        if not kept:
            raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", answer)
    monkeypatch.setattr(os, "removexattr", answer)
    _room(monkeypatch, free=GIB, available=GIB)
    with_them = dict(listed.entries)
    with_them[b"f"] = replace(with_them[b"f"], xattrs=tuple((name, b"1") for name in names))
    assert restores.fits_in_memory(Tree(listed.root, with_them), tmp_path) is fits
    assert not list(tmp_path.glob("pxarbench-probe*"))


def test_trees_go_to_memory_stores_do_not_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: None
) -> None:
    plan = replace(small_plan(tmp_path, tmp_path / "cache", "none"), memory=tmp_path / "memory" / "own", counts_syscalls=False)
    plan.memory.parent.mkdir()  # type: ignore[union-attr]
    scratches: list[Path] = []
    real = restores.one

    def seen(job: restores.Restore) -> restores.Back:
        scratches.append(job.scratch)
        assert job.subject.state()[0].is_relative_to(plan.work)
        return real(job)

    monkeypatch.setattr(restores, "one", seen)
    monkeypatch.setattr("pxarbench_harness.session.block.several", lambda jobs: [restores.one(job) for job in jobs])
    assert quiet(plan).problems == []
    assert scratches and all(s.parent == plan.memory for s in scratches)
    assert not plan.memory.exists()  # type: ignore[union-attr]


def test_left_behind_by_a_killed_run_is_found_but_not_that_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = session.work_folder(tmp_path, tmp_path / "s").with_name("pxarbench-work-s-4194305")
    gone.mkdir()
    session.work_folder(tmp_path, tmp_path / "s").mkdir()  # of this process
    assert session.abandoned(tmp_path) == [gone]
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(gone).st_uid + 1)
    assert session.abandoned(tmp_path) == []
