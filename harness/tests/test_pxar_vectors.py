"""The encoder and decoder of the core against archives made by the reference implementation.

The vectors are not part of the repository: see locate.vectors() for where they are looked for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import locate, run

Cli = Callable[..., run.Result]


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
    listed = json.loads((FOLDER / "index.json").read_text())["vectors"]
    return {vector["name"]: vector for vector in listed if {"mpxar", "ppxar"} <= set(vector["files"])}


INDEX = _index()
VECTORS = _parameters(sorted(INDEX), "archive vectors")
MUTATIONS = _parameters(
    sorted(path.name.removesuffix(".mutations.json") for path in FOLDER.glob("*-split.mutations.json"))
    if FOLDER
    else [],
    "archive mutations",
)


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


@pytest.mark.parametrize("name", VECTORS)
def test_encode_gives_the_reference_bytes(cli: Cli, name: str, tmp_path: Path) -> None:
    tree = place(f"{name}.tree.json", tmp_path)
    made = {"mpxar": tmp_path / "made.mpxar", "ppxar": tmp_path / "made.ppxar"}
    cli("pxar", "encode", tree, made["mpxar"], "--payload-output", made["ppxar"]).check_ok()
    for stream, path in made.items():
        data = path.read_bytes()
        expected = INDEX[name]["files"][stream]
        assert len(data) == expected["size"], stream
        if hashlib.sha256(data).hexdigest() != expected["sha256"]:
            wanted = read(f"{name}.{stream}")
            first = next(i for i, (a, b) in enumerate(zip(data, wanted, strict=True)) if a != b)
            pytest.fail(f"{stream} differs from offset {first} on")


@pytest.mark.parametrize("name", VECTORS)
def test_dump_gives_the_reference_values(cli: Cli, name: str, tmp_path: Path) -> None:
    metadata, payload = place(f"{name}.mpxar", tmp_path), place(f"{name}.ppxar", tmp_path)
    expected = [json.loads(line) for line in read(f"{name}.dump.jsonl").splitlines()]
    dumped = cli("pxar", "dump", metadata, "--payload-input", payload).check_ok()
    got = [json.loads(line) for line in dumped.stdout.splitlines()]
    for number, (ours, theirs) in enumerate(zip(got, expected, strict=False)):
        assert ours == theirs, f"line {number + 1}"
    assert len(got) == len(expected)


@pytest.mark.parametrize("name", VECTORS)
def test_dump_without_payload_lacks_only_the_digests(cli: Cli, name: str, tmp_path: Path) -> None:
    dumped = cli("pxar", "dump", place(f"{name}.mpxar", tmp_path)).check_ok()
    expected = [json.loads(line) for line in read(f"{name}.dump.jsonl").splitlines()]
    for line in expected:
        line.pop("sha256", None)
    assert [json.loads(line) for line in dumped.stdout.splitlines()] == expected


@pytest.mark.parametrize("name", VECTORS)
def test_list_has_a_line_for_every_entry(cli: Cli, name: str, tmp_path: Path) -> None:
    listed = cli("pxar", "list", place(f"{name}.mpxar", tmp_path)).check_ok()
    expected = [json.loads(line) for line in read(f"{name}.dump.jsonl").splitlines()]
    entries = [line for line in expected if line["kind"] not in ("version", "prelude")]
    assert len(listed.stdout.splitlines()) == len(entries)


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


@pytest.mark.parametrize("name", MUTATIONS)
def test_damaged_archives_are_not_read_as_if_they_were_fine(cli: Cli, name: str, tmp_path: Path) -> None:
    described = json.loads(read(f"{name}.mutations.json"))
    metadata, payload = tmp_path / "x.mpxar", tmp_path / "x.ppxar"
    wrong = []
    for number, case in enumerate(described["cases"]):
        files = {stream: read(f"{described['base']}.{stream}") for stream in ("mpxar", "ppxar")}
        for edit in case["edits"]:
            files[edit["file"]] = mutate(files[edit["file"]], edit)
        metadata.write_bytes(files["mpxar"])
        payload.write_bytes(files["ppxar"])
        result = cli("pxar", "dump", metadata, "--payload-input", payload, timeout=60)
        said = result.stderr.decode().splitlines()
        what = f"case {number} ({case['name']})"
        if result.returncode not in (0, 1):
            wrong.append(f"{what}: exit {result.returncode}")
        elif result.returncode == 1 and (len(said) != 1 or not said[0].startswith("error: ")):
            wrong.append(f"{what}: said {said}")
        elif case["decode"] == "error" and result.returncode == 0:
            wrong.append(f"{what}: accepted")
    assert not wrong, "\n".join(wrong)
