"""Sparsification: the error that is left when the least confident pixels go."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from fgq.metrics.confidence import Sparsification

SHARES = np.linspace(0.01, 1, 100)  # kept; where curves of scenes with other numbers of pixels are averaged


def show_sparsification(curves: Mapping[str, Mapping[str, Sequence[Sparsification]]]) -> Figure:
    """Mean curves over scenes, one panel an output ("depth"), one colour a model; dashed, the best possible order.

    The label is the mean area between the two (AUSE); the grey line is a confidence that says nothing.
    """
    figure, axes = plt.subplots(1, len(curves), figsize=(4.8 * len(curves), 3.6), squeeze=False, layout="constrained")
    for axis, (output, models) in zip(axes[0], curves.items(), strict=True):
        for colour, (name, found) in zip(sns.color_palette("deep", len(models)), models.items(), strict=True):
            label = f"{name}: AUSE {np.mean([one.ause for one in found]):.3f}"
            axis.plot(1 - SHARES, mean_curve(found, "by_confidence"), color=colour, label=label)
            axis.plot(1 - SHARES, mean_curve(found, "by_error"), color=colour, linestyle="--", linewidth=1)
        axis.axhline(1, color="grey", linewidth=1)
        axis.set(title=output, xlabel="share removed, least confident first", xlim=(0, 1), ylim=(0, None))
        axis.legend(fontsize="small")
    axes[0, 0].set_ylabel("error of the rest / error of all")
    return figure


def mean_curve(found: Sequence[Sparsification], field: str) -> np.ndarray:
    return np.mean([np.interp(SHARES, one.kept, getattr(one, field)) for one in found], axis=0)
