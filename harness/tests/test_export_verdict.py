"""A verdict for people and for tools: terminal, Markdown, annotations, JUnit, GitLab, CSV."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import export_grammars
import jsonschema
import pytest

from pxarbench_harness import locate, run
from pxarbench_harness.export import formats, gitlab, junit, table
from pxarbench_harness.gates import show
from pxarbench_harness.gates.verdict import GATES, Finding, Level, Verdict, exact

HOSTILE = [
    "]]>", "<b>&amp;", "a|b", "a\nb", "\r\n::error::x", "%0A", "```\n# x", "\x00\x1b[31m", "\ud800\ufffe", "[x](y)", "**a**", '"\'',
    "a,file=b,line=7",
]  # fmt: skip

EXACT = exact("counters", "linux-like edit:1%", [("padding", 1000, 1031), ("injected", 5, 5), ("reused", 5, None)])
STREAM = Finding("encodings", "tree v2", "payload", Level.REGRESSION, "differs", "aa" * 32, "bb" * 32, "sha256",
                 ("  00 01", "``` 02"))  # fmt: skip
NOISY = Finding("time", "restore", "wall", Level.INCONCLUSIVE, "cannot be told", 1_200_000_000, 1_260_000_000, "ns",
                ("null arm: 7 %",), 0.05, -0.02, 0.09, 0.12, 0.03, 10)  # fmt: skip
FINE = replace(NOISY, case="backup", level=Level.OK, text="as before", change=0.001, low=-0.002, high=0.004, detectable=0.01,
               details=())  # fmt: skip
BETTER = Finding("bytes", "restore", "stored", Level.IMPROVED, "less", 2_000_000_001, 2_000_000_000, "bytes")
WARNED = Finding("memory", "restore", "peak", Level.WARNING, "more", 100, 103, "bytes", (), 0.03, 0.01, 0.04, 0.02, 0.05, 10)


def made(*findings: Finding, required: tuple[str, ...] = ("a",), **over: Any) -> Verdict:
    values: dict[str, Any] = {
        "kind": "gate", "started": "2026-01-02T03:04:05Z", "base": "golden", "head": "this build", "head_commit": "0123abcd+",
        "host_fingerprint": "29062a1b36ce", "executed": ("a", "b"), "required": required, "settings": {"rounds": 10, "seed": 1},
    }  # fmt: skip
    return Verdict(**{**values, **over, "findings": tuple(findings)})


ALL = made(*EXACT, STREAM, NOISY, FINE, BETTER, WARNED, required=("a", "gone"))
MANY = made(*(replace(EXACT[0], name=f"n{i}", details=(f"line {i} " * 20,)) for i in range(1000)))


# ---- words ----


@pytest.mark.parametrize(
    "value,unit,exactly,said",
    [
        (None, "ns", False, "–"), (1_260_000_000, "ns", False, "1.260 s"), (1_250_000, "ns", False, "1.250 ms"),
        (123_456_789, "bytes", False, "117.74 MiB"), (123_456_789, "bytes", True, "123,456,789 bytes"),
        ("ab" * 32, "sha256", True, "abababababab…"), (1_234_567, "instructions", False, "1,234,567 instructions"),
        (5, "", True, "5"),
        (0.123456, "", False, "0.1235"), (1.5, "ns", True, "0.000 ms"),
    ],
)  # fmt: skip
def test_values(value: Any, unit: str, exactly: bool, said: str) -> None:
    assert show.value(value, unit, exact=exactly) == said


@pytest.mark.parametrize("share,said", [(0.031, "+3.10 %"), (-0.0004, "-0.04 %"), (0.5, "+50.0 %"), (None, "–")])
def test_percent(share: float | None, said: str) -> None:
    assert show.percent(share) == said


@pytest.mark.parametrize(
    "findings,strict,word",
    [
        ((EXACT[1],), False, "OK"), ((WARNED,), False, "OK"), ((WARNED,), True, "WARNINGS"), ((NOISY,), False, "INCONCLUSIVE"),
        ((NOISY, EXACT[0]), True, "REGRESSION"),
    ],
)  # fmt: skip
def test_the_headline_is_that_of_the_exit_code(findings: Sequence[Finding], strict: bool, word: str) -> None:
    verdict = made(*findings)
    assert show.headline(verdict, warnings_fail=strict).startswith(f"{word}: ")
    assert show.text(verdict, warnings_fail=strict).splitlines()[-1].startswith(f"{word}: ")
    assert f"## pxarbench: {word}: " in show.markdown(verdict, warnings_fail=strict)


def test_a_change_is_told_once() -> None:
    assert show.sentence(replace(NOISY, text="+5 % (-2 % to +9 %)")) == "+5 % (-2 % to +9 %)"
    assert show.sentence(EXACT[0]) == "was 1,000, is 1,031"


def test_settings_are_a_few_words() -> None:
    verdict = made(EXACT[1], settings={"seed": 1, "sha": "ab" * 32, "program": {"deep": "never"}, "rounds": 10})
    assert "settings: rounds 10, seed 1, sha " + "ab" * 23 + "a…" in show.text(verdict) and "never" not in show.text(verdict)


@pytest.mark.parametrize("width", [60, 80, 120, 190])
def test_nothing_is_lost_on_a_narrow_terminal(width: int) -> None:
    """Names and numbers are broken where they must be, never cut; where there is room they stay whole."""
    long = "αβγδεζηθικλμνξοπρστυφχψωΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ"
    lines = show.text(made(replace(NOISY, case=long, details=())), width=width).splitlines()
    assert max(map(len, lines)) <= width
    if width == 190:
        assert any(long in line for line in lines)
    else:
        assert all(letter in "".join(lines) for letter in long) and "…" not in "".join(lines)


def test_what_did_not_run_is_shown() -> None:
    assert show.headline(ALL).startswith("ERROR: ")
    for text in (show.text(ALL), show.markdown(ALL), show.annotations(ALL), junit.render(ALL)[""]):
        assert "gone" in text and "did not run" in text
    nothing = made(executed=(), required=())
    assert "nothing ran" in show.text(nothing) and "nothing ran" in show.annotations(nothing)


# ---- terminal and Markdown ----


def test_text() -> None:
    text = show.text(ALL)
    change = "+5.00 % (-2.00 % .. +9.00 %)"
    for wanted in ("1,000", "1,031", "differs", "``` 02", change, "12.0 %", "2,000,000,001 bytes", "null arm: 7 %"):
        assert wanted in text
    # Equal exact values are counted only; measured ones are shown, for what they could have told.
    assert "injected" not in text and "injected" in show.text(ALL, whole=True) and "as before" in text
    assert "\x1b" not in text and "\x1b[1;31m" in show.text(ALL, colour=True)


def test_the_worst_comes_first() -> None:
    text = show.text(ALL)
    assert text.index("did not run") < text.index("differs") < text.index("was 1,000") < text.index("less")


def test_text_says_how_much_it_left_out() -> None:
    text = show.text(MANY)
    assert "960 more findings in verdict.json" in text and "Details of 990 more findings" in text
    assert len(show.text(MANY, whole=True).splitlines()) > 2_000


def test_terminal_without_one_is_the_text() -> None:
    out = io.StringIO()
    show.terminal(ALL, out)
    assert out.getvalue() == show.text(ALL)


def test_markdown_tables_are_whole() -> None:
    text = show.markdown(ALL)
    widths = {}
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()]
        assert len(set(rows)) == 1, block
        widths[rows[0]] = True
    assert len(widths) == 3
    assert "````text\n  00 01\n``` 02\n````" in text  # the fence is longer than what it holds


@pytest.mark.parametrize("limit", [60_000, 5_000, 1_000, 100])
def test_markdown_keeps_its_limit(limit: int) -> None:
    text = show.markdown(MANY, limit=limit)
    assert len(text) <= limit and "REGRESSION" in text
    if limit >= 5_000:
        assert "more finding" in text and "| counters |" in text
    long = show.markdown(made(replace(EXACT[0], text="x" * 100_000)), limit=limit)
    assert len(long) <= limit and "REGRESSION" in long


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_and_text_stay_what_they_are(text: str) -> None:
    finding = replace(EXACT[0], case=f"c{text}", name=text, text=text, details=(text, "kept"))
    verdict = made(finding, head=text, settings={text: text})
    said = show.markdown(verdict)
    said.encode()
    assert not re.search(r"^(# x|::error)", said, re.MULTILINE)
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "", said)
    assert "<b>" not in outside.replace("\\<b>", "") and outside.count("<details>") == 1
    for block in re.findall(r"(?:^\|.*\|\n)+", said, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    plain = show.text(verdict)
    plain.encode()
    assert "\x1b" not in plain and "\x00" not in plain and "kept" in plain


# ---- annotations ----


def test_annotations() -> None:
    commands = export_grammars.workflow_commands(show.annotations(ALL))
    assert [c.name for c in commands] == ["error"] * 4 + ["warning"] * 2 + ["notice"]
    first = commands[1]
    # Where no line is known, none is told: the first one has nothing to do with it.
    assert first.properties == {"title": "regression: encodings tree v2 payload", "file": "results/golden/encodings.csv"}
    (placed,) = export_grammars.workflow_commands(show.annotations(made(replace(STREAM, line=17))))
    assert placed.properties["line"] == "17"
    compared = made(replace(STREAM, line=17), base="0123abcd", kind="compare")
    assert "line" not in export_grammars.workflow_commands(show.annotations(compared))[0].properties
    assert first.message == "differs"
    noisy = next(c for c in commands if "restore wall" in c.properties["title"])
    assert noisy.name == "warning" and noisy.message == "cannot be told: +5.00 % (-2.00 % .. +9.00 %)"
    assert "file" not in noisy.properties
    assert show.annotations(made(EXACT[1])) == ""


def test_golden_files_are_those_that_the_gates_keep() -> None:
    for gate in ("encodings", "counters", "instructions", "required"):
        path = show.path_of(ALL, Finding(gate, "case", "", Level.REGRESSION, ""))
        assert path.startswith("results/golden/")
        # What is about no case is about no golden value: a failed build, a gate that did not come to its end.
        assert bool(show.path_of(ALL, Finding(gate, "", "", Level.ERROR, ""))) == (gate == "required")
    compared = made(STREAM, base="0123abcd", kind="compare")
    assert show.path_of(compared, STREAM) == "" and "file=" not in show.annotations(compared)


def test_annotations_that_would_vanish_are_counted() -> None:
    commands = export_grammars.workflow_commands(show.annotations(MANY))
    assert len(commands) == show.ANNOTATIONS_PER_KIND and commands[-1].message.startswith("991 more in verdict.json")
    ten = made(*(replace(EXACT[0], name=f"n{i}") for i in range(10)))
    assert len(export_grammars.workflow_commands(show.annotations(ten))) == 10


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_ends_an_annotation(text: str) -> None:
    verdict = made(replace(EXACT[0], case=text, name=text, text=text))
    (command,) = export_grammars.workflow_commands(show.annotations(verdict))
    assert command.message == show.plain(text) and show.plain(text) in command.properties["title"]
    assert command.properties.keys() == {"file", "title"} and command.properties["file"] == "results/golden/counters.csv"


# ---- JUnit ----


def read_junit(verdict: Verdict, **options: Any) -> ElementTree.Element:
    """Read back, and held against what a schema cannot say: counts that agree, names that differ."""
    root = ElementTree.fromstring(junit.render(verdict, **options)[""].encode())
    names = [(c.get("classname"), c.get("name")) for c in root.iter("testcase")]
    assert len(set(names)) == len(names) == len(verdict.all_findings)
    for parent in (root, *root.findall("testsuite")):
        assert parent.get("tests") == str(len(list(parent.iter("testcase"))))
        for attribute, element in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert parent.get(attribute) == str(len(list(parent.iter(element))))
    return root


def test_junit() -> None:
    root = read_junit(ALL)
    assert [s.get("name") for s in root] == [f"pxarbench.{g}" for g in GATES if ALL.level_of(g) is not None]
    cases = {c.get("name"): c for c in root.iter("testcase")}

    def child(name: str) -> str:
        return ",".join(e.tag for e in cases[name])

    assert child("tree v2 payload") == "failure" and child("gone") == "error" and child("linux-like edit:1% injected") == ""
    assert child("restore wall") == "skipped,system-out" and child("restore peak") == child("restore stored") == "system-out"
    failure = cases["tree v2 payload"].find("failure")
    assert failure is not None and failure.get("type") == "regression" and failure.get("message") == "differs"
    assert "\n  00 01\n``` 02" in (failure.text or "")
    skipped = cases["restore wall"].find("skipped")
    assert skipped is not None and skipped.get("message") == "cannot be told: +5.00 % (-2.00 % .. +9.00 %)"
    assert cases["restore wall"].get("time") == "1.260000"
    strict = read_junit(ALL, warnings_fail=True)
    warnings = [c.get("name") for c in strict.iter("testcase") if c.find("failure[@type='warning']") is not None]
    assert warnings == ["restore peak"]


def test_junit_has_settings_of_a_few_words() -> None:
    """Not the versions of all cases, once per suite."""
    root = read_junit(made(EXACT[0], settings={"rounds": 10, "versions": {"a": "v1"}}))
    names = [p.get("name") for p in root.iter("property")]
    assert "rounds" in names and "versions" not in names


def test_equal_names_are_told_apart() -> None:
    names = [c.get("name") for c in read_junit(made(EXACT[0], EXACT[0], EXACT[0])).iter("testcase")]
    assert names == ["linux-like edit:1% padding", "linux-like edit:1% padding (2)", "linux-like edit:1% padding (3)"]
    taken = replace(EXACT[0], name="padding (2)")
    read_junit(made(EXACT[0], taken, EXACT[0]))
    read_junit(made(replace(EXACT[0], case="a b", name="c"), replace(EXACT[0], case="a", name="b  c")))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_breaks_the_xml(text: str) -> None:
    finding = replace(EXACT[0], case=text, name=text, text=text, details=(text,), base=text, head=text, unit=text)
    root = read_junit(made(finding, base=text, settings={text: text}))
    assert next(root.iter("failure")).get("message") == show.plain(text)


def test_a_reader_of_many_dialects_reads_the_same(tmp_path: Path) -> None:
    junitparser = pytest.importorskip("junitparser", reason="python3-junitparser is not installed")
    path = tmp_path / "gate.xml"
    path.write_text(junit.render(ALL)[""])
    read = junitparser.JUnitXml.fromfile(str(path))
    kinds = {"Failure": Level.REGRESSION, "Error": Level.ERROR, "Skipped": Level.INCONCLUSIVE}
    told = [kinds[type(result).__name__] for suite in read for case in suite for result in case.result]
    assert sorted(told, key=list(Level).index) == sorted(
        (f.level for f in ALL.all_findings if f.level in kinds.values()), key=list(Level).index
    )
    assert (read.tests, read.failures, read.errors, read.skipped) == (
        len(ALL.all_findings), told.count(Level.REGRESSION), told.count(Level.ERROR), told.count(Level.INCONCLUSIVE)
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("xmllint") is None, reason="xmllint (libxml2-utils) is not installed")
def test_junit_fits_its_schema(tmp_path: Path) -> None:
    schema = str(locate.results() / "schema" / "consumers" / "junit.xsd")
    verdicts = [ALL, made(EXACT[1]), made(executed=(), required=()), made(EXACT[0], EXACT[0])]
    verdicts += [made(replace(STREAM, case=f"c {t}", text=t, details=(t,)), settings={t: t}, base=t) for t in HOSTILE]
    for number, verdict in enumerate(verdicts):
        (tmp_path / f"{number}.xml").write_text(junit.render(verdict, warnings_fail=bool(number % 2))[""])
    done = run.run(["xmllint", "--noout", "--schema", schema, *(str(p) for p in sorted(tmp_path.glob("*.xml")))])
    assert done.returncode == 0, done.stderr.decode()
    broken = tmp_path / "broken.xml"
    broken.write_text(junit.render(ALL)[""].replace(' hostname="29062a1b36ce"', "", 1))
    assert run.run(["xmllint", "--noout", "--schema", schema, str(broken)]).returncode != 0


# ---- GitLab, CSV ----


def issues(verdict: Verdict) -> list[dict[str, Any]]:
    schema = json.loads((locate.results() / "schema" / "consumers" / "gitlab-codequality.json").read_text())
    found: list[dict[str, Any]] = json.loads(gitlab.code_quality(verdict)[""])
    jsonschema.Draft202012Validator(schema).validate(found)
    assert len({i["fingerprint"] for i in found}) == len(found)
    return found


def test_code_quality() -> None:
    found = issues(ALL)
    assert {i["severity"] for i in found} == {"blocker", "critical", "minor", "info"} and len(found) == 7
    stream = next(i for i in found if i["check_name"] == "pxarbench-encodings")
    assert stream["location"] == {"path": "results/golden/encodings.csv", "lines": {"begin": 1}}
    assert issues(made(replace(STREAM, line=17)))[0]["location"]["lines"]["begin"] == 17
    assert stream["description"] == "encodings tree v2 payload: differs"
    assert issues(made(EXACT[1])) == []
    for issue in found:
        assert (locate.REPOSITORY / Path(issue["location"]["path"]).parent).is_dir()


def test_fingerprints_stay_while_the_trouble_is_the_same() -> None:
    one, other = issues(made(EXACT[0])), issues(made(replace(EXACT[0], head=7, text="was 1,000, is 7")))
    assert one[0]["fingerprint"] == other[0]["fingerprint"]
    assert one[0]["fingerprint"] != issues(made(replace(EXACT[0], case="another")))[0]["fingerprint"]
    assert len(issues(made(EXACT[0], EXACT[0]))) == 2


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_breaks_gitlab(text: str) -> None:
    verdict = made(replace(EXACT[0], case=text, name=text, text=text, head=3), head=text)
    assert issues(verdict)
    families = export_grammars.open_metrics(gitlab.metrics(verdict)[""])
    assert len(families["pxarbench_value"].samples) == 1


def test_metrics_are_exact_numbers_only() -> None:
    families = export_grammars.open_metrics(gitlab.metrics(ALL)[""])
    values = {dict(labels)["name"]: value for (_, labels), value in families["pxarbench_value"].samples.items()}
    assert values == {"padding": 1031, "injected": 5, "stored": 2_000_000_000}
    levels = {(dict(l)["gate"], dict(l)["level"]): v for (_, l), v in families["pxarbench_findings"].samples.items()}
    assert levels["counters", "regression"] == 2 and levels["time", "ok"] == 1 and ("instructions", "ok") not in levels
    assert len(export_grammars.open_metrics(gitlab.metrics(made(EXACT[0], EXACT[0]))[""])["pxarbench_value"].samples) == 1


def test_prometheus_reads_the_metrics() -> None:
    parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="python3-prometheus-client is not installed")
    families = list(parser.text_string_to_metric_families(gitlab.metrics(ALL)[""]))
    assert [f.name for f in families] == ["pxarbench_value", "pxarbench_findings"]


def test_findings_as_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(table.findings(ALL)[""], newline="")))
    assert len(rows) == len(ALL.all_findings) and rows[0]["name"] == "padding" and rows[0]["head"] == "1031"
    noisy = next(r for r in rows if r["level"] == "inconclusive")
    assert (noisy["change"], noisy["rounds"], noisy["unit"]) == ("0.05", "10", "ns") and rows[2]["head"] == ""


@pytest.mark.parametrize("wanted", [f for f in formats.FORMATS.values() if f.verdict is not None], ids=lambda f: f.name)
@pytest.mark.parametrize(
    "verdict", [ALL, MANY, made(), made(executed=(), required=())], ids=["all", "many", "empty", "nothing"]
)
def test_every_format_takes_every_verdict(wanted: formats.Format, verdict: Verdict) -> None:
    assert wanted.verdict is not None
    for strict in (False, True):
        files = wanted.verdict(verdict, strict)
        assert files.keys() == {""} and files == wanted.verdict(verdict, strict)
