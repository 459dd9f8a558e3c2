"""Cameras read from files: checked, in OpenCV axes, camera-from-world, pixels counted from the image's corner."""

from pathlib import Path

import numpy as np

from fgq.data.sequence import fault

ROTATION_TOLERANCE = 1e-3  # of entries of R Rᵀ: text files round, a wrong matrix is further off
INTEGER_CENTRES = 0.5  # what to add to a principal point of a calibration whose first pixel's centre is at (0, 0)


def rigid(matrix: np.ndarray, where: str | Path) -> np.ndarray:
    """A rigid motion [R|t], [3, 4], its rotation brought to the nearest exact one (singular value decomposition).

    Raises SequenceError that begins with `where` when the left part is no rotation, or a fourth row not 0 0 0 1.
    """
    if len(matrix) == 4 and np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise fault(where, "the last row of the camera's matrix is not 0 0 0 1")
    left = matrix[:3, :3]
    if not np.isfinite(matrix).all():
        raise fault(where, "the camera holds NaN or infinity")
    off = np.abs(left @ left.T - np.eye(3)).max()
    if off > ROTATION_TOLERANCE:
        raise fault(where, f"the camera's axes are not a rotation (R Rᵀ is off by {off:.2g})")
    if np.linalg.det(left) < 0:
        raise fault(where, "the camera's axes are mirrored, not rotated")
    u, _, v = np.linalg.svd(left)
    return np.concatenate([u @ v, matrix[:3, 3:4]], axis=1)


def inverse(motion: np.ndarray) -> np.ndarray:
    """World-from-camera of camera-from-world, and back: [3, 4]."""
    rotation = motion[:, :3].T
    return np.concatenate([rotation, -rotation @ motion[:, 3:]], axis=1)


def pinhole(focal_x: float, focal_y: float, x: float, y: float, where: str | Path) -> np.ndarray:
    """Intrinsics [3, 3] from focal lengths and principal point, pixels. Raises SequenceError for a focal length ≤ 0."""
    values = np.array([focal_x, focal_y, x, y], dtype=np.float64)
    if not np.isfinite(values).all() or min(focal_x, focal_y) <= 0:
        raise fault(where, f"focal lengths must be positive numbers, got {focal_x} and {focal_y}")
    return np.array([[focal_x, 0, x], [0, focal_y, y], [0, 0, 1]], dtype=np.float64)


def upper_triangular(matrix: np.ndarray, where: str | Path) -> np.ndarray:
    """Intrinsics given as a matrix [3, 3]. Raises SequenceError when it is not that of a pinhole without skew."""
    rest = matrix[[0, 1, 2, 2], [1, 0, 0, 1]]
    if np.abs(rest).max() > 1e-6 or abs(matrix[2, 2] - 1) > 1e-6:
        raise fault(where, "the intrinsics are not those of a pinhole camera without skew")
    return pinhole(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], where)


def shifted(intrinsics: np.ndarray, offset: float) -> np.ndarray:
    """Intrinsics after the origin of pixels moved by `offset` along both axes."""
    return intrinsics + offset * np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0]])


def relative(extrinsics: list[np.ndarray]) -> np.ndarray:
    """Cameras [S, 3, 4] seen from the first one, in double precision: worlds may lie far from their cameras."""
    rotation, origin = extrinsics[0][:, :3], extrinsics[0][:, 3:]
    moved = [np.concatenate([e[:, :3] @ rotation.T, e[:, 3:] - e[:, :3] @ rotation.T @ origin], 1) for e in extrinsics]
    moved[0] = np.eye(3, 4)
    return np.stack(moved)
