"""Preparing, checking and finding datasets without a benchmark."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import locate, run
from . import DatasetFailed, load, names, prepare, verify
from .recipe import Recipe, RecipeBroken

_NAME = "a recipe's name, the path of a recipe (.toml), or path:FOLDER for a copy of a folder of your own"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python3 -m pxarbench_harness.datasets",
        description="Datasets are made once, from recipes (datasets/*.toml), and kept in a cache.",
        epilog="Exit codes: 0 done; 1 a dataset could not be prepared, is damaged or not there; 2 wrong arguments.",
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--cache", type=Path, help="default: $PXARBENCH_CACHE, else ~/.cache/pxarbench")
        return sub

    command("list", "the recipes, and which of them are prepared")
    sub = command("prepare", "prepare datasets; what is there and whole is left as it is")
    sub.add_argument("names", nargs="+", metavar="NAME", help=_NAME)
    sub.add_argument("--files", type=int, help="another number of files, for generated datasets that have a choice")
    sub.add_argument("--fresh", action="store_true", help="make it again even if it is there")
    sub = command("verify", "read a prepared dataset again and compare it with what was made")
    sub.add_argument("names", nargs="+", metavar="NAME", help=_NAME)
    sub.add_argument("--files", type=int, help="as with prepare")
    sub = command("path", "print the folder of a prepared tree")
    sub.add_argument("name", metavar="NAME", help=_NAME)
    sub.add_argument("--files", type=int, help="as with prepare")
    return p


def _recipe(name: str, files: int | None) -> Recipe:
    loaded = load(name)
    return loaded.with_files(files) if files else loaded


def _list(cache: Path) -> None:
    for name in names():
        recipe = load(name)
        stamp = cache / "datasets" / recipe.key / "stamp.json"
        try:
            values = json.loads(stamp.read_text(encoding="utf-8"))
            state = f"{values['files']:,} files, {values['bytes'] / 2**20:,.1f} MiB, {values['source']}"
        except (OSError, ValueError, KeyError, TypeError):
            state = "not prepared"
        print(f"{name}\n    {recipe.title}; licence: {recipe.licence}\n    {state}")


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # progress is to be seen when it happens, also in a pipe
    cache = args.cache.absolute() if args.cache else locate.cache()
    try:
        if args.command == "list":
            _list(cache)
            return 0
        if args.command == "path":
            folder = cache / "datasets" / _recipe(args.name, args.files).key
            if not (folder / "stamp.json").exists():
                print(f"datasets: {args.name} is not prepared", file=sys.stderr)
                return 1
            print(folder / "tree")
            return 0
        recipes = [_recipe(name, args.files) for name in args.names]
    except RecipeBroken as error:
        print(f"datasets: {error}", file=sys.stderr)
        return 2
    failed = False
    for recipe in recipes:
        try:
            if args.command == "prepare":
                with prepare(recipe, cache=cache, fresh=args.fresh):
                    pass
                continue
            problems = verify(recipe, cache=cache)
            for line in problems[:20]:
                print(line, file=sys.stderr)
            if len(problems) > 20:
                print(f"... and {len(problems) - 20} more", file=sys.stderr)
            print(f"dataset {recipe.name}: {'DAMAGED' if problems else 'whole'}")
            failed = failed or bool(problems)
        except (DatasetFailed, run.CommandFailed, OSError) as error:
            print(f"datasets: {error}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
