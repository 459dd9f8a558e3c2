"""Which channels of which blocks each task cares about."""

from fgq.fisher.estimate import estimate_fisher
from fgq.fisher.estimators import ESTIMATORS
from fgq.fisher.merge import WEIGHT_FLOOR, block_weights, merge_tasks
from fgq.fisher.table import FisherTable
from fgq.vggt.token_kinds import TOKEN_KINDS

__all__ = [
    "ESTIMATORS",
    "TOKEN_KINDS",
    "WEIGHT_FLOOR",
    "FisherTable",
    "block_weights",
    "estimate_fisher",
    "merge_tasks",
]
