"""What a session measures beside the runs: the machine's health, and how fast the parts of a backup could be at best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..datasets import Dataset

if TYPE_CHECKING:
    from .engine import Session


def doctor(session: Session) -> None:
    """doctor.json"""


def roofline(session: Session, dataset: Dataset) -> None:
    """roofline.json"""
