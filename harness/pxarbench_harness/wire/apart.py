"""A server and its clients in two network namespaces, joined by a line that the kernel delays (`tc netem`).

The network of the machine is not touched: namespaces live as long as the two processes that hold them, and end with them. Needs
the right to make namespaces (root, or CAP_SYS_ADMIN), iproute2, and a kernel with sch_netem; `missing` says what is not there.
"""

from __future__ import annotations

import os
import tempfile
import time
from functools import lru_cache
from pathlib import Path

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

    def __init__(self, rtt_ms: str = "", mbit: str = "") -> None:
        """"": no delay, no bandwidth. NotApart."""
        self._folder = tempfile.TemporaryDirectory(prefix="pxarbench-apart-")
        self._holders: list[run.Background] = []
        try:
            self._join(rtt_ms, mbit)
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

    def _hold(self, number: int) -> None:
        said = Path(self._folder.name) / f"said-{number}"
        try:
            holder = run.Background(["unshare", "--net", "sleep", "infinity"], stdout=said, stderr=said)
        except OSError as error:
            raise NotApart(f"unshare: {error.strerror}") from None
        self._holders.append(holder)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            ended = holder.ended()
            if ended is not None or time.monotonic() > deadline:
                why = said.read_text(errors="replace").strip() or f"ended with {ended}"
                raise NotApart(f"no namespace: {why}")
            try:
                if os.readlink(f"/proc/{holder.pid}/ns/net") != os.readlink("/proc/self/ns/net"):
                    return
            except OSError as error:
                if not isinstance(error, FileNotFoundError | ProcessLookupError):
                    raise NotApart(f"no namespace: {error.strerror}") from None
            time.sleep(0.01)

    def _join(self, rtt_ms: str, mbit: str) -> None:
        self._hold(0)
        self._hold(1)
        far = str(self._holders[1].pid)
        _ran([*self.server, "ip", "link", "add", "name", _NEAR, "type", "veth", "peer", "name", _FAR, "netns", far])
        for side, name, address in ((self.server, _NEAR, SERVER), (self.client, _FAR, CLIENT)):
            _ran([*side, "ip", "address", "add", f"{address}/30", "dev", name])
            _ran([*side, "ip", "link", "set", "dev", name, "up"])
            if rtt_ms or mbit:
                words = ["delay", f"{float(rtt_ms or 0) / 2:g}ms", *(["rate", f"{mbit}mbit"] if mbit else [])]
                _ran([*side, "tc", "qdisc", "add", "dev", name, "root", "netem", *words, "limit", str(_QUEUE)])


@lru_cache(maxsize=1)
def missing() -> str:
    """Why a line with a delay cannot be made here; "" when it can."""
    try:
        with Apart("1", "1000"):
            return ""
    except NotApart as error:
        return f"no network with a delay of the kernel's own: {error}"
