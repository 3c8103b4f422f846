"""A datastore written by the real server, read by the core: `snapshot list`, `snapshot files`, `index show`.

The vectors are not part of the repository: see locate.vectors() for where they are looked for.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import locate, run

Cli = Callable[..., run.Result]


def _folder() -> Path | None:
    vectors = locate.vectors()
    folder = vectors / "store" if vectors else None
    return folder if folder and (folder / "s01-store.store.tar.zst").is_file() else None


FOLDER = _folder()


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    if FOLDER is None:
        pytest.skip("store vectors not found (set PXB_VECTORS, or put them in shared/vectors beside the repository)")
    if shutil.which("zstd") is None:
        pytest.skip("the store vectors are compressed and there is no program zstd")
    described: dict[str, Any] = json.loads(run.run(["zstd", "-dcq", FOLDER / "s01-store.store.json.zst"]).check_ok().stdout)
    return described


@pytest.fixture(scope="module")
def datastore(described: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's files, unpacked once. Tests leave them as they are."""
    assert FOLDER is not None
    path = tmp_path_factory.mktemp("datastore")
    run.run(["tar", "--zstd", "-xf", FOLDER / "s01-store.store.tar.zst", "-C", path]).check_ok()
    return path


def _name(snapshot: dict[str, Any]) -> str:
    return f"{snapshot['backup-type']}/{snapshot['backup-id']}/{snapshot['backup-time']}"


def _listed(snapshot: dict[str, Any]) -> dict[str, Any]:
    manifest = snapshot["files"]["index.json.blob"]["manifest"]
    assert int(datetime.fromisoformat(snapshot["backup-time"]).timestamp()) == manifest["backup-time"]
    return {
        "backup-type": manifest["backup-type"],
        "backup-id": manifest["backup-id"],
        "backup-time": manifest["backup-time"],
        "files": [{key: file[key] for key in ("filename", "crypt-mode", "size")} for file in manifest["files"]],
        "size": sum(file["size"] for file in manifest["files"]),
    }


def test_list_gives_the_servers_snapshots(cli: Cli, datastore: Path, described: dict[str, Any]) -> None:
    before = sorted(os.listdir(datastore))
    listed = cli("snapshot", "list", "--repository", datastore, "--output-format", "json").check_ok().json()
    assert listed == [_listed(snapshot) for snapshot in sorted(described["snapshots"], key=_name)]
    text = cli("snapshot", "list", "--repository", datastore).check_ok().text
    assert [line.split()[0] for line in text.splitlines()] == sorted(map(_name, described["snapshots"]))
    assert sorted(os.listdir(datastore)) == before  # looking changes nothing


def test_list_of_one_group(cli: Cli, datastore: Path, described: dict[str, Any]) -> None:
    environment = {"PBS_REPOSITORY": str(datastore)}
    result = cli("snapshot", "list", "host/split", "--output-format", "json", env=environment)
    wanted = [_listed(snapshot) for snapshot in described["snapshots"] if snapshot["backup-id"] == "split"]
    assert len(wanted) == 2
    assert result.check_ok().json() == wanted


def test_files_gives_the_servers_manifests(cli: Cli, datastore: Path, described: dict[str, Any]) -> None:
    for snapshot in described["snapshots"]:
        words = ["snapshot", "files", _name(snapshot), "--repository", datastore]
        manifest = snapshot["files"]["index.json.blob"]["manifest"]
        assert cli(*words, "--output-format", "json-pretty").check_ok().json() == manifest["files"]
        rows = [line.split() for line in cli(*words).check_ok().text.splitlines()]
        keys = ("filename", "crypt-mode", "size", "csum")
        assert rows == [[str(file[key]) for key in keys] for file in manifest["files"]]


def test_index_show_gives_the_servers_chunks(cli: Cli, datastore: Path, described: dict[str, Any]) -> None:
    shown = 0
    for snapshot in described["snapshots"]:
        csums = {file["filename"]: file["csum"] for file in snapshot["files"]["index.json.blob"]["manifest"]["files"]}
        for name, file in snapshot["files"].items():
            if not name.endswith(".didx"):
                continue
            path = datastore / _name(snapshot) / name
            index = cli("index", "show", path, "--output-format", "json").check_ok().json()
            entries = [[entry["start"], entry["end"], entry["digest"]] for entry in index["entries"]]
            assert entries == [list(chunk) for chunk in file["chunks"]]
            assert all(entry["size"] == entry["end"] - entry["start"] for entry in index["entries"])
            assert index["csum"] == index["computed-csum"] == csums[name]
            assert index["csum-valid"] is True
            assert index["size"] == entries[-1][1] == file["stream"]["size"]
            text = cli("index", "show", path).check_ok().text
            assert [line.split()[-1] for line in text.splitlines()[-len(entries) :]] == [e[2] for e in entries]
            shown += 1
    assert shown >= 10


def test_index_show_sees_a_changed_entry(cli: Cli, datastore: Path, described: dict[str, Any], tmp_path: Path) -> None:
    snapshot = next(s for s in described["snapshots"] if s["backup-id"] == "plain")
    data = bytearray((datastore / _name(snapshot) / "root.pxar.didx").read_bytes())
    data[4096 + 8] ^= 1
    changed = tmp_path / "changed.didx"
    changed.write_bytes(data)
    result = cli("index", "show", changed, "--output-format", "json").check_ok()
    assert result.json()["csum-valid"] is False
    assert "does not match" in result.stderr.decode()
    changed.write_bytes(data[:-1])
    assert cli("index", "show", changed).returncode == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["list", "host"], 2),
        (["list", "host/../x"], 2),
        (["list", "--ns", "../x"], 2),
        (["list", "--ns", "nowhere"], 1),
        (["files"], 2),
        (["files", "host/x"], 2),
        (["files", "host/x/2026-01-02T03:04:05Z"], 1),
        (["files", "host/x/2026-01-02T03:04:05Z", "more"], 2),
        (["list", "--wrong"], 2),
        ([], 2),
        (["forgot"], 2),
        (["list", "--help"], 0),
        (["files", "--help"], 0),
        (["--help"], 0),
    ],
    ids=lambda value: "-".join(value).replace("/", "_") or "nothing" if isinstance(value, list) else str(value),
)
def test_exit_codes_of_snapshot(cli: Cli, tmp_path: Path, words: list[str], code: int) -> None:
    (tmp_path / ".chunks").mkdir()
    assert cli("snapshot", *words, env={"PBS_REPOSITORY": str(tmp_path)}).returncode == code


def test_exit_codes_without_datastore(cli: Cli, tmp_path: Path) -> None:
    assert cli("snapshot", "list", env={"PBS_REPOSITORY": ""}).returncode == 2
    assert cli("snapshot", "list", "--repository", tmp_path / "missing").returncode == 1
    assert not (tmp_path / "missing").exists()
    assert cli("snapshot", "list", "--repository", tmp_path).returncode == 1
    assert not any(tmp_path.iterdir())
    assert cli("index", "show", tmp_path / "missing.didx").returncode == 1
    assert cli("index", "show", tmp_path).returncode == 1
    assert cli("index").returncode == 2
