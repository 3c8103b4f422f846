"""A second pxar encoder, from bench/spec/pxar.md alone: a text manifest (schema pxar-vector-tree/1) to its three archives.

Slow, small, and without a line of the C core: what both give is probably what the specification says.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

FORMAT_VERSION = 0x730F6C75DF16A40D
PRELUDE = 0xE309D79D9F7B771B
ENTRY = 0xD5956474E588ACEF
ENTRY_V1 = 0x11DA850A1C1CCEFF
FILENAME = 0x16701121063917B3
XATTR = 0x0DAB0229B57DCD03
ACL_USER = 0x2CE8540A457D55B8
ACL_GROUP = 0x136E3ECEB04C03AB
ACL_GROUP_OBJ = 0x10868031E9582876
ACL_DEFAULT = 0xBBBB13415A6896F5
ACL_DEFAULT_USER = 0xC89357B40532CD1F
ACL_DEFAULT_GROUP = 0xF90A8A5816038FFE
FCAPS = 0x2DA9DD9DB5F7FB67
QUOTA_PROJID = 0xE07540E82F7D1CBB
PAYLOAD = 0x28147A1B0B7C1A25
PAYLOAD_REF = 0x419D3D6BC4BA977E
SYMLINK = 0x27F971E7DBF5DC5F
DEVICE = 0x9FC9E906586D5CE9
HARDLINK = 0x51269C8422BD7275
GOODBYE = 0x2FEC4FA642D5731D
GOODBYE_TAIL_MARKER = 0xEF5EED5B753E1555
PAYLOAD_START_MARKER = 0x834C68C2194A4ED2
PAYLOAD_TAIL_MARKER = 0x6C72B78B984C81B5

HASH_KEYS = (0x83AC3F1CFBB450DB, 0xAA4F1B6879369FBD)
MASK64 = 2**64 - 1
UNSET = MASK64

TYPE_BITS = {
    "socket": 0o140000, "symlink": 0o120000, "file": 0o100000, "blockdev": 0o060000, "dir": 0o040000,
    "chardev": 0o020000, "fifo": 0o010000,
}  # fmt: skip


def _rotl(value: int, count: int) -> int:
    return (value << count | value >> (64 - count)) & MASK64


def name_hash(name: bytes) -> int:
    """SipHash-2-4 (section 9.1)."""
    k0, k1 = HASH_KEYS
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def round_() -> None:
        v[0] = (v[0] + v[1]) & MASK64
        v[1] = _rotl(v[1], 13) ^ v[0]
        v[0] = _rotl(v[0], 32)
        v[2] = (v[2] + v[3]) & MASK64
        v[3] = _rotl(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & MASK64
        v[3] = _rotl(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & MASK64
        v[1] = _rotl(v[1], 17) ^ v[2]
        v[2] = _rotl(v[2], 32)

    padded = name + bytes(-(len(name) + 1) % 8) + bytes([len(name) & 255])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        round_()
        round_()
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(4):
        round_()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def permutation(count: int) -> list[int]:
    """Array index -> index in sorted order (section 9.4)."""
    out = [0] * count

    def place(n: int, first: int, e: int, at: int) -> None:
        p = 2**e
        t = p + p // 2 - 1
        m = p - 1 if n > t else p - 1 - (t - n)
        out[at] = first + m
        if m > 0:
            place(m, first, e - 1, 2 * at + 1)
        if m + 1 < n:
            place(n - m - 1, first + m + 1, e - 1, 2 * at + 2)

    if count:
        place(count, 0, count.bit_length() - 1, 0)
    return out


def splitmix64(seed: int, size: int) -> bytes:
    words = []
    x = seed
    for _ in range((size + 7) // 8):
        x = (x + 0x9E3779B97F4A7C15) & MASK64
        z = x
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK64
        words.append(z ^ (z >> 31))
    return struct.pack(f"<{len(words)}Q", *words)[:size]


def content_bytes(content: Json) -> bytes:
    match content["kind"]:
        case "empty":
            return b""
        case "b64":
            return base64.b64decode(content["data"])
        case "repeat":
            pattern, size = base64.b64decode(content["pattern_b64"]), int(content["size"])
            return (pattern * (size // len(pattern) + 1))[:size]
        case "splitmix64":
            return splitmix64(int(content["seed"]), int(content["size"]))
    raise ValueError(content["kind"])


def text_bytes(entry: Json, key: str) -> bytes:
    """KEY as a string, or KEY_b64."""
    if key in entry:
        return str(entry[key]).encode()
    return base64.b64decode(entry[f"{key}_b64"])


def item(kind: int, content: bytes = b"") -> bytes:
    return struct.pack("<QQ", kind, 16 + len(content)) + content


def _perm(value: int | None) -> int:
    return UNSET if value is None else value


def attribute_items(entry: Json) -> bytes:
    """ENTRY and what follows it, in the order of section 4."""
    seconds, nanos = entry["mtime"]
    mode = int(entry["mode"], 8) | TYPE_BITS[entry.get("type", "dir")]
    out = item(ENTRY, struct.pack("<QQIIqII", mode, entry.get("flags", 0), entry["uid"], entry["gid"], seconds, nanos, 0))
    for xattr in entry.get("xattrs", ()):
        out += item(XATTR, text_bytes(xattr, "name") + b"\0" + base64.b64decode(xattr["value_b64"]))
    acl = entry.get("acl", {})

    def named(key: str, kind: int) -> bytes:
        pairs = sorted((int(e["id"]), int(e["perm"])) for e in acl.get(key, ()))
        return b"".join(item(kind, struct.pack("<QQ", *pair)) for pair in pairs)

    out += named("users", ACL_USER) + named("groups", ACL_GROUP)
    if acl.get("group_obj") is not None:
        out += item(ACL_GROUP_OBJ, struct.pack("<Q", acl["group_obj"]))
    if acl.get("default") is not None:
        values = (_perm(acl["default"].get(key)) for key in ("user_obj", "group_obj", "other", "mask"))
        out += item(ACL_DEFAULT, struct.pack("<4Q", *values))
    out += named("default_users", ACL_DEFAULT_USER) + named("default_groups", ACL_DEFAULT_GROUP)
    if "fcaps_b64" in entry:
        out += item(FCAPS, base64.b64decode(entry["fcaps_b64"]))
    if "quota_project_id" in entry:
        out += item(QUOTA_PROJID, struct.pack("<Q", entry["quota_project_id"]))
    return out


@dataclass
class Encoder:
    """One archive. Version 2 keeps contents in `payload`."""

    version: int
    meta: bytearray = field(default_factory=bytearray)
    payload: bytearray = field(default_factory=bytearray)
    offsets: dict[bytes, int] = field(default_factory=dict)  # path -> FILENAME offset of files

    def file(self, entry: Json) -> int:
        """Writes contents; returns how much the goodbye row's size exceeds the member's own."""
        content = content_bytes(entry["content"])
        if self.version == 1:
            self.meta += item(PAYLOAD, content)
            return 0
        if "payload_pad_before" in entry:
            self.payload += content_bytes(entry["payload_pad_before"])
        self.meta += item(PAYLOAD_REF, struct.pack("<QQ", len(self.payload), len(content)))
        self.payload += item(PAYLOAD, content)
        return len(content)

    def member(self, entry: Json, path: bytes) -> int:
        kind = entry["type"]
        start = len(self.meta)
        self.meta += item(FILENAME, text_bytes(entry, "name") + b"\0")
        if kind == "hardlink":
            target = text_bytes(entry, "target")
            self.meta += item(HARDLINK, struct.pack("<Q", start - self.offsets[target]) + target + b"\0")
            return 0
        if kind == "dir":
            self.directory(entry, path)
            return 0
        self.meta += attribute_items(entry)
        if kind == "file":
            self.offsets[path] = start
            return self.file(entry)
        if kind == "symlink":
            self.meta += item(SYMLINK, text_bytes(entry, "target") + b"\0")
        elif kind in ("chardev", "blockdev"):
            self.meta += item(DEVICE, struct.pack("<QQ", entry["major"], entry["minor"]))
        return 0

    def directory(self, entry: Json, path: bytes, *, is_root: bool = False) -> None:
        begin = len(self.meta)
        self.meta += attribute_items(entry)
        rows = []
        for child in sorted(entry.get("entries", ()), key=lambda e: text_bytes(e, "name")):
            start = len(self.meta)
            name = text_bytes(child, "name")
            more = self.member(child, path + b"/" + name if path else name)
            rows.append((name_hash(name), start, len(self.meta) - start + more))
        goodbye = len(self.meta)
        rows.sort()
        ordered = [rows[index] for index in permutation(len(rows))]
        table = b"".join(struct.pack("<QQQ", hash_, goodbye - start, size) for hash_, start, size in ordered)
        size = 16 + 24 * (len(rows) + 1)
        table += struct.pack("<QQQ", GOODBYE_TAIL_MARKER, goodbye if is_root else goodbye - begin, size)
        self.meta += item(GOODBYE, table)

    def archive(self, tree: Json) -> None:
        if self.version == 2:
            self.meta += item(FORMAT_VERSION, struct.pack("<Q", 2))
            if "prelude_b64" in tree:
                self.meta += item(PRELUDE, base64.b64decode(tree["prelude_b64"]))
            self.payload += item(PAYLOAD_START_MARKER)
        self.directory(tree["root"], b"", is_root=True)
        if self.version == 2:
            self.payload += item(PAYLOAD_TAIL_MARKER)


def encode_split(tree: Json) -> tuple[bytes, bytes]:
    """Metadata and payload stream."""
    encoder = Encoder(2)
    encoder.archive(tree)
    return bytes(encoder.meta), bytes(encoder.payload)


def encode_unified(tree: Json) -> bytes:
    encoder = Encoder(1)
    encoder.archive(tree)
    return bytes(encoder.meta)
