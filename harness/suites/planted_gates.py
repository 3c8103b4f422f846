"""Each planted regression must turn its gates red, and no other: `/usr/bin/python3 harness/suites/planted_gates.py [NAME...]`.

Copies the sources, builds them (preset release) without any defect and then with one after the other, and lets ci/gate and
ci/compare judge each build. About four minutes per defect on two idle cores; `--only ci/gate` leaves out what measures time and
needs a quiet machine. Ends with 0 only if every gate that a defect of fixtures/planted/gates names went red for it, with exit
code 2, and every other stayed silent, also for the build without any. With --output, verdicts stay there, and the same command
goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pxarbench_harness import locate, measure, planted, planted_gates, run
from pxarbench_harness.gates import verdict as verdicts
from pxarbench_harness.report import render

SECONDS_MAX = 3600
HARNESS = Path(__file__).resolve().parents[1]
#: As a defect that changes nothing: what a gate says of it, it says of nobody.
NONE = planted.Defect("none", "nothing", (), (), ())


@dataclass(frozen=True)
class Place:
    """OUTPUT/NAME/pxarbench, OUTPUT/NAME/gate/verdict.json, OUTPUT/NAME/compare/verdict.json"""

    output: Path

    def program(self, name: str) -> Path:
        return self.output / name / "pxarbench"

    def verdict(self, name: str, command: str) -> Path:
        return self.output / name / command.removeprefix("ci/") / "verdict.json"


def build(copy: planted.Copy, defect: planted.Defect, target: Path) -> None:
    before = copy.plant(defect)
    try:
        copy.make_programs(["bin/pxarbench"])
    finally:
        copy.restore(before)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(copy.build / "bin" / "pxarbench", target)


def judge(place: Place, defect: planted.Defect, command: str, say: Callable[[str], None]) -> verdicts.Verdict:
    """Of a build that is there. PlantedError: the command gave no verdict."""
    name = defect.name
    file = place.verdict(name, command)
    binary = place.program(name)
    if command == planted_gates.GATE:
        words: list[str | Path] = ["pxarbench_harness.gates", "--binary", binary]
    else:
        words = ["pxarbench_harness.compare", place.program(NONE.name), binary, "--no-instructions", *defect.compare]
    environment = {**os.environ, "PYTHONPATH": os.fspath(HARNESS)}
    begun = time.monotonic()
    result = run.run(
        [sys.executable, "-m", *words, "--output", file.parent], cwd=locate.REPOSITORY, env=environment, timeout=SECONDS_MAX
    )
    say(f"{name}: {command} ended with {result.returncode} ({time.monotonic() - begun:.0f} s)")
    if not file.exists():
        said = (result.stdout + result.stderr).decode(errors="replace")
        raise planted.PlantedError(f"{name}: {command} gave no verdict:\n{said[-2000:]}")
    return verdicts.read(file)


def examine(
    place: Place, copy: Callable[[], planted.Copy], defect: planted.Defect, commands: Sequence[str], say: Callable[[str], None]
) -> planted_gates.Row:
    if not place.program(defect.name).exists():
        say(f"{defect.name}: building")
        build(copy(), defect, place.program(defect.name))
    if defect is not NONE and measure.build(place.program(defect.name)) == measure.build(place.program(NONE.name)):
        raise planted.PlantedError(f"{defect.name}: the program is the same as without it")
    made = {}
    for command in commands:
        file = place.verdict(defect.name, command)
        made[command] = verdicts.read(file) if file.exists() else judge(place, defect, command, say)
    return planted_gates.row(defect, made)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("names", nargs="*", help="defects; default: all of fixtures/planted/gates")
    parser.add_argument("--only", choices=tuple(planted_gates.JUDGES), help="and defects that need no other")
    parser.add_argument("--jobs", type=int, default=2, help="of the compiler (default 2)")
    parser.add_argument("--copy", type=Path, help="keep the copy of the sources there, and its build for the next time")
    parser.add_argument("--output", type=Path, help="keep programs and verdicts there, and go on with what is there")
    options = parser.parse_args()
    commands = (options.only,) if options.only else tuple(planted_gates.JUDGES)
    able = {gate for command in commands for gate in planted_gates.JUDGES[command]}
    known = planted.load_all(planted.FOLDER_GATES)
    defects = [d for d in known if d.name in options.names or (not options.names and able >= set(d.gates))]
    if not defects or len(defects) < len(set(options.names)):
        parser.error(f"no such defect; there are {', '.join(d.name for d in known)}")
    for defect in defects:
        planted.planted(defect, locate.REPOSITORY)  # all of them apply, or nothing is begun
    home = Path(tempfile.mkdtemp(prefix="pxarbench-planted-"))
    place = Place((options.output or home / "output").absolute())

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    made: list[planted.Copy] = []

    def copy() -> planted.Copy:
        if not made:
            made.append(planted.Copy.make(options.copy or home / "copy", options.jobs, preset="release"))
        return made[0]

    try:
        rows = [examine(place, copy, defect, commands, say) for defect in (NONE, *defects)]
    except (planted.PlantedError, run.CommandFailed, verdicts.VerdictBroken, OSError) as error:
        print(f"planted_gates: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    page = render.markdown(planted_gates.report(rows, {defect.name: defect for defect in (NONE, *defects)}))
    if options.output:
        (options.output / "planted.md").write_text(page, encoding="utf-8")
    print(page)
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
