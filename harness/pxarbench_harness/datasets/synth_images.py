"""Few and large files: disks of virtual machines, and files with holes of every shape."""

from __future__ import annotations

import json

from .planting import SECOND_NS, Data, Dice, Exactly, File, Hole, Piece, Plan, Repeated, Weighted, timestamp
from .recipe import Recipe

_MIB = 1 << 20
_REGION = 256 << 10
#: What the regions of a disk hold, in shares of the disk; "template": the same on all disks that have it at this place.
_REGIONS: dict[str, float] = {"hole": 45, "zeros": 3, "noise": 16, "mixed": 24, "template": 12}
_LONGEST_RUN = 48


def _disk(recipe: Recipe, number: int, size: int) -> tuple[Piece, ...]:
    values = recipe.values
    dice = Dice(values["seed"], "disk", number)
    regions = Weighted(_REGIONS)
    boot = Data(min(_MIB, size), f"{values['seed']}/boot", values["compressibility"])
    pieces: list[Piece] = [boot]
    at = boot.size
    while at < size:
        kind = regions.pick(dice)
        length = min(dice.between(1, _LONGEST_RUN) * _REGION, size - at)
        if kind == "hole":
            pieces.append(Hole(length))
        elif kind == "zeros":
            pieces.append(Repeated(length, b"\0"))
        elif kind == "noise":
            pieces.append(Data(length, f"{values['seed']}/disk/{number}/{at}"))
        elif kind == "mixed":
            pieces.append(Data(length, f"{values['seed']}/disk/{number}/{at}", values["compressibility"]))
        else:
            pieces += [
                Data(min(_REGION, at + length - begin), f"{values['seed']}/template/{begin}", values["compressibility"])
                for begin in range(at, at + length, _REGION)
            ]
        at += length
    return tuple(pieces)


def vm_images(recipe: Recipe) -> Plan:
    values = recipe.values
    newest = timestamp(values["newest"])
    out = Plan(epoch_ns=newest)
    for number in range(values["files"]):
        size = values["image_mib"][number % len(values["image_mib"])] * _MIB
        name, mtime = f"{100 + number}", newest - number * 3600 * SECOND_NS + 123_456_789
        about = json.dumps({"name": f"machine-{name}", "disk": f"vm-{name}-disk-0.raw", "size": size}, indent=2) + "\n"
        out.nodes.append(File(f"config/{name}.json".encode(), mtime, (Exactly(about.encode()),), 0o640))
        out.nodes.append(File(f"images/{name}/vm-{name}-disk-0.raw".encode(), mtime, _disk(recipe, number, size), 0o600))
    return out


def sparse(recipe: Recipe) -> Plan:
    """`files` files in turn of these shapes; the sizes of holes go from a page to several chunks."""
    values = recipe.values
    epoch = timestamp(values["newest"])
    out = Plan(epoch_ns=epoch)
    holes = values["hole_sizes"]
    for number in range(values["files"]):
        hole, dice = holes[number // 8 % len(holes)], Dice(values["seed"], "sparse", number)

        def data(size: int, part: int = 0, number: int = number) -> Data:
            return Data(size, f"{values['seed']}/sparse/{number}/{part}", values["compressibility"])

        size = dice.between(1, 200_000)
        shapes: tuple[tuple[str, tuple[Piece, ...]], ...] = (
            ("all-hole", (Hole(hole),)),
            ("hole-first", (Hole(hole), data(size))),
            ("hole-last", (data(size), Hole(hole))),
            ("hole-inside", (data(size), Hole(hole), data(dice.between(1, 9000), 1))),
            ("one-byte-behind", (Hole(hole), data(1))),
            ("off-by-one", (data(4097), Hole(hole - 2), data(4095, 1))),
            ("islands", tuple(p for n in range(12) for p in (data(dice.between(1, 5000), n), Hole(hole // 12 + 1)))),
            ("written-zeros", (data(4096), Repeated(min(hole, 2 * _MIB), b"\0"), Hole(65536))),
        )
        name, contents = shapes[number % 8]
        out.nodes.append(File(f"{name}/{number:04d}-{hole}".encode(), epoch - number * 1_000_000_007, contents))
    return out
