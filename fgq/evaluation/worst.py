"""The scenes that lost most."""

import pandas as pd

from fgq.errors import FgqError
from fgq.evaluation.report import Report
from fgq.metrics.table import METRICS


def scene_means(report: Report, metric: str) -> pd.Series:
    """By scene, mean over seeds."""
    return report.only(metric=metric).frame.groupby("scene", sort=False).value.mean()


def scene_losses(report: Report, reference: Report, metric: str) -> pd.Series:
    """How much worse than in the reference each scene is, in the metric's unit; negative where it is better."""
    difference = scene_means(report, metric) - scene_means(reference, metric)
    return -difference if METRICS[metric].higher_is_better else difference


def worst_scenes(report: Report, reference: Report, metric: str, count: int) -> list[str]:
    """Names of the scenes that lost most against the reference, worst first. Raises FgqError for an empty value."""
    loss = scene_losses(report, reference, metric)
    if loss.isna().any():
        raise FgqError(f"scene {loss.index[loss.isna()][0]} has no {metric} in one of the reports: it cannot be ranked")
    return loss.sort_values(ascending=False, kind="stable").index[:count].tolist()
