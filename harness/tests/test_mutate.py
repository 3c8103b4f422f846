"""mutate/: the choice of files, the operation log, putting back."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxarbench_harness import mutate, tree
from pxarbench_harness.mutate import primitives, repair, saved


@pytest.fixture
def wood(tmp_path: Path) -> tree.Tree:
    root = tmp_path / "wood"
    for number in range(40):
        path = root / f"d{number % 4}" / f"f{number:02d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * number)
        os.utime(path, ns=(0, 10**18 + number))
    os.link(root / "d0" / "f00", root / "d0" / "linked")
    return tree.scan(root)


@pytest.mark.parametrize("text", [
    "none", "touch:5%:uniform", "edit:0.1%:clustered", "edit:1%:uniform:seed=7", "append:0.01%:zipf:bytes=4096",
    "rewrite:100%:recent:large:bytes=1:seed=0", "delete:50%:tail:small",
])  # fmt: skip
def test_words_are_read_and_written_back(text: str) -> None:
    assert mutate.parse(text).text == text


def test_layout_is_uniform_unless_named() -> None:
    assert mutate.parse("edit:1%").text == "edit:1%:uniform"
    assert mutate.parse("edit:0.1%:clustered").words == "edit0p1pct-clustered"


@pytest.mark.parametrize("text", ["", "edit", "edit:1", "edit:0%", "edit:101%", "edit:-1%", "edit:1%:wild", "none:1%"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected none, touch:P% or edit:P%"):
        mutate.parse(text)


@pytest.mark.parametrize(("text", "why"), [
    ("melt:1%", "'melt' is no operation"), ("edit", "edit needs a rate"), ("edit:0.001%", "0.001 % is no rate"),
    ("edit:1%:wild", "'wild' is not understood"), ("edit:1%:tail:zipf", "'zipf' is not understood"),
    ("edit:1%:bytes=x", "'bytes=x' is not understood"), ("edit:1%:bytes=0", "N from 1"), ("none:1%", "none stands alone"),
    ("edit:1%:seed=1:seed=2", "'seed=2' is not understood"), ("edit:1%:small:large", "'large' is not understood"),
])  # fmt: skip
def test_errors_say_what_is_wrong_and_what_there_is(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        mutate.parse(text)
    assert all(word in str(error.value) for word in ("expected none", "zipf", "atomic-replace", "bytes=N"))


def test_words_may_come_in_any_order() -> None:
    assert mutate.parse("append:1%:seed=3:bytes=9:small:tail").text == "append:1%:tail:small:bytes=9:seed=3"


@pytest.mark.parametrize(("text", "steps", "words"), [
    ("edit:1%", 1, "edit1pct-uniform"),
    ("duplicate:5%:tail>delete-duplicate:50%", 2, "duplicate5pct-tail-then-delete-duplicate50pct-uniform"),
    ("none>mix:0.5%:seed=4*20", 2, "none-then-mix0p5pct-uniform-seed4-x20"),
])  # fmt: skip
def test_chains(text: str, steps: int, words: str) -> None:
    chain = mutate.parse_chain(text)
    assert len(chain.steps) == steps and chain.words == words
    assert mutate.parse_chain(chain.text) == chain
    assert re.fullmatch("[a-z0-9-]+", chain.words)


def test_generations_have_seeds_of_their_own() -> None:
    assert [m.seed for m in mutate.parse_chain("mix:1%*3").measured] == [1, 2, 3]
    assert [m.seed for m in mutate.parse_chain("edit:1%>mix:1%:seed=7*2").measured] == [7, 8]
    assert mutate.parse_chain("edit:1%>mix:1%").measured == (mutate.parse("mix:1%"),)


@pytest.mark.parametrize("text", ["edit:1%*0", "edit:1%*", "edit:1%*x", "edit:1%>", ">edit:1%", "edit:1%>>edit:1%"])
def test_other_chains_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        mutate.parse_chain(text)


def forest(folders: int, files: int) -> list[bytes]:
    return [b"d%03d/f%03d" % (d, f) for d in range(folders) for f in range(files)]


def test_zipf_hits_few_folders_often() -> None:
    files = forest(100, 50)
    chosen = mutate.choose(files, mutate.parse("edit:5%:zipf"))
    hits = sorted(Counter(path.partition(b"/")[0] for path in chosen).values(), reverse=True)
    assert len(chosen) == len(set(chosen)) == 250 and chosen == sorted(chosen)
    assert hits[0] >= 30 and sum(hits[:10]) > 125  # uniform: 2.5 each
    assert 30 < len(hits) < 100  # a long tail, too
    assert mutate.choose(files, mutate.parse("edit:5%:zipf:seed=1")) != chosen
    assert mutate.choose(files, mutate.parse("edit:100%:zipf")) == files


def test_tail_and_recent() -> None:
    files = forest(4, 5)
    assert mutate.choose(files, mutate.parse("edit:15%:tail")) == files[-3:]
    mtimes = {path: 100 for path in files} | {files[2]: 300, files[7]: 200}
    assert mutate.choose(files, mutate.parse("edit:15%:recent"), mtimes) == sorted([files[2], files[7], files[-1]])


def test_small_and_large_are_the_halves_of_the_sizes(wood: tree.Tree, tmp_path: Path) -> None:
    for size, sizes in (("small", range(1, 20)), ("large", range(20, 40))):
        applied = mutate.apply(wood, mutate.parse(f"edit:20%:{size}"), tmp_path / "log")
        assert len(applied.oracle.ops) == 8
        assert all(op.size_before in sizes for op in applied.oracle.ops)
        mutate.undo(tmp_path / "log", wood.root)
        wood = tree.scan(wood.root)


def test_bytes_is_the_size_of_the_change(wood: tree.Tree, tmp_path: Path) -> None:
    applied = mutate.apply(wood, mutate.parse("append:10%:bytes=777"), tmp_path / "log")
    assert {c.size - c.size_before for c in applied.oracle.changes} == {777}


#: n and rate of the runs of the reference client, and the number of files it had touched.
@pytest.mark.parametrize(("rate", "k"), [("0.05", 39), ("0.1", 79), ("0.2", 157), ("0.5", 393), ("1", 786)])
def test_number_of_files_as_in_the_reference_runs(rate: str, k: int) -> None:
    files = [b"%08d" % i for i in range(78579)]
    uniform = mutate.choose(files, mutate.parse(f"edit:{rate}%:uniform"))
    assert len(uniform) == k and uniform == [files[i * 78579 // k] for i in range(k)]
    clustered = mutate.choose(files, mutate.parse(f"edit:{rate}%:clustered"))
    assert clustered == files[26193 : 26193 + k]


def test_order_is_by_bytes_not_by_text() -> None:
    chosen = mutate.choose([b"b", b"\xff", b"a/b", b"a-b"], mutate.parse("touch:50%:clustered"))
    assert chosen == [b"a/b", b"b"]


@given(
    st.integers(1, 300), st.sampled_from(["0.1", "1", "10", "50", "99.9", "100"]), st.sampled_from(["uniform", "clustered"]),
    st.integers(0, 5) | st.none(),
)  # fmt: skip
def test_choice_is_k_different_files_and_repeatable(n: int, rate: str, layout: str, seed: int | None) -> None:
    files = [b"%05d" % i for i in range(n)]
    mutation = mutate.Mutation("edit", rate, layout, seed)
    chosen = mutate.choose(files[::-1], mutation)
    assert len(chosen) == len(set(chosen)) == max(1, round(n * float(rate) / 100)) and chosen == sorted(chosen)
    assert chosen == mutate.choose(files, mutation)
    if layout == "clustered":
        start = files.index(chosen[0])
        assert chosen == files[start : start + len(chosen)]


def test_seed_moves_the_choice() -> None:
    files = [b"%05d" % i for i in range(1000)]
    for layout in ("uniform", "clustered"):
        assert len({tuple(mutate.choose(files, mutate.Mutation("edit", "1", layout, s))) for s in range(8)}) > 4


@pytest.mark.parametrize("operation", ["edit", "touch"])
def test_oracle_log_and_undo(wood: tree.Tree, tmp_path: Path, operation: str) -> None:
    log = tmp_path / "log"
    before = wood.digest()
    applied = mutate.apply(wood, mutate.parse(f"{operation}:10%:clustered"), log)
    oracle = applied.oracle
    assert oracle.files == 4 and len(oracle.content_changed) == (4 if operation == "edit" else 0)
    assert oracle.bytes == sum(applied.tree.entries[p].size for p in oracle.must_be_reread)
    for op in oracle.ops:
        st = os.stat(wood.root / os.fsdecode(op.path))
        assert st.st_mtime_ns == wood.entries[op.path].mtime_ns + 10**9
        assert st.st_size == wood.entries[op.path].size + (operation == "edit")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[0]["mutation"] == f"{operation}:10%:clustered" and len(lines) == 6
    assert lines[1]["oracle"]["must_be_reread"] is True
    assert lines[1]["oracle"]["content_changed"] is (operation == "edit")
    assert lines[-1] == {"digest_after": tree.scan(wood.root).digest()}
    assert mutate.undo(log, wood.root) == before
    assert tree.scan(wood.root).digest() == before and [path.name for path in tmp_path.iterdir()] == ["wood"]
    assert mutate.undo(log, wood.root) is None


def test_files_with_several_names_are_never_changed(wood: tree.Tree, tmp_path: Path) -> None:
    applied = mutate.apply(wood, mutate.parse("touch:100%"), tmp_path / "log")
    assert len(applied.oracle.ops) == 39
    assert not {b"d0/f00", b"d0/linked"} & applied.oracle.must_be_reread


def test_none_changes_nothing_and_leaves_no_log(wood: tree.Tree, tmp_path: Path) -> None:
    applied = mutate.apply(wood, mutate.parse("none"), tmp_path / "log")
    assert applied.oracle.files == 0 and applied.tree is wood and not (tmp_path / "log").exists()


class Killed(BaseException):
    pass


def die_at(monkeypatch: pytest.MonkeyPatch, point: int) -> None:
    left = [point]

    def step() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    for module in (primitives, repair, saved):
        monkeypatch.setattr(module, "step", step)


@pytest.mark.parametrize("point", range(0, 28, 2))
def test_killed_at_any_step_it_is_undone(
    wood: tree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    before = wood.digest()
    with monkeypatch.context() as dying, pytest.raises(Killed):
        die_at(dying, point)
        mutate.apply(wood, mutate.parse("edit:20%"), tmp_path / "log")
    assert mutate.undo(tmp_path / "log", wood.root) in (None, before)
    assert tree.scan(wood.root).digest() == before


def test_undo_interrupted_is_repeated(wood: tree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = wood.digest()
    mutate.apply(wood, mutate.parse("edit:20%"), tmp_path / "log")
    with monkeypatch.context() as dying, pytest.raises(Killed):
        die_at(dying, 5)
        mutate.undo(tmp_path / "log", wood.root)
    assert tree.scan(wood.root).digest() != before
    assert mutate.undo(tmp_path / "log", wood.root) == before
    assert tree.scan(wood.root).digest() == before


def with_append(monkeypatch: pytest.MonkeyPatch, perform: Callable[[bytes, mutate.Op], None]) -> None:
    real = primitives.PRIMITIVES["append"]
    monkeypatch.setitem(primitives.PRIMITIVES, "append", primitives.Primitive(real.simulate, perform))


def test_mutation_that_does_nothing_is_caught(wood: tree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_append(monkeypatch, lambda root, op: None)
    with pytest.raises(mutate.MutationFailed, match="4 of 4 planned files did not change"):
        mutate.apply(wood, mutate.parse("edit:10%"), tmp_path / "log")


def test_mutation_that_touches_another_file_is_caught(
    wood: tree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perform = primitives.PRIMITIVES["append"].perform

    def clumsy(root: bytes, op: mutate.Op) -> None:
        perform(root, op)
        os.utime(os.path.join(root, b"d3/f39"))

    with_append(monkeypatch, clumsy)
    with pytest.raises(mutate.MutationFailed, match="1 others did .d3/f39"):
        mutate.apply(wood, mutate.parse("edit:10%:clustered"), tmp_path / "log")


def test_edit_that_only_sets_the_time_is_caught(wood: tree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_append(monkeypatch, primitives.PRIMITIVES["touch"].perform)
    with pytest.raises(mutate.MutationFailed, match="d0/f04 is not as planned: size"):
        mutate.apply(wood, mutate.parse("edit:1%"), tmp_path / "log")


def test_a_file_changed_by_others_is_left_alone(wood: tree.Tree, tmp_path: Path) -> None:
    applied = mutate.apply(wood, mutate.parse("edit:10%:clustered"), tmp_path / "log")
    path = wood.root / os.fsdecode(applied.oracle.ops[0].path)
    path.write_bytes(b"somebody's work that is much longer")
    with pytest.raises(mutate.AlteredByOthers, match="35 bytes, expected"):
        mutate.undo(tmp_path / "log", wood.root)
    assert path.read_bytes() == b"somebody's work that is much longer"


def test_second_mutation_needs_the_first_undone(wood: tree.Tree, tmp_path: Path) -> None:
    mutate.apply(wood, mutate.parse("edit:10%"), tmp_path / "log")
    with pytest.raises(mutate.MutationFailed, match="undo it first"):
        mutate.apply(wood, mutate.parse("edit:10%"), tmp_path / "log")
