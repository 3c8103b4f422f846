"""A Debian system in a folder, and scripts run in it as a container would run them: for trying out templates.

Needs root and Linux's namespaces. Nothing outlives a script but files: mounts are made in a namespace of their own, and all
processes end with it. The system itself is never written to: changes go into a layer, which the next script sees again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import run

#: What docker and podman leave to root in a container, unless told otherwise.
CAPABILITIES = (
    "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service", "net_raw",
    "sys_chroot", "mknod", "audit_write", "setfcap",
)  # fmt: skip
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MIRROR = "http://deb.debian.org/debian"

# $1 mount point, $2 layers below, $3 layer written to, $4 its work folder, $5 size of memory; then PLACE=FOLDER words up to
# "--", then what to start. Names are quoted by nobody: they are arguments. Devices are those that a container has.
_OUTER = r"""
set -eu
root=$1 lower=$2 upper=$3 scratch=$4 size=$5
shift 5
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$scratch" "$root"
mount -t proc proc "$root/proc"
mount --bind /sys "$root/sys" && mount -o remount,bind,ro "$root/sys"
mount -t tmpfs -o mode=755,size=1m tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    : >"$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mount -t tmpfs -o "mode=1777,size=$size" tmpfs "$root/dev/shm"
mount -t tmpfs -o "mode=1777,size=$size" tmpfs "$root/tmp"
rm -f "$root/etc/resolv.conf"
cat /etc/resolv.conf >"$root/etc/resolv.conf"
while [ "$1" != -- ]; do
    mkdir -p "$root${1%%=*}"
    mount --bind "${1#*=}" "$root${1%%=*}"
    shift
done
shift
exec chroot "$root" "$@"
"""


class ChrootError(Exception):
    """The system cannot be made or entered here; the text says why and what to do."""


@dataclass(frozen=True)
class System:
    """Layers, the lowest last. Owned by whoever made them."""

    layers: tuple[Path, ...]


@dataclass(frozen=True)
class Room:
    """A system with a layer of its own in `folder`, and folders of the host that are seen in it."""

    system: System
    folder: Path
    memory: str = "6g"
    binds: Mapping[str, Path] = field(default_factory=dict)

    def prepare(self) -> None:
        for name in ("root", "upper", "scratch"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def enter(self, argv: Sequence[str], env: Mapping[str, str], log: Path, *, cwd: str, timeout: float | None) -> run.Result:
        """Starts a program in it as a container's root, with nothing but `env`; what it says goes to `log`."""
        words = ["bash", "-c", _OUTER, "outer", self.folder / "root", ":".join(map(str, self.system.layers))]
        words += [self.folder / "upper", self.folder / "scratch", self.memory]
        words += [f"{place}={folder}" for place, folder in self.binds.items()]
        bounded = ",".join(["-all", *(f"+{name}" for name in CAPABILITIES)])
        words += ["--", "setpriv", "--bounding-set", bounded, "--inh-caps", "-all"]
        words += ["env", "-i", f"--chdir={cwd}", *(f"{name}={value}" for name, value in env.items()), *argv]
        space = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL", "--propagation", "private"]
        keep = ["bash", "-c", 'log=$1; shift; exec "$@" >"$log" 2>&1', "keep", str(log)]
        return run.run([*keep, *space, *words], timeout=timeout)


def check_possible() -> None:
    """ChrootError."""
    if os.geteuid() != 0:
        raise ChrootError("a system of its own needs root: sudo, or a virtual machine")
    missing = [name for name in ("unshare", "chroot", "mount", "setpriv", "debootstrap") if not shutil.which(name)]
    if missing:
        raise ChrootError(f"not installed: {', '.join(missing)} (Debian packages: util-linux, mount, debootstrap)")
    tried = run.run(["unshare", "--mount", "--pid", "--fork", "true"])
    if tried.returncode != 0:
        raise ChrootError(f"namespaces are not allowed here: {tried.stderr.decode(errors='replace').strip()}")


def debian(folder: Path, suite: str, mirror: str = MIRROR) -> System:
    """Debian's smallest system, like the slim images: made once, kept in `folder`. ChrootError, run.CommandFailed."""
    made = folder / suite
    if not made.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{suite}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        run.run(["debootstrap", "--variant=minbase", suite, unfinished, mirror], timeout=1800).check_ok()
        shutil.rmtree(unfinished / "var/cache/apt/archives", ignore_errors=True)
        unfinished.rename(made)
    return System((made,))
