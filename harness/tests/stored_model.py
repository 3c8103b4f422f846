"""The reuse profile `stored` a second time, from bench/spec/reuse-stored.md and its algorithm as agreed, written down in
fixtures/detect/README.md: decisions over the whole sequence (`offline`), and the same taken window by window as entries
arrive, which may differ only where the cache limit forces a decision (`windowed`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from detect_model import BATCH, HEADER, PPM, Event, Json, OldIndex, Stream, events, new_stream

REASONS = ("threshold", "instances", "absorbed")
REACH = 32  # entries from one listing of a chunk to the next


class Chunks:
    """Which entries of the old index are listings of one chunk. A chunk's name is its first entry."""

    def __init__(self, old: OldIndex) -> None:
        self.old = old
        self.of: dict[int, int] = {}  # chunk by entry touched
        self.offered: dict[int, int] = {}  # by entry: behind its last byte that a file was offered for, within the chunk
        self.last: dict[int, int] = {}  # by chunk: its last entry touched
        self.recent: dict[tuple[bytes, int], int] = {}  # by digest and size: the last entry touched

    def entries(self, old_range: tuple[int, int]) -> range:
        a, b = old_range
        return range(self.old.holding(a), self.old.holding(b - 1) + 1)

    def offer(self, old_range: tuple[int, int]) -> None:
        a, b = old_range
        for j in self.entries(old_range):
            start = self.old.start(j)
            if j not in self.of:
                i = self.recent.get(self.old.kind(j))
                joins = i is not None and j - i <= REACH and max(a, start) - start >= self.offered[i]
                self.of[j] = self.of[i] if i is not None and joins else j
                self.recent[self.old.kind(j)] = j
            self.offered[j] = min(b, self.old.ends[j]) - start
            self.last[self.of[j]] = j

    def further(self, i: int) -> list[int]:
        """Entries within reach of this one that list the same."""
        behind = range(i + 1, min(i + REACH + 1, len(self.old.ends)))
        return [j for j in behind if self.old.kind(j) == self.old.kind(i)]

    def continues(self, chunk: int, passed: int) -> bool:
        """Whether another listing of it may come that is not passed yet."""
        i = self.last[chunk]
        if self.offered[i] == self.old.size(i):
            return False
        return any(self.old.ends[j] > passed for j in self.further(i))

    def closed(self, chunk: int, passed: int) -> bool:
        return self.old.ends[self.last[chunk]] <= passed and not self.continues(chunk, passed)


@dataclass
class Emitter:
    """Decisions, in archive order, to the stream."""

    stream: Stream
    chunks: Chunks
    pending: list[int] = field(default_factory=list)  # entries listed, not injected yet
    listings: Counter[int] = field(default_factory=Counter)  # by chunk

    def goes_on(self, chunk: int) -> bool:
        return bool(self.pending) and self.chunks.of[self.pending[-1]] == chunk

    def inject(self, count: int) -> None:
        entries, self.pending = self.pending[:count], self.pending[count:]
        self.stream.inject(entries)

    def reuse(self, event: Event) -> None:
        assert event.range is not None
        old, entries = self.stream.old, self.chunks.entries(event.range)
        goes_on = self.goes_on(self.chunks.of[entries[0]])
        before = self.pending[:-1] if goes_on else self.pending
        chunk_at = self.stream.position + sum(old.size(k) for k in before)
        self.stream.refer(event.ordinal, chunk_at + event.range[0] - old.start(entries[0]), event.range)
        for entry in entries[1:] if goes_on else entries:
            self.pending.append(entry)
            self.listings[self.chunks.of[entry]] += 1
            if len(self.pending) > BATCH:
                self.inject(len(self.pending) - 1)

    def encode(self, event: Event, reason: str) -> None:
        self.inject(len(self.pending))
        self.stream.encode(event.ordinal, event.size, reason)

    def finish(self) -> None:
        self.inject(len(self.pending))


@dataclass
class Known:
    """What was decided before the sequence at hand."""

    carried_raw: int = 0  # length of the raw run that ends where the sequence begins
    kept: set[int] = field(default_factory=set)  # chunks that were decided with files still to come
    given_up: dict[int, str] = field(default_factory=dict)
    unseen: dict[int, int] = field(default_factory=dict)  # live bytes of files that were not seen yet


class Plan:
    """Which files of a sequence are reused. Files: `file` events alone, in archive order, all of them offered."""

    def __init__(self, case: Json, files: list[Event], emitter: Emitter, known: Known) -> None:
        self.case, self.files, self.emitter, self.known = case, files, emitter, known
        self.old, chunks = emitter.stream.old, emitter.chunks
        self.raw = [file.range is None for file in files]
        self.reason = [file.reason for file in files]
        self.touched: list[list[int]] = []
        self.used: Counter[tuple[int, int]] = Counter()  # bytes by file and chunk
        for k, file in enumerate(files):
            a, b = file.range or (0, 0)
            entries = range(0) if file.range is None else chunks.entries(file.range)
            self.touched.append([chunks.of[entry] for entry in entries])
            for entry in entries:
                self.used[k, chunks.of[entry]] += min(b, self.old.ends[entry]) - max(a, self.old.start(entry))
        self.by_chunk: dict[int, list[int]] = {}
        for k, touched in enumerate(self.touched):
            for chunk in touched:
                if chunk in known.given_up:
                    self.raw[k], self.reason[k] = True, known.given_up[chunk]
                else:
                    self.by_chunk.setdefault(chunk, []).append(k)
        self.given_up: dict[int, str] = {}

    # -- one chunk --

    def live(self, chunk: int) -> int:
        used = sum(self.used[k, chunk] for k in self.by_chunk[chunk] if not self.raw[k])
        return used + self.known.unseen.get(chunk, 0)

    def violates(self, chunk: int) -> bool:
        if chunk in self.known.kept:
            return False
        size = self.old.size(chunk)
        return (size - self.live(chunk)) * PPM > size * int(self.case["threshold_ppm"])

    def instances(self, chunk: int) -> int:
        """Stretches of reused files that touch it with no other file between, those of before included."""
        count = self.emitter.listings[chunk]
        goes_on = self.emitter.goes_on(chunk)
        for k in range(0 if goes_on else self.by_chunk[chunk][0], self.by_chunk[chunk][-1] + 1):
            touches = not self.raw[k] and chunk in self.touched[k]
            count += touches and not goes_on
            goes_on = touches
        return count

    def give_up(self, chunk: int, reason: str) -> None:
        self.given_up[chunk] = reason
        for k in self.by_chunk[chunk]:
            if not self.raw[k]:
                self.raw[k], self.reason[k] = True, reason

    # -- the passes --

    def judge(self) -> None:
        """Threshold and instances, until a pass gives up nothing."""
        again = True
        while again:
            again = False
            for chunk in sorted(self.by_chunk):
                if chunk in self.given_up:
                    continue
                if self.violates(chunk):
                    self.give_up(chunk, "threshold")
                elif self.instances(chunk) > self.case["max_instances"]:
                    self.give_up(chunk, "instances")
                else:
                    continue
                again = True

    def small_chunk(self, chunk: int) -> bool:
        return self.old.size(chunk) < int(self.case["absorb_below"]) and chunk not in self.known.kept

    def small(self, k: int) -> bool:
        return all(self.small_chunk(chunk) for chunk in self.touched[k])

    def extent(self, begin: int, end: int) -> tuple[int, int, int]:
        """Of the run around the raw files [begin, end), and its length."""
        while begin > 0 and self.raw[begin - 1]:
            begin -= 1
        while end < len(self.files) and self.raw[end]:
            end += 1
        return begin, end, self.length(begin, end)

    def length(self, begin: int, end: int) -> int:
        length = sum(HEADER + file.size for file in self.files[begin:end])
        return length + (self.known.carried_raw if begin == 0 else 0)

    def raw_before(self, end: int) -> int:
        """Length of the raw run directly before a file."""
        begin = end
        while begin > 0 and self.raw[begin - 1]:
            begin -= 1
        return self.length(begin, end)

    def absorb(self) -> bool:
        """One pass over the raw runs. Whether it gave up something."""
        given_before = len(self.given_up)
        at = 0
        while at <= len(self.files):
            carried = at == 0 and self.known.carried_raw > 0
            if not carried and (at == len(self.files) or not self.raw[at]):
                at += 1
                continue
            begin = end = at
            while True:
                begin, end, length = self.extent(begin, end)
                if length >= self.case["absorb_until"]:
                    break
                if end < len(self.files) and self.small(end):
                    taken = end
                elif begin > 0 and self.small(begin - 1):
                    taken = begin - 1
                else:
                    break
                for chunk in self.touched[taken]:
                    self.give_up(chunk, "absorbed")
            at = end + 1  # what stands at `end` is reused
        return len(self.given_up) > given_before

    def settle(self) -> None:
        self.judge()
        while self.absorb():
            self.judge()

    def emit(self) -> None:
        for k, file in enumerate(self.files):
            if self.raw[k]:
                self.emitter.encode(file, self.reason[k])
            else:
                self.emitter.reuse(file)


# ---- everything at once ----


def offline(case: Json) -> Json:
    """Without a limit."""
    stream = new_stream(case)
    emitter = Emitter(stream, Chunks(stream.old))
    files = [event for event in events(case) if event.kind == "file"]
    for file in files:
        if file.range is not None:
            emitter.chunks.offer(file.range)
    plan = Plan(case, files, emitter, Known())
    plan.settle()
    plan.emit()
    emitter.finish()
    return answer(case, stream, plan.given_up, 0)


def answer(case: Json, stream: Stream, given_up: dict[int, str], early: int) -> Json:
    counts = Counter(given_up.values())
    return {
        **stream.answer(case["chunk_average"]),
        "flushes": 0,
        "rejected_ranges": 0,
        "given_up": [counts[reason] for reason in REASONS],
        "early_chunks": early,
    }


# ---- as entries arrive ----


class Windows:
    """What came since the last time that the limit forced everything out is decided as a whole each time anew; entries before a
    *cut* are out already, for nothing that follows can change them, and count no more."""

    def __init__(self, case: Json) -> None:
        self.case = case
        stream = new_stream(case)
        self.old, self.chunks = stream.old, Chunks(stream.old)
        self.emitter = Emitter(stream, self.chunks)
        self.known = Known()
        self.arrived: list[Event] = []
        self.out = 0  # of them, in front of the last cut that was looked for
        self.passed = 0  # end of the last accepted range
        self.changed_end = 0  # greatest old end of a changed file
        self.early: set[int] = set()
        self.certain: dict[int, tuple[bool, str]] = {}  # what was decided of files before a cut

    def plan(self) -> Plan:
        return Plan(self.case, [event for event in self.arrived if event.kind == "file"], self.emitter, self.known)

    # -- the limit --

    def cached(self) -> int:
        return sum(event.kind != "leave" for event in self.arrived[self.out :])

    def last_cut(self) -> int:
        """The place in `arrived` before which everything is certain."""
        plan = self.plan()
        files = range(len(plan.files))
        # Files up to which every chunk is closed, and not touched by a later one.
        last = {chunk: k for k, touched in enumerate(plan.touched) for chunk in touched}
        whole, reach, closed = [], 0, True
        for k in files:
            reach = max([reach, *(last[chunk] for chunk in plan.touched[k])])
            closed = closed and all(self.chunks.closed(chunk, self.passed) for chunk in plan.touched[k])
            whole.append(closed and reach <= k)
        plan.judge()
        ends = [0]  # counts of files
        for k in files[1:]:
            if plan.files[k].range is not None and whole[k - 1] and plan.raw_before(k) >= self.case["absorb_until"]:
                ends.append(k)
        plan.settle()
        for k in files:
            if not plan.raw[k] and whole[k] and not plan.small_chunk(plan.touched[k][-1]):
                ends.append(k + 1)
        count = max(ends)
        for k in range(count):
            self.certain[plan.files[k].ordinal] = (plan.raw[k], plan.reason[k])
        place = 0 if count == 0 else 1 + self.arrived.index(plan.files[count - 1])
        while place < len(self.arrived) and self.arrived[place].range is None:
            place += 1  # what waits for no file goes out, too
        return place

    def make_room(self) -> None:
        if self.cached() < self.case["cache_limit"]:
            return
        self.out = self.last_cut()
        if self.cached() >= self.case["cache_limit"]:
            self.flush()

    def flush(self) -> None:
        begin = max(self.passed, self.changed_end)
        touched = {chunk for some in self.plan().touched for chunk in some}
        undecided = {
            chunk
            for chunk in touched
            if not self.chunks.closed(chunk, self.passed) and chunk not in self.known.kept and chunk not in self.known.given_up
        }
        for chunk in undecided:
            i = self.chunks.last[chunk]
            live = sum(self.unseen_live(begin, self.old.start(j), self.old.ends[j]) for j in [i, *self.chunks.further(i)])
            self.known.unseen[chunk] = min(live, self.old.size(i) - self.chunks.offered[i])
        plan = self.plan()
        plan.settle()
        self.write(plan)
        self.early |= undecided
        self.known.kept |= undecided - plan.given_up.keys()

    def unseen_live(self, begin: int, start: int, end: int) -> int:
        live = top = 0
        for offset, size in self.case["old_files"]:
            file_end = offset + HEADER + size
            if offset < top or file_end > self.old.ends[-1]:
                continue  # no archive has them so
            top = file_end
            if offset >= begin:
                live += max(0, min(end, file_end) - max(start, offset))
        return live

    def write(self, plan: Plan) -> None:
        for file, raw, reason in zip(plan.files, plan.raw, plan.reason, strict=True):
            assert self.certain.get(file.ordinal, (raw, reason)) == (raw, reason), "a cut was not certain"
        self.known.carried_raw = plan.raw_before(len(plan.files))
        plan.emit()
        self.known.given_up.update(plan.given_up)
        self.arrived, self.out = [], 0

    # -- what happens --

    def take(self, event: Event) -> None:
        if event.kind != "leave":
            self.make_room()
        self.arrived.append(event)
        if event.range is not None:
            self.chunks.offer(event.range)
            self.passed = event.range[1]
        self.changed_end = max(self.changed_end, event.old_end)

    def finish(self) -> None:
        plan = self.plan()
        plan.settle()
        self.write(plan)
        self.emitter.finish()


def windowed(case: Json) -> Json:
    windows = Windows(case)
    for event in events(case):
        windows.take(event)
    windows.finish()
    return answer(case, windows.emitter.stream, windows.known.given_up, len(windows.early))
