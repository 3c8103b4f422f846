"""A server and its clients in two network namespaces, joined by a line that the kernel delays (`tc netem`).

The network of the machine is not touched: namespaces live as long as the processes that hold them, and end with them. Needs the
right to make namespaces (root, or CAP_SYS_ADMIN), iproute2, and a kernel with sch_netem; `missing` says what is not there. Where
that is netem alone, `by="packets"` has a program delay the packets (wire/packets.py): slower, and TCP is the kernel's all the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

from .. import run

SERVER, CLIENT = "10.217.91.1", "10.217.91.2"
_NEAR, _FAR = "pxb-server", "pxb-client"
#: Packets that the line holds: a second of a gigabit in packets of 1,500 bytes.
_QUEUE = 100_000
_START_SECONDS = 10.0


class NotApart(Exception):
    """It cannot be made here; the text says why."""


def _ran(words: list[str]) -> None:
    try:
        result = run.run(words, timeout=20)
    except (OSError, run.CommandFailed) as error:
        raise NotApart(f"{words[0]}: {error}") from None
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        raise NotApart(f"{' '.join(words)}: {said[-1] if said else f'exit {result.returncode}'}")


class Apart:
    """Two namespaces and a line between them. Use `with`, or `close`."""

    def __init__(self, rtt_ms: str = "", mbit: str = "", by: Literal["netem", "packets"] = "netem") -> None:
        """"": no delay, no bandwidth. NotApart."""
        self._folder = tempfile.TemporaryDirectory(prefix="pxarbench-apart-")
        self._holders: list[run.Background] = []
        try:
            self._hold(["unshare", "--net", "sleep", "infinity"], self._is_alone)
            self._hold(["unshare", "--net", "sleep", "infinity"], self._is_alone)
            self._join(rtt_ms, mbit, by)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for holder in self._holders:
            holder.kill()
        self._holders.clear()
        self._folder.cleanup()

    @property
    def server(self) -> tuple[str, ...]:
        """Words before those of a command that is to run on the server's side; the client's: `client`."""
        return self._within(0)

    @property
    def client(self) -> tuple[str, ...]:
        return self._within(1)

    def _within(self, number: int) -> tuple[str, ...]:
        return ("nsenter", f"--net=/proc/{self._holders[number].pid}/ns/net", "--")

    def _hold(self, words: list[str], is_ready: Callable[[run.Background, Path], bool]) -> None:
        """Starts what lives as long as the line, and waits for it."""
        said = Path(self._folder.name) / f"said-{len(self._holders)}"
        try:
            holder = run.Background(words, stdout=said, stderr=said)
        except OSError as error:
            raise NotApart(f"{words[0]}: {error.strerror}") from None
        self._holders.append(holder)
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready(holder, said):
            ended = holder.ended()
            if ended is not None or time.monotonic() > deadline:
                lines = said.read_text(errors="replace").strip().splitlines()
                raise NotApart(f"{' '.join(words)}: {lines[-1] if lines else f'ended with {ended}'}")
            time.sleep(0.01)

    @staticmethod
    def _is_alone(holder: run.Background, _said: Path) -> bool:
        try:
            return os.readlink(f"/proc/{holder.pid}/ns/net") != os.readlink("/proc/self/ns/net")
        except OSError:  # not there yet, or gone: `_hold` looks
            return False

    def _join(self, rtt_ms: str, mbit: str, by: str) -> None:
        far, delay = str(self._holders[1].pid), float(rtt_ms or 0) / 2
        if by == "packets":
            program = os.fspath(Path(__file__).with_name("packets.py"))
            self._hold(
                [*self.server, sys.executable, "-S", "-E", program, _NEAR, _FAR, f"{delay:g}", mbit or "0"],
                lambda _, said: "ready" in said.read_text(errors="replace"),
            )
            _ran([*self.server, "ip", "link", "set", "dev", _FAR, "netns", far])
        else:
            _ran([*self.server, "ip", "link", "add", "name", _NEAR, "type", "veth", "peer", "name", _FAR, "netns", far])
        for side, name, address in ((self.server, _NEAR, SERVER), (self.client, _FAR, CLIENT)):
            _ran([*side, "ip", "address", "add", f"{address}/30", "dev", name])
            _ran([*side, "ip", "link", "set", "dev", name, "up"])
            if by == "netem" and (delay or mbit):
                words = ["delay", f"{delay:g}ms", *(["rate", f"{mbit}mbit"] if mbit else [])]
                _ran([*side, "tc", "qdisc", "add", "dev", name, "root", "netem", *words, "limit", str(_QUEUE)])


@lru_cache(maxsize=1)
def missing() -> str:
    """Why a line with a delay cannot be made here; "" when it can."""
    try:
        with Apart("1", "1000"):
            return ""
    except NotApart as error:
        return f"no network with a delay of the kernel's own: {error}"
