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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from .. import run
from ..wire import apart
from ..wire.accounts import Account
from ..wire.serve import TOKEN, ServerFailed, Serving, Setup
from .base import Command, Outcome, Settings, SubjectFailed
from .pxarbench import Pxarbench

if TYPE_CHECKING:
    from ..wire.tap import Tap

_SERVER = re.compile(r"(loopback|netem)(?::(\d+(?:\.\d+)?)ms(?:,(\d+))?)?")

#: What people have between client and server: round trip time, bandwidth in Mbit/s.
_NAMED = {"near": "", "lan": ":0.3ms,10000", "wan": ":30ms,1000", "far": ":100ms,1000"}
#: Names of lines: modelled by the server, or made by the kernel.
LINES: Mapping[str, str] = {
    **{name: f"loopback{what}" for name, what in _NAMED.items()}, **{f"netem-{name}": f"netem{what}" for name, what in _NAMED.items()},
}  # fmt: skip
#: Those that need no rights.
MODELLED = tuple(_NAMED)


@dataclass(frozen=True)
class Line:
    """What lies between a client and its server. netem: the kernel delays what is between two network namespaces (wire/apart.py);
    loopback: nothing does, or the server models it."""

    kind: str
    rtt_ms: str = ""  # "": what the machine needs
    mbit: str = ""  # "": what it can

    @property
    def text(self) -> str:
        return self.kind + (f":{self.rtt_ms}ms" if self.rtt_ms else "") + (f",{self.mbit}" if self.mbit else "")


def line_of(text: str) -> Line:
    """"loopback", "loopback:RTTms", "loopback:RTTms,MBIT", or "loopback:wan" and the like; the same with netem. ValueError."""
    kind, _, name = text.partition(":")
    match = _SERVER.fullmatch(kind + _NAMED[name] if name in _NAMED else text)
    if match is None:
        raise ValueError(
            f"server {text}: expected loopback, loopback:RTTms or loopback:RTTms,MBIT, e.g. loopback:30ms,1000; or a name: "
            + ", ".join(f"loopback:{name}" for name in _NAMED)
        )
    return Line(match[1], match[2] or "", match[3] or "")


def server_words(text: str) -> tuple[str, ...]:
    """Of `pxarbench serve`, for what `line_of` takes. ValueError."""
    line = line_of(text)
    if line.kind != "loopback":
        return ()
    # Durations there are whole numbers of a unit.
    latency = ("--latency", f"{round(float(line.rtt_ms) * 1000)}us") if line.rtt_ms else ()
    return (*latency, *(("--bandwidth", line.mbit) if line.mbit else ()))


class Served(Pxarbench):
    """Over TLS to `pxarbench serve` of the same build, one server per store."""

    #: As Settings.server, which it stands in for. "": that one.
    line: ClassVar[str] = ""
    _serving: Serving | None = None
    _apart: apart.Apart | None = None

    @classmethod
    def missing(cls, settings: Settings) -> str:
        found = super().missing(settings)
        line = line_of(cls.line or settings.server)
        return found or (apart.missing() if line.kind == "netem" and (line.rtt_ms or line.mbit) else "")

    @property
    def repository(self) -> str:
        assert self._serving is not None
        return self._serving.repository()

    @property
    def environment(self) -> Mapping[str, str]:
        assert self._serving is not None
        return self._serving.environment()

    @property
    def start(self) -> tuple[str, ...]:
        return (*(self._apart.client if self._apart is not None else ()), *super().start)

    @property
    def sync_words(self) -> tuple[str, ...]:
        """It is the server that writes: `create`."""
        return ()

    def described(self) -> dict[str, str]:
        return {**super().described(), "server": line_of(self._line).text}

    @property
    def _line(self) -> str:
        return self.line or self.settings.server

    def create(self) -> None:
        super().create()
        # What the client promises is on disk when it ends: so must the server's.
        sync = self.settings.sync_level or "filesystem"
        setup = Setup((Account(TOKEN, secrets.token_hex(16)),), sync=sync, words=server_words(self._line))
        line = line_of(self._line)
        try:
            if line.kind == "netem":
                self._apart = apart.Apart(line.rtt_ms, line.mbit)
                setup = replace(setup, address=apart.SERVER, before=self._apart.server)
            self._serving = Serving(self.binary, self.store, setup)
        except (apart.NotApart, ServerFailed) as error:
            raise SubjectFailed(f"{self.name}: {error}") from None

    def close(self) -> None:
        serving, self._serving = self._serving, None
        between, self._apart = self._apart, None
        try:
            if serving is not None:
                serving.close()
        except ServerFailed as error:
            raise SubjectFailed(f"{self.name}: {error}") from None
        finally:
            if between is not None:
                between.close()


class Heard(Served):
    """The same, and somebody listens on the line: `Outcome.calls` of a backup, and of a restore what begins with `wire_` in
    `restore_cost`. Restores of one store at the same time cannot be told apart."""

    _tap: Tap | None = None
    _mark = 0
    _restored_calls: Mapping[str, int] = {}

    @property
    def repository(self) -> str:
        assert self._serving is not None and self._tap is not None
        return self._serving.repository(port=self._tap.port)

    def described(self) -> dict[str, str]:
        return {**super().described(), "line": "listened to"}

    def create(self) -> None:
        from ..wire.tap import Tap

        super().create()
        assert self._serving is not None
        self._tap = Tap(self._serving.port, self.store / ".pxarbench", self.home / "heard.jsonl")

    def _heard(self) -> dict[str, int]:
        from ..wire.overheard import counted

        assert self._tap is not None
        return counted(self._tap.log.since(self._mark))

    def backup(self, tree: Path, backup_time: int, decisions: Path | None = None) -> Command:
        assert self._tap is not None
        self._mark = self._tap.log.mark()
        return super().backup(tree, backup_time, decisions)

    def outcome(self, output: bytes) -> Outcome:
        return replace(super().outcome(output), calls=self._heard())

    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        assert self._tap is not None
        self._mark = self._tap.log.mark()
        root = super().restore(outcome, tree, target)
        self._restored_calls = {f"wire_{name}": number for name, number in self._heard().items()}
        return root

    def restore_cost(self) -> Mapping[str, int]:
        return {**super().restore_cost(), **self._restored_calls}

    def close(self) -> None:
        if self._tap is not None:
            tap, self._tap = self._tap, None
            tap.close()
        super().close()


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


def behind(name: str) -> type[Served]:
    """The subject "pxarbench@NAME" behind a line of LINES."""
    text = LINES[name]
    return type(f"Pxarbench_{name}", (Served,), {"name": f"{Pxarbench.name}@{name}", "line": text})


def through(settings: Settings) -> type[Pxarbench]:
    """The class of pxarbench's subjects with these settings."""
    if settings.server:
        return Heard if settings.listens else Served
    return Elsewhere if settings.repository else Pxarbench
