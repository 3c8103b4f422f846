"""The checks of the C core's rules, each shown a tree or an object list that breaks the rule."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

CI = Path(__file__).resolve().parents[2] / "ci"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CI / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


layers = load("check_layers")
purity = load("check_purity")


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """base <- chunk <- store, each with one source."""
    for folder, depends in (("base", ""), ("chunk", "DEPENDS base"), ("store", "DEPENDS base chunk LIBRARIES zstd")):
        directory = tmp_path / "core" / folder
        directory.mkdir(parents=True)
        (directory / "CMakeLists.txt").write_text(f"# comment\npxb_folder({folder} {depends})\n")
        (directory / f"{folder}.c").write_text(f'#include "{folder}/{folder}.h"\n#include <stdio.h>\n')
    (tmp_path / "CMakeLists.txt").write_text("function(pxb_folder name)\n# pxb_folder(NAME DEPENDS x)\nendfunction()\n")
    return tmp_path


def add(bench: Path, path: str, text: str) -> list[str]:
    (bench / "core" / path).write_text(text)
    return [str(problem) for problem in layers.check(bench)[0]]


def test_a_clean_tree_passes(bench: Path) -> None:
    assert layers.check(bench) == ([], 3, 3)
    assert add(bench, "store/put.c", '#include "chunk/digest.h"\n#  include "base/status.h"\n') == []


def test_include_upwards_is_named(bench: Path) -> None:
    problems = add(bench, "chunk/cut.h", 'int x;\n#include "store/store.h"\n')
    assert len(problems) == 1
    assert "chunk/cut.h:2: chunk includes store/store.h" in problems[0]


@pytest.mark.parametrize("path", ["status.h", "../base/status.h", "base/../chunk/digest.h", "./base/status.h"])
def test_ways_around_the_rule_are_closed(bench: Path, path: str) -> None:
    assert len(add(bench, "store/put.c", f'#include "{path}"\n')) == 1


def test_folder_reached_indirectly_is_for_programs_only(bench: Path) -> None:
    (bench / "core/store/CMakeLists.txt").write_text("pxb_folder(store DEPENDS chunk)\n")
    assert add(bench, "store/put_test.c", '#include "testing/testing.h"\n#include "base/status.h"\n') == []
    assert len(add(bench, "store/put.c", '#include "base/status.h"\n')) == 1
    assert len(add(bench, "store/put.c", '#include "testing/testing.h"\n')) == 1


def test_circles_and_unknown_folders_are_named(bench: Path) -> None:
    problems = add(bench, "chunk/CMakeLists.txt", "pxb_folder(chunk DEPENDS base store)\n")
    assert "chunk depends on itself through store" in problems
    problems = add(bench, "chunk/CMakeLists.txt", "pxb_folder(chunk DEPENDS bsae)\n")
    assert any("unknown folder in DEPENDS: bsae" in problem for problem in problems)
    problems = add(bench, "base/CMakeLists.txt", "pxb_folder(base DEPENDS chunk)\n")
    assert any("base is below everything" in problem for problem in problems)


def test_an_empty_tree_does_not_pass(tmp_path: Path) -> None:
    assert layers.check(tmp_path)[0]


NM = """\
libpxb_pxar.a[encoder.c.o]: encoder_write T 0 40
libpxb_pxar.a[encoder.c.o]: memcpy U{s}
libpxb_pxar.a[encoder.c.o]: fail_text U{s}
libpxb_pxar.a[encoder.c.o]: ZSTD_compress2 U{s}
"""
BASE = """\
lib/libpxb_base.a[status.c.o]: fail_text T 0 40
lib/libpxb_base.a[status.c.o]: stderr U{s}
lib/libpxb_base.a[log.c.o]: log_line T 0 40
lib/libpxb_base.a[log.c.o]: stderr U{s}
"""


def objects(pxar: str = "", base: str = "") -> list[object]:
    return [
        *purity.parse_nm(NM.format(s=" ") + pxar, "pxb_pxar"),
        *purity.parse_nm(BASE.format(s="") + base, "pxb_base"),
    ]


def test_pure_objects_pass() -> None:
    assert purity.check_pure(objects(), {"pxb_pxar"}) == []
    assert purity.check_starts(objects()) == []


@pytest.mark.parametrize("symbol", ["open", "read", "clock_gettime", "fopen", "json_load_file", "getrandom", "mmap64"])
def test_system_call_in_a_pure_folder_is_named(symbol: str) -> None:
    found = purity.check_pure(objects(f"libpxb_pxar.a[item.c.o]: {symbol} U \n"), {"pxb_pxar"})
    assert found == [f"pxb_pxar(item.c.o) uses {symbol}"]


def test_system_call_behind_our_own_function_is_named_with_the_road() -> None:
    found = purity.check_pure(objects("libpxb_pxar.a[encoder.c.o]: log_line U \n"), {"pxb_pxar"})
    assert found == ["pxb_base(log.c.o) uses stderr, reached because pxb_pxar(encoder.c.o) uses log_line"]


def test_threads_start_in_flow_alone() -> None:
    line = "libpxb_pxar.a[encoder.c.o]: pthread_create U \n"
    assert purity.check_starts(objects(line)) == ["pxb_pxar(encoder.c.o) uses pthread_create: only flow starts threads"]
    assert purity.check_starts(purity.parse_nm(line, "pxb_flow")) == []
