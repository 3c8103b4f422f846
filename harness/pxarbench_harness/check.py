"""Whether a run did what it was asked, and whether what it stored comes back. Sentences, [] when all is well.

Uses no code of the program under test: the tree's listing, the mutation's oracle and the run's own report must agree,
and a restored tree must equal the source in every compared field.
"""

from __future__ import annotations

from pathlib import Path

from .mutate import Oracle
from .subjects import Expected, Outcome, Subject
from .tree import COMPARED, Tree, differences, scan, show

#: A difference is usually the first of thousands: a few are enough to see what is wrong.
SHOWN = 5


def _few(found: list[str]) -> list[str]:
    more = len(found) - SHOWN
    return found if more <= 0 else [*found[:SHOWN], f"and {more} more"]


def restored(subject: Subject, expected: Tree, root: Path, left_out: frozenset[str] = frozenset()) -> list[str]:
    """Compares all of COMPARED but `left_out`, entry by entry, contents by SHA-256."""
    if not root.is_dir():
        return [f"restore: nothing was restored at {root}"]
    fields = [name for name in COMPARED if name not in left_out]
    found = differences(expected, scan(root), leave_out=subject.leaves_out, fields=fields)
    return _few([f"restore: {text}" for text in found])


def engaged(subject: Subject, outcome: Outcome, want: Expected, *, referenced: bool) -> list[str]:
    """Proof that the mode did its work. `referenced`: an earlier snapshot of this store exists."""
    problems = []

    def must(true: bool, text: str) -> None:
        if not true:
            problems.append(f"mode {subject.mode}: {text}")

    if subject.reads_everything:
        must(outcome.reference != "used", "used a reference although everything was to be read")
        must(not outcome.reused_files, f"{outcome.reused_files} files were reused")
        if outcome.file_bytes_read is not None:
            must(
                outcome.file_bytes_read == want.bytes,
                f"read {outcome.file_bytes_read:,} bytes of file contents, the tree has {want.bytes:,}",
            )
        must(outcome.reencoded_files == want.files, f"stored {outcome.reencoded_files} files, the tree has {want.files}")
        return problems

    if not referenced:
        must(outcome.reference == "no-previous-snapshot", f"the first run reports reference {outcome.reference!r}")
        must(outcome.reencoded_files == want.files, f"stored {outcome.reencoded_files} files, the tree has {want.files}")
        return problems

    must(outcome.reference == "used", f"no reference was used: {outcome.reference}")
    reused, read_again = outcome.reused_files or 0, outcome.reencoded_files or 0
    collateral = outcome.collateral_files or 0
    must(reused + read_again == want.files, f"{reused} reused + {read_again} re-encoded files, the tree has {want.files}")
    must(
        outcome.changed_files == want.changed_files,
        f"{outcome.changed_files} files were found changed, the mutation changed {want.changed_files}",
    )
    must(
        read_again == want.changed_files + collateral,
        f"{read_again} files were re-encoded, expected {want.changed_files} changed and {collateral} collateral ones",
    )
    if not want.changed_files and not collateral:
        must(reused > 0 or want.files == 0, "nothing was reused")
    if outcome.file_bytes_read is not None:
        must(
            outcome.file_bytes_read == outcome.reencoded_bytes,
            f"read {outcome.file_bytes_read:,} bytes of file contents, re-encoded files have {outcome.reencoded_bytes:,}",
        )
        if not collateral:
            must(
                outcome.file_bytes_read == want.changed_bytes,
                f"read {outcome.file_bytes_read:,} bytes of file contents, changed files have {want.changed_bytes:,}",
            )
    return problems


def decisions(subject: Subject, read_again: frozenset[bytes], outcome: Outcome, oracle: Oracle, tree: Tree) -> list[str]:
    """File by file: what had to be read again was, and what was reused had not changed."""
    problems = []
    missed = sorted(oracle.must_be_reread - read_again)
    if missed and not subject.reads_everything:
        problems.append(f"{len(missed)} changed files were reused, the first is {show(missed[0])}")
    if subject.reads_everything:
        unread = [e.path for e in tree.files() if e.links == 1 and e.path not in read_again]
        if unread:
            problems.append(f"{len(unread)} files were not read, the first is {show(unread[0])}")
    if len(read_again) != outcome.reencoded_files:
        problems.append(f"{len(read_again)} decisions to re-encode, {outcome.reencoded_files} counted")
    return [f"decisions: {text}" for text in problems]


def repeatable(subject: Subject, outcomes: list[Outcome]) -> list[str]:
    """Equal input, equal result: all repetitions of a case must agree in checksums and counters."""
    if not subject.deterministic:
        return []
    problems = []
    first = outcomes[0]
    for number, other in enumerate(outcomes[1:], 2):
        for name in ("checksums", "reused_files", "reencoded_files", "padding_bytes", "injected_chunks", "new_bytes"):
            a, b = getattr(first, name), getattr(other, name)
            if a != b:
                problems.append(f"repetition {number}: {name} {b}, the first had {a}")
    return _few(problems)
