"""Scenes, what a model makes of them, and those that quantization hurt most."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from fgq.data.scene import Scene
from fgq.geometry import decode_pose, invert_extrinsics
from fgq.metrics.measure import depth_error_maps
from fgq.plots.style import panels, picture
from fgq.vggt import Predictions


def show_scene(scene: Scene) -> Figure:
    """Images above; below, where it is known, their z-depth."""
    frames, rows = scene.num_frames, 1 if scene.depth is None else 2
    figure, axes = plt.subplots(rows, frames, figsize=(2.2 * frames, 2.2 * rows), squeeze=False, layout="constrained")
    for s in range(frames):
        axes[0, s].imshow(picture(scene.images[s]))
        axes[0, s].set_title(f"frame {s}")
    if scene.depth is not None:
        known = scene.depth.where(scene.valid_mask, torch.nan)
        for axis, depth in zip(axes[1], known, strict=True):
            shown = axis.imshow(depth, cmap="viridis", vmin=0, vmax=float(scene.depth.max()))
        figure.colorbar(shown, ax=axes[1, :], label=f"depth ({scene.unit})", shrink=0.8)
    for axis in axes.flat:
        axis.axis("off")
    return figure


def show_depth(scene: Scene, predictions: Predictions) -> Figure:
    """Image and predicted depth of every frame of one clip; where the truth is known, the prediction is brought to its
    median, and true depth and relative error follow."""
    predicted, errors = predictions.depth[0, ..., 0], dict(cmap="magma", vmin=0, vmax=0.3)
    truth = [] if scene.depth is None else [scene.depth.where(scene.valid_mask, torch.nan)]
    if truth:
        known = scene.valid_mask
        predicted = predicted * (scene.depth[known].median() / predicted[known].median())
    depth = dict(cmap="viridis", vmin=0, vmax=float((scene.depth if truth else predicted).max()))
    rows = [("image", [picture(image) for image in scene.images], {}), ("predicted", predicted, depth)]
    if truth:
        rows += [("true", *truth, depth), ("|error| / depth", depth_error_maps(predictions, scene), errors)]
    size = 2.2 * scene.num_frames, 2.1 * len(rows)
    figure, axes = plt.subplots(len(rows), scene.num_frames, figsize=size, squeeze=False, layout="constrained")
    for axis_row, (name, values, style) in zip(axes, rows, strict=True):
        for axis, value in zip(axis_row, values, strict=True):
            shown = axis.imshow(value, **style)
            axis.set(xticks=[], yticks=[])
        axis_row[0].set_ylabel(name)
        if style:
            figure.colorbar(shown, ax=axis_row, shrink=0.8)
    return figure


def show_top_view(scene: Scene, predictions: dict[str, Predictions]) -> Figure:
    """From above, in the first camera's frame: the true points and cameras if known, then each prediction by name.

    Predictions are brought to the truth's scale, by the median distance of their points.
    """
    size, views = scene.images.shape[-2:], {}
    if scene.points is not None and scene.extrinsics is not None:
        views["true"] = scene.points.where(scene.valid_mask[..., None], torch.nan), scene.extrinsics
    for name, found in predictions.items():
        points, cameras = found.world_points[0], decode_pose(found.pose_enc[0], size)[0]
        if views:  # lengths share one unknown scale
            known = scene.valid_mask
            scale = scene.points[known].norm(dim=-1).median() / points[known].norm(dim=-1).median()
            points, cameras = points * scale, torch.cat([cameras[..., :3], cameras[..., 3:] * scale], -1)
        views[name] = points, cameras
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
