"""Trees from Debian packages that hold a packed source, installed or downloaded with apt (which checks signatures)."""

from __future__ import annotations

import functools
import glob
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ... import run
from .. import progress
from ..download import held
from ..workspace import Workspace, tied
from ..source import Found, SourceFailed, needs, sync_file

_INTO = ["tar", "-x", "-p", "--strip-components=1", "-f", "-", "-C"]


def _unpack(work: Workspace, commands: list[list[str | os.PathLike[str]]]) -> None:
    """xz -T0 uses all processors where the archive was packed in blocks, as Debian's are."""
    with work.progress("unpacking", probe=lambda: progress.below(work.root)):
        run.pipeline([tied(command) for command in [*commands, [*_INTO, work.root]]])


def installed(work: Workspace, source: Mapping[str, Any]) -> Found:
    """Fields: glob. The last of the names that match, by bytes."""
    found = sorted(glob.glob(source["glob"]), key=os.fsencode)
    if not found:
        raise SourceFailed(f"source at {source['glob']}")
    needs("tar", "xz")
    work.tell(f"unpacking {found[-1]}")
    _unpack(work, [["xz", "-dc", "-T0", found[-1]]])
    return Found(f"package {Path(found[-1]).name.removesuffix('.tar.xz')}, installed", "archive")


def _newer(a: Path, b: Path) -> int:
    one, other = a.name.split("_")[1], b.name.split("_")[1]
    return 1 if run.run(["dpkg", "--compare-versions", one, "gt", other]).returncode == 0 else -1


def _download(work: Workspace, name: str, version: str, timeout: float) -> Path:
    """The package's file in the downloads folder. Without a version: the newest that is there, else what apt offers."""
    work.downloads.mkdir(parents=True, exist_ok=True)
    # In names of files apt writes the colon of an epoch as %3a.
    pattern = f"{name}_{quote(version, safe='+~').lower()}_*.deb" if version else f"{name}_*.deb"
    with held(work, work.downloads / f"{name}{'=' + version if version else ''}"):
        kept = sorted(work.downloads.glob(pattern), key=functools.cmp_to_key(_newer))
        if kept:
            work.tell(f"using {kept[-1].name}, downloaded earlier")
            return kept[-1]
        # apt is given a folder of its own, so that a half file never has a whole one's place.
        part = work.downloads / f"{name}{'=' + version if version else ''}.partial"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        part.chmod(0o777)  # apt downloads as its own user when started by root
        wanted = f"{name}={version}" if version else name
        work.tell(f"apt-get download {wanted}")
        limits = ["-o", "Acquire::http::Timeout=15", "-o", "Acquire::https::Timeout=15", "-o", "Acquire::Retries=1"]
        command = ["apt-get", "-q", *limits, "download", wanted]
        with work.progress("downloading", probe=lambda: progress.below(part)):
            run.run(tied(command), cwd=part, timeout=timeout).check_ok()
        fetched = sorted(part.glob("*.deb"))
        if not fetched:
            raise SourceFailed(f"package {wanted}: apt-get downloaded nothing")
        final = work.downloads / fetched[0].name
        sync_file(fetched[0])
        fetched[0].rename(final)
        sync_file(final)
        shutil.rmtree(part)
        return final


def package(work: Workspace, source: Mapping[str, Any]) -> Found:
    """Fields: packages (tried in this order), version (default: any), member (default ./usr/src/PACKAGE.tar.xz),
    timeout_seconds."""
    try:
        needs("apt-get", "dpkg", "dpkg-deb", "tar", "xz")
    except SourceFailed as error:
        raise SourceFailed(f"package: {error}") from None
    problems = []
    for name in source["packages"]:
        try:
            deb = _download(work, name, source.get("version", ""), source.get("timeout_seconds", 600))
        except (run.CommandFailed, SourceFailed) as error:
            problems.append(str(error).strip().splitlines()[-1])
            continue
        work.step("downloaded")
        work.tell(f"unpacking {deb.name}")
        try:
            version = run.run(["dpkg-deb", "-f", deb, "Version"]).check_ok().text.strip()
            member = source.get("member", f"./usr/src/{name}.tar.xz")
            _unpack(work, [["dpkg-deb", "--fsys-tarfile", deb], ["tar", "-xO", "-f", "-", member], ["xz", "-dc", "-T0"]])
        except run.CommandFailed:
            deb.unlink()  # a damaged download would fail for ever
            raise
        return Found(f"Debian package {name} {version}", "archive", facts={"package": name, "version": version})
    raise SourceFailed("package: " + "; ".join(problems))
