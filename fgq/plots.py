"""Figures and tables that several chapters share. A figure is matplotlib's, and nothing else is drawn."""

import importlib.resources

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler
from torch import Tensor

from fgq.data.scene import Scene
from fgq.geometry import decode_pose, invert_extrinsics
from fgq.vggt import Predictions

RECIPE_COLOURS = {"full precision": "#555555", "rtn": "#c44e52", "flatquant": "#4c72b0", "fgq": "#55a868"}
TASK_COLOURS = {"camera": "#8172b3", "depth": "#ccb974", "points": "#64b5cd"}


def use_book_style() -> None:
    sns.set_theme(context="notebook", style="whitegrid", rc={"figure.dpi": 110, "savefig.bbox": "tight"})


def show_table(frame: pd.DataFrame, digits: int = 4) -> Styler:
    """The rows without their numbers, as the pages style tables."""
    return frame.style.hide().format(precision=digits).set_table_attributes('class="dataframe"')


def show_comparison(rows: pd.DataFrame, columns: list[str], digits: int = 4) -> Styler:
    """Columns of a `Report.compare`, its flags `better` and `worse` told in one word."""
    verdict = np.select([rows.better.astype(bool), rows.worse.astype(bool)], ["better", "worse"], "unclear")
    return show_table(rows[columns].assign(verdict=verdict), digits)


def picture(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).clamp(0, 1).numpy()


def rotation_angles(extrinsics: Tensor) -> Tensor:
    """Degrees between each further camera and the first: [S, 3, 4] to [S - 1]."""
    relative = extrinsics[1:, :, :3] @ extrinsics[0, :, :3].T
    cosine = (relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.rad2deg(cosine.clamp(-1, 1).acos())


def show_scene(scene: Scene) -> Figure:
    """Images above, z-depth below."""
    frames = scene.num_frames
    figure, axes = plt.subplots(2, frames, figsize=(2.2 * frames, 4.4), squeeze=False, layout="constrained")
    for s in range(frames):
        axes[0, s].imshow(picture(scene.images[s]))
        axes[0, s].set_title(f"frame {s}")
        shown = axes[1, s].imshow(scene.depth[s], cmap="viridis", vmin=0, vmax=float(scene.depth.max()))
    for axis in axes.flat:
        axis.axis("off")
    figure.colorbar(shown, ax=axes[1, :], label=f"depth ({scene.unit})", shrink=0.8)
    return figure


def show_depth(scene: Scene, predictions: Predictions) -> Figure:
    """Image, predicted depth (median-aligned), true depth and relative error of every frame of one clip."""
    predicted = predictions.depth[0, ..., 0]
    predicted = predicted * (scene.depth.median() / predicted.median())
    error = (predicted - scene.depth).abs() / scene.depth
    top = float(scene.depth.max())
    rows = [("image", None, {}), ("predicted", predicted, dict(cmap="viridis", vmin=0, vmax=top))]
    rows += [("true", scene.depth, dict(cmap="viridis", vmin=0, vmax=top))]
    rows += [("|error| / depth", error, dict(cmap="magma", vmin=0, vmax=0.3))]
    figure, axes = plt.subplots(
        len(rows), scene.num_frames, figsize=(2.2 * scene.num_frames, 8.4), layout="constrained"
    )
    for axis_row, (name, values, style) in zip(axes, rows, strict=True):
        for s, axis in enumerate(axis_row):
            shown = axis.imshow(picture(scene.images[s]) if values is None else values[s], **style)
            axis.set_xticks([])
            axis.set_yticks([])
        axis_row[0].set_ylabel(name)
        if values is not None:
            figure.colorbar(shown, ax=axis_row, shrink=0.8)
    return figure


def camera_centres(extrinsics: Tensor) -> Tensor:
    return invert_extrinsics(extrinsics)[..., 3]


def show_top_view(scene: Scene, predictions: dict[str, Predictions]) -> Figure:
    """The room from above, in the first camera's frame: the true points and cameras, then each prediction by name."""
    size = scene.images.shape[-2:]
    views = {"true": (scene.points, scene.extrinsics)}
    for name, found in predictions.items():
        views[name] = (found.world_points[0], decode_pose(found.pose_enc[0], size)[0])
    colours = scene.images.permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    figure, axes = plt.subplots(
        1, len(views), figsize=(3.6 * len(views), 4), sharex=True, sharey=True, layout="constrained"
    )
    for axis, (name, (points, cameras)) in zip(axes, views.items(), strict=True):
        flat = points.reshape(-1, 3)
        axis.scatter(flat[:, 0], flat[:, 2], s=1.5, c=colours, linewidths=0)
        centre, ahead = camera_centres(cameras), invert_extrinsics(cameras)[..., 2]
        axis.quiver(centre[:, 0], centre[:, 2], ahead[:, 0], ahead[:, 2], angles="xy", scale=8, width=0.008)
        for s in range(scene.num_frames):
            place = (centre[s, 0], centre[s, 2])
            axis.annotate(str(s), place, xytext=(4, 4), textcoords="offset points", weight="bold")
        axis.set(title=name, xlabel=f"right of camera 0 ({scene.unit})", aspect="equal")
    axes[0].set_ylabel(f"ahead of camera 0 ({scene.unit})")
    return figure


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


def show_costs(measured: pd.DataFrame, predicted: pd.DataFrame) -> Figure:
    """Activation memory and time of forward passes against frames: measured as points, predicted memory as lines.

    Both tables have variant, dtype, size, frames and activations_mb, the measured one seconds too.
    """
    figure, (memory, seconds) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
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
