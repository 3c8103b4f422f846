"""Unpacking archives that nobody has vouched for.

Refused, with the member's name: names that are absolute or lead out of the folder, members that would be written through a
symlink or a file, names that come twice, devices and pipes, links to nothing, encrypted members, more entries or bytes than
expected (before they are written). Owners, setuid bits and xattrs of archives are not taken over.
"""

from __future__ import annotations

import bz2
import calendar
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any

from .. import run
from .progress import Progress
from .source import SourceFailed, needs
from .workspace import tied

_PIECE = 1 << 20
_MOST_NAME_BYTES = 4096
#: Extended headers hold names and times; more than this is made to fill the memory.
_MOST_HEADER_BYTES = 1 << 20
_SECOND = 1_000_000_000
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile, struct.error)


class Refused(SourceFailed):
    """A member that an honest archive of this recipe does not have."""


class Damaged(SourceFailed):
    """The archive cannot be read to its end."""


@dataclass(frozen=True)
class Limits:
    files: int  # regular files
    bytes: int  # of all of them together

    @property
    def entries(self) -> int:
        """Of all kinds."""
        return 4 * self.files + 1000


def show(name: bytes) -> str:
    return repr(name.decode(errors="backslashreplace"))


class Sink:
    """Writes members below a folder that is empty at first: everything in it was made here, and is known."""

    def __init__(self, root: Path, limits: Limits, strip: int, progress: Progress) -> None:
        self._root, self._limits, self._strip, self._progress = os.fsencode(root), limits, strip, progress
        self._kinds: dict[bytes, str] = {b"": "directory"}
        self._folder_times: dict[bytes, int] = {}
        self._files = self._bytes = self._entries = self._newest = 0

    def place(self, name: bytes) -> bytes | None:
        """The path below the root; None for what lies above the stripped folders. Makes the folders it lies in."""
        if name.startswith(b"/") or b"\0" in name or len(name) > _MOST_NAME_BYTES:
            raise Refused(f"member {show(name)} has an absolute or impossible name")
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise Refused(f"member {show(name)} leads out of the folder")
        self._entries += 1
        if self._entries > self._limits.entries:
            raise Refused(f"member {show(name)} is one more than the {self._limits.entries} entries that fit the recipe")
        if len(parts) < self._strip:
            return None
        parts = parts[self._strip :]
        for end in range(1, len(parts)):
            self._folder(b"/".join(parts[:end]), name)
        return b"/".join(parts)

    def _folder(self, path: bytes, name: bytes) -> None:
        kind = self._kinds.get(path)
        if kind is None:
            os.mkdir(os.path.join(self._root, path), 0o755)
            self._kinds[path] = "directory"
        elif kind != "directory":
            raise Refused(f"member {show(name)} would be written through the {kind} {show(path)}")

    def _new(self, path: bytes, name: bytes, kind: str) -> bytes:
        if path in self._kinds:
            raise Refused(f"member {show(name)} comes twice")
        self._kinds[path] = kind
        return os.path.join(self._root, path)

    def folder(self, name: bytes, mode: int, mtime_ns: int) -> None:
        path = self.place(name)
        if path is None:
            return
        self._folder(path, name)
        os.chmod(os.path.join(self._root, path), (mode & 0o777) | 0o700)
        self._folder_times[path] = mtime_ns
        self._newest = max(self._newest, mtime_ns)

    def file(self, name: bytes, mode: int, mtime_ns: int, size: int, contents: IO[bytes]) -> None:
        path = self.place(name)
        self._files += 1
        self._bytes += size
        if not path:
            raise Refused(f"member {show(name)} is a file where a folder is expected")
        if self._files > self._limits.files or self._bytes > self._limits.bytes:
            raise Refused(
                f"member {show(name)}: with it there are {self._files} files with {self._bytes} bytes, "
                f"the recipe expects at most {self._limits.files} files with {self._limits.bytes} bytes"
            )
        full = self._new(path, name, "file")
        left = size
        with open(os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb", buffering=0) as out:
            while left:
                piece = contents.read(min(_PIECE, left))
                if not piece:
                    raise Damaged(f"member {show(name)} ends {left} bytes too early")
                out.write(piece)
                left -= len(piece)
                self._progress.add(0, len(piece))
            if contents.read(1):  # a zip's CRC is checked by reading to the end, too
                raise Damaged(f"member {show(name)} is longer than it says")
            os.fchmod(out.fileno(), (mode & 0o777) | 0o400)
        os.utime(full, ns=(mtime_ns, mtime_ns))
        self._newest = max(self._newest, mtime_ns)
        self._progress.add(1)

    def symlink(self, name: bytes, target: bytes, mtime_ns: int) -> None:
        """Wherever it points to: nothing is ever written through it."""
        path = self.place(name)
        if not path or not target or b"\0" in target or len(target) >= _MOST_NAME_BYTES:
            raise Refused(f"member {show(name)} is a symlink with an impossible target")
        full = self._new(path, name, "symlink")
        os.symlink(target, full)
        os.utime(full, ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def hardlink(self, name: bytes, target: bytes) -> None:
        path, first = self.place(name), self.place(target)
        if not path or not first or self._kinds.get(first) != "file":
            raise Refused(f"member {show(name)} is a link to {show(target)}, which is no file of the archive before it")
        os.link(os.path.join(self._root, first), self._new(path, name, "file"), follow_symlinks=False)

    def close(self) -> None:
        """Times of folders, those that the archive does not name among them: they get that of the newest member."""
        for path in sorted((p for p, kind in self._kinds.items() if kind == "directory"), key=len, reverse=True):
            when = self._folder_times.get(path, self._newest)
            os.utime(os.path.join(self._root, path), ns=(when, when))


# ---- tar ----


_EXTENDED = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


class _Header(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _EXTENDED and not 0 <= header.size <= _MOST_HEADER_BYTES:
            raise Refused(f"member {header.name!r} has an extended header of {header.size} bytes")
        return header


class _Bounded:
    """Reads on until more came out than the archive can have when it is what the recipe expects."""

    def __init__(self, inner: IO[bytes], most: int) -> None:
        self._inner, self._left, self._most = inner, most, most

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(_PIECE if size < 0 else size)
        self._left -= len(data)
        if self._left < 0:
            raise Refused(f"the archive unpacks to more than {self._most} bytes")
        return data


def _tar_time(member: tarfile.TarInfo) -> int:
    try:
        value = Decimal(member.pax_headers.get("mtime") or Decimal(member.mtime))
        nanoseconds = int(value * _SECOND)
    except (InvalidOperation, ValueError, OverflowError):
        raise Refused(f"member {member.name!r} has no time that can be read") from None
    if not -(1 << 62) < nanoseconds < 1 << 62:
        raise Refused(f"member {member.name!r} has an impossible time")
    return nanoseconds


def _tar(stream: IO[bytes], sink: Sink, limits: Limits) -> None:
    most = limits.bytes + 4 * 4096 * limits.entries + (64 << 20)  # headers and padding beside the contents
    bounded: Any = _Bounded(stream, most)
    with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Header, encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            name, mtime = os.fsencode(member.name), _tar_time(member)
            if member.isdir():
                sink.folder(name, member.mode, mtime)
            elif member.isreg():
                contents = archive.extractfile(member)
                assert contents is not None
                sink.file(name, member.mode, mtime, member.size, contents)
            elif member.issym():
                sink.symlink(name, os.fsencode(member.linkname), mtime)
            elif member.islnk():
                sink.hardlink(name, os.fsencode(member.linkname))
            else:
                raise Refused(f"member {show(name)} is a device, a pipe or of an unknown type ({member.type!r})")
            archive.members = []  # tarfile would keep them all
    while bounded.read(_PIECE):  # packed streams have their checksum behind the end of the tar
        pass


# ---- zip ----


def _zip_time(info: zipfile.ZipInfo) -> int:
    """The UTC time of the extended timestamp field if there is one, else the zone-less one taken as UTC."""
    extra = info.extra
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 0x5455 and length >= 5 and len(extra) >= 9 and extra[4] & 1:
            return int(struct.unpack_from("<i", extra, 5)[0]) * _SECOND
        extra = extra[4 + length :]
    return calendar.timegm((*info.date_time, 0, 0, 0)) * _SECOND


def _zip(path: Path, sink: Sink, limits: Limits) -> None:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name, unix = os.fsencode(info.filename), info.external_attr >> 16
            kind, mtime = stat.S_IFMT(unix), _zip_time(info)
            if info.flag_bits & 1:
                raise Refused(f"member {show(name)} is encrypted")
            if info.is_dir():
                sink.folder(name, unix or 0o755, mtime)
            elif kind == stat.S_IFLNK:
                if info.file_size >= _MOST_NAME_BYTES:
                    raise Refused(f"member {show(name)} is a symlink with an impossible target")
                sink.symlink(name, archive.read(info), mtime)
            elif kind in (0, stat.S_IFREG):
                with archive.open(info) as contents:
                    sink.file(name, unix or 0o644, mtime, info.file_size, contents)
            else:
                raise Refused(f"member {show(name)} is a device, a pipe or of an unknown type ({kind:#o})")


# ---- both ----

_OPENERS: dict[str, Callable[..., Any]] = {"": open, "gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
_ENDINGS = {
    ".zip": "zip", ".tar": "tar", ".tar.gz": "tar.gz", ".tgz": "tar.gz", ".tar.bz2": "tar.bz2", ".tbz2": "tar.bz2",
    ".tar.xz": "tar.xz", ".txz": "tar.xz", ".tar.zst": "tar.zst", ".tzst": "tar.zst",
}  # fmt: skip


def format_of(name: str) -> str:
    """ "zip", "tar", "tar.gz", ... by the end of the name; SourceFailed when it is none that can be unpacked."""
    lower = name.lower()
    for ending, kind in _ENDINGS.items():
        if lower.endswith(ending):
            return kind
    raise SourceFailed(f"{name}: neither zip nor tar (.tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst) by its name")


def unpack(path: Path, kind: str, root: Path, scratch: Path, limits: Limits, strip: int, progress: Progress) -> None:
    """Fills the empty `root`. `strip`: leading folders that are left out. Refused, Damaged; what was written then stays."""
    sink = Sink(root, limits, strip, progress)
    plain: Path | None = None
    try:
        if kind == "zip":
            _zip(path, sink, limits)
        else:
            packing = kind.removeprefix("tar").removeprefix(".")
            if packing == "zst":
                plain, packing = _unpack_zstd(path, scratch / "archive.tar", limits), ""
            with _OPENERS[packing](plain or path, "rb") as stream:
                _tar(stream, sink, limits)
    except _DAMAGED as error:
        raise Damaged(f"{path.name} is damaged: {error or type(error).__name__}") from error
    except (NotImplementedError, RuntimeError) as error:
        raise Damaged(f"{path.name} cannot be unpacked: {error}") from error
    except OSError as error:
        if error.errno is None:  # the way bz2 says that its data is wrong
            raise Damaged(f"{path.name} is damaged: {error}") from error
        raise SourceFailed(f"{path.name} cannot be unpacked: {error}") from error
    finally:
        if plain is not None:
            plain.unlink(missing_ok=True)
    sink.close()


def _unpack_zstd(path: Path, plain: Path, limits: Limits) -> Path:
    needs("zstd", "prlimit")
    most = limits.bytes + 4 * 4096 * limits.entries + (64 << 20)
    done = run.run(tied(["prlimit", f"--fsize={most}", "zstd", "-q", "-d", "-f", "-o", plain, path]))
    if done.returncode != 0:
        if plain.exists() and plain.stat().st_size >= most:
            plain.unlink()
            raise Refused(f"the archive unpacks to more than {most} bytes")
        plain.unlink(missing_ok=True)
        raise Damaged(f"{path.name} is damaged: {done.stderr.decode(errors='replace').strip()[-200:]}")
    return plain
