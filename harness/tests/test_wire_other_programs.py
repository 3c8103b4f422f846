"""Programs that share nothing with ours: curl against the plain calls, nghttp against a session, openssl against the TLS."""

from __future__ import annotations

import base64
import json
import select
import socket
import ssl
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backup_tools import write_tree
from wire_tools import client_of, make_base

from pxarbench_harness import run
from pxarbench_harness.tree import differences, scan
from pxarbench_harness.wire import client, objects, whole
from pxarbench_harness.wire.client import Line
from pxarbench_harness.wire.objects import plain_chunk
from pxarbench_harness.wire.spoken import OWNER, Account, Server

T1 = 1_600_000_000
S3 = f"backup-type=host&backup-id=me&backup-time={T1}"


@pytest.fixture
def filled(server: Server, pxarbench: Path, tmp_path: Path) -> tuple[Server, Path]:
    """A split archive, a legacy one with its catalog, a file."""
    tree = write_tree(tmp_path / "tree", files=9, size=5000)
    (tree / "with space").write_text("space")
    user = client_of(pxarbench, server, tmp_path)
    user.backup(tree, T1)[0].check_ok()
    conf = tmp_path / "app.conf"
    conf.write_text("key = value\n")
    words = ["backup", f"root.pxar:{tree}", f"app.conf:{conf}", "--backup-id", "legacy", "--backup-time", str(T1)]
    user.run(*words).check_ok()
    return server, tree


def curl(server: Server, path: str, *more: str | Path, account: Account = OWNER) -> run.Result:
    """`path` below /api2/json/. The status is the last line of what it says."""
    url = f"https://127.0.0.1:{server.port}/api2/json/{path}"
    words = ["curl", "-sSk", "-m", "20", "-H", f"Authorization: PBSAPIToken {account.id}:{account.secret}"]
    return run.run([*words, "-w", "\n%{http_code}", *more, url])


def asked(server: Server, path: str, *more: str | Path, status: int = 200) -> Any:
    body, _, code = curl(server, path, *more).check_ok().text.rpartition("\n")
    assert int(code) == status, (path, code, body)
    return json.loads(body)["data"] if status == 200 else body


def fetched(server: Server, path: str, target: Path) -> bytes:
    code = curl(server, path, "-o", target).check_ok().text.strip()
    assert code == "200", (path, code, target.read_bytes()[:500])
    return target.read_bytes()


STORE = "admin/datastore/store1"


def test_lists(filled: tuple[Server, Path]) -> None:
    """11: shapes of the lists."""
    server, _ = filled
    assert asked(server, "ping") == {"pong": True}
    assert run.run(["curl", "-sk", f"https://127.0.0.1:{server.port}/api2/json/ping"]).json()["data"] == {"pong": True}
    version = asked(server, "version")
    assert all(isinstance(version[name], str) for name in ("version", "release", "repoid"))
    assert [row["store"] for row in asked(server, "admin/datastore")] == ["store1"]
    status = asked(server, f"{STORE}/status")
    assert status["total"] >= status["used"] >= 0 and status["avail"] >= 0
    groups = {row["backup-id"]: row for row in asked(server, f"{STORE}/groups")}
    assert set(groups) == {"me", "legacy"}
    assert groups["me"]["backup-type"] == "host" and groups["me"]["last-backup"] == T1 and groups["me"]["backup-count"] == 1
    assert sorted(groups["me"]["files"]) == ["index.json.blob", "root.mpxar.didx", "root.ppxar.didx"]
    assert groups["me"]["owner"] == OWNER.id
    (snapshot,) = asked(server, f"{STORE}/snapshots?backup-id=me&backup-type=host")
    assert snapshot["backup-time"] == T1 and snapshot["protected"] is False and snapshot["size"] > 0
    files = {row["filename"]: row for row in snapshot["files"]}
    assert files["root.ppxar.didx"]["crypt-mode"] == "none" and files["root.ppxar.didx"]["size"] > 40000
    listed = {row["filename"]: row for row in asked(server, f"{STORE}/files?{S3}")}
    assert listed == files and "index.json.blob" in listed
    assert asked(server, f"{STORE}/namespace") in ([{"ns": ""}], [{"ns": "", "comment": None}])
    for path in (f"{STORE}/files?{S3[:-1]}9", f"{STORE}/snapshots?ns=none", f"{STORE}/groups?ns=none"):
        asked(server, path, status=400)


def test_unfinished_snapshots_are_listed_as_such(filled: tuple[Server, Path]) -> None:
    server, _ = filled
    with server.backup(T1 + 5, "me"):
        rows = asked(server, f"{STORE}/snapshots?backup-id=me")
        (new,) = [row for row in rows if row["backup-time"] == T1 + 5]
        assert new["files"] == [] and new.get("size") is None
        (group,) = [row for row in asked(server, f"{STORE}/groups") if row["backup-id"] == "me"]
        assert group["backup-count"] == 2 and group["last-backup"] == T1 + 5 and group["files"] == []
        asked(server, f"{STORE}/files?{S3[:-1]}5", status=400)


def test_namespaces(server: Server) -> None:
    for parent, name in (("", "a"), ("a", "b"), ("a", "b")):
        text = json.dumps({"name": name, **({"parent": parent} if parent else {})})
        data = asked(server, f"{STORE}/namespace", "-H", "Content-Type: application/json", "-d", text)
        assert data == (f"{parent}/{name}" if parent else name)
    assert {row["ns"] for row in asked(server, f"{STORE}/namespace")} == {"", "a", "a/b"}
    assert {row["ns"] for row in asked(server, f"{STORE}/namespace?max-depth=1")} == {"", "a"}
    assert {row["ns"] for row in asked(server, f"{STORE}/namespace?parent=a")} == {"a", "a/b"}
    for path in ("max-depth=8", "parent=none", "max-depth=-1"):
        asked(server, f"{STORE}/namespace?{path}", status=400)
    for text in ('{"name":"../x"}', '{"name":"a/b"}', '{"name":""}', '{"name":"' + "n" * 33 + '"}', "{}", '{"name":".x"}'):
        asked(server, f"{STORE}/namespace", "-H", "Content-Type: application/json", "-d", text, status=400)
    with server.backup(T1, ns="a/b") as session:
        whole.snapshot(session, "demo", T1, {"x.didx": [plain_chunk(b"x")]})
    asked(server, f"{STORE}/namespace?ns=a%2Fb", "-X", "DELETE", status=400)
    asked(server, f"{STORE}/namespace?ns=a%2Fb&delete-groups=true", "-X", "DELETE")
    asked(server, f"{STORE}/namespace?ns=a", "-X", "DELETE")
    assert {row["ns"] for row in asked(server, f"{STORE}/namespace")} == {""}


def test_removing(filled: tuple[Server, Path]) -> None:
    server, _ = filled
    (server.snapshot(T1, "me") / ".protected").touch()
    asked(server, f"{STORE}/snapshots?{S3}", "-X", "DELETE", status=400)
    (server.snapshot(T1, "me") / ".protected").unlink()
    assert asked(server, f"{STORE}/snapshots?{S3}", "-X", "DELETE") is None
    assert not server.snapshot(T1, "me").exists()
    asked(server, f"{STORE}/snapshots?{S3}", "-X", "DELETE", status=400)
    asked(server, f"{STORE}/snapshots?{S3.replace('=me', '=..')}", "-X", "DELETE", status=400)


def test_downloads(filled: tuple[Server, Path], tmp_path: Path) -> None:
    server, tree = filled
    folder = server.snapshot(T1, "me")
    for name in ("index.json.blob", "root.mpxar.didx"):
        assert fetched(server, f"{STORE}/download?{S3}&file-name={name}", tmp_path / "got") == (folder / name).read_bytes()
    for name in ("none.blob", "none.didx", "..%2F..%2Fowner", "owner", "index.json"):
        asked(server, f"{STORE}/download?{S3}&file-name={name}", status=400)
    legacy = S3.replace("=me", "=legacy")
    assert fetched(server, f"{STORE}/download-decoded?{legacy}&file-name=app.conf.blob", tmp_path / "got") == b"key = value\n"
    stream = fetched(server, f"{STORE}/download-decoded?{legacy}&file-name=root.pxar.didx", tmp_path / "got.pxar")
    entries = objects.read_dynamic((server.snapshot(T1, "legacy") / "root.pxar.didx").read_bytes())
    assert len(stream) == entries[-1][0]
    text = run.run([server.program, "pxar", "list", tmp_path / "got.pxar"])
    assert text.returncode == 0 and "with space" in text.text
    assert json.loads(fetched(server, f"{STORE}/download-decoded?{S3}&file-name=index.json.blob", tmp_path / "got"))["files"]


def b64(path: str) -> str:
    return base64.b64encode(path.encode()).decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")


def test_catalogs(filled: tuple[Server, Path]) -> None:
    """11: the legacy catalog, and split archives without one."""
    server, tree = filled
    legacy = S3.replace("=me", "=legacy")
    rows = asked(server, f"{STORE}/catalog?{legacy}&filepath=root")
    assert [(row["text"], row["leaf"]) for row in rows] == [("root.pxar.didx", False)]
    names = sorted(path.name for path in tree.iterdir())
    by_catalog = asked(server, f"{STORE}/catalog?{legacy}&filepath={b64('/root.pxar.didx')}")
    assert sorted(row["text"] for row in by_catalog) == names
    for archive in ("root.mpxar.didx", "root.ppxar.didx", "root.pxar.didx"):
        rows = asked(server, f"{STORE}/catalog?{S3}&filepath={b64('/')}&archive-name={archive}")
        kinds = {row["text"]: row["type"] for row in rows}
        assert sorted(kinds) == names
        assert kinds["d0"] == "d" and kinds["empty"] == "f" and kinds["link"] == "l" and kinds["pipe"] == "p"
        row = next(r for r in rows if r["text"] == "with space")
        assert row["size"] == 5 and row["leaf"] is True and isinstance(row["mtime"], int)
        assert base64.b64decode(row["filepath"]).endswith(b"with space")
        inner = asked(server, f"{STORE}/catalog?{S3}&filepath={b64('/d0')}&archive-name={archive}")
        assert sorted(r["text"] for r in inner) == sorted(p.name for p in (tree / "d0").iterdir())
    for path in ("/none", "/with space", "/../..", "/d0/f00/x"):
        asked(server, f"{STORE}/catalog?{S3}&filepath={b64(path)}&archive-name=root.mpxar.didx", status=400)
    asked(server, f"{STORE}/catalog?{S3}&filepath=root", status=400)  # no catalog archive
    asked(server, f"{STORE}/catalog?{legacy}&filepath=%25%25", status=400)


@pytest.mark.parametrize("id", ["me", "legacy"])
def test_single_files_and_folders(filled: tuple[Server, Path], tmp_path: Path, id: str) -> None:
    """11: files as they are; folders as zip and tar.zst, unpacked by other programs and compared."""
    server, tree = filled
    archive = "root.mpxar.didx" if id == "me" else "root.pxar.didx"
    base = f"{STORE}/pxar-file-download?{S3.replace('=me', '=' + id)}"

    def target(path: str) -> str:
        if id == "me":
            return f"{base}&filepath={b64(path)}&archive-name={archive}"
        return f"{base}&filepath={b64(archive + path)}"

    for name in ("with space", "d0/f00", "empty", "z-hard"):
        assert fetched(server, target("/" + name), tmp_path / "got") == (tree / name).read_bytes(), name
    fetched(server, target("/"), tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        assert packed.testzip() is None
        packed.extractall(tmp_path / "unzipped")
    (root,) = [p for p in (tmp_path / "unzipped",) if (p / "d0").is_dir()] or list((tmp_path / "unzipped").iterdir())
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert (root / path.relative_to(tree)).read_bytes() == path.read_bytes(), path
    fetched(server, target("/") + "&tar=true", tmp_path / "all.tar.zst")
    (tmp_path / "untarred").mkdir()
    run.run(["tar", "--zstd", "-xpf", tmp_path / "all.tar.zst", "-C", tmp_path / "untarred"]).check_ok()
    root = tmp_path / "untarred"
    root = root if (root / "d0").is_dir() else next(root.iterdir())
    shown = differences(scan(tree), scan(root))
    assert [line for line in shown if "mtime" not in line] == [], shown
    for path in ("/none", "/link", "/pipe", "/../etc/passwd"):
        assert curl(server, target(path)).check_ok().text.rpartition("\n")[2] == "400", path


def test_log_of_a_backup(filled: tuple[Server, Path], tmp_path: Path) -> None:
    """11: once, with a right checksum."""
    server, _ = filled
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(objects.blob(b"all was well"))
    bad.write_bytes(objects.blob(b"all was well", crc=1))
    octets = ("-X", "POST", "-H", "Content-Type: application/octet-stream", "--data-binary")
    path = f"{STORE}/upload-backup-log?{S3}"
    asked(server, path, *octets, f"@{bad}", status=400)
    assert asked(server, path, *octets, f"@{good}") is None
    asked(server, path, *octets, f"@{good}", status=400)
    assert (server.snapshot(T1, "me") / "client.log.blob").read_bytes() == good.read_bytes()
    files = {row["filename"]: row for row in asked(server, f"{STORE}/files?{S3}")}
    assert "client.log.blob" in files
    manifest = json.loads(objects.opened((server.snapshot(T1, "me") / "index.json.blob").read_bytes()))
    assert "client.log.blob" not in {f["filename"] for f in manifest["files"]}


def test_state_of_the_garbage_collection(server: Server) -> None:
    value = asked(server, f"{STORE}/gc")
    for name in ("disk-bytes", "disk-chunks", "index-data-bytes", "index-file-count", "removed-bytes", "removed-chunks"):
        assert isinstance(value[name], int), name


def test_one_connection_for_many_calls(filled: tuple[Server, Path]) -> None:
    """14.1: curl keeps its connection; a session's upgrade is refused without its header, and the connection goes on."""
    server, _ = filled
    base = f"https://127.0.0.1:{server.port}/api2/json"
    urls = [f"{base}/version", f"{base}/{STORE}/groups", f"{base}/nowhere", f"{base}/version"]
    words = ["curl", "-skv", "-H", f"Authorization: PBSAPIToken {OWNER.id}:{OWNER.secret}"]
    result = run.run([*words, "-w", "\n%{http_code} %{num_connects}\n", *urls]).check_ok()
    codes = [line.split() for line in result.text.splitlines() if line[:1].isdigit() and len(line.split()) == 2]
    assert codes == [["200", "1"], ["200", "0"], ["404", "0"], ["200", "0"]]
    said = result.stderr.decode(errors="replace")
    assert "ALPN: server accepted" not in said


def test_certificate_by_its_fingerprint(server: Server, tmp_path: Path) -> None:
    """openssl and curl see the certificate that the server told of."""
    with server.line() as line:
        der = line.socket.getpeercert(binary_form=True)
    assert der is not None
    path = tmp_path / "server.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(der))
    text = run.run(["openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256"]).check_ok().text
    assert text.strip().partition("=")[2].lower() == server.fingerprint
    words = ["curl", "-sS", "--cacert", path, f"https://localhost:{server.port}/api2/json/ping"]
    assert run.run([*words, "--resolve", f"localhost:{server.port}:127.0.0.1"]).json()["data"] == {"pong": True}
    assert run.run(["curl", "-sS", f"https://localhost:{server.port}/api2/json/ping"]).returncode == 60


# ---- nghttp ----


class Gate:
    """Plain TCP in front of an upgraded session: nghttp has no way to ask for the upgrade, so it is asked for here."""

    def __init__(self, server: Server, target: str, protocol: str) -> None:
        self.line = Line(server.port)
        reply = self.line.upgrade(target, OWNER.headers, protocol)
        assert reply.status == 101
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        one, _ = self.listener.accept()
        secured = self.line.socket
        secured.setblocking(False)
        one.setblocking(False)
        to_server, to_client = b"", self.line.unread
        with one:
            while True:
                try:
                    part = secured.recv(65536)
                    if not part:
                        return
                    to_client += part
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
                except OSError:
                    return
                try:
                    part = one.recv(65536)
                    if not part:
                        return
                    to_server += part
                except BlockingIOError:
                    pass
                except OSError:
                    return
                try:
                    if to_server:
                        to_server = to_server[secured.send(to_server) :]
                    if to_client:
                        to_client = to_client[one.send(to_client) :]
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                    pass
                except OSError:
                    return
                select.select([secured, one], [], [], 0.02)

    def close(self) -> None:
        self.listener.close()
        self.line.close()
        self.thread.join(5)


@pytest.fixture
def gates(server: Server) -> Iterator[Any]:
    made: list[Gate] = []

    def gate(target: str, protocol: str) -> Gate:
        made.append(Gate(server, target, protocol))
        return made[-1]

    yield gate
    for each in made:
        each.close()


def test_session_with_nghttp(server: Server, gates: Any, tmp_path: Path) -> None:
    """Several calls of a reader and of a backup session by nghttp's own HTTP/2."""
    make_base(server)
    gate = gates(client.reader_target("store1", "demo", 1_700_000_000), client.READER)
    base = f"http://127.0.0.1:{gate.port}"
    words = ["nghttp", "-v", "-t", "10", f"{base}/download?file-name=root.ppxar.didx", f"{base}/speedtest", f"{base}/nothing"]
    result = run.run(words, timeout=30)
    text = result.text
    assert text.count(":status: 200") == 2 and text.count(":status: 404") == 1, text[-3000:]
    gate = gates(client.backup_target("store1", "demo", 1_700_000_100), client.BACKUP)
    blob = tmp_path / "conf"
    blob.write_bytes(objects.blob(b"by nghttp"))
    base = f"http://127.0.0.1:{gate.port}"
    words = ["nghttp", "-t", "10", "-d", blob, "-H", ":method: POST", f"{base}/blob?encoded-size=21&file-name=a.conf.blob"]
    assert run.run(words, timeout=30).text.strip() == '{"data":null}'
