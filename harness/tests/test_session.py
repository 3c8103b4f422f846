"""session/ and check.py with a stand-in for the program: a whole session, and every lie that has to be noticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from session_tools import FAKE, quiet, small_plan

from pxarbench_harness import archive, cli, datasets, locate, measure, record, run, tree
from pxarbench_harness import session as sessions
from pxarbench_harness.subjects import Pxarbench, Settings

METADATA, DATA = (("pxarbench", "metadata"),), (("pxarbench", "data"),)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _needs_hyperfine() -> None:
    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")


@pytest.fixture(autouse=True)
def _no_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in makes none; that archives are looked into is shown with the program itself, below."""
    monkeypatch.setattr(archive, "problems", lambda *_: [])


@pytest.fixture
def plan(tmp_path: Path, cache: Path) -> sessions.Plan:
    return small_plan(tmp_path, cache)


def with_mutations(plan: sessions.Plan, *chains: str) -> sessions.Plan:
    return replace(plan, blocks=sessions.product([plan.blocks[0].recipe], chains))


@pytest.fixture
def lie(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> sessions.Session:
    """Two mutations, two warm-ups, four rounds. For tests that look at it and change nothing."""
    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")
    plan = small_plan(tmp_path_factory.mktemp("honest"), cache, "none", "edit:1%:clustered")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(archive, "problems", lambda *_: [])
        return quiet(replace(plan, rounds=4, warmups=2))


def edited(done: sessions.Session, phase: str = "measured") -> list[record.Record]:
    """In the order in which they ran."""
    found = [r for r in done.records if r.phase == phase and r.mutation["text"] == "edit:1%:clustered"]
    return sorted(found, key=lambda r: r.sequence)


def test_honest_program_passes_and_every_run_is_recorded(honest: sessions.Session) -> None:
    assert honest.problems == []
    phases = [(r.mode, r.phase) for r in honest.records]
    for mode in ("data", "metadata"):
        assert phases.count((mode, "reference")) == 1
        assert phases.count((mode, "warm-up")) == 2
        assert phases.count((mode, "measured")) == 8
        assert phases.count((mode, "proof")) == 2
    assert sum(r.restored for r in honest.records) == 4
    lines = honest.records_path.read_text().splitlines()
    assert len(lines) == len(honest.records)
    for line in lines:
        record.validate(line)
    assert list(record.read(honest.records_path)) == [record.from_json(line) for line in lines]
    assert not honest.plan.work.exists()


def test_number_of_rounds_is_obeyed_and_order_is_mixed_but_seeded(
    honest: sessions.Session, plan: sessions.Plan, tmp_path: Path
) -> None:
    def order(done: sessions.Session) -> list[tuple[int, str]]:
        measured = edited(done)
        assert [r.round for r in measured] == [1, 1, 2, 2, 3, 3, 4, 4]
        return [(r.round, r.mode) for r in measured]

    def again(seed: int) -> list[tuple[int, str]]:
        output, work = tmp_path / f"out{seed}", tmp_path / f"work{seed}"
        return order(quiet(replace(plan, rounds=4, seed=seed, restore="none", output=output, work=work)))

    assert again(honest.plan.seed) == order(honest)
    assert again(2) != order(honest)


def test_repetitions_start_from_the_same_state(honest: sessions.Session) -> None:
    """An edited file is new in each repetition: nothing of the one before is known any more."""
    for mode in ("data", "metadata"):
        new = [r.outcome["new_bytes"] for r in edited(honest) if r.mode == mode and r.outcome]
        assert len(new) == 4 and len(set(new)) == 1 and new[0] > 0


def test_snapshot_times_are_a_second_apart(honest: sessions.Session) -> None:
    records = sorted(honest.records, key=lambda r: r.sequence)
    times = [int(r.command[r.command.index("--backup-time") + 1]) for r in records]
    assert len(set(times)) == len(times) and times == sorted(times)


def test_tree_is_put_back_also_after_a_failure(plan: sessions.Plan, cache: Path, lie: pytest.MonkeyPatch) -> None:
    with datasets.prepare(plan.blocks[0].recipe, cache=cache, say=lambda text: None) as dataset:
        before, root, log = dataset.tree.digest(), dataset.root, dataset.op_log
    one = replace(plan, contenders=METADATA, restore="none")
    quiet(one)
    assert tree.scan(root).digest() == before
    lie.setenv("FAKE_LIE", "alters-store")
    with pytest.raises(sessions.SessionFailed):
        quiet(replace(one, output=plan.output.with_name("other")))
    assert tree.scan(root).digest() == before and not log.exists()


#: What the program does wrong: the sentence that has to say so.
LIES = {
    "flips-a-bit": "restore: edges/size-1048577: digest is",
    "forgets-nanoseconds": "restore: edges/size-1048577: mtime_ns is",
    "loses-a-file": "restore: edges/size-1048577: missing",
    "adds-a-file": "restore: edges/surplus: should not be there",
    "breaks-a-hardlink": "restore: links/b-second-name: link_to is",
    "restores-nothing": "restore: nothing was restored",
    "restores-another": "4 changed files came back with their old contents",
    "other-mode": "mode metadata: no reference was used: not-asked",
    "blind": "0 files were found changed, the mutation changed 4",
    "reads-all": "bytes of file contents, re-encoded files have",
    "reads-in-secret": "bytes read, the program tells of",
    "wrong-decisions": "decisions: 1 changed files were reused",
    "unstable": "repetition 2: checksums",
}


@pytest.mark.parametrize("name", LIES)
def test_lie_is_caught(plan: sessions.Plan, lie: pytest.MonkeyPatch, name: str) -> None:
    lie.setenv("FAKE_LIE", name)
    problems = quiet(replace(plan, contenders=METADATA)).problems
    assert any(LIES[name] in text for text in problems), problems


def test_lie_of_the_other_mode_is_caught_in_data_too(plan: sessions.Plan, lie: pytest.MonkeyPatch) -> None:
    lie.setenv("FAKE_LIE", "other-mode")
    problems = quiet(replace(plan, contenders=DATA)).problems
    assert any("used a reference although everything was to be read" in text for text in problems), problems


def test_store_that_was_altered_stops_the_session(plan: sessions.Plan, lie: pytest.MonkeyPatch) -> None:
    lie.setenv("FAKE_LIE", "alters-store")
    with pytest.raises(sessions.SessionFailed, match="was changed by a run; repetitions would not start equal"):
        quiet(with_mutations(plan, "none"))
    assert (plan.output / "records.jsonl").exists(), "what was measured before is kept"


def test_failing_program_is_quoted_and_recorded(plan: sessions.Plan, lie: pytest.MonkeyPatch) -> None:
    lie.setenv("FAKE_LIE", "fails")
    with pytest.raises(sessions.SessionFailed, match="the dog ate the archive"):
        quiet(plan)
    (only,) = record.read(plan.output / "records.jsonl")
    assert only.exit_code == 1 and only.outcome is None and not only.ok


def test_stale_statistics_of_an_earlier_run_are_not_believed(tmp_path: Path) -> None:
    subject = Pxarbench("data", tmp_path, Settings(binary=FAKE))
    subject.stats.write_text("{}")
    subject.backup(tmp_path, 1)
    assert not subject.stats.exists()


def test_missing_subjects_are_skipped_by_name(plan: sessions.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(sessions.SessionFailed, match="restic is not installed"):
        quiet(replace(plan, contenders=(("restic", "force"),)))


def test_too_little_space_for_stores_is_told(plan: sessions.Plan, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with datasets.prepare(plan.blocks[0].recipe, cache=cache, say=lambda text: None):
        pass  # it is there
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1))
    with pytest.raises(sessions.SessionFailed, match="--work names another place"):
        quiet(plan)


# ---- the command line ----


@pytest.fixture
def command(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("PXARBENCH_CACHE", str(cache))
    return ["--binary", str(FAKE), "--dataset", "tiny", "--mutation", "none", "--output", str(tmp_path / "out"),
            "--work", str(tmp_path / "work")]  # fmt: skip


@pytest.fixture
def brief(command: list[str]) -> list[str]:
    """Without what is neither asked nor looked at."""
    return [*command, "--no-syscalls", "--no-roofline"]


def test_number_of_runs_three_performs_three(brief: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*brief, "--number-of-runs", "3", "--format", "rfc"]) == 0
    assert "Completed benchmark with 3 runs for each tested mode." in capsys.readouterr().out
    modes = [r.mode for r in record.read(tmp_path / "out" / "records.jsonl") if r.phase == "measured"]
    assert sorted(modes) == ["data"] * 3 + ["metadata"] * 3


def test_single_round_prints_no_nan(brief: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*brief, "--rounds", "1", "--format", "markdown"]) == 0
    said = capsys.readouterr().out
    assert "| data | 1 |" in said
    for text in (said, (tmp_path / "out" / "report.txt").read_text(), (tmp_path / "out" / "report.rfc.txt").read_text()):
        assert "nan" not in text.lower() and " inf" not in text.lower()
    assert "± n/a s" in (tmp_path / "out" / "report.rfc.txt").read_text()


def test_reports_label_what_was_not_measured(command: list[str], tmp_path: Path) -> None:
    assert cli.main([*command, "--rounds", "2"]) == 0
    text = (tmp_path / "out" / "report.txt").read_text()
    for words in ("warm-up", "reference", "not in the statistics", "How to read it", "peak RSS MiB", "partly referenced"):
        assert words in text
    assert sorted(p.suffix for p in (tmp_path / "out" / "raw").iterdir()).count(".json") == 10  # proofs are timed as well


def test_a_lie_ends_with_exit_code_1_and_says_so(
    brief: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_LIE", "flips-a-bit")
    assert cli.main([*brief, "--rounds", "1"]) == 1
    said = capsys.readouterr()
    assert "large/random.bin: digest" in said.err and "Problems" in said.out


def test_missing_subject_beside_a_present_one_is_inconclusive(
    brief: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pxarbench_harness.subjects import Restic

    monkeypatch.setattr(Restic, "missing", classmethod(lambda cls, settings: "restic is not installed"))
    assert cli.main([*brief, "--rounds", "1", "--subjects", "pxarbench,restic"]) == 4
    assert "inconclusive: restic is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rounds", "0"], "must be at least 1"),
        (["--dataset", "none-such"], "there are at-chunk-edges, coco,"),
        (["--mutation", "melt:1%"], "expected none, touch:P%"),
        (["--subjects", "tar"], "there are pxarbench, proxmox-backup-client, restic"),
        (["--modes", "telepathy"], "there are legacy, data, metadata"),
        (["--modes", "restic:force"], "subject restic is not among pxarbench"),
        (["--caches", "tepid"], "there are warm, cold"),
        (["--budget", "soon"], "expected a time"),
        (["--build", "x"], "expected NAME=FILE"),
        (["--mutation", "edit:1%*0"], "number of generations"),
        (["--frobnicate"], "unrecognized arguments"),
    ],
    ids=[
        "no-rounds", "dataset", "mutation", "subject", "mode", "other-mode", "cache", "budget", "build", "generations",
        "option",
    ],
)
def test_wrong_words_are_told_with_exit_code_1(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(words)
    except SystemExit as stopped:
        code = int(str(stopped.code))
    assert code == 1 and says in capsys.readouterr().err


def test_output_folder_with_contents_is_left_alone(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("")
    assert cli.main(command) == 1
    assert "is not empty" in capsys.readouterr().err and (tmp_path / "out" / "precious").exists()


def test_stores_of_a_killed_run_are_removed_kept_ones_stay(brief: list[str], tmp_path: Path) -> None:
    nobody = 2**22 + 1  # above the greatest process id of Linux
    for name, kept in (("killed", False), ("kept", True)):
        folder = tmp_path / "work" / f"pxarbench-work-{name}-{nobody}"
        folder.mkdir(parents=True)
        (folder / ("kept" if kept else "store")).touch()
    (tmp_path / "work" / "mine-1").mkdir()
    assert cli.main([*brief, "--rounds", "1", "--keep"]) == 0
    left = {p.name.rpartition("-")[0] for p in (tmp_path / "work").iterdir()}
    assert left == {"pxarbench-work-kept", "pxarbench-work-out", "mine"}


def test_list_prints_word_ids(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list", "--subjects", "pxarbench,restic", "--mutation", "edit:0.1%:uniform"]) == 0
    assert capsys.readouterr().out.split() == [
        "linux-edit0p1pct-uniform-data-warm", "linux-edit0p1pct-uniform-metadata-warm",
        "linux-edit0p1pct-uniform-restic-force-warm", "linux-edit0p1pct-uniform-restic-default-warm",
    ]  # fmt: skip


def test_script_needs_neither_build_nor_packages_to_answer(tmp_path: Path) -> None:
    script = locate.REPOSITORY / "ci" / "bench"
    said = run.run([script, "--help"], cwd=tmp_path).check_ok().text
    assert "--number-of-runs" in said and "inconclusive" in said
    listed = run.run([script, "--list", "--dataset", "tiny", "--mutation", "none"], cwd=tmp_path).check_ok().text
    assert listed.split() == ["tiny-none-data-warm", "tiny-none-metadata-warm"]


def test_script_passes_words_and_exit_code_on(tmp_path: Path) -> None:
    script = locate.REPOSITORY / "ci" / "bench"
    words = ["--no-setup", "--binary", FAKE, "--mutation", "melt:1% of all"]
    result = run.run([script, *words], cwd=tmp_path)
    assert result.returncode == 1 and b"'melt:1% of all'" in result.stderr


# ---- records ----


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"phase": "lukewarm"}, "phase"),
        ({"wall_ns": -1}, "wall_ns"),
        ({"surplus": 1}, "surplus"),
        ({"schema": "pxarbench-result/2"}, "schema"),
    ],
    ids=["phase", "time", "surplus", "schema"],
)
def test_schema_refuses_other_records(honest: sessions.Session, change: dict[str, object], says: str) -> None:
    line = _some_line(honest)
    record.validate(line)
    with pytest.raises(record.RecordBroken, match=says):
        record.validate(json.dumps({**json.loads(line), **change}))


def _some_line(done: sessions.Session) -> str:
    return done.records_path.read_text().splitlines()[-1]


def test_broken_line_is_named(honest: sessions.Session, tmp_path: Path) -> None:
    (tmp_path / "two.jsonl").write_text(_some_line(honest) + "\n{}\n")
    with pytest.raises(record.RecordBroken, match="two.jsonl: line 2"):
        list(record.read(tmp_path / "two.jsonl"))
