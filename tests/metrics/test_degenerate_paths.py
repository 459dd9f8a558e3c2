"""Pose and trajectory metrics on paths without a shape: a defined result, or an error that says why there is none."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fgq.errors import FgqError
from fgq.metrics.pose import auc, pair_errors, recall
from fgq.metrics.table import AUC_THRESHOLDS
from fgq.metrics.trajectory import trajectory_errors

FRAMES = 8


def path(seed=0, frames=FRAMES):
    """Camera-from-world [frames, 3, 4], the first at the origin."""
    generator = np.random.default_rng(seed)
    rotation = Rotation.from_rotvec(generator.normal(0, 0.4, (frames, 3))).as_matrix()
    motion = np.concatenate([rotation, generator.normal(0, 1, (frames, 3, 1))], axis=2)
    motion[0] = np.eye(3, 4)
    return torch.from_numpy(motion)


def constant(frames=FRAMES):
    return torch.eye(3, 4, dtype=torch.float64).expand(frames, 3, 4).clone()


def mirrored(extrinsics, axis=0):
    """The path of a world that is mirrored along an axis: R → M R M, t → M t; again rotations."""
    mirror = torch.ones(3, dtype=torch.float64)
    mirror[axis] = -1
    return torch.cat([mirror[:, None] * extrinsics[..., :3] * mirror, (mirror * extrinsics[..., 3])[..., None]], dim=-1)


def centres(extrinsics):
    return -(extrinsics[..., :3].transpose(-2, -1) @ extrinsics[..., 3:])[..., 0]


def test_an_identical_path_is_perfect():
    truth = path()
    rotation, translation = pair_errors(truth, truth.clone())
    assert rotation.max() < 1e-6 and translation.max() < 1e-6
    assert all(auc(rotation, translation, limit).item() == 100 for limit in AUC_THRESHOLDS)
    assert recall(rotation).item() == recall(translation).item() == 100
    assert max(trajectory_errors(truth, truth.clone()).values()) < 1e-6


def test_an_identical_path_in_other_units_and_axes_is_perfect():
    truth = path()
    turn = torch.from_numpy(Rotation.from_rotvec([0.3, -1.0, 2.0]).as_matrix())
    moved = torch.cat(
        [truth[..., :3] @ turn, 7 * (truth[..., 3:] + truth[..., :3] @ torch.ones(3, 1).double())], dim=-1
    )
    errors = trajectory_errors(moved, truth)
    assert errors["ate"] < 1e-6 and errors["rpe_translation"] < 1e-6 and errors["rpe_rotation"] < 1e-4
    rotation, translation = pair_errors(moved, truth)
    assert rotation.max() < 1e-4 and translation.max() < 1e-4


def test_a_mirrored_path_is_not_repaired_by_the_alignment():
    """A similarity has no mirror: of all rotations and scales none brings the mirrored centres back."""
    truth = path()
    wrong = mirrored(truth)
    assert torch.allclose(torch.linalg.det(wrong[..., :3]), torch.ones(FRAMES, dtype=torch.float64))
    errors = trajectory_errors(wrong, truth)
    assert all(math.isfinite(value) for value in errors.values())
    assert errors["ate"] == pytest.approx(least_ate(centres(wrong).numpy(), centres(truth).numpy()), rel=1e-3)
    rotation, translation = pair_errors(wrong, truth)
    relative = [
        (a[..., :3] @ b[..., :3].T, c[..., :3] @ d[..., :3].T)
        for a, b, c, d in (
            (wrong[i], wrong[j], truth[i], truth[j]) for i in range(FRAMES) for j in range(i + 1, FRAMES)
        )
    ]
    expected = [Rotation.from_matrix((p.T @ q).numpy()).magnitude() for p, q in relative]
    np.testing.assert_allclose(rotation.numpy(), np.rad2deg(expected), atol=1e-6)
    assert auc(rotation, translation, 3).item() < 50 and translation.max() <= 90


def least_ate(mine, truth):
    """Smallest RMSE over rotations and scales of centred points, by search from many starts."""
    from scipy.optimize import minimize

    mine, truth = mine - mine.mean(0), truth - truth.mean(0)

    def mean_square(values):
        turned = np.exp(values[3]) * mine @ Rotation.from_rotvec(values[:3]).as_matrix().T
        return ((turned - truth) ** 2).sum(1).mean()

    starts = [np.append(Rotation.random(random_state=seed).as_rotvec(), 0.0) for seed in range(30)]
    return min(minimize(mean_square, start).fun for start in starts) ** 0.5


def test_a_constant_prediction_has_a_direction_error_of_90_and_no_alignment():
    truth = path()
    rotation, translation = pair_errors(constant(), truth)
    assert torch.allclose(translation, torch.full_like(translation, 90))
    angles = [Rotation.from_matrix((truth[i, :, :3] @ truth[j, :, :3].T).numpy()).magnitude()
              for i in range(FRAMES) for j in range(i + 1, FRAMES)]  # fmt: skip
    np.testing.assert_allclose(rotation.numpy(), np.rad2deg(angles), atol=1e-6)
    assert all(auc(rotation, translation, limit).item() == 0 for limit in AUC_THRESHOLDS)
    with pytest.raises(FgqError, match="cannot be aligned"):
        trajectory_errors(constant(), truth)


def test_a_constant_truth_cannot_be_moved_to():
    rotation, translation = pair_errors(path(), constant())
    assert torch.allclose(translation, torch.full_like(translation, 90)) and torch.isfinite(rotation).all()
    with pytest.raises(FgqError, match="cannot be aligned"):
        trajectory_errors(path(), constant())


def test_two_constant_paths_agree_in_pose_and_have_no_scale():
    rotation, translation = pair_errors(constant(), constant())
    assert rotation.max() == 0 and translation.max() == 0
    with pytest.raises(FgqError, match="cannot be aligned"):
        trajectory_errors(constant(), constant())


def test_one_frame_is_a_clear_error():
    with pytest.raises(FgqError, match="at least 2 frames a scene, got 1"):
        pair_errors(path(frames=1), path(frames=1))
    with pytest.raises(FgqError, match="at least 3 frames to be aligned, got 1"):
        trajectory_errors(path(frames=1), path(frames=1))


def test_a_straight_path_is_refused_because_the_turn_about_it_is_free():
    truth = constant()
    truth[:, 0, 3] = torch.arange(FRAMES, dtype=torch.float64)
    longer = truth.clone()
    longer[:, :, 3] *= 3
    with pytest.raises(FgqError, match="cannot be aligned"):
        trajectory_errors(longer, truth)
    rotation, translation = pair_errors(longer, truth)
    assert rotation.max() == 0 and translation.max() < 1e-6
