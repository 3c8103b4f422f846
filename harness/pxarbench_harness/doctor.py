"""Is this machine fit to measure on? Looks, changes nothing (but for a file of 1 MiB in the store's folder, soon removed).

Each finding has a verdict: ok, warn (numbers may be worse or less repeatable than they need be, or something cannot be
measured), unknown (hidden here, as most is in virtual machines). A warning is no failure.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import os
import platform
import resource
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from . import cache, locate, machine, measure, syscalls

SCHEMA = "pxarbench-doctor/1"
VERDICTS = ("ok", "warn", "unknown")
#: Exit code of --strict when there are warnings, as everywhere in the harness.
WARNINGS = 3

MIB, GIB = 1 << 20, 1 << 30
#: How long other processes are watched, in seconds.
WATCHED = 0.5
#: Shares of one core.
BUSY, STEAL, LOAD = 0.05, 0.01, 0.15
FREE_BYTES, FREE_INODES = 5 * GIB, 250_000
MEMORY_FREE, DIRTY = 2 * GIB, 256 * MIB
DESCRIPTORS = 1024

#: Tools: name -> (the word that makes it tell its version, what is missing without it). "": only of use where it is.
TOOLS: dict[str, tuple[str, str]] = {
    "hyperfine": ("--version", "nothing can be timed: ci/setup --for bench installs it"),
    "git": ("--version", "records do not name the commit, datasets from git cannot be made"),
    "zstd": ("--version", ""),
    "strace": ("--version", ""),
    "perf": ("--version", ""),
    "restic": ("version", ""),
    "borg": ("--version", ""),
    "casync": ("--version", ""),
    "bup": ("--version", ""),
    "proxmox-backup-client": ("version", ""),
}
MODULES = ("psutil", "jsonschema", "numpy", "rich")


@dataclass(frozen=True)
class Finding:
    name: str
    value: str
    verdict: str  # of VERDICTS
    advice: str  # one sentence: what it means and what to do; "" when there is nothing to say


def findings(tree: Path, store: Path, *, at: machine.Places = machine.HERE, watched: float = WATCHED) -> list[Finding]:
    """`tree`: what is to be backed up, `store`: where stores go; need not exist yet. Takes about a second."""
    tree, store = _existing(tree), _existing(store)
    found: list[Finding] = []
    for part in (
        lambda: _processor(at), lambda: _neighbours(at, watched), lambda: _memory(at), lambda: _limits(at),
        lambda: _places(tree, store, at), lambda: _abilities(tree, store), _tools,
    ):  # fmt: skip
        found.extend(part())
    return found


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def _judged(name: str, value: str, good: bool, advice: str) -> Finding:
    """The advice of a good value would only be in the way."""
    if not value:
        return Finding(name, "", "unknown", "hidden here; look at the machine below, or at how much repetitions differ")
    return Finding(name, value, "ok", "") if good else Finding(name, value, "warn", advice)


# ---- the machine ----


def _processor(at: machine.Places) -> Iterator[Finding]:
    cores, allowed = psutil.cpu_count() or 1, machine.cores_allowed()
    yield _judged(
        "cores", f"{allowed} of {cores}", allowed == cores,
        "this process may not use all cores (taskset, cpuset): compare only with runs under the same limit",
    )  # fmt: skip
    value = machine.governor(at)
    yield _judged(
        "governor", value, value == "performance",
        "the clock follows the load, so short runs are slower: cpupower frequency-set -g performance",
    )  # fmt: skip
    value = machine.boost(at)
    yield _judged(
        "boost", value, value == "off",
        "the clock depends on temperature and on how many cores work: write 1 to "
        "/sys/devices/system/cpu/intel_pstate/no_turbo, or 0 to /sys/devices/system/cpu/cpufreq/boost",
    )  # fmt: skip
    value = machine.smt(at)
    yield _judged(
        "SMT", value, value == "off",
        "two threads share a core, so runs with all cores vary: write off to /sys/devices/system/cpu/smt/control, or repeat more",
    )  # fmt: skip
    value = machine.virtualised(at)
    yield _judged(
        "hypervisor", value, value == "no",
        "neighbours take time that only shows as steal, and the host may cache what this kernel does not: "
        "more rounds, and no comparison with times of another day",
    )  # fmt: skip
    value = machine.container(at)
    yield Finding("container", value or "no", "ok", "limits of the container are below" if value else "")
    value = machine.clocksource(at)
    yield _judged(
        "clocksource", value, value in ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen"),
        "reading the clock needs a system call or a slow device: boot with tsc=reliable where that is true",
    )  # fmt: skip
    battery = machine.on_battery(at)
    if battery is not None:
        yield _judged("power", "battery" if battery else "mains", not battery, "clocks are lower on battery: plug it in")


def _neighbours(at: machine.Places, watched: float) -> Iterator[Finding]:
    before, seen = machine.ticks(at), _process_times()
    time.sleep(watched)
    after = machine.ticks(at)
    busy = sorted(
        ((now - seen[pid][1]) / watched, name)
        for pid, (name, now) in _process_times().items()
        if pid in seen and seen[pid][0] == name and (now - seen[pid][1]) / watched > BUSY
    )
    listed = [f"{name} {share:.0%}" for share, name in reversed(busy)]
    yield _judged(
        "other processes", ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "") or "none busy",
        not busy, f"they used more than {BUSY:.0%} of a core each while watched: stop them, or wait",
    )  # fmt: skip
    load, cores = os.getloadavg()[0], machine.cores_allowed()
    yield _judged(
        "load", f"{load:.2f} on {cores} cores", load <= LOAD * cores,
        "something ran in the last minute: wait until it is below "
        f"{LOAD * cores:.2f} (each record holds the load at its start)",
    )  # fmt: skip
    stolen = ""
    share = 0.0
    if before is not None and after is not None:
        passed = after.total - before.total
        share = (after.steal - before.steal) / passed if passed > 0 else 0.0
        ever = after.steal / after.total if after.total else 0.0
        stolen = f"{share:.1%} now, {ever:.1%} since start"
        share = max(share, ever)
    yield _judged("steal", stolen, share <= STEAL, "the host runs others when this machine wants to: another host, or more rounds")


def _process_times() -> dict[int, tuple[str, float]]:
    """Of all processes but this one and those it came from: name and processor time in seconds."""
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = {}
    for process in psutil.process_iter():
        try:
            if process.pid not in mine:
                used = process.cpu_times()
                found[process.pid] = (process.name(), used.user + used.system)
        except psutil.Error:
            continue
    return found


def _memory(at: machine.Places) -> Iterator[Finding]:
    total, free = machine.meminfo("MemTotal", at), machine.meminfo("MemAvailable", at)
    yield _judged(
        "memory", _of(free, total), free is not None and free >= MEMORY_FREE,
        f"less than {_size(MEMORY_FREE)} available: the tree may not stay in the cache, and a warm run is not warm",
    )  # fmt: skip
    limit = machine.memory_limit(at)
    yield _judged(
        "memory limit", "none" if limit is None else _size(limit), limit is None,
        "the control group limits memory, the cache of files included: raise it above tree and store together",
    )  # fmt: skip
    swap, swap_free = machine.meminfo("SwapTotal", at), machine.meminfo("SwapFree", at)
    used = None if swap is None or swap_free is None else swap - swap_free
    yield _judged(
        "swap", "" if used is None else f"{_size(used)} used of {_size(swap or 0)}" if swap else "none", not used,
        "something was swapped out and may come back during a run: swapoff -a && swapon -a",
    )  # fmt: skip
    value = machine.proactive_reclaim(at)
    yield _judged(
        "reclaim", value or "only when memory is short", not value,
        "pages leave the cache though nobody needs the room, so a warm tree cools down while others run: see `resident` of "
        "each record, and disable it for the session",
    )  # fmt: skip
    dirty = machine.meminfo("Dirty", at)
    yield _judged(
        "dirty pages", "" if dirty is None else _size(dirty), dirty is not None and dirty <= DIRTY,
        "much is still to be written: sync (the harness does it for the file system of the stores before each run)",
    )  # fmt: skip
    value = machine.huge_pages(at)
    yield _judged(
        "huge pages", value, value in ("madvise", "never"),
        "peak memory jumps in steps of 2 MiB: write madvise to /sys/kernel/mm/transparent_hugepage/enabled",
    )  # fmt: skip


def _limits(at: machine.Places) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    words = ["no limit" if n == resource.RLIM_INFINITY else str(n) for n in (soft, hard)]
    yield _judged(
        "open files", f"{words[0]} (may be raised to {words[1]})", soft == resource.RLIM_INFINITY or soft >= DESCRIPTORS,
        f"deep trees and some subjects need more: ulimit -n {DESCRIPTORS}",
    )  # fmt: skip
    limit = machine.cpu_limit(at)
    yield _judged(
        "processor limit", "none" if limit is None else f"{limit:g} cores", limit is None,
        "a quota stops the command in the middle of a period: give whole cores instead (cpuset)",
    )  # fmt: skip


def _places(tree: Path, store: Path, at: machine.Places) -> Iterator[Finding]:
    for name, path in (("tree", tree), ("store", store)):
        kind = measure.filesystem(path)
        reason = cache.never_cold(path)
        yield _judged(
            f"file system of the {name}", kind, not reason and not kind.startswith(("overlay", "unknown")),
            (reason.replace(str(path), f"the {name}") + ": there are no cold runs") if reason else
            "files are seen through another file system, inode numbers and times may not be what programs expect: "
            "use a folder on a disk",
        )  # fmt: skip
    about = machine.disk(store, at)
    if machine.virtualised(at) not in ("no", ""):
        about = ""  # what the host says of the device is often made up
    yield _judged("disk of the store", about, not about.startswith("rotating"), "times depend on where blocks lie: more rounds")
    same = os.stat(tree).st_dev == os.stat(store).st_dev
    yield Finding(
        "one disk for both", "yes" if same else "no", "ok", "reading the tree and writing the store compete" if same else ""
    )
    room = os.statvfs(store)
    free = room.f_bavail * room.f_frsize
    yield _judged(
        "free space", _size(free), free >= FREE_BYTES,
        f"less than {_size(FREE_BYTES)}: each mode of each subject has a store of its own (--work names another place)",
    )  # fmt: skip
    # Some file systems make inodes as they go, and say 0 of 0.
    yield _judged(
        "free inodes", f"{room.f_favail:,}" if room.f_files else "as many as needed",
        not room.f_files or room.f_favail >= FREE_INODES, "each store has 65,536 folders, and a file per chunk",
    )  # fmt: skip


# ---- what can be measured ----


def _abilities(tree: Path, store: Path) -> Iterator[Finding]:
    root = os.geteuid() == 0
    yield _judged(
        "root", "yes" if root else "no", root,
        "owners and some attributes cannot be restored and compared, the cache of names cannot be dropped: run as root",
    )  # fmt: skip
    reason = cache.never_cold(tree).replace(str(tree), "the tree") or cache.proof(store).replace(str(store), "the store")
    whole = os.access(cache.DROP_CACHES, os.W_OK)
    yield _judged(
        "cold cache", "no" if reason else f"{'all' if whole else 'contents only'}, seen by {cache.instrument()}",
        not reason and whole,
        reason if reason else f"{cache.DROP_CACHES} cannot be written: names and attributes stay in memory, run as root",
    )  # fmt: skip
    refused = _fanotify()
    yield _judged(
        "fanotify", f"no ({refused})" if refused else "yes", not refused,
        "changes that must happen while a backup reads cannot be placed exactly: needs root and CONFIG_FANOTIFY_ACCESS_PERMISSIONS",
    )  # fmt: skip
    tool, why = syscalls.instrument()
    yield _judged(
        "system calls", {"strace": "strace, by name", "perf": "perf, the total only"}.get(tool, "not counted"),
        tool == "strace", (why + "; " if why else "") + "install strace, and allow ptrace in containers (--cap-add SYS_PTRACE)",
    )  # fmt: skip


_FAN_CLASS_CONTENT, _FAN_CLOEXEC = 0x4, 0x1


def _fanotify() -> str:
    """Why permission events cannot be had; "": they can."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fd = libc.fanotify_init(_FAN_CLASS_CONTENT | _FAN_CLOEXEC, os.O_RDONLY)
    except AttributeError:
        return "not in this C library"
    if fd < 0:
        return os.strerror(ctypes.get_errno())
    os.close(fd)
    return ""


def _tools() -> Iterator[Finding]:
    for name, (word, loss) in TOOLS.items():
        version = measure.version_of(name, word)
        if not version and shutil.which(name):
            version = "of unknown version"
        if version:
            yield Finding(name, version, "ok", "")
        else:
            yield Finding(name, "not installed", "warn" if loss else "ok", loss or "what needs it is skipped, and named")
    absent = [name for name in MODULES if importlib.util.find_spec(name) is None]
    yield _judged(
        "python", f"{platform.python_version()}" + (f", without {', '.join(absent)}" if absent else ""), not absent,
        "ci/setup --for bench installs the modules",
    )  # fmt: skip


def _size(count: int) -> str:
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", 1024)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _of(part: int | None, whole: int | None) -> str:
    return "" if part is None or whole is None else f"{_size(part)} available of {_size(whole)}"


# ---- telling ----


def as_json(found: Sequence[Finding]) -> dict[str, object]:
    counts = {verdict: sum(f.verdict == verdict for f in found) for verdict in VERDICTS}
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"schema": SCHEMA, "started": started, "counts": counts, "findings": [asdict(f) for f in found]}


def write(path: Path, found: Sequence[Finding]) -> None:
    path.write_text(json.dumps(as_json(found), indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> list[Finding]:
    """ValueError: not what write() made."""
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"{path}: not of schema {SCHEMA}")
    return [Finding(**one) for one in data["findings"]]


def as_text(found: Sequence[Finding]) -> Iterator[str]:
    width = max((len(f.name) for f in found), default=0)
    for f in found:
        yield f"{f.verdict:<8} {f.name:<{width}}  {f.value}".rstrip()
        if f.advice and f.verdict != "unknown":
            indent = " " * (8 + 1 + width + 2)
            yield from textwrap.wrap(f.advice, 120, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    hidden = sum(f.verdict == "unknown" for f in found)
    warned = sum(f.verdict == "warn" for f in found)
    yield f"{warned} warnings, {hidden} unknown (hidden from this machine's user: most is, in virtual machines)"


def main(arguments: Sequence[str] | None = None, *, say: Callable[[str], None] = print) -> int:
    place = locate.cache()
    p = argparse.ArgumentParser(
        prog="ci/doctor", description="Is this machine fit to measure on? Looks at it; nothing is changed.",
        epilog="Exit codes: 0 looked (warnings are no failure), 2 wrong arguments, 3 warnings, under --strict.",
    )  # fmt: skip
    p.add_argument("--tree", type=Path, metavar="DIR", help="what is to be backed up (default: the cache)")
    p.add_argument("--store", type=Path, metavar="DIR", help="where stores go (default: the cache)")
    p.add_argument("--json", action="store_true", help="print JSON, as doctor.json of a session")
    p.add_argument("--strict", action="store_true", help="exit 3 when there are warnings")
    a = p.parse_args(arguments)
    for named in (a.tree, a.store):
        if named is not None and not named.is_dir():
            p.error(f"{named} is no folder")
    found = findings(a.tree or place / "datasets", a.store or place / "work")
    if a.json:
        say(json.dumps(as_json(found), indent=1))
    else:
        for line in as_text(found):
            say(line)
    return WARNINGS if a.strict and any(f.verdict == "warn" for f in found) else 0


if __name__ == "__main__":
    sys.exit(main())
