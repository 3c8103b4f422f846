"""wire/overheard.py and wire/tap.py: what was said on a line, and that the numbers of it do not depend on time."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import h2.config
import h2.connection
import pytest
from backup_tools import noise, settle, write_tree
from wire_tools import FULL, T0, T1, Client, Starts, make_base

from pxarbench_harness import run
from pxarbench_harness.wire import objects, overheard, whole
from pxarbench_harness.wire.objects import plain_chunk
from pxarbench_harness.wire.overheard import Conversation, Listener, counted
from pxarbench_harness.wire.spoken import Server
from pxarbench_harness.wire.tap import Tap

UPGRADE = (
    b"GET /api2/json/backup?backup-time=7&store=s HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n"
    b"Upgrade: proxmox-backup-protocol-v1\r\n\r\n"
)
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: proxmox-backup-protocol-v1\r\n\r\n"
ONE, TWO = plain_chunk(b"one chunk"), plain_chunk(b"another chunk")


# ---- bytes alone ----


def spoken() -> list[tuple[str, bytes]]:
    """A session between two ends of python3-h2: an index fetched, one created, a chunk, an append, an answer too early."""
    settings = {"header_encoding": "utf-8", "validate_outbound_headers": False, "normalize_outbound_headers": False}
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, **settings))
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, **settings))
    said: list[tuple[str, bytes]] = [("said", UPGRADE), ("answered", ACCEPTED)]

    def exchange() -> None:
        for one, other, way in ((client, server, "said"), (server, client, "answered")):
            data = one.data_to_send()
            if data:
                said.append((way, data))
                other.receive_data(data)

    client.initiate_connection()
    server.initiate_connection()
    exchange()
    index = objects.dynamic_index(objects.ends_of([ONE, TWO]))
    append = b'{"wid":3,"digest-list":["%s"],"offset-list":[0]}' % ONE.name.encode()
    calls: Sequence[tuple[str, str, bytes, int, bytes]] = [
        ("GET", "/previous?archive-name=root.ppxar.didx", b"", 200, index),
        ("POST", "/dynamic_index?archive-name=root.ppxar.didx", b"", 200, b'{"data":3}'),
        ("POST", f"/dynamic_chunk?{ONE.query(3)}", ONE.encoded, 200, b'{"data":"x"}'),
        ("PUT", "/dynamic_index", append, 200, b'{"data":null}'),
        ("POST", "/finish", b"", 400, b"no"),
    ]
    for method, path, body, status, answer in calls:
        stream = client.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "x"), (":path", path), ("x-long", "y" * 5000)]
        client.send_headers(stream, head, end_stream=not body)
        if body:
            client.send_data(stream, body[:5], pad_length=7)
            client.send_data(stream, body[5:], end_stream=True)
        exchange()
        server.send_headers(stream, [(":status", str(status))])
        for at in range(0, len(answer), 16000):
            server.send_data(stream, answer[at : at + 16000], end_stream=at + 16000 >= len(answer))
        exchange()
    return said


def heard(pieces: Sequence[tuple[str, bytes]]) -> Conversation:
    listener = Listener()
    for way, data in pieces:
        getattr(listener, way)(data)
    return listener.heard


def test_what_was_said_is_understood_in_pieces_of_any_size() -> None:
    said = spoken()
    all_at_once = heard(said)
    assert all_at_once.lost == "" and (all_at_once.kind, all_at_once.time, all_at_once.heads) == ("backup", "7", 1)
    assert [(call.name, call.status) for call in all_at_once.calls] == [
        ("GET /api2/json/backup", 101), ("GET previous", 200), ("POST dynamic_index", 200), ("POST dynamic_chunk", 200),
        ("PUT dynamic_index", 200), ("POST finish", 400),
    ]  # fmt: skip
    _, index, created, chunk, append, _ = all_at_once.calls
    assert index.digests == [ONE.name, TWO.name] and created.wid == "3" and chunk.size == len(ONE.encoded)
    assert (append.entries, append.parameters["wid"]) == (1, "3")
    for size in (1, 7, 100):
        pieces = [(way, data[at : at + size]) for way, data in said for at in range(0, len(data), size)]
        assert heard(pieces) == all_at_once
    assert Conversation.of_json(all_at_once.to_json()) == all_at_once
    numbers = counted([all_at_once])
    assert {name: number for name, number in numbers.items() if number} == {
        "connections": 1, "calls": 4, "refused": 1, "index_downloads": 1, "uploads": 1, "uploads_known": 1,
        "payload_uploads": 1, "payload_upload_bytes": len(ONE.raw), "payload_entries": 1,
    }  # fmt: skip


def test_nothing_makes_a_listener_fail() -> None:
    """Cut off, swapped and turned: it stops to understand at most."""
    said = spoken()
    draw = random.Random(1)
    for _ in range(300):
        pieces = list(said[: draw.randrange(1, len(said) + 1)])
        at = draw.randrange(len(pieces))
        way, data = pieces[at]
        turned = bytearray(data)
        for _ in range(draw.randrange(1, 4)):
            turned[draw.randrange(len(turned))] ^= 1 << draw.randrange(8)
        pieces[at] = (way, bytes(turned))
        heard(pieces)
    assert heard([("said", b"\x00" * 5 + b"\r\n\r\n")]).lost
    assert heard([("said", b"x" * (overheard.HEAD_MAX + 5))]).lost == "a head without end"
    assert heard([("said", b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n")]).lost == "content-length -1"


# ---- a line ----


def tapped(server: Server, folder: Path) -> Tap:
    return Tap(server.port, server.datastore / ".pxarbench", folder / "heard.jsonl")


def test_clients_cannot_tell(server: Server, tmp_path: Path) -> None:
    """The transcript's sessions through it: a chunk of another session, and a session that is given up."""
    make_base(server)
    with tapped(server, tmp_path) as tap:
        mark = tap.log.mark()
        real, server.port = server.port, tap.port
        try:
            session = server.backup(T1)
            assert session.get("/previous_backup_time").data == T0
            whole.index(session, "root.mpxar.didx", [ONE])
            session.close()
            (given_up,) = tap.log.since(mark)
            mark = tap.log.mark()
            with server.line() as line:
                assert line.exchange("GET", "/api2/json/version", headers=server.setup.accounts[0].headers).status == 200
        finally:
            server.port = real
        (plain,) = tap.log.since(mark)
    assert given_up.kind == "backup" and given_up.lost == ""
    assert [call.name for call in given_up.calls][1:] == [
        "GET previous_backup_time", "POST dynamic_index", "POST dynamic_chunk", "PUT dynamic_index", "POST dynamic_close",
    ]  # fmt: skip
    assert (plain.kind, plain.heads, plain.lost) == ("", 1, "")
    server.wait_gone(server.snapshot(T1))


# ---- numbers ----


def grown(tree: Path) -> Path:
    """Thirty files of their own and four that are copies of one: chunks that come twice."""
    write_tree(tree, files=30, size=50_000)
    for number in range(4):
        (tree / f"copy{number}").write_bytes(noise("copied", 400_000))
    settle(tree)
    return tree


Numbers = dict[str, dict[str, int]]


def numbers_of(program: Path, server: Server, tree: Path, scratch: Path, change: Callable[[], None]) -> Numbers:
    """Of a first run, an unchanged one, a restore of it, one after `change`."""
    found: Numbers = {}
    scratch.mkdir()
    with tapped(server, scratch) as tap:
        client = Client(program, server.repository(port=tap.port), server.environment(), scratch)

        def listened(name: str, command: Callable[[], object]) -> None:
            mark = tap.log.mark()
            command()
            found[name] = counted(tap.log.since(mark))

        for number, (name, mode) in enumerate(
            [("first", "data"), ("unchanged data", "data"), ("unchanged metadata", "metadata"), ("edited", "metadata")]
        ):
            if name == "edited":
                change()
            listened(name, lambda at=T1 + number, mode=mode: client.backup(tree, at, mode=mode)[0].check_ok())  # type: ignore[misc]
        listened("restore", lambda: client.restore("host/me", scratch / "back").check_ok())
    return found


#: What cannot be missed, whatever else the numbers are.
NONE = (
    "refused", "unanswered", "index_downloads_again", "file_downloads_again", "uploads_known", "uploads_again", "chunks_again",
    "metadata_chunks_left", "chunks_not_listed", "not_understood",
)  # fmt: skip

#: How a server and its line can be: what was heard is equal on all of them.
WAYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "near": ((), ()),
    "30 ms": (("--latency", "30ms"), ()),
    "one stream at a time": ((), ("streams=1",)),
    "tiny windows": ((), ("stream-window=65535", "connection-window=65535")),
    "narrow and late": (("--latency", "5ms", "--bandwidth", "50"), ("streams=2",)),
    "late answers": ((), ("delay-call=PUT dynamic_index", "delay-call-by=20ms")),
}


def test_numbers_do_not_depend_on_time(pxarbench: Path, starts: Starts, tmp_path: Path) -> None:
    """Beside each other on a busy machine, too: PXB_WIRE=full makes twenty runs of it."""
    tries = [*WAYS] if not FULL else [name for _ in range(4) for name in WAYS][:20]
    spin, quiet = [sys.executable, "-c", "while True: pass"], tmp_path / "said"
    busy = [run.Background(spin, stdout=quiet, stderr=quiet) for _ in range(2 * (os.cpu_count() or 1) if FULL else 0)]
    first: Numbers | None = None
    try:
        for number, name in enumerate(tries):
            words, faults = WAYS[name]
            server, tree = starts(*words, faults=faults), grown(tmp_path / f"tree{number}")

            def change(tree: Path = tree) -> None:
                (tree / "d2" / "f05").write_bytes(noise("changed", 60_000))
                settle(tree)

            made = numbers_of(pxarbench, server, tree, tmp_path / f"run{number}", change)
            server.close()
            first = first or made
            assert made == first, name
    finally:
        for one in busy:
            one.kill()
    assert first is not None
    for step, numbers in first.items():
        # A restore fetches a chunk as often as the index lists it: what the copies share comes four times.
        expected = {**dict.fromkeys(NONE, 0), **({"chunks_again": numbers["chunks_again"]} if step == "restore" else {})}
        assert {name: numbers[name] for name in NONE} == expected, step
    assert first["first"]["index_downloads"] == 0 and first["first"]["payload_uploads"] > 5
    assert first["unchanged data"]["uploads"] == 0
    # Where the payload begins and ends are chunks of their own: 16 bytes each.
    assert first["unchanged metadata"]["payload_upload_bytes"] == 32
    assert first["unchanged data"]["connections"] == 1 and first["unchanged data"]["chunks"] == 0
    assert first["unchanged metadata"]["connections"] == 2 and first["unchanged metadata"]["payload_chunks"] == 0
    assert first["edited"]["payload_upload_bytes"] == 60_016
    assert first["restore"]["uploads"] == 0 and first["restore"]["payload_chunks"] == first["edited"]["payload_entries"]
