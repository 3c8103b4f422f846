"""A verdict for people: on a terminal, as Markdown of a job summary or a comment, and as annotations of a workflow.

Pure but for terminal(): everything shown is in the verdict. What programs and names of files bring along is made harmless.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Literal

from ..report import render
from ..report.model import Block, Bullets, Cell, Heading, Paragraph, Report, Table, Tone, plain
from ..report.words import many, size
from .verdict import (
    EXIT_ERROR, EXIT_INCONCLUSIVE, EXIT_OK, EXIT_REGRESSION, EXIT_WARNINGS, GATES, Finding, Level, Verdict, worst,
)  # fmt: skip

#: Characters. GitHub refuses comments above 65,536; a job summary may have 1 MiB.
MARKDOWN_LIMIT = 60_000
#: Columns of a text that is not for a terminal: the measured values of a comparison are wide.
TEXT_WIDTH = 190
#: What GitHub shows of each kind per step; the rest of them would be dropped without a word.
ANNOTATIONS_PER_KIND = 10

_HEADLINES = {
    EXIT_OK: "nothing got worse",
    EXIT_ERROR: "the tool did not do its work: nothing is proven",
    EXIT_REGRESSION: "something got worse",
    EXIT_WARNINGS: "warnings, which count as failures here",
    EXIT_INCONCLUSIVE: "cannot be told",
}
_WORDS = {
    EXIT_OK: "OK", EXIT_ERROR: "ERROR", EXIT_REGRESSION: "REGRESSION", EXIT_WARNINGS: "WARNINGS",
    EXIT_INCONCLUSIVE: "INCONCLUSIVE",
}  # fmt: skip
_MARKS = {
    Level.OK: "✓", Level.IMPROVED: "▲", Level.WARNING: "!", Level.INCONCLUSIVE: "?", Level.REGRESSION: "✗", Level.ERROR: "✗✗",
}  # fmt: skip
_TONES = {Level.REGRESSION: Tone.BAD, Level.ERROR: Tone.BAD, Level.WARNING: Tone.NOTED, Level.INCONCLUSIVE: Tone.NOTED}
_STYLES = {
    Level.OK: "green", Level.IMPROVED: "green", Level.WARNING: "yellow", Level.INCONCLUSIVE: "yellow",
    Level.REGRESSION: "bold red", Level.ERROR: "bold red",
}  # fmt: skip
_EXIT_STYLES = {EXIT_OK: "bold green", EXIT_ERROR: "bold red", EXIT_REGRESSION: "bold red"}

#: The column that may be broken into lines.
_SENTENCES = "finding"

#: Which file of the repository a golden difference is about.
_GOLDEN = {
    "encodings": "results/golden/encodings.csv", "counters": "results/golden/counters.csv",
    "instructions": "results/golden/instructions.csv", "required": "results/golden/required.txt",
}  # fmt: skip


# ---- words ----


def value(number: int | float | str | None, unit: str = "", *, exact: bool = False) -> str:
    """One side of a finding with its unit, rounded for people unless `exact`: there a single byte must show."""
    if number is None:
        return "–"
    if isinstance(number, str):
        return number[:12] + "…" if unit == "sha256" and len(number) > 12 else number
    if exact and isinstance(number, int):
        return f"{number:,} {unit}".strip()
    if unit == "ns":
        return f"{number / 1e9:,.3f} s" if abs(number) >= 1e9 else f"{number / 1e6:,.3f} ms"
    if unit == "bytes":
        return size(number)
    text = f"{number:,}" if isinstance(number, int) else f"{number:,.4g}"
    return f"{text} {unit}" if unit and unit != "sha256" else text


def percent(share: float | None) -> str:
    """A change, signed: 0.0312 is +3.12 %."""
    if share is None:
        return "–"
    digits = 1 if abs(share) >= 0.1 else 2
    return f"{100 * share:+.{digits}f} %"


def _unsigned(share: float | None) -> str:
    return "–" if share is None else percent(share).lstrip("+-")


def change(finding: Finding) -> str:
    """Of a measured finding, with its interval."""
    if finding.low is None or finding.high is None:
        return percent(finding.change)
    return f"{percent(finding.change)} ({percent(finding.low)} .. {percent(finding.high)})"


def sentence(finding: Finding) -> str:
    """Its text, and the change where the text does not tell it already."""
    said = plain(finding.text)
    return said if finding.change is None or "%" in said else f"{said}: {change(finding)}"


def headline(verdict: Verdict, *, warnings_fail: bool = False) -> str:
    """One line: the word, the exit code, what was held against what."""
    code = verdict.exit_code(warnings_fail=warnings_fail)
    return f"{_WORDS[code]}: {_HEADLINES[code]} ({_sides(verdict)})"


def _sides(verdict: Verdict) -> str:
    against = "the golden values" if verdict.base == "golden" else verdict.base
    return plain(f"{verdict.head} against {against}")


def path_of(verdict: Verdict, finding: Finding) -> str:
    """The file of the repository that a reader should open, "" when there is none. Relative to the repository. The finding
    may know the line."""
    is_golden = finding.gate == "required" or (verdict.base == "golden" and finding.case)
    return _GOLDEN.get(finding.gate, "") if is_golden else ""


def subject(finding: Finding) -> str:
    """What the finding is about."""
    return plain(" ".join(part for part in (finding.gate, finding.case, finding.name) if part))


# ---- what is shown ----


@dataclass(frozen=True)
class _Part:
    """Tables and sentences, or lines that keep their columns."""

    blocks: tuple[Block, ...] = ()
    summary: str = ""
    lines: tuple[str, ...] = ()


def _is_measured(finding: Finding) -> bool:
    return finding.change is not None or finding.rounds is not None


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, then as the gates are shown, then as they were found."""
    levels = list(Level)
    return sorted(findings, key=lambda f: (-levels.index(f.level), GATES.index(f.gate)))


def _level(finding: Finding) -> Cell:
    return Cell(f"{_MARKS[finding.level]} {finding.level.value}", tone=_TONES.get(finding.level, Tone.PLAIN))


def _gates(verdict: Verdict) -> Table:
    rows = []
    for gate in GATES:
        found = [f for f in verdict.all_findings if f.gate == gate]
        level = worst(f.level for f in found)
        if level is None:
            continue
        counts = [str(sum(f.level is one for f in found) or "–") for one in Level]
        rows.append((gate, _level(next(f for f in found if f.level is level)), f"{len(found):,}", *counts))
    return Table(("gate", "verdict", "compared", *(level.value for level in Level)), tuple(rows), texts=2)


def _exact(findings: Sequence[Finding]) -> Table:
    rows = tuple(
        (f.gate, _level(f), f.case or "–", f.name or "–", f.text,
         *(value(side, f.unit, exact=True) for side in (f.base, f.head)))
        for f in findings
    )  # fmt: skip
    return Table(("gate", "verdict", "case", "what", _SENTENCES, "base", "head"), rows, texts=5)


def _measured(findings: Sequence[Finding]) -> Table:
    rows = tuple(
        (f.gate, _level(f), f.case or "–", f.name or "–", f.text,
         *(value(side, f.unit, exact=f.rounds is None) for side in (f.base, f.head)), change(f),
         _unsigned(f.detectable), _unsigned(f.limit), str(f.rounds or "–"))
        for f in findings
    )  # fmt: skip
    names = ("gate", "verdict", "case", "what", _SENTENCES, "base", "head", "change (95 %)", "detectable", "limit", "rounds")
    return Table(names, rows, texts=5)


def _shortened(text: str) -> str:
    return text if len(text) <= 48 else text[:47] + "…"


def _facts(verdict: Verdict) -> Bullets:
    ran = f"{many(len(verdict.executed), 'case')} ran"
    if verdict.required:
        here = len(verdict.required) - len(verdict.missing)
        ran += f", {here} of {len(verdict.required)} required ones"
    lines = [
        f"{ran}; {many(len(verdict.all_findings), 'comparison')}",
        f"started {verdict.started}, commit {verdict.head_commit or 'not known'}, "
        f"host {verdict.host_fingerprint or 'not known'}",
    ]
    # What is more than a few words stands in the file.
    said = {key: str(value) for key, value in sorted(verdict.settings.items()) if isinstance(value, str | int | float)}
    short = [f"{key} {_shortened(text)}" for key, text in said.items()]
    if short:
        lines.append("settings: " + ", ".join(short))
    return Bullets(tuple(lines))


def _left_out(number: int) -> tuple[Block, ...]:
    return (Paragraph(f"{many(number, 'more finding')} in verdict.json."),) if number else ()


def _parts(verdict: Verdict, *, whole: bool, rows: int, details: int) -> Iterator[_Part]:
    """`whole`: equal exact values too. At most `rows` per table and `details` findings with their lines."""
    yield _Part((_facts(verdict), _gates(verdict)))
    shown = [f for f in _sorted(verdict.all_findings) if whole or _is_measured(f) or f.level is not Level.OK]
    exact = [f for f in shown if not _is_measured(f)]
    measured = [f for f in shown if _is_measured(f)]
    for title, found, table in (("Exact values", exact, _exact), ("Measured values", measured, _measured)):
        if found:
            yield _Part((Heading(title, 3), table(found[:rows]), *_left_out(len(found) - rows if len(found) > rows else 0)))
    if measured:
        yield _Part((
            Paragraph(
                "change: median of the paired ratios, less 1, with the interval that holds it with 95 % confidence; "
                "detectable: the least change that these rounds would have shown; limit: what counts as a regression."
            ),
        ))  # fmt: skip
    told = [f for f in shown if f.details and (whole or f.level is not Level.OK)]
    for finding in told[:details]:
        yield _Part(summary=subject(finding), lines=tuple(plain(line) for line in finding.details))
    if len(told) > details > 0:
        yield _Part((Paragraph(f"Details of {many(len(told) - details, 'more finding')} in verdict.json."),))


# ---- Markdown ----


def _fenced(part: _Part) -> str:
    """Folded away. The fence is longer than what the lines hold, so that nothing in them can end it."""
    runs = [len(run) for line in part.lines for run in re.findall("`+", line)]
    fence = "`" * max(3, 1 + max(runs, default=0))
    summary = part.summary.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    lines = [f"<details><summary>{summary}</summary>", "", f"{fence}text", *part.lines, fence, "", "</details>"]
    return "\n".join(lines) + "\n"


def markdown(verdict: Verdict, *, limit: int = MARKDOWN_LIMIT, warnings_fail: bool = False) -> str:
    """For a job summary or a comment: at most `limit` characters; what does not fit is counted, the worst is kept."""
    text = ""
    for rows, details in ((500, 50), (100, 20), (30, 5), (30, 0), (5, 0)):
        pieces = [render.markdown(Report((Heading(f"pxarbench: {headline(verdict, warnings_fail=warnings_fail)}", 2),)))]
        for part in _parts(verdict, whole=False, rows=rows, details=details):
            pieces.append(_fenced(part) if part.lines else render.markdown(Report(part.blocks)))
        text = "\n".join(pieces)
        if len(text) <= limit:
            return text
    # Sentences of a megabyte: what is left is the headline and the counts.
    word = _WORDS[verdict.exit_code(warnings_fail=warnings_fail)]
    blocks = (Heading(f"pxarbench: {word}", 2), _gates(verdict), *_left_out(len(verdict.all_findings)))
    return render.markdown(Report(blocks))[:limit]


# ---- terminal ----

def _unbroken(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether all columns but that of the sentences fit as they are: names and numbers are not to be broken then."""
    kept = [number for number, name in enumerate(columns) if name != _SENTENCES]
    widths = [max(len(columns[number]), max((len(row[number]) for row in rows), default=0)) for number in kept]
    return sum(widths) + 2 * len(columns) + 24 <= width


def _print(verdict: Verdict, console: object, *, whole: bool, warnings_fail: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table as RichTable
    from rich.text import Text

    assert isinstance(console, Console)
    styles = {f"{_MARKS[level]} {level.value}": style for level, style in _STYLES.items()}
    rows, details = (sys.maxsize, sys.maxsize) if whole else (40, 10)
    for part in _parts(verdict, whole=whole, rows=rows, details=details):
        for block in part.blocks:
            match block:
                case Heading(text, _):
                    console.print(Text(plain(text), style="bold"))
                case Paragraph(text):
                    console.print(Text(plain(text)))
                case Bullets(lines):
                    for line in lines:
                        console.print(Padding(Text(plain(line)), (0, 0, 0, 2)))
                case Table(columns, cells, texts):
                    rows_said = [[plain(cell if isinstance(cell, str) else cell.text) for cell in row] for row in cells]
                    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
                    keeps = _unbroken(columns, rows_said, console.width)
                    for number, column in enumerate(columns):
                        justify: Literal["left", "right"] = "right" if number >= texts else "left"
                        table.add_column(column, justify=justify, overflow="fold", no_wrap=keeps and column != _SENTENCES)
                    for said in rows_said:
                        table.add_row(*(Text(one, style=styles.get(one, "")) for one in said))
                    console.print(table)
        if part.lines:
            console.print(Text(part.summary, style="bold"))
            for line in part.lines:
                # Hex windows keep their columns even where the terminal is narrower.
                console.print(Text("    " + line, no_wrap=True, overflow="ignore"), crop=False)
    # Last, so that it is what one sees without scrolling.
    code = verdict.exit_code(warnings_fail=warnings_fail)
    console.print(Text(headline(verdict, warnings_fail=warnings_fail), style=_EXIT_STYLES.get(code, "bold yellow")))


def text(
    verdict: Verdict, *, width: int = TEXT_WIDTH, colour: bool = False, whole: bool = False, warnings_fail: bool = False
) -> str:
    """As printed on a terminal of `width` columns. `whole`: equal values and all details too."""
    from rich.console import Console

    out = io.StringIO()
    system: Literal["standard"] | None = "standard" if colour else None
    console = Console(file=out, width=width, color_system=system, force_terminal=colour, highlight=False)
    _print(verdict, console, whole=whole, warnings_fail=warnings_fail)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def terminal(verdict: Verdict, out: IO[str] | None = None, *, whole: bool = False, warnings_fail: bool = False) -> None:
    """Prints it: coloured and as wide as the terminal where there is one, else the text."""
    out = out or sys.stdout
    if out.isatty():
        from rich.console import Console

        _print(verdict, Console(file=out, highlight=False), whole=whole, warnings_fail=warnings_fail)
    else:
        out.write(text(verdict, whole=whole, warnings_fail=warnings_fail))


# ---- annotations ----

_KINDS = {
    Level.ERROR: "error", Level.REGRESSION: "error", Level.WARNING: "warning", Level.INCONCLUSIVE: "warning",
    Level.IMPROVED: "notice",
}  # fmt: skip


def _data(text: str) -> str:
    """Of a workflow command: what would end it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def annotations(verdict: Verdict) -> str:
    """GitHub's workflow commands, a line each, the worst first: for stdout of a step. "" when all is well.

    More than ANNOTATIONS_PER_KIND of a kind would vanish, so the last of a kind then tells how many more there are.
    """
    lines: list[str] = []
    for kind in ("error", "warning", "notice"):
        found = [f for f in _sorted(verdict.all_findings) if _KINDS.get(f.level) == kind]
        shown = found if len(found) <= ANNOTATIONS_PER_KIND else found[: ANNOTATIONS_PER_KIND - 1]
        for finding in shown:
            path = path_of(verdict, finding)
            place = f"file={_property(path)}," if path else ""
            place += f"line={finding.line}," if path and finding.line else ""
            title = _property(f"{finding.level.value}: {subject(finding)}")
            lines.append(f"::{kind} {place}title={title}::{_data(sentence(finding))}")
        if len(found) > len(shown):
            rest = f"{len(found) - len(shown):,} more in verdict.json and the job summary"
            lines.append(f"::{kind} title=pxarbench::{_data(rest)}")
    return "".join(line + "\n" for line in lines)
