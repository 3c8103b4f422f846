"""The worked transcript of bench/spec/protocol.md 17, byte for byte, and its negative variants, against `pxarbench serve`."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib

import pytest
from wire_tools import (
    BASE_MANIFEST, BLOBS, C1, C2, C3, CSUMS, DIGESTS, INDEXES, M1, M2, NEW_MANIFEST, T0, T1, make_base, refused,
)  # fmt: skip

from pxarbench_harness.wire import client, objects, whole
from pxarbench_harness.wire.client import BINARY, FORM, JSON, Reply, Session
from pxarbench_harness.wire.spoken import OWNER, Server

P1 = (
    '{"digest-list":["1416cd46684f8ef515aae138421d690b3578cd79e781c29feaa14f18853ebc10",'
    '"c23ab4deeac61f5b5164a5c76f37571f32deb06afdbdbc88f2b251983e90b2f0"],"offset-list":[0,18],"wid":2}'
)
P2 = '{"digest-list":["c022bb7a50a05eb51491558bed34f9628c14f701a1c9d4ead1de10a04aa67f66"],"offset-list":[0],"wid":1}'

CLOSE_2 = f"/dynamic_close?chunk-count=2&csum={CSUMS['new ppxar']}&size=38&wid=2"
CLOSE_1 = f"/dynamic_close?chunk-count=1&csum={CSUMS['new mpxar']}&size=16&wid=1"
CHUNK_7 = f"/dynamic_chunk?digest={C3.name}&encoded-size=32&size=20&wid=2"
CHUNK_8 = f"/dynamic_chunk?digest={M2.name}&encoded-size=28&size=16&wid=1"
MANIFEST_13 = objects.blob(NEW_MANIFEST)

UPGRADE = (
    "GET /api2/json/backup?backup-id=demo&backup-time=1700000060&backup-type=host&benchmark=false&debug=true&store=store1"
    " HTTP/1.1\r\n"
    "Host: pbs.example:8007\r\n"
    "User-Agent: proxmox-backup-client/1.0\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\n"
    "Authorization: PBSAPIToken bench@pbs!ci:s3cr3t\r\n"
    "Connection: upgrade\r\n"
    "Upgrade: proxmox-backup-protocol-v1\r\n"
    "\r\n"
)
READER_UPGRADE = (
    UPGRADE.replace("/backup?", "/reader?")
    .replace("&benchmark=false", "")
    .replace("proxmox-backup-protocol", "proxmox-backup-reader-protocol")
)
#: Method, path, content type, body of rows 1 to 14; row 0 is a place holder.
ROWS: list[tuple[str, str, str, bytes | None]] = [
    ("", "", "", None),
    ("GET", "/previous_backup_time", FORM, None),
    ("GET", "/previous?archive-name=index.json.blob", FORM, None),
    ("GET", "/previous?archive-name=root.ppxar.didx", FORM, None),
    ("GET", "/previous?archive-name=root.mpxar.didx", FORM, None),
    ("POST", "/dynamic_index?archive-name=root.mpxar.didx", FORM, None),
    ("POST", "/dynamic_index?archive-name=root.ppxar.didx", FORM, None),
    ("POST", CHUNK_7, BINARY, C3.encoded),
    ("POST", CHUNK_8, BINARY, M2.encoded),
    ("PUT", "/dynamic_index", JSON, P1.encode()),
    ("PUT", "/dynamic_index", JSON, P2.encode()),
    ("POST", CLOSE_2, FORM, None),
    ("POST", CLOSE_1, FORM, None),
    ("POST", "/blob?encoded-size=504&file-name=index.json.blob", BINARY, MANIFEST_13),
    ("POST", "/finish", FORM, None),
]
ANSWERS = {
    1: b'{"data":1700000000}', 5: b'{"data":1}', 6: b'{"data":2}', 7: f'{{"data":"{C3.name}"}}'.encode(),
    8: f'{{"data":"{M2.name}"}}'.encode(), **{row: b'{"data":null}' for row in range(9, 15)},
}  # fmt: skip


def test_numbers_of_the_transcript_follow_from_the_rules() -> None:
    """Our reading of the formats, before any server is asked."""
    for chunk, text in BLOBS.items():
        assert chunk.encoded.hex() == text and chunk.name == DIGESTS[chunk]
    for name, csum in CSUMS.items():
        entries = objects.ends_of(INDEXES[name])
        assert objects.dynamic_csum(entries) == csum
        assert len(objects.dynamic_index(entries)) == {1: 4136, 2: 4176}[len(entries)]
    assert len(NEW_MANIFEST) == 492 and zlib.crc32(NEW_MANIFEST) == 0x0B4298ED
    assert hashlib.sha256(NEW_MANIFEST).hexdigest() == "0b33f680dbda25fa7904e8c75613b827590af44a569ef93485d81b015013f4df"
    assert MANIFEST_13[:12].hex() == "42ab3807be8370a1ed98420b"
    assert len(BASE_MANIFEST) == 492 and zlib.crc32(BASE_MANIFEST) == 0x079AFA68
    assert objects.blob(BASE_MANIFEST)[:12].hex() == "42ab3807be8370a168fa9a07"
    assert len(P1) == 180 and len(P2) == 110


def upgraded(server: Server, request: str = UPGRADE) -> Session:
    line = server.line()
    reply = line.raw(request.encode())
    assert reply.status == 101 and reply.version == "HTTP/1.1"
    protocol = request.rpartition("Upgrade: ")[2].strip()
    assert {k: v for k, v in reply.headers.items() if k != "date"} == {"connection": "upgrade", "upgrade": protocol}
    return Session(line)


def play(session: Session, rows: range | list[int], **instead: tuple[str, str, str, bytes | None]) -> dict[int, Reply]:
    """Rows of the transcript, one after the other; 7 and 8 together. `instead`: row_7=..."""
    replies = {}
    for row in rows:
        method, path, content_type, body = instead.get(f"row_{row}", ROWS[row])
        replies[row] = session.call(method, path, content_type=content_type, body=body)
    return replies


def good(replies: dict[int, Reply]) -> None:
    for row, reply in replies.items():
        assert reply.status == 200, (row, reply.body)
        if row in ANSWERS:
            assert reply.body == ANSWERS[row], row
            assert reply.headers["content-type"] == "application/json;charset=UTF-8", row
        else:
            assert reply.headers["content-type"] == BINARY, row


def stored_manifest(server: Server, time: int) -> dict[str, object]:
    value = json.loads(objects.opened((server.snapshot(time) / whole.MANIFEST).read_bytes()))
    assert isinstance(value, dict)
    return value


def test_first_backup_of_a_group(server: Server) -> None:
    """17.3, and what is on disk afterwards."""
    make_base(server)
    folder = server.snapshot(T0)
    assert sorted(path.name for path in folder.iterdir()) == ["index.json.blob", "root.mpxar.didx", "root.ppxar.didx"]
    assert (folder.parent / "owner").read_text() == "bench@pbs!ci\n"
    value = stored_manifest(server, T0)
    assert value["unprotected"] == {"chunk_upload_stats": {"count": 3, "size": 555, "compressed_size": 87, "duplicates": 0}}
    wanted = json.loads(BASE_MANIFEST)
    assert {**value, "unprotected": {}} == wanted
    for name, chunks in (("root.mpxar.didx", [M1]), ("root.ppxar.didx", [C1, C2])):
        data = (folder / name).read_bytes()
        assert objects.read_dynamic(data) == objects.ends_of(chunks)
        assert data[8:24] != bytes(16)  # uuid
        assert struct.unpack_from("<q", data, 24)[0] > 1_700_000_000
        assert (folder / name).stat().st_mode & 0o777 == 0o644
    for chunk in (M1, C1, C2):
        assert server.chunk(chunk.digest).read_bytes() == chunk.encoded


def test_previous_of_a_first_backup(server: Server) -> None:
    with server.backup(T0) as session:
        assert session.get("/previous_backup_time").body == b'{"data":null}'
        refused(session.get("/previous?archive-name=index.json.blob"))
        refused(session.get("/previous?archive-name=root.ppxar.didx"))


def test_incremental_backup_and_restore(based: Server) -> None:
    """17.1 and 17.2."""
    session = upgraded(based)
    replies = play(session, range(1, 5))
    folder = based.snapshot(T0)
    assert replies[2].body == (folder / "index.json.blob").read_bytes()
    assert replies[3].body == (folder / "root.ppxar.didx").read_bytes() and len(replies[3].body) == 4176
    assert replies[4].body == (folder / "root.mpxar.didx").read_bytes() and len(replies[4].body) == 4136
    # Connection B, beside A.
    with upgraded(based, READER_UPGRADE.replace("1700000060", "1700000000")) as reader:
        assert reader.get("/download?file-name=root.mpxar.didx").body == replies[4].body
        assert reader.get(f"/chunk?digest={M1.name}").body == M1.encoded
        replies.update(play(session, range(5, 7)))
        ids = [session.submit(m, p, content_type=c, body=b) for m, p, c, b in ROWS[7:9]]
        assert ids == [13, 15]
        replies[7], replies[8] = session.wait(*ids)
        replies.update(play(session, range(9, 15)))
    good(replies)
    session.close()

    new = based.snapshot(T1)
    assert sorted(path.name for path in new.iterdir()) == ["index.json.blob", "root.mpxar.didx", "root.ppxar.didx"]
    value = stored_manifest(based, T1)
    assert value.pop("unprotected") == {"chunk_upload_stats": {"compressed_size": 60, "count": 2, "duplicates": 0, "size": 540}}
    wanted = json.loads(NEW_MANIFEST)
    del wanted["unprotected"]
    assert value == wanted
    entries = objects.read_dynamic((new / "root.ppxar.didx").read_bytes())
    assert objects.dynamic_body(entries) == (
        bytes.fromhex("1200000000000000") + C1.digest + bytes.fromhex("2600000000000000") + C3.digest
    )
    for chunk in BLOBS:
        assert based.chunk(chunk.digest).read_bytes() == chunk.encoded

    with upgraded(based, READER_UPGRADE) as reader:
        manifest = reader.get("/download?file-name=index.json.blob")
        assert manifest.headers["content-type"] == BINARY
        assert manifest.body[:8] == objects.ZSTD
        assert objects.opened(manifest.body) == objects.opened((new / "index.json.blob").read_bytes())
        for name, chunks, csum in (("mpxar", [M2], "new mpxar"), ("ppxar", [C1, C3], "new ppxar")):
            data = reader.get(f"/download?file-name=root.{name}.didx").body
            assert objects.read_dynamic(data) == objects.ends_of(chunks)
            assert hashlib.sha256(data[4096:]).hexdigest() == CSUMS[csum]
        for chunk in (M2, C1, C3):
            reply = reader.get(f"/chunk?digest={chunk.name}")
            assert reply.status == 200 and reply.body == chunk.encoded and reply.headers["content-type"] == BINARY
        refused(reader.get(f"/chunk?digest={C2.name}"), 401)
    with upgraded(based, READER_UPGRADE) as reader:
        assert reader.get("/download?file-name=root.mpxar.didx").status == 200
        refused(reader.get(f"/chunk?digest={C1.name}"), 401)  # row 5 before row 3


def test_parameters_of_a_json_body(based: Server) -> None:
    """What other clients send: index creation and close as JSON, appends as a form with repeated keys (8.1, 8.6)."""
    with upgraded(based) as session:
        play(session, range(1, 5))
        for number, name in ((1, "mpxar"), (2, "ppxar")):
            body = json.dumps({"archive-name": f"root.{name}.didx"}).encode()
            assert session.call("POST", "/dynamic_index", content_type=JSON, body=body).data == number
        good(play(session, [7, 8]))
        form = f"wid=2&digest-list={C1.name}&digest-list={C3.name}&offset-list=0&offset-list=18"
        assert session.call("PUT", "/dynamic_index", content_type=FORM, body=form.encode()).data is None
        query = f"/dynamic_index?wid=1&digest-list={M2.name}&offset-list=0"
        assert session.call("PUT", query, content_type=FORM).data is None
        body = json.dumps({"wid": 2, "chunk-count": 2, "size": 38, "csum": CSUMS["new ppxar"]}).encode()
        assert session.call("POST", "/dynamic_close", content_type=JSON + "; charset=utf-8", body=body).data is None
        good(play(session, [12, 13, 14]))


# ---- negative variants ----


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def without_crc(data: bytes) -> bytes:
    return data[:8] + bytes(4) + data[12:]


def test_append_of_what_was_not_announced(based: Server) -> None:
    with upgraded(based) as session:
        good(play(session, [1, 2, 4, 5, 6, 7, 8]))
        refused(play(session, [9])[9])


def test_append_at_a_wrong_offset_keeps_what_came_before(based: Server) -> None:
    with upgraded(based) as session:
        good(play(session, range(1, 9)))
        body = P1.replace("[0,18]", "[0,17]").encode()
        refused(play(session, [9], row_9=("PUT", "/dynamic_index", JSON, body))[9])
        # Nothing can be finished any more (V11), whatever comes.
        rest = json.dumps({"digest-list": [C3.name], "offset-list": [18], "wid": 2}).encode()
        session.call("PUT", "/dynamic_index", content_type=JSON, body=rest)
        play(session, range(10, 14))
        refused(play(session, [14])[14])
    based.wait_gone(based.snapshot(T1))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (CHUNK_7, flipped(C3.encoded), 400),
        (CHUNK_7.replace("size=20", "size=19"), C3.encoded, 400),
        (CHUNK_7.replace("encoded-size=32", "encoded-size=31"), C3.encoded, 400),
        (CHUNK_7.replace("encoded-size=32", "encoded-size=33"), C3.encoded, 400),
        (CHUNK_7, without_crc(C3.encoded), 200),
    ],
    ids=["last-byte-changed", "size-19", "encoded-size-31", "encoded-size-33", "crc-zeroed"],
)
def test_wrong_chunk(based: Server, path: str, body: bytes, status: int) -> None:
    with upgraded(based) as session:
        good(play(session, range(1, 7)))
        reply = session.call("POST", path, content_type=BINARY, body=body)
        assert reply.status == status, reply.body
        if status == 200:
            assert based.chunk(C3.digest).read_bytes() == C3.encoded  # with the right checksum
        else:
            assert refused(reply) and not based.chunk(C3.digest).exists()
        # The connection goes on: 25.
        good(play(session, range(7, 15)))
    assert (based.snapshot(T1) / "index.json.blob").exists()


def test_manifest_with_a_wrong_checksum(based: Server) -> None:
    with upgraded(based) as session:
        good(play(session, range(1, 13)))
        refused(play(session, [13], row_13=(*ROWS[13][:3], without_crc(MANIFEST_13)))[13])
        refused(play(session, [14])[14])
        good(play(session, [13, 14]))


@pytest.mark.parametrize(
    "path",
    [
        CLOSE_2.replace("chunk-count=2", "chunk-count=1"), CLOSE_2.replace("size=38", "size=37"),
        CLOSE_2.replace("csum=d3", "csum=d4"),
    ],
    ids=["count", "size", "csum"],
)  # fmt: skip
def test_wrong_close(based: Server, path: str) -> None:
    with upgraded(based) as session:
        good(play(session, range(1, 11)))
        refused(session.post(path))
        play(session, [11, 12, 13])
        refused(play(session, [14])[14])  # V11
    based.wait_gone(based.snapshot(T1))


def test_close_takes_a_checksum_in_upper_case(based: Server) -> None:
    with upgraded(based) as session:
        good(play(session, range(1, 11)))
        assert session.post(CLOSE_2.replace(CSUMS["new ppxar"], CSUMS["new ppxar"].upper())).data is None
        good(play(session, [12, 13, 14]))


@pytest.mark.parametrize("missing", [12, 13])
def test_finish_too_early(based: Server, missing: int) -> None:
    with upgraded(based) as session:
        good(play(session, [row for row in range(1, 14) if row != missing]))
        refused(play(session, [14])[14])
    based.wait_gone(based.snapshot(T1))


def test_manifest_again_after_finish(based: Server) -> None:
    with upgraded(based) as session:
        good(play(session, range(1, 15)))
        before = (based.snapshot(T1) / "index.json.blob").read_bytes()
        refused(play(session, [13])[13])
    assert (based.snapshot(T1) / "index.json.blob").read_bytes() == before


def test_index_outside_of_the_snapshot(based: Server) -> None:
    with upgraded(based) as session:
        good(play(session, range(1, 5)))
        refused(session.post("/dynamic_index?archive-name=..%2Fx.didx"))
        assert not (based.snapshot(T1).parent / "x.didx").exists()
        assert not list(based.datastore.rglob("x.*"))


def test_connection_that_ends_after_the_manifest(based: Server) -> None:
    with upgraded(based) as session:
        good(play(session, range(1, 14)))
    based.wait_gone(based.snapshot(T1))
    for chunk in BLOBS:
        assert based.chunk(chunk.digest).exists()
    assert (based.snapshot(T0) / "index.json.blob").exists()


def test_connection_that_ends_after_finish(based: Server) -> None:
    with upgraded(based) as session:
        good(play(session, range(1, 15)))
    # The next one of the group begins, so the last one's connection was seen off.
    with based.backup(T1 + 60) as session:
        assert session.get("/previous_backup_time").data == T1


def test_append_before_the_chunk_is_acknowledged(based: Server) -> None:
    """A race that a client must not run; whoever wins, the server stays whole."""
    with upgraded(based) as session:
        good(play(session, range(1, 7)))
        ids = [session.submit(m, p, content_type=c, body=b) for m, p, c, b in (ROWS[7], ROWS[9])]
        uploaded, appended = session.wait(*ids)
        assert uploaded.status == 200 and appended.status in (200, 400)


# ---- the bytes themselves ----

PREFACE = bytes.fromhex("505249202a20485454502f322e300d0a0d0a534d0d0a0d0a")
CLIENT_SETTINGS = bytes.fromhex("00001204000000000000020000000000047ffffffe000500400000")
CLIENT_WINDOW = bytes.fromhex("0000040800000000007ffeffff")


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Type, flags, stream, payload."""
    found, at = [], 0
    while at + 9 <= len(data):
        size = int.from_bytes(data[at : at + 3], "big")
        stream = int.from_bytes(data[at + 5 : at + 9], "big")
        found.append((data[at + 3], data[at + 4], stream, data[at + 9 : at + 9 + size]))
        at += 9 + size
    return found


def test_settings_of_both_sides(server: Server) -> None:
    """7.4: the example bytes are accepted; the server announces its windows and sizes."""
    with server.line() as line:
        assert line.raw(UPGRADE.encode()).status == 101
        line.send(PREFACE + CLIENT_SETTINGS + CLIENT_WINDOW)
        data = b""
        while len(frames(data)) < 3:
            data += line.receive()
        settings = next(f for f in frames(data) if f[0] == 4 and not f[1] & 1)
        values = dict(struct.iter_unpack(">HI", settings[3]))
        assert frames(data)[0] == settings  # the first frame of a server
        assert values[4] == 33_554_432 and values[5] == 4_194_304 and values[3] == 200 and values[6] == 16384
        updates = [struct.unpack(">I", f[3])[0] for f in frames(data) if f[0] == 8 and f[2] == 0]
        assert sum(updates) == 33_488_897
        assert (4, 1, 0, b"") in frames(data)  # our settings acknowledged


def test_wrong_preface_ends_the_connection(server: Server) -> None:
    with server.line() as line:
        assert line.raw(UPGRADE.encode()).status == 101
        line.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(64))
        line.rest()
    server.wait_gone(server.snapshot(T1))


def test_no_application_protocol_is_selected(server: Server) -> None:
    with server.line() as line:
        assert line.socket.selected_alpn_protocol() is None
        assert line.fingerprint == server.fingerprint
        assert line.socket.version() in ("TLSv1.2", "TLSv1.3")


def test_upgrade_on_a_connection_that_was_used(server: Server) -> None:
    """50: login-free calls, then the upgrade, with a double slash, on one connection."""
    with server.line() as line:
        assert line.exchange("GET", "/api2/json/version", headers=OWNER.headers).status == 200
        assert line.exchange("GET", "/api2/json/nowhere", headers=OWNER.headers).status == 404
        reply = line.upgrade("/" + client.backup_target("store1", "demo", T1), OWNER.headers)
        assert reply.status == 101
        with Session(line) as session:
            assert session.get("/previous_backup_time").data is None


def test_an_old_session_has_no_memory_of_chunks(based: Server) -> None:
    """Chunks that another session uploaded are not known here (56)."""
    with upgraded(based) as session:
        good(play(session, range(1, 9)))
    based.wait_gone(based.snapshot(T1))
    with upgraded(based) as session:
        good(play(session, range(1, 7)))
        refused(play(session, [9])[9])
        refused(play(session, [10])[10])


def test_session_without_a_word(server: Server) -> None:
    """An upgrade, and then the end of the connection."""
    line = server.line()
    assert line.raw(UPGRADE.encode()).status == 101
    line.close()
    server.wait_gone(server.snapshot(T1).parent)
