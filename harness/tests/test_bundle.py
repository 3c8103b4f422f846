"""Bundles: the same bytes for the same contents, and nothing unpacked that ci/bundle would not have packed."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_integers import made

from pxarbench_harness import integers, record, run
from pxarbench_harness.bundle import archive, cli, make, manifest
from pxarbench_harness.bundle.archive import BundleBroken, BundleFailed, Limits, pack, unpack
from pxarbench_harness.bundle.cli import harmless
from pxarbench_harness.bundle.manifest import Manifest
from pxarbench_harness.gates import verdict as verdicts
from pxarbench_harness.gates.verdict import Finding, Level, Verdict

# ---- the file ----


def packed(plain: bytes, folder: Path) -> Path:
    source, target = folder / "x.tar", folder / "x.tar.zst"
    source.write_bytes(plain)
    run.run(["zstd", "-q", "-f", "-o", target, source]).check_ok()
    return target


def plain_of(bundle: Path) -> bytes:
    return run.run(["zstd", "-dc", bundle]).check_ok().stdout


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


NAMES = st.from_regex(r"\A[a-z0-9_+][A-Za-z0-9_+.@,=-]{0,20}(/[a-z0-9][a-z.-]{0,9}){0,3}\Z")


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=8))
def test_comes_back(tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]) -> None:
    # A name that is a folder of another one cannot be both.
    contents = {n: c for n, c in contents.items() if not any(o.startswith(n + "/") for o in contents)}
    folder = tmp_path_factory.mktemp("bundle")
    pack(contents, folder / "b.tar.zst")
    assert unpack(folder / "b.tar.zst", folder / "out") == sorted(contents)
    assert files_below(folder / "out") == contents


def test_same_bytes_and_others_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "later"
    file.write_bytes(b"x" * 1025)
    pack({"b/c": b"1", "a": file}, tmp_path / "one.tar.zst")
    os.utime(file, ns=(5, 5))
    pack({"a": b"x" * 1025, "b/c": b"1"}, tmp_path / "two.tar.zst")
    assert (tmp_path / "one.tar.zst").read_bytes() == (tmp_path / "two.tar.zst").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(plain_of(tmp_path / "one.tar.zst"))) as tar:
        assert [(m.name, m.size, m.isreg(), m.mtime, m.uid) for m in tar] == [("a", 1025, True, 0, 0), ("b/c", 1, True, 0, 0)]


@pytest.mark.parametrize(
    "name", ["", "/a", "../a", "a/../b", "a//b", ".a", "-a", "a/", "a b", "a\nb", "a" * 101, "ä", "a/" * 9 + "a"]
)
def test_names_that_are_not_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        pack({name: b""}, tmp_path / "b.tar.zst")
    assert list(tmp_path.iterdir()) == []


def test_links_are_not_followed_when_packing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(BundleFailed, match="link"):
        pack({"a": tmp_path / "link"}, tmp_path / "b.tar.zst")
    assert [p.name for p in tmp_path.iterdir()] == ["link"]


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as written:
        for info, data in members:
            written.addfile(info, io.BytesIO(data))
    whole = out.getvalue()
    end = len(whole.rstrip(b"\0"))
    return whole[: (end + 511) // 512 * 512] + bytes(1024)


HEADER = 512
GOOD = archive._header("a", 3) + b"abc" + bytes(509)
END = bytes(1024)
LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc"}

HOSTILE: dict[str, tuple[bytes, str]] = {
    "absolute": (tar(member("/tmp/x", b"1")), "no name of a file"),
    "upwards": (tar(member("a/../../x", b"1")), "no name of a file"),
    "dots": (tar(member("..", b"1")), "no name of a file"),
    "hidden": (tar(member(".bashrc", b"1")), "no name of a file"),
    "no name": (archive._header("", 0) + END, "no name of a file"),
    "control characters": (tar(member("a\x1b[2J", b"")), "no name of a file"),
    "symlink": (tar(member("a", type=tarfile.SYMTYPE, linkname="/etc")), "not a plain header"),
    "hardlink": (tar(member("a", type=tarfile.LNKTYPE, linkname="/etc/passwd")), "not a plain header"),
    "folder": (tar(member("a", type=tarfile.DIRTYPE)), "no name of a file"),
    "device": (tar(member("a", type=tarfile.CHRTYPE, devmajor=1, devminor=3)), "not a plain header"),
    "pipe": (tar(member("a", type=tarfile.FIFOTYPE)), "not a plain header"),
    "setuid": (tar(member("a", b"x", mode=0o4755)), "not a plain header"),
    "owner": (tar(member("a", b"x", uid=1)), "not a plain header"),
    "user name": (tar(member("a", b"x", uname="root")), "not a plain header"),
    "time": (tar(member("a", b"x", mtime=1)), "not a plain header"),
    "long name": (tar(member("a" * 120, b"x"), form=tarfile.GNU_FORMAT), "no name of a file|not a plain header"),
    "extended header": (tar(member("b" * 120, b"x"), form=tarfile.PAX_FORMAT), "no name of a file|not a plain header"),
    "sparse": (archive._header("a", 0)[:156] + b"S" + archive._header("a", 0)[157:] + END, "not a plain header"),
    "checksum": (GOOD[:150] + b"7" + GOOD[151:] + END, "not a plain header"),
    "negative size": (GOOD[:124] + b"-0000000001" + GOOD[135:] + END, "not a plain header"),
    "size in base 256": (GOOD[:124] + b"\x80" + bytes(10) + GOOD[135:] + END, "cannot be read"),
    "size too large": (archive._header("a", 8**11 - 1) + END, "not a plain header"),
    "twice": (GOOD + GOOD + END, "names must grow"),
    "order": (archive._header("b", 0) + GOOD + END, "names must grow"),
    "file is a folder": (GOOD + archive._header("a/b", 0) + END, "in the way"),
    "contents cut": (GOOD[:514] + b"", "ends after 2 of 3 bytes"),
    "padding": (GOOD[:-1] + b"x" + END, "filled up with zeros"),
    "padding cut": (GOOD[:-1], "filled up with zeros"),
    "header cut": (GOOD + GOOD[:100], "ends within a header"),
    "no end": (GOOD, "without its end mark"),
    "half an end": (GOOD + bytes(512), "behind the end mark"),
    "behind the end": (GOOD + END + b"x", "behind the end mark"),
    "more zeros": (GOOD + END + bytes(512), "behind the end mark"),
    "empty": (b"", "without its end mark"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(tmp_path: Path, name: str) -> None:
    plain, said = HOSTILE[name]
    bundle = packed(plain, tmp_path)
    place = tmp_path / "deep" / "out"
    with pytest.raises(BundleBroken, match=said) as refused:
        unpack(bundle, place)
    assert str(bundle) in str(refused.value) and "offset" in str(refused.value)
    assert str(refused.value).isprintable(), "what a name holds must not reach the terminal"
    assert files_below(tmp_path / "deep").keys() <= {"out/a", "out/b"}, "nothing outside of the folder"


def test_good_one_is_taken(tmp_path: Path) -> None:
    """The pieces that the hostile ones are made of."""
    assert unpack(packed(GOOD + END, tmp_path), tmp_path / "out") == ["a"]
    assert (tmp_path / "out" / "a").read_bytes() == b"abc"


def test_every_changed_bit_of_a_header_is_seen(tmp_path: Path) -> None:
    dice = random.Random(1)
    for position in dice.sample(range(HEADER), 60):
        plain = bytearray(GOOD + END)
        plain[position] ^= 1 << dice.randrange(8)
        stream = io.BytesIO(bytes(plain))
        try:
            names = list(archive._members(stream, Path("x"), Limits(), lambda _: open(os.devnull, "wb")))
        except BundleBroken:
            continue
        # Name, size and sum cannot all change by one bit; the name alone is covered by the sum.
        raise AssertionError(f"byte {position}: {names}")


def test_links_in_the_way_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleBroken, match="in the way"):
        unpack(packed(GOOD + END, tmp_path), tmp_path / "out")
    assert not (tmp_path / "elsewhere").exists()


def test_bombs(tmp_path: Path) -> None:
    big = packed(archive._header("a", 50 << 20) + bytes(50 << 20) + END, tmp_path)
    assert big.stat().st_size < 100_000
    with pytest.raises(BundleBroken, match="unpacks to more than 1,048,576 bytes"):
        unpack(big, tmp_path / "out", limits=Limits(bytes=1 << 20))
    many = packed(b"".join(archive._header(f"{n:04d}", 0) for n in range(30)) + END, tmp_path)
    with pytest.raises(BundleBroken, match="more than 20 files"):
        unpack(many, tmp_path / "many", limits=Limits(files=20))
    with pytest.raises(BundleFailed, match="at most 20"):
        pack({f"{n:04d}": b"" for n in range(30)}, tmp_path / "b.tar.zst", limits=Limits(files=20))
    with pytest.raises(BundleFailed, match="more than 4,096 bytes"):
        pack({"a": bytes(4000)}, tmp_path / "b.tar.zst", limits=Limits(bytes=4096))
    assert not (tmp_path / "b.tar.zst").exists()


@pytest.mark.parametrize(
    ("data", "said"), [(b"", "no zstd frame"), (b"PK\x03\x04", "no zstd frame"), (archive.ZSTD_MAGIC + b"junk", "damaged")]
)
def test_no_bundle_at_all(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(BundleBroken, match=said):
        unpack(tmp_path / "x", tmp_path / "out")
    with pytest.raises(BundleFailed, match="No such file"):
        unpack(tmp_path / "none", tmp_path / "out")


def test_two_at_a_time_do_not_mix(tmp_path: Path) -> None:
    contents = [{"a": bytes([number]) * 300_000, str(number): b""} for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            for done in [pool.submit(pack, one, tmp_path / "b") for one in contents]:
                done.result()
            names = unpack(tmp_path / "b", tmp_path / "out")
            assert files_below(tmp_path / "out") in contents and names
            shutil.rmtree(tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_names_that_look_like_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pack({"a": b"1"}, Path("-V"))
    assert unpack(Path("-V"), tmp_path / "out") == ["a"]


def test_half_a_file(tmp_path: Path) -> None:
    pack({"a": random.Random(1).randbytes(100_000)}, tmp_path / "b")
    whole = (tmp_path / "b").read_bytes()
    (tmp_path / "b").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleBroken, match="damaged"):
        unpack(tmp_path / "b", tmp_path / "out")


# ---- the manifest ----

EMPTY = Manifest(
    kind="session", name="s", started="2026-01-01T00:00:00Z", seed=1, commit="0123456789ab", program={}, tools={}, hosts={},
    datasets={}, plan=None, traces={}, gates=(), integers=0,
)  # fmt: skip


def test_manifest_comes_back_with_long_names(tmp_path: Path) -> None:
    long = "folder/oplog-" + "a" * 150 + ".jsonl"
    manifest.write(EMPTY, {long: b"1", "folder/x": b"22"}, tmp_path / "b.tar.zst")
    back = manifest.read(tmp_path / "b.tar.zst", tmp_path / "out")
    assert [(f.path, f.size) for f in back.files] == [(long, 1), ("folder/x", 2)]
    assert replace(back, files=()) == EMPTY
    assert (tmp_path / "out" / long).read_bytes() == b"1" and (tmp_path / "out" / "folder" / "x").read_bytes() == b"22"


def remade(folder: Path, change: Callable[[dict[str, bytes | Path]], None]) -> Path:
    """A bundle whose members were changed behind the manifest's back."""
    manifest.write(EMPTY, {"folder/x": b"22", "folder/y": b"3"}, folder / "good.tar.zst")
    names = unpack(folder / "good.tar.zst", folder / "good")
    members: dict[str, bytes | Path] = {name: (folder / "good" / name).read_bytes() for name in names}
    change(members)
    pack(members, folder / "bad.tar.zst")
    return folder / "bad.tar.zst"


def test_what_the_manifest_does_not_say(tmp_path: Path) -> None:
    def edit(text: str, by: str) -> Callable[[dict[str, bytes | Path]], None]:
        def change(members: dict[str, bytes | Path]) -> None:
            before = members[manifest.NAME]
            assert isinstance(before, bytes) and text.encode() in before
            members[manifest.NAME] = before.replace(text.encode(), by.encode())

        return change

    cases: list[tuple[Callable[[dict[str, bytes | Path]], object], str]] = [
        (lambda m: m.pop(manifest.NAME), "bundle.json is missing"),
        (lambda m: m.pop("folder/x"), "folder/x: is missing"),
        (lambda m: m.update({"folder/z": b""}), "folder/z: bundle.json does not list it"),
        (lambda m: m.update({"folder/x": b"23"}), "folder/x: its SHA-256"),
        (lambda m: m.update({"folder/x": b"222"}), "folder/x: 3 bytes, bundle.json says 2"),
        (lambda m: m.update({manifest.NAME: b"{"}), "no JSON"),
        (lambda m: m.update({manifest.NAME: b"\xff"}), "codec"),
        (lambda m: m.update({manifest.NAME: b"[" * 100_000}), "no JSON|nested"),
        (edit("pxarbench-bundle/1", "pxarbench-bundle/9"), "schema: "),
        (edit('"seed": 1', '"seed": 2, "seed": 1'), "twice"),
        (edit('"seed": 1', '"seed": NaN'), "NaN is no number"),
        (edit('"gates": []', '"gates": [' + ", ".join(f'{{"a": {n}}}' for n in range(9_000)) + "]"), "gates: more than 20"),
        (edit('"notes": []', '"notes": [' + ", ".join("1" * 90_000) + "]"), "notes"),
        (edit('"path": "folder/x"', '"path": "../x"'), "no path of a file"),
        (edit('"path": "folder/x"', '"path": "folder/y"'), "lists a file twice"),
        (edit('"kind": "session"', '"kind": "session", "more": 1'), "more"),
    ]
    for number, (change, said) in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        bundle = remade(tmp_path / str(number), change)  # type: ignore[arg-type]
        with pytest.raises(BundleBroken, match=said) as refused:
            manifest.read(bundle, tmp_path / str(number) / "out")
        assert str(bundle) in str(refused.value)


# ---- from a folder ----

PLAN = {
    "schema": "pxarbench-plan/1", "state": "finished", "started": "2026-01-01T00:00:00Z", "digest": "0" * 64, "suite": "",
    "blocks": [{"dataset": "tiny", "mutation": "none", "scenario": "", "title": "", "recipe": "tiny-0123456789",
                "counts_syscalls": True}],
    "recipes": {
        "tiny-0123456789": {"digest": "0" * 64, "values": {"name": "tiny", "kind": "tiny", "title": "", "licence": ""}},
    },
    "contenders": [["pxarbench", "metadata"]], "settings": {"sync_level": "", "threads": 0, "extra": []}, "caches": ["warm"],
    "rounds": 3, "warmups": 1, "restore": "last", "seed": 7, "during": False, "exhaustive": False, "missing": {}, "skipped": {},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a session, without the session."""
    monkeypatch.setattr(record, "validate", lambda line: json.loads(line))
    made_folder = tmp_path / "session-1"
    (made_folder / "raw").mkdir(parents=True)
    (made_folder / "blocks").mkdir()
    (made_folder / "plan.json").write_text(json.dumps(PLAN))
    tools = {"pxarbench": "pxarbench 0.1.0", "pxarbench sha256": "ab", "hyperfine": "h 1"}
    host = {"tree_filesystem": "ext4 /dev/sda", "tools": tools}
    records = [made(phase=phase, host=host, commit="0123456789ab") for phase in ("reference", "measured")]
    record.append(made_folder / "records.jsonl", records)
    for name in ("lock", "report.md.partial", "blocks/000.json", "raw/0001-x.json", "oplog-tiny-x.jsonl"):
        (made_folder / name).write_text(name)
    (made_folder / "elsewhere").symlink_to("/etc/passwd")
    os.mkfifo(made_folder / "pipe")
    return made_folder


def test_session_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "b.tar.zst"
    assert cli.bundle([str(folder), "-o", str(target)]) == 0
    said = capsys.readouterr().out
    assert "'elsewhere': not a regular file" in said and "'pipe': not a regular file" in said and "raw/" in said
    back = manifest.read(target, tmp_path / "out")
    held = {"integers.csv", "folder/plan.json", "folder/records.jsonl", "folder/oplog-tiny-x.jsonl"}
    assert {f.path for f in back.files} == held
    assert back.seed == 7 and back.commit == "0123456789ab" and back.plan is not None and back.plan["rounds"] == 3
    assert back.program == {"version": "pxarbench 0.1.0", "sha256": "ab"} and back.tools == {"hyperfine": "h 1"}
    assert back.datasets["tiny"]["filesystem"] == "ext4"
    lines = (tmp_path / "out" / "integers.csv").read_text().splitlines()
    assert len(lines) == back.integers == len(integers.of(record.read(folder / "records.jsonl"))) > 5
    assert cli.bundle([str(folder), "--raw", "-o", str(target)]) == 0
    assert "folder/raw/0001-x.json" in {f.path for f in manifest.read(target, tmp_path / "raw").files}
    capsys.readouterr()
    assert cli.bundle(["--show", str(target)]) == 0
    shown = capsys.readouterr().out
    assert "session session-1" in shown and "seed 7" in shown and "pxarbench:metadata" in shown


def test_last_times_bundle_is_no_part_of_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder / "b.tar.zst"
    assert cli.bundle([str(folder), "-o", str(target)]) == 0
    first = target.read_bytes()
    assert cli.bundle([str(folder), "-o", str(target)]) == 0 and target.read_bytes() == first


def test_folders_that_are_none(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> str:
        assert cli.bundle([*words, "-o", str(tmp_path / "b.tar.zst")]) == 1
        assert not (tmp_path / "b.tar.zst").exists()
        return capsys.readouterr().err

    plan = folder / "plan.json"
    assert "no folder" in said(str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    assert "neither a session" in said(str(tmp_path / "empty"))
    for text, expected in (
        ("{", "plan.json: "), ("[]", "not a plan"), (json.dumps({**PLAN, "schema": "x"}), "not a plan"),
        (json.dumps({**PLAN, "state": "running"}), "not finished; the same command"),
        (json.dumps({k: v for k, v in PLAN.items() if k != "recipes"}), "recipes missing"),
    ):  # fmt: skip
        plan.write_text(text)
        assert expected in said(str(folder))
    plan.write_text(json.dumps(PLAN))
    (folder / "records.jsonl").write_text("{}\n")
    assert "records.jsonl: line 1" in said(str(folder))
    (folder / "records.jsonl").write_text("")
    assert "nothing was measured" in said(str(folder))


def test_traces_come_along(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "changes.jsonl"
    trace.write_text('{"op": "touch", "path": "a"}\n')
    block = PLAN["blocks"][0]  # type: ignore[index]
    blocks = [{**block, "mutation": f"trace:{path}"} for path in (trace, tmp_path / "gone")]  # type: ignore[dict-item]
    plan = {**PLAN, "blocks": blocks}
    (folder / "plan.json").write_text(json.dumps(plan))
    assert cli.bundle([str(folder), "-o", str(tmp_path / "b.tar.zst")]) == 0
    assert "gone: No such file" in capsys.readouterr().out
    back = manifest.read(tmp_path / "b.tar.zst", tmp_path / "out")
    assert back.traces == {str(trace): "traces/001.jsonl"}
    assert (tmp_path / "out" / "traces" / "001.jsonl").read_text() == trace.read_text()


def test_what_a_gate_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    (results / "golden").mkdir(parents=True)
    (results / "golden" / "counters.csv").write_text("a,b\n")
    (results / "schema").symlink_to(make.locate.results() / "schema")
    monkeypatch.setattr(make.locate, "results", lambda: results)
    found = Verdict(
        "gate", "2026-01-01T00:00:00Z", "golden", "pxarbench 0.1.0", "0123456789ab+", "f" * 12,
        (Finding("counters", "c", "n", Level.OK, "as before", 1, 1),), ("c",), host={"cpu": "x"}, settings={"seed": 3},
    )  # fmt: skip
    (tmp_path / "gate").mkdir()
    verdicts.write(tmp_path / "gate" / "verdict.json", found)
    assert cli.bundle([str(tmp_path / "gate"), "-o", str(tmp_path / "b")]) == 0
    back = manifest.read(tmp_path / "b", tmp_path / "out")
    assert back.kind == "gate" and back.gates == ("counters",) and back.seed == 3 and back.commit == "0123456789ab+"
    assert {f.path for f in back.files} == {"folder/verdict.json", "golden/counters.csv"}
    (tmp_path / "gate" / "verdict.json").write_text("{")
    assert cli.bundle([str(tmp_path / "gate"), "-o", str(tmp_path / "c")]) == 1
    assert "verdict.json: no JSON" in capsys.readouterr().err


def test_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--nonsense"], [str(tmp_path), "--show", "x"]):
        with pytest.raises(SystemExit) as stopped:
            cli.bundle(words)
        assert stopped.value.code == 1
    with pytest.raises(SystemExit) as stopped:
        cli.bundle(["--help"])
    assert stopped.value.code == 0 and "examples:" in capsys.readouterr().out
    assert cli.bundle(["--show", str(tmp_path / "none")]) == 1


def test_what_a_bundle_says_does_not_reach_the_terminal() -> None:
    assert harmless("a\x1b[2Jb\rc\u202e\n") == "a\\x1b[2Jb\\x0dc\\x202e\n"
