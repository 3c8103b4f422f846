"""doctor.py and machine.py: what is found on machines made of files, and on this one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pxarbench_harness import cache, doctor, locate, machine, run, syscalls

CPU = "devices/system/cpu"


class Made:
    """A machine made of files."""

    def __init__(self, root: Path) -> None:
        self.at = machine.Places(root / "proc", root / "sys")

    def sys(self, name: str, text: str) -> None:
        self._write(self.at.sys / name, text)

    def proc(self, name: str, text: str) -> None:
        self._write(self.at.proc / name, text)

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "machine")


@pytest.fixture
def found(made: Made, tmp_path: Path) -> doctor.Sequence[doctor.Finding]:
    return doctor.findings(tmp_path, tmp_path, at=made.at, watched=0.01)


def of(found: doctor.Sequence[doctor.Finding], name: str) -> doctor.Finding:
    [one] = [f for f in found if f.name == name]
    return one


def look(made: Made, tmp_path: Path, name: str) -> tuple[str, str]:
    one = of(doctor.findings(tmp_path, tmp_path, at=made.at, watched=0.01), name)
    assert bool(one.advice) == (one.verdict != "ok"), "a warning says what to do, a good value needs no words"
    return one.verdict, one.value


def test_nothing_to_be_seen_is_unknown_and_no_warning(found: doctor.Sequence[doctor.Finding]) -> None:
    for name in ("governor", "boost", "SMT", "hypervisor", "clocksource", "steal", "huge pages", "memory", "swap"):
        assert of(found, name).verdict == "unknown", name
        assert of(found, name).value == "", name


def test_names_are_unique_and_verdicts_known(found: doctor.Sequence[doctor.Finding]) -> None:
    assert len({f.name for f in found}) == len(found)
    assert {f.verdict for f in found} <= set(doctor.VERDICTS)


@pytest.mark.parametrize(
    "files, name, verdict, value",
    [
        ({f"{CPU}/cpu0/cpufreq/scaling_governor": "performance"}, "governor", "ok", "performance"),
        (
            {f"{CPU}/cpu0/cpufreq/scaling_governor": "performance", f"{CPU}/cpu1/cpufreq/scaling_governor": "powersave"},
            "governor", "warn", "performance, powersave",
        ),
        ({f"{CPU}/intel_pstate/no_turbo": "1"}, "boost", "ok", "off"),
        ({f"{CPU}/intel_pstate/no_turbo": "0"}, "boost", "warn", "on"),
        ({f"{CPU}/cpufreq/boost": "0"}, "boost", "ok", "off"),
        ({f"{CPU}/cpufreq/boost": "1"}, "boost", "warn", "on"),
        ({f"{CPU}/smt/active": "1"}, "SMT", "warn", "on"),
        ({f"{CPU}/smt/active": "0"}, "SMT", "ok", "off"),
        ({"devices/system/clocksource/clocksource0/current_clocksource": "tsc"}, "clocksource", "ok", "tsc"),
        ({"devices/system/clocksource/clocksource0/current_clocksource": "hpet"}, "clocksource", "warn", "hpet"),
        ({"kernel/mm/transparent_hugepage/enabled": "[always] madvise never"}, "huge pages", "warn", "always"),
        ({"kernel/mm/transparent_hugepage/enabled": "always [madvise] never"}, "huge pages", "ok", "madvise"),
        ({"class/power_supply/AC/type": "Mains", "class/power_supply/AC/online": "0"}, "power", "warn", "battery"),
        ({"module/damon_reclaim/parameters/enabled": "Y"}, "reclaim", "warn", "DAMON"),
    ],
)  # fmt: skip
def test_settings_of_the_kernel(
    made: Made, tmp_path: Path, files: dict[str, str], name: str, verdict: str, value: str
) -> None:
    for place, text in files.items():
        made.sys(place, text)
    assert look(made, tmp_path, name) == (verdict, value)


@pytest.mark.parametrize(
    "flags, vendor, verdict, value",
    [
        ("fpu sse", "Dell Inc.", "ok", "no"),
        ("fpu hypervisor", "QEMU", "warn", "QEMU"),
        ("fpu hypervisor", "", "warn", "yes"),
        ("", "", "unknown", ""),
    ],
)
def test_hypervisor(made: Made, tmp_path: Path, flags: str, vendor: str, verdict: str, value: str) -> None:
    made.proc("cpuinfo", f"processor : 0\nflags : {flags}" if flags else "processor : 0")
    made.sys("class/dmi/id/sys_vendor", vendor)
    assert look(made, tmp_path, "hypervisor") == (verdict, value)


def test_memory_and_swap(made: Made, tmp_path: Path) -> None:
    def with_kib(available: int, swap: int, swap_free: int, dirty: int) -> None:
        made.proc("meminfo", f"MemTotal: {16 << 20} kB\nMemAvailable: {available} kB\nSwapTotal: {swap} kB\n"
                  f"SwapFree: {swap_free} kB\nDirty: {dirty} kB\nHugePages_Total: 0")  # fmt: skip

    with_kib(8 << 20, 0, 0, 10)
    assert look(made, tmp_path, "memory") == ("ok", "8.0 GiB available of 16.0 GiB")
    assert look(made, tmp_path, "swap") == ("ok", "none")
    with_kib(1 << 20, 4 << 20, 3 << 20, 1 << 20)
    assert look(made, tmp_path, "memory")[0] == "warn"
    assert look(made, tmp_path, "swap") == ("warn", "1.0 GiB used of 4.0 GiB")
    assert look(made, tmp_path, "dirty pages") == ("warn", "1.0 GiB")


def test_steal_counts_while_watched_and_since_start(made: Made, tmp_path: Path) -> None:
    made.proc("stat", "cpu  100 0 100 1000 0 0 0 5 0 0")
    assert look(made, tmp_path, "steal") == ("ok", "0.0% now, 0.4% since start")
    made.proc("stat", "cpu  100 0 100 1000 0 0 0 300 0 0")
    assert look(made, tmp_path, "steal")[0] == "warn"


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_control_groups_above_count_too(made: Made, tmp_path: Path, version: int) -> None:
    if version == 2:
        made.proc("self/cgroup", "0::/outer/inner")
        made.sys("fs/cgroup/outer/inner/cpu.max", "max 100000")
        made.sys("fs/cgroup/outer/cpu.max", "150000 100000")
        made.sys("fs/cgroup/outer/memory.max", str(3 << 30))
        made.sys("fs/cgroup/outer/inner/memory.max", "max")
    else:
        made.proc("self/cgroup", "4:memory:/outer/inner\n1:cpu,cpuacct:/outer/inner\n0::/")
        made.sys("fs/cgroup/cpu,cpuacct/outer/cpu.cfs_quota_us", "150000")
        made.sys("fs/cgroup/cpu,cpuacct/outer/cpu.cfs_period_us", "100000")
        made.sys("fs/cgroup/cpu,cpuacct/outer/inner/cpu.cfs_quota_us", "-1")
        made.sys("fs/cgroup/cpu,cpuacct/outer/inner/cpu.cfs_period_us", "100000")
        made.sys("fs/cgroup/memory/outer/memory.limit_in_bytes", str(3 << 30))
        made.sys("fs/cgroup/memory/memory.limit_in_bytes", str((1 << 63) - 4096))
    assert look(made, tmp_path, "processor limit") == ("warn", "1.5 cores")
    assert look(made, tmp_path, "memory limit") == ("warn", "3.0 GiB")


def test_without_limits(made: Made, tmp_path: Path) -> None:
    made.proc("self/cgroup", "0::/")
    made.sys("fs/cgroup/memory/memory.limit_in_bytes", str((1 << 63) - 4096))
    assert look(made, tmp_path, "processor limit") == look(made, tmp_path, "memory limit") == ("ok", "none")


def test_a_busy_neighbour_is_named(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{7: ("spinner", 1.0), 8: ("sleeper", 5.0)}, {7: ("spinner", 1.008), 8: ("sleeper", 5.0), 9: ("new", 3.0)}])
    monkeypatch.setattr(doctor, "_process_times", lambda: next(answers))
    assert look(made, tmp_path, "other processes") == ("warn", "spinner 80%")


def test_tools_that_are_missing_are_named(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.measure, "version_of", lambda *words: "")  # type: ignore[attr-defined]
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)  # type: ignore[attr-defined]
    done = doctor.findings(tmp_path, tmp_path, at=made.at, watched=0.01)
    assert of(done, "hyperfine").verdict == "warn" and "ci/setup" in of(done, "hyperfine").advice
    assert of(done, "borg").verdict == "ok" and of(done, "borg").value == "not installed"


def test_abilities_that_are_missing_say_why(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "never_cold", lambda path: "")
    monkeypatch.setattr(cache, "proof", lambda folder: f"contents below {folder} stay")
    monkeypatch.setattr(syscalls, "instrument", lambda: ("", "strace is not installed"))
    monkeypatch.setattr(doctor, "_fanotify", lambda: "Operation not permitted")
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 1000)  # type: ignore[attr-defined]
    done = doctor.findings(tmp_path, tmp_path, at=made.at, watched=0.01)
    assert of(done, "cold cache") == doctor.Finding("cold cache", "no", "warn", "contents below the store stay")
    assert of(done, "system calls").verdict == "warn" and "strace is not installed" in of(done, "system calls").advice
    assert of(done, "fanotify").value == "no (Operation not permitted)"
    assert of(done, "root").verdict == "warn"


def test_trees_in_memory_are_warned_of(made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.measure, "filesystem", lambda path: "tmpfs tmpfs")  # type: ignore[attr-defined]
    done = doctor.findings(tmp_path, tmp_path, at=made.at, watched=0.01)
    assert of(done, "file system of the tree").verdict == "warn"
    assert "no cold runs" in of(done, "file system of the tree").advice
    assert str(tmp_path) not in json.dumps(doctor.as_json(done)), "results name no folders of the machine"


def test_places_need_not_exist_yet(tmp_path: Path, made: Made) -> None:
    doctor.findings(tmp_path / "a" / "b", tmp_path / "c", at=made.at, watched=0.01)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["machine"])


def test_file_of_a_session_comes_back(found: doctor.Sequence[doctor.Finding], tmp_path: Path) -> None:
    doctor.write(tmp_path / "doctor.json", found)
    assert doctor.load(tmp_path / "doctor.json") == list(found)
    (tmp_path / "doctor.json").write_text('{"schema": "other/1", "findings": []}')
    with pytest.raises(ValueError, match="pxarbench-doctor/1"):
        doctor.load(tmp_path / "doctor.json")


def test_warnings_fail_only_when_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "findings", lambda tree, store: [doctor.Finding("load", "9", "warn", "wait")])
    said: list[str] = []
    assert doctor.main([], say=said.append) == 0
    assert doctor.main(["--strict"], say=said.append) == doctor.WARNINGS == 3
    assert "wait" in "\n".join(said)
    monkeypatch.setattr(doctor, "findings", lambda tree, store: [doctor.Finding("load", "", "unknown", "hidden")])
    assert doctor.main(["--strict"], say=said.append) == 0


def test_command_line_of_this_machine(tmp_path: Path) -> None:
    program = locate.REPOSITORY / "ci" / "doctor"
    done = run.run([program, "--json", "--tree", tmp_path, "--store", tmp_path]).json()
    assert done["schema"] == doctor.SCHEMA and sum(done["counts"].values()) == len(done["findings"])
    assert list(tmp_path.iterdir()) == []
    assert run.run([program, "--help"]).check_ok().text.startswith("usage: ci/doctor")
    assert run.run([program, "--tree", tmp_path / "typo"]).returncode == 2
    assert os.access(program, os.X_OK)
