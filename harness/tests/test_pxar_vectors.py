"""The codec of the core against archives made by the reference implementation, through the real program.

One test per vector; each prints one line that says what was compared, e.g.

    t01-basic: mpxar ok, ppxar ok, pxar ok, dump ok, dump1 ok, lookup ok, lookup1 ok

The vectors are not part of the repository: see locate.vectors() for where they are looked for. A further kind of check
is a function (vector, cli, directory) -> None that asserts, entered in CHECKS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import locate, run

Cli = Callable[..., run.Result]
Lines = list[dict[str, Any]]


def _folder() -> Path | None:
    vectors = locate.vectors()
    folder = vectors / "pxar" if vectors else None
    return folder if folder and (folder / "index.json").is_file() else None


FOLDER = _folder()


def _parameters(names: list[str], what: str) -> list[Any]:
    if FOLDER is None:
        reason = f"{what} not found (set PXB_VECTORS, or put them in shared/vectors beside the repository)"
        return [pytest.param("absent", marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(name, id=name) for name in names]


def _index() -> dict[str, dict[str, Any]]:
    if FOLDER is None:
        return {}
    return {vector["name"]: vector for vector in json.loads((FOLDER / "index.json").read_text())["vectors"]}


INDEX = _index()
VECTORS = _parameters(sorted(INDEX), "archive vectors")
MUTATIONS = _parameters(
    sorted(path.name.removesuffix(".mutations.json") for path in FOLDER.glob("*.mutations.json")) if FOLDER else [],
    "archive mutations",
)

# ---- files of the vectors ----


def stored(name: str) -> bool:
    assert FOLDER is not None
    return (FOLDER / name).is_file() or (FOLDER / f"{name}.zst").is_file()


def read(name: str) -> bytes:
    """A vector file, decompressed if it is stored so."""
    assert FOLDER is not None
    plain, packed = FOLDER / name, FOLDER / f"{name}.zst"
    if plain.is_file():
        return plain.read_bytes()
    if not packed.is_file():
        pytest.skip(f"the vectors have no {name}")
    if shutil.which("zstd") is None:
        pytest.skip(f"{name} is compressed and there is no program zstd")
    return run.run(["zstd", "-dcq", packed]).check_ok().stdout


def place(name: str, directory: Path) -> Path:
    path = directory / name
    path.write_bytes(read(name))
    return path


def lines_of(data: bytes) -> Lines:
    return [json.loads(line) for line in data.splitlines()]


def archive(name: str, cli: Cli, directory: Path) -> Path:
    """NAME.pxar of the reference; where the vectors have only its digest, ours, which was compared with that."""
    path = directory / f"{name}.pxar"
    if stored(path.name):
        return place(path.name, directory)
    if not path.exists():
        encode(name, cli, directory, path)
        assert_stream(name, "pxar", path)
    return path


# ---- what is compared ----


def encode(name: str, cli: Cli, directory: Path, *words: str | Path) -> None:
    cli("pxar", "encode", place(f"{name}.tree.json", directory), *words).check_ok()


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assert_stream(name: str, stream: str, path: Path) -> None:
    expected = INDEX[name]["files"][stream]
    assert path.stat().st_size == expected["size"], stream
    if digest(path) == expected["sha256"]:
        return
    if not stored(f"{name}.{stream}"):
        pytest.fail(f"{stream} differs")
    first = next(i for i, (a, b) in enumerate(zip(path.read_bytes(), read(f"{name}.{stream}"), strict=True)) if a != b)
    pytest.fail(f"{stream} differs from offset {first} on")


def assert_lines(got: Lines, expected: Lines) -> None:
    for number, (ours, theirs) in enumerate(zip(got, expected, strict=False)):
        assert ours == theirs, f"line {number + 1}"
    assert len(got) == len(expected)


def check_mpxar(name: str, cli: Cli, directory: Path) -> None:
    made = directory / "made.mpxar"
    encode(name, cli, directory, made, "--payload-output", directory / "made.ppxar")
    assert_stream(name, "mpxar", made)


def check_ppxar(name: str, cli: Cli, directory: Path) -> None:
    assert_stream(name, "ppxar", directory / "made.ppxar")  # made by check_mpxar


def check_pxar(name: str, cli: Cli, directory: Path) -> None:
    made = directory / "made.pxar"
    encode(name, cli, directory, made)
    assert_stream(name, "pxar", made)


def check_dump(name: str, cli: Cli, directory: Path) -> None:
    metadata, payload = place(f"{name}.mpxar", directory), place(f"{name}.ppxar", directory)
    expected = lines_of(read(f"{name}.dump.jsonl"))
    assert_lines(lines_of(cli("pxar", "dump", metadata, "--payload-input", payload).check_ok().stdout), expected)
    # Without the payload only the digests are missing.
    for line in expected:
        line.pop("sha256", None)
    assert_lines(lines_of(cli("pxar", "dump", "--json", metadata).check_ok().stdout), expected)


def check_dump1(name: str, cli: Cli, directory: Path) -> None:
    dumped = cli("pxar", "dump", archive(name, cli, directory)).check_ok()
    assert_lines(lines_of(dumped.stdout), lines_of(read(f"{name}.dump1.jsonl")))


def bytes_of(value: dict[str, Any], key: str) -> bytes:
    return value[key].encode() if key in value else base64.b64decode(value[f"{key}_b64"])


def check_lookups(name: str, side: str, cli: Cli, *words: str | Path) -> None:
    expected = lines_of(read(f"{name}.lookup.jsonl"))
    paths = [os.fsdecode(bytes_of(line, "path")) for line in expected]
    found = lines_of(cli("pxar", "lookup", *words, *paths).check_ok().stdout)
    assert_lines(found, [line[side] for line in expected])


def check_lookup(name: str, cli: Cli, directory: Path) -> None:
    metadata, payload = place(f"{name}.mpxar", directory), place(f"{name}.ppxar", directory)
    check_lookups(name, "split", cli, "--payload-input", payload, metadata)


def check_lookup1(name: str, cli: Cli, directory: Path) -> None:
    check_lookups(name, "unified", cli, archive(name, cli, directory))


#: In the order of the printed line.
CHECKS: dict[str, Callable[[str, Cli, Path], None]] = {
    "mpxar": check_mpxar,
    "ppxar": check_ppxar,
    "pxar": check_pxar,
    "dump": check_dump,
    "dump1": check_dump1,
    "lookup": check_lookup,
    "lookup1": check_lookup1,
}


@pytest.mark.parametrize("name", VECTORS)
def test_vector(cli: Cli, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = []
    try:
        for what, check in CHECKS.items():
            done.append(f"{what} differs")
            check(name, cli, tmp_path)
            done[-1] = f"{what} ok"
    finally:
        with capsys.disabled():
            print(f"\n{name}: {', '.join(done)}")


@pytest.mark.parametrize("name", VECTORS)
def test_list_has_a_line_for_every_entry(cli: Cli, name: str, tmp_path: Path) -> None:
    for dump, path in (("dump", place(f"{name}.mpxar", tmp_path)), ("dump1", archive(name, cli, tmp_path))):
        expected = lines_of(read(f"{name}.{dump}.jsonl"))
        entries = [line for line in expected if line["kind"] not in ("version", "prelude")]
        assert len(cli("pxar", "list", path).check_ok().stdout.splitlines()) == len(entries), dump


# ---- damage ----


def mutate(data: bytes, edit: dict[str, Any]) -> bytes:
    offset = edit.get("offset", 0)
    given = base64.b64decode(edit.get("bytes_b64", ""))
    match edit["op"]:
        case "set":
            return data[:offset] + given + data[offset + len(given) :]
        case "truncate":
            return data[: edit["size"]]
        case "append":
            return data + given
        case "insert":
            return data[:offset] + given + data[offset:]
        case "delete":
            return data[:offset] + data[offset + edit["size"] :]
    raise AssertionError(f"unknown edit {edit['op']}")


def complaint(case: dict[str, Any], result: run.Result) -> str | None:
    """What is wrong with how the program took a damaged archive. Where it may be stricter than the reference, and why,
    is listed in bench/core/pxar/vectors_test.c, case by case."""
    said = result.stderr.decode().splitlines()
    if result.returncode not in (0, 1):
        return f"exit {result.returncode}"
    if result.returncode == 1 and (len(said) != 1 or not said[0].startswith("error: ")):
        return f"said {said}"
    if case["decode"] == "error" and result.returncode == 0:
        return "accepted"
    return None


@pytest.mark.parametrize("name", MUTATIONS)
def test_damaged_archives_are_not_read_as_if_they_were_fine(cli: Cli, name: str, tmp_path: Path) -> None:
    described = json.loads(read(f"{name}.mutations.json"))
    streams = ("mpxar", "ppxar") if described["archive"] == "split" else ("pxar",)
    base = {stream: read(f"{described['base']}.{stream}") for stream in streams}
    paths = {stream: tmp_path / f"x.{stream}" for stream in streams}
    words = [paths["mpxar"], "--payload-input", paths["ppxar"]] if "mpxar" in paths else [paths["pxar"]]
    wrong = []
    for number, case in enumerate(described["cases"]):
        files = dict(base)
        for edit in case["edits"]:
            files[edit["file"]] = mutate(files[edit["file"]], edit)
        for stream, path in paths.items():
            path.write_bytes(files[stream])
        problem = complaint(case, cli("pxar", "dump", *words, timeout=60))
        if problem:
            wrong.append(f"case {number} ({case['name']}): {problem}")
    assert not wrong, "\n".join(wrong)


# ---- three errors ----


def refused(cli: Cli, path: Path, data: bytes) -> str:
    path.write_bytes(data)
    result = cli("pxar", "dump", path)
    assert result.returncode == 1
    return result.stderr.decode()


def test_version_kind_and_damage_are_told_apart(cli: Cli, tmp_path: Path) -> None:
    empty_root = bytes.fromhex(
        "0da416df756c0f7318000000000000000200000000000000efac88e5746495d53800000000000000ed41000000000000"
        "0000000000000000000000000000000000f153650000000000000000000000001d73d542a64fec2f2800000000000000"
        "55153e755bed5eef50000000000000002800000000000000"
    )
    x = tmp_path / "x.mpxar"
    newer = empty_root[:16] + bytes([3]) + empty_root[17:]
    assert f"{x}: unsupported version 3" in refused(cli, x, newer)
    assert f"{x}: not an archive" in refused(cli, x, b"PK\3\4" + bytes(60))
    assert f"{x}: corrupt at offset 100 in /: " in refused(cli, x, empty_root[:100])
