"""Random small trees, changed at random and backed up again with random options, some generations each. What comes out
is compared with the model in payload_model.py chunk for chunk, and with the tree by restoring it."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import payload_model
import pytest
from backup_tools import T1, Repository, noise, payload_references

from pxarbench_harness.tree import Entry, Tree, scan

AVERAGE = 65536
NAMES = [b"a", b"b", b"c", b"a-b", b"a.b", b"B", b"\xff\xfe", b"new\nline", b"x" * 200, b"0", b"\xc3\xa4"]
TREE_BYTES_MAX = 1_500_000


class Gardener:
    """Grows and changes a tree. Every change of contents gets a time of its own."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.root = os.fsencode(root)
        self.rng = rng
        self.clock = 0

    def tick(self, path: bytes) -> None:
        self.clock += 1
        os.utime(path, ns=(T1 * 10**9, T1 * 10**9 + self.clock * 1_000_003), follow_symlinks=False)

    def new_name(self, folder: bytes) -> bytes:
        while True:
            path = folder + b"/" + self.rng.choice(NAMES) + b"%d" % self.rng.randrange(60)
            if not os.path.lexists(path):
                return path

    def size(self) -> int:
        near = self.rng.choice([AVERAGE // 4, AVERAGE, 2 * AVERAGE, 4 * AVERAGE])
        return self.rng.choice(
            [0, self.rng.randrange(1, 500), self.rng.randrange(30_000), near - 16 + self.rng.randrange(-2, 3), 90_000]
        )

    def write(self, path: bytes) -> None:
        left = TREE_BYTES_MAX - sum(os.path.getsize(file) for file in self.files())
        size = max(0, min(self.size(), left))
        kind = self.rng.randrange(8)
        # Few seeds: contents, and so chunks, come more than once.
        content = bytes([kind]) * size if kind < 2 else noise(str(self.rng.randrange(12)), size)
        Path(os.fsdecode(path)).write_bytes(content)
        self.tick(path)

    def files(self) -> list[bytes]:
        found = [os.path.join(d, name) for d, _, names in os.walk(self.root) for name in names]
        return sorted(path for path in found if stat.S_ISREG(os.lstat(path).st_mode))

    def folders(self) -> list[bytes]:
        return sorted(d for d, _, _ in os.walk(self.root))

    def grow(self, count: int) -> None:
        for _ in range(count):
            folder = self.rng.choice(self.folders())
            path, kind = self.new_name(folder), self.rng.randrange(12)
            if kind == 0:
                os.symlink(b"a", path)
            elif kind == 1:
                os.mkfifo(path)
            elif kind in (2, 3):
                os.mkdir(path)
            elif kind == 4 and self.files():
                os.link(self.rng.choice(self.files()), path)
            else:
                self.write(path)

    def change(self) -> None:
        files, rng = self.files(), self.rng
        if not files:
            self.grow(3)
            return
        path = rng.choice(files)
        other = self.new_name(rng.choice(self.folders()))

        def to_directory() -> None:
            os.unlink(path)
            os.mkdir(path)

        def copy_of_link() -> None:
            times, content = os.stat(path), Path(os.fsdecode(path)).read_bytes()
            os.unlink(path)
            Path(os.fsdecode(path)).write_bytes(content)
            os.utime(path, ns=(0, times.st_mtime_ns))

        def move_folder() -> None:
            folder = rng.choice(self.folders())
            if folder != self.root and not other.startswith(folder + b"/"):
                os.rename(folder, other)

        def drop_folder() -> None:
            folder = rng.choice(self.folders())
            if folder != self.root:
                shutil.rmtree(folder)

        changes: list[Callable[[], object]] = [
            lambda: self.write(path),
            lambda: self.tick(path),
            lambda: (os.truncate(path, os.path.getsize(path) // 2), self.tick(path)),
            lambda: os.unlink(path),
            lambda: os.rename(path, other),
            lambda: os.link(path, other),
            lambda: os.chmod(path, rng.choice([0o600, 0o644, 0o4755])),
            lambda: shutil.copy2(path, other),
            lambda: self.grow(4),
            to_directory,
            copy_of_link,
            move_folder,
            drop_folder,
        ]
        rng.choice(changes)()


def by_names(path: bytes) -> list[bytes]:
    return path.split(b"/")


def first_names(tree: Tree) -> dict[bytes, Entry]:
    """Files in archive order, each inode under the name that comes first there."""
    seen: set[int] = set()
    found = {}
    for path in sorted(tree.entries, key=by_names):
        entry = tree.entries[path]
        if entry.kind == "file" and entry.inode not in seen:
            seen.add(entry.inode)
            found[path] = entry
    return found


def unchanged(before: Entry | None, now: Entry, compare: str) -> bool:
    if before is None:
        return False
    names = ["size", "mtime_ns"] if compare == "content" else ["size", "mtime_ns", "mode", "uid", "gid"]
    return all(getattr(before, name) == getattr(now, name) for name in names)


def ledger(ends: list[int], used: list[tuple[int, int]]) -> dict[str, int]:
    """What the padding ledger must say, from the index and the ranges that somebody uses alone (ascending)."""
    totals = dict.fromkeys(("start_padding", "end_padding", "hole_padding", "dead_padding"), 0)
    totals |= dict.fromkeys(("padding", "ranges", "partial_chunks", "unreferenced_chunks"), 0)
    start, is_open = 0, False
    for end in ends:
        parts = [(max(a, start), min(b, end)) for a, b in used if a < end and b > start]
        live = sum(b - a for a, b in parts)
        totals["padding"] += end - start - live
        totals["partial_chunks"] += live < end - start
        if parts:
            head, tail = parts[0][0] - start, end - parts[-1][1]
            totals["start_padding"] += head
            totals["end_padding"] += tail
            totals["hole_padding"] += end - start - live - head - tail
            totals["ranges"] += head > 0 or not is_open
            is_open = tail == 0
        else:
            totals["dead_padding"] += end - start
            totals["unreferenced_chunks"] += 1
            is_open = False
        start = end
    return totals


def check_generation(repository: Repository, root: Path, rng: random.Random, at: int, state: dict[str, object]) -> None:
    mode = "data" if not state or rng.random() < 0.1 else "metadata"
    threshold, profile = rng.choice(["0", "0.1", "0.1", "0.5", "1"]), rng.choice(["tight", "upstream"])
    compare, limit = rng.choice(["strict", "upstream", "content"]), rng.choice([1, 2, 3, 7, 65536, 65536])
    options = ["--padding-threshold", threshold, "--reuse-profile", profile, "--compare", compare]
    options += ["--cache-limit", str(limit), "--threads", str(rng.choice([1, 2, 8]))]
    decisions = repository.scratch / "decisions"
    archive = repository.backup(root, at, *options, "--decisions", decisions, mode=mode).archive
    files = first_names(repository.wanted[at])

    previous, reusable = None, {}
    if mode == "metadata":
        assert archive["reference"]["reason"] == "used"
        old_files, old_offsets = state["files"], state["offsets"]
        assert isinstance(old_files, dict) and isinstance(old_offsets, dict)
        previous = repository.index(at - 1, "ppxar")
        reusable = {
            path: (old_offsets[path], entry.size)
            for path, entry in files.items()
            if unchanged(old_files.get(path), entry, compare)
        }
    wanted = payload_model.Options(profile == "tight", round(float(threshold) * 1e6), limit, AVERAGE)
    model = payload_model.Model(wanted, previous)
    index = model.run(root, reusable)
    assert repository.index(at, "ppxar") == index
    offsets = dict(model.references)
    stored = payload_references(repository.stream(at, "mpxar"))
    assert [(offset, size) for _, offset, size in stored] == [(offsets[path], files[path].size) for path in files]
    assert [offset for _, offset, _ in stored] == sorted({offset for _, offset, _ in stored})

    payload = repository.stream(at, "ppxar")
    for path, entry in files.items():
        begin = offsets[path]
        assert payload[begin : begin + 16] == struct.pack("<QQ", payload_model.PAYLOAD, 16 + entry.size)
        assert payload[begin + 16 : begin + 16 + entry.size] == model.read(path)

    read = [path for path in files if path not in model.reused]
    assert archive["reused_files"] == len(model.reused) and archive["reencoded_files"] == len(read)
    assert archive["file_bytes_read"] == sum(files[path].size for path in read)
    assert sum(archive["reasons"].values()) == archive["entries"]["files"] == len(files)
    assert archive["reasons"].get("threshold", 0) == sum(1 for path in read if path in reusable)
    assert archive["padding_bytes"] == archive["injected_bytes"] - archive["reused_bytes"] >= 0
    end = index[-1][0]
    used = [(offset, offset + 16 + size) for _, offset, size in stored]
    told = {name: value for name, value in archive["ledger"].items() if name not in ("stored_waste", "relisted_chunks")}
    assert told == ledger([entry[0] for entry in index], [(0, 16), *used, (end - 16, end)])
    assert archive["ledger"]["padding"] == archive["padding_bytes"]
    assert archive["ledger"]["partial_chunks"] == archive["partial_chunks"]
    if profile == "tight":
        assert archive["unreferenced_chunks"] == 0
    stream = archive["payload"]
    assert stream["chunks"] == len(index) == sum(stream[f"{kind}_chunks"] for kind in ("known", "injected", "new"))
    lines = [json.loads(line) for line in decisions.read_text().splitlines()]
    assert [line["offset"] for line in lines if line["action"] != "hardlink"] == [offsets[path] for path in files]
    state.update(files=files, offsets=offsets)


@pytest.mark.parametrize("number", range(30))
def test_generations(repository: Repository, tmp_path: Path, seed: int, number: int) -> None:
    rng = random.Random(f"{seed} {number}")
    root = tmp_path / "tree"
    root.mkdir()
    gardener = Gardener(root, rng)
    gardener.grow(rng.choice([0, 3, 15, 40]))
    state: dict[str, object] = {}
    for generation in range(4):
        if generation and rng.random() < 0.8:
            for _ in range(rng.choice([1, 2, 6])):
                gardener.change()
        check_generation(repository, root, rng, T1 + generation, state)
        repository.check_restore(T1 + generation)
