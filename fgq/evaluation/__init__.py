"""Pose, trajectory, depth and points; deviation from full precision; tidy reports with intervals."""

from fgq.evaluation.costs import measure_costs
from fgq.evaluation.evaluate import evaluate, predict
from fgq.evaluation.metrics import DEVIATIONS, HEADLINE, METRICS
from fgq.evaluation.points import FAST_CLOUDS, FULL_CLOUDS, CloudProtocol
from fgq.evaluation.report import Report, combine
from fgq.evaluation.views import view_ablation

__all__ = [
    "DEVIATIONS",
    "FAST_CLOUDS",
    "FULL_CLOUDS",
    "HEADLINE",
    "METRICS",
    "CloudProtocol",
    "Report",
    "combine",
    "evaluate",
    "measure_costs",
    "predict",
    "view_ablation",
]
