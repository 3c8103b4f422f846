"""Full disks, taken names and locks, kill -9: what was stored before stays whole, the half snapshot is not listed."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shlex
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_tools import GROUP, T1, T2, T3, T4, Faults, Repository, noise, settle, time_text, write_tree

from pxarbench_harness import run
from pxarbench_harness.tree import scan


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


@pytest.fixture
def first(repository: Repository, tree: Path) -> Repository:
    repository.backup(tree, T1, mode="data")
    return repository


def change(tree: Path, number: int = 1) -> None:
    """Something new to store, in both streams."""
    (tree / "d1" / f"new{number}").write_bytes(noise(f"new{number}", 300_000))
    settle(tree)


# ---- full disk ----


def no_space(rule: str) -> str:
    return f"{rule} errno {errno.ENOSPC}"


@pytest.mark.parametrize("mode", ["data", "metadata"])
@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("create */.chunks/* 1+", "/.chunks/"),
        ("write */.chunks/* 1+", "/.chunks/"),
        ("write */.chunks/* 3+", "/.chunks/"),
        ("rename */.chunks/* 2+", "/.chunks/"),
        ("create */root.mpxar.tmp_didx 1", "root.mpxar"),
        ("create */root.ppxar.tmp_didx 1", "root.ppxar"),
        ("write */root.mpxar.tmp_didx 1", "root.mpxar"),
        ("write */root.ppxar.tmp_didx 1", "root.ppxar"),
        ("write */root.mpxar.tmp_didx 2", "root.mpxar"),  # the checksum
        ("rename */root.mpxar.tmp_didx 1", "root.mpxar"),
        ("create */index.json.blob.tmp_* 1", "index.json.blob"),
        ("write */index.json.blob.tmp_* 1", "index.json.blob"),
        ("rename */index.json.blob.tmp_* 1", "index.json.blob"),
        (f"mkdir */{GROUP}/* 1", time_text(T2)),
    ],
    ids=lambda value: value.replace(" ", "-") if " " in value else "",
)
def test_full_disk(first: Repository, tree: Path, faults: Faults, mode: str, rule: str, named: str) -> None:
    change(tree)
    text = first.run(tree, T2, mode=mode, env=faults(no_space(rule))).failed()
    assert os.strerror(errno.ENOSPC) in text and str(first.path) in text and named in text
    first.check_whole()
    first.backup(tree, T2, mode=mode)
    first.check_whole()


@pytest.mark.parametrize("level", ["file", "filesystem"])
def test_failing_sync_fails_the_backup(first: Repository, tree: Path, faults: Faults, level: str) -> None:
    """Disks tell of lost writes at the sync, the last one included: then the manifest is there already."""
    change(tree)
    for when in range(1, 4):
        done = first.run(tree, T2, "--sync-level", level, env=faults(f"sync */{GROUP}/* {when} errno {errno.EIO}"))
        text = done.failed()
        assert str(first.path) in text and os.strerror(errno.EIO) in text
        first.check_whole()


class SmallDisk:
    """A tmpfs whose free pages are counted out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ballast = root / "ballast"

    def leave(self, pages: int) -> None:
        free = os.statvfs(self.root).f_bavail
        assert free >= pages
        with open(self.ballast, "ab") as file:
            file.write(bytes((free - pages) * os.statvfs(self.root).f_frsize))
        assert os.statvfs(self.root).f_bavail == pages


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    root = tmp_path / "disk"
    root.mkdir()
    if run.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "pxarbench-small", root]).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        if os.statvfs(root).f_frsize != 4096:
            pytest.skip("written for pages of 4096 bytes")
        yield SmallDisk(root)
    finally:
        run.run(["umount", root]).check_ok()


@pytest.fixture
def cramped(pxarbench: Path, small_disk: SmallDisk, tree: Path, tmp_path: Path) -> Repository:
    repository = Repository(pxarbench, small_disk.root / "store", tmp_path)
    repository.backup(tree, T1, mode="data")
    return repository


@pytest.mark.parametrize("pages", [0, 10, 60])
def test_disk_full_of_chunks(cramped: Repository, small_disk: SmallDisk, tree: Path, pages: int) -> None:
    (tree / "d1" / "big").write_bytes(noise("big", 4 << 20))
    settle(tree)
    small_disk.leave(pages)
    text = cramped.run(tree, T2).failed()
    assert os.strerror(errno.ENOSPC) in text and str(cramped.path) in text
    assert os.statvfs(small_disk.root).f_bavail <= pages
    cramped.check_whole()


def test_disk_full_at_each_file_of_the_snapshot(cramped: Repository, small_disk: SmallDisk, tree: Path) -> None:
    """Nothing changed, so every chunk is there: two indexes of two pages each, then the manifest."""
    small_disk.leave(5)
    for pages in range(4, -1, -1):
        small_disk.leave(pages)
        text = cramped.run(tree, T2, mode="data").failed()
        assert os.strerror(errno.ENOSPC) in text
        assert ("index.json.blob" if pages == 4 else "pxar.") in text
        cramped.check_whole()
    small_disk.ballast.unlink()
    cramped.backup(tree, T2, mode="data")
    cramped.check_whole()


# ---- taken names and locks ----


def test_second_of_an_existing_snapshot_is_refused(first: Repository, tree: Path) -> None:
    change(tree)
    text = first.run(tree, T1).failed()
    assert f"{GROUP}/{time_text(T1)}" in text
    first.check_whole()


def test_time_before_the_last_snapshot_is_refused(first: Repository, tree: Path) -> None:
    first.backup(tree, T3)
    change(tree)
    text = first.run(tree, T2).failed()
    assert f"{GROUP}/{time_text(T2)}" in text and time_text(T3) in text
    first.check_whole()


def test_unfinished_directory_of_that_second_in_use_is_refused(first: Repository, tree: Path) -> None:
    first.snapshot(T2).mkdir()
    fd = os.open(first.snapshot(T2), os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        text = first.run(tree, T2).failed()
        assert time_text(T2) in text
    finally:
        os.close(fd)
    assert first.snapshot(T2).is_dir()
    first.snapshot(T2).rmdir()
    first.check_whole()


def test_two_backups_of_one_group_at_once(first: Repository, tree: Path) -> None:
    fd = os.open(first.path / GROUP, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        text = first.run(tree, T2).failed()
        assert GROUP in text and "another backup" in text and str(first.path) in text
    finally:
        os.close(fd)
    first.check_whole()


def test_second_backup_does_not_disturb_the_first(
    first: Repository, tree: Path, faults: Faults, tmp_path: Path
) -> None:
    """The first is stopped in the middle of its work while the second one, of another time, is refused."""
    change(tree)
    here = tmp_path / "paused"
    second = shlex.join(first.words(tree, T3))
    script = f"""
        "$@" & first=$!
        while ! [ -e "$HERE" ]; do kill -0 $first || exit 9; sleep 0.01; done
        LD_PRELOAD= {second} 2>"$OUT"; echo $? >>"$OUT"
        rm -f "$HERE"; wait $first"""
    environment = {**faults(f"read */d1/new1 1 pause {here}"), "HERE": str(here), "OUT": str(tmp_path / "second")}
    run.run(["sh", "-c", script, "sh", *first.words(tree, T2)], env=environment, timeout=60).check_ok()
    said = (tmp_path / "second").read_text().splitlines()
    assert said[-1] == "1" and said[-2].startswith(f"error: another backup of group {GROUP} is running")
    first.wanted[T2] = scan(tree)
    first.check_whole()


def test_garbage_collection_elsewhere_is_named(first: Repository, tree: Path) -> None:
    fd = os.open(first.path / ".lock", os.O_RDWR)
    try:
        # As a server does it: an exclusive lock on the datastore.
        request = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(fd, fcntl.F_SETLK, request)
        text = first.run(tree, T2).failed()
        assert str(first.path) in text and "locked" in text
    finally:
        os.close(fd)
    first.check_whole()


def test_directory_that_is_no_datastore_is_left_alone(pxarbench: Path, tree: Path, tmp_path: Path) -> None:
    repository = Repository(pxarbench, tmp_path / "store", tmp_path)
    shutil.rmtree(repository.path / ".chunks")
    (repository.path / "precious").write_bytes(b"x")
    assert str(repository.path) in repository.run(tree, T1).failed()
    assert sorted(path.name for path in repository.path.iterdir()) == [".lock", "precious"]


@pytest.mark.parametrize("content", [None, b"", b"\n", b"nobody\n"], ids=["missing", "empty", "blank", "no-realm"])
def test_group_without_a_good_owner_takes_no_backup(first: Repository, tree: Path, content: bytes | None) -> None:
    owner = first.path / GROUP / "owner"
    good = owner.read_bytes()
    owner.unlink()
    if content is not None:
        owner.write_bytes(content)
    text = first.run(tree, T2).failed()
    assert str(owner) in text
    owner.write_bytes(good)
    first.check_whole()


# ---- kill -9 ----


def check_after_kill(repository: Repository, tree: Path, at: int) -> None:
    """The killed backup is listed only if its manifest was in place: then it is whole. The next one cleans up."""
    if (repository.snapshot(at) / "index.json.blob").exists():
        repository.wanted[at] = scan(tree)
    assert repository.listed() == sorted(repository.wanted)
    for number in repository.wanted:
        repository.check_restore(number)
    repository.backup(tree, T4)
    names = {path.name for path in (repository.path / GROUP).iterdir()}
    assert names == {"owner", *(time_text(number) for number in repository.wanted)}
    assert not [path for path in (repository.path / GROUP).rglob("*") if "tmp" in path.name]
    assert repository.listed() == sorted(repository.wanted)
    for number in repository.wanted:
        repository.check_restore(number)


def changes_of_a_run(first: Repository, tree: Path, faults: Faults, mode: str) -> int:
    """How many steps that change the datastore a whole run makes: tried on a copy."""
    copy = Repository(first.program, first.scratch / "copy", first.scratch)
    shutil.rmtree(copy.path)
    shutil.copytree(first.path, copy.path)
    count = first.scratch / "count"
    copy.run(tree, T2, mode=mode, env=faults(f"change {copy.path}* 1+ note {count}")).result.check_ok()
    shutil.rmtree(copy.path)
    return count.stat().st_size


@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("mode", ["data", "metadata"])
def test_kill_at_a_step_that_changes_the_datastore(
    first: Repository, tree: Path, faults: Faults, mode: str, part: int, seed: int
) -> None:
    """Before the n-th creation, write, rename, ... below the datastore: five parts of five moments, ends included."""
    change(tree)
    steps = changes_of_a_run(first, tree, faults, mode)
    assert steps > 25
    dice = random.Random(seed)
    moments = sorted({1, 2, steps, steps - 1, *dice.sample(range(3, steps - 1), 21)})
    shutil.copytree(first.path, first.scratch / "good")
    wanted = dict(first.wanted)
    for moment in moments[part::5]:
        shutil.rmtree(first.path)
        shutil.copytree(first.scratch / "good", first.path)
        first.wanted = dict(wanted)
        done = first.run(tree, T2, mode=mode, env=faults(f"change {first.path}* {moment} kill"))
        assert done.result.returncode == -9, (moment, steps, done.result)
        check_after_kill(first, tree, T2)


@pytest.mark.parametrize("part", range(5))
def test_kill_at_any_moment(repository: Repository, tmp_path: Path, seed: int, part: int) -> None:
    """By the clock, so also between steps, while all threads are at work."""
    tree = write_tree(tmp_path / "many", files=400, size=2000, folders=20)
    repository.backup(tree, T1, mode="data")
    shutil.copytree(repository.path, tmp_path / "good")
    for number in range(0, 400, 3):
        with open(tree / f"d{number % 20}" / f"f{number:02}", "ab") as file:
            file.write(noise(str(number), 3000))
    whole = repository.run(tree, T2).result.check_ok().wall_ns
    dice = random.Random(seed * 1000 + part)
    wanted = dict(repository.wanted)
    killed = tried = 0
    while tried < 5 or (not killed and tried < 50):
        tried += 1
        shutil.rmtree(repository.path)
        shutil.copytree(tmp_path / "good", repository.path)
        repository.wanted = dict(wanted)
        done = run.run(repository.words(tree, T2), timeout=dice.uniform(0, 1.1) * whole / 1e9)
        killed += done.timed_out
        # The first run may have been a slow one: the machine is not ours alone.
        whole = whole if done.timed_out else min(whole, done.wall_ns)
        check_after_kill(repository, tree, T2)
    assert killed > 0


def test_first_backup_of_a_group_killed(repository: Repository, tree: Path, faults: Faults) -> None:
    for moment in range(1, 12):
        shutil.rmtree(repository.path / "host", ignore_errors=True)
        done = repository.run(tree, T1, env=faults(f"change {repository.path}/host* {moment} kill"))
        assert done.result.returncode == -9
        assert repository.listed() == []
        repository.backup(tree, T2)
        repository.check_whole()
        repository.wanted.clear()


def test_creation_of_a_datastore_killed(pxarbench: Path, tree: Path, tmp_path: Path, faults: Faults) -> None:
    """What was begun is completed by the next backup and until then said to be unfinished."""
    repository = Repository(pxarbench, tmp_path / "store", tmp_path)
    shutil.rmtree(repository.path)
    done = repository.run(tree, T1, env=faults(f"mkdir {repository.path}/* 300 kill"))
    assert done.result.returncode == -9 and repository.path.is_dir()
    listed = run.run([pxarbench, "snapshot", "list", "--repository", repository.path])
    assert listed.returncode == 1 and str(repository.path) in listed.stderr.decode()
    repository.backup(tree, T1)
    assert len(list((repository.path / ".chunks").iterdir())) == 65536
    repository.check_whole()
