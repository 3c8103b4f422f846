"""A backup server for our client, made with python3-h2: keeps what is uploaded, watches the rules, lies on demand.

    with Peer(folder) as peer:
        peer.rule = lambda request: Answer(500) if request.endpoint == "POST finish" else None
        run("backup", ..., env=peer.environment())
    assert peer.model.breaches == []

A thread per connection. What it says and when is decided by `rule` (an Answer instead of the model's), `early` (an answer
with the head, before the body), `Manner` (settings, how the 101 comes, how TLS is set up).
Source: bench/spec/protocol.md 7, 8, 10, 14, 15.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from .. import run
from .peer_model import Answer, Backup, Model, Reader, Request
from .talk import AHEAD, Talk, hang_up

Handler = Backup | Reader

_CODES = h2.settings.SettingCodes


@dataclass
class Manner:
    """How connections are treated; read when one begins."""

    window: int = 33_554_432  # of each stream
    connection_window: int = 33_554_432
    frame: int = 4 << 20
    streams: int | None = 200
    header_list: int | None = 16384
    head: Literal["whole", "bytes", "joined"] = "whole"  # how the 101 comes; joined: with SETTINGS in one record
    settings_late: float = 0.0
    instead_of_head: bytes | None = None  # what comes instead of a 101; a second later the connection ends
    think: float = 0.0  # before every answer of a session
    alpn: tuple[str, ...] = ()
    receive_buffer: int = 0  # of the socket
    goaway_after: int = 0  # requests of a session
    cut_after: int = 0  # bytes of HTTP/2 that were received


@dataclass
class _Out:
    """A body on its way."""

    answer: Answer
    at: int = 0


class Peer:
    def __init__(self, folder: Path, model: Model | None = None, *, name: str = "localhost") -> None:
        """`folder`: for certificate and key."""
        self.model = model if model is not None else Model()
        self.manner = Manner()
        self.rule: Callable[[Request], Answer | None] = lambda _: None
        self.early: Callable[[Request], Answer | None] = lambda _: None
        self.first_bytes: list[bytes] = []  # of each connection, whatever they are
        self.alpn_offers: list[str | None] = []
        self.failures: list[str] = []  # of the peer itself, or HTTP/2 that it does not understand
        self.certificate, key = folder / "peer.pem", folder / "peer.key"
        if not self.certificate.exists():
            run.run([
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "3650", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1", "-keyout", key,
                "-out", self.certificate,
            ]).check_ok()  # fmt: skip
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._context.set_servername_callback(self._named)
        self.server_names: list[str | None] = []
        der = ssl.PEM_cert_to_DER_cert(self.certificate.read_text())
        self.fingerprint = hashlib.sha256(der).digest().hex(":")
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self._count = 0
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _named(self, _socket: ssl.SSLObject, name: str, _context: ssl.SSLContext) -> None:
        self.server_names.append(name)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def repository(self) -> str:
        return f"{self.model.token}@127.0.0.1:{self.port}:{self.model.store}"

    def environment(self) -> dict[str, str]:
        return {"PBS_PASSWORD": self.model.secret, "PBS_FINGERPRINT": self.fingerprint}

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stopping = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                hang_up(each)
        for thread in self._threads:
            thread.join(5)

    def settle(self) -> None:
        """Waits until no connection is left."""
        for thread in list(self._threads):
            thread.join(10)

    # ---- connections ----

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._count += 1
            thread = threading.Thread(target=self._serve, args=(plain, self._count), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        manner = self.manner
        if manner.receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, manner.receive_buffer)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(30)
        self._sockets.add(plain)
        try:
            self._context.set_alpn_protocols(list(manner.alpn)) if manner.alpn else None
            secured = self._context.wrap_socket(plain, server_side=True)
        except (ssl.SSLError, OSError):
            self._sockets.discard(plain)
            plain.close()
            self.first_bytes.append(b"")
            return
        self._sockets.discard(plain)
        self._sockets.add(secured)
        self.alpn_offers.append(secured.selected_alpn_protocol())
        try:
            _Connection(self, secured, number, manner).run()
        except (ssl.SSLError, OSError):
            pass  # the other side went
        except Exception as error:  # a defect of the peer must not look like one of the client
            if not self._stopping:
                self.failures.append(f"{type(error).__name__}: {error}")
        finally:
            self._sockets.discard(secured)
            secured.close()


class _Connection:
    def __init__(self, peer: Peer, secured: ssl.SSLSocket, number: int, manner: Manner) -> None:
        self.peer, self.model, self.socket, self.number, self.manner = peer, peer.model, secured, number, manner
        self.unread = b""

    # ---- HTTP/1.1 ----

    def run(self) -> None:
        while (request := self._request()) is not None:
            with self.model.lock:
                self.model.requests.append(request)
            answer = self.peer.rule(request)
            if answer is None:
                with self.model.lock:
                    told: Answer | Handler
                    upgrades = request.endpoint in ("GET backup", "GET reader")
                    told = self.model.upgrade(request) if upgrades else self.model.rest(request)
                if not isinstance(told, Answer):
                    try:
                        self._upgraded(told, request)
                    finally:
                        told.ended()
                    return
                answer = told
            if answer.delay:
                time.sleep(answer.delay)
            if answer.cut:
                return
            if not answer.status:
                self.socket.recv(1)  # until the client has had enough
                return
            self._say(answer)

    def _request(self) -> Request | None:
        data = self.unread
        while b"\r\n\r\n" not in data:
            part = self.socket.recv(65536)
            if len(self.peer.first_bytes) < self.number:
                self.peer.first_bytes += [b""] * (self.number - len(self.peer.first_bytes))
            self.peer.first_bytes[self.number - 1] += part
            if not part:
                return None
            data += part
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, target, version = first.split(" ")
        assert version == "HTTP/1.1", first
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        size = int(next((value for name, value in headers if name.lower() == "content-length"), "0"))
        while len(data) < size:
            part = self.socket.recv(65536)
            if not part:
                return None
            data += part
        self.unread = data[size:]
        return Request(self.number, "rest", 0, method, target, headers, data[:size])

    def _say(self, answer: Answer) -> None:
        lines = [f"HTTP/1.1 {answer.status} Said", f"content-type: {answer.content_type}"]
        if not answer.endless:
            lines.append(f"content-length: {len(answer.body)}")
        lines += [f"{name}: {value}" for name, value in answer.headers]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        if answer.piece:
            for at in range(0, len(answer.body), answer.piece):
                self.socket.sendall(answer.body[at : at + answer.piece])
                time.sleep(answer.pause)
        else:
            self.socket.sendall(answer.body)
        while answer.endless:
            self.socket.sendall(answer.body)

    # ---- HTTP/2 ----

    def _upgraded(self, handler: Handler, request: Request) -> None:
        manner = self.manner
        protocol = request.header("upgrade") or ""
        head = f"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n".encode()
        if manner.instead_of_head is not None:
            self.socket.sendall(manner.instead_of_head)
            self.unread = b""
            self.socket.settimeout(1.0)  # then it ends
            while self.socket.recv(65536):
                pass
            return
        if self.unread:
            self.model.breach(request, "HTTP/2 before the 101")
        session = _H2(self, handler)
        if manner.head == "joined":
            self.socket.sendall(head + session.opening())
        elif manner.head == "bytes":
            for at in range(len(head)):
                self.socket.sendall(head[at : at + 1])
            self.socket.sendall(session.opening())
        else:
            self.socket.sendall(head)
            if manner.settings_late:
                time.sleep(manner.settings_late)
            self.socket.sendall(session.opening())
        session.run()


@dataclass
class _Stream:
    request: Request
    body: bytearray = field(default_factory=bytearray)
    is_complete: bool = False
    is_answered: bool = False


class _H2(Talk):
    def __init__(self, connection: _Connection, handler: Handler) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        super().__init__(connection.socket, h2.connection.H2Connection(config), connection.unread)
        self.connection, self.handler, self.model = connection, handler, connection.model
        self.peer, self.manner = connection.peer, connection.manner
        self.streams: dict[int, _Stream] = {}
        self.due: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.bodies: dict[int, _Out] = {}
        self.received = 0
        self.count = 0

    def opening(self) -> bytes:
        manner = self.manner
        values = {_CODES.INITIAL_WINDOW_SIZE: manner.window, _CODES.MAX_FRAME_SIZE: manner.frame}
        if manner.streams is not None:
            values[_CODES.MAX_CONCURRENT_STREAMS] = manner.streams
        if manner.header_list is not None:
            values[_CODES.MAX_HEADER_LIST_SIZE] = manner.header_list
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=values)
        self.h2.max_inbound_frame_size = manner.frame
        self.h2.initiate_connection()
        if manner.connection_window > 65535:
            self.h2.increment_flow_control_window(manner.connection_window - 65535)
        return bytes(self.h2.data_to_send())

    def run(self) -> None:
        self.connection.socket.setblocking(False)
        while not self.ended:
            moved = self.read()
            if self.ended:
                return
            now = time.monotonic()
            while self.due and self.due[0][0] <= now:
                heapq.heappop(self.due)[2]()
                moved = True
            moved |= self.write()
            if moved or self.ended:
                continue
            wait = 30.0 if not self.due else max(0.0, self.due[0][0] - time.monotonic())
            self.wait_for(wait)
            if self.peer._stopping:
                return

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.due, (time.monotonic() + seconds, next(self.order), action))

    def take(self, data: bytes) -> None:
        self.received += len(data)
        if self.manner.cut_after and self.received >= self.manner.cut_after:
            self.ended = True
            return
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            rest = bytes(self.h2.incoming_buffer.data[:48]).hex()
            self.peer.failures.append(f"the client breaks HTTP/2: {error}; of {self.received} bytes the rest is {rest}")
            self.ended = True
            return
        for event in events:
            self._happened(event)

    def _happened(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields = dict(event.headers)
            request = Request(
                self.connection.number, self.handler.place, event.stream_id, fields[":method"], fields[":path"],
                tuple(event.headers),
            )  # fmt: skip
            self.streams[event.stream_id] = _Stream(request)
            self._check_head(request, fields)
            early = self.peer.early(request)
            if early is not None:
                with self.model.lock:
                    self.model.requests.append(request)
                self.streams[event.stream_id].is_answered = True
                self._later(early.delay, lambda: self._reply(event.stream_id, early))
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].body += event.data
            if event.flow_controlled_length:
                with contextlib.suppress(h2.exceptions.StreamClosedError):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._complete(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.bodies.pop(event.stream_id, None)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.ended = True

    def _check_head(self, request: Request, fields: dict[str, str]) -> None:
        model = self.model
        if len(self.streams) == 1 and request.stream != 1:
            model.breach(request, f"the first stream is {request.stream}")
        if not fields.get(":authority") or fields.get(":scheme") != "https" or not request.target.startswith("/"):
            model.breach(request, f"pseudo headers {[h for h in request.headers if h[0].startswith(':')]}")
        for name in ("authorization", "cookie", "csrfpreventiontoken", "accept-encoding", "expect"):
            if name in fields:
                model.breach(request, f"header {name}")
        names = [name for name, _ in request.headers]
        if names[:4] != [":method", ":scheme", ":authority", ":path"] or "user-agent" not in names:
            model.breach(request, f"headers {names}")

    def _complete(self, id: int) -> None:
        stream = self.streams[id]
        if stream.is_answered:
            return
        first = stream.request
        request = Request(first.connection, first.place, id, first.method, first.target, first.headers, bytes(stream.body))
        stream.body.clear()
        stream.is_complete = True
        with self.model.lock:
            self.model.requests.append(request)
            self.handler.began(request)
        self._later(self.manner.think, lambda: self._answer(id, request))

    def _answer(self, id: int, request: Request) -> None:
        told = self.peer.rule(request)
        with self.model.lock:
            if told is None:
                told = self.handler.answer(request)
            else:
                self.handler.replaced(request)
        answer = told
        if answer.delay:
            self._later(answer.delay, lambda: self._reply(id, answer))
        else:
            self._reply(id, answer)

    def _reply(self, id: int, answer: Answer) -> None:
        self.count += 1
        if answer.cut:
            self.ended = True
            return
        if answer.goaway or (self.manner.goaway_after and self.count == self.manner.goaway_after):
            self._goaway()
        if not answer.status:
            return
        headers = [(":status", str(answer.status)), ("content-type", answer.content_type), *answer.headers]
        try:
            self.h2.send_headers(id, headers)
        except h2.exceptions.ProtocolError:
            return  # the client has given it up
        self.bodies[id] = _Out(answer)

    def _goaway(self) -> None:
        """By hand: h2 itself would go on no more behind it."""
        last = max(self.streams, default=0)
        self.out += self.h2.data_to_send()
        self.out += bytes([0, 0, 8, 7, 0, 0, 0, 0, 0]) + last.to_bytes(4, "big") + (0).to_bytes(4, "big")

    def fill(self) -> None:
        for id, body in list(self.bodies.items()):
            if len(self.out) >= AHEAD:
                return
            answer = body.answer
            try:
                left = len(answer.body) - body.at
                size = max(0, min(left, self.frame_room(id), answer.piece or left))
                if left and not size:
                    continue
                last = size == left and not answer.endless and not answer.hang
                if size or last:
                    self.h2.send_data(id, answer.body[body.at : body.at + size], end_stream=last)
            except h2.exceptions.ProtocolError:
                self.bodies.pop(id, None)
                continue
            body.at += size
            if body.at == len(answer.body):
                if answer.endless:
                    body.at = 0
                else:
                    self.bodies.pop(id, None)
                    if answer.reset is not None:
                        with contextlib.suppress(h2.exceptions.ProtocolError):
                            self.h2.reset_stream(id, answer.reset)
            elif answer.pause:
                self.bodies.pop(id)
                self._later(answer.pause, lambda id=id, body=body: self.bodies.__setitem__(id, body))  # type: ignore[misc]
            self.out += self.h2.data_to_send()
