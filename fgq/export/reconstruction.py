"""One predicted scene in plain tensors: cameras, depth, and the points that both give or that the point head gives."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fgq.data.photos import Photos
from fgq.errors import FgqError
from fgq.geometry import decode_pose, unproject
from fgq.vggt import Predictions

POINTS = ("depth", "head")


@dataclass(frozen=True)
class Cloud:
    """N points, most confident first."""

    points: Tensor  # [N, 3] world
    colours: Tensor  # [N, 3] uint8
    confidence: Tensor  # [N] above 1
    frame: Tensor  # [N] which picture
    pixel: Tensor  # [N, 2] (x, y) of the pixel's centre in the model's image

    def __len__(self) -> int:
        return len(self.points)

    def best(self, share: float) -> "Cloud":
        """The most confident `share` of the points, at least one."""
        return self[: max(1, round(share * len(self)))]

    def thinned(self, most: int) -> "Cloud":
        """At most `most` of the points, at even steps through the order of confidence."""
        if len(self) <= most:
            return self
        return self[torch.arange(most) * len(self) // most]

    def __getitem__(self, index) -> "Cloud":
        return Cloud(*(getattr(self, field)[index] for field in self.__dataclass_fields__))


@dataclass(frozen=True)
class Reconstruction:
    """S frames of H × W model pixels. OpenCV axes, the first camera is the world, lengths share one unknown scale."""

    photos: Photos
    extrinsics: Tensor  # [S, 3, 4] camera-from-world
    intrinsics: Tensor  # [S, 3, 3] pixels of the model's images
    depth: Tensor  # [S, H, W] z-depth
    depth_confidence: Tensor  # [S, H, W] above 1
    points: Tensor  # [S, H, W, 3] world
    points_confidence: Tensor  # [S, H, W] above 1
    points_from: str  # of POINTS
    valid: Tensor  # [S, H, W] bool: shows a picture, not padding, and every value is finite

    @property
    def num_frames(self) -> int:
        return len(self.depth)

    def photo_intrinsics(self) -> Tensor:
        """Intrinsics [S, 3, 3] in pixels of the upright photos at their own sizes."""
        crops = zip(self.photos.crops, self.intrinsics, strict=True)
        return torch.stack([crop.file_intrinsics(intrinsics) for crop, intrinsics in crops])

    def cloud(self) -> Cloud:
        """All valid pixels as coloured points."""
        frame, row, column = self.valid.nonzero(as_tuple=True)
        confidence = self.points_confidence[self.valid]
        order = confidence.argsort(descending=True, stable=True)
        colours = (self.photos.images.permute(0, 2, 3, 1)[self.valid] * 255).round().to(torch.uint8)
        pixel = torch.stack([column, row], dim=-1) + 0.5
        return Cloud(self.points[self.valid], colours, confidence, frame, pixel)[order]


def build_reconstruction(predictions: Predictions, photos: Photos, points: str = "depth") -> Reconstruction:
    """Predictions of one clip (batch size 1), on the CPU in double precision.

    `points` "depth": unprojected through the predicted camera, so that depth maps, cameras and points agree exactly,
    as the published evaluation takes them; "head": the point head's own map, which need not agree with the cameras.
    Raises FgqError for another choice and predictions without one finite pixel.
    """
    if points not in POINTS:
        raise FgqError(f"points {points!r} is not one of {', '.join(POINTS)}")
    found = {name: predictions[name][0].detach().cpu().double() for name in ("pose_enc", "depth", "depth_conf")}
    extrinsics, intrinsics = decode_pose(found["pose_enc"], photos.images.shape[-2:])
    check_view_angles(found["pose_enc"][:, 7:], photos.names)
    depth, confidence = found["depth"][..., 0], found["depth_conf"]
    if points == "depth":
        world, world_confidence = unproject(depth, extrinsics, intrinsics), confidence
    else:
        world = predictions.world_points[0].detach().cpu().double()
        world_confidence = predictions.world_points_conf[0].detach().cpu().double()
    valid = photos.covered() & depth.isfinite() & (depth > 0) & confidence.isfinite()
    valid &= world.isfinite().all(-1) & world_confidence.isfinite()
    if not valid.any() or not extrinsics.isfinite().all():
        raise FgqError("the model predicts NaN or infinity: check its weights, or load it in float32")
    return Reconstruction(photos, extrinsics, intrinsics, depth, confidence, world, world_confidence, points, valid)


def check_view_angles(angles: Tensor, names: list[str]) -> None:
    """Raises FgqError for a camera [S, 2] (radians) that sees nothing, which VGGT's last ReLU allows, or too much."""
    for name, pair in zip(names, angles.rad2deg().tolist(), strict=True):
        if not all(0 < angle < 180 for angle in pair):
            raise FgqError(
                f"{name}: the model predicts a camera with view angles of {pair[0]:.4g}° × {pair[1]:.4g}°: "
                "the weights are untrained, damaged or quantized too far"
            )
