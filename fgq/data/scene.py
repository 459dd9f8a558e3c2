"""One scene: the images of a clip and whatever is known about them."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from fgq.errors import FgqError

UNITS = ("metre", "millimetre", "normalised")
HASH_DIGITS = 16


class SceneError(FgqError):
    """A scene that cannot be used; the message names the scene and the field."""


@dataclass(frozen=True)
class Scene:
    """S frames of H × W pixels. OpenCV axes; the first frame's camera is the world; missing truth is None.

    Raises SceneError when a field has the wrong shape or a non-finite value where it should be valid.
    """

    name: str
    images: Tensor  # [S, 3, H, W] in [0, 1]
    extrinsics: Tensor | None = None  # [S, 3, 4] camera-from-world [R|t]
    intrinsics: Tensor | None = None  # [S, 3, 3] pixels; pixel (0, 0)'s centre is at (0.5, 0.5)
    depth: Tensor | None = None  # [S, H, W] z-depth in `unit`
    points: Tensor | None = None  # [S, H, W, 3] world coordinates in `unit`
    valid: Tensor | None = None  # [S, H, W] bool: where depth and points can be trusted
    unit: str = "normalised"
    dataset: str = "unnamed"
    split: str = ""  # of the dataset
    sequence: str = ""  # what no calibration and test may share, "a/b" being part of "a"; empty where it is not known

    def __post_init__(self):
        if self.unit not in UNITS:
            raise SceneError(f"scene {self.name}: unit {self.unit!r} is not one of {', '.join(UNITS)}")
        if self.images.ndim != 4 or self.images.shape[1] != 3:
            raise SceneError(f"scene {self.name}: images have shape {list(self.images.shape)}, expected [S, 3, H, W]")
        frames, _, height, width = self.images.shape
        expected = {
            "images": (frames, 3, height, width),
            "extrinsics": (frames, 3, 4),
            "intrinsics": (frames, 3, 3),
            "depth": (frames, height, width),
            "points": (frames, height, width, 3),
            "valid": (frames, height, width),
        }
        given = {field: getattr(self, field) for field in expected if getattr(self, field) is not None}
        for field, value in given.items():
            shape, wanted = list(value.shape), list(expected[field])
            if shape != wanted:
                raise SceneError(f"scene {self.name}: {field} has shape {shape}, expected {wanted}")
        for field, value in given.items():
            measured = field in ("depth", "points")
            trusted = value[self.valid] if measured and self.valid is not None else value
            if not torch.isfinite(trusted).all():
                where = "at valid pixels" if measured else f"in frame {first_bad_frame(value)}"
                raise SceneError(f"scene {self.name}: {field} holds NaN or infinity {where}")

    @property
    def num_frames(self) -> int:
        return len(self.images)

    @cached_property
    def images_hash(self) -> str:
        """Of the SHA-256 of the images the beginning: equal in two scenes of the same pictures, however named."""
        digest = hashlib.sha256(f"{self.images.dtype} {list(self.images.shape)}".encode())
        digest.update(self.images.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:HASH_DIGITS]

    def frames(self, index: list[int]) -> "Scene":
        """The scene with only these frames; the first of them becomes the world only if it was before."""
        fields = ("images", "extrinsics", "intrinsics", "depth", "points", "valid")
        kept = {f: getattr(self, f)[index] for f in fields if getattr(self, f) is not None}
        return replace(self, **kept)

    @property
    def valid_mask(self) -> Tensor:
        """Where depth and points can be trusted: [S, H, W] bool; everywhere when the scene does not say."""
        if self.valid is not None:
            return self.valid
        return torch.ones_like(self.images[:, 0], dtype=torch.bool)


def first_bad_frame(value: Tensor) -> int:
    return int((~torch.isfinite(value)).flatten(1).any(1).nonzero()[0, 0])
