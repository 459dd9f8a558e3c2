import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fgq.errors import FgqError
from fgq.evaluation.depth import depth_errors
from fgq.evaluation.points import aligned_clouds, cloud_errors, mean_point_error
from fgq.evaluation.pose import AUC_THRESHOLDS, auc, direction_angle, pair_errors, recall, rotation_angle
from fgq.evaluation.trajectory import trajectory_errors
from fgq.geometry.alignment import align_similarity

POSES = ("pose0", "pose1", "pose2")


@pytest.fixture
def poses(golden_metrics):
    data, expected = golden_metrics
    return {name: (data[f"{name}.pred_w2c"][:, :3], data[f"{name}.gt_w2c"][:, :3], expected[name]) for name in POSES}


def test_pair_errors_agree_with_the_reference(poses, golden_metrics):
    data, _ = golden_metrics
    for name, (predicted, truth, _) in poses.items():
        rotation, translation = pair_errors(predicted, truth)
        assert torch.allclose(rotation, data[f"{name}.rotation_error_deg"], rtol=1e-6, atol=1e-6)
        assert torch.allclose(translation, data[f"{name}.translation_error_deg"], rtol=1e-6, atol=1e-6)


def test_pose_scores_agree_with_the_reference(poses):
    for predicted, truth, expected in poses.values():
        rotation, translation = pair_errors(predicted, truth)
        for threshold in AUC_THRESHOLDS:
            assert auc(rotation, translation, threshold).item() == pytest.approx(expected[f"AUC@{threshold}"], abs=1e-9)
        assert recall(rotation).item() == pytest.approx(expected["RRA@30"])
        assert recall(translation).item() == pytest.approx(expected["RTA@30"])


def test_auc_is_the_cumulated_histogram():
    generator = torch.Generator().manual_seed(0)
    rotation, translation = 40 * torch.rand(2, 500, generator=generator, dtype=torch.float64)
    rotation[:3] = torch.tensor([5.0, 30.0, 0.0])  # on the edges of bins
    translation[:3] = 0
    worst = torch.maximum(rotation, translation).numpy()
    for threshold in AUC_THRESHOLDS:
        counts, _ = np.histogram(worst, bins=np.arange(threshold + 1))
        expected = 100 * np.mean(np.cumsum(counts) / len(worst))
        assert auc(rotation, translation, threshold).item() == pytest.approx(expected)


def test_trajectories_agree_with_the_reference(poses):
    for predicted, truth, expected in poses.values():
        errors = trajectory_errors(predicted, truth)
        assert errors["ate"] == pytest.approx(expected["ATE"], rel=1e-6)
        assert errors["rpe_translation"] == pytest.approx(expected["RPE trans"], rel=1e-6)
        assert errors["rpe_rotation_deg"] == pytest.approx(expected["RPE rot (deg)"], rel=1e-6)


def test_angles_of_known_motions():
    turns = torch.from_numpy(Rotation.from_rotvec([[0, 0, a] for a in (1e-7, 0.5, math.pi)]).as_matrix())
    angles = rotation_angle(turns, torch.eye(3, dtype=torch.float64).expand(3, 3, 3))
    assert torch.allclose(angles, torch.rad2deg(torch.tensor([1e-7, 0.5, math.pi], dtype=torch.float64)), rtol=1e-6)
    x, y, none = torch.eye(3)[0], torch.eye(3)[1], torch.zeros(3)
    assert direction_angle(x, -3 * x).item() == 0  # the sign of a direction does not count
    assert direction_angle(x, y).item() == pytest.approx(90)
    assert direction_angle(none, none).item() == 0 and direction_angle(x, none).item() == 90


def test_pose_errors_ignore_the_world_and_its_scale(poses):
    predicted, truth, _ = poses["pose1"]
    turn = torch.from_numpy(Rotation.random(rng=3).as_matrix())
    moved = torch.cat(
        [predicted[..., :3] @ turn, predicted[..., :3] @ torch.ones(3, 1).double() + predicted[..., 3:]], -1
    )
    moved = torch.cat([moved[..., :3], 7 * moved[..., 3:]], -1)
    for a, b in zip(pair_errors(moved, truth), pair_errors(predicted, truth), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_too_few_frames_are_said(poses):
    predicted, truth, _ = poses["pose0"]
    with pytest.raises(FgqError, match="at least 2 frames"):
        pair_errors(predicted[:1], truth[:1])
    with pytest.raises(FgqError, match="at least 3 frames"):
        trajectory_errors(predicted[:2], truth[:2])


def test_depth_errors_of_known_predictions():
    truth = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    valid = torch.ones_like(truth, dtype=torch.bool)
    exact = depth_errors(3.7 * truth, truth, valid)  # one scale is free
    assert exact["abs_rel"] == pytest.approx(0, abs=1e-7) and exact["delta1"] == 1
    off = depth_errors(torch.tensor([[1.5, 2.0], [4.0, 6.0]]), truth, valid)  # both lower medians are 2
    assert off["abs_rel"] == pytest.approx((0.5 + 0 + 0 + 0.25) / 4)
    assert off["sq_rel"] == pytest.approx((0.25 + 4 / 8) / 4)
    assert off["rmse"] == pytest.approx(((0.25 + 4) / 4) ** 0.5)
    assert off["delta1"] == 0.5
    valid[0, 0] = False
    assert depth_errors(torch.tensor([[99.0, 2.0], [4.0, 8.0]]), truth, valid)["abs_rel"] == pytest.approx(0)
    with pytest.raises(FgqError, match="no pixel"):
        depth_errors(truth, truth, torch.zeros_like(valid))
    with pytest.raises(FgqError, match="positive"):
        depth_errors(-truth, truth, torch.ones_like(valid))


def test_clouds_agree_with_the_reference(golden_metrics):
    data, expected = golden_metrics
    for name in ("points0", "points1"):
        predicted, truth = data[f"{name}.pred"], data[f"{name}.gt"]
        aligned = align_similarity(predicted, truth).apply(predicted).numpy()
        normals = data[f"{name}.pred_normals"].numpy(), data[f"{name}.gt_normals"].numpy()
        for measure, value in cloud_errors(aligned, truth.numpy(), *normals).items():
            assert value == pytest.approx(expected[name][measure], rel=1e-6), measure


def test_a_moved_cloud_has_no_error_and_a_thickened_one_has_its_thickness():
    generator = torch.Generator().manual_seed(2)
    truth = torch.rand(3000, 3, generator=generator, dtype=torch.float64) * 2
    turn = torch.from_numpy(Rotation.random(rng=4).as_matrix())
    moved = 0.4 * truth @ turn.T + 5
    assert mean_point_error(moved, truth) == pytest.approx(0, abs=1e-9)
    assert cloud_errors(*aligned_clouds(moved, truth, 1000, 0.1))["acc_mean"] == pytest.approx(0, abs=1e-6)
    noise = 0.01 * torch.nn.functional.normalize(torch.randn(3000, 3, generator=generator, dtype=torch.float64), dim=-1)
    expected = 0.01 / truth.norm(dim=-1).mean().item()
    assert mean_point_error(truth + noise, truth) == pytest.approx(expected, rel=0.02)
