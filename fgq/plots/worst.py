"""The scenes that quantization hurt most, with pictures."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from fgq.data.scene import Scene
from fgq.metrics.measure import depth_error_maps
from fgq.plots.style import picture
from fgq.vggt import Predictions


def show_worst_scenes(scenes: Sequence[Scene], pairs: Sequence[tuple[Predictions, Predictions]]) -> Figure:
    """Of each scene the frame that lost most: image, true depth, and the error maps of full precision and quantized.

    `pairs` holds full precision's and the quantized model's prediction of each scene. Maps share one colour scale.
    """
    figure, axes = plt.subplots(len(scenes), 4, figsize=(9.5, 2.3 * len(scenes)), squeeze=False, layout="constrained")
    for row, scene, (full, small) in zip(axes, scenes, pairs, strict=True):
        before, after = (depth_error_maps(prediction, scene) for prediction in (full, small))
        lost = (after - before).flatten(1).nanmean(1)  # NaN for a frame without valid pixels
        s = int(lost.nan_to_num(-torch.inf).argmax())
        row[0].imshow(picture(scene.images[s]))
        row[0].set_ylabel(f"{scene.name}\nframe {s}", fontsize="small")
        shown = row[1].imshow(scene.depth[s], cmap="viridis")
        figure.colorbar(shown, ax=row[1], shrink=0.8)
        top = max(float(torch.stack([before[s], after[s]]).nanquantile(0.98)), 1e-6)
        for axis, errors in ((row[2], before[s]), (row[3], after[s])):
            shown = axis.imshow(errors, cmap="magma", vmin=0, vmax=top)
            axis.set_xlabel(f"mean {errors.nanmean():.3f}", fontsize="small")
        figure.colorbar(shown, ax=row[3], shrink=0.8)
    errors = "|error| / depth,\n"
    titles = ("image", f"true depth ({scenes[0].unit})", errors + "full precision", errors + "quantized")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize="medium")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    return figure
