"""What all kinds of sources have in common (sources/ holds the kinds)."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..tree import Tree


class SourceFailed(Exception):
    """This source is no good here; the next one is tried."""


class Unreachable(SourceFailed):
    """Its machine does not answer: asking it for anything else is no use either."""


@dataclass(frozen=True)
class Found:
    """What a source put into the root."""

    text: str  # which source, in words
    order: str  # in which order the entries were created
    commit_seconds: int | None = None  # the time of its commit; None: it has none
    keep: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    tree: Tree | None = None
    timed: bool = False  # the mtime policy was applied already


def needs(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            raise SourceFailed(f"{tool} is not installed")


def reachable(url: str, seconds: float) -> None:
    """A connection is tried first: git itself has no limit for connecting."""
    parts = urlsplit(url)
    proxy = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY") or os.environ.get("ALL_PROXY")
    if proxy:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), seconds).close()
    except OSError as error:
        raise Unreachable(f"{host} cannot be reached: {error}") from None


def sync_file(path: Path) -> None:
    """The file and its name are on disk when this returns."""
    for place, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        fd = os.open(place, flags)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
