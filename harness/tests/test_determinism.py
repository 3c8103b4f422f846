"""The result of a backup depends on tree, reference and options alone: not on threads, load, `ulimit -n`, sizes of reads or
the file system. Here a fixed sample of the matrix of determinism.py; suites/regress_determinism.py has all of it."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from matrix_places import known_profiles, prepare_places

from pxarbench_harness import determinism, run, tree
from pxarbench_harness.determinism import Case, Place, Result, Row, Variation

REFERENCE_TIME = 1_700_000_001


def make_tree(root: Path, seed: int) -> None:
    """About 30 MiB: deep and wide, empty and large files, hardlinks, symlinks, names that are not UTF-8."""
    rng = random.Random(seed)
    root.mkdir()
    for directory in range(24):
        folder = root / f"d{directory % 6}" / f"e{directory}"
        folder.mkdir(parents=True)
        for file in range(60):
            size = rng.choice([0, 1, 15, 16, 17, 100, 4095, 4096, 5000, 20000, 65536, rng.randrange(90000)])
            path = folder / f"f{file}"
            path.write_bytes(rng.randbytes(size) if file % 3 else b"x" * size)
            os.utime(path, ns=(0, 1_600_000_000_000_000_000 + rng.randrange(10**12)))
    for index, size in enumerate((262143, 262144, 262145, 4194304, 4194305, 9_000_000)):
        path = root / f"large{index}"
        path.write_bytes(rng.randbytes(size))
        os.utime(path, ns=(0, 1_600_000_000_000_000_000))
    deep = root / "deep"
    for level in range(50):
        deep = deep / f"l{level}"
    deep.mkdir(parents=True)
    (deep / "leaf").write_bytes(b"leaf")
    os.link(root / "large0", root / "d0" / "link0")
    os.link(root / "large0", deep / "link1")
    os.symlink("large1", root / "sym")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"n\xff\xfe")).write_bytes(b"not UTF-8")


VARIATIONS = {
    "threads-1": (["--threads", "1"], None),
    "threads-2": (["--threads", "2"], None),
    "threads-8": (["--threads", "8"], None),
    "ulimit-64": (["--threads", "8"], 64),
    "ulimit-40": ([], 40),
    "reads-4093": (["--read-size-max", "4093"], None),
    "reads-61": (["--read-size-max", "61", "--threads", "3"], None),
}


def backup(
    pxarbench: Path, tree: Path, store: Path, mode: str, time: int, options: list[str], files: int | None
) -> dict[str, object]:
    stats = store.parent / "stats.json"
    limit = ["prlimit", f"--nofile={files}:{files}"] if files is not None else []
    run.run([
        *limit, pxarbench, "backup", f"root.pxar:{tree}", "--repository", store, "--backup-id", "same", "--backup-time", str(time),
        "--change-detection-mode", mode, "--chunk-size", "64", "--sync-level", "none", "--stats", stats, *options,
    ]).check_ok()
    record = json.loads(stats.read_text())
    archive = record["archives"][0]
    counters = {key: value for key, value in archive.items() if isinstance(value, int)}
    counters |= {f"reason.{key}": value for key, value in archive["reasons"].items()}
    for stream in ("metadata", "payload"):
        # Whether the store had a chunk already is the store's matter, and time is time.
        ignored = ("duration_ns", "duplicate_chunks")
        counters |= {f"{stream}.{key}": value for key, value in archive[stream].items() if key not in ignored}
    if time != REFERENCE_TIME:
        shutil.rmtree(store / record["snapshot"])  # the reference is the last snapshot again
    return counters


@pytest.fixture(scope="module")
def prepared(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A tree, and a datastore whose group holds the reference; the tree was changed since."""
    folder = tmp_path_factory.mktemp("determinism")
    make_tree(folder / "tree", seed=int(request.config.getoption("--seed")))
    backup(pxarbench, folder / "tree", folder / "store", "data", REFERENCE_TIME, [], None)
    rng = random.Random(7)
    for number, path in enumerate(sorted((folder / "tree").rglob("f*"))):
        if number % 37 == 0:
            path.write_bytes(rng.randbytes(rng.randrange(30000)))
        elif number % 53 == 0:
            path.unlink()
    return folder


@pytest.mark.parametrize("mode", ["data", "metadata"])
def test_same_result_however_it_is_run(pxarbench: Path, prepared: Path, mode: str) -> None:
    store = prepared / "store"
    results = {
        name: backup(pxarbench, prepared / "tree", store, mode, 1_700_000_100, options, files)
        for name, (options, files) in VARIATIONS.items()
    }
    with determinism.busy_machine():
        results["loaded"] = backup(pxarbench, prepared / "tree", store, mode, 1_700_000_100, [], None)
    first = results["threads-1"]
    assert first["payload.chunks"] > 100
    if mode == "metadata":
        assert first["reused_files"] > 100 and first["reencoded_files"] > 30
    else:
        assert first["reused_files"] == 0
    for name, result in results.items():
        assert result == first, name


# ---- the matrix ----

#: Of the 2,560 circumstances; each value of each axis is among them.
SAMPLE = 12


@pytest.fixture(scope="module")
def places(
    pxarbench: Path, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> Iterator[dict[tuple[str, str], Place]]:
    folder = tmp_path_factory.mktemp("matrix")
    with ExitStack() as stack:
        yield prepare_places(pxarbench, folder, seed, stack)


def test_one_result_in_all_circumstances(
    pxarbench: Path, places: dict[tuple[str, str], Place], seed: int
) -> None:
    filesystems = list(dict.fromkeys(name for name, _ in places))
    every = determinism.product(filesystems)
    variations = determinism.chosen(every, SAMPLE, seed)
    rows = determinism.measure(pxarbench, places, determinism.cases(known_profiles(pxarbench)), variations)
    print(determinism.table(rows))
    assert [(row.case.name, row.strays) for row in rows if not row.is_one] == []
    assert len(rows) >= 6 and all(len(row.results) >= 3 for row in rows)


# ---- that the matrix would notice ----

def row(*results: Result) -> Row:
    variations = [Variation(n + 1, False, 64, 0, "ext4", r.decisions is not None) for n, r in enumerate(results)]
    return Row(Case("metadata", "tight"), tuple(zip(variations, results, strict=True)))


def test_another_checksum_or_decision_is_a_stray() -> None:
    first = Result((("metadata", "a"), ("payload", "b")), "d")
    silent = Result(first.streams, None)
    assert row(first, silent, first).is_one and row(silent, first).strays == []
    other = Result((("metadata", "a"), ("payload", "c")), "d")
    assert not row(first, other).is_one and row(first, other).strays == ["2 threads, 64 descriptors, ext4"]
    decided = Result(first.streams, "e")
    assert not row(silent, first, decided).is_one and row(silent, first, decided).strays == ["3 threads, 64 descriptors, ext4"]
    assert "| metadata tight plain | 2 | ext4 | 2 | 1 | metadata a payload b |" in determinism.table([row(first, other)])


def test_a_sample_is_fixed_and_meets_most_pairs() -> None:
    every = determinism.product(determinism.FILESYSTEMS)
    assert len(every) == 8 * 2 * 4 * 5 * 4 * 2
    sample = determinism.chosen(every, 48, seed=1)
    assert sample == determinism.chosen(every, 48, seed=1) != determinism.chosen(every, 48, seed=2)
    assert len(set(sample)) == 48
    met, all_pairs = determinism.pairs_met(sample, every)
    assert met >= 0.97 * all_pairs
    few = determinism.chosen(every, SAMPLE, seed=1)
    for axis in ("threads", "loaded", "descriptors", "read_size_max", "filesystem", "decisions"):
        assert {getattr(v, axis) for v in few} == {getattr(v, axis) for v in every}


def test_trees_are_the_same_each_time(tmp_path: Path) -> None:
    first = [tree.scan(path).digest() for path in determinism.make_trees(tmp_path / "a", 1)]
    again = [tree.scan(path).digest() for path in determinism.make_trees(tmp_path / "b", 1)]
    assert first == again and first[0] != first[1]
