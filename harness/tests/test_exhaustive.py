"""The exhaustive search: its tree, its operations, its oracle, a fixed sample of the sequences, and that it can fail.

The whole search is a nightly job, suites/regress_exhaustive.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import detect_model
import pytest
import stored_model

from pxarbench_harness import run
from pxarbench_harness.exhaustive import base, cases, operations, places, search
from pxarbench_harness.exhaustive.garden import File, Garden, archive_order, digest_of, first_names, state_of
from pxarbench_harness.exhaustive.invariants import Layout, Place, Rules, flushes_of, problems_of
from pxarbench_harness.exhaustive.oracle import TOUCHED, Reference, judge

#: Operation, its count, "path:reasons" of what must be read again (*: its contents are the old ones), what must be missed.
#: Written down by hand, from what the operation says.
EXPECTED = [
    ("append", 0, "c/r:mtime+size", ""),
    ("append", 1, "d/big:mtime+size", ""),
    ("append", 2, "b/d:mtime+size", ""),
    ("truncate", 0, "b/e:mtime+size", ""),
    ("truncate", 1, "d/big:mtime+size", ""),
    ("truncate", 2, "e/m11:mtime+size", ""),
    ("overwrite", 0, "b/b0:mtime", ""),
    ("overwrite", 1, "c/q:mtime", ""),
    ("overwrite", 2, "z:mtime", ""),
    ("touch", 0, "a0:mtime*", ""),
    ("touch", 1, "c/p:mtime*", ""),
    ("touch", 2, "e/m05:mtime*", ""),
    ("content-restored", 0, "", "c/q"),
    ("content-restored", 1, "", "d/t"),
    ("content-restored", 2, "", "e/m00"),
    ("size-restored", 0, "b/b1:size", ""),
    ("size-restored", 1, "c/r:size", ""),
    ("size-restored", 2, "d/s:size", ""),
    ("chmod", 0, "d/s:mode*", ""),
    ("chmod", 1, "b/e:mode*", ""),
    ("chmod", 2, "z:mode*", ""),
    ("xattr", 0, "c/p:xattr*", ""),
    ("xattr", 1, "c/q:xattr+xattr-value*", ""),
    ("xattr", 2, "d/t:xattr*", ""),
    ("delete-tiny", 0, "", ""),
    ("delete-tiny", 1, "", ""),
    ("delete-tiny", 2, "", ""),
    ("delete-chunk", 0, "", ""),
    ("delete-chunk", 1, "", ""),
    ("delete-chunk", 2, "", ""),
    ("insert-first", 0, "A0:new", ""),
    ("insert-first", 1, "A1:new", ""),
    ("insert-first", 2, "b/a:new", ""),
    ("insert-middle", 0, "c/pp:new", ""),
    ("insert-middle", 1, "d/bigger:new", ""),
    ("insert-middle", 2, "e/m05x:new", ""),
    ("insert-last", 0, "zz0:new", ""),
    ("insert-last", 1, "zz1:new", ""),
    ("insert-last", 2, "f/z:new", ""),
    ("rename-file", 0, "c/qq:new", ""),
    ("rename-file", 1, "d/zz:new", ""),
    ("rename-file", 2, "Am03:new", ""),
    ("rename-directory", 0, "cc/p:new cc/q:new cc/r:new", ""),
    ("rename-directory", 1, " ".join(f"b/x/m{number:02}:new" for number in range(12)), ""),
    ("rename-directory", 2, "Af/h1:new Af/i1:new Af/j1:new", ""),
    ("swap", 0, "b/b0:mtime+size c/p:mtime+size", ""),
    ("swap", 1, "", "s0 s1"),
    ("swap", 2, "e/m01:mtime e/m02:mtime", ""),
    ("hardlink-add", 0, "", ""),
    ("hardlink-add", 1, "b/u:new", ""),
    ("hardlink-add", 2, "", ""),
    ("hardlink-break", 0, "f/h2:hardlink", ""),
    ("hardlink-break", 1, "f/i2:hardlink", ""),
    ("hardlink-break", 2, "f/j2:hardlink", ""),
    ("replace-type", 0, "", ""),
    ("replace-type", 1, "f/link:type f/pipe:type", ""),
    ("replace-type", 2, "d/s/a:new", ""),
    ("duplicate", 0, "Ae:new d/ue:new", ""),
    ("duplicate", 1, "a1p:new a1q:new a1r:new y1p:new y1q:new y1r:new", ""),
    ("duplicate", 2, "b/cc:new d/u1:new", ""),
]


@pytest.fixture(scope="module")
def ground_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bool]]:
    with places.planting_ground(tmp_path_factory.mktemp("ground")) as found:
        yield found


def decide_again(case: dict[str, Any]) -> dict[str, Any]:
    """The twin, written from the specification alone."""
    return stored_model.windowed(case) if case["profile"] == "stored" else detect_model.cached(case)


def profiles_of(program: Path) -> list[str]:
    said = run.run([program, "backup", "--help"], timeout=60).check_ok().text
    return [profile for profile in cases.PROFILES if profile in said]


@pytest.fixture(scope="module")
def ground(pxarbench: Path, ground_folder: tuple[Path, bool]) -> cases.Ground:
    folder, sees_xattrs = ground_folder
    settings = cases.settings_of(profiles_of(pxarbench))
    return cases.Ground(pxarbench, folder / "exhaustive", settings, sees_xattrs, decide_again)


# ---- the tree and the operations ----


def test_the_trees_files_sit_at_the_edges_of_chunks(ground: cases.Ground) -> None:
    for taken in ground.base.values():
        assert tuple(end for end, _ in taken.snapshot.payload_index) == base.ENDS
    taken = ground.base[ground.settings[0].id]
    where = {path: (s.offset, s.offset + 16 + s.entry.size) for path, s in taken.archive.items() if s.offset is not None}

    def cuts(path: bytes) -> list[int]:
        return [end for end in base.ENDS if where[path][0] < end < where[path][1]]

    starts = {path for path, (start, _) in where.items() if start in base.ENDS}
    ends = {path for path, (_, end) in where.items() if end in base.ENDS}
    assert {b"d/u"} == starts & ends and {b"b/b0", b"c/p", b"e/m00", b"s0"} <= starts - ends
    assert {b"a0", b"b/b1", b"c/r", b"d/t", b"e/m11", b"s1", b"z"} <= ends - starts
    assert [path for path in where if cuts(path)] == [b"d/big"] and len(cuts(b"d/big")) == 2
    assert base.ENDS[-1] - base.ENDS[-2] == 16  # the tail marker alone
    assert all(end - start <= 116 for path, (start, end) in where.items() if path in (b"b/c", b"b/d", b"d/s"))


@pytest.mark.parametrize(("word", "count", "changed", "missed"), EXPECTED)
def test_what_an_operation_changes(ground: cases.Ground, word: str, count: int, changed: str, missed: str) -> None:
    """The oracle's answer is the one written down, the disk is what the model says, and there is a way back."""
    garden = ground.garden
    garden.become(ground.base_names)
    operations.OPERATIONS[word](operations.Step(garden, word, count))
    ground.look()
    digests = {path: digest_of(file.content) for path, file in first_names(ground.base_names).items()}
    verdict = judge(Reference(ground.base_names, digests), garden.names)
    wanted = {}
    for path, _, words in (text.partition(":") for text in changed.split()):
        wanted[path.encode()] = frozenset(words.rstrip("*").split("+"))
        assert (path.encode() in verdict.identical) == words.endswith("*")
    assert {**verdict.reasons, **verdict.identical} == wanted
    assert all(verdict.reasons[path] == {TOUCHED} for path in verdict.identical)
    assert verdict.missed == frozenset(missed.encode().split())
    assert verdict.reusable == first_names(garden.names).keys() - wanted.keys()
    garden.become(ground.base_names)
    assert garden.names.keys() == ground.base_names.keys() == ground.look().entries.keys() - {b"."}


def test_every_operation_is_expected_three_times() -> None:
    assert [row[:2] for row in EXPECTED] == [(word, count) for word in operations.WORDS for count in range(3)]
    assert len(operations.WORDS) == 20


def test_an_operation_on_what_is_gone_does_not_apply(ground: cases.Ground) -> None:
    garden = ground.garden
    garden.become(ground.base_names)
    assert operations.apply_all(garden, ("delete-chunk",))
    names = garden.names
    for word in ("append", "xattr", "rename-file", "content-restored", "hardlink-add", "replace-type", "insert-middle"):
        applies = operations.apply_next(garden, ("delete-chunk",), word)
        assert applies == (word == "insert-middle")
        garden.become(names)


def test_directories_come_where_their_names_do() -> None:
    assert archive_order([b"a-b", b"a/b", b"a", b"b"]) == [b"a", b"a/b", b"a-b", b"b"]


def test_the_oracle_knows_what_was_stored_after_a_miss(tmp_path: Path) -> None:
    """The second run's reference holds the bytes from before: still missed, until something can be seen."""
    garden = Garden(tmp_path)
    old = File(b"old", 5)
    garden.create(b"f", old)
    reference = Reference(garden.names, {b"f": digest_of(b"old")})
    garden.write(b"f", b"new", 5)
    assert judge(reference, garden.names).missed == {b"f"}
    second = Reference(garden.names, {b"f": digest_of(b"old")})
    assert judge(second, garden.names).missed == {b"f"}
    garden.touch(b"f", 6)
    assert judge(second, garden.names).reasons == {b"f": {"mtime"}}  # and not touched-but-identical
    verdict = judge(Reference(second.names, {b"f": digest_of(b"new")}), garden.names)
    assert (verdict.reasons, verdict.identical) == ({b"f": {TOUCHED}}, {b"f": {"mtime"}})


# ---- units ----


def test_units_hold_every_sequence_once() -> None:
    every = [sequence for unit in search.units() for sequence in search.sequences_of(unit)]
    assert len(every) == len(set(every)) == 1 + 20 + 400 + 8000
    parts = [search.shard(search.units(), f"{k}/7") for k in range(1, 8)]
    assert sorted(unit for part in parts for unit in part) == sorted(search.units())
    with pytest.raises(ValueError, match="8/7"):
        search.shard(search.units(), "8/7")


def test_a_search_goes_on_where_it_was(ground: cases.Ground, tmp_path: Path) -> None:
    few = cases.Ground.__new__(cases.Ground)
    few.__dict__.update(ground.__dict__, settings=ground.settings[:1])
    journal = search.Journal(tmp_path / "a" / "journal", {"search": "x"})
    units: list[tuple[str, ...]] = [(), ("touch",), ("swap",)]
    first = search.run_units(search.Search(few), units[:2], journal)
    assert (first.sequences, first.cases, first.findings) == (2, 2, [])
    with open(journal.path, "a", encoding="ascii") as out:
        out.write('{"unit": ["sw')  # killed while writing
    with open(journal.path, "a", encoding="ascii") as out:
        out.write("\n")
    before = len(journal.path.read_text().splitlines())
    second = search.run_units(search.Search(few), units, journal)
    assert second.cases == 3 and len(journal.path.read_text().splitlines()) == before + 1
    with pytest.raises(ValueError, match="another search"):
        search.Journal(journal.path, {"search": "y"}).load()


def test_sequences_that_give_the_same_tree_are_backed_up_once(ground: cases.Ground) -> None:
    few = cases.Ground.__new__(cases.Ground)
    few.__dict__.update(ground.__dict__, settings=ground.settings[:1])
    here, found = search.Search(few), search.Tally()
    for words in (("touch", "append"), ("append", "touch"), ("append", "overwrite"), ("touch", "append")):
        few.garden.become(few.base_names)
        assert operations.apply_all(few.garden, words)
        here.sequence(words, found)
    assert (found.sequences, found.repeated, found.cases) == (4, 2, 2)
    here.repeats = True
    here.sequence(("touch", "append"), found)
    assert (found.sequences, found.repeated, found.cases) == (5, 2, 3)


def test_states_tell_trees_apart(ground: cases.Ground) -> None:
    """All of the operations by themselves, and two names of a file from two files."""
    garden, states = ground.garden, set()
    for word, count, _, _ in EXPECTED:
        garden.become(ground.base_names)
        operations.OPERATIONS[word](operations.Step(garden, word, count))
        states.add(state_of(garden.names))
    garden.become(ground.base_names)
    assert len(states) == len(EXPECTED) and state_of(garden.names) not in states
    file, copy = garden.file(b"v"), replace(garden.file(b"v"))
    assert state_of({b"a": file, b"b": file}) != state_of({b"a": file, b"b": copy})
    assert state_of({b"a": file, b"b": copy}) == state_of({b"a": copy, b"b": file})


def test_the_shortest_findings_are_shown() -> None:
    found = [search.Finding(tuple(words.split()), "s", ["p"]) for words in ("a b c", "b", "a c", "c a", "d b")]
    assert [f.words for f in search.minimal(found)] == [("b",), ("a", "c"), ("c", "a")]


# ---- the sample ----


def sample(seed: int, count: int) -> list[tuple[str, ...]]:
    rng = random.Random(f"sample {seed}")
    return [tuple(rng.choice(operations.WORDS) for _ in range(rng.choice((2, 3, 3)))) for _ in range(count)]


def run_sample(ground: cases.Ground, words: list[tuple[str, ...]]) -> search.Tally:
    found, here = search.Tally(), search.Search(ground, restore_every=10)
    for sequence in words:
        ground.garden.become(ground.base_names)
        if operations.apply_all(ground.garden, sequence):
            here.sequence(sequence, found)
        else:
            found.skipped += 1
    return found


def test_sample_of_the_sequences(ground: cases.Ground, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    words = [(), *((word,) for word in operations.WORDS), *sample(seed, 40)]
    found = run_sample(ground, words)
    with capsys.disabled():
        print(f"\n{found.sequences} sequences, {found.cases} cases, {found.missed_files} expected misses")
    assert "".join(finding.text() for finding in found.findings) == ""
    assert found.sequences + found.skipped == len(words) and found.cases == found.sequences * len(ground.settings)
    assert found.sequences >= 50 and found.missed_files > 0 and found.collateral_files > 0 and found.restores > 20
    assert found.collateral_files > 0


def test_sample_of_the_chains(ground: cases.Ground, seed: int) -> None:
    """A run after each operation, with the one before as reference."""
    rng = random.Random(f"chains {seed}")
    here, found = search.Search(ground, chained=True), search.Tally()
    while not found.cases:
        found.add(here.unit((rng.choice(operations.WORDS), rng.choice(operations.WORDS))))
    assert "".join(finding.text() for finding in found.findings) == "" and found.cases > 0
    # Nothing is left but the references of the settings.
    assert {path.name for path in ground.store.rglob("20*Z")} == {"2001-09-09T01:46:40Z"}


def test_nothing_changed_gives_the_same_index_in_both_frugal_profiles(ground: cases.Ground) -> None:
    ground.garden.become(ground.base_names)
    tree, found = ground.look(), {}
    for setting in ground.settings:
        problems, taken = ground.run_case(setting, ground.base[setting.id], cases.FIRST_TIME + 1, tree)
        assert taken is not None and problems == []
        found[setting.id] = taken.snapshot.payload_csum
        ground.drop(setting, taken)
    if "stored-65536" not in found:
        pytest.skip("this program has no profile stored")
    assert found["stored-65536"] == found["tight-65536"]


# ---- it can fail ----

#: The lie, a sequence that brings it out, the setting, and what is said.
LIES = [
    ("blind", ("chmod",), "tight-65536", "reused, but must be read again"),
    ("blind", ("xattr",), "upstream-65536", "reused, but must be read again"),
    ("greedy", ("overwrite", "insert-middle"), "tight-65536", "too much padding in a range"),
    ("upstream", ("overwrite",), "tight-65536", "chunks that nobody uses"),
    ("loses", ("touch",), "tight-1", "archive: c/r: missing"),
    ("reads-all", ("touch",), "tight-2", "stats: reference"),
    ("other-reason", ("touch",), "tight-65536", "read again for owner, not for"),
    ("other-place", ("touch",), "tight-65536", "which is not listed there"),
    ("claims-reuse", ("overwrite",), "tight-65536", "changes were missed that had to be seen|reused, but must be read"),
    ("forgets-a-line", ("touch",), "tight-65536", "decisions name"),
    ("padding", ("overwrite",), "tight-65536", "stats: padding_bytes"),
    ("reads-nothing", ("overwrite",), "tight-65536", "stats: file_bytes_read"),
    ("injections", ("overwrite",), "tight-65536", "stats: injected_chunks"),
    ("damages", ("overwrite",), "tight-65536", "wrong checksum"),
    ("greedy", ("overwrite", "overwrite"), "stored-65536", "too much stored waste"),
    ("blind", ("chmod",), "stored-65536", "reused, but must be read again"),
    # Reads more than it had to, which breaks no rule: only the twin knows.
    ("stingy", ("insert-middle",), "tight-65536", "the twin says reused"),
    ("stingy", ("delete-tiny",), "stored-65536", "the twin says reused"),
]


@pytest.fixture
def liar(ground: cases.Ground, pxarbench: Path, monkeypatch: pytest.MonkeyPatch) -> cases.Ground:
    monkeypatch.setenv("LIE_PROGRAM", str(pxarbench))
    found = cases.Ground.__new__(cases.Ground)
    found.__dict__.update(ground.__dict__, program=Path(__file__).with_name("lying_pxarbench.py"))
    return found


@pytest.mark.parametrize(("lie", "words", "setting_id", "said"), LIES)
def test_lies_are_noticed(
    liar: cases.Ground, monkeypatch: pytest.MonkeyPatch, lie: str, words: tuple[str, ...], setting_id: str, said: str
) -> None:
    settings = [setting for setting in liar.settings if setting.id == setting_id]
    if not settings:
        pytest.skip("this program has no profile stored")
    monkeypatch.setenv("LIE", lie)
    liar.garden.become(liar.base_names)
    assert operations.apply_all(liar.garden, words)
    liar.settings = settings
    found = search.Tally()
    search.Search(liar).sequence(words, found)
    (finding,) = found.findings
    assert any(part in finding.text() for part in said.split("|")), finding.text()


def test_a_restore_that_loses_a_file_is_noticed(liar: cases.Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIE", "restores-less")
    liar.garden.become(liar.base_names)
    liar.settings = liar.settings[:1]
    found = search.Tally()
    search.Search(liar, restore_every=1).sequence((), found)
    (finding,) = found.findings
    assert "restored c/r: missing (file)" in finding.problems


def index(*sizes: int) -> list[tuple[int, bytes]]:
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [(end, bytes([k]) * 32) for k, end in enumerate(ends)]


def test_invariants_of_a_layout_made_by_hand() -> None:
    """Old: start marker and a file, one chunk; four files of 84 bytes in one; tail. New: the second of the four is changed."""
    old = index(116, 400, 16)
    new = [(116, old[0][1]), (516, old[1][1]), (616, b"n" * 32), (1016, old[1][1]), (1032, b"t" * 32)]
    files = [
        Place(b"a", 84, 16, 16), Place(b"b", 84, 116, 116), Place(b"c", 84, 516, None), Place(b"d", 84, 816, 316),
        Place(b"e", 84, 916, 416),
    ]  # fmt: skip
    layout = Layout(old, new, files)
    stored = Rules("stored", threshold_ppm=250_000, max_instances=2)
    assert problems_of(layout, stored) == []
    assert (layout.padding, layout.partial_chunks, layout.unreferenced_chunks) == (500, 2, 0)
    assert (layout.stored_waste, layout.relisted_chunks) == (100 + 16, 1)  # and the old start marker
    assert vars(layout.ledger()) == {
        "start_padding": 200, "end_padding": 300, "hole_padding": 0, "dead_padding": 0, "ranges": 3
    }  # fmt: skip
    assert "too much stored waste" in problems_of(layout, replace(stored, threshold_ppm=249_999))[0]
    assert problems_of(layout, replace(stored, threshold_ppm=249_999), early_chunks=1) == []
    assert "listed too often" in problems_of(layout, replace(stored, max_instances=1))[0]
    flushes = flushes_of(layout, upstream=False)
    assert [(f.start, f.end, f.padding, f.total) for f in flushes] == [(16, 216, 316, 516), (316, 516, 200, 400)]
    assert [f.total for f in flushes_of(layout, upstream=True)] == [516, 416]
    assert flushes[1].exceeds(499_999) and not flushes[1].exceeds(500_000)
    # A hole within one listing: what was used through it before is no padding.
    hole = Layout(old, index(116, 400, 16), [Place(b"b", 84, 116, 116), Place(b"d", 84, 316, 316)])
    assert [f.padding for f in flushes_of(hole, upstream=False)] == [300, 200]
    assert hole.ledger().hole_padding == 100
    # Listed again without need; not listed at all; used by nobody; behind the end.
    twice = Layout(old, [(116, old[0][1]), (516, old[1][1]), (916, old[1][1]), (932, b"t" * 32)],
                   [Place(b"b", 84, 116, 116), Place(b"d", 84, 716, 316)])  # fmt: skip
    assert "listed for each of them" in problems_of(twice, Rules("tight"))[-1]
    assert not [text for text in problems_of(twice, Rules("upstream")) if "listed for each" in text]
    missing = Layout(old, index(116, 401, 16), [Place(b"b", 84, 117, 116)])
    assert "is not listed there" in missing.problems[0]
    dead = Layout(old, [(16, b"s" * 32), (416, old[1][1]), (432, b"t" * 32)], [])
    assert (dead.ledger().dead_padding, dead.ledger().ranges) == (400, 2)
    assert problems_of(dead, Rules("tight")) == ["chunks that nobody uses: [1]"]
    assert problems_of(dead, Rules("upstream"), flushes=0) and not problems_of(dead, Rules("upstream"), flushes=1)
    backwards = Layout(old, new, [files[3], files[0]])
    assert any("is not behind" in text for text in problems_of(backwards, stored))
    assert any("do not grow" in text for text in problems_of(backwards, stored))
