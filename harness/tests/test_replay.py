"""Replaying what really happened: versions of a dataset, revisions of git, recorded traces. And going back from any point."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pxarbench_harness import run, tree
from pxarbench_harness.mutate import MutationFailed, NotAvailable, apply, history, oplog, parse, undo, wholly
from pxarbench_harness.tree import Tree, differences, scan

SECOND = 1_000_000_000
OLD, NEW = 1_500_000_000, 1_600_000_000


def write(path: Path, contents: bytes, seconds: int = OLD, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
    path.chmod(mode)
    os.utime(path, (seconds, seconds))


def settle(root: Path, seconds: int = OLD) -> None:
    for path in sorted([root, *(p for p in root.rglob("*") if p.is_dir())], reverse=True):
        path.chmod(0o755)
        os.utime(path, (seconds, seconds))


def plant(root: Path) -> Tree:
    write(root / "kept", b"stays")
    write(root / "changed", b"first")
    write(root / "gone", b"goes")
    write(root / "becomes-folder", b"a file")
    write(root / "folder" / "inside", b"deep")
    write(root / "moves" / "away", b"moved")
    write(root / "script", b"#!", mode=0o755)
    write(root / "one", b"linked")
    os.link(root / "one", root / "two")
    write(root / "folder" / "first", b"met first by a walk")
    os.link(root / "folder" / "first", root / "folder-later")
    (root / "link").symlink_to("kept")
    os.utime(root / "link", (OLD, OLD), follow_symlinks=False)
    settle(root)
    return scan(root)


def next_version(root: Path) -> Tree:
    """What a step leads to, made by hand."""
    write(root / "changed", b"second, longer", NEW)
    write(root / "folder" / "first", b"met first, and changed", NEW)
    (root / "gone").unlink()
    (root / "becomes-folder").unlink()
    write(root / "becomes-folder" / "now", b"inside", NEW)
    write(root / "folder" / "new", b"came", NEW)
    os.rename(root / "moves", root / "moved")
    (root / "script").chmod(0o644)
    (root / "two").unlink()
    write(root / "two", b"on its own", NEW)
    (root / "link").unlink()
    (root / "link").symlink_to("changed")
    os.utime(root / "link", (NEW, NEW), follow_symlinks=False)
    for folder in ("becomes-folder", "folder", "moved", "."):
        (root / folder).chmod(0o755)
        os.utime(root / folder, (NEW, NEW))
    return scan(root)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset's folder: a tree and one step, as datasets/steps.py describes them."""
    before = plant(tmp_path / "dataset" / "tree")
    shutil.copytree(tmp_path / "dataset" / "tree", tmp_path / "next", symlinks=True)
    (tmp_path / "next" / "two").unlink()
    os.link(tmp_path / "next" / "one", tmp_path / "next" / "two")
    (tmp_path / "next" / "folder-later").unlink()
    os.link(tmp_path / "next" / "folder" / "first", tmp_path / "next" / "folder-later")
    settle(tmp_path / "next")
    after = next_version(tmp_path / "next")
    step = tmp_path / "dataset" / "steps" / "01"
    files = 0
    size = 0
    for path, entry in after.entries.items():
        old = before.entries.get(path)
        if entry.kind == "file" and not entry.link_to and (old is None or old.kind != "file" or old.digest != entry.digest):
            to = step / "files" / os.fsdecode(path)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tmp_path / "next" / os.fsdecode(path), to)
            files, size = files + 1, size + entry.size
    manifest = {p: replace(e, inode=0, device=0, ctime_ns=0) for p, e in after.entries.items()}
    tree.save(Tree(before.root, manifest), step / "manifest.jsonl")
    values = {
        "schema": "pxarbench-step/1", "label": "v2", "source": "by hand", "digest": after.digest(), "previous": before.digest(),
        "added": 3, "deleted": 3, "changed": 2, "attributes": 1, "files": files, "files_bytes": size,
    }  # fmt: skip
    (step / "step.json").write_text(json.dumps(values))
    return tmp_path / "dataset"


def test_steps_lead_to_the_next_version_and_back(dataset: Path) -> None:
    before, log = scan(dataset / "tree"), dataset / "mutation.jsonl"
    done = apply(before, parse("replay:0..v2"), log)
    assert done.tree.digest() == json.loads((dataset / "steps/01/step.json").read_text())["digest"]
    changed = {change.path: change.content_changed for change in done.oracle.changes}
    assert changed[b"changed"] and changed[b"two"] and changed[b"folder/new"] and changed[b"moved/away"]
    assert not changed[b"script"] and b"kept" not in changed
    assert done.oracle.gone == {b"gone", b"becomes-folder", b"moves/away"}
    assert undo(log, dataset / "tree") == before.digest() == scan(dataset / "tree").digest()
    assert sorted(path.name for path in dataset.iterdir()) == ["steps", "tree"]


def test_what_stays_is_not_touched(dataset: Path) -> None:
    before = scan(dataset / "tree")
    done = apply(before, parse("replay:0..1"), dataset / "mutation.jsonl")
    for path in (b"kept", b"folder/inside", b"one"):
        old, new = before.entries[path], done.tree.entries[path]
        assert (old.inode, old.mtime_ns) == (new.inode, new.mtime_ns)
    assert done.tree.entries[b"changed"].inode != 0


class Killed(BaseException):
    pass


def test_going_back_from_any_point(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th change of the file system is the last one; then the same during the undoing."""
    root, log = dataset / "tree", dataset / "mutation.jsonl"
    before = scan(root)
    calls = ("unlink", "rmdir", "mkdir", "symlink", "link", "chmod", "chown", "utime")
    reached = 0
    for last in range(1, 60):
        with monkeypatch.context() as patch:
            left = [last]

            def dying(name: str, left: list[int] = left) -> Callable[..., None]:
                real = getattr(os, name)

                def call(*words: object, **more: object) -> None:
                    left[0] -= 1
                    if left[0] < 0:
                        raise Killed
                    real(*words, **more)

                return call

            for name in calls:
                patch.setattr(wholly.os, name, dying(name))
            try:
                apply(before, parse("replay:0..1"), log)
            except Killed:
                reached = last
        with monkeypatch.context() as patch:
            left = [last // 2]
            for name in calls:
                patch.setattr(wholly.os, name, dying(name, left))
            try:
                undo(log, root)
            except Killed:
                pass
        undo(log, root)
        assert differences(before, scan(root)) == [], last
        assert not log.exists()
        if reached < last:
            break
    assert reached > 10


@pytest.mark.parametrize(
    ("words", "why"),
    [("0..v3", "no version 'v3'"), ("1..0", "forward"), ("0", "expected replay:FROM..TO"), ("1..1", "forward")],
)
def test_no_such_way(dataset: Path, words: str, why: str) -> None:
    before = scan(dataset / "tree")
    with pytest.raises(NotAvailable, match=why):
        apply(before, parse(f"replay:{words}"), dataset / "mutation.jsonl")
    assert scan(dataset / "tree").digest() == before.digest()


def test_a_tree_that_is_elsewhere(dataset: Path) -> None:
    write(dataset / "tree" / "kept", b"other")
    with pytest.raises(NotAvailable, match="is not at version 0"):
        apply(scan(dataset / "tree"), parse("replay:0..1"), dataset / "mutation.jsonl")


def test_a_file_that_somebody_else_changed_meanwhile(dataset: Path) -> None:
    log = dataset / "mutation.jsonl"
    apply(scan(dataset / "tree"), parse("replay:0..1"), log)
    write(dataset / "tree" / "kept", b"not ours")
    with pytest.raises(Exception, match="kept: was changed by somebody else"):
        undo(log, dataset / "tree")
    assert (dataset / "tree" / "kept").read_bytes() == b"not ours"


def test_single_steps(dataset: Path) -> None:
    single = history.single_steps(parse("replay:0..v2"), scan(dataset / "tree"))
    assert [step.text for step in single] == ["replay:0..1"]


def test_a_tree_without_history(tmp_path: Path) -> None:
    before = plant(tmp_path / "tree")
    with pytest.raises(NotAvailable, match="has no history"):
        apply(before, parse("replay:0..1"), tmp_path / "mutation.jsonl")


# ---- git ----


def git(at: Path, *words: str, when: int = OLD) -> str:
    env = {
        "GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000", "GIT_AUTHOR_NAME": "x",
        "GIT_AUTHOR_EMAIL": "x@x", "GIT_COMMITTER_NAME": "x", "GIT_COMMITTER_EMAIL": "x@x", "GIT_CONFIG_GLOBAL": os.devnull,
    }  # fmt: skip
    return run.run(["git", "-C", at, *words], env=env).check_ok().text


def working_copy(root: Path) -> Tree:
    write(root / "kept", b"stays")
    write(root / "changed", b"first")
    write(root / "gone", b"goes")
    write(root / "folder" / "inside", b"deep")
    git(root, "init", "--quiet", "--template=", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "one")
    git(root, "tag", "v1")
    write(root / "changed", b"second")
    (root / "gone").unlink()
    write(root / "folder" / "new", b"#!/bin/sh", mode=0o755)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "two", when=NEW)
    git(root, "tag", "v2")
    git(root, "checkout", "-q", "--detach", "v1")
    git(root, "read-tree", "HEAD")
    shutil.rmtree(root / ".git" / "logs")
    for path in [root, *root.rglob("*")]:
        if path.is_file():
            path.chmod(0o644)
        os.utime(path, (OLD, OLD))
    settle(root)
    return scan(root)


@pytest.fixture(autouse=True)
def without_git(request: pytest.FixtureRequest) -> None:
    if "git" in request.node.name and shutil.which("git") is None:
        pytest.skip("git is not installed")


def test_git_checkout_and_back(tmp_path: Path) -> None:
    root, log = tmp_path / "tree", tmp_path / "mutation.jsonl"
    before = working_copy(root)
    done = apply(before, parse("replay:v1..v2"), log)
    work = {c.path for c in done.oracle.changes if not c.path.startswith(b".git/")}
    assert work == {b"changed", b"folder/new"}
    assert {p for p in done.oracle.gone if not p.startswith(b".git/")} == {b"gone"}
    entries = done.tree.entries
    assert {entries[p].mtime_ns for p in (b"changed", b"folder/new", b"folder", b".")} == {NEW * SECOND}
    assert entries[b"kept"].mtime_ns == OLD * SECOND and entries[b"folder/new"].mode == 0o755
    assert git(root, "status", "--porcelain") == "" and git(root, "rev-parse", "HEAD") == git(root, "rev-parse", "v2")
    git(root, "update-index", "-q", "--refresh")  # somebody looked: the index is another one, as it may happen to be
    assert undo(log, root) == before.digest() == scan(root).digest()


def test_git_gives_the_same_tree_whatever_umask_and_clock(tmp_path: Path) -> None:
    digests = set()
    for mask in (0o022, 0o077, 0o002):
        place = tmp_path / f"{mask:o}"
        place.mkdir()
        before = working_copy(place / "tree")
        old = os.umask(mask)
        try:
            digests.add(apply(before, parse("replay:v1..v2"), place / "mutation.jsonl").tree.digest())
        finally:
            os.umask(old)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("words", "why"), [("v1..v9", "no revision 'v9'"), ("v2..v1", "at another revision"), ("-x..v1", "'-x'")]
)
def test_git_without_such_a_revision(tmp_path: Path, words: str, why: str) -> None:
    with pytest.raises(NotAvailable, match=why):
        apply(working_copy(tmp_path / "tree"), parse(f"replay:{words}"), tmp_path / "mutation.jsonl")
    assert not (tmp_path / "mutation.jsonl").exists()


def test_git_single_steps(tmp_path: Path) -> None:
    before = working_copy(tmp_path / "tree")
    (step,) = history.single_steps(parse("replay:v1..v2"), before)
    assert apply(before, step, tmp_path / "mutation.jsonl").oracle.gone >= {b"gone"}


# ---- traces ----

TRACE = [
    {"schema": "pxarbench-trace/1"},
    {"op": "append", "path": "changed", "bytes": 100},
    {"op": "write", "path": "changed", "offset": 50, "bytes": 100},
    {"op": "truncate", "path": "kept", "size": 2},
    {"op": "create", "path": "folder/new", "bytes": 5000, "mode": "0600"},
    {"op": "append", "path": "folder/new", "bytes": 1},
    {"op": "mkdir", "path": "folder/more"},
    {"op": "symlink", "path": "folder/more/link", "target": "../new"},
    {"op": "rename", "path": "moves/away", "to": "gone"},
    {"op": "link", "path": "script", "to": "folder/script"},
    {"op": "chmod", "path": "becomes-folder", "mode": "0400", "mtime_ns": 5},
    {"op": "touch", "path": "folder/inside", "mtime_ns": -1},
]


def trace(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_trace_of_anybody(tmp_path: Path) -> None:
    before, log = plant(tmp_path / "tree"), tmp_path / "mutation.jsonl"
    file = trace(tmp_path / "trace.jsonl", TRACE)
    done = apply(before, parse(f"trace:{file}"), log)
    entries = done.tree.entries
    assert entries[b"changed"].size == 150 and entries[b"kept"].size == 2 and entries[b"folder/new"].size == 5001
    assert entries[b"gone"].digest == before.entries[b"moves/away"].digest and b"moves/away" not in entries
    assert entries[b"folder/inside"].mtime_ns == -1
    assert entries[b"becomes-folder"].mtime_ns == before.entries[b"becomes-folder"].mtime_ns
    assert entries[b"script"].link_to == b"folder/script" and entries[b"folder/more/link"].target == b"../new"
    first = done.tree.digest()
    assert undo(log, tmp_path / "tree") == before.digest() == scan(tmp_path / "tree").digest()
    again = apply(before, parse(f"trace:{file}"), log)
    assert again.tree.digest() == first and len(again.oracle.ops) >= len(TRACE) - 1


@pytest.mark.parametrize("op", ["link", "rename"])
def test_trace_that_moves_into_a_new_folder(tmp_path: Path, op: str) -> None:
    before, log = plant(tmp_path / "tree"), tmp_path / "mutation.jsonl"
    file = trace(tmp_path / "t", [{"op": "mkdir", "path": "new"}, {"op": op, "path": "script", "to": "new/script"}])
    apply(before, parse(f"trace:{file}"), log)
    assert undo(log, tmp_path / "tree") == before.digest() == scan(tmp_path / "tree").digest()


def test_log_of_the_harness_played_on_an_equal_tree(tmp_path: Path) -> None:
    first, second = plant(tmp_path / "first" / "tree"), plant(tmp_path / "second" / "tree")
    log = tmp_path / "first" / "mutation.jsonl"
    done = apply(first, parse("edit:50%:uniform"), log)
    played = apply(second, parse(f"trace:{log}"), tmp_path / "second" / "mutation.jsonl")
    assert played.tree.digest() == done.tree.digest() and played.mutation.operation == "trace"
    assert undo(tmp_path / "second" / "mutation.jsonl", tmp_path / "second" / "tree") == second.digest()
    write(tmp_path / "second" / "tree" / "kept", b"other")
    with pytest.raises(MutationFailed, match="another tree"):
        apply(scan(tmp_path / "second" / "tree"), parse(f"trace:{log}"), tmp_path / "second" / "mutation.jsonl")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"op": "append", "path": "nowhere", "bytes": 1}, "line 2: nowhere: is not there"),
        ({"op": "append", "path": "../kept", "bytes": 1}, "no plain path"),
        ({"op": "append", "path": "/kept", "bytes": 1}, "no plain path"),
        ({"op": "append", "path": "kept"}, "line 2: no or unknown 'bytes'"),
        ({"op": "fly", "path": "kept"}, "line 2: no or unknown 'fly'"),
        ({"op": "append", "path": "kept", "bytes": -1}, "bytes is -1"),
        ({"op": "truncate", "path": "kept", "size": 100}, "larger than 5"),
        ({"op": "write", "path": "kept", "offset": 6, "bytes": 1}, "would make a hole"),
        ({"op": "create", "path": "kept", "bytes": 1}, "is there already"),
        ({"op": "append", "path": "one", "bytes": 1}, "no regular file with one link"),
    ],
)
def test_bad_lines_of_a_trace(tmp_path: Path, line: dict[str, object], why: str) -> None:
    before = plant(tmp_path / "tree")
    file = trace(tmp_path / "t", [{"op": "touch", "path": "kept"}, line])
    with pytest.raises(MutationFailed, match=why):
        apply(before, parse(f"trace:{file}"), tmp_path / "mutation.jsonl")
    assert scan(tmp_path / "tree").digest() == before.digest() and not (tmp_path / "mutation.jsonl").exists()


def test_what_is_no_trace(tmp_path: Path) -> None:
    before = plant(tmp_path / "tree")
    (tmp_path / "t").write_text('{"schema": "something/1"}\n')
    for name, why in (("t", "neither of"), ("nowhere", "No such file")):
        with pytest.raises(NotAvailable, match=why):
            apply(before, parse(f"trace:{tmp_path / name}"), tmp_path / "mutation.jsonl")


def test_header_says_who_carries_it_out(dataset: Path) -> None:
    log = dataset / "mutation.jsonl"
    apply(scan(dataset / "tree"), parse("replay:0..1"), log)
    recorded = oplog.read(log)
    assert recorded.header["carried_out_by"] == "replay" and recorded.digest_after
