"""Wiring only: what tests and suites share. Logic lives in pxarbench_harness, with tests of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pxarbench_harness import locate, run


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pxarbench")
    group.addoption("--seed", type=int, default=1, help="seed of everything chosen at random (default 1)")


def pytest_report_header(config: pytest.Config) -> list[str]:
    from pxarbench_harness import measure

    binary = locate.pxarbench()
    return [
        f"pxarbench: {binary or 'not built'}" + (f" ({measure.build_text(binary)})" if binary and binary.exists() else ""),
        f"commit: {measure.commit()}; file system: {measure.filesystem(Path(os.environ.get('TMPDIR', '/tmp')))}; "
        f"seed: {config.getoption('--seed')}",
    ]


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--seed"))


@pytest.fixture(scope="session")
def pxarbench() -> Path:
    """The program under test."""
    path = locate.pxarbench()
    if path is None:
        pytest.skip("pxarbench is not built (looked in build/release, build/dev, build/asan; or set PXARBENCH)")
    if not os.access(path, os.X_OK):
        pytest.fail(f"PXARBENCH names {path}, which is not a program")
    return path


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Files made by the reference implementation."""
    path = locate.vectors()
    if path is None:
        pytest.skip("reference vectors not found (set PXB_VECTORS, or put them in shared/vectors beside the repository)")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The path of a datastore that does not exist yet."""
    return tmp_path / "store"


@pytest.fixture
def cli(pxarbench: Path) -> Callable[..., run.Result]:
    """Runs the program: cli("snapshot", "list", ...) -> Result; check_ok(), json()."""

    def call(*words: str | os.PathLike[str], **options: object) -> run.Result:
        return run.run([pxarbench, *words], **options)  # type: ignore[arg-type]

    return call
