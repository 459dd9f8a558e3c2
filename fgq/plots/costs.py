"""What a forward pass takes."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from fgq.plots.style import panels


def show_costs(measured: pd.DataFrame, predicted: pd.DataFrame) -> Figure:
    """Activation memory and time of forward passes against frames: measured as points, predicted memory as lines.

    Both tables have variant, dtype, size, frames and activations_mb, the measured one seconds too.
    """
    figure, (memory, seconds) = panels(2, 5.5, 4.6)
    groups = list(measured.groupby(["variant", "dtype", "size"], sort=False))
    for colour, (key, rows) in zip(sns.color_palette("deep", len(groups)), groups, strict=True):
        label = ", ".join(key)
        lines = predicted[(predicted[["variant", "dtype", "size"]] == list(key)).all(axis=1)]
        memory.plot(lines.frames, lines.activations_mb / 1e3, color=colour, linewidth=1)
        memory.plot(rows.frames, rows.activations_mb / 1e3, "o", color=colour, label=label)
        seconds.plot(rows.frames, rows.seconds, "o-", color=colour, linewidth=1)
    memory.set(xlabel="frames", ylabel="memory above the weights (GB)", ylim=(0, None))
    seconds.set(xlabel="frames", ylabel="time of a forward pass (seconds)", ylim=(0, None))
    points, labels = memory.get_legend_handles_labels()
    figure.legend(points, labels, loc="outside lower center", ncols=3, fontsize="small")
    return figure
