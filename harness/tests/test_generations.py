"""Many generations in the small: the mix, what is measured, the rules that hold in each of them. The long run is suites/regress_generations.py."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from pxarbench_harness import run
from pxarbench_harness.exhaustive import series
from pxarbench_harness.exhaustive.generations import (
    Edited,
    History,
    Keeper,
    Mixed,
    Row,
    live_through,
    restore_cost,
    wasted_bytes,
)
from pxarbench_harness.exhaustive.invariants import Layout, Place
from pxarbench_harness.tree import scan

GENERATIONS, FILES = 12, 2000
SMALL = ("--chunk-size", "256")


@pytest.fixture(scope="module")
def profiles(pxarbench: Path) -> list[str]:
    said = run.run([pxarbench, "backup", "--help"], timeout=60).check_ok().text
    return [profile for profile in ("upstream", "tight", "stored") if profile in said]


@pytest.fixture(scope="module")
def history(pxarbench: Path, profiles: list[str], tmp_path_factory: pytest.TempPathFactory, seed: int) -> History:
    folder = tmp_path_factory.mktemp("generations")
    tree = Mixed(folder / "tree", FILES, seed, mean_size=4000)
    tree.plant()
    keepers = [Keeper(pxarbench, profile, folder / profile, SMALL) for profile in profiles]
    return live_through(tree, keepers, GENERATIONS, restore_at=[GENERATIONS // 2])


def rows_of(history: History, profile: str) -> list[Row]:
    return [row for row in history.rows if row.profile == profile]


def test_every_generation_keeps_the_rules_and_comes_back(history: History, profiles: list[str]) -> None:
    assert history.problems == []
    assert history.restored == {profile: 2 for profile in profiles}
    for profile in profiles:
        assert [row.generation for row in rows_of(history, profile)] == list(range(GENERATIONS + 1))


def test_what_is_measured(history: History, profiles: list[str]) -> None:
    for row in history.rows:
        assert row.live_bytes + row.padding_bytes + 32 == row.virtual_bytes
        assert 0 <= row.waste_bytes <= row.padding_bytes and row.chunks <= row.index_entries
        assert row.restore_chunks >= row.chunks - 2  # the markers may be alone
        assert row.live_bytes <= row.restore_bytes + 16
        if row.generation:
            assert row.changed_bytes <= row.read_bytes
            worst = row.waste_worst if row.profile == "stored" else row.padding_worst
            assert worst is not None and 0 <= worst <= 0.1
        else:
            assert row.read_files == row.files and row.padding_bytes == 0
    reads = {profile: sum(row.read_bytes for row in rows_of(history, profile)[1:]) for profile in profiles}
    assert reads["tight"] <= reads["upstream"]
    if "stored" in reads:
        assert reads["stored"] < reads["tight"] / 2


@pytest.mark.parametrize("profile", ["tight", "stored"])
def test_a_broken_rule_is_noticed(pxarbench: Path, profiles: list[str], tmp_path: Path, profile: str) -> None:
    """The program keeps 10 %, the check expects 0.1 %."""
    if profile not in profiles:
        pytest.skip("this program has no profile stored")
    tree = Mixed(tmp_path / "tree", 400, 1, mean_size=4000)
    tree.plant()
    strict = Keeper(pxarbench, profile, tmp_path / "store", SMALL, threshold_ppm=1000)
    found = live_through(tree, [strict], 6)
    wanted = "too much stored waste" if profile == "stored" else "too much padding"
    assert any(wanted in text for text in found.problems), found.problems


def test_a_change_that_is_not_noticed_is_noticed(pxarbench: Path, tmp_path: Path) -> None:
    """The tree says that files have changed, and they have not; it changes files, and does not say so."""

    class Lying(Edited):
        def change(self, generation: int) -> set[bytes]:
            changed = sorted(super().change(generation))
            return {changed[0], b"elsewhere"} if generation == 2 else set(changed)

    source = Mixed(tmp_path / "tree", 200, 1, mean_size=1000)
    source.plant()
    tree = Lying(source.root, 1, 0.05)
    tree.plant()
    keeper = Keeper(pxarbench, "tight", tmp_path / "store", SMALL)
    found = live_through(tree, [keeper], 2)
    assert len(found.problems) == 1 and "generation 2, tight: not noticed: [b'elsewhere']" in found.problems[0]


def test_the_mix_is_the_same_every_time_and_contains_everything(tmp_path: Path) -> None:
    digests: list[str] = []
    for name in ("a", "b"):
        tree = Mixed(tmp_path / name, 600, 5, mean_size=500, share=0.1)
        tree.plant()
        before = scan(tree.root)
        changed = tree.change(1)
        after = scan(tree.root)
        assert changed <= after.entries.keys()
        mine = {p for p, e in after.entries.items() if e.kind == "file" and before.entries.get(p) != e}
        assert mine == changed
        digests.append(after.content_digest())
    assert digests[0] == digests[1]
    old, new = set(before.entries), set(after.entries)
    assert any(b"/g" in path for path in new - old) and any(b"/r" in path for path in new - old) and old - new
    kept = [(before.entries[path], after.entries[path]) for path in changed & old]
    assert any(a.size < b.size for a, b in kept) and any(a.mode != b.mode for a, b in kept)
    assert any(a.digest == b.digest and a.mtime_ns != b.mtime_ns and a.mode == b.mode for a, b in kept)
    assert any(a.digest != b.digest and a.size == b.size for a, b in kept)


def test_edits_keep_sizes_and_are_seen(tmp_path: Path) -> None:
    source = Mixed(tmp_path / "tree", 300, 1, mean_size=500)
    source.plant()
    tree = Edited(source.root, 3, 0.1)
    tree.plant()
    before = scan(tree.root)
    changed = tree.change(1)
    after = scan(tree.root)
    assert len(changed) == round(0.1 * len(tree.files))
    for path in changed:
        a, b = before.entries[path], after.entries[path]
        assert a.size == b.size and a.digest != b.digest and a.mtime_ns != b.mtime_ns
    assert tree.change(2) != changed


# ---- figures, by hand ----


def layout_of(sizes: Sequence[int], names: str, files: Sequence[tuple[int, int]]) -> Layout:
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    index = [(end, name.encode()) for end, name in zip(ends, names, strict=True)]
    return Layout([], index, [Place(b"%d" % at, size - 16, at, None) for at, size in files])


def test_restore_cost_and_waste_by_hand() -> None:
    # Chunk a is listed three times: each time another part of it is used, and once a part of it twice.
    layout = layout_of([100, 50, 100, 60, 100, 16], "abacat", [(16, 34), (100, 50), (200, 20), (250, 60), (350, 60)])
    assert restore_cost(layout, 8) == (3, 100 + 50 + 60)
    assert restore_cost(layout, 1) == (5, 100 + 50 + 100 + 60 + 100)
    assert restore_cost(layout, 2) == (3, 210)
    sizes = {b"a": 100, b"b": 50, b"c": 60, b"t": 16}
    # Of a: marker 0-16, file 16-50, file 50-70, file 40-100.
    assert wasted_bytes(layout, layout.new, sizes) == 0
    fewer = layout_of([100, 50, 100, 60, 100, 16], "abacat", [(16, 34), (100, 50), (200, 20), (250, 60)])
    assert wasted_bytes(fewer, fewer.new, sizes) == 30
    spanning = layout_of([100, 50, 16], "abt", [(60, 80)])
    assert restore_cost(spanning, 1) == (2, 150)
    assert wasted_bytes(spanning, spanning.new, {b"a": 100, b"b": 50, b"t": 16}) == 44 + 10


def test_table_and_plot(history: History, tmp_path: Path) -> None:
    series.publish(history.rows, tmp_path / "out", "a title")
    with open(tmp_path / "out" / "table.csv", newline="", encoding="ascii") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(history.rows) and rows[0]["profile"] == "upstream" and float(rows[0]["read_share"]) > 0.9
    text = (tmp_path / "out" / "table.md").read_text()
    lines = text.splitlines()
    assert lines[0] == "# a title" and "### tight" in lines and "| 12 |" in text
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {len(series.COLUMNS) + 1}
    assert series.milestones(100)[-2:] == [90, 100] and series.milestones(7) == [0, 1, 2, 3, 5, 7]
    again = series.read_csv(tmp_path / "out" / "table.csv")
    assert [(r.profile, r.generation, r.read_bytes, r.padding_worst is None) for r in again] == [
        (r.profile, r.generation, r.read_bytes, r.padding_worst is None) for r in history.rows
    ]
    pytest.importorskip("matplotlib")
    assert (tmp_path / "out" / "plot.png").stat().st_size > 10_000
    svg = (tmp_path / "out" / "plot.svg").read_text()
    series.publish(history.rows, tmp_path / "again", "a title")
    assert svg == (tmp_path / "again" / "plot.svg").read_text()
