"""The Linux tree, from the first of the recipe's sources that answers."""

from __future__ import annotations

import glob
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .. import run
from .workspace import DatasetFailed, Workspace


class SourceFailed(Exception):
    """This source is no good here; the next one is tried."""


def build(work: Workspace) -> str:
    tried = []
    for source in work.recipe.values["source"]:
        try:
            used = _SOURCES[source["kind"]](work, source)
        except (SourceFailed, run.CommandFailed) as error:
            reason = str(error).strip().splitlines()
            tried.append(f"{source['kind']}: {reason[0] if reason else error}")
            if len(reason) > 1:
                tried[-1] += f" ({reason[-1]})"
            work.say(f"dataset {work.recipe.name}: no {tried[-1]}")
            _empty(work.root)
        else:
            work.step("unpacked")
            return used
    raise DatasetFailed(f"dataset {work.recipe.name}: none of its sources is available\n  " + "\n  ".join(tried))


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _reachable(url: str, seconds: float) -> None:
    """A connection is tried first: git itself has no limit for connecting."""
    parts = urlsplit(url)
    proxy = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY") or os.environ.get("ALL_PROXY")
    if proxy:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), seconds).close()
    except OSError as error:
        raise SourceFailed(f"{host} cannot be reached: {error}") from None


def _git(work: Workspace, source: Mapping[str, Any]) -> str:
    if shutil.which("git") is None:
        raise SourceFailed("git is not installed")
    url, ref = source["url"], source["ref"]
    if url.startswith("https:"):
        _reachable(url, source["connect_seconds"])
    work.say(f"dataset {work.recipe.name}: git clone of {ref} from {url}")
    clone = work.scratch / "clone"
    if clone.exists():
        shutil.rmtree(clone)
    cloned = run.run(
        ["git", "-c", f"http.lowSpeedLimit={source['low_speed_bytes']}", "-c", f"http.lowSpeedTime={source['low_speed_seconds']}",
         "-c", "advice.detachedHead=false", "-c", "core.autocrlf=false",
         "clone", "--quiet", "--depth", "1", "--branch", ref, url, clone],
        env={"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}, timeout=source["timeout_seconds"],
    )  # fmt: skip
    cloned.check_ok()
    at = ["git", "-c", f"safe.directory={clone}", "-C", clone]
    commit, seconds = run.run([*at, "log", "-1", "--format=%H %ct"]).check_ok().text.split()
    shutil.rmtree(clone / ".git")
    work.step("cloned")
    work.root.rmdir()
    clone.rename(work.root)
    _set_all_times(work.root, int(seconds))
    return f"git {ref} ({commit[:12]})"


def _set_all_times(root: Path, seconds: int) -> None:
    """A clone gives every file the time of its own writing: two machines would have different trees."""
    times = (seconds, seconds)
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            os.utime(os.path.join(folder, name), times, follow_symlinks=False)
        for entry in os.scandir(folder):
            if entry.is_symlink():
                os.utime(entry.path, times, follow_symlinks=False)
        os.utime(folder, times)


def _unpack(archive: str | None, deb: Path | None, member: str, root: Path) -> None:
    """xz -T0 uses all processors where the archive was packed in blocks, as Debian's are."""
    into = ["tar", "-x", "--strip-components=1", "-C", os.fspath(root), "-f", "-"]
    if deb is None:
        assert archive is not None
        run.pipeline([["xz", "-dc", "-T0", archive], into])
    else:
        run.pipeline(
            [["dpkg-deb", "--fsys-tarfile", deb], ["tar", "-xO", "-f", "-", member], ["xz", "-dc", "-T0"], into]
        )


def _installed(work: Workspace, source: Mapping[str, Any]) -> str:
    found = sorted(glob.glob(source["glob"]))
    if not found:
        raise SourceFailed(f"source at {source['glob']}")
    work.say(f"dataset {work.recipe.name}: unpacking {found[-1]}")
    _unpack(found[-1], None, "", work.root)
    return f"package {Path(found[-1]).name.removesuffix('.tar.xz')}, installed"


def _download(work: Workspace, package: str, timeout: float) -> Path:
    work.downloads.mkdir(parents=True, exist_ok=True)
    kept = sorted(work.downloads.glob(f"{package}_*.deb"))
    if kept:
        work.say(f"dataset {work.recipe.name}: using {kept[-1].name}, downloaded earlier")
        return kept[-1]
    # apt checks hashes and signatures; it is given a folder of its own, so that a half file never has a whole one's place.
    part = work.downloads / f"{package}.partial"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    part.chmod(0o777)  # apt downloads as its own user when started by root
    work.say(f"dataset {work.recipe.name}: apt-get download {package} (about 140 MB)")
    limits = ["-o", "Acquire::http::Timeout=15", "-o", "Acquire::https::Timeout=15", "-o", "Acquire::Retries=1"]
    run.run(["apt-get", "-q", *limits, "download", package], cwd=part, timeout=timeout).check_ok()
    fetched = sorted(part.glob("*.deb"))
    if not fetched:
        raise SourceFailed(f"package {package}: apt-get downloaded nothing")
    final = work.downloads / fetched[0].name
    with open(fetched[0], "rb") as file:
        os.fsync(file.fileno())
    fetched[0].rename(final)
    shutil.rmtree(part)
    return final


def _debian(work: Workspace, source: Mapping[str, Any]) -> str:
    for tool in ("apt-get", "dpkg-deb", "xz"):
        if shutil.which(tool) is None:
            raise SourceFailed(f"package: {tool} is not installed")
    problems = []
    for package in source["packages"]:
        try:
            deb = _download(work, package, source["timeout_seconds"])
        except (run.CommandFailed, SourceFailed) as error:
            problems.append(str(error).strip().splitlines()[-1])
            continue
        work.step("downloaded")
        work.say(f"dataset {work.recipe.name}: unpacking {deb.name}")
        try:
            version = run.run(["dpkg-deb", "-f", deb, "Version"]).check_ok().text.strip()
            _unpack(None, deb, f"./usr/src/{package}.tar.xz", work.root)
        except run.CommandFailed:
            deb.unlink()  # a damaged download would fail for ever
            raise
        return f"Debian package {package} {version}"
    raise SourceFailed("package: " + "; ".join(problems))


_SOURCES = {"git": _git, "installed": _installed, "debian": _debian}
