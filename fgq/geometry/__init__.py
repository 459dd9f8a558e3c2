"""Cameras, rotations, pose encoding, alignment."""

from fgq.geometry.camera import (
    compose_extrinsics,
    invert_extrinsics,
    pixel_rays,
    project,
    relative_to_first,
    transform_points,
    unproject,
)
from fgq.geometry.pose_encoding import decode_pose, encode_pose, pinhole
from fgq.geometry.rotation import matrix_to_quaternion, quaternion_to_matrix

__all__ = [
    "compose_extrinsics",
    "decode_pose",
    "encode_pose",
    "invert_extrinsics",
    "matrix_to_quaternion",
    "pinhole",
    "pixel_rays",
    "project",
    "quaternion_to_matrix",
    "relative_to_first",
    "transform_points",
    "unproject",
]
