#!/usr/bin/python3
"""The dependency rule of the C core: a folder includes only its own headers and those of the folders it names.

The rule is read where the build reads it, from the `pxb_folder(NAME DEPENDS ...)` lines. Three ways to break it:
an include that is not in the list, folders that depend on each other in a circle, and an include that goes around the
rule (no folder in the path, or `..`). Test and fuzz programs, and headers that only they share (x_for_test.h), may also use
what their folder depends on indirectly, and testing/.
"""

import argparse
import re
import sys
from pathlib import Path

FOLDER = re.compile(r"pxb_folder\s*\(([^)]*)\)")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]*)"')
PROGRAM = re.compile(r"_(test|fuzz|micro)\.c$|_for_test\.h$")


def parse_folder(text: str) -> tuple[str, list[str]] | None:
    """Name and DEPENDS list of the pxb_folder line in a CMakeLists.txt; None when it has none."""
    match = FOLDER.search(re.sub(r"#.*", "", text))
    if not match:
        return None
    words = match.group(1).split()
    depends: list[str] = []
    section = ""
    for word in words[1:]:
        if word in ("DEPENDS", "LIBRARIES"):
            section = word
        elif section == "DEPENDS":
            depends.append(word)
    return words[0], depends


def closure(name: str, depends: dict[str, list[str]]) -> set[str]:
    """All folders below `name`, itself included."""
    seen = {name}
    waiting = [name]
    while waiting:
        for below in depends.get(waiting.pop(), []):
            if below not in seen:
                seen.add(below)
                waiting.append(below)
    return seen


def circles(depends: dict[str, list[str]]) -> list[str]:
    """One sentence per folder that reaches itself."""
    return [
        f"{name} depends on itself through {below}"
        for name, list_ in sorted(depends.items())
        for below in list_
        if name in closure(below, depends)
    ]


def check_source(path: Path, folder: str, depends: dict[str, list[str]]) -> list[str]:
    """Broken includes of one file, as "path:line: sentence"."""
    allowed = {folder, *depends[folder]}
    if PROGRAM.search(path.name):
        allowed = closure(folder, depends) | {"testing"}
    problems = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        parts = match.group(1).split("/")
        if ".." in parts or "." in parts or len(parts) < 2:
            problems.append(f'{path}:{number}: write "folder/header.h", not "{match.group(1)}"')
        elif parts[0] not in allowed:
            problems.append(
                f"{path}:{number}: {folder} includes {match.group(1)}, but its DEPENDS list is: "
                f"{' '.join(depends[folder]) or '(empty)'}"
            )
    return problems


def check(bench: Path) -> tuple[list[str], int, int]:
    """All problems below `bench`, and how many folders and files were looked at."""
    depends: dict[str, list[str]] = {}
    directories: dict[str, Path] = {}
    for cmake in sorted(bench.rglob("CMakeLists.txt")):
        # The function's definition is in bench/CMakeLists.txt itself, next to no sources.
        parsed = parse_folder(cmake.read_text(encoding="utf-8")) if cmake.parent != bench else None
        if parsed:
            depends[parsed[0]] = parsed[1]
            directories[parsed[0]] = cmake.parent
    problems = [
        f"{directories[name]}: unknown folder in DEPENDS: {below}"
        for name, list_ in depends.items()
        for below in list_
        if below not in depends
    ]
    problems += circles(depends)
    if depends.get("base"):
        problems.append("base is below everything: it depends on nothing")
    files = 0
    for name, directory in directories.items():
        for path in sorted([*directory.glob("*.c"), *directory.glob("*.h")]):
            files += 1
            problems += check_source(path, name, depends)
    if not depends or not files:
        problems.append(f"{bench}: no folders or no sources found: the check saw nothing")
    return problems, len(depends), files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", nargs="?", type=Path, default=Path(__file__).resolve().parent.parent / "bench")
    problems, folders, files = check(parser.parse_args().bench)
    for problem in problems:
        print(problem)
    print(f"dependency rule: {folders} folders, {files} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
