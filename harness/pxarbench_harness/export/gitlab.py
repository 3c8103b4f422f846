"""A verdict for GitLab's merge requests: a code quality report (what is wrong), and a metrics report (exact numbers, compared
with those of the target branch as texts)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..gates import show
from ..gates.verdict import GATES, Finding, Level, Verdict
from ..report.model import plain
from . import openmetrics
from .plainly import dumps

_SEVERITIES = {
    Level.ERROR: "blocker", Level.REGRESSION: "critical", Level.WARNING: "minor", Level.INCONCLUSIVE: "minor",
    Level.IMPROVED: "info",
}  # fmt: skip

#: GitLab wants a file of the repository; what is about none is put at the harness's description.
_NOWHERE = "harness/README.md"


def _fingerprint(finding: Finding, number: int) -> str:
    """Equal for the same trouble in the next pipeline, whatever the values: GitLab shows what is new, and what is gone."""
    what = "\0".join((finding.gate, finding.case, finding.name, finding.level.value, str(number)))
    return hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest()


def code_quality(verdict: Verdict) -> Mapping[str, str]:
    issues: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for finding in verdict.all_findings:
        severity = _SEVERITIES.get(finding.level)
        if severity is None:
            continue
        about = show.subject(finding)
        seen[about] = seen.get(about, 0) + 1
        issues.append({
            "description": f"{about}: {plain(finding.text)}",
            "check_name": f"pxarbench-{finding.gate}",
            "fingerprint": _fingerprint(finding, seen[about]),
            "severity": severity,
            "location": {"path": show.path_of(verdict, finding) or _NOWHERE, "lines": {"begin": finding.line or 1}},
        })  # fmt: skip
    return {"": dumps(issues)}


def _values(verdict: Verdict) -> Iterator[str]:
    seen = set()
    for finding in verdict.all_findings:
        # What is measured differs every time, and would hide among itself what changed.
        if finding.rounds is not None or finding.change is not None or not isinstance(finding.head, int):
            continue
        said = openmetrics.labels({name: plain(getattr(finding, name)) for name in ("gate", "case", "name", "unit")})
        if said not in seen:
            seen.add(said)
            yield f"pxarbench_value{said} {finding.head}"


def metrics(verdict: Verdict) -> Mapping[str, str]:
    """OpenMetrics text: exact values of the head, and how many findings of which level each gate has."""
    lines = [*openmetrics.head("pxarbench_value", "gauge", "", "Exact numbers of the build."), *_values(verdict)]
    lines += openmetrics.head("pxarbench_findings", "gauge", "", "Comparisons of each gate by how they came out.")
    for gate in GATES:
        found = [f.level for f in verdict.all_findings if f.gate == gate]
        for level in Level if found else ():
            said = openmetrics.labels({"gate": gate, "level": level.value})
            lines.append(f"pxarbench_findings{said} {found.count(level)}")
    return {"": "\n".join([*lines, "# EOF"]) + "\n"}
