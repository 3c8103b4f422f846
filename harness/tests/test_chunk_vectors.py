"""The chunkers of the core against cuts made by the reference chunker, through `pxarbench chunk`.

The vectors are not part of the repository: see locate.vectors() for where they are looked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pxarbench_harness import locate, run

Cli = Callable[..., run.Result]


def _files() -> dict[str, dict[str, Any]]:
    vectors = locate.vectors()
    paths = sorted((vectors / "chunker").glob("*.json")) if vectors else []
    return {path.stem: json.loads(path.read_text()) for path in paths}


FILES = _files()


def _cases() -> Iterator[Any]:
    if not FILES:
        reason = "chunker vectors not found (set PXB_VECTORS, or put them in shared/vectors beside the repository)"
        yield pytest.param("absent", 0, marks=pytest.mark.skip(reason=reason))
    for name, vector in FILES.items():
        for index, case in enumerate(vector["cases"]):
            kind = f"suggested{len(case['suggested'])}" if "suggested" in case else "plain"
            feed = f"-feed{case['feed']}" if "feed" in case else ""
            yield pytest.param(name, index, id=f"{name}-{kind}-{case['avg']}{feed}-case{index}")


def splitmix64(seed: int, size: int) -> bytes:
    count = -(-size // 8)
    gamma, one, two = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * gamma
        z = (z ^ (z >> np.uint64(30))) * one
        z = (z ^ (z >> np.uint64(27))) * two
        z ^= z >> np.uint64(31)
    return z.astype("<u8").tobytes()[:size]


def part_bytes(part: dict[str, Any]) -> bytes:
    size = part["size"]
    match part["kind"]:
        case "splitmix64":
            return splitmix64(part["seed"], size)
        case "zero":
            return bytes(size)
        case "byte":
            return bytes([part["byte"]]) * size
        case "mod":
            pattern = bytes(range(part["mod"]))
            return (pattern * (size // len(pattern) + 1))[:size]
        case "counter32le":
            return np.arange(-(-size // 4), dtype="<u4").tobytes()[:size]
    raise ValueError(f"unknown kind of input: {part['kind']}")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The input file of a vector, made once."""
    folder = tmp_path_factory.mktemp("chunker")

    def make(name: str) -> Path:
        path = folder / name
        if not path.exists():
            data = b"".join(part_bytes(part) for part in FILES[name]["input"])
            # The generator must agree with the reference before the chunker is blamed.
            assert len(data) == FILES[name]["input_size"]
            assert hashlib.sha256(data).hexdigest() == FILES[name]["input_sha256"]
            path.write_bytes(data)
        return path

    return make


def test_splitmix64_begins_as_described() -> None:
    assert splitmix64(0, 9).hex() == "afcd1d7b39a820e2f4"


@pytest.mark.parametrize(("name", "index"), _cases())
def test_cuts_equal_the_reference(cli: Cli, inputs: Callable[[str], Path], name: str, index: int) -> None:
    case = FILES[name]["cases"][index]
    path = inputs(name)
    words = ["--average", str(case["avg"])]
    if "feed" in case:
        words += ["--feed-size", str(case["feed"])]
    if case.get("suggested"):
        words += ["--suggest", ",".join(map(str, case["suggested"]))]
    chunks = cli("chunk", path, *words).check_ok().json()

    assert [chunk["end"] for chunk in chunks] == case["ends"]
    data = memoryview(path.read_bytes())
    starts = [0, *case["ends"][:-1]]
    digests = [hashlib.sha256(data[start:end]).hexdigest() for start, end in zip(starts, case["ends"], strict=True)]
    assert [chunk["digest"] for chunk in chunks] == digests
    if "digests" in case:
        assert digests == case["digests"]


@pytest.mark.parametrize("feed_size", [1, 61, 64, 65, 4096, 262144])
def test_plain_cuts_do_not_depend_on_the_feed_size(cli: Cli, tmp_path: Path, feed_size: int) -> None:
    path = tmp_path / "data"
    path.write_bytes(splitmix64(11, 100_000))
    whole = cli("chunk", path, "--average", "1024").check_ok().json()
    assert len(whole) > 50
    assert cli("chunk", path, "--average", "1024", "--feed-size", str(feed_size)).check_ok().json() == whole


def test_orders_inject_chunks_without_data(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(1000))
    result = cli("chunk", path, "--average", "65536", "--order", "0:7", "--order", "107:20+30", "--order", "157:1")
    digests = [hashlib.sha256(bytes(size)).hexdigest() for size in (100, 900)]
    assert result.check_ok().json() == [
        {"end": 7, "digest": None, "injected": True},
        {"end": 107, "digest": digests[0]},
        {"end": 127, "digest": None, "injected": True},
        {"end": 157, "digest": None, "injected": True},
        {"end": 158, "digest": None, "injected": True},
        {"end": 1058, "digest": digests[1]},
    ]


def test_empty_file_has_no_chunks(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert cli("chunk", path).check_ok().json() == []
    assert cli("chunk", path, "--suggest", "16").check_ok().json() == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(["--average", "1000"], 2, id="average-no-power-of-two"),
        pytest.param(["--average", "128"], 2, id="average-too-small"),
        pytest.param(["--suggest", "1,,2"], 2, id="suggestion-empty"),
        pytest.param(["--order", "17"], 2, id="order-without-sizes"),
        pytest.param(["--order", "100:50", "--order", "149:1"], 1, id="order-passed"),
        pytest.param(["--order", "1001:5"], 1, id="order-behind-the-end"),
    ],
)
def test_wrong_requests_are_refused(cli: Cli, tmp_path: Path, words: list[str], code: int) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(1000))
    result = cli("chunk", path, *words)
    assert result.returncode == code
    assert result.stdout == b""
    assert result.stderr
