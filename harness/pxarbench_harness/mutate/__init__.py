"""Systematic changes of a tree: what to change (plan), doing and undoing it (oplog), what must be noticed (oracle)."""

from . import history, operations, operations_attributes, operations_names, surroundings, trace  # noqa: F401
from .operation import OPERATIONS, AlteredByOthers, MutationFailed, NotAvailable, Op, Operation, register
from .oplog import Applied, apply, log_path, next_log, replay, undo, undo_all
from .oracle import FACETS, Change, Oracle, judge
from .plan import Chain, Mutation, choose, parse, parse_chain

__all__ = [
    "FACETS", "OPERATIONS", "AlteredByOthers", "Applied", "Chain", "Change", "Mutation", "MutationFailed", "NotAvailable",
    "Op", "Operation", "Oracle", "apply", "choose", "judge", "log_path", "next_log", "parse", "parse_chain", "register",
    "replay", "undo", "undo_all",
]  # fmt: skip
