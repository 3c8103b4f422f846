"""cache.py: cold runs are shown to have been cold, and a cache that nobody dropped is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxarbench_harness import cache, measure

FILES, SIZE = 40, 100_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is not on tmpfs, if there is one."""
    for place in (tmp_path, Path("/var/tmp"), Path.home()):
        if not cache.never_cold(place) and os.access(place, os.W_OK):
            folder = Path(tempfile.mkdtemp(prefix="pxarbench-test-", dir=place))
            yield folder
            shutil.rmtree(folder)
            return
    pytest.skip("nowhere to write but file systems in memory")


@pytest.fixture
def tree(disk: Path) -> Path:
    if cache.unseen():
        pytest.skip(cache.unseen())
    root = disk / "tree"
    for number in range(FILES):
        folder = root / f"d{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(os.urandom(SIZE))
    (root / "empty").touch()
    (root / "link").symlink_to("d0/f0")
    os.mkfifo(root / "pipe")
    subprocess.run(["sync", "-f", str(root)], check=True)
    return root


@pytest.fixture
def by_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Dropping for this tree only: the machine's other users keep their caches."""
    monkeypatch.setattr(cache, "DROP_CACHES", tmp_path / "nowhere" / "drop_caches")


def test_a_tree_just_read_is_resident_and_after_a_drop_it_is_not(tree: Path, by_files: None) -> None:
    assert cache.warm(tree) == FILES * SIZE
    assert cache.resident(tree) == 1.0
    assert cache.drop([tree]) == "fadvise"
    assert cache.is_cold(cache.resident(tree))


def test_a_tree_that_cooled_down_is_read_again_and_a_warm_one_is_not(
    tree: Path, by_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.drop([tree])
    assert cache.keep_warm(tree) == 1.0
    monkeypatch.setattr(cache, "warm", lambda root: pytest.fail("it was warm"))
    assert cache.keep_warm(tree) == 1.0


def test_looking_brings_nothing_in(tree: Path, by_files: None) -> None:
    cache.drop([tree])
    before = cache.resident(tree)
    for _ in range(3):
        assert cache.resident(tree, sample_bytes=None) == before == 0.0


@pytest.mark.parametrize("how", ["cachestat", "mincore"])
def test_share_is_the_share(tree: Path, by_files: None, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "cachestat" and not cache.has_cachestat():
        pytest.skip("no cachestat(2)")
    monkeypatch.setattr(cache, "has_cachestat", lambda: how == "cachestat")
    assert cache.instrument() == how and cache.unseen() == ""
    cache.drop([tree])
    for number in range(FILES // 4):
        (tree / f"d{number % 4}" / f"f{number}").read_bytes()
    assert cache.resident(tree) == pytest.approx(0.25, abs=0.01)
    assert not cache.is_cold(cache.resident(tree))


def test_a_cache_that_nobody_dropped_is_noticed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lie: drop() says it did, and did nothing."""
    monkeypatch.setattr(cache, "drop", lambda paths: "drop_caches")
    cache.warm(tree)
    done = cache.chill([tree])
    assert done.how == "drop_caches"
    assert done.resident == 1.0
    assert not done.cold


def test_one_place_left_warm_is_enough(tree: Path, disk: Path, monkeypatch: pytest.MonkeyPatch, by_files: None) -> None:
    """The source is dropped, the store with the reference is not."""
    store = disk / "store"
    store.mkdir()
    (store / "chunk").write_bytes(os.urandom(SIZE))
    cache.warm(tree)
    honest = cache.drop
    monkeypatch.setattr(cache, "drop", lambda paths: honest([path for path in paths if path != store]))
    done = cache.chill([tree, store])
    assert done.shares == {str(tree): 0.0, str(store): 1.0}
    assert done.resident == 1.0 and not done.cold


def test_one_large_warm_file_is_enough(disk: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most files are gone, the one with most of the bytes is not: no random sample may miss it."""
    large = tree / "image"
    large.write_bytes(os.urandom(40 * SIZE))
    monkeypatch.setattr(cache, "SAMPLE_FILES", 4)

    def all_but_one(paths: object) -> str:
        subprocess.run(["sync", "-f", str(tree)], check=True)
        for name in cache._files(tree):
            if name != str(large):
                fd = os.open(name, os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)
        return "fadvise"

    monkeypatch.setattr(cache, "drop", all_but_one)
    for seed in range(5):
        assert not cache.chill([tree], seed=seed).cold


def test_chill_is_cold_and_tells_how(tree: Path, disk: Path, by_files: None) -> None:
    cache.warm(tree)
    (disk / "store").mkdir()
    done = cache.chill([tree, disk / "store"])
    assert done.cold and done.how == "fadvise" and set(done.shares) == {str(tree), str(disk / "store")}


def test_everything_is_dropped_where_that_is_allowed(tree: Path) -> None:
    if not os.access(cache.DROP_CACHES, os.W_OK):
        pytest.skip(f"{cache.DROP_CACHES} cannot be written")
    cache.warm(tree)
    done = cache.chill([tree])
    if done.how != "drop_caches":
        pytest.skip(f"{cache.DROP_CACHES} cannot be written")
    assert done.cold


def test_changes_not_yet_written_are_dropped_too(tree: Path, by_files: None) -> None:
    (tree / "new").write_bytes(os.urandom(20 * SIZE))
    assert cache.chill([tree]).cold


def test_trees_in_memory_are_never_cold() -> None:
    place = Path("/dev/shm")
    if measure.filesystem(place).split()[0] != "tmpfs" or not os.access(place, os.W_OK):
        pytest.skip("/dev/shm is no tmpfs")
    with tempfile.TemporaryDirectory(dir=place) as folder:
        assert "no other place than memory" in cache.never_cold(Path(folder))
        assert cache.resident(Path(folder)) == 1.0
        for refused in (cache.drop, cache.chill):
            with pytest.raises(cache.CacheStays, match="tmpfs"):
                refused([Path(folder)])
        assert "tmpfs" in cache.proof(Path(folder))


def test_what_nobody_measured_was_not_cold() -> None:
    assert not cache.is_cold(None)
    assert not cache.is_cold(cache.COLD_LIMIT * 1.01)
    assert cache.is_cold(cache.COLD_LIMIT) and cache.is_cold(0.0)


def test_without_an_instrument_nothing_is_claimed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "unseen", lambda: "no such call")
    for call in (lambda: cache.resident(tree), lambda: cache.chill([tree])):
        with pytest.raises(cache.CacheStays, match="no such call"):
            call()


def test_what_may_not_be_seen_counts_as_there(tree: Path, by_files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """cachestat(2) answers EPERM for files of others: no residency is not a residency of nought."""

    def refused(*_: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(cache, "has_cachestat", lambda: True)
    monkeypatch.setattr(cache, "_cachestat", refused)
    assert cache.resident(tree) == 1.0
    assert not cache.chill([tree]).cold


def test_proof_leaves_nothing_behind_and_notices_an_instrument_that_sees_nothing(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cache.unseen():
        pytest.skip(cache.unseen())
    assert cache.proof(disk) == ""
    monkeypatch.setattr(cache._Opened, "present", lambda self: 0)
    assert "does not see" in cache.proof(disk)
    monkeypatch.setattr(cache._Opened, "present", lambda self: self.pages)
    assert "stay in memory" in cache.proof(disk)
    assert list(disk.iterdir()) == []


def test_sample_is_small_seeded_and_the_files_are_closed(tree: Path, by_files: None) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert cache.chill([tree], seed=3) == cache.chill([tree], seed=3)
    assert len(os.listdir("/proc/self/fd")) == before
