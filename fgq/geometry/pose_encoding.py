"""VGGT's pose encoding (arXiv:2503.11651): translation 3, quaternion xyzw 4, vertical and horizontal view angle 2."""

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.geometry.rotation import matrix_to_quaternion, quaternion_to_matrix


def encode_pose(
    extrinsics: Float[Tensor, "*batch 3 4"], intrinsics: Float[Tensor, "*batch 3 3"], image_size: tuple[int, int]
) -> Float[Tensor, "*batch 9"]:
    """Camera-from-world extrinsics and pixel intrinsics of images (height, width) to the encoding; angles in radians.

    The encoding has no principal point: it is taken to be the image's centre.
    """
    height, width = image_size
    fov_vertical = 2 * torch.atan(height / 2 / intrinsics[..., 1, 1])
    fov_horizontal = 2 * torch.atan(width / 2 / intrinsics[..., 0, 0])
    quaternion = matrix_to_quaternion(extrinsics[..., :3])
    return torch.cat([extrinsics[..., 3], quaternion, fov_vertical[..., None], fov_horizontal[..., None]], dim=-1)


def decode_pose(
    pose_enc: Float[Tensor, "*batch 9"], image_size: tuple[int, int]
) -> tuple[Float[Tensor, "*batch 3 4"], Float[Tensor, "*batch 3 3"]]:
    """Extrinsics (camera-from-world) and intrinsics (pixels, centred) of an encoding; the quaternion is normalised."""
    height, width = image_size
    extrinsics = torch.cat([quaternion_to_matrix(pose_enc[..., 3:7]), pose_enc[..., :3, None]], dim=-1)
    focal_y = height / 2 / torch.tan(pose_enc[..., 7] / 2)
    focal_x = width / 2 / torch.tan(pose_enc[..., 8] / 2)
    return extrinsics, pinhole(focal_x, focal_y, width / 2, height / 2)


def pinhole(focal_x: Float[Tensor, "*batch"], focal_y: Float[Tensor, "*batch"], x: float, y: float) -> Tensor:
    """Intrinsics [..., 3, 3] from focal lengths and a principal point, all in pixels."""
    zero, one = torch.zeros_like(focal_x), torch.ones_like(focal_x)
    rows = [[focal_x, zero, x * one], [zero, focal_y, y * one], [zero, zero, one]]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
