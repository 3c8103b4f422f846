"""A TCP line between a client and a server: counts bytes, delays them, and is cut after any of them.

What travels is encrypted, so the line knows bytes only. A cut after n bytes lets exactly n through in that direction and
then ends both sides at once.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import Literal

Direction = Literal["up", "down"]  # up: from the client to the server


@dataclass(frozen=True)
class Cut:
    direction: Direction
    after: int  # bytes of the connection that get through
    connection: int = 1  # the first one that is accepted is 1; counted again after each `Relay.cut_next`
    how: Literal["reset", "end"] = "reset"


class _Pair:
    """One connection through the line."""

    def __init__(self, relay: Relay, near: socket.socket, cut: Cut | None) -> None:
        self.relay, self.near, self.cut = relay, near, cut
        self.bytes: dict[Direction, int] = {"up": 0, "down": 0}
        self.was_cut = False
        self.lock = threading.Lock()
        self.far = socket.create_connection(("127.0.0.1", relay.target), 10)
        self.far.settimeout(None)
        for end in (near, self.far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left = 2  # directions that run
        self.threads = [
            threading.Thread(target=self._carry, args=("up", near, self.far), daemon=True),
            threading.Thread(target=self._carry, args=("down", self.far, near), daemon=True),
        ]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def end(self, how: str = "reset") -> None:
        with self.lock:
            for end in (self.near, self.far):
                try:
                    if how == "reset":
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    else:
                        end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            for end in (self.near, self.far):
                try:
                    end.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
                except OSError:
                    pass
                end.close()

    def _send(self, direction: Direction, sink: socket.socket, data: bytes) -> bool:
        cut = self.cut if self.cut is not None and self.cut.direction == direction else None
        allowed = data if cut is None else data[: max(0, cut.after - self.bytes[direction])]
        if allowed:
            self.bytes[direction] += len(allowed)  # before: whoever receives them may look at once
            sink.sendall(allowed)
        if cut is not None and self.bytes[direction] >= cut.after:
            self.was_cut = True
            self.end(cut.how)
            return False
        return True

    def _carry(self, direction: Direction, source: socket.socket, sink: socket.socket) -> None:
        delay = self.relay.delay
        try:
            if self.cut is not None and self.cut.direction == direction and self.cut.after == 0:
                self._send(direction, sink, b"")
                return
            if not delay:
                while data := source.recv(1 << 16):
                    if not self._send(direction, sink, data):
                        return
            else:
                self._carry_late(direction, source, sink, delay)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.end()
        finally:
            with self.lock:
                self.left -= 1
                over = self.left == 0
            if over:
                self.end("end")

    def _carry_late(self, direction: Direction, source: socket.socket, sink: socket.socket, delay: float) -> None:
        """Bytes arrive `delay` after they were sent, however many are under way."""
        way: queue.Queue[tuple[float, bytes]] = queue.Queue()

        def read() -> None:
            data = b"-"
            while data:
                try:
                    data = source.recv(1 << 16)
                except OSError:
                    data = b""
                way.put((time.monotonic() + delay, data))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        while True:
            due, data = way.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data or not self._send(direction, sink, data):
                return


class Relay:
    def __init__(self, target: int, *, delay: float = 0.0) -> None:
        """`target`: port on the loopback; `delay`: seconds, in each direction."""
        self.target, self.delay = target, delay
        self.cut: Cut | None = None
        self.pairs: list[_Pair] = []
        self._since = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cut_next(self, cut: Cut | None) -> None:
        """Counts connections from here on, and cuts the one that `cut` names."""
        self._since = len(self.pairs)
        self.cut = cut

    @property
    def counts(self) -> list[dict[Direction, int]]:
        """Bytes of each connection since the last `cut_next`."""
        return [dict(pair.bytes) for pair in self.pairs[self._since :]]

    @property
    def was_cut(self) -> bool:
        return any(pair.was_cut for pair in self.pairs[self._since :])

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            number = len(self.pairs) - self._since + 1
            cut = self.cut if self.cut is not None and self.cut.connection == number else None
            try:
                pair = _Pair(self, near, cut)
                self.pairs.append(pair)
                pair.start()
            except OSError:  # nobody listens any more
                near.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for pair in self.pairs:
            pair.end()
        for pair in self.pairs:
            for thread in pair.threads:
                thread.join(5)
