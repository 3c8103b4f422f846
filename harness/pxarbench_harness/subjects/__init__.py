"""The programs under test, one class each."""

from __future__ import annotations

from .base import Command, Expected, Outcome, Settings, Subject, SubjectFailed
from .pxarbench import Pxarbench
from .restic import Restic

SUBJECTS: dict[str, type[Subject]] = {"pxarbench": Pxarbench, "restic": Restic}

__all__ = ["SUBJECTS", "Command", "Expected", "Outcome", "Pxarbench", "Restic", "Settings", "Subject", "SubjectFailed"]
