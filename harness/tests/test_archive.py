"""archive.py with the program itself: honest archives pass, each planted fault in store or report is named."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import archive, run
from pxarbench_harness.subjects import Outcome, Pxarbench, Settings

FILES = 40


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(FILES):
        (root / f"file{number:02d}").write_bytes(hashlib.shake_128(b"%d" % number).digest(9000 + 1000 * number))
    return root


class Made:
    def __init__(self, subject: Pxarbench, tree: Path, decisions: Path) -> None:
        self.subject, self.tree, self.decisions = subject, tree, decisions
        self.at = 1_700_000_000

    def backup(self) -> Outcome:
        self.at += 1
        command = self.subject.backup(self.tree, self.at, self.decisions)
        return self.subject.outcome(run.run(command.argv).check_ok().stdout)

    def problems(self, outcome: Outcome) -> list[str]:
        return archive.problems(self.subject.store, outcome, self.decisions, archive.Headers())


@pytest.fixture(params=["data", "metadata", "metadata-upstream", "metadata-stored"])
def made(request: pytest.FixtureRequest, pxarbench: Path, tree: Path, tmp_path: Path) -> Made:
    settings = Settings(binary=pxarbench, extra=("--chunk-size", "64", "--sync-level", "none"))
    subject = Pxarbench(request.param, tmp_path / "home", settings)
    subject.create()
    return Made(subject, tree, tmp_path / "decisions")


def test_honest_archives_pass(made: Made, tree: Path) -> None:
    assert made.problems(made.backup()) == []
    for number in range(0, FILES, 9):
        (tree / f"file{number:02d}").write_bytes(b"other")
    (tree / "file13").unlink()
    outcome = made.backup()
    assert made.problems(outcome) == []
    if not made.subject.reads_everything:
        assert outcome.reference == "used" and (outcome.padding_bytes or 0) > 0


def test_headers_that_are_known_are_not_read_again(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = archive.Headers()
    assert archive.problems(made.subject.store, made.backup(), made.decisions, headers) == []
    assert len(headers.known) >= FILES - 1  # one may lie across two chunks
    again = made.backup()
    read: list[bytes] = []
    original = archive.Chunks.read
    monkeypatch.setattr(archive.Chunks, "read", lambda self, digest: (read.append(digest), original(self, digest))[1])
    assert archive.problems(made.subject.store, again, made.decisions, headers) == []
    assert len(read) <= 3, "the metadata stream, and what is new"


def newest(made: Made, suffix: str) -> Path:
    found = max(made.subject.store.glob(f"host/*/*/root.{suffix}.didx"))
    found.chmod(0o600)
    return found


def _flip_index(made: Made, outcome: Outcome) -> Outcome:
    path = newest(made, "ppxar")
    data = bytearray(path.read_bytes())
    data[4096 + 8] ^= 1
    path.write_bytes(data)
    return outcome


def _other_chunk(made: Made, outcome: Outcome) -> Outcome:
    """An index that is right in itself, but names chunks in another order."""
    path = newest(made, "ppxar")
    data = path.read_bytes()
    rows = list(struct.iter_unpack("<Q32s", data[4096:]))
    digests = [digest for _, digest in rows]
    body = b"".join(struct.pack("<Q32s", end, digest) for (end, _), digest in zip(rows, reversed(digests), strict=True))
    path.write_bytes(data[:32] + hashlib.sha256(body).digest() + data[64:4096] + body)
    return replace(outcome, checksums={**outcome.checksums, "payload": hashlib.sha256(body).hexdigest()})


def _lost_decision(made: Made, outcome: Outcome) -> Outcome:
    made.decisions.write_bytes(b"".join(made.decisions.read_bytes().splitlines(keepends=True)[1:]))
    return outcome


def _other_checksum(made: Made, outcome: Outcome) -> Outcome:
    return replace(outcome, checksums={**outcome.checksums, "payload": "0" * 64})


def _lost_snapshot(made: Made, outcome: Outcome) -> Outcome:
    newest(made, "mpxar").unlink()
    return outcome


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (_flip_index, "the header has another checksum than the entries"),
        (_other_chunk, "hits no header of its size"),
        (_lost_decision, "39 decisions and 40 references"),
        (_other_checksum, "the program tells other checksums than the indexes have"),
        (_lost_snapshot, "FileNotFoundError"),
    ],
    ids=["index", "chunk", "decision", "checksum", "snapshot"],
)
def test_fault_is_named(made: Made, plant: Callable[[Made, Outcome], Outcome], says: str) -> None:
    outcome = plant(made, made.backup())
    problems = made.problems(outcome)
    assert any(says in text for text in problems), problems


def test_wrong_counts_of_padding_are_named(made: Made, tree: Path) -> None:
    made.backup()
    (tree / "file13").unlink()
    outcome = made.backup()
    if made.subject.reads_everything:
        pytest.skip("reads everything")
    (told,) = outcome.raw["archives"]
    lying: dict[str, Any] = {**outcome.raw, "archives": [{**told, "padding_bytes": told["padding_bytes"] + 1}]}
    problems = made.problems(replace(outcome, raw=lying))
    assert any("padding_bytes, the index has" in text for text in problems), problems
