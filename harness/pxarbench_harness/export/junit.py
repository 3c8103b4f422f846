"""A verdict as JUnit XML, for what shows tests: a suite per gate, a test per finding.

A regression is a failure, trouble of the tool an error, what cannot be told is skipped with the reason. Warnings and
improvements pass, with their sentence as output. results/schema/consumers/junit.xsd describes it: the form of Ant's task, which
GitLab, Jenkins and GitHub actions all read.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator, Mapping

from ..gates import show
from ..gates.verdict import GATES, Finding, Level, Verdict
from ..report.model import plain
from .plainly import single_line

_ELEMENTS = {Level.REGRESSION: "failure", Level.ERROR: "error", Level.INCONCLUSIVE: "skipped"}


def _body(finding: Finding) -> str:
    """All there is to know of it, for who opens it."""
    sides = (("base", finding.base), ("head", finding.head))
    lines = [show.sentence(finding), *(plain(f"{name}: {show.value(side, finding.unit, exact=True)}") for name, side in sides)]
    for name in ("detectable", "limit"):
        share = getattr(finding, name)
        if share is not None:
            lines.append(f"{name}: {100 * share:.2f} %")
    return "\n".join([*lines, *map(plain, finding.details)])


def _case(parent: ElementTree.Element, finding: Finding, name: str, *, warnings_fail: bool) -> None:
    seconds = 0.0
    if finding.unit == "ns" and isinstance(finding.head, int | float):
        seconds = finding.head / 1e9
    case = ElementTree.SubElement(parent, "testcase", classname=f"pxarbench.{finding.gate}", name=name, time=f"{seconds:.6f}")
    element = _ELEMENTS.get(finding.level)
    if element is None and finding.level is Level.WARNING and warnings_fail:
        element = "failure"
    if element == "skipped":
        ElementTree.SubElement(case, element, message=show.sentence(finding))
    elif element is not None:
        ElementTree.SubElement(case, element, type=finding.level.value, message=show.sentence(finding)).text = _body(finding)
    if element in (None, "skipped") and finding.level is not Level.OK:
        ElementTree.SubElement(case, "system-out").text = _body(finding)


def _names(findings: list[Finding]) -> Iterator[str]:
    """Readers keep the first of equal names only: the later ones get a number."""
    taken: set[str] = set()
    tried: Counter[str] = Counter()
    for finding in findings:
        name = free = single_line(plain(f"{finding.case} {finding.name}")) or "all"
        while free in taken:
            tried[name] += 1
            free = f"{name} ({tried[name] + 1})"
        taken.add(free)
        yield free


def render(verdict: Verdict, *, warnings_fail: bool = False) -> Mapping[str, str]:
    root = ElementTree.Element("testsuites", name=f"pxarbench {verdict.kind}")
    totals: Counter[str] = Counter()
    for number, gate in enumerate(gate for gate in GATES if any(f.gate == gate for f in verdict.all_findings)):
        findings = [f for f in verdict.all_findings if f.gate == gate]
        suite = ElementTree.SubElement(
            root, "testsuite", name=f"pxarbench.{gate}", package="pxarbench", id=str(number),
            timestamp=verdict.started[:19], hostname=single_line(plain(verdict.host_fingerprint)) or "unknown",
        )  # fmt: skip
        properties = ElementTree.SubElement(suite, "properties")
        known = {"base": verdict.base, "head": verdict.head, "commit": verdict.head_commit}
        # What is more than a few words stands in verdict.json.
        said = {name: value for name, value in sorted(verdict.settings.items()) if isinstance(value, str | int | float)}
        known |= {name: str(value) for name, value in said.items() if name not in known}
        for name, value in known.items():
            ElementTree.SubElement(properties, "property", name=single_line(plain(name)), value=plain(value))
        for finding, name in zip(findings, _names(findings), strict=True):
            _case(suite, finding, name, warnings_fail=warnings_fail)
        ElementTree.SubElement(suite, "system-out")
        ElementTree.SubElement(suite, "system-err")
        counted = {
            "tests": len(findings), "failures": len(suite.findall("testcase/failure")),
            "errors": len(suite.findall("testcase/error")), "skipped": len(suite.findall("testcase/skipped")),
        }  # fmt: skip
        totals.update(counted)
        for name, count in counted.items():
            suite.set(name, str(count))
        suite.set("time", f"{sum(float(case.get('time', '0')) for case in suite.findall('testcase')):.6f}")
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(totals[name]))
    ElementTree.indent(root, " ")
    # Written here: what the module would declare depends on the locale.
    return {"": '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"}
