"""What has to hold in a scenario of spec/review-asks.md 5.4, beyond what every run has to fulfil (check.py, archive.py).

Sentences, [] when it holds. Only of pxarbench: other programs are judged by the restore and their detection alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ..check import Read
from ..mutate.oracle import Oracle
from ..subjects import Outcome, Subject
from ..tree import Tree

#: Both markers of a payload stream.
MARKERS = 32
HEADER = 16
#: The largest chunk of the default chunk size: what one range may carry along at each end.
LARGEST_CHUNK = 16 << 20


@dataclass(frozen=True)
class Seen:
    """A measured run, and what is known about it."""

    subject: Subject
    filesystem: str
    oracle: Oracle
    outcome: Outcome
    read: Read | None  # of the proof run
    missed: frozenset[bytes] | None  # as restored; None: not restored
    now: Tree
    before: Tree | None

    @property
    def mode(self) -> str:
        return self.subject.mode

    @property
    def reads_all(self) -> bool:
        return self.subject.reads_everything

    @property
    def looks_at(self) -> frozenset[str]:
        return self.subject.looks_at(self.filesystem)

    @property
    def new_payload(self) -> int:
        """Bytes of new chunks of the stream that holds the contents."""
        (archive,) = self.outcome.raw["archives"]
        stream = archive["payload"] or archive["stream"]
        return int(stream["new_bytes"])

    @property
    def split(self) -> bool:
        return self.mode != "legacy"

    @property
    def threshold(self) -> float:
        return float(self.outcome.raw["padding_threshold"])


Said = Iterator[str]


def _nothing_beyond_what_was_read(s: Seen) -> Said:
    """New chunks hold what was read again and the two markers, nothing else."""
    if s.reads_all:
        return
    most = (s.outcome.reencoded_bytes or 0) + HEADER * (s.outcome.reencoded_files or 0) + MARKERS
    if s.new_payload > most:
        yield f"{s.new_payload:,} bytes of new chunks, at most {most:,} were to be written"


def _known_contents_cost_nothing(s: Seen) -> Said:
    """Reading everything finds all chunks known when no contents changed. Format 1 holds attributes in the same stream."""
    if s.mode == "data" and not s.oracle.content_changed and s.new_payload:
        yield f"no contents changed, and {s.new_payload:,} bytes of new payload chunks were stored"


def _all_reused(s: Seen) -> Said:
    if s.reads_all:
        return
    if s.outcome.reencoded_files:
        yield f"{s.outcome.reencoded_files} files were re-encoded, nothing changed"
    if s.outcome.file_bytes_read:
        yield f"{s.outcome.file_bytes_read:,} bytes of contents were read, nothing changed"
    if s.new_payload > MARKERS:
        yield f"{s.new_payload:,} bytes of new payload chunks, nothing changed"


def _all_detected(s: Seen) -> Said:
    if not s.oracle.content_changed:
        yield "the scenario changes no contents"
    if s.missed is None:
        yield "the snapshot was not restored"
    elif s.missed:
        yield f"{len(s.missed)} files with new contents came back with the old ones"


def _nothing_changed_in_contents(s: Seen) -> Said:
    if s.oracle.content_changed:
        yield f"the contents of {len(s.oracle.content_changed)} files changed"


def _touched_are_read(s: Seen) -> Said:
    touched = [c for c in s.oracle.changes if "mtime" in c.differs]
    if not touched:
        yield "no file was touched"
    if not s.reads_all and s.read is not None and not {c.path for c in touched} <= s.read.files:
        yield "not all touched files were read again"


def _attributes_are_noticed(s: Seen) -> Said:
    changed = [c for c in s.oracle.changes if c.differs & {"mode", "owner", "xattr", "acl", "fcaps"}]
    if not changed:
        yield "no attributes were changed"
    if s.reads_all or s.read is None:
        return
    noticed = {c.path for c in changed if c.differs & s.looks_at}
    if not noticed <= s.read.files:
        yield "not all files with changed attributes were read again"


def _padding_within_threshold(s: Seen) -> Said:
    """Of all ranges together: each one's padding is within the threshold. Profile stored: by the chunk, in archive.py."""
    if s.reads_all or s.mode == "metadata-stored":
        return
    payload, padding = s.outcome.payload_bytes or 0, s.outcome.padding_bytes or 0
    if padding > s.threshold * payload + LARGEST_CHUNK:
        yield f"{padding:,} bytes of padding in {payload:,} are more than the threshold of {s.threshold:g} allows"


def _some_are_gone(s: Seen) -> Said:
    if not s.oracle.gone:
        yield "no file is gone"


def _deleting_changes_nothing_else(s: Seen) -> Said:
    if not s.reads_all and s.outcome.changed_files:
        yield f"{s.outcome.changed_files} files were found changed, files were only deleted"


def _new_names_are_encoded(s: Seen) -> Said:
    new = {c.path for c in s.oracle.changes if "name" in c.differs}
    if not new:
        yield "no file has a new name"
    if s.read is not None and not new <= s.read.files:
        yield "not all files with new names were read"


def _blind_spot(s: Seen) -> Said:
    """S8: undetected in metadata, detected in data."""
    changed = s.oracle.content_changed
    if not changed:
        yield "the scenario changes no contents"
    if s.missed is None:
        yield "the snapshot was not restored"
    elif s.reads_all and s.missed:
        yield f"{len(s.missed)} changed files were missed by a mode that reads everything"
    elif not s.reads_all:
        by_luck = s.read.collateral if s.read is not None else frozenset()
        if s.missed != changed - by_luck:
            yield f"{len(s.missed)} of {len(changed)} files were missed, expected all but {len(changed & by_luck)}"


def _names_of_links(s: Seen) -> Said:
    if not any(c.differs & {"name", "hardlink", "ctime"} for c in s.oracle.changes):
        yield "no name of a file was added or removed"


def _no_unused_chunks(s: Seen) -> Said:
    """D1: a range that ends with its chunk. Only the reference client's way lists the next chunk, too."""
    if s.mode in ("metadata", "metadata-stored", "metadata-content") and s.outcome.unreferenced_chunks:
        yield f"{s.outcome.unreferenced_chunks} chunks are listed that no file uses"


#: Scenario -> what has to hold in every measured run of it. S13 and S14 are tests of the program itself.
EXPECTED: Mapping[str, tuple[Callable[[Seen], Said], ...]] = {
    "S0": (_all_reused, _known_contents_cost_nothing),
    "S1": (_touched_are_read, _nothing_changed_in_contents, _known_contents_cost_nothing, _nothing_beyond_what_was_read),
    "S2": (_all_detected, _nothing_beyond_what_was_read),
    "S3": (_all_detected, _nothing_beyond_what_was_read),
    "S4": (_some_are_gone, _deleting_changes_nothing_else, _padding_within_threshold, _nothing_beyond_what_was_read),
    "S5": (_new_names_are_encoded, _padding_within_threshold, _nothing_beyond_what_was_read),
    "S6": (_new_names_are_encoded, _some_are_gone, _padding_within_threshold, _nothing_beyond_what_was_read),
    "S7": (_attributes_are_noticed, _nothing_changed_in_contents, _known_contents_cost_nothing, _nothing_beyond_what_was_read),
    "S8": (_blind_spot,),
    "S9": (_all_detected, _nothing_beyond_what_was_read),
    "S10": (_names_of_links, _nothing_beyond_what_was_read),
    "S11": (_some_are_gone, _deleting_changes_nothing_else, _padding_within_threshold, _nothing_beyond_what_was_read),
    "S12": (_no_unused_chunks, _padding_within_threshold, _nothing_beyond_what_was_read),
    "S15": (_padding_within_threshold, _nothing_beyond_what_was_read),
}


def problems(scenario: str, seen: Seen) -> list[str]:
    if not scenario or seen.subject.name.partition("@")[0] != "pxarbench":
        return []
    return [f"{scenario}: {text}" for rule in EXPECTED[scenario] for text in rule(seen)]
