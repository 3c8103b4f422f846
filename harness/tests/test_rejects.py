"""fixtures/reject/: every file is refused with its sentence, in little memory; its neighbour just inside the rule is read."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import reject_archives as archives
import reject_cases as rejects
import reject_stored as stored
from backup_tools import T1, blob, index_body, index_bytes, is_sanitized, time_text
from reject_archives import Case, Files

from pxarbench_harness import run

CASES = rejects.all_cases()
BY_NAME = [pytest.param(case, id=case.name) for case in CASES]
SNAPSHOT = f"host/me/{time_text(T1)}"
FOLDER_BYTES_MAX = 400_000
#: Above what a small process maps: libraries, stacks. What is only reserved and never touched counts here, too.
ADDRESS_SPACE_MORE = 192 << 20
MIB = 1 << 20


# ---- the files ----


def test_the_folder_holds_what_the_cases_are() -> None:
    wanted = rejects.contents()
    assert {path.name for path in rejects.FOLDER.iterdir()} == set(wanted)
    for name, data in wanted.items():
        assert (rejects.FOLDER / name).read_bytes() == data, f"{name}: reject_cases.py --write was not run"
    assert sum(map(len, wanted.values())) < FOLDER_BYTES_MAX and max(map(len, wanted.values())) < 100_000


def test_every_reader_and_each_of_the_three_errors_has_its_cases() -> None:
    readers = {case.reader for case in CASES}
    assert readers == {"pxar dump", "pxar lookup", "index show", "blob show", "snapshot files", "catalog dump"}
    for text in ("unsupported version 3", "not an archive", "corrupt at offset"):
        for reader in ("pxar dump", "pxar lookup"):
            assert any(text in case.error for case in CASES if case.reader == reader), (text, reader)
    rules = {case.rule for case in CASES if case.reader.startswith("pxar")}
    assert {"2", "5.1", "5.2", "5.3", "5.5", "5.9", "5.11", "5.12", "5.14", "8", "9.3", "10.1", "10.2", "10.3", "11"} <= rules
    assert {case.rule for case in CASES if not case.reader.startswith("pxar")} == {"2", "3", "4", "6", "7"}


def test_sizes_of_the_table_are_tried_one_byte_on_either_side() -> None:
    """Section 11: one byte too many for each limit, one too few for each exact size."""
    sizes: dict[str, set[int]] = {}
    for case in archives.sizes():
        name, _, size = case.name.rpartition("-")
        sizes.setdefault(name, set()).add(int(size))
    exact = {"entry": 40, "entry-v1": 32, "device": 16, "payload-ref": 16}
    exact.update({name: size for name, (_, _, size) in archives.EXACT.items()})
    for name, size in exact.items():
        assert sizes[name] == {size - 1, size + 1}, name
    limits = {"filename": (2, 4097), "symlink": (1, 4097), "hardlink": (9, 4105), "xattr": (1, 65791), "fcaps": (0, 65791)}
    for name, (least, most) in limits.items():
        assert sizes[name] == {most + 1, *([least - 1] if least else [])}, name
    assert {f"version-of-{size}-bytes" for size in (7, 9)} <= {case.name for case in CASES}


# ---- reading them ----


def datastore(directory: Path, files: Files) -> Path:
    """A datastore with one snapshot, made of the manifest or around the catalog."""
    store, snapshot = directory / "store", directory / "store" / SNAPSHOT
    snapshot.mkdir(parents=True)
    (store / ".chunks").mkdir()
    (store / ".lock").touch()
    (snapshot.parent / "owner").write_text("root@pam\n")
    if "json" in files:
        (snapshot / "index.json.blob").write_bytes(blob(files["json"]))
        return store
    catalog = files["pcat1"]
    digest = hashlib.sha256(catalog).digest()
    chunk = store / ".chunks" / digest.hex()[:4] / digest.hex()
    chunk.parent.mkdir()
    chunk.write_bytes(blob(catalog))
    entries = [(len(catalog), digest)]
    (snapshot / "catalog.pcat1.didx").write_bytes(index_bytes(entries))
    listed = {
        "filename": "catalog.pcat1.didx",
        "crypt-mode": "none",
        "size": len(catalog),
        "csum": hashlib.sha256(index_body(entries)).hexdigest(),
    }
    manifest = {"backup-type": "host", "backup-id": "me", "backup-time": T1, "files": [listed], "unprotected": {}}
    (snapshot / "index.json.blob").write_bytes(blob(json.dumps(manifest).encode()))
    return store


def words(case: Case, files: Files, directory: Path) -> list[str]:
    """The command that reads these files, put into `directory`."""
    command = case.reader.split()
    if not files.keys().isdisjoint({"json", "pcat1"}):
        return [*command, SNAPSHOT, "--repository", os.fspath(datastore(directory, files))]
    paths = []
    for extension, data in files.items():
        paths.append(directory / f"{case.name}.{extension}")
        paths[-1].write_bytes(data)
    payload = ["--payload-input", os.fspath(paths[1])] if len(paths) > 1 else []
    return [*command, os.fspath(paths[0]), *case.arguments, *payload]


Cli = Callable[..., run.Result]
Bounded = Callable[[list[str], int], run.Result]


@pytest.fixture(scope="module")
def bounded(pxarbench: Path) -> Iterator[Bounded]:
    """Runs the program with so much memory: what it touches is measured, what it reserves is limited."""
    sanitized = is_sanitized(pxarbench)

    def call(arguments: list[str], memory_mib: int) -> run.Result:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        command: list[str | os.PathLike[str]] = [pxarbench, *arguments]
        if sanitized:  # shadow memory: no bound would say anything
            return run.run(command, timeout=60)
        bytes_max = memory_mib * MIB + ADDRESS_SPACE_MORE
        result, usage = run.run_counted(["prlimit", f"--as={bytes_max}", *command], timeout=60)
        assert usage.peak_rss_bytes < memory_mib * MIB, f"{usage.peak_rss_bytes} bytes of memory"
        assert resource.getrlimit(resource.RLIMIT_AS) == (soft, hard)
        return result

    yield call


@pytest.mark.parametrize("case", BY_NAME)
def test_is_refused_with_its_sentence(case: Case, bounded: Bounded, tmp_path: Path) -> None:
    result = bounded(words(case, case.files, tmp_path), case.memory_mib)
    said = result.stderr.decode(errors="surrogateescape")
    assert result.returncode == 1, result
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0] == said.splitlines()[-1], said
    assert case.error in errors[0]
    stored_as = {"json": "index.json.blob", "pcat1": "catalog.pcat1.didx"}
    assert any(stored_as.get(extension, f"{case.name}.{extension}") in errors[0] for extension in case.files)


@pytest.mark.parametrize("case", [case for case in BY_NAME if case.values[0].inside is not None])  # type: ignore[union-attr]
def test_its_neighbour_inside_the_rule_is_read(case: Case, cli: Cli, tmp_path: Path) -> None:
    assert case.inside is not None
    cli(*words(case, case.inside, tmp_path)).check_ok()


def test_listing_refuses_what_dumping_refuses(cli: Cli, tmp_path: Path) -> None:
    """Two readers of the same road; contents, which only one of them reads, are left out."""
    wrong = []
    for case in CASES:
        if case.reader == "pxar dump" and len(case.files) == 1:
            ((extension, data),) = case.files.items()
            path = tmp_path / f"{case.name}.{extension}"
            path.write_bytes(data)
            result = cli("pxar", "list", path)
            if result.returncode != 1 or case.error not in result.stderr.decode():
                wrong.append(f"{case.name}: exit {result.returncode}: {result.stderr.decode()}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0b", b"n" * 4097])
def test_names_that_are_not_read_are_not_written(name: bytes, cli: Cli, tmp_path: Path) -> None:
    def encode(name: bytes) -> run.Result:
        stat = {"mode": "0644", "uid": 0, "gid": 0, "mtime": [0, 0]}
        entry = {"name_b64": base64.b64encode(name).decode(), "type": "fifo", **stat}
        tree = {"schema": "pxar-vector-tree/1", "name": "t", "root": {**stat, "entries": [entry]}}
        (tmp_path / "x.tree.json").write_text(json.dumps(tree))
        return cli("pxar", "encode", tmp_path / "x.tree.json", tmp_path / "x.pxar")

    result = encode(name)
    assert result.returncode == 1 and "x.tree.json: root.entries[0]" in result.stderr.decode()
    assert not (tmp_path / "x.pxar").exists()
    encode(name.replace(b"/", b"-").replace(b"\0", b"-").replace(b".", b"-")[:4096] or b"n").check_ok()


def test_the_memory_bound_is_one(pxarbench: Path, bounded: Bounded, tmp_path: Path) -> None:
    """The frame bomb does pass the small bound: what is measured is the program's memory."""
    if is_sanitized(pxarbench):
        pytest.skip("a sanitizer's memory is not bounded")
    bomb = next(case for case in CASES if case.name == "blob-frame-bomb")
    with pytest.raises(AssertionError, match="bytes of memory"):
        bounded(words(bomb, bomb.files, tmp_path), 64)
