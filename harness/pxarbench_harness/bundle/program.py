"""The program of a replay: what is known of a build, and building the one of a commit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from .. import locate, measure, run
from ..compare import builds
from ..compare.builds import BuildFailed

__all__ = ["BuildFailed", "built", "described", "harness_commit"]

_COMMIT = re.compile("[0-9a-f]{7,64}")


def described(binary: Path) -> dict[str, str]:
    """As Manifest.program. CommandFailed, OSError: it is no program of ours."""
    version = run.run([binary, "version"]).check_ok().text.strip()
    return {"version": version, **{k: v for k, v in measure.build(binary).items() if v}}


def harness_commit() -> str:
    """As a verdict has it: "" when not known, "+" at its end when files differ."""
    known = measure.commit()
    return "" if known == "unknown" else known.replace("+changes", "+")


def built(
    commit: str, say: Callable[[str], None], *, repository: Path = locate.REPOSITORY, cache: Path | None = None
) -> Path:
    """The program of that commit, built as ci/compare builds it and kept in its cache. BuildFailed.

    `commit`: hexadecimal; a "+" or "+changes" behind it means that what was measured is not in git.
    """
    plain = commit.partition("+")[0]
    if not _COMMIT.fullmatch(plain):
        raise BuildFailed(f"{commit or 'no commit'}: the bundle names no commit that could be built")
    if plain != commit:
        say(f"commit {plain}: built without the changes that were not committed")
    # Asked for here: what is no revision could be the name of a file.
    whole = builds.commit_of(plain, repository)
    if whole is None:
        raise BuildFailed(f"commit {plain} is not in {repository}: fetch the branch that it is on")
    return builds.find(whole, repository=repository, cache=cache, say=say).binary
