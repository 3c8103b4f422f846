"""Through a network: what a line to a server adds, in round trips, and what went over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from ..record import Record
from . import words
from .cases import Block, order
from .model import Block as Part
from .model import Cell, Heading, Paragraph, Table
from .surface import Names
from .words import PERCENT, UNKNOWN

_TEXT = (
    "A line is a model of a network within the server: what is sent arrives later and no faster, requests that overlap wait "
    "together; or, by the kernel, that of tc netem between two network namespaces. `added`: median less that of the same mode "
    "through the line without delay, or else that into a folder. `round trips`: the same divided by the round trip time, from 5 ms "
    "on; where much is sent, the time of its bytes is in it, told beside it: bytes sent over the bandwidth. `chain`: the longest "
    "chain of requests each of which waited for the answer before it, as the program counts them. Bytes are those of TCP streams as "
    "the kernel counts them, else those within TLS."
)

#: Seconds of a round trip below which what a line adds is less than what the machine does meanwhile.
_TELLING = 0.005


class Place(NamedTuple):
    """Of a contender: "loopback:30ms,1000", the same with netem, or "elsewhere"; "" is a folder."""

    server: str

    @property
    def rtt(self) -> float:
        """Seconds, 0: none is known."""
        latency = self.server.partition(":")[2].partition(",")[0]
        return float(latency.removesuffix("ms")) / 1000 if latency.endswith("ms") else 0.0

    @property
    def bytes_per_second(self) -> float:
        mbit = self.server.partition(",")[2]
        return float(mbit) * 125_000 if mbit else 0.0

    @property
    def rank(self) -> tuple[bool, float, bool]:
        """The folder first, then the nearest."""
        return self.server != "", self.rtt, self.server.startswith("netem")

    @property
    def text(self) -> str:
        if not self.server:
            return "folder"
        if not self.rtt:
            return self.server
        mbit = self.bytes_per_second / 125_000
        paced = "" if not mbit else f", {mbit:g} Mbit/s" if mbit < 1000 else f", {mbit / 1000:g} Gbit/s"
        return f"{self.rtt * 1000:g} ms{paced}" + (", by the kernel" if self.server.startswith("netem") else "")


def place(record: Record) -> Place:
    return Place(record.settings.get("server", ""))


def _network(record: Record, name: str) -> int | None:
    found = (record.outcome or {}).get("network") or {}
    return found.get(name)


def _sent(record: Record, way: str) -> int | None:
    return _network(record, f"wire_{way}_bytes") or _network(record, f"{way}_bytes")


def _row(runs: Sequence[Record], base: Sequence[Record], interval: str) -> tuple[str | Cell, ...]:
    last, seconds = runs[-1], median(r.seconds for r in runs)
    where = place(last)
    added = seconds - median(r.seconds for r in base) if base and where.server else None
    trips = UNKNOWN if added is None or where.rtt < _TELLING else f"{added / where.rtt:.1f}"
    sent = _sent(last, "sent")
    paced = UNKNOWN if not sent or not where.bytes_per_second else words.seconds(sent / where.bytes_per_second)
    return (
        where.text, str(len(runs)), interval or words.seconds(seconds), UNKNOWN if added is None else f"{added:+.3f}", trips, paced,
        words.count(_network(last, "round_trips")), words.count(_network(last, "requests")), words.size(sent),
        words.size(_sent(last, "received")),
    )  # fmt: skip


def _rows(change: str, groups: Mapping[tuple[str, str, str], Sequence[Record]], intervals: Mapping[tuple[str, str, str], str],
          names: Names) -> list[tuple[str | Cell, ...]]:  # fmt: skip
    """A row per line, the modes beneath each other. `groups`: runs of one change by subject, mode and cache."""
    rows = []
    for mode, cache in dict.fromkeys((k[1], k[2]) for k in names):
        here = [(k, groups[k]) for k in names if k[1:] == (mode, cache) and k in groups and k[0].partition("@")[0] == "pxarbench"]
        here.sort(key=lambda pair: (*place(pair[1][-1]).rank, order(*pair[0][:2])))
        bare = [runs for _, runs in here if place(runs[-1]).server and not place(runs[-1]).rtt]
        folder = [runs for _, runs in here if not place(runs[-1]).server]
        base = (bare or folder or [[]])[0]
        for key, runs in here:
            what = mode if cache == "warm" else f"{mode}, {cache}"
            rows.append((change, what, *_row(runs, () if runs is base else base, intervals.get(key, ""))))
    return rows


def sections(blocks: Sequence[Block], names: Names) -> list[Part]:
    """Nothing where no server was."""
    by_dataset: dict[str, list[Block]] = {}
    for block in blocks:
        by_dataset.setdefault(block.dataset, []).append(block)
    parts: list[Part] = []
    for dataset, found in by_dataset.items():
        records = [r for block in found for r in block.records]
        if not any(place(r).server for r in records):
            continue
        firsts: dict[tuple[str, str, str], Sequence[Record]] = {}
        for r in records:
            if r.phase == "reference" and r.outcome is not None:
                firsts.setdefault((r.subject, r.mode, r.cache), [r])
        rows = _rows("first", firsts, {}, names)
        for block in found:
            groups = {s.key: s.runs for s in block.group}
            told = {s.key: words.ranged(s.summary.median, s.summary.interval, 3) for s in block.group}
            rows += _rows("unchanged" if block.name == "none" else block.name, groups, told, names)
        columns = (
            "change", "mode", "line", "n", f"s ({PERCENT} %)", "added s", "round trips", "s of its bytes", "chain", "requests", "sent",
            "received",
        )  # fmt: skip
        parts += [Heading(dataset, 3), Table(columns, tuple(rows), texts=3, merged=2)]
    return [Heading("Through a network"), Paragraph(_TEXT), *parts] if parts else []
