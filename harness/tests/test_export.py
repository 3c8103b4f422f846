"""A session in the formats of other tools: what counts, and what each consumer must be able to read."""

from __future__ import annotations

import csv
import io
import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import export_grammars
import jsonschema
import pytest
import report_sessions

from pxarbench_harness import locate, run
from pxarbench_harness.export import asv, dashboards, formats, gobench, hyperfine, openmetrics, table
from pxarbench_harness.export.series import QUANTITIES, Export, NotExportable, of_records
from pxarbench_harness.record import Record

#: What could end a line, a cell, a label, a string or a tag.
HOSTILE = [
    'a"b', "a\\", "a\nb", "a\tb\r", "::error::x", "%0A", "]]>", "<b>&amp;", "a,b;c|d", "=1+1", "\x00\x1b[31m", "\ud800", "ä€😀",
    " ", "`",
]  # fmt: skip


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return report_sessions.small()


@pytest.fixture(scope="module")
def export(records: list[Record]) -> Export:
    return of_records(records)


def valid(name: str, text: str) -> Any:
    """Against the consumer's format as we wrote it down; no constant that JSON does not have."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    schema = json.loads((locate.results() / "schema" / "consumers" / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    values = json.loads(text, parse_constant=refuse)
    jsonschema.Draft202012Validator(schema).validate(values)
    return values


def measured(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if r.phase == "measured"]


# ---- what counts ----


def test_only_measured_runs_count(records: list[Record], export: Export) -> None:
    assert sorted(run.sequence for series in export.series for run in series.runs) == [r.sequence for r in measured(records)]
    assert export.left_out == () and len(records) > len(measured(records))


@pytest.mark.parametrize("wrong,said", [({"exit_code": 3}, "exit code 3"), ({"problems": ("bit\nrot",)}, "bit rot")])
def test_a_run_that_went_wrong_is_left_out_and_named(wrong: dict[str, Any], said: str, records: list[Record]) -> None:
    bad = measured(records)[0]
    made = of_records([replace(r, **wrong) if r is bad else r for r in records])
    assert [s for s in made.series if s.name == bad.case][0].runs[0].sequence != bad.sequence
    assert len(made.left_out) == 1 and bad.case in made.left_out[0] and "1 of 3 runs went wrong" in made.left_out[0]
    assert said in made.left_out[0] and "\n" not in made.left_out[0]
    every = of_records([replace(r, **wrong) if r.case == bad.case else r for r in records])
    assert bad.case not in {s.name for s in every.series} and len(every.left_out) == 1
    with pytest.raises(NotExportable, match="no measured run without a problem"):
        of_records([replace(r, **wrong) for r in records])


def test_nothing_measured_is_no_export(records: list[Record]) -> None:
    with pytest.raises(NotExportable, match="no measured run"):
        of_records([r for r in records if r.phase != "measured"])
    with pytest.raises(NotExportable, match="no measured run"):
        of_records([])


@pytest.mark.parametrize(
    "other,said",
    [
        ({"host_fingerprint": "0" * 12}, "2 machines"),
        ({"session": "another"}, "2 sessions .*another"),
        ({"host": {**report_sessions.HOST, "tools": {"pxarbench": "another"}}}, "2 builds"),
    ],
)
def test_machines_sessions_and_builds_are_not_mixed(other: dict[str, Any], said: str, records: list[Record]) -> None:
    last = measured(records)[-1]
    with pytest.raises(NotExportable, match=said):
        of_records([replace(r, **other) if r is last else r for r in records])


def test_generations_are_cases_of_their_own() -> None:
    session = report_sessions.Session()
    for number in (1, 2):
        session.case(report_sessions.LINUX, "mix:1%*2", ("pxarbench", "metadata"), rounds=2, generation=number)
    made = of_records(session.records)
    assert [s.name.rpartition("-generation-")[2] for s in made.series] == ["1", "2"]
    assert [len(s.runs) for s in made.series] == [2, 2] and made.series[0].version != made.series[1].version


def test_an_exact_number_that_repetitions_disagree_on_is_named(records: list[Record]) -> None:
    one = measured(records)[0]
    assert one.outcome is not None
    other = replace(one, outcome={**one.outcome, "padding_bytes": 5})
    made = of_records([other if r is one else r for r in records])
    assert [text for text in made.left_out if "padding is not the same" in text and one.case in text]


def test_the_version_changes_with_the_benchmark_only(records: list[Record]) -> None:
    first = measured(records)[0]

    def version(**over: Any) -> str:
        return of_records([replace(first, **over)]).series[0].version

    same = [version(), version(wall_ns=5), version(started="2027-01-01T00:00:00Z"), version(commit="f" * 12),
            version(settings={**first.settings, "discarded": "not cold"})]  # fmt: skip
    assert len(set(same)) == 1
    others = [
        version(mode="other"), version(cache="cold"), version(subject="restic"), version(settings={"threads": "3"}),
        version(dataset={**first.dataset, "tree_digest": "00" * 32}), version(mutation={**first.mutation, "text": "edit:1%"}),
        version(mutation={**first.mutation, "files": 1}), version(generation=2),
    ]  # fmt: skip
    assert len({same[0], *others}) == len(others) + 1
    portable = {**first.dataset, "portable_digest": "11" * 32}
    assert version(dataset=portable) == version(dataset={**portable, "tree_digest": "22" * 32}) != same[0]


def test_quantities_have_names_that_all_formats_can_take() -> None:
    names = [q.name for q in QUANTITIES]
    assert len(set(names)) == len(names) and all(n.replace("_", "").isalnum() and n.islower() for n in names)
    assert len({gobench.unit(q) for q in QUANTITIES}) == len(names) == len({table.column(q) for q in QUANTITIES})


# ---- hyperfine ----


def test_hyperfine(export: Export, records: list[Record]) -> None:
    results = valid("hyperfine", hyperfine.render(export)[""])["results"]
    assert [r["command"] for r in results] == [s.name for s in export.series]
    for result in results:
        runs = [r for r in measured(records) if r.case == result["command"]]
        times = [r.wall_ns / 1e9 for r in sorted(runs, key=lambda r: r.round)]
        assert result["times"] == times and result["median"] == pytest.approx(statistics.median(times))
        assert result["mean"] == pytest.approx(statistics.fmean(times))
        assert result["stddev"] == pytest.approx(statistics.stdev(times))
        assert result["user"] == pytest.approx(statistics.fmean(r.user_ns for r in runs) / 1e9)
        assert (result["min"], result["max"]) == (min(times), max(times)) and result["exit_codes"] == [0] * len(times)


def test_hyperfine_2(export: Export) -> None:
    told = valid("hyperfine-2", hyperfine.render_2(export)[""])
    assert told["metadata"]["hyperfine_version"] == "1.15.0" and told["primary_metric"] in told["results"][0]["summary"]
    for result, series in zip(told["results"], export.series, strict=True):
        assert result["name"] == series.name and result["parameters"]["mode"] == {"value": series.first.mode}
        for name, summary in result["summary"].items():
            values = [one[name]["value"] for one in result["measurements"]]
            assert {one[name]["unit"] for one in result["measurements"]} == {summary["unit"]}
            assert summary["count"] == len(values) == len(series.runs)
            assert summary["median"] == pytest.approx(statistics.median(values))
            assert (summary["min"], summary["max"]) == (min(values), max(values))
        first = result["measurements"][0]
        assert first["time_wall_clock"]["value"] == series.runs[0].wall_ns / 1e9
        assert first["time_cpu"]["value"] == pytest.approx(first["time_user"]["value"] + first["time_system"]["value"])
        assert first["memory_peak_resident"] == {"value": 46_000_000, "unit": "byte"}


def test_hyperfine_has_no_spread_of_a_single_run(records: list[Record]) -> None:
    made = of_records(measured(records)[:1])
    assert valid("hyperfine-2", hyperfine.render_2(made)[""])["results"][0]["summary"]["time_user"]["stddev"] is None
    assert valid("hyperfine", hyperfine.render(made)[""])["results"][0]["stddev"] is None


@pytest.mark.skipif(shutil.which("hyperfine") is None, reason="hyperfine is not installed")
def test_hyperfine_itself_writes_the_same_members(export: Export, tmp_path: Path) -> None:
    path = tmp_path / "its.json"
    done = run.run(["hyperfine", "--runs", "2", "-N", "--export-json", str(path), "--parameter-list", "x", "1", "true"])
    assert done.returncode == 0
    theirs = valid("hyperfine", path.read_text())["results"][0]
    ours = valid("hyperfine", hyperfine.render(export)[""])["results"][0]
    assert theirs.keys() == ours.keys()
    assert {k: type(v) for k, v in theirs.items()} == {k: type(v) for k, v in ours.items()}


# ---- github-action-benchmark, Bencher ----


def test_github_action_benchmark(export: Export) -> None:
    files = dashboards.github(export)
    smaller, bigger = (valid("github-action-benchmark", files[name]) for name in (dashboards.SMALLER, dashboards.BIGGER))
    names = [entry["name"] for entry in smaller + bigger]
    assert sorted(names) == sorted(f"{s.name} {m.quantity.name}" for s in export.series for m in s.samples)
    assert len(set(names)) == len(names)
    assert {n.rsplit(" ", 1)[1] for n in (e["name"] for e in bigger)} == {"throughput", "reused"}
    series = export.series[0]
    wall = next(e for e in smaller if e["name"] == f"{series.name} wall")
    assert wall["unit"] == "ms" and wall["value"] == pytest.approx(statistics.median(r.wall_ns for r in series.runs) / 1e6)
    assert wall["range"].startswith("± ") and series.version in wall["extra"] and export.machine in wall["extra"]
    padding = next(e for e in smaller if e["name"] == f"{series.name} padding")
    assert "range" not in padding and padding["unit"] == "bytes"


def test_bencher(export: Export) -> None:
    found = valid("bencher", dashboards.bencher(export)[""])
    assert set(found) == {s.name for s in export.series}
    for series in export.series:
        measures = found[series.name]
        assert measures["latency"]["value"] == statistics.median(r.wall_ns for r in series.runs)
        assert len(measures) == len(series.samples)
        for metric in measures.values():
            assert metric.get("lower_value", metric["value"]) <= metric["value"] <= metric.get("upper_value", metric["value"])
        assert "lower_value" in measures["latency"] and "lower_value" not in measures["padding-bytes"]


# ---- benchstat ----


def test_benchstat(export: Export) -> None:
    read = export_grammars.go_benchmarks(gobench.render(export)[""])
    assert read.config == {"host": export.machine, "cpu": "AMD EPYC"}
    assert len(read.results) == sum(len(s.runs) for s in export.series)
    names = list(dict.fromkeys(name for name, _, _ in read.results))
    assert len(names) == len(export.series)
    for series, name in zip(export.series, names, strict=True):
        rows = [values for other, _, values in read.results if other == name]
        assert [row["ns/op"] for row in rows] == [r.wall_ns for r in series.runs]
        assert f"/mode={series.first.mode}/" in name and f"/version={series.version}/" in name
        assert rows[0].keys() <= read.units.keys()
    assert read.units["ns/op"] == {"better": "lower", "assume": "nothing"}
    assert read.units["padding-B/op"]["assume"] == "exact" and read.units["B/s"]["better"] == "higher"


def test_benchstat_compares_two_sessions_under_one_configuration(records: list[Record]) -> None:
    """What differs between two sessions on one machine must not be configuration: benchstat would make two tables. The program
    differs most of all, and the record's fingerprint of the host with it."""
    other_host = {**records[0].host, "tools": {**records[0].host["tools"], "pxarbench": "another build"}}
    later = [
        replace(r, session="later", commit="f" * 12, started="2027-01-01T00:00:00Z", host=other_host, host_fingerprint="0" * 12)
        for r in records
    ]
    one, other = (export_grammars.go_benchmarks(gobench.render(of_records(r))[""]) for r in (records, later))
    assert one.config == other.config and [name for name, _, _ in one.results] == [name for name, _, _ in other.results]


def test_names_that_become_equal_are_told_apart(records: list[Record]) -> None:
    first = measured(records)[0]
    twins = [replace(first, mode="ä", case="one"), replace(first, mode="ö", case="other", sequence=999)]
    made = of_records(twins)
    # Different versions tell them apart already; without these, the case does.
    names = gobench._names(made.series)
    assert len(set(names)) == 2
    same = [replace(made.series[0], name="one"), replace(made.series[0], name="other")]
    assert len(set(gobench._names(same))) == 2 and all(name.endswith(".") for name in gobench._names(same))


# ---- OpenMetrics ----


def test_openmetrics(export: Export) -> None:
    text = openmetrics.render(export)[""]
    families = export_grammars.open_metrics(text)
    wall = families["pxarbench_wall_seconds"]
    assert wall.kind == "summary" and wall.unit == "seconds" and wall.help
    series = export.series[0]
    labels = {"case": series.name, **series.labels}
    times = sorted(r.wall_ns / 1e9 for r in series.runs)
    for quantile, value in (("0.0", times[0]), ("0.5", statistics.median(times)), ("1.0", times[-1])):
        key = ("pxarbench_wall_seconds", frozenset({**labels, "quantile": quantile}.items()))
        assert wall.samples[key] == pytest.approx(value)
    assert wall.samples["pxarbench_wall_seconds_count", frozenset(labels.items())] == len(times)
    assert wall.samples["pxarbench_wall_seconds_sum", frozenset(labels.items())] == pytest.approx(sum(times))
    assert families["pxarbench_padding_bytes"].kind == "gauge" and families["pxarbench_session_info"].kind == "gauge"
    assert len(families["pxarbench_benchmark_info"].samples) == len(export.series)


def test_prometheus_reads_it(export: Export) -> None:
    parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="python3-prometheus-client is not installed")
    ours = export_grammars.open_metrics(openmetrics.render(export)[""])
    theirs = {family.name: family for family in parser.text_string_to_metric_families(openmetrics.render(export)[""])}
    assert theirs.keys() == ours.keys()
    for name, family in theirs.items():
        assert (family.type, family.unit) == (ours[name].kind, ours[name].unit)
        assert {(s.name, frozenset(s.labels.items())): s.value for s in family.samples} == ours[name].samples


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is not installed")
def test_promtool_finds_nothing_wrong(export: Export) -> None:
    text = openmetrics.render(export)[""]
    done = run.run(["promtool", "check", "metrics"], stdin=text.encode())
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    broken = text.replace("# TYPE pxarbench_wall_seconds summary", "# TYPE pxarbench_wall_seconds counter")
    assert run.run(["promtool", "check", "metrics"], stdin=broken.encode()).returncode != 0


def test_an_exact_quantity_whose_repetitions_differ_is_no_gauge(records: list[Record]) -> None:
    one = next(r for r in measured(records))
    assert one.outcome is not None
    changed = replace(one, outcome={**one.outcome, "padding_bytes": 7})
    families = export_grammars.open_metrics(openmetrics.render(of_records([changed if r is one else r for r in records]))[""])
    assert families["pxarbench_padding_bytes"].kind == "summary"


# ---- asv ----


def asv_files(export: Export) -> dict[str, Any]:
    names = {"benchmarks.json": "asv-benchmarks", "machine.json": "asv-machine"}
    return {path: valid(names.get(Path(path).name, "asv-results"), text) for path, text in asv.render(export).items()}


def test_asv(export: Export) -> None:
    files = asv_files(replace(export, whole_hash="ab" * 20, committed=1_700_000_000))
    machine = export.machine
    assert set(files) == {"benchmarks.json", f"{machine}/machine.json", f"{machine}/abababab-pxarbench.json"}
    benchmarks, results = files["benchmarks.json"], files[f"{machine}/abababab-pxarbench.json"]
    assert results["commit_hash"] == "ab" * 20 and results["date"] == 1_700_000_000_000
    assert results["params"]["machine"] == machine == files[f"{machine}/machine.json"]["machine"]
    assert benchmarks.keys() - {"version"} == results["results"].keys()
    for name, row in results["results"].items():
        values = dict(zip(results["result_columns"], row, strict=True))
        assert benchmarks[name]["name"] == name and values["version"] == benchmarks[name]["version"]
        assert values["result"][0] == pytest.approx(statistics.median(values["samples"][0]))
        assert len(values["samples"][0]) == 3
    series = export.series[0]
    wall = results["results"][f"backup.{series.name}.time_wall"]
    assert wall[0] == [pytest.approx(statistics.median(r.wall_ns for r in series.runs) / 1e9)]
    assert benchmarks[f"backup.{series.name}.time_wall"]["unit"] == "seconds"
    # asv takes less to be better, always.
    assert not any("throughput" in name or name.endswith("_reused") for name in benchmarks)


def test_asv_has_one_machine_whatever_program_was_measured_there(records: list[Record]) -> None:
    """Else it would never see two commits on one machine."""

    def machine(**other: Any) -> str:
        host = {**records[0].host, **other}
        files = asv.render(of_records([replace(r, host=host, host_fingerprint="0" * 12) for r in records]))
        return next(name for name in files if name.endswith("/machine.json"))

    tools = records[0].host["tools"]
    assert machine() == machine(tools={**tools, "pxarbench": "another build"})
    assert machine() != machine(tools={**tools, "hyperfine": "another"}) and machine() != machine(cpu="another")


def test_asv_without_git_says_what_it_knows(export: Export) -> None:
    name = f"{export.machine}/6081b32b-pxarbench.json"
    results = asv_files(export)[name]
    assert results["commit_hash"] == "6081b32b3070" and results["date"] == 1795348803000


# ---- CSV ----


def test_csv(export: Export) -> None:
    text = table.render(export)[""]
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    runs = [r for s in export.series for r in s.runs]
    assert text.endswith("\r\n") and len(rows) == len(runs)
    for row, one in zip(rows, runs, strict=True):
        assert (row["case"], int(row["round"]), int(row["wall_ns"])) == (one.case, one.round, one.wall_ns)
        assert one.outcome is not None
        assert row["padding_bytes"] == str(one.outcome["padding_bytes"]) and row["collateral_files"] == ""
        assert None not in row and None not in row.values()


# ---- every format ----

SESSION = [f for f in formats.FORMATS.values() if f.session is not None]


def _hostile(records: Sequence[Record], text: str) -> list[Record]:
    return [
        replace(
            r, session=f"s{text}", mode=f"m{text}", commit=text, subject=f"x{text}", mutation={**r.mutation, "text": text},
            dataset={**r.dataset, "name": text},
            host={**r.host, "cpu": text, "distribution": text, "kernel": text, "tools": {text: text}},
        )
        for r in records
    ]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_breaks_a_format(text: str, records: list[Record]) -> None:
    made = of_records(_hostile(records, text))
    written = {f.name: f.session(made) for f in SESSION if f.session is not None}
    for files in written.values():
        for name, contents in files.items():
            contents.encode()
            assert not name.startswith(("/", ".")) and ".." not in Path(name).parts
    valid("hyperfine", written["hyperfine"][""])
    valid("hyperfine-2", written["hyperfine-2"][""])
    valid("bencher", written["bencher"][""])
    asv_files(made)
    for contents in written["github-action-benchmark"].values():
        valid("github-action-benchmark", contents)
    read = export_grammars.go_benchmarks(written["benchstat"][""])
    assert len(read.results) == len(measured(records))
    export_grammars.open_metrics(written["openmetrics"][""])
    rows = list(csv.DictReader(io.StringIO(written["csv"][""], newline="")))
    assert len(rows) == len(measured(records))
    assert not any(cell.startswith(tuple("=+-@")) for row in rows for cell in row.values())


@pytest.mark.parametrize("wanted", SESSION, ids=lambda f: f.name)
def test_equal_records_give_equal_files(wanted: formats.Format, records: list[Record]) -> None:
    assert wanted.session is not None
    assert wanted.session(of_records(records)) == wanted.session(of_records(list(records)))


def test_what_a_program_does_not_tell_is_not_there(records: list[Record]) -> None:
    """Not 0: nobody read 0 bytes."""
    silent = [replace(r, outcome=None if r.outcome is None else {**r.outcome, "file_bytes_read": None}, io={}) for r in records]
    made = of_records(silent)
    names = {m.quantity.name for s in made.series for m in s.samples}
    assert "file_read" not in names and "read_calls" not in names and "wall" in names
    assert "file_read" not in "".join(openmetrics.render(made).values())
    assert "file-read" not in "".join(dashboards.bencher(made).values())
