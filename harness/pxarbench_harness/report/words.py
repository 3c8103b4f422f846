"""Numbers as words of a report."""

from __future__ import annotations

from .. import stats

MIB = 2**20
PERCENT = round(stats.CONFIDENCE * 100)
UNKNOWN = "–"


def seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.2f}"


def mib(value: float | None) -> str:
    """Without its unit, for columns that name it."""
    return UNKNOWN if value is None else f"{value / MIB:,.1f}"


def count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def ranged(value: float, interval: stats.Interval | None, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text if interval is None else f"{text} ({interval.low:.{digits}f} .. {interval.high:.{digits}f})"


def size(value: float | None) -> str:
    """Small numbers exactly: 16 bytes must not read as 0.0 MiB."""
    if value is None:
        return UNKNOWN
    if value < 100_000:
        return f"{value:,.0f} B"
    return f"{value / MIB:,.2f} MiB" if value < 10_000 * MIB else f"{value / 2**30:,.1f} GiB"


def percent(share: float | None) -> str:
    """Three significant digits, as far as they tell something."""
    if share is None:
        return UNKNOWN
    value = 100 * share
    if value == 0:
        return "0 %"
    if abs(value) < 0.01:
        return f"{value:.4f} %"
    if abs(value) < 1:
        return f"{value:.3f} %"
    return f"{value:.2f} %" if abs(value) < 10 else f"{value:.1f} %"


def share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def many(number: int, one: str, more: str = "") -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"
