"""A benchmark session through a server: one of its own (`ci/bench --server`), or one somewhere else (`--repository`)."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import jsonschema
import pytest
from session_tools import quiet, small_plan

from pxarbench_harness import cli, integers, locate, measure, session
from pxarbench_harness.record import Record
from pxarbench_harness.subjects import Settings, registry
from pxarbench_harness.subjects.remote import server_words
from pxarbench_harness.wire.spoken import Server

MODES = (("pxarbench", "data"), ("pxarbench", "metadata"))


@pytest.fixture(autouse=True)
def hyperfine() -> None:
    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")


def records(folder: Path, pxarbench: Path, **where: str) -> list[Record]:
    plan = replace(
        small_plan(folder, folder / "cache", "none", "edit:5%:uniform"), settings=Settings(binary=pxarbench, **where), rounds=2,
        contenders=MODES,
    )  # fmt: skip
    done = quiet(plan)
    assert done.problems == [] and done.reasons() == []
    return done.records


@pytest.mark.parametrize("server_text", ["loopback", "loopback:2ms,1000"])
def test_through_the_loopback(pxarbench: Path, tmp_path: Path, server_text: str) -> None:
    """Everything is checked as with a folder, the exact integers are those of a folder; the wire's counters are recorded."""
    remote = records(tmp_path / "remote", pxarbench, server=server_text)
    here = records(tmp_path / "local", pxarbench)
    assert integers.differences(integers.of(here), integers.of(remote)) == []
    schema = json.loads((locate.results() / "schema" / "result.v1.json").read_text())
    for record in remote:
        jsonschema.validate(json.loads(json.dumps(asdict(record))), schema)
        assert record.outcome is not None and record.outcome["network"]["requests"] > 5
        assert record.settings["server"] == server_text
    assert all(record.outcome is not None and record.outcome["network"] == {} for record in here)
    assert "server" not in here[0].settings


def test_on_a_server_somewhere_else(pxarbench: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots are forgotten between repetitions and at the end; what is read again is what changed."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    done = records(tmp_path / "remote", pxarbench, repository=server.repository())
    measured = [r for r in done if r.phase == "measured" and r.mode == "metadata" and r.mutation["operation"] == "edit"]
    assert len(measured) == 2
    assert len({r.outcome["reencoded_files"] for r in measured if r.outcome is not None}) == 1
    assert measured[0].outcome is not None and measured[0].outcome["reencoded_files"] > 0
    left = [path for path in (server.datastore / "host").rglob("*") if path.is_dir() and path.name.endswith("Z")]
    assert left == []


def test_words_of_the_option() -> None:
    assert server_words("loopback") == ()
    assert server_words("loopback:30ms") == ("--latency", "30000us")
    assert server_words("loopback:0.3ms,10000") == ("--latency", "300us", "--bandwidth", "10000")
    for text in ("", "elsewhere", "loopback:", "loopback:30", "loopback:x,1"):
        with pytest.raises(ValueError):
            server_words(text)
    names = registry(Settings(server="loopback", builds={"old": Path("/bin/true")}))
    assert {names["pxarbench"].__name__, names["pxarbench@old"].__bases__[0].__name__} == {"Served"}


@pytest.mark.parametrize(
    "words", [["--server", "elsewhere"], ["--server", "loopback", "--repository", "h:store"], ["--repository", "/tmp/store"]]
)
def test_wrong_options(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*words, "--list", "--dataset", "tiny", "--binary", os.fspath(Path("/bin/true"))]) == 1
    assert "server" in capsys.readouterr().err or "--repository" in words


def test_plans_differ_by_place(tmp_path: Path) -> None:
    """A session is not taken up through another line than it was begun with."""
    plan = small_plan(tmp_path, tmp_path / "cache")
    digests = {replace(plan, settings=replace(plan.settings, server=s)).digest() for s in ("", "loopback", "loopback:30ms")}
    assert len(digests) == 3 and isinstance(plan, session.Plan)
