"""What quantization did to the outputs, with intervals."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from fgq.evaluation.report import settings_of
from fgq.metrics.table import METRICS
from fgq.plots.style import colour_of, dots_with_reach, shifts

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
        axis.bar(rows.recipe, rows["mean"], yerr=reach, color=[*map(colour_of, rows.recipe)], capsize=4)
        axis.set(title=label, ylim=(0, None))
    figure.suptitle(f"Deviation from full precision: {title}")
    return figure


def show_benchmark(table: pd.DataFrame) -> Figure:
    """Deviation from full precision by bit setting and recipe, with intervals; logarithmic."""
    rows = table[table.recipe != "full precision"].rename(columns={"mean": "middle"})
    setting = settings_of(rows)
    order, recipes = list(dict.fromkeys(setting)), list(dict.fromkeys(rows.recipe))
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    for axis, (metric, label) in zip(axes.flat, DEVIATION_LABELS.items(), strict=True):
        for recipe, shift in zip(recipes, shifts(len(recipes)), strict=True):
            part = rows[(rows.metric == metric) & (rows.recipe == recipe)]
            dots_with_reach(axis, [order.index(s) + shift for s in setting[part.index]], part, recipe, fmt="o")
        axis.set_xticks(range(len(order)), order)
        axis.set(title=label, yscale="log")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize="small")
    figure.suptitle("Deviation from full precision, mean and 95 % interval over seeds and scenes")
    return figure


def show_benchmark_table(table: pd.DataFrame, metrics: Sequence[str]) -> Styler:
    """Mean and paired interval of the difference to full precision: a row a setting and recipe, a column a metric.

    `table` has what `Report.compare` with full precision gives, its ends as low_difference and high_difference. Bold:
    the best mean of each setting.
    """
    rows = table[table.metric.isin(metrics)]
    rows = rows.assign(setting=settings_of(rows))
    means = rows.pivot_table(index=["setting", "recipe"], columns="metric", values="mean", sort=False)[list(metrics)]
    texts = rows.assign(text=[_mean_and_interval(row) for _, row in rows.iterrows()])
    texts = texts.pivot(index=["setting", "recipe"], columns="metric", values="text").loc[means.index, list(metrics)]

    def best(column: pd.Series) -> np.ndarray:
        value = means[column.name].drop("full precision", level="recipe", errors="ignore")
        value = value if METRICS[column.name].higher_is_better else -value
        return np.where(column.index.isin(value.groupby(level="setting").idxmax()), "font-weight: bold", "")

    return (
        texts.style.apply(best)
        .set_table_attributes('class="dataframe"')
        .set_table_styles([{"selector": "td", "props": "white-space: pre; text-align: right; font-size: 0.8em"}])
    )


def _mean_and_interval(row: pd.Series) -> str:
    digits = 2 if row["mean"] >= 10 else 4
    if pd.isna(row.low_difference):
        return f"{row['mean']:.{digits}f}"
    return f"{row['mean']:.{digits}f}\n[{row.low_difference:+.{digits}f}, {row.high_difference:+.{digits}f}]"
