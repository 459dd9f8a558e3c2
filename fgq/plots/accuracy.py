"""How far predictions are from the truth: what an alignment forgives, and the curves behind areas."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from fgq.metrics.confidence import Sparsification, mean_curves
from fgq.metrics.points import evenly_spread
from fgq.metrics.pose import auc, pairs_below
from fgq.plots.style import panels

BEFORE, AFTER = "#c44e52", "#4c72b0"
MOST = 4000  # points drawn
SHARES = np.linspace(0.01, 1, 100)  # kept; where curves of scenes with other numbers of pixels are averaged


def show_depth_alignment(before: Tensor, after: Tensor, truth: Tensor, names: tuple[str, str], unit: str) -> Figure:
    """Predicted against true depth [pixels] before and after a step, and both steps' relative residuals.

    Titles and labels say the mean relative error.
    """
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    some = evenly_spread(len(truth), MOST)
    ends = [float(truth.min()), float(truth.max())]
    for axis, values, name, colour in zip(axes, (before, after), names, (BEFORE, AFTER), strict=False):
        axis.plot(truth[some], values[some], ".", markersize=1.5, alpha=0.4, color=colour)
        axis.plot(ends, ends, color="black", linewidth=1)
        axis.set(title=name, xlabel=f"true depth ({unit})")
    axes[0].set_ylabel(f"predicted depth ({unit})")
    residuals = [((values - truth) / truth).numpy() for values in (before, after)]
    show_residuals(axes[2], residuals, names)
    axes[2].set(title="residuals", xlabel="(predicted - true) / true")
    return figure


def show_point_alignment(
    before: np.ndarray, after: np.ndarray, truth: np.ndarray, distances: tuple[np.ndarray, np.ndarray],
    names: tuple[str, str], unit: str,
) -> Figure:  # fmt: skip
    """Top views of clouds [points, 3] on the true one in grey, before and after a step, and the residual distances."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for axis, cloud, name, colour in zip(axes, (before, after), names, (BEFORE, AFTER), strict=False):
        for points, shade in ((truth, "#bbbbbb"), (cloud, colour)):
            some = evenly_spread(len(points), MOST)
            axis.plot(points[some, 0], points[some, 2], ".", markersize=1.5, color=shade)
        axis.set(title=name, xlabel=f"right of camera 0 ({unit})", aspect="equal")
    axes[1].set(xlim=axes[0].get_xlim(), ylim=axes[0].get_ylim())
    axes[0].set_ylabel(f"ahead of camera 0 ({unit})")
    show_residuals(axes[2], distances, names)
    axes[2].set(title="residuals", xlabel=f"distance ({unit})")
    return figure


def show_residuals(axis, residuals, names: tuple[str, str]) -> None:
    """Histograms over one range, with the mean of the absolute values in the label."""
    both = np.concatenate([np.asarray(values) for values in residuals])
    edges = np.linspace(*np.quantile(both, [0.01, 0.99]), 50)
    for values, name, colour in zip(residuals, names, (BEFORE, AFTER), strict=True):
        label = f"{name}: mean {np.abs(values).mean():.4f}"
        axis.hist(values, bins=edges, histtype="step", linewidth=1.6, color=colour, label=label)
    axis.set_yticks([])
    axis.set_ylim(0, 1.4 * axis.get_ylim()[1])  # room for the legend
    axis.legend(fontsize="small")


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
