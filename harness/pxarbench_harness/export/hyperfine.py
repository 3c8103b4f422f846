"""JSON as `hyperfine --export-json` writes it: for its plotting and statistics scripts, and what else reads that.

Two forms, for the scripts of each read their own only: that of 1.x (here as of 1.15), and that of 2.x ("schema_version": 2),
which has every quantity of every run. Seconds and bytes. A command's name is the case; what it is made of stands in `parameters`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import stats
from ..record import Record
from .plainly import dumps
from .series import Export, Series


def _result(series: Series) -> dict[str, Any]:
    """`user` and `system` are means, as there."""
    times = [run.wall_ns / 1e9 for run in series.runs]
    return {
        "command": series.name,
        "mean": stats.mean(times),
        "stddev": stats.deviation(times),
        "median": series.of("wall").median / 1e9,
        "user": stats.mean([run.user_ns / 1e9 for run in series.runs]),
        "system": stats.mean([run.system_ns / 1e9 for run in series.runs]),
        "min": min(times),
        "max": max(times),
        "times": times,
        "exit_codes": [run.exit_code for run in series.runs],
        "parameters": series.labels,
    }


def render(export: Export) -> Mapping[str, str]:
    return {"": dumps({"results": [_result(series) for series in export.series]})}


# ---- 2.x ----

#: Its metrics that we have: unit, and how to take it from a run.
_METRICS: dict[str, tuple[str, Callable[[Record], float]]] = {
    "time_wall_clock": ("second", lambda run: run.wall_ns / 1e9),
    "time_cpu": ("second", lambda run: (run.user_ns + run.system_ns) / 1e9),
    "time_user": ("second", lambda run: run.user_ns / 1e9),
    "time_system": ("second", lambda run: run.system_ns / 1e9),
    "memory_peak_resident": ("byte", lambda run: float(run.peak_rss_bytes)),
}


def _measurement(run: Record) -> dict[str, Any]:
    values: dict[str, Any] = {name: {"value": of(run), "unit": unit} for name, (unit, of) in _METRICS.items()}
    return {**values, "exit_code": run.exit_code}


def _summary(unit: str, values: Sequence[float]) -> dict[str, Any]:
    return {
        "unit": unit, "count": len(values), "mean": stats.mean(values), "stddev": stats.deviation(values),
        "median": statistics.median(values), "min": min(values), "max": max(values),
    }  # fmt: skip


def _result_2(series: Series) -> dict[str, Any]:
    return {
        "command": " ".join(series.first.command),
        "name": series.name,
        "measurements": [_measurement(run) for run in series.runs],
        "parameters": {name: {"value": text} for name, text in series.labels.items()},
        "summary": {name: _summary(unit, [of(run) for run in series.runs]) for name, (unit, of) in _METRICS.items()},
    }


def render_2(export: Export) -> Mapping[str, str]:
    # The version of the one that measured, which may be older than the form.
    measured_by = str(export.host["tools"].get("hyperfine", "")).removeprefix("hyperfine ")
    metadata = {"hyperfine_version": measured_by, "start_time": export.started, "platform": {"os": "linux", "architecture": ""}}
    results = [_result_2(series) for series in export.series]
    return {"": dumps({"schema_version": 2, "metadata": metadata, "primary_metric": "time_wall_clock", "results": results})}
