"""What command lines of gates and exports have in common."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from .verdict import EXIT_ERROR


class Parser(argparse.ArgumentParser):
    """Help as it is written, no abbreviations, and exit code 1 for bad words: argparse's own 2 means "regression" here."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_ERROR, f"{self.prog}: error: {message} ({self.prog} --help)\n")
