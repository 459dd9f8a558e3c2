"""Cameras and points of several models beside one another, to be turned with the mouse; nothing is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import torch

from fgq.data.images import Crop
from fgq.data.photos import Photos, Source
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.export.reconstruction import Reconstruction, build_reconstruction
from fgq.export.viewer import describe, viewer_page
from fgq.geometry.alignment import align_similarity
from fgq.vggt import Predictions

POINTS = 6000  # of each view: 130 kB of the page
HEIGHT = 360  # pixels


@dataclass(frozen=True)
class Interactive:
    """What a notebook shows as HTML."""

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"an interactive figure, {len(self.html)} characters of HTML"


def side_by_side(scene: Scene, predictions: Mapping[str, Predictions]) -> Interactive:
    """The true scene and each prediction by name (batch size 1, the point head's points), in views that turn together.

    Predictions are brought to the truth by the similarity of their points, cameras with them. Each view is the page
    that `fgq.export.viewer` writes, put into the document itself, so there is no script, style or font to fetch.
    Raises FgqError for a scene without true cameras, depth or points.
    """
    if scene.extrinsics is None or scene.intrinsics is None or scene.depth is None or scene.points is None:
        raise FgqError(f"scene {scene.name}: side by side needs true cameras, depth and points")
    photos = photos_of(scene)
    sure = torch.ones_like(scene.depth).double()
    truth = Reconstruction(
        photos, scene.extrinsics.double(), scene.intrinsics.double(), scene.depth.double(), sure,
        scene.points.double(), sure, "depth", scene.valid_mask,
    )  # fmt: skip
    views = {"true": truth}
    for name, prediction in predictions.items():
        views[name] = aligned_to(truth, build_reconstruction(prediction, photos, "head"))
    about = describe(truth, truth.cloud(), 1.0)
    common = {name: about[name] for name in ("start", "up")}
    group = f"{scene.name} {len(views)}"
    frames = [
        frame(name, viewer_page(view, view.cloud().thinned(POINTS), 1.0, common, group)) for name, view in views.items()
    ]
    return Interactive(f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(frames)}</div>')


def photos_of(scene: Scene) -> Photos:
    """The scene's images as if read from files of their own size."""
    size = tuple(scene.images.shape[-2:])
    sources = tuple(Source(Path(f"frame {s}")) for s in range(scene.num_frames))
    crop = Crop(size, size, (1.0, 1.0))
    return Photos(sources, (size,) * scene.num_frames, (crop,) * scene.num_frames, scene.images)


def aligned_to(truth: Reconstruction, found: Reconstruction) -> Reconstruction:
    """Points, cameras and depth moved by the points' Sim(3): x ↦ s R x + t takes [A|b] to [A Rᵀ | s b - A Rᵀ t]."""
    valid = found.valid & truth.valid
    motion = align_similarity(found.points[valid], truth.points[valid])
    turn = found.extrinsics[..., :3] @ motion.rotation.T
    shift = motion.scale * found.extrinsics[..., 3] - turn @ motion.translation
    return replace(
        found, points=motion.apply(found.points), depth=motion.scale * found.depth, valid=valid,
        extrinsics=torch.cat([turn, shift[..., None]], dim=-1),
    )  # fmt: skip


def frame(name: str, page: str) -> str:
    title = escape(f"Cameras and points, {name}; drag to turn, arrow keys turn too")
    style = f"width:100%;height:{HEIGHT}px;border:0"
    inside = f'<iframe title="{title}" style="{style}" srcdoc="{escape(page)}"></iframe>'
    return f'<figure style="flex:1 1 12em;margin:0"><figcaption>{escape(name)}</figcaption>{inside}</figure>'
