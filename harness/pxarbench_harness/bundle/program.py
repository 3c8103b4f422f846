"""The program of a replay: what is known of a build, and building the one of a commit."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from .. import locate, measure, run

_COMMIT = re.compile("[0-9a-f]{7,64}")


class BuildFailed(Exception):
    """The text says what of git, CMake or the compiler did not work, and quotes it."""


def described(binary: Path) -> dict[str, str]:
    """As Manifest.program. CommandFailed, OSError: it is no program of ours."""
    version = run.run([binary, "version"]).check_ok().text.strip()
    return {"version": version, **{k: v for k, v in measure.build(binary).items() if v}}


def harness_commit() -> str:
    """As a verdict has it: "" when not known, "+" at its end when files differ."""
    known = measure.commit()
    return "" if known == "unknown" else known.replace("+changes", "+")


def built(commit: str, place: Path, say: Callable[[str], None], repository: Path = locate.REPOSITORY) -> Path:
    """The program of that commit, built as ci/bench builds: preset release, in a worktree at `place`/COMMIT, where it stays.

    `commit`: hexadecimal; a "+" or "+changes" behind it means that what was measured is not in git. BuildFailed.
    """
    plain = commit.partition("+")[0]
    if not _COMMIT.fullmatch(plain):
        raise BuildFailed(f"{commit or 'no commit'}: cannot be built")
    if plain != commit:
        say(f"commit {plain}: built without the changes that were not committed")
    for tool in ("git", "cmake"):
        if shutil.which(tool) is None:
            raise BuildFailed(f"{tool} is not installed")
    git = ["git", "-c", f"safe.directory={repository}", "-C", repository]
    found = run.run([*git, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{plain}^{{commit}}"])
    if found.returncode != 0:
        raise BuildFailed(f"commit {plain} is not in {repository}: fetch the branch that it is on")
    whole = found.text.strip()
    place.mkdir(parents=True, exist_ok=True)
    folder = place / whole[:12]
    program = folder / "build" / "release" / "bin" / "pxarbench"
    with open(place / f"{whole[:12]}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not (folder / "CMakePresets.json").exists():
                run.run([*git, "worktree", "prune"]).check_ok()
                run.run([*git, "worktree", "add", "--force", "--detach", folder, whole]).check_ok()
            at = run.run(["git", "-c", f"safe.directory={folder}", "-C", folder, "rev-parse", "HEAD"]).check_ok().text.strip()
            if at != whole:
                raise BuildFailed(f"{folder}: is at {at[:12]}; remove it")
            say(f"building commit {whole[:12]} in {folder}")
            run.run(["cmake", "--preset", "release"], cwd=folder).check_ok()
            run.run(["cmake", "--build", "--preset", "release", "--target", "pxarbench"], cwd=folder).check_ok()
        except (run.CommandFailed, OSError) as error:
            raise BuildFailed(f"commit {whole[:12]}: {error}") from error
    if not os.access(program, os.X_OK):
        raise BuildFailed(f"{program}: was not made")
    return program
