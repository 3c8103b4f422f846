"""Every check of a backup session (bench/spec/protocol.md 14.2) with exactly its status, from the specification alone."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from wire_tools import C1, C2, C3, M1, T0, T1, Starts, refused, snapshot_state

from pxarbench_harness.wire import objects, whole
from pxarbench_harness.wire.client import BINARY, FORM, JSON, Session
from pxarbench_harness.wire.objects import FIXED_CHUNK, Chunk, plain_chunk
from pxarbench_harness.wire.spoken import Server
from pxarbench_harness.wire.whole import Upload

D = C1.name


@pytest.fixture
def session(server: Server) -> Session:
    with server.backup(T0) as session:
        yield session  # type: ignore[misc]


def unfinished(server: Server) -> list[Path]:
    """What a refused upload must not leave."""
    return [path for path in (server.datastore / ".chunks").rglob("*") if path.is_file()]


# ---- V1: the schema ----


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/dynamic_index"),
        ("POST", "/dynamic_index?archive-name=a.didx&more=1"),
        ("POST", "/dynamic_index?archive-name=a.didx&archive-name=b.didx"),
        ("POST", "/dynamic_index?archive-name=a.didx&wid=1"),
        ("GET", "/previous_backup_time?x=1"),
        ("GET", "/previous"),
        ("GET", "/previous?archive-name=index.json.blob&x=1"),
        ("POST", "/finish?x=1"),
        ("POST", "/dynamic_close"),
        ("POST", f"/dynamic_close?wid=1&chunk-count=1&size=1&csum={D}&x=1"),
        ("POST", f"/dynamic_close?wid=0&chunk-count=1&size=1&csum={D}"),
        ("POST", f"/dynamic_close?wid=257&chunk-count=1&size=1&csum={D}"),
        ("POST", f"/dynamic_close?wid=1&chunk-count=0&size=1&csum={D}"),
        ("POST", f"/dynamic_close?wid=1&chunk-count=1&size=0&csum={D}"),
        ("POST", f"/dynamic_close?wid=one&chunk-count=1&size=1&csum={D}"),
        ("POST", f"/dynamic_close?wid=1&chunk-count=1&size=1&csum={D[1:]}"),
        ("POST", f"/dynamic_close?wid=1&chunk-count=1&size=1&csum={D[1:]}g"),
        ("POST", f"/dynamic_close?wid=99999999999999999999&chunk-count=1&size=1&csum={D}"),
        ("POST", "/fixed_index?archive-name=a.fidx&size=0"),
        ("POST", "/fixed_index?archive-name=a.fidx&size=-1"),
        ("POST", "/fixed_index?archive-name=a.fidx&size=9223372036854775808"),
        ("POST", "/fixed_index?archive-name=a.fidx&size=1&reuse-csum=12"),
        ("POST", f"/fixed_close?wid=1&chunk-count=-1&size=1&csum={D}"),
    ],
)
def test_parameters(session: Session, method: str, path: str) -> None:
    Upload.begin(session, "open.didx")
    refused(session.call(method, path))
    assert session.get("/previous_backup_time").status == 200


@pytest.mark.parametrize(
    "query",
    [
        "", f"digest={D}&encoded-size=30&size=18", f"digest={D}&encoded-size=30&wid=1", f"digest={D}&size=18&wid=1",
        "encoded-size=30&size=18&wid=1", f"digest={D}&encoded-size=30&size=18&wid=1&more=1",
        f"digest={D}&encoded-size=30&size=18&wid=1&wid=1", f"digest={D}&encoded-size=30&size=0&wid=1",
        f"digest={D}&encoded-size=30&size=16777217&wid=1", f"digest={D}&encoded-size=12&size=18&wid=1",
        f"digest={D}&encoded-size=16777261&size=18&wid=1", f"digest={D.upper()}&encoded-size=30&size=18&wid=1",
        f"digest={D[:-1]}&encoded-size=30&size=18&wid=1", f"digest={D}0&encoded-size=30&size=18&wid=1",
        f"digest={D}%0a&encoded-size=30&size=18&wid=1", f"digest={D}&encoded-size=30&size=18&wid=0",
        f"digest={D}&encoded-size=30&size=18&wid=257", f"digest={D}&encoded-size=30&size=18&wid=2",
        f"digest={D}&encoded-size=30&size=1e1&wid=1", f"digest={D}&encoded-size=30&size=0x12&wid=1",
    ],
)  # fmt: skip
def test_parameters_of_an_upload(session: Session, query: str) -> None:
    Upload.begin(session, "open.didx")
    reply = session.post("/dynamic_chunk" + ("?" + query if query else ""), C1.encoded)
    refused(reply)


@pytest.mark.parametrize(
    "value",
    [
        {"digest-list": [D], "offset-list": [0]},
        {"digest-list": [D], "wid": 1},
        {"offset-list": [0], "wid": 1},
        {"digest-list": [D], "offset-list": [0], "wid": "1"},
        {"digest-list": [D], "offset-list": ["0"], "wid": 1},
        {"digest-list": [D], "offset-list": [0.5], "wid": 1},
        {"digest-list": [1], "offset-list": [0], "wid": 1},
        {"digest-list": D, "offset-list": [0], "wid": 1},
        {"digest-list": [D.upper()], "offset-list": [0], "wid": 1},
        {"digest-list": [D], "offset-list": [0], "wid": 1, "more": 1},
        {"digest-list": [D], "offset-list": [], "wid": 1},
        {"digest-list": [D, D], "offset-list": [0], "wid": 1},
        {"digest-list": [D], "offset-list": [-1], "wid": 1},
        {"digest-list": [D], "offset-list": [1], "wid": 1},
        {"digest-list": [C2.name], "offset-list": [0], "wid": 1},
        {"digest-list": [D], "offset-list": [0], "wid": 2},
        {"digest-list": [D], "offset-list": [0], "wid": None},
        [],
        "text",
        None,
    ],
)
def test_parameters_of_an_append(server: Server, value: object) -> None:
    with server.backup(T0) as session:
        upload = Upload.begin(session, "open.didx")
        assert upload.put(C1).data == D
        refused(session.put_json("/dynamic_index", value))


@pytest.mark.parametrize("body", [b"", b"{", b"{}x", b'{"wid":1,}', b"\xff\xfe", b'{"wid":1}\0', b"[" * 5000])
def test_body_that_is_no_json_object(session: Session, body: bytes) -> None:
    Upload.begin(session, "open.didx")
    refused(session.call("PUT", "/dynamic_index", content_type=JSON, body=body))


def test_query_is_ignored_beside_json(session: Session) -> None:
    """51, in a session: only the body counts; an empty one is {}."""
    path = "/dynamic_index?archive-name=query.didx"
    refused(session.call("POST", path, content_type=JSON, body=b""))
    refused(session.call("POST", path, content_type=JSON, body=b"{}"))
    body = b'{"archive-name":"body.didx"}'
    assert session.call("POST", path + "&x=1", content_type=JSON, body=body).data == 1
    # A key twice in one object: no error (5.1).
    twice = b'{"archive-name":"a.didx","archive-name":"b.didx"}'
    assert session.call("POST", "/dynamic_index", content_type=JSON, body=twice).data == 2


def test_form_body_and_query_are_merged(session: Session) -> None:
    form = FORM + "; charset=UTF-8"
    assert session.call("POST", "/dynamic_index", content_type=form, body=b"archive-name=a.didx").data == 1
    assert session.call("POST", "/fixed_index?size=5", content_type=FORM, body=b"archive-name=a.fidx").data == 2
    assert session.call("POST", "/dynamic_index?archive-name=b.didx", content_type=None).data == 3
    assert session.call("POST", "/dynamic_index?archive-name=c.didx&_dc=17").data == 4
    refused(session.call("POST", "/dynamic_index?archive-name=d.didx", content_type=FORM, body=b"archive-name=d.didx"))
    refused(session.call("POST", "/dynamic_index?archive-name=d.didx", content_type=FORM, body=b"_dc=17"))


@pytest.mark.parametrize("content_type", ["text/plain", BINARY, "application/jsonx", "multipart/form-data", "json"])
def test_content_types(session: Session, content_type: str) -> None:
    """V21."""
    refused(session.call("POST", "/dynamic_index?archive-name=a.didx", content_type=content_type))


@pytest.mark.parametrize("content_type", ["text/plain", JSON, FORM, None, BINARY])
def test_uploads_take_any_content_type(session: Session, content_type: str | None) -> None:
    """Q endpoints treat the body as data."""
    upload = Upload.begin(session, "a.didx")
    reply = session.call("POST", f"/dynamic_chunk?{C1.query(upload.wid)}", content_type=content_type, body=C1.encoded)
    assert reply.data == C1.name


def append_of(size: int) -> bytes:
    """A good append, white space behind it."""
    value = json.dumps({"digest-list": [C1.name], "offset-list": [0], "wid": 1}).encode()
    return value + b" " * (size - len(value))


@pytest.mark.parametrize(("words", "limit"), [((), 524287), (("--parameter-body", "65535"), 65535)], ids=["today", "older"])
def test_size_of_a_parameter_body(starts: Starts, words: tuple[str, ...], limit: int) -> None:
    """V21."""
    with starts(*words).backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        upload.put(C1)
        refused(session.call("PUT", "/dynamic_index", content_type=JSON, body=append_of(limit + 1)))
        assert session.get("/previous_backup_time").status == 200
        # Refused before anything was appended: the writer goes on.
        assert session.call("PUT", "/dynamic_index", content_type=JSON, body=append_of(limit)).status == 200


# ---- V2 to V4: names ----

NAMES = [
    "", ".", "..", "../x", "../../x", "a/b", "/x", ".x", "-x", "a%00b", "a%2fb", "..%2f..%2fx", "%2e%2e%2fx", "a b", "a\\b",
    "ä", "a%0a", "a%2500", "x;y", "x:y", "~", "*",
]  # fmt: skip


def encoded(name: str) -> str:
    return quote(name, safe="%")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_indexes_and_blobs(server: Server, tmp_path: Path, name: str) -> None:
    """53: raw and percent-encoded, nothing is made anywhere."""
    with server.backup(T0) as session:
        before = sorted(os.listdir(tmp_path))
        refused(session.post(f"/dynamic_index?archive-name={encoded(name)}.didx"))
        refused(session.post(f"/fixed_index?size=1&archive-name={encoded(name)}.fidx"))
        data = objects.blob(b"x")
        refused(session.post(f"/blob?encoded-size={len(data)}&file-name={encoded(name)}.blob", data))
        body = json.dumps({"archive-name": name.replace("%00", "\0").replace("%2f", "/") + ".didx"}).encode()
        refused(session.call("POST", "/dynamic_index", content_type=JSON, body=body))
        assert list(server.snapshot(T0).iterdir()) == []
        assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("name", NAMES)
def test_names_of_what_is_read(based: Server, name: str) -> None:
    """53: nothing outside is read, whatever is there."""
    for folder in (based.datastore, based.datastore.parent, based.snapshot(T0).parent):
        (folder / "x.blob").write_bytes(objects.blob(b"secret"))
    with based.backup(T1) as session, based.reader(T0) as reader:
        for extension in ("didx", "fidx", "blob"):
            refused(session.get(f"/previous?archive-name={encoded(name)}.{extension}"))
            refused(reader.get(f"/download?file-name={encoded(name)}.{extension}"))


@pytest.mark.parametrize("name", ["a", "a.txt", "a.didx.tmp", "a.fidx", "a.blob", "a.DIDX", "didx", "a.didx%20"])
def test_extension_of_a_dynamic_index(session: Session, name: str) -> None:
    refused(session.post(f"/dynamic_index?archive-name={name}"))


@pytest.mark.parametrize("name", ["a", "a.didx", "a.blob", "a.fidx2"])
def test_extension_of_a_fixed_index(session: Session, name: str) -> None:
    refused(session.post(f"/fixed_index?archive-name={name}&size=1"))


@pytest.mark.parametrize("name", ["a", "a.didx", "a.fidx", "a.conf", "blob"])
def test_extension_of_a_blob(session: Session, name: str) -> None:
    data = objects.blob(b"x")
    refused(session.post(f"/blob?encoded-size={len(data)}&file-name={name}", data))


def test_length_of_names(session: Session) -> None:
    """V4: 200 bytes."""
    for length, status in ((200, 200), (201, 400)):
        name = "n" * (length - 5) + ".didx"
        assert session.post(f"/dynamic_index?archive-name={name}").status == status
        data = objects.blob(b"x")
        blob_name = "b" * (length - 5) + ".blob"
        assert session.post(f"/blob?encoded-size={len(data)}&file-name={blob_name}", data).status == status


def test_links_in_a_snapshot_are_not_followed(based: Server, tmp_path: Path) -> None:
    """V4: files are opened where they are, or not at all."""
    secret = tmp_path / "secret"
    secret.write_bytes(objects.blob(b"secret"))
    (based.snapshot(T0) / "link.blob").symlink_to(secret)
    with based.reader(T0) as reader:
        reply = reader.get("/download?file-name=link.blob")
        assert reply.status in (400, 404) and b"secret" not in reply.body
    with based.backup(T1) as session:
        (based.snapshot(T1) / "out.blob").symlink_to(secret)
        data = objects.blob(b"other")
        whole.blob(session, "out.blob", data)
        assert secret.read_bytes() == objects.blob(b"secret")


# ---- V5 to V8: chunks ----


def test_wids(session: Session) -> None:
    """V5, 58."""
    dynamic = Upload.begin(session, "a.didx")
    fixed = session.post("/fixed_index?archive-name=b.fidx&size=18").data
    assert (dynamic.wid, fixed) == (1, 2)  # shared by both kinds
    for wid in (0, 3, 256, 257, -1):
        refused(session.post(f"/dynamic_chunk?{C1.query(wid)}", C1.encoded))
        refused(session.put_json("/dynamic_index", {"digest-list": [], "offset-list": [], "wid": wid}))
        refused(session.post(f"/dynamic_close?wid={wid}&chunk-count=1&size=18&csum={D}"))
    refused(session.post(f"/fixed_chunk?{C1.query(dynamic.wid)}", C1.encoded))
    refused(session.post(f"/dynamic_chunk?{C1.query(fixed)}", C1.encoded))
    assert dynamic.put(C1).status == 200
    refused(session.put_json("/fixed_index", {"digest-list": [D], "offset-list": [0], "wid": dynamic.wid}))
    refused(session.put_json("/dynamic_index", {"digest-list": [D], "offset-list": [0], "wid": fixed}))
    assert dynamic.append([C1]).data is None
    refused(session.post(f"/fixed_close?wid={dynamic.wid}&chunk-count=1&size=18&csum={dynamic.closing['csum']}"))


def test_wid_that_was_closed(server: Server) -> None:
    with server.backup(T0) as session:
        upload = whole.index(session, "a.didx", [C1])
        refused(upload.put(C2))
        refused(session.put_json("/dynamic_index", {"digest-list": [D], "offset-list": [18], "wid": upload.wid}))
        refused(upload.close())
        assert Upload.begin(session, "b.didx").wid == 2  # never used again


@pytest.mark.parametrize("announced", [13, 29, 31, 1000])
def test_length_of_a_chunk(server: Server, announced: int) -> None:
    """V6, 54."""
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        refused(session.post(f"/dynamic_chunk?{C1.query(upload.wid, encoded_size=announced)}", C1.encoded))
        assert unfinished(server) == []


def test_reading_stops_behind_the_announced_length(server: Server) -> None:
    """V6: whoever announces 30 bytes and sends megabytes is not listened to."""
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        refused(session.post(f"/dynamic_chunk?{C1.query(upload.wid)}", C1.encoded + bytes(8 << 20)))
        assert session.get("/previous_backup_time").status == 200
        assert unfinished(server) == []


def chunk(raw: bytes, encoded_bytes: bytes) -> Chunk:
    return Chunk(raw, encoded_bytes)


BAD_CHUNKS = {
    "other contents": chunk(C1.raw, C2.encoded),
    "no magic": chunk(C1.raw, bytes(8) + C1.encoded[8:]),
    "index magic": chunk(C1.raw, objects.DYNAMIC + C1.encoded[8:]),
    "plain called zstd": chunk(C1.raw, objects.ZSTD + C1.encoded[8:]),
    "zstd called plain": chunk(C1.raw, objects.PLAIN + objects.zstd_blob(C1.raw)[8:]),
    "truncated frame": chunk(bytes(1000), objects.sealed(objects.ZSTD, objects.zstd_frame(bytes(1000))[:-1])),
    "bytes behind the frame": chunk(bytes(1000), objects.sealed(objects.ZSTD, objects.zstd_frame(bytes(1000)) + b"xxxx")),
    "empty frame": chunk(b"x", objects.sealed(objects.ZSTD, b"x")),
    "encrypted without a header": chunk(C1.raw, objects.ENCRYPTED + bytes(35)),
    "encrypted and compressed without a header": chunk(C1.raw, objects.ENCRYPTED_ZSTD + bytes(35)),
}


@pytest.mark.parametrize("what", BAD_CHUNKS)
def test_contents_of_a_chunk(server: Server, what: str) -> None:
    """V7, 54: refused, and not stored."""
    bad = BAD_CHUNKS[what]
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        refused(upload.put(bad))
        assert unfinished(server) == []
        refused(session.put_json("/dynamic_index", {"digest-list": [bad.name], "offset-list": [0], "wid": 1}))


@pytest.mark.parametrize("size", [1, 17, 19, 16777216])
def test_size_of_a_chunk(server: Server, size: int) -> None:
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        for encoded_bytes in (C1.encoded, objects.zstd_blob(C1.raw)):
            query = C1.query(upload.wid, size=size, encoded_size=len(encoded_bytes))
            refused(session.post(f"/dynamic_chunk?{query}", encoded_bytes))
        assert unfinished(server) == []


def test_bomb(server: Server) -> None:
    """V8: a frame of 64 MiB in a few KiB, announced as 1 MiB, and as the most that may be announced."""
    bomb = objects.zstd_blob(bytes(64 << 20))
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        for size in (1 << 20, 16 << 20):
            query = Chunk(bytes(size), bomb).query(upload.wid)
            refused(session.post(f"/dynamic_chunk?{query}", bomb))
        assert unfinished(server) == []


def test_frames_that_are_fine(server: Server) -> None:
    """8.5: several frames behind each other; empty payloads are too short to be chunks."""
    raw = b"a" * 1000 + b"b" * 500
    frames = objects.zstd_frame(raw[:1000]) + objects.zstd_frame(raw[1000:])
    good = Chunk(raw, objects.sealed(objects.ZSTD, frames))
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        assert upload.put(good).data == good.name
        assert server.chunk(good.digest).read_bytes() == good.encoded


def test_checksum_of_a_chunk_is_made_right(server: Server) -> None:
    """55."""
    one, two = b"one" * 9, b"two" * 999
    for raw, encoded_bytes in ((one, objects.blob(one, crc=0)), (two, objects.zstd_blob(two, crc=7))):
        with server.backup(T0) as session:
            upload = Upload.begin(session, "a.didx")
            wrong = Chunk(raw, encoded_bytes)
            assert upload.put(wrong).data == wrong.name
            assert objects.opened(server.chunk(wrong.digest).read_bytes()) == raw
        server.wait_gone(server.snapshot(T0))


def test_encrypted_chunks_are_stored_unchecked(server: Server) -> None:
    """V7; and one never takes the place of what is there in the clear (13)."""
    secret = Chunk(b"nobody knows", objects.encrypted_blob(b"ciphertext"))
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        assert upload.put(secret).data == secret.name
        assert server.chunk(secret.digest).read_bytes() == secret.encoded
        only_header = Chunk(b"header only", objects.encrypted_blob(b""))
        assert len(only_header.encoded) == 44 and upload.put(only_header).data == only_header.name
        assert upload.put(C1).status == 200
        refused(upload.put(Chunk(C1.raw, objects.encrypted_blob(b"instead"))))
        assert server.chunk(C1.digest).read_bytes() == C1.encoded


def test_chunk_again(server: Server) -> None:
    """8.5: succeeds; the larger encoding gives way (13)."""
    raw = bytes(5000)
    large, small = Chunk(raw, objects.blob(raw)), Chunk(raw, objects.zstd_blob(raw))
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        for one in (large, large, small, large):
            assert upload.put(one).data == large.name
        assert server.chunk(large.digest).read_bytes() == small.encoded


def test_chunk_file_that_lost_its_contents(based: Server) -> None:
    """13: an empty file is replaced."""
    based.chunk(C1.digest).write_bytes(b"")
    with based.backup(T1) as session:
        assert Upload.begin(session, "a.didx").put(C1).data == C1.name
        assert based.chunk(C1.digest).read_bytes() == C1.encoded


# ---- V9: appends ----


def test_appends_are_in_order_and_not_atomic(server: Server) -> None:
    """57, 8.6."""
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        for each in (C1, C3):
            upload.put(each)
        assert upload.append([C1, C1]).data is None  # as often as wanted
        refused(session.put_json("/dynamic_index", {"digest-list": [C3.name], "offset-list": [37], "wid": 1}))
        refused(session.put_json("/dynamic_index", {"digest-list": [C3.name], "offset-list": [18], "wid": 1}))
        files = [("a.didx", 36, objects.dynamic_csum(upload.entries))]
        upload.close()
        whole.blob(session, whole.MANIFEST, objects.manifest_blob(objects.manifest("host", "demo", T0, files)))
        refused(session.post("/finish"))
    server.wait_gone(server.snapshot(T0))


def test_chunk_of_one_index_in_another(server: Server) -> None:
    """9.1: known to the session."""
    with server.backup(T0) as session:
        first, second = Upload.begin(session, "a.didx"), Upload.begin(session, "b.didx")
        first.put(C1)
        assert second.append([C1]).data is None and first.append([C1]).data is None
        assert first.close().data is None and second.close().data is None
        whole.finish(session, "demo", T0, [first.listed, second.listed])


def test_empty_append(server: Server) -> None:
    """8.6: pointless but allowed."""
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        assert session.put_json("/dynamic_index", {"digest-list": [], "offset-list": [], "wid": 1}).data is None
        upload.put(C1)
        assert upload.append([C1]).data is None and upload.close().data is None


# ---- fixed indexes ----

BIG = [plain_chunk(bytes([number]) * FIXED_CHUNK) for number in range(2)]
TAIL = plain_chunk(b"tail" * 10)
IMAGE = [*BIG, TAIL]
IMAGE_SIZE = 2 * FIXED_CHUNK + 40


def begin_image(session: Session, chunks: list[Chunk] = IMAGE, size: int = IMAGE_SIZE) -> int:
    wid = session.post(f"/fixed_index?archive-name=disk.img.fidx&size={size}").data
    for each in chunks:
        small = Chunk(each.raw, objects.zstd_blob(each.raw))
        assert session.post(f"/fixed_chunk?{small.query(wid)}", small.encoded).data == each.name
    assert isinstance(wid, int)
    return wid


def image_append(session: Session, wid: int, slots: list[int], chunks: list[Chunk] = IMAGE) -> int:
    value = {"digest-list": [chunks[n].name for n in slots], "offset-list": [n * FIXED_CHUNK for n in slots], "wid": wid}
    return session.put_json("/fixed_index", value).status


def image_close(wid: int, chunks: list[Chunk] = IMAGE, **other: object) -> str:
    values = {
        "chunk-count": len(chunks), "csum": objects.fixed_csum([c.digest for c in chunks]),
        "size": sum(len(c.raw) for c in chunks), "wid": wid,
    }  # fmt: skip
    values.update({name.replace("_", "-"): value for name, value in other.items()})
    return "/fixed_close?" + "&".join(f"{name}={value}" for name, value in values.items())


def test_image(server: Server) -> None:
    """8.8, 74: slots in any order."""
    with server.backup(T0) as session:
        wid = begin_image(session)
        assert image_append(session, wid, [2, 0]) == 200 and image_append(session, wid, [1]) == 200
        assert session.post(image_close(wid)).data is None
        csum = objects.fixed_csum([c.digest for c in IMAGE])
        whole.finish(session, "demo", T0, [("disk.img.fidx", IMAGE_SIZE, csum)])
    data = (server.snapshot(T0) / "disk.img.fidx").read_bytes()
    assert objects.read_fixed(data) == (IMAGE_SIZE, [c.digest for c in IMAGE]) and len(data) == 4096 + 3 * 32
    # The last chunk is short: its length is known from the index.
    with server.backup(T1) as session:
        assert session.get("/previous?archive-name=disk.img.fidx").body == data
        wid = session.post(f"/fixed_index?archive-name=disk.img.fidx&size={IMAGE_SIZE}").data
        assert image_append(session, wid, [0, 1, 2]) == 200
        assert session.post(image_close(wid)).data is None
        # Into a dynamic index with its 40 bytes.
        upload = Upload.begin(session, "a.didx")
        assert upload.append([TAIL, BIG[0]]).data is None and upload.close().data is None


def test_image_continued_from_the_one_before(server: Server) -> None:
    """8.8: reuse-csum clones the index."""
    csum = objects.fixed_csum([c.digest for c in IMAGE])
    with server.backup(T0) as session:
        path = f"/fixed_index?archive-name=disk.img.fidx&size={IMAGE_SIZE}&reuse-csum={csum}"
        refused(session.post(path))  # no base
        wid = begin_image(session)
        image_append(session, wid, [0, 1, 2])
        session.post(image_close(wid))
        whole.finish(session, "demo", T0, [("disk.img.fidx", IMAGE_SIZE, csum)])
    with server.backup(T1) as session:
        refused(session.post(path.replace(csum, "0" * 64)))
        refused(session.post(path.replace("disk.", "other.")))
        wid = session.post(path).data
        changed = [IMAGE[1], IMAGE[1], TAIL]
        small = Chunk(IMAGE[1].raw, objects.zstd_blob(IMAGE[1].raw))
        assert session.post(f"/fixed_chunk?{small.query(wid)}", small.encoded).status == 200
        assert image_append(session, wid, [0], changed) == 200
        new_csum = objects.fixed_csum([c.digest for c in changed])
        assert session.post(image_close(wid, changed, chunk_count=1)).data is None
        whole.finish(session, "demo", T1, [("disk.img.fidx", IMAGE_SIZE, new_csum)])
    assert objects.read_fixed((server.snapshot(T1) / "disk.img.fidx").read_bytes())[1] == [c.digest for c in changed]


@pytest.mark.parametrize(
    ("slots", "offsets"),
    [
        ([0], [1]), ([0], [FIXED_CHUNK - 1]), ([0], [3 * FIXED_CHUNK]), ([2], [0]), ([0], [2 * FIXED_CHUNK]),
        ([0], [-FIXED_CHUNK]),
    ],
    ids=["unaligned", "one-off", "behind-the-end", "short-in-the-middle", "long-at-the-end", "before-the-beginning"],
)
def test_offsets_of_an_image(session: Session, slots: list[int], offsets: list[int]) -> None:
    wid = begin_image(session)
    value = {"digest-list": [IMAGE[n].name for n in slots], "offset-list": offsets, "wid": wid}
    refused(session.put_json("/fixed_index", value))


def test_chunks_of_an_image(session: Session) -> None:
    """8.8: none above 4 MiB, one short one."""
    wid = session.post(f"/fixed_index?archive-name=disk.img.fidx&size={IMAGE_SIZE}").data
    raw = bytes(FIXED_CHUNK + 1)
    large = Chunk(raw, objects.zstd_blob(raw))
    refused(session.post(f"/fixed_chunk?{large.query(wid)}", large.encoded))
    assert session.post(f"/fixed_chunk?{TAIL.query(wid)}", TAIL.encoded).data == TAIL.name
    refused(session.post(f"/fixed_chunk?{C1.query(wid)}", C1.encoded))


@pytest.mark.parametrize(
    ("slots", "other"),
    [
        ([0, 1, 2], {"chunk_count": 2}), ([0, 1, 2], {"size": IMAGE_SIZE - 1}), ([0, 1, 2], {"csum": "0" * 64}),
        ([0, 2], {"chunk_count": 2}), ([0, 2], {}), ([0, 0, 1, 2], {"chunk_count": 4}), ([0, 0, 2], {}),
    ],
    ids=["count", "size", "csum", "a-slot-left-out", "a-slot-left-out-not-told", "a-slot-twice", "one-twice-one-never"],
)  # fmt: skip
def test_close_of_an_image(server: Server, slots: list[int], other: dict[str, object]) -> None:
    """V10, V13."""
    with server.backup(T0) as session:
        wid = begin_image(session)
        statuses = [image_append(session, wid, slots)]
        statuses.append(session.post(image_close(wid, **other)).status)  # type: ignore[arg-type]
        assert 400 in statuses and set(statuses) <= {200, 400}
        csum = objects.fixed_csum([c.digest for c in IMAGE])
        value = objects.manifest("host", "demo", T0, [("disk.img.fidx", IMAGE_SIZE, csum)])
        whole.blob(session, whole.MANIFEST, objects.manifest_blob(value))
        refused(session.post("/finish"))
    server.wait_gone(server.snapshot(T0))


# ---- V10, V11: closing ----

OTHER_ORDER = objects.dynamic_csum(objects.ends_of([C2, C1]))


@pytest.mark.parametrize(
    "other",
    [{"chunk_count": 1}, {"chunk_count": 3}, {"size": 35}, {"size": 37}, {"csum": "0" * 64}, {"csum": OTHER_ORDER}],
    ids=["count-1", "count-3", "size-35", "size-37", "csum-zeros", "csum-of-another-order"],
)
def test_close(server: Server, other: dict[str, object]) -> None:
    """59: refused, and no finish afterwards."""
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        for each in (C1, C2):
            upload.put(each)
        upload.append([C1, C2])
        refused(upload.close(**other))
        upload.close()
        whole.blob(session, whole.MANIFEST, objects.manifest_blob(objects.manifest("host", "demo", T0, [upload.listed])))
        refused(session.post("/finish"))
    server.wait_gone(server.snapshot(T0))


def test_empty_index_cannot_be_closed(session: Session) -> None:
    upload = Upload.begin(session, "a.didx")
    empty = hashlib.sha256(b"").hexdigest()
    refused(session.post(f"/dynamic_close?wid={upload.wid}&chunk-count=0&size=0&csum={empty}"))
    refused(session.post(f"/dynamic_close?wid={upload.wid}&chunk-count=1&size=1&csum={empty}"))


# ---- V12, V13: blobs ----


@pytest.mark.parametrize(
    ("data", "announced"),
    [
        (objects.blob(b"hello"), 16), (objects.blob(b"hello"), 18), (objects.blob(b"hello", crc=0), 17),
        (b"hello world, no magic", 21), (objects.DYNAMIC + bytes(20), 28), (objects.ENCRYPTED + bytes(10), 18),
        (objects.blob(b"")[:11], 11),
    ],
    ids=["shorter", "longer", "crc", "no-magic", "index-magic", "encrypted-too-short", "too-short"],
)  # fmt: skip
def test_bad_blob(server: Server, data: bytes, announced: int) -> None:
    with server.backup(T0) as session:
        refused(session.post(f"/blob?encoded-size={announced}&file-name=a.conf.blob", data))
        assert list(server.snapshot(T0).iterdir()) == []


def test_empty_blob(server: Server) -> None:
    with server.backup(T0) as session:
        assert whole.blob(session, "a.conf.blob", objects.blob(b"")).data is None
        assert (server.snapshot(T0) / "a.conf.blob").read_bytes() == objects.blob(b"")


def test_same_name_twice(session: Session) -> None:
    """V13."""
    whole.index(session, "a.didx", [C1])
    refused(session.post("/dynamic_index?archive-name=a.didx"))
    Upload.begin(session, "b.didx")
    refused(session.post("/dynamic_index?archive-name=b.didx"))
    assert whole.blob(session, "a.conf.blob", objects.blob(b"1")).status == 200
    refused(whole.blob(session, "a.conf.blob", objects.blob(b"2")))


# ---- V14, V15: finish ----


def files_of(session: Session) -> list[tuple[str, int, str]]:
    """An index and a blob, uploaded."""
    upload = whole.index(session, "a.didx", [C1])
    data = objects.blob(b"conf")
    assert whole.blob(session, "a.conf.blob", data).data is None
    return [upload.listed, ("a.conf.blob", len(data), hashlib.sha256(data).hexdigest())]


def sends_manifest(session: Session, time: int, files: list[tuple[str, int, str]]) -> bool:
    value = objects.manifest("host", "demo", time, files)
    return whole.blob(session, whole.MANIFEST, objects.manifest_blob(value)).status == 200


def manifest_variants(files: list[tuple[str, int, str]]) -> dict[str, bytes]:
    def good(**other: object) -> dict[str, object]:
        return {**objects.manifest("host", "demo", T0, files), **other}

    def listed(*rows: tuple[str, int, str]) -> dict[str, object]:
        return objects.manifest("host", "demo", T0, rows)

    index, conf = files
    without = [{k: v for k, v in good().items() if k != key} for key in ("backup-type", "backup-id", "backup-time", "files")]
    values: dict[str, object] = {
        "other id": good(**{"backup-id": "other"}), "other type": good(**{"backup-type": "vm"}),
        "other time": good(**{"backup-time": T0 + 1}), "time as text": good(**{"backup-time": str(T0)}),
        "nothing listed": listed(), "index not listed": listed(conf), "blob not listed": listed(index),
        "more than was uploaded": listed(index, conf, ("b.didx", 1, D)), "twice": listed(index, conf, conf),
        "other size": listed((index[0], 19, index[2]), conf), "other csum": listed((index[0], 18, D), conf),
        "other size of the blob": listed(index, (conf[0], conf[1] + 1, conf[2])),
        "other csum of the blob": listed(index, (conf[0], conf[1], D)), "short csum": listed((index[0], 18, D[:62]), conf),
        "csum that is no hex": listed((index[0], 18, "z" * 64), conf),
        "lists the manifest": listed(index, conf, ("index.json.blob", 1, D)), "files is an object": good(files={}), "list": [],
        "text": "x", "number": 1,
        **{f"without {key}": value for key, value in zip(("type", "id", "time", "files"), without, strict=True)},
    }  # fmt: skip
    text = json.dumps(good()).encode()
    return {
        **{name: objects.manifest_blob(value) for name, value in values.items()},
        "no json": objects.blob(text[:-1]), "empty": objects.blob(b""), "encrypted": objects.encrypted_blob(text),
        "no utf-8": objects.blob(text.replace(b"demo", b"de\xff\xfe")), "bytes behind": objects.blob(text + b"x"),
    }  # fmt: skip


VARIANTS = list(manifest_variants([("a.didx", 18, objects.dynamic_csum(objects.ends_of([C1]))), ("a.conf.blob", 16, "0" * 64)]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_manifest_that_does_not_fit(server: Server, variant: str) -> None:
    """V14, V15, 60."""
    with server.backup(T0) as session:
        data = manifest_variants(files_of(session))[variant]
        uploaded = whole.blob(session, whole.MANIFEST, data)
        finished = session.post("/finish")
        if uploaded.status == 200:
            refused(finished)
        else:
            refused(uploaded)
            refused(finished)
    server.wait_gone(server.snapshot(T0))


def test_finish_needs_closed_indexes_and_a_manifest(server: Server) -> None:
    """V14."""
    with server.backup(T0) as session:
        refused(session.post("/finish"))
        files = files_of(session)
        refused(session.post("/finish"))
        Upload.begin(session, "open.didx")
        assert sends_manifest(session, T0, files)
        refused(session.post("/finish"))
    server.wait_gone(server.snapshot(T0))


def test_finish_of_blobs_alone(server: Server) -> None:
    data = objects.blob(b"conf")
    with server.backup(T0) as session:
        whole.blob(session, "a.conf.blob", data)
        whole.finish(session, "demo", T0, [("a.conf.blob", len(data), hashlib.sha256(data).hexdigest())])
    assert (server.snapshot(T0) / "a.conf.blob").read_bytes() == data


def test_finish_when_the_base_is_gone(based: Server) -> None:
    """V14."""
    with based.backup(T1) as session:
        files = files_of(session)
        os.rename(based.snapshot(T0), based.datastore / "moved")
        assert sends_manifest(session, T1, files)
        refused(session.post("/finish"))
    based.wait_gone(based.snapshot(T1))


def test_after_finish(based: Server) -> None:
    """V16, 61."""
    with based.backup(T1) as session:
        files = files_of(session)
        whole.finish(session, "demo", T1, files)
        before = snapshot_state(based)
        refused(session.post("/dynamic_index?archive-name=z.didx"))
        refused(session.post("/fixed_index?archive-name=z.fidx&size=1"))
        refused(session.post(f"/dynamic_chunk?{C3.query(1)}", C3.encoded))
        refused(session.put_json("/dynamic_index", {"digest-list": [D], "offset-list": [18], "wid": 1}))
        refused(session.post(f"/dynamic_close?wid=1&chunk-count=1&size=18&csum={D}"))
        refused(session.post("/finish"))
        refused(session.get("/previous?archive-name=root.ppxar.didx"))
        refused(whole.blob(session, "z.conf.blob", objects.blob(b"z")))
        assert session.get("/previous_backup_time").data == T0
        assert session.get("/previous?archive-name=index.json.blob").status == 200
        assert session.post("/speedtest", bytes(100)).data is None
        assert snapshot_state(based) == before
    with based.backup(T1 + 1) as session:
        assert session.get("/previous_backup_time").data == T1
    based.wait_gone(based.snapshot(T1 + 1))
    assert snapshot_state(based) == before


def test_finish_rewrites_the_manifest(server: Server) -> None:
    """8.10, 73: statistics are added; what it does not know of `unprotected` survives, other unknown members do not."""
    with server.backup(T0) as session:
        upload = Upload.begin(session, "a.didx")
        for each in (C1, C1, C2):
            upload.put(each)
        upload.append([C1, C2])
        upload.close()
        left = Upload.begin(session, "b.didx")  # its own chunks count when it is closed
        left.put(M1)
        left.append([M1])
        left.close()
        data = objects.blob(b"conf")
        whole.blob(session, "a.conf.blob", data)
        files = [upload.listed, left.listed, ("a.conf.blob", len(data), hashlib.sha256(data).hexdigest())]
        value = objects.manifest("host", "demo", T0, files, unknown=1, signature=None)
        value["unprotected"] = {"notes": "mine", "other": {"kept": [1]}}
        sent = objects.manifest_blob(value)
        assert whole.blob(session, whole.MANIFEST, sent).data is None
        assert session.post("/finish").data is None
    stored = (server.snapshot(T0) / whole.MANIFEST).read_bytes()
    assert stored[:8] == objects.ZSTD
    text = objects.opened(stored).decode()
    assert "\n  " in text  # pretty
    got = json.loads(text)
    assert got["files"] == value["files"] and "unknown" not in got and got["signature"] is None
    assert got["unprotected"]["notes"] == "mine" and got["unprotected"]["other"] == {"kept": [1]}
    raw = sum(len(c.raw) for c in (C1, C1, C2, M1))
    stats = got["unprotected"]["chunk_upload_stats"]
    assert stats["count"] == 4 and stats["duplicates"] == 1
    assert stats["size"] == raw + len(data) + len(sent)
    assert stats["compressed_size"] in (
        sum(len(c.encoded) for c in (C1, C2, M1)), sum(len(c.encoded) for c in (C1, C1, C2, M1)),
    )  # fmt: skip


# ---- V20 ----


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404), ("POST", "/previous_backup_time", 404), ("GET", "/finish", 404), ("PUT", "/blob", 404),
        ("DELETE", "/dynamic_index", 404), ("GET", "/download?file-name=index.json.blob", 404), ("GET", "/chunk", 404),
        ("GET", "/previous_backup_time/more", 404), ("GET", "/api2/json/version", 404), ("GET", "/.hidden", 400),
        ("GET", "/a/../previous_backup_time", 400), ("GET", "/%2e%2e/x", 400), ("GET", "//previous_backup_time", 200),
        ("GET", "/previous_backup_time/", 200), ("GET", "/previous%5fbackup_time", 200), ("GET", "/", 200),
    ],
)  # fmt: skip
def test_paths(session: Session, method: str, path: str, status: int) -> None:
    reply = session.call(method, path)
    assert reply.status == status, reply
    if status >= 400:
        refused(reply, status)


def test_list_of_the_calls(session: Session) -> None:
    names = {row["subdir"] for row in session.get("/").data}
    assert {
        "blob", "dynamic_chunk", "dynamic_close", "dynamic_index", "finish", "fixed_chunk", "fixed_close", "fixed_index",
        "previous", "previous_backup_time", "speedtest",
    } <= names  # fmt: skip


def test_many_indexes(server: Server) -> None:
    """wids end at 256."""
    with server.backup(T0) as session:
        for begin in (0, 128):
            ids = [session.submit("POST", f"/dynamic_index?archive-name=a{begin + n}.didx") for n in range(128)]
            assert sorted(reply.data for reply in session.wait(*ids)) == list(range(begin + 1, begin + 129))
        refused(session.post("/dynamic_index?archive-name=more.didx"))
