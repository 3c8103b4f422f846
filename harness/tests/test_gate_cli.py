"""ci/gate: exit codes, what is written, what is required, blessing; with gates that say what the test wants."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from pxarbench_harness import locate, measure, run
from pxarbench_harness.gates import cli, golden, required, verdict
from pxarbench_harness.gates.golden import GoldenBroken, NotBlessed
from pxarbench_harness.gates.verdict import Finding, Level

Answer = tuple[list[Finding], list[str]]


class Gate(SimpleNamespace):
    """Stands for a gate's module."""

    def __init__(self, *levels: Level, cases: Sequence[str] = ("a",), raises: BaseException | None = None) -> None:
        self.levels, self.cases, self.raises, self.name = levels, list(cases), raises, "counters"
        self.works: list[Path] = []
        self.blessed: list[str] = []

    @property
    def findings(self) -> list[Finding]:
        """Of the first case as the test wants, of the others one that is fine."""
        made = [Finding(self.name, case, "n", Level.OK, "as before") for case in self.cases[1:]]
        return [*(Finding(self.name, self.cases[0], f"n{i}", level, "said") for i, level in enumerate(self.levels)), *made]

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
    path = tmp_path / "golden" / "required.txt"
    path.parent.mkdir()
    read, rewrite = required.read, required.rewrite
    monkeypatch.setattr(required, "PATH", path)
    monkeypatch.setattr(required, "read", lambda p=path: read(p))
    monkeypatch.setattr(required, "rewrite", lambda gate, executed, p=path: rewrite(gate, executed, p))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return path


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Path) -> Callable[..., int]:
    """gate(gates, *words): the exit code; files go to tmp_path/out. Where the test has no list, all cases are required."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    def call(gates: dict[str, Gate], *words: str) -> int:
        for name, one in gates.items():
            one.name = name
        if not wanted.exists() and "--bless" not in words:
            wanted.write_text("".join(sorted(f"{name} {case}\n" for name, one in gates.items() for case in one.cases)))
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
    "trouble",
    [GoldenBroken("counters.csv: line 3: twice"), OSError("disk full"), KeyError("a mistake of ours"), SystemExit(0)], ids=type,
)  # fmt: skip
def test_trouble_of_one_gate_is_an_error_and_the_others_run(
    trouble: BaseException, gate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = {
        "encodings": Gate(raises=trouble, cases=[]), "counters": Gate(Level.REGRESSION),
        "instructions": Gate(Level.OK, cases=["i"]),
    }  # fmt: skip
    assert gate(gates) == 1
    there = verdict.read(tmp_path / "out" / "verdict.json")
    (error,) = there.at(Level.ERROR)
    assert error.case == "encodings" or error.gate == "encodings"
    assert str(trouble) in error.text and len(there.at(Level.REGRESSION)) == 1
    assert not any(work.exists() for work in gates["encodings"].works)
    # A mistake of the gate itself is shown with its place.
    assert ("Traceback" in capsys.readouterr().err) == isinstance(trouble, KeyError | SystemExit)


def test_gate_that_is_not_there_is_an_error(gate: Callable[..., int], tmp_path: Path) -> None:
    assert gate({"counters": Gate(Level.OK)}) == 1
    texts = [f.text for f in verdict.read(tmp_path / "out" / "verdict.json").at(Level.ERROR)]
    assert texts == [f"the gate did not come to its end: gate {name}: is not there" for name in ("encodings", "instructions")]


def test_fewer_cases_than_required_is_an_error(gate: Callable[..., int], wanted: Path, tmp_path: Path) -> None:
    wanted.write_text("# said\ncounters a\ncounters b\nencodings c\n")
    assert gate({"counters": Gate(Level.OK)}, "counters") == 1
    assert verdict.read(tmp_path / "out" / "verdict.json").missing == ("b",)
    assert gate({"counters": Gate(Level.OK, cases=["b", "a"])}, "counters") == 0
    # Nothing ran, nothing is required: no pass.
    assert gate({"instructions": Gate(cases=[])}, "instructions") == 1


@pytest.mark.parametrize(
    "text,said",
    [
        ("", "has no case of gate counters"), ("# emptied\n", "has no case of gate counters"),
        (None, "has no case of gate counters"), ("encodings c\n", "has no case of gate counters"), ("counters a\n", "nobody would miss it"),
    ],
)  # fmt: skip
def test_a_list_that_was_emptied_or_cut_is_an_error(
    text: str | None, said: str, gate: Callable[..., int], wanted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted.write_text(text or "")
    if text is None:
        monkeypatch.setattr(required, "read", lambda: {})
    assert gate({"counters": Gate(Level.OK, cases=["a", "b"])}, "counters") == 1
    (error,) = verdict.read(tmp_path / "out" / "verdict.json").at(Level.ERROR)
    assert error.gate == "required" and said in error.text and "ci/gate counters --bless" in error.text


def test_cases_that_only_some_disks_can_have_need_not_be_listed(gate: Callable[..., int], wanted: Path) -> None:
    one = Gate(Level.OK, cases=["a", "some"])
    one.optional_ids = lambda: ["some"]
    wanted.write_text("counters a\n")
    assert gate({"counters": one}, "counters") == 0


def test_a_case_that_ran_and_was_not_compared_is_an_error(gate: Callable[..., int], tmp_path: Path) -> None:
    assert gate({"counters": Gate(cases=["a", "b"]), "encodings": Gate(Level.OK, cases=["c"])}, "counters", "encodings") == 1
    errors = verdict.read(tmp_path / "out" / "verdict.json").at(Level.ERROR)
    assert [(f.gate, f.case, f.text) for f in errors] == [("counters", "a", "ran, and nothing was compared")]


def test_one_name_for_cases_of_two_gates_is_an_error(gate: Callable[..., int], tmp_path: Path) -> None:
    """What one of them ran would count for the other."""
    assert gate({"counters": Gate(Level.OK), "encodings": Gate(Level.OK)}, "counters", "encodings") == 1
    assert "another gate" in verdict.read(tmp_path / "out" / "verdict.json").at(Level.ERROR)[0].text


def test_cases_of_all_gates_have_different_names_and_are_required() -> None:
    for name in cli.GATES:
        module = cli.load(name)
        optional = module.optional_ids() if hasattr(module, "optional_ids") else []
        ask = getattr(module, "case_ids", None) or module.cases
        assert sorted(set(ask()) - set(optional)) == list(required.read()[name])
    every = [case for cases in required.read().values() for case in cases]
    assert len(every) == len(set(every)) > 200


def test_gates_are_told_what_must_have_golden_values(gate: Callable[..., int]) -> None:
    told: list[Sequence[str]] = []

    class Told(Gate):
        def run(self, binary: Path, work: Path, required: Sequence[str] = ()) -> Answer:  # type: ignore[override]
            told.append(required)
            return self.findings, self.cases

    assert gate({"counters": Told(Level.OK)}, "counters") == 0 and told == [("a",)]


# ---- an earlier verdict, several at once ----


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_earlier_verdict_is_gone_however_the_job_ends(gate: Callable[..., int], tmp_path: Path) -> None:
    def green() -> None:
        assert gate({"counters": Gate(Level.OK)}, "counters") == 0
        assert left(tmp_path / "out") == sorted(cli.VERDICT_FILES)

    green()
    assert gate({"counters": Gate(raises=KeyboardInterrupt())}, "counters") == 130 and left(tmp_path / "out") == []
    green()
    (tmp_path / "program").chmod(0)
    assert gate({"counters": Gate(Level.OK)}, "counters") == 1 and left(tmp_path / "out") == []


def test_a_failed_build_is_a_verdict(gate: Callable[..., int], tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x.c:1: error: no\nninja: stopped\n")
    one = Gate(Level.OK)
    assert gate({"counters": one}, "counters", "--build-failed", str(log)) == 1 and not one.works
    first = verdict.read(tmp_path / "out" / "verdict.json").findings[0]
    assert (first.gate, first.level, first.text) == ("counters", Level.ERROR, "the program could not be built")
    assert first.details == ("x.c:1: error: no", "ninja: stopped")
    assert gate({"counters": one}, "counters", "--build-failed", str(log), "--bless", "--reason", "it is right") == 1
    assert not one.blessed


def test_a_program_that_is_replaced_meanwhile_is_an_error(gate: Callable[..., int], tmp_path: Path) -> None:
    class Rebuilt(Gate):
        def run(self, binary: Path, work: Path) -> Answer:
            binary.write_text("#!/bin/sh\n# another\n")
            return self.findings, self.cases

    assert gate({"counters": Rebuilt(Level.OK)}, "counters") == 1
    (error,) = verdict.read(tmp_path / "out" / "verdict.json").at(Level.ERROR)
    assert error.text == "the program was replaced while it was judged"


def test_the_commit_is_told_of_programs_of_this_checkout_only(
    gate: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History would blame a commit for what another one's program did."""
    monkeypatch.setattr(measure, "commit", lambda: "0123456789ab+changes")
    assert gate({"counters": Gate(Level.OK)}, "counters") == 0
    there = verdict.read(tmp_path / "out" / "verdict.json")
    assert there.head_commit == ""
    monkeypatch.setattr(locate, "REPOSITORY", tmp_path)
    assert gate({"counters": Gate(Level.OK)}, "counters") == 0
    again = verdict.read(tmp_path / "out" / "verdict.json")
    assert again.head_commit == "0123456789ab+"


def test_the_machine_is_the_same_whatever_it_judges(gate: Callable[..., int], tmp_path: Path) -> None:
    marks = set()
    for text in ("one", "other"):
        (tmp_path / "program").write_text(f"#!/bin/sh\n# {text}\n")
        measure.build.cache_clear()
        assert gate({"counters": Gate(Level.OK)}, "counters") == 0
        there = verdict.read(tmp_path / "out" / "verdict.json")
        marks.add((there.host_fingerprint, there.head))
    assert len({mark for mark, _ in marks}) == 1 and len(marks) == 2


def test_two_cannot_bless_at_once(gate: Callable[..., int], wanted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["counters", "--bless", "--reason", "it is right"]
    one = Gate()
    with golden.alone(wanted.parent):
        assert gate({"counters": one}, *words) == 1
        assert "another --bless is at work" in capsys.readouterr().err and not one.works
    assert gate({"counters": one}, *words) == 0


def test_what_is_written_at_once_is_one_of_the_two(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    texts = ["a" * 300_000, "b" * 300_000]
    script = "import sys; from pathlib import Path; from pxarbench_harness.gates import golden\n"
    script += "for _ in range(100): golden.write_whole(Path(sys.argv[1]), sys.argv[2] * 300_000)"
    environment = {"PYTHONPATH": str(locate.REPOSITORY / "harness")}
    both = '"$0" -c "$1" "$2" a & one=$!; "$0" -c "$1" "$2" b && wait $one'
    words = ["sh", "-c", both, sys.executable, script, path]
    run.run(words, env=environment).check_ok()
    assert path.read_text() in texts and left(tmp_path) == ["verdict.json"]


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
    assert not wanted.exists()
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
        (["--rounds", "3"], "unrecognized arguments"), (["--bin", "/bin/true"], "unrecognized arguments"),
    ],
)
def test_bad_words_are_refused_with_exit_1(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binary = [] if "--binary" in words else ["--binary", "/bin/true"]
    try:
        code = cli.main([*words, *binary, "--output", str(tmp_path)])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 1 and sentence in capsys.readouterr().err


def test_output_that_cannot_be_written_is_a_sentence(
    gate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file")
    one = Gate(Level.OK)
    assert gate({"counters": one}, "counters") == 1
    assert "Traceback" not in capsys.readouterr().err and not one.works  # known before minutes are spent


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
    assert not any(work.exists() for work in one.works) and not left(tmp_path / "out")


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


def test_what_programs_say_is_no_command_of_a_workflow(
    gate: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert gate({"counters": Gate(raises=OSError("failed\n::add-mask::a"))}, "counters") == 1
    lines = capsys.readouterr().out.splitlines()
    stop = lines[0].removeprefix("::stop-commands::")
    assert len(stop) == 32 and lines[0] != stop
    on = lines.index(f"::{stop}::")
    assert lines.index("::add-mask::a") < on
    assert [line.startswith("::error ") for line in lines[on:]].count(True) >= 1
    assert not any(line.startswith("::error ") for line in lines[:on])


def test_script_answers_questions_without_building(tmp_path: Path) -> None:
    script = locate.REPOSITORY / "ci" / "gate"
    told = run.run([script, "--help"])
    assert told.returncode == 0 and "examples:" in told.text and "exit codes: 0 nothing differs" in told.text
    listed = run.run([script, "--list", "counters"]).check_ok().text.splitlines()
    assert listed == [f"counters {case}" for case in required.read()["counters"]]
    wrong = run.run([script, "--no-setup", "--binary", "/bin/true", "speed"])
    assert wrong.returncode == 1 and wrong.stderr.startswith(b"ci/gate: gate speed: unknown")
    assert os.access(script, os.X_OK)


def test_script_takes_paths_from_where_it_is_called(tmp_path: Path) -> None:
    """Not from the checkout: another program may lie there under the same name."""
    (tmp_path / "build").mkdir()
    script = locate.REPOSITORY / "ci" / "gate"
    told = run.run([script, "--no-setup", "--binary", "ci/gate", "--output", "out", "encodings"], cwd=tmp_path)
    assert told.returncode == 1 and b"ci/gate is not a program" in told.stderr and (tmp_path / "out").is_dir()
    assert json.loads((locate.results() / "schema" / "verdict.v1.json").read_text())
