"""The subjects: what each has to answer, what comes back of a tree with everything, and what of their stores a run changes."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from everything_tree import acl, capability
from pxarbench_harness import measure, tree
from pxarbench_harness.mutate.oracle import FACETS, Change, Oracle, judge, judge_names
from pxarbench_harness.state import State
from pxarbench_harness.subjects import CAPABILITIES, SUBJECTS, Expected, Settings, Subject, registry
from pxarbench_harness.subjects.borg import as_borg_prints
from pxarbench_harness.subjects.restic import as_go_prints
from subject_tools import Runs, differences, every_mode, flip, set_mtime, subject

BASE = 1_600_000_000 * 10**9 + 123_456_789
FUTURE = 4_102_444_800 * 10**9 + 7


def build(root: Path) -> None:
    """All kinds of entries, and what programs are known to lose or alter."""
    root.mkdir()
    top = os.fsencode(root)
    for name in (b"plain", b"new\nline", b"not-utf8-\xff\xfe", b"caf\xc3\xa9", b"quoted\"'", b"question?", b"-dash", b"x" * 230):
        with open(os.path.join(top, name), "wb") as file:
            file.write(name * 100)
    (root / "empty").touch()
    (root / "setuid").write_bytes(b"setuid")
    (root / "setuid").chmod(0o4755)
    with open(root / "sparse", "wb") as sparse:
        sparse.seek(1 << 20)
        sparse.write(b"end")
    folder = root / "folder"
    folder.mkdir()
    (folder / "first").write_bytes(b"two names")
    os.link(folder / "first", root / "second")
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    os.symlink("folder/first", root / "symlink")
    os.mkfifo(root / "fifo", 0o620)
    with socket.socket(socket.AF_UNIX) as end:
        here = os.open(".", os.O_RDONLY)
        os.chdir(root)  # a socket's name is limited to 108 bytes
        end.bind("socket")
        os.fchdir(here)
        os.close(here)
    wishes: list[Callable[[], object]] = [
        lambda: os.setxattr(root / "plain", "user.comment", b"a\0b"),
        lambda: os.setxattr(root / "sticky", "system.posix_acl_default", acl([(1, 7, 2**32 - 1), (4, 5, 2**32 - 1), (32, 5, 2**32 - 1)])),
        lambda: os.setxattr(root / "setuid", "security.capability", capability(1 << 10)),
        lambda: os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3)),
        lambda: os.chown(root / "empty", 1234, 5678),
    ]
    for wish in wishes:
        try:
            wish()
        except OSError:  # not root, or a file system without them
            pass
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(0, BASE), follow_symlinks=False)
    set_mtime(root / "question?", -5_000_000_001)
    set_mtime(root / "caf\u00e9", FUTURE)
    set_mtime(folder, BASE + 1)
    set_mtime(root, BASE)


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_answers_everything(name: str) -> None:
    made = SUBJECTS[name]
    assert made.name == name
    assert tuple(made.capabilities) == CAPABILITIES and all(made.capabilities.values())
    assert tuple(made.mode_texts) == made.modes
    assert made.default_modes and set(made.default_modes) <= set(made.modes) and set(made.reading_modes) <= set(made.modes)
    assert made.fair and all(sentence.endswith(".") for sentence in made.fair)
    for mode in made.modes:
        one = made(mode, Path("/nowhere"), Settings(binary=Path("/bin/true")))
        for filesystem in ("ext4", "tmpfs", "vfat", "btrfs", "something"):
            assert one.looks_at(filesystem) <= FACETS
        assert ("content" in one.looks_at("ext4")) == one.reads_everything
    with pytest.raises(ValueError, match="has no mode"):
        made("no such mode", Path("/nowhere"), Settings())


@pytest.mark.parametrize(("name", "package"), {"restic": "restic", "borg": "borgbackup", "casync": "casync", "bup": "bup"}.items())
def test_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, package: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert SUBJECTS[name].missing(Settings()) == f"{name} is not installed (Debian package: {package})"


def test_any_number_of_builds(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    settings = Settings(binary=None, builds={"old": program, "new": tmp_path / "nothing"})
    known = registry(settings)
    assert list(known)[:3] == ["pxarbench", "pxarbench@old", "pxarbench@new"] and set(SUBJECTS) < set(known)
    assert known["pxarbench"].missing(settings) == "pxarbench is not built"
    assert known["pxarbench@old"].missing(settings) == ""
    assert "is not a program" in known["pxarbench@new"].missing(settings)
    one = known["pxarbench@old"]("metadata-stored", tmp_path, settings)
    command = one.backup(tmp_path, 1)
    assert one.name == "pxarbench@old" and command.argv[0] == str(program)
    assert " ".join(command.argv).endswith("--reuse-profile stored") and "metadata" in command.argv


@pytest.mark.parametrize(("name", "mode"), [case for case in every_mode() if case[1] in SUBJECTS[case[0]].default_modes + ("legacy",)])
def test_everything_comes_back(tmp_path: Path, name: str, mode: str) -> None:
    root = tmp_path / "tree"
    build(root)
    made = subject(name, mode, tmp_path / "home")
    if made.unfit(tree.scan(root)):
        set_mtime(root / "question?", BASE)
    if made.unfit(tree.scan(root)):
        pytest.fail("still unfit")
    filesystem = measure.filesystem(root).split()[0]
    runs = Runs(made, root, tmp_path)
    outcome = runs.backup(decisions=True)
    source = tree.scan(root)
    assert differences(made, source, runs.restored(), filesystem) == []
    files = {e.path for e in source.entries.values() if e.kind == "file" and (made.counts_names or not e.link_to)}
    if made.tells_decisions:
        assert runs.reread == files, "all were read, and all names were understood"
    if outcome.files is not None:
        assert outcome.files == len(files)
    assert outcome.reference == ("not-asked" if made.reads_everything else "no-previous-snapshot")
    cost = made.restore_cost()
    assert not cost or cost["fetched_bytes"] >= cost["file_bytes"] == source.file_bytes


def test_casync_names_the_trees_that_it_cannot_bring_back(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    casync = SUBJECTS["casync"]
    (root / ("x" * 237)).touch()
    assert casync.unfit(tree.scan(root)) == ""
    (root / ("x" * 238)).touch()
    assert "names of more than 237 bytes" in casync.unfit(tree.scan(root))
    (root / ("x" * 238)).unlink()
    set_mtime(root / ("x" * 237), -1)
    assert "no times before 1970" in casync.unfit(tree.scan(root))
    assert all(not SUBJECTS[name].unfit(tree.scan(root)) for name in SUBJECTS if name != "casync")


@pytest.mark.parametrize(("name", "mode"), [(name, SUBJECTS[name].default_modes[-1]) for name in SUBJECTS])
def test_store_is_rewound_as_the_subject_says(tmp_path: Path, name: str, mode: str) -> None:
    """State raises when a run changed a file of a subject that claims only to add some."""
    root = tmp_path / "tree"
    build(root)
    set_mtime(root / "question?", BASE)  # for casync
    made = subject(name, mode, tmp_path / "home")
    runs = Runs(made, root, tmp_path)
    runs.backup()
    runs.backup()
    start = State.capture(made.state(), tmp_path / "saved" if made.rewinds == "copy" else None)
    time.sleep(0.05)
    flip(root / "plain", 50)
    read = []
    for _ in range(2):
        first = runs.backup(decisions=True)
        read.append((runs.reread, first.reencoded_files, first.new_chunks))
        assert differences(made, tree.scan(root), runs.restored(), measure.filesystem(root).split()[0]) == []
        start.rewind()
    assert read[0] == read[1], "the second found nothing of the first"


def test_names_of_a_file_are_counted_by_programs_that_read_each(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    for name in ("a", "b"):
        (root / name).write_bytes(b"12345")
    os.link(root / "a", root / "a2")
    before = tree.scan(root)
    flip(root / "a", 2)
    os.link(root / "b", root / "b2")
    after = tree.scan(root)
    changes, gone = judge(before, after)
    by_name = judge_names(before, after)
    assert [c.path for c in changes] == [b"a", b"b"]
    assert {c.path: c.differs & {"name", "content", "ctime"} for c in by_name} == {
        b"a": {"content", "ctime"}, b"a2": {"content", "ctime"}, b"b": {"ctime"}, b"b2": {"name", "content", "ctime"},
    }  # fmt: skip
    oracle = Oracle(changes=changes, gone=gone, by_name=by_name)

    def expected(name: str, mode: str, oracle: Oracle = oracle) -> Expected:
        return SUBJECTS[name](mode, tmp_path, Settings(binary=Path("/bin/true"))).expected(after, oracle, "ext4")

    assert expected("restic", "default") == Expected(4, 20, 4, 20)
    assert expected("restic", "ignore-inode") == Expected(4, 20, 3, 15)
    assert expected("restic", "ignore-inode", replace(oracle, by_name=None)) == Expected(4, 20, 2, 10)
    assert expected("borg", "default") == Expected(2, 10, 2, 10)
    assert expected("pxarbench", "metadata") == Expected(2, 10, 1, 5)


def test_what_each_way_of_looking_misses() -> None:
    def misses(name: str, mode: str, *differs: str, filesystem: str = "ext4") -> bool:
        made: Subject = SUBJECTS[name](mode, Path("/"), Settings(binary=Path("/bin/true")))
        return not Change(b"x", frozenset(differs), 1, 1).noticed_by(made.looks_at(filesystem))

    for name, modes in {
        "pxarbench": ("metadata", "metadata-stored", "metadata-upstream", "metadata-content"), "restic": ("ignore-inode",),
        "borg": ("mtime", "mtime-inode"),
    }.items():  # fmt: skip
        assert all(misses(name, mode, "content", "ctime") for mode in modes)
    for name, mode in (("restic", "default"), ("borg", "default"), ("bup", "default"), ("casync", "cache")):
        assert not misses(name, mode, "content", "ctime")
    assert misses("restic", "ignore-ctime", "content", "ctime") and not misses("restic", "ignore-ctime", "content", "ctime", "inode")
    assert not misses("pxarbench", "metadata", "mode") and misses("pxarbench", "metadata-content", "mode", "owner", "xattr", "acl")
    assert misses("pxarbench", "metadata", "xattr", filesystem="tmpfs") and not misses("pxarbench", "metadata", "xattr")


def test_names_as_other_languages_print_them() -> None:
    assert as_go_prints(b"a\xff\xe2\x82b\xc3\xa9") == "a\ufffd\ufffd\ufffdb\u00e9"
    assert as_borg_prints(b"a\xff\xe2\x82b\xc3\xa9") == "a???b\u00e9"


# ---- peculiarities, pinned ----


def test_borg_forgets_the_newest_files_without_one_that_is_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(5):
        (root / str(number)).write_bytes(b"contents" * 100)
        set_mtime(root / str(number), BASE)  # all alike
    made = subject("borg", "mtime", tmp_path / "home")
    runs = Runs(made, root, tmp_path)
    runs.backup()
    runs.backup(decisions=True)
    assert runs.reread == frozenset()
    monkeypatch.setattr(type(made), "backup", _borg_without_the_newest(type(made).backup))
    runs.backup(decisions=True)
    set_mtime(root / "0", BASE - 1)  # stored anew, and older than all others
    runs.backup(decisions=True)
    assert runs.reread == {b"0"}
    runs.backup(decisions=True)
    assert runs.reread == {b"0", b"1", b"2", b"3", b"4"} == runs.collateral


def _borg_without_the_newest(backup: Callable[..., object]) -> Callable[..., object]:
    def without(self: Subject, *arguments: object, **named: object) -> object:
        command = backup(self, *arguments, **named)
        return replace(command, argv=command.argv[:-1])  # type: ignore[attr-defined,type-var]

    return without


def test_borg_reads_times_outside_of_its_range_again_each_time(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    for name, mtime in (("before", -1), ("after", FUTURE), ("usual", BASE)):
        (root / name).write_bytes(b"contents")
        set_mtime(root / name, mtime)
    runs = Runs(subject("borg", "mtime", tmp_path / "home"), root, tmp_path)
    for _ in range(3):
        runs.backup(decisions=True)
    assert runs.reread == {b"before", b"after"} == runs.collateral


def test_casync_cache_does_not_see_contents_changed_under_an_mtime_of_the_future(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "a").write_bytes(os.urandom(300_000))
    set_mtime(root / "a", FUTURE)
    runs = Runs(subject("casync", "cache", tmp_path / "home"), root, tmp_path)
    runs.backup()
    old = tree.hash_file(root / "a")
    flip(root / "a")
    set_mtime(root / "a", FUTURE)
    runs.backup()
    assert tree.hash_file(runs.restored() / "a") == old
