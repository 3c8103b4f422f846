"""One subject in one mode, with its store and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .. import archive, check
from ..mutate.oracle import Oracle, judge, judge_names
from ..record import Record
from ..state import Listing, State, look
from ..subjects import Outcome, Subject
from ..tree import Tree


@dataclass
class Contender:
    subject: Subject
    home: Path
    filesystem: str  # type of the one that the tree is on
    #: What its last kept backup holds: the tree as it was then, but missed files with the contents that are stored.
    seen: Tree | None = None
    start: State | None = None  # of its store, after the reference run and the warm-ups
    start_seen: Tree | None = None
    dirty: bool = False  # something ran since `start`
    level: int = 0  # bytes of the store before the next run
    listing: Listing | None = None  # of its state, when it was last looked at
    is_current: bool = False  # nothing ran since
    headers: archive.Headers = field(default_factory=archive.Headers)

    @property
    def label(self) -> str:
        name, mode = self.subject.name, self.subject.mode
        return mode if name == "pxarbench" else f"{name} {mode}"

    @property
    def looks_at(self) -> frozenset[str]:
        return self.subject.looks_at(self.filesystem)

    @property
    def makes_archives(self) -> bool:
        return self.subject.name.partition("@")[0] in ("pxarbench", "proxmox-backup-client")

    @property
    def notices_putting_back(self) -> bool:
        """Files that were changed and put back have another inode change time, and some another inode."""
        return not self.subject.reads_everything and bool(self.looks_at & {"ctime", "inode"})

    def capture(self, name: str) -> State:
        saved = self.home / name if self.subject.rewinds == "copy" else None
        state = State.capture(self.subject.state(), saved, self.listing)
        state.kept = self.subject.kept()
        return state

    def look(self) -> Listing:
        """The files of its state as they are now. Stores have tens of thousands of folders: those that stayed as they were are
        not read again."""
        self.listing = look(self.subject.state(), self.listing)
        self.is_current = True
        return self.listing

    def rewind(self, state: State) -> None:
        """StateChanged: repetitions would not start equal."""
        if self.subject.rewinds == "never":
            return
        if self.subject.rewinds == "forget":
            self.subject.forget_since(state.kept)
            return
        state.rewind(self.listing if self.is_current and self.subject.rewinds == "remove-new" else None)
        self.is_current = False
        self.level = self.store_bytes(state.listing)

    def store_bytes(self, now: Listing) -> int:
        """Of the store alone: the first of the folders that a run changes. Others are caches."""
        return now.size(self.subject.state()[0]) if self.subject.state() else 0

    def stored(self, now: Tree, oracle: Oracle, read_anyway: frozenset[bytes]) -> Tree:
        """What a backup of `now` has to hold."""
        return check.as_stored(self.seen, now, oracle, self.looks_at, read_anyway)


class Judge:
    """What happened between two listings; each pair is compared once, whoever asks."""

    def __init__(self, *, names: bool) -> None:
        """`names`: some contender counts every name of a file as a file."""
        self.names = names
        self._known: dict[tuple[int, int], tuple[Tree, Tree, Oracle]] = {}

    def between(self, seen: Tree | None, now: Tree) -> Oracle:
        if seen is None or seen is now:
            return Oracle()
        key = (id(seen), id(now))
        if key not in self._known:
            # The trees are held so that no other one gets their ids.
            by_name = judge_names(seen, now) if self.names else None
            self._known[key] = (seen, now, Oracle((), *judge(seen, now), by_name))
        return self._known[key][2]

    def forget(self) -> None:
        self._known.clear()


@dataclass
class Case:
    """A contender in one cache state, in one block."""

    contender: Contender
    cache: str
    id: str
    outcomes: list[Outcome] = field(default_factory=list)  # of the measured runs of this stage
    last: Record | None = None  # held back until its snapshot has been restored
    proof: Record | None = None  # held back until the restore has shown what was missed
    proven: Outcome | None = None  # of the proof run
    read: check.Read | None = None  # what it told
    grown: list[int | None] = field(default_factory=list)  # bytes, of the repetitions so far
    missed: frozenset[bytes] | None = None  # what came back with old contents; None: not restored
    discarded: str = ""  # why the case has no result

    @property
    def label(self) -> str:
        return self.contender.label if self.cache == "warm" else f"{self.contender.label} ({self.cache})"
