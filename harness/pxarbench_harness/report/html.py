"""A report as one page that needs nothing but itself: no script it could not do without, no network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from . import charts
from .model import Block, Bullets, Cell, Chart, Details, Heading, Paragraph, Report, Table, plain


@dataclass(frozen=True)
class _Shown:
    """A cell as the template needs it."""

    cell: Cell
    rows: int  # that it spans; 0: it is part of the one above
    number: bool
    head: bool


@dataclass(frozen=True)
class _Entry:
    """One line of the list of contents."""

    text: str
    anchor: str
    level: int


_MARKS = re.compile(r"\*\*(.+?)\*\*|`([^`]+)`")


def inline(text: str) -> Markup:
    """**bold** and `code`; everything else is text."""
    text = plain(text)
    parts: list[Markup] = []
    at = 0
    for found in _MARKS.finditer(text):
        parts.append(escape(text[at : found.start()]))
        tag = "strong" if found.group(1) else "code"
        parts.append(Markup("<{0}>{1}</{0}>").format(Markup(tag), found.group(1) or found.group(2)))
        at = found.end()
    parts.append(escape(text[at:]))
    return Markup("").join(parts)


def _spans(table: Table) -> list[list[int]]:
    """Rows that each cell of the merged columns spans."""
    texts = [[plain(c if isinstance(c, str) else c.text) for c in row[: table.merged]] for row in table.rows]
    spans = [[1] * len(row) for row in table.rows]
    for column in range(table.merged):
        first = 0
        for number in range(1, len(texts)):
            if texts[number][: column + 1] == texts[first][: column + 1]:
                spans[first][column] += 1
                spans[number][column] = 0
            else:
                first = number
    return spans


def shown(table: Table) -> list[list[_Shown]]:
    spans = _spans(table)
    return [
        [
            _Shown(c if isinstance(c, Cell) else Cell(c), spans[number][i], i >= table.texts, i == 0)
            for i, c in enumerate(row)
        ]
        for number, row in enumerate(table.rows)
    ]  # fmt: skip


class _Anchors:
    """Names of headings, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, text: str) -> str:
        base = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}-{number}"
        self._taken.add(name)
        return name


def _kinds(blocks: tuple[Block, ...], anchors: _Anchors, numbers: Iterator[int]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for block in blocks:
        match block:
            case Heading(text, level):
                found.append({"kind": "heading", "text": plain(text), "level": min(level, 5), "anchor": anchors.name(text)})
            case Paragraph(text):
                found.append({"kind": "paragraph", "text": inline(text)})
            case Bullets(lines):
                found.append({"kind": "bullets", "lines": [inline(line) for line in lines]})
            case Table():
                found.append({"kind": "table", "table": block, "rows": shown(block)})
            case Chart(title, alt, _, table):
                number = next(numbers)
                picture = charts.svg(block, f"c{number}")
                found.append({
                    "kind": "chart", "title": plain(title), "alt": plain(alt), "picture": Markup(picture), "table": table,
                    "rows": shown(table), "anchor": f"chart-{number}",
                })  # fmt: skip
            case Details(summary, inner, anchor, printed):
                found.append({
                    "kind": "details", "summary": plain(summary), "anchor": anchor, "printed": printed,
                    "blocks": _kinds(inner, anchors, numbers),
                })  # fmt: skip
    return found


def page(report: Report) -> str:
    import itertools

    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pxarbench_harness.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["plain"] = plain
    blocks = _kinds(report.blocks, _Anchors(), itertools.count(1))
    contents = [_Entry(b["text"], b["anchor"], b["level"]) for b in blocks if b["kind"] == "heading" and b["level"] in (2, 3)]
    text = environment.get_template("report.html.jinja").render(
        title=plain(report.title), blocks=blocks, contents=contents, summary=[inline(line) for line in report.summary],
        style=Markup(environment.get_template("style.css.jinja").render(light=charts.LIGHT, dark=charts.DARK)),
    )  # fmt: skip
    return text + "\n"
