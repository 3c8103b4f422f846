"""Templates as data: both systems' files come to the same jobs with the same kind of steps.

Reads files only. What a file may hold is said by the schemas in ci/templates/schema; here it is only taken apart.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SYSTEMS = ("github", "gitlab", "containerfile", "pre-commit")


class TemplateBroken(Exception):
    """A file is no template; the text names file and place."""


@dataclass(frozen=True)
class Step:
    name: str
    script: str | None = None  # of bash; None: `uses` is
    uses: str | None = None  # owner/name@commit
    inputs: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    condition: str | None = None
    id: str | None = None
    may_fail: bool = False


@dataclass(frozen=True)
class Job:
    name: str  # with the matrix' values, where there are some: "sweeps (cliff)"
    key: str  # as in the file
    steps: tuple[Step, ...]
    image: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    matrix: Mapping[str, Any] = field(default_factory=dict)
    condition: str | None = None
    timeout_minutes: int | None = None
    tolerated: tuple[int, ...] = ()  # exit codes that do not fail the job
    needs: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()  # GitLab's: paths


@dataclass(frozen=True)
class Template:
    path: Path
    system: str  # of SYSTEMS
    jobs: tuple[Job, ...]
    document: Any  # as it was read


def load_yaml(path: Path) -> Any:
    """With `on` as a word, not as the truth value that YAML 1.1 takes it for. Duplicate keys are refused."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in pairs if tag != "tag:yaml.org,2002:bool"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            if key in found:
                raise TemplateBroken(f"{path}:{key_node.start_mark.line + 1}: {key!r} comes twice")
            found[key] = loader.construct_object(value_node, deep=True)
        return found

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a safe loader's child
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TemplateBroken(f"{path}: {error}") from None


def _texts(values: Mapping[str, Any] | None) -> dict[str, str]:
    """Variables, as a shell gets them."""
    return {name: value if isinstance(value, str) else str(value).lower() for name, value in (values or {}).items()}


# ---- GitHub ----


def github_matrix(matrix: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All combinations; with `include` alone, its items."""
    axes = {name: values for name, values in matrix.items() if name != "include"}
    rows = [dict(zip(axes, row, strict=True)) for row in itertools.product(*axes.values())] if axes else []
    return rows + [dict(item) for item in matrix.get("include", ())]


def load_github(path: Path, document: Any) -> Template:
    jobs = []
    shared = _texts(document.get("env"))
    for key, job in document["jobs"].items():
        rows = github_matrix(job.get("strategy", {}).get("matrix", {})) or [{}]
        for row in rows:
            said = ", ".join(str(value) for value in row.values())
            needs = job.get("needs", ())
            jobs.append(
                Job(
                    name=f"{key} ({row['name'] if 'name' in row else said})" if row else key,
                    key=key,
                    steps=tuple(_github_step(step) for step in job["steps"]),
                    image=job.get("container", {}).get("image"),
                    env={**shared, **_texts(job.get("env"))},
                    matrix=row,
                    condition=job.get("if"),
                    timeout_minutes=job["timeout-minutes"],
                    needs=(needs,) if isinstance(needs, str) else tuple(needs),
                )
            )
    return Template(path, "github", tuple(jobs), document)


def _github_step(step: Mapping[str, Any]) -> Step:
    return Step(
        name=step["name"],
        script=step.get("run"),
        uses=step.get("uses"),
        inputs=step.get("with", {}),
        env=_texts(step.get("env")),
        condition=step.get("if"),
        id=step.get("id"),
        may_fail=bool(step.get("continue-on-error", False)),
    )


# ---- GitLab ----

GLOBALS = ("workflow", "stages", "variables")


def merged(base: Any, over: Any) -> Any:
    """As `extends` does: mappings are merged, all else is replaced."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**base, **{name: merged(base.get(name), value) for name, value in over.items()}}
    return over


def extended(document: Mapping[str, Any], name: str, seen: Sequence[str] = ()) -> dict[str, Any]:
    """TemplateBroken: a job extends what is not there, or itself."""
    if name in seen or name not in document:
        raise TemplateBroken(f"{' -> '.join([*seen, name])}: {'a circle' if name in seen else 'there is no such job'}")
    job: dict[str, Any] = dict(document[name])
    above = job.pop("extends", None)
    return merged(extended(document, above, (*seen, name)), job) if above else job


def _minutes(text: str) -> int:
    numbers = re.findall(r"(\d+) (hour|minute)", text)
    return sum(int(number) * (60 if unit == "hour" else 1) for number, unit in numbers)


def gitlab_matrix(job: Mapping[str, Any]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for item in job.get("parallel", {}).get("matrix", ()):
        axes = {name: [values] if isinstance(values, str) else values for name, values in item.items()}
        rows += [dict(zip(axes, row, strict=True)) for row in itertools.product(*axes.values())]
    return rows or [{}]


def load_gitlab(path: Path, document: Any) -> Template:
    jobs = []
    for name in document:
        if name in GLOBALS or name.startswith("."):
            continue
        try:
            job = extended(document, name)
        except TemplateBroken as error:
            raise TemplateBroken(f"{path}: {error}") from None
        allowed = job.get("allow_failure", False)
        tolerated = allowed["exit_codes"] if isinstance(allowed, Mapping) else range(1, 256) if allowed else ()
        artifacts = job.get("artifacts", {})
        for row in gitlab_matrix(job):
            script = [*job.get("before_script", ()), *job.get("script", ())]
            after = job.get("after_script")
            steps = [Step("script", "\n".join(script))]
            if after:
                # What follows a job neither sees its shell nor decides about it.
                steps.append(Step("after_script", "\n".join(after), condition="always()", may_fail=True))
            jobs.append(
                Job(
                    name=f"{name} ({', '.join(row.values())})" if row else name,
                    key=name,
                    steps=tuple(steps),
                    image=job.get("image"),
                    env={**_texts(document.get("variables")), **_texts(job.get("variables")), **row},
                    matrix=row,
                    timeout_minutes=_minutes(job["timeout"]) if "timeout" in job else None,
                    tolerated=tuple(tolerated),
                    needs=tuple(need["job"] for need in job.get("needs", ())),
                    artifacts=tuple(artifacts.get("paths", ())),
                )
            )
    return Template(path, "gitlab", tuple(jobs), document)


# ---- Containerfile, pre-commit ----

INSTRUCTIONS = ("ARG", "FROM", "COPY", "RUN", "ENV", "CMD", "WORKDIR", "USER", "LABEL")


def instructions(path: Path) -> list[tuple[int, str, str]]:
    """Line, instruction, rest; continued lines in one. TemplateBroken: an unknown instruction."""
    found: list[tuple[int, str, str]] = []
    lines: Iterator[tuple[int, str]] = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        text = line
        while text.endswith("\\"):
            _, more = next(lines, (0, None))
            if more is None:
                raise TemplateBroken(f"{path}:{number}: the file ends in the middle of an instruction")
            text = text[:-1] + ("" if more.lstrip().startswith("#") else more)
            if more.lstrip().startswith("#"):
                text += "\\"
        word, _, rest = text.strip().partition(" ")
        if word not in INSTRUCTIONS or not rest.strip():
            raise TemplateBroken(f"{path}:{number}: {word!r} is no instruction that is known here")
        found.append((number, word, rest.strip()))
    return found


def load_containerfile(path: Path) -> Template:
    parts = instructions(path)
    if not any(word == "FROM" for _, word, _ in parts):
        raise TemplateBroken(f"{path}: no FROM")
    steps = tuple(Step(f"line {number}", rest) for number, word, rest in parts if word == "RUN")
    return Template(path, "containerfile", (Job("image", "image", steps),), parts)


def load_pre_commit(path: Path, document: Any) -> Template:
    hooks = [hook for repo in document["repos"] for hook in repo["hooks"]]
    jobs = tuple(Job(hook["id"], hook["id"], (Step(hook["name"], hook["entry"]),)) for hook in hooks)
    return Template(path, "pre-commit", jobs, document)
