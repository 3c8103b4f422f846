"""For mutations that are no list of steps: keeps a whole listing and the contents that will go, and goes back to them.

    mutation.saved/before.jsonl    the listing of the tree as it was
    mutation.saved/files/PATH      contents of the files that the mutation will change or remove

`become` turns a tree into what a listing says, and touches only what differs: files get new inodes where their contents
differ, as git and rsync do it; attributes and times are set where only these do. It is repeated harmlessly, so putting back
works from any point.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from .. import tree
from ..tree import Entry, Tree, scan, show
from .operation import AlteredByOthers
from .saved import saved_folder, sync_folder

Contents = Callable[[bytes], Path]

_TYPES = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "chardev": stat.S_IFCHR, "blockdev": stat.S_IFBLK}


def keep(before: Tree, paths: Iterable[bytes], log: Path) -> None:
    """Before anything is changed: the listing, and the contents of these files. `log` must not be there yet."""
    folder = saved_folder(log)
    shutil.rmtree(folder, ignore_errors=True)
    files = folder / "files"
    files.mkdir(parents=True)
    tree.save(before, folder / "before.jsonl")
    for path in paths:
        entry = before.entries.get(path)
        if entry is None or entry.kind != "file" or entry.link_to:
            continue
        to = _kept(folder, path)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(os.path.join(os.fsencode(before.root), path), to)
    os.sync()
    sync_folder(folder)


def _kept(folder: Path, path: bytes) -> Path:
    return Path(os.fsdecode(os.path.join(os.fsencode(folder / "files"), path)))


def put_back(log: Path, root: Path) -> None:
    """AlteredByOthers: something changed that the mutation did not announce; nothing was done."""
    folder = saved_folder(log)
    before = tree.load(folder / "before.jsonl", root)
    flags = any(e.flags or e.project for e in before.entries.values())
    now = scan(root, known=before, inode_flags=flags)
    for path in sorted(_made_anew(now.entries, before.entries)):
        want = before.entries[path]
        if want.kind == "file" and not want.link_to and not _kept(folder, path).exists():
            raise AlteredByOthers(f"{show(path)}: was changed by somebody else, its contents were not kept")
    become(now, before, lambda path: _kept(folder, path))


def _is_other(old: Entry | None, new: Entry) -> bool:
    """Whether it takes another inode to get from one to the other."""
    if old is None or old.kind != new.kind:
        return True
    return any(getattr(old, name) != getattr(new, name) for name in ("size", "digest", "target", "rdev", "link_to"))


def _made_anew(have: Mapping[bytes, Entry], want: Mapping[bytes, Entry]) -> set[bytes]:
    # Further names of a file are listed with its contents: they follow it to its new inode.
    return {path for path, entry in want.items() if have.get(path) != entry and _is_other(have.get(path), entry)}


def become(have: Tree, want: Tree, contents: Contents) -> None:
    """Makes the tree at have.root, which is as `have` says, what `want` says. `contents`: where those of a path lie."""
    top = os.fsencode(have.root)
    old, new = have.entries, want.entries
    anew = _made_anew(old, new)
    away = [path for path in old if path in anew or path not in new]
    for path in sorted(away, reverse=True):  # what is in a folder before the folder
        full = os.path.join(top, path)
        os.rmdir(full) if old[path].kind == "directory" else os.unlink(full)
    for path in sorted(anew, key=lambda p: (bool(new[p].link_to), p)):  # folders before what is in them, further names last
        _make(top, new[path], contents)
    named = {os.path.dirname(path) or b"." for path in (*away, *anew)}
    folders = []
    for path, entry in new.items():
        if path not in anew and path not in named and old.get(path) == entry or entry.link_to:
            continue
        _attributes(os.path.join(top, path), entry)
        if entry.kind == "directory":
            folders.append(entry)
        else:
            _set_time(os.path.join(top, path), entry)
    for entry in sorted(folders, key=lambda e: e.path, reverse=True):
        _set_time(os.path.join(top, entry.path), entry)


def _make(top: bytes, entry: Entry, contents: Contents) -> None:
    full = os.path.join(top, entry.path)
    if entry.link_to:
        os.link(os.path.join(top, entry.link_to), full, follow_symlinks=False)
    elif entry.kind == "directory":
        os.mkdir(full, 0o700)
    elif entry.kind == "file":
        shutil.copyfile(contents(entry.path), full)
    elif entry.kind == "symlink":
        os.symlink(entry.target, full)
    else:
        os.mknod(full, _TYPES[entry.kind] | 0o600, entry.rdev)


def _attributes(full: bytes, entry: Entry) -> None:
    st = os.lstat(full)
    if (st.st_uid, st.st_gid) != (entry.uid, entry.gid):
        os.chown(full, entry.uid, entry.gid, follow_symlinks=False)
    wanted = dict(entry.xattrs)
    found = dict(tree._xattrs(full))
    for name in found.keys() - wanted.keys():
        os.removexattr(full, name, follow_symlinks=False)
    for name, value in wanted.items():
        if found.get(name) != value:
            os.setxattr(full, name, value, follow_symlinks=False)
    if entry.kind != "symlink" and stat.S_IMODE(os.lstat(full).st_mode) != entry.mode:
        os.chmod(full, entry.mode)


def _set_time(full: bytes, entry: Entry) -> None:
    st = os.lstat(full)
    if st.st_mtime_ns != entry.mtime_ns:
        os.utime(full, ns=(st.st_atime_ns, entry.mtime_ns), follow_symlinks=False)
