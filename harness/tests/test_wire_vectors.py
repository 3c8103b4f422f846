"""The real server's datastore behind our server: its snapshots, encrypted and signed ones too, verified, restored and continued
over the wire. What the reference says about them is the judge (see store_tools for where the vectors are looked for)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from real_sources import Sources, by_key, copy_without, ext4, sources  # noqa: F401 (fixtures)
from store_tools import RealStore, real_store  # noqa: F401 (a fixture)
from wire_tools import Client, Starts, said

from pxarbench_harness import run
from pxarbench_harness.tree import differences, scan
from pxarbench_harness.wire.spoken import Account, Server

#: Of the vectors' groups.
OWNER = Account("test@pbs", "a password")
KEYED = ["enc-1", "enc-2", "signed-1"]


@pytest.fixture
def store(real_store: RealStore, tmp_path: Path) -> RealStore:  # noqa: F811
    return copy_without(real_store, tmp_path / "copy")


@pytest.fixture
def server(starts: Starts, store: RealStore) -> Server:
    return starts(datastore=store.path, accounts=(OWNER,))


@pytest.fixture
def user(pxarbench: Path, server: Server, tmp_path: Path) -> Client:
    return Client(pxarbench, server.repository(), server.environment(), tmp_path)


@pytest.fixture
def key(store: RealStore, tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(store.said["key_file"]))
    return path


def test_all_snapshots(user: Client, store: RealStore, key: Path) -> None:
    """Listed, verified, dumped."""
    listed = user.run("snapshot", "list").check_ok().text
    for snapshot in store.snapshots:
        assert snapshot.name in listed
        words = ["--keyfile", key] if "signature" in snapshot.manifest and snapshot.manifest["signature"] else []
        user.run("verify", snapshot.name, *words).check_ok()
        if snapshot.catalog_lines:
            assert user.run("catalog", "dump", snapshot.name, *words).check_ok().text.splitlines() == snapshot.catalog_lines


@pytest.mark.parametrize("which", KEYED)
def test_keyed_snapshots_are_restored(
    user: Client, store: RealStore, key: Path, which: str, sources: Sources, ext4: Path  # noqa: F811
) -> None:
    snapshot = by_key(store, which)
    target = ext4 / f"over-the-wire-{which}"
    user.restore(snapshot.name, target, "--keyfile", key).check_ok()
    assert differences(sources.restored(which), scan(target, inode_flags=True)) == []
    shutil.rmtree(target)


@pytest.mark.parametrize("which", KEYED)
def test_wrong_keys(pxarbench: Path, user: Client, store: RealStore, which: str, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    run.run([pxarbench, "key", "create", other, "--kdf", "none"]).check_ok()
    text = said(user.restore(by_key(store, which).name, tmp_path / "none", "--keyfile", other))
    assert "wrong key" in text and not (tmp_path / "none").exists()
    if which != "signed-1":
        said(user.restore(by_key(store, which).name, tmp_path / "none"))


def test_a_metadata_run_continues_the_real_client_s(
    user: Client, store: RealStore, key: Path, sources: Sources, ext4: Path  # noqa: F811
) -> None:
    tree, at = sources.tree("enc-2"), 1_700_100_000
    result, stats = user.backup(tree, at, "--keyfile", key, mode="metadata", id="enc")
    result.check_ok()
    (archive,) = stats["archives"]
    assert archive["reference"]["reason"] == "used" and archive["reused_files"] > 0
    assert archive["reference"]["snapshot"] == by_key(store, "enc-2").name
    target = ext4 / "continued-over-the-wire"
    user.run("verify", stats["snapshot"], "--keyfile", key).check_ok()
    user.restore(stats["snapshot"], target, "--keyfile", key).check_ok()
    assert differences(scan(tree, inode_flags=True), scan(target, inode_flags=True)) == []
    shutil.rmtree(target)
