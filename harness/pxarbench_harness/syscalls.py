"""How many system calls a command makes, counted by the kernel's side: of one run that is not timed.

strace stops the command at every call, which makes it several times slower: counts of threads that wait for each other
(futex, poll) are not those of a run at full speed, counts of calls on files are. exit_group never returns and is in no table.
Where strace is not there or not allowed, perf counts entries into the kernel: the total only.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from . import run

TOTAL = "total"
#: The tracer itself must be quick to answer; programs under it may take their time.
_PROBE_TIMEOUT = 20.0


class SyscallsUncounted(Exception):
    """No tool can count here; the text says why for each."""


def count(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> tuple[run.Result, dict[str, int]]:
    """Runs the command once with all its children; calls by name (strace only) and "total".

    A command that fails has its exit code in the result and its counts. {}: it was killed at `timeout`, or the tool's table
    did not come. SyscallsUncounted: no tool works here.
    """
    tool, reason = instrument()
    if not tool:
        raise SyscallsUncounted(reason)
    words = [os.fspath(word) for word in argv]
    with tempfile.TemporaryDirectory(prefix="pxarbench-syscalls-") as folder:
        table = Path(folder) / "table"
        prefix = _strace(table) if tool == "strace" else _perf(table)
        result = run.run([*prefix, *words], env=env, cwd=cwd, timeout=timeout)
        text = table.read_text(errors="replace") if table.exists() else ""
    counts = {} if result.timed_out else (parse_strace(text) if tool == "strace" else parse_perf(text))
    return run.Result(tuple(words), result.returncode, result.stdout, result.stderr, result.wall_ns, result.timed_out), counts


def _strace(table: Path) -> list[str]:
    return ["strace", "-f", "-qq", "-c", "-o", str(table), "--"]


def _perf(table: Path) -> list[str]:
    return ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-o", str(table), "--"]


def parse_strace(text: str) -> dict[str, int]:
    """The table of `strace -c`: "% time, seconds, usecs/call, calls, [errors,] syscall". {}: no table is there.

    Columns are found by the ruler's dashes: the column of errors is empty for most calls, and times may be written without
    a point. The last line's total is not believed but made from the rows, and must agree.
    """
    counts: dict[str, int] = {}
    claimed = None
    columns: list[tuple[int, int]] = []
    for line in text.splitlines():
        if re.fullmatch(r"-+( -+)+\s*", line):
            columns = [match.span() for match in re.finditer(r"-+", line)]
            continue
        words = line.split()
        if len(columns) < 5 or len(words) < 5 or not re.fullmatch(r"[\d.]+", words[0]):
            continue
        # Wide numbers push a row to the right, so words are counted, not cut out: the name is the last, and the count is
        # the fourth, whether errors are given or not.
        name, calls = words[-1], words[3]
        if not calls.isdecimal() or len(words) > 6 or not re.fullmatch(r"\w+", name):
            continue
        if name == TOTAL:
            claimed = int(calls)
        else:
            counts[name] = counts.get(name, 0) + int(calls)
    total = sum(counts.values())
    if not counts or (claimed is not None and claimed != total):
        return {}
    return {**dict(sorted(counts.items())), TOTAL: total}


def parse_perf(text: str) -> dict[str, int]:
    """`perf stat -x,`: "COUNT,,EVENT,...". {}: not counted, not supported, or scaled down from a part of the time."""
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) >= 5 and fields[2].startswith("raw_syscalls:sys_enter") and fields[0].isdecimal():
            if float(fields[4] or 0) < 100:
                return {}
            return {TOTAL: int(fields[0])}
    return {}


@lru_cache
def instrument() -> tuple[str, str]:
    """("strace" | "perf", "") or ("", reason): tried once on `true`, since both may be there and forbidden."""
    reasons = []
    for tool, prefix, parse in (("strace", _strace, parse_strace), ("perf", _perf, parse_perf)):
        if shutil.which(tool) is None:
            reasons.append(f"{tool} is not installed")
            continue
        with tempfile.TemporaryDirectory(prefix="pxarbench-syscalls-") as folder:
            table = Path(folder) / "table"
            result = run.run([*prefix(table), "true"], timeout=_PROBE_TIMEOUT)
            text = table.read_text(errors="replace") if table.exists() else ""
        if result.returncode == 0 and parse(text).get(TOTAL):
            return tool, ""
        said = result.stderr.decode(errors="replace").strip().splitlines()
        reasons.append(f"{tool} does not work here" + (f": {said[0]}" if said else ""))
    return "", "; ".join(reasons)
