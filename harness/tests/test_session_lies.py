"""A harness that lies is caught: each test makes the session itself do something wrong, which has to show."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from session_tools import quiet, small_plan

from pxarbench_harness import cache, check, cli, measure, mutate, run, state, syscalls
from pxarbench_harness import session as sessions
from pxarbench_harness.mutate import Oracle
from pxarbench_harness.session.plan import BlockPlan
from pxarbench_harness.subjects import Outcome, Pxarbench, Restic, Settings
from pxarbench_harness.tree import Tree, scan

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def plan(tmp_path: Path, kept: Path) -> sessions.Plan:
    return small_plan(tmp_path, kept)


def before_each_run(monkeypatch: pytest.MonkeyPatch, do: Callable[[Path], None]) -> None:
    timed = measure.timed

    def lying(argv: tuple[str, ...], **rest: Any) -> measure.Sample:
        if "--repository" in argv:
            do(Path(argv[argv.index("--repository") + 1]))
        return timed(argv, **rest)

    monkeypatch.setattr(measure, "timed", lying)


def test_reference_that_is_deleted_before_each_run(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    before_each_run(monkeypatch, lambda store: shutil.rmtree(store / "host", ignore_errors=True))
    with pytest.raises(sessions.SessionFailed, match="was removed by a run; repetitions would not start equal"):
        quiet(plan)


def test_reference_that_is_deleted_and_put_back_unseen(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store looks as it should afterwards: then the run itself tells that it had no reference."""
    timed = measure.timed

    def lying(argv: tuple[str, ...], **rest: Any) -> measure.Sample:
        if "--repository" not in argv:
            return timed(argv, **rest)
        store = Path(argv[argv.index("--repository") + 1])
        hidden = store.parent / "hidden"
        if (store / "host").exists():
            (store / "host").rename(hidden)
        done = timed(argv, **rest)
        if hidden.exists():
            for group in hidden.iterdir():
                for snapshot in (store / "host" / group.name).iterdir():
                    snapshot.rename(group / snapshot.name)
            shutil.rmtree(store / "host")
            hidden.rename(store / "host")
        return done

    monkeypatch.setattr(measure, "timed", lying)
    problems = quiet(plan).problems
    assert any("mode metadata: no reference was used: no-previous-snapshot" in text for text in problems), problems


def test_mutation_that_did_nothing(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutate, "apply", lambda tree, mutation, log: mutate.Applied(mutation, Oracle(), tree))
    with pytest.raises(sessions.SessionFailed, match="changed nothing: the tree is as it was before"):
        quiet(plan)


def test_mutation_that_only_says_so(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hands out the listing of a tree that is not there."""

    def lying(tree: Tree, mutation: mutate.Mutation, log: Path) -> mutate.Applied:
        path = next(e.path for e in tree.files() if e.size)
        changed = replace(tree.entries[path], digest="0" * 64, mtime_ns=1)
        return mutate.Applied(mutation, Oracle(), Tree(tree.root, {**tree.entries, path: changed}))

    monkeypatch.setattr(mutate, "apply", lying)
    problems = quiet(plan).problems
    assert any("0 files were found changed, the mutation changed 1" in text for text in problems), problems
    assert any("restore:" in text for text in problems), problems


def test_cache_that_is_never_dropped(
    plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every such run is discarded, none gets into a table, and the session has no result for the case."""
    monkeypatch.setattr(cache, "chill", lambda paths, seed: cache.Chill("drop_caches", 0.93))
    done = quiet(replace(plan, caches=("warm", "cold")))
    cold = [r for r in done.records if r.cache == "cold"]
    assert {r.phase for r in cold} == {"discarded"} and len(cold) == 2 * 3
    assert all("93.0 % of it were in the cache" in r.settings["discarded"] and r.resident == 0.93 for r in cold)
    assert sorted(done.inconclusive) == sorted({r.case for r in cold})
    assert {r.mode for r in done.records if r.cache == "warm" and r.phase == "measured"} == {"data", "metadata"}

    monkeypatch.setenv("PXARBENCH_CACHE", str(kept))
    words = ["--binary", str(plan.settings.binary), "--dataset", "tiny", "--mutation", "none", "--rounds", "1", "--no-syscalls",
             "--output", str(tmp_path / "other"), "--work", str(tmp_path / "w"), "--caches", "cold"]  # fmt: skip
    assert cli.main(words) == cli.EXIT_INCONCLUSIVE
    assert "no cold run was cold: 93.0 %" in capsys.readouterr().err


def test_cold_runs_are_preceded_by_an_emptied_cache(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    timed = measure.timed

    def chill(paths: list[Path], seed: int) -> cache.Chill:
        said.append("chill " + " ".join(p.name for p in paths))
        return cache.Chill("drop_caches", 0.001)

    def noted(argv: tuple[str, ...], **rest: Any) -> measure.Sample:
        said.append("run")
        return timed(argv, **rest)

    monkeypatch.setattr(cache, "chill", chill)
    monkeypatch.setattr(measure, "timed", noted)
    done = quiet(replace(plan, caches=("cold",), rounds=2))
    assert done.problems == [] and not done.inconclusive
    cold = [r for r in done.records if r.phase == "measured"]
    assert len(cold) == 4 and {r.resident for r in cold} == {0.001}
    assert [a for a, b in zip(said, said[1:], strict=False) if b == "run"].count("chill tree store") == 4


def test_restore_of_another_snapshot(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    restore = Pxarbench.restore

    def lying(self: Pxarbench, outcome: Any, tree: Path, target: Path) -> Path:
        group = (self.store / outcome.snapshot).parent
        first = min(group.iterdir())
        return restore(self, replace(outcome, snapshot=str(first.relative_to(self.store))), tree, target)

    monkeypatch.setattr(Pxarbench, "restore", lying)
    problems = quiet(plan).problems
    assert any("4 changed files came back with their old contents" in text for text in problems), problems


@pytest.mark.parametrize("mode", ["data", "metadata"])
def test_mode_that_silently_does_the_other(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    backup = Pxarbench.backup
    other = {"data": "metadata", "metadata": "data"}[mode]

    def lying(self: Pxarbench, *rest: Any) -> Any:
        command = backup(self, *rest)
        return replace(command, argv=tuple(other if word == mode else word for word in command.argv))

    monkeypatch.setattr(Pxarbench, "backup", lying)
    with pytest.raises(sessions.SessionFailed, match=f"ran in mode {other}, asked for {mode}"):
        quiet(replace(plan, contenders=(("pxarbench", mode),)))


# ---- misses ----


def test_expected_misses_are_compared_exactly(plan: sessions.Plan) -> None:
    """Contents change, size and mtime do not: metadata must bring back the old contents, data the new ones."""
    done = quiet(with_chain(plan, "content-restored:1%:clustered"))
    assert done.problems == []
    verdicts = {r.mode: r.verdict for r in done.records if r.phase == "proof" and r.verdict is not None}
    counts = {mode: [found[name] for name in ("detected", "missed", "expected_missed")] for mode, found in verdicts.items()}
    assert counts == {"metadata": [0, 4, 4], "data": [4, 0, 0]}


def test_expected_miss_that_does_not_happen_is_a_problem(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    looks_at = Pxarbench.looks_at
    # A mode that reads everything, of which it is claimed that it looks at mtimes only.
    monkeypatch.setattr(
        Pxarbench, "looks_at", lambda self, fs: frozenset({"mtime"}) if self.mode == "data" else looks_at(self, fs)
    )
    problems = quiet(with_chain(plan, "content-restored:1%:clustered")).problems
    assert any("4 files were expected to be missed and were not" in text for text in problems), problems


def test_miss_of_an_earlier_step_stays_missed(plan: sessions.Plan) -> None:
    """What a kept backup missed is still stored with its old contents two backups later."""
    done = quiet(with_chain(plan, "content-restored:1%:clustered>edit:1%:uniform"))
    assert done.problems == []
    (proof,) = [r for r in done.records if r.phase == "proof" and r.mode == "metadata"]
    assert proof.verdict and proof.verdict["missed"] == proof.verdict["expected_missed"] > 0
    assert proof.verdict["detected"] > 0


def with_chain(plan: sessions.Plan, chain: str, scenario: str = "") -> sessions.Plan:
    return replace(plan, blocks=(BlockPlan(plan.blocks[0].recipe, mutate.parse_chain(chain), scenario),))


# ---- expectations ----


@pytest.mark.parametrize(
    ("scenario", "chain", "says"),
    [
        ("S0", "touch:1%", "S0: 4 files were re-encoded, nothing changed"),
        ("S1", "none", "S1: no file was touched"),
        ("S2", "touch:1%", "S2: the scenario changes no contents"),
        ("S4", "none", "S4: no file is gone"),
        ("S5", "none", "S5: no file has a new name"),
        ("S7", "touch:1%", "S7: no attributes were changed"),
        ("S8", "edit:1%", "S8: 0 of 4 files were missed, expected all but 0"),
    ],
)
def test_violated_expectation_is_a_problem(plan: sessions.Plan, scenario: str, chain: str, says: str) -> None:
    problems = quiet(replace(with_chain(plan, chain, scenario), contenders=(("pxarbench", "metadata"),))).problems
    assert any(says in text for text in problems), problems


def test_honest_scenario_has_no_problem(plan: sessions.Plan) -> None:
    assert quiet(with_chain(plan, "content-restored:1%:clustered", "S8")).problems == []


# ---- bytes, leftovers, helpers ----


def test_reading_everything_has_to_show_in_the_kernels_count(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = measure.timed
    monkeypatch.setattr(measure, "timed", lambda *a, **b: replace(timed(*a, **b), io={"rchar": 100_000}))
    problems = quiet(plan).problems
    assert any("the kernel counted 100,000 bytes read, of a tree with" in text for text in problems), problems


def test_chunks_that_rewinding_leaves_behind(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    rewind = state.State.rewind

    def lying(self: state.State, now: state.Listing | None = None) -> int:
        left = [path for path in self.now().files if ".chunks" in path and path not in self.listing.files]
        kept = {path: Path(path).read_bytes() for path in left}
        removed = rewind(self, now)
        for path, data in kept.items():
            Path(path).write_bytes(data)
            self.listing.files[path] = state._mark(path, False)  # and pretends that it had been there
        return removed

    monkeypatch.setattr(state.State, "rewind", lying)
    verify = state.State.verify
    honest: dict[int, set[str]] = {}
    capture = state.State.capture.__func__  # type: ignore[attr-defined]

    def noted(cls: Any, *args: Any, **rest: Any) -> state.State:
        made: state.State = capture(cls, *args, **rest)
        honest[id(made)] = set(made.listing.files)
        return made

    def checked(self: state.State) -> None:
        for path in set(self.listing.files) - honest[id(self)]:
            del self.listing.files[path]
        verify(self)

    monkeypatch.setattr(state.State, "capture", classmethod(noted))
    monkeypatch.setattr(state.State, "verify", checked)
    with pytest.raises(sessions.SessionFailed, match="was left behind by a run; repetitions did not start equal"):
        quiet(plan)


def outcome(**values: Any) -> Outcome:
    return Outcome("snapshot", "used", **values)


@pytest.fixture
def small_tree(tmp_path: Path) -> Tree:
    for number in range(30):
        (tmp_path / f"f{number:02d}").write_bytes(b"x")
    return scan(tmp_path)


def test_trusting_program_that_reads_what_nobody_asked_for(small_tree: Tree, tmp_path: Path) -> None:
    subject = Restic("default", tmp_path / "home", Settings())
    every = frozenset(e.path for e in small_tree.files())
    some = frozenset(sorted(every)[:3])

    def said(files: frozenset[bytes], collateral: frozenset[bytes]) -> str:
        read = check.Read(files, collateral, len(files))
        return " ".join(check.decisions(subject, read, outcome(), Oracle(), small_tree, "ext4"))

    assert said(frozenset(), frozenset()) == ""
    assert "3 files were read again for nothing, the first is f00" in said(some, frozenset())
    assert said(some, some) == ""
    assert "all 30 files were read again, 0 had to be: nothing was reused" in said(every, every)


def test_nothing_is_said_of_what_nobody_saw(small_tree: Tree, tmp_path: Path) -> None:
    """Neither decisions nor a restore: no verdict, rather than what was expected."""
    for mode in ("force", "default"):
        subject = Restic(mode, tmp_path / "home", Settings())
        assert check.verdict(subject, Oracle(), "ext4", small_tree, outcome(), None, None) is None
        assert check.verdict(subject, Oracle(), "ext4", small_tree, outcome(), None, frozenset()) is not None


def test_stores_that_grow_unequally(tmp_path: Path) -> None:
    subject = Restic("default", tmp_path / "home", Settings())
    assert check.equal_growth(subject, [9_000_000, 9_500_000, None, 8_000_000]) == []
    assert check.equal_growth(subject, [9_000_000, 14_000_000]) == [
        "the store grew by 9,000,000 bytes in the first repetition, by 14,000,000 in another"
    ]


def test_failure_under_the_tracer_is_a_problem(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = run.Result((), 7, b"", b"", 1)
    monkeypatch.setattr(syscalls, "count", lambda *_, **__: (failed, {}))
    problems = quiet(replace(plan, counts_syscalls=True)).problems
    assert any("exit 7 under" in text for text in problems), problems


def test_operation_that_cannot_be_done_makes_the_session_inconclusive(plan: sessions.Plan) -> None:
    done = quiet(with_chain(plan, "delete-duplicate:50%"))
    assert done.problems == [] and any("delete-duplicate" in text for text in done.reasons())


def test_every_generation_is_restored_when_all_are_asked_for(plan: sessions.Plan) -> None:
    done = quiet(replace(with_chain(plan, "mix:2%*3"), restore="all"))
    assert done.problems == []
    assert [(r.generation, r.restored) for r in done.records if r.mode == "metadata" and r.phase == "measured"] == [
        (1, True), (2, True), (3, True),
    ]  # fmt: skip
