"""Malformed and hostile HTTP/2 against `pxarbench serve`: the session ends, the snapshot goes, the server lives (V26, 78)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from wire_tools import C1, T0, refused

from pxarbench_harness.wire import client
from pxarbench_harness.wire.client import BINARY, Line, Session, Silent
from pxarbench_harness.wire.objects import Chunk, blob
from pxarbench_harness.wire.spoken import OWNER, Server
from pxarbench_harness.wire.whole import Upload

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)

PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM = 1, 2, 7

#: GET /previous_backup_time, from the static table and literals without indexing.
GET_TIME = b"\x82\x87" + b"\x01\x01a" + b"\x04\x15/previous_backup_time"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", *, size: int | None = None) -> bytes:
    length = len(payload) if size is None else size
    return length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def post(path: str) -> bytes:
    assert len(path) < 254
    size = bytes([len(path)]) if len(path) < 127 else bytes([127, len(path) - 127])
    return b"\x83\x87\x01\x01a\x04" + size + path.encode()


def setting(number: int, value: int) -> bytes:
    return frame(SETTINGS, payload=struct.pack(">HI", number, value))


START = PREFACE + frame(SETTINGS)

BROKEN = {
    "no settings": PREFACE + frame(PING, payload=bytes(8)),
    "wrong preface": b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + frame(SETTINGS),
    "http/1.1 instead": b"GET /previous_backup_time HTTP/1.1\r\nHost: x\r\n\r\n",
    "frame too large": START + frame(DATA, 0, 1, bytes(100), size=(4 << 20) + 1),
    "hpack garbage": START + frame(HEADERS, 5, 1, b"\xff" * 40),
    "hpack index beyond the table": START + frame(HEADERS, 5, 1, b"\xfe"),
    "table size beyond what was allowed": START + frame(HEADERS, 5, 1, b"\x3f\xe1\xff\x7f" + GET_TIME),
    "headers on stream 0": START + frame(HEADERS, 5, 0, GET_TIME),
    "data on stream 0": START + frame(DATA, 1, 0, b"x"),
    "data on an idle stream": START + frame(DATA, 1, 1, b"x"),
    "even stream": START + frame(HEADERS, 5, 2, GET_TIME),
    "continuation out of nothing": START + frame(CONTINUATION, 4, 1, GET_TIME),
    "other frame within headers": START + frame(HEADERS, 1, 1, GET_TIME) + frame(PING, payload=bytes(8)),
    "settings of odd length": START + frame(SETTINGS, payload=bytes(5)),
    "settings on a stream": START + frame(SETTINGS, 0, 1),
    "acknowledgement with contents": START + frame(SETTINGS, 1, 0, bytes(6)),
    "push": START + frame(PUSH, 4, 1, bytes(4) + GET_TIME),
    "enable push is 2": START + setting(2, 2),
    "window above 31 bits": START + setting(4, 1 << 31),
    "frame size below 16384": START + setting(5, 100),
    "window update of 0": START + frame(WINDOW, payload=bytes(4)),
    "window beyond 31 bits": START + frame(WINDOW, payload=struct.pack(">I", 0x7FFFFFFF)) * 2,
    "window update too short": START + frame(WINDOW, payload=bytes(3)),
    "ping too short": START + frame(PING, payload=bytes(7)),
    "ping on a stream": START + frame(PING, 0, 1, bytes(8)),
    "reset of an idle stream": START + frame(RST, 0, 1, bytes(4)),
    "reset too short": START + frame(RST, 0, 1, bytes(3)),
    "padding longer than the frame": START + frame(HEADERS, 0xD, 1, b"\xff" + GET_TIME),
    "goaway on a stream": START + frame(GOAWAY, 0, 1, bytes(8)),
    "endless continuations": START + frame(HEADERS, 1, 1, GET_TIME) + frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b") * 20000,
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_connections(server: Server, what: str) -> None:
    with server.line() as line:
        assert line.upgrade(client.backup_target("store1", "demo", T0), OWNER.headers).status == 101
        assert server.snapshot(T0).is_dir()
        try:
            line.send(BROKEN[what])
        except OSError:
            pass
        try:
            line.rest()
        except Silent:
            pytest.fail("the connection stays open")
    server.wait_gone(server.snapshot(T0).parent)
    assert server.rest("GET", "version").status == 200


def test_body_of_a_refused_call_is_not_kept(server: Server) -> None:
    """More than the 32 MiB of the windows, at once, without looking at them: ended, or swallowed with the window given back; never
    more memory than the windows allow."""
    before = memory_peak(server)
    with server.line() as line:
        assert line.upgrade(client.backup_target("store1", "demo", T0), OWNER.headers).status == 101
        line.send(START + frame(SETTINGS, 1) + frame(HEADERS, 4, 1, post(f"/dynamic_chunk?{C1.query(1)}")))
        block = frame(DATA, 0, 1, bytes(1 << 20))
        try:
            for _ in range(96):
                line.send(block)
        except OSError:
            pass
        line.socket.settimeout(1)
        try:
            line.rest()
        except Silent:
            pass
        assert memory_peak(server) - before < 40 << 20
    server.wait_gone(server.snapshot(T0).parent)
    assert server.rest("GET", "version").status == 200


def memory_peak(server: Server) -> int:
    """Most that it had in memory so far."""
    text = Path(f"/proc/{server.pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) << 10


def session_of(server: Server, **options: object) -> Session:
    line = Line(server.port)
    assert line.upgrade(client.backup_target("store1", "demo", T0), OWNER.headers).status == 101
    return Session(line, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pseudo",
    [
        [(":method", "GET"), (":scheme", "https"), (":path", "/previous_backup_time")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "previous_backup_time")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "x")],
        [(":scheme", "https"), (":authority", "x"), (":path", "/previous_backup_time")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/a"), (":path", "/b")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/a"), (":extra", "1")],
    ],
    ids=["no-authority", "path-without-slash", "no-path", "no-method", "two-paths", "unknown-pseudo-header"],
)
def test_malformed_requests_are_reset(server: Server, pseudo: list[tuple[str, str]]) -> None:
    """15.5: only the stream suffers."""
    with session_of(server) as session:
        assert session.reset_of(session.submit("GET", "/", pseudo=pseudo)) == PROTOCOL_ERROR
        assert session.get("/previous_backup_time").data is None


FORBIDDEN = [("X-Upper", "1"), ("connection", "close"), ("te", "gzip"), ("transfer-encoding", "chunked")]


@pytest.mark.parametrize("header", FORBIDDEN, ids=lambda header: header[0])
def test_headers_that_http2_forbids(server: Server, header: tuple[str, str]) -> None:
    with session_of(server) as session:
        assert session.reset_of(session.submit("GET", "/previous_backup_time", headers=[header])) == PROTOCOL_ERROR
        assert session.get("/previous_backup_time").data is None
    server.wait_gone(server.snapshot(T0).parent)


def test_content_length_that_lies(server: Server) -> None:
    """7.4: RST_STREAM(PROTOCOL_ERROR)."""
    with session_of(server) as session:
        upload = Upload.begin(session, "a.didx")
        path = f"/dynamic_chunk?{C1.query(upload.wid)}"
        for told in (29, 31):
            id = session.submit("POST", path, body=C1.encoded, content_type=BINARY, headers=[("content-length", str(told))])
            assert session.reset_of(id) == PROTOCOL_ERROR, told
        right = session.call("POST", path, body=C1.encoded, content_type=BINARY, headers=[("content-length", "30")])
        assert right.data == C1.name


def test_large_header_list(server: Server) -> None:
    """7.4: 16 KiB; the stream is reset, the session goes on."""
    with session_of(server) as session:
        for count, reset in ((10, None), (40, INTERNAL_ERROR), (10, None)):
            headers = [(f"x{n}", "y" * 1000) for n in range(count)]
            assert session.reset_of(session.submit("GET", "/previous_backup_time", headers=headers)) == reset
    server.wait_gone(server.snapshot(T0).parent)


def test_long_query(server: Server) -> None:
    """No limit of its own was found up to what fits into a head (constants of section 0)."""
    with session_of(server) as session:
        refused(session.get("/previous?archive-name=" + "a" * 8000 + ".blob"))
        assert session.get("/previous_backup_time").data is None


def test_one_frame_of_four_mebibytes(server: Server) -> None:
    """7.4: MAX_FRAME_SIZE is used to the full."""
    raw = (bytes(range(256)) * (1 << 14))[: (4 << 20) - 12]
    chunk = Chunk(raw, blob(raw))
    with server.line() as line:
        assert line.upgrade(client.backup_target("store1", "demo", T0), OWNER.headers).status == 101
        # What the server announced holds once it is acknowledged.
        line.send(START + frame(SETTINGS, 1) + frame(HEADERS, 5, 1, post("/dynamic_index?archive-name=a.didx")))
        data = b""
        while b'{"data":1}' not in data:
            data += line.receive()
        line.send(frame(HEADERS, 4, 3, post(f"/dynamic_chunk?{chunk.query(1)}")))
        line.send(frame(DATA, 1, 3, chunk.encoded))
        assert len(chunk.encoded) == 4 << 20
        while chunk.name.encode() not in data:
            part = line.receive()
            assert part, data[-200:]
            data += part


def test_many_resets(server: Server) -> None:
    """Requests that are taken back at once, by the hundred: bounded work, and others go on."""
    with session_of(server) as session:
        for _ in range(300):
            id = session.submit("GET", "/previous_backup_time")
            session.h2.reset_stream(id, 8)
        assert session.get("/previous_backup_time").data is None
    server.wait_gone(server.snapshot(T0).parent)
    assert server.rest("GET", "version").status == 200


def test_reset_of_one_upload_leaves_the_others(server: Server) -> None:
    """9.4."""
    with session_of(server) as session:
        upload = Upload.begin(session, "a.didx")
        path = f"/dynamic_chunk?{C1.query(upload.wid)}"
        first = session.submit("POST", path, body=C1.encoded, content_type=BINARY, unfinished=10)
        session.drain(0.05)
        assert not session.streams[first].is_over, session.streams[first]
        session.h2.reset_stream(first, 8)
        assert upload.put(C1).data == C1.name
        assert upload.append([C1]).data is None and upload.close().data is None


def test_more_streams_than_allowed(server: Server) -> None:
    """200 at once; those beyond are refused, and the others are carried out (RFC 9113, 5.1.2)."""
    with session_of(server) as session:
        upload = Upload.begin(session, "a.didx")
        session.h2.remote_settings[3] = 1000  # h2 itself would keep to the limit
        session.h2.remote_settings.acknowledge()
        path = f"/dynamic_chunk?{C1.query(upload.wid)}"
        ids = [session.submit("POST", path, body=C1.encoded, content_type=BINARY, unfinished=5) for _ in range(230)]
        assert [session.reset_of(id) for id in ids[200:]] == [REFUSED_STREAM] * 30
        assert not any(session.streams[id].is_over for id in ids[:200])
        for id in ids[:200]:
            session.streams[id].stops_at = 0  # the rest of their bodies
        assert {reply.status for reply in session.wait(*ids[:200])} == {200}
        assert upload.append([C1]).data is None and upload.close().data is None
    server.wait_gone(server.snapshot(T0).parent)
    assert server.rest("GET", "version").status == 200


def test_ping_and_unknown_frames(server: Server) -> None:
    with server.line() as line:
        assert line.upgrade(client.backup_target("store1", "demo", T0), OWNER.headers).status == 101
        priority = frame(PRIORITY, 0, 1, bytes([0, 0, 0, 3, 5]))
        line.send(START + frame(0xFA, 0, 0, b"unknown") + priority + frame(PING, 0, 0, b"12345678"))
        data = b""
        while frame(PING, 1, 0, b"12345678") not in data:
            part = line.receive()
            assert part, data
            data += part
