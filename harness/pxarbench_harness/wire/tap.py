"""A TCP line between a client and a server on which somebody listens: TLS ends here and begins anew, with the server's own
certificate and key, so that clients cannot tell; the bytes within pass unchanged, in order and at once.

Each connection goes to a file, a line of JSON when it begins and one when it has ended: also processes that were forked from the
one that listens can look there.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from .overheard import Conversation, Listener

#: Bytes of one direction that wait here before no more are taken.
AHEAD = 1 << 20
#: A connection on which nothing moves for so long is given up.
PATIENCE = 120.0
#: Until the end of a connection whose client is gone is written down.
END_SECONDS = 20.0


class NotOver(TimeoutError):
    """A connection goes on."""


class Log:
    """What was heard, in the order in which it ended."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mark(self) -> int:
        """The end as it is now, for `since`."""
        return self.path.stat().st_size if self.path.exists() else 0

    def since(self, mark: int) -> list[Conversation]:
        """Waits until every connection that began has ended. In the order in which they began."""
        deadline = time.monotonic() + END_SECONDS
        while True:
            begun, ended = self._read(mark)
            if begun <= ended.keys():
                return [ended[number] for number in sorted(ended)]
            if time.monotonic() > deadline:
                raise NotOver(f"{len(begun - ended.keys())} connections are still open")
            time.sleep(0.005)

    def _read(self, mark: int) -> tuple[set[int], dict[int, Conversation]]:
        begun, ended = set(), {}
        try:
            with open(self.path, "rb") as file:
                file.seek(mark)
                lines = file.read().splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            value = json.loads(line)
            if "begins" in value:
                begun.add(int(value["begins"]))
            else:
                ended[int(value["ends"])] = Conversation.of_json(value["heard"])
        return begun, ended


class _End:
    """One of the two sides of a connection."""

    def __init__(self, secured: ssl.SSLSocket) -> None:
        self.socket = secured
        self.waiting = bytearray()  # to be sent to it
        self.is_open = True

    def push(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while self.waiting:
                del self.waiting[: self.socket.send(memoryview(self.waiting)[: 1 << 16].tobytes())]

    def pull(self, room: int) -> bytes:
        """What there is, `room` bytes at most and a record more."""
        parts, size = [], 0
        while size < room:
            try:
                part = self.socket.recv(1 << 16)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except (ssl.SSLError, OSError):
                part = b""
            if not part:
                self.is_open = False
                break
            parts.append(part)
            size += len(part)
        return b"".join(parts)


class Tap:
    """Use `with`. `folder`: has certificate.pem and key.pem of the server."""

    def __init__(self, target: int, folder: Path, log: Path) -> None:
        """`target`: its port on the loopback."""
        self.target, self.log = target, Log(log)
        self._near = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._near.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        self._far = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._far.check_hostname = False
        self._far.verify_mode = ssl.CERT_NONE
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._count = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _write(self, value: object) -> None:
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        with self._lock, open(self.log.path, "ab", buffering=0) as file:
            file.write(line)

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._count += 1
            thread = threading.Thread(target=self._carry, args=(self._count, plain), daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            # Before TLS: whoever sees that the client is gone sees that the connection was there.
            self._write({"begins": self._count})
            thread.start()

    @contextlib.contextmanager
    def _known(self, one: socket.socket) -> Iterator[None]:
        with self._lock:
            self._sockets.add(one)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.discard(one)
            one.close()

    def _carry(self, number: int, plain: socket.socket) -> None:
        listener = Listener()
        try:
            # The server is asked first: a client that gets through can rely on it.
            far_plain = socket.create_connection(("127.0.0.1", self.target), PATIENCE)
            plain.settimeout(PATIENCE)
            for each in (plain, far_plain):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._known(far_plain), self._known(plain):
                far = self._far.wrap_socket(far_plain)
                near = self._near.wrap_socket(plain, server_side=True)
                with self._known(near), self._known(far):
                    _pass_on(_End(near), _End(far), listener)
        except (ssl.SSLError, OSError):
            pass  # one side is gone; what was heard until then counts
        finally:
            plain.close()
            self._write({"ends": number, "heard": listener.heard.to_json()})


def _pass_on(near: _End, far: _End, listener: Listener) -> None:
    """Until one of them ends; what it said before that still gets through."""
    for end in (near, far):
        end.socket.setblocking(False)
    ways = ((near, far, listener.said), (far, near, listener.answered))
    while near.is_open and far.is_open:
        sources = [source for source, sink, _ in ways if len(sink.waiting) < AHEAD]
        ready = any(source.socket.pending() for source in sources)
        sinks = [end.socket for end in (near, far) if end.waiting]
        readable, writable, _ = select.select([one.socket for one in sources], sinks, [], 0 if ready else PATIENCE)
        if not ready and not readable and not writable:
            return
        for source, sink, hears in ways:
            if source in sources:
                data = source.pull(AHEAD)
                if data:
                    hears(data)
                    sink.waiting += data
                    sink.push()
        for end in (near, far):
            end.push()
    for end in (near, far):
        if end.is_open and end.waiting:
            end.socket.settimeout(PATIENCE)
            end.socket.sendall(end.waiting)
