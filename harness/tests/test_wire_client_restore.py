"""Our client restores from a scripted server that lies (protocol.md 10, 15.3): nothing wrong ever comes back as good."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from backup_tools import noise, write_tree
from wire_peer_tools import NAME_OF, T1, T2, Answer, asked, check_restore, good, manifest_of, only
from wire_tools import Client, said

from pxarbench_harness.tree import differences, scan
from pxarbench_harness.wire import objects
from pxarbench_harness.wire.peer import Peer
from pxarbench_harness.wire.peer_model import MANIFEST, Request, file_of, kinds, shape

SNAPSHOT = f"host/me/{NAME_OF[T1]}"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree", files=12, size=60_000)


@pytest.fixture
def stored(user: Client, peer: Peer, tree: Path) -> Path:
    """A tree, backed up; the requests so far forgotten."""
    good(user, peer, tree, T1)
    peer.model.requests.clear()
    return tree


def restored(user: Client, tmp_path: Path, *more: str) -> Any:
    target = tmp_path / "restored"
    shutil.rmtree(target, ignore_errors=True)
    return user.restore(SNAPSHOT, target, *more)


def test_requests_are_those_of_the_transcript(user: Client, peer: Peer, stored: Path, tmp_path: Path) -> None:
    """17.2; 46: the index first."""
    check_restore(user, peer, stored, T1, tmp_path / "restored")
    session = asked(peer, "reader")
    shapes = [shape(r) for r in session]
    assert shapes[0] == "GET /download?file-name=index.json.blob" and session[0].stream == 1
    assert sorted(shapes[1:3]) == ["GET /download?file-name=root.mpxar.didx", "GET /download?file-name=root.ppxar.didx"]
    assert set(shapes[3:]) == {"GET /chunk?digest=D"}
    assert set(kinds(session)) == {"form"}
    digests = [r.query["digest"] for r in session[3:]]
    assert len(set(digests)) == len(digests)  # each once
    (upgrade,) = asked(peer, "rest")
    assert upgrade.header("upgrade") == "proxmox-backup-reader-protocol-v1"


@pytest.mark.parametrize("name", ["index.json.blob", "root.mpxar.didx", "root.ppxar.didx", "chunk"])
def test_one_flipped_byte(user: Client, peer: Peer, stored: Path, tmp_path: Path, name: str) -> None:
    """45: anywhere in the manifest, an index, a chunk. Bytes that mean nothing (uuid, times) may be wrong."""
    chance = random.Random(name)
    want = scan(stored)
    caught = 0
    for _ in range(12):

        def rule(request: Request) -> Answer | None:
            if name == "chunk" and request.endpoint == "GET chunk":
                data = peer.model.chunks[bytes.fromhex(request.query["digest"])]
            elif request.query.get("file-name") == name:
                data = peer.model.snapshots["host", "me", T1][name]
            else:
                return None
            at = chance.randrange(len(data))
            return file_of(data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :])

        peer.rule = rule
        result = restored(user, tmp_path)
        if result.returncode == 0:
            assert name.endswith(".didx"), "a flipped bit was not noticed"
            assert differences(want, scan(tmp_path / "restored")) == []
        else:
            said(result)
            caught += 1
    assert caught or name.endswith("mpxar.didx")


def test_flipped_bytes_of_index_entries(user: Client, peer: Peer, stored: Path, tmp_path: Path) -> None:
    """45: also with a header whose checksum fits."""
    data = peer.model.snapshots["host", "me", T1]["root.ppxar.didx"]
    entries = objects.read_dynamic(data)
    for number, change in enumerate(("end", "digest", "order", "missing", "more")):
        wrong = list(entries)
        if change == "end":
            wrong[-1] = (wrong[-1][0] + 1, wrong[-1][1])
        elif change == "digest":
            wrong[0] = (wrong[0][0], wrong[1][1])
        elif change == "order":
            wrong[0], wrong[1] = (wrong[0][0], wrong[1][1]), (wrong[1][0], wrong[0][1])
        elif change == "missing":
            wrong.pop()
        else:
            wrong.append((wrong[-1][0] + 5, wrong[0][1]))
        bad = objects.dynamic_index(wrong)

        def rule(request: Request, bad: bytes = bad) -> Answer | None:
            return file_of(bad) if request.query.get("file-name") == "root.ppxar.didx" else None

        peer.rule = rule
        said(restored(user, tmp_path))
        assert number < 5


BOMB = objects.zstd_blob(bytes(40 << 20))

LIES = {
    "another chunk": lambda chunks, digest: next(c for d, c in sorted(chunks.items()) if d != digest),
    "no blob": lambda chunks, digest: b"x" * 100,
    "empty": lambda chunks, digest: b"",
    "half": lambda chunks, digest: chunks[digest][: len(chunks[digest]) // 2],
    "more": lambda chunks, digest: chunks[digest] + b"x",
    "encrypted": lambda chunks, digest: objects.encrypted_blob(chunks[digest]),
    "bomb": lambda chunks, digest: BOMB,
    "wrong crc": lambda chunks, digest: chunks[digest][:8] + bytes(4) + chunks[digest][12:],
    "too long": lambda chunks, digest: objects.blob(bytes(17 << 20)),
}


@pytest.mark.parametrize("lie", LIES)
def test_chunks_that_lie(user: Client, peer: Peer, stored: Path, tmp_path: Path, lie: str) -> None:
    def rule(request: Request) -> Answer | None:
        if request.endpoint != "GET chunk":
            return None
        return file_of(LIES[lie](peer.model.chunks, bytes.fromhex(request.query["digest"])))

    peer.rule = rule
    text = said(restored(user, tmp_path))
    assert text
    result = user.run("verify", SNAPSHOT)
    assert result.returncode == 1


def test_chunk_of_another_kind_than_the_manifest_says(user: Client, peer: Peer, stored: Path, tmp_path: Path) -> None:
    """10: crypt mode must fit."""
    manifest = manifest_of(peer, T1)
    for file in manifest["files"]:
        file["crypt-mode"] = "encrypt"
    peer.model.snapshots["host", "me", T1][MANIFEST] = objects.manifest_blob(manifest)
    said(restored(user, tmp_path))


MANIFESTS = {
    "no json": b"{", "list": b"[]", "empty": b"", "null": b"null", "deep": b'{"a":' * 100000,
    "utf-8": b'{"backup-type":"\xff"}',
    "no files": b'{"backup-type":"host","backup-id":"me","backup-time":1600000000}',
}  # fmt: skip


@pytest.mark.parametrize("what", [*MANIFESTS, "names with paths", "huge"])
def test_manifests_that_lie(user: Client, peer: Peer, stored: Path, tmp_path: Path, what: str) -> None:
    manifest = manifest_of(peer, T1)
    if what == "names with paths":
        manifest["files"][0]["filename"] = "../../root.ppxar.didx"
        data = objects.manifest_blob(manifest)
    elif what == "huge":
        data = objects.zstd_blob(b" " * (127 << 20))
    else:
        data = objects.blob(MANIFESTS[what])
    peer.model.snapshots["host", "me", T1][MANIFEST] = data
    said(restored(user, tmp_path))
    assert not (tmp_path / "root.ppxar.didx").exists()


@pytest.mark.parametrize("endpoint", ["GET download", "GET chunk"])
@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_refused_downloads(user: Client, peer: Peer, stored: Path, tmp_path: Path, endpoint: str, status: int) -> None:
    """47: no loop of attempts."""
    peer.rule = only(endpoint, Answer(status, b"the reason is this"))
    text = said(restored(user, tmp_path))
    assert "the reason is this" in text
    assert peer.model.endpoints("rest").count("GET reader") == 1
    digests = [r.query["digest"] for r in asked(peer, "reader") if r.endpoint == "GET chunk"]
    assert len(digests) == len(set(digests))


@pytest.mark.parametrize("what", [MANIFEST, "root.mpxar.didx", "root.ppxar.didx", "chunk"])
def test_endless_downloads(user: Client, peer: Peer, stored: Path, tmp_path: Path, what: str) -> None:
    """15.3: bounded, whatever comes."""

    def rule(request: Request) -> Answer | None:
        if request.query.get("file-name") == what or (what == "chunk" and request.endpoint == "GET chunk"):
            return Answer(200, objects.DYNAMIC + bytes(1 << 20), content_type="application/octet-stream", endless=True)
        return None

    peer.rule = rule
    started = time.monotonic()
    words = ["restore", SNAPSHOT, "root.pxar", tmp_path / "restored"]
    result = user.run(*words, timeout=60)
    said(result)
    assert time.monotonic() - started < 60


def test_slow_downloads(user: Client, peer: Peer, stored: Path, tmp_path: Path) -> None:
    """16: pieces of a few bytes, late; it is only slow."""

    def rule(request: Request) -> Answer | None:
        if request.query.get("file-name") != "root.mpxar.didx":
            return None
        data = peer.model.snapshots["host", "me", T1]["root.mpxar.didx"]
        with peer.model.lock:
            pass
        return Answer(200, data, content_type="application/octet-stream", piece=512, pause=0.002)

    index = peer.model.snapshots["host", "me", T1]["root.mpxar.didx"]
    peer.rule = rule
    result = restored(user, tmp_path)
    # The model did not see the download, so it does not allow the chunks: a protocol error, told as one.
    assert result.returncode == 1 and len(index) > 4096
    assert any("was not downloaded" in text for text in peer.model.breaches)
    peer.model.breaches.clear()


def test_replies_out_of_order(user: Client, peer: Peer, stored: Path, tmp_path: Path) -> None:
    """7.4: streams are independent; 48."""
    chance = random.Random(1)
    original = peer.model.chunks

    def rule(request: Request) -> Answer | None:
        if request.endpoint != "GET chunk":
            return None
        data = original[bytes.fromhex(request.query["digest"])]
        return Answer(200, data, content_type="application/octet-stream", delay=chance.random() * 0.05)

    peer.rule = rule
    check_restore(user, peer, stored, T1, tmp_path / "restored")


def test_more_than_one_chunk_is_asked_for_at_a_time(user: Client, peer: Peer, tree: Path, tmp_path: Path) -> None:
    """Bounded prefetch: 60 chunks that each take 50 ms come in far less than 3 s."""
    (tree / "big").write_bytes(noise("big", 5 << 20))
    good(user, peer, tree, T1)
    peer.manner.think = 0.05
    count = len(objects.read_dynamic(peer.model.snapshots["host", "me", T1]["root.ppxar.didx"]))
    assert count >= 50
    started = time.monotonic()
    check_restore(user, peer, tree, T1, tmp_path / "restored")
    assert time.monotonic() - started < count * 0.05 * 0.6


def test_group_stands_for_its_newest_finished_snapshot(user: Client, peer: Peer, tree: Path, tmp_path: Path) -> None:
    """49."""
    good(user, peer, tree, T1)
    (tree / "later").write_bytes(b"later")
    good(user, peer, tree, T2)
    peer.model.snapshots["host", "me", T2 + 1] = {}
    user.restore("host/me", tmp_path / "restored").check_ok()
    assert differences(scan(tree), scan(tmp_path / "restored")) == []


def test_some_numbers_of_chunks(user: Client, peer: Peer, tmp_path: Path) -> None:
    """48: sizes around chunk limits, duplicates among them."""
    for number, size in enumerate((0, 1, 4095, 65536, 262144, 1_000_000, 3_000_000)):
        tree = tmp_path / f"tree{number}"
        tree.mkdir()
        (tree / "a").write_bytes(noise("a", size))
        (tree / "b").write_bytes(noise("a", size))
        (tree / "zeros").write_bytes(bytes(size))
        at = T1 + number
        NAME_OF[at] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        good(user, peer, tree, at)
        check_restore(user, peer, tree, at, tmp_path / f"restored{number}")


@pytest.mark.parametrize("call", ["GET download", "GET chunk"])
@pytest.mark.parametrize("k", [1, 2])
def test_connection_ends_at_a_call(user: Client, peer: Peer, stored: Path, tmp_path: Path, call: str, k: int) -> None:
    """27."""
    peer.rule = only(call, Answer(cut=True), k)
    started = time.monotonic()
    said(restored(user, tmp_path))
    assert time.monotonic() - started < 15


def test_goaway_lets_running_requests_end(user: Client, peer: Peer, stored: Path, tmp_path: Path) -> None:
    """28: what was asked for arrives; what comes later is an error."""
    peer.manner.goaway_after = 2
    result = restored(user, tmp_path)
    if result.returncode:
        said(result)
    else:
        assert differences(scan(stored), scan(tmp_path / "restored")) == []


@pytest.mark.parametrize("command", [("verify",), ("snapshot", "files"), ("catalog", "dump"), ("analyze",)])
def test_other_commands(user: Client, peer: Peer, stored: Path, command: tuple[str, ...]) -> None:
    """The same words as with a directory."""
    result = user.run(*command, SNAPSHOT)
    result.check_ok()
    peer.settle()
    assert peer.model.breaches == [] and result.stdout


def test_listing(user: Client, peer: Peer, stored: Path) -> None:
    result = user.run("snapshot", "list", "--output-format", "json")
    assert SNAPSHOT in json.dumps(result.json()) or NAME_OF[T1] in result.text or str(T1) in result.text
    for answer in (
        Answer(200, b"{"), Answer(200, b'{"data":5}'), Answer(200, b'{"data":[5]}'), Answer(200, b'{"data":[{"backup-id":5}]}'),
        Answer(200, b"", endless=False), Answer(500, b"broken"), Answer(200, b'{"data":' + b"[" * 100000),
    ):  # fmt: skip
        peer.rule = only("GET admin/datastore/store1/snapshots", answer)
        result = user.run("snapshot", "list")
        assert result.returncode in (0, 1)
        if answer.body:
            said(result)


def test_forgetting(user: Client, peer: Peer, stored: Path) -> None:
    user.run("snapshot", "forget", SNAPSHOT).check_ok()
    assert ("host", "me", T1) not in peer.model.snapshots
    said(user.run("snapshot", "forget", SNAPSHOT))
