"""Each planted defect must turn its tests red: `/usr/bin/python3 harness/suites/planted_defects.py [NAME...]`.

Takes some minutes: copies the sources, builds them, sees that the tests pass, then plants one defect after the other,
builds and runs the tests that must notice it. Ends with 0 only if every test that a defect names went red for it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pxarbench_harness import locate, planted, run


def needed(defects: list[planted.Defect]) -> list[str]:
    programs = {f"bin/{test}" for defect in defects for test in defect.c_tests}
    return sorted(programs | {"bin/pxarbench"})


def check_without(copy: planted.Copy, defects: list[planted.Defect], scratch: Path) -> None:
    copy.make_programs(needed(defects))
    red = [name for test in sorted({t for d in defects for t in d.c_tests}) for name in copy.run_c_test(test).names]
    tests = sorted({test for defect in defects for test in defect.tests})
    if tests:
        red += copy.run_tests(tests, scratch).names
    if red:
        raise planted.PlantedError("red without any defect: " + ", ".join(red))


def check_with(copy: planted.Copy, defect: planted.Defect, scratch: Path) -> dict[str, int]:
    """Test -> how many of its cases failed."""
    before = copy.plant(defect)
    try:
        copy.make_programs(["bin/pxarbench", *(f"bin/{test}" for test in defect.c_tests)])
        counts = {test: len(copy.run_c_test(test).names) for test in defect.c_tests}
        if defect.tests:
            counts |= planted.red_by_test(defect.tests, copy.run_tests(defect.tests, scratch))
        return counts
    finally:
        copy.restore(before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="defects; default: all of fixtures/planted")
    parser.add_argument("--jobs", type=int, default=2, help="of the compiler (default 2)")
    parser.add_argument("--copy", type=Path, help="keep the copy there, and its build for the next time")
    parser.add_argument("--sources", type=Path, default=locate.REPOSITORY, help="what to copy (default: this checkout)")
    options = parser.parse_args()
    defects = [defect for defect in planted.load_all() if not options.names or defect.name in options.names]
    if not defects or len(defects) < len(set(options.names)):
        parser.error("no such defect")
    for defect in defects:
        planted.planted(defect, options.sources)  # all of them apply, or nothing is begun
    home = Path(tempfile.mkdtemp(prefix="pxarbench-planted-"))
    survived = 0
    try:
        copy = planted.Copy.make(options.copy or home / "copy", options.jobs, options.sources)
        print(f"{len(defects)} defects; first without any", flush=True)
        check_without(copy, defects, home / "scratch")
        for defect in defects:
            started = time.monotonic()
            try:
                counts = check_with(copy, defect, home / "scratch")
            except run.CommandFailed as error:  # a compiler that notices it is not what is asked for
                survived += 1
                print(f"\n{defect.name}: does not build: {error}", flush=True)
                continue
            green = [test for test, count in counts.items() if count == 0]
            survived += bool(green)
            print(f"\n{defect.name}: {defect.sentence} ({time.monotonic() - started:.0f} s)")
            for test, count in counts.items():
                print(f"    {'red' if count else 'GREEN':>5} {count or '':>4}  {test}", flush=True)
    except (planted.PlantedError, run.CommandFailed) as error:
        print(f"planted_defects: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"\n{len(defects)} defects, {survived} of them not noticed by all of their tests")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
