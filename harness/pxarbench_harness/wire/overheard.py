"""What is said on a connection, understood from its bytes alone: the requests of a session, and what was answered.

Pure: bytes of both directions go in, in pieces of any size; a Conversation comes out. Nothing is refused: what makes no sense ends
the listening (`Conversation.lost`), not the connection. `counted` makes numbers of conversations that do not depend on time: how
requests overlap, how appends are cut and how long anything took is not among them.
Source: bench/spec/protocol.md 7, 8, 10.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import hpack

from . import objects

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, CONTINUATION = 0, 1, 3, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY = 0x1, 0x4, 0x8, 0x20

#: Heads of HTTP/1.1, and header blocks.
HEAD_MAX = 1 << 20
#: Of a body that is looked into: appends and indexes.
BODY_MAX = 64 << 20


@dataclass
class Call:
    """A request of a session, or one of HTTP/1.1."""

    name: str  # "POST dynamic_chunk"
    parameters: dict[str, str] = field(default_factory=dict)
    status: int = 0  # 0: there was no answer
    size: int = 0  # bytes of the request's body
    entries: int = 0  # of an append
    digests: list[str] = field(default_factory=list)  # of an index that was fetched
    wid: str = ""  # of an index that was created


@dataclass
class Conversation:
    """All of one connection."""

    kind: str = ""  # "backup", "reader"; "": no session
    time: str = ""  # backup-time of the session's snapshot
    heads: int = 0  # requests of HTTP/1.1, upgrades among them
    calls: list[Call] = field(default_factory=list)  # in the order they were made
    lost: str = ""  # why nothing more was understood

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Conversation:
        return cls(**{**value, "calls": [Call(**call) for call in value["calls"]]})


class _Lost(Exception):
    """The bytes make no sense."""


class _Frames:
    """HTTP/2 in one direction: what of it belongs to streams."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._hpack = hpack.Decoder(max_header_list_size=HEAD_MAX)
        self._block: tuple[int, int, bytearray] | None = None  # stream and flags of HEADERS that go on

    def take(self, data: bytes) -> Iterable[tuple[int, dict[str, str] | bytes | None, bool]]:
        """(stream, headers or a piece of the body or None for a reset, whether it ended)."""
        self._bytes += data
        at = 0
        while len(self._bytes) - at >= 9:
            size = int.from_bytes(self._bytes[at : at + 3], "big")
            if len(self._bytes) - at - 9 < size:
                break
            kind, flags = self._bytes[at + 3], self._bytes[at + 4]
            stream = int.from_bytes(self._bytes[at + 5 : at + 9], "big") & 0x7FFFFFFF
            payload = bytes(self._bytes[at + 9 : at + 9 + size])
            at += 9 + size
            yield from self._frame(kind, flags, stream, payload)
        del self._bytes[:at]

    def _frame(
        self, kind: int, flags: int, stream: int, payload: bytes
    ) -> Iterable[tuple[int, dict[str, str] | bytes | None, bool]]:
        if kind == RESET:
            yield stream, None, True
        elif kind == DATA:
            yield stream, _unpadded(flags, payload), bool(flags & END_STREAM)
        elif kind == HEADERS:
            content = _unpadded(flags, payload)
            self._block = stream, flags, bytearray(content[5:] if flags & PRIORITY else content)
        elif kind == CONTINUATION and self._block is not None:
            self._block[2].extend(payload)
        if kind in (HEADERS, CONTINUATION) and flags & END_HEADERS and self._block is not None:
            stream, first_flags, block = self._block
            self._block = None
            try:
                yield stream, dict(self._hpack.decode(bytes(block))), bool(first_flags & END_STREAM)
            except (hpack.HPACKError, UnicodeDecodeError) as error:
                raise _Lost(f"headers: {error}") from None
        if self._block is not None and len(self._block[2]) > HEAD_MAX:
            raise _Lost("headers without end")


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise _Lost("padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]


@dataclass
class _Stream:
    call: Call
    asked: bytearray = field(default_factory=bytearray)  # body of an append
    answered: bytearray = field(default_factory=bytearray)  # an index, or the number of one

    @property
    def is_index(self) -> bool:
        name = self.call.parameters.get("archive-name") or self.call.parameters.get("file-name") or ""
        return self.call.name in ("GET previous", "GET download") and name.endswith(".didx")


class Listener:
    """Of one connection. The bytes of a direction come in order; an answer's behind those it answers."""

    def __init__(self) -> None:
        self.heard = Conversation()
        self._client, self._server = bytearray(), bytearray()
        self._upgrades: Call | None = None  # asked for, and not answered yet
        self._skips = 0  # bytes of a body of HTTP/1.1
        self._opaque = False  # answers of HTTP/1.1 that are not looked into
        self._requests: _Frames | None = None
        self._answers: _Frames | None = None
        self._greeting = len(PREFACE)  # bytes of it that are to come
        self._streams: dict[int, _Stream] = {}

    def said(self, data: bytes) -> None:
        """By the client."""
        self._understand(self._requested, data)

    def answered(self, data: bytes) -> None:
        """By the server."""
        self._understand(self._replied, data)

    def _understand(self, what: Any, data: bytes) -> None:
        if self.heard.lost:
            return
        try:
            what(data)
        except _Lost as error:
            self.heard.lost = str(error) or "bytes that make no sense"

    # ---- HTTP/1.1 ----

    def _requested(self, data: bytes) -> None:
        if self._requests is not None:
            self._asked(data)
            return
        self._client += data
        while self._upgrades is None:
            skipped = min(self._skips, len(self._client))
            del self._client[:skipped]
            self._skips -= skipped
            head = None if self._skips else _head(self._client)
            if head is None:
                return
            (method, target, *_), headers = head
            self.heard.heads += 1
            path, _, query = target.partition("?")
            call = Call(f"{method} {path}", dict(parse_qsl(query, keep_blank_values=True)))
            self._skips = _length(headers)
            if "upgrade" in headers:
                self._upgrades = call
            self.heard.calls.append(call)

    def _replied(self, data: bytes) -> None:
        if self._answers is not None:
            self._told(data)
            return
        if self._opaque:
            return
        self._server += data
        if self._upgrades is None:
            # Plain calls: who asked knows what the answer was.
            self._opaque = True
            return
        head = _head(self._server)
        if head is None:
            return
        (_, status, *_), _headers = head
        self._upgrades.status = int(status) if status.isdecimal() else 0
        if self._upgrades.status != 101:
            self._opaque = True
            return
        target = self._upgrades.name
        self.heard.kind = {"/api2/json/backup": "backup", "/api2/json/reader": "reader"}.get(target.partition(" ")[2], target)
        self.heard.time = self._upgrades.parameters.get("backup-time", "")
        self._requests, self._answers = _Frames(), _Frames()
        early, late = bytes(self._client), bytes(self._server)
        self._client.clear()
        self._server.clear()
        self._asked(early)
        self._told(late)

    # ---- HTTP/2 ----

    def _asked(self, data: bytes) -> None:
        assert self._requests is not None
        if self._greeting:
            self._greeting, data = max(0, self._greeting - len(data)), data[self._greeting :]
        for number, what, ends in self._requests.take(data):
            if isinstance(what, dict):
                path, _, query = what.get(":path", "").partition("?")
                call = Call(f"{what.get(':method')} {path.strip('/')}", dict(parse_qsl(query, keep_blank_values=True)))
                self._streams[number] = _Stream(call)
                self.heard.calls.append(call)
            stream = self._streams.get(number)
            if stream is None or what is None:
                continue
            if isinstance(what, bytes):
                stream.call.size += len(what)
                if stream.call.name == "PUT dynamic_index":
                    _keep(stream.asked, what)
            if ends and stream.asked:
                self._append(stream)

    @staticmethod
    def _append(stream: _Stream) -> None:
        try:
            body = json.loads(stream.asked)
            stream.call.entries = len(body["digest-list"])
            stream.call.parameters["wid"] = str(body["wid"])
        except (ValueError, KeyError, TypeError):
            raise _Lost("an append that is no JSON object with its lists") from None
        stream.asked.clear()

    def _told(self, data: bytes) -> None:
        assert self._answers is not None
        for number, what, ends in self._answers.take(data):
            stream = self._streams.get(number)
            if stream is None:
                continue
            if isinstance(what, dict) and ":status" in what:
                stream.call.status = int(what[":status"])
            elif isinstance(what, bytes) and (stream.is_index or stream.call.name == "POST dynamic_index"):
                _keep(stream.answered, what)
            if ends:
                self._streams.pop(number)
                if what is not None and stream.call.status == 200:
                    _look_into(stream)


def _keep(into: bytearray, data: bytes) -> None:
    if len(into) + len(data) > BODY_MAX:
        raise _Lost(f"a body of more than {BODY_MAX} bytes")
    into += data


def _look_into(stream: _Stream) -> None:
    try:
        if stream.is_index:
            stream.call.digests = [digest.hex() for _, digest in objects.read_dynamic(bytes(stream.answered))]
        elif stream.call.name == "POST dynamic_index":
            stream.call.wid = str(json.loads(stream.answered)["data"])
    except (ValueError, KeyError, TypeError, objects.Broken):
        raise _Lost(f"{stream.call.name}: an answer that makes no sense") from None


def _head(data: bytearray) -> tuple[list[str], dict[str, str]] | None:
    """Takes the head of a message away: the words of its first line, and its headers. None: it is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > HEAD_MAX:
            raise _Lost("a head without end")
        return None
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    del data[: end + 4]
    words = first.split(" ", 2)
    if len(words) < 3:
        raise _Lost(f"not HTTP: {first[:80]!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return words, headers


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not text.isdecimal() or len(text) > 15:
        raise _Lost(f"content-length {text[:40]}")
    return int(text)


# ---- numbers ----

#: Their number hangs on sizes and on how they were cut: they are counted by what they carry.
_BY_CONTENT = frozenset({"POST dynamic_chunk", "PUT dynamic_index", "GET chunk"})
PAYLOAD, METADATA = ".ppxar.didx", ".mpxar.didx"


def _archive(call: Call) -> str:
    return call.parameters.get("archive-name") or call.parameters.get("file-name") or ""


def _again(digests: Sequence[str]) -> int:
    return len(digests) - len(set(digests))


def counted(heard: Sequence[Conversation]) -> dict[str, int]:
    """Of one command. What hangs on owners, which the metadata stream holds, is told as a difference to what had to be."""
    sessions = [(one, call) for one in heard for call in one.calls]
    #: (session, call, name of the file)
    fetched = [
        (number, call, _archive(call)) for number, one in enumerate(heard) for call in one.calls
        if call.name in ("GET previous", "GET download")
    ]  # fmt: skip
    indexes = [(call, name) for _, call, name in fetched if name.endswith(".didx")]
    names = [f"{number} {name}" for number, _, name in fetched]
    #: What the server said it has, in the session that could refer to it.
    told = {digest for call, _ in indexes if call.name == "GET previous" for digest in call.digests}
    listed = {kind: {d for call, name in indexes if name.endswith(kind) for d in call.digests} for kind in (PAYLOAD, METADATA)}
    by_wid = {call.wid: _archive(call) for _, call in sessions if call.name == "POST dynamic_index"}
    uploads = [call for _, call in sessions if call.name == "POST dynamic_chunk"]
    appends = [call for _, call in sessions if call.name == "PUT dynamic_index"]
    chunks = [call.parameters.get("digest", "") for _, call in sessions if call.name == "GET chunk"]

    def of_payload(call: Call) -> bool:
        return by_wid.get(call.parameters.get("wid", ""), "").endswith(PAYLOAD)

    uploaded = [call.parameters.get("digest", "") for call in uploads]
    return {
        "connections": len(heard),
        "calls": sum(call.name not in _BY_CONTENT for _, call in sessions),
        "refused": sum(call.status >= 400 for _, call in sessions),
        "unanswered": sum(call.status == 0 and one.kind != "" for one, call in sessions),
        "index_downloads": len(indexes),
        # In one session: a metadata run asks for an index in both of its own, so that each knows its chunks.
        "index_downloads_again": _again([name for name in names if name.endswith(".didx")]),
        "file_downloads_again": _again([name for name in names if not name.endswith(".didx")]),
        "uploads": len(uploads),
        "uploads_known": sum(digest in told for digest in uploaded),
        "uploads_again": _again(uploaded),
        "payload_uploads": sum(map(of_payload, uploads)),
        "payload_upload_bytes": sum(int(call.parameters.get("size", "0")) for call in uploads if of_payload(call)),
        "payload_entries": sum(call.entries for call in appends if of_payload(call)),
        "chunks": len(chunks),
        "chunks_again": _again(chunks),
        "payload_chunks": sum(digest in listed[PAYLOAD] - listed[METADATA] for digest in chunks),
        "metadata_chunks_left": len(listed[METADATA] - set(chunks)) if chunks else 0,
        "chunks_not_listed": len(set(chunks) - listed[METADATA] - listed[PAYLOAD]),
        "not_understood": sum(bool(one.lost) for one in heard),
    }


def named(heard: Sequence[Conversation]) -> dict[str, int]:
    """How often each call was made: for people, and to see what differs."""
    return dict(sorted(Counter(call.name for one in heard for call in one.calls).items()))
