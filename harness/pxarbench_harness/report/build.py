"""From records to a report: headings, paragraphs and tables, without a look (render.py gives it one)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .. import stats
from ..record import Record

MIB = 2**20
PERCENT = round(stats.CONFIDENCE * 100)


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    columns: tuple[str, ...]  # the first is text, the others are numbers
    rows: tuple[tuple[str, ...], ...]


Block = Heading | Paragraph | Bullets | Table


@dataclass(frozen=True)
class Report:
    blocks: tuple[Block, ...]


# ---- numbers as text ----


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.2f}"


def _mib(value: int | None) -> str:
    return "–" if value is None else f"{value / MIB:,.1f}"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _interval(value: float, interval: stats.Interval | None, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text if interval is None else f"{text} ({interval.low:.{digits}f} .. {interval.high:.{digits}f})"


def _bytes(value: int) -> str:
    """Small numbers exactly: 16 bytes must not read as 0.0 MiB."""
    if value < 100_000:
        return f"{value:,} B"
    return f"{value / MIB:,.2f} MiB"


# ---- cases ----


@dataclass(frozen=True)
class Series:
    """The measured runs of one case, in order of rounds."""

    case: str
    label: str
    subject: str
    mode: str
    runs: tuple[Record, ...]

    @property
    def seconds(self) -> list[float]:
        return [run.seconds for run in self.runs]

    @property
    def last(self) -> Record:
        return self.runs[-1]

    def outcome(self, name: str) -> int | None:
        values = self.last.outcome
        return None if values is None else values.get(name)


def series(records: Iterable[Record]) -> list[Series]:
    grouped: dict[str, list[Record]] = {}
    for r in records:
        if r.phase == "measured" and r.outcome is not None:
            grouped.setdefault(r.case, []).append(r)
    return [
        Series(case, runs[0].label, runs[0].subject, runs[0].mode, tuple(sorted(runs, key=lambda r: r.round)))
        for case, runs in grouped.items()
    ]


def find(group: Sequence[Series], subject: str, mode: str) -> Series | None:
    return next((s for s in group if (s.subject, s.mode) == (subject, mode)), None)


def ratio(a: Series, b: Series, seed: int) -> stats.Ratio:
    paired = [r.round for r in a.runs] == [r.round for r in b.runs]
    return stats.median_ratio(a.seconds, b.seconds, paired=paired, seed=seed)


def _ordered(group: list[Series]) -> list[Series]:
    order = {("pxarbench", "data"): 0, ("pxarbench", "metadata"): 1}
    return sorted(group, key=lambda s: (order.get((s.subject, s.mode), 2), s.label))


def _time_table(group: list[Series], seed: int) -> Table:
    base = find(group, "pxarbench", "data")
    columns = ["mode", "n", f"median s ({PERCENT} %)", "ratio to data", "user+sys s", "peak RSS MiB"]
    rows = []
    for s in group:
        summary = stats.summary(s.seconds, seed)
        share = "–" if base is None else ("1" if s is base else _interval(*_parts(ratio(s, base, seed)), 3))
        cpu = stats.summary([(r.user_ns + r.system_ns) / 1e9 for r in s.runs], seed).median
        peak = max(r.peak_rss_bytes for r in s.runs)
        rows.append(
            (s.label, str(summary.n), _interval(summary.median, summary.interval, 3), share, _seconds(cpu), f"{peak / MIB:.1f}")
        )
    return Table(tuple(columns), tuple(rows))


def _parts(r: stats.Ratio) -> tuple[float, stats.Interval | None]:
    return r.value, r.interval


def _work_table(group: list[Series]) -> Table:
    columns = ("mode", "reused", "re-encoded", "collateral", "read MiB", "new MiB", "uploaded MiB")
    names = ("reused_files", "reencoded_files", "collateral_files")
    rows = [
        (s.label, *(_count(s.outcome(n)) for n in names), _mib(s.outcome("file_bytes_read")), _mib(s.outcome("new_bytes")),
         _mib(s.outcome("uploaded_bytes")))
        for s in group
    ]  # fmt: skip
    return Table(columns, tuple(rows))


def _padding_table(group: list[Series]) -> Table | None:
    rows = []
    for s in group:
        padding, payload = s.outcome("padding_bytes"), s.outcome("payload_bytes")
        if s.mode != "metadata" or padding is None or not payload:
            continue
        rows.append(
            (s.label, _bytes(padding), f"{100 * padding / payload:.2f} %", _count(s.outcome("injected_chunks")),
             _count(s.outcome("partial_chunks")), _count(s.outcome("unreferenced_chunks")))
        )  # fmt: skip
    columns = ("mode", "padding", "share of payload", "chunks injected", "partly referenced", "not referenced")
    return Table(columns, tuple(rows)) if rows else None


#: Equal jobs of two programs: (ours, theirs, what both do).
_AGAINST = (
    ("metadata", ("restic", "unchanged"), "trust size and times"),
    ("data", ("restic", "force"), "read everything"),
)


def _against_table(group: list[Series], seed: int) -> Table | None:
    rows = []
    for mode, (subject, their_mode), job in _AGAINST:
        ours, theirs = find(group, "pxarbench", mode), find(group, subject, their_mode)
        if ours is not None and theirs is not None:
            times = ratio(theirs, ours, seed)
            rows.append((f"{mode} against {theirs.label}", job, f"{_interval(*_parts(times), 2)} times as fast"))
    return Table(("pair", "both", "speed"), tuple(rows)) if rows else None


def _raw_table(group: list[Series]) -> Table:
    rounds = sorted({r.round for s in group for r in s.runs})
    rows = []
    for s in group:
        by_round = {r.round: r for r in s.runs}
        rows.append((s.label, *(_seconds(by_round[n].seconds) if n in by_round else "–" for n in rounds)))
    return Table(("seconds of round", *(str(n) for n in rounds)), tuple(rows))


def _unmeasured_table(records: Sequence[Record]) -> Table | None:
    rows = tuple(
        (r.label, r.phase, _seconds(r.seconds), "" if r.outcome is None else str(r.outcome["reference"]))
        for r in records
        if r.phase in ("reference", "warm-up")
    )
    return Table(("mode", "phase (not in the statistics)", "seconds", "reference"), rows) if rows else None


def _checked(records: Sequence[Record]) -> str:
    bad = [r for r in records if r.problems]
    if bad:
        return f"**{len(bad)} of {len(records)} runs with problems**, see below."
    restored = [r.label for r in records if r.restored]
    proven = sorted({r.label for r in records if r.phase == "proof"})
    text = f"Checked: the mode did its work in all {len(records)} runs; restored and compared, equal: "
    text += ", ".join(restored) or "none"
    text += f"; file by file against the oracle: {', '.join(proven)}." if proven else "."
    left_out = {(r.settings.get("not_compared"), r.host["tree_filesystem"].split()[0]) for r in records}
    for names, place in sorted((names, place) for names, place in left_out if names):
        text += f" Not compared: {names}, which archives do not store from {place}."
    return text


GUIDE = (
    "Median of whole commands, started by hyperfine, of all measured runs; in brackets the bootstrap interval that holds it "
    f"with {PERCENT} % confidence. None for a single run.",
    "Ratio to data: median time divided by that of mode data; 0.125 means eight times as fast. Intervals of two rows that "
    "overlap widely mean that this session cannot tell them apart.",
    "user+sys: processor time of all threads, median; above the median time when several work at once. Peak RSS: the greatest "
    "of all runs, by the kernel's count (floor: some 10 MiB of the timer itself).",
    "reused: unchanged files, taken over as references into old chunks. re-encoded: files whose bytes were read. collateral: the "
    "re-encoded ones that had not changed, because their range's padding was above the threshold.",
    "read: bytes of file contents read from the tree. new: bytes of chunks that were not known. uploaded: the same after "
    "compression, metadata and payload stream together.",
    "padding: bytes of old chunks that are carried along although no file of the new snapshot uses them, and their share of the "
    "payload stream. partly referenced: injected chunks with such bytes. not referenced: injected chunks of only such bytes.",
    "Reference runs and warm-ups are listed, but not in any statistic. Each measured run starts from the same stored state.",
    "Times compare within this session only: same machine, same data, interleaved rounds.",
)


def build(records: Sequence[Record], *, seed: int = 1, skipped: dict[str, str] | None = None) -> Report:
    """`records` of one session."""
    blocks: list[Block] = [Heading("pxarbench: change detection modes", 1)]
    if not records:
        return Report((*blocks, Paragraph("No runs.")))
    first = records[0]
    host = first.host
    blocks.append(
        Bullets((
            f"session {first.session}, {first.started}, commit {first.commit}, seed {first.seed}",
            f"{host['cpu']}, {host['cores']} cores, {host['memory_bytes'] / 2**30:.1f} GiB; {host['distribution']}, "
            f"kernel {host['kernel']}; host {first.host_fingerprint}",
            f"tree on {host['tree_filesystem']}, store on {host['store_filesystem']}",
            *(f"{name}: {text}" for name, text in host["tools"].items()),
            *(f"skipped: {name} ({why})" for name, why in (skipped or {}).items()),
        ))
    )  # fmt: skip
    together: dict[tuple[str, str], list[Record]] = {}
    for r in records:
        together.setdefault((r.dataset["name"], r.mutation["text"]), []).append(r)
    for (dataset, mutation), runs in together.items():
        group = _ordered(series(runs))
        what = next((r for r in runs if r.phase == "measured"), runs[0])
        blocks.append(Heading(f"{dataset}, {mutation}"))
        changed = f"; changed: {what.mutation['files']:,} files, {_bytes(what.mutation['bytes'])}" if mutation != "none" else ""
        blocks.append(
            Paragraph(
                f"{what.dataset['files']:,} files, {what.dataset['bytes'] / MIB:,.1f} MiB; {what.dataset['source']}{changed}."
            )
        )
        if group:
            blocks += [_time_table(group, first.seed), _work_table(group)]
            blocks += [t for t in (_padding_table(group), _against_table(group, first.seed)) if t is not None]
            blocks.append(_raw_table(group))
        blocks += [t for t in (_unmeasured_table(runs),) if t is not None]
        blocks.append(Paragraph(_checked(runs)))
    problems = [f"{r.case}, {r.phase}{f' {r.round}' if r.round else ''}: {p}" for r in records for p in r.problems]
    if problems:
        blocks += [Heading("Problems"), Bullets(tuple(problems))]
    blocks += [Heading("How to read it"), Bullets(GUIDE)]
    return Report(tuple(blocks))
