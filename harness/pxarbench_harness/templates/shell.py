"""Shell scripts of templates, taken apart as far as the rules need it: simple commands, and what stands around each.

No shell: what our templates do not use, here-documents above all, is refused (ShellUnclear) and not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


class ShellUnclear(Exception):
    """The script cannot be taken apart; the text quotes where."""


_TOKEN = re.compile(
    r"""(?P<gap>[ \t]+|\\\n)
    | (?P<comment>\#[^\n]*)
    | (?P<redirect>\d*(?:<<<|<<|>>|>&|<&|<(?!\()|>(?!\()) | &>>?)
    | (?P<operator>\|\||&&|\|&|;;|<\(|>\(|[();|&\n])
    | (?P<word>(?: '[^']*' | "(?:\\.|[^"\\])*" | \\. | \$\((?:[^()]|\([^()]*\))*\) | \$\{[^}]*\} | [^\s'"\\();<>|&] )+)""",
    re.VERBOSE | re.DOTALL,
)
#: Words in front of a command that make its exit code an answer.
_TESTING = ("if", "elif", "while", "until", "!")
_JOINING = ("then", "do", "else", "{", "time")
#: Ends of groups of commands.
CLOSING = (")", "}", "fi", "done", "esac")


@dataclass(frozen=True)
class Simple:
    """One command, or the end of a group of them."""

    words: tuple[str, ...]  # as they are written, with their quotes
    before: str  # the operator in front: "", "|", "&&", "||", "(", "<(", ...; "": begin of a line
    after: str  # the one behind; "" and "\n": end of a line
    tested: bool  # by if, while, until or !

    @property
    def bare(self) -> tuple[str, ...]:
        return tuple(bare(word) for word in self.words)


def bare(word: str) -> str:
    """Without quotes; `$` stays what it is."""
    return re.sub(r"'([^']*)'|\"((?:\\.|[^\"\\])*)\"|\\(.)", lambda m: next(part for part in m.groups() if part is not None), word)


def substitutions(word: str) -> list[str]:
    """Scripts in `$( )` and in backquotes, outside of single quotes."""
    seen = re.sub(r"'[^']*'", "", word) if '"' not in word else word
    return re.findall(r"\$\(((?:[^()]|\([^()]*\))*)\)", seen) + re.findall(r"`([^`]*)`", seen)


def _tokens(script: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(script):
        match = _TOKEN.match(script, at)
        if not match or match.group() == "<<":
            raise ShellUnclear(f"cannot read {script[at : at + 30].splitlines()[0]!r}")
        at = match.end()
        kind = str(match.lastgroup)
        if kind not in ("gap", "comment"):
            yield kind, match.group()
    yield "operator", "\n"


def simples(script: str) -> list[Simple]:
    """All commands, in order. ShellUnclear."""
    found: list[Simple] = []
    words: list[str] = []
    before, tested, to_file = "", False, False
    for kind, text in _tokens(script):
        if kind == "redirect":
            to_file = True
        elif kind == "word":
            if to_file:
                to_file = False
            elif not words and text in _TESTING:
                tested = True
            elif words or text not in _JOINING:
                words.append(text)
            elif text == "{" and before in ("||", "&&", "|"):
                words.append(text)  # a group is what follows an operator, not its first command
        elif text == "\n" and not words and before in ("||", "&&", "|"):
            continue  # goes on in the next line
        else:
            to_file = False
            if words:
                found.append(Simple(tuple(words), before, text, tested))
            words = [")"] if text == ")" else []
            before, tested = "" if text in (";", "\n", ";;") else text, False
    return found


def chains(commands: list[Simple]) -> Iterator[tuple[int, list[int]]]:
    """Of each command its place, and the places of those that && and || tie to it, up to the end of its line."""
    for place in range(len(commands)):
        tied, at = [], place
        while at + 1 < len(commands) and commands[at].after in ("&&", "||", "|", "|&"):
            at += 1
            tied.append(at)
        yield place, tied
