"""What undoing needs: the listing of everything that is to change, and the contents that will be destroyed.

    mutation.saved/           beside mutation.jsonl (for mutation.1.jsonl: mutation.1.saved/)
        listing.jsonl         a header, then one line per name: the entry as it was, what is planned, what is kept
        contents              the regions that will be overwritten, one behind the other, holes left out
        0, 1, ...             further names of inodes that will lose theirs (contents instead, where links are impossible)

All of it is on disk before the operation log is, and the log before the first change. The listing depends on the machine
(inodes); the operation log does not.
"""

from __future__ import annotations

import json
import operator
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .. import run
from ..tree import Entry, show
from .draft import Draft
from .operation import MutationFailed
from .primitives import data_segments, pieces, step, write_all

SCHEMA = "pxarbench-saved/1"
_ENTRY = tuple(f.name for f in fields(Entry) if f.init)
_NAMES = ("path", "target", "link_to")


def saved_folder(log: Path) -> Path:
    return log.with_suffix(".saved")


def text_of(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@dataclass
class Region:
    """Contents [offset, offset + length) as they were: segments (offset in the file, length, offset in `contents`)."""

    offset: int
    length: int
    segments: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass
class Listed:
    """One name that is to change."""

    path: bytes
    before: Entry | None
    kind: str  # afterwards; "": gone
    renewed: bool  # the mutation puts another inode here
    low: int = 0  # sizes that the file at this name may have meanwhile
    high: int = 0
    link: str = ""  # further name of the inode, in the folder
    lost: bool = False  # the inode dies, and its number may come back as another file's
    regions: list[Region] = field(default_factory=list)


_fields_of = operator.attrgetter(*_ENTRY)
_NUMBERS = tuple(_ENTRY.index(name) for name in _NAMES)
_XATTRS = _ENTRY.index("xattrs")


def _entry_values(e: Entry | None) -> list[Any] | None:
    if e is None:
        return None
    values = list(_fields_of(e))
    for number in _NUMBERS:
        values[number] = text_of(values[number])
    values[_XATTRS] = [[key, value.hex()] for key, value in e.xattrs]
    return values


def _entry_of(values: list[Any] | None) -> Entry | None:
    if values is None:
        return None
    named = dict(zip(_ENTRY, values, strict=True))
    for name in _NAMES:
        named[name] = bytes_of(named[name])
    named["xattrs"] = tuple((key, bytes.fromhex(value)) for key, value in named["xattrs"])
    return Entry(**named)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    _sync_file(folder)


class _Packer:
    def __init__(self, path: Path, root: bytes) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.root, self.at = root, 0

    def region(self, path: bytes, offset: int, length: int) -> Region:
        region = Region(offset, length)
        fd = os.open(os.path.join(self.root, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for start, size in data_segments(fd, offset, offset + length):
                region.segments.append((start, size, self.at))
                for at, count in pieces(start, size):
                    data = os.pread(fd, count, at)
                    if len(data) != count:
                        raise MutationFailed(f"{show(path)}: is shorter than listed")
                    write_all(self.fd, data, self.at)
                    self.at += count
        finally:
            os.close(fd)
        return region


def _listed(draft: Draft) -> Iterator[Listed]:
    before = draft.tree.entries
    for path, after in draft.now.items():
        old = before.get(path)
        sizes = [e.size for e in (old, after) if e is not None]
        renewed = old is None or after is None or (old.inode, old.device) != (after.inode, after.device)
        yield Listed(path, old, after.kind if after else "", renewed, min(sizes, default=0), max(sizes, default=0))


def save(draft: Draft, folder: Path) -> None:
    """Makes the folder. On failure it is incomplete, and worth nothing: there is no log yet."""
    remove(folder)
    _check_space(draft, folder.parent)
    folder.mkdir(mode=0o700)
    root = os.fsencode(draft.tree.root)
    packer = _Packer(folder / "contents", root)
    links = 0
    try:
        with open(folder / "listing.jsonl", "w", encoding="ascii") as out:
            st = os.lstat(root)
            header = {
                "schema": SCHEMA, "root_device": st.st_dev, "temporary": sorted(map(text_of, draft.temporary)),
            }  # fmt: skip
            out.write(json.dumps(header) + "\n")
            for listed in _listed(draft):
                keep = draft.keep.get(listed.path)
                if keep is not None and listed.before is not None:
                    if keep.whole:
                        try:
                            os.link(os.path.join(root, listed.path), folder / str(links), follow_symlinks=False)
                            listed.link = str(links)
                            links += 1
                        except OSError:  # another file system, or one without hardlinks
                            listed.lost = True
                            if listed.before.kind == "file":
                                keep.regions = [(0, listed.before.size)]
                    for offset, length in keep.regions:
                        listed.regions.append(packer.region(listed.path, offset, length))
                        listed.low = min(listed.low, offset)
                    step()
                values = {
                    "path": text_of(listed.path), "before": _entry_values(listed.before),
                    "kind": listed.kind, "renewed": listed.renewed, "low": listed.low, "high": listed.high, "link": listed.link,
                    "lost": listed.lost, "regions": [[r.offset, r.length, r.segments] for r in listed.regions],
                }  # fmt: skip
                out.write(json.dumps(values) + "\n")
            out.flush()
            os.fsync(out.fileno())
        os.fsync(packer.fd)
    finally:
        os.close(packer.fd)
    if links:  # names are made durable by their directory
        sync_folder(folder)
    sync_folder(folder.parent)


def _check_space(draft: Draft, folder: Path) -> None:
    kept = sum(length for keep in draft.keep.values() for _, length in keep.regions)
    for place, needed in ((folder, kept), (draft.tree.root, draft.added_bytes + kept)):
        free = shutil.disk_usage(place).free
        if free < needed + (16 << 20):
            raise MutationFailed(
                f"mutation {draft.mutation.text}: needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free in {place}"
            )


@dataclass
class Saved:
    root_device: int
    temporary: list[bytes]
    listed: list[Listed]


def load(folder: Path) -> Saved:
    """MutationFailed: there is none, or it is of another kind."""
    try:
        lines = open(folder / "listing.jsonl", encoding="ascii")
    except FileNotFoundError as error:
        raise MutationFailed(f"{folder}: the listing that undoing needs is not there") from error
    with lines:
        header = json.loads(next(lines))
        if header.get("schema") != SCHEMA:
            raise MutationFailed(f"{folder}: not of schema {SCHEMA}")
        found = []
        for line in lines:
            v = json.loads(line)
            regions = [Region(offset, length, [tuple(s) for s in segments]) for offset, length, segments in v["regions"]]
            found.append(Listed(
                bytes_of(v["path"]), _entry_of(v["before"]), v["kind"], v["renewed"], v["low"], v["high"], v["link"], v["lost"],
                regions,
            ))  # fmt: skip
    return Saved(header["root_device"], [bytes_of(name) for name in header["temporary"]], found)


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise MutationFailed(f"{folder}: cannot be removed")


def durable(root: Path) -> None:
    """Everything that was put back is on disk before the log goes."""
    run.sync_filesystem(root)
