"""What ci/compare lets two builds do: seven commands on a small seeded tree, each from the same state every time.

    WORK/tree, WORK/edited   the tree, and a copy of it in which one file of a hundred, in two places, has other contents
    WORK/full                a store with a snapshot of the tree, made by the base build
    WORK/bare                a store without any chunk of it
    WORK/data.ppxar          its contents as one stream
    WORK/out                 what a command makes; removed after each run

All arms use the same folders, one after the other: only the path of the program differs, and it has the same length.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import run, tree
from ..datasets import planting, recipe, synthetic
from ..datasets.workspace import Workspace
from ..exhaustive.streams import Broken, read_index
from ..state import State, StateChanged

#: Raised whenever a case does other work than before: times of different versions are not compared.
CASE_VERSION = 1
RECIPE = Path(__file__).with_name("quick.toml")
EDITED_SHARE, EDITED_PLACES = 0.01, 2
#: Threads of every command that takes the option: the result must not depend on how many the machine has.
THREADS = 2
SECONDS_MAX = 120
NEEDED_BYTES = 700_000_000

_REFERENCE, _NEXT = "2023-11-14T22:13:20Z", "2023-11-14T22:13:21Z"


class CaseFailed(Exception):
    """A command failed or did not do its work; the text names the case, the arm and what was wrong."""


class StoreBroken(CaseFailed):
    """It changed or removed what was in a store before: no run after it can be believed."""


@dataclass(frozen=True)
class Numbers:
    """Of one run."""

    wall_ns: int
    user_ns: int
    system_ns: int
    peak_rss_bytes: int
    read_bytes: int  # through read calls, from files and pipes, cached or not
    stored_bytes: int  # of chunks and indexes that are new in the store, or of the archives written; 0: writes none

    @property
    def processor_ns(self) -> int:
        return self.user_ns + self.system_ns

    def as_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Case:
    name: str
    sentence: str
    words: Callable[[Bench], list[str | Path]]  # without the program
    store: str = ""  # folder of the store that the run adds a snapshot to; "": to none
    reads: str = ""  # folder of the store that it needs beyond that
    proves: Callable[[Bench, Any], str] = lambda _bench, _stats: ""  # what is wrong with --stats; "" for nothing


def _backup(source: str, store: str, mode: str) -> Callable[[Bench], list[str | Path]]:
    return lambda bench: [
        "backup", f"root.pxar:{bench.work / source}", "--repository", bench.work / store, "--backup-id", "quick",
        "--backup-time", _NEXT, "--change-detection-mode", mode, "--sync-level", "none", "--threads", str(THREADS),
        "--stats", bench.stats,
    ]  # fmt: skip


def _archive(stats: Any) -> Mapping[str, Any]:
    (told,) = stats["archives"]
    return told  # type: ignore[no-any-return]


def _read_all(bench: Bench, stats: Any) -> str:
    told = _archive(stats)
    if told["reused_files"] or told["file_bytes_read"] < bench.bytes:
        did = f"reused {told['reused_files']} files and read {told['file_bytes_read']} of {bench.bytes} bytes"
        return f"{did}: it has to read all"
    return ""


def _reused_all(bench: Bench, stats: Any) -> str:
    reused = _archive(stats)["reused_files"]
    return "" if reused == bench.files else f"reused {reused} of {bench.files} files, none changed"


def _reused_most(bench: Bench, stats: Any) -> str:
    """Neighbours of a changed file may be read again for the padding's sake: in a tree of a few chunks, all files."""
    reused, most = _archive(stats)["reused_files"], bench.files - bench.changed
    least = bench.files // 2 if bench.is_whole else 0
    return "" if least <= reused <= most else f"reused {reused} of {bench.files} files, {bench.changed} changed"


CASES: tuple[Case, ...] = (
    Case("backup-data-first", "everything is read, compressed and stored", _backup("tree", "bare", "data"), "bare",
         proves=_read_all),
    Case("backup-data-unchanged", "everything is read, nothing is new", _backup("tree", "full", "data"), "full",
         proves=_read_all),
    Case("backup-metadata-unchanged", "nothing is read but attributes and the previous archive",
         _backup("tree", "full", "metadata"), "full", proves=_reused_all),
    Case("backup-metadata-edit1pct", "one file of a hundred has other contents",
         _backup("edited", "full", "metadata"), "full", proves=_reused_most),
    Case("restore", "the whole tree comes back", lambda bench: [
        "restore", f"host/quick/{_REFERENCE}", "root.pxar", bench.out, "--repository", bench.work / "full"],
         reads="full"),
    Case("pxar-create", "an archive in two files, without a store", lambda bench: [
        "pxar", "create", bench.work / "tree", bench.out / "root.mpxar", "--payload-output", bench.out / "root.ppxar",
        "--threads", str(THREADS)]),
    Case("chunk", "one stream is cut, and its chunks are digested", lambda bench: ["chunk", bench.work / "data.ppxar"]),
)  # fmt: skip
NAMES = tuple(case.name for case in CASES)


def named(name: str) -> Case:
    """KeyError: there is none of that name."""
    return {case.name: case for case in CASES}[name]


def version() -> str:
    """Of all that decides what the cases do, but for the program: a digest of 12 digits."""
    said = [CASE_VERSION, recipe.load(str(RECIPE)).digest, EDITED_SHARE, EDITED_PLACES, THREADS, sorted(NAMES)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


# ---- the place ----


def _plant(root: Path, files: int | None) -> None:
    what = recipe.load(str(RECIPE))
    what = what.with_files(files) if files else what
    root.mkdir(parents=True)
    work = Workspace(what, root, root.parent, root.parent, lambda _text: None, lambda _stage: None)
    planting.plant(work, synthetic.plan_of(what))


def _edit(root: Path) -> int:
    """Other contents of equal size, and a later time, of one file of a hundred: neighbours, in EDITED_PLACES.

    Spread evenly they would make a hole in every chunk, and metadata mode would read nearly everything again. Returns how many.
    """
    listed = tree.scan(root, contents=False)
    paths = sorted(entry.path for entry in listed.files())
    count = max(1, round(len(paths) * EDITED_SHARE / EDITED_PLACES))
    part = len(paths) // EDITED_PLACES
    for place in range(EDITED_PLACES):
        first = place * part + planting.Dice("compare", "edit", place).below(part - count)
        for path in paths[first : first + count]:
            full = os.path.join(os.fsencode(root), path)
            entry = listed.entries[path]
            with open(full, "r+b") as file:
                file.write(planting.noise(f"compare/{tree.show(path)}", entry.size))
            os.utime(full, ns=(entry.mtime_ns, entry.mtime_ns + planting.DAY_NS))
    return count * EDITED_PLACES


class Bench:
    """Folders of one session. `files`: of the tree, for tests; None: as the recipe says."""

    def __init__(self, work: Path, *, files: int | None = None) -> None:
        self.work = work
        self.out = work / "out"
        self.stats = work / "stats.json"
        self._files = files
        self.is_whole = files is None
        self._known: dict[str, set[bytes]] = {}
        self._groups: dict[str, bool] = {}
        self._states: dict[str, State] = {}
        self.files = self.bytes = self.changed = 0

    def prepare(self, base: Path, cases: Sequence[Case] = CASES) -> None:
        """`base` makes the snapshot that metadata mode refers to. CaseFailed; DatasetFailed when there is no room."""
        _plant(self.work / "tree", self._files)
        self.tree = tree.scan(self.work / "tree")
        self.files, self.bytes = self.tree.file_count, self.tree.file_bytes
        run.run(["cp", "-a", self.work / "tree", self.work / "edited"]).check_ok()
        self.changed = _edit(self.work / "edited")
        (self.work / "nothing").mkdir()
        store = ["--backup-time", _REFERENCE, "--change-detection-mode", "data", "--sync-level", "none"]
        stores = {name for case in cases for name in (case.store, case.reads)}
        for name, source, group in (("bare", "nothing", "empty"), ("full", "tree", "quick")):
            if name not in stores:
                continue
            words = ["backup", f"root.pxar:{self.work / source}", "--repository", self.work / name, "--backup-id", group]
            self._must("preparing", base, [*words, *store])
            folder = self.work / name / "host" / group / _REFERENCE
            self._known[name] = {digest for path in folder.glob("*.didx") for _, digest in read_index(path)[0]}
            self._groups[name] = group == "quick"
            self._states[name] = State.capture([self.work / name])
        words = ["pxar", "create", str(self.work / "tree"), str(self.work / "data.mpxar"), "--payload-output"]
        self._must("preparing", base, [*words, str(self.work / "data.ppxar")])

    def _must(self, doing: str, binary: Path, words: Sequence[str | Path]) -> None:
        try:
            run.run([binary, *words], timeout=SECONDS_MAX).check_ok()
        except run.CommandFailed as error:
            raise CaseFailed(f"{doing}: {error}") from None

    def measure(self, case: Case, arm: str, binary: Path, *, prove: bool = False) -> Numbers:
        """One run, after which everything is as it was before. `prove`: also look whether it did its work, and nothing else in
        the stores. CaseFailed."""
        self.stats.unlink(missing_ok=True)
        if case.name == "pxar-create":
            self.out.mkdir()
        try:
            result, usage = run.run_counted([binary, *case.words(self)], timeout=SECONDS_MAX)
            result.check_ok()
            if prove:
                self._prove(case, result)
            stored = self._stored(case)
        except (run.CommandFailed, CaseFailed, Broken, OSError, ValueError, KeyError) as error:
            raise CaseFailed(f"{case.name}, {arm}: {error}") from error
        finally:
            self._clean(case)
        if prove:
            self._prove_clean(case, arm)
        return Numbers(
            usage.wall_ns, usage.user_ns, usage.system_ns, usage.peak_rss_bytes, usage.io.get("rchar", 0), stored
        )  # fmt: skip

    def _prove(self, case: Case, result: run.Result) -> None:
        said = ""
        if case.store:
            said = case.proves(self, json.loads(self.stats.read_text()))
        elif case.name == "restore":
            found = tree.differences(self.tree, tree.scan(self.out))
            said = f"{len(found)} differences from the tree: {found[0]}" if found else ""
        elif case.name == "chunk":
            ends = [chunk["end"] for chunk in json.loads(result.stdout)]
            size = (self.work / "data.ppxar").stat().st_size
            said = "" if ends and ends[-1] == size else f"the last of {len(ends)} chunks does not end at {size}"
        elif not all((self.out / name).stat().st_size for name in ("root.mpxar", "root.ppxar")):
            said = "an archive is empty"
        if said:
            raise CaseFailed(said)

    def _prove_clean(self, case: Case, arm: str) -> None:
        """What should not be there is removed: the next arm is to find what this one found."""
        for name in {case.store, case.reads} & self._states.keys():
            state = self._states[name]
            now = state.now()
            left = sorted({*now.files, *now.folders} - state.listing.files.keys() - state.listing.folders.keys())
            try:
                state.rewind(now)
            except StateChanged as error:
                raise StoreBroken(f"{case.name}, {arm}: {error}") from None
            if left:
                raise CaseFailed(f"{case.name}, {arm}: {len(left)} left behind in the store: {left[0]}")

    def _new(self, case: Case) -> tuple[list[Path], list[Path]]:
        """Chunks and indexes of the snapshot that a run has made."""
        indexes = sorted((self.work / case.store / "host" / "quick" / _NEXT).glob("*.didx"))
        digests = {digest for path in indexes for _, digest in read_index(path)[0]} - self._known[case.store]
        chunks = self.work / case.store / ".chunks"
        return [chunks / text[:4] / text for text in sorted(digest.hex() for digest in digests)], indexes

    def _stored(self, case: Case) -> int:
        if case.store:
            chunks, indexes = self._new(case)
            if not indexes:
                raise CaseFailed("the snapshot has no indexes")
            return sum(path.stat().st_size for path in (*chunks, *indexes))
        return sum(path.stat().st_size for path in self.out.iterdir()) if case.name == "pxar-create" else 0

    def _clean(self, case: Case) -> None:
        if case.store:
            group = self.work / case.store / "host" / "quick"
            with suppress(Broken):  # then its chunks stay, and verify() finds them
                for path in self._new(case)[0]:
                    path.unlink(missing_ok=True)
            shutil.rmtree(group / _NEXT if self._groups[case.store] else group, ignore_errors=True)
        shutil.rmtree(self.out, ignore_errors=True)

    def verify(self) -> None:
        """CaseFailed: a run left something in a store, or changed what was there."""
        for state in self._states.values():
            try:
                state.verify()
            except StateChanged as error:
                raise CaseFailed(str(error)) from None
