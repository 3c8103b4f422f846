"""ci/compare around the deciding: orders, samples, cases that come back to where they were, builds, words, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pxarbench_harness import locate, run
from pxarbench_harness.compare import builds, cases, cli, findings, markdown, session, workplace
from pxarbench_harness.compare.builds import Build, BuildFailed
from pxarbench_harness.compare.cases import CASES, NAMES, Bench, CaseFailed, Numbers, StoreBroken, named
from pxarbench_harness.compare.decide import BASE, HEAD, NULL
from pxarbench_harness.compare.rounds import FIRST, Sample, by_round, order, run_rounds, values
from pxarbench_harness.gates import verdict as verdicts
from pxarbench_harness.gates.verdict import Finding, Level, Verdict

LIMITS = findings.read_limits()

# ---- orders and samples ----


def test_orders_go_there_and_back_and_differ_between_rounds() -> None:
    orders = [order(1, FIRST, "chunk", number, (BASE, HEAD, NULL)) for number in range(30)]
    assert all(one == one[::-1] and set(one) == {BASE, NULL, HEAD} and len(one) == 6 for one in orders)
    assert len(set(orders)) == 6
    assert orders == [order(1, FIRST, "chunk", number, (BASE, HEAD, NULL)) for number in range(30)]
    assert orders != [order(2, FIRST, "chunk", number, (BASE, HEAD, NULL)) for number in range(30)]


def numbers(wall: int = 100, **other: int) -> Numbers:
    given = {"user_ns": 40, "system_ns": 20, "peak_rss_bytes": 1000, "read_bytes": 500, "stored_bytes": 70, **other}
    return Numbers(wall, **given)


class FakeBench:
    """Answers with the length of the arm's name, and the number of the run. `fails`: (case, arm, which of its runs)."""

    def __init__(self, fails: tuple[str, str, int] = ("", "", 0)) -> None:
        self.runs: list[tuple[str, str]] = []
        self.fails = fails

    def measure(self, case: object, arm: str, binary: Path, *, prove: bool = False) -> Numbers:
        self.runs.append((case.name, arm))  # type: ignore[attr-defined]
        if (*self.runs[-1], self.runs.count(self.runs[-1])) == self.fails:
            raise CaseFailed(f"{case.name}, {arm}: exit 139")  # type: ignore[attr-defined]
        return numbers(1000 * len(binary.name) + len(self.runs))


def test_rounds_visit_all_cases_and_hand_over_each_sample_at_once() -> None:
    bench, seen = FakeBench(), []
    arms = {BASE: Path("/a"), NULL: Path("/bb"), HEAD: Path("/ccc")}
    cases = [named("chunk"), named("restore")]
    found = run_rounds(
        bench, cases, lambda _case: arms, rounds=2, seed=3, series=FIRST, sink=seen.append, before=7,  # type: ignore[arg-type]
    )  # fmt: skip
    assert seen == found
    assert [sample.number for sample in found] == list(range(7, 7 + 24))
    assert [case for case, _ in bench.runs] == (["chunk"] * 6 + ["restore"] * 6) * 2
    assert [arm for _, arm in bench.runs[:6]] == list(order(3, FIRST, "chunk", 0, (BASE, HEAD, NULL)))
    rounds = by_round(found, "restore", "wall_ns")
    assert [sorted(one) for one in rounds] == [[BASE, HEAD, NULL]] * 2
    assert all(value // 1000 == len(arms[arm].name) for one in rounds for arm, of in one.items() for value in of)
    assert len(values(found, "chunk", "wall_ns", HEAD)) == 4
    assert found[0].as_json()["wall_ns"] == found[0].numbers.wall_ns


def test_a_case_in_which_head_fails_once_is_lost_and_the_others_go_on() -> None:
    arms = dict.fromkeys((BASE, NULL, HEAD), Path("/a"))
    cases, lost = [named("chunk"), named("restore")], dict[str, CaseFailed]()
    bench = FakeBench(("chunk", HEAD, 3))
    given = {"rounds": 4, "seed": 3, "series": FIRST, "sink": lambda _sample: None}
    found = run_rounds(bench, cases, lambda _case: arms, lost=lost, **given)  # type: ignore[arg-type]
    assert {name: str(error) for name, error in lost.items()} == {"chunk": "chunk, head: exit 139"}
    assert len(by_round(found, "restore", "wall_ns")) == 4
    assert bench.runs.count(("chunk", HEAD)) == 3
    for arm, no_lost in ((BASE, {}), (HEAD, None)):
        with pytest.raises(CaseFailed, match="exit 139"):
            run_rounds(FakeBench(("chunk", arm, 1)), cases, lambda _case: arms, lost=no_lost, **given)  # type: ignore[arg-type]


def made(case: str, of: dict[str, Callable[[int], Numbers]], rounds: int = 4) -> list[Sample]:
    """Rounds of numbers: arm -> the number of the run in its arm -> numbers."""
    samples: list[Sample] = []
    for round_ in range(rounds):
        for position, arm in enumerate((BASE, NULL, HEAD, HEAD, NULL, BASE)):
            at = 2 * round_ + (position > 2)
            samples.append(Sample(len(samples), FIRST, round_, case, position, arm, of.get(arm, of[BASE])(at)))
    return samples


# ---- counted ----


def counted(
    case: str, head: Callable[[int], Numbers], base: Callable[[int], Numbers] = lambda at: numbers()
) -> dict[str, Finding]:
    return {f.name: f for f in findings.counted(made(case, {BASE: base, HEAD: head}), [case], LIMITS)}


def test_equal_bytes_are_ok() -> None:
    found = counted("restore", lambda at: numbers())
    assert {name: f.level for name, f in found.items()} == {"stored": Level.OK, "read": Level.OK}


def test_one_stored_byte_more_is_a_regression_and_less_an_improvement() -> None:
    more = counted("restore", lambda at: numbers(stored_bytes=71))["stored"]
    assert (more.level, more.base, more.head, more.gate) == (Level.REGRESSION, 70, 71, "bytes")
    assert counted("restore", lambda at: numbers(stored_bytes=69))["stored"].level is Level.IMPROVED


def test_bytes_read_may_differ_by_digits_of_the_kernel_only() -> None:
    slack = LIMITS.bytes_slack
    assert counted("restore", lambda at: numbers(read_bytes=500 + slack))["read"].level is Level.OK
    assert counted("restore", lambda at: numbers(read_bytes=501 + slack))["read"].level is Level.REGRESSION


def test_a_head_whose_stored_bytes_differ_from_run_to_run_is_told() -> None:
    for more, level in ((1, Level.REGRESSION), (-1, Level.WARNING)):
        found = counted("restore", lambda at, more=more: numbers(stored_bytes=70 + more * (at == 5)))["stored"]
        assert found.level is level
        assert "differs from run to run" in found.text
    once = counted("restore", lambda at: numbers(read_bytes=500 + 1000 * (at == 5)))["read"]
    assert once.level is Level.WARNING

    def varying(at: int) -> Numbers:
        return numbers(stored_bytes=70 + at % 2)

    both = counted("restore", varying, varying)["stored"]
    assert both.level is Level.OK
    assert "not the same each time" in both.details[0]


def test_nothing_stored_is_not_compared() -> None:
    found = counted("chunk", lambda at: numbers(stored_bytes=0), lambda at: numbers(stored_bytes=0))
    assert set(found) == {"read"}


def test_a_kernel_that_does_not_count_what_is_read_is_told() -> None:
    found = counted("chunk", lambda at: numbers(read_bytes=0), lambda at: numbers(read_bytes=0))["read"]
    assert (found.level, found.gate) == (Level.WARNING, "bytes")


# ---- measured ----


def wall(base: float, head: float, case: str = "chunk", rounds: int = 10) -> list[Sample]:
    def near(middle: float) -> Callable[[int], Numbers]:
        return lambda at: numbers(round(middle * (1 + 0.001 * ((at * 7) % 5 - 2))))

    return made(case, {BASE: near(base), HEAD: near(head)}, rounds)


def test_a_confirmed_slowdown_has_all_its_numbers() -> None:
    first, again = wall(1e8, 1.06e8), wall(1e8, 1.05e8)
    assert findings.suspects(first, ["chunk"], LIMITS) == ["chunk"]
    (found,) = findings.measured(first, again, ["chunk"], findings.MEASURED[0], LIMITS)
    assert (found.gate, found.name, found.level, found.unit, found.rounds) == ("time", "wall", Level.REGRESSION, "ns", 10)
    assert found.change == pytest.approx(0.06, abs=0.003)
    assert found.low is not None and found.high is not None and 0.05 < found.low <= found.change <= found.high < 0.07
    assert found.limit == 0.02
    assert found.detectable is not None and 0.02 < found.detectable < 0.03
    assert found.details[0].startswith("two copies of base: ")
    assert any(line.startswith("confirming rounds: +5.0 %") for line in found.details)
    assert (found.base, found.head) == (pytest.approx(1e8, rel=0.01), pytest.approx(1.06e8, rel=0.01))


def test_of_a_case_that_is_lost_while_it_is_confirmed_nothing_is_said() -> None:
    first = [*wall(1e8, 1.06e8), *wall(1e8, 1.06e8, "restore")]
    assert findings.suspects(first, ["chunk", "restore"], LIMITS) == ["chunk", "restore"]
    again = [*wall(1e8, 1.06e8, "restore"), *wall(1e8, 1.06e8)[:8]]
    found = findings.measured(first, again, ["chunk", "restore"], findings.MEASURED[0], LIMITS, {"chunk"})
    assert [(f.case, f.level) for f in found] == [("restore", Level.REGRESSION)]


def test_advised_gates_warn_instead() -> None:
    (found,) = findings.measured(wall(1e8, 1.06e8), wall(1e8, 1.06e8), ["chunk"], findings.MEASURED[0], LIMITS)
    (advised,) = findings.advised([found], ("time",))
    assert advised.level is Level.WARNING
    assert advised.details[0] == "advice only; would be: regression"
    assert findings.advised([found], ("memory",)) == [found]


# ---- limits ----


@pytest.mark.parametrize(("old", "new", "names"), [
    ("floor = 0.02", "floor = 'x'", "wall.floor"), ("floor = 0.02", "floor = -1", "wall.floor"),
    ("floor = 0.02", "floor = true", "wall.floor"), ("floor = 0.02", "floor = nan", "wall.floor"),
    ("promise = 0.05", "", "wall.promise"), ("promise = 0.05", "promise = 0.02", "not above"),
    ("[processor]", "[other]", "there is no other"), ("[processor]", "[wall.case.chunk]", "processor.floor"),
    ("[bytes]", "[[bytes]]", "bytes.floor"), ("[wall]", "[wall", "limits.toml"),
    ("[wall.case.restore]", "[wall.case.restore.x]", "wall.case.restore.x"), ("slack = 256", "slack = inf", "bytes.slack"),
    ("floor = 0.02", "floor = 2", "wall.floor is 2.0, a share below 1"), ("floor = 0.02", "flor = 0.02", "wall.flor"),
    ("[wall.case.restore]", "[case.restore]", "there is no case"), ("slack = 256", "slack = 256\nslak = 1", "bytes.slak"),
])  # fmt: skip
def test_broken_limits_are_named(tmp_path: Path, old: str, new: str, names: str) -> None:
    text = findings.LIMITS_FILE.read_text()
    assert old in text
    broken = tmp_path / "limits.toml"
    broken.write_text(text.replace(old, new, 1))
    with pytest.raises(findings.LimitsBroken, match=names.replace(".", r"\.")):
        findings.read_limits(broken)


def test_limits_of_a_case_come_before_those_of_all() -> None:
    assert LIMITS.limits("wall", "restore") != LIMITS.limits("wall", "chunk") == LIMITS.of["wall"][""]
    assert {name for of in LIMITS.of.values() for name in of} - {""} <= set(NAMES)


# ---- builds ----


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A repository whose program says which revision it is. CMake without a compiler: a build takes a moment."""
    root = tmp_path / "the sources"
    (root / "bench").mkdir(parents=True)
    (root / "bench" / "keep").touch()
    (root / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(fake LANGUAGES NONE)\n"
        "add_custom_target(pxarbench COMMAND cp ${CMAKE_SOURCE_DIR}/program ${CMAKE_BINARY_DIR}/bin/pxarbench VERBATIM)\n"
        "file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/bin)\n"
    )
    preset = {"name": "release", "generator": "Ninja", "binaryDir": "${sourceDir}/build/release"}
    (root / "CMakePresets.json").write_text(json.dumps({"version": 6, "configurePresets": [preset]}))
    git(root, "init", "-q", "-b", "main")
    for word in ("one", "two"):
        program = root / "program"
        program.write_text(f"#!/bin/sh\necho {word}\n")
        program.chmod(0o755)
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", word)
    return root


def git(root: Path, *words: str) -> str:
    identity = ["-c", f"safe.directory={root}", "-c", "user.name=t", "-c", "user.email=t@t"]
    return run.run(["git", *identity, "-C", root, *words]).check_ok().text.strip()


def test_revisions_are_built_beside_the_checkout_and_once(sources: Path, tmp_path: Path) -> None:
    cache, told = tmp_path / "cache", []
    old, new = (builds.find(word, repository=sources, cache=cache, say=told.append) for word in ("HEAD~1", "main"))
    assert [run.run([build.binary]).text for build in (old, new)] == ["one\n", "two\n"]
    assert (old.kind, old.commit) == ("revision", git(sources, "rev-parse", "HEAD~1"))
    assert len(os.fspath(old.binary)) == len(os.fspath(new.binary))
    assert git(sources, "status", "--porcelain") == ""
    assert len(told) == 2
    git(sources, "tag", "-a", "-m", "a tag", "v-1")
    for word in ("main", "v-1", git(sources, "rev-parse", "--short=5", "HEAD"), "HEAD~0"):
        assert builds.find(word, repository=sources, cache=cache, say=told.append).binary == new.binary
    assert len(told) == 2
    # A build that was interrupted, or is another program by now, is made again.
    new.binary.write_text("#!/bin/sh\n")
    again = builds.find("main", repository=sources, cache=cache, say=told.append)
    assert run.run([again.binary]).text == "two\n"
    assert len(told) == 3


def test_sources_build_folders_and_programs(sources: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (sources / "program").write_text("#!/bin/sh\necho changed\n")
    build = builds.find(os.fspath(sources), repository=sources, cache=cache)
    assert (build.kind, run.run([build.binary]).text) == ("sources", "changed\n")
    assert build.commit == git(sources, "rev-parse", "HEAD") + "+"
    folder = builds.find(os.fspath(build.binary.parents[1]), repository=sources, cache=cache)
    program = builds.find(os.fspath(build.binary), repository=sources, cache=cache)
    assert (folder.kind, program.kind) == ("build folder", "program")
    assert folder.binary == program.binary == build.binary
    assert (sources / "build").exists() is False


@pytest.mark.parametrize(("word", "says"), [
    ("no-such-thing", "no revision of"), ("--upload-pack=x", "no revision of"), ("", "no revision of"),
    ("/", "neither a program"), ("./nowhere", "no file or folder"), ("HEAD:program", "no revision of"),
])  # fmt: skip
def test_what_is_no_build_is_refused(sources: Path, tmp_path: Path, word: str, says: str) -> None:
    with pytest.raises(BuildFailed, match=says):
        builds.find(word, repository=sources, cache=tmp_path / "cache")


def test_a_revision_that_does_not_build_says_what_the_compiler_said(sources: Path, tmp_path: Path) -> None:
    broken = 'cmake_minimum_required(VERSION 3.25)\nmessage(FATAL_ERROR "deliberately broken")\n'
    (sources / "CMakeLists.txt").write_text(broken)
    git(sources, "commit", "-q", "-a", "-m", "broken")
    with pytest.raises(BuildFailed, match=r"(?s)main.*does not build.*deliberately broken"):
        builds.find("main", repository=sources, cache=tmp_path / "cache")
    with pytest.raises(BuildFailed, match="does not build"):  # no stamp was left
        builds.find("main", repository=sources, cache=tmp_path / "cache")


def test_arms_have_paths_of_equal_length(tmp_path: Path) -> None:
    build = Build("x", "program", Path("/bin/true"), "")
    arms = builds.place(build, build, tmp_path)
    assert len({len(os.fspath(path)) for path in arms.values()}) == 1
    assert set(arms) == {BASE, NULL, HEAD}
    assert all(os.access(path, os.X_OK) for path in arms.values())


# ---- cases, with the program ----


@pytest.fixture(scope="module")
def bench(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """In memory if there is room: two stores have 131,072 folders."""
    with workplace.work_folder(None if workplace.in_memory() else tmp_path_factory.mktemp("work")) as work:
        made = Bench(work, files=300)
        made.prepare(pxarbench)
        yield made
        made.verify()  # after all that the tests did; reads 131,072 folders


def wrapper(folder: Path, script: str) -> Path:
    path = folder / "wrapper"
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_cases_do_their_work_and_leave_nothing(bench: Bench, pxarbench: Path, case: object) -> None:
    assert case in CASES
    one, two = (bench.measure(named(case.name), BASE, pxarbench, prove=True) for _ in range(2))  # type: ignore[attr-defined]
    assert min(one.wall_ns, one.peak_rss_bytes, one.read_bytes) > 0
    assert one.stored_bytes == two.stored_bytes
    assert abs(one.read_bytes - two.read_bytes) <= LIMITS.bytes_slack


def test_stores_and_trees_that_are_not_as_they_were_are_seen(bench: Bench) -> None:
    left = bench.work / "full" / "left"
    left.touch()
    file = next(path for path in sorted((bench.work / "tree").rglob("*")) if path.is_file())
    mode = file.stat().st_mode
    file.chmod(0o600 if mode & 0o777 != 0o600 else 0o640)
    (store, source) = session.left_as_it_was(bench)
    assert store.level is source.level is Level.ERROR
    assert "left: was left behind" in store.text and "1 changes of the tree" in source.text
    left.unlink()
    file.chmod(mode)


@pytest.mark.parametrize(("case", "script", "says"), [
    ("backup-metadata-unchanged", 'exec PROGRAM "${@/metadata/data}"', "reused 0 of"),
    ("backup-metadata-edit1pct", 'exec PROGRAM "${@/edited/tree}"', "reused 300 of 300"),
    ("backup-data-unchanged", 'exec PROGRAM "${@/%data/metadata}"', "it has to read all"),
    ("restore", 'PROGRAM "$@" && find "$4" -type f | head -n 1 | xargs -d "\\n" rm', "differences from the tree"),
    ("restore", "exit 3", "exit 3"),
    ("chunk", "echo '[]'", "does not end at"),
    ("chunk", "echo nonsense", "Expecting value"),
    ("pxar-create", "exit 0", "root.mpxar"),
    ("backup-data-first", "exit 0", "stats.json"),
    ("backup-data-first", "PROGRAM \"$@\"; echo spoiled >&2; exit 1", "spoiled"),
    ("restore", 'PROGRAM "$@" && mkdir "$6/left" && touch "$6/left/over"', "2 left behind in the store: .*/left$"),
])  # fmt: skip
def test_programs_that_do_not_do_their_work_are_named(
    bench: Bench, pxarbench: Path, tmp_path: Path, case: str, script: str, says: str
) -> None:
    liar = wrapper(tmp_path, script.replace("PROGRAM", os.fspath(pxarbench)))
    with pytest.raises(CaseFailed, match=says) as failed:
        bench.measure(named(case), HEAD, liar, prove=True)
    assert str(failed.value).startswith(f"{case}, head: ")


def test_what_was_in_a_store_before_must_stay_as_it_was(bench: Bench, pxarbench: Path, tmp_path: Path) -> None:
    chunk = next(path for path in bench._states["full"].listing.files if ".chunks" in path and len(Path(path).name) == 64)
    times = os.stat(chunk).st_atime_ns, os.stat(chunk).st_mtime_ns
    with pytest.raises(StoreBroken, match="restore, head: .*: was changed by a run"):
        bench.measure(named("restore"), HEAD, wrapper(tmp_path, f'touch {chunk}\nexec {pxarbench} "$@"'), prove=True)
    os.utime(chunk, ns=times)


def test_a_program_that_hangs_is_ended(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "SECONDS_MAX", 1)
    hanging = wrapper(tmp_path, f"sleep 1000 & echo $! >{tmp_path}/child; wait")
    with pytest.raises(CaseFailed, match="chunk, head: .*timed out"):
        bench.measure(named("chunk"), HEAD, hanging)
    child = Path("/proc") / (tmp_path / "child").read_text().strip() / "stat"
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


# ---- the folder of a comparison ----


def test_a_folder_that_was_left_is_removed_and_one_in_use_is_counted(tmp_path: Path) -> None:
    left, not_ours = tmp_path / f"{workplace.PREFIX}left", tmp_path / "other"
    (left / "store").mkdir(parents=True)
    not_ours.mkdir()
    with workplace.work_folder(tmp_path) as one:
        assert one.stat().st_mode & 0o777 == 0o755
        assert not left.exists()
        assert workplace.others(one) == 0
        with workplace.work_folder(tmp_path) as two:
            assert one.exists() and workplace.others(one) == workplace.others(two) == 1
        assert workplace.others(one) == 0
    assert list(tmp_path.iterdir()) == [not_ours]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_stopped_leaves_nothing_and_exits_130(pxarbench: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Stopped in the middle of a run, and impatiently once more."""
    work, started = tmp_path / "work", tmp_path / "started"
    slow = wrapper(tmp_path, f'[ "$1" = chunk ] && {{ touch {started}; sleep 100; }}\nexec {pxarbench} "$@"')
    words = [slow, slow, "--case", "chunk", "--rounds", "3", "--no-instructions", "--work", work, "--output", tmp_path / "out"]
    environment = {"PYTHONPATH": os.fspath(locate.REPOSITORY / "harness"), "TMPDIR": os.fspath(tmp_path)}
    stop = f"until [ -e {started} ]; do sleep 0.1; done; while kill -s {number.name[3:]} $1; do sleep 0.005; done 2>/dev/null"
    script = f'set -m; "$@" & other=$!; ( set -- $other; {stop} ) & wait $other'
    result = run.run(
        ["bash", "-c", script, "bash", sys.executable, "-m", "pxarbench_harness.compare", *words], env=environment, timeout=90
    )
    assert result.returncode == 130, result.stderr
    assert b"interrupted" in result.stderr
    assert list(work.iterdir()) == []
    assert not list(tmp_path.glob("pxarbench-*"))


# ---- a whole session ----


def test_a_session_from_two_programs_to_a_verdict(pxarbench: Path, tmp_path: Path) -> None:
    """Bytes are judged whatever the machine is doing; times are measured, and their verdict is not asked for."""
    head_script = f"""case "$1" in
    chunk) cat "$2" >/dev/null; echo broken; exit ;;
    pxar) echo >>{tmp_path}/runs; [ $(wc -l <{tmp_path}/runs) = 4 ] && exit 5 ;;  # in the second round
    esac
    exec {pxarbench} "$@\""""
    smaller = wrapper(tmp_path, head_script)
    settings = session.Settings(
        ("backup-metadata-edit1pct", "chunk", "pxar-create"), rounds=3, seed=5, limits=LIMITS, limits_file="limits.toml",
        instructions=False, work=tmp_path / "work", files=200,
    )  # fmt: skip
    base, head = Build("old", "program", pxarbench, "a" * 40), Build("new", "program", smaller, "b" * 40 + "+")
    said: list[str] = []
    samples = tmp_path / "samples.jsonl"
    compared = session.compare(base, head, settings, samples, said.append)
    verdict = compared.verdict
    assert verdicts.from_json(verdicts.to_json(verdict)) == verdict
    checks = [f for f in verdict.findings if f.gate == "checks"]
    assert [(f.case, f.level) for f in checks] == [("chunk", Level.REGRESSION), ("pxar-create", Level.REGRESSION)]
    assert checks[1].text.startswith("not in every round: pxar-create, head: pxarbench pxar create tree out/root.mpxar ")
    assert checks[1].text.endswith(": exit 5")
    assert verdict.executed == verdict.required
    assert {(f.case, f.name) for f in verdict.findings if f.gate == "time"} == {
        ("backup-metadata-edit1pct", name) for name in ("wall", "processor")
    }
    stored = {f.case: f.level for f in verdict.findings if f.name == "stored"}
    assert stored == {"backup-metadata-edit1pct": Level.OK}
    assert verdict.exit_code() == verdicts.EXIT_REGRESSION
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert len(lines) == len(compared.samples) == verdict.settings["runs"] > 3 * 6 + 6
    assert lines[0]["arm"] == order(5, FIRST, "backup-metadata-edit1pct", 0, (BASE, HEAD, NULL))[0]
    assert list((tmp_path / "work").iterdir()) == []
    page = markdown.page(verdict)
    assert "chunk, head: " in page
    assert "ci/compare old new --rounds 3 --seed 5" in page


# ---- the page, and the command ----


def verdict_of(found: list[Finding]) -> Verdict:
    return Verdict(
        "compare", "2026-01-01T00:00:00Z", "a | <b>", "head", "", "host", tuple(found), ("chunk",), ("chunk",), {"cpu": "c"},
        {"rounds": 10, "files": 5000, "bytes": 1, "runs": 5, "base": "a", "head": "b", "seed": 1},
    )  # fmt: skip


def test_the_page_shows_the_control_and_what_is_detectable() -> None:
    found = findings.measured(wall(1e8, 1.06e8), wall(1e8, 1.06e8), ["chunk"], findings.MEASURED[0], LIMITS)
    page = markdown.page(verdict_of(found))
    row = next(line for line in page.splitlines() if line.startswith("| chunk"))
    assert "**regression**" in row and "+0.0 % (+0.0 % to +0.0 %)" in row and "2.0 %" in row
    assert page.startswith("## REGRESSION")
    assert "a \\| \\<b>" in page


def test_a_noisy_session_is_told_once_and_not_per_case() -> None:
    text = "not judged, the session is too noisy: two copies"
    details = ("two copies of base: +9 %", "the session: two copies", "confirming rounds: +1 %")
    noisy = [Finding("time", case, "wall", Level.INCONCLUSIVE, text, 1, 1, "ns", details, 0.1, rounds=3) for case in NAMES]
    page = markdown.page(verdict_of([*noisy, Finding("time", "", "", Level.WARNING, "others measured beside it")]))
    assert page.count("too noisy") == 1 and f"- {', '.join(NAMES)}, wall: {text}" in page
    assert "- all: others measured beside it" in page
    assert page.count("- confirming rounds: +1 %") == len(NAMES) and "- two copies of base" not in page


def test_the_page_says_when_there_is_nothing_to_compare_and_how_to_do_it_again() -> None:
    told = verdict_of([])
    same = {"base program": "f" * 64, "head program": "f" * 64, "base": "a b`$(x)`", "least memory seen": 8 << 20}
    page = markdown.page(replace(told, settings={**told.settings, **same}))
    assert "Both are the same program" in page
    assert "again: `ci/compare 'a b?$(x)?' b --rounds 10 --seed 1`" in page
    assert "not seen: peak memory below 8.00 MiB" in page
    assert "Both are the same program" not in markdown.page(told)


@pytest.mark.parametrize(("words", "says"), [
    ([], "which two builds"), (["HEAD"], "which two builds"), (["a", "b", "--case", "x"], "--case x: unknown"),
    (["a", "b", "--rounds", "3"], "at least 4 are needed for 7 cases"), (["a", "b", "--rounds", "1000000"], "at most 100"),
    (["a", "b", "--rounds", "x"], "invalid int"), (["a", "b", "--advise", "speed"], "--advise speed: no gate"),
    (["a", "b", "--limits", "/nowhere"], "--limits: "), (["a", "b", "--seed"], "expected one argument"),
    (["a", "b", "c"], "unrecognized"),
])  # fmt: skip
def test_wrong_words_are_exit_1_and_say_why(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 1
    assert says in capsys.readouterr().err


def test_limits_of_unknown_cases_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(findings.LIMITS_FILE.read_text() + "[wall.case.resotre]\nfloor = 0.1\npromise = 0.2\n")
    with pytest.raises(SystemExit) as ended:
        cli.main(["a", "b", "--limits", os.fspath(file)])
    assert ended.value.code == 1
    assert "there is no case resotre" in capsys.readouterr().err


def test_builds_that_are_not_there_are_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([os.fspath(tmp_path / "a"), os.fspath(tmp_path / "b"), "--output", os.fspath(tmp_path / "out")]) == 1
    assert "no file or folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_older_verdict_does_not_outlive_a_comparison_that_failed(tmp_path: Path) -> None:
    for name in cli.WRITTEN:
        (tmp_path / name).write_text("{}")
    assert cli.main([os.fspath(tmp_path / "a"), os.fspath(tmp_path / "b"), "--output", os.fspath(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_valgrind_there_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pxarbench_harness.gates.instructions.find_valgrind", lambda: None)
    build = Build("x", "program", Path("/bin/true"), "")
    (found,), executed = session._instructions(build, build, tmp_path, lambda _text: None)
    assert (found.gate, found.level, executed) == ("instructions", Level.WARNING, [])


def test_help_and_list_need_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(NAMES)
    result = run.run(["ci/compare", "--help"], cwd=locate.REPOSITORY, timeout=60)
    assert result.returncode == 0
    assert "ci/compare HEAD ." in result.text
    if shutil.which("shellcheck"):
        run.run(["shellcheck", "-S", "warning", "ci/compare"], cwd=locate.REPOSITORY).check_ok()
