"""Comparisons of models, drawn."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fgq.evaluation.report import settings_of
from fgq.metrics.table import METRICS
from fgq.plots.style import panels

VERDICT_COLOURS = {"better": "#1f4e79", "worse": "#c44e52", "": "#aaaaaa"}


def show_comparison_changes(table: pd.DataFrame) -> Figure:
    """Relative changes with their 95 % intervals, a line a model, one panel a metric.

    `table` is what `fgq.evaluation.comparison.compared` gives; rows without a verdict are left out. Blue: better after
    correction, red: worse, grey: neither.
    """
    rows = table[table.verdict != ""]
    labels = rows.recipe + " " + settings_of(rows)
    labels = labels if rows.report.nunique() == 1 else labels + "\nagainst " + rows.report
    rows = rows.assign(label=labels)
    order, metrics = list(dict.fromkeys(rows.label)), list(dict.fromkeys(rows.metric))
    figure, axes = panels(len(metrics), 3.0, 1.4 + 0.45 * len(order), sharey=True)
    for axis, metric in zip(axes, metrics, strict=True):
        for row in rows[rows.metric == metric].itertuples():
            middle, low, high = (100 * end for end in (row.change, row.change_low, row.change_high))
            kind = next((word for word in ("better", "worse") if row.verdict.startswith(word)), "")
            reach = np.array([[middle - low], [high - middle]]).clip(min=0)
            style = dict(fmt="o", markersize=4, capsize=3, color=VERDICT_COLOURS[kind])
            axis.errorbar([middle], [order.index(row.label)], xerr=reach, **style)
        axis.axvline(0, color="black", linewidth=1)
        side = "right" if METRICS[metric].higher_is_better else "left"
        axis.set_title(f"{metric}\n{side} is better", fontsize="small")
        axis.set_xlabel("change (%)")
    axes[0].set_yticks(range(len(order)), order, fontsize="small")
    axes[0].set_ylim(len(order) - 0.5, -0.5)
    return figure
