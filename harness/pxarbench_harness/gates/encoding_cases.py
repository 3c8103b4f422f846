"""What the encodings' gate has the program encode, and the streams that come of it.

A case is a tree, a way to encode it, and for metadata mode a change and a profile. Its streams are the same on every machine:
the tree is fixed to the nanosecond, times and names of the snapshots are given, and the program sees uid and gid 0.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import run
from ..exhaustive import streams as stored
from ..measure import filesystem
from . import encoding_trees as trees
from . import fields

#: Raised when what a case does changes without its tree or its words changing.
CASE_VERSION = 1

SPLIT, UNIFIED, LEGACY, DATA, METADATA = "encode-split", "encode-unified", "legacy", "data", "metadata"
PROFILES = ("tight", "upstream", "stored")
#: Trees of which some or all fits on a disk, and those that are changed.
ON_DISK = ("chunks", "counts", "deep", "hardlinks", "names", "order", "sizes", "targets", "types", "wide")
CHANGED = "chunks"

REFERENCE_TIME, RUN_TIME = 1_700_000_000, 1_700_000_060
ARCHIVE, CHUNK_KIB = "tree", 64
#: Average for cutting what `pxar encode` made: small, so that small streams have several cuts.
CUT_AVERAGE = 4096
COMMAND_SECONDS = 60


@dataclass(frozen=True)
class Case:
    tree: str
    way: str
    change: str = ""
    profile: str = ""

    @property
    def id(self) -> str:
        return "-".join(part for part in (self.tree, self.way, self.profile, self.change) if part)

    @property
    def is_on_disk(self) -> bool:
        return self.way not in (SPLIT, UNIFIED)

    def trees(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The manifest, and what it is changed to."""
        if not self.is_on_disk:
            return trees.load(self.tree), None
        tree = trees.attributes() if self.tree == "attributes" else trees.on_disk(trees.load(self.tree))
        return tree, trees.changed(tree, self.change) if self.change else None

    def recipe(self) -> str:
        """Over all that decides what the program is asked to encode: golden streams of another recipe are of another case."""
        words = [CASE_VERSION, self.id, *self.trees(), CHUNK_KIB, CUT_AVERAGE, REFERENCE_TIME, RUN_TIME]
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Made:
    """The streams of a case by name, and the version of the archive format that they have."""

    version: int
    streams: Mapping[str, bytes]


class CaseBroken(Exception):
    """The program did not do what the case asks for; the text is a sentence."""


def all_cases() -> list[Case]:
    found = [Case(tree, way) for tree in trees.names() for way in (SPLIT, UNIFIED)]
    for tree in (*ON_DISK, "attributes"):
        found += [Case(tree, LEGACY), Case(tree, DATA), Case(tree, METADATA, "unchanged", "tight")]
    found += [
        Case(CHANGED, METADATA, change, profile)
        for profile in PROFILES
        for change in trees.CHANGES
        if (profile, change) != ("tight", "unchanged")
    ]
    return sorted(found, key=lambda case: case.id)


# ---- the program ----


class Program:
    """Calls of one build. `prefix`: words in front, for those that have to see owner 0."""

    def __init__(self, binary: Path, prefix: tuple[str, ...] = ()) -> None:
        self.binary = binary
        self.prefix = prefix

    def call(self, *words: str | os.PathLike[str], plain: bool = False) -> run.Result:
        prefix = () if plain else self.prefix
        result = run.run([*prefix, self.binary, *words], timeout=COMMAND_SECONDS)
        if result.returncode != 0:
            said = result.stderr.decode(errors="replace").strip().splitlines()
            why = f"did not end within {COMMAND_SECONDS} s" if result.timed_out else f"ended with {result.returncode}"
            raise CaseBroken(f"`pxarbench {words[0]}` {why}" + (f": {said[-1][:300]}" if said else ""))
        return result


def owner_zero() -> tuple[str, ...] | None:
    """Words in front of a command that make it see the owner of our files as 0; None: there is no way."""
    if os.geteuid() == 0 and os.getegid() == 0:
        return ()
    words = ("unshare", "--user", "--map-root-user")
    try:
        return words if run.run([*words, "true"]).returncode == 0 else None
    except OSError:
        return None


# ---- without a file system ----


def encode(program: Program, case: Case, folder: Path) -> Made:
    """`pxar encode` of the manifest, and `chunk` of what comes of it."""
    tree = trees.path_of(case.tree)
    if case.way == UNIFIED:
        out = folder / "x.pxar"
        program.call("pxar", "encode", tree, out, plain=True)
        stream = out.read_bytes()
        return Made(fields.version(stream), {"pxar": stream, "pxar.cuts": _cuts(program, out)})
    metadata, payload = folder / "x.mpxar", folder / "x.ppxar"
    program.call("pxar", "encode", tree, metadata, "--payload-output", payload, plain=True)
    stream = metadata.read_bytes()
    suggested = ",".join(str(offset) for offset, _, _ in fields.references(stream))
    words = ["--suggest", suggested] if suggested else []
    made = {"mpxar": stream, "ppxar": payload.read_bytes(), "mpxar.cuts": _cuts(program, metadata)}
    return Made(fields.version(stream), made | {"ppxar.cuts": _cuts(program, payload, *words)})


def _cuts(program: Program, path: Path, *words: str) -> bytes:
    """A line `END DIGEST` per chunk."""
    said = program.call("chunk", path, "--average", str(CUT_AVERAGE), *words, plain=True).stdout
    try:
        return b"".join(b"%d %s\n" % (cut["end"], cut["digest"].encode()) for cut in json.loads(said))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CaseBroken(f"`pxarbench chunk` says no list of cuts: {said[:100]!r}") from None


# ---- from a disk, into a datastore ----


class Disk:
    """Trees in a folder, each made once; and a datastore per case, since manifests count what a store had already."""

    def __init__(self, folder: Path, program: Program, more: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.program = program
        self.more = more  # words for each case's own backup, not for the one before a change
        self._made: dict[str, Path] = {}

    def tree(self, name: str, tree: dict[str, Any]) -> Path:
        if name not in self._made:
            path = self.folder / name
            trees.make(tree, path)
            self._made[name] = path
        return self._made[name]

    def backup(self, case: Case) -> Made:
        """The case's last backup. NotHere: the file system cannot have its tree."""
        tree, new = case.trees()
        at, now = self.tree(case.tree, tree), REFERENCE_TIME
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            store = Path(name)
            # A store whose 65,536 folders come as they are needed.
            (store / ".chunks").mkdir()
            (store / ".lock").touch()
            if new is not None:
                self._backup(case, store, at, DATA, now)
                at, now = self.tree(f"{case.tree}-{case.change}", new), RUN_TIME
            profile = ("--reuse-profile", case.profile) if case.profile else ()
            self._backup(case, store, at, case.way, now, *profile, *self.more)
            return read_snapshot(case, store, now)

    def _backup(self, case: Case, store: Path, tree: Path, mode: str, when: int, *more: str) -> None:
        self.program.call(
            "backup", f"{ARCHIVE}.pxar:{tree}", "--repository", store, "--change-detection-mode", mode, *more,
            "--backup-id", case.id, "--backup-time", str(when), "--chunk-size", str(CHUNK_KIB), "--threads", "1",
            "--sync-level", "none",
        )  # fmt: skip


def read_snapshot(case: Case, store: Path, when: int) -> Made:
    """The streams, index files and manifest. CaseBroken: what was stored is not what the format says."""
    snapshot = store / "host" / case.id / datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    chunks, made = stored.Chunks(store), {}
    names = ("pxar", "catalog") if case.way == LEGACY else ("mpxar", "ppxar")
    try:
        for name in names:
            path = snapshot / (f"{ARCHIVE}.{name}.didx" if name != "catalog" else "catalog.pcat1.didx")
            index, _ = stored.read_index(path)
            made[name] = chunks.stream(index)
            made[f"{name}.didx"] = without_birth(path.read_bytes())
        made["manifest"] = without_compression(stored.blob_content((snapshot / "index.json.blob").read_bytes()))
    except (OSError, stored.Broken) as error:
        raise CaseBroken(f"the snapshot cannot be read: {error}") from None
    return Made(fields.version(made[names[0]]), made)


def without_birth(index: bytes) -> bytes:
    """An index file with zeros for what no two runs have in common: uuid (16 bytes at 8) and time of creation (8 at 24)."""
    return index[:8] + bytes(24) + index[32:]


def without_compression(manifest: bytes) -> bytes:
    """A manifest with 0 for the compressed size of its chunks: it is the compressing library's, of whatever version."""
    return re.sub(rb'("compressed_size":\s*)\d+', rb"\g<1>0", manifest)


def places(work: Path) -> list[Path]:
    """Folders to try for trees with attributes, which memory file systems do not keep for archives."""
    return [work, Path("/var/tmp")]


def run_cases(
    binary: Path, work: Path, every: Iterable[Case], on: Callable[[Case, Made | Exception], None], more: tuple[str, ...] = ()
) -> None:
    """Runs cases in order and hands over what came of each: streams, CaseBroken, or NotHere.

    `more`: further words for each backup that a case is about: for tests of what must not matter.
    """
    prefix = owner_zero()
    program = Program(binary, prefix or ())
    with tempfile.TemporaryDirectory(prefix="encodings-", dir=work) as name:
        disk = Disk(Path(name), program, more)
        for case in every:
            try:
                if case.is_on_disk and prefix is None:
                    raise trees.NotHere("neither root nor allowed to be it in a namespace of users")
                if not case.is_on_disk:
                    with tempfile.TemporaryDirectory(dir=name) as folder:
                        on(case, encode(program, case, Path(folder)))
                elif case.tree == "attributes":
                    on(case, _with_attributes(disk, case, work))
                else:
                    on(case, disk.backup(case))
            except (CaseBroken, trees.NotHere) as error:
                on(case, error)


def _with_attributes(disk: Disk, case: Case, work: Path) -> Made:
    """In the first place whose file system keeps them. The trees are removed before this returns."""
    refused = []
    for place in places(work):
        try:
            with tempfile.TemporaryDirectory(prefix="pxarbench-encodings-", dir=place) as name:
                if not keeps_attributes(Path(name)):
                    raise trees.NotHere(f"archives keep no attributes of the file system of {place}")
                return Disk(Path(name), disk.program, disk.more).backup(case)
        except (trees.NotHere, OSError) as error:
            refused.append(str(error))
    raise trees.NotHere("; ".join(refused))


def keeps_attributes(folder: Path) -> bool:
    """Archives hold extended attributes and ACLs of every file system but these (bench/spec/pxar.md 7)."""
    return not filesystem(folder).startswith(("tmpfs", "ramfs", "fuse", "vfat", "msdos"))
