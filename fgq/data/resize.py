"""Frames to the model's size: what is done to the pixels is done to intrinsics, depth, points and masks as well."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fgq.data.cameras import relative
from fgq.data.images import Crop, crop_to_size, crop_to_width, to_tensor
from fgq.data.scene import Scene
from fgq.data.sequence import DepthMap, Frame, SequenceError
from fgq.geometry import unproject


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
    move = np.array([[along_x, 0, -crop.left], [0, along_y, -crop.top], [0, 0, 1]])
    return move @ intrinsics


def crop_depth(depth: DepthMap, crop: Crop) -> tuple[np.ndarray, np.ndarray]:
    """Depth and validity, [H, W], at the centres of the cropped image's pixels."""
    height, width = crop.window
    along_y, along_x = crop.scale
    y, x = np.meshgrid(
        (np.arange(height) + 0.5 + crop.top) / along_y, (np.arange(width) + 0.5 + crop.left) / along_x, indexing="ij"
    )
    return depth.sample(x, y)


def refuse_copies(frames: list[Frame], name: str) -> None:
    """Raises SequenceError when two frames share a measured depth map, or one picture has two cameras: a file was
    copied over another, and nothing else would show it."""
    for field, values in (("picture", [pixels(f) for f in frames]), ("depth map", [depths(f) for f in frames])):
        seen: dict[bytes, int] = {}
        for i, value in enumerate(values):
            first = seen.setdefault(value, i) if value is not None else i
            same_camera = field == "picture" and (
                frames[i].extrinsics is None or np.abs(frames[i].extrinsics - frames[first].extrinsics).max() < 1e-4
            )
            if first != i and not same_camera:
                raise SequenceError(f"{name}: its frames number {first + 1} and {i + 1} have the same {field}")


def pixels(frame: Frame) -> bytes:
    return hashlib.sha256(frame.image.tobytes()).digest()


def depths(frame: Frame) -> bytes | None:
    known = frame.depth is not None and frame.depth.valid.any()
    return hashlib.sha256(frame.depth.values.tobytes()).digest() if known else None


@dataclass(frozen=True)
class Label:
    """What a scene is called and measured in."""

    name: str
    dataset: str
    unit: str


def to_scene(frames: list[Frame], label: Label, size: int | tuple[int, int], patch_size: int) -> Scene:
    """Frames of one sequence as a Scene; the first frame's camera becomes the world, points come from depth.

    What no frame has is None. Raises SequenceError when only some frames have it, SceneError for a value that is not
    finite, FgqError for a size that the patches do not tile.
    """
    crops = crops_of(frames, size, patch_size)
    for field in ("extrinsics", "intrinsics", "depth"):
        have = sum(getattr(frame, field) is not None for frame in frames)
        if have not in (0, len(frames)):
            raise SequenceError(f"{label.name}: only {have} of {len(frames)} frames have {field}")
    first = frames[0]
    truth: dict[str, Tensor] = {}
    if first.extrinsics is not None:
        truth["extrinsics"] = torch.from_numpy(relative([frame.extrinsics for frame in frames])).float()
    if first.intrinsics is not None:
        changed = [crop_intrinsics(frame.intrinsics, crop) for frame, crop in zip(frames, crops, strict=True)]
        truth["intrinsics"] = torch.from_numpy(np.stack(changed)).float()
    if first.depth is not None:
        sampled = [crop_depth(frame.depth, crop) for frame, crop in zip(frames, crops, strict=True)]
        truth["depth"] = torch.from_numpy(np.stack([depth for depth, _ in sampled]))
        truth["valid"] = torch.from_numpy(np.stack([valid for _, valid in sampled]))
    refuse_copies(frames, label.name)
    if len(truth) == 4:
        truth["points"] = unproject(truth["depth"], truth["extrinsics"], truth["intrinsics"])
    images = torch.stack([to_tensor(frame.image, crop) for frame, crop in zip(frames, crops, strict=True)])
    return Scene(name=label.name, images=images, unit=label.unit, dataset=label.dataset, **truth)
