"""The scenes that quantization hurt most, with pictures."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.evaluation.report import Report
from fgq.metrics.depth import scale_to, valid_depths
from fgq.metrics.measure import depths
from fgq.metrics.table import METRICS
from fgq.plots.style import picture
from fgq.vggt import Predictions


def worst_scenes(report: Report, reference: Report, metric: str, count: int) -> list[str]:
    """Names of the scenes whose value (mean over seeds) became worst against the reference's, worst first."""
    mine, theirs = (
        given.only(metric=metric).frame.groupby("scene", sort=False).value.mean() for given in (report, reference)
    )
    loss = (theirs - mine) if METRICS[metric].higher_is_better else (mine - theirs)
    if loss.isna().any():
        raise FgqError(f"scene {loss.index[loss.isna()][0]} has no {metric} in one of the reports: it cannot be ranked")
    return loss.sort_values(ascending=False, kind="stable").index[:count].tolist()


def depth_error_maps(scene: Scene, prediction: Predictions) -> np.ndarray:
    """|predicted - true| / true [S, H, W] after one scale for the scene, as the metric has it; NaN where invalid."""
    predicted, truth, valid = depths(prediction, scene)
    maps = np.full(truth.shape, np.nan)
    flat, target = valid_depths(predicted, truth, valid)
    maps[valid.numpy()] = ((scale_to(flat, target) - target).abs() / target).numpy()
    return maps


def show_worst_scenes(scenes: Sequence[Scene], pairs: Sequence[tuple[Predictions, Predictions]]) -> Figure:
    """Of each scene the frame that lost most: image, true depth, and the error maps of full precision and quantized.

    `pairs` holds full precision's and the quantized model's prediction of each scene. Maps share one colour scale.
    """
    figure, axes = plt.subplots(len(scenes), 4, figsize=(9.5, 2.3 * len(scenes)), squeeze=False, layout="constrained")
    for row, scene, (full, small) in zip(axes, scenes, pairs, strict=True):
        before, after = depth_error_maps(scene, full), depth_error_maps(scene, small)
        s = int(
            np.argmax(
                [
                    np.nanmean(a) - np.nanmean(b) if np.isfinite(a).any() else -np.inf
                    for a, b in zip(after, before, strict=True)
                ]
            )
        )
        row[0].imshow(picture(scene.images[s]))
        row[0].set_ylabel(f"{scene.name}\nframe {s}", fontsize="small")
        shown = row[1].imshow(scene.depth[s], cmap="viridis")
        figure.colorbar(shown, ax=row[1], shrink=0.8)
        top = max(float(np.nanquantile([before[s], after[s]], 0.98)), 1e-6)
        for axis, errors in ((row[2], before[s]), (row[3], after[s])):
            shown = axis.imshow(errors, cmap="magma", vmin=0, vmax=top)
            axis.set_xlabel(f"mean {np.nanmean(errors):.3f}", fontsize="small")
        figure.colorbar(shown, ax=row[3], shrink=0.8)
    titles = (
        "image",
        f"true depth ({scenes[0].unit})",
        "|error| / depth,\nfull precision",
        "|error| / depth,\nquantized",
    )
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize="medium")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    return figure
