"""What only a real server or a real client can show: numbers 79 to 82 of the checklist of bench/spec/protocol.md.

Each number is one line: passed, FAILED with the reason, or NOT RUN with what is missing. Whatever is made on the server is
forgotten again; chunks stay until its next garbage collection.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .. import run
from ..tree import differences, scan
from .accounts import Account
from .serve import TOKEN, Serving, Setup

THEIRS = "proxmox-backup-client"
EXIT_OK, EXIT_FAILED, EXIT_INCOMPLETE = 0, 1, 4

_EPILOG = """\
environment: PBS_REPOSITORY, PBS_PASSWORD, PBS_FINGERPRINT of a server that may be written to; PXARBENCH, the program

  79  our client backs up to and restores from that server in all modes, and verifies what it stored
  80  the real client backs up to and restores from `pxarbench serve`
  81  snapshots of either client on that server are restored by the other
  82  what the server announces: headers of the 101, SETTINGS, the code that resets an early refusal

exit codes: 0 all passed; 1 something failed; 4 something was not run, the rest passed
"""


class NotRun(Exception):
    """What is missing."""


class Failed(Exception):
    """What was found."""


@dataclass
class Bench:
    """What all numbers share."""

    program: Path
    scratch: Path
    tree: Path
    made: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)  # snapshots to forget, with their environment
    id: str = field(default_factory=lambda: "pxarbench-interop-" + secrets.token_hex(4))
    at: int = field(default_factory=lambda: int(time.time()) - 1000)

    def next_time(self) -> int:
        self.at += 1
        return self.at

    def ours(self, *words: str | os.PathLike[str], env: Mapping[str, str]) -> run.Result:
        return checked(run.run([self.program, *words], env=env, timeout=600))

    def theirs(self, *words: str | os.PathLike[str], env: Mapping[str, str]) -> run.Result:
        if shutil.which(THEIRS) is None:
            raise NotRun(f"{THEIRS} is not installed (package of that name, from Proxmox)")
        return checked(run.run([THEIRS, *words], env=env, timeout=600))

    def change(self, number: int) -> None:
        (self.tree / "dir" / f"new{number}").write_bytes(hashlib.shake_128(b"%d" % number).digest(300_000))

    def backup(self, which: Callable[..., run.Result], mode: str, env: Mapping[str, str]) -> str:
        """The snapshot's name."""
        at = self.next_time()
        which(
            "backup", f"root.pxar:{self.tree}", "--backup-id", self.id, "--backup-time", str(at),
            "--change-detection-mode", mode, env=env,
        )  # fmt: skip
        name = f"host/{self.id}/{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at))}"
        self.made.append((name, env))
        return name

    def restore(self, which: Callable[..., run.Result], snapshot: str, env: Mapping[str, str]) -> None:
        target = self.scratch / "restored"
        shutil.rmtree(target, ignore_errors=True)
        which("restore", snapshot, "root.pxar", target, env=env)
        found = differences(scan(self.tree), scan(target))
        if found:
            raise Failed(f"{snapshot} comes back with {len(found)} differences: {found[0]}")

    def forget_all(self) -> None:
        for snapshot, env in self.made:
            result = run.run([self.program, "snapshot", "forget", snapshot], env=env, timeout=60)
            if result.returncode:
                print(f"{snapshot} is still on the server: {result.stderr.decode(errors='replace').strip()}", file=sys.stderr)
        self.made.clear()


def checked(result: run.Result) -> run.Result:
    try:
        return result.check_ok()
    except run.CommandFailed as error:
        raise Failed(str(error)) from None


def server_environment() -> dict[str, str]:
    if not os.environ.get("PBS_REPOSITORY"):
        raise NotRun("PBS_REPOSITORY is not set: no real server")
    names = [name for name in os.environ if name.startswith("PBS_")]
    return {name: os.environ[name] for name in names}


@contextmanager
def own_server(bench: Bench) -> Iterator[Mapping[str, str]]:
    setup = Setup((Account(TOKEN, secrets.token_hex(16)),))
    with tempfile.TemporaryDirectory(dir=bench.scratch) as folder:
        with Serving(bench.program, Path(folder, "store"), setup) as serving:
            yield {"PBS_REPOSITORY": serving.repository(), **serving.environment()}
            bench.made = [(name, env) for name, env in bench.made if env.get("PBS_FINGERPRINT") != serving.fingerprint]


MODES = ("legacy", "data", "metadata")


def number_79(bench: Bench) -> str:
    env = server_environment()
    for number, mode in enumerate(MODES):
        bench.change(number)
        snapshot = bench.backup(bench.ours, mode, env)
        bench.restore(bench.ours, snapshot, env)
        bench.ours("verify", snapshot, env=env)
    return f"host/{bench.id} in {', '.join(MODES)}; a verify job of the server itself is to be started there"


def number_80(bench: Bench) -> str:
    with own_server(bench) as env:
        for number, mode in enumerate(MODES):
            bench.change(10 + number)
            snapshot = bench.backup(bench.theirs, mode, env)
            bench.restore(bench.theirs, snapshot, env)
            bench.restore(bench.ours, snapshot, env)
            bench.ours("verify", snapshot, env=env)
    return ", ".join(MODES)


def number_81(bench: Bench) -> str:
    env = server_environment()
    for number, mode in enumerate(MODES):
        bench.change(20 + number)
        for write, read in ((bench.ours, bench.theirs), (bench.theirs, bench.ours)):
            bench.restore(read, bench.backup(write, mode, env), env)
    return "both ways, each continuing the other's group"


def number_82(bench: Bench) -> str:
    env = server_environment()
    try:
        from . import observe
    except ImportError as error:
        raise NotRun(f"{error} (package python3-h2)") from None
    match = re.fullmatch(r"(?:(.*)@)?(?:([^@:\[]+|\[[^\]]+\]):)?(?:(\d+):)?([^:@]+)", env["PBS_REPOSITORY"])
    if match is None or "!" not in (match[1] or ""):
        raise NotRun("PBS_REPOSITORY names no API token; sessions are only looked at with one")
    if "PBS_PASSWORD" not in env:
        raise NotRun("PBS_PASSWORD is not set")
    account = Account(match[1], env["PBS_PASSWORD"])
    host, port, store = (match[2] or "localhost").strip("[]"), int(match[3] or 8007), match[4]
    seen = observe.look(host, port, store, account, bench.id, bench.next_time(), env.get("PBS_FINGERPRINT"))
    return "; ".join(seen)


NUMBERS: Mapping[int, Callable[[Bench], str]] = {79: number_79, 80: number_80, 81: number_81, 82: number_82}


def make_tree(root: Path) -> None:
    (root / "dir" / "deep").mkdir(parents=True)
    for number in range(20):
        (root / "dir" / f"f{number}").write_bytes(hashlib.shake_128(b"f%d" % number).digest(50_000 + number))
    (root / "empty").touch()
    (root / "link").symlink_to("dir/f1")
    os.link(root / "dir" / "f2", root / "dir" / "deep" / "hard")
    (root / "zeros").write_bytes(bytes(5_000_000))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="ci/interop", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", type=int, help="default: all")
    args = parser.parse_args(arguments)
    program = Path(os.environ.get("PXARBENCH", "pxarbench"))
    if shutil.which(program) is None:
        print(f"ci/interop: {program} is not a program: build it, or set PXARBENCH", file=sys.stderr)
        return EXIT_FAILED
    code = EXIT_OK
    with tempfile.TemporaryDirectory(prefix="pxarbench-interop-") as folder:
        make_tree(Path(folder, "tree"))
        for number in args.numbers or NUMBERS:
            bench = Bench(program, Path(folder), Path(folder, "tree"))
            try:
                print(f"{number}  passed: {NUMBERS[number](bench)}", flush=True)
            except NotRun as error:
                print(f"{number}  NOT RUN: {error}", flush=True)
                code = code or EXIT_INCOMPLETE
            except (Failed, run.CommandFailed, OSError, AssertionError) as error:
                print(f"{number}  FAILED: {error}", flush=True)
                code = EXIT_FAILED
            finally:
                bench.forget_all()
    return code


if __name__ == "__main__":
    run.end_when_cancelled()  # what was made on a server somewhere else has to go as well
    sys.exit(main())
