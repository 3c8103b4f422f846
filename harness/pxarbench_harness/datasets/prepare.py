"""From a recipe to a prepared tree in the cache, exactly once.

    CACHE/datasets/KEY.lock          held while a tree is made, checked, mutated
    CACHE/datasets/KEY.partial/      work in progress; whatever is in it is never used as a dataset
    CACHE/datasets/KEY/tree/         the tree
    CACHE/datasets/KEY/manifest.jsonl, stamp.json
    CACHE/datasets/KEY/mutation.jsonl    only while the tree is mutated (mutate/oplog.py)
    CACHE/downloads/                 packages

KEY.partial becomes KEY by one rename, after everything in it was synced: there is no half dataset that looks whole. An
interrupted preparation is repeated; finished steps that are expensive (downloads, the packed images) are kept.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .. import locate, mutate, run, tree
from . import coco, linux, tiny
from .recipe import Recipe
from .workspace import DatasetFailed, Workspace

SCHEMA = "pxarbench-dataset/1"

BUILDERS: dict[str, Callable[[Workspace], str]] = {"linux": linux.build, "coco-like": coco.build, "tiny": tiny.build}


@dataclass(frozen=True)
class Dataset:
    name: str
    source: str  # which source was used, in words
    title: str
    licence: str
    folder: Path
    tree: tree.Tree

    @property
    def root(self) -> Path:
        return self.tree.root

    @property
    def op_log(self) -> Path:
        return self.folder / "mutation.jsonl"


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_space(folder: Path, recipe: Recipe) -> None:
    needed = int(recipe.values.get("needs_bytes", 0)) or coco.needed_bytes(recipe)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DatasetFailed(
            f"dataset {recipe.name}: needs about {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free "
            "(PXARBENCH_CACHE names another place)"
        )


def _make(recipe: Recipe, final: Path, cache: Path, say: Callable[[str], None], step: Callable[[str], None]) -> None:
    partial = final.with_name(final.name + ".partial")
    partial.mkdir(exist_ok=True)
    root = partial / "tree"
    _check_space(partial, recipe)
    if root.exists():
        say(f"dataset {recipe.name}: an earlier preparation was interrupted, its tree is made again")
        shutil.rmtree(root)
    root.mkdir()
    work = Workspace(recipe, root, partial, cache / "downloads", say, step)
    source = BUILDERS[recipe.kind](work)
    step("built")

    say(f"dataset {recipe.name}: listing and hashing")
    whole = tree.scan(root)
    found = whole.content_digest()
    if recipe.content_digest and found != recipe.content_digest:
        raise DatasetFailed(f"dataset {recipe.name}: its contents have digest {found}, the recipe says {recipe.content_digest}")
    for leftover in partial.iterdir():
        if leftover != root:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    tree.save(whole, partial / "manifest.jsonl")
    stamp = {
        "schema": SCHEMA,
        "recipe": recipe.digest,
        "source": source,
        "files": whole.file_count,
        "bytes": whole.file_bytes,
        "entries": len(whole.entries),
        "tree_digest": whole.digest(),
        "content_digest": found,
    }
    (partial / "stamp.json").write_text(json.dumps(stamp, indent=2) + "\n")
    step("stamped")
    run.sync_filesystem(partial)
    step("synced")
    os.rename(partial, final)
    _sync(final.parent)
    step("published")


def _open(recipe: Recipe, final: Path, say: Callable[[str], None]) -> Dataset | None:
    """The dataset if it is there and still what its stamp says; None when it has to be made (again)."""
    try:
        stamp = json.loads((final / "stamp.json").read_text())
        known = tree.load(final / "manifest.jsonl", final / "tree")
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if stamp.get("schema") != SCHEMA or stamp.get("recipe") != recipe.digest:
        return None
    try:
        if mutate.undo(final / "mutation.jsonl", final / "tree") is not None:
            say(f"dataset {recipe.name}: a mutation of an interrupted run was undone")
        now = tree.scan(final / "tree", known=known)
    except (OSError, ValueError, mutate.AlteredByOthers, mutate.MutationFailed) as error:
        say(f"dataset {recipe.name}: {error}")
        return None
    if now.digest() != stamp["tree_digest"]:
        for line in tree.differences(known, now)[:3]:
            say(f"dataset {recipe.name}: {line}")
        return None
    return Dataset(recipe.name, str(stamp["source"]), recipe.title, recipe.licence, final, now)


@contextmanager
def prepare(
    recipe: Recipe,
    *,
    cache: Path | None = None,
    say: Callable[[str], None] = print,
    step: Callable[[str], None] = lambda _: None,
) -> Iterator[Dataset]:
    """The prepared dataset, held for the caller alone while the block runs (mutations happen in place).

    `step` is called after every stage of the preparation (tests interrupt there). DatasetFailed says what is wrong.
    """
    cache = cache or locate.cache()
    folder = cache / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / recipe.key
    with open(folder / f"{recipe.key}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"dataset {recipe.name}: another run uses it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        dataset = _open(recipe, final, say)
        if dataset is None:
            if final.exists():
                say(f"dataset {recipe.name}: is not what it was when it was made; it is made again")
                shutil.rmtree(final)
            _make(recipe, final, cache, say, step)
            dataset = _open(recipe, final, say)
            if dataset is None:
                raise DatasetFailed(f"dataset {recipe.name}: changed right after it was made ({final})")
        say(
            f"dataset {recipe.name}: {dataset.tree.file_count:,} files, {dataset.tree.file_bytes / 2**20:,.1f} MiB; "
            f"source: {dataset.source}"
        )
        yield dataset
