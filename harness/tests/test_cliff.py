"""cliff*.py: figures out of printed lines, layouts out of streams, tables out of data. The whole runs in suites/bench_reuse_cliff.py."""

from __future__ import annotations

import copy
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import cliff, cliff_report, cliff_streams, datasets
from pxarbench_harness.cliff_reference import (
    RUNS, SIMULATED, Case, Figure, ReferenceRun, as_printed, differences, duration, load, parse_lines,
)  # fmt: skip
from pxarbench_harness.cliff_streams import Chunk, Fetches, Reference, fetches, layout, parse_index, parse_references

LINES = [
    "Starting backup: host/g/2023-11-14T22:13:21Z",
    "Change detection summary:",
    " - 78579 total files (0 hardlinks)",
    " - 1684 unchanged, reusable files with 407.757 MiB data",
    " - 76895 changed or non-reusable files with 831.962 MiB data",
    " - 6.948 MiB padding in 29 partially reused chunks",
    "t.mpxar: had to backup 11.324 MiB of 11.324 MiB (compressed 2.209 MiB) in 6.43 s (average 1.761 MiB/s)",
    "t.ppxar: reused 414.705 MiB from previous snapshot for unchanged files (174 chunks)",
    "t.ppxar: had to backup 639.81 MiB of 1.217 GiB (compressed 151.372 MiB) in 6.38 s (average 100.22 MiB/s)",
    "t.ppxar: backup was done incrementally, reused 606.858 MiB (48.7%)",
    "Duration: 6.66s",
]


# ---- printed lines ----


def test_figures_of_a_run() -> None:
    found = {name: figure.text for name, figure in parse_lines(LINES).items()}
    assert found == {
        "total files": "78579",
        "hardlinks": "0",
        "reused files": "1684",
        "reused bytes": "407.757 MiB",
        "re-encoded files": "76895",
        "re-encoded bytes": "831.962 MiB",
        "padding": "6.948 MiB",
        "partial chunks": "29",
        "mpxar not reused": "11.324 MiB",
        "mpxar size": "11.324 MiB",
        "mpxar compressed": "2.209 MiB",
        "ppxar injected bytes": "414.705 MiB",
        "ppxar injected chunks": "174",
        "ppxar not reused": "639.81 MiB",
        "ppxar size": "1.217 GiB",
        "ppxar compressed": "151.372 MiB",
        "ppxar incremental": "606.858 MiB",
        "ppxar incremental %": "48.7",
    }
    assert duration(LINES) == 6.66 and duration(LINES[:-1]) is None


def test_archive_names_and_order_of_lines_do_not_matter() -> None:
    renamed = [line.replace("t.ppxar", "root.ppxar") for line in reversed(LINES)]
    assert differences(parse_lines(renamed), parse_lines(LINES)) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("0 B", 0), ("1023 B", 1023), ("1 KiB", 1024), ("1023.999 KiB", 1048574.976), ("1.5 GiB", 1.5 * 2**30), ("29", 29), ("48.7", 48.7)],
)
def test_value_of_a_figure(text: str, value: float) -> None:
    assert Figure(text).value == pytest.approx(value)


def test_differences_are_those_of_the_printed_texts() -> None:
    ours = parse_lines([line.replace("407.757", "408.757").replace("29 partially", "30 partially") for line in LINES])
    found = differences(ours, parse_lines(LINES))
    assert [(d.name, d.ours, d.reference) for d in found] == [
        ("reused bytes", "408.757 MiB", "407.757 MiB"), ("partial chunks", "30", "29"),
    ]  # fmt: skip
    assert found[0].relative == pytest.approx(1 / 407.757) and found[1].relative == pytest.approx(1 / 29)
    assert Figure("1 KiB").difference(Figure("1024 B")) == 0
    assert Figure("1").difference(Figure("0")) == float("inf")


def test_a_line_that_only_one_of_them_prints_is_a_difference() -> None:
    lacking, whole = parse_lines(LINES[:5]), parse_lines(LINES[:6])
    far = float("inf")
    assert [(d.name, d.ours, d.relative) for d in differences(lacking, whole)] == [("padding", "none", far), ("partial chunks", "none", far)]
    assert [(d.name, d.reference, d.relative) for d in differences(whole, lacking)] == [("padding", "none", far), ("partial chunks", "none", far)]


def reference_file(folder: Path, **changes: Any) -> Path:
    item = {"layout": "uniform", "rate": 1, "files": 78579, "touched": 786, "rc": 0, "summary": LINES, **changes}
    path = folder / "runs.json"
    path.write_text(json.dumps([item]))
    return path


def test_reference_runs_are_loaded(tmp_path: Path) -> None:
    assert load(reference_file(tmp_path)) == [ReferenceRun(Case("uniform", "1"), 78579, 786, tuple(LINES))]
    assert load(reference_file(tmp_path, rate=0.05))[0].case.mutation == "edit:0.05%:uniform"


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"rc": 255}, "the reference's run failed"), ({"summary": LINES[:5]}, "no line tells padding, ppxar not reused")],
)
def test_broken_reference_runs_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(reference_file(tmp_path, **changes))


def test_the_reference_runs_cover_all_cases(vectors: Path) -> None:
    if not (vectors / RUNS).is_file():
        pytest.skip("these vectors have no reference runs")
    runs = load(vectors / RUNS)
    assert tuple(run.case for run in runs) == cliff.CASES
    assert set(SIMULATED) <= {run.case for run in runs}
    for run in runs:
        figures = run.figures
        assert figures["total files"].value == run.files
        assert figures["reused files"].value + figures["re-encoded files"].value == run.files


# ---- streams ----


def chunk_list(*sizes_and_names: tuple[int, bytes]) -> list[Chunk]:
    chunks, at = [], 0
    for size, name in sizes_and_names:
        chunks.append(Chunk(at, at + size, name * 32))
        at += size
    return chunks


def test_index_is_read() -> None:
    body = struct.pack("<Q32s", 100, b"a" * 32) + struct.pack("<Q32s", 150, b"b" * 32)
    data = cliff_streams.DIDX_MAGIC.ljust(4096, b"\0") + body
    assert parse_index(data) == chunk_list((100, b"a"), (50, b"b"))
    for broken in (data[:-1], b"x" + data[1:], data + struct.pack("<Q32s", 150, b"c" * 32)):
        with pytest.raises(ValueError):
            parse_index(broken)


def item(kind: int, content: bytes) -> bytes:
    return struct.pack("<QQ", kind, 16 + len(content)) + content


def test_references_are_found_as_items_only() -> None:
    reference = item(cliff_streams.PAYLOAD_REF, struct.pack("<QQ", 16, 5))
    metadata = item(7, reference) + reference + item(8, b"") + item(cliff_streams.PAYLOAD_REF, struct.pack("<QQ", 37, 0))
    assert parse_references(metadata) == [Reference(16, 5), Reference(37, 0)]
    for broken in (metadata[:-1], metadata + struct.pack("<QQ", 1, 15), item(cliff_streams.PAYLOAD_REF, bytes(24))):
        with pytest.raises(ValueError):
            parse_references(broken)


def test_order_of_references() -> None:
    assert cliff_streams.first_unordered([Reference(16, 4), Reference(36, 0), Reference(52, 1)]) is None
    assert cliff_streams.first_unordered([Reference(16, 4), Reference(35, 0)]) == 1
    assert cliff_streams.first_unordered([]) is None


def test_layout_counts_a_chunk_listed_twice_once() -> None:
    # a: 100 bytes, its files at 0..40 through the first listing, 60..100 through the second; 40..60 is wasted.
    chunks = chunk_list((16, b"m"), (100, b"a"), (30, b"n"), (100, b"a"), (16, b"t"))
    references = [Reference(16, 24), Reference(116, 14), Reference(206, 24)]
    found = layout(chunks, references, chunk_list((100, b"a"), (16, b"t")), chunk_average=128)
    assert (found.entries, found.distinct, found.most_instances) == (5, 4, 2)
    assert (found.virtual_size, found.live, found.stored_size, found.stored_waste) == (262, 110, 162, 20)
    assert found.worst_waste == pytest.approx(0.2)
    assert (found.new_chunks, found.small_chunks) == (2, 2)  # m and n; 30 < 128 / 4
    assert found.new_sizes["lt_16k"] == 2 and sum(found.new_sizes.values()) == 2


def test_layout_counts_overlapping_use_once_and_files_across_chunks() -> None:
    chunks = chunk_list((50, b"a"), (50, b"b"), (50, b"a"), (16, b"t"))
    # One file over the edge of a and b, then the second listing of a from 0: what both use is used once.
    found = layout(chunks, [Reference(20, 34), Reference(100, 14)], [], chunk_average=4096)
    assert found.stored_waste == 30  # a: 0..30 and 20..50, which is all of it; b: 30 of 50
    assert found.live == 50 + 30


def test_layout_refuses_references_behind_the_payload() -> None:
    with pytest.raises(ValueError):
        layout(chunk_list((50, b"a")), [Reference(20, 15)], [], 4096)


def test_nothing_stored() -> None:
    found = layout(chunk_list((32, b"e")), [], [], 4096)
    assert (found.stored_waste, found.live, found.new_chunks) == (0, 0, 1)


@pytest.mark.parametrize(
    ("size", "name"),
    [(1, "lt_16k"), ((1 << 14) - 1, "lt_16k"), (1 << 14, "lt_64k"), ((1 << 22) - 1, "lt_4m"), (1 << 22, "ge_4m")],
)
def test_size_classes(size: int, name: str) -> None:
    assert cliff_streams.size_class(size) == name


def test_fetches_by_the_chunks_a_reader_keeps() -> None:
    chunks = chunk_list((40, b"a"), (30, b"n"), (40, b"a"), (30, b"o"), (40, b"a"))
    references = [Reference(0, 4), Reference(20, 4), Reference(40, 14), Reference(70, 4), Reference(110, 14), Reference(160, 4)]
    assert fetches(chunks, references, 1) == Fetches(5, 180)  # each listing anew
    assert fetches(chunks, references, 2) == Fetches(3, 100)  # the kept chunk stays beside the new one
    assert fetches(chunks, [], 1) == Fetches(0, 0)


def test_the_least_recently_used_chunk_goes() -> None:
    chunks = chunk_list((20, b"a"), (20, b"b"), (20, b"a"), (20, b"c"), (20, b"b"))
    references = [Reference(at, 4) for at in range(0, 100, 20)]
    assert fetches(chunks, references, 2).chunks == 4  # a b (a) c b: b went, not a


# ---- what the program says against the streams ----


def account(shape: cliff_streams.Layout) -> dict[str, Any]:
    return {
        "reused_bytes": shape.live, "reencoded_bytes": 0, "ledger": {"stored_waste": shape.stored_waste},
        "payload": {
            "chunks": shape.entries, "size": shape.virtual_size, "new_chunks": shape.new_chunks, "new_chunks_by_size": shape.new_sizes,
        },
    }  # fmt: skip


def test_contradictions_are_named() -> None:
    chunks = chunk_list((16, b"m"), (100, b"a"), (16, b"t"))
    references = [Reference(16, 70)]
    shape = layout(chunks, references, chunks, 4096)
    upstream, stored = cliff.SETTINGS[0], cliff.SETTINGS[-1]
    assert cliff.contradictions(account(shape), shape, references, upstream) == []
    (waste,) = cliff.contradictions(account(shape), shape, references, stored)
    assert waste == "a listed chunk has 14.0000% of stored waste, the threshold is 10%"
    lying = copy.deepcopy(account(shape))
    lying["ledger"]["stored_waste"] -= 1
    lying["payload"]["new_chunks_by_size"] = {**shape.new_sizes, "lt_16k": 9}
    found = cliff.contradictions(lying, shape, [Reference(16, 70), Reference(16, 70)], upstream)
    assert [text.split(":")[0] for text in found] == [
        "new chunks by size", "stored waste", "reference 1 does not lie behind the one before",
    ]  # fmt: skip


def test_contradictions_of_analyze_are_named() -> None:
    chunks = chunk_list((16, b"m"), (100, b"a"), (16, b"t"))
    references = [Reference(16, 70)]
    shape = layout(chunks, references, chunks, 4096)
    fetched = {1: fetches(chunks, references, 1)}
    said = {
        "index_entries": 3, "chunks": 3, "chunk_bytes": 132, "ledger": {"size": 132, "stored_waste": 14}, "listings_max": 1,
        "reads": {"full": [{"lru": 1, "chunks": 1, "bytes": 100}]},
    }  # fmt: skip
    assert cliff.analysis_contradictions(said, shape, fetched) == []
    said |= {"chunks": 2, "ledger": {"size": 132, "stored_waste": 13}, "reads": {"full": [{"lru": 1, "chunks": 1, "bytes": 99}]}}
    assert cliff.analysis_contradictions(said, shape, fetched) == [
        "distinct chunks: analyze says 2, the streams 3",
        "stored waste: analyze says 13, the streams 14",
        "fetches with 1 kept: analyze says (1, 99), the streams (1, 100)",
    ]


# ---- report ----


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.00003, "0.0030 %"), (0.0057, "0.570 %"), (0.0117, "1.17 %"), (0.671, "67.1 %"), (1, "100.0 %")],
)
def test_percentages(share: float, text: str) -> None:
    assert cliff_report.percent(share) == text


def test_relative_differences() -> None:
    assert cliff_report.relative(5, 5) == "equal"
    assert cliff_report.relative(110, 100) == "+10.0 %"
    assert cliff_report.relative(1, 0) == "–"


@pytest.mark.parametrize(
    ("value", "printed", "equal"),
    [(0.338, "0.3", True), (0.351, "0.3", False), (2.499, "2.5", True), (2.44, "2.5", False), (38.4, "38", True), (38.6, "38", False)],
)
def test_equal_as_printed(value: float, printed: str, equal: bool) -> None:
    assert as_printed(value, printed) is equal


def test_what_is_far_from_the_simulation() -> None:
    shape = {"stored_waste": 57_500, "entries": 1_700, "small_chunks": 790}
    done = {"reused_bytes": 9_856_000, "reencoded_bytes": 144_000, "layout": shape}
    simulated = SIMULATED[Case("uniform", "1")]
    assert cliff_report.far_from_simulation(done, simulated) == []
    done = {"reused_bytes": 9_840_000, "reencoded_bytes": 160_000, "layout": {**shape, "entries": 2_496, "small_chunks": 700}}
    found = cliff_report.far_from_simulation(done, simulated)
    assert found == ["re-read +14.3 %", "index entries +45.7 %", "new small chunks -10.5 %"]


@pytest.fixture(scope="module")
def measured(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The smallest session: one case, one file changed, two rounds, and a reference that says something else."""
    folder = tmp_path_factory.mktemp("cliff")
    plan = cliff.Plan(
        binary=pxarbench, recipe=datasets.load("tiny"), work=folder / "work", cases=(Case("uniform", "0.1"),), rounds=2,
        settings=cliff.available(pxarbench), cache=folder / "cache", chunk_kib=64,
        references=(ReferenceRun(Case("uniform", "0.1"), 78579, 786, tuple(LINES)),),
    )  # fmt: skip
    data = cliff.Cliff(plan, say=lambda _: None).run()
    assert not plan.work.exists()
    return data


def test_a_whole_session(measured: dict[str, Any]) -> None:
    assert measured["problems"] == [] and measured["data_run"]["payload_chunks"] > 50
    (case,) = measured["cases"]
    assert case["touched"] == 1
    assert {"upstream", "tight"} <= set(case["runs"])
    for done in case["runs"].values():
        assert done["restored_equal"] and len(done["wall_ns"]) == 2
        assert done["restore_ns"] > 0 and done["restore_cpu_ns"] > 0
        assert done["reencoded_files"] >= 1 and done["reused_files"] > 300
        assert done["fetches"]["1"]["chunks"] >= done["fetches"]["32"]["chunks"] > 0
    assert case["runs"]["tight"]["reencoded_bytes"] <= case["runs"]["upstream"]["reencoded_bytes"]


def test_only_chosen_cases_are_restored(pxarbench: Path, tmp_path: Path, measured: dict[str, Any]) -> None:
    plan = cliff.Plan(
        binary=pxarbench, recipe=datasets.load("tiny"), work=tmp_path / "work", cases=(Case("uniform", "0.1"),), restored=(),
        settings=cliff.SETTINGS[:1], cache=tmp_path / "cache", chunk_kib=64,
    )  # fmt: skip
    data = cliff.Cliff(plan, say=lambda _: None).run()
    done = data["cases"][0]["runs"]["upstream"]
    assert done["restored_equal"] is None and done["restore_ns"] is None
    assert done["csums"] == measured["cases"][0]["runs"]["upstream"]["csums"]
    assert "0 restored" in cliff_report.render.markdown(cliff_report.report(data))


def test_its_report(measured: dict[str, Any], tmp_path: Path) -> None:
    data = json.loads(json.dumps(measured))  # as it comes back from the file
    cliff_report.write(data, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| uniform 0.1 % | 1 |" in text
    # The made-up reference read 67.1 % again; ours did not, which must stand in the list of differences.
    assert "67.1 %" in text and "1684" in text
    assert "uniform 0.1 %: 1 files changed, the reference's run changed 786" in text
    assert "reused files" in text and "(-7" in text
    assert "Other work shared the machine" in text
    data["quiet_machine"], data["problems"] = True, ["uniform 0.1 %, tight: something"]
    text = cliff_report.render.markdown(cliff_report.report(data))
    assert "Other work" not in text and "- uniform 0.1 %, tight: something" in text


def test_a_repetition_that_gives_another_index_is_a_problem() -> None:
    session = cliff.Cliff(cliff.Plan(binary=Path("none"), recipe=datasets.load("tiny"), work=Path("none")), say=lambda _: None)
    archive = {"metadata": {"csum": "1"}, "payload": {"csum": "2"}}
    done = {"stats": {"archives": [archive]}, "wall_ns": 5, "cpu_ns": 6, "load": 0.5}
    session._backup = lambda mode, options: done  # type: ignore[method-assign]
    runs: dict[str, Any] = {"tight": {"csums": ["1", "2"], "wall_ns": [4], "cpu_ns": [], "load": []}}
    tree = cliff.Tree(Path(), {})
    session._round(Case("uniform", "1"), cliff.SETTINGS[1], tree, [], runs)
    assert session.problems == [] and runs["tight"]["wall_ns"] == [4, 5]
    archive["payload"]["csum"] = "3"
    session._round(Case("uniform", "1"), cliff.SETTINGS[1], tree, [], runs)
    assert session.problems == ["uniform 1 %, tight: a repetition gave another index"]


def test_cases_of_the_command_line() -> None:
    assert cliff.parse_cases("uniform:0.2,clustered:10") == (Case("uniform", "0.2"), Case("clustered", "10"))
    with pytest.raises(ValueError):
        cliff.parse_cases("sorted:1")
