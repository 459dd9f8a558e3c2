import math

import pytest
import torch

from fgq.data.playroom import load
from fgq.geometry import encode_pose
from fgq.training import validate as module
from fgq.training.validate import validate
from fgq.vggt import Predictions


def answers(change):
    """Stands for `predict`: the truth of every scene after `change(extrinsics, depth, points)`."""

    def predict(model, scenes, **_):
        found = []
        for scene in scenes:
            extrinsics, depth, points = change(scene.extrinsics.clone(), scene.depth, scene.points)
            sure = torch.ones_like(scene.depth)[None]
            found.append(
                Predictions(
                    pose_enc=encode_pose(extrinsics, scene.intrinsics, scene.images.shape[-2:])[None],
                    depth=depth[None, ..., None],
                    depth_conf=sure,
                    world_points=points[None],
                    world_points_conf=sure,
                )
            )
        return found

    return predict


def test_the_truth_has_no_error(monkeypatch):
    monkeypatch.setattr(module, "predict", answers(lambda *truth: truth))
    found = validate(None, 2, 3)
    assert found["auc30"] == 100
    assert found["rotation_median_deg"] < 0.01 and found["translation_median_deg"] < 0.01
    assert found["abs_rel"] < 1e-6 and found["point_error"] < 1e-6


def test_known_errors_are_found(monkeypatch):
    angle = math.radians(7.5)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1.0]])

    def spoil(extrinsics, depth, points):
        extrinsics[1:] = turn @ extrinsics[1:]  # every camera but the first is turned about its own axis
        return extrinsics, depth, 1.25 * points

    monkeypatch.setattr(module, "predict", answers(spoil))
    found = validate(None, 2, 2)
    assert found["rotation_median_deg"] == pytest.approx(7.5, abs=0.01)
    assert found["auc30"] == pytest.approx(100 * 23 / 30)  # below 8°, 9°, …, 30°
    assert found["point_error"] == pytest.approx(0.25, abs=1e-5)  # no alignment forgives a scale


def test_depth_is_compared_up_to_one_scale_a_scene(monkeypatch):
    monkeypatch.setattr(module, "predict", answers(lambda e, d, p: (e, 3 * d, p)))
    assert validate(None, 2, 2)["abs_rel"] < 1e-6
    uneven = torch.tensor([1.0, 1.0, 1.5])[:, None, None]  # one frame of three in another scale than the others
    monkeypatch.setattr(module, "predict", answers(lambda e, d, p: (e, uneven * d, p)))
    by_hand = []
    for scene in load("validation", 2, 3):
        guess = uneven * scene.depth
        guess = guess * scene.depth.median() / guess.median()
        by_hand.append(((guess - scene.depth).abs() / scene.depth).mean().item())
    assert validate(None, 2, 3)["abs_rel"] == pytest.approx(sum(by_hand) / 2, rel=1e-5)
