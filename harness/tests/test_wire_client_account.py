"""Who our client says it is, and to whom: certificates, tokens, tickets, seen by a scripted server (protocol.md 3, 4, 6)."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
from backup_tools import write_tree
from wire_peer_tools import NAME_OF, T1, T2, Answer, check_restore, good, only, refusal
from wire_tools import Client, said

from pxarbench_harness.wire.peer import Peer
from pxarbench_harness.wire.peer_model import Request, wait_for


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree", files=12, size=60_000)


def bytes_of_the_client(peer: Peer) -> bytes:
    peer.settle()
    return b"".join(peer.first_bytes)


@pytest.mark.parametrize("command", [("snapshot", "list"), ("login",), ("restore", f"host/me/{NAME_OF[T1]}", "root.pxar", "-")])
def test_wrong_fingerprint(user: Client, peer: Peer, command: tuple[str, ...]) -> None:
    """7: no application byte."""
    wrong = ("00" if peer.fingerprint[:2] != "00" else "01") + peer.fingerprint[2:]
    said(user.run(*command, env={"PBS_FINGERPRINT": wrong}))
    assert bytes_of_the_client(peer) == b"" and peer.model.requests == []


def test_wrong_fingerprint_of_a_backup(user: Client, peer: Peer, tree: Path) -> None:
    wrong = ("00" if peer.fingerprint[:2] != "00" else "01") + peer.fingerprint[2:]
    result, _ = user.backup(tree, T1, env={"PBS_FINGERPRINT": wrong})
    assert "fingerprint" in said(result)
    assert bytes_of_the_client(peer) == b""


def test_right_fingerprint_in_any_case(user: Client, peer: Peer, tree: Path) -> None:
    """6."""
    good(user, peer, tree, T1, env={"PBS_FINGERPRINT": peer.fingerprint.upper()})


@pytest.mark.parametrize("text", ["x", "without colons", "ab:cd", "zz"])
def test_fingerprints_that_are_none(user: Client, peer: Peer, text: str) -> None:
    """6."""
    text = peer.fingerprint.replace(":", "") if text == "without colons" else text
    result = user.run("snapshot", "list", env={"PBS_FINGERPRINT": text})
    assert result.returncode != 0
    assert peer.first_bytes == []


def test_own_certificate_without_a_fingerprint(user: Client, peer: Peer) -> None:
    """8."""
    environment = {k: v for k, v in user.environment.items() if k != "PBS_FINGERPRINT"}
    client = Client(user.program, user.repository, environment, user.scratch)
    said(client.run("snapshot", "list"))
    assert bytes_of_the_client(peer) == b""


def test_name_of_the_server(user: Client, peer: Peer) -> None:
    """4: sent for names, not for addresses."""
    user.run("snapshot", "list").check_ok()
    assert peer.server_names == [None]
    client = Client(user.program, user.repository.replace("127.0.0.1", "localhost"), user.environment, user.scratch)
    client.run("snapshot", "list").check_ok()
    assert peer.server_names == [None, "localhost"]


@pytest.mark.parametrize("secret", ["s3cr3t", "with space", 'a"b#c<d>e`f?g{h}', "100%", "ümlaut€", "a:b:c", "a+b=c&d"])
def test_secrets_of_tokens(user: Client, peer: Peer, secret: str) -> None:
    """6.1: percent-encoded where it must be; `%` itself is not, so a secret with hex digits behind one cannot be."""
    peer.model.secret = secret
    user.run("snapshot", "list", env={"PBS_PASSWORD": secret}).check_ok()
    (request,) = peer.model.requests
    value = request.header("authorization") or ""
    assert all(0x20 < ord(c) < 0x7F or c == " " for c in value) and value.startswith("PBSAPIToken bench@pbs!ci:")
    assert "POST access/ticket" not in peer.model.endpoints()


def as_user(user: Client, peer: Peer) -> Client:
    repository = user.repository.replace("bench@pbs!ci@", "bench@pbs@")
    return Client(user.program, repository, {**user.environment, "PBS_PASSWORD": peer.model.password}, user.scratch)


def test_users_log_in_once(user: Client, peer: Peer, tree: Path, tmp_path: Path) -> None:
    """10: one ticket call per run, then the cookie, whatever the number of connections."""
    client = as_user(user, peer)
    for number, (at, mode) in enumerate(((T1, "data"), (T2, "metadata"))):
        good(client, peer, tree, at, mode=mode)
        assert peer.model.logins == number + 1
    check_restore(client, peer, tree, T2, tmp_path / "restored")
    assert peer.model.logins == 3
    for request in peer.model.asked("rest"):
        if request.endpoint == "POST access/ticket":
            assert request.parameters == {"username": "bench@pbs", "password": peer.model.password}
            assert request.header("cookie") is None
        else:
            assert (request.header("cookie") or "").startswith("PBSAuthCookie=PBS") and request.header("authorization") is None
    client.run("snapshot", "forget", f"host/me/{NAME_OF[T1]}").check_ok()  # with its CSRF token
    assert peer.model.asked("rest")[-1].header("csrfpreventiontoken") == peer.model.csrf_text


def test_a_ticket_that_ran_out(user: Client, peer: Peer) -> None:
    """18: a new login, once."""
    client = as_user(user, peer)
    peer.rule = only("GET admin/datastore/store1/snapshots", Answer(401, b"ticket is too old"), 1)
    client.run("snapshot", "list").check_ok()
    assert peer.model.logins == 2
    peer.rule = only("GET admin/datastore/store1/snapshots", Answer(401, b"ticket is too old"))
    said(client.run("snapshot", "list"))
    assert peer.model.logins == 4


def test_wrong_password(user: Client, peer: Peer) -> None:
    client = as_user(user, peer)
    said(client.run("snapshot", "list", env={"PBS_PASSWORD": "wrong"}))
    assert peer.model.endpoints() == ["POST access/ticket"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"data":{"username":"bench@pbs","ticket":"PBS:!tfa!x","CSRFPreventionToken":"invalid"}}', "token"),
        (b'{"data":{"username":"bench@pbs","ticket":5,"CSRFPreventionToken":"x"}}', ""), (b'{"data":{}}', ""), (b"{}", ""),
        (b'{"data":{"username":"bench@pbs","ticket":"a\\r\\nX: y","CSRFPreventionToken":"x"}}', ""),
        (b'{"data":{"username":"bench@pbs","ticket":"' + b"t" * 100000 + b'","CSRFPreventionToken":"x"}}', ""),
    ],
    ids=["second-factor", "number", "empty", "no-data", "line-breaks", "huge"],
)  # fmt: skip
def test_answers_to_a_login(user: Client, peer: Peer, body: bytes, word: str) -> None:
    """11, and what nobody should say."""
    peer.rule = only("POST access/ticket", Answer(200, body))
    text = said(as_user(user, peer).run("snapshot", "list"))
    assert word in text
    assert not any(request.header("x") for request in peer.model.requests)


def test_cookie_that_only_comes_as_cookie(user: Client, peer: Peer) -> None:
    """6.2."""
    cookie = "__Host-PBSAuthCookie=PBS:bench@pbs:65F0AB12::Y29va2ll; path=/; HttpOnly; Secure"

    def rule(request: Request) -> Answer | None:
        if request.endpoint == "POST access/ticket":
            answer = peer.model.rest(request)
            return dataclasses.replace(answer, headers=(("Set-Cookie", cookie),))
        if "__Host-PBSAuthCookie=PBS" in (request.header("cookie") or ""):
            return Answer(200, b'{"data":[]}')
        return None

    peer.rule = rule
    as_user(user, peer).run("snapshot", "list").check_ok()


def test_silence_after_the_handshake(user: Client, peer: Peer) -> None:
    """A server that takes a request and says nothing: the run can be ended at any time."""
    peer.rule = only("GET admin/datastore/store1/snapshots", Answer(status=0))
    from pxarbench_harness import run

    started = time.monotonic()
    result = run.run(
        [user.program, "snapshot", "list"], env={"PBS_REPOSITORY": user.repository, **user.environment}, timeout=2
    )
    assert result.timed_out and time.monotonic() - started < 10
    assert wait_for(lambda: peer.model.requests != [])


def test_nothing_secret_in_what_is_said(user: Client, peer: Peer, tree: Path, tmp_path: Path) -> None:
    """Neither in errors nor in statistics."""
    peer.rule = only("GET backup", Answer(401, b"authentication failed"))
    result, stats = user.backup(tree, T1)
    said(result)
    assert peer.model.secret.encode() not in result.stderr + result.stdout + repr(stats).encode()
    client = as_user(user, peer)
    peer.rule = only("POST access/ticket", Answer(401, b"authentication failed"))
    result, stats = client.backup(tree, T1)
    assert peer.model.password.encode() not in result.stderr + result.stdout + repr(stats).encode()
    assert not any(tmp_path.glob("**/tickets")) and refusal
