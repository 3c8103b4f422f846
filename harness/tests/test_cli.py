"""The command line of the core: help, usage errors, output formats, what --stats holds."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pxarbench_harness import run

Cli = Callable[..., run.Result]

COMMANDS = [
    ["backup"], ["restore"], ["snapshot"], ["snapshot", "list"], ["snapshot", "files"], ["chunk"],
    ["index"], ["index", "show"], ["version"], ["pxar"], ["pxar", "create"], ["pxar", "extract"],
    ["pxar", "list"], ["pxar", "dump"], ["pxar", "encode"],
]  # fmt: skip

#: Nothing here is about surviving a power cut, and syncing waits for everybody's writes.
MODE = ["--change-detection-mode", "data", "--sync-level", "none"]


def sentence(result: run.Result, code: int) -> str:
    """The one line that a failing command says."""
    assert result.returncode == code, result
    assert result.stdout == b""
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0].removeprefix("error: ")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_bytes(b"a" * 1000)
    (root / "sub" / "b").write_bytes(b"")
    (root / "l").symlink_to("a")
    os.link(root / "a", root / "z")
    return root


# ---- help ----


@pytest.mark.parametrize("words", [[], *COMMANDS], ids=lambda words: "-".join(words) or "program")
def test_help_at_every_level_goes_to_stdout(cli: Cli, words: list[str]) -> None:
    asked = cli(*words, "--help")
    assert asked.returncode == 0 and asked.stderr == b""
    assert asked.text.startswith(" ".join(["Usage: pxarbench", *words]))
    assert cli("help", *words).stdout == asked.stdout
    assert cli(*words, "-h").stdout == asked.stdout


def test_help_of_the_program_names_every_command(cli: Cli) -> None:
    text = cli("--help").text
    for words in COMMANDS:
        assert f"\n  {words[0]} " in text
    for option in ("--quiet", "--verbose", "--version"):
        assert option in text


# ---- usage errors ----


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no command given"),
        (["nope"], "unknown command 'nope'"),
        (["--nope"], "unknown option '--nope'"),
        (["pxar"], "no command given"),
        (["pxar", "nope"], "unknown command 'nope'"),
        (["help", "nope"], "unknown command 'nope'"),
        (["version", "extra"], "unexpected argument 'extra'"),
        (["version", "--nope"], "unknown option '--nope'"),
        (["version", "--nope=3"], "unknown option '--nope=3'"),
        (["version", "-x"], "unknown option '-x'"),
        (["version", "--help=3"], "'--help' takes no value"),
        (["version", "--output-format"], "'--output-format' needs a value"),
        (["version", "--output-format", "xml"], "value 'xml' is not defined in the enumeration"),
        (["restore", "a"], "SNAPSHOT ARCHIVE TARGET [PATTERN...] expected"),
        (["restore", "host/a/2026-01-02T03:04:05Z", "a.pxar", "out", "a[b"], 'pattern "a[b": set without end'),
        (["pxar", "create", "tree"], "TREE ARCHIVE expected"),
        (["pxar", "encode", "tree.json", "x.mpxar"], "--payload-output"),
        (["pxar", "extract", "x.mpxar", "--pattern", "a\\"], 'pattern "a\\"'),
        (["pxar", "dump"], "X.pxar expected"),
    ],
    ids=lambda value: "-".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_usage_error_is_one_sentence_and_exit_2(cli: Cli, words: list[str], said: str) -> None:
    assert said in sentence(cli(*words), 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--change-detection-mode", "Metadata"], "'Metadata' is not defined in the enumeration (legacy, data, metadata)."),
        (["--stats", ""], "--stats: the name of the file is empty"),
        (["--decisions", ""], "--decisions: the name of the file is empty"),
        (["--stats", "x", "--decisions", "x"], "--stats and --decisions: both are 'x'"),
        ([*MODE, "--chunk-size", "63"], "value must have a minimum value of 64 (got 63)"),
        ([*MODE, "--chunk-size", "4097"], "value must have a maximum value of 4096 (got 4097)"),
        ([*MODE, "--chunk-size", "65"], "Got unsupported chunk size '66560'"),
        ([*MODE, "--chunk-size", "0x40"], "'0x40' is not a whole number"),
        ([*MODE, "--threads", "0"], "minimum value of 1"),
        ([*MODE, "--threads", "65"], "maximum value of 64"),
        ([*MODE, "--cache-limit", "0"], "minimum value of 1"),
        ([*MODE, "--max-instances", "0"], "minimum value of 1"),
        ([*MODE, "--max-instances", "1000001"], "maximum value of 1000000"),
        ([*MODE, "--absorb-below", "-1"], "'-1' is not a whole number"),
        ([*MODE, "--padding-threshold", "1.5"], "between 0 and 1"),
        ([*MODE, "--padding-threshold", "nan"], "'nan' is not a number"),
        ([*MODE, "--padding-threshold", "0.1234567"], "at most 6 decimals"),
        ([*MODE, "--reuse-profile", "loose"], "value 'loose' is not defined in the enumeration"),
        ([*MODE, "--compare", "nothing"], "value 'nothing' is not defined in the enumeration"),
        ([*MODE, "--sync-level", "all"], "value 'all' is not defined in the enumeration"),
        ([*MODE, "--backup-type", "lxc"], "value 'lxc' is not defined in the enumeration"),
        ([*MODE, "--backup-time", "yesterday"], "'yesterday' is not a whole number"),
        ([*MODE, "--backup-time", "2026-02-30T00:00:00Z"], "2026-02-30T00:00:00Z"),
        ([*MODE, "--backup-id", ""], "the id is empty"),
        ([*MODE, "--backup-id", "../up"], "../up"),
        ([*MODE, "--no-xattrs"], "unknown option '--no-xattrs'"),
    ],
)
def test_backup_refuses_options_before_touching_anything(
    cli: Cli, tree: Path, store: Path, options: list[str], said: str
) -> None:
    assert said in sentence(cli("backup", f"root.pxar:{tree}", "--repository", store, *options), 2)
    assert not store.exists()


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["root.pxar:"], "NAME.pxar:PATH expected"),
        (["root.pxar"], "NAME.pxar:PATH expected"),
        ([".pxar:/x"], "NAME.pxar:PATH expected"),
        (["ro ot.pxar:/x"], "NAME.pxar:PATH expected"),
        (["root.mpxar:/x"], "NAME.pxar:PATH expected"),
        (["../root.pxar:/x"], "NAME.pxar:PATH expected"),
        (["x" * 200 + ".pxar:/x"], "longer than"),
        (["a.pxar:/", "a.pxar:/"], "two sources named 'a.pxar'"),
        ([], "NAME.pxar:PATH expected"),
        (["a\nb"], "'a\\x0ab'"),
    ],
)
def test_backup_refuses_sources(cli: Cli, store: Path, sources: list[str], said: str) -> None:
    assert said in sentence(cli("backup", *sources, "--repository", store, *MODE), 2)
    assert not store.exists()


def test_repository_comes_from_the_environment_or_is_missed(cli: Cli, tree: Path, store: Path) -> None:
    words = ["backup", f"root.pxar:{tree}", *MODE]
    assert "PBS_REPOSITORY" in sentence(cli(*words, env={"PBS_REPOSITORY": ""}), 2)
    cli(*words, env={"PBS_REPOSITORY": str(store)}).check_ok()
    assert (store / ".chunks").is_dir()


# ---- failures ----


def test_missing_source_fails_before_anything_is_created(cli: Cli, tree: Path, store: Path, tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    result = cli(
        "backup", f"a.pxar:{tree}", f"b.pxar:{tmp_path}/none", "--repository", store, *MODE, "--stats", stats
    )
    assert sentence(result, 1) == f"source {tmp_path}/none: No such file or directory"
    assert not store.exists()
    counted = json.loads(stats.read_text())
    assert counted["result"] == "failed" and counted["archives"] == []
    assert counted["error"] == f"source {tmp_path}/none: No such file or directory"


def test_source_must_be_a_directory(cli: Cli, tree: Path, store: Path) -> None:
    assert "is not a directory" in sentence(cli("backup", f"a.pxar:{tree}/a", "--repository", store, *MODE), 1)


def test_stats_that_cannot_be_written_fail_before_the_backup(cli: Cli, tree: Path, store: Path, tmp_path: Path) -> None:
    words = ["backup", f"a.pxar:{tree}", "--repository", store, *MODE, "--stats"]
    assert "No such file or directory" in sentence(cli(*words, tmp_path / "none" / "stats"), 1)
    assert "Is a directory" in sentence(cli(*words, tmp_path), 1)
    assert not store.exists()


def to_full_disk(program: Path, *words: str | os.PathLike[str]) -> run.Result:
    return run.run(["sh", "-c", 'exec "$0" "$@" > /dev/full', program, *words])


def test_full_disk_behind_stdout_is_a_failure(pxarbench: Path, cli: Cli, tree: Path, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    x, y = tmp_path / "x.mpxar", tmp_path / "x.ppxar"
    cli("pxar", "create", tree, x, "--payload-output", y).check_ok()
    for words in (["pxar", "list", x], ["pxar", "dump", x], ["version"], ["--help"], ["version", "--output-format=json"]):
        assert "No space left on device" in sentence(to_full_disk(pxarbench, *words), 1)


def test_closed_stdout_is_a_failure(pxarbench: Path) -> None:
    assert "Bad file descriptor" in sentence(run.run(["sh", "-c", 'exec "$0" version >&-', pxarbench]), 1)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"], ids=["stdin", "stdout", "stderr", "all"])
def test_closed_descriptors_do_not_end_up_in_files(
    pxarbench: Path, tree: Path, store: Path, tmp_path: Path, closed: str
) -> None:
    """The first file opened must not become standard output or error, or messages would go into it."""
    decisions = tmp_path / "decisions"
    words = ["backup", f"r.pxar:{tree}", "--repository", store, *MODE, "--decisions", decisions]
    run.run(["sh", "-c", f'exec "$0" "$@" {closed}', pxarbench, *words]).check_ok()
    assert [json.loads(line)["path"] for line in decisions.read_text().splitlines()] == ["a", "sub/b", "z"]


# ---- results ----


def test_version_in_every_format(cli: Cli) -> None:
    version = cli("version", "--output-format", "json").json()
    assert version["archive_format"] == 2
    assert cli("version").text == f"pxarbench {version['version']}\n" == cli("--version").text
    pretty = cli("version", "--output-format=json-pretty")
    assert pretty.json() == version and pretty.text.count("\n") > 2


STREAM = {
    "size", "chunks", "known_chunks", "known_bytes", "injected_chunks", "injected_bytes", "new_chunks", "new_bytes",
    "new_chunks_by_size", "duplicate_chunks", "compressed_bytes", "duration_ns", "csum",
}  # fmt: skip
ENTRIES = {
    "directories", "files", "symlinks", "fifos", "sockets", "devices", "hardlink_inodes", "hardlink_names", "skipped",
}  # fmt: skip
ARCHIVE = {
    "name", "reference", "entries", "reused_files", "reused_bytes", "reencoded_files", "reencoded_bytes",
    "injected_chunks", "injected_bytes", "padding_bytes", "partial_chunks", "unreferenced_chunks", "flushes",
    "rejected_ranges", "file_bytes_read", "reasons", "not_stored", "metadata", "payload", "kind", "stored", "stream",
    "blob", "ledger", "given_up_chunks", "early_chunks", "collateral_files", "collateral_bytes",
    "touched_identical_files", "touched_identical_bytes",
}  # fmt: skip
SIZE_CLASSES = ["lt_16k", "lt_64k", "lt_256k", "lt_1m", "lt_4m", "ge_4m"]
LEDGER = {
    "start_padding", "end_padding", "hole_padding", "dead_padding", "padding", "ranges", "partial_chunks",
    "unreferenced_chunks", "stored_waste", "relisted_chunks",
}  # fmt: skip
RUN = {
    "schema", "version", "result", "error", "snapshot", "mode", "profile", "compare", "threads", "chunk_average",
    "cache_limit", "padding_threshold", "sync_level", "duration_ns", "user_ns", "system_ns", "peak_rss_bytes",
    "warnings", "archives", "catalog", "absorb_below", "max_instances",
}  # fmt: skip


def test_stats_hold_every_member_of_the_schema(cli: Cli, tree: Path, store: Path, tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    result = cli(
        "backup", f"root.pxar:{tree}", "--repository", store, "--change-detection-mode", "metadata",
        "--backup-id", "me", "--backup-time", "2026-01-02T03:04:05Z", "--padding-threshold", "0.25",
        "--chunk-size", "64", "--threads", "3", "--sync-level", "none", "--stats", stats, "--output-format", "json",
    )  # fmt: skip
    counted = json.loads(stats.read_text())
    assert set(counted) == RUN
    assert counted["schema"] == "pxarbench-stats/1" and counted["result"] == "ok" and counted["error"] is None
    assert counted["snapshot"] == "host/me/2026-01-02T03:04:05Z"
    assert (counted["mode"], counted["profile"], counted["compare"]) == ("metadata", "tight", "strict")
    assert (counted["threads"], counted["chunk_average"], counted["cache_limit"]) == (3, 65536, 65536)
    assert counted["padding_threshold"] == 0.25 and counted["sync_level"] == "none"
    assert counted["peak_rss_bytes"] > 1 << 20 and counted["user_ns"] + counted["system_ns"] > 0
    (archive,) = counted["archives"]
    assert set(archive) == ARCHIVE and archive["name"] == "root" and archive["kind"] == "split"
    assert archive["stored"] == ["root.ppxar.didx", "root.mpxar.didx"]
    assert (archive["stream"], archive["blob"], counted["catalog"]) == (None, None, None)
    assert archive["reference"]["reason"] == "no-previous-snapshot"
    assert set(archive["entries"]) == ENTRIES
    assert archive["entries"]["files"] == 2 and archive["entries"]["symlinks"] == 1
    assert (archive["entries"]["hardlink_inodes"], archive["entries"]["hardlink_names"]) == (1, 1)
    assert archive["reasons"] == {"no-reference": 2}
    assert set(archive["not_stored"]) == {"xattrs", "acls", "fcaps"}
    for stream in ("metadata", "payload"):
        assert set(archive[stream]) == STREAM
        assert len(archive[stream]["csum"]) == 64 and set(archive[stream]["csum"]) != {"0"}
    assert archive["payload"]["size"] == 16 + 16 + 1000 + 16 + 16
    assert archive["payload"]["new_chunks_by_size"] == {**dict.fromkeys(SIZE_CLASSES, 0), "lt_16k": 1}
    assert set(archive["ledger"]) == LEDGER
    assert set(archive["given_up_chunks"]) == {"threshold", "instances", "absorbed"}
    assert (archive["ledger"]["ranges"], archive["ledger"]["padding"]) == (1, 0)
    assert result.json() == counted


def test_defaults_are_filled_in(cli: Cli, tree: Path, store: Path) -> None:
    words = ["backup", f"r.pxar:{tree}", "--repository", store, "--change-detection-mode", "data"]
    counted = cli(*words, "--output-format", "json").json()
    assert counted["chunk_average"] == 4 << 20 and counted["padding_threshold"] == 0.1
    assert (counted["absorb_below"], counted["max_instances"]) == (256 << 10, 8)
    assert counted["threads"] == min(64, os.cpu_count() or 1) and counted["sync_level"] == "filesystem"
    assert counted["snapshot"].startswith(f"host/{socket.gethostname().split('.')[0]}/")


def test_options_of_the_profile_stored_are_told_as_used(cli: Cli, tree: Path, store: Path) -> None:
    words = ["backup", f"r.pxar:{tree}", "--repository", store, *MODE, "--reuse-profile", "stored"]
    words += ["--chunk-size", "64", "--output-format", "json", "--backup-time"]
    counted = cli(*words, "1000").json()
    assert (counted["profile"], counted["absorb_below"], counted["max_instances"]) == ("stored", 4096, 8)
    counted = cli(*words, "2000", "--absorb-below", "0", "--max-instances", "1").json()
    assert (counted["absorb_below"], counted["max_instances"]) == (0, 1)


def test_stats_replace_the_file_and_write_through_pipes(cli: Cli, tree: Path, store: Path, tmp_path: Path) -> None:
    stats = tmp_path / "out" / "stats.json"
    stats.parent.mkdir()
    stats.write_text("old")
    held = stats.open()
    words = ["backup", f"r.pxar:{tree}", "--repository", store, *MODE, "--backup-id"]
    cli(*words, "a", "--stats", stats).check_ok()
    assert held.read() == "old", "the old file was overwritten in place"
    held.close()
    assert json.loads(stats.read_text())["result"] == "ok"
    assert [path.name for path in stats.parent.iterdir()] == ["stats.json"]
    # Not /dev/stdout itself: a program that gets this wrong, run by root, would replace it for the whole machine.
    link = tmp_path / "link"
    link.symlink_to("/proc/self/fd/1")
    assert cli(*words, "b", "--stats", link).json()["result"] == "ok"
    assert link.is_symlink()


def test_decisions_have_a_line_for_each_name_of_a_file(cli: Cli, tree: Path, store: Path, tmp_path: Path) -> None:
    decisions = tmp_path / "decisions"
    cli("backup", f"r.pxar:{tree}", "--repository", store, *MODE, "--decisions", decisions).check_ok()
    lines = [json.loads(line) for line in decisions.read_text().splitlines()]
    assert [line["path"] for line in lines] == ["a", "sub/b", "z"]
    assert [line["reason"] for line in lines[:2]] == ["no-reference"] * 2


def test_dry_run_stores_nothing(cli: Cli, tree: Path, store: Path) -> None:
    words = ["backup", f"r.pxar:{tree}", "--repository", store, *MODE, "--backup-id", "me"]
    cli(*words, "--backup-time", "1000").check_ok()
    before = sorted(path.name for path in (store / "host" / "me").iterdir())
    cli(*words, "--backup-time", "2000", "--dry-run").check_ok()
    assert sorted(path.name for path in (store / "host" / "me").iterdir()) == before


def test_first_backup_may_be_tried_dry(cli: Cli, tree: Path, store: Path) -> None:
    tried = cli("backup", f"r.pxar:{tree}", "--repository", store, *MODE, "--dry-run").check_ok()
    assert f"Would create datastore {store}\n" in tried.stderr.decode()
    assert not store.exists()


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_interrupted_backup_dies_at_once_and_the_next_one_works(
    pxarbench: Path, cli: Cli, tree: Path, store: Path, name: str
) -> None:
    (tree / "slow").write_bytes(bytes(200 << 20))
    words = ["backup", f"r.pxar:{tree}", "--repository", store, *MODE, "--backup-id", "me", "--backup-time"]
    slow = run.run(
        ["timeout", "--preserve-status", "--signal", name, "0.5", pxarbench, *words, "1000", "--read-size-max", "1"],
        timeout=60,
    )
    assert not slow.timed_out and slow.returncode == 128 + getattr(signal, f"SIG{name}"), slow
    (tree / "slow").unlink()
    cli(*words, "2000").check_ok()
    assert [path.name for path in (store / "host" / "me").glob("19*")] == ["1970-01-01T00:33:20Z"]


def test_backup_and_restore_give_the_tree_back(cli: Cli, tree: Path, store: Path, tmp_path: Path) -> None:
    cli("backup", f"r.pxar:{tree}", "--repository", store, *MODE, "--backup-id", "me", "--backup-time", "1000").check_ok()
    target = tmp_path / "target"
    for name in ("r.pxar", "r.mpxar", "r.ppxar.didx"):
        out = target / name
        target.mkdir(exist_ok=True)
        counted = cli(
            "restore", "host/me/1970-01-01T00:16:40Z", name, out, "--repository", store, "--ignore-ownership",
            "--output-format", "json",
        ).json()  # fmt: skip
        assert (out / "a").read_bytes() == b"a" * 1000 and (out / "sub" / "b").read_bytes() == b""
        assert os.readlink(out / "l") == "a" and os.path.samefile(out / "a", out / "z")
        assert counted["files"] == 2 and counted["file_bytes"] == 1000
    said = sentence(cli("restore", "host/me/1970-01-01T00:16:40Z", "x.pxar", target, "--repository", store), 1)
    assert "archive not found in manifest" in said


def test_restore_of_what_is_not_there(cli: Cli, tree: Path, store: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    sentence(cli("restore", "host/me/1970-01-01T00:16:40Z", "r.pxar", target, "--repository", store), 1)
    sentence(cli("restore", "nonsense", "r.pxar", target, "--repository", store), 2)
    assert not target.exists() and not store.exists()


# ---- pxar ----


def test_create_and_extract_give_the_tree_back(cli: Cli, tree: Path, tmp_path: Path) -> None:
    x, y = tmp_path / "x.mpxar", tmp_path / "x.ppxar"
    counted = cli("pxar", "create", tree, x, "--payload-output", y, "--output-format=json").json()
    assert set(counted) == ARCHIVE - {"stored"} and counted["entries"]["files"] == 2
    assert counted["payload"]["size"] == y.stat().st_size and counted["metadata"]["size"] == x.stat().st_size
    old_umask = os.umask(0o022)
    os.umask(old_umask)
    assert stat.S_IMODE(x.stat().st_mode) == stat.S_IMODE(y.stat().st_mode) == 0o640 & ~old_umask
    target = tmp_path / "target"
    target.mkdir()
    cli("pxar", "extract", x, "--payload-input", y, "--ignore-ownership", cwd=target).check_ok()
    assert (target / "z").read_bytes() == b"a" * 1000
    again = cli("pxar", "extract", x, "--payload-input", y, target, "--ignore-ownership", "--strict")
    assert "/a: exists already" in sentence(again, 1)
    words = ["pxar", "extract", x, "--payload-input", y, target, "--ignore-ownership", "--allow-existing-dirs"]
    cli(*words, "--overwrite").check_ok()


def test_list_prints_paths_in_archive_order(cli: Cli, tree: Path, tmp_path: Path) -> None:
    x = tmp_path / "x.mpxar"
    cli("pxar", "create", tree, x, "--payload-output", tmp_path / "x.ppxar").check_ok()
    listed = cli("pxar", "list", x).check_ok().text.splitlines()
    assert listed == ["/", "/a", "/l", "/sub", "/sub/b", "/z"]


def test_output_files_are_never_replaced(cli: Cli, tree: Path, tmp_path: Path) -> None:
    x, y = tmp_path / "x.mpxar", tmp_path / "x.ppxar"
    y.write_bytes(b"precious")
    description = tmp_path / "tree.json"
    description.write_text("{}")
    for words in (["create", tree], ["encode", description]):
        assert "File exists" in sentence(cli("pxar", *words, x, "--payload-output", y), 1)
        assert y.read_bytes() == b"precious" and not x.exists()
    assert "File exists" in sentence(cli("pxar", "encode", description, x, "--payload-output", x), 1)
    assert not x.exists()


def test_failed_encode_leaves_no_files(cli: Cli, tmp_path: Path) -> None:
    description = tmp_path / "tree.json"
    for text in ("", "[]", "{}", '{"schema": 1, "name": "x", "root": {"type": "file"}}', '{"a": '):
        description.write_text(text)
        words = ["pxar", "encode", description, tmp_path / "x.mpxar", "--payload-output", tmp_path / "x.ppxar"]
        assert str(description) in sentence(cli(*words), 1)
        assert [path.name for path in tmp_path.iterdir()] == ["tree.json"]


def test_garbage_is_named_as_such(cli: Cli, tmp_path: Path) -> None:
    x = tmp_path / "x.mpxar"
    for content in (b"", b"x" * 15, b"x" * 4096):
        x.write_bytes(content)
        for command in ("list", "dump"):
            assert str(x) in sentence(cli("pxar", command, x), 1)
    assert "Is a directory" in sentence(cli("pxar", "list", tmp_path), 1)


def test_statistics_that_cannot_be_written_do_not_hide_that_the_snapshot_is_there(
    cli: Cli, pxarbench: Path, tmp_path: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    tree, store = tmp_path / "tree", tmp_path / "store"
    tree.mkdir()
    (tree / "f").write_bytes(b"x")
    (store / ".chunks").mkdir(parents=True)
    result = to_full_disk(
        pxarbench, "backup", f"root.pxar:{tree}", "--repository", str(store), "--backup-id", "a",
        "--change-detection-mode", "data", "--sync-level", "none", "--output-format", "json",
    )
    assert result.returncode == 1
    assert b"the snapshot is finished and stays, but its statistics are lost: " in result.stderr
    assert len(cli("snapshot", "list", "--repository", store, "--output-format", "json").json()) == 1
