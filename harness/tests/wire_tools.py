"""What tests of the wire share: a server per test, the transcript of bench/spec/protocol.md 17, small snapshots.

    def test_x(server: Server) -> None: ...                       # a good server with an empty datastore
    def test_y(starts: Starts) -> None:
        server = starts(faults=["streams=1"])                 # another one, stopped at the end of the test
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import run
from pxarbench_harness.wire import objects, whole
from pxarbench_harness.wire.client import Reply, Session
from pxarbench_harness.wire.objects import Chunk, plain_chunk
from pxarbench_harness.wire.spoken import OWNER, Account, Server, Setup

#: All points of all loops: cuts, sizes, sessions. Without it the tests take samples.
FULL = os.environ.get("PXB_WIRE") == "full"

Starts = Callable[..., Server]

T0, T1 = 1_700_000_000, 1_700_000_060  # of the transcript

M1, M2 = plain_chunk(b"metadata-first\n"), plain_chunk(b"metadata-second\n")
C1, C2, C3 = (plain_chunk(b"payload-chunk-%s\n" % which) for which in (b"one", b"two", b"three"))

#: As printed in the transcript.
BLOBS = {
    M1: "42ab3807be8370a1e411e31f6d657461646174612d66697273740a",
    C1: "42ab3807be8370a1076cf5507061796c6f61642d6368756e6b2d6f6e650a",
    C2: "42ab3807be8370a1ecccf53e7061796c6f61642d6368756e6b2d74776f0a",
    C3: "42ab3807be8370a1816bd7da7061796c6f61642d6368756e6b2d74687265650a",
    M2: "42ab3807be8370a16b860b7a6d657461646174612d7365636f6e640a",
}
DIGESTS = {
    M1: "34c9f7cf822077ba1521da3a08b47d13279bbaa7572916f4f3dde67cbf009566",
    C1: "1416cd46684f8ef515aae138421d690b3578cd79e781c29feaa14f18853ebc10",
    C2: "7db711eadc53006696f08b3177609029d817e62151abfd308f7db079a855d323",
    C3: "c23ab4deeac61f5b5164a5c76f37571f32deb06afdbdbc88f2b251983e90b2f0",
    M2: "c022bb7a50a05eb51491558bed34f9628c14f701a1c9d4ead1de10a04aa67f66",
}
CSUMS = {
    "base mpxar": "c55a0261c0b0b13fc9286e281e9126dd398502abaa76f42487de01479b4095e8",
    "base ppxar": "e71f18c9b349982de8baf36ae859ddd2a8f0018c0c63e878491504cf82563b87",
    "new mpxar": "425b1c52c52f73e676a20d09c8b7339b39452445a74fb10a63c09fd50413327d",
    "new ppxar": "d314a8950872cd699205447c4a7f82c500404cd6bfb5408f751b7ffa474e45b8",
}
INDEXES = {"base mpxar": [M1], "base ppxar": [C1, C2], "new mpxar": [M2], "new ppxar": [C1, C3]}


def manifest_text(time: int, payload: tuple[int, str], metadata: tuple[int, str]) -> bytes:
    """To the byte as in the transcript."""
    files = [
        {"crypt-mode": "none", "csum": csum, "filename": f"root.{name}.didx", "size": size}
        for name, (size, csum) in (("ppxar", payload), ("mpxar", metadata))
    ]
    value = {
        "backup-id": "demo", "backup-time": time, "backup-type": "host", "files": files, "signature": None, "unprotected": {},
    }  # fmt: skip
    return json.dumps(value, indent=2).encode()


BASE_MANIFEST = manifest_text(T0, (36, CSUMS["base ppxar"]), (15, CSUMS["base mpxar"]))
NEW_MANIFEST = manifest_text(T1, (38, CSUMS["new ppxar"]), (16, CSUMS["new mpxar"]))


def make_base(server: Server) -> None:
    """The finished snapshot that the transcript begins with (17.3)."""
    session = server.backup(T0)
    assert session.get("/previous_backup_time").data is None
    uploads = [whole.index(session, "root.mpxar.didx", [M1]), whole.index(session, "root.ppxar.didx", [C1, C2])]
    assert [upload.wid for upload in uploads] == [1, 2]
    assert whole.blob(session, whole.MANIFEST, objects.blob(BASE_MANIFEST)).data is None
    assert session.post("/finish").data is None
    session.close()


# ---- fixtures ----


@pytest.fixture
def starts(pxarbench: Path, tmp_path: Path) -> Iterator[Starts]:
    """Starts servers: starts("--word", faults=["name=value"], accounts=(...), datastore=...)."""
    with ExitStack() as stack:
        count = 0

        def start(
            *words: str, faults: Sequence[str] = (), accounts: tuple[Account, ...] = (OWNER,), datastore: Path | None = None,
            store: str = "store1",
        ) -> Server:  # fmt: skip
            nonlocal count
            count += 1
            all_words = (*words, *(word for fault in faults for word in ("--fault", fault)))
            setup = Setup(accounts, store, words=all_words)
            return stack.enter_context(Server(pxarbench, datastore or tmp_path / f"datastore-{count}", setup))

        yield start


@pytest.fixture
def server(starts: Starts) -> Server:
    return starts()


@pytest.fixture
def based(server: Server) -> Server:
    """With the transcript's base snapshot."""
    make_base(server)
    return server


# ---- what is looked at again and again ----


def refused(reply: Reply, status: int = 400) -> str:
    """The status, and a body of bare text (5.2)."""
    assert reply.status == status, (reply.status, reply.body)
    text = reply.text
    assert text and len(reply.body) <= 65536 and "\0" not in text, reply
    try:
        assert not isinstance(json.loads(text), dict), f"an error in JSON: {text}"
    except ValueError:
        pass
    return text


def json_of(reply: Reply) -> Any:
    """Of a good answer to a call with data."""
    assert reply.headers["content-type"] == "application/json;charset=UTF-8", reply
    return reply.data


def snapshot_state(server: Server) -> dict[str, str]:
    """Digest of every file of every snapshot, and the owners."""
    found = {}
    for kind in ("host", "vm", "ct", "ns"):
        for path in (server.datastore / kind).rglob("*"):
            if path.is_file():
                found[str(path.relative_to(server.datastore))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def outside(tmp_path: Path, server: Server) -> list[str]:
    """Names beside the datastore, to see that nothing was made there."""
    return sorted(path.name for path in server.datastore.parent.iterdir())


def open_descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def chunks_of(session: Session, upload: whole.Upload, chunks: Sequence[Chunk]) -> list[Reply]:
    """Uploads all of them at once."""
    ids = [
        session.submit("POST", f"/dynamic_chunk?{chunk.query(upload.wid)}", body=chunk.encoded, content_type=whole_binary)
        for chunk in chunks
    ]
    return session.wait(*ids)


whole_binary = "application/octet-stream"


def side_by_side(work: Sequence[Callable[[], None]]) -> None:
    """Each in a thread of its own; the first failure is raised."""
    failures: list[BaseException] = []

    def one(action: Callable[[], None]) -> None:
        try:
            action()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(action,), daemon=True) for action in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "hangs"
    if failures:
        raise failures[0]


# ---- our client ----


class Client:
    """Runs the program with a remote repository."""

    def __init__(self, program: Path, repository: str, environment: dict[str, str], scratch: Path) -> None:
        self.program, self.repository, self.environment, self.scratch = program, repository, environment, scratch

    def run(
        self, *words: str | os.PathLike[str], env: dict[str, str] | None = None, timeout: float = 20, **options: Any
    ) -> run.Result:
        """As on the command line; PBS_REPOSITORY names the server."""
        all_env = {"PBS_REPOSITORY": self.repository, **self.environment, **(env or {})}
        result = run.run([self.program, *words], env=all_env, timeout=timeout, **options)
        assert not result.timed_out, f"hangs: {result}"
        assert not run.sanitizer_spoke(result.stderr.decode(errors="replace")), result
        return result

    def backup(
        self, tree: Path, at: int, *more: str | os.PathLike[str], mode: str = "data", id: str = "me", **options: Any
    ) -> tuple[run.Result, Any]:
        """With its statistics."""
        stats = self.scratch / f"stats-{at}.json"
        stats.unlink(missing_ok=True)
        words = ["backup", f"root.pxar:{tree}", "--backup-id", id, "--backup-time", str(at), "--chunk-size", "64"]
        result = self.run(*words, "--stats", stats, "--change-detection-mode", mode, *more, **options)
        return result, json.loads(stats.read_text()) if stats.exists() else None

    def restore(self, snapshot: str, target: Path, *more: str | os.PathLike[str], **options: Any) -> run.Result:
        return self.run("restore", snapshot, "root.pxar", target, *more, **options)


def client_of(program: Path, server: Server, scratch: Path, port: int = 0) -> Client:
    return Client(program, server.repository(port=port), server.environment(), scratch)


def said(result: run.Result, code: int = 1) -> str:
    """The one sentence of a failed run."""
    assert result.returncode == code, (result.returncode, result.stderr.decode(errors="replace")[-3000:])
    lines = result.stderr.decode().splitlines()
    found = [line for line in lines if line.startswith("error: ")]
    assert len(found) == 1 and lines[-1] == found[0], lines[-20:]
    return found[0].removeprefix("error: ")
