"""The golden encodings: a sorted list of digests, and beside it the streams themselves, so that a difference can be shown.

    results/golden/encodings.csv          case,recipe,version,stream,size,sha256; history lines as in golden.py
    results/golden/streams/TREE.tar.xz    CASE/STREAM and CASE/STREAM.holes for every row of the tree

What judges is the list. The streams only explain: they are kept because no second program has to agree on them, and small,
since the contents of files, which the manifests can always make again, are left out of them: STREAM holds the other bytes,
STREAM.holes, a line `OFFSET SHA256` each, says where which contents belong.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

from .. import locate
from . import golden
from .encoding_cases import Case, Made
from .golden import GoldenBroken

#: Shorter contents are not worth a hole.
HOLE_MIN = 64
#: Of a file of streams, unpacked.
UNPACKED_MAX = 32 << 20
STREAM_MAX = 64 << 20

Key = tuple[str, int, str]  # case, version of the archive format, stream


@dataclass(frozen=True, order=True)
class Row:
    case: str
    recipe: str  # of the case: rows of another recipe are never compared
    version: int
    stream: str
    size: int
    sha256: str

    @property
    def key(self) -> Key:
        return self.case, self.version, self.stream


@dataclass(frozen=True)
class Golden:
    rows: tuple[Row, ...] = ()  # sorted
    history: tuple[str, ...] = ()
    #: Of the list, for who wants to look.
    lines: Mapping[Key, int] = field(default_factory=dict, compare=False, repr=False)

    def of(self, case: str) -> list[Row]:
        return [row for row in self.rows if row.case == case]


COLUMNS = tuple(f.name for f in fields(Row))


def csv_path(folder: Path | None = None) -> Path:
    return (folder or locate.results() / "golden") / "encodings.csv"


def streams_path(tree: str, folder: Path | None = None) -> Path:
    return (folder or locate.results() / "golden") / "streams" / f"{tree}.tar.xz"


def rows_of(case: Case, made: Made) -> list[Row]:
    recipe = case.recipe()
    return [
        Row(case.id, recipe, made.version, name, len(data), hashlib.sha256(data).hexdigest())
        for name, data in sorted(made.streams.items())
    ]


# ---- the list ----


def _key(row: list[str]) -> tuple[str, int, str]:
    """ValueError: it is no row."""
    if not (all(row[:5]) and _number(row[2]) and _number(row[4]) and re.fullmatch(r"[0-9a-f]{64}", row[5])):
        raise ValueError(f"expected {','.join(COLUMNS)} with numbers and a digest")
    return row[0], int(row[2]), row[3]


def parse(text: str, name: str) -> Golden:
    """GoldenBroken names file and line."""
    read = golden.table(text, name, COLUMNS, _key)
    rows = tuple(Row(row[0], row[1], int(row[2]), row[3], int(row[4]), row[5]) for _, row in read.rows)
    return Golden(rows, read.history, {made.key: number for made, (number, _) in zip(rows, read.rows, strict=True)})


def _number(word: str) -> bool:
    return re.fullmatch(r"0|[1-9][0-9]{0,18}", word) is not None


def read(path: Path) -> Golden:
    """A file that is not there has no rows. GoldenBroken, OSError."""
    text = golden.text_of(path)
    return Golden() if text is None else parse(text, str(path))


def to_text(known: Golden) -> str:
    return golden.table_text(known.history, COLUMNS, map(astuple, sorted(known.rows, key=lambda row: row.key)))


# ---- the streams ----


def squeeze(stream: bytes, contents: Sequence[bytes]) -> tuple[bytes, bytes]:
    """(the bytes that are no contents, the holes) for fill(). `contents`: longest first."""
    left = [(0, len(stream))]
    holes = []
    for content in contents:
        if len(content) < HOLE_MIN:
            break
        after = []
        for begin, end in left:
            while (at := stream.find(content, begin, end)) >= 0:
                holes.append((at, hashlib.sha256(content).hexdigest()))
                if at > begin:
                    after.append((begin, at))
                begin = at + len(content)
            if begin < end:
                after.append((begin, end))
        left = after
    lines = "".join(f"{at} {digest}\n" for at, digest in sorted(holes))
    return b"".join(stream[begin:end] for begin, end in left), lines.encode()


def fill(rest: bytes, holes: bytes, contents: Mapping[str, bytes]) -> bytes:
    """The stream again; `contents` by SHA-256. GoldenBroken."""
    parts: list[bytes] = []
    size = used = 0
    for line in holes.decode(errors="replace").splitlines():
        found = re.fullmatch(r"([0-9]{1,18}) ([0-9a-f]{64})", line)
        content = contents.get(found[2]) if found else None
        if found is None or content is None:
            raise GoldenBroken(f"no contents for {line[:90]!r}")
        between = int(found[1]) - size
        if not 0 <= between <= len(rest) - used:
            raise GoldenBroken(f"contents at {found[1]} do not fit into the stream")
        parts += [rest[used : used + between], content]
        used += between
        size += between + len(content)
        if size > STREAM_MAX:
            raise GoldenBroken(f"a stream of more than {STREAM_MAX} bytes")
    return b"".join((*parts, rest[used:]))


def pack(members: Mapping[str, bytes]) -> bytes:
    """A tar.xz that depends on names and bytes alone."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            info = tarfile.TarInfo(name)
            info.size = len(members[name])
            archive.addfile(info, io.BytesIO(members[name]))
    return lzma.compress(out.getvalue(), preset=9)


def unpack(data: bytes, name: str) -> dict[str, bytes]:
    """Members by name; GoldenBroken, also for what is too large."""
    try:
        unpacker = lzma.LZMADecompressor(memlimit=256 << 20)
        plain = unpacker.decompress(data, max_length=UNPACKED_MAX)
        if not unpacker.eof:
            raise GoldenBroken(f"{name}: cut off, or more than {UNPACKED_MAX} bytes")
        found = {}
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is None:
                    raise GoldenBroken(f"{name}: {member.name} is no file")
                found[member.name] = file.read()
        return found
    except (lzma.LZMAError, tarfile.TarError, EOFError, ValueError) as error:
        raise GoldenBroken(f"{name}: {error}") from None


def read_members(path: Path) -> dict[str, bytes]:
    """{} when there is no such file. GoldenBroken, OSError."""
    try:
        return unpack(path.read_bytes(), str(path))
    except FileNotFoundError:
        return {}


def members_of(case: Case, made: Made, contents: Sequence[bytes]) -> dict[str, bytes]:
    found = {}
    for name, data in made.streams.items():
        rest, holes = squeeze(data, contents)
        found[f"{case.id}/{name}"] = rest
        if holes:
            found[f"{case.id}/{name}.holes"] = holes
    return found


def stream_of(members: Mapping[str, bytes], row: Row, contents: Mapping[str, bytes]) -> bytes:
    """The golden stream of a row. GoldenBroken: it is not kept, or not the one that the list means."""
    name = f"{row.case}/{row.stream}"
    if name not in members:
        raise GoldenBroken(f"{name} is not kept")
    stream = fill(members[name], members.get(f"{name}.holes", b""), contents)
    if hashlib.sha256(stream).hexdigest() != row.sha256:
        raise GoldenBroken(f"{name} is not the stream that the list has")
    return stream


# ---- blessing ----


def bless(
    rows: Iterable[Row], members: Mapping[str, Mapping[str, bytes]], reason: str, folder: Path | None = None
) -> list[str]:
    """Rewrites the list and the streams (by tree) where they differ. Says what was written. golden.NotBlessed, OSError."""
    line = golden.history_line(reason)
    path = csv_path(folder)
    old = read(path)
    new = tuple(sorted(rows, key=lambda row: row.key))
    written = []
    for tree, kept in sorted(members.items()):
        at = streams_path(tree, folder)
        try:
            same = read_members(at) == kept
        except GoldenBroken:
            same = False
        if not same:
            golden.write_whole(at, pack(kept))
            written.append(at.name)
    for at in sorted(streams_path("x", folder).parent.glob("*.tar.xz")):
        if at.name.removesuffix(".tar.xz") not in members:
            at.unlink()
            written.append(f"{at.name} (removed)")
    if new != old.rows:
        golden.write_whole(path, to_text(Golden(new, (*old.history, line))))
        written.append(f"{path.name}: blessed: {line}")
    return written or [f"{path.name}: nothing differs, nothing was written"]

