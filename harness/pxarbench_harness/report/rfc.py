"""The text of the seed's benchmark (harness/README.md, "The seed's benchmark"), with its flaws mended.

`text` is its format to the byte; a single run prints n/a where the original divided by zero. `addendum` says what the
original left out or mislabelled: its ± of a difference is the deviation of one run, not of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import stats
from ..record import Record
from .build import find, series

PLUS_MINUS = "±"


def _two(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def _block(title: str, s: stats.Summary) -> str:
    return (
        f"\nCompleted {title} with:\n"
        f"Total runtime: {_two(s.total)} s\n"
        f"Average: {_two(s.mean)} {PLUS_MINUS} {_two(s.sd)} s\n"
        f"Min: {_two(s.minimum)} s\n"
        f"Max: {_two(s.maximum)} s\n"
    )


def _delta(name: str, metadata: float, regular: float, spread: str = "") -> str:
    percent = f"{100 * (metadata / regular - 1):.2f} %" if regular else "n/a"
    return f"Delta {name}: {_two(metadata - regular)}{spread} s ({percent})\n"


def text(regular: Sequence[float], metadata: Sequence[float]) -> str:
    """Seconds of both series. ValueError: "at least 1" run each, and as many of one as of the other."""
    if not regular or not metadata:
        raise ValueError("number of runs must be at least 1")
    if len(regular) != len(metadata):
        raise ValueError(f"{len(regular)} regular runs and {len(metadata)} metadata runs: both must be equally many")
    a, b = stats.summary(regular), stats.summary(metadata)
    return (
        f"\nCompleted benchmark with {a.n} runs for each tested mode.\n"
        + _block("regular backup", a)
        + _block("metadata detection mode backup", b)
        + "\nDifferences (metadata based - regular):\n"
        + _delta("total runtime", b.total, a.total)
        + _delta("average", b.mean, a.mean, f" {PLUS_MINUS} {_two(stats.root_sum(a.sd, b.sd))}")
        + _delta("min", b.minimum, a.minimum)
        + _delta("max", b.maximum, a.maximum)
    )


def addendum(regular: Sequence[float], metadata: Sequence[float], *, seed: int = 1) -> str:
    a, b = stats.summary(regular, seed), stats.summary(metadata, seed)
    share = stats.median_ratio(metadata, regular, paired=True, seed=seed)

    def ranged(value: float, interval: stats.Interval | None) -> str:
        where = "n/a" if interval is None else f"{interval.low:.3f} .. {interval.high:.3f}"
        return f"{value:.3f} ({round(stats.CONFIDENCE * 100)} % interval: {where})"

    return (
        "\nNot in the original text:\n"
        f"Median regular: {ranged(a.median, a.interval)} s\n"
        f"Median metadata: {ranged(b.median, b.interval)} s\n"
        f"Ratio of medians (metadata / regular): {ranged(share.value, share.interval)}\n"
        f"Delta average, standard deviation of one run: {_two(stats.root_sum(a.sd, b.sd))} s\n"
        "Delta average, standard error of the mean: "
        f"{_two(stats.root_sum(stats.mean_error(regular), stats.mean_error(metadata)))} s\n"
        "Regular is mode data: format 1 archives are not written yet.\n"
    )


def from_records(records: Sequence[Record], *, seed: int = 1) -> str:
    """One text per dataset and mutation that has both series; a line with its name above when there are several."""
    together: dict[tuple[str, str], list[Record]] = {}
    for r in records:
        together.setdefault((r.dataset["name"], r.mutation["text"]), []).append(r)
    parts = []
    for (dataset, mutation), runs in together.items():
        group = series(runs)
        regular, metadata = find(group, "pxarbench", "data"), find(group, "pxarbench", "metadata")
        if regular is None or metadata is None or len(regular.runs) != len(metadata.runs):
            continue
        body = text(regular.seconds, metadata.seconds) + addendum(regular.seconds, metadata.seconds, seed=seed)
        parts.append((f"{dataset}, {mutation}", body))
    if len(parts) == 1:
        return parts[0][1]
    return "\n".join(f"{name}\n{body}" for name, body in parts)
