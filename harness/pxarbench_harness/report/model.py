"""What a report consists of, without a look: render.py and html.py give it one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Tone(Enum):
    """What a cell tells besides its words; it is never told by colour alone."""

    PLAIN = ""
    GOOD = "good"
    NOTED = "noted"  # expected, but worth knowing
    BAD = "bad"  # a problem; set in bold everywhere


@dataclass(frozen=True)
class Link:
    text: str
    target: str  # relative to the session's folder, or "#anchor" within the page


@dataclass(frozen=True)
class Cell:
    text: str
    title: str = ""  # counts and sources behind the text, shown when pointed at
    target: str = ""  # as Link.target
    tone: Tone = Tone.PLAIN
    links: tuple[Link, ...] = ()  # instead of the text


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    text: str  # **bold** and `code` are understood, nothing else is


@dataclass(frozen=True)
class Bullets:
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The first `texts` columns are text, the others are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    texts: int = 1
    #: Equal neighbours in the first so many columns are one cell where the output can show that.
    merged: int = 0
    #: Columns that plain text leaves out: links to raw samples say nothing there.
    linked: frozenset[int] = frozenset()
    caption: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a panel: points by x, None in y: not known, the line is interrupted."""

    name: str
    points: tuple[tuple[float, float], ...]
    #: Beside each point its interval, or nothing.
    intervals: tuple[tuple[float, float] | None, ...] = ()
    is_level: bool = False  # a plain stroke without markers, behind the others


@dataclass(frozen=True)
class Panel:
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...] = ()
    bars: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()  # a bar's name, and its parts: name and value
    log_x: bool = False
    log_y: bool = False
    y_range: tuple[float, float] | None = None
    level: float | None = None  # a thin line across, e.g. "as fast as data"
    marks: tuple[float, ...] = ()  # thin lines from top to bottom, e.g. where something changed
    x_names: tuple[tuple[float, str], ...] = ()  # instead of numbers along x, e.g. commits


@dataclass(frozen=True)
class Chart:
    """Panels in rows; all rows of one chart have equally many."""

    title: str
    alt: str  # what one sees in it, in a sentence or two with numbers
    rows: tuple[tuple[Panel, ...], ...]
    table: Table
    #: Names in the order in which they get their colours: equal over all charts of a report.
    palette: tuple[str, ...] = ()


@dataclass(frozen=True)
class Details:
    """Folded away in a page, left out on a terminal, there in files."""

    summary: str
    blocks: tuple[Block, ...]
    anchor: str = ""
    printed: bool = True  # unfolded on paper


Block = Heading | Paragraph | Bullets | Table | Chart | Details


@dataclass(frozen=True)
class Report:
    blocks: tuple[Block, ...]
    title: str = "pxarbench: change detection modes"
    summary: tuple[str, ...] = field(default=())


def words(cell: str | Cell) -> str:
    """Of a cell, without links and tones."""
    if isinstance(cell, str):
        return cell
    return " ".join(link.text for link in cell.links) if cell.links else cell.text


def plain(text: str) -> str:
    """On one line, without what would steer a terminal or could not be written: names of files get into sentences."""
    return "".join(
        c if c.isprintable() or c == " " else " " if c in "\n\t\r" else c.encode("unicode_escape").decode("ascii") for c in text
    )
