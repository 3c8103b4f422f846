"""The command behind ci/export."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from .. import locate, record, run
from ..gates import verdict as verdicts
from ..gates.verdict import EXIT_ERROR, EXIT_OK, Verdict, VerdictBroken
from ..report import folder
from .formats import FORMATS, Files, Format
from .series import Export, NotExportable, of_records

RECORDS, VERDICT = "records.jsonl", "verdict.json"
#: Bytes. A verdict of ten thousand findings has 5 MB.
VERDICT_MAX = 256 << 20

_EXAMPLES = """examples:
  ci/export hyperfine results/runs/2026-11-22-001 -o times.json
  ci/export github-action-benchmark results/runs/2026-11-22-001 -o dashboard
  ci/export junit build/gate -o build/gate/junit.xml
  ci/export markdown build/gate/verdict.json >>"$GITHUB_STEP_SUMMARY"
  ci/export annotations build/gate

Runs that went wrong are left out and named, and the exit code is 1.

exit codes: 0 written; 1 not written, or something was left out. What a verdict says is not in it: ci/gate and ci/compare tell
"""


class Refused(Exception):
    """Nothing can be made of it; the text says why."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse would exit with 2, which means "regression" here.
        self.print_usage(sys.stderr)
        self.exit(EXIT_ERROR, f"{self.prog}: error: {message}\n")


def parser() -> argparse.ArgumentParser:
    made = _Parser(
        prog="ci/export",
        description="Writes a session of ci/bench, or a verdict of ci/gate or ci/compare, as other tools read it.",
        epilog=_listed() + "\n" + _EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("format", nargs="?", metavar="FORMAT", help="one of the list below")
    made.add_argument("source", nargs="?", metavar="FOLDER|FILE", type=Path,
                      help=f"a folder with {RECORDS} or {VERDICT}, or one of these files")  # fmt: skip
    made.add_argument("-o", "--output", metavar="PATH",
                      help="file, or folder where a format has several (default: standard output)")  # fmt: skip
    made.add_argument("--warnings-as-failures", action="store_true", help="of a verdict: show warnings as failures")
    made.add_argument("--list", action="store_true", help="print the formats and what they are made from")
    return made


def _listed() -> str:
    widest = max(map(len, FORMATS))
    return "formats:\n" + "".join(f"  {one.name:{widest}}  from a {one.sources}: {one.text}\n" for one in FORMATS.values())


# ---- reading ----


def _is_session(path: Path, wanted: Format) -> bool:
    """Which of the two a format that takes both is made from."""
    if wanted.session is None or wanted.verdict is None:
        return wanted.session is not None
    return (path / RECORDS).exists() if path.is_dir() else path.suffix == ".jsonl"


def read_session(path: Path) -> Export:
    """Of a folder, or of its records. Refused, NotExportable."""
    try:
        records = folder.load(path).records if path.is_dir() else tuple(record.read(path))
    except (folder.FolderBroken, record.RecordBroken) as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None
    return _with_commit(of_records(records))


def _with_commit(export: Export) -> Export:
    """The whole hash and its time, as far as git knows them."""
    short = export.commit.partition("+")[0]
    git = shutil.which("git")
    if git is None or re.fullmatch("[0-9a-f]{7,64}", short) is None or not (locate.REPOSITORY / ".git").exists():
        return export
    at = ["-c", f"safe.directory={locate.REPOSITORY}", "-C", str(locate.REPOSITORY)]
    told = run.run([git, *at, "show", "--no-patch", "--format=%H %ct", f"{short}^{{commit}}", "--"])
    found = re.fullmatch(r"([0-9a-f]{40,64}) ([0-9]{1,12})\n", told.text) if told.returncode == 0 else None
    return export if found is None else replace(export, whole_hash=found[1], committed=int(found[2]))


def read_verdict(path: Path) -> Verdict:
    """Of a folder, or of its file. Refused."""
    file = path / VERDICT if path.is_dir() else path
    try:
        if file.stat().st_size > VERDICT_MAX:
            raise Refused(f"{file}: larger than {VERDICT_MAX >> 20} MiB")
        return verdicts.read(file)
    except VerdictBroken as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(f"{file}: {error.strerror or error}") from None


# ---- writing ----


def _put(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write(files: Files, output: str | None, *, is_folder: bool) -> list[Path]:
    """What was written; [] for standard output. OSError."""
    if not is_folder:
        text = files[""]
        if output is None or output == "-":
            # Not sys.stdout: where PYTHONUNBUFFERED is set, it loses what a full disk or a closed pipe did not take.
            with open(sys.stdout.fileno(), "wb", closefd=False) as out:
                out.write(text.encode())
            return []
        _put(Path(output), text)
        return [Path(output)]
    assert output is not None
    written = []
    for name, text in files.items():
        path = Path(output) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, text)
        written.append(path)
    return written


def _made(wanted: Format, source: Path, *, warnings_fail: bool) -> tuple[Files, tuple[str, ...]]:
    """The files, and what is not in them."""
    if _is_session(source, wanted):
        assert wanted.session is not None
        export = read_session(source)
        return wanted.session(export), export.left_out
    assert wanted.verdict is not None
    return wanted.verdict(read_verdict(source), warnings_fail), ()


def main(words: Sequence[str] | None = None) -> int:
    made = parser()
    options = made.parse_args(words)
    if options.list:
        print(_listed(), end="")
        return EXIT_OK
    if options.format is None or options.source is None:
        made.error("FORMAT and FOLDER are needed (--list names the formats)")
    wanted = FORMATS.get(options.format)
    if wanted is None:
        made.error(f"no format {options.format!r}: one of {', '.join(FORMATS)}")
    if wanted.is_folder and (options.output is None or options.output == "-"):
        made.error(f"{wanted.name} has several files: -o FOLDER is needed")
    try:
        files, left_out = _made(wanted, options.source, warnings_fail=options.warnings_as_failures)
        written = write(files, options.output, is_folder=wanted.is_folder)
    except (Refused, NotExportable) as error:
        where = f"{options.source}: " if isinstance(error, NotExportable) else ""  # the others name the file themselves
        print(f"ci/export: {where}{error}", file=sys.stderr)
        return EXIT_ERROR
    except BrokenPipeError:
        return EXIT_ERROR  # whoever reads has seen enough, as `head` does
    except OSError as error:
        print(f"ci/export: {error.filename or options.output or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        return EXIT_ERROR
    for path in written:
        print(f"written: {path}", file=sys.stderr)
    for sentence in left_out:
        print(f"ci/export: left out: {sentence}", file=sys.stderr)
    return EXIT_ERROR if left_out else EXIT_OK
