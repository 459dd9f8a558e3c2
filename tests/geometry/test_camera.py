import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from fgq.geometry import (
    compose_extrinsics,
    decode_pose,
    encode_pose,
    invert_extrinsics,
    matrix_to_quaternion,
    pinhole,
    project,
    quaternion_to_matrix,
    relative_to_first,
    unproject,
)


def random_extrinsics(count: int, seed: int = 0) -> torch.Tensor:
    rotation = torch.from_numpy(Rotation.random(count, rng=seed).as_matrix())
    translation = torch.randn(count, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.cat([rotation, translation], dim=-1)


def test_quaternions_agree_with_scipy():
    rotations = Rotation.random(500, rng=1)
    theirs = torch.from_numpy(rotations.as_quat(canonical=True))
    assert torch.allclose(matrix_to_quaternion(torch.from_numpy(rotations.as_matrix())), theirs, atol=1e-12)
    scaled = theirs * torch.linspace(-3, 3, 500, dtype=torch.float64)[:, None].sign() * 2.5
    assert torch.allclose(quaternion_to_matrix(scaled), torch.from_numpy(rotations.as_matrix()), atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_have_a_quaternion(axis):
    quaternion = torch.zeros(4, dtype=torch.float64)
    quaternion[axis] = 1
    assert torch.allclose(matrix_to_quaternion(quaternion_to_matrix(quaternion)), quaternion)


def test_inverse_and_composition_agree_with_homogeneous_matrices():
    a, b = random_extrinsics(20, 2), random_extrinsics(20, 3)
    bottom = torch.tensor([0.0, 0, 0, 1], dtype=torch.float64).expand(20, 1, 4)
    full_a, full_b = torch.cat([a, bottom], 1), torch.cat([b, bottom], 1)
    assert torch.allclose(compose_extrinsics(a, b), (full_a @ full_b)[:, :3], atol=1e-12)
    assert torch.allclose(invert_extrinsics(a), torch.linalg.inv(full_a)[:, :3], atol=1e-12)
    first = relative_to_first(a)
    assert torch.allclose(first[0], torch.eye(3, 4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(first[7], (full_a[7] @ torch.linalg.inv(full_a[0]))[:3], atol=1e-12)


def test_pose_encoding_round_trip_and_field_of_view():
    extrinsics = random_extrinsics(50, 4)
    focal = torch.linspace(30, 90, 50, dtype=torch.float64)
    intrinsics = pinhole(focal, 1.1 * focal, 40.0, 32.0)
    encoded = encode_pose(extrinsics, intrinsics, (64, 80))
    assert encoded[0, 7].item() == pytest.approx(2 * math.atan(32 / 33))
    assert encoded[0, 8].item() == pytest.approx(2 * math.atan(40 / 30))
    decoded_extrinsics, decoded_intrinsics = decode_pose(encoded, (64, 80))
    assert torch.allclose(decoded_extrinsics, extrinsics, atol=1e-10)
    assert torch.allclose(decoded_intrinsics, intrinsics, atol=1e-9)


def test_projection_undoes_unprojection():
    extrinsics = random_extrinsics(5, 5)
    intrinsics = pinhole(torch.full((5,), 50.0).double(), torch.full((5,), 45.0).double(), 20.0, 16.0)
    depth = torch.rand(5, 32, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(6)) + 0.5
    pixels, seen = project(unproject(depth, extrinsics, intrinsics), extrinsics, intrinsics)
    assert torch.allclose(seen, depth, atol=1e-10)
    x = torch.arange(40, dtype=torch.float64) + 0.5
    y = torch.arange(32, dtype=torch.float64) + 0.5
    assert torch.allclose(pixels[..., 0], x.expand(5, 32, 40), atol=1e-9)
    assert torch.allclose(pixels[..., 1], y[:, None].expand(5, 32, 40), atol=1e-9)
