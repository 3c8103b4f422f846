"""Which cases the golden counters are of, and how they run: small seeded datasets x mutations x the five modes of pxarbench.

Each dataset is one session (session/), warm, one measured round; the session's own checks are part of the gate. Chunks of
64 KiB on average make some hundred chunks of a dozen MiB, so that every rule of detection is met in seconds; one dataset runs
with the default of 4 MiB. What a case *is* has a version; numbers of two versions are never compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import datasets
from .. import session as sessions
from ..datasets import Recipe
from ..mutate import parse_chain
from ..record import Record
from ..session.suites import PROFILES
from ..subjects import Settings

#: Raised when the code that makes or counts the cases changes what is counted.
CASE_VERSION = 1

MODES = PROFILES
#: Fixed, so that nothing follows the machine (results do not depend on it; how long it takes does).
THREADS = 2

Values = str | int | float


@dataclass(frozen=True)
class Group:
    """One dataset with its mutations."""

    dataset: str  # a recipe's name
    mutations: tuple[str, ...]
    files: int = 0  # of a generated dataset; 0: the recipe's
    chunk_kib: int = 64
    values: tuple[tuple[str, Values], ...] = ()  # of the recipe, instead of what it says
    modes: tuple[str, ...] = MODES
    server: str = ""  # as of Settings; calls on the line are counted then

    @property
    def recipe(self) -> Recipe:
        """Of another size, or through a server, it has another name: "home-like-300"."""
        recipe = datasets.load(self.dataset)
        if self.values:
            recipe = replace(recipe, values={**recipe.values, **dict(self.values), "content_digest": "", "portable_digest": ""})
        words = [recipe.name]
        if self.files:
            recipe, words = recipe.with_files(self.files), [*words, str(self.files)]
        if self.values:
            words.append("-".join(str(value) for _, value in self.values))
        if self.server:
            words.append(self.server)
        return replace(recipe, name="-".join(words))


GROUPS = (
    Group(
        "home-like",
        (
            "none", "edit:1%:uniform", "edit:10%:clustered", "rewrite:5%:uniform", "append:2%:zipf", "touch:5%:uniform",
            "chmod:5%:uniform", "content-restored:5%:uniform", "size-restored:5%:uniform", "delete:2%:uniform",
            "delete:20%:uniform", "insert:5%:clustered", "rename-directory:5%:uniform", "delete:5%:uniform>edit:2%:uniform",
            "mix:5%>mix:5%:seed=2>mix:5%:seed=3",
        ),
        files=300,
    ),
    Group(
        "at-chunk-edges", ("none", "delete:10%:uniform", "delete:30%:uniform", "rewrite:10%:uniform"),
        values=(("average_kib", 64),),
    ),
    Group("duplicates", ("none", "duplicate:5%:uniform>delete-duplicate:50%:uniform", "delete:30%:uniform"), files=240),
    Group("hardlinks", ("none", "hardlink-add:5%:uniform", "hardlink-break:10%:uniform", "edit:2%:clustered"), files=120),
    Group("home-like", ("none", "edit:1%:uniform", "delete:10%:clustered"), files=1000, chunk_kib=4096),
    Group(
        "duplicates", ("none", "edit:5%:uniform", "delete:30%:uniform"), files=120,
        modes=("data", "metadata", "metadata-stored"), server="loopback",
    ),
)  # fmt: skip


def plan(group: Group, binary: Path, work: Path) -> sessions.Plan:
    """All of the group, in new folders below `work`."""
    recipe = group.recipe
    return sessions.Plan(
        blocks=sessions.product([recipe], group.mutations),
        contenders=tuple(("pxarbench", mode) for mode in group.modes),
        rounds=1, warmups=1, counts_syscalls=False, restore="last", suite="", seed=1,
        output=work / f"session-{recipe.name}", work=work / f"stores-{recipe.name}", cache=work / "cache",
        # What is counted does not hang on when it reaches the disk.
        settings=Settings(
            binary=binary, sync_level="none", threads=THREADS, extra=("--chunk-size", str(group.chunk_kib)), server=group.server,
            listens=bool(group.server),
        ),
    )  # fmt: skip


def ids(group: Group) -> dict[tuple[str, str, str], str]:
    """(dataset, mutation, mode) -> the case as records call it. Without running anything."""
    made = plan(group, Path(), Path())
    keys = [(block.recipe.name, block.chain.text, mode) for block in made.blocks for _, mode in made.contenders]
    return dict(zip(keys, sessions.case_ids(made), strict=True))


def case_ids(groups: Sequence[Group] = GROUPS) -> list[str]:
    return sorted(name for group in groups for name in ids(group).values())


def only(wanted: Collection[str], groups: Sequence[Group] = GROUPS) -> tuple[Group, ...]:
    """What of the groups has to run for these cases (and, where a group has several, some more). ValueError: no such case."""
    found, left = [], set(wanted)
    for group in groups:
        chosen = {case for case, name in ids(group).items() if name in left}
        left -= set(ids(group).values())
        texts = {mutation for _, mutation, _ in chosen}
        mutations = tuple(m for m in group.mutations if parse_chain(m).text in texts)
        modes = tuple(mode for mode in group.modes if any(mode == case[2] for case in chosen))
        if chosen:
            found.append(replace(group, mutations=mutations, modes=modes))
    if left:
        raise ValueError(f"no such case: {', '.join(sorted(left))} (ci/gate --list)")
    return tuple(found)


def version(recipe_digest: str, record: Record, settings: Settings) -> str:
    """Of everything but the program that decides about a case's numbers."""
    what = [
        CASE_VERSION, recipe_digest, record.dataset["portable_digest"], record.mutation["text"], record.subject, record.mode,
        record.cache, settings.threads, settings.sync_level, list(settings.extra), _words(record),
        *([settings.server] if settings.server else []),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]


#: Options that name places or moments: they differ from run to run, and nothing that is counted hangs on them.
_OF_THE_RUN = ("--repository", "--backup-time", "--stats", "--decisions")


def _words(record: Record) -> list[str]:
    """The command without program, source and what is of this run only."""
    words: Iterator[str] = iter(record.command[1:])
    kept = []
    for word in words:
        if word in _OF_THE_RUN:
            next(words, None)
        elif word.startswith("root.pxar:"):
            kept.append("root.pxar")
        else:
            kept.append(word)
    return kept
