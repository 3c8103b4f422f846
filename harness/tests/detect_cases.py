"""Cases for change detection: an old archive of random layout and what a walk finds, both grown from a few records of bytes, so that
hypothesis shrinks a failing case to few records of small numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

HEADER = 16
RECORD, OPTIONS = 8, 12
EVENTS_MAX, RAW_MAX = 420, 1 << 20
NO_LIMIT = 1_000_000

LIMITS = (NO_LIMIT, 1, 2, 3, 4, 5, 7, 10, 16, 30)
THRESHOLDS = (100_000, 100_000, 100_000, 0, 1, 20_000, 50_000, 250_000, 500_000, 999_999, 1_000_000)
AVERAGES = (256, 512, 1024, 4096)

#: What a record stands for, and how many of 256 values mean it.
KINDS = (
    ("unchanged", 104),
    ("relisted", 14),  # a chunk of several files that an earlier run listed more than once, with something between
    ("changed", 38),
    ("deleted", 14),
    ("new", 16),
    ("link", 10),
    ("special", 10),
    ("enter", 14),
    ("leave", 14),
    ("hole", 10),  # bytes of the old stream that belong to no file
    ("moved", 12),  # changed, its old place anywhere
)
BY_BYTE = [kind for kind, count in KINDS for _ in range(count)]
assert len(BY_BYTE) == 256


@dataclass
class Grower:
    options: bytes
    profile: str
    limited: bool
    events: list[list[Any]] = field(default_factory=list)
    old_files: list[list[int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    same: dict[int, int] = field(default_factory=dict)  # ends of chunks that have the digest of an earlier one, with its end
    at: int = HEADER  # in the old stream
    depth: int = 0

    def __post_init__(self) -> None:
        self.average = AVERAGES[self.options[0] % len(AVERAGES)]
        self.chunk_target = (self.average // 4, 1, self.average // 16, self.average, self.average * 4)[self.options[1] % 5]

    def length(self, shape: int, fine: int) -> int:
        """Of a file."""
        average = self.average
        if shape < 100:
            return fine * average // 1024  # up to a quarter
        if shape < 140:
            return fine * average // 256
        if shape < 170:
            return fine % 4 * HEADER
        if shape < 190:
            return max(0, average // (1, 4, 16)[fine % 3] - HEADER + fine // 3 % 5 - 2)
        if shape < 210:
            return fine * average // 64  # up to four chunks
        last = self.ends[-1] if self.ends else 0
        return max(0, last + self.chunk_target - self.at - HEADER + fine % 3 - 1)  # ends where the chunk is full, or beside

    def cut(self, at: int) -> None:
        if at > (self.ends[-1] if self.ends else 0):
            self.ends.append(at)

    def store(self, size: int, how: int) -> int:
        """A file in the old stream. Gives its offset."""
        offset, self.at = self.at, self.at + HEADER + size
        self.old_files.append([offset, size])
        last = self.ends[-1] if self.ends else 0
        if how < 150:
            if self.at - last >= self.chunk_target:
                self.cut(self.at)
        elif how < 180:
            self.cut(self.at)
        elif how < 195:
            self.cut(offset + (HEADER + size) // 2)
        elif how < 205:
            self.cut(offset + 1)
        elif how < 215:
            self.cut(self.at - 1)
        elif how < 235:
            step = max(1, (HEADER + size) // (2 + how % 5))
            for at in range(offset + step, self.at, step):
                self.cut(at)
        return offset

    def file(self, kind: str, record: bytes, copy: int) -> None:
        size = self.length(record[1], (record[2] + copy * record[6]) % 256)
        if kind == "new":
            self.events.append(["file", size, "new", 0])
            return
        if kind == "moved":
            offset, _ = self.old_files[record[4] % len(self.old_files)] if self.old_files else (0, 0)
            told = [record[3] * self.average // 64] if record[7] >= 128 else []  # else as old_files say
            self.events.append(["file", size, "non-monotone", offset, *told])
            return
        offset = self.store(size, record[3])
        if kind == "unchanged":
            self.events.append(["file", size, "unchanged", offset])
        elif kind == "changed":
            how = record[4] % 8
            now = size if how < 4 else (size + 1, 0, record[4] * self.average // 256, size // 2)[how - 4]
            self.events.append(["file", now, "mtime" if now == size else "size", offset if record[4] < 200 else 0])

    def step(self, record: bytes) -> None:
        kind = BY_BYTE[record[0]]
        if kind == "relisted":
            self.relisted(record)
            return
        copies = 1 if record[5] < 200 else record[5] - 198 if record[5] < 250 else (record[5] - 249) * 33
        if kind in ("link", "special"):
            self.events.append([kind])
        elif kind == "enter":
            self.depth += 1
            self.events.append([kind])
        elif kind == "leave":
            if self.depth:
                self.depth -= 1
                self.events.append([kind])
        elif kind == "hole":
            self.at += self.length(record[1], record[2])
            if record[3] >= 128:
                self.cut(self.at)
        else:
            for copy in range(min(copies, EVENTS_MAX - len(self.events))):
                self.file(kind, record, copy)

    def relisted(self, record: bytes) -> None:
        """Files of one chunk, of which each listing serves some; in between what was new then."""
        self.cut(self.at)
        files = [self.length(record[1] % 140, (record[2] + k * record[6]) % 256) for k in range(2 + record[5] % 6)]
        size = sum(files) + HEADER * len(files)
        begin, first_end, within = self.at, self.at + size, 0
        for k, length in enumerate(files):
            if k and record[3] >> k & 1:  # from here on by another listing
                self.at = begin + size
                self.cut(self.at)
                self.same[self.at] = first_end
                if record[4] & 1:
                    self.file("unchanged" if record[4] & 2 else "deleted", bytes([0, record[7] % 140, record[2], 150, 0, 0, 0, 0]), 0)
                begin = self.at
                shift = (0, 0, 0, 0, 0, 0, -1, 1)[record[4] >> 5]  # overlaps the files before by a byte, or not quite reaches
                self.at = max(begin, begin + within + shift)
            how = 200 + record[4] % 40 if record[7] >> k & 1 else 0
            offset, self.at = self.at, self.at + HEADER + length
            within += HEADER + length
            self.old_files.append([offset, length])
            if how < 200:
                self.events.append(["file", length, "unchanged", offset])
            elif how < 220:
                self.events.append(["file", length, "mtime", offset])
        self.at = max(self.at, begin + size)
        self.cut(begin + size)
        self.cut(self.at)
        self.same[begin + size] = first_end

    def digest(self, k: int) -> str:
        how = self.options[6] % 8
        if self.ends[k] in self.same and how < 4:
            k = self.ends.index(self.same[self.ends[k]])
        value = (k, k, k, k, k % 2, k % 3, 0, k)[how]
        return hashlib.sha256(b"old %d" % value).hexdigest()

    def absorb(self) -> tuple[int, int]:
        average = self.average
        below = (average // 16, average // 4, average // 2, average, 0, average * 8)[self.options[4] % 6]
        until = (average // 4, average // 4, average // 16, average, average * 4, 1)[self.options[5] % 6]
        return below, until

    def case(self) -> Json:
        self.events += [["leave"]] * self.depth
        if self.options[7] % 4 == 3:
            self.cut(self.at)  # the tail marker is a chunk of its own
        self.at += HEADER
        self.cut(self.at)
        below, until = self.absorb()
        limits = LIMITS[1:] if self.limited else LIMITS
        case = {
            "profile": self.profile,
            "threshold_ppm": THRESHOLDS[self.options[2] % len(THRESHOLDS)],
            "cache_limit": limits[self.options[3] % len(limits)],
            "chunk_average": self.average,
            "absorb_below": below,
            "absorb_until": until,
            "max_instances": self.options[8] % 8 + 1,
            "old_index": [[end, self.digest(k)] for k, end in enumerate(self.ends)],
            "old_files": self.old_files,
            "events": self.events,
        }
        if self.options[9] % 16 == 15:  # a list of old files that no archive has: overlapping ones, one beyond the end
            self.old_files = [odd for offset, size in self.old_files for odd in ([offset, size], [offset + 9, size])]
            self.old_files.append([self.at - HEADER, 1])
            case["old_files"] = self.old_files
        sizes = [event[1] for event in self.events if event[0] == "file"]
        if self.options[9] % 3 == 0 and sum(sizes) <= RAW_MAX:
            case["contents"] = [(self.options[10] + k * self.options[11]) % 256 for k in range(len(sizes))]
        return case


def grow(options: bytes, records: list[bytes], profile: str, limited: bool = False) -> Json:
    grower = Grower(options, profile, limited)
    for record in records:
        if len(grower.events) < EVENTS_MAX:
            grower.step(record)
    return grower.case()


def cases(*profiles: str, limited: bool = False, records_max: int = 40) -> st.SearchStrategy[Json]:
    options = st.binary(min_size=OPTIONS, max_size=OPTIONS)
    record = st.binary(min_size=RECORD, max_size=RECORD)
    # Lists are short unless they must not be.
    records = st.lists(record, max_size=records_max) | st.lists(record, min_size=10, max_size=records_max)
    return st.builds(grow, options, records, st.sampled_from(profiles), st.just(limited))


# ---- a tree that lives ----

EDIT = 4


@dataclass
class Tree:
    """Files in archive order with what the previous archive knows of them, changed by records of bytes."""

    options: bytes
    profile: str
    files: list[list[Any]] = field(default_factory=list)  # [number, size, old offset or 0, reason]
    made: int = 0

    def size(self, shape: int, fine: int) -> int:
        grower = Grower(self.options, self.profile, limited=False)
        return grower.length(shape % 210, fine)

    def add(self, at: int, size: int) -> None:
        self.files.insert(at, [self.made, size, 0, "new"])
        self.made += 1

    def edit(self, record: bytes) -> None:
        """Changes up to six neighbours, the first one chosen by the record."""
        kind, which, shape, fine = record
        at = which * (len(self.files) + 1) // 256
        for file in self.files[at : at + 1 + kind // 8 % 6]:
            if kind % 8 < 4:
                file[3] = "mtime"
            elif kind % 8 < 6:
                file[1:] = [self.size(shape, fine), file[2], "size"]
            elif kind % 8 < 7:
                self.files.remove(file)
        if kind % 8 == 7:
            self.add(at, self.size(shape, fine))

    def case(self, index: list[list[Any]], old_files: list[list[int]]) -> Json:
        """The run that comes now. Afterwards everything is unchanged."""
        grower = Grower(self.options, self.profile, limited=False)
        grower.ends, grower.at = [1], 1
        events = [["file", size, reason if old or reason == "new" else "new", old] for _, size, old, reason in self.files]
        contents = [number % 256 for number, *_ in self.files]
        return {**grower.case(), "old_index": index, "old_files": old_files, "events": events, "contents": contents}

    def stored(self, answer: Json) -> list[list[int]]:
        """Takes over where the files are now; gives the old files of the next run."""
        for file, (_, _, _, offset) in zip(self.files, answer["files"], strict=True):
            file[2:] = [offset, "unchanged"]
        return [[offset, size] for _, size, offset, _ in self.files]


def lives(*profiles: str) -> st.SearchStrategy[tuple[bytes, str, list[bytes], list[list[bytes]]]]:
    """Options, profile, sizes of the first files, edits of each generation."""
    size = st.binary(min_size=2, max_size=2)
    sizes = st.lists(size, min_size=1, max_size=60) | st.lists(size, min_size=20, max_size=60)
    edits = st.lists(st.binary(min_size=EDIT, max_size=EDIT), max_size=6)
    options = st.binary(min_size=OPTIONS, max_size=OPTIONS)
    return st.tuples(options, st.sampled_from(profiles), sizes, st.lists(edits, min_size=1, max_size=8))
