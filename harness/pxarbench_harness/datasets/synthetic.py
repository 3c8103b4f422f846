"""All generated datasets that are plans (planting.py): which kind of recipe is made by which generator."""

from __future__ import annotations

from collections.abc import Callable

from . import synth_edges, synth_home, synth_images, synth_mail, synth_modules, synth_shapes, synth_truth
from .planting import Plan, plant
from .recipe import Recipe, RecipeBroken
from .workspace import Built, Workspace

GENERATORS: dict[str, Callable[[Recipe], Plan]] = {
    "home-like": synth_home.plan,
    "mail-like": synth_mail.plan,
    "node-modules-like": synth_modules.plan,
    "vm-images": synth_images.vm_images,
    "sparse": synth_images.sparse,
    "deep": synth_shapes.deep,
    "wide": synth_shapes.wide,
    "duplicates": synth_shapes.duplicates,
    "hardlinks": synth_shapes.hardlinks,
    "at-chunk-edges": synth_edges.plan,
    "truth": synth_truth.plan,
}


def plan_of(recipe: Recipe) -> Plan:
    """What would be made. RecipeBroken when the recipe lacks a value."""
    try:
        return GENERATORS[recipe.kind](recipe)
    except KeyError as error:
        raise RecipeBroken(f"dataset {recipe.name}: {error.args[0]} is missing") from error


def needed_bytes(recipe: Recipe) -> int:
    """On disk, at the size that the recipe has (with_files), with something to spare."""
    return round(1.05 * plan_of(recipe).disk_bytes) + (16 << 20)


def _build(work: Workspace) -> Built:
    return Built(plant(work, plan_of(work.recipe)), order=work.recipe.values["creation"])


BUILDERS: dict[str, Callable[[Workspace], str | Built]] = dict.fromkeys(GENERATORS, _build)
