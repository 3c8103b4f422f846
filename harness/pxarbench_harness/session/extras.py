"""What a session measures beside the runs: the machine's health, and how fast the parts of a backup could be at best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import doctor, during, roofline
from ..exhaustive import sample
from ..datasets import Dataset
from ..subjects import SubjectFailed
from .problems import SessionFailed

if TYPE_CHECKING:
    from .engine import Session

ROOFLINE_ROUNDS = 3
#: Of each length, from 0 to 3 operations.
SEQUENCES = 20


def write_doctor(session: Session) -> None:
    """doctor.json, and on the terminal what is not well."""
    found = doctor.findings(session.plan.cache or session.plan.work, session.plan.work)
    doctor.write(session.folder.path / "doctor.json", found)
    bad = [f"{f.name}: {f.advice}" for f in found if f.advice and f.verdict != "ok"]
    for text in bad:
        session.say(f"doctor: {text}")


def write_roofline(session: Session, dataset: Dataset) -> None:
    """roofline.json; a bound that cannot be measured is said and left out."""
    try:
        measured = roofline.measure(
            dataset.tree, ROOFLINE_ROUNDS, session.folder.raw, session.say, dataset=dataset.name,
            cold="cold" in session.plan.caches, seed=session.plan.seed,
        )  # fmt: skip
    except roofline.RooflineFailed as error:
        session.say(f"roofline: {error}")
        return
    roofline.write(session.folder.path / "roofline.json", measured)


def write_during(session: Session) -> list[str]:
    """during.json. Sentences: what went wrong."""
    plan = session.plan
    asked = set(plan.contenders)
    found, left_out = during.candidates(plan.settings, plan.subjects)
    chosen = [candidate for candidate in found if (candidate.name, candidate.mode) in asked]
    try:
        rows = during.measure(chosen, plan.work / "during", session.folder.path, session.say, left_out=left_out)
    except SubjectFailed as error:
        raise SessionFailed(str(error)) from error
    if not any(row["verdict"] in ("ok", "problem") for row in rows):
        session.inconclusive["during"] = "no change could be made while a backup was reading"
    bad = [row for row in rows if row["verdict"] == "problem"]
    return [f"{row['subject']} {row['mode']}, {row['operation']} {row['place']}: {row['sentence']}" for row in bad]


def write_exhaustive(session: Session) -> list[str]:
    """exhaustive.json: a sample of sequences of operations over a small tree. Sentences: what went wrong."""
    plan = session.plan
    binary = plan.settings.binary
    if binary is None or "pxarbench" in session.missing:
        raise SessionFailed("exhaustive: pxarbench is not built")
    place = plan.work / "exhaustive"
    place.mkdir(parents=True, exist_ok=True)
    rows = sample.rows(binary, place, session.folder.path, session.say, count=SEQUENCES, seed=plan.seed)
    return [f"sequences of {row['length']} operations: {row['problems']} problems" for row in rows if row["problems"]]
