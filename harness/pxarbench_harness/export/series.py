"""What a session's records hold for other tools: cases with their samples, and what the numbers are.

Pure. Only measured runs without problems count: a number of a run that went wrong must not enter anybody's dashboard. What is
left out is named, and never silently.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from ..history.collect import machine
from ..record import Record
from ..report.model import plain
from ..stats import Interval, summary


class NotExportable(Exception):
    """The records do not make one set of numbers; the text says why."""


Unit = Literal["ns", "bytes", "files", "chunks", "bytes/s"]
Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Quantity:
    """One number of each run."""

    name: str  # of letters, digits and _; without its unit
    unit: Unit
    better: Better
    #: Whether equal runs give equal numbers: repetitions then say the same again.
    exact: bool
    text: str  # one sentence, for help texts
    of: Callable[[Record], int | float | None] = field(repr=False)  # None: not known of this run


def _io(name: str) -> Callable[[Record], int | None]:
    return lambda record: record.io.get(name)


def _told(name: str) -> Callable[[Record], int | None]:
    def of(record: Record) -> int | None:
        value = (record.outcome or {}).get(name)
        return value if isinstance(value, int) else None

    return of


def _throughput(record: Record) -> float | None:
    return record.dataset["bytes"] * 1e9 / record.wall_ns if record.wall_ns else None


#: In the order in which they are exported. Less of a counter is better where it is work or waste.
QUANTITIES = (
    Quantity("wall", "ns", "lower", False, "Time of the whole command.", lambda r: r.wall_ns),
    Quantity("user", "ns", "lower", False, "Processor time of all threads, outside of the kernel.", lambda r: r.user_ns),
    Quantity("system", "ns", "lower", False, "Processor time of all threads, in the kernel.", lambda r: r.system_ns),
    Quantity("peak_rss", "bytes", "lower", False, "Greatest resident memory.", lambda r: r.peak_rss_bytes),
    Quantity("read_calls", "bytes", "lower", False, "Through read calls of any kind (rchar).", _io("rchar")),
    Quantity("write_calls", "bytes", "lower", False, "Through write calls of any kind (wchar).", _io("wchar")),
    Quantity("disk_read", "bytes", "lower", False, "From block devices.", _io("read_bytes")),
    Quantity("disk_write", "bytes", "lower", False, "To block devices.", _io("write_bytes")),
    Quantity("store_added", "bytes", "lower", False, "What the files of the store grew by.", lambda r: r.store_added_bytes),
    Quantity("file_read", "bytes", "lower", True, "Of file contents, read from the tree.", _told("file_bytes_read")),
    Quantity("new", "bytes", "lower", True, "Of chunks that were not known, before compression.", _told("new_bytes")),
    Quantity("uploaded", "bytes", "lower", False, "Of chunks that were not known, as stored.", _told("uploaded_bytes")),
    Quantity("padding", "bytes", "lower", True, "Of old chunks that no file of the new snapshot uses.", _told("padding_bytes")),
    Quantity("payload", "bytes", "lower", True, "Size of the payload stream.", _told("payload_bytes")),
    Quantity("reencoded", "files", "lower", True, "Read again, whatever the reason.", _told("reencoded_files")),
    Quantity("collateral", "files", "lower", True, "Read again though unchanged.", _told("collateral_files")),
    Quantity("new_chunks", "chunks", "lower", True, "That were not known.", _told("new_chunks")),
    Quantity("injected_chunks", "chunks", "lower", True, "Old ones, listed again.", _told("injected_chunks")),
    Quantity("partial_chunks", "chunks", "lower", True, "Injected ones of which a part is used.", _told("partial_chunks")),
    Quantity("dead_chunks", "chunks", "lower", True, "Injected ones of which nothing is used.", _told("unreferenced_chunks")),
    Quantity("reused", "files", "higher", True, "Taken over as references into old chunks.", _told("reused_files")),
    Quantity("throughput", "bytes/s", "higher", False, "Bytes of the tree, by the time of the whole command.", _throughput),
)
BY_NAME = {quantity.name: quantity for quantity in QUANTITIES}


@dataclass(frozen=True)
class Samples:
    """Of one quantity in one case, in order of rounds; at least one."""

    quantity: Quantity
    values: tuple[int | float, ...]
    seed: int

    @property
    def median(self) -> int | float:
        """An integer stays one where the repetitions agree."""
        first = self.values[0]
        return first if all(value == first for value in self.values) else statistics.median(self.values)

    @property
    def interval(self) -> Interval | None:
        """Of the median, 95 %. None where it has no width: exact numbers, equal ones, a single run."""
        return None if self.quantity.exact or self.agrees else summary(self.values, self.seed).interval

    @property
    def agrees(self) -> bool:
        return len(set(self.values)) == 1


@dataclass(frozen=True)
class Series:
    """The measured runs of one case and generation."""

    name: str  # unique in an export: word id, and the generation of a chain
    runs: tuple[Record, ...]

    @property
    def first(self) -> Record:
        return self.runs[0]

    @cached_property
    def samples(self) -> tuple[Samples, ...]:
        """Of all quantities that every run knows."""
        found = []
        for quantity in QUANTITIES:
            values = tuple(value for run in self.runs if (value := quantity.of(run)) is not None)
            if len(values) == len(self.runs):
                found.append(Samples(quantity, values, self.first.seed))
        return tuple(found)

    def of(self, name: str) -> Samples:
        """KeyError: not known of these runs."""
        return {one.quantity.name: one for one in self.samples}[name]

    @property
    def labels(self) -> dict[str, str]:
        """What the case is, in the order in which people read it; harmless in one line of text."""
        record = self.first
        said = {
            "dataset": record.dataset["name"], "mutation": record.mutation["text"], "subject": record.subject,
            "mode": record.mode, "cache": record.cache,
        }  # fmt: skip
        if record.generation:
            said["generation"] = str(record.generation)
        return {name: plain(text) for name, text in said.items()}

    @property
    def version(self) -> str:
        """Hash of what the benchmark is: numbers of different versions must not be compared, nor drawn as one line."""
        record = self.first
        what = [
            record.dataset.get("portable_digest", record.dataset["tree_digest"]), record.dataset["name"],
            record.mutation["text"], record.mutation["files"], record.mutation["bytes"],
            record.subject, record.mode, record.cache, record.generation,
            {name: text for name, text in record.settings.items() if name != "discarded"},
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Export:
    """A session, ready for any of the formats."""

    session: str
    started: str  # UTC, of the first run
    commit: str  # twelve digits, "+changes" behind it when there were some; "unknown"
    #: Fingerprint of the host, hyperfine, compiler and flags. Not Record.host_fingerprint: the program's hash is part of that,
    #: and what was measured of two programs would never be held against each other.
    machine: str
    host: Mapping[str, Any] = field(repr=False)
    series: tuple[Series, ...] = ()
    left_out: tuple[str, ...] = ()  # sentences: cases and runs that are not in `series`
    #: Of the commit, where git knows it: the whole hash, and when it was made (seconds since 1970).
    whole_hash: str = ""
    committed: int | None = None


def _key(record: Record) -> tuple[str, int]:
    return record.case, record.generation


def _why(run: Record) -> str:
    if run.exit_code:
        return f"exit code {run.exit_code}"
    return plain(run.problems[0]) if run.problems else ""


def of_records(records: Sequence[Record]) -> Export:
    """NotExportable: nothing was measured, or the runs come from several machines, sessions or builds."""
    measured = [record for record in records if record.phase == "measured"]
    if not measured:
        raise NotExportable("no measured run: nothing to export")
    for what, values in (
        ("machines", {record.host_fingerprint for record in measured}),
        ("sessions", {record.session for record in measured}),
        ("builds", {json.dumps(record.host["tools"], sort_keys=True) for record in measured}),
    ):
        if len(values) > 1:
            told = f": {', '.join(sorted(values))}" if what != "builds" else ""
            raise NotExportable(f"runs of {len(values)} {what} do not make one set of numbers{plain(told)}")
    grouped: dict[tuple[str, int], list[Record]] = {}
    for record in measured:
        grouped.setdefault(_key(record), []).append(record)
    series, left_out = [], []
    for (case, generation), runs in grouped.items():
        name = f"{case}-generation-{generation}" if generation else case
        good = tuple(sorted((run for run in runs if run.ok), key=lambda run: (run.round, run.sequence)))
        if len(good) < len(runs):
            bad = next(run for run in runs if not run.ok)
            left_out.append(f"{name}: {len(runs) - len(good)} of {len(runs)} runs went wrong: {_why(bad)}")
        if good:
            made = Series(name, good)
            left_out += [
                f"{name}: {one.quantity.name} is not the same in all repetitions"
                for one in made.samples if one.quantity.exact and run_is_ours(made.first) and not one.agrees
            ]  # fmt: skip
            series.append(made)
    if not series:
        raise NotExportable("no measured run without a problem: " + "; ".join(left_out[:5]))
    names = [one.name for one in series]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise NotExportable(f"two cases are both called {', '.join(sorted(twice))}")
    last = measured[-1]
    return Export(
        session=plain(last.session), started=min(record.started for record in measured), commit=plain(last.commit),
        machine=machine(last.host), host=last.host, series=tuple(series), left_out=tuple(left_out),
    )  # fmt: skip


def run_is_ours(record: Record) -> bool:
    """Other programs draw keys or chunk limits by chance: their repetitions may differ."""
    return record.subject.partition("@")[0] == "pxarbench"


def host_words(host: Mapping[str, Any]) -> str:
    """The machine in one line, as dashboards show it."""
    memory = f"{host['memory_bytes'] / 2**30:.1f} GiB"
    return plain(f"{host['cpu']}, {host['cores']} cores, {memory}; {host['distribution']}, kernel {host['kernel']}")
