"""The reuse profile `stored` a second time, from bench/spec/reuse-stored.md and its algorithm as agreed, written down in
fixtures/detect/README.md: decisions over the whole sequence (`offline`), and the same taken window by window as entries
arrive, which may differ only where the cache limit forces a decision (`windowed`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from detect_model import BATCH, HEADER, PPM, Event, Json, Stream, events, new_stream

REASONS = ("threshold", "instances", "absorbed")


@dataclass
class Emitter:
    """Decisions, in archive order, to the stream."""

    stream: Stream
    pending: list[int] = field(default_factory=list)  # chunks listed, not injected yet
    listings: Counter[int] = field(default_factory=Counter)

    def inject(self, count: int) -> None:
        chunks, self.pending = self.pending[:count], self.pending[count:]
        self.stream.inject(chunks)

    def reuse(self, event: Event, touched: range) -> None:
        assert event.range is not None
        old = self.stream.old
        goes_on = bool(self.pending) and self.pending[-1] == touched[0]
        before = self.pending[:-1] if goes_on else self.pending
        chunk_at = self.stream.position + sum(old.size(k) for k in before)
        self.stream.refer(event.ordinal, chunk_at + event.range[0] - old.start(touched[0]), event.range)
        for chunk in touched[1:] if goes_on else touched:
            self.pending.append(chunk)
            self.listings[chunk] += 1
            if len(self.pending) > BATCH:
                self.inject(len(self.pending) - 1)

    def encode(self, event: Event, reason: str) -> None:
        self.inject(len(self.pending))
        self.stream.encode(event.ordinal, event.size, reason)

    def finish(self) -> None:
        self.inject(len(self.pending))


@dataclass
class Known:
    """What earlier windows leave behind."""

    carried_raw: int = 0  # length of the raw run that ends where the window begins
    kept: set[int] = field(default_factory=set)  # chunks that were decided with files still to come
    given_up: dict[int, str] = field(default_factory=dict)
    unseen: dict[int, int] = field(default_factory=dict)  # live bytes of files that were not seen yet


class Plan:
    """Which files of a sequence are reused. Files: `file` events alone, in archive order."""

    def __init__(self, case: Json, files: list[Event], emitter: Emitter, known: Known) -> None:
        self.case, self.files, self.emitter, self.known = case, files, emitter, known
        self.old = emitter.stream.old
        self.raw = [file.range is None for file in files]
        self.reason = [file.reason for file in files]
        self.touched = [range(0) if file.range is None else self.touches(file.range) for file in files]
        self.by_chunk: dict[int, list[int]] = {}
        for k, touched in enumerate(self.touched):
            for chunk in touched:
                if chunk in known.given_up:
                    self.raw[k], self.reason[k] = True, known.given_up[chunk]
                else:
                    self.by_chunk.setdefault(chunk, []).append(k)
        self.given_up: dict[int, str] = {}

    def touches(self, old_range: tuple[int, int]) -> range:
        a, b = old_range
        return range(self.old.holding(a), self.old.holding(b - 1) + 1)

    # -- one chunk --

    def live(self, chunk: int) -> int:
        start, end = self.old.start(chunk), self.old.ends[chunk]
        live = self.known.unseen.get(chunk, 0)
        for k in self.by_chunk[chunk]:
            file = self.files[k]
            if not self.raw[k] and file.range is not None:
                live += min(file.range[1], end) - max(file.range[0], start)
        return live

    def violates(self, chunk: int) -> bool:
        if chunk in self.known.kept:
            return False
        size = self.old.size(chunk)
        return (size - self.live(chunk)) * PPM > size * int(self.case["threshold_ppm"])

    def instances(self, chunk: int) -> int:
        count = self.emitter.listings[chunk]
        goes_on = bool(self.emitter.pending) and self.emitter.pending[-1] == chunk
        for k in range(0 if goes_on else self.by_chunk[chunk][0], self.by_chunk[chunk][-1] + 1):
            if self.raw[k]:
                goes_on = False
            elif chunk in self.touched[k]:
                count += not goes_on
                goes_on = True
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

    def small(self, k: int) -> bool:
        return all(self.old.size(c) < self.case["absorb_below"] and c not in self.known.kept for c in self.touched[k])

    def extent(self, begin: int, end: int) -> tuple[int, int, int]:
        """Of the run around the raw files [begin, end), and its length."""
        while begin > 0 and self.raw[begin - 1]:
            begin -= 1
        while end < len(self.files) and self.raw[end]:
            end += 1
        length = sum(HEADER + file.size for file in self.files[begin:end])
        return begin, end, length + (self.known.carried_raw if begin == 0 else 0)

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

    def trailing(self) -> int:
        """Length of the raw run at the end."""
        return self.extent(len(self.files), len(self.files))[2]

    def last_reused(self) -> int | None:
        return max((k for k, raw in enumerate(self.raw) if not raw), default=None)

    def emit(self, count: int) -> None:
        for k in range(count):
            if self.raw[k]:
                self.emitter.encode(self.files[k], self.reason[k])
            else:
                self.emitter.reuse(self.files[k], self.touched[k])


# ---- everything at once ----


def offline(case: Json) -> Json:
    """Without a limit."""
    emitter = Emitter(new_stream(case))
    plan = Plan(case, [event for event in events(case) if event.kind == "file"], emitter, Known())
    plan.settle()
    plan.emit(len(plan.files))
    emitter.finish()
    return answer(case, emitter.stream, plan.given_up, 0)


def answer(case: Json, stream: Stream, given_up: dict[int, str], early: int) -> Json:
    counts = Counter(given_up.values())
    return {
        **stream.answer(case["chunk_average"]),
        "given_up": [counts[reason] for reason in REASONS],
        "early_chunks": early,
    }


# ---- window by window ----


class Windows:
    def __init__(self, case: Json) -> None:
        self.case = case
        self.emitter = Emitter(new_stream(case))
        self.old = self.emitter.stream.old
        self.known = Known()
        self.window: list[Event] = []
        self.last_end = 0  # of the last accepted range
        self.changed_end = 0  # greatest old end of a changed file
        self.early = 0

    def files(self) -> list[Event]:
        return [event for event in self.window if event.kind == "file"]

    def plan(self) -> Plan:
        return Plan(self.case, self.files(), self.emitter, self.known)

    def last_touched(self) -> int | None:
        ranges = [event.range for event in self.window if event.range is not None]
        return self.old.holding(ranges[-1][1] - 1) if ranges else None

    def write_all(self, plan: Plan) -> None:
        self.known.carried_raw = plan.trailing()
        plan.emit(len(plan.files))
        self.known.given_up.update(plan.given_up)
        self.window = []

    def unseen_live(self, begin: int, end: int) -> int:
        live = top = 0
        for offset, size in self.case["old_files"]:
            file_end = offset + HEADER + size
            if offset < top or file_end > self.old.ends[-1]:
                continue  # no archive has them so
            top = file_end
            if offset >= begin:
                live += max(0, min(end, file_end) - offset)
        return live

    def limit(self) -> None:
        last = self.last_touched()
        decided = last in self.known.kept or last in self.known.given_up
        undecided = last is not None and not decided and self.last_end < self.old.ends[last]
        if last is not None and undecided:
            self.known.unseen[last] = self.unseen_live(max(self.last_end, self.changed_end), self.old.ends[last])
        plan = self.plan()
        plan.settle()
        if last is not None and undecided:
            self.early += 1
            if last not in plan.given_up:
                self.known.kept.add(last)
        self.write_all(plan)

    def cut(self, next_start: int) -> None:
        last = self.last_touched()
        if last is None or next_start < self.old.ends[last]:
            return
        plan = self.plan()
        plan.judge()
        if plan.trailing() >= self.case["absorb_until"]:
            plan.settle()
            self.write_all(plan)
            return
        plan.settle()
        reused = plan.last_reused()
        if reused is None:
            return
        bound = plan.touched[reused][-1]
        if self.old.size(bound) < self.case["absorb_below"] and bound not in self.known.kept:
            return
        if any(bound in touched for touched in plan.touched[reused + 1 :]):
            return  # given up for another chunk: it stays in the window, and with it what it touches
        plan.emit(reused + 1)
        self.known.carried_raw = 0
        self.known.given_up.update((k, reason) for k, reason in plan.given_up.items() if k < bound)
        ordinal = plan.files[reused].ordinal
        self.window = [event for event in self.window if event.ordinal > ordinal]
        while self.window and self.window[0].range is None:
            event = self.window.pop(0)
            if event.kind == "file":
                self.emitter.encode(event, event.reason)
                self.known.carried_raw += HEADER + event.size

    def make_room(self) -> None:
        if sum(event.kind != "leave" for event in self.window) >= self.case["cache_limit"]:
            self.limit()

    def changed(self, event: Event, reason: str) -> None:
        if self.window:
            self.window.append(Event(event.ordinal, "file", event.size, reason))
        else:
            self.emitter.encode(event, reason)
            self.known.carried_raw += HEADER + event.size

    def reusable(self, event: Event) -> None:
        assert event.range is not None
        a, b = event.range
        self.cut(a)
        self.window.append(event)
        self.last_end = b

    def take(self, event: Event) -> None:
        if event.kind != "leave":
            self.make_room()
        if event.range is not None:
            self.reusable(event)
        elif event.kind == "file":
            self.changed(event, event.reason)
            self.changed_end = max(self.changed_end, event.old_end)
        elif self.window:
            self.window.append(event)


def windowed(case: Json) -> Json:
    windows = Windows(case)
    for event in events(case):
        windows.take(event)
    plan = windows.plan()
    plan.settle()
    windows.write_all(plan)
    windows.emitter.finish()
    return answer(case, windows.emitter.stream, windows.known.given_up, windows.early)
