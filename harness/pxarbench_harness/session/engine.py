"""A session: datasets, their blocks, what is finished and what is left.

Backup times are given explicitly: a fixed second and the run's number in the session. So no two runs of a store share a
second, the clock does not matter, and a run that is repeated has its time again.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from .. import datasets, measure, mutate, record
from ..datasets import Dataset
from ..record import Record
from ..subjects import SubjectFailed
from ..tree import Tree, show
from . import extras
from .block import Block
from .contender import Contender, Judge
from .journal import FINISHED, Finished, SessionFolder
from .plan import BlockPlan, Plan, registry
from .problems import SessionFailed
from .restores import AT_ONCE

#: Of the backups: run n is made at this second and n.
FIRST_TIME = 1_700_000_000

#: Work folders: WORK_PREFIX, the session's name, "-", process id. KEPT marks one that --keep keeps.
WORK_PREFIX = "pxarbench-work-"
KEPT = "kept"


@dataclass
class Session:
    plan: Plan
    say: Callable[[str], None] = print
    #: Called with a word before each step (tests interrupt there).
    step: Callable[[str], None] = lambda _: None
    fresh: bool = False
    records: list[Record] = field(default_factory=list)
    #: Subjects that were asked for and cannot run here: name -> reason.
    missing: dict[str, str] = field(default_factory=dict)
    #: Cases without a result: case -> reason.
    inconclusive: dict[str, str] = field(default_factory=dict)
    #: Blocks whose operation this tree or this machine does not allow: block -> reason.
    unavailable: dict[str, str] = field(default_factory=dict)
    other_problems: list[str] = field(default_factory=list)
    counts_syscalls: bool = True
    folder: SessionFolder = field(init=False)
    _sequence: int = 0
    _spent: float = 0.0
    _foreseen: float = 0.0

    @property
    def problems(self) -> list[str]:
        return [f"{r.case}: {p}" for r in self.records for p in r.problems] + self.other_problems

    def reasons(self) -> list[str]:
        """Why not everything that was asked for has a result."""
        return [*self.missing.values(), *self.unclear(), *(f"{block}: {why}" for block, why in self.unavailable.items())]

    def unclear(self) -> list[str]:
        """Cases without a result, by reason."""
        cases: dict[str, list[str]] = {}
        for case, reason in self.inconclusive.items():
            cases.setdefault(reason, []).append(case)
        return [f"{names[0] if len(names) == 1 else f'{len(names)} cases'}: {reason}" for reason, names in cases.items()]

    @property
    def id(self) -> str:
        return self.plan.output.name

    @property
    def records_path(self) -> Path:
        return self.plan.output / "records.jsonl"

    # ---- the whole ----

    def run(self) -> list[Record]:
        """All records. SessionFailed, DatasetFailed, MutationFailed, ToolMissing: it could not go on."""
        plan = self.plan
        self.folder = SessionFolder.open(plan.output, plan.described(), fresh=self.fresh)
        try:
            return self._run()
        finally:
            self.folder.close()

    def _known(self) -> None:
        """What finished blocks have."""
        for block in self.folder.in_order():
            self.records += block.records
            self.inconclusive.update(block.inconclusive)
            self.unavailable.update(block.skipped)

    def _run(self) -> list[Record]:
        plan = self.plan
        if self.folder.is_finished:
            self._known()
            self.missing.update(self.folder.plan.get("missing", {}))
            self.other_problems += self.folder.plan.get("other_problems", [])
            self.say(f"{self.folder.path}: this session is finished (--fresh begins anew)")
            return self.records
        known = registry(plan.settings)
        for name in plan.subjects:
            reason = known[name].missing(plan.settings)
            if reason:
                self.missing[name] = reason
                self.say(f"skipped {name}: {reason}")
        usable = [(name, mode) for name, mode in plan.contenders if name not in self.missing]
        if not usable:
            raise SessionFailed("nothing to run: " + "; ".join(self.missing.values()))
        if self.folder.attempt > 1:
            done = len(self.folder.finished)
            self.say(f"going on with {self.folder.path}: {done} blocks are finished (attempt {self.folder.attempt})")
        for text in plan.left_out:
            self.say(f"left out: {text}")
        self._known()
        plan.work.mkdir(parents=True, exist_ok=True)
        if plan.keep:
            (plan.work / KEPT).touch()
        if plan.doctor:
            extras.write_doctor(self)
        try:
            number = 0
            for _, blocks in groupby(enumerate(plan.blocks), key=lambda b: b[1].recipe.key):
                group = list(blocks)
                numbered = [(number + 1 + n, place, block) for n, (place, block) in enumerate(group)]
                left = [n for n, _, _ in numbered if n not in self.folder.finished]
                if left or number not in self.folder.finished:
                    with datasets.prepare(group[0][1].recipe, cache=plan.cache, say=self.say) as dataset:
                        self._dataset(dataset, usable, number, numbered)
                number += 1 + len(group)
            if plan.during:
                self.other_problems += extras.write_during(self)
            if plan.exhaustive:
                self.other_problems += extras.write_exhaustive(self)
        finally:
            if not plan.keep:
                shutil.rmtree(plan.work, ignore_errors=True)
            if plan.memory is not None:
                shutil.rmtree(plan.memory, ignore_errors=True)
        self.step("finishing")
        self.folder.write_plan(
            state=FINISHED, missing=self.missing, inconclusive=self.unclear(), skipped=self.unavailable,
            other_problems=self.other_problems,
        )  # fmt: skip
        return self.records

    def _dataset(
        self, dataset: Dataset, usable: Sequence[tuple[str, str]], number: int, blocks: Sequence[tuple[int, int, BlockPlan]]
    ) -> None:
        plan, known = self.plan, registry(self.plan.settings)
        home = plan.work / dataset.name
        if home.exists():  # of an attempt that was killed
            shutil.rmtree(home)
        home.mkdir(parents=True)
        # Those whose files are brought back from copies have two of these.
        stores = sum(3 if known[name].rewinds == "copy" else 1 for name, _ in usable)
        self._check_space(dataset, home, stores)
        tools = {"hyperfine": measure.version_of("hyperfine")}
        for name in dict.fromkeys(name for name, _ in usable):
            tools.update(known[name].versions(plan.settings))
        host = measure.host(dataset.root, home, tools)
        self._same_machine(dataset, host)
        self._no_patterns(dataset)
        filesystem = host.tree_filesystem.split()[0]
        contenders = []
        for name, mode in usable:
            folder = home / f"{name}-{mode}"
            contenders.append(Contender(known[name](mode, folder, plan.settings), folder, filesystem))
        try:
            with ExitStack() as ends:
                for contender in contenders:
                    ends.callback(contender.subject.close)
                    contender.subject.create()
                self._dataset_blocks(dataset, number, blocks, contenders, host, home)
        except SubjectFailed as error:
            raise SessionFailed(str(error)) from None

    def _dataset_blocks(
        self, dataset: Dataset, number: int, blocks: Sequence[tuple[int, int, BlockPlan]], contenders: list[Contender],
        host: measure.Host, home: Path,
    ) -> None:  # fmt: skip
        plan = self.plan
        # Of its own: entries of the dataset's listing are renewed whenever files were put back.
        pristine = Tree(dataset.tree.root, dict(dataset.tree.entries))
        judge = Judge(names=any(c.subject.counts_names for c in contenders))

        def block(block_plan: BlockPlan) -> Block:
            return Block(self, dataset, block_plan, contenders, host, home, pristine, judge, self.folder.attempt)

        self.say(f"\n{dataset.name}: first backups")
        if plan.roofline:
            extras.write_roofline(self, dataset)
        self._block(number, block(blocks[0][2]), base=True)
        for n, place, block_plan in blocks:
            if n in self.folder.finished:
                continue
            self.say(f"\n[{place + 1}/{len(plan.blocks)}] {_title(block_plan)}{self._left(place)}")
            begun = time.monotonic()
            self._block(n, block(block_plan), base=False)
            self._spent += time.monotonic() - begun
            self._foreseen += plan.estimates[place] if plan.estimates else 1.0
        self.step("verifying")
        block(blocks[-1][2]).verify()
        if not plan.keep:
            shutil.rmtree(home)

    def _block(self, number: int, block: Block, *, base: bool) -> None:
        """One block, from its first run to the file that says that it is finished. What an earlier attempt recorded of it is
        replaced: the stores of that attempt are gone."""
        before = [finished for n, finished in self.folder.finished.items() if n < number]
        old = self.folder.finished.pop(number, None)
        if old is not None:
            stale = {r.sequence for r in old.records}
            self.records = [r for r in self.records if r.sequence not in stale]
            self.folder.rewrite_records()
        self._sequence = max((finished.last_sequence for finished in before), default=0)
        begun, skipped = time.monotonic(), {}
        try:
            block.base() if base else block.run()
        except mutate.NotAvailable as error:
            skipped = {block.plan.name: str(error)}
            self.unavailable.update(skipped)
            self.say(f"  skipped: {error}")
        self.step("finished")
        cases = {case.id for case in block.cases}
        unclear = {case: reason for case, reason in self.inconclusive.items() if case in cases}
        self.folder.finish(
            Finished(number, self._sequence, time.monotonic() - begun, tuple(block.records), unclear, skipped),
            kind="base" if base else "block", dataset=block.dataset.name, mutation=block.plan.chain.text,
            scenario=block.plan.scenario, attempt=block.attempt,
        )  # fmt: skip
        self.step("written")

    def _left(self, place: int) -> str:
        plan = self.plan
        weights = plan.estimates or (1.0,) * len(plan.blocks)
        left = sum(weights[place:])
        if self._foreseen:
            left *= self._spent / self._foreseen
        elif not plan.estimates:
            return ""
        return f", about {max(1, round(left / 60))} min left"

    def _same_machine(self, dataset: Dataset, host: measure.Host) -> None:
        for finished in self.folder.in_order():
            for r in finished.records:
                if r.dataset["name"] == dataset.name and r.host_fingerprint != host.fingerprint:
                    raise SessionFailed(
                        f"{self.folder.path}: its records were made on another machine or with other tools "
                        f"({r.host_fingerprint}, here {host.fingerprint}): times would not compare; --fresh begins anew"
                    )

    def _no_patterns(self, dataset: Dataset) -> None:
        """Patterns of the tree's own: which files an archive leaves out only the program could say, and nobody judge."""
        for path in dataset.tree.entries:
            if path.rpartition(b"/")[2] == b".pxarexclude":
                raise SessionFailed(
                    f"{dataset.name}: {show(path)}: archives leave out what its patterns say, so that no restore could be "
                    "compared with the tree; back up a tree without it"
                )

    def _check_space(self, dataset: Dataset, home: Path, stores: int) -> None:
        needed = round(dataset.tree.file_bytes * (stores + 1.2 * AT_ONCE)) + (256 << 20)
        free = shutil.disk_usage(home).free
        if free < needed:
            raise SessionFailed(
                f"{home}: stores and restored trees may need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free "
                "(--work names another place)"
            )

    def discard(self) -> None:
        """Removes a session's folder in which nothing was recorded, if it made one."""
        if hasattr(self, "folder") and not self.folder.finished:
            shutil.rmtree(self.folder.path, ignore_errors=True)

    def time_of(self, sequence: int) -> int:
        return FIRST_TIME + sequence

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def keep_record(self, *records: Record) -> None:
        record.append(self.records_path, records)
        self.records.extend(records)


def _title(block: BlockPlan) -> str:
    scenario = f"{block.scenario} ({block.title}): " if block.scenario else ""
    return f"{scenario}{block.name}"


def abandoned(place: Path) -> list[Path]:
    """Work folders below `place` whose session is gone without having removed them. Kept ones are not among them."""
    found = []
    for folder in place.glob(f"{WORK_PREFIX}*-*"):
        owner = folder.name.rpartition("-")[2]
        if not owner.isdecimal() or Path(f"/proc/{owner}").exists() or (folder / KEPT).exists():
            continue
        if folder.stat().st_uid == os.geteuid():  # memory is everybody's
            found.append(folder)
    return found


def work_folder(place: Path, output: Path) -> Path:
    """A new name below `place`. Never `place` itself: it is removed at the end."""
    return place / f"{WORK_PREFIX}{output.name}-{os.getpid()}"


def session_names(results: Path) -> Iterator[Path]:
    """Names for results/runs: the date, then a number; the first free one is taken by making it."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    for number in range(1, sys.maxsize):
        yield results / "runs" / f"{day}-{number:03d}"


def new_output(results: Path) -> Path:
    for path in session_names(results):
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable")
