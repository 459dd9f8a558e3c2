"""Sparsification against curves that can be written down, and against removing pixels one by one."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from fgq.data import playroom
from fgq.errors import FgqError
from fgq.geometry import encode_pose
from fgq.metrics.confidence import sparsification
from fgq.metrics.measure import depth_error_maps, depth_sparsification, measure, point_sparsification
from fgq.vggt import Predictions

UNIFORM = np.random.default_rng(0).permutation((np.arange(1000) + 0.5) / 1000)


def test_a_perfect_confidence_has_no_area():
    found = sparsification(-UNIFORM, UNIFORM)
    assert found.ause == 0
    np.testing.assert_allclose(
        found.by_confidence, found.kept
    )  # of errors uniform from zero, the least k have mean k/2
    assert sparsification(1 / UNIFORM**3, UNIFORM).ause == 0  # only the order counts


def test_a_constant_confidence_has_a_flat_curve_and_half_the_square():
    found = sparsification(np.full(1000, 3.0), UNIFORM)
    np.testing.assert_allclose(found.by_confidence, 1)
    assert found.ause == pytest.approx(1 / 2, abs=1e-3)


def test_a_reversed_confidence_has_the_whole_square():
    """The largest k of n have the mean 1 - k/2: the curve is 2 - k, the oracle's k."""
    assert sparsification(UNIFORM, UNIFORM).ause == pytest.approx(1, abs=2e-3)


def test_the_curve_is_that_of_removing_pixels_one_by_one():
    generator = np.random.default_rng(1)
    confidence, error = generator.permutation(60).astype(float), generator.exponential(1, 60)
    found = sparsification(confidence, error)
    left, means = list(range(60)), []
    while left:
        means.append(np.mean([error[i] for i in left]) / error.mean())
        left.remove(min(left, key=lambda i: confidence[i]))
    np.testing.assert_allclose(found.by_confidence, means[::-1])
    np.testing.assert_allclose(found.kept, np.arange(1, 61) / 60)


def test_pixels_of_one_confidence_stand_for_all_their_orders():
    confidence, error = np.array([1.0, 2, 2, 2, 3]), np.array([4.0, 1, 2, 6, 3])
    curves = []
    for order in itertools.permutations([0.1, 0.2, 0.3]):
        curves.append(sparsification(confidence + [0, *order, 0], error).by_confidence)
    np.testing.assert_allclose(sparsification(confidence, error).by_confidence, np.mean(curves, axis=0))


def test_where_nothing_is_wrong_no_order_is_better():
    assert sparsification(np.arange(5.0), np.zeros(5)).ause == 0


def test_what_cannot_be_ordered_is_said():
    with pytest.raises(FgqError, match="no pixel"):
        sparsification(np.zeros(0), np.zeros(0))
    with pytest.raises(FgqError, match="NaN"):
        sparsification(np.array([1.0, np.nan]), np.ones(2))


@pytest.fixture(scope="module")
def scene():
    return playroom.load("test", count=1, frames=2, size=24)[0]


def predicted(scene, depth_factor, shift, depth_confidence, point_confidence):
    return Predictions(
        pose_enc=encode_pose(scene.extrinsics, scene.intrinsics, (24, 24))[None],
        depth=(scene.depth * depth_factor)[None, ..., None],
        depth_conf=depth_confidence[None],
        world_points=(scene.points + shift)[None],
        world_points_conf=point_confidence[None],
    )


def test_a_model_that_knows_its_errors_scores_zero_in_both(scene):
    generator = torch.Generator().manual_seed(0)
    factor = torch.exp(0.1 * torch.randn(scene.depth.shape, generator=generator))
    shift = 0.2 * torch.randn(scene.points.shape, generator=generator)
    flat = torch.ones_like(scene.depth)
    blind = predicted(scene, factor, shift, flat, flat)
    median = (scene.depth * factor).median() / scene.depth.median()
    depth_error = (factor / median - 1).abs()
    knowing = dataclasses.replace(blind, depth_conf=1 + torch.exp(-20 * depth_error)[None])
    assert depth_sparsification(knowing, scene).ause == pytest.approx(0, abs=1e-3)
    assert depth_sparsification(blind, scene).ause > 0.3
    values = measure(blind, scene)
    assert values["confidence_depth_ause"] == pytest.approx(depth_sparsification(blind, scene).ause)
    assert values["confidence_points_ause"] == pytest.approx(point_sparsification(blind, scene).ause)
    ordered = shift.norm(dim=-1)  # the similarity hardly moves what is right on average
    knowing = dataclasses.replace(blind, world_points_conf=1 + torch.exp(-ordered)[None])
    assert point_sparsification(knowing, scene).ause < 0.1 * point_sparsification(blind, scene).ause


def test_pixels_without_truth_do_not_count(scene):
    generator = torch.Generator().manual_seed(1)
    valid = torch.rand(scene.depth.shape, generator=generator) < 0.5
    factor = torch.exp(0.1 * torch.randn(scene.depth.shape, generator=generator))
    wild = torch.where(valid, factor, torch.full_like(factor, 50.0))
    confidence = 1 + torch.rand(scene.depth.shape, generator=generator)
    partly = dataclasses.replace(scene, valid=valid)
    one, other = (
        depth_sparsification(predicted(scene, f, 0.0, confidence, confidence), partly).ause for f in (factor, wild)
    )
    assert one == other
    blind = dataclasses.replace(scene, depth=None)
    note = measure(predicted(scene, factor, 0.0, confidence, confidence), blind)["confidence_depth_ause"]
    assert "no true depth" in note.reason


def test_the_maps_average_to_the_metric_and_leave_out_what_is_invalid(scene):
    generator = torch.Generator().manual_seed(2)
    factor, sure = torch.exp(0.2 * torch.randn(scene.depth.shape, generator=generator)), torch.ones_like(scene.depth)
    partly = dataclasses.replace(scene, valid=torch.rand(scene.depth.shape, generator=generator) < 0.7)
    answer = predicted(scene, factor, 0.0, sure, sure)
    found = depth_error_maps(answer, partly)
    assert found.nanmean().item() == pytest.approx(measure(answer, partly)["depth_abs_rel"], rel=1e-6)
    assert (found.isnan() == ~partly.valid).all()
