"""OpenMetrics 1.0 text, for Prometheus and what else scrapes files. Of types only those that its older format has, too, so that
what reads that (node_exporter's textfile collector) reads it as well.

Measured quantities are summaries with the quantiles 0, 0.5 and 1 (the fastest, the median, the slowest run); exact ones are
gauges. Base units: seconds and bytes. No time stamps: whoever reads the file gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .series import QUANTITIES, Export, Quantity, Samples, Series, host_words

_PREFIX = "pxarbench"
_UNITS = {"ns": "seconds", "bytes": "bytes", "files": "files", "chunks": "chunks", "bytes/s": "bytes_per_second"}


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def labels(pairs: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{escaped(text)}"' for name, text in pairs.items()) + "}"


def number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


def _family(quantity: Quantity) -> str:
    unit = _UNITS[quantity.unit]
    return f"{_PREFIX}_{quantity.name}" if quantity.name.endswith(unit) else f"{_PREFIX}_{quantity.name}_{unit}"


def _value(value: float, quantity: Quantity) -> float:
    return value / 1e9 if quantity.unit == "ns" else value


def head(family: str, kind: str, unit: str, text: str) -> Iterator[str]:
    yield f"# TYPE {family} {kind}"
    if unit:
        yield f"# UNIT {family} {unit}"
    yield f"# HELP {family} {escaped(text)}"


def _summary(family: str, said: Mapping[str, str], samples: Samples) -> Iterator[str]:
    values = [_value(value, samples.quantity) for value in samples.values]
    ends = (("0.0", min(values)), ("0.5", _value(samples.median, samples.quantity)), ("1.0", max(values)))
    for quantile, value in ends:
        yield f"{family}{labels({**said, 'quantile': quantile})} {number(value)}"
    yield f"{family}_count{labels(said)} {len(values)}"
    yield f"{family}_sum{labels(said)} {number(sum(values))}"


def _of(quantity: Quantity, found: Iterable[tuple[Series, Samples]]) -> Iterator[str]:
    family = _family(quantity)
    rows = [(series, samples) for series, samples in found if samples.quantity is quantity]
    if not rows:
        return
    # Exact ones of programs that draw lots differ from run to run: for a gauge they all must agree.
    is_gauge = quantity.exact and all(samples.agrees for _, samples in rows)
    yield from head(family, "gauge" if is_gauge else "summary", _UNITS[quantity.unit], quantity.text)
    for series, samples in rows:
        said = {"case": series.name, **series.labels}
        if is_gauge:
            yield f"{family}{labels(said)} {number(_value(samples.median, quantity))}"
        else:
            yield from _summary(family, said, samples)


def render(export: Export) -> Mapping[str, str]:
    session = {
        "session": export.session, "started": export.started, "commit": export.commit,
        "machine": export.machine, "host": host_words(export.host),
    }  # fmt: skip
    told, versions = f"{_PREFIX}_session_info", f"{_PREFIX}_benchmark_info"
    lines = [*head(told, "gauge", "", "Where the numbers come from."), f"{told}{labels(session)} 1"]
    lines += head(versions, "gauge", "", "Version of each case: numbers of different versions must not be compared.")
    lines += [f"{versions}{labels({'case': series.name, 'version': series.version})} 1" for series in export.series]
    found = [(series, samples) for series in export.series for samples in series.samples]
    for quantity in QUANTITIES:
        lines += _of(quantity, found)
    return {"": "\n".join([*lines, "# EOF"]) + "\n"}
