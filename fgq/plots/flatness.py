"""Where the inputs of linear layers are uneven, and what a grid of few bits makes of them."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
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
