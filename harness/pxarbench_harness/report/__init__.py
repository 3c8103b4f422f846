"""Reports, all made from a session's folder alone: text, Markdown, a page, and the text of the seed's benchmark."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..record import Record
from . import folder as _folder
from . import html, render, rfc
from .build import Report, build, of_folder
from .folder import FolderBroken

__all__ = ["FolderBroken", "Report", "build", "html", "of_folder", "render", "rfc", "terminal", "write"]


def _put(path: Path, text: str) -> None:
    """Whole or not at all: a session may be killed while it writes its report."""
    part = path.with_name(path.name + ".partial")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, path)


def write(
    folder: Path, *, records: Sequence[Record] | None = None, seed: int = 1, skipped: Mapping[str, str] | None = None
) -> Report:
    """report.md, .txt, .html and, where there are both of its series, .rfc.txt into `folder`, from what is there.

    `records`: those of the session, when the caller has them. FolderBroken: a record is broken, the text names its line.
    OSError: could not be written.
    """
    read = _folder.load(folder, records)
    report = of_folder(read, seed=seed, skipped=skipped)
    _put(folder / "report.md", render.markdown(report))
    _put(folder / "report.txt", render.text(report))
    _put(folder / "report.html", html.page(report))
    seeds = rfc.from_records(read.records, seed=seed)
    if seeds:
        _put(folder / "report.rfc.txt", seeds)
    return report


def terminal(source: Path | Report, *, seed: int = 1, skipped: Mapping[str, str] | None = None) -> None:
    """Prints the report of a folder, or one that is made already."""
    if not isinstance(source, Report):
        source = of_folder(_folder.load(source), seed=seed, skipped=skipped)
    render.terminal(source)
