"""What the two systems do around a job's scripts, done with folders: checkout, caches, artifacts.

Only what the templates use, and as the actions' documentation says; an input that is not known here is an error.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import run

#: Of each action that is known here: the inputs that it must have, and those that it may have.
INPUTS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "actions/checkout": (frozenset(), frozenset({"fetch-depth", "persist-credentials", "ref"})),
    "actions/upload-artifact": (frozenset({"name", "path"}), frozenset({"if-no-files-found", "retention-days"})),
    "actions/download-artifact": (
        frozenset({"path"}), frozenset({"name", "pattern", "run-id", "github-token", "merge-multiple"}),
    ),
    "actions/cache": (frozenset({"path", "key"}), frozenset({"restore-keys"})),
}  # fmt: skip
#: Where jobs see the shelf's origin.
ORIGIN = "/origin.git"
#: The user to whom a checkout belongs on GitHub's machines; root, in the container, is another.
RUNNER_USER = 1001


class ActionFailed(Exception):
    """As the action would say it."""


@dataclass
class Shelf:
    """Where things are kept between jobs, and what is to be saved when one ends."""

    folder: Path
    repository: Path
    revision: str
    saves: list[tuple[Path, Path]] = field(default_factory=list)

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def caches(self) -> Path:
        return self.folder / "caches"

    @property
    def origin(self) -> Path:
        """A bare clone, which jobs may fetch from and push to."""
        return self.folder / "origin.git"

    def finish(self, succeeded: bool) -> None:
        """Caches are saved after jobs that succeeded, and never overwritten."""
        for source, kept in self.saves:
            if succeeded and source.exists() and not kept.exists():
                copy_tree(source, kept)
        self.saves.clear()


def copy_tree(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def checkout(shelf: Shelf, workspace: Path, *, owner: int | None = RUNNER_USER) -> None:
    """A clone of what is committed, with all its history; `owner`: None leaves it to whoever runs this."""
    for entry in workspace.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    git = ["git", "-c", f"safe.directory={shelf.repository}", "-c", f"safe.directory={shelf.repository}/.git"]
    if not (shelf.origin / "HEAD").exists():
        run.run([*git, "clone", "--quiet", "--bare", "--no-hardlinks", shelf.repository, shelf.origin]).check_ok()
    run.run([*git, "clone", "--quiet", "--no-hardlinks", shelf.repository, workspace]).check_ok()
    run.run(["git", "-C", workspace, "-c", "advice.detachedHead=false", "checkout", "--quiet", shelf.revision]).check_ok()
    run.run(["git", "-C", workspace, "remote", "set-url", "origin", ORIGIN]).check_ok()
    if owner is not None and os.geteuid() == 0:
        run.run(["chown", "-R", "--", str(owner), workspace]).check_ok()


def matching(workspace: Path, pattern: str) -> list[Path]:
    """Files of a pattern of GitHub's: a folder means all below it, ** any depth."""
    plain = workspace / pattern
    if not any(sign in pattern for sign in "*?["):
        if plain.is_dir():
            return sorted(path for path in plain.rglob("*") if not path.is_dir())
        return [plain] if plain.exists() else []
    forms = {pattern, pattern.replace("**/", "")}
    below = (path for path in workspace.rglob("*") if path.is_file())
    return sorted(path for path in below if any(fnmatch.fnmatch(str(path.relative_to(workspace)), form) for form in forms))


def input_problem(name: str, inputs: Mapping[str, Any]) -> str | None:
    """What is wrong with an action's inputs; GitHub only warns of those that it does not know."""
    if name not in INPUTS:
        return f"{name} is not known here"
    must, may = INPUTS[name]
    unknown, left_out = set(inputs) - must - may, must - set(inputs)
    if unknown:
        return f"{name}: what {', '.join(sorted(unknown))} does is not known here"
    return f"{name} needs {', '.join(sorted(left_out))}" if left_out else None


def upload(shelf: Shelf, workspace: Path, inputs: Mapping[str, Any]) -> str:
    """Kept below what all paths have in common, as GitHub does. Answers with a sentence."""
    patterns = [line.strip() for line in str(inputs["path"]).splitlines() if line.strip()]
    found = [path for pattern in patterns for path in matching(workspace, pattern)]
    if not found:
        if inputs.get("if-no-files-found") == "error":
            raise ActionFailed(f"no files: {', '.join(patterns)}")
        return "no files"
    tops = [workspace / pattern.partition("*")[0] for pattern in patterns]
    common = Path(os.path.commonpath([top if top.is_dir() else top.parent for top in tops]))
    kept = shelf.artifacts / str(inputs["name"])
    if kept.exists():
        raise ActionFailed(f"an artifact {inputs['name']} is there already")
    for path in found:
        copy_tree(path, kept / path.relative_to(common))
    return f"{len(found)} files"


def download(shelf: Shelf, workspace: Path, inputs: Mapping[str, Any]) -> str:
    target = workspace / str(inputs.get("path", "."))
    if "name" in inputs:
        kept = shelf.artifacts / str(inputs["name"])
        if not kept.is_dir():
            raise ActionFailed(f"there is no artifact {inputs['name']}")
        copy_tree(kept, target)
        return "1 artifact"
    names = [kept for kept in sorted(shelf.artifacts.glob("*")) if fnmatch.fnmatch(kept.name, str(inputs.get("pattern", "*")))]
    for kept in names:
        copy_tree(kept, target if inputs.get("merge-multiple") else target / kept.name)
    return f"{len(names)} artifacts"


def cache(shelf: Shelf, workspace: Path, inputs: Mapping[str, Any]) -> str:
    key, place = str(inputs["key"]), workspace / str(inputs["path"])
    exact = shelf.caches / key
    shelf.saves.append((place, exact))
    prefixes = [key, *str(inputs.get("restore-keys", "")).split()]
    for prefix in prefixes:
        for kept in sorted(shelf.caches.glob("*")):
            if kept.name == key or (prefix != key and kept.name.startswith(prefix)):
                copy_tree(kept, place)
                return f"restored {kept.name}"
    return "nothing kept yet"


def act(uses: str, shelf: Shelf, workspace: Path, inputs: Mapping[str, Any]) -> str:
    """By the action's name. ActionFailed, run.CommandFailed."""
    name = uses.partition("@")[0]
    if wrong := input_problem(name, inputs):
        raise ActionFailed(wrong)
    if name == "actions/checkout":
        checkout(shelf, workspace)
        return "cloned"
    known = {"actions/upload-artifact": upload, "actions/download-artifact": download, "actions/cache": cache}
    return known[name](shelf, workspace, inputs)
