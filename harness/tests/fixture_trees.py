"""The text manifests of fixtures/trees/ and the digests of what they must become.

    /usr/bin/python3 harness/tests/fixture_trees.py --write

writes golden.json anew, from the model in pxar_model.py and never from the program: a change of the program cannot change
what is expected of it. Look at the difference before you commit it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pxar_model as model

Json = dict[str, Any]

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "trees"
GOLDEN = FOLDER / "golden.json"
SUFFIX = ".tree.json"

ITEM_NAMES = {
    value: name
    for name, value in vars(model).items()
    if name.isupper() and isinstance(value, int) and value > 0xFFFFFFFF and name not in ("MASK64", "UNSET")
}


def names() -> list[str]:
    return sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))


def manifest_path(name: str) -> Path:
    return FOLDER / f"{name}{SUFFIX}"


def load(name: str) -> Json:
    tree: Json = json.loads(manifest_path(name).read_bytes())
    return tree


@dataclass(frozen=True)
class Archives:
    """One tree's split archive and its unified one."""

    mpxar: bytes
    ppxar: bytes
    pxar: bytes

    def parts(self) -> dict[str, bytes]:
        return {"mpxar": self.mpxar, "ppxar": self.ppxar, "pxar": self.pxar}


def by_model(tree: Json) -> Archives:
    return Archives(*model.encode_split(tree), model.encode_unified(tree))


def summary(archives: Archives) -> Json:
    return {
        kind: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for kind, data in archives.parts().items()
    }


def golden() -> dict[str, Json]:
    stored: dict[str, Json] = json.loads(GOLDEN.read_text())["trees"]
    return stored


# ---- where two archives part ----


@dataclass(frozen=True)
class Item:
    offset: int
    kind: int
    size: int  # with its header
    path: bytes  # of the entry it belongs to

    def __str__(self) -> str:
        return f"{ITEM_NAMES.get(self.kind, hex(self.kind))} at {self.offset} of {self.path.decode(errors='backslashreplace')}"


def items(stream: bytes) -> Iterator[Item]:
    """The items of a well-formed metadata stream, or of a unified archive."""
    path: list[bytes] = []
    at, in_member = 0, False
    while at < len(stream):
        kind, size = struct.unpack_from("<QQ", stream, at)
        if kind == model.FILENAME:
            # The name before ended with its member, unless that was a directory, which stays open.
            if in_member:
                path.pop()
            path.append(stream[at + 16 : at + size - 1])
            in_member = True
        elif kind == model.GOODBYE and in_member:
            path.pop()
            in_member = False
        yield Item(at, kind, size, b"/" + b"/".join(path))
        if kind == model.ENTRY and struct.unpack_from("<Q", stream, at + 16)[0] & 0o170000 == 0o040000:
            in_member = False
        elif kind == model.GOODBYE and path:
            path.pop()
        at += size


def _place(archives: Archives, kind: str, offset: int) -> str:
    """What stands at this offset of the expected stream."""
    if kind != "ppxar":
        inside = [str(item) for item in items(archives.parts()[kind]) if item.offset <= offset]
        return inside[-1] if inside else "the start"
    before = "bytes before any file"
    for item in items(archives.mpxar):
        if item.kind == model.PAYLOAD_REF:
            begin, size = struct.unpack_from("<QQ", archives.mpxar, item.offset + 16)
            if begin <= offset:
                what = "the block of" if offset < begin + 16 + size else "behind"
                before = f"{what} {item.path.decode(errors='backslashreplace')} at {begin}"
    return before


def _window(data: bytes, offset: int) -> str:
    begin = max(0, offset - offset % 16 - 16)
    lines = []
    for at in range(begin, min(len(data), begin + 64), 16):
        part = data[at : at + 16]
        lines.append(f"    {at:08x}  {part.hex(' '):<47}  {''.join(chr(c) if 32 <= c < 127 else '.' for c in part)}")
    return "\n".join(lines) or "    (ends before)"


def difference(expected: Archives, kind: str, found: bytes) -> str | None:
    """None, or the first place where `found` is not the expected stream of this kind, with both sides in hex."""
    wanted = expected.parts()[kind]
    if found == wanted:
        return None
    pairs = enumerate(zip(wanted, found, strict=False))
    offset = next((i for i, (a, b) in pairs if a != b), min(len(wanted), len(found)))
    return (
        f"{kind} differs at offset {offset} ({_place(expected, kind, offset)}); {len(wanted)} bytes expected, "
        f"{len(found)} found\n  expected\n{_window(wanted, offset)}\n  found\n{_window(found, offset)}"
    )


# ---- a manifest as a reader must tell it ----


def in_archive_order(tree: Json) -> Iterator[tuple[bytes, Json]]:
    """(path with a leading slash, entry) as the archive has them."""

    def below(path: bytes, entry: Json) -> Iterator[tuple[bytes, Json]]:
        yield path or b"/", entry
        for child in sorted(entry.get("entries", ()), key=name_of):
            yield from below(path + b"/" + name_of(child), child)

    yield from below(b"", {"type": "dir", **tree["root"]})


def name_of(entry: Json) -> bytes:
    return model.text_bytes(entry, "name")


def count(tree: Json, what: Callable[[Json], bool]) -> int:
    return sum(what(entry) for _, entry in in_archive_order(tree))


# ---- writing ----


def write() -> list[str]:
    """Returns what changed."""
    before = golden() if GOLDEN.exists() else {}
    after = {name: summary(by_model(load(name))) for name in names()}
    text = ",\n".join(
        f' "{name}": {{\n'
        + ",\n".join(f'  "{kind}": {json.dumps(value)}' for kind, value in kinds.items())
        + "\n }"
        for name, kinds in after.items()
    )
    GOLDEN.write_text(f'{{"trees": {{\n{text}\n}}}}\n')
    return [
        f"{name}: {'new' if name not in before else 'gone' if name not in after else 'changed'}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", required=True, help="write fixtures/trees/golden.json")
    parser.parse_args()
    changes = write()
    print("\n".join(changes) or "nothing changed")


if __name__ == "__main__":
    main()
