"""ci/history: append one line per run, show what is there."""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import record, run
from ..gates import verdict as verdicts
from ..gates.verdict import EXIT_ERROR, EXIT_OK, VerdictBroken
from ..record import RecordBroken
from ..report.model import plain
from . import collect, git, parsers, store
from .line import LineBroken, Run, to_json
from .store import BranchStore, FileStore, HistoryBroken, Store

EXIT_INTERRUPTED = 130

#: What ends a command with exit code 1 and one sentence.
FAILURES = (
    HistoryBroken, LineBroken, RecordBroken, VerdictBroken, collect.NothingToRemember, git.GitFailed, run.CommandFailed,
    OSError, ValueError,
)  # fmt: skip


def place(args: argparse.Namespace) -> Store:
    """ValueError, GitFailed: what was asked for cannot be."""
    if args.file is not None:
        if args.branch is not None or args.remote:
            raise ValueError("--file and --branch, --remote exclude each other")
        return FileStore(args.file)
    repository = git.Repository(args.repository.absolute())
    if not repository.is_there:
        raise git.GitFailed(f"{args.repository} is no git repository: name a --file, or a --repository")
    return BranchStore(repository, args.branch or parsers.BRANCH, args.remote)


# ---- append ----


def _sources(paths: Sequence[Path]) -> tuple[list[record.Record], verdicts.Verdict | None]:
    records: list[record.Record] = []
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            if (path / "records.jsonl").exists():
                records += list(record.read(path / "records.jsonl"))
            if (path / "verdict.json").exists():
                found.append(path / "verdict.json")
            if not (path / "records.jsonl").exists() and not (path / "verdict.json").exists():
                raise ValueError(f"{path}: neither records.jsonl nor verdict.json is in it")
        elif path.name.endswith(".jsonl"):
            records += list(record.read(path))
        else:
            found.append(path)
    if len(found) > 1:
        raise ValueError(f"one verdict makes one line; these are {len(found)}: {', '.join(map(str, found))}")
    return records, verdicts.read(found[0]) if found else None


def _append(args: argparse.Namespace) -> int:
    records, verdict = _sources(args.sources)
    repository = git.Repository(args.repository.absolute())
    there = repository.is_there
    branch = args.of_branch
    if branch is None:
        told = os.environ.get("GITHUB_REF_NAME") or os.environ.get("CI_COMMIT_REF_NAME")
        branch = told or (repository.branch() if there else "")
    made = collect.of(records, verdict, branch=branch, note=args.note, commit=args.commit)
    known = repository.commit(made.commit) if there and made.commit else None
    if known is not None:
        made = collect.with_commit(made, known.name, known.committed)
    for text in made.left_out:
        print(f"left out: {plain(text)}", file=sys.stderr)
    if args.print:
        print(to_json(made))
        return EXIT_OK
    if not made.commit:
        print("the commit is not known: ci/trend will leave this run out (--commit names it)", file=sys.stderr)
    into = place(args)
    if into.append(made):
        print(f"added run {made.id} of {made.commit[:12] or 'an unknown commit'}, {len(made.cases)} cases, to {into.place}")
    else:
        print(f"run {made.id} is in {into.place} already")
    return EXIT_OK


# ---- show ----


def _said(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else plain(str(value))[:24]


def _print_values(one: Run, case: str, name: str) -> None:
    for found in one.cases:
        if not fnmatch.fnmatchcase(found.case, case):
            continue
        print(f"  {found.source} {found.case}, version {plain(found.version) or 'not told'}")
        for values in (found.exact, found.counted, found.digests):
            for key in sorted(values):
                if fnmatch.fnmatchcase(key, name):
                    print(f"    {key:<24} {_said(values[key]):>24}")
        for key, measured in sorted(found.measured.items()):
            if fnmatch.fnmatchcase(key, name):
                known = measured.low is not None and measured.high is not None
                ends = f" ({measured.low:,.0f} .. {measured.high:,.0f})" if known else ""
                print(f"    {key:<24} {measured.value:>24,.0f}{ends}, n {measured.n}")


def _show(args: argparse.Namespace) -> int:
    if args.last < 0:
        raise ValueError("--last must not be negative")
    found = store.read(place(args), skip_broken=args.skip_broken)
    for text in found.broken:
        print(f"passed over: {plain(text)}", file=sys.stderr)
    runs = found.runs[-args.last :] if args.last else found.runs
    if args.json:
        for one in runs:
            print(to_json(one))
        return EXIT_OK
    if not runs:
        print(f"{place(args).place}: no runs")
        return EXIT_OK
    print(f"{'started':<20}  {'commit':<13} {'kind':<8} {'machine':<12}  {'cases':>5}  {'exit':>4}  branch")
    for one in runs:
        commit = (one.commit[:12] or "unknown") + ("+" if one.is_changed else "")
        code = "" if one.exit_code is None else str(one.exit_code)
        words = f"{one.started:<20}  {commit:<13} {one.kind:<8} {plain(one.machine)[:12]:<12}  {len(one.cases):>5}  {code:>4}  "
        print((words + plain(one.branch) + (f"  ({plain(one.note)})" if one.note else "")).rstrip())
        if args.case:
            _print_values(one, args.case, args.name)
    return EXIT_OK


def main(arguments: Sequence[str] | None = None) -> int:
    args = parsers.history().parse_args(arguments)
    try:
        return _append(args) if args.command == "append" else _show(args)
    except BrokenPipeError:  # of `| head`: nobody wants the rest, nor a complaint at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except FAILURES as error:
        print(f"ci/history: {plain(str(error))}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("ci/history: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
