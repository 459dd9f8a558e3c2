"""Scenes, what a model makes of them, and those that quantization hurt most."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from fgq.data.scene import Scene
from fgq.geometry import decode_pose, invert_extrinsics
from fgq.metrics.depth import scale_to
from fgq.metrics.measure import depth_error_maps
from fgq.plots.style import panels, picture
from fgq.vggt import Predictions


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
    predicted = scale_to(predictions.depth[0, ..., 0], scene.depth)
    error = depth_error_maps(predictions, scene)
    pictures = [picture(image) for image in scene.images]
    depth, errors = dict(cmap="viridis", vmin=0, vmax=float(scene.depth.max())), dict(cmap="magma", vmin=0, vmax=0.3)
    rows = [("image", pictures, {}), ("predicted", predicted, depth), ("true", scene.depth, depth)]
    rows += [("|error| / depth", error, errors)]
    figure, axes = plt.subplots(4, scene.num_frames, figsize=(2.2 * scene.num_frames, 8.4), layout="constrained")
    for axis_row, (name, values, style) in zip(axes, rows, strict=True):
        for axis, value in zip(axis_row, values, strict=True):
            shown = axis.imshow(value, **style)
            axis.set(xticks=[], yticks=[])
        axis_row[0].set_ylabel(name)
        if style:
            figure.colorbar(shown, ax=axis_row, shrink=0.8)
    return figure


def show_top_view(scene: Scene, predictions: dict[str, Predictions]) -> Figure:
    """The room from above, in the first camera's frame: the true points and cameras, then each prediction by name."""
    size = scene.images.shape[-2:]
    views = {"true": (scene.points, scene.extrinsics)}
    for name, found in predictions.items():
        views[name] = (found.world_points[0], decode_pose(found.pose_enc[0], size)[0])
    colours = scene.images.permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    figure, axes = panels(len(views), 3.6, 4, sharex=True, sharey=True)
    for axis, (name, (points, cameras)) in zip(axes, views.items(), strict=True):
        flat = points.reshape(-1, 3)
        axis.scatter(flat[:, 0], flat[:, 2], s=1.5, c=colours, linewidths=0)
        _, _, ahead, centre = invert_extrinsics(cameras).unbind(-1)
        axis.quiver(centre[:, 0], centre[:, 2], ahead[:, 0], ahead[:, 2], angles="xy", scale=8, width=0.008)
        for s in range(scene.num_frames):
            place = (centre[s, 0], centre[s, 2])
            axis.annotate(str(s), place, xytext=(4, 4), textcoords="offset points", weight="bold")
        axis.set(title=name, xlabel=f"right of camera 0 ({scene.unit})", aspect="equal")
    axes[0].set_ylabel(f"ahead of camera 0 ({scene.unit})")
    return figure


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
