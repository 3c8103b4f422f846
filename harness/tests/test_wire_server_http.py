"""Before the upgrade: heads, credentials, privileges, owners, order of the checks (protocol.md 5 to 7, V17, V22 to V25)."""

from __future__ import annotations

import os
import socket
import ssl
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from wire_tools import C1, T0, T1, Starts, json_of, make_base, open_descriptors, refused

from pxarbench_harness.wire import client, objects, whole
from pxarbench_harness.wire.client import BACKUP, FORM, JSON, READER, Line, Reply, Session
from pxarbench_harness.wire.spoken import OWNER, Account, Server

USER = Account("bench@pbs", "pass word:%+ä")
OTHER = Account("other@pbs", "other password")
OTHER_TOKEN = Account("bench@pbs!other", "other secret")
STRANGER = Account("other@pbs!ci", "stranger")
ALL = (OWNER, USER, OTHER, OTHER_TOKEN, STRANGER)

VERSION = "/api2/json/version"


def login(line: Line, account: Account) -> dict[str, str]:
    """The headers of a ticket."""
    value = line.post_json("/api2/json/access/ticket", {"username": account.id, "password": account.secret}).data
    assert set(value) >= {"username", "ticket", "CSRFPreventionToken"} and value["username"] == account.id
    assert all(isinstance(value[name], str) for name in ("username", "ticket", "CSRFPreventionToken"))
    assert not set(" ;,") & set(value["ticket"])
    return client.ticket(value["ticket"], value["CSRFPreventionToken"])


def headers_of(server: Server, account: Account) -> dict[str, str]:
    if account.is_token:
        return account.headers
    with server.line() as line:
        return login(line, account)


# ---- credentials ----


def test_forms_of_a_token(server: Server) -> None:
    """6.1."""
    with server.line() as line:
        for headers in (
            client.token(OWNER.id, OWNER.secret), client.token(OWNER.id, OWNER.secret, "="),
            {"authorization": f"PBSAPIToken {OWNER.id}:s3cr%33t"}, {"AUTHORIZATION": f"PBSAPIToken {OWNER.id}:%733cr3t"},
        ):  # fmt: skip
            reply = line.exchange("GET", VERSION, headers=headers)
            value = json_of(reply)
            assert all(isinstance(value[name], str) for name in ("version", "release", "repoid"))


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Authorization": ""}, {"Authorization": "Basic YTpi"}, client.token(OWNER.id, "wrong"), client.token(OWNER.id, ""),
        client.token(OWNER.id, "s3cr3t "), client.token(OWNER.id, "s3cr3t0"), client.token(OWNER.id, "S3CR3T"),
        client.token("bench@pbs!c", OWNER.secret), client.token("bench@pbs", OWNER.secret), client.token("nobody@pbs!x", "y"),
        {"Authorization": "PBSAPIToken"}, {"Authorization": f"PBSAPIToken {OWNER.id}"},
        {"Authorization": f"PBSAPIToken:{OWNER.id}:s3cr3t"},
        {"Authorization": f"PBSAPIToken {OWNER.id}:s3cr3t%"}, {"Authorization": f"PBSAPIToken {OWNER.id}:s3cr3t%00"},
        {"Cookie": "PBSAuthCookie=PBS:bench@pbs:65F0AB12::Zm9v"}, {"Cookie": "PBSAuthCookie="}, {"Cookie": "other=x"},
    ],
)  # fmt: skip
def test_bad_credentials(server: Server, headers: dict[str, str]) -> None:
    """V24, 77; the connection goes on."""
    with server.line() as line:
        refused(line.exchange("GET", VERSION, headers=headers), 401)
        refused(line.upgrade(client.backup_target("store1", "demo", T0), headers), 401)
        refused(line.upgrade(client.reader_target("store1", "demo", T0), headers, READER), 401)
        assert line.exchange("GET", VERSION, headers=OWNER.headers).status == 200
    assert not (server.datastore / "host").exists()


def test_a_late_401(starts: Starts) -> None:
    """5.2: switchable, and other replies are not late."""
    with starts(faults=["delay-401=300ms"]).line() as line:
        started = time.monotonic()
        refused(line.exchange("GET", VERSION), 401)
        assert time.monotonic() - started >= 0.3
        started = time.monotonic()
        assert line.exchange("GET", VERSION, headers=OWNER.headers).status == 200
        assert time.monotonic() - started < 0.25


def test_ticket(starts: Starts) -> None:
    """6.2, 10."""
    server = starts(accounts=ALL)
    with server.line() as line:
        headers = login(line, USER)
        assert line.exchange("GET", VERSION, headers={"Cookie": headers["Cookie"]}).status == 200
        # Among others, and with a token that is wrong beside it: the cookie wins.
        cookie = {"Cookie": f"a=b; {headers['Cookie']}; c=d", "Authorization": "PBSAPIToken x@y!z:w"}
        assert line.exchange("GET", VERSION, headers=cookie).status == 200
        refused(line.exchange("GET", VERSION, headers={"Cookie": "PBSAuthCookie=x", **OWNER.headers}), 401)
        # Renewed with itself as password.
        ticket = headers["Cookie"].partition("=")[2]
        again = {"username": USER.id, "password": unquote(ticket)}
        assert line.post_json("/api2/json/access/ticket", again).status == 200
        as_form = b"username=bench%40pbs&password=" + quote(USER.secret, safe="").encode()
        assert line.exchange("POST", "/api2/json/access/ticket", body=as_form, content_type=FORM).status == 200
        assert line.post_json("//api2/json/access/ticket", {"username": USER.id, "password": USER.secret}).status == 200


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({"username": "bench@pbs", "password": "wrong"}, 401), ({"username": "nobody@pbs", "password": "x"}, 401),
        ({"username": "bench@pbs!ci", "password": "s3cr3t"}, 400), ({"username": "bench@pbs", "password": ""}, 400),
        ({"username": "bench@pbs"}, 400), ({"password": "x"}, 400), ({"username": "bench", "password": "x"}, 400),
        ({"username": "bench@pbs", "password": 5}, 400), ({"username": "bench@pbs", "password": "x", "more": 1}, 400),
        ({"username": "bench@pbs", "password": "PBS:bench@pbs:65F0AB12::Zm9v"}, 401), ([], 400),
    ],
)  # fmt: skip
def test_bad_login(starts: Starts, value: Any, status: int) -> None:
    with starts(accounts=ALL).line() as line:
        refused(line.post_json("/api2/json/access/ticket", value), status)


def test_ticket_of_another_user(starts: Starts) -> None:
    """What a ticket says cannot be changed."""
    with starts(accounts=ALL).line() as line:
        headers = login(line, USER)
        forged = headers["Cookie"].replace("bench", "other")
        assert forged != headers["Cookie"]
        refused(line.exchange("GET", VERSION, headers={"Cookie": forged}), 401)
        refused(line.exchange("GET", VERSION, headers={"Cookie": headers["Cookie"][:-1]}), 401)


def test_token_against_forged_requests(starts: Starts) -> None:
    """V24: with a ticket, whatever changes something needs the token."""
    server = starts(accounts=ALL)
    path = "/api2/json/admin/datastore/store1/namespace"
    with server.line() as line:
        headers, other = login(line, USER), login(line, OTHER)
        cookie = {"Cookie": headers["Cookie"]}
        refused(line.post_json(path, {"name": "a"}, cookie), 401)
        refused(line.post_json(path, {"name": "a"}, {**cookie, "CSRFPreventionToken": "65F0AB12:x"}), 401)
        refused(line.post_json(path, {"name": "a"}, {**cookie, "CSRFPreventionToken": other["CSRFPreventionToken"]}), 401)
        assert not (server.datastore / "ns").exists()
        assert line.post_json(path, {"name": "a"}, headers).data == "a"
        assert line.exchange("GET", path, headers=headers).status == 200


# ---- privileges and owners ----


@pytest.mark.parametrize(
    ("privileges", "backup", "reader", "listing"),
    [
        (("audit",), 403, 400, 200), (("read",), 403, 101, 403), (("backup",), 101, 101, 200), (("modify",), 403, 400, 403),
        (("prune",), 403, 400, 403), (("audit", "read"), 403, 101, 200),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)  # fmt: skip
def test_privileges(
    starts: Starts, tmp_path: Path, privileges: tuple[str, ...], backup: int, reader: int, listing: int
) -> None:
    """6.3. The group belongs to the account."""
    datastore = tmp_path / "shared"
    first = starts(datastore=datastore)
    make_base(first)
    first.close()
    limited = Account(OWNER.id, OWNER.secret, privileges)
    server = starts(datastore=datastore, accounts=(limited,))
    with server.line() as line:
        reply = line.upgrade(client.reader_target("store1", "demo", T0), limited.headers, READER)
        assert reply.status == reader, reply.body
    with server.line() as line:
        reply = line.upgrade(client.backup_target("store1", "demo", T1), limited.headers)
        assert reply.status == backup, reply.body
    for path in ("groups", "snapshots"):
        assert server.rest("GET", f"admin/datastore/store1/{path}").status == listing


def test_whose_group_it_is(starts: Starts) -> None:
    """6.3, V25, 66: the whole matrix; readers with all privileges read everything."""
    server = starts(accounts=ALL)
    owns = {
        (OWNER, OWNER), (USER, USER), (USER, OWNER), (USER, OTHER_TOKEN), (OTHER, OTHER), (OTHER_TOKEN, OTHER_TOKEN),
        (STRANGER, STRANGER), (OTHER, STRANGER),
    }  # fmt: skip
    headers = {account: headers_of(server, account) for account in ALL}
    for number, owner in enumerate(ALL):
        id = f"group{number}"
        with client.opened(server.port, client.backup_target("store1", id, T0), headers[owner]) as session:
            whole.snapshot(session, id, T0, {"a.didx": [C1]})
        assert (server.snapshot(T0, id).parent / "owner").read_text() == owner.id + "\n"
        for asks, account in enumerate(ALL):
            reply = ask(server, client.backup_target("store1", id, T1 + asks), headers[account])
            assert reply.status == (101 if (account, owner) in owns else 400), (owner.id, account.id, reply.body)
            server.wait_gone(server.snapshot(T1 + asks, id))


def test_reading_others_groups(starts: Starts) -> None:
    """6.3: with Backup alone only one's own."""
    accounts = (OWNER, Account(STRANGER.id, STRANGER.secret, ("backup",)), Account(USER.id, USER.secret, ("backup",)))
    server = starts(accounts=accounts)
    make_base(server)
    for account, status in ((OWNER, 101), (accounts[1], 400), (accounts[2], 101)):
        with server.line() as line:
            reply = line.upgrade(client.reader_target("store1", "demo", T0), headers_of(server, account), READER)
            assert reply.status == status, (account.id, reply.body)


# ---- the upgrade, V17 ----


def ask(server: Server, target: str, headers: dict[str, str] | None = None, protocol: str | None = BACKUP) -> Reply:
    """On a connection of its own, which is closed."""
    line, reply = client.upgraded(server.port, target, OWNER.headers if headers is None else headers, protocol)
    line.close()
    return reply


@pytest.mark.parametrize(
    "other",
    [
        {"backup_id": None}, {"backup_time": None}, {"backup_type": None}, {"backup_id": ""}, {"backup_id": ".x"},
        {"backup_id": "-x"}, {"backup_id": "../x"}, {"backup_id": "a/b"}, {"backup_id": "a\0b"}, {"backup_id": "i" * 129},
        {"backup_id": "a b"}, {"backup_type": "disk"}, {"backup_type": "Host"}, {"backup_type": "../host"}, {"backup_time": 0},
        {"backup_time": -1}, {"backup_time": "x"}, {"backup_time": "1e9"}, {"backup_time": 253402300800},
        {"backup_time": 1 << 63},
        {"debug": "maybe"}, {"benchmark": "2"}, {"more": 1}, {"ns": ".x"}, {"ns": "a//b"}, {"ns": "/a"}, {"ns": "a/../b"},
        {"ns": "a/b/c/d/e/f/g/h"}, {"ns": "n" * 257},
    ],
)  # fmt: skip
def test_schema_of_an_upgrade(server: Server, tmp_path: Path, other: dict[str, object]) -> None:
    """V1, 53, 67."""
    before = sorted(os.listdir(tmp_path))
    target = client.backup_target("store1", "demo", T0, **other)  # type: ignore[arg-type]
    refused(ask(server, target))
    assert sorted(os.listdir(tmp_path)) == before and not any((server.datastore / n).exists() for n in ("host", "ns", "disk"))


def test_store_must_be_named(server: Server) -> None:
    refused(ask(server, client.backup_target("store1", "demo", T0).replace("&store=store1", "")))


def test_parameters_only_in_the_query(server: Server) -> None:
    """5.1: the upgrades read nothing else, and look at no content type."""
    target = client.backup_target("store1", "demo", T0)
    with server.line() as line:
        reply = line.exchange(
            "GET", target, headers={**OWNER.headers, "Connection": "upgrade", "Upgrade": BACKUP}, content_type="text/plain"
        )
        assert reply.status == 101
    server.wait_gone(server.snapshot(T0))
    refused(ask(server, target + "&backup-id=demo"))
    with server.line() as line:
        assert line.upgrade(target.replace("debug=true", "debug=YES") + "&_dc=1", OWNER.headers).status == 101


@pytest.mark.parametrize("store", ["none", "STORE1", "store1%2f..", "..", "s", "store1%00", "x" * 33])
def test_other_datastores(server: Server, store: str) -> None:
    """An unknown one is 403, what is no name 400."""
    status = 403 if store in ("none", "STORE1") else 400
    target = client.backup_target("store1", "demo", T0).replace("store=store1", f"store={store}")
    refused(ask(server, target), status)


@pytest.mark.parametrize("protocol", [None, "", "h2c", READER, BACKUP.upper(), BACKUP + ", h2c", "proxmox-backup-protocol-v2"])
def test_protocol_of_an_upgrade(server: Server, protocol: str | None) -> None:
    refused(ask(server, client.backup_target("store1", "demo", T0), protocol=protocol))
    assert not (server.datastore / "host").exists()


def test_headers_that_nobody_needs(server: Server) -> None:
    """7.1: neither Connection nor Host nor a content type."""
    with server.line() as line:
        head = f"GET {client.backup_target('store1', 'demo', T0)} HTTP/1.1\r\nUpgrade: {BACKUP}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in OWNER.headers.items())
        assert line.raw((head + "\r\n").encode()).status == 101


def test_older_http(server: Server) -> None:
    with server.line() as line:
        head = f"GET {client.backup_target('store1', 'demo', T0)} HTTP/1.0\r\nUpgrade: {BACKUP}\r\nConnection: upgrade\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in OWNER.headers.items())
        assert line.raw((head + "\r\n").encode()).status == 400


def test_namespaces(server: Server) -> None:
    """67."""
    target = client.backup_target("store1", "demo", T0, ns="a/b")
    refused(ask(server, target), 404)
    for parent, name in (("", "a"), ("a", "b")):
        value = {"name": name, **({"parent": parent} if parent else {})}
        with server.line() as line:
            assert line.post_json("/api2/json/admin/datastore/store1/namespace", value, OWNER.headers).status == 200
    for text in ("a/b", "a%2Fb"):
        with client.opened(server.port, target.replace("a%2Fb", text), OWNER.headers):
            assert server.snapshot(T0, ns=("a", "b")).is_dir()
        server.wait_gone(server.snapshot(T0, ns=("a", "b")))
    longest = "/".join(["n" * 32] * 7)
    refused(ask(server, client.backup_target("store1", "demo", T0, ns=longest)), 404)
    refused(ask(server, client.backup_target("store1", "demo", T0, ns="n" * 256)), 400)
    refused(ask(server, client.backup_target("store1", "demo", T0, ns="x" * 255)), 404)


@pytest.mark.parametrize(
    ("id", "kind", "benchmark", "status"),
    [
        ("benchmark", "host", "true", 101), ("benchmark", "host", "false", 400), ("benchmark", "vm", "true", 400),
        ("other", "host", "true", 400),
    ],
)  # fmt: skip
def test_benchmark_sessions(server: Server, id: str, kind: str, benchmark: str, status: int) -> None:
    """7.2 check 8, 8.10."""
    with server.line() as line:
        reply = line.upgrade(client.backup_target("store1", id, T0, kind=kind, benchmark=benchmark), OWNER.headers)
        assert reply.status == status
        if status != 101:
            return
        with Session(line) as session:
            ids = [session.submit("POST", "/speedtest", body=bytes(1 << 20), content_type=FORM) for _ in range(8)]
            assert all(reply.data is None for reply in session.wait(*ids))
    server.wait_gone(server.snapshot(T0, id))


def test_time_must_grow(based: Server) -> None:
    """65."""
    for at in (T0, T0 - 1, 1):
        refused(ask(based, client.backup_target("store1", "demo", at)))
    # Older than an unfinished one: fine. Its folder alone is in the way, until a backup finds that nobody holds it.
    (based.snapshot(T1 + 1000)).mkdir()
    refused(ask(based, client.backup_target("store1", "demo", T1 + 1000)))
    assert ask(based, client.backup_target("store1", "demo", T1)).status == 101
    based.wait_gone(based.snapshot(T1))
    assert not based.snapshot(T1 + 1000).exists()


def test_base_that_cannot_be_read(based: Server) -> None:
    """7.2 check 11."""
    path = based.snapshot(T0) / whole.MANIFEST
    good = path.read_bytes()
    path.write_bytes(b"broken")
    refused(ask(based, client.backup_target("store1", "demo", T1)))
    assert not based.snapshot(T1).exists()
    path.write_bytes(good)
    assert ask(based, client.backup_target("store1", "demo", T1)).status == 101


def test_owner_that_cannot_be_read(based: Server) -> None:
    """7.2 check 9."""
    path = based.snapshot(T0).parent / "owner"
    for text in (None, "", "no auth id\n"):
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        refused(ask(based, client.backup_target("store1", "demo", T1)))


# ---- heads, V22, V23, 77, 78 ----


def target_of_length(length: int) -> str:
    """Of path and query together, without the question mark."""
    start = "/api2/json/version?_dc="
    return start + "1" * (length - len(start) + 1)


def test_longest_target(server: Server) -> None:
    """V22."""
    with server.line() as line:
        assert line.exchange("GET", target_of_length(3072), headers=OWNER.headers).status == 200
        reply = line.exchange("GET", target_of_length(3073), headers=OWNER.headers)
        assert reply.status == 414 and reply.body == b""
        path = "/api2/json/" + "a" * (3072 - 11)
        assert line.exchange("GET", path, headers=OWNER.headers).status == 404
        assert line.exchange("GET", path + "a", headers=OWNER.headers).status == 414


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api2/json/nothing", 404), ("POST", "/api2/json/version", 404), ("GET", "/", 404), ("GET", "/api2", 404),
        ("GET", "/api2/json/.hidden", 400), ("GET", "/api2/json/a/../version", 400), ("GET", "/api2/json/%2e%2e/x", 400),
        ("GET", "/api2/json//version", 200), ("GET", "///api2//json///version/", 200), ("GET", "/api2/json/ver%73ion", 200),
        ("GET", "/api2/json/version?x=1", 400), ("GET", "/api2/json/version?x=%zz", 400),
        ("GET", "/api2/json/admin/datastore/..%2f..%2fetc/status", 400), ("GET", "/api2/json/admin/datastore/none/status", 403),
        ("BREW", "/api2/json/version", 404),
    ],
)  # fmt: skip
def test_paths(server: Server, method: str, path: str, status: int) -> None:
    with server.line() as line:
        reply = line.exchange(method, path, headers=OWNER.headers)
        assert reply.status == status, reply
        if reply.status >= 400:
            refused(reply, reply.status)


def head(*lines: str, first: str = f"GET {VERSION} HTTP/1.1") -> bytes:
    credentials = [f"{name}: {value}" for name, value in OWNER.headers.items()]
    return "\r\n".join([first, "Host: x", *credentials, *lines, "", ""]).encode()


MALFORMED = {
    "no version": head(first=f"GET {VERSION}"),
    "another protocol": head(first=f"GET {VERSION} SPDY/3"),
    "no method": head(first=f" {VERSION} HTTP/1.1"),
    "empty target": head(first="GET  HTTP/1.1"),
    "control in the target": head(first="GET /api2/json/ver\x01sion HTTP/1.1"),
    "header without a colon": head("nonsense"),
    "header with a space before the colon": head("Content-Length : 0"),
    "folded header": head("X: a", " b"),
    "control in a header": head("X: a\x00b"),
    "two lengths": head("Content-Length: 0", "Content-Length: 1"),
    "negative length": head("Content-Length: -1"),
    "length that is no number": head("Content-Length: ten"),
    "length beyond numbers": head("Content-Length: 99999999999999999999999"),
    "large head": head(*[f"X-{n}: {'y' * 1000}" for n in range(17)]),
    "many lines": head(*[f"X{n}: y" for n in range(65)]),
    "one endless line": b"GET /" + b"a" * 40000,
    "noise": bytes(range(256)) * 80,
    "length and pieces": head("Content-Length: 5", "Transfer-Encoding: chunked"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_heads(server: Server, what: str) -> None:
    """V23, 78: an error, the end of the connection, and the next one works."""
    with server.line() as line:
        refused(line.raw(MALFORMED[what]), 400)
        assert line.rest() == b""
    assert server.rest("GET", "version").status == 200


def test_head_as_large_as_allowed(server: Server) -> None:
    with server.line() as line:
        base = head()
        lines = [f"X{n}: {'y' * 900}" for n in range(16)]
        full = head(*lines)
        assert 14000 < len(full) < 16384 and len(base) < 300
        assert line.raw(full).status == 200
        assert line.raw(head(*[f"X{n}: y" for n in range(60)])).status == 200


def test_body_without_a_length(server: Server) -> None:
    """V23."""
    with server.line() as line:
        lines = head("Content-Type: application/json", first="POST /api2/json/admin/datastore/store1/namespace HTTP/1.1")
        refused(line.raw(lines), 400)


def test_plain_text_on_the_port(server: Server) -> None:
    """4, 78: who does not speak TLS gets nothing that matters."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as plain:
        plain.sendall(head())
        plain.settimeout(15)
        data = b""
        try:
            while part := plain.recv(4096):
                data += part
        except ConnectionError:
            pass
        assert b"repoid" not in data
    assert server.rest("GET", "version").status == 200


def test_old_tls(server: Server) -> None:
    """14.1: 1.2 at least."""
    assert tls_of(server, ssl.TLSVersion.TLSv1_2) == "TLSv1.2" and tls_of(server, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises(ssl.SSLError) as refusal, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls_of(server, ssl.TLSVersion.TLSv1_1)
    # What our own side of it would not speak has no alert.
    assert refusal.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"


def tls_of(server: Server, version: ssl.TLSVersion) -> str | None:
    """What comes of an offer of this version alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # otherwise nothing old is offered
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", server.port), 10) as plain, context.wrap_socket(plain) as secured:
        return secured.version()


def test_pieces_of_a_request(server: Server) -> None:
    """A head byte by byte, two requests in one write, a body behind its head."""
    with server.line() as line:
        for byte in head()[:-1]:
            line.send(bytes([byte]))
        assert line.raw(b"\n").status == 200
        first = line.raw(head() + head())
        assert first.status == 200
        assert line.raw(b"").status == 200
        body = b'{"name":"late"}'
        line.send(head(f"Content-Length: {len(body)}", "Content-Type: application/json",
                       first="POST /api2/json/admin/datastore/store1/namespace HTTP/1.1"))  # fmt: skip
        time.sleep(0.05)
        assert line.raw(body).data == "late"


def test_keep_alive_and_its_end(server: Server) -> None:
    with server.line() as line:
        for _ in range(50):
            assert line.exchange("GET", VERSION, headers=OWNER.headers).status == 200
        reply = line.exchange("GET", VERSION, headers={**OWNER.headers, "Connection": "close"})
        assert reply.status == 200
        assert line.rest() == b""


def test_connections_leave_nothing_behind(server: Server) -> None:
    """78: descriptors of the server, after all kinds of ends."""
    server.rest("GET", "version")
    before = open_descriptors(server.pid)
    for number in range(20):
        line = server.line()
        if number % 4 == 1:
            line.send(b"GET ")
        elif number % 4 == 2:
            line.upgrade(client.backup_target("store1", f"demo{number}", T0), OWNER.headers)
        elif number % 4 == 3:
            line.upgrade(client.backup_target("store1", f"demo{number}", T0), OWNER.headers)
            line.send(b"PRI * HTTP/2.0\r\n")
        line.close()
    deadline = time.monotonic() + 10
    while open_descriptors(server.pid) > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert open_descriptors(server.pid) <= before


def test_json_bodies_of_plain_calls(server: Server) -> None:
    """5.1, 51."""
    path = "/api2/json/admin/datastore/store1/namespace"
    with server.line() as line:

        def post(query: str, body: bytes, content_type: str) -> Reply:
            return line.exchange("POST", path + query, headers=OWNER.headers, body=body, content_type=content_type)

        refused(post("?name=query", b"{}", JSON))
        assert post("?name=query&x=1", b'{"name":"body"}', JSON).data == "body"
        assert post("", b"name=form", FORM).data == "form"
        assert post("?name=query", b"", FORM).data == "query"
        refused(post("", b"name=a&name=b", FORM))
        refused(post("?name=a", b"name=a", FORM))
        refused(post("", b"name=a", "text/plain"))
        listed = line.exchange("GET", path, headers=OWNER.headers).data
        assert {row["ns"] for row in listed} == {"", "body", "form", "query"}


def test_errors_have_bare_texts(based: Server) -> None:
    """5.2: never the `extjs` form."""
    reply = based.rest("GET", "admin/datastore/store1/snapshots?backup-type=wrong")
    text = refused(reply)
    assert "success" not in text
    assert objects.PLAIN not in reply.body
