"""The judges themselves: scripted client against scripted server, objects against each other, the line that is cut."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from wire_peer_tools import only
from wire_tools import BASE_MANIFEST, C1, C2, C3, M1, M2, T0, T1

from pxarbench_harness.wire import client, objects, whole
from pxarbench_harness.wire.client import READER, Lost, Session, Silent
from pxarbench_harness.wire.objects import Broken, Chunk
from pxarbench_harness.wire.peer import Peer
from pxarbench_harness.wire.peer_model import Answer, Request
from pxarbench_harness.wire.relay import Cut, Relay
from pxarbench_harness.wire.whole import Upload

HEADERS = client.token("bench@pbs!ci", "s3cr3t")


def backup(peer: Peer, at: int = T0, port: int = 0) -> Session:
    return client.opened(port or peer.port, client.backup_target("store1", "demo", at), HEADERS)


def reader(peer: Peer, at: int = T0) -> Session:
    return client.opened(peer.port, client.reader_target("store1", "demo", at), HEADERS, READER)


def make(peer: Peer, at: int = T0, port: int = 0) -> None:
    with backup(peer, at, port) as session:
        uploads = [whole.index(session, "root.mpxar.didx", [M1]), whole.index(session, "root.ppxar.didx", [C1, C2])]
        value = json.loads(BASE_MANIFEST)
        value["backup-time"] = at
        assert whole.blob(session, whole.MANIFEST, objects.manifest_blob(value)).data is None
        assert session.post("/finish").data is None
        assert [upload.wid for upload in uploads] == [1, 2]


def test_objects() -> None:
    for content in (b"", b"x", bytes(100000)):
        assert objects.opened(objects.blob(content)) == objects.opened(objects.zstd_blob(content)) == content
    for bad in (b"", objects.blob(b"x")[:11], objects.blob(b"x", crc=0), objects.sealed(objects.ZSTD, b"x"), bytes(20)):
        with pytest.raises(Broken):
            objects.opened(bad)
    entries = objects.ends_of([C1, C2])
    assert objects.read_dynamic(objects.dynamic_index(entries)) == entries
    assert objects.known_lengths(objects.dynamic_index(entries)) == {C1.digest: 18, C2.digest: 18}
    fixed = objects.fixed_index([C1.digest, C2.digest], objects.FIXED_CHUNK + 18)
    assert objects.read_fixed(fixed) == (objects.FIXED_CHUNK + 18, [C1.digest, C2.digest])
    assert objects.known_lengths(fixed) == {C1.digest: objects.FIXED_CHUNK, C2.digest: 18}
    for bad in (fixed[:-1], objects.dynamic_index(entries)[:-1], b"x" * 5000, objects.fixed_index([C1.digest], 5 << 20)):
        with pytest.raises(Broken):
            objects.known_lengths(bad)


def test_snapshots_of_the_model(peer: Peer) -> None:
    """Both tools agree about the transcript."""
    make(peer)
    with backup(peer, T1) as session:
        assert session.get("/previous_backup_time").data == T0
        assert len(session.get("/previous?archive-name=root.ppxar.didx").body) == 4176
        metadata, payload = Upload.begin(session, "root.mpxar.didx"), Upload.begin(session, "root.ppxar.didx")
        assert payload.put(C3).data == C3.name and metadata.put(M2).data == M2.name
        assert payload.append([C1, C3]).data is None and metadata.append([M2]).data is None
        assert payload.close().data is None and metadata.close().data is None
        whole.finish(session, "demo", T1, [payload.listed, metadata.listed])
    with reader(peer, T1) as session:
        index = session.get("/download?file-name=root.ppxar.didx").body
        assert objects.read_dynamic(index) == objects.ends_of([C1, C3])
        assert session.get(f"/chunk?digest={C3.name}").body == C3.encoded
    peer.settle()
    assert peer.model.breaches == []
    with client.Line(peer.port) as line:
        listed = line.exchange("GET", "/api2/json/admin/datastore/store1/snapshots", headers=HEADERS).data
    assert [row["backup-time"] for row in listed] == [T0, T1] and listed[0]["files"][0]["filename"] == "root.ppxar.didx"


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda s: s.put_json("/dynamic_index", {"digest-list": [C1.name], "offset-list": [0], "wid": 1}), "not known"),
        (lambda s: s.post(f"/dynamic_chunk?{C1.query(1)}", C2.encoded), "digest or size"),
        (lambda s: s.post(f"/dynamic_chunk?{C1.query(1, size=17)}", C1.encoded), "digest or size"),
        (lambda s: s.post(f"/dynamic_chunk?{Chunk(C1.raw, objects.blob(C1.raw, crc=0)).query(1)}",
                          objects.blob(C1.raw, crc=0)), "checksum"),
        (lambda s: s.post(f"/dynamic_close?wid=1&chunk-count=1&size=18&csum={C1.name}"), "closed with"),
        (lambda s: s.post("/finish"), "not ready"), (lambda s: s.get("/previous?archive-name=a.didx"), "no previous"),
        (lambda s: s.get("/download?file-name=a.didx"), "no such call"),
    ],
)  # fmt: skip
def test_the_model_sees_what_breaks_a_rule(peer: Peer, call: object, word: str) -> None:
    with backup(peer) as session:
        Upload.begin(session, "a.didx")
        assert call(session).status >= 400  # type: ignore[operator]
    peer.settle()
    assert any(word in text for text in peer.model.breaches), peer.model.breaches


def test_the_model_sees_what_is_too_early(peer: Peer) -> None:
    peer.manner.think = 0.05
    with backup(peer) as session:
        upload = Upload.begin(session, "a.didx")
        upload.put(C1)
        upload.put(C1)
        body = json.dumps({"digest-list": [C1.name], "offset-list": [0], "wid": 1}).encode()
        ids = [session.submit("PUT", "/dynamic_index", content_type=client.JSON, body=body) for _ in range(2)]
        session.wait(*ids)
        session.wait(session.submit("GET", "/previous_backup_time"), session.submit("POST", "/finish"))
    peer.settle()
    text = "\n".join(peer.model.breaches)
    for word in ("same chunk twice", "two appends", "finish while other calls"):
        assert word in text, (word, text)


def test_answers_out_of_the_ordinary(peer: Peer) -> None:
    peer.rule = only("GET previous_backup_time", Answer(400, b"no", reset=8))
    with backup(peer) as session:
        reply = session.get("/previous_backup_time")
        assert reply.status == 400 and reply.body == b"no"
        peer.rule = only("GET previous_backup_time", Answer(200, b"abcdef", piece=1, pause=0.001))
        assert session.get("/previous_backup_time").body == b"abcdef"
        peer.rule = only("GET previous_backup_time", Answer(200, b"x", delay=0.1, goaway=True))
        started = time.monotonic()
        assert session.get("/previous_backup_time").body == b"x" and time.monotonic() - started >= 0.1
        assert session.goaway == 0
        peer.rule = only("GET previous_backup_time", Answer(status=0))
        with pytest.raises(Silent):
            id = session.submit("GET", "/previous_backup_time")
            session.pump(lambda: session.streams[id].is_over, 0.2)
        peer.rule = only("GET previous_backup_time", Answer(cut=True))
        with pytest.raises(Lost):
            session.get("/previous_backup_time")
    peer.settle()
    assert ("host", "demo", T0) not in peer.model.snapshots


def test_large_bodies_in_small_windows(peer: Peer) -> None:
    peer.manner.window, peer.manner.connection_window, peer.manner.frame, peer.manner.streams = 65535, 65535, 16384, 3
    raw = bytes(range(256)) * 4000
    big = objects.plain_chunk(raw)
    with backup(peer) as session:
        whole.snapshot(session, "demo", T0, {"a.didx": [big, C1]})
    peer.settle()
    assert peer.model.chunks[big.digest] == big.encoded


def test_a_peer_that_is_closed_reads_no_ciphertext(certificate: Path) -> None:
    """Its thread is busy when it is closed, and bytes wait: they are read as they were said, or not at all."""
    peer, is_busy, goes_on = Peer(certificate), threading.Event(), threading.Event()

    def rule(request: Request) -> Answer | None:
        if request.endpoint == "GET previous_backup_time":
            is_busy.set()
            goes_on.wait(20)
        return None

    peer.rule = rule
    peer.manner.frame = 16384  # a record's head is a larger one
    with backup(peer) as session:
        session.submit("GET", "/previous_backup_time")
        while not is_busy.is_set():
            session.drain(0.01)
        session.submit("POST", "/speedtest", body=bytes(100_000))
        session.drain(0.2)
        later = threading.Timer(0.3, goes_on.set)
        later.start()
        peer.close()
        later.join()
    assert peer.failures == []


# ---- the line ----


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends everything back."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            with one:
                try:
                    while data := one.recv(65536):
                        one.sendall(data)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def through(port: int, data: bytes) -> bytes:
    """What comes back, or came back until the end."""
    found = b""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as one:
            one.settimeout(5)
            one.sendall(data)
            while len(found) < len(data) and (part := one.recv(65536)):
                found += part
    except OSError:
        pass
    return found


def test_line(echo: int) -> None:
    with Relay(echo) as relay:
        assert through(relay.port, b"hello" * 1000) == b"hello" * 1000
        assert relay.counts == [{"up": 5000, "down": 5000}] and not relay.was_cut
        for how in ("reset", "end"):
            for after in (0, 1, 777):
                relay.cut_next(Cut("down", after, how=how))  # type: ignore[arg-type]
                assert len(through(relay.port, b"x" * 1000)) <= after
                assert relay.was_cut and relay.counts[0]["down"] == after
                relay.cut_next(Cut("up", after, how=how))  # type: ignore[arg-type]
                assert len(through(relay.port, b"x" * 1000)) <= after
                assert relay.was_cut and relay.counts[0]["up"] == after
        relay.cut_next(Cut("up", 5, connection=2))
        assert through(relay.port, b"first") == b"first" and len(through(relay.port, b"second")) <= 5
        relay.cut_next(None)
        assert through(relay.port, b"whole") == b"whole"


def test_late_line(echo: int) -> None:
    with Relay(echo, delay=0.05) as relay:
        started = time.monotonic()
        assert through(relay.port, b"x" * 100000) == b"x" * 100000
        assert 0.1 <= time.monotonic() - started < 1


def test_line_carries_sessions(peer: Peer) -> None:
    with Relay(peer.port) as relay:
        make(peer, port=relay.port)
        up = relay.counts[0]["up"]
        assert up > 1500
        relay.cut_next(Cut("up", up - 300))
        with pytest.raises((Lost, OSError, AssertionError)):
            make(peer, T1, relay.port)
    peer.settle()
    assert [key[2] for key in peer.model.snapshots] == [T0]


def test_certificates_are_kept(peer: Peer, certificate: Path) -> None:
    with client.Line(peer.port) as line:
        assert line.fingerprint == peer.fingerprint
    with Peer(certificate) as other:
        assert other.fingerprint == peer.fingerprint
