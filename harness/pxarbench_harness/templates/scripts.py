"""What the shell scripts of templates must keep to. Pure, but for what `Repository` reads and asks.

Two kinds of mistakes matter: something that is not there (a script, an option, a word, a setting), which nobody notices before
the template runs; and a failure that becomes a success on its way, which nobody notices at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import shell
from .shell import Simple

#: The exit code that is no failure: nothing got worse, but not everything could be told.
INCONCLUSIVE = "4"

_OPTION = re.compile(r"--[a-z][a-z-]*|-[A-Za-z](?=$)")
_PLAIN = re.compile(r"[a-z][a-z-]*")
_NUMBERED = re.compile(r"[a-z][a-z0-9-]*")
#: Where the checkout is: what follows is a path of the repository.
_HERE = re.compile(r"^(?:\./|\$PWD/|\$\{?(?:CI_PROJECT_DIR|GITHUB_WORKSPACE)\}?/)+")
_SHELLS = re.compile(r"(?:.*/)?(?:python3?|bash|sh)")
#: Commands that only speak of files, or look at them.
_LOOKING = ("echo", "printf", "[", "[[", "test", "for", "case", "cat", "cd", "mkdir", "cp", "ls", "rm", "git")
#: Of these every plain word is a choice; of the others only the first.
_ALL_CHOOSE = ("ci/test", "ci/gate")
_FIRST_CHOOSES = ("ci/export", "ci/history", "ci/templates/post_comment")
#: Of these the first word has a help of its own.
_COMMANDS = ("ci/history",)
_NOTHING = ("true", ":", "echo", "printf", "cat")
_SECRET = re.compile(r"\w*(?:TOKEN|PASSWORD|SECRET|PRIVATE_KEY)\w*")


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

    def suites(self) -> list[Path]:
        return sorted((self.root / "harness" / "suites").glob("*.py"))


@dataclass(frozen=True)
class Call:
    """Of a script of ours."""

    name: str
    words: tuple[str, ...]  # behind it
    by: str  # the interpreter right before it, or ""


def filled(word: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match.group(1), match.group(0)), word)


def call_of(words: Sequence[str], values: Mapping[str, str]) -> Call | None:
    """`words`: without quotes. None: no script of ours is started."""
    if not words or words[0] in _LOOKING:
        return None
    named = [_HERE.sub("", filled(word, values)) for word in words]
    at = next((n for n, word in enumerate(named) if word.startswith(("ci/", "harness/"))), None)
    if at is None:
        return None
    by = named[at - 1] if at and _SHELLS.fullmatch(named[at - 1]) else ""
    return Call(named[at], tuple(filled(word, values) for word in words[at + 1 :]), by)


def called(script: str, values: Mapping[str, str]) -> set[str]:
    """Names of scripts of ours. Nothing of a script that cannot be read."""
    try:
        commands = shell.simples(script)
    except shell.ShellUnclear:
        return set()
    calls = (call_of(command.bare, values) for command in commands)
    return {call.name for call in calls if call is not None}


# ---- what is not there ----


def _listed(word: str, said: str) -> bool:
    """Whether a help explains the word in a line of its own."""
    return re.search(rf"(?m)^\s*{re.escape(word)}\s{{2,}}\S", said) is not None


def _takes(option: str, said: str) -> tuple[bool, set[str]]:
    """Whether an option has a value, and the values it knows; none: any."""
    flat = re.sub(r"\s+", " ", said)
    match = re.search(rf"(?<![\w-]){re.escape(option)}[ =](?:\{{([^}}]+)\}}|([a-z]\w*(?:\|\w+)+)|[A-Z])", flat)
    if not match:
        return False, set()
    return True, {word.strip() for word in re.split(r"[,|]", match.group(1) or match.group(2) or "") if word.strip()}


def _word_problems(call: Call, said: str, commands_help: str) -> Iterator[str]:
    """`said`: the help; `commands_help`: the one that knows the options."""
    name, choosing = call.name, 0
    words = iter(call.words)
    for word in words:
        option = _OPTION.match(word)
        if option and (word == option.group() or "=" in word):
            if not re.search(rf"(?<![\w-]){re.escape(option.group())}(?![\w-])", commands_help):
                yield f"{name} has no option {option.group()}"
                continue
            has_value, known = _takes(option.group(), commands_help)
            value = word.partition("=")[2] if "=" in word else next(words, "") if has_value else ""
            if known and "$" not in value and value not in known:
                yield f"{name} {option.group()}: there is no {value!r}, only {', '.join(sorted(known))}"
        elif option or word.startswith("--"):
            yield f"{name}: {word!r} is no option"
        elif (name in _ALL_CHOOSE and _PLAIN.fullmatch(word)) or (name in _FIRST_CHOOSES and not choosing):
            choosing += 1
            if "$" not in word and not (_NUMBERED.fullmatch(word) and _listed(word, said)):
                yield f"{name} does not know {word!r}"


def _call_problems(call: Call, repository: Repository) -> Iterator[str]:
    path, name = repository.root / call.name, call.name
    if ".." in name or not path.is_file():
        yield f"{name} is not in the repository"
        return
    if path.suffix == ".py" and not os.access(path, os.X_OK):
        if not call.by:
            return  # an argument of another program, whose words these are
    elif not os.access(path, os.X_OK):
        yield f"{name} is not executable"
        return
    said = repository.help(name)
    if not said:
        yield f"{name} does not answer to --help: is it a program?"
        return
    first = call.words[0] if call.words else ""
    its_own = name in _COMMANDS and _listed(first, said)
    yield from _word_problems(call, said, repository.help(name, first) if its_own else said)


def missing(script: str, values: Mapping[str, str], repository: Repository) -> Iterator[str]:
    """Sentences. `values`: variables that are known to the script, to fill in names of files. ShellUnclear."""
    for command in shell.simples(script):
        words = list(command.bare)
        while words and re.match(r"\w+=", words[0]):
            del words[0]
        for word in command.words:
            for inner in shell.substitutions(word):
                yield from missing(inner, values, repository)
        call = call_of(words, values)
        if call is not None:
            yield from _call_problems(call, repository)
        elif words:
            shell_first = len(words) > 1 and _SHELLS.fullmatch(words[0]) and not words[1].startswith(("-", "$"))
            name = _HERE.sub("", words[1] if shell_first else words[0])
            if (shell_first or "/" in name) and not name.startswith(("/", "$", "~")) and "=" not in name:
                if not (repository.root / name).is_file():
                    yield f"{name} is not in the repository"


def settings(text: str, repository: Repository) -> Iterator[str]:
    """Settings of the long suites that no suite reads."""
    for name in sorted(set(re.findall(r"\bPXB_\w+", text))):
        if not any(re.search(rf"\b{name}\b", suite.read_text(encoding="utf-8")) for suite in repository.suites()):
            yield f"no suite reads {name}"


# ---- failures that become successes ----


def _gives_back(variable: str, later: list[Simple]) -> bool:
    given = (f"${variable}", f"${{{variable}}}")
    return any(command.bare[0] == "exit" and command.bare[1:2] and command.bare[1] in given for command in later)


def _forgiving(then: Simple, later: list[Simple]) -> str:
    """What is wrong with the command behind `||`, or ""."""
    words = then.bare
    kept = re.fullmatch(r"(\w+)=\$\?", words[0]) if len(words) == 1 else None
    if kept:
        variable = kept.group(1)
        if not _gives_back(variable, later):
            return f"its exit code is kept in {variable}, and never given back"
        text = "\n".join(" ".join(command.bare) for command in later)
        asked = re.findall(rf"\$\{{?{variable}\}}? (-\w+|[=!]=?) (\S+)", text)
        if any(found != ("-eq", INCONCLUSIVE) for found in asked):
            return f"only the exit code {INCONCLUSIVE} is no failure"
        if len(re.findall(rf"(?m)^{variable}=", text)) > 1 + len(asked):  # once for being kept
            return f"{variable} becomes another code"
        return ""
    if words[0] in ("exit", "return"):
        return "" if words[1:2] not in (("0",),) else f"`|| {' '.join(words)}` makes a success of a failure"
    if words[0] in ("test", "["):
        return "" if words[1:4] == ("$?", "-eq", INCONCLUSIVE) else f"only the exit code {INCONCLUSIVE} is no failure"
    return f"`|| {' '.join(words)}` makes a success of a failure"


def swallowed(script: str, values: Mapping[str, str], *, pipefail: bool = True) -> Iterator[str]:
    """Ways in which a script of ours may fail and its step does not. `pipefail`: whether the shell has it. ShellUnclear."""
    commands = shell.simples(script)
    ours = any(call_of(command.bare, values) for command in commands)
    for place, tied in shell.chains(commands):
        command, later = commands[place], commands[place + 1 :]
        words = command.bare
        call = call_of(words, values)
        said = call.name if call else words[0]
        if words[0] == "set" and re.search(r"\+\w*e|\+o (errexit|pipefail)", " ".join(words[1:])):
            yield f"`{' '.join(words)}`: failures go unnoticed"
        for word in command.words:
            for inner in shell.substitutions(word):
                alone = len(command.words) == 1 and re.match(r"\w+=", word)
                if not alone and called(inner, values):
                    yield f"the exit code of {', '.join(sorted(called(inner, values)))} is lost in a word of {words[0]}"
                yield from swallowed(inner, values, pipefail=pipefail)
        then = next((commands[at] for at in tied if commands[at].before == "||"), None)
        if call is None:
            if then is not None and command.after == "||" and then.bare[0] in _NOTHING:
                yield f"{said}: `|| {' '.join(then.bare)}` makes a success of a failure"
            elif then is not None and ours and words[0] in shell.CLOSING and (wrong := _forgiving(then, later)):
                yield f"{said} of a group: {wrong}"
            continue
        if command.tested:
            yield f"{call.name} is asked by if, while or !: its failure is an answer, and no failure"
        if command.after == "&":
            yield f"nobody waits for {call.name}"
        if command.before in ("<(", ">("):
            yield f"the exit code of {call.name} is lost in {command.before} )"
        if command.after in ("|", "|&") and not pipefail:
            yield f"{call.name}: the pipe hides its exit code, this shell has no pipefail"
        if then is not None:
            if wrong := _forgiving(then, later):
                yield f"{call.name}: {wrong}"
        elif any(commands[at].before == "&&" for at in tied) and (tied[-1] + 1 < len(commands)):
            yield f"{call.name}: before && a failure ends nothing; give it a line of its own"


# ---- secrets ----


def shown(script: str, secrets: set[str]) -> Iterator[str]:
    """Ways in which a secret gets into a log or a list of processes. ShellUnclear.

    `secrets`: names of variables, besides those that are called so. Only git's credential helper may name one: git asks it, and
    what it answers goes through a pipe.
    """
    for command in shell.simples(script):
        words = command.bare
        text = " ".join(command.words)
        if "credential.helper" not in words:
            for name in sorted({name for name in re.findall(r"\$\{?(\w+)", text) if name in secrets or _SECRET.fullmatch(name)}):
                yield f"{name} in a command line shows in logs and lists of processes: scripts take it from the environment"
        elif any("$" in word and not word.startswith("'") for word in command.words):
            yield "the credential helper is filled in before git asks: single quotes"
        traced = words[0] == "set" and re.search(r"-\w*x|-o xtrace", " ".join(words[1:]))
        traced = traced or (_SHELLS.fullmatch(words[0]) and "-x" in words)
        if traced or words[0] == "printenv" or words in (("env",), ("set",), ("export",), ("export", "-p")) or (
            words[0] in ("declare", "typeset") and len(words) == 2 and words[1] in ("-p", "-x", "-px")
        ):  # fmt: skip
            yield f"`{' '.join(words)}` shows all variables, secrets too"
