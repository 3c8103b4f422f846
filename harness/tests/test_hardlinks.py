"""Files with several names whose first one is lost: it vanished while it was read, or no hardlink can name it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_tools import T1, T2, T3, Faults, Repository, errors_of, noise, settle

from pxarbench_harness import run


def entries(repository: Repository, at: int) -> dict[str, str]:
    return {entry.get("path", "").removeprefix("/"): entry["kind"] for entry in repository.dump(at)}


@pytest.mark.parametrize("limit", ["1", "2", "3", "65536"])
def test_first_name_vanishes_while_the_cache_is_flushed(
    repository: Repository, faults: Faults, tmp_path: Path, limit: str
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a0").write_bytes(noise("a0", 100))
    (tree / "a1").write_bytes(noise("a1", 100))
    for name in ("a2", "a3", "z"):
        os.link(tree / "a1", tree / name)
    for name in ("b", "c"):  # large: worth a reference of its own
        (tree / name).write_bytes(noise(name, 600_000))
    (tree / "0").write_bytes(noise("changed", 200_000))
    settle(tree)
    repository.backup(tree, T1, mode="data")
    # The range of a0 and a1 begins with the padding of a file that is not the same any more.
    (tree / "0").write_bytes(noise("changed since", 200_000))
    second_open = faults(f"open {tree}/a1 2 errno 2")
    options = ["--cache-limit", limit, "--padding-threshold", "0.001"]
    done = repository.run(tree, T2, *options, env={**os.environ, **second_open})
    done.result.check_ok()
    assert errors_of(done.result) == []
    archive = done.archive
    assert archive["entries"]["skipped"] in (0, 1)  # 0: a1 was worth a reference, so nobody opened it again
    kinds = entries(repository, T2)
    first, *later = [name for name in ("a1", "a2", "a3", "z") if name in kinds]
    assert archive["entries"]["skipped"] == (0 if first == "a1" else 1)
    assert [kinds[first], *(kinds[name] for name in later)] == ["file", *["hardlink" for _ in later]]
    target = tmp_path / "restored"
    repository.restore(T2, target).check_ok()
    for name in (first, *later):
        assert (target / name).read_bytes() == (tree / "a1").read_bytes()
        assert (target / name).stat().st_ino == (target / first).stat().st_ino


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """pytest removes directories by path, which ends at 4096 bytes: what is made in here goes before."""
    yield tmp_path
    run.run(["rm", "-rf", *[os.fspath(path) for path in tmp_path.iterdir()]]).check_ok()


def test_first_name_too_deep_for_a_hardlink(repository: Repository, deep: Path) -> None:
    """Its path has more than 4096 bytes: the second name carries the contents once more, the third refers to that."""
    tree = deep / "tree"
    tree.mkdir()
    content = noise("deep", 200_000)
    top = os.open(tree, os.O_RDONLY)
    here = os.dup(top)
    try:
        for _ in range(20):
            os.mkdir("d" * 240, dir_fd=here)
            below = os.open("d" * 240, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        with open(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:
            file.write(content)
        for name in ("y", "z"):
            os.link("file", name, src_dir_fd=here, dst_dir_fd=top)
    finally:
        os.close(here)
        os.close(top)
    for at, mode in ((T1, "data"), (T2, "metadata"), (T3, "metadata")):
        done = repository.run(tree, at, mode=mode)
        archive = done.archive
        assert archive["entries"]["files"] == 2 and archive["entries"]["hardlink_names"] == 1
        if mode == "metadata":
            assert archive["reused_files"] == 2 and archive["file_bytes_read"] == 0
        target = deep / f"restored-{at}"
        repository.restore(at, target).check_ok()
        assert (target / "y").read_bytes() == content
        assert (target / "y").stat().st_ino == (target / "z").stat().st_ino
