"""Seeded images with the sizes of the COCO set, packed as a zip, unpacked again and checked.

The road through the zip is the point of it: the real set comes as one, and preparing it means unpacking and checking.
"""

from __future__ import annotations

import calendar
import math
import os
import random
import time
import zipfile
from collections.abc import Iterator
from statistics import NormalDist

import numpy

from .recipe import Recipe
from .workspace import Built, DatasetFailed, Workspace

# A JPEG by its first and last bytes: start of image, JFIF header; end of image.
_HEAD = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")
_TAIL = bytes.fromhex("ffd9")
_FOLDER = "unlabeled2017"


def sizes(recipe: Recipe) -> list[int]:
    """Log-normal with the recipe's mean, cut off at both ends. Pure Python: equal on every machine."""
    values = recipe.values
    sigma = values["size_sigma"]
    normal = NormalDist(math.log(values["size_mean"]) - sigma * sigma / 2, sigma)
    dice = random.Random(values["seed"])
    drawn = (round(math.exp(normal.inv_cdf(dice.random() or 0.5))) for _ in range(values["files"]))
    return [min(max(size, values["size_min"]), values["size_max"]) for size in drawn]


def needed_bytes(recipe: Recipe) -> int:
    """The packed and the unpacked images, and something to spare."""
    return round(2.2 * recipe.values["files"] * recipe.values["size_mean"]) + (64 << 20)


def _contents(seed: int, number: int, size: int) -> bytes:
    # random_raw: the raw bits of a generator are promised to stay the same in all releases of numpy, those of
    # everything above it are not.
    body = size - len(_HEAD) - len(_TAIL)
    raw = numpy.random.PCG64([seed, number]).random_raw((body + 7) // 8).astype("<u8").tobytes()
    return _HEAD + raw[:body] + _TAIL


def _members(recipe: Recipe) -> Iterator[tuple[zipfile.ZipInfo, bytes]]:
    values = recipe.values
    first = calendar.timegm(time.strptime(values["mtime"], "%Y-%m-%dT%H:%M:%SZ"))
    for number, size in enumerate(sizes(recipe)):
        info = zipfile.ZipInfo(f"{_FOLDER}/{number * 97 + 1:012d}.jpg", time.gmtime(first + 2 * number)[:6])
        info.external_attr = 0o100644 << 16
        yield info, _contents(values["seed"], number, size)


def _pack(work: Workspace) -> None:
    packed = work.scratch / "images.zip"
    part = work.scratch / "images.zip.partial"
    count = work.recipe.values["files"]
    work.say(f"dataset {work.recipe.name}: making {count:,} images")
    whole = sum(sizes(work.recipe))
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive, work.progress("packing", total_bytes=whole) as shown:
        for info, data in _members(work.recipe):
            archive.writestr(info, data)
            shown.add(1, len(data))
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    part.rename(packed)


def _unpack(work: Workspace) -> None:
    """zipfile checks the CRC of each member while reading; a short or damaged archive raises."""
    whole = sum(sizes(work.recipe))
    with zipfile.ZipFile(work.scratch / "images.zip") as archive, work.progress("unpacking", total_bytes=whole) as shown:
        members = archive.infolist()
        if len(members) != work.recipe.values["files"]:
            raise zipfile.BadZipFile(f"{len(members)} members")
        (work.root / _FOLDER).mkdir(mode=0o755)
        for info in members:
            path = work.root / info.filename
            if path.parent.name != _FOLDER or path.parent.parent != work.root:
                raise zipfile.BadZipFile(f"member {info.filename!r} leads out of the folder")
            path.write_bytes(archive.read(info))
            path.chmod((info.external_attr >> 16) & 0o777)
            seconds = calendar.timegm((*info.date_time, 0, 0, 0))
            os.utime(path, (seconds, seconds))
            shown.add(1, info.file_size)
        last = calendar.timegm((*members[-1].date_time, 0, 0, 0))
    for folder in (work.root / _FOLDER, work.root):
        os.utime(folder, (last, last))


def build(work: Workspace) -> Built:
    for attempt in (1, 2):
        if not (work.scratch / "images.zip").exists():
            _pack(work)
        work.step("packed")
        work.say(f"dataset {work.recipe.name}: unpacking and checking")
        try:
            _unpack(work)
        except zipfile.BadZipFile as error:
            # Packed by an interrupted run, on a disk that lost it since: once more, from the start.
            (work.scratch / "images.zip").unlink()
            if attempt == 2:
                raise DatasetFailed(f"dataset {work.recipe.name}: the packed images are damaged: {error}") from error
            work.say(f"dataset {work.recipe.name}: the packed images are damaged ({error}), they are made again")
            for path in sorted(work.root.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
        else:
            break
    work.step("unpacked")
    return Built(f"generated, seed {work.recipe.values['seed']}, {work.recipe.values['files']} images", "archive")
