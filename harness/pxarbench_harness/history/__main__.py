"""python3 -m pxarbench_harness.history append|show|trend|bisect ..."""

from __future__ import annotations

import signal
import sys

from .. import run
from . import parsers


def main(words: list[str]) -> int:
    """Each command has a module of its own, for what only it needs is slow to import."""
    command = words[0] if words else ""
    parse = {"trend": parsers.trend, "bisect": parsers.bisect}.get(command, parsers.history)
    rest = words if parse is parsers.history else words[1:]
    if {"-h", "--help"} & set(rest):
        parse().parse_args(rest)
    run.end_when_cancelled()
    # A shell starts what runs in the background with interrupts ignored; a step must obey the search that started it.
    if command == "bisect-step":
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if command == "trend":
        from . import trend_cli

        return trend_cli.main(rest)
    if command in ("bisect", "bisect-step"):
        from . import bisect_cli

        return (bisect_cli.main if command == "bisect" else bisect_cli.step)(words[1:])
    from . import cli

    return cli.main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
