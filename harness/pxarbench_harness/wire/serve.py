"""`pxarbench serve` as a process: started, asked for its address, stopped, and its end looked at."""

from __future__ import annotations

import fcntl
import json
import os
import select
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import run
from .accounts import Account

#: Of the transcript, bench/spec/protocol.md 17.
STORE, TOKEN, SECRET = "store1", "bench@pbs!ci", "s3cr3t"

START_SECONDS = 20.0
#: Graceful is at most 5 s; the rest is for sanitizers.
STOP_SECONDS = 10.0


class ServerFailed(Exception):
    """It did not start, or did not end as it should; the text quotes what it said."""


OWNER = Account(TOKEN, SECRET)


@dataclass(frozen=True)
class Setup:
    """What a server is started with."""

    accounts: tuple[Account, ...] = (OWNER,)
    store: str = STORE
    sync: str = "none"
    words: tuple[str, ...] = ()  # further ones
    env: Mapping[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"
    before: tuple[str, ...] = ()  # words that start the program in a network of its own: wire/apart.py


def is_locked(directory: Path) -> bool:
    """Whether somebody writes into it; one that is gone is not locked."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def words_of(program: Path, datastore: Path, setup: Setup, secrets: Path, ready: int) -> list[str]:
    words = [*setup.before, os.fspath(program), "serve", "--datastore", os.fspath(datastore), "--name", setup.store]
    words += ["--listen", f"{setup.address}:0"]
    words += ["--ready-fd", str(ready), "--sync", setup.sync]
    for number, account in enumerate(setup.accounts):
        path = secrets / f"secret-{number}"
        path.touch(mode=0o600)
        path.write_text(account.secret + "\n")
        may = ":" + ",".join(account.privileges) if account.privileges else ""
        words += ["--token" if account.is_token else "--user", f"{account.id}{may}={path}"]
    return [*words, *setup.words]


class Serving:
    """A running server. Use `with`: the end checks how it ended."""

    def __init__(self, program: Path, datastore: Path, setup: Setup | None = None) -> None:
        setup = setup or Setup()
        self.program, self.datastore, self.setup = program, datastore, setup
        self._is_over = False
        self._folder = tempfile.TemporaryDirectory(prefix="pxarbench-serve-")
        folder = Path(self._folder.name)
        (datastore / ".chunks").mkdir(parents=True, exist_ok=True)
        self.log = folder / "stderr"
        read_end, write_end = os.pipe()
        try:
            self._process = run.Background(
                words_of(program, datastore, setup, folder, write_end), stdout=folder / "stdout", stderr=self.log,
                env=setup.env, pass_fds=(write_end,),
            )  # fmt: skip
            os.close(write_end)
            write_end = -1
            try:
                said = self._ready(read_end)
            except BaseException:
                self._process.kill()
                raise
        except BaseException:
            self._folder.cleanup()
            raise
        finally:
            os.close(read_end)
            if write_end >= 0:
                os.close(write_end)
        for path in folder.glob("secret-*"):  # it has read them, and whoever is killed cannot clear them away
            path.unlink()
        self.port = int(said["port"])
        self.fingerprint = str(said["fingerprint"])

    def _ready(self, read_end: int) -> dict[str, object]:
        deadline, data = time.monotonic() + START_SECONDS, b""
        while b"\n" not in data:
            readable, _, _ = select.select([read_end], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(read_end, 65536) if readable else b""
            if not part:
                why = "said nothing" if not readable else f"ended with {self._process.ended()}"
                raise ServerFailed(f"pxarbench serve {why}:\n{self.said()[-2000:]}")
            data += part
        said = json.loads(data)
        assert isinstance(said, dict)
        return said

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(checks=kind is None)

    def close(self, checks: bool = True) -> None:
        """The second time nothing."""
        if self._is_over:
            return
        self._is_over = True
        try:
            code = self._process.ended()
            if code is None:
                code = self._process.stop(STOP_SECONDS)
            elif checks:
                raise ServerFailed(f"pxarbench serve was gone before it was stopped ({code}):\n{self.said()[-4000:]}")
            if checks and (code != 0 or run.sanitizer_spoke(self.said())):
                raise ServerFailed(f"pxarbench serve ended with {code}:\n{self.said()[-4000:]}")
        finally:
            self._folder.cleanup()

    def kill(self) -> None:
        """-9, in the middle of whatever it does."""
        self._is_over = True
        self._process.kill()
        self._folder.cleanup()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    # ---- for clients ----

    def repository(self, account: Account | None = None, port: int = 0) -> str:
        account = account or self.setup.accounts[0]
        return f"{account.id}@{self.setup.address}:{port or self.port}:{self.setup.store}"

    def environment(self, account: Account | None = None) -> dict[str, str]:
        """What `pxarbench` needs beside the repository."""
        account = account or self.setup.accounts[0]
        return {"PBS_PASSWORD": account.secret, "PBS_FINGERPRINT": self.fingerprint}

    # ---- for those who look behind it ----

    def chunk(self, digest: bytes) -> Path:
        return self.datastore / ".chunks" / digest.hex()[:4] / digest.hex()

    def snapshot(self, time_: int, id: str = "demo", kind: str = "host", ns: Sequence[str] = ()) -> Path:
        folder = self.datastore
        for component in ns:
            folder = folder / "ns" / component
        return folder / kind / id / time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_))

    def wait_gone(self, path: Path, seconds: float = 5.0) -> None:
        """Until the server has removed it, and let go of what it was in: a group's lock ends last."""
        deadline = time.monotonic() + seconds
        while path.exists() or is_locked(path.parent):
            if time.monotonic() > deadline:
                raise ServerFailed(f"{path} is still there after {seconds:g} s")
            time.sleep(0.01)
