"""fixtures/trees/: each manifest becomes the archives of golden.json, by the model and by the program; read back, they say
what the manifest says. Nothing of it needs root."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fixture_trees as trees
import pxar_model as model
import pytest

from pxarbench_harness import run

Cli = Callable[..., run.Result]
Json = dict[str, Any]

NAMES = trees.names()
NOBODY = 65534
FOLDER_BYTES_MAX = 600_000


@pytest.fixture(scope="session")
def archives() -> Callable[[str], trees.Archives]:
    made: dict[str, trees.Archives] = {}

    def get(name: str) -> trees.Archives:
        if name not in made:
            made[name] = trees.by_model(trees.load(name))
        return made[name]

    return get


Get = Callable[[str], trees.Archives]


def encode(cli: Cli, name: str, directory: Path) -> dict[str, bytes]:
    tree, paths = trees.manifest_path(name), {kind: directory / f"x.{kind}" for kind in ("mpxar", "ppxar", "pxar")}
    cli("pxar", "encode", tree, paths["mpxar"], "--payload-output", paths["ppxar"]).check_ok()
    cli("pxar", "encode", tree, paths["pxar"]).check_ok()
    return {kind: path.read_bytes() for kind, path in paths.items()}


# ---- the model, the program, the stored digests ----


def test_every_tree_has_its_digests() -> None:
    assert sorted(trees.golden()) == NAMES and len(NAMES) >= 10
    assert sum(path.stat().st_size for path in trees.FOLDER.iterdir()) < FOLDER_BYTES_MAX


@pytest.mark.parametrize("name", NAMES)
def test_the_model_makes_the_golden_archives(name: str, archives: Get) -> None:
    assert trees.summary(archives(name)) == trees.golden()[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_program_makes_the_golden_archives(name: str, archives: Get, cli: Cli, tmp_path: Path) -> None:
    made = encode(cli, name, tmp_path)
    found = [trees.difference(archives(name), kind, data) for kind, data in made.items()]
    assert not any(found), "\n".join(text for text in found if text)
    # Byte for byte as the model; and the model alone is not the judge.
    assert trees.summary(trees.Archives(**made)) == trees.golden()[name]


def test_a_difference_is_shown_with_its_entry(archives: Get) -> None:
    expected = archives("types")
    at = expected.mpxar.index(b"../a-file")
    shown = trees.difference(expected, "mpxar", expected.mpxar[:at] + b"??" + expected.mpxar[at + 2 :])
    assert shown and f"offset {at} (SYMLINK at {at - 16} of /d-dir/link)" in shown and " 3f 3f 2f 61 " in shown
    shown = trees.difference(expected, "ppxar", expected.ppxar[:40])
    assert shown and "offset 40 (the block of /a-file at 16); 438 bytes expected, 40 found" in shown


# ---- read back ----


def without_offsets(tree: Json, *, split: bool, contents: bool) -> list[Json]:
    """What a dump must say, by the manifest alone."""
    lines: list[Json] = []
    if split:
        lines.append({"kind": "version", "version": 2})
        if "prelude_b64" in tree:
            lines.append({"kind": "prelude", "data_b64": tree["prelude_b64"]})
    for path, entry in trees.in_archive_order(tree):
        line = {"kind": entry["type"], **text("path", path)}
        if entry["type"] in ("symlink", "hardlink"):
            line.update(text("target", model.text_bytes(entry, "target")))
        if entry["type"] == "hardlink":
            lines.append(line)
            continue
        line["mode"] = f"{model.TYPE_BITS[entry['type']] | int(entry['mode'], 8):07o}"
        line["flags"] = entry.get("flags", 0)
        for key in ("uid", "gid", "mtime", "major", "minor", "fcaps_b64", "quota_project_id"):
            if key in entry:
                line[key] = entry[key]
        if entry.get("xattrs"):
            line["xattrs"] = entry["xattrs"]
        acl = access_control(entry.get("acl", {}))
        if acl:
            line["acl"] = acl
        if entry["type"] == "file":
            content = model.content_bytes(entry["content"])
            line["size"] = len(content)
            if contents:
                line["sha256"] = hashlib.sha256(content).hexdigest()
        lines.append(line)
    return lines


def text(key: str, data: bytes) -> Json:
    try:
        return {key: data.decode()}
    except UnicodeDecodeError:
        return {f"{key}_b64": base64.b64encode(data).decode()}


def access_control(acl: Json) -> Json:
    out: Json = {}
    for key in ("users", "groups", "default_users", "default_groups"):
        if acl.get(key):
            out[key] = sorted(acl[key], key=lambda e: (e["id"], e["perm"]))
    out.update({key: acl[key] for key in ("group_obj", "default") if key in acl})
    return out


def take_offsets(lines: list[Json]) -> list[Json]:
    """Removes the offsets from each line and returns them."""
    keys = ("filename_offset", "entry_offset", "payload_offset", "link_offset")
    return [{key: line.pop(key) for key in keys if key in line} for line in lines]


def check_offsets(archive: bytes, payload: bytes | None, entries: list[tuple[bytes, Json]], offsets: list[Json]) -> None:
    """At each offset stands what the line says it to be."""
    filenames: dict[bytes, int] = {}
    for (path, entry), found in zip(entries, offsets, strict=True):
        left = dict(found)
        if path != b"/":
            at = filenames[path] = left.pop("filename_offset")
            record = model.item(model.FILENAME, trees.name_of(entry) + b"\0")
            assert archive[at : at + len(record)] == record, path
            assert entry["type"] == "hardlink" or left["entry_offset"] == at + len(record), path
        if entry["type"] == "hardlink":
            target = filenames[b"/" + model.text_bytes(entry, "target")]
            assert left.pop("link_offset") == filenames[path] - target, path
        else:
            at = left.pop("entry_offset")
            assert archive[at : at + 16] == struct.pack("<QQ", model.ENTRY, 56), path
        if entry["type"] == "file" and payload is not None:  # in a unified archive it is where the items end
            block, at = model.item(model.PAYLOAD, model.content_bytes(entry["content"])), left.pop("payload_offset")
            assert payload[at : at + len(block)] == block, path
        assert not left, path


def check_dump(tree: Json, archive: bytes, payload: bytes | None, dump: bytes, *, split: bool, contents: bool) -> None:
    found = [json.loads(line) for line in dump.splitlines()]
    offsets = take_offsets(found)
    expected = without_offsets(tree, split=split, contents=contents)
    for line, wanted in zip(found, expected, strict=False):
        assert line == wanted
    assert len(found) == len(expected)
    entries = list(trees.in_archive_order(tree))
    check_offsets(archive, payload, entries, offsets[len(offsets) - len(entries) :])


@pytest.mark.parametrize("name", NAMES)
def test_dumps_say_what_the_manifest_says(name: str, archives: Get, cli: Cli, tmp_path: Path) -> None:
    tree, expected = trees.load(name), archives(name)
    paths = {kind: tmp_path / f"x.{kind}" for kind in expected.parts()}
    for kind, path in paths.items():
        path.write_bytes(expected.parts()[kind])  # the model's: reading is tried apart from writing
    split = cli("pxar", "dump", paths["mpxar"], "--payload-input", paths["ppxar"]).check_ok().stdout
    check_dump(tree, expected.mpxar, expected.ppxar, split, split=True, contents=True)
    alone = cli("pxar", "dump", paths["mpxar"]).check_ok().stdout
    check_dump(tree, expected.mpxar, expected.ppxar, alone, split=True, contents=False)
    unified = cli("pxar", "dump", paths["pxar"]).check_ok().stdout
    check_dump(tree, expected.pxar, None, unified, split=False, contents=True)


# ---- without root ----


@pytest.fixture(scope="module")
def unprivileged(pxarbench: Path) -> Iterator[tuple[Path, Cli]]:
    """A directory and a way to run the program there as somebody who is not root."""
    with tempfile.TemporaryDirectory(prefix="pxarbench-trees-") as name:
        directory = Path(name)
        # The build and the checkout may lie where only root can look.
        program = shutil.copy2(pxarbench, directory / "pxarbench")
        for tree in NAMES:
            shutil.copy(trees.manifest_path(tree), directory)
        words: list[str] = []
        if os.geteuid() == 0:
            if shutil.which("setpriv") is None:
                pytest.skip("there is no program setpriv to stop being root")
            for path in [directory, *directory.iterdir()]:
                os.chown(path, NOBODY, NOBODY)
            words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

        def call(*more: str | Path) -> run.Result:
            return run.run([*words, program, *more], cwd=directory)

        yield directory, call


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_it_needs_root(name: str, unprivileged: tuple[Path, Cli]) -> None:
    directory, call = unprivileged
    paths = {kind: directory / f"{name}.{kind}" for kind in ("mpxar", "ppxar", "pxar")}
    call("pxar", "encode", f"{name}{trees.SUFFIX}", paths["mpxar"], "--payload-output", paths["ppxar"]).check_ok()
    call("pxar", "encode", f"{name}{trees.SUFFIX}", paths["pxar"]).check_ok()
    made = trees.Archives(**{kind: path.read_bytes() for kind, path in paths.items()})
    assert trees.summary(made) == trees.golden()[name]
    if os.geteuid() == 0:
        assert {path.stat().st_uid for path in paths.values()} == {NOBODY}
    dump = call("pxar", "dump", paths["mpxar"], "--payload-input", paths["ppxar"]).check_ok().stdout
    check_dump(trees.load(name), made.mpxar, made.ppxar, dump, split=True, contents=True)


# ---- what the trees hold together ----


def all_entries() -> Iterator[tuple[bytes, Json]]:
    for name in NAMES:
        yield from trees.in_archive_order(trees.load(name))


def test_together_the_trees_hold_every_kind_of_entry_and_attribute() -> None:
    entries = [entry for _, entry in all_entries()]
    assert {entry["type"] for entry in entries} == {*model.TYPE_BITS, "hardlink"}
    flags = {entry.get("flags", 0) for entry in entries}
    assert {1 << bit for bit in range(13, 26)} <= flags and flags & {1, 2**63} and model.MASK64 in flags
    acls = [entry["acl"] for entry in entries if "acl" in entry]
    for key in ("users", "groups", "default_users", "default_groups"):
        lists = [acl[key] for acl in acls if acl.get(key)]
        assert any(entries != sorted(entries, key=lambda e: (e["id"], e["perm"])) for entries in lists), key
    assert any("group_obj" in acl for acl in acls)
    unset = {key for acl in acls for key, value in acl.get("default", {}).items() if value is None}
    assert unset == {"user_obj", "group_obj", "other", "mask"}
    assert {entry.get("fcaps_b64", "")[:8] for entry in entries} >= {"AQAAAgAg", "AQAAAwAg"}  # revisions 2 and 3
    assert {entry.get("quota_project_id") for entry in entries} >= {1, model.MASK64}
    assert {entry["uid"] for entry in entries if "uid" in entry} >= {0, 2**32 - 1}
    times = {tuple(entry["mtime"]) for entry in entries if "mtime" in entry}
    assert {(-(2**63), 0), (2**63 - 1, 999999999), (-1, 999999999), (0, 0)} <= times
    values = [len(value["value_b64"]) * 3 // 4 for entry in entries for value in entry.get("xattrs", ())]
    assert min(values) == 0 and max(values) >= 65535
    assert any("name_b64" in value for entry in entries for value in entry.get("xattrs", ()))


def test_together_the_trees_hold_every_shape() -> None:
    all_of_them = [trees.load(name) for name in NAMES]
    names = [trees.name_of(entry) for path, entry in all_entries() if path != b"/"]
    assert {1, 255, 4096} <= {len(name) for name in names}
    assert any("name_b64" in entry for _, entry in all_entries()) and any(b"\n" in name for name in names)
    counts = {len(entry["entries"]) for _, entry in all_entries() if entry["type"] == "dir"}
    assert set(range(21)) | {1000} <= counts
    assert max(path.count(b"/") for path, _ in all_entries()) > 40
    assert any("prelude_b64" in tree for tree in all_of_them)
    padded = {
        (path, n)
        for n, tree in enumerate(all_of_them)
        for path, entry in trees.in_archive_order(tree)
        if "payload_pad_before" in entry
    }
    linked = {
        (b"/" + model.text_bytes(entry, "target"), n)
        for n, tree in enumerate(all_of_them)
        for _, entry in trees.in_archive_order(tree)
        if entry["type"] == "hardlink"
    }
    assert padded & linked
    sizes = {len(model.content_bytes(e["content"])) for e in trees.load("sizes")["root"]["entries"][0]["entries"]}
    assert {4095, 4096, 4097, 65535, 65536, 65537} <= sizes


# ---- golden.json ----


def test_golden_json_is_written_by_the_model_alone(tmp_path: Path) -> None:
    """In a copy without a program anywhere near; the result is the file that is there."""
    copy = tmp_path / "copy"
    (copy / "harness" / "tests").mkdir(parents=True)
    for module in ("fixture_trees.py", "pxar_model.py"):
        shutil.copy(Path(trees.__file__).with_name(module), copy / "harness" / "tests")
    shutil.copytree(trees.FOLDER, copy / "fixtures" / "trees")
    script, golden = copy / "harness" / "tests" / "fixture_trees.py", copy / "fixtures" / "trees" / "golden.json"

    def write() -> str:
        return run.run([sys.executable, script, "--write"], env={"PATH": ""}).check_ok().text

    assert write() == "nothing changed\n"
    assert golden.read_bytes() == trees.GOLDEN.read_bytes()
    tree = copy / "fixtures" / "trees" / "empty-root.tree.json"
    tree.write_text(tree.read_text().replace('"1777"', '"0700"'))
    (copy / "fixtures" / "trees" / "prelude.tree.json").unlink()
    assert write() == "empty-root: changed\nprelude: gone\n"
    assert golden.read_bytes() != trees.GOLDEN.read_bytes()
