"""Sessions made fit to be kept."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import report_sessions as made

from pxarbench_harness import locate, record
from pxarbench_harness.report import publish


@pytest.fixture
def session(tmp_path: Path) -> Path:
    work = f"/var/scratch/pxarbench-work-{made.small()[0].session}-77"
    words = ("/home/somebody/clone/build/release/bin/pxarbench", "backup", f"{locate.cache()}/datasets/x/tree",
             f"--stats={work}/linux/stats.json", "/elsewhere/file")  # fmt: skip
    said = (f"restore: /mem/pxarbench-work-{made.small()[0].session}-77/restored-0/tree: exit 1",)
    folder = made.write(tmp_path / "s", [replace(r, command=words, problems=said) for r in made.small()])
    (folder / "raw").mkdir(exist_ok=True)
    (folder / "raw" / "0001-x.json").write_text(f'{{"command": "{work}/linux"}}')
    (folder / "raw" / "0001-x.log").write_text("x" * (publish.LOG_BYTES_MAX + 1))
    (folder / "oplog-1.jsonl").write_text("not needed")
    return folder


def test_no_place_of_the_machine_is_left(session: Path, tmp_path: Path) -> None:
    target = tmp_path / "published"
    assert publish.main([str(session), str(target)]) == 0
    assert (target / "report.md").exists() and (target / "report.html").exists()
    subprocess.run(["tar", "-xf", "session.tar.zst"], cwd=target, check=True)
    words = next(iter(record.read(target / "records.jsonl"))).command
    assert words == ("$REPOSITORY/bin/pxarbench".replace("/bin", "/build/release/bin"), "backup",
                     "$PXARBENCH_CACHE/datasets/x/tree", "--stats=$WORK/linux/stats.json", "/elsewhere/file")  # fmt: skip
    assert (target / "raw" / "0001-x.json").read_text() == '{"command": "$WORK/linux"}'
    assert not (target / "oplog-1.jsonl").exists() and not (target / "raw" / "0001-x.log").exists()
    assert "restore: $WORK/restored-0/tree: exit 1" in (target / "report.md").read_text()
    for path in target.rglob("*"):
        if path.suffix in (".html", ".md", ".txt", ".json", ".jsonl"):
            text = path.read_text()
            assert "/home/somebody" not in text and "/var/scratch" not in text and str(locate.cache()) not in text, path


def test_equal_sessions_are_equal_files(session: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        publish.publish(session, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_refusals(session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main([str(tmp_path / "none"), str(tmp_path / "t")]) == 1 and "no session" in capsys.readouterr().err
    assert publish.main([str(session), str(session)]) == 1 and "is there already" in capsys.readouterr().err
    assert publish.main(["--help"]) == 0 and publish.main([]) == 1
