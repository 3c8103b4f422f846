"""One dataset with one chain of mutations: from the state after the warm-ups, and back to it.

    [inode change times of files put back by earlier blocks: a further warm-up for those who look at them]
    for each step of the chain:
        the tree is mutated; what changed since each contender's last kept backup is judged
        not the last step      one backup each, kept: a warm-up, or of generations the measured run
        the last step          proof   once, untimed, with the decision for every file
                               rounds  each case once per round, in shuffled order; rewound after each run
                               restore of the last run (or of all); compared; the verdict
    [stores rewound, the tree put back and its digest compared]
"""

from __future__ import annotations

import os
import random
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from .. import archive, cache, check, measure, mutate, run, syscalls, tree
from ..datasets import Dataset
from ..mutate.oracle import Oracle, described
from ..mutate.surroundings import as_pxar_sees
from ..record import Record
from ..state import State, StateChanged
from ..subjects import Command, Outcome, Pxarbench, SubjectFailed
from . import expect
from .contender import Case, Contender, Judge
from .plan import SAMPLE, BlockPlan, case_id
from .problems import SessionFailed
from .restores import Restore, fits_in_memory, several

if TYPE_CHECKING:
    from .engine import Session

RUN_TIMEOUT = 3600.0
#: A cold run that was not cold is repeated at most so often.
COLD_REPEATS = 2
#: With less than this share of the tree in memory, it is read once before warm runs.
WARM_LIMIT = 0.98


@dataclass
class Block:
    session: Session
    dataset: Dataset
    plan: BlockPlan
    contenders: list[Contender]
    host: measure.Host
    home: Path
    pristine: tree.Tree  # as it was at the warm-ups
    judge: Judge
    attempt: int = 1
    records: list[Record] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    tree: tree.Tree = field(init=False)
    pxar_tree: tree.Tree = field(init=False)
    tree_digest: str = ""
    portable_digest: str = ""
    generation: int = 0
    resident: float | None = None  # share of the tree in memory before warm runs
    resident_cold: float | None = None  # before the last cold run
    allocated: dict[int, int] = field(default_factory=dict)  # of the tree as it is: bytes that are not holes
    chilled: bool = False  # the cache was emptied since the tree was last brought in
    last_outcome: Outcome = field(init=False)

    def __post_init__(self) -> None:
        name, chain = self.dataset.name, self.plan.chain
        self.cases = [
            Case(c, state, case_id(name, chain, c.subject.name, c.subject.mode, state))
            for c in self.contenders for state in self.session.plan.caches
        ]  # fmt: skip
        self._now(self.pristine)

    # ---- the whole ----

    def base(self) -> None:
        """The first block of a dataset: reference run and warm-ups of the pristine tree; the stores stay as they are then."""
        for contender in self.contenders:
            self._kept(contender, "reference")
        for _ in range(self.session.plan.warmups):
            for contender in self.contenders:
                self._kept(contender, "warm-up")
        for contender in self.contenders:
            contender.start = contender.capture("start")
            contender.start_seen = contender.seen
            contender.dirty = False

    def run(self) -> None:
        chain = self.plan.chain
        try:
            self._now(self.dataset.tree)
            for contender in self.contenders:
                if contender.notices_putting_back and self._was_put_back(contender):
                    self._kept(contender, "warm-up")
            for number, step in enumerate(chain.steps[:-1]):
                self._mutate(number, step)
                for contender in self.contenders:
                    self._kept(contender, "warm-up")
            for number, step in enumerate(chain.measured):
                self._mutate(len(chain.steps) - 1 + number, step)
                self.generation = number + 1 if self._ages else 0
                if number == len(chain.measured) - 1:
                    self._measure()
                else:
                    self._generation()
        finally:
            for case in self.cases:  # only after a failure: what was measured is kept
                for held in (case.proof, case.last):
                    if held is not None:
                        self._keep(held)
                case.proof = case.last = None
            self._put_back()
        for contender in self.contenders:
            self._rewind_to_start(contender)

    @property
    def _ages(self) -> bool:
        return self.plan.chain.generations > 1

    def _was_put_back(self, contender: Contender) -> bool:
        changes = self._oracle(contender).changes
        return any(change.noticed_by(contender.looks_at) for change in changes)

    def _now(self, now: tree.Tree) -> None:
        self.tree, self.tree_digest, self.portable_digest = now, now.digest(), now.portable_digest()
        self.pxar_tree = as_pxar_sees(now)

    def _view(self, contender: Contender) -> tree.Tree:
        """The tree as this program sees it: archives obey .pxarexclude and stay on one file system."""
        return self.pxar_tree if contender.makes_archives else self.tree

    def _say(self, text: str) -> None:
        self.session.say(text)

    # ---- the tree ----

    def _mutate(self, number: int, step: mutate.Mutation) -> None:
        self.session.step("mutating")
        log = mutate.next_log(self.dataset.folder)
        before = self.tree
        applied = mutate.apply(before, step, log)
        self._now(applied.tree)
        if log.exists():
            many = len(self.plan.chain.steps) + self.plan.chain.generations > 2
            part = f"-{number + 1}" if many else ""
            shutil.copyfile(log, self.session.folder.path / f"oplog-{self.dataset.name}-{self.plan.chain.words}{part}.jsonl")
        if step.operation != "none":
            oracle = self.judge.between(before, self.tree)
            if self.tree.digest() == before.digest() and not oracle.changes and not oracle.gone:
                raise SessionFailed(f"{self.dataset.name}: {step.text} changed nothing: the tree is as it was before")
            size = oracle.necessary_bytes / 2**20
            self._say(
                f"  {step.text}: {len(oracle.content_changed):,} files have contents to be stored ({size:,.1f} MiB), "
                f"{oracle.files:,} files to be read again, {len(oracle.gone):,} gone"
            )
        self.session.step("mutated")

    def _put_back(self) -> None:
        self.session.step("undoing")
        digest = mutate.undo_all(self.dataset.folder, self.dataset.root)
        self.session.step("undone")
        self.judge.forget()
        if digest is None:
            return
        now = tree.scan(self.dataset.root, known=self.dataset.tree)
        if now.digest() != digest or digest != self.dataset.tree.digest():
            few = "; ".join(tree.differences(self.dataset.tree, now)[:3])
            raise SessionFailed(f"{self.dataset.name}: the tree is not what it was before the mutation: {few}")
        # Same entries, new inodes and inode change times: what was hashed just now need not be hashed again.
        self.dataset.tree.entries.update(now.entries)

    # ---- stages ----

    def _generation(self) -> None:
        """Each case is measured once; the contender's last run is kept."""
        before: dict[int, State] = {}
        proven = {}
        for contender in self.contenders:
            before[id(contender)] = self._captured(contender, "generation")
            oracle = self._oracle(contender)
            if oracle.missed_by(contender.looks_at) and contender.subject.tells_decisions:
                case = self._first_case(contender)
                self._prove(case, before[id(contender)])
                proven[id(contender)] = case.read
                if case.proof is not None:
                    self._finished(case.proof)
                    case.proof = None
        order = self._shuffled(1)
        self._bring_in()
        left = {id(c): sum(case.contender is c for case in order) for c in self.contenders}
        for position, case in enumerate(order, 1):
            contender = case.contender
            case.outcomes.clear()
            case.last = self._measured(case, 1, position, before[id(contender)])
            if self.session.plan.restore == "all" and case.last.outcome is not None:
                case.read = proven.get(id(contender))
                self._restore([case])
            done, case.last = case.last, None
            self._finished(done)
            left[id(contender)] -= 1
            if left[id(contender)]:
                self._rewind(contender, before[id(contender)])
            else:
                self._keeps(contender, proven.get(id(contender)))
        for contender in self.contenders:
            self._forget(contender, before[id(contender)])

    def _measure(self) -> None:
        plan = self.session.plan
        before = {id(c): self._captured(c, "rounds") for c in self.contenders}
        for contender in self.contenders:
            for case in self.cases:
                if case.contender is contender:
                    case.outcomes.clear()
                    case.grown.clear()
            if contender.subject.tells_decisions:
                self._prove(self._first_case(contender), before[id(contender)])
        self._bring_in()
        rounds = 1 if self._ages else plan.rounds
        held: list[Case] = []
        for number in range(1, rounds + 1):
            order = self._shuffled(number)
            if self.chilled:
                self._bring_in()
            for position, case in enumerate(order, 1):
                case.last = self._measured(case, number, position, before[id(case.contender)])
                # Restoring between measured runs would push the tree out of the cache: the last snapshots stay until all ran.
                if number == rounds and not any(other.contender is case.contender for other in order[position:]):
                    held.append(case)
                    continue
                if number == rounds:
                    self._check([case])
                elif plan.restore == "all" and case.last.outcome is not None:
                    self._restore([case])
                self._done_with(case, before)
        self._check(held)
        for case in held:
            self._done_with(case, before)
        for contender in self.contenders:
            self._forget(contender, before[id(contender)])

    def _done_with(self, case: Case, before: dict[int, State]) -> None:
        done, case.last = case.last, None
        assert done is not None
        case.grown.append(done.store_added_bytes)
        self._finished(done)
        self._rewind(case.contender, before[id(case.contender)])

    def _shuffled(self, number: int) -> list[Case]:
        order = list(self.cases)
        seed = f"{self.session.plan.seed}/{self.dataset.name}/{self.plan.chain.text}/{number}"
        if self.generation:
            seed += f"/{self.generation}"
        random.Random(seed).shuffle(order)
        # Warm runs first: emptying the cache for a cold one would cool the others down.
        return sorted(order, key=lambda case: case.cache != "warm")

    def _first_case(self, contender: Contender) -> Case:
        return next(case for case in self.cases if case.contender is contender)

    def _oracle(self, contender: Contender) -> Oracle:
        return self.judge.between(contender.seen, self._view(contender))

    # ---- the store ----

    def _captured(self, contender: Contender, name: str) -> State:
        """Where repetitions start from: often the state that the block started from."""
        if not contender.dirty and contender.start is not None:
            return contender.start
        return contender.capture(name)

    def _forget(self, contender: Contender, state: State) -> None:
        if state is not contender.start:
            state.forget()

    def _rewind(self, contender: Contender, state: State) -> None:
        try:
            contender.rewind(state)
        except StateChanged as error:
            raise SessionFailed(f"{contender.label}: {error}; repetitions would not start equal") from error

    def _rewind_to_start(self, contender: Contender) -> None:
        if contender.start is not None:
            self._rewind(contender, contender.start)
        contender.seen = contender.start_seen
        contender.dirty = False

    # ---- runs ----

    def _kept(self, contender: Contender, phase: str) -> None:
        """A backup that later ones refer to. Untimed ones are timed all the same: the record has it, no statistic."""
        case = self._first_case(contender)
        oracle = self._oracle(contender)
        read: check.Read | None = None
        done = None
        if phase == "warm-up" and oracle.missed_by(contender.looks_at) and contender.subject.tells_decisions:
            # Which of these are read for the sake of others decides what is stored.
            done, read = self._once(case, phase, 0, 0, proves=True)
        else:
            done, _ = self._once(case, phase, 0, 0)
        self._finished(done)
        self._keeps(contender, read)

    def _keeps(self, contender: Contender, read: check.Read | None) -> None:
        oracle = self._oracle(contender)
        anyway = read.collateral if read is not None else frozenset()
        contender.seen = contender.stored(self._view(contender), oracle, anyway)
        contender.level = contender.store_bytes(contender.listing or contender.look())
        contender.dirty = True

    def verify(self) -> None:
        """After the last block: the stores are as they were before the first one. Once, for it reads every folder of them."""
        for contender in self.contenders:
            if contender.start is not None and contender.subject.rewinds != "never":
                try:
                    contender.start.verify()
                except StateChanged as error:
                    raise SessionFailed(f"{contender.label}: {error}; repetitions did not start equal") from error

    def _measured(self, case: Case, number: int, position: int, before: State) -> Record:
        """One measured run; a cold one that was not cold is recorded as discarded and repeated."""
        reasons: list[str] = []
        while True:
            reason = ""
            if case.cache == "cold":
                reason = self._chill(case.contender)
            done, _ = self._once(case, "measured", number, position, discarded=reason)
            if not reason:
                return done
            reasons.append(reason)
            self._say(f"    discarded: {reason}")
            if done.outcome is None or len(reasons) > COLD_REPEATS:
                case.discarded = reasons[-1]
                self.session.inconclusive[case.id] = f"no cold run was cold: {reasons[-1]}"
                return done
            self._finished(done)
            self._rewind(case.contender, before)

    def _chill(self, contender: Contender) -> str:
        """Empties the cache. Why the next run will not be cold, "" when it will."""
        places = [self.dataset.root, *(place for place in contender.subject.state() if place.exists())]
        try:
            chill = cache.chill(places, seed=self.session.plan.seed)
        except cache.CacheStays as error:
            return str(error)
        self.chilled, self.resident_cold = True, round(chill.resident, 4)
        return "" if chill.cold else f"{100 * chill.resident:.1f} % of it were in the cache ({chill.how})"

    def _resident(self, case: Case, phase: str) -> float | None:
        if phase not in ("measured", "discarded"):
            return None
        return self.resident if case.cache == "warm" else self.resident_cold

    def _bring_in(self) -> None:
        """For warm runs: the tree has to be in memory. Once per block, and after cold runs: looking at every file takes longer
        than some runs. What was found is in each record."""
        if "warm" not in self.session.plan.caches:
            return
        try:
            if self.chilled:
                for contender in self.contenders:
                    for place in contender.subject.state():
                        cache.warm(place)
                self.chilled = False
            resident = cache.resident(self.dataset.root)
            if resident < WARM_LIMIT:
                cache.warm(self.dataset.root)
                resident = cache.resident(self.dataset.root)
            self.resident = round(resident, 4)
        except cache.CacheStays:
            self.resident = None

    def _once(
        self, case: Case, phase: str, number: int, position: int, *, proves: bool = False, discarded: str = ""
    ) -> tuple[Record, check.Read | None]:
        """One timed backup, judged. A run that fails comes back as a record without outcome."""
        self.session.step(phase)
        contender, session = case.contender, self.session
        subject = contender.subject
        sequence, started = session.next_sequence(), time.time()
        decisions = session.folder.raw / f"decisions-{case.id}.jsonl" if proves else None
        command = subject.backup(self.dataset.root, session.time_of(sequence), decisions)
        raw = session.folder.raw / f"{sequence:04d}-{case.id}-{phase}.json"
        if case.cache == "warm":
            run.sync_filesystem(self.home)  # writing back what an earlier step left must not fall into this run
        load = os.getloadavg()[0]
        sample = measure.timed(command.argv, raw=raw, env=command.env, cwd=command.cwd, timeout=RUN_TIMEOUT)
        outcome, problems, read = None, [], None
        if sample.exit_code != 0:
            said = (sample.errors or sample.output).decode(errors="replace").strip().splitlines()
            problems.append(f"exit {sample.exit_code}: {' / '.join(said[-3:])}")
        else:
            try:
                outcome = subject.outcome(sample.output)
                if decisions is not None:
                    read = check.read_of(subject, self._view(contender), decisions, sample.output, self.dataset.root)
            except (SubjectFailed, OSError, KeyError, ValueError, TypeError) as error:
                problems.append(f"{type(error).__name__}: {error}")
        is_split = isinstance(subject, Pxarbench) and subject.mode != "legacy" and bool(subject.state())
        if decisions is not None and outcome is not None and is_split:
            assert isinstance(subject, Pxarbench)
            problems += archive.problems(subject.store, outcome, decisions, contender.headers)
        if decisions is not None:
            decisions.unlink(missing_ok=True)
        if outcome is not None:
            self.last_outcome = outcome
            problems += self._engaged(contender, outcome)
            # To say why a file is read again, and whether in vain, a run that tells its decisions looks into old chunks.
            # What came from a server is counted there as well.
            counts = (subject.reads_everything or not proves) and not outcome.network
            rchar = sample.io.get("rchar") if counts else None
            problems += check.bytes_read(subject, outcome, rchar, self._view(contender), self._allocated(contender))
            if phase == "measured" and not discarded:
                case.outcomes.append(outcome)
        contender.dirty, contender.is_current = True, False
        shown = "discarded" if discarded else phase
        self._say(f"  {case.label}: {self._intro(shown, number)}: {sample.wall_ns / 1e9:.3f} s")
        done = self._record(case, shown, number, position, sequence, started, load, command, sample, outcome, problems)
        if discarded:
            done = replace(done, settings={**done.settings, "discarded": discarded})
        self._say_problems(problems)
        return done, read

    def _intro(self, phase: str, number: int) -> str:
        if self.generation:
            return f"{phase} run, generation {self.generation} of {self.plan.chain.generations}"
        return f"measured run {number} of {self.session.plan.rounds}" if phase == "measured" else f"{phase} run"

    def _say_problems(self, problems: list[str]) -> None:
        for problem in problems:
            self._say(f"    PROBLEM {problem}")

    def _keep(self, done: Record) -> None:
        self.records.append(done)
        self.session.keep_record(done)

    def _finished(self, done: Record) -> None:
        self._keep(done)
        if done.outcome is None:
            raise SessionFailed(f"{done.case}: {done.phase} run failed: {done.problems[0]}")

    def _engaged(self, contender: Contender, outcome: Outcome) -> list[str]:
        subject = contender.subject
        want = subject.expected(self._view(contender), self._oracle(contender), contender.filesystem)
        return check.engaged(subject, outcome, want, referenced=contender.seen is not None)

    def _allocated(self, contender: Contender) -> int:
        """Bytes of the files that this program stores, holes left out."""
        if not contender.subject.reads_everything:
            return 0
        view = self._view(contender)
        if id(view) not in self.allocated:
            top = os.fsencode(self.dataset.root)
            files = ((e.size, os.lstat(os.path.join(top, e.path)).st_blocks) for e in view.files())
            self.allocated = {id(view): sum(min(size, 512 * blocks) for size, blocks in files)}
        return self.allocated[id(view)]

    def _left_out(self, contender: Contender) -> frozenset[str]:
        return contender.subject.fields_left_out(contender.filesystem)

    def _record(
        self, case: Case, phase: str, number: int, position: int, sequence: int, started: float, load: float,
        command: Command, sample: measure.Sample, outcome: Outcome | None, problems: list[str],
    ) -> Record:  # fmt: skip
        contender, session = case.contender, self.session
        subject, oracle = contender.subject, self._oracle(contender)
        step = self.plan.chain.steps[-1]
        necessary = oracle.necessary_bytes if contender.seen is not None else self._view(contender).file_bytes
        store = contender.store_bytes(contender.look())
        return Record(
            session=session.id,
            sequence=sequence,
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            case=case.id,
            dataset={
                "name": self.dataset.name,
                "source": self.dataset.source,
                "files": self.tree.file_count,
                "bytes": self.tree.file_bytes,
                "entries": len(self.tree.entries),
                "tree_digest": self.tree_digest,
                "portable_digest": self.portable_digest,
            },
            mutation={
                "text": self.plan.chain.text,
                "operation": step.operation,
                "rate": step.rate,
                "layout": step.layout,
                "files": oracle.files,
                "bytes": oracle.bytes,
                "facets": described(oracle.changes),
                "gone": len(oracle.gone),
            },
            subject=subject.name,
            mode=subject.mode,
            cache=case.cache,
            phase=phase,
            round=number,
            position=position,
            command=command.argv,
            settings={**subject.described(), "not_compared": ", ".join(sorted(self._left_out(contender)))},
            exit_code=sample.exit_code,
            wall_ns=sample.wall_ns,
            user_ns=sample.user_ns,
            system_ns=sample.system_ns,
            peak_rss_bytes=sample.peak_rss_bytes,
            io=dict(sample.io),
            syscalls=None,
            resident=self._resident(case, phase),
            store_bytes=store if outcome is not None else None,
            store_added_bytes=max(0, store - contender.level) if outcome is not None else None,
            necessary_bytes=necessary,
            verdict=None,
            outcome=None if outcome is None else {**asdict(replace(outcome, raw={})), "raw": dict(outcome.raw)},
            problems=tuple(problems),
            restored=False,
            suite=session.plan.suite,
            scenario=self.plan.scenario,
            generation=self.generation,
            attempt=self.attempt,
            seed=session.plan.seed,
            load_average=round(load, 2),
            commit=measure.commit(),
            host_fingerprint=self.host.fingerprint,
            host=asdict(self.host),
        )

    # ---- proof and check ----

    def _prove(self, case: Case, before: State) -> None:
        """One run outside of the statistics that tells every decision; and one under a tracer that counts system calls."""
        contender = case.contender
        done, case.read = self._once(case, "proof", 0, 0, proves=True)
        problems = list(done.problems)
        if done.outcome is not None and case.read is not None:
            found = check.decisions(
                contender.subject, case.read, self.last_outcome, self._oracle(contender), self._view(contender),
                contender.filesystem,
            )  # fmt: skip
            self._say_problems(found)
            problems += found
        case.proof = replace(done, problems=tuple(problems))
        case.proven = self.last_outcome if done.outcome is not None else None
        if done.outcome is None:
            held, case.proof = case.proof, None
            self._finished(held)
        self._rewind(contender, before)
        if self.plan.counts_syscalls and self.session.counts_syscalls and self.session.plan.counts_syscalls:
            counts, found = self._count_syscalls(contender)
            self._say_problems(found)
            if case.proof is not None:
                case.proof = replace(case.proof, syscalls=counts, problems=(*case.proof.problems, *found))
            self._rewind(contender, before)

    def _count_syscalls(self, contender: Contender) -> tuple[dict[str, int] | None, list[str]]:
        """And what went wrong."""
        self.session.step("counting")
        command = contender.subject.backup(self.dataset.root, self.session.time_of(self.session.next_sequence()))
        contender.dirty, contender.is_current = True, False
        try:
            result, counts = syscalls.count(command.argv, env=command.env, cwd=command.cwd, timeout=RUN_TIMEOUT)
        except syscalls.SyscallsUncounted as error:
            self.session.counts_syscalls = False
            self._say(f"system calls are not counted: {error}")
            return None, []
        if result.returncode != 0:
            return None, [f"exit {result.returncode} under {syscalls.instrument()[0]}, which counts system calls"]
        return counts or None, []

    def _is_restored(self, case: Case) -> bool:
        how = self.session.plan.restore
        if how == "none":
            return False
        if how in ("all", "last") or self.plan.scenario or self._oracle(case.contender).missed_by(case.contender.looks_at):
            return True
        return random.Random(f"{self.session.plan.seed}/{case.id}/restore").randrange(SAMPLE) == 0

    def _check(self, cases: list[Case]) -> None:
        """Of last measured runs: the restore, the verdict, what the scenario expects."""
        for case in cases:
            case.missed = None
        good = [c for c in cases if c.last is not None and c.last.outcome is not None and c.last.phase != "discarded"]
        self._restore([case for case in good if self._is_restored(case)])
        for case in cases:
            if case in good:
                self._judge(case)
            self._finish_proof(case)

    def _judge(self, case: Case) -> None:
        contender, oracle, view = case.contender, self._oracle(case.contender), self._view(case.contender)
        subject, outcome, read = contender.subject, case.outcomes[-1], self._first_case(contender).read
        found = check.repeatable(subject, [*([case.proven] if case.proven else []), *case.outcomes])
        found += check.equal_growth(subject, [*case.grown, case.last.store_added_bytes if case.last else None])
        seen = expect.Seen(subject, contender.filesystem, oracle, outcome, read, case.missed, view, contender.seen)
        found += expect.problems(self.plan.scenario, seen)
        self._say_problems(found)
        verdict = None
        if not subject.tells_decisions:
            verdict = check.verdict(subject, oracle, contender.filesystem, view, outcome, read, case.missed)
        assert case.last is not None
        case.last = replace(case.last, problems=(*case.last.problems, *found), verdict=verdict)

    def _finish_proof(self, case: Case) -> None:
        held, case.proof = case.proof, None
        if held is None or case.proven is None:
            return
        contender = case.contender
        verdict = check.verdict(
            contender.subject, self._oracle(contender), contender.filesystem, self._view(contender), case.proven, case.read,
            case.missed,
        )  # fmt: skip
        self._finished(replace(held, verdict=verdict))

    def _restored_below(self, contender: Contender) -> Path:
        memory = self.session.plan.memory
        if memory is None or not contender.subject.restores_to_memory or not fits_in_memory(self._view(contender), memory.parent):
            return self.home
        return memory

    def _restore(self, cases: list[Case]) -> None:
        """Restores the snapshots of the cases' last runs and compares them with what they have to hold."""
        self.session.step("restoring")
        chosen, jobs = [], []
        for case in cases:
            contender, view = case.contender, self._view(case.contender)
            if reason := contender.subject.unfit(view):
                self.session.inconclusive[case.id] = f"cannot be restored: {reason}"
                self._say(f"  {case.label}: cannot be restored: {reason}")
                continue
            read = self._first_case(contender).read
            stored = contender.stored(view, self._oracle(contender), read.collateral if read is not None else frozenset())
            scratch = self._restored_below(contender) / f"restored-{len(jobs)}"
            chosen.append(case)
            jobs.append(
                Restore(
                    contender.subject, case.outcomes[-1], self.dataset.root, scratch, view, stored, contender.seen,
                    self._left_out(contender),
                )
            )  # fmt: skip
            contender.is_current = False  # some programs write locks and caches while they restore
        for case, job, back in zip(chosen, jobs, several(jobs), strict=True):
            assert case.last is not None
            case.missed = back.missed
            also = f", {len(back.missed)} with old contents, as expected" if back.missed and not back.problems else ""
            self._say(
                f"  {case.label}: restored and compared {len(job.stored.entries):,} entries: "
                f"{'equal' if not back.problems else 'PROBLEMS'}{also} ({back.seconds:.1f} s)"
            )
            self._say_problems(list(back.problems))
            outcome = {**case.last.outcome, "restore": dict(back.cost)} if case.last.outcome is not None else None
            problems = (*case.last.problems, *back.problems)
            case.last = replace(case.last, problems=problems, restored=True, outcome=outcome)
