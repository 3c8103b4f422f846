"""Undoing: every listed name gets back what it was, whichever of the steps were performed, and however far undoing came.

It does not walk the steps backwards. It looks where each inode of the listing lies now and puts it where it belongs,
removes what the mutation made, makes again what is lost, writes overwritten regions back, repairs attributes, and sets
times last, directories' after everything in them. Every stage finds its work done when it is repeated.

Only names of the listing are touched, and a file in a state that neither the mutation nor undoing leaves behind stops it
before anything is changed (AlteredByOthers).
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..tree import KINDS, Entry, _xattrs
from .operation import AlteredByOthers
from .primitives import exchange, pieces, punch, set_mtime, step, write_all
from .saved import Listed, Region, Saved, durable

Inode = tuple[int, int]  # device, number


def repair(saved: Saved, folder: Path, root: Path) -> None:
    """AlteredByOthers: nothing was changed, or what was done so far is right; repeated it says the same."""
    work = _Repair(saved, folder, os.fsencode(root))
    work.check()
    work.directories_back()
    work.remove_made()
    work.inodes_back()
    work.remove_left()
    work.make_lost()
    work.contents_back()
    work.attributes_back()
    if any(x.link or x.regions for x in saved.listed):
        durable(root)
    for listed in saved.listed:
        if listed.link:  # the inode shall not have a name too many when the log is gone
            step()
            (folder / listed.link).unlink(missing_ok=True)


def _look(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _kind(st: os.stat_result) -> str:
    return KINDS[stat.S_IFMT(st.st_mode)]


@dataclass
class _Repair:
    saved: Saved
    folder: Path
    root: bytes
    wanted: dict[Inode, list[Listed]] = field(default_factory=dict)  # old inodes (of now) and their rightful names

    def __post_init__(self) -> None:
        self.device = os.lstat(self.root).st_dev
        names = defaultdict(list)
        for listed in self.saved.listed:
            if listed.before is not None and not listed.lost:
                names[self._inode(listed.before)].append(listed)
        self.wanted = dict(names)

    def _inode(self, e: Entry) -> Inode:
        """Device numbers may be others after a reboot; those of the root tell."""
        return (self.device if e.device == self.saved.root_device else e.device, e.inode)

    def _full(self, path: bytes) -> bytes:
        return os.path.join(self.root, path)

    def _link(self, listed: Listed) -> bytes:
        return os.fsencode(self.folder / listed.link)

    def _places(self) -> Iterator[tuple[bytes, os.stat_result]]:
        """Full paths at which an old inode may be now."""
        for listed in self.saved.listed:
            candidates = [self._full(listed.path)] + ([self._link(listed)] if listed.link else [])
            for place in candidates:
                st = _look(place)
                if st is not None:
                    yield place, st

    # ---- what must not be there ----

    def check(self) -> None:
        """Nothing that somebody else made or changed may be destroyed."""
        for listed in self.saved.listed:
            full = self._full(listed.path)
            st = _look(full)
            if st is None:
                continue
            inode, kind = (st.st_dev, st.st_ino), _kind(st)
            rightful = listed.before is not None and not listed.lost and self._inode(listed.before) == inode
            if rightful or inode in self.wanted:
                owner = listed if rightful else self.wanted[inode][0]
                if kind == "file" and not owner.low <= st.st_size <= owner.high:
                    self._altered(full, st, owner)
                continue
            if kind not in ({listed.kind} | ({listed.before.kind} if listed.before else set())):
                raise AlteredByOthers(f"{os.fsdecode(full)}: is a {kind} that the mutation did not make")
            if kind == "file" and st.st_size > listed.high or not listed.renewed and kind == "file" and st.st_size < listed.low:
                self._altered(full, st, listed)

    def _altered(self, full: bytes, st: os.stat_result, listed: Listed) -> None:
        raise AlteredByOthers(f"{os.fsdecode(full)}: {st.st_size} bytes, expected {listed.high} or {listed.low}")

    # ---- names ----

    def directories_back(self) -> None:
        """Directories that were renamed, the shallowest first: what is in them comes along."""
        old = [x for x in self.saved.listed if x.before is not None and x.before.kind == "directory"]
        for listed in sorted(old, key=lambda x: x.path):
            assert listed.before is not None
            if _look(self._full(listed.path)) is not None:  # never went, or came back with one above
                continue
            for other in self.saved.listed:
                if other.before is None and other.kind == "directory":
                    st = _look(self._full(other.path))
                    if st is not None and (st.st_dev, st.st_ino) == self._inode(listed.before):
                        step()
                        os.rename(self._full(other.path), self._full(listed.path))
                        break

    def _remove(self, full: bytes, st: os.stat_result) -> None:
        step()
        if stat.S_ISDIR(st.st_mode):
            try:
                os.rmdir(full)
            except OSError as error:
                raise AlteredByOthers(f"{os.fsdecode(full)}: has something in it that the mutation did not make") from error
        else:
            os.unlink(full)

    def remove_made(self) -> None:
        """New inodes, those deepest in the tree first. Where an old one belongs it must be known where that is."""
        places = {(st.st_dev, st.st_ino) for _, st in self._places()}
        for name in self.saved.temporary:
            if (st := _look(self._full(name))) is not None and (st.st_dev, st.st_ino) not in self.wanted:
                self._remove(self._full(name), st)
        for listed in sorted(self.saved.listed, key=lambda x: x.path, reverse=True):
            full = self._full(listed.path)
            st = _look(full)
            if st is None or (st.st_dev, st.st_ino) in self.wanted or not listed.renewed:
                continue
            before = listed.before
            if before is None and stat.S_ISDIR(st.st_mode):
                continue  # what was moved into it must be brought back before
            if before is not None and (listed.lost or self._inode(before) not in places):
                if not self._can_make(listed):
                    raise AlteredByOthers(f"{os.fsdecode(full)}: what was there is nowhere to be found")
                if before.kind == "file" and stat.S_ISREG(st.st_mode):
                    continue  # its contents and attributes become the old ones
            self._remove(full, st)

    def _can_make(self, listed: Listed) -> bool:
        e = listed.before
        assert e is not None
        kept = any(r.offset == 0 and r.length == e.size for r in listed.regions)
        return e.kind != "file" or e.size == 0 or kept or bool(e.link_to)

    def inodes_back(self) -> None:
        """Old inodes that lie at another name, or only in the saved folder."""
        places: dict[Inode, set[bytes]] = defaultdict(set)
        holds: dict[bytes, Inode] = {}
        for place, st in self._places():
            if not stat.S_ISDIR(st.st_mode):
                places[st.st_dev, st.st_ino].add(place)
                holds[place] = (st.st_dev, st.st_ino)
        for inode, rightful in self.wanted.items():
            proper = {self._full(x.path) for x in rightful}
            for listed in rightful:
                assert listed.before is not None
                here = self._full(listed.path)
                if listed.before.kind == "directory" or holds.get(here) == inode or not places[inode]:
                    continue
                strays = sorted(places[inode] - proper)
                occupant = holds.get(here)
                step()
                if not strays:  # a name more for a file that has others
                    if occupant is not None:
                        raise AlteredByOthers(f"{os.fsdecode(here)}: is another file")
                    os.link(min(places[inode]), here, follow_symlinks=False)
                elif occupant is None:
                    os.rename(strays[0], here)
                    places[inode].discard(strays[0])
                    holds.pop(strays[0], None)
                elif occupant in self.wanted:
                    exchange(strays[0], here)
                    places[inode].discard(strays[0])
                    places[occupant].discard(here)
                    places[occupant].add(strays[0])
                    holds[strays[0]] = occupant
                else:
                    raise AlteredByOthers(f"{os.fsdecode(here)}: is a file that the mutation did not make")
                places[inode].add(here)
                holds[here] = inode

    def remove_left(self) -> None:
        """New names that old inodes had, and new directories."""
        for listed in sorted(self.saved.listed, key=lambda x: x.path, reverse=True):
            if listed.before is None and (st := _look(self._full(listed.path))) is not None:
                self._remove(self._full(listed.path), st)

    # ---- what is lost ----

    def make_lost(self) -> None:
        # As a walk goes: folders before what is in them, the first name of a file before its others.
        for listed in sorted(self.saved.listed, key=lambda x: x.path.split(b"/")):
            e, full = listed.before, self._full(listed.path)
            if e is None or _look(full) is not None:
                continue
            step()
            if e.link_to and _look(self._full(e.link_to)) is not None:
                os.link(self._full(e.link_to), full, follow_symlinks=False)
            elif not self._can_make(listed):
                raise AlteredByOthers(f"{os.fsdecode(full)}: is gone, which the mutation did not do")
            elif e.kind == "file":
                os.close(os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            elif e.kind == "directory":
                os.mkdir(full, 0o700)
            elif e.kind == "symlink":
                os.symlink(e.target, full)
            else:
                kind = next(number for number, name in KINDS.items() if name == e.kind)
                os.mknod(full, kind | 0o600, e.rdev)

    def contents_back(self) -> None:
        contents = -1
        try:
            for listed in self.saved.listed:
                e = listed.before
                if e is None or e.kind != "file" or e.link_to:
                    continue
                full = self._full(listed.path)
                if not listed.regions:
                    if os.lstat(full).st_size != e.size:
                        step()
                        os.truncate(full, e.size)
                    continue
                if contents < 0:
                    contents = os.open(self.folder / "contents", os.O_RDONLY | os.O_CLOEXEC)
                fd = os.open(full, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    for region in reversed(listed.regions):
                        self._write_back(fd, region, e.size, contents)
                finally:
                    os.close(fd)
        finally:
            if contents >= 0:
                os.close(contents)

    @staticmethod
    def _write_back(fd: int, region: Region, size: int, contents: int) -> None:
        step()
        if region.offset + region.length >= size:
            # Holes come back with it. An interruption behind it leaves the file too short, which `low` allows.
            if sum(length for _, length, _ in region.segments) != region.length:
                os.ftruncate(fd, region.offset)
                step()
            os.ftruncate(fd, size)
        elif sum(length for _, length, _ in region.segments) != region.length:
            punch(fd, region.offset, region.length)
        for offset, length, at in region.segments:
            for position, count in pieces(offset, length):
                write_all(fd, os.pread(contents, count, at + position - offset), position)
                step()
        if os.fstat(fd).st_size != size:
            os.ftruncate(fd, size)

    # ---- attributes ----

    def attributes_back(self) -> None:
        """The names of files first; directories the deepest first, as what is done in one changes its time."""
        old = [x.before for x in self.saved.listed if x.before is not None]
        for e in old:
            if e.kind != "directory":
                self._attributes(e)
        for e in sorted((e for e in old if e.kind == "directory"), key=lambda e: e.path, reverse=True):
            self._attributes(e)

    def _attributes(self, e: Entry) -> None:
        full = self._full(e.path)
        st = os.lstat(full)
        changed = False
        if (st.st_uid, st.st_gid) != (e.uid, e.gid):
            step()
            os.chown(full, e.uid, e.gid, follow_symlinks=False)
            changed = True
        have, want = dict(_xattrs(full)), dict(e.xattrs)
        if have != want:
            for name in have.keys() - want.keys():
                step()
                os.removexattr(full, name, follow_symlinks=False)
            for name, value in want.items():
                if have.get(name) != value:
                    step()
                    os.setxattr(full, name, value, follow_symlinks=False)
            changed = True
        if e.kind != "symlink" and (changed or stat.S_IMODE(st.st_mode) != e.mode):
            os.chmod(full, e.mode)
        if st.st_mtime_ns != e.mtime_ns:
            step()
            set_mtime(full, e.mtime_ns)
