"""What a template must keep to beyond its schema. Pure, but for what `Repository` reads and asks.

A template is text that nobody runs before it is pushed: every script and option in it must exist, every expression must name
what is there, and nothing of a pull request may reach a shell as program text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import expressions
from .model import GLOBALS, Job, Step, Template, extended

#: What a pull or merge request may take.
REQUEST_MINUTES = 10

_OPTION = re.compile(r"^--[a-z][a-z-]*")
_WORD = re.compile(r"^[a-z][a-z-]*$")
_PIN = re.compile(r"uses:\s*(\S+@[0-9a-f]{40})(?:\s+#\s*(\S+))?")
_GITHUB = {
    "workspace", "ref", "sha", "token", "event_name", "event", "repository", "run_id", "server_url", "actor", "head_ref",
    "base_ref",
}  # fmt: skip
#: Scripts whose first words choose what they do: these must stand in the help as well.
_CHOOSING = {"ci/export", "ci/test", "ci/gate", "ci/history", "ci/templates/post_comment"}
#: Of these the first word has a help of its own.
_COMMANDS = {"ci/history"}


@dataclass(frozen=True)
class Problem:
    path: Path
    place: str  # job and step, or the line
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.place}: {self.text}" if self.place else f"{self.path}: {self.text}"


@dataclass
class Repository:
    """What templates refer to. `help_of` runs a script, or one of its commands, with --help."""

    root: Path
    help_of: Callable[..., str]
    _helps: dict[tuple[str, ...], str] = field(default_factory=dict, init=False)

    def help(self, *words: str) -> str:
        if words not in self._helps:
            self._helps[words] = self.help_of(*words)
        return self._helps[words]


# ---- scripts ----


def commands(script: str) -> Iterator[list[str]]:
    """Words of each simple command that names a script of ours; words before it are dropped, quotes kept off.

    No shell parser: quoted separators cut a command short, which only makes the check ask for less.
    """
    joined = re.sub(r"\\\n\s*", " ", script)
    for line in joined.splitlines():
        if line.lstrip().startswith("#"):
            continue
        for part in re.split(r"\|\||&&|[;|)]|(?<!\d)>>?", line):
            words = [word.strip("\"'") for word in part.split()]
            start = next((at for at, word in enumerate(words) if word.startswith(("ci/", "harness/"))), None)
            if start is not None:
                yield words[start:]


def _filled(word: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match.group(1), match.group(0)), word)


def script_problems(script: str, values: Mapping[str, str], repository: Repository) -> Iterator[str]:
    """Sentences. `values`: variables that are known to the script, to fill in names of files."""
    for words in commands(script):
        name = _filled(words[0], values)
        path = repository.root / name
        if not path.is_file():
            yield f"{name} is not in the repository"
            continue
        if path.suffix == ".py" and not os.access(path, os.X_OK):
            continue  # started by an interpreter; its words are that one's
        if not os.access(path, os.X_OK):
            yield f"{name} is not executable"
            continue
        said = repository.help(name)
        first = words[1] if len(words) > 1 else ""
        if name in _CHOOSING and _WORD.match(first) and not re.search(rf"(?<![\w-]){re.escape(first)}(?![\w-])", said):
            yield f"{name} does not know {first!r}"
            continue
        if name in _COMMANDS and _WORD.match(first):
            said = repository.help(name, first)
        for word in words[1:]:
            option = _OPTION.match(word)
            if option and not re.search(re.escape(option.group()) + r"(?![\w-])", said):
                yield f"{name} has no option {option.group()}"


def setting_problems(text: str, repository: Repository) -> Iterator[str]:
    """Settings of the long suites that no suite reads."""
    for name in sorted(set(re.findall(r"\bPXB_\w+", text))):
        suites = (repository.root / "harness" / "suites").glob("*.py")
        if not any(re.search(rf"\b{name}\b", suite.read_text(encoding="utf-8")) for suite in suites):
            yield f"no suite reads {name}"


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
    if step.uses and step.uses.startswith("actions/checkout@") and step.inputs.get("persist-credentials") is not False:
        yield "persist-credentials: false is missing: the token would stay in the checkout, for all that runs in it"
    if step.condition and re.search(r"\balways\(\)", step.condition):
        yield "always() also runs after an interruption: use !cancelled()"


def github_problems(template: Template) -> Iterator[Problem]:
    document = template.document
    events = set(document["on"])
    lines = template.path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        match = _PIN.search(line)
        if match and not re.fullmatch(r"v\d+\.\d+\.\d+", match.group(2) or ""):
            yield Problem(template.path, f"line {number}", "the version is missing behind the commit, as `# v1.2.3`")
    top = document["permissions"]
    if set(top.values()) - {"read", "none"}:
        yield Problem(template.path, "permissions", "rights to write belong to the one job that needs them")
    for job in template.jobs:
        raw = document["jobs"][job.key]
        if "pull_request" in events and (job.timeout_minutes or 0) > REQUEST_MINUTES:
            yield Problem(template.path, job.name, f"may take {job.timeout_minutes} minutes; {REQUEST_MINUTES} are meant")
        if "pull_request" in events and "write" in raw.get("permissions", {}).values():
            yield Problem(template.path, job.name, "runs a pull request's code with a right to write")
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
    for built in template.jobs:
        job = extended(document, built.key)
        nightly = all("schedule" in rule.get("if", "") and "!=" not in rule.get("if", "") for rule in job.get("rules", ()))
        if not nightly and (built.timeout_minutes or 0) > REQUEST_MINUTES:
            yield Problem(template.path, built.name, f"may take {built.timeout_minutes} minutes; {REQUEST_MINUTES} are meant")


# ---- Containerfile ----


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
            values = known_values(job, step)
            for said in script_problems(step.script, values, repository):
                found.append(Problem(template.path, f"{job.name}, {step.name!r}", said))
    for said in setting_problems(template.path.read_text(encoding="utf-8"), repository):
        found.append(Problem(template.path, "", said))
    return list(dict.fromkeys(found))


def uncommon(one: list[Template], other: list[Template]) -> list[str]:
    """Scripts that the templates of one system call, and those of the other do not."""

    def called(templates: list[Template]) -> set[str]:
        return {
            _filled(words[0], known_values(job, step))
            for template in templates for job in template.jobs for step in job.steps
            for words in commands(step.script or "")
        }  # fmt: skip

    return sorted(called(one) ^ called(other))
