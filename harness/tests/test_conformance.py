"""CONFORMANCE.md names a test for each number of the conformance checklists, and the tests it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("CONFORMANCE.md")
#: With the length of the checklist.
DOCUMENTS = {
    "pxar.md": 34, "archive-creation.md": 33, "datastore.md": 29, "change-detection.md": 33, "reuse-stored.md": 11, "protocol.md": 82,
}  # fmt: skip


def checklist(document: str) -> list[int]:
    """The numbers at the end of a specification."""
    text = (ROOT / "bench" / "spec" / document).read_text(encoding="utf-8")
    parts = re.split(r"^## (?:\d+\. )?Conformance checklist\n", text, flags=re.MULTILINE)
    assert len(parts) == 2, f"{document} has no conformance checklist"
    return [int(number) for number in re.findall(r"^(\d+)\. ", parts[1], re.MULTILINE)]


def section(document: str) -> dict[int, str]:
    """The table's rows for one document."""
    text = TABLE.read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n## {document}\n")
    assert found, f"{TABLE.name} has no table for {document}"
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", rest.partition("\n## ")[0], re.MULTILINE)
    assert len(rows) == len({number for number, _ in rows})
    return {int(number): text for number, text in rows}


def named_tests(row: str) -> list[tuple[str, str]]:
    found = []
    for path, tests in re.findall(r"`((?:bench|harness)/[^`]+)`: ((?:`test_\w+`(?:, )?)+)", row):
        found += [(path, test) for test in re.findall(r"`(test_\w+)`", tests)]
    return found


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_number_has_a_row(document: str) -> None:
    numbers = checklist(document)
    assert numbers == list(range(1, DOCUMENTS[document] + 1))
    assert sorted(section(document)) == numbers


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_row_names_tests_or_says_why_not(document: str) -> None:
    for number, row in section(document).items():
        tests = named_tests(row)
        assert tests or row.startswith("not yet: "), f"{document} {number}: {row}"
        # What looks like a test must be one that was checked.
        assert len(re.findall(r"`test_\w+`", row)) == len(tests), f"{document} {number}: {row}"
        for path, test in tests:
            text = (ROOT / path).read_text(encoding="utf-8")
            kind = rf"^def {test}\(" if path.endswith(".py") else rf"^static void {test}\("
            assert re.search(kind, text, re.MULTILINE), f"{document} {number}: {path} has no {test}"
            if path.endswith(".c"):  # a function that nobody registers never runs
                assert len(re.findall(rf"\b{test}\b", text)) > 1, f"{document} {number}: {test} is not run"
