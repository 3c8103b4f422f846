"""Trends: changes are found where they were planted, nowhere else, and lead to the right commits."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import history_made as made
import numpy
import pytest
from test_report import Page

from pxarbench_harness import locate, run
from pxarbench_harness.history import changes, culprit, git, trend, trend_cli
from pxarbench_harness.history.culprit import Direction
from pxarbench_harness.history.line import Measured, Run
from pxarbench_harness.history.series import Choice, Series
from pxarbench_harness.history.store import FileStore
from pxarbench_harness.report import html, render

#: A repository, its commits from the oldest on, a history of them.
Shown = tuple[git.Repository, list[str], Path]


def noisy(seed: int, levels: list[tuple[int, float]], noise: float = 0.02) -> list[float]:
    """`levels`: how many numbers, and their level."""
    rng = numpy.random.default_rng(seed)
    return [float(level * numpy.exp(rng.normal(0, noise))) for count, level in levels for _ in range(count)]


# ---- exact numbers ----


@pytest.mark.parametrize(
    "values,at",
    [
        ([], []),
        ([5], []),
        ([5, 5, 5], []),
        ([5, 5, 6, 6], [2]),
        ([5, 6, 5], [1, 2]),
        ([0, 0, 1], [2]),
        ([1, 2, 3], [1, 2]),
    ],
)
def test_exact_numbers_change_where_they_differ(values: list[float], at: list[int]) -> None:
    found = changes.steps(values)
    assert [c.at for c in found] == at
    assert all(c.earliest == c.at == c.latest and c.chance is None for c in found)


def test_small_steps_add_up() -> None:
    # Each less than 0.2 %, together more.
    values = [1000 * 1.001**i for i in range(6)]
    assert [c.at for c in changes.steps(values, 0.002)] == [2, 4]
    assert changes.steps([1000, 1001, 999, 1000.5], 0.002) == []


def test_digests_are_told_apart() -> None:
    assert culprit.numbered(["a", "a", "b", "a", "c"]) == [1, 1, 2, 1, 3]


# ---- measured numbers ----


@pytest.mark.parametrize("seed", range(5))
def test_a_step_is_found_where_it_is(seed: int) -> None:
    found = changes.shifts(noisy(seed, [(20, 1.0), (20, 1.1)]), significance=0.01)
    assert len(found) == 1
    (one,) = found
    assert one.earliest <= 20 <= one.latest and abs(one.at - 20) <= 1
    assert one.change == pytest.approx(0.1, abs=0.03) and one.chance is not None and one.chance < 0.01


def test_two_steps_are_two() -> None:
    found = changes.shifts(noisy(3, [(25, 1.0), (15, 1.08), (20, 0.95)]), significance=0.01)
    assert [abs(c.at - at) <= 2 for c, at in zip(found, (25, 40), strict=True)] == [True, True]


def test_no_step_is_found_in_noise() -> None:
    """Of 200 series without any, at a level of 5 %: 10 are expected, and 20 would be 3.2 standard deviations more."""
    assert sum(bool(changes.shifts(noisy(seed, [(30, 1.0)]), significance=0.05)) for seed in range(200)) < 20


def test_heavy_tails_are_noise_as_well() -> None:
    """A disk that is busy now and then: log-normal noise, one run in eight 10 to 100 % slower."""
    false = 0
    for seed in range(100):
        rng = numpy.random.default_rng(seed)
        values = numpy.exp(rng.normal(0, 0.02, 32)) * numpy.where(rng.random(32) < 0.125, 1 + rng.uniform(0.1, 1, 32), 1)
        false += bool(changes.shifts([float(v) for v in values], significance=0.05))
    assert false < 13


def test_one_or_two_outliers_are_no_level() -> None:
    values = noisy(1, [(20, 1.0), (2, 3.0), (20, 1.0)])
    assert changes.shifts(values, significance=0.01, least=0.02) == []


def test_small_changes_are_not_told() -> None:
    values = noisy(1, [(25, 1.0), (25, 1.01)], noise=0.003)
    assert len(changes.shifts(values, significance=0.01)) == 1
    assert changes.shifts(values, significance=0.01, least=0.02) == []


def test_equal_seeds_give_equal_answers() -> None:
    values = noisy(7, [(20, 1.0), (20, 1.04)])
    assert changes.shifts(values, seed=5) == changes.shifts(values, seed=5)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_show_nothing(count: int) -> None:
    assert changes.shifts(noisy(1, [(count, 1.0)])) == []


def test_runs_that_are_needed_are_enough() -> None:
    """Nothing can be clearer than two levels without noise."""
    assert [changes.runs_needed(level) for level in (1, 0.05, 0.005)] == [6, 8, 12]
    for runs, level, told in ((8, 0.05, [4]), (7, 0.05, []), (12, 0.005, [6]), (10, 0.005, [])):
        values = [1.0] * (runs // 2) + [2.0] * (runs - runs // 2)
        for seed in range(5):
            assert [c.at for c in changes.shifts(values, significance=level, seed=seed)] == told, (level, runs)


def test_of_very_many_runs_the_last_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "RUNS_MAX", 40)
    (one,) = changes.shifts(noisy(1, [(30, 1.0), (50, 1.3), (20, 2.0)]), significance=0.01)
    assert one.at == 80 and 60 < one.earliest <= 80 <= one.latest < 100


def test_equal_numbers_show_nothing() -> None:
    assert changes.shifts([1.5] * 40) == []


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_only_numbers_above_0(wrong: float) -> None:
    with pytest.raises(ValueError):
        changes.shifts([1.0] * 10 + [wrong])


def test_the_statistic_is_the_definition() -> None:
    """The cumulated sums against the formula, written out."""
    rng = numpy.random.default_rng(2)
    values = rng.normal(size=11)
    got = changes._energies(values[None], 3)[0]
    for place, at in enumerate(range(3, 9)):
        x, y = values[:at], values[at:]
        n, m = len(x), len(y)
        between = 2 / (n * m) * sum(abs(a - b) for a in x for b in y)
        within_x = sum(abs(x[i] - x[j]) for i in range(n) for j in range(i)) / (n * (n - 1) / 2)
        within_y = sum(abs(y[i] - y[j]) for i in range(m) for j in range(i)) / (m * (m - 1) / 2)
        assert got[place] == pytest.approx(n * m / (n + m) * (between - within_x - within_y))


def test_more_series_ask_for_more_evidence() -> None:
    assert changes.significance(1) == changes.FAMILY_SIGNIFICANCE == 10 * changes.significance(10) == changes.significance(0)
    # Of however many: a change that is beyond doubt is still found.
    assert len(changes.shifts(noisy(1, [(15, 1.0), (15, 1.5)]), significance=changes.significance(10**6))) == 1


# ---- which way, and who ----


@pytest.mark.parametrize(
    "name,before,after,way",
    [
        ("wall_ns", 1, 2, Direction.WORSE),
        ("peak_rss_bytes", 2, 1, Direction.BETTER),
        ("reused_files", 2, 1, Direction.WORSE),
        ("padding_bytes", 0, 1, Direction.WORSE),
        ("instructions", 2, 1, Direction.BETTER),
        ("payload_bytes", 1, 2, Direction.OTHER),
        ("injected_chunks", 1, 2, Direction.OTHER),
        ("kernel_bytes_untold", 0, 1, Direction.WORSE),
    ],
)
def test_directions(name: str, before: float, after: float, way: Direction) -> None:
    assert culprit.direction(name, before, after) is way


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("history")
    repository, path = made.write(folder)
    yield repository, repository.must("rev-list", "--reverse", "main").split(), path


@pytest.fixture(scope="module")
def analysis(shown: Shown) -> trend.Analysis:
    repository, names, _ = shown
    return trend.analyse(made.runs(names, made.SHOWN), Choice(), repository)


def test_planted_changes_are_found_and_no_others(shown: Shown, analysis: trend.Analysis) -> None:
    _, names, _ = shown
    exact = {(f.series.key.name, names.index(f.first.run.commit)) for f in analysis.found if f.change.chance is None}
    assert exact == {("padding_bytes", 12), ("instructions", 25), ("padding_bytes", 36), ("payload", 36)}
    measured = [f for f in analysis.found if f.change.chance is not None]
    assert {f.series.key.case for f in measured} == {"linux-edit-1-clustered-metadata-warm"}
    planted = {"wall_ns": (31, 44), "user_ns": (31, 44), "peak_rss_bytes": (20,)}
    for name, places in planted.items():
        ones = sorted((f for f in measured if f.series.key.name == name), key=lambda f: f.change.at)
        assert len(ones) == len(places)
        for one, place in zip(ones, places, strict=True):
            commits = one.culprit.commits
            assert commits is not None and names[place] in {c.name for c in commits}, (name, place)
            assert len(commits) <= 6
    assert sorted(f.series.key.name for f in analysis.standing) == ["instructions", "peak_rss_bytes"]


def test_the_culprit_is_named_with_its_command(analysis: trend.Analysis, shown: Shown) -> None:
    repository, names, _ = shown
    (padding,) = [f for f in analysis.found if f.series.key.name == "padding_bytes" and f.direction is Direction.WORSE]
    assert padding.culprit.good == names[11] and padding.culprit.bad == names[12]
    assert [c.subject for c in padding.culprit.commits or ()] == ["detect: padding <rule> (12)"]
    assert padding.culprit.command == ""  # a single commit needs no search
    # With a run of every fifth commit, there is something to look for.
    sparse = trend.analyse(made.runs(names, made.SHOWN, every=5), Choice(), repository)
    (padding,) = [f for f in sparse.found if f.series.key.name == "padding_bytes" and f.direction is Direction.WORSE]
    assert [c.name for c in padding.culprit.commits or ()] == names[11:16]
    assert shlex.split(padding.culprit.command) == [
        "ci/bisect", "linux-edit-1-clustered-metadata-warm", "padding_bytes", names[10][:12], names[15][:12],
        "--source", "session", "--version", "01450c51ad81", "--dataset", "linux", "--mutation", "edit:1%:clustered",
        "--mode", "metadata", "--cache", "warm",
    ]  # fmt: skip


def test_no_commit_is_blamed_for_the_machine(shown: Shown) -> None:
    """The same commit over and over, and slower since some day."""
    repository, names, _ = shown
    slow = made.Steps({20: 0.2}, {}, {20: 7}, {}, {})
    runs = [replace(run, commit=names[3]) for run in made.runs(names[:40], slow)]
    found = trend.analyse(runs, Choice(), repository).found
    walls = [f for f in found if f.series.key.name == "wall_ns"]
    assert len(walls) == 1 and "it was the machine" in walls[0].culprit.why and walls[0].culprit.command == ""
    (padding,) = [f for f in found if f.series.key.name == "padding_bytes"]
    assert "do not repeat" in padding.culprit.why


def test_unknown_and_unrelated_commits_are_said_to_be(shown: Shown) -> None:
    repository, names, _ = shown
    tree = repository.must("mktree", stdin=b"")
    lonely = repository.must("commit-tree", tree, "-m", "alone", env=git.identity(repository))
    between = culprit.names(repository)
    assert between(lonely, names[3]) == f"{lonely[:12]} is no ancestor of {names[3][:12]}: the commits lie on different lines"
    assert between("f" * 40, names[3]) == "this repository does not have ffffffffffff"
    assert culprit.names(None)("a", "b") == "there is no repository to ask"
    runs = made.runs(["e" * 40, "f" * 40], made.Steps({}, {}, {1: 7}, {}, {}))
    (one,) = [f for f in trend.analyse(runs, Choice(), repository).found if f.series.key.name == "padding_bytes"]
    assert one.culprit.commits is None and "does not have" in one.culprit.why and one.culprit.command


def test_no_search_is_proposed_that_cannot_find_anything(shown: Shown, analysis: trend.Analysis) -> None:
    _, names, _ = shown
    (padding,) = [f for f in analysis.found if f.series.key.name == "padding_bytes" and f.direction is Direction.WORSE]
    series = padding.series
    many = tuple(git.Commit(name, "", "") for name in names[10:16])

    def told(one: Series, answer: tuple[git.Commit, ...] | str = many) -> culprit.Culprit:
        return culprit._culprit(one, padding.change, lambda *_: answer)

    assert told(series).command and told(series, "not here").command
    assert told(series, culprit.Unrelated("no ancestor")).command == ""
    restic = replace(series, what=replace(series.what, what={**series.what.what, "subject": "restic"}))
    assert told(restic).command == "" and "no commit changes restic" in told(restic).why
    for over in ({"case": "--command=touch x"}, {"name": "-x"}, {"version": "--build=x"}):
        assert told(replace(series, key=replace(series.key, **over))).command == ""
    assert told(replace(series, what=replace(series.what, what={"mode": "--build=x"}))).command == ""


def test_machines_and_versions_are_not_joined(shown: Shown) -> None:
    """Another machine is twice as fast, another version has other numbers: neither is a change."""
    repository, names, _ = shown
    here, there = made.runs(names, noise=0.01), made.runs(names, noise=0.01, seed=2, machine="other")

    def halved(run: Run) -> Run:
        cases = tuple(
            replace(c, version="next" if c.exact else c.version, exact={k: v * 2 for k, v in c.exact.items()},
                    measured={k: Measured(m.value / 2) for k, m in c.measured.items()}) for c in run.cases
        )  # fmt: skip
        return replace(run, cases=cases)

    mixed = [*here[:30], *map(halved, there[30:])]
    assert trend.analyse(mixed, Choice(), repository).found == ()
    joined = [replace(r, machine=here[0].machine, cases=tuple(replace(c, version="x") for c in r.cases)) for r in mixed]
    assert len(trend.analyse(joined, Choice(), repository).found) > 4  # what that would have been


def test_values_of_0_do_not_stop_the_rest(shown: Shown) -> None:
    repository, names, _ = shown
    runs = made.runs(names[:20], made.Steps({}, {}, {7: 0, 9: 5}, {}, {}))
    for number, run in enumerate(runs):
        if number % 3 == 0:
            case = replace(run.cases[1], measured={**run.cases[1].measured, "peak_rss_bytes": Measured(0)})
            runs[number] = replace(run, cases=(run.cases[0], case, run.cases[2]))
    analysis = trend.analyse(runs, Choice(), repository)
    assert [trend.difference(f) for f in analysis.found if f.series.key.name == "padding_bytes"] == ["+5", "-100.0 %"]
    trend.report(analysis)


def test_a_time_of_0_hides_no_change(shown: Shown) -> None:
    """Of a run that was not measured; the others were."""
    repository, names, _ = shown
    runs = made.runs(names[:40], made.Steps({20: 0.3}, {}, {}, {}, {}))
    case = runs[30].cases[1]
    runs[30] = replace(runs[30], cases=(replace(case, measured={**case.measured, "wall_ns": Measured(0)}),))
    walls = [f for f in trend.analyse(runs, Choice(name="wall_ns"), repository).found]
    assert [f.first.run.commit for f in walls] == [names[20]]


@pytest.mark.parametrize(
    "padding,worse",
    [
        ({12: 2_000_000, 14: 1_900_000}, True),  # a step back takes a part of it away
        ({12: 2_000_000, 14: 1_163_919}, False),
        ({12: 2_000_000, 14: 1_163_900}, False),
        ({12: 1_000_000, 14: 1_163_920}, True),
        ({12: 1_000_000, 14: 1_100_000}, False),
        ({2: 2_000_000, 12: 1_900_000}, False),  # the first is older than the runs that are looked at
    ],
)
def test_worse_than_before_the_last_runs(padding: dict[int, int], worse: bool, shown: Shown) -> None:
    repository, names, _ = shown
    runs = made.runs(names[:20], made.Steps({}, {}, padding, {}, {}))
    recent = trend.analyse(runs, Choice(name="padding_bytes"), repository).recent(10)
    assert [f.series.points[f.change.at].run.commit for f in recent] == ([names[max(padding)]] if worse else [])


def test_what_is_not_measured_any_more_is_told(shown: Shown, tmp_path: Path) -> None:
    repository, names, _ = shown
    runs = made.runs(names[:12])
    words = ["--file", str(tmp_path / "h"), "--repository", str(repository.path), "--check", "--name", "p*_bytes"]

    def told(*last: Run) -> tuple[str, ...]:
        return trend.analyse([*runs[:8], *last], Choice(), repository).absent

    data, metadata, counted = runs[8].cases
    assert told(runs[8]) == ()
    fewer = replace(runs[8], cases=(metadata, counted))
    text = f"not in the newest session ({names[8][:12]}): {data.case}: was in the run before"
    assert told(fewer) == (text,) and told(fewer, runs[9]) == ()
    failed = replace(fewer, left_out=(f"{data.case}: failed with exit code 1",))
    assert told(failed) == (text.replace("was in the run before", "failed with exit code 1"),)
    # Other suites, machines, branches and kinds are no reason.
    other = replace(runs[8], cases=(replace(data, case="other"),))
    assert told(other) == () and told(replace(fewer, machine="new")) == () and told(replace(fewer, kind="gate")) == ()
    abandoned = replace(runs[8], branch="topic", kind="gate", left_out=("x: failed",))
    assert told(fewer, replace(runs[9], branch="topic")) == () and told(abandoned, runs[9]) == ()
    for run in (*runs[:8], failed):
        FileStore(tmp_path / "h").append(run)
    assert trend_cli.main(words) == 4 and trend_cli.main([*words, "--case", "*-metadata-*"]) == 0


def test_too_few_runs_tell_nothing(shown: Shown, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository, names, _ = shown
    path = tmp_path / "h"
    words = ["--file", str(path), "--repository", str(repository.path), "--check", "--case", "*-metadata-*"]
    for number, run in enumerate(made.runs(names[:9]), 1):
        FileStore(path).append(run)
        if number in (7, 8):
            assert trend_cli.main([*words, "--name", "wall_ns"]) == (4 if number < 8 else 0)
    assert trend_cli.main([*words, "--name", "padding*"]) == 0
    capsys.readouterr()
    assert trend_cli.main(words[:-2]) == 0  # six measured series
    assert "fewer than 11 runs" in re.sub(r"\s+", " ", capsys.readouterr().out)

# ---- what comes of it ----


def test_files(
    shown: Shown, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trend, "CHARTS_MAX", 2)  # they are slow to draw
    repository, names, path = shown
    out = tmp_path / "out"
    words = ["--file", str(path), "--repository", str(repository.path), "-o", str(out)]
    assert trend_cli.main([*words, "--name", "[!uw]*"]) == 0
    text = capsys.readouterr().out
    assert "2 series ended worse" in text and "ci/bisect" in text and names[12][:12] in text
    page = Page((out / "trend.html").read_text())
    assert page.faults == [] and "detect: padding <rule> (12)" in page.text
    assert not page.named("img") and "http" not in (out / "trend.html").read_text()
    assert "padding \\<rule>" in (out / "trend.md").read_text()
    pictures = sorted(out.glob("chart-*.png"))
    assert len(pictures) == len(list(out.glob("chart-*.svg"))) == len(page.named("figure")) == 2
    assert "2 more series not drawn" in page.text
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 5000
        drawn = picture.with_suffix(".svg").read_text()
        assert "var(" not in drawn and "#0101" not in drawn and "linux-edit" in drawn or "backup-data-first" in drawn
    again = [*words, "--name", "padding*", "--format", "markdown"]
    assert trend_cli.main(again) == 0
    assert "wall_ns" not in capsys.readouterr().out
    assert len(list(out.glob("chart-*.png"))) == 1  # what an earlier call left is gone
    first = {p.name: p.read_bytes() for p in out.iterdir()}
    assert trend_cli.main(again) == 0
    assert first == {p.name: p.read_bytes() for p in out.iterdir()}  # equal data, equal files


def test_what_names_bring_along_is_harmless(shown: Shown, tmp_path: Path) -> None:
    repository, names, _ = shown
    evil = "x<script>alert(1)</script>`|$\\[a](b)"

    def renamed(run: Run, number: int) -> Run:
        digest = "\x1b[2J" * (1 + number // 9)
        case = replace(run.cases[0], case=evil, measured={}, exact={evil: number // 10}, digests={evil: digest})
        return replace(run, branch="\x1b[31m", machine=evil, cases=(case,))

    runs = [renamed(run, number) for number, run in enumerate(made.runs(names[:20]))]
    analysis = trend.analyse(runs, Choice(), repository)
    assert len(analysis.found) == 3
    trend_cli.write(tmp_path, analysis)
    page = (tmp_path / "trend.html").read_text()
    assert "<script>alert" not in page and Page(page).faults == []
    assert "\x1b" not in page + (tmp_path / "trend.md").read_text() + (tmp_path / "trend.txt").read_text()


def test_subjects_of_commits_are_no_markup(tmp_path: Path) -> None:
    repository, names = made.repository(tmp_path, ["first", "`<img src=x>`` **bold** [a](b)", "last"])
    runs = made.runs(names, made.Steps({}, {}, {1: 7}, {}, {}))
    found = trend.report(trend.analyse(runs, Choice(name="padding*"), repository), with_charts=False)
    text = render.markdown(found)
    assert "'\\<img src=x>''" in text and not re.search(r"(?<!\\)<img|(?<!\\)\[a\]", text)
    assert "<img" not in html.page(found)


def test_exit_codes(shown: Shown, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository, names, path = shown
    where = ["--repository", str(repository.path)]
    assert trend_cli.main(["--file", str(path), *where, "--check", "--recent", "40"]) == 2
    assert trend_cli.main(["--file", str(path), *where, "--check"]) == 0  # commits 20 and 25 of 60: told for long
    # The last one was for the better.
    assert trend_cli.main(["--file", str(path), *where, "--check", "--recent", "40", "--name", "wall_ns"]) == 0
    single = tmp_path / "single"
    FileStore(single).append(made.runs(names[:1])[0])
    assert trend_cli.main(["--file", str(single), *where, "--check"]) == 4
    assert trend_cli.main(["--file", str(single), *where]) == 0
    capsys.readouterr()
    assert trend_cli.main(["--file", str(tmp_path / "none"), *where]) == 1
    assert "nothing to look at" in capsys.readouterr().err
    assert trend_cli.main(["--file", str(path), *where, "--machine", "other"]) == 1
    assert "left out: 60 runs of other machines" in capsys.readouterr().err
    assert trend_cli.main(["--file", str(path), *where, "--last", "1"]) == 1
    assert trend_cli.main(["--file", str(path), *where, "--recent", "0"]) == 1
    single.write_bytes(single.read_bytes() + b"junk\n")
    assert trend_cli.main(["--file", str(single), *where]) == 1
    assert "single: line 2" in capsys.readouterr().err
    assert trend_cli.main(["--file", str(single), *where, "--skip-broken"]) == 0
    assert re.search("passed over: .*line 2", capsys.readouterr().out.replace("\n", " "))


def test_made_up_histories_are_histories(shown: Shown) -> None:
    _, names, path = shown
    lines = path.read_text().splitlines()
    assert len(lines) == 60 and [json.loads(text)["commit"] for text in lines] == names


def test_scripts_explain_themselves(tmp_path: Path) -> None:
    for name in ("history", "trend", "bisect"):
        result = run.run([locate.REPOSITORY / "ci" / name, "--help"], cwd=tmp_path).check_ok()
        assert result.text.startswith(f"usage: ci/{name}") and "examples:" in result.text and "exit codes:" in result.text
    # Paths are those of the caller.
    path = tmp_path / "h.jsonl"
    FileStore(path).append(made.runs(["f" * 40])[0])
    shown_there = run.run([locate.REPOSITORY / "ci" / "history", "show", "--file", "h.jsonl", "--no-setup"], cwd=tmp_path)
    assert "ffffffffffff" in shown_there.check_ok().text
    missing = run.run([locate.REPOSITORY / "ci" / "trend", "--file", "none", "--no-setup"], cwd=tmp_path)
    assert missing.returncode == 1 and b"nothing to look at" in missing.stderr
