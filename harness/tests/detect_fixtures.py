"""Writes the classics of fixtures/detect/: cases with what bench/spec says about them. What is expected is copied from the worked
examples or worked out by hand, never from a program or a model; digests of old chunks are made here.

    /usr/bin/python3 harness/tests/detect_fixtures.py --write
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import payload_model

Json = dict[str, Any]
Sizes = Sequence[int]

FOLDER = Path(__file__).parents[2] / "fixtures" / "detect"
HEADER, KIB, MIB = 16, 1024, 1 << 20


def offsets(sizes: Sizes, start: int = HEADER) -> list[int]:
    out = []
    for size in sizes:
        out.append(start)
        start += HEADER + size
    return out


def stream(sizes: Sizes, values: Sizes) -> bytes:
    parts = [struct.pack("<QQ", payload_model.START_MARKER, HEADER)]
    for size, value in zip(sizes, values, strict=True):
        parts += [struct.pack("<QQ", payload_model.PAYLOAD, HEADER + size), bytes([value]) * size]
    return b"".join([*parts, struct.pack("<QQ", payload_model.TAIL_MARKER, HEADER)])


def made(sizes: Sizes, values: Sizes, ends: Sizes) -> list[list[Any]]:
    """The index of those files' stream with chunks that end there."""
    data = stream(sizes, values)
    assert ends[-1] == len(data)
    starts = [0, *ends[:-1]]
    return [[end, hashlib.sha256(data[start:end]).hexdigest()] for start, end in zip(starts, ends, strict=True)]


def plain(ends: Sizes) -> list[list[Any]]:
    return [[end, hashlib.sha256(b"chunk %d" % k).hexdigest()] for k, end in enumerate(ends)]


def case(profile: str, average: int, index: list[list[Any]], sizes: Sizes, events: list[list[Any]] | None = None, **more: Any) -> Json:
    """`sizes`: of the old files, which lie close together."""
    at = offsets(sizes)
    return {
        "profile": profile,
        "threshold_ppm": 100_000,
        "cache_limit": 10_000,
        "chunk_average": average,
        "absorb_below": average // 16,
        "absorb_until": average // 4,
        "max_instances": 8,
        "old_index": index,
        "old_files": [list(pair) for pair in zip(at, sizes, strict=True)],
        "events": unchanged(sizes) if events is None else events,
    } | more


def unchanged(sizes: Sizes, but: dict[int, list[Any] | None] | None = None) -> list[list[Any]]:
    """Events of those files; `but`: other events for some, None for deleted ones."""
    events = [["file", size, "unchanged", at] for size, at in zip(sizes, offsets(sizes), strict=True)]
    chosen = [(but or {}).get(k, event) for k, event in enumerate(events)]
    return [event for event in chosen if event is not None]


def touched(sizes: Sizes, which: int) -> list[Any]:
    return ["file", sizes[which], "mtime", offsets(sizes)[which]]


def at_offsets(answer_files: Sequence[tuple[int, int]], reused: Sequence[int], reason: str = "mtime") -> list[list[Any]]:
    """Expected files: (ordinal, offset); those not in `reused` are encoded for that reason."""
    return [[k, *(("reused", "unchanged") if k in reused else ("reencoded", reason)), at] for k, at in answer_files]


# ---- change-detection.md 14 ----


def example_1() -> dict[str, Json]:
    sizes, values = (12_000_000, 300_000, 500_000, 11_000_000, 400_000), b"abcde"
    index = [
        [12_000_032, "4f11233d844053cebcb79287016af4ba1c0dddb5fe5d682da92a66f5156ee39e"],
        [23_800_080, "5aca1869f77c4d04d5a88936a294846960c32e076dcdb32de8bb1b6d7d84f746"],
        [24_200_112, "6823de6f2cca24f0801b9b11041acd2af3dcf9b79189ed16853ded8b5f834a2c"],
    ]
    assert index == made(sizes, values, [end for end, _ in index])
    new_b = "18ccd64ffca7c34d5d406153a59615746810e5298d23a1614e804ea7bfb2479a"
    new_e = "0ad91f511c18a99e37f428780d76b2bd72210a36bc3cef98a7e0ad8541cda417"
    start = "c3aef320d932bc67b7e919943a7ecac2c743d1af285f1d912d6f3f4a647f60a5"
    events = unchanged(sizes, {1: ["file", 310_000, "size", 12_000_032], 4: ["file", 400_500, "size", 23_800_080]})
    contents = list(b"aBcdE")
    upstream = {
        "files": [
            [0, "reencoded", "threshold", 16],
            [1, "reencoded", "size", 12_000_032],
            [2, "reused", "unchanged", 12_610_064],
            [3, "reused", "unchanged", 13_110_080],
            [4, "reencoded", "size", 24_510_128],
        ],
        "inject": [[12_310_048, [1, 2], 12_200_080]],
        "index": [
            [12_000_032, index[0][1]],
            [12_310_048, new_b],
            [24_110_096, index[1][1]],
            [24_510_128, index[2][1]],
            [24_910_660, new_e],
        ],
        "checksum": "baad488c24c9b6806d99e20d1ad918df1ba82750a7e3404f57e69bb15ab13311",
        "padding": 700_048,
        "partial_chunks": 2,
        "payload_size": 24_910_660,
    }
    tight = {
        "files": [
            [0, "reused", "unchanged", 32],
            [1, "reencoded", "size", 12_000_048],
            [2, "reused", "unchanged", 12_610_080],
            [3, "reused", "unchanged", 13_110_096],
            [4, "reencoded", "size", 24_110_112],
        ],
        "inject": [[16, [0], 12_000_032], [12_310_064, [1], 11_800_048]],
        "index": [
            [16, start],
            [12_000_048, index[0][1]],
            [12_310_064, new_b],
            [24_110_112, index[1][1]],
            [24_510_644, new_e],
        ],
        "checksum": "2a76e335ab9c1eaed35e156580aa33c103d18ce9a84a66d1038a7d854c5e12ef",
        "padding": 300_032,
        "partial_chunks": 2,
        "payload_size": 24_510_644,
    }
    same = {
        "files": at_offsets(list(enumerate((32, 12_000_048, 12_300_064, 12_800_080, 23_800_096))), range(5)),
        "inject": [[16, [0, 1, 2], 24_200_112]],
        "checksum": "72bd7e6eaca8df1bf161970dac6ec68735736dff3343920c666340aefea6ddae",
        "padding": 32,
    }
    out = {
        f"14-1-{name}": {"case": case(name, 4 * MIB, index, sizes, events, contents=contents), "expect": expect}
        for name, expect in (("upstream", upstream), ("tight", tight))
    }
    for name in ("upstream", "tight", "stored"):
        out[f"14-2-{name}"] = {"case": case(name, 4 * MIB, index, sizes, contents=list(values)), "expect": same}
    return out


def examples_3_and_4() -> dict[str, Json]:
    sizes = [250_000] * 8 + [6000, 3000, 4000, 120_000]
    values = b"ABCDEFGHbcde"
    ends = [250_032 + 250_016 * k for k in range(7)] + [2_000_144, 2_133_224]
    index = made(sizes, values, ends)
    hole = {
        "inject": [[16, list(range(8)), 2_000_144], [2_000_160, [8], 133_080]],
        "files": at_offsets(
            [(k, 32 + 250_016 * k) for k in range(8)] + [(8, 2_000_160), (9, 2_009_192), (10, 2_013_208)], range(11)
        ),
        "padding": 3048,
        "checksum": "301b5bd2a4f68795a40d78bb96358b502986c4c5b9e143d390c2eaeae4aad56c",
    }
    events = unchanged(sizes, {9: None})
    values_left = list(values[:9] + values[10:])
    out = {
        f"14-3-{name}": {"case": case(name, 64 * KIB, index, sizes, events, contents=values_left), "expect": hole}
        for name in ("upstream", "tight")
    }
    limit_upstream = {"rejected_ranges": 2, "reused_files": 4, "reencoded_files": 8}
    limit_tight = {
        "inject": [
            [16, [0, 1, 2], 750_064],
            [750_080, [3], 250_016],
            [1_000_096, [4, 5, 6], 750_048],
            [1_750_144, [7], 250_016],
            [2_000_160, [8], 133_080],
        ],
        "reused_files": 12,
    }
    for name, expect in (("upstream", limit_upstream), ("tight", limit_tight)):
        out[f"14-4-{name}"] = {
            "case": case(name, 64 * KIB, index, sizes, contents=list(values), cache_limit=4),
            "expect": expect,
        }
    return out


def example_5() -> dict[str, Json]:
    sizes = [MIB] * 100
    inner = "504264eb4c90bde66d0d62e0906b8188bae27ee2f62dfbdaf7e0d6937d81979b"
    index = [[1_048_608 + 1_048_592 * k, inner] for k in range(99)] + [
        [104_859_232, "53b46ab166dcef8a3ae9f95ec0f6c5168247a72a0d44f5e3d6e435b930344969"]
    ]
    index[0][1] = "5c85c0827ed968c4147d6a7e59b0237fa342f6f2a9d4e6ced767f2bfc19a560f"
    files = at_offsets([(k, 32 + 1_048_592 * k) for k in range(100)], range(100))
    expect: dict[str, list[tuple[int, int, int]]] = {
        "upstream": [(16, 0, 40), (41_943_712, 40, 40), (83_887_392, 80, 20)],
        "tight": [(16, 0, 39), (40_895_120, 39, 1), (41_943_712, 40, 39), (82_838_800, 79, 1), (83_887_392, 80, 20)],
    }
    out = {}
    for name, orders in expect.items():
        size = {first: sum(1_048_592 + 16 * (k in (0, 99)) for k in range(first, first + n)) for _, first, n in orders}
        inject = [[at, list(range(first, first + n)), size[first]] for at, first, n in orders]
        out[f"14-5-limit-40-{name}"] = {
            "case": case(name, MIB, index, sizes, cache_limit=40),
            "expect": {"files": files, "inject": inject, "padding": 32, "partial_chunks": 2},
        }
        out[f"14-5-{name}"] = {
            "case": case(name, MIB, index, sizes),
            "expect": {"files": files, "inject": [[16, list(range(100)), 104_859_232]], "padding": 32},
        }
    return out


def example_6() -> dict[str, Json]:
    out = {}
    for size, messages in ((1000, (130_064, 130_048, 44_720)), (20_000, (2_562_064, 2_562_048, 880_720))):
        sizes = [size] * 300
        ends = [at + HEADER + size for at in offsets(sizes)]
        ends[-1] += HEADER
        inject = []
        at = HEADER
        for k, message in enumerate(messages):
            inject.append([at, list(range(128 * k, min(128 * k + 128, 300))), message])
            at += message
        for name in ("upstream", "tight", "stored"):
            average = 1024 if size == 1000 else 64 * KIB
            out[f"14-6-{size}-{name}"] = {"case": case(name, average, plain(ends), sizes), "expect": {"inject": inject}}
    return out


def example_7() -> dict[str, Json]:
    """(P, Q, P): what stood in Q is gone, the range behind it begins in a chunk of the digest of the one that is held."""
    sizes = (992, 1008, 992)
    index = [[end, hashlib.sha256(name).hexdigest()] for end, name in ((1024, b"P"), (2048, b"Q"), (3072, b"P"))]
    all_three = {"inject": [[16, [0, 1, 2], 3072]], "files": at_offsets([(0, 32), (1, 1040), (2, 2064)], range(3))}
    gone = {"files": at_offsets([(0, 32), (1, 1040)], range(2)), "injected_chunks": 2, "padding": 32}
    out = {}
    for name in ("tight", "upstream", "stored"):
        out[f"14-7-{name}"] = {"case": case(name, 4096, index, sizes), "expect": all_three}
    for name, inject in (("tight", [[16, [0], 1024], [1040, [2], 1024]]), ("stored", [[16, [0, 2], 2048]])):
        events = unchanged(sizes, {1: None})
        out[f"14-7-hole-{name}"] = {"case": case(name, 4096, index, sizes, events), "expect": {**gone, "inject": inject}}
    return out


def example_8() -> dict[str, Json]:
    sizes, values = [262_112] + [262_128] * 11, list(range(1, 13))
    ends = [262_144 * k for k in range(1, 13)] + [3_145_744]
    index = made(sizes, values, ends)
    tail = "d0947d64cf10fd8e368128d3f5b4c33a4926b2887d9950b5c3d43e5e32835a07"
    assert index[-1][1] == tail
    new_ends = [16] + [16 + 262_144 * k for k in range(1, 13)]
    expect = {
        "upstream": {"index_ends": [*new_ends, 3_145_760, 3_145_776], "padding": 32, "partial_chunks": 2},
        "tight": {"index_ends": [*new_ends, 3_145_760], "padding": 16},
        "stored": {"index_ends": [*new_ends, 3_145_760], "padding": 16},
    }
    assert new_ends[-1] == 3_145_744
    return {
        f"14-8-{name}": {"case": case(name, 64 * KIB, index, sizes, contents=values), "expect": what}
        for name, what in expect.items()
    }


def example_9() -> dict[str, Json]:
    sizes, values = [20_000] * 60, list(range(1, 61))
    ends = [at + 20_016 for at in offsets(sizes)]
    ends[-1] += HEADER
    index = made(sizes, values, ends)
    events = unchanged(sizes, {30: touched(sizes, 30)})
    upstream = {
        "inject": [[16, list(range(31)), 620_512], [640_544, list(range(31, 60)), 580_480]],
        "reused_files": 59,
        "reencoded_files": 1,
        "padding": 20_048,  # 19.578 KiB
        "partial_chunks": 3,
        "unreferenced_chunks": 1,
        "index_count": 63,
    }
    tight = {
        "inject": [[16, list(range(30)), 600_496], [620_528, list(range(31, 60)), 580_480]],
        "reused_files": 59,
        "index_count": 62,
    }
    return {
        f"14-9-{name}": {"case": case(name, 64 * KIB, index, sizes, events, contents=values), "expect": expect}
        for name, expect in (("upstream", upstream), ("tight", tight))
    }


def example_10() -> dict[str, Json]:
    """P = 10, Q = 11, R = 20."""
    sizes = [6600] * 900
    ends = [16 + 19_848 * (k + 1) for k in range(300)]
    ends[-1] += HEADER
    digests = [hashlib.sha256(b"first").hexdigest(), *[hashlib.sha256(b"inner").hexdigest()] * 298, hashlib.sha256(b"last").hexdigest()]
    index = [list(pair) for pair in zip(ends, digests, strict=True)]
    events = unchanged(sizes, {32: None, 61: None})
    inject = [
        [16, list(range(10)), 198_496],
        [198_512, [10], 19_848],
        [218_360, list(range(11, 20)), 178_632],
        [396_992, list(range(20, 148)), 128 * 19_848],
        [396_992 + 128 * 19_848, list(range(148, 276)), 128 * 19_848],
        [396_992 + 256 * 19_848, list(range(276, 300)), 24 * 19_848 + 16],
    ]
    expect = {"inject": inject, "reencoded_files": 0, "padding": 32 + 2 * 6616}
    return {f"14-10-{name}": {"case": case(name, 64 * KIB, index, sizes, events), "expect": expect} for name in ("upstream", "tight")}


# ---- rules of the cache ----


def rules() -> dict[str, Json]:
    out: dict[str, Json] = {}
    # Checklist 12. One chunk of 1000 bytes: a file of 900, 16 before and 84 behind it; of 899.
    for size, answer in ((884, {"reused_files": 1}), (883, {"reencoded_files": 1, "rejected_ranges": 1})):
        for name in ("tight", "upstream"):
            out[f"ratio-{16 + size}-of-1000-{name}"] = {"case": case(name, 4096, plain([1000]), [size]), "expect": answer}
        answer = {key: value for key, value in answer.items() if key != "rejected_ranges"}
        out[f"ratio-{16 + size}-of-1000-stored"] = {"case": case("stored", 4096, plain([1000]), [size]), "expect": answer}
    # D12: a limit of 1, all in one chunk, a directory or a special file behind each flush.
    sizes = [284] * 10
    chunk = plain([16 + 300 * 10 + 16])
    files = unchanged(sizes)
    events: list[list[Any]] = []
    for k, file in enumerate(files):
        events += [file, ["special"] if k % 2 else ["enter"]]
    events += [["leave"]] * 5
    wide = {"threshold_ppm": 1_000_000, "cache_limit": 1}
    once = {"injected_chunks": 1, "reused_files": 10, "padding": 32}
    out["held-through-directories-tight"] = {"case": case("tight", 4096, chunk, sizes, events, **wide), "expect": once}
    drained = {"injected_chunks": 10, "reused_files": 10}
    out["held-through-directories-upstream"] = {"case": case("upstream", 4096, chunk, sizes, events, **wide), "expect": drained}
    # Checklist 18: every limit on a nested tree whose directories begin and end in and outside of the cache.
    nested: list[list[Any]] = [["enter"], files[0], ["enter"], ["enter"], files[1], ["leave"], ["special"], ["link"], ["leave"]]
    nested += [files[2], ["leave"], ["link"], ["file", 5, "new", 0], ["enter"], ["leave"], files[3], ["enter"], files[4], ["leave"]]
    for name in ("tight", "upstream", "stored"):
        for limit in range(1, 12):
            some = case(name, 4096, plain([620, 916, 3032]), sizes, nested, cache_limit=limit, threshold_ppm=400_000)
            out[f"nested-limit-{limit:02}-{name}"] = {"case": some}
    return out


# ---- reuse-stored.md 6 ----


def stored_rules() -> dict[str, Json]:
    out: dict[str, Json] = {}
    # 4 and 5. Two chunks of 100 files of 100 bytes each; files of the first change.
    sizes = [84] * 200
    index = plain([16 + 100 * 100, 16 + 200 * 100, 32 + 200 * 100])
    wide = {"absorb_below": 64, "absorb_until": 4096}
    one = unchanged(sizes, {50: touched(sizes, 50)})
    out["stored-one-of-100"] = {
        "case": case("stored", 16384, index, sizes, one, **wide),
        "expect": {
            "inject": [[16, [0], 10_016], [10_132, [0, 1], 20_016]],
            "reused_files": 199,
            "relisted_chunks": 1,
            "stored_waste": 16 + 100,
            "given_up": [0, 0, 0],
        },
    }
    # Ten side by side: (10 * 100 + 16) / 10016 is above a tenth, of the second chunk it is a tenth.
    second = {k: touched(sizes, k) for k in range(120, 130)}
    out["stored-10-of-100"] = {
        "case": case("stored", 16384, index, sizes, unchanged(sizes, second), **wide),
        "expect": {"reused_files": 190, "given_up": [0, 0, 0], "stored_waste": 16 + 1000},
    }
    second[130] = touched(sizes, 130)
    out["stored-11-of-100"] = {
        "case": case("stored", 16384, index, sizes, unchanged(sizes, second), **wide),
        "expect": {"reused_files": 100, "given_up": [1, 0, 0], "inject": [[16, [0], 10_016]]},
    }
    # 6. A file over three chunks, of which the last is given up: the others lose it, too.
    sizes = [984, 2984, 84, 884, 1984]
    index = plain([2016, 3016, 5016, 7032])
    spanning = unchanged(sizes, {3: touched(sizes, 3)})
    out["stored-spanning-three"] = {
        "case": case("stored", 16384, index, sizes, spanning, **wide),
        "expect": {
            "files": [
                [0, "reencoded", "threshold", 16],
                [1, "reencoded", "threshold", 1016],
                [2, "reencoded", "threshold", 4016],
                [3, "reencoded", "mtime", 4116],
                [4, "reused", "unchanged", 5016],
            ],
            "given_up": [3, 0, 0],
        },
    }
    # 9. Small chunks of 100 bytes, two files each, between large ones: the run takes them along up to 1024 bytes.
    sizes = [984] + [34] * 24 + [984]
    ends = [1016] + [1016 + 100 * k for k in range(1, 13)] + [3216, 3232]
    small = {"absorb_below": 128, "threshold_ppm": 20_000}
    middle = unchanged(sizes, {0: None, 9: touched(sizes, 9)})
    absorbed = case("stored", 4096, plain(ends), sizes, middle, absorb_until=240, **small)
    # File 9 alone costs its chunk (files 9, 10: half of it is gone). That run of 100 takes the chunk behind, then the one behind that.
    out["stored-absorb-behind"] = {
        "case": absorbed,
        "expect": {"given_up": [1, 0, 2], "reencoded_files": 6, "reencoded_bytes": 300},
    }
    end = unchanged(sizes, {24: touched(sizes, 24)})
    # The run stands before a large chunk: what is before it is taken.
    out["stored-absorb-before"] = {
        "case": case("stored", 4096, plain(ends), sizes, end, absorb_until=240, **small),
        "expect": {"given_up": [1, 0, 2], "reencoded_files": 6, "reencoded_bytes": 300},
    }
    alone = unchanged(sizes, {0: touched(sizes, 0)})
    alone = [alone[0], *unchanged(sizes)[25:]]
    out["stored-absorb-nothing-large"] = {
        "case": case("stored", 4096, plain(ends), sizes, alone, absorb_until=4096, **small),
        "expect": {"given_up": [0, 0, 0], "reused_files": 1},
    }
    out["stored-absorb-nothing-changed"] = {
        "case": case("stored", 4096, plain(ends), sizes, absorb_until=4096, **small),
        "expect": {"given_up": [0, 0, 0], "reencoded_files": 0},
    }
    # Absorbing costs a large chunk the file that reaches into it; it is given up, and the run goes on to the next small one.
    sizes = [984, 34, 134, 184, 84, 984]
    again = unchanged(sizes)
    again.insert(1, ["file", 84, "new", 0])
    some = case("stored", 4096, plain([1016, 1116, 1416, 1516, 2516, 2532]), sizes, again, absorb_below=200, absorb_until=1000)
    whys = ("unchanged", "new", "absorbed", "absorbed", "threshold", "absorbed", "unchanged")
    offset = (32, 1032, 1132, 1182, 1332, 1532, 1632)
    out["stored-absorb-again"] = {
        "case": some,
        "expect": {
            "files": [
                [k, "reused" if why == "unchanged" else "reencoded", why, at]
                for k, (why, at) in enumerate(zip(whys, offset, strict=True))
            ],
            "inject": [[16, [0], 1016], [1632, [4], 1000]],
            "given_up": [1, 0, 2],
        },
    }
    # Instances: one chunk, new files between its files.
    sizes = [984] * 10
    whole = plain([32 + 10_000])
    between: list[list[Any]] = []
    for file in unchanged(sizes):
        between += [file, ["file", 0, "new", 0]]
    for most, answer in (
        (10, {"injected_chunks": 10, "given_up": [0, 0, 0], "reused_files": 10}),
        (9, {"injected_chunks": 0, "given_up": [0, 1, 0], "reused_files": 0}),
    ):
        some = case("stored", 4096, whole, sizes, between, max_instances=most)
        out[f"stored-instances-{most}"] = {"case": some, "expect": answer}
    # The same with a cache of one entry: decided early and kept, it is listed as often as it may be, the rest is encoded.
    some = case("stored", 4096, whole, sizes, between, max_instances=3, cache_limit=1)
    out["stored-instances-early"] = {
        "case": some,
        "expect": {"injected_chunks": 3, "given_up": [0, 1, 0], "reused_files": 3, "early_chunks": 1},
    }
    # Decided early for files that turn out to be gone: valid, but far above the threshold (reuse-stored.md 2, "only less optimal").
    some = case("stored", 4096, whole, sizes, [unchanged(sizes)[0], ["special"]], cache_limit=1)
    out["stored-early-loses"] = {
        "case": some,
        "expect": {"inject": [[16, [0], 10_032]], "reused_files": 1, "early_chunks": 1, "stored_waste": 9032},
    }
    return out


def classics() -> dict[str, Json]:
    out: dict[str, Json] = {}
    for some in (example_1, examples_3_and_4, example_5, example_6, example_7, example_8, example_9, example_10, rules, stored_rules):
        out |= some()
    return out


def text(fixture: Json) -> str:
    """One line per member of the case: what differs between two fixtures shows."""
    case = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in fixture["case"].items())
    out = '{"case": {\n' + case + "\n}"
    if "expect" in fixture:
        out += ',\n"expect": {\n'
        out += ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in fixture["expect"].items()) + "\n}"
    return out + "}\n"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    for name, fixture in classics().items():
        (FOLDER / f"{name}.json").write_text(text(fixture))
