"""run.py: the one place that starts processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pxarbench_harness import measure, run


def test_result_quotes_what_a_failing_command_said() -> None:
    with pytest.raises(run.CommandFailed, match="(?s)exit 3.*broken pot"):
        run.run(["sh", "-c", "echo broken pot >&2; exit 3"]).check_ok()


def test_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    result = run.run(["sh", "-c", f"(sleep 1; touch {mark}) & sleep 30"], timeout=0.2)
    assert result.timed_out and result.wall_ns < 5e9
    run.run(["sleep", "1.2"])
    assert not mark.exists()


def test_pipeline_names_the_part_that_failed() -> None:
    run.pipeline([["printf", "a"], ["grep", "-q", "a"]])
    with pytest.raises(run.CommandFailed, match="no such luck"):
        run.pipeline([["yes"], ["sh", "-c", "echo no such luck >&2; exit 2"]])
    with pytest.raises(run.CommandFailed, match="first"):
        run.pipeline([["sh", "-c", "echo first >&2; exit 2"], ["cat"]])


def test_counted_memory_is_the_commands_own_and_not_ours() -> None:
    ballast = bytearray(150 << 20)
    ballast[:: 4096] = b"x" * len(ballast[::4096])
    _, small = run.run_counted(["true"])
    _, large = run.run_counted([sys.executable, "-c", "b = bytearray(90 << 20); b[::4096] = b'x' * len(b[::4096])"])
    assert small.peak_rss_bytes < 40 << 20
    assert 90 << 20 < large.peak_rss_bytes < 140 << 20
    assert len(ballast) > 0


def test_counted_reports_the_exit_code_and_a_missing_program() -> None:
    assert run.run_counted(["sh", "-c", "exit 7"])[1].returncode == 7
    result, _ = run.run_counted(["/nowhere/program"])
    assert result.returncode == 127 and b"/nowhere/program" in result.stderr


def test_map_parallel_keeps_order_and_raises() -> None:
    assert run.map_parallel(abs, range(-20, 0), workers=2) == list(range(20, 0, -1))
    with pytest.raises(ZeroDivisionError):
        run.map_parallel(1 .__truediv__, [1, 0], workers=2)


def test_hyperfine_sample_keeps_output_exit_code_and_raw_json(tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")
    raw = tmp_path / "one.json"
    sample = measure.timed(["sh", "-c", "echo 'a b'; echo c >&2; sleep 0.05; exit 5"], raw=raw)
    assert sample.exit_code == 5 and sample.output == b"a b\n" and sample.errors == b"c\n"
    assert raw.exists() and raw.with_suffix(".log").read_bytes() == b"a b\nc\n"
    assert 50e6 < sample.wall_ns < 2e9
