"""The command behind ci/export."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import locate, record, run
from ..gates import verdict as verdicts
from ..gates.commands import Parser
from ..gates.golden import write_whole
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


def parser() -> Parser:
    made = Parser(
        prog="ci/export",
        description="Writes a session of ci/bench, or a verdict of ci/gate or ci/compare, as other tools read it.",
        epilog=_listed() + "\n" + _EXAMPLES,
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
    if shutil.which("git") is None or re.fullmatch("[0-9a-f]{7,64}", short) is None or not (locate.REPOSITORY / ".git").exists():
        return export
    told = run.run([*run.git_words(locate.REPOSITORY), "show", "--no-patch", "--format=%H %ct", f"{short}^{{commit}}", "--"])
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


def write(files: Files, output: str | None, wanted: Format, source: Path) -> list[Path]:
    """What was written; [] for standard output. Refused, OSError."""
    if not wanted.is_folder:
        text = files[""]
        if output is None or output == "-":
            # Not sys.stdout: where PYTHONUNBUFFERED is set, it loses what a full disk or a closed pipe did not take.
            with open(sys.stdout.fileno(), "wb", closefd=False) as out:
                out.write(text.encode())
            return []
        os.stat(Path(output).parent)  # a folder that is not there is a mistake of who named it
        texts = {Path(output): text}
    else:
        assert output is not None
        texts = {path: _with_what_is_there(wanted, name, path, text)
                 for name, text in files.items() for path in [Path(output) / name]}  # fmt: skip
    for path in texts:
        if any(path.exists() and one.exists() and path.samefile(one) for one in (source, source / RECORDS, source / VERDICT)):
            raise Refused(f"{path}: is what is exported")
    for path, text in texts.items():
        if path.exists() and not path.is_file():  # a device or a pipe is written to, never replaced
            path.write_bytes(text.encode())
        else:
            write_whole(path, text)
    return list(texts)


def _with_what_is_there(wanted: Format, name: str, path: Path, text: str) -> str:
    if wanted.merged is None or not path.exists():
        return text
    try:
        return wanted.merged(name, path.read_text(encoding="utf-8"), text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path}: {error}; nothing was written") from None


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
        written = write(files, options.output, wanted, options.source)
    except (Refused, NotExportable) as error:
        where = f"{options.source}: " if isinstance(error, NotExportable) else ""  # the others name the file themselves
        print(f"ci/export: {where}{error}", file=sys.stderr)
        return EXIT_ERROR
    except (ValueError, ArithmeticError, RecursionError) as error:
        print(f"ci/export: {options.source}: cannot be written as {wanted.name}: {error}", file=sys.stderr)
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
