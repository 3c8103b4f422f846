"""Results as asv (airspeed velocity) keeps them, for `asv publish` and `asv compare`: a folder to merge into its results_dir.

    benchmarks.json                        what each benchmark is
    MACHINE/machine.json                   the machine; its name is a fingerprint in which the program has no part
    MACHINE/COMMIT-pxarbench.json          the numbers of one commit

asv draws against the commit's date and needs the whole hash; without git beside it the session's start and the short hash stand
in, and `asv publish` will not find the commit. A benchmark's version keeps asv from joining numbers of different benchmarks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .plainly import dumps, word
from .series import Export, Quantity, Samples, Series

ENVIRONMENT = "pxarbench"
BENCHMARKS = "benchmarks.json"
COLUMNS = (
    "result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b", "stats_q_25", "stats_q_75",
    "stats_number", "stats_repeat", "samples", "profile",
)  # fmt: skip

#: asv's kinds: time in seconds, peak memory in bytes, anything else is "tracked". It takes less to be better.
_KINDS = {"ns": ("time", "seconds"), "bytes": ("track", "bytes")}


def _kind(quantity: Quantity) -> tuple[str, str]:
    if quantity.name == "peak_rss":
        return "peakmemory", "bytes"
    return _KINDS.get(quantity.unit, ("track", quantity.unit))


def _name(series: Series, quantity: Quantity) -> str:
    """`backup.CASE.time_wall`: asv makes files of these names."""
    prefix = {"time": "time", "peakmemory": "peakmem", "track": "track"}[_kind(quantity)[0]]
    return f"backup.{word(series.name).replace('.', '-')}.{prefix}_{quantity.name}"


def _wanted(series: Series) -> list[Samples]:
    """asv takes every number to be better when it is less, so those that are not stay out."""
    return [samples for samples in series.samples if samples.quantity.better == "lower"]


def _digits(value: float) -> float:
    """Five of them, as asv keeps."""
    return float(f"{value:.5g}")


def _scaled(value: int | float, quantity: Quantity) -> int | float:
    return value / 1e9 if quantity.unit == "ns" else value


def _milliseconds(started: str) -> int:
    return int(datetime.fromisoformat(started.replace("Z", "+00:00")).timestamp() * 1000)


def _benchmark(series: Series, quantity: Quantity) -> dict[str, Any]:
    kind, unit = _kind(quantity)
    what = " ".join(f"{name}={text}" for name, text in series.labels.items())
    found: dict[str, Any] = {
        "name": _name(series, quantity), "type": kind, "unit": unit, "params": [], "param_names": [], "version": series.version,
        "timeout": 0, "code": f"{quantity.text} {what}",
    }  # fmt: skip
    if kind == "time":
        found |= {"number": 1, "repeat": len(series.runs), "warmup_time": 0, "sample_time": 0, "min_run_count": 1, "rounds": 1}
    return found


def _row(series: Series, samples: Samples) -> list[Any]:
    import numpy

    values = [_scaled(value, samples.quantity) for value in samples.values]
    # No column is dropped, though asv would let the empty ones at the end go.
    row: dict[str, Any] = {
        "result": [_scaled(samples.median, samples.quantity)], "params": [], "version": series.version,
        "started_at": _milliseconds(series.runs[-1].started),
        "duration": _digits(sum(run.wall_ns for run in series.runs) / 1e9),
        "stats_ci_99_a": None, "stats_ci_99_b": None, "stats_q_25": None, "stats_q_75": None, "stats_number": None,
        "stats_repeat": None, "samples": [values], "profile": None,
    }  # fmt: skip
    if not samples.quantity.exact and len(values) > 1:
        low, high = numpy.percentile(values, [25, 75])
        row |= {"stats_q_25": [_digits(low)], "stats_q_75": [_digits(high)], "stats_number": [1], "stats_repeat": [len(values)]}
    return [row[name] for name in COLUMNS]


def merged(name: str, there: str, new: str) -> str:
    """`new`, and what the file of this name holds besides: other benchmarks, other results of the same commit. ValueError: it is
    not asv's, or of something else."""
    old, made = json.loads(there), json.loads(new)
    if not isinstance(old, dict) or old.get("version") != made["version"]:
        raise ValueError(f"is no file of asv's version {made['version']}")
    if name == BENCHMARKS:
        return dumps(old | made)
    if "results" not in made:
        return new
    for what in ("commit_hash", "env_name", "result_columns"):
        if old.get(what) != made[what]:
            raise ValueError(f"has another {what}: {str(old.get(what))[:80]}")
    if not isinstance(old.get("results"), dict):
        raise ValueError("has no results")
    return dumps({**made, "results": old["results"] | made["results"]})


def render(export: Export) -> Mapping[str, str]:
    commit = export.whole_hash or export.commit.partition("+")[0]
    machine = export.machine
    pairs = [(series, samples) for series in export.series for samples in _wanted(series)]
    described = {_name(series, samples.quantity): _benchmark(series, samples.quantity) for series, samples in pairs}
    host = {
        "machine": machine, "os": str(export.host["distribution"]), "arch": "", "cpu": str(export.host["cpu"]),
        "num_cpu": str(export.host["cores"]), "ram": str(export.host["memory_bytes"]),
    }  # fmt: skip
    date = _milliseconds(export.started) if export.committed is None else export.committed * 1000
    results = {
        "version": 2, "commit_hash": commit, "env_name": ENVIRONMENT, "date": date, "params": {**host, "python": ""},
        "python": "", "requirements": {}, "env_vars": {}, "durations": {}, "result_columns": list(COLUMNS),
        "results": {_name(series, samples.quantity): _row(series, samples) for series, samples in pairs},
    }  # fmt: skip
    # The file's name is the hash's first eight digits, as asv names it.
    return {
        BENCHMARKS: dumps({"version": 2, **described}),
        f"{machine}/machine.json": dumps({"version": 1, **host}),
        f"{machine}/{word(commit)[:8]}-{ENVIRONMENT}.json": dumps(results),
    }
