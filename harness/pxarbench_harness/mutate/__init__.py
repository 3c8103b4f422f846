"""Systematic changes of a tree: what to change (plan), doing and undoing it (oplog), what must be noticed (oracle)."""

from .oplog import AlteredByOthers, Applied, MutationFailed, Op, Oracle, apply, undo
from .plan import Mutation, choose, parse

__all__ = [
    "AlteredByOthers", "Applied", "Mutation", "MutationFailed", "Op", "Oracle", "apply", "choose", "parse", "undo",
]  # fmt: skip
