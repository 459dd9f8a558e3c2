"""Pose, trajectory, depth and points; deviation from full precision; tidy reports with intervals."""

from fgq.evaluation.evaluate import evaluate, predict, view_ablation
from fgq.evaluation.power import power_of, seeds_needed, smallest_detectable
from fgq.evaluation.report import Report, combine, settings_of
from fgq.evaluation.verdict import tell, verdicts
from fgq.metrics.points import FAST_CLOUDS, FULL_CLOUDS, CloudProtocol
from fgq.metrics.table import DEVIATIONS, HEADLINE, METRICS
