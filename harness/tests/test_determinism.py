"""The result of a backup depends on tree, reference and options alone: not on threads, load, `ulimit -n` or read sizes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pxarbench_harness import run


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


@contextmanager
def load() -> Iterator[None]:
    """Keeps every processor busy."""
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.send_signal(signal.SIGKILL)
            spinner.wait()


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
    with load():
        results["loaded"] = backup(pxarbench, prepared / "tree", store, mode, 1_700_000_100, [], None)
    first = results["threads-1"]
    assert first["payload.chunks"] > 100
    if mode == "metadata":
        assert first["reused_files"] > 100 and first["reencoded_files"] > 30
    else:
        assert first["reused_files"] == 0
    for name, result in results.items():
        assert result == first, name
