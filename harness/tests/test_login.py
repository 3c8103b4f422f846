"""`pxarbench login`: who is there, does it accept us, what may we do; and where the secret comes from."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backup_tools import sentence
from wire_tools import Starts, make_base

from pxarbench_harness import run
from pxarbench_harness.wire.peer import Peer
from pxarbench_harness.wire.peer_model import Answer
from pxarbench_harness.wire.spoken import OWNER, Account, Server

Cli = Callable[..., run.Result]
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours is set."""
    for name in list(os.environ):
        if name.startswith("PBS_") or name in ("ALL_PROXY", "CREDENTIALS_DIRECTORY"):
            monkeypatch.delenv(name)


def env_of(server: Server, account: Account = OWNER) -> dict[str, str]:
    return {**server.environment(account), "PBS_REPOSITORY": server.repository(account)}


def asked(cli: Cli, server: Server, account: Account = OWNER) -> Json:
    said: Json = cli("login", "--output-format", "json", env=env_of(server, account)).json()
    return said


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_good_account(cli: Cli, server: Server) -> None:
    make_base(server)
    said = asked(cli, server)
    version = server.rest("GET", "version").data
    assert (said["version"], said["release"]) == (version["version"], version["release"])
    assert said["server"] == f"127.0.0.1:{server.port}" and said["datastore"] == "store1" and said["ns"] == ""
    assert said["auth-id"] == OWNER.id and said["token"] is True
    assert said["may"] == {"list": True, "backup": True, "read": True} and said["snapshots"] == 1
    assert said["space"]["total"] > 0 and said["round_trip_ns"] > 0
    text = cli("login", env=env_of(server)).check_ok().text
    for word in (f"127.0.0.1:{server.port}", version["version"], OWNER.id, "API token", "snapshots: 1", "back up     yes"):
        assert word in text, word


def test_users_log_in_with_a_password(cli: Cli, starts: Starts) -> None:
    user = Account("alice@pbs", "correct horse")
    server = starts(accounts=(user,))
    said = asked(cli, server, user)
    assert said["auth-id"] == "alice@pbs" and said["token"] is False
    assert all(said["may"].values())


@pytest.mark.parametrize(
    ("privileges", "may"),
    [
        (("audit",), {"list": True, "backup": False, "read": False}),
        (("read",), {"list": False, "backup": False, "read": True}),
        (("backup",), {"list": True, "backup": True, "read": True}),  # what is its own
        (("audit", "read"), {"list": True, "backup": False, "read": True}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_what_an_account_may(cli: Cli, starts: Starts, privileges: tuple[str, ...], may: Json) -> None:
    account = Account("some@pbs!one", "secret", privileges)
    assert asked(cli, starts(accounts=(account,)), account)["may"] == may


def test_what_things_are_called_does_not_decide(cli: Cli, starts: Starts) -> None:
    account = Account("upgrade@pbs!upgrade", "secret", ("audit",))
    server = starts(accounts=(account,), store="upgrade")
    assert asked(cli, server, account)["may"] == {"list": True, "backup": False, "read": False}


def test_an_account_that_may_nothing_there(cli: Cli, starts: Starts) -> None:
    account = Account("some@pbs!one", "secret", ("prune",))
    server = starts(accounts=(account,))
    result = cli("login", env=env_of(server, account))
    assert "may do nothing with datastore store1" in sentence(result)
    assert b"back up     no" in result.stdout and b"version" in result.stdout


def test_a_datastore_that_is_not_there(cli: Cli, server: Server) -> None:
    env = {**env_of(server), "PBS_REPOSITORY": server.repository().replace("store1", "store2")}
    assert "datastore store2" in sentence(cli("login", env=env))


def test_nothing_is_kept_or_made(cli: Cli, server: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    before = listing(server.datastore)
    places = {name: str(home) for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR")}
    cli("login", env={**env_of(server), **places}, cwd=home).check_ok()
    assert listing(home) == [] and listing(server.datastore) == before


# ---- the secret ----


def test_sources_of_the_secret_in_order(cli: Cli, server: Server, tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text(OWNER.secret + "\r\nnot this\n")
    bad.write_text("wrong\n")
    base = {name: value for name, value in env_of(server).items() if name != "PBS_PASSWORD"}
    sources = {
        "PBS_PASSWORD": (OWNER.secret, "wrong"),
        "PBS_PASSWORD_FILE": (str(good), str(bad)),
        "PBS_PASSWORD_CMD": (f"head -n 1 '{good}'", "echo wrong"),
    }
    names = list(sources)
    for at, name in enumerate(names):
        worse = {later: sources[later][1] for later in names[at + 1 :]}
        cli("login", env={**base, **worse, name: sources[name][0]}).check_ok()
        result = cli("login", env={**base, name: sources[name][1], **{later: sources[later][0] for later in names[at + 1 :]}})
        assert "does not accept these credentials" in sentence(result)
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "proxmox-backup-client.password").write_text(OWNER.secret)
    (folder / "proxmox-backup-client.repository").write_text(base.pop("PBS_REPOSITORY"))
    (folder / "proxmox-backup-client.fingerprint").write_text(base.pop("PBS_FINGERPRINT"))
    cli("login", env={**base, "CREDENTIALS_DIRECTORY": str(folder)}).check_ok()


def test_a_command_that_fails_is_an_error(cli: Cli, server: Server) -> None:
    env = {name: value for name, value in env_of(server).items() if name != "PBS_PASSWORD"}
    assert "PBS_PASSWORD_CMD" in sentence(cli("login", env={**env, "PBS_PASSWORD_CMD": "false"}), 1)
    # No shell: all of it is words of echo's.
    words = cli("login", env={**env, "PBS_PASSWORD_CMD": f"echo {OWNER.secret} | cat"})
    assert "does not accept these credentials" in sentence(words)
    cli("login", env={**env, "PBS_PASSWORD_CMD": f"echo '{OWNER.secret}'"}).check_ok()


@pytest.mark.parametrize("secret", ["inc0rrect", "", "s3cr3t2"])
def test_wrong_secrets(cli: Cli, server: Server, secret: str) -> None:
    result = cli("login", env={**env_of(server), "PBS_PASSWORD": secret})
    said = sentence(result)
    assert "check user or token, and secret" in said
    assert result.stdout == b"" and (not secret or secret.encode() not in result.stderr)


def test_no_secret_shows_up_anywhere(cli: Cli, starts: Starts, tmp_path: Path) -> None:
    marker = "d1stinct-and-l0ng-marker"
    user = Account("alice@pbs", marker)
    server = starts(accounts=(user,))
    (tmp_path / "x.conf").write_text("x")
    stats = tmp_path / "stats"
    for words in (["login"], ["login", "--output-format", "json"], ["snapshot", "list"],
                  ["backup", f"x.conf:{tmp_path / 'x.conf'}", "--stats", str(stats), "--output-format", "json"]):  # fmt: skip
        result = cli("--verbose", *words, env=env_of(server, user)).check_ok()
        assert marker.encode() not in result.stdout + result.stderr
    assert marker not in stats.read_text()
    assert marker not in server.said()


# ---- what is no backup server ----


def test_directories_need_no_login(cli: Cli, store: Path) -> None:
    assert "needs no account" in sentence(cli("login", "--repository", store), 2)


def speaks(answer: bytes) -> tuple[socket.socket, threading.Thread]:
    """Something that says this to whoever comes, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                line, _ = listener.accept()
                with line:
                    line.recv(1)
                    line.sendall(answer)
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listener, thread


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28"])
def test_what_speaks_no_tls(cli: Cli, answer: bytes) -> None:
    listener, _ = speaks(answer)
    with listener:
        port = listener.getsockname()[1]
        result = cli("login", "--repository", f"127.0.0.1:{port}:store", env={"PBS_PASSWORD": "x"}, timeout=30)
        assert f"127.0.0.1:{port}" in sentence(result)
        listener.shutdown(socket.SHUT_RDWR)


PLAIN = [["login"], ["snapshot", "list"], ["snapshot", "forget", "host/me/2026-01-02T03:04:05Z"]]


@pytest.mark.parametrize("words", PLAIN, ids=lambda words: words[-1].partition("/")[0])
@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (301, b"", "is this the port of the backup server"), (308, b"moved", "is this the port of the backup server"),
        (400, b"parameter verification failed", "parameter verification failed"), (401, b"", "check user or token, and secret"),
        (403, b"no", "lacks a privilege, or the datastore does not exist"), (404, b"", "no such thing"), (414, b"", "too long"),
        (418, b"short and stout", "short and stout"), (500, b"oops", "try again later"), (502, b"<html>", "try again later"),
        (400, b"\x1b[2Jgone\r\n\x07\x00", "gone"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(
    cli: Cli, peer: Peer, words: list[str], status: int, body: bytes, wanted: str
) -> None:
    peer.rule = lambda request: Answer(status, body) if request.place == "rest" else None
    result = cli(*words, env={**peer.environment(), "PBS_REPOSITORY": peer.repository})
    said = sentence(result)
    assert wanted in said and f"status {status}" in said and len(said) < 1000
    assert result.stdout == b"" and not set(b"\x1b\x07\x00") & set(result.stderr)


@pytest.mark.parametrize("words", PLAIN[:2], ids=lambda words: words[-1])
@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"{}", b'{"data":', b'{"data":7}', b'{"data":[7]}', b"\xff\xfe", b"[" * 100000])
def test_answers_that_make_no_sense(cli: Cli, peer: Peer, words: list[str], body: bytes) -> None:
    peer.rule = lambda request: Answer(200, body) if request.place == "rest" else None
    result = cli(*words, env={**peer.environment(), "PBS_REPOSITORY": peer.repository})
    assert sentence(result) and result.stdout == b""


@pytest.mark.parametrize("words", PLAIN[:2], ids=lambda words: words[-1])
def test_endless_answers(cli: Cli, peer: Peer, words: list[str]) -> None:
    peer.rule = lambda request: Answer(200, b'{"data":"' + b"x" * (1 << 20), endless=True) if request.place == "rest" else None
    result = cli(*words, env={**peer.environment(), "PBS_REPOSITORY": peer.repository}, timeout=60)
    assert sentence(result) and not result.timed_out


def test_usage(cli: Cli) -> None:
    assert "unexpected argument" in sentence(cli("login", "more"), 2)
    assert "not defined in the enumeration" in sentence(cli("login", "--output-format", "xml"), 2)
    assert json.loads(cli("version", "--output-format", "json").text)  # unaffected
