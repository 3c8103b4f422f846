"""What a snapshot holds, read without the program: indexes, blobs, both streams of an archive.

From bench/spec/datastore.md and pxar.md. Only what the trees of this folder need: no ACLs, devices, flags, exclude patterns.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..tree import KINDS, Entry

DIDX_MAGIC = bytes.fromhex("1c914ea519bab3cd")
BLOB_MAGIC = bytes.fromhex("42ab3807be8370a1")
BLOB_ZSTD_MAGIC = bytes.fromhex("31b958426fb6a37f")

FORMAT_VERSION, PRELUDE = 0x730F6C75DF16A40D, 0xE309D79D9F7B771B
ENTRY, FILENAME, XATTR = 0xD5956474E588ACEF, 0x16701121063917B3, 0x0DAB0229B57DCD03
PAYLOAD, PAYLOAD_REF, SYMLINK = 0x28147A1B0B7C1A25, 0x419D3D6BC4BA977E, 0x27F971E7DBF5DC5F
HARDLINK, GOODBYE = 0x51269C8422BD7275, 0x2FEC4FA642D5731D
START_MARKER = struct.pack("<QQ", 0x834C68C2194A4ED2, 16)
TAIL_MARKER = struct.pack("<QQ", 0x6C72B78B984C81B5, 16)
BLOB_MAX = 16 << 20

Index = list[tuple[int, bytes]]  # (end, digest)


class Broken(Exception):
    """What was stored is not what the format says."""


def need(condition: bool, text: str, *values: object) -> None:
    if not condition:
        raise Broken(text.format(*values))


# ---- files of a store ----


@lru_cache(maxsize=1)
def _zstd() -> ctypes.CDLL:
    library = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
    library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    library.ZSTD_isError.argtypes = [ctypes.c_size_t]
    library.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
    library.ZSTD_getFrameContentSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library


def _decompress(data: bytes) -> bytes:
    library = _zstd()
    told = library.ZSTD_getFrameContentSize(data, len(data))
    size = told if told <= BLOB_MAX else BLOB_MAX  # unknown and error are the two greatest numbers
    out = ctypes.create_string_buffer(size or 1)
    done = library.ZSTD_decompress(out, size, data, len(data))
    need(not library.ZSTD_isError(done), "a blob cannot be decompressed")
    return out.raw[:done]


def blob_content(data: bytes) -> bytes:
    need(len(data) >= 12 and struct.unpack_from("<I", data, 8)[0] == zlib.crc32(data[12:]), "a blob has a wrong checksum")
    if data[:8] == BLOB_MAGIC:
        return data[12:]
    need(data[:8] == BLOB_ZSTD_MAGIC, "a blob begins with {}", data[:8].hex())
    return _decompress(data[12:])


def read_index(path: Path) -> tuple[Index, str]:
    """The entries, and their checksum, which must be the header's."""
    data = path.read_bytes()
    need(data[:8] == DIDX_MAGIC and len(data) >= 4096 and (len(data) - 4096) % 40 == 0, "{} is no index", path.name)
    body = data[4096:]
    csum = hashlib.sha256(body)
    need(csum.digest() == data[32:64], "{}: the header has another checksum than the entries", path.name)
    index = list(struct.iter_unpack("<Q32s", body))
    ends = [end for end, _ in index]
    need(all(a < b for a, b in zip([0, *ends], ends)), "{}: ends do not grow: {}", path.name, ends)  # noqa: B905
    return index, csum.hexdigest()


class Chunks:
    """The chunks of a store. Those named in `keep` are read once, the others each time: a run may have written them."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.known: dict[bytes, bytes] = {}

    def path(self, digest: bytes) -> Path:
        text = digest.hex()
        return self.store / ".chunks" / text[:4] / text

    def read(self, digest: bytes) -> bytes:
        content = self.known.get(digest)
        if content is None:
            content = blob_content(self.path(digest).read_bytes())
            need(hashlib.sha256(content).digest() == digest, "chunk {} holds something else", digest.hex())
        return content

    def keep(self, index: Index) -> None:
        for _, digest in index:
            self.known[digest] = self.read(digest)

    def stream(self, index: Index) -> bytes:
        parts, start = [], 0
        for end, digest in index:
            part = self.read(digest)
            need(len(part) == end - start, "the index has {} bytes for a chunk of {}", end - start, len(part))
            parts.append(part)
            start = end
        return b"".join(parts)


# ---- a snapshot ----


@dataclass(frozen=True)
class Snapshot:
    payload_index: Index
    payload_csum: str
    metadata: bytes
    payload: bytes
    digests: frozenset[bytes]  # of all chunks


def read_snapshot(folder: Path, name: str, chunks: Chunks) -> Snapshot:
    """Everything that the manifest lists, which must be the two streams of archive `name`."""
    manifest: Any = json.loads(blob_content((folder / "index.json.blob").read_bytes()))
    listed = [file["filename"] for file in manifest["files"]]
    need(listed == [f"{name}.ppxar.didx", f"{name}.mpxar.didx"], "the manifest lists {}", listed)
    read = []
    for file in manifest["files"]:
        index, csum = read_index(folder / file["filename"])
        need(csum == file["csum"], "{}: the manifest has another checksum", file["filename"])
        size = index[-1][0] if index else 0
        need(size == file["size"], "{}: the manifest has {} bytes, the index {}", file["filename"], file["size"], size)
        read.append((index, csum))
    (payload_index, payload_csum), (metadata_index, _) = read
    return Snapshot(
        payload_index, payload_csum, chunks.stream(metadata_index), chunks.stream(payload_index),
        frozenset(digest for index, _ in read for _, digest in index),
    )  # fmt: skip


# ---- an archive ----


@dataclass(frozen=True)
class Stored:
    """One name of an archive. Files have a place in the payload stream; later names do not."""

    entry: Entry
    offset: int | None  # of the payload header


@dataclass
class _Open:
    path: bytes
    start: int  # of its ENTRY
    rows: list[tuple[int, int]]  # (offset of FILENAME, offset behind the member)


def _items(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(data):
        need(at + 16 <= len(data), "a header is cut off at {}", at)
        kind, size = struct.unpack_from("<QQ", data, at)
        need(16 <= size <= len(data) - at, "an item of {} bytes at {}", size, at)
        yield at, kind, data[at + 16 : at + size]
        at += size


def _text(content: bytes) -> bytes:
    need(content[-1:] == b"\0" and content.count(b"\0") == 1, "a text without its end: {!r}", content)
    return content[:-1]


def read_archive(metadata: bytes, payload: bytes, digest: Callable[[bytes], str]) -> dict[bytes, Stored]:
    """All entries in archive order, the root under b".". Directory tables are looked at for their number of rows and
    where each member begins. `digest`: SHA-256 of a file's contents."""
    found: dict[bytes, Stored] = {}
    begun: dict[int, bytes] = {}  # offset of a FILENAME -> path
    open_: list[_Open] = []
    path, named_at, head, xattrs = b".", 0, b"", []
    size = len(payload)
    need(payload[:16] == START_MARKER and payload[size - 16 :] == TAIL_MARKER, "the payload stream lacks a marker")

    def put(offset: int | None = None, **values: Any) -> None:
        mode, _, uid, gid, seconds, nanos, _ = struct.unpack("<QQIIqII", head)
        kind = KINDS.get(mode & 0o170000, "")
        need(bool(kind) and path not in found, "{!r}: mode {:o}, or twice", path, mode)
        values.setdefault("size", 0)
        found[path] = Stored(
            Entry(path, kind, mode & 0o7777, uid, gid, seconds * 10**9 + nanos, xattrs=tuple(sorted(xattrs)), **values),
            offset,
        )  # fmt: skip

    def finish_member(end: int) -> None:
        """A FIFO has no last item: its end is the next name or table."""
        nonlocal head
        if head:
            mode = struct.unpack_from("<Q", head)[0]
            if mode & 0o170000 == 0o040000:
                put()
                open_.append(_Open(path, begun_entry, []))
            else:
                need(mode & 0o170000 == 0o010000, "{!r} ends without contents", path)
                put()
                close_row(end)
            head = b""

    def close_row(end: int) -> None:
        open_[-1].rows.append((named_at, end))

    begun_entry = 0
    done = False
    for at, kind, content in _items(metadata):
        end = at + 16 + len(content)
        need(not done, "something stands behind the end, at {}", at)
        if kind == FORMAT_VERSION:
            need(at == 0 and content == struct.pack("<Q", 2), "a version at {}", at)
        elif kind == PRELUDE:
            need(at == 24, "a prelude at {}", at)
        elif kind == ENTRY:
            need(not head, "two entries for {!r}", path)
            head, xattrs, begun_entry = content, [], at
        elif kind == XATTR:
            name, _, value = content.partition(b"\0")
            xattrs.append((name.decode(), value))
        elif kind == FILENAME:
            finish_member(at)
            name = _text(content)
            need(bool(open_) and bool(name) and b"/" not in name, "a name {!r} at {}", name, at)
            folder = open_[-1].path
            path, named_at = name if folder == b"." else folder + b"/" + name, at
            begun[at] = path
        elif kind == PAYLOAD_REF:
            offset, length = struct.unpack("<QQ", content)
            need(16 <= offset and offset + 16 + length <= size - 16, "{!r}: {} + {} of {}", path, offset, length, size)
            header = payload[offset : offset + 16]
            need(header == struct.pack("<QQ", PAYLOAD, 16 + length), "{!r}: no header of its size at {}", path, offset)
            put(offset, size=length, digest=digest(payload[offset + 16 : offset + 16 + length]))
            head = b""
            close_row(end)
        elif kind == SYMLINK:
            put(target=_text(content))
            head = b""
            close_row(end)
        elif kind == HARDLINK:
            need(not head, "{!r} has attributes and is a hardlink", path)
            (distance,) = struct.unpack_from("<Q", content)
            target = _text(content[8:])
            need(begun.get(named_at - distance) == target, "{!r}: {} before is not {!r}", path, distance, target)
            first = found[target].entry
            need(first.kind == "file" and not first.link_to, "{!r} links to {!r}", path, target)
            found[path] = Stored(
                Entry(path, "file", first.mode, first.uid, first.gid, first.mtime_ns, first.size, link_to=target,
                      xattrs=first.xattrs, digest=first.digest), None,
            )  # fmt: skip
            close_row(end)
        elif kind == GOODBYE:
            finish_member(at)
            need(bool(open_), "a table at {} without directory", at)
            folder_open = open_.pop()
            rows = list(struct.iter_unpack("<QQQ", content))
            need(len(rows) == len(folder_open.rows) + 1, "{!r}: a table of {} rows", folder_open.path, len(rows))
            begins = sorted(at - offset for _, offset, _ in rows[:-1])
            need(begins == sorted(begin for begin, _ in folder_open.rows), "{!r}: rows lead elsewhere", folder_open.path)
            if open_:
                need(rows[-1][1] == at - folder_open.start, "{!r}: its tail leads elsewhere", folder_open.path)
                # The member is the directory itself: its row begins at its name.
                path = folder_open.path
                named_at = max(begin for begin, name in begun.items() if name == path)
                close_row(end)
            else:
                need(rows[-1][1] == at, "the root's tail leads to {}", rows[-1][1])
                done = True
        else:
            raise Broken(f"an item {kind:#x} at {at}")
    need(done, "the archive has no end")
    return found
