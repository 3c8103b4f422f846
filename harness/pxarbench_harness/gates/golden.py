"""Golden numbers: a sorted CSV in git, read back strictly, compared with meaning, rewritten only with a reason.

    # 2026-11-23 0123abcd4567 why the numbers changed        history, the newest line last
    dataset,mutation,mode,counter,value
    home-like-300,edit:1%:uniform,metadata,padding,30139

One line per number, so that a difference in git reads as what it is. Nothing here knows what is counted.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import measure

COLUMNS = ("dataset", "mutation", "mode", "counter", "value")
#: The counter that holds the version of the benchmark: numbers of two versions are never compared.
VERSION = "version"
CHECKSUM = "_checksum"

REASON_MAX = 200
#: Of counters that are sizes or shares: a change of them is told in percent.
SIZES = ("_bytes", "_permille", "_raw", "padding", "bytes_read")
#: Cases whose changes are told one by one when blessing.
TOLD = 40

Value = int | str
Case = tuple[str, str, str]  # dataset, mutation, mode
Numbers = Mapping[str, Value]


class GoldenBroken(Exception):
    """A golden file that is not one; the text names file and line."""


class NotBlessed(Exception):
    """The golden numbers stay as they are; the text says why."""


@dataclass(frozen=True)
class Golden:
    cases: Mapping[Case, Numbers] = field(default_factory=dict)
    history: tuple[str, ...] = ()  # without "# "
    #: Of the file, for who wants to look: (case, counter) -> line.
    lines: Mapping[tuple[Case, str], int] = field(default_factory=dict, compare=False, repr=False)

    def version(self, case: Case) -> str:
        return str(self.cases[case].get(VERSION, ""))


# ---- sorted CSV with its history, as all golden files are ----


@dataclass(frozen=True)
class Table:
    history: tuple[str, ...]  # without "# "
    rows: tuple[tuple[int, list[str]], ...]  # line of the file, cells


def table(text: str, name: str, columns: Sequence[str], key: Callable[[list[str]], Any]) -> Table:
    """Strictly: rows sorted by `key`, none twice, all of them whole. `name`: of the file, for errors. GoldenBroken."""
    history: list[str] = []
    rows: list[tuple[int, list[str]]] = []
    begun, before = False, None
    *lines, rest = text.split("\n")  # not splitlines(): it takes more than ends of lines for such
    if rest:
        raise GoldenBroken(f"{name}: line {len(lines) + 1}: cut off: {rest[:80]}")
    for number, line in enumerate(lines, 1):
        where = f"{name}: line {number}"
        if line.startswith("#") and not begun:
            history.append(line[1:].strip())
            continue
        try:
            row = next(csv.reader([line], strict=True), [])
        except csv.Error as error:
            raise GoldenBroken(f"{where}: {error}") from None
        if len(row) != len(columns):
            raise GoldenBroken(f"{where}: {len(row)} columns, expected {len(columns)} ({','.join(columns)})")
        if not begun:
            if row != list(columns):
                break
            begun = True
            continue
        try:
            now = key(row)
        except ValueError as error:
            raise GoldenBroken(f"{where}: {error}: {line[:80]}") from None
        if before is not None and now <= before:
            raise GoldenBroken(f"{where}: {'twice' if now == before else 'not sorted'}: {line[:80]}")
        before = now
        rows.append((number, row))
    if not begun:
        raise GoldenBroken(f"{name}: does not begin with {','.join(columns)}")
    return Table(tuple(history), tuple(rows))


def table_text(history: Iterable[str], columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """`rows`: sorted."""
    out = io.StringIO()
    out.writelines(f"# {line}\n" for line in history)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def text_of(path: Path) -> str | None:
    """None: there is no such file. GoldenBroken, OSError."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise GoldenBroken(f"{path}: {error}") from None


def write_whole(path: Path, text: str | bytes) -> None:
    """As a whole or not at all, whoever else writes it, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(text.encode() if isinstance(text, str) else text)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else blesses into this folder meanwhile. NotBlessed: somebody does."""
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotBlessed(f"{folder}: another --bless is at work") from None
        yield
    finally:
        os.close(fd)


def history_line(reason: str, *, commit: str | None = None, day: str | None = None) -> str:
    """Of today's and this checkout's. NotBlessed: a reason that tells nothing, or that does not fit into a line."""
    said = reason.strip()
    if not re.search(r"\w.*\w", said):
        raise NotBlessed("--bless needs a reason (--reason TEXT): why do these numbers change, and why is that right?")
    if len(said) > REASON_MAX or not said.isprintable():
        raise NotBlessed(f"--reason: one line of at most {REASON_MAX} characters")
    return f"{day or time.strftime('%Y-%m-%d', time.gmtime())} {commit or measure.commit()} {said}"


# ---- the counters' file ----


def _value(name: str, text: str) -> Value:
    # A checksum may consist of decimal digits only, and is a text all the same.
    is_text = name == VERSION or name.endswith(CHECKSUM)
    return int(text) if not is_text and re.fullmatch(r"0|-?[1-9][0-9]{0,17}", text) else text


def parse(text: str, name: str) -> Golden:
    """`name`: of the file, for errors. GoldenBroken."""
    read = table(text, name, COLUMNS, lambda row: row[:4])
    cases: dict[Case, dict[str, Value]] = {}
    lines = {}
    for number, row in read.rows:
        if not all(row):
            raise GoldenBroken(f"{name}: line {number}: an empty column")
        case = (row[0], row[1], row[2])
        cases.setdefault(case, {})[row[3]] = _value(row[3], row[4])
        lines[case, row[3]] = number
    for case, numbers in cases.items():
        if VERSION not in numbers:
            raise GoldenBroken(f"{name}: {in_words(case)}: has no {VERSION}")
    return Golden(cases, read.history, lines)


def read(path: Path) -> Golden:
    """Nothing there is no golden number. GoldenBroken, OSError."""
    text = text_of(path)
    return Golden() if text is None else parse(text, str(path))


def to_text(golden: Golden) -> str:
    rows = sorted([*case, name, str(value)] for case, numbers in golden.cases.items() for name, value in numbers.items())
    return table_text(golden.history, COLUMNS, rows)


# ---- differences that mean something ----


def in_words(case: Case) -> str:
    return " ".join(case)


def change(name: str, old: Value | None, new: Value | None) -> str:
    """A few words: "padding +3.1 %", "injected +212", "payload_checksum differs"."""
    shown = name.replace("_", " ")
    if old is None:
        return f"{shown} {new} (was not counted)"
    if new is None:
        return f"{shown} not counted any more (was {old})"
    if not isinstance(old, int) or not isinstance(new, int):
        return f"{shown} differs"
    by = new - old
    if old > 0 and name.endswith(SIZES):
        share = 100 * by / old
        # Small changes of large numbers are not to read as none.
        return f"{shown} {share:+.1f} %" if abs(share) >= 0.05 else f"{shown} {by:+,} ({share:+.2g} %)"
    return f"{shown} {by:+,}"


def changes(old: Numbers, new: Numbers) -> list[str]:
    """Of one case; the version is not one of its numbers."""
    names = sorted((old.keys() | new.keys()) - {VERSION})
    return [change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def difference(old: Golden, new: Golden) -> list[str]:
    """Sentences, [] when nothing differs: what is new, what is gone, what changed, each case once."""
    added = sorted(new.cases.keys() - old.cases.keys())
    gone = sorted(old.cases.keys() - new.cases.keys())
    said = [f"new: {in_words(case)}" for case in added] + [f"gone: {in_words(case)}" for case in gone]
    for case in sorted(old.cases.keys() & new.cases.keys()):
        found = changes(old.cases[case], new.cases[case])
        if old.version(case) != new.version(case):
            found.insert(0, "another version of the benchmark")
        if found:
            said.append(f"{', '.join(found)} in {in_words(case)}")
    return said


def blessed(path: Path, new: Mapping[Case, Numbers], reason: str) -> list[str]:
    """Rewrites the file with a line of history. Sentences for people. NotBlessed, GoldenBroken, OSError.

    Nothing is written when nothing differs: history tells of changes.
    """
    line = history_line(reason)
    try:
        old = read(path)
    except GoldenBroken as error:
        raise GoldenBroken(f"{error} (bring it back from git before blessing anew)") from None
    fresh = Golden(new, (*old.history, line))
    said = difference(old, fresh)
    if not said:
        return [f"{path.name}: nothing differs, nothing was written"]
    write_whole(path, to_text(fresh))
    more = len(said) - TOLD
    return [*said[:TOLD], *([f"and {more} more cases"] if more > 0 else []), f"{path.name}: blessed: {line}"]


def few(words: Sequence[str], most: int = 3) -> str:
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")
