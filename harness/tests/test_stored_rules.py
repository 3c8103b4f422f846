"""The profile `stored`, through the whole program: bench/spec/reuse-stored.md, its checklist 1 to 9.

What a snapshot wastes is worked out from its streams alone; what is expected, by hand beside the test.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from backup_tools import (
    NAME, T1, T2, T3, Repository, blob, index_body, index_bytes, noise, payload_references,
)  # fmt: skip
from detection_tools import PPM, Run, backup, forget, payload_of, usage, write
from test_random_trees import Gardener

from pxarbench_harness import run
from pxarbench_harness.tree import differences, scan

OLD = 1_500_000_000 * 10**9
STORED = ("--reuse-profile", "stored")
ANY_PADDING = ("--padding-threshold", "1")
#: A chunk of a hundred of these is the first one that reaches the minimum of 1 MiB.
HUNDREDTH = 10470
LARGE = ("--chunk-size", "4096")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir()
    return path


def name(number: int) -> str:
    return f"f{number:03}"


def constants(tree: Path, sizes: Iterable[int]) -> None:
    for number, size in enumerate(sizes):
        write(tree / name(number), bytes([number % 251 + 1]) * size, OLD)


def change(tree: Path, *numbers: int) -> None:
    """Other contents of the same size: what is stored anew is no chunk that was there before."""
    for number in numbers:
        path = tree / name(number)
        before = path.stat()
        write(path, noise(f"{path.name} {before.st_mtime_ns}", before.st_size), before.st_mtime_ns + 10**9)


def digests(repository: Repository, at: int) -> list[bytes]:
    return [digest for _, digest in repository.index(at, "ppxar")]


def recut(repository: Repository, at: int, ends: list[int]) -> None:
    """Gives a snapshot's payload stream other chunks: no chunker makes them at once, but many runs in a row do."""
    payload = repository.stream(at, "ppxar")
    assert ends[-1] == len(payload)
    entries, start = [], 0
    for end in ends:
        part = payload[start:end]
        digest = hashlib.sha256(part).digest()
        repository.chunk(digest).parent.mkdir(exist_ok=True)
        repository.chunk(digest).write_bytes(blob(part))
        entries.append((end, digest))
        start = end
    (repository.snapshot(at) / f"{NAME}.ppxar.didx").write_bytes(index_bytes(entries))
    manifest = repository.manifest(at)
    (listed,) = (file for file in manifest["files"] if "ppxar" in file["filename"])
    listed["csum"] = hashlib.sha256(index_body(entries)).hexdigest()
    repository.set_manifest(at, manifest)


def check_waste(
    repository: Repository, at: int, done: Run, old: Iterable[bytes], threshold_ppm: int = PPM // 10
) -> None:
    """Checklist 1. What was decided before all of a chunk was seen may be wasted: at most so many chunks."""
    use = usage(repository, at)
    entries = list(old)
    old = set(entries)
    violators = [
        digest for digest, waste in use.waste.items()
        if digest in old and waste * PPM > use.size_of(digest) * threshold_ppm
    ]  # fmt: skip
    assert len(violators) <= done.archive["early_chunks"]
    # Every chunk written in this run is used to its last byte.
    assert {digest: waste for digest, waste in use.waste.items() if waste and digest not in old} == {}
    times = use.listed
    assert max((times[digest] for digest in times if digest in old), default=0) <= 8
    listed = [digest for digest in dict.fromkeys(d for _, _, d in use.chunks) if digest in old]
    if len(old) == len(entries) and done.archive["payload"]["known_chunks"] == 0:
        assert done.archive["ledger"]["stored_waste"] == sum(use.waste[digest] for digest in listed)
        assert done.archive["ledger"]["relisted_chunks"] == sum(1 for digest in listed if times[digest] > 1)
    assert use.padding == done.archive["padding_bytes"] == done.archive["ledger"]["padding"]


def extract_in_order(repository: Repository, at: int, target: Path) -> None:
    """Through a pipe: what is in it comes once and in order."""
    metadata, pipe = repository.scratch / "x.mpxar", repository.scratch / "x.ppxar"
    metadata.write_bytes(repository.stream(at, "mpxar"))
    payload = payload_of(repository, at)
    os.mkfifo(pipe)

    def feed() -> None:
        try:
            pipe.write_bytes(payload)
        except BrokenPipeError:
            pass  # the reader has its own sentence

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    words = [repository.program, "pxar", "extract", metadata, target, "--payload-input", pipe]
    result = run.run(words, timeout=60)
    feeder.join(timeout=10)
    pipe.unlink()
    result.check_ok()


def check_restores(repository: Repository, at: int) -> None:
    """Checklist 2: from the store, from files in order."""
    repository.check_restore(at)
    target = repository.scratch / "in-order"
    extract_in_order(repository, at, target)
    assert differences(repository.wanted[at], scan(target)) == []
    shutil.rmtree(target)


# ---- 1, 2, 7: random trees ----


@pytest.mark.parametrize("limit", ["1", "2", "7", "64", "65536"])
@pytest.mark.parametrize("number", range(4))
def test_random_generations(repository: Repository, tree: Path, seed: int, number: int, limit: str) -> None:
    """Valid, exact, and nothing wasted beyond the threshold but what was decided early."""
    rng = random.Random(f"stored {seed} {number}")
    gardener = Gardener(tree, rng)
    gardener.grow(50)
    repository.backup(tree, T1, mode="data")
    for at in range(T1 + 1, T1 + 4):
        for _ in range(6):
            gardener.change()
        threshold = rng.choice(["0.1", "0.1", "0", "0.4"])
        options = ["--cache-limit", limit, "--padding-threshold", threshold]
        done = backup(repository, tree, at, *STORED, *options)
        assert done.archive["early_chunks"] == 0 or limit != "65536"
        check_waste(repository, at, done, digests(repository, at - 1), round(float(threshold) * PPM))
        offsets = [offset for _, offset, _ in payload_references(repository.stream(at, "mpxar"))]
        assert offsets == sorted(set(offsets))
        check_restores(repository, at)


LIMITS = ["1", "2", "16", "64", "65536"]


def test_limits(repository: Repository, tree: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Checklist 7 on a thousand files: whatever the limit, the archive is right and the rule holds for what was not
    decided early. Without a limit nothing is decided early, and no listed chunk is above the threshold."""
    rng = random.Random(f"limits {seed}")
    for number in range(1000):
        write(tree / name(number), noise(name(number), rng.randrange(12_000)), OLD)
    repository.backup(tree, T1, mode="data")
    old = digests(repository, T1)
    change(tree, *rng.sample(range(1000), 30))
    rows = []
    for limit in LIMITS:
        done = backup(repository, tree, T2, *STORED, "--cache-limit", limit)
        check_waste(repository, T2, done, old)
        use = usage(repository, T2)
        wasted = sum(waste for digest, waste in use.waste.items() if digest in set(old))
        rows.append((limit, done.archive["file_bytes_read"], wasted, done.archive["early_chunks"]))
        if limit in ("1", "65536"):
            check_restores(repository, T2)
        forget(repository, T2)
    with capsys.disabled():
        print("\nlimit  bytes read again  stored in vain  decided early")
        for limit, read, wasted, early in rows:
            print(f"{limit:>5} {read:>17,} {wasted:>15,} {early:>14,}")
    changed = sum((tree / name(n)).stat().st_size for n in range(1000) if (tree / name(n)).stat().st_mtime_ns != OLD)
    assert all(read >= changed for _, read, _, _ in rows)
    assert rows[-1][3] == 0 and rows[0][3] > 0


# ---- 3: nothing changed ----


@pytest.mark.parametrize("limit", ["1", "2", "64", "65536"])
def test_unchanged_tree_is_that_of_tight(repository: Repository, tree: Path, limit: str) -> None:
    gardener = Gardener(tree, random.Random(5))
    gardener.grow(80)
    repository.backup(tree, T1, mode="data")
    tight = backup(repository, tree, T2, "--padding-threshold", "0.5")
    wanted = repository.index(T2, "ppxar"), repository.stream(T2, "mpxar")
    forget(repository, T2)
    done = backup(repository, tree, T2, *STORED, "--padding-threshold", "0.5", "--cache-limit", limit)
    assert (repository.index(T2, "ppxar"), repository.stream(T2, "mpxar")) == wanted
    assert done.archive["file_bytes_read"] == tight.archive["file_bytes_read"] == 0
    assert done.archive["given_up_chunks"] == {"threshold": 0, "instances": 0, "absorbed": 0}
    third = backup(repository, tree, T3, *STORED, "--padding-threshold", "0.5", "--cache-limit", limit)
    assert (repository.index(T3, "ppxar"), repository.stream(T3, "mpxar")) == wanted
    assert third.archive["payload"]["new_chunks"] == third.archive["metadata"]["new_chunks"] == 0


def test_relisted_chunk_is_one_chunk_in_the_next_generation(
    repository: Repository, tree: Path, hundreds: list[bytes]
) -> None:
    """Two listings of one chunk, half of it used through each: stored once, wasted hardly at all, so nothing happens."""
    change(tree, 150)
    backup(repository, tree, T2, *STORED, *LARGE)
    assert digests(repository, T2).count(hundreds[1]) == 2
    third = backup(repository, tree, T3, *STORED, *LARGE)
    assert third.archive["file_bytes_read"] == 0 and third.archive["payload"]["new_chunks"] == 0
    assert repository.index(T3, "ppxar") == repository.index(T2, "ppxar")
    check_waste(repository, T3, third, digests(repository, T2))
    check_restores(repository, T3)


def test_listings_are_counted_over_generations(repository: Repository, tree: Path, hundreds: list[bytes]) -> None:
    """One more changed file each time, far from the others: eight listings, and then the chunk is given up."""
    for generation in range(1, 8):
        change(tree, 100 + 12 * generation)
        at = T1 + generation
        done = backup(repository, tree, at, *STORED, *LARGE)
        assert done.archive["reencoded_files"] == 1
        assert [digests(repository, at).count(digest) for digest in hundreds] == [1, generation + 1, 1]
        check_waste(repository, at, done, digests(repository, at - 1))
        repository.check_restore(at)
    change(tree, 196)
    done = backup(repository, tree, T1 + 8, *STORED, *LARGE)
    assert done.archive["given_up_chunks"]["instances"] == 1
    assert [digests(repository, T1 + 8).count(digest) for digest in hundreds] == [1, 0, 1]
    # The small chunks of the files changed before, which stand between, are taken along.
    assert (done.archive["reused_files"], done.archive["reencoded_files"]) == (200, 100)
    assert done.archive["reasons"]["instances"] == 92 and done.archive["reasons"]["absorbed"] == 7
    check_restores(repository, T1 + 8)


def test_waste_adds_up_over_generations(repository: Repository, tree: Path, hundreds: list[bytes]) -> None:
    """Ten files of the hundred change in three runs: a tenth is wasted. The eleventh is too much."""
    for at, changed in ((T1 + 1, range(110, 114)), (T1 + 2, range(130, 134)), (T1 + 3, range(170, 172))):
        change(tree, *changed)
        done = backup(repository, tree, at, *STORED, *LARGE)
        assert done.archive["file_bytes_read"] == len(changed) * HUNDREDTH
        check_waste(repository, at, done, digests(repository, at - 1))
        repository.check_restore(at)
    assert usage(repository, T1 + 3).waste[hundreds[1]] == 10 * (HUNDREDTH + 16)
    change(tree, 150)
    done = backup(repository, tree, T1 + 4, *STORED, *LARGE)
    assert done.archive["given_up_chunks"]["threshold"] == 1
    assert [digests(repository, T1 + 4).count(digest) for digest in hundreds] == [1, 0, 1]
    check_restores(repository, T1 + 4)


def halves(repository: Repository, tree: Path, gone: tuple[int, int]) -> Run:
    """Chunks P, Q, P. Each P is two files; of each one is deleted."""
    half = 30_000
    for number, value in enumerate((1, 2, 3, 1, 2)):
        write(tree / name(number), bytes([value]) * half, OLD)
    repository.backup(tree, T1, mode="data")
    head = 16 + 2 * (half + 16)
    recut(repository, T1, [16, head, head + half + 16, 2 * head + half, 2 * head + half + 16])
    assert digests(repository, T1)[1] == digests(repository, T1)[3]
    for number in gone:
        (tree / name(number)).unlink()
    return backup(repository, tree, T2, *STORED)


def test_equal_chunks_used_at_the_same_place_are_chunks_of_their_own(repository: Repository, tree: Path) -> None:
    """The first half of both is gone: by their sum they would look whole."""
    done = halves(repository, tree, (0, 3))
    assert done.reasons == {name(1): "threshold", name(2): "unchanged", name(4): "threshold"}
    check_restores(repository, T2)


def test_equal_chunks_used_at_different_places_are_one(repository: Repository, tree: Path) -> None:
    """Stored once and used whole, whatever the runs were that made it so."""
    done = halves(repository, tree, (1, 3))
    assert done.reasons == {name(0): "unchanged", name(2): "unchanged", name(4): "unchanged"}
    check_waste(repository, T2, done, digests(repository, T1))
    check_restores(repository, T2)


# ---- 4, 5: one chunk of a hundred files ----


@pytest.fixture
def hundreds(repository: Repository, tree: Path) -> list[bytes]:
    """Three chunks of a hundred files each. The middle one holds nothing else."""
    constants(tree, [HUNDREDTH] * 300)
    repository.backup(tree, T1, *LARGE, mode="data")
    each = 100 * (HUNDREDTH + 16)
    assert [end for end, _ in repository.index(T1, "ppxar")] == [16 + each, 16 + 2 * each, 32 + 3 * each]
    return digests(repository, T1)


def test_one_changed_file_of_a_hundred(repository: Repository, tree: Path, hundreds: list[bytes]) -> None:
    change(tree, 150)
    done = backup(repository, tree, T2, *STORED, *LARGE)
    assert done.archive["file_bytes_read"] == HUNDREDTH and done.archive["reencoded_files"] == 1
    assert done.changed == {name(150): "mtime"}
    new = digests(repository, T2)
    assert [new.count(digest) for digest in hundreds] == [1, 2, 1]
    sizes = [end - start for start, end, _ in usage(repository, T2).chunks]
    # One new small chunk, between the two listings; the markers are chunks of their own.
    assert sizes[3] == HUNDREDTH + 16 and new[2] == new[4] == hundreds[1] and len(new) == 7
    assert done.archive["ledger"]["stored_waste"] == 16 + (HUNDREDTH + 16) + 16
    check_waste(repository, T2, done, hundreds)
    check_restores(repository, T2)


@pytest.mark.parametrize("spread", [False, True], ids=["together", "spread"])
@pytest.mark.parametrize(("count", "is_kept"), [(10, True), (11, False)])
def test_a_tenth_of_a_chunk_may_be_wasted(
    repository: Repository, tree: Path, hundreds: list[bytes], count: int, is_kept: bool, spread: bool
) -> None:
    changed = [110 + (7 * k if spread else k) for k in range(count)]
    change(tree, *changed)
    done = backup(repository, tree, T2, *STORED, *LARGE, "--max-instances", "100")
    wanted = dict.fromkeys((name(n) for n in range(300)), "unchanged")
    if not is_kept:
        wanted.update(dict.fromkeys((name(n) for n in range(100, 200)), "threshold"))
    wanted.update(dict.fromkeys((name(n) for n in changed), "mtime"))
    assert done.reasons == wanted
    assert done.archive["file_bytes_read"] == HUNDREDTH * (count if is_kept else 100)
    assert done.archive["given_up_chunks"]["threshold"] == (0 if is_kept else 1)
    new = digests(repository, T2)
    assert [new.count(digest) for digest in hundreds] == [1, (count + 1 if spread else 2) if is_kept else 0, 1]
    check_restores(repository, T2)


@pytest.mark.parametrize(("most", "changes"), [(8, 7), (8, 8), (3, 2), (3, 3), (1, 0), (1, 1)])
def test_number_of_listings_is_bounded(
    repository: Repository, tree: Path, hundreds: list[bytes], most: int, changes: int
) -> None:
    """So many changed files apart from each other leave one stretch more."""
    change(tree, *(105 + 10 * k for k in range(changes)))
    options = [] if most == 8 else ["--max-instances", str(most)]
    done = backup(repository, tree, T2, *STORED, *LARGE, *options)
    is_kept = changes + 1 <= most
    assert digests(repository, T2).count(hundreds[1]) == (changes + 1 if is_kept else 0)
    assert done.archive["given_up_chunks"]["instances"] == (0 if is_kept else 1)
    assert done.archive["reasons"].get("instances", 0) == (0 if is_kept else 100 - changes)
    assert done.archive["reused_files"] == (300 - changes if is_kept else 200)
    check_restores(repository, T2)


# ---- 6: a file in three chunks ----


def spanning(repository: Repository, tree: Path, rest: int) -> None:
    """f000 fills a chunk. f001 begins K1, f002 goes on from there through K2 into K3, whose first `rest` bytes are its
    own, and f003 has the rest of K3."""
    constants(tree, [60_000, 15_000, 262144 - 15_016 + 262144 + rest - 16, 80_000])
    repository.backup(tree, T1, mode="data")
    k0 = 16 + 60_016
    ends = [end for end, _ in repository.index(T1, "ppxar")]
    assert ends == [k0, k0 + 262144, k0 + 2 * 262144, k0 + 2 * 262144 + rest + 80_016 + 16] or ends[:4] == [
        k0, k0 + 262144, k0 + 2 * 262144, k0 + 2 * 262144 + rest + 80_016]  # fmt: skip


@pytest.mark.parametrize(
    ("rest", "changed", "wanted"),
    [
        # Nothing happens to it: all reused.
        (10_000, None, ["unchanged"] * 4),
        # K1 is given up for f001, which is 5.7 % of it, and f002 with it; that is 11 % of K3, so f003 goes as well.
        (10_000, 1, ["unchanged", "mtime", "threshold", "threshold"]),
        # The same, but only 2.4 % of K3: it is kept.
        (2_000, 1, ["unchanged", "mtime", "threshold", "unchanged"]),
        # K3 is given up for f003, f002 with it; K1 was looked at before and is given up in the next pass.
        (10_000, 3, ["unchanged", "threshold", "threshold", "mtime"]),
        # f002 itself: K1 and K3 lose it.
        (10_000, 2, ["unchanged", "threshold", "mtime", "threshold"]),
        (2_000, 2, ["unchanged", "threshold", "mtime", "unchanged"]),
        (10_000, 0, ["mtime", "unchanged", "unchanged", "unchanged"]),
    ],
)
def test_file_in_three_chunks(
    repository: Repository, tree: Path, rest: int, changed: int | None, wanted: list[str]
) -> None:
    spanning(repository, tree, rest)
    if changed is not None:
        change(tree, changed)
    done = backup(repository, tree, T2, *STORED, "--padding-threshold", "0.05")
    assert [done.reasons[name(n)] for n in range(4)] == wanted
    check_waste(repository, T2, done, digests(repository, T1), PPM // 20)
    check_restores(repository, T2)


# ---- 9: small chunks are absorbed ----

SMALL = 1000 + 16  # a file, and a chunk of its own below


def small_chunks(repository: Repository, tree: Path, files: int, per_chunk: int = 1) -> None:
    constants(tree, [1000] * files)
    repository.backup(tree, T1, mode="data")
    ends = [16 + SMALL * number for number in range(per_chunk, files + 1, per_chunk)]
    ends[-1] = 16 + SMALL * files + 16
    recut(repository, T1, ends)
    assert len(set(digests(repository, T1))) == len(ends)


def reasons(done: Run) -> str:
    """A letter for each file: u(nchanged), m(time), a(bsorbed), t(hreshold), i(nstances)."""
    return "".join(reason[0] for _, reason in sorted(done.reasons.items()))


@pytest.mark.parametrize(
    ("per_chunk", "changed", "wanted"),
    [
        # 17 files are the first number that reaches the smallest chunk, 16 KiB: those behind come first.
        (1, [20], "u" * 20 + "m" + "a" * 16 + "u" * 3),
        # At the end of the archive, then those before.
        (1, [30], "u" * 23 + "a" * 7 + "m" + "a" * 9),
        (1, [0], "m" + "a" * 16 + "u" * 23),
        # Two runs that meet: the first takes all up to the second and that one along.
        (1, [5, 10], "u" * 5 + "m" + "a" * 4 + "m" + "a" * 11 + "u" * 18),
        # As a whole: the chunk of two files goes although one would do.
        (2, [20], "u" * 20 + "m" + "a" * 17 + "u" * 2),
        # Chunks of five files are not below 4 KiB, so not small: it stays alone.
        (5, [20], "u" * 20 + "m" + "u" * 19),
        (1, [], "u" * 40),
    ],
)
def test_short_run_absorbs_small_chunks(
    repository: Repository, tree: Path, per_chunk: int, changed: list[int], wanted: str
) -> None:
    small_chunks(repository, tree, 40, per_chunk)
    change(tree, *changed)
    done = backup(repository, tree, T2, *STORED, *ANY_PADDING)
    assert reasons(done) == wanted
    absorbed = {(n) // per_chunk for n in range(40) if wanted[n] == "a"}
    assert done.archive["given_up_chunks"]["absorbed"] == len(absorbed)
    assert done.archive["file_bytes_read"] == 1000 * sum(1 for letter in wanted if letter != "u")
    check_waste(repository, T2, done, digests(repository, T1), PPM)
    check_restores(repository, T2)


@pytest.mark.parametrize(
    ("below", "wanted"),
    [("0", "alone"), (str(SMALL), "alone"), (str(SMALL + 1), "absorbs"), ("4096", "absorbs"), (None, "absorbs")],
)
def test_what_counts_as_small(repository: Repository, tree: Path, below: str | None, wanted: str) -> None:
    """Smaller than --absorb-below; by default a sixteenth of the average."""
    small_chunks(repository, tree, 40)
    change(tree, 20)
    options = [] if below is None else ["--absorb-below", below]
    done = backup(repository, tree, T2, *STORED, *ANY_PADDING, *options)
    assert reasons(done) == "u" * 20 + "m" + ("a" * 16 if wanted == "absorbs" else "u" * 16) + "u" * 3


def test_large_chunks_in_the_way_are_not_absorbed(repository: Repository, tree: Path) -> None:
    """Small, then five files in one that is not small, then small again: the run ends at it on either side."""
    constants(tree, [1000] * 30)
    repository.backup(tree, T1, mode="data")
    ends = [16 + SMALL * n for n in (*range(1, 10), 14, *range(15, 20), 24, *range(25, 30))] + [32 + SMALL * 30]
    recut(repository, T1, ends)
    change(tree, 16)
    done = backup(repository, tree, T2, *STORED, *ANY_PADDING)
    assert reasons(done) == "u" * 14 + "aa" + "m" + "aa" + "u" * 11
    check_restores(repository, T2)


def test_file_that_reaches_into_a_large_chunk_is_not_absorbed(repository: Repository, tree: Path) -> None:
    """Every chunk that a file touches must be small."""
    constants(tree, [1000] * 20)
    repository.backup(tree, T1, mode="data")
    # f011 begins in a small chunk and ends in a large one.
    ends = [16 + SMALL * n for n in range(1, 12)] + [16 + SMALL * 11 + 500, 32 + SMALL * 20]
    recut(repository, T1, ends)
    change(tree, 10)
    done = backup(repository, tree, T2, *STORED, *ANY_PADDING)
    assert reasons(done) == "a" * 10 + "m" + "u" * 9


def test_small_new_chunk_is_absorbed_by_the_next_change_beside_it(
    repository: Repository, tree: Path, hundreds: list[bytes]
) -> None:
    """How they come about, and how they go again: one file each in the second and third generation."""
    change(tree, 150)
    backup(repository, tree, T2, *STORED, *LARGE)
    change(tree, 149)
    done = backup(repository, tree, T3, *STORED, *LARGE)
    assert {file: why for file, why in done.reasons.items() if why != "unchanged"} == {
        name(149): "mtime", name(150): "absorbed"}  # fmt: skip
    sizes = [end - start for start, end, _ in usage(repository, T3).chunks]
    assert 2 * (HUNDREDTH + 16) in sizes and HUNDREDTH + 16 not in sizes
    change(tree, 40)  # far from it, between large ones
    done = backup(repository, tree, T3 + 1, *STORED, *LARGE)
    assert {file: why for file, why in done.reasons.items() if why != "unchanged"} == {name(40): "mtime"}
    for at in (T2, T3, T3 + 1):
        check_restores(repository, at)


# ---- the options ----


def test_options_are_refused_where_they_make_no_sense(repository: Repository, tree: Path) -> None:
    constants(tree, [10])
    for words, said in ((["--max-instances", "0"], "minimum value of 1"), (["--absorb-below", "-1"], "whole number")):
        done = repository.run(tree, T1, *STORED, *words)
        assert done.result.returncode == 2 and said in done.log


def test_run_says_what_it_ran_with(repository: Repository, tree: Path) -> None:
    constants(tree, [10])
    done = repository.backup(tree, T1, *STORED)
    assert (done.stats["profile"], done.stats["absorb_below"], done.stats["max_instances"]) == ("stored", 4096, 8)
    done = repository.backup(tree, T2, *STORED, "--absorb-below", "77", "--max-instances", "3")
    assert (done.stats["absorb_below"], done.stats["max_instances"]) == (77, 3)
