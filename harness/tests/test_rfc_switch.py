"""--rfc-change-detection: the modes as they were spelled before there were three of them.

Source: bench/spec/change-detection.md 2.1.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backup_tools import T1, T2, sentence, time_text

from pxarbench_harness import run
from pxarbench_harness.tree import differences, scan

NAMES = ("a", "b", "c")
STORED = {"unified": ["{}.pxar.didx"], "split": ["{}.ppxar.didx", "{}.mpxar.didx"]}


@dataclass
class Machine:
    """Three directories and a datastore."""

    program: Path
    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    def run(self, at: int, *words: str, names: tuple[str, ...] = NAMES) -> run.Result:
        sources = [f"{name}.pxar:{self.root / name}" for name in names]
        fixed = ["--repository", self.store, "--backup-id", "me", "--backup-time", str(at), "--chunk-size", "64"]
        fixed += ["--sync-level", "none", "--stats", self.root / f"stats-{at}"]
        return run.run([self.program, "backup", *sources, *fixed, *words], timeout=60)

    def backup(self, at: int, *words: str) -> dict[str, Any]:
        self.run(at, *words).check_ok()
        stats: dict[str, Any] = json.loads((self.root / f"stats-{at}").read_text())
        return stats

    def check_restore(self, at: int, name: str) -> None:
        target = self.root / "restored"
        shutil.rmtree(target, ignore_errors=True)
        words = ["restore", f"host/me/{time_text(at)}", f"{name}.pxar", target, "--repository", self.store]
        run.run([self.program, *words], timeout=60).check_ok()
        assert differences(scan(self.root / name), scan(target)) == []

    def catalog(self, at: int) -> list[str]:
        """The archives that it lists."""
        words = [self.program, "catalog", "dump", f"host/me/{time_text(at)}", "--repository", self.store]
        text = run.run(words, timeout=60).check_ok().text
        return sorted({line.split('"')[1].split("/")[1] for line in text.splitlines() if '"' in line})


@pytest.fixture
def machine(pxarbench: Path, tmp_path: Path) -> Machine:
    for name in NAMES:
        for i in range(5):
            path = tmp_path / name / f"d{i}" / "file"
            path.parent.mkdir(parents=True)
            path.write_bytes(hashlib.sha256(f"{name}{i}".encode()).digest() * 1000)
            os.utime(path, (T1, T1))
    (tmp_path / "store" / ".chunks").mkdir(parents=True)
    (tmp_path / "store" / ".lock").touch()
    return Machine(pxarbench, tmp_path)


def kinds(stats: dict[str, Any]) -> str:
    """A letter for each source."""
    for archive in stats["archives"]:
        assert archive["stored"] == [form.format(archive["name"]) for form in STORED[archive["kind"]]]
    return "".join(archive["kind"][0] for archive in stats["archives"])


def content(stats: dict[str, Any]) -> list[Any]:
    return [
        [(archive[stream] or {}).get("csum") for stream in ("metadata", "payload", "stream")]
        for archive in stats["archives"]
    ] + [(stats["catalog"] or {}).get("csum")]


@pytest.mark.parametrize(
    ("rfc", "today"), [("data", "legacy"), ("metadata", "metadata"), ("metadata:c.pxar:a.pxar:b.pxar", "metadata")]
)
def test_spellings_without_a_choice_are_modes_of_today(machine: Machine, rfc: str, today: str) -> None:
    old = [machine.backup(at, "--rfc-change-detection", rfc) for at in (T1, T2)]
    shutil.rmtree(machine.store / "host")
    new = [machine.backup(at, "--change-detection-mode", today) for at in (T1, T2)]
    for before, now in zip(old, new, strict=True):
        assert content(before) == content(now) and kinds(before) == kinds(now)
        assert before["mode"] == now["mode"] == today


def test_a_list_splits_its_sources_alone(machine: Machine) -> None:
    first = machine.backup(T1, "--rfc-change-detection", "metadata:a.pxar:c.pxar")
    assert kinds(first) == "sus" and first["mode"] == "metadata"
    assert [archive["reference"]["reason"] for archive in first["archives"]] == [
        "no-previous-snapshot", "not-asked", "no-previous-snapshot"]  # fmt: skip
    assert machine.catalog(T1) == ["b.pxar.didx"]
    second = machine.backup(T2, "--rfc-change-detection", "metadata:a.pxar:c.pxar", "--require-reference")
    read = {archive["name"]: archive["file_bytes_read"] for archive in second["archives"]}
    assert read == {"a": 0, "b": 5 * 32000, "c": 0}
    assert [archive["reference"]["reason"] for archive in second["archives"]] == ["used", "not-asked", "used"]
    assert machine.catalog(T2) == ["b.pxar.didx"]
    for at in (T1, T2):
        for name in NAMES:
            machine.check_restore(at, name)


def test_the_list_may_change(machine: Machine) -> None:
    """A source that was not split before has no reference; one that no longer is has known chunks of none."""
    machine.backup(T1, "--rfc-change-detection", "metadata:a.pxar")
    second = machine.backup(T2, "--rfc-change-detection", "metadata:b.pxar")
    assert kinds(second) == "usu"
    assert second["archives"][1]["reference"]["reason"] == "no-metadata-index"
    for name in NAMES:
        machine.check_restore(T2, name)


def test_a_name_has_one_archive_whatever_its_mode(machine: Machine) -> None:
    said = sentence(machine.run(T1, "--rfc-change-detection", "metadata:a.pxar", names=("a", "a")), 2)
    assert "there are two sources named 'a.pxar'" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rfc-change-detection", "legacy"], "'legacy' is neither 'data' nor 'metadata'"),
        (["--rfc-change-detection", "metadata:"], "'metadata:' is neither"),
        (["--rfc-change-detection", "metadata:a"], "'metadata:a' is neither"),
        (["--rfc-change-detection", "metadata:a.pxar,b.pxar"], "'metadata:a.pxar,b.pxar' is neither"),
        (["--rfc-change-detection", "data:a.pxar"], "'data:a.pxar' is neither"),
        (["--rfc-change-detection", "metadata:x.pxar"], "there is no source 'x.pxar'"),
        (["--rfc-change-detection", "metadata:a.pxar:x.pxar"], "there is no source 'x.pxar'"),
        (["--rfc-change-detection", "metadata", "--change-detection-mode", "metadata"], "exclude each other"),
        (["--change-detection-mode", "metadata:a.pxar"], "value 'metadata:a.pxar' is not defined in the enumeration (legacy, data, metadata)."),
    ],
)
def test_what_is_refused(machine: Machine, words: list[str], said: str) -> None:
    """Before anything is stored. The switch is the only place for the old spelling."""
    assert said in sentence(machine.run(T1, *words), 2)
    assert not (machine.store / "host").exists()
