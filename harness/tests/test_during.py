"""Changes at an exact moment of a backup: the moments themselves, that nothing hangs, and what is made of what comes out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pxarbench_harness import during, run
from pxarbench_harness.during import Candidate, Case, Row, candidates, measure, owed, stored
from pxarbench_harness.mutate.during import During, Moment, missing
from pxarbench_harness.subjects import Outcome, Pxarbench, Settings

WHOLE = b"whole" * 100


@pytest.fixture
def permitted(tmp_path: Path) -> None:
    if reason := missing(tmp_path):
        pytest.skip(reason)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "d" / "file"
    path.parent.mkdir()
    path.write_bytes(WHOLE)
    return path


def cat(path: Path) -> run.Result:
    return run.run(["cat", path], timeout=30)


pytestmark = pytest.mark.usefixtures("permitted")

# ---- moments ----


def test_between_opening_and_reading(file: Path) -> None:
    with During(lambda: os.truncate(file, 3), Moment(file, "read")) as change:
        assert cat(file).stdout == WHOLE[:3]
    assert change.happened and change.by == "cat" and change.seen == ["cat: read 1 of file"]


def test_while_being_opened(file: Path) -> None:
    with During(file.unlink, Moment(file, "open")) as change:
        assert cat(file).stdout == WHOLE  # its inode lives as long as it is open
    assert change.happened and not file.exists()


def test_between_two_reads(file: Path) -> None:
    with During(lambda: file.write_bytes(b"0" * 500), Moment(file, "read", 2)) as change:
        done = run.run(["dd", f"if={file}", "bs=100", "status=none"], timeout=30)
    assert done.stdout == WHOLE[:100] + b"0" * 400 and change.happened


def test_between_the_names_and_the_files(file: Path) -> None:
    with During(file.unlink, Moment(file.parent, "list", 2)) as change:
        done = run.run(["ls", "-l", file.parent], timeout=30)
    assert change.happened and (b"cannot access" in done.stderr or done.stdout.count(b"file") == 1)


def test_after_another_file_was_finished(file: Path) -> None:
    last = file.parent / "last"
    last.write_bytes(b"last")
    with During(file.unlink, Moment(last, "read"), Moment(file, "finish")) as change:
        done = run.run(["cat", file, last], timeout=30)
    assert done.stdout == WHOLE + b"last" and change.happened and not file.exists()


def test_refused(file: Path) -> None:
    with During(None, Moment(file, "open"), refuse=True) as change:
        done = cat(file)
    assert b"Operation not permitted" in done.stderr and change.happened and cat(file).stdout == WHOLE


# ---- what must not hang, and not be claimed ----


def test_moment_that_does_not_come(file: Path) -> None:
    with During(file.unlink, Moment(file, "read", 2000)) as change:
        cat(file)
    assert not change.happened and change.why_not == "the moment did not come: read 2000 of file" and file.exists()


def test_nobody_is_held_for_long(file: Path) -> None:
    other = file.parent / "other"
    other.touch()
    began = time.monotonic()
    with During(file.unlink, Moment(file, "read"), Moment(other, "close"), hold=0.3) as change:
        assert cat(file).stdout == WHOLE
    assert not change.happened and "held read 1 of file for 0.3 s" in change.why_not and time.monotonic() - began < 5


def test_change_that_fails(file: Path) -> None:
    def fail() -> None:
        raise OSError("no room")

    with During(fail, Moment(file, "open")) as change:
        assert cat(file).stdout == WHOLE
    assert not change.happened and "no room" in change.why_not


def test_the_harness_itself_may_look(file: Path) -> None:
    with During(file.unlink, Moment(file, "open")) as change:
        assert file.read_bytes() == WHOLE
    assert not change.happened and change.seen == []


def test_change_may_open_what_is_watched(file: Path) -> None:
    with During(lambda: file.write_bytes(b"new"), Moment(file, "open")) as change:
        assert cat(file).stdout == b"new"
    assert change.happened


def test_thread_that_dies_lets_everybody_go(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with During(file.unlink, Moment(file, "open")) as change:

        def broken(*_: object) -> None:
            raise RuntimeError("bug")

        monkeypatch.setattr(change, "_event", broken)
        assert cat(file).stdout == WHOLE
        monkeypatch.undo()
    assert not change.happened and change.why_not == "RuntimeError: bug"


def test_harness_that_is_killed_lets_everybody_go(file: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from pxarbench_harness.mutate.during import During, Moment\n"
        "with During(lambda: time.sleep(60), Moment(Path(sys.argv[1]), 'open')): print('armed', flush=True); time.sleep(60)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", script, file], stdout=subprocess.PIPE, env=env) as child:
        assert child.stdout is not None and child.stdout.readline() == b"armed\n"
        said: list[bytes] = []
        reader = threading.Thread(target=lambda: said.append(cat(file).stdout))
        reader.start()
        reader.join(0.5)
        assert reader.is_alive()
        child.send_signal(signal.SIGKILL)
        reader.join(20)
    assert said == [WHOLE]


def test_without_the_right_the_reason_is_named(tmp_path: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    words = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c"]
    script = "from pxarbench_harness.mutate.during import missing; print(missing())"
    done = run.run([*words, script], env={"PYTHONPATH": str(Path(__file__).parents[1])}).check_ok()
    assert "CAP_SYS_ADMIN is needed" in done.text


def test_closing_cannot_be_stopped(file: Path) -> None:
    with pytest.raises(ValueError, match="nobody can be stopped"):
        During(None, Moment(file, "close"))


# ---- the suite, with the program ----

SOME = [
    ("vanish", "listed"), ("vanish", "opened"), ("vanish", "reopened"), ("replace", "behind"), ("shrink", "read"),
    ("grow", "mid-read"), ("rewrite", "mid-read"), ("deny", "listed"), ("refuse", "opened"), ("vanish-directory", "opened"),
]  # fmt: skip


def silent(_: str) -> None:
    pass


def of_pxarbench(pxarbench: Path, mode: str, kind: type[Pxarbench] = Pxarbench, name: str = "pxarbench") -> Candidate:
    def make(home: Path) -> Pxarbench:
        # A datastore's 65,536 directories would take most of the time.
        (home / "store" / ".chunks").mkdir(parents=True)
        (home / "store" / ".lock").touch()
        return kind(mode, home, Settings(binary=pxarbench, sync_level="none"))

    return Candidate(name, mode, make)


@pytest.mark.parametrize("mode", ["legacy", "data", "metadata"])
def test_pxarbench_keeps_to_the_specification(pxarbench: Path, tmp_path: Path, mode: str) -> None:
    cases = [Case(*key) for key in SOME]
    rows = measure([of_pxarbench(pxarbench, mode)], tmp_path / "work", tmp_path / "out", silent, cases)
    assert [(row["operation"], row["place"], row["verdict"], row["sentence"]) for row in rows] == [
        (*key, "ok", "") for key in SOME
    ]  # fmt: skip
    assert all(row["happened"] and row["by"] == "pxarbench" for row in rows)
    whole = json.loads((tmp_path / "out" / "during.json").read_text())
    assert whole["schema"] == "pxarbench-during/1" and whole["rows"] == rows and whole["skipped"] == []
    assert list((tmp_path / "work").iterdir()) == []


class Damages(Pxarbench):
    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        root = super().restore(outcome, tree, target)
        (root / "k" / "file-3").write_bytes(b"damage")
        return root


class ForgetsTheNextRun(Pxarbench):
    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        root = super().restore(outcome, tree, target)
        time = (root / "d").stat().st_mtime_ns
        (root / "d" / "victim").unlink(missing_ok=True)
        os.utime(root / "d", ns=(time, time))
        return root


class HasNoSnapshot(Pxarbench):
    runs = 0

    def outcome(self, output: bytes) -> Outcome:
        self.runs += 1
        if self.runs == 2:
            raise ValueError("nothing there")
        return super().outcome(output)


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        (Damages, "other", "other files than the changing one"),
        (Damages, "pxarbench", "other files than the changing one"),
        (ForgetsTheNextRun, "other", "the next backup does not repair it: d/victim: missing (file)"),
        (ForgetsTheNextRun, "pxarbench", "the snapshot has the file absent, expected zero-padded"),
        (HasNoSnapshot, "other", "it said that all went well, but there is no snapshot"),
    ],
)
def test_lies_are_found(pxarbench: Path, tmp_path: Path, kind: type[Pxarbench], name: str, sentence: str) -> None:
    candidate = of_pxarbench(pxarbench, "data", kind, name)
    said: list[str] = []
    (row,) = measure([candidate], tmp_path / "work", tmp_path / "out", said.append, [Case("shrink", "read")])
    assert row["verdict"] == "problem" and sentence in row["sentence"] and sentence in said[0]


def test_what_the_program_says_is_compared(pxarbench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("shrink", "read")
    monkeypatch.setitem(during.EXPECTED, ("shrink", "read"), replace(during.EXPECTED["shrink", "read"], warnings=()))
    (row,) = measure([of_pxarbench(pxarbench, "data")], tmp_path / "work", tmp_path / "out", silent, [case])
    assert row["verdict"] == "problem" and "file size shrunk" in row["sentence"]


def test_change_that_did_not_happen_proves_nothing(pxarbench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(during, "moments", lambda case, root: (Moment(root / "a", "list", 99), None))
    (row,) = measure([of_pxarbench(pxarbench, "data")], tmp_path / "work", tmp_path / "out", silent, [Case("shrink", "read")])
    assert (row["verdict"], row["happened"]) == ("not reached", False) and "list 99 of a" in row["sentence"]


def test_without_the_right_nothing_is_measured(pxarbench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(during, "missing", lambda folder: "not here")
    assert measure([of_pxarbench(pxarbench, "data")], tmp_path / "work", tmp_path / "out", silent) == []
    assert json.loads((tmp_path / "out" / "during.json").read_text())["skipped"] == ["not here"]


def test_programs_that_are_not_there_are_named(tmp_path: Path) -> None:
    found, left_out = candidates(Settings(binary=tmp_path / "nowhere"), ["pxarbench", "unheard-of"])
    assert found == [] and "is not a program" in left_out[0] and left_out[1] == "unheard-of: no such program is known"


# ---- judging ----


@pytest.mark.parametrize(
    ("have", "answer"),
    [
        ({}, "absent"),
        ({"victim": b"a" * 2048}, "old"),
        ({"victim": b"b" * 2048}, "new"),
        ({"victim": b"a" * 700 + bytes(1348)}, "zero-padded"),
        ({"victim": b"a" * 512 + b"b" * 1536}, "torn"),
        ({"victim": b"a" * 1024}, "torn"),
        ({"victim": b"c" * 2048}, "neither old nor new"),
    ],
)
def test_stored(have: dict[str, bytes], answer: str) -> None:
    assert stored(Case("rewrite", "read"), {"victim": b"a" * 2048}, {"victim": b"b" * 2048}, have) == answer


@pytest.mark.parametrize(
    ("differs", "sentence"),
    [
        ({}, ""),
        ({"stored": "no snapshot", "exit_code": 1, "others_equal": None}, ""),
        ({"stored": "no snapshot"}, "all went well, but there is no snapshot"),
        ({"stored": "neither old nor new"}, "neither old nor new"),
        ({"others_equal": False}, "other files"),
        ({"next_exit_code": 1}, "next backup ends with exit 1"),
        ({"next_run": "d/victim: missing"}, "does not repair it: d/victim"),
    ],
)
def test_what_is_owed(differs: dict[str, object], sentence: str) -> None:
    good = Row("shrink", "read", "x", "y", True, exit_code=0, stored="torn", others_equal=True)
    found = owed(replace(replace(good, next_exit_code=0, next_run="as it is now"), **differs))  # type: ignore[arg-type]
    assert (found == "") == (sentence == "") and sentence in found


def test_every_case_has_words() -> None:
    for case in during.CASES:
        assert case.operation in during.TEXTS and case.place in during.PLACES
