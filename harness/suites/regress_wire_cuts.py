"""The connection is cut after every k-th byte, in both directions, during backups and restores.

Every time: exit 1 and one sentence within 20 s (or a run that had already ended well), no half snapshot, the old ones whole,
and the next run succeeds. The line that is cut (pxarbench_harness/wire/relay.py) stands between client and server, so the
cut lies anywhere: in the handshake, in the upgrade, within a frame, behind the last byte that matters.

PXB_CUTS=N: at least N points per direction (default 8; "full": 300). Another build, e.g. one with address sanitizer:
$PXARBENCH.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import run
from pxarbench_harness.tree import Tree, differences, scan
from pxarbench_harness.wire.relay import Cut, Direction, Relay
from pxarbench_harness.wire.spoken import Server

POINTS = 300 if os.environ.get("PXB_CUTS") == "full" else int(os.environ.get("PXB_CUTS", "8"))
LIMIT = 20.0

T0 = 1_600_000_000


def name_of(at: int) -> str:
    return "host/me/" + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


@dataclass
class Place:
    """A server with two snapshots, and a line to it."""

    program: Path
    server: Server
    relay: Relay
    tree: Path
    scratch: Path
    wanted: Tree
    at: int = T0

    def run(self, *words: str | os.PathLike[str], direct: bool = False) -> run.Result:
        port = 0 if direct else self.relay.port
        environment = {"PBS_REPOSITORY": self.server.repository(port=port), **self.server.environment()}
        result = run.run([self.program, *words], env=environment, timeout=LIMIT)
        assert not result.timed_out, f"hangs: {result.argv}"
        assert result.returncode in (0, 1), (result.returncode, result.stderr[-4000:])
        for word in (b"Sanitizer", b"runtime error"):
            assert word not in result.stderr, result.stderr[-4000:]
        return result

    def backup(self, mode: str, *, direct: bool = False) -> run.Result:
        self.at += 10
        words = ["backup", f"root.pxar:{self.tree}", "--backup-id", "me", "--backup-time", str(self.at), "--chunk-size", "64"]
        return self.run(*words, "--change-detection-mode", mode, direct=direct)

    @property
    def group(self) -> Path:
        return self.server.datastore / "host" / "me"

    def snapshots(self) -> dict[str, str]:
        """Name and digest of every file."""
        return {
            str(path.relative_to(self.group)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.group.rglob("*") if path.is_file()
        }  # fmt: skip

    def forget(self, at: int) -> None:
        shutil.rmtree(self.server.datastore / name_of(at))

    def check_restore(self, at: int) -> None:
        target = self.scratch / "restored"
        shutil.rmtree(target, ignore_errors=True)
        self.run("restore", name_of(at), "root.pxar", target, direct=True).check_ok()
        assert differences(self.wanted, scan(target)) == []


def contents(path: Path, seed: str, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(hashlib.shake_128(seed.encode()).digest(size))


@pytest.fixture
def place(pxarbench: Path, tmp_path: Path) -> Iterator[Place]:
    tree = tmp_path / "tree"
    for number in range(8):
        contents(tree / f"d{number % 3}" / f"f{number}", f"{number}", 30_000 + number)
    with Server(pxarbench, tmp_path / "store") as server, Relay(server.port) as relay:
        place = Place(pxarbench, server, relay, tree, tmp_path, scan(tree))
        for _ in range(2):
            place.backup("data", direct=True).check_ok()
        yield place


def points(total: int, wanted: int) -> list[int]:
    """Spread evenly, with the first and the last bytes among them."""
    step = max(1, total // max(1, wanted - 4))
    return sorted({0, 1, *range(step, total, step), max(0, total - 1), total})


def directions(counts: list[dict[Direction, int]], wanted: int) -> Iterator[Cut]:
    """Cuts of all connections of a run that went well: `wanted` per direction, divided by bytes."""
    for direction in ("up", "down"):
        whole = sum(count[direction] for count in counts)  # type: ignore[index]
        for number, count in enumerate(counts):
            size = count[direction]  # type: ignore[index]
            share = max(4, round(wanted * size / max(1, whole)))
            for k, after in enumerate(points(size, share)):
                yield Cut(direction, after, number + 1, "reset" if k % 2 else "end")  # type: ignore[arg-type]


def sentence(result: run.Result) -> str:
    lines = result.stderr.decode(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and lines[-1] == errors[0], lines[-10:]
    return errors[0]


def settled(place: Place, before: dict[str, str], at: int, may_stay: bool) -> bool:
    """Waits until the server has seen the end. Whether the snapshot is there; if so, it is finished and whole."""
    folder = place.server.datastore / name_of(at)
    deadline = time.monotonic() + 5
    while folder.exists() and not (may_stay and (folder / "index.json.blob").exists()):
        assert time.monotonic() < deadline, f"{folder} stays: {sorted(p.name for p in folder.iterdir())}"
        time.sleep(0.005)
    now = place.snapshots()
    assert {name: digest for name, digest in now.items() if name in before} == before
    return folder.exists()


@pytest.mark.parametrize("mode", ["data", "metadata"])
def test_backup(place: Place, mode: str) -> None:
    contents(place.tree / "d1" / "more", "more", 100_000)
    place.wanted = scan(place.tree)
    place.relay.cut_next(None)
    place.backup(mode).check_ok()
    counts = place.relay.counts
    assert len(counts) == (2 if mode == "metadata" else 1)
    place.forget(place.at)
    before = place.snapshots()
    outcomes: dict[str, int] = {}
    cuts = list(directions(counts, POINTS))
    for cut in cuts:
        # New contents each time: chunks of the last attempt are in the store.
        contents(place.tree / "d1" / "more", f"more{cut}", 100_000)
        os.utime(place.tree / "d1" / "more", ns=(place.at * 10**9, place.at * 10**9))
        place.wanted = scan(place.tree)
        place.relay.cut_next(cut)
        result = place.backup(mode)
        at = place.at
        stays = settled(place, before, at, may_stay=True)
        if result.returncode == 0:
            # Cut where nothing mattered any more, or a reference that was lost on the way and not needed.
            assert stays
        else:
            sentence(result)
        if stays:
            place.check_restore(at)
            place.forget(at)
        outcome = f"{result.returncode}{'+' if stays else '-'}"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        place.backup(mode, direct=True).check_ok()
        if len(before) and cut.after % 5 == 0:
            place.check_restore(place.at)
        place.forget(place.at)
    print(f"{len(cuts)} cuts of {counts}: {json.dumps(outcomes)}", file=sys.stderr)
    # Without its reference a metadata run goes on.
    assert outcomes.get("1-", 0) >= len(cuts) // (5 if mode == "metadata" else 2)
    # A snapshot whose finish was done though nobody heard of it is rare.
    assert outcomes.get("1+", 0) <= max(4, len(cuts) // 10), outcomes


def test_restore(place: Place) -> None:
    def restore() -> run.Result:
        shutil.rmtree(place.scratch / "cut", ignore_errors=True)
        return place.run("restore", name_of(T0 + 10), "root.pxar", place.scratch / "cut")

    place.relay.cut_next(None)
    restore().check_ok()
    counts = place.relay.counts
    before = place.snapshots()
    failed = 0
    cuts = list(directions(counts, POINTS))
    for cut in cuts:
        place.relay.cut_next(cut)
        result = restore()
        if result.returncode == 0:
            assert differences(place.wanted, scan(place.scratch / "cut")) == []
        else:
            sentence(result)
            failed += 1
        assert place.snapshots() == before
    assert failed >= len(cuts) // 2
    place.relay.cut_next(None)
    restore().check_ok()


def test_listing(place: Place) -> None:
    """Plain calls."""
    place.relay.cut_next(None)
    whole = place.run("snapshot", "list").check_ok().text
    counts = place.relay.counts
    for cut in directions(counts, max(6, POINTS // 4)):
        place.relay.cut_next(cut)
        result = place.run("snapshot", "list")
        if result.returncode == 0:
            assert result.text == whole
        else:
            sentence(result)


def test_growth(place: Place) -> None:
    """The server after many lost connections: no descriptors, threads or temporary files left."""

    def state() -> dict[str, Any]:
        pid = place.server.pid
        return {
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")), "threads": len(os.listdir(f"/proc/{pid}/task")),
            "temporary": [str(p) for p in place.server.datastore.rglob("*") if "tmp" in p.name],
        }  # fmt: skip

    place.relay.cut_next(None)
    before = state()
    for number in range(10):
        place.relay.cut_next(Cut("up", 2500 * (number + 1)))
        place.backup("data")
    deadline = time.monotonic() + 5
    while (now := state()) != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert now["temporary"] == [] and now["descriptors"] <= before["descriptors"] and now["threads"] <= before["threads"] + 1
