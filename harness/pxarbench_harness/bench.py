"""A session: datasets x mutations x modes, in interleaved rounds, every case checked.

One block is one dataset with one mutation. In it, per case (a mode of a subject, with a store of its own):

    reference run   first backup ever (first block only); without a reference, so it reads everything
    warm-ups        further backups of the unchanged tree; kept, so the last one is what measured runs refer to
    [the tree is mutated, the oracle is written down, the state of all stores is listed]
    rounds          each case once per round, in shuffled order; after each run the store is rewound to that state
    check           the last run's snapshot is restored and compared with the tree
    proof           once more, untimed, with the decision for every file; must agree with oracle and measured runs
    [stores are rewound, the tree is put back and its digest compared]

Waiting, syncing, rewinding, restoring lie outside of what is timed. Backup times are given explicitly and grow by one
second per run, so no two runs of a group share a second and the clock does not matter.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from . import check, datasets, measure, mutate, record, run, tree
from .datasets import Dataset
from .mutate import Mutation, Oracle
from .record import Record
from .state import State, StateChanged
from .subjects import SUBJECTS, Outcome, Settings, Subject, SubjectFailed

CACHE_STATE = "warm"
RUN_TIMEOUT = 3600.0

#: Work folders: WORK_PREFIX, the session's name, "-", process id. KEPT marks one that --keep keeps.
WORK_PREFIX = "pxarbench-work-"
KEPT = "kept"


class SessionFailed(Exception):
    """The session cannot go on; the text says why. What was recorded until then stays."""


@dataclass(frozen=True)
class Plan:
    recipes: tuple[datasets.Recipe, ...]
    mutations: tuple[Mutation, ...]
    subjects: tuple[str, ...]
    rounds: int
    output: Path  # a new folder for records and raw data
    work: Path  # a new folder for stores and restored trees
    cache: Path | None = None
    settings: Settings = field(default_factory=Settings)
    modes: tuple[str, ...] = ()  # of pxarbench; (): all
    warmups: int = 1
    seed: int = 1
    keep: bool = False


def case_id(dataset: str, mutation: Mutation, subject: str, mode: str) -> str:
    words = [dataset, mutation.words, *([] if subject == "pxarbench" else [subject]), mode, CACHE_STATE]
    return "-".join(words)


def modes_of(plan: Plan, subject: str) -> tuple[str, ...]:
    modes = SUBJECTS[subject].modes
    return tuple(m for m in modes if m in plan.modes) if plan.modes and subject == "pxarbench" else modes


def case_ids(plan: Plan) -> list[str]:
    return [
        case_id(recipe.name, mutation, subject, mode)
        for recipe in plan.recipes for mutation in plan.mutations for subject in plan.subjects
        for mode in modes_of(plan, subject)
    ]  # fmt: skip


@dataclass
class Case:
    """One subject in one mode, with what the current block knows about it."""

    subject: Subject
    put_back: Oracle = Oracle(())  # what was changed and put back since its last kept backup
    baseline: State | None = None
    outcomes: list[Outcome] = field(default_factory=list)  # of the block's measured runs
    last: Record | None = None  # held back until its snapshot has been restored

    @property
    def label(self) -> str:
        name, mode = self.subject.name, self.subject.mode
        return mode if name == "pxarbench" else f"{name} {mode}"


@dataclass
class Session:
    plan: Plan
    say: Callable[[str], None] = print
    records: list[Record] = field(default_factory=list)
    #: Subjects that were asked for and cannot run here: name -> reason.
    missing: dict[str, str] = field(default_factory=dict)
    _time: int = field(default_factory=lambda: int(time.time()))
    _sequence: int = 0

    @property
    def problems(self) -> list[str]:
        return [f"{r.case}: {p}" for r in self.records for p in r.problems]

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
        usable = []
        for name in plan.subjects:
            reason = SUBJECTS[name].missing(plan.settings)
            if reason:
                self.missing[name] = reason
                self.say(f"skipped {name}: {reason}")
            else:
                usable.append(name)
        if not usable:
            raise SessionFailed("nothing to run: " + "; ".join(self.missing.values()))
        (plan.output / "raw").mkdir(parents=True, exist_ok=True)
        plan.work.mkdir(parents=True, exist_ok=True)
        if plan.keep:
            (plan.work / KEPT).touch()
        try:
            for recipe in plan.recipes:
                with datasets.prepare(recipe, cache=plan.cache, say=self.say) as dataset:
                    self._dataset(dataset, usable)
        finally:
            if not plan.keep:
                shutil.rmtree(plan.work, ignore_errors=True)
        return self.records

    def _dataset(self, dataset: Dataset, subjects: Sequence[str]) -> None:
        plan = self.plan
        home = plan.work / dataset.name
        cases = [
            Case(SUBJECTS[name](mode, home / f"{name}-{mode}", plan.settings))
            for name in subjects
            for mode in modes_of(plan, name)
        ]
        home.mkdir(parents=True, exist_ok=True)
        self._check_space(dataset, home, len(cases))
        tools = {"hyperfine": measure.version_of("hyperfine")}
        for name in subjects:
            tools.update(SUBJECTS[name].versions(plan.settings))
        host = measure.host(dataset.root, home, tools)
        for case in cases:
            case.subject.create()
        for number, mutation in enumerate(plan.mutations):
            _Block(self, dataset, mutation, cases, host, home).run(first=number == 0)
        if not plan.keep:
            shutil.rmtree(home)

    def _check_space(self, dataset: Dataset, home: Path, stores: int) -> None:
        needed = round(dataset.tree.file_bytes * (stores + 1.2)) + (256 << 20)
        free = shutil.disk_usage(home).free
        if free < needed:
            raise SessionFailed(
                f"{home}: stores and a restored tree may need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free "
                "(--work names another place)"
            )

    def next_time(self) -> int:
        self._time += 1
        return self._time

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def keep_record(self, *records: Record) -> None:
        record.append(self.records_path, records)
        self.records.extend(records)


@dataclass
class _Block:
    session: Session
    dataset: Dataset
    mutation: Mutation
    cases: list[Case]
    host: measure.Host
    home: Path
    oracle: Oracle = Oracle(())
    tree: tree.Tree | None = None  # as it is now
    tree_digest: str = ""

    def run(self, *, first: bool) -> None:
        plan, say = self.session.plan, self.session.say
        say(f"\n{self.dataset.name}, {self.mutation.text}")
        self._now(self.dataset.tree)
        for case in self.cases:
            case.outcomes.clear()
        if first:
            for case in self.cases:
                self._finished(self._run(case, "reference", 0, 0, referenced=False))
        # A later block needs at least one: putting a tree back leaves new inode change times behind, which restic
        # looks at; only a backup after that is a reference to which the tree is unchanged for everyone.
        for _ in range(plan.warmups if first else max(1, plan.warmups)):
            for case in self.cases:
                self._finished(self._run(case, "warm-up", 0, 0, referenced=True))
        try:
            self._mutate()
            for case in self.cases:
                case.baseline = State.capture(case.subject.state())
            self._rounds()
            for case in self.cases:
                self._check(case)
        finally:
            for case in self.cases:  # only after a failure: what was measured is kept
                if case.last is not None:
                    self.session.keep_record(case.last)
                    case.last = None
            self._put_back()

    def _now(self, now: tree.Tree) -> None:
        self.tree, self.tree_digest = now, now.digest()

    def _mutate(self) -> None:
        applied = mutate.apply(self.dataset.tree, self.mutation, self.dataset.op_log)
        self.oracle = applied.oracle
        if self.oracle.ops:
            self._now(applied.tree)
            shutil.copyfile(
                self.dataset.op_log,
                self.session.plan.output / f"oplog-{self.dataset.name}-{self.mutation.words}.jsonl",
            )
            size = self.oracle.bytes / 2**20
            self.session.say(f"  changed {self.oracle.files:,} files, {size:,.1f} MiB, by {self.mutation.text}")

    def _put_back(self) -> None:
        for case in self.cases:
            case.put_back = self.oracle
        digest = mutate.undo(self.dataset.op_log, self.dataset.root)
        if digest is None:
            return
        now = tree.scan(self.dataset.root, known=self.dataset.tree)
        if now.digest() != digest:
            few = "; ".join(tree.differences(self.dataset.tree, now)[:3])
            raise SessionFailed(f"{self.dataset.name}: the tree is not what it was before the mutation: {few}")
        # Same entries, new inode change times: what was hashed just now need not be hashed again.
        self.dataset.tree.entries.update(now.entries)

    # ---- runs ----

    def _rounds(self) -> None:
        plan = self.session.plan
        for number in range(1, plan.rounds + 1):
            order = list(self.cases)
            random.Random(f"{plan.seed}/{self.dataset.name}/{self.mutation.text}/{number}").shuffle(order)
            for position, case in enumerate(order, 1):
                done = self._run(case, "measured", number, position, referenced=True)
                if number < plan.rounds:
                    self._finished(done)
                    self._rewind(case)
                else:
                    case.last = done

    def _rewind(self, case: Case) -> None:
        assert case.baseline is not None
        try:
            case.baseline.rewind()
        except StateChanged as error:
            raise SessionFailed(f"{case.label}: {error}; repetitions would not start equal") from error

    def _finished(self, done: Record) -> None:
        self.session.keep_record(done)
        if done.outcome is None:
            raise SessionFailed(f"{done.case}: {done.phase} run failed: {done.problems[0]}")

    def _intro(self, case: Case, phase: str, number: int) -> str:
        name = f"measured run {number} of {self.session.plan.rounds}" if phase == "measured" else f"{phase} run"
        return f"  {case.label}: {name}"

    def _raw_name(self, case: Case, phase: str, sequence: int) -> str:
        return f"{sequence:04d}-{case_id(self.dataset.name, self.mutation, case.subject.name, case.subject.mode)}-{phase}"

    def _run(self, case: Case, phase: str, number: int, position: int, *, referenced: bool) -> Record:
        """One timed backup, judged. A run that fails comes back as a record without outcome."""
        sequence, started = self.session.next_sequence(), time.time()
        command = case.subject.backup(self.dataset.root, self.session.next_time())
        raw = self.session.plan.output / "raw" / (self._raw_name(case, phase, sequence) + ".json")
        run.sync_filesystem(self.home)  # writing back what an earlier step left must not fall into this run
        load = os.getloadavg()[0]
        sample = measure.timed(command.argv, raw=raw, env=command.env, cwd=command.cwd, timeout=RUN_TIMEOUT)
        outcome, problems = None, []
        if sample.exit_code != 0:
            said = (sample.errors or sample.output).decode(errors="replace").strip().splitlines()
            problems.append(f"exit {sample.exit_code}: {' / '.join(said[-3:])}")
        else:
            try:
                outcome = case.subject.outcome(sample.output)
            except (SubjectFailed, KeyError, ValueError, TypeError) as error:
                problems.append(f"{type(error).__name__}: {error}")
        if outcome is not None:
            problems += self._engaged(case, phase, outcome, referenced)
            if phase == "measured":
                case.outcomes.append(outcome)
        self.session.say(f"{self._intro(case, phase, number)}: {sample.wall_ns / 1e9:.3f} s")
        for problem in problems:
            self.session.say(f"    PROBLEM {problem}")
        return self._record(case, phase, number, position, sequence, started, load, command.argv, sample, outcome, problems)

    def _engaged(self, case: Case, phase: str, outcome: Outcome, referenced: bool) -> list[str]:
        assert self.tree is not None
        if phase in ("measured", "proof"):
            changed = self.oracle
        else:
            changed = case.put_back if case.subject.sees_inode_changes else Oracle(())
            case.put_back = Oracle(())
        want = case.subject.expected(self.tree, changed.files, changed.bytes)
        return check.engaged(case.subject, outcome, want, referenced=referenced)

    def _left_out(self, case: Case) -> frozenset[str]:
        return case.subject.fields_left_out(self.host.tree_filesystem.split()[0])

    def _record(
        self, case: Case, phase: str, number: int, position: int, sequence: int, started: float, load: float,
        argv: tuple[str, ...], sample: measure.Sample, outcome: Outcome | None, problems: list[str],
    ) -> Record:  # fmt: skip
        assert self.tree is not None
        return Record(
            session=self.session.id,
            sequence=sequence,
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            case=case_id(self.dataset.name, self.mutation, case.subject.name, case.subject.mode),
            dataset={
                "name": self.dataset.name,
                "source": self.dataset.source,
                "files": self.tree.file_count,
                "bytes": self.tree.file_bytes,
                "entries": len(self.tree.entries),
                "tree_digest": self.tree_digest,
            },
            mutation={"text": self.mutation.text, "files": self.oracle.files, "bytes": self.oracle.bytes},
            subject=case.subject.name,
            mode=case.subject.mode,
            cache=CACHE_STATE,
            phase=phase,
            round=number,
            position=position,
            command=argv,
            settings={**case.subject.described(), "not_compared": ", ".join(sorted(self._left_out(case)))},
            exit_code=sample.exit_code,
            wall_ns=sample.wall_ns,
            user_ns=sample.user_ns,
            system_ns=sample.system_ns,
            peak_rss_bytes=sample.peak_rss_bytes,
            outcome=None if outcome is None else {**asdict(replace(outcome, raw={})), "raw": dict(outcome.raw)},
            problems=tuple(problems),
            restored=False,
            seed=self.session.plan.seed,
            load_average=round(load, 2),
            commit=measure.commit(),
            host_fingerprint=self.host.fingerprint,
            host=asdict(self.host),
        )

    # ---- after the rounds ----

    def _check(self, case: Case) -> None:
        """Restores the last measured snapshot, then proves the decisions file by file."""
        assert case.last is not None and self.tree is not None
        last, case.last = case.last, None
        if last.outcome is None:
            self._finished(last)
        problems = list(last.problems)
        started = time.monotonic()
        scratch = self.home / "restored"
        scratch.mkdir()
        try:
            root = case.subject.restore(case.outcomes[-1], self.dataset.root, scratch)
            problems += check.restored(case.subject, self.tree, root, self._left_out(case))
        except (run.CommandFailed, OSError) as error:
            problems.append(f"restore: {error}")
        shutil.rmtree(scratch)
        problems += check.repeatable(case.subject, case.outcomes)
        found = problems[len(last.problems) :]
        self.session.say(
            f"  {case.label}: restored and compared {len(self.tree.entries):,} entries: "
            f"{'equal' if not found else 'PROBLEMS'} ({time.monotonic() - started:.1f} s)"
        )
        for problem in found:
            self.session.say(f"    PROBLEM {problem}")
        self._finished(replace(last, problems=tuple(problems), restored=True))
        self._rewind(case)
        self._prove(case)

    def _prove(self, case: Case) -> None:
        """One untimed run that writes down every decision."""
        assert self.tree is not None
        decisions = self.session.plan.output / "raw" / f"decisions-{self._raw_name(case, 'proof', 0)[5:]}.jsonl"
        command = case.subject.backup(self.dataset.root, self.session.next_time(), decisions)
        if os.fspath(decisions) not in command.argv:
            return  # the program writes no decisions
        started, sequence = time.time(), self.session.next_sequence()
        result, usage = run.run_counted(command.argv, env=command.env, cwd=command.cwd, timeout=RUN_TIMEOUT)
        sample = measure.Sample(
            result.returncode, result.wall_ns, usage.user_ns, usage.system_ns, usage.peak_rss_bytes,
            result.stdout, result.stderr,
        )  # fmt: skip
        outcome, problems = None, []
        try:
            result.check_ok()
            outcome = case.subject.outcome(result.stdout)
            problems += self._engaged(case, "proof", outcome, referenced=True)
            problems += check.repeatable(case.subject, [case.outcomes[0], outcome])
            read_again = case.subject.reread(decisions)
            if read_again is not None:
                problems += check.decisions(case.subject, read_again, outcome, self.oracle, self.tree)
        except (run.CommandFailed, SubjectFailed, OSError, KeyError, ValueError, TypeError) as error:
            problems.append(f"proof: {type(error).__name__}: {error}")
        for problem in problems:
            self.session.say(f"    PROBLEM {problem}")
        decisions.unlink(missing_ok=True)
        self._finished(
            self._record(case, "proof", 0, 0, sequence, started, os.getloadavg()[0], command.argv, sample, outcome, problems)
        )
        self._rewind(case)


def abandoned(place: Path) -> list[Path]:
    """Work folders below `place` whose session is gone without having removed them. Kept ones are not among them."""
    found = []
    for folder in place.glob(f"{WORK_PREFIX}*-*"):
        owner = folder.name.rpartition("-")[2]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists() and not (folder / KEPT).exists():
            found.append(folder)
    return found


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
