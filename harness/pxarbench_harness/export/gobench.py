"""The text format of Go's benchmarks, for benchstat: a line per run, so that it can do its own statistics.

    benchstat base.txt head.txt

Grammar: https://golang.org/design/14313-benchmark-format, and the unit lines of golang.org/x/perf/benchfmt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..report.model import plain
from .plainly import single_line, word
from .series import QUANTITIES, Export, Quantity, Series, host_words

#: benchstat scales what ends in ns or B, and knows which way is better only where it is told.
_UNITS = {"ns": "ns/op", "bytes": "B/op", "files": "files/op", "chunks": "chunks/op", "bytes/s": "B/s"}
_OWN = {"wall": "ns/op", "throughput": "B/s"}


def unit(quantity: Quantity) -> str:
    """`user-ns/op`: a description, then the unit."""
    if quantity.name in _OWN:
        return _OWN[quantity.name]
    described = quantity.name.replace("_", "-").removesuffix("-chunks")
    return f"{described}-{_UNITS[quantity.unit]}"


def _unit_line(quantity: Quantity) -> str:
    return f"Unit {unit(quantity)} better={quantity.better} assume={'exact' if quantity.exact else 'nothing'}"


def _names(series: Sequence[Series]) -> list[str]:
    """BenchmarkBackup/key=value/...: no spaces, no slash but between the parts, no -N at the end, which would be a number of
    threads. The version is a part of it: benchstat compares what has the same name."""
    names = []
    for one in series:
        parts = [f"{name}={word(text, ':%,+*@')}" for name, text in one.labels.items() if name != "cache"]
        names.append("/".join(["BenchmarkBackup", *parts, f"version={one.version}", f"cache={one.first.cache}"]))
    # Other letters may have made two equal that are not.
    return [
        name if names.count(name) == 1 else f"{name}/case={word(one.name)}." for name, one in zip(names, series, strict=True)
    ]


def render(export: Export) -> Mapping[str, str]:
    # Only what must be equal is configuration: benchstat makes a table of its own for each configuration.
    lines = [
        f"# session {single_line(export.session)}, started {export.started}, commit {single_line(export.commit)}",
        f"# {single_line(host_words(export.host))}",
        f"host: {export.machine}",
        f"cpu: {single_line(plain(export.host['cpu'])) or 'unknown'}",
        "",
    ]
    known = {samples.quantity.name for series in export.series for samples in series.samples}
    lines += [_unit_line(quantity) for quantity in QUANTITIES if quantity.name in known]
    lines.append("")
    for series, name in zip(export.series, _names(export.series), strict=True):
        for number in range(len(series.runs)):
            values = [f"{_number(samples.values[number])} {unit(samples.quantity)}" for samples in series.samples]
            lines.append(" ".join([name, "1", *values]))
    return {"": "\n".join(lines) + "\n"}


def _number(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6f}"
