"""--decisions: a line for each name of a file, and all lines together hold the walk, for those who replay it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from backup_tools import NAME, T1, T2, T3, Repository, index_body, time_text, warnings_of

PAYLOAD, PAYLOAD_REF = 0x28147A1B0B7C1A25, 0x419D3D6BC4BA977E
Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def backup(repository: Repository, tree: Path, at: int, *more: str, mode: str = "metadata") -> tuple[Any, list[Line]]:
    decisions = repository.scratch / f"decisions-{at}"
    done = repository.backup(tree, at, "--decisions", decisions, *more, mode=mode)
    return done, read(decisions)


def by_path(lines: list[Line]) -> dict[str, Line]:
    return {line["path"]: line for line in lines}


def put(path: Path, content: bytes, at: int = T1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (at, at))


def noise(seed: int, size: int) -> bytes:
    return b"".join(hashlib.sha256(b"%d %d" % (seed, i)).digest() for i in range(size // 32 + 1))[:size]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for i in range(8):
        put(root / f"f{i}", noise(i, 30000))
    put(root / "g" / "empty", b"")
    put(root / "g" / "large", noise(99, 700000))
    return root


# ---- where the contents were ----


def test_every_line_says_where_the_contents_were(repository: Repository, tree: Path) -> None:
    put(tree / "type", b"a file, and then a link")
    put(tree / "turn", b"")
    (tree / "turn").unlink()
    (tree / "turn").symlink_to("f0")
    _, first = backup(repository, tree, T1)
    assert all("old_offset" not in line and "old_size" not in line for line in first)
    was = {line["path"]: (line["offset"], line["size"]) for line in first}

    put(tree / "f1", noise(1, 30001))  # other size
    put(tree / "f3", noise(3, 30000), T2)  # other time
    os.chmod(tree / "f5", 0o600)
    put(tree / "new", b"new")
    (tree / "type").unlink()
    (tree / "turn").unlink()
    put(tree / "turn", b"a file now")
    os.link(tree / "f7", tree / "h")
    done, second = backup(repository, tree, T2, "--padding-threshold", "0.9")
    lines = by_path(second)
    told = {path: (line["old_offset"], line["old_size"]) for path, line in lines.items() if "old_offset" in line}
    assert told == {path: was[path] for path in was if path in lines}
    reasons = {path: line["reason"] for path, line in lines.items() if line["action"] == "reencoded"}
    assert reasons == {"f1": "size", "f3": "touched-but-identical", "f5": "touched-but-identical", "new": "new",
                       "turn": "type"}  # fmt: skip
    assert lines["h"] == {"action": "hardlink", "path": "h", "target": "f7", "before": ")"}
    assert done.archive["reasons"] == {"unchanged": 7, "size": 1, "mtime": 1, "mode": 1, "new": 1, "type": 1}


def test_collateral_has_its_old_place_too(repository: Repository, tree: Path) -> None:
    _, first = backup(repository, tree, T1)
    put(tree / "f3", b"!", T2)
    done, second = backup(repository, tree, T2, "--padding-threshold", "0")
    collateral = [line for line in second if line["reason"] == "threshold"]
    assert collateral and done.archive["collateral_files"] == len(collateral)
    assert done.archive["collateral_bytes"] == sum(16 + line["size"] for line in collateral)
    was = by_path(first)
    for line in collateral:
        assert (line["old_offset"], line["old_size"]) == (was[line["path"]]["offset"], line["size"])


def test_a_file_out_of_order_keeps_its_old_place(repository: Repository, tree: Path) -> None:
    """A crafted reference: two files refer to the same contents."""
    backup(repository, tree, T1)
    stream = bytearray(repository.stream(T1, "mpxar"))
    item = struct.pack("<QQ", PAYLOAD_REF, 32)
    references = [at for at in range(len(stream) - 32) if stream[at : at + 16] == item]
    assert len(references) == 10
    stream[references[3] + 16 : references[3] + 32] = stream[references[2] + 16 : references[2] + 32]
    repository.set_stream(T1, "mpxar", bytes(stream))
    done, second = backup(repository, tree, T2)
    lines = by_path(second)
    assert done.reason == "used" and lines["f3"]["reason"] == "non-monotone"
    assert lines["f3"]["old_offset"] == lines["f2"]["old_offset"] and lines["f3"]["old_size"] == 30000


# ---- touched, but identical ----


def test_touched_files_are_compared_with_their_old_contents(repository: Repository, tree: Path) -> None:
    backup(repository, tree, T1)
    changed = bytearray(noise(99, 700000))
    os.utime(tree / "f0", (T2, T2))
    put(tree / "f1", noise(1, 29999) + b"!", T2)
    put(tree / "f2", b"!" + noise(2, 30000)[1:], T2)
    os.chmod(tree / "f4", 0o640)
    os.utime(tree / "g" / "empty", (T2, T2))
    os.utime(tree / "g" / "large", (T2, T2))
    done, second = backup(repository, tree, T2)
    lines = by_path(second)
    outcome = {path: (line["reason"], line.get("difference")) for path, line in lines.items()}
    identical = {"f0": "mtime", "f4": "mode", "g/empty": "mtime", "g/large": "mtime"}
    for path, difference in identical.items():
        assert outcome[path] == ("touched-but-identical", difference)
    assert outcome["f1"] == outcome["f2"] == ("mtime", None)
    assert all("difference" not in line for path, line in lines.items() if path not in identical)
    archive = done.archive
    assert archive["touched_identical_files"] == 4
    assert archive["touched_identical_bytes"] == 4 * 16 + 2 * 30000 + 700000
    # The counters go by the predicate; what was read to compare is not the tree's.
    assert archive["reasons"]["mtime"] == 5 and archive["reasons"]["mode"] == 1
    read_again = sum(line["size"] for line in second if line["action"] == "reencoded")
    assert archive["file_bytes_read"] == read_again
    repository.check_restore(T2)

    changed[350000] ^= 1
    put(tree / "g" / "large", bytes(changed), T3)
    _, third = backup(repository, tree, T3)
    assert by_path(third)["g/large"]["reason"] == "mtime"


def test_nothing_is_compared_without_decisions(repository: Repository, tree: Path) -> None:
    repository.backup(tree, T1)
    os.utime(tree / "f0", (T2, T2))
    archive = repository.backup(tree, T2).archive
    assert archive["touched_identical_files"] is None and archive["touched_identical_bytes"] is None
    assert archive["reasons"]["mtime"] == 1


@pytest.mark.parametrize("fault", ["missing", "damaged", "other"])
def test_damaged_old_contents_are_no_failure(repository: Repository, tree: Path, fault: str) -> None:
    """Whether the contents changed is then unknown, and the reason stays."""
    backup(repository, tree, T1)
    if fault == "other":  # whole chunks, but no payload header where one should be
        repository.set_stream(T1, "ppxar", bytes(len(repository.stream(T1, "ppxar"))))
    else:
        for _, digest in repository.index(T1, "ppxar"):
            path = repository.chunk(digest)
            path.unlink() if fault == "missing" else path.write_bytes(path.read_bytes()[:-1] + b"\0\0")
    for path in tree.glob("f*"):
        put(path, noise(17, 30000), T2)
    os.utime(tree / "f0", (T2, T2))
    done = repository.run(tree, T2, "--decisions", repository.scratch / "decisions")
    done.result.check_ok()
    lines = by_path(read(repository.scratch / "decisions"))
    assert {lines[f"f{i}"]["reason"] for i in range(8)} == {"mtime"}
    assert done.archive["touched_identical_files"] == 0
    assert done.archive["file_bytes_read"] == sum(e["size"] for e in lines.values() if e["action"] == "reencoded")
    said = [line for line in warnings_of(done.result) if "whether contents changed is not known" in line]
    assert len(said) == 1, done.log


# ---- the walk ----


def replay(lines: list[Line]) -> list[str]:
    """The walk as a list of events: (, ), s and names."""
    events: list[str] = []
    for line in lines:
        events += line.get("before", "")
        events.append(line["path"])
        events += line.get("after", "")
    return events


def walk(root: Path) -> list[str]:
    events: list[str] = []

    def enter(directory: Path, prefix: str) -> None:
        for name in sorted(os.listdir(directory), key=os.fsencode):
            path = directory / name
            if path.is_symlink() or path.is_fifo():
                events.append("s")
            elif path.is_dir():
                events.append("(")
                enter(path, f"{prefix}{name}/")
                events.append(")")
            else:
                events.append(prefix + name)

    enter(root, "")
    return events


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    root = tmp_path / "mixed"
    (root / "a" / "b" / "none").mkdir(parents=True)
    put(root / "a" / "b" / "file", b"1")
    os.mkfifo(root / "a" / "pipe")
    put(root / "c" / "x", b"2" * 5000)
    os.link(root / "c" / "x", root / "c" / "y")
    (root / "c" / "z").symlink_to("x")
    (root / "d").mkdir()
    put(root / "e" / "deep" / "er" / "file", b"3" * 70000)
    (root / "e" / "f" / "g").mkdir(parents=True)
    (root / "z").symlink_to("a")
    return root


@pytest.mark.parametrize("limit", ["1", "2", "3", "5", "65536"])
def test_all_lines_together_are_the_walk(repository: Repository, mixed: Path, limit: str) -> None:
    for at in (T1, T2, T3):
        _, lines = backup(repository, mixed, at, "--cache-limit", limit)
        assert replay(lines) == walk(mixed)
        assert all(line.get("before") != "" and "after" not in line for line in lines[:-1])
        assert lines[-1]["after"] == "))(()))s"
        put(mixed / "e" / "a", b"%d" % at)


def test_the_walk_of_a_unified_archive(repository: Repository, mixed: Path) -> None:
    done, lines = backup(repository, mixed, T1, mode="legacy")
    assert replay(lines) == walk(mixed)
    assert lines[0]["run"]["mode"] == "legacy" and lines[0]["run"]["reference"]["reason"] == "not-asked"
    assert done.archive["kind"] == "unified"


def test_an_archive_without_files_has_no_lines(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "bare" / "d").mkdir(parents=True)
    (tmp_path / "bare" / "l").symlink_to("d")
    assert backup(repository, tmp_path / "bare", T1)[1] == []


def test_lines_of_a_run_that_fails(repository: Repository, mixed: Path) -> None:
    """What was archived until then is told, the last line included."""
    (mixed / "q").mkdir()
    for i in range(60):
        (mixed / "q" / f"{i}").touch()
    decisions = repository.scratch / "decisions"
    done = repository.run(mixed, T1, "--decisions", decisions, "--entries-max", "30")
    done.failed()
    told = replay(read(decisions))
    assert len(told) > 5 and told == walk(mixed)[: len(told)]
    assert "after" not in read(decisions)[-1]


def test_the_last_line_says_that_it_is_the_last(repository: Repository, tmp_path: Path) -> None:
    """Also where nothing comes behind the last file."""
    put(tmp_path / "plain" / "a", b"1")
    put(tmp_path / "plain" / "b", b"2")
    first, last = backup(repository, tmp_path / "plain", T1)[1]
    assert "after" not in first and last["after"] == ""


def test_names_that_are_no_text(repository: Repository, tmp_path: Path) -> None:
    root = tmp_path / "bytes"
    root.mkdir()
    (root / os.fsdecode(b"a\xff")).write_bytes(b"1")
    os.link(root / os.fsdecode(b"a\xff"), root / "b")
    _, (first, second) = backup(repository, root, T1)
    assert base64.b64decode(first["path_b64"]) == b"a\xff" and "path" not in first and "run" in first
    assert base64.b64decode(second["target_b64"]) == b"a\xff" and second["path"] == "b"


# ---- the run ----


def test_the_first_line_names_the_run(repository: Repository, tree: Path) -> None:
    _, first = backup(repository, tree, T1, mode="data")
    assert [line for line in first if "run" in line] == first[:1]
    told = first[0]["run"]
    assert told["reference"] == {"reason": "not-asked", "snapshot": "", "payload_csum": None, "payload_size": 0}
    assert (told["schema"], told["archive"], told["mode"]) == ("pxarbench-decisions/1", NAME, "data")
    assert told["snapshot"] == f"host/me/{time_text(T1)}"
    assert (told["profile"], told["compare"], told["padding_threshold"]) == ("tight", "strict", 0.1)
    assert (told["cache_limit"], told["chunk_average"]) == (65536, 65536)
    assert (told["absorb_below"], told["max_instances"]) == (4096, 8)

    options = ["--reuse-profile", "upstream", "--compare", "content", "--padding-threshold", "0.25"]
    options += ["--cache-limit", "3", "--absorb-below", "0", "--max-instances", "2"]
    _, second = backup(repository, tree, T2, *options)
    assert [line for line in second if "run" in line] == second[:1]
    told = second[0]["run"]
    index = repository.index(T1, "ppxar")
    assert told["reference"] == {
        "reason": "used", "snapshot": f"host/me/{time_text(T1)}",
        "payload_csum": hashlib.sha256(index_body(index)).hexdigest(), "payload_size": index[-1][0],
    }  # fmt: skip
    assert (told["profile"], told["compare"], told["padding_threshold"]) == ("upstream", "content", 0.25)
    assert (told["cache_limit"], told["absorb_below"], told["max_instances"]) == (3, 0, 2)


def test_each_archive_has_its_own_run_and_walk(repository: Repository, tree: Path, mixed: Path) -> None:
    decisions = repository.scratch / "decisions"
    repository.run(tree, T1, f"more.pxar:{mixed}", "--decisions", decisions).result.check_ok()
    lines = read(decisions)
    begins = [i for i, line in enumerate(lines) if "run" in line]
    assert len(begins) == 2 and begins[0] == 0
    parts = lines[: begins[1]], lines[begins[1] :]
    assert [part[0]["run"]["archive"] for part in parts] == [NAME, "more"]
    assert replay(parts[0]) == walk(tree) and replay(parts[1]) == walk(mixed)
    assert parts[0][0]["run"]["reference"]["reason"] == "no-previous-snapshot"


def test_offsets_are_those_of_the_payload_stream(repository: Repository, tree: Path) -> None:
    backup(repository, tree, T1)
    put(tree / "f3", noise(3, 30001), T2)
    _, lines = backup(repository, tree, T2)
    stream, old = repository.stream(T2, "ppxar"), repository.stream(T1, "ppxar")
    for line in lines:
        header = struct.pack("<QQ", PAYLOAD, 16 + line["size"])
        assert stream[line["offset"] : line["offset"] + 16] == header
        assert old[line["old_offset"] : line["old_offset"] + 16] == struct.pack("<QQ", PAYLOAD, 16 + line["old_size"])


# ---- what the log sums up ----


def reasons_in(log: str) -> dict[str, int]:
    """The lines behind the headline, in their order."""
    lines = iter(log.splitlines())
    if "Reasons for storing file data anew:" not in lines:
        return {}
    found = {}
    for line in lines:
        if not line.startswith(" - "):
            break
        name, rest = line.removeprefix(" - ").split(": ", 1)
        found[name] = int(rest.split()[0])
    return found


@pytest.mark.parametrize("profile", ["tight", "upstream", "stored"])
def test_the_log_has_the_reasons_of_the_statistics(repository: Repository, tree: Path, profile: str) -> None:
    repository.backup(tree, T1)
    put(tree / "f3", b"!", T2)
    put(tree / "f6", noise(6, 30000), T2)
    for i in range(5):
        put(tree / "new" / f"{i}", noise(i, 10), T2)
    done, lines = backup(repository, tree, T2, "--reuse-profile", profile)
    counted = {name: files for name, files in done.archive["reasons"].items() if name != "unchanged"}
    assert reasons_in(done.log) == counted
    assert list(reasons_in(done.log).values()) == sorted(counted.values(), reverse=True)
    assert ("unchanged; range rejected: " in done.log) == ("threshold" in counted and profile != "stored")
    summary, reasons = done.log.index("Change detection summary:"), done.log.index("Reasons for")
    assert summary < reasons < done.log.index("root.ppxar: ")
    assert "Touched, but identical: 1 of these files, 29.313 KiB\n" in done.log
    assert "File data read: " in done.log and "No file data was read" not in done.log
    assert {line["reason"] for line in lines} >= {"size", "new", "touched-but-identical"}


def test_the_log_says_that_nothing_was_read(repository: Repository, tree: Path) -> None:
    first = repository.backup(tree, T1)
    assert reasons_in(first.log) == {"no-reference": 10} and "File data read: " in first.log
    second = repository.backup(tree, T2)
    assert second.archive["file_bytes_read"] == 0 and reasons_in(second.log) == {}
    assert "\nNo file data was read.\n" in second.log and "File data read" not in second.log
    for at, mode in ((T3, "data"), (T3 + 1, "legacy")):
        log = repository.backup(tree, at, mode=mode).log
        assert "file data" not in log.lower() and reasons_in(log) == {}
