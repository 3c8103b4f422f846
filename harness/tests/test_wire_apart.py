"""Lines by name, and wire/apart.py: a network of two namespaces, where that is allowed, beside the server's model of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest
from backup_tools import noise, settle
from wire_tools import T0, T1, Client, Starts, client_of

from pxarbench_harness import cli, run
from pxarbench_harness.subjects import Settings, registry
from pxarbench_harness.subjects.remote import LINES, MODELLED, line_of, server_words
from pxarbench_harness.wire import apart
from pxarbench_harness.wire.apart import Apart, NotApart
from pxarbench_harness.wire.spoken import Server, Setup


def test_lines_have_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert [server_words(f"loopback:{name}") for name in ("near", "lan", "wan", "far")] == [
        (), ("--latency", "300us", "--bandwidth", "10000"), ("--latency", "30000us", "--bandwidth", "1000"),
        ("--latency", "100000us", "--bandwidth", "1000"),
    ]  # fmt: skip
    assert line_of("netem:wan") == line_of("netem:30ms,1000") == line_of(LINES["netem-wan"])
    assert line_of("netem:wan").text == "netem:30ms,1000" and server_words("netem:wan") == ()
    for text in ("loopback:netem-wan", "netem:", "wan", "elsewhere:wan"):
        with pytest.raises(ValueError, match="expected loopback"):
            line_of(text)
    known = registry(Settings(binary=Path("/bin/true"), lines=("far", "netem-far")))
    assert known["pxarbench"].__name__ == "Pxarbench" and {"pxarbench@far", "pxarbench@netem-far"} < known.keys()
    words = ["--list", "--dataset", "tiny", "--binary", "/bin/true"]
    assert cli.main([*words, "--line", "far", "--line", "lan", "--mutation", "none", "--modes", "metadata"]) == 0
    assert capsys.readouterr().out.split() == [
        "tiny-none-metadata-warm", "tiny-none-pxarbench-far-metadata-warm", "tiny-none-pxarbench-lan-metadata-warm",
    ]  # fmt: skip
    assert cli.main([*words, "--line", "nowhere"]) == 1
    assert "there are near, lan, wan, far, netem-near" in capsys.readouterr().err
    assert cli.main([*words, "--line", "far", "--build", "far=/bin/true"]) == 1


@pytest.mark.parametrize("text", [*(f"loopback:{name}" for name in MODELLED), "loopback:0.05ms", "loopback:2ms,1"])
def test_servers_take_all_lines(text: str, starts: Starts) -> None:
    with starts(*server_words(text)).line() as line:
        assert line.fingerprint


# ---- namespaces ----


@pytest.fixture
def joined() -> None:
    """Without a delay: most kernels that have no netem have namespaces."""
    try:
        with Apart():
            pass
    except NotApart as error:
        pytest.skip(f"no network namespaces: {error}")


def server_in(between: Apart, program: Path, datastore: Path) -> Server:
    return Server(program, datastore, Setup(address=apart.SERVER, before=between.server))


def test_what_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(NotApart):
        Apart()
    apart.missing.cache_clear()
    settings = Settings(binary=Path("/bin/true"), lines=("netem-wan", "netem-near", "wan"))
    known = registry(settings)
    try:
        assert known["pxarbench@netem-wan"].missing(settings).startswith("no network with a delay of the kernel's own: ")
        assert known["pxarbench@wan"].missing(settings) == ""
    finally:
        apart.missing.cache_clear()


def test_two_sides_see_each_other_and_nothing_else(joined: None, pxarbench: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(noise("file", 300_000))
    settle(tree)
    with Apart() as between:
        with server_in(between, pxarbench, tmp_path / "store") as server:
            within = _Within(between, pxarbench, server, tmp_path)
            within.backup(tree, T0)[0].check_ok()
            result, stats = within.backup(tree, T1, mode="metadata")
            result.check_ok()
            assert stats["archives"][0]["reused_files"] == 1 and stats["network"]["connections"] == 2
            links = run.run([*between.client, "ip", "-o", "link"]).check_ok().text.splitlines()
            assert len(links) == 2  # lo, and the line
        pids = [holder.pid for holder in between._holders]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class _Within(Client):
    """Our client on its side of the line."""

    def __init__(self, between: Apart, program: Path, server: Server, scratch: Path) -> None:
        super().__init__(program, server.repository(), server.environment(), scratch)
        self._before = between.client

    def run(self, *words: str | os.PathLike[str], **options: object) -> run.Result:  # type: ignore[override]
        env = {"PBS_REPOSITORY": self.repository, **self.environment}
        return run.run([*self._before, self.program, *words], env=env, timeout=60)


def round_trips(near: Client, far: Client, tree: Path, rtt: float) -> float:
    """What a line adds to an unchanged metadata run, the best of three."""
    best = []
    for client in (near, far):
        client.backup(tree, T0)[0].check_ok()
        walls = []
        for number in range(3):
            result, _ = client.backup(tree, T1 + number, mode="metadata")
            result.check_ok()
            walls.append(result.wall_ns)
        best.append(min(walls))
    return (best[1] - best[0]) / 1e9 / rtt


def test_the_kernels_delay_costs_what_the_modelled_one_does(pxarbench: Path, starts: Starts, tmp_path: Path) -> None:
    """The same run through a real network stack with a delay, of netem or of packets: as many round trips, give or take what TCP
    itself adds."""
    by: Literal["netem", "packets"] = "packets" if apart.missing() else "netem"
    try:
        with Apart("1", "1000", by):
            pass
    except NotApart as error:
        pytest.skip(f"no network with a delay: {apart.missing()}; {error}")
    tree = tmp_path / "tree"
    for number in range(200):
        path = tree / f"d{number % 8}" / f"f{number:03}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(path.name, 2000))
    settle(tree)
    found = {}
    scratches = {name: tmp_path / name for name in ("modelled", "modelled-near", "kernel", "kernel-near")}
    for path in scratches.values():
        path.mkdir()
    near, far = starts(), starts("--latency", "100ms")
    found["modelled"] = round_trips(
        client_of(pxarbench, near, scratches["modelled-near"]), client_of(pxarbench, far, scratches["modelled"]), tree, 0.1
    )
    with Apart() as bare, Apart("100", "", by) as long:
        with server_in(bare, pxarbench, tmp_path / "a") as one, server_in(long, pxarbench, tmp_path / "b") as other:
            found["kernel"] = round_trips(
                _Within(bare, pxarbench, one, scratches["kernel-near"]), _Within(long, pxarbench, other, scratches["kernel"]), tree, 0.1
            )
    print(by, found)
    assert found["kernel"] < 17 and abs(found["kernel"] - found["modelled"]) < 3, found
