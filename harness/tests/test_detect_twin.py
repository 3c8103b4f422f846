"""Change detection made twice, by the program's core behind bin/detect_driver and by detect_model.py and stored_model.py, which know
the specification alone: the same decisions, injections, counters and index for any old archive and any walk over it.

A case that differs is shrunk and written to a file that the failure names; it goes to fixtures/detect/, all of which are replayed.
PXB_TWIN_CASES: how many cases (default 2000).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import detect_cases
import detect_model
import detect_properties
import pytest
import stored_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pxarbench_harness import locate

Json = dict[str, Any]

CASES = int(os.environ.get("PXB_TWIN_CASES", "2000"))
FIXTURES = locate.REPOSITORY / "fixtures" / "detect"
GENERATIONS = max(CASES // 20, 20)

class Driver:
    """One process for all cases, a line each. It is started again when it fell."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: Json = {}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def __call__(self, case: Json) -> Json:
        self.last = case
        self.stdin.write(json.dumps(case) + "\n")
        self.stdin.flush()
        line = self.stdout.readline()
        if not line:
            status = self.close()
            self.start()
            raise AssertionError(f"the driver ended with {status}")
        answer: Json = json.loads(line)
        return answer

    def close(self) -> int:
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        rest = self.stdout.read()
        self.stdout.close()
        assert not rest
        return self.process.wait(10)


@pytest.fixture(scope="module")
def driver(pxarbench: Path) -> Iterator[Driver]:
    path = pxarbench.with_name("detect_driver")
    if not path.exists():
        pytest.skip(f"{path} is not built")
    driver = Driver(path)
    try:
        yield driver
    finally:
        assert driver.close() == 0


def by_model(case: Json) -> Json:
    answer = stored_model.windowed(case) if case["profile"] == "stored" else detect_model.cached(case)
    told: Json = json.loads(json.dumps(answer))
    return told


def differences(expected: Json, found: Json) -> list[str]:
    out = []
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) != found.get(key):
            out.append(f"{key}: model {json.dumps(expected.get(key))}, program {json.dumps(found.get(key))}")
    return out


def compare(case: Json, driver: Driver) -> None:
    found = driver(case)
    assert "error" not in found, found
    differing = differences(by_model(case), found)
    assert not differing, "\n".join(differing)
    detect_properties.check(case, found, limited=case["cache_limit"] <= len(case["events"]))


Search = Callable[[st.SearchStrategy[Any], int, Callable[[Any, Driver], None]], None]


@pytest.fixture
def search(driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Search:
    """Tries a check on that many cases. The smallest that fails is left in a file."""

    def run(cases: st.SearchStrategy[Any], count: int, check: Callable[[Any, Driver], None]) -> None:
        place = tmp_path / "failing-case.json"
        tried = 0

        @settings(
            max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(cases)
        def one(case: Any) -> None:
            nonlocal tried
            tried += 1
            try:
                check(case, driver)
            except Exception:
                place.write_text(json.dumps({"case": driver.last}) + "\n")  # the last one written is the smallest
                raise

        try:
            one()
        except Exception:
            with capsys.disabled():
                print(f"\n{place}: the smallest case that fails")
            raise
        with capsys.disabled():
            print(f" [{tried} cases]", end="", file=sys.stdout, flush=True)

    return run


# ---- random cases ----


def test_tight_and_upstream_decide_as_the_model(search: Search) -> None:
    search(detect_cases.cases("tight", "upstream"), CASES // 2, compare)


def test_stored_decides_as_the_model(search: Search) -> None:
    search(detect_cases.cases("stored"), CASES // 4, compare)


def test_stored_decides_as_the_model_when_the_cache_is_full(search: Search) -> None:
    search(detect_cases.cases("stored", limited=True), CASES - CASES // 2 - CASES // 4, compare)


def test_stored_decides_as_if_it_saw_everything_at_once(search: Search) -> None:
    """Windows differ from the whole sequence only where the limit is met."""

    def check(case: Json, driver: Driver) -> None:
        case = {**case, "cache_limit": detect_cases.NO_LIMIT}
        expected: Json = json.loads(json.dumps(stored_model.offline(case)))
        differing = differences(expected, driver(case))
        assert not differing, "\n".join(differing)

    search(detect_cases.cases("stored"), max(CASES // 4, 50), check)


def test_random_cases_reach_every_decision() -> None:
    seen: Counter[str] = Counter()
    rng = random.Random(1)
    for k in range(400):
        profile = ("tight", "upstream", "stored")[k % 3]
        records = [rng.randbytes(detect_cases.RECORD) for _ in range(rng.randint(0, 25))]
        case = detect_cases.grow(rng.randbytes(detect_cases.OPTIONS), records, profile, limited=k % 2 == 1)
        answer = by_model(case)
        for reason in {file[2] for file in answer["files"]}:
            seen[f"{profile} {reason}"] += 1
        for key in ("relisted_chunks", "early_chunks", "unreferenced_chunks", "rejected_ranges", "index"):
            seen[f"{profile} {key}"] += bool(answer.get(key))
        seen[f"{profile} hole"] += answer["ledger"]["hole_padding"] > 0
        seen["batches"] += any(len(entries) == detect_model.BATCH for _, entries, _ in answer["inject"])
    for profile in ("tight", "upstream", "stored"):
        some = ["unchanged", "threshold", "mtime", "new", "non-monotone", "relisted_chunks", "hole", "index"]
        some += {
            "tight": ["rejected_ranges"],
            "upstream": ["rejected_ranges", "unreferenced_chunks"],
            "stored": ["instances", "absorbed", "early_chunks"],
        }[profile]
        missing = [what for what in some if not seen[f"{profile} {what}"]]
        assert not missing, f"{profile}: {missing}"
    assert seen["batches"]


# ---- generations ----


def next_generation(case: Json, answer: Json) -> Json:
    """The same tree, unchanged, over what that run stored."""
    files = [event[1] for event in case["events"] if event[0] == "file"]
    offsets = [file[3] for file in answer["files"]]
    waiting = iter(zip(files, offsets, strict=True))
    events = [["file", *_unchanged(next(waiting))] if event[0] == "file" else event for event in case["events"]]
    old_files = [[offset, size] for size, offset in zip(files, offsets, strict=True)]
    return {**case, "old_index": answer["index"], "old_files": old_files, "events": events}


def _unchanged(file: tuple[int, int]) -> list[Any]:
    return [file[0], "unchanged", file[1]]


def check_generations(case: Json, driver: Driver) -> None:
    """Everything new, then nothing changed, twice."""
    events = [["file", event[1], "new", 0] if event[0] == "file" else event for event in case["events"]]
    contents = [k % 256 for k, event in enumerate(e for e in events if e[0] == "file")]
    first = {**case, "events": events, "contents": contents, "cache_limit": detect_cases.NO_LIMIT}
    second = next_generation(first, driver(first))
    stored = driver(second)
    compare(second, driver)
    if stored["reencoded_files"]:
        return  # so small that the markers alone are too much padding
    third = next_generation(second, stored)
    compare(third, driver)
    again = driver(third)
    assert again["index"] == stored["index"] and again["padding"] == stored["padding"]
    assert again["reencoded_files"] == 0
    tight = {key: value for key, value in driver({**second, "profile": "tight"}).items()}
    if second["profile"] == "stored" and not tight["reencoded_files"]:
        assert tight["index"] == stored["index"]  # reuse-stored.md, checklist 3
    for profile in ("tight", "stored"):  # a full cache changes nothing of it, as long as it rejects nothing
        limited = driver({**third, "profile": profile, "cache_limit": case["cache_limit"]})
        if not limited["reencoded_files"] and not tight["reencoded_files"]:
            assert limited["index"] == tight["index"]


def test_a_third_generation_of_an_unchanged_tree_is_the_second(search: Search) -> None:
    search(detect_cases.cases("tight", "upstream", "stored"), GENERATIONS, check_generations)


def live(life: Any, run: Callable[[Json], Json], after: Callable[[Json], None] = lambda case: None, **more: Any) -> None:
    """Runs a tree's generations; `after` gets the case of a run in which nothing changed, behind each of them."""
    options, profile, sizes, generations = life
    tree = detect_cases.Tree(options, profile)
    for shape, fine in sizes:
        tree.add(len(tree.files), tree.size(shape, fine))
    index: list[list[Any]] = [[32, hashlib.sha256(b"an empty payload stream").hexdigest()]]
    old_files: list[list[int]] = []
    for edits in [[], *generations]:
        for edit in edits:
            tree.edit(edit)
        answer = run({**tree.case(index, old_files), **more})
        index, old_files = answer["index"], tree.stored(answer)
        after({**tree.case(index, old_files), **more})


def test_a_tree_that_is_edited_again_and_again(search: Search) -> None:
    """Over the real indexes of earlier runs: chunks listed twice, raw pieces between them, padding of padding."""

    def check(life: Any, driver: Driver) -> None:
        def run(case: Json) -> Json:
            compare(case, driver)
            return driver(case)

        live(life, run)

    search(detect_cases.lives("tight", "upstream", "stored", "stored"), 2 * GENERATIONS, check)


def test_nothing_changed_costs_nothing_after_any_generations(search: Search) -> None:
    """Profile stored: what an earlier run kept by listing it again is no poorer for that."""

    def check(life: Any, driver: Driver) -> None:
        def unchanged(case: Json) -> None:
            ends = [end for end, _ in case["old_index"]]
            answer = driver(case)
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                markers = max(0, 16 - start) + max(0, end - max(start, ends[-1] - 16))  # of the stream, within that chunk
                if end - start > markers and markers * 1_000_000 > (end - start) * case["threshold_ppm"]:
                    return  # so small that the markers alone are too much
            assert answer["reencoded_files"] == 0

        live(life, driver, unchanged, cache_limit=detect_cases.NO_LIMIT)

    search(detect_cases.lives("stored"), 2 * GENERATIONS, check)


# ---- fixtures ----


def fixtures() -> list[Path]:
    return sorted(FIXTURES.glob("*.json"))


def told(answer: Json, key: str) -> Any:
    """A member of the answer, or what the specification says of its index."""
    if key == "index_ends":
        return [end for end, _ in answer["index"]]
    if key == "index_count":
        return len(answer["index"])
    if key == "checksum":
        entries = b"".join(end.to_bytes(8, "little") + bytes.fromhex(digest) for end, digest in answer["index"])
        return hashlib.sha256(entries).hexdigest()
    return answer[key]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in fixtures()])
def test_fixture(path: Path, driver: Driver) -> None:
    fixture = json.loads(path.read_text())
    compare(fixture["case"], driver)
    answers = {"program": driver(fixture["case"]), "model": by_model(fixture["case"])}
    for who, answer in answers.items():
        for key, value in fixture.get("expect", {}).items():
            assert told(answer, key) == value, f"{who}: {key}"


def test_there_are_fixtures() -> None:
    assert len(fixtures()) >= 10


# ---- the driver itself ----


SMALL = {
    "profile": "tight",
    "threshold_ppm": 100_000,
    "cache_limit": 4,
    "chunk_average": 4096,
    "absorb_below": 256,
    "absorb_until": 1024,
    "max_instances": 8,
    "old_index": [[1032, "11" * 32], [2048, "22" * 32]],
    "old_files": [[16, 1000], [1032, 984]],
    "events": [["file", 1000, "unchanged", 16], ["file", 984, "unchanged", 1032]],
}


def test_what_no_walk_makes_is_refused_and_the_next_case_answered(driver: Driver) -> None:
    backwards = [["file", 984, "unchanged", 1032], ["file", 1000, "unchanged", 16]]
    overlapping = [["file", 1000, "unchanged", 16], ["file", 984, "unchanged", 1031]]
    outside = [["file", 1017, "unchanged", 1032]]
    for events in (backwards, overlapping, outside, [["leave"]], [["enter"], ["leave"], ["leave"]]):
        refused = driver({**SMALL, "events": events})
        assert list(refused) == ["error"] and refused["error"]
        with pytest.raises(detect_model.Refused):
            by_model({**SMALL, "events": events})
        assert driver(SMALL)["reused_files"] == 2
