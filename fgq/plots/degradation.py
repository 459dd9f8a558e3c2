"""How much worse each task becomes with fewer bits, and which scenes do."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fgq.evaluation.report import MODEL, Report
from fgq.metrics.table import HEADLINE, METRICS
from fgq.plots.style import RECIPE_COLOURS


def show_degradation(comparison: pd.DataFrame, metrics: Sequence[str] = HEADLINE) -> Figure:
    """Harm in percent of full precision by bit setting, one panel a metric, one line a recipe with its interval.

    `comparison` is what `Report.compare` with full precision gives: recipe, weight_bits, activation_bits, metric,
    difference, low, high, harm. Positive is worse; the scale is logarithmic beyond 1 %.
    """
    figure, axes = plt.subplots(1, len(metrics), figsize=(3.7 * len(metrics), 4.2), squeeze=False, layout="constrained")
    setting = "W" + comparison.weight_bits.astype(str) + "A" + comparison.activation_bits.astype(str)
    order = list(dict.fromkeys(setting))
    recipes = list(dict.fromkeys(comparison.recipe))
    for axis, metric in zip(axes[0], metrics, strict=True):
        for number, recipe in enumerate(recipes):
            rows = comparison[(comparison.metric == metric) & (comparison.recipe == recipe)]
            shift = min(0.12, 0.8 / len(recipes)) * (number - (len(recipes) - 1) / 2)  # a gap between the settings
            place = [order.index(name) + shift for name in setting[rows.index]]
            percent = rows.harm / rows.difference  # of one unit of the metric; the sign is that of worse
            ends = np.sort(np.stack([rows.low * percent, rows.high * percent]), axis=0)
            reach = np.stack([rows.harm - ends[0], ends[1] - rows.harm]).clip(min=0)
            colour = RECIPE_COLOURS.get(recipe, "#999999")
            axis.errorbar(
                place, rows.harm, yerr=reach, fmt="o-", markersize=4, linewidth=1, capsize=2, color=colour, label=recipe
            )
        axis.axhline(0, color="black", linewidth=1)
        axis.set_yscale("symlog", linthresh=1)
        axis.set_xticks(range(len(order)), order)
        axis.set_title(f"{METRICS[metric].task}: {metric}", fontsize="medium")
    axes[0, 0].set_ylabel("harm (% of full precision)")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(len(recipes), 5), fontsize="small")
    return figure


def show_scene_scatter(report: Report, reference: Report, metrics: Sequence[str] = HEADLINE) -> Figure:
    """Each scene's value (mean over seeds) against full precision's, one panel a metric, one colour a model.

    On the diagonal nothing changed. Titles count the scenes that became better and worse. Scenes pair by name.
    """
    figure, axes = plt.subplots(1, len(metrics), figsize=(3.7 * len(metrics), 3.8), squeeze=False, layout="constrained")
    for axis, metric in zip(axes[0], metrics, strict=True):
        theirs = reference.only(metric=metric).frame.groupby("scene").value.mean()
        told = []
        for (recipe, *_), part in report.only(metric=metric).frame.groupby(MODEL, sort=False):
            mine = part.groupby("scene").value.mean().reindex(theirs.index)
            axis.plot(
                theirs, mine, "o", markersize=3, alpha=0.5, color=RECIPE_COLOURS.get(recipe, "#999999"), label=recipe
            )
            gain = (mine - theirs) * (1 if METRICS[metric].higher_is_better else -1)
            told.append(f"{recipe}: {int((gain > 0).sum())} better, {int((gain < 0).sum())} worse")
        ends = [theirs.min(), theirs.max()]
        axis.plot(ends, ends, color="black", linewidth=1)
        axis.set_title("\n".join([f"{metric}, {METRICS[metric].unit}", *told]), fontsize="small")
        axis.set_xlabel("full precision")
    axes[0, 0].set_ylabel("model")
    axes[0, 0].legend(fontsize="small")
    return figure
