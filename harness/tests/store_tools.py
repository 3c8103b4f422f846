"""The datastore written by the real server, for every test that opens it in place: where it is, what is in it.

The vectors are not part of the repository: see locate.vectors() for where they are looked for. What the reference says
about the store (the .json beside the archive) is read here once; tests compare the program with it.

    from store_tools import RealStore, real_store  # noqa: F401 (a fixture)

    def test_x(cli, real_store: RealStore) -> None:
        for snapshot in real_store.unencrypted:
            cli("restore", snapshot.name, "root.pxar", target, "--repository", real_store.path)
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import locate, run

STEM = "s01-store.store"

#: Letters of catalog lines for the kinds of the vectors' dumps.
LETTERS = {
    "dir": "d",
    "file": "f",
    "symlink": "l",
    "hardlink": "h",
    "fifo": "p",
    "socket": "s",
    "chardev": "c",
    "blockdev": "b",
}


@dataclass(frozen=True)
class RealSnapshot:
    said: dict[str, Any]  # of the reference, see the vectors' README
    folder: Path  # of the snapshot in the store

    @property
    def group(self) -> str:
        return f"{self.said['backup-type']}/{self.said['backup-id']}"

    @property
    def name(self) -> str:
        return f"{self.group}/{self.said['backup-time']}"

    @property
    def files(self) -> dict[str, Any]:
        """By stored name, index.json.blob included."""
        files: dict[str, Any] = self.said["files"]
        return files

    @property
    def manifest(self) -> dict[str, Any]:
        manifest: dict[str, Any] = self.files["index.json.blob"]["manifest"]
        return manifest

    @property
    def manifest_text(self) -> bytes:
        return base64.b64decode(self.files["index.json.blob"]["manifest_text_b64"])

    @property
    def is_encrypted(self) -> bool:
        return any(file["crypt-mode"] == "encrypt" for file in self.manifest["files"])

    @property
    def is_split(self) -> bool:
        return "root.mpxar.didx" in self.files

    @property
    def dump(self) -> list[dict[str, Any]]:
        """Entries of root.pxar in the form of dump.jsonl; none in a snapshot without archive."""
        return [entry for entry in self.said.get("dump", []) if entry["kind"] in LETTERS]

    @property
    def catalog_lines(self) -> list[str] | None:
        return self.said.get("catalog_dump")

    def chunks(self, index: str) -> list[tuple[int, int, str]]:
        """Start, end, digest."""
        return [tuple(chunk) for chunk in self.files[index]["chunks"]]

    def distinct_chunks(self) -> set[str]:
        return {chunk[2] for name, file in self.files.items() if "chunks" in file for chunk in self.chunks(name)}


@dataclass(frozen=True)
class RealStore:
    path: Path
    said: dict[str, Any]
    snapshots: tuple[RealSnapshot, ...]  # in the order of their names, as `snapshot list` has them

    @property
    def unencrypted(self) -> tuple[RealSnapshot, ...]:
        return tuple(s for s in self.snapshots if not s.is_encrypted)

    @property
    def encrypted(self) -> tuple[RealSnapshot, ...]:
        return tuple(s for s in self.snapshots if s.is_encrypted)

    def group(self, group: str) -> list[RealSnapshot]:
        """Oldest first."""
        return [s for s in self.snapshots if s.group == group]

    def chunk_path(self, digest: str) -> Path:
        return self.path / ".chunks" / digest[:4] / digest

    def copy(self, path: Path) -> RealStore:
        """One that a test may damage or write into."""
        shutil.copytree(self.path, path, symlinks=True)
        snapshots = tuple(RealSnapshot(s.said, path / s.name) for s in self.snapshots)
        return RealStore(path, self.said, snapshots)


def archive_lines(snapshot: RealSnapshot, index: str) -> list[str]:
    """What `catalog dump` has to say about an archive, from the reference's dump of it."""

    def lines() -> Iterator[str]:
        for entry in snapshot.dump:
            path = "" if entry["path"] == "/" else entry["path"]
            line = f'{LETTERS[entry["kind"]]} "./{index}{path}"'
            if entry["kind"] == "file":
                mtime = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry["mtime"][0]))
                line += f" {entry['size']} {mtime}"
            yield line

    return list(lines())


def fingerprint(path: Path) -> dict[str, tuple[int, int, int, str]]:
    """Every name below a directory with mode, size, mtime and content: to see that nothing was touched."""
    found = {}
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            file = Path(folder, name)
            stat = file.lstat()
            digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
            found[str(file.relative_to(path))] = (stat.st_mode, stat.st_size, stat.st_mtime_ns, digest)
    return found


def vectors_folder() -> Path | None:
    vectors = locate.vectors()
    folder = vectors / "store" if vectors else None
    return folder if folder and (folder / f"{STEM}.tar.zst").is_file() else None


@pytest.fixture(scope="session")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> RealStore:
    """The server's files, unpacked once. Tests leave them as they are, or take a copy()."""
    folder = vectors_folder()
    if folder is None:
        pytest.skip("store vectors not found (set PXB_VECTORS, or put them in shared/vectors beside the repository)")
    if shutil.which("zstd") is None:
        pytest.skip("the store vectors are compressed and there is no program zstd")
    said = json.loads(run.run(["zstd", "-dcq", folder / f"{STEM}.json.zst"]).check_ok().stdout)
    path = tmp_path_factory.mktemp("datastore")
    run.run(["tar", "--zstd", "-xf", folder / f"{STEM}.tar.zst", "-C", path]).check_ok()
    snapshots = [
        RealSnapshot(s, path / s["backup-type"] / s["backup-id"] / s["backup-time"]) for s in said["snapshots"]
    ]
    return RealStore(path, said, tuple(sorted(snapshots, key=lambda s: s.name)))
