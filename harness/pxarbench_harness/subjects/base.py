"""What the harness asks of a program under test.

A Subject is one program in one mode with a store of its own. It builds command lines and reads results; starting and
timing the commands is the session's business, except for untimed steps such as making a store or restoring.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..mutate.oracle import FACETS, Oracle
from ..tree import Entry, Tree


class SubjectFailed(Exception):
    """The program did not do what it was asked; the text quotes it."""


@dataclass(frozen=True)
class Settings:
    """What the session chooses for all subjects."""

    binary: Path | None = None  # of pxarbench
    sync_level: str = ""  # "": the program's default
    threads: int = 0  # 0: the program's default
    extra: tuple[str, ...] = ()  # further words for `pxarbench backup`
    #: Other builds of pxarbench: name -> program. Each is a subject "pxarbench@NAME" (subjects.registry).
    builds: Mapping[str, Path] = field(default_factory=dict)
    server: str = ""  # "loopback", "loopback:30ms", "loopback:30ms,1000", "loopback:wan": pxarbench works through its own server
    #: The same as subjects of their own, beside the others: each is "pxarbench@NAME", behind the line "loopback:NAME".
    lines: tuple[str, ...] = ()
    listens: bool = False  # with `server`: somebody on the line counts the calls (subjects/remote.py); it costs time
    repository: str = ""  # on a server, for pxarbench; account, password and fingerprint come from the environment


@dataclass(frozen=True)
class Command:
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What one backup says it did, in words common to all subjects. None: the program does not tell."""

    snapshot: str
    reference: str  # "used", or why no reference was used
    reused_files: int | None = None
    reencoded_files: int | None = None
    changed_files: int | None = None  # re-encoded because the file itself differs from the reference
    collateral_files: int | None = None  # unchanged, re-encoded all the same
    file_bytes_read: int | None = None
    reencoded_bytes: int | None = None  # contents only
    uploaded_bytes: int | None = None  # as stored: compressed
    new_bytes: int | None = None  # before compression
    new_chunks: int | None = None
    injected_chunks: int | None = None
    injected_bytes: int | None = None
    partial_chunks: int | None = None
    unreferenced_chunks: int | None = None
    padding_bytes: int | None = None
    payload_bytes: int | None = None  # size of the payload stream
    listed_chunks: int | None = None  # entries of the index that the files' contents come from
    files: int | None = None  # regular files, as the program counts them
    own_peak_rss_bytes: int | None = None
    own_duration_ns: int | None = None
    warnings: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)  # equal for equal input
    reasons: Mapping[str, int] = field(default_factory=dict)  # why files were reused or not, in the program's own words
    ledger: Mapping[str, int] = field(default_factory=dict)  # where padding comes from, and what is stored for nothing
    restore: Mapping[str, int] = field(default_factory=dict)  # Subject.restore_cost, once it was restored
    network: Mapping[str, int] = field(default_factory=dict)  # requests, bytes, round trips, ...; {}: no server
    calls: Mapping[str, int] = field(default_factory=dict)  # what was heard on the line (wire/overheard.py); {}: nobody listened
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)  # all of what the program reported


@dataclass(frozen=True)
class Expected:
    """What a run has to report, from the tree and the mutation's oracle alone."""

    files: int  # as the subject counts them
    bytes: int
    changed_files: int
    changed_bytes: int


#: Rows of the capability table, in order. Every subject answers all of them.
CAPABILITIES = (
    "detection", "decisions", "chunks", "compression", "encryption", "hardlinks", "sparse files", "xattrs", "ACLs",
    "file capabilities", "chattr flags", "sockets and devices", "times", "restore of one file",
)  # fmt: skip


class Subject(ABC):
    #: As on the command line. Other builds of pxarbench have their own: "pxarbench@NAME".
    name: str
    #: All modes, in the order of reports. What each one is: `mode_texts`.
    modes: ClassVar[tuple[str, ...]]
    mode_texts: ClassVar[Mapping[str, str]] = {}
    #: What runs when no modes are named. The first is what ratios of the others refer to.
    default_modes: ClassVar[tuple[str, ...]] = ()
    #: One of CAPABILITIES -> a few words; equal keys for all subjects.
    capabilities: ClassVar[Mapping[str, str]] = {}
    #: The settings it runs with, and why they are fair: one sentence each, printed in reports.
    fair: ClassVar[tuple[str, ...]] = ()
    #: Modes that are given everything to read, whatever the reference.
    reading_modes: ClassVar[tuple[str, ...]]
    #: Kinds of entries that are not stored.
    kinds_left_out: ClassVar[frozenset[str]] = frozenset()
    #: Whether every name of a hardlinked file counts as a file.
    counts_names: ClassVar[bool] = False
    #: Whether what it knows of a file with several names is kept under the one that it came upon first, in an order of its own.
    keeps_one_name: ClassVar[bool] = False
    #: Whether a file that was changed and put back counts as changed: its inode change time cannot be put back.
    sees_inode_changes: ClassVar[bool] = False
    #: Whether equal input must give equal checksums.
    deterministic: ClassVar[bool] = False
    #: Whether backup(decisions=...) writes down, or says, which files were read again.
    tells_decisions: ClassVar[bool] = False
    #: How `state()` is brought back before a repetition. remove-new: runs only add files, which are removed (and it is an
    #: error if another one changed). copy: runs rewrite files; a copy of the folders, taken before, replaces them. never: the
    #: store is somewhere else, `state()` is empty, later repetitions find what the earlier ones stored. forget: so is it, but
    #: snapshots are removed by `forget_since`; their chunks stay.
    rewinds: ClassVar[Literal["remove-new", "copy", "never", "forget"]] = "remove-new"

    #: Whether its restore works on a file system in memory, which has no file flags.
    restores_to_memory: ClassVar[bool] = True

    def __init__(self, mode: str, home: Path, settings: Settings) -> None:
        """`home`: an empty folder for the store and everything else the program keeps."""
        if mode not in self.modes:
            raise ValueError(f"{self.name} has no mode {mode!r}")
        self.mode = mode
        self.home = home
        self.settings = settings

    @property
    def reads_everything(self) -> bool:
        return self.mode in self.reading_modes

    def looks_at(self, filesystem: str) -> frozenset[str]:
        """The facets of a file (mutate.oracle.FACETS) by which this mode notices that it changed, on this type of file
        system. Modes that read everything look at all of them. The truth table's expectations follow from it."""
        return FACETS

    @classmethod
    @abstractmethod
    def missing(cls, settings: Settings) -> str:
        """Why it cannot run here, "" when it can. Names what would have to be installed."""

    @classmethod
    @abstractmethod
    def versions(cls, settings: Settings) -> dict[str, str]:
        """Tools it consists of, and their versions."""

    @abstractmethod
    def described(self) -> dict[str, str]:
        """Settings, as they go into the record."""

    @abstractmethod
    def state(self) -> list[Path]:
        """Folders that a run changes: what is rewound between repetitions."""

    @abstractmethod
    def create(self) -> None:
        """Makes an empty store. Untimed."""

    def close(self) -> None:
        """Ends what `create` began."""

    def kept(self) -> int:
        """How many snapshots it has made and not forgotten."""
        return 0

    def forget_since(self, kept: int) -> None:
        """Removes those that came since `kept` told so."""

    @abstractmethod
    def backup(self, tree: Path, backup_time: int, decisions: Path | None = None) -> Command:
        """The timed command. `backup_time` is later than that of any earlier run of this store."""

    @abstractmethod
    def outcome(self, output: bytes) -> Outcome:
        """Of the backup that has just ended well. `output`: what it said. SubjectFailed when it cannot be read."""

    @abstractmethod
    def restore(self, outcome: Outcome, tree: Path, target: Path) -> Path:
        """Brings the snapshot back below `target` (empty). Returns the restored tree's root. Untimed."""

    def reread(self, decisions: Path, output: bytes, tree: Path) -> frozenset[bytes] | None:
        """Paths (relative to `tree`) of files that were read again, of a run that was started with `decisions`: from that
        file or from what the program said. None: it does not tell. Names of hardlinks are each a path of their own where
        the program treats them so (`counts_names`)."""
        return None

    def collateral(self, decisions: Path, output: bytes, tree: Path) -> frozenset[bytes]:
        """Of the files of `reread`, those that the program itself says it read for another reason than a change of the
        file: its neighbours in a chunk, or because it had forgotten it. Some of them may have changed all the same."""
        return frozenset()

    def restore_cost(self) -> Mapping[str, int]:
        """What the last restore() fetched, in bytes and chunks: "fetched_bytes", "fetched_chunks", "file_bytes". {}: the
        program does not tell."""
        return {}

    @classmethod
    def unfit(cls, tree: Tree) -> str:
        """Why this tree cannot be stored, or not be brought back, "" when it can: its cases are skipped, by name."""
        return ""

    def comes_back(self, entry: Entry) -> Entry:
        """What a restore makes of an entry, by design: e.g. a time that does not fit is another."""
        return entry

    def leaves_out(self, entry: Entry) -> bool:
        return entry.kind in self.kinds_left_out

    def fields_left_out(self, filesystem: str) -> frozenset[str]:
        """Fields of an entry that are not stored from this type of file system, by design."""
        return frozenset()

    def expected(self, tree: Tree, oracle: Oracle, filesystem: str) -> Expected:
        """From the tree as it is and what happened to it since this store's last backup."""
        files = [e for e in tree.entries.values() if e.kind == "file" and (self.counts_names or not e.link_to)]
        looks_at = self.looks_at(filesystem)
        if self.counts_names and oracle.by_name is not None:
            changed = tuple(c for c in oracle.by_name if c.noticed_by(looks_at))
        elif self.counts_names:  # every name of a changed file; a name that a file gained is not known
            names = Counter(e.link_to or e.path for e in files)
            changed = tuple(c for c in oracle.noticed_by(looks_at) for _ in range(names[c.path]))
        else:
            changed = oracle.noticed_by(looks_at)
        return Expected(len(files), sum(e.size for e in files), len(changed), sum(c.size for c in changed))
