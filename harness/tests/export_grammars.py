"""Readers of formats that have no schema language, written to their documentation and stricter than their consumers.

Each raises ValueError with the line that it does not understand. Nothing of what wrote the text is used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# ---- Go's benchmark format: golang.org/design/14313-benchmark-format, unit lines as golang.org/x/perf/benchfmt reads them ----


@dataclass
class GoBenchmarks:
    config: dict[str, str] = field(default_factory=dict)
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    results: list[tuple[str, int, dict[str, float]]] = field(default_factory=list)


def go_benchmarks(text: str) -> GoBenchmarks:
    read = GoBenchmarks()
    if not text.endswith("\n"):
        raise ValueError("no line end at the end")
    for number, line in enumerate(text[:-1].split("\n"), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if words[0] == "Unit":
            unit, *pairs = words[1:]
            told = dict(pair.split("=", 1) for pair in pairs)
            if unit in read.units or told.keys() - {"better", "assume"} or told.get("better") not in ("higher", "lower"):
                raise ValueError(f"line {number}: unit {line!r}")
            if told.get("assume") not in ("nothing", "exact"):
                raise ValueError(f"line {number}: unit {line!r}")
            read.units[unit] = told
        elif line.startswith("Benchmark"):
            read.results.append(_go_result(number, words))
        else:
            match = re.fullmatch(r"([a-z][^\sA-Z:]*):[ \t]+(\S.*)", line)
            if match is None:
                raise ValueError(f"line {number}: neither configuration nor result: {line!r}")
            read.config[match[1]] = match[2]
    return read


def _go_result(number: int, words: list[str]) -> tuple[str, int, dict[str, float]]:
    if len(words) < 4 or len(words) % 2:
        raise ValueError(f"line {number}: {len(words)} fields")
    name, iterations, *pairs = words
    if re.fullmatch(r"Benchmark[A-Z][A-Za-z0-9]*(/[a-z]+=[^/\s=]+)*", name) is None:
        raise ValueError(f"line {number}: name {name!r}")
    if re.search(r"-[0-9]+$", name):
        raise ValueError(f"line {number}: {name!r} ends as a number of threads does")
    values = {}
    for value, unit in zip(pairs[::2], pairs[1::2], strict=True):
        if unit in values or not math.isfinite(float(value)):
            raise ValueError(f"line {number}: {value} {unit}")
        values[unit] = float(value)
    return name, int(iterations), values


# ---- OpenMetrics 1.0, the part for gauges and summaries ----

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_TEXT = r'(?:[^"\\\n]|\\[\\"n])*'
_LABEL = rf'[a-zA-Z_][a-zA-Z0-9_]*="{_TEXT}"'
_SAMPLE = re.compile(rf"({_NAME})(\{{(?:{_LABEL}(?:,{_LABEL})*)?\}})? (\S+)")
_SUFFIXES = {"gauge": ("",), "summary": ("", "_count", "_sum")}


@dataclass
class Family:
    kind: str
    unit: str = ""
    help: str = ""
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)


def _labels(text: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(rf'([a-zA-Z_][a-zA-Z0-9_]*)="({_TEXT})"', text):
        yield match[1], re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], match[2])


def open_metrics(text: str) -> dict[str, Family]:
    if not text.endswith("# EOF\n"):
        raise ValueError("does not end with # EOF")
    families: dict[str, Family] = {}
    current = ""
    for number, line in enumerate(text[: -len("# EOF\n")].split("\n")[:-1], 1):
        if line.startswith("# "):
            _, word, name, *rest = line.split(" ", 3)
            if word == "TYPE":
                if name in families or rest[0] not in _SUFFIXES:
                    raise ValueError(f"line {number}: {line!r}")
                families[name], current = Family(rest[0]), name
            elif name != current or families[current].samples:
                raise ValueError(f"line {number}: {word} of {name} within {current}")
            elif word == "UNIT":
                if not name.endswith("_" + rest[0]):
                    raise ValueError(f"line {number}: {name} does not end with its unit {rest[0]}")
                families[name].unit = rest[0]
            elif word == "HELP":
                families[name].help = rest[0]
            else:
                raise ValueError(f"line {number}: {line!r}")
            continue
        match = _SAMPLE.fullmatch(line)
        if match is None or not current:
            raise ValueError(f"line {number}: no sample: {line!r}")
        family = families[current]
        if match[1] not in {current + suffix for suffix in _SUFFIXES[family.kind]}:
            raise ValueError(f"line {number}: {match[1]} within {current}")
        pairs = list(_labels(match[2] or ""))
        if len(dict(pairs)) != len(pairs):
            raise ValueError(f"line {number}: a label twice")
        key = (match[1], frozenset(pairs))
        if key in family.samples:
            raise ValueError(f"line {number}: a sample twice")
        if family.kind == "summary" and match[1] == current and "quantile" not in dict(pairs):
            raise ValueError(f"line {number}: a summary without quantile")
        family.samples[key] = float(match[3])
    return families


# ---- GitHub's workflow commands ----


@dataclass(frozen=True)
class Command:
    name: str
    properties: dict[str, str]
    message: str


def _unescaped(text: str, more: tuple[tuple[str, str], ...] = ()) -> str:
    if re.search(r"%(?!25|0D|0A|3A|2C)", text):
        raise ValueError(f"an escape that is none: {text!r}")
    for code, char in (*more, ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, char)
    return text


def workflow_commands(text: str) -> list[Command]:
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"::(error|warning|notice)( [^:\r\n]*)?::(.+)", line)
        if match is None:
            raise ValueError(f"no command: {line!r}")
        pairs = [pair.split("=", 1) for pair in (match[2] or "").strip().split(",") if pair]
        properties = {name: _unescaped(value, (("%3A", ":"), ("%2C", ","))) for name, value in pairs}
        if properties.keys() - {"file", "line", "endLine", "col", "endColumn", "title"}:
            raise ValueError(f"unknown property: {line!r}")
        found.append(Command(match[1], properties, _unescaped(match[3])))
    return found
