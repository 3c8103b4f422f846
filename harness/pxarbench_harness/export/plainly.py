"""Pieces that several formats need."""

from __future__ import annotations

import json
import re
from typing import Any


def dumps(value: Any) -> str:
    """JSON as every consumer reads it: no NaN, sorted, a line end at the end."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def word(text: str, more: str = "") -> str:
    """Of letters, digits, _ . - and `more`; anything else becomes a -."""
    return re.sub(rf"[^A-Za-z0-9_.{re.escape(more)}-]+", "-", text) or "-"


def single_line(text: str) -> str:
    return " ".join(text.split())
