"""Archives read at any place and compared with each other, through the program: pxar lookup, list PATH, diff.

The lookups of the reference are compared in test_pxar_vectors.py. The archives here are made by `pxar encode` from
descriptions, so that they can hold what this machine's file systems cannot.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backup_tools import GROUP, T1, Repository, noise, sentence, settle, time_text

from pxarbench_harness import run

Cli = Callable[..., run.Result]
Entry = dict[str, Any]

HELLO = hashlib.sha256(b"hello\n").hexdigest()


def entry(name: str, kind: str, mode: str = "0644", **more: Any) -> Entry:
    made = {"name": name, "type": kind, "mode": mode, "uid": 1000, "gid": 100, "mtime": [1700000000, 5]}
    return {**made, **more}


def hello(size: int = 6) -> dict[str, Any]:
    return {"kind": "repeat", "pattern_b64": "aGVsbG8K", "size": size}


ROOT: Entry = {
    "mode": "0755",
    "uid": 0,
    "gid": 0,
    "mtime": [1700000000, 0],
    "entries": [
        entry("a", "file", content=hello()),
        entry(
            "d",
            "dir",
            "0700",
            entries=[
                entry("deep", "dir", "0755", entries=[entry("x", "file", content=hello(1))]),
                entry("empty", "dir", "0755", entries=[]),
                entry("p", "fifo", "0600"),
                entry("z", "file", content={"kind": "empty"}),
            ],
        ),
        entry("dev", "chardev", "0600", major=1, minor=3),
        {"name": "h", "type": "hardlink", "target": "a"},
        entry("l", "symlink", "0777", target="a"),
        entry("tail", "file", content=hello(3)),
    ],
}

PATHS = ["/", "/a", "/d", "/d/deep", "/d/deep/x", "/d/empty", "/d/p", "/d/z", "/dev", "/h", "/l", "/tail"]


class Archives:
    """Archives from descriptions, of both versions."""

    def __init__(self, cli: Cli, directory: Path) -> None:
        self.cli = cli
        self.directory = directory

    def encode(self, name: str, root: Entry, version: int, **more: Any) -> list[str | Path]:
        """The words that name the archive: its path, and the payload's option for a split one."""
        tree = self.directory / f"{name}.json"
        described = {"schema": "pxar-vector-tree/1", "name": name, "comment": "", "from_filesystem": False, **more}
        tree.write_text(json.dumps({**described, "root": root}))
        if version == 1:
            archive = self.directory / f"{name}.pxar"
            self.cli("pxar", "encode", tree, archive).check_ok()
            return [archive]
        metadata, payload = self.directory / f"{name}.mpxar", self.directory / f"{name}.ppxar"
        self.cli("pxar", "encode", tree, metadata, "--payload-output", payload).check_ok()
        return [metadata, "--payload-input", payload]


@pytest.fixture
def archives(cli: Cli, tmp_path: Path) -> Archives:
    return Archives(cli, tmp_path)


VERSIONS = pytest.mark.parametrize("version", [1, 2], ids=["unified", "split"])


# ---- lookup ----


def lookup(cli: Cli, *words: str | Path) -> list[Any]:
    return [json.loads(line) for line in cli("pxar", "lookup", *words).check_ok().stdout.splitlines()]


@VERSIONS
def test_lookup_finds_what_is_there_and_nothing_else(cli: Cli, archives: Archives, version: int) -> None:
    words = archives.encode("x", ROOT, version)
    paths = ["/a", "d/deep/x", "//d//z/", "/", "/d/deep/y", "/a/x", "/h", "/dev"]
    a, x, z, root, absent, below_file, link, device = lookup(cli, *words, *paths)
    assert a["path"] == "/a" and a["size"] == a["read_size"] == 6 and a["sha256"] == HELLO
    assert ("content_offset" in a) == (version == 1) and ("payload_offset" in a) == (version == 2)
    assert x["path"] == "/d/deep/x" and x["read_size"] == 1
    assert z["path"] == "/d/z" and z["read_size"] == 0
    assert root["path"] == "/" and root["entry_range"] == [0, Path(words[0]).stat().st_size]
    assert absent is None and below_file is None
    assert link["kind"] == "hardlink" and link["sha256"] == HELLO and link["follow"]["path"] == ""
    assert device["major"] == 1 and device["minor"] == 3


def test_a_lone_metadata_stream_is_listed_and_its_contents_are_refused(cli: Cli, archives: Archives) -> None:
    metadata = archives.encode("x", ROOT, 2)[0]
    assert cli("pxar", "list", metadata).check_ok().text.split() == PATHS
    assert cli("pxar", "list", metadata, "/d").check_ok().text.split() == [p for p in PATHS if p.startswith("/d")][:-1]
    (found,) = lookup(cli, metadata, "/a")
    assert found["size"] == 6
    assert not {"sha256", "read_size"} & set(found)


def test_a_payload_beside_a_unified_archive_is_refused(cli: Cli, archives: Archives) -> None:
    (unified,) = archives.encode("x", ROOT, 1)
    _, option, payload = archives.encode("y", ROOT, 2)
    assert "has no payload stream" in sentence(cli("pxar", "lookup", unified, option, payload, "/a"))


def test_damaged_tables_are_errors(cli: Cli, archives: Archives) -> None:
    metadata, option, payload = archives.encode("x", ROOT, 2)
    whole = Path(metadata).read_bytes()
    for at, said in ((-24, "no tail row"), (-8, "tail row of a table of"), (-16, "tail row with offset")):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        Path(metadata).write_bytes(damaged)
        for words in (["lookup", metadata, option, payload, "/a"], ["list", metadata, "/a"]):
            found = sentence(cli("pxar", *words))
            assert f"{metadata}: corrupt at offset {len(whole) - 24} in /: {said}" in found
    Path(metadata).write_bytes(whole[:-1])
    assert "corrupt at offset" in sentence(cli("pxar", "lookup", metadata, "/a"))
    Path(metadata).write_bytes(b"something else entirely, and long enough")
    assert "not an archive" in sentence(cli("pxar", "lookup", metadata, "/a"))


@pytest.mark.parametrize(
    "words",
    [["lookup"], ["lookup", "x"], ["list"], ["list", "--repository", "/r", "s"], ["diff"], ["diff", "a"],
     ["diff", "a", "b", "c"], ["diff", "a", "b", "--output-format", "xml"],
     ["lookup", "x.mpxar", "/a", "--repository", "/r", "--payload-input", "p"]],
    ids=lambda words: "-".join(words).replace("/", ""),
)  # fmt: skip
def test_usage_errors_are_one_sentence(cli: Cli, words: list[str]) -> None:
    sentence(cli("pxar", *words), 2)


def test_paths_that_no_member_can_have_are_usage_errors(cli: Cli, archives: Archives) -> None:
    metadata = archives.encode("x", ROOT, 2)[0]
    for path in ("/d/..", "./a", "/" + "n" * 4097):
        sentence(cli("pxar", "list", metadata, path), 2)


# ---- list ----


@VERSIONS
def test_list_of_a_path_is_that_part_of_the_whole_list(cli: Cli, archives: Archives, version: int) -> None:
    archive = archives.encode("x", ROOT, version)[0]
    assert cli("pxar", "list", archive).check_ok().text.split() == PATHS
    for path in PATHS:
        wanted = [p for p in PATHS if p == path or p.startswith(path.rstrip("/") + "/")]
        assert cli("pxar", "list", archive, path).check_ok().text.split() == wanted
    listed = cli("pxar", "list", archive, "tail", "d/deep/").check_ok()
    assert listed.text.split() == ["/tail", "/d/deep", "/d/deep/x"]
    assert listed.stderr == b""


def test_list_of_an_absent_path_fails_after_what_was_found(cli: Cli, archives: Archives) -> None:
    metadata = archives.encode("x", ROOT, 2)[0]
    result = cli("pxar", "list", metadata, "/a", "/d/nothing")
    assert result.text == "/a\n"
    assert sentence(result).endswith("no nothing in /d")
    assert sentence(cli("pxar", "list", metadata, "/a/x")).endswith("/a is no directory")


def test_only_the_whole_list_can_be_made_of_a_pipe(cli: Cli, archives: Archives) -> None:
    metadata = archives.encode("x", ROOT, 2)[0]
    data = Path(metadata).read_bytes()
    assert cli("pxar", "list", "/dev/stdin", stdin=data).check_ok().text.split() == PATHS
    assert "cannot be read at any place" in sentence(cli("pxar", "list", "/dev/stdin", "/a", stdin=data))


# ---- snapshots ----


def make_wide_tree(root: Path, folders: int = 40, files: int = 100) -> Path:
    for folder in range(folders):
        directory = root / f"folder-{folder:02}"
        directory.mkdir(parents=True)
        for number in range(files):
            # Names that compress badly, so that nothing is small by accident.
            (directory / f"{noise(f'{folder}/{number}', 16).hex()}-{number:03}").write_bytes(noise(str(number), 50))
    settle(root)
    return root


def chunks_read(result: run.Result, what: str = "metadata") -> tuple[int, int, int]:
    found = re.search(rf"^read (\d+) {what} chunks \((\d+) bytes\) of (\d+)$", result.stderr.decode(), re.MULTILINE)
    assert found, result
    return int(found[1]), int(found[2]), int(found[3])


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, pxarbench: Path) -> tuple[Repository, Path]:
    """A snapshot as a split archive at T1, as a unified one at T1 + 1."""
    base = tmp_path_factory.mktemp("wide")
    tree = make_wide_tree(base / "tree")
    repository = Repository(pxarbench, base / "store", base)
    repository.run(tree, T1, mode="data").result.check_ok()
    repository.run(tree, T1 + 1, mode="legacy").result.check_ok()
    return repository, tree


def snapshot_words(repository: Repository, at: int = T1, name: str = "root.mpxar") -> list[str | Path]:
    return ["--repository", repository.path, f"{GROUP}/{time_text(at)}", name]


def test_list_of_a_snapshot_is_the_tree(cli: Cli, wide: tuple[Repository, Path]) -> None:
    repository, tree = wide
    files = sorted(f"/{path.relative_to(tree)}" for path in tree.rglob("*"))
    for at, names in ((T1, ["root.mpxar", "root.pxar", "root.ppxar.didx"]), (T1 + 1, ["root.pxar", "root.pxar.didx"])):
        for name in names:
            listed = cli("pxar", "list", *snapshot_words(repository, at, name)).check_ok()
            assert listed.text.splitlines() == ["/", *files]
            read, _, total = chunks_read(listed)
            # The last chunk is read first, for the root's tail, and may have left the cache when the walk comes to it.
            assert read <= total + 1


def test_list_of_a_path_reads_few_chunks(cli: Cli, wide: tuple[Repository, Path]) -> None:
    repository, tree = wide
    for at, name in ((T1, "root.mpxar"), (T1 + 1, "root.pxar")):
        words = snapshot_words(repository, at, name)
        _, _, total = chunks_read(cli("pxar", "list", *words).check_ok())
        assert total >= 8, "the tree is too small to show anything"
        for folder in ("folder-00", "folder-17", "folder-39"):
            file = sorted(os.listdir(tree / folder))[50]
            one = cli("pxar", "list", *words, f"/{folder}/{file}").check_ok()
            assert one.text == f"/{folder}/{file}\n"
            # The archive's head, the root's table, the folder's table, the file's entry: each may lie on a boundary.
            read, size, total = chunks_read(one)
            assert read <= 6 and read < total
            assert 0 < size <= read * 4 * 65536
            many = cli("pxar", "list", *words, f"/{folder}").check_ok()
            assert len(many.text.splitlines()) == 101
            assert chunks_read(many)[0] <= 6


def test_lookup_in_a_snapshot_reads_the_contents(cli: Cli, wide: tuple[Repository, Path]) -> None:
    repository, tree = wide
    file = sorted(os.listdir(tree / "folder-17"))[50]
    digest = hashlib.sha256((tree / "folder-17" / file).read_bytes()).hexdigest()
    for at, name in ((T1, "root.mpxar"), (T1 + 1, "root.pxar")):
        result = cli("pxar", "lookup", *snapshot_words(repository, at, name), f"/folder-17/{file}", "/nothing")
        found, absent = [json.loads(line) for line in result.check_ok().stdout.splitlines()]
        assert found["sha256"] == digest and found["read_size"] == 50
        assert absent is None
        if at == T1:
            read, _, total = chunks_read(result, "payload")
            assert read <= 2 <= total


def test_a_missing_chunk_is_trouble_and_not_an_absent_path(cli: Cli, wide: tuple[Repository, Path]) -> None:
    repository, _ = wide
    (_, digest), *_ = repository.index(T1, "mpxar")
    chunk = repository.chunk(digest)
    chunk.rename(chunk.with_suffix(".away"))
    try:
        result = cli("pxar", "lookup", *snapshot_words(repository), "/folder-00")
        assert result.stdout == b""
        assert "root.mpxar.didx: chunk 0 at offset 0" in sentence(result)
    finally:
        chunk.with_suffix(".away").rename(chunk)


def test_what_is_no_archive_in_a_snapshot_is_said(cli: Cli, wide: tuple[Repository, Path]) -> None:
    repository, _ = wide
    assert "archive not found" in sentence(cli("pxar", "list", *snapshot_words(repository, T1, "other.mpxar")))
    result = cli("pxar", "list", *snapshot_words(repository, T1 + 1, "catalog.pcat1"))
    assert "is no archive of files" in sentence(result, 2)
    assert cli("pxar", "list", *snapshot_words(repository, T1 + 7)).returncode == 1


# ---- diff ----


def diff(cli: Cli, a: list[str | Path], b: list[str | Path], *more: str) -> tuple[int, list[Any], Any]:
    """Exit code, differences, counts."""
    words: list[str | Path] = [a[0], b[0], *more, "--output-format", "json"]
    for side, archive in (("a", a), ("b", b)):
        if len(archive) > 1:
            words += [f"--payload-input-{side}", archive[2]]
    result = cli("pxar", "diff", *words)
    assert result.stderr == b"", result
    *lines, counts = [json.loads(line) for line in result.stdout.splitlines()]
    return result.returncode, lines, counts


def test_an_archive_is_the_same_as_itself_in_either_version(cli: Cli, archives: Archives) -> None:
    made = [archives.encode("x", ROOT, 1), archives.encode("y", ROOT, 2)]
    for a in made:
        for b in made:
            code, lines, counts = diff(cli, a, b)
            assert (code, lines) == (0, [])
            assert counts == {
                "same": 12, "different": 0, "only_a": 0, "only_b": 0,
                "contents_compared": 4, "contents_not_compared": 0,
            }  # fmt: skip
    code, lines, counts = diff(cli, made[0], made[1][:1])
    assert (code, lines, counts["contents_compared"], counts["contents_not_compared"]) == (0, [], 0, 4)


def change(path: str, **members: Any) -> Entry:
    """ROOT with members of one entry replaced; None takes one away."""
    root = copy.deepcopy(ROOT)
    found = root
    for name in path.strip("/").split("/") if path != "/" else []:
        (found,) = (e for e in found["entries"] if e["name"] == name)
    for key, value in members.items():
        found.pop(key, None)
        if value is not None:
            found[key] = value
    return root


X = [{"name": "user.a", "value_b64": "MQ=="}, {"name": "user.b", "value_b64": ""}]
ACL = {"users": [{"id": 7, "perm": 6}], "groups": [{"id": 8, "perm": 4}], "group_obj": 5}
DEFAULT_ACL = {
    "default": {"user_obj": 7, "group_obj": 5, "other": 0, "mask": None},
    "default_users": [{"id": 9, "perm": 7}],
    "default_groups": [{"id": 10, "perm": 1}],
}

#: What is changed, and the differences by path and field.
CHANGES: dict[str, tuple[Entry, dict[tuple[str, str], tuple[Any, Any]]]] = {
    "mode": (change("/a", mode="04755"), {("/a", "mode"): ("0100644", "0104755")}),
    "root-mode": (change("/", mode="0700"), {("/", "mode"): ("0040755", "0040700")}),
    "uid": (change("/d/deep", uid=1), {("/d/deep", "uid"): (1000, 1)}),
    "gid": (change("/d/p", gid=1), {("/d/p", "gid"): (100, 1)}),
    "mtime": (change("/l", mtime=[-2, 9]), {("/l", "mtime"): ([1700000000, 5], [-2, 9])}),
    "flags": (change("/a", flags=0x400000), {("/a", "flags"): (0, 0x400000)}),
    "xattr": (
        change("/dev", xattrs=X),
        {("/dev", "xattr user.a"): (None, "MQ=="), ("/dev", "xattr user.b"): (None, "")},
    ),
    "acl": (
        change("/a", acl=ACL),
        {
            ("/a", "acl.users"): (None, ACL["users"]),
            ("/a", "acl.groups"): (None, ACL["groups"]),
            ("/a", "acl.group_obj"): (None, 5),
        },
    ),
    "default-acl": (
        change("/d", acl=DEFAULT_ACL),
        {
            ("/d", "acl.default"): (None, DEFAULT_ACL["default"]),
            ("/d", "acl.default_users"): (None, DEFAULT_ACL["default_users"]),
            ("/d", "acl.default_groups"): (None, DEFAULT_ACL["default_groups"]),
        },
    ),
    "fcaps": (change("/a", fcaps_b64="AQAAAg=="), {("/a", "fcaps"): (None, "AQAAAg==")}),
    "project-id": (change("/a", quota_project_id=2**64 - 1), {("/a", "quota_project_id"): (None, 2**64 - 1)}),
    "size": (
        change("/tail", content=hello()),
        {
            ("/tail", "size"): (3, 6),
            ("/tail", "content"): (hashlib.sha256(b"hel").hexdigest(), HELLO),
        },
    ),
    "content": (
        change("/tail", content={"kind": "b64", "data": "aGVt"}),
        {
            ("/tail", "content"): (hashlib.sha256(b"hel").hexdigest(), hashlib.sha256(b"hem").hexdigest()),
        },
    ),
    "symlink-target": (change("/l", target="d/z"), {("/l", "target"): ("a", "d/z")}),
    "hardlink-target": (change("/h", target="d/z"), {("/h", "target"): ("a", "d/z")}),
    "device": (change("/dev", major=2, minor=4), {("/dev", "major"): (1, 2), ("/dev", "minor"): (3, 4)}),
    "kind": (
        change("/d/p", type="socket"),
        {("/d/p", "kind"): ("fifo", "socket"), ("/d/p", "mode"): ("0010600", "0140600")},
    ),
}


def by_field(lines: list[Any]) -> dict[tuple[str, str], tuple[Any, Any]]:
    return {(d["path"], d["field"] + (f" {d['name']}" if "name" in d else "")): (d["a"], d["b"]) for d in lines}


@pytest.mark.parametrize("changed", CHANGES)
def test_diff_names_what_was_changed_with_both_values(cli: Cli, archives: Archives, changed: str) -> None:
    root, wanted = CHANGES[changed]
    before = [archives.encode("x", ROOT, 1), archives.encode("y", ROOT, 2)]
    after = [archives.encode("changed-x", root, 1), archives.encode("changed-y", root, 2)]
    for a in before:
        for b in after:
            code, lines, counts = diff(cli, a, b)
            assert code == 1
            assert by_field(lines) == wanted
            assert (counts["same"], counts["different"], counts["only_a"], counts["only_b"]) == (11, 1, 0, 0)
            code, lines, _ = diff(cli, b, a)
            assert code == 1
            assert by_field(lines) == {key: (y, x) for key, (x, y) in wanted.items()}


def test_diff_names_what_is_only_in_one(cli: Cli, archives: Archives) -> None:
    more = copy.deepcopy(ROOT)
    more["entries"].append(entry("new", "dir", "0755", entries=[entry("in", "fifo", "0600")]))
    (d,) = (e for e in more["entries"] if e["name"] == "d")
    d["entries"] = [e for e in d["entries"] if e["name"] != "deep"]
    a, b = archives.encode("x", ROOT, 2), archives.encode("y", more, 1)
    code, lines, counts = diff(cli, a, b)
    assert code == 1
    assert lines == [
        {"kind": "dir", "only": "a", "path": "/d/deep"},
        {"kind": "file", "only": "a", "path": "/d/deep/x"},
        {"kind": "dir", "only": "b", "path": "/new"},
        {"kind": "fifo", "only": "b", "path": "/new/in"},
    ]
    assert (counts["same"], counts["different"], counts["only_a"], counts["only_b"]) == (10, 0, 2, 2)
    shown = cli("pxar", "diff", a[0], b[0])
    assert shown.returncode == 1
    assert shown.text.splitlines() == [
        "only in A: /d/deep (dir)",
        "only in A: /d/deep/x (file)",
        "only in B: /new (dir)",
        "only in B: /new/in (fifo)",
        "10 same, 0 different, 2 only in A, 2 only in B; contents of 3 files not compared",
    ]


def test_diff_compares_offsets_when_asked_to(cli: Cli, archives: Archives) -> None:
    padded = change("/tail", payload_pad_before={"kind": "repeat", "pattern_b64": "eA==", "size": 100})
    a, b = archives.encode("x", ROOT, 2), archives.encode("y", padded, 2)
    assert diff(cli, a, b)[:2] == (0, [])
    code, lines, counts = diff(cli, a, b, "--offsets")
    assert code == 1 and counts["different"] == 1
    assert by_field(lines) == {("/tail", "payload_offset"): (71, 171)}
    shown = cli("pxar", "diff", a[0], b[0], "--offsets")
    assert shown.text.splitlines()[0] == "/tail: payload_offset 71 -> 171"


def test_diff_compares_preludes(cli: Cli, archives: Archives) -> None:
    a, b = archives.encode("x", ROOT, 2), archives.encode("y", ROOT, 2, prelude_b64="e30=")
    code, lines, counts = diff(cli, a, b)
    assert (code, counts["same"]) == (1, 12)
    assert lines == [{"a": None, "b": "{}", "field": "prelude", "path": ""}]


def test_trouble_with_either_archive_is_exit_2(cli: Cli, archives: Archives, tmp_path: Path) -> None:
    good = archives.encode("x", ROOT, 2)[0]
    cut = tmp_path / "cut.mpxar"
    cut.write_bytes(Path(good).read_bytes()[:-1])
    junk = tmp_path / "junk"
    junk.write_bytes(b"no archive at all, but long enough")
    for bad, said in ((cut, "corrupt at offset"), (junk, "not an archive"), (tmp_path / "absent", "No such file")):
        assert said in sentence(cli("pxar", "diff", good, bad), 2)
        assert said in sentence(cli("pxar", "diff", bad, good), 2)
    assert said in sentence(cli("pxar", "diff", good, good, "--payload-input-b", tmp_path / "absent"), 2)
    assert cli("pxar", "diff", "--help").returncode == 0


# ---- the reference's archives ----


def test_diff_of_the_vectors_with_themselves(cli: Cli, vectors: Path, tmp_path: Path) -> None:
    from test_pxar_vectors import INDEX, archive, lines_of, place, read

    for name in sorted(INDEX):
        split: list[str | Path] = [place(f"{name}.mpxar", tmp_path), "", place(f"{name}.ppxar", tmp_path)]
        unified: list[str | Path] = [archive(name, cli, tmp_path)]
        entries = [line for line in lines_of(read(f"{name}.dump1.jsonl")) if line["kind"] not in ("version", "prelude")]
        for a, b in ((split, split), (split, unified), (unified, split), (unified, unified)):
            code, lines, counts = diff(cli, a, b)
            assert (code, lines) == (0, []), name
            assert counts["same"] == len(entries), name
            assert counts["contents_not_compared"] == 0


def test_list_of_every_directory_of_the_vectors(cli: Cli, vectors: Path, tmp_path: Path) -> None:
    from test_pxar_vectors import archive, place

    for name in ("t01-basic", "t05-counts", "t07-hardlinks"):
        for path in (place(f"{name}.mpxar", tmp_path), archive(name, cli, tmp_path)):
            whole = cli("pxar", "list", path).check_ok().text.splitlines()
            folders = sorted({os.path.dirname(line) for line in whole})
            assert cli("pxar", "list", path, "/").check_ok().text.splitlines() == whole
            for folder in folders:
                wanted = [line for line in whole if line == folder or line.startswith(folder.rstrip("/") + "/")]
                assert cli("pxar", "list", path, folder).check_ok().text.splitlines() == wanted
