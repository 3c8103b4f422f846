"""Replaying a bundle: the same integers again, each difference told, and nothing done that a stranger's bundle asks for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from session_tools import FAKE, quiet, small_plan
from test_bisect import commands
from test_integers import made

from pxarbench_harness import archive as archives
from pxarbench_harness import datasets, integers, locate, record, run
from pxarbench_harness import session as sessions
from pxarbench_harness.bundle import again, cli, judge, make, manifest, program, replay
from pxarbench_harness.bundle.again import NotTrusted
from pxarbench_harness.bundle.archive import BundleBroken
from pxarbench_harness.bundle.judge import Standing
from pxarbench_harness.bundle.manifest import Manifest
from pxarbench_harness.gates import verdict as verdicts
from pxarbench_harness.gates.verdict import Finding, Level, Verdict

CHAINS = ("edit:1%:clustered", "mix:5%*2")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Of a session of the stand-in, with two rounds; its work folder is gone."""
    from pxarbench_harness import measure

    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")
    folder = tmp_path_factory.mktemp("there")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "problems", lambda *_: [])  # the stand-in makes no archives
        assert quiet(replace(small_plan(folder, cache, *CHAINS), rounds=2)).problems == []
    assert cli.bundle([str(folder / "out"), "-o", str(folder / "b.tar.zst")]) == 0
    return folder / "b.tar.zst"


CASE = "tiny-edit1pct-clustered-metadata-warm"


@pytest.fixture(scope="module")
def small(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of its cases: for what is done again by another program, which takes its time."""

    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        only_first(values, contents)
        path = contents["folder/records.jsonl"]
        assert isinstance(path, Path)
        path.write_text("".join(line for line in path.read_text().splitlines(True) if json.loads(line)["case"] == CASE))
        summed_up(values, contents)

    return changed(bundled, tmp_path_factory.mktemp("small") / "x", change)


def only_first(values: dict[str, Any], _: object) -> None:
    values["plan"].update(contenders=[["pxarbench", "metadata"]], blocks=values["plan"]["blocks"][:1])


Again = Callable[..., tuple[int, str, Verdict | None]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plan of `bundled` is done again with the stand-in, by the first who needs it: what is finished stays."""
    return tmp_path_factory.mktemp("again") / "out"


@pytest.fixture
def replayed(
    stand_in: None, cache: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Again:  # fmt: skip
    """replayed(bundle, WORDS...) -> exit code, all that was said, verdict (None: there is none)."""
    monkeypatch.setenv("PXARBENCH_CACHE", str(cache))

    def call(bundle: Path, *words: str, binary: Path = FAKE, output: Path = shared) -> tuple[int, str, Verdict | None]:
        path = output / "verdict.json"
        path.unlink(missing_ok=True)
        options = ["--binary", str(binary), "--output", str(output), "--work", str(tmp_path / "work")]
        code = cli.replay([str(bundle), *options, *words])
        said = capsys.readouterr()
        return code, said.out + said.err, verdicts.read(path) if path.exists() else None

    return call


def changed(bundle: Path, folder: Path, change: Callable[[dict[str, Any], dict[str, bytes | Path]], None]) -> Path:
    """The same bundle with other values in its manifest (a dict), or other files."""
    folder.mkdir()
    known = manifest.read(bundle, folder / "in")
    values = json.loads(manifest.to_json(known))
    contents: dict[str, bytes | Path] = {file.path: folder / "in" / file.path for file in known.files}
    change(values, contents)
    values["files"] = []
    manifest.write(manifest.from_json(json.dumps(values)), contents, folder / "changed.tar.zst")
    return folder / "changed.tar.zst"


def summed_up(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
    """integers.csv of the records as they are now."""
    path = contents["folder/records.jsonl"]
    assert isinstance(path, Path)
    lines = integers.of(record.read(path))
    contents["integers.csv"], values["integers"] = make._text_of(lines), len(lines)


def found(verdict: Verdict | None, level: Level) -> list[str]:
    assert verdict is not None
    return [f"{f.case} {f.name}: {f.text}" for f in verdict.at(level)]


# ---- the whole ----


def test_every_integer_again(bundled: Path, replayed: Again) -> None:
    code, said, verdict = replayed(bundled)
    assert code == 0, said
    assert verdict is not None and verdict.kind == "replay" and len(verdict.executed) == 4
    equal = [f for f in verdict.findings if f.gate in ("counters", "encodings")]
    assert len(equal) > 100 and {f.level for f in verdict.findings} == {Level.OK}
    assert f"{len(equal)} of {len(equal)} integers and digests are the same" in said
    assert {f.name for f in verdict.findings if f.name.startswith("oplog-")}, "operation logs are compared"
    assert any(f.name == "measured/2/reused_files" for f in verdict.findings), "each generation"


def test_another_program(small: Path, replayed: Again, tmp_path: Path) -> None:
    """With the same integers it is worth a warning, with others it is a regression."""
    other = tmp_path / "other.py"
    shutil.copy(FAKE, other)
    with open(other, "a", encoding="ascii") as out:
        out.write("# another build\n")
    code, said, verdict = replayed(small, binary=other, output=tmp_path / "same")
    assert code == 0 and found(verdict, Level.WARNING) == [" program: another build of the program than there"], said
    assert replayed(small, "--warnings-as-failures", binary=other, output=tmp_path / "same")[0] == 3
    text = other.read_text()
    assert text.count("HEADER = 16") == 1
    other.write_text(text.replace("HEADER = 16", "HEADER = 17"))
    code, said, verdict = replayed(small, binary=other, output=tmp_path / "differs")
    assert code == 2 and found(verdict, Level.REGRESSION), said
    assert "was " in said and " there, is " in said


def test_program_whose_checks_fail(
    small: Path, replayed: Again, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LIE", "flips-a-bit")
    code, said, verdict = replayed(small, output=tmp_path / "lies")
    assert code == 2, said
    assert any("problems that were not there" in text for text in found(verdict, Level.REGRESSION))


def test_changed_records_are_found(bundled: Path, replayed: Again, tmp_path: Path) -> None:
    """One digit of one record."""

    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        path = contents["folder/records.jsonl"]
        assert isinstance(path, Path)
        lines = path.read_text().splitlines(keepends=True)
        for number, line in enumerate(lines):
            one = json.loads(line)
            measured = one["phase"] == "measured" and one["round"] == 1 and one["mode"] == "metadata"
            if measured and one["mutation"]["text"] == "edit:1%:clustered":
                one["outcome"]["reused_files"] += 1
                lines[number] = json.dumps(one) + "\n"
        path.write_text("".join(lines))
        summed_up(values, contents)

    code, said, verdict = replayed(changed(bundled, tmp_path / "x", change))
    assert code == 2, said
    (text,) = found(verdict, Level.REGRESSION)
    assert text.startswith("tiny-edit1pct-clustered-metadata-warm measured/reused_files: was ") and " and " in text


def test_another_tree(bundled: Path, replayed: Again, tmp_path: Path) -> None:
    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        values["datasets"]["tiny"].update(tree_digest="0" * 64, portable_digest="1" * 64)

    code, said, verdict = replayed(changed(bundled, tmp_path / "x", change), output=tmp_path / "none")
    assert code == 4, said
    told = found(verdict, Level.INCONCLUSIVE)
    assert len(told) == 2 and told[0].startswith(" : dataset tiny: the tree is another one here")
    assert "nothing can be" in told[1]


def test_what_was_done_before_is_not_done_again(bundled: Path, replayed: Again) -> None:
    replayed(bundled)
    code, said, verdict = replayed(bundled)
    assert code == 0 and "nothing ran" in "".join(found(verdict, Level.WARNING)), said
    assert replayed(bundled, "--warnings-as-failures")[0] == 3


def test_no_subject_is_here(bundled: Path, replayed: Again, tmp_path: Path) -> None:
    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        values["plan"]["contenders"] = [["pxarbench@other", "metadata"]]

    code, said, verdict = replayed(changed(bundled, tmp_path / "x", change), output=tmp_path / "none")
    assert code == 4 and "a build of its own" in "".join(found(verdict, Level.INCONCLUSIVE)), said


def test_what_holds_no_results_proves_nothing(bundled: Path, replayed: Again, tmp_path: Path) -> None:
    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        del contents["folder/records.jsonl"]
        contents["integers.csv"], values["integers"] = b"", 0

    code, said, verdict = replayed(changed(bundled, tmp_path / "x", change))
    assert code == 1 and "no result of anything" in "".join(found(verdict, Level.ERROR)), said


@pytest.mark.parametrize("text", [None, b"", b"tiny-none-data-warm,measured,0,warnings,0\n"])
def test_integers_that_records_do_not_say(
    bundled: Path, replayed: Again, tmp_path: Path, text: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        del contents["integers.csv"]
        if text is not None:
            contents["integers.csv"], values["integers"] = text, text.count(b"\n")

    bundle = changed(bundled, tmp_path / "x", change)
    code, said, verdict = replayed(bundle, output=tmp_path / "none")
    assert code == 1 and verdict is None and "integers.csv " in said
    assert cli.bundle(["--show", str(bundle)]) == 1 and "integers.csv " in capsys.readouterr().err


def test_verdict_of_an_earlier_replay_is_gone(bundled: Path, replayed: Again, tmp_path: Path) -> None:
    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        values["plan"]["settings"]["extra"] = ["--decisions=x"]

    bundle, output = changed(bundled, tmp_path / "x", change), tmp_path / "out"
    output.mkdir()
    words = [str(bundle), "--binary", str(FAKE), "--output", str(output)]
    for kind, is_left in (("replay", False), ("gate", True)):
        verdicts.write(output / "verdict.json", replace(gate_verdict(), kind=kind))
        assert cli.replay(words) == 1
        assert (output / "verdict.json").exists() == is_left


def test_one_of_two_trees_is_another(bundled: Path, replayed: Again, tmp_path: Path) -> None:
    """The rest is compared, and the whole is inconclusive."""

    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        plan = values["plan"]
        (key,) = plan["recipes"]
        more = {**plan["recipes"][key]["values"], "large": 300_000}
        recipe = datasets.Recipe("tiny", "tiny", "", "", more)
        plan["recipes"][recipe.key] = {"digest": "0" * 64, "values": more}  # as a rule of its own would have it
        plan["blocks"].append({**plan["blocks"][0], "recipe": recipe.key, "mutation": "touch:1%"})

    code, said, verdict = replayed(changed(bundled, tmp_path / "x", change))
    assert code == 4, said
    (text,) = found(verdict, Level.INCONCLUSIVE)
    assert "trees are generated by another rule" in text and not found(verdict, Level.REGRESSION)


def test_other_owners(bundled: Path, replayed: Again, tmp_path: Path) -> None:
    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        values["datasets"]["tiny"]["tree_digest"] = "0" * 64

    code, said, verdict = replayed(changed(bundled, tmp_path / "x", change))
    assert code == 4 and "owners, extended attributes or devices" in said
    assert not found(verdict, Level.REGRESSION)


def test_other_steps(bundled: Path, replayed: Again, tmp_path: Path) -> None:
    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        name = "folder/oplog-tiny-edit1pct-clustered.jsonl"
        path = contents[name]
        assert isinstance(path, Path)
        contents[name] = path.read_bytes().replace(b'"seed"', b'"seeds"', 1)
        values["commit"] = "0" * 12

    code, said, verdict = replayed(changed(bundled, tmp_path / "x", change))
    assert code == 4, said
    (text,) = found(verdict, Level.INCONCLUSIVE)
    assert "oplog-tiny-edit1pct-clustered.jsonl: other steps from line 1 on: the harness is another one" in text


def test_cases_that_are_not_in_the_plan(bundled: Path, replayed: Again, tmp_path: Path) -> None:
    """Records say more than the plan asks for: what was not asked for is neither done nor confirmed."""
    code, said, verdict = replayed(changed(bundled, tmp_path / "x", only_first), output=tmp_path / "fewer")
    assert verdict is not None and verdict.executed == verdict.required == (CASE,)
    assert code == 4 and "the bundle's plan does not ask for it" in "".join(found(verdict, Level.INCONCLUSIVE)), said


def test_case_without_a_result_is_no_pass(bundled: Path, replayed: Again, tmp_path: Path) -> None:
    """The finished session here lacks what the bundle has."""
    assert replayed(bundled)[0] == 0
    there = manifest.read(bundled, tmp_path / "x")
    where = replay.Where(FAKE, tmp_path / "x", None, tmp_path)
    done = planned(there, tmp_path)
    running = sessions.Session(done.plan)
    records = list(record.read(tmp_path / "x" / "folder" / "records.jsonl"))
    running.records = [r for r in records if r.case != "tiny-edit1pct-clustered-data-warm"]
    (tmp_path / "o").mkdir()
    verdict = replay._verdict(there, where, done, running, records, {}, {})
    assert verdict.missing == ("tiny-edit1pct-clustered-data-warm",) and verdict.exit_code() == 1
    running.inconclusive["tiny-edit1pct-clustered-data-warm"] = "the clock stood still"
    verdict = replay._verdict(there, where, done, running, records, {}, {})
    assert verdict.exit_code() == 4
    assert "1 case not compared: the clock stood still" in "".join(found(verdict, Level.INCONCLUSIVE))


def test_subjects_that_are_not_here(bundled: Path, replayed: Again, tmp_path: Path) -> None:
    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        values["plan"]["contenders"].append(["pxarbench@other", "metadata"])

    bundle = changed(bundled, tmp_path / "x", change)
    code, said, verdict = replayed(bundle)
    assert code == 4, said
    assert found(verdict, Level.INCONCLUSIVE) == [
        " : not done again: pxarbench@other: a build of its own; --program NAME=FILE names it here"
    ]
    known = manifest.read(bundle, tmp_path / "out")
    assert known.plan is not None
    left_out: list[str] = []
    builds = {"other": FAKE}
    chosen = again._contenders(known.plan, replace(small_plan(tmp_path, tmp_path).settings, builds=builds), left_out)
    assert ("pxarbench@other", "metadata") in chosen and left_out == []


def test_bundle_of_a_replay(bundled: Path, replayed: Again, shared: Path, tmp_path: Path) -> None:
    assert replayed(bundled)[0] == 0
    assert cli.bundle([str(shared), "-o", str(tmp_path / "again.tar.zst")]) == 0
    assert replayed(tmp_path / "again.tar.zst")[0] == 0
    assert not (tmp_path / "work").exists() or not list((tmp_path / "work").iterdir()), "no store is left"


def test_cold_is_compared_with_warm(bundled: Path, tmp_path: Path) -> None:
    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        values["plan"]["caches"] = ["cold"]

    known = manifest.read(changed(bundled, tmp_path / "x", change), tmp_path / "out")
    done = planned(known, tmp_path)
    name = "tiny-edit1pct-clustered-data"
    assert done.names_there[f"{name}-cold"] == f"{name}-warm" == done.names_here[f"{name}-warm"]
    assert done.plan.caches == ("warm",) and done.plan.rounds == 1


@pytest.mark.usefixtures("stand_in")
def test_traces(tmp_path: Path, cache: Path, replayed: Again) -> None:
    """A trace lies elsewhere here, under another name."""
    trace = tmp_path / "there" / "changes.jsonl"
    trace.parent.mkdir()
    lines = [{"op": "append", "path": "edges/size-0000017", "bytes": 100}, {"op": "delete", "path": "edges/size-0000255"}]
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plan = replace(small_plan(tmp_path / "s", cache, f"trace:{trace}"), contenders=(("pxarbench", "metadata"),), restore="none")
    session = quiet(plan)
    assert session.problems == []
    assert cli.bundle([str(tmp_path / "s" / "out"), "-o", str(tmp_path / "b.tar.zst")]) == 0
    trace.unlink()
    code, said, _ = replayed(tmp_path / "b.tar.zst", output=tmp_path / "no")
    assert code == 1 and "plays back the changes" in said
    code, said, verdict = replayed(tmp_path / "b.tar.zst", "--trust", output=tmp_path / "traced")
    assert code == 0, said
    assert verdict is not None and verdict.executed and all("there-changes" in case for case in verdict.executed)


# ---- strangers ----


def planned(known: Manifest, tmp_path: Path, *, trusted: bool = False) -> again.Again:
    made_recipes, _ = again.recipes(known, trusted=trusted)
    return again.again(
        known, made_recipes, binary=FAKE, builds={}, folder=tmp_path, output=tmp_path / "o", work=tmp_path / "w", cache=None,
        trusted=trusted,
    )  # fmt: skip


def with_plan(bundle: Path, tmp_path: Path, **changes: Any) -> Manifest:
    tmp_path.mkdir(exist_ok=True)
    known = manifest.read(bundle, tmp_path / "plain")
    assert known.plan is not None
    values = json.loads(manifest.to_json(known))
    values["plan"].update(changes)
    return manifest.from_json(json.dumps(values))


def recipe_of(**values: Any) -> dict[str, Any]:
    full = {"title": "", "licence": "", **values}
    recipe = datasets.Recipe(full["name"], full["kind"], "", "", full)
    return {recipe.key: {"digest": recipe.digest, "values": full}}


@pytest.mark.parametrize(
    "recipe",
    [
        recipe_of(name="path-root", kind="sources", mtime="found", source=[{"kind": "path", "path": "/root"}]),
        recipe_of(name="linux", kind="linux", source=[{"kind": "git", "url": "ext::sh -c true"}]),
        recipe_of(name="stranger", kind="tiny", seed=1, large=1),
        recipe_of(name="tiny", kind="tiny", seed="1", large=12_345_678),
        recipe_of(name="tiny", kind="tiny", seed=1, large=12_345_678, more="x"),
        recipe_of(**{**datasets.load("tiny").values, "large": 1.5}),
    ],
)
def test_recipes_of_strangers(bundled: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
    known = with_plan(bundled, tmp_path, recipes=recipe)
    with pytest.raises(NotTrusted, match="--trust"):
        again.recipes(known, trusted=False)
    made_recipes, unlike = again.recipes(known, trusted=True)
    assert list(made_recipes) == list(recipe) and unlike == {}


def test_recipes_at_another_size_are_ours(bundled: Path, tmp_path: Path) -> None:
    full = datasets.load("tiny")
    known = with_plan(bundled, tmp_path, recipes=recipe_of(**{**full.values, "large": 5, "seed": 9}))
    assert len(again.recipes(known, trusted=False)[0]) == 1


@pytest.mark.parametrize("name", ["../x", "a/b", "A", "", "-a"])
def test_names_of_datasets_are_no_paths(bundled: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleBroken, match="recipes"):
        with_plan(bundled, tmp_path, recipes={"tiny-0123456789": {"digest": "0" * 64, "values": {
            "name": name, "kind": "tiny", "title": "", "licence": ""}}})  # fmt: skip


def test_keys_and_blocks_must_fit(bundled: Path, tmp_path: Path) -> None:
    known = manifest.read(bundled, tmp_path / "x")
    assert known.plan is not None
    ((key, recipe),) = known.plan["recipes"].items()
    (tmp_path / "y").mkdir()
    with pytest.raises(BundleBroken, match=f"recipe tiny-0123456789 is {key}"):
        again.recipes(with_plan(bundled, tmp_path / "y", recipes={"tiny-0123456789": recipe}), trusted=True)
    block = known.plan["blocks"][0]
    for number, (other, said) in enumerate((
        ({**block, "recipe": "none-0123456789"}, "recipe none-0123456789 is missing"),
        ({**block, "dataset": "linux"}, "not that of"), ({**block, "mutation": "nonsense:1%"}, "no operation"),
        ({**block, "mutation": "none*9999999"}, "generations"),
    )):  # fmt: skip
        (tmp_path / str(number)).mkdir()
        with pytest.raises(BundleBroken, match=said):
            planned(with_plan(bundled, tmp_path / str(number), blocks=[other]), tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ["--decisions=/etc/passwd"], ["--stats", "x"], ["--repository=/"], ["root.pxar:/"], ["--cache-limit=/x"],
        ["--cache-limit"  , "--stats"], ["--exclude=*"], ["--compare", "../x"], ["-x"], ["2"],
    ],
)  # fmt: skip
def test_words_that_are_not_passed_on(words: list[str]) -> None:
    with pytest.raises(NotTrusted, match="passed on"):
        again.extra_words(words)


@pytest.mark.parametrize("argument", ["--output=/x..HEAD", "a..--exec=x", "a b..c", "a..b\n"])
def test_revisions_of_strangers(bundled: Path, tmp_path: Path, argument: str) -> None:
    known = manifest.read(bundled, tmp_path / "x")
    assert known.plan is not None
    block = {**known.plan["blocks"][0], "mutation": f"replay:{argument}"}
    with pytest.raises(NotTrusted, match="--trust"):
        planned(with_plan(bundled, tmp_path, blocks=[block]), tmp_path)
    good = {**block, "mutation": "replay:v6.1.5..v6.1.6"}
    assert planned(with_plan(bundled, tmp_path / "y", blocks=[good]), tmp_path).cases()


def test_words_that_are_passed_on() -> None:
    for words in (["--cache-limit=2"], ["--chunk-size", "64", "--compare", "content"], ["--skip-lost-and-found"], []):
        assert again.extra_words(words) == tuple(words)


# ---- pure ----


def test_ground() -> None:
    there = {"tree_digest": "a" * 64, "portable_digest": "b" * 64, "source": "generated", "filesystem": "ext4"}
    none, some = frozenset({"size"}), frozenset({"size", "xattr"})

    def standing(
        tree: str, portable: str, filesystem: str, known: dict[str, str] = there, has: frozenset[str] = some
    ) -> Standing:
        return judge.ground("d", known, tree * 64, portable * 64, "generated", filesystem, has).standing

    assert standing("a", "b", "xfs") is Standing.SAME
    assert standing("a", "b", "tmpfs") is Standing.ALIKE, "archives leave xattrs out there"
    assert standing("a", "b", "tmpfs", has=none) is Standing.SAME, "there are none to be left out"
    assert standing("c", "b", "ext4") is Standing.ALIKE
    assert standing("c", "c", "ext4") is Standing.OTHER
    assert standing("c", "b", "ext4", {**there, "portable_digest": ""}) is Standing.OTHER


def test_lines_only_one_side_has() -> None:
    here = made(outcome=None, exit_code=1)
    levels = {f.name: f.level for f in judge.lines([made()], [here], {}, [made().case])}
    assert levels["measured/reused_files"] is Level.REGRESSION and levels["measured/failed"] is Level.REGRESSION
    assert levels["measured/necessary_bytes"] is Level.OK
    doubted = judge.lines([made()], [here], {made().case: "another tree"}, [made().case])
    assert {f.level for f in doubted} == {Level.OK, Level.INCONCLUSIVE} and ("another tree",) in {f.details for f in doubted}
    assert judge.lines([made()], [here], {}, []) == []
    assert {f.gate for f in judge.lines([made()], [made()], {}, [made().case])} == {"counters", "encodings"}


def test_another_tree_after_the_mutation_is_told() -> None:
    other = made(dataset={**made().dataset, "tree_digest": "1" * 64})
    assert judge.moot([made()], [made()]) == {}
    assert list(judge.moot([made()], [other])) == [made().case]


def test_problems() -> None:
    good, bad = made(), made(problems=("lost a file",))
    assert judge.problems([good], [good]) == []
    assert [f.level for f in judge.problems([good], [bad])] == [Level.REGRESSION]
    assert [f.level for f in judge.problems([bad], [good])] == [Level.REGRESSION]
    (same,) = judge.problems([bad], [bad])
    assert same.level is Level.WARNING and same.details == ("lost a file",)


def test_rows() -> None:
    there = [{"length": 1, "cases": 5, "problems": 0}, {"length": 2, "cases": 7, "problems": 0}]
    assert {f.level for f in judge.rows("checks", "exhaustive", there, there, "length")} == {Level.OK}
    found_rows = judge.rows("checks", "exhaustive", there, there[:1], "length")
    assert sorted(f.name for f in found_rows if f.level is Level.REGRESSION) == ["length 2/cases", "length 2/problems"]


def test_steps_that_only_one_side_has() -> None:
    def told(there: dict[str, bytes], here: dict[str, bytes], *wanted: str) -> list[tuple[str, Level]]:
        made_findings = judge.operation_logs(there, here, same_harness=True, wanted=wanted)
        return [(f.name, f.level) for f in made_findings]

    one = {"oplog-a-touch1pct.jsonl": b"x"}
    assert told(one, one, "oplog-a-touch1pct") == [("oplog-a-touch1pct.jsonl", Level.OK)]
    for there, here in ((one, {}), ({}, one)):
        assert told(there, here, "oplog-a-touch1pct") == [("oplog-a-touch1pct.jsonl", Level.INCONCLUSIVE)]
        assert told(there, here, "oplog-a-touch", "oplog-b") == [], "of a block that was not done again"
    assert told({"oplog-a-none-2.jsonl": b""}, {}, "oplog-a-none") == [("oplog-a-none-2.jsonl", Level.INCONCLUSIVE)]


def gate_verdict(*findings: Finding) -> Verdict:
    return Verdict("gate", "2026-01-01T00:00:00Z", "golden", "x", "", "", findings, tuple(sorted({f.case for f in findings})))


def test_heads() -> None:
    def counter(head: int | None, gate: str = "counters", **rest: Any) -> Finding:
        return Finding(gate, "c", "n", rest.pop("level", Level.OK), "", 1, head, **rest)

    def level(there: Verdict, here: Verdict) -> list[str]:
        return [f.level.value for f in judge.heads(there, here, replay.EXACT_GATES)]

    same = gate_verdict(counter(5, level=Level.REGRESSION))
    assert level(same, gate_verdict(counter(5))) == ["ok"], "what is golden does not count"
    assert level(same, gate_verdict(counter(6))) == ["regression"]
    assert level(same, gate_verdict(counter(None))) == ["regression"]
    blind = gate_verdict(Finding("counters", "c", "", Level.INCONCLUSIVE, "another version"))
    assert level(same, blind) == ["inconclusive", "inconclusive"] or level(same, blind) == ["regression", "inconclusive"]
    ticks = gate_verdict(counter(5, "instructions"))
    assert level(ticks, gate_verdict(counter(6, "instructions"))) == ["inconclusive"]
    assert level(gate_verdict(counter(5), counter(6)), gate_verdict(counter(4), counter(6))) == ["regression", "ok"], "each"
    problem = gate_verdict(Finding("checks", "c", "", Level.REGRESSION, "lost a file"))
    assert level(gate_verdict(), problem) == ["regression"] and level(problem, problem) == ["ok"]


def test_gates_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The gates themselves have tests of their own: here they find what they are told to."""
    there, again_folder = tmp_path / "there", tmp_path / "again"
    there.mkdir()
    found_there = Finding("counters", "c", "padding", Level.REGRESSION, "was 1, is 5", 1, 5)
    verdicts.write(there / "verdict.json", gate_verdict(found_there))
    assert cli.bundle([str(there), "-o", str(tmp_path / "b.tar.zst")]) == 0
    asked: list[list[str]] = []
    ordinary = run.run

    def gates(words: list[str | Path], **options: Any) -> run.Result:
        if "pxarbench_harness.gates" not in words:
            return ordinary(words, **options)
        asked.append([str(word) for word in words])
        if answer is not None:
            verdicts.write(again_folder / "verdict.json", gate_verdict(answer))
        return run.Result(tuple(map(str, words)), 2, b"", b"no room", 0)

    monkeypatch.setattr(run, "run", gates)
    words = [str(tmp_path / "b.tar.zst"), "--binary", str(FAKE), "--output", str(again_folder)]
    for answer, code in ((found_there, 0), (replace(found_there, head=6), 2), (None, 1)):
        assert cli.replay(words) == code
        told = again_folder / "replay.json"
        assert verdicts.read(told).kind == "replay" if code != 1 else not told.exists()
    assert "no room" in capsys.readouterr().err, "an old verdict is not taken for a new one"
    assert asked[0][3:] == ["counters", "--binary", str(FAKE), "--output", str(again_folder)]


def test_program() -> None:
    full = {"sha256": "ab" * 32, "version": "1", "compiler": "gcc"}
    assert [f.level for f in judge.program(full, full)] == [Level.OK]
    assert [f.level for f in judge.program({"sha256": "ab" * 6}, full)] == [Level.OK], "a verdict names its beginning"
    (other,) = judge.program(full, {**full, "sha256": "cd" * 32, "compiler": "clang"})
    assert other.level is Level.WARNING and other.details == ("compiler: gcc there, clang here",)
    assert [f.level for f in judge.program({}, full)] == [Level.WARNING]
    assert [f.level for f in judge.program({"sha256": ""}, {})] == [Level.WARNING]


# ---- building ----

LIST = """cmake_minimum_required(VERSION 3.25)
project(fake NONE)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
file(COPY_FILE ${CMAKE_SOURCE_DIR}/program ${CMAKE_BINARY_DIR}/bin/pxarbench)
add_custom_target(pxarbench)
"""
PRESETS: dict[str, Any] = {
    "version": 6,
    "configurePresets": [{"name": "release", "binaryDir": "${sourceDir}/build/release", "generator": "Ninja"}],
    "buildPresets": [{"name": "release", "configurePreset": "release"}],
}


def test_builds_the_commit(tmp_path: Path) -> None:
    if not all(map(shutil.which, ("git", "cmake", "ninja"))):
        pytest.skip("needs git, cmake and ninja")
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "CMakeLists.txt").write_text(LIST)
    (repository / "CMakePresets.json").write_text(json.dumps(PRESETS))
    commits = []
    for number in (1, 2):
        (repository / "program").write_text(f"#!/bin/sh\necho program {number}\n")
        (repository / "program").chmod(0o755)
        git = ["git", "-C", repository, "-c", "user.name=x", "-c", "user.email=x@localhost"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", str(number)]):
            run.run([*git, *words]).check_ok()
        commits.append(run.run([*git, "rev-parse", "HEAD"]).check_ok().text.strip())
    said: list[str] = []

    def built(commit: str) -> Path:
        return program.built(commit, said.append, repository=repository, cache=tmp_path / "builds")

    first = built(commits[0][:12] + "+changes")
    assert run.run([first]).check_ok().stdout == b"program 1\n"
    assert "without the changes" in said[0] and run.run(["git", "-C", repository, "status", "--porcelain"]).stdout == b""
    assert built(commits[0]) == first, "it is kept"
    assert run.run([built(commits[1])]).stdout == b"program 2\n"
    (tmp_path / ("0" * 40)).write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for commit, expected in (("0" * 40, "is not in"), ("", "no commit"), ("--help", "no commit"), ("HEAD", "no commit")):
            with pytest.raises(program.BuildFailed, match=expected):
                built(commit)


# ---- the command line ----


def test_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["x", "--binary", "y", "--build"], ["x", "--program", "nothing"]):
        with pytest.raises(SystemExit) as stopped:
            cli.replay(words)
        assert stopped.value.code == 1
    with pytest.raises(SystemExit) as stopped:
        cli.replay(["--help"])
    assert stopped.value.code == 0 and "exit codes:" in capsys.readouterr().out
    assert cli.replay([str(tmp_path / "none")]) == 1 and "No such file" in capsys.readouterr().err


def test_no_program(bundled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.replay([str(bundled), "--binary", str(tmp_path / "none")]) == 1
    assert "no such program" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_leaves_nothing(bundled: Path, cache: Path, tmp_path: Path, number: signal.Signals) -> None:
    nap = f"60.{os.getpid()}"  # no other process has this argument
    program_file = tmp_path / "program"
    program_file.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep {nap}\n")
    program_file.chmod(0o755)
    (tmp_path / "scratch").mkdir()
    environment = {
        **os.environ, "PYTHONPATH": str(locate.REPOSITORY / "harness"), "TMPDIR": str(tmp_path / "scratch"),
        "PXARBENCH_CACHE": str(cache),
    }  # fmt: skip
    words = [sys.executable, "-m", "pxarbench_harness.bundle", "replay", bundled, "--binary", program_file]
    process = subprocess.Popen([*words, "--output", tmp_path / "o", "--work", tmp_path / "w"], env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=30) == 130
    assert list((tmp_path / "scratch").iterdir()) == [] and not list(tmp_path.glob("w/*"))
    assert f"sleep {nap}" not in commands()


def test_comparisons_are_not_done_again(bundled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(values: dict[str, Any], contents: dict[str, bytes | Path]) -> None:
        values["kind"] = "compare"

    assert cli.replay([str(changed(bundled, tmp_path / "x", change)), "--binary", str(FAKE)]) == 1
    assert "ci/compare does a comparison again" in capsys.readouterr().err


# ---- the program itself ----


def test_with_the_program(pxarbench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From ci/bench over ci/bundle to ci/replay, in all five modes, another number of rounds and of threads."""
    monkeypatch.setenv("PXARBENCH_CACHE", str(tmp_path / "cache"))
    modes = ("legacy", "data", "metadata", "metadata-upstream", "metadata-stored")
    plan = small_plan(tmp_path, tmp_path / "cache", "edit:5%:uniform")
    plan = replace(
        plan, contenders=tuple(("pxarbench", mode) for mode in modes), settings=replace(plan.settings, binary=pxarbench),
    )  # fmt: skip
    session = sessions.Session(plan, say=lambda text: None)
    session.run()
    assert session.problems == []
    assert cli.bundle([str(plan.output), "-o", str(tmp_path / "b.tar.zst")]) == 0
    words = [str(tmp_path / "b.tar.zst"), "--binary", str(pxarbench), "--output", str(tmp_path / "again")]
    assert cli.replay([*words, "--work", str(tmp_path / "work")]) == 0
    again_records = list(record.read(tmp_path / "again" / "records.jsonl"))
    assert integers.differences(integers.of(session.records), integers.of(again_records)) == []
    assert os.path.exists(tmp_path / "again" / "verdict.json")
