"""The archives of the reference implementation, made from real trees and made into real trees.

Every vector that the reference packed from a file system is made on ext4 and packed by `pxar create`: all bytes must be
the reference's. The reference's archives are extracted onto ext4: the tree must be the one that was made, and give
the same bytes again. One line per vector, e.g.

    t01-basic from ext4: mpxar ok, ppxar ok, pxar ok, extracted split ok, extracted unified ok
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import everything_tree
import pytest
from loop_mount import mounted
from materialise import materialise
from test_pxar_vectors import INDEX, Cli, archive, assert_stream, place, read

from pxarbench_harness.tree import differences, scan

NAMES = sorted(name for name, vector in INDEX.items() if vector["from_filesystem"])
VECTORS = [pytest.param(name, id=name) for name in NAMES] or [
    pytest.param("absent", marks=pytest.mark.skip(reason="archive vectors not found (set PXB_VECTORS)"))
]


@pytest.fixture(scope="module")
def ext4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted("ext4", tmp_path_factory.mktemp("ext4")) as point:
        yield point
        everything_tree.clear_flags(point)


def pack(cli: Cli, name: str, tree: Path, directory: Path, what: str) -> Iterator[str]:
    """Both kinds of archives of a tree are the vector's. Yields the name of each stream as its comparison begins."""
    made = {stream: directory / f"{what}.{stream}" for stream in ("mpxar", "ppxar", "pxar")}
    yield "mpxar"
    cli("pxar", "create", tree, made["mpxar"], "--payload-output", made["ppxar"]).check_ok()
    assert_stream(name, "mpxar", made["mpxar"])
    yield "ppxar"
    assert_stream(name, "ppxar", made["ppxar"])
    yield "pxar"
    cli("pxar", "create", tree, made["pxar"]).check_ok()
    assert_stream(name, "pxar", made["pxar"])
    for path in made.values():
        path.unlink()


def check(cli: Cli, name: str, ext4: Path, directory: Path) -> Iterator[str]:
    source = materialise(json.loads(read(f"{name}.tree.json")), ext4 / name)
    yield from pack(cli, name, source, directory, "made")
    wanted = scan(source, inode_flags=True)
    for kind, words in (
        ("split", [place(f"{name}.mpxar", directory), "--payload-input", place(f"{name}.ppxar", directory)]),
        ("unified", [archive(name, cli, directory)]),
    ):
        yield f"extracted {kind}"
        target = ext4 / f"{name}-{kind}"
        counted = cli("pxar", "extract", *words, target, "--output-format", "json").check_ok().json()
        assert set(counted["not_applied"].values()) == {0}
        assert differences(wanted, scan(target, inode_flags=True)) == []
        for _ in pack(cli, name, target, directory, f"again-{kind}"):
            pass


@pytest.mark.parametrize("name", VECTORS)
def test_vector_from_and_to_a_file_system(
    cli: Cli, name: str, ext4: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []
    try:
        for what in check(cli, name, ext4, tmp_path):
            done = [word.replace(" differs", " ok") for word in done] + [f"{what} differs"]
        done = [word.replace(" differs", " ok") for word in done]
    finally:
        with capsys.disabled():
            print(f"\n{name} from ext4: {', '.join(done)}")
