"""The history: what of a run is remembered, where, and that nothing that lies there is trusted."""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import report_sessions as made

from pxarbench_harness import locate, run
from pxarbench_harness.gates import verdict as verdicts
from pxarbench_harness.gates.verdict import Finding, Level, Verdict
from pxarbench_harness.history import cli, collect, git, line, parsers, series, store
from pxarbench_harness.history.line import Case, LineBroken, Measured, Run
from pxarbench_harness.history.series import Choice, Kind
from pxarbench_harness.history.store import BranchStore, FileStore, HistoryBroken
from pxarbench_harness.record import Record


def a_run(number: int = 1, **over: Any) -> Run:
    case = Case(
        "tiny-none-data-warm", "session", "v1", {"dataset": "tiny"}, {"reused_files": number}, {"payload": "ab" * 32},
        {"ir": 10**9}, {"wall_ns": Measured(1.5e9, 1.4e9, 1.6e9, 5)},
    )  # fmt: skip
    values: dict[str, Any] = {
        "id": f"{number:016x}", "kind": "session", "started": f"2026-01-02T03:{number // 60 % 60:02}:{number % 60:02}Z",
        "commit": f"{number:040x}", "is_changed": False, "committed": "2026-01-01T00:00:00Z", "branch": "main", "machine": "m",
        "machine_text": "a machine", "cases": (case,), "gates": {"counters": "ok"}, "exit_code": 0, "left_out": ("x: why",),
    }  # fmt: skip
    return Run(**{**values, **over})


def a_verdict(*findings: Finding, **over: Any) -> Verdict:
    executed = tuple(sorted({f.case for f in findings if f.case})) or ("a",)
    values: dict[str, Any] = {"settings": {"versions": {"a": "v7"}}, **over}
    return Verdict("gate", "2026-01-02T03:04:05+00:00", "golden", "this", "0123abcd", "host1", findings, executed, **values)


# ---- the line ----


def test_line_comes_back_and_fits_the_schema() -> None:
    one = a_run()
    text = line.to_json(one)
    assert line.from_json(text) == one
    assert "\n" not in text
    jsonschema.validate(json.loads(text), line.schema())


def _at(values: Any, path: str) -> tuple[Any, Any]:
    parts: list[Any] = [int(p) if p.isdigit() else p for p in path.split("/")]
    for part in parts[:-1]:
        values = values[part]
    return values, parts[-1]


WRONG: list[tuple[str, Any, str]] = [
    ("schema", "pxarbench-history/2", "schema"),
    ("id", "xyz", "id"),
    ("kind", "other", "kind"),
    ("started", "yesterday", "started"),
    ("started", 5, "started"),
    ("commit", "HEAD", "commit"),
    ("commit", "--output=x", "commit"),
    ("is_changed", 0, "is_changed"),
    ("committed", "2026", "committed"),
    ("machine_text", "x" * 1001, "machine_text"),
    ("machine", "a\nb", "machine"),
    ("exit_code", 256, "exit_code"),
    ("exit_code", "0", "exit_code"),
    ("exit_code", True, "exit_code"),
    ("cases", {}, "cases"),
    ("cases/0", [], "cases/0"),
    ("cases/0/case", "", "cases/0/case"),
    ("cases/0/case", "a\x1b[2J", "cases/0/case"),
    ("cases/0/source", "rumour", "cases/0/source"),
    ("cases/0/version", None, "cases/0/version"),
    ("cases/0/exact/reused_files", -1, "reused_files"),
    ("cases/0/exact/reused_files", 1.5, "reused_files"),
    ("cases/0/exact/reused_files", True, "reused_files"),
    ("cases/0/exact/reused_files", 2**63, "reused_files"),
    ("cases/0/exact/a\u00a0b", 1, "cases/0/exact"),
    ("cases/0/digests/payload", 5, "payload"),
    ("cases/0/counted/ir", "many", "ir"),
    ("cases/0/measured/wall_ns", [1.0, 2.0, 3.0], "wall_ns"),
    ("cases/0/measured/wall_ns", [1.0, 2.0, 3.0, 0], "wall_ns"),
    ("cases/0/measured/wall_ns", [-1.0, None, None, 1], "wall_ns"),
    ("cases/0/measured/wall_ns", [1e30, None, None, 1], "wall_ns"),
    ("cases/0/measured/wall_ns", "1", "wall_ns"),
    ("cases/0/more", 1, "cases/0/more"),
    ("gates/counters", 1, "gates/counters"),
    ("left_out", [1], "left_out"),
    ("more", 1, "more"),
]


@pytest.mark.parametrize("path,value,said", WRONG, ids=[f"{p}-{i}" for i, (p, _, _) in enumerate(WRONG)])
def test_wrong_lines_are_refused_by_both(path: str, value: Any, said: str) -> None:
    """By our reader, which names the field, and by the schema."""
    values = json.loads(line.to_json(a_run()))
    holder, last = _at(values, path)
    holder[last] = value
    with pytest.raises(LineBroken, match=said):
        line.from_json(json.dumps(values))
    assert not jsonschema.Draft202012Validator(line.schema()).is_valid(values)


@pytest.mark.parametrize("name", "schema id kind started commit cases exit_code note machine branch".split())
def test_what_is_missing_is_named(name: str) -> None:
    values = json.loads(line.to_json(replace(a_run(), note="n")))
    del values[name]
    with pytest.raises(LineBroken, match=f"{name}: is missing"):
        line.from_json(json.dumps(values))
    assert not jsonschema.Draft202012Validator(line.schema()).is_valid(values)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "5", "null", "[" * 100_000, '{"a":' * 50_000, '{"id":1,"id":2}', '{"x":NaN}', "1" * 5000, "\0"],
)
def test_no_line_at_all(text: str) -> None:
    with pytest.raises(LineBroken):
        line.from_json(text)


@pytest.mark.parametrize(
    "path,value,said",
    [
        ("branch", "\ud800", "branch: holds half a character"),
        ("left_out", ["a", "\udfff"], "left_out/1: holds half"),
        ("cases/0/what/dataset", "\udc80", "cases/0/what/dataset: holds half"),
        ("cases/0/measured/wall_ns", [2.0, 3.0, 1.0, 5], "wall_ns: low is above high"),
    ],
)
def test_what_no_schema_can_say_is_refused_as_well(path: str, value: Any, said: str) -> None:
    values = json.loads(line.to_json(a_run()))
    holder, last = _at(values, path)
    holder[last] = value
    with pytest.raises(LineBroken, match=said):
        line.from_json(json.dumps(values))


def test_a_name_that_is_there_twice_is_refused() -> None:
    text = line.to_json(a_run()).replace('"reused_files":1', '"reused_files":1,"reused_files":2')
    with pytest.raises(LineBroken, match="twice"):
        line.from_json(text)


def test_a_case_that_is_there_twice_is_refused() -> None:
    with pytest.raises(LineBroken, match="twice"):
        line.to_json(replace(a_run(), cases=2 * a_run().cases))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_nothing_unreadable_is_written(value: float) -> None:
    case = replace(a_run().cases[0], measured={"wall_ns": Measured(value)})
    with pytest.raises(LineBroken):
        line.to_json(replace(a_run(), cases=(case,)))


def test_damaged_lines_never_come_through_unnoticed() -> None:
    """Seeded damage: whatever is read is a line that the schema allows, and everything else is LineBroken."""
    rng = random.Random(6)
    text = line.to_json(a_run())
    validator = jsonschema.Draft202012Validator(line.schema())
    read = 0
    for _ in range(600):
        damaged = list(text)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.randint(0, 2)] = rng.choice('{}[]",:0-e\\x\u00e9')
        try:
            line.from_json("".join(damaged))
        except LineBroken:
            continue
        read += 1
        assert validator.is_valid(json.loads("".join(damaged)))
    assert 0 < read < 500


# ---- what of a run is remembered ----


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [r for r in made.small() if r.mutation["text"] == "none"]


def test_records_become_medians_and_exact_numbers(records: list[Record]) -> None:
    one = collect.of(records, branch="main", note="n")
    assert one.kind == "session" and one.commit == "6081b32b3070" and one.branch == "main" and one.exit_code is None
    assert one.started == min(r.started for r in records)
    data, metadata = sorted(one.cases, key=lambda c: c.what["mode"])
    assert (data.what["mode"], metadata.what["mode"]) == ("data", "metadata")
    assert metadata.exact["reused_files"] == made.LINUX["files"] and metadata.exact["reencoded_files"] == 0
    walls = sorted(r.wall_ns for r in records if r.phase == "measured" and r.mode == "data")
    assert data.measured["wall_ns"].value == walls[1] and data.measured["wall_ns"].n == 3
    assert data.measured["wall_ns"].low == walls[0] and data.measured["wall_ns"].high == walls[2]


def test_the_same_run_has_the_same_id_and_another_has_not(records: list[Record]) -> None:
    one = collect.of(records, branch="main")
    assert one.id == collect.of(records, branch="x", note="y", committed="2026-01-01T00:00:00Z").id
    assert one.id != collect.of([replace(r, wall_ns=r.wall_ns + 1) for r in records]).id
    assert one.id == collect.with_commit(one, "6081b32b3070" + 28 * "0", "2026-01-01T00:00:00Z").id


@pytest.mark.parametrize(
    "over,said",
    [
        ({"problems": ("the restored tree differs",)}, "the restored tree differs"),
        ({"exit_code": 1, "outcome": None}, "failed with exit code 1"),
    ],
)
def test_a_case_with_a_problem_is_not_remembered(records: list[Record], over: dict[str, Any], said: str) -> None:
    bad = next(r for r in records if r.mode == "data" and r.phase == "measured")
    one = collect.of([replace(r, **over) if r is bad else r for r in records])
    assert [c.what["mode"] for c in one.cases] == ["metadata"]
    assert len(one.left_out) == 1 and said in one.left_out[0] and bad.case in one.left_out[0]


def test_a_problem_of_a_proof_run_counts_as_well() -> None:
    records = made.small()
    proof = next(r for r in records if r.phase == "proof" and r.mode == "metadata")
    one = collect.of([replace(r, problems=("missed",)) if r is proof else r for r in records])
    # report_sessions' cases are the proof's own; the measured ones of the same name fall out with it.
    assert proof.case not in {c.case for c in one.cases} and any("missed" in text for text in one.left_out)


def test_repetitions_that_differ_are_not_remembered(records: list[Record]) -> None:
    bad = next(r for r in records if r.mode == "data" and r.phase == "measured")
    assert bad.outcome is not None
    odd = replace(bad, outcome={**bad.outcome, "reused_files": 7})
    one = collect.of([odd if r is bad else r for r in records])
    assert any("reused_files differs between repetitions" in text for text in one.left_out)
    odd = replace(bad, outcome={**bad.outcome, "checksums": {"payload": "x"}})
    one = collect.of([odd if r is bad else r for r in records])
    assert any("checksum payload differs" in text for text in one.left_out)


def test_other_builds_and_discarded_runs_are_no_part_of_it(records: list[Record]) -> None:
    more = [replace(r, subject="pxarbench@old", case=r.case + "-old") for r in records]
    cold = [replace(r, phase="discarded", case="x") for r in records]
    assert collect.of([*records, *more, *cold]).id == collect.of(records).id


CHANGES: list[tuple[str, Callable[[Record], Record]]] = [
    ("tree", lambda r: replace(r, dataset={**r.dataset, "tree_digest": "00" * 32})),
    ("files", lambda r: replace(r, dataset={**r.dataset, "files": 5})),
    ("mutation", lambda r: replace(r, mutation={**r.mutation, "text": "edit:2%"})),
    ("facets", lambda r: replace(r, mutation={**r.mutation, "facets": {"contents": 3}})),
    ("mode", lambda r: replace(r, mode="legacy")),
    ("cache", lambda r: replace(r, cache="cold")),
    ("settings", lambda r: replace(r, settings={**r.settings, "threads": "7"})),
    ("generation", lambda r: replace(r, generation=4)),
]


@pytest.mark.parametrize("change", [c for _, c in CHANGES], ids=[n for n, _ in CHANGES])
def test_another_benchmark_has_another_version(records: list[Record], change: Callable[[Record], Record]) -> None:
    assert collect.version(records[0]) != collect.version(change(records[0]))


def test_the_version_is_not_that_of_the_program_or_machine(records: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    first = records[0]
    host = {**first.host, "kernel": "9", "tools": {"hyperfine": "h", "pxarbench": "2.0", "pxarbench sha256": "ff"}}
    later = {**first.mutation, "facets": {"inode": 3}}
    other = replace(first, host=host, commit="f" * 12, wall_ns=5, started="2027-01-01T00:00:00Z", mutation=later)
    before = collect.version(first)
    assert before == collect.version(other)
    monkeypatch.setattr(collect, "CASE_VERSION", 2)
    assert before != collect.version(first)


def test_the_machine_is_not_the_program(records: list[Record]) -> None:
    host = records[0].host
    tools = host["tools"]
    same = {**host, "tools": {**tools, "pxarbench sha256": "ff", "pxarbench": "9", "restic": "0.1"}}
    assert collect.machine(host) == collect.machine(same)
    for other in ({**host, "kernel": "9"}, {**host, "cores": 4}, {**host, "tools": {**tools, "pxarbench compiler": "gcc 99"}}):
        assert collect.machine(host) != collect.machine(other)


def test_records_of_two_machines_or_commits_are_refused(records: list[Record]) -> None:
    with pytest.raises(ValueError, match="different machines"):
        collect.of([records[0], replace(records[1], host={**records[1].host, "kernel": "9"})])
    with pytest.raises(ValueError, match="different commits: 6081b32b3070, ffffffffffff"):
        collect.of([records[0], replace(records[1], commit="f" * 12)])
    with pytest.raises(ValueError, match="different commits"):
        collect.of(records, a_verdict(Finding("counters", "a", "n", Level.OK, "", 1, 1)))
    with pytest.raises(collect.NothingToRemember):
        collect.of([])
    with pytest.raises(collect.NothingToRemember):
        collect.of([r for r in records if r.phase != "measured"])


@pytest.mark.parametrize(
    "text,commit",
    [("0123abcdef12", ("0123abcdef12", False)), ("0123abcdef12+changes", ("0123abcdef12", True)),
     ("0123abcd+", ("0123abcd", True)), ("unknown", ("", False)), ("", ("", False)), ("abc", ("", False)),
     ("A" * 12, ("", False))],
)  # fmt: skip
def test_commits_as_runs_name_them(text: str, commit: tuple[str, bool]) -> None:
    assert collect.commit_of(text) == commit


def test_verdicts_become_values_by_gate() -> None:
    one = collect.of(verdict=a_verdict(
        Finding("counters", "a", "reused", Level.REGRESSION, "", 5, 7),
        Finding("encodings", "a", "payload", Level.OK, "", "x", "y"),
        Finding("instructions", "a", "ir", Level.OK, "", 100, 101, "instructions"),
        Finding("time", "a", "wall", Level.OK, "", 1000.0, 1100.0, "ns", change=0.1, low=0.05, high=0.2, rounds=10),
        Finding("time", "b", "wall", Level.INCONCLUSIVE, "too noisy", 1.0, 2.0, "ns"),
        Finding("counters", "b", "reused", Level.INCONCLUSIVE, "golden of another version", None, 9),
        Finding("counters", "b", "version", Level.INCONCLUSIVE, "another benchmark", "v1", "v2"),
        Finding("bytes", "a", "stored", Level.OK, "", 100, 101, "bytes"),
        Finding("counters", "b", "gone", Level.ERROR, "did not run", 5, None),
        Finding("counters", "c", "reused", Level.OK, "", 1, 1),
        Finding("checks", "c", "", Level.REGRESSION, "the snapshot differs"),
    ))  # fmt: skip
    assert one.kind == "gate" and one.machine == "host1" and one.exit_code == 1 and one.gates["counters"] == "error"
    assert one.started == "2026-01-02T03:04:05Z"
    found = {(c.case, c.source): c for c in one.cases}
    assert found["a", "counters"].exact == {"reused": 7} and found["a", "counters"].version == "v7"
    assert found["a", "encodings"].digests == {"payload": "y"}
    assert found["a", "instructions"].counted == {"ir": 101}
    assert found["a", "time"].measured == {"wall_ns": Measured(1100.0, 1050.0, 1200.0, 10)}
    assert found["b", "counters"].exact == {"reused": 9} and found["b", "counters"].version == "v2"
    assert found["a", "bytes"].counted == {"stored": 101}
    assert set(found) == {("a", g) for g in ("bytes", "counters", "encodings", "instructions", "time")} | {("b", "counters")}
    assert sorted(one.left_out) == ["b: counters: did not run", "b: time: too noisy", "c: the snapshot differs"]


@pytest.mark.parametrize("head", [-1, True])
def test_what_is_no_value_is_not_remembered(head: float) -> None:
    gates = ("counters", "instructions", "time")
    one = collect.of(verdict=a_verdict(*(Finding(gate, "a", "n", Level.OK, "", 1, head) for gate in gates)))
    assert one.cases == ()


def test_required_cases_that_did_not_run_are_left_out() -> None:
    one = collect.of(verdict=a_verdict(Finding("counters", "a", "n", Level.OK, "", 1, 1), required=("a", "gone")))
    assert one.left_out == ("gone: is required, and did not run",)


def test_values_of_an_unknown_machine_are_those_that_need_none() -> None:
    one = collect.of(verdict=replace(a_verdict(
        Finding("counters", "a", "n", Level.OK, "", 1, 1), Finding("instructions", "a", "n", Level.OK, "", 1, 1),
        Finding("time", "b", "wall", Level.OK, "", 1.0, 1.0, "ns"),
    ), host_fingerprint=""))  # fmt: skip
    assert [(c.case, c.source) for c in one.cases] == [("a", "counters")]
    said = "which machine it was is not known"
    assert one.left_out == (f"a: instructions: {said}", f"b: time: {said}")


def test_comparisons_have_the_version_of_their_benchmark() -> None:
    def version(**settings: object) -> str:
        finding = Finding("time", "restore", "wall", Level.OK, "", 1.0, 1.0, "ns")
        said = {"cases": "c1", "files": 5, "bytes": 7, "rounds": 10, **settings}
        (case,) = collect.of(verdict=replace(a_verdict(finding), kind="compare", settings=said)).cases
        return case.version

    assert version() == version(rounds=30) != ""
    assert len({version(), version(cases="c2"), version(files=6), version(bytes=8)}) == 4


def test_records_and_verdict_of_two_machines_are_refused(records: list[Record]) -> None:
    finding = Finding("counters", "a", "n", Level.OK, "", 1, 1)
    verdict = replace(a_verdict(finding), head_commit="6081b32b3070", host=dict(records[0].host))
    assert collect.of(records, verdict).machine == collect.of(records).machine
    with pytest.raises(ValueError, match="another machine than the verdict"):
        collect.of(records, replace(verdict, host={**verdict.host, "cpu": "other"}))


def test_changes_are_not_forgotten_when_the_commit_is_named(records: list[Record]) -> None:
    changed = [replace(r, commit=f"{r.commit}+changes") for r in records]
    assert collect.of(changed).is_changed and collect.of(changed, commit="f" * 40).is_changed
    assert not collect.of(records, commit="f" * 40).is_changed
    assert not collect.of([replace(r, commit="unknown") for r in records], commit="f" * 40).is_changed


def test_a_verdict_without_values_is_remembered_for_its_levels() -> None:
    one = collect.of(verdict=a_verdict(Finding("checks", "", "", Level.REGRESSION, "all wrong")))
    assert one.cases == () and one.gates == {"checks": "regression"} and one.exit_code == 2


# ---- a file ----


def test_lines_are_added_once(tmp_path: Path) -> None:
    kept = FileStore(tmp_path / "deep" / "h.jsonl")
    assert kept.load() == b"" and store.read(kept).runs == ()
    assert kept.append(a_run(1)) and kept.append(a_run(2)) and not kept.append(a_run(1))
    assert [r.id for r in store.read(kept).runs] == [a_run(1).id, a_run(2).id]
    assert (tmp_path / "deep").joinpath("h.jsonl").read_bytes().count(b"\n") == 2
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["h.jsonl"]


def test_modes_and_links_stay(tmp_path: Path) -> None:
    real = tmp_path / "real.jsonl"
    (tmp_path / "link.jsonl").symlink_to(real)
    FileStore(real).append(a_run(1))
    real.chmod(0o604)
    FileStore(tmp_path / "link.jsonl").append(a_run(2))
    assert (tmp_path / "link.jsonl").is_symlink() and real.stat().st_mode & 0o777 == 0o604
    assert len(store.read(FileStore(real)).runs) == 2


def test_a_line_that_was_cut_off_keeps_to_itself(tmp_path: Path) -> None:
    kept = FileStore(tmp_path / "h")
    kept.append(a_run(1))
    kept.append(a_run(2))
    kept.path.write_bytes(kept.path.read_bytes()[:-40])
    with pytest.raises(HistoryBroken, match="h: line 2: no JSON"):
        store.read(kept)
    assert kept.append(a_run(3))
    with pytest.raises(HistoryBroken, match="line 2"):
        store.read(kept)
    found = store.read(kept, skip_broken=True)
    assert [r.id for r in found.runs] == [a_run(1).id, a_run(3).id] and len(found.broken) == 1


def test_only_what_can_be_read_is_there_already(tmp_path: Path) -> None:
    """The end of a line that was cut off is lost, its id is not; another line may quote an id."""
    kept = FileStore(tmp_path / "h")
    kept.append(a_run(1))
    kept.append(a_run(2))
    whole = kept.path.read_bytes()
    kept.path.write_bytes(whole[:-40])
    assert f'"id":"{a_run(2).id}"'.encode() in kept.path.read_bytes()
    assert kept.append(a_run(2)) and not kept.append(a_run(2))
    assert [r.id for r in store.read(kept, skip_broken=True).runs] == [a_run(1).id, a_run(2).id]
    case = replace(a_run().cases[0], what={"id": a_run(3).id})
    assert kept.append(a_run(4, cases=(case,))) and kept.append(a_run(3))


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# Words\n")
    with pytest.raises(HistoryBroken, match="no history"):
        FileStore(path).append(a_run())
    assert path.read_text() == "# Words\n"


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = FileStore(tmp_path / "h")
    kept.append(a_run(1))
    size = kept.path.stat().st_size
    monkeypatch.setattr(store, "BYTES_MAX", size + 10)
    with pytest.raises(HistoryBroken, match="larger than"):
        kept.append(a_run(2))
    monkeypatch.setattr(store, "BYTES_MAX", size - 1)
    with pytest.raises(HistoryBroken, match="larger than"):
        store.read(kept)
    monkeypatch.undo()
    monkeypatch.setattr(store, "LINE_BYTES_MAX", 50)
    with pytest.raises(HistoryBroken, match="line 1: is longer than 50"):
        store.read(kept)
    monkeypatch.undo()
    monkeypatch.setattr(store, "RUNS_MAX", 0)
    with pytest.raises(HistoryBroken, match="more than 0 lines"):
        store.read(kept)


def _add(path: str, numbers: range) -> None:
    for number in numbers:
        FileStore(Path(path)).append(a_run(number))


def test_several_at_a_time_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add, args=(str(tmp_path / "h"), range(k, 40, 4))) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(r.id for r in store.read(FileStore(tmp_path / "h")).runs) == [a_run(n).id for n in range(40)]


def test_hostile_bytes(tmp_path: Path) -> None:
    kept = FileStore(tmp_path / "h")
    for junk in (b"\xff\xfe\n", b"\n\n", b"{}\n", b"\0" * 100, b'{"schema":"pxarbench-history/1"}\n'):
        kept.path.write_bytes(junk)
        with pytest.raises(HistoryBroken, match="line 1"):
            store.read(kept)
        assert store.read(kept, skip_broken=True).runs == ()


# ---- a branch ----


def a_repository(path: Path, *, bare: bool = False) -> git.Repository:
    path.mkdir(parents=True)
    made = git.Repository(path)
    made.must("init", "--quiet", "--initial-branch=main", *(["--bare"] if bare else []))
    if not bare:
        (path / "file").write_text("text")
        made.must("add", "file")
        made.must("-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "-m", "first")
    return made


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a fresh job: git knows no name and no mail address."""
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def test_a_branch_of_its_own(tmp_path: Path, nobody: None) -> None:
    repository = a_repository(tmp_path / "r")
    (tmp_path / "r" / "file").write_text("changed")
    (tmp_path / "r" / "staged").write_text("new")
    repository.must("add", "staged")

    def untouched() -> tuple[str, bytes, str]:
        index = (tmp_path / "r" / ".git" / "index").read_bytes()
        return repository.must("status", "--porcelain"), index, repository.must("rev-parse", "main")

    before = untouched()
    kept = BranchStore(repository, "numbers")
    assert store.read(kept).runs == ()
    assert kept.append(a_run(1)) and kept.append(a_run(2)) and not kept.append(a_run(2))
    assert [r.id for r in store.read(kept).runs] == [a_run(1).id, a_run(2).id]
    assert before == untouched()
    assert repository.must("rev-list", "--count", "numbers") == "2"
    assert repository.ask("merge-base", "numbers", "main").returncode == 1  # nothing in common
    assert repository.must("ls-tree", "--name-only", "numbers") == store.NAME
    repository.must("fsck", "--strict")


def test_what_else_is_on_the_branch_stays(tmp_path: Path) -> None:
    repository = a_repository(tmp_path / "r")
    kept = BranchStore(repository, "numbers")
    kept.append(a_run(1))
    blob = repository.must("hash-object", "-w", "--stdin", stdin=b"hello")
    listed = repository.must("ls-tree", "numbers") + f"\n100644 blob {blob}\tREADME\n"
    tree = repository.must("mktree", stdin=listed.encode())
    commit = repository.must("commit-tree", tree, "-p", "numbers", "-m", "x", env=git.identity(repository))
    repository.must("update-ref", "refs/heads/numbers", commit)
    kept.append(a_run(2))
    assert repository.must("ls-tree", "--name-only", "numbers").split() == ["README", store.NAME]
    assert len(store.read(kept).runs) == 2


def test_other_branches_are_left_alone(tmp_path: Path) -> None:
    repository = a_repository(tmp_path / "r")
    repository.must("branch", "work")
    with pytest.raises(HistoryBroken, match="holds no history.jsonl"):
        BranchStore(repository, "work").append(a_run())
    with pytest.raises(HistoryBroken, match="is checked out"):
        BranchStore(repository, "main").append(a_run())
    for name in ("-x", "a..b", "", "a b", "x.lock", "a//b", "refs/", "@{u}", "HEAD~1"):
        with pytest.raises(HistoryBroken, match="no name of a branch"):
            BranchStore(repository, name)
    with pytest.raises(HistoryBroken, match="no name of a remote"):
        BranchStore(repository, "x", "--upload-pack=touch /tmp/x")


def test_two_clones_share_a_remote(tmp_path: Path, nobody: None) -> None:
    a_repository(tmp_path / "remote", bare=True)
    stores = []
    for name in ("one", "two"):
        clone = a_repository(tmp_path / name)
        clone.must("remote", "add", "origin", str(tmp_path / "remote"))
        stores.append(BranchStore(clone, "numbers", "origin"))
    assert stores[0].append(a_run(1)) and stores[1].append(a_run(2)) and stores[0].append(a_run(3))
    assert not stores[1].append(a_run(1))
    for kept in stores:
        assert [r.id for r in store.read(kept).runs] == [a_run(n).id for n in (1, 2, 3)]
        # No branch of one's own comes of it; but what was fetched last can be read without a remote.
        assert kept.repository.must("for-each-ref", "--format=%(refname)", "refs/heads") == "refs/heads/main"
        local = BranchStore(kept.repository, "numbers")
        assert len(store.read(local).runs) == 3
    local = BranchStore(stores[0].repository, "numbers")
    assert not local.append(a_run(1)) and local.append(a_run(4))
    assert local.repository.must("rev-list", "--count", "refs/heads/numbers") == "4"


def test_a_ref_that_ends_alike_is_another(tmp_path: Path, nobody: None) -> None:
    remote = a_repository(tmp_path / "remote")
    remote.must("update-ref", "refs/heads/a/refs/heads/numbers", "main")
    clone = a_repository(tmp_path / "clone")
    clone.must("remote", "add", "origin", str(tmp_path / "remote"))
    kept = BranchStore(clone, "numbers", "origin")
    assert kept.load() == b"" and kept.append(a_run(1)) and not kept.append(a_run(1))
    assert remote.must("rev-list", "--count", "refs/heads/numbers") == "1"


def test_names_of_64_digits(tmp_path: Path, nobody: None) -> None:
    repository = git.Repository(tmp_path)
    repository.must("init", "--quiet", "--object-format=sha256")
    kept = BranchStore(repository, "numbers")
    assert kept.append(a_run(1)) and kept.append(a_run(2)) and len(store.read(kept).runs) == 2


def _add_to_branch(path: str, branch: str, remote: str, numbers: range) -> None:
    for number in numbers:
        BranchStore(git.Repository(Path(path)), branch, remote).append(a_run(number))


@pytest.mark.parametrize("remote", ["", "origin"])
def test_several_add_to_one_branch(tmp_path: Path, remote: str, nobody: None) -> None:
    """It does not exist yet when they begin."""
    a_repository(tmp_path / "remote", bare=True)
    for name in ("0", "1", "2"):
        a_repository(tmp_path / name).must("remote", "add", "origin", str(tmp_path / "remote"))
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_add_to_branch, args=(str(tmp_path / (name if remote else "0")), "numbers", remote, numbers))
        for name, numbers in (("0", range(0, 9, 3)), ("1", range(1, 9, 3)), ("2", range(2, 9, 3)))
    ]  # fmt: skip
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    kept = BranchStore(git.Repository(tmp_path / "0"), "numbers", remote)
    assert sorted(r.id for r in store.read(kept).runs) == [a_run(n).id for n in range(9)]


def test_variables_of_hooks_mean_another_repository(tmp_path: Path, nobody: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a hook, and below `git rebase --exec`, git is told by variables which repository and index to use."""
    other = a_repository(tmp_path / "other")
    repository = a_repository(tmp_path / "r")
    index = (tmp_path / "other" / ".git" / "index").read_bytes()
    for name, value in (("GIT_DIR", ".git"), ("GIT_INDEX_FILE", ".git/index"), ("GIT_WORK_TREE", "")):
        monkeypatch.setenv(name, str(other.path / value))
    kept = BranchStore(repository, "numbers")
    assert kept.append(a_run(1)) and len(store.read(kept).runs) == 1
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name)
    assert "refs/heads/numbers" not in other.must("for-each-ref") and "refs/heads/numbers" in repository.must("for-each-ref")
    assert index == (tmp_path / "other" / ".git" / "index").read_bytes()


def test_times_of_commits_may_be_anything() -> None:
    first, last = "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
    assert [git.utc(n) for n in (0, -(2**70), 2**62)] == [first, first, last]


def test_who_was_slower_adds_on_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading the branch and moving it somebody else moves it, twice."""
    repository = a_repository(tmp_path / "r")
    kept, others = BranchStore(repository, "numbers"), [a_run(7), a_run(8)]
    kept.append(a_run(1))
    commit = BranchStore._commit

    def slow(self: BranchStore, tip: str, whole: bytes, message: str) -> str:
        if others:
            other = others.pop()
            found = store._with(self._at(tip), other)
            assert found is not None
            repository.must("update-ref", "refs/heads/numbers", commit(self, tip, found, "other"))
        return commit(self, tip, whole, message)

    monkeypatch.setattr(BranchStore, "_commit", slow)
    assert kept.append(a_run(2))
    assert {r.id for r in store.read(kept).runs} == {a_run(n).id for n in (1, 2, 7, 8)}
    monkeypatch.setattr(store, "ATTEMPTS", 5)
    others += [a_run(n) for n in range(20, 30)]
    with pytest.raises(HistoryBroken, match="in 5 attempts"):
        kept.append(a_run(3))


# ---- series ----


def test_nothing_is_mixed() -> None:
    base = a_run(1).cases[0]
    runs = [
        a_run(1),
        a_run(2, machine="other"),
        a_run(3, cases=(replace(base, version="v2"),)),
        a_run(4, branch="topic"),
        a_run(5, cases=(replace(base, source="counters"),)),
        a_run(6),
    ]
    found = [s for s in series.collect(series.ordered(runs, Choice(), None).runs, Choice()) if s.key.name == "wall_ns"]
    assert sorted(len(s.points) for s in found) == [1, 1, 1, 1, 2]
    (joined,) = [s for s in found if len(s.points) == 2]
    assert [p.run.id for p in joined.points] == [a_run(1).id, a_run(6).id]


def test_exact_values_across_machines_only_when_asked_for() -> None:
    runs = [a_run(1), a_run(2, machine="other")]

    def lengths(choice: Choice) -> dict[tuple[Kind, int], int]:
        found: dict[tuple[Kind, int], int] = {}
        for s in series.collect(series.ordered(runs, choice, None).runs, choice):
            found[s.key.kind, len(s.points)] = found.get((s.key.kind, len(s.points)), 0) + 1
        return found

    assert lengths(Choice()) == {(kind, 1): 2 for kind in Kind}
    assert lengths(Choice(across_machines=True)) == {
        (Kind.EXACT, 2): 1, (Kind.DIGEST, 2): 1, (Kind.COUNTED, 1): 2, (Kind.MEASURED, 1): 2
    }  # fmt: skip


def test_what_has_no_commit_is_left_out_and_said() -> None:
    runs = [a_run(1), a_run(2, commit=""), a_run(3, is_changed=True), a_run(4, machine="x"), a_run(5, branch="y")]
    found = series.ordered(runs, Choice(machine="m", branch="main"), None)
    assert [r.id for r in found.runs] == [a_run(1).id]
    assert sorted(found.notes) == [
        "left out: 1 run of other branches", "left out: 1 run of other machines", "left out: 1 run of unknown commits",
        "left out: 1 run with changes that were not committed",
    ]  # fmt: skip
    assert len(series.ordered(runs, Choice(with_changed=True), None).runs) == 4


def test_order_is_that_of_the_commits(tmp_path: Path) -> None:
    repository = a_repository(tmp_path / "r")
    names = [repository.must("rev-parse", "HEAD")]
    for number in range(4):
        # Times that go backwards, as after a rebase on another machine.
        when = f"2026-01-0{9 - number}T00:00:00Z"
        env = {**git.identity(repository), "GIT_COMMITTER_DATE": when, "GIT_AUTHOR_DATE": when}
        names.append(repository.must("commit-tree", "HEAD^{tree}", "-p", names[-1], "-m", f"c{number}", env=env))
    runs = [a_run(n, commit=name, committed=f"2026-01-0{9 - n}T00:00:00Z") for n, name in enumerate(names, 1)]
    shuffled = [runs[i] for i in (3, 0, 4, 2, 1)]
    found = series.ordered(shuffled, Choice(), repository)
    assert found.by == "order of the commits" and [r.id for r in found.runs] == [r.id for r in runs]
    found = series.ordered(shuffled, Choice(), None)
    assert found.by == "time of the commits" and [r.id for r in found.runs] == [r.id for r in reversed(runs)]
    found = series.ordered([*shuffled, a_run(9, commit="f" * 40)], Choice(), repository)
    assert found.by == "time of the commits" and "does not have ffffffffffff" in found.notes[0]


def test_abbreviations_of_one_commit(tmp_path: Path) -> None:
    repository = a_repository(tmp_path / "r")
    first = repository.must("rev-parse", "HEAD")
    second = repository.must("commit-tree", "HEAD^{tree}", "-p", first, "-m", "x", env=git.identity(repository))
    # Times that would order them otherwise.
    runs = [a_run(1, commit=second, committed="2020-01-01T00:00:00Z"), a_run(2, commit=first), a_run(3, commit=first[:12])]
    found = series.ordered(runs, Choice(), repository)
    assert found.by == "order of the commits" and [r.id for r in found.runs] == [a_run(n).id for n in (2, 3, 1)]


def test_what_could_not_be_measured_is_no_value() -> None:
    case = a_run().cases[0]
    runs = [a_run(1), a_run(2, cases=(replace(case, measured={"wall_ns": Measured(0)}),)), a_run(3)]
    (walls,) = [s for s in series.collect(runs, Choice()) if s.key.name == "wall_ns"]
    assert [p.run.id for p in walls.points] == [a_run(1).id, a_run(3).id]


# ---- the command ----


def said(capsys: pytest.CaptureFixture[str]) -> str:
    found = capsys.readouterr()
    return found.out + found.err


def test_append_and_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made.write(tmp_path / "session", made.small())
    verdict = a_verdict(Finding("counters", "a", "reused", Level.OK, "", 7, 7))
    verdicts.write(folder / "verdict.json", replace(verdict, head_commit="6081b32b3070+"))
    file = str(tmp_path / "h.jsonl")
    repository = str(a_repository(tmp_path / "r").path)
    assert cli.main(["append", str(folder), "--file", file, "--repository", repository, "--note", "job 7"]) == 0
    assert "added run" in said(capsys)
    assert cli.main(["append", str(folder), "--file", file, "--repository", repository]) == 0
    assert "already" in said(capsys)
    (one,) = store.read(FileStore(Path(file))).runs
    assert one.is_changed and one.branch == "main" and one.note == "job 7"
    assert {c.source for c in one.cases} == {"session", "counters"}
    assert cli.main(["show", "--file", file, "--case", "*none*metadata*", "--name", "wall*"]) == 0
    text = said(capsys)
    assert "6081b32b3070+" in text and "job 7" in text and "wall_ns" in text and "user_ns" not in text
    assert cli.main(["show", "--file", file, "--json"]) == 0
    assert line.from_json(said(capsys).strip()) == one


def test_append_to_a_branch_knows_the_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = a_repository(tmp_path / "r")
    head = repository.must("rev-parse", "HEAD")
    path = tmp_path / "verdict.json"
    verdicts.write(path, replace(a_verdict(Finding("counters", "a", "n", Level.OK, "", 1, 1)), head_commit=head[:12]))
    where = ["--repository", str(tmp_path / "r")]
    assert cli.main(["append", str(path), *where]) == 0
    assert cli.main(["show", *where]) == 0
    (one,) = store.read(BranchStore(repository, parsers.BRANCH)).runs
    assert one.commit == head and one.committed.startswith("20")
    assert cli.main(["append", str(path), *where, "--print", "--commit", "f" * 12]) == 0
    assert '"commit":"ffffffffffff"' in said(capsys)


@pytest.mark.parametrize(
    "words,wanted",
    [
        (["append", "nowhere"], "nowhere"),
        (["append", "empty"], "neither records.jsonl nor verdict.json"),
        (["append", "v.json", "v.json", "--file", "h"], "one verdict makes one line"),
        (["append", "v.json", "--file", "h", "--branch", "x"], "exclude each other"),
        (["append", "v.json", "--repository", "empty"], "no git repository"),
        (["append", "v.json", "--file", "h", "--commit", "HEAD"], "no commit in hexadecimal"),
        (["append", "junk.json", "--file", "h"], "junk.json: no JSON"),
        (["append", "junk.jsonl", "--file", "h"], "junk.jsonl: line 1"),
        (["show", "--file", "junk.jsonl"], "line 1"),
        (["show", "--file", "h", "--last", "-1"], "negative"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str], wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.json").write_text("{")
    (tmp_path / "junk.jsonl").write_text("{")
    verdicts.write(tmp_path / "v.json", a_verdict(Finding("counters", "a", "n", Level.OK, "", 1, 1)))
    assert cli.main(words) == 1
    text = said(capsys)
    assert wanted in text and text.startswith("ci/history: ") and "Traceback" not in text
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize("words", [[], ["append"], ["other"], ["show", "--last", "many"]])
def test_usage_errors_are_1(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 1 and "usage: ci/history" in said(capsys)


def test_help_needs_no_packages(tmp_path: Path) -> None:
    for name in ("numpy", "scipy", "matplotlib", "jsonschema", "markupsafe", "jinja2", "rich", "psutil"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name}')")
    harness = locate.REPOSITORY / "harness"
    for words in (["append", "-h"], ["show", "--help"], ["trend", "--help"], ["bisect", "--help"]):
        asked = [sys.executable, "-m", "pxarbench_harness.history", *words]
        text = run.run(asked, env={"PYTHONPATH": f"{tmp_path}:{harness}"}).check_ok().text
        assert text.startswith("usage: ci/") and "exit codes:" in text
