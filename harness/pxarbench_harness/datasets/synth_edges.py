"""Files that end exactly on chunk ends, one byte before, one byte behind; files around the least, the average and the largest
chunk; cuts by the rolling hash at the first place where there may be one; a cut inside the header of a file.

Rules of bench/spec/chunking.md: a payload stream is a marker of 16 bytes, then a header of 16 bytes and the contents for each
file. A chunk ends at the first end of a file that makes it as large as the least chunk (average / 4) but not larger than the
largest (average * 4); else where the hash accepts; else when it is largest. Here the hash accepts where it was planted only:
contents are noise where no cut is tested (in a chunk's first average / 4), and a pattern of 32 bytes that hashes to 0 behind.
So the ends of all chunks are known before anything is written, and `Layout.ends` lists them; a test compares them with what
the program cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .. import locate
from .planting import SECOND_NS, Data, Exactly, File, Piece, Plan, Repeated, noise, timestamp
from .recipe import Recipe

_HEADER = 16
_HEADER_START = 0x28147A1B0B7C1A25.to_bytes(8, "little")  # of a file in the payload stream
_WINDOW = 64
_PERIOD = 32  # contents repeated after so many bytes hash to 0, which is never accepted
_SAFE = 2 * _WINDOW  # between noise and the first tested place


@lru_cache(maxsize=1)
def _table() -> tuple[int, ...]:
    text = (locate.REPOSITORY / "bench" / "spec" / "buzhash_table.txt").read_text()
    return tuple(int(line, 16) for line in text.split())


def _turned(value: int, by: int) -> int:
    by %= 32
    return (value << by | value >> (32 - by)) & 0xFFFFFFFF


def accepted_by(window: bytes, average: int) -> bool:
    """Whether the hash of these 64 bytes allows a cut behind them."""
    h = 0
    for back, byte in enumerate(reversed(window)):
        h ^= _turned(_table()[byte], back)
    return h & (2 * average - 1) >= 2 * average - 3


def planted(window: bytes, at: int, average: int) -> bytes:
    """Four bytes that, put into the 64 of `window` from `at` on, make the hash accept. Two halves that meet: all pairs of
    the first two bytes are kept, pairs of the last two are tried."""
    table, mask = _table(), 2 * average - 1
    h = 0
    for place, byte in enumerate(window):
        if not at <= place < at + 4:
            h ^= _turned(table[byte], _WINDOW - 1 - place)
    turns = [_WINDOW - 1 - place for place in range(at, at + 4)]
    first: dict[int, bytes] = {}
    for a in range(256):
        for b in range(256):
            first.setdefault((_turned(table[a], turns[0]) ^ _turned(table[b], turns[1])) & mask, bytes((a, b)))
    for c in range(256):
        for d in range(256):
            last = _turned(table[c], turns[2]) ^ _turned(table[d], turns[3])
            half = first.get((h ^ last ^ mask) & mask)
            if half is not None:
                return half + bytes((c, d))
    raise AssertionError("2^32 choices and none that hits one in 2^23")


@dataclass
class _Placed:
    name: str
    begin: int  # of the contents, in the stream
    size: int
    plant: int | None  # place in the stream where the hash has to accept


class Layout:
    """Files one behind the other in the payload stream of a first backup, and where its chunks end."""

    def __init__(self, average: int) -> None:
        self.average, self.least, self.largest = average, average // 4, average * 4
        self.files: list[_Placed] = []
        self.ends: list[int] = []
        self.position = _HEADER  # behind the start marker
        self._base = 0  # of the chunk that is open
        self._plants: list[int] = []

    @property
    def open_bytes(self) -> int:
        """Of the chunk that the next file's header may close."""
        return self.position - self._base

    def add(self, name: str, size: int, plant: int | None = None) -> None:
        """`plant`: the size of the open chunk at which the hash is to accept (counted as if this file's header closes a
        chunk first when it can)."""
        self._close_if_possible()
        begin = self.position + _HEADER
        place = None if plant is None else self._base + plant
        self.files.append(_Placed(f"{len(self.files):03d}-{name}", begin, size, place))
        self._plants += () if place is None else (place,)
        self.position = begin + size
        self._fill()

    def _close(self, end: int) -> None:
        self.ends.append(end)
        self._base = end

    def _close_if_possible(self) -> None:
        if self.least <= self.open_bytes <= self.largest:
            self._close(self.position)

    def _fill(self) -> None:
        """Cuts within what was added. The end of a file counts before a cut by hash in front of it, when it is near enough;
        nothing here depends on how the stream is cut into pieces, because both never compete."""
        while self.open_bytes > self.largest:
            hits = [p for p in self._plants if self.least <= p - self._base <= self.largest]
            self._close(hits[0] if hits else self._base + self.largest)

    def fresh(self) -> None:
        """The next file begins a chunk."""
        while not self.least <= self.open_bytes <= self.largest:
            self.add("filler", self.least)

    def finish(self) -> None:
        """The end marker belongs to the last chunk."""
        self.position += _HEADER
        self._fill()
        self._close(self.position)


def layout(average: int) -> Layout:
    """All cases. Names tell what is meant."""
    out = Layout(average)
    least, largest = out.least, out.largest
    out.add("first", least - 2 * _HEADER)  # with both markers in front exactly the least chunk
    for word, size in (("min", least), ("avg", average), ("max", largest)):
        for delta in (-1, 0, 1):
            out.fresh()
            out.add(f"{word}{delta:+d}", size - _HEADER + delta)
            out.add("behind", 1000)
    for delta in (-1, 0, 1):
        out.fresh()
        third = least // 3
        for size in (third, third, least - 2 * third + delta):
            out.add(f"three-make-min{delta:+d}", size - _HEADER)
        out.add("behind", 1000)
    for delta in (-1, 0, 1):
        out.fresh()
        out.add(f"max-and-min{delta:+d}", largest + least - _HEADER + delta)
        out.add("behind", 0)
    for delta in (0, 1):
        out.fresh()
        out.add(f"two-max{delta:+d}", 2 * largest - _HEADER + delta)
        out.add("behind", 1)
    out.fresh()
    out.add("exact-then-empty", least - _HEADER)
    for _ in range(3):
        out.add("empty", 0)
    out.add("one-byte", 1)
    for delta in (-1, 0, 1):
        # Too far away for the file's end to count: the hash decides, from the least chunk on.
        out.fresh()
        out.add(f"hash-at-min{delta:+d}", largest + 2 * least, plant=least + delta)
    out.fresh()
    out.add("hash-at-max-1", largest + average, plant=largest - 1)
    out.fresh()
    out.add("one-byte-before-hash", least - _HEADER - 1, plant=least)
    out.add("header-cut-in-two", largest + least)
    out.fresh()
    for size in (least // 8, least // 8, 0, 3 * least, 17):
        out.add("ordinary", size)
    out.finish()
    return out


def _contents(seed: str, file: _Placed, ends: Sequence[int], least: int, average: int) -> tuple[Piece, ...]:
    """Noise in the untested front of each chunk, a quiet pattern elsewhere, four planted bytes."""
    pattern = noise(f"{seed}/{file.name}/pattern", _PERIOD)
    stop = file.begin + file.size
    pieces: list[Data | Repeated] = []
    at = file.begin

    def quiet(until: int) -> None:
        nonlocal at
        if until > at:
            pieces.append(Repeated(until - at, pattern, at - file.begin))
            at = until

    for begin, end in zip([0, *ends], ends, strict=False):
        noisy = min(begin + least - _SAFE, stop, end)
        if begin >= stop or end <= file.begin:
            continue
        if noisy > at:
            pieces.append(Data(noisy - at, f"{seed}/{file.name}/{at - file.begin}"))
            at = noisy
        quiet(min(end, stop))
    quiet(stop)
    if file.plant is None:
        return tuple(pieces)
    return (_plant(pieces, file.plant - file.begin, average),)


def _plant(pieces: Sequence[Data | Repeated], place: int, average: int) -> Exactly:
    """Makes the hash accept behind byte `place` of the contents; one behind their end: in the next file's header."""
    whole = b"".join(piece.read() for piece in pieces)
    inside = min(place, len(whole))
    window = whole[place - _WINDOW : inside] + _HEADER_START[: place - inside]
    four = planted(window, inside - 4 - (place - _WINDOW), average)
    # The pattern going on would only turn the hash: after 32 bytes it would be accepted again.
    stop = noise(f"behind {place}", _WINDOW)[: len(whole) - inside]
    return Exactly(whole[: inside - 4] + four + stop + whole[inside + len(stop) :])


def plan(recipe: Recipe) -> Plan:
    values = recipe.values
    placed = layout(values["average_kib"] << 10)
    epoch = timestamp(values["newest"])
    out = Plan(epoch_ns=epoch)
    for number, file in enumerate(placed.files):
        contents = _contents(str(values["seed"]), file, placed.ends, placed.least, placed.average)
        out.nodes.append(File(file.name.encode(), epoch - number * SECOND_NS, contents))
    return out
