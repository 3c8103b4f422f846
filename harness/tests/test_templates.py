"""The templates of ci/templates, and the check of them: each rule is shown a template that breaks it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pxarbench_harness import locate, run
from pxarbench_harness.templates import check, expressions, model, rules, scripts
from pxarbench_harness.templates.expressions import ExpressionBroken, Scope

if not importlib.util.find_spec("yaml"):
    pytest.skip("python3-yaml is not installed", allow_module_level=True)

FOLDER = locate.REPOSITORY / check.FOLDER
SCHEMAS = FOLDER / "schema"


def test_the_templates_are_clean() -> None:
    said = run.run([locate.REPOSITORY / "ci/check_templates"], timeout=120)
    assert said.returncode == 0, said.text
    assert "all checks passed" in said.text


def test_all_files_are_looked_at() -> None:
    """A template that no rule sees would be one that nobody checks."""
    files = {path for path in FOLDER.rglob("*") if path.suffix in (".yml", ".yaml") or "file" in path.name}
    assert files - set(check.find(FOLDER)) == {FOLDER / "yamllint.yml"}
    assert {check.system_of(path) for path in check.find(FOLDER)} == set(model.SYSTEMS)


# ---- rules: one change to a good template, one sentence ----

GITHUB = """name: x
on:
  pull_request:
permissions:
  contents: read
defaults:
  run:
    shell: bash
jobs:
  one:
    runs-on: ubuntu-24.04
    timeout-minutes: 10
    container:
      image: ${{ vars.IMAGE || 'debian:bookworm-slim' }}
      options: --shm-size=4g
    strategy:
      matrix:
        suite: [a, b]
    steps:
      - name: Checkout
        uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2
        with:
          persist-credentials: false
      - name: Work
        id: work
        env:
          SUITE: ${{ matrix.suite }}
        run: |
          code=0
          ci/tool --speed 3 "$SUITE" || code=$?
          if [ "$code" -eq 4 ]; then
            code=0
          fi
          exit "$code"
      - name: After
        if: ${{ !cancelled() && hashFiles('out') != '' }}
        run: PXB_SETTING=1 ci/gate --speed 2 >>"$GITHUB_STEP_SUMMARY"
"""

GITLAB = """workflow:
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
stages: [check]
.base:
  image: debian:bookworm-slim
  stage: check
  before_script: [ci/tool, ci/gate]
one:
  extends: .base
  timeout: 10 minutes
  rules:
    - if: $CI_PIPELINE_SOURCE != "schedule"
  script:
    - ci/tool --speed 3
  artifacts:
    paths: [out]
"""

HOOKS = """minimum_pre_commit_version: 3.2.0
repos:
  - repo: local
    hooks:
      - id: tool
        name: the tool
        entry: ci/tool --speed 1
        language: script
        pass_filenames: false
        stages: [pre-commit]
"""

CONTAINER = """# comment
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${BASE}
COPY ci/tool /tool
RUN apt-get update \\
    && rm -rf /var/lib/apt/lists/*
"""


HELP = """usage: ci/tool [--speed N] [--speedy] [--kind slow|quick] [--way {up,down}] [-o FILE]

  bytes   what is compared
  --speedy   Quick
"""


@pytest.fixture
def repository(tmp_path: Path) -> scripts.Repository:
    (tmp_path / "ci").mkdir()
    (tmp_path / "harness/suites").mkdir(parents=True)
    (tmp_path / "harness/suites/regress_x.py").write_text("os.environ['PXB_SETTING']\n")
    (tmp_path / "ci/tool").write_text("#!/bin/sh\n")
    (tmp_path / "ci/tool").chmod(0o755)
    shutil.copy(tmp_path / "ci/tool", tmp_path / "ci/gate")
    return scripts.Repository(tmp_path, lambda *words: HELP)


def judged(text: str, name: str, repository: scripts.Repository) -> list[str]:
    """What schema and rules say, without the path."""
    path = repository.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    try:
        template = check.load(path, str(check.system_of(path)), SCHEMAS)
    except model.TemplateBroken as error:
        return [str(error).removeprefix(f"{path}")]
    return [str(problem).removeprefix(f"{path}: ") for problem in rules.problems(template, repository)]


@pytest.mark.parametrize(
    "name,text",
    [("github/x.yml", GITHUB), ("gitlab/x.yml", GITLAB), ("pre-commit-config.yaml", HOOKS), ("Containerfile", CONTAINER)],
    ids=model.SYSTEMS[:2] + ("pre-commit", "containerfile"),
)
def test_a_good_template_has_no_problems(name: str, text: str, repository: scripts.Repository) -> None:
    assert judged(text, name, repository) == []


ANOTHER_PIN = f"""- name: Again
        uses: actions/checkout@{'0' * 40} # v4.2.3
        with:
          persist-credentials: false
      - name: After
"""


@pytest.mark.parametrize(
    "old,new,said",
    [
        ("ci/tool --speed 3", "ci/tol --speed 3", "ci/tol is not in the repository"),
        ("ci/tool --speed 3", "ci/tool --sped 3", "ci/tool has no option --sped"),
        ("ci/tool --speed 3", "cat x | ci/tool --spee=3", "ci/tool has no option --spee"),
        ("ci/tool --speed 3", "./ci/tol --speed 3", "ci/tol is not in the repository"),
        ("ci/tool --speed 3", '"$PWD/ci/tol" --speed 3', "ci/tol is not in the repository"),
        ("ci/tool --speed 3", "tools/tol --speed 3", "tools/tol is not in the repository"),
        ("ci/tool --speed 3", "python3 tol.py", "tol.py is not in the repository"),
        ("ci/tool --speed 3", "bash tol.sh", "tol.sh is not in the repository"),
        ("ci/tool --speed 3", "x=$(ci/tol)", "ci/tol is not in the repository"),
        ("ci/tool --speed 3", "harness/../ci/tool --speed 3", "is not in the repository"),
        ("ci/tool --speed 3", "ci/tool -p 3", "ci/tool has no option -p"),
        ("ci/tool --speed 3", "ci/tool --kind qick", "--kind: there is no 'qick', only quick, slow"),
        ("ci/tool --speed 3", "ci/tool --way=left", "--way: there is no 'left', only down, up"),
        ("ci/tool --speed 3", 'ci/tool --kind "$SUITE"', "--kind: there is no 'a'"),
        ("ci/tool --speed 3", "ci/gate --speed 3 byets", "ci/gate does not know 'byets'"),
        ("ci/tool --speed 3", "ci/gate bytes compared", "ci/gate does not know 'compared'"),
        ("ci/tool --speed 3", "cat <<EOF", "cannot read"),
        ("PXB_SETTING", "PXB_SETING", "no suite reads PXB_SETING"),
        # Failures that become successes.
        ("|| code=$?", "|| true", "makes a success of a failure"),
        ("|| code=$?", "||\n            :", "makes a success of a failure"),
        ("|| code=$?", "|| echo bad", "makes a success of a failure"),
        ("|| code=$?", "|| exit 0", "makes a success of a failure"),
        ("|| code=$?", "|| test $? -le 4", "only the exit code 4 is no failure"),
        ("|| code=$?", "|| [ $? -eq 2 ]", "only the exit code 4 is no failure"),
        ('          exit "$code"\n', "", "kept in code, and never given back"),
        ('"$code" -eq 4', '"$code" -ne 1', "only the exit code 4 is no failure"),
        ("          exit", "          code=0\n          exit", "code becomes another code"),
        ("ci/tool --speed 3", "set +e\n          ci/tool --speed 3", "`set +e`: failures go unnoticed"),
        ("ci/tool --speed 3", "set +o pipefail\n          ci/tool --speed 3", "failures go unnoticed"),
        ("ci/tool --speed 3", "( ci/tool ) || true\n          ci/tool --speed 3", "`|| true` makes a success"),
        ("ci/tool --speed 3", "{ ci/tool; } || :\n          ci/tool --speed 3", "`|| :` makes a success"),
        ("ci/tool --speed 3", "ci/tool --speed 3 &\n          ci/tool", "nobody waits for ci/tool"),
        ("ci/tool --speed 3", "if ci/tool; then exit 0; fi\n          ci/tool", "asked by if, while or !"),
        ("ci/tool --speed 3", "! ci/tool\n          ci/tool", "asked by if, while or !"),
        ("ci/tool --speed 3", "ci/tool && echo ok\n          ci/tool", "before && a failure ends nothing"),
        ("ci/tool --speed 3", 'echo "$(ci/tool)"\n          ci/tool', "the exit code of ci/tool is lost"),
        ("ci/tool --speed 3", "cat <(ci/tool)\n          ci/tool", "the exit code of ci/tool is lost"),
        ("ci/tool --speed 3", "cmake --build x || true\n          ci/tool", "cmake: `|| true` makes a success"),
        ("- name: After\n", "- name: After\n        continue-on-error: true\n", "continue-on-error: what it finds would stop"),
        ("    container:", "    continue-on-error: true\n    container:", "continue-on-error: what it finds would stop"),
        ("defaults:\n  run:\n    shell: bash\n", "", "'defaults' is a required property"),
        ("    shell: bash\n", "    working-directory: out\n", "'shell' is a required property"),
        # Secrets.
        ("SUITE: ${{ matrix.suite }}", "SUITE: ${{ github.token }}", "a token for a pull request's code"),
        ("SUITE: ${{ matrix.suite }}", "SUITE: ${{ secrets.GITHUB_TOKEN }}", "SUITE in a command line shows"),
        ("jobs:\n", "env:\n  A: ${{ github.token }}\njobs:\n", "a token that all steps of all jobs get"),
        ("    container:", "    env:\n      A: ${{ github.token }}\n    container:", "a token that all steps get"),
        ("ci/tool --speed 3", 'echo "$MY_PASSWORD"\n          ci/tool', "MY_PASSWORD in a command line shows"),
        ("ci/tool --speed 3", "set -x\n          ci/tool", "`set -x` shows all variables"),
        ("ci/tool --speed 3", "bash -x ci/tool\n          ci/tool", "shows all variables"),
        ("ci/tool --speed 3", "env\n          ci/tool", "`env` shows all variables"),
        ("ci/tool --speed 3", "printenv | sort\n          ci/tool", "`printenv` shows all variables"),
        ("ci/tool --speed 3", 'git config credential.helper "!echo $TOKEN"\n          ci/tool', "before git asks: single quotes"),
        # Actions and images.
        ("persist-credentials: false", "persist-credentials: false\n          fetch-deep: 0", "fetch-deep does is not known"),
        ("actions/checkout@", "somebody/checkout@", "somebody/checkout is not known here"),
        ("- name: After\n", ANOTHER_PIN, "actions/checkout is another one than above, v4.2.2"),
        ("'debian:bookworm-slim'", "'debian'", "image debian: another one every day"),
        ("'debian:bookworm-slim'", "'registry.example:5000/debian'", "another one every day"),
        ("'debian:bookworm-slim'", "'debian:latest'", "image debian:latest: another one every day"),
        ("${{ matrix.suite }}", "${{ matrix.siute }}", "there is no matrix.siute here"),
        ("${{ matrix.suite }}", "${{ github.evnt.x }}", "there is no github.evnt here"),
        ("${{ matrix.suite }}", "${{ steps.after.outcome }}", "there is no steps.after here"),
        ("${{ matrix.suite }}", "${{ matrix.suite", "is never closed"),
        ("hashFiles('out')", "hashFile('out')", "hashFile() is no function"),
        ('"$SUITE"', "${{ matrix.suite }}", "becomes program text"),
        ("!cancelled()", "always()", "use !cancelled()"),
        ("persist-credentials: false", "fetch-depth: 0", "persist-credentials: false is missing"),
        (" # v4.2.2", "", "the version is missing"),
        (" # v4.2.2", " # v4", "the version is missing"),
        ("@11bd71901bbe5b1630ceea73d27597364c9af683", "@v4", "does not match"),
        ("timeout-minutes: 10", "timeout-minutes: 11", "may take 11 minutes"),
        ("    timeout-minutes: 10\n", "", "'timeout-minutes' is a required property"),
        ("--shm-size=4g", "--cpus=2", "--shm-size is missing"),
        ("contents: read", "contents: write", "rights to write"),
        ("    container:", "    permissions:\n      pull-requests: write\n    container:", "with a right to write"),
        ("    container:", "    needs: two\n    container:", "needs two, which is no job"),
        ("runs-on:", "run-on:", "'run-on' was unexpected"),
        ("  contents: read", "  contents: read\n  contents: none", "'contents' comes twice"),
        ("  pull_request:", "  pull_requests:", "'pull_requests' was unexpected"),
        ("id: work\n", "id: work\n        uses: a/b@11bd71901bbe5b1630ceea73d27597364c9af683\n", "is valid under each of"),
    ],
)
def test_what_is_wrong_in_a_workflow_is_named(old: str, new: str, said: str, repository: scripts.Repository) -> None:
    assert old in GITHUB
    problems = judged(GITHUB.replace(old, new, 1), "github/x.yml", repository)
    assert len(problems) >= 1 and said in "\n".join(problems), problems


@pytest.mark.parametrize(
    "old,new,said",
    [
        ("extends: .base", "extends: .bas", ".bas: there is no such job"),
        (".base:", ".base:\n  extends: .base", "a circle"),
        ("stage: check", "stage: chek", "stage 'chek' is none of check"),
        ("timeout: 10 minutes", "timeout: 1 hour 5 minutes", "may take 65 minutes"),
        ("  timeout: 10 minutes\n", "", "has no timeout"),
        ("  script:\n    - ci/tool --speed 3\n", "", "has no script"),
        ("paths: [out]", "paths: [/tmp/out]", "/tmp/out is outside"),
        ("--speed 3", "--slow", "has no option --slow"),
        ("before_script: [ci/tool", "before_script: [ci/toll", "ci/toll is not in the repository"),
        ("  artifacts:", "  needs: [{job: two}]\n  artifacts:", "needs two, which is no job"),
        ("  artifacts:", "  retries: 2\n  artifacts:", "'retries' was unexpected"),
        ("  extends: .base\n", "  stage: check\n", "is extended by nothing"),
        ("  image: debian:bookworm-slim\n", "", "has no image"),
        ("debian:bookworm-slim", "debian:latest", "another one every day"),
        ("- ci/tool --speed 3", "- ci/gate bytes\n  allow_failure: true", "only the exit code 4 is no failure"),
        ("- ci/tool --speed 3", "- ci/gate bytes\n  allow_failure:\n    exit_codes: [4, 2]", "only the exit code 4 is no failure"),
        ("- ci/tool --speed 3", "- ci/tool --speed 3 || true", "makes a success of a failure"),
        ("- ci/tool --speed 3", "- ci/tool --speed 3 && ci/tool\n    - ci/tool", "before && a failure ends nothing"),
        ("- ci/tool --speed 3", '- "curl -H PRIVATE-TOKEN:$PXARBENCH_TOKEN x"', "PXARBENCH_TOKEN in a command line shows"),
    ],
)
def test_what_is_wrong_in_a_pipeline_is_named(old: str, new: str, said: str, repository: scripts.Repository) -> None:
    assert old in GITLAB
    problems = judged(GITLAB.replace(old, new, 1), "gitlab/x.yml", repository)
    assert len(problems) >= 1 and said in "\n".join(problems), problems


def test_what_is_wrong_in_hooks_and_containers_is_named(repository: scripts.Repository) -> None:
    for text, name, old, new, said in (
        (HOOKS, "pre-commit-config.yaml", "ci/tool", "ci/toll", "ci/toll is not in the repository"),
        (HOOKS, "pre-commit-config.yaml", "repo: local", "repo: https://example.invalid/x", "'local' was expected"),
        (HOOKS, "pre-commit-config.yaml", "[pre-commit]", "[commit]", "'commit' is not one of"),
        (HOOKS, "pre-commit-config.yaml", "--speed 1", "--speed 1 || true", "which no shell reads"),
        (CONTAINER, "Containerfile", "update", "update;", "apt-get: only && hands"),
        (CONTAINER, "Containerfile", "update", "update | tail", "apt-get: only && hands its failure on"),
        (CONTAINER, "Containerfile", "ci/tool ", "ci/toll ", "ci/toll is not in the repository"),
        (CONTAINER, "Containerfile", ":bookworm-slim", "", "has no tag"),
        (CONTAINER, "Containerfile", " \\\n    && rm -rf /var/lib/apt/lists/*", "", "package lists stay"),
        (CONTAINER, "Containerfile", "COPY", "ADD", "'ADD' is no instruction"),
        (CONTAINER, "Containerfile", "FROM ${BASE}\n", "", "no FROM"),
        (CONTAINER, "Containerfile", "COPY", "FROM debian:bookworm\nCOPY", "more than one FROM"),
        (CONTAINER, "Containerfile", "lists/*\n", "lists/* \\", "ends in the middle"),
    ):
        assert old in text
        problems = judged(text.replace(old, new, 1), name, repository)
        assert said in "\n".join(problems), (old, problems)


def test_an_option_must_be_a_whole_word_of_the_help(repository: scripts.Repository) -> None:
    assert list(scripts.missing("ci/tool --speedy && ci/tool --speed=1", {}, repository)) == []
    assert list(scripts.missing("ci/tool --spe", {}, repository)) == ["ci/tool has no option --spe"]
    (repository.root / "ci/tool").chmod(0o644)
    assert list(scripts.missing("ci/tool", {}, repository)) == ["ci/tool is not executable"]


def test_words_that_choose_are_looked_up(repository: scripts.Repository) -> None:
    for name in ("ci/export", "ci/history"):
        shutil.copy(repository.root / "ci/tool", repository.root / name)
    asked: list[tuple[str, ...]] = []

    def help_of(*words: str) -> str:
        asked.append(words)
        return "  append   a line\n  junit   XML\n" if len(words) == 1 else "--branch NAME"

    other = scripts.Repository(repository.root, help_of)
    assert list(scripts.missing("ci/export junit x\nci/history append --branch y", {}, other)) == []
    assert asked == [("ci/export",), ("ci/history",), ("ci/history", "append")]
    assert list(scripts.missing("ci/export jnit x", {}, other)) == ["ci/export does not know 'jnit'"]
    assert list(scripts.missing("ci/history append --branc y", {}, other)) == ["ci/history has no option --branc"]


def test_names_with_variables_are_filled_in(repository: scripts.Repository) -> None:
    script = 'python3 -m pytest "harness/suites/$SUITE.py" --anything'
    assert list(scripts.missing(script, {"SUITE": "regress_x"}, repository)) == []
    assert list(scripts.missing(script, {"SUITE": "regress_y"}, repository)) == [
        "harness/suites/regress_y.py is not in the repository"
    ]


def test_a_program_in_python_is_asked_what_it_knows(repository: scripts.Repository) -> None:
    """Else its words are those of whoever reads the file: pytest's, above."""
    assert list(scripts.missing("python3 harness/suites/regress_x.py --speed 3", {}, repository)) == []
    assert list(scripts.missing("/usr/bin/python3 harness/suites/regress_x.py --sped 3", {}, repository)) == [
        "harness/suites/regress_x.py has no option --sped"
    ]
    silent = scripts.Repository(repository.root, lambda *words: "")
    assert "is it a program?" in "".join(scripts.missing("python3 harness/suites/regress_x.py", {}, silent))


def loaded_into(repository: scripts.Repository, text: str, name: str) -> model.Template:
    path = repository.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return check.load(path, str(check.system_of(path)), SCHEMAS)


def test_a_suite_that_no_job_runs_is_named(repository: scripts.Repository) -> None:
    def left_out(text: str) -> list[str]:
        return rules.suites_left_out([loaded_into(repository, text, "github/x.yml")], repository)

    assert left_out(GITHUB) == ["no job runs harness/suites/regress_x.py"]
    assert left_out(GITHUB.replace("ci/tool --speed 3", 'python3 -m pytest "harness/suites/regress_x.py"')) == []


def test_a_workflow_that_waits_for_nothing_is_named(repository: scripts.Repository) -> None:
    """Renaming one would silence the other for good."""
    waiting = GITHUB.replace("  pull_request:\n", "  workflow_run:\n    workflows: [x]\n    types: [completed]\n")
    one = loaded_into(repository, GITHUB, "github/x.yml")
    other = loaded_into(repository, waiting.replace("name: x\n", "name: y\n", 1), "github/y.yml")
    assert rules.unheard([one, other]) == []
    assert rules.unheard([other]) == ["no workflow is called 'x': what waits for it never runs"]


def test_scripts_of_one_system_only_are_named(repository: scripts.Repository) -> None:
    def loaded(text: str, name: str) -> model.Template:
        return loaded_into(repository, text, name)

    one = loaded(GITHUB, "github/x.yml")
    assert rules.uncommon([one], [loaded(GITLAB, "gitlab/x.yml")]) == []
    other = loaded(GITLAB.replace("ci/tool --speed", "ci/other --speed"), "gitlab/y.yml")
    assert rules.uncommon([one], [other]) == ["ci/other"]


def test_shellcheck_and_yamllint_see_the_steps(repository: scripts.Repository) -> None:
    path = repository.root / "github" / "x.yml"
    path.parent.mkdir()
    path.write_text(GITHUB.replace('"$SUITE"', "$SUITE").replace("matrix:", "matrix:   "))
    template = check.load(path, "github", SCHEMAS)
    if shutil.which("shellcheck"):
        assert "Work" in check.shellcheck([template]) and "SC2086" in check.shellcheck([template])
    if shutil.which("yamllint"):
        assert "trailing" in check.yamllint([path], FOLDER / "yamllint.yml")


def test_the_command_ends_with_1_and_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "github" / "x.yml"
    wrong.parent.mkdir()
    wrong.write_text(GITHUB.replace("jobs:", "job:"))
    assert check.main([str(wrong)]) == 1
    assert f"{wrong}: top: " in capsys.readouterr().out
    (tmp_path / "notes.txt").write_text("x")
    assert check.main([str(tmp_path / "notes.txt")]) == 1
    wrong.write_text("on: [")
    assert check.main([str(wrong)]) == 1


@pytest.mark.parametrize("name", sorted(check.SCHEMAS.values()))
def test_schemas_are_schemas_and_closed(name: str) -> None:
    """An object that takes any key would let every misspelling through."""
    schema = json.loads((SCHEMAS / name).read_text())
    assert check.schema_problem(None, schema) is not None

    def objects(node: object, place: str = "") -> list[str]:
        found = []
        if isinstance(node, dict):
            if node.get("type") == "object" and "additionalProperties" not in node:
                found.append(place)
            found += [one for key, value in node.items() for one in objects(value, f"{place}/{key}")]
        if isinstance(node, list):
            found += [one for value in node for one in objects(value, place)]
        return found

    assert objects(schema) == []


# ---- reading ----


def test_on_is_a_word_and_yes_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_text("on: yes\na: true\nb: 'false'\nc: 5\n")
    assert model.load_yaml(path) == {"on": "yes", "a": True, "b": "false", "c": 5}


def test_a_matrix_becomes_jobs() -> None:
    assert model.github_matrix({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]  # fmt: skip
    assert model.github_matrix({"include": [{"name": "p", "n": 1}]}) == [{"name": "p", "n": 1}]
    job = {"parallel": {"matrix": [{"A": ["1", "2"], "B": "x"}]}}
    assert model.gitlab_matrix(job) == [{"A": "1", "B": "x"}, {"A": "2", "B": "x"}]


def test_extends_merges_mappings_and_replaces_lists() -> None:
    document = {
        ".far": {"variables": {"A": "1", "B": "1"}, "script": ["far"], "image": "i"},
        ".near": {"extends": ".far", "variables": {"B": "2"}},
        "job": {"extends": ".near", "script": ["own"]},
    }
    assert model.extended(document, "job") == {"variables": {"A": "1", "B": "2"}, "script": ["own"], "image": "i"}


# ---- expressions ----

SCOPE = Scope(
    {"github": {"event": {"n": 3.0, "s": "Main"}, "none": None}, "vars": {}, "env": {"A": "x"}},
    {"success": lambda: True, "failure": lambda: False, "always": lambda: True, "cancelled": lambda: False},
)


@pytest.mark.parametrize(
    "text,value",
    [
        ("'a'", "a"),
        ("'it''s'", "it's"),
        ("1 == 1.0", True),
        ("github.event.s == 'main'", True),
        ("github.event.s != 'main'", False),
        ("vars.IMAGE || 'debian'", "debian"),
        ("github.none && 'x' || 'y'", "y"),
        ("!github.none && (false || true)", True),
        ("contains('abc', 'B')", True),
        ("startsWith('abc', 'ab') && endsWith('abc', 'bc')", True),
        ("format('{1}-{0}', 'a', 2)", "2-a"),
        ("'' == null", True),
        ("'3' == github.event.n", True),
        ("'a' == 1", False),
        ("true == '1'", True),
    ],
)
def test_expressions(text: str, value: object) -> None:
    assert expressions.evaluate(expressions.parse(text), SCOPE) == value


@pytest.mark.parametrize(
    "text", ["", "'a", "a..b", "github.", "1 +", "(true", "true)", "f()", "nope.x", "hashFiles()", "a b", "&&", "${{"]
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionBroken):
        expressions.parse(text)


@pytest.mark.parametrize("text", ["github.nope", "env.B", "github.event.n.x", "hashFiles('x')"])
def test_what_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(ExpressionBroken):
        expressions.evaluate(expressions.parse(text), SCOPE)


def test_texts_are_filled() -> None:
    assert expressions.fill("a ${{ env.A }}${{ 1 }} ${{ true }}${{ null }}", SCOPE) == "a x1 true"


@pytest.mark.parametrize(
    "condition,after_failure,after_success",
    [
        (None, False, True),
        ("${{ env.A == 'x' }}", False, True),
        ("${{ env.A == 'y' }}", False, False),
        ("${{ !cancelled() }}", True, True),
        ("${{ !cancelled() && env.A == 'y' }}", False, False),
        ("failure()", True, False),
        ("always()", True, True),
    ],
)
def test_conditions_look_at_what_came_before(condition: str | None, after_failure: bool, after_success: bool) -> None:
    def scope(succeeded: bool) -> Scope:
        functions: dict[str, Callable[..., object]] = dict(SCOPE.functions)
        functions |= {"success": lambda: succeeded, "failure": lambda: not succeeded}
        return Scope(SCOPE.contexts, functions)

    assert expressions.holds(condition, scope(False)) is after_failure
    assert expressions.holds(condition, scope(True)) is after_success
