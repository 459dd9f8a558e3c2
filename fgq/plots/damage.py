"""What quantization did to the outputs, with intervals."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fgq.plots.style import RECIPE_COLOURS

DEVIATION_LABELS = {
    "deviation_rotation": "rotation (degrees)",
    "deviation_translation": "translation (relative)",
    "deviation_depth": "depth (relative)",
    "deviation_points": "points (relative)",
}


def show_deviations(summary: pd.DataFrame, title: str) -> Figure:
    """Mean deviation from full precision with its interval, one panel a measure, one bar a recipe."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 5.5), layout="constrained")
    for axis, (metric, label) in zip(axes.flat, DEVIATION_LABELS.items(), strict=True):
        rows = summary[summary.metric == metric]
        reach = np.stack([rows["mean"] - rows.low, rows.high - rows["mean"]])
        colours = [RECIPE_COLOURS.get(recipe, "#999999") for recipe in rows.recipe]
        axis.bar(rows.recipe, rows["mean"], yerr=reach, color=colours, capsize=4)
        axis.set(title=label, ylim=(0, None))
    figure.suptitle(f"Deviation from full precision: {title}")
    return figure


def show_benchmark(table: pd.DataFrame) -> Figure:
    """Deviation from full precision by bit setting and recipe, with intervals; logarithmic."""
    rows = table[table.recipe != "full precision"]
    setting = "W" + rows.weight_bits.astype(str) + "A" + rows.activation_bits.astype(str)
    order = list(dict.fromkeys(setting))
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    for axis, (metric, label) in zip(axes.flat, DEVIATION_LABELS.items(), strict=True):
        for shift, recipe in enumerate(dict.fromkeys(rows.recipe)):
            part = rows[(rows.metric == metric) & (rows.recipe == recipe)]
            place = [order.index(s) + 0.18 * (shift - 1) for s in setting[part.index]]
            reach = np.stack([part["mean"] - part.low, part.high - part["mean"]])
            colour = RECIPE_COLOURS.get(recipe, "#999999")
            axis.errorbar(place, part["mean"], yerr=reach, fmt="o", capsize=3, color=colour, label=recipe)
        axis.set_xticks(range(len(order)), order)
        axis.set(title=label, yscale="log")
    axes[0, 0].legend()
    figure.suptitle("Deviation from full precision, full calibration, mean and 95 % interval over seeds and scenes")
    return figure
