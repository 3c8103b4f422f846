"""python3 -m pxarbench_harness.history append|show|trend|bisect ..."""

from __future__ import annotations

import sys


def main(words: list[str]) -> int:
    """Each command has a module of its own, for what only it needs is slow to import."""
    if words[:1] == ["trend"]:
        from . import trend_cli

        return trend_cli.main(words[1:])
    if words[:1] in (["bisect"], ["bisect-step"]):
        from . import bisect_cli

        return (bisect_cli.main if words[0] == "bisect" else bisect_cli.step)(words[1:])
    from . import cli

    return cli.main(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
