"""Reports: from the folder of a session to text, Markdown and a page. Sessions are made up (report_sessions.py)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import report_sessions as made

from pxarbench_harness import record, report
from pxarbench_harness.record import Record
from pxarbench_harness.report import __main__ as command
from pxarbench_harness.report import cases, charts, html, model, render, surface, truth
from pxarbench_harness.report import folder as folders

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """A page as its tags; complains about what a browser would silently repair."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> inside of {self.open[-3:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made.write(tmp_path_factory.mktemp("session"), made.large(), **made.extras())
    report.write(folder)
    return folder


@pytest.fixture(scope="module")
def page(large: Path) -> Page:
    return Page((large / "report.html").read_text())


def small(folder: Path, **files: Any) -> Path:
    return made.write(folder, made.small(), **files)


# ---- the page ----


def test_made_up_records_are_records(large: Path) -> None:
    assert len(list(record.read(large / "records.jsonl"))) > 1000


def test_page_is_well_formed(page: Page) -> None:
    assert page.faults == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_page_needs_nothing_from_elsewhere(large: Path, page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert "//" not in attributes.get(name, ""), (tag, attributes)
    assert not page.named("link") and not page.named("img") and not page.named("iframe")
    text = (large / "report.html").read_text()
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert "http" not in text  # not even as the name of a schema


def test_links_of_the_page_and_of_markdown_lead_somewhere(large: Path, page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    targets = {attributes["href"] for attributes in page.named("a")}
    assert any(t.startswith("raw/") for t in targets) and any(t.startswith("#case-") for t in targets)
    for target in targets:
        assert target[1:] in ids if target.startswith("#") else (large / target).is_file(), target
    for target in re.findall(r"\]\(([^)]+)\)", (large / "report.md").read_text()):
        assert (large / target).is_file(), target


def test_every_chart_has_words_and_a_table(large: Path, page: Page) -> None:
    figures = (large / "report.html").read_text().split("<figure")[1:]
    assert len(figures) >= 4
    for figure in figures:
        inner = Page("<figure" + figure.split("</figure>")[0] + "</figure>")
        (svg,) = inner.named("svg")
        assert svg["role"] == "img" and svg["aria-label"]
        assert svg["aria-describedby"] in {a.get("id") for a in inner.named("desc")}
        assert len(inner.named("table")) == 1 and len(inner.named("tr")) > 2
        assert inner.named("text")  # labels are text, not outlines


def test_colours_of_charts_are_those_of_the_page(large: Path) -> None:
    text = (large / "report.html").read_text()
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.S))
    used = set(re.findall(r"var\((--[a-z0-9]+)\)", drawn))
    assert {"--ink", "--grid", "--font", "--s0", "--s1"} <= used
    assert not re.findall(r"(?:fill|stroke): ?#[0-9a-f]{3,6}", drawn)
    style = text.split("</style>")[0]
    assert "prefers-color-scheme: dark" in style and "@media print" in style
    assert all(re.search(rf"{name}:", style) for name in used)


def test_equal_data_gives_equal_files(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        folder = small(tmp_path / name)
        report.write(folder)
        texts.append({f.name: f.read_bytes() for f in folder.glob("report.*")})
    assert texts[0] == texts[1] and sorted(texts[0]) == ["report.html", "report.md", "report.rfc.txt", "report.txt"]
    session = made.Session()
    made.cliff(session, made.LINUX, ("0.1", "1", "10"), ("uniform",), rounds=2)
    folder = made.write(tmp_path / "c", session.records)
    report.write(folder)
    first = (folder / "report.html").read_bytes()
    report.write(folder)
    assert (folder / "report.html").read_bytes() == first


def test_everything_that_there_is_has_a_section(page: Page, large: Path) -> None:
    markdown = (large / "report.md").read_text()
    for title in (
        "Scenarios", "The reuse cliff", "Truth table", "Why files were read again", "Over generations", "Restoring", "Cold and warm cache",
        "Programs beside each other", "What they can", "Files that change while they are read", "Rooflines", "System calls",
        "Circumstances", "Interruptions", "Discarded runs", "What the doctor found", "How to read it",
    ):  # fmt: skip
        assert title in page.text and f" {title}" in markdown, title
    assert "taken up again: runs 401" in markdown and "Left out by the budget" in markdown


def test_what_there_is_no_data_for_has_no_section(tmp_path: Path) -> None:
    report.write(small(tmp_path))
    text = (tmp_path / "report.html").read_text() + (tmp_path / "report.txt").read_text()
    for title in ("Scenarios", "reuse cliff", "Over generations", "Cold and warm", "Programs beside", "Rooflines", "Discarded", "doctor"):
        assert title not in text, title


def test_numbers_come_with_n_interval_and_samples(tmp_path: Path) -> None:
    folder = small(tmp_path)
    report.write(folder)
    markdown = (folder / "report.md").read_text()
    (line,) = [line for line in markdown.splitlines() if line.startswith("| edit:1%:clustered | metadata |")][:1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2] == "3" and re.fullmatch(r"\d\.\d{3} \(\d\.\d{3} \.\. \d\.\d{3}\)", cells[3])
    assert re.fullmatch(r"\d\.\d{3} \(\d\.\d{3} \.\. \d\.\d{3}\)", cells[4])
    assert len(re.findall(r"\]\(raw/", cells[8])) == 3
    shown = Page((folder / "report.html").read_text())
    assert "case-linux-edit-1--clustered-pxarbench-metadata-warm" in {a.get("id") for a in shown.named("details")}


def test_the_command_writes_the_same_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small(tmp_path)
    report.write(folder, records=made.small())
    first = {f.name: f.read_bytes() for f in folder.glob("report.*")}
    for f in folder.glob("report.*"):
        f.unlink()
    assert command.main([str(folder)]) == 0 and "written" in capsys.readouterr().out
    assert {f.name: f.read_bytes() for f in folder.glob("report.*")} == first


def test_terminal_gets_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report.terminal(small(tmp_path))
    said = capsys.readouterr().out
    assert "pxarbench: change detection modes" in said and "ratio to data" in said and "raw samples" not in said


# ---- hostile and odd ----


HOSTILE = "<script>alert(1)</script> & \"quotes\" 'x' | [a](http://b) \x1b[2J \udcff $x^2$ **b**"


def test_text_of_others_is_only_text(tmp_path: Path) -> None:
    runs = [
        replace(r, problems=(HOSTILE,), dataset={**r.dataset, "name": "<b>&", "source": HOSTILE}, command=("x", HOSTILE),
                mutation={**r.mutation, "text": "<i>$" + r.mutation["text"]}, mode="<u>" + r.mode)
        for r in made.small()
    ]  # fmt: skip
    session = made.Session()
    made.cliff(session, {**made.LINUX, "name": "<b>$"}, ("0.1", "1", "10"), ("uniform",), rounds=2)
    others = [replace(r, sequence=r.sequence + len(runs)) for r in session.records]
    folder = made.write(tmp_path, [*runs, *others], doctor={"findings": [{"name": HOSTILE, "value": HOSTILE}]},
                        during=made.during() | {"skipped": [HOSTILE]})  # fmt: skip
    report.write(folder, skipped={HOSTILE: HOSTILE})
    shown = Page((folder / "report.html").read_text())
    assert shown.faults == [] and len(shown.named("script")) == 1 and not shown.named("b") and not shown.named("i")
    assert "alert(1)" in shown.text
    for name in ("report.html", "report.md", "report.txt"):
        text = (folder / name).read_text()
        assert "\x1b" not in text and "\\x1b" in text and "\\udcff" in text
    assert "<script" not in re.sub(r"\\<", "", (folder / "report.md").read_text())
    assert "](http" not in re.sub(r"\\\]", "", (folder / "report.md").read_text())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 3"),
        ("[]", "line 3"),
        ('{"schema": "pxarbench-result/0"}', "line 3"),
        ("", "line 3"),
        ("\udcff", "line 3"),
        ("[" * 100_000, "line 3"),
    ],
    ids=["torn", "no-object", "other-schema", "empty", "no-utf-8", "deep"],
)
def test_a_broken_record_is_named(tmp_path: Path, line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small(tmp_path)
    path = folder / "records.jsonl"
    lines = path.read_bytes().splitlines()
    lines[2] = line.encode("utf-8", "surrogateescape")
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert command.main([str(folder)]) == 1
    assert words in capsys.readouterr().err and not (folder / "report.html").exists()


def test_a_record_of_an_older_session_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    folder = small(tmp_path)
    path = folder / "records.jsonl"
    lines = path.read_text().splitlines()
    old = json.loads(lines[4])
    del old["attempt"]
    lines[4] = json.dumps(old)
    path.write_text("\n".join(lines))
    with pytest.raises(report.FolderBroken, match="line 5.*'attempt' is a required property"):
        report.write(folder)


def test_no_folder_and_no_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(tmp_path / "nowhere")]) == 1
    assert "records.jsonl: No such file" in capsys.readouterr().err
    (tmp_path / "records.jsonl").touch()
    report.write(tmp_path)
    assert "No runs." in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("contents", ["{", "[]", "3", "null", '"x"', '{"rows": 7, "findings": {"a": 1}}', '{"rows": [1, {"name": 2}, {"seconds": [0]}, {"seconds": ["x"]}], "findings": [1, {"verdict": 3}]}', "\x00"])
def test_broken_files_beside_the_records_do_no_harm(tmp_path: Path, contents: str) -> None:
    folder = small(tmp_path)
    for name in ("plan", "doctor", "roofline", "during"):
        (folder / f"{name}.json").write_text(contents)
    report.write(folder)
    text = (folder / "report.html").read_text()
    assert Page(text).faults == []
    if contents in ("{", "\x00"):
        assert "doctor.json could not be read" in text


def test_runs_that_failed_are_errors_not_holes(tmp_path: Path) -> None:
    runs = [replace(r, outcome=None, exit_code=1, verdict=None, problems=("it failed",)) if r.mode == "metadata" else r for r in made.small()]
    folder = made.write(tmp_path, runs)
    report.write(folder)
    text = (folder / "report.txt").read_text()
    assert "!! ✗ error" in text and "Problems" in text and "it failed" in text


def test_a_session_that_is_not_finished_says_so(tmp_path: Path) -> None:
    folder = small(tmp_path, plan={"state": "running"})
    report.write(folder)
    assert "not finished" in (folder / "report.md").read_text()


def test_cases_that_were_never_restored_stand_at_the_top(tmp_path: Path) -> None:
    def said(name: str, restored: bool) -> str:
        folder = made.write(tmp_path / name, [replace(r, restored=restored) for r in made.small()])
        report.write(folder)
        return (folder / "report.md").read_text()

    count = len({r.case for r in made.small() if r.phase == "measured"})
    assert "never restored" not in said("all", True)
    assert f"{count} of {count} cases never restored" in said("none", False)


def test_without_matplotlib_the_tables_stay(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def refused(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refused)
    chart = _one_chart(large)
    text = html.page(model.Report((chart,)))
    assert "<svg" not in text and 'class="printed" open' in text and Page(text).faults == []


def _one_chart(folder: Path) -> model.Chart:
    def charts_of(blocks: tuple[model.Block, ...]) -> Iterator[model.Chart]:
        for block in blocks:
            if isinstance(block, model.Chart):
                yield block
            elif isinstance(block, model.Details):
                yield from charts_of(block.blocks)

    return next(charts_of(report.of_folder(folders.load(folder)).blocks))


# ---- what counts ----


def test_only_measured_runs_count_and_rounds_are_paired() -> None:
    s = made.Session()
    seconds = {"data": (1.0, 10.0, 100.0), "metadata": (0.5, 5.0, 50.0)}
    for mode, walls in seconds.items():
        for number, wall in enumerate(walls, 1):
            s.record(made.LINUX, "none", ("pxarbench", mode), "measured", round=number, wall_ns=round(wall * 1e9))
        for phase in ("reference", "warm-up", "proof", "discarded"):
            s.record(made.LINUX, "none", ("pxarbench", mode), phase, round=1, wall_ns=7)
    data, metadata = cases.ordered(cases.series(s.records))
    assert (data.seconds, metadata.seconds) == ([1.0, 10.0, 100.0], [0.5, 5.0, 50.0])
    found = cases.ratio(metadata, data, 1)
    # In every round one half: paired, nothing is uncertain about it.
    assert found.value == 0.5 and found.interval is not None and found.interval.low == found.interval.high == 0.5


# ---- the truth table ----


def _verdict(**counts: int) -> Record:
    s = made.Session()
    return s.record(made.LINUX, "edit:1%", ("pxarbench", "metadata"), "proof", verdict=made._verdict(**counts))


@pytest.mark.parametrize(
    ("counts", "said", "tone"),
    [
        ({"changed": 5, "detected": 5}, "✓ detected", "good"),
        ({}, "✓ nothing changed", "good"),
        ({"changed": 5, "missed": 5, "expected_missed": 5}, "○ missed (expected)", "noted"),
        ({"changed": 5, "detected": 3, "missed": 2, "expected_missed": 2}, "○ missed (expected), detected 3", "noted"),
        ({"needless": 4, "expected_needless": 4}, "· re-read (expected)", "noted"),
        ({"changed": 5, "detected": 4, "missed": 1}, "✗ missed 1 of 5", "bad"),
        ({"changed": 5, "detected": 5, "expected_missed": 5}, "✗ detected, a miss was expected (5)", "bad"),
        ({"changed": 5, "detected": 5, "needless": 7, "expected_needless": 4}, "✗ false re-read (3)", "bad"),
    ],
)
def test_verdicts_in_words(counts: dict[str, int], said: str, tone: str) -> None:
    cell = truth.judged([_verdict(**counts)])
    assert (cell.text, cell.tone.value) == (said, tone)
    assert "expected missed" in cell.title


def test_one_miss_is_not_hidden_by_another_runs_luck() -> None:
    runs = [_verdict(changed=5, detected=4, missed=1), _verdict(changed=5, detected=5, expected_missed=1)]
    assert truth.judged(runs).text == "✗ missed 1 of 10"


def test_modes_that_read_everything_read_nothing_in_vain() -> None:
    run = replace(_verdict(changed=5, detected=5, needless=900), mode="data")
    assert truth.judged([run]).text == "✓ detected"


def _truth_cells(s: made.Session, **plan: Any) -> dict[str, tuple[str, str]]:
    """Operation -> text and tone of the only column's cell."""
    found = folders.Folder(None, tuple(s.records), plan=plan)
    (table,) = (p for p in truth.sections(found, {}) if isinstance(p, model.Table) and p.columns[0] == "change")
    rows = [[c if isinstance(c, model.Cell) else model.Cell(c) for c in row] for row in table.rows]
    return {row[0].text: (row[1].text, row[1].tone.value) for row in rows}


def _proven(*, restored: bool, problems: tuple[str, ...] = ()) -> made.Session:
    s = made.Session()
    who = ("pxarbench", "metadata")
    s.record(made.LINUX, "edit:1%", who, "measured", round=1, restored=restored, problems=problems)
    s.record(made.LINUX, "edit:1%", who, "proof", verdict=made._verdict(changed=5, detected=5))
    return s


def test_cell_is_no_better_than_the_checks_behind_it() -> None:
    assert _truth_cells(_proven(restored=True)) == {"edit": ("✓ detected", "good")}
    assert _truth_cells(_proven(restored=True, problems=("restore: a is missing",))) == {"edit": ("✗ 1 problem", "bad")}


def test_cell_without_a_restore_says_so() -> None:
    assert _truth_cells(_proven(restored=False)) == {"edit": ("✓ detected, not restored", "noted")}
    s = _proven(restored=False)
    s.records[1] = replace(s.records[1], verdict=made._verdict(changed=5, missed=5, expected_missed=5))
    assert _truth_cells(s) == {"edit": ("○ missed (expected), not restored", "noted")}


def test_changes_that_could_not_be_made_stay_in_the_table() -> None:
    """The plan as a session writes it: blocks by "dataset, mutation"."""
    cells = _truth_cells(_proven(restored=True), skipped={"linux, edit:1%:uniform>acl:5%:uniform": "no ACLs on tmpfs"})
    assert cells["acl"] == ("skipped", "")


def test_missing_programs_and_changes_are_named_when_a_report_is_made_again(tmp_path: Path) -> None:
    plan = {"missing": {"bup": "bup is not installed"}, "skipped": {"linux, acl:5%:uniform": "no ACLs on tmpfs"}}
    folder = made.write(tmp_path, made.small(), plan=plan)
    text = render.markdown(report.of_folder(folders.load(folder)))
    assert "**Skipped: bup**: bup is not installed." in text
    assert "**Could not be made here: linux, acl:5%:uniform**: no ACLs on tmpfs." in text


def test_run_that_is_recorded_twice_is_refused(tmp_path: Path) -> None:
    records = made.small()
    with pytest.raises(folders.FolderBroken, match="run 3 is recorded more than once"):
        folders.load(made.write(tmp_path, [*records, records[2]]))


def test_problems_are_bold_in_every_form(tmp_path: Path) -> None:
    s = made.Session()
    for r in made.small():
        s.records.append(r)
    s.proof(made.LINUX, "content-restored:1%", ("pxarbench", "metadata"))
    s.records[-1] = replace(s.records[-1], verdict=made._verdict(changed=40, missed=40))
    folder = made.write(tmp_path, s.records)
    report.write(folder)
    assert "**✗ missed 40 of 40**" in (folder / "report.md").read_text()
    assert "!! ✗ missed 40 of 40" in (folder / "report.txt").read_text()
    shown = (folder / "report.html").read_text()
    assert re.search(r'<td class="k bad"[^>]*>✗ missed 40 of 40</td>', shown)
    assert "1 cell that should not be so" in shown


def test_operations_are_rows_whatever_came_before_them(tmp_path: Path) -> None:
    assert truth._operation(_with("touch:1%>delete:5%:zipf:seed=3")) == "delete"
    assert truth._operation(_with("mix:1%*8")) == "mix"
    assert truth._operation(_with("append:1%:uniform:bytes=4096")) == "append:bytes=4096"


def _with(text: str) -> Record:
    return made.Session().record(made.LINUX, text, ("pxarbench", "metadata"), "proof")


# ---- the reuse cliff ----


def _surface(rates: tuple[str, ...], layouts: tuple[str, ...] = ("uniform",)) -> list[surface.Surface]:
    s = made.Session()
    made.cliff(s, made.LINUX, rates, layouts, rounds=3)
    return surface.surfaces(cases.blocks(s.records), 1)


def test_curves_are_by_layout_and_mode_and_never_of_modes_that_read_all() -> None:
    (found,) = _surface(("0.1", "1", "10"), ("uniform", "clustered"))
    assert list(found.layouts) == ["uniform", "clustered"] and found.rates == [0.1, 1.0, 10.0]
    assert [c.key[1] for c in found.layouts["uniform"]] == ["metadata", "metadata-stored"]
    first = found.layouts["uniform"][0].points[0]
    assert first.reused == pytest.approx(1 - made.cliff_read("metadata", "uniform", 0.1, made.LINUX), abs=1e-6)
    assert _surface(("1", "10")) == []  # two rates are no curve


def test_break_even_is_where_it_must_be() -> None:
    (found,) = _surface(("0.01", "0.1", "1", "10", "50"))
    metadata, stored = found.layouts["uniform"]
    half = surface.half_reread(metadata)
    assert half is not None and half.rate is not None and 0.1 < half.rate < 1
    later = surface.half_reread(stored)
    assert later is not None and later.rate is not None and later.rate > 1
    table = surface.break_even(found, {c.key: c.key[1] for c in found.layouts["uniform"]})
    assert [row[1] for row in table.rows] == ["metadata", "metadata-stored"]


def test_share_of_unchanged_does_not_count_what_had_to_be_read() -> None:
    s = made.Session()
    for rate in ("1", "10", "50"):
        for who in made.OURS[:2]:
            s.case(made.LINUX, f"edit:{rate}%", who, changed=float(rate) / 100, read=float(rate) / 100)
    (found,) = surface.surfaces(cases.blocks(s.records), 1)
    assert [p.reread_unchanged for p in found.layouts["uniform"][0].points] == pytest.approx([0, 0, 0], abs=1e-6)


@pytest.mark.parametrize("text", ["touch:1%>edit:1%", "edit:1%*3", "none", "replay:a..b"])
def test_chains_and_replays_are_no_points(text: str) -> None:
    s = made.Session()
    s.case(made.LINUX, text, made.OURS[1], changed=0.01)
    assert surface.surfaces(cases.blocks(s.records), 1) == []


# ---- text ----


def test_merged_cells_are_said_once_in_text_and_span_in_the_page() -> None:
    table = model.Table(("a", "b"), (("x", "1"), ("x", "2"), ("y", "3")), merged=1)
    text = render.text(model.Report((table,)))
    assert text.count("x") == 1 and render.markdown(model.Report((table,))).count("| x |") == 2
    assert [[c.rows for c in row] for row in html.shown(table)] == [[2, 1], [0, 1], [1, 1]]


@pytest.mark.parametrize("text", ["`<img src=x>``", "``<img src=x>`", "<img src=x>", "`a` <img src=x> ``", "``<img src=x>``"])
def test_html_in_names_is_text_in_markdown(text: str) -> None:
    """Backquotes protect only between two single ones: what a page makes of others differs."""
    shown = render.markdown(model.Report((model.Paragraph(text),)))
    assert "\\<img" in shown
    assert render.markdown(model.Report((model.Paragraph("`<img>`"),))) == "`<img>`\n"


def test_labels_of_charts_are_no_formulas() -> None:
    panel = model.Panel("$x^2$", "x", "y", (model.Line("$a_b$ & <c>", ((1.0, 2.0), (2.0, 3.0))), model.Line("d", ((1.0, 2.0),))))
    chart = model.Chart("t", "a <b> & c", ((panel,),), model.Table(("a",), ()), ("d",))
    svg = charts.svg(chart, "p")
    assert "$x^2$" in svg and "$a_b$ &amp; &lt;c&gt;" in svg and "a &lt;b&gt; &amp; c" in svg
    assert 'id="p-' in svg and Page(svg).faults == []


def test_subjects_come_in_their_registered_order() -> None:
    from pxarbench_harness.subjects import SUBJECTS

    found = sorted([("restic", "default"), ("pxarbench", "metadata"), ("else", "x"), ("pxarbench@new", "data"), ("pxarbench", "data")],
                   key=lambda k: cases.order(*k))  # fmt: skip
    assert list(SUBJECTS)[0] == "pxarbench"
    assert found == [("pxarbench", "data"), ("pxarbench", "metadata"), ("pxarbench@new", "data"), ("restic", "default"), ("else", "x")]
