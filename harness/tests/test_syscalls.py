"""syscalls.py: calls counted by strace, or by perf, of known commands; and tables that are not what they should be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pxarbench_harness import syscalls

PYTHON = [sys.executable, "-S", "-E", "-I", "-c"]

TABLE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 66.57    0.000458         152         3           getdents64
  2.47    0.000017           3        34        13 openat
100000.00 100000.000000 100000000 1000000000 1000000000 newfstatat
     0           0           0         1           execve
------ ----------- ----------- --------- --------- ----------------
100.00    0.000688           4 1000000038        13 total
"""


@pytest.fixture(autouse=True)
def _probe_anew() -> Iterator[None]:
    syscalls.instrument.cache_clear()
    yield
    syscalls.instrument.cache_clear()


def only(monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    found = syscalls.shutil.which  # type: ignore[attr-defined]
    monkeypatch.setattr(syscalls.shutil, "which", lambda name: found(name) if name == tool else None)  # type: ignore[attr-defined]
    name, reason = syscalls.instrument()
    if not name:
        pytest.skip(reason)
    assert name == tool


def test_calls_are_counted_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "strace")
    program = "import os\nfor _ in range({}): os.getppid()"
    none, many = (syscalls.count([*PYTHON, program.format(n)])[1] for n in (0, 1234))
    assert many["getppid"] - none.get("getppid", 0) == 1234
    assert abs(many["total"] - none["total"] - 1234) < 100
    assert many["total"] == sum(count for name, count in many.items() if name != "total")


@pytest.mark.parametrize("tool", ["strace", "perf"])
def test_children_and_threads_are_counted(monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    only(monkeypatch, tool)
    program = """
import os, threading
def work():
    for _ in range(2000): os.getppid()
thread = threading.Thread(target=work); thread.start(); thread.join()
if os.fork() == 0:
    work(); os._exit(0)
os.wait()
"""
    _, counts = syscalls.count([*PYTHON, program])
    assert counts["total"] > 4000
    if tool == "strace":
        assert counts["getppid"] == 4000


def test_output_exit_code_environment_and_folder_are_the_commands(tmp_path: Path) -> None:
    if not syscalls.instrument()[0]:
        pytest.skip(syscalls.instrument()[1])
    words = ["sh", "-c", 'echo "$PXB_WORD"; pwd; echo lost >&2; exit 7']
    result, counts = syscalls.count(words, env={"PXB_WORD": "found"}, cwd=tmp_path)
    assert result.argv == tuple(words) and result.returncode == 7
    assert result.stdout.decode() == f"found\n{tmp_path}\n" and result.stderr == b"lost\n"
    assert counts["total"] > 10


def test_a_command_that_hangs_is_ended() -> None:
    if not syscalls.instrument()[0]:
        pytest.skip(syscalls.instrument()[1])
    result, counts = syscalls.count(["sleep", "60"], timeout=0.5)
    assert result.timed_out and counts == {} and result.wall_ns < 20e9


def test_reason_names_every_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls.shutil, "which", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(syscalls.SyscallsUncounted, match="strace is not installed; perf is not installed"):
        syscalls.count(["true"])


def test_tool_that_is_there_but_forbidden_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("strace", "perf"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'ptrace: Operation not permitted' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    # This one even writes a table, of the call that it was allowed.
    (tmp_path / "table").write_text(TABLE)
    (tmp_path / "strace").write_text(
        f"#!/bin/sh\nwhile [ $1 != -o ]; do shift; done\ncat {tmp_path}/table >$2\n"
        "echo 'ptrace: Operation not permitted' >&2\nexit 1\n"
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    tool, reason = syscalls.instrument()
    assert tool == "" and reason.count("does not work here: ptrace: Operation not permitted") == 2


def test_table_of_strace() -> None:
    assert syscalls.parse_strace(TABLE) == {
        "execve": 1, "getdents64": 3, "newfstatat": 1_000_000_000, "openat": 34, "total": 1_000_000_038,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "strace: not permitted\n", TABLE.replace("34", "35"), TABLE.replace("-", ""), TABLE.partition("getdents")[0]],
    ids=["empty", "words", "rows that do not make the total", "no ruler", "cut"],
)
def test_table_that_is_none_gives_no_counts(text: str) -> None:
    assert syscalls.parse_strace(text) == {}


def test_table_of_perf() -> None:
    assert syscalls.parse_perf("# started\n\n152,,raw_syscalls:sys_enter,2619746,100.00,,\n") == {"total": 152}
    assert syscalls.parse_perf("152,,raw_syscalls:sys_enter,2619746,61.00,,\n") == {}
    assert syscalls.parse_perf("<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n") == {}
    assert syscalls.parse_perf("") == {}
