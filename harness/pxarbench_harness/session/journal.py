"""The session's folder: what survives when the session is killed, and how it is found again.

    lock                held while a session works here
    plan.json           what is to be done, and whether it is; `digest` covers everything that decides the results
    blocks/NNN.json     a finished block with its records, written as a whole or not at all
    records.jsonl       the records of the finished blocks, and of the running one as they come
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from .. import record
from ..record import Record
from .problems import SessionBusy, SessionFailed

SCHEMA = "pxarbench-plan/1"
BLOCK_SCHEMA = "pxarbench-block/1"
RUNNING, FINISHED = "running", "finished"


@dataclass(frozen=True)
class Finished:
    """A block of which nothing needs to be done again."""

    number: int
    last_sequence: int
    seconds: float
    records: tuple[Record, ...]
    inconclusive: Mapping[str, str] = field(default_factory=dict)  # case -> why it has no result
    skipped: Mapping[str, str] = field(default_factory=dict)  # the block, and why it could not be made here


@dataclass
class SessionFolder:
    path: Path
    plan: dict[str, Any]
    attempt: int
    finished: dict[int, Finished] = field(default_factory=dict)
    _lock: TextIO | None = None

    @property
    def is_finished(self) -> bool:
        return self.plan.get("state") == FINISHED

    @property
    def records_path(self) -> Path:
        return self.path / "records.jsonl"

    @property
    def raw(self) -> Path:
        return self.path / "raw"

    @classmethod
    def open(cls, path: Path, described: Mapping[str, Any], *, fresh: bool = False) -> SessionFolder:
        """Begins a session in an empty folder, or goes on with the one of the same digest that is there, which may be
        finished (`is_finished`): then nothing is changed. SessionBusy: another process does. SessionFailed: the folder holds
        something else."""
        path.mkdir(parents=True, exist_ok=True)
        there = sorted(p.name for p in path.iterdir())
        plan = read_plan(path)
        if plan is None and there and there != ["lock"]:
            raise SessionFailed(f"{path}: exists and is not empty")
        lock = open(path / "lock", "a", encoding="ascii")  # noqa: SIM115 held as long as the session
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise SessionBusy(f"{path}: another session works there") from None
        try:
            return cls._opened(path, described, fresh, lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def _opened(cls, path: Path, described: Mapping[str, Any], fresh: bool, lock: TextIO) -> SessionFolder:
        plan = read_plan(path)
        if plan is not None and fresh:
            _clear(path)
            plan = None
        if plan is not None and plan.get("digest") != described["digest"]:
            raise SessionFailed(f"{path}: exists and is not empty: a session of another plan (--fresh begins anew)")
        if plan is not None and plan.get("state") == FINISHED:
            return cls(path, plan, int(plan.get("attempt", 1)), dict(_finished_blocks(path / "blocks")), lock)
        attempt = 1 if plan is None else int(plan.get("attempt", 1)) + 1
        folder = cls(path, {}, attempt, _lock=lock)
        folder.raw.mkdir(exist_ok=True)
        (path / "blocks").mkdir(exist_ok=True)
        if plan is not None:
            folder.finished = dict(_finished_blocks(path / "blocks"))
        folder._drop_raw()
        started = plan["started"] if plan is not None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        folder.plan = {"schema": SCHEMA, "state": RUNNING, "started": started, "attempt": attempt, **described}
        folder.write_plan()
        folder.rewrite_records()
        return folder

    def _drop_raw(self) -> None:
        """Of runs that no finished block has: their numbers are used again."""
        kept = {r.sequence for block in self.finished.values() for r in block.records}
        for path in self.raw.iterdir():
            number, dash, _ = path.name.partition("-")
            if dash and (number == "decisions" or (number.isdecimal() and int(number) not in kept)):
                path.unlink()

    def write_plan(self, **changes: Any) -> None:
        self.plan.update(changes)
        write_whole(self.path / "plan.json", json.dumps(self.plan, indent=1) + "\n")

    def rewrite_records(self) -> None:
        """Those of finished blocks only, in order."""
        lines = [record.to_json(r) + "\n" for block in self.in_order() for r in block.records]
        write_whole(self.records_path, "".join(lines))

    def in_order(self) -> list[Finished]:
        return [self.finished[number] for number in sorted(self.finished)]

    def finish(self, block: Finished, **about: Any) -> None:
        ordered = sorted(block.records, key=lambda r: r.sequence)
        done = replace(block, records=tuple(ordered))
        values = {
            "schema": BLOCK_SCHEMA, "number": block.number, "last_sequence": block.last_sequence,
            "seconds": round(block.seconds, 3), **about, "inconclusive": dict(block.inconclusive),
            "skipped": dict(block.skipped), "records": [asdict(r) for r in ordered],
        }  # fmt: skip
        write_whole(self.path / "blocks" / f"{block.number:03d}.json", json.dumps(values) + "\n")
        self.finished[block.number] = done

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def read_plan(path: Path) -> dict[str, Any] | None:
    """None: the folder holds no session."""
    try:
        plan = json.loads((path / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return plan if isinstance(plan, dict) and plan.get("schema") == SCHEMA else None


def unfinished(runs: Path, digest: str) -> Iterator[Path]:
    """Sessions below `runs` of this plan that did not come to their end, newest first."""
    for path in sorted(runs.glob("*"), reverse=True):
        plan = read_plan(path)
        if plan is not None and plan.get("state") == RUNNING and plan.get("digest") == digest:
            yield path


def _finished_blocks(folder: Path) -> Iterable[tuple[int, Finished]]:
    for path in sorted(folder.glob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            records = tuple(record.from_json(json.dumps(r)) for r in values["records"])
            number = int(values["number"])
            last, seconds = int(values["last_sequence"]), float(values["seconds"])
            yield number, Finished(number, last, seconds, records, values["inconclusive"], values["skipped"])
        except (ValueError, KeyError, TypeError) as error:
            raise SessionFailed(f"{path}: {error}; --fresh begins anew") from None


def _clear(path: Path) -> None:
    """Removes what a session writes, and nothing else."""
    for folder in ("blocks", "raw"):
        for file in (path / folder).glob("*"):
            file.unlink()
    for pattern in ("plan.json", "records.jsonl", "oplog-*.jsonl", "report.*", "doctor.json", "roofline.json", "during.json",
                    "exhaustive.json"):  # fmt: skip
        for file in path.glob(pattern):
            file.unlink()


def write_whole(path: Path, text: str) -> None:
    """As a whole or not at all, also when the machine stops."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    os.replace(partial, path)
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
