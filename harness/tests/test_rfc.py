"""The text of the seed's benchmark: its published figures, from times that reproduce every printed digit."""

from __future__ import annotations

import pytest

from pxarbench_harness.report import rfc

LINUX = ([10.16, 10.17, 10.24, 10.28, 10.46], [0.951, 0.97, 0.98, 0.99, 0.9995])
COCO = ([103.44, 103.782, 104.161, 103.849, 105.487], [1.26, 1.265, 1.28, 1.355, 1.794])

LINUX_TEXT = """
Completed benchmark with 5 runs for each tested mode.

Completed regular backup with:
Total runtime: 51.31 s
Average: 10.26 ± 0.12 s
Min: 10.16 s
Max: 10.46 s

Completed metadata detection mode backup with:
Total runtime: 4.89 s
Average: 0.98 ± 0.02 s
Min: 0.95 s
Max: 1.00 s

Differences (metadata based - regular):
Delta total runtime: -46.42 s (-90.47 %)
Delta average: -9.28 ± 0.12 s (-90.47 %)
Delta min: -9.21 s (-90.64 %)
Delta max: -9.46 s (-90.44 %)
"""

COCO_TEXT = """
Completed benchmark with 5 runs for each tested mode.

Completed regular backup with:
Total runtime: 520.72 s
Average: 104.14 ± 0.79 s
Min: 103.44 s
Max: 105.49 s

Completed metadata detection mode backup with:
Total runtime: 6.95 s
Average: 1.39 ± 0.23 s
Min: 1.26 s
Max: 1.79 s

Differences (metadata based - regular):
Delta total runtime: -513.76 s (-98.66 %)
Delta average: -102.75 ± 0.83 s (-98.66 %)
Delta min: -102.18 s (-98.78 %)
Delta max: -103.69 s (-98.30 %)
"""


@pytest.mark.parametrize(("times", "expected"), [(LINUX, LINUX_TEXT), (COCO, COCO_TEXT)], ids=["linux", "coco"])
def test_published_figures_byte_for_byte(times: tuple[list[float], list[float]], expected: str) -> None:
    assert rfc.text(*times).encode() == expected.encode()
    assert "±".encode() == b"\xc2\xb1"


def test_one_run_prints_no_nan_and_no_infinity() -> None:
    text = rfc.text([2.0], [1.0]) + rfc.addendum([2.0], [1.0])
    assert "Average: 2.00 ± n/a s" in text and "Delta average: -1.00 ± n/a s (-50.00 %)" in text
    assert "nan" not in text.lower() and "inf" not in text.lower()


def test_no_run_is_refused_with_the_right_words() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rfc.text([], [])
    with pytest.raises(ValueError, match="2 regular runs and 1 metadata"):
        rfc.text([1.0, 2.0], [1.0])


def test_both_uncertainties_are_printed_and_named() -> None:
    text = rfc.addendum(*LINUX)
    assert "standard deviation of one run: 0.12 s" in text
    assert "standard error of the mean: 0.05 s" in text
    assert "Ratio of medians (metadata / regular): 0.096" in text
