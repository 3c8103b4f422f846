"""What stands at an offset of a stream: item, entry and field. From bench/spec/pxar.md and datastore.md alone.

Made for explaining: a stream that is broken is followed as far as it makes sense, and nothing is raised.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

FORMAT_VERSION, ENTRY, FILENAME, GOODBYE = 0x730F6C75DF16A40D, 0xD5956474E588ACEF, 0x16701121063917B3, 0x2FEC4FA642D5731D
XATTR, PAYLOAD, PAYLOAD_REF, HARDLINK = 0x0DAB0229B57DCD03, 0x28147A1B0B7C1A25, 0x419D3D6BC4BA977E, 0x51269C8422BD7275
HEADER, GOODBYE_ROW, INDEX_HEADER, INDEX_ROW = 16, 24, 4096, 40
FORMAT_DIRECTORY, FORMAT_MASK = 0o040000, 0o170000

#: Of each kind of item: its name, and (field, offset in the item, size in bytes, signed or "x" for shown in hex).
Fields = tuple[tuple[str, int, int, str], ...]
_PAIR: Fields = (("id", 16, 8, "u"), ("perm", 24, 8, "u"))
ITEMS: dict[int, tuple[str, Fields]] = {
    FORMAT_VERSION: ("FORMAT_VERSION", (("version", 16, 8, "u"),)),
    0xE309D79D9F7B771B: ("PRELUDE", ()),
    ENTRY: ("ENTRY", (("mode", 16, 8, "o"), ("flags", 24, 8, "x"), ("uid", 32, 4, "u"), ("gid", 36, 4, "u"),
                      ("mtime seconds", 40, 8, "s"), ("mtime nanoseconds", 48, 4, "u"), ("zero", 52, 4, "u"))),
    0x11DA850A1C1CCEFF: ("ENTRY_V1", ()),
    FILENAME: ("FILENAME", ()),
    XATTR: ("XATTR", ()),
    0x2CE8540A457D55B8: ("ACL_USER", _PAIR),
    0x136E3ECEB04C03AB: ("ACL_GROUP", _PAIR),
    0x10868031E9582876: ("ACL_GROUP_OBJ", (("perm", 16, 8, "u"),)),
    0xBBBB13415A6896F5: ("ACL_DEFAULT", (("user_obj", 16, 8, "x"), ("group_obj", 24, 8, "x"), ("other", 32, 8, "x"),
                                         ("mask", 40, 8, "x"))),
    0xC89357B40532CD1F: ("ACL_DEFAULT_USER", _PAIR),
    0xF90A8A5816038FFE: ("ACL_DEFAULT_GROUP", _PAIR),
    0x2DA9DD9DB5F7FB67: ("FCAPS", ()),
    0xE07540E82F7D1CBB: ("QUOTA_PROJID", (("project id", 16, 8, "u"),)),
    PAYLOAD: ("PAYLOAD", ()),
    PAYLOAD_REF: ("PAYLOAD_REF", (("offset", 16, 8, "u"), ("size of the file", 24, 8, "u"))),
    0x27F971E7DBF5DC5F: ("SYMLINK", ()),
    0x9FC9E906586D5CE9: ("DEVICE", (("major", 16, 8, "u"), ("minor", 24, 8, "u"))),
    HARDLINK: ("HARDLINK", (("distance", 16, 8, "u"),)),
    GOODBYE: ("GOODBYE", ()),
}  # fmt: skip
#: What the rest of an item holds that has no table.
REST = {"FILENAME": "name", "SYMLINK": "target", "HARDLINK": "target", "PAYLOAD": "contents", "PRELUDE": "text"}
DIDX_FIELDS: Fields = (("magic", 0, 8, "x"), ("uuid", 8, 16, ""), ("ctime", 24, 8, "u"), ("csum", 32, 32, ""))


@dataclass(frozen=True)
class Item:
    offset: int
    kind: int
    size: int  # with its header
    path: bytes  # of the entry it belongs to, with a leading slash

    @property
    def name(self) -> str:
        return ITEMS[self.kind][0] if self.kind in ITEMS else f"item {self.kind:#x}"


@dataclass(frozen=True)
class Place:
    """A field of an item, or what else can be named."""

    path: str  # of the entry; "" where none is meant
    item: str
    field: str
    offset: int  # of the field in the stream
    size: int  # of the field
    form: str  # how its value is shown: u, s, o, x; "" as bytes

    @property
    def text(self) -> str:
        of_entry = f" of {self.path}" if self.path else ""
        return f"{self.field} in {self.item}{of_entry}" if self.field else f"{self.item}{of_entry}"

    def value(self, stream: bytes) -> str | None:
        """None: the stream ends before, or the value is no number."""
        part = stream[self.offset : self.offset + self.size]
        if not self.form or len(part) < self.size:
            return None
        number = int.from_bytes(part, "little", signed=self.form == "s")
        return {"x": f"{number:#x}", "o": f"{number:07o}"}.get(self.form, str(number))


def shown(path: bytes) -> str:
    return path.decode(errors="backslashreplace").replace("\n", "\\n")


def items(stream: bytes) -> Iterator[Item]:
    """The items of a metadata stream or a unified archive, up to the first that makes no sense."""
    path: list[bytes] = []
    at, in_member = 0, False
    while at + HEADER <= len(stream):
        kind, size = struct.unpack_from("<QQ", stream, at)
        if kind not in ITEMS or size < HEADER:
            return
        if kind == FILENAME:
            # The name before ended with its member, unless that was a directory, which stays open.
            if in_member and path:
                path.pop()
            path.append(stream[at + HEADER : at + size].rstrip(b"\0"))
            in_member = True
        elif kind == GOODBYE and in_member:
            if path:
                path.pop()
            in_member = False
        yield Item(at, kind, size, b"/" + b"/".join(path))
        if kind == ENTRY and at + 24 <= len(stream):
            if struct.unpack_from("<Q", stream, at + HEADER)[0] & FORMAT_MASK == FORMAT_DIRECTORY:
                in_member = False
        elif kind == GOODBYE and path:
            path.pop()
        at += size


def version(stream: bytes) -> int:
    """Of an archive's format: what FORMAT_VERSION says, else 1."""
    if len(stream) >= 24 and struct.unpack_from("<Q", stream)[0] == FORMAT_VERSION:
        return int(struct.unpack_from("<Q", stream, HEADER)[0])
    return 1


@lru_cache(maxsize=4)
def references(metadata: bytes) -> tuple[tuple[int, int, bytes], ...]:
    """(offset of the block, size of the contents, path) of every file, in archive order."""
    found = []
    for item in items(metadata):
        if item.kind == PAYLOAD_REF and item.offset + 32 <= len(metadata):
            offset, size = struct.unpack_from("<QQ", metadata, item.offset + HEADER)
            found.append((offset, size, item.path))
    return tuple(found)


def at_metadata(stream: bytes, offset: int) -> Place:
    """Of a metadata stream or a unified archive. Behind what makes sense: the last item that did, and how far behind it."""
    last: Item | None = None
    for item in items(stream):
        if item.offset > offset:
            break
        last = item
    if last is None:
        return Place("", "the start", "", 0, 0, "")
    if offset >= last.offset + last.size:
        return Place(shown(last.path), f"what follows {last.name}", "", last.offset + last.size, 0, "")
    return in_item(stream, last, offset)


def in_item(stream: bytes, item: Item, offset: int) -> Place:
    """`offset`: of the stream, inside of the item."""
    path, within = shown(item.path), offset - item.offset
    if within < 8:
        return Place(path, item.name, "type", item.offset, 8, "x")
    if within < HEADER:
        return Place(path, item.name, "size of the item", item.offset + 8, 8, "u")
    for name, begin, size, form in ITEMS[item.kind][1]:
        if begin <= within < begin + size:
            return Place(path, item.name, name, item.offset + begin, size, form)
    if item.kind == GOODBYE:
        number, place = divmod(within - HEADER, GOODBYE_ROW)
        count = (item.size - HEADER) // GOODBYE_ROW
        field, form = (("hash", "x"), ("offset", "u"), ("size", "u"))[place // 8]
        which = "tail row" if number == count - 1 else f"row {number} of {count - 1}"
        begin = item.offset + HEADER + number * GOODBYE_ROW + place // 8 * 8
        return Place(path, item.name, f"{field}, {which},", begin, 8, form)
    if item.kind == XATTR:
        content = stream[item.offset + HEADER : item.offset + item.size]
        name_size = content.find(b"\0")
        if name_size < 0 or within - HEADER <= name_size:
            return Place(path, item.name, "name", item.offset + HEADER, max(name_size, 0), "")
        name = content[:name_size].decode(errors="backslashreplace")
        return Place(path, item.name, f"value of {name}", item.offset + HEADER + name_size + 1, item.size, "")
    begin = max((begin + size for _, begin, size, _ in ITEMS[item.kind][1]), default=HEADER)
    return Place(path, item.name, REST.get(item.name, "value"), item.offset + begin, item.size - begin, "")


def at_payload(metadata: bytes, offset: int, size: int) -> Place:
    """Of the payload stream of `size` bytes that this metadata stream refers to."""
    if offset < HEADER:
        return Place("", "the start marker", "", 0, HEADER, "")
    if size - HEADER <= offset < size:
        return Place("", "the tail marker", "", size - HEADER, HEADER, "")
    before = None
    for begin, length, path in references(metadata):
        if begin <= offset < begin + HEADER + length:
            if offset < begin + 8:
                return Place(shown(path), "PAYLOAD", "type", begin, 8, "x")
            if offset < begin + HEADER:
                return Place(shown(path), "PAYLOAD", "size of the item", begin + 8, 8, "u")
            return Place(shown(path), "PAYLOAD", "contents", begin + HEADER, length, "")
        if begin <= offset:
            before = path
    where = f"bytes of no file behind the block of {shown(before)}" if before is not None else "bytes before any file"
    return Place("", where, "", offset, 0, "")


def at_index(offset: int) -> Place:
    """Of a dynamic index file."""
    if offset >= INDEX_HEADER:
        number, place = divmod(offset - INDEX_HEADER, INDEX_ROW)
        begin = INDEX_HEADER + number * INDEX_ROW
        if place < 8:
            return Place("", f"entry {number}", "end", begin, 8, "u")
        return Place("", f"entry {number}", "digest", begin + 8, 32, "")
    for name, begin, size, form in DIDX_FIELDS:
        if begin <= offset < begin + size:
            return Place("", "the header", name, begin, size, form)
    return Place("", "the header", "reserved bytes", 64, INDEX_HEADER - 64, "")


def index_rows(data: bytes) -> list[tuple[int, str]]:
    """(end, digest in hex) of a dynamic index file; a last row that is cut off is left out."""
    body = data[INDEX_HEADER:]
    whole = body[: len(body) - len(body) % INDEX_ROW]
    return [(end, digest.hex()) for end, digest in struct.iter_unpack("<Q32s", whole)]
