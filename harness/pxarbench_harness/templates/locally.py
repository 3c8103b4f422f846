"""`ci/templates/run_locally`: the jobs of the templates, step by step, each in a clean Debian of its own on this machine.

What GitHub or GitLab would do around the scripts is done with folders (actions.py); expressions are evaluated, conditions kept,
time limits too. What runs is what is committed, not the working tree. Not imitated: services of the two systems that need an
account: in jobs that have one, and in jobs without a container, `gh`, `curl` and `sudo` are stand-ins, and say so.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import locate, run
from . import actions, check, chroot, expressions
from .model import Job, Step, Template, TemplateBroken, extended, instructions

WORKSPACE = {"github": "/__w/pxarbench/pxarbench", "gitlab": "/builds/pxarbench"}
RUNNER = "/runner"  # scripts, and the files by which steps talk to the system
SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
STAND_INS = {
    "sudo": '#!/bin/sh\n# Stand-in: the job runs as root.\nexec "$@"\n',
    "gh": '#!/bin/sh\necho "stand-in for gh: $*" >&2\ncase "$*" in *pulls*) echo 1 ;; esac\n',
    "curl": '#!/bin/sh\necho "stand-in for curl: $*" >&2\ncase "$*" in */user) echo \'{"id": 1}\' ;; *) echo "[]" ;; esac\n',
}
#: Variables of a project that only a job with an account has; `rules` ask for them.
ACCOUNT = {"PXARBENCH_TOKEN": "no-token"}
EVENTS = ("pull_request", "push", "schedule", "workflow_run")

DESCRIPTION = "Runs the jobs of the templates on this machine, each in a clean Debian 12 made with debootstrap. Needs root."
EXAMPLES = """examples:
  ci/templates/run_locally --list
  ci/templates/run_locally github/pull-request                 both jobs, packages installed from nothing
  ci/templates/run_locally --image github/pull-request:timing  one job, in the image that Containerfile describes
  ci/templates/run_locally --image gitlab/gitlab-ci:pxarbench-gates gitlab/gitlab-ci:pxarbench-comment

exit codes: 0 all jobs passed, or failed in a way that their template tolerates; 1 a job failed, or could not be run; 130 interrupted"""


@dataclass(frozen=True)
class Outcome:
    """Of one step."""

    job: str
    step: str
    result: str  # success, failure, skipped, timeout
    seconds: float
    note: str = ""
    processor_seconds: float = 0.0  # of all processors: what a busy machine does not lengthen much


@dataclass
class World:
    """What all jobs of a call share."""

    root: Path  # the repository
    folder: Path  # logs, artifacts, caches, layers
    revision: str
    base_revision: str
    event: str
    system: chroot.System
    image: chroot.System | None
    memory: str
    time_factor: float = 1.0  # of the templates' time limits
    variables: Mapping[str, str] = field(default_factory=dict)

    def shelf(self, template: Template) -> actions.Shelf:
        return actions.Shelf(self.folder / template.system, self.root, self.revision)


def event_of(template: Template, job: Job) -> str:
    """What a job is for: of several events the first of EVENTS."""
    if template.system == "github":
        return next((event for event in EVENTS if event in template.document["on"]), "push")
    rules = " ".join(rule.get("if", "") for rule in extended(template.document, job.key).get("rules", ()))
    return "schedule" if '== "schedule"' in rules else "pull_request"


def has_account(template: Template, job: Job) -> bool:
    """Whether it runs only where there is one, or outside of containers."""
    if template.system == "github":
        return job.image is None
    rules = " ".join(rule.get("if", "") for rule in extended(template.document, job.key).get("rules", ()))
    return any(f"${name}" in rules for name in ACCOUNT)


def _processor_seconds() -> float:
    """Of everything that was started here and has ended."""
    times = os.times()
    return times.children_user + times.children_system


def _log_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-")[:60]


# ---- one job ----


@dataclass
class Running:
    """A job on its way. `workspace` and `runner` are folders of the host, seen in the room."""

    world: World
    template: Template
    job: Job
    workspace: Path
    runner: Path
    room: chroot.Room
    shelf: actions.Shelf
    deadline: float  # monotonic
    env: dict[str, str] = field(default_factory=dict)
    steps: dict[str, Any] = field(default_factory=dict)
    failed: bool = False
    outcomes: list[Outcome] = field(default_factory=list)

    def scope(self, env: Mapping[str, str]) -> expressions.Scope:
        world = self.world
        base, head = world.base_revision, world.revision
        event: dict[str, Any] = {"pull_request": {"number": 1, "base": {"sha": base}, "head": {"sha": head}}}
        if world.event == "workflow_run":
            address = "https://example.invalid/run/1"
            event["workflow_run"] = {"id": "1", "event": "pull_request", "head_sha": head, "html_url": address}
        return expressions.Scope(
            {
                "github": {
                    "workspace": WORKSPACE["github"], "ref": "refs/pull/1/merge", "sha": head, "token": "no-token",
                    "event_name": world.event, "event": event, "repository": "example/pxarbench", "run_id": "1",
                    "server_url": "https://example.invalid", "actor": "nobody", "head_ref": "topic", "base_ref": "main",
                },
                "env": env, "matrix": self.job.matrix, "steps": self.steps, "needs": {}, "secrets": {}, "inputs": {},
                "vars": world.variables,
            },
            {
                "success": lambda: not self.failed, "failure": lambda: self.failed, "always": lambda: True,
                "cancelled": lambda: False, "hashFiles": self.hash_files,
            },
        )  # fmt: skip

    def hash_files(self, *patterns: str) -> str:
        found = [path for pattern in patterns for path in actions.matching(self.workspace, pattern)]
        digests = [hashlib.sha256(path.read_bytes()).digest() for path in found]
        return hashlib.sha256(b"".join(digests)).hexdigest() if digests else ""

    def log(self, step: Step) -> Path:
        number = len(self.outcomes) + 1
        return self.world.folder / "logs" / _log_name(self.job.name) / f"{number:02}-{_log_name(step.name)}.log"

    def script(self, step: Step, env: Mapping[str, str]) -> tuple[int, bool]:
        """Exit code, and whether time ran out."""
        assert step.script is not None
        number = len(self.outcomes) + 1
        text = expressions.fill(step.script, self.scope(env)) if self.template.system == "github" else step.script
        (self.runner / f"step-{number}.sh").write_text(text + "\n")
        log = self.log(step)
        log.parent.mkdir(parents=True, exist_ok=True)
        said = self.room.enter(
            [*SHELL, f"{RUNNER}/step-{number}.sh"], env, log,
            cwd=WORKSPACE[self.template.system], timeout=max(1.0, self.deadline - time.monotonic()),
        )  # fmt: skip
        return said.returncode, said.timed_out

    def step(self, step: Step) -> None:
        env = self._env(step)
        begin, used = time.monotonic(), _processor_seconds()
        note, result = "", "success"
        if not expressions.holds(step.condition, self.scope(env)):
            result = "skipped"
        elif step.script is not None:
            code, late = self.script(step, env)
            result = "timeout" if late else "success" if code == 0 else "failure"
            note = "" if code == 0 else f"exit {code}"
            if code in self.job.tolerated and not late:
                result, note = "success", f"exit {code}, which the job tolerates"
            self._take_over()
        else:
            inputs = {name: self._input(value, env) for name, value in step.inputs.items()}
            try:
                note = actions.act(str(step.uses), self.shelf, self.workspace, inputs)
            except (actions.ActionFailed, run.CommandFailed, OSError) as error:
                result, note = "failure", str(error)
        if step.id:
            self.steps[step.id] = {"outcome": result, "conclusion": "success" if step.may_fail else result, "outputs": {}}
        if result in ("failure", "timeout") and not step.may_fail:
            self.failed = True
        took = time.monotonic() - begin
        self.outcomes.append(Outcome(self.job.name, step.name, result, took, note, _processor_seconds() - used))

    def _input(self, value: Any, env: Mapping[str, str]) -> Any:
        return expressions.fill(value, self.scope(env)) if isinstance(value, str) else value

    def _env(self, step: Step) -> dict[str, str]:
        if self.template.system == "gitlab":
            return {**self.env}
        env = dict(self.env)
        for name, text in step.env.items():
            env[name] = expressions.fill(text, self.scope(env))
        return env

    def _take_over(self) -> None:
        """What a step wrote for the ones after it: only `NAME=VALUE` lines, no more is used."""
        path = self.runner / "env"
        for line in path.read_text().splitlines() if path.exists() else ():
            name, _, value = line.partition("=")
            self.env[name] = value
        path.write_text("")


def environment(world: World, template: Template, job: Job, scope: expressions.Scope) -> dict[str, str]:
    """Of all steps of a job: what the system sets, then the template's own."""
    env = {"PATH": chroot.PATH, "HOME": "/root", "LANG": "C.UTF-8", "CI": "true"}
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        if name in os.environ:
            env[name] = os.environ[name]
    if template.system == "github":
        env |= {
            "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": WORKSPACE["github"], "GITHUB_REPOSITORY": "example/pxarbench",
            "GITHUB_SHA": world.revision, "GITHUB_REF": "refs/pull/1/merge", "GITHUB_EVENT_NAME": world.event,
            "HOME": "/github/home",
            **{f"GITHUB_{name}": f"{RUNNER}/{name.lower()}" for name in ("ENV", "OUTPUT", "PATH", "STEP_SUMMARY")},
        }  # fmt: skip
        for name, text in job.env.items():
            env[name] = expressions.fill(text, scope)
        return env
    source = {"pull_request": "merge_request_event", "schedule": "schedule"}.get(world.event, "push")
    env |= {
        "GITLAB_CI": "true", "CI_PROJECT_DIR": WORKSPACE["gitlab"], "CI_PIPELINE_SOURCE": source,
        "CI_COMMIT_SHA": world.revision, "CI_MERGE_REQUEST_DIFF_BASE_SHA": world.base_revision, "CI_DEFAULT_BRANCH": "main",
        "CI_PROJECT_ID": "1", "CI_PIPELINE_URL": "https://example.invalid/pipelines/1", "CI_MERGE_REQUEST_IID": "1",
        "CI_PROJECT_URL": actions.ORIGIN.removesuffix(".git"), "CI_API_V4_URL": "https://example.invalid/api/v4",
    }  # fmt: skip
    for name, text in job.env.items():
        env[name] = re.sub(r"\$\{?(\w+)\}?", lambda match: env.get(match.group(1), ""), text)
    return env


def run_job(world: World, template: Template, job: Job) -> list[Outcome]:
    place = world.folder / template.system / "jobs" / _log_name(job.name)
    shutil.rmtree(place, ignore_errors=True)
    workspace, runner = place / "workspace", place / "runner"
    for path in (workspace, runner):
        path.mkdir(parents=True)
    for name in ("env", "output", "path", "step_summary"):
        (runner / name).touch()
    shelf = world.shelf(template)
    shelf.origin.mkdir(parents=True, exist_ok=True)
    binds = {WORKSPACE[template.system]: workspace, RUNNER: runner, actions.ORIGIN: shelf.origin}
    room = chroot.Room(world.image or world.system, place, world.memory, binds)
    room.prepare()
    for path in ("github/home", "root"):
        (room.folder / "upper" / path).mkdir(parents=True, exist_ok=True)
    running = Running(
        world, template, job, workspace, runner, room, shelf,
        time.monotonic() + 60 * world.time_factor * (job.timeout_minutes or 360),
    )  # fmt: skip
    running.env = environment(world, template, job, running.scope({}))
    if has_account(template, job):
        running.env |= ACCOUNT if template.system == "gitlab" else {}
        programs = room.folder / "upper/usr/local/bin"
        programs.mkdir(parents=True)
        for name, text in STAND_INS.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
    kept_artifacts = shelf.artifacts / job.key / _log_name(job.name)
    if template.system == "gitlab":
        shutil.rmtree(kept_artifacts, ignore_errors=True)
        actions.checkout(shelf, workspace, owner=None)
        for need in job.needs:
            for kept in sorted((shelf.artifacts / need).glob("*")):
                actions.copy_tree(kept, workspace)
    elif not expressions.holds(job.condition, running.scope({})):
        return [Outcome(job.name, "", "skipped", 0.0, f"not for {world.event}")]
    for step in job.steps:
        if step.uses and step.uses.startswith("actions/upload-artifact@"):
            # Of an earlier call; one run of GitHub's never has two of a name.
            name = expressions.fill(str(step.inputs["name"]), running.scope(running.env))
            shutil.rmtree(shelf.artifacts / name, ignore_errors=True)
        running.step(step)
        say(running.outcomes[-1])
    if template.system == "gitlab" and job.artifacts:
        for path in job.artifacts:
            for found in actions.matching(workspace, path):
                actions.copy_tree(found, kept_artifacts / found.relative_to(workspace))
        missing = [path for path in job.artifacts if not actions.matching(workspace, path)]
        note = f"missing: {', '.join(missing)}" if missing else ""
        running.outcomes.append(Outcome(job.name, "artifacts", "success", 0.0, note))
    shelf.finish(not running.failed)
    return running.outcomes


def say(outcome: Outcome) -> None:
    note = f"  ({outcome.note})" if outcome.note else ""
    print(
        f"  {outcome.result:8} {outcome.seconds:7.1f} s, {outcome.processor_seconds:6.1f} s of processors  {outcome.step}{note}",
        flush=True,
    )


def build_image(world: World, containerfile: Path) -> chroot.System:
    """The layers that a Containerfile makes: its COPY and RUN, in order. CommandFailed names the line."""
    parts = instructions(containerfile)
    copied = [world.root / rest.split()[0] for _, word, rest in parts if word == "COPY"]
    below = [str(layer).encode() for layer in world.system.layers]
    made_of = [*below, containerfile.read_bytes(), *(path.read_bytes() for path in copied)]
    key = hashlib.sha256(b"\0".join(made_of)).hexdigest()[:16]
    made = locate.cache() / "chroots" / f"image-{key}"
    if made.is_dir():
        return chroot.System((made, *world.system.layers))
    place = locate.cache() / "chroots" / "image.unfinished"
    shutil.rmtree(place, ignore_errors=True)
    room = chroot.Room(world.system, place, world.memory)
    room.prepare()
    for number, word, rest in parts:
        if word == "COPY":
            source, target = rest.split()
            actions.copy_tree(world.root / source, place / "upper" / target.lstrip("/"))
        elif word == "RUN":
            log = world.folder / "logs" / f"image-{number}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            said = room.enter(["/bin/sh", "-c", rest], {"PATH": chroot.PATH}, log, cwd="/", timeout=3600)
            if said.returncode != 0:
                raise chroot.ChrootError(f"{containerfile.name}:{number}: exit {said.returncode}, see {log}")
    (place / "upper").rename(made)
    shutil.rmtree(place, ignore_errors=True)
    return chroot.System((made, *world.system.layers))


# ---- command line ----


def choose(root: Path, words: Sequence[str]) -> list[tuple[Template, Job]]:
    """Jobs by `system/file[:job]`; without words all of all. ValueError names what is not there."""
    folder = root / check.FOLDER
    known = {}
    for path in check.find(folder):
        system = check.system_of(path)
        if system in WORKSPACE:
            known[f"{path.parent.name}/{path.stem}"] = check.load(path, str(system), folder / "schema")
    chosen = []
    for word in words or list(known):
        name, _, job = word.partition(":")
        if name not in known:
            raise ValueError(f"there is no template {name!r}; there are {', '.join(known)}")
        jobs = [one for one in known[name].jobs if job in ("", one.key, one.name)]
        if not jobs:
            raise ValueError(f"{name} has no job {job!r}; it has {', '.join(one.name for one in known[name].jobs)}")
        chosen += [(known[name], one) for one in jobs]
    return chosen


def summary(outcomes: Sequence[tuple[str, Outcome]]) -> str:
    """Markdown."""
    lines = ["| template | job | step | result | s | processor s | |", "| --- | --- | --- | --- | ---: | ---: | --- |"]
    for template, one in outcomes:
        note = one.note.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {template} | {one.job} | {one.step} | {one.result} | {one.seconds:.1f} | {one.processor_seconds:.1f} | {note} |")
    return "\n".join(lines) + "\n"


def _revision(root: Path, name: str) -> str:
    git = ["git", "-c", f"safe.directory={root}", "-C", root]
    return run.run([*git, "rev-parse", "--verify", f"{name}^{{commit}}"]).check_ok().text.strip()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def _factor(text: str) -> float:
    if not re.fullmatch(r"\d{1,3}(?:\.\d{1,3})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0, such as 3 or 1.5")
    return float(text)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="ci/templates/run_locally", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("jobs", nargs="*", metavar="TEMPLATE[:JOB]", help="e.g. github/pull-request:gates (default: all)")
    parser.add_argument("--list", action="store_true", help="print templates, jobs and steps, and stop")
    parser.add_argument("--event", choices=EVENTS, help="what is said to have happened (default: what the job is for)")
    parser.add_argument("--revision", default="HEAD", metavar="REV", help="what is checked out (default: %(default)s)")
    parser.add_argument("--base-revision", default="HEAD~1", metavar="REV", help="to hold it against (default: %(default)s)")
    parser.add_argument("--image", action="store_true", help="start from the image of ci/templates/Containerfile, made once")
    parser.add_argument("--suite", default="bookworm", help="Debian's release (default: %(default)s)")
    parser.add_argument("--mirror", default=chroot.MIRROR, help="where debootstrap fetches it (default: %(default)s)")
    parser.add_argument("--memory", default="6g", help="of /dev/shm and of /tmp, each (default: %(default)s)")
    parser.add_argument(
        "--time-factor", type=_factor, default=1.0, metavar="N",
        help="multiplies the time limits of the templates, on a machine that does other things too (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument("--work", type=Path, metavar="DIR", help="logs, artifacts, layers (default: below the cache)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    root = locate.REPOSITORY
    try:
        chosen = choose(root, args.jobs)
    except (ValueError, TemplateBroken, OSError) as error:
        print(f"ci/templates/run_locally: {error}", file=sys.stderr)
        return 1
    if args.list:
        for template, job in chosen:
            print(f"{template.path.parent.name}/{template.path.stem}:{job.name}")
            for step in job.steps:
                print(f"    {step.name}")
        return 0
    outcomes: list[tuple[str, Outcome]] = []
    # Whoever stops this stops what runs in the room as well: run.py ends it on the way out. Shells ignore SIGINT for what they
    # start in the background.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        chroot.check_possible()
        folder = (args.work or locate.cache() / "work" / "templates").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        system = chroot.debian(locate.cache() / "chroots", args.suite, args.mirror)
        revisions = _revision(root, args.revision), _revision(root, args.base_revision)
        world = World(root, folder, *revisions, EVENTS[0], system, None, args.memory, args.time_factor)
        if args.image:
            world.image = build_image(world, root / check.FOLDER / "Containerfile")
        for template, job in chosen:
            print(f"{template.path.parent.name}/{template.path.stem}: {job.name}", flush=True)
            here = replace(world, event=args.event or event_of(template, job))
            outcomes += [(template.path.stem, one) for one in run_job(here, template, job)]
    except (chroot.ChrootError, run.CommandFailed, expressions.ExpressionBroken) as error:
        print(f"ci/templates/run_locally: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ci/templates/run_locally: interrupted", file=sys.stderr)
        return 130
    (folder / "results.md").write_text(summary(outcomes))
    rows = [vars(one) | {"template": name} for name, one in outcomes]
    (folder / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    bad = [one for _, one in outcomes if one.result in ("failure", "timeout")]
    print(f"{len(outcomes)} steps, {len(bad)} failed; logs in {folder}/logs, table in {folder}/results.md")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
