"""What the datastore of store_tools was made from: its source trees on ext4, its other sources, its exclude patterns.

    from real_sources import Sources, sources, ext4  # noqa: F401 (fixtures)
    from store_tools import RealStore, real_store  # noqa: F401 (a fixture)

Snapshots are named by keys: "split-2" is the second one of backup-id "split".
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from backup_tools import blob_content, index_entries
from loop_mount import mounted
from materialise import materialise
from pxar_model import content_bytes
from store_tools import RealSnapshot, RealStore

from pxarbench_harness.tree import Tree, scan

#: In the order in which the reference made them, with the tree that is in it.
SNAPSHOTS = {
    "plain-1": "tree_a", "img-1": "", "split-1": "tree_a", "enc-1": "tree_a", "signed-1": "tree_a", "split-2": "tree_b",
    "enc-2": "tree_b", "excl-1": "tree_b", "excl-2": "tree_b",
}  # fmt: skip
ENCRYPTED = ["enc-1", "enc-2"]
READABLE = [key for key in SNAPSHOTS if key not in ENCRYPTED]

#: --exclude of the snapshots that had any, and what these leave out of tree_b.
EXCLUDES = {"excl-1": ["*.conf", "/media/m0[0-3]"], "excl-2": ["*.conf", "!/conf/a.conf"]}
EXCLUDED = {
    "excl-1": [b"conf/a.conf", b"conf/b.conf", b"conf/c.conf", b"media/m00", b"media/m01", b"media/m02", b"media/m03"],
    "excl-2": [b"conf/b.conf", b"conf/c.conf"],
}

Chunks = list[tuple[int, int, str]]


def by_key(store: RealStore, key: str) -> RealSnapshot:
    backup_id, number = key.split("-")
    return store.group(f"host/{backup_id}")[int(number) - 1]


@dataclass(frozen=True)
class Sources:
    """Paths of what was packed."""

    folder: Path
    image: bytes
    blobs: dict[str, bytes]

    def tree(self, key: str) -> Path:
        """Source of a snapshot's archive."""
        return self.folder / SNAPSHOTS[key]

    def restored(self, key: str) -> Tree:
        """What a snapshot's archive must give back."""
        tree = scan(self.tree(key), inode_flags=True)
        for path in EXCLUDED.get(key, ()):
            del tree.entries[path]
        if key == "excl-2":  # a unified archive says in a file of its own what was left out
            text = "".join(f"{pattern}\n" for pattern in EXCLUDES[key]).encode()
            name = b".pxarexclude-cli"
            entry = replace(tree.entries[b"top.txt"], path=name, mode=0o600, mtime_ns=0, size=len(text))
            tree.entries[name] = replace(entry, digest=hashlib.sha256(text).hexdigest())
        return tree


@pytest.fixture(scope="module")
def ext4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For sources and for what is restored: a file system with extended attributes and nanoseconds."""
    with mounted("ext4", tmp_path_factory.mktemp("ext4")) as point:
        yield point


@pytest.fixture(scope="module")
def sources(real_store: RealStore, ext4: Path) -> Sources:
    said: dict[str, Any] = real_store.said
    folder = ext4 / "sources"
    folder.mkdir()
    for name in ("tree_a", "tree_b"):
        materialise(said[name], folder / name)
    parts = (bytes(part["size"]) if part["kind"] == "zero" else content_bytes(part) for part in said["image"])
    blobs = {"app.conf": base64.b64decode(said["conf_b64"]), "rnd.conf": content_bytes(said["rnd_conf"])}
    made = Sources(folder, b"".join(parts), blobs)
    for name, content in {"disk.img": made.image, **blobs}.items():
        (folder / name).write_bytes(content)
    return made


def copy_without(store: RealStore, path: Path, *keys: str) -> RealStore:
    """A copy to write to, without some of the snapshots."""
    copy = store.copy(path)
    for key in keys:
        shutil.rmtree(by_key(copy, key).folder)
    return copy


# ---- a second reader of what is in a store ----


def dynamic_chunks(index: Path) -> Chunks:
    chunks: Chunks = []
    for end, digest in index_entries(index.read_bytes()):
        chunks.append((chunks[-1][1] if chunks else 0, end, digest.hex()))
    return chunks


def fixed_chunks(index: Path) -> Chunks:
    data = index.read_bytes()
    assert data[:8] == bytes.fromhex("2f7f41ed91fd0fcd")
    size, chunk_size = (int.from_bytes(data[at : at + 8], "little") for at in (64, 72))
    digests = [data[at : at + 32].hex() for at in range(4096, len(data), 32)]
    return [(n * chunk_size, min((n + 1) * chunk_size, size), digest) for n, digest in enumerate(digests)]


def joined(store: Path, chunks: Chunks) -> bytes:
    """The data that a list of chunks stands for."""
    parts = []
    for start, end, digest in chunks:
        part = blob_content((store / ".chunks" / digest[:4] / digest).read_bytes())
        assert len(part) == end - start and hashlib.sha256(part).hexdigest() == digest
        parts.append(part)
    return b"".join(parts)


def sum_of(data: bytes) -> dict[str, Any]:
    """In the form of the store's description."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
