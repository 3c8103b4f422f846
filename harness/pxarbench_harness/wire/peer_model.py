"""What the server of peer.py answers: snapshots and chunks in memory, and the rules that a client must keep.

A client that breaks a rule is answered as a server would, and the breach is written down in `Model.breaches`.
Source: bench/spec/protocol.md 8 to 12.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from . import objects
from .client import BINARY, FORM, JSON

Key = tuple[str, str, int]  # type, id, time

MANIFEST = "index.json.blob"
ENCODED_MAX = (16 << 20) + 44
BATCH_MAX = 512
_JSON = "application/json;charset=UTF-8"


@dataclass(frozen=True)
class Request:
    connection: int  # of the peer's, from 1
    place: str  # "rest", "backup", "reader"
    stream: int  # 0: HTTP/1.1
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False, default=b"")

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])

    @property
    def endpoint(self) -> str:
        """`POST dynamic_chunk`; of plain calls what stands behind /api2/json/."""
        return f"{self.method} {self.path.lstrip('/').removeprefix('api2/json/')}"

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def parameters(self) -> dict[str, Any]:
        if self.body and self.header("content-type") == JSON:
            value = json.loads(self.body)
            assert isinstance(value, dict)
            return value
        return dict(self.query)


@dataclass(frozen=True)
class Answer:
    """What goes back, and how. `status` 0: nothing, the request is never answered."""

    status: int = 200
    body: bytes = field(repr=False, default=b"")
    content_type: str = _JSON
    delay: float = 0.0
    reset: int | None = None  # an RST_STREAM behind it
    piece: int = 0  # bytes of the body at a time, one every `pause` seconds; 0: as they fit
    pause: float = 0.0
    endless: bool = False  # the body begins again and again
    hang: bool = False  # no end of stream behind the body
    cut: bool = False  # the connection ends instead of the answer
    goaway: bool = False  # a GOAWAY before it
    headers: tuple[tuple[str, str], ...] = ()


def said(data: object, **other: object) -> Answer:
    return Answer(body=json.dumps({"data": data, **other}, separators=(",", ":")).encode())


def refused(text: str, status: int = 400) -> Answer:
    return Answer(status, text.encode())


def file_of(data: bytes) -> Answer:
    return Answer(body=data, content_type=BINARY)


@dataclass
class _Writer:
    name: str
    is_fixed: bool
    size: int = 0  # of a fixed one, as declared
    entries: list[objects.Entry] = field(default_factory=list)
    slots: dict[int, bytes] = field(default_factory=dict)
    uploaded: set[bytes] = field(default_factory=set)
    appends: int = 0  # under way

    @property
    def end(self) -> int:
        return self.entries[-1][0] if self.entries else 0


@dataclass
class Model:
    """One datastore. Threads of connections share it: `lock`."""

    store: str = "store1"
    snapshots: dict[Key, dict[str, bytes]] = field(default_factory=dict)
    chunks: dict[bytes, bytes] = field(default_factory=dict)
    breaches: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    busy: set[tuple[str, str]] = field(default_factory=set)  # groups with a backup
    lock: threading.RLock = field(default_factory=threading.RLock)
    token: str = "bench@pbs!ci"
    secret: str = "s3cr3t"
    password: str = "pass word%+"
    logins: int = 0

    def breach(self, request: Request | None, text: str) -> None:
        where = f"{request.endpoint}: " if request is not None else ""
        self.breaches.append(f"{where}{text}")

    def asked(self, place: str = "") -> list[Request]:
        with self.lock:
            return [r for r in self.requests if not place or r.place == place]

    def endpoints(self, place: str = "") -> list[str]:
        return [request.endpoint for request in self.asked(place)]

    def newest(self, kind: str, id: str) -> int | None:
        times = [t for k, i, t in self.snapshots if (k, i) == (kind, id) and MANIFEST in self.snapshots[k, i, t]]
        return max(times, default=None)

    # ---- plain calls ----

    def _is_known(self, request: Request) -> bool:
        cookie = request.header("cookie")
        if cookie is not None:
            good = unquote(cookie) == f"PBSAuthCookie={self.ticket_text}"
            return good and (request.method == "GET" or request.header("csrfpreventiontoken") == self.csrf_text)
        value = request.header("authorization") or ""
        kind, id, secret = value[:11], *(value[12:].split(":", 1) + [""])[:2]
        return kind == "PBSAPIToken" and id == self.token and unquote(secret) == self.secret

    ticket_text = "PBS:bench@pbs:65F0AB12::Zm9v/YmFy+YmF6"
    csrf_text = "65F0AB12:cXV4/cXV1+cXV1eA"

    def rest(self, request: Request) -> Answer:
        """A call below /api2/json but the two upgrades."""
        endpoint = request.endpoint
        if endpoint == "POST access/ticket":
            self.logins += 1
            value = request.parameters
            if value.get("username") != "bench@pbs" or value.get("password") not in (self.password, self.ticket_text):
                return refused("authentication failure", 401)
            return said({"username": "bench@pbs", "ticket": self.ticket_text, "CSRFPreventionToken": self.csrf_text})
        if not self._is_known(request):
            return refused("authentication failed - no authentication credentials provided.", 401)
        if endpoint == "GET version":
            return said({"version": "4.0", "release": "11", "repoid": "0123456789abcdef"})
        base = f"admin/datastore/{self.store}"
        if endpoint == f"GET {base}/snapshots":
            return said([self._listed(key, files) for key, files in sorted(self.snapshots.items())])
        if endpoint == f"GET {base}/groups":
            return said(self._groups())
        if endpoint == f"GET {base}/files":
            q = request.query
            files = self.snapshots.get((q["backup-type"], q["backup-id"], int(q["backup-time"])))
            return refused("no such snapshot") if files is None else said(self._files(files))
        if endpoint == f"DELETE {base}/snapshots":
            q = request.query
            gone = self.snapshots.pop((q["backup-type"], q["backup-id"], int(q["backup-time"])), None)
            return refused("no such snapshot") if gone is None else said(None)
        if endpoint == f"GET {base}/namespace":
            return said([{"ns": ""}])
        if endpoint == f"GET {base}/status":
            return said({"total": 1 << 40, "used": 1 << 30, "avail": 1 << 39})
        if endpoint == "GET admin/datastore":
            return said([{"store": self.store}])
        return refused("Path not found.", 404)

    def _files(self, files: Mapping[str, bytes]) -> list[dict[str, object]]:
        listed = json.loads(objects.opened(files[MANIFEST]))["files"]
        found = [{"filename": f["filename"], "crypt-mode": f["crypt-mode"], "size": f["size"]} for f in listed]
        return [*found, {"filename": MANIFEST, "crypt-mode": "none", "size": len(files[MANIFEST])}]

    def _listed(self, key: Key, files: Mapping[str, bytes]) -> dict[str, object]:
        value: dict[str, object] = {
            "backup-type": key[0], "backup-id": key[1], "backup-time": key[2], "owner": self.token, "protected": False,
            "comment": None, "files": [],
        }  # fmt: skip
        if MANIFEST in files:
            shown = self._files(files)
            value["files"] = shown
            value["size"] = sum(int(str(f["size"])) for f in shown)
        return value

    def _groups(self) -> list[dict[str, object]]:
        found: dict[tuple[str, str], list[int]] = {}
        for kind, id, at in self.snapshots:
            found.setdefault((kind, id), []).append(at)
        return [
            {"backup-type": k, "backup-id": i, "last-backup": max(t), "backup-count": len(t), "files": [], "owner": self.token}
            for (k, i), t in sorted(found.items())
        ]

    # ---- upgrades ----

    def upgrade(self, request: Request) -> Answer | Backup | Reader:
        if not self._is_known(request):
            return refused("authentication failed", 401)
        q = request.query
        if q.get("store") != self.store:
            return refused("permission check failed", 403)
        key = q["backup-type"], q["backup-id"], int(q["backup-time"])
        place = request.endpoint.partition(" ")[2]
        wanted = {"backup": "proxmox-backup-protocol-v1", "reader": "proxmox-backup-reader-protocol-v1"}[place]
        if request.header("upgrade") != wanted:
            return refused("wrong protocol")
        allowed = {"backup-id", "backup-time", "backup-type", "debug", "store", "ns"}
        allowed |= {"benchmark"} if place == "backup" else set()
        if extra := set(q) - allowed:
            self.breach(request, f"parameters {sorted(extra)}")
        if place == "reader":
            if MANIFEST not in self.snapshots.get(key, {}):
                return refused("snapshot does not exist")
            return Reader(self, key)
        if key[:2] in self.busy:
            return refused("unable to acquire backup group lock - another backup is running")
        base = self.newest(key[0], key[1])
        if base is not None and key[2] <= base:
            return refused("backup timestamp is older than last backup")
        if key in self.snapshots:
            return refused("backup directory already exists")
        self.busy.add(key[:2])
        self.snapshots[key] = {}
        return Backup(self, key, base, is_benchmark=q.get("benchmark") == "true")


# ---- sessions ----


class Reader:
    place = "reader"

    def __init__(self, model: Model, key: Key) -> None:
        self.model, self.files = model, dict(model.snapshots[key])
        self.allowed: set[bytes] = set()

    def began(self, request: Request) -> None:
        """Called when a request is complete, before its answer."""

    def replaced(self, request: Request) -> None:
        """Called instead of `answer` when somebody else answers."""

    def answer(self, request: Request) -> Answer:
        if request.endpoint == "GET download":
            name = request.query.get("file-name", "")
            data = self.files.get(name)
            if data is None:
                return refused("no such file", 404 if name.endswith(".blob") else 400)
            if not name.endswith(".blob"):
                self.allowed |= set(objects.known_lengths(data))
            return file_of(data)
        if request.endpoint == "GET chunk":
            text = request.query.get("digest", "")
            if not re.fullmatch("[a-f0-9]{64}", text):
                self.model.breach(request, f"digest {text!r}")
                return refused("parameter verification failed")
            digest = bytes.fromhex(text)
            if digest not in self.allowed:
                self.model.breach(request, "a chunk whose index was not downloaded")
                return refused("download chunk not allowed", 401)
            return file_of(self.model.chunks[digest])
        if request.endpoint == "GET speedtest":
            return file_of(b"A" * (1 << 20))
        self.model.breach(request, "no such call")
        return refused("Path not found.", 404)

    def ended(self) -> None:
        pass


class Backup:
    place = "backup"

    def __init__(self, model: Model, key: Key, base: int | None, *, is_benchmark: bool) -> None:
        self.model, self.key, self.base, self.is_benchmark = model, key, base, is_benchmark
        self.files: dict[str, bytes] = {}
        self.writers: dict[int, _Writer] = {}
        self.last_wid = 0
        self.known: dict[bytes, int] = {}
        self.indexes: dict[str, tuple[int, str]] = {}
        self.under_way = 0
        self.closes_done = False
        self.finished = False
        self.previous: list[str] = []

    # Rules that are about what is outstanding at the same time.

    def began(self, request: Request) -> None:
        self.under_way += 1
        if self.finished:
            self.model.breach(request, "a call after finish")
        if request.endpoint in ("PUT dynamic_index", "PUT fixed_index"):
            writer = self.writers.get(int(request.parameters.get("wid", 0)))
            if writer is not None:
                writer.appends += 1
                if writer.appends > 1:
                    self.model.breach(request, "two appends of one index under way")
        elif request.endpoint == "POST finish" and self.under_way > 1:
            self.model.breach(request, "finish while other calls are under way")
        elif request.endpoint == "POST blob" and request.query.get("file-name") == MANIFEST and self.writers:
            self.model.breach(request, "the manifest before all indexes are closed")

    def replaced(self, request: Request) -> None:
        self.under_way -= 1

    def answer(self, request: Request) -> Answer:
        self.under_way -= 1
        handler = self._handlers.get(request.endpoint)
        if handler is None:
            self.model.breach(request, "no such call")
            return refused("Path not found.", 404)
        before = len(self.model.breaches)
        answer = handler(self, request)
        if answer.status >= 400 and len(self.model.breaches) == before and request.endpoint != "GET previous":
            self.model.breach(request, f"answered {answer.status} {answer.body!r}")
        return answer

    def ended(self) -> None:
        with self.model.lock:
            self.model.busy.discard(self.key[:2])
            if not self.finished:
                self.model.snapshots.pop(self.key, None)

    # Calls.

    def _previous_time(self, request: Request) -> Answer:
        return said(self.base)

    def _previous(self, request: Request) -> Answer:
        name = request.query.get("archive-name", "")
        self.previous.append(name)
        if self.base is None:
            self.model.breach(request, "there is no previous snapshot")
            return refused("no previous backup")
        data = self.model.snapshots[self.key[0], self.key[1], self.base].get(name)
        if data is None:
            return refused("no such file", 404 if name.endswith(".blob") else 400)
        if not name.endswith(".blob"):
            self.known.update(objects.known_lengths(data))
        return file_of(data)

    def _create(self, request: Request) -> Answer:
        is_fixed = request.path.endswith("fixed_index")
        value = request.parameters
        name = value.get("archive-name", "")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*\." + ("fidx" if is_fixed else "didx"), name):
            return refused("wrong archive name")
        if name in self.indexes or any(w.name == name for w in self.writers.values()):
            return refused("twice the same index")
        self.last_wid += 1
        self.writers[self.last_wid] = _Writer(name, is_fixed, int(value.get("size", 0)))
        return said(self.last_wid)

    def _chunk(self, request: Request) -> Answer:
        is_fixed = request.path.endswith("fixed_chunk")
        q = request.query
        if set(q) != {"wid", "digest", "size", "encoded-size"}:
            return refused("wrong parameters")
        writer = self.writers.get(int(q["wid"]))
        if writer is None or writer.is_fixed != is_fixed:
            return refused("no such writer")
        size, encoded = int(q["size"]), int(q["encoded-size"])
        if not re.fullmatch("[a-f0-9]{64}", q["digest"]) or not 1 <= size <= 16 << 20 or not 13 <= encoded <= ENCODED_MAX:
            return refused("parameter verification failed")
        if encoded != len(request.body):
            return refused(f"{len(request.body)} bytes, announced {encoded}")
        digest = bytes.fromhex(q["digest"])
        magic = request.body[:8]
        if magic in (objects.PLAIN, objects.ZSTD):
            try:
                content = objects.opened(request.body)
            except objects.Broken as error:
                return refused(str(error))
            if hashlib.sha256(content).digest() != digest or len(content) != size:
                return refused("digest or size is wrong")
        elif magic not in (objects.ENCRYPTED, objects.ENCRYPTED_ZSTD) or len(request.body) < 44:
            return refused("no blob")
        if digest in writer.uploaded:
            self.model.breach(request, "the same chunk twice for one index")
        if digest in self.known and self.previous:
            self.model.breach(request, "a chunk that is known already")
        writer.uploaded.add(digest)
        self.model.chunks.setdefault(digest, request.body)
        self.known[digest] = size
        return said(q["digest"])

    def _append(self, request: Request) -> Answer:
        is_fixed = request.path.endswith("fixed_index")
        value = request.parameters
        writer = self.writers.get(int(value["wid"]))
        if writer is None or writer.is_fixed != is_fixed:
            return refused("no such writer")
        writer.appends -= 1
        digests, offsets = value["digest-list"], value["offset-list"]
        if len(digests) != len(offsets) or not digests:
            return refused("lists of other lengths, or empty")
        if len(digests) > BATCH_MAX or len(request.body) >= 65536:
            self.model.breach(request, f"{len(digests)} entries in {len(request.body)} bytes")
        for text, offset in zip(digests, offsets, strict=True):
            digest = bytes.fromhex(text)
            if digest not in self.known:
                return refused(f"chunk {text} is not known")
            size = self.known[digest]
            if is_fixed:
                if offset % objects.FIXED_CHUNK or offset + size > writer.size:
                    return refused(f"offset {offset}")
                if size != objects.FIXED_CHUNK and offset + size != writer.size:
                    return refused("a short chunk in the middle")
                if offset in writer.slots:
                    return refused(f"offset {offset} twice")
                writer.slots[offset] = digest
            else:
                if offset != writer.end:
                    return refused(f"offset {offset} at {writer.end}")
                writer.entries.append((writer.end + size, digest))
        return said(None)

    def _close(self, request: Request) -> Answer:
        is_fixed = request.path.endswith("fixed_close")
        value = request.parameters
        wid = int(value["wid"])
        writer = self.writers.get(wid)
        if writer is None or writer.is_fixed != is_fixed:
            return refused("no such writer")
        if writer.appends:
            self.model.breach(request, "close while an append is under way")
        if is_fixed:
            digests = [digest for _, digest in sorted(writer.slots.items())]
            count, size, csum = len(digests), writer.size, objects.fixed_csum(digests)
            data = objects.fixed_index(digests, size) if len(digests) == -(-size // objects.FIXED_CHUNK) else b""
        else:
            count, size, csum = len(writer.entries), writer.end, objects.dynamic_csum(writer.entries)
            data = objects.dynamic_index(writer.entries)
        told = int(value["chunk-count"]), int(value["size"]), value["csum"]
        if told != (count, size, csum) or not data or (not is_fixed and count < 1):
            return refused(f"closed with {told}, has {(count, size, csum)}")
        del self.writers[wid]
        self.indexes[writer.name] = size, csum
        self.files[writer.name] = data
        return said(None)

    def _blob(self, request: Request) -> Answer:
        q = request.query
        name = q.get("file-name", "")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.blob", name) or set(q) != {"file-name", "encoded-size"}:
            return refused("parameter verification failed")
        if int(q["encoded-size"]) != len(request.body):
            return refused("another length than announced")
        magic = request.body[:8]
        if magic in (objects.PLAIN, objects.ZSTD):
            try:
                objects.opened(request.body)
            except objects.Broken as error:
                return refused(str(error))
        elif magic not in (objects.ENCRYPTED, objects.ENCRYPTED_ZSTD):
            return refused("no blob")
        if name in self.files:
            return refused("twice the same blob")
        self.files[name] = request.body
        return said(None)

    def _finish(self, request: Request) -> Answer:
        if self.writers or MANIFEST not in self.files or self.finished:
            return refused("not ready to finish")
        manifest = json.loads(objects.opened(self.files[MANIFEST]))
        told = manifest["backup-type"], manifest["backup-id"], manifest["backup-time"]
        if told != self.key:
            return refused(f"the manifest is of {told}")
        listed = {f["filename"]: (f["size"], f["csum"]) for f in manifest["files"]}
        mine = {
            name: self.indexes.get(name) or (len(data), hashlib.sha256(data).hexdigest())
            for name, data in self.files.items() if name != MANIFEST
        }  # fmt: skip
        if listed != mine or len(listed) != len(manifest["files"]):
            return refused(f"the manifest lists {sorted(listed)}, uploaded were {sorted(mine)}")
        names = [f["filename"] for f in manifest["files"]]
        for name in names:
            if name.endswith(".mpxar.didx"):
                payload = name.replace(".mpxar.", ".ppxar.")
                if payload in names and names.index(payload) > names.index(name):
                    self.model.breach(request, "metadata before payload in the manifest")
        self.finished = True
        self.model.snapshots[self.key] = self.files
        return said(None)

    def _speedtest(self, request: Request) -> Answer:
        return said(None)

    _handlers: Mapping[str, Callable[[Backup, Request], Answer]] = {
        "GET previous_backup_time": _previous_time,
        "GET previous": _previous,
        "POST dynamic_index": _create,
        "PUT dynamic_index": _append,
        "POST dynamic_chunk": _chunk,
        "POST dynamic_close": _close,
        "POST fixed_index": _create,
        "PUT fixed_index": _append,
        "POST fixed_chunk": _chunk,
        "POST fixed_close": _close,
        "POST blob": _blob,
        "POST finish": _finish,
        "POST speedtest": _speedtest,
    }


def shape(request: Request) -> str:
    """A request as the transcript shows it, with numbers and digests left out: `POST /dynamic_chunk?digest=D&...`."""
    text = re.sub(r"=[0-9a-f]{64}\b", "=D", f"{request.method} {request.target}")
    return re.sub(r"=\d+\b", "=N", text)


def kinds(requests: Iterable[Request]) -> list[str]:
    """Content types in short, as in the transcript."""
    short = {FORM: "form", BINARY: "bin", JSON: "json"}
    return [short.get(request.header("content-type") or "", "-") for request in requests]


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
