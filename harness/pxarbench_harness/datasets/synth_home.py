"""Home directories, by what studies of file systems published.

- Douceur and Bolosky, A Large-Scale Study of File-System Contents (1999); Agrawal, Bolosky, Douceur and Lorch, A Five-Year
  Study of File-System Metadata (2007): the median file has 4 KiB, the mean grew from 64 to 189 KiB; sizes are log-normal
  with a tail of giants; the depth of files follows a Poisson law with mean 6.49; a new folder's parent is chosen with
  probability proportional to its number of subfolders + 2.
- Agrawal, Arpaci-Dusseau and Arpaci-Dusseau, Generating Realistic Impressions for File-System Benchmarking (2009): the tail
  is a Pareto law with shape 0.91; the number of files of a folder falls with the square of (itself + 2.36).

Extensions are a mix of this project's own: the published ones are of the Windows machines of a company around 2000.
"""

from __future__ import annotations

from .planting import DAY_NS, SECOND_NS, Data, Dice, File, Folder, Plan, Weighted, lognormal_sizes, pareto_quantile, timestamp
from .recipe import Recipe

#: Weights by count. False: contents are compressed already, the recipe's compressibility does not apply to them.
_TYPES: dict[str, tuple[float, bool]] = {
    "jpg": (14, False), "": (11, True), "html": (9, True), "txt": (8, True), "h": (7, True), "c": (6, True), "py": (6, True),
    "png": (6, False), "xml": (5, True), "pdf": (4, False), "js": (4, True), "json": (4, True), "odt": (3, False),
    "css": (2, True), "mp3": (2, False), "o": (2, True), "log": (2, True), "sqlite": (2, True), "zip": (1, False),
    "tex": (1, True), "csv": (1, True),
}  # fmt: skip
#: Of files above 4 MiB.
_LARGE_TYPES: dict[str, tuple[float, bool]] = {
    "mp4": (4, False), "zip": (3, False), "sqlite": (2, True), "iso": (1, True), "tar": (2, True), "mp3": (2, False),
}  # fmt: skip
_LARGE = 4 << 20
_PACKED = 0.02  # what zlib takes from a file that was packed by something else

_TOP = ("alice", "bob", "Übungen")  # the last one: names are bytes, whatever the locale
_FOLDERS = (
    "Documents", "Pictures", "src", "projects", ".cache", ".config", "Downloads", "letters", "2023", "2024", "2025", "old",
    "notes", "build", "include", "tests", "data", "photos", "music", "taxes", "thesis", "web", "images", "lib", "doc", "tmp",
)  # fmt: skip
_STEMS = (
    "index", "main", "report", "IMG", "invoice", "notes", "util", "draft", "readme", "config", "letter", "scan", "track",
    "data", "test", "summary", "plan", "figure", "chapter", "list",
)  # fmt: skip


def _folders(dice: Dice, count: int, depth_mean: float) -> list[list[bytes]]:
    """By depth, the root's b"" at 0. Each depth up to the deepest has one at least."""
    depths = sorted(max(1, dice.poisson(depth_mean)) for _ in range(count))
    levels: list[list[bytes]] = [[b""]]
    children: dict[bytes, int] = {b"": 0}
    for wanted in depths:
        depth = min(wanted, len(levels))
        above = levels[depth - 1]
        parent = Weighted([(path, children[path] + 2.0) for path in above]).pick(dice)
        number = children[parent]
        children[parent] += 1
        if depth == 1:
            name = _TOP[number] if number < len(_TOP) else f"user{number:03d}"
        else:
            name = dice.pick(_FOLDERS) + (f"-{number}" if number else "")
        path = (parent + b"/" if parent else b"") + name.encode()
        children[path] = 0
        if depth == len(levels):
            levels.append([])
        levels[depth].append(path)
    return levels


def _sizes(dice: Dice, recipe: Recipe) -> list[int]:
    values = recipe.values
    files = values["files"]
    giants, empty = round(files * values["tail_share"]), round(files * values["empty_share"])
    body = lognormal_sizes(dice, files - giants - empty, values["size_median"], values["size_sigma"], values["tail_min"])
    tail = [
        round(pareto_quantile(values["tail_min"], values["tail_shape"], values["tail_max"], (n + dice.unit()) / giants))
        for n in range(giants)
    ]
    return dice.shuffled([max(size, 1) for size in body] + tail + [0] * empty)


def plan(recipe: Recipe) -> Plan:
    values = recipe.values
    dice = Dice(values["seed"], "home")
    newest = timestamp(values["newest"])
    levels = _folders(dice, max(12, round(values["files"] / values["files_per_folder"])), values["depth_mean"])
    # Density falls with the square of (n + offset): the inverse of its sum, cut off at 400.
    offset = values["files_in_folder_offset"]
    share = [[(path, min(offset / (1 - dice.unit()), 400) - offset + 0.1) for path in level] for level in levels]
    choice = [Weighted(level) for level in share]
    small, large = ({name: weight for name, (weight, _) in types.items()} for types in (_TYPES, _LARGE_TYPES))
    small_types, large_types = Weighted(small), Weighted(large)
    out = Plan(epoch_ns=newest)
    taken = {folder for level in levels for folder in level}
    for number, size in enumerate(_sizes(dice, recipe)):
        folder = choice[min(dice.poisson(values["depth_mean"]), len(levels) - 1)].pick(dice)
        kind = (large_types if size > _LARGE else small_types).pick(dice)
        plain = {**_TYPES, **_LARGE_TYPES}[kind][1]
        stem = dice.pick(_STEMS)
        ending = f".{kind}" if kind else ""
        path = (folder + b"/" if folder else b"") + (stem + ending).encode()
        if path in taken:
            path = (folder + b"/" if folder else b"") + f"{stem}_{number:05d}{ending}".encode()
        taken.add(path)
        # Half of the files come out of archives and downloads, which keep whole seconds only.
        age = min(round(dice.lognormal(values["age_median_days"], 1.6) * DAY_NS), 4000 * DAY_NS)
        mtime = newest - age
        if dice.chance(0.5):
            mtime -= mtime % SECOND_NS
        mode = 0o600 if dice.chance(0.15) else 0o755 if kind in ("", "py") and dice.chance(0.3) else 0o644
        compressibility = values["compressibility"] if plain else min(_PACKED, values["compressibility"])
        contents = (Data(size, f"{values['seed']}/home/{number}", compressibility),) if size else ()
        out.nodes.append(File(path, mtime, contents, mode))
    for level in levels[1:]:
        for folder in level:
            out.folders[folder] = Folder(0o700 if dice.chance(0.1) else 0o755)
    return out
