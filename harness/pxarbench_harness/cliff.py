"""The reuse cliff: how much of a tree is read again when a few of its files changed, per reuse profile.

    python3 -m pxarbench_harness.cliff --output FOLDER [--work FOLDER] [--rounds 3] [--cases uniform:1,...] [--restore ...]
    python3 -m pxarbench_harness.cliff --render FOLDER      report and chart again, from FOLDER/data.json

A copy of the dataset is backed up once in mode `data`. Per case some files are changed (mutate/, the rule of the
reference's runs), then each setting runs in mode `metadata`, in shuffled order, `rounds` times, every time from the same
stored state. The snapshot of the first round is taken apart (cliff_streams.py) and restored, the others must be equal.
The reference client's own numbers come from its runs (cliff_reference.py), cliff_report.py writes it all down.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import cliff_report, cliff_streams, datasets, locate, measure, mutate, run, tree
from .cliff_reference import RUNS, Case, ReferenceRun, duration, load, parse_lines
from .datasets import Dataset
from .state import State
from .tree import Tree

SCHEMA = "pxarbench-cliff/1"
ARCHIVE = "root"
GROUP = "cliff"
FIRST_TIME = 1_700_000_000
RUN_TIMEOUT = 1800.0
LRU = (1, 8, 32)


class CliffFailed(Exception):
    """It cannot go on; the text says why."""


@dataclass(frozen=True)
class Setting:
    name: str
    title: str
    options: tuple[str, ...]
    threshold: float = 0.1
    #: Whether the threshold holds for the stored waste of every chunk that is listed again.
    judges_stored_waste: bool = False


SETTINGS = (
    Setting("upstream", "`upstream`", ("--reuse-profile", "upstream")),
    Setting("tight", "`tight`", ("--reuse-profile", "tight")),
    Setting(
        "stored-unlimited",
        "`stored`, no limit on instances, nothing absorbed",
        ("--reuse-profile", "stored", "--max-instances", "1000000", "--absorb-below", "0"),
        judges_stored_waste=True,
    ),
    Setting("stored", "`stored`", ("--reuse-profile", "stored"), judges_stored_waste=True),
)

RATES = ("0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10")
CASES = tuple(Case(layout, rate) for layout in ("uniform", "clustered") for rate in RATES)


@dataclass(frozen=True)
class Plan:
    binary: Path
    recipe: datasets.Recipe
    work: Path  # a new folder; removed at the end
    cases: tuple[Case, ...] = CASES
    restored: tuple[Case, ...] | None = None  # whose snapshots are restored and compared; None: of all cases
    settings: tuple[Setting, ...] = SETTINGS
    rounds: int = 1
    seed: int = 1
    cache: Path | None = None
    references: tuple[ReferenceRun, ...] = ()
    chunk_kib: int = 4096
    options: tuple[str, ...] = ()  # further words for every backup
    quiet_machine: bool = False


@dataclass
class Cliff:
    plan: Plan
    say: Callable[[str], None] = print
    problems: list[str] = field(default_factory=list)
    _time: int = FIRST_TIME

    def run(self) -> dict[str, Any]:
        """All that was found, as it goes into data.json."""
        plan = self.plan
        plan.work.mkdir(parents=True)
        try:
            with datasets.prepare(plan.recipe, cache=plan.cache, say=self.say) as dataset:
                root = plan.work / "tree"
                run.run(["cp", "-a", dataset.root, root]).check_ok()
            return self._measure(dataset, self._same(dataset.tree, tree.scan(root)))
        finally:
            shutil.rmtree(plan.work, ignore_errors=True)

    def _same(self, cached: Tree, copied: Tree) -> Tree:
        fields = [name for name in tree.COMPARED if name != "xattrs"]  # tmpfs: what archives leave out there
        found = tree.differences(cached, copied, fields=fields)
        if found:
            raise CliffFailed(f"the copy of the tree differs: {found[0]}")
        return copied

    # ---- the whole ----

    def _measure(self, dataset: Dataset, before: Tree) -> dict[str, Any]:
        plan = self.plan
        for folder in (self.store / ".chunks", self.scratch):
            folder.mkdir(parents=True)
        (self.store / ".lock").touch()  # the program makes the folders of chunks that it needs
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        first = self._backup("data", ())
        older = self._index(first["stats"])
        payload = first["stats"]["archives"][0]["payload"]
        self.say(f"data run: {len(older):,} chunks, {payload['size']:,} bytes")
        baseline = State.capture([self.store])
        cases = [self._case(case, before, older, baseline) for case in plan.cases]
        return {
            "schema": SCHEMA,
            "started": started,
            "seed": plan.seed,
            "rounds": plan.rounds,
            "quiet_machine": plan.quiet_machine,
            "commit": measure.commit(),
            "program": measure.build(plan.binary),
            "host": asdict(measure.host(plan.work, plan.work, {})),
            "dataset": {
                "name": dataset.name,
                "source": dataset.source,
                "files": before.file_count,
                "bytes": before.file_bytes,
                "entries": len(before.entries),
                "content_digest": before.content_digest(),
            },
            "chunk_kib": plan.chunk_kib,
            "settings": [asdict(s) for s in plan.settings],
            "data_run": {
                "wall_ns": first["wall_ns"],
                "payload_chunks": payload["chunks"],
                "payload_size": payload["size"],
                "payload_csum": payload["csum"],
            },
            "cases": cases,
            "problems": self.problems,
        }

    @property
    def store(self) -> Path:
        return self.plan.work / "store"

    @property
    def scratch(self) -> Path:
        return self.plan.work / "scratch"

    def _backup(self, mode: str, options: Sequence[str]) -> dict[str, Any]:
        self._time += 1
        stats = self.scratch / "stats.json"
        stats.unlink(missing_ok=True)
        words = [
            self.plan.binary, "backup", f"{ARCHIVE}.pxar:{self.plan.work / 'tree'}", "--repository", self.store,
            "--backup-id", GROUP, "--backup-time", str(self._time), "--change-detection-mode", mode,
            "--chunk-size", str(self.plan.chunk_kib), "--sync-level", "none", "--stats", stats,
            *self.plan.options, *options,
        ]  # fmt: skip
        load = os.getloadavg()[0]
        result, usage = run.run_counted(words, timeout=RUN_TIMEOUT)
        result.check_ok()
        return {
            "stats": json.loads(stats.read_text()),
            "lines": result.stderr.decode(errors="replace").splitlines(),
            "wall_ns": result.wall_ns,
            "cpu_ns": usage.user_ns + usage.system_ns,
            "load": round(load, 2),
        }

    def _index(self, stats: dict[str, Any], stream: str = "ppxar") -> list[cliff_streams.Chunk]:
        path = self.store / stats["snapshot"] / f"{ARCHIVE}.{stream}.didx"
        return cliff_streams.parse_index(path.read_bytes())

    # ---- a case ----

    def _case(
        self, case: Case, before: Tree, older: list[cliff_streams.Chunk], baseline: State
    ) -> dict[str, Any]:
        plan = self.plan
        log = self.plan.work / "oplog.jsonl"
        applied = mutate.apply(before, mutate.parse(case.mutation), log)
        self.say(f"{case.name}: {applied.oracle.files:,} files changed")
        runs: dict[str, dict[str, Any]] = {}
        try:
            for number in range(plan.rounds):
                order = list(plan.settings)
                random.Random(f"{plan.seed}/{case.name}/{number}").shuffle(order)
                for setting in order:
                    self._round(case, setting, applied.tree, older, runs)
                    baseline.rewind()
        finally:
            mutate.undo(log, before.root)
        now = tree.scan(before.root, known=before)
        if now.digest() != before.digest():
            raise CliffFailed(f"{case.name}: the tree is not what it was before")
        before.entries.update(now.entries)  # new inode change times: what was hashed need not be hashed again
        reference = next((r for r in plan.references if r.case == case), None)
        return {
            "layout": case.layout,
            "rate": case.rate,
            "touched": applied.oracle.files,
            "touched_bytes": applied.oracle.bytes + 16 * applied.oracle.files,
            "reference": None if reference is None else {
                "files": reference.files, "touched": reference.touched, "lines": list(reference.lines),
                "seconds": duration(reference.lines),
            },
            "runs": {setting.name: runs[setting.name] for setting in plan.settings},
        }  # fmt: skip

    def _round(
        self, case: Case, setting: Setting, changed: Tree, older: list[cliff_streams.Chunk], runs: dict[str, dict[str, Any]]
    ) -> None:
        done = self._backup("metadata", setting.options)
        archive = done["stats"]["archives"][0]
        csums = [archive["metadata"]["csum"], archive["payload"]["csum"]]
        known = runs.get(setting.name)
        if known is None:
            known = runs[setting.name] = self._taken_apart(case, setting, done, changed, older)
            known["csums"] = csums
        elif csums != known["csums"]:
            self._problem(case, setting, "a repetition gave another index")
        known["wall_ns"].append(done["wall_ns"])
        known["cpu_ns"].append(done["cpu_ns"])
        known["load"].append(done["load"])

    def _problem(self, case: Case, setting: Setting, text: str) -> None:
        self.problems.append(f"{case.name}, {setting.name}: {text}")
        self.say(f"  PROBLEM {setting.name}: {text}")

    def _taken_apart(
        self, case: Case, setting: Setting, done: dict[str, Any], changed: Tree, older: list[cliff_streams.Chunk]
    ) -> dict[str, Any]:
        stats = done["stats"]
        archive = stats["archives"][0]
        chunks = self._index(stats)
        references = cliff_streams.parse_references(
            cliff_streams.read_stream(self.store, self._index(stats, "mpxar"))
        )
        shape = cliff_streams.layout(chunks, references, older, self.plan.chunk_kib << 10)
        fetched = {kept: cliff_streams.fetches(chunks, references, kept) for kept in LRU}
        found_wrong = contradictions(archive, shape, references, setting)
        found_wrong += analysis_contradictions(self._analysed(stats["snapshot"]), shape, fetched)
        for text in found_wrong:
            self._problem(case, setting, text)
        restored, found = None, None
        if self.plan.restored is None or case in self.plan.restored:
            restored, found = self._restore(stats["snapshot"], changed)
            for text in found[:3]:
                self._problem(case, setting, f"restore: {text}")
        wanted = parse_lines(done["lines"])
        self.say(
            f"  {setting.name}: {done['wall_ns'] / 1e9:.2f} s, {archive['reencoded_files']:,} files read again, "
            f"{shape.entries:,} entries, {shape.stored_waste:,} bytes wasted"
        )
        payload, metadata = archive["payload"], archive["metadata"]
        return {
            "files_total": archive["reused_files"] + archive["reencoded_files"],
            "reused_files": archive["reused_files"],
            "reused_bytes": archive["reused_bytes"],
            "reencoded_files": archive["reencoded_files"],
            "reencoded_bytes": archive["reencoded_bytes"],
            "padding_bytes": archive["padding_bytes"],
            "partial_chunks": archive["partial_chunks"],
            "unreferenced_chunks": archive["unreferenced_chunks"],
            "injected_chunks": archive["injected_chunks"],
            "reasons": archive["reasons"],
            "given_up_chunks": archive.get("given_up_chunks"),
            "early_chunks": archive.get("early_chunks"),
            "ledger": archive.get("ledger"),
            "payload_size": payload["size"],
            "new_bytes": payload["new_bytes"],
            "uploaded_bytes": payload["compressed_bytes"] + metadata["compressed_bytes"],
            "metadata_new_bytes": metadata["new_bytes"],
            "layout": asdict(shape),
            "fetches": {str(kept): asdict(counted) for kept, counted in fetched.items()},
            "restore_ns": restored[0] if restored else None,
            "restore_cpu_ns": restored[1] if restored else None,
            "restored_equal": None if found is None else not found,
            "peak_rss_bytes": stats["peak_rss_bytes"],
            "lines": [line for line in done["lines"] if parse_lines([line])],
            "printed": {name: figure.text for name, figure in wanted.items()},
            "wall_ns": [],
            "cpu_ns": [],
            "load": [],
        }

    def _analysed(self, snapshot: str) -> dict[str, Any]:
        """What `pxarbench analyze` finds in the streams: a second implementation of cliff_streams.py."""
        words = ["analyze", snapshot, "--repository", self.store, "--lru", ",".join(map(str, LRU)), "--output-format", "json"]
        said = run.run([self.plan.binary, *words], timeout=RUN_TIMEOUT).json()
        analysed: dict[str, Any] = said["archives"][0]["snapshots"][0]
        return analysed

    def _restore(self, snapshot: str, wanted: Tree) -> tuple[tuple[int, int], list[str]]:
        """Wall and processor time, and what differs from the tree."""
        target = self.scratch / "restored"
        result, usage = run.run_counted(
            [self.plan.binary, "restore", snapshot, f"{ARCHIVE}.pxar", target, "--repository", self.store],
            timeout=RUN_TIMEOUT,
        )
        result.check_ok()
        fields = [name for name in tree.COMPARED if name != "xattrs"]
        found = tree.differences(wanted, tree.scan(target), fields=fields)
        shutil.rmtree(target)
        return (result.wall_ns, usage.user_ns + usage.system_ns), found


def contradictions(
    archive: dict[str, Any],
    shape: cliff_streams.Layout,
    references: Sequence[cliff_streams.Reference],
    setting: Setting,
) -> list[str]:
    """Where the program's own account and the streams disagree, and where a rule of the profile is broken."""
    found = []

    def must_agree(name: str, said: Any, seen: Any) -> None:
        if said != seen:
            found.append(f"{name}: the program says {said}, the streams {seen}")

    payload = archive["payload"]
    must_agree("index entries", payload["chunks"], shape.entries)
    must_agree("payload size", payload["size"], shape.virtual_size)
    must_agree("bytes of files", archive["reused_bytes"] + archive["reencoded_bytes"], shape.live)
    must_agree("new chunks", payload["new_chunks"], shape.new_chunks)
    if "new_chunks_by_size" in payload:
        must_agree("new chunks by size", payload["new_chunks_by_size"], shape.new_sizes)
    waste = archive.get("ledger", {}).get("stored_waste")
    if waste is not None:
        must_agree("stored waste", waste, shape.stored_waste)
    number = cliff_streams.first_unordered(references)
    if number is not None:
        found.append(f"reference {number} does not lie behind the one before")
    if setting.judges_stored_waste and shape.worst_waste > setting.threshold:
        found.append(f"a listed chunk has {shape.worst_waste:.4%} of stored waste, the threshold is {setting.threshold:.0%}")
    return found


def analysis_contradictions(
    analysed: dict[str, Any], shape: cliff_streams.Layout, fetched: dict[int, cliff_streams.Fetches]
) -> list[str]:
    pairs = [
        ("index entries", analysed["index_entries"], shape.entries),
        ("distinct chunks", analysed["chunks"], shape.distinct),
        ("bytes of distinct chunks", analysed["chunk_bytes"], shape.stored_size),
        ("payload size", analysed["ledger"]["size"], shape.virtual_size),
        ("stored waste", analysed["ledger"]["stored_waste"], shape.stored_waste),
        ("most listings", analysed["listings_max"], shape.most_instances),
    ]
    for read in analysed["reads"]["full"]:
        counted = fetched[read["lru"]]
        pairs.append((f"fetches with {read['lru']} kept", (read["chunks"], read["bytes"]), (counted.chunks, counted.bytes)))
    return [f"{name}: analyze says {said}, the streams {seen}" for name, said, seen in pairs if said != seen]


# ---- the command line ----


def parse_cases(text: str) -> tuple[Case, ...]:
    cases = []
    for word in text.split(","):
        layout, _, rate = word.partition(":")
        mutate.parse(Case(layout, rate).mutation)
        cases.append(Case(layout, rate))
    return tuple(cases)


def available(binary: Path, settings: Sequence[Setting] = SETTINGS) -> tuple[Setting, ...]:
    """The settings whose options this program knows."""
    help_text = run.run([binary, "backup", "--help"]).check_ok().text
    profiles = help_text.partition("--reuse-profile")[2].partition("\n  --")[0]
    return tuple(
        s for s in settings
        if s.options[1] in profiles and all(o in help_text for o in s.options if o.startswith("--"))
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python3 -m pxarbench_harness.cliff", description=__doc__.splitlines()[0])
    p.add_argument("--output", type=Path, help="folder for data.json, report.md and the chart")
    p.add_argument("--render", type=Path, metavar="FOLDER", help="only write report and chart, from FOLDER/data.json")
    p.add_argument("--dataset", default="linux", help="recipe (default: linux)")
    p.add_argument("--cases", type=parse_cases, default=CASES, help="LAYOUT:PERCENT,... (default: those of the reference's runs)")
    p.add_argument("--restore", type=parse_cases, metavar="CASES", help="restore and compare only these cases (default: all)")
    p.add_argument("--settings", type=lambda text: text.split(","), help="names, default: " + ",".join(s.name for s in SETTINGS))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--work", type=Path, help="where the copy of the tree and the stores go (default: a temporary folder)")
    p.add_argument("--quiet-machine", action="store_true", help="nothing else runs: times are worth reading")
    a = p.parse_args(arguments)
    if a.render is not None:
        cliff_report.write(json.loads((a.render / "data.json").read_text()), a.render)
        return 0
    if a.output is None:
        p.error("--output or --render is needed")
    binary = locate.pxarbench()
    if binary is None or not os.access(binary, os.X_OK):
        print("error: pxarbench is not built (or PXARBENCH names no program)", file=sys.stderr)
        return 1
    vectors = locate.vectors()
    runs = vectors / RUNS if vectors else None
    references = tuple(load(runs)) if runs is not None and runs.is_file() else ()
    if not references:
        print("the reference's runs are not here: its columns stay empty", file=sys.stderr)
    settings = tuple(s for s in available(binary) if a.settings is None or s.name in a.settings)
    with tempfile.TemporaryDirectory(prefix="pxarbench-cliff-", dir=a.work) as folder:
        plan = Plan(
            binary=binary, recipe=datasets.load(a.dataset), work=Path(folder) / "work", cases=a.cases, restored=a.restore,
            settings=settings,
            rounds=a.rounds, seed=a.seed, references=references, quiet_machine=a.quiet_machine,
        )  # fmt: skip
        data = Cliff(plan, say=lambda text: print(text, flush=True)).run()
    a.output.mkdir(parents=True, exist_ok=True)
    (a.output / "data.json").write_text(json.dumps(data, indent=1) + "\n")
    cliff_report.write(data, a.output)
    for problem in data["problems"]:
        print(f"PROBLEM {problem}", file=sys.stderr)
    return 1 if data["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
