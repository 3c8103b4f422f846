"""A report as Markdown, as plain text, and on a terminal."""

from __future__ import annotations

import io

from .build import Bullets, Heading, Paragraph, Report, Table

TEXT_WIDTH = 110


def markdown(report: Report) -> str:
    parts = []
    for block in report.blocks:
        match block:
            case Heading(text, level):
                parts.append(f"{'#' * level} {text}")
            case Paragraph(text):
                parts.append(text)
            case Bullets(lines):
                parts.append("\n".join(f"- {line}" for line in lines))
            case Table(columns, rows):
                lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
                lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
                parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _print(report: Report, console: object) -> None:
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table as RichTable
    from rich.text import Text

    assert isinstance(console, Console)
    for block in report.blocks:
        match block:
            case Heading(text, level):
                console.print()
                console.print(Text(text, style="bold" if level > 1 else "bold underline"))
            case Paragraph(text):
                console.print(Text(text.replace("**", "")))
            case Bullets(lines):
                for line in lines:
                    # Padding: lines that wrap stay indented.
                    console.print(Padding(Text(line), (0, 0, 0, 2)))
            case Table(columns, rows):
                table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
                for number, column in enumerate(columns):
                    table.add_column(column, justify="right" if number else "left")
                for row in rows:
                    table.add_row(*(Text(cell) for cell in row))
                console.print(table)


def text(report: Report) -> str:
    """Without colours, for a file."""
    from rich.console import Console

    out = io.StringIO()
    _print(report, Console(file=out, width=TEXT_WIDTH, color_system=None, force_terminal=False))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n") + "\n"


def terminal(report: Report) -> None:
    import sys

    from rich.console import Console

    if sys.stdout.isatty():
        _print(report, Console(highlight=False))
    else:
        sys.stdout.write(text(report))
