"""Scenes and what a model makes of them."""

import matplotlib.pyplot as plt
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
