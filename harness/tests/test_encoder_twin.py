"""Two encoders made apart from each other, the program's and pxar_model.py, given the same random manifests: the same bytes.

A manifest is grown from a seed and a number of entries, so that an example costs little and a failure shrinks to few entries.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fixture_trees as trees
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxarbench_harness import run

Json = dict[str, Any]

EXAMPLES = 100
ENTRIES_MAX = 60

U32, U64 = 2**32 - 1, 2**64 - 1
#: Where fields change their look.
MARKS = (0, 1, 7, 8, 127, 128, 255, 256, 65534, 65535, 2**31 - 1, 2**31, U32, 2**32, 2**63 - 1, 2**63, U64 - 1, U64)
#: Bytes that sort, escape or hash unlike letters.
ODD_BYTES = b"ab.-_ A0\n\x01\x7f\x80\xc3\xa4\xff\\\""


def text(key: str, data: bytes) -> Json:
    try:
        return {key: data.decode()}
    except UnicodeDecodeError:
        return {f"{key}_b64": base64.b64encode(data).decode()}


class Gardener:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def number(self, top: int) -> int:
        if self.rng.random() < 0.6:
            return self.rng.choice([mark for mark in MARKS if mark <= top])
        return self.rng.randint(0, top)

    def bytes(self, size_max: int) -> bytes:
        size = self.rng.randint(0, size_max)
        if self.rng.random() < 0.5:
            return bytes(self.rng.choice(ODD_BYTES) for _ in range(size))
        return bytes(self.rng.randint(1, 255) for _ in range(size))

    def encoded(self, size_max: int) -> str:
        return base64.b64encode(self.rng.randbytes(self.rng.randint(0, size_max))).decode()

    def name(self) -> bytes:
        name = self.bytes(10).replace(b"/", b"") or b"n"
        name = (name * 4096)[: self.rng.choice([255, 256, 4095, 4096])] if self.rng.random() < 0.02 else name
        return b"n" if name in (b".", b"..") else name

    def maybe(self, chance: float = 0.3) -> bool:
        return self.rng.random() < chance

    # ---- attributes ----

    def perm(self) -> int:
        return self.number(U64) if self.maybe() else self.rng.randint(0, 7)

    def acl(self) -> Json:
        out: Json = {}
        for key in ("users", "groups", "default_users", "default_groups"):
            if self.maybe():
                few = [self.number(U64) for _ in range(3)]  # the same id more than once
                out[key] = [{"id": self.rng.choice(few), "perm": self.perm()} for _ in range(self.rng.randint(0, 6))]
        if self.maybe():
            out["group_obj"] = self.perm()
        if self.maybe():
            keys = ("user_obj", "group_obj", "other", "mask")
            out["default"] = {key: None if self.maybe() else self.perm() for key in keys}
        return out

    def mtime(self) -> list[int]:
        seconds = self.rng.choice([self.rng.randint(-(2**63), 2**63 - 1), self.rng.randint(-2, 2_000_000_000), -(2**63)])
        return [seconds, self.rng.choice([0, 999_999_999, self.rng.randint(0, 999_999_999)])]

    def attributes(self) -> Json:
        out: Json = {"mode": f"{self.rng.randint(0, 0o7777):04o}", "uid": self.number(U32), "gid": self.number(U32)}
        out["mtime"] = self.mtime()
        if self.maybe():
            out["flags"] = self.rng.choice([1 << self.rng.randint(0, 63), self.number(U64)])
        if self.maybe():
            xattrs = ((b"user." + self.bytes(20), self.encoded(60)) for _ in range(self.rng.randint(0, 5)))
            out["xattrs"] = [{**text("name", name), "value_b64": value} for name, value in xattrs]
        if self.maybe():
            out["acl"] = self.acl()
        if self.maybe(0.15):
            out["fcaps_b64"] = self.encoded(30)
        if self.maybe(0.2):
            out["quota_project_id"] = self.number(U64)
        return out

    # ---- entries ----

    def content(self) -> Json:
        kind = self.rng.choice(["empty", "b64", "repeat", "splitmix64"])
        if kind == "b64":
            return {"kind": kind, "data": self.encoded(60)}
        if kind == "repeat":
            pattern = base64.b64encode(self.rng.randbytes(self.rng.randint(1, 9))).decode()
            size = self.rng.choice([self.rng.randint(0, 40), self.rng.choice([4095, 4096, 4097, 65535, 65536, 65537])])
            return {"kind": kind, "pattern_b64": pattern, "size": size}
        if kind == "splitmix64":
            return {"kind": kind, "seed": self.number(U64), "size": self.rng.randint(0, 700)}
        return {"kind": "empty"}

    def entry(self, kind: str) -> Json:
        if kind == "hardlink":
            return {"type": kind}  # its target is chosen at the end
        out = {"type": kind, **self.attributes()}
        if kind == "dir":
            out["entries"] = []
        elif kind == "file":
            out["content"] = self.content()
            if self.maybe(0.2):
                out["payload_pad_before"] = self.content()
        elif kind == "symlink":
            out.update(text("target", self.bytes(40)))
        elif kind in ("chardev", "blockdev"):
            out.update(major=self.number(U64), minor=self.number(U64))
        return out

    def link(self, root: Json) -> None:
        """Gives every hardlink one of the files before it; where there is none, it becomes a FIFO."""
        before: list[bytes] = []
        for path, entry in list(trees.in_archive_order({"root": root})):
            if entry["type"] == "file":
                if len(path[1:]) <= 4096:  # what a link can name
                    before.append(path[1:])
            elif entry["type"] == "hardlink" and before:
                entry.update(text("target", self.rng.choice(before)))
            elif entry["type"] == "hardlink":
                entry.update(self.entry("fifo"))

    def manifest(self, entry_count: int) -> Json:
        root = self.entry("dir")
        kinds = ["file"] * 3 + ["dir"] * 3 + ["hardlink"] * 2 + ["symlink", "fifo", "socket", "chardev", "blockdev"]
        folders, taken = [root], {(0, b"")}
        for _ in range(entry_count):
            # The newest folder often: deep trees; the root often: wide ones.
            place = self.rng.choice([0, len(folders) - 1, self.rng.randrange(len(folders))])
            name = self.name()
            if (place, name) in taken:
                continue
            taken.add((place, name))
            entry = {**text("name", name), **self.entry(self.rng.choice(kinds))}
            folders[place]["entries"].append(entry)
            if entry["type"] == "dir":
                folders.append(entry)
        self.link(root)
        prelude = {"prelude_b64": self.encoded(40)} if self.maybe() else {}
        return {"schema": "pxar-vector-tree/1", "name": "random", "root": root} | {k: v for k, v in prelude.items() if v}


# ---- tests ----

Differences = Callable[[Json], Iterator[str]]


@pytest.fixture(scope="module")
def differences(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> Differences:
    folder = tmp_path_factory.mktemp("twin")

    def find(tree: Json) -> Iterator[str]:
        manifest, paths = folder / "x.tree.json", {kind: folder / f"x.{kind}" for kind in ("mpxar", "ppxar", "pxar")}
        manifest.write_text(json.dumps(tree))
        for path in paths.values():
            path.unlink(missing_ok=True)
        words: list[str | Path] = [pxarbench, "pxar", "encode", manifest]
        run.run([*words, paths["mpxar"], "--payload-output", paths["ppxar"]]).check_ok()
        run.run([*words, paths["pxar"]]).check_ok()
        expected = trees.by_model(tree)
        for kind, path in paths.items():
            found = trees.difference(expected, kind, path.read_bytes())
            if found:
                yield found

    return find


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, U64), entry_count=st.integers(0, ENTRIES_MAX))
def test_both_make_the_same_archives_of_any_tree(differences: Differences, seed: int, entry_count: int) -> None:
    found = list(differences(Gardener(seed).manifest(entry_count)))
    assert not found, "\n".join(found)


def test_random_trees_hold_every_kind_of_entry_and_attribute() -> None:
    kinds: set[str] = set()
    keys: set[str] = set()
    for seed in range(20):
        tree = Gardener(seed).manifest(ENTRIES_MAX)
        keys.update(tree)
        for _, entry in trees.in_archive_order(tree):
            kinds.add(entry["type"])
            keys.update(entry, entry.get("acl", {}), (key for value in entry.get("xattrs", ()) for key in value))
    assert kinds == {"dir", "file", "symlink", "hardlink", "fifo", "socket", "chardev", "blockdev"}
    assert keys >= {"prelude_b64", "flags", "xattrs", "fcaps_b64", "quota_project_id", "payload_pad_before", "name_b64", "target"}
    assert keys >= {"users", "groups", "group_obj", "default", "default_users", "default_groups", "value_b64"}
