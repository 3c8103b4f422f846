"""The only module that starts processes.

Every call waits for its processes: none is left behind, not even after an exception. Output is captured unless a file
is given. Times are monotonic.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class CommandFailed(Exception):
    """A command that had to succeed did not; the text names it and quotes the end of what it said."""


@dataclass(frozen=True)
class Result:
    argv: tuple[str, ...]
    returncode: int  # negative: ended by that signal
    stdout: bytes
    stderr: bytes
    wall_ns: int
    timed_out: bool = False

    def check_ok(self) -> Result:
        if self.returncode != 0:
            why = "timed out" if self.timed_out else f"exit {self.returncode}"
            said = (self.stderr or self.stdout).decode(errors="replace").strip()
            raise CommandFailed(f"{shlex.join(self.argv)}: {why}" + (f"\n{said[-2000:]}" if said else ""))
        return self

    def json(self) -> Any:
        return json.loads(self.check_ok().stdout)

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="surrogateescape")


def sanitizer_spoke(said: str) -> bool:
    """Whether a build with sanitizers has found something, however it ended."""
    return "Sanitizer: " in said or "runtime error: " in said


@dataclass(frozen=True)
class Usage:
    """What the kernel counted for a command and everything below it."""

    returncode: int
    user_ns: int
    system_ns: int
    peak_rss_bytes: int
    #: rchar, wchar (bytes through read and write calls, of files, pipes, terminals), syscr, syscw (these calls),
    #: read_bytes, write_bytes (fetched from, or due to be written to, a block device). {}: the kernel does not say.
    io: Mapping[str, int] = field(default_factory=dict)
    wall_ns: int = 0  # from the fork to the end, without the launcher's own start


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    # Messages are parsed and quoted: one language everywhere.
    return {**os.environ, "LC_ALL": "C.UTF-8", **(extra or {})}


#: Set in hooks and by `git rebase --exec`, where they mean another repository or index than the one that is asked for here.
_GIT_ELSEWHERE = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE", "GIT_PREFIX",
)  # fmt: skip


def git_words(repository: str | os.PathLike[str], *options: str) -> list[str]:
    """The beginning of a git command about this repository, whoever owns it, and about no other."""
    there = [f"-u{name}" for name in _GIT_ELSEWHERE if name in os.environ]
    at = os.fspath(repository)
    return [*(["env", *there] if there else []), "git", *options, "-c", f"safe.directory={at}", "-C", at]


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float | None = None,
) -> Result:
    """Runs one command to its end. On timeout its whole process group is killed and timed_out is set."""
    words = tuple(os.fspath(word) for word in argv)
    started = time.monotonic_ns()
    process = subprocess.Popen(
        words,
        cwd=cwd,
        env=_environment(env),
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    timed_out = False
    try:
        out, err = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
        _stop_group(process)
        out, err = process.communicate()
    except BaseException:
        _stop_group(process)
        raise
    return Result(words, process.returncode, out, err, time.monotonic_ns() - started, timed_out)


def passed_on(
    argv: Sequence[str | os.PathLike[str]], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> int:
    """Runs one command whose output goes where ours goes, as it comes. Its exit code; negative: ended by that signal.

    Interrupted, it is interrupted as well, and has some seconds to end what it started in groups of their own.
    """
    words = tuple(os.fspath(word) for word in argv)
    sys.stdout.flush()
    process = subprocess.Popen(words, cwd=cwd, env=_environment(env), stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait()
    except BaseException:
        try:
            os.killpg(process.pid, signal.SIGINT)
            until = time.monotonic() + 10
            while time.monotonic() < until:
                process.poll()  # the group lives as long as its leader was not waited for
                os.killpg(process.pid, 0)
                time.sleep(0.02)
        except ProcessLookupError:
            pass
        _stop_group(process)
        raise


def pipeline(commands: Sequence[Sequence[str | os.PathLike[str]]], *, cwd: Path | None = None) -> None:
    """`a | b | c`; every part must succeed (a part ended by SIGPIPE because its reader failed is not the one named)."""
    processes: list[tuple[tuple[str, ...], subprocess.Popen[bytes]]] = []
    try:
        before = None
        for number, command in enumerate(commands):
            words = tuple(os.fspath(word) for word in command)
            last = number == len(commands) - 1
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env=_environment(None),
                stdin=before if before is not None else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if last else subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            if before is not None:
                before.close()  # the only reader left is the process: SIGPIPE reaches the writer
            before = process.stdout
            processes.append((words, process))
        results = []
        for words, process in reversed(processes):  # from the reader back: a failure there explains the rest
            assert process.stderr is not None
            err = process.stderr.read()
            results.append(Result(words, process.wait(), b"", err, 0))
        for result in results:
            if result.returncode != -signal.SIGPIPE:
                result.check_ok()
        for result in results:
            result.check_ok()
    finally:
        for _, process in processes:
            if process.poll() is None:
                _stop_group(process)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def together(commands: Sequence[Sequence[str | os.PathLike[str]]], *, inputs: Sequence[Path] = ()) -> int:
    """Starts all commands at once and waits for all: nanoseconds from the first start to the last end.

    Output is thrown away; `inputs`: a file per command to read from. CommandFailed: one failed, the others were waited for.
    """
    processes: list[tuple[tuple[str, ...], subprocess.Popen[bytes]]] = []
    with ExitStack() as files:
        sources = [files.enter_context(open(path, "rb")) for path in inputs] or [subprocess.DEVNULL] * len(commands)
        errors = [files.enter_context(tempfile.TemporaryFile()) for _ in commands]
        started = time.monotonic_ns()
        try:
            for command, source, error in zip(commands, sources, errors, strict=True):
                words = tuple(os.fspath(word) for word in command)
                processes.append((words, subprocess.Popen(
                    words, env=_environment(None), stdin=source, stdout=subprocess.DEVNULL, stderr=error, start_new_session=True,
                )))  # fmt: skip
            for _, process in processes:
                process.wait()
            wall = time.monotonic_ns() - started
        finally:
            for _, process in processes:
                if process.poll() is None:
                    _stop_group(process)
        for (words, process), error in zip(processes, errors, strict=True):
            error.seek(0)
            Result(words, process.returncode, b"", error.read(), wall).check_ok()
    return wall


def run_counted(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> tuple[Result, Usage]:
    """Runs a command under launch.py, which asks the kernel what the command and its children used."""
    read_end, write_end = os.pipe()
    try:
        words = [os.fspath(word) for word in argv]
        launcher = [sys.executable, "-S", "-E", str(Path(__file__).with_name("launch.py")), str(write_end)]
        process = subprocess.Popen(
            launcher + words,
            cwd=cwd,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(write_end,),
            start_new_session=True,
        )
        os.close(write_end)
        write_end = -1
        started = time.monotonic_ns()
        timed_out = False
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            _stop_group(process)
            out, err = process.communicate()
        except BaseException:
            _stop_group(process)
            raise
        wall = time.monotonic_ns() - started
        said = b""
        while part := os.read(read_end, 65536):
            said += part
        result = Result(tuple(words), process.returncode, out, err, wall, timed_out)
        if not said:  # killed, or the launcher could not start the command
            return result, Usage(process.returncode, 0, 0, 0)
        counted = json.loads(said)
        return result, Usage(
            returncode=int(counted["returncode"]),
            user_ns=int(counted["user_ns"]),
            system_ns=int(counted["system_ns"]),
            peak_rss_bytes=int(counted["peak_rss_bytes"]),
            io={name: int(count) for name, count in counted["io"].items()},
            wall_ns=int(counted["wall_ns"]),
        )
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)


class Background:
    """A command that runs beside its caller, in a group of its own, until it ends or `stop` ends it.

    Nor does it outlive its caller: whoever kills that one (SIGTERM arrives when the thread ends that started it) leaves no
    server behind.
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        stdout: Path,
        stderr: Path,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.argv = tuple(os.fspath(word) for word in argv)
        self.stdout, self.stderr = stdout, stderr
        # It becomes the command: the process is the same. No preexec_fn: callers may have threads.
        setpriv = shutil.which("setpriv")
        follows = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
        with open(stdout, "wb") as out, open(stderr, "wb") as err:
            self._process = subprocess.Popen(
                [*follows, *self.argv], env=_environment(env), stdin=subprocess.DEVNULL, stdout=out, stderr=err, pass_fds=tuple(pass_fds),
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> int | None:
        """Its exit code, negative: the signal; None: it runs."""
        return self._process.poll()

    def kill(self) -> None:
        _stop_group(self._process)

    def stop(self, patience: float = 10.0) -> int:
        """SIGTERM, and the exit code. Whoever does not end within `patience` seconds is killed: CommandFailed."""
        self._process.terminate()
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            _stop_group(self._process)
            raise CommandFailed(f"{shlex.join(self.argv)}: did not end within {patience:g} s of SIGTERM") from None


def end_when_cancelled() -> None:
    """A job that is cancelled, or whose terminal is closed, is interrupted, not killed: its servers and folders have to go."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)


def sync_filesystem(path: Path) -> None:
    """Writes back what is dirty on the file system of `path`, and on no other (Python has no syncfs)."""
    run(["sync", "-f", path]).check_ok()


def _end_with_parent() -> None:
    """Whoever kills the harness need not look for its helpers: they would wait for work for ever."""
    kill = signal.SIGKILL
    ctypes.CDLL(None).prctl(ctypes.c_int(1), ctypes.c_ulong(kill), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def map_parallel(work: Callable[[Item], Answer], items: Iterable[Item], *, workers: int | None = None) -> list[Answer]:
    """Like list(map(...)), spread over processes; order is kept, the first exception is raised."""
    items = list(items)
    count = min(workers or os.cpu_count() or 1, len(items))
    if count <= 1:
        return [work(item) for item in items]
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("fork"), initializer=_end_with_parent) as pool:
        return list(pool.map(work, items))
