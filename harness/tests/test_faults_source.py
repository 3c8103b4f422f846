"""A source that is not there, not readable, or changes while it is read: one sentence or one warning, nothing lost.

Source: bench/spec/archive-creation.md A3, A10, A11.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backup_tools import T1, T2, Backup, Faults, Repository, noise, settle, warnings_of, write_tree

from pxarbench_harness import measure, run
from pxarbench_harness.tree import differences, scan

SMALL = 9000  # read ahead, together with its attributes
LARGE = 3 << 20  # above what is read ahead: opened again when it is its turn
NOBODY = 65534


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """On a disk even where tests work in memory: attributes of files on tmpfs are only counted, errors there do not matter."""
    if not measure.filesystem(tmp_path).startswith("tmpfs"):
        yield make_tree(tmp_path)
        return
    with tempfile.TemporaryDirectory(prefix="pxarbench-test-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)  # some tests go on as another user
        yield make_tree(Path(folder))


def make_tree(folder: Path) -> Path:
    root = write_tree(folder / "tree")
    (root / "d1" / "small").write_bytes(noise("small", SMALL))
    (root / "d1" / "large").write_bytes(noise("large", LARGE))
    settle(root)
    return root


@pytest.fixture
def first(repository: Repository, tree: Path) -> Repository:
    """A repository with one good snapshot, made in mode data."""
    repository.backup(tree, T1, mode="data")
    return repository


def touch(path: Path) -> None:
    """Another time of change: the file is read again in mode metadata."""
    os.utime(path, ns=(T2 * 10**9, T2 * 10**9))


def restored(repository: Repository, at: int) -> Path:
    target = repository.scratch / "restored"
    shutil.rmtree(target, ignore_errors=True)
    repository.restore(at, target).check_ok()
    return target


# ---- the source itself ----


@pytest.mark.parametrize("kind", ["missing", "dangling", "file", "fifo", "symlink-to-file"])
def test_source_that_is_no_directory(first: Repository, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "dangling":
        source.symlink_to("nowhere")
    elif kind == "file":
        source.write_bytes(b"x")
    elif kind == "fifo":
        os.mkfifo(source)
    elif kind == "symlink-to-file":
        source.symlink_to(first.path / ".lock")
    text = first.run(source, T2, timeout=20).failed()
    assert str(source) in text
    assert ("No such file or directory" if kind in ("missing", "dangling") else "is not a directory") in text
    first.check_whole()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE], ids=errno.errorcode.get)
def test_source_that_cannot_be_opened(first: Repository, tree: Path, faults: Faults, number: int) -> None:
    text = first.run(tree, T2, env=faults(f"open {tree} 1+ errno {number}")).failed()
    assert str(tree) in text and os.strerror(number) in text
    first.check_whole()


@pytest.fixture
def public(pxarbench: Path) -> Iterator[Path]:
    """A directory that everybody may use; pytest's own are private."""
    directory = Path(tempfile.mkdtemp(prefix="pxarbench-faults-"))
    try:
        directory.chmod(0o755)
        shutil.copy2(pxarbench, directory / "pxarbench")
        yield directory
    finally:
        shutil.rmtree(directory)


def as_nobody() -> list[str]:
    """Words in front of a command: root may read everything, so it must be somebody else."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("there is no program setpriv to stop being root")
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def give_to_nobody(root: Path) -> None:
    if os.geteuid() == 0:
        for path in [root, *root.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@pytest.fixture
def private(public: Path) -> tuple[Repository, Path]:
    """A repository with one snapshot and a tree, both of somebody without rights."""
    tree = write_tree(public / "tree")
    scratch = public / "scratch"
    scratch.mkdir()
    repository = Repository(public / "pxarbench", public / "store", scratch)
    give_to_nobody(public)
    repository.run(tree, T1, mode="data", before=as_nobody()).result.check_ok()
    repository.wanted[T1] = scan(tree)
    return repository, tree


def test_source_without_permission(private: tuple[Repository, Path]) -> None:
    repository, tree = private
    tree.chmod(0)
    text = repository.run(tree, T2, before=as_nobody()).failed()
    tree.chmod(0o755)
    assert str(tree) in text and "Permission denied" in text
    repository.check_whole()


def test_unreadable_file_and_directory_are_skipped_with_a_warning(private: tuple[Repository, Path]) -> None:
    repository, tree = private
    (tree / "d0" / "f03").chmod(0)
    (tree / "d2").chmod(0)
    done = repository.run(tree, T2, before=as_nobody())
    (tree / "d2").chmod(0o755)
    assert done.archive["entries"]["skipped"] == 2
    said = warnings_of(done.result)
    assert [line for line in said if "access denied" in line and '"d0/f03"' in line] != []
    assert [line for line in said if "access denied" in line and '"d2"' in line] != []
    shutil.rmtree(tree / "d2")
    (tree / "d0" / "f03").unlink()
    assert differences(scan(tree), scan(restored(repository, T2)), fields=("kind", "size", "digest", "link_to")) == []
    repository.wanted[T2] = scan(restored(repository, T2))
    repository.check_whole()


# ---- changes while reading ----


def vanishing() -> list[Any]:
    """(file, rule): the file is something else when it is opened."""
    cases = []
    actions = ["unlink", "replace directory", "replace symlink", "replace fifo"]
    actions += [f"errno {number}" for number in (errno.ENOENT, errno.ELOOP, errno.ENXIO)]
    for name, when in (("small", 1), ("large", 1), ("large", 2)):
        for action in actions:
            cases.append(pytest.param(name, when, action, id=f"{name}-open{when}-{action.replace(' ', '-')}"))
    cases.append(pytest.param("large", 2, "replace file", id="large-open2-replace-file"))
    return cases


@pytest.mark.parametrize(("name", "when", "action"), vanishing())
@pytest.mark.parametrize("mode", ["data", "metadata"])
def test_file_that_vanishes_is_left_out(
    first: Repository, tree: Path, faults: Faults, mode: str, name: str, when: int, action: str
) -> None:
    touch(tree / "d1" / name)
    before = scan(tree)
    # Held open, so that the file system cannot give the old inode number to what takes the place.
    with (tree / "d1" / name).open("rb"):
        done = first.run(tree, T2, mode=mode, env=faults(f"open */d1/{name} {when} {action}"), timeout=20)
    assert done.archive["entries"]["skipped"] == 1
    assert warnings_of(done.result) == [f'warning: file vanished while reading: "d1/{name}"']
    expected = {path: entry for path, entry in before.entries.items() if path != f"d1/{name}".encode()}
    first.wanted[T2] = type(before)(before.root, expected)
    if action != f"errno {errno.ENOENT}":  # the directory changed as well, before or after it was read
        first.wanted[T2] = with_mtime_of(first, b"d1")
    first.check_whole()


def with_mtime_of(repository: Repository, *paths: bytes) -> Any:
    """What must come back at T2, with the times that these directories had when they were read."""
    wanted = repository.wanted[T2]
    found = scan(restored(repository, T2))
    entries = dict(wanted.entries)
    for path in paths:
        entries[path] = dataclasses.replace(entries[path], mtime_ns=found.entries[path].mtime_ns)
    return dataclasses.replace(wanted, entries=entries)


@pytest.mark.parametrize("mode", ["data", "metadata"])
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, 'failed to open file: "{name}": access denied ("d1/{name}")'),
        (errno.ESTALE, 'stale file handle encountered while reading: "d1/{name}"'),
    ],
    ids=["EACCES", "ESTALE"],
)
@pytest.mark.parametrize(("name", "when"), [("small", 1), ("large", 2)])
def test_file_that_cannot_be_opened_is_left_out_with_the_reason(
    first: Repository, tree: Path, faults: Faults, mode: str, name: str, when: int, number: int, said: str
) -> None:
    touch(tree / "d1" / name)
    done = first.run(tree, T2, mode=mode, env=faults(f"open */d1/{name} {when} errno {number}"))
    assert done.archive["entries"]["skipped"] == 1
    assert warnings_of(done.result) == ["warning: " + said.format(name=name)]
    (tree / "d1" / name).unlink()
    settle(tree)
    first.wanted[T2] = scan(tree)
    first.check_whole()


@pytest.mark.parametrize("mode", ["data", "metadata"])
@pytest.mark.parametrize(("name", "size", "when"), [("small", SMALL, 1), ("large", LARGE, 1), ("large", LARGE, 2)])
@pytest.mark.parametrize("rest", [0, 1, 4097])
def test_file_that_shrinks_is_padded_with_zeros(
    first: Repository, tree: Path, faults: Faults, mode: str, name: str, size: int, when: int, rest: int
) -> None:
    path = tree / "d1" / name
    touch(path)
    was = path.read_bytes()
    entry = scan(tree).entries[f"d1/{name}".encode()]
    done = first.run(tree, T2, mode=mode, env=faults(f"read {path} {when} truncate {rest}"))
    said = f'warning: file size shrunk while reading: "d1/{name}", file will be padded with zeros!'
    assert warnings_of(done.result) == [said]
    back = restored(first, T2) / "d1" / name
    content = back.read_bytes()
    kept = len(content.rstrip(b"\0"))
    # What was read before the file shrank is there, and nothing but zeros behind it.
    assert len(content) == size and content[:kept] == was[:kept]
    assert kept <= rest if when == 1 else kept < size
    assert back.stat().st_mtime_ns == entry.mtime_ns
    path.write_bytes(content)
    touch(path)
    first.wanted[T2] = scan(tree)
    first.check_whole()
    # The file has changed since: the next run sees it.
    path.write_bytes(was[:rest])
    assert first.backup(tree, T2 + 1).archive["reasons"].get("size") == 1
    first.check_whole()


@pytest.mark.parametrize("mode", ["data", "metadata"])
@pytest.mark.parametrize(("name", "when"), [("small", 1), ("large", 1), ("large", 2)])
def test_file_that_grows_is_cut(
    first: Repository, tree: Path, faults: Faults, mode: str, name: str, when: int
) -> None:
    path = tree / "d1" / name
    touch(path)
    wanted = scan(tree)
    done = first.run(tree, T2, mode=mode, env=faults(f"read {path} {when} append 5000"))
    assert warnings_of(done.result) == [
        f'warning: file size increased while reading: "d1/{name}", file will be truncated!'
    ]
    first.wanted[T2] = wanted
    first.check_whole()
    assert first.backup(tree, T2 + 1).archive["reasons"].get("size") == 1
    first.check_whole()


def test_archive_of_changing_files_is_decoded_to_its_end(first: Repository, tree: Path, faults: Faults) -> None:
    """All at once: the two streams agree on every offset and size."""
    for name in ("d0/f00", "d0/f03", "d1/small", "d1/large", "d1/f04", "d2/f02"):
        touch(tree / name)
    rules = [
        "read */d0/f03 1 truncate 17", "read */d1/large 2 truncate 1048577", "read */d1/small 1 append 1",
        "open */d1/f04 1 unlink", "open */d2/f02 1 replace fifo",
    ]  # fmt: skip
    done = first.run(tree, T2, env=faults(*rules))
    assert done.archive["entries"]["skipped"] == 2 and len(warnings_of(done.result)) == 5
    entries = first.dump(T2)
    files = {entry["path"].lstrip("/"): entry for entry in entries if entry.get("kind") == "file"}
    assert not {"d1/f04", "d2/f02"} & set(files) and {"d0/f03", "d1/large", "d1/small"} <= set(files)
    back = restored(first, T2)
    assert all((back / path).stat().st_size == entry["size"] for path, entry in files.items())


# ---- errors that end the run ----


def failing() -> list[Any]:
    cases = []
    for name in ("small", "large"):
        for number in (errno.EIO, errno.ESTALE, errno.EACCES):
            cases.append((f"read */d1/{name} 1 errno {number}", f"d1/{name}", number))
        cases.append((f"open */d1/{name} 1 errno {errno.EIO}", f"d1/{name}", errno.EIO))
        cases.append((f"fstat */d1/{name} 1 errno {errno.EIO}", f"d1/{name}", errno.EIO))
        cases.append((f"xattr */d1/{name} 1 errno {errno.EIO}", f"d1/{name}", errno.EIO))
    cases.append((f"read */d1/large 3 errno {errno.EIO}", "d1/large", errno.EIO))
    cases.append((f"open */d1/large 2 errno {errno.EIO}", "d1/large", errno.EIO))
    cases.append((f"fstat */d1/large 2 errno {errno.EIO}", "d1/large", errno.EIO))
    cases.append((f"stat */link 1 errno {errno.EIO}", "link", errno.EIO))
    cases.append((f"readlink */link 1 errno {errno.EIO}", "link", errno.EIO))
    cases.append((f"open */d1 1 errno {errno.EIO}", "d1", errno.EIO))
    cases.append((f"fstat */d1 1 errno {errno.EIO}", "d1", errno.EIO))
    # The first call gives all names of so small a directory, the second says that there are no more.
    for when in (1, 2):
        for number in (errno.EIO, errno.ESTALE, errno.EBADF):
            cases.append((f"getdents */tree/d1 {when} errno {number}", "d1", number))
    words = [(rule.split()[0], named, rule.split()[2], errno.errorcode[number]) for rule, named, number in cases]
    return [pytest.param(*case, id="-".join(word)) for case, word in zip(cases, words, strict=True)]


@pytest.mark.parametrize(("rule", "named", "number"), failing())
@pytest.mark.parametrize("mode", ["data", "metadata"])
def test_error_while_reading_fails_the_run(
    first: Repository, tree: Path, faults: Faults, mode: str, rule: str, named: str, number: int
) -> None:
    if rule.startswith("xattr") and measure.filesystem(tree).startswith("tmpfs"):
        pytest.skip("no file system with attributes: the temporary directory and /var/tmp are both tmpfs")
    touch(tree / "d1" / "small")
    touch(tree / "d1" / "large")
    text = first.run(tree, T2, mode=mode, env=faults(rule)).failed()
    assert named in text and os.strerror(number) in text
    assert text.count(os.strerror(number)) == 1
    first.check_whole()
    first.backup(tree, T2)
    first.check_whole()


def test_error_in_the_root_listing_fails_the_run(first: Repository, tree: Path, faults: Faults) -> None:
    for when in (1, 2):
        text = first.run(tree, T2, env=faults(f"getdents {tree} {when} errno {errno.EIO}")).failed()
        assert str(tree) in text and os.strerror(errno.EIO) in text
    first.check_whole()


def test_first_backup_that_fails_leaves_no_group(repository: Repository, tree: Path, faults: Faults) -> None:
    repository.run(tree, T1, env=faults(f"read */d1/small 1 errno {errno.EIO}")).failed()
    assert not (repository.path / "host" / "me").exists()
    repository.check_whole()


def test_error_in_the_second_source_takes_the_first_with_it(
    first: Repository, tree: Path, faults: Faults, tmp_path: Path
) -> None:
    other = write_tree(tmp_path / "other")
    done: Backup = first.run(tree, T2, f"other.pxar:{other}", env=faults(f"read {other}/d1/f04 1 errno {errno.EIO}"))
    assert "d1/f04" in done.failed()
    first.check_whole()


@pytest.mark.parametrize("rest", [0, 100, 4 << 20, (9 << 20) - 1])
@pytest.mark.parametrize("when", [1, 2])
def test_image_that_shrinks_is_no_image_with_a_hole(
    first: Repository, tree: Path, faults: Faults, tmp_path: Path, rest: int, when: int
) -> None:
    image = tmp_path / "disk"
    image.write_bytes(noise("disk", 9 << 20))
    done = first.run(tree, T2, f"disk.img:{image}", env=faults(f"read {image} {when} truncate {rest}"))
    assert f'image "{image}" shrank while being read: ends at offset ' in done.failed()
    first.check_whole()


def test_names_in_sentences_stay_on_one_line(first: Repository, tree: Path, faults: Faults) -> None:
    (tree / "d1" / "two\nlines").write_bytes(b"x")
    text = first.run(tree, T2, env=faults(f"read *lines 1 errno {errno.EIO}")).failed()
    assert "d1/two\\x0alines" in text
    first.check_whole()


def test_shim_complains_about_rules_that_it_does_not_understand(faults: Faults) -> None:
    assert run.run(["true"], env=faults("read")).returncode == 99
