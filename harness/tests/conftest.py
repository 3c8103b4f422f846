"""Wiring only: fixtures that several test files share."""

from backup_tools import faults, repository
from session_tools import stand_in
from wire_peer_tools import certificate, peer, user
from wire_tools import based, server, starts

__all__ = [
    "based", "certificate", "faults", "peer", "repository", "server", "stand_in", "starts", "user",
]  # fmt: skip
