"""Why a session ends early."""

from __future__ import annotations


class SessionFailed(Exception):
    """The session cannot go on; the text says why. What was recorded until then stays."""


class SessionBusy(SessionFailed):
    """Another process works on this session's folder."""
