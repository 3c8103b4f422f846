"""Indexes, blobs, manifests and catalogs that no reader may take for good: each breaks one rule of bench/spec/datastore.md.

Manifests (.json) and catalogs (.pcat1) are stored inside a snapshot: the test builds one around the file.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from reject_archives import MAX64, Case, Files, u64

INDEX, BLOB, MANIFEST, CATALOG = "index show", "blob show", "snapshot files", "catalog dump"

DIDX = bytes.fromhex("1c914ea519bab3cd")
FIDX = bytes.fromhex("2f7f41ed91fd0fcd")
PLAIN = bytes.fromhex("42ab3807be8370a1")
ZSTD = bytes.fromhex("31b958426fb6a37f")
ENCRYPTED = bytes.fromhex("7b6785be222d4cf0")
ENCRYPTED_ZSTD = bytes.fromhex("e6591bbf0bbfd80b")
PCAT = bytes.fromhex("91fd60f9c46758d5")

KIB, MIB = 1 << 10, 1 << 20
DIGEST = hashlib.sha256(b"").digest()


# ---- 2, 3: indexes ----


def didx(*ends: int, magic: bytes = DIDX) -> bytes:
    body = b"".join(u64(end) + DIGEST for end in ends)
    return (magic + bytes(24) + hashlib.sha256(body).digest()).ljust(4096, b"\0") + body


def fidx(size: int, chunk_size: int, count: int, magic: bytes = FIDX) -> bytes:
    body = DIGEST * count
    return (magic + bytes(24) + hashlib.sha256(body).digest() + u64(size, chunk_size)).ljust(4096, b"\0") + body


def indexes() -> Iterator[Case]:
    good = {"didx": didx(9, 18)}

    def dynamic(label: str, data: bytes, error: str) -> Case:
        return Case(f"didx-{label}", {"didx": data}, "2", f".didx: {error}", INDEX, inside=good)

    whole = good["didx"]
    yield dynamic("empty", b"", "neither a dynamic nor a fixed index: wrong magic number at offset 0")
    yield dynamic(
        "wrong-magic",
        didx(9, magic=DIDX[:7] + b"\0"),
        "neither a dynamic nor a fixed index: wrong magic number at offset 0",
    )
    yield dynamic("of-8-bytes", DIDX, "index of 8 bytes ends within its header of 4096")
    yield dynamic("of-4095-bytes", whole[:4095], "index of 4095 bytes ends within its header of 4096")
    yield dynamic("no-entries", didx(), "index has no entries")
    for more in (1, 39):
        size = 4176 + more
        yield dynamic(f"{more}-bytes-more", whole + bytes(more), f"index size {size} is not 4096 plus a multiple of 40")
    yield dynamic("1-byte-less", whole[:-1], "index size 4175 is not 4096 plus a multiple of 40")
    yield dynamic("first-end-0", didx(0, 9), "index entry 0 at offset 4096 ends at 0, which is not behind 0")
    yield dynamic("ends-equal", didx(9, 9), "index entry 1 at offset 4136 ends at 9, which is not behind 9")
    yield dynamic("ends-fall", didx(9, 8), "index entry 1 at offset 4136 ends at 8, which is not behind 9")
    yield dynamic("ends-wrap", didx(MAX64, 1), f"index entry 1 at offset 4136 ends at 1, which is not behind {MAX64}")

    def fixed(label: str, data: bytes, error: str, inside: bytes, *, huge: bool = False) -> Case:
        return Case(f"fidx-{label}", {"fidx": data}, "3", f".fidx: {error}", INDEX, inside={"fidx": inside}, huge=huge)

    two = fidx(5 * MIB, 4 * MIB, 2)
    yield fixed(
        "wrong-magic",
        fidx(1, 4096, 1, FIDX[:7] + b"\0"),
        "neither a dynamic nor a fixed index: wrong magic number at offset 0",
        two,
    )
    yield fixed("of-4095-bytes", two[:4095], "index of 4095 bytes ends within its header of 4096", two)
    for chunk_size in (0, 3, 4 * MIB - 1, 2**63 + 1):
        text = f"chunk size {chunk_size} at offset 72 is not a power of two"
        yield fixed(f"chunk-size-{chunk_size}", fidx(5 * MIB, chunk_size, 2), text, two)
    for chunk_size in (2**25, 2**63):
        text = f"chunk size {chunk_size} at offset 72 is above {2**24}"
        inside = fidx(2**25, 2**24, 2)
        yield fixed(f"chunk-size-{chunk_size}", fidx(2**25, chunk_size, 1), text, inside, huge=chunk_size == 2**63)
    yield fixed("size-0", fidx(0, 4 * MIB, 0), "size of the image at offset 64 is 0", two)
    yield fixed("size-0-with-chunk", fidx(0, 4 * MIB, 1), "size of the image at offset 64 is 0", two)

    def wrong(size: int, wanted: int) -> str:
        return f"index size is {size}, {wanted} chunks of an image of {5 * MIB} bytes make it {4096 + 32 * wanted}"

    yield fixed("one-digest-less", two[:-32], wrong(4128, 2), two)
    yield fixed("one-digest-more", two + DIGEST, wrong(4192, 2), two)
    yield fixed("1-byte-less", two[:-1], wrong(4159, 2), two)
    yield fixed("1-byte-more", two + b"\0", wrong(4161, 2), two)
    full = fidx(8 * MIB, 4 * MIB, 2)
    one_more = f"index size is 4160, 3 chunks of an image of {8 * MIB + 1} bytes make it 4192"
    yield fixed("image-one-byte-more", fidx(8 * MIB + 1, 4 * MIB, 2), one_more, full)
    for label, size, chunk_size in (("1", MAX64, 1), ("2-24", MAX64, 2**24), ("2-63", 2**63, 4096)):
        text = f"an image of {size} bytes has {(size - 1) // chunk_size + 1} chunks, at most "
        yield fixed(f"huge-image-{label}", fidx(size, chunk_size, 2), text, two, huge=True)


# ---- 4: blobs ----


def blob(magic: bytes, content: bytes, between: bytes = b"") -> bytes:
    return magic + struct.pack("<I", zlib.crc32(content)) + between + content


RAW, RLE = 0, 1


def block(kind: int, size: int, data: bytes, *, last: bool = False) -> bytes:
    return ((size << 3) | (kind << 1) | last).to_bytes(3, "little") + data


def frame(*blocks: bytes, descriptor: bytes = b"\x00\x38") -> bytes:
    """A zstd frame of blocks made by hand; by default a window of 128 KiB and no announced size."""
    return bytes.fromhex("28b52ffd") + descriptor + b"".join(blocks)


def zeros(size: int) -> bytes:
    """A frame of this many zero bytes: 4 bytes for each 128 KiB of them."""
    whole, rest = divmod(size, 128 * KIB)
    return frame(*[block(RLE, 128 * KIB, b"\0")] * whole, block(RLE, rest, b"\0", last=True))


def blobs() -> Iterator[Case]:
    hello = b"hello world\n"
    plain, packed = blob(PLAIN, hello), blob(ZSTD, frame(block(RAW, len(hello), hello, last=True)))
    sealed = {kind: blob(kind, bytes(range(12)), bytes(32)) for kind in (ENCRYPTED, ENCRYPTED_ZSTD)}

    def case(label: str, data: bytes, error: str, inside: bytes, *, huge: bool = False, memory_mib: int = 64) -> Case:
        files: Files = {"blob": data}
        return Case(
            f"blob-{label}", files, "4", f".blob: {error}", BLOB, inside={"blob": inside}, huge=huge, memory_mib=memory_mib
        )

    empty = blob(PLAIN, b"")
    for size in (0, 8, 11):
        yield case(f"of-{size}-bytes", empty[:size], f"{size} bytes are too few for a blob", empty)
    for label, kind in (("encrypted", ENCRYPTED), ("encrypted-compressed", ENCRYPTED_ZSTD)):
        for size in (12, 43):
            at_least = blob(kind, b"", bytes(32))
            yield case(
                f"{label}-of-{size}-bytes", at_least[:size], f"{size} bytes are too few for an encrypted blob", at_least
            )
    magic = bytes(8)
    yield case("unknown-magic", blob(magic, hello), f"not a blob: unknown magic {magic.hex()}", plain)
    magic = PLAIN[:7] + bytes([PLAIN[7] ^ 1])
    yield case("magic-one-bit", blob(magic, hello), f"not a blob: unknown magic {magic.hex()}", plain)
    yield case("index-as-blob", didx(9)[:64], f"not a blob: unknown magic {DIDX.hex()}", plain)
    for label, good in (
        ("uncompressed", plain),
        ("compressed", packed),
        ("encrypted", sealed[ENCRYPTED]),
        ("encrypted-compressed", sealed[ENCRYPTED_ZSTD]),
    ):
        (stored,) = struct.unpack("<I", good[8:12])
        flipped = good[:-1] + bytes([good[-1] ^ 1])
        at = 44 if label.startswith("encrypted") else 12
        yield case(f"{label}-flipped-bit", flipped, f"crc is {zlib.crc32(flipped[at:]):08x}, stored is {stored:08x}", good)
        other = good[:8] + struct.pack("<I", stored ^ 1) + good[12:]
        yield case(f"{label}-wrong-crc", other, f"crc is {stored:08x}, stored is {stored ^ 1:08x}", good)
        yield case(f"{label}-cut", good[:-1], "crc is ", good)
    bad_frame = "zstd frame at or before offset "
    ends_early = "zstd frame ends early at offset "
    yield case("frame-missing", blob(ZSTD, b""), ends_early + "12", packed)
    yield case("frame-of-no-magic", blob(ZSTD, hello), bad_frame, packed)
    yield case("frame-of-reserved-block", blob(ZSTD, frame(block(3, 1, b"x", last=True))), bad_frame, packed)
    yield case("frame-cut", blob(ZSTD, frame(block(RAW, 12, hello))), ends_early + "33", packed)
    yield case("frame-cut-in-block", blob(ZSTD, frame(block(RAW, 12, hello[:11], last=True))), ends_early + "32", packed)
    yield case("frame-cut-in-header", blob(ZSTD, frame()[:5]), ends_early + "17", packed)
    one = frame(block(RAW, 12, hello, last=True))
    two = blob(ZSTD, one + one)  # concatenated frames are accepted
    for label, behind in (("1-byte-behind", b"\0"), ("4-bytes-behind", b"\0\0\0\0"), ("half-a-frame-behind", one[:7])):
        yield case(f"frame-with-{label}", blob(ZSTD, one + behind), "zstd frame ", two)
    claims = frame(block(RAW, 12, hello, last=True), descriptor=b"\x20\x0b")
    yield case(
        "frame-claims-less",
        blob(ZSTD, claims),
        bad_frame,
        blob(ZSTD, frame(block(RAW, 12, hello, last=True), descriptor=b"\x20\x0c")),
    )
    claims = frame(block(RAW, 12, hello, last=True), descriptor=b"\xc0\x38" + u64(2**63))
    yield case("frame-claims-2-63", blob(ZSTD, claims), "zstd frame ", two, huge=True)
    wide = frame(block(RAW, 12, hello, last=True), descriptor=b"\x00\xff")
    yield case("frame-window-2-41", blob(ZSTD, wide), bad_frame, two, huge=True)
    # Everything up to the limit must really be made before the limit can be passed: memory is the limit's here.
    bomb = blob(ZSTD, zeros(128 * MIB + 1))
    yield case(
        "frame-bomb",
        bomb,
        f"holds more than the {128 * MIB} bytes that are allowed",
        blob(ZSTD, zeros(MIB)),
        huge=True,
        memory_mib=320,
    )


# ---- 6: manifests ----

Json = dict[str, Any]

ENTRY: Json = {"filename": "a.conf.blob", "crypt-mode": "none", "size": 1, "csum": "00" * 32}
GOOD: Json = {"backup-type": "host", "backup-id": "me", "backup-time": 1000000000, "files": [ENTRY], "unprotected": {}}


def text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def without(object_: Json, key: str) -> Json:
    return {k: v for k, v in object_.items() if k != key}


def manifests() -> Iterator[Case]:
    good = {"json": text(GOOD)}

    def case(label: str, data: bytes, error: str, *, huge: bool = False) -> Case:
        return Case(f"manifest-{label}", {"json": data}, "6", error, MANIFEST, inside=good, huge=huge)

    def top(label: str, change: Json, error: str) -> Case:
        return case(label, text({**GOOD, **change}), error)

    def listed(label: str, change: Json, error: str) -> Case:
        return case(
            label, text({**GOOD, "files": [ENTRY, {**ENTRY, "filename": "b.conf.blob", **change}]}), f"files[1]: {error}"
        )

    whole = good["json"]
    yield case("empty", b"", "index.json.blob: line 1, column 0, offset 0: ")
    yield case("no-json", b"backup-type: host", "index.json.blob: line 1, ")
    yield case("cut", whole[:-1], f"index.json.blob: line 1, column {len(whole) - 1}, offset {len(whole) - 1}: ")
    yield case("behind-the-end", whole + b"{}", f"offset {len(whole) + 1}: ")
    yield case("nul-behind", whole + b"\0", f"offset {len(whole) + 1}: ")
    yield case("not-utf-8", whole.replace(b'"me"', b'"\xff"'), "index.json.blob: line 1, ")
    yield case("member-twice", whole[:-1] + b',"backup-id":"you"}', "index.json.blob: line 1, ")
    yield case("nested-4000", b"[" * 4000, "index.json.blob: line 1, ", huge=True)
    yield case("array", text([GOOD]), "manifest is an array, not an object")
    yield case("null", b"null", "null")
    for key in ("backup-type", "backup-id", "backup-time", "files"):
        yield case(f"no-{key}", text(without(GOOD, key)), f"member {key} is missing")
    for key in ("backup-type", "backup-id"):
        yield top(f"{key}-number", {key: 7}, f"member {key} is an integer, not a string")
    for label, value, kind in (
        ("string", "1000000000", "a string"),
        ("fraction", 1e9, "a fraction"),
        ("null", None, "null"),
    ):
        yield top(f"backup-time-{label}", {"backup-time": value}, f"member backup-time is {kind}, not an integer")
    yield top("backup-type-unknown", {"backup-type": "hosts"}, 'member backup-type "hosts" is not host, vm or ct')
    for label, value in (("empty", ""), ("slash", "a/b"), ("256", "i" * 256)):
        yield top(
            f"backup-id-{label}", {"backup-id": value}, "member backup-id is empty, longer than 255 bytes or has a '/'"
        )
    for label, value, kind in (("object", {}, "an object"), ("null", None, "null")):
        yield top(f"files-{label}", {"files": value}, f"member files is {kind}, not an array")
    yield top("unprotected-array", {"unprotected": []}, "member unprotected is an array, not an object")
    for label, value in (("short", "ab" * 31), ("no-hex", "zz" * 32)):
        yield top(f"signature-{label}", {"signature": value}, "member signature is not 64 hexadecimal digits")
    yield top("signature-number", {"signature": 1}, "member signature is an integer, not a string")
    yield top("files-string", {"files": ["a.conf.blob"]}, "files[0] is a string, not an object")
    yield top("file-twice", {"files": [ENTRY, ENTRY]}, 'file "a.conf.blob" is listed twice')
    for key in ("filename", "size", "csum"):
        lacking = text({**GOOD, "files": [ENTRY, without(ENTRY, key)]})
        yield case(f"file-no-{key}", lacking, f"files[1]: member {key} is missing")
    yield listed("size-negative", {"size": -1}, "member size is negative: -1")
    yield listed("size-fraction", {"size": 1.5}, "member size is a fraction, not an integer")
    yield listed("size-string", {"size": "1"}, "member size is a string, not an integer")
    yield case(
        "size-2-63", whole.replace(b'"size":1', b'"size":9223372036854775808'), "index.json.blob: line 1, ", huge=True
    )
    for label, value in (("63-digits", "0" * 63), ("65-digits", "0" * 65), ("no-hex", "g" * 64), ("empty", "")):
        yield listed(f"csum-{label}", {"csum": value}, "member csum is not 64 hexadecimal digits")
    yield listed("crypt-mode-unknown", {"crypt-mode": "Encrypt"}, 'crypt-mode "Encrypt" is not none, encrypt or sign-only')
    yield listed("crypt-mode-null", {"crypt-mode": None}, "member crypt-mode is null, not a string")
    named = "is not NAME.didx, NAME.fidx or NAME.blob"
    for label, value, error in (
        ("slash", "../a.blob", "filename has the byte 0x2f, which is not allowed"),
        ("newline", "a\n.blob", "filename has the byte 0x0a, which is not allowed"),
        ("256", "f" * 251 + ".blob", "filename of 256 bytes, at most 255 are allowed"),
        ("hidden", ".a.blob", f'filename ".a.blob" {named}'),
        ("only-extension", ".blob", f'filename ".blob" {named}'),
        ("other-extension", "a.txt", f'filename "a.txt" {named}'),
        ("empty", "", f'filename "" {named}'),
    ):
        yield listed(f"filename-{label}", {"filename": value}, error)


# ---- 7: catalogs ----


def vu(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def entry(kind: bytes, name: bytes, extra: bytes = b"") -> bytes:
    return kind + vu(len(name)) + name + extra


def table(*entries: bytes, count: int | None = None) -> bytes:
    body = vu(len(entries) if count is None else count) + b"".join(entries)
    return vu(len(body)) + body


def catalog(*blocks: bytes, root: int | None = None) -> bytes:
    """Blocks one behind the other; the last is the root's. In them the archive's root directory is at offset 8."""
    data = PCAT + b"".join(blocks)
    return data + u64(len(data) - len(blocks[-1]) if root is None else root)


def catalogs() -> Iterator[Case]:
    archive = b"root.pxar.didx"
    inner = table(entry(b"f", b"a", b"\5\6"))
    root = table(entry(b"d", archive, vu(len(inner))))
    good = {"pcat1": catalog(inner, root)}
    whole = good["pcat1"]
    limit = len(whole) - 8

    def case(label: str, data: bytes, error: str, *, huge: bool = False, inside: bytes = whole) -> Case:
        return Case(f"catalog-{label}", {"pcat1": data}, "7", error, CATALOG, inside={"pcat1": inside}, huge=huge)

    def listing(*entries: bytes, count: int | None = None) -> bytes:
        """A catalog of one archive with these entries."""
        block = table(*entries, count=count)
        return catalog(block, table(entry(b"d", archive, vu(len(block)))))

    def listed(label: str, entries: bytes, error: str, inside: bytes = whole, *, huge: bool = False) -> Case:
        return case(label, listing(entries), error, inside=inside, huge=huge)

    yield case("wrong-magic", b"\0" + whole[1:], "not a catalog: wrong magic number at offset 0")
    yield case("of-7-bytes", whole[:7], "not a catalog: 7 bytes")
    yield case("of-15-bytes", whole[:15], "ends early at offset 15: no room for its root's offset")
    for label, at in (("0", 0), ("in-magic", 7), ("in-trailer", limit), ("at-the-end", len(whole)), ("huge", MAX64)):
        error = f"the root's offset {at} at offset {limit} is outside of 8..{limit}"
        yield case(f"root-{label}", catalog(inner, root, root=at), error, huge=label == "huge")
    yield case("root-inside-a-block", catalog(inner, root, root=9), "catalog.pcat1.didx: ")
    yield case(
        "root-not-last",
        catalog(inner, root, root=8),
        f"{len(root)} bytes behind the root's table at offset {8 + len(inner)}",
    )
    yield case("cut", whole[:-1], "the root's offset ")
    yield case("table-of-0-bytes", catalog(b"\0"), "table of 0 bytes at offset 8")
    yield case("table-beyond", catalog(b"\x7f" + root[1:]), "table of 127 bytes at offset 8, where ")
    yield case("table-huge", catalog(vu(MAX64) + root[1:]), f"table of {MAX64} bytes at offset 8, where ", huge=True)
    yield case("table-2-63", catalog(vu(2**63) + root[1:]), f"table of {2**63} bytes at offset 8, where ", huge=True)
    for label, name, offset in (("0", b"\0", 24), ("beyond", vu(len(inner) + 9), 24), ("huge", vu(MAX64), 24)):
        number = 0 if label == "0" else len(inner) + 9 if label == "beyond" else MAX64
        bad = catalog(inner, table(entry(b"d", archive, name)))
        error = f"distance {number} at offset "
        yield case(f"distance-{label}", bad, error + str(8 + len(inner) + 2 + 2 + len(archive)), huge=label == "huge")
    into = catalog(inner, table(entry(b"d", archive, vu(len(inner) + 1))))
    yield case("distance-into-magic", into, "refers to offset 7, which belongs to an earlier one")
    same = table(entry(b"d", b"a", vu(len(inner))), entry(b"d", b"b", vu(len(inner))))
    yield case("block-twice", catalog(inner, same), "refers to offset 8, which belongs to an earlier one")

    # In the archive's own table, at 8: its entries begin at 10.
    yield listed("name-4096", entry(b"l", b"n" * 4096), "name of 4096 bytes at offset ", listing(entry(b"l", b"n" * 4095)))
    yield listed("name-huge", b"l" + vu(MAX64) + b"n", f"name of {MAX64} bytes at offset 10", huge=True)
    yield listed("name-beyond-the-table", b"l" + vu(100) + b"n", "catalog.pcat1.didx: ")
    for label, name, sentence in (
        ("empty", b"", "empty name"),
        ("dot", b".", 'name "."'),
        ("dot-dot", b"..", 'name ".."'),
        ("slash", b"a/b", "name with a slash"),
        ("nul", b"a\0b", "name with a zero byte"),
    ):
        yield listed(f"name-{label}", entry(b"l", name), f"entry at offset 10: {sentence}", listing(entry(b"l", b"name")))
    for kind in (b"\0", b"D", b"x", b"\xff"):
        error = f"entry of unknown type 0x{kind.hex()} at offset 10"
        yield listed(f"type-{kind.hex()}", entry(kind, b"n"), error, listing(entry(b"p", b"n")))
    yield case(
        "entries-less",
        listing(entry(b"l", b"n"), entry(b"l", b"o"), count=1),
        "3 bytes behind the last entry of a table at offset 13",
    )
    yield case(
        "byte-behind-entries",
        listing(entry(b"l", b"n"), b"\0", count=1),
        "1 bytes behind the last entry of a table at offset 13",
    )
    yield case("entries-more", listing(entry(b"l", b"n"), count=2), "catalog.pcat1.didx: ")
    yield case("entries-huge", listing(entry(b"l", b"n"), count=MAX64), "catalog.pcat1.didx: ", huge=True)
    yield listed("size-missing", entry(b"f", b"n"), "catalog.pcat1.didx: ")
    yield listed("mtime-missing", entry(b"f", b"n", b"\5"), "catalog.pcat1.didx: ")
    good_file = listing(entry(b"f", b"n", vu(MAX64) + b"\x80" * 9 + b"\x81\0"))
    yield listed(
        "size-of-11-bytes", entry(b"f", b"n", b"\x80" * 10 + b"\1\0"), "number at offset 13 is out of range", good_file
    )
    yield listed("size-2-64", entry(b"f", b"n", b"\x80" * 9 + b"\2\0"), "number at offset 13 is out of range", good_file)
    yield listed(
        "mtime-of-12-bytes",
        entry(b"f", b"n", b"\5" + b"\x80" * 10 + b"\x81\0"),
        "number at offset 14 is out of range",
        good_file,
    )
    yield listed("mtime-2-63", entry(b"f", b"n", b"\5" + vu(2**63)), "number at offset 14 is out of range", good_file)
    yield listed(
        "mtime-below-min",
        entry(b"f", b"n", b"\5" + b"\x81" + b"\x80" * 8 + b"\x81\0"),
        "number at offset 14 is out of range",
        good_file,
    )


def cases() -> Iterator[Case]:
    for group in (indexes, blobs, manifests, catalogs):
        yield from group()
