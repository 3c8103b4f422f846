"""Sets of cases: which chains of mutations on which datasets, in which modes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .. import datasets, mutate
from ..datasets import Recipe
from ..subjects import remote
from .plan import BlockPlan, product

#: What the cliff is measured at, percent.
CLIFF_RATES = ("0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50")
CLIFF_LAYOUTS = ("uniform", "clustered", "zipf")

#: Scenario, what happens, chain. Of spec/review-asks.md 5.4; S13 and S14 are tests of the program, S12 has its own dataset.
SCENARIOS = (
    ("S0", "nothing changed", "none"),
    ("S1", "touched", "touch:1%:clustered"),
    ("S2", "rewritten, neighbours", "rewrite:1%:clustered"),
    ("S2", "rewritten, everywhere", "rewrite:1%:uniform"),
    ("S3", "appended to", "append:1%:clustered"),
    ("S4", "deleted", "delete:1%:uniform"),
    ("S5", "new files between the others", "insert:1%:clustered"),
    ("S6", "directories renamed", "rename-directory:1%:clustered"),
    ("S7", "modes changed", "chmod:1%:clustered"),
    ("S7", "attributes added", "xattr:1%:clustered"),
    ("S8", "contents changed, size and mtime kept", "content-restored:1%:clustered"),
    ("S9", "size changed, mtime kept", "size-restored:1%:clustered"),
    ("S10", "names of files added", "hardlink-add:1%:clustered"),
    ("S10", "names of files removed", "hardlink-add:1%:clustered>hardlink-remove:50%:uniform"),
    ("S11", "copies made, then half of them deleted", "duplicate:1%:clustered>delete-duplicate:50%:uniform"),
    ("S15", "five generations of a random mix", "mix:1%*5"),
)
EDGES = (
    ("S12", "files at chunk ends deleted", "delete:10%:uniform"),
    ("S12", "files at chunk ends rewritten", "rewrite:10%:uniform"),
)
EDGES_DATASET = "at-chunk-edges"

METADATA = ("metadata", "metadata-upstream", "metadata-stored")
PROFILES = ("legacy", "data", *METADATA)

#: Of the truth table; what needs something in the tree or before it comes in a chain.
TRUTH_RATE = "5%"
TRUTH_FIRST: Mapping[str, str] = {"delete-duplicate": "duplicate", "xattr-value": "xattr", "hardlink-break": "hardlink-add",
                                  "hardlink-remove": "hardlink-add"}  # fmt: skip


@dataclass(frozen=True)
class Suite:
    text: str
    blocks: Callable[[Sequence[Recipe]], Iterable[BlockPlan]]  # on the chosen datasets
    datasets: tuple[str, ...] = ("linux",)
    modes: tuple[str, ...] = ()  # of pxarbench; (): its default ones
    modes_of_all: tuple[str, ...] = ()
    rounds: int = 5
    restore: str = "last"
    roofline: bool = False
    during: bool = False
    exhaustive: bool = False
    lines: tuple[str, ...] = ()  # each a subject of its own, beside the folder: subjects/remote.py


def _scenario(recipe: Recipe, scenario: tuple[str, str, str], counted: bool) -> BlockPlan:
    name, title, chain = scenario
    return BlockPlan(recipe, mutate.parse_chain(chain), name, title, counted)


def _modes(recipes: Sequence[Recipe]) -> Iterable[BlockPlan]:
    # Counting system calls makes a run many times slower: of a large tree once, with changes where it takes no time.
    for recipe in recipes:
        for scenario in SCENARIOS if recipe.name != EDGES_DATASET else ():
            yield _scenario(recipe, scenario, scenario[2] == "none")
    edges = next((r for r in recipes if r.name == EDGES_DATASET), None) or datasets.load(EDGES_DATASET)
    for scenario in EDGES:
        yield _scenario(edges, scenario, counted=True)


def _cliff(recipes: Sequence[Recipe]) -> Iterable[BlockPlan]:
    for recipe in recipes:
        for layout in CLIFF_LAYOUTS:
            for rate in CLIFF_RATES:
                yield BlockPlan(recipe, mutate.parse_chain(f"edit:{rate}%:{layout}"), counts_syscalls=False)


def truth_chains() -> list[str]:
    """Each operation that one backup can be asked about."""
    chains = []
    for word, operation in mutate.OPERATIONS.items():
        if operation.grammar == "argument" or operation.during:
            continue
        step = word if operation.grammar == "bare" else f"{word}:{TRUTH_RATE}"
        first = TRUTH_FIRST.get(word)
        chains.append(f"{first}:{TRUTH_RATE}>{word}:50%" if first else step)
    return chains


def _truth(recipes: Sequence[Recipe]) -> Iterable[BlockPlan]:
    return (block for block in product(recipes, truth_chains()))


def _tools(recipes: Sequence[Recipe]) -> Iterable[BlockPlan]:
    return product(recipes, ["none", "edit:1%:clustered"])


NONE = Suite("", lambda recipes: product(recipes, ["none", "edit:1%:clustered"]))
SUITES: dict[str, Suite] = {
    "modes": Suite(
        "scenarios S0 to S12 and S15, each with what must hold in it", _modes, modes=PROFILES, rounds=3, roofline=True
    ),
    "cliff": Suite(
        f"edits at {len(CLIFF_RATES)} rates, spread in {len(CLIFF_LAYOUTS)} ways", _cliff, modes=("data", *METADATA), rounds=2,
        restore="sample",
    ),
    "truth": Suite(
        "every operation, all modes of all subjects: what is noticed, missed, read for nothing", _truth, datasets=("truth",),
        modes_of_all=("all",), rounds=1,
    ),
    "ageing": Suite(
        "20 generations of a random mix", lambda recipes: product(recipes, ["mix:1%*20"]), modes=("data", *METADATA), rounds=1
    ),
    "tools": Suite("first backup, nothing changed, edits, for all subjects that are asked for", _tools, rounds=3),
    "network": Suite(
        "first backup, nothing changed, edits; into a folder and through a server behind lines of "
        + ", ".join(f"{remote.line_of(remote.LINES[name]).rtt_ms or '0'} ms" for name in remote.MODELLED),
        _tools, modes=("data", "metadata"), rounds=3, lines=remote.MODELLED,
    ),
    "during": Suite(
        "files that change while they are read (during.json)", lambda recipes: (), datasets=(), modes=PROFILES, during=True
    ),
    "exhaustive": Suite(
        "a seeded sample of all sequences of up to three operations over a small tree (exhaustive.json)", lambda recipes: (),
        datasets=(), modes=PROFILES, exhaustive=True,
    ),
}  # fmt: skip
