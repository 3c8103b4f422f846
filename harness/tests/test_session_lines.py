"""Sessions behind lines by name (`ci/bench --line`, suite network), and with somebody who listens."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import jsonschema
import pytest
from session_tools import quiet, small_plan

from pxarbench_harness import integers, locate, measure, report, session
from pxarbench_harness.record import Record
from pxarbench_harness.session import suites
from pxarbench_harness.subjects import Settings


@pytest.fixture(autouse=True)
def hyperfine() -> None:
    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")


def test_lines_beside_a_folder(pxarbench: Path, tmp_path: Path) -> None:
    """One session: the same integers behind every line, and a table of what each adds."""
    names = ("pxarbench", "pxarbench@near", "pxarbench@wan")
    plan = replace(
        small_plan(tmp_path, tmp_path / "cache", "none"), settings=Settings(binary=pxarbench, lines=("near", "wan")), rounds=1,
        contenders=tuple((name, "metadata") for name in names),
    )  # fmt: skip
    done = quiet(plan)
    assert done.problems == [] and done.reasons() == []
    by_name = {name: [replace(r, case="") for r in done.records if r.subject == name] for name in names}
    exact = [integers.of([replace(r, subject="pxarbench") for r in records]) for records in by_name.values()]
    assert exact[0] and exact[0] == exact[1] == exact[2]
    servers = {name: {r.settings.get("server", "") for r in records} for name, records in by_name.items()}
    assert servers == {"pxarbench": {""}, "pxarbench@near": {"loopback"}, "pxarbench@wan": {"loopback:30ms,1000"}}
    text = report.render.text(report.of_folder(report._folder.load(plan.output)))
    table = text[text.index("Through a network") :]
    assert "unchanged" in table and "30 ms, 1 Gbit/s" in table and "first" in table
    assert plan.digest() != replace(plan, settings=replace(plan.settings, lines=("near",))).digest()
    assert plan.described()["settings"]["lines"] == ["near", "wan"]


def test_what_was_heard_is_in_the_record(pxarbench: Path, tmp_path: Path) -> None:
    settings = Settings(binary=pxarbench, server="loopback", listens=True)
    plan = replace(
        small_plan(tmp_path, tmp_path / "cache", "none"), settings=settings, contenders=(("pxarbench", "metadata"),),
    )  # fmt: skip
    done = quiet(plan)
    assert done.problems == [] and done.reasons() == []
    schema = json.loads((locate.results() / "schema" / "result.v1.json").read_text())
    for record in done.records:
        jsonschema.validate(json.loads(json.dumps(asdict(record))), schema)

    def calls(phase: str) -> list[dict[str, int]]:
        found: list[Record] = [r for r in done.records if r.phase == phase]
        return [r.outcome["calls"] for r in found if r.outcome is not None]

    (first,), (measured,) = calls("reference"), calls("measured")
    assert (first["connections"], first["index_downloads"]) == (1, 0) and first["uploads"] > 2
    assert (measured["connections"], measured["index_downloads"], measured["index_downloads_again"]) == (2, 3, 0)
    assert measured["not_understood"] == measured["uploads_known"] == 0
    (restored,) = [r.outcome["restore"] for r in done.records if r.restored and r.outcome is not None]
    assert restored["wire_payload_chunks"] > 0 and restored["wire_refused"] == 0


def test_suite_of_networks() -> None:
    suite = suites.SUITES["network"]
    assert suite.lines == ("near", "lan", "wan", "far") and suite.modes == ("data", "metadata")


#: What `serve` of a program does that backs up as it should, and what the session says.
BAD_SERVERS = {
    "does not start": ("echo broken >&2; exit 3", "broken"),
    "ends badly": ('"$program" "$@" & trap "kill $!; wait $!; exit 5" TERM; wait $!; exit 5', "ended with 5"),
}


@pytest.mark.parametrize("name", BAD_SERVERS)
def test_bad_server_ends_the_session_in_a_sentence(name: str, pxarbench: Path, tmp_path: Path) -> None:
    serves, sentence = BAD_SERVERS[name]
    program = tmp_path / "program"
    program.write_text(f'#!/bin/bash\nprogram="{pxarbench}"\nif [ "$1" = serve ]; then {serves}; fi\nexec "$program" "$@"\n')
    program.chmod(0o755)
    plan = replace(
        small_plan(tmp_path, tmp_path / "cache", "none"), settings=Settings(binary=program, server="loopback"),
        contenders=(("pxarbench", "data"),),
    )  # fmt: skip
    with pytest.raises(session.SessionFailed, match=sentence):
        quiet(plan)
