"""ci/gate: exit codes, what is written, what is required, blessing; with gates that say what the test wants."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from pxarbench_harness import locate, run
from pxarbench_harness.gates import cli, required, verdict
from pxarbench_harness.gates.golden import GoldenBroken, NotBlessed
from pxarbench_harness.gates.verdict import Finding, Level

Answer = tuple[list[Finding], list[str]]


class Gate(SimpleNamespace):
    """Stands for a gate's module."""

    def __init__(self, *levels: Level, cases: Sequence[str] = ("a",), raises: BaseException | None = None) -> None:
        self.findings = [Finding("counters", "a", f"n{i}", level, "said") for i, level in enumerate(levels)]
        self.cases, self.raises = list(cases), raises
        self.works: list[Path] = []
        self.blessed: list[str] = []

    def run(self, binary: Path, work: Path) -> Answer:
        assert work.is_dir() and not list(work.iterdir())
        (work / "left").write_text("behind")
        self.works.append(work)
        if self.raises is not None:
            raise self.raises
        return self.findings, self.cases

    def bless(self, binary: Path, work: Path, reason: str) -> tuple[list[str], list[str]]:
        self.works.append(work)
        if self.raises is not None:
            raise self.raises
        self.blessed.append(reason)
        return ["padding +3.1 % in x none data"], self.cases


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of required cases of its own."""
    path = tmp_path / "required.txt"
    read, rewrite = required.read, required.rewrite
    monkeypatch.setattr(required, "read", lambda p=path: read(p))
    monkeypatch.setattr(required, "rewrite", lambda gate, executed, p=path: rewrite(gate, executed, p))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return path


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Path) -> Callable[..., int]:
    """gate(gates, *words): the exit code; files go to tmp_path/out."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    def call(gates: dict[str, Gate], *words: str) -> int:
        def load(name: str) -> Gate:
            if name not in gates:
                raise cli.GateMissing(f"gate {name}: is not there")
            return gates[name]

        monkeypatch.setattr(cli, "load", load)
        places = ["--output", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
        return cli.main([*words, "--binary", str(program), *places])

    return call


@pytest.mark.parametrize(
    "levels,code,strict",
    [
        ((Level.OK,), 0, 0), ((Level.OK, Level.IMPROVED), 0, 0), ((Level.WARNING,), 0, 3), ((Level.REGRESSION,), 2, 2),
        ((Level.OK, Level.INCONCLUSIVE), 4, 4), ((Level.ERROR, Level.REGRESSION), 1, 1),
    ],
)  # fmt: skip
def test_exit_code(levels: tuple[Level, ...], code: int, strict: int, gate: Callable[..., int], tmp_path: Path) -> None:
    one = Gate(*levels)
    assert gate({"counters": one}, "counters") == code
    assert gate({"counters": one}, "counters", "--warnings-as-failures") == strict
    there = verdict.read(tmp_path / "out" / "verdict.json")
    assert there.kind == "gate" and there.executed == ("a",) and len(there.findings) == len(levels)
    assert there.settings["gates"] == "counters" and there.host_fingerprint
    for name in ("summary.md", "summary.txt"):
        assert (tmp_path / "out" / name).read_text().strip()
    assert not any(work.exists() for work in one.works)


def test_all_gates_by_default_in_their_order(gate: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    gates = {name: Gate(Level.OK, cases=[name]) for name in cli.GATES}
    assert gate(gates) == 0
    said = capsys.readouterr().out
    places = [said.index(f"gate {name} ...") for name in cli.GATES]
    assert places == sorted(places)
    assert gate(gates, "counters", "counters") == 0
    assert "gate encodings" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "trouble", [GoldenBroken("counters.csv: line 3: twice"), OSError("disk full"), KeyError("a mistake of ours")], ids=type
)
def test_trouble_of_one_gate_is_an_error_and_the_others_run(
    trouble: Exception, gate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = {"encodings": Gate(raises=trouble), "counters": Gate(Level.REGRESSION), "instructions": Gate(Level.OK)}
    assert gate(gates) == 1
    there = verdict.read(tmp_path / "out" / "verdict.json")
    (error,) = there.at(Level.ERROR)
    assert error.case == "encodings" or error.gate == "encodings"
    assert str(trouble) in error.text and len(there.at(Level.REGRESSION)) == 1
    assert not any(work.exists() for work in gates["encodings"].works)
    # A mistake of the gate itself is shown with its place.
    assert ("Traceback" in capsys.readouterr().err) == isinstance(trouble, KeyError)


def test_gate_that_is_not_there_is_an_error(gate: Callable[..., int], tmp_path: Path) -> None:
    assert gate({"counters": Gate(Level.OK)}) == 1
    texts = [f.text for f in verdict.read(tmp_path / "out" / "verdict.json").at(Level.ERROR)]
    assert texts == [f"the gate did not come to its end: gate {name}: is not there" for name in ("encodings", "instructions")]


def test_fewer_cases_than_required_is_an_error(gate: Callable[..., int], wanted: Path, tmp_path: Path) -> None:
    wanted.write_text("# said\ncounters a\ncounters b\nencodings c\n")
    assert gate({"counters": Gate(Level.OK)}, "counters") == 1
    assert verdict.read(tmp_path / "out" / "verdict.json").missing == ("b",)
    assert gate({"counters": Gate(Level.OK, cases=["b", "a", "more"])}, "counters") == 0
    # Nothing ran, nothing is required: no pass.
    assert gate({"instructions": Gate(cases=[])}, "instructions") == 1


@pytest.mark.parametrize(
    "line", ["counters", "counters a b", "counters  a", "speed a", "counters a\ncounters a", "counters b\ncounters a"]
)
def test_broken_list_is_named_with_its_line(
    line: str, gate: Callable[..., int], wanted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted.write_text(line + "\n")
    one = Gate(Level.OK)
    assert gate({"counters": one}, "counters") == 1
    assert f"{wanted}: line {1 + line.count(chr(10))}: " in capsys.readouterr().err
    assert not one.works  # seen before minutes are spent


def test_blessing_prints_what_changed_and_requires_what_ran(
    gate: Callable[..., int], wanted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted.write_text("counters old\nencodings c\n")
    one = Gate(cases=["b", "a"])
    assert gate({"counters": one}, "counters", "--bless", "--reason", "it is right") == 0
    said = capsys.readouterr().out
    assert "padding +3.1 % in x none data" in said
    assert "2 more required: a, b" in said and "1 no longer required: old" in said
    assert one.blessed == ["it is right"] and required.read() == {"counters": ("a", "b"), "encodings": ("c",)}
    before = wanted.read_bytes()
    assert gate({"counters": one}, "counters", "--bless", "--reason", "again") == 0 and wanted.read_bytes() == before


def test_refused_blessing_of_one_gate_does_not_stop_the_others(
    gate: Callable[..., int], wanted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = {"encodings": Gate(raises=NotBlessed("3 problems")), "counters": Gate(), "instructions": Gate(cases=["i"])}
    assert gate(gates, "--bless", "--reason", "it is right") == 1
    assert "encodings: 3 problems" in capsys.readouterr().err
    assert required.read() == {"counters": ("a",), "instructions": ("i",)}


def test_case_that_cannot_stand_in_the_list_is_refused(gate: Callable[..., int], wanted: Path) -> None:
    assert gate({"counters": Gate(cases=["two words"])}, "counters", "--bless", "--reason", "it is right") == 1
    assert not wanted.exists()


@pytest.mark.parametrize(
    "words,sentence",
    [
        (["speed"], "gate speed: unknown; there are encodings, counters, instructions"),
        (["--bless"], "--bless needs a reason"),
        (["--bless", "--reason", " "], "--bless needs a reason"),
        (["--reason", "x y"], "--reason belongs to --bless"),
        (["--binary", "/nowhere/pxarbench"], "/nowhere/pxarbench is not a program"),
        (["--binary", "/"], "/ is not a program"),
        (["--rounds", "3"], "unrecognized arguments"),
    ],
)
def test_bad_words_are_refused_with_exit_1(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main([*words, *(["--binary", "/bin/true"] if "--binary" not in words else [])])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 1 and sentence in capsys.readouterr().err


def test_output_that_cannot_be_written_is_a_sentence(
    gate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file")
    assert gate({"counters": Gate(Level.OK)}, "counters") == 1
    assert "Traceback" not in capsys.readouterr().err


class OneByOne(Gate):
    """Can run single cases, and tells versions."""

    def run(self, binary: Path, work: Path, only: Sequence[str] = ()) -> Answer:  # type: ignore[override]
        return self.findings, list(only) or self.cases

    def versions(self) -> dict[str, str]:
        return {"a": "v1", "b": "v2", "elsewhere": "v3"}


def test_single_cases(gate: Callable[..., int], wanted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted.write_text("counters a\ncounters b\n")
    one = OneByOne(Level.OK, cases=["a", "b"])
    assert gate({"counters": one}, "counters", "--case", "b") == 0
    there = verdict.read(tmp_path / "out" / "verdict.json")
    assert there.executed == there.required == ("b",) and there.settings["versions"] == {"b": "v2"}
    assert gate({"counters": one}, "counters") == 0
    assert verdict.read(tmp_path / "out" / "verdict.json").settings["versions"] == {"a": "v1", "b": "v2"}
    assert gate({"counters": one}, "--case", "b") == 1
    assert gate({"counters": one}, "counters", "--case", "b", "--bless", "--reason", "it is right") == 1
    assert capsys.readouterr().err.count("--case: of one named gate") == 2
    assert gate({"counters": Gate(Level.OK)}, "counters", "--case", "b") == 1
    assert "runs all of its cases or none" in verdict.read(tmp_path / "out" / "verdict.json").at(Level.ERROR)[0].text


def test_interrupted(gate: Callable[..., int], tmp_path: Path) -> None:
    one = Gate(raises=KeyboardInterrupt())
    assert gate({"counters": one}, "counters") == 130
    assert not any(work.exists() for work in one.works) and not (tmp_path / "out").exists()


def test_cancelled_job_leaves_nothing_behind(tmp_path: Path) -> None:
    """A program that tells its parent to stop: as a runner does that cancels a job."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nls {tmp_path}/work > {tmp_path}/seen\nkill -TERM $(cat {tmp_path}/pid)\nsleep 60\n")
    program.chmod(0o755)
    words = ["-m", "pxarbench_harness.gates", "counters", "--binary", program, "--output", tmp_path / "out"]
    script = f'echo $$ > {tmp_path}/pid; exec "$@"'
    ended = run.run(
        ["sh", "-c", script, "sh", sys.executable, *words, "--work", tmp_path / "work"],
        env={"PYTHONPATH": str(locate.REPOSITORY / "harness")}, timeout=50,
    )  # fmt: skip
    assert ended.returncode == 130 and ended.stderr.endswith(b"ci/gate: interrupted\n")
    assert (tmp_path / "seen").read_text().startswith("pxarbench-gate-counters-")
    assert not list((tmp_path / "work").iterdir())


def test_annotations_where_a_workflow_reads_them(
    gate: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate({"counters": Gate(Level.REGRESSION)}, "counters") == 2
    assert "::error" not in capsys.readouterr().out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert gate({"counters": Gate(Level.REGRESSION)}, "counters") == 2
    assert "::error" in capsys.readouterr().out


def test_script_answers_questions_without_building(tmp_path: Path) -> None:
    script = locate.REPOSITORY / "ci" / "gate"
    told = run.run([script, "--help"])
    assert told.returncode == 0 and "examples:" in told.text and "exit codes: 0 nothing differs" in told.text
    listed = run.run([script, "--list", "counters"]).check_ok().text.splitlines()
    assert listed == [f"counters {case}" for case in required.read()["counters"]]
    wrong = run.run([script, "--no-setup", "--binary", "/bin/true", "speed"])
    assert wrong.returncode == 1 and wrong.stderr.startswith(b"ci/gate: gate speed: unknown")
    assert os.access(script, os.X_OK)
    assert json.loads((locate.results() / "schema" / "verdict.v1.json").read_text())
