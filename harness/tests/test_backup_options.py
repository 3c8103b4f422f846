"""What `backup` and `pxar create` make of their arguments: sources by extension, options of the walk, every error.

How the walk itself behaves is test_walk.py's; here it is that each option reaches it.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from backup_tools import NAME, T1, T2, T3, Faults, Repository, noise, settle, write_tree
from loop_mount import mounted

from pxarbench_harness import run

PRELUDE = 0xE309D79D9F7B771B

Cli = Callable[..., run.Result]


def sentence(result: run.Result, code: int) -> str:
    """The one line that a failing command says."""
    assert result.returncode == code and result.stdout == b"", result
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0].removeprefix("error: ")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree", files=6, size=1000)


@pytest.fixture
def pack(pxarbench: Path, tmp_path: Path) -> Callable[..., list[Any]]:
    """`pxar create` of a tree: its entries."""
    count = 0

    def call(tree: Path, *words: str, split: bool = False, env: dict[str, str] | None = None) -> list[Any]:
        nonlocal count
        count += 1
        x, y = tmp_path / f"x{count}.mpxar", tmp_path / f"x{count}.ppxar"
        more = ["--payload-output", y] if split else []
        run.run([pxarbench, "pxar", "create", tree, x, *more, *words], timeout=60, env=env).check_ok()
        shown = run.run([pxarbench, "pxar", "dump", x, *(["--payload-input", y] if split else [])], timeout=60)
        return entries_of(json.loads(line) for line in shown.check_ok().text.splitlines())

    return call


def entries_of(shown: Iterable[Any]) -> list[Any]:
    """Without what a split archive has in front of them."""
    return [entry for entry in shown if "path" in entry]


def paths(entries: list[Any]) -> list[str]:
    return [entry["path"] for entry in entries]


def stored_paths(repository: Repository, at: int) -> list[str]:
    return paths(entries_of(repository.dump(at)))


# ---- sources ----


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["root.img:"], "'root.img:' is no source"),
        (["root.conf"], "'root.conf' is no source"),
        ([".img:/x"], "is no source: NAME.pxar:PATH expected (or .img, .conf, .log)"),
        (["root.IMG:/x"], "is no source"),
        (["root.image:/x"], "is no source"),
        (["root.pxarx:/x"], "is no source"),
        (["root.im:/x"], "is no source"),
        (["root.img.fidx:/x"], "is no source"),
        (["root.blob:/x"], "is no source"),
        (["ro/ot.img:/x"], "is no source"),
        (["ro.ot.conf:/x"], "is no source"),
        (["root:/x"], "is no source"),
        (["x" * 190 + ".log:/x"], "the name is longer than 189 bytes"),
        (["a.img:/x", "a.img:/y"], "there are two sources named 'a.img'"),
        (["a.conf:/x", "b.conf:/x", "a.conf:/x"], "there are two sources named 'a.conf'"),
        ([f"s{number}.conf:/x" for number in range(65)], "unexpected argument 's64.conf:/x'"),
    ],
    ids=lambda value: value[0][:20] + str(len(value)) if isinstance(value, list) else "",
)
def test_source_that_is_none(cli: Cli, store: Path, sources: list[str], said: str) -> None:
    assert said in sentence(cli("backup", *sources, "--repository", store), 2)
    assert not store.exists()


@pytest.mark.parametrize("extension", ["pxar", "img", "conf", "log"])
def test_source_that_is_not_there(cli: Cli, store: Path, tree: Path, extension: str) -> None:
    words = ["backup", f"good.pxar:{tree}", f"a.{extension}:{tree}/none", "--repository", store]
    assert sentence(cli(*words), 1) == f"source {tree}/none: No such file or directory"
    assert not store.exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a.pxar:{}/empty", "source {}/empty is not a directory"),
        ("a.pxar:{}/pipe", "source {}/pipe is not a directory"),
        ("a.img:{}", "source {} is neither a file nor a block device"),
        ("a.img:{}/pipe", "source {}/pipe is neither a file nor a block device"),
        ("a.img:/dev/null", "source /dev/null is neither a file nor a block device"),
        ("a.img:{}/empty", "source {}/empty is empty: an index of nothing cannot be stored"),
        ("a.conf:{}", "source {} is not a file"),
        ("a.log:{}/pipe", "source {}/pipe is not a file"),
        ("a.conf:{}/large", "source {}/large is larger than 16777216 bytes"),
    ],
    ids=lambda value: "" if value.startswith("source") else value.replace("{}", "tree"),
)
def test_source_of_the_wrong_kind(cli: Cli, store: Path, tree: Path, source: str, said: str) -> None:
    with open(tree / "large", "wb") as file:
        file.truncate((16 << 20) + 1)
    assert sentence(cli("backup", source.format(tree), "--repository", store), 1) == said.format(tree)
    assert not store.exists()


def test_same_name_with_other_extensions(repository: Repository, tree: Path) -> None:
    file = tree / "d0" / "f00"
    more = [f"{NAME}.img:{file}", f"{NAME}.conf:{file}", f"{NAME}.log:{file}"]
    for at, mode in ((T1, "legacy"), (T2, "metadata")):
        repository.run(tree, at, *more, mode=mode).result.check_ok()
        names = {file["filename"] for file in repository.manifest(at)["files"]}
        trees = {"legacy": {"root.pxar.didx", "catalog.pcat1.didx"}, "metadata": {"root.mpxar.didx", "root.ppxar.didx"}}
        assert names == trees[mode] | {"root.img.fidx", "root.conf.blob", "root.log.blob"}


def test_empty_blobs_are_stored(repository: Repository, tree: Path) -> None:
    done = repository.run(tree, T1, f"a.conf:{tree}/empty", mode="data")
    done.result.check_ok()
    assert done.stats["archives"][1]["blob"]["raw_size"] == 0


def test_directory_may_be_reached_by_a_symlink(repository: Repository, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    repository.run(tmp_path / "link", T1, mode="data").result.check_ok()
    assert "/d0/f00" in stored_paths(repository, T1)


def test_dry_run_of_every_kind(cli: Cli, store: Path, tree: Path) -> None:
    file = tree / "d0" / "f00"
    words = ["backup", f"a.pxar:{tree}", f"b.img:{file}", f"c.conf:{file}", f"d.log:{file}", "--repository", store]
    said = cli(*words, "--dry-run", "--backup-id", "me").check_ok().stderr.decode()
    for what in (f"directory '{tree}' as a.pxar.didx", f"image '{file}' as b.img.fidx", f"file '{file}' as c.conf.blob",
                 f"file '{file}' as d.log.blob"):  # fmt: skip
        assert f"Would upload {what} of host/me/" in said
    assert not store.exists()


# ---- patterns ----


def test_exclude_is_repeatable_and_the_last_one_decides(repository: Repository, tree: Path) -> None:
    words = ["--exclude", "f0?", "--exclude", "!f04", "--exclude", "/d0/"]
    repository.run(tree, T1, *words, mode="data").result.check_ok()
    found = stored_paths(repository, T1)
    assert "/d1/f04" in found and not {"/d0", "/d0/f00", "/d1/f01", "/d2/f02"} & set(found)


def test_exclude_is_normalised(repository: Repository, tree: Path) -> None:
    done = repository.run(tree, T1, "--exclude", "./d0//x/../f00", "--exclude", "d1/f01", mode="data")
    done.result.check_ok()
    assert "/d0/f00" not in stored_paths(repository, T1)
    lines = [line for line in done.log.splitlines() if line.startswith("Sanitized exclude pattern.")]
    assert len(lines) == 1 and "d0/f00" in lines[0]
    assert done.stats["warnings"] == 1
    assert b'{"exclude-patterns":"d0/f00\\nd1/f01\\n"}' in repository.stream(T1, "mpxar")


def test_create_does_not_normalise(tree: Path, pack: Callable[..., list[Any]]) -> None:
    for words in (["--exclude", "./f00"], ["--exclude", "d0//f00"]):
        assert "/d0/f00" in paths(pack(tree, *words))
    assert "/d0/f00" not in paths(pack(tree, "--exclude", "f00"))


@pytest.mark.parametrize("mode", ["legacy", "data", "metadata"])
@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("[abc", "set without end"), ("[a-]", ""), ("[", ""), ("[^", ""), ("a\\", "backslash"), ("[[:foo:]]", "unknown class"),
    ],
    ids=["unclosed-set", "unclosed-range", "bracket", "complement", "backslash", "class"],
)  # fmt: skip
def test_bad_pattern(cli: Cli, store: Path, tree: Path, pattern: str, why: str, mode: str) -> None:
    words = ["backup", f"a.pxar:{tree}", "--repository", store, "--change-detection-mode", mode]
    text = sentence(cli(*words, "--exclude", "good", "--exclude", pattern), 2)
    assert text.startswith("--exclude: pattern ") and why in text
    assert not store.exists()


@pytest.mark.parametrize("mode", ["data", "metadata"])
def test_pattern_that_is_not_utf8_cannot_be_in_a_split_archive(cli: Cli, store: Path, tree: Path, mode: str) -> None:
    words = ["backup", f"a.pxar:{tree}", "--repository", store, "--change-detection-mode", mode]
    text = sentence(cli(*words, "--exclude", os.fsdecode(b"\xe4")), 2)
    assert "not UTF-8" in text and not store.exists()
    x = tree.parent / "x.mpxar"
    text = sentence(cli("pxar", "create", tree, x, "--payload-output", f"{x}.p", "--exclude", os.fsdecode(b"\xe4")), 2)
    assert "not UTF-8" in text and not x.exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], None),
        (["--exclude", "zz*", "--exclude", "/foo/"], "zz*\n/foo/\n"),
        (["--exclude", "!in", "--skip-lost-and-found"], "!in\nlost+found\n"),
        (["--skip-lost-and-found"], "lost+found\n"),
        (["--exclude", 'quote"back\\\\slash\tumlaut ä'], 'quote"back\\\\slash\tumlaut ä\n'),
    ],
    ids=["none", "two", "include", "lost-and-found", "escapes"],
)
def test_prelude_of_split_archives(repository: Repository, tree: Path, words: list[str], text: str | None) -> None:
    for at, mode in ((T1, "data"), (T2, "metadata")):
        repository.run(tree, at, *words, mode=mode).result.check_ok()
        stream = repository.stream(at, "mpxar")
        kind, size = struct.unpack("<QQ", stream[24:40])
        assert ".pxarexclude-cli" not in "".join(stored_paths(repository, at))
        if text is None:
            assert kind != PRELUDE
            continue
        assert kind == PRELUDE
        content = stream[40 : 24 + size]
        assert json.loads(content) == {"exclude-patterns": text}
        assert content.startswith(b'{"exclude-patterns":"') and ": " not in content.decode()[:25]


def test_reference_with_another_prelude_is_as_good(repository: Repository, tree: Path) -> None:
    repository.run(tree, T1, mode="data").result.check_ok()
    for at, words in ((T2, ["--exclude", "nothing"]), (T3, ["--exclude", "x", "--exclude", "pipe"]), (T3 + 1, [])):
        done = repository.run(tree, at, *words, mode="metadata")
        assert done.reason == "used" and done.archive["reencoded_files"] == 0
        assert done.archive["reused_files"] == 7
    # A name that is left out leaves its contents to the next one.
    done = repository.run(tree, T3 + 2, "--exclude", "f00", mode="metadata")
    assert done.reason == "used" and done.archive["reencoded_files"] + done.archive["reused_files"] == 7
    (entry,) = [entry for entry in entries_of(repository.dump(T3 + 2)) if entry["path"] == "/z-hard"]
    assert entry["kind"] == "file" and entry["size"] == 1000


def test_lost_and_found_at_any_depth(repository: Repository, tree: Path) -> None:
    (tree / "lost+found").mkdir()
    (tree / "lost+found" / "a").write_text("a")
    (tree / "d0" / "lost+found").write_text("a file")
    repository.run(tree, T1, mode="data").result.check_ok()
    assert {"/lost+found", "/lost+found/a", "/d0/lost+found"} <= set(stored_paths(repository, T1))
    repository.run(tree, T2, "--skip-lost-and-found", mode="data").result.check_ok()
    assert not [path for path in stored_paths(repository, T2) if "lost+found" in path]


# ---- devices ----


@pytest.fixture
def mount(tree: Path) -> Any:
    """A file system of its own in the tree, with a file."""
    with mounted("tmpfs", tree) as point:
        (point / "inside").write_text("inside")
        yield point


def test_mount_points_stay_empty_unless_asked_for(repository: Repository, tree: Path, mount: Path) -> None:
    inside = f"/{mount.name}/inside"
    for at, words, entered in (
        (T1, [], False),
        (T2, ["--all-file-systems"], True),
        (T3, ["--include-dev", os.fspath(mount)], True),
        (T3 + 1, ["--include-dev", "/proc", "--include-dev", f"{mount}/inside"], True),  # any file tells its device
        (T3 + 2, ["--include-dev", "/proc"], False),
    ):
        done = repository.run(tree, at, *words, mode="data")
        done.result.check_ok()
        found = stored_paths(repository, at)
        assert f"/{mount.name}" in found and "/d0/f00" in found
        assert (inside in found) == entered, words
        assert (f'skipping mount point: "{mount.name}"' in done.log) == (not entered)


def test_create_enters_all_file_systems_when_asked(tree: Path, mount: Path, pack: Callable[..., list[Any]]) -> None:
    for split in (False, True):
        assert f"/{mount.name}/inside" not in paths(pack(tree, split=split))
        assert f"/{mount.name}/inside" in paths(pack(tree, "--all-file-systems", split=split))


def test_kernel_tracing_counts_as_virtual_when_asked(repository: Repository, tree: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount bpf")
    point = tree / "bpf"
    point.mkdir()
    if run.run(["mount", "-t", "bpf", "bpf", point]).returncode != 0:
        pytest.skip("bpf cannot be mounted here")
    try:
        (point / "folder").mkdir()
        for at, words, entered in ((T1, [], True), (T2, ["--skip-kernel-tracing"], False)):
            repository.run(tree, at, "--all-file-systems", *words, mode="data").result.check_ok()
            found = stored_paths(repository, at)
            assert "/bpf" in found and ("/bpf/folder" in found) == entered
        (point / "folder").rmdir()
    finally:
        run.run(["umount", point]).check_ok()


def test_device_of_nothing(cli: Cli, store: Path, tree: Path) -> None:
    words = ["backup", f"a.pxar:{tree}", "--repository", store, "--include-dev", tree, "--include-dev", f"{tree}/none"]
    assert sentence(cli(*words), 1) == f'fstat "{tree}/none" failed - No such file or directory'
    assert not store.exists()


@pytest.mark.parametrize("mode", ["legacy", "data", "metadata"])
def test_devices_and_all_file_systems_conflict(cli: Cli, store: Path, tree: Path, mode: str) -> None:
    words = ["backup", f"a.pxar:{tree}", "--repository", store, "--change-detection-mode", mode]
    for options in (["--all-file-systems", "--include-dev", tree], ["--include-dev", tree, "--all-file-systems"]):
        text = sentence(cli(*words, *options), 2)
        assert text == "option 'all-file-systems' conflicts with option 'include-dev'"
    assert not store.exists()


# ---- limits and attributes ----


@pytest.mark.parametrize("mode", ["legacy", "data", "metadata"])
def test_entries_max(repository: Repository, tree: Path, mode: str) -> None:
    # Seven names in the root and two in each directory: the sum on one path counts, not that of the archive.
    for at, limit, fits in ((T1, "9", True), (T2, "8", False), (T3, "9", True)):
        done = repository.run(tree, at, "--entries-max", limit, mode=mode)
        assert (done.result.returncode == 0) == fits, limit
        if not fits:
            assert f"exceeded allowed number of file entries (> {limit})" in done.failed()
    assert repository.listed() == [T1, T3]


@pytest.mark.parametrize("given", ["0", "-1", "many", "4294967296"])
def test_entries_max_that_is_none(cli: Cli, store: Path, tree: Path, given: str) -> None:
    for words in (["backup", f"a.pxar:{tree}", "--repository", store], ["pxar", "create", tree, store]):
        assert "--entries-max" in sentence(cli(*words, f"--entries-max={given}"), 2)
    assert not store.exists()


@pytest.mark.parametrize("mode", ["legacy", "data", "metadata"])
def test_attributes_that_are_too_big_to_list(
    repository: Repository, tree: Path, faults: Faults, mode: str, tmp_path: Path
) -> None:
    with mounted("ext4", tmp_path / "disk") as disk:
        shutil.copytree(tree / "d0", disk / "d0")
        (disk / "victim").write_text("victim")
        os.setxattr(disk / "victim", "user.a", b"a")
        env = faults("xattr *victim 1 errno 7")
        done = repository.run(disk, T1, mode=mode, env=env)
        assert 'error at "victim"' in done.failed() and "(try --skip-e2big-xattr)" in done.failed()
        done = repository.run(disk, T2, "--skip-e2big-xattr", mode=mode, env=env)
        done.result.check_ok()
        assert done.stats["warnings"] == 0
    assert repository.listed() == [T2]


def test_create_leaves_attributes_out(tmp_path: Path, pack: Callable[..., list[Any]]) -> None:
    acl = struct.pack("<I" + "HHI" * 5, 2, 1, 6, 2**32 - 1, 2, 7, 4711, 4, 4, 2**32 - 1, 16, 7, 2**32 - 1, 32, 4, 2**32 - 1)
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    with mounted("ext4", tmp_path / "disk") as disk:
        (disk / "f").write_text("f")
        os.setxattr(disk / "f", "user.a", b"a")
        os.setxattr(disk / "f", "security.capability", capability)
        os.setxattr(disk / "f", "system.posix_acl_access", acl)

        def has(*words: str) -> tuple[bool, bool, bool]:
            (entry,) = [entry for entry in pack(disk, *words) if entry["path"] == "/f"]
            return "xattrs" in entry, "fcaps_b64" in entry, "acl" in entry

        assert has() == (True, True, True)
        assert has("--no-fcaps") == (True, False, True)
        assert has("--no-acls") == (True, True, False)
        # As the reference client has it: capabilities and ACLs are listed as extended attributes.
        assert has("--no-xattrs") == (False, False, False)


def test_attributes_that_are_not_stored_are_counted(repository: Repository, tmp_path: Path) -> None:
    """The format has none for tmpfs: an ACL is lost, and the mode's group bits then grant what its mask allowed."""
    acl = struct.pack("<I" + "HHI" * 5, 2, 1, 6, 2**32 - 1, 2, 7, 4711, 4, 4, 2**32 - 1, 16, 7, 2**32 - 1, 32, 4, 2**32 - 1)
    with mounted("tmpfs", tmp_path / "memory") as folder:
        for name in ("a", "b", "plain"):
            (folder / name).write_text(name)
        try:
            os.setxattr(folder / "a", "system.posix_acl_access", acl)
            os.setxattr(folder / "b", "system.posix_acl_access", acl)
        except OSError:
            pytest.skip("this tmpfs has no ACLs")
        for at, mode in ((T1, "legacy"), (T2, "data")):
            done = repository.run(folder, at, mode=mode)
            assert done.archive["not_stored"]["acls"] == 2
            assert done.stats["warnings"] == 1
            (line,) = [line for line in done.log.splitlines() if "ACLs of 2 files are not stored" in line]
            assert line.startswith("warning: ") and "grant its group more" in line


def test_nothing_is_said_of_what_is_stored(repository: Repository, tree: Path) -> None:
    for at, mode in ((T1, "legacy"), (T2, "data")):
        done = repository.run(tree, at, mode=mode)
        assert "not stored" not in done.log and done.stats["warnings"] == 0


# ---- pxar create ----


def test_create_makes_one_file_or_two(cli: Cli, tree: Path, tmp_path: Path, pack: Callable[..., list[Any]]) -> None:
    x = tmp_path / "one.pxar"
    before = set(tmp_path.iterdir())
    cli("pxar", "create", tree, x).check_ok()
    assert set(tmp_path.iterdir()) - before == {x}
    assert stat.S_IMODE(x.stat().st_mode) & ~0o640 == 0

    def contents(entries: list[Any]) -> list[tuple[Any, ...]]:
        return [(entry["path"], entry["kind"], entry.get("sha256"), entry.get("target")) for entry in entries]

    assert contents(pack(tree)) == contents(pack(tree, split=True))


def test_create_from_a_symlink_is_refused(cli: Cli, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    x, y = tmp_path / "x.pxar", tmp_path / "y"
    for more in ([], ["--payload-output", y]):
        text = sentence(cli("pxar", "create", tmp_path / "link", x, *more), 1)
        assert text == f"open {tmp_path}/link: Too many levels of symbolic links"
        assert not x.exists() and not y.exists()


def test_create_that_fails_leaves_nothing(cli: Cli, tree: Path, tmp_path: Path, faults: Faults) -> None:
    x = tmp_path / "x.pxar"
    (tree / "big").write_bytes(noise("big", 2_000_000))
    settle(tree)
    for rules in ("read *f02 1 errno 5", "write *x.pxar 1 errno 28", "write *x.pxar 2 errno 28"):
        assert cli("pxar", "create", tree, x, env=faults(rules)).returncode == 1
        assert not x.exists()
    assert "exceeded allowed number" in sentence(cli("pxar", "create", tree, x, "--entries-max", "3"), 1)
    assert not x.exists()


def test_create_never_replaces_a_file(cli: Cli, tree: Path, tmp_path: Path) -> None:
    x = tmp_path / "x.pxar"
    x.write_text("precious")
    assert "File exists" in sentence(cli("pxar", "create", tree, x), 1)
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    assert "File exists" in sentence(cli("pxar", "create", tree, tmp_path / "dangling"), 1)
    assert x.read_text() == "precious" and not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "option", ["--include-dev=/", "--skip-lost-and-found", "--skip-e2big-xattr", "--skip-kernel-tracing"]
)
def test_options_that_only_backup_has(cli: Cli, tree: Path, tmp_path: Path, option: str) -> None:
    assert "unknown option" in sentence(cli("pxar", "create", tree, tmp_path / "x", option), 2)


@pytest.mark.parametrize("option", ["--no-xattrs", "--no-fcaps", "--no-acls", "--payload-output=x"])
def test_options_that_only_create_has(cli: Cli, tree: Path, store: Path, option: str) -> None:
    assert "unknown option" in sentence(cli("backup", f"a.pxar:{tree}", "--repository", store, option), 2)
