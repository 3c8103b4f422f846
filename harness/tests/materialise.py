"""Makes the real tree that a text manifest (schema pxar-vector-tree/1) describes.

With system calls alone: no tool of the project, and no setfacl or setcap, takes part. Root only, and only where the
file system has what the manifest asks for: an OSError says what it has not.
"""

from __future__ import annotations

import base64
import os
import stat
import struct
from pathlib import Path
from typing import Any

import everything_tree as kernel
from pxar_model import TYPE_BITS, content_bytes, text_bytes

Json = dict[str, Any]

#: Flag of the stat record -> chattr flag (bench/spec/pxar.md 6), those that may be set at any time.
CHATTR = {
    0x10000: kernel.APPEND, 0x20000: kernel.NOATIME, 0x100000: kernel.NODUMP, 0x200000: kernel.DIRSYNC,
    0x400000: kernel.IMMUTABLE, 0x800000: kernel.SYNC,
}  # fmt: skip


def access_acl(entry: Json) -> bytes | None:
    """Value of system.posix_acl_access. The mode's group bits are the mask."""
    acl = entry.get("acl", {})
    if acl.get("group_obj") is None:
        assert not acl.get("users") and not acl.get("groups"), "named entries without the group's own"
        return None
    mode = int(entry["mode"], 8)
    return kernel.acl(
        [(kernel.USER_OBJ, mode >> 6 & 7, kernel.NO_ID), *_named(kernel.USER, acl.get("users")),
         (kernel.GROUP_OBJ, acl["group_obj"], kernel.NO_ID), *_named(kernel.GROUP, acl.get("groups")),
         (kernel.MASK, mode >> 3 & 7, kernel.NO_ID), (kernel.OTHER, mode & 7, kernel.NO_ID)]
    )  # fmt: skip


def default_acl(entry: Json) -> bytes | None:
    """Value of system.posix_acl_default."""
    acl = entry.get("acl", {})
    default = acl.get("default")
    if default is None:
        return None
    mask = [] if default["mask"] is None else [(kernel.MASK, default["mask"], kernel.NO_ID)]
    return kernel.acl(
        [(kernel.USER_OBJ, default["user_obj"], kernel.NO_ID), *_named(kernel.USER, acl.get("default_users")),
         (kernel.GROUP_OBJ, default["group_obj"], kernel.NO_ID), *_named(kernel.GROUP, acl.get("default_groups")),
         *mask, (kernel.OTHER, default["other"], kernel.NO_ID)]
    )  # fmt: skip


def _named(tag: int, entries: list[Json] | None) -> list[tuple[int, int, int]]:
    # The kernel takes them in the order of their ids alone.
    return [(tag, e["perm"], e["id"]) for e in sorted(entries or [], key=lambda e: int(e["id"]))]


def _make(path: bytes, entry: Json) -> None:
    kind = entry.get("type", "dir")
    if kind == "dir":
        os.mkdir(path)
    elif kind == "file":
        with open(path, "xb") as file:
            file.write(content_bytes(entry["content"]))
    elif kind == "symlink":
        os.symlink(text_bytes(entry, "target"), path)
    else:
        device = os.makedev(entry["major"], entry["minor"]) if kind in ("chardev", "blockdev") else 0
        os.mknod(path, stat.S_IFMT(TYPE_BITS[kind]) | 0o600, device)


def _set_attributes(path: bytes, entry: Json) -> None:
    """Everything but times and chattr flags, which later steps would change or which would forbid them."""
    os.chown(path, entry["uid"], entry["gid"], follow_symlinks=False)
    if entry.get("type") == "symlink":
        return
    os.chmod(path, int(entry["mode"], 8))
    for xattr in entry.get("xattrs", ()):
        os.setxattr(path, text_bytes(xattr, "name"), base64.b64decode(xattr["value_b64"]))
    for name, value in (("access", access_acl(entry)), ("default", default_acl(entry))):
        if value is not None:
            os.setxattr(path, f"system.posix_acl_{name}", value)
    if "fcaps_b64" in entry:
        os.setxattr(path, "security.capability", base64.b64decode(entry["fcaps_b64"]))
    if "quota_project_id" in entry:
        kernel.set_project(Path(os.fsdecode(path)), entry["quota_project_id"])


def _set_flags(path: bytes, entry: Json) -> None:
    flags = entry.get("flags", 0)
    if not flags:
        return
    assert flags & ~sum(CHATTR) == 0, f"{path!r}: no such flags: {flags:#x}"
    assert kernel.set_flags(Path(os.fsdecode(path)), sum(bit for stored, bit in CHATTR.items() if flags & stored)), path


def materialise(tree: Json, root: Path) -> Path:
    """Makes `root`, which must not exist, in a folder that does. Returns it."""
    made: list[tuple[bytes, Json]] = []  # a directory before what is in it
    links: list[tuple[bytes, bytes]] = []
    top = os.fsencode(root)

    def walk(path: bytes, entry: Json) -> None:
        if entry.get("type") == "hardlink":
            links.append((path, os.path.join(top, text_bytes(entry, "target"))))
            return
        _make(path, entry)
        made.append((path, entry))
        for child in entry.get("entries", ()):
            walk(os.path.join(path, text_bytes(child, "name")), child)

    walk(top, tree["root"])
    for path, target in links:
        os.link(target, path, follow_symlinks=False)
    for step in (_set_attributes, _set_times, _set_flags):
        for path, entry in reversed(made):
            step(path, entry)
    return root


def _set_times(path: bytes, entry: Json) -> None:
    seconds, nanoseconds = entry["mtime"]
    ns = seconds * 10**9 + nanoseconds
    os.utime(path, ns=(ns, ns), follow_symlinks=False)
