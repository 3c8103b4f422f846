"""Our client backs up to a scripted server that watches every rule of bench/spec/protocol.md 5 to 9, and lies on demand."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from backup_tools import noise, write_tree
from wire_peer_tools import (
    NAME_OF, T1, T2, T3, Answer, asked, change, check_restore, good, manifest_of, not_stored, only, refusal, run_words,
)  # fmt: skip
from wire_tools import Client, said

from pxarbench_harness.wire import objects
from pxarbench_harness.wire.client import BINARY, FORM, JSON
from pxarbench_harness.wire.peer import Peer
from pxarbench_harness.wire.peer_model import MANIFEST, Request, file_of, kinds, shape

@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree", files=12, size=60_000)


#: The calls of a session in the order of the transcript, each kind once: `uniq`.
FIRST = [
    "GET previous_backup_time", "POST dynamic_index", "POST dynamic_chunk", "PUT dynamic_index", "POST dynamic_close",
    "POST blob", "POST finish",
]  # fmt: skip


def first_of_each(requests: list[Request]) -> list[str]:
    return list(dict.fromkeys(request.endpoint for request in requests))


# ---- good runs ----


@pytest.mark.parametrize("mode", ["legacy", "data", "metadata"])
def test_backup_restore_again(user: Client, peer: Peer, tree: Path, tmp_path: Path, mode: str) -> None:
    """First, unchanged and changed runs; every rule of 9 is watched by the model; 48."""
    peer.manner.think = 0.002
    good(user, peer, tree, T1, mode=mode)
    good(user, peer, tree, T2, mode=mode)
    change(tree)
    good(user, peer, tree, T3, mode=mode)
    peer.manner.think = 0.0
    check_restore(user, peer, tree, T3, tmp_path / "restored")
    for key, files in peer.model.snapshots.items():
        names = [f["filename"] for f in manifest_of(peer, key[2])["files"]]
        wanted = ["root.pxar.didx", "catalog.pcat1.didx"] if mode == "legacy" else ["root.ppxar.didx", "root.mpxar.didx"]
        assert sorted(names) == sorted(wanted) and set(files) == {*wanted, MANIFEST}
    # Connections: a backup each, and with a reference a reader beside it.
    places = [(r.endpoint, r.query.get("backup-time")) for r in asked(peer, "rest")]
    backups = [at for endpoint, at in places if endpoint == "GET backup"]
    readers = [at for endpoint, at in places if endpoint == "GET reader"]
    assert backups == [str(T1), str(T2), str(T3)]
    if mode == "metadata":
        assert readers[:2] == [str(T1), str(T2)]


def test_requests_are_those_of_the_transcript(user: Client, peer: Peer, tree: Path) -> None:
    """17.1: method, path, parameters in their order, content type, headers of every kind of call."""
    good(user, peer, tree, T1)
    shutil.rmtree(tree / "d0")
    change(tree)
    peer.model.requests.clear()
    good(user, peer, tree, T2, mode="metadata")
    (upgrade,) = [r for r in asked(peer, "rest") if r.endpoint == "GET backup"]
    assert re.fullmatch(
        r"/{1,2}api2/json/backup\?backup-id=me&backup-time=1600000100&backup-type=host&benchmark=false&debug=(true|false)"
        r"&store=store1", upgrade.target
    )  # fmt: skip
    names = [name.lower() for name, _ in upgrade.headers]
    assert sorted(names) == ["authorization", "connection", "content-type", "host", "upgrade", "user-agent"]
    assert upgrade.header("authorization") == "PBSAPIToken bench@pbs!ci:s3cr3t"
    assert upgrade.header("upgrade") == "proxmox-backup-protocol-v1"
    assert (upgrade.header("connection") or "").lower() == "upgrade"
    assert upgrade.header("content-type") == FORM and upgrade.header("host") == f"127.0.0.1:{peer.port}"
    session = asked(peer, "backup")
    known = {
        "GET /previous_backup_time": "form",
        "GET /previous?archive-name=index.json.blob": "form",
        "GET /previous?archive-name=root.ppxar.didx": "form",
        "GET /previous?archive-name=root.mpxar.didx": "form",
        "POST /dynamic_index?archive-name=root.mpxar.didx": "form",
        "POST /dynamic_index?archive-name=root.ppxar.didx": "form",
        "POST /dynamic_chunk?digest=D&encoded-size=N&size=N&wid=N": "bin",
        "PUT /dynamic_index": "json",
        "POST /dynamic_close?chunk-count=N&csum=D&size=N&wid=N": "form",
        "POST /blob?encoded-size=N&file-name=index.json.blob": "bin",
        "POST /finish": "form",
    }
    assert {shape(r): kind for r, kind in zip(session, kinds(session), strict=True)} == known
    assert session[0].stream == 1 and session[0].endpoint == "GET previous_backup_time"
    assert [r.endpoint for r in session[-2:]] == ["POST blob", "POST finish"]
    for request in session:
        if request.method == "PUT":
            value = json.loads(request.body)
            assert set(value) == {"digest-list", "offset-list", "wid"} and b" " not in request.body
        names = [name for name, _ in request.headers]
        assert set(names) <= {":method", ":scheme", ":authority", ":path", "user-agent", "content-type", "content-length"}
    times = [shape(r) for r in session]
    for text in ("GET /previous_backup_time", "GET /previous?archive-name=index.json.blob", "POST /finish"):
        assert times.count(text) == 1
    (reader,) = [r for r in asked(peer, "rest") if r.endpoint == "GET reader"]
    assert re.fullmatch(
        r"/{1,2}api2/json/reader\?backup-id=me&backup-time=1600000000&backup-type=host&debug=(true|false)&store=store1",
        reader.target,
    )  # fmt: skip
    shapes = [shape(r) for r in asked(peer, "reader")]
    assert shapes[0] == "GET /download?file-name=root.mpxar.didx"
    assert set(shapes[1:]) <= {"GET /chunk?digest=D", "GET /download?file-name=index.json.blob"}
    # Each index is fetched once, by whoever.
    assert all(shapes.count(s) == 1 for s in shapes if "download" in s)


def test_first_run_asks_for_nothing_previous(user: Client, peer: Peer, tree: Path) -> None:
    """29, 9, 13, 21."""
    good(user, peer, tree, T1, mode="metadata")
    assert first_of_each(asked(peer, "backup")) == FIRST
    assert [r.endpoint for r in asked(peer, "rest")] == ["GET backup"]  # no login, no reader
    assert asked(peer, "backup")[0].stream == 1
    for request in asked(peer):
        for name in ("accept-encoding", "expect"):
            assert request.header(name) is None, request


def test_known_chunks_are_not_uploaded(user: Client, peer: Peer, tree: Path) -> None:
    """31, 32: of the base, and what occurs twice."""
    for number in range(6):  # the same contents again and again
        (tree / f"same{number}").write_bytes(noise("same", 900_000))
    good(user, peer, tree, T1)
    uploads = [r for r in asked(peer, "backup") if r.endpoint == "POST dynamic_chunk"]
    assert len({(r.query["digest"], r.query["wid"]) for r in uploads}) == len(uploads)
    peer.model.requests.clear()
    good(user, peer, tree, T2)
    assert [r.endpoint for r in asked(peer, "backup") if r.endpoint == "POST dynamic_chunk"] == []
    first, second = (peer.model.snapshots["host", "me", at]["root.ppxar.didx"] for at in (T1, T2))
    assert first == second


def test_files_and_images(user: Client, peer: Peer, tmp_path: Path) -> None:
    """8.8, 8.9: fixed indexes and blobs."""
    conf, image = tmp_path / "app.conf", tmp_path / "disk"
    conf.write_bytes(b"key = value\n")
    image.write_bytes(noise("disk", 5 << 20) + bytes(4 << 20) + b"tail")
    words = ["backup", f"app.conf:{conf}", f"disk.img:{image}", "--backup-id", "me", "--backup-time"]
    user.run(*words, str(T1)).check_ok()
    peer.settle()
    assert peer.model.breaches == []
    files = peer.model.snapshots["host", "me", T1]
    assert set(files) == {"app.conf.blob", "disk.img.fidx", MANIFEST}
    assert objects.opened(files["app.conf.blob"]) == conf.read_bytes()
    size, digests = objects.read_fixed(files["disk.img.fidx"])
    assert size == image.stat().st_size and len(digests) == 3
    peer.model.requests.clear()
    user.run(*words, str(T2)).check_ok()
    peer.settle()
    assert peer.model.breaches == []
    assert "POST fixed_chunk" not in peer.model.endpoints("backup")
    for name, original in (("app.conf", conf), ("disk.img", image)):
        target = tmp_path / "back"
        user.run("restore", f"host/me/{NAME_OF[T2]}", name, target).check_ok()
        assert target.read_bytes() == original.read_bytes()
        target.unlink()


def test_many_small_chunks(user: Client, peer: Peer, tmp_path: Path) -> None:
    """33 to 36: thousands of entries, answers that take their time."""
    tree = tmp_path / "many"
    tree.mkdir()
    (tree / "big").write_bytes(noise("big", 24 << 20))
    peer.manner.think = 0.001
    good(user, peer, tree, T1)
    appends = [json.loads(r.body) for r in asked(peer, "backup") if r.endpoint == "PUT dynamic_index"]
    counts = [len(a["digest-list"]) for a in appends]
    assert sum(counts) >= 300 and max(counts) <= 512
    # Reused whole: appends of known chunks, in batches.
    peer.model.requests.clear()
    good(user, peer, tree, T2)
    appends = [json.loads(r.body) for r in asked(peer, "backup") if r.endpoint == "PUT dynamic_index"]
    assert max(len(a["digest-list"]) for a in appends) >= 64


@pytest.mark.parametrize(
    "manner",
    [
        {"window": 65535, "connection_window": 65535, "frame": 16384, "streams": 1},
        {"head": "bytes"}, {"head": "joined"}, {"settings_late": 0.2}, {"streams": None, "header_list": None},
        {"streams": 2}, {"receive_buffer": 16384}, {"alpn": ("h2",)}, {"alpn": ("h2", "http/1.1")},
    ],
    ids=lambda manner: "-".join(f"{name}={value}" for name, value in manner.items()) if isinstance(manner, dict) else None,
)  # fmt: skip
def test_manners_of_servers(user: Client, peer: Peer, tree: Path, tmp_path: Path, manner: dict[str, object]) -> None:
    """16, 17, 20, 23, 24: one tree, every manner, the same snapshot."""
    for name, value in manner.items():
        setattr(peer.manner, name, value)
    good(user, peer, tree, T1)
    good(user, peer, tree, T2, mode="metadata")
    check_restore(user, peer, tree, T2, tmp_path / "restored")
    assert set(peer.alpn_offers) <= {None, "http/1.1"}


def test_large_windows_are_announced(user: Client, peer: Peer, tree: Path) -> None:
    """22: a megabyte goes down at once, beyond what 65535 bytes would let through."""
    (tree / "noise").write_bytes(noise("large", 3 << 20))
    good(user, peer, tree, T1, "--chunk-size", "4096")
    good(user, peer, tree, T2, "--chunk-size", "4096", mode="metadata")


def test_proof_that_the_model_sees(user: Client, peer: Peer, tree: Path) -> None:
    """The judge can be red: with chunks that it forgets, the appends of an honest client are breaches."""
    peer.rule = only("POST dynamic_chunk", Answer(body=b'{"data":null}'))
    result, _ = user.backup(tree, T1)
    assert result.returncode == 1
    peer.settle()
    assert any("not known" in text for text in peer.model.breaches)


def test_empty_tree(user: Client, peer: Peer, tmp_path: Path) -> None:
    """43."""
    empty = tmp_path / "empty"
    empty.mkdir()
    good(user, peer, empty, T1)
    check_restore(user, peer, empty, T1, tmp_path / "restored")


# ---- locks ----


def test_group_lock_is_waited_for(user: Client, peer: Peer, tree: Path) -> None:
    """42, 9.5: 5 tries, 200 ms apart."""
    locked = refusal("unable to acquire lock on group")
    for k in (1, 3):
        answers = iter([locked] * k)
        peer.rule = lambda r, a=answers: next(a, None) if r.endpoint == "GET backup" else None  # type: ignore[misc]
        peer.model.requests.clear()
        started = time.monotonic()
        good(user, peer, tree, T1 if k == 1 else T2)
        assert time.monotonic() - started >= 0.19 * k
        assert peer.model.endpoints("rest").count("GET backup") == k + 1
    peer.rule = only("GET backup", locked)
    peer.model.requests.clear()
    result, _ = user.backup(tree, T3)
    said(result)
    assert 5 <= peer.model.endpoints("rest").count("GET backup") <= 6
    not_stored(peer, T3)


def test_other_refusals_are_not_repeated(user: Client, peer: Peer, tree: Path) -> None:
    peer.rule = only("GET backup", refusal("backup owner check failed (you != somebody)"))
    result, _ = user.backup(tree, T1)
    assert "owner" in said(result)
    assert peer.model.endpoints("rest").count("GET backup") == 1


# ---- bases that do not fit, 30 ----


def test_base_with_wrong_indexes(user: Client, peer: Peer, tree: Path, tmp_path: Path) -> None:
    """30: ignored, and everything is uploaded; the run succeeds."""
    good(user, peer, tree, T1)
    files = peer.model.snapshots["host", "me", T1]
    whole = dict(files)
    for name in ("root.ppxar.didx", "root.mpxar.didx"):
        entries = objects.read_dynamic(whole[name])
        entries[-1] = (entries[-1][0] + 1, entries[-1][1])
        files[name] = objects.dynamic_index(entries)
    for at, mode in ((T2, "data"), (T3, "metadata")):
        peer.model.requests.clear()
        result, _ = user.backup(tree, at, mode=mode)
        result.check_ok()
        peer.settle()
        wrong = [text for text in peer.model.breaches if "known already" not in text]
        assert wrong == []
        uploads = [r for r in asked(peer, "backup") if r.endpoint == "POST dynamic_chunk"]
        assert len(uploads) >= len(objects.read_dynamic(whole["root.ppxar.didx"]))
        assert peer.model.snapshots["host", "me", at]["root.ppxar.didx"] == whole["root.ppxar.didx"]
        del peer.model.snapshots["host", "me", at]
        peer.model.breaches.clear()


@pytest.mark.parametrize("what", ["garbage", "empty", "wrong crc", "no json", "other key", "missing", "huge"])
@pytest.mark.parametrize("mode", ["data", "metadata"])
def test_base_with_a_manifest_that_is_no_use(user: Client, peer: Peer, tree: Path, what: str, mode: str) -> None:
    good(user, peer, tree, T1)
    manifest = manifest_of(peer, T1)
    data = {
        "garbage": b"garbage" * 10, "empty": b"", "wrong crc": objects.blob(json.dumps(manifest).encode(), crc=1),
        "no json": objects.blob(b"{"), "huge": objects.blob(b" " * (20 << 20)),
        "other key": objects.manifest_blob({**manifest, "unprotected": {"key-fingerprint": "01:" * 31 + "01"}}),
    }.get(what)  # fmt: skip
    answer = file_of(data) if data is not None else refusal("no such file", 404)

    def rule(request: Request) -> Answer | None:
        named = MANIFEST in (request.query.get("archive-name"), request.query.get("file-name"))
        return answer if named and request.method == "GET" else None

    peer.rule = rule
    result, _ = user.backup(tree, T2, mode=mode)
    peer.settle()
    assert result.returncode == 0, run_words(result)
    assert ("host", "me", T2) in peer.model.snapshots
    assert [b for b in peer.model.breaches if "known already" not in b] == []


def test_chunks_of_the_reference_that_lie(user: Client, peer: Peer, tree: Path, tmp_path: Path) -> None:
    """Metadata of the base that cannot be read: the files are read again instead."""
    good(user, peer, tree, T1)
    for answer in (
        file_of(b"x" * 40), refusal("chunk is gone"), refusal("download chunk not allowed", 401), Answer(500, b"oops"),
        file_of(objects.blob(b"other contents")),
    ):  # fmt: skip
        peer.rule = only("GET chunk", answer)
        result, stats = user.backup(tree, T2, mode="metadata")
        peer.settle()
        assert result.returncode == 0, run_words(result)
        assert stats["archives"][0]["reused_files"] == 0
        # A chunk that was found broken is uploaded again: servers may need it (8.5).
        assert [b for b in peer.model.breaches if "known already" not in b] == []
        peer.model.breaches.clear()
        peer.rule = lambda _: None
        check_restore(user, peer, tree, T2, tmp_path / "restored")
        shutil.rmtree(tmp_path / "restored")
        del peer.model.snapshots["host", "me", T2]


def test_required_reference(user: Client, peer: Peer, tree: Path) -> None:
    good(user, peer, tree, T1)
    peer.rule = only("GET chunk", refusal("chunk is gone"))
    result, _ = user.backup(tree, T2, "--require-reference", mode="metadata")
    said(result)
    not_stored(peer, T2)


# ---- errors of calls, 41 ----

CALLS = [
    "GET previous_backup_time", "POST dynamic_index", "POST dynamic_chunk", "PUT dynamic_index", "POST dynamic_close",
    "POST blob", "POST finish",
]  # fmt: skip
TEXTS = {400: b"parameter verification failed - 'x': wrong", 401: b"no way", 404: b"not found", 500: b"internal", 503: b"busy"}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", TEXTS)
def test_refused_calls(user: Client, peer: Peer, tree: Path, call: str, status: int) -> None:
    """41, 14: the session is given up by closing; the sentence quotes the server."""
    peer.rule = only(call, Answer(status, TEXTS[status]), 2 if call in ("POST dynamic_chunk", "PUT dynamic_index") else 1)
    result, _ = user.backup(tree, T1)
    assert TEXTS[status].decode() in said(result)
    not_stored(peer, T1)
    if call not in ("POST finish", "GET previous_backup_time"):
        assert "POST finish" not in peer.model.endpoints("backup")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"data":"text"}', b'{"data":{}}', b'{"other":1}', b'{"data":-1}', b'{"data":1e99}',
        b'{"data":99999999999999999999}', b"\xff\xfe", b'{"data":0}', b'{"data":300}', b"<html>",
    ],
)  # fmt: skip
def test_answers_that_make_no_sense(user: Client, peer: Peer, tree: Path, call: str, body: bytes) -> None:
    """Never a crash, never a snapshot that is not whole: refused, or harmless where nothing is read from it."""
    peer.rule = only(call, Answer(200, body))
    result, _ = user.backup(tree, T1)
    assert result.returncode in (0, 1), run_words(result)
    if result.returncode:
        said(result)
    else:
        # The model never finished: a client that believes it must have been told so by the finish call.
        assert call == "POST finish" or ("host", "me", T1) in peer.model.snapshots, (call, body)


@pytest.mark.parametrize("reset", [0, 8])
def test_early_refusal(user: Client, peer: Peer, tree: Path, reset: int) -> None:
    """25: the 400 counts, not the reset."""
    (tree / "noise").write_bytes(noise("early", 6 << 20))

    def early(request: Request) -> Answer | None:
        return Answer(400, b"early refusal of this chunk", reset=reset) if request.endpoint == "POST dynamic_chunk" else None

    peer.early = early
    result, _ = user.backup(tree, T1, "--chunk-size", "4096")
    assert "early refusal of this chunk" in said(result)
    not_stored(peer, T1)


def test_stream_that_is_reset_without_an_answer(user: Client, peer: Peer, tree: Path) -> None:
    peer.rule = only("POST dynamic_chunk", Answer(200, b"", hang=True, reset=2), 1)
    result, _ = user.backup(tree, T1)
    said(result)
    not_stored(peer, T1)


@pytest.mark.parametrize("after", [1, 2, 4])
def test_goaway(user: Client, peer: Peer, tree: Path, after: int) -> None:
    """28: what runs is finished, nothing new begins: this backup cannot be."""
    peer.manner.goaway_after = after
    result, _ = user.backup(tree, T1)
    said(result)
    not_stored(peer, T1)


@pytest.mark.parametrize("call", CALLS)
def test_connection_ends_at_a_call(user: Client, peer: Peer, tree: Path, call: str) -> None:
    """27."""
    peer.rule = only(call, Answer(cut=True), 1)
    started = time.monotonic()
    result, _ = user.backup(tree, T1)
    said(result)
    assert time.monotonic() - started < 15
    not_stored(peer, T1)
    peer.rule = lambda _: None
    good(user, peer, tree, T2)


# ---- before the session ----

HEADS = {
    "200": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "no http": b"220 mail.example ESMTP\r\n",
    "http/2 at once": bytes.fromhex("000012040000000000"),
    "endless": b"HTTP/1.1 101 Switching Protocols\r\n" + b"x: y\r\n" * 20000,
    "one endless line": b"HTTP/1.1 101 " + b"x" * 100000,
    "other protocol": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    "redirect": b"HTTP/1.1 301 Moved\r\nlocation: https://elsewhere/\r\ncontent-length: 0\r\n\r\n",
    "redirect 308": b"HTTP/1.1 308 Moved\r\nlocation: https://elsewhere/\r\ncontent-length: 0\r\n\r\n",
    "garbage behind": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
    b"upgrade: proxmox-backup-protocol-v1\r\n\r\n" + b"x" * 500,
    "huge error": b"HTTP/1.1 400 Bad\r\ncontent-length: 100000000\r\n\r\n" + b"sorry " * 50000,
    "negative length": b"HTTP/1.1 400 Bad\r\ncontent-length: -5\r\n\r\nno",
    "controls": b"HTTP/1.1 400 Bad\r\ncontent-length: 30\r\n\r\n\x1b[2Jclear\x07\x00 the screen\r\n" + b"." * 9,
}


@pytest.mark.parametrize("what", HEADS)
def test_answers_to_the_upgrade(user: Client, peer: Peer, tree: Path, what: str) -> None:
    """18: an error, and no byte of HTTP/2 before a good 101."""
    peer.manner.instead_of_head = HEADS[what]
    result, _ = user.backup(tree, T1)
    text = said(result)
    assert "\x1b" not in text and "\x07" not in text and len(text) < 5000
    if what == "controls":
        assert "clear" in text
    if "101" not in HEADS[what][:20].decode(errors="replace"):
        assert not any(b"PRI * HTTP/2" in data for data in peer.first_bytes)
    not_stored(peer, T1)


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (400, b"backup timestamp is older than last backup.", "older than last"),
        (400, b"unable to create backup, snapshot already exists", "exists"),
        (403, b"permission check failed - missing Datastore.Backup", "permission"),
        (404, b"namespace not found", "not found"), (503, b"<html>proxy</html>", "503"),
        (401, b"authentication failed", "authentic"), (400, b"", "400"),
    ],
)  # fmt: skip
def test_refused_upgrades(user: Client, peer: Peer, tree: Path, status: int, body: bytes, wanted: str) -> None:
    """14, 18."""
    peer.rule = only("GET backup", Answer(status, body))
    result, _ = user.backup(tree, T1)
    assert wanted in said(result)
    assert not any(b"PRI * HTTP/2" in data for data in peer.first_bytes)


def test_preface_waits_for_the_101(user: Client, peer: Peer, tree: Path) -> None:
    """19."""
    seen: list[bytes] = []

    def rule(request: Request) -> Answer | None:
        if request.endpoint == "GET backup":
            time.sleep(0.3)
            seen.append(b"".join(peer.first_bytes))
        return None

    peer.rule = rule
    good(user, peer, tree, T1)
    assert seen and b"PRI * HTTP/2" not in seen[0]


# ---- floods and silence ----


@pytest.mark.parametrize("call", ["GET previous_backup_time", "POST dynamic_index", "PUT dynamic_index", "POST finish"])
def test_endless_answers(user: Client, peer: Peer, tree: Path, call: str) -> None:
    """1 MiB of JSON is the most that is read (15.3)."""
    peer.rule = only(call, Answer(200, b" " * 65536, endless=True))
    result, _ = user.backup(tree, T1)
    said(result)
    not_stored(peer, T1)


def test_endless_errors(user: Client, peer: Peer, tree: Path) -> None:
    peer.rule = only("POST dynamic_index", Answer(400, b"again and again " * 4096, endless=True))
    result, _ = user.backup(tree, T1)
    assert len(said(result)) < 5000
    not_stored(peer, T1)


def test_slow_answers_are_only_slow(user: Client, peer: Peer, tree: Path) -> None:
    """16: slowness is no error."""
    peer.rule = only("POST dynamic_close", Answer(200, b'{"data":null}', piece=1, pause=0.02))
    result, _ = user.backup(tree, T1)
    assert result.returncode == 1  # the model knows of no close, and refuses to finish
    not_stored(peer, T1)
    peer.rule = lambda _: None
    peer.manner.think = 0.05
    peer.model.breaches.clear()
    good(user, peer, tree, T2)


def test_killed_client(user: Client, peer: Peer, tree: Path) -> None:
    """44."""
    peer.rule = only("POST dynamic_close", Answer(status=0))
    from pxarbench_harness import run

    stats = user.scratch / "killed.json"
    words = [user.program, "backup", f"root.pxar:{tree}", "--backup-id", "me", "--backup-time", str(T1), "--stats", stats]
    result = run.run(words, env={"PBS_REPOSITORY": user.repository, **user.environment}, timeout=3)
    assert result.timed_out
    not_stored(peer, T1)
    assert JSON and BINARY
