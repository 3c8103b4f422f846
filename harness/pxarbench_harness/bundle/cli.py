"""The command lines of ci/bundle and ci/replay. --help needs none of the packages that the rest does."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from ..gates.verdict import Verdict
    from .manifest import Manifest

EXIT_OK, EXIT_ERROR, EXIT_INTERRUPTED = 0, 1, 130
_KEPT = frozenset("\n\t")


def harmless(text: str) -> str:
    """Without what a terminal obeys: what a bundle holds may come from anybody."""
    return "".join(c if c in _KEPT or (c.isprintable() and not 0xD800 <= ord(c) < 0xE000) else f"\\x{ord(c):02x}" for c in text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse would exit with 2, which means "regression" here.
        self.print_usage(sys.stderr)
        self.exit(EXIT_ERROR, f"{self.prog}: error: {message}\n")


def _stop(program: str, text: object) -> int:
    print(f"{program}: {harmless(str(text))}", file=sys.stderr)
    return EXIT_ERROR


# ---- ci/bundle ----


def bundle_parser() -> argparse.ArgumentParser:
    p = _Parser(
        prog="ci/bundle",
        description="Packs a finished session's folder, or what ci/gate wrote, into one file with everything that it takes to\n"
        "check it elsewhere: plan, seeds, recipes, operation logs, records, integers, golden files, fingerprint, versions.\n"
        "The same folder gives the same bytes. ci/replay does it again.",
        epilog="examples:\n"
        "  ci/bundle results/runs/2026-11-22-001 -o evidence.tar.zst\n"
        "  ci/bundle out/gate --raw\n"
        "  ci/bundle --show evidence.tar.zst\n"
        "  zstd -dc evidence.tar.zst | tar -xf - -C somewhere\n\n"
        "exit codes: 0 done; 1 it could not be made, or is no bundle; 130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="of a session, or --output of ci/gate")
    p.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: NAME.tar.zst here")
    p.add_argument("--raw", action="store_true", help="with raw/: what each run said, hyperfine's own files")
    p.add_argument("--show", type=Path, metavar="FILE", help="check a bundle and say what is in it")
    return p


def bundle(arguments: Sequence[str]) -> int:
    p = bundle_parser()
    args = p.parse_args(arguments)
    if (args.folder is None) == (args.show is None):
        p.error("expected a folder, or --show FILE")
    from . import make, manifest
    from .archive import BundleBroken, BundleFailed

    try:
        if args.show is not None:
            with tempfile.TemporaryDirectory(prefix="pxarbench-bundle-") as scratch:
                known = manifest.read(args.show, Path(scratch) / "bundle")
                if known.kind == "session":
                    make.records_of(known, Path(scratch) / "bundle")
                print(harmless(make.shown(known, args.show.stat().st_size)))
            return EXIT_OK
        target = args.output or Path(f"{args.folder.absolute().name}.tar.zst")
        found = make.collect(args.folder, raw=args.raw, but=target)
        size = manifest.write(found.manifest, found.contents, target.absolute())
    except (BundleBroken, BundleFailed, ValueError, OSError) as error:
        return _stop("ci/bundle", error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    for note in found.manifest.notes:
        print(f"ci/bundle: {harmless(note)}")
    print(f"written: {target} ({size:,} bytes)")
    return EXIT_OK


# ---- ci/replay ----


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise argparse.ArgumentTypeError("expected NAME=FILE")
    return name, Path(path).absolute()


def replay_parser() -> argparse.ArgumentParser:
    p = _Parser(
        prog="ci/replay",
        description="Does again what a bundle of ci/bundle holds: prepares its datasets, runs its plan with one round (or its\n"
        "gates), and compares every integer with those recorded there.",
        epilog="examples:\n"
        "  ci/replay evidence.tar.zst                     with the program of this checkout\n"
        "  ci/replay evidence.tar.zst --build             with the program of the commit that made it\n"
        "  ci/replay evidence.tar.zst --binary build/dev/bin/pxarbench --output out/again\n\n"
        "exit codes: 0 every integer is the same; 1 it could not be done again, or is no bundle; 2 some differ, or a check\n"
        "found a problem; 3 warnings, under --warnings-as-failures (another program is one); 4 inconclusive: datasets are\n"
        "others here, or a subject is missing; 130 interrupted: the same command goes on",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("bundle", type=Path, metavar="FILE.tar.zst")
    which = p.add_mutually_exclusive_group()
    which.add_argument("--binary", type=Path, metavar="FILE", help="this program, instead of building one")
    which.add_argument("--build", action="store_true", help="build the commit that the bundle names, in the cache")
    p.add_argument("--program", type=_named, action="append", default=[], metavar="NAME=FILE",
                   help="the program of a subject pxarbench@NAME; repeatable")  # fmt: skip
    p.add_argument("--trust", action="store_true", help="do all it asks for: other recipes, traces, options")
    p.add_argument("--output", type=Path, metavar="DIR", help="folder for records and verdict (default: results/runs/DATE-N)")
    p.add_argument("--work", type=Path, metavar="DIR", help="folder for stores and restored trees (default: in the cache)")
    p.add_argument("--warnings-as-failures", action="store_true", help="exit 3 when there are warnings")
    p.add_argument("--all", action="store_true", help="print what is the same as well")
    p.add_argument("--no-setup", action="store_true", help="do not look for missing packages")
    return p


def _binary(args: argparse.Namespace, manifest: Manifest) -> Path:
    from .. import locate
    from . import program
    from .replay import ReplayFailed

    if args.build:
        return program.built(manifest.commit, print)
    found: Path | None = args.binary or locate.pxarbench()
    if found is None:
        raise ReplayFailed("pxarbench is not built (--binary FILE names one, --build builds that of the bundle)")
    if not found.is_file():
        raise ReplayFailed(f"{found}: no such program")
    return found.absolute()


def replay(arguments: Sequence[str]) -> int:
    args = replay_parser().parse_args(arguments)
    from .. import locate
    from . import manifest as manifests
    from . import replay as replays

    def say(text: str) -> None:
        print(harmless(text), flush=True)

    try:
        if args.output is not None:
            replays.forget(args.output)
        with tempfile.TemporaryDirectory(prefix="pxarbench-replay-") as scratch:
            folder = Path(scratch) / "bundle"
            known = manifests.read(args.bundle, folder)
            digest = manifests.digest_of(args.bundle)
            say(f"{args.bundle}: {known.kind} {known.name} of {known.started}, sha256 {digest[:12]}")
            if known.kind not in ("session", "gate"):
                raise replays.ReplayFailed(f"{args.bundle}: a verdict of kind {known.kind}; ci/compare does a comparison again")
            where = replays.Where(
                _binary(args, known), folder, args.output.absolute() if args.output else None,
                args.work.absolute() if args.work else locate.cache() / "work", builds=dict(args.program), trusted=args.trust,
            )  # fmt: skip
            verdict, output = (replays.of_session if known.kind == "session" else replays.of_gate)(known, where, say)
            return _finish(args, verdict, output)
    except replays.FAILURES as error:
        return _stop("ci/replay", error)
    except KeyboardInterrupt:
        print("ci/replay: interrupted; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED


def _finish(args: argparse.Namespace, verdict: Verdict, output: Path) -> int:
    from ..gates import show
    from ..gates.verdict import Level

    print()
    show.terminal(verdict, whole=args.all, warnings_fail=args.warnings_as_failures)
    counted = [f for f in verdict.findings if (f.base is not None or f.head is not None) and f.name != "program"]
    equal = sum(f.level is Level.OK for f in counted)
    print(f"\n{equal:,} of {len(counted):,} integers and digests are the same; written: {output}/")
    return verdict.exit_code(warnings_fail=args.warnings_as_failures)


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"bundle": bundle, "replay": replay}
    if not words or words[0] not in commands:
        return _stop("pxarbench_harness.bundle", f"expected {' or '.join(commands)}, then its words")
    return commands[words[0]](words[1:])
