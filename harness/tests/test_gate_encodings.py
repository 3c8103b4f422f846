"""The gate of encodings: equal streams pass on any machine, a different byte is found, named and shown."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from pxarbench_harness.gates import encoding_cases as cases_
from pxarbench_harness.gates import encoding_golden as kept
from pxarbench_harness.gates import encoding_trees as trees
from pxarbench_harness.gates import encodings as gate
from pxarbench_harness.gates import fields
from pxarbench_harness.gates.encoding_cases import Case, Made
from pxarbench_harness.gates.golden import NotBlessed
from pxarbench_harness.gates.verdict import Finding, Level

EVERY = {case.id: case for case in cases_.all_cases()}


def bad(findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if f.level is not Level.OK]


@pytest.fixture(scope="module")
def golden() -> kept.Golden:
    return kept.read(kept.csv_path())


def test_versions_follow_what_the_case_is(monkeypatch: pytest.MonkeyPatch) -> None:
    case = EVERY["chunks-metadata-tight-edited"]
    before = case.recipe()
    assert gate.versions()[case.id] == before and before != EVERY["chunks-metadata-tight-removed"].recipe()

    def also_longer(tree: trees.Json) -> None:
        trees.edited(tree)
        tree["root"]["entries"][-1]["content"]["size"] += 1

    monkeypatch.setitem(trees.CHANGES, "edited", also_longer)
    assert case.recipe() != before
    monkeypatch.undo()
    monkeypatch.setattr(cases_, "CASE_VERSION", 999)
    assert case.recipe() != before


# ---- judging ----


@pytest.fixture
def explain(tmp_path: Path) -> gate.Explain:
    return gate.Explain(Path("/bin/false"), tmp_path, None)


def judged(name: str, golden: kept.Golden, explain: gate.Explain, **streams: bytes | None) -> list[Finding]:
    """What is said when these streams come instead of the golden ones (None: not at all)."""
    made = gate.golden_streams(EVERY[name], golden)
    for key, value in streams.items():
        made[key.replace("__", ".")] = value  # type: ignore[assignment]
    here = {key: value for key, value in made.items() if value is not None}
    version = fields.version(here.get("mpxar", here.get("pxar", b"")))
    return gate.compared(EVERY[name], Made(version, here), golden, explain)


def test_equal_streams_are_found_equal(golden: kept.Golden, explain: gate.Explain) -> None:
    found = judged("types-data", golden, explain)
    assert [f.name for f in found] == ["mpxar", "ppxar", "mpxar.didx", "ppxar.didx", "manifest"] and not bad(found)
    lines = kept.csv_path().read_text().splitlines()
    assert all(f.line and f"types-data,{EVERY['types-data'].recipe()},2,{f.name}," in lines[f.line - 1] for f in found)


def test_one_flag_bit_is_told_with_entry_field_offset_and_both_sides(golden: kept.Golden, explain: gate.Explain) -> None:
    stream = gate.golden_streams(EVERY["types-encode-split"], golden)["mpxar"]
    entry = next(item for item in fields.items(stream) if item.kind == fields.ENTRY and item.path == b"/a-file")
    wrong = stream[: entry.offset + 25] + b"\x20" + stream[entry.offset + 26 :]
    (finding,) = bad(judged("types-encode-split", golden, explain, mpxar=wrong))
    assert finding.level is Level.REGRESSION and finding.name == "mpxar" and finding.case == "types-encode-split"
    assert finding.text == f"differs at offset {entry.offset + 25}: flags in ENTRY of /a-file: was 0x0, is 0x2000"
    assert (finding.base, finding.head) == (hashlib.sha256(stream).hexdigest(), hashlib.sha256(wrong).hexdigest())
    shown = "\n".join(finding.details)
    assert "golden  " in shown and "found   " in shown and "^^" in shown


def test_what_follows_is_told_without_hex(golden: kept.Golden, explain: gate.Explain) -> None:
    streams = gate.golden_streams(EVERY["types-data"], golden)
    wrong = streams["mpxar"][:-1] + b"\xff"
    index = bytearray(streams["mpxar.didx"])
    index[-1] ^= 1
    found = bad(judged("types-data", golden, explain, mpxar=wrong, mpxar__didx=bytes(index)))
    assert [(f.name, bool(f.details)) for f in found] == [("mpxar", True), ("mpxar.didx", False)]
    assert found[1].text.startswith("entry 0, 0 to ") and "digest was " in found[1].text
    # An index that differs alone is shown.
    (finding,) = bad(judged("types-data", golden, explain, mpxar__didx=bytes(index)))
    assert finding.details


def test_shorter_and_longer_streams_are_told(golden: kept.Golden, explain: gate.Explain) -> None:
    stream = gate.golden_streams(EVERY["types-legacy"], golden)["pxar"]
    (shorter,) = bad(judged("types-legacy", golden, explain, pxar=stream[:-24]))
    assert "only the golden stream goes on, with hash, tail row, in GOODBYE of /" in shorter.text
    (longer,) = bad(judged("types-legacy", golden, explain, pxar=stream + b"more"))
    assert "only the found stream goes on, with what follows GOODBYE" in longer.text


def test_a_stream_that_is_new_or_gone_is_a_regression(golden: kept.Golden, explain: gate.Explain) -> None:
    found = bad(judged("types-legacy", golden, explain, catalog=None, ppxar=b"x"))
    assert [(f.name, f.text, f.level) for f in found] == [
        ("ppxar", "was not there", Level.REGRESSION), ("catalog", "is not there any more", Level.REGRESSION)
    ]  # fmt: skip


def test_another_format_version_is_a_regression_of_its_own(golden: kept.Golden, explain: gate.Explain) -> None:
    stream = bytearray(gate.golden_streams(EVERY["types-data"], golden)["mpxar"])
    stream[16] = 3
    (finding,) = judged("types-data", golden, explain, mpxar=bytes(stream))
    assert finding.level is Level.REGRESSION and finding.text == "the version of the archive format was 2, is 3"


def test_what_cannot_be_compared_is_inconclusive(golden: kept.Golden, explain: gate.Explain) -> None:
    other = replace(golden, rows=tuple(replace(row, recipe="other") for row in golden.rows))
    for known, why in ((kept.Golden(), "has no golden streams yet"), (other, "of another version of this case")):
        made = Made(2, gate.golden_streams(EVERY["types-data"], golden))
        (finding,) = gate.compared(EVERY["types-data"], made, known, explain)
        assert finding.level is Level.INCONCLUSIVE and why in finding.text
    (finding,) = gate.compared(EVERY["types-data"], made, kept.Golden(), explain, is_required=True)
    assert finding.level is Level.ERROR and "its golden streams are gone" in finding.text


def test_a_case_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such case: nonsense "):
        gate.run(Path("/bin/true"), tmp_path, only=["nonsense", "types-data"])


def test_golden_streams_that_are_gone_do_not_hide_a_difference(golden: kept.Golden, tmp_path: Path) -> None:
    explain = gate.Explain(Path("/bin/false"), tmp_path, tmp_path / "nothing")
    (finding,) = bad(judged("types-encode-unified", golden, explain, pxar=b"x"))
    assert finding.level is Level.REGRESSION and "is not kept" in finding.details[0]


def test_only_the_first_differences_are_shown_in_hex(golden: kept.Golden, explain: gate.Explain) -> None:
    for number in range(gate.WINDOWS_MAX + 2):
        (finding,) = bad(judged("empty-root-encode-unified", golden, explain, pxar=b"x"))
        assert bool(finding.details) == (number < gate.WINDOWS_MAX)


# ---- with the program ----


@pytest.fixture(scope="module")
def run_once(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Finding], list[str]]:
    return gate.run(pxarbench, tmp_path_factory.mktemp("encodings"))


def test_the_program_encodes_as_blessed(run_once: tuple[list[Finding], list[str]]) -> None:
    findings, executed = run_once
    wrong = [f for f in bad(findings) if f.level is not Level.WARNING and f.level is not Level.INCONCLUSIVE]
    assert not wrong, "\n".join(f"{f.case} {f.name}: {f.text}\n  " + "\n  ".join(f.details) for f in wrong[:5])
    left_out = {f.case for f in findings if f.level in (Level.WARNING, Level.INCONCLUSIVE)}
    assert set(executed) == set(gate.cases()) - left_out
    assert not {case for case in left_out if not EVERY[case].is_on_disk}
    if os.geteuid() == 0:
        assert left_out <= {case.id for case in EVERY.values() if case.tree == "attributes"}


def wrapper(folder: Path, script: str) -> Path:
    path = folder / "wrapper"
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def needs_owner_zero() -> None:
    if cases_.owner_zero() is None:
        pytest.skip("needs root, or namespaces of users")


def test_another_decision_of_the_program_is_red(pxarbench: Path, tmp_path: Path) -> None:
    """The profile `upstream` takes a chunk more where a range ends with its chunk."""
    needs_owner_zero()
    program = wrapper(tmp_path, f'exec {pxarbench} "${{@/#tight/upstream}}"')
    findings, _ = gate.run(program, tmp_path, only={"chunks-metadata-tight-half", "chunks-metadata-upstream-half"})
    assert {(f.case, f.level) for f in bad(findings)} == {("chunks-metadata-tight-half", Level.REGRESSION)}
    by_name = {f.name: f for f in bad(findings)}
    assert "offset in PAYLOAD_REF of /d/n00: was " in by_name["mpxar"].text
    assert any(line.startswith("pxar diff --offsets:") for line in by_name["mpxar"].details)
    assert "/d/n00: payload_offset " in "\n".join(by_name["mpxar"].details)


def test_cuts_without_suggestions_are_red(pxarbench: Path, tmp_path: Path) -> None:
    program = wrapper(tmp_path, f'[ "$1" = chunk ] && set -- "${{@:1:4}}"\nexec {pxarbench} "$@"')
    findings, _ = gate.run(program, tmp_path, only={"sizes-encode-split", "sizes-encode-unified"})
    (finding,) = bad(findings)
    assert finding.name == "ppxar.cuts" and finding.text.startswith("entry ") and "ended at " in finding.text


def test_what_must_not_matter_is_green(pxarbench: Path, tmp_path: Path, golden: kept.Golden) -> None:
    """Threads and sizes of reads; and, so that this gate stays silent about what the counters' is for, a larger threshold."""
    needs_owner_zero()
    metadata = [case for case in EVERY.values() if case.way == cases_.METADATA]
    wrong: list[Finding] = []

    def judge(case: Case, outcome: Made | Exception) -> None:
        if isinstance(outcome, trees.NotHere):
            assert case.tree == "attributes"
            return
        assert isinstance(outcome, Made), outcome
        wrong.extend(bad(gate.compared(case, outcome, golden, gate.Explain(pxarbench, tmp_path, None))))

    more = ("--threads", "3", "--read-size-max", "4093", "--padding-threshold", "0.3")
    cases_.run_cases(pxarbench, tmp_path, metadata, judge, more)
    assert not wrong, [(f.case, f.name, f.text) for f in wrong]


def test_a_program_that_fails_is_an_error_and_no_case_that_ran(tmp_path: Path) -> None:
    program = wrapper(tmp_path, "echo something is wrong >&2; exit 3")
    findings, executed = gate.run(program, tmp_path, only={"types-encode-split"})
    assert [(f.level, f.text) for f in findings] == [
        (Level.ERROR, "did not run: `pxarbench pxar` ended with 3: something is wrong")
    ]
    assert executed == []


def test_a_program_that_lies_about_its_cuts_is_an_error(pxarbench: Path, tmp_path: Path) -> None:
    program = wrapper(tmp_path, f'[ "$1" = chunk ] && exec echo nothing\nexec {pxarbench} "$@"')
    (finding,) = gate.run(program, tmp_path, only={"types-encode-split"})[0]
    assert finding.level is Level.ERROR and "no list of cuts" in finding.text


def test_without_owner_zero_disks_are_inconclusive(
    pxarbench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases_, "owner_zero", lambda: None)
    findings, executed = gate.run(pxarbench, tmp_path, only={"types-data", "types-encode-unified"})
    assert [(f.case, f.level) for f in bad(findings)] == [("types-data", Level.INCONCLUSIVE)]
    assert executed == ["types-encode-unified"]


def test_without_a_disk_for_attributes_there_is_a_warning(
    pxarbench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_owner_zero()
    monkeypatch.setattr(cases_, "keeps_attributes", lambda folder: False)
    findings, executed = gate.run(pxarbench, tmp_path, only={"attributes-data"})
    (finding,) = findings
    assert finding.level is Level.WARNING and finding.text.startswith("cannot run here: archives keep no attributes")
    assert executed == []


def test_golden_cases_that_are_no_more_are_an_error(pxarbench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases_, "all_cases", lambda: [EVERY["types-encode-unified"]])
    findings, _ = gate.run(pxarbench, tmp_path)
    gone = [f for f in findings if f.level is Level.ERROR]
    assert {f.case for f in gone} == set(EVERY) - {"types-encode-unified"}


# ---- blessing ----


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the golden files, and no more cases than two."""
    folder = tmp_path / "golden"
    (folder / "streams").mkdir(parents=True)
    few = [EVERY["types-encode-split"], EVERY["types-encode-unified"]]
    monkeypatch.setattr(cases_, "all_cases", lambda: few)
    whole = kept.read(kept.csv_path())
    ids = {case.id for case in few}
    rows = tuple(row for row in whole.rows if row.case in ids)
    kept.csv_path(folder).write_text(kept.to_text(kept.Golden(rows, whole.history)))
    members = kept.read_members(kept.streams_path("types"))
    mine = {name: data for name, data in members.items() if name.split("/")[0] in ids}
    kept.streams_path("types", folder).write_bytes(kept.pack(mine))
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_blessing_what_is_golden_writes_nothing(pxarbench: Path, tmp_path: Path, copied: Path) -> None:
    before = contents_of(copied)
    lines, required = gate.bless(pxarbench, tmp_path, "nothing really", copied)
    assert lines == ["encodings.csv: nothing differs, nothing was written"] and contents_of(copied) == before
    assert required == ["types-encode-split", "types-encode-unified"]


def test_blessing_says_what_changes_and_keeps_the_reason(pxarbench: Path, tmp_path: Path, copied: Path) -> None:
    smaller = 'set -- "${@:1:2}" --average 256 "${@:5}"'
    program = wrapper(tmp_path, f'[ "$1" = chunk ] && {smaller}\nexec {pxarbench} "$@"')
    old = kept.read(kept.csv_path(copied))
    lines, _ = gate.bless(program, tmp_path, "chunks are smaller now", copied)
    assert lines[0].startswith("types-encode-unified, pxar.cuts: ") or lines[0].startswith("types-encode-split, ")
    assert "types.tar.xz" in lines and lines[-1].endswith("chunks are smaller now")
    new = kept.read(kept.csv_path(copied))
    assert new.history[:-1] == old.history and new.history[-1].endswith("chunks are smaller now") and new.rows != old.rows
    assert not bad(gate.run(program, tmp_path, copied)[0])
    assert {f.level for f in bad(gate.run(pxarbench, tmp_path, copied)[0])} == {Level.REGRESSION}


def test_blessing_against_the_specification_is_refused(pxarbench: Path, tmp_path: Path, copied: Path) -> None:
    program = wrapper(tmp_path, f'{pxarbench} "$@" || exit\n[ "$2" = encode ] && printf x >>"$4"\nexit 0')
    before = contents_of(copied)
    with pytest.raises(NotBlessed, match="written from the specification, has other archives: types-encode-split mpxar"):
        gate.bless(program, tmp_path, "it is better so", copied)
    assert contents_of(copied) == before


@pytest.mark.parametrize(("reason", "why"), [("", "needs a reason"), ("  ", "needs a reason"), ("two\nlines", "one line")])
def test_blessing_without_a_reason_is_refused(pxarbench: Path, tmp_path: Path, copied: Path, reason: str, why: str) -> None:
    before = contents_of(copied)
    with pytest.raises(NotBlessed, match=why):
        gate.bless(pxarbench, tmp_path, reason, copied)
    assert contents_of(copied) == before


def test_blessing_half_of_it_is_refused(tmp_path: Path, copied: Path) -> None:
    with pytest.raises(NotBlessed, match="all cases have to run: types-encode-split: .*ended with 1"):
        gate.bless(Path(shutil.which("false") or "/bin/false"), tmp_path, "a good reason", copied)
