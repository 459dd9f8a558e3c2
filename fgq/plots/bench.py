"""Speed and memory of models beside one another."""

import pandas as pd
from matplotlib.figure import Figure

from fgq.plots.style import panels


def show_bench(table: pd.DataFrame) -> Figure:
    """Seconds of a forward pass and gigabytes of the weights, a line each model and form; of `fgq.memory.bench.bench`.

    Dots are medians over passes by the number of frames, bars from the fastest pass to the slowest.
    """
    named = table.assign(label=table.model.map(short) + "\n" + table.form + ", " + table.dtype)
    labels = list(dict.fromkeys(named.label))
    figure, axes = panels(2, 4.2, 1.6 + 0.42 * len(labels), sharey=True)
    times, sizes = axes
    for number, (frames, rows) in enumerate(named.groupby("frames")):
        places = [labels.index(label) + 0.16 * (number - (table.frames.nunique() - 1) / 2) for label in rows.label]
        bars = [rows.seconds - rows.fastest, rows.slowest - rows.seconds]
        told = f"{frames} frame{'s' if frames > 1 else ''}"
        times.errorbar(rows.seconds, places, xerr=bars, fmt="o", markersize=4, capsize=2, label=told)
    times.set_xlim(left=0)
    times.set_xlabel("seconds of a forward pass")
    weights = named.drop_duplicates("label")
    sizes.barh([labels.index(label) for label in weights.label], weights.weights_gb, height=0.5, color="#1f4e79")
    sizes.set_xlabel("gigabytes of weights in memory")
    times.set_yticks(range(len(labels)), labels, fontsize="small")
    times.set_ylim(len(labels) - 0.5, -0.5)
    for axis in axes:
        axis.grid(alpha=0.3)
    if table.frames.nunique() > 1:
        times.legend(fontsize="small")
    return figure


def short(name: str) -> str:
    """The last part of a path or a hub id."""
    return str(name).rstrip("/").rsplit("/", 1)[-1]
