"""The formats there are, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..gates import show
from ..gates.verdict import Verdict
from . import asv, dashboards, gitlab, gobench, hyperfine, junit, openmetrics, table
from .series import Export

#: Name of the file within a folder -> contents; "" is the only file, which has no name of its own.
Files = Mapping[str, str]


@dataclass(frozen=True)
class Format:
    """Made from a session, a verdict, or either."""

    name: str
    text: str  # one line: what it is, and who reads it
    session: Callable[[Export], Files] | None = None
    #: Told whether warnings are failures.
    verdict: Callable[[Verdict, bool], Files] | None = None
    is_folder: bool = False  # several files: -o names a folder
    #: Of (name, the file that is there, the new one): both together. ValueError. None: the new one replaces it.
    merged: Callable[[str, str, str], str] | None = None

    @property
    def sources(self) -> str:
        return " or ".join(name for name, made in (("session", self.session), ("verdict", self.verdict)) if made is not None)


def _only(text: str) -> Files:
    return {"": text}


FORMATS = {one.name: one for one in (
    Format("hyperfine", "JSON of `hyperfine --export-json` 1.x, for its scripts", hyperfine.render),
    Format("hyperfine-2", "the same of 2.x, where scripts of 1.x find nothing", hyperfine.render_2),
    Format("github-action-benchmark", "two files: customSmallerIsBetter and customBiggerIsBetter", dashboards.github,
           is_folder=True),
    Format("bencher", "Bencher Metric Format: `bencher run --adapter json`", dashboards.bencher),
    Format("benchstat", "text of Go's benchmarks, a line per run", gobench.render),
    Format("asv", "airspeed velocity: benchmarks.json, machine.json, results", asv.render, is_folder=True,
           merged=asv.merged),
    Format("openmetrics", "OpenMetrics text: Prometheus and others", openmetrics.render),
    Format("csv", "a row per measured run, or per finding", table.render, lambda v, _: table.findings(v)),
    Format("junit", "XML of tests: regression = failure, trouble = error, inconclusive = skipped",
           verdict=lambda v, strict: junit.render(v, warnings_fail=strict)),
    Format("markdown", "job summary or comment, at most 60,000 characters",
           verdict=lambda v, strict: _only(show.markdown(v, warnings_fail=strict))),
    Format("text", "as on a terminal", verdict=lambda v, strict: _only(show.text(v, warnings_fail=strict))),
    Format("annotations", "GitHub's workflow commands, for the output of a step",
           verdict=lambda v, _: _only(show.annotations(v))),
    Format("gitlab-codequality", "GitLab's code quality report", verdict=lambda v, _: gitlab.code_quality(v)),
    Format("gitlab-metrics", "GitLab's metrics report: exact numbers", verdict=lambda v, _: gitlab.metrics(v)),
)}  # fmt: skip
