"""Trees of one extreme shape each: deep, wide, many equal contents, many names per file."""

from __future__ import annotations

from .planting import SECOND_NS, Data, Dice, File, Folder, Plan, Repeated, lognormal_sizes, timestamp
from .recipe import Recipe


def deep(recipe: Recipe) -> Plan:
    """One chain of folders with files along it, and short chains beside it. Paths relative to the root stay below 3000 bytes:
    PATH_MAX (4096) has to hold that of the cache, too."""
    values = recipe.values
    dice = Dice(values["seed"], "deep")
    depth, files = values["depth"], values["files"]
    epoch = timestamp(values["newest"])
    out = Plan(epoch_ns=epoch)
    chain = [b"/".join(b"lev-%03d" % level for level in range(1, length + 1)) for length in range(1, depth + 1)]
    sizes = lognormal_sizes(dice, files, values["size_median"], values["size_sigma"], values["size_max"])
    for number, size in enumerate(sizes):
        folder = chain[min((number + 1) * depth // files, depth) - 1]
        if number % 10 == 5:
            folder += b"/side" * dice.between(1, 12)
        contents = (Data(size, f"{values['seed']}/deep/{number}", values["compressibility"]),)
        out.nodes.append(File(folder + b"/file%05d" % number, epoch - number * SECOND_NS - number, contents))
    out.folders[chain[-1] + b"/empty"] = Folder(0o700)
    return out


def wide(recipe: Recipe) -> Plan:
    """One folder with all files but twenty: names of 1 to 250 bytes, contents of none to a few hundred bytes."""
    values = recipe.values
    dice = Dice(values["seed"], "wide")
    epoch = timestamp(values["newest"])
    out = Plan(epoch_ns=epoch)
    for number in range(values["files"]):
        name = f"{number:x}" if number % 3 else f"entry-{number:06d}" + "x" * (dice.below(230) if number % 50 == 0 else 0)
        folder = "beside" if number < 20 else "wide"
        size = 0 if dice.chance(0.05) else dice.between(1, values["size_max"])
        contents = (Data(size, f"{values['seed']}/wide/{number}", values["compressibility"]),) if size else ()
        # Many equal times: a hundred files were written in the same second by something that keeps no fractions.
        out.nodes.append(File(f"{folder}/{name}".encode(), epoch - number // 100 * SECOND_NS, contents))
    return out


def duplicates(recipe: Recipe) -> Plan:
    """Equal contents as they occur: copies of files, in other folders and under other names; a row of equal small files, so
    that equal chunks follow each other (change-detection.md 14.10); equal blocks within different files, at equal and at
    shifted places; equal files that are one chunk or more each."""
    values = recipe.values
    seed, compressibility = values["seed"], values["compressibility"]
    dice = Dice(seed, "duplicates")
    epoch = timestamp(values["newest"])
    out = Plan(epoch_ns=epoch)
    count, copies = values["files"], values["copies"]
    groups = max(1, count // 2 // copies)
    for group, size in enumerate(lognormal_sizes(dice, groups, values["size_median"], 1.4, values["size_max"])):
        for copy in range(copies):
            name = f"file{group:05d}" if copy % 2 == 0 else f"copy-of-{group:05d}"
            # Half of the copies kept the original's time, as cp -p does.
            mtime = epoch - group * 60 * SECOND_NS + (copy * 7 + 1 if copy % 4 > 1 else 0)
            contents = (Data(max(size, 1), f"{seed}/group/{group}", compressibility),)
            out.nodes.append(File(f"copies/place{copy:02d}/{group % 16:02d}/{name}".encode(), mtime, contents))
    for number in range(count // 4):
        zeros = (Repeated(6600, b"\0"),)
        out.nodes.append(File(f"equal/f{number:05d}".encode(), epoch - number * SECOND_NS, zeros))
    block = values["block"]
    for number in range(count // 4):
        shift = dice.between(1, 1000) if number % 2 else 0
        head = (Data(shift, f"{seed}/shift/{number}"),) if shift else ()
        body = tuple(Data(block, f"{seed}/block/{dice.below(24)}", compressibility) for _ in range(dice.between(2, 7)))
        out.nodes.append(File(f"blocks/f{number:05d}".encode(), epoch - number * SECOND_NS - 5, (*head, *body)))
    for number in range(max(3, count // 250)):
        contents = (Data(values["large"], f"{seed}/large/{number % 2}", compressibility),)
        out.nodes.append(File(f"large/f{number:03d}".encode(), epoch - number * SECOND_NS - 7, contents))
    return out


def hardlinks(recipe: Recipe) -> Plan:
    """Groups of names for one file: within a folder, across folders, with the first name (in order of path) before and behind
    the others' folders; a file with a hundred names; large ones; plain files in between. The last kind lies where the order
    of whole paths ("a-b/..." before "a/...") is not the order of a walk ("a", then "a-b")."""
    values = recipe.values
    seed = values["seed"]
    dice = Dice(seed, "hardlinks")
    epoch = timestamp(values["newest"])
    out = Plan(epoch_ns=epoch)
    sizes = lognormal_sizes(dice, values["files"], values["size_median"], 1.6, values["size_max"])
    for number, size in enumerate(sizes):
        own = f"{number:05d}"
        kind = number % 8
        if kind == 0:
            names = [f"b/plain-{own}"]
        elif kind == 1:
            names = [f"c/same-{own}-1", f"c/same-{own}-2"]
        elif kind == 2:
            names = [f"a/early-{own}", f"d/early-{own}"]
        elif kind == 3:
            # Made under the later name: the inode's own folder is behind the first name's.
            names = [f"e/late-{own}", f"b/late-{own}", f"a/nested/{own}/late"]
        elif kind == 4:
            names = [f"{folder}/many-{own}" for folder in dice.shuffled(("a", "b", "c", "d", "e"))]
        elif kind == 5:
            names = [f"d/plain-{own}"]
        elif kind == 6:
            names = [f"c/deep/{own[:3]}/x/{own}", f"c/deep/{own[:3]}/{own}"]
        else:
            names = [f"f/order/{own}", f"f/order-of/{own}"]
        if number == 4:
            names += [f"e/hundred/{n:02d}" for n in range(95)]
        contents = (Data(size, f"{seed}/hardlinks/{number}", values["compressibility"]),) if size else ()
        first, *others = (name.encode() for name in names)
        out.nodes.append(File(first, epoch - number * SECOND_NS, contents, 0o640 if number % 5 == 0 else 0o644, tuple(others)))
    return out
