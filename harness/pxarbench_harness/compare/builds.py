"""Programs to compare: from a git revision, a folder of sources, a build folder or a program. What has to be built is built the
same way: preset `release` of those sources, by the same compiler, in folders whose names have the same length.

    CACHE/compare/0123456789ab-012345/src      a revision, as `git archive` gives it: the checkout is not touched
    CACHE/compare/0123456789ab-012345/build    its build; kept, so that the base of many comparisons is built once
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .. import locate, measure, run
from .decide import BASE, HEAD, NULL

PRESET = "release"
BUILD_SECONDS_MAX = 1800
_STAMP = "built"


class BuildFailed(Exception):
    """There is no such build, or it cannot be made; the text says which and why."""


@dataclass(frozen=True)
class Build:
    word: str  # as it was asked for
    kind: str  # "revision", "sources", "build folder" or "program"
    binary: Path
    commit: str  # full; "+" at its end: with changes that are not committed; "" when not known

    @property
    def sha256(self) -> str:
        return measure.build(self.binary)["sha256"]

    @property
    def text(self) -> str:
        known = measure.build(self.binary)
        how = ", ".join(part for part in (known["compiler"], known["flags"]) if part)
        return f"{self.word} ({', '.join(part for part in (self.commit[:12], how, 'sha256 ' + self.sha256[:12]) if part)})"


def _git(repository: Path, *words: str) -> run.Result:
    return run.run([*run.git_words(repository), *words])


def commit_of(word: str, repository: Path) -> str | None:
    """Full id of a revision, None when git knows none of that name."""
    if shutil.which("git") is None or not word or word.startswith("-"):
        return None
    found = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{word}^{{commit}}")
    return found.text.strip() if found.returncode == 0 else None


def _commit_of_folder(folder: Path) -> str:
    """Of a checkout; "+" at its end when tracked files differ."""
    if shutil.which("git") is None:
        return ""
    head = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if head.returncode != 0:
        return ""
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return head.text.strip() + ("+" if changed.stdout.strip() else "")


def _compiler() -> str:
    """What CMake will take, in words."""
    name = os.environ.get("CC") or "cc"
    return name + measure.version_of(name) + os.environ.get("CFLAGS", "") + os.environ.get("LDFLAGS", "")


def _digits(text: str, count: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:count]


@contextmanager
def _locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another build in {path.with_suffix('')}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(word: str, sources: Path, build: Path, jobs: int, say: Callable[[str], None]) -> Path:
    say(f"building {word} (preset {PRESET})")
    for words in (
        ["cmake", "--preset", PRESET, "-B", build, "-S", sources],
        ["cmake", "--build", build, "--target", "pxarbench", "-j", str(jobs)],
    ):
        try:
            result = run.run(words, cwd=sources, timeout=BUILD_SECONDS_MAX)
        except OSError as error:
            raise BuildFailed(f"{word}: {words[0]}: {error.strerror}") from None
        if result.returncode != 0:
            said = (result.stdout + result.stderr).decode(errors="replace").strip()
            raise BuildFailed(f"{word}: does not build:\n{said[-3000:]}")
    return build / "bin" / "pxarbench"


def _of_revision(word: str, commit: str, repository: Path, cache: Path, jobs: int, say: Callable[[str], None]) -> Path:
    home = cache / f"{commit[:12]}-{_digits(_compiler(), 6)}"
    binary, stamp = home / "build" / "bin" / "pxarbench", home / _STAMP
    with _locked(home.with_suffix(".lock"), say):
        # The stamp tells an interrupted build from a whole one; a program that was changed since is made again.
        if binary.is_file() and stamp.is_file() and stamp.read_text() == hashlib.sha256(binary.read_bytes()).hexdigest():
            return binary
        shutil.rmtree(home, ignore_errors=True)
        (home / "src").mkdir(parents=True)
        git = [*run.git_words(repository), "archive", "--format=tar", commit]
        try:
            run.pipeline([git, ["tar", "-x", "-C", home / "src"]])
        except (run.CommandFailed, OSError) as error:
            raise BuildFailed(f"{word}: {error}") from None
        _make(f"{word} ({commit[:12]})", home / "src", home / "build", jobs, say)
        stamp.write_text(hashlib.sha256(binary.read_bytes()).hexdigest())
    return binary


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def find(
    word: str,
    *,
    repository: Path = locate.REPOSITORY,
    cache: Path | None = None,
    jobs: int = 0,
    say: Callable[[str], None] = lambda _text: None,
) -> Build:
    """BuildFailed. What is both a revision and a file or folder is taken for a revision, unless it begins with . or /."""
    cache = cache or locate.cache() / "compare"
    jobs = jobs or os.cpu_count() or 1
    if not word:
        raise BuildFailed(f"an empty word is no revision of {repository}")
    path = Path(word)
    commit = None if word.startswith((".", "/")) else commit_of(word, repository)
    if commit is not None:
        return Build(word, "revision", _of_revision(word, commit, repository, cache, jobs, say), commit)
    if _runs(path):
        return Build(word, "program", path.absolute(), "")
    if _runs(path / "bin" / "pxarbench"):
        return Build(word, "build folder", (path / "bin" / "pxarbench").absolute(), "")
    if (path / "CMakeLists.txt").is_file() and (path / "bench").is_dir():
        sources = path.resolve()
        home = cache / f"{_digits(os.fspath(sources), 12)}-{_digits(_compiler(), 6)}"
        with _locked(home.with_suffix(".lock"), say):
            return Build(word, "sources", _make(word, sources, home / "build", jobs, say), _commit_of_folder(sources))
    if path.exists():
        raise BuildFailed(f"{word}: neither a program, nor a folder with bin/pxarbench, nor the sources of one")
    raise BuildFailed(f"{word}: no revision of {repository}, and no file or folder")


def place(base: Build, head: Build, folder: Path) -> dict[str, Path]:
    """Copies the programs to where they are measured: arm -> path, all of the same length. `folder` allows programs to run."""
    arms = {}
    for arm, build in ((BASE, base), (NULL, base), (HEAD, head)):
        target = folder / arm / "pxarbench"
        target.parent.mkdir(parents=True)
        shutil.copyfile(build.binary, target)
        target.chmod(0o755)
        arms[arm] = target
    return arms
