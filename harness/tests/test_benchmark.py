"""`pxarbench benchmark`: the parts of a backup one by one, and the upload to a server, which keeps nothing of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from backup_tools import sentence
from wire_tools import Starts, make_base

from pxarbench_harness import run
from pxarbench_harness.wire.spoken import Account, Server

Cli = Callable[..., run.Result]

LOCAL = ["sha256", "compress", "decompress", "verify", "aes256_gcm"]
SHORT = ["--seconds", "0.1"]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours is set."""
    for name in list(os.environ):
        if name.startswith("PBS_") or name in ("ALL_PROXY", "CREDENTIALS_DIRECTORY"):
            monkeypatch.delenv(name)


def test_without_a_repository(cli: Cli) -> None:
    said = cli("benchmark", *SHORT, "--output-format", "json").json()
    assert list(said) == ["tls", *LOCAL] and said["tls"] is None
    speeds = [said[part]["bytes_per_second"] for part in LOCAL]
    assert all(speed > 1e6 for speed in speeds)
    for part in LOCAL:
        one = said[part]
        assert one["duration_ns"] >= 20_000_000 and one["bytes"] % (4 << 20) == 0
        assert one["bytes_per_second"] == pytest.approx(one["bytes"] * 1e9 / one["duration_ns"])
        assert one["ratio"] == pytest.approx(one["bytes_per_second"] / min(speeds))


def test_the_table(cli: Cli, store: Path) -> None:
    for words in ([], ["--repository", str(store)]):  # a directory has no upload
        lines = cli("benchmark", *SHORT, *words).check_ok().text.splitlines()
        assert lines[0].split() == ["part", "speed", "ratio"] and len(lines) == 7
        assert "no server" in lines[1]
        ratios = [float(line.split()[-1]) for line in lines[2:]]
        assert min(ratios) == 1.0 and all("MB/s" in line for line in lines[2:])
    assert not store.exists()


def test_with_a_server(cli: Cli, server: Server) -> None:
    make_base(server)
    before = sorted(str(path) for path in server.datastore.rglob("*"))
    env = {**server.environment(), "PBS_REPOSITORY": server.repository()}
    said = cli("benchmark", *SHORT, "--output-format", "json", env=env).json()
    assert said["tls"]["bytes"] >= 8 << 20 and said["tls"]["bytes_per_second"] > 1e6
    assert said["network"]["connections"] == 1 and said["network"]["sent_bytes"] > said["tls"]["bytes"]
    assert (said["network"]["requests"] - 1) << 22 == said["tls"]["bytes"]  # all that was begun was waited for
    server.wait_gone(server.datastore / "host" / "benchmark")
    assert sorted(str(path) for path in server.datastore.rglob("*")) == before
    text = cli("benchmark", *SHORT, env=env).check_ok().text
    assert "no server" not in text and len(text.splitlines()) == 7


def test_a_slow_link_is_not_flooded(cli: Cli, starts: Starts) -> None:
    server = starts("--bandwidth", "80")  # 10 MB/s
    env = {**server.environment(), "PBS_REPOSITORY": server.repository()}
    said = cli("benchmark", "--seconds", "0.5", "--output-format", "json", env=env).json()
    # Not as much at once as a fast link is given: that alone would take this one 7 s.
    assert 8 << 20 <= said["tls"]["bytes"] <= 24 << 20
    assert (said["network"]["requests"] - 1) << 22 == said["tls"]["bytes"]
    assert said["tls"]["bytes_per_second"] < 15e6


def test_without_the_privilege(cli: Cli, starts: Starts) -> None:
    account = Account("some@pbs!one", "secret", ("audit",))
    server = starts(accounts=(account,))
    env = {**server.environment(account), "PBS_REPOSITORY": server.repository(account)}
    assert "privilege" in sentence(cli("benchmark", *SHORT, env=env))


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "5s", "", "3601"])
def test_usage(cli: Cli, seconds: str) -> None:
    assert "--seconds" in sentence(cli("benchmark", "--seconds", seconds), 2)
