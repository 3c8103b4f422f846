"""Later versions of a tree, stored beside it as differences.

    KEY/steps/01/manifest.jsonl   the whole listing of the tree after the step (tree.save)
    KEY/steps/01/files/PATH       contents of the regular files that are new or whose contents changed in this step
    KEY/steps/01/step.json        label, digests before and after, counts
    KEY/steps/02/...              relative to step 01

The times of a step are those that a checkout or `rsync -c` leaves behind: an entry with the same contents keeps the time it
had, a changed or new one has its new version's. A folder in which a name came, went or became something else has the new
version's time, any other folder keeps its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .. import run, tree
from ..tree import Entry, Tree
from .workspace import empty

SCHEMA = "pxarbench-step/1"
FOLDER = "steps"


class StepBroken(Exception):
    """What is stored of a step is not what was stored; the text names it."""


@dataclass(frozen=True)
class Step:
    number: int  # 1 .. n; 0 would be the tree as prepared
    label: str
    source: str
    previous: str  # Tree.digest() before the step
    digest: str  # and after it
    counts: Mapping[str, int]  # added, deleted, changed, attributes, files, files_bytes
    folder: Path

    def manifest(self, root: Path) -> Tree:
        """What the tree at `root` has to be after the step. Inode numbers and ctimes in it mean nothing."""
        return tree.load(self.folder / "manifest.jsonl", root)

    def contents(self, path: bytes) -> Path:
        """A file that the step brought, by its path in the tree."""
        return Path(os.fsdecode(os.path.join(os.fsencode(self.folder / "files"), path)))

    def check(self) -> None:
        """Whether as many files with as many bytes are there as were stored. StepBroken."""
        files = size = 0
        for folder, _, names in os.walk(os.fsencode(self.folder / "files")):
            for name in names:
                files += 1
                size += os.lstat(os.path.join(folder, name)).st_size
        if (files, size) != (self.counts["files"], self.counts["files_bytes"]):
            raise StepBroken(f"step {self.label}: {files} files with {size} bytes, stored were {dict(self.counts)}")

    def verify(self, before: Tree) -> Tree:
        """Reads all of it again. Returns the manifest; StepBroken."""
        after = self.manifest(before.root)
        if before.digest() != self.previous or after.digest() != self.digest:
            raise StepBroken(f"step {self.label}: its listing is damaged")
        for entry in _brought(before, after):
            try:
                found = tree.hash_file(self.contents(entry.path))
            except OSError as error:
                raise StepBroken(f"step {self.label}: {error}") from None
            if found != entry.digest:
                raise StepBroken(f"step {self.label}: the stored {tree.show(entry.path)} is damaged")
        return after


def of(dataset: Path) -> tuple[Step, ...]:
    """The steps of a dataset's folder, in order; none when it has none. StepBroken."""
    found = []
    for number in range(1, 1000):
        folder = dataset / FOLDER / f"{number:02d}"
        if not folder.exists():
            break
        found.append(_read(folder, number))
    return tuple(found)


def _read(folder: Path, number: int) -> Step:
    try:
        values = json.loads((folder / "step.json").read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise StepBroken(f"{folder}: schema {values['schema']!r}, not {SCHEMA}")
        counts = {name: int(values[name]) for name in ("added", "deleted", "changed", "attributes", "files", "files_bytes")}
        texts = [str(values[name]) for name in ("label", "source", "previous", "digest")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StepBroken(f"{folder}: {error}") from None
    return Step(number, *texts, counts, folder)


def kept(folder: Path, number: int, label: str, before: Tree) -> tuple[Step, Tree] | None:
    """A step that an interrupted preparation had finished, if it still leads on from `before`."""
    place = folder / f"{number:02d}"
    try:
        step = _read(place, number)
        step.check()
        after = step.manifest(before.root)
    except (StepBroken, OSError, ValueError, TypeError, KeyError):
        return None
    if (step.label, step.previous, step.digest) != (label, before.digest(), after.digest()):
        return None
    return step, after


def _same(old: Entry | None, new: Entry) -> bool:
    return old is not None and (old.kind, old.digest, old.target, old.rdev) == (new.kind, new.digest, new.target, new.rdev)


def _brought(before: Tree, after: Tree) -> list[Entry]:
    """The regular files (first names only) whose contents the step has to bring."""
    return [e for e in after.files() if not _same(before.entries.get(e.path), e)]


def merge(before: Tree, version: Tree) -> Tree:
    """The new version with the times that a checkout over the old one leaves."""
    parents = set()
    for path in before.entries.keys() | version.entries.keys():
        old, new = before.entries.get(path), version.entries.get(path)
        if old is None or new is None or old.kind != new.kind:
            parents.add(os.path.dirname(path) or b".")
    entries = {}
    for path, new in version.entries.items():
        old = before.entries.get(path)
        keeps = _same(old, new) and not (new.kind == "directory" and path in parents)
        mtime = old.mtime_ns if keeps and old is not None else new.mtime_ns
        entries[path] = replace(new, mtime_ns=mtime, inode=0, device=0, ctime_ns=0)
    return Tree(before.root, entries)


def store(folder: Path, number: int, label: str, source: str, before: Tree, version: Tree) -> tuple[Step, Tree]:
    """Moves what is new out of version.root (a scratch folder) into folder/NN: whole and on disk, or not there at all."""
    after = merge(before, version)
    place = folder / f"{number:02d}"
    part = folder / f"{number:02d}.partial"
    folder.mkdir(exist_ok=True)
    if place.exists():
        empty(place)
        place.rmdir()
    empty(part)
    files = os.fsencode(part / "files")
    os.mkdir(files)
    brought = _brought(before, after)
    for entry in brought:
        target = os.path.join(files, entry.path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(os.path.join(os.fsencode(version.root), entry.path), target)
    tree.save(after, part / "manifest.jsonl")
    old, new = before.entries, after.entries
    changed = [p for p, e in new.items() if p in old and not _same(old[p], e)]
    values = {
        "schema": SCHEMA, "label": label, "source": source, "previous": before.digest(), "digest": after.digest(),
        "added": len(new.keys() - old.keys()), "deleted": len(old.keys() - new.keys()), "changed": len(changed),
        "attributes": sum(1 for p, e in new.items() if p in old and e != old[p]) - len(changed),
        "files": len(brought), "files_bytes": sum(e.size for e in brought),
    }  # fmt: skip
    (part / "step.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    run.sync_filesystem(part)
    part.rename(place)
    return _read(place, number), after
