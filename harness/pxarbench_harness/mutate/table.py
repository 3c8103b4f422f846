"""The table of operations with their oracle, made from the registry: `python3 -m pxarbench_harness.mutate.table`."""

from __future__ import annotations

from .operation import NEW, OPERATIONS, Operation
from .oracle import PXAR_LOOKS_AT

_ORDER = (
    "content", "size", "mtime", "ctime", "inode", "mode", "owner", "xattr", "acl", "fcaps", "flags", "project", "hardlink",
    "name", "type",
)  # fmt: skip


def _listed(facets: frozenset[str]) -> str:
    return " ".join(sorted(facets, key=_ORDER.index))


def _verdict(cls: type[Operation], looks_at: frozenset[str]) -> str:
    """Of a detection that looks at these facets: what becomes of a file that the operation changes."""
    if not cls.facets and not cls.sometimes:
        return "read" if cls.makes_new else "-"
    sure = bool(cls.facets & looks_at)
    changes = "content" in cls.facets
    if sure:
        return "read" if changes else "read, needlessly"
    if cls.sometimes & looks_at:
        return "mostly"
    return "MISSED" if changes else "reused"


def rows() -> list[tuple[str, ...]]:
    found = []
    for word, cls in OPERATIONS.items():
        if word == "none":
            continue
        differs = _listed(cls.facets) + (f" ({_listed(cls.sometimes)})" if cls.sometimes else "")
        names = ", ".join(text for text, said in (("new", cls.makes_new), ("gone", cls.makes_gone)) if said)
        found.append((
            f"`{word}`", cls.text + (f" (needs: {cls.needs})" if cls.needs else ""), differs or "-", names or "-",
            _verdict(cls, frozenset({"size", "mtime", "name", "type"})), _verdict(cls, PXAR_LOOKS_AT),
        ))  # fmt: skip
    return found


def markdown() -> str:
    """Columns: word, what it does, facets that differ (in brackets: of some files), names, and two detections."""
    head = ("operation", "what", "differs (sometimes)", "names", "by size and mtime", "by `metadata`")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows()]
    return "\n".join(lines) + "\n"


assert NEW <= frozenset(_ORDER)

if __name__ == "__main__":
    import sys

    from . import during, surroundings  # noqa: F401

    sys.stdout.write(markdown())
