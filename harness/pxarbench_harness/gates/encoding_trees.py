"""The trees of the encodings' gate: text manifests (fixtures/README.md), changes of them, and what of them fits on any disk.

A manifest on disk belongs to whoever runs the gate; its uid and gid are 0, which is what the program sees (encoding_cases.py).
"""

from __future__ import annotations

import base64
import copy
import errno
import fcntl
import json
import os
import stat
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import locate
from ..tree import CHATTR_FLAGS, FS_IOC_GETFLAGS

Json = dict[str, Any]

FOLDER = locate.REPOSITORY / "fixtures" / "trees"
SUFFIX = ".tree.json"
SCHEMA = "pxar-vector-tree/1"

#: Limits that every Linux file system keeps to (XFS has the shortest targets).
NAME_MAX, TARGET_MAX, SECONDS_MAX = 255, 1000, 2**31 - 1
TIME = 1_600_000_000
MASK64 = 2**64 - 1

TYPE_BITS = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK}
FS_IOC_SETFLAGS = 0x40086602
#: Flag of a stat record (bench/spec/pxar.md 6) -> chattr flag; those that a file's owner may set.
OWNERS_FLAGS = {0x20000: 0x80, 0x100000: 0x40, 0x800000: 0x8}
#: Tags of the kernel's ACL format, in the order in which it wants them.
ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER, NO_ID = 1, 2, 4, 8, 16, 32, 0xFFFFFFFF


class NotHere(Exception):
    """This file system, or this user, cannot have the tree; the text says what is missing."""


def names() -> list[str]:
    return sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))


def path_of(name: str) -> Path:
    return FOLDER / f"{name}{SUFFIX}"


def load(name: str) -> Json:
    tree: Json = json.loads(path_of(name).read_bytes())
    return tree


def text_bytes(entry: Json, key: str) -> bytes:
    """KEY as a string, or KEY_b64."""
    return str(entry[key]).encode() if key in entry else base64.b64decode(entry[f"{key}_b64"])


@lru_cache(maxsize=2048)
def _splitmix64(seed: int, size: int) -> bytes:
    words, x = [], seed
    for _ in range((size + 7) // 8):
        x = (x + 0x9E3779B97F4A7C15) & MASK64
        z = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK64
        words.append(z ^ (z >> 31))
    return struct.pack(f"<{len(words)}Q", *words)[:size]


def content_bytes(content: Json) -> bytes:
    match content["kind"]:
        case "empty":
            return b""
        case "b64":
            return base64.b64decode(content["data"])
        case "repeat":
            pattern, size = base64.b64decode(content["pattern_b64"]), int(content["size"])
            return (pattern * (size // len(pattern) + 1))[:size]
        case "splitmix64":
            return _splitmix64(int(content["seed"]), int(content["size"]))
    raise ValueError(f"no such kind of contents: {content['kind']}")


def entries(tree: Json) -> Iterator[tuple[bytes, Json]]:
    """(path without a leading slash, entry) of all but the root, directories before what is in them."""

    def below(path: bytes, entry: Json) -> Iterator[tuple[bytes, Json]]:
        for child in sorted(entry.get("entries", ()), key=lambda e: text_bytes(e, "name")):
            name = text_bytes(child, "name")
            full = path + b"/" + name if path else name
            yield full, child
            yield from below(full, child)

    yield from below(b"", tree["root"])


def contents(tree: Json) -> Iterator[bytes]:
    """Of all files, and the foreign bytes between them."""
    for _, entry in entries(tree):
        for key in ("content", "payload_pad_before"):
            if key in entry:
                yield content_bytes(entry[key])


# ---- what fits on a disk ----


def on_disk(tree: Json) -> Json:
    """The part of a manifest that any user can make on any Linux file system, as it will be there."""
    kept: set[bytes] = set()

    def fits(entry: Json, path: bytes) -> bool:
        kind = entry["type"]
        if len(text_bytes(entry, "name")) > NAME_MAX:
            return False
        if kind == "symlink":
            return 0 < len(text_bytes(entry, "target")) <= TARGET_MAX
        if kind == "hardlink":
            return text_bytes(entry, "target") in kept
        return kind in TYPE_BITS

    def take(entry: Json, path: bytes) -> Json:
        kind = entry.get("type", "dir")
        out = {key: entry[key] for key in ("name", "name_b64", "type", "target", "target_b64", "content") if key in entry}
        if kind == "hardlink":
            return out
        mode = 0o777 if kind == "symlink" else int(entry["mode"], 8) | (0o700 if kind == "dir" else 0o400)
        seconds, nanoseconds = entry["mtime"]
        out |= {"mode": f"{mode:04o}", "uid": 0, "gid": 0}
        out["mtime"] = [seconds if 0 <= seconds <= SECONDS_MAX else TIME, nanoseconds]
        if kind == "file":
            kept.add(path)
        if kind == "dir":
            out["entries"] = []
            for child in sorted(entry.get("entries", ()), key=lambda e: text_bytes(e, "name")):
                below = path + b"/" + text_bytes(child, "name") if path else text_bytes(child, "name")
                if fits(child, below):
                    out["entries"].append(take(child, below))
        return out

    root = take({"type": "dir", **tree["root"]}, b"")
    del root["type"]
    return {"schema": SCHEMA, "name": tree["name"], "root": root}


def attributes() -> Json:
    """What archives keep beside the stat record and an owner may set: flags, extended attributes, ACLs."""
    base = {"mode": "0640", "uid": 0, "gid": 0, "mtime": [TIME, 5]}

    def file(name: str, **more: Any) -> Json:
        return {"name": name, "type": "file", **base, "content": {"kind": "splitmix64", "seed": 6, "size": 200}, **more}

    value = {"name": "user.pxarbench", "value_b64": base64.b64encode(bytes(range(40))).decode()}
    default = {"user_obj": 7, "group_obj": 5, "other": 0, "mask": 7}
    found = [
        file("acl", acl={"users": [{"id": 0, "perm": 6}], "groups": [{"id": 0, "perm": 4}], "group_obj": 4}),
        {"name": "directory", "type": "dir", **base, "mode": "0750", "flags": 0x100000, "entries": [],
         "acl": {"default": default, "default_users": [{"id": 0, "perm": 5}]}},
        *(file(f"flag-{flag:x}", flags=flag) for flag in OWNERS_FLAGS),
        file("flags-all", flags=sum(OWNERS_FLAGS)),
        file("xattr", xattrs=[value]),
        file("xattr-empty", xattrs=[{"name": "user.empty", "value_b64": ""}]),
    ]  # fmt: skip
    return {"schema": SCHEMA, "name": "attributes", "root": {"mode": "0755", **base, "entries": found}}


# ---- changes ----

LATER = 60


def _at(tree: Json, path: str) -> tuple[list[Json], int]:
    """The list that an entry is in, and its place."""
    *folders, name = path.split("/")
    inside: list[Json] = tree["root"]["entries"]
    for folder in folders:
        inside = next(e for e in inside if e["name"] == folder)["entries"]
    return inside, next(i for i, e in enumerate(inside) if e["name"] == name)


def _edit(entry: Json) -> None:
    """Other contents of the same size, and a later mtime: nothing that only one of the two would show."""
    entry["content"] = {**entry["content"], "seed": entry["content"]["seed"] + 1_000_000}
    entry["mtime"] = [entry["mtime"][0] + LATER, 1]


def unchanged(tree: Json) -> None:
    pass


def edited(tree: Json) -> None:
    inside, at = _at(tree, "d/n14")
    _edit(inside[at])


def touched(tree: Json) -> None:
    """A large file's time alone."""
    inside, at = _at(tree, "e-end")
    inside[at]["mtime"] = [TIME + LATER, 2]


def grown(tree: Json) -> None:
    inside, at = _at(tree, "b/n2")
    _edit(inside[at])
    inside[at]["content"]["size"] += 5000


def removed(tree: Json) -> None:
    inside, at = _at(tree, "d/n14")
    del inside[at]


def renamed(tree: Json) -> None:
    inside, at = _at(tree, "d/n14")
    inside[at]["name"] = "n14-renamed"


def added(tree: Json) -> None:
    inside, at = _at(tree, "d/n14")
    new = copy.deepcopy(inside[at])
    new["name"] = "n14-added"
    _edit(new)
    inside.insert(at + 1, new)


def half(tree: Json) -> None:
    """Every second of the small files at the end."""
    inside, _ = _at(tree, "d/n14")
    for entry in inside[::2]:
        _edit(entry)


CHANGES: dict[str, Callable[[Json], None]] = {
    change.__name__: change for change in (unchanged, edited, touched, grown, removed, renamed, added, half)
}


def changed(tree: Json, change: str) -> Json:
    new = copy.deepcopy(tree)
    CHANGES[change](new)
    return new


# ---- making it ----


def make(tree: Json, root: Path) -> None:
    """`root` must not exist. NotHere: this file system takes something else than the manifest says."""
    top = os.fsencode(root)
    every = [(b"", {"type": "dir", **tree["root"]}), *entries(tree)]
    own = (os.geteuid(), os.getegid())
    for path, entry in every:
        full = os.path.join(top, path) if path else top
        kind = entry["type"]
        if kind == "dir":
            os.mkdir(full, 0o700)
        elif kind == "file":
            with open(full, "xb") as file:
                file.write(content_bytes(entry["content"]))
        elif kind == "symlink":
            os.symlink(text_bytes(entry, "target"), full)
        elif kind == "hardlink":
            os.link(os.path.join(top, text_bytes(entry, "target")), full)
        else:
            os.mknod(full, TYPE_BITS[kind] | 0o600)
    for path, entry in reversed(every):  # what is in a directory before the directory itself: its mtime comes last
        if entry["type"] == "hardlink":
            continue
        full = os.path.join(top, path) if path else top
        os.chown(full, *own, follow_symlinks=False)
        if entry["type"] != "symlink":
            os.chmod(full, int(entry["mode"], 8))
            _set_extras(full, entry)
        seconds, nanoseconds = entry["mtime"]
        ns = seconds * 10**9 + nanoseconds
        os.utime(full, ns=(ns, ns), follow_symlinks=False)
        _set_and_check_flags(full, entry)
        if os.lstat(full).st_mtime_ns != ns:
            raise NotHere("the file system keeps other times than it was given")


def _named(tag: int, named: list[Json], own: int) -> list[tuple[int, int, int]]:
    return [(tag, one["perm"], own if one["id"] == 0 else one["id"]) for one in named]


def _set_extras(path: bytes, entry: Json) -> None:
    acl, mode = entry.get("acl", {}), int(entry["mode"], 8)
    values = {}
    if "group_obj" in acl:
        rows = [(ACL_USER_OBJ, mode >> 6 & 7, NO_ID), *_named(ACL_USER, acl.get("users", []), os.geteuid()),
                (ACL_GROUP_OBJ, acl["group_obj"], NO_ID), *_named(ACL_GROUP, acl.get("groups", []), os.getegid()),
                (ACL_MASK, mode >> 3 & 7, NO_ID), (ACL_OTHER, mode & 7, NO_ID)]  # fmt: skip
        values["system.posix_acl_access"] = rows
    if "default" in acl:
        given = acl["default"]
        rows = [(ACL_USER_OBJ, given["user_obj"], NO_ID), *_named(ACL_USER, acl.get("default_users", []), os.geteuid()),
                (ACL_GROUP_OBJ, given["group_obj"], NO_ID), (ACL_MASK, given["mask"], NO_ID),
                (ACL_OTHER, given["other"], NO_ID)]  # fmt: skip
        values["system.posix_acl_default"] = rows
    pairs = {name: struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows) for name, rows in values.items()}
    pairs |= {one["name"]: base64.b64decode(one["value_b64"]) for one in entry.get("xattrs", ())}
    for name, value in pairs.items():
        try:
            os.setxattr(path, name, value)
        except OSError as error:
            raise NotHere(f"the file system takes no {name}: {error.strerror}") from None


def _set_and_check_flags(path: bytes, entry: Json) -> None:
    """Also that a file without flags got none from the folder it is in, nor attributes that archives keep."""
    if entry["type"] not in ("file", "dir"):
        return
    wanted = sum(bit for stored, bit in OWNERS_FLAGS.items() if entry.get("flags", 0) & stored)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            (present,) = struct.unpack("I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))[:4])
            if wanted:
                fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("Q", present | wanted))
                (present,) = struct.unpack("I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))[:4])
        except OSError as error:
            if wanted or error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise NotHere(f"the file system takes no flags: {error.strerror}") from None
            return
    finally:
        os.close(fd)
    if present & CHATTR_FLAGS != wanted:
        raise NotHere(f"files have the flags {present & CHATTR_FLAGS:#x} instead of {wanted:#x}")
