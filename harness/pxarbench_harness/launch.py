"""Starts one command, waits for it and writes what it used, as JSON, to a descriptor.

Usage: launch.py FD COMMAND [ARGUMENT...]. Started by run.py only.

Why a process of its own: the kernel carries the peak memory of the process that forked over to the command it executes
(exec keeps the old high-water mark). The harness holds whole tree listings, so a command started from it would seem to
need that much. This small process forks instead; its own few MiB are the floor of what can be measured.

It has one child, so what the kernel adds to its I/O counts when that child is waited for is what the child and
everything below it did. Children that nobody waited for are not in there, as they are in no process time either.
"""

import json
import os

# os.wait4 imports the first, os.execvp the second: loaded by then, they would be counted as read by the command.
import resource  # noqa: F401
import sys
import time
import warnings  # noqa: F401

COUNTS = ("rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes")


def counts(opened: int) -> dict:
    """What the kernel has counted for this process; {}: it does not say. "reading": the length of its answer."""
    try:
        text = os.pread(opened, 4096, 0)
    except OSError:
        return {}
    said = dict(line.split(b": ") for line in text.splitlines())
    return {"reading": len(text), **{name: int(said[name.encode()]) for name in COUNTS if name.encode() in said}}


def main() -> int:
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    command = sys.argv[2:]
    try:
        opened = os.open("/proc/self/io", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # a kernel built without, or a system call filter
        opened = -1
    before = counts(opened)
    started = time.monotonic_ns()
    child = os.fork()
    if child == 0:
        try:
            os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
            os._exit(127)
    _, status, usage = os.wait4(child, 0)
    wall_ns = time.monotonic_ns() - started
    after = counts(opened)
    # An answer is made before it is handed over: the first one's reading is in the second one's counts.
    own = {"rchar": before.get("reading", 0), "syscr": 1}
    returncode = os.waitstatus_to_exitcode(status)
    counted = {
        "returncode": returncode,
        "wall_ns": wall_ns,
        "user_ns": round(usage.ru_utime * 1e9),
        "system_ns": round(usage.ru_stime * 1e9),
        "peak_rss_bytes": usage.ru_maxrss * 1024,
        "io": {name: after[name] - before[name] - own.get(name, 0) for name in COUNTS if name in before and name in after},
    }
    os.write(report, json.dumps(counted).encode())
    return returncode if returncode >= 0 else 128 - returncode


if __name__ == "__main__":
    sys.exit(main())
