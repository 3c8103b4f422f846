"""The golden streams: they come back as they were, broken files are refused, and they are right.

That they are right is shown by the second encoder, pxar_model.py, wherever it can make them.
"""

from __future__ import annotations

import hashlib
import lzma
import random
import tarfile
from io import BytesIO

import fixture_trees
import pxar_model as model
import pytest

from pxarbench_harness.gates import encoding_cases as cases_
from pxarbench_harness.gates import encoding_golden as kept
from pxarbench_harness.gates import encoding_trees as trees
from pxarbench_harness.gates import encodings as gate
from pxarbench_harness.gates.golden import GoldenBroken

EVERY = {case.id: case for case in cases_.all_cases()}
GIT_BYTES_MAX = 1 << 20


@pytest.fixture(scope="module")
def golden() -> kept.Golden:
    return kept.read(kept.csv_path())


# ---- the golden files ----


def test_streams_lose_their_contents_and_get_them_back(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(100):
        contents = sorted({dice.randbytes(dice.choice((10, 64, 65, 300))) for _ in range(4)}, key=lambda c: (-len(c), c))
        parts = [dice.choice([*contents, dice.randbytes(20)]) for _ in range(6)]
        stream = b"".join(parts)
        rest, holes = kept.squeeze(stream, contents)
        by_digest = {hashlib.sha256(content).hexdigest(): content for content in contents}
        assert kept.fill(rest, holes, by_digest) == stream
        assert len(rest) <= sum(len(part) for part in parts if part not in contents or len(part) < kept.HOLE_MIN)


C_DIGEST = hashlib.sha256(b"c").hexdigest()


@pytest.mark.parametrize("holes", ["x", "-1 " + C_DIGEST, "5 " + "0" * 64, "99 " + C_DIGEST])
def test_holes_that_make_no_sense_are_refused(holes: str) -> None:
    assert kept.fill(b"rest", f"4 {C_DIGEST}".encode(), {C_DIGEST: b"c"}) == b"restc"
    with pytest.raises(GoldenBroken):
        kept.fill(b"rest", holes.encode(), {C_DIGEST: b"c"})


def test_packed_streams_come_back_and_broken_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"a/mpxar": b"x" * 1000, "b": b""}
    packed = kept.pack(members)
    assert kept.unpack(packed, "f") == members and kept.pack(dict(reversed(members.items()))) == packed
    for broken in (b"", packed[:-10], b"no xz", lzma.compress(b"no tar" * 200)):
        with pytest.raises(GoldenBroken, match="^f:"):
            kept.unpack(broken, "f")
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(GoldenBroken, match="link is no file"):
        kept.unpack(lzma.compress(out.getvalue()), "f")
    monkeypatch.setattr(kept, "UNPACKED_MAX", 5000)
    with pytest.raises(GoldenBroken, match="more than 5000"):
        kept.unpack(packed, "f")


ROW = f"c,r,1,mpxar,5,{'0' * 64}\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "does not begin"), ("case,value\n", "line 1: 2 columns"), (ROW, "does not begin"),
     ("{}" + ROW + ROW, "line 3: twice"), ("{}" + "d" + ROW[1:] + ROW, "line 3: not sorted"), ("{}" + ROW.replace(",5,", ",-5,"), "line 2"),
     ("{}" + ROW.replace("0" * 64, "xyz"), "line 2"), ("{}a,b\n", "line 2"), ('{}"\n', "line 2"),
     ("{}" + ROW + ROW[:9], "line 3: cut off"), ("{}" + ROW.replace("c,r", "c,"), "line 2")],
)  # fmt: skip
def test_a_list_that_is_none_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(GoldenBroken, match=f"^name: .*{why}"):
        kept.parse(text.replace("{}", ",".join(kept.COLUMNS) + "\n"), "name")


def test_the_list_comes_back_as_it_was_written(golden: kept.Golden) -> None:
    assert kept.parse(kept.to_text(golden), "x") == golden == kept.read(kept.csv_path())
    assert kept.csv_path().read_text() == kept.to_text(golden)
    assert golden.history


def test_every_golden_stream_can_be_shown_and_all_of_them_are_small(golden: kept.Golden) -> None:
    for case in EVERY.values():
        streams = gate.golden_streams(case, golden)
        assert len(streams) == {cases_.SPLIT: 4, cases_.UNIFIED: 2}.get(case.way, 5), case.id
    assert sorted({row.case for row in golden.rows}) == sorted(EVERY)
    files = [kept.csv_path(), *kept.streams_path("x").parent.iterdir()]
    assert sum(path.stat().st_size for path in files) < GIT_BYTES_MAX
    assert {path.name for path in files[1:]} == {f"{case.tree}.tar.xz" for case in EVERY.values()}


@pytest.mark.parametrize("tree", cases_.ON_DISK)
def test_what_was_blessed_from_a_disk_is_what_the_second_encoder_makes(tree: str, golden: kept.Golden) -> None:
    manifest = trees.on_disk(trees.load(tree))
    for entry in [manifest["root"], *(entry for _, entry in trees.entries(manifest))]:
        entry.setdefault("type", "dir")
    mpxar, ppxar = model.encode_split(manifest)
    legacy, data = (gate.golden_streams(EVERY[f"{tree}-{way}"], golden) for way in ("legacy", "data"))
    assert legacy["pxar"] == model.encode_unified(manifest)
    assert data["mpxar"] == mpxar and data["ppxar"] == ppxar


def test_what_was_blessed_with_attributes_is_what_the_second_encoder_makes(golden: kept.Golden) -> None:
    streams = gate.golden_streams(EVERY["attributes-data"], golden)
    assert (streams["mpxar"], streams["ppxar"]) == model.encode_split(trees.attributes())


@pytest.mark.parametrize("tree", trees.names())
def test_what_was_blessed_from_text_is_what_the_second_encoder_wrote_down(tree: str, golden: kept.Golden) -> None:
    wanted = fixture_trees.golden()[tree]
    digests = {row.stream: row.sha256 for way in (cases_.SPLIT, cases_.UNIFIED) for row in golden.of(f"{tree}-{way}")}
    assert {kind: digests[kind] for kind in wanted} == {kind: value["sha256"] for kind, value in wanted.items()}
