"""The gate of encodings: streams, cuts, index files and manifests of fixed trees, byte for byte as they were blessed.

    fixtures/trees ─┬─ pxar encode: streams; chunk: cuts ──────────────┬─> digests ── results/golden/encodings.csv
                    └─ on a disk; backup: legacy, data, metadata after ┘
                       a change in each profile: streams, indexes, manifest

A difference is told with tree, entry, field and offset, and both sides in hex. What judges is digests alone.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

from .. import run as processes
from . import encoding_cases as cases_
from . import encoding_golden as kept
from . import encoding_trees as trees
from . import fields, windows
from .encoding_cases import Case, Made
from .golden import GoldenBroken, NotBlessed, history_line
from .verdict import Finding, Level

NAME = "encodings"
#: Differences that are shown in hex, and those that `pxar diff` is asked about as well.
WINDOWS_MAX, DIFFS_MAX = 30, 6
DIFF_LINES_MAX, DIFF_SECONDS = 8, 20
FIELDS_MAX = 4
Outcome = Made | Exception


# ---- what is asked of a gate ----


def cases() -> list[str]:
    return [case.id for case in cases_.all_cases()]


def versions() -> dict[str, str]:
    """Of each case: values of different versions have nothing to do with each other."""
    return {case.id: case.recipe() for case in cases_.all_cases()}


def run(
    binary: Path, work: Path, golden: Path | None = None, only: Collection[str] | None = None, required: Collection[str] = ()
) -> tuple[list[Finding], list[str]]:
    """Compares with the golden streams of the folder `golden` (default: the repository's). (Findings, executed cases.)

    `only`: ids of cases to run. `required`: of cases that must have golden streams. GoldenBroken, OSError, ValueError.
    """
    known = kept.read(kept.csv_path(golden))
    findings: list[Finding] = []
    executed: list[str] = []
    every, explain = cases_.all_cases(), Explain(binary, work, golden)
    chosen = [case for case in every if only is None or case.id in only]
    strange = sorted(set(only or ()) - {case.id for case in chosen})
    if strange:
        raise ValueError(f"no such case: {', '.join(strange)} (ci/gate --list)")

    def judge(case: Case, outcome: Outcome) -> None:
        if isinstance(outcome, Made):
            executed.append(case.id)
            findings.extend(compared(case, outcome, known, explain, is_required=case.id in required))
        else:
            findings.append(_did_not_run(case, outcome))

    cases_.run_cases(binary, work, chosen, judge)
    for name in sorted({row.case for row in known.rows} - {case.id for case in every}) if only is None else ():
        findings.append(Finding(NAME, name, "", Level.ERROR, "is in the golden list, and there is no such case any more"))
    return findings, executed


def bless(binary: Path, work: Path, reason: str, golden: Path | None = None) -> tuple[list[str], list[str]]:
    """Makes what the program encodes now the golden streams. (What changed, cases that have to run from now on.)

    NotBlessed: a case did not run, or `pxar encode` contradicts fixtures/trees/golden.json, which another encoder wrote from
    the specification: then the specification and that encoder come first.
    """
    history_line(reason)  # a reason that is none must not cost a run
    made: dict[Case, Made] = {}
    failed: list[str] = []

    def keep(case: Case, outcome: Outcome) -> None:
        if isinstance(outcome, Made):
            made[case] = outcome
        else:
            failed.append(f"{case.id}: {outcome}")

    every = cases_.all_cases()
    cases_.run_cases(binary, work, every, keep)
    if failed:
        raise NotBlessed("all cases have to run: " + "; ".join(failed[:5]))
    contradictions = [text for case in every for text in against_the_specification(case, made[case])]
    if contradictions:
        text = "fixtures/trees/golden.json, written from the specification, has other archives: "
        raise NotBlessed(text + "; ".join(contradictions[:5]))

    known = kept.read(kept.csv_path(golden))
    said: list[str] = []
    explain = Explain(binary, work, golden)
    for case in every:
        found = compared(case, made[case], known, explain)
        said += [f"{f.case}{f.name and ', '}{f.name}: {f.text}" for f in found if f.level is not Level.OK]
    said += [f"{name}: gone" for name in sorted({row.case for row in known.rows} - {case.id for case in every})]
    members: dict[str, dict[str, bytes]] = {}
    for case in every:
        members.setdefault(case.tree, {}).update(kept.members_of(case, made[case], _contents(case.tree)))
    rows = [row for case in every for row in kept.rows_of(case, made[case])]
    written = kept.bless(rows, members, reason, golden)
    return [*said, *written], sorted({case.id for case in every} - set(optional_ids()))


def optional_ids() -> list[str]:
    """Not required: those that only some disks can have. Where they are left out, a warning says so."""
    return [case.id for case in cases_.all_cases() if case.tree == "attributes"]


def against_the_specification(case: Case, made: Made) -> list[str]:
    if case.is_on_disk:
        return []
    wanted = json.loads((trees.FOLDER / "golden.json").read_text(encoding="utf-8"))["trees"].get(case.tree, {})
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in made.streams.items() if not name.endswith(".cuts")}
    return [f"{case.id} {name}" for name, digest in digests.items() if wanted.get(name, {}).get("sha256") != digest]


# ---- comparing ----


def _did_not_run(case: Case, why: Exception) -> Finding:
    if isinstance(why, trees.NotHere):
        # A disk that keeps no attributes is common, and says nothing about the program; being no user 0 at all is neither.
        level = Level.WARNING if case.tree == "attributes" else Level.INCONCLUSIVE
        return Finding(NAME, case.id, "", level, f"cannot run here: {why}")
    return Finding(NAME, case.id, "", Level.ERROR, f"did not run: {why}")


def compared(
    case: Case, made: Made, known: kept.Golden, explain: Explain, *, is_required: bool = False
) -> list[Finding]:
    """A finding per stream, or one for the case where there is nothing to compare with."""
    rows, recipe = known.of(case.id), case.recipe()
    if not rows and is_required:
        return [Finding(NAME, case.id, "", Level.ERROR, "is required, and its golden streams are gone")]
    if not rows:
        return [Finding(NAME, case.id, "", Level.INCONCLUSIVE, "has no golden streams yet: bless it")]
    if {row.recipe for row in rows} != {recipe}:
        text = "the golden streams are of another version of this case, and were not compared: bless it"
        return [Finding(NAME, case.id, "", Level.INCONCLUSIVE, text, rows[0].recipe, recipe, line=known.lines.get(rows[0].key))]
    here = {row.stream: row for row in rows if row.version == made.version}
    if not here:
        versions = ", ".join(str(version) for version in sorted({row.version for row in rows}))
        text = f"the version of the archive format was {versions}, is {made.version}"
        line = known.lines.get(rows[0].key)
        return [Finding(NAME, case.id, "version", Level.REGRESSION, text, versions, str(made.version), line=line)]
    found = []
    for name in sorted(here.keys() | made.streams.keys(), key=_order):
        row, stream = here.get(name), made.streams.get(name)
        digest = hashlib.sha256(stream).hexdigest() if stream is not None else None
        level, text = Level.OK, "as before"
        details: tuple[str, ...] = ()
        if row is None or stream is None:
            level, text = Level.REGRESSION, "was not there" if row is None else "is not there any more"
        elif digest != row.sha256:
            level = Level.REGRESSION
            text, details = explain(case, made, row, here)
        line = known.lines.get(row.key if row else rows[0].key)
        base = row.sha256 if row else None
        found.append(Finding(NAME, case.id, name, level, text, base, digest, "sha256", details, line=line))
    return found


def _order(stream: str) -> tuple[int, str]:
    """Streams before what follows from them."""
    kinds, kind = ("mpxar", "pxar", "ppxar", "catalog", "cuts", "didx", "manifest"), stream.rpartition(".")[2]
    return kinds.index(kind) if kind in kinds else len(kinds), stream


# ---- explaining ----


class Explain:
    """Says where a stream and the golden one part. Hex windows and the words of `pxar diff` for the first differences only:
    a mistake in the encoding of one field shows in most streams."""

    def __init__(self, binary: Path, work: Path, golden: Path | None) -> None:
        self.binary, self.work, self.golden = binary, work, golden
        self._windows_left, self._diffs_left = WINDOWS_MAX, DIFFS_MAX
        _members.cache_clear()  # blessing rewrites them

    def __call__(self, case: Case, made: Made, row: kept.Row, here: Mapping[str, kept.Row]) -> tuple[str, tuple[str, ...]]:
        new = made.streams[row.stream]
        try:
            old = self._old(case, row)
        except (GoldenBroken, OSError) as error:
            return f"differs ({row.size} bytes, now {len(new)})", (f"no golden stream to show the difference with: {error}",)
        offset = windows.first_difference(old, new)
        assert offset is not None, "digests differ, bytes do not"
        kind = row.stream.rpartition(".")[2]
        sizes = "" if len(old) == len(new) else f" ({len(old)} bytes, now {len(new)})"
        # The files of an index and its streams: which entry; the hex rows of digests that follow from a stream tell nothing.
        follows = kind != row.stream and made_differs(made, here, row.stream.rpartition(".")[0])
        if kind == "manifest":
            return json_text(old, new), ()
        if kind == "cuts":
            return f"{cuts_text(_cut_rows(old), _cut_rows(new))}{sizes}", ()
        if kind == "didx":
            text = cuts_text(fields.index_rows(old), fields.index_rows(new))
            if offset < fields.INDEX_HEADER and fields.at_index(offset).field != "csum":
                text = place_text(fields.at_index(offset), fields.at_index(offset), offset, old, new)
        else:
            text = place_text(*self._places(case, made, row, here, old, new, offset), offset, old, new)
        if follows or self._windows_left <= 0:
            return text + sizes, ()
        self._windows_left -= 1
        lines = windows.windows(old, new, offset)
        return text + sizes, (*lines, *self._in_its_own_words(case, made, row, here, old))

    def _old(self, case: Case, row: kept.Row) -> bytes:
        members = _members(kept.streams_path(case.tree, self.golden))
        return kept.stream_of(members, row, _contents_by_digest(case.tree))

    def _places(
        self, case: Case, made: Made, row: kept.Row, here: Mapping[str, kept.Row], old: bytes, new: bytes, offset: int
    ) -> tuple[fields.Place, fields.Place]:
        if row.stream == "ppxar":
            metadata = self._old(case, here["mpxar"]) if "mpxar" in here else b""
            return (
                fields.at_payload(metadata, offset, len(old)),
                fields.at_payload(made.streams.get("mpxar", b""), offset, len(new)),
            )
        if row.stream in ("mpxar", "pxar"):
            return fields.at_metadata(old, offset), fields.at_metadata(new, offset)
        nothing = fields.Place("", row.stream, "", offset, 0, "")
        return nothing, nothing

    def _in_its_own_words(
        self, case: Case, made: Made, row: kept.Row, here: Mapping[str, kept.Row], old: bytes
    ) -> tuple[str, ...]:
        """What `pxar diff --offsets` of the same program says about both."""
        if row.stream not in ("mpxar", "pxar") or self._diffs_left <= 0:
            return ()
        self._diffs_left -= 1
        with tempfile.TemporaryDirectory(dir=self.work) as name:
            a, b = Path(name) / f"golden.{row.stream}", Path(name) / f"found.{row.stream}"
            a.write_bytes(old)
            b.write_bytes(made.streams[row.stream])
            words: list[str | Path] = [self.binary, "pxar", "diff", a, b, "--offsets"]
            if row.stream == "mpxar" and "ppxar" in here and "ppxar" in made.streams:
                payloads = Path(name) / "golden.ppxar", Path(name) / "found.ppxar"
                payloads[0].write_bytes(self._old(case, here["ppxar"]))
                payloads[1].write_bytes(made.streams["ppxar"])
                words += ["--payload-input-a", payloads[0], "--payload-input-b", payloads[1]]
            said = processes.run(words, timeout=DIFF_SECONDS)
            lines = (said.stdout or said.stderr).decode(errors="backslashreplace").replace(f"{name}/", "").splitlines()
        more = [f"  and {len(lines) - DIFF_LINES_MAX} lines more"] if len(lines) > DIFF_LINES_MAX else []
        return ("pxar diff --offsets:", *(f"  {line[:200]}" for line in lines[:DIFF_LINES_MAX]), *more)


def made_differs(made: Made, here: Mapping[str, kept.Row], stream: str) -> bool:
    row, now = here.get(stream), made.streams.get(stream)
    return row is not None and now is not None and hashlib.sha256(now).hexdigest() != row.sha256


def place_text(old_place: fields.Place, new_place: fields.Place, offset: int, old: bytes, new: bytes) -> str:
    if offset >= len(old) or offset >= len(new):
        longer, place = ("golden", old_place) if offset >= len(new) else ("found", new_place)
        return f"differs at offset {offset}: only the {longer} stream goes on, with {place.text}"
    if (old_place.item, old_place.field, old_place.offset) != (new_place.item, new_place.field, new_place.offset):
        return f"differs at offset {offset}: was {old_place.text}, is {new_place.text}"
    before, after = old_place.value(old), new_place.value(new)
    values = f": was {before}, is {after}" if before is not None and after is not None else ""
    return f"differs at offset {offset}: {old_place.text}{values}"


def _cut_rows(text: bytes) -> list[tuple[int, str]]:
    return [(int(end), digest.decode()) for end, digest in (line.split() for line in text.splitlines())]


def cuts_text(old: list[tuple[int, str]], new: list[tuple[int, str]]) -> str:
    """The first entry that differs, of lists of (end, digest)."""
    counts = f"{len(old)} entries" if len(old) == len(new) else f"{len(old)} entries, now {len(new)}"
    for number, ((end_a, digest_a), (end_b, digest_b)) in enumerate(zip(old, new, strict=False)):
        begin = old[number - 1][0] if number else 0
        if end_a != end_b:
            return f"entry {number}, which begins at {begin}: ended at {end_a}, ends at {end_b}; {counts}"
        if digest_a != digest_b:
            return f"entry {number}, {begin} to {end_a}: digest was {digest_a[:16]}, is {digest_b[:16]}; {counts}"
    if len(old) == len(new):
        return f"the header differs; {counts}"
    return f"{'goes on' if len(new) > len(old) else 'ends'} behind entry {min(len(old), len(new)) - 1}; {counts}"


def json_text(old: bytes, new: bytes) -> str:
    """The fields of a manifest that differ."""
    try:
        a, b = dict(_flat(json.loads(old), "")), dict(_flat(json.loads(new), ""))
    except (ValueError, RecursionError):
        return "is no JSON any more"
    said = [f"{name}: was {_short(a.get(name))}, is {_short(b.get(name))}" for name in sorted(a.keys() | b.keys())
            if a.get(name) != b.get(name)]  # fmt: skip
    more = f"; and {len(said) - FIELDS_MAX} more" if len(said) > FIELDS_MAX else ""
    return "; ".join(said[:FIELDS_MAX]) + more if said else "is the same JSON, written differently"


def _short(value: str | None) -> str:
    """Digests are recognised by their first digits."""
    return "not there" if value is None else value if len(value) <= 24 else f"{value[:16]}…"


def _flat(value: object, name: str) -> list[tuple[str, str]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        return [(name, json.dumps(value))]
    return [one for key, inner in pairs for one in _flat(inner, f"{name}.{key}" if name else str(key))]


# ---- the golden streams ----


def golden_streams(case: Case, known: kept.Golden, golden: Path | None = None) -> dict[str, bytes]:
    """All of a case, by name. GoldenBroken, OSError."""
    members = _members(kept.streams_path(case.tree, golden))
    return {row.stream: kept.stream_of(members, row, _contents_by_digest(case.tree)) for row in known.of(case.id)}


@lru_cache(maxsize=2)
def _contents(tree: str) -> tuple[bytes, ...]:
    """Of all files of a tree and its changes, the longest first."""
    found: set[bytes] = set()
    for case in cases_.all_cases():
        if case.tree == tree:
            for manifest in case.trees():
                found |= set(trees.contents(manifest)) if manifest is not None else set()
    return tuple(sorted(found, key=lambda content: (-len(content), content)))


@lru_cache(maxsize=2)
def _contents_by_digest(tree: str) -> dict[str, bytes]:
    return {hashlib.sha256(content).hexdigest(): content for content in _contents(tree)}


@lru_cache(maxsize=2)
def _members(path: Path) -> dict[str, bytes]:
    return kept.read_members(path)
