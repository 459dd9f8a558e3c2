"""How the shipped vggt-tiny learnt."""

import importlib.resources

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure


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
