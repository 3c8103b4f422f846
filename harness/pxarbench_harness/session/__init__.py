"""A session: datasets x chains of mutations x subjects and modes x cache states, in interleaved rounds, every case checked."""

from .engine import Session, abandoned, new_output, work_folder
from .journal import unfinished
from .plan import CACHES, RESTORES, BlockPlan, Plan, case_id, case_ids, contenders, product, registry, unique
from .problems import SessionBusy, SessionFailed
from .restores import MEMORY, fits_in_memory

__all__ = [
    "CACHES", "MEMORY", "RESTORES", "BlockPlan", "Plan", "Session", "SessionBusy", "SessionFailed", "abandoned", "case_id",
    "case_ids", "contenders", "fits_in_memory", "new_output", "product", "registry", "unfinished", "unique", "work_folder",
]  # fmt: skip
