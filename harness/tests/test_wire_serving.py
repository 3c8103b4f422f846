"""Servers that the harness starts end with it, however it ends, and nothing of theirs is left."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from wire_tools import Starts

from pxarbench_harness import locate, measure, run
from pxarbench_harness.wire.spoken import SECRET, Server, ServerFailed

HARNESS = str(locate.REPOSITORY / "harness")


def serving(datastore: Path) -> list[int]:
    """Processes that serve a datastore below this folder. Those that ended and wait to be noticed have no words any more."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        if b"serve" in words and any(word.startswith(os.fsencode(datastore)) for word in words):
            found.append(int(path.parent.name))
    return found


def wait_until(what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never happens"
        time.sleep(0.02)


def secrets_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_text(errors="replace")]


def python(*words: str | Path, temporary: Path, output: Path) -> run.Background:
    environment = {"PYTHONPATH": HARNESS, "TMPDIR": str(temporary)}
    return run.Background([sys.executable, *words], stdout=output, stderr=output.with_suffix(".err"), env=environment)


STARTS_ONE = """
import json, sys, time
from pathlib import Path
from pxarbench_harness.wire.serve import Serving
with Serving(Path(sys.argv[1]), Path(sys.argv[2])) as serving:
    print(json.dumps(serving.pid), flush=True)
    time.sleep(100)
"""


def test_a_killed_harness_leaves_no_server(pxarbench: Path, tmp_path: Path) -> None:
    """Nor a secret: nobody is there to clear it away."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    output = tmp_path / "said"
    harness = python("-c", STARTS_ONE, pxarbench, tmp_path / "store", temporary=temporary, output=output)
    try:
        wait_until(lambda: output.read_bytes().endswith(b"\n"))
        assert serving(tmp_path / "store") == [json.loads(output.read_text())]
    finally:
        harness.kill()
    wait_until(lambda: not serving(tmp_path / "store"))
    assert secrets_below(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_cancelled_session_leaves_nothing(pxarbench: Path, tmp_path: Path, number: signal.Signals) -> None:
    """As with Ctrl-C: the exit code, and neither servers nor their folders."""
    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    harness = python(
        "-m", "pxarbench_harness", "--server", "loopback", "--dataset", "tiny", "--mutation", "none", "--rounds", "500", "--binary",
        pxarbench, "--work", tmp_path / "work", "--output", tmp_path / "out", "--no-roofline", "--no-syscalls",
        temporary=temporary, output=tmp_path / "said",
    )  # fmt: skip
    try:
        wait_until(lambda: serving(tmp_path / "work") or harness.ended() is not None)
        os.kill(harness.pid, number)
        wait_until(lambda: harness.ended() is not None)
        assert harness.ended() == 130, (tmp_path / "said.err").read_text()
        assert serving(tmp_path / "work") == [] and list(temporary.glob("pxarbench-serve-*")) == []
    finally:
        harness.kill()


def test_secrets_are_gone_once_they_are_read(starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = starts()
    assert server.rest("GET", "version").status == 200
    assert secrets_below(tmp_path) == []


def test_a_finding_of_a_sanitizer_is_a_failure(tmp_path: Path) -> None:
    """Whatever the exit code is."""
    ends_well = tmp_path / "serve"
    ends_well.write_text(
        """#!/bin/bash
echo 'ERROR: LeakSanitizer: detected memory leaks' >&2
while [ $# -gt 0 ]; do [ "$1" = --ready-fd ] && ready=$2; shift; done
echo '{"port": 1, "fingerprint": "00"}' >&"$ready"
exec {ready}>&-
trap 'exit 0' TERM
while :; do sleep 0.05; done
"""
    )
    ends_well.chmod(0o755)
    with pytest.raises(ServerFailed, match="LeakSanitizer"), Server(ends_well, tmp_path / "store"):
        pass
