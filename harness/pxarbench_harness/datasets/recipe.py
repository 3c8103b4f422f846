"""Recipes: TOML files that say where a tree comes from or how it is generated."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import locate

#: A generated tree depends on the code that makes it: raised whenever that code makes other bytes from the same recipe.
GENERATOR = 1


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
        values = {k: v for k, v in self.values.items() if k not in ("title", "licence", "needs_bytes", "content_digest")}
        return hashlib.sha256(json.dumps([GENERATOR, values], sort_keys=True).encode()).hexdigest()

    @property
    def key(self) -> str:
        return f"{self.name}-{self.digest[:10]}"

    @property
    def content_digest(self) -> str:
        """Expected Tree.content_digest(), "" where the source decides."""
        return str(self.values.get("content_digest", ""))

    def with_files(self, files: int) -> Recipe:
        """The same recipe at another size: no longer the pinned bytes."""
        if "files" not in self.values:
            raise RecipeBroken(f"dataset {self.name}: its size cannot be chosen")
        if files == self.values["files"]:
            return self
        return Recipe(self.name, self.kind, self.title, self.licence, {**self.values, "files": files, "content_digest": ""})


def names(folder: Path | None = None) -> list[str]:
    return sorted(path.stem for path in (folder or locate.recipes()).glob("*.toml"))


def load(name: str, folder: Path | None = None) -> Recipe:
    path = (folder or locate.recipes()) / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise RecipeBroken(f"dataset {name!r}: unknown; there are {', '.join(names(folder))}") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeBroken(f"{path}: {error}") from None
    for wanted in ("name", "kind", "title", "licence"):
        if not isinstance(values.get(wanted), str):
            raise RecipeBroken(f"{path}: {wanted} is missing")
    if values["name"] != path.stem:
        raise RecipeBroken(f"{path}: its name is {values['name']!r}")
    return Recipe(values["name"], values["kind"], values["title"], values["licence"], values)
