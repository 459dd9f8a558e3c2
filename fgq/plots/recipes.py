"""What quantization did to the outputs: by recipe and bits, by scene, by one changed choice; with intervals."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from fgq.evaluation.report import MODEL, Report, scene_losses, scene_means, settings_of
from fgq.evaluation.statistics import SIGNIFICANCE
from fgq.evaluation.verdict import in_words
from fgq.metrics.table import HEADLINE, METRICS
from fgq.plots.style import colour_of, panels, show_table

DEVIATION_LABELS = {
    "deviation_rotation": "rotation (degrees)",
    "deviation_translation": "translation (relative)",
    "deviation_depth": "depth (relative)",
    "deviation_points": "points (relative)",
}
CLEAR, UNCLEAR = "#1f4e79", "#aaaaaa"


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
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    for axis, (metric, label) in zip(axes.flat, DEVIATION_LABELS.items(), strict=True):
        dots_by_setting(axis, rows, metric, fmt="o")
        axis.set(title=label, yscale="log")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize="small")
    figure.suptitle("Deviation from full precision, mean and 95 % interval over seeds and scenes")
    return figure


def dots_by_setting(axis: Axes, table: pd.DataFrame, metric: str, widest: float = 0.8, **style) -> None:
    """A dot a bit setting and recipe at `middle`, from `low` to `high`; recipes stand side by side at a setting."""
    rows = table.assign(setting=settings_of(table))
    order, recipes = list(dict.fromkeys(rows.setting)), list(dict.fromkeys(rows.recipe))
    shifts = min(widest, 0.8 / len(recipes)) * (np.arange(len(recipes)) - (len(recipes) - 1) / 2)
    for recipe, shift in zip(recipes, shifts, strict=True):
        part = rows[(rows.metric == metric) & (rows.recipe == recipe)]
        place, colour = [order.index(name) + shift for name in part.setting], colour_of(recipe)
        reach = np.stack([part.middle - part.low, part.high - part.middle]).clip(min=0)
        axis.errorbar(place, part.middle, yerr=reach, markersize=4, capsize=2, color=colour, label=recipe, **style)
    axis.set_xticks(range(len(order)), order)


def show_benchmark_table(table: pd.DataFrame, metrics: Sequence[str]) -> Styler:
    """Mean and paired interval of the difference to full precision: a row a setting and recipe, a column a metric.

    `table` has what `Report.compare` with full precision gives, its ends as low_difference and high_difference. Bold:
    the best mean of each setting.
    """
    rows = table[table.metric.isin(metrics)]
    rows = rows.assign(setting=settings_of(rows))
    means = rows.pivot_table(index=["setting", "recipe"], columns="metric", values="mean", sort=False)[list(metrics)]
    texts = rows.assign(text=[mean_and_interval(row) for _, row in rows.iterrows()])
    texts = texts.pivot(index=["setting", "recipe"], columns="metric", values="text").loc[means.index, list(metrics)]

    def best(column: pd.Series) -> np.ndarray:
        value = means[column.name].drop("full precision", level="recipe", errors="ignore")
        value = value if METRICS[column.name].higher_is_better else -value
        return np.where(column.index.isin(value.groupby(level="setting").idxmax()), "font-weight: bold", "")

    cells = [{"selector": "td", "props": "white-space: pre; text-align: right; font-size: 0.8em"}]
    return texts.style.apply(best).set_table_attributes('class="dataframe"').set_table_styles(cells)


def mean_and_interval(row: pd.Series) -> str:
    digits = 2 if row["mean"] >= 10 else 4
    mean = f"{row['mean']:.{digits}f}"
    difference = f"\n[{row.low_difference:+.{digits}f}, {row.high_difference:+.{digits}f}]"
    return mean if pd.isna(row.low_difference) else mean + difference


def show_degradation(comparison: pd.DataFrame, metrics: Sequence[str] = HEADLINE) -> Figure:
    """Harm in percent of full precision by bit setting, one panel a metric, one line a recipe with its interval.

    `comparison` is what `Report.compare` with full precision gives: recipe, weight_bits, activation_bits, metric,
    difference, low, high, harm. Positive is worse; the scale is logarithmic beyond 1 %.
    """
    figure, axes = panels(len(metrics), 3.7, 4.2)
    percent = comparison.harm / comparison.difference  # of one unit of the metric; the sign is that of worse
    ends = np.sort(np.stack([comparison.low * percent, comparison.high * percent]), axis=0)
    harm = comparison.assign(middle=comparison.harm, low=ends[0], high=ends[1])
    for axis, metric in zip(axes, metrics, strict=True):
        dots_by_setting(axis, harm, metric, 0.12, fmt="o-", linewidth=1)
        axis.axhline(0, color="black", linewidth=1)
        axis.set_yscale("symlog", linthresh=1)
        axis.set_title(f"{METRICS[metric].task}: {metric}", fontsize="medium")
    axes[0].set_ylabel("harm (% of full precision)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), fontsize="small")
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


def show_switches(table: pd.DataFrame, groups: Sequence[str]) -> Figure:
    """Change of each deviation in percent of the base's mean, with its paired 95 % interval; left of zero is better.

    `table` has a row for each switch and metric: recipe (the switch's name), group, base, metric, mean, and, against
    the base, difference, low_difference and high_difference. Grey intervals hold zero.
    """
    rows = table[table.group.isin(groups) & (table.recipe != table.base)]
    means = table.set_index(["recipe", "metric"])["mean"]
    base = means.loc[list(zip(rows.base, rows.metric, strict=True))].to_numpy()
    ends = rows[["difference", "low_difference", "high_difference"]].div(base, axis=0)
    changes = rows[["recipe", "metric"]].assign(**dict(zip(("change", "low", "high"), ends.T.to_numpy(), strict=True)))
    is_clear = (changes.low > 0) | (changes.high < 0)
    return draw_changes(changes.assign(colour=np.where(is_clear, CLEAR, UNCLEAR)).rename(columns={"recipe": "name"}))


def show_verdicts(found: pd.DataFrame) -> Figure:
    """Relative changes of `fgq.evaluation.verdicts` with their intervals, a line for each model and rival.

    Grey: neither better nor worse after correction. `found` has a column rival beside its own.
    """
    names = [f"{recipe}\nagainst {rival}" for recipe, rival in zip(found.recipe, found.rival, strict=True)]
    colours = np.where(found.p_difference < SIGNIFICANCE, CLEAR, UNCLEAR)
    return draw_changes(found.assign(name=names, colour=colours), row_height=0.55)


def draw_changes(changes: pd.DataFrame, row_height: float = 0.36) -> Figure:
    """Columns name, metric, change, low and high (relative), colour; left of zero is better."""
    names = list(dict.fromkeys(changes.name))[::-1]
    height = 1.2 + row_height * len(names)
    figure, axes = plt.subplots(1, 4, figsize=(12, height), sharey=True, layout="constrained")
    for axis, (metric, label) in zip(axes, DEVIATION_LABELS.items(), strict=True):
        for row in changes[changes.metric == metric].itertuples():
            middle, low, high = (100 * end for end in (row.change, row.low, row.high))
            reach, place = [[middle - low], [high - middle]], [names.index(row.name)]
            axis.errorbar([middle], place, xerr=reach, fmt="o", markersize=4, capsize=3, color=row.colour)
        axis.axvline(0, color="black", linewidth=1)
        axis.set(title=label.split(" (")[0], xlabel="change (%)", ylim=(-0.6, len(names) - 0.4))
    axes[0].set_yticks(range(len(names)), names)
    return figure


def show_seconds(means: pd.DataFrame) -> Figure:
    """Mean deviation with its interval over the seconds that a way of calibrating took; both logarithmic.

    Columns recipe, metric, mean, low, high and seconds.
    """
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), sharex=True, layout="constrained")
    for axis, (metric, label) in zip(axes.flat, DEVIATION_LABELS.items(), strict=True):
        for row in means[means.metric == metric].itertuples():
            reach = [[row.mean - row.low], [row.high - row.mean]]
            axis.errorbar([row.seconds], [row.mean], yerr=reach, fmt="o", markersize=4, capsize=2, color=CLEAR)
            axis.annotate(row.recipe, (row.seconds, row.mean), (5, 3), textcoords="offset points", fontsize="x-small")
        axis.set(title=label, xscale="log", yscale="log")
    for axis in axes[1]:
        axis.set_xlabel("seconds of one core")
    return figure


def show_verdict_table(found: pd.DataFrame) -> Styler:
    """Change in percent, its 95 % interval and the verdict in words; `found` as for `show_verdicts`."""
    changes = 100 * found[["change", "low", "high"]]
    told = [
        f"{change:+.0f} ({low:+.0f} to {high:+.0f}), {in_words(row)}"
        for (change, low, high), row in zip(changes.to_numpy(), found.itertuples(), strict=True)
    ]
    labels = found.metric.map(lambda name: DEVIATION_LABELS[name].split(" (")[0])
    table = found.assign(told=told, label=labels).groupby(["recipe", "rival", "label"], sort=False).told.first()
    return show_table(table.unstack(sort=False).rename_axis(columns=None).reset_index())
