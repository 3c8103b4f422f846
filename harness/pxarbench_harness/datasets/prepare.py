"""From a recipe to a prepared tree in the cache, exactly once.

    CACHE/datasets/KEY.lock          held while a tree is made, checked, mutated
    CACHE/datasets/KEY.partial/      work in progress; whatever is in it is never used as a dataset
    CACHE/datasets/KEY/tree/         the tree
    CACHE/datasets/KEY/steps/        later versions of it (steps.py), of datasets with a history
    CACHE/datasets/KEY/manifest.jsonl, stamp.json
    CACHE/datasets/KEY/mutation*     only while the tree is mutated (mutate/)
    CACHE/downloads/                 packages and archives

KEY.partial becomes KEY by one rename, after everything in it was synced: there is no half dataset that looks whole. An
interrupted preparation is repeated; finished steps that are expensive (downloads, the packed images, versions) are kept.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import locate, mutate, run, tree
from . import coco, sources, steps, synthetic, tiny
from .progress import Progress
from .recipe import Recipe, RecipeBroken
from .sources import folder as origin
from .steps import Step
from .workspace import Built, DatasetFailed, Workspace, empty

SCHEMA = "pxarbench-dataset/1"

#: Hashed between two looks at the clock.
_HASHED_AT_ONCE = 256 << 20

BUILDERS: dict[str, Callable[[Workspace], str | Built]] = {
    "linux": sources.build,
    "sources": sources.build,
    "coco-like": coco.build,
    "tiny": tiny.build,
    **synthetic.BUILDERS,
}


@dataclass(frozen=True)
class Dataset:
    name: str
    source: str  # which source was used, in words
    title: str
    licence: str
    folder: Path
    tree: tree.Tree
    order: str = ""  # in which order the entries were created; "": made before that was recorded
    steps: tuple[Step, ...] = ()

    @property
    def root(self) -> Path:
        return self.tree.root

    @property
    def op_log(self) -> Path:
        return self.folder / "mutation.jsonl"

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the versions: the tree as prepared, then that of each step. () without a history."""
        if not self.steps:
            return ()
        first = json.loads((self.folder / "stamp.json").read_text(encoding="utf-8"))["facts"]["labels"][0]
        return (str(first), *(step.label for step in self.steps))


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _needed_bytes(recipe: Recipe) -> int:
    if recipe.kind == "coco-like":
        return coco.needed_bytes(recipe)
    if recipe.kind in synthetic.BUILDERS:
        return synthetic.needed_bytes(recipe)
    most = recipe.expected("bytes")
    return int(recipe.values.get("needs_bytes", 0)) or 2 * (most[1] if most else 0)


def _check_space(folder: Path, recipe: Recipe) -> None:
    try:
        needed = _needed_bytes(recipe)
    except RecipeBroken as error:
        raise DatasetFailed(str(error)) from error
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DatasetFailed(
            f"dataset {recipe.name}: needs about {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free "
            "(PXARBENCH_CACHE names another place)"
        )


def _listing(root: Path, say: Callable[[str], None], label: str) -> tree.Tree:
    """tree.scan(root) that says how far it is."""
    listed = tree.scan(root, contents=False)
    files = [e for e in listed.entries.values() if e.kind == "file"]
    top = os.fsencode(root)
    with Progress(say, label, total_bytes=sum(e.size for e in files)) as shown:
        batch: list[tree.Entry] = []
        weight = 0
        for number, entry in enumerate(files, 1):
            batch.append(entry)
            weight += entry.size
            if weight >= _HASHED_AT_ONCE or number == len(files):
                digests = tree.hash_all([os.path.join(top, e.path) for e in batch], [e.size for e in batch])
                for done, digest in zip(batch, digests, strict=True):
                    listed.entries[done.path] = replace(done, digest=digest)
                shown.add(len(batch), weight)
                batch, weight = [], 0
    return listed


def _check(recipe: Recipe, whole: tree.Tree) -> None:
    """What was made against what the recipe says of it. DatasetFailed."""
    for what, found in (("files", whole.file_count), ("bytes", whole.file_bytes)):
        limits = recipe.expected(what)
        if limits and not limits[0] <= found <= limits[1]:
            raise DatasetFailed(f"dataset {recipe.name}: {found:,} {what}, the recipe expects {limits[0]:,} to {limits[1]:,}")
    digest = whole.content_digest()
    if recipe.content_digest and digest != recipe.content_digest:
        raise DatasetFailed(
            f"dataset {recipe.name}: its contents have digest {digest}, the recipe says {recipe.content_digest}"
        )
    if recipe.portable_digest and whole.portable_digest() != recipe.portable_digest:
        raise DatasetFailed(
            f"dataset {recipe.name}: the tree has the portable digest {whole.portable_digest()}, "
            f"the recipe says {recipe.portable_digest}"
        )


def _build(recipe: Recipe, work: Workspace) -> Built:
    builder = BUILDERS.get(recipe.kind)
    if builder is None:
        raise DatasetFailed(f"dataset {recipe.name}: nothing makes the kind {recipe.kind!r}; there are {', '.join(BUILDERS)}")
    # Modes of what git and tar create depend on it, here and in the programs started from here.
    umask = os.umask(0o022)
    try:
        built = builder(work)
    except RecipeBroken as error:
        raise DatasetFailed(str(error)) from error
    finally:
        os.umask(umask)
    return Built(built) if isinstance(built, str) else built


def _leave_no_empty(partial: Path) -> None:
    """A source that was never there leaves nothing behind; what was half done is kept for the next attempt."""
    for folder in (partial / "tree", partial):
        try:
            folder.rmdir()
        except OSError:
            return


def _make(recipe: Recipe, final: Path, cache: Path, say: Callable[[str], None], step: Callable[[str], None]) -> None:
    partial = final.with_name(final.name + ".partial")
    partial.mkdir(exist_ok=True)
    root = partial / "tree"
    _check_space(partial, recipe)
    if root.exists():
        say(f"dataset {recipe.name}: an earlier preparation was interrupted, its tree is made again")
    empty(root)
    root.chmod(0o755)
    try:
        built = _build(recipe, Workspace(recipe, root, partial, cache / "downloads", say, step))
    except DatasetFailed:
        _leave_no_empty(partial)
        raise
    step("built")

    say(f"dataset {recipe.name}: listing and hashing")
    if built.tree is not None:
        whole = tree.scan(root, known=built.tree)
    else:
        whole = _listing(root, say, f"dataset {recipe.name}: hashing")
    _check(recipe, whole)
    for leftover in partial.iterdir():
        if leftover != root and leftover.name not in built.keep:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    tree.save(whole, partial / "manifest.jsonl")
    stamp: dict[str, Any] = {
        "schema": SCHEMA,
        "recipe": recipe.digest,
        "source": built.source,
        "order": built.order,
        "files": whole.file_count,
        "bytes": whole.file_bytes,
        "entries": len(whole.entries),
        "tree_digest": whole.digest(),
        "content_digest": whole.content_digest(),
        "steps": [{"label": s.label, "digest": s.digest} for s in steps.of(partial)],
        "facts": dict(built.facts),
    }
    (partial / "stamp.json").write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
    step("stamped")
    run.sync_filesystem(partial)
    step("synced")
    os.rename(partial, final)
    _sync(final.parent)
    step("published")


def _open(recipe: Recipe, final: Path, say: Callable[[str], None]) -> Dataset | None:
    """The dataset if it is there and still what its stamp says; None when it has to be made (again)."""
    try:
        stamp = json.loads((final / "stamp.json").read_text(encoding="utf-8"))
        known = tree.load(final / "manifest.jsonl", final / "tree")
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if stamp.get("schema") != SCHEMA or stamp.get("recipe") != recipe.digest:
        return None
    try:
        if mutate.undo_all(final, final / "tree") is not None:
            say(f"dataset {recipe.name}: a mutation of an interrupted run was undone")
        now = tree.scan(final / "tree", known=known)
        later = steps.of(final)
        for step in later:
            step.check()
    except (OSError, ValueError, mutate.AlteredByOthers, mutate.MutationFailed, steps.StepBroken) as error:
        say(f"dataset {recipe.name}: {error}")
        return None
    if now.digest() != stamp["tree_digest"]:
        for line in tree.differences(known, now)[:3]:
            say(f"dataset {recipe.name}: {line}")
        return None
    if [{"label": s.label, "digest": s.digest} for s in later] != stamp.get("steps", []):
        say(f"dataset {recipe.name}: the steps beside the tree are not those it was made with")
        return None
    _tell_about_origin(recipe, stamp, say)
    return Dataset(
        recipe.name, str(stamp["source"]), recipe.title, recipe.licence, final, now, str(stamp.get("order", "")), later
    )


def _tell_about_origin(recipe: Recipe, stamp: dict[str, Any], say: Callable[[str], None]) -> None:
    """A copy of one's own folder stays what it was; it is said when the folder went on."""
    facts = stamp.get("facts") or {}
    if "origin_digest" not in facts:
        return
    try:
        same = origin.look(Path(facts["origin"])) == facts["origin_digest"]
    except OSError as error:
        say(f"dataset {recipe.name}: the copy is used; {error}")
        return
    if not same:
        say(
            f"dataset {recipe.name}: {facts['origin']} has changed since it was copied; the copy is used "
            "(python3 -m pxarbench_harness.datasets prepare --fresh makes a new one)"
        )


@contextmanager
def held(recipe: Recipe, cache: Path | None, say: Callable[[str], None]) -> Iterator[Path]:
    """Nobody else uses the dataset while the block runs. Yields its folder, whether it exists or not."""
    folder = (cache or locate.cache()) / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{recipe.key}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"dataset {recipe.name}: another run uses it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / recipe.key


def remove(folder: Path) -> None:
    """Under another name first: what is being removed is not taken for a dataset."""
    if folder.exists():
        empty(folder)
        folder.rmdir()


@contextmanager
def prepare(
    recipe: Recipe,
    *,
    cache: Path | None = None,
    say: Callable[[str], None] = print,
    step: Callable[[str], None] = lambda _: None,
    fresh: bool = False,
) -> Iterator[Dataset]:
    """The prepared dataset, held for the caller alone while the block runs (mutations happen in place).

    `step` is called after every stage of the preparation (tests interrupt there). `fresh`: made again even if it is there.
    DatasetFailed says what is wrong.
    """
    cache = cache or locate.cache()
    with held(recipe, cache, say) as final:
        if fresh:
            remove(final)
        dataset = _open(recipe, final, say)
        if dataset is None:
            if final.exists():
                say(f"dataset {recipe.name}: is not what it was when it was made; it is made again")
                remove(final)
            _make(recipe, final, cache, say, step)
            dataset = _open(recipe, final, say)
            if dataset is None:
                raise DatasetFailed(f"dataset {recipe.name}: changed right after it was made ({final})")
        say(
            f"dataset {recipe.name}: {dataset.tree.file_count:,} files, {dataset.tree.file_bytes / 2**20:,.1f} MiB; "
            f"source: {dataset.source}"
        )
        yield dataset


def verify(recipe: Recipe, *, cache: Path | None = None, say: Callable[[str], None] = print) -> list[str]:
    """Reads everything again, steps included, and changes nothing but an interrupted mutation. Sentences; [] is good."""
    with held(recipe, cache, say) as final:
        dataset = _open(recipe, final, say)
        if dataset is None:
            there = "is not what it was when it was made" if final.exists() else "is not prepared"
            return [f"dataset {recipe.name}: {there}"]
        now = _listing(dataset.root, say, f"dataset {recipe.name}: hashing")
        manifest = tree.load(final / "manifest.jsonl", dataset.root)
        problems = [f"dataset {recipe.name}: {line}" for line in tree.differences(manifest, now)]
        try:
            for later in dataset.steps:
                manifest = later.verify(manifest)
        except (steps.StepBroken, OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"dataset {recipe.name}: {error}")
        return problems
