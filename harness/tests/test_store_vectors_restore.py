"""The real server's datastore, read by the core: every snapshot without encryption comes back as what was packed.

What is restored is compared with the source trees, made on ext4 from their description; the entries of streams that are
put together here, chunk by chunk, with the reference's own view of them. One line per snapshot, e.g.

    host/split/2023-11-14T22:15:00Z: root.pxar ok, root.mpxar ok, root.ppxar ok, dump ok
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from real_sources import (  # noqa: F401 (fixtures)
    ENCRYPTED,
    READABLE,
    Sources,
    by_key,
    ext4,
    joined,
    sources,
    sum_of,
)
from store_tools import RealSnapshot, RealStore, fingerprint, real_store  # noqa: F401 (a fixture)

from pxarbench_harness import run
from pxarbench_harness.tree import differences, scan

Cli = Callable[..., run.Result]


def names_of(snapshot: RealSnapshot) -> list[str]:
    """What can be asked for."""
    stored = {file["filename"] for file in snapshot.manifest["files"]}
    if snapshot.is_split:
        assert stored == {"root.mpxar.didx", "root.ppxar.didx"}
        return ["root.pxar", "root.mpxar", "root.ppxar", "root.ppxar.didx"]
    return sorted(os.path.splitext(name)[0] for name in stored)


def check_dump(cli: Cli, store: RealStore, snapshot: RealSnapshot, scratch: Path) -> None:
    paths = {}
    for index in (name for name in snapshot.files if name.startswith("root.")):
        data = joined(store.path, snapshot.chunks(index))
        assert sum_of(data) == snapshot.files[index]["stream"]
        paths[index] = scratch / index.removesuffix(".didx")
        paths[index].write_bytes(data)
    if snapshot.is_split:
        words = [paths["root.mpxar.didx"], "--payload-input", paths["root.ppxar.didx"]]
    else:
        words = [paths["root.pxar.didx"]]
        given = cli("restore", snapshot.name, "root.pxar", "-", "--repository", store.path).check_ok().stdout
        assert given == paths["root.pxar.didx"].read_bytes()
    dumped = [json.loads(line) for line in cli("pxar", "dump", *words).check_ok().stdout.splitlines()]
    assert dumped == snapshot.said["dump"] and len(dumped) > 30


def check(cli: Cli, key: str, store: RealStore, sources: Sources, ext4: Path, scratch: Path) -> Iterator[str]:
    """Yields what is compared next."""
    snapshot = by_key(store, key)
    contents = {"disk.img": sources.image, **sources.blobs}
    for name in names_of(snapshot):
        yield name
        words = ["restore", snapshot.name, name]
        if name in contents:
            cli(*words, scratch / name, "--repository", store.path).check_ok()
            assert (scratch / name).read_bytes() == contents[name]
            assert cli(*words, "-", "--repository", store.path).check_ok().stdout == contents[name]
        elif name == "catalog.pcat1":
            given = cli(*words, "-", "--repository", store.path).check_ok().stdout
            assert sum_of(given) == snapshot.files["catalog.pcat1.didx"]["stream"]
        else:
            target = ext4 / f"{key}-{name}"
            cli(*words, target, "--repository", store.path).check_ok()
            assert differences(sources.restored(key), scan(target, inode_flags=True)) == []
    if snapshot.dump:
        yield "dump"
        check_dump(cli, store, snapshot, scratch)


@pytest.mark.parametrize("key", READABLE)
def test_a_snapshot_comes_back(
    cli: Cli,
    key: str,
    real_store: RealStore,
    sources: Sources,
    ext4: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done: list[str] = []
    try:
        for what in check(cli, key, real_store, sources, ext4, tmp_path):
            done = [word.replace(" differs", " ok") for word in done] + [f"{what} differs"]
        done = [word.replace(" differs", " ok") for word in done]
    finally:
        with capsys.disabled():
            print(f"\n{by_key(real_store, key).name}: {', '.join(done)}")


def test_restoring_changes_nothing_in_the_store(cli: Cli, real_store: RealStore, ext4: Path) -> None:
    before = fingerprint(real_store.path)
    words = ["root.pxar", ext4 / "untouched", "--repository", real_store.path]
    cli("restore", by_key(real_store, "split-2").name, *words).check_ok()
    assert fingerprint(real_store.path) == before


def test_patterns_of_the_backup_are_restored_on_request(cli: Cli, real_store: RealStore, ext4: Path, tmp_path: Path) -> None:
    """The prelude of a split archive is no entry of the tree."""
    snapshot = by_key(real_store, "excl-1")
    words = [snapshot.name, "root.pxar", ext4 / "prelude", "/added", "--repository", real_store.path]
    cli("restore", *words, "--prelude-target", tmp_path / "prelude").check_ok()
    said = snapshot.said["dump"][1]
    assert said["kind"] == "prelude" and (tmp_path / "prelude").read_bytes() == base64.b64decode(said["data_b64"])
    assert sorted(path.name for path in (ext4 / "prelude").rglob("*")) == ["added", "n1", "n2"]


@pytest.mark.parametrize("key", ENCRYPTED)
@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("root.pxar", "root.mpxar.didx"),
        ("root.mpxar", "root.mpxar.didx"),
        ("root.ppxar", "root.mpxar.didx"),
        ("app.conf", "app.conf.blob"),
    ],
)
def test_encryption_is_named(cli: Cli, key: str, name: str, stored: str, real_store: RealStore, tmp_path: Path) -> None:
    snapshot = by_key(real_store, key)
    assert snapshot.is_encrypted
    words = [snapshot.name, name, tmp_path / "target", "--repository", real_store.path]
    result = cli("restore", *words)
    assert result.returncode == 1
    (said,) = result.stderr.decode().splitlines()
    assert said.startswith(f"error: {stored}: is encrypted")
    assert list(tmp_path.iterdir()) == []  # no empty target is left behind
    if name != "app.conf":
        result = cli("pxar", "list", "--repository", real_store.path, snapshot.name, name)
        assert result.returncode == 1 and f"error: {stored}: is encrypted" in result.stderr.decode()
