"""What a template must keep to beyond its schema. Pure, but for what `Repository` reads and asks.

A template is text that nobody runs before it is pushed: every script and option in it must exist, every expression must name
what is there, and nothing of a pull request may reach a shell as program text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import actions, expressions, scripts, shell
from .model import GLOBALS, Job, Step, Template, extended
from .scripts import Repository

#: What a pull or merge request may take.
REQUEST_MINUTES = 10

_PIN = re.compile(r"uses:\s*(\S+?)@([0-9a-f]{40})(?:\s+#\s*(\S+))?")
_GITHUB = {
    "workspace", "ref", "sha", "token", "event_name", "event", "repository", "run_id", "server_url", "actor", "head_ref",
    "base_ref",
}  # fmt: skip
#: Scripts whose exit code is a verdict: a job with one must not be allowed to fail.
_JUDGES = ("ci/test", "ci/gate", "ci/compare", "ci/trend", "ci/bench", "harness/suites/")


@dataclass(frozen=True)
class Problem:
    path: Path
    place: str  # job and step, or the line
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.place}: {self.text}" if self.place else f"{self.path}: {self.text}"


# ---- GitHub ----


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from _texts(below)
    elif isinstance(value, (list, tuple)):
        for below in value:
            yield from _texts(below)


def _path_problems(path: tuple[str, ...], job: Job, ids: set[str], env: Mapping[str, str]) -> Iterator[str]:
    context, rest = path[0], path[1:]
    known: set[str] | None = {
        "matrix": set(job.matrix), "steps": ids, "needs": set(job.needs), "env": set(env), "github": _GITHUB,
        "secrets": {"GITHUB_TOKEN"}, "inputs": set(),
    }.get(context)  # fmt: skip
    if not rest:
        yield f"{context} is no value"
    elif known is not None and rest[0] not in known:
        yield f"there is no {'.'.join(path[:2])} here"


def _expression_problems(text: str, job: Job, ids: set[str], env: Mapping[str, str]) -> Iterator[str]:
    try:
        nodes = expressions.expressions(text)
    except expressions.ExpressionBroken as error:
        yield str(error)
        return
    for node in nodes:
        for part in expressions.walk(node):
            if part.kind == "path":
                yield from _path_problems(part.value, job, ids, env)


def _github_step_problems(job: Job, step: Step, ids: set[str], raw: Mapping[str, Any]) -> Iterator[str]:
    env = {**job.env, **step.env}
    for text in _texts(raw):
        yield from _expression_problems(text, job, ids, env)
    if step.script and "${{" in step.script:
        yield "an expression in `run` becomes program text: hand it over in `env`"
    if step.uses and (wrong := actions.input_problem(step.uses.partition("@")[0], step.inputs)):
        yield wrong
    if step.may_fail and _judges(job, step):
        yield "continue-on-error: what it finds would stop nothing"
    if step.uses and step.uses.startswith("actions/checkout@") and step.inputs.get("persist-credentials") is not False:
        yield "persist-credentials: false is missing: the token would stay in the checkout, for all that runs in it"
    if step.condition and re.search(r"\balways\(\)", step.condition):
        yield "always() also runs after an interruption: use !cancelled()"


def _pin_problems(template: Template) -> Iterator[Problem]:
    pins: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(template.path.read_text(encoding="utf-8").splitlines(), 1):
        match = _PIN.search(line)
        if not match:
            continue
        action, commit, version = match.groups()
        if not re.fullmatch(r"v\d+\.\d+\.\d+", version or ""):
            yield Problem(template.path, f"line {number}", "the version is missing behind the commit, as `# v1.2.3`")
        elif pins.setdefault(action, (commit, version)) != (commit, version):
            yield Problem(template.path, f"line {number}", f"{action} is another one than above, {pins[action][1]}")


def _image_problem(text: str) -> str | None:
    """Of an image that is named; variables are the user's."""
    names = re.findall(r"'([^']+)'", text) if "${{" in text else [text]
    for name in names:
        if "$" not in name and (":" not in name.rpartition("/")[2] or name.endswith(":latest")):
            return f"image {name}: another one every day; it needs a tag"
    return None


def _judges(job: Job, step: Step) -> bool:
    return any(name.startswith(_JUDGES) for name in scripts.called(step.script or "", known_values(job, step)))


def _token_in(value: Any) -> bool:
    return any(re.search(r"\$\{\{[^}]*\b(?:secrets\.|github\.token\b)", text) for text in _texts(value))


def _token_problems(template: Template) -> Iterator[Problem]:
    document = template.document
    if _token_in(document.get("env")):
        yield Problem(template.path, "env", "a token that all steps of all jobs get: only the step that needs it")
    for key, raw in document["jobs"].items():
        if _token_in(raw.get("env")) or _token_in(raw.get("container")):
            yield Problem(template.path, key, "a token that all steps get: only the step that needs it")
        if "pull_request" in document["on"] and _token_in(raw):
            yield Problem(template.path, key, "a token for a pull request's code")


def github_problems(template: Template) -> Iterator[Problem]:
    document = template.document
    events = set(document["on"])
    yield from _pin_problems(template)
    yield from _token_problems(template)
    top = document["permissions"]
    if set(top.values()) - {"read", "none"}:
        yield Problem(template.path, "permissions", "rights to write belong to the one job that needs them")
    for job in template.jobs:
        raw = document["jobs"][job.key]
        if "pull_request" in events and (job.timeout_minutes or 0) > REQUEST_MINUTES:
            yield Problem(template.path, job.name, f"may take {job.timeout_minutes} minutes; {REQUEST_MINUTES} are meant")
        if "pull_request" in events and "write" in raw.get("permissions", {}).values():
            yield Problem(template.path, job.name, "runs a pull request's code with a right to write")
        if raw.get("continue-on-error") and any(_judges(job, step) for step in job.steps):
            yield Problem(template.path, job.name, "continue-on-error: what it finds would stop nothing")
        if job.image and (wrong := _image_problem(job.image)):
            yield Problem(template.path, job.name, wrong)
        if "container" in raw and "--shm-size=" not in raw["container"].get("options", ""):
            yield Problem(template.path, job.name, "--shm-size is missing: a container's 64 MiB do not hold a store")
        for need in job.needs:
            if need not in document["jobs"]:
                yield Problem(template.path, job.name, f"needs {need}, which is no job")
        ids: set[str] = set()
        for name in ("if", "runs-on", "container", "env"):
            for text in _texts(raw.get(name)):
                for said in _expression_problems(text, job, ids, job.env):
                    yield Problem(template.path, f"{job.name}, {name}", said)
        for step, raw_step in zip(job.steps, raw["steps"], strict=True):
            for said in _github_step_problems(job, step, ids, raw_step):
                yield Problem(template.path, f"{job.name}, step {step.name!r}", said)
            if step.id:
                ids.add(step.id)


# ---- GitLab ----


def gitlab_problems(template: Template) -> Iterator[Problem]:
    document = template.document
    stages = document["stages"]
    names = {job.key for job in template.jobs}
    used = {above for job in document.values() if isinstance(job, Mapping) and (above := job.get("extends"))}
    for name, raw in document.items():
        if name in GLOBALS:
            continue
        if name.startswith("."):
            if name not in used:
                yield Problem(template.path, name, "is extended by nothing")
            continue
        job = extended(document, name)
        if "script" not in job:
            yield Problem(template.path, name, "has no script")
        if "timeout" not in job:
            yield Problem(template.path, name, "has no timeout")
        if job.get("stage") not in stages:
            yield Problem(template.path, name, f"stage {job.get('stage')!r} is none of {', '.join(stages)}")
        if "rules" not in job:
            yield Problem(template.path, name, "has no rules: it would run in every pipeline")
        for need in job.get("needs", ()):
            if need["job"] not in names:
                yield Problem(template.path, name, f"needs {need['job']}, which is no job")
        for place in ("cache", "artifacts"):
            for path in job.get(place, {}).get("paths", ()):
                if path.startswith(("/", "$", "..")):
                    yield Problem(template.path, name, f"{place}: {path} is outside of the project's folder")
    image = document.get("variables", {}).get("PXARBENCH_IMAGE", "")
    for built in template.jobs:
        job = extended(document, built.key)
        if "image" not in job:
            yield Problem(template.path, built.name, "has no image: the runner's would be another one everywhere")
        elif wrong := _image_problem(image if built.image == "$PXARBENCH_IMAGE" else built.image or ""):
            yield Problem(template.path, built.name, wrong)
        if set(built.tolerated) - {int(scripts.INCONCLUSIVE)} and any(_judges(built, step) for step in built.steps):
            yield Problem(template.path, built.name, f"only the exit code {scripts.INCONCLUSIVE} is no failure")
        nightly = all("schedule" in rule.get("if", "") and "!=" not in rule.get("if", "") for rule in job.get("rules", ()))
        if not nightly and (built.timeout_minutes or 0) > REQUEST_MINUTES:
            yield Problem(template.path, built.name, f"may take {built.timeout_minutes} minutes; {REQUEST_MINUTES} are meant")


# ---- Containerfile ----


def _run_problems(script: str) -> Iterator[str]:
    """Its shell is sh without -e and without pipefail."""
    try:
        commands = shell.simples(script)
    except shell.ShellUnclear as error:
        yield str(error)
        return
    for command in commands[:-1]:
        if command.after != "&&":
            yield f"{command.bare[0]}: only && hands its failure on"


def containerfile_problems(template: Template, repository: Repository) -> Iterator[Problem]:
    words = [word for _, word, _ in template.document]
    for number, word, rest in template.document:
        place = f"line {number}"
        if word == "COPY":
            *sources, _ = [part for part in rest.split() if not part.startswith("--")]
            for source in sources:
                if not (repository.root / source).exists():
                    yield Problem(template.path, place, f"{source} is not in the repository")
        if word == "RUN" and re.search(r"\bapt-get\b|\bci/setup\b", rest) and "rm -rf /var/lib/apt/lists" not in rest:
            yield Problem(template.path, place, "package lists stay in the layer")
        if word == "RUN":
            for said in _run_problems(rest):
                yield Problem(template.path, place, said)
        image = rest.partition("=")[2] if word == "ARG" else rest
        if word in ("FROM", "ARG") and "/" in image and not re.search(r":[^/$]+$", image):
            yield Problem(template.path, place, f"{image} has no tag")
        if image.endswith(":latest"):
            yield Problem(template.path, place, "another image every day")
    if words.count("FROM") > 1:
        yield Problem(template.path, "", "more than one FROM")


# ---- all ----


def known_values(job: Job, step: Step) -> dict[str, str]:
    """Variables of a step that do not depend on where it runs."""
    scope = expressions.Scope({"matrix": job.matrix})
    values = {}
    for name, text in {**job.env, **step.env}.items():
        try:
            values[name] = expressions.fill(text, scope)
        except expressions.ExpressionBroken:
            continue  # known when it runs
    return values


def _step_problems(template: Template, job: Job, step: Step, repository: Repository) -> Iterator[str]:
    assert step.script is not None
    values = known_values(job, step)
    secrets = {name for name, text in step.env.items() if _token_in(text)}
    try:
        yield from scripts.missing(step.script, values, repository)
        if template.system == "pre-commit":
            if len(shell.simples(step.script)) != 1:
                yield "an entry is one command, which no shell reads"
            return
        yield from scripts.swallowed(step.script, values)
        yield from scripts.shown(step.script, secrets)
    except shell.ShellUnclear as error:
        yield str(error)


def problems(template: Template, repository: Repository) -> list[Problem]:
    """Of one template that its schema accepts, each once."""
    found: list[Problem] = []
    if template.system == "github":
        found += github_problems(template)
    elif template.system == "gitlab":
        found += gitlab_problems(template)
    elif template.system == "containerfile":
        found += containerfile_problems(template, repository)
    for job in template.jobs:
        for step in job.steps:
            if step.script is None or template.system == "containerfile":
                continue
            for said in _step_problems(template, job, step, repository):
                found.append(Problem(template.path, f"{job.name}, {step.name!r}", said))
    for said in scripts.settings(template.path.read_text(encoding="utf-8"), repository):
        found.append(Problem(template.path, "", said))
    return list(dict.fromkeys(found))


# ---- several templates ----


def called(templates: Sequence[Template]) -> set[str]:
    """All scripts of ours."""
    return {
        name
        for template in templates for job in template.jobs for step in job.steps
        for name in scripts.called(step.script or "", known_values(job, step))
    }  # fmt: skip


def uncommon(one: Sequence[Template], other: Sequence[Template]) -> list[str]:
    """Scripts that the templates of one system call, and those of the other do not."""
    return sorted(called(one) ^ called(other))


def unheard(templates: Sequence[Template]) -> list[str]:
    """GitHub's workflows that wait for one that is none of `templates`: they would never run."""
    names = {template.document["name"] for template in templates}
    waiting = {name for template in templates for name in (template.document["on"].get("workflow_run") or {}).get("workflows", ())}
    return [f"no workflow is called {name!r}: what waits for it never runs" for name in sorted(waiting - names)]


#: Suites that are not for the night: the benchmark's, which ci/bench runs, and the golden ones, which ci/gate does.
_OTHERWISE = ("bench_modes", "bench_reuse_cliff", "regress_counters", "regress_encoding")


def suites_left_out(templates: Sequence[Template], repository: Repository) -> list[str]:
    """Suites of the harness that no job runs."""
    ran = {Path(name).stem for name in called(templates) if name.startswith("harness/suites/")}
    return [f"no job runs harness/suites/{path.name}" for path in repository.suites() if path.stem not in {*ran, *_OTHERWISE}]
