"""datasets/: prepared exactly once, never half, whatever interrupts it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pxarbench_harness import datasets, locate, mutate, tree
from pxarbench_harness.datasets import DatasetFailed, Recipe, coco, prepare, sources
from pxarbench_harness.datasets.prepare import BUILDERS
from pxarbench_harness.datasets.recipe import RecipeBroken

SMALL_COCO = 40


class Killed(BaseException):
    pass


def recipe(name: str) -> Recipe:
    loaded = datasets.load(name)
    return loaded.with_files(SMALL_COCO) if name == "coco-like" else loaded


def quiet(text: str) -> None:
    pass


def open_dataset(name: str, cache: Path, **options: object) -> tree.Tree:
    with prepare(recipe(name), cache=cache, say=quiet, **options) as dataset:  # type: ignore[arg-type]
        return dataset.tree


def steps_of(name: str, cache: Path) -> list[str]:
    steps: list[str] = []
    open_dataset(name, cache, step=steps.append)
    return steps


@pytest.mark.parametrize("name", datasets.names())
def test_recipes_load_and_say_their_licence(name: str) -> None:
    loaded = datasets.load(name)
    assert loaded.title and loaded.licence and loaded.kind in BUILDERS


def test_unknown_and_broken_recipes_are_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeBroken, match="'x': unknown; there are .*coco"):
        datasets.load("x")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(RecipeBroken, match="bad.toml"):
        datasets.load("bad", tmp_path)
    with pytest.raises(RecipeBroken, match="size cannot be chosen"):
        datasets.load("tiny").with_files(3)


@pytest.mark.parametrize("name", ["tiny", "coco-like"])
def test_two_caches_hold_the_same_tree(name: str, tmp_path: Path) -> None:
    first, second = open_dataset(name, tmp_path / "1"), open_dataset(name, tmp_path / "2")
    assert first.digest() == second.digest()
    assert tree.differences(first, second) == []


def test_second_use_makes_nothing(tmp_path: Path) -> None:
    assert "published" in steps_of("tiny", tmp_path)
    assert steps_of("tiny", tmp_path) == []


@pytest.mark.parametrize("name", ["tiny", "coco-like"])
def test_interrupted_after_any_step_it_is_never_half_and_resumes(name: str, tmp_path: Path) -> None:
    whole = open_dataset(name, tmp_path / "whole").digest()
    for point in steps_of(name, tmp_path / "steps"):
        cache = tmp_path / f"killed-{point}"

        def die(step: str, point: str = point) -> None:
            if step == point:
                raise Killed

        with pytest.raises(Killed):
            open_dataset(name, cache, step=die)
        final = cache / "datasets" / recipe(name).key
        assert final.exists() == (point == "published")
        assert open_dataset(name, cache).digest() == whole
        assert not list((cache / "datasets").glob("*.partial"))


@pytest.mark.slow
def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys; from pathlib import Path
        from pxarbench_harness import datasets
        with datasets.prepare(datasets.load("coco-like").with_files(int(sys.argv[2])), cache=Path(sys.argv[1])): pass
        """
    )
    count, whole = 150, None
    for number in range(6):
        cache = tmp_path / str(number)
        env = {**os.environ, "PYTHONPATH": str(locate.REPOSITORY / "harness")}
        command = [sys.executable, "-c", program, str(cache), str(count)]
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
            time.sleep(0.15 + 0.06 * number)
            process.send_signal(signal.SIGKILL)
        with prepare(datasets.load("coco-like").with_files(count), cache=cache, say=quiet) as dataset:
            found = dataset.tree.digest()
        whole = whole or found
        assert found == whole
        shutil.rmtree(cache)


def damage_contents(root: Path) -> None:
    path = root / "edges" / "size-0000255"
    st = path.stat()
    path.write_bytes(bytes(255))
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def damage_missing(root: Path) -> None:
    (root / "edges" / "size-0000255").unlink()


def damage_stamp(root: Path) -> None:
    (root.parent / "stamp.json").write_text("{")


@pytest.mark.parametrize("damage", [damage_contents, damage_missing, damage_stamp], ids=["contents", "missing", "stamp"])
def test_altered_dataset_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    before = open_dataset("tiny", tmp_path)
    digest = before.digest()
    damage(before.root)
    said: list[str] = []
    with prepare(recipe("tiny"), cache=tmp_path, say=said.append) as dataset:
        assert dataset.tree.digest() == digest
    assert any("made again" in line for line in said)


def test_mutation_of_a_killed_run_is_undone(tmp_path: Path) -> None:
    with prepare(recipe("tiny"), cache=tmp_path, say=quiet) as dataset:
        digest = dataset.tree.digest()
        mutate.apply(dataset.tree, mutate.parse("edit:5%"), dataset.op_log)
    said: list[str] = []
    with prepare(recipe("tiny"), cache=tmp_path, say=said.append) as dataset:
        assert dataset.tree.digest() == digest and not dataset.op_log.exists()
    assert any("undone" in line for line in said) and not any("made again" in line for line in said)


def test_too_little_space_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(DatasetFailed, match="tiny: needs about 0.2 GB"):
        open_dataset("tiny", tmp_path)


def test_wrong_pinned_contents_are_refused(tmp_path: Path) -> None:
    pinned = datasets.load("tiny")
    wrong = Recipe(pinned.name, pinned.kind, pinned.title, pinned.licence, {**pinned.values, "content_digest": "0" * 64})
    with pytest.raises(DatasetFailed, match="the recipe says 0000"), prepare(wrong, cache=tmp_path, say=quiet):
        pass
    assert not (tmp_path / "datasets" / wrong.key).exists()


# ---- coco-like ----


def test_coco_sizes_are_those_of_the_real_set() -> None:
    full = coco.sizes(datasets.load("coco-like").with_files(123403))
    mean = sum(full) / len(full)
    assert 150 * 1024 < mean < 160 * 1024 and 18.5e9 < sum(full) < 20e9
    assert min(full) >= 5 * 1024 and max(full) <= 600 * 1024


def test_damaged_zip_of_an_interrupted_run_is_made_again(tmp_path: Path) -> None:
    whole = open_dataset("coco-like", tmp_path / "whole").digest()

    def die(step: str) -> None:
        if step == "packed":
            raise Killed

    with pytest.raises(Killed):
        open_dataset("coco-like", tmp_path / "x", step=die)
    (packed,) = (tmp_path / "x" / "datasets").glob("*.partial/images.zip")
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 1
    packed.write_bytes(data)
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is not None
    said: list[str] = []
    with prepare(recipe("coco-like"), cache=tmp_path / "x", say=said.append) as dataset:
        assert dataset.tree.digest() == whole
    assert any("damaged" in line for line in said)


# ---- linux: sources in order, without any network ----


def git(*words: str | Path, cwd: Path) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    when = {"GIT_AUTHOR_DATE": "1695465600 +0000", "GIT_COMMITTER_DATE": "1695465600 +0000"}
    subprocess.run(["git", *author, *words], cwd=cwd, check=True, env={**os.environ, **when}, capture_output=True)


def linux_recipe(*sources: dict[str, object]) -> Recipe:
    pinned = datasets.load("linux")
    return Recipe("linux", "linux", "t", "l", {**pinned.values, "needs_bytes": 1, "expects": {}, "source": list(sources)})


GIT = {"kind": "git", "ref": "v1", "connect_seconds": 1, "low_speed_bytes": 1, "low_speed_seconds": 9, "timeout_seconds": 60}


@pytest.fixture
def repository(tmp_path: Path) -> str:
    place = tmp_path / "origin"
    (place / "sub").mkdir(parents=True)
    (place / "sub" / "file").write_text("text")
    (place / "link").symlink_to("sub/file")
    git("init", cwd=place)
    git("add", ".", cwd=place)
    git("commit", "-m", "m", cwd=place)
    git("tag", "v1", cwd=place)
    return f"file://{place}"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    place = tmp_path / "linux-source-9"
    place.mkdir()
    (place / "Makefile").write_text("all:\n")
    os.utime(place / "Makefile", ns=(0, 1_500_000_000 * 10**9))
    subprocess.run(["tar", "-cJf", "linux-source-9.tar.xz", "linux-source-9"], cwd=tmp_path, check=True)
    return tmp_path / "linux-source-9.tar.xz"


def test_git_source_has_the_commits_time_everywhere_and_no_git_folder(tmp_path: Path, repository: str) -> None:
    with prepare(linux_recipe({**GIT, "url": repository}), cache=tmp_path / "c", say=quiet) as dataset:
        assert dataset.source.startswith("git v1 (")
        assert set(dataset.tree.entries) == {b".", b"sub", b"sub/file", b"link"}
        assert {e.mtime_ns for e in dataset.tree.entries.values()} == {1695465600 * 10**9}


def test_next_source_is_used_when_one_fails_and_named(tmp_path: Path, packed: Path) -> None:
    unreachable = {**GIT, "url": "https://host.invalid/linux.git"}
    installed = {"kind": "installed", "glob": str(packed.parent / "linux-source-*.tar.xz")}
    said: list[str] = []
    with prepare(linux_recipe(unreachable, installed), cache=tmp_path / "c", say=said.append) as dataset:
        assert dataset.source == "package linux-source-9, installed"
        assert dataset.tree.entries[b"Makefile"].mtime_ns == 1_500_000_000 * 10**9
    assert any("host.invalid cannot be reached" in line for line in said)


def test_no_source_at_all_names_each_with_its_reason(tmp_path: Path, repository: str) -> None:
    bad_ref = {**GIT, "url": repository, "ref": "v2"}
    none = {"kind": "installed", "glob": str(tmp_path / "nothing-*")}
    with pytest.raises(DatasetFailed, match="(?s)none of its sources.*git: .*v2.*installed: source at"):
        with prepare(linux_recipe(bad_ref, none), cache=tmp_path / "c", say=quiet):
            pass


def test_debian_package_downloaded_before_is_unpacked_offline(tmp_path: Path, packed: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    stage = tmp_path / "stage"
    (stage / "DEBIAN").mkdir(parents=True)
    (stage / "DEBIAN" / "control").write_text(
        "Package: linux-source-9\nVersion: 9.1-1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: d\n"
    )
    (stage / "usr" / "src").mkdir(parents=True)
    shutil.copy(packed, stage / "usr" / "src")
    cache = tmp_path / "c"
    (cache / "downloads").mkdir(parents=True)
    deb = cache / "downloads" / "linux-source-9_9.1-1_all.deb"
    subprocess.run(["dpkg-deb", "--build", "-Zgzip", stage, deb], check=True, capture_output=True)
    source = {"kind": "debian", "packages": ["linux-source-9"], "timeout_seconds": 60}
    with prepare(linux_recipe(source), cache=cache, say=quiet) as dataset:
        assert dataset.source == "Debian package linux-source-9 9.1-1"
        assert dataset.tree.file_count == 1
    shutil.rmtree(cache / "datasets")
    deb.write_bytes(deb.read_bytes()[:-100])
    with pytest.raises(DatasetFailed), prepare(linux_recipe(source), cache=cache, say=quiet):
        pass
    assert not deb.exists(), "a damaged package must not be tried for ever"


def test_sources_of_the_real_recipe_are_known() -> None:
    assert {s["kind"] for s in datasets.load("linux").values["source"]} <= set(sources.KINDS)
