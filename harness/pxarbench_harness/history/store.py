"""Where lines are kept: a file, or a file on a branch of its own of a git repository. Lines are only ever added."""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import git
from .line import LINE_BYTES_MAX, SCHEMA, LineBroken, Run, from_json, to_json

#: The file on a branch.
NAME = "history.jsonl"
BYTES_MAX = 512 << 20
RUNS_MAX = 200_000
ATTEMPTS = 12
#: Of the first wait before another attempt; each may be twice as long as the one before, up to a limit.
WAIT_SECONDS, WAIT_SECONDS_MAX = 0.05, 5.0


class HistoryBroken(Exception):
    """What is kept cannot be read, or nothing can be added; the text names the place."""


@dataclass(frozen=True)
class Read:
    runs: tuple[Run, ...]  # in the order in which they were added, each id once
    broken: tuple[str, ...] = ()  # lines that were passed over: "PLACE: line N: what is wrong"


class Store(Protocol):
    @property
    def place(self) -> str:
        """In words, for messages and for the command line of others."""

    def load(self) -> bytes:
        """All of it; b"" when there is nothing yet. HistoryBroken, OSError, git.GitFailed."""

    def append(self, run: Run) -> bool:
        """False: a line with its id was there already, and nothing was added. HistoryBroken, OSError, git.GitFailed."""


def parse(data: bytes, place: str, *, skip_broken: bool = False) -> Read:
    """HistoryBroken names the first line that is wrong, or `skip_broken` passes over such lines and tells."""
    runs: dict[str, Run] = {}
    broken = []
    lines = data.split(b"\n")
    if len(lines) - 1 > RUNS_MAX:
        raise HistoryBroken(f"{place}: more than {RUNS_MAX} lines")
    for number, encoded in enumerate(lines, 1):
        if not encoded.strip() and number == len(lines):
            continue  # behind the last line end
        try:
            if len(encoded) > LINE_BYTES_MAX:
                raise LineBroken(f"is longer than {LINE_BYTES_MAX} bytes")
            found = from_json(encoded.decode("utf-8"))
            runs.setdefault(found.id, found)
        except (LineBroken, UnicodeDecodeError) as error:
            text = f"{place}: line {number}: {error}"
            if not skip_broken:
                raise HistoryBroken(text) from None
            broken.append(text)
    return Read(tuple(runs.values()), tuple(broken))


def read(store: Store, *, skip_broken: bool = False) -> Read:
    return parse(store.load(), store.place, skip_broken=skip_broken)


def _with(data: bytes, run: Run) -> bytes | None:
    """With one line more; None: it is there already. A last line that was cut off keeps to itself."""
    if data and SCHEMA.encode() not in data.partition(b"\n")[0]:
        raise HistoryBroken("what is there is no history, and stays as it is")
    if _has(data, run.id):
        return None
    line = to_json(run).encode()
    if len(line) > LINE_BYTES_MAX:
        raise HistoryBroken(f"the run's line is longer than {LINE_BYTES_MAX} bytes")
    if len(data) + len(line) + 2 > BYTES_MAX:
        raise HistoryBroken(f"the history would be larger than {BYTES_MAX} bytes: begin a new one")
    return data + (b"\n" if data and not data.endswith(b"\n") else b"") + line + b"\n"


def _has(data: bytes, run: str) -> bool:
    """Whether a run of this id can be read: a line that was cut off, or that only quotes the id, is none."""
    marker = f'"id":"{run}"'.encode()
    for line in data.split(b"\n"):
        if marker in line:
            try:
                if from_json(line.decode("utf-8")).id == run:
                    return True
            except (LineBroken, UnicodeDecodeError):
                pass
    return False


# ---- a file ----


@dataclass(frozen=True)
class FileStore:
    path: Path

    @property
    def place(self) -> str:
        return str(self.path)

    def load(self) -> bytes:
        try:
            with open(self.path, "rb") as file:
                return _bounded(file.read(BYTES_MAX + 1), self.place)
        except FileNotFoundError:
            return b""

    def append(self, run: Run) -> bool:
        """Whole or not at all; two at a time wait for each other."""
        path = Path(os.path.realpath(self.path))  # a link stays a link
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            whole = _with(self.load(), run)
            if whole is None:
                return False
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
            descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(whole)
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                os.replace(part, path)
            except BaseException:
                Path(part).unlink(missing_ok=True)
                raise
        return True


def _bounded(data: bytes, place: str) -> bytes:
    if len(data) > BYTES_MAX:
        raise HistoryBroken(f"{place}: is larger than {BYTES_MAX} bytes")
    return data


def _umask() -> int:
    now = os.umask(0o022)
    os.umask(now)
    return now


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder is what is locked: the file itself is replaced, and a lock file would stay behind."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# ---- a branch ----


@dataclass(frozen=True)
class BranchStore:
    """history.jsonl at the top of a branch that shares no commit with others. With a remote: of the remote's branch; what
    this repository has of the same name is neither read nor changed."""

    repository: git.Repository
    branch: str
    remote: str = ""

    def __post_init__(self) -> None:
        if not git.is_branch_name(self.branch):
            raise HistoryBroken(f"{self.branch!r} is no name of a branch")
        if self.remote.startswith("-"):
            raise HistoryBroken(f"{self.remote!r} is no name of a remote")

    @property
    def place(self) -> str:
        return f"{self.remote + ' ' if self.remote else ''}branch {self.branch}"

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.branch}"

    def _tip(self) -> str:
        """Without a remote: of the branch here, else of what was fetched last. "": there is neither."""
        if self.remote:
            listed = self.repository.must("ls-remote", "--heads", self.remote, self._ref, timeout=git.NETWORK_SECONDS_MAX)
            # The pattern also fits refs that only end in it.
            names = [line.split("\t")[0] for line in listed.split("\n") if line.endswith(f"\t{self._ref}")]
            if not names:
                return ""
            words = ["fetch", "--quiet", "--no-tags", "--no-auto-gc", self.remote, self._ref]
            self.repository.must(*words, timeout=git.NETWORK_SECONDS_MAX)
            return names[0]
        return self._local() or self._known(f"refs/remotes/origin/{self.branch}")

    def _local(self) -> str:
        return self._known(self._ref)

    def _known(self, ref: str) -> str:
        found = self.repository.ask("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        return found.text.strip() if found.returncode == 0 else ""

    def _at(self, tip: str) -> bytes:
        if not tip:
            return b""
        entry = self.repository.must("ls-tree", tip, "--", NAME).split()
        if len(entry) < 3 or entry[1] != "blob":
            raise HistoryBroken(f"{self.place}: holds no {NAME}: it is not the branch of a history, and stays as it is")
        if int(self.repository.must("cat-file", "-s", entry[2])) > BYTES_MAX:
            raise HistoryBroken(f"{self.place}: {NAME} is larger than {BYTES_MAX} bytes")
        found = self.repository.ask("cat-file", "blob", entry[2])
        found.check_ok()
        return found.stdout

    def load(self) -> bytes:
        return self._at(self._tip())

    def append(self, run: Run) -> bool:
        self._not_checked_out()
        said = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                # By chance: those who collided must not meet again.
                time.sleep(random.uniform(0, min(WAIT_SECONDS_MAX, WAIT_SECONDS * 2**attempt)))
            here = "" if self.remote else self._local()
            tip = here or self._tip()
            whole = _with(self._at(tip), run)
            if whole is None:
                return False
            commit = self._commit(tip, whole, f"history: {run.kind} of {run.commit or 'an unknown commit'}")
            # Both refuse when somebody else was faster: then once more, on top of theirs. ("": it must not be there.)
            if self.remote:
                words = ["push", "--quiet", self.remote, f"{commit}:{self._ref}"]
                moved = self.repository.ask(*words, timeout=git.NETWORK_SECONDS_MAX)
            else:
                moved = self.repository.ask("update-ref", "-m", "pxarbench history", self._ref, commit, here)
            if moved.returncode == 0:
                return True
            said = moved.stderr.decode(errors="replace").strip()[-500:]
        raise HistoryBroken(f"{self.place}: could not be moved on in {ATTEMPTS} attempts: {said}")

    def _commit(self, tip: str, whole: bytes, message: str) -> str:
        """What else lies at the top of the branch stays."""
        blob = self.repository.must("hash-object", "-w", "--stdin", stdin=whole)
        listed = self.repository.ask("ls-tree", "-z", tip).check_ok().stdout if tip else b""
        entries: Sequence[bytes] = [e for e in listed.split(b"\0") if e and e.partition(b"\t")[2] != NAME.encode()]
        entries = [*entries, f"100644 blob {blob}\t{NAME}".encode()]
        tree = self.repository.must("mktree", "-z", stdin=b"".join(e + b"\0" for e in entries))
        parent = ["-p", tip] if tip else []
        return self.repository.must("commit-tree", tree, *parent, "-m", message, env=git.identity(self.repository))

    def _not_checked_out(self) -> None:
        """Moving a branch under a work tree would make all of its files look changed."""
        if self.remote:
            return
        if f"branch {self._ref}" in self.repository.must("worktree", "list", "--porcelain").split("\n"):
            raise HistoryBroken(f"{self.place}: is checked out in a work tree: lines are only added to a branch that is not")
