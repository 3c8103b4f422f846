"""roofline.py: the bounds do the work they stand for, and what is written is what was measured."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from pxarbench_harness import cache, machine, roofline, run, tree

needs_tools = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("xargs", "cat", "find")), reason="xargs, cat or find is not installed"
)


@pytest.fixture
def made(tmp_path: Path) -> tree.Tree:
    root = tmp_path / "tree"
    chance = random.Random("roofline")
    for folder in ("a", "a/b", "a/b/c", "d e\nf", "empty"):
        (root / folder).mkdir(parents=True)
        if folder != "empty":
            for number in range(12):
                (root / folder / f"f{number} '\"").write_bytes(chance.randbytes(chance.randrange(90_000)))
    (root / "none").touch()
    os.link(root / "a" / "f0 '\"", root / "second name")
    (root / "link").symlink_to("a")
    os.mkfifo(root / "pipe")
    return tree.scan(root, contents=False)


def quiet(text: str) -> None:
    pass


def rows(measured: dict[str, object]) -> dict[tuple[str, str, int], dict[str, object]]:
    listed = measured["rows"]
    assert isinstance(listed, list)
    return {(row["name"], row["cache"], row["threads"]): row for row in listed}


@needs_tools
def test_rows_are_complete_and_every_round_counts(made: tree.Tree, tmp_path: Path) -> None:
    done = roofline.measure(made, 3, tmp_path / "raw", quiet, dataset="small")
    names = ["attributes", "read", "digest", *(["compress"] if roofline._zstd() else [])]
    threads = {1, machine.cores_allowed()}
    found = rows(done)
    assert set(found) == {(name, "warm", n) for name in names for n in threads}
    for row in found.values():
        assert row["dataset"] == "small" and row["bytes"] == made.file_bytes and row["entries"] == len(made.entries)
        seconds = row["seconds"]
        assert isinstance(seconds, list) and len(seconds) == 3 and min(seconds) > 0
        assert row["median"] == sorted(seconds)[1]
        work = row["entries"] if row["unit"] == "entries" else row["bytes"]
        assert row["rate"] == pytest.approx(work / row["median"])  # type: ignore[operator]
    assert done["schema"] == "pxarbench-roofline/1"
    raw = [json.loads(line) for line in (tmp_path / "raw" / "roofline-small.jsonl").read_text().splitlines()]
    assert sum(not line.get("warm_up") for line in raw) == 3 * len(found)
    orders = [[(line["name"], line["threads"]) for line in raw if line["round"] == number] for number in (1, 2, 3)]
    assert orders[0] != orders[1] or orders[1] != orders[2], "rows are interleaved in changing order"


@needs_tools
def test_all_files_are_read_once_and_all_entries_asked_for(made: tree.Tree, tmp_path: Path) -> None:
    one = roofline._Measuring(made, 1, tmp_path / "raw", quiet, "", False, 1, 1 << 30, tmp_path)
    for threads in (1, 2, 3):
        names = [name for path in one._lists("read", threads) for name in path.read_bytes().split(b"\0")[:-1]]
        assert sorted(names) == sorted(one._full(e.path) for e in made.files())
        parts = [name for path in one._lists("attributes", threads) for name in path.read_bytes().split(b"\0")[:-1]]
        below = [p for p in made.entries if any(one._full(p) == part or one._full(p).startswith(part + b"/") for part in parts)]
        covered = len(below) + sum(part.endswith(b"/.") for part in parts) * (len(made.entries) - len(below))
        assert covered >= len(made.entries) * 0.85, "folders that were cut are missing, and nothing else"


def test_shares_are_about_equal(made: tree.Tree) -> None:
    parts = roofline._parts(made, 16)
    assert max(weight for _, weight in parts) <= len(made.entries) / 4
    assert sum(weight for _, weight in parts) >= len(made.entries) - 5
    assert roofline._parts(made, 1) == [(b".", len(made.entries))]
    alone = tree.Tree(made.root, {b".": made.entries[b"."]})
    assert roofline._parts(alone, 16) == [(b".", 1)]


@needs_tools
def test_a_reader_that_does_not_read_is_noticed(made: tree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not run.run_counted(["true"])[1].io:
        pytest.skip("the kernel keeps no I/O counts")
    honest = roofline._Measuring._command
    lie = lambda self, name: ["xargs", "-0", "-r", "true"] if name == "read" else honest(self, name)  # noqa: E731
    monkeypatch.setattr(roofline._Measuring, "_command", lie)
    with pytest.raises(roofline.RooflineFailed, match="cat read"):
        roofline.measure(made, 1, tmp_path, quiet)


@needs_tools
def test_a_file_that_cannot_be_read_is_named(made: tree.Tree, tmp_path: Path) -> None:
    (made.root / "none").unlink()
    with pytest.raises(roofline.RooflineFailed, match="none: No such file"):
        roofline.measure(made, 1, tmp_path, quiet)


def test_digest_and_compress_see_all_bytes_in_pieces(made: tree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "PIECE", 100_000)
    one = roofline._Measuring(made, 1, tmp_path / "raw", quiet, "", False, 1, 1 << 30, tmp_path)
    pieces = list(one._pieces(1))
    assert {len(piece) for piece in pieces[:-1]} == {100_000} and 0 < len(pieces[-1]) <= 100_000
    whole = b"".join((made.root / os.fsdecode(e.path)).read_bytes() for e in made.files())
    assert hashlib.sha256(b"".join(pieces)).digest() == hashlib.sha256(whole).digest()


def test_a_sample_is_scaled_to_the_whole(made: tree.Tree, tmp_path: Path) -> None:
    one = roofline._Measuring(made, 1, tmp_path / "raw", quiet, "", False, 1, 200_000, tmp_path)
    assert sum(len(piece) for piece in one._pieces(1)) == 200_000
    assert list(one._pieces(1)) == list(one._pieces(2)), "the same files in each round"
    row = roofline.Row("digest", "warm", 1, "", made.file_bytes, len(made.entries), 0)
    one._computed([row], 1)
    [line] = [json.loads(line) for line in (tmp_path / "raw").read_text().splitlines()]
    assert row.measured_bytes == 200_000
    assert row.seconds[0] == pytest.approx(line["seconds"] * made.file_bytes / 200_000)


def test_compressing_compresses(monkeypatch: pytest.MonkeyPatch) -> None:
    if roofline._zstd() is None:
        pytest.skip("libzstd is not installed")
    assert roofline._compress(b"a" * 1_000_000) < 1000
    noise = random.Random(1).randbytes(100_000)
    assert 100_000 <= roofline._compress(noise) < 100_100


def test_without_libzstd_a_note_says_so(made: tree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_zstd", lambda: None)
    one = roofline._Measuring(made, 1, tmp_path / "raw", quiet, "", False, 1, 1 << 30, tmp_path)
    assert {row.name for row in one._rows((1,))} == {"attributes", "read", "digest"}
    assert one.notes == ["no row for compress: the library libzstd is not installed"]


@needs_tools
def test_cold_rows_that_were_not_cold_are_left_out(made: tree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "never_cold", lambda path: "")
    monkeypatch.setattr(cache, "unseen", lambda: "")
    monkeypatch.setattr(cache, "keep_warm", lambda root, seed: 1.0)
    answers = iter([0.0, 0.9] * 50)
    monkeypatch.setattr(cache, "chill", lambda paths, seed: cache.Chill("drop_caches", next(answers)))
    done = roofline.measure(made, 2, tmp_path, quiet, cold=True)
    cold = [row for row in rows(done).values() if row["cache"] == "cold"]
    states = 2 * len({1, machine.cores_allowed()})
    assert sum(len(row["seconds"]) for row in cold) == states  # type: ignore[arg-type]
    assert isinstance(done["notes"], list) and len([n for n in done["notes"] if "90% of the tree" in n]) == states


@needs_tools
def test_trees_in_memory_have_no_cold_rows_and_a_note(made: tree.Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "never_cold", lambda path: f"{path} is on tmpfs")
    done = roofline.measure(made, 1, tmp_path, quiet, cold=True)
    assert done["notes"] == ["no cold rows: the tree is on tmpfs"]
    assert {state for _, state, _ in rows(done)} == {"warm"}


def test_several_datasets_share_a_file(tmp_path: Path) -> None:
    def of(dataset: str, median: float) -> dict[str, object]:
        return {"rows": [{"dataset": dataset, "median": median}], "notes": ["one note"]}

    path = tmp_path / "roofline.json"
    for dataset, median in (("linux", 1.0), ("coco", 2.0), ("linux", 3.0)):
        roofline.write(path, of(dataset, median))
    assert json.loads(path.read_text()) == {
        "schema": "pxarbench-roofline/1", "notes": ["one note"],
        "rows": [{"dataset": "coco", "median": 2.0}, {"dataset": "linux", "median": 3.0}],
    }  # fmt: skip


@needs_tools
def test_command_line(made: tree.Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert roofline.main([str(made.root), "--rounds", "1", "--output", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("attributes") == len({1, machine.cores_allowed()})
    assert json.loads((tmp_path / "out" / "roofline.json").read_text())["rows"]
    with pytest.raises(SystemExit) as refused:
        roofline.main([str(made.root / "typo")])
    assert refused.value.code == 2


def test_together_waits_for_all_and_names_the_one_that_failed(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("said")
    assert run.together([["sleep", "0.2"], ["sleep", "0.1"]]) >= 0.2e9
    with pytest.raises(run.CommandFailed, match="said"):
        run.together([["true"], ["sh", "-c", "cat >&2; exit 3"]], inputs=[tmp_path / "in"] * 2)
