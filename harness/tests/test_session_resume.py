"""A session that is killed is taken up by the same command, and ends with the same table."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from session_tools import FAKE, quiet, small_plan

from pxarbench_harness import cli, datasets, integers, record, tree
from pxarbench_harness import session as sessions
from pxarbench_harness.session import journal

CHAINS = ("none", "edit:1%:clustered", "rename:1%>append:1%", "mix:5%*2")

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def killed(plan: sessions.Plan, arm: Callable[[Callable[[], None]], Callable[[str], None]]) -> bool:
    """Runs the session in a process of its own. Whether it was killed. `arm`: gets what kills it, gives the step."""
    child = os.fork()
    if child == 0:
        try:
            done = sessions.Session(
                plan, say=lambda text: None, step=arm(lambda: os.kill(os.getpid(), signal.SIGKILL)),
            )  # fmt: skip
            done.run()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def at(word: str, count: int) -> Callable[[Callable[[], None]], Callable[[str], None]]:
    """When the step `word` comes for the `count`-th time."""

    def arm(kill: Callable[[], None]) -> Callable[[str], None]:
        seen: list[str] = []

        def step(said: str) -> None:
            seen.append(said)
            if said == word and seen.count(word) == count:
                kill()

        return step

    return arm


def in_call(module: Any, name: str, count: int) -> Callable[[Callable[[], None]], Callable[[str], None]]:
    """In the middle of something: at the `count`-th call of a function, before it does anything."""

    def arm(kill: Callable[[], None]) -> Callable[[str], None]:
        original, calls = getattr(module, name), [0]

        def counted(*args: Any, **rest: Any) -> Any:
            calls[0] += 1
            if calls[0] == count:
                kill()
            return original(*args, **rest)

        setattr(module, name, counted)
        return lambda said: None

    return arm


def test_killed_at_many_points_ends_with_the_same_integers(tmp_path: Path, kept: Path) -> None:
    whole = quiet(small_plan(tmp_path / "whole", kept, *CHAINS))
    assert whole.problems == []
    plan = small_plan(tmp_path / "cut", kept, *CHAINS)
    points = [
        at("reference", 2), at("written", 1), at("measured", 2), at("restoring", 1), at("mutated", 1), at("finished", 2),
        in_call(os, "utime", 2), at("undoing", 1), in_call(os, "utime", 8), at("undone", 1), at("warm-up", 2),
        in_call(os, "rename", 6), at("proof", 3), at("finishing", 1),
    ]  # fmt: skip
    finished = []
    for number, point in enumerate(points):
        assert killed(replace(plan, work=tmp_path / f"work{number}"), point), number
        finished.append(len(list((plan.output / "blocks").glob("*.json"))))
        said = journal.read_plan(plan.output)
        assert said is not None and said["state"] == "running"
    assert finished == sorted(finished) and finished[0] == 0 and finished[-1] == 5
    last = quiet(replace(plan, work=tmp_path / "last"))
    assert last.problems == []
    assert integers.differences(integers.of(whole.records), integers.of(last.records)) == []
    lines = list(record.read(plan.output / "records.jsonl"))
    assert sorted(r.sequence for r in lines) == sorted(r.sequence for r in whole.records)
    assert [(r.case, r.phase, r.round, r.generation) for r in sorted(lines, key=lambda r: r.sequence)] == [
        (r.case, r.phase, r.round, r.generation) for r in sorted(whole.records, key=lambda r: r.sequence)
    ]
    assert max(r.attempt for r in lines) > 1
    with datasets.prepare(plan.blocks[0].recipe, cache=kept, say=lambda text: None) as dataset:
        assert tree.scan(dataset.root).digest() == dataset.tree.digest()
        assert not list(dataset.folder.glob("mutation*"))


def test_finished_blocks_are_not_run_again(tmp_path: Path, kept: Path) -> None:
    plan = small_plan(tmp_path, kept, "none", "edit:1%:clustered")
    assert killed(plan, at("mutated", 2))
    before = (plan.output / "blocks" / "001.json").read_bytes()
    said: list[str] = []
    done = sessions.Session(replace(plan, work=tmp_path / "again"), say=said.append)
    done.run()
    assert (plan.output / "blocks" / "001.json").read_bytes() == before
    assert any("2 blocks are finished (attempt 2)" in text for text in said)
    attempts = {(r.mutation["text"], r.phase): r.attempt for r in done.records}
    assert attempts["none", "measured"] == 1 and attempts["edit:1%:clustered", "measured"] == 2


def test_another_plan_does_not_go_on(tmp_path: Path, kept: Path) -> None:
    plan = small_plan(tmp_path, kept, "none")
    assert killed(plan, at("measured", 1))
    with pytest.raises(sessions.SessionFailed, match="a session of another plan"):
        quiet(replace(plan, rounds=2))
    fresh = sessions.Session(replace(plan, rounds=2), say=lambda text: None, fresh=True)
    fresh.run()
    assert {r.attempt for r in fresh.records} == {1} and fresh.problems == []
    said: list[str] = []
    again = sessions.Session(replace(plan, rounds=2), say=said.append)
    assert integers.of(again.run()) == integers.of(fresh.records)
    assert len(said) == 1 and "this session is finished" in said[0]


def test_two_sessions_never_share_a_folder(tmp_path: Path, kept: Path) -> None:
    plan = small_plan(tmp_path, kept, "none")
    held = journal.SessionFolder.open(plan.output, plan.described())
    with pytest.raises(sessions.SessionBusy, match="another session works there"):
        quiet(plan)
    held.close()
    assert quiet(plan).problems == []


def test_block_files_are_whole(tmp_path: Path, kept: Path) -> None:
    plan = small_plan(tmp_path, kept, "none")
    assert killed(plan, at("finishing", 1))
    path = plan.output / "blocks" / "001.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(sessions.SessionFailed, match="001.json: .*--fresh begins anew"):
        quiet(plan)


def test_same_command_finds_its_unfinished_session(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PXARBENCH_CACHE", str(kept))
    monkeypatch.setattr(cli.locate, "results", lambda: tmp_path / "results")
    binary = str(small_plan(tmp_path, kept).settings.binary)
    words = ["--binary", binary, "--dataset", "tiny", "--mutation", "none", "--rounds", "1", "--no-syscalls"]
    child = os.fork()
    if child == 0:
        try:
            made = sessions.Session.__init__

            def armed(self: Any, *args: Any, **rest: Any) -> None:
                made(self, *args, **rest)
                self.step = at("measured", 1)(lambda: os.kill(os.getpid(), signal.SIGKILL))

            monkeypatch.setattr(sessions.Session, "__init__", armed)
            cli.main(words)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    (begun,) = (tmp_path / "results" / "runs").iterdir()
    assert json.loads((begun / "plan.json").read_text())["state"] == "running"
    assert cli.main([*words, "--rounds", "2"]) == 0, "another command is another session"
    assert cli.main(words) == 0
    assert f"going on with {begun}" in capsys.readouterr().out
    assert json.loads((begun / "plan.json").read_text())["state"] == "finished"
    assert len(list((tmp_path / "results" / "runs").iterdir())) == 2


def smallest_session(folder: Path) -> list[str]:
    """Words of the command line."""
    return ["--binary", str(FAKE), "--dataset", "tiny", "--mutation", "none", "--rounds", "1", "--no-syscalls", "--output",
            str(folder / "out"), "--work", str(folder / "work")]  # fmt: skip


def test_report_of_a_finished_session_is_written_again(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when there was no room for it the first time."""
    monkeypatch.setenv("PXARBENCH_CACHE", str(kept))
    words = smallest_session(tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pxarbench_harness.report.write", full)
        assert cli.main(words) == 1
        assert "no report: [Errno 28] No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "out" / "report.html").exists()
    assert cli.main(words) == 0
    assert "this session is finished" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").exists()


def test_interruption_has_an_exit_code_of_its_own(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PXARBENCH_CACHE", str(kept))
    words = smallest_session(tmp_path)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for place in ("pxarbench_harness.session.block.Block._measure", "pxarbench_harness.report.write"):
        with monkeypatch.context() as patched:
            patched.setattr(place, interrupted)
            assert cli.main(words) == 130
        assert "interrupted; the same command goes on" in capsys.readouterr().err
    assert cli.main(words) == 0


def test_tree_with_patterns_of_its_own_is_refused(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small_plan(tmp_path, kept, "none")
    prepare = datasets.prepare

    @contextmanager
    def planted(recipe: datasets.Recipe, **rest: Any) -> Iterator[datasets.Dataset]:
        with prepare(recipe, **rest) as dataset:
            some = next(iter(dataset.tree.files()))
            path = b"source/.pxarexclude"
            yield replace(dataset, tree=tree.Tree(dataset.root, {**dataset.tree.entries, path: replace(some, path=path)}))

    monkeypatch.setattr(datasets, "prepare", planted)
    with pytest.raises(sessions.SessionFailed, match="source/.pxarexclude: archives leave out what its patterns say"):
        quiet(plan)
