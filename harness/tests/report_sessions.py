"""Seeded sessions for tests of reports: records as a session would write them, with plausible numbers, and their folder.

Nothing is measured. `python3 harness/tests/report_sessions.py FOLDER` writes the large one, to look at.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pxarbench_harness.record import Record, append

HOST = {
    "cpu": "AMD EPYC", "cores": 2, "memory_bytes": 25276502016, "kernel": "6.1", "distribution": "Debian GNU/Linux 12 (bookworm)",
    "tree_filesystem": "ext4 /dev/vda", "store_filesystem": "ext4 /dev/vda", "python": "3.11.2",
    "tools": {"hyperfine": "hyperfine 1.15.0", "pxarbench": "pxarbench 0.1.0"},
}  # fmt: skip

LINUX = {"name": "linux", "source": "Debian package linux-source-6.1", "files": 78579, "bytes": 1298681992, "entries": 83731,
         "tree_digest": "f8" * 32}  # fmt: skip
IMAGES = {"name": "coco-like", "source": "generated, seed 1", "files": 6000, "bytes": 943718400, "entries": 6003, "tree_digest": "0a" * 32}

OURS = [("pxarbench", "data"), ("pxarbench", "metadata"), ("pxarbench", "metadata-stored")]
OTHERS = [("restic", "force"), ("restic", "default"), ("borg", "ctime,size,inode"), ("casync", "plain")]
READING = {("pxarbench", "data"), ("pxarbench", "legacy"), ("restic", "force"), ("casync", "plain")}
#: seconds of reading everything
SPEED = {"pxarbench": 1.1, "restic": 4.6, "borg": 6.0, "casync": 9.0}

TRUTH = {
    "touch": (0, 40), "edit": (40, 40), "rewrite": (40, 40), "content-restored": (40, 0), "size-restored": (40, 40), "chmod": (0, 40),
    "rename": (40, 40), "mtime-back": (40, 40), "same-tick": (40, 0), "delete": (0, 0), "ctime-only": (0, 0), "append": (40, 40),
}  # fmt: skip


class Session:
    """Makes records with running numbers."""

    def __init__(self, seed: int = 1, name: str = "2026-11-22-001") -> None:
        self.random = random.Random(f"report {seed}")
        self.name = name
        self.records: list[Record] = []

    def record(self, dataset: dict[str, Any], words_of: str, who: tuple[str, str], phase: str, **over: Any) -> Record:
        subject, mode = who
        words = "".join(c if c.isalnum() else "-" for c in f"{dataset['name']}-{words_of}-{subject}-{mode}".lower())
        cache = over.get("cache", "warm")
        operation, _, rest = words_of.rpartition(">")[2].partition("*")[0].partition(":")
        rate = rest.partition("%")[0] if "%" in rest else ""
        layout = next((w for w in rest.split(":") if w in ("uniform", "clustered", "zipf")), "uniform")
        number = len(self.records) + 1
        made = Record(
            session=self.name, sequence=number, started=f"2026-11-22T12:{number // 60 % 60:02}:{number % 60:02}Z",
            case=f"{words}-{cache}", dataset=dataset,
            mutation={"text": words_of, "operation": operation, "rate": rate, "layout": layout, "files": 0, "bytes": 0, "facets": {}, "gone": 0},
            subject=subject, mode=mode, cache=cache, phase=phase, round=0, position=0, command=(subject, "backup", "tree"),
            settings={"not_compared": ""}, exit_code=0, wall_ns=1_000_000_000, user_ns=700_000_000, system_ns=300_000_000,
            peak_rss_bytes=46_000_000, io={"rchar": 5_000_000, "wchar": 1_000_000, "syscr": 900, "syscw": 120, "read_bytes": 0,
                                           "write_bytes": 40_960},
            syscalls=None, resident=None, store_bytes=230_000_000, store_added_bytes=0, necessary_bytes=0, verdict=None,
            outcome=outcome(), problems=(), restored=False, suite="", scenario="", generation=0, attempt=1, seed=1, load_average=0.7,
            commit="6081b32b3070", host_fingerprint="29062a1b36ce", host=HOST,
        )  # fmt: skip
        made = replace(made, **over)
        self.records.append(made)
        return made

    def around(self, value: float) -> int:
        """Nanoseconds: seconds with some noise."""
        return round(value * 1e9 * self.random.lognormvariate(0, 0.05))

    def case(
        self, dataset: dict[str, Any], mutation: str, who: tuple[str, str], *, rounds: int = 5, read: float = 0.0, changed: float = 0.0,
        first: bool = False, **over: Any,
    ) -> None:
        """`read`, `changed`: shares of the tree's bytes."""
        subject, mode = who
        read = min(1.0, read)
        reads_all = who in READING
        whole = dataset["bytes"]
        again = whole if reads_all else round(whole * read)
        text = self.record(dataset, mutation, who, "warm-up").mutation
        del self.records[-1]
        touched = {**text, "files": round(dataset["files"] * changed), "bytes": round(whole * changed)}
        speed = SPEED[subject]
        seconds = speed * (0.36 + 0.62 * again / whole + 1.2 * changed) if not reads_all else speed * (1 + changed)
        known = subject == "pxarbench"
        why: dict[str, int] = {}
        if not reads_all:
            files = round(dataset["files"] * read)
            why = {"unchanged": dataset["files"] - files}
            if touched["files"]:
                why |= {"mtime": min(files, touched["files"]), "threshold": max(0, files - touched["files"])}
        done = outcome(
            reference="not-asked" if reads_all else "used", reused_files=0 if reads_all else dataset["files"] - round(dataset["files"] * read),
            reencoded_files=dataset["files"] if reads_all else round(dataset["files"] * read), file_bytes_read=again if known else None,
            reencoded_bytes=again if known else None, uploaded_bytes=round(whole * changed * 0.3), new_bytes=round(whole * changed),
            padding_bytes=(0 if reads_all else round(whole * 0.04 * (1 - read) * min(1, 12 * changed))) if known else None,
            payload_bytes=whole if known else None, injected_chunks=(0 if reads_all else 900) if known else None, reasons=why if known else {},
        )  # fmt: skip
        common: dict[str, Any] = {"mutation": touched, "necessary_bytes": touched["bytes"], **over}
        if first:
            self.record(dataset, mutation, who, "reference", wall_ns=self.around(speed * 6), mutation=text,
                        outcome=outcome(reference="no-previous-snapshot"), **over)  # fmt: skip
        self.record(dataset, mutation, who, "warm-up", wall_ns=self.around(speed * 1.3), mutation=text, **over)
        for number in range(1, rounds + 1):
            wall = self.around(seconds)
            restored = {**done, "restore": {"fetched_bytes": round(whole * 1.04), "fetched_chunks": 1010, "file_bytes": whole}}
            self.record(
                dataset, mutation, who, "measured", round=number, position=1 + number % 3, wall_ns=wall, user_ns=round(wall * 1.4),
                system_ns=round(wall * 0.5), outcome=restored if number == rounds and known else done, restored=number == rounds,
                store_added_bytes=round(whole * changed * 0.3), **common,
            )  # fmt: skip

    def proof(self, dataset: dict[str, Any], mutation: str, who: tuple[str, str], *, miss: bool = True, **over: Any) -> Record:
        changed, seen = TRUTH[mutation.partition(":")[0]]
        if who in READING:
            verdict = _verdict(changed=changed, detected=changed, reread=dataset["files"], needless=dataset["files"] - changed)
            verdict["expected_needless"] = verdict["needless"]
        else:
            missed = changed - seen if changed > seen and miss else 0
            verdict = _verdict(changed=changed, detected=changed - missed, missed=missed, expected_missed=missed, reread=seen,
                               needless=max(0, seen - changed), expected_needless=max(0, seen - changed))  # fmt: skip
        calls = {"total": 240_000, "openat": 80_000, "read": 79_000, "newfstatat": 81_000}
        return self.record(dataset, mutation, who, "proof", verdict=verdict, syscalls=calls, **over)


def _verdict(**over: int) -> dict[str, int]:
    names = ("changed", "detected", "missed", "expected_missed", "reread", "needless", "expected_needless", "collateral")
    return {name: over.get(name, 0) for name in names}


def outcome(**over: Any) -> dict[str, Any]:
    return {"snapshot": "host/x/1", "reference": "used", "reused_files": 0, "reencoded_files": 0, "checksums": {}, "raw": {}, **over}


def cliff_read(mode: str, layout: str, rate: float, dataset: dict[str, Any]) -> float:
    """Share of bytes read again: as measured of the Linux tree, roughly; larger files make the cliff less steep."""
    if layout == "clustered":
        return rate / 100 * 1.02
    per_chunk = max(1.0, 4e6 / (dataset["bytes"] / dataset["files"]))
    hit = 1 - math.exp(-rate / 100 * per_chunk)
    hit *= 0.6 if layout == "zipf" else 1
    if "stored" in mode:
        return rate / 100 + hit * min(1, rate / 18) * 0.9
    return min(1.0, rate / 100 + hit * 0.8)


def cliff(session: Session, dataset: dict[str, Any], rates: Sequence[str], layouts: Sequence[str], rounds: int = 5) -> None:
    for layout in layouts:
        for rate in rates:
            for who in OURS:
                session.case(
                    dataset, f"edit:{rate}%:{layout}", who, rounds=rounds, changed=float(rate) / 100,
                    read=cliff_read(who[1], layout, float(rate), dataset), suite="cliff",
                )  # fmt: skip


def large() -> list[Record]:
    """About everything that a session can have."""
    s = Session()
    for dataset in (LINUX, IMAGES):
        for who in OURS + OTHERS:
            s.case(dataset, "none", who, first=True, scenario="S0")
            s.case(dataset, "edit:1%:uniform", who, changed=0.01, read=0.3 if who[1] == "metadata" else 0.02, scenario="S2")
    rates = ("0.01", "0.05", "0.1", "0.5", "1", "2", "5", "10", "50")
    cliff(s, LINUX, rates, ("uniform", "clustered", "zipf"))
    cliff(s, IMAGES, rates, ("uniform", "clustered", "zipf"), rounds=3)
    for operation in TRUTH:
        for who in OURS + OTHERS:
            if operation == "rename" and who[0] == "casync":
                continue
            s.proof(LINUX, f"{operation}:1%:uniform", who, scenario="S8" if operation == "content-restored" else "S1")
    for number in range(1, 9):
        for who in OURS[1:]:
            s.case(LINUX, "mix:1%*8", who, rounds=1, changed=0.01, read=0.02 * number, generation=number, scenario="S15")
    for who in OURS:
        s.case(LINUX, "none", who, cache="cold")
    s.record(LINUX, "none", OURS[0], "discarded", cache="cold", resident=0.41, wall_ns=900_000_000)
    late = [replace(r, attempt=2) if r.sequence > 400 else r for r in s.records]
    return late


def small() -> list[Record]:
    s = Session(seed=2)
    for who in OURS[:2]:
        s.case(LINUX, "none", who, rounds=3, first=True)
        s.case(LINUX, "edit:1%:clustered", who, rounds=3, changed=0.01, read=0.01)
        s.proof(LINUX, "edit:1%:clustered", who)
    return s.records


def write(folder: Path, records: Sequence[Record], **files: Any) -> Path:
    """A session's folder; `files`: name without .json -> contents."""
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").unlink(missing_ok=True)
    append(folder / "records.jsonl", records)
    for r in records:
        if r.phase in ("measured", "reference", "warm-up", "discarded"):
            (folder / "raw" / f"{r.sequence:04d}-{r.case}-{r.phase}.json").write_text("{}")
    for name, contents in files.items():
        (folder / f"{name}.json").write_text(json.dumps(contents))
    return folder


def during() -> dict[str, Any]:
    rows = [
        {"operation": op, "place": place, "subject": "pxarbench", "mode": mode, "happened": True, "why_not": "", "exit_code": 0,
         "warnings": ["said"], "stored": stored, "next_run": "as it is now", "verdict": verdict, "sentence": "a sentence"}
        for op, place, stored, verdict in (("vanish", "listed", "absent", "ok"), ("shrink", "read", "zero-padded", "ok"), ("grow", "read", "torn", "problem"))
        for mode in ("data", "metadata")
    ]  # fmt: skip
    return {"schema": "pxarbench-during/1", "texts": {"vanish": "the file is removed"}, "skipped": ["bup: not installed"], "rows": rows}


def extras() -> dict[str, Any]:
    return {
        "plan": {"schema": "pxarbench-plan/1", "argv": ["--dataset", "linux", "--suite", "cliff"], "state": "finished",
                 "left_out": ["coco-like, edit:50%:zipf"]},
        "during": during(),
        "doctor": {"schema": "pxarbench-doctor/1", "findings": [
            {"name": "load", "value": "0.3", "verdict": "ok", "advice": ""},
            {"name": "governor", "value": "ondemand", "verdict": "warn", "advice": "Set it to performance."}]},
        "roofline": {"schema": "pxarbench-roofline/1", "notes": ["cold: not allowed here"], "rows": [
            {"dataset": "linux", "name": n, "cache": "warm", "threads": 1, "bytes": 1298681992, "entries": 83731, "measured_bytes": 300_000_000,
             "seconds": [v, v * 1.05, v * 0.98], "median": v, "rate": 83731 / v if n == "attributes" else 1298681992 / v,
             "unit": "entries" if n == "attributes" else "bytes", "how": "a sentence"}
            for n, v in (("attributes", 0.21), ("read", 0.33), ("digest", 0.61), ("compress", 1.4))]},
    }  # fmt: skip


if __name__ == "__main__":
    write(Path(sys.argv[1]), large(), **extras())
