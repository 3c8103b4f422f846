"""Starts one command, waits for it and writes what it used, as JSON, to a descriptor.

Usage: launch.py FD COMMAND [ARGUMENT...]. Started by run.py only.

Why a process of its own: the kernel carries the peak memory of the process that forked over to the command it executes
(exec keeps the old high-water mark). The harness holds whole tree listings, so a command started from it would seem to
need that much. This small process forks instead; its own few MiB are the floor of what can be measured.
"""

import json
import os
import sys


def main() -> int:
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    command = sys.argv[2:]
    child = os.fork()
    if child == 0:
        try:
            os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
            os._exit(127)
    _, status, usage = os.wait4(child, 0)
    returncode = os.waitstatus_to_exitcode(status)
    counted = {
        "returncode": returncode,
        "user_ns": round(usage.ru_utime * 1e9),
        "system_ns": round(usage.ru_stime * 1e9),
        "peak_rss_bytes": usage.ru_maxrss * 1024,
    }
    os.write(report, json.dumps(counted).encode())
    return returncode if returncode >= 0 else 128 - returncode


if __name__ == "__main__":
    sys.exit(main())
