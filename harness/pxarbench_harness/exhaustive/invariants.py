"""What every archive of a metadata run must fulfil, worked out from the two indexes and the places of the files alone.

    old stream   |  chunk 4  |  chunk 5  |            a reused file lies at `offset` now and lay at `old_offset` before;
                      [file]                          so chunk 4 must be listed again, `offset - old_offset` further on
    new stream   | raw |  chunk 4  | raw |  chunk 4  |

Source: bench/spec/change-detection.md 7 to 11 and its checklist, reuse-stored.md 2, 4, 6.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .streams import Index

PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """A regular file with contents, in archive order."""

    path: bytes
    size: int
    offset: int  # of its header in the new stream
    old_offset: int | None  # where it was reused from

    @property
    def extent(self) -> int:
        return 16 + self.size


@dataclass(frozen=True)
class Rules:
    profile: str  # tight, upstream, stored
    threshold_ppm: int = 100_000
    max_instances: int = 8


@dataclass
class Ledger:
    """Where the padding lies. A range ends where a chunk has a tail, where the next one has a head, and at chunks that
    nobody uses, which are in none."""

    start_padding: int = 0
    end_padding: int = 0
    hole_padding: int = 0
    dead_padding: int = 0
    ranges: int = 0


@dataclass
class Layout:
    """A new payload stream, seen against the old one."""

    old: Index
    new: Index
    places: Sequence[Place]
    problems: list[str] = field(default_factory=list)
    used: list[int] = field(default_factory=list)  # bytes of each new chunk that belong to files and the two markers
    first: list[int] = field(default_factory=list)  # of each new chunk: where the first and behind the last of them
    last: list[int] = field(default_factory=list)
    #: Of each old chunk that a reused file touches: where it is listed in the new stream -> bytes used there.
    listed: dict[int, dict[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.old_ends = [end for end, _ in self.old]
        self.new_ends = [end for end, _ in self.new]
        self._find_used()
        self._find_listed()

    @property
    def size(self) -> int:
        return self.new_ends[-1]

    @property
    def padding(self) -> int:
        return self.size - sum(self.used)

    @property
    def partial_chunks(self) -> int:
        return sum(1 for k, used in enumerate(self.used) if used < self.new_size(k))

    @property
    def unreferenced_chunks(self) -> int:
        return sum(1 for used in self.used if not used)

    def ledger(self) -> Ledger:
        found, is_open, start = Ledger(), False, 0
        for used, first, last, end in zip(self.used, self.first, self.last, self.new_ends, strict=True):
            if not used:
                found.dead_padding += end - start
                is_open = False
            else:
                found.start_padding += first - start
                found.end_padding += end - last
                found.hole_padding += last - first - used
                found.ranges += first > start or not is_open
                is_open = last == end
            start = end
        return found

    def new_size(self, k: int) -> int:
        return self.new_ends[k] - (self.new_ends[k - 1] if k else 0)

    def old_start(self, k: int) -> int:
        return self.old_ends[k - 1] if k else 0

    def old_size(self, k: int) -> int:
        return self.old_ends[k] - self.old_start(k)

    def touched(self, place: Place) -> range:
        """The old chunks that hold a reused file."""
        assert place.old_offset is not None
        first = bisect_right(self.old_ends, place.old_offset)
        return range(first, bisect_left(self.old_ends, place.old_offset + place.extent, first) + 1)

    def stored(self) -> dict[tuple[bytes, int], dict[int, int]]:
        """The same by what is stored: digest and size. Old listings of one chunk are one chunk."""
        found: dict[tuple[bytes, int], dict[int, int]] = {}
        for k, instances in self.listed.items():
            chunk = found.setdefault((self.old[k][1], self.old_size(k)), {})
            for start, used in instances.items():
                chunk[start] = chunk.get(start, 0) + used
        return found

    def wastes(self) -> list[tuple[int, int]]:
        """Of each stored chunk that is listed again: bytes that no file uses through any listing, and its size. A lower bound
        where several listings of equal contents are used in part."""
        return [(max(0, size - sum(used.values())), size) for (_, size), used in self.stored().items()]

    @property
    def stored_waste(self) -> int:
        return sum(waste for waste, _ in self.wastes())

    @property
    def relisted_chunks(self) -> int:
        return sum(1 for instances in self.stored().values() if len(instances) > 1)

    def _find_used(self) -> None:
        self.used, self.first, self.last = ([0] * len(self.new) for _ in range(3))
        self._use(0, 16)
        before = 16
        for place in self.places:
            if place.offset < before:
                self.problems.append(f"{place.path!r} at {place.offset} is not behind what ends at {before}")
                continue
            before = place.offset + place.extent
            if before > self.size - 16:
                self.problems.append(f"{place.path!r} ends at {before}, the stream at {self.size}")
                continue
            self._use(place.offset, before)
        self._use(self.size - 16, self.size)

    def _use(self, start: int, end: int) -> None:
        k = bisect_right(self.new_ends, start)
        while start < end:
            stop = min(end, self.new_ends[k])
            if not self.used[k]:
                self.first[k] = start
            self.used[k] += stop - start
            self.last[k] = stop
            start, k = stop, k + 1

    def _find_listed(self) -> None:
        for place in self.places:
            if place.old_offset is None:
                continue
            if place.old_offset + place.extent > self.old_ends[-1]:
                self.problems.append(f"{place.path!r} was at {place.old_offset}, behind the old stream's end")
                continue
            shift = place.offset - place.old_offset
            for k in self.touched(place):
                start, end = self.old_start(k) + shift, self.old_ends[k] + shift
                at = bisect_left(self.new_ends, end)
                is_there = at < len(self.new) and self.new[at] == (end, self.old[k][1])
                if not is_there or (self.new_ends[at - 1] if at else 0) != start:
                    self.problems.append(f"{place.path!r} needs old chunk {k} at {start}, which is not listed there")
                    continue
                here = min(place.old_offset + place.extent, self.old_ends[k])
                here -= max(place.old_offset, self.old_start(k))
                instances = self.listed.setdefault(k, {})
                instances[start] = instances.get(start, 0) + here

    def runs(self) -> Iterator[list[Place]]:
        """Reused files with none read anew in between."""
        run: list[Place] = []
        for place in self.places:
            if place.old_offset is not None:
                run.append(place)
            elif run:
                yield run
                run = []
        if run:
            yield run


def problems_of(layout: Layout, rules: Rules, *, early_chunks: int = 0, flushes: int = 0) -> list[str]:
    """One sentence per rule that is broken."""
    said = list(layout.problems)
    offsets = [place.old_offset for place in layout.places if place.old_offset is not None]
    if any(a >= b for a, b in zip(offsets, offsets[1:])):  # noqa: B905
        said.append(f"old offsets do not grow: {offsets}")
    for place in layout.places:
        if place.old_offset is None:
            # Its bytes are new: no old chunk may have come between them.
            start = bisect_right(layout.new_ends, place.offset)
            stop = bisect_left(layout.new_ends, place.offset + place.extent)
            if any(not layout.used[k] for k in range(start, stop + 1)):
                said.append(f"{place.path!r} lies in chunks that it does not use")
    said += _dead(layout, rules, flushes)
    for k, instances in layout.listed.items():
        if any(used > layout.old_size(k) for used in instances.values()):
            said.append(f"more of old chunk {k} is used than there is")
    if rules.profile == "stored":
        bad = [(waste, size) for waste, size in layout.wastes() if waste * PPM > size * rules.threshold_ppm]
        if len(bad) > early_chunks:
            shares = [f"{waste} of {size}" for waste, size in bad[:10]]
            said.append(f"old chunks with too much stored waste, {early_chunks} decided early: {shares}")
        often = {k: len(instances) for k, instances in layout.listed.items() if len(instances) > rules.max_instances}
        if often:
            said.append(f"old chunks listed too often: {often}")
    if rules.profile != "upstream":
        said += _listed_twice(layout)
    return said


def _dead(layout: Layout, rules: Rules, flushes: int) -> list[str]:
    dead = [k for k, used in enumerate(layout.used) if not used]
    if rules.profile == "upstream":
        return [f"{len(dead)} chunks that nobody uses, {flushes} flushes"] if len(dead) > flushes else []
    return [f"chunks that nobody uses: {dead}"] if dead else []


def _listed_twice(layout: Layout) -> list[str]:
    """Between two neighbours in a run nothing was written, so a chunk that both touch is listed once (D12)."""
    said = []
    for run in layout.runs():
        for a, b in zip(run, run[1:]):  # noqa: B905
            shared = layout.touched(a)[-1] == layout.touched(b)[0]
            assert a.old_offset is not None and b.old_offset is not None
            if shared and a.offset - a.old_offset != b.offset - b.old_offset:
                said.append(f"{a.path!r} and {b.path!r} use one old chunk, which is listed for each of them")
    return said


@dataclass(frozen=True)
class Flush:
    """A range of old bytes that was reused as a whole."""

    start: int
    end: int
    padding: int  # not yet used by the range before, through the same listing
    total: int  # range, and padding at both ends

    def exceeds(self, threshold_ppm: int) -> bool:
        return self.padding * PPM > self.total * threshold_ppm


def flushes_of(layout: Layout, *, upstream: bool) -> list[Flush]:
    """The ranges that tight and upstream judged and reused, for a cache that was never full: change-detection.md 6 to 8.

    A range ends where a file was read anew and where the next reused one does not start at its end.
    """
    found: list[Flush] = []
    used: dict[int, int] = {}  # start of a listing in the new stream -> bytes used so far
    for run in layout.runs():
        begin = 0
        for at in range(1, len(run) + 1):
            a = run[at - 1]
            assert a.old_offset is not None
            if at < len(run) and run[at].old_offset == a.old_offset + a.extent:
                continue
            first = run[begin]
            assert first.old_offset is not None
            start, end, shift = first.old_offset, a.old_offset + a.extent, first.offset - first.old_offset
            head = bisect_right(layout.old_ends, start)
            tail = (bisect_right if upstream else bisect_left)(layout.old_ends, end)
            tail = min(tail, len(layout.old_ends) - 1)
            start_padding = start - layout.old_start(head)
            end_padding = max(0, layout.old_ends[tail] - end)
            before = used.get(layout.old_start(head) + shift, 0)
            padding = start_padding + end_padding
            found.append(Flush(start, end, padding - before, end - start + padding))
            for place in run[begin:at]:
                assert place.old_offset is not None
                for k in layout.touched(place):
                    listing = layout.old_start(k) + shift
                    here = min(place.old_offset + place.extent, layout.old_ends[k])
                    used[listing] = used.get(listing, 0) + here - max(place.old_offset, layout.old_start(k))
            begin = at
    return found
