"""`ci/templates/comment`: one comment for a pull or merge request from the verdicts of its jobs.

Verdicts come from runs of code that nobody has read yet. They are data: checked against their schema, and what they say is made
harmless where it is shown (gates/show.py). A job without a verdict is named, so that silence never looks like success.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..gates import show, verdict

#: By which post_comment finds the comment again.
MARKER = "<!-- pxarbench -->"
LIMIT = 60_000  # characters; GitHub takes 65,536
#: A file that is larger than any verdict is not read.
VERDICT_BYTES_MAX = 64 << 20

DESCRIPTION = "Writes one comment for a pull or merge request from the verdicts of its jobs."
EXAMPLES = """examples:
  ci/templates/comment out/gate out/compare
  ci/templates/comment --link https://ci.example.org/run/17 -o comment.md out/gate out/compare

exit codes: 0 written (whatever the verdicts are), 1 usage"""


def section(folder: Path, limit: int) -> str:
    """Markdown of one job; also of one that left no verdict, or a broken one."""
    path = folder / "verdict.json"
    name = re.sub(r"[^\w-]", "", folder.name)
    try:
        if path.is_symlink() or path.stat().st_size > VERDICT_BYTES_MAX:
            raise verdict.VerdictBroken("no file of a size that a verdict has")
        return show.markdown(verdict.read(path), limit=limit)
    except FileNotFoundError:
        return f"## pxarbench: no verdict of {name}\n\nThe job did not run, or ended before it came to one.\n"
    except (OSError, verdict.VerdictBroken):
        # Not quoted: what a broken file says is nobody's sentence.
        return f"## pxarbench: the verdict of {name} cannot be read\n\nIts run says why.\n"


def comment(folders: Sequence[Path], link: str = "") -> str:
    """At most LIMIT characters, the marker first."""
    below = f"\n[The run, with all files]({link})\n" if link else ""
    room = (LIMIT - len(MARKER) - len(below) - 8 * len(folders)) // len(folders)
    return "\n".join([MARKER, *(section(folder, room) for folder in folders)]) + below


def _link(text: str) -> str:
    if not re.fullmatch(r"https?://[\w.:/?=&%~+-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no address")
    return text


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    parser = _Parser(
        prog="ci/templates/comment", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="where a job leaves its verdict.json")
    parser.add_argument("--link", type=_link, help="address of the run")
    parser.add_argument("-o", "--output", type=Path, help="file to write (default: standard output)")
    args = parser.parse_args(argv)
    text = comment(args.folders, args.link or "")
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
