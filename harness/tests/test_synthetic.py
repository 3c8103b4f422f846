"""datasets/synth*.py, planting.py: the same tree everywhere, of the shape that was promised."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import statistics
import sys
import tempfile
import textwrap
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pxarbench_harness import datasets, locate, mutate, run, tree
from pxarbench_harness.datasets import DatasetFailed, Recipe, planting, synth_edges, synthetic
from pxarbench_harness.datasets.planting import Data, Dice, Plan, Symlink
from pxarbench_harness.datasets.recipe import RecipeBroken
from pxarbench_harness.datasets.workspace import Workspace
from pxarbench_harness.exhaustive import streams

KINDS = sorted(synthetic.GENERATORS)

#: Each kind at a size for tests: what is different from its recipe.
SMALL: dict[str, dict[str, Any]] = {
    "at-chunk-edges": {"average_kib": 64},
    "deep": {"files": 30},
    "duplicates": {"files": 64, "large": 70_000},
    "hardlinks": {"files": 32, "size_max": 50_000},
    "home-like": {"files": 150, "tail_max": 10_000_000},
    "mail-like": {"files": 80},
    "node-modules-like": {"files": 300},
    "sparse": {"files": 24},
    "truth": {},
    "vm-images": {"files": 2, "image_mib": [2, 5]},
    "wide": {"files": 150},
}
#: Their digests: a change of a generator is seen here, and is a change of the recipes' digests, too.
SMALL_DIGESTS = {
    "at-chunk-edges": "7aa92d19dee8d141a6d09f35bae461b8ed517af4c5fa2f79ff355e4f440bbf3a",
    "deep": "ca57a8443ae68c2312ccae739c39b7940a62f3990a4c4a1135ec5c167257d2bb",
    "duplicates": "f77a7976b3759435e21ce3c528bdc4315dab537a794fff0fb9aae90ddd3a65c9",
    "hardlinks": "9684fbbdf539ce560f3498a8ed6a5d28db0005abf1325bfd5e0fe124fb65abe4",
    "home-like": "bd7aa37dfbbdb1f78a2d6e498108349fb1bd73191aa3c9e00a9cdac9f0e07f36",
    "mail-like": "fd674168e619d0c69a549903fd322579e71e125510938e3976b88d836c5e4ac0",
    "node-modules-like": "34ff318bd63d88ab19315231979b819570450c29ea16f3b5e82d2dc70a2ba9eb",
    "sparse": "f1025fd8a6828526e41c41ecc39d06f6453b85fd4b344da0985a5aefe562c138",
    "truth": "9931b933209b8a77d38291ae23cac9ee0d10ee2e2547d437bc0400901720cb08",
    "vm-images": "5225957c2bd6b00f0c1580fdeddec006aeef81cb38185648788ee374d11ba096",
    "wide": "2550d77277b217ba766fc097739163c7eb3192fe24184379c39318ea41c5732f",
}


def small(kind: str) -> Recipe:
    recipe = datasets.load(kind)
    return replace(recipe, values={**recipe.values, **SMALL[kind]})


def plant(recipe: Recipe, place: Path) -> tree.Tree:
    """`place` is made."""
    place.mkdir(parents=True)
    root = place / "tree"
    root.mkdir()
    said: list[str] = []
    steps: list[str] = []
    synthetic.BUILDERS[recipe.kind](Workspace(recipe, root, place, place / "downloads", said.append, steps.append))
    assert steps == ["planned", "written", "dated"]
    assert said and all(line.startswith(f"dataset {recipe.name}: ") for line in said)
    return tree.scan(root)


def plan(kind: str, **values: Any) -> Plan:
    recipe = datasets.load(kind)
    return synthetic.plan_of(replace(recipe, values={**recipe.values, **values}))


# ---- the same everywhere ----

_ELSEWHERE = textwrap.dedent(
    """
    import json, os, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import test_synthetic
    os.umask(int(sys.argv[3], 8))
    place = Path(sys.argv[2])
    recipes = {kind: test_synthetic.small(kind) for kind in test_synthetic.KINDS}
    for recipe in recipes.values():
        test_synthetic.synthetic.plan_of(recipe)  # reads all it needs while the repository may be read
    if len(sys.argv) > 4 and os.geteuid() == 0:
        os.chown(place, int(sys.argv[4]), int(sys.argv[4]))
        os.setgroups([])
        os.setgid(int(sys.argv[4]))
        os.setuid(int(sys.argv[4]))
    found = {kind: test_synthetic.plant(recipe, place / kind) for kind, recipe in recipes.items()}
    print(json.dumps({kind: [whole.portable_digest(), whole.content_digest()] for kind, whole in found.items()}))
    """
)


@pytest.fixture
def place_on() -> Iterator[Callable[[str], Path]]:
    """A new folder below another one, where there is that one and it can be written."""
    made: list[str] = []

    def make(folder: str) -> Path:
        usable = os.path.isdir(folder) and os.access(folder, os.W_OK)
        made.append(tempfile.mkdtemp(prefix="pxarbench-", dir=folder if usable else None))
        return Path(made[-1])

    yield make
    for folder in made:
        shutil.rmtree(folder)


def test_equal_whatever_surrounds_it(place_on: Callable[[str], Path]) -> None:
    """Other file systems, umasks, locales, time zones, owners, hash seeds; a parent that hands its group on."""
    first, second = place_on("/dev/shm"), place_on("/var/tmp")
    second.chmod(0o2755)
    path = {"PYTHONPATH": str(locate.REPOSITORY / "harness"), "PYTHONDONTWRITEBYTECODE": "1"}
    tests = str(Path(__file__).parent)
    one = run.run([sys.executable, "-c", _ELSEWHERE, tests, first, "000"],
                  env={**path, "LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1"})  # fmt: skip
    other = run.run([sys.executable, "-c", _ELSEWHERE, tests, second, "077", "65534"],
                    env={**path, "LC_ALL": "tr_TR.ISO-8859-9", "PYTHONUTF8": "0", "TZ": "America/New_York",
                         "PYTHONHASHSEED": "2"})  # fmt: skip
    digests = one.json()
    assert digests == other.json()
    assert {kind: portable for kind, (portable, _) in digests.items()} == SMALL_DIGESTS


@pytest.mark.parametrize("kind", [
    "sparse", "deep", "hardlinks", "truth", "duplicates",
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS
      if kind not in ("sparse", "deep", "hardlinks", "truth", "duplicates")),
])  # fmt: skip
def test_pinned_digests_hold(kind: str, tmp_path: Path) -> None:
    recipe = datasets.load(kind)
    whole = plant(recipe, tmp_path / "x")
    assert (whole.content_digest(), whole.portable_digest()) == (recipe.content_digest, recipe.portable_digest)


@pytest.mark.parametrize("kind", KINDS)
def test_recipes_tell_what_they_need(kind: str) -> None:
    recipe = datasets.load(kind)
    assert recipe.content_digest and recipe.portable_digest
    planned = synthetic.plan_of(recipe)
    needed = 1.05 * planned.disk_bytes + (16 << 20)
    assert needed <= recipe.values["needs_bytes"] <= 2.5 * needed
    assert needed < 400e6
    assert recipe.values["creation"] in planting.ORDERS
    assert sum(f.size for f in planned.files()) <= 600 << 20


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"truth", "at-chunk-edges"}))
def test_the_number_of_files_scales_them(kind: str) -> None:
    recipe = small(kind)
    larger = recipe.with_files(recipe.values["files"] * 4)
    assert synthetic.needed_bytes(larger) > synthetic.needed_bytes(recipe)
    counts = [sum(1 for _ in synthetic.plan_of(r).files()) for r in (recipe, larger)]
    assert 3 * counts[0] < counts[1] < 4.5 * counts[0]


def test_another_seed_is_another_tree() -> None:
    for kind in KINDS:
        one, two = plan(kind, **SMALL[kind]), plan(kind, **{**SMALL[kind], "seed": 12345})
        largest = max(one.files(), key=lambda f: f.written)
        assert largest not in list(two.files()), kind


def test_a_missing_value_is_named() -> None:
    recipe = datasets.load("home-like")
    values = {k: v for k, v in recipe.values.items() if k != "depth_mean"}
    with pytest.raises(RecipeBroken, match="home-like: depth_mean is missing"):
        synthetic.plan_of(replace(recipe, values=values))


# ---- planting ----


def test_portable_digest_sees_what_it_says(tmp_path: Path) -> None:
    """Modes, times and pipes count; owners, attributes and devices do not."""
    before = plant(small("hardlinks"), tmp_path / "x")
    path, entry = next((p, e) for p, e in before.entries.items() if e.kind == "file")

    def with_entry(**values: Any) -> str:
        return replace(before, entries={**before.entries, path: replace(entry, **values)}).portable_digest()

    same = before.portable_digest()
    assert with_entry(uid=77, gid=78, xattrs=(("user.a", b""),), flags=16, project=3) == same
    for change in ({"mode": 0o600}, {"mtime_ns": 1}, {"digest": "0" * 64}, {"kind": "fifo"}, {"link_to": b"x"}):
        assert with_entry(**change) != same, change
    assert with_entry(mode=0o600) != same and before.content_digest() == before.content_digest()


def test_order_of_creation_changes_nothing_but_the_order(tmp_path: Path) -> None:
    recipe = small("node-modules-like")
    digests = set()
    for order in planting.ORDERS:
        ordered = replace(recipe, values={**recipe.values, "creation": order})
        digests.add(plant(ordered, tmp_path / order.replace(" ", "-")).portable_digest())
    assert len(digests) == 1
    nodes = synthetic.plan_of(recipe).nodes
    by_name, mixed, by_age = (planting.in_order_of_creation(nodes, order, 7) for order in planting.ORDERS)
    assert by_name == sorted(nodes, key=lambda n: n.path) and mixed != by_name
    assert [n.mtime_ns for n in by_age] == sorted(n.mtime_ns for n in nodes)
    assert mixed == planting.in_order_of_creation(list(reversed(nodes)), "shuffled", 7)
    with pytest.raises(DatasetFailed, match="'backwards'"):
        planting.in_order_of_creation(nodes, "backwards", 7)


def test_a_file_system_without_attributes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    recipe = small("truth")
    monkeypatch.setattr(os, "setxattr", refuse)
    work = Workspace(recipe, tmp_path, tmp_path, tmp_path, lambda _: None, lambda _: None)
    built = synthetic.BUILDERS["truth"](work)
    assert "left out (file system): system.* attributes, user.* attributes" in getattr(built, "source", built)
    assert tree.scan(tmp_path).portable_digest() == recipe.portable_digest


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**6, used=10**6, free=1000))
    with pytest.raises(DatasetFailed, match="1,000 are free"):
        plant(small("wide"), tmp_path / "x")
    assert not list((tmp_path / "x" / "tree").iterdir())


def test_the_plan_knows_what_it_takes_on_disk(tmp_path: Path) -> None:
    for kind in ("hardlinks", "vm-images", "sparse"):
        root = plant(small(kind), tmp_path / kind).root
        blocks = {st.st_ino: st.st_blocks * 512 for st in (os.lstat(p) for p in root.rglob("*"))}
        planned = synthetic.plan_of(small(kind)).disk_bytes
        assert 0.8 * sum(blocks.values()) <= planned <= 1.25 * sum(blocks.values()) + 65536, kind


# ---- contents ----


@pytest.mark.parametrize("knob", [0.0, 0.02, 0.25, 0.5, 0.6, 0.75, 0.9])
def test_compressibility_is_what_zlib_takes_away(knob: float) -> None:
    data = Data(1 << 18, "x", knob).read()
    assert len(data) == 1 << 18
    assert len(zlib.compress(data, 6)) / len(data) == pytest.approx(1 - knob, abs=0.03)
    # Also within a disk block, and no block is like another.
    assert len(zlib.compress(data[:4096], 6)) / 4096 == pytest.approx(1 - knob, abs=0.06)
    assert len({data[at : at + 4096] for at in range(0, len(data), 4096)}) == 64


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 5000])
def test_contents_have_their_size(size: int) -> None:
    for piece in (Data(size, "s", 0.6), Data(size, "s"), Data(size, "s", 1.0), planting.Encoded(size, "s"),
                  planting.Repeated(size, b"abc", 2)):  # fmt: skip
        assert len(piece.read()) == size
    assert planting.Repeated(7, b"abc", 2).read() == b"cabcabc"


def test_choices_follow_from_the_words_alone() -> None:
    assert [Dice("a", 1).below(1000) for _ in range(2)] == [Dice("a/1").below(1000)] * 2
    dice = Dice("b")
    assert sorted(dice.shuffled(range(50))) == list(range(50))
    assert {dice.between(2, 4) for _ in range(200)} == {2, 3, 4}
    drawn = Counter(planting.Weighted({"a": 3, "b": 1, "c": 0}).pick(dice) for _ in range(4000))
    assert drawn["c"] == 0 and drawn["a"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert statistics.mean(dice.poisson(6.49) for _ in range(4000)) == pytest.approx(6.49, abs=0.15)


# ---- shapes ----


def test_home_follows_the_published_laws() -> None:
    home = plan("home-like")
    files = list(home.files())
    sizes = sorted(f.size for f in files)
    assert statistics.median(sizes) == pytest.approx(4096, rel=0.08)
    assert 50_000 < statistics.mean(sizes) < 100_000
    logs = [math.log(size) for size in sizes if 0 < size < 8 << 20]
    assert statistics.stdev(logs) == pytest.approx(2.3, abs=0.12)
    # The tail: few files with much of the data (Pareto).
    assert sum(sizes[-len(sizes) // 100 :]) > 0.4 * sum(sizes)
    assert sum(size == 0 for size in sizes) == round(0.012 * 4000)
    depths = [f.path.count(b"/") for f in files]
    assert statistics.mean(depths) == pytest.approx(6.49, abs=0.3)
    assert statistics.variance(depths) == pytest.approx(6.49, rel=0.25)  # a Poisson law: as large as the mean
    per_folder = Counter(f.path.rpartition(b"/")[0] for f in files)
    assert per_folder.most_common(1)[0][1] > 8 * statistics.median(per_folder.values())
    assert len({f.path.rpartition(b".")[2] for f in files if b"." in f.path.rpartition(b"/")[2]}) > 15


def test_home_scales_and_keeps_its_mean() -> None:
    means = [statistics.mean(f.size for f in plan("home-like", files=files).files()) for files in (2000, 16000)]
    assert means[0] == pytest.approx(means[1], rel=0.25)


@pytest.mark.parametrize("knob", [0.3, 0.7])
def test_home_has_the_knob(knob: float) -> None:
    kinds: dict[bool, list[int]] = {True: [0, 0], False: [0, 0]}
    for file in plan("home-like", files=400, compressibility=knob).files():
        if 4096 < file.size < 200_000:
            content = b"".join(piece.read() for piece in file.contents)  # type: ignore[union-attr]
            packed = file.path.rpartition(b".")[2] in (b"jpg", b"png", b"mp3", b"mp4", b"pdf", b"zip", b"odt")
            kinds[packed][0] += len(zlib.compress(content, 6))
            kinds[packed][1] += len(content)
    assert kinds[False][0] / kinds[False][1] == pytest.approx(1 - knob, abs=0.04)
    assert kinds[True][0] / kinds[True][1] > 0.95


def test_mail_is_small_files_with_flags_in_their_names() -> None:
    messages = [f for f in plan("mail-like").files() if b"/cur/" in f.path or b"/new/" in f.path]
    assert len(messages) == 16000
    assert all(2000 <= f.size <= 20_480 for f in messages)
    flags = [re.fullmatch(rb".*/cur/\d+\.M\d{6}P\d+\.mail,S=(\d+):2,([A-Z]*)", f.path) for f in messages if b"/cur/" in f.path]
    assert len(flags) > 15000 and all(m and m[2] == bytes(sorted(m[2])) for m in flags)
    assert len({m[2] for m in flags if m}) > 4
    times = [f.mtime_ns for f in messages]
    assert times == sorted(times)


def test_modules_are_nested_tiny_and_partly_the_same() -> None:
    modules = plan("node-modules-like")
    files = list(modules.files())
    assert statistics.median(f.size for f in files) < 2000
    assert max(f.path.count(b"node_modules/") for f in files) >= 4
    equal = Counter(f.contents for f in files if f.size)
    assert sum(n for n in equal.values() if n > 1) > 0.1 * len(files)
    paths = {f.path for f in files}
    links = [n for n in modules.nodes if isinstance(n, Symlink)]
    assert len(links) > 20
    for link in links:
        assert os.path.normpath(os.path.join(os.path.dirname(link.path), link.target)) in paths
    assert sum(f.path.endswith(b"/package.json") for f in files) > 500


def test_images_are_large_sparse_and_share_regions() -> None:
    images = [f for f in plan("vm-images").files() if f.path.endswith(b".raw")]
    assert [f.size >> 20 for f in images] == [64, 128, 160, 224]
    assert sum(f.written for f in images) < 0.7 * sum(f.size for f in images)
    shared = [set(piece for piece in f.contents if "template" in getattr(piece, "seed", "")) for f in images]
    assert shared[2] & shared[3]


def test_extremes_are_extreme(tmp_path: Path) -> None:
    deep = [f.path for f in plan("deep").files()]
    assert max(path.count(b"/") for path in deep) >= 300
    assert max(map(len, deep)) < 3000
    wide = Counter(f.path.rpartition(b"/")[0] for f in plan("wide").files())
    assert wide == {b"wide": 23_980, b"beside": 20}
    whole = plant(small("sparse"), tmp_path / "x")
    for path, entry in whole.entries.items():
        taken = os.lstat(os.path.join(os.fsencode(whole.root), path)).st_blocks * 512
        if path.startswith(b"all-hole/"):
            assert taken == 0 and entry.size >= 4096
        if path.startswith((b"hole-first/", b"hole-last/")) and entry.size > 1 << 20:
            assert taken < entry.size


def test_duplicates_and_their_times(tmp_path: Path) -> None:
    whole = plant(small("duplicates"), tmp_path / "x")
    by_digest = Counter(e.digest for e in whole.files())
    assert sum(n for n in by_digest.values() if n > 1) >= 48
    copies = [e for e in whole.files() if e.path.startswith(b"copies/")]
    assert len({(e.digest, e.mtime_ns) for e in copies}) > len({e.digest for e in copies})


def test_hardlinks_lie_on_both_sides(tmp_path: Path) -> None:
    whole = plant(small("hardlinks"), tmp_path / "x")
    links = [e for e in whole.entries.values() if e.link_to]
    across = [e for e in links if e.path.split(b"/")[0] != e.link_to.split(b"/")[0]]
    assert across and len(across) < len(links)
    assert max(e.links for e in whole.files()) == 100
    # Where a walk and the order of whole paths disagree, backups go by the walk.
    assert whole.entries[b"f/order-of/00007"].link_to == b"f/order/00007"
    made = {f.path: f.links for f in synthetic.plan_of(small("hardlinks")).files() if f.links}
    assert any(min(others) < first for first, others in made.items())
    assert any(min(others) > first for first, others in made.items())


# ---- at chunk edges ----


@pytest.mark.parametrize("average", [1 << 16, 1 << 22])
def test_planted_bytes_are_accepted(average: int) -> None:
    window = planting.noise("window", 64)
    for at in (60, 59, 30):
        four = synth_edges.planted(window, at, average)
        assert synth_edges.accepted_by(window[:at] + four + window[at + 4 :], average)
    assert not synth_edges.accepted_by(window, average)
    assert not synth_edges.accepted_by(bytes(range(32)) * 2, average)


def test_edges_have_all_cases() -> None:
    layout = synth_edges.layout(1 << 16)
    ends, stops = set(layout.ends), {f.name[4:]: f.begin + f.size for f in layout.files}
    for name in ("min+0", "avg+0", "max+0", "max-1", "min+1", "three-make-min+0", "max-and-min+0", "exact-then-empty"):
        assert stops[name] in ends, name
    assert stops["one-byte-before-hash"] + 1 in ends and stops["one-byte-before-hash"] not in ends
    assert stops["max+1"] - 1 in ends and stops["max+1"] not in ends
    assert stops["min-1"] not in ends and stops["three-make-min-1"] not in ends
    plants = {f.name[4:]: f.plant for f in layout.files if f.plant is not None}
    assert plants["hash-at-min-1"] not in ends
    assert {plants[name] for name in ("hash-at-min+0", "hash-at-min+1", "hash-at-max-1")} <= ends
    for delta in (-1, 0, 1):  # behind the end of the chunk before
        begin = max(end for end in ends if end < plants[f"hash-at-min{delta:+d}"])
        assert plants[f"hash-at-min{delta:+d}"] - begin == layout.least + delta
    sizes = [end - begin for begin, end in zip([0, *layout.ends], layout.ends, strict=False)]
    assert {layout.least, layout.least + 1, layout.average, layout.largest, layout.largest - 1} <= set(sizes)
    assert min(sizes[:-1]) == layout.least and max(sizes) == layout.largest


@pytest.mark.parametrize("kib", [64, 256, pytest.param(4096, marks=pytest.mark.slow)])
def test_the_program_cuts_where_it_was_meant(kib: int, pxarbench: Path, tmp_path: Path) -> None:
    recipe = datasets.load("at-chunk-edges")
    whole = plant(replace(recipe, values={**recipe.values, "average_kib": kib}), tmp_path / "x")
    store = tmp_path / "store"
    run.run([pxarbench, "backup", f"a.pxar:{whole.root}", "--repository", store, "--change-detection-mode", "data",
             "--chunk-size", str(kib), "--sync-level", "none"]).check_ok()  # fmt: skip
    index, _ = streams.read_index(next(store.rglob("*.ppxar.didx")))
    assert [end for end, _ in index] == synth_edges.layout(kib << 10).ends


# ---- the tree of the truth table ----


def test_truth_has_candidates_for_every_operation(tmp_path: Path) -> None:
    whole = plant(datasets.load("truth"), tmp_path / "x")
    assert 300 <= whole.file_count <= 500 and whole.file_bytes < 64 << 20
    kinds = Counter(e.kind for e in whole.entries.values())
    assert kinds["symlink"] >= 10 and kinds["fifo"] >= 4
    twins = Counter((e.size, e.mtime_ns, e.mode) for e in whole.files() if e.size)
    assert sum(n > 1 for n in twins.values()) >= 20
    sizes = [e.size for e in whole.files()]
    assert 0 in sizes and sum(size > 1 << 20 for size in sizes) >= 4 and max(sizes) == 20 << 20
    for name, operation in mutate.OPERATIONS.items():
        if name in ("replay", "trace"):
            continue  # of a history, which other trees have
        reason = operation().available(whole)
        # What the machine lacks is told by the operation itself; what the tree lacks would be our fault.
        elsewhere = ("root", "file system", "permitted", "installed", "while a backup reads")
        assert not reason or any(word in reason for word in elsewhere), (name, reason)


def test_truth_has_acls_that_leave_the_mode_alone(tmp_path: Path) -> None:
    try:
        os.setxattr(tmp_path, "user.x", b"")
    except OSError:
        pytest.skip("no extended attributes here")
    whole = plant(datasets.load("truth"), tmp_path / "x")
    acls = [e for e in whole.files() if any(name == "system.posix_acl_access" for name, _ in e.xattrs)]
    if not acls:
        pytest.skip("no ACLs here")
    assert len(acls) == 12 and {e.mode for e in acls} == {0o640, 0o664}
    assert sum(any(name == "user.comment" for name, _ in e.xattrs) for e in whole.files()) == 16


def test_a_plan_follows_from_the_recipe_alone() -> None:
    """Twice the same, no path twice."""
    for kind in KINDS:
        one, two = synthetic.plan_of(small(kind)), synthetic.plan_of(small(kind))
        assert one.nodes == two.nodes and one.folders == two.folders
        assert len({n.path for n in one.nodes}) == len(one.nodes)
