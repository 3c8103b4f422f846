"""Recipes: TOML files that say where a tree comes from or how it is generated. datasets/README.md explains every field.

Besides the names of recipes, two other words are understood: `path:/some/folder` (a copy of a folder of one's own, without
any file) and the path of a recipe elsewhere (it ends in .toml).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import locate

#: A generated tree depends on the code that makes it: raised whenever that code makes other bytes from the same recipe.
GENERATOR = 1

#: Fields that do not decide about the bytes: what is said about them, and what they are checked against.
NOT_DECIDING = frozenset(("title", "licence", "needs_bytes", "content_digest", "portable_digest", "expects"))

MTIME_POLICIES = ("commit", "fixed", "found")
#: Kinds of recipes whose trees come from [[source]] tables.
_OF_SOURCES = ("linux", "sources")
_PATH_PREFIX = "path:"


class RecipeBroken(Exception):
    """The recipe's text is at fault; the message names the file."""


@dataclass(frozen=True)
class Recipe:
    name: str
    kind: str
    title: str
    licence: str
    values: Mapping[str, Any] = field(hash=False)

    @property
    def digest(self) -> str:
        """Of everything that decides about the bytes."""
        values = {k: v for k, v in self.values.items() if k not in NOT_DECIDING}
        return hashlib.sha256(json.dumps([GENERATOR, values], sort_keys=True).encode()).hexdigest()

    @property
    def key(self) -> str:
        return f"{self.name}-{self.digest[:10]}"

    @property
    def content_digest(self) -> str:
        """Expected Tree.content_digest(), "" where the source decides."""
        return str(self.values.get("content_digest", ""))

    @property
    def portable_digest(self) -> str:
        """Expected Tree.portable_digest(), "" where the source decides."""
        return str(self.values.get("portable_digest", ""))

    @property
    def mtime(self) -> str:
        """One of MTIME_POLICIES; "" leaves it to the kind of source (git: commit, everything else: found)."""
        return str(self.values.get("mtime", ""))

    def expected(self, what: str) -> tuple[int, int] | None:
        """Least and most "files" (each inode once) or "bytes"; None when the recipe does not say."""
        found = self.values.get("expects", {}).get(what)
        return (found[0], found[1]) if found else None

    def with_files(self, files: int) -> Recipe:
        """The same recipe at another size: no longer the pinned bytes."""
        if "files" not in self.values:
            raise RecipeBroken(f"dataset {self.name}: its size cannot be chosen")
        if files == self.values["files"]:
            return self
        values = {k: v for k, v in self.values.items() if k not in ("expects", "portable_digest")}
        return Recipe(self.name, self.kind, self.title, self.licence, {**values, "files": files, "content_digest": ""})


def names(folder: Path | None = None) -> list[str]:
    return sorted(path.stem for path in (folder or locate.recipes()).glob("*.toml"))


def load(name: str, folder: Path | None = None) -> Recipe:
    """RecipeBroken names the file and what is wrong with it."""
    if name.startswith(_PATH_PREFIX):
        return _of_path(name.removeprefix(_PATH_PREFIX))
    if name.endswith(".toml"):
        return _read(Path(name), f"{name}: no such file")
    there = ", ".join(names(folder))
    return _read((folder or locate.recipes()) / f"{name}.toml", f"dataset {name!r}: unknown; there are {there}")


def _read(path: Path, missing: str) -> Recipe:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeBroken(missing) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeBroken(f"{path}: {error}") from None
    for wanted in ("name", "kind", "title", "licence"):
        if not isinstance(values.get(wanted), str):
            raise RecipeBroken(f"{path}: {wanted} is missing")
    if values["name"] != path.stem:
        raise RecipeBroken(f"{path}: its name is {values['name']!r}")
    check(path, values)
    return Recipe(values["name"], values["kind"], values["title"], values["licence"], values)


def check(path: Path, values: Mapping[str, Any]) -> None:
    """RecipeBroken, with `path` in front: what every kind has in common is not as it has to be."""
    if values["kind"] in _OF_SOURCES:  # what is generated has times of its own
        if values.get("mtime", "found") not in MTIME_POLICIES:
            raise RecipeBroken(f"{path}: mtime is {values['mtime']!r}, not one of {', '.join(MTIME_POLICIES)}")
        if values.get("mtime") == "fixed" and not isinstance(values.get("mtime_fixed"), str):
            raise RecipeBroken(f"{path}: mtime is fixed, mtime_fixed is missing")
    expects = values.get("expects", {})
    for what in expects:
        limits = expects[what]
        whole = isinstance(limits, list) and len(limits) == 2 and all(type(n) is int for n in limits)
        if what not in ("files", "bytes") or not whole or not 0 <= limits[0] <= limits[1]:
            raise RecipeBroken(f"{path}: expects.{what} is not files or bytes = [least, most]")
    sources = values.get("source", [])
    tables = isinstance(sources, list) and all(isinstance(s, dict) and isinstance(s.get("kind"), str) for s in sources)
    if not tables or (values["kind"] in _OF_SOURCES and not sources):
        raise RecipeBroken(f"{path}: each [[source]] needs a kind, and at least one is needed")


def _of_path(text: str) -> Recipe:
    """A folder of one's own. Its name in reports is that of the folder; the key tells two of the same name apart."""
    if not text:
        raise RecipeBroken(f"dataset {_PATH_PREFIX!r}: a folder is missing behind it")
    place = Path(os.path.abspath(os.path.expanduser(text)))
    slug = re.sub(r"[^a-z0-9]+", "-", place.name.lower()).strip("-") or "root"
    name = f"path-{slug}"
    values = {
        "name": name, "kind": "sources", "title": f"a copy of {place}", "licence": "the owner's own",
        "mtime": "found", "source": [{"kind": "path", "path": os.fspath(place)}],
    }  # fmt: skip
    return Recipe(name, "sources", str(values["title"]), str(values["licence"]), values)
