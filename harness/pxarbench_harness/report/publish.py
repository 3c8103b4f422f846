"""A session's folder made fit to be kept in a repository: `python3 -m pxarbench_harness.report.publish FOLDER TARGET`.

Places of this machine in recorded words become $REPOSITORY, $PXARBENCH_CACHE, $WORK and $OUTPUT; nothing else is changed. TARGET,
a new folder, gets the reports, and everything they were made from as session.tar.zst: `tar -xf session.tar.zst` beside the
reports brings the samples back that they point to.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import locate, record, run

REPORTS = ("report.html", "report.md", "report.txt", "report.rfc.txt")
KEPT = ("plan.json", "records.jsonl", "doctor.json", "roofline.json", "during.json", "exhaustive.json", "blocks", "raw")
SUFFIXES = (".json", ".jsonl", ".log", ".txt")
#: What a program that names every file says of a large tree is left out.
LOG_BYTES_MAX = 64 << 10
_WORK = re.compile(r"/[^\s=:\"']*/pxarbench-work-[^/\s=:\"']*-[0-9]+")


class NotPublished(Exception):
    """The text says why."""


def places(folder: Path) -> dict[str, str]:
    """What stands in this session's words, and its name; longer ones first."""
    found = {str(folder.resolve()): "$OUTPUT", str(locate.REPOSITORY): "$REPOSITORY", str(locate.cache()): "$PXARBENCH_CACHE"}
    for one in record.read(folder / "records.jsonl"):
        for word in (*one.command, *one.problems):
            # On disk and in memory; see session.work_folder.
            found.update(dict.fromkeys(_WORK.findall(word), "$WORK"))
        for word in one.command:
            # The program that was measured, wherever its repository was.
            program, built, _ = word.partition("/build/release/bin/")
            if built and program.startswith("/"):
                found[program] = "$REPOSITORY"
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def shortened(text: str, names: Mapping[str, str]) -> str:
    for place, name in names.items():
        text = text.replace(place, name)
    return text


def publish(folder: Path, target: Path) -> None:
    """NotPublished, OSError, RecordBroken, FolderBroken."""
    from . import write

    if not (folder / "records.jsonl").is_file():
        raise NotPublished(f"{folder}: no session (there is no records.jsonl)")
    if target.exists():
        raise NotPublished(f"{target}: is there already")
    names = places(folder)
    with tempfile.TemporaryDirectory(prefix="pxarbench-publish-") as scratch:
        copy = Path(scratch) / "session"
        copy.mkdir()
        for kept in KEPT:
            for path in sorted([folder / kept, *(folder / kept).glob("**/*")]):
                size = path.stat().st_size if path.is_file() and path.suffix in SUFFIXES else 0
                if size and (path.suffix != ".log" or size <= LOG_BYTES_MAX):
                    into = copy / path.relative_to(folder)
                    into.parent.mkdir(exist_ok=True)
                    into.write_text(shortened(path.read_text(errors="surrogateescape"), names), errors="surrogateescape")
        write(copy)
        target.mkdir(parents=True)
        for name in REPORTS:
            if (copy / name).exists():
                shutil.move(copy / name, target / name)
        packed = sorted(path.name for path in copy.iterdir())
        # Who packed it, and when, is nobody's business, and would make equal sessions differ.
        tar = ["tar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-I", "zstd -q -19", "-C", str(copy)]
        run.run([*tar, "-cf", str(target / "session.tar.zst"), *packed])


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) != 2 or words[0].startswith("-"):
        print((__doc__ or "").strip())
        return 0 if words in (["-h"], ["--help"]) else 1
    from .folder import FolderBroken

    try:
        publish(Path(words[0]), Path(words[1]))
    except (NotPublished, OSError, record.RecordBroken, FolderBroken, run.CommandFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written: {words[1]} ({', '.join(sorted(os.listdir(words[1])))})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
