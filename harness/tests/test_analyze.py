"""`analyze` against a model that counts byte by byte (analyze_model.py), against the backup's own ledger, and alone."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import analyze_model as model
import pytest
from backup_tools import (
    GROUP,
    NAME,
    T1,
    T2,
    T3,
    T4,
    Repository,
    index_body,
    index_bytes,
    noise,
    payload_references,
    sentence,
    settle,
    time_text,
    write_tree,
)
from store_tools import RealStore, real_store  # noqa: F401 (a fixture)

from pxarbench_harness import run

PROFILES = ["tight", "upstream", "stored"]


def snapshot_name(at: int) -> str:
    return f"{GROUP}/{time_text(at)}"


def analyze(repository: Repository, times: Sequence[int], *more: str) -> run.Result:
    names = [snapshot_name(at) for at in times]
    return run.run([repository.program, "analyze", *names, "--repository", repository.path, *more], timeout=60)


def analyzed(repository: Repository, times: Sequence[int], *more: str) -> Any:
    result = analyze(repository, times, "--output-format", "json", *more).check_ok()
    assert result.stderr == b""
    found = json.loads(result.text)
    assert found["schema"] == "pxarbench-analyze/1"
    return found


def one_archive(repository: Repository, times: Sequence[int], *more: str) -> Any:
    (archive,) = analyzed(repository, times, *more)["archives"]
    assert archive["name"] == NAME
    return archive


def stream_of(repository: Repository, at: int) -> model.Stream:
    return model.read_stream(
        repository.program,
        repository.scratch,
        snapshot_name(at),
        repository.index(at, "ppxar"),
        repository.stream(at, "mpxar"),
    )


# ---- trees with a history ----


class Garden:
    """A tree that changes at random. Every change gets a time of its own; nothing depends on the clock."""

    def __init__(self, root: Path, seed: str, *, duplicates: bool) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.seed = seed
        self.made = 0
        self.duplicates = duplicates
        root.mkdir()
        for number in range(90):
            self.write(root / f"d{number % 5}" / f"f{number:02}")
        if duplicates:
            (root / "d1" / "zeros").write_bytes(bytes(700_000))
            (root / "d3" / "zeros").write_bytes(bytes(500_000))
            shutil.copy(root / "d0" / "f00", root / "d4" / "copy")
        os.link(root / "d2" / "f02", root / "z-hard")
        (root / os.fsdecode(b"d0/\xff\xfename")).write_bytes(noise(f"{seed} bytes", 30_000))
        (root / "link").symlink_to("d0")
        (root / "empty").touch()
        settle(root)

    def files(self) -> list[Path]:
        return sorted(p for p in self.root.rglob("*") if p.is_file() and not p.is_symlink() and "zeros" not in p.name)

    def write(self, path: Path) -> None:
        self.made += 1
        size = self.random.choice([0, 1, 300, 4000, 9000, 20_000, 60_000])
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(noise(f"{self.seed} {self.made}", size + (self.made if size else 0)))

    def stamp(self, path: Path) -> None:
        self.made += 1
        os.utime(path, ns=((T1 + self.made) * 10**9, (T1 + self.made) * 10**9 + self.made))

    def change(self) -> None:
        for _ in range(self.random.choice([1, 4, 12])):
            path = self.random.choice(self.files())
            how = self.random.choice(["delete", "write", "append", "touch", "rename", "add", "symlink"])
            if how == "delete":
                path.unlink()
            elif how == "rename":
                path.rename(path.with_name(f"r{self.made}-{path.name[:20]}"))
                self.made += 1
            elif how == "symlink":
                path.unlink()
                path.symlink_to("nowhere")
            elif how == "add":
                path = path.with_name(f"a{self.made:03}")
                self.write(path)
                self.stamp(path)
            else:
                if how == "append":
                    with path.open("ab") as file:
                        file.write(b"more")
                elif how == "write":
                    self.write(path)
                self.stamp(path)


TIMES = [T1, T2, T3, T4, T4 + 100]


def grow(repository: Repository, garden: Garden, profile: str, times: Sequence[int] = TIMES) -> list[Any]:
    """A backup of each generation; their archives' statistics."""
    done = []
    for at in times:
        if at != times[0]:
            garden.change()
        mode = "data" if at == times[0] else "metadata"
        options = ["--reuse-profile", profile, "--absorb-below", "4096"] if profile == "stored" else []
        if mode == "metadata" and not options:
            options = ["--reuse-profile", profile]
        done.append(repository.run(garden.root, at, *options, mode=mode).archive)
    return done


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("which", [1, 2, 3])
def test_random_generations_equal_the_model(
    repository: Repository, tmp_path: Path, profile: str, which: int, seed: int
) -> None:
    """Every number and every name, for trees with holes, duplicates, hardlinks and names that are no text."""
    garden = Garden(tmp_path / "tree", f"{seed} {which}", duplicates=True)
    grow(repository, garden, profile)
    streams = [stream_of(repository, at) for at in TIMES]
    found = one_archive(repository, TIMES, "--ranges", "--ghosts", "0", "--lru", "2,1,5", "--chunk-size", "64")
    for stream, before, said in zip(streams, [None, *streams], found["snapshots"]):
        assert said == model.analysis_of(stream, before=before, lru=[2, 1, 5], average=65536, ranges=True)
        if profile == "stored":  # what the profile promises of every chunk
            assert said["waste_max_ppm"] <= 100_000
    assert len(found["snapshots"]) == len(TIMES)
    ghosts = model.with_path_bytes(found["ghosts"])
    assert ghosts == model.ghosts_of(streams, top=0)
    waste = found["snapshots"][-1]["ledger"]["stored_waste"]
    named = sum(ghosts[fate]["bytes"] for fate in ("deleted", "replaced", "moved"))
    assert named + ghosts["header_bytes"] + ghosts["unattributed_bytes"] == waste
    assert sum(ghost["bytes"] for ghost in ghosts["files"]) == named


def test_order_of_snapshots(repository: Repository, tmp_path: Path, seed: int) -> None:
    """The series is in the order given; ghosts are always those of the newest."""
    garden = Garden(tmp_path / "tree", f"{seed} order", duplicates=True)
    grow(repository, garden, "tight")
    order = [T4, T2, T4 + 100, T1, T3]
    streams = [stream_of(repository, at) for at in order]
    found = one_archive(repository, order)
    for stream, before, said in zip(streams, [None, *streams], found["snapshots"]):
        assert said == model.analysis_of(stream, before=before)
    assert model.with_path_bytes(found["ghosts"]) == model.ghosts_of(streams)
    assert found["ghosts"]["newest"] == snapshot_name(T4 + 100)
    # Ghosts of a snapshot in the middle know only what is older.
    early = one_archive(repository, [T3, T1])
    assert model.with_path_bytes(early["ghosts"]) == model.ghosts_of([streams[4], streams[3]])


@pytest.mark.parametrize("profile", PROFILES)
def test_the_ledger_of_a_backup_is_the_one_recomputed(
    repository: Repository, tmp_path: Path, profile: str, seed: int
) -> None:
    """What the look-ahead cache counted while it ran, and what the streams say afterwards."""
    garden = Garden(tmp_path / "tree", f"{seed} ledger {profile}", duplicates=False)
    archives = grow(repository, garden, profile)
    found = one_archive(repository, TIMES)["snapshots"]
    padded = alike = 0
    for at, archive, said in zip(TIMES, archives, found):
        counted = dict(archive["ledger"])
        recomputed = {key: said["ledger"][key] for key in counted}
        # To a backup a chunk is an entry of the old index. Encoded anew, a file may make a chunk that is listed as an
        # old one as well; by digest that is one chunk, listed once more and with less waste.
        waste = recomputed.pop("stored_waste"), counted.pop("stored_waste")
        relisted = recomputed.pop("relisted_chunks"), counted.pop("relisted_chunks")
        assert recomputed == counted and len(counted) == 8, time_text(at)
        assert waste[0] == waste[1] if relisted[0] == relisted[1] else waste[0] <= waste[1], time_text(at)
        assert relisted[0] >= relisted[1]
        padded += counted["padding"]
        alike += waste[0] == waste[1]
    assert padded > 0 and alike >= 2


# ---- one thing at a time ----


def simple_tree(root: Path) -> Path:
    """Twelve files of 10,000 bytes, two to a chunk."""
    root.mkdir()
    for number in range(12):
        (root / f"f{number:02}").write_bytes(noise(f"simple {number}", 10_000))
    settle(root)
    return root


def touch(path: Path, at: int = T2) -> None:
    os.utime(path, ns=(at * 10**9, at * 10**9))


def simple_backups(repository: Repository, tree: Path, change: Callable[[], None]) -> None:
    """One generation before `change`, one after it that reuses whatever is unchanged."""
    repository.run(tree, T1, mode="data").result.check_ok()
    change()
    repository.run(tree, T2, "--padding-threshold", "1").result.check_ok()


def ghost(path: str, fate: str, *, size: int = 10_000, at: int = T1) -> dict[str, Any]:
    return {"path": path, "snapshot": snapshot_name(at), "size": size, "bytes": size, "fate": fate}


def test_ghosts_by_name(repository: Repository, tmp_path: Path) -> None:
    tree = simple_tree(tmp_path / "tree")

    def change() -> None:
        (tree / "f03").unlink()
        (tree / "f05").write_bytes(noise("new", 10_001))
        touch(tree / "f05")
        (tree / "f06").unlink()
        (tree / "f06").symlink_to("f07")
        (tree / "f08").chmod(0o600)  # the same size and time, but encoded again
        (tree / "f01").write_bytes(noise("longer, same time", 10_002))
        touch(tree / "f01", T1)
        os.utime(tree / "f10", ns=(T1 * 10**9, T1 * 10**9 + 1))

    (tree / "f08").chmod(0o644)
    simple_backups(repository, tree, change)
    ghosts = one_archive(repository, [T1, T2])["ghosts"]
    fates = dict.fromkeys(["f01", "f03", "f05", "f06", "f08", "f10"], "replaced") | {"f03": "deleted", "f08": "moved"}
    assert ghosts["files"] == [ghost(f"/{name}", fate) for name, fate in fates.items()]
    assert ghosts["deleted"] == {"files": 1, "bytes": 10_000}
    assert ghosts["replaced"] == {"files": 4, "bytes": 40_000}
    assert ghosts["moved"] == {"files": 1, "bytes": 10_000}
    assert ghosts["header_bytes"] == 6 * 16
    assert ghosts["unattributed_bytes"] == 2 * 16  # the markers of the first stream

    alone = one_archive(repository, [T2])
    assert alone["ghosts"] is None
    assert alone["snapshots"][0]["ledger"]["stored_waste"] == 60_000 + 6 * 16 + 2 * 16


def test_the_largest_ghosts_are_named(repository: Repository, tmp_path: Path) -> None:
    tree = simple_tree(tmp_path / "tree")
    for number, size in enumerate([9000, 12_000, 12_000, 700]):
        (tree / f"f0{2 * number + 1}").write_bytes(noise(f"sized {number}", size))
    settle(tree)

    def change() -> None:
        for number in range(4):
            (tree / f"f0{2 * number + 1}").unlink()

    simple_backups(repository, tree, change)
    wanted = [("/f03", 12_000), ("/f05", 12_000), ("/f01", 9000), ("/f07", 700)]
    for limit, count in [("0", 4), ("1", 1), ("3", 3), ("9", 4)]:
        ghosts = one_archive(repository, [T1, T2], "--ghosts", limit)["ghosts"]
        assert [(file["path"], file["bytes"]) for file in ghosts["files"]] == wanted[:count]
        assert ghosts["deleted"] == {"files": 4, "bytes": 33_700}


def test_a_ghost_belongs_to_the_newest_snapshot_that_has_it(repository: Repository, tmp_path: Path) -> None:
    tree = simple_tree(tmp_path / "tree")
    for at in (T1, T2):
        repository.run(tree, at, mode="data" if at == T1 else "metadata").result.check_ok()
    (tree / "f03").unlink()
    repository.run(tree, T3, "--padding-threshold", "1").result.check_ok()
    assert one_archive(repository, [T1, T2, T3])["ghosts"]["files"] == [ghost("/f03", "deleted", at=T2)]
    assert one_archive(repository, [T1, T3])["ghosts"]["files"] == [ghost("/f03", "deleted", at=T1)]
    nothing = one_archive(repository, [T1, T2])["ghosts"]
    assert nothing["files"] == [] and nothing["unattributed_bytes"] == 32


def test_an_unchanged_generation_reads_alike(repository: Repository, tmp_path: Path) -> None:
    tree = simple_tree(tmp_path / "tree")
    simple_backups(repository, tree, lambda: None)
    first, second = one_archive(repository, [T1, T2])["snapshots"]
    assert first["ledger"]["padding"] == 0 and first["virtual_ppm"] == 10**6
    assert first["discontinuities"] == second["discontinuities"] == 0
    assert second["ledger"]["padding"] == second["ledger"]["stored_waste"] == 32
    assert second["change"] == {"new_chunks": 2, "new_bytes": 32, "dropped_chunks": 0, "dropped_bytes": 0}
    assert second["index_entries"] == first["index_entries"] + 2


# ---- what it reads, and what it says when it cannot ----


def remove_payload_chunks(repository: Repository, times: Sequence[int]) -> int:
    kept = {digest for at in times for _, digest in repository.index(at, "mpxar")}
    payload = {digest for at in times for _, digest in repository.index(at, "ppxar")} - kept
    for digest in payload:
        repository.chunk(digest).unlink()
    return len(payload)


def test_no_payload_chunk_is_read(repository: Repository, tmp_path: Path, seed: int) -> None:
    garden = Garden(tmp_path / "tree", f"{seed} gone", duplicates=True)
    grow(repository, garden, "tight", TIMES[:3])
    wanted = analyzed(repository, TIMES[:3], "--ranges", "--ghosts", "0")
    assert remove_payload_chunks(repository, TIMES[:3]) > 20
    assert analyzed(repository, TIMES[:3], "--ranges", "--ghosts", "0") == wanted


def set_index(
    repository: Repository, at: int, stream: str, entries: Sequence[tuple[int, bytes]], **changes: Any
) -> None:
    """Another index, with a manifest that agrees."""
    name = f"{NAME}.{stream}.didx"
    (repository.snapshot(at) / name).write_bytes(index_bytes(entries))
    manifest = repository.manifest(at)
    (listed,) = (file for file in manifest["files"] if file["filename"] == name)
    listed.update({"size": entries[-1][0], "csum": hashlib.sha256(index_body(entries)).hexdigest(), **changes})
    repository.set_manifest(at, manifest)


@pytest.fixture
def simple(repository: Repository, tmp_path: Path) -> Repository:
    """One snapshot at T1 of the tree of write_tree()."""
    repository.run(write_tree(tmp_path / "tree"), T1, mode="data").result.check_ok()
    return repository


def set_references(repository: Repository, at: int, change: Callable[[list[tuple[int, int]]], None]) -> None:
    """`change` works on the list of (offset, size) of all references, in archive order."""
    metadata = bytearray(repository.stream(at, "mpxar"))
    places = payload_references(bytes(metadata))
    values = [(offset, size) for _, offset, size in places]
    change(values)
    for (place, _, _), (offset, size) in zip(places, values):
        metadata[place : place + 16] = offset.to_bytes(8, "little") + size.to_bytes(8, "little")
    repository.set_stream(at, "mpxar", bytes(metadata))


def test_references_that_go_back_and_overlap_are_analyzed(simple: Repository) -> None:
    """As clients before pxar 1.0.1 left them behind."""

    def change(values: list[tuple[int, int]]) -> None:
        values[3], values[5] = values[5], values[3]  # backwards
        values[8] = (values[7][0] + 100, values[8][1])  # overlaps
        values[10] = values[9]  # twice

    set_references(simple, T1, change)
    (said,) = one_archive(simple, [T1], "--ranges")["snapshots"]
    assert said == model.analysis_of(stream_of(simple, T1), before=None, ranges=True)
    assert said["backward_files"] >= 3 and said["ledger"]["padding"] > 0


@pytest.mark.parametrize("what", ["offset", "size", "both", "tail marker"])
def test_references_beyond_the_payload_are_refused(simple: Repository, what: str) -> None:
    end = simple.index(T1, "ppxar")[-1][0]
    bad = {
        "offset": (2**64 - 1, 9000),
        "size": (1000, 2**64 - 20),
        "both": (2**63, 2**63),
        "tail marker": (end - 16 - 15 - 9000, 9000),
    }[what]

    def change(values: list[tuple[int, int]]) -> None:
        values[2] = bad

    set_references(simple, T1, change)
    text = sentence(analyze(simple, [T1]))
    assert text.startswith(f"{snapshot_name(T1)}: {NAME}.mpxar.didx: corrupt at offset ")
    assert " in /d0/f06: " in text or f"{bad[1]} bytes at payload offset {bad[0]} are beyond" in text


def test_a_reference_that_just_fits_is_taken(simple: Repository) -> None:
    end = simple.index(T1, "ppxar")[-1][0]

    def change(values: list[tuple[int, int]]) -> None:
        values[2] = (end - 16 - 16 - 9000, 9000)

    set_references(simple, T1, change)
    (said,) = one_archive(simple, [T1])["snapshots"]
    assert said == model.analysis_of(stream_of(simple, T1), before=None)


def test_hostile_indexes_are_refused(simple: Repository) -> None:
    entries = list(simple.index(T1, "ppxar"))
    end = entries[-1][0]
    name = f"{snapshot_name(T1)}: {NAME}.ppxar.didx"

    set_index(simple, T1, "ppxar", [*entries, (end + (16 << 20) + 1, bytes(32))])
    said = f"{name}: entry {len(entries)} at offset {end} is of 16777217 bytes: a chunk has at most 16777216"
    assert sentence(analyze(simple, [T1])) == said

    set_index(simple, T1, "ppxar", [*entries, (end + 5, entries[1][1])])
    assert f"{name}: entry {len(entries)} at offset {end} lists chunk {entries[1][1].hex()} with 5 bytes" in sentence(
        analyze(simple, [T1])
    )

    set_index(simple, T1, "ppxar", [*entries, (end, bytes(32))])
    assert sentence(analyze(simple, [T1])).startswith(f"{name}: ")

    set_index(simple, T1, "ppxar", [(31, bytes(32))])
    assert sentence(analyze(simple, [T1])) == f"{name}: a stream of 31 bytes has no room for its two markers"


def test_the_same_chunk_with_another_size_in_an_older_snapshot(repository: Repository, tmp_path: Path) -> None:
    tree = simple_tree(tmp_path / "tree")
    simple_backups(repository, tree, lambda: (tree / "f03").unlink())
    entries = list(repository.index(T1, "ppxar"))
    set_index(repository, T1, "ppxar", [*entries[:-1], (entries[-1][0] + 1, entries[-1][1])])
    text = sentence(analyze(repository, [T1, T2]))
    assert text.startswith(f"{snapshot_name(T1)}: {NAME}.ppxar.didx: entry {len(entries) - 1} at offset ")
    assert "the newest snapshot with" in text


def test_an_encrypted_archive_is_refused_by_name(simple: Repository) -> None:
    for stream in ("ppxar", "mpxar"):
        entries = simple.index(T1, stream)
        set_index(simple, T1, stream, entries, **{"crypt-mode": "encrypt"})
        said = f"{snapshot_name(T1)}: {NAME}.{stream}.didx: is encrypted and cannot be read without its key"
        assert sentence(analyze(simple, [T1])) == said


def test_a_missing_metadata_chunk_is_named(simple: Repository) -> None:
    digest = simple.index(T1, "mpxar")[0][1]
    simple.chunk(digest).unlink()
    text = sentence(analyze(simple, [T1]))
    assert digest.hex() in text and snapshot_name(T1) in text


def test_what_is_no_split_archive(repository: Repository, tmp_path: Path) -> None:
    tree = simple_tree(tmp_path / "tree")
    (tmp_path / "disk").write_bytes(noise("image", 100_000))
    program, store = repository.program, repository.path
    words = [program, "backup", f"{NAME}.pxar:{tree}", f"disk.img:{tmp_path / 'disk'}", "--repository", store]
    words += ["--backup-id", "me", "--backup-time", str(T1), "--sync-level", "none"]
    run.run(words, timeout=60).check_ok()
    only = ": only split archives have a payload stream to analyze"
    assert sentence(analyze(repository, [T1])) == (
        f"{snapshot_name(T1)}: has no split archive: only those have a payload stream to analyze (modes data and "
        "metadata make them)"
    )
    said = f"{snapshot_name(T1)}: {NAME}.pxar.didx: is one stream with the contents of the files inside{only}"
    assert sentence(analyze(repository, [T1], "--archive", f"{NAME}.pxar"), code=2) == said
    said = f"{snapshot_name(T1)}: disk.img.fidx: is no archive of files{only}"
    assert sentence(analyze(repository, [T1], "--archive", "disk.img"), code=2) == said
    assert "archive not found in manifest" in sentence(analyze(repository, [T1], "--archive", "other.pxar"))


def test_several_archives(repository: Repository, tmp_path: Path) -> None:
    """Each archive is a series of its own, of the snapshots that have it; images beside them do not matter."""
    tree = simple_tree(tmp_path / "tree")
    (tmp_path / "disk").write_bytes(noise("image", 100_000))
    for at, names in [(T1, ["b", "a"]), (T2, ["a"]), (T3, ["a", "c", "b"])]:
        sources = [f"{name}.pxar:{tree}" for name in names] + [f"disk.img:{tmp_path / 'disk'}"]
        words = [repository.program, "backup", *sources, "--repository", repository.path, "--backup-id", "me"]
        words += ["--backup-time", str(at), "--change-detection-mode", "metadata", "--sync-level", "none"]
        run.run(words, timeout=60).check_ok()
    found = analyzed(repository, [T1, T2, T3])["archives"]
    times = {archive["name"]: [s["snapshot"] for s in archive["snapshots"]] for archive in found}
    assert list(times) == ["a", "b", "c"]
    assert times["a"] == [snapshot_name(at) for at in (T1, T2, T3)]
    assert times["b"] == [snapshot_name(at) for at in (T1, T3)]
    assert times["c"] == [snapshot_name(T3)]
    assert [archive["ghosts"] is None for archive in found] == [False, False, True]
    only = analyzed(repository, [T1, T3], "--archive", "b.ppxar")["archives"]
    assert [archive["name"] for archive in only] == ["b"]
    assert only[0] == found[1]
    assert "archive not found" in sentence(analyze(repository, [T1, T3], "--archive", "c.pxar"))


def test_text(repository: Repository, tmp_path: Path) -> None:
    tree = simple_tree(tmp_path / "tree")
    (tree / "f03").rename(tree / "f03\n")
    simple_backups(repository, tree, lambda: (tree / "f03\n").unlink())
    detail = analyze(repository, [T2], "--ranges").check_ok().text
    lines = detail.splitlines()
    assert lines[0] == f"{snapshot_name(T2)} {NAME}"
    assert any(line.startswith("  stored waste  ") and " 9.813 KiB (" in line for line in lines)
    assert any("full restore, LRU 32" in line for line in lines)
    ranges = one_archive(repository, [T2], "--ranges")["snapshots"][0]["ranges"]
    assert [line.split()[:2] for line in lines[-len(ranges) :]] == [[str(r["start"]), str(r["end"])] for r in ranges]

    series = analyze(repository, [T1, T2]).check_ok().text.splitlines()
    assert series[0] == NAME and series[1].split()[:3] == ["snapshot", "files", "entries"]
    rows = series[2:4]
    assert [row.split()[0] for row in rows] == [snapshot_name(T1), snapshot_name(T2)]
    assert len({len(line) for line in series[1:4]}) == 1, "columns stand below each other"
    assert series[-1].split()[-3:] == ["deleted", snapshot_name(T1), r"/f03\x0a"]


def test_usage(repository: Repository, tmp_path: Path) -> None:
    repository.run(simple_tree(tmp_path / "tree"), T1, mode="data").result.check_ok()

    def refused(*words: str) -> str:
        fixed = [repository.program, "analyze", "--repository", repository.path]
        return sentence(run.run([*fixed, *words], timeout=60), code=2)

    name = snapshot_name(T1)
    assert refused() == "analyze: SNAPSHOT... expected, 0 arguments given"
    assert refused(name, name) == f"{name} is given twice"
    assert refused(name, "--lru", "0") == "--lru: value must have a minimum value of 1 (got 0)"
    assert refused(name, "--lru", "1,,2") == "--lru: '' is not a whole number"
    assert refused(name, "--lru", "1,2,3,4,5,6,7,8,9") == "--lru: at most 8 numbers"
    assert refused(name, "--lru", "1048577").startswith("--lru: value must have a maximum value of 1048576")
    assert refused(name, "--chunk-size", "100") == "--chunk-size: 100 is not a power of two"
    assert "--ghosts" in refused(name, "--ghosts", "-1")
    assert refused("--what-if", "threshold=0") == "--what-if: needs --decisions, the file of a recorded run"
    assert refused(name, "--decisions", "x") == "--decisions: needs --what-if, the settings to try"
    assert "the file of --decisions says which one" in refused(name, "--what-if", "threshold=0", "--decisions", "x")
    assert refused("host/me") != ""
    missing = f"{GROUP}/{time_text(T3)}"
    result = run.run([repository.program, "analyze", name, missing, "--repository", repository.path], timeout=60)
    assert f"no such snapshot, {missing}" in sentence(result)


# ---- the real client's ----


def real_stream(program: Path, scratch: Path, store: RealStore, snapshot: Any) -> model.Stream:
    from backup_tools import blob_content

    def entries(index: str) -> list[tuple[int, bytes]]:
        return [(end, bytes.fromhex(digest)) for _, end, digest in snapshot.chunks(index)]

    metadata = b"".join(
        blob_content(store.chunk_path(digest).read_bytes()) for _, _, digest in snapshot.chunks("root.mpxar.didx")
    )
    return model.read_stream(program, scratch, snapshot.name, entries("root.ppxar.didx"), metadata)


def test_snapshots_of_the_real_client(pxarbench: Path, real_store: RealStore, tmp_path: Path) -> None:  # noqa: F811
    groups: dict[str, list[Any]] = {}
    for snapshot in real_store.unencrypted:
        if snapshot.is_split:
            groups.setdefault(snapshot.group, []).append(snapshot)
    assert groups
    for snapshots in groups.values():
        names = [snapshot.name for snapshot in snapshots]
        words = [pxarbench, "analyze", *names, "--repository", real_store.path, "--archive", "root.pxar"]
        words += ["--ghosts", "0", "--output-format", "json"]
        (found,) = json.loads(run.run(words, timeout=60).check_ok().text)["archives"]
        streams = [real_stream(pxarbench, tmp_path, real_store, snapshot) for snapshot in snapshots]
        for stream, before, said in zip(streams, [None, *streams], found["snapshots"]):
            assert said == model.analysis_of(stream, before=before)
        if len(streams) > 1:
            assert model.with_path_bytes(found["ghosts"]) == model.ghosts_of(streams, top=0)


def test_encrypted_snapshots_of_the_real_client(pxarbench: Path, real_store: RealStore) -> None:  # noqa: F811
    for snapshot in real_store.encrypted:
        if snapshot.is_split:
            words = [pxarbench, "analyze", snapshot.name, "--repository", real_store.path]
            assert "is encrypted and cannot be read without its key" in sentence(run.run(words, timeout=60))
