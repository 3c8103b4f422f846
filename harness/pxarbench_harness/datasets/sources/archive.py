"""Trees from a zip or tar file: downloaded, or one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import unpack
from ..download import fetch, local_path
from ..source import Found, SourceFailed
from ..workspace import Workspace, empty


def build(work: Workspace, source: Mapping[str, Any]) -> Found:
    """Fields: url (http, https, file or a path), size, sha256, format (default: by the name), strip (leading folders that
    are left out, default 0). The recipe has to say what it `expects`: nothing beyond that is written."""
    url = str(source["url"])
    files, size = work.recipe.expected("files"), work.recipe.expected("bytes")
    if files is None or size is None:
        raise SourceFailed(f"{url}: the recipe does not say how many files and bytes it expects")
    limits = unpack.Limits(files[1], size[1])
    kind = source.get("format") or unpack.format_of(url)
    for attempt in (1, 2):
        path, digest = fetch(work, source)
        work.tell(f"unpacking {path.name}")
        try:
            with work.progress("unpacking", total_bytes=size[0]) as shown:
                unpack.unpack(path, kind, work.root, work.scratch, limits, source.get("strip", 0), shown)
            break
        except unpack.Damaged as error:
            if local_path(url) is not None:
                raise
            path.unlink()
            # Once more, if this could be the fault of the road: a file that matches its recipe is simply a bad one.
            if source.get("sha256") or attempt == 2:
                raise SourceFailed(f"{error}; the file was removed") from error
            path.with_name(path.name + ".json").unlink(missing_ok=True)
            work.tell(f"{error}; the file was removed, it is downloaded again")
            empty(work.root)
    said = url if local_path(url) is None else f"{path.name}"
    pinned = "" if source.get("sha256") else ", not pinned by the recipe"
    return Found(f"{said} (SHA-256 {digest[:12]}{pinned})", "archive", facts={"url": url, "sha256": digest})
