"""Timing of one command by hyperfine, and the fingerprint of the machine it ran on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import psutil

from . import locate, machine, run


class ToolMissing(Exception):
    """A tool that the measurement needs is not installed; the text names it."""


@dataclass(frozen=True)
class Sample:
    """One execution of one command."""

    exit_code: int
    wall_ns: int
    user_ns: int
    system_ns: int
    peak_rss_bytes: int
    output: bytes  # standard output
    errors: bytes  # standard error
    io: Mapping[str, int] = field(default_factory=dict)  # as run.Usage.io, of the command alone; {}: not known


#: What hyperfine itself says on standard error when a command fails.
_HYPERFINES_OWN = (b"", b"Warning: Ignoring non-zero exit code.")


def timed(
    argv: Sequence[str | os.PathLike[str]],
    *,
    raw: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    io_floor: Mapping[str, int] | None = None,
) -> Sample:
    """Runs `argv` once under hyperfine. `raw`: hyperfine's own JSON, kept; RAW with suffix .log: all output, kept.

    A command that fails is a sample with its exit code, not an exception. Memory is what the kernel reports for
    hyperfine and its only child, so its floor is hyperfine's own few MiB. I/O counts are the command's: hyperfine's own
    are subtracted (see hyperfines_io()).
    """
    hyperfine = _hyperfine()
    own = hyperfines_io(raw.parent) if io_floor is None else io_floor
    raw.unlink(missing_ok=True)
    words = [os.fspath(word) for word in argv]
    result, usage = run.run_counted(
        [hyperfine, "--shell=none", "--style=none", "--runs=1", "--warmup=0", "--ignore-failure",
         # inherit: of hyperfine's ways with the output the only one that keeps standard error.
         "--output=inherit", f"--export-json={raw}", "--", shlex.join(words)],
        env=env, cwd=cwd, timeout=timeout,
    )  # fmt: skip
    result.check_ok()
    errors = b"".join(line for line in result.stderr.splitlines(keepends=True) if line.strip() not in _HYPERFINES_OWN)
    raw.with_suffix(".log").write_bytes(result.stdout + errors)
    measured = json.loads(raw.read_text())["results"][0]
    return Sample(
        exit_code=-1 if measured["exit_codes"][0] is None else int(measured["exit_codes"][0]),
        wall_ns=round(measured["times"][0] * 1e9),
        user_ns=round(measured["user"] * 1e9),
        system_ns=round(measured["system"] * 1e9),
        peak_rss_bytes=usage.peak_rss_bytes,
        output=result.stdout,
        errors=errors,
        io=_without(usage.io, own, written=raw.stat().st_size),
    )


def _hyperfine() -> str:
    found = shutil.which("hyperfine")
    if found is None:
        raise ToolMissing("hyperfine is not installed")
    return found


def _without(io: Mapping[str, int], own: Mapping[str, int], *, written: int) -> dict[str, int]:
    """`io` without hyperfine's share: a fixed part, and its JSON of `written` bytes, which holds the command's words."""
    return {
        name: max(0, count - own.get(name, 0) - (written if name == "wchar" else 0))
        for name, count in io.items()
    }  # fmt: skip


@lru_cache
def hyperfines_io(folder: Path) -> Mapping[str, int]:
    """What hyperfine itself reads and writes around a command, its JSON left out: `true` under it less `true` alone.

    Measured once per folder that raw files go to: what writing there costs differs between file systems. Per count
    the least of three: what is more is a first touch of hyperfine's files.
    """
    program = shutil.which("true")
    if program is None:
        return {}
    seen: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory(prefix=".floor-", dir=folder) as own:
        raw = Path(own) / "floor.json"
        for _ in range(3):
            both = timed([program], raw=raw, io_floor={}).io
            alone = run.run_counted([program])[1].io
            for name in both.keys() & alone.keys():
                seen.setdefault(name, []).append(max(0, both[name] - alone[name]))
    return {name: min(counts) for name, counts in seen.items()}


# ---- the machine ----


@dataclass(frozen=True)
class Host:
    """What must be equal before two times may be compared."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    distribution: str
    tree_filesystem: str
    store_filesystem: str
    python: str
    tools: dict[str, str]
    # "": hidden here, as most is in virtual machines.
    governor: str = ""
    boost: str = ""
    smt: str = ""
    hypervisor: str = ""
    cores_allowed: int = 0
    processor_limit: str = ""  # in cores, by control groups; "" for none
    memory_limit_bytes: int | None = None  # by control groups; None for none

    @property
    def fingerprint(self) -> str:
        text = json.dumps(self.__dict__, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@lru_cache
def version_of(tool: str, *arguments: str) -> str:
    """First line of what the tool says about its version, "" when it is not there."""
    path = shutil.which(tool)
    if path is None:
        return ""
    result = run.run([path, *(arguments or ("--version",))], timeout=20)
    lines = (result.stdout or result.stderr).decode(errors="replace").splitlines()
    return lines[0].strip() if lines else ""


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def filesystem(path: Path) -> str:
    """Type and source of the file system below `path`: "ext4 /dev/vda1"."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    best = ("", "unknown", "")
    for mount in psutil.disk_partitions(all=True):
        inside = path == Path(mount.mountpoint) or Path(mount.mountpoint) in path.parents
        if inside and len(mount.mountpoint) >= len(best[0]):
            best = (mount.mountpoint, mount.fstype, mount.device)
    return f"{best[1]} {best[2]}".strip()


def host(tree: Path, store: Path, tools: Mapping[str, str]) -> Host:
    try:
        distribution = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        distribution = ""
    return Host(
        cpu=_cpu(),
        cores=psutil.cpu_count() or 1,
        memory_bytes=int(psutil.virtual_memory().total),
        kernel=platform.release(),
        distribution=distribution,
        tree_filesystem=filesystem(tree),
        store_filesystem=filesystem(store),
        python=platform.python_version(),
        tools=dict(sorted(tools.items())),
        governor=machine.governor(),
        boost=machine.boost(),
        smt=machine.smt(),
        hypervisor=machine.virtualised(),
        cores_allowed=machine.cores_allowed(),
        processor_limit="" if (limit := machine.cpu_limit()) is None else f"{limit:g}",
        memory_limit_bytes=machine.memory_limit(),
    )


@lru_cache
def commit() -> str:
    """The checkout's commit, with "+changes" when files differ from it; "unknown" outside of git."""
    if shutil.which("git") is None or not (locate.REPOSITORY / ".git").exists():
        return "unknown"
    git = run.git_words(locate.REPOSITORY)
    head = run.run([*git, "rev-parse", "--short=12", "HEAD"])
    if head.returncode != 0:
        return "unknown"
    changed = run.run([*git, "status", "--porcelain", "--untracked-files=no"])
    return head.text.strip() + ("+changes" if changed.stdout.strip() else "")


def _cmake_cache(binary: Path) -> dict[str, str]:
    cache = binary.parent.parent / "CMakeCache.txt"
    values = {}
    try:
        for line in cache.read_text(errors="replace").splitlines():
            if "=" in line and not line.startswith(("#", "//")):
                key, value = line.split("=", 1)
                values[key.split(":")[0]] = value
    except OSError:
        pass
    return values


@lru_cache
def build(binary: Path) -> dict[str, str]:
    """What identifies a build: hash of the program, and of a CMake tree its compiler and flags."""
    values = _cmake_cache(binary)
    compiler = values.get("CMAKE_C_COMPILER", "")
    return {
        "sha256": hashlib.sha256(binary.read_bytes()).hexdigest(),
        "compiler": version_of(compiler) if compiler else "",
        "flags": values.get("CMAKE_C_FLAGS", ""),
        "preset": binary.parent.parent.name if values else "",
    }


def build_text(binary: Path) -> str:
    known = build(binary)
    return ", ".join(part for part in (known["preset"], known["compiler"], known["flags"], known["sha256"][:12]) if part)
