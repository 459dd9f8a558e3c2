"""Where the Fisher is large."""

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure


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
