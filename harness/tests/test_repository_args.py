"""Where snapshots live, as the command line and the environment say it: directories as ever, and datastores on servers, which
give the same answers as the directory behind them.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from backup_tools import sentence
from wire_tools import Starts

from pxarbench_harness import run
from pxarbench_harness.tree import differences, scan
from pxarbench_harness.wire.spoken import Account, Server

Cli = Callable[..., run.Result]
Json = dict[str, Any]

SECRET = "nobody quotes this secret"
SNAPSHOT = "host/me/2026-01-02T03:04:05Z"
T0, T1 = 1_767_323_045, 1_767_323_145  # the snapshot's time, and a later one

#: Every command that has to do with a repository.
COMMANDS: list[list[str]] = [
    ["backup", "a.conf:/dev/null"], ["restore", SNAPSHOT, "a.conf", "-"], ["snapshot", "list"], ["snapshot", "files", SNAPSHOT],
    ["snapshot", "forget", SNAPSHOT], ["catalog", "dump", SNAPSHOT], ["verify", SNAPSHOT], ["analyze", SNAPSHOT], ["login"],
    ["pxar", "list", SNAPSHOT, "a.pxar"], ["pxar", "lookup", SNAPSHOT, "a.pxar", "/"], ["benchmark"],
]  # fmt: skip


def name_of(words: list[str]) -> str:
    return "-".join(word for word in words if word.isalpha())


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours is set."""
    for name in list(os.environ):
        if name.startswith("PBS_") or name in ("ALL_PROXY", "CREDENTIALS_DIRECTORY"):
            monkeypatch.delenv(name)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Nobody listens there, and nobody else will meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    for number in range(40):
        (root / "sub" / f"file-{number}").write_bytes(bytes([number]) * (number * 1000))
    (root / "big").write_bytes(os.urandom(300_000))
    (root / "link").symlink_to("big")
    return root


def backup(cli: Cli, tree: Path, time: int, *more: str | Path, **options: Any) -> Json:
    stats = tree.parent / f"stats-{time}.json"
    cli(
        "backup", f"root.pxar:{tree}", "--backup-id", "me", "--backup-time", str(time), "--change-detection-mode", "metadata",
        "--chunk-size", "64", "--stats", stats, *more, **options,
    ).check_ok()  # fmt: skip
    told: Json = json.loads(stats.read_text())
    return told


# ---- what is wrong is said before anything is connected ----


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("words", [words for words in COMMANDS if words != ["benchmark"]], ids=name_of)
def test_no_repository(cli: Cli, words: list[str]) -> None:
    if words[0] == "pxar":
        assert "cannot be found" not in sentence(cli(*words), cli(*words).returncode)  # a file of that name, then
        return
    assert sentence(cli(*words), 2) == "no repository: give --repository or set PBS_REPOSITORY"


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("words", COMMANDS, ids=name_of)
@pytest.mark.parametrize(
    ("repository", "said"),
    [
        ("user@pbs@store1", "behind the user a host is missing"),
        ("user@host:store", "neither a user"),
        (":store", "the host is missing"),
        ("host:65536:store", "port '65536'"),
        ("http://host:store", "is not made of"),
        ("host_1:store", "is not a host"),
        ("fe80::1:store", "is not made of"),
    ],
)
def test_bad_repository(cli: Cli, words: list[str], repository: str, said: str) -> None:
    assert said in sentence(cli(*words, "--repository", repository, env={"PBS_PASSWORD": SECRET}), 2)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("words", COMMANDS, ids=name_of)
def test_without_secret_nothing_is_connected(cli: Cli, words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        repository = f"u@pbs!tok@127.0.0.1:{listener.getsockname()[1]}:store"
        said = sentence(cli(*words, "--repository", repository), 2)
        assert "u@pbs!tok" in said and "PBS_PASSWORD" in said
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        (["--fingerprint", "aabb"], {}, "fingerprint"),
        ([], {"PBS_FINGERPRINT": "aabb"}, "fingerprint"),
        (["--rate", "fast"], {}, "--rate: 'fast' is no number of bytes"),
        (["--rate", "0"], {}, "--rate"),
        (["--burst", "1MB"], {}, "--burst: needs --rate"),
        (["--ns", "../x"], {}, "namespace"),
        ([], {"PBS_NAMESPACE": "../x"}, "PBS_NAMESPACE"),
        ([], {"ALL_PROXY": f"socks5://u:{SECRET}@p"}, "ALL_PROXY"),
    ],
)
def test_bad_options_of_servers(cli: Cli, options: list[str], env: dict[str, str], said: str) -> None:
    result = cli("snapshot", "list", "--repository", "h:store", *options, env={"PBS_PASSWORD": SECRET, **env})
    assert said in sentence(result, 2)
    assert SECRET.encode() not in result.stderr


@pytest.mark.usefixtures("bare")
def test_parts_in_the_environment(cli: Cli, closed_port: int) -> None:
    parts = {"PBS_SERVER": "127.0.0.1", "PBS_PORT": str(closed_port), "PBS_PASSWORD": SECRET}
    assert "PBS_DATASTORE" in sentence(cli("login", env=parts), 2)
    parts["PBS_DATASTORE"] = "store"
    assert f"127.0.0.1:{closed_port}" in sentence(cli("login", env=parts), 1)
    # The one text goes before them.
    assert "localhost:1" in sentence(cli("login", env={**parts, "PBS_REPOSITORY": "localhost:1:store"}), 1)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("words", COMMANDS, ids=name_of)
def test_nobody_is_there(cli: Cli, words: list[str], closed_port: int, tmp_path: Path) -> None:
    source = tmp_path / "a.conf"
    source.write_text("x")
    words = [f"a.conf:{source}" if word.startswith("a.conf:") else word for word in words]
    result = cli(*words, "--repository", f"127.0.0.1:{closed_port}:store", env={"PBS_PASSWORD": SECRET}, cwd=tmp_path)
    assert f"127.0.0.1:{closed_port}" in sentence(result, 1)
    assert SECRET.encode() not in result.stderr and list(tmp_path.iterdir()) == [source]


# ---- directories are as ever ----


@pytest.mark.usefixtures("bare")
def test_directories_do_not_look_at_what_servers_need(cli: Cli, tree: Path, store: Path) -> None:
    env = {
        "PBS_PASSWORD_FILE": "/nonexistent", "PBS_FINGERPRINT": "x", "PBS_NAMESPACE": "no//namespace", "PBS_SERVER": "_",
        "ALL_PROXY": "socks5://x",
    }  # fmt: skip
    told = backup(cli, tree, T0, "--repository", store, env=env)
    assert "network" not in told and "crypt_mode" not in told
    listed = cli("snapshot", "list", env={**env, "PBS_REPOSITORY": str(store)}).check_ok()
    assert SNAPSHOT in listed.text
    assert listed.stdout == cli("snapshot", "list", "--repository", store).check_ok().stdout


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(("option", "value"), [("--rate", "1MB"), ("--fingerprint", "aa:bb")])
def test_options_of_servers_are_refused(cli: Cli, store: Path, option: str, value: str) -> None:
    said = sentence(cli("snapshot", "list", "--repository", store, option, value), 2)
    assert option in said and "is a directory" in said


@pytest.mark.usefixtures("bare")
def test_the_sync_level_is_not_a_servers(cli: Cli, tree: Path, closed_port: int) -> None:
    words = ["backup", f"root.pxar:{tree}", "--repository", f"127.0.0.1:{closed_port}:store", "--sync-level", "none"]
    assert "--sync-level: only for datastore directories" in sentence(cli(*words, env={"PBS_PASSWORD": SECRET}), 2)


@pytest.mark.usefixtures("bare")
def test_a_dry_run_asks_the_server(cli: Cli, tree: Path, closed_port: int) -> None:
    words = ["backup", f"root.pxar:{tree}", "--repository", f"127.0.0.1:{closed_port}:store", "--dry-run"]
    assert f"127.0.0.1:{closed_port}" in sentence(cli(*words, env={"PBS_PASSWORD": SECRET}), 1)


def test_crypt_mode_is_told_of_runs_with_a_key(cli: Cli, tree: Path, store: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    cli("key", "create", key, "--kdf", "none").check_ok()
    assert backup(cli, tree, T0, "--repository", store, "--keyfile", key)["crypt_mode"] == "encrypt"
    signed = backup(cli, tree, T1, "--repository", store, "--keyfile", key, "--crypt-mode", "sign-only")
    assert signed["crypt_mode"] == "sign-only"


@pytest.mark.parametrize("words", COMMANDS, ids=name_of)
def test_help_says_what_a_server_needs(cli: Cli, words: list[str]) -> None:
    command = [word for word in words if word.isalpha()]
    text = cli(*command, "--help").check_ok().text
    for said in ("--repository", "--fingerprint", "--rate", "--burst", "PBS_PASSWORD", "PBS_FINGERPRINT"):
        assert said in text, said
    assert ("--ns" in text) is (command != ["benchmark"])  # which stores nothing
    assert all(len(line) <= 120 for line in text.splitlines())


@pytest.mark.parametrize(
    "words", [["benchmark", "--ns", "a"], ["snapshot", "forget", SNAPSHOT, "--keyfile", "k"],
              ["snapshot", "forget", SNAPSHOT, "--output-format", "json"]],
    ids=" ".join,
)  # fmt: skip
def test_options_without_effect_are_refused(cli: Cli, store: Path, words: list[str]) -> None:
    option = next(word for word in words if word.startswith("--"))
    assert option in sentence(cli(*words, "--repository", store), 2)


def test_a_group_stands_for_its_newest_snapshot(cli: Cli, tree: Path, store: Path, tmp_path: Path) -> None:
    backup(cli, tree, T0, "--repository", store)
    (tree / "later").write_text("x")
    backup(cli, tree, T1, "--repository", store)
    unfinished = store / "host" / "me" / "2027-01-01T00:00:00Z"
    unfinished.mkdir()
    cli("restore", "host/me", "root.pxar", tmp_path / "out", "--repository", store).check_ok()
    assert differences(scan(tree), scan(tmp_path / "out")) == []
    said = sentence(cli("restore", "host/you", "root.pxar", tmp_path / "out2", "--repository", store), 1)
    assert "host/you" in said and not (tmp_path / "out2").exists()


# ---- forget ----


def forgotten(cli: Cli, words: list[str], env: dict[str, str]) -> None:
    def times() -> list[int]:
        return [each["backup-time"] for each in cli("snapshot", "list", "--output-format", "json", *words, env=env).json()]

    assert times() == [T0, T1]
    result = cli("snapshot", "forget", SNAPSHOT, *words, env=env).check_ok()
    assert result.stdout == b"" and SNAPSHOT.encode() in result.stderr
    assert times() == [T1]
    assert "me" in sentence(cli("snapshot", "forget", SNAPSHOT, *words, env=env), 1)
    assert times() == [T1]


def test_forget_in_a_directory(cli: Cli, tree: Path, store: Path) -> None:
    backup(cli, tree, T0, "--repository", store)
    backup(cli, tree, T1, "--repository", store)
    forgotten(cli, ["--repository", str(store)], {})
    assert sentence(cli("snapshot", "forget", "host/me", "--repository", store), 2)


def test_forget_on_a_server(cli: Cli, tree: Path, server: Server) -> None:
    env = {**server.environment(), "PBS_REPOSITORY": server.repository()}
    backup(cli, tree, T0, env=env)
    backup(cli, tree, T1, env=env)
    forgotten(cli, [], env)
    assert not server.snapshot(T0, "me").exists() and server.snapshot(T1, "me").exists()


def test_protected_snapshots_stay(cli: Cli, tree: Path, server: Server) -> None:
    env = {**server.environment(), "PBS_REPOSITORY": server.repository()}
    backup(cli, tree, T0, env=env)
    (server.snapshot(T0, "me") / ".protected").touch()
    for words in ([], ["--repository", str(server.datastore)]):
        assert "protected" in sentence(cli("snapshot", "forget", SNAPSHOT, *words, env=env), 1)
        assert (server.snapshot(T0, "me") / "index.json.blob").exists()


# ---- a server says what the directory behind it says ----

ANSWERS: list[list[str]] = [
    ["snapshot", "list"], ["snapshot", "list", "host/me"], ["snapshot", "list", "--output-format", "json"],
    ["snapshot", "list", "host/nobody"], ["snapshot", "files", SNAPSHOT],
    ["snapshot", "files", SNAPSHOT, "--output-format", "json"], ["catalog", "dump", SNAPSHOT], ["verify", SNAPSHOT],
    ["verify", SNAPSHOT, "--output-format", "json"], ["analyze", SNAPSHOT, "host/me/2026-01-02T03:05:45Z"],
    ["analyze", SNAPSHOT, "--output-format", "json"],
]  # fmt: skip
#: Of archives, for which a repository must be named.
ARCHIVE_ANSWERS = [
    ["pxar", "list", SNAPSHOT, "root.pxar"], ["pxar", "list", SNAPSHOT, "root.pxar", "/sub"],
    ["pxar", "lookup", SNAPSHOT, "root.pxar", "/big", "/sub/file-3", "/nothing"],
]  # fmt: skip


def test_the_same_answers(cli: Cli, tree: Path, server: Server) -> None:
    env = {**server.environment(), "PBS_REPOSITORY": server.repository()}
    first = backup(cli, tree, T0, env=env)
    (tree / "later").write_text("x")
    second = backup(cli, tree, T1, env=env)
    assert first["network"]["requests"] > 0 and first["network"]["sent_bytes"] > 300_000
    assert second["archives"][0]["reused_files"] > 0
    for words in ANSWERS:
        far = cli(*words, env=env)
        near = cli(*words, "--repository", server.datastore)
        assert (far.returncode, far.stdout) == (near.returncode, near.stdout), words
    for words in ARCHIVE_ANSWERS:
        far = cli(*words, "--repository", server.repository(), env=env)
        near = cli(*words, "--repository", server.datastore)
        assert (far.returncode, far.stdout) == (near.returncode, near.stdout), words


def test_namespaces_of_servers(cli: Cli, tree: Path, server: Server, tmp_path: Path) -> None:
    env = {**server.environment(), "PBS_REPOSITORY": server.repository()}
    assert "namespace" in sentence(cli("backup", f"root.pxar:{tree}", "--ns", "a/b", env=env), 1)
    for parent, name in (("", "a"), ("a", "b")):
        body = json.dumps({"name": name, **({"parent": parent} if parent else {})}).encode()
        server.rest("POST", "admin/datastore/store1/namespace", body=body, content_type="application/json")
    backup(cli, tree, T0, "--ns", "a/b", env=env)
    inside = {**env, "PBS_NAMESPACE": "a/b"}
    assert cli("snapshot", "list", env=env).check_ok().stdout == b""
    assert SNAPSHOT in cli("snapshot", "list", env=inside).check_ok().text
    assert cli("snapshot", "list", "--ns", "", env=inside).check_ok().stdout == b""
    cli("restore", "host/me", "root.pxar", tmp_path / "out", env=inside).check_ok()
    assert differences(scan(tree), scan(tmp_path / "out")) == []
    sentence(cli("snapshot", "forget", SNAPSHOT, env=env), 1)
    cli("snapshot", "forget", SNAPSHOT, env=inside).check_ok()
    assert cli("snapshot", "list", env=inside).check_ok().stdout == b""


def test_encrypted_on_a_server(cli: Cli, tree: Path, server: Server, tmp_path: Path) -> None:
    key, other = tmp_path / "key", tmp_path / "other"
    for path in (key, other):
        cli("key", "create", path, "--kdf", "none").check_ok()
    env = {**server.environment(), "PBS_REPOSITORY": server.repository()}
    backup(cli, tree, T0, "--keyfile", key, env=env)
    listed = cli("snapshot", "list", "--keyfile", key, env=env).check_ok()
    assert listed.stdout == cli("snapshot", "list", "--repository", server.datastore).check_ok().stdout
    assert b"wrong key" in cli("snapshot", "list", "--keyfile", other, env=env).stderr
    cli("restore", SNAPSHOT, "root.pxar", tmp_path / "out", "--keyfile", key, env=env).check_ok()
    assert differences(scan(tree), scan(tmp_path / "out")) == []
    assert sentence(cli("restore", SNAPSHOT, "root.pxar", tmp_path / "no", "--keyfile", other, env=env), 1)
    assert sentence(cli("restore", SNAPSHOT, "root.pxar", tmp_path / "no", env=env), 1)


def test_counters_of_a_restore(cli: Cli, tree: Path, server: Server, tmp_path: Path) -> None:
    env = {**server.environment(), "PBS_REPOSITORY": server.repository()}
    backup(cli, tree, T0, env=env)
    words = ["restore", SNAPSHOT, "root.pxar"]
    far = cli(*words, tmp_path / "far", "--output-format", "json", env=env).json()
    near = cli(*words, tmp_path / "near", "--output-format", "json", "--repository", server.datastore).json()
    network = far.pop("network")
    assert network["connections"] >= 1 and network["received_bytes"] > 300_000
    assert set(far) == set(near) and far["file_bytes"] == near["file_bytes"]


def test_a_failed_run_tells_its_counters(cli: Cli, tree: Path, server: Server, tmp_path: Path) -> None:
    env = {**server.environment(), "PBS_REPOSITORY": server.repository()}
    backup(cli, tree, T1, env=env)
    stats = tmp_path / "failed.json"
    result = cli(
        "backup", f"root.pxar:{tree}", "--backup-id", "me", "--backup-time", str(T0), "--stats", stats, env=env
    )
    assert "choose a later backup time" in sentence(result, 1)
    told = json.loads(stats.read_text())
    assert told["result"] == "failed" and told["network"]["connections"] >= 1
    assert stat.S_ISREG(stats.stat().st_mode)


def test_a_rate_is_kept(cli: Cli, tree: Path, server: Server) -> None:
    env = {**server.environment(), "PBS_REPOSITORY": server.repository()}
    told = backup(cli, tree, T0, "--rate", "300KB", "--burst", "100KB", env=env)
    # 300 KB of noise at that rate: the burst is not free (the bucket begins empty).
    assert told["duration_ns"] > 700_000_000 and told["network"]["throttled_ns"] > 500_000_000


# ---- accounts ----


def test_other_accounts_are_told_what_to_do(cli: Cli, tree: Path, starts: Starts) -> None:
    owner, other = Account("bench@pbs!ci", "s3cr3t"), Account("other@pbs!ci", "t0psecret")
    watcher = Account("watch@pbs!ci", "l00king", ("audit",))
    server = starts(accounts=(owner, other, watcher))
    words = [f"root.pxar:{tree}", "--backup-id", "me"]
    backup(cli, tree, T0, env={**server.environment(), "PBS_REPOSITORY": server.repository()})
    env = {**server.environment(other), "PBS_REPOSITORY": server.repository(other)}
    said = sentence(cli("backup", *words, "--backup-time", str(T1), env=env), 1)
    assert "belongs to another account" in said
    env = {**server.environment(watcher), "PBS_REPOSITORY": server.repository(watcher)}
    assert SNAPSHOT in cli("snapshot", "list", env=env).check_ok().text
    said = sentence(cli("backup", *words, "--backup-time", str(T1), env=env), 1)
    assert "privilege" in said
    assert "may not read" in sentence(cli("verify", SNAPSHOT, env=env), 1)
    sentence(cli("snapshot", "forget", SNAPSHOT, env=env), 1)
    assert server.snapshot(T0, "me").exists()


def test_wrong_certificates(cli: Cli, server: Server) -> None:
    env = {**server.environment(), "PBS_REPOSITORY": server.repository()}
    swapped = {**env, "PBS_FINGERPRINT": server.fingerprint[3:] + ":00"}
    said = sentence(cli("snapshot", "list", env=swapped), 1)
    assert "fingerprint" in said
    upper = {**env, "PBS_FINGERPRINT": server.fingerprint.upper()}
    cli("snapshot", "list", env=upper).check_ok()
    without = {name: value for name, value in env.items() if name != "PBS_FINGERPRINT"}
    said = sentence(cli("snapshot", "list", env=without), 1)
    assert "certificate" in said.lower()
    cli("snapshot", "list", "--fingerprint", server.fingerprint, env=without).check_ok()
