"""Counterfactuals (`analyze --what-if`): what a recorded run would have done is what real runs do.

A run is recorded under one setting; every other setting is replayed from the record and run for real, and both must
agree file by file and byte by byte. A record that is not that of the store, or was edited, must be refused.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backup_tools import NAME, T1, T2, T3, Repository, noise, sentence, settle, time_text
from detection_tools import PROFILES, backup, forget, write

from pxarbench_harness import run

OLD = 1_500_000_000 * 10**9
THRESHOLDS = ("0", "0.05", "0.1", "0.3", "1")
LIMITS = ("1", "2", "7", "65536")
Setting = tuple[str, str, str]  # profile, threshold, cache limit
SETTINGS: list[Setting] = list(itertools.product(PROFILES, THRESHOLDS, LIMITS))
EVERYTHING = f"profile={','.join(PROFILES)} threshold={','.join(THRESHOLDS)} cache-limit={','.join(LIMITS)}"


def make_tree(root: Path) -> Path:
    """Files around the size of a chunk's share, in directories, with links and special files in between."""
    choice = random.Random(4)
    for folder in range(6):
        place = root / f"d{folder}" / "inner" if folder % 2 else root / f"d{folder}"
        for number in range(45):
            size = choice.choice((0, 100, 3000, 12000, 40000, 90000)) + choice.randrange(500)
            write(place / f"f{number:02}", noise(f"{folder}/{number}", size), OLD)
        (place / "f07-link").symlink_to("f08")
        os.mkfifo(place / "f20-pipe")
        os.link(place / "f03", place / "f30-hard")
        (root / f"empty{folder}").mkdir()
    settle(root)
    return root


def change_tree(root: Path) -> None:
    choice = random.Random(5)
    for path in sorted(root.rglob("f??")):
        kind = choice.random()
        if kind < 0.04:
            write(path, noise(f"new {path.name}", choice.randrange(30000)), OLD + 10**9)
        elif kind < 0.07:
            os.utime(path, ns=(OLD, OLD + 2 * 10**9))
        elif kind < 0.12:
            path.unlink()
        elif kind < 0.14:
            write(path.with_name(path.name + "-new"), noise(f"more {path.name}", choice.randrange(20000)), OLD)
        elif kind < 0.15:
            path.rename(path.with_name("z" + path.name))
    for path in root.rglob("*"):
        if path.is_dir():
            os.utime(path, ns=(OLD, OLD))


def words(setting: Setting) -> list[str]:
    profile, threshold, limit = setting
    return ["--reuse-profile", profile, "--padding-threshold", threshold, "--cache-limit", limit]


def what_if(repository: Repository, decisions: Path, *settings: str, form: str = "json") -> run.Result:
    words = [repository.program, "analyze", "--repository", repository.path, "--decisions", decisions]
    words += [word for setting in settings for word in ("--what-if", setting)]
    return run.run([*words, "--output-format", form], timeout=60)


def real(archive: Any) -> dict[str, int]:
    """What a run of its own says, under the names of the replay."""
    return {
        "reused_files": archive["reused_files"],
        "reencoded_files": archive["reencoded_files"],
        "bytes_read": archive["file_bytes_read"],
        "uploaded_at_most": archive["payload"]["new_bytes"] + archive["payload"]["known_bytes"],
        "padding": archive["ledger"]["padding"],
        "stored_waste": archive["ledger"]["stored_waste"],
        "injected_chunks": archive["injected_chunks"],
        "payload_size": archive["payload"]["size"],
    }


def setting_of(row: Any) -> Setting:
    return row["profile"], f"{row['padding_threshold']:g}", str(row["cache_limit"])


@dataclass(frozen=True)
class World:
    repository: Repository
    tree: Path
    runs: dict[Setting, dict[str, int]]  # real ones
    decisions: dict[Setting, Path]
    early_chunks: int  # decided by what is still ahead in the previous archive, over all runs


@pytest.fixture(scope="module")
def world(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same second run with every setting, each with the first one as its reference."""
    scratch = tmp_path_factory.mktemp("what-if")
    repository = Repository(pxarbench, scratch / "store", scratch)
    tree = make_tree(scratch / "tree")
    repository.backup(tree, T1, mode="data")
    change_tree(tree)
    runs, decisions, early_chunks = {}, {}, 0
    for setting in SETTINGS:
        archive = backup(repository, tree, T2, *words(setting)).archive
        runs[setting] = real(archive)
        early_chunks += archive["early_chunks"]
        decisions[setting] = scratch / f"decisions-{'-'.join(setting)}.jsonl"
        (scratch / f"decisions-{T2}.jsonl").rename(decisions[setting])
        forget(repository, T2)
    return World(repository, tree, runs, decisions, early_chunks)


# ---- the replay and real runs ----


@pytest.mark.parametrize("recorded", SETTINGS[1::2], ids="-".join)
def test_every_setting_is_what_a_run_with_it_does(world: World, recorded: Setting) -> None:
    (table,) = what_if(world.repository, world.decisions[recorded], EVERYTHING).json()
    assert table["archive"] == NAME
    assert table["reference"] == {"reason": "used", "snapshot": f"host/me/{time_text(T1)}"}
    assert [setting_of(row) for row in table["settings"]] == SETTINGS
    for row in table["settings"]:
        setting = setting_of(row)
        assert {key: row[key] for key in world.runs[setting]} == world.runs[setting], setting
        assert row["recorded"] == (setting == recorded)


def test_the_settings_do_differ(world: World) -> None:
    """Else the test above shows nothing: every one of the three things that are varied makes a difference."""
    for position in range(3):
        groups: dict[tuple[str, ...], set[int]] = {}
        for setting, counts in world.runs.items():
            others = tuple(value for at, value in enumerate(setting) if at != position)
            groups.setdefault(others, set()).add(counts["bytes_read"])
        assert any(len(values) > 1 for values in groups.values()), ("profile", "threshold", "limit")[position]
    assert len({counts["bytes_read"] for counts in world.runs.values()}) > 10
    assert world.early_chunks > 10


def test_pareto_rows_are_those_that_no_other_one_beats(world: World) -> None:
    (table,) = what_if(world.repository, world.decisions[SETTINGS[0]], EVERYTHING).json()
    points = [(row["bytes_read"], row["padding"]) for row in table["settings"]]
    for row, (read, padding) in zip(table["settings"], points, strict=True):
        beaten = any(r <= read and p <= padding and (r, p) != (read, padding) for r, p in points)
        assert row["pareto"] == (not beaten)
    assert 1 < sum(row["pareto"] for row in table["settings"]) < len(points)


def test_what_is_not_named_is_the_runs_own(world: World) -> None:
    recorded = ("stored", "0.05", "7")
    (table,) = what_if(world.repository, world.decisions[recorded], "threshold=0.05,0.3").json()
    assert [setting_of(row) for row in table["settings"]] == [recorded, ("stored", "0.3", "7")]
    # The run's own setting is shown in any case; values may come one by one, and twice.
    (table,) = what_if(world.repository, world.decisions[recorded], "profile=tight", "threshold=1 threshold=1,0").json()
    expected = [recorded, ("tight", "1", "7"), ("tight", "0", "7")]
    assert [setting_of(row) for row in table["settings"]] == expected
    assert [row["recorded"] for row in table["settings"]] == [True, False, False]


def test_settings_need_no_quotes(world: World) -> None:
    decisions = world.decisions[SETTINGS[0]]
    fixed = [world.repository.program, "analyze", "--repository", world.repository.path, "--decisions", decisions]
    loose = run.run([*fixed, "--what-if", *EVERYTHING.split()], timeout=60).check_ok()
    assert loose.text == what_if(world.repository, decisions, EVERYTHING, form="text").check_ok().text
    refused = run.run([*fixed, "--what-if", "threshold=1", f"host/me/{time_text(T2)}"], timeout=60)
    assert "takes no snapshot ('host/me/" in sentence(refused, code=2)


def test_text_marks_the_runs_own_setting(world: World) -> None:
    recorded = ("tight", "0.1", "65536")
    result = what_if(world.repository, world.decisions[recorded], "profile=tight,stored", form="text").check_ok()
    title, head, tight, stored, legend = result.text.splitlines()
    assert title == f"{NAME} of host/me/{time_text(T2)}, reference host/me/{time_text(T1)}:"
    assert head.split() == (
        "profile threshold cache limit files re-read bytes read uploaded at most padding stored waste injected".split()
    )
    assert tight.startswith("*") and tight[3:].split()[:3] == ["tight", "0.1", "65536"]
    assert stored.startswith(" ") and str(world.runs[("stored", "0.1", "65536")]["reencoded_files"]) in stored.split()
    assert legend.startswith("* the run's own setting")


def test_a_third_run_on_a_reference_with_padding(world: World) -> None:
    """The reference is itself a run with a reference: chunks listed more than once, padding within."""
    repository, tree = world.repository, world.tree
    repository.scratch.joinpath("third").mkdir()
    for profile in PROFILES:
        backup(repository, tree, T2, "--reuse-profile", profile)
        changed = sorted(tree.rglob("f1?"))[:: 7 + len(profile)]
        for path in changed:
            write(path, path.read_bytes() + b"+", OLD + 5 * 10**9)
        backup(repository, tree, T3, "--reuse-profile", profile)
        decisions = repository.scratch / f"decisions-{T3}.jsonl"
        kept = decisions.rename(repository.scratch / "third" / f"{profile}.jsonl")
        forget(repository, T3)
        rows = what_if(repository, kept, f"profile={','.join(PROFILES)} cache-limit=5,65536").json()[0]["settings"]
        for row in rows:
            setting = setting_of(row)
            expected = real(backup(repository, tree, T3, *words(setting)).archive)
            assert {key: row[key] for key in expected} == expected, setting
            forget(repository, T3)
        forget(repository, T2)


# ---- records ----


def test_several_archives_have_a_table_each(repository: Repository, tmp_path: Path) -> None:
    one, two = make_tree(tmp_path / "one"), make_tree(tmp_path / "two")
    fixed = ["--repository", repository.path, "--backup-id", "me", "--chunk-size", "64", "--sync-level", "none"]
    decisions = tmp_path / "decisions"

    def both(at: int, mode: str, *sources: str) -> None:
        more = ["--backup-time", str(at), "--change-detection-mode", mode, "--decisions", str(decisions)]
        run.run([repository.program, "backup", *sources, *fixed, *more], timeout=60).check_ok()

    both(T1, "data", f"a.pxar:{one}", f"b.pxar:{two}")
    change_tree(two)
    both(T2, "metadata", f"a.pxar:{one}", f"new.pxar:{one}", f"b.pxar:{two}")
    a, new, b = what_if(repository, decisions, "threshold=0,0.1").json()
    assert [table["archive"] for table in (a, new, b)] == ["a", "new", "b"]
    assert a["settings"][1]["reencoded_files"] == 0 and b["settings"][1]["reencoded_files"] > 0
    assert new["settings"] == [] and new["reference"] == {"reason": "no-metadata-index", "snapshot": ""}
    text = what_if(repository, decisions, "threshold=0", form="text").check_ok().text
    assert f"new of host/me/{time_text(T2)}: no reference (no-metadata-index), so no setting makes" in text


def test_the_namespace_is_given_beside_the_record(repository: Repository, tmp_path: Path) -> None:
    tree, place = make_tree(tmp_path / "tree"), ("--ns", "a/b")
    repository.run(tree, T1, *place, mode="data").result.check_ok()
    repository.run(tree, T2, *place, "--decisions", tmp_path / "decisions").result.check_ok()
    words = [repository.program, "analyze", "--repository", repository.path, "--decisions", tmp_path / "decisions"]
    words += ["--what-if", "threshold=0.1"]
    result = run.run([*words, *place, "--output-format", "json"], timeout=60)
    assert result.json()[0]["settings"][0]["reencoded_files"] == 0
    assert f"host/me/{time_text(T1)}" in sentence(run.run(words, timeout=60))


def edited(world: World, change: Any, recorded: Setting = ("tight", "0.1", "65536")) -> run.Result:
    lines = [json.loads(line) for line in world.decisions[recorded].read_text().splitlines()]
    change(lines)
    path = world.repository.scratch / "edited.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return what_if(world.repository, path, "profile=stored")


def first(lines: list[Any], reason: str) -> Any:
    return next(line for line in lines if line.get("reason") == reason)


def test_a_record_that_was_not_edited_is_accepted(world: World) -> None:
    edited(world, lambda lines: None).check_ok()


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: first(lines, "unchanged").update(offset=first(lines, "unchanged")["offset"] + 16),
        lambda lines: first(lines, "unchanged").update(action="reencoded", reason="threshold"),
        lambda lines: first(lines, "threshold").update(action="reused", reason="unchanged"),
        lambda lines: first(lines, "size").update(size=first(lines, "size")["size"] + 1),
        lambda lines: lines.remove(first(lines, "size")),
        lambda lines: lines.remove(first(lines, "new")),
        lambda lines: lines[0]["run"].update(padding_threshold=0.9),
        lambda lines: lines[0]["run"].update(profile="upstream"),
        lambda lines: lines[0]["run"].update(cache_limit=1),
    ],
    ids=["offset", "given-up", "reused", "size", "changed-dropped", "new-dropped", "threshold", "profile", "limit"],
)
def test_a_record_that_does_not_come_out_again_is_refused(world: World, change: Any) -> None:
    text = sentence(edited(world, change))
    assert "edited.jsonl: line " in text and 'was recorded as' in text and '"d' in text


@pytest.mark.parametrize("left", [1, 100, -1])
def test_a_record_cut_between_two_lines_is_refused(world: World, left: int) -> None:
    """Each line of it is right; only that the rest is missing makes it wrong."""
    text = sentence(edited(world, lambda lines: lines.__delitem__(slice(left, None))))
    assert text.endswith(f"edited.jsonl: the decisions for '{NAME}' end before its last file: the run failed, or the"
                         " file was cut")


def test_the_sentence_names_line_and_path(world: World) -> None:
    seen = []

    def change(lines: list[Any]) -> None:
        number = next(i for i, line in enumerate(lines) if i > 100 and line.get("reason") == "unchanged")
        seen.append((number + 1, lines[number]["path"]))
        lines[number]["offset"] += 1

    text = sentence(edited(world, change))
    ((number, path),) = seen
    assert f"edited.jsonl: line {number}: \"{path}\" was recorded as unchanged at payload offset " in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: first(lines, "unchanged").update(old_offset=10**12), "does not lie in the old payload stream"),
        (lambda lines: first(lines, "unchanged").update(old_offset=-1), "'old_offset' is missing or no number"),
        (lambda lines: lines[9].update(old_offset=lines[0]["old_offset"], old_size=lines[9]["size"],
                                       action="reused", reason="unchanged"), "but the one before ends at"),
        (lambda lines: lines[3].update(before="))"), "a directory that did not begin"),
        (lambda lines: lines[3].update(action="stolen"), "'stolen' is no action"),
        (lambda lines: lines.pop(0), "says nothing about its run"),
        (lambda lines: lines[0]["run"].update(schema="pxarbench-decisions/9"), "schema"),
        (lambda lines: lines[0]["run"]["reference"].update(payload_csum="0" * 64), "is not the one that the run had"),
        (lambda lines: lines[0]["run"]["reference"].update(payload_size=1), "is not the one that the run had"),
        (lambda lines: lines[0]["run"]["reference"].update(snapshot=f"host/me/{time_text(T3)}"), time_text(T3)),
        (lambda lines: lines[0]["run"].update(archive="../../x"), "x.ppxar.didx"),
        (lambda lines: lines.clear(), "no decisions"),
    ],
    ids=["outside", "negative", "back", "left-twice", "action", "no-run", "schema", "csum", "size", "snapshot",
         "archive", "empty"],
)  # fmt: skip
def test_bad_records_are_refused(world: World, change: Any, said: str) -> None:
    text = sentence(edited(world, change))
    assert said in text and "edited.jsonl" in text


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("threshold", "is not KEY=VALUE,..."),
        ("threshold=", "threshold"),
        ("threshold=0.1,,0.2", "threshold"),
        ("threshold=1.1", "threshold"),
        ("threshold=0.0000001", "at most 6 decimals"),
        ("profile=loose", "'loose' is not defined in the enumeration"),
        ("cache-limit=0", "cache-limit"),
        ("cache-limit=16777217", "cache-limit"),
        ("colour=red", "'colour' is not threshold, profile or cache-limit"),
        (f"cache-limit={','.join(map(str, range(1, 101)))} profile=tight,upstream,stored", "more than 256 settings"),
        (f"cache-limit={','.join(map(str, range(1, 300)))}", "more than 256 values"),
    ],
)
def test_bad_settings_are_refused(world: World, setting: str, said: str) -> None:
    result = what_if(world.repository, world.decisions[SETTINGS[0]], setting)
    assert said in sentence(result, code=2)


def test_files_of_another_store_are_refused(world: World, repository: Repository, tmp_path: Path) -> None:
    other = make_tree(tmp_path / "other")
    (other / "d0" / "f01").write_bytes(b"something else")
    settle(other)
    repository.backup(other, T1, mode="data")
    text = sentence(what_if(repository, world.decisions[SETTINGS[0]], "profile=tight"))
    assert f"{NAME}.ppxar.didx of snapshot host/me/{time_text(T1)} is not the one that the run had" in text
