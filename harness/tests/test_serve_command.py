"""`pxarbench serve` as a command: its files with secrets, and what it says at the end."""

from __future__ import annotations

import json
import os
import select
from pathlib import Path

import pytest

from pxarbench_harness import run
from pxarbench_harness.wire.client import Line
from pxarbench_harness.wire.serve import TOKEN


class Command:
    """With one account, whose secret is in `secret`."""

    def __init__(self, program: Path, folder: Path, *words: str | os.PathLike[str]) -> None:
        self.folder, self.secret = folder, folder / "secret"
        if not self.secret.exists():
            self.secret.touch(mode=0o600)
            self.secret.write_text("s3cr3t\n")
        self.ready_end, self._said_end = os.pipe()
        self.words = [
            program, "serve", "--datastore", folder / "datastore", "--token", f"{TOKEN}={self.secret}", "--sync", "none",
            "--ready-fd", str(self._said_end), *words,
        ]  # fmt: skip

    def __enter__(self) -> Command:
        self.process = run.Background(
            self.words, stdout=self.folder / "stdout", stderr=self.folder / "stderr", pass_fds=(self._said_end,)
        )
        os.close(self._said_end)
        assert select.select([self.ready_end], [], [], 20)[0]
        line = os.read(self.ready_end, 65536)
        assert line, self.said
        self.port = int(json.loads(line)["port"])
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.ready_end)
        if self.process.ended() is None:
            self.process.kill()

    @property
    def said(self) -> str:
        return (self.folder / "stderr").read_text()


def test_secrets_of_more_than_a_line_of_4094_bytes_are_refused(pxarbench: Path, tmp_path: Path) -> None:
    """Not cut: the client would send all of it, and be told 401."""
    secret, datastore = tmp_path / "secret", tmp_path / "datastore"
    secret.touch(mode=0o600)
    secret.write_text("x" * 4095 + "\n")
    result = run.run([pxarbench, "serve", "--datastore", datastore, "--token", f"{TOKEN}={secret}"], timeout=20)
    assert result.returncode == 1 and b"the first line is longer than 4094 bytes" in result.stderr
    secret.write_text("x" * 4094 + "\n" + "another line\n" * 1000)
    with Command(pxarbench, tmp_path) as command, Line(command.port) as line:
        authorization = {"Authorization": f"PBSAPIToken {TOKEN}:{'x' * 4094}"}
        assert line.exchange("GET", "/api2/json/version", headers=authorization).status == 200


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604], ids=oct)
def test_secrets_that_others_can_read_are_told(pxarbench: Path, tmp_path: Path, mode: int) -> None:
    with Command(pxarbench, tmp_path) as command:
        assert command.process.stop() == 0
        assert command.said == ""
    for name in ("certificate", "key"):
        (tmp_path / f"{name}.pem").write_bytes((tmp_path / "datastore" / ".pxarbench" / f"{name}.pem").read_bytes())
        (tmp_path / f"{name}.pem").chmod(mode)
    (tmp_path / "secret").chmod(mode)
    files = ("--certificate", tmp_path / "certificate.pem", "--key", tmp_path / "key.pem")
    with Command(pxarbench, tmp_path, *files) as command:
        assert command.process.stop() == 0
        lines = command.said.splitlines()
    told = [] if mode == 0o600 else [tmp_path / "secret", tmp_path / "key.pem"]
    assert [line.split(": ")[-2] for line in lines] == [str(path) for path in told], lines
    assert all("other users can read the secret in it" in line for line in lines)


def test_what_is_sent_while_stopping_counts(pxarbench: Path, tmp_path: Path) -> None:
    delayed = ("--stats", "--fault", "delay-call=ping", "--fault", "delay-call-by=1s")
    with Command(pxarbench, tmp_path, *delayed) as command, Line(command.port) as line:
        line.send(b"GET /api2/json/ping HTTP/1.1\r\nHost: x\r\n\r\n")
        select.select([], [], [], 0.3)  # it is carried out, and its answer waits
        assert command.process.stop() == 0
        answer = line.rest()
        stats = json.loads((tmp_path / "stdout").read_text().splitlines()[-1])
    assert stats["sent"] == len(answer)
    assert answer.startswith(b"HTTP/1.1 200") and stats["requests_http1"] == 1
