"""The golden counters, a dataset at a time: what ci/gate counters compares, as part of every test run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pxarbench_harness import measure
from pxarbench_harness.gates import cases, counters
from pxarbench_harness.gates.verdict import Level


@pytest.mark.parametrize("group", cases.GROUPS, ids=lambda group: group.recipe.name)
def test_counters_are_golden(group: cases.Group, pxarbench: Path, tmp_path: Path) -> None:
    if not measure.version_of("hyperfine"):
        pytest.skip("hyperfine is not installed")
    found, executed, _ = counters.run(pxarbench, tmp_path, groups=[group])
    assert [f"{f.case} {f.name}: {f.text}" for f in found if f.level is not Level.OK] == []
    assert len(executed) == len(group.mutations) * len(group.modes)
