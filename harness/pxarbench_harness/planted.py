"""Planted defects: known mistakes, put into a copy of the sources one at a time, that tests must notice.

fixtures/planted/NAME.toml says what is replaced by what, and which tests go red then; fixtures/planted/gates/NAME.toml, which
gates of ci/gate and ci/compare do (all others have to stay silent):

    defect = "one sentence"
    c_tests = ["detect_lookahead_test"]                       # test programs of the build
    tests = ["harness/tests/test_x.py::test_y"]               # functions of the harness, with all their parameters
    gates = ["counters"]                                      # of gates/verdict.py
    compare = ["--rounds", "400", "--case", "chunk"]          # ci/compare with these words; none: as it is by itself

    [[replace]]
    file = "bench/core/detect/lookahead.c"
    old = '''text that is there exactly once'''
    new = '''what stands there instead'''

Text that is not there (any more) is an error: the sources moved on, and the defect must move with them.
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import locate, run

FOLDER = locate.REPOSITORY / "fixtures" / "planted"
FOLDER_GATES = FOLDER / "gates"
COPIED = ("bench", "fixtures", "harness", "datasets", "CMakeLists.txt", "CMakePresets.json", "pyproject.toml")
BUILD_SECONDS_MAX, TESTS_SECONDS_MAX, CPU_SECONDS_MAX = 1200, 300, 150


class PlantedError(Exception):
    """A defect that cannot be planted, or sources that do not build or pass without one."""


@dataclass(frozen=True)
class Replacement:
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Defect:
    name: str
    sentence: str
    replacements: tuple[Replacement, ...]
    c_tests: tuple[str, ...]
    tests: tuple[str, ...]
    gates: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()


def load(path: Path) -> Defect:
    with open(path, "rb") as file:
        said = tomllib.load(file)
    replacements = tuple(Replacement(r["file"], r["old"], r["new"]) for r in said["replace"])
    c_tests, tests = tuple(said.get("c_tests", ())), tuple(said.get("tests", ()))
    gates, compare = tuple(said.get("gates", ())), tuple(said.get("compare", ()))
    defect = Defect(path.stem, said["defect"], replacements, c_tests, tests, gates, compare)
    if not replacements or not (defect.c_tests or defect.tests or defect.gates):
        raise PlantedError(f"{path.name}: needs something to replace, and tests or gates that notice it")
    return defect


def load_all(folder: Path = FOLDER) -> list[Defect]:
    return [load(path) for path in sorted(folder.glob("*.toml"))]


def planted(defect: Defect, root: Path) -> dict[Path, str]:
    """The files of `root` that change, with their new text. Writes nothing."""
    texts: dict[Path, str] = {}
    for replacement in defect.replacements:
        path = root / replacement.file
        text = texts.get(path) or path.read_text(encoding="utf-8")
        count = text.count(replacement.old)
        if count != 1:
            raise PlantedError(f"{defect.name}: {replacement.file} has the text to replace {count} times, not once")
        if replacement.old == replacement.new:
            raise PlantedError(f"{defect.name}: {replacement.file}: nothing is replaced")
        texts[path] = text.replace(replacement.old, replacement.new)
    return texts


# ---- the copy ----


@dataclass(frozen=True)
class Red:
    """Tests that failed, by name; empty: all passed."""

    names: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.names)


def _refresh(source: Path, target: Path) -> None:
    """With the time of now if it differs: an older one would not be built again."""
    if target.is_file() and target.read_bytes() == source.read_bytes():
        return
    shutil.copyfile(source, target)
    shutil.copymode(source, target)


def _synchronise(source: Path, target: Path) -> None:
    wanted = set()
    for folder, folders, files in os.walk(source):
        folders[:] = [name for name in folders if name not in ("__pycache__", "build")]
        below = target / Path(folder).relative_to(source)
        below.mkdir(parents=True, exist_ok=True)
        for name in files:
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                continue
            _refresh(path, below / name)
            wanted.add(below / name)
    for folder, _, files in os.walk(target):
        for path in {Path(folder, name) for name in files} - wanted:
            path.unlink()


class Copy:
    """A scratch copy of the repository with a build of its own, used for one defect after the other."""

    def __init__(self, root: Path, jobs: int, preset: str = "dev") -> None:
        self.root = root
        self.preset = preset
        self.build = root / "build" / f"planted-{preset}"
        self.jobs = jobs
        self._programs: set[str] = set()

    @classmethod
    def make(cls, root: Path, jobs: int, sources: Path = locate.REPOSITORY, preset: str = "dev") -> Copy:
        """What is there already of an earlier copy is brought up to date; the build of it goes on from there."""
        root.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            if (sources / name).is_dir():
                _synchronise(sources / name, root / name)
            elif (sources / name).exists():
                _refresh(sources / name, root / name)
        return cls(root, jobs, preset)

    def make_programs(self, names: Sequence[str]) -> None:
        """Raises when a program does not build."""
        if not (self.build / "build.ninja").exists():
            words = ["cmake", "--preset", self.preset, "-B", self.build, "-S", self.root]
            run.run(words, cwd=self.root, timeout=BUILD_SECONDS_MAX).check_ok()
        self._programs |= set(names)
        words = ["ninja", "-C", self.build, f"-j{self.jobs}", *sorted(self._programs)]
        run.run(words, timeout=BUILD_SECONDS_MAX).check_ok()

    def run_c_test(self, name: str) -> Red:
        result = run.run([self.build / "bin" / name], cwd=self.root, timeout=TESTS_SECONDS_MAX)
        if result.returncode == 0:
            return Red(())
        said = (result.stdout + result.stderr).decode(errors="replace")
        found = dict.fromkeys(re.findall(r"^\[  FAILED  \] (test_\w+)", said, re.MULTILINE))
        return Red(tuple(f"{name}: {test}" for test in found) or (f"{name}: ended by {result.returncode}",))

    def run_tests(self, names: Sequence[str], scratch: Path) -> Red:
        """Functions of the harness against this copy's program. What is skipped is not red."""
        environment = {**os.environ, "PXARBENCH": str(self.build / "bin" / "pxarbench")}
        # A defect may make the program run for ever; it would even outlive a test that is ended for that.
        words = ["prlimit", f"--cpu={CPU_SECONDS_MAX}"]
        words += ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE", "--tb=no"]
        words += ["--basetemp", str(scratch), *names]
        result = run.run(words, cwd=self.root, env=environment, timeout=TESTS_SECONDS_MAX)
        said = result.stdout.decode(errors="replace")
        if result.timed_out:
            return Red(tuple(f"{name}: hangs" for name in names))
        if result.returncode not in (0, 1):
            raise PlantedError(f"pytest ended with {result.returncode}:\n{said[-1500:]}")
        return Red(tuple(re.findall(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)))

    def plant(self, defect: Defect) -> dict[Path, bytes]:
        """Changes the sources. Returns what was there."""
        texts = planted(defect, self.root)
        before = {path: path.read_bytes() for path in texts}
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        return before

    def restore(self, before: dict[Path, bytes]) -> None:
        for path, content in before.items():
            path.write_bytes(content)


def red_by_test(names: Sequence[str], red: Red) -> dict[str, int]:
    """How many of the failures belong to each function (or program) that was named."""
    return {name: sum(1 for failed in red.names if re.match(re.escape(name) + r"(\[|:|$)", failed)) for name in names}
