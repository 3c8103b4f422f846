"""For services that keep numbers over time: github-action-benchmark, and the Bencher Metric Format.

Both draw a line per name, so a name must mean the same in every run: it is the case and the quantity. Where a benchmark itself
changed, its version in `extra` (github-action-benchmark) tells; Bencher has no place for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .plainly import dumps
from .series import Better, Export, Quantity, Samples, Series, host_words

SMALLER, BIGGER = "smaller-is-better.json", "bigger-is-better.json"

#: In dashboards nanoseconds are milliseconds: whole commands take at least some.
_SCALE = {"ns": (1e6, "ms"), "bytes/s": (2**20, "MiB/s")}


def _scaled(value: float, quantity: Quantity) -> int | float:
    factor, _ = _SCALE.get(quantity.unit, (1, ""))
    return value if factor == 1 else value / factor


def _unit(quantity: Quantity) -> str:
    return _SCALE.get(quantity.unit, (1, quantity.unit))[1]


def _entry(export: Export, series: Series, samples: Samples) -> dict[str, Any]:
    quantity = samples.quantity
    entry: dict[str, Any] = {
        "name": f"{series.name} {quantity.name}",
        "unit": _unit(quantity),
        "value": _scaled(samples.median, quantity),
    }
    interval = samples.interval
    if interval is not None:
        half = (interval.high - interval.low) / 2
        entry["range"] = f"± {_scaled(half, quantity):.4g}"
    entry["extra"] = "\n".join((
        f"{len(samples.values)} runs, median{'' if interval is None else ', interval of 95 %'}",
        f"benchmark version {series.version}",
        f"host {export.machine}: {host_words(export.host)}",
    ))  # fmt: skip
    return entry


def github(export: Export) -> Mapping[str, str]:
    """Two files, one for each direction: `customSmallerIsBetter` and `customBiggerIsBetter`."""

    def of(better: Better) -> list[dict[str, Any]]:
        pairs = [(series, samples) for series in export.series for samples in series.samples]
        return [_entry(export, series, samples) for series, samples in pairs if samples.quantity.better == better]

    return {SMALLER: dumps(of("lower")), BIGGER: dumps(of("higher"))}


#: Bencher's own measure of time, in nanoseconds; all others are made when they first appear.
_MEASURES = {"wall": "latency"}


def _measure(quantity: Quantity) -> str:
    if quantity.name in _MEASURES:
        return _MEASURES[quantity.name]
    unit = {"bytes/s": "bytes-per-second"}.get(quantity.unit, quantity.unit)
    name = quantity.name.replace("_", "-")
    return name if name.endswith(unit) else f"{name}-{unit}"


def bencher(export: Export) -> Mapping[str, str]:
    """Bencher Metric Format: benchmark -> measure -> value with its interval."""
    found: dict[str, dict[str, dict[str, int | float]]] = {}
    for series in export.series:
        measures = found.setdefault(series.name, {})
        for samples in series.samples:
            metric: dict[str, int | float] = {"value": samples.median}
            interval = samples.interval
            if interval is not None:
                # The median of few samples may lie at an end of its interval; rounding must not put it outside.
                metric["lower_value"] = min(interval.low, samples.median)
                metric["upper_value"] = max(interval.high, samples.median)
            measures[_measure(samples.quantity)] = metric
    return {"": dumps(found)}
