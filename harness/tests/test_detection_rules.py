"""When a file counts as unchanged: bench/spec/change-detection.md 5, one attribute at a time, where there is one.

No padding is too much here, so nothing but the file's own attributes decides.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import everything_tree as kernel
import pytest
from backup_tools import T1, T2, T3, Repository, noise, payload_references
from detection_tools import backup, usage, write
from loop_mount import mounted

from pxarbench_harness.tree import differences, scan

ANY_PADDING = ("--padding-threshold", "1")
MTIME = 1_500_000_000_123_456_789
RULES = ["strict", "upstream", "content"]

Change = Callable[[Path], object]


# ---- files with every attribute, and what may happen to one of them ----


@pytest.fixture(scope="module")
def ext4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted("ext4", tmp_path_factory.mktemp("rules"), "user_xattr", "acl") as point:
        yield point
        kernel.clear_flags(point)


@pytest.fixture(scope="module")
def xfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted("xfs", tmp_path_factory.mktemp("projects")) as point:
        yield point


def access(user: int, permissions: int) -> bytes:
    return kernel.acl(
        [(kernel.USER_OBJ, 6, kernel.NO_ID), (kernel.USER, permissions, user), (kernel.USER, 4, 3000),
         (kernel.GROUP_OBJ, 4, kernel.NO_ID), (kernel.MASK, 7, kernel.NO_ID), (kernel.OTHER, 0, kernel.NO_ID)]
    )  # fmt: skip


def keep_times(path: Path, action: Callable[[], object]) -> None:
    before = path.stat()
    action()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def plain(path: Path) -> None:
    write(path, noise(path.name, 3000), MTIME)


def with_xattrs(path: Path) -> None:
    plain(path)
    for name in ("user.a", "user.b", "user.c"):
        os.setxattr(path, name, b"1")


def with_acl(path: Path) -> None:
    plain(path)
    os.setxattr(path, "system.posix_acl_access", access(2000, 4))


def with_caps(path: Path) -> None:
    plain(path)
    os.setxattr(path, "security.capability", kernel.capability(1 << 10))


def flagged(flag: int) -> Change:
    return lambda path: kernel.set_flags(path, flag) or pytest.skip("a file system without chattr flags")


def chmod(mode: int) -> Change:
    return lambda path: os.chmod(path, mode)


def chown(uid: int, gid: int) -> Change:
    return lambda path: os.chown(path, uid, gid)


def mtime(ns: int) -> Change:
    return lambda path: os.utime(path, ns=(0, ns))


def xattr(name: str, value: bytes | None) -> Change:
    return lambda path: os.removexattr(path, name) if value is None else os.setxattr(path, name, value)


def rename_xattr(path: Path) -> None:
    os.removexattr(path, "user.c")
    os.setxattr(path, "user.d", b"1")


def reorder_xattrs(path: Path) -> None:
    before = os.listxattr(path)
    os.removexattr(path, "user.a")
    os.setxattr(path, "user.a", b"1")
    if os.listxattr(path) == before:
        pytest.skip("the file system lists extended attributes in an order of its own")
    assert sorted(os.listxattr(path)) == sorted(before)


def resize(size: int) -> Change:
    return lambda path: keep_times(path, lambda: os.truncate(path, size))


def replace_by(make: Callable[[Path], object]) -> Change:
    def change(path: Path) -> None:
        path.unlink()
        make(path)
        os.utime(path, ns=(MTIME, MTIME), follow_symlinks=False)

    return change


ALWAYS, NOT_CONTENT, STRICT_ONLY = RULES, ["strict", "upstream"], ["strict"]

#: What is there before, what happens, the reason, the rules for which it is one.
CHANGES: dict[str, tuple[Change, Change, str, list[str]]] = {
    "mode": (plain, chmod(0o600), "mode", NOT_CONTENT),
    "mode-setuid": (plain, chmod(0o4644), "mode", NOT_CONTENT),
    "mode-sticky": (plain, chmod(0o1644), "mode", NOT_CONTENT),
    "uid": (plain, chown(4321, -1), "owner", NOT_CONTENT),
    "gid": (plain, chown(-1, 4321), "owner", NOT_CONTENT),
    "mtime-seconds": (plain, mtime(MTIME + 10**9), "mtime", ALWAYS),
    "mtime-earlier": (plain, mtime(MTIME - 10**9), "mtime", ALWAYS),
    "mtime-one-nanosecond": (plain, mtime(MTIME + 1), "mtime", ALWAYS),
    "flag-nodump": (plain, flagged(kernel.NODUMP), "flags", NOT_CONTENT),
    "flag-noatime": (plain, flagged(kernel.NOATIME), "flags", NOT_CONTENT),
    "flag-sync": (plain, flagged(kernel.SYNC), "flags", NOT_CONTENT),
    "flag-append": (plain, flagged(kernel.APPEND), "flags", NOT_CONTENT),
    "flag-immutable": (plain, flagged(kernel.IMMUTABLE), "flags", NOT_CONTENT),
    "xattr-value": (with_xattrs, xattr("user.b", b"2"), "xattr-value", STRICT_ONLY),
    "xattr-value-size": (with_xattrs, xattr("user.b", b""), "xattr-value", STRICT_ONLY),
    "xattr-added": (with_xattrs, xattr("user.d", b"1"), "xattr", NOT_CONTENT),
    "xattr-first-one": (plain, xattr("user.a", b"1"), "xattr", NOT_CONTENT),
    "xattr-removed": (with_xattrs, xattr("user.c", None), "xattr", NOT_CONTENT),
    "xattr-renamed": (with_xattrs, rename_xattr, "xattr", NOT_CONTENT),
    "xattr-order": (with_xattrs, reorder_xattrs, "xattr", NOT_CONTENT),
    "acl-permissions": (with_acl, xattr("system.posix_acl_access", access(2000, 6)), "acl", NOT_CONTENT),
    "acl-other-user": (with_acl, xattr("system.posix_acl_access", access(2001, 4)), "acl", NOT_CONTENT),
    "caps-changed": (with_caps, xattr("security.capability", kernel.capability(1 << 11)), "caps", NOT_CONTENT),
    "caps-removed": (with_caps, xattr("security.capability", None), "caps", NOT_CONTENT),
    "caps-added": (plain, xattr("security.capability", kernel.capability(1 << 10)), "caps", NOT_CONTENT),
    "size-grown": (plain, resize(3001), "size", ALWAYS),
    "size-shrunk": (plain, resize(2999), "size", ALWAYS),
    "size-none": (plain, resize(0), "size", ALWAYS),
    "was-symlink": (lambda path: path.symlink_to("b"), replace_by(plain), "type", ALWAYS),
    "was-fifo": (os.mkfifo, replace_by(plain), "type", ALWAYS),
    "was-directory": (os.mkdir, lambda path: (path.rmdir(), plain(path)), "type", ALWAYS),
    "was-not-there": (lambda path: None, plain, "new", ALWAYS),
    "was-later-name": (lambda path: os.link(path.with_name("b"), path), replace_by(plain), "hardlink", ALWAYS),
}


@dataclass
class Case:
    repository: Repository
    tree: Path

    @property
    def file(self) -> Path:
        return self.tree / "c"

    def others(self) -> set[str]:
        return {path.name for path in self.tree.iterdir() if path.is_file()} - {"c"}


def prepare(repository: Repository, tree: Path, make: Change) -> Case:
    """Five files, `make` makes the middle one, and a `data` snapshot of them."""
    tree.mkdir()
    for name in "abde":
        plain(tree / name)
    make(tree / "c")
    repository.backup(tree, T1, mode="data")
    return Case(repository, tree)


def check_reason(case: Case, rule: str, reason: str | None) -> None:
    """Exactly `c` is read again, for this reason; None: nothing is."""
    done = backup(case.repository, case.tree, T2, "--compare", rule, *ANY_PADDING)
    assert done.changed == ({"c": reason} if reason else {})
    assert done.archive["reasons"].get("unchanged", 0) == len(case.others()) + (0 if reason else 1)
    assert {name: done.actions[name] for name in case.others()} == dict.fromkeys(case.others(), "reused")
    assert done.actions["c"] == ("reencoded" if reason else "reused")
    assert done.archive["file_bytes_read"] == (case.file.stat().st_size if reason else 0)
    usage(case.repository, T2)
    target = case.tree.with_name("restored")  # where attributes can be what they were
    case.repository.restore(T2, target).check_ok()
    try:
        assert differences(scan(case.tree, inode_flags=True), scan(target, inode_flags=True)) == []
    finally:
        kernel.clear_flags(target)
        shutil.rmtree(target)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CHANGES)
def test_each_attribute_alone(repository: Repository, ext4: Path, name: str, rule: str) -> None:
    make, change, reason, rules = CHANGES[name]
    case = prepare(repository, ext4 / f"{name}-{rule}", make)
    change(case.file)
    try:
        check_reason(case, rule, reason if rule in rules else None)
    finally:
        kernel.clear_flags(case.tree)


def test_entry_of_an_acl_added_and_removed(repository: Repository, ext4: Path) -> None:
    """The first ACL moves the group's permissions into it: `mode` shows the mask, which is kept as it was."""
    case = prepare(repository, ext4 / "acl-entries", with_acl)
    group = [(kernel.USER_OBJ, 6, kernel.NO_ID), (kernel.USER, 4, 2000), (kernel.USER, 4, 3000),
             (kernel.GROUP_OBJ, 4, kernel.NO_ID), (kernel.GROUP, 4, 77), (kernel.MASK, 7, kernel.NO_ID),
             (kernel.OTHER, 0, kernel.NO_ID)]  # fmt: skip
    mode = case.file.stat().st_mode
    os.setxattr(case.file, "system.posix_acl_access", kernel.acl(group))
    assert case.file.stat().st_mode == mode
    assert backup(repository, case.tree, T2, *ANY_PADDING).changed == {"c": "acl"}
    os.setxattr(case.file, "system.posix_acl_access", access(2000, 4))
    assert backup(repository, case.tree, T3, *ANY_PADDING).changed == {"c": "acl"}
    repository.check_restore(T3)


@pytest.mark.parametrize("rule", RULES)
def test_project_id_alone(repository: Repository, xfs: Path, rule: str) -> None:
    case = prepare(repository, xfs / f"project-{rule}", plain)
    try:
        kernel.set_project(case.file, 7)
    except OSError as error:
        pytest.skip(f"no project ids here: {error}")
    check_reason(case, rule, "project" if rule != "content" else None)
    kernel.set_project(case.file, 8)
    done = backup(repository, case.tree, T3, "--compare", rule, *ANY_PADDING)
    assert done.changed == ({"c": "project"} if rule != "content" else {})


# ---- what does not count ----


def fresh_inode(path: Path) -> None:
    copy = path.with_name("copy")
    inode = path.stat().st_ino
    shutil.copy2(path, copy)
    os.replace(copy, path)
    assert path.stat().st_ino != inode


def touch_ctime(path: Path) -> None:
    before = path.stat()
    os.chmod(path, 0o600)
    os.chmod(path, stat.S_IMODE(before.st_mode))
    assert path.stat().st_ctime_ns != before.st_ctime_ns


WITHOUT_EFFECT: dict[str, Change] = {
    "nothing": lambda path: None,
    "atime": lambda path: os.utime(path, ns=(5, MTIME)),
    "ctime": touch_ctime,
    "inode": lambda path: fresh_inode(path.with_name("b")),  # c has another name that would stay what it is
    "contents-with-time-and-size-kept": lambda path: keep_times(path, lambda: path.write_bytes(noise("x", 3000))),
    "directory-mode": lambda path: os.chmod(path.parent, 0o700),
    "directory-owner": lambda path: os.chown(path.parent, 4, 5),
    "directory-mtime": lambda path: os.utime(path.parent, ns=(0, 0)),
    "directory-xattr": lambda path: os.setxattr(path.parent, "user.d", b"1"),
    "symlink-target": lambda path: (path.with_name("s").unlink(), path.with_name("s").symlink_to("elsewhere")),
    "symlink-owner": lambda path: os.chown(path.with_name("s"), 4, 5, follow_symlinks=False),
    "later-name-added": lambda path: os.link(path, path.with_name("z-later")),
    "later-name-removed": lambda path: path.with_name("e-later").unlink(),
}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_without_effect(repository: Repository, ext4: Path, name: str) -> None:
    tree = ext4 / f"none-{name}"
    tree.mkdir()
    (tree / "s").symlink_to("a")
    for file in "abde":
        plain(tree / file)
    plain(tree / "c")
    os.link(tree / "c", tree / "e-later")
    contents = {path.name: path.read_bytes() for path in tree.iterdir() if path.is_file()}
    repository.backup(tree, T1, mode="data")
    WITHOUT_EFFECT[name](tree / "c")
    done = backup(repository, tree, T2, *ANY_PADDING)
    assert done.changed == {} and done.archive["file_bytes_read"] == 0
    assert done.archive["reused_files"] == 5
    if name == "contents-with-time-and-size-kept":
        target = repository.scratch / "old"
        repository.restore(T2, target).check_ok()
        assert {path: (target / path).read_bytes() for path in contents} == contents
    else:
        repository.check_restore(T2)


def test_value_of_an_xattr_is_stored_although_the_contents_are_reused(repository: Repository, ext4: Path) -> None:
    case = prepare(repository, ext4 / "value-stored", with_xattrs)
    os.setxattr(case.file, "user.b", b"another value")
    for at, rule in ((T2, "upstream"), (T3, "content")):
        assert backup(repository, case.tree, at, "--compare", rule, *ANY_PADDING).archive["file_bytes_read"] == 0
        target = repository.scratch / f"value-{at}"
        repository.restore(at, target).check_ok()
        assert os.getxattr(target / "c", "user.b") == b"another value"


def test_content_rule_stores_new_attributes_without_reading(repository: Repository, ext4: Path) -> None:
    """A chown of everything costs nothing (D14), and comes back."""
    case = prepare(repository, ext4 / "chown-all", with_acl)
    for path in case.tree.iterdir():
        os.chown(path, 1234, 2345)
        os.chmod(path, 0o660)
    done = backup(repository, case.tree, T2, "--compare", "content")
    assert (done.archive["reused_files"], done.archive["file_bytes_read"]) == (5, 0)
    repository.check_restore(T2)
    assert set(backup(repository, case.tree, T3, "--compare", "strict").reasons.values()) == {"unchanged"}


@pytest.mark.parametrize("kind", ["tmpfs"])
def test_moved_to_a_file_system_of_other_features(
    repository: Repository, ext4: Path, tmp_path: Path, kind: str
) -> None:
    """tmpfs counts as one without attributes: files that have some changed by moving, plain ones did not."""
    case = prepare(repository, ext4 / "moving", with_caps)
    with mounted(kind, tmp_path) as point:
        moved = point / "tree"
        shutil.copytree(case.tree, moved, symlinks=True)
        done = backup(repository, moved, T2, *ANY_PADDING)
        assert done.changed == {"c": "caps"}
        assert {done.actions[name] for name in case.others()} == {"reused"}


# ---- contents behind size and time ----


def test_contents_with_the_old_size_and_time_are_seen_by_data_alone(repository: Repository, tmp_path: Path) -> None:
    """The blind spot of section 5."""
    tree = tmp_path / "tree"
    for name in "abc":
        plain(tree / name)
    old = (tree / "b").read_bytes()
    repository.backup(tree, T1, mode="data")
    new = noise("another", 3000)
    keep_times(tree / "b", lambda: (tree / "b").write_bytes(new))
    done = backup(repository, tree, T2)
    assert done.changed == {} and done.archive["file_bytes_read"] == 0
    data = backup(repository, tree, T3, mode="data")
    assert data.archive["file_bytes_read"] == 9000
    for at, content in ((T2, old), (T3, new)):
        target = tmp_path / f"restored-{at}"
        repository.restore(at, target).check_ok()
        assert (target / "b").read_bytes() == content


@pytest.mark.parametrize("profile", ["tight", "upstream"])
@pytest.mark.parametrize("size", [0, 1, 2999, 3001, 200_000])
def test_another_size_with_the_old_time_is_read_again(
    repository: Repository, tmp_path: Path, size: int, profile: str
) -> None:
    """D3: taken for unchanged, it came back with the wrong size."""
    tree = tmp_path / "tree"
    for name in "abc":
        plain(tree / name)
    repository.backup(tree, T1, mode="data")
    keep_times(tree / "b", lambda: (tree / "b").write_bytes(noise("resized", size)))
    done = backup(repository, tree, T2, "--reuse-profile", profile, *ANY_PADDING)
    assert done.changed == {"b": "size"} and done.archive["file_bytes_read"] == size
    repository.check_restore(T2)


# ---- hardlinks ----

FIRST = {"reused": None, "rejected": None, "touched": "mtime", "resized": "size"}


@pytest.mark.parametrize("profile", ["tight", "upstream"])
@pytest.mark.parametrize("limit", ["1", "2", "3", "65536"])
@pytest.mark.parametrize("first", FIRST)
def test_later_names_become_hardlinks(
    repository: Repository, tmp_path: Path, first: str, limit: str, profile: str
) -> None:
    """Whether the first name is still cached when its later names come, was rejected with its range, or was encoded."""
    tree = tmp_path / "tree"
    for name in ("a", "c", "d/e", "f/g/h", "z"):
        plain(tree / name)
    for name in ("b2", "d/b3", "f/b4", "f/g/b5", "zz"):
        os.link(tree / "a", tree / name)
    os.link(tree / "d" / "e", tree / "y")
    repository.backup(tree, T1, mode="data")
    if first == "touched":
        os.utime(tree / "a", ns=(0, MTIME + 5))
    elif first == "resized":
        os.truncate(tree / "a", 100)
    options = ["--cache-limit", limit, "--reuse-profile", profile]
    options += ["--padding-threshold", "0" if first == "rejected" else "1"]
    done = backup(repository, tree, T2, *options)
    reason = FIRST[first]
    assert done.changed == ({"a": reason} if reason else {})
    links = {name for name, action in done.actions.items() if action == "hardlink"}
    assert links == {"b2", "d/b3", "f/b4", "f/g/b5", "zz", "y"}
    assert done.archive["entries"]["hardlink_names"] == 6 and done.archive["entries"]["hardlink_inodes"] == 2
    if first == "rejected":
        assert done.reasons["a"] == "threshold"
    elif first == "reused":
        assert done.archive["file_bytes_read"] == 0
    assert len(payload_references(repository.stream(T2, "mpxar"))) == 5
    usage(repository, T2)
    repository.check_restore(T2)


@pytest.mark.parametrize("limit", ["1", "2", "65536"])
def test_another_first_name_is_read_again(repository: Repository, tmp_path: Path, limit: str) -> None:
    """Its entry in the reference is a hardlink, or is not there: neither says what the contents were."""
    tree = tmp_path / "tree"
    for name in ("a", "c", "m", "q"):
        plain(tree / name)
    os.link(tree / "a", tree / "b")
    os.link(tree / "m", tree / "n")
    repository.backup(tree, T1, mode="data")
    (tree / "a").unlink()  # b is the first name now
    os.link(tree / "m", tree / "l")  # comes before m
    done = backup(repository, tree, T2, "--cache-limit", limit, *ANY_PADDING)
    assert done.changed == {"b": "hardlink", "l": "new"}
    assert {name for name, action in done.actions.items() if action == "hardlink"} == {"m", "n"}
    repository.check_restore(T2)


# ---- modes after each other ----


@pytest.mark.parametrize("profile", ["tight", "upstream"])
def test_metadata_after_data_reuses_all_that_is_unchanged(
    repository: Repository, tmp_path: Path, profile: str
) -> None:
    tree = tmp_path / "tree"
    for number in range(40):
        plain(tree / f"d{number % 4}" / f"f{number:02}")
    repository.backup(tree, T1, mode="data")
    done = backup(repository, tree, T2, "--reuse-profile", profile, "--require-reference")
    assert (done.archive["reused_files"], done.archive["reencoded_files"]) == (40, 0)
    assert done.archive["file_bytes_read"] == 0 and done.backup.reason == "used"
    # And data after metadata, metadata after that.
    assert backup(repository, tree, T3, mode="data").archive["file_bytes_read"] == 40 * 3000
    done = backup(repository, tree, T3 + 1, "--reuse-profile", profile, "--require-reference")
    assert done.archive["reused_files"] == 40
    repository.check_restore(T3 + 1)
