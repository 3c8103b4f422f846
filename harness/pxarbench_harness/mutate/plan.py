"""What to change: the words of the command line, and the choice of files.

    none
    OP:RATE%[:LAYOUT][:small|:large][:bytes=N][:seed=N]     edit:1%:uniform, append:0.1%:zipf:bytes=4096
    M>M>M      a chain: a backup after each step but the last; the last step is what is measured
    M*K        K generations of the last step, with seeds seed, seed + 1, ... (without a seed: 1, 2, ...)

Words in any order behind the rate; `text` has them in the order above. Choice: n candidates (of most operations: all
regular files with one link), k = max(1, round(n * RATE / 100)) of them by the rule of the layout (layouts.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from .layouts import LAYOUTS, choose_k, count
from .operation import OPERATIONS

SIZES = ("small", "large")
_RATE = re.compile(r"\d+(?:\.\d+)?%")
_MOST_BYTES = 1 << 40
_MOST_GENERATIONS = 100_000


@dataclass(frozen=True)
class Mutation:
    operation: str
    rate: str = ""  # percent, as written: "0.1"
    layout: str = ""
    seed: int | None = None
    size: str = ""  # of SIZES, or "" for all
    bytes: int | None = None  # size of the change; None: the operation's own
    argument: str = ""  # of an operation that takes something else than a rate

    @property
    def text(self) -> str:
        """As the command line takes it; equal for equal mutations."""
        if self.argument:
            return f"{self.operation}:{self.argument}"
        parts = [self.operation, *([f"{self.rate}%", self.layout] if self.rate else [])]
        parts += [self.size] if self.size else []
        parts += [f"bytes={self.bytes}"] if self.bytes is not None else []
        parts += [f"seed={self.seed}"] if self.seed is not None else []
        return ":".join(parts)

    @property
    def words(self) -> str:
        """As a part of a case id or a file's name: a-z, 0-9 and - only."""
        if self.argument:
            return f"{self.operation}-{_plain(self.argument)}"
        parts = [f"{self.operation}{self.rate.replace('.', 'p')}pct", self.layout] if self.rate else [self.operation]
        parts += [self.size] if self.size else []
        parts += [f"bytes{self.bytes}"] if self.bytes is not None else []
        parts += [f"seed{self.seed}"] if self.seed is not None else []
        return "-".join(parts)


def _plain(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


@dataclass(frozen=True)
class Chain:
    """Steps one after the other; the last is what is measured, in as many generations."""

    steps: tuple[Mutation, ...]
    generations: int = 1

    @property
    def measured(self) -> tuple[Mutation, ...]:
        """The last step once per generation, each with a seed of its own when there are several."""
        last = self.steps[-1]
        if self.generations == 1:
            return (last,)
        first = 1 if last.seed is None else last.seed
        return tuple(replace(last, seed=first + n) for n in range(self.generations))

    @property
    def text(self) -> str:
        text = ">".join(step.text for step in self.steps)
        return text if self.generations == 1 else f"{text}*{self.generations}"

    @property
    def words(self) -> str:
        words = "-then-".join(step.words for step in self.steps)
        return words if self.generations == 1 else f"{words}-x{self.generations}"


def _expected(text: str, why: str = "") -> ValueError:
    others = ", ".join(sorted(name for name in OPERATIONS if name not in ("none", "touch", "edit")))
    return ValueError(
        f"mutation {text!r}: {why + '; ' if why else ''}expected none, touch:P% or edit:P% (0.01 <= P <= 100), "
        f"optionally followed by :LAYOUT ({', '.join(LAYOUTS)}), :small or :large, :bytes=N and :seed=N; "
        f"other operations: {others}"
    )


def parse(text: str) -> Mutation:
    """One step. ValueError says what is expected."""
    word, _, rest = text.partition(":")
    operation = OPERATIONS.get(word)
    if operation is None:
        raise _expected(text, f"{word!r} is no operation" if word else "")
    if operation.grammar == "argument":
        if not rest:
            raise ValueError(f"mutation {text!r}: expected {word}:{operation.needs}")
        return Mutation(word, argument=rest)
    parts = rest.split(":") if rest else []
    rate = layout = size = ""
    numbers: dict[str, int] = {}
    if operation.grammar == "rate":
        if not parts or not _RATE.fullmatch(parts[0]):
            raise _expected(text, f"{word} needs a rate")
        rate = parts.pop(0)[:-1]
        if not Fraction(1, 100) <= Fraction(rate) <= 100:
            raise _expected(text, f"{rate} % is no rate")
    elif parts:
        raise _expected(text, f"{word} stands alone")
    for part in parts:
        name, equals, number = part.partition("=")
        if part in LAYOUTS and not layout:
            layout = part
        elif part in SIZES and not size:
            size = part
        elif equals and name in ("bytes", "seed") and name not in numbers and re.fullmatch("[0-9]{1,15}", number):
            numbers[name] = int(number)
        else:
            raise _expected(text, f"{part!r} is not understood")
    if not 1 <= numbers.get("bytes", 1) <= _MOST_BYTES:
        raise _expected(text, "bytes=N: N from 1 to 2^40")
    if rate:
        layout = layout or "uniform"
    return Mutation(word, rate, layout, numbers.get("seed"), size, numbers.get("bytes"))


def parse_chain(text: str) -> Chain:
    """One or several steps. ValueError says what is expected."""
    body, star, times = text.rpartition("*")
    if not star:
        body, times = text, "1"
    if not re.fullmatch("[0-9]{1,6}", times) or not 1 <= int(times) <= _MOST_GENERATIONS:
        raise ValueError(f"mutation {text!r}: expected a number of generations behind *, from 1 to {_MOST_GENERATIONS}")
    steps = tuple(parse(step) for step in body.split(">"))
    generations = int(times)
    if generations > 1 and OPERATIONS[steps[-1].operation].grammar == "argument":
        raise ValueError(f"mutation {text!r}: {steps[-1].operation} has generations of its own; it takes no *{times}")
    return Chain(steps, generations)


def choose(files: Sequence[bytes], mutation: Mutation, mtimes: Mapping[bytes, int] | None = None) -> list[bytes]:
    """The files to change, in order of path. `files`: all candidates in any order; `mtimes` (ns): for layout recent."""
    if mutation.operation == "none":
        return []
    ordered = sorted(files)
    if not ordered:
        raise ValueError(f"mutation {mutation.text}: the tree has no regular file with one link")
    return choose_k(ordered, count(len(ordered), mutation.rate), mutation.layout, mutation.seed, mtimes or {})
