"""Pinhole cameras in OpenCV axes (x right, y down, z forward), camera-from-world extrinsics, intrinsics in pixels."""

import torch
from jaxtyping import Float
from torch import Tensor


def pixel_centres(height: int, width: int, device=None, dtype=torch.float32) -> Float[Tensor, "height width 2"]:
    """(x, y) of every pixel's centre; the image spans [0, width] × [0, height]."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device, dtype=dtype) + 0.5,
        torch.arange(width, device=device, dtype=dtype) + 0.5,
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1)


def pixel_rays(
    intrinsics: Float[Tensor, "*batch 3 3"], height: int, width: int
) -> Float[Tensor, "*batch {height} {width} 3"]:
    """Viewing ray of every pixel in the camera's frame, scaled to z = 1."""
    pixels = pixel_centres(height, width, intrinsics.device, intrinsics.dtype)
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], dim=-1)[..., None, None, :]
    centre = intrinsics[..., None, None, :2, 2]
    xy = (pixels - centre) / focal
    return torch.cat([xy, torch.ones_like(xy[..., :1])], dim=-1)


def invert_extrinsics(extrinsics: Float[Tensor, "*batch 3 4"]) -> Float[Tensor, "*batch 3 4"]:
    """World-from-camera of camera-from-world, and back: the inverse rigid motion."""
    rotation = extrinsics[..., :3].transpose(-2, -1)
    return torch.cat([rotation, -rotation @ extrinsics[..., 3:]], dim=-1)


def compose_extrinsics(
    outer: Float[Tensor, "*batch 3 4"], inner: Float[Tensor, "*#batch 3 4"]
) -> Float[Tensor, "*batch 3 4"]:
    """The rigid motion that does `inner` first, then `outer`."""
    rotation = outer[..., :3] @ inner[..., :3]
    return torch.cat([rotation, outer[..., :3] @ inner[..., 3:] + outer[..., 3:]], dim=-1)


def relative_to_first(extrinsics: Float[Tensor, "*batch frames 3 4"]) -> Float[Tensor, "*batch frames 3 4"]:
    """The same cameras seen from a world that is the first frame's camera."""
    return compose_extrinsics(extrinsics, invert_extrinsics(extrinsics[..., :1, :, :]))


def transform_points(
    extrinsics: Float[Tensor, "*batch 3 4"], points: Float[Tensor, "*batch height width 3"]
) -> Float[Tensor, "*batch height width 3"]:
    """World points in each camera's own frame."""
    return points @ extrinsics[..., None, :, :3].transpose(-2, -1) + extrinsics[..., None, None, :, 3]


def unproject(
    depth: Float[Tensor, "*batch height width"],
    extrinsics: Float[Tensor, "*batch 3 4"],
    intrinsics: Float[Tensor, "*batch 3 3"],
) -> Float[Tensor, "*batch height width 3"]:
    """World point of every pixel, from its z-depth."""
    rays = pixel_rays(intrinsics, *depth.shape[-2:])
    return transform_points(invert_extrinsics(extrinsics), rays * depth[..., None])


def project(
    points: Float[Tensor, "*batch height width 3"],
    extrinsics: Float[Tensor, "*batch 3 4"],
    intrinsics: Float[Tensor, "*batch 3 3"],
) -> tuple[Float[Tensor, "*batch height width 2"], Float[Tensor, "*batch height width"]]:
    """Pixel (x, y) and z-depth of world points; a point behind the camera has a negative depth."""
    seen = transform_points(extrinsics, points)
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], dim=-1)[..., None, None, :]
    return seen[..., :2] / seen[..., 2:] * focal + intrinsics[..., None, None, :2, 2], seen[..., 2]
