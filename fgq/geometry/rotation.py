"""Rotations as matrices and as unit quaternions in xyzw order."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def quaternion_to_matrix(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a quaternion xyzw of any positive length."""
    x, y, z, w = functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrix_to_quaternion(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion xyzw with w ≥ 0.

    Each row of the table is the quaternion times twice one of its entries; the row with the largest entry is the
    one that does not divide by a small number.
    """
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    yx, zx, zy = m[..., 1, 0] + m[..., 0, 1], m[..., 2, 0] + m[..., 0, 2], m[..., 2, 1] + m[..., 1, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    table = torch.stack(
        [
            torch.stack([1 + xx - yy - zz, yx, zx, wx], dim=-1),
            torch.stack([yx, 1 - xx + yy - zz, zy, wy], dim=-1),
            torch.stack([zx, zy, 1 - xx - yy + zz, wz], dim=-1),
            torch.stack([wx, wy, wz, 1 + xx + yy + zz], dim=-1),
        ],
        dim=-2,
    )
    best = torch.diagonal(table, dim1=-2, dim2=-1).argmax(dim=-1)
    row = torch.gather(table, -2, best[..., None, None].expand(*best.shape, 1, 4))[..., 0, :]
    unit = functional.normalize(row, dim=-1)
    return torch.where(unit[..., 3:] < 0, -unit, unit)
