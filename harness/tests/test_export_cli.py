"""ci/export: what it reads, where it writes, what it refuses, and the exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import report_sessions
from test_export_verdict import ALL

from pxarbench_harness import locate, run
from pxarbench_harness.export import cli, formats
from pxarbench_harness.gates import verdict

SESSIONS = [f.name for f in formats.FORMATS.values() if f.session is not None]
VERDICTS = [f.name for f in formats.FORMATS.values() if f.verdict is not None]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A first backup, a warm-up, three measured runs."""
    return report_sessions.write(tmp_path / "session", report_sessions.small()[:5])


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir()
    verdict.write(folder / "verdict.json", ALL)
    return folder


def left_behind(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.partial")


def test_every_format_is_written(session: Path, judged: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for source, names in ((session, SESSIONS), (judged, VERDICTS)):
        for name in names:
            out = tmp_path / "out" / source.name / name
            out.parent.mkdir(parents=True, exist_ok=True)
            assert cli.main([name, str(source), "-o", str(out)]) == 0
            assert out.is_dir() == formats.FORMATS[name].is_folder and (out.is_dir() or out.stat().st_size)
            said = capfd.readouterr()
            assert said.out == "" and f"written: {out}" in said.err
    assert not list(left_behind(tmp_path))


def test_standard_output_is_the_file(judged: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for words in ([], ["-o", "-"]):
        assert cli.main(["junit", str(judged / "verdict.json"), *words]) == 0
        assert capfdbinary.readouterr().out == formats.junit.render(ALL)[""].encode()


def test_what_the_verdict_says_is_not_the_exit_code(judged: Path) -> None:
    assert ALL.exit_code() == 1 and cli.main(["annotations", str(judged)]) == 0


def test_warnings_as_failures(judged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["junit", str(judged), "--warnings-as-failures"]) == 0
    assert 'type="warning"' in capfd.readouterr().out


def test_csv_is_made_from_either(session: Path, judged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = (session, session / "records.jsonl", judged, judged / "verdict.json")
    for source, first in zip(files, ("session,", "session,", "gate,", "gate,"), strict=True):
        assert cli.main(["csv", str(source)]) == 0
        assert capfd.readouterr().out.startswith(first)


def test_a_folder_with_both_has_both(session: Path, capfd: pytest.CaptureFixture[str]) -> None:
    verdict.write(session / "verdict.json", ALL)
    assert cli.main(["hyperfine", str(session)]) == 0 and cli.main(["junit", str(session)]) == 0
    assert cli.main(["csv", str(session)]) == 0
    assert capfd.readouterr().out.count("session,commit") == 1


def test_runs_that_went_wrong_are_an_exit_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records = report_sessions.small()
    bad = next(r for r in records if r.phase == "measured")
    folder = report_sessions.write(tmp_path / "s", [replace(r, exit_code=3) if r is bad else r for r in records])
    assert cli.main(["hyperfine", str(folder), "-o", str(tmp_path / "h.json")]) == 1
    assert "left out: " + bad.case in capfd.readouterr().err
    assert [len(r["times"]) for r in json.loads((tmp_path / "h.json").read_text())["results"]].count(2) == 1


@pytest.mark.parametrize(
    "words,said",
    [
        ([], "FORMAT and FOLDER are needed"), (["hyperfine"], "are needed"),
        (["excel", "."], "no format 'excel': one of hyperfine"),
        (["asv", "."], "-o FOLDER is needed"), (["github-action-benchmark", ".", "-o", "-"], "-o FOLDER is needed"),
        (["csv", ".", "--no-such"], "unrecognized arguments"),
    ],
)  # fmt: skip
def test_wrong_words(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 1 and said in capsys.readouterr().err


def refused(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    assert cli.main(words) == 1
    said = capfd.readouterr()
    assert said.out == "" and said.err.startswith("ci/export: ") and "Traceback" not in said.err
    return said.err


def test_what_cannot_be_read(session: Path, judged: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "No such file" in refused(["hyperfine", str(tmp_path / "none")], capfd)
    assert "No such file" in refused(["junit", str(session)], capfd)
    assert "records.jsonl" in refused(["hyperfine", str(judged)], capfd)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "records.jsonl").touch()
    assert "no measured run" in refused(["csv", str(tmp_path / "empty")], capfd)
    lines = (session / "records.jsonl").read_text().splitlines()
    (session / "records.jsonl").write_text("\n".join([lines[0], lines[1][:50]]))
    assert "line 2" in refused(["bencher", str(session)], capfd)
    (session / "records.jsonl").write_text("\n".join([lines[0], lines[0]]))
    assert "more than once" in refused(["bencher", str(session)], capfd)
    (judged / "verdict.json").write_text((judged / "verdict.json").read_text().replace('"head_commit"', '"head_comit"'))
    assert "'head_commit' is a required property" in refused(["junit", str(judged)], capfd)
    (judged / "verdict.json").write_bytes(b"\xff\xfe")
    assert "verdict.json" in refused(["markdown", str(judged)], capfd)


def test_a_verdict_of_any_size_is_not_read(
    judged: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "VERDICT_MAX", 100)
    assert "larger than" in refused(["junit", str(judged)], capfd)


def test_what_cannot_be_written(session: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "No such file" in refused(["csv", str(session), "-o", str(tmp_path / "none" / "x.csv")], capfd)
    (tmp_path / "file").write_text("kept")
    assert f"{tmp_path}/file: " in refused(["asv", str(session), "-o", str(tmp_path / "file")], capfd)
    (tmp_path / "taken").mkdir()
    assert "Is a directory" in refused(["csv", str(session), "-o", str(tmp_path / "taken")], capfd)
    assert (tmp_path / "file").read_text() == "kept" and not list(left_behind(tmp_path))


def test_asv_asks_git_for_the_whole_hash(tmp_path: Path, session: Path) -> None:
    at = ["-c", f"safe.directory={locate.REPOSITORY}", "-C", str(locate.REPOSITORY)]
    git = run.run(["git", *at, "show", "-s", "--format=%H %ct", "HEAD"])
    if git.returncode != 0:
        pytest.skip("this is no git checkout")
    whole, committed = git.text.split()
    records = [replace(r, commit=whole[:12] + "+changes") for r in report_sessions.small()[:5]]
    export = cli.read_session(report_sessions.write(tmp_path / "s", records))
    assert (export.whole_hash, export.committed) == (whole, int(committed))
    # What is no hash is not asked for: git would take it for an option, or for what is checked out today.
    for number, said in enumerate(("--help", "HEAD", "unknown", "0" * 12)):
        unknown = [replace(r, commit=said) for r in records]
        assert cli.read_session(report_sessions.write(tmp_path / str(number), unknown)).whole_hash == ""


def test_the_script_takes_paths_from_where_it_is_called(judged: Path) -> None:
    script = str(locate.REPOSITORY / "ci" / "export")
    done = run.run([script, "annotations", "gate"], cwd=judged.parent)
    assert done.returncode == 0 and done.text.startswith("::error ")
    listed = run.run([script, "--list"], cwd=judged.parent)
    assert all(name in listed.text for name in formats.FORMATS)
    helped = run.run([script, "--help"])
    assert helped.returncode == 0 and "examples:" in helped.text and "exit codes:" in helped.text


# ---- asv's folder, and what must not be written over ----


def test_asv_keeps_what_other_sessions_brought(tmp_path: Path) -> None:
    records, out = report_sessions.small(), tmp_path / "asv"
    cases = sorted({r.case for r in records if r.phase == "measured"})
    for number, case in enumerate((*cases, cases[0])):  # the first one again: it is replaced by itself
        folder = report_sessions.write(tmp_path / str(number), [r for r in records if r.case == case])
        assert cli.main(["asv", str(folder), "-o", str(out)]) == 0
    whole = tmp_path / "whole"
    assert cli.main(["asv", str(report_sessions.write(tmp_path / "all", records)), "-o", str(whole)]) == 0
    names = sorted(path.relative_to(out) for path in out.rglob("*.json"))
    assert names == sorted(path.relative_to(whole) for path in whole.rglob("*.json")) and len(names) == 3
    for name in names:
        mine, theirs = (json.loads((place / name).read_text()) for place in (out, whole))
        assert mine.keys() == theirs.keys() and mine.get("results", {}).keys() == theirs.get("results", {}).keys()
        if name.name == "benchmarks.json":
            assert mine == theirs


@pytest.mark.parametrize("there", ["no json", "[]", '{"version": 1}', "[" * 100_000])
def test_a_folder_of_something_else_is_left_alone(
    there: str, session: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "benchmarks.json").write_text(there)
    assert f"{out}/benchmarks.json: " in refused(["asv", str(session), "-o", str(out)], capfd)
    assert [path.name for path in out.iterdir()] == ["benchmarks.json"] and (out / "benchmarks.json").read_text() == there


def test_results_of_another_commit_are_left_alone(session: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["asv", str(session), "-o", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").rglob("*-pxarbench.json")
    path.write_text(path.read_text().replace('"commit_hash": "6081b32b', '"commit_hash": "6081b32c'))
    capfd.readouterr()
    assert "has another commit_hash" in refused(["asv", str(session), "-o", str(tmp_path / "out")], capfd)


def test_what_is_exported_is_not_written_over(judged: Path, session: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (judged / "verdict.json").read_bytes()
    for source in (judged, judged / "verdict.json"):
        assert "is what is exported" in refused(["junit", str(source), "-o", str(judged / "verdict.json")], capfd)
    assert "is what is exported" in refused(["csv", str(session), "-o", str(session / "records.jsonl")], capfd)
    assert (judged / "verdict.json").read_bytes() == before


def test_a_pipe_is_written_to_and_not_replaced(judged: Path, tmp_path: Path) -> None:
    """As /dev/null and /dev/stdout, which an administrator could replace."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    fd = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        assert cli.main(["annotations", str(judged), "-o", str(pipe)]) == 0
        assert os.read(fd, 100).startswith(b"::error") and pipe.is_fifo()
    finally:
        os.close(fd)


@pytest.mark.parametrize("number", [10**19, -(10**18)])
@pytest.mark.parametrize("unit", ["ns", "bytes", ""])
def test_numbers_of_any_size_are_written(number: int, unit: str, judged: Path, tmp_path: Path) -> None:
    one = replace(ALL.findings[0], base=number, head=0.5, unit=unit)
    verdict.write(judged / "verdict.json", replace(ALL, findings=(one,)))
    for name in VERDICTS:
        assert cli.main([name, str(judged), "-o", str(tmp_path / name)]) == 0


def test_a_reader_that_stops_is_no_traceback(judged: Path) -> None:
    verdict.write(judged / "verdict.json", replace(ALL, findings=(replace(ALL.findings[0], details=("x" * 500_000,)),)))
    script = str(locate.REPOSITORY / "ci" / "export")
    for unbuffered in ("", "1"):
        words = ["bash", "-c", '"$0" junit "$1" | head -c 5; echo "${PIPESTATUS[0]}"', script, os.fspath(judged)]
        done = run.run(words, env={"PYTHONUNBUFFERED": unbuffered})
        assert done.stderr == b"" and done.text == "<?xml1\n"


def test_a_full_disk_is_an_error(judged: Path) -> None:
    script = str(locate.REPOSITORY / "ci" / "export")
    for unbuffered in ("", "1"):
        words = ["bash", "-c", '"$0" junit "$1" >/dev/full', script, os.fspath(judged)]
        done = run.run(words, env={"PYTHONUNBUFFERED": unbuffered})
        assert done.returncode == 1 and b"No space left" in done.stderr and b"Traceback" not in done.stderr
