"""Wiring only: fixtures that several test files share."""

from backup_tools import faults, repository
from session_tools import stand_in

__all__ = ["faults", "repository", "stand_in"]
