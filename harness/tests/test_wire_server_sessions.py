"""Sessions of `pxarbench serve`: how they end, what they lock, what readers may see, many at once (protocol.md 9, 10, 14.3)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from wire_tools import BLOBS, C1, C2, C3, FULL, M1, T0, T1, Starts, make_base, refused, side_by_side, snapshot_state

from pxarbench_harness import run
from pxarbench_harness.wire import client, objects, whole
from pxarbench_harness.wire.client import BACKUP, READER, Session
from pxarbench_harness.wire.objects import Chunk
from pxarbench_harness.wire.spoken import OWNER, Server
from pxarbench_harness.wire.whole import Upload

CANCEL = 8


def asked(server: Server, at: int, id: str = "demo", reader: bool = False) -> int:
    """Status of an upgrade that is given up at once."""
    with server.line() as line:
        if reader:
            return line.upgrade(client.reader_target("store1", id, at), OWNER.headers, READER).status
        return line.upgrade(client.backup_target("store1", id, at), OWNER.headers).status


# ---- ends, 62 to 65 ----


def test_end_before_finish(server: Server) -> None:
    """62: the folder and the group that became empty go, chunks stay."""
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        upload.put(C1)
        upload.append([C1])
        Upload.begin(session, "b.didx")
        whole.blob(session, "a.conf.blob", objects.blob(b"x"))
        assert server.snapshot(T0).is_dir()
    server.wait_gone(server.snapshot(T0).parent)
    assert server.chunk(C1.digest).read_bytes() == C1.encoded


def test_end_within_an_upload(server: Server) -> None:
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        raw = bytes(1 << 20)
        big = Chunk(raw, objects.blob(raw))
        session.submit("POST", f"/dynamic_chunk?{big.query(upload.wid)}", body=big.encoded, unfinished=1 << 19)
        session.drain(0.1)
    server.wait_gone(server.snapshot(T0).parent)
    assert not server.chunk(big.digest).exists()
    assert [p for p in (server.datastore / ".chunks").rglob("*") if p.is_file()] == []


def test_group_with_snapshots_stays(based: Server) -> None:
    before = snapshot_state(based)
    with based.backup(T1):
        assert based.snapshot(T1).is_dir()
    based.wait_gone(based.snapshot(T1))
    assert snapshot_state(based) == before


def test_locks_of_a_backup(based: Server) -> None:
    """64, 9.5: one backup of a group; the base and what is written cannot be removed; readers do not mind."""
    path = "admin/datastore/store1/snapshots?backup-type=host&backup-id=demo&backup-time="
    with based.backup(T1):
        reply_text = None
        with based.line() as line:
            reply = line.upgrade(client.backup_target("store1", "demo", T1 + 1), OWNER.headers)
            reply_text = refused(reply)
        assert "lock" in reply_text.lower()
        assert asked(based, T1, "other") == 101
        assert asked(based, T0, reader=True) == 101
        assert asked(based, T1, reader=True) == 400  # 71
        refused(based.rest("DELETE", path + str(T0)))
        refused(based.rest("DELETE", path + str(T1)))
    based.wait_gone(based.snapshot(T1))
    with based.reader(T0):
        refused(based.rest("DELETE", path + str(T0)))
        # The folder goes before the lock does: asked for until then.
        line, reply = client.upgraded(based.port, client.backup_target("store1", "demo", T1 + 2), OWNER.headers)
        line.close()
        assert reply.status == 101
    deadline = time.monotonic() + 5
    while (reply := based.rest("DELETE", path + str(T0))).status != 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert reply.data is None and not based.snapshot(T0).exists()


def test_lock_is_released_at_finish(server: Server) -> None:
    """14.3: as since 4.0.16; the connection may live on."""
    with server.backup(T0) as session:
        upload = whole.index(session, "a.didx", [C1])
        whole.finish(session, "demo", T0, [upload.listed])
        with server.backup(T1) as second:
            assert second.get("/previous_backup_time").data == T0


def test_lock_until_the_end_as_before(starts: Starts) -> None:
    """14.3: the switch for 3.x."""
    server = starts(faults=["release-lock-at-end"])
    with server.backup(T0) as session:
        upload = whole.index(session, "a.didx", [C1])
        whole.finish(session, "demo", T0, [upload.listed])
        assert asked(server, T1) == 400
    deadline = time.monotonic() + 5
    while (status := asked(server, T1)) != 101 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert status == 101


def test_base_that_failed_verification(based: Server) -> None:
    """69."""
    path = based.snapshot(T0) / whole.MANIFEST
    good = json.loads(objects.opened(path.read_bytes()))
    upid = "UPID:host:00001234:00005678:00000001:65F0AB12:verify:store1:root@pam:"
    cases = [
        ({"state": "failed", "upid": upid}, None), ({"state": "ok", "upid": upid}, T0), ({"state": "failed"}, T0),
        ({"state": "failed", "upid": 5}, T0), ("failed", T0), ({"state": "bad", "upid": upid}, T0),
    ]  # fmt: skip
    for number, (state, base) in enumerate(cases):
        good["unprotected"]["verify_state"] = state
        path.write_bytes(objects.manifest_blob(good))
        with based.backup(T1 + number) as session:
            assert session.get("/previous_backup_time").data == base, state
            if base is None:
                refused(session.get("/previous?archive-name=index.json.blob"))
        based.wait_gone(based.snapshot(T1 + number))
    good["unprotected"]["verify_state"] = {"state": "failed", "upid": upid}
    path.write_bytes(objects.manifest_blob(good))
    assert asked(based, T0 - 50) == 101  # older than a failed one


def test_folders_without_a_manifest_are_skipped(based: Server) -> None:
    (based.snapshot(T1)).mkdir()
    with based.backup(T1 + 1) as session:
        assert session.get("/previous_backup_time").data == T0


# ---- previous, 68 ----


def test_previous_registers_though_nobody_reads(based: Server) -> None:
    with based.backup(T1) as session:
        upload = Upload.begin(session, "a.didx")
        id = session.submit("GET", "/previous?archive-name=root.ppxar.didx")
        session.pump(lambda: session.streams[id].status != 0 or session.streams[id].is_over)
        if not session.streams[id].is_over:
            session.h2.reset_stream(id, CANCEL)
        assert upload.append([C1, C2]).data is None
        refused(session.get("/previous?archive-name=none.didx"))
        refused(session.get("/previous?archive-name=none.fidx"))
        refused(session.get("/previous?archive-name=none.blob"), 404)
        refused(session.get("/previous?archive-name=root.txt"))
        refused(session.get("/previous?archive-name=owner"))


def test_previous_index_that_is_broken(based: Server) -> None:
    path = based.snapshot(T0) / "root.ppxar.didx"
    good = path.read_bytes()
    for bad in (b"", good[:4000], good[:-1], bytes(8) + good[8:]):
        path.write_bytes(bad)
        with based.backup(T1) as session:
            refused(session.get("/previous?archive-name=root.ppxar.didx"))
        based.wait_gone(based.snapshot(T1))


# ---- readers, V18, V19, 70, 71 ----


def test_reader(based: Server) -> None:
    with based.reader(T0) as reader:
        refused(reader.get(f"/chunk?digest={M1.name}"), 401)
        index = reader.get("/download?file-name=root.mpxar.didx")
        assert index.status == 200 and index.headers["content-type"] == client.BINARY
        assert reader.get(f"/chunk?digest={M1.name}").body == M1.encoded
        refused(reader.get(f"/chunk?digest={C1.name}"), 401)
        for path, status in (
            ("/download", 400), ("/download?file-name=none.didx", 400), ("/download?file-name=none.blob", 404),
            ("/download?file-name=root.mpxar", 400), ("/download?file-name=owner", 400),
            ("/download?file-name=a.blob&x=1", 400),
            ("/chunk", 400), (f"/chunk?digest={M1.name[:-1]}", 400), (f"/chunk?digest={M1.name.upper()}", 400),
            (f"/chunk?digest={M1.name}&x=1", 400), ("/previous_backup_time", 404), ("/finish", 404), ("/.x", 400),
            ("/nothing", 404),
        ):  # fmt: skip
            refused(reader.get(path), status)
        assert reader.call("POST", "/download?file-name=root.mpxar.didx").status == 404
        assert reader.get("/speedtest").body == b"A" * (1 << 20)
        assert reader.call("GET", "/download?file-name=root.ppxar.didx", content_type=client.JSON).status == 200
        for chunk in (C1, C2):
            assert reader.get(f"/chunk?digest={chunk.name}").body == chunk.encoded
        based.chunk(C1.digest).unlink()
        refused(reader.get(f"/chunk?digest={C1.name}"))


def test_reader_sees_its_own_snapshot_only(based: Server) -> None:
    with based.backup(T1) as session:
        whole.snapshot(session, "demo", T1, {"a.didx": [C3]})
    with based.reader(T0) as reader:
        refused(reader.get("/download?file-name=a.didx"))
        reader.get("/download?file-name=root.ppxar.didx")
        refused(reader.get(f"/chunk?digest={C3.name}"), 401)
    with based.reader(T1) as reader:
        reader.get("/download?file-name=a.didx")
        assert reader.get(f"/chunk?digest={C3.name}").status == 200
        refused(reader.get(f"/chunk?digest={C1.name}"), 401)


@pytest.mark.parametrize(
    ("other", "status"),
    [
        ({"backup_time": T1}, 400), ({"backup_id": "none"}, 400), ({"backup_type": "vm"}, 400), ({"benchmark": "false"}, 400),
        ({"more": 1}, 400), ({"backup_id": "../demo"}, 400), ({"backup_time": "2023-11-14T22:13:20Z"}, 400),
    ],
)  # fmt: skip
def test_readers_that_cannot_begin(based: Server, other: dict[str, object], status: int) -> None:
    """71."""
    with based.line() as line:
        target = client.reader_target("store1", "demo", T0, **other)  # type: ignore[arg-type]
        refused(line.upgrade(target, OWNER.headers, READER), status)
    with based.line() as line:
        refused(line.upgrade(client.reader_target("store1", "demo", T0), OWNER.headers, BACKUP))


def test_reader_of_a_snapshot_in_two_namespaces(server: Server) -> None:
    for name in ("a", "b"):
        with server.line() as line:
            assert line.post_json("/api2/json/admin/datastore/store1/namespace", {"name": name}, OWNER.headers).status == 200
        with server.backup(T0, ns=name) as session:
            whole.snapshot(session, "demo", T0, {"x.didx": [C1 if name == "a" else C2]})
    for name, chunk in (("a", C1), ("b", C2)):
        with server.reader(T0, ns=name) as reader:
            reader.get("/download?file-name=x.didx")
            assert reader.get(f"/chunk?digest={chunk.name}").body == chunk.encoded
    with server.line() as line:
        refused(line.upgrade(client.reader_target("store1", "demo", T0), OWNER.headers, READER))


# ---- many at once ----


def test_many_uploads_interleaved(server: Server) -> None:
    """72: more bytes under way than the window holds, frames of all streams in turn."""
    size, count = (4 << 20, 200) if FULL else (1 << 20, 100)
    blocks = [hashlib.shake_128(b"%d" % n).digest(size) for n in range(4)]
    chunks = [Chunk(block, objects.blob(block)) for block in blocks]
    with server.backup(T0) as session:
        session.line.patience = 120
        upload = Upload.begin(session, "a.didx")
        ids = [
            session.submit("POST", f"/dynamic_chunk?{c.query(upload.wid)}", body=c.encoded, content_type=client.BINARY)
            for c in (chunks[n % 4] for n in range(count))
        ]
        assert all(reply.status == 200 for reply in session.wait(*ids))
        assert upload.append(chunks * (count // 4)).data is None and upload.close().data is None
        whole.finish(session, "demo", T0, [upload.listed])


def test_many_sessions(server: Server) -> None:
    """Backups of different groups side by side, each with chunks of its own and shared ones; then all are read."""
    count = 50 if FULL else 12

    def one(number: int) -> None:
        own = [objects.plain_chunk(b"%d-%d" % (number, n) * 50) for n in range(20)]
        with server.backup(T0, f"group{number}") as session:
            entries = whole.snapshot(session, f"group{number}", T0, {"a.didx": [*own, C1, C2], "b.didx": [C3]})
        with server.reader(T0, f"group{number}") as reader:
            data = reader.get("/download?file-name=a.didx").body
            assert objects.read_dynamic(data) == entries["a.didx"]
            ids = [reader.submit("GET", f"/chunk?digest={chunk.name}") for chunk in own]
            assert [reply.body for reply in reader.wait(*ids)] == [chunk.encoded for chunk in own]

    side_by_side([lambda n=n: one(n) for n in range(count)])  # type: ignore[misc]
    assert len(server.rest("GET", "admin/datastore/store1/groups").data) == count


def test_same_chunk_from_many_sessions(server: Server) -> None:
    """One file, whole, whoever was first."""
    block = hashlib.shake_128(b"same").digest(3 << 20)
    same = Chunk(block, objects.blob(block))
    duplicates = []

    def one(number: int) -> None:
        with server.backup(T0, f"group{number}") as session:
            whole.snapshot(session, f"group{number}", T0, {"a.didx": [same]})
        value = json.loads(objects.opened((server.snapshot(T0, f"group{number}") / whole.MANIFEST).read_bytes()))
        duplicates.append(value["unprotected"]["chunk_upload_stats"]["duplicates"])

    side_by_side([lambda n=n: one(n) for n in range(6)])  # type: ignore[misc]
    assert sorted(duplicates) == [0, 1, 1, 1, 1, 1]
    assert server.chunk(same.digest).read_bytes() == same.encoded
    assert [p.name for p in server.chunk(same.digest).parent.iterdir()] == [same.name]


def test_same_group_from_many_sessions(server: Server) -> None:
    """Exactly one gets it."""
    statuses: list[int] = []
    lines = [server.line() for _ in range(10)]

    def one(number: int) -> None:
        statuses.append(lines[number].upgrade(client.backup_target("store1", "demo", T0 + number), OWNER.headers).status)

    side_by_side([lambda n=n: one(n) for n in range(10)])  # type: ignore[misc]
    assert sorted(statuses) == [101] + [400] * 9
    for line in lines:
        line.close()
    server.wait_gone(server.snapshot(T0).parent)


def test_too_many_connections(starts: Starts) -> None:
    """Limits on everything: those beyond 128 are turned away, those that stand go on."""
    server = starts()
    session = server.backup(T0)
    lines = []
    try:
        refusals = 0
        for _ in range(140):
            try:
                lines.append(client.Line(server.port, patience=5))
            except OSError:  # TLS errors among them
                refusals += 1
        assert refusals >= 10
        assert session.get("/previous_backup_time").status == 200
    finally:
        for line in lines:
            line.close()
    deadline = time.monotonic() + 5
    while True:
        try:
            assert server.rest("GET", "version").status == 200
            break
        except OSError:
            assert time.monotonic() < deadline
    session.close()


# ---- the end of the server ----


def test_stopping_removes_what_is_not_finished(starts: Starts, tmp_path: Path) -> None:
    """14.3."""
    datastore = tmp_path / "kept"
    server = starts(datastore=datastore)
    make_base(server)
    session = server.backup(T1)
    Upload.begin(session, "a.didx").put(C3)
    reader = server.reader(T0)
    started = time.monotonic()
    server.close()
    assert time.monotonic() - started < 6
    for one in (session, reader):
        one.until_end()
        one.close()
    assert not server.snapshot(T1).exists() and (server.snapshot(T0) / whole.MANIFEST).exists()
    again = starts(datastore=datastore)
    with again.backup(T1 + 1) as third:
        assert third.get("/previous_backup_time").data == T0


def test_stopping_does_not_wait_for_a_client_that_never_pauses(starts: Starts) -> None:
    """A body without end in the smallest frames: there is always something to read."""
    server = starts()
    session = server.backup(T0)
    stream = session.submit("POST", "/speedtest", body=b"xx", unfinished=1)
    session.get("/previous_backup_time")
    frame = b"\0\0\1\0\0" + stream.to_bytes(4, "big") + b"x"
    line = session.line.socket
    line.settimeout(20)

    def write() -> None:
        with contextlib.suppress(OSError):
            while True:
                line.sendall(frame * 20_000)

    def read() -> None:
        with contextlib.suppress(OSError):
            while line.recv(1 << 16):
                pass

    threads = [threading.Thread(target=body, daemon=True) for body in (write, read)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    begun = time.monotonic()
    server.close()
    assert time.monotonic() - begun < 9  # 5 s for what is under way, 1 s of grace, and a busy machine
    for thread in threads:
        thread.join(20)
    session.close()
    assert not server.snapshot(T0).exists()


def test_what_is_refused_is_not_in_the_snapshot(server: Server) -> None:
    """The 1025th file, and the manifest that came too late."""
    session = server.backup(T0)
    empty = objects.blob(b"")
    for start in range(0, 1024, 64):
        ids = [
            session.submit("POST", f"/blob?encoded-size=12&file-name=f{start + i}.blob", content_type=client.BINARY, body=empty)
            for i in range(64)
        ]
        assert {reply.status for reply in session.wait(*ids)} == {200}
    refused(session.post("/blob?encoded-size=12&file-name=more.blob", empty))
    files = [(f"f{i}.blob", 12, hashlib.sha256(empty).hexdigest()) for i in range(1024)]
    manifest = objects.manifest_blob(objects.manifest("host", "demo", T0, files))
    refused(session.post(f"/blob?encoded-size={len(manifest)}&file-name=index.json.blob", manifest))
    assert len(list(server.snapshot(T0).iterdir())) == 1024
    refused(session.post("/finish"))
    session.close()


def test_a_folder_that_is_no_datastore_stays_as_it_was(pxarbench: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = run.run([pxarbench, "serve", "--datastore", tmp_path], timeout=20)
    assert result.returncode == 1 and b"neither empty nor a datastore" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_killed_server_leaves_whole_snapshots(starts: Starts, tmp_path: Path) -> None:
    """Nothing half under a final name; the next server goes on, whatever lies around."""
    datastore = tmp_path / "kept"
    server = starts(datastore=datastore)
    make_base(server)
    before = snapshot_state(server)
    session = server.backup(T1)
    upload = Upload.begin(session, "a.didx")
    for chunk in BLOBS:
        upload.put(chunk)
    server.kill()
    session.close()
    again = starts(datastore=datastore)
    kept = {name: digest for name, digest in snapshot_state(again).items() if "22:13:20Z" in name or name.endswith("owner")}
    assert kept == before
    assert not (server.snapshot(T1) / "a.didx").exists()
    for path in (datastore / ".chunks").rglob("*"):
        if path.is_file() and len(path.name) == 64:
            assert hashlib.sha256(objects.opened(path.read_bytes())).hexdigest() == path.name
    with again.backup(T1 + 1) as third:
        assert third.get("/previous_backup_time").data == T0
        whole.snapshot(third, "demo", T1 + 1, {"a.didx": [C1]})


def test_certificate_stays(starts: Starts, tmp_path: Path) -> None:
    """A server that is started again has the fingerprint that clients know."""
    datastore = tmp_path / "kept"
    first = starts(datastore=datastore)
    fingerprint = first.fingerprint
    with first.line() as line:
        assert line.fingerprint == fingerprint
    first.close()
    assert starts(datastore=datastore).fingerprint == fingerprint
    assert starts().fingerprint != fingerprint
    for path in datastore.rglob("*"):
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes():
            assert path.stat().st_mode & 0o077 == 0, path


def test_names_of_the_certificate(server: Server, tmp_path: Path) -> None:
    """14.1: localhost, 127.0.0.1, ::1."""
    with server.line() as line:
        der = line.socket.getpeercert(binary_form=True)
    assert der is not None
    path = tmp_path / "server.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(der))
    context = ssl.create_default_context(cafile=str(path))
    for name in ("localhost", "127.0.0.1"):
        with socket.create_connection(("127.0.0.1", server.port), 10) as plain:
            context.wrap_socket(plain, server_hostname=name).close()


# ---- faults by option, as far as a client can see them ----


def test_early_refusal_in_full_flight(server: Server) -> None:
    """14.3: a refusal before the body is there, RST_STREAM behind it, and what comes late is swallowed, window and all."""
    raw = hashlib.shake_128(b"late").digest(8 << 20)
    late = Chunk(raw, objects.blob(raw))
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        for _ in range(12):  # 96 MiB: three windows
            id = session.submit(
                "POST", f"/dynamic_chunk?{late.query(99)}", body=late.encoded, content_type=client.BINARY, insists=True
            )
            (reply,) = session.wait(id)
            refused(reply)
            stream = session.streams[id]
            # Behind our own end it may go unnoticed; that it is sent: test_code_that_resets_an_early_refusal.
            session.pump(lambda s=stream: s.reset is not None or s.said_end)  # type: ignore[misc]
            assert stream.reset in (None, 0)
        assert upload.put(C1).data == C1.name


@pytest.mark.parametrize(("faults", "code"), [((), 0), (("reset-with-cancel",), CANCEL)], ids=["today", "older"])
def test_code_that_resets_an_early_refusal(starts: Starts, faults: tuple[str, ...], code: int) -> None:
    """14.3: the answer is whole, then the rest of the body is declined."""
    with starts(faults=faults).backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        path = f"/dynamic_chunk?{C1.query(upload.wid)}"  # of 30 bytes
        id = session.submit("POST", path, body=C1.encoded + bytes(5000), content_type=client.BINARY, unfinished=1000)
        refused(session.wait(id)[0])
        session.pump(lambda: session.streams[id].reset is not None)
        assert session.streams[id].reset == code
        assert upload.put(C1).data == C1.name


def test_goaway_by_option(starts: Starts) -> None:
    with starts(faults=["goaway-after=3"]).backup(T0) as session:
        for _ in range(3):
            assert session.get("/previous_backup_time").status == 200
        session.drain(0.3)
        assert session.goaway == 0 or session.ended


def test_session_of_tiny_windows(starts: Starts) -> None:
    """One stream at a time, 65535 bytes of window, frames of 16 KiB: slow, but all of it arrives."""
    server = starts(faults=["streams=1", "stream-window=65535", "connection-window=65535", "frame-size=16384"])
    raw = hashlib.shake_128(b"big").digest(1 << 20)
    big = Chunk(raw, objects.blob(raw))
    with server.backup(T0) as session:
        whole.snapshot(session, "demo", T0, {"a.didx": [big, C1]})
    with server.reader(T0) as reader:
        reader.get("/download?file-name=a.didx")
        assert reader.get(f"/chunk?digest={big.name}").body == big.encoded


def test_slow_reader_of_a_download(server: Server) -> None:
    """A client that takes its time holds nobody else up, and the server does not hold the file for it."""
    raw = hashlib.shake_128(b"slow").digest(12 << 20)
    big = Chunk(raw, objects.blob(raw))
    with server.backup(T0) as session:
        whole.snapshot(session, "demo", T0, {"a.didx": [big]})
    line = client.Line(server.port, buffers=4096)
    reply = line.upgrade(client.reader_target("store1", "demo", T0), OWNER.headers, READER)
    assert reply.status == 101
    reader = Session(line)
    reader.get("/download?file-name=a.didx")
    id = reader.submit("GET", f"/chunk?digest={big.name}")
    reader.pump(lambda: reader.streams[id].status != 0)
    with server.reader(T0) as other:
        other.get("/download?file-name=a.didx")
        assert other.get(f"/chunk?digest={big.name}").body == big.encoded
    assert reader.wait(id)[0].body == big.encoded
    reader.close()
