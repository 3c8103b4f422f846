"""What a JavaScript package manager leaves: deep nesting, tiny files, the same package in many places, links to programs.

Packages as published carry one time, 1985-10-26T08:15:00Z, on all of their files: files of equal size and time abound.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from .planting import Data, Dice, Exactly, File, Piece, Plan, Symlink, timestamp
from .recipe import Recipe

_PACKAGE_TIME = timestamp("1985-10-26T08:15:00Z")
_WORDS = (
    "async", "babel", "buffer", "cache", "color", "core", "css", "debug", "diff", "escape", "event", "fast", "file", "glob",
    "hash", "is", "json", "lazy", "loader", "map", "mime", "node", "object", "parse", "path", "queue", "range", "rx", "safe",
    "semver", "source", "stream", "string", "to", "type", "url", "util", "vinyl", "walk", "yaml",
)  # fmt: skip
_SCOPES = ("@babel", "@types", "@jest")
_LICENCES = ("MIT", "MIT", "MIT", "ISC", "BSD-3-Clause", "Apache-2.0")
_LICENCE_SIZES = {"MIT": 1071, "ISC": 752, "BSD-3-Clause": 1469, "Apache-2.0": 11357}


@dataclass(frozen=True)
class _Package:
    name: str
    files: tuple[tuple[str, tuple[Piece, ...], int], ...]  # path in it, contents, mode
    has_program: bool


def _package(seed: int, name: str, version: str, compressibility: float) -> _Package:
    """Everything follows from name and version: installed twice, it is the same twice."""
    dice = Dice(seed, name, version)
    licence = dice.pick(_LICENCES)
    has_program = dice.chance(0.08)
    about: dict[str, object] = {"name": name, "version": version, "license": licence, "main": "index.js"}
    if has_program:
        about["bin"] = {name.rpartition("/")[2]: "bin/cli.js"}
    files: list[tuple[str, tuple[Piece, ...], int]] = [
        ("package.json", (Exactly(json.dumps(about, indent=2).encode() + b"\n"),), 0o644),
        ("LICENSE", (Data(_LICENCE_SIZES[licence], f"{seed}/licence/{licence}", compressibility),), 0o644),
    ]

    def add(path: str, median: float, sigma: float = 1.1, mode: int = 0o644) -> None:
        size = min(round(dice.lognormal(median, sigma)), 400_000)
        files.append((path, (Data(size, f"{seed}/{name}@{version}/{path}", compressibility),), mode))

    add("index.js", 900)
    add("README.md", 2500)
    for folder, most, ending in (("lib", 14, ".js"), ("dist", 5, ".js"), ("types", 6, ".d.ts"), ("test/fixtures/a", 4, ".js")):
        if dice.chance(0.4):
            for number in range(dice.between(1, most)):
                add(f"{folder}/{dice.pick(_WORDS)}{number}{ending}", 1300)
                if folder == "dist":
                    add(f"{folder}/{dice.pick(_WORDS)}{number}{ending}.map", 6000)
    if dice.chance(0.2):
        files.append(("lib/empty.js", (), 0o644))
    if has_program:
        add("bin/cli.js", 700, mode=0o755)
    return _Package(name, tuple(files), has_program)


def plan(recipe: Recipe) -> Plan:
    values = recipe.values
    seed, compressibility = values["seed"], values["compressibility"]
    dice = Dice(seed, "modules")
    installed = timestamp(values["newest"])
    out = Plan(epoch_ns=installed)
    count = 0
    names: set[str] = set()

    def install(place: str, package: _Package) -> None:
        nonlocal count
        for path, contents, mode in package.files:
            out.nodes.append(File(f"{place}/{package.name}/{path}".encode(), _PACKAGE_TIME, contents, mode))
        count += len(package.files)
        if package.has_program:
            short = package.name.rpartition("/")[2]
            target = f"../{package.name}/bin/cli.js".encode()
            out.nodes.append(Symlink(f"{place}/.bin/{short}".encode(), installed, target))

    def install_nested(place: str, package: _Package, depth: int) -> None:
        """Old versions that only this package wants, below it; they may want others again."""
        install(place, package)
        if depth < values["depth"] and dice.chance(values["nested_share"]):
            for name in sorted({f"{dice.pick(_WORDS)}-{dice.pick(_WORDS)}" for _ in range(dice.between(1, 3))}):
                wanted = _package(seed, name, f"0.{dice.below(2)}.0", compressibility)
                install_nested(f"{place}/{package.name}/node_modules", wanted, depth + 1)

    while count < values["files"] - 1:
        name = f"{dice.pick(_WORDS)}-{dice.pick(_WORDS)}" + (f"-{dice.below(40)}" if dice.chance(0.5) else "")
        name = f"{dice.pick(_SCOPES)}/{name}" if dice.chance(0.15) else name
        if name not in names and name.rpartition("/")[2] not in {n.rpartition("/")[2] for n in names}:
            names.add(name)
            version = f"{1 + dice.below(7)}.{dice.below(20)}.{dice.below(10)}"
            install_nested("node_modules", _package(seed, name, version, compressibility), 0)
    lock = "".join(f'    "node_modules/{name}": {{ "resolved": true }},\n' for name in sorted(names))
    out.nodes.append(File(b"node_modules/.package-lock.json", installed, (Exactly(lock.encode()),)))
    out.nodes.append(File(b"package.json", installed, (Exactly(b'{ "name": "application", "private": true }\n'),)))
    return out
