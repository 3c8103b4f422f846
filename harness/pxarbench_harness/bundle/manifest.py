"""bundle.json, the first thing that is read of a bundle: what it holds, what made it, and what it takes to do it again.

The schema is results/schema/bundle.v1.json. Every other file is listed with its size and SHA-256; nothing else is in a bundle.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import locate
from . import archive
from .archive import BundleBroken, BundleFailed

SCHEMA = "pxarbench-bundle/1"
NAME = "bundle.json"
#: Characters of bundle.json: recipes and plans are texts of a few kB.
TEXT_MAX = 32 << 20
#: Errors among which the one to be told is chosen; items of a list that must differ.
_ERRORS_MAX, _UNIQUE_MAX = 100, 20
#: Members whose real names do not fit into a header.
_LONG = "long/"


@dataclass(frozen=True)
class File:
    path: str  # relative to the unpacked bundle
    size: int
    sha256: str

    @property
    def member(self) -> str:
        """Its name in the archive."""
        if archive.is_name(self.path):
            return self.path
        return _LONG + hashlib.sha256(self.path.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Manifest:
    kind: str  # session, gate or compare
    name: str  # of the folder
    started: str  # UTC; of the session or verdict
    seed: int | None
    commit: str  # of the harness, as records have it; "": not known
    program: Mapping[str, str]  # of pxarbench: version, sha256, compiler, flags; {}: not known
    tools: Mapping[str, str]  # others that took part -> version
    hosts: Mapping[str, Mapping[str, Any]]  # fingerprint -> host, as in the records
    #: Of datasets: name -> {"tree_digest", "portable_digest", "source", "filesystem"} of the tree before any mutation.
    datasets: Mapping[str, Mapping[str, str]]
    plan: Mapping[str, Any] | None  # of a session: plan.json's part that says what is to be done
    traces: Mapping[str, str]  # argument of a trace: mutation -> file of the bundle
    gates: tuple[str, ...]  # of a verdict
    integers: int  # lines of integers.csv; 0: none
    files: tuple[File, ...] = ()
    schema: str = SCHEMA
    notes: tuple[str, ...] = field(default=())  # what is not in it, and why


@lru_cache
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((locate.results() / "schema" / "bundle.v1.json").read_text())
    return loaded


def to_json(manifest: Manifest) -> str:
    return json.dumps(asdict(manifest), sort_keys=True, indent=1, allow_nan=False) + "\n"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice in one object")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")


def from_json(text: str) -> Manifest:
    """BundleBroken names the first field that is wrong."""
    import jsonschema

    try:
        values = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleBroken(f"no JSON: {error}") from None
    validator = jsonschema.validators.validator_for(schema())(schema())
    _check_unique(values)
    try:
        wrong = jsonschema.exceptions.best_match(itertools.islice(validator.iter_errors(values), _ERRORS_MAX))
    except RecursionError:
        raise BundleBroken("nested too deeply") from None
    if wrong is not None:
        raise BundleBroken(f"{'/'.join(map(str, wrong.absolute_path)) or 'bundle'}: {wrong.message[:500]}")
    files = tuple(File(**one) for one in values.pop("files"))
    for file in files:
        if not _is_path(file.path):
            raise BundleBroken(f"files: {file.path!r} is no path of a file in a bundle")
    lists = {name: tuple(values.pop(name)) for name in ("gates", "notes")}
    return Manifest(**values, **lists, files=files)


def _check_unique(values: Any) -> None:
    """The validator would compare each two of lists whose items must differ, before it looks at their length."""
    plan = values.get("plan") if isinstance(values, dict) else None
    for holder, name in ((values, "gates"), (plan, "caches")):
        there = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(there, list) and len(there) > _UNIQUE_MAX:
            raise BundleBroken(f"{name}: more than {_UNIQUE_MAX}")


def _is_path(path: str) -> bool:
    return archive.is_path(path) and path != NAME and not path.startswith(_LONG)


def digest_of(path: Path) -> str:
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def write(manifest: Manifest, contents: Mapping[str, bytes | Path], target: Path) -> int:
    """Packs `contents` (path -> bytes or file) with a manifest that lists them. Size in bytes.

    BundleFailed; BundleBroken, ValueError: what it would say is not of the schema.
    """
    listed = []
    for path, data in sorted(contents.items()):
        if not _is_path(path):
            raise ValueError(f"{path!r}: cannot be a file of a bundle")
        if isinstance(data, bytes):
            listed.append(File(path, len(data), hashlib.sha256(data).hexdigest()))
        else:
            listed.append(File(path, data.stat().st_size, digest_of(data)))
    whole = Manifest(**{**manifest.__dict__, "files": tuple(listed)})
    text = to_json(whole)
    from_json(text)  # what is not of the schema here would be refused everywhere else
    members: dict[str, bytes | Path] = {NAME: text.encode()}
    members.update({file.member: contents[file.path] for file in listed})
    return archive.pack(members, target)


def read(bundle: Path, folder: Path) -> Manifest:
    """Unpacks into the new or empty `folder`, where every file then is what the manifest says. BundleBroken, BundleFailed."""
    names = archive.unpack(bundle, folder)
    try:
        if NAME not in names:
            raise BundleBroken(f"{NAME} is missing: not made by ci/bundle")
        if (folder / NAME).stat().st_size > TEXT_MAX:
            raise BundleBroken(f"{NAME}: more than {TEXT_MAX:,} bytes")
        manifest = from_json((folder / NAME).read_text(encoding="utf-8"))
        expected = {file.member for file in manifest.files} | {NAME}
        if len(expected) != len(manifest.files) + 1:
            raise BundleBroken(f"{NAME}: lists a file twice")
        if expected != set(names):
            odd = sorted(expected ^ set(names))[0]
            raise BundleBroken(f"{odd}: " + ("is missing" if odd in expected else f"{NAME} does not list it"))
        for file in manifest.files:
            _check(folder, file)
    except UnicodeDecodeError as error:
        raise BundleBroken(f"{bundle}: {NAME}: {error}") from None
    except BundleBroken as error:
        raise BundleBroken(f"{bundle}: {error}") from None
    except OSError as error:
        raise BundleFailed(f"{folder}: {error}") from error
    return manifest


def _check(folder: Path, file: File) -> None:
    found = folder / file.member
    if found.stat().st_size != file.size:
        raise BundleBroken(f"{file.path}: {found.stat().st_size:,} bytes, {NAME} says {file.size:,}")
    if digest_of(found) != file.sha256:
        raise BundleBroken(f"{file.path}: its SHA-256 is not the one that {NAME} says")
    if file.member != file.path:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise BundleBroken(f"{file.path}: is in the way of another file of the bundle")
        os.rename(found, target)
