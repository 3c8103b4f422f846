"""The `${{ }}` expressions of GitHub's workflows: as much of the language as our templates use, and no more.

Values are None, bool, float, str and mappings (contexts). What is not known is an error, never an empty text: a misspelled
name must be seen, while GitHub makes nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_-]*)"
    r"|(?P<sign>&&|\|\||==|!=|[!().,*]))"
)
PLACE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)

#: Contexts of which GitHub knows the names; the names below them depend on where an expression stands.
CONTEXTS = ("github", "env", "vars", "job", "steps", "runner", "secrets", "strategy", "matrix", "needs", "inputs")
STATUS = ("success", "failure", "always", "cancelled")
FUNCTIONS = {"hashFiles": (1, 255), "contains": (2, 2), "startsWith": (2, 2), "endsWith": (2, 2), "format": (1, 255)}


class ExpressionBroken(Exception):
    """Not an expression, or not one that is understood here; the text quotes it."""


Value = Any  # None, bool, float, str, or a mapping from names to values


@dataclass(frozen=True)
class Node:
    kind: str  # literal, path, call, not, and, or, ==, !=
    value: Value = None  # of a literal; of a path its names; of a call its name
    parts: tuple[Node, ...] = ()


@dataclass
class Scope:
    """What an expression sees. `functions`: by name, besides those that need nothing (contains, format, ...)."""

    contexts: Mapping[str, Value]
    functions: Mapping[str, Callable[..., Value]] = field(default_factory=dict)
    #: Names below these contexts are optional: GitHub's variables and what an event brings.
    optional: frozenset[str] = frozenset({"vars"})


# ---- reading ----


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if not match:
            raise ExpressionBroken(f"cannot read {text[at:].strip()!r} in {text.strip()!r}")
        at = match.end()
        yield str(match.lastgroup), match.group(str(match.lastgroup))


class _Reader:
    """Recursive descent; `or` binds least, then `and`, comparison, `not`."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.tokens = [*_tokens(text), ("end", "")]
        self.at = 0

    def take(self, *signs: str) -> str | None:
        kind, word = self.tokens[self.at]
        if kind == "sign" and word in signs:
            self.at += 1
            return word
        return None

    def need(self, sign: str) -> None:
        if not self.take(sign):
            raise ExpressionBroken(f"{sign!r} is missing before {self.tokens[self.at][1] or 'the end'!r} in {self.text!r}")

    def whole(self) -> Node:
        node = self.either()
        if self.tokens[self.at][0] != "end":
            raise ExpressionBroken(f"{self.tokens[self.at][1]!r} comes after the end of {self.text!r}")
        return node

    def either(self) -> Node:
        node = self.both()
        while self.take("||"):
            node = Node("or", parts=(node, self.both()))
        return node

    def both(self) -> Node:
        node = self.compared()
        while self.take("&&"):
            node = Node("and", parts=(node, self.compared()))
        return node

    def compared(self) -> Node:
        node = self.single()
        while sign := self.take("==", "!="):
            node = Node(sign, parts=(node, self.single()))
        return node

    def single(self) -> Node:
        if self.take("!"):
            return Node("not", parts=(self.single(),))
        if self.take("("):
            node = self.either()
            self.need(")")
            return node
        kind, word = self.tokens[self.at]
        self.at += 1
        if kind == "text":
            return Node("literal", word[1:-1].replace("''", "'"))
        if kind == "number":
            return Node("literal", float(word))
        if kind != "name":
            raise ExpressionBroken(f"{word or 'the end'!r} where a value was expected in {self.text!r}")
        if word in ("true", "false", "null"):
            return Node("literal", {"true": True, "false": False, "null": None}[word])
        if self.take("("):
            return Node("call", word, self.arguments())
        return Node("path", (word, *self.names()))

    def arguments(self) -> tuple[Node, ...]:
        parts: list[Node] = []
        if self.take(")"):
            return ()
        while True:
            parts.append(self.either())
            if not self.take(","):
                break
        self.need(")")
        return tuple(parts)

    def names(self) -> Iterator[str]:
        while self.take("."):
            kind, word = self.tokens[self.at]
            if kind != "name":
                raise ExpressionBroken(f"a name is missing after '.' in {self.text!r}")
            self.at += 1
            yield word


def parse(text: str) -> Node:
    """One expression, without its `${{ }}`. ExpressionBroken."""
    node = _Reader(text).whole()
    for call in (part for part in walk(node) if part.kind == "call"):
        name, count = str(call.value), len(call.parts)
        least, most = (0, 0) if name in STATUS else FUNCTIONS.get(name, (-1, -1))
        if most < 0:
            raise ExpressionBroken(f"{name}() is no function that is known here, in {text.strip()!r}")
        if not least <= count <= most:
            raise ExpressionBroken(f"{name}() does not take {count} arguments, in {text.strip()!r}")
    for path in (part for part in walk(node) if part.kind == "path"):
        if path.value[0] not in CONTEXTS:
            raise ExpressionBroken(f"{path.value[0]!r} is no context, in {text.strip()!r}")
    return node


def walk(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts:
        yield from walk(part)


def expressions(text: str) -> list[Node]:
    """All expressions in a text. ExpressionBroken: one is not closed, or not understood."""
    rest = PLACE.sub("", text)
    if "${{" in rest:
        raise ExpressionBroken(f"'${{{{' is never closed in {text!r}")
    return [parse(match.group(1)) for match in PLACE.finditer(text)]


# ---- values ----


def truth(value: Value) -> bool:
    """Neither null, false, 0, NaN nor an empty text."""
    return value is not None and value not in (False, 0.0, "") and bool(value == value)


def shown(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)


def _equal(a: Value, b: Value) -> bool:
    """Texts are compared without case, as GitHub does."""
    if isinstance(a, str) and isinstance(b, str):
        return a.lower() == b.lower()
    if type(a) is type(b):
        return bool(a == b)
    return _number(a) == _number(b)


def _number(value: Value) -> float:
    try:
        return 0.0 if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return float("nan")


def _format(pattern: str, *values: Value) -> str:
    return re.sub(r"\{(\d+)\}", lambda match: shown(values[int(match.group(1))]), pattern)


_PURE: Mapping[str, Callable[..., Value]] = {
    "contains": lambda whole, part: shown(part).lower() in shown(whole).lower(),
    "startsWith": lambda whole, part: shown(whole).lower().startswith(shown(part).lower()),
    "endsWith": lambda whole, part: shown(whole).lower().endswith(shown(part).lower()),
    "format": _format,
}


def _look_up(names: Sequence[str], scope: Scope) -> Value:
    value: Value = scope.contexts
    for depth, name in enumerate(names):
        if value is None and depth:
            return None
        if not isinstance(value, Mapping) or name not in value:
            if names[0] in scope.optional and depth:
                return None
            raise ExpressionBroken(f"{'.'.join(names)}: there is no {name!r}")
        value = value[name]
    return value


def evaluate(node: Node, scope: Scope) -> Value:
    """ExpressionBroken: a name or function is not there."""
    if node.kind == "literal":
        return node.value
    if node.kind == "path":
        return _look_up(node.value, scope)
    if node.kind == "call":
        function = scope.functions.get(node.value) or _PURE.get(node.value)
        if function is None:
            raise ExpressionBroken(f"{node.value}() cannot be asked here")
        return function(*(evaluate(part, scope) for part in node.parts))
    first = evaluate(node.parts[0], scope)
    if node.kind == "not":
        return not truth(first)
    if node.kind == "and":
        return evaluate(node.parts[1], scope) if truth(first) else first
    if node.kind == "or":
        return first if truth(first) else evaluate(node.parts[1], scope)
    same = _equal(first, evaluate(node.parts[1], scope))
    return same if node.kind == "==" else not same


def fill(text: str, scope: Scope) -> str:
    """The text with its expressions replaced by what they come to."""
    expressions(text)
    return PLACE.sub(lambda match: shown(evaluate(parse(match.group(1)), scope)), text)


def holds(condition: str | None, scope: Scope) -> bool:
    """Of a step or job. Without a status function in it, what came before must have succeeded."""
    if condition is None:
        node = Node("call", "success")
    else:
        match = PLACE.fullmatch(condition.strip())
        node = parse(match.group(1) if match else condition)
        if not any(part.kind == "call" and part.value in STATUS for part in walk(node)):
            node = Node("and", parts=(Node("call", "success"), node))
    return truth(evaluate(node, scope))
