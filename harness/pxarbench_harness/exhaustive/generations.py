"""A tree that lives: a random mix of changes per generation, and a backup after each, in several reuse profiles side by side.

Every generation is checked (what was read again is what changed, the layout's rules, no padding above the threshold) and
measured (rows of a table); some are restored and compared. series.py makes table and plot of the rows.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .. import run
from ..tree import differences, scan
from .invariants import Layout, Place, Rules, flushes_of, problems_of
from .oracle import COLLATERAL
from .streams import Index, read_index

FIRST_TIME = 1_000_000_000
START_NS = FIRST_TIME * 10**9
LRU_CHUNKS = 8


# ---- trees that change ----


class Living(Protocol):
    """A tree on disk that knows how to become older."""

    root: Path

    def change(self, generation: int) -> set[bytes]:
        """One generation; the paths whose data must be read again."""


@dataclass
class Mixed:
    """A tree of its own, and a mix of everything that happens to trees. One seed, one history."""

    root: Path
    file_count: int
    seed: int
    mean_size: int = 12_000
    share: float = 0.01  # of the files, per generation
    files: list[bytes] = field(default_factory=list)
    folders: list[bytes] = field(default_factory=list)
    clock: int = 0

    def plant(self) -> None:
        self.rng = random.Random(f"mixed {self.seed}")
        self.root.mkdir(parents=True)
        self.folders = [b"d%03d" % k for k in range(max(4, self.file_count // 50))]
        self.folders += [self.rng.choice(self.folders) + b"/s%03d" % k for k in range(len(self.folders) // 2)]
        for folder in self.folders:
            os.mkdir(self._full(folder))
        for number in range(self.file_count):
            self._new(b"f%06d" % number)

    def _full(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(self.root), path)

    def _tick(self, path: bytes) -> None:
        self.clock += 1
        os.utime(self._full(path), ns=(START_NS, START_NS + self.clock * 1000))

    def _size(self) -> int:
        """Many small ones and a few large ones, as in trees of sources."""
        return min(int(self.rng.lognormvariate(0, 1.5) * self.mean_size / 3.08), 8 << 20)

    def _write(self, path: bytes, content: bytes) -> None:
        with open(self._full(path), "wb") as file:
            file.write(content)
        self._tick(path)

    def _new(self, name: bytes) -> bytes:
        path = self.rng.choice(self.folders) + b"/" + name
        self._write(path, self.rng.randbytes(self._size()))
        self.files.append(path)
        return path

    def change(self, generation: int) -> set[bytes]:
        rng, changed = self.rng, set()
        for number in range(max(1, round(self.file_count * self.share))):
            at = rng.randrange(len(self.files))
            path, full = self.files[at], self._full(self.files[at])
            kind = rng.choices(("edit", "append", "new", "delete", "rename", "touch", "chmod"), (30, 25, 12, 12, 8, 8, 5))[0]
            if kind in ("edit", "append"):
                size = os.path.getsize(full)
                with open(full, "r+b") as file:
                    file.seek(rng.randrange(size) if kind == "edit" and size else size)
                    file.write(rng.randbytes(rng.randrange(1, 200)))
                self._tick(path)
            elif kind == "new":
                path = self._new(b"g%03d_%04d" % (generation, number))
            elif kind == "delete":
                os.unlink(full)
                self.files[at] = self.files[-1]
                self.files.pop()
                changed.discard(path)
                continue
            elif kind == "rename":
                changed.discard(path)
                path = rng.choice(self.folders) + b"/r%03d_%04d" % (generation, number)
                os.rename(full, self._full(path))
                self.files[at] = path
            elif kind == "touch":
                self._tick(path)
            else:
                os.chmod(full, rng.choice((0o600, 0o640, 0o664, 0o444)))
                self._tick(path)  # so that the mode that it had is a change, too
            changed.add(path)
        return changed


@dataclass
class Edited:
    """A tree that is there already: one byte of some files changes per generation, their sizes stay."""

    root: Path
    seed: int
    share: float = 0.01
    files: list[bytes] = field(default_factory=list)

    def plant(self) -> None:
        for entry in scan(self.root, contents=False).entries.values():
            if entry.kind == "file" and entry.links == 1 and entry.size:
                self.files.append(entry.path)

    def change(self, generation: int) -> set[bytes]:
        rng = random.Random(f"edited {self.seed} {generation}")
        chosen = rng.sample(self.files, max(1, round(len(self.files) * self.share)))
        for path in chosen:
            full = os.path.join(os.fsencode(self.root), path)
            with open(full, "r+b", buffering=0) as file:
                at = rng.randrange(os.fstat(file.fileno()).st_size)
                byte = os.pread(file.fileno(), 1, at)
                os.pwrite(file.fileno(), bytes([byte[0] ^ (1 + rng.randrange(255))]), at)
                os.utime(file.fileno(), ns=(START_NS, START_NS + generation * 10**9))
        return set(chosen)


# ---- one backup ----


@dataclass
class Row:
    """A generation in one profile. Bytes unless the name says otherwise."""

    profile: str
    generation: int
    files: int
    live_bytes: int  # of all files, with their headers
    changed_files: int
    changed_bytes: int
    read_files: int
    read_bytes: int
    virtual_bytes: int  # of the payload stream
    padding_bytes: int
    padding_worst: float | None  # share, of the worst range that was reused; None for the profile stored
    waste_bytes: int  # of the chunks of this snapshot, each once: in no file of it
    waste_worst: float  # share, of the worst old chunk listed
    index_entries: int
    chunks: int  # that are different
    chunk_mean: float
    new_chunks: int
    new_small_chunks: int  # below 256 KiB
    relisted_chunks: int
    given_up_chunks: int
    early_chunks: int
    restore_chunks: int  # fetched by a restore of all files in order that remembers 8 chunks
    restore_bytes: int

    @property
    def read_share(self) -> float:
        return self.read_bytes / max(1, self.live_bytes)

    @property
    def virtual_over_live(self) -> float:
        return self.virtual_bytes / max(1, self.live_bytes)

    @property
    def waste_share(self) -> float:
        """Of what the snapshot's chunks hold."""
        return self.waste_bytes / max(1.0, self.chunks * self.chunk_mean)

    @property
    def amplification(self) -> float:
        return self.restore_bytes / max(1, self.live_bytes)


@dataclass
class Past:
    """What is known of the snapshot before."""

    index: Index


@dataclass
class Keeper:
    """One profile: its store, and its last snapshot."""

    program: Path
    profile: str
    folder: Path
    more: tuple[str, ...] = ()
    threshold_ppm: int = 100_000
    max_instances: int = 8
    past: Past | None = None
    at: int = FIRST_TIME

    def __post_init__(self) -> None:
        self.store = self.folder / "store"
        (self.store / ".chunks").mkdir(parents=True)
        (self.store / ".lock").touch()

    def snapshot(self) -> Path:
        return self.store / "host" / "me" / time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.at))

    def backup(self, tree: Path, changed: set[bytes] | None, generation: int) -> tuple[Row, list[str]]:
        """Data mode while there is no snapshot yet, then metadata mode. The row, and what is wrong."""
        before = self.snapshot()
        self.at += 1
        stats, decisions = self.folder / "stats", self.folder / "decisions"
        words = [
            self.program, "backup", f"root.pxar:{tree}", "--repository", self.store, "--backup-id", "me",
            "--backup-time", str(self.at), "--change-detection-mode", "metadata" if self.past else "data",
            "--reuse-profile", self.profile, "--sync-level", "none", "--stats", stats, "--decisions", decisions, *self.more,
        ]  # fmt: skip
        run.run(words, timeout=3600).check_ok()
        (archive,) = json.loads(stats.read_bytes())["archives"]
        lines = [json.loads(line) for line in decisions.read_bytes().splitlines()]
        index, csum = read_index(self.snapshot() / "root.ppxar.didx")
        row, problems = self._look(archive, lines, index, csum, changed, generation)
        self.past = Past(index)
        if before.exists():
            shutil.rmtree(before)
        self._drop_chunks()
        return row, problems

    def _look(
        self, archive: Any, lines: list[dict[str, Any]], index: Index, csum: str, changed: set[bytes] | None, generation: int
    ) -> tuple[Row, list[str]]:
        places, read, expected = [], [], set()
        for line in lines:
            if line["action"] == "hardlink":
                continue
            path, is_reused = os.fsencode(line["path"]), line["action"] == "reused"
            places.append(Place(path, line["size"], line["offset"], line["old_offset"] if is_reused else None))
            if not is_reused:
                read.append(line["size"])
                if line["reason"] not in COLLATERAL:
                    expected.add(path)
        problems = []
        if changed is not None and expected != changed:
            missing, more = sorted(changed - expected)[:3], sorted(expected - changed)[:3]
            problems.append(f"not noticed: {missing}; noticed without need: {more}")
        layout = Layout(self.past.index if self.past else [], index, places)
        rules = Rules(self.profile, self.threshold_ppm, self.max_instances)
        early = int(archive.get("early_chunks") or 0)
        problems += problems_of(layout, rules, early_chunks=early, flushes=int(archive["flushes"]))
        worst: float | None = None
        if self.past and self.profile != "stored":
            flushes = flushes_of(layout, upstream=self.profile == "upstream")
            worst = max((flush.padding / flush.total for flush in flushes), default=0.0)
            problems += [f"too much padding: {flush}" for flush in flushes if flush.exceeds(self.threshold_ppm)]
        sizes = {digest: end - start for start, (end, digest) in zip([0, *layout.new_ends], index)}  # noqa: B905
        live = sum(place.extent for place in places)
        fetched, fetched_bytes = restore_cost(layout, LRU_CHUNKS)
        given = archive.get("given_up_chunks") or {}
        small = archive["payload"].get("new_chunks_by_size") or {}
        changed_sizes = [place.size for place in places if changed is None or place.path in changed]
        row = Row(
            self.profile, generation, len(places), live, len(changed_sizes), sum(changed_sizes), len(read), sum(read),
            layout.size, layout.padding, worst, wasted_bytes(layout, index, sizes),
            max((waste / size for waste, size in layout.wastes()), default=0.0),
            len(index), len(sizes), sum(sizes.values()) / len(sizes), archive["payload"]["new_chunks"],
            sum(small.get(name, 0) for name in ("lt_16k", "lt_64k", "lt_256k")), layout.relisted_chunks,
            sum(given.values()), early, fetched, fetched_bytes,
        )  # fmt: skip
        mine = {
            "padding_bytes": layout.padding, "file_bytes_read": sum(read), "partial_chunks": layout.partial_chunks,
            "unreferenced_chunks": layout.unreferenced_chunks, "reused_files": len(places) - len(read),
        }  # fmt: skip
        problems += [f"stats: {name} {archive[name]}, not {value}" for name, value in mine.items() if archive[name] != value]
        if archive["payload"]["csum"] != csum:
            problems.append("stats: another checksum than the index")
        return row, problems

    def _drop_chunks(self) -> None:
        """Those that the last snapshot does not need: nobody will refer to them any more."""
        wanted = {digest.hex() for path in self.snapshot().glob("*.didx") for _, digest in read_index(path)[0]}
        for path in (self.store / ".chunks").glob("*/*"):
            if path.name not in wanted:
                path.unlink()

    def restore_differences(self, tree: Path) -> list[str]:
        """Of the last snapshot, restored, from the tree."""
        target = self.folder / "restored"
        name = f"host/me/{self.snapshot().name}"
        words: list[str | os.PathLike[str]] = ["restore", name, "root.pxar", target, "--repository", self.store]
        try:
            run.run([self.program, *words], timeout=3600).check_ok()
            fields = ("kind", "mode", "uid", "gid", "mtime_ns", "size", "target", "link_to", "digest")
            return differences(scan(tree), scan(target), fields=fields)
        finally:
            shutil.rmtree(target, ignore_errors=True)


def restore_cost(layout: Layout, lru: int) -> tuple[int, int]:
    """Chunks and bytes fetched when all files are restored in archive order by a reader that remembers `lru` chunks."""
    held: OrderedDict[bytes, None] = OrderedDict()
    chunks = fetched = k = 0
    for place in layout.places:
        end = place.offset + place.extent
        while layout.new_ends[k] <= place.offset:
            k += 1
        at = k
        while True:
            digest = layout.new[at][1]
            if digest in held:
                held.move_to_end(digest)
            else:
                chunks += 1
                fetched += layout.new_size(at)
                held[digest] = None
                if len(held) > lru:
                    held.popitem(last=False)
            if layout.new_ends[at] >= end:
                break
            at += 1
    return chunks, fetched


def wasted_bytes(layout: Layout, index: Index, sizes: dict[bytes, int]) -> int:
    """Of different chunks, what no file and no marker of this snapshot needs of them."""
    needed: dict[bytes, list[tuple[int, int]]] = {}

    def use(start: int, end: int, k: int) -> int:
        while layout.new_ends[k] <= start:
            k += 1
        at = k
        while start < end:
            begin = layout.new_ends[at - 1] if at else 0
            stop = min(end, layout.new_ends[at])
            needed.setdefault(index[at][1], []).append((start - begin, stop - begin))
            start, at = stop, at + 1
        return k

    k = use(0, 16, 0)
    for place in layout.places:
        k = use(place.offset, place.offset + place.extent, k)
    use(layout.size - 16, layout.size, k)
    live = 0
    for pieces in needed.values():
        reached = 0
        for begin, end in sorted(pieces):
            live += max(0, end - max(begin, reached))
            reached = max(reached, end)
    return sum(sizes.values()) - live


# ---- many backups ----


@dataclass
class History:
    rows: list[Row]
    problems: list[str]
    restored: Counter[str] = field(default_factory=Counter)


def live_through(
    tree: Living, keepers: Sequence[Keeper], generations: int, *, restore_at: Sequence[int] = (),
    say: Callable[[str], None] = lambda _: None, on_row: Callable[[Row], None] = lambda _: None,
) -> History:  # fmt: skip
    """Generation 0 is a data run. The last generation is always restored."""
    found = History([], [])
    for generation in range(generations + 1):
        changed = tree.change(generation) if generation else None
        for keeper in keepers:
            row, problems = keeper.backup(tree.root, changed, generation)
            found.rows.append(row)
            on_row(row)
            if generation == generations or generation in restore_at:
                problems += [f"restored: {text}" for text in keeper.restore_differences(tree.root)[:5]]
                found.restored[keeper.profile] += 1
            found.problems += [f"generation {generation}, {keeper.profile}: {text}" for text in problems[:10]]
            for text in problems[:3]:
                say(f"generation {generation}, {keeper.profile}: {text}")
        if generation % 10 == 0 or generation == generations:
            say(
                f"generation {generation}: "
                + "; ".join(
                    f"{row.profile} read {row.read_share:.1%}, {row.index_entries} entries, waste {row.waste_share:.2%}"
                    for row in found.rows[-len(keepers) :]
                )
            )
    return found
