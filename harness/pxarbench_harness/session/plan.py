"""What a session is to do, and the digest of everything that decides its results.

A block is a dataset with a chain of mutations. In each block every contender (a subject in one mode, with a store of its own)
runs in every cache state; that is a case.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import mutate, subjects
from ..datasets import Recipe
from ..mutate import Chain
from ..subjects import Settings, Subject

CACHES = ("warm", "cold")
#: Whose snapshots are restored and compared: of each measured run, of each case's last, of one case in four, of none.
RESTORES = ("all", "last", "sample", "none")
SAMPLE = 4


@dataclass(frozen=True)
class BlockPlan:
    recipe: Recipe
    chain: Chain
    scenario: str = ""  # "S4"; "" outside of a scenario
    title: str = ""  # of the scenario, a few words
    counts_syscalls: bool = True

    @property
    def key(self) -> tuple[str, str]:
        return self.recipe.key, self.chain.text

    @property
    def name(self) -> str:
        return f"{self.recipe.name}, {self.chain.text}"


@dataclass(frozen=True)
class Plan:
    blocks: tuple[BlockPlan, ...]
    contenders: tuple[tuple[str, str], ...]  # (subject, mode), in the order of reports
    rounds: int
    output: Path  # a new folder, or that of an interrupted session of the same plan
    work: Path  # a new folder for stores and restored trees
    memory: Path | None = None  # a new folder in memory for restored trees that fit there; None: all go to `work`
    cache: Path | None = None  # of datasets; None: the usual one
    settings: Settings = field(default_factory=Settings)
    caches: tuple[str, ...] = ("warm",)
    warmups: int = 1
    seed: int = 1
    restore: str = "last"
    suite: str = ""
    keep: bool = False
    counts_syscalls: bool = True
    roofline: bool = False
    during: bool = False
    exhaustive: bool = False
    doctor: bool = False
    argv: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()  # by a budget, in words
    estimates: tuple[float, ...] = ()  # seconds of each block; (): not known

    @property
    def subjects(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name, _ in self.contenders))

    def digest(self) -> str:
        """Of everything that decides the results: an interrupted session is only taken up by the same plan."""
        return hashlib.sha256(json.dumps(self._deciding(), sort_keys=True).encode()).hexdigest()

    def _deciding(self) -> dict[str, Any]:
        named = [("", self.settings.binary), *self.settings.builds.items()]
        return {
            "blocks": [[b.recipe.digest, b.recipe.name, b.chain.text, b.scenario] for b in self.blocks],
            "contenders": self.contenders, "caches": self.caches, "rounds": self.rounds, "warmups": self.warmups,
            "seed": self.seed, "restore": self.restore, "suite": self.suite,
            "settings": [self.settings.sync_level, self.settings.threads, list(self.settings.extra)],
            "programs": {name: _file_digest(path) for name, path in named if path is not None},
            **self._place(),
        }  # fmt: skip

    def _place(self) -> dict[str, Any]:
        """Where the stores are, when it is not a folder."""
        listens = "yes" if self.settings.listens else ""
        named = {"server": self.settings.server, "listens": listens, "repository": self.settings.repository}
        lines = {"lines": list(self.settings.lines)} if self.settings.lines else {}
        return {name: value for name, value in named.items() if value} | lines

    def described(self) -> dict[str, Any]:
        """For plan.json: what was asked for, and all that it takes to do it again elsewhere (bundle/)."""
        chosen: dict[str, list[str]] = {}
        for name, mode in self.contenders:
            chosen.setdefault(name, []).append(mode)
        return {
            "argv": list(self.argv),
            "digest": self.digest(),
            "suite": self.suite,
            "datasets": list(dict.fromkeys(b.recipe.name for b in self.blocks)),
            "mutations": list(dict.fromkeys(b.chain.text for b in self.blocks)),
            "blocks": [
                {
                    "dataset": b.recipe.name, "mutation": b.chain.text, "scenario": b.scenario, "title": b.title,
                    "recipe": b.recipe.key, "counts_syscalls": b.counts_syscalls,
                }
                for b in self.blocks
            ],
            "recipes": {b.recipe.key: {"digest": b.recipe.digest, "values": dict(b.recipe.values)} for b in self.blocks},
            "contenders": [list(pair) for pair in self.contenders],
            "settings": {
                "sync_level": self.settings.sync_level, "threads": self.settings.threads, "extra": list(self.settings.extra),
                **self._place(),
            },
            "during": self.during,
            "exhaustive": self.exhaustive,
            "subjects": [{"name": name, "modes": modes} for name, modes in chosen.items()],
            "caches": list(self.caches),
            "rounds": self.rounds,
            "warmups": self.warmups,
            "restore": self.restore,
            "seed": self.seed,
            "left_out": list(self.left_out),
        }  # fmt: skip


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""  # said when the subject is asked whether it can run


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def case_id(dataset: str, chain: Chain, subject: str, mode: str, cache: str) -> str:
    words = [dataset, chain.words, *([] if subject == "pxarbench" else [subject]), mode, cache]
    return "-".join(_word(word) for word in words)


def case_ids(plan: Plan) -> list[str]:
    return [
        case_id(block.recipe.name, block.chain, subject, mode, cache)
        for block in plan.blocks for subject, mode in plan.contenders for cache in plan.caches
    ]  # fmt: skip


def product(recipes: Iterable[Recipe], chains: Sequence[str | Chain]) -> tuple[BlockPlan, ...]:
    """Each dataset with each chain, each once."""
    parsed = [mutate.parse_chain(chain) if isinstance(chain, str) else chain for chain in chains]
    return unique(BlockPlan(recipe, chain) for recipe in recipes for chain in parsed)


def unique(blocks: Iterable[BlockPlan]) -> tuple[BlockPlan, ...]:
    """Blocks of one dataset behind each other, the first of equal ones kept."""
    grouped: dict[str, dict[tuple[str, str], BlockPlan]] = {}
    for block in blocks:
        grouped.setdefault(block.recipe.key, {}).setdefault(block.key, block)
    return tuple(block for group in grouped.values() for block in group.values())


def contenders(
    registry: Mapping[str, type[Subject]], names: Sequence[str], modes: Sequence[str], defaults: Sequence[str] = ()
) -> tuple[tuple[str, str], ...]:
    """`modes`: of pxarbench in all its builds ("metadata"), of one subject ("restic:force"), or "all". () and subjects that
    none of them names: `defaults` for pxarbench when there are any, else the subject's own. ValueError says what is wrong."""
    for name in names:
        if name not in registry:
            raise ValueError(f"subject {name}: unknown; there are {', '.join(registry)}")
    if not names:
        raise ValueError(f"subject (none): unknown; there are {', '.join(registry)}")
    chosen: dict[str, list[str]] = {name: [] for name in names}
    for text in modes:
        subject, colon, mode = text.rpartition(":")
        owners = [n for n in chosen if n == subject or (not colon and (text == "all" or n.partition("@")[0] == "pxarbench"))]
        if not owners:
            raise ValueError(f"mode {text}: subject {subject or 'pxarbench'} is not among {', '.join(chosen)} (--subjects)")
        for owner in owners:
            there = registry[owner].modes
            if mode != "all" and mode not in there:
                raise ValueError(f"mode {text}: unknown; there are {', '.join(there)}")
            chosen[owner] += there if mode == "all" else [mode]
    for name, found in chosen.items():
        if not found:
            ours = name.partition("@")[0] == "pxarbench"
            found += [m for m in defaults if m in registry[name].modes] if ours and defaults else []
            found += [] if found else registry[name].default_modes or registry[name].modes
    return tuple((name, mode) for name, found in chosen.items() for mode in registry[name].modes if mode in found)


def with_output(plan: Plan, output: Path, work: Path) -> Plan:
    return replace(plan, output=output, work=work)


def registry(settings: Settings) -> dict[str, type[Subject]]:
    made: dict[str, type[Subject]] = subjects.registry(settings)
    return made
