"""How long cases take, and which of them fit into a given time."""

from __future__ import annotations

from .plan import Plan


def estimated(plan: Plan) -> Plan:
    return plan


def fitted(plan: Plan, seconds: float) -> Plan:
    return plan


def total(plan: Plan) -> float:
    return sum(plan.estimates)
