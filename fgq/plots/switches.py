"""What one changed choice of the calibration does, and how many seeds it takes to see it."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from fgq.plots.damage import DEVIATION_LABELS

CLEAR, UNCLEAR = "#1f4e79", "#aaaaaa"


def show_switches(table: pd.DataFrame, groups: Sequence[str]) -> Figure:
    """Change of each deviation in percent of the base's mean, with its paired 95 % interval; left of zero is better.

    `table` has a row for each switch and metric: recipe (the switch's name), group, base, metric, mean, and, against
    the base, difference, low_difference and high_difference. Grey intervals hold zero.
    """
    rows = table[table.group.isin(groups) & (table.recipe != table.base)]
    names = list(dict.fromkeys(rows.recipe))[::-1]
    height = 1.2 + 0.36 * len(names)
    figure, axes = plt.subplots(1, 4, figsize=(12, height), sharey=True, layout="constrained")
    for axis, (metric, label) in zip(axes, DEVIATION_LABELS.items(), strict=True):
        bases = table[table.metric == metric].set_index("recipe")["mean"]
        for _, row in rows[rows.metric == metric].iterrows():
            middle, low, high = 100 * row[["difference", "low_difference", "high_difference"]] / bases[row.base]
            colour = UNCLEAR if low <= 0 <= high else CLEAR
            reach = [[middle - low], [high - middle]]
            axis.errorbar(
                [middle], [names.index(row.recipe)], xerr=reach, fmt="o", markersize=4, capsize=3, color=colour
            )
        axis.axvline(0, color="black", linewidth=1)
        axis.set(title=label.split(" (")[0], xlabel="change (%)", ylim=(-0.6, len(names) - 0.4))
    axes[0].set_yticks(range(len(names)), names)
    return figure
