"""The results of a sweep at one look."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from fgq.plots.style import panels

MOST_LABELS = 60  # lines of text that one figure can hold


def show_sweep(table: pd.DataFrame, metrics: Sequence[str], title: str = "") -> Figure:
    """A dot a result, a line of dots a choice of parameters, one panel a metric; a bar marks the mean of a line.

    `table` has the columns label, metric and value. Of very many labels, the first are shown and the title says so.
    """
    labels = list(dict.fromkeys(table.label))
    shown = labels[:MOST_LABELS]
    figure, axes = panels(len(metrics), 2.6, 1.4 + 0.24 * len(shown), sharey=True)
    for axis, metric in zip(axes, metrics, strict=True):
        rows = table[(table.metric == metric) & table.label.isin(shown) & table.value.notna()]
        means = rows.groupby("label", sort=False).value.mean()
        axis.plot(
            rows.value, [shown.index(label) for label in rows.label], "o", markersize=4, alpha=0.6, color="#1f4e79"
        )
        places = [shown.index(label) for label in means.index]
        axis.plot(means, places, "|", markersize=14, color="black")
        axis.set_title(metric, fontsize="small")
        axis.margins(x=0.1)
        axis.grid(alpha=0.3)
    axes[0].set_yticks(range(len(shown)), shown, fontsize="small")
    axes[0].set_ylim(len(shown) - 0.5, -0.5)
    more = f" (the first {len(shown)} of {len(labels)})" if len(labels) > len(shown) else ""
    figure.suptitle(f"{title}{more}", fontsize="medium")
    return figure
