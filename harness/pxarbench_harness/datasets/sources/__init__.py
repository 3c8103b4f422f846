"""A tree from the first of the recipe's sources that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ... import run
from .. import times
from ..workspace import Built, DatasetFailed, Workspace, empty
from . import archive, debian, folder, git, versions
from ..source import Found, SourceFailed, Unreachable

__all__ = ["KINDS", "Found", "SourceFailed", "Unreachable", "build"]

KINDS: dict[str, Callable[[Workspace, Mapping[str, Any]], Found]] = {
    "git": git.clone,
    "git-init": git.init,
    "archive": archive.build,
    "installed": debian.installed,
    "debian": debian.package,
    "path": folder.copy,
    "versions": versions.build,
}


def fill(work: Workspace, source: Mapping[str, Any], *, timed: bool = True) -> Found:
    """Fills work.root from one source; `timed`: and sets the times by the recipe's policy. SourceFailed, run.CommandFailed."""
    kind = KINDS.get(source["kind"])
    if kind is None:
        raise SourceFailed(f"a kind of source that is not known; there are {', '.join(KINDS)}")
    try:
        found = kind(work, source)
    except KeyError as error:
        raise SourceFailed(f"the recipe does not say {error}") from error
    if timed and not found.timed:
        _set_times(work, found)
    return found


def _set_times(work: Workspace, found: Found) -> None:
    policy = work.recipe.mtime or ("found" if found.commit_seconds is None else "commit")
    if policy == "fixed":
        times.set_all(work.root, times.seconds_of(work.recipe.values["mtime_fixed"]))
    elif policy == "commit":
        if found.commit_seconds is None:
            raise SourceFailed("the recipe asks for the commit's time, this source has no commit")
        times.set_all(work.root, found.commit_seconds)


def build(work: Workspace) -> Built:
    """DatasetFailed names every source with its reason when none is of use."""
    tried = []
    for source in work.recipe.values["source"]:
        try:
            found = fill(work, source)
        except (SourceFailed, run.CommandFailed) as error:
            reason = str(error).strip().splitlines()
            tried.append(f"{source['kind']}: {reason[0] if reason else error}")
            if len(reason) > 1:
                tried[-1] += f" ({reason[-1]})"
            work.tell(f"no {tried[-1]}")
            empty(work.root)
        else:
            work.step("unpacked")
            return Built(found.text, found.order, found.keep, found.facts, found.tree)
    raise DatasetFailed(f"dataset {work.recipe.name}: none of its sources is available\n  " + "\n  ".join(tried))
