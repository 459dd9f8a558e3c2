"""What an alignment forgives: before and after, and what is left."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from fgq.metrics.points import evenly_spread

BEFORE, AFTER = "#c44e52", "#4c72b0"
MOST = 4000  # points drawn


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
