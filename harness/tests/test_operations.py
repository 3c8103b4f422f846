"""mutate/operations*.py: what each operation declares is what happens, and undoing brings everything back."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mutated_trees
import pytest

from pxarbench_harness import mutate, run, tree
from pxarbench_harness.mutate import OPERATIONS, primitives, saved

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and capabilities need root")

#: What needs another argument or other words before it.
SPECIAL = {
    "hardlink-remove": "hardlink-remove:100%", "rotate": "rotate:20%>rotate:30%>rotate:20%",
    "delete-duplicate": "duplicate:20%>delete-duplicate:50%",
}  # fmt: skip
#: Chains of steps on what earlier steps made.
CHAINS = (
    "hardlink-add:20%>hardlink-break:50%", "duplicate:100%>delete-duplicate:100%", "rename:50%>rename:50%>swap:50%",
    "rename-directory:30%>move:30%>rename-directory:50%", "edit:30%>rewrite:30%>truncate:30%>edit:30%",
    "mix:50%:seed=1>mix:50%:seed=2>mix:50%:seed=3>mix:50%:seed=4>mix:50%:seed=5>mix:50%:seed=6",
    "hardlink-break:100%>hardlink-add:60%>hardlink-remove:60%>delete:50%", "replace-type:30%>symlink-retarget:100%>move:100%",
    "atomic-replace:50%>content-restored:50%>atomic-replace:100%", "chown:50%>acl:50%>chmod:50%>capability:50%>edit:100%",
    "insert:50%>append-only:50%>rotate:50%>swap-restored:50%", "punch-hole:50%>mmap-write:50%>insert-middle:50%>prepend:50%",
)  # fmt: skip
EDGES = ("grow-min", "grow-avg", "grow-max", "shrink-min", "shrink-avg", "shrink-max")
WORDS = [
    word for word, cls in OPERATIONS.items()
    if cls.grammar == "rate" and not cls.during and not cls.carries_itself_out
]  # fmt: skip


def text_of(word: str, rate: str = "20") -> str:
    if word in SPECIAL:
        return SPECIAL[word]
    return f"{word}:{rate}%:bytes=40000" if word in EDGES else f"{word}:{rate}%"


MEMORY, DISK = Path("/dev/shm"), Path("/var/tmp")


@pytest.fixture(params=[MEMORY, DISK], ids=["memory", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on a tmpfs and one on a disk's file system, which uses inode numbers again."""
    parent = request.param
    if not os.access(parent, os.W_OK):
        pytest.skip(f"no {parent}")
    folder = parent / f"pxarbench-{os.getpid()}-{abs(hash(str(tmp_path)))}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def planted(folder: Path) -> tree.Tree:
    mutated_trees.plant(folder / "tree")
    return tree.scan(folder / "tree")


def carried_out(now: tree.Tree, text: str, folder: Path) -> list[mutate.Applied]:
    done = []
    for step in mutate.parse_chain(text).steps:
        done.append(mutate.apply(now, step, mutate.next_log(folder)))
        now = done[-1].tree
    return done


def skip_unless_available(word: str, where: tree.Tree) -> None:
    if reason := OPERATIONS[word].available(where, mutate.parse(text_of(word).rpartition(">")[2])):
        if "attr" in word or "acl" in word or word == "capability":
            pytest.skip(reason)
        pytest.fail(reason)


@pytest.mark.parametrize("word", WORDS)
def test_declared_is_judged_and_undone(word: str, place: Path) -> None:
    before = planted(place)
    skip_unless_available(word, before)
    digest = before.digest()
    *_, previous, last = [None, *carried_out(before, text_of(word), place)]
    assert last is not None
    oracle, cls = last.oracle, OPERATIONS[word]
    assert oracle.ops
    changes, gone = mutate.judge(previous.tree if previous else before, last.tree)
    assert (changes, gone) == (oracle.changes, oracle.gone)
    for change in changes:
        if change.differs & {"name", "type"}:
            assert cls.makes_new
        else:
            assert cls.facets <= change.differs <= cls.facets | cls.sometimes
    assert bool(changes) == bool(cls.facets or cls.makes_new)
    assert bool(gone) == cls.makes_gone
    assert mutate.undo_all(place, before.root) == digest
    now = tree.scan(before.root)
    assert tree.differences(before, now) == []
    assert now.digest() == digest
    assert {p: e.links for p, e in now.entries.items()} == {p: e.links for p, e in before.entries.items()}
    assert sorted(os.listdir(place)) == ["tree"]
    assert mutate.undo_all(place, before.root) is None


@pytest.mark.parametrize("text", CHAINS)
def test_chains_are_undone(text: str, place: Path) -> None:
    before = planted(place)
    digest = before.digest()
    done = carried_out(before, text, place)
    assert len({step.tree.digest() for step in done} | {digest}) == len(done) + 1
    assert len(list(place.glob("mutation*.jsonl"))) == len(done)
    assert mutate.undo_all(place, before.root) == digest
    assert tree.scan(before.root).digest() == digest


# ---- killed ----


def killed_anywhere(root: Path, text: str, *more: str) -> None:
    """In a process of its own (killed_anywhere.py)."""
    program = Path(__file__).with_name("killed_anywhere.py")
    environment = {"PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = run.run([sys.executable, program, root, text, *more], env=environment, timeout=300).check_ok()
    assert int(done.stdout) > 3, "killed too seldom to mean something"


KILLED = (
    "edit:5%", "rewrite:8%", "insert-middle:5%", "truncate:5%", "punch-hole:5%", "delete:5%", "move:5%", "rename-directory:20%",
    "swap:8%", "swap-restored:8%", "replace-type:8%", "hardlink-add:5%", "hardlink-break:100%", "hardlink-remove:100%",
    "atomic-replace:5%", "symlink-retarget:100%", "duplicate:5%", "chown:5%", "mix:20%:seed=3", "rotate:4%",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("place", [MEMORY, DISK], ids=["memory", "disk-without-links"], indirect=True)
@pytest.mark.parametrize("text", KILLED)
def test_killed_anywhere_it_is_undone(text: str, place: Path) -> None:
    planted(place)
    if place.parent == DISK and text.partition(":")[0].startswith(("hardlink", "rename")):
        pytest.skip("needs links")
    killed_anywhere(place / "tree", text, *(["without-links"] if place.parent == DISK else []))


def test_holes_survive_being_killed_and_undone(place: Path) -> None:
    (place / "tree").mkdir()
    for number in range(3):
        with open(place / "tree" / f"sparse{number}", "wb") as file:
            file.write(b"head" * number * 1024)
            file.seek(500_000)
            file.write(b"tail" * 1024)
            file.truncate(900_000)

    def blocks() -> list[int]:
        return [os.stat(place / "tree" / f"sparse{number}").st_blocks for number in range(3)]

    sizes = blocks()
    for text in ("prepend:100%", "rewrite:100%", "truncate:60%:bytes=700000", "punch-hole:100%"):
        killed_anywhere(place / "tree", text)
        assert blocks() == sizes, text


# ---- elsewhere ----


@pytest.mark.parametrize("word", WORDS)
def test_replayed_on_an_equal_tree(word: str, tmp_path: Path) -> None:
    trees = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        trees.append(planted(tmp_path / name))
    skip_unless_available(word, trees[0])
    carried_out(trees[0], text_of(word), tmp_path / "one")
    logs = sorted((tmp_path / "one").glob("mutation*.jsonl"), key=lambda p: (len(p.name), p.name))
    now, start = trees[1], trees[1].digest()
    for log in logs:
        now = mutate.replay(log, now, mutate.next_log(tmp_path / "two")).tree
        assert json.loads(log.read_text().splitlines()[-1]) == {"digest_after": now.digest()}
    copies = sorted((tmp_path / "two").glob("mutation*.jsonl"), key=lambda p: (len(p.name), p.name))
    assert [log.read_bytes() for log in logs] == [log.read_bytes() for log in copies]
    assert mutate.undo_all(tmp_path / "two", trees[1].root) == start
    assert tree.scan(trees[1].root).digest() == start


#: As on another machine: language, umask, file system, and the order in which names are created.
PROGRAM = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
os.umask(int(sys.argv[3], 8))
import mutated_trees
from pxarbench_harness import mutate, run, tree
folder = Path(sys.argv[4])
mutated_trees.plant(folder / "tree")
now = tree.scan(folder / "tree")
for step in mutate.parse_chain(sys.argv[5]).steps:
    now = mutate.apply(now, step, mutate.next_log(folder)).tree
print(now.digest())
"""


@pytest.mark.parametrize("layout", ["uniform:seed=3", "zipf:seed=3", "recent", "tail", "clustered"])
def test_language_umask_and_file_system_change_nothing(layout: str, tmp_path: Path) -> None:
    words = ">".join(f"{word}:20%:{layout}" for word in (
        "mix", "insert", "replace-type", "move", "rename-directory", "duplicate", "swap", "append-only", "symlink-retarget",
    ))  # fmt: skip
    here = Path(__file__).parent
    found = []
    for number, (parent, umask, language) in enumerate((
        ("/dev/shm", "0", "C"), ("/var/tmp", "77", "C.UTF-8"), ("/var/tmp", "22", "POSIX"),
    )):  # fmt: skip
        folder = Path(parent) / f"pxarbench-{os.getpid()}-{number}"
        folder.mkdir()
        try:
            done = run.run(
                ["/usr/bin/python3", "-c", PROGRAM, here.parent, here, umask, folder, words],
                env={"LC_ALL": language, "PYTHONHASHSEED": str(number), "PYTHONDONTWRITEBYTECODE": "1"}, timeout=120,
            ).check_ok()  # fmt: skip
            logs = sorted(folder.glob("mutation*.jsonl"))
            assert len(logs) == 9
            found.append((done.stdout, [log.read_bytes() for log in logs]))
        finally:
            shutil.rmtree(folder)
    assert found[0] == found[1] == found[2]


# ---- what others did ----


def alter_size(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"somebody's work" * 10_000)


def alter_kind(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("alter", [alter_size, alter_kind], ids=["longer", "directory"])
@pytest.mark.parametrize("word", ["touch", "append", "rewrite", "chmod", "duplicate", "rename", "atomic-replace"])
def test_what_others_made_is_not_destroyed(word: str, alter: Callable[[Path], None], tmp_path: Path) -> None:
    before = planted(tmp_path)
    done = mutate.apply(before, mutate.parse(f"{word}:10%"), tmp_path / "mutation.jsonl")
    op = done.oracle.ops[-1]
    path = before.root / os.fsdecode(op.to if op.how == "rename" else op.path)
    alter(path)
    with pytest.raises(mutate.AlteredByOthers, match=path.name):
        mutate.undo(tmp_path / "mutation.jsonl", before.root)
    assert path.is_dir() or path.read_bytes().endswith(b"somebody's work")
    assert (tmp_path / "mutation.jsonl").exists()


def test_a_directory_in_which_somebody_works_stays(tmp_path: Path) -> None:
    before = planted(tmp_path)
    done = mutate.apply(before, mutate.parse("replace-type:20%"), tmp_path / "mutation.jsonl")
    folder = before.root / os.fsdecode(next(op.path for op in done.oracle.ops if op.how == "mkdir"))
    (folder / "work").write_text("of somebody")
    with pytest.raises(mutate.AlteredByOthers, match="has something in it"):
        mutate.undo(tmp_path / "mutation.jsonl", before.root)
    assert (folder / "work").read_text() == "of somebody"
    (folder / "work").unlink()
    assert mutate.undo(tmp_path / "mutation.jsonl", before.root) == before.digest()
    assert tree.scan(before.root).digest() == before.digest()


# ---- lies ----


@pytest.mark.parametrize("word", [w for w in WORDS if w not in SPECIAL and w != "mix"])
def test_a_primitive_that_does_nothing_is_caught(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planted(tmp_path)
    skip_unless_available(word, before)
    for how, real in list(primitives.PRIMITIVES.items()):
        monkeypatch.setitem(primitives.PRIMITIVES, how, primitives.Primitive(real.simulate, lambda root, op: None))
    monkeypatch.setattr(primitives, "set_mtime", lambda path, mtime_ns: None)
    with pytest.raises(mutate.MutationFailed, match="did not change|differs in|not as planned"):
        mutate.apply(before, mutate.parse(text_of(word)), tmp_path / "mutation.jsonl")


def test_a_replay_on_another_tree_is_refused(tmp_path: Path) -> None:
    before = planted(tmp_path)
    mutate.apply(before, mutate.parse("edit:10%"), tmp_path / "mutation.jsonl")
    with pytest.raises(mutate.MutationFailed, match="was recorded on another tree"):
        mutate.replay(tmp_path / "mutation.jsonl", tree.scan(before.root), tmp_path / "mutation.1.jsonl")


def test_no_room_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planted(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 20 << 20))  # type: ignore[attr-defined]
    with pytest.raises(mutate.MutationFailed, match="needs 0.1 GB, 0.0 GB are free"):
        mutate.apply(before, mutate.parse("append:1%:bytes=100000000"), tmp_path / "mutation.jsonl")
    assert sorted(os.listdir(tmp_path)) == ["tree"]


def test_a_failed_saving_leaves_no_names_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planted(tmp_path)
    left = [5]

    def step() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "no space left")

    monkeypatch.setattr(saved, "step", step)
    with pytest.raises(OSError, match="no space left"):
        mutate.apply(before, mutate.parse("delete:50%"), tmp_path / "mutation.jsonl")
    assert sorted(os.listdir(tmp_path)) == ["tree"]
    assert {e.links for e in tree.scan(before.root).files()} == {e.links for e in before.files()}


def test_what_the_tree_has_not_is_said(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "one").write_bytes(b"x")
    bare = tree.scan(tmp_path / "tree")
    for word in (
        "hardlink-break", "symlink-retarget", "swap", "move", "shrink-min", "punch-hole", "xattr-value", "delete-duplicate",
    ):  # fmt: skip
        with pytest.raises(mutate.NotAvailable, match="the tree has|needs an earlier"):
            mutate.apply(bare, mutate.parse(f"{word}:10%"), tmp_path / "mutation.jsonl")
    assert sorted(os.listdir(tmp_path)) == ["tree"]


def test_every_operation_says_what_it_does() -> None:
    assert len({cls.text for cls in OPERATIONS.values()}) == len(OPERATIONS)
    for cls in OPERATIONS.values():
        assert cls.text and not cls.text.endswith(".")
