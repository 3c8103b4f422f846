"""Our own program with a server between it and the store: one that is started here, or one that is somewhere else.

Through the loopback the store is a folder of the harness's as ever: it is listed, rewound and looked into from outside. On a
server somewhere else snapshots are forgotten instead, one by one; their chunks stay, so what is stored says nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from .. import run
from ..wire.accounts import Account
from ..wire.serve import TOKEN, Serving, Setup
from .base import Outcome, Settings
from .pxarbench import Pxarbench

_LOOPBACK = re.compile(r"loopback(?::(\d+(?:\.\d+)?)ms(?:,(\d+))?)?")


def server_words(text: str) -> tuple[str, ...]:
    """Of `pxarbench serve`, for "loopback", "loopback:RTTms", "loopback:RTTms,MBIT". ValueError."""
    match = _LOOPBACK.fullmatch(text)
    if match is None:
        raise ValueError(f"server {text}: expected loopback, loopback:RTTms or loopback:RTTms,MBIT, e.g. loopback:30ms,1000")
    latency = ("--latency", match[1] + "ms") if match[1] else ()
    return (*latency, *(("--bandwidth", match[2]) if match[2] else ()))


class Served(Pxarbench):
    """Over TLS to `pxarbench serve` of the same build, one server per store."""

    _serving: Serving | None = None

    @property
    def repository(self) -> str:
        assert self._serving is not None
        return self._serving.repository()

    @property
    def environment(self) -> Mapping[str, str]:
        assert self._serving is not None
        return self._serving.environment()

    def described(self) -> dict[str, str]:
        return {**super().described(), "server": self.settings.server}

    def create(self) -> None:
        super().create()
        # What the client promises is on disk when it ends: so must the server's.
        sync = self.settings.sync_level or "filesystem"
        setup = Setup((Account(TOKEN, secrets.token_hex(16)),), sync=sync, words=server_words(self.settings.server))
        self._serving = Serving(self.binary, self.store, setup)

    def close(self) -> None:
        if self._serving is not None:
            serving, self._serving = self._serving, None
            serving.close()


class Elsewhere(Pxarbench):
    """On a server somewhere else. Backup ids are drawn from the store's folder, so that sessions do not meet."""

    rewinds = "forget"

    def __init__(self, mode: str, home: Path, settings: Settings) -> None:
        super().__init__(mode, home, settings)
        self._id = f"bench-{mode}-" + hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
        self._made: list[str] = []

    @property
    def repository(self) -> str:
        return self.settings.repository

    @property
    def backup_id(self) -> str:
        return self._id

    def described(self) -> dict[str, str]:
        return {**super().described(), "server": "elsewhere", "backup_id": self._id}

    def state(self) -> list[Path]:
        return []

    def create(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)

    def outcome(self, output: bytes) -> Outcome:
        outcome = super().outcome(output)
        self._made.append(outcome.snapshot)
        return outcome

    def kept(self) -> int:
        return len(self._made)

    def forget_since(self, kept: int) -> None:
        while len(self._made) > kept:
            snapshot = self._made.pop()
            run.run([self.binary, "snapshot", "forget", snapshot, "--repository", self.repository]).check_ok()

    def close(self) -> None:
        self.forget_since(0)


def through(settings: Settings) -> type[Pxarbench]:
    """The class of pxarbench's subjects with these settings."""
    if settings.server:
        return Served
    return Elsewhere if settings.repository else Pxarbench
