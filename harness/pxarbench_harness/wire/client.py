"""A client that does one call at a time, and each as wrongly as it is told: TLS, HTTP/1.1, upgrade, HTTP/2.

Nothing is retried or repaired. What the server says is handed back as it came: tests judge it.
Source: bench/spec/protocol.md 4 to 7.
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from .accounts import ticket, token
from .talk import AHEAD, Talk

__all__ = [
    "BACKUP", "BINARY", "FORM", "JSON", "READER", "Line", "Lost", "Reply", "Session", "Silent", "backup_target", "opened",
    "reader_target", "target_of", "upgraded", "ticket", "token",
]  # fmt: skip

AGENT = "proxmox-backup-client/1.0"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
BINARY = "application/octet-stream"
BACKUP = "proxmox-backup-protocol-v1"
READER = "proxmox-backup-reader-protocol-v1"

#: Of one wait. Nothing on a loopback takes as long; replies that are late by design come within 3 s.
PATIENCE = 20.0

_WINDOW = 2_147_483_646
_FRAME = 4 << 20


class Lost(Exception):
    """The connection ended while an answer was due."""


class Silent(Exception):
    """The server said nothing for too long."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes
    reset: int | None = None  # code of an RST_STREAM behind a complete reply
    version: str = "HTTP/2"

    @property
    def data(self) -> Any:
        """Of a good JSON answer."""
        assert self.status == 200, self
        answer = json.loads(self.body)
        assert isinstance(answer, dict) and "data" in answer, self
        return answer["data"]

    @property
    def text(self) -> str:
        return self.body.decode()


class Line:
    """One TLS connection, spoken HTTP/1.1 on until `upgrade`."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", buffers: int = 0, patience: float = PATIENCE) -> None:
        """`buffers`: bytes that the socket holds, for tests of a full one."""
        self.patience = patience
        plain = socket.socket()
        if buffers:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        plain.settimeout(patience)
        try:
            plain.connect((host, port))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["h2", "http/1.1"])  # a server must take neither
            self.socket = context.wrap_socket(plain)
        except BaseException:
            plain.close()
            raise
        self.unread = b""

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def fingerprint(self) -> str:
        der = self.socket.getpeercert(binary_form=True)
        assert der is not None
        return hashlib.sha256(der).digest().hex(":")

    def close(self) -> None:
        """At once, without a word: how a client aborts."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        """Some bytes; b"": the end. Lost ends count as ends."""
        if self.unread:
            data, self.unread = self.unread, b""
            return data
        try:
            return self.socket.recv(1 << 16)
        except TimeoutError:
            raise Silent("nothing came") from None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError):
            return b""

    def rest(self) -> bytes:
        """Everything until the server ends the connection."""
        parts = []
        while part := self.receive():
            parts.append(part)
        return b"".join(parts)

    def exchange(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None,
        content_type: str | None = FORM,
    ) -> Reply:  # fmt: skip
        head = {"Host": "localhost:8007", "User-Agent": AGENT}
        if content_type is not None:
            head["Content-Type"] = content_type
        head.update(headers or {})
        if body is not None:
            head.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        return self.raw("\r\n".join(lines).encode() + (body or b""))

    def post_json(self, target: str, value: object, headers: Mapping[str, str] | None = None) -> Reply:
        return self.exchange("POST", target, headers=headers, body=json.dumps(value).encode(), content_type=JSON)

    def raw(self, request: bytes) -> Reply:
        """Sends these bytes, reads one reply. Bytes behind a 101 stay in `unread`."""
        try:
            self.send(request)
        except (ssl.SSLError, ConnectionError):
            pass  # an answer may be there all the same
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.receive()
            if not part:
                raise Lost(f"the connection ended within a reply: {data[:200]!r}")
            data += part
            assert len(data) < 1 << 20
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        version, status, *_ = first.split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon and name == name.strip(), line
            headers[name.lower()] = value.strip()
        code = int(status)
        if code == 101:
            self.unread = data
            return Reply(code, headers, b"", version=version)
        # Without a length the next request on the same connection could not be told from the body (14.1).
        size = int(headers["content-length"])
        while len(data) < size:
            part = self.receive()
            if not part:
                raise Lost(f"{len(data)} of {size} bytes of a body")
            data += part
        self.unread = data[size:]
        return Reply(code, headers, data[:size], version=version)

    def upgrade(self, target: str, headers: Mapping[str, str], protocol: str | None = BACKUP) -> Reply:
        """As in 7.1. Session(line) goes on after a 101."""
        head = dict(headers)
        head["Connection"] = "upgrade"
        if protocol is not None:
            head["Upgrade"] = protocol
        return self.exchange("GET", target, headers=head)


def target_of(path: str, **parameters: object) -> str:
    """`path` with a query; underscores in names stand for hyphens. None leaves one out."""
    given = {name.replace("_", "-"): value for name, value in parameters.items() if value is not None}
    words = [f"{name}={quote(str(value), safe='')}" for name, value in given.items()]
    return path + ("?" if words else "") + "&".join(words)


def backup_target(store: str, id: str, time: int, *, kind: str = "host", ns: str | None = None, **more: object) -> str:
    fixed: dict[str, object] = {
        "backup_id": id, "backup_time": time, "backup_type": kind, "benchmark": "false", "debug": "true", "store": store,
        "ns": ns,
    }  # fmt: skip
    return target_of("/api2/json/backup", **{**fixed, **more})


def reader_target(store: str, id: str, time: int, *, kind: str = "host", ns: str | None = None, **more: object) -> str:
    fixed: dict[str, object] = {
        "backup_id": id, "backup_time": time, "backup_type": kind, "debug": "true", "store": store, "ns": ns,
    }  # fmt: skip
    return target_of("/api2/json/reader", **{**fixed, **more})


# ---- HTTP/2 ----


@dataclass
class _Stream:
    body: memoryview
    insists: bool
    sent: int = 0
    said_end: bool = False
    stops_at: int = 0  # bytes of an unfinished body; 0: it ends
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    @property
    def is_over(self) -> bool:
        return self.ended or self.reset is not None


class Session(Talk):
    """The HTTP/2 half of a connection that was upgraded."""

    def __init__(self, line: Line, *, settings: Mapping[int, int] | None = None, connection_window: int = _WINDOW) -> None:
        """`settings`: instead of the usual ones; h2 announces a few of its own as well."""
        self.line = line
        line.socket.setblocking(False)
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        super().__init__(line.socket, h2.connection.H2Connection(config), line.unread)
        line.unread = b""
        codes = h2.settings.SettingCodes
        values = {codes.ENABLE_PUSH: 0, codes.INITIAL_WINDOW_SIZE: _WINDOW, codes.MAX_FRAME_SIZE: _FRAME}
        values.update({codes(number): value for number, value in (settings or {}).items()})
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.h2.max_inbound_frame_size = values[codes.MAX_FRAME_SIZE]
        self.h2.initiate_connection()
        if connection_window > 65535:
            self.h2.increment_flow_control_window(connection_window - 65535)
        self.streams: dict[int, _Stream] = {}
        self.goaway: int | None = None  # its error code
        self._in = bytearray()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.line.close()

    # ---- calls ----

    def submit(
        self, method: str, path: str, *, content_type: str | None = FORM, body: bytes | None = None, insists: bool = False,
        headers: Iterable[tuple[str, str]] = (), unfinished: int = 0, pseudo: Iterable[tuple[str, str]] | None = None,
    ) -> int:  # fmt: skip
        """Queues a request. `insists`: the body goes on after an early answer. `unfinished`: only so many bytes of it come."""
        stream = self.h2.get_next_available_stream_id()
        head = list(pseudo) if pseudo is not None else [
            (":method", method), (":scheme", "https"), (":authority", "localhost:8007"), (":path", path),
        ]  # fmt: skip
        head.append(("user-agent", AGENT))
        if content_type is not None:
            head.append(("content-type", content_type))
        head += headers
        self.h2.send_headers(stream, head, end_stream=body is None)
        found = _Stream(memoryview(body or b""), insists, said_end=body is None, stops_at=unfinished)
        self.streams[stream] = found
        return stream

    def call(self, method: str, path: str, **options: Any) -> Reply:
        return self.wait(self.submit(method, path, **options))[0]

    def get(self, path: str) -> Reply:
        return self.call("GET", path)

    def post(self, path: str, body: bytes | None = None, content_type: str | None = None) -> Reply:
        return self.call("POST", path, body=body, content_type=content_type or (FORM if body is None else BINARY))

    def put_json(self, path: str, value: object) -> Reply:
        return self.call("PUT", path, body=json.dumps(value, separators=(",", ":")).encode(), content_type=JSON)

    def wait(self, *ids: int) -> list[Reply]:
        """Their replies. Lost: the connection ended first; AssertionError: a stream was reset without a reply."""
        self.pump(lambda: all(self.streams[id].is_over for id in ids))
        replies = []
        for id in ids:
            stream = self.streams[id]
            if not stream.is_over:
                raise Lost(f"stream {id} has no reply: the connection ended (GOAWAY {self.goaway})")
            assert stream.ended, f"stream {id} was reset with {stream.reset} before its reply was complete"
            replies.append(Reply(stream.status, stream.headers, bytes(stream.data), stream.reset))
        return replies

    def reset_of(self, id: int) -> int | None:
        """Waits for a stream's end: the code of a reset without a reply, None for a reply."""
        self.pump(lambda: self.streams[id].is_over)
        if not self.streams[id].is_over:
            raise Lost(f"stream {id}: the connection ended")
        return None if self.streams[id].ended else self.streams[id].reset

    # ---- the connection ----

    def pump(self, until: Callable[[], bool], patience: float | None = None) -> None:
        """Sends and receives until `until()`, or the end of the connection."""
        deadline = time.monotonic() + (self.line.patience if patience is None else patience)
        while not self.ended and not until():
            moved = self.read()
            if self.ended or until():
                break
            moved |= self.write()
            if moved:
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise Silent(f"no answer; open streams: {[id for id, s in self.streams.items() if not s.is_over][:20]}")
            self.wait_for(left)
        if not self.ended:
            self.write()

    def drain(self, seconds: float) -> None:
        """Lets happen what happens meanwhile."""
        try:
            self.pump(lambda: False, seconds)
        except Silent:
            pass

    def until_end(self, patience: float | None = None) -> None:
        """Waits until the server has ended the connection."""
        self.pump(lambda: False, patience)

    def take(self, data: bytes) -> None:
        """A frame at a time: h2 refuses everything behind a GOAWAY, though running requests are to be answered."""
        self._in += data
        while len(self._in) >= 9 and len(self._in) >= (size := 9 + int.from_bytes(self._in[:3], "big")):
            frame = bytes(self._in[:size])
            del self._in[:size]
            try:
                events = self.h2.receive_data(frame)
            except h2.exceptions.ProtocolError as error:
                raise AssertionError(f"the server breaks HTTP/2: {error}") from None
            for event in events:
                self._happened(event)

    def _happened(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = int(event.error_code)
            self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            return
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.headers = {name: value for name, value in event.headers if not name.startswith(":")}
            stream.status = int(dict(event.headers)[":status"])
        elif isinstance(event, h2.events.DataReceived):
            stream.data += event.data
            if event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = int(event.error_code)

    def fill(self) -> None:
        """More bytes of bodies, a frame of each stream in turn."""
        for id, stream in self.streams.items():
            if len(self.out) >= AHEAD:
                return
            if stream.said_end or stream.reset is not None or (stream.ended and not stream.insists):
                continue
            left = len(stream.body) - stream.sent
            if stream.stops_at:
                room_left = stream.stops_at - stream.sent
                if room_left <= 0:
                    continue
                left = min(left, room_left)
            try:
                size = max(0, min(left, self.frame_room(id)))
                if left and size <= 0:
                    continue
                last = size == left and not stream.stops_at
                self.h2.send_data(id, bytes(stream.body[stream.sent : stream.sent + size]), end_stream=last)
            except h2.exceptions.StreamClosedError:
                continue
            stream.sent += size
            stream.said_end = last
            self.out += self.h2.data_to_send()


def opened(port: int, target: str, headers: Mapping[str, str], protocol: str = BACKUP, **options: Any) -> Session:
    """A session that must come about."""
    line, reply = upgraded(port, target, headers, protocol)
    try:
        assert reply.status == 101, (reply.status, reply.body)
        return Session(line, **options)
    except BaseException:
        line.close()
        raise


def upgraded(
    port: int, target: str, headers: Mapping[str, str], protocol: str | None = BACKUP, patience: float = 5.0
) -> tuple[Line, Reply]:
    """An upgrade, asked for again while the group's lock is held: a session that has just been closed may still be there for
    the server (9.5)."""
    deadline = time.monotonic() + patience
    while True:
        line = Line(port)
        try:
            reply = line.upgrade(target, headers, protocol)
        except BaseException:
            line.close()
            raise
        if reply.status != 400 or b"lock" not in reply.body.lower() or time.monotonic() > deadline:
            return line, reply
        line.close()
        time.sleep(0.02)
