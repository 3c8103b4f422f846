"""Exclusions and mount points: what changes in the tree, what an archive has to hold, and that nothing stays behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pxarbench_harness import run
from pxarbench_harness.mutate import OPERATIONS, NotAvailable, apply, oplog, parse, surroundings, undo
from pxarbench_harness.tree import Tree, differences, scan

OLD = 1_500_000_000
#: Names that patterns could misunderstand.
ODD = ["*", "?", "[a]", "a\\b", "#x", "!y", "with blank", " leading", "ä"]

Cli = Callable[..., run.Result]


def plant(root: Path) -> Tree:
    for name in ("a/one", "a/two", "b/one", "b/deep/three", "c/four", *(f"odd/{name}" for name in ODD)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100)
        path.chmod(0o644)
        os.utime(path, (OLD, OLD))
    for path in sorted([root, *(p for p in root.rglob("*") if p.is_dir())], reverse=True):
        path.chmod(0o755)
        os.utime(path, (OLD, OLD))
    return scan(root)


@pytest.fixture
def before(tmp_path: Path) -> Iterator[Tree]:
    yield plant(tmp_path / "tree")
    undo(tmp_path / "mutation.jsonl", tmp_path / "tree")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "mutation.jsonl"


def archived(cli: Cli, tmp_path: Path, root: Path) -> Tree:
    store = tmp_path / "store"
    (store / ".chunks").mkdir(parents=True)  # a datastore's 65,536 directories would take most of the time
    (store / ".lock").touch()
    words = ["root.pxar:" + str(root), "--repository", store, "--backup-id", "x", "--backup-time", "1700000000"]
    cli("backup", *words, "--change-detection-mode", "data", "--sync-level", "none").check_ok()
    cli("restore", "host/x/2023-11-14T22:13:20Z", "root.pxar", tmp_path / "back", "--repository", store).check_ok()
    return scan(tmp_path / "back")


FIELDS = ("kind", "mode", "mtime_ns", "size", "digest", "link_to")


def test_archive_leaves_out_exactly_the_excluded_files(before: Tree, log: Path, cli: Cli, tmp_path: Path) -> None:
    done = apply(before, parse("exclude:60%:uniform"), log)
    named = surroundings.excluded(done.tree)
    assert len(named) == 8 and {c.path for c in done.oracle.changes} == {b".pxarexclude"} and not done.oracle.gone
    seen = surroundings.as_pxar_sees(done.tree)
    assert before.entries.keys() - seen.entries.keys() == named
    assert differences(seen, archived(cli, tmp_path, before.root), fields=FIELDS) == []
    eyes = surroundings.for_pxar(before, done)
    assert eyes.oracle.gone == named and {c.path for c in eyes.oracle.changes} == {b".pxarexclude"}
    assert undo(log, before.root) == scan(before.root).digest() == before.digest()


@pytest.mark.parametrize("name", ODD)
def test_patterns_are_literal(tmp_path: Path, cli: Cli, name: str) -> None:
    before = plant(tmp_path / "tree")
    line = surroundings.pattern(f"odd/{name}".encode())
    (tmp_path / "tree" / ".pxarexclude").write_bytes(surroundings.MARK.encode() + b"\n" + line + b"\n")
    back = archived(cli, tmp_path, before.root)
    assert before.entries.keys() - back.entries.keys() == {f"odd/{name}".encode()} == surroundings.excluded(scan(before.root))


def test_second_exclusion_goes_behind_the_first(before: Tree, log: Path) -> None:
    (before.root / ".pxarexclude").write_bytes(b"nothing")
    os.utime(before.root / ".pxarexclude", (OLD, OLD))
    os.utime(before.root, (OLD, OLD))
    before = scan(before.root)
    first = apply(before, parse("exclude:10%:uniform"), log)
    one = surroundings.excluded(first.tree)
    second = apply(first.tree, parse("exclude:10%:uniform"), log.with_name("mutation.1.jsonl"))
    both = surroundings.excluded(second.tree)
    assert len(one) == 1 and one < both and len(both) == 2
    assert (before.root / ".pxarexclude").read_text().startswith(f"nothing\n{surroundings.MARK}\n/")
    assert oplog.undo_all(log.parent, before.root) == scan(before.root).digest() == before.digest()


def test_names_that_fit_into_no_line_are_not_chosen(tmp_path: Path, log: Path) -> None:
    root = os.fsencode(tmp_path / "tree")
    os.mkdir(root)
    for name in (b"new\nline", b"blank ", b"not-utf8-\xff", b"good"):
        with open(os.path.join(root, name), "wb") as file:
            file.write(name)
    done = apply(scan(tmp_path / "tree"), parse("exclude:100%"), log)
    assert surroundings.excluded(done.tree) == {b"good"}
    assert (tmp_path / "tree" / ".pxarexclude").read_text() == f"{surroundings.MARK}\n/good\n"


@pytest.fixture
def mounting() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if run.run(["unshare", "--mount", "true"]).returncode != 0:
        pytest.skip("this machine does not let root mount")


@pytest.mark.usefixtures("mounting")
def test_mounted_folder_is_empty_in_archives(before: Tree, log: Path, cli: Cli, tmp_path: Path) -> None:
    done = apply(before, parse("mount"), log)
    (new,) = {c.path for c in done.oracle.changes}
    folder = new.rpartition(b"/")[0]
    assert done.oracle.gone == {p for p, e in before.entries.items() if p.startswith(folder + b"/") and e.kind == "file"}
    assert surroundings.beyond(done.tree) == {new}
    seen = surroundings.as_pxar_sees(done.tree)
    assert folder in seen.entries and new not in seen.entries
    assert differences(seen, archived(cli, tmp_path, before.root), fields=FIELDS) == []
    assert surroundings.for_pxar(before, done).oracle.changes == ()
    assert undo(log, before.root) == scan(before.root).digest() == before.digest()
    assert not surroundings.is_mounted(before.root / os.fsdecode(folder))


@pytest.mark.usefixtures("mounting")
@pytest.mark.parametrize("when", ["before", "after"])
def test_mount_is_taken_back_after_a_crash(before: Tree, log: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    class Killed(BaseException):
        pass

    real = run.run

    def dying(argv: list[str], **more: object) -> run.Result:
        if argv[0] == "mount" and when == "before":
            raise Killed
        done = real(argv, **more)  # type: ignore[arg-type]
        if argv[0] == "mount":
            raise Killed
        return done

    with monkeypatch.context() as patch:
        patch.setattr(surroundings.run, "run", dying)
        with pytest.raises(Killed):
            apply(before, parse("mount"), log)
    assert log.exists() and undo(log, before.root) == scan(before.root).digest()
    assert undo(log, before.root) is None
    mounts = Path("/proc/self/mounts").read_text()
    assert str(before.root) not in mounts


@pytest.mark.usefixtures("mounting")
def test_mount_twice_in_a_chain(before: Tree, log: Path) -> None:
    first = apply(before, parse("mount"), log)
    second = apply(first.tree, parse("mount"), log.with_name("mutation.1.jsonl"))
    assert len({e.device for e in second.tree.entries.values()}) == 3
    assert oplog.undo_all(log.parent, before.root) == scan(before.root).digest() == before.digest()


def test_without_root_there_is_no_mount(before: Tree, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotAvailable, match="needs root"):
        apply(before, parse("mount"), log)


def test_trees_without_surroundings_are_seen_as_they_are(before: Tree) -> None:
    assert surroundings.as_pxar_sees(before) is before


@pytest.mark.parametrize("word", sorted(w for w, cls in OPERATIONS.items() if cls.during))
def test_what_happens_during_a_backup_is_no_mutation_before_it(before: Tree, log: Path, word: str) -> None:
    with pytest.raises(NotAvailable, match="while a backup reads"):
        apply(before, parse(word), log)
