"""Golden encodings, an item per case: `pytest harness/suites/regress_encoding.py -k chunks-metadata`.

The same as `ci/gate encodings`, for people who know pytest: each case's streams, cuts, index files and manifest are, byte for
byte, those of results/golden (pxarbench_harness/gates/encodings.py). All cases run once, in a few seconds, before the first.
`ci/gate encodings --bless --reason TEXT` makes new streams golden.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pxarbench_harness.gates import encodings
from pxarbench_harness.gates.verdict import Finding, Level

LEFT_OUT = (Level.WARNING, Level.INCONCLUSIVE)


@pytest.fixture(scope="session")
def ran(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[Finding]], set[str]]:
    found, executed = encodings.run(pxarbench, tmp_path_factory.mktemp("encodings"))
    by_case: dict[str, list[Finding]] = {}
    for finding in found:
        by_case.setdefault(finding.case, []).append(finding)
    return by_case, set(executed)


@pytest.mark.parametrize("case", encodings.cases())
def test_encoding(case: str, ran: tuple[dict[str, list[Finding]], set[str]]) -> None:
    findings, executed = ran
    of_case = findings.get(case, [])
    if case not in executed:  # it cannot run here; one that ran and has nothing golden is no skip
        for finding in of_case:
            if finding.level in LEFT_OUT:
                pytest.skip(f"{case} {finding.text}")
    wrong = [f for f in of_case if f.level is not Level.OK]
    assert of_case and not wrong, "\n".join("\n  ".join((f"{f.name}: {f.text}", *f.details)) for f in wrong)
