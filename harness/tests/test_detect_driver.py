"""The look-ahead cache behind lines of JSON (bin/detect_driver): the worked examples with real digests, and bad lines.

Digests and checksums are those of bench/spec/change-detection.md 14.
"""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
from typing import Any

import pytest

from pxarbench_harness import locate

Line = dict[str, Any]


def drive(*lines: Line | str) -> list[Line]:
    program = locate.pxarbench()
    driver = program.with_name("detect_driver") if program else None
    if driver is None or not driver.exists():
        pytest.skip("no detect_driver beside the program: build with the tests")
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    done = subprocess.run([driver], input=text.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    answers = [json.loads(answer) for answer in done.stdout.splitlines()]
    assert len(answers) == len(lines)
    return answers


def checksum(index: list[tuple[int, str]]) -> str:
    return hashlib.sha256(b"".join(struct.pack("<Q", end) + bytes.fromhex(digest) for end, digest in index)).hexdigest()


def reference(sizes: list[int], values: list[int], **options: int) -> Line:
    events = [["file", size, "no-reference"] for size in sizes]
    return drive({"profile": "tight", "events": events, "contents": values, **options})[0]


SIZES_14_1 = [12000000, 300000, 500000, 11000000, 400000]
VALUES_14_1 = [0x61, 0x62, 0x63, 0x64, 0x65]


@pytest.mark.parametrize(
    ("profile", "csum"),
    [
        ("tight", "2a76e335ab9c1eaed35e156580aa33c103d18ce9a84a66d1038a7d854c5e12ef"),
        ("upstream", "baad488c24c9b6806d99e20d1ad918df1ba82750a7e3404f57e69bb15ab13311"),
    ],
)
def test_example_14_1_has_the_checksums_of_the_specification(profile: str, csum: str) -> None:
    old = reference(SIZES_14_1, VALUES_14_1)
    assert checksum(old["index"]) == "5ee482bb538100190ea89c38d88abb40f1c1da5b8726e40e4b5eb2d41f03c1bf"
    events: list[list[str | int]] = [
        ["file", 12000000, "unchanged", 16],
        ["file", 310000, "size", 12000032],
        ["file", 500000, "unchanged", 12300048],
        ["file", 11000000, "unchanged", 12800064],
        ["file", 400500, "size", 23800080],
    ]
    run = drive(
        {"profile": profile, "old_index": old["index"], "events": events, "contents": [0x61, 0x42, 0x63, 0x64, 0x45]}
    )[0]
    assert checksum(run["index"]) == csum
    assert run["index"][-1][0] == run["payload_size"] == run["ledger"]["size"]
    assert run["ledger"]["padding"] == run["padding"] == run["injected_bytes"] - run["reused_bytes"]


def test_example_14_3_links_specials_and_directories_change_nothing() -> None:
    sizes = [250000] * 8 + [6000, 3000, 4000, 120000]
    values = [0x41 + i for i in range(8)] + [0x62, 0x63, 0x64, 0x65]
    old = reference(sizes, values, chunk_average=65536)
    kept = [i for i in range(12) if i != 9]
    events: list[list[str | int]] = [["enter"]]
    for i in kept:
        events += [["file", sizes[i], "unchanged", old["files"][i][3]], ["link"], ["special"], ["enter"], ["leave"]]
    run = drive(
        {
            "profile": "tight",
            "chunk_average": 65536,
            "old_index": old["index"],
            "events": events,
            "contents": [values[i] for i in kept],
        }
    )[0]
    assert checksum(run["index"]) == "301b5bd2a4f68795a40d78bb96358b502986c4c5b9e143d390c2eaeae4aad56c"
    assert run["inject"] == [[16, list(range(8)), 2000144], [2000160, [8], 133080]]
    assert run["ledger"]["hole_padding"] == 3016


BAD = [
    "",
    "[]",
    "{",
    "nonsense",
    "{}",
    '{"profile":"other","events":[]}',
    '{"profile":"tight"}',
    '{"profile":"tight","evil":1,"events":[]}',
    '{"profile":"tight","events":[["leave"]]}',
    '{"profile":"tight","events":[["enter","x"]]}',
    '{"profile":"tight","events":[["file",1,"threshold",0]]}',
    '{"profile":"tight","events":[["file",1,"unchanged",16]]}',
    '{"profile":"tight","events":[["file",-1,"new"]]}',
    '{"profile":"tight","events":[["file",1,"\u00e9"]]}',
    '{"profile":"tight","events":[],"old_index":[[1,"00"]]}',
    '{"profile":"tight","events":[],"old_index":[[5,"%s"],[5,"%s"]]}' % ("0" * 64, "1" * 64),
    '{"profile":"tight","events":[["file",1,"new"]],"contents":[]}',
    '{"profile":"tight","events":[],"contents":[],"chunk_average":1000}',
    '{"profile":"tight","events":[],"cache_limit":0}',
    '{"profile":"tight","events":[["file",9000000000000000000,"new"],["file",9e1,"new"]]}',
]


def test_bad_lines_are_refused_one_by_one() -> None:
    good = '{"profile":"tight","events":[]}'
    answers = drive(*(line for bad in BAD for line in (bad, good)))
    for bad, answer in zip(BAD, answers[::2], strict=True):
        assert list(answer) == ["error"], bad
    for answer in answers[1::2]:
        assert answer["payload_size"] == 32
