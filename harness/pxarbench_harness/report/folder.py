"""A session's folder, read for a report: what must be there, and what may."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import record
from ..record import Record


class FolderBroken(Exception):
    """The folder holds no session, or a file of it is broken; the text names file and line."""


@dataclass(frozen=True)
class Folder:
    """`raw` maps a run's number in the session to its raw file, relative to the folder."""

    path: Path | None
    records: tuple[Record, ...]
    plan: Mapping[str, Any] = field(default_factory=dict)
    doctor: Any = None
    roofline: Any = None
    during: Any = None
    raw: Mapping[int, str] = field(default_factory=dict)
    #: What there is to know about the files themselves, e.g. that one could not be read.
    notes: tuple[str, ...] = ()

    def sample(self, run: Record) -> str:
        """Where the run's raw file is, "" when it was not kept."""
        return self.raw.get(run.sequence, "")


def raw_files(path: Path) -> dict[int, str]:
    """Number of the run -> raw/NAME.json. Of several with one number the first by name counts."""
    found: dict[int, str] = {}
    try:
        names = sorted(os.listdir(path / "raw"))
    except OSError:
        return found
    for name in names:
        digits, _, rest = name.partition("-")
        if rest.endswith(".json") and digits.isdecimal() and digits.isascii():
            found.setdefault(int(digits), f"raw/{name}")
    return found


def _optional(path: Path, notes: list[str]) -> Any:
    """None: not there. What is there and broken is named in the report; the records do not depend on it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"{path.name} could not be read: {error}")
        return None


def of_records(records: Iterable[Record]) -> Folder:
    """Without a folder: nothing to link to."""
    return Folder(None, tuple(records))


def load(path: Path, records: Sequence[Record] | None = None) -> Folder:
    """`records`: those of the session when the caller has them. FolderBroken names file and line."""
    notes: list[str] = []
    if records is None:
        source = path / "records.jsonl"
        try:
            records = list(record.read(source))
        except OSError as error:
            raise FolderBroken(f"{source}: {error.strerror or error}") from None
        except record.RecordBroken as error:
            raise FolderBroken(str(error)) from None
    twice = [key for key, count in Counter((r.session, r.sequence) for r in records).items() if count > 1]
    if twice:
        raise FolderBroken(f"{path}: run {twice[0][1]} is recorded more than once: it would count as often")
    plan = _optional(path / "plan.json", notes)
    if plan is not None and not isinstance(plan, dict):
        notes.append("plan.json holds no plan")
        plan = None
    return Folder(
        path=path,
        records=tuple(records),
        plan=plan or {},
        doctor=_optional(path / "doctor.json", notes),
        roofline=_optional(path / "roofline.json", notes),
        during=_optional(path / "during.json", notes),
        raw=raw_files(path),
        notes=tuple(notes),
    )
