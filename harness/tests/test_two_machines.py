"""Same seed, two machines: same operation logs, same tree digests, same integers in the results.

The machines are two containers made by unshare(1): own mounts, processes and host name, and everything that must not matter
differs: file system of cache and work folder, umask, locale, time zone, number of processors, order of the directories'
entries. The whole program runs in each, from recipe to record. PXB_TWO_MACHINES_ARGUMENTS chooses another session than the
small one that belongs to every test run, e.g. "--suite truth".
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from loop_mount import mounted

from pxarbench_harness import integers, locate, record, run

ARGUMENTS = os.environ.get("PXB_TWO_MACHINES_ARGUMENTS", "--dataset tiny --mutation edit:1%:clustered --mutation mix:5% --rounds 1").split()

SCRIPT = """
hostname "$1" && umask "$2" && shift 2 && exec "$@"
"""


def session(folder: Path, binary: Path, *, name: str, umask: str, environment: dict[str, str], processors: str) -> Path:
    words = [
        "unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "sh", "-c", SCRIPT, "sh", name, umask,
        "taskset", "-c", processors, sys.executable, "-m", "pxarbench_harness", *ARGUMENTS, "--binary", binary,
        "--output", folder / "out", "--work", folder / "work",
    ]  # fmt: skip
    environment = {
        **environment, "PXARBENCH_CACHE": str(folder / "cache"), "PYTHONPATH": str(locate.REPOSITORY / "harness"),
        "TMPDIR": str(folder),
    }  # fmt: skip
    run.run(["env", *(f"{k}={v}" for k, v in environment.items()), *words], timeout=3000).check_ok()
    return folder / "out"


def oplogs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("oplog-*"))}


def test_two_machines(pxarbench: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "taskset", "hostname"))):
        pytest.skip("needs root, unshare, taskset and hostname")
    last = (os.cpu_count() or 1) - 1
    with mounted("ext4", tmp_path) as one, mounted("xfs", tmp_path) as other:
        first = session(
            one, pxarbench, name="one", umask="022", processors=f"0-{last}", environment={"LC_ALL": "C.UTF-8", "TZ": "UTC"}
        )
        second = session(
            other, pxarbench, name="other", umask="077", processors="0", environment={"LC_ALL": "POSIX", "TZ": "Pacific/Chatham"}
        )
        logs = oplogs(first)
        assert logs and logs == oplogs(second)
        counted = [integers.of(record.read(folder / "records.jsonl")) for folder in (first, second)]
        assert integers.differences(*counted) == []
        assert len(counted[0]) > 100
