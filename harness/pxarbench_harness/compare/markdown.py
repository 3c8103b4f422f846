"""The page about a comparison: made from its verdict alone, so that it can be made again at any time."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..gates import show
from ..gates.verdict import Finding, Level, Verdict
from ..report import render
from ..report.model import Block, Bullets, Details, Heading, Paragraph, Report, Table

#: How details of findings.py begin.
NULL, SESSION = "two copies of base: ", "the session: "
_TITLES = {"time": "Time", "memory": "Peak memory", "bytes": "Bytes", "instructions": "Instructions", "checks": "Checks"}
_MEASURED = ("time", "memory")
_COLUMNS = ("case", "what", "verdict", "base", "head", "head against base", "base against its copy", "limit", "detectable")
_ROWS = 60  # of what did not change, none is shown


def _details(finding: Finding) -> tuple[str, ...]:
    """What the table and the sentences below it do not tell."""
    return tuple(line for line in finding.details if not line.startswith((NULL, SESSION)))


def _marked(finding: Finding) -> str:
    return f"**{finding.level.value}**" if finding.level.is_bad else finding.level.value


def _null(finding: Finding) -> str:
    return next((line.removeprefix(NULL) for line in finding.details if line.startswith(NULL)), "–")


def _subject(finding: Finding) -> tuple[str, str, str]:
    return finding.case or "–", finding.name or "–", _marked(finding)


def _measured(found: Sequence[Finding]) -> Table:
    rows = tuple(
        (*_subject(f), show.value(f.base, f.unit), show.value(f.head, f.unit), show.change(f), _null(f), _share(f.limit),
         _share(f.detectable))
        for f in found
    )  # fmt: skip
    return Table(_COLUMNS, rows, texts=3)


def _share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _exact(found: Sequence[Finding]) -> Table:
    rows = tuple(
        (*_subject(f), f.text, *(show.value(side, f.unit, exact=True) for side in (f.base, f.head))) for f in found
    )
    return Table(("case", "what", "verdict", "finding", "base", "head"), rows, texts=4)


def _gate(gate: str, found: Sequence[Finding]) -> Iterator[Block]:
    yield Heading(_TITLES.get(gate, gate), 3)
    if gate in _MEASURED:
        yield _measured(found)
        about: dict[tuple[str, str], list[str]] = {}  # a noisy session is the same sentence for each case
        for f in found:
            if f.level is not Level.OK:
                about.setdefault((f.name, f.text), []).append(f.case)
        if about:
            yield Bullets(tuple(
                f"{', '.join(filter(None, (*cases, name))) or 'all'}: {text}" for (name, text), cases in about.items()
            ))  # fmt: skip
        return
    differing = [f for f in found if f.level is not Level.OK]
    same = len(found) - len(differing)
    if differing:
        yield _exact(differing[:_ROWS])
    if len(differing) > _ROWS:
        yield Paragraph(f"{len(differing) - _ROWS} more are in verdict.json.")
    if same:
        what = "are as before" if gate == "bytes" else "are within the limits"
        yield Paragraph(f"{same} of {len(found)} {what}.")


def _command(settings: Mapping[str, Any]) -> str:
    words = ["ci/compare", str(settings.get("base")), str(settings.get("head"))]
    words += ["--rounds", str(settings.get("rounds")), "--seed", str(settings.get("seed"))]
    return shlex.join(words).replace("`", "?")  # would end the quotation


def page(verdict: Verdict, *, warnings_fail: bool = False) -> str:
    """Markdown."""
    settings = verdict.settings
    blocks: list[Block] = [
        Heading(f"{show.headline(verdict, warnings_fail=warnings_fail).split(' (')[0]}", 2),
        Bullets((f"base: {verdict.base}", f"head: {verdict.head}")),
    ]
    if settings.get("base program") and settings.get("base program") == settings.get("head program"):
        blocks.append(Paragraph("Both are the same program: what differs is noise."))
    for gate in dict.fromkeys(("checks", "required", *_TITLES)):
        found = [f for f in verdict.all_findings if f.gate == gate]
        if found:
            blocks += _gate(gate, found)
    told = [f for f in verdict.all_findings if _details(f) and f.level is not Level.OK]
    if told:
        blocks.append(Heading("Details", 3))
        for f in told[:_ROWS]:
            blocks.append(Details(show.subject(f), (Bullets(_details(f)),)))
    blocks.append(Heading("How", 3))
    blocks.append(Paragraph(
        f"{settings.get('rounds')} rounds; in each, every case ran in base, in a copy of base and in head, there and back, in "
        f"a seeded order. Head against base: median of the ratios within half rounds, with its bootstrap interval of 95 %. "
        f"A regression is at least the limit, with the whole interval above it, significant for all cases together (Holm), and "
        f"seen again in as many further rounds. Limit: the floor of {settings.get('limits')}, or what base differs from its "
        f"own copy. Detectable: the least change that such rounds would have found in 95 of 100 sessions."
    ))  # fmt: skip
    blocks.append(Bullets((
        f"tree: {settings.get('files'):,} files, {settings.get('bytes'):,} bytes; cases {settings.get('cases')}; "
        f"measured again: {settings.get('measured again')}; {settings.get('runs'):,} runs",
        f"not seen: peak memory below {show.value(settings.get('least memory seen'), 'bytes')}, that of what starts programs",
        f"host {verdict.host_fingerprint}: {verdict.host.get('cpu')}, {verdict.host.get('cores')} cores, "
        f"kernel {verdict.host.get('kernel')}, {verdict.host.get('tree_filesystem')}; started {verdict.started}",
        f"again: `{_command(settings)}`",
    )))  # fmt: skip
    return render.markdown(Report(tuple(blocks)))
