"""Two streams side by side in hex: rows of 16 bytes around the place where they part, differing bytes marked."""

from __future__ import annotations

ROW = 16
ROWS_BEFORE, ROWS_MAX = 1, 5


def first_difference(old: bytes, new: bytes) -> int | None:
    """Offset of the first byte that only one side has, or that differs. None: equal."""
    if old == new:
        return None
    shorter = min(len(old), len(new))
    low, high = 0, shorter  # the first difference is in [low, high], high: none in what both have
    while low < high:
        middle = (low + high) // 2
        if old[low : middle + 1] == new[low : middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low


def row(data: bytes, offset: int) -> str:
    part = data[offset : offset + ROW]
    return f"{offset:08x}  {part.hex(' '):<{ROW * 3 - 1}}  |{''.join(chr(c) if 32 <= c < 127 else '.' for c in part)}|"


def _marks(old: bytes, new: bytes, offset: int) -> str:
    a, b = old[offset : offset + ROW], new[offset : offset + ROW]
    return " ".join("^^" if a[i : i + 1] != b[i : i + 1] else "  " for i in range(ROW)).rstrip()


def windows(old: bytes, new: bytes, offset: int, names: tuple[str, str] = ("golden", "found")) -> tuple[str, ...]:
    """Lines: the old window, the new one, and under each row of the new one what differs from the old.

    `offset`: the first difference. A side that ended before says so.
    """
    begin = max(0, offset - offset % ROW - ROW_BYTES_BEFORE)
    width = max(map(len, names))
    ats = range(begin, begin + ROWS_MAX * ROW, ROW)
    lines = []
    for name, data in zip(names, (old, new), strict=True):
        shown = 0
        for at in ats:
            if at < len(data):
                lines.append(f"{name:<{width}}  {row(data, at)}")
                shown += 1
                if data is new and (marks := _marks(old, new, at)):
                    lines.append(f"{'':<{width}}  {'':8}  {marks}")
        if begin + shown * ROW >= len(data) and shown < len(ats):
            lines.append(f"{name:<{width}}  (ends at {len(data)})")
    return tuple(lines)


ROW_BYTES_BEFORE = ROWS_BEFORE * ROW
