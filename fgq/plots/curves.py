"""Curves behind areas: pose accuracy against its threshold, and the error left when the least confident pixels go."""

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from fgq.metrics.confidence import Sparsification, mean_curves
from fgq.metrics.pose import auc, pairs_below
from fgq.plots.style import panels

SHARES = np.linspace(0.01, 1, 100)  # kept; where curves of scenes with other numbers of pixels are averaged


def show_accuracy_curves(errors: Mapping[str, tuple[Tensor, Tensor]], thresholds: tuple[int, ...] = (3, 30)) -> Figure:
    """Share of frame pairs below each whole degree, by name, one panel a threshold.

    AUC is the mean height of the shaded bars.
    `errors` holds rotation and translation-direction errors [pairs], degrees.
    """
    figure, axes = panels(len(thresholds), 5, 3.6, sharey=True)
    colours = sns.color_palette("deep", len(errors))
    for axis, limit in zip(axes, thresholds, strict=True):
        for colour, (name, (rotation, translation)) in zip(colours, errors.items(), strict=True):
            below = 100 * pairs_below(rotation, translation, limit).double().mean(0)
            label = f"{name}: AUC@{limit} {auc(rotation, translation, limit).item():.1f} %"
            axis.stairs(below, np.arange(limit + 1), color=colour, label=label, linewidth=1.8)
            axis.stairs(below, np.arange(limit + 1), color=colour, fill=True, alpha=0.2)
        axis.set(xlabel="threshold (degrees)", xlim=(0, limit), ylim=(0, 100))
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize="small")
    axes[0].set_ylabel("pairs below it (%)")
    return figure


def show_sparsification(curves: Mapping[str, Mapping[str, Sequence[Sparsification]]]) -> Figure:
    """Mean curves over scenes, one panel an output ("depth"), one colour a model; dashed, the best possible order.

    The label is the mean area between the two (AUSE); the grey line is a confidence that says nothing.
    """
    figure, axes = panels(len(curves), 4.8, 3.6)
    for axis, (output, models) in zip(axes, curves.items(), strict=True):
        for colour, (name, found) in zip(sns.color_palette("deep", len(models)), models.items(), strict=True):
            label = f"{name}: AUSE {np.mean([one.ause for one in found]):.3f}"
            by_confidence, by_error = mean_curves(found, SHARES)
            axis.plot(1 - SHARES, by_confidence, color=colour, label=label)
            axis.plot(1 - SHARES, by_error, color=colour, linestyle="--", linewidth=1)
        axis.axhline(1, color="grey", linewidth=1)
        axis.set(title=output, xlabel="share removed, least confident first", xlim=(0, 1), ylim=(0, None))
        axis.legend(fontsize="small")
    axes[0].set_ylabel("error of the rest / error of all")
    return figure
