"""JSON as `hyperfine --export-json` writes it (1.15): for its plotting and statistics scripts, and what else reads that.

Seconds. `user` and `system` are means, as there. A command's name is the case; what it is made of stands in `parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import stats
from .plainly import dumps
from .series import Export, Series


def _result(series: Series) -> dict[str, Any]:
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
