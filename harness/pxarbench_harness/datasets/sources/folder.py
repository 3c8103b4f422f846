"""A copy of a folder of one's own. The folder itself is only read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import run, tree
from .. import progress
from ..workspace import Workspace, tied
from ..source import Found, SourceFailed, needs


def look(place: Path) -> str:
    """A digest over names and attributes, without contents: whether the folder is still what was copied."""
    return tree.scan(place, contents=False).digest()


def _mounted_below(real: Path) -> list[Path]:
    """A copy of /proc or of somebody's network share is never what was meant."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            place = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split(" ")[4]))
            if real in place.parents:
                found.append(place)
    return found


def copy(work: Workspace, source: Mapping[str, Any]) -> Found:
    """Fields: path. With everything: owners, ACLs, xattrs, hardlinks, holes, nanoseconds; sockets are left out."""
    needs("tar")
    place = Path(os.path.expanduser(source["path"]))
    if not place.is_absolute():
        raise SourceFailed(f"{place}: not an absolute path")
    if not place.is_dir():
        raise SourceFailed(f"{place}: no such folder")
    real, here = place.resolve(), work.scratch.resolve()
    if here == real or real in here.parents or here in real.parents:
        raise SourceFailed(f"{place}: the cache lies in it; PXARBENCH_CACHE names another place for the cache")
    mounted = _mounted_below(real)
    if mounted:
        raise SourceFailed(f"{place}: another file system is mounted in it, at {mounted[0]}; name a folder without one")
    before = look(real)
    work.tell(f"copying {place}")
    # Names in order of bytes, so that two copies are created in one order; posix: nanoseconds.
    out = [
        "tar", "-c", "--format=posix", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls",
        "--sparse", "-C", real, "-f", "-", ".",
    ]  # fmt: skip
    into = ["tar", "-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "-C", work.root, "-f", "-"]
    if os.geteuid() == 0:
        into.insert(3, "--same-owner")
    with work.progress("copying", probe=lambda: progress.below(work.root)):
        run.pipeline([tied(out), tied(into)])
    work.step("copied")
    _compare(work, real)
    if look(real) != before:
        raise SourceFailed(f"{place}: changed while it was copied; once more, when nobody writes there")
    return Found(f"copy of {place}", "path", facts={"origin": os.fspath(real), "origin_digest": before})


def _compare(work: Workspace, origin: Path) -> None:
    fields = [name for name in tree.COMPARED if os.geteuid() == 0 or name not in ("uid", "gid")]
    wrong = tree.differences(tree.scan(origin), tree.scan(work.root), leave_out=lambda e: e.kind == "socket", fields=fields)
    if wrong:
        raise SourceFailed(f"the copy is not equal: {len(wrong)} differences, the first: {wrong[0]}")
