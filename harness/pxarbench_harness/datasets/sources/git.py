"""Trees from git: a tag of a repository, with or without .git; or a .git made on the spot around another source."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import run
from .. import progress, times
from ..workspace import Workspace, tied
from ..source import Found, SourceFailed, needs, reachable

_NOBODY = {
    "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "TZ": "UTC",
    "GIT_AUTHOR_NAME": "pxarbench", "GIT_AUTHOR_EMAIL": "pxarbench@localhost",
    "GIT_COMMITTER_NAME": "pxarbench", "GIT_COMMITTER_EMAIL": "pxarbench@localhost",
}  # fmt: skip


def _git(at: Path, *words: str | Path, seconds: int = 0, timeout: float | None = None) -> str:
    when = f"{seconds} +0000"
    command = [
        "git", "-c", f"safe.directory={at}", "-c", "core.autocrlf=false", "-c", "core.fileMode=true", "-c", "gc.auto=0",
        "-c", "pack.threads=1", "-c", "commit.gpgSign=false", "-C", at, *words,
    ]  # fmt: skip
    env = {**_NOBODY, "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
    return run.run(tied(command), env=env, timeout=timeout).check_ok().text


def _settle(at: Path) -> None:
    """Takes out of .git what is about this machine: inode numbers and times in the index, times in the logs, hooks."""
    _git(at, "read-tree", "HEAD")  # an index that knows no inode
    shutil.rmtree(at / ".git" / "logs", ignore_errors=True)
    shutil.rmtree(at / ".git" / "hooks", ignore_errors=True)


def clone(work: Workspace, source: Mapping[str, Any]) -> Found:
    """Fields: url, ref, keep_git (default false), depth (default 1; 0: the whole history), limits of time and speed."""
    needs("git")
    url, ref = source["url"], source["ref"]
    if url.startswith(("http:", "https:")):
        reachable(url, source.get("connect_seconds", 5))
    work.tell(f"git clone of {ref} from {url}")
    into = work.scratch / "clone"
    if into.exists():
        shutil.rmtree(into)
    depth = source.get("depth", 1)
    command = [
        "git", "-c", f"http.lowSpeedLimit={source.get('low_speed_bytes', 10_000)}",
        "-c", f"http.lowSpeedTime={source.get('low_speed_seconds', 30)}",
        "-c", "advice.detachedHead=false", "-c", "core.autocrlf=false", "-c", "checkout.workers=1",
        "clone", "--quiet", "--template=", *(["--depth", str(depth)] if depth else []), "--branch", ref, url, into,
    ]  # fmt: skip
    with work.progress("cloning", probe=lambda: progress.below(into)):
        run.run(tied(command), env=_NOBODY, timeout=source.get("timeout_seconds", 3600)).check_ok()
    commit, seconds = _git(into, "log", "-1", "--format=%H %ct").split()
    kept = bool(source.get("keep_git", False))
    if kept:
        _settle(into)
    else:
        shutil.rmtree(into / ".git")
    work.step("cloned")
    work.root.rmdir()
    into.rename(work.root)
    text = f"git {ref} ({commit[:12]})" + (f", with .git, {f'depth {depth}' if depth else 'whole history'}" if kept else "")
    return Found(text, "path", int(seconds), facts={"commit": commit})


def init(work: Workspace, source: Mapping[str, Any]) -> Found:
    """One commit around another source. Fields: `from` (that source), `date`, `branch`, `tag`.

    For where the real repository is out of reach: it has a pack, an index and refs, but no history. The same git program
    makes the same bytes of the same tree; another version may pack differently.
    """
    from . import fill  # the kinds may nest

    needs("git")
    inner = fill(work, source["from"], timed=False)
    date, branch, tag = str(source["date"]), source.get("branch", "main"), source.get("tag", "")
    try:
        seconds = times.seconds_of(date)
    except ValueError:
        raise SourceFailed(f"date is {date!r}, not like 2024-01-31T12:00:00Z") from None
    at = work.root
    if (at / ".git").exists():
        raise SourceFailed(f"{inner.text}: has a .git of its own")
    work.tell("making a .git around it: one commit, one pack (this takes minutes)")
    with work.progress("making .git", probe=lambda: progress.below(at / ".git")):
        _git(at, "-c", f"init.defaultBranch={branch}", "init", "--quiet", "--template=", seconds=seconds)
        _git(at, "add", "--all", "--force", ".", seconds=seconds)
        work.step("added")
        _git(at, "commit", "--quiet", "--message", f"All of {inner.text}", seconds=seconds)
        if tag:
            _git(at, "tag", tag, seconds=seconds)
        _git(at, "repack", "-a", "-d", "-q", seconds=seconds)
        _git(at, "pack-refs", "--all", seconds=seconds)
    _settle(at)
    commit = _git(at, "rev-parse", "HEAD").strip()
    text = f"{inner.text}, with a .git made of it here: one commit ({commit[:12]}), no history"
    return Found(text, f"{inner.order}, then .git", seconds, facts={**inner.facts, "commit": commit})
