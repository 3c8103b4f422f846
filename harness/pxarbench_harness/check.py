"""Whether a run did what it was asked, and whether what it stored comes back. Sentences, [] when all is well.

Uses no code of the program under test: the tree's listing, the mutation's oracle and the run's own report must agree,
and a restored tree must equal the source in every compared field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .mutate.oracle import Oracle
from .subjects import Expected, Outcome, Subject
from .tree import COMPARED, Entry, Tree, differences, scan, show

#: Below this, reading all of them again says nothing about a program.
FEW_FILES = 20

#: What pxarbench reads beside files: the index and metadata of the snapshot before, libraries, the kernel's files.
READ_BESIDE = 8 << 20
READ_PER_ENTRY = 200

#: A difference is usually the first of thousands: a few are enough to see what is wrong.
SHOWN = 5


def _few(found: list[str]) -> list[str]:
    more = len(found) - SHOWN
    return found if more <= 0 else [*found[:SHOWN], f"and {more} more"]


# ---- what is stored ----


def as_stored(
    seen: Tree | None, now: Tree, oracle: Oracle, looks_at: frozenset[str], read_anyway: frozenset[bytes] = frozenset()
) -> Tree:
    """What a backup of the tree `now` has to hold: the tree, but files whose other contents this detection cannot see with
    those that were stored before. `seen`: what the last backup holds; None: there is none. `read_anyway`: files that the
    program read for the sake of others, whatever it saw."""
    missed = [change for change in oracle.missed_by(looks_at) if change.path not in read_anyway]
    if seen is None or not missed:
        return now
    old = {change.path: seen.entries[change.path] for change in missed}
    entries: dict[bytes, Entry] = {}
    for path, entry in now.entries.items():
        before = old.get(entry.link_to or path) if entry.kind == "file" else None
        entries[path] = entry if before is None else replace(entry, digest=before.digest, size=before.size)
    return Tree(now.root, entries)


@dataclass(frozen=True)
class Restored:
    problems: tuple[str, ...]
    missed: frozenset[bytes]  # first names of files with other contents that came back with the old ones


def restored(
    subject: Subject, now: Tree, stored: Tree, seen: Tree | None, root: Path, left_out: frozenset[str] = frozenset()
) -> Restored:
    """Compares all of COMPARED but `left_out`, entry by entry, contents by SHA-256.

    `stored`: as_stored() of the tree `now`. An expected miss that does not happen is a problem as much as an unexpected one.
    """
    if not root.is_dir():
        return Restored((f"restore: nothing was restored at {root}",), frozenset())
    fields = [name for name in COMPARED if name not in left_out]
    back = scan(root)
    wanted = Tree(stored.root, {path: subject.comes_back(entry) for path, entry in stored.entries.items()})
    found = differences(wanted, back, leave_out=subject.leaves_out, fields=fields)
    missed, blind, seeing = set(), [], []
    for entry in now.files():
        have = back.entries.get(entry.path)
        if have is None or have.kind != "file":
            continue
        old = seen.entries.get(entry.path) if seen is not None else None
        is_old = old is not None and (old.size, old.digest) != (entry.size, entry.digest) == (have.size, have.digest)
        was_missed = old is not None and (have.size, have.digest) == (old.size, old.digest) != (entry.size, entry.digest)
        expected = stored.entries[entry.path].digest != entry.digest
        if was_missed:
            missed.add(entry.path)
        if was_missed and not expected:
            blind.append(entry.path)
        if expected and is_old:
            seeing.append(entry.path)
    said = []
    if blind:
        said.append(f"{len(blind)} changed files came back with their old contents, the first is {show(blind[0])}")
    if seeing:
        said.append(f"{len(seeing)} files were expected to be missed and were not, the first is {show(seeing[0])}")
    return Restored(tuple(f"restore: {text}" for text in [*said, *_few(found)]), frozenset(missed))


# ---- the mode ----


def _stored_all(outcome: Outcome, want: Expected, must: Callable[[bool, str], None]) -> None:
    if outcome.reencoded_files is not None:
        must(outcome.reencoded_files == want.files, f"stored {outcome.reencoded_files} files, the tree has {want.files}")


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
        _stored_all(outcome, want, must)
        return problems

    if not referenced:
        must(outcome.reference == "no-previous-snapshot", f"the first run reports reference {outcome.reference!r}")
        _stored_all(outcome, want, must)
        return problems

    must(outcome.reference == "used", f"no reference was used: {outcome.reference}")
    if outcome.reused_files is None and outcome.reencoded_files is None:
        return problems  # it does not count files: the restore and the decisions have to do
    reused, read_again = outcome.reused_files or 0, outcome.reencoded_files or 0
    collateral = outcome.collateral_files or 0
    if outcome.reused_files is not None:
        must(reused + read_again == want.files, f"{reused} reused + {read_again} re-encoded files, the tree has {want.files}")
    if outcome.changed_files is not None:
        must(
            outcome.changed_files == want.changed_files,
            f"{outcome.changed_files} files were found changed, the mutation changed {want.changed_files}",
        )
    must(
        read_again == want.changed_files + collateral,
        f"{read_again} files were re-encoded, expected {want.changed_files} changed and {collateral} collateral ones",
    )
    if not want.changed_files and not collateral and outcome.reused_files is not None:
        must(reused > 0 or want.files == 0, "nothing was reused")
    if outcome.file_bytes_read is not None and outcome.reencoded_bytes is not None:
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


def first_names(tree: Tree, paths: frozenset[bytes]) -> frozenset[bytes]:
    """Files of which any name is among `paths`."""
    return frozenset((tree.entries[p].link_to or p) if p in tree.entries else p for p in paths)


@dataclass(frozen=True)
class Read:
    """What a proof run tells of its files: first names."""

    files: frozenset[bytes]  # read again
    collateral: frozenset[bytes]  # of these, for the sake of others
    names: int  # as the program counts them


def read_of(subject: Subject, tree: Tree, decisions: Path, output: bytes, root: Path) -> Read | None:
    """None: the program does not tell."""
    paths = subject.reread(decisions, output, root)
    if paths is None:
        return None
    files = first_names(tree, paths)
    collateral = first_names(tree, subject.collateral(decisions, output, root))
    return Read(files, collateral, len(paths) if subject.counts_names else len(files))


def _noticed(subject: Subject, oracle: Oracle, looks_at: frozenset[str], tree: Tree) -> frozenset[bytes]:
    """First names of the files that may be read again: one of their names at least is seen as changed."""
    wanted = frozenset(change.path for change in oracle.noticed_by(looks_at))
    if not subject.counts_names or oracle.by_name is None:
        return wanted
    return wanted | first_names(tree, frozenset(c.path for c in oracle.by_name if c.noticed_by(looks_at)))


def _at_its_choice(oracle: Oracle, tree: Tree) -> frozenset[bytes]:
    """Files of which a name came or went, nothing else: a program that keeps what it knows under one of the names knows the file
    again, or does not, according to which it comes upon first. A file with several names that was written to is none of them."""
    return frozenset(
        change.path for change in oracle.changes
        if ("hardlink" in change.differs and not change.content_changed)
        or ("name" in change.differs and change.path in tree.entries and tree.entries[change.path].links > 1)
    )  # fmt: skip


def decisions(subject: Subject, read: Read, outcome: Outcome, oracle: Oracle, tree: Tree, filesystem: str) -> list[str]:
    """File by file: what had to be read again was, and what could not be noticed was not."""
    problems = []
    if subject.reads_everything:
        unread = [e.path for e in tree.files() if e.links == 1 and e.path not in read.files]
        if unread:
            problems.append(f"{len(unread)} files were not read, the first is {show(unread[0])}")
    else:
        looks_at = subject.looks_at(filesystem)
        wanted = {change.path for change in oracle.noticed_by(looks_at)}
        allowed = _noticed(subject, oracle, looks_at, tree)
        extra = sorted(read.files - read.collateral - allowed)
        if extra:
            problems.append(f"{len(extra)} files were read again for nothing, the first is {show(extra[0])}")
        every = {entry.path for entry in tree.files()}
        # A program that has forgotten what it knew calls all of them collateral. Of ours every reason is counted (engaged).
        if not subject.deterministic and len(every) >= FEW_FILES and len(allowed) * 2 < len(every) and every <= read.files:
            problems.append(f"all {len(every)} files were read again, {len(allowed)} had to be: nothing was reused")
        reused = sorted(wanted - read.files - (_at_its_choice(oracle, tree) if subject.keeps_one_name else frozenset()))
        if reused:
            problems.append(f"{len(reused)} changed files were reused, the first is {show(reused[0])}")
        # Those may be read for the sake of others: then their new contents are stored, by luck.
        unseen = sorted((read.files - read.collateral) & {change.path for change in oracle.missed_by(looks_at)})
        if unseen:
            problems.append(f"{len(unseen)} files that cannot be noticed were read again, the first is {show(unseen[0])}")
    if outcome.reencoded_files is not None and read.names != outcome.reencoded_files:
        problems.append(f"{read.names} decisions to re-encode, {outcome.reencoded_files} counted")
    return [f"decisions: {text}" for text in problems]


def verdict(
    subject: Subject, oracle: Oracle, filesystem: str, tree: Tree, outcome: Outcome, read: Read | None,
    missed: frozenset[bytes] | None,
) -> dict[str, int] | None:  # fmt: skip
    """Counts of files, for the record. `read`: None when the program does not tell. `missed`: as restored; None when nothing
    was restored: then what was changed and not read counts as missed. None: neither is known, so nothing is."""
    if read is None and missed is None:
        return None
    looks_at = subject.looks_at(filesystem)
    changed = oracle.content_changed
    by_luck = frozenset() if read is None else read.collateral
    expected = {change.path for change in oracle.missed_by(looks_at)} - by_luck
    files = None if read is None else read.files
    if subject.reads_everything:
        files = frozenset(e.path for e in tree.files())
    if missed is None:
        missed = changed - (files or frozenset())
    missed = missed & changed
    # borg's "added" is a file that is new, too: what had to be noticed is not collateral.
    noticed = frozenset(change.path for change in oracle.noticed_by(looks_at))
    collateral = len(read.collateral - noticed) if read is not None else outcome.collateral_files or 0
    counts = {
        "changed": len(changed), "detected": len(changed - missed), "missed": len(missed),
        "expected_missed": len(expected), "collateral": collateral,
        "expected_needless": len(_noticed(subject, oracle, looks_at, tree) - changed),
    }  # fmt: skip
    if files is not None:
        counts["reread"] = len(files)
        counts["needless"] = len(files - changed - (read.collateral if read is not None else frozenset()))
    elif outcome.reencoded_files is not None:
        counts["reread"] = outcome.reencoded_files
        counts["needless"] = max(0, outcome.reencoded_files - counts["detected"] - collateral)
    return counts


def bytes_read(subject: Subject, outcome: Outcome, rchar: int | None, tree: Tree, allocated: int) -> list[str]:
    """What the kernel counted, against what the program says and what it has to read. `rchar`: None, not known. `allocated`:
    bytes of the tree's files that are not holes."""
    if rchar is None:
        return []
    if subject.reads_everything and rchar < allocated:
        return [f"the kernel counted {rchar:,} bytes read, of a tree with {allocated:,} everything was to be read"]
    if outcome.file_bytes_read is not None:
        most = outcome.file_bytes_read + READ_BESIDE + READ_PER_ENTRY * len(tree.entries)
        if rchar > most:
            return [f"the kernel counted {rchar:,} bytes read, the program tells of {outcome.file_bytes_read:,} in files"]
    return []


def equal_growth(subject: Subject, grown: Sequence[int | None]) -> list[str]:
    """Repetitions that start equal let the store grow alike, also of programs that draw lots: else some found there what an
    earlier one had left."""
    known = [size for size in grown if size is not None]
    bad = [size for size in known if abs(size - known[0]) > known[0] // 3 + (1 << 20)]
    return [f"the store grew by {known[0]:,} bytes in the first repetition, by {bad[0]:,} in another"] if bad else []


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
