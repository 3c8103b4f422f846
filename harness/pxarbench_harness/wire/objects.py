"""What travels: data blobs, indexes and manifests, made and read by hand. Source: bench/spec/protocol.md 12."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

PLAIN = bytes.fromhex("42ab3807be8370a1")
ZSTD = bytes.fromhex("31b958426fb6a37f")
ENCRYPTED = bytes.fromhex("7b6785be222d4cf0")
ENCRYPTED_ZSTD = bytes.fromhex("e6591bbf0bbfd80b")
DYNAMIC = bytes.fromhex("1c914ea519bab3cd")
FIXED = bytes.fromhex("2f7f41ed91fd0fcd")

HEADER = 4096
FIXED_CHUNK = 4 << 20
DECODED_MAX = 128 << 20

Entry = tuple[int, bytes]  # end, digest


class Broken(Exception):
    """Bytes that are not what the specification says they are."""


# ---- data blobs ----


def sealed(magic: bytes, content: bytes, *, crc: int | None = None) -> bytes:
    """An unencrypted blob; `crc`: a wrong one."""
    return magic + struct.pack("<I", zlib.crc32(content) if crc is None else crc) + content


def blob(content: bytes, *, crc: int | None = None) -> bytes:
    return sealed(PLAIN, content, crc=crc)


def zstd_blob(content: bytes, *, crc: int | None = None) -> bytes:
    return sealed(ZSTD, zstd_frame(content), crc=crc)


def encrypted_blob(ciphertext: bytes, *, magic: bytes = ENCRYPTED) -> bytes:
    """Nobody can open it: IV and tag are zeros."""
    return magic + struct.pack("<I", zlib.crc32(ciphertext)) + bytes(32) + ciphertext


def opened(data: bytes, *, checks_crc: bool = True) -> bytes:
    """The contents of an unencrypted blob."""
    if len(data) < 12:
        raise Broken(f"a blob of {len(data)} bytes")
    magic, crc, content = data[:8], struct.unpack_from("<I", data, 8)[0], data[12:]
    if magic not in (PLAIN, ZSTD):
        raise Broken(f"a blob begins with {magic.hex()}")
    if checks_crc and crc != zlib.crc32(content):
        raise Broken("a blob has a wrong checksum")
    return content if magic == PLAIN else zstd_content(content)


@lru_cache(maxsize=1)
def _zstd() -> ctypes.CDLL:
    library = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
    size, text = ctypes.c_size_t, ctypes.c_char_p
    library.ZSTD_compressBound.restype = library.ZSTD_compress.restype = library.ZSTD_decompress.restype = size
    library.ZSTD_compressBound.argtypes = [size]
    library.ZSTD_compress.argtypes = [text, size, text, size, ctypes.c_int]
    library.ZSTD_decompress.argtypes = [text, size, text, size]
    library.ZSTD_isError.argtypes = [size]
    library.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
    library.ZSTD_getFrameContentSize.argtypes = [text, size]
    return library


def zstd_frame(content: bytes, level: int = 1) -> bytes:
    library = _zstd()
    bound = library.ZSTD_compressBound(len(content))
    out = ctypes.create_string_buffer(bound or 1)
    size = library.ZSTD_compress(out, bound, content, len(content), level)
    if library.ZSTD_isError(size):
        raise Broken("cannot be compressed")
    return out.raw[:size]


def zstd_content(data: bytes) -> bytes:
    library = _zstd()
    told = library.ZSTD_getFrameContentSize(data, len(data))
    room = told if told <= DECODED_MAX else DECODED_MAX  # unknown and error are the two greatest numbers
    out = ctypes.create_string_buffer(room or 1)
    size = library.ZSTD_decompress(out, room, data, len(data))
    if library.ZSTD_isError(size):
        raise Broken("a blob cannot be decompressed")
    return out.raw[:size]


# ---- chunks and indexes ----


@dataclass(frozen=True)
class Chunk:
    raw: bytes
    encoded: bytes

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.raw).digest()

    @property
    def name(self) -> str:
        return self.digest.hex()

    def query(self, wid: int, **other: object) -> str:
        """Parameters of an upload; `other` replaces or, with None, leaves out."""
        values: dict[str, object] = {
            "digest": self.name, "encoded-size": len(self.encoded), "size": len(self.raw), "wid": wid,
        }  # fmt: skip
        values.update({name.replace("_", "-"): value for name, value in other.items()})
        return "&".join(f"{name}={value}" for name, value in values.items() if value is not None)


def plain_chunk(raw: bytes) -> Chunk:
    return Chunk(raw, blob(raw))


def ends_of(chunks: Sequence[Chunk]) -> list[Entry]:
    entries, end = [], 0
    for chunk in chunks:
        end += len(chunk.raw)
        entries.append((end, chunk.digest))
    return entries


def dynamic_body(entries: Sequence[Entry]) -> bytes:
    return b"".join(struct.pack("<Q32s", end, digest) for end, digest in entries)


def dynamic_csum(entries: Sequence[Entry]) -> str:
    return hashlib.sha256(dynamic_body(entries)).hexdigest()


def dynamic_index(entries: Sequence[Entry], *, ctime: int = 1_700_000_000, uuid: bytes = bytes(16)) -> bytes:
    body = dynamic_body(entries)
    header = DYNAMIC + uuid + struct.pack("<q", ctime) + hashlib.sha256(body).digest()
    return header.ljust(HEADER, b"\0") + body


def read_dynamic(data: bytes) -> list[Entry]:
    """Everything that the header must say is checked."""
    if data[:8] != DYNAMIC or len(data) < HEADER or (len(data) - HEADER) % 40:
        raise Broken("no dynamic index")
    body = data[HEADER:]
    if hashlib.sha256(body).digest() != data[32:64]:
        raise Broken("a dynamic index has another checksum than its entries")
    if any(data[64:HEADER]):
        raise Broken("bytes where a dynamic index has zeros")
    return list(struct.iter_unpack("<Q32s", body))


def fixed_csum(digests: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()


def fixed_index(digests: Sequence[bytes], size: int, *, ctime: int = 1_700_000_000, uuid: bytes = bytes(16)) -> bytes:
    body = b"".join(digests)
    header = FIXED + uuid + struct.pack("<q", ctime) + hashlib.sha256(body).digest() + struct.pack("<QQ", size, FIXED_CHUNK)
    return header.ljust(HEADER, b"\0") + body


def read_fixed(data: bytes) -> tuple[int, list[bytes]]:
    """Size of the image, digests."""
    if data[:8] != FIXED or len(data) < HEADER or (len(data) - HEADER) % 32:
        raise Broken("no fixed index")
    body = data[HEADER:]
    size, chunk_size = struct.unpack_from("<QQ", data, 64)
    if hashlib.sha256(body).digest() != data[32:64] or chunk_size != FIXED_CHUNK:
        raise Broken("a fixed index has another checksum than its entries, or another chunk size")
    digests = [body[at : at + 32] for at in range(0, len(body), 32)]
    if len(digests) != -(-size // chunk_size):
        raise Broken(f"{len(digests)} digests for {size} bytes")
    return size, digests


def known_lengths(data: bytes) -> dict[bytes, int]:
    """Digest -> length of every chunk of an index of either kind, as a server registers them."""
    if data[:8] == FIXED:
        size, digests = read_fixed(data)
        return {digest: min(FIXED_CHUNK, size - number * FIXED_CHUNK) for number, digest in enumerate(digests)}
    found, start = {}, 0
    for end, digest in read_dynamic(data):
        found[digest] = end - start
        start = end
    return found


# ---- manifests ----


def manifest(kind: str, id: str, time: int, files: Sequence[tuple[str, int, str]], **other: object) -> dict[str, Any]:
    """`files`: name, size, csum as hex."""
    return {
        "backup-type": kind, "backup-id": id, "backup-time": time,
        "files": [{"filename": n, "crypt-mode": "none", "size": size, "csum": csum} for n, size, csum in files],
        "unprotected": {}, "signature": None, **other,
    }  # fmt: skip


def manifest_blob(value: object) -> bytes:
    return blob(json.dumps(value).encode())
