"""The file itself: NAME.tar.zst with regular files only, the same bytes for the same contents.

What is read here may come from anybody. So nothing is accepted but what pack() writes: plain ustar headers of regular files
with short relative names in growing order, no owners, no times, no links, no extensions; and nothing that would unpack to more
than the limits say. `zstd -dc FILE | tar -tv` shows what is in it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .. import run
from ..datasets.workspace import tied

BLOCK = 512
#: A part of a name neither begins with a dot (".." among them) nor with a dash.
_PART = "[A-Za-z0-9_+][A-Za-z0-9_+.@,=-]{0,254}"
_NAME = re.compile(f"{_PART}(?:/{_PART}){{0,7}}")
NAME_MAX = 100  # bytes: what the header's first field takes
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LEVEL = 12


class BundleBroken(Exception):
    """The file is no bundle, is damaged, or holds what no bundle does. The text names file, offset and what is wrong."""


class BundleFailed(Exception):
    """A bundle could not be made or read for a reason outside of it: no room, no zstd."""


@dataclass(frozen=True)
class Limits:
    """What a bundle may unpack to."""

    bytes: int = 2 << 30  # all headers and padding included
    files: int = 20_000


def is_path(path: str) -> bool:
    """Whether a file of a bundle may lie there, once it is unpacked."""
    return _NAME.fullmatch(path) is not None


def is_name(name: str) -> bool:
    """Whether a member may be called that."""
    return len(name) <= NAME_MAX and is_path(name)


# ---- writing ----


def _header(name: str, size: int) -> bytes:
    fields = bytearray(BLOCK)
    fields[0 : len(name)] = name.encode("ascii")
    fields[100:108] = b"0000644\0"
    fields[108:116] = b"0000000\0"
    fields[116:124] = b"0000000\0"
    fields[124:136] = b"%011o\0" % size
    fields[136:148] = b"00000000000\0"
    fields[148:156] = b" " * 8
    fields[156:157] = b"0"
    fields[257:265] = b"ustar\x0000"
    fields[148:156] = b"%06o\0 " % sum(fields)
    return bytes(fields)


def pack(members: Mapping[str, bytes | Path], target: Path, *, limits: Limits = Limits()) -> int:
    """Writes `target` as a whole or not at all; its size. A Path is a regular file whose contents are taken.

    ValueError: a name that unpack() would not take. BundleFailed: too much, no room, no zstd.
    """
    for name in members:
        if not is_name(name):
            raise ValueError(f"{name!r}: not a name for a file in a bundle (at most {NAME_MAX} plain characters)")
    if len(members) > limits.files:
        raise BundleFailed(f"{len(members):,} files, a bundle holds at most {limits.files:,}")
    _needs_zstd()
    target = target.absolute()
    try:
        with tempfile.TemporaryDirectory(prefix=".bundle-", dir=target.parent) as folder:
            plain, made = Path(folder) / "bundle.tar", Path(folder) / "bundle.tar.zst"
            with open(plain, "wb") as out:
                for name in sorted(members):
                    _put(out, name, members[name])
                    if out.tell() > limits.bytes - 2 * BLOCK:
                        raise BundleFailed(f"more than {limits.bytes:,} bytes, which no bundle may hold")
                out.write(bytes(2 * BLOCK))
            words = ["zstd", "-q", f"-{LEVEL}", "-T1", "--no-progress", "-o", made, plain]
            run.run(tied(words)).check_ok()
            os.replace(made, target)
    except (OSError, run.CommandFailed) as error:
        raise BundleFailed(f"{target}: cannot be written: {error}") from error
    return target.stat().st_size


def _put(out: BinaryIO, name: str, contents: bytes | Path) -> None:
    if isinstance(contents, bytes):
        out.write(_header(name, len(contents)) + contents)
        size = len(contents)
    else:
        # Not through a link: what lies elsewhere was not written by a session.
        with open(os.open(contents, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as source:
            found = os.fstat(source.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BundleFailed(f"{contents}: not a regular file")
            size = found.st_size
            out.write(_header(name, size))
            start = out.tell()
            shutil.copyfileobj(source, out, 1 << 20)
            if out.tell() - start != size:
                raise BundleFailed(f"{contents}: changes while it is read")
    out.write(bytes(-size % BLOCK))


# ---- reading ----


def unpack(path: Path, folder: Path, *, limits: Limits = Limits()) -> list[str]:
    """Into the new or empty `folder`; the names, sorted. After a failure the folder holds a part, which is worth nothing.

    BundleBroken, BundleFailed.
    """
    _needs_zstd()
    try:
        with open(path, "rb") as source:
            magic = source.read(4)
    except OSError as error:
        raise BundleFailed(f"{path}: {error.strerror}") from error
    if magic != ZSTD_MAGIC:
        raise BundleBroken(f"{path}: offset 0: not a file of ci/bundle: no zstd frame")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".bundle-", dir=folder.parent) as scratch:
            plain = Path(scratch) / "bundle.tar"
            _decompress(path, plain, limits)
            with open(plain, "rb") as source:
                return list(_members(source, path, limits, lambda name: _create(folder, name)))
    except OSError as error:
        raise BundleFailed(f"{folder}: {error}") from error


def _needs_zstd() -> None:
    for tool in ("zstd", "prlimit"):
        if shutil.which(tool) is None:
            raise BundleFailed(f"{tool} is not installed")


def _decompress(path: Path, plain: Path, limits: Limits) -> None:
    # The kernel stops it, whatever the frame promises. (A path from the root on is never taken for an option.)
    words = ["prlimit", f"--fsize={limits.bytes}", "zstd", "-q", "-d", "-f", "--no-sparse", "--no-progress", "-o", plain]
    words.append(path.absolute())
    done = run.run(tied(words))
    if done.returncode == 0:
        return
    if done.returncode == -signal.SIGXFSZ or (plain.exists() and plain.stat().st_size >= limits.bytes):
        raise BundleBroken(f"{path}: unpacks to more than {limits.bytes:,} bytes")
    if shutil.disk_usage(plain.parent).free < 1 << 20:
        raise BundleFailed(f"{plain.parent}: no room")
    raise BundleBroken(f"{path}: damaged: {done.stderr.decode(errors='replace').strip()[-200:]}")


def _create(folder: Path, name: str) -> BinaryIO:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(target, flags, 0o644), "wb")


def _members(source: BinaryIO, path: Path, limits: Limits, create: Callable[[str], BinaryIO]) -> Iterator[str]:
    """Names in order; each file is complete when its name comes."""
    before = ""
    for number in range(limits.files + 1):
        offset = source.tell()

        def broken(what: str, offset: int = offset) -> BundleBroken:
            return BundleBroken(f"{path}: offset {offset:,} of the tar: {what}")

        header = source.read(BLOCK)
        if len(header) != BLOCK:
            raise broken("ends within a header" if header else "ends without its end mark")
        if header == bytes(BLOCK):
            if source.read() != bytes(BLOCK):
                raise broken("something lies behind the end mark")
            return
        if number == limits.files:
            raise broken(f"more than {limits.files:,} files")
        try:
            name, size = header[:100].rstrip(b"\0").decode("ascii"), int(header[124:135], 8)
        except ValueError:
            raise broken("name or size cannot be read") from None
        if not is_name(name):
            raise broken(f"{name!r} is no name of a file in a bundle")
        if size < 0 or size > limits.bytes or header != _header(name, size):
            # One comparison for type, link, owner, time, checksum, reserved fields: a bundle has one way to write each.
            raise broken(f"{name}: not a plain header of a regular file")
        if name <= before:
            raise broken(f"{name}: comes behind {before}: names must grow")
        _copy(source, name, size, create, broken)
        before = name
        yield name


def _copy(
    source: BinaryIO, name: str, size: int, create: Callable[[str], BinaryIO], broken: Callable[[str], BundleBroken]
) -> None:
    try:
        target = create(name)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise broken(f"{name}: is in the way of another file of the bundle") from None
    with target:
        left = size
        while left:
            piece = source.read(min(left, 1 << 20))
            if not piece:
                raise broken(f"{name}: ends after {size - left:,} of {size:,} bytes")
            target.write(piece)
            left -= len(piece)
    padding = source.read(-size % BLOCK)
    if padding != bytes(-size % BLOCK):
        raise broken(f"{name}: its last block is not filled up with zeros")
