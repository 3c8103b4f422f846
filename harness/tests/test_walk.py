"""What of a tree is walked, and what an error on the way costs: patterns, mount points, limits, changes while walking.

Source: bench/spec/archive-creation.md A1 to A10, A12.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shlex
import shutil
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backup_tools import T1, T2, Faults, Repository, errors_of, noise, sentence, settle, warnings_of, write_tree

from pxarbench_harness import measure, run

NAMESPACE = ["unshare", "--mount", "--propagation", "private"]


@dataclass(frozen=True)
class Packed:
    """One `pxar create`, and what is in the archive as `pxar dump` shows it."""

    result: run.Result
    entries: dict[str, Any]  # by path without leading slash; the root is ""
    streams: bytes

    @property
    def names(self) -> list[str]:
        """In the order of the archive, the root left out."""
        return [path for path in self.entries if path]

    @property
    def log(self) -> str:
        return self.result.stderr.decode()


Pack = Callable[..., Packed]


@pytest.fixture
def pack(pxarbench: Path, tmp_path: Path) -> Pack:
    """pack(tree, "--exclude", "x", ...) packs and must succeed."""

    def call(
        tree: Path, *options: str, before: Sequence[str] = (), unified: bool = False, env: dict[str, str] | None = None
    ) -> Packed:
        out = Path(tempfile.mkdtemp(dir=tmp_path, prefix="packed-"))
        files = [out / "x.pxar"] if unified else [out / "x.mpxar", out / "x.ppxar"]
        words = [*before, pxarbench, "pxar", "create", tree, files[0], *options]
        words += [] if unified else ["--payload-output", files[1]]
        result = run.run(words, env=env or {}, timeout=60).check_ok()
        dumped = run.run([pxarbench, "pxar", "dump", files[0]], timeout=60).check_ok()
        lines = [json.loads(line) for line in dumped.text.splitlines()]
        entries = {line["path"].removeprefix("/"): line for line in lines if "path" in line}
        return Packed(result, entries, b"".join(path.read_bytes() for path in files))

    return call


@pytest.fixture
def fails(pxarbench: Path, tmp_path: Path) -> Callable[..., str]:
    """fails(tree, ...) packs, must fail, and gives the sentence."""

    def call(
        tree: Path, *options: str, env: dict[str, str] | None = None, before: Sequence[str] = (), code: int = 1
    ) -> str:
        archive = tmp_path / "failed.mpxar"
        payload = tmp_path / "failed.ppxar"
        words = [*before, pxarbench, "pxar", "create", tree, archive, "--payload-output", payload, *options]
        text = sentence(run.run(words, env=env or {}, timeout=60), code)
        assert not archive.exists() and not payload.exists()
        return text

    return call


def make(root: Path, *names: str) -> Path:
    """Empty files, and directories where a name ends with a slash."""
    root.mkdir(exist_ok=True)
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def patterns(directory: Path, *lines: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ".pxarexclude").write_text("".join(line + "\n" for line in lines))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path / "tree"


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Path]:
    """A tree where extended attributes are read: on tmpfs they are only counted."""
    if not measure.filesystem(tmp_path).startswith("tmpfs"):
        yield make(tmp_path / "disk-tree")
        return
    if measure.filesystem(Path("/var/tmp")).startswith("tmpfs"):
        pytest.skip("no file system with attributes: the temporary directory and /var/tmp are both tmpfs")
    with tempfile.TemporaryDirectory(prefix="pxarbench-test-", dir="/var/tmp") as folder:
        yield make(Path(folder) / "tree")


# ---- patterns ----

VECTOR = [
    ".pxarexclude", "subfolder0", "subfolder0/.pxarexclude", "subfolder0/file0", "subfolder0/file2",
    "subfolder1", "subfolder1/file2",
]  # fmt: skip


def make_vector(tree: Path) -> Path:
    make(tree, *(f"subfolder{folder}/file{number}" for folder in range(2) for number in range(4)))
    patterns(tree, "/subfolder0/file1", "/subfolder1/*", "!/subfolder1/file2")
    patterns(tree / "subfolder0", "file3")
    return tree


@pytest.mark.parametrize("unified", [False, True], ids=["split", "unified"])
def test_tree_vector(tree: Path, pack: Pack, unified: bool) -> None:
    make_vector(tree)
    first = pack(tree, unified=unified)
    assert first.names == VECTOR and warnings_of(first.result) == []
    for threads in ("1", "2", "8"):
        assert pack(tree, "--threads", threads, unified=unified).streams == first.streams


def test_lines_of_deeper_files_win_over_the_command_line(tree: Path, pack: Pack) -> None:
    make(tree, "a/keep", "a/drop", "b/keep", "gone/keep", "gone/deep/keep")
    patterns(tree / "a", "!keep", "drop")
    patterns(tree / "gone", "!keep")
    assert pack(tree, "--exclude", "keep", "--exclude", "gone").names == ["a", "a/.pxarexclude", "a/keep", "b"]


def test_order_of_the_directory_does_not_matter(tmp_path: Path, pack: Pack) -> None:
    names = [f"{folder}/f{number:02}" for folder in "abc" for number in range(30)]
    trees = [tmp_path / "forwards", tmp_path / "shuffled"]
    for root in trees:
        make(root, *names)
        for folder in "abc":
            patterns(root / folder, "f1*", "!f15")
        settle(root)
        random.Random(7).shuffle(names)
    assert [os.listdir(root / "a") for root in trees][0] != os.listdir(trees[1] / "a")
    assert pack(trees[0]).streams == pack(trees[1]).streams


@pytest.mark.parametrize("pattern", ["[abc", "[a-]", "[", "[^", "a\\", "[[:foo:]]"])
def test_bad_pattern_of_the_command_line(tree: Path, fails: Callable[..., str], pattern: str) -> None:
    make(tree, "a")
    assert pattern in fails(tree, "--exclude", pattern, code=2)


@pytest.mark.parametrize("pattern", ["[abc", "[a-]", "[", "[^", "a\\", "[[:foo:]]"])
def test_bad_pattern_in_a_file_costs_its_line(tree: Path, pack: Pack, pattern: str) -> None:
    make(tree, "d/a", "d/b", "d/c")
    patterns(tree / "d", "a", pattern, "c")
    done = pack(tree)
    assert done.names == ["d", "d/.pxarexclude", "d/b"]
    (said,) = errors_of(done.result)
    assert said.startswith('error: bad pattern in "') and 'd"' in said and pattern in said


def test_names_with_a_meaning_are_taken_literally(tree: Path, pack: Pack) -> None:
    odd = ["a[b]", "a*", "a\\", "a?", "a\nb", "!a", "#a", " a"]
    for name in odd:
        make(tree, f"{name}/x", f"{name}/deep/x")
        patterns(tree / name, "/x")
    make(tree, "ab/x", "aa/x")
    done = pack(tree)
    assert {name for name in done.names if name.endswith("/x")} == {f"{name}/deep/x" for name in odd} | {"ab/x", "aa/x"}


def test_lost_and_found(tree: Path, repository: Repository, tmp_path: Path) -> None:
    make(tree, "lost+found/x", "a/lost+found", "a/b/lost+found/y", "a/z")
    repository.run(tree, T1, "--skip-lost-and-found", mode="data").result.check_ok()
    target = tmp_path / "restored"
    repository.restore(T1, target).check_ok()
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == ["a", "a/b", "a/z"]


def test_excluded_first_name_of_a_file_with_links(tree: Path, pack: Pack) -> None:
    make(tree, "b/x", "c/x")
    (tree / "b" / "x").write_bytes(b"content")
    os.link(tree / "b" / "x", tree / "a")
    (tree / "c" / "x").unlink()
    os.link(tree / "a", tree / "c" / "x")
    done = pack(tree, "--exclude", "/a")
    assert [(path, done.entries[path]["kind"]) for path in ("b/x", "c/x")] == [("b/x", "file"), ("c/x", "hardlink")]
    assert done.entries["b/x"]["size"] == 7


def test_patterns_in_the_archive(tree: Path, pack: Pack) -> None:
    make(tree, ".pxarexclude-cli", "a/.pxarexclude-cli", "z", "~")
    split, unified = (pack(tree, "--exclude", "foo/", "--exclude", "!bar", unified=one) for one in (False, True))
    assert split.names == ["a", "a/.pxarexclude-cli", "z", "~"]
    assert b'{"exclude-patterns":"foo/\\n!bar\\n"}' in split.streams
    assert unified.names == ["a", "a/.pxarexclude-cli", "z", "~", ".pxarexclude-cli"]
    last = unified.entries[".pxarexclude-cli"]
    assert (last["mode"], last["uid"], last["gid"], last["mtime"]) == ("0100600", os.getuid(), os.getgid(), [0, 0])
    assert b"foo/\n!bar\n" in unified.streams
    assert warnings_of(unified.result) == []


# ---- system calls ----


def calls(note: Path) -> int:
    return note.stat().st_size if note.exists() else 0


def test_excluded_entries_are_neither_asked_nor_opened(tree: Path, pack: Pack, faults: Faults, tmp_path: Path) -> None:
    make(tree, "gone.file", "gone.dir/below", "gone.only/below", "kept/x")
    (tree / "gone.link").symlink_to("nowhere")
    patterns(tree, "/gone.only/")
    note, seen = tmp_path / "note", tmp_path / "seen"
    rules = [f"{call} {tree}/gone* 1+ note {note}" for call in ("open", "stat", "fstat", "readlink", "xattr", "getdents")]
    done = pack(tree, "--exclude", "gone.[fdl]*", env=faults(*rules, f"open {tree}/kept/x 1+ note {seen}"))
    assert done.names == [".pxarexclude", "kept", "kept/x"]
    assert calls(note) == 0 and calls(seen) == 1


def test_types_are_asked_for_only_where_a_pattern_needs_them(
    tree: Path, pack: Pack, faults: Faults, tmp_path: Path
) -> None:
    make(tree, "both/x", "d/both", "other/x", "out")
    patterns(tree, "both/", "out")
    settle(tree)
    typed = pack(tree)
    assert typed.names == [".pxarexclude", "d", "d/both", "other", "other/x"]
    notes = {name: tmp_path / f"note-{name}" for name in ("both", "out")}
    rules = [f"stat */{name} 1+ note {note}" for name, note in notes.items()]
    untyped = pack(tree, env=faults("getdents * 1+ untyped", *rules))
    assert untyped.streams == typed.streams
    # "out" is excluded whatever it is; each "both" is asked once.
    assert calls(notes["out"]) == 0 and calls(notes["both"]) == 2


def test_files_of_patterns_are_opened_only_where_they_are(
    tree: Path, pack: Pack, faults: Faults, tmp_path: Path
) -> None:
    make(tree, "a/x", "b/x", "gone/x")
    patterns(tree / "b", "nothing")
    patterns(tree / "gone", "nothing")
    note = tmp_path / "note"
    pack(tree, "--exclude", "gone", env=faults(f"open */.pxarexclude 1+ note {note}"))
    assert calls(note) == 2  # once for its lines, once as a file like any other


# ---- what a .pxarexclude can be ----


def test_file_of_patterns_that_is_no_regular_file(tree: Path, pack: Pack, faults: Faults, tmp_path: Path) -> None:
    make(tree, "d/x", "d/.pxarexclude/x", "l/x", "p/x", "s/x", "n/x", "target")
    (tree / "target").write_text("x\n")
    (tree / "l" / ".pxarexclude").symlink_to("../target")
    os.mkfifo(tree / "p" / ".pxarexclude")
    (tree / "n" / ".pxarexclude").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(tree / "s", os.O_RDONLY)
        try:
            bound.bind(f"/proc/self/fd/{here}/.pxarexclude")
        finally:
            os.close(here)
    note = tmp_path / "note"
    done = pack(tree, env=faults(f"open */[lnps]/.pxarexclude 1+ note {note}"))
    assert calls(note) == 0  # opening may do more than reading
    assert {f"{name}/x" for name in "dlnps"} < set(done.names)
    said = warnings_of(done.result)
    assert len(said) == 5
    for name in "dlnps":
        (line,) = (line for line in said if f'"/{name}"' in line)
        assert line.startswith("warning: ignoring .pxarexclude after read error in ")


@pytest.mark.parametrize(
    ("rule", "said", "obeyed"),
    [
        ("open {file} 1 errno 2", [], False),
        ("open {file} 1 errno 13", ['failed to open file: ".pxarexclude": access denied ("d/.pxarexclude")'], False),
        ("open {file} 1 errno 116", ['stale file handle encountered while reading: "d/.pxarexclude"'], False),
        ("open {file} 1 errno 1", [], True),
        ("open {file} 1 errno 40", ["ignoring .pxarexclude after read error in "], False),
        ("read {file} 1 errno 5", ["ignoring .pxarexclude after read error in "], False),
        ("read {file} 2 errno 5", ["ignoring .pxarexclude after read error in "], False),
        ("read {file} 1 errno 4", [], True),
        ("open {file} 1 replace fifo", ["ignoring .pxarexclude after read error in ", "vanished"], False),
        ("open {file} 1 replace directory", ["ignoring .pxarexclude after read error in ", "vanished"], False),
        ("open {file} 1 replace symlink", ["ignoring .pxarexclude after read error in ", "vanished"], False),
        ("open {file} 1 unlink", ["vanished"], False),
    ],
    ids=[
        "ENOENT", "EACCES", "ESTALE", "EPERM", "ELOOP", "read-EIO", "read-EIO-at-end", "read-EINTR", "fifo", "directory",
        "symlink", "unlink",
    ],
)  # fmt: skip
def test_file_of_patterns_that_cannot_be_read(
    tree: Path, pack: Pack, faults: Faults, rule: str, said: list[str], obeyed: bool
) -> None:
    make(tree, "d/x", "d/y")
    patterns(tree / "d", "x")
    done = pack(tree, env=faults(rule.format(file=tree / "d" / ".pxarexclude")))
    found = warnings_of(done.result)
    assert len(found) == len(said) and all(part in line for part, line in zip(said, found, strict=True))
    assert ("d/x" in done.names) == (not obeyed) and "d/y" in done.names


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENAMETOOLONG], ids=errno.errorcode.get)
def test_file_of_patterns_that_cannot_be_opened_at_all(
    tree: Path, fails: Callable[..., str], faults: Faults, number: int
) -> None:
    make(tree, "d/x")
    patterns(tree / "d", "x")
    said = fails(tree, env=faults(f"open */.pxarexclude 1+ errno {number}"))
    assert said == f'error at "d": cannot open .pxarexclude: {os.strerror(number)}'


# ---- limits ----


def test_limit_of_entries(tree: Path, pack: Pack, fails: Callable[..., str]) -> None:
    make(tree, "a/b/y", "a/b/z", "a/y", "a/z", "z")  # 2, 3 and 2 on one path
    assert len(pack(tree, "--entries-max", "7").names) == 7
    assert fails(tree, "--entries-max", "6") == 'error at "a/b": exceeded allowed number of file entries (> 6)'
    text = fails(tree, "--entries-max", "1")
    assert text.endswith("exceeded allowed number of file entries (> 1)") and "error at" not in text
    assert len(pack(tree, "--entries-max", "6", "--exclude", "b/y").names) == 6
    for number in range(40):
        make(tree, f"many/{number:02}/x", f"many/{number:02}/y")
    assert len(pack(tree, "--entries-max", "45").names) > 120


# ---- errors and warnings, cell by cell ----

SKIPPED = {
    "listed": 'file vanished while reading directory: "{path}"',
    "vanished": 'file vanished while reading: "{path}"',
    "no-stat": 'failed to stat file: "{path}": access denied',
    "no-open": 'failed to open file: "{name}": access denied',
    "stale": 'stale file handle encountered while reading: "{path}"',
}


def cells() -> list[Any]:
    """(call that fails, path, errno, key of SKIPPED or the sentence of the failed run)."""
    stat_texts = {errno.ENOENT: "listed", errno.EACCES: "no-stat", errno.ESTALE: "stale"}
    open_texts = {errno.ENOENT: "vanished", errno.EACCES: "no-open", errno.ESTALE: "stale"}
    numbers = [errno.ENOENT, errno.EACCES, errno.ESTALE, errno.EIO]
    rows: list[tuple[str, str, int, str]] = []
    for path, context in (("d/link", 'error at "d": '), ("link", "")):
        fatal = f'{context}stat failed on "{path}": '
        rows += [("stat", path, number, stat_texts.get(number, fatal)) for number in numbers]
    for path, word in (("d/file", "the file"), ("file", "the file"), ("d/sub", "directory")):
        fatal = f'error at "{path}": cannot open {word}: '
        rows += [("open", path, number, open_texts.get(number, fatal)) for number in numbers]
        rows += [("open", path, errno.EPERM, fatal), ("open", path, errno.EMFILE, fatal)]
    for path in ("d/file", "d/sub"):
        fatal = f'error at "{path}": '
        rows += [("xattr", path, number, "stale" if number == errno.ESTALE else fatal) for number in numbers]
    rows += [("fstat", "d/file", errno.ESTALE, "stale"), ("fstat", "d/file", errno.EIO, 'error at "d": stat failed on ')]
    rows += [("fstat", "d/sub", errno.ESTALE, "stale"), ("fstat", "d/sub", errno.EIO, 'error at "d/sub": ')]
    link_texts = {errno.ENOENT: "vanished", errno.EINVAL: "vanished", errno.ESTALE: "stale"}
    fatal = 'error at "d/link": cannot read the symlink: '
    rows += [("readlink", "d/link", number, link_texts.get(number, fatal)) for number in [*numbers, errno.EINVAL]]
    # A directory that was removed while open answers ENOENT; everything else ends the run.
    rows += [("getdents", "d/sub", errno.ENOENT, "vanished")]
    fatal = 'error at "d/sub": cannot read directory: '
    rows += [("getdents", "d/sub", number, fatal) for number in (errno.EACCES, errno.ESTALE, errno.EIO, errno.EBADF)]
    return [pytest.param(*row, id=f"{row[0]}-{row[1].replace('/', '-')}-{errno.errorcode[row[2]]}") for row in rows]


@pytest.mark.parametrize(("call", "path", "number", "outcome"), cells())
def test_cell_of_the_error_table(
    on_disk: Path, pack: Pack, fails: Callable[..., str], faults: Faults, call: str, path: str, number: int, outcome: str
) -> None:
    tree = make(on_disk, "d/file", "d/sub/x", "file", "z")
    (tree / "d" / "link").symlink_to("file")
    (tree / "link").symlink_to("file")
    env = faults(f"{call} {tree}/{path} 1+ errno {number}")
    if outcome in SKIPPED:
        done = pack(tree, env=env)
        expected = SKIPPED[outcome].format(path=path, name=Path(path).name)
        if outcome == "no-open" and "/" in path:
            expected += f' ("{path}")'
        assert warnings_of(done.result) == ["warning: " + expected]
        everything = ["d", "d/file", "d/link", "d/sub", "d/sub/x", "file", "link", "z"]
        assert done.names == [name for name in everything if not (name + "/").startswith(path + "/")]
        return
    said = fails(tree, env=env)
    assert said.startswith(outcome) and said.count(os.strerror(number)) == 1 and said.count("error at") <= 1
    assert ("error at" in said) == ("error at" in outcome)


def test_stat_of_a_name_without_type(on_disk: Path, pack: Pack, fails: Callable[..., str], faults: Faults) -> None:
    """Where listings have no types a regular file is asked, too; with a pattern it is asked while listing."""
    tree = make(on_disk, "d/file", "d/z")
    untyped = "getdents * 1+ untyped"
    for options in ((), ("--exclude", "f*/")):
        for number, key in ((errno.ENOENT, "listed"), (errno.EACCES, "no-stat"), (errno.ESTALE, "stale")):
            done = pack(tree, *options, env=faults(untyped, f"stat */d/file 1+ errno {number}"))
            assert warnings_of(done.result) == ["warning: " + SKIPPED[key].format(path="d/file")]
            assert done.names == ["d", "d/z"]
        said = fails(tree, *options, env=faults(untyped, f"stat */d/file 1+ errno {errno.EIO}"))
        assert said == f'error at "d": stat failed on "d/file": {os.strerror(errno.EIO)}'


def test_owner_only_flag_is_left_out_when_refused(tree: Path, pack: Pack, faults: Faults) -> None:
    make(tree, "d/file")
    done = pack(tree, env=faults(f"open */d 1 errno {errno.EPERM}", f"open */d/file 1 errno {errno.EPERM}"))
    assert done.names == ["d", "d/file"] and warnings_of(done.result) == []


def test_error_of_the_root_listing_has_no_context(tree: Path, fails: Callable[..., str], faults: Faults) -> None:
    make(tree, "file")
    said = fails(tree, env=faults(f"getdents {tree} 2 errno {errno.EIO}"))
    assert "error at" not in said and said.endswith(f"cannot read directory: {os.strerror(errno.EIO)}")


def test_attributes_of_the_root(on_disk: Path, fails: Callable[..., str], faults: Faults) -> None:
    for number in (errno.EIO, errno.ESTALE):
        said = fails(on_disk, env=faults(f"xattr {on_disk} 1 errno {number}"))
        assert "failed to get metadata for source directory" in said and os.strerror(number) in said


@pytest.mark.parametrize("kind", ["fifo", "symlink"])
def test_directory_that_is_replaced(tree: Path, pack: Pack, faults: Faults, tmp_path: Path, kind: str) -> None:
    make(tree, "d/", "z")
    flag = tmp_path / "paused"
    replaced = threading.Event()

    def replace() -> None:
        while not flag.exists():
            if replaced.wait(0.001):
                return
        (tree / "d").rmdir()
        os.mkfifo(tree / "d") if kind == "fifo" else (tree / "d").symlink_to("/etc")
        flag.unlink()

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        done = pack(tree, env=faults(f"open {tree}/d 1 pause {flag}"))
    finally:
        replaced.set()
        thread.join()
    assert done.names == ["z"]
    assert warnings_of(done.result) == ['warning: file vanished while reading: "d"']


def test_value_that_is_too_big(on_disk: Path, pxarbench: Path, tmp_path: Path, faults: Faults) -> None:
    """A12: fatal without the option; with it the file is stored with what was read before."""
    tree = make(on_disk, "file", "z")
    try:
        for name in ("user.a", "user.b"):
            os.setxattr(tree / "file", name, b"value")
    except OSError as error:
        pytest.skip(f"no attributes here: {error}")
    repository = Repository(pxarbench, tmp_path / "store", tmp_path)
    for when, kept in ((1, 0), (2, 0), (3, 1)):  # names, then values
        env = faults(f"xattr */file {when} errno {errno.E2BIG}")
        at = T1 + when
        text = repository.run(tree, at, mode="data", env=env).failed()
        assert 'error at "file"' in text and os.strerror(errno.E2BIG) in text and "(try --skip-e2big-xattr)" in text
        done = repository.run(tree, at, "--skip-e2big-xattr", mode="data", env=env)
        done.result.check_ok()
        assert warnings_of(done.result) == []
        (entry,) = (entry for entry in repository.dump(at) if entry.get("path") == "/file")
        assert len(entry.get("xattrs", [])) == kept


def test_acl_that_cannot_be_stored_is_warned_about(pack: Pack) -> None:
    """A file with the ACL of a user, on tmpfs: its group bits are the mask."""
    with tempfile.TemporaryDirectory(prefix="pxarbench-test-", dir="/dev/shm") as folder:
        if not measure.filesystem(Path(folder)).startswith("tmpfs"):
            pytest.skip("/dev/shm is no tmpfs")
        tree = make(Path(folder) / "tree", "file")
        one = [(1, 6, -1), (2, 6, 12345), (4, 4, -1), (16, 6, -1), (32, 0, -1)]
        acl = (2).to_bytes(4, "little")
        for tag, rights, who in one:
            acl += tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + (who & 0xFFFFFFFF).to_bytes(4, "little")
        try:
            os.setxattr(tree / "file", "system.posix_acl_access", acl)
        except OSError as error:
            pytest.skip(f"no ACLs on /dev/shm: {error}")
        assert any("ACL" in line for line in warnings_of(pack(tree).result))


# ---- mount points ----


@pytest.fixture(scope="session")
def namespace() -> list[str]:
    """Words in front of a command that gives it mounts of its own: namespace + [commands that mount]."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        pytest.skip("there is no program unshare or mount")
    probe = run.run([*NAMESPACE, "mount", "-t", "tmpfs", "probe", "/mnt"], timeout=20)
    if probe.returncode != 0:
        pytest.skip(f"no mounts in a namespace of our own: {probe.stderr.decode(errors='replace').strip()}")
    return NAMESPACE


def mounting(namespace: list[str], *commands: str) -> list[str]:
    """`commands` are of the shell, run first, in the same namespace."""
    return [*namespace, "sh", "-ec", "\n".join(commands) + '\nexec "$@"', "sh"]


def tmpfs(point: Path, *, mode: str = "0711") -> str:
    return f"mount -t tmpfs -o mode={mode} pxarbench-test {shlex.quote(os.fspath(point))}"


def skipped(done: Packed) -> list[str]:
    lines = [line for line in done.log.splitlines() if line.startswith("skipping mount point: ")]
    return [line.removeprefix("skipping mount point: ").strip('"') for line in lines]


@pytest.fixture
def with_mount(tree: Path, namespace: list[str]) -> tuple[Path, list[str]]:
    """A tree with a tmpfs at `d/mnt`, which holds a file, patterns and another tmpfs."""
    make(tree, "d/mnt/hidden", "d/z", "z")
    point = tree / "d" / "mnt"
    quoted = shlex.quote(os.fspath(point))
    return tree, mounting(
        namespace, tmpfs(point), f"echo z >{quoted}/.pxarexclude", f"touch {quoted}/x {quoted}/z",
        f"mkdir {quoted}/in", tmpfs(point / "in"), f"touch {quoted}/in/y {quoted}/in/z",
    )  # fmt: skip


def test_mount_point_is_archived_empty(with_mount: tuple[Path, list[str]], pack: Pack) -> None:
    tree, before = with_mount
    done = pack(tree, before=before)
    assert done.names == ["d", "d/mnt", "d/z", "z"] and skipped(done) == ["d/mnt"]
    assert done.entries["d/mnt"]["mode"] == "0040711"  # of the mounted root
    assert warnings_of(done.result) == []


def test_all_file_systems_are_entered(with_mount: tuple[Path, list[str]], pack: Pack) -> None:
    tree, before = with_mount
    done = pack(tree, "--all-file-systems", before=before)
    inner = ["d/mnt", "d/mnt/.pxarexclude", "d/mnt/in", "d/mnt/in/y", "d/mnt/x"]
    assert done.names == ["d", *inner, "d/z", "z"] and skipped(done) == []


def test_given_devices_are_entered(with_mount: tuple[Path, list[str]], repository: Repository) -> None:
    tree, before = with_mount
    repository.run(tree, T1, "--include-dev", str(tree / "d" / "mnt"), mode="data", before=before).result.check_ok()
    names = [entry["path"] for entry in repository.dump(T1) if "path" in entry]
    inner = ["/d/mnt", "/d/mnt/.pxarexclude", "/d/mnt/in", "/d/mnt/x"]  # the tmpfs in it is another one
    assert names == ["/", "/d", *inner, "/d/z", "/z"]
    both = repository.run(tree, T2, "--include-dev", str(tree), "--all-file-systems", mode="data", before=before)
    assert "conflicts with option" in sentence(both.result, 2)


def test_virtual_file_systems_are_never_entered(
    tree: Path, pack: Pack, fails: Callable[..., str], namespace: list[str]
) -> None:
    make(tree, "d/proc/", "d/sys/", "d/x", "z")
    point = shlex.quote(os.fspath(tree / "d"))
    before = mounting(namespace, f"mount -t proc proc {point}/proc", f"mount -t sysfs sysfs {point}/sys || true")
    for options in ((), ("--all-file-systems",)):
        done = pack(tree, *options, before=before)
        assert done.names == ["d", "d/proc", "d/sys", "d/x", "z"]
        assert "d/proc" in skipped(done)
    assert fails(Path("/proc")) == "/proc: refusing to backup a virtual file system"


def test_virtual_file_system_by_its_type(
    with_mount: tuple[Path, list[str]], pack: Pack, fails: Callable[..., str], faults: Faults, repository: Repository
) -> None:
    tree, before = with_mount
    virtual = [
        "42494e4d", "63677270", "27e0eb", "62656570", "64626720", "1cd1", "de5e81e4", "65735543", "958458f6", "19800202",
        "6e667364", "9fa0", "6165676c", "67596969", "73636673", "f97cff8c", "43415d53", "62656572",
    ]  # fmt: skip
    for magic in virtual:
        env = faults(f"statfs */mnt 1+ magic {magic}")
        assert skipped(pack(tree, "--all-file-systems", before=before, env=env)) == ["d/mnt"]
    assert "refusing to backup a virtual file system" in fails(tree, env=faults(f"statfs {tree} 1+ magic 9fa0"))
    for number, magic in enumerate(("74726163", "cafe4a11")):
        env = faults(f"statfs */mnt 1+ magic {magic}")
        assert skipped(pack(tree, "--all-file-systems", before=before, env=env)) == []
        words = ["--all-file-systems", "--skip-kernel-tracing"]
        done = repository.run(tree, T1 + number, *words, mode="data", before=before, env=env)
        assert 'skipping mount point: "d/mnt"' in done.result.check_ok().stderr.decode()


def test_bind_mount_of_the_same_file_system_is_entered(tree: Path, pack: Pack, namespace: list[str]) -> None:
    make(tree, "a/x", "b/hidden")
    before = mounting(namespace, f"mount --bind {shlex.quote(str(tree / 'a'))} {shlex.quote(str(tree / 'b'))}")
    done = pack(tree, before=before)
    assert done.names == ["a", "a/x", "b", "b/x"] and skipped(done) == []


def test_features_are_those_of_each_file_system(tmp_path: Path, pack: Pack, namespace: list[str]) -> None:
    """A disk within a tmpfs within a disk: what is stored follows; a mounted root is read as its parent is."""
    image = tmp_path / "image"
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("there is no mkfs.ext4")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    run.run(["mkfs.ext4", "-q", "-F", image], timeout=60).check_ok()
    tree = make(tmp_path / "tree", "disk/")
    disk = shlex.quote(str(tree / "disk"))
    mark = shlex.join([sys.executable, "-c", "import os, sys\nfor p in sys.argv[1:]: os.setxattr(p, 'user.mark', b'1')"])
    commands = [
        f"mount -o loop {shlex.quote(str(image))} {disk}", f"mkdir {disk}/a {disk}/mem {disk}/z",
        tmpfs(tree / "disk" / "mem"), f"mkdir {disk}/mem/in", f"mount -o loop {shlex.quote(str(image))} {disk}/mem/in",
        f"touch {disk}/mem/file {disk}/z/file", f"{mark} {disk} {disk}/a {disk}/z {disk}/z/file",
    ]  # fmt: skip
    before = mounting(namespace, *commands)
    probe = run.run([*before, "true"], timeout=60)
    if probe.returncode != 0:
        pytest.skip(f"no loop mounts here: {probe.stderr.decode(errors='replace').strip()}")
    before = mounting(namespace, *commands[:1], f"mkdir {disk}/a {disk}/mem {disk}/z || true", *commands[2:])
    done = pack(tree / "disk", "--all-file-systems", before=before)
    marked = {path for path, entry in done.entries.items() if entry.get("xattrs")}
    # "mem" (a tmpfs) has none; "mem/in" is the disk's root read as what is in a tmpfs; below it the disk's features hold.
    assert marked == {"", "a", "z", "z/file", "mem/in/a", "mem/in/z", "mem/in/z/file"}


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ESTALE, errno.EIO], ids=errno.errorcode.get)
def test_type_of_a_mounted_file_system_that_is_not_told(
    with_mount: tuple[Path, list[str]], pack: Pack, fails: Callable[..., str], faults: Faults, number: int
) -> None:
    tree, before = with_mount
    env = faults(f"statfs */mnt 1 errno {number}")
    if number == errno.ESTALE:
        done = pack(tree, before=before, env=env)
        assert done.names == ["d", "d/z", "z"]
        assert warnings_of(done.result) == ['warning: stale file handle encountered while reading: "d/mnt"']
        return
    said = fails(tree, before=before, env=env)
    assert said == f'error at "d/mnt": cannot ask for its file system: {os.strerror(number)}'


# ---- trees that change ----


def test_archive_of_a_tree_that_changes_all_the_time_is_whole(tree: Path, pack: Pack) -> None:
    write_tree(tree, files=60, size=20000, folders=6)
    stop = threading.Event()

    def change() -> None:
        dice = random.Random(1)
        for number in range(1 << 30):
            if stop.is_set():
                return
            folder = tree / f"d{dice.randrange(6)}"
            path = folder / f"f{dice.randrange(60):02}"
            try:
                match dice.randrange(8):
                    case 0:
                        path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
                    case 1:
                        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK  # it may be a fifo by now
                        with open(path, "wb", opener=lambda name, _: os.open(name, flags)) as file:
                            file.write(noise(str(number), dice.randrange(60000)))
                    case 2:
                        os.truncate(path, dice.randrange(40000))
                    case 3:
                        path.mkdir()
                    case 4:
                        path.symlink_to("elsewhere")
                    case 5:
                        os.mkfifo(path)
                    case 6:
                        path.rename(tree / f"d{dice.randrange(6)}" / path.name)
                    case 7:
                        patterns(folder, f"f{dice.randrange(60):02}")
            except OSError:
                pass

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for number in range(12):
            done = pack(tree, "--threads", str(1 + number % 3), unified=number % 4 == 3)  # decoded to its end
            assert done.entries[""]["kind"] == "dir"
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("rule", ["xattr {path} 1 errno 5", "open {path} 1 errno 5", "read {path} 1 errno 5"])
@pytest.mark.parametrize("place", [0, 9, 19], ids=["first", "middle", "last"])
def test_fatal_error_never_leaves_a_snapshot(
    on_disk: Path, pxarbench: Path, tmp_path: Path, faults: Faults, rule: str, place: int
) -> None:
    """Again and again: the end of the streams must not overtake the report of the error."""
    tree = make(on_disk)
    for number in range(20):
        (tree / f"f{number:02}").write_bytes(noise(str(number), 500))
    repository = Repository(pxarbench, tmp_path / "store", tmp_path)
    env = faults(rule.format(path=tree / f"f{place:02}"))
    for _ in range(100):
        text = repository.run(tree, T1, mode="data", env=env).failed()
        assert f'error at "f{place:02}"' in text
        assert not (repository.path / "host" / "me").exists()
    assert stat.S_ISDIR(tree.stat().st_mode)
    repository.check_whole()
