"""Jobs of templates run on this machine: actions as folders, steps, conditions, limits. Here without a system of their own."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pxarbench_harness import run
from pxarbench_harness.templates import actions, check, chroot, locally
from pxarbench_harness.templates.model import Template

if not importlib.util.find_spec("yaml"):
    pytest.skip("python3-yaml is not installed", allow_module_level=True)

COMMIT = "11bd71901bbe5b1630ceea73d27597364c9af683"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; the last one is HEAD."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git = ["git", "-C", folder, "-c", "user.name=n", "-c", "user.email=e@example.invalid"]
    run.run(["git", "init", "--quiet", "--initial-branch=main", folder]).check_ok()
    for text in ("first", "second"):
        (folder / "file").write_text(text)
        run.run([*git, "add", "file"]).check_ok()
        run.run([*git, "commit", "--quiet", "-m", text]).check_ok()
    return folder


@pytest.fixture
def shelf(tmp_path: Path, repository: Path) -> actions.Shelf:
    return actions.Shelf(tmp_path / "shelf", repository, "HEAD~1")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    for name in ("out/gate/a.json", "out/gate/deep/b.json", "build/logs/x.log", "other"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


# ---- actions ----


def test_checkout_is_what_was_committed(shelf: actions.Shelf, workspace: Path) -> None:
    (shelf.repository / "file").write_text("not committed")
    assert actions.act(f"actions/checkout@{COMMIT}", shelf, workspace, {"fetch-depth": 0}) == "cloned"
    assert (workspace / "file").read_text() == "first"
    assert not (workspace / "other").exists()
    if os.geteuid() == 0:
        assert (workspace / "file").stat().st_uid == actions.RUNNER_USER
    assert run.run(["git", "--git-dir", shelf.origin, "rev-parse", "main"]).returncode == 0


def test_artifacts_lie_below_what_their_paths_have_in_common(shelf: actions.Shelf, workspace: Path, tmp_path: Path) -> None:
    assert actions.upload(shelf, workspace, {"name": "one", "path": "out/gate"}) == "2 files"
    assert actions.upload(shelf, workspace, {"name": "two", "path": "out/gate\nbuild/logs\n"}) == "3 files"
    target = tmp_path / "target"
    target.mkdir()
    assert actions.download(shelf, target, {"pattern": "*", "path": "found"}) == "2 artifacts"
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert found == [
        "found/one/a.json", "found/one/deep/b.json",
        "found/two/build/logs/x.log", "found/two/out/gate/a.json", "found/two/out/gate/deep/b.json",
    ]  # fmt: skip


def test_artifacts_that_are_not_there(shelf: actions.Shelf, workspace: Path) -> None:
    assert actions.upload(shelf, workspace, {"name": "one", "path": "nothing"}) == "no files"
    with pytest.raises(actions.ActionFailed, match="no files: nothing"):
        actions.upload(shelf, workspace, {"name": "one", "path": "nothing", "if-no-files-found": "error"})
    with pytest.raises(actions.ActionFailed, match="no artifact one"):
        actions.download(shelf, workspace, {"name": "one"})
    actions.upload(shelf, workspace, {"name": "one", "path": "other"})
    with pytest.raises(actions.ActionFailed, match="there already"):
        actions.upload(shelf, workspace, {"name": "one", "path": "other"})


def test_caches_are_saved_once_and_only_after_success(shelf: actions.Shelf, workspace: Path, tmp_path: Path) -> None:
    inputs = {"path": "out", "key": "out-1", "restore-keys": "out-"}
    assert actions.cache(shelf, workspace, inputs) == "nothing kept yet"
    shelf.finish(False)
    assert actions.cache(shelf, workspace, inputs) == "nothing kept yet"
    shelf.finish(True)
    other = tmp_path / "other"
    other.mkdir()
    assert actions.cache(shelf, other, inputs | {"key": "out-2"}) == "restored out-1"
    assert (other / "out/gate/a.json").read_text() == "out/gate/a.json"
    (workspace / "out/gate/a.json").write_text("changed")
    assert actions.cache(shelf, workspace, {"path": "build", "key": "out-1"}) == "restored out-1"
    shelf.finish(True)
    assert (shelf.caches / "out-1/gate/a.json").read_text() == "out/gate/a.json"


def test_what_is_not_known_is_refused(shelf: actions.Shelf, workspace: Path) -> None:
    with pytest.raises(actions.ActionFailed, match="is not known"):
        actions.act(f"actions/setup-python@{COMMIT}", shelf, workspace, {})
    with pytest.raises(actions.ActionFailed, match="compression-level"):
        actions.act(f"actions/upload-artifact@{COMMIT}", shelf, workspace, {"name": "x", "path": "out", "compression-level": 9})
    with pytest.raises(actions.ActionFailed, match="needs name"):
        actions.act(f"actions/upload-artifact@{COMMIT}", shelf, workspace, {"path": "out"})


@pytest.mark.parametrize(
    "pattern,names",
    [
        ("out/gate/a.json", ["out/gate/a.json"]),
        ("out", ["out/gate/a.json", "out/gate/deep/b.json"]),
        ("out/**/b.json", ["out/gate/deep/b.json"]),
        ("**/x.log", ["build/logs/x.log"]),
        ("*.log", []),
        ("gone", []),
    ],
)
def test_patterns(pattern: str, names: list[str], workspace: Path) -> None:
    found = [str(path.relative_to(workspace)) for path in actions.matching(workspace, pattern)]
    # fnmatch's star crosses folders where GitHub's does not: only ever more files, never fewer.
    assert set(names) <= set(found)
    if "*" not in pattern or pattern.startswith("**") or "/**/" in pattern:
        assert found == names


# ---- jobs ----

WORKFLOW = """name: x
on:
  pull_request:
permissions:
  contents: read
defaults:
  run:
    shell: bash
env:
  WORD: hello
jobs:
  one:
    runs-on: ubuntu-24.04
    timeout-minutes: 10
    container:
      image: debian:bookworm-slim
      options: --shm-size=4g
    strategy:
      matrix:
        part: [a, b]
    steps:
      - name: Checkout
        uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2
        with:
          persist-credentials: false
      - name: First
        id: first
        env:
          PART: ${{ matrix.part }}
        run: |
          echo "$WORD $PART $(cat file)" >said
          echo KEPT=kept >>"$GITHUB_ENV"
          FIRST
      - name: Only after success
        run: echo "$KEPT" >>said
      - name: Unless interrupted
        if: ${{ !cancelled() && hashFiles('said') != '' }}
        run: echo "first was ${{ steps.first.outcome }}" >>said
      - name: Keep
        if: ${{ !cancelled() }}
        uses: actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2
        with:
          name: said-${{ matrix.part }}
          path: said
"""

PIPELINE = """workflow:
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
stages: [check, report]
variables:
  WORD: hello $CI_COMMIT_SHA
one:
  image: debian:bookworm-slim
  stage: check
  timeout: 10 minutes
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
  before_script:
    - echo before >said
  script:
    - echo "$WORD" >>said
    - SCRIPT
    - echo not after a failure >>said
  after_script:
    - cp said after
  allow_failure:
    exit_codes: [4]
  artifacts:
    paths: [said, after]
two:
  image: debian:bookworm-slim
  stage: report
  timeout: 10 minutes
  rules:
    - if: $CI_PIPELINE_SOURCE == "schedule"
  needs: [{job: one, artifacts: true}]
  script:
    - cat said after
"""


@pytest.fixture
def world(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> locally.World:
    """Scripts run here, in the folders that a room would show; nothing is mounted."""

    def enter(
        room: chroot.Room, argv: Sequence[str], env: Mapping[str, str], log: Path, *, cwd: str, timeout: float | None
    ) -> run.Result:
        def here(text: str) -> str:
            for place, folder in room.binds.items():
                text = text.replace(place, str(folder))
            return text

        words = ["env", "-i", f"--chdir={here(cwd)}", *(f"{name}={here(value)}" for name, value in env.items())]
        said = run.run([*words, *map(here, argv)], timeout=timeout)
        log.write_bytes(said.stdout + said.stderr)
        return said

    monkeypatch.setattr(chroot.Room, "enter", enter)
    head = run.run(["git", "-C", repository, "rev-parse", "HEAD"]).text.strip()
    return locally.World(repository, tmp_path / "world", head, head, "pull_request", chroot.System(()), None, "1g")


def loaded(tmp_path: Path, system: str, text: str) -> Template:
    path = tmp_path / system / "x.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return check.load(path, system, check.locate.REPOSITORY / check.FOLDER / "schema")


def results(outcomes: list[locally.Outcome]) -> list[str]:
    return [one.result for one in outcomes]


def test_a_job_runs_its_steps(world: locally.World, tmp_path: Path) -> None:
    template = loaded(tmp_path, "github", WORKFLOW.replace("FIRST", "true"))
    assert [job.name for job in template.jobs] == ["one (a)", "one (b)"]
    outcomes = [locally.run_job(world, template, job) for job in template.jobs]
    assert [results(one) for one in outcomes] == [["success"] * 5] * 2
    kept = world.folder / "github/artifacts"
    assert (kept / "said-b/said").read_text() == "hello b second\nkept\nfirst was success\n"
    assert (kept / "said-a/said").read_text().startswith("hello a")
    # Again: artifacts of an earlier call are not in the way.
    assert results(locally.run_job(world, template, template.jobs[0])) == ["success"] * 5


def test_after_a_failure_only_what_asks_for_it(world: locally.World, tmp_path: Path) -> None:
    template = loaded(tmp_path, "github", WORKFLOW.replace("FIRST", "exit 3"))
    outcomes = locally.run_job(world, template, template.jobs[0])
    assert results(outcomes) == ["success", "failure", "skipped", "success", "success"]
    assert outcomes[1].note == "exit 3"
    assert (world.folder / "github/artifacts/said-a/said").read_text() == "hello a second\nfirst was failure\n"


def test_a_pipe_that_breaks_is_a_failure(world: locally.World, tmp_path: Path) -> None:
    """As both systems start their shells: -e, and pipefail."""
    template = loaded(tmp_path, "github", WORKFLOW.replace("FIRST", "false | cat"))
    assert results(locally.run_job(world, template, template.jobs[0]))[1] == "failure"


def test_time_runs_out(world: locally.World, tmp_path: Path) -> None:
    template = loaded(tmp_path, "github", WORKFLOW.replace("FIRST", "sleep 60"))
    job = template.jobs[0]
    running_out = type(job)(**{**vars(job), "timeout_minutes": 0.02})
    outcomes = locally.run_job(world, template, running_out)
    assert results(outcomes)[:3] == ["success", "timeout", "skipped"]
    assert outcomes[1].seconds < 30
    template = loaded(tmp_path, "github", WORKFLOW.replace("FIRST", "sleep 2"))
    enough = type(job)(**{**vars(template.jobs[0]), "timeout_minutes": 0.02})
    assert results(locally.run_job(replace(world, time_factor=3000.0), template, enough))[:3] == ["success"] * 3


@pytest.mark.parametrize(
    "script,result,note",
    [
        ("test -e said", "success", ""),
        ("exit 4", "success", "exit 4, which the job tolerates"),
        ("exit 2", "failure", "exit 2"),
    ],
)
def test_a_pipeline_s_job(script: str, result: str, note: str, world: locally.World, tmp_path: Path) -> None:
    template = loaded(tmp_path, "gitlab", PIPELINE.replace("SCRIPT", script))
    one, two = template.jobs
    outcomes = locally.run_job(world, template, one)
    assert (outcomes[0].result, outcomes[0].note) == (result, note)
    assert outcomes[1].result == "success"
    log = world.folder / "logs/two/01-script.log"
    assert results(locally.run_job(world, template, two)) == ["success"]
    said = log.read_text()
    assert said.startswith(f"before\nhello {world.revision}\n")
    assert ("not after a failure" in said) == (note == "")


def test_artifacts_that_are_missing_are_named(world: locally.World, tmp_path: Path) -> None:
    template = loaded(tmp_path, "gitlab", PIPELINE.replace("SCRIPT", "rm said").replace("paths: [said", "paths: [gone, said"))
    outcomes = locally.run_job(world, template, template.jobs[0])
    assert "missing: gone" in outcomes[-1].note


def test_a_job_for_another_event_is_skipped(world: locally.World, tmp_path: Path) -> None:
    text = WORKFLOW.replace("FIRST", "true").replace("    runs-on", "    if: ${{ github.event_name == 'push' }}\n    runs-on")
    template = loaded(tmp_path, "github", text)
    assert results(locally.run_job(world, template, template.jobs[0])) == ["skipped"]


def test_events_are_those_that_jobs_are_for(tmp_path: Path) -> None:
    text = WORKFLOW.replace("FIRST", "true").replace("pull_request:", "workflow_dispatch:\n  push:")
    github = loaded(tmp_path, "github", text)
    assert locally.event_of(github, github.jobs[0]) == "push"
    gitlab = loaded(tmp_path, "gitlab", PIPELINE)
    assert [locally.event_of(gitlab, job) for job in gitlab.jobs] == ["pull_request", "schedule"]


def test_jobs_with_an_account_get_stand_ins(tmp_path: Path) -> None:
    chosen = {job.key: (template, job) for template, job in locally.choose(check.locate.REPOSITORY, [])}
    with_account = {key for key, (template, job) in chosen.items() if locally.has_account(template, job)}
    assert with_account == {"comment", "pxarbench-comment", "pxarbench-history"}


# ---- command line ----


def test_jobs_are_chosen_by_name() -> None:
    root = check.locate.REPOSITORY
    names = [job.name for _, job in locally.choose(root, ["github/pull-request", "gitlab/gitlab-ci:pxarbench-comment"])]
    assert names == ["gates", "timing", "pxarbench-comment"]
    assert len(locally.choose(root, ["github/nightly:sweeps"])) == 3
    assert [job.name for _, job in locally.choose(root, ["github/nightly:sweeps (cliff)"])] == ["sweeps (cliff)"]
    for word in ("github/pull-requests", "github/pull-request:gate"):
        with pytest.raises(ValueError, match="no template|no job"):
            locally.choose(root, [word])


def test_usage() -> None:
    script = check.locate.REPOSITORY / "ci/templates/run_locally"
    listed = run.run([script, "--list", "github/comment"])
    assert listed.returncode == 0 and "    Comment\n" in listed.text
    assert "examples:" in run.run([script, "--help"]).text
    for words in (["--list", "nothing/here"], ["--speed"], ["--event", "tea-time"], ["--time-factor", "nan"], ["--time-factor", "0"]):
        said = run.run([script, *words])
        assert said.returncode == 1 and said.stderr


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(chroot.ChrootError, match="needs root"):
        chroot.check_possible()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "debootstrap" else f"/bin/{name}")
    with pytest.raises(chroot.ChrootError, match="not installed: debootstrap"):
        chroot.check_possible()


def test_the_table_survives_any_note() -> None:
    text = locally.summary([("x", locally.Outcome("job", "step", "failure", 1.25, "a | b\nc"))])
    assert text.splitlines()[-1] == "| x | job | step | failure | 1.2 | 0.0 | a \\| b c |"
