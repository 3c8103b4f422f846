"""The programs under test, one class each."""

from __future__ import annotations

from .base import CAPABILITIES, Command, Expected, Outcome, Settings, Subject, SubjectFailed
from .borg import Borg
from .bup import Bup
from .casync import Casync
from .proxmox import ProxmoxBackupClient
from .pxarbench import Pxarbench, of_build
from .remote import behind, through
from .restic import Restic

#: By their plain names, in the order of reports.
SUBJECTS: dict[str, type[Subject]] = {
    subject.name: subject for subject in (Pxarbench, ProxmoxBackupClient, Restic, Borg, Casync, Bup)
}


def registry(settings: Settings) -> dict[str, type[Subject]]:
    """All subjects that can be named with these settings, other builds of pxarbench and lines to servers among them
    ("pxarbench@NAME")."""
    found: dict[str, type[Subject]] = {}
    for name, subject in SUBJECTS.items():
        found[name] = subject
        if subject is Pxarbench:
            found[name] = base = through(settings)
            found.update({build.name: build for build in (of_build(name, base) for name in settings.builds)})
            found.update({line.name: line for line in map(behind, settings.lines)})
    return found


__all__ = [
    "CAPABILITIES", "SUBJECTS", "Borg", "Bup", "Casync", "Command", "Expected", "Outcome", "ProxmoxBackupClient", "Pxarbench",
    "Restic", "Settings", "Subject", "SubjectFailed", "registry",
]  # fmt: skip
