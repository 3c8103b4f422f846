"""Downloads: resumed where they stopped, checked by size and SHA-256, never half where a whole file is expected.

    DOWNLOADS/NAME.partial   what has arrived so far; the next attempt goes on behind it
    DOWNLOADS/NAME           whole and checked
    DOWNLOADS/NAME.json      size and SHA-256 as they were at first use (what a later use has to match)
    DOWNLOADS/NAME.lock      held while somebody downloads or checks
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .. import run
from . import progress
from .source import SourceFailed, Unreachable, needs, sync_file
from .workspace import Workspace, tied

#: Attempts that bring nothing new, then it is given up. An attempt that brings anything does not count.
_IDLE_ATTEMPTS = 3
#: For a file whose size nobody pinned.
_MOST_BYTES = 1 << 38
_PIECE = 1 << 20

# curl's exit codes.
_NO_HOST, _NO_CONNECTION, _HTTP_ERROR, _NO_RANGES, _BAD_RESUME = 6, 7, 22, 33, 36


@contextmanager
def held(work: Workspace, place: Path) -> Iterator[None]:
    """Only one process at a time downloads to `place`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_name(place.name + ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            work.tell(f"{place.name} is being downloaded by another process, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sha256(work: Workspace, path: Path) -> str:
    digest = hashlib.sha256()
    with work.progress(f"checking {path.name}", total_bytes=path.stat().st_size) as shown, open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            shown.add(0, len(piece))
    return digest.hexdigest()


def local_path(url: str) -> Path | None:
    """The file that a file: address or a plain path names; None for anything that has to be downloaded."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(os.path.expanduser(url)) if not parts.scheme else None


def fetch(work: Workspace, source: Mapping[str, Any]) -> tuple[Path, str]:
    """The checked file and its SHA-256. Fields: url, size and sha256 (both optional), limits of time and speed.

    A file of one's own is checked where it is and never removed. SourceFailed names the file and what is wrong with it.
    """
    url = str(source["url"])
    own = local_path(url)
    if own is not None:
        if not own.is_file():
            raise SourceFailed(f"{own}: no such file")
        return own, _check(work, own, source, None)
    if urlsplit(url).scheme not in ("http", "https"):
        raise SourceFailed(f"{url}: only http, https and file are fetched")
    # Two addresses may end in one name.
    name = f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{Path(urlsplit(url).path).name or 'file'}"
    final = work.downloads / name
    with held(work, final):
        if final.exists():
            try:
                return final, _check(work, final, source, _note(final))
            except SourceFailed as error:
                final.unlink()
                work.tell(f"{error}; removed, it is downloaded again")
        part = final.with_name(name + ".partial")
        _download(work, url, part, source)
        try:
            digest = _check(work, part, source, _note(final))
        except SourceFailed:
            part.unlink()
            raise
        if not source.get("sha256"):
            _write_note(final, url, part.stat().st_size, digest)
            work.tell(f"{name}: SHA-256 {digest}; the recipe pins none, later uses have to match this one")
        sync_file(part)
        part.rename(final)
        sync_file(final)
    work.step("downloaded")
    return final, digest


def _note_path(final: Path) -> Path:
    return final.with_name(final.name + ".json")


def _note(final: Path) -> str | None:
    """The SHA-256 at first use; None when there was none (or its note is damaged: the same as none)."""
    try:
        noted = json.loads(_note_path(final).read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return noted if isinstance(noted, str) else None


def _write_note(final: Path, url: str, size: int, digest: str) -> None:
    place = _note_path(final)
    part = place.with_name(place.name + ".partial")
    part.write_text(json.dumps({"url": url, "size": size, "sha256": digest}, indent=2) + "\n")
    part.rename(place)


def _check(work: Workspace, path: Path, source: Mapping[str, Any], noted: str | None) -> str:
    size, wanted = path.stat().st_size, source.get("size")
    if wanted is not None and size != wanted:
        raise SourceFailed(f"{path}: {size} bytes, the recipe says {wanted}")
    digest, pinned = sha256(work, path), source.get("sha256")
    if pinned and digest != pinned:
        raise SourceFailed(f"{path}: SHA-256 {digest}, the recipe says {pinned}")
    if not pinned and noted and digest != noted:
        raise SourceFailed(f"{path}: SHA-256 {digest}, at its first use it was {noted}")
    return digest


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _download(work: Workspace, url: str, part: Path, source: Mapping[str, Any]) -> None:
    """Until curl says it is whole. On failure what arrived stays, for the next time."""
    needs("curl", "prlimit")
    size = source.get("size")
    idle, restarted = 0, False
    while size is None or _size(part) != size:
        had = _size(part)
        if size is not None and had > size:
            part.unlink()
            had = 0
        work.tell(f"downloading {url}" + (f", going on at {had:,} bytes" if had else ""))
        with work.progress("downloading", total_bytes=size or 0, probe=lambda: progress.size_of(part)):
            done = run.run(tied(_curl(url, part, source, size or _MOST_BYTES)), timeout=source.get("timeout_seconds"))
        if done.returncode == 0:
            return
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else ("timed out" if done.timed_out else f"curl ended with {done.returncode}")
        if done.returncode in (_NO_HOST, _NO_CONNECTION):
            raise Unreachable(f"{url}: {reason}")
        if done.returncode in (_HTTP_ERROR, _NO_RANGES, _BAD_RESUME):
            # With something to go on from, going on may be what the server refuses: once more, from the start.
            if not had or restarted:
                raise SourceFailed(f"{url}: {reason}")
            restarted = True
            part.unlink(missing_ok=True)
            work.tell(f"{reason}; once more from the start")
            continue
        if done.returncode < 0 and _size(part) >= (size or _MOST_BYTES):
            part.unlink()
            raise SourceFailed(f"{url}: the server sends more than {size or _MOST_BYTES} bytes")
        idle = 0 if _size(part) > had else idle + 1
        if idle == _IDLE_ATTEMPTS or done.timed_out:
            raise SourceFailed(f"{url}: {reason}; {_size(part):,} bytes are kept, the next attempt goes on there")
        work.tell(f"{reason}")


def _curl(url: str, part: Path, source: Mapping[str, Any], most: int) -> list[str | os.PathLike[str]]:
    # prlimit: whatever a server sends, the disk is not filled.
    return [
        "prlimit", f"--fsize={most}", "curl", "--disable", "--silent", "--show-error", "--fail", "--location",
        "--max-redirs", "5", "--proto", "=http,https", "--proto-redir", "=http,https",
        "--connect-timeout", str(source.get("connect_seconds", 10)),
        "--speed-limit", str(source.get("low_speed_bytes", 1000)), "--speed-time", str(source.get("low_speed_seconds", 30)),
        "--continue-at", "-", "--output", part, "--url", url,
    ]  # fmt: skip
