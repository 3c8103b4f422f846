"""`ci/check_templates`: yamllint, our schemas, our rules, shellcheck. Changes nothing, needs no network.

Exit 0: all kept. 1: something is not, or could not be looked at. Tools that are not installed are named, and skipped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .. import locate, run
from . import model, rules, scripts

FOLDER = "ci/templates"
SCHEMAS = {"github": "github-workflow.v1.json", "gitlab": "gitlab-ci.v1.json", "pre-commit": "pre-commit-config.v1.json"}
LOADERS: dict[str, Callable[[Path, Any], model.Template]] = {
    "github": model.load_github, "gitlab": model.load_gitlab, "pre-commit": model.load_pre_commit,
}  # fmt: skip

DESCRIPTION = """Checks the templates in ci/templates: yamllint, the schemas in ci/templates/schema, that every script, option
and setting named in them exists, that expressions name what is there, that nothing of a pull request becomes program text, that
GitHub and GitLab do the same, and shellcheck of all their steps."""
EXAMPLES = """examples:
  ci/check_templates                                    all of ci/templates
  ci/check_templates ci/templates/gitlab/gitlab-ci.yml  one file

exit codes: 0 all kept, 1 something is wrong or missing"""


def system_of(path: Path) -> str | None:
    """Which system's file that is, by its place or name; None: not a template."""
    if path.name in ("Containerfile", "Dockerfile"):
        return "containerfile"
    if "pre-commit-config" in path.name:
        return "pre-commit"
    return next((system for system in ("github", "gitlab") if system in (path.parent.name, path.name.partition("-")[0])), None)


def schema_problem(document: Any, schema: dict[str, Any]) -> str | None:
    """What the schema refuses, at most five places, or None."""
    import jsonschema

    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    wrong = sorted(validator(schema).iter_errors(document), key=lambda error: [str(part) for part in error.absolute_path])
    places = [f"{'/'.join(map(str, error.absolute_path)) or 'top'}: {error.message[:300]}" for error in wrong[:5]]
    return "; ".join(places) or None


def load(path: Path, system: str, schemas: Path) -> model.Template:
    """TemplateBroken also when the schema refuses it."""
    if system == "containerfile":
        return model.load_containerfile(path)
    document = model.load_yaml(path)
    wrong = schema_problem(document, json.loads((schemas / SCHEMAS[system]).read_text(encoding="utf-8")))
    if wrong is not None:
        raise model.TemplateBroken(f"{path}: {wrong}")
    return LOADERS[system](path, document)


def find(folder: Path) -> list[Path]:
    """All templates below a folder."""
    named = {*folder.rglob("*.yml"), *folder.rglob("*.yaml"), *folder.rglob("Containerfile"), *folder.rglob("Dockerfile")}
    return sorted(path for path in named if system_of(path) is not None)


def help_of(root: Path) -> Callable[..., str]:
    """Answers with "" when the script's --help fails."""

    def ask(script: str, *command: str) -> str:
        program = [sys.executable, root / script] if script.endswith(".py") else [root / script]
        answer = run.run([*program, *command, "--help"], cwd=root, timeout=60)
        return answer.text if answer.returncode == 0 else ""

    return ask


def yamllint(paths: Sequence[Path], settings: Path) -> str:
    said = run.run(["yamllint", "-s", "-f", "parsable", "-c", settings, *paths], timeout=120)
    return "" if said.returncode == 0 else said.text + said.stderr.decode(errors="replace")


def shellcheck(templates: Iterable[model.Template]) -> str:
    """Of every script, as a file that is named after the place it stands in."""
    with tempfile.TemporaryDirectory(prefix="pxarbench-templates-") as folder:
        names: dict[str, str] = {}
        for template in templates:
            if template.system == "pre-commit":
                continue
            shell = "sh" if template.system == "containerfile" else "bash"
            for job in template.jobs:
                for step in job.steps:
                    if step.script is None or step.script in names.values():
                        continue
                    path = Path(folder) / f"{len(names)}.sh"
                    # GitHub and GitLab start their shells with -e and pipefail.
                    options = "set -eo pipefail\n" if shell == "bash" else ""
                    path.write_text(f"#!/bin/{shell}\n# {template.path}: {job.name}, {step.name}\n{options}{step.script}\n")
                    names[str(path)] = step.script
        if not names:
            return ""
        said = run.run(["shellcheck", "-S", "style", "-f", "gcc", *names], timeout=300)
        text = said.text + said.stderr.decode(errors="replace")
        for path in names:
            text = text.replace(path, Path(path).read_text().splitlines()[1].lstrip("# "))
        return "" if said.returncode == 0 else text


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="ci/check_templates", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("files", nargs="*", type=Path, help=f"default: all of {FOLDER}")
    args = parser.parse_args(argv)
    root = locate.REPOSITORY
    folder = root / FOLDER
    failed = 0

    def report(name: str, findings: str) -> None:
        nonlocal failed
        failed += bool(findings)
        print(f"{'FAILED ' if findings else 'ok     '}  {name}")
        for line in findings.splitlines():
            print(f"    {line}")

    files = args.files or find(folder)
    broken, templates = [], []
    for path in files:
        system = system_of(path.absolute())
        if system is None:
            broken.append(f"{path}: neither of GitHub, GitLab nor pre-commit, no Containerfile either")
            continue
        try:
            templates.append(load(path, system, folder / "schema"))
        except (model.TemplateBroken, OSError) as error:
            broken.append(str(error))
    if not files:
        broken.append(f"{folder}: no templates found: the check saw nothing")
    report(f"{len(files)} templates are what their schemas say", "\n".join(broken))
    repository = scripts.Repository(root, help_of(root))
    report(
        "scripts, options, exit codes, secrets, expressions, rights, times",
        "\n".join(str(problem) for template in templates for problem in rules.problems(template, repository)),
    )
    both = [[template for template in templates if template.system == system] for system in ("github", "gitlab")]
    if all(both) and not args.files:
        alone = [f"only one of them calls {name}" for name in rules.uncommon(*both)]
        left_out = rules.suites_left_out(both[0], repository)
        report("GitHub and GitLab call the same scripts, all suites among them", "\n".join([*alone, *left_out]))
        report("workflows that wait for others", "\n".join(rules.unheard(both[0])))
    yaml_files = [path for path in files if path.suffix in (".yml", ".yaml")]
    if not shutil.which("yamllint"):
        print("SKIPPED  yamllint: not installed")
    elif yaml_files:
        report("yamllint", yamllint(yaml_files, folder / "yamllint.yml"))
    if not shutil.which("shellcheck"):
        print("SKIPPED  shellcheck of steps: not installed")
    else:
        report("shellcheck of steps", shellcheck(templates))
    print(f"templates: {f'{failed} checks failed' if failed else 'all checks passed'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
