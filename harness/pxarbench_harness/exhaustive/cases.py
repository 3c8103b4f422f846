"""Runs one case - a tree, a reference, options - and checks everything about it. Every check names what it found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import run
from ..tree import COMPARED, Tree, differences, scan
from . import base, twin
from .garden import Garden, Names, model_differences
from .invariants import Layout, Place, Rules, flushes_of, problems_of
from .oracle import COLLATERAL, TOUCHED, Reference, Verdict, judge
from .streams import Broken, Chunks, Snapshot, Stored, read_archive, read_snapshot

FIRST_TIME = 1_000_000_000
ARCHIVE = "root"
PROFILES = ("tight", "upstream", "stored")
#: One entry, two, and more than there are.
LIMITS = (1, 2, 65536)


@dataclass(frozen=True)
class Setting:
    profile: str
    limit: int
    options: tuple[tuple[str, int], ...] = ()  # further ones: ("absorb-below", 20000)

    @property
    def id(self) -> str:
        return "-".join([self.profile, str(self.limit), *(f"{name}-{value}" for name, value in self.options)])

    @property
    def words(self) -> list[str]:
        return [word for name, value in self.options for word in (f"--{name}", str(value))]

    @property
    def max_instances(self) -> int:
        return dict(self.options).get("max-instances", 8)

    @property
    def never_full(self) -> bool:
        return self.limit >= 1000


#: Of the profile stored: with the small base tree's chunks, absorbing and the limit of instances come to nothing by default.
EXTRA = (
    Setting("stored", 65536, (("absorb-below", 20000),)),
    Setting("stored", 2, (("absorb-below", 20000), ("max-instances", 2))),
    Setting("stored", 65536, (("max-instances", 1),)),
)


def settings_of(profiles: Sequence[str], limits: Sequence[int] = LIMITS) -> list[Setting]:
    plain = [Setting(profile, limit) for profile in profiles for limit in limits]
    return plain + [setting for setting in EXTRA if setting.profile in profiles]


@dataclass(frozen=True)
class Taken:
    """A snapshot that later runs may refer to."""

    at: int
    snapshot: Snapshot
    archive: dict[bytes, Stored]
    names: Names

    @property
    def reference(self) -> Reference:
        return Reference(
            self.names, {path: stored.entry.digest for path, stored in self.archive.items() if stored.offset is not None}
        )


@dataclass
class Finding:
    words: tuple[str, ...]
    setting: str
    problems: list[str]

    def text(self) -> str:
        return f"[{' '.join(self.words) or 'nothing'}] {self.setting}\n" + "".join(f"    {p}\n" for p in self.problems)


@dataclass
class Ground:
    """The tree, the store, and in the store a group per setting that begins with a data run of the base tree."""

    program: Path
    folder: Path  # on a file system with extended attributes, better not on a slow disk
    settings: Sequence[Setting]
    sees_xattrs: bool = True
    twin: twin.Twin | None = None  # decides a second time
    base: dict[str, Taken] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"program": 0.0, "all": 0.0})
    collateral: int = 0  # unchanged files that the last run read again

    def __post_init__(self) -> None:
        self.tree = self.folder / "tree"
        self.store = self.folder / "store"
        self.tree.mkdir(parents=True)
        # The program makes of a store's 65,536 directories what it needs.
        (self.store / ".chunks").mkdir(parents=True)
        (self.store / ".lock").touch()
        self.garden = Garden(self.tree)
        self.chunks = Chunks(self.store)
        self.garden.become(base.plant())
        self.base_names: Names = self.garden.names
        self.used: Counter[bytes] = Counter()
        for setting in self.settings:
            problems, taken = self.run_case(setting, None, FIRST_TIME, self.look())
            if taken is None or problems:
                raise Broken(f"the first backup, {setting.id}: {problems}")
            self.base[setting.id] = taken
            for digest in taken.snapshot.digests:
                self.chunks.known[digest] = self.chunks.read(digest)

    # ---- the tree ----

    def look(self) -> Tree:
        """What is on disk now, which must be what the model says."""
        found = scan(self.tree)
        wrong = model_differences(self.garden.names, found)
        if wrong:
            raise AssertionError(f"the model of the tree is wrong: {wrong}")
        return found

    # ---- snapshots ----

    def group(self, setting: Setting) -> Path:
        return self.store / "host" / setting.id

    def snapshot(self, setting: Setting, at: int) -> Path:
        return self.group(setting) / time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))

    def drop(self, setting: Setting, taken: Taken) -> None:
        """Makes a run undone: its snapshot goes, and every chunk that no other one has."""
        shutil.rmtree(self.snapshot(setting, taken.at))
        for digest in taken.snapshot.digests:
            self.used[digest] -= 1
            if not self.used[digest]:
                del self.used[digest]
                self.chunks.path(digest).unlink(missing_ok=True)

    def clear(self, setting: Setting, at: int) -> None:
        """Removes what a run left behind that could not be read."""
        shutil.rmtree(self.snapshot(setting, at), ignore_errors=True)
        for path in (self.store / ".chunks").glob("*/*"):
            if not self.used[bytes.fromhex(path.name)]:
                path.unlink()

    # ---- a case ----

    def words(self, setting: Setting, mode: str, at: int) -> list[str | os.PathLike[str]]:
        return [
            self.program, "backup", f"{ARCHIVE}.pxar:{self.tree}", "--repository", self.store, "--backup-id", setting.id,
            "--backup-time", str(at), "--change-detection-mode", mode, "--chunk-size", str(base.CHUNK_KIB),
            "--reuse-profile", setting.profile, "--cache-limit", str(setting.limit), "--threads", "1",
            "--sync-level", "none", "--stats", self.folder / "stats", "--decisions", self.folder / "decisions",
            *setting.words,
        ]  # fmt: skip

    def run_case(
        self, setting: Setting, before: Taken | None, at: int, tree: Tree
    ) -> tuple[list[str], Taken | None]:
        """A run over the tree as it is, `tree` being what it is. The snapshot is there afterwards, unless it is None."""
        started = time.monotonic()
        result = run.run(self.words(setting, "metadata" if before else "data", at), timeout=120)
        self.seconds["program"] += time.monotonic() - started
        taken: Taken | None = None
        if result.returncode != 0:
            self.clear(setting, at)
            return [f"exit {result.returncode}: {result.stderr.decode(errors='replace')[-500:]}"], None
        try:
            snapshot = read_snapshot(self.snapshot(setting, at), ARCHIVE, self.chunks)
            archive = read_archive(snapshot.metadata, snapshot.payload, _sha256)
            taken = Taken(at, snapshot, archive, self.garden.names)
            self.used.update(snapshot.digests)
            (stats,) = json.loads((self.folder / "stats").read_bytes())["archives"]
            lines = [json.loads(line) for line in (self.folder / "decisions").read_bytes().splitlines()]
            self.collateral = sum(1 for line in lines if line.get("reason") in COLLATERAL)
            problems = check(setting, before, taken, tree, stats, lines, sees_xattrs=self.sees_xattrs)
            if self.twin and before and not problems:
                case = twin_case(setting, before, taken, self.sees_xattrs)
                problems += twin.differences(self.twin(case), case, lines, stats)
        except (Broken, OSError, KeyError, ValueError) as error:
            if taken is None:
                self.clear(setting, at)
            return [f"{type(error).__name__}: {error}"], taken
        finally:
            self.seconds["all"] += time.monotonic() - started
        return problems, taken

    def restore_differences(self, setting: Setting, taken: Taken, before: Taken | None, tree: Tree) -> list[str]:
        """The same question as read_archive's, put to the program."""
        target = self.folder / "restored"
        name = f"host/{setting.id}/{self.snapshot(setting, taken.at).name}"
        words: list[str | os.PathLike[str]] = ["restore", name, f"{ARCHIVE}.pxar", target, "--repository", self.store]
        result = run.run([self.program, *words], timeout=120)
        try:
            if result.returncode != 0:
                return [f"restore: exit {result.returncode}: {result.stderr.decode(errors='replace')[-500:]}"]
            wanted = with_missed(tree, taken, before, self.sees_xattrs)
            return [f"restored {text}" for text in differences(wanted, scan(target), fields=self.compared)]
        finally:
            shutil.rmtree(target, ignore_errors=True)

    @property
    def compared(self) -> tuple[str, ...]:
        return COMPARED if self.sees_xattrs else tuple(name for name in COMPARED if name != "xattrs")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def decided_path(line: dict[str, Any]) -> bytes:
    return os.fsencode(line["path"])


def with_missed(tree: Tree, taken: Taken, before: Taken | None, sees_xattrs: bool) -> Tree:
    """The tree as it must come back: where metadata mode had to miss a change and reused the file, with the old contents."""
    if before is None:
        return tree
    verdict = judge(before.reference, taken.names, sees_xattrs=sees_xattrs)
    payload_digests = {path: before.archive[path].entry.digest for path in verdict.missed}
    entries = dict(tree.entries)
    for path, entry in tree.entries.items():
        first = entry.link_to or path
        old = payload_digests.get(first)
        # Reused or not is what the archive tells; that it is one of the two is what is checked.
        if old is not None and taken.archive[first].entry.digest == old:
            entries[path] = replace(entry, digest=old)
    return Tree(tree.root, entries)


def twin_case(setting: Setting, before: Taken, taken: Taken, sees_xattrs: bool) -> dict[str, Any]:
    verdict = judge(before.reference, taken.names, sees_xattrs=sees_xattrs)
    places = {p: (s.offset, s.entry.size) for p, s in before.archive.items() if s.offset is not None}
    options = {name.replace("-", "_"): value for name, value in setting.options}
    events = twin.events_of(taken.names, verdict, places)
    return twin.case_of(setting.profile, setting.limit, options, before.snapshot.payload_index, places, events)


def check(
    setting: Setting, before: Taken | None, taken: Taken, tree: Tree, stats: Any, lines: list[dict[str, Any]], *,
    sees_xattrs: bool = True,
) -> list[str]:  # fmt: skip
    """Everything that must hold for a run, one sentence for each thing that does not."""
    said: list[str] = []
    verdict = judge(before.reference, taken.names, sees_xattrs=sees_xattrs) if before else None
    placed = {path: stored for path, stored in taken.archive.items() if stored.offset is not None}
    decided = {decided_path(line): line for line in lines}
    said += _check_lines(lines, decided, taken, before, verdict)
    reused = {path for path, line in decided.items() if line["action"] == "reused"}

    # Contents: what is read is new, what is reused is what the reference holds.
    wanted = dict(tree.entries)
    for path, entry in tree.entries.items():
        first = entry.link_to or path
        if first in reused and before is not None and first in before.archive:
            wanted[path] = replace(entry, digest=before.archive[first].entry.digest)
    archived = Tree(tree.root, {path: stored.entry for path, stored in taken.archive.items()})
    fields = COMPARED if sees_xattrs else tuple(name for name in COMPARED if name != "xattrs")
    said += [f"archive: {text}" for text in differences(Tree(tree.root, wanted), archived, fields=fields)]
    if list(archived.entries)[1:] != sorted(list(archived.entries)[1:], key=lambda p: p.split(b"/")):
        said.append("archive: entries are not in order")
    if verdict is not None:
        missed = {p for p in reused if p in placed and p in tree.entries and placed[p].entry.digest != tree.entries[p].digest}
        wrongly = missed - verdict.missed
        if wrongly:
            said.append(f"changes were missed that had to be seen: {sorted(wrongly)}")

    # The layout of the payload stream.
    places = [
        Place(path, stored.entry.size, stored.offset or 0, decided[path].get("old_offset") if path in reused else None)
        for path, stored in placed.items() if path in decided
    ]  # fmt: skip
    old = before.snapshot.payload_index if before else []
    layout = Layout(old, taken.snapshot.payload_index, places)
    rules = Rules(setting.profile, max_instances=setting.max_instances)
    flushes = int(stats["flushes"])
    said += problems_of(layout, rules, early_chunks=int(stats.get("early_chunks") or 0), flushes=flushes)
    if before and setting.profile != "stored" and setting.never_full:
        for flush in flushes_of(layout, upstream=setting.profile == "upstream"):
            if flush.exceeds(rules.threshold_ppm):
                said.append(f"too much padding in a range that was reused: {flush}")
    said += _check_stats(stats, taken, placed, reused, layout, decided, before)
    return said


def _check_lines(
    lines: list[dict[str, Any]], decided: dict[bytes, dict[str, Any]], taken: Taken, before: Taken | None,
    verdict: Verdict | None,
) -> list[str]:  # fmt: skip
    """--decisions against the archive and against the oracle."""
    said = []
    files = [path for path, stored in taken.archive.items() if stored.entry.kind == "file"]
    if [decided_path(line) for line in lines] != files:
        said.append(f"decisions name {[decided_path(line) for line in lines]}, the archive {files}")
    for path, line in decided.items():
        stored = taken.archive.get(path)
        action, reason = line["action"], line.get("reason")
        if stored is None:
            continue
        if action == "hardlink":
            if stored.offset is not None or os.fsencode(line["target"]) != stored.entry.link_to:
                said.append(f"{path!r}: {line}, the archive has {stored}")
            continue
        if (line["offset"], line["size"]) != (stored.offset, stored.entry.size):
            said.append(f"{path!r}: {line}, the archive has {stored}")
        if verdict is None or before is None:
            if (action, reason) != ("reencoded", "no-reference"):
                said.append(f"{path!r}: {action}, {reason} without a reference")
        elif action == "reused":
            if path not in verdict.reusable:
                said.append(f"{path!r}: reused, but must be read again: {set(verdict.reasons.get(path, ()))}")
            elif before.archive[path].offset != line["old_offset"]:
                said.append(f"{path!r}: was at {before.archive[path].offset}, decisions say {line['old_offset']}")
            if reason != "unchanged":
                said.append(f"{path!r}: reused for {reason}")
        elif path in verdict.reusable:
            if reason not in COLLATERAL:
                said.append(f"{path!r}: read again for {reason}, but is as it was")
        elif reason not in verdict.reasons.get(path, ()):
            said.append(f"{path!r}: read again for {reason}, not for {set(verdict.reasons.get(path, ()))}")
        elif path in verdict.identical and line.get("difference") not in verdict.identical[path]:
            said.append(f"{path!r}: touched, the difference being {line.get('difference')}")
        old = before.archive.get(path) if before else None
        old_place = (old.offset, old.entry.size) if old and old.offset is not None else (None, None)
        if (line.get("old_offset"), line.get("old_size")) != old_place:
            said.append(f"{path!r}: was at {old_place}, {line}")
    if lines:
        told = "".join(line.get("before", "") + "F" for line in lines) + lines[-1].get("after", "")
        if told != walk_of(taken.archive):
            said.append(f"decisions hold the walk {told}, the archive {walk_of(taken.archive)}")
    return said


def walk_of(archive: dict[bytes, Stored]) -> str:
    """F for a file's name, ( and ) for a directory other than the root, s for what else there is."""
    told, depth = [], 0
    for path, stored in archive.items():
        if path == b".":
            continue
        here = path.count(b"/")
        told.append(")" * (depth - here))
        depth = here
        if stored.entry.kind == "directory":
            told.append("(")
            depth += 1
        else:
            told.append("F" if stored.entry.kind == "file" else "s")
    return "".join(told) + ")" * depth


def _check_stats(
    stats: Any, taken: Taken, placed: dict[bytes, Stored], reused: set[bytes], layout: Layout,
    decided: dict[bytes, dict[str, Any]], before: Taken | None,
) -> list[str]:  # fmt: skip
    """The program's counters against ours."""
    read = [stored.entry.size for path, stored in placed.items() if path not in reused]
    kept = [stored.entry.size for path, stored in placed.items() if path in reused]
    reasons = Counter(str(line["reason"]) for line in decided.values() if line["action"] != "hardlink")
    injected = sum(len(instances) for instances in layout.listed.values()) + layout.unreferenced_chunks
    index = taken.snapshot.payload_index
    wanted: dict[str, object] = {
        "reused_files": len(kept),
        "reused_bytes": sum(kept) + 16 * len(kept),
        "reencoded_files": len(read),
        "reencoded_bytes": sum(read) + 16 * len(read),
        "file_bytes_read": sum(read),
        "padding_bytes": layout.padding,
        "injected_chunks": injected,
        "injected_bytes": layout.padding + sum(kept) + 16 * len(kept),
        "partial_chunks": layout.partial_chunks,
        "unreferenced_chunks": layout.unreferenced_chunks,
    }
    said = [f"stats: {name} {stats[name]}, not {value}" for name, value in wanted.items() if stats[name] != value]
    # What was only touched keeps its reason in the counters.
    for line in decided.values():
        if line["action"] != "hardlink" and line["reason"] == TOUCHED:
            reasons[TOUCHED] -= 1
            reasons[str(line.get("difference"))] += 1
    if dict(stats["reasons"]) != dict(+reasons):
        said.append(f"stats: reasons {stats['reasons']}, decisions {dict(+reasons)}")
    touched = [line["size"] for line in decided.values() if line.get("reason") == TOUCHED]
    collateral = [line["size"] for line in decided.values() if line.get("reason") in COLLATERAL]
    sums = {
        "touched_identical_files": len(touched), "touched_identical_bytes": sum(touched) + 16 * len(touched),
        "collateral_files": len(collateral), "collateral_bytes": sum(collateral) + 16 * len(collateral),
    }  # fmt: skip
    said += [f"stats: {name} {stats[name]}, not {value}" for name, value in sums.items() if stats[name] != value]
    stream = stats["payload"]
    has = {"size": index[-1][0], "chunks": len(index), "csum": taken.snapshot.payload_csum, "injected_chunks": injected}
    said += [f"stats: payload {name} {stream[name]}, not {value}" for name, value in has.items() if stream[name] != value]
    if stats["reference"]["reason"] != ("used" if before else "not-asked"):
        said.append(f"stats: reference {stats['reference']['reason']}")
    names = [stored for stored in taken.archive.values() if stored.entry.kind == "file"]
    if (stats["entries"]["files"], stats["entries"]["hardlink_names"]) != (len(placed), len(names) - len(placed)):
        said.append(f"stats: entries {stats['entries']}")
    said += _check_ledger(stats["ledger"], layout)
    return said


def _check_ledger(ledger: Any, layout: Layout) -> list[str]:
    """What the program counted while it wrote, recomputed from the streams."""
    mine: dict[str, int] = {
        **vars(layout.ledger()), "padding": layout.padding, "partial_chunks": layout.partial_chunks,
        "unreferenced_chunks": layout.unreferenced_chunks,
    }  # fmt: skip
    if not layout.unreferenced_chunks:  # what nobody uses is listed as well, and wasted as a whole
        mine.update(stored_waste=layout.stored_waste, relisted_chunks=layout.relisted_chunks)
    return [f"stats: ledger {name} {ledger[name]}, not {value}" for name, value in mine.items() if ledger[name] != value]
