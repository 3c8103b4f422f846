"""The worked examples of bench/spec/change-detection.md 14, through the whole program: real files, a real datastore."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import run

Cli = Callable[..., run.Result]
FIRST_TIME = 1_700_000_000


@dataclass
class Group:
    """One backup group of a flat tree of constant files, and its snapshots in order."""

    cli: Cli
    root: Path
    tree: Path
    time: int = FIRST_TIME

    def write(self, name: str, size: int, value: int, mtime: int = 1_600_000_000) -> None:
        path = self.tree / name
        path.write_bytes(bytes([value]) * size)
        os.utime(path, (mtime, mtime))

    def backup(self, mode: str, *options: str) -> Backup:
        self.time += 1
        stats = self.root / f"stats-{self.time}.json"
        result = self.cli(
            "backup", f"root.pxar:{self.tree}", "--repository", self.root / "store", "--backup-id", "example",
            "--backup-time", str(self.time), "--change-detection-mode", mode, "--sync-level", "none", "--stats", stats,
            "--decisions", self.root / f"decisions-{self.time}.jsonl", *options,
        ).check_ok()
        record = json.loads(stats.read_text())
        assert record["result"] == "ok"
        decisions = [json.loads(line) for line in (self.root / f"decisions-{self.time}.jsonl").read_text().splitlines()]
        return Backup(self, record["snapshot"], record["archives"][0], decisions, result.stderr.decode())

    def index(self, snapshot: str, name: str) -> list[dict[str, Any]]:
        path = self.root / "store" / snapshot / name
        return self.cli("index", "show", path, "--output-format", "json").json()["entries"]


@dataclass(frozen=True)
class Backup:
    group: Group
    snapshot: str
    stats: dict[str, Any]
    decisions: list[dict[str, Any]]
    log: str

    @property
    def csum(self) -> str:
        return self.stats["payload"]["csum"]

    @property
    def ends(self) -> list[int]:
        return [entry["end"] for entry in self.group.index(self.snapshot, "root.ppxar.didx")]

    @property
    def digests(self) -> list[str]:
        return [entry["digest"] for entry in self.group.index(self.snapshot, "root.ppxar.didx")]

    @property
    def offsets(self) -> list[int]:
        return [decision["offset"] for decision in self.decisions if decision["action"] != "hardlink"]


@pytest.fixture
def group(cli: Cli, tmp_path: Path) -> Group:
    tree = tmp_path / "tree"
    tree.mkdir()
    return Group(cli, tmp_path, tree)


def write_five(group: Group) -> None:
    for name, size, value in (
        ("a.bin", 12000000, 0x61), ("b.bin", 300000, 0x62), ("c.bin", 500000, 0x63), ("d.bin", 11000000, 0x64),
        ("e.bin", 400000, 0x65),
    ):
        group.write(name, size, value)


PROFILES = pytest.mark.parametrize("profile", ["tight", "upstream"])


@PROFILES
def test_14_1_two_of_five_files_changed(group: Group, profile: str) -> None:
    write_five(group)
    first = group.backup("data")
    assert first.ends == [12000032, 23800080, 24200112]
    assert first.csum == "5ee482bb538100190ea89c38d88abb40f1c1da5b8726e40e4b5eb2d41f03c1bf"
    assert first.offsets == [16, 12000032, 12300048, 12800064, 23800080]
    group.write("b.bin", 310000, 0x42)
    group.write("e.bin", 400500, 0x45)
    second = group.backup("metadata", "--reuse-profile", profile)
    if profile == "tight":
        assert second.csum == "2a76e335ab9c1eaed35e156580aa33c103d18ce9a84a66d1038a7d854c5e12ef"
        assert second.ends == [16, 12000048, 12310064, 24110112, 24510644]
        assert second.offsets == [32, 12000048, 12610080, 13110096, 24110112]
        assert " - 3 unchanged, reusable files with 22.411 MiB data\n" in second.log
        assert " - 2 changed or non-reusable files with 693.879 KiB data\n" in second.log
        assert " - 293 KiB padding in 2 partially reused chunks\n" in second.log
        assert "root.ppxar: reused 22.698 MiB from previous snapshot for unchanged files (2 chunks)\n" in second.log
        assert "root.ppxar: had to backup 693.91 KiB of 23.375 MiB (compressed " in second.log
    else:
        assert second.csum == "baad488c24c9b6806d99e20d1ad918df1ba82750a7e3404f57e69bb15ab13311"
        assert second.offsets == [16, 12000032, 12610064, 13110080, 24510128]
        assert " - 2 unchanged, reusable files with 10.967 MiB data\n" in second.log
        assert " - 3 changed or non-reusable files with 12.122 MiB data\n" in second.log
        assert " - 683.641 KiB padding in 2 partially reused chunks\n" in second.log
        assert "root.ppxar: reused 11.635 MiB from previous snapshot for unchanged files (2 chunks)\n" in second.log
        assert "root.ppxar: had to backup 693.895 KiB of 23.757 MiB (compressed " in second.log
        # a.bin did not change: it is collateral.
        assert [d["reason"] for d in second.decisions] == ["threshold", "size", "unchanged", "unchanged", "size"]


@PROFILES
def test_14_2_unchanged_moves_by_16_once_and_then_stays(group: Group, profile: str) -> None:
    write_five(group)
    first = group.backup("data")
    second = group.backup("metadata", "--reuse-profile", profile)
    assert second.offsets == [offset + 16 for offset in first.offsets]
    assert second.ends == [16, 12000048, 23800096, 24200128, 24200144]
    assert second.csum == "72bd7e6eaca8df1bf161970dac6ec68735736dff3343920c666340aefea6ddae"
    payload = second.stats["payload"]
    assert (payload["new_chunks"], payload["new_bytes"]) == (2, 32), "two 16-byte chunks are uploaded"
    assert second.stats["padding_bytes"] == 32
    assert second.stats["file_bytes_read"] == 0
    third = group.backup("metadata", "--reuse-profile", profile)
    assert third.csum == second.csum
    assert third.offsets == second.offsets
    assert (third.stats["payload"]["new_chunks"], third.stats["metadata"]["new_chunks"]) == (0, 0)
    assert third.stats["padding_bytes"] == 32, "stable: it does not grow"


SMALL = [(f"a{i}", 250000, 0x41 + i) for i in range(8)] + [
    ("b", 6000, 0x62), ("c", 3000, 0x63), ("d", 4000, 0x64), ("e", 120000, 0x65),
]
SMALL_ENDS = [16, 250048, 500064, 750080, 1000096, 1250112, 1500128, 1750144, 2000160, 2133240, 2133256]


@PROFILES
def test_14_3_hole_inside_a_held_chunk(group: Group, profile: str) -> None:
    for name, size, value in SMALL:
        group.write(name, size, value)
    first = group.backup("data", "--chunk-size", "64")
    assert first.ends[:8] == [250032 + 250016 * i for i in range(8)] and first.ends[8:] == [2133224]
    (group.tree / "c").unlink()
    second = group.backup("metadata", "--chunk-size", "64", "--reuse-profile", profile)
    assert second.offsets == [32 + 250016 * i for i in range(8)] + [2000160, 2009192, 2013208]
    assert second.ends == SMALL_ENDS
    assert second.csum == "301b5bd2a4f68795a40d78bb96358b502986c4c5b9e143d390c2eaeae4aad56c"
    assert second.stats["padding_bytes"] == 3048


def test_14_4_cache_limit_4(group: Group) -> None:
    for name, size, value in SMALL:
        group.write(name, size, value)
    group.backup("data", "--chunk-size", "64")
    tight = group.backup("metadata", "--chunk-size", "64", "--cache-limit", "4")
    assert tight.ends == SMALL_ENDS
    assert tight.stats["reused_files"] == 12
    (group.root / "store" / tight.snapshot / "index.json.blob").unlink()  # the data snapshot is the reference again
    upstream = group.backup("metadata", "--chunk-size", "64", "--cache-limit", "4", "--reuse-profile", "upstream")
    assert [d["action"] for d in upstream.decisions] == ["reencoded"] * 8 + ["reused"] * 4
    assert upstream.stats["rejected_ranges"] == 2


def test_14_5_hundred_equal_files_in_ten_folders(group: Group) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give files to another user")
    for folder in range(10):
        (group.tree / f"folder_{folder}").mkdir()
        for file in range(10):
            group.write(f"folder_{folder}/file_{file}", 1048576, 0, mtime=0)
    for path in [*group.tree.rglob("*"), group.tree]:
        os.chown(path, 1000, 1000)
        path.chmod(0o777)
        os.utime(path, (0, 0))
    first = group.backup("data", "--chunk-size", "1024")
    assert first.ends == [1048608 + 1048592 * i for i in range(99)] + [104859232]
    assert set(first.digests[1:99]) == {"504264eb4c90bde66d0d62e0906b8188bae27ee2f62dfbdaf7e0d6937d81979b"}
    assert first.digests[0] == "5c85c0827ed968c4147d6a7e59b0237fa342f6f2a9d4e6ced767f2bfc19a560f"
    assert first.digests[99] == "53b46ab166dcef8a3ae9f95ec0f6c5168247a72a0d44f5e3d6e435b930344969"
    assert first.stats["metadata"]["size"] == 15070
    second = group.backup("metadata", "--chunk-size", "1024")
    assert second.offsets == [32 + 1048592 * i for i in range(100)]
    assert second.stats["metadata"]["size"] == 15070
    assert (second.stats["injected_chunks"], second.stats["partial_chunks"]) == (100, 2)
    assert second.stats["padding_bytes"] == 32


def test_14_6_more_chunks_than_a_batch(group: Group) -> None:
    for i in range(300):
        group.write(f"f{i:03}", 20000, i % 256)
    group.backup("data", "--chunk-size", "64")
    second = group.backup("metadata", "--chunk-size", "64")
    assert second.stats["injected_chunks"] == 300
    assert second.stats["injected_bytes"] == 2562064 + 2562048 + 880720
    assert len(second.ends) == 302


def test_14_7_duplicate_chunks_keep_their_places(group: Group, tmp_path: Path) -> None:
    """Chunks P, Q, P: the third is another one than the first although their digests are equal."""
    for name, value in (("a", 9), ("b", 1), ("c", 2), ("d", 1), ("e", 8)):
        group.write(name, 100000, value)
    first = group.backup("data", "--chunk-size", "64")
    assert len(first.digests) == 5 and first.digests[1] == first.digests[3]
    group.write("c", 100000, 2, mtime=1_600_000_001)
    second = group.backup("metadata", "--chunk-size", "64")
    assert [d["action"] for d in second.decisions] == ["reused", "reused", "reencoded", "reused", "reused"]
    assert second.digests[1:6] == first.digests
    group.cli("restore", second.snapshot, "root.pxar", tmp_path / "out", "--repository", group.root / "store").check_ok()
    for path in sorted(group.tree.iterdir()):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_14_8_files_ending_at_chunk_ends(group: Group) -> None:
    for i in range(12):
        group.write(f"f{i:02}", 262128 if i else 262112, i + 1)
    assert group.backup("data", "--chunk-size", "64").ends == [262144 * k for k in range(1, 13)] + [3145744]
    tight = group.backup("metadata", "--chunk-size", "64")
    assert (tight.stats["injected_chunks"], tight.stats["padding_bytes"], tight.ends[-1]) == (12, 16, 3145760)
    (group.root / "store" / tight.snapshot / "index.json.blob").unlink()
    upstream = group.backup("metadata", "--chunk-size", "64", "--reuse-profile", "upstream")
    assert upstream.ends[-3:] == [3145744, 3145760, 3145776]
    assert (upstream.stats["padding_bytes"], upstream.stats["partial_chunks"]) == (32, 2)


def test_14_9_one_touched_file_among_sixty_chunks(group: Group) -> None:
    for i in range(60):
        group.write(f"f{i:02}", 20000, i + 1)
    group.backup("data", "--chunk-size", "64")
    group.write("f30", 20000, 31, mtime=1_600_000_001)
    tight = group.backup("metadata", "--chunk-size", "64")
    assert len(tight.ends) == 62
    (touched,) = [d for d in tight.decisions if d["action"] == "reencoded"]
    assert (touched["reason"], touched["difference"]) == ("touched-but-identical", "mtime")
    (group.root / "store" / tight.snapshot / "index.json.blob").unlink()
    upstream = group.backup("metadata", "--chunk-size", "64", "--reuse-profile", "upstream")
    assert len(upstream.ends) == 63
    assert " - 19.578 KiB padding in 3 partially reused chunks\n" in upstream.log


def test_empty_tree_and_special_files_only(group: Group) -> None:
    marker_chunk = "564ec2fcce3caf1c2c13c24f67af54095c5a0df7f47a6298365358d07baa67ff"
    for mode in ("data", "metadata"):
        backup = group.backup(mode)
        assert backup.digests == [marker_chunk]
    os.mkfifo(group.tree / "pipe")
    backup = group.backup("metadata")
    assert backup.digests == [marker_chunk]
    assert backup.stats["reference"]["reason"] == "used"
