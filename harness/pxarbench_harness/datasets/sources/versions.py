"""Several versions one after the other: the first is the tree, each later one a step beside it (../steps.py)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ... import run, tree
from .. import steps
from ..source import Found, SourceFailed, Unreachable
from ..workspace import Workspace, empty


def build(work: Workspace, source: Mapping[str, Any]) -> Found:
    """Fields: `each` (a source), `field` (the field of it that differs), `values` (oldest first), `least` (so many are
    needed; default: all). Versions that are not to be had are left out and named."""
    from . import fill  # the kinds may nest

    values, field = list(source["values"]), source["field"]
    least = source.get("least", len(values))
    folder, scratch = work.scratch / steps.FOLDER, work.scratch / "next"
    first: Found | None = None
    labels: list[str] = []
    missing: list[str] = []
    current: tree.Tree | None = None
    prepared: tree.Tree | None = None
    for position, value in enumerate(values):
        label = str(value)
        if current is not None:
            known = steps.kept(folder, len(labels), label, current)
            if known is not None:
                work.tell(f"version {label}: made before the interruption")
                current = known[1]
                labels.append(label)
                continue
            empty(scratch)
        place = work.root if current is None else scratch
        try:
            found = fill(replace(work, root=place), {**source["each"], field: value})
        except Unreachable:
            raise
        except (SourceFailed, run.CommandFailed) as error:
            missing.append(label)
            empty(place)
            work.tell(f"version {label} is not to be had: {str(error).strip().splitlines()[-1]}")
            if len(values) - len(missing) < least:
                raise SourceFailed(f"versions {', '.join(missing)} are not to be had, {least} are needed") from error
            continue
        work.tell(f"version {label} ({position + 1} of {len(values)}): listing and hashing")
        version = tree.scan(place)
        if current is None:
            first, current, prepared = found, version, version
        else:
            step, current = steps.store(folder, len(labels), label, found.text, current, version)
            shutil.rmtree(scratch)
            c = step.counts
            work.tell(
                f"version {label}: {c['changed']:,} changed, {c['added']:,} added, {c['deleted']:,} deleted, "
                f"{c['files_bytes'] / 2**20:,.1f} MiB kept"
            )
            work.step(f"step-{len(labels)}")
        labels.append(label)
    if first is None or current is None:
        raise SourceFailed("no version is to be had")
    for left in (*folder.glob("*.partial"), *(folder / f"{n:02d}" for n in range(len(labels), 1000))):
        if left.exists():  # of an interrupted preparation that could get more versions
            shutil.rmtree(left)
    text = f"{first.text}, followed by {', '.join(labels[1:]) or 'nothing'}"
    if missing:
        text += f" (not to be had: {', '.join(missing)})"
    return Found(
        text, first.order, first.commit_seconds, (steps.FOLDER,) if labels[1:] else (), {**first.facts, "labels": labels},
        prepared, timed=True,
    )  # fmt: skip
