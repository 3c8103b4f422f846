"""What is asked of git. Through plumbing commands alone: neither the work tree nor the index of a repository is touched."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import run

NETWORK_SECONDS_MAX = 120
_FORMAT = "--format=%H%x00%ct%x00%s"
_LAST_SECOND = 253_402_300_799


class GitFailed(Exception):
    """git is missing, or refused; the text quotes it."""


@dataclass(frozen=True)
class Commit:
    name: str  # in full
    committed: str  # UTC
    subject: str  # first line of the message, as its author wrote it


@dataclass(frozen=True)
class Repository:
    path: Path

    def ask(
        self, *words: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> run.Result:
        """Whatever comes of it. Configuration that would make git talk, page, sign or run hooks is switched off."""
        quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_PAGER": "cat"}
        return run.run([*self._git(), *words], stdin=stdin, env={**quiet, **(env or {})}, timeout=timeout)

    def _git(self) -> list[str | Path]:
        if shutil.which("git") is None:
            raise GitFailed("git is not installed")
        return run.git_words(self.path, "--no-pager", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false")

    def must(self, *words: str, **options: object) -> str:
        """Standard output, stripped. GitFailed quotes what git said."""
        result = self.ask(*words, **options)  # type: ignore[arg-type]
        if result.returncode != 0:
            said = (result.stderr or result.stdout).decode(errors="replace").strip()[-1000:]
            raise GitFailed(f"git {words[0]}: {said or f'exit {result.returncode}'}")
        return result.stdout.decode(errors="replace").strip()

    def run_shown(self, *words: str) -> int:
        """Of bisect run, which takes long: what its steps say is seen at once. Exit code."""
        env = {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "GIT_PAGER": "cat"}
        return run.passed_on([*self._git(), *words], env=env)

    @property
    def is_there(self) -> bool:
        return shutil.which("git") is not None and self.ask("rev-parse", "--git-dir").returncode == 0

    def commit(self, name: str) -> Commit | None:
        """None: there is no such commit here, or the abbreviation stands for several."""
        if not name or name.startswith("-"):
            return None
        # --end-of-options: a name is never an option. NUL between the fields: subjects may hold anything else.
        found = self.ask("log", "-1", "--no-show-signature", _FORMAT, "--end-of-options", f"{name}^{{commit}}", "--")
        parts = found.stdout.decode(errors="replace").rstrip("\n").split("\0")
        if found.returncode != 0 or len(parts) != 3:
            return None
        return Commit(parts[0], utc(int(parts[1])), parts[2])

    def is_ancestor(self, old: str, new: str) -> bool:
        return self.ask("merge-base", "--is-ancestor", old, new).returncode == 0

    def between(self, old: str, new: str) -> list[Commit]:
        """Those that `new` has and `old` has not, the oldest first."""
        text = self.must("rev-list", "--topo-order", "--reverse", "--no-commit-header", _FORMAT, f"{old}..{new}", "--")
        rows = [line.split("\0") for line in text.split("\n") if line.count("\0") == 2]
        return [Commit(name, utc(int(seconds)), subject) for name, seconds, subject in rows]

    def places(self, names: Sequence[str]) -> dict[str, int]:
        """Of names (in hexadecimal digits) their places, ancestors' before descendants'; names that are not here are left out."""
        if not names:
            return {}
        asked = "".join(f"{name}^{{commit}}\n" for name in names).encode()
        told = self.must("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=asked).split("\n")
        full: dict[str, list[str]] = {}  # a commit may be known by several abbreviations
        for text, name in zip(told, names, strict=True):
            if text.endswith(" commit"):
                full.setdefault(text.split(" ")[0], []).append(name)
        if not full:
            return {}
        text = self.must("rev-list", "--topo-order", "--reverse", "--stdin", stdin="\n".join(full).encode() + b"\n")
        return {name: place for place, commit in enumerate(text.split("\n")) for name in full.get(commit, ())}

    def branch(self) -> str:
        """That is checked out, "" when none is."""
        found = self.ask("symbolic-ref", "--quiet", "--short", "HEAD")
        return found.text.strip() if found.returncode == 0 else ""


def utc(seconds: int) -> str:
    """Anybody may commit at any time: beyond the years 1970 to 9999, the nearer end of these."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(max(seconds, 0), _LAST_SECOND)))


def is_branch_name(text: str) -> bool:
    """Of the names that git allows those without surprises."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}", text) is not None
    return plain and ".." not in text and "//" not in text and not text.endswith(("/", ".lock", "."))


def identity(repository: Repository) -> dict[str, str]:
    """Environment for commits where nobody told git who they are, as in most CI jobs."""
    found = {}
    for role in ("AUTHOR", "COMMITTER"):
        if os.environ.get(f"GIT_{role}_EMAIL") or repository.ask("config", "user.email").stdout.strip():
            continue
        found |= {f"GIT_{role}_NAME": "pxarbench", f"GIT_{role}_EMAIL": "pxarbench@localhost"}
    return found
