"""A model itself: how it learnt, what it takes, where its Fisher is large and its inputs are uneven."""

import importlib.resources
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from fgq.plots.style import panels
from fgq.quant.grid import Grid

STATISTIC_LABELS = {
    "kurtosis": "kurtosis",
    "range": "highest − lowest value",
    "outlier_ratio": "largest / median channel",
    "token_ratio": "largest / median token",
    "crest": "largest / r.m.s. of a token",
    "decibels": "signal to noise (dB)",
}


def training_curve() -> pd.DataFrame:
    """Validation accuracy of the shipped vggt-tiny by training step."""
    return pd.read_csv(importlib.resources.files("fgq") / "weights" / "vggt-tiny" / "curve.csv")


def show_training_curve() -> Figure:
    curve = training_curve()
    panels = {
        "rotation_median_deg": "median rotation error (degrees)",
        "auc30": "pose AUC@30 (%)",
        "abs_rel": "depth AbsRel",
        "point_error": "point error / mean distance",
    }
    figure, axes = plt.subplots(2, 2, figsize=(9, 5), sharex=True, layout="constrained")
    switch = curve.loc[curve.frames > 2, "seconds"].min() / 60
    for axis, (column, label) in zip(axes.flat, panels.items(), strict=True):
        axis.plot(curve.seconds / 60, curve[column], marker="o", markersize=3)
        axis.axvline(switch, color="grey", linestyle=":", linewidth=1)
        axis.set(title=label, ylim=(0, None))
        axis.annotate("pairs | clips", (switch, axis.get_ylim()[1] * 0.9), fontsize=9, ha="center")
    for axis in axes[-1]:
        axis.set_xlabel("minutes of training")
    return figure


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


def show_fisher(table) -> Figure:
    """One heat map a task: blocks down, channels across, each block's channels sorted; logarithmic colour."""
    figure, axes = plt.subplots(1, len(table.tasks), figsize=(10, 4), layout="constrained")
    for axis, task, values in zip(axes, table.tasks, table.values, strict=True):
        ordered = values.sort(dim=-1, descending=True).values
        logarithm = (ordered / ordered.mean()).clamp(min=1e-4).log10()
        sns.heatmap(logarithm.numpy(), ax=axis, cmap="rocket", yticklabels=table.block_names, xticklabels=False)
        axis.set(title=task, xlabel="channels, largest first")
        axis.tick_params(axis="y", rotation=0)
    figure.suptitle("log10 of Fisher / its mean over blocks and channels")
    return figure


def show_site_statistics(tables: Mapping[str, pd.DataFrame], statistics: tuple[str, ...]) -> Figure:
    """Statistics of `measure_flatness` by block, one row of panels each, one column a model, one line a site."""
    shape = (len(statistics), len(tables))
    size = (4.5 * shape[1], 2.3 * shape[0] + 0.6)
    figure, axes = plt.subplots(*shape, figsize=size, sharex="col", sharey="row", squeeze=False, layout="constrained")
    for column, (name, table) in enumerate(tables.items()):
        for axis, statistic in zip(axes[:, column], statistics, strict=True):
            for site, rows in table.groupby("site", sort=False):
                axis.plot(rows.block, rows[statistic], marker="o", markersize=4, label=site)
            axis.set_yscale("linear" if statistic == "decibels" else "log")
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel("block")
    for axis, statistic in zip(axes[:, 0], statistics, strict=True):
        axis.set_ylabel(STATISTIC_LABELS[statistic])
    axes[0, 0].legend(fontsize="small")
    return figure


def show_on_grid(inputs: Mapping[str, Tensor], bits: int) -> Figure:
    """Histograms of inputs [..., tokens, channels] in units of each token's own step, over the codes of its grid.

    The grid is symmetric with one scale a token. Titles say which share of the values rounds to zero.
    """
    grid = Grid(bits, per="token")
    figure, axes = panels(len(inputs), 3.3, 3, sharey=True)
    for axis, (name, x) in zip(axes, inputs.items(), strict=True):
        x = x.detach().flatten(0, -2)
        steps = (x / grid.find_scale(*grid.find_range(x))[0]).flatten().cpu().numpy()
        edges = np.arange(grid.lowest - 0.5, grid.highest + 0.5 + 1e-9, 0.125)
        axis.hist(steps, bins=edges, density=True, color="#4c72b0", linewidth=0)
        for code in range(grid.lowest, grid.highest + 1):
            axis.axvline(code, color="#c44e52", linewidth=0.7, alpha=0.7)
        axis.set(xlabel="value / step of its token", title=f"{name}\n{(abs(steps) < 0.5).mean():.0%} become zero")
        axis.set_yscale("log")
    axes[0].set_ylabel("density")
    return figure
