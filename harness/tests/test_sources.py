"""datasets/: where trees come from. Downloads that break, archives that lie, folders of one's own, histories."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from source_server import Behaviour, serving

from pxarbench_harness import datasets, locate, run, tree
from pxarbench_harness.datasets import DatasetFailed, Recipe, __main__, download, progress, recipe, steps, unpack
from pxarbench_harness.datasets.sources import folder
from pxarbench_harness.datasets.sources.git import _git

SECOND = 10**9


def quiet(text: str) -> None:
    pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def made_of(*sources: dict[str, Any], **values: Any) -> Recipe:
    whole = {
        "name": "x", "kind": "sources", "expects": {"files": [1, 1000], "bytes": [0, 50_000_000]}, "source": list(sources),
        **values,
    }  # fmt: skip
    return Recipe("x", "sources", "t", "l", whole)


def prepared(wanted: Recipe, cache: Path, say: Callable[[str], None] = quiet, **options: Any) -> datasets.Dataset:
    with datasets.prepare(wanted, cache=cache, say=say, **options) as dataset:
        return dataset


def failure(wanted: Recipe, cache: Path) -> str:
    with pytest.raises(DatasetFailed) as raised:
        prepared(wanted, cache)
    assert not (cache / "datasets" / wanted.key).exists()
    return str(raised.value)


# ---- archives to unpack ----

FILES = {"top/a": b"first" * 1000, "top/sub/b": os.urandom(300_000), "top/sub/empty": b""}


def tarred(build: Callable[[tarfile.TarFile], None] | None = None, packing: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1_500_000_000, 0o640
            info.pax_headers = {"mtime": "1500000000.123456789"}
            archive.addfile(info, io.BytesIO(data))
        if build is not None:
            build(archive)
    pack: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    return pack[packing](out.getvalue())


def zipped(build: Callable[[zipfile.ZipFile], None] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            info = zipfile.ZipInfo(name, (2017, 9, 1, 12, 0, 0))
            info.external_attr = 0o100640 << 16
            archive.writestr(info, data)
        if build is not None:
            build(archive)
    return out.getvalue()


def local(tmp_path: Path, name: str, data: bytes, **values: Any) -> dict[str, Any]:
    (tmp_path / name).write_bytes(data)
    return {"kind": "archive", "url": str(tmp_path / name), **values}


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "tar.zst", "zip"])
def test_every_format_is_unpacked(tmp_path: Path, ending: str) -> None:
    if ending == "zip":
        data, mtime = zipped(), 1_504_267_200 * SECOND
    elif ending == "tar.zst":
        if shutil.which("zstd") is None:
            pytest.skip("zstd is not installed")
        data, mtime = run.run(["zstd", "-c"], stdin=tarred()).check_ok().stdout, 1_500_000_000_123_456_789
    else:
        data, mtime = tarred(packing={"tgz": "gz"}.get(ending, ending[4:])), 1_500_000_000_123_456_789
    source = local(tmp_path, f"x.{ending}", data, strip=1)
    made = prepared(made_of(source), tmp_path / "c")
    assert {e.path: e.size for e in made.tree.files()} == {b"a": 5000, b"sub/b": 300_000, b"sub/empty": 0}
    assert {e.mtime_ns for e in made.tree.entries.values()} == {mtime}
    assert {e.mode for e in made.tree.files()} == {0o640} and made.order == "archive"
    assert made.tree.entries[b"sub/b"].digest == hashlib.sha256(FILES["top/sub/b"]).hexdigest()


def test_times_by_policy(tmp_path: Path) -> None:
    source = local(tmp_path, "x.tar", tarred())
    made = prepared(made_of(source, mtime="fixed", mtime_fixed="2020-01-01T00:00:00Z"), tmp_path / "c")
    assert {e.mtime_ns for e in made.tree.entries.values()} == {1_577_836_800 * SECOND}
    assert "no commit" in failure(made_of(source, mtime="commit"), tmp_path / "c")


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"x") -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        info.size = len(data) if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(data))

    return add


def _through_symlink(archive: tarfile.TarFile) -> None:
    _member("top/out", tarfile.SYMTYPE, "../../../..")(archive)
    _member("top/out/written")(archive)


def _many(archive: tarfile.TarFile) -> None:
    for number in range(2000):
        _member(f"many/{number}")(archive)


def _great_header(archive: tarfile.TarFile) -> None:
    info = tarfile.TarInfo("great")
    info.pax_headers = {"comment": "x" * (2 << 20)}
    archive.addfile(info)


HOSTILE_TARS = {
    "up": (_member("top/../../up"), r"'top/\.\./\.\./up' leads out"),
    "absolute": (_member("/tmp/absolute"), "'/tmp/absolute' has an absolute"),
    "through-symlink": (_through_symlink, "'top/out/written' would be written through the symlink 'top/out'"),
    "through-file": (_member("top/a/below"), "'top/a/below' would be written through the file"),
    "twice": (_member("top/a"), "'top/a' comes twice"),
    "symlink-replaced": (_member("top/sub", tarfile.SYMTYPE, "/etc"), "'top/sub' comes twice"),
    "device": (_member("dev", tarfile.CHRTYPE), "'dev' is a device"),
    "pipe": (_member("pipe", tarfile.FIFOTYPE), "'pipe' is a device, a pipe"),
    "link-out": (_member("link", tarfile.LNKTYPE, "../../etc/passwd"), r"'\.\./\.\./etc/passwd' leads out"),
    "link-to-nothing": (_member("link", tarfile.LNKTYPE, "etc/passwd"), "'link' is a link to 'etc/passwd'"),
    "too-large": (_member("bomb", data=bytes(60_000_000)), "'bomb': with it there are 4 files with 60"),
    "too-many": (_many, "at most 1000 files"),
    "great-header": (_great_header, "extended header of"),
}


@pytest.mark.parametrize("name", HOSTILE_TARS)
def test_hostile_tars_are_refused_by_name(tmp_path: Path, name: str) -> None:
    build, said = HOSTILE_TARS[name]
    source = local(tmp_path, "x.tar.gz", tarred(build, "gz"))
    with pytest.raises(DatasetFailed, match=said):
        prepared(made_of(source), tmp_path / "c")
    assert (tmp_path / "x.tar.gz").exists(), "a file of one's own is not removed"
    assert {p.name for p in tmp_path.iterdir()} == {"x.tar.gz", "c"}


def _zip_member(name: str, mode: int, data: bytes = b"x") -> Callable[[zipfile.ZipFile], None]:
    def add(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, data, zipfile.ZIP_DEFLATED)

    return add


def _zip_through_symlink(archive: zipfile.ZipFile) -> None:
    _zip_member("out", 0o120777, b"/tmp")(archive)
    _zip_member("out/written", 0o100644)(archive)


HOSTILE_ZIPS = {
    "up": (_zip_member("../up", 0o100644), r"'\.\./up' leads out"),
    "absolute": (_zip_member("/tmp/absolute", 0o100644), "has an absolute"),
    "device": (_zip_member("dev", stat.S_IFCHR | 0o600), "'dev' is a device"),
    "through-symlink": (_zip_through_symlink, "'out/written' would be written through the symlink"),
    "bomb": (_zip_member("bomb", 0o100644, bytes(60_000_000)), "'bomb': with it"),
    "long-target": (_zip_member("link", 0o120777, b"t" * 5000), "'link' is a symlink with an impossible"),
}


@pytest.mark.parametrize("name", HOSTILE_ZIPS)
def test_hostile_zips_are_refused_by_name(tmp_path: Path, name: str) -> None:
    build, said = HOSTILE_ZIPS[name]
    with pytest.raises(DatasetFailed, match=said):
        prepared(made_of(local(tmp_path, "x.zip", zipped(build))), tmp_path / "c")


@pytest.mark.parametrize("block", [tarfile.TarInfo("d/").tobuf(), bytes(512)], ids=["headers", "padding"])
def test_a_bomb_of_nothing_ends_early(tmp_path: Path, block: bytes) -> None:
    class Endless:
        given = 0

        def read(self, size: int) -> bytes:
            self.given += size
            assert self.given < 200 << 20
            return block * (size // 512)

    limits = unpack.Limits(3, 9)
    with pytest.raises(unpack.Refused), progress.Progress(quiet, "") as shown:
        unpack._tar(Endless(), unpack.Sink(tmp_path, limits, 0, shown), limits)  # type: ignore[arg-type]


# A plain tar has no checksum over contents: that is what the recipe's SHA-256 is for.
DAMAGES = [(name, how) for name in ("x.tar.gz", "x.tar.bz2", "x.tar.xz", "x.zip") for how in ("short", "wrong")]
DAMAGES += [("x.tar", "short")]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_damaged_archives_are_told(tmp_path: Path, name: str, damage: str) -> None:
    data = bytearray(zipped() if name == "x.zip" else tarred(packing=name[6:]))
    if damage == "short":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 0x55
    assert name in failure(made_of(local(tmp_path, name, bytes(data))), tmp_path / "c")


def test_archive_without_expectation_is_not_touched(tmp_path: Path) -> None:
    assert "does not say how many" in failure(made_of(local(tmp_path, "x.zip", zipped()), expects={}), tmp_path / "c")
    assert "neither zip nor tar" in failure(made_of(local(tmp_path, "x.rar", b"")), tmp_path / "c")


def test_expectation_is_checked(tmp_path: Path) -> None:
    source = local(tmp_path, "x.zip", zipped())
    few, small = {"files": [4, 9], "bytes": [0, 10**7]}, {"files": [1, 9], "bytes": [10**6, 10**7]}
    assert "3 files, the recipe expects 4 to 9" in failure(made_of(source, expects=few), tmp_path / "c")
    assert "305,000 bytes, the recipe expects" in failure(made_of(source, expects=small), tmp_path / "c")


def test_own_file_with_the_wrong_hash_is_named_and_kept(tmp_path: Path) -> None:
    source = local(tmp_path, "x.zip", zipped(), sha256="0" * 64)
    assert f"{tmp_path}/x.zip: SHA-256" in failure(made_of(source), tmp_path / "c")
    assert (tmp_path / "x.zip").exists()


# ---- downloads ----


@pytest.fixture
def server() -> Iterator[tuple[str, Behaviour]]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with serving(zipped()) as (address, behaviour):
        yield address, behaviour


def from_web(address: str, data: bytes, **values: Any) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"kind": "archive", "url": f"{address}/x.zip", "size": len(data), "sha256": digest, **values}


def downloads(cache: Path) -> set[str]:
    return {p.name.split("-", 1)[1] for p in (cache / "downloads").iterdir() if not p.name.endswith(".lock")}


def test_dropped_downloads_go_on_where_they_stopped(tmp_path: Path, server: tuple[str, Behaviour]) -> None:
    address, how = server
    how.drops = [100_000, 50_000]
    made = prepared(made_of(from_web(address, how.contents)), tmp_path)
    assert how.seen == [0, 100_000, 150_000] and how.sent == len(how.contents)
    assert made.tree.file_count == 3 and downloads(tmp_path) == {"x.zip"}


def test_a_server_that_never_goes_on_is_given_up_and_what_came_is_kept(tmp_path: Path, server: tuple[str, Behaviour]) -> None:
    address, how = server
    how.drops = [100_000, 0, 0, 0]
    wanted = made_of(from_web(address, how.contents))
    assert "100,000 bytes are kept" in failure(wanted, tmp_path)
    assert downloads(tmp_path) == {"x.zip.partial"}
    prepared(wanted, tmp_path)
    assert how.seen[-1] == 100_000


def test_a_server_without_ranges_is_asked_from_the_start(tmp_path: Path, server: tuple[str, Behaviour]) -> None:
    address, how = server
    how.drops, how.ranges = [100_000], False
    said: list[str] = []
    assert prepared(made_of(from_web(address, how.contents)), tmp_path, said.append).tree.file_count == 3
    assert any("once more from the start" in line for line in said)


def test_wrong_hash_is_removed_and_named(tmp_path: Path, server: tuple[str, Behaviour]) -> None:
    address, how = server
    wanted = made_of(from_web(address, how.contents, sha256="1" * 64))
    assert "x.zip.partial: SHA-256" in failure(wanted, tmp_path)
    assert downloads(tmp_path) == set()


@pytest.mark.parametrize("declared", [True, False])
def test_short_file_is_removed_and_named(tmp_path: Path, server: tuple[str, Behaviour], declared: bool) -> None:
    address, how = server
    wanted = made_of(from_web(address, how.contents))
    how.declare_length, how.contents = declared, how.contents[:-1000]
    assert f"{len(how.contents)} bytes, the recipe says {len(how.contents) + 1000}" in failure(wanted, tmp_path)
    assert downloads(tmp_path) == set()


def test_more_than_the_pinned_size_is_not_written(tmp_path: Path, server: tuple[str, Behaviour]) -> None:
    address, how = server
    wanted = made_of(from_web(address, how.contents))
    how.contents, how.declare_length = how.contents + bytes(50_000_000), False
    assert "sends more than" in failure(wanted, tmp_path)
    assert downloads(tmp_path) == set() and how.sent < 45_000_000


def test_unreachable_and_missing_files_lead_to_the_next_source(tmp_path: Path, server: tuple[str, Behaviour]) -> None:
    address, how = server
    nowhere = from_web("http://127.0.0.1:9", how.contents)
    made = prepared(made_of(nowhere, local(tmp_path, "own.zip", zipped())), tmp_path / "c")
    assert made.source.startswith("own.zip")
    how.status = 404
    assert "404" in failure(made_of(from_web(address, how.contents)), tmp_path / "c2")
    assert "only http" in failure(made_of({"kind": "archive", "url": "ftp://127.0.0.1/x.zip"}), tmp_path / "c3")


def test_hash_of_the_first_use_is_recorded_and_has_to_match_later(tmp_path: Path, server: tuple[str, Behaviour]) -> None:
    address, how = server
    source = {**from_web(address, how.contents)}
    del source["sha256"]
    said: list[str] = []
    made = prepared(made_of(source), tmp_path, said.append)
    assert any("the recipe pins none" in line for line in said) and "not pinned" in made.source
    (note,) = (tmp_path / "downloads").glob("*.json")
    assert json.loads(note.read_text())["sha256"] == hashlib.sha256(how.contents).hexdigest()
    (kept,) = (tmp_path / "downloads").glob("*.zip")
    changed = bytearray(how.contents)
    changed[50] ^= 1
    kept.write_bytes(changed)
    how.contents = bytes(changed)
    shutil.rmtree(tmp_path / "datasets")
    assert "at its first use it was" in failure(made_of(source), tmp_path)


def test_file_damaged_in_the_cache_is_downloaded_again(tmp_path: Path, server: tuple[str, Behaviour]) -> None:
    address, how = server
    wanted = made_of(from_web(address, how.contents))
    prepared(wanted, tmp_path)
    (kept,) = (tmp_path / "downloads").glob("*.zip")
    kept.write_bytes(how.contents[:-1] + b"?")
    prepared(wanted, tmp_path, fresh=True)
    assert kept.read_bytes() == how.contents


# ---- kill -9 ----

PROGRAM = textwrap.dedent(
    """
    import json, os, signal, sys
    from pathlib import Path
    from pxarbench_harness.datasets import Recipe, prepare
    def step(name):
        if name == sys.argv[3]:
            os.kill(os.getpid(), signal.SIGKILL)
    recipe = Recipe("x", "sources", "t", "l", json.loads(sys.argv[1]))
    with prepare(recipe, cache=Path(sys.argv[2]), step=step) as dataset:
        print(dataset.tree.digest())
    """
)


def started(wanted: Recipe, cache: Path, point: str = "") -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(locate.REPOSITORY / "harness")}
    command = [sys.executable, "-c", PROGRAM, json.dumps(wanted.values), str(cache), point]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE)


def test_killed_in_the_middle_of_a_download_it_goes_on_there(tmp_path: Path, server: tuple[str, Behaviour]) -> None:
    address, how = server
    how.seconds_per_piece = 0.3
    wanted = made_of(from_web(address, how.contents))
    with started(wanted, tmp_path) as process:
        deadline = time.monotonic() + 20
        while how.sent < 131072 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    how.seconds_per_piece = 0.0
    time.sleep(0.4)
    (part,) = (tmp_path / "downloads").glob("*.partial")
    size = part.stat().st_size
    time.sleep(0.7)
    assert 0 < size == part.stat().st_size < len(how.contents), "nothing goes on writing after the kill"
    assert prepared(wanted, tmp_path).tree.file_count == 3
    assert how.seen[0] == 0 and how.seen[-1] == size


def test_two_at_once_download_once(tmp_path: Path, server: tuple[str, Behaviour]) -> None:
    address, how = server
    how.seconds_per_piece = 0.1
    wanted = made_of(from_web(address, how.contents))
    with started(wanted, tmp_path) as first, started(wanted, tmp_path) as second:
        answers = [process.communicate(timeout=60)[0].decode().splitlines() for process in (first, second)]
    assert answers[0][-1] == answers[1][-1] and len(answers[0][-1]) == 64
    assert how.seen == [0]
    assert sum(any("another run uses it, waiting" in line for line in lines) for lines in answers) == 1


@pytest.fixture
def repository(tmp_path: Path) -> str:
    """Three tags, a second apart in their times' hundred."""
    place = tmp_path / "origin"
    (place / "sub").mkdir(parents=True)
    (place / "kept").write_text("kept")
    (place / "sub" / "changed").write_text("one")
    (place / "sub" / "gone").write_text("gone")
    (place / "link").symlink_to("kept")
    (place / ".gitignore").write_text("ignored\n")

    def commit(tag: str, seconds: int) -> None:
        if not (place / ".git").exists():
            _git(place, "-c", "init.defaultBranch=main", "init", "--quiet")
        _git(place, "add", "--all", seconds=seconds)
        _git(place, "commit", "--quiet", "--message", tag, seconds=seconds)
        _git(place, "tag", tag)

    commit("v1", 1_600_000_100)
    (place / "sub" / "changed").write_text("two")
    (place / "new").mkdir()
    (place / "new" / "file").write_text("new")
    commit("v2", 1_600_000_200)
    (place / "sub" / "gone").unlink()
    (place / "link").unlink()
    (place / "link").symlink_to("new/file")
    (place / "sub" / "changed").chmod(0o755)
    commit("v3", 1_600_000_300)
    return f"file://{place}"


def history(url: str, *tags: str, **values: Any) -> dict[str, Any]:
    each, wanted = {"kind": "git", "url": url}, list(tags or ("v1", "v2", "v3"))
    return {"kind": "versions", "field": "ref", "values": wanted, "each": each, **values}


def linux_like(tmp_path: Path) -> dict[str, Any]:
    place = tmp_path / "linux-source-9"
    (place / "sub").mkdir(parents=True)
    (place / "sub" / "file").write_text("text" * 1000)
    (place / ".gitignore").write_text("*\n")
    subprocess.run(["tar", "-cJf", "linux-source-9.tar.xz", "linux-source-9"], cwd=tmp_path, check=True)
    return {"kind": "installed", "glob": str(tmp_path / "linux-source-*.tar.xz")}


@pytest.mark.parametrize("kind", ["archive", "versions", "path", "git-init"])
def test_kill_9_at_every_step(tmp_path: Path, repository: str, kind: str) -> None:
    if kind == "versions":
        wanted = made_of(history(repository))
    elif kind == "git-init":
        wanted = made_of({"kind": "git-init", "from": linux_like(tmp_path), "date": "2024-01-01T00:00:00Z"})
    elif kind == "path":
        wanted = made_of({"kind": "path", "path": repository.removeprefix("file://")})
    else:
        wanted = made_of(local(tmp_path, "x.zip", zipped()))
    points: list[str] = []
    whole = prepared(wanted, tmp_path / "whole", step=points.append).tree.digest()
    assert len(set(points)) >= 5
    for point in dict.fromkeys(points):
        cache = tmp_path / point
        with started(wanted, cache, point) as process:
            process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert (cache / "datasets" / wanted.key).exists() == (point == "published")
        made = prepared(wanted, cache)
        assert made.tree.digest() == whole and datasets.verify(wanted, cache=cache, say=quiet) == []
        assert not list((cache / "datasets").glob("*.partial")) and len(made.steps) == (2 if kind == "versions" else 0)


def test_kill_9_in_the_middle_of_unpacking(tmp_path: Path) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        for number in range(900):
            _member(f"many/{number}", data=b"y" * 20_000)(archive)

    wanted = made_of(local(tmp_path, "x.tar.gz", tarred(fill, "gz")))
    whole = prepared(wanted, tmp_path / "whole").tree.digest()
    caught = 0
    for number in range(4):
        cache = tmp_path / str(number)
        with started(wanted, cache) as process:
            deadline = time.monotonic() + 20
            while progress.below(cache)[0] < 100 + 200 * number and time.monotonic() < deadline:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        caught += not (cache / "datasets" / wanted.key).exists()
        assert prepared(wanted, cache).tree.digest() == whole
    assert caught


# ---- git ----


def test_git_folder_is_kept_and_knows_nothing_of_the_machine(tmp_path: Path, repository: str) -> None:
    wanted = made_of({"kind": "git", "url": repository, "ref": "v2", "keep_git": True}, mtime="commit")
    first, second = prepared(wanted, tmp_path / "1"), prepared(wanted, tmp_path / "2")
    assert first.tree.digest() == second.tree.digest() and "with .git, depth 1" in first.source
    assert {e.mtime_ns for e in first.tree.entries.values()} == {1_600_000_200 * SECOND}
    assert any(p.endswith(b".pack") for p in first.tree.entries) and b".git/index" in first.tree.entries
    copy = shutil.copytree(first.root, tmp_path / "copy", symlinks=True)
    assert _git(copy, "status", "--porcelain") == "" and "v2" in _git(copy, "log", "--format=%s")


def test_git_made_on_the_spot(tmp_path: Path) -> None:
    made_here = {
        "kind": "git-init", "from": linux_like(tmp_path), "date": "2024-01-01T00:00:00Z", "branch": "master", "tag": "v0",
    }  # fmt: skip
    wanted = made_of(made_here, mtime="commit")
    first, second = prepared(wanted, tmp_path / "1"), prepared(wanted, tmp_path / "2")
    assert first.tree.digest() == second.tree.digest()
    assert "a .git made of it here: one commit" in first.source and "no history" in first.source
    assert {e.mtime_ns for e in first.tree.entries.values()} == {1_704_067_200 * SECOND}
    copy = shutil.copytree(first.root, tmp_path / "copy", symlinks=True)
    _git(copy, "fsck", "--strict")
    assert _git(copy, "ls-tree", "-r", "--name-only", "v0").split() == [".gitignore", "sub/file"]
    assert _git(copy, "status", "--porcelain") == ""
    assert "has a .git of its own" in failure(made_of({**made_here, "from": made_here}), tmp_path / "3")


def test_umask_does_not_matter(tmp_path: Path, repository: str) -> None:
    digests = set()
    for number, mask in enumerate((0o022, 0o077, 0o002)):
        before = os.umask(mask)
        try:
            cloned = prepared(made_of({"kind": "git", "url": repository, "ref": "v3"}), tmp_path / str(number))
            unpacked = prepared(made_of(local(tmp_path, "x.zip", zipped())), tmp_path / str(number))
            digests.add((cloned.tree.digest(), unpacked.tree.digest()))
        finally:
            os.umask(before)
    assert len(digests) == 1


# ---- histories ----


def test_history_is_a_tree_and_its_steps(tmp_path: Path, repository: str) -> None:
    made = prepared(made_of(history(repository)), tmp_path)
    assert made.labels == ("v1", "v2", "v3") and [s.label for s in made.steps] == ["v2", "v3"]
    assert made.tree.entries[b"sub/changed"].size == 3 and b"new" not in made.tree.entries
    two, three = (step.manifest(made.root) for step in made.steps)
    one, at = made.tree.entries, 1_600_000_000 * SECOND
    assert made.steps[0].contents(b"sub/changed").read_text() == "two" and not made.steps[0].contents(b"kept").exists()
    # What did not change keeps its time; a changed file has the new one; a folder only when names came or went.
    assert two.entries[b"kept"] == one[b"kept"]
    assert two.entries[b"sub/changed"].mtime_ns == at + 200 * SECOND and two.entries[b"sub"].mtime_ns == at + 100 * SECOND
    assert two.entries[b"."].mtime_ns == two.entries[b"new/file"].mtime_ns == at + 200 * SECOND
    assert b"sub/gone" not in three.entries and three.entries[b"sub"].mtime_ns == at + 300 * SECOND
    assert three.entries[b"link"].target == b"new/file" and three.entries[b"link"].mtime_ns == at + 300 * SECOND
    # The mode alone: no contents are stored, and the time stays.
    assert three.entries[b"sub/changed"].mode == 0o755 and three.entries[b"sub/changed"].mtime_ns == at + 200 * SECOND
    assert not made.steps[1].contents(b"sub/changed").exists()
    assert dict(made.steps[1].counts) == {"added": 0, "deleted": 1, "changed": 1, "attributes": 2, "files": 0, "files_bytes": 0}
    assert [s.digest for s in made.steps] == [two.digest(), three.digest()] and made.steps[1].previous == two.digest()
    assert steps.of(made.folder) == made.steps


def test_missing_versions_are_left_out_and_named(tmp_path: Path, repository: str) -> None:
    made = prepared(made_of(history(repository, "v0", "v1", "v9", "v3", least=2)), tmp_path)
    assert made.labels == ("v1", "v3") and "not to be had: v0, v9" in made.source
    assert "v0, v9 are not to be had" in failure(made_of(history(repository, "v0", "v1", "v9", "v3", least=3)), tmp_path / "2")


def test_finished_versions_are_not_made_again(tmp_path: Path, repository: str) -> None:
    wanted = made_of(history(repository))
    with started(wanted, tmp_path, "step-2") as process:
        process.communicate(timeout=60)
    said: list[str] = []
    prepared(wanted, tmp_path, said.append)
    assert [line for line in said if "made before the interruption" in line] == [
        "dataset x: version v2: made before the interruption", "dataset x: version v3: made before the interruption",
    ]  # fmt: skip


@pytest.mark.parametrize("damage", ["file", "missing", "manifest", "step", "folder"])
def test_damaged_step_is_found(tmp_path: Path, repository: str, damage: str) -> None:
    wanted = made_of(history(repository))
    made = prepared(wanted, tmp_path)
    first = made.steps[0].folder
    if damage == "file":
        (first / "files" / "sub" / "changed").write_text("TWO")
    elif damage == "missing":
        (first / "files" / "sub" / "changed").unlink()
    elif damage == "manifest":
        text = (first / "manifest.jsonl").read_text()
        (first / "manifest.jsonl").write_text(text.replace('"mode": 420', '"mode": 438', 1))
    elif damage == "step":
        (first / "step.json").write_text("{}")
    else:
        shutil.rmtree(made.steps[1].folder)
    assert datasets.verify(wanted, cache=tmp_path, say=quiet)
    if damage in ("missing", "step", "folder"):  # noticed at every use, not only when everything is read
        said: list[str] = []
        assert prepared(wanted, tmp_path, said.append).labels == ("v1", "v2", "v3")
        assert any("made again" in line for line in said)


# ---- folders of one's own ----


@pytest.fixture
def own(tmp_path: Path) -> Path:
    place = tmp_path / "Own Data"
    (place / "sub").mkdir(parents=True)
    (place / "a").write_bytes(b"contents")
    os.link(place / "a", place / "sub" / "same")
    (place / "link").symlink_to("/nowhere")
    os.mkfifo(place / "pipe")
    with open(place / "hole", "wb") as file:
        file.truncate(1 << 20)
    try:
        os.setxattr(place / "a", "user.note", b"x\0y")
    except OSError:
        pass
    if os.geteuid() == 0:
        os.chown(place / "sub", 1234, 5678)
    os.utime(place / "a", ns=(5, 1_234_567_890_123_456_789))
    os.utime(place, ns=(5, 77))
    return place


def test_own_folder_is_copied_with_everything_and_only_read(tmp_path: Path, own: Path) -> None:
    before = tree.scan(own)
    states = {p: os.lstat(os.path.join(os.fsencode(own), p)).st_ctime_ns for p in before.entries}
    wanted = datasets.load(f"path:{own}")
    assert wanted.name == "path-own-data"
    made = prepared(wanted, tmp_path / "c")
    assert tree.differences(before, made.tree) == [] and made.order == "path"
    assert (made.root / "hole").stat().st_blocks == 0
    assert states == {p: os.lstat(os.path.join(os.fsencode(own), p)).st_ctime_ns for p in before.entries}
    assert made.root.stat().st_ino != own.stat().st_ino


def test_own_folder_that_went_on_is_said_and_fresh_takes_it(tmp_path: Path, own: Path) -> None:
    wanted = datasets.load(f"path:{own}")
    prepared(wanted, tmp_path / "c")
    (own / "later").write_text("later")
    said: list[str] = []
    assert b"later" not in prepared(wanted, tmp_path / "c", said.append).tree.entries
    assert any("has changed since it was copied" in line for line in said)
    assert b"later" in prepared(wanted, tmp_path / "c", fresh=True).tree.entries


def test_folders_that_cannot_be_copied_are_told(tmp_path: Path, own: Path) -> None:
    assert "no such folder" in failure(datasets.load("path:/no/such"), tmp_path / "c")
    assert list((tmp_path / "c" / "datasets").glob("*.partial")) == []
    assert "the cache lies in it" in failure(datasets.load(f"path:{tmp_path}"), tmp_path / "c")
    assert Path("/proc") in folder._mounted_below(Path("/"))
    with pytest.raises(recipe.RecipeBroken, match="a folder is missing"):
        datasets.load("path:")


# ---- packages ----


def test_pinned_package_versions_come_from_the_downloads(tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    (tmp_path / "c" / "downloads").mkdir(parents=True)
    for version in ("1:9.2-1", "1:9.10-1"):
        stage = tmp_path / version.replace(":", "_")
        (stage / "DEBIAN").mkdir(parents=True)
        (stage / "DEBIAN" / "control").write_text(
            f"Package: src-of-it\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@b>\nDescription: d\n"
        )
        (stage / "usr" / "src").mkdir(parents=True)
        (stage / "in" / "top").mkdir(parents=True)
        (stage / "in" / "top" / "version").write_text(version)
        (stage / "in" / "top" / "same").write_text("same")
        os.utime(stage / "in" / "top" / "same", (len(version), len(version)))
        packed = stage / "usr" / "src" / "src-of-it.tar.xz"
        subprocess.run(["tar", "-cJf", packed, "-C", stage / "in", "top"], check=True)
        shutil.rmtree(stage / "in")
        deb = tmp_path / "c" / "downloads" / f"src-of-it_{version.replace(':', '%3a')}_all.deb"
        subprocess.run(["dpkg-deb", "--build", "-Zgzip", stage, deb], check=True, capture_output=True)
    package = {"kind": "debian", "packages": ["src-of-it"]}
    assert prepared(made_of({**package, "version": "1:9.2-1"}), tmp_path / "c").source.endswith("src-of-it 1:9.2-1")
    assert prepared(made_of(package), tmp_path / "c").source.endswith("src-of-it 1:9.10-1"), "the newest, not the last by name"
    versions = {"kind": "versions", "field": "version", "values": ["1:9.2-1", "1:9.10-1"], "each": package}
    made = prepared(made_of(versions), tmp_path / "c")
    assert made.labels == ("1:9.2-1", "1:9.10-1")
    after = made.steps[0].manifest(made.root)
    assert after.entries[b"same"].mtime_ns == 7 * SECOND and made.steps[0].counts["changed"] == 1


# ---- recipes, progress, the command ----


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('mtime = "soon"', "mtime is 'soon', not one of"),
        ('mtime = "fixed"', "mtime_fixed is missing"),
        ("expects = { files = [3, 1] }", "expects.files"),
        ("expects = { weight = [1, 3] }", "expects.weight"),
        ("[[source]]\nurl = 'x'", "needs a kind"),
        ("", "at least one"),
    ],
)
def test_broken_recipes_are_told(tmp_path: Path, text: str, said: str) -> None:
    source = "" if not text or "source" in text else '\n[[source]]\nkind = "git"\n'
    (tmp_path / "y.toml").write_text(f'name = "y"\nkind = "sources"\ntitle = "t"\nlicence = "l"\n{text}{source}')
    with pytest.raises(recipe.RecipeBroken, match=said):
        datasets.load(str(tmp_path / "y.toml"))


def test_what_is_only_checked_does_not_change_the_key() -> None:
    loaded = datasets.load("linux")
    assert loaded.key == "linux-9e0fd15e47", "trees that are prepared everywhere would be made again"
    assert Recipe("linux", "linux", "t", "l", {**loaded.values, "expects": {}, "portable_digest": "x"}).key == loaded.key
    assert datasets.load(str(locate.recipes() / "examples" / "own-folder.toml")).name == "own-folder"


def test_progress_is_told_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    said: list[str] = []
    with progress.Progress(said.append, "doing", total_bytes=4 << 20) as shown:
        time.sleep(0.06)
        shown.add(3, 1 << 20)
    with progress.Progress(said.append, "probing", probe=lambda: (7, 2 << 20)):
        time.sleep(0.2)
    assert said[0] == "doing: 1.0 MiB (25 %), 3 files, 0 s"
    assert said[1].startswith("probing: 2.0 MiB, 7 files")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], own: Path) -> None:
    cache, name = ["--cache", str(tmp_path / "c")], f"path:{own}"
    assert __main__.main(["path", *cache, name]) == 1
    assert __main__.main(["verify", *cache, name]) == 1
    assert "is not prepared" in capsys.readouterr().err
    assert __main__.main(["prepare", *cache, name]) == 0
    assert __main__.main(["verify", *cache, name]) == 0
    assert "dataset path-own-data: whole" in capsys.readouterr().out
    assert __main__.main(["path", *cache, name]) == 0
    place = Path(capsys.readouterr().out.strip())
    assert (place / "a").read_bytes() == b"contents"
    st = (place / "sub").stat()
    (place / "hole").unlink()
    os.utime(place / "sub", ns=(st.st_atime_ns, st.st_mtime_ns))
    assert __main__.main(["verify", *cache, name]) == 1
    assert __main__.main(["prepare", *cache, "nothing-of-that-name"]) == 2
    assert __main__.main(["prepare", *cache, "path:/no/such"]) == 1
    assert __main__.main(["list", *cache]) == 0
    assert "linux-history\n    Linux kernel source tree, consecutive" in capsys.readouterr().out


def test_verify_reads_contents_again(tmp_path: Path) -> None:
    """Other bytes with the same size and times, put there without the kernel noticing, as a bad disk does."""
    wanted = made_of(local(tmp_path, "x.zip", zipped()))
    made = prepared(wanted, tmp_path / "c")
    manifest = made.folder / "manifest.jsonl"
    text = manifest.read_text()
    right = made.tree.entries[b"top/a"].digest
    wrong = "0" * 64
    # Stands for the disk: the listing and the stamp say that the file had other contents all along.
    manifest.write_text(text.replace(right, wrong))
    stamp = made.folder / "stamp.json"
    known = tree.load(manifest, made.root)
    stamp.write_text(stamp.read_text().replace(made.tree.digest(), known.digest()))
    (problem,) = datasets.verify(wanted, cache=tmp_path / "c", say=quiet)
    assert "top/a: digest" in problem


def test_local_paths_are_told_from_addresses() -> None:
    assert download.local_path("file:///srv/a%20b.zip") == Path("/srv/a b.zip")
    assert download.local_path("/srv/x.zip") == Path("/srv/x.zip") and download.local_path("http://h/x.zip") is None
