"""How much worse each task becomes with fewer bits, and which scenes do."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fgq.evaluation.report import MODEL, Report, settings_of
from fgq.evaluation.worst import scene_losses, scene_means
from fgq.metrics.table import HEADLINE, METRICS
from fgq.plots.style import colour_of, dots_with_reach, panels, shifts


def show_degradation(comparison: pd.DataFrame, metrics: Sequence[str] = HEADLINE) -> Figure:
    """Harm in percent of full precision by bit setting, one panel a metric, one line a recipe with its interval.

    `comparison` is what `Report.compare` with full precision gives: recipe, weight_bits, activation_bits, metric,
    difference, low, high, harm. Positive is worse; the scale is logarithmic beyond 1 %.
    """
    figure, axes = panels(len(metrics), 3.7, 4.2)
    setting = settings_of(comparison)
    order, recipes = list(dict.fromkeys(setting)), list(dict.fromkeys(comparison.recipe))
    for axis, metric in zip(axes, metrics, strict=True):
        for recipe, shift in zip(recipes, shifts(len(recipes), 0.12), strict=True):
            rows = comparison[(comparison.metric == metric) & (comparison.recipe == recipe)]
            percent = rows.harm / rows.difference  # of one unit of the metric; the sign is that of worse
            ends = np.sort(np.stack([rows.low * percent, rows.high * percent]), axis=0)
            place = [order.index(name) + shift for name in setting[rows.index]]
            harm = rows.assign(middle=rows.harm, low=ends[0], high=ends[1])
            dots_with_reach(axis, place, harm, recipe, fmt="o-", linewidth=1)
        axis.axhline(0, color="black", linewidth=1)
        axis.set_yscale("symlog", linthresh=1)
        axis.set_xticks(range(len(order)), order)
        axis.set_title(f"{METRICS[metric].task}: {metric}", fontsize="medium")
    axes[0].set_ylabel("harm (% of full precision)")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=min(len(recipes), 5), fontsize="small")
    return figure


def show_scene_scatter(report: Report, reference: Report, metrics: Sequence[str] = HEADLINE) -> Figure:
    """Each scene's value (mean over seeds) against full precision's, one panel a metric, one colour a model.

    On the diagonal nothing changed. Titles count the scenes that became better and worse. Scenes pair by name.
    """
    figure, axes = panels(len(metrics), 3.7, 3.8)
    for axis, metric in zip(axes, metrics, strict=True):
        theirs = scene_means(reference, metric)
        told = []
        for (recipe, *_), part in report.only(metric=metric).frame.groupby(MODEL, sort=False):
            mine, losses = scene_means(Report(part), metric), scene_losses(Report(part), reference, metric)
            colour = colour_of(recipe)
            axis.plot(theirs, mine.reindex(theirs.index), "o", markersize=3, alpha=0.5, color=colour, label=recipe)
            told.append(f"{recipe}: {int((losses < 0).sum())} better, {int((losses > 0).sum())} worse")
        ends = [theirs.min(), theirs.max()]
        axis.plot(ends, ends, color="black", linewidth=1)
        axis.set_title("\n".join([f"{metric}, {METRICS[metric].unit}", *told]), fontsize="small")
        axis.set_xlabel("full precision")
    axes[0].set_ylabel("model")
    axes[0].legend(fontsize="small")
    return figure
