"""measure.py, run.py, launch.py: what the kernel counted for a command is that command's, to the byte."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pxarbench_harness import measure, record, run

NAMES = {"rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes"}
SIZE = 10_000_000


@pytest.fixture(autouse=True)
def _needs_counts() -> None:
    if not run.run_counted(["true"])[1].io:
        pytest.skip("the kernel keeps no I/O counts (/proc/self/io)")


@pytest.fixture
def hyperfine() -> None:
    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").write_bytes(b"x" * SIZE)
    return tmp_path / "data"


def copy(data: Path, *more: str) -> list[str]:
    # dd makes one read and one write call per block and copies in no other way; cat would use copy_file_range.
    return ["dd", f"if={data}", f"of={data}.copy", "bs=1000000", "status=none", *more]


def less(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {name: a[name] - b[name] for name in a}


def test_counts_are_exactly_those_of_the_command(data: Path) -> None:
    nothing = dict(run.run_counted(copy(data, "count=0"))[1].io)
    all_of_it = dict(run.run_counted(copy(data))[1].io)
    assert set(all_of_it) == NAMES
    difference = less(all_of_it, nothing)
    assert (difference["rchar"], difference["wchar"], difference["syscw"]) == (SIZE, SIZE, 10)
    assert difference["syscr"] == 11  # and one that finds the end


def test_counts_hold_children_and_grandchildren(data: Path) -> None:
    usage = run.run_counted(["sh", "-c", f"sh -c 'dd if={data} bs=1000000 status=none | dd of={data}.copy status=none'; true"])[1]
    assert 2 * SIZE <= usage.io["rchar"] < 2 * SIZE + 200_000
    assert usage.io["wchar"] == 2 * SIZE


def test_the_launcher_itself_is_not_counted() -> None:
    program = shutil.which("true")
    assert program is not None
    by_path, by_name = run.run_counted([program])[1].io, run.run_counted(["true"])[1].io
    assert by_path["wchar"] == by_path["syscw"] == 0
    assert by_path["rchar"] < 16_000  # headers of programs and libraries
    # Looking a name up made the launcher import a module once: 25 kB that the command never read.
    assert by_name["rchar"] - by_path["rchar"] < 1000


def test_counts_are_what_the_command_sees_itself() -> None:
    program = "import os; said = os.pread(os.open('/proc/self/io', 0), 4096, 0); os.write(1, said); os._exit(0)"
    result, usage = run.run_counted([sys.executable, "-S", "-E", "-I", "-c", program])
    seen = {name: int(value) for name, value in (line.split(": ") for line in result.text.splitlines())}
    length = len(result.stdout)
    for name, later in (("rchar", length), ("syscr", 1), ("wchar", length), ("syscw", 1)):
        assert usage.io[name] == seen[name] + later, name


def test_what_was_read_from_the_device_is_told_from_what_was_read(data: Path) -> None:
    if measure.filesystem(data).split()[0] == "tmpfs":
        pytest.skip("tmpfs has no device")
    with open(data, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    cold, warm = (run.run_counted(copy(data))[1].io for _ in range(2))
    assert cold["read_bytes"] >= SIZE > warm["read_bytes"]
    assert cold["rchar"] == warm["rchar"]


def test_a_killed_command_has_no_counts() -> None:
    result, usage = run.run_counted(["sleep", "20"], timeout=0.2)
    assert result.timed_out and usage.io == {}


def test_a_sample_is_without_hyperfines_own_share(data: Path, tmp_path: Path, hyperfine: None) -> None:
    alone = dict(run.run_counted([shutil.which("dd") or "dd", *copy(data)[1:]])[1].io)
    sample = measure.timed(copy(data), raw=tmp_path / "raw.json")
    raw_size = (tmp_path / "raw.json").stat().st_size
    assert set(sample.io) == NAMES
    for name in ("rchar", "wchar"):
        assert abs(sample.io[name] - alone[name]) < raw_size / 2, f"{name}: hyperfine's own share is in it"
    for name in ("syscr", "syscw"):
        assert abs(sample.io[name] - alone[name]) <= 3, name


def test_long_commands_do_not_count_as_written(data: Path, tmp_path: Path, hyperfine: None) -> None:
    """hyperfine writes the command's words into its JSON."""
    short, long = copy(data), copy(data, *["conv=notrunc"] * 500)
    written = [measure.timed(words, raw=tmp_path / "raw.json").io["wchar"] for words in (short, long)]
    assert written == [SIZE, SIZE]


def test_floor_is_measured_once_per_folder(tmp_path: Path, hyperfine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    counted = run.run_counted

    def counting(*words: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        return counted(*words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "run_counted", counting)
    for _ in range(3):
        measure.timed([sys.executable, "-c", "pass"], raw=tmp_path / "raw.json")
    assert calls == 3 + 6
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_fingerprint_tells_machines_apart_and_fits_the_schema(tmp_path: Path) -> None:
    here = measure.host(tmp_path, tmp_path, {"restic": "0.14"})
    assert here == measure.host(tmp_path, tmp_path, {"restic": "0.14"})
    assert here.fingerprint == replace(here).fingerprint
    for changed in ({"governor": "other"}, {"boost": "other"}, {"memory_limit_bytes": 1}, {"cores_allowed": 99}, {"tools": {}}):
        assert replace(here, **changed).fingerprint != here.fingerprint, changed  # type: ignore[arg-type]
    jsonschema = pytest.importorskip("jsonschema")
    schema = record.schema()
    jsonschema.validate(asdict(here), {**schema["properties"]["host"], "$defs": schema["$defs"]})
