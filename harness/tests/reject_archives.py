"""Archives that no reader may take for good: each breaks one rule of bench/spec/pxar.md, most often by one byte.

`Case`s are built from pxar_model's items; reject_cases.py collects them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pxar_model as m
from pxar_model import item

MAX64 = 2**64 - 1

DUMP, LOOKUP = "pxar dump", "pxar lookup"

Files = dict[str, bytes]  # by extension


@dataclass(frozen=True)
class Case:
    name: str
    files: Files
    rule: str
    error: str  # must be in the sentence
    reader: str = DUMP
    arguments: tuple[str, ...] = ()
    inside: Files | None = None  # the neighbour that keeps the rule: must be read
    memory_mib: int = 64
    huge: bool = False  # announces more than there is


# ---- building ----


def u64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def header(kind: int, full_size: int) -> bytes:
    return u64(kind, full_size)


def entry(kind: str = "file", *, mode: int | None = None, nanos: int = 0) -> bytes:
    bits = m.TYPE_BITS[kind] | 0o644 if mode is None else mode
    return item(m.ENTRY, struct.pack("<QQIIqII", bits, 0, 0, 0, 1_600_000_000, nanos, 0))


def filename(name: bytes) -> bytes:
    return item(m.FILENAME, name + b"\0")


VERSION_2 = item(m.FORMAT_VERSION, u64(2))
NO_CONTENT = item(m.PAYLOAD_REF, u64(16, 0))
SYMLINK = item(m.SYMLINK, b"target\0")
DEVICE = item(m.DEVICE, u64(1, 3))
START, TAIL = item(m.PAYLOAD_START_MARKER), item(m.PAYLOAD_TAIL_MARKER)


@dataclass
class Archive:
    """A root and its members, in order; what a member is made of is the caller's."""

    head: bytes = VERSION_2
    root: bytes = field(default_factory=lambda: entry("dir"))
    data: bytearray = field(init=False)
    rows: list[tuple[int, int, int]] = field(default_factory=list)  # hash, offset, size

    def __post_init__(self) -> None:
        self.data = bytearray(self.head + self.root)

    def add(self, *parts: bytes, name: bytes = b"m", first: bytes | None = None) -> Archive:
        """A member; `first` in place of its FILENAME."""
        start = len(self.data)
        self.data += (filename(name) if first is None else first) + b"".join(parts)
        self.rows.append((m.name_hash(name), start, len(self.data) - start))
        return self

    def table(self, *, origin: int = 0) -> bytes:
        """`origin`: what the tail row counts from."""
        goodbye = len(self.data)
        rows = sorted(self.rows)
        ordered = [rows[index] for index in m.permutation(len(rows))]
        tail = (m.GOODBYE_TAIL_MARKER, goodbye - origin, 16 + 24 * (len(rows) + 1))
        return b"".join(u64(h, goodbye - offset, size) for h, offset, size in ordered) + u64(*tail)

    def end(self, table: bytes | None = None) -> bytes:
        return bytes(self.data) + item(m.GOODBYE, self.table() if table is None else table)


def metadata(data: bytes) -> Files:
    return {"mpxar": data}


def unified(data: bytes) -> Files:
    return {"pxar": data}


def file_with(*attributes: bytes) -> bytes:
    """A split archive's metadata with one empty file "m"."""
    return Archive().add(entry(), *attributes, NO_CONTENT).end()


def member(*parts: bytes) -> bytes:
    return Archive().add(*parts).end()


def folder(*parts: bytes) -> bytes:
    """A directory's items, behind its FILENAME: without members."""
    begin = entry("dir") + b"".join(parts)
    return begin + item(m.GOODBYE, u64(m.GOODBYE_TAIL_MARKER, len(begin), 40))


EMPTY = Archive().end()
EMPTY_1 = Archive(b"").end()
ONE_FILE = file_with()
#: Where things stand in an archive with one member "m".
ROOT, MEMBER, MEMBER_ENTRY, MEMBER_REST = 24, 80, 98, 154


def corrupt(offset: int, path: str, sentence: str) -> str:
    return f": corrupt at offset {offset} in {path}: {sentence}"


# ---- what the stream is ----


def streams() -> Iterator[Case]:
    def version(number: int) -> Files:
        return metadata(item(m.FORMAT_VERSION, u64(number)) + EMPTY[24:])

    for name, number in (("3", 3), ("0", 0), ("huge", MAX64)):
        error = f": unsupported version {number} of the pxar format"
        yield Case(f"version-{name}", version(number), "5.1", error, inside=version(2))
    for size in (7, 9):
        data = item(m.FORMAT_VERSION, u64(2, 0)[:size]) + EMPTY[24:]
        yield Case(
            f"version-of-{size}-bytes",
            metadata(data),
            "11",
            corrupt(0, "/", f"FORMAT_VERSION with {size} bytes of content"),
        )
    due = "item where ENTRY is due"
    yield Case("version-twice", metadata(VERSION_2 + EMPTY), "5.1", corrupt(24, "/", f"FORMAT_VERSION {due}"))
    late = Archive(b"").add(first=VERSION_2).end()
    yield Case(
        "version-behind-the-root",
        unified(late),
        "5.1",
        corrupt(56, "/", "FORMAT_VERSION item where FILENAME or GOODBYE is due"),
    )
    late = Archive().add(VERSION_2, entry("fifo")).end()
    yield Case("version-in-a-member", metadata(late), "5.1", corrupt(MEMBER_ENTRY, "/m", f"FORMAT_VERSION {due}"))
    prelude = item(m.PRELUDE, b"{}")
    good = metadata(Archive(VERSION_2 + prelude).end())
    yield Case("prelude-first", metadata(prelude + EMPTY[24:]), "5.2", ": not an archive: ", inside=good)
    twice = Archive(VERSION_2 + prelude + prelude).end()
    yield Case("prelude-twice", metadata(twice), "5.2", corrupt(42, "/", f"PRELUDE {due}"), inside=good)
    late = Archive(root=entry("dir") + prelude).end()
    yield Case(
        "prelude-behind-the-root",
        metadata(late),
        "5.2",
        corrupt(80, "/", "PRELUDE item where FILENAME or GOODBYE is due"),
        inside=good,
    )
    version_1 = item(m.FORMAT_VERSION, u64(1))
    inside = unified(Archive(version_1).end())
    yield Case(
        "prelude-in-version-1",
        unified(Archive(version_1 + prelude).end()),
        "1",
        corrupt(24, "/", f"PRELUDE {due}"),
        inside=inside,
    )
    for name, start, at in (("version", VERSION_2, 24), ("prelude", VERSION_2 + prelude, 42)):
        data = start + filename(b"m") + entry("fifo")
        yield Case(f"no-root-behind-{name}", metadata(data), "11", corrupt(at, "/", f"FILENAME {due}"))
    for kind in ("file", "symlink", "fifo", "socket", "chardev", "blockdev"):
        mode = m.TYPE_BITS[kind] | 0o644
        data = Archive(root=entry(kind)).end()
        yield Case(f"root-is-a-{kind}", metadata(data), "11", corrupt(24, "/", f"root with mode 0{mode:o} is no directory"))
    yield Case(
        "root-with-mode-0", unified(Archive(b"", entry(mode=0)).end()), "11", corrupt(0, "/", "mode 00 of no file type")
    )
    not_one = ": not an archive: does not begin with an item of pxar"
    yield Case("zip", metadata(b"PK\3\4" + bytes(60)), "1", not_one)
    yield Case("one-byte", metadata(b"\0"), "1", not_one)
    yield Case("zeros", unified(bytes(4096)), "1", not_one)
    yield Case("payload-as-metadata", metadata(START + TAIL), "1", not_one)
    yield Case("index-as-metadata", metadata(bytes.fromhex("1c914ea519bab3cd") + bytes(64)), "1", not_one)
    yield Case("member-first", metadata(filename(b"m") + entry("fifo")), "1", not_one)
    yield Case("empty", metadata(b""), "11", corrupt(0, "/", "ends early: 16 more bytes wanted"))
    yield Case(
        "behind-the-end",
        metadata(EMPTY + b"\0"),
        "10.3",
        corrupt(120, "/", "bytes behind the root's goodbye table"),
        inside=metadata(EMPTY),
    )
    yield Case("two-archives", metadata(EMPTY + EMPTY), "10.3", corrupt(120, "/", "bytes behind the root's goodbye table"))
    yield Case(
        "unified-behind-the-end",
        unified(EMPTY_1 + TAIL),
        "10.3",
        corrupt(96, "/", "bytes behind the root's goodbye table"),
        inside=unified(EMPTY_1),
    )


# ---- sizes ----

#: Attribute items of one size: name, type, content.
EXACT = {
    "acl-user": ("ACL_USER", m.ACL_USER, 16),
    "acl-group": ("ACL_GROUP", m.ACL_GROUP, 16),
    "acl-group-obj": ("ACL_GROUP_OBJ", m.ACL_GROUP_OBJ, 8),
    "acl-default": ("ACL_DEFAULT", m.ACL_DEFAULT, 32),
    "acl-default-user": ("ACL_DEFAULT_USER", m.ACL_DEFAULT_USER, 16),
    "acl-default-group": ("ACL_DEFAULT_GROUP", m.ACL_DEFAULT_GROUP, 16),
    "quota-projid": ("QUOTA_PROJID", m.QUOTA_PROJID, 8),
}


def sizes() -> Iterator[Case]:
    def case(
        name: str,
        size: int,
        make: Callable[[int], bytes],
        inside: int,
        at: int = MEMBER_REST,
        path: str = "/m",
        *,
        cut: bool = False,
    ) -> Case:
        """`cut`: only up to the announcement, so that the file stays small; nobody may wait for the rest."""
        data = make(size)
        item_name = name.replace("-", "_").upper()
        error = corrupt(at, path, f"{item_name} with {size} bytes of content")
        kept = metadata(data[: at + 16] if cut else data)
        return Case(f"{name}-{size}", kept, "11", error, inside=metadata(make(inside)))

    for name, (_, kind, size) in EXACT.items():
        for wrong in (size - 1, size + 1):
            yield case(name, wrong, lambda n, kind=kind: file_with(item(kind, bytes(n))), size)  # type: ignore[misc]
    for wrong in (39, 41):
        yield case("entry", wrong, lambda n: member(item(m.ENTRY, (entry("fifo")[16:] + b"\0")[:n])), 40, MEMBER_ENTRY)
    v1 = struct.pack("<QQIIQ", 0o010644, 0, 0, 0, 1430487000 * 10**9)
    for wrong in (31, 33):
        yield case("entry-v1", wrong, lambda n: member(item(m.ENTRY_V1, (v1 + b"\0")[:n])), 32, MEMBER_ENTRY)
    for wrong in (15, 17):
        yield case("device", wrong, lambda n: member(entry("chardev"), item(m.DEVICE, bytes(n))), 16)
        yield case("payload-ref", wrong, lambda n: member(entry(), item(m.PAYLOAD_REF, (u64(16, 0) + b"\0")[:n])), 16)
    xattr = lambda n: file_with(item(m.XATTR, (b"user.k\0" + bytes(n))[:n] if n > 7 else bytes(n)))  # noqa: E731
    yield case("xattr", 0, xattr, 1)
    yield case("xattr", 65792, xattr, 65791, cut=True)
    yield case("fcaps", 65792, lambda n: file_with(item(m.FCAPS, bytes(n))), 65791, cut=True)
    symlink = lambda n: member(entry("symlink"), item(m.SYMLINK, b"t" * (n - 1) + b"\0" * (n > 0)))  # noqa: E731
    yield case("symlink", 0, symlink, 1)
    yield case("symlink", 4098, symlink, 4097)

    def hardlink(size: int) -> bytes:
        path = b"m" if size <= 10 else b"d" * (size - 9 - 4000) + b"/d" * 2000
        target = Archive().add(entry(), NO_CONTENT)
        return target.add(item(m.HARDLINK, (u64(106) + path + b"\0")[:size]), name=b"n").end()

    yield case("hardlink", 8, hardlink, 10, 204, "/n")
    yield case("hardlink", 4106, hardlink, 4105, 204, "/n")
    yield case("filename", 1, lambda n: Archive().add(entry("fifo"), name=b"n" * (n - 1)).end(), 2, MEMBER, "/")
    yield case("filename", 4098, lambda n: Archive().add(entry("fifo"), name=b"n" * (n - 1)).end(), 4097, MEMBER, "/")
    for name, kind, at, before in (
        ("entry", m.ENTRY, 24, VERSION_2),
        ("filename", m.FILENAME, 80, EMPTY[:80]),
        ("goodbye", m.GOODBYE, 80, EMPTY[:80]),
        ("xattr", m.XATTR, MEMBER_REST, ONE_FILE[:MEMBER_REST]),
    ):
        for full_size in (0, 15):
            path = "/m" if name == "xattr" else "/"
            error = corrupt(at, path, f"{name.upper()} item of {full_size} bytes, less than its header")
            yield Case(f"{name}-full-size-{full_size}", metadata(before + header(kind, full_size) + bytes(64)), "2", error)


# ---- names, links, targets ----


def names() -> Iterator[Case]:
    def named(name: bytes) -> Files:
        return metadata(Archive().add(entry("fifo"), name=name).end())

    for label, name, sentence in (
        ("dot", b".", 'name "."'),
        ("dot-dot", b"..", 'name ".."'),
        ("slash", b"a/b", "name with a slash"),
        ("only-slash", b"/", "name with a slash"),
        ("slash-last", b"a/", "name with a slash"),
        ("nul-inside", b"a\0b", "FILENAME with a zero byte inside"),
        ("nul-first", b"\0b", "FILENAME with a zero byte inside"),
        ("two-nuls", b"a\0", "FILENAME with a zero byte inside"),
    ):
        inside = named(b"..." if b"." in name else name.replace(b"/", b"-").replace(b"\0", b"\1"))
        yield Case(f"name-{label}", named(name), "5.9", corrupt(MEMBER, "/", sentence), inside=inside)
    data = Archive().add(entry("fifo"), first=item(m.FILENAME, b"ab"), name=b"ab").end()
    yield Case("name-without-nul", metadata(data), "5.9", corrupt(MEMBER, "/", "FILENAME without its final zero byte"))
    deep = Archive().add(entry("dir"), filename(b".."), entry("fifo"), name=b"d").end()
    yield Case("name-dot-dot-below", metadata(deep), "5.9", corrupt(MEMBER_REST, "/d", 'name ".."'))

    def link(content: bytes) -> Files:
        return metadata(member(entry("symlink"), item(m.SYMLINK, content)))

    for label, content, sentence in (
        ("without-nul", b"target", "SYMLINK without its final zero byte"),
        ("nul-inside", b"tar\0get\0", "SYMLINK with a zero byte inside"),
    ):
        yield Case(
            f"symlink-{label}", link(content), "5.12", corrupt(MEMBER_REST, "/m", sentence), inside=link(b"target\0")
        )


def hardlinks() -> Iterator[Case]:
    def link(distance: int, path: bytes = b"m\0") -> Files:
        """A file "m" at 80, its link "n" at 186."""
        return metadata(Archive().add(entry(), NO_CONTENT).add(item(m.HARDLINK, u64(distance) + path), name=b"n").end())

    good = link(106)
    for label, distance in (("0", 0), ("to-the-start", 186), ("beyond-the-start", 187), ("huge", MAX64)):
        error = corrupt(204, "/n", f"HARDLINK with distance {distance}")
        yield Case(f"hardlink-distance-{label}", link(distance), "5.14", error, inside=good)
    for label, path, sentence in (
        ("without-nul", b"m", "HARDLINK without its final zero byte"),
        ("nul-inside", b"m\0m\0", "HARDLINK with a zero byte inside"),
        ("path-empty", b"\0", "HARDLINK path with an empty name"),
        ("path-absolute", b"/m\0", "HARDLINK path with an empty name"),
        ("path-dot-dot", b"../m\0", "HARDLINK path with an impossible name"),
        ("path-dot", b"d/.\0", "HARDLINK path with an impossible name"),
        ("path-slash-last", b"m/\0", "HARDLINK path with an empty name"),
    ):
        yield Case(f"hardlink-{label}", link(106, path), "5.14", corrupt(204, "/n", sentence), inside=good)
    behind = Archive().add(entry(), NO_CONTENT).add(entry(), item(m.HARDLINK, u64(106) + b"m\0"), name=b"n").end()
    error = corrupt(260, "/n", "HARDLINK item where PAYLOAD_REF is due")
    yield Case("hardlink-behind-entry", metadata(behind), "5.14", error, inside=good)
    root = metadata(VERSION_2 + item(m.HARDLINK, u64(1) + b"m\0"))
    yield Case("hardlink-as-root", root, "5.14", corrupt(24, "/", "HARDLINK item where ENTRY is due"))

    # What only who follows the link can see. "m" at 80 is a file, "a" a symlink, "d" a directory, "l" a link to "m".
    def tree(distance_from: int) -> Files:
        archive = Archive().add(entry(), NO_CONTENT)
        archive.add(entry("symlink"), SYMLINK, name=b"a")
        archive.add(folder(), name=b"d")
        archive.add(item(m.HARDLINK, u64(len(archive.data) - 80) + b"m\0"), name=b"l")
        at = {name: offset for name, (_, offset, _) in zip(b"madl", archive.rows, strict=True)}
        target = {1: at[ord("m")] + 1, 2: at[ord("a")], 3: at[ord("d")], 4: at[ord("l")], 5: MEMBER_ENTRY, 6: 40}
        offset = target.get(distance_from, 80)
        return metadata(archive.add(item(m.HARDLINK, u64(len(archive.data) - offset) + b"m\0"), name=b"n").end())

    start = "HARDLINK to offset "
    for number, label, sentence in (
        (1, "one-too-near", "unknown item type"),
        (2, "symlink", f"{start}186, which is no file"),
        (3, "directory", f"{start}283, which is no file"),
        (4, "link", f"{start}397, which is no file"),
        (5, "entry", "ENTRY item where FILENAME or GOODBYE is due"),
        (6, "root", f"{start}40, where no member is"),
    ):
        yield Case(f"hardlink-to-{label}", tree(number), "10.2", sentence, LOOKUP, ("/n",), inside=tree(0))


# ---- kinds, attributes, items ----


def kinds() -> Iterator[Case]:
    link = item(m.HARDLINK, u64(1) + b"m\0")
    content = item(m.PAYLOAD, b"")
    good = {
        "file": NO_CONTENT,
        "symlink": SYMLINK,
        "chardev": DEVICE,
        "blockdev": DEVICE,
        "fifo": b"",
        "socket": b"",
        "dir": folder()[56:],
    }
    ends = {"file": "PAYLOAD_REF", "symlink": "SYMLINK", "chardev": "DEVICE", "blockdev": "DEVICE"}
    for kind, name, wrong in (
        ("file", "SYMLINK", SYMLINK),
        ("file", "DEVICE", DEVICE),
        ("file", "PAYLOAD", content),
        ("file", "GOODBYE", b""),
        ("symlink", "PAYLOAD_REF", NO_CONTENT),
        ("symlink", "DEVICE", DEVICE),
        ("symlink", "GOODBYE", b""),
        ("chardev", "SYMLINK", SYMLINK),
        ("chardev", "GOODBYE", b""),
        ("blockdev", "PAYLOAD_REF", NO_CONTENT),
        ("fifo", "DEVICE", DEVICE),
        ("fifo", "PAYLOAD_REF", NO_CONTENT),
        ("fifo", "HARDLINK", link),
        ("socket", "SYMLINK", SYMLINK),
        ("dir", "PAYLOAD_REF", NO_CONTENT),
        ("dir", "SYMLINK", SYMLINK),
        ("dir", "ENTRY", entry("fifo")),
    ):
        error = corrupt(MEMBER_REST, "/m", f"{name} item where {ends.get(kind, 'FILENAME or GOODBYE')} is due")
        bad = metadata(member(entry(kind), wrong))
        yield Case(
            f"{kind}-with-{name.lower().replace('_', '-')}",
            bad,
            "11",
            error,
            inside=metadata(member(entry(kind), good[kind])),
        )
    bad = unified(Archive(b"").add(entry(), NO_CONTENT).end())
    inside = unified(Archive(b"").add(entry(), content).end())
    yield Case(
        "reference-in-version-1", bad, "13", corrupt(130, "/m", "PAYLOAD_REF item where PAYLOAD is due"), inside=inside
    )
    for mode in (0, 0o150644, 0o130644, 0o644):
        error = corrupt(MEMBER_ENTRY, "/m", f"mode 0{mode:o} of no file type")
        yield Case(
            f"mode-{mode:o}", metadata(member(entry(mode=mode), NO_CONTENT)), "5.3", error, inside=metadata(ONE_FILE)
        )
    for nanos in (10**9, 2**32 - 1):
        error = corrupt(MEMBER_ENTRY, "/m", f"ENTRY with {nanos} nanoseconds")
        bad, inside = (metadata(member(entry("fifo", nanos=n))) for n in (nanos, 10**9 - 1))
        yield Case(f"nanoseconds-{nanos}", bad, "5.3", error, inside=inside)


def items() -> Iterator[Case]:
    for name, kind, size in (
        ("ACL_GROUP_OBJ", m.ACL_GROUP_OBJ, 8),
        ("ACL_DEFAULT", m.ACL_DEFAULT, 32),
        ("FCAPS", m.FCAPS, 20),
        ("QUOTA_PROJID", m.QUOTA_PROJID, 8),
    ):
        one = item(kind, bytes(size))
        user = item(m.ACL_USER, u64(1, 2))
        error = corrupt(MEMBER_REST + len(one) + 32, "/m", f"second {name} of one entry")
        # Not side by side, and the same value: still one too many.
        yield Case(
            f"second-{name.lower().replace('_', '-')}",
            metadata(file_with(one, user, one)),
            "11",
            error,
            inside=metadata(file_with(one, user)),
        )
    bad = metadata(file_with(item(m.XATTR, b"user.k=v")))
    inside = metadata(file_with(item(m.XATTR, b"user.k\0v")))
    yield Case(
        "xattr-without-nul",
        bad,
        "5.5",
        corrupt(MEMBER_REST, "/m", "XATTR without a zero byte behind its name"),
        inside=inside,
    )
    for label, kind in (
        ("0", 0),
        ("goodbye-tail-marker", m.GOODBYE_TAIL_MARKER),
        ("near-entry", m.ENTRY ^ 1),
        ("max", MAX64),
    ):
        text = f"unknown item type {kind:016x}"
        yield Case(
            f"item-{label}-in-a-member",
            metadata(file_with(item(kind))),
            "11",
            corrupt(MEMBER_REST, "/m", text),
            inside=metadata(ONE_FILE),
        )
        yield Case(
            f"item-{label}-between-members",
            metadata(Archive().add(first=item(kind)).end()),
            "11",
            corrupt(MEMBER, "/", text),
        )
    for name, kind in (("PAYLOAD_START_MARKER", m.PAYLOAD_START_MARKER), ("PAYLOAD_TAIL_MARKER", m.PAYLOAD_TAIL_MARKER)):
        error = corrupt(MEMBER, "/", f"{name} item where FILENAME or GOODBYE is due")
        yield Case(
            f"{name.lower().replace('_', '-')}-in-metadata", metadata(Archive().add(first=item(kind)).end()), "3", error
        )
    for name, part in (("XATTR", item(m.XATTR, b"user.k\0v")), ("ENTRY", entry("fifo")), ("PAYLOAD_REF", NO_CONTENT)):
        error = corrupt(MEMBER_REST + 32, "/", f"{name} item where FILENAME or GOODBYE is due")
        bad = Archive().add(entry(), NO_CONTENT).add(first=part).end()
        yield Case(f"{name.lower().replace('_', '-')}-without-name", metadata(bad), "4", error)
    for name, part in (("FILENAME", filename(b"n")), ("GOODBYE", b""), ("XATTR", item(m.XATTR, b"user.k\0v"))):
        error = corrupt(MEMBER_ENTRY, "/m", f"{name} item where ENTRY is due")
        yield Case(f"name-before-{name.lower()}", metadata(member(part)), "4", error)


def goodbyes() -> Iterator[Case]:
    one = Archive().add(entry("fifo"))
    table, at = one.table(), len(one.data)
    good = metadata(one.end())
    row, tail = table[:24], table[24:]
    for label, content in (("0", b""), ("23", table[:23])):  # seen where the member "m" ends
        error = corrupt(at, "/m", f"GOODBYE with {label} bytes of content")
        yield Case(f"goodbye-{label}", metadata(one.end(content)), "11", error, inside=good)
    for label, content in (
        ("25", table[:25]),
        ("47", table[:47]),
        ("49", table + b"\0"),
        ("one-row-less", tail),
        ("one-row-more", row + table),
    ):
        error = corrupt(at, "/", f"GOODBYE with {len(content)} bytes of content for 1 members")
        yield Case(f"goodbye-{label}", metadata(one.end(content)), "11", error, inside=good)
    hash_, offset, size = struct.unpack("<QQQ", tail)
    for label, wrong in (
        ("tail-hash", u64(hash_ ^ 1, offset, size)),
        ("tail-offset-from-entry", u64(hash_, offset - 24, size)),
        ("tail-offset-0", u64(hash_, 0, size)),
        ("tail-size", u64(hash_, offset, size - 24)),
        ("tail-size-huge", u64(hash_, offset, MAX64)),
    ):
        error = corrupt(at, "/", "GOODBYE with a wrong tail row")
        yield Case(f"goodbye-{label}", metadata(one.end(row + wrong)), "9.3", error, inside=good)
        if label != "tail-hash":
            continue
        error = corrupt(at + 40, "/", "no tail row where the directory ends")
        yield Case(f"goodbye-{label}-at", metadata(one.end(row + wrong)), "10.1", error, LOOKUP, ("/m",), inside=good)
    for label, wrong, sentence in (
        ("tail-offset", u64(hash_, offset - 24, size), f"tail row with offset {offset - 24}"),
        ("tail-size-of-23", u64(hash_, offset, 16 + 23), "tail row of a table of 39 bytes"),
        ("tail-size-odd", u64(hash_, offset, size + 1), f"tail row of a table of {size + 1} bytes"),
        ("tail-size-beyond", u64(hash_, offset, 24 * 999 + 16), "tail row of a table of 23992 bytes"),
        ("tail-size-max", u64(hash_, offset, MAX64), f"tail row of a table of {MAX64} bytes"),
    ):
        error = corrupt(at + 40, "/", sentence)
        yield Case(f"goodbye-{label}-at", metadata(one.end(row + wrong)), "10.1", error, LOOKUP, ("/m",), inside=good)
    short = u64(hash_, at + 24, 40)
    error = corrupt(at + 24, "/", "no GOODBYE where the tail row says")
    yield Case("goodbye-header-at", metadata(one.end(row + short)), "10.1", error, LOOKUP, ("/m",), inside=good)
    name, offset, size = struct.unpack("<QQQ", row)
    beyond = f"goes on to offset {at}, but its goodbye row ends at {at - 1}"
    no_name = "a goodbye row that does not lead to a FILENAME"
    rows = (
        ("row-offset-0", u64(name, 0, size), corrupt(at + 16, "/", "goodbye row with offset 0")),
        ("row-offset-beyond", u64(name, offset + 1, size), corrupt(at + 16, "/", f"goodbye row with offset {offset + 1}")),
        ("row-offset-max", u64(name, MAX64, size), corrupt(at + 16, "/", f"goodbye row with offset {MAX64}")),
        ("row-size-max", u64(name, offset, MAX64), corrupt(at + 16, "/", f"goodbye row with size {MAX64}")),
        ("row-size-less", u64(name, offset, size - 1), corrupt(MEMBER, "/m", beyond)),
        ("row-to-entry", u64(name, offset - 18, size - 18), corrupt(MEMBER_ENTRY, "/", no_name)),
    )
    for label, wrong, error in rows:
        yield Case(f"goodbye-{label}-at", metadata(one.end(wrong + tail)), "10.1", error, LOOKUP, ("/m",), inside=good)
    nested = Archive().add(entry("dir"), item(m.GOODBYE, u64(m.GOODBYE_TAIL_MARKER, 55, 40)), name=b"d")
    inside = metadata(Archive().add(folder(), name=b"d").end())
    yield Case(
        "goodbye-of-a-directory",
        metadata(nested.end()),
        "9.3",
        corrupt(MEMBER_REST, "/d", "GOODBYE with a wrong tail row"),
        inside=inside,
    )
    error = corrupt(170, "/d", "tail row with offset 55")
    yield Case("goodbye-of-a-directory-at", metadata(nested.end()), "10.1", error, LOOKUP, ("/d/m",), inside=inside)


# ---- ends ----


def ends() -> Iterator[Case]:
    whole = Archive(VERSION_2 + item(m.PRELUDE, b"prelude")).add(entry(), item(m.XATTR, b"user.k\0v"), NO_CONTENT).end()
    marks = {
        "version": 20,
        "prelude": 42,
        "root-header": 55,
        "root": 70,
        "name": 120,
        "entry": 140,
        "xattr": 200,
        "reference": 225,
        "goodbye": 260,
        "tail": len(whole) - 1,
    }
    for label, size in marks.items():
        yield Case(f"cut-in-{label}", metadata(whole[:size]), "11", "ends early", inside=metadata(whole))
    yield Case(
        "cut-before-goodbye",
        metadata(EMPTY[:80]),
        "11",
        corrupt(80, "/", "ends early: 16 more bytes wanted"),
        inside=metadata(EMPTY),
    )

    def stored(content: bytes) -> bytes:
        return Archive(b"").add(entry(), item(m.PAYLOAD, content)).end()

    yield Case(
        "cut-in-content", unified(stored(bytes(1000))[:500]), "11", "ends early", inside=unified(stored(bytes(1000)))
    )
    too_long = bytearray(stored(b"content"))
    too_long[138:146] = u64(16 + 8)
    yield Case(
        "content-one-byte-longer", unified(bytes(too_long)), "11", "unknown item type", inside=unified(stored(b"content"))
    )

    # Sizes that nothing behind them justifies.
    def huge(label: str, data: bytes, error: str, *, pxar: bool = False, rule: str = "11") -> Case:
        return Case(f"huge-{label}", unified(data) if pxar else metadata(data), rule, error, huge=True)

    for label, full_size in (("2-63", 2**63), ("max", MAX64)):
        size = full_size - 16
        yield huge(
            f"prelude-{label}",
            VERSION_2 + header(m.PRELUDE, full_size) + b"{}",
            f": at offset 24: prelude of {size} bytes: at most {2**26}",
        )
        start = Archive(b"").add(entry()).data
        text = "ends early" if label == "2-63" else f"PAYLOAD of {size} bytes"
        yield huge(f"payload-{label}", bytes(start) + header(m.PAYLOAD, full_size) + b"content", text, pxar=True)
        text = f"GOODBYE with {size} bytes of content for 0 members"
        yield huge(f"goodbye-{label}", EMPTY[:80] + header(m.GOODBYE, full_size) + EMPTY[96:], corrupt(80, "/", text))
        for name, kind in (
            ("FILENAME", m.FILENAME),
            ("ENTRY", m.ENTRY),
            ("XATTR", m.XATTR),
            ("FCAPS", m.FCAPS),
            ("SYMLINK", m.SYMLINK),
            ("HARDLINK", m.HARDLINK),
        ):
            at = MEMBER if name == "FILENAME" else MEMBER_ENTRY if name in ("ENTRY", "HARDLINK") else MEMBER_REST
            before = member(entry("symlink" if name == "SYMLINK" else "file"), NO_CONTENT)[:at]
            error = corrupt(at, "/" if name == "FILENAME" else "/m", f"{name} with {size} bytes of content")
            yield huge(f"{name.lower()}-{label}", before + header(kind, full_size) + bytes(100), error)
    many = 2**40
    yield huge(
        "goodbye-rows",
        EMPTY[:80] + header(m.GOODBYE, 16 + 24 * many),
        corrupt(80, "/", f"GOODBYE with {24 * many} bytes of content for 0 members"),
    )
    yield huge(
        "prelude-limit",
        VERSION_2 + header(m.PRELUDE, 16 + 2**26 + 1),
        ": at offset 24: prelude of 67108865 bytes: at most 67108864",
    )
    yield huge("prelude-cut", VERSION_2 + header(m.PRELUDE, 16 + 2**26) + bytes(1000), "ends early")


def lookups() -> Iterator[Case]:
    """The three errors, and what is too short, once more for who starts from the end."""

    def at(label: str, files: Files, error: str, path: str = "/m", rule: str = "10.1") -> Case:
        inside = metadata(Archive().add(entry(), NO_CONTENT).add(entry("fifo"), name=b"n").end())
        return Case(f"{label}-at", files, rule, error, LOOKUP, (path,), inside=inside)

    yield at(
        "version-3", metadata(item(m.FORMAT_VERSION, u64(3)) + ONE_FILE[24:]), ": unsupported version 3 of the pxar format"
    )
    yield at("zip", metadata(b"PK\3\4" + bytes(60)), ": not an archive: ")
    yield at("of-23-bytes", metadata(ONE_FILE[:23]), corrupt(23, "/", "ends early"))
    yield at("of-24-bytes", metadata(ONE_FILE[:24]), corrupt(24, "/", "ends early"))
    yield at("only-root", metadata(ONE_FILE[:80]), "ends early")
    yield at(
        "cut-in-tail", metadata(ONE_FILE[:-1]), corrupt(len(ONE_FILE) - 25, "/", "no tail row where the directory ends")
    )
    yield at(
        "behind-the-end",
        metadata(ONE_FILE + b"\0"),
        corrupt(len(ONE_FILE) - 23, "/", "no tail row where the directory ends"),
    )
    yield at(
        "root-is-a-file", metadata(Archive(root=entry()).end()), corrupt(24, "/", "root with mode 0100644 is no directory")
    )
    two = Archive().add(entry("fifo")).add(entry("fifo"), name=b"n")
    yield at("unknown-item", metadata(file_with(item(0))), corrupt(MEMBER_REST, "/m", "unknown item type"))
    two.data[MEMBER_REST : MEMBER_REST + 8] = u64(m.XATTR)
    yield at(
        "row-to-no-name",
        metadata(two.end()),
        corrupt(MEMBER_REST, "/", "a goodbye row that does not lead to a FILENAME"),
        "/n",
    )


# ---- payload streams ----


def split(payload: bytes, *references: tuple[int, int]) -> Files:
    """Files "0", "1" ... that refer to (offset, size)."""
    archive = Archive()
    for number, reference in enumerate(references):
        archive.add(entry(), item(m.PAYLOAD_REF, u64(*reference)), name=b"%d" % number)
    return {"mpxar": archive.end(), "ppxar": payload}


def payloads() -> Iterator[Case]:
    ab = START + item(m.PAYLOAD, b"aaa") + item(m.PAYLOAD, b"bb") + TAIL
    both = ((16, 3), (35, 2))
    good = split(ab, *both)
    nothing = split(START + TAIL)

    def at_start(label: str, payload: bytes, *, rule: str = "8") -> Case:
        return Case(
            f"payload-start-{label}",
            split(payload),
            rule,
            ".ppxar: corrupt at offset 0 in /: no payload start marker",
            inside=nothing,
        )

    yield at_start("is-tail", TAIL + TAIL)
    yield at_start("is-file", item(m.PAYLOAD) + TAIL)
    yield at_start("is-zero", bytes(32))
    yield at_start("of-17-bytes", header(m.PAYLOAD_START_MARKER, 17) + b"\0" + TAIL)
    yield at_start("of-15-bytes", header(m.PAYLOAD_START_MARKER, 15) + TAIL)
    yield at_start("is-metadata", EMPTY)
    for size in (0, 15):
        sentence = f"ends early: {16 - size} more bytes wanted"
        yield Case(
            f"payload-of-{size}-bytes",
            split(START[:size]),
            "8",
            f".ppxar: corrupt at offset {size} in /: {sentence}",
            inside=nothing,
        )
    for label, payload in (
        ("missing", START),
        ("cut", START + TAIL[:15]),
        ("with-byte-behind", START + TAIL + b"\0"),
        ("of-17-bytes", START + header(m.PAYLOAD_TAIL_MARKER, 17)),
        ("is-start", START + START),
        ("file-behind", START + TAIL + item(m.PAYLOAD, b"x")),
    ):
        yield Case(f"payload-tail-{label}", split(payload), "8", "no payload tail marker at the end", inside=nothing)
    missing = split(ab[:-16], *both)
    yield Case("payload-tail-missing-behind-files", missing, "8", "no payload tail marker at the end", inside=good)

    wrong = "payload header at payload offset 16 is not that of a file of "
    for label, files, size in (
        ("type", split(START + item(m.PAYLOAD_REF, b"aaa") + TAIL, (16, 3)), 3),
        ("is-tail", split(START + TAIL, (16, 0)), 0),
        ("size-less", split(ab, (16, 2), (35, 2)), 2),
        ("size-more", split(ab, (16, 4), (35, 2)), 4),
        ("size-huge", split(START + header(m.PAYLOAD, MAX64) + TAIL, (16, 3)), 3),
    ):
        error = corrupt(154 + 32, "/0", f"{wrong}{size} bytes")
        yield Case(f"payload-header-{label}", files, "8", error, inside=good)
        at = Case(f"payload-header-{label}-at", files, "8", f"{wrong}{size} bytes", LOOKUP, ("/0",), inside=good)
        yield at
    one_off = "payload header at payload offset 17 is not that of a file of 3 bytes"
    yield Case("payload-header-one-behind", split(ab, (17, 3), (36, 2)), "8", one_off, inside=good)

    backwards = "reference to payload offset 16, but the payload was read up to 53"
    yield Case("reference-backwards", split(ab, (35, 2), (16, 3)), "11", backwards, inside=good)
    twice = "reference to payload offset 16, but the payload was read up to 35"
    yield Case("reference-twice", split(ab, (16, 3), (16, 3)), "8", twice, inside=good)
    inside_other = split(START + item(m.PAYLOAD, item(m.PAYLOAD, b"x")) + TAIL, (16, 17), (32, 1))
    error = "reference to payload offset 32, but the payload was read up to 49"
    yield Case("reference-into-another", inside_other, "8", error, inside=good)
    for label, reference in (("0", (0, 0)), ("15", (15, 0))):
        error = corrupt(MEMBER_REST, "/0", f"reference to payload offset {reference[0]}")
        yield Case(f"reference-offset-{label}", split(ab, reference), "5.11", error, inside=good)
    for label, reference in (
        ("end-overflows", (16, MAX64)),
        ("offset-max", (MAX64, 0)),
        ("header-overflows", (MAX64 - 15, 0)),
        ("size-overflows", (MAX64 - 31, 16)),
    ):
        error = corrupt(MEMBER_REST, "/0", f"reference to {reference[1]} bytes at payload offset {reference[0]}")
        yield Case(f"reference-{label}", split(ab, reference), "11", error, inside=good, huge=True)
    for label, reference in (("behind-the-end", (72, 0)), ("far-outside", (2**62, 3)), ("cut-content", (35, 999))):
        error = "ends early" if label != "cut-content" else "is not that of a file of 999 bytes"
        yield Case(f"reference-{label}", split(ab, reference), "11", error, inside=good, huge=label == "far-outside")
        error = f"reference to {reference[1]} bytes at payload offset {reference[0]}, but "
        yield Case(f"reference-{label}-at", split(ab, reference), "11", error, LOOKUP, ("/0",), inside=good)
    announced = split(START + header(m.PAYLOAD, 16 + 2**40) + b"only this" + TAIL, (16, 2**40))
    yield Case("content-cut", announced, "11", "ends early", inside=good, huge=True)
    beside = {"pxar": EMPTY_1, "ppxar": START + TAIL}
    yield Case("payload-beside-version-1", beside, "1", "an archive of version 1 has no payload stream", inside=nothing)
    newer = {"mpxar": item(m.FORMAT_VERSION, u64(3)) + EMPTY[24:], "ppxar": START + TAIL}
    yield Case("payload-beside-version-3", newer, "5.1", "unsupported version 3", inside=nothing)


def cases() -> Iterator[Case]:
    for group in (streams, sizes, names, hardlinks, kinds, items, goodbyes, ends, lookups, payloads):
        for case in group():
            yield case
