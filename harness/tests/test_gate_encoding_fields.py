"""What the gate of encodings says about a difference: hex windows, and the name of what stands at an offset."""

from __future__ import annotations

import json
import random
import struct

import fixture_trees
import pxar_model as model
import pytest

from pxarbench_harness.gates import encodings as gate
from pxarbench_harness.gates import fields, windows

# ---- windows ----


def test_the_first_difference_is_that_of_a_plain_loop(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(300):
        a = bytes(dice.choices(b"ab", k=dice.randrange(40)))
        b = a[: dice.randrange(len(a) + 1)] + bytes(dice.choices(b"ab", k=dice.randrange(3)))
        plain = next((i for i in range(max(len(a), len(b))) if a[i : i + 1] != b[i : i + 1]), None)
        assert windows.first_difference(a, b) == plain


def test_windows_show_both_sides_and_mark_what_differs() -> None:
    old = bytes(range(64))
    new = old[:20] + b"\xff" + old[21:]
    assert windows.windows(old, new, 20) == (
        "golden  00000000  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  |................|",
        "golden  00000010  10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  |................|",
        "golden  00000020  20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f  | !\"#$%&'()*+,-./|",
        "golden  00000030  30 31 32 33 34 35 36 37 38 39 3a 3b 3c 3d 3e 3f  |0123456789:;<=>?|",
        "golden  (ends at 64)",
        "found   00000000  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  |................|",
        "found   00000010  10 11 12 13 ff 15 16 17 18 19 1a 1b 1c 1d 1e 1f  |................|",
        "                              ^^",
        "found   00000020  20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f  | !\"#$%&'()*+,-./|",
        "found   00000030  30 31 32 33 34 35 36 37 38 39 3a 3b 3c 3d 3e 3f  |0123456789:;<=>?|",
        "found   (ends at 64)",
    )
    assert windows.windows(b"", b"x", 0)[0] == "golden  (ends at 0)"


# ---- what stands at an offset ----

NAMED = {
    "stat": {"flags", "mode", "uid", "gid", "mtime seconds", "mtime nanoseconds", "project id"},
    "types": {"target", "major", "minor", "offset", "size of the file", "name"},
    "hardlinks": {"distance", "target"},
    "acl": {"id", "perm", "user_obj", "group_obj", "other", "mask"},
    "xattrs": {"name", "value", "value of user.a"},
}


@pytest.mark.parametrize("tree", NAMED)
@pytest.mark.parametrize("split", [True, False], ids=["split", "unified"])
def test_every_byte_has_a_name_and_the_items_are_those_of_the_second_reader(tree: str, split: bool) -> None:
    archives = fixture_trees.by_model(fixture_trees.load(tree))
    stream = archives.mpxar if split else archives.pxar
    expected = [(item.offset, item.kind, item.size, item.path) for item in fixture_trees.items(stream)]
    assert [(item.offset, item.kind, item.size, item.path) for item in fields.items(stream)] == expected
    found, dice = set(), random.Random(1)
    for item in fields.items(stream):
        for offset in range(item.offset, item.offset + min(item.size, 1000)):
            place = fields.in_item(stream, item, offset)
            assert place.item and place.field and place.offset <= offset, offset
            found.add(place.field)
            if dice.random() < 0.01:
                assert fields.at_metadata(stream, offset) == place
    assert not NAMED[tree] - found - (set() if split else {"offset", "size of the file"})


def test_fields_are_told_with_their_values() -> None:
    stream = fixture_trees.by_model(fixture_trees.load("types")).mpxar
    at = stream.index(struct.pack("<QQ", model.ENTRY, 56), 100)
    place = fields.at_metadata(stream, at + 16)
    assert place.field == "mode" and place.value(stream) == f"{struct.unpack_from('<Q', stream, at + 16)[0]:07o}"
    assert place.text == f"mode in ENTRY of {place.path}" and place.path.startswith("/")


def test_rows_of_directory_tables_are_counted() -> None:
    stream = fixture_trees.by_model(fixture_trees.load("types")).mpxar
    at = stream.rindex(struct.pack("<Q", model.GOODBYE))
    rows = (len(stream) - at - 16) // 24 - 1
    assert fields.at_metadata(stream, at + 16).text == f"hash, row 0 of {rows}, in GOODBYE of /"
    assert fields.at_metadata(stream, at + 16 + 24 + 17).text == f"size, row 1 of {rows}, in GOODBYE of /"
    assert fields.at_metadata(stream, len(stream) - 1).text == "size, tail row, in GOODBYE of /"


def test_payloads_are_told_by_file() -> None:
    archives = fixture_trees.by_model(fixture_trees.load("hardlinks"))

    def place(offset: int) -> str:
        return fields.at_payload(archives.mpxar, offset, len(archives.ppxar)).text

    assert place(0) == "the start marker" and place(len(archives.ppxar) - 1) == "the tail marker"
    assert place(16) == "type in PAYLOAD of /a/first" and place(25) == "size of the item in PAYLOAD of /a/first"
    assert place(32) == "contents in PAYLOAD of /a/first"
    begin = next(offset for offset, _, path in fields.references(archives.mpxar) if path == b"/b/padded")
    assert place(begin - 1).startswith("bytes of no file behind the block of /a/sub/deep")


def test_broken_streams_are_explained_too(seed: int) -> None:
    dice = random.Random(seed)
    whole = fixture_trees.by_model(fixture_trees.load("types"))
    for _ in range(300):
        stream = bytearray(whole.mpxar[: dice.randrange(len(whole.mpxar))])
        for _ in range(dice.randrange(4)):
            if stream:
                stream[dice.randrange(len(stream))] = dice.randrange(256)
        offset = dice.randrange(len(whole.mpxar))
        assert fields.at_metadata(bytes(stream), offset).text
        assert fields.at_payload(bytes(stream), dice.randrange(500), 438).text


def test_index_files_are_explained() -> None:
    assert [fields.at_index(offset).text for offset in (0, 10, 25, 40, 100, 4096, 4096 + 41, 4096 + 50)] == [
        "magic in the header", "uuid in the header", "ctime in the header", "csum in the header",
        "reserved bytes in the header", "end in entry 0", "end in entry 1", "digest in entry 1",
    ]  # fmt: skip


def test_cuts_are_told_by_entry() -> None:
    old = [(10, "a" * 64), (20, "b" * 64)]
    elsewhere, other = [(10, "a" * 64), (25, "c" * 64)], [(10, "a" * 64), (20, "c" * 64)]
    assert gate.cuts_text(old, elsewhere) == "entry 1, which begins at 10: ended at 20, ends at 25; 2 entries"
    assert gate.cuts_text(old, other).startswith("entry 1, 10 to 20: digest was bbbbbbbbbbbbbbbb, is cccc")
    assert gate.cuts_text(old, old[:1]) == "ends behind entry 0; 2 entries, now 1"
    assert gate.cuts_text(old, [*old, (30, "")]) == "goes on behind entry 1; 2 entries, now 3"


def test_manifests_are_told_by_field() -> None:
    old = {"files": [{"size": 1, "csum": "x"}], "t": 1}
    plain = json.dumps(old).encode()
    larger = json.dumps({**old, "files": [{"size": 2, "csum": "x"}]}).encode()
    assert gate.json_text(plain, larger) == "files.0.size: was 1, is 2"
    assert gate.json_text(plain, json.dumps(old, indent=2).encode()) == "is the same JSON, written differently"
    assert gate.json_text(b"{}", b"{") == "is no JSON any more"
