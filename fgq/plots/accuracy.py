"""Pose accuracy against its threshold, and the area that AUC is."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from fgq.metrics.pose import auc


def show_accuracy_curves(errors: Mapping[str, tuple[Tensor, Tensor]], thresholds: tuple[int, ...] = (3, 30)) -> Figure:
    """Share of frame pairs below each whole degree, by name, one panel a threshold.

    AUC is the mean height of the shaded bars.
    `errors` holds rotation and translation-direction errors [pairs], degrees.
    """
    figure, axes = plt.subplots(
        1, len(thresholds), figsize=(5 * len(thresholds), 3.6), sharey=True, layout="constrained"
    )
    colours = sns.color_palette("deep", len(errors))
    for axis, limit in zip(np.atleast_1d(axes), thresholds, strict=True):
        steps = np.arange(1, limit + 1)
        for colour, (name, (rotation, translation)) in zip(colours, errors.items(), strict=True):
            worst = np.maximum(rotation.numpy(), translation.numpy())
            below = [100 * np.mean(worst < step) for step in steps]
            label = f"{name}: AUC@{limit} {auc(rotation, translation, limit).item():.1f} %"
            axis.stairs(below, np.arange(limit + 1), color=colour, label=label, linewidth=1.8)
            axis.stairs(below, np.arange(limit + 1), color=colour, fill=True, alpha=0.2)
        axis.set(xlabel="threshold (degrees)", xlim=(0, limit), ylim=(0, 100))
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize="small")
    np.atleast_1d(axes)[0].set_ylabel("pairs below it (%)")
    return figure
