"""Frames to the model's size: what is done to the pixels is done to intrinsics, depth, points and masks as well."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fgq.data.images import Crop, check_sides, check_target, crop_to_size, crop_to_width, to_tensor
from fgq.data.public.cameras import relative
from fgq.data.sampling import check_whole
from fgq.data.scene import Scene
from fgq.data.sequence import DepthMap, Frame, Mark, fault, inconsistencies
from fgq.geometry import unproject


def check_size(size: int | tuple[int, int], patch_size: int) -> None:
    """Raises FgqError unless `size` is a width that the patches tile, or (height, width) in pixels."""
    check_sides(size)
    check_whole(patch_size, "patch_size")
    if isinstance(size, int):
        check_target(size, patch_size)


def crops_of(frames: list[Frame], size: int | tuple[int, int], patch_size: int) -> list[Crop]:
    """One crop a frame, all with the same window: the smallest height where frames differ; see `fgq.data.images`."""
    if not isinstance(size, int):
        return [crop_to_size(frame.image.height, frame.image.width, tuple(size)) for frame in frames]
    crops = [crop_to_width(frame.image.height, frame.image.width, size, patch_size) for frame in frames]
    lowest = min(crop.window[0] for crop in crops)
    return [replace(crop, window=(lowest, size)) for crop in crops]


def crop_intrinsics(intrinsics: np.ndarray, crop: Crop) -> np.ndarray:
    """Intrinsics [3, 3] of the cropped image; a file's point (x, y) lands at (x sx − left, y sy − top)."""
    along_y, along_x = crop.scale
    return np.array([[along_x, 0, -crop.left], [0, along_y, -crop.top], [0, 0, 1]]) @ intrinsics


def crop_depth(depth: DepthMap, crop: Crop) -> tuple[np.ndarray, np.ndarray]:
    """Depth and validity, [H, W], at the centres of the cropped image's pixels."""
    (height, width), (along_y, along_x) = crop.window, crop.scale
    rows, columns = np.arange(height) + 0.5 + crop.top, np.arange(width) + 0.5 + crop.left
    y, x = np.meshgrid(rows / along_y, columns / along_x, indexing="ij")
    return depth.sample(x, y)


def to_scene(
    name: str, frames: list[Frame], ids: tuple[str, ...], size: int | tuple[int, int], patch_size: int, **about: str
) -> Scene:
    """Frames of one sequence as a Scene; the first frame's camera becomes the world, points come from depth.

    `ids` are the frames' names, `about` the other fields of `Scene` that are text. What no frame has is None. Raises
    SequenceError when only some frames have it or frames are copies, SceneError for a value that is not finite,
    FgqError for a size that the patches do not tile.
    """
    pairs = list(zip(frames, crops_of(frames, size, patch_size), strict=True))
    if told := inconsistencies([Mark.of(frame, one) for frame, one in zip(frames, ids, strict=True)]):
        raise fault(name, "; ".join(told))
    first = frames[0]
    truth: dict[str, Tensor] = {}
    if first.extrinsics is not None:
        truth["extrinsics"] = torch.from_numpy(relative([frame.extrinsics for frame in frames])).float()
    if first.intrinsics is not None:
        changed = [crop_intrinsics(frame.intrinsics, crop) for frame, crop in pairs]
        truth["intrinsics"] = torch.from_numpy(np.stack(changed)).float()
    if first.depth is not None:
        depth, valid = zip(*(crop_depth(frame.depth, crop) for frame, crop in pairs), strict=True)
        truth |= {"depth": torch.from_numpy(np.stack(depth)), "valid": torch.from_numpy(np.stack(valid))}
    if len(truth) == 4:
        truth["points"] = unproject(truth["depth"], truth["extrinsics"], truth["intrinsics"])
    images = torch.stack([to_tensor(frame.image, crop) for frame, crop in pairs])
    return Scene(name, images, **truth, **about)
