import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fgq.errors import FgqError
from fgq.metrics.depth import depth_errors, scale_and_shift_to
from fgq.metrics.pose import auc, direction_angle, pair_errors, recall, rotation_angle
from fgq.metrics.table import AUC_THRESHOLDS
from fgq.metrics.trajectory import trajectory_errors

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
        assert errors["rpe_rotation"] == pytest.approx(expected["RPE rot (deg)"], rel=1e-6)


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


def test_a_true_depth_of_zero_is_refused_where_it_counts():
    truth = torch.tensor([[0.0, 2.0], [4.0, 8.0]])
    with pytest.raises(FgqError, match="1 valid pixels.*mark them invalid"):
        depth_errors(truth + 1, truth, torch.ones_like(truth, dtype=torch.bool))
    assert depth_errors(truth, truth, truth > 0)["rmse"] == 0


def test_frames_of_different_scales_are_an_error_although_each_alone_is_perfect():
    truth = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0)) + 1
    valid = torch.ones_like(truth, dtype=torch.bool)
    uneven = truth * torch.tensor([1.0, 1.5])[:, None, None]
    assert all(depth_errors(uneven[i], truth[i], valid[i])["abs_rel"] < 1e-6 for i in range(2))
    assert depth_errors(uneven, truth, valid)["abs_rel"] > 0.1


def test_a_path_that_stands_still_cannot_be_aligned(poses):
    predicted, truth, _ = poses["pose0"]
    still = predicted[:1].expand_as(predicted)
    with pytest.raises(FgqError, match="cannot be aligned"):
        trajectory_errors(still, truth)
    rotation, translation = pair_errors(still, truth)
    assert torch.isfinite(rotation).all() and (translation == 90).all()  # no direction is no hit


def test_a_scale_and_a_shift_are_free_in_affine_depth():
    truth = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    valid = torch.ones_like(truth, dtype=torch.bool)
    exact = depth_errors(0.3 * truth + 7, truth, valid, scale_and_shift_to)
    assert exact["rmse"] == pytest.approx(0, abs=1e-12) and exact["delta1"] == 1
    assert depth_errors(0.3 * truth + 7, truth, valid)["rmse"] > 0.1


def test_the_affine_fit_is_that_of_least_squares():
    generator = torch.Generator().manual_seed(1)
    truth = torch.rand(40, generator=generator, dtype=torch.float64) + 1
    predicted = truth + 0.2 * torch.randn(40, generator=generator, dtype=torch.float64)
    design = np.stack([predicted, np.ones(40)], axis=1)
    fitted = design @ np.linalg.lstsq(design, truth.numpy(), rcond=None)[0]
    found = depth_errors(predicted, truth, torch.ones(40, dtype=torch.bool), scale_and_shift_to)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((fitted - truth.numpy()) ** 2)))
    assert found["abs_rel"] == pytest.approx(np.mean(np.abs(fitted - truth.numpy()) / truth.numpy()))


@pytest.mark.parametrize("predicted", [torch.full((4,), 2.0), torch.tensor([8.0, 4, 2, 1])])
def test_near_and_far_the_wrong_way_round_is_as_good_as_a_constant(predicted):
    truth = torch.tensor([1.0, 2, 4, 8])
    found = depth_errors(predicted, truth, torch.ones(4, dtype=torch.bool), scale_and_shift_to)
    assert found["rmse"] == pytest.approx(truth.double().std(correction=0).item())
    with pytest.raises(FgqError, match="no pixel"):
        depth_errors(predicted, truth, torch.zeros(4, dtype=torch.bool), scale_and_shift_to)
