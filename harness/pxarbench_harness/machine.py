"""What of this machine decides how fast something runs, read from /proc and /sys. Nothing is changed, nothing is started.

Every function takes the places it reads from, so that tests can show it another machine. What is not there is "" or None:
virtual machines and containers hide most of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")


HERE = Places()

#: What a memory controller says when it sets no limit (version 1; a number close to 2^63).
_UNLIMITED = 1 << 60


def read(path: Path) -> str:
    """Stripped contents, "" where there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _one_or_all(values: set[str]) -> str:
    return ", ".join(sorted(values))


def governor(at: Places = HERE) -> str:
    """Of all cores; more than one, separated by commas, where they differ."""
    cores = at.sys.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    return _one_or_all({read(path) for path in cores} - {""})


def boost(at: Places = HERE) -> str:
    """"on", "off" or ""."""
    no_turbo = read(at.sys / "devices/system/cpu/intel_pstate/no_turbo")
    if no_turbo:
        return "off" if no_turbo == "1" else "on"
    return {"1": "on", "0": "off"}.get(read(at.sys / "devices/system/cpu/cpufreq/boost"), "")


def smt(at: Places = HERE) -> str:
    return {"1": "on", "0": "off"}.get(read(at.sys / "devices/system/cpu/smt/active"), "")


def virtualised(at: Places = HERE) -> str:
    """Name of the hypervisor, "yes" when there is one without a name, "no", or "" where the processor does not tell."""
    cpu = read(at.proc / "cpuinfo")
    flags = [line.split(":", 1)[1].split() for line in cpu.splitlines() if line.startswith(("flags", "Features")) and ":" in line]
    vendor = read(at.sys / "class/dmi/id/sys_vendor")
    known = ("QEMU", "VMware", "Xen", "innotek", "Microsoft", "Amazon EC2", "Google", "Parallels", "Bochs")
    named = next((name for name in known if name.lower() in vendor.lower()), "")
    hypervisor = read(at.sys / "hypervisor/type")
    if any("hypervisor" in words for words in flags):
        return hypervisor or named or "yes"
    if hypervisor:
        return hypervisor
    return "no" if flags and flags[0] else ""


def container(at: Places = HERE) -> str:
    """What kind of container this is in, "" outside of one as far as can be seen."""
    if Path("/.dockerenv").exists() and at == HERE:
        return "docker"
    words = read(at.proc / "1/environ").split("\0")
    return next((word.partition("=")[2] for word in words if word.startswith("container=")), "")


def clocksource(at: Places = HERE) -> str:
    return read(at.sys / "devices/system/clocksource/clocksource0/current_clocksource")


def huge_pages(at: Places = HERE) -> str:
    """"always", "madvise", "never" or ""."""
    text = read(at.sys / "kernel/mm/transparent_hugepage/enabled")
    return text.partition("[")[2].partition("]")[0]


def _groups(at: Places) -> dict[str, str]:
    """Controller -> group of this process; "" is the one tree of version 2."""
    found = {}
    for line in read(at.proc / "self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            for controller in parts[1].split(","):
                found[controller] = parts[2]
    return found


def _upwards(mount: Path, group: str) -> list[Path]:
    """The folders of a group and of all above it, within `mount`; a limit anywhere counts."""
    folder = mount / group.lstrip("/")
    return [folder, *(up for up in folder.parents if up == mount or mount in up.parents)]


def cpu_limit(at: Places = HERE) -> float | None:
    """Cores that control groups allow; None: no limit is set, or it cannot be seen."""
    groups, limits = _groups(at), []
    root = at.sys / "fs/cgroup"
    for mount in (root, root / "unified"):
        for folder in _upwards(mount, groups.get("", "/")):
            quota, _, period = read(folder / "cpu.max").partition(" ")
            if quota.isdecimal() and period.isdecimal() and int(period):
                limits.append(int(quota) / int(period))
    for name in ("cpu", "cpu,cpuacct"):
        for folder in _upwards(root / name, groups.get("cpu", "/")):
            quota_us, period_us = (_number(read(folder / f"cpu.cfs_{word}_us")) for word in ("quota", "period"))
            if quota_us and period_us and quota_us > 0:
                limits.append(quota_us / period_us)
    return min(limits, default=None)


def memory_limit(at: Places = HERE) -> int | None:
    """Bytes that control groups allow; None: no limit is set, or it cannot be seen."""
    groups, limits = _groups(at), []
    root = at.sys / "fs/cgroup"
    for mount in (root, root / "unified"):
        for folder in _upwards(mount, groups.get("", "/")):
            limits.append(_number(read(folder / "memory.max")))
            limits.append(_number(read(folder / "memory.high")))
    for folder in _upwards(root / "memory", groups.get("memory", "/")):
        limits.append(_number(read(folder / "memory.limit_in_bytes")))
    return min((limit for limit in limits if limit is not None and limit < _UNLIMITED), default=None)


def cores_allowed() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def meminfo(name: str, at: Places = HERE) -> int | None:
    """A line of /proc/meminfo in bytes."""
    for line in read(at.proc / "meminfo").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            words = value.split()
            return int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return None


def proactive_reclaim(at: Places = HERE) -> str:
    """What takes pages out of memory although nobody needs the room (DAMON), "" for nothing."""
    if any(read(at.sys / f"module/{name}/parameters/enabled") == "Y" for name in ("damon_reclaim", "damon_lru_sort")):
        return "DAMON"
    threads = (read(path) for path in at.proc.glob("[0-9]*/comm"))
    return "DAMON" if any(name.startswith("kdamond") for name in threads) else ""


@dataclass(frozen=True)
class Ticks:
    """Processor time of the whole machine since it was started, in clock ticks."""

    total: int
    idle: int
    steal: int


def ticks(at: Places = HERE) -> Ticks | None:
    """user nice system idle iowait irq softirq steal; what guests used is already in user."""
    lines = read(at.proc / "stat").splitlines()
    words = lines[0].split() if lines else []
    if len(words) < 9 or words[0] != "cpu":
        return None
    counts = [int(word) for word in words[1:9]]
    return Ticks(sum(counts), counts[3] + counts[4], counts[7])


def on_battery(at: Places = HERE) -> bool | None:
    """None: the machine has no mains supply that it knows of."""
    online = [read(path / "online") for path in at.sys.glob("class/power_supply/*") if read(path / "type") == "Mains"]
    return "1" not in online if online else None


def disk(path: Path, at: Places = HERE) -> str:
    """Of the device below `path`: "rotating" or "solid", and its scheduler; "" where that is not known."""
    device = os.stat(path).st_dev
    folder = at.sys / f"dev/block/{os.major(device)}:{os.minor(device)}"
    for queue in (folder / "queue", folder.resolve().parent / "queue"):  # a partition has none of its own
        rotating = read(queue / "rotational")
        if rotating:
            chosen = read(queue / "scheduler").partition("[")[2].partition("]")[0]
            return ("rotating" if rotating == "1" else "solid") + (f", scheduler {chosen}" if chosen else "")
    return ""
