"""Whole snapshots by calls of the scripted client: what most tests need before they can begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import objects
from .client import Reply, Session
from .objects import Chunk

MANIFEST = "index.json.blob"


@dataclass
class Upload:
    """An index while it is written."""

    session: Session
    name: str
    wid: int
    entries: list[objects.Entry]

    @classmethod
    def begin(cls, session: Session, name: str) -> Upload:
        return cls(session, name, session.post(f"/dynamic_index?archive-name={name}").data, [])

    @property
    def end(self) -> int:
        return self.entries[-1][0] if self.entries else 0

    def put(self, chunk: Chunk) -> Reply:
        return self.session.post(f"/dynamic_chunk?{chunk.query(self.wid)}", chunk.encoded)

    def append(self, chunks: Sequence[Chunk]) -> Reply:
        """Known chunks, behind what is there."""
        offsets, end = [], self.end
        for chunk in chunks:
            offsets.append(end)
            end += len(chunk.raw)
            self.entries.append((end, chunk.digest))
        value = {"digest-list": [c.name for c in chunks], "offset-list": offsets, "wid": self.wid}
        return self.session.put_json("/dynamic_index", value)

    @property
    def closing(self) -> dict[str, object]:
        return {"chunk-count": len(self.entries), "csum": objects.dynamic_csum(self.entries), "size": self.end, "wid": self.wid}

    def close(self, **other: object) -> Reply:
        values = {**self.closing, **{name.replace("_", "-"): value for name, value in other.items()}}
        query = "&".join(f"{name}={value}" for name, value in values.items())
        return self.session.post(f"/dynamic_close?{query}")

    @property
    def listed(self) -> tuple[str, int, str]:
        return self.name, self.end, objects.dynamic_csum(self.entries)


def index(session: Session, name: str, chunks: Sequence[Chunk]) -> Upload:
    """Uploaded, appended, closed; every reply good."""
    upload = Upload.begin(session, name)
    for chunk in dict.fromkeys(chunks):
        assert upload.put(chunk).data == chunk.name
    assert upload.append(chunks).data is None
    assert upload.close().data is None
    return upload


def blob(session: Session, name: str, data: bytes) -> Reply:
    return session.post(f"/blob?encoded-size={len(data)}&file-name={name}", data)


def finish(session: Session, id: str, time: int, files: Sequence[tuple[str, int, str]], kind: str = "host") -> None:
    value = objects.manifest(kind, id, time, files)
    assert blob(session, MANIFEST, objects.manifest_blob(value)).data is None
    assert session.post("/finish").data is None


def snapshot(
    session: Session, id: str, time: int, archives: Mapping[str, Sequence[Chunk]], kind: str = "host"
) -> dict[str, list[objects.Entry]]:
    """All of it; the session is closed at the end. The entries of every index."""
    uploads = [index(session, name, chunks) for name, chunks in archives.items()]
    finish(session, id, time, [upload.listed for upload in uploads], kind)
    session.close()
    return {upload.name: upload.entries for upload in uploads}
