"""A report as Markdown, as plain text, and on a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from .model import Block, Bullets, Cell, Chart, Details, Heading, Paragraph, Report, Table, Tone, plain, words

TEXT_WIDTH = 150

#: What Markdown would take for tags, links or the end of a cell: names of files and what programs said are in it. What stands
#: between backquotes is taken as it is.
_SPECIAL = re.compile(r"((?<!`)`[^`|]+`(?!`))|([\\<|\[\]])")


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda m: m.group(1) or "\\" + m.group(2), plain(text))


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return _escaped(cell)
    if cell.links:
        return " ".join(f"[{_escaped(link.text)}]({link.target})" for link in cell.links)
    text = _escaped(cell.text)
    if cell.target and not cell.target.startswith("#"):  # anchors are those of the page
        text = f"[{text}]({cell.target})"
    return f"**{text}**" if cell.tone is Tone.BAD else text


def _table(table: Table) -> str:
    columns = [_escaped(c) for c in table.columns]
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|" + " --- |" * table.texts + " ---: |" * (len(columns) - table.texts))
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in table.rows]
    return (f"{_escaped(table.caption)}\n\n" if table.caption else "") + "\n".join(lines)


def _markdown(blocks: Sequence[Block]) -> list[str]:
    parts = []
    for block in blocks:
        match block:
            case Heading(text, level):
                parts.append(f"{'#' * level} {_escaped(text)}")
            case Paragraph(text):
                parts.append(_escaped(text))
            case Bullets(lines):
                parts.append("\n".join(f"- {_escaped(line)}" for line in lines))
            case Table():
                parts.append(_table(block))
            case Chart(title, alt, _, table):
                parts += [f"*{_escaped(title)}.* {_escaped(alt)}", _table(table)]
            case Details(summary, inner):
                parts += [f"<details><summary>{_html(summary)}</summary>", *_markdown(inner), "</details>"]
    return parts


def _html(text: str) -> str:
    return plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown(report: Report) -> str:
    return "\n\n".join(_markdown(report.blocks)) + "\n"


def _rows(table: Table) -> list[list[str]]:
    """As printed: what is merged is said once."""
    shown = []
    above: list[str] = []
    for row in table.rows:
        texts = [plain(words(cell)) for cell in row]
        said = [
            "" if i < table.merged and above[: i + 1] == texts[: i + 1] else f"!! {text}" if _bad(row[i]) else text
            for i, text in enumerate(texts)
        ]
        above = texts
        shown.append([text for i, text in enumerate(said) if i not in table.linked])
    return shown


def _bad(cell: str | Cell) -> bool:
    return isinstance(cell, Cell) and cell.tone is Tone.BAD


def _print(blocks: Sequence[Block], console: object, *, whole: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table as RichTable
    from rich.text import Text

    assert isinstance(console, Console)
    for block in blocks:
        match block:
            case Heading(text, level):
                console.print()
                console.print(Text(plain(text), style="bold" if level > 1 else "bold underline"))
            case Paragraph(text):
                console.print(Text(plain(text.replace("**", ""))))
            case Bullets(lines):
                for line in lines:
                    # Padding: lines that wrap stay indented.
                    console.print(Padding(Text(plain(line.replace("**", ""))), (0, 0, 0, 2)))
            case Table(columns, _, texts, _, linked, caption):
                if caption:
                    console.print(Text(plain(caption)))
                table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
                for number, column in enumerate(columns):
                    if number not in linked:
                        table.add_column(plain(column), justify="right" if number >= texts else "left")
                for row in _rows(block):
                    table.add_row(*(Text(cell, style="bold red" if cell.startswith("!! ") else "") for cell in row))
                console.print(table)
            case Chart(title, _, _, table):
                console.print(Text(plain(title), style="bold"))
                _print((table,), console, whole=whole)
            case Details(summary, inner):
                if whole:
                    console.print()
                    console.print(Text(plain(summary), style="italic"))
                    _print(inner, console, whole=True)


def text(report: Report) -> str:
    """Without colours, for a file. "!! " stands before what Markdown sets in bold: a problem."""
    from rich.console import Console

    out = io.StringIO()
    _print(report.blocks, Console(file=out, width=TEXT_WIDTH, color_system=None, force_terminal=False), whole=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n") + "\n"


def terminal(report: Report) -> None:
    """What is folded away in the page is left out; without a terminal the whole text is written."""
    import sys

    from rich.console import Console

    if sys.stdout.isatty():
        _print(report.blocks, Console(highlight=False), whole=False)
    else:
        sys.stdout.write(text(report))
