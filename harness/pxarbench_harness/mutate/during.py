"""A change at a known moment of a backup, the same for every program and without any timing.

The kernel asks this process (fanotify permission events) before it lets the backup open a file, read from it or list a
folder. At the chosen moment the change is made while the backup stands still in that very system call; then it goes on.
So a file vanishes after its name was listed and before anybody could look at it, or shrinks between the first and the
second read, every time.

Needs CAP_SYS_ADMIN and a kernel with permission events: `missing()` says in a sentence what is not there.

Nothing can hang for long: every question is answered by a thread that does nothing else, held ones at the latest after
`hold` seconds, and when the descriptor is closed (also by the death of this process) the kernel allows everything.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

# <linux/fanotify.h>
_CLASS_CONTENT, _CLOEXEC, _NONBLOCK = 0x4, 0x1, 0x2
_MARK_ADD, _MARK_FLUSH = 0x1, 0x80
_CLOSE, _OPEN_PERM, _ACCESS_PERM, _ONDIR = 0x18, 0x10000, 0x20000, 0x40000000
_ALLOW, _DENY = 1, 2
_EVENT = struct.Struct("=IBBHQii")
_ANSWER = struct.Struct("=iI")
_AT_FDCWD = -100
_MASKS = {
    "open": _OPEN_PERM | _ONDIR, "read": _ACCESS_PERM, "list": _ACCESS_PERM | _ONDIR, "close": _CLOSE,
    "finish": _ACCESS_PERM | _CLOSE,
}  # fmt: skip

#: How often the thread looks whether it is to end, and whether something is held for too long.
_TICK = 0.02


class NotPermitted(Exception):
    """Permission events cannot be had here; the text says why."""


@dataclass(frozen=True)
class Moment:
    """When something is done to `path` for the `count`-th time: "open", "read" (of a file's contents), "list" (of a folder's
    names: the second time is when all names were handed out), "close", or "finish" (a close after something was read; neither
    can be held)."""

    path: Path
    event: str
    count: int = 1

    def __str__(self) -> str:
        return f"{self.event} {self.count} of {self.path.name}"


_libc = ctypes.CDLL(None, use_errno=True)


def _init() -> int:
    if not hasattr(_libc, "fanotify_init"):
        raise NotPermitted("the C library has no fanotify")
    fd: int = _libc.fanotify_init(_CLASS_CONTENT | _CLOEXEC | _NONBLOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        raise NotPermitted(f"fanotify permission events: {os.strerror(ctypes.get_errno())} (CAP_SYS_ADMIN is needed)")
    return fd


def _mark(fd: int, flags: int, mask: int, path: str | os.PathLike[str] | None) -> None:
    name = None if path is None else os.fsencode(path)
    if _libc.fanotify_mark(fd, flags, ctypes.c_uint64(mask), _AT_FDCWD, name) != 0:
        raise NotPermitted(f"fanotify: cannot watch {path}: {os.strerror(ctypes.get_errno())}")


def missing(folder: Path | None = None) -> str:
    """Why no change can be made during a backup of files in `folder`, "" when it can."""
    try:
        fd = _init()
    except NotPermitted as reason:
        return str(reason)
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            _mark(fd, _MARK_ADD, _OPEN_PERM | _ACCESS_PERM, file.name)
    except (NotPermitted, OSError) as reason:
        return str(reason)
    finally:
        os.close(fd)
    return ""


@dataclass
class During:
    """`with During(change, at): run the backup`. Afterwards `happened` says whether the moment came.

    `change` runs in a thread of its own, once, while the process that caused `at` waits. All watching ends before it
    begins, so it may open and remove whatever it likes.
    `after`: a second moment. The process that causes `at` is held until it has come, too; when it does not within `hold`
    seconds, there is no change.
    `refuse`: instead of a change, every `at` (of any count) is refused: the system call fails with EPERM.
    """

    change: Callable[[], None] | None
    at: Moment
    after: Moment | None = None
    refuse: bool = False
    hold: float = 5.0  # seconds

    happened: bool = field(default=False, init=False)
    by: str = field(default="", init=False)  # the command's name of the process that was stopped
    why_not: str = field(default="", init=False)
    seen: list[str] = field(default_factory=list, init=False)  # what the watched files went through, up to the change

    def __post_init__(self) -> None:
        if self.at.event in ("close", "finish"):
            raise ValueError("nobody can be stopped while closing a file")

    def __enter__(self) -> During:
        self._counts: dict[tuple[int, int, str], int] = {}
        self._held: list[tuple[int, float]] = []  # descriptors of questions not answered yet, until when
        self._names: dict[tuple[int, int], str] = {}
        self._ending = threading.Event()
        self._keys = {moment: self._key(moment) for moment in (self.at, self.after) if moment}
        self._fd = _init()
        try:
            for moment, (device, inode, _) in self._keys.items():
                self._names[device, inode] = moment.path.name
                _mark(self._fd, _MARK_ADD, _MASKS[moment.event], moment.path)
        except BaseException:
            os.close(self._fd)
            raise
        self._thread = threading.Thread(target=self._serve, name="during", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join(self.hold + 60)
        if not self.happened and not self.why_not:
            self.why_not = f"the moment did not come: {self.at}"

    @staticmethod
    def _key(moment: Moment) -> tuple[int, int, str]:
        st = os.stat(moment.path, follow_symlinks=False)
        return st.st_dev, st.st_ino, "read" if moment.event == "list" else moment.event

    # ---- the thread ----

    def _serve(self) -> None:
        try:
            while not self._ending.is_set() or self._held:
                ready, _, _ = select.select([self._fd], [], [], _TICK)
                if ready:
                    self._read()
                self._release(time.monotonic(), everything=self._ending.is_set())
        except BaseException as error:  # a thread cannot raise to anybody
            self.why_not = f"{type(error).__name__}: {error}"
        finally:
            os.close(self._fd)  # the kernel allows what was never answered
            for held, _ in self._held:
                os.close(held)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            size, _, _, _, mask, fd, pid = _EVENT.unpack_from(data, at)
            at += size
            if fd >= 0:
                self._event(mask, fd, pid)

    def _event(self, mask: int, fd: int, pid: int) -> None:
        event = "open" if mask & _OPEN_PERM else "read" if mask & _ACCESS_PERM else "close"
        st = os.fstat(fd)
        key = (st.st_dev, st.st_ino, event)
        if pid != os.getpid() and not self.happened:
            self._counts[key] = self._counts.get(key, 0) + 1
            self.seen.append(f"{_command(pid)}: {event} {self._counts[key]} of {self._names.get(key[:2], '?')}")
            if event == "close" and (*key[:2], "read") in self._counts:
                self._counts[*key[:2], "finish"] = 1
        if pid == os.getpid() or event == "close":
            answer = _ALLOW
        elif self.refuse:
            answer = _DENY if key == self._keys[self.at] else _ALLOW
            if answer == _DENY:
                self.happened, self.by = True, _command(pid)
        else:
            answer = 0 if self._is_at(key) else _ALLOW
            if not answer:
                self.by = _command(pid)
                self._held.append((fd, time.monotonic() + self.hold))
        if answer:
            if event != "close":
                os.write(self._fd, _ANSWER.pack(fd, answer))
            os.close(fd)
        if self._held and not self.happened and self._has_come(self.after):
            self._do()

    def _is_at(self, key: tuple[int, int, str]) -> bool:
        return not self.happened and not self.why_not and key == self._keys[self.at] and self._has_come(self.at)

    def _has_come(self, moment: Moment | None) -> bool:
        return moment is None or self._counts.get(self._keys[moment], 0) >= moment.count

    def _do(self) -> None:
        _mark(self._fd, _MARK_FLUSH, 0, "/")  # else the change itself would ask for permission, and nobody answers
        try:
            if self.change:
                self.change()
            self.happened = True
        except BaseException as error:  # the backup goes on, the caller sees why nothing happened
            self.why_not = f"the change failed: {error}"
        self._release(0, everything=True)

    def _release(self, now: float, *, everything: bool) -> None:
        for held in [h for h in self._held if everything or h[1] < now]:
            self._held.remove(held)
            if not self.happened and not self.why_not:
                self.why_not = f"held {self.at} for {self.hold:g} s, but there was no {self.after}"
            os.write(self._fd, _ANSWER.pack(held[0], _ALLOW))
            os.close(held[0])


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return f"process {pid}"
