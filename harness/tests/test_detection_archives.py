"""What archives of runs with a reference look like, seen from outside: bench/spec/change-detection.md 6 to 14.

Expectations come from the streams themselves, from payload_model.py, or are worked out by hand beside the test.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import payload_model
import pytest
from backup_tools import (
    T1, T2, T3, T4, Repository, index_body, index_bytes, noise, payload_references, settle,
)  # fmt: skip
from detection_tools import PPM, PROFILES, Run, backup, forget, usage, write
from test_random_trees import Gardener, first_names, unchanged

from pxarbench_harness.tree import Entry, scan

OLD = 1_500_000_000 * 10**9
MARKER_CHUNK = "564ec2fcce3caf1c2c13c24f67af54095c5a0df7f47a6298365358d07baa67ff"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir()
    return path


def constants(tree: Path, sizes: list[tuple[str, int, int]]) -> None:
    """(name, size, byte value): contents in which the rolling hash cuts nothing."""
    for name, size, value in sizes:
        write(tree / name, bytes([value]) * size, OLD)


def touch(path: Path) -> None:
    os.utime(path, ns=(OLD, OLD + 10**9))


def digests(repository: Repository, at: int) -> list[bytes]:
    return [digest for _, digest in repository.index(at, "ppxar")]


def sizes(repository: Repository, at: int) -> list[int]:
    ends = [0, *(end for end, _ in repository.index(at, "ppxar"))]
    return [after - before for before, after in zip(ends, ends[1:], strict=False)]


# ---- 12: the threshold is strict ----


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("threshold", "times"), [("0.1", 10), ("0.25", 4), ("0.5", 2), ("0.001", 1000), ("0.000125", 8000)]
)
@pytest.mark.parametrize("more", [0, 1], ids=["exactly", "one-byte-more"])
def test_ratio_at_the_threshold(
    repository: Repository, tree: Path, profile: str, threshold: str, times: int, more: int
) -> None:
    """One chunk: start marker, `a` (deleted), `b`, tail marker. All but `b` is padding, `times` of it the whole."""
    deleted = 1000 + more
    padding = 16 + 16 + 1000 + 16
    constants(tree, [("a", deleted, 1), ("b", padding * times - padding - 16, 2)])
    assert repository.backup(tree, T1, "--chunk-size", "4096", mode="data").archive["payload"]["chunks"] == 1
    (tree / "a").unlink()
    options = ["--padding-threshold", threshold, "--reuse-profile", profile]
    done = backup(repository, tree, T2, "--chunk-size", "4096", *options)
    assert done.actions == {"b": "reencoded" if more else "reused"}
    assert done.reasons == {"b": "threshold" if more else "unchanged"}
    if not more:
        assert usage(repository, T2).padding == padding == done.archive["padding_bytes"]
    repository.check_restore(T2)


# ---- 13, 14: the held chunk ----

#: Chunks of four files: 4 * (16 + 5000) is the first file end behind the minimum of 16 KiB. The last holds the rest.
FOURS = [(f"f{number:02}", 5000, number + 1) for number in range(16)]
ANY_PADDING = ("--padding-threshold", "1")


@pytest.fixture
def fours(repository: Repository, tree: Path) -> list[bytes]:
    constants(tree, FOURS)
    repository.backup(tree, T1, mode="data")
    assert sizes(repository, T1) == [20080, 20064, 20064, 20080]
    return digests(repository, T1)


@pytest.mark.parametrize("profile", ["tight", "upstream"])
def test_held_chunk_that_is_continued_counts_once(repository: Repository, tree: Path, profile: str) -> None:
    """14.3 with a threshold that lets the second range pass only if what the first one used of the chunk does not
    count: 9048 - 6016 of 133080 are 2.3 %, 9048 would be 6.8 %. The first range's own share is 5.96 %."""
    small = [(f"a{i}", 250000, 0x41 + i) for i in range(8)]
    constants(tree, [*small, ("b", 6000, 0x62), ("c", 3000, 0x63), ("d", 4000, 0x64), ("e", 120000, 0x65)])
    repository.backup(tree, T1, mode="data")
    (tree / "c").unlink()
    done = backup(repository, tree, T2, "--padding-threshold", "0.06", "--reuse-profile", profile)
    assert done.archive["reencoded_files"] == 0 and done.archive["padding_bytes"] == 3048
    assert digests(repository, T2).count(digests(repository, T1)[-1]) == 1
    assert usage(repository, T2).padding == 3048
    forget(repository, T2)
    done = backup(repository, tree, T2, "--padding-threshold", "0.059", "--reuse-profile", profile)
    assert done.archive["rejected_ranges"] > 0


def test_hole_and_changed_file_in_one_chunk(repository: Repository, tree: Path, fours: list[bytes]) -> None:
    """f05 is gone and f06 changed: the chunk is listed for f04, then comes f06, then the chunk again."""
    (tree / "f05").unlink()
    touch(tree / "f06")
    done = backup(repository, tree, T2, *ANY_PADDING)
    assert done.changed == {"f06": "mtime"}
    new = digests(repository, T2)
    assert new[1:3] == fours[:2] and new[4:7] == fours[1:]
    assert sizes(repository, T2)[3] == 16 + 5000
    assert [new.count(digest) for digest in fours] == [1, 2, 1, 1]
    usage(repository, T2)
    repository.check_restore(T2)


@pytest.mark.parametrize("profile", ["tight", "upstream"])
@pytest.mark.parametrize("rejected", [False, True], ids=["changed", "rejected"])
def test_held_chunk_is_listed_before_raw_bytes(
    repository: Repository, tree: Path, fours: list[bytes], rejected: bool, profile: str
) -> None:
    """The first six files fill the cache, so their last chunk is held when raw bytes come: those of f06, which changed,
    or those of the range that begins with f11, whose padding is too much."""
    options = ["--cache-limit", "6", "--reuse-profile", profile]
    if rejected:
        for number in range(6, 11):
            (tree / f"f{number:02}").unlink()
        (tree / "f15").unlink()
        options += ["--padding-threshold", "0.4"]
    else:
        touch(tree / "f06")
        options += ANY_PADDING
    done = backup(repository, tree, T2, *options)
    new = digests(repository, T2)
    assert new[1:3] == fours[:2]
    if not rejected:
        assert done.changed == {"f06": "mtime"}
        assert sizes(repository, T2)[3] == 16 + 5000 and new[4:7] == fours[1:]
    else:
        assert done.reasons["f11"] == "threshold" and done.offsets["f11"] > done.offsets["f05"]
    usage(repository, T2)
    repository.check_restore(T2)


@pytest.mark.parametrize("special", ["fifo", "directory", "symlink", "nothing"])
@pytest.mark.parametrize("profile", ["tight", "upstream"])
def test_held_chunk_is_listed_at_the_end_of_the_walk(
    repository: Repository, tree: Path, fours: list[bytes], profile: str, special: str
) -> None:
    """The cache is full with the last file, so its chunk is held when something else ends the walk."""
    make: dict[str, Callable[[Path], object]] = {
        "fifo": os.mkfifo, "directory": os.mkdir, "symlink": lambda path: path.symlink_to("x"),
        "nothing": lambda path: None}  # fmt: skip
    make[special](tree / "z")
    done = backup(repository, tree, T2, "--cache-limit", "1", "--reuse-profile", profile, *ANY_PADDING)
    assert done.archive["reused_files"] == 16 and done.archive["file_bytes_read"] == 0
    # f03, f07, f11 end with their chunks: upstream takes the next chunk along, which the next file then continues in.
    assert digests(repository, T2)[1:-1] == fours
    usage(repository, T2)
    repository.check_restore(T2)


@pytest.mark.parametrize("profile", ["tight", "upstream"])
@pytest.mark.parametrize("limit", ["1", "65536"])
def test_held_chunk_is_listed_when_the_next_range_starts_elsewhere(
    repository: Repository, tree: Path, fours: list[bytes], profile: str, limit: str
) -> None:
    for number in range(5, 10):  # f04 ends in the second chunk, f10 begins in the third
        (tree / f"f{number:02}").unlink()
    done = backup(repository, tree, T2, "--cache-limit", limit, "--reuse-profile", profile, *ANY_PADDING)
    assert done.archive["reused_files"] == 11
    assert digests(repository, T2)[1:-1] == fours
    use = usage(repository, T2)
    assert use.padding == done.archive["padding_bytes"] == 32 + 3 * 5016 + 2 * 5016
    repository.check_restore(T2)


# ---- 15, 32: chunks of equal digest ----


def triples(tree: Path, values: list[tuple[int, int, int]]) -> None:
    """Three files to a chunk of 19848 bytes; equal triples are equal chunks."""
    for number, triple in enumerate(values):
        for place, value in enumerate(triple):
            write(tree / f"f{3 * number + place:04}", bytes([value]) * 6600, OLD)


TRIPLES = {
    "zeros": [(0, 0, 0)] * 120,
    "pattern": [(1, 2, 3) if number % 3 else (4, 5, 6) for number in range(120)],
}


def drop_at_equal_chunks(repository: Repository, tree: Path) -> tuple[int, int]:
    """Makes 14.10: P and Q = P + 1 of equal digest, the third file of P and the second of R are deleted."""
    old = digests(repository, T1)
    assert len(old) in (120, 121) and sizes(repository, T1)[:2] == [19864, 19848]
    p = next(k for k in range(30, 60) if old[k] == old[k + 1])
    q, r = p + 1, p + 9
    (tree / f"f{3 * p + 2:04}").unlink()
    (tree / f"f{3 * r + 1:04}").unlink()
    return p, q


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", TRIPLES)
def test_14_10_equal_chunks_side_by_side(repository: Repository, tree: Path, kind: str, profile: str) -> None:
    triples(tree, TRIPLES[kind])
    repository.backup(tree, T1, mode="data")
    p, q = drop_at_equal_chunks(repository, tree)
    done = backup(repository, tree, T2, "--reuse-profile", profile, "--padding-threshold", "0.5")
    assert done.archive["reencoded_files"] == 0
    old, new = digests(repository, T1), digests(repository, T2)
    # P is listed although Q has its digest, and Q behind it.
    assert new[1 : 1 + len(old)] == old
    assert done.offsets[f"f{3 * q:04}"] - done.offsets[f"f{3 * p + 1:04}"] == 2 * 6616
    usage(repository, T2)
    repository.check_restore(T2)


@pytest.mark.parametrize("profile", PROFILES)
def test_chunks_p_q_p_do_not_collapse(repository: Repository, tree: Path, profile: str) -> None:
    """Q's only file is gone. Entries 0 and 2 have equal digests and are two chunks: both are listed."""
    constants(tree, [("0", 30000, 9), ("a", 30000, 1), ("b", 30000, 2), ("c", 30000, 1), ("d", 30000, 8)])
    repository.backup(tree, T1, mode="data")
    old = digests(repository, T1)
    assert len(old) == 5 and old[1] == old[3] != old[2]
    (tree / "b").unlink()
    done = backup(repository, tree, T2, "--reuse-profile", profile, *ANY_PADDING)
    assert done.archive["reused_files"] == 4 and done.archive["file_bytes_read"] == 0
    new = digests(repository, T2)
    if profile == "upstream":  # takes Q along where the range ends with P
        assert new[1:-1] in ([*old[:3], *old[3:]], old)
    else:
        assert new[1:-1] == [old[0], old[1], old[3], old[4]]
    usage(repository, T2)
    repository.check_restore(T2)


class DigestOnly(payload_model.Model):
    """As clients up to 4.1.11: a held chunk is known by its digest (D2)."""

    def flush(self, keep: bool) -> None:
        if self.held and self.range[0] != self.range[1] and self.previous:
            first = next(k for k, (end, _) in enumerate(self.previous) if end > self.range[0])
            if self.held.digest == self.previous[first][1]:
                self.held.entry = first
        super().flush(keep)


def test_archive_with_references_that_go_back_is_healed(repository: Repository, tree: Path) -> None:
    """14.10 as 3.2.7 would have stored it; then one run of ours (rule 5), and one more."""
    triples(tree, TRIPLES["pattern"])
    repository.backup(tree, T1, mode="data")
    old_files = first_names(scan(tree))
    old_offsets = [offset for _, offset, _ in payload_references(repository.stream(T1, "mpxar"))]
    reusable = {path: (offset, 6600) for path, offset in zip(old_files, old_offsets, strict=True)}
    p, _ = drop_at_equal_chunks(repository, tree)
    # Every first name that is still there is reusable.
    reusable = {path: at for path, at in reusable.items() if (tree / os.fsdecode(path)).exists()}
    model = DigestOnly(payload_model.Options(False, PPM // 2, 65536), repository.index(T1, "ppxar"))
    entries = model.run(tree, reusable)
    offsets = [offset for _, offset in model.references]
    back = [k for k in range(1, len(offsets)) if offsets[k] < offsets[k - 1]]
    assert len(back) == 1 and offsets[back[0] - 1] - offsets[back[0]] == 6616, "the example goes back by one file"

    good = backup(repository, tree, T2, "--reuse-profile", "upstream", "--padding-threshold", "0.5")
    metadata = bytearray(repository.stream(T2, "mpxar"))
    for (at, _, _), offset in zip(payload_references(metadata), offsets, strict=True):
        struct.pack_into("<Q", metadata, at, offset)
    repository.set_stream(T2, "mpxar", bytes(metadata))
    (repository.snapshot(T2) / "root.ppxar.didx").write_bytes(index_bytes(entries))
    manifest = repository.manifest(T2)
    (listed,) = (file for file in manifest["files"] if "ppxar" in file["filename"])
    listed.update(size=entries[-1][0], csum=hashlib.sha256(index_body(entries)).hexdigest())
    repository.set_manifest(T2, manifest)
    assert good.offsets != dict(zip(good.offsets, offsets, strict=True))

    healed = backup(repository, tree, T3, "--padding-threshold", "0.5")
    assert healed.backup.reason == "used"
    warned = re.findall(r're-encode: "([^"]*)": previous payload offset \d+ is not above the ones before', healed.log)
    affected = [name for name, reason in healed.reasons.items() if reason == "non-monotone"]
    assert warned == affected and 1 <= len(affected) <= 3
    assert affected[0] == f"f{3 * (p + 1):04}"
    assert healed.archive["reused_files"] > 300
    usage(repository, T3)
    repository.check_restore(T3)
    again = backup(repository, tree, T4, *ANY_PADDING)
    assert again.changed == {} and again.archive["file_bytes_read"] == 0 and "re-encode" not in again.log
    repository.check_restore(T4)


@pytest.mark.parametrize("profile", PROFILES)
def test_offsets_that_go_back_or_repeat_are_read_again(repository: Repository, tree: Path, profile: str) -> None:
    """A crafted reference: one warning for each file that is not behind all accepted before it, references increase."""
    constants(tree, FOURS)
    repository.backup(tree, T1, mode="data")
    metadata = bytearray(repository.stream(T1, "mpxar"))
    found = payload_references(metadata)
    edited = [offset for _, offset, _ in found]
    edited[3], edited[4] = edited[4], edited[3]  # f03 skips one, f04 goes back
    edited[9] = edited[8]  # f09 repeats
    for (at, _, _), offset in zip(found, edited, strict=True):
        struct.pack_into("<Q", metadata, at, offset)
    repository.set_stream(T1, "mpxar", bytes(metadata))
    done = backup(repository, tree, T2, "--reuse-profile", profile, *ANY_PADDING)
    assert done.changed == {"f04": "non-monotone", "f09": "non-monotone"}
    assert len(re.findall(r'^(?:warning: )?re-encode: "f0[49]"', done.log, re.MULTILINE)) == 2
    usage(repository, T2)


# ---- 16: chunks that nobody needs ----


@pytest.mark.parametrize("profile", PROFILES)
def test_chunks_without_a_used_byte(repository: Repository, tree: Path, profile: str) -> None:
    """14.9 with many changed files: each range ends with its chunk."""
    constants(tree, [(f"f{i:02}", 20000, i + 1) for i in range(60)])
    repository.backup(tree, T1, mode="data")
    for number in (0, 7, 8, 20, 30, 59):
        touch(tree / f"f{number:02}")
    done = backup(repository, tree, T2, "--reuse-profile", profile)
    use = usage(repository, T2)
    unused = [
        start for start, end, _ in use.chunks
        if not any(a < end and b > start for a, b in [(0, 16), *use.ranges, (use.size - 16, use.size)])
    ]  # fmt: skip
    assert len(unused) == done.archive["unreferenced_chunks"]
    assert done.archive["reencoded_files"] == 6 or profile == "upstream"
    if profile == "upstream":
        assert 0 < len(unused) <= done.archive["flushes"]
    else:
        assert unused == []
    repository.check_restore(T2)


# ---- 17, 18: limits ----


def nested(tree: Path) -> None:
    """Directories that begin and end between files, empty ones, specials, hardlinks."""
    for number, path in enumerate(
        ["a", "b/a", "b/b/a", "b/b/b/a", "b/b/b/b", "b/b/z", "b/m", "c", "d/a/a/a", "e/f", "e/g/h", "i", "k/l", "z"]
    ):
        write(tree / path, noise(path, 5000 + 1000 * number), OLD)
    for path in ("b/b/empty", "d/a/empty", "y/empty/empty"):
        (tree / path).mkdir(parents=True)
    os.mkfifo(tree / "b" / "pipe")
    (tree / "e" / "symlink").symlink_to("f")
    os.link(tree / "a", tree / "k" / "later")
    os.link(tree / "b" / "m", tree / "b" / "n")
    settle(tree)


@pytest.fixture(scope="module")
def nest(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, Path]:
    """A tree with a reference, one file of which changed since; runs on it are forgotten again."""
    folder = tmp_path_factory.mktemp("nest")
    tree = folder / "tree"
    tree.mkdir()
    nested(tree)
    repository = Repository(pxarbench, folder / "store", folder)
    repository.backup(tree, T1, mode="data")
    touch(tree / "d/a/a/a")
    return repository, tree


ENTRIES = 34


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("threshold", ["0", "0.3", "1"])
def test_directories_balance_at_every_limit(nest: tuple[Repository, Path], threshold: str, profile: str) -> None:
    """The cache is full at every possible place once. Whole archives come back, and the dump names each path once."""
    repository, tree = nest
    wanted = {"/" + os.fsdecode(path) for path in scan(tree).entries if path != b"."}
    assert len(wanted) < ENTRIES
    # All of them where ranges are accepted and rejected in turn.
    for limit in range(1, ENTRIES) if threshold == "0.3" else (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, ENTRIES - 1):
        options = ["--cache-limit", str(limit), "--padding-threshold", threshold, "--reuse-profile", profile]
        done = backup(repository, tree, T2, *options)
        assert done.changed == {"d/a/a/a": "mtime"}
        dumped = ["/" + e["path"].lstrip("/") for e in repository.dump(T2) if e.get("path", "/").strip("/")]
        assert sorted(dumped) == sorted(wanted), limit
        usage(repository, T2)
        if limit in (1, 2, 5, 12, 21):
            repository.check_restore(T2)
        forget(repository, T2)


@pytest.mark.parametrize("limit", ["1", "100", "65536"])
@pytest.mark.parametrize("profile", PROFILES)
def test_open_descriptors_do_not_grow_with_the_cache(
    repository: Repository, tree: Path, limit: str, profile: str
) -> None:
    """2,000 cached files below 40 directories with a limit of 80 descriptors: no more can have been open."""
    deep = tree
    for level in range(40):
        deep = deep / f"l{level}"
        write(deep / "file", noise(str(level), 100), OLD)
    for number in range(2000):
        write(deep / f"f{number:04}", b"%d" % number, OLD)
    repository.backup(tree, T1, mode="data")
    options = ["--cache-limit", limit, "--reuse-profile", profile, *ANY_PADDING]
    done = repository.run(tree, T2, *options, before=["prlimit", "--nofile=80:80"])
    assert done.archive["reused_files"] == 2040 and done.archive["file_bytes_read"] == 0
    repository.wanted[T2] = scan(tree)
    repository.check_restore(T2)


# ---- 21 to 25: boundaries, batches, index ----


def test_boundary_at_a_cut_leaves_no_empty_chunk(repository: Repository, tree: Path) -> None:
    """A new file that fills its chunk is followed by reused ones: the suggestion and the order name the same place."""
    constants(tree, [("b", 20000, 1), ("c", 20000, 2)])
    repository.backup(tree, T1, mode="data")
    constants(tree, [("a", 262144 - 32, 3)])  # ends, with the start marker, at four times the average: a cut of its own
    done = backup(repository, tree, T2, *ANY_PADDING)
    assert done.changed == {"a": "new"}
    found = sizes(repository, T2)
    assert found[0] == 262144 and 0 not in found
    assert done.archive["payload"]["chunks"] == len(found)
    usage(repository, T2)
    repository.check_restore(T2)


@pytest.mark.parametrize("profile", PROFILES)
def test_checksum_covers_injected_entries(repository: Repository, tree: Path, fours: list[bytes], profile: str) -> None:
    touch(tree / "f06")
    done = backup(repository, tree, T2, "--reuse-profile", profile, *ANY_PADDING)
    entries = repository.index(T2, "ppxar")
    assert done.archive["payload"]["injected_chunks"] > 0
    csum = hashlib.sha256(index_body(entries)).hexdigest()
    assert csum == done.archive["payload"]["csum"]
    listed = {file["filename"]: file["csum"] for file in repository.manifest(T2)["files"]}
    assert listed["root.ppxar.didx"] == csum
    payload = repository.stream(T2, "ppxar")
    start = 0
    for end, digest in entries:
        assert hashlib.sha256(payload[start:end]).digest() == digest
        start = end


# ---- 26: nothing changed ----


#: With a small cache upstream lists a shared chunk again behind each directory (D12), and more of them every time.
STEADY = [
    (profile, limit) for profile in PROFILES for limit in (["65536"] if profile == "upstream" else ["65536", "7", "1"])
]


@pytest.mark.parametrize(("profile", "limit"), STEADY)
def test_third_generation_is_the_second(repository: Repository, tree: Path, profile: str, limit: str) -> None:
    nested(tree)
    repository.backup(tree, T1, mode="data")
    options = ["--reuse-profile", profile, "--cache-limit", limit, *ANY_PADDING]
    second = backup(repository, tree, T2, *options)
    third = backup(repository, tree, T3, *options)
    for done in (second, third):
        assert done.changed == {} and done.archive["file_bytes_read"] == 0
        assert done.archive["padding_bytes"] == 32
    assert repository.index(T2, "ppxar") == repository.index(T3, "ppxar")
    assert repository.stream(T2, "mpxar") == repository.stream(T3, "mpxar")
    for stream in ("payload", "metadata"):
        assert third.archive[stream]["new_bytes"] == 0
    repository.check_restore(T3)


# ---- 28: the lines ----


def size_text(value: int) -> str:
    """Section 12: the unit by bit length, three decimals rounded half up, no zeros at the end."""
    for unit, bits in (("B", 10), ("KiB", 20), ("MiB", 30), ("GiB", 40), ("TiB", 50), ("PiB", 1 << 30)):
        if value.bit_length() <= bits:
            break
    scale = 1 << 10 * ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].index(unit)
    thousandths = (2 * value * 1000 + scale) // (2 * scale)
    text = f"{thousandths // 1000}.{thousandths % 1000:03}".rstrip("0").rstrip(".")
    return f"{text} {unit}"


def test_size_text_is_that_of_the_specification() -> None:
    known = {0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1048575: "1023.999 KiB", 1048576: "1 MiB", 1073741823: "1024 MiB"}
    assert {value: size_text(value) for value in known} == known


def summary_lines(repository: Repository, at: int, done: Run, old: set[bytes]) -> str:
    """From the decisions, the streams, and the digests of the previous index."""
    actions = list(done.actions.values())
    by_action = {kind: [line for line in done.lines if line["action"] == kind] for kind in ("reused", "reencoded")}
    data = {kind: sum(line["size"] + 16 for line in lines) for kind, lines in by_action.items()}
    use = usage(repository, at)
    reused = [
        (line["offset"], line["offset"] + 16 + line["size"]) for line in by_action["reused"]
    ]  # fmt: skip
    raw = [(line["offset"], line["offset"] + 16 + line["size"]) for line in by_action["reencoded"]]
    injected = partial = 0
    for start, end, digest in use.chunks:
        own = any(a < end and b > start for a, b in [(0, 16), (use.size - 16, use.size), *raw])
        if digest not in old or own:
            continue
        injected += end - start
        partial += sum(min(b, end) - max(a, start) for a, b in reused if a < end and b > start) < end - start
    return (
        "Change detection summary:\n"
        f" - {len(actions)} total files ({actions.count('hardlink')} hardlinks)\n"
        f" - {len(by_action['reused'])} unchanged, reusable files with {size_text(data['reused'])} data\n"
        f" - {len(by_action['reencoded'])} changed or non-reusable files with {size_text(data['reencoded'])} data\n"
        f" - {size_text(injected - data['reused'])} padding in {partial} partially reused chunks\n"
    )


def upload_lines(name: str, stream: dict[str, Any]) -> str:
    """By the stream's counters; the time is the run's own."""
    reused = stream["known_bytes"] + stream["injected_bytes"]
    dirty, us = stream["size"] - reused, max(1, stream["duration_ns"] // 1000)
    lines = ""
    if stream["injected_chunks"]:
        lines += f"{name}: reused {size_text(stream['injected_bytes'])} from previous snapshot for unchanged files "
        lines += f"({stream['injected_chunks']} chunks)\n"
    lines += f"{name}: had to backup {size_text(dirty)} of {size_text(stream['size'])} (compressed "
    lines += f"{size_text(stream['compressed_bytes'])}) in {stream['duration_ns'] / 1e9:.2f} s "
    lines += f"(average {size_text(dirty * 10**6 // us)}/s)\n"
    if reused and stream["size"] > 1 << 20:
        lines += f"{name}: backup was done incrementally, reused {size_text(reused)} "
        lines += f"({100 * reused / stream['size']:.1f}%)\n"
    return lines


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_lines_of_a_run(repository: Repository, tree: Path, profile: str, large: bool) -> None:
    nested(tree)
    if large:
        for number in range(12):
            write(tree / "l" / f"f{number}", noise(f"l{number}", 150_000), OLD)
    repository.backup(tree, T1, mode="data")
    (tree / "b" / "b" / "z").write_bytes(noise("z", 40_000))
    touch(tree / "c")
    (tree / "k" / "l").unlink()
    old = set(digests(repository, T1))
    done = backup(repository, tree, T2, "--reuse-profile", profile)
    assert done.archive["reused_files"] and done.archive["reencoded_files"]
    log = done.log
    assert summary_lines(repository, T2, done, old) in log
    assert upload_lines("root.ppxar", done.archive["payload"]) in log
    assert upload_lines("root.mpxar", done.archive["metadata"]) in log
    assert log.index("Change detection summary:") < log.index("root.ppxar: ")
    for at, mode in ((T3, "data"), (T4, "legacy")):
        without = repository.backup(tree, at, mode=mode).log
        assert "Change detection summary" not in without and "padding" not in without and "hardlinks)" not in without


# ---- 29: the examples come back ----


def five(tree: Path) -> None:
    constants(tree, [("a.bin", 12000000, 0x61), ("b.bin", 300000, 0x62), ("c.bin", 500000, 0x63),
                     ("d.bin", 11000000, 0x64), ("e.bin", 400000, 0x65)])  # fmt: skip


def five_changed(tree: Path) -> None:
    constants(tree, [("b.bin", 310000, 0x42), ("e.bin", 400500, 0x45)])


def hole(tree: Path) -> None:
    small = [(f"a{i}", 250000, 0x41 + i) for i in range(8)]
    constants(tree, [*small, ("b", 6000, 0x62), ("c", 3000, 0x63), ("d", 4000, 0x64), ("e", 120000, 0x65)])


def hundred(tree: Path) -> None:
    for folder in range(10):
        constants(tree, [(f"folder_{folder}/file_{file}", 1048576, 0) for file in range(10)])


def ends(tree: Path) -> None:
    constants(tree, [(f"f{i:02}", 262128 if i else 262112, i + 1) for i in range(12)])


def sixty(tree: Path) -> None:
    constants(tree, [(f"f{i:02}", 20000, i + 1) for i in range(60)])


def batches(tree: Path) -> None:
    constants(tree, [(f"f{i:03}", 20000, i % 256) for i in range(300)])


def nothing(tree: Path) -> None:
    pass


#: Files, change, average chunk in KiB, cache limit.
EXAMPLES: dict[str, tuple[Callable[[Path], object], Callable[[Path], object], int, int]] = {
    "14.1": (five, five_changed, 4096, 65536),
    "14.2": (five, nothing, 4096, 65536),
    "14.3": (hole, lambda tree: (tree / "c").unlink(), 64, 65536),
    "14.4": (hole, nothing, 64, 4),
    "14.5": (hundred, nothing, 1024, 65536),
    "14.5-limit": (hundred, nothing, 1024, 40),
    "14.6": (batches, nothing, 64, 65536),
    "14.8": (ends, nothing, 64, 65536),
    "14.9": (sixty, lambda tree: touch(tree / "f30"), 64, 65536),
}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_come_back(repository: Repository, tree: Path, name: str, profile: str) -> None:
    make, change, average, limit = EXAMPLES[name]
    make(tree)
    more = ["--chunk-size", str(average), "--reuse-profile", profile, "--cache-limit", str(limit)]
    repository.backup(tree, T1, "--chunk-size", str(average), mode="data")
    change(tree)
    times = (T2,) if make is hundred else (T2, T3)
    for at in times:
        assert repository.backup(tree, at, *more).reason == "used"
        usage(repository, at)
    for at in times:
        repository.check_restore(at)


# ---- 30: no files at all ----


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("special", [False, True], ids=["empty", "special-only"])
def test_trees_without_files(repository: Repository, tree: Path, special: bool, profile: str) -> None:
    if special:
        (tree / "d").mkdir()
        os.mkfifo(tree / "d" / "pipe")
        (tree / "symlink").symlink_to("d")
        settle(tree)
    for at, mode in ((T1, "data"), (T2, "metadata"), (T3, "metadata")):
        done = repository.backup(tree, at, "--reuse-profile", profile, mode=mode)
        assert [digest.hex() for digest in digests(repository, at)] == [MARKER_CHUNK]
        assert done.reason == ("not-asked" if mode == "data" else "used")
        repository.check_restore(at)
    write(tree / "first", noise("first", 1000), OLD)
    done = repository.backup(tree, T4, "--reuse-profile", profile)
    assert done.reason == "used" and done.archive["reasons"] == {"new": 1}
    repository.check_restore(T4)


# ---- 31: the cliff of small files ----

EMPTY_FILES, EMPTY_FOLDERS = 200_000, 200


@pytest.fixture(scope="module")
def empties(pxarbench: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, Path]:
    folder = tmp_path_factory.mktemp("empties")
    for number in range(EMPTY_FOLDERS):
        below = folder / "tree" / f"d{number:03}"
        below.mkdir(parents=True)
        for file in range(EMPTY_FILES // EMPTY_FOLDERS):
            os.mknod(f"{below}/f{file:04}", 0o100644)
    repository = Repository(pxarbench, folder / "store", folder)
    done = repository.run(folder / "tree", T1, "--chunk-size", "4096", mode="data")
    assert done.archive["payload"]["chunks"] <= 4
    return repository, folder / "tree"


@pytest.mark.parametrize("profile", PROFILES)
def test_many_empty_files_and_a_small_cache(empties: tuple[Repository, Path], profile: str) -> None:
    """D15: every range is a small part of its chunk, so all are rejected; what is stored instead is the same again."""
    repository, tree = empties
    options = ["--chunk-size", "4096", "--cache-limit", "10000", "--reuse-profile", profile]
    done = repository.run(tree, T2, *options)
    archive = done.archive
    if profile == "stored":
        assert archive["reused_files"] == EMPTY_FILES and archive["reasons"] == {"unchanged": EMPTY_FILES}
    else:
        assert archive["reused_files"] == 0 and archive["injected_chunks"] == 0
        assert archive["reasons"] == {"threshold": EMPTY_FILES}, "the range was rejected, no file changed"
        assert archive["rejected_ranges"] == archive["flushes"] >= EMPTY_FILES // 10000
        assert (archive["payload"]["new_chunks"], archive["payload"]["new_bytes"]) == (0, 0)
    forget(repository, T2)


# ---- 33: two runs in a row over random changes ----


class Recording(payload_model.Model):
    """Keeps what each accepted range counted, of how much."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.accepted: list[tuple[int, int]] = []

    def flush(self, keep: bool) -> None:
        before, held, (begin, end), count = self.position, self.held, self.range, len(self.reused)
        super().flush(keep)
        if begin == end or len(self.reused) == count or not self.previous:
            return
        index = self.previous
        first = next(k for k, (chunk_end, _) in enumerate(index) if chunk_end > begin)
        last = next(k for k in range(first, len(index)) if index[k][0] >= end)
        if not self.options.tight and index[last][0] == end and last + 1 < len(index):
            last += 1
        padding = begin - (index[first - 1][0] if first else 0) + index[last][0] - end
        used = held.size - held.padding if held and held.entry == first else 0
        self.accepted.append((padding - used, end - begin + padding))
        assert self.position >= before


@pytest.mark.parametrize("profile", ["tight", "upstream"])
@pytest.mark.parametrize("number", range(6))
def test_random_changes_keep_padding_below_the_threshold(
    repository: Repository, tree: Path, seed: int, number: int, profile: str
) -> None:
    rng = random.Random(f"padding {seed} {number}")
    gardener = Gardener(tree, rng)
    gardener.grow(60)
    limit = rng.choice([3, 20, 65536])
    files: dict[bytes, Entry] = {}
    offsets: dict[bytes, int] = {}
    for generation, at in enumerate((T1, T1 + 1, T1 + 2)):
        for _ in range(5 if generation else 0):
            gardener.change()
        options = ["--cache-limit", str(limit), "--reuse-profile", profile]
        done = repository.backup(tree, at, *options, mode="metadata" if generation else "data")
        now = first_names(repository.wanted[at])
        same = [path for path, entry in now.items() if unchanged(files.get(path), entry, "strict")]
        reusable = {path: (offsets[path], now[path].size) for path in same}
        previous = repository.index(at - 1, "ppxar") if generation else None
        model = Recording(payload_model.Options(profile == "tight", PPM // 10, limit), previous)
        assert repository.index(at, "ppxar") == model.run(tree, reusable)
        assert all(10 * counted <= total for counted, total in model.accepted)
        assert usage(repository, at).padding == done.archive["padding_bytes"]
        # Holes within a held chunk count for the range before them, too.
        assert done.archive["padding_bytes"] <= sum(counted for counted, _ in model.accepted)
        files, offsets = now, dict(model.references)
        repository.check_restore(at)


# ---- 9, 10, 20: every file of every archive ----


@pytest.mark.parametrize("profile", PROFILES)
def test_positions_of_every_entry(repository: Repository, tree: Path, profile: str) -> None:
    """Section 9: what is encoded stands where the stream ends at that moment, what is reused in what is listed behind;
    the stream is 16 bytes longer than the last position."""
    nested(tree)
    repository.backup(tree, T1, mode="data")
    touch(tree / "b" / "b" / "a")
    write(tree / "e" / "ff", noise("ff", 30_000), OLD)
    done = backup(repository, tree, T2, "--reuse-profile", profile, "--padding-threshold", "0.6")
    assert {"reused", "reencoded"} <= set(done.actions.values())
    use = usage(repository, T2)
    old = set(digests(repository, T1))
    listed = [(start, end) for start, end, digest in use.chunks if digest in old]
    position = 16
    for line in done.lines:
        if line["action"] == "hardlink":
            continue
        if line["action"] == "reencoded":
            while any(start == position for start, _ in listed):
                position = next(end for start, end in listed if start == position)
            assert line["offset"] == position
            position += 16 + line["size"]
        else:
            assert any(start <= line["offset"] < end for start, end in listed) and line["offset"] >= position
    while any(start == position for start, _ in listed):
        position = next(end for start, end in listed if start == position)
    assert use.size == position + 16
    files = {name: e["payload_offset"] for e in repository.dump(T2) if e.get("kind") == "file"
             for name in [e["path"].lstrip("/")]}  # fmt: skip
    assert files == done.offsets
