"""The planted defects fit the sources, and the tests that must notice them exist. That they do is for
harness/suites/planted_defects.py, which builds once per defect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pxarbench_harness import locate, planted

DEFECTS = planted.load_all()


def test_the_defects_asked_for_are_there() -> None:
    """Of issue 4, and those of the profile `stored`."""
    assert {
        "digest-identity", "no-size-check", "held-at-every-hole", "threshold-not-strict", "directory-end-lost",
        "suggestion-by-timing", "search-off-by-one", "stored-waste-per-listing", "stored-instances-unbounded",
        "stored-absorbs-large",
    } <= {defect.name for defect in DEFECTS}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_fits_the_sources(defect: planted.Defect) -> None:
    assert planted.planted(defect, locate.REPOSITORY)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_names_tests_that_exist(defect: planted.Defect) -> None:
    for name in defect.c_tests:
        folder, _, stem = name.partition("_")
        assert list((locate.REPOSITORY / "bench").glob(f"**/{folder}/{stem}.c")), name
    for name in defect.tests:
        path, _, function = name.partition("::")
        text = (locate.REPOSITORY / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", text, re.MULTILINE), name


REPLACE = '[[replace]]\nfile = "a.c"\nold = "x"\nnew = "y"\n'


def defect_of(tmp_path: Path, text: str) -> planted.Defect:
    path = tmp_path / "d.toml"
    path.write_text(f'defect = "d"\n{text}')
    return planted.load(path)


@pytest.mark.parametrize(("source", "count"), [("nothing\n", 0), ("x = x;\n", 2)])
def test_text_that_is_not_there_once_is_an_error(tmp_path: Path, source: str, count: int) -> None:
    (tmp_path / "a.c").write_text(source)
    with pytest.raises(planted.PlantedError, match=f"{count} times"):
        planted.planted(defect_of(tmp_path, 'c_tests = ["t"]\n' + REPLACE), tmp_path)


def test_planting_and_restoring(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text("x\n")
    copy = planted.Copy(tmp_path, 1)
    before = copy.plant(defect_of(tmp_path, 'c_tests = ["t"]\n' + REPLACE))
    assert source.read_text() == "y\n"
    copy.restore(before)
    assert source.read_text() == "x\n"


def test_a_copy_is_brought_up_to_date(tmp_path: Path) -> None:
    """Also where a defect was left in it, and files are gone since."""
    sources, root = tmp_path / "sources", tmp_path / "copy"
    (sources / "bench").mkdir(parents=True)
    (sources / "bench" / "a.c").write_text("x\n")
    planted.Copy.make(root, 1, sources)
    (root / "bench" / "a.c").write_text("y\n")
    (root / "bench" / "old.c").write_text("gone\n")
    (sources / "bench" / "b.c").write_text("new\n")
    planted.Copy.make(root, 1, sources)
    assert {path.name: path.read_text() for path in (root / "bench").iterdir()} == {"a.c": "x\n", "b.c": "new\n"}


def test_a_defect_without_tests_is_none(tmp_path: Path) -> None:
    with pytest.raises(planted.PlantedError, match="tests"):
        defect_of(tmp_path, REPLACE)


def test_failures_are_counted_by_function() -> None:
    red = planted.Red(("a.py::test_x[1]", "a.py::test_x[2]", "a.py::test_xy", "c_test: test_z"))
    counts = planted.red_by_test(["a.py::test_x", "a.py::test_xy", "c_test", "a.py::test_none"], red)
    assert counts == {"a.py::test_x": 2, "a.py::test_xy": 1, "c_test": 1, "a.py::test_none": 0}
