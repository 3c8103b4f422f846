"""Our client against the scripted server: what its tests share.
The fixtures `peer` and `user` are those of conftest.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backup_tools import noise, settle
from wire_tools import Client

from pxarbench_harness import run
from pxarbench_harness.tree import differences, scan
from pxarbench_harness.wire import objects
from pxarbench_harness.wire.peer import Peer
from pxarbench_harness.wire.peer_model import Answer, Model, Request
from pxarbench_harness.wire.peer_model import refused as refusal

T1, T2, T3 = 1_600_000_000, 1_600_000_100, 1_600_000_200
NAME_OF = {T1: "2020-09-13T12:26:40Z", T2: "2020-09-13T12:28:20Z", T3: "2020-09-13T12:30:00Z"}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the peer's certificate: made once."""
    folder = tmp_path_factory.mktemp("peer")
    Peer(folder).close()
    return folder


@pytest.fixture
def peer(certificate: Path) -> Iterator[Peer]:
    with Peer(certificate) as peer:
        yield peer
    assert peer.failures == [], peer.failures


@pytest.fixture
def user(pxarbench: Path, peer: Peer, tmp_path: Path) -> Client:
    """Our client, told about the peer."""
    return Client(pxarbench, peer.repository, peer.environment(), tmp_path)


def change(tree: Path, number: int = 1) -> None:
    (tree / "d1" / f"new{number}").write_bytes(noise(f"new{number}", 100_000))
    settle(tree)


def good(user: Client, peer: Peer, tree: Path, at: int, *more: str, mode: str = "data", **options: Any) -> Any:
    """A backup that must succeed without breaking a rule; its statistics."""
    result, stats = user.backup(tree, at, *more, mode=mode, **options)
    result.check_ok()
    peer.settle()
    assert (peer.model.breaches, peer.failures) == ([], [])
    assert ("host", "me", at) in peer.model.snapshots
    return stats


def check_restore(user: Client, peer: Peer, tree: Path, at: int, target: Path) -> None:
    user.restore(f"host/me/{NAME_OF[at]}", target).check_ok()
    peer.settle()
    assert (peer.model.breaches, peer.failures) == ([], [])
    assert differences(scan(tree), scan(target)) == []


def not_stored(peer: Peer, at: int) -> None:
    peer.settle()
    assert ("host", "me", at) not in peer.model.snapshots


def manifest_of(peer: Peer, at: int) -> Any:
    return json.loads(objects.opened(peer.model.snapshots["host", "me", at]["index.json.blob"]))


def asked(peer: Peer, place: str = "") -> list[Request]:
    return peer.model.asked(place)


def only(endpoint: str, answer: Answer, k: int = 0) -> Any:
    """A rule for the k-th call of an endpoint (from 1), or for all."""
    seen = 0

    def rule(request: Request) -> Answer | None:
        nonlocal seen
        if request.endpoint != endpoint:
            return None
        seen += 1
        return answer if k in (0, seen) else None

    return rule


def run_words(result: run.Result) -> str:
    return result.stderr.decode(errors="replace")


__all__ = [
    "Answer", "Model", "NAME_OF", "T1", "T2", "T3", "asked", "certificate", "change", "check_restore", "good", "manifest_of",
    "not_stored", "only", "peer", "refusal", "run_words", "user",
]  # fmt: skip
