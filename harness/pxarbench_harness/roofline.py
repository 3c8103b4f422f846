"""What the parts of a backup cost by themselves: no mode can be faster than the parts that it cannot avoid.

    attributes   lstat and listxattr of every entry: what a mode must do that opens nothing         getfattr
    read         all bytes of all files, each inode once, into one buffer                            cat
    digest       SHA-256 of all bytes, in pieces of the average chunk size, from memory              OpenSSL (hashlib)
    compress     zstd level 1 of the same pieces, from memory                                        libzstd

each with one thread and with all cores. The first two are other people's programs, started by hyperfine's rules (nothing but
the command is timed; starting it takes one or two milliseconds). The last two are calls into the libraries that pxarbench
uses itself, on pieces large enough for Python to take no part in it; reading is not in their times. Of a tree larger than
a limit, digest and compress see a seeded sample, and their seconds are scaled to the whole tree.

Rounds are interleaved: each round has every row once, in seeded random order.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import hashlib
import json
import os
import random
import shutil
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

from . import cache, machine, run
from . import tree as trees
from .tree import Tree

SCHEMA = "pxarbench-roofline/1"
#: The average chunk, what pxarbench hashes and compresses at a time.
PIECE = 4 << 20
#: zstd's level in blobs (bench/spec/datastore.md).
LEVEL = 1
#: Bytes that digest and compress look at.
SAMPLE = 256 << 20
#: Pieces in memory at a time.
_BATCH = 64 << 20
#: Parts that a tree is cut into, per thread: more make the shares more equal.
_PARTS = 16


class RooflineFailed(Exception):
    """A bound could not be measured, or what was measured did not do the work; the text says why."""


@dataclass
class Row:
    name: str
    cache: str  # "warm" or "cold"; of digest and compress "warm": they read from memory
    threads: int
    how: str
    bytes: int
    entries: int
    measured_bytes: int
    dataset: str = ""
    seconds: list[float] = field(default_factory=list)  # of the whole tree, one per round

    @property
    def unit(self) -> str:
        return "entries" if self.name == "attributes" else "bytes"

    def as_json(self) -> dict[str, object]:
        median = statistics.median(self.seconds)
        done = self.entries if self.unit == "entries" else self.bytes
        return {**asdict(self), "unit": self.unit, "median": median, "rate": done / median if median else 0.0}


def measure(
    tree: Tree,
    rounds: int,
    raw_folder: Path,
    say: Callable[[str], None],
    *,
    dataset: str = "",
    cold: bool = False,
    seed: int = 1,
    sample: int = SAMPLE,
) -> dict[str, object]:
    """Rows as roofline.json has them. `raw_folder`: roofline-DATASET.jsonl there (roofline.jsonl without a dataset's name)
    gets a line per execution, the warm-up included.

    `cold`: attributes and read also with an emptied cache; what was not cold is not counted. RooflineFailed.
    """
    raw = raw_folder / (f"roofline-{dataset}.jsonl" if dataset else "roofline.jsonl")
    with tempfile.TemporaryDirectory(prefix="pxarbench-roofline-") as folder:
        try:
            return _Measuring(tree, rounds, raw, say, dataset, cold, seed, sample, Path(folder)).run()
        except (run.CommandFailed, cache.CacheStays, OSError) as error:
            raise RooflineFailed(str(error)) from error


def write(path: Path, measured: dict[str, object]) -> None:
    """Adds to what is there of other datasets."""
    rows, notes = list(_listed(measured, "rows")), list(_listed(measured, "notes"))
    names = {row["dataset"] for row in rows if isinstance(row, dict)}
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for row in before["rows"] if row["dataset"] not in names] + rows
        notes = [note for note in before["notes"] if note not in notes] + notes
    text = json.dumps({"schema": SCHEMA, "rows": rows, "notes": notes}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _listed(measured: dict[str, object], name: str) -> list[object]:
    value = measured[name]
    assert isinstance(value, list)
    return value


@dataclass
class _Measuring:
    tree: Tree
    rounds: int
    raw: Path
    say: Callable[[str], None]
    dataset: str
    cold: bool
    seed: int
    sample: int
    folder: Path
    notes: list[str] = field(default_factory=list)

    def run(self) -> dict[str, object]:
        if self.rounds < 1:
            raise RooflineFailed("rounds must be at least 1")
        all_cores = machine.cores_allowed()
        threads = (1, all_cores) if all_cores > 1 else (1,)
        self.raw.parent.mkdir(parents=True, exist_ok=True)
        self.raw.unlink(missing_ok=True)
        rows = self._rows(threads)
        lists = {(name, n): self._lists(name, n) for name in ("attributes", "read") for n in threads}
        self._prove(lists)
        for number in range(1, self.rounds + 1):
            self.say(f"  roofline: round {number} of {self.rounds}")
            order = list(rows)
            random.Random(f"roofline/{self.seed}/{self.dataset}/{number}").shuffle(order)
            for row in order:
                if row.name in ("attributes", "read"):
                    self._walked(row, lists[row.name, row.threads], number)
            self._computed([row for row in order if row.name in ("digest", "compress")], number)
        return {
            "schema": SCHEMA, "rows": [row.as_json() for row in rows if row.seconds], "notes": self.notes,
        }  # fmt: skip

    def _rows(self, threads: Sequence[int]) -> list[Row]:
        size, entries = self.tree.file_bytes, len(self.tree.entries)
        states = ["warm"]
        if self.cold:
            reason = (cache.never_cold(self.tree.root) or cache.unseen()).replace(str(self.tree.root), "the tree")
            if reason:
                self.notes.append(f"no cold rows: {reason}")
            else:
                states.append("cold")
        computed = [("digest", f"SHA-256 by {_openssl()}")]
        if _zstd() is None:
            self.notes.append("no row for compress: the library libzstd is not installed")
        else:
            computed.append(("compress", f"zstd level {LEVEL} by libzstd {_zstd_version()}"))
        return [
            Row(name, state, n, how, size, entries, size, self.dataset)
            for name, how in (("attributes", self._attribute_tool()[1]), ("read", "cat of all files"))
            for state in states for n in threads
        ] + [
            Row(name, "warm", n, how, size, entries, min(size, self.sample), self.dataset) for name, how in computed for n in threads
        ]  # fmt: skip

    # ---- other people's programs ----

    def _attribute_tool(self) -> tuple[list[str], str]:
        if shutil.which("getfattr") is not None:
            return ["getfattr", "-R", "-P", "-h", "-m", "-", "--absolute-names"], "lstat and listxattr of all entries by getfattr"
        note = "attributes without extended ones: getfattr is not installed"
        if note not in self.notes:
            self.notes.append(note)
        return ["find", "-files0-from", "-"], "lstat of all entries by find"

    def _command(self, name: str) -> list[str]:
        """Reads names ended by NUL."""
        if name == "read":
            return ["xargs", "-0", "-r", "cat"]
        tool = self._attribute_tool()[0]
        return [*tool, "-printf", "%s"] if tool[0] == "find" else ["xargs", "-0", "-r", *tool, "--"]

    def _lists(self, name: str, threads: int) -> list[Path]:
        """Files with the names for each thread, about equal in work."""
        if name == "read":
            # Opening a file costs about as much as reading 16 KiB of it.
            weights = [(self._full(e.path), e.size + (16 << 10)) for e in self.tree.files()]
        else:
            weights = _parts(self.tree, 1 if threads == 1 else threads * _PARTS)
            weights = [(self._full(path), weight) for path, weight in weights]
        shares: list[list[bytes]] = [[] for _ in range(threads)]
        if threads == 1:
            shares[0] = [path for path, _ in weights]
        else:
            loads = [0] * threads
            # Largest first to the least loaded, then back into the order of the tree: a folder's files are read together.
            for place in sorted(range(len(weights)), key=lambda place: -weights[place][1]):
                least = loads.index(min(loads))
                loads[least] += weights[place][1]
                shares[least].append(b"%d" % place)
            shares = [[weights[place][0] for place in sorted(int(word) for word in share)] for share in shares]
        files = []
        for number, share in enumerate(shares):
            path = self.folder / f"{name}-{threads}-{number}"
            path.write_bytes(b"".join(one + b"\0" for one in share))
            files.append(path)
        return files

    def _full(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(self.tree.root), path)

    def _walked(self, row: Row, lists: list[Path], number: int) -> None:
        if row.cache == "warm":
            resident = cache.keep_warm(self.tree.root, seed=number)
        else:
            chilled = cache.chill([self.tree.root], seed=self.seed)
            resident = chilled.resident
            for program in self._command(row.name):  # loaded again: that is not to be measured
                if shutil.which(program) is not None:
                    run.run([program, "--version"])
        seconds = run.together([self._command(row.name)] * len(lists), inputs=lists) / 1e9
        counted = row.cache == "warm" or cache.is_cold(resident)
        if counted:
            row.seconds.append(seconds)
        else:
            self.notes.append(f"{row.name}, cold, round {number} left out: {resident:.0%} of the tree were in memory")
        self._keep(row, number, seconds, resident=resident, discarded=not counted)

    def _prove(self, lists: dict[tuple[str, int], list[Path]]) -> None:
        """The warm-up: the tree gets into the cache, and every command is shown to do the work it stands for."""
        for (name, threads), files in lists.items():
            read = calls = 0
            for path in files:
                # run_counted has no input to give; xargs can take its own.
                words = self._command(name)
                words = ["xargs", "-a", str(path), *words[1:]] if words[0] == "xargs" else ["find", "-files0-from", str(path), *words[3:]]
                result, usage = run.run_counted(["sh", "-c", 'exec "$@" >/dev/null', "sh", *words])
                result.check_ok()
                read += usage.io.get("rchar", 0)
                calls += usage.io.get("syscr", 0)
                self._keep(Row(name, "warm", threads, "", 0, 0, 0, self.dataset), 0, result.wall_ns / 1e9, warm_up=True)
            if name == "read" and calls and read < self.tree.file_bytes:
                raise RooflineFailed(f"cat read {read:,} of {self.tree.file_bytes:,} bytes")

    # ---- libraries ----

    def _computed(self, rows: list[Row], number: int) -> None:
        if not rows:
            return
        spent = {id(row): 0.0 for row in rows}
        done = 0
        with ThreadPoolExecutor(max(row.threads for row in rows)) as pool:
            list(pool.map(_nothing, range(64)))  # threads are started here, not in the first measurement
            for batch in _batches(self._pieces(number)):
                done += sum(len(piece) for piece in batch)
                for row in rows:
                    work = _digest if row.name == "digest" else _compress
                    started = time.perf_counter()
                    if row.threads == 1:
                        for piece in batch:
                            work(piece)
                    else:
                        list(pool.map(work, batch))
                    spent[id(row)] += time.perf_counter() - started
        for row in rows:
            scale = row.bytes / done if done else 0.0
            row.measured_bytes = done
            row.seconds.append(spent[id(row)] * scale)
            self._keep(row, number, spent[id(row)], measured_bytes=done)

    def _pieces(self, number: int) -> Iterator[bytes]:
        """The files' bytes one behind the other, cut at PIECE; of a seeded choice of files when there are too many."""
        files = list(self.tree.files())
        if self.tree.file_bytes > self.sample:
            random.Random(f"roofline/{self.seed}/files").shuffle(files)
        left = self.sample
        pending = bytearray()
        for entry in files:
            if left <= 0:
                break
            with open(self._full(entry.path), "rb", buffering=0) as file:
                while left > 0 and (got := file.read(min(PIECE - len(pending), left))):
                    pending += got
                    left -= len(got)
                    if len(pending) == PIECE:
                        yield bytes(pending)
                        pending.clear()
        if pending:
            yield bytes(pending)

    def _keep(self, row: Row, number: int, seconds: float, **more: object) -> None:
        line = {
            "dataset": self.dataset, "name": row.name, "cache": row.cache, "threads": row.threads, "round": number,
            "seconds": seconds, "load_average": os.getloadavg()[0], **more,
        }  # fmt: skip
        with open(self.raw, "a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def _nothing(number: int) -> None:
    time.sleep(0.0005)


def _parts(tree: Tree, wanted: int) -> list[tuple[bytes, int]]:
    """Subtrees, with their number of entries, that together are the tree: about `wanted` or more, none much larger than
    its share. Folders that had to be cut are entries of their own no more: a few of many are missing."""
    inside: dict[bytes, int] = {}
    children: dict[bytes, list[bytes]] = {}
    for path in tree.entries:
        if path == b".":
            continue
        children.setdefault(os.path.dirname(path) or b".", []).append(path)
        up = path
        while up:
            inside[up] = inside.get(up, 0) + 1
            up = os.path.dirname(up)
    total = len(tree.entries)
    if wanted <= 1 or total < 2:
        return [(b".", total)]
    limit = max(1, total // wanted)
    parts, waiting = [], [b"."]
    while waiting:
        for path in children.get(waiting.pop(), []):
            if inside[path] > limit and path in children:
                waiting.append(path)
            else:
                parts.append((path, inside[path]))
    return sorted(parts)


def _batches(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for piece in pieces:
        batch.append(piece)
        if len(batch) * PIECE >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _digest(piece: bytes) -> None:
    hashlib.sha256(piece).digest()  # gives up the interpreter's lock meanwhile


def _openssl() -> str:
    return " ".join(ssl.OPENSSL_VERSION.split()[:2])  # "OpenSSL 3.0.19", without the date


@lru_cache
def _zstd() -> ctypes.CDLL | None:
    name = ctypes.util.find_library("zstd") or "libzstd.so.1"
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(name)  # calls give up the interpreter's lock meanwhile
        library.ZSTD_compressBound.restype = ctypes.c_size_t
        library.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
        library.ZSTD_compress.restype = ctypes.c_size_t
        library.ZSTD_compress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
        library.ZSTD_isError.argtypes = [ctypes.c_size_t]
        library.ZSTD_versionString.restype = ctypes.c_char_p
        return library
    return None


def _zstd_version() -> str:
    library = _zstd()
    return library.ZSTD_versionString().decode() if library is not None else ""


class _Target:
    """Room for a compressed piece, one per thread, kept: getting memory from the kernel is not compressing."""

    def __init__(self) -> None:
        self._local = threading.local()

    def get(self, size: int) -> ctypes.Array[ctypes.c_char]:
        room: ctypes.Array[ctypes.c_char] | None = getattr(self._local, "room", None)
        if room is None or len(room) < size:
            room = self._local.room = ctypes.create_string_buffer(size)
        return room


_TARGET = _Target()


def _compress(piece: bytes) -> int:
    """Size of the piece when compressed."""
    library = _zstd()
    assert library is not None
    room = library.ZSTD_compressBound(len(piece))
    size = library.ZSTD_compress(_TARGET.get(room), room, piece, len(piece), LEVEL)
    if library.ZSTD_isError(size):
        raise RooflineFailed("libzstd reports an error")
    return int(size)


def as_text(measured: dict[str, object]) -> Iterator[str]:
    for row in _listed(measured, "rows"):
        assert isinstance(row, dict)
        rate = f"{row['rate'] / 1e6:,.0f} MB/s" if row["unit"] == "bytes" else f"{row['rate']:,.0f} entries/s"
        spread = f"{min(row['seconds']):.3f} .. {max(row['seconds']):.3f}"
        threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
        yield f"{row['name']:<11} {row['cache']}  {threads:<10} {row['median']:9.3f} s  ({spread})  {rate:>18}  {row['how']}"
    for note in _listed(measured, "notes"):
        yield f"note: {note}"


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(
        prog="python3 -m pxarbench_harness.roofline",
        description="What walking, reading, hashing and compressing a tree cost by themselves.",
    )
    p.add_argument("tree", type=Path, metavar="TREE", help="a folder")
    p.add_argument("--rounds", type=int, default=5, help="default 5")
    p.add_argument("--seed", type=int, default=1, help="of the order, and of the files chosen (default 1)")
    p.add_argument("--cold", action="store_true", help="also with an emptied cache (root: of the whole machine)")
    p.add_argument("--output", type=Path, metavar="DIR", help="folder for roofline.json and raw/roofline-NAME.jsonl")
    p.add_argument("--json", action="store_true", help="print roofline.json instead of a table")
    a = p.parse_args(arguments)
    if not a.tree.is_dir():
        p.error(f"{a.tree} is no folder")
    if a.rounds < 1:
        p.error("--rounds must be at least 1")
    with tempfile.TemporaryDirectory(prefix="pxarbench-roofline-") as folder:
        try:
            scanned = trees.scan(a.tree.absolute(), contents=False)
            say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
            raw = a.output / "raw" if a.output else Path(folder)
            done = measure(scanned, a.rounds, raw, say, dataset=a.tree.resolve().name, cold=a.cold, seed=a.seed)
        except (RooflineFailed, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    if a.output:
        write(a.output / "roofline.json", done)
    if a.json:
        print(json.dumps(done, indent=1))
    else:
        for line in as_text(done):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
