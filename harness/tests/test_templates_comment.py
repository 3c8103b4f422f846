"""The comment under a pull or merge request: what it says, and how it gets there."""

from __future__ import annotations

import json
import os
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pxarbench_harness import locate, run
from pxarbench_harness.gates import verdict
from pxarbench_harness.gates.verdict import Finding, Level, Verdict
from pxarbench_harness.templates import comment

SCRIPTS = locate.REPOSITORY / "ci/templates"
HEAD = "0123456789abcdef0123456789abcdef01234567"


def left(folder: Path, *findings: Finding) -> Path:
    folder.mkdir(parents=True)
    made = Verdict("gate", "2026-01-02T03:04:05Z", "golden", "this", HEAD, "f", findings or (ok(),), ("a",))
    verdict.write(folder / "verdict.json", made)
    return folder


def ok() -> Finding:
    return Finding("counters", "a", "padding", Level.OK, "as before", 1, 1)


# ---- the text ----


def test_both_verdicts_are_in_one_comment(tmp_path: Path) -> None:
    worse = Finding("counters", "tiny-none-metadata", "padding", Level.REGRESSION, "was 32, is 64", 32, 64)
    text = comment.comment([left(tmp_path / "gate", worse), left(tmp_path / "compare")], "https://ci.example.org/run/17?x=1")
    assert text.startswith(comment.MARKER + "\n")
    assert "REGRESSION" in text and "was 32, is 64" in text and "OK" in text
    assert "](https://ci.example.org/run/17?x=1)" in text


def test_a_job_without_a_verdict_is_named(tmp_path: Path) -> None:
    text = comment.comment([tmp_path / "gate"])
    assert "no verdict of gate" in text and "OK" not in text


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"schema": "**@everyone**"}'])
def test_a_broken_verdict_is_named_and_not_quoted(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_bytes(content)
    text = comment.comment([tmp_path])
    assert "cannot be read" in text and "everyone" not in text


def test_a_verdict_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate/verdict.json").symlink_to(left(tmp_path / "secret") / "verdict.json")
    assert "cannot be read" in comment.comment([tmp_path / "gate"])
    assert "cannot be read" not in comment.comment([tmp_path / "secret"])


def test_it_fits_however_much_was_found(tmp_path: Path) -> None:
    many = [Finding("counters", f"case-{i}", "n" * 50, Level.REGRESSION, "was 1, is 2 " * 20, 1, 2, details=("x" * 500,) * 20)
            for i in range(300)]  # fmt: skip
    folders = [left(tmp_path / name, *many) for name in ("gate", "compare")]
    text = comment.comment(folders, "https://ci.example.org/1")
    assert len(text) <= comment.LIMIT
    assert text.count("REGRESSION") >= 2


def test_its_command_line(tmp_path: Path) -> None:
    folder = left(tmp_path / "gate")
    said = run.run([SCRIPTS / "comment", "--link", "https://x.example/1", "-o", tmp_path / "out.md", folder])
    assert said.returncode == 0 and (tmp_path / "out.md").read_text().startswith(comment.MARKER)
    for words in ([], ["--link", "javascript:alert(1)", folder], ["--link", "https://x) [y](https://z", folder]):
        assert run.run([SCRIPTS / "comment", *words]).returncode == 1
    assert "examples:" in run.run([SCRIPTS / "comment", "--help"]).text


# ---- posting ----


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "comment.md"
    path.write_text(comment.comment([left(tmp_path / "gate")]))
    return path


def post(system: str, path: Path, env: Mapping[str, str]) -> run.Result:
    return run.run([SCRIPTS / "post_comment", system, path], env=env, timeout=60)


FAKE_GH = """#!/bin/sh
for word in "$@"; do printf '%s\\n' "$word" >>"$LOG"; done
printf -- '--\\n' >>"$LOG"
case "$*" in
*pulls*) printf '%s' "$PULLS" ;;
*PATCH*|*POST*) ;;
*comments*) printf '%s' "$COMMENTS" ;;
esac
"""


def github(tmp_path: Path, written: Path, pulls: str, comments: str, head: str = HEAD) -> tuple[run.Result, list[list[str]]]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gh").write_text(FAKE_GH)
    (tmp_path / "bin/gh").chmod(0o755)
    log = tmp_path / "log"
    log.touch()
    env = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "LOG": str(log), "PULLS": pulls, "COMMENTS": comments,
        "GH_TOKEN": "secret", "GITHUB_REPOSITORY": "o/r", "HEAD": head,
    }  # fmt: skip
    said = post("github", written, env)
    return said, [call.strip().splitlines() for call in log.read_text().split("--\n") if call.strip()]


def test_github_gets_a_new_comment(tmp_path: Path, written: Path) -> None:
    said, calls = github(tmp_path, written, "17\n18\n", "")
    assert said.returncode == 0, said.stderr
    assert calls[-1] == ["api", "--silent", "--method", "POST", "repos/o/r/issues/17/comments", "-F", f"body=@{written}"]
    assert HEAD in " ".join(calls[0])
    assert all("secret" not in " ".join(call) for call in calls)


def test_github_gets_the_old_comment_replaced(tmp_path: Path, written: Path) -> None:
    said, calls = github(tmp_path, written, "17\n", "901\n902\n")
    assert said.returncode == 0, said.stderr
    assert calls[-1][2:5] == ["--method", "PATCH", "repos/o/r/issues/comments/901"]
    assert "github-actions[bot]" in " ".join(calls[1])


def test_without_a_request_nothing_is_posted(tmp_path: Path, written: Path) -> None:
    said, calls = github(tmp_path, written, "", "901\n")
    assert said.returncode == 0 and "no open pull request" in said.text
    assert len(calls) == 1


@pytest.mark.parametrize("head", ["main", '0" or true or "', ""])
def test_a_head_that_is_no_commit_reaches_nobody(head: str, tmp_path: Path, written: Path) -> None:
    said, calls = github(tmp_path, written, "17\n", "", head)
    assert said.returncode == 1 and calls == []


def test_only_our_comment_is_posted(tmp_path: Path, written: Path) -> None:
    written.write_text("hello " + comment.MARKER)
    said, calls = github(tmp_path, written, "17\n", "")
    assert said.returncode == 1 and calls == []


def test_usage(tmp_path: Path, written: Path) -> None:
    assert run.run([SCRIPTS / "post_comment"]).returncode == 1
    assert run.run([SCRIPTS / "post_comment", "bitbucket", written]).returncode == 1
    assert run.run([SCRIPTS / "post_comment", "gitlab"]).returncode == 1
    assert "PXARBENCH_TOKEN" in run.run([SCRIPTS / "post_comment", "--help"]).text
    said = post("gitlab", written, {"PXARBENCH_TOKEN": ""})
    assert said.returncode == 1 and b"PXARBENCH_TOKEN is not set" in said.stderr


class GitLab:
    """As much of it as the script asks; keeps what it was asked."""

    def __init__(self, notes: list[dict[str, Any]]) -> None:
        asked: list[tuple[str, str, str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                asked.append((self.command, self.path, self.headers.get("PRIVATE-TOKEN", ""), body))
                said = json.dumps({"id": 7} if self.path.endswith("/user") else notes).encode()
                self.send_response(200 if self.headers.get("PRIVATE-TOKEN") == "secret" else 401)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_: object) -> None:
                pass

        self.asked = asked
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def env(self, token: str = "secret") -> dict[str, str]:
        address = f"http://127.0.0.1:{self.server.server_port}/api/v4"
        project = {"CI_API_V4_URL": address, "CI_PROJECT_ID": "5", "CI_MERGE_REQUEST_IID": "9"}
        return {"PXARBENCH_TOKEN": token, "no_proxy": "127.0.0.1", **project}

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def note(number: int, author: int, body: str) -> dict[str, Any]:
    return {"id": number, "author": {"id": author}, "body": body}


@pytest.fixture
def gitlab(request: pytest.FixtureRequest) -> Iterator[GitLab]:
    server = GitLab(getattr(request, "param", []))
    yield server
    server.close()


def test_gitlab_gets_a_new_note(gitlab: GitLab, written: Path) -> None:
    said = post("gitlab", written, gitlab.env())
    assert said.returncode == 0, said.stderr
    method, path, _, body = gitlab.asked[-1]
    assert (method, path) == ("POST", "/api/v4/projects/5/merge_requests/9/notes")
    assert urllib.parse.parse_qs(body)["body"] == [written.read_text()]


@pytest.mark.parametrize(
    "gitlab", [[note(1, 8, comment.MARKER), note(2, 7, "hello"), note(3, 7, comment.MARKER + "\nold")]], indirect=True
)
def test_gitlab_gets_its_own_note_replaced(gitlab: GitLab, written: Path) -> None:
    """Not that of somebody else who wrote the same first line."""
    assert post("gitlab", written, gitlab.env()).returncode == 0
    assert gitlab.asked[-1][:2] == ("PUT", "/api/v4/projects/5/merge_requests/9/notes/3")


def test_gitlab_refuses(gitlab: GitLab, written: Path) -> None:
    said = post("gitlab", written, gitlab.env("wrong"))
    assert said.returncode != 0 and b"401" in said.stderr
    assert [method for method, *_ in gitlab.asked] == ["GET"]
