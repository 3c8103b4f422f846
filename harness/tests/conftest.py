"""Wiring only: fixtures of the tests of faults."""

from backup_tools import faults, repository

__all__ = ["faults", "repository"]
