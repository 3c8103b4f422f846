"""Keys, encrypted and signed snapshots: the real client's are read, verified, made again and continued; ours hold nothing
in the clear; other keys, no key and mixed modes end as they must; secrets show up nowhere.

The vectors are not part of the repository: see store_tools for where they are looked for. Without them the snapshots of
fixtures/encrypted stand in, which this program made from the tree beside them (fixtures/README.md).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backup_tools import blob_content
from real_sources import Sources, by_key, copy_without, dynamic_chunks, ext4, sources  # noqa: F401 (fixtures)
from store_tools import RealStore, archive_lines, real_store  # noqa: F401 (a fixture)

from pxarbench_harness import locate, run
from pxarbench_harness.tree import differences, scan

Cli = Callable[..., run.Result]
Json = dict[str, Any]

FIXTURE = locate.REPOSITORY / "fixtures" / "encrypted"
KEYED = ["enc-1", "enc-2", "signed-1"]
PASSPHRASE = "correct horse battery staple"
MARKER = b"nobody but the owner of the key reads this sentence"


def sentence(result: run.Result) -> str:
    return result.stderr.decode().splitlines()[-1]


@pytest.fixture
def real_key(real_store: RealStore, tmp_path: Path) -> Path:  # noqa: F811
    path = tmp_path / "real-key.json"
    path.write_text(json.dumps(real_store.said["key_file"]))
    return path


@pytest.fixture
def key(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    cli("key", "create", path, "--kdf", "none").check_ok()
    return path


@pytest.fixture
def other_key(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "other-key.json"
    cli("key", "create", path, "--kdf", "none").check_ok()
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "dir").mkdir(parents=True)
    (root / "dir" / "note").write_bytes(MARKER)
    # Not compressible, so that it would be seen.
    (root / "big").write_bytes(b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(8000)) + MARKER)
    return root


@pytest.fixture
def small_store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    (store / ".chunks").mkdir(parents=True)
    return store


def backup(cli: Cli, store: Path, tree: Path, time: int, mode: str, *more: str | Path, **options: Any) -> Json:
    stats = store.parent / f"stats-{time}.json"
    conf = tree.parent / "app.conf"
    conf.write_bytes(MARKER)
    words = [f"root.pxar:{tree}", f"app.conf:{conf}", "--repository", store, "--backup-id", "me", "--backup-time", str(time)]
    words += ["--change-detection-mode", mode, "--chunk-size", "64", "--sync-level", "none", "--stats", stats, *more]
    cli("backup", *words, **options).check_ok()
    told: Json = json.loads(stats.read_text())
    return told


def has_marker(store: Path) -> bool:
    return any(MARKER in path.read_bytes() for path in store.rglob("*") if path.is_file())


# ---- the real client's ----


def id_key_of(key_file: Json) -> bytes:
    """Without the program: PBKDF2 of the key."""
    return hashlib.pbkdf2_hmac("sha256", b64decode(key_file["data"]), b"_id_key", 10, 32)


@pytest.mark.parametrize("which", KEYED)
def test_real_snapshots_verify(cli: Cli, which: str, real_store: RealStore, real_key: Path) -> None:  # noqa: F811
    snapshot = by_key(real_store, which)
    words = ["verify", snapshot.name, "--repository", real_store.path, "--keyfile", real_key]
    said = cli(*words, "--output-format", "json").json()
    assert said["ok"] and said["problems"] == []
    assert {file["result"] for file in said["files"]} == {"ok"}
    raw = {chunk: end - start for name in snapshot.files if "chunks" in snapshot.files[name]
           for start, end, chunk in snapshot.chunks(name)}  # fmt: skip
    blobs = sum(f["decoded"]["size"] for n, f in snapshot.files.items() if "decoded" in f and n != "index.json.blob")
    assert said["verified-bytes"] == sum(raw.values()) + blobs  # all of it was decoded and compared


@pytest.mark.parametrize("which", KEYED)
def test_real_snapshots_are_restored(
    cli: Cli, which: str, real_store: RealStore, real_key: Path, sources: Sources, ext4: Path  # noqa: F811
) -> None:
    snapshot = by_key(real_store, which)
    words = ["--repository", real_store.path, "--keyfile", real_key]
    target = ext4 / f"restored-{which}"
    cli("restore", snapshot.name, "root.pxar", target, *words).check_ok()
    assert differences(sources.restored(which), scan(target, inode_flags=True)) == []
    conf = cli("restore", snapshot.name, "app.conf", "-", *words).check_ok()
    assert hashlib.sha256(conf.stdout).hexdigest() == snapshot.files["app.conf.blob"]["decoded"]["sha256"]
    index = "root.mpxar.didx" if snapshot.is_split else "root.pxar.didx"
    lines = cli("catalog", "dump", snapshot.name, *words).check_ok().text.splitlines()
    assert lines == (snapshot.catalog_lines or archive_lines(snapshot, index))
    (one,) = cli("pxar", "lookup", *words, snapshot.name, "root.pxar", "/conf/a.conf").check_ok().text.splitlines()
    assert json.loads(one)["size"] == 4
    if snapshot.is_split:
        assert cli("analyze", snapshot.name, *words, "--output-format", "json").check_ok().json()


@pytest.mark.parametrize("which", KEYED)
def test_real_signatures(real_store: RealStore, which: str) -> None:  # noqa: F811
    """Ours agree with a second computation, see the test of what we make ourselves; here is that computation, proved."""
    manifest = by_key(real_store, which).manifest
    assert signature(manifest, id_key_of(real_store.said["key_file"])) == manifest["signature"]


def signature(manifest: Json, id_key: bytes) -> str:
    kept = {name: value for name, value in manifest.items() if name not in ("signature", "unprotected")}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hmac.new(id_key, text.encode(), hashlib.sha256).hexdigest()


def real_backup(cli: Cli, store: Path, source: Path, time: int, mode: str, key: Path, stats: Path, *more: str) -> Json:
    words = [f"root.pxar:{source}", "--chunk-size", "64", "--repository", store, "--backup-id", "enc", "--keyfile", key]
    words += ["--backup-time", str(time), "--change-detection-mode", mode, "--sync-level", "none", "--stats", stats]
    cli("backup", *words, *more).check_ok()
    told: Json = json.loads(stats.read_text())
    return told


def keyed(entries: list[Json]) -> list[Json]:
    return [file for file in entries if file["filename"].startswith("root.")]


def test_the_same_key_gives_the_real_client_s_chunks(
    cli: Cli, real_store: RealStore, real_key: Path, sources: Sources, ext4: Path, tmp_path: Path  # noqa: F811
) -> None:
    """Keyed digests depend on data and key alone: indexes, their checksums, and manifest entries must be equal."""
    first, second = by_key(real_store, "enc-1"), by_key(real_store, "enc-2")
    store = tmp_path / "store"
    (store / ".chunks").mkdir(parents=True)
    upstream = ["--reuse-profile", "upstream", "--compare", "upstream"]
    for real, which, mode, more in ((first, "enc-1", "data", []), (second, "enc-2", "metadata", upstream)):
        time = real.manifest["backup-time"]
        real_backup(cli, store, sources.tree(which), time, mode, real_key, tmp_path / "stats", *more)
        ours = json.loads(blob_content((store / real.name / "index.json.blob").read_bytes()))
        assert keyed(ours["files"]) == keyed(real.manifest["files"])
        for name in ("root.mpxar.didx", "root.ppxar.didx"):
            assert dynamic_chunks(store / real.name / name) == real.chunks(name)
        assert ours["unprotected"]["key-fingerprint"] == real.manifest["unprotected"]["key-fingerprint"]
        assert ours["signature"] == signature(ours, id_key_of(real_store.said["key_file"]))


def test_a_metadata_run_continues_the_real_client_s(
    cli: Cli, real_store: RealStore, real_key: Path, sources: Sources, ext4: Path, tmp_path: Path  # noqa: F811
) -> None:
    store = copy_without(real_store, tmp_path / "store")
    stats = tmp_path / "stats"
    told = real_backup(cli, store.path, sources.tree("enc-2"), 1700100000, "metadata", real_key, stats)
    (archive,) = told["archives"]
    assert archive["reference"]["reason"] == "used" and archive["reused_files"] > 0
    assert archive["reference"]["snapshot"] == by_key(real_store, "enc-2").name
    target = ext4 / "continued"
    words = ["--repository", store.path, "--keyfile", real_key]
    cli("verify", told["snapshot"], *words).check_ok()
    cli("restore", told["snapshot"], "root.pxar", target, *words).check_ok()
    assert differences(scan(sources.tree("enc-2"), inode_flags=True), scan(target, inode_flags=True)) == []


@pytest.mark.parametrize("which", KEYED)
def test_real_snapshots_with_another_key(
    cli: Cli, which: str, real_store: RealStore, other_key: Path, tmp_path: Path  # noqa: F811
) -> None:
    snapshot = by_key(real_store, which)
    words = ["--repository", real_store.path, "--keyfile", other_key]
    target = tmp_path / "target"
    for command in (
        ["verify", snapshot.name],
        ["restore", snapshot.name, "root.pxar", target],
        ["restore", snapshot.name, "app.conf", target],
        ["catalog", "dump", snapshot.name],
        ["snapshot", "files", snapshot.name],
        ["pxar", "list", snapshot.name, "root.pxar"],
    ):
        result = cli(*command, *words)
        assert result.returncode == 1 and result.stdout == b""
        assert "wrong key - unable to verify signature since manifest's key " in sentence(result)
    assert not target.exists()


def test_blob_show_with_the_key(cli: Cli, real_store: RealStore, real_key: Path, other_key: Path) -> None:  # noqa: F811
    snapshot = by_key(real_store, "enc-1")
    path, said = snapshot.folder / "app.conf.blob", snapshot.files["app.conf.blob"]["decoded"]
    raw = cli("blob", "show", path, "--raw", "--keyfile", real_key).check_ok().stdout
    assert (len(raw), hashlib.sha256(raw).hexdigest()) == (said["size"], said["sha256"])
    for start, end, digest in snapshot.chunks("root.mpxar.didx"):
        chunk = cli("blob", "show", real_store.chunk_path(digest), "--keyfile", real_key, "--output-format", "json").json()
        assert (chunk["size"], chunk["digest"]) == (end - start, digest)
    result = cli("blob", "show", path, "--keyfile", other_key)
    assert result.returncode == 1 and "cannot be decrypted: another key, or damaged" in sentence(result)


# ---- ours ----


@pytest.mark.parametrize("mode", ["legacy", "data", "metadata"])
def test_first_and_second_run(cli: Cli, mode: str, key: Path, tree: Path, small_store: Path, tmp_path: Path) -> None:
    words = ["--repository", small_store, "--keyfile", key]
    for time in (1700000000, 1700000001):
        told = backup(cli, small_store, tree, time, mode, "--keyfile", key)
        assert not has_marker(small_store)
        cli("verify", told["snapshot"], *words).check_ok()
        target = tmp_path / f"target-{time}"
        cli("restore", told["snapshot"], "root.pxar", target, *words).check_ok()
        assert differences(scan(tree), scan(target)) == []
        assert cli("restore", told["snapshot"], "app.conf", "-", *words).check_ok().stdout == MARKER
    root = told["archives"][0]
    assert (root["payload"] or root["stream"])["new_chunks"] <= 2
    assert root["reused_files"] == (2 if mode == "metadata" else 0)
    manifest = json.loads(blob_content((small_store / told["snapshot"] / "index.json.blob").read_bytes()))
    assert {file["crypt-mode"] for file in manifest["files"]} == {"encrypt"}
    assert manifest["signature"] == signature(manifest, id_key_of(json.loads(key.read_text())))


def test_the_log_names_the_key_s_file_and_fingerprint(cli: Cli, key: Path, tree: Path, small_store: Path) -> None:
    words = [f"root.pxar:{tree}", "--repository", small_store, "--keyfile", key]
    said = cli("backup", *words).check_ok().stderr.decode()
    fingerprint = json.loads(key.read_text())["fingerprint"]
    assert f"Using encryption key from '{key}'..\n" in said
    assert f"Encryption key fingerprint: {fingerprint[:23]}\n" in said
    assert said.index("Starting backup protocol") < said.index("Using encryption key") < said.index("No previous manifest")


def test_sign_only_is_readable_and_signed(cli: Cli, key: Path, tree: Path, small_store: Path, tmp_path: Path) -> None:
    told = backup(cli, small_store, tree, 1700000000, "data", "--keyfile", key, "--crypt-mode", "sign-only")
    assert has_marker(small_store)
    cli("restore", told["snapshot"], "root.pxar", tmp_path / "target", "--repository", small_store).check_ok()
    path = small_store / told["snapshot"] / "index.json.blob"
    manifest = json.loads(blob_content(path.read_bytes()))
    assert {file["crypt-mode"] for file in manifest["files"]} == {"sign-only"}
    assert manifest["signature"] == signature(manifest, id_key_of(json.loads(key.read_text())))


def set_manifest(path: Path, manifest: Json) -> None:
    from backup_tools import blob

    path.write_bytes(blob(json.dumps(manifest).encode()))


def test_changed_and_unsigned_manifests(cli: Cli, key: Path, tree: Path, small_store: Path) -> None:
    told = backup(cli, small_store, tree, 1700000000, "data", "--keyfile", key)
    path = small_store / told["snapshot"] / "index.json.blob"
    manifest = json.loads(blob_content(path.read_bytes()))
    words = ["--repository", small_store, "--keyfile", key]

    def refused(changed: Json, says: str) -> None:
        set_manifest(path, changed)
        for command in (["verify"], ["snapshot", "files"]):
            result = cli(*command, told["snapshot"], *words)
            assert result.returncode == 1 and says in sentence(result)

    downgraded = [{**file, "crypt-mode": "none"} for file in manifest["files"]]
    refused({**manifest, "files": downgraded}, "does not fit its signature")
    refused({**manifest, "files": manifest["files"][1:]}, "does not fit its signature")
    refused({**manifest, "backup-time": 1}, "does not fit its signature")
    fingerprint = ":".join(["00"] * 32)
    refused({**manifest, "unprotected": {"key-fingerprint": fingerprint}}, "wrong key - unable to verify signature")
    refused({**manifest, "unprotected": {"key-fingerprint": fingerprint}, "signature": None}, "wrong key - manifest's key")
    # Unprotected is unprotected; and one without signature is taken.
    set_manifest(path, {**manifest, "unprotected": {"notes": "hello"}})
    cli("verify", told["snapshot"], *words).check_ok()
    set_manifest(path, {**manifest, "signature": None})
    cli("verify", told["snapshot"], *words).check_ok()
    # But what it lists as encrypted must be: plain chunks are not taken for it.
    set_manifest(path, {**manifest, "files": downgraded, "signature": None})
    result = cli("verify", told["snapshot"], *words)
    assert result.returncode == 1 and "wrong-kind" in result.text
    result = cli("restore", told["snapshot"], "root.pxar", small_store.parent / "out", *words)
    assert result.returncode == 1 and "is encrypted" in sentence(result)


@pytest.mark.parametrize(
    ("before", "after", "reason", "detail"),
    [
        (["key"], ["other"], "manifest-keyed", "wrong key - unable to verify signature"),
        (["key"], [], "manifest-keyed", "missing key - manifest was created with key"),
        (["key", "sign-only"], [], "manifest-keyed", "missing key"),
        (["key", "sign-only"], ["other", "sign-only"], "manifest-keyed", "wrong key"),
        ([], ["key"], "crypt-mode-mismatch", "has crypt mode none, this run encrypt"),
        ([], ["key", "sign-only"], "crypt-mode-mismatch", "has crypt mode none, this run sign-only"),
        (["key"], ["key", "sign-only"], "crypt-mode-mismatch", "has crypt mode encrypt, this run sign-only"),
        (["key", "sign-only"], ["key"], "crypt-mode-mismatch", "has crypt mode sign-only, this run encrypt"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_mixed_keys_and_modes(
    cli: Cli, before: list[str], after: list[str], reason: str, detail: str, key: Path, other_key: Path, tree: Path,
    small_store: Path, tmp_path: Path,
) -> None:  # fmt: skip
    def words(how: list[str]) -> list[str | Path]:
        given: list[str | Path] = ["--keyfile", key if how[0] == "key" else other_key] if how else []
        return given + (["--crypt-mode", how[1]] if len(how) > 1 else [])

    backup(cli, small_store, tree, 1700000000, "data", *words(before))
    told = backup(cli, small_store, tree, 1700000001, "metadata", *words(after))
    reference = told["archives"][0]["reference"]
    assert reference["reason"] == reason and detail in reference["detail"]
    assert told["archives"][0]["reused_files"] == 0
    reading = words(after)[:2]
    cli("verify", told["snapshot"], "--repository", small_store, *reading).check_ok()
    target = tmp_path / "target"
    cli("restore", told["snapshot"], "root.pxar", target, "--repository", small_store, *reading).check_ok()
    assert differences(scan(tree), scan(target)) == []
    result = cli(
        "backup", f"root.pxar:{tree}", "--repository", small_store, "--backup-id", "me", "--change-detection-mode", "metadata",
        "--require-reference", *words(before),
    )  # fmt: skip
    assert result.returncode == 1 and "has no usable reference" in sentence(result)


@pytest.mark.parametrize("stream", ["root.mpxar.didx", "root.ppxar.didx"])
@pytest.mark.parametrize("listed", ["none", "sign-only"])
def test_one_stream_of_another_mode_is_no_reference(
    cli: Cli, stream: str, listed: str, key: Path, tree: Path, small_store: Path
) -> None:
    """A manifest without signature says so of one of the two; neither is taken then."""
    told = backup(cli, small_store, tree, 1700000000, "data", "--keyfile", key)
    path = small_store / told["snapshot"] / "index.json.blob"
    manifest = json.loads(blob_content(path.read_bytes()))
    files = [{**f, "crypt-mode": listed} if f["filename"] == stream else f for f in manifest["files"]]
    set_manifest(path, {**manifest, "files": files, "signature": None})
    told = backup(cli, small_store, tree, 1700000001, "metadata", "--keyfile", key)
    reference = told["archives"][0]["reference"]
    assert reference["reason"] == "crypt-mode-mismatch"
    assert reference["detail"] == f"'{stream}' has crypt mode {listed}, this run encrypt"
    assert told["archives"][0]["reused_files"] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--crypt-mode", "encrypt"], "--crypt-mode encrypt needs a key"),
        (["--crypt-mode", "sign-only"], "--crypt-mode sign-only needs a key"),
        (["--crypt-mode", "none", "--keyfile", "KEY"], "exclude each other"),
        (["--crypt-mode", "Encrypt", "--keyfile", "KEY"], "is not defined in the enumeration"),
        (["--keyfile", "KEY", "--keyfile", "KEY"], "one key, given once"),
        (["--keyfile", "KEY", "--keyfd", "3"], "one key, given once"),
        (["--keyfile", ""], "the name of the file is empty"),
        (["--keyfd", "x"], "is not a whole number"),
    ],
)
def test_contradictions_store_nothing(cli: Cli, words: list[str], says: str, key: Path, tree: Path, tmp_path: Path) -> None:
    store = tmp_path / "new-store"
    told = [str(key) if word == "KEY" else word for word in words]
    result = cli("backup", f"root.pxar:{tree}", "--repository", store, *told)
    assert result.returncode == 2 and says in sentence(result)
    assert not store.exists()


def test_an_unusable_key_stores_nothing(cli: Cli, tree: Path, tmp_path: Path) -> None:
    store = tmp_path / "new-store"
    for path in (tmp_path / "missing", tmp_path, Path("/dev/null")):
        result = cli("backup", f"root.pxar:{tree}", "--repository", store, "--keyfile", path)
        assert result.returncode == 1 and not store.exists()
    result = cli("backup", f"root.pxar:{tree}", "--repository", store, "--keyfd", "987")
    assert result.returncode == 1 and "file descriptor 987" in sentence(result) and not store.exists()


# ---- snapshots that this program made some time ago ----


def fixture_snapshots() -> list[Json]:
    said: list[Json] = json.loads((FIXTURE / "expected.json").read_text())
    return said


@pytest.mark.parametrize("snapshot", fixture_snapshots(), ids=lambda snapshot: snapshot["name"].split("/")[1])
def test_fixture_is_read(cli: Cli, snapshot: Json, other_key: Path, tmp_path: Path) -> None:
    """Key file, manifest and every blob as they were written then; the datastore is not written to."""
    store = tmp_path / "store"
    shutil.copytree(FIXTURE / "store", store)
    words = ["--repository", store, "--keyfile", FIXTURE / "key.json"]
    said = cli("verify", snapshot["name"], *words, "--output-format", "json").json()
    assert said["ok"] and {file["result"] for file in said["files"]} == {"ok"}
    assert {file["crypt-mode"] for file in said["files"]} == {snapshot["crypt-mode"]}
    target = tmp_path / "target"
    cli("restore", snapshot["name"], "root.pxar", target, "--ignore-ownership", *words).check_ok()
    found = {
        str(path.relative_to(target)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in target.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    assert found == snapshot["files"]
    conf = cli("restore", snapshot["name"], "app.conf", "-", *words).check_ok().stdout
    assert hashlib.sha256(conf).hexdigest() == snapshot["conf"]
    result = cli("verify", snapshot["name"], "--repository", store, "--keyfile", other_key)
    assert result.returncode == 1 and "wrong key" in sentence(result)
    id_key = id_key_of(json.loads((FIXTURE / "key.json").read_text()))
    manifest = json.loads(blob_content((store / snapshot["name"] / "index.json.blob").read_bytes()))
    assert manifest["signature"] == signature(manifest, id_key)


# ---- master keys ----


def test_master_keys(cli: Cli, key: Path, tree: Path, small_store: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no program openssl")
    for bits in (2048, 3072):
        private, public = tmp_path / f"{bits}.pem", tmp_path / f"{bits}.pub"
        run.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}", "-out", private]).check_ok()
        run.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public]).check_ok()
    store = tmp_path / "new-store"
    words = [f"root.pxar:{tree}", "--repository", store, "--keyfile", key, "--master-pubkey-file"]
    result = cli("backup", *words, tmp_path / "2048.pub")
    assert result.returncode == 1 and "2048 bits is too small" in sentence(result) and not store.exists()
    result = cli("backup", *words, tmp_path / "3072.pem")
    assert result.returncode == 1 and "is no RSA public key" in sentence(result) and not store.exists()
    result = cli("backup", f"root.pxar:{tree}", "--repository", store, "--master-pubkey-file", tmp_path / "3072.pub")
    assert result.returncode == 2 and "no encryption key to store" in sentence(result)

    told = backup(cli, small_store, tree, 1700000000, "data", "--keyfile", key, "--master-pubkey-file", tmp_path / "3072.pub")
    manifest = json.loads(blob_content((small_store / told["snapshot"] / "index.json.blob").read_bytes()))
    assert manifest["files"][-1]["filename"] == "rsa-encrypted.key.blob"
    assert manifest["files"][-1]["crypt-mode"] == "encrypt"
    wrapped = blob_content((small_store / told["snapshot"] / "rsa-encrypted.key.blob").read_bytes())
    command = ["openssl", "pkeyutl", "-decrypt", "-inkey", tmp_path / "3072.pem"]
    recovered = tmp_path / "recovered.json"
    recovered.write_bytes(run.run(command, stdin=wrapped).check_ok().stdout)
    original = json.loads(key.read_text())
    assert json.loads(recovered.read_text())["data"] == original["data"]
    assert json.loads(recovered.read_text())["created"] == original["created"]
    # It is one: nobody needs the first key for anything any more, not even to get this file.
    words = ["--repository", small_store, "--keyfile", recovered]
    cli("verify", told["snapshot"], *words).check_ok()
    out = tmp_path / "wrapped"
    cli("restore", told["snapshot"], "rsa-encrypted.key.blob", out, "--repository", small_store).check_ok()
    assert out.read_bytes() == wrapped


# ---- pxarbench key ----


def test_key_commands(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "k"
    env = {"PBS_ENCRYPTION_PASSWORD": PASSPHRASE}
    cli("key", "create", path, "--hint", "the usual", env=env).check_ok()
    assert path.stat().st_mode & 0o7777 == 0o600
    said = cli("key", "show", path, "--output-format", "json").json()
    assert said["kdf"] == "scrypt" and said["hint"] == "the usual" and said["created"] == said["modified"]
    stored = json.loads(path.read_text())
    assert stored["kdf"]["Scrypt"].items() >= {"n": 65536, "r": 8, "p": 1}.items()
    assert stored["fingerprint"] == said["fingerprint"] and "data" not in said
    assert said["fingerprint"] in cli("key", "show", path).check_ok().text
    result = cli("key", "create", path, env=env)
    assert result.returncode == 1 and "File exists" in sentence(result)
    assert json.loads(path.read_text()) == stored
    result = cli("key", "change-passphrase", path, env=env)
    assert result.returncode == 1 and "set PBS_NEW_ENCRYPTION_PASSWORD" in sentence(result)
    result = cli("key", "change-passphrase", path, "--kdf", "none", env={"PBS_ENCRYPTION_PASSWORD": "not this one"})
    assert result.returncode == 1 and "wrong passphrase" in sentence(result)
    new = {**env, "PBS_NEW_ENCRYPTION_PASSWORD_CMD": "printf 'another one\\n'"}
    cli("key", "change-passphrase", path, "--kdf", "pbkdf2", env=new).check_ok()
    changed = json.loads(path.read_text())
    assert changed["kdf"]["PBKDF2"]["iter"] == 65535 and changed["fingerprint"] == stored["fingerprint"]
    assert changed["created"] == stored["created"]
    assert [p.name for p in tmp_path.iterdir()] == ["k"]
    for words in (["key"], ["key", "create"], ["key", "create", path, path], ["key", "create", path, "--kdf", "md5"]):
        assert cli(*words).returncode == 2


def test_key_files_of_the_specification(cli: Cli, tmp_path: Path) -> None:
    salt = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
    times = {"created": "2024-01-02T03:04:05+01:00", "modified": "2024-01-02T03:04:05Z"}
    files = {
        "pbkdf2": ({"PBKDF2": {"iter": 65535, "salt": salt}},
                   "AAECAwQFBgcICQoLDA0OD0gyvnSNYJD1uTyAG3olbohmVHhcWMn1zD5d2ldn/JEy4bwrXFfwSpGKlST5pXJdrw=="),
        "scrypt": ({"Scrypt": {"n": 65536, "r": 8, "p": 1, "salt": salt}},
                   "AAECAwQFBgcICQoLDA0OD2zyXl7LSN5qQi7pCm4gZ187FTLIX1kZ4HAWrzBHkzK8BX8c1MqiDuljkdHW2bvFqQ=="),
    }  # fmt: skip
    for name, (kdf, data) in files.items():
        path = tmp_path / name
        path.write_text(json.dumps({"kdf": kdf, "data": data, **times}))
        env = {"PBS_ENCRYPTION_PASSWORD": "12345"}
        cli("key", "change-passphrase", path, "--kdf", "none", env=env).check_ok()
        assert b64decode(json.loads(path.read_text())["data"]) == bytes(range(32))


# ---- secrets stay secret ----


def test_secrets_are_in_no_output(cli: Cli, tree: Path, small_store: Path, tmp_path: Path) -> None:
    """Neither key nor passphrase, in logs, statistics, decisions, results; also when things go wrong."""
    path = tmp_path / "k"
    env = {"PBS_ENCRYPTION_PASSWORD": PASSPHRASE}
    cli("key", "create", path, "--kdf", "pbkdf2", env=env).check_ok()
    plain = tmp_path / "plain"
    shutil.copy(path, plain)
    cli("key", "change-passphrase", plain, "--kdf", "none", env=env).check_ok()
    raw = b64decode(json.loads(plain.read_text())["data"])
    forms = [raw, raw.hex().encode(), json.loads(plain.read_text())["data"].encode()[:40], PASSPHRASE.encode()]
    id_key = id_key_of(json.loads(plain.read_text()))
    forms += [id_key, id_key.hex().encode()]
    outputs = []
    stats, decisions = tmp_path / "stats", tmp_path / "decisions"
    words = [f"root.pxar:{tree}", "--repository", small_store, "--stats", stats, "--decisions", decisions]
    for keyfile, more in ((path, env), (plain, {}), (path, {"PBS_ENCRYPTION_PASSWORD": PASSPHRASE + "x"})):
        mode = ["--change-detection-mode", "metadata", "--backup-time", str(1700000000 + len(outputs))]
        result = run.run([locate.pxarbench(), "--verbose", "backup", *words, *mode, "--keyfile", keyfile], env=more)
        outputs += [result.stdout, result.stderr, decisions.read_bytes() if decisions.exists() else b""]
        outputs += [stats.read_bytes() if stats.exists() else b""]
    broken = tmp_path / "broken"
    broken.write_text(plain.read_text().replace('"kdf"', '"kdf" "x"'))
    for keyfile in (broken, plain, path):
        result = cli("key", "show", keyfile)
        outputs += [result.stdout, result.stderr]
    for output in outputs:
        for form in forms:
            assert form not in output
    for stored in small_store.rglob("*"):
        if stored.is_file():
            assert not any(form in stored.read_bytes() for form in forms)
