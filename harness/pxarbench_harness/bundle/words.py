"""What the two command lines share: usage errors are 1, and what a bundle says is made harmless before it is printed."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

EXIT_ERROR = 1
_KEPT = frozenset("\n\t")


def harmless(text: str) -> str:
    """Without what a terminal obeys: what a bundle holds may come from anybody."""
    return "".join(c if c in _KEPT or (c.isprintable() and not 0xD800 <= ord(c) < 0xE000) else f"\\x{ord(c):02x}" for c in text)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse would exit with 2, which means "regression" here.
        self.print_usage(sys.stderr)
        self.exit(EXIT_ERROR, f"{self.prog}: error: {message}\n")
