"""Figures show what they are given: read back from the drawn objects."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

import fgq
from fgq import plots
from fgq.fisher import FisherTable
from fgq.geometry import encode_pose
from fgq.vggt import TASKS, Predictions


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def scene():
    return fgq.load_scenes("playroom", split="test", count=1, frames=3, size=16)[0]


@pytest.fixture
def truth(scene):
    """Predictions that are right."""
    sure = torch.ones_like(scene.depth)[None]
    return Predictions(
        pose_enc=encode_pose(scene.extrinsics, scene.intrinsics, (16, 16))[None],
        depth=scene.depth[None, ..., None],
        depth_conf=sure,
        world_points=scene.points[None],
        world_points_conf=sure,
    )


def test_the_top_view_draws_points_and_cameras_where_they_are(scene, truth):
    axes = plots.show_top_view(scene, {"predicted": truth}).axes
    assert [axis.get_title() for axis in axes] == ["true", "predicted"]
    flat = scene.points.reshape(-1, 3)[:, [0, 2]].numpy()
    for axis in axes:
        dots, arrows = axis.collections
        np.testing.assert_allclose(dots.get_offsets(), flat, rtol=1e-5)
        places = arrows.XY
        centres = -(scene.extrinsics[:, :, :3].transpose(1, 2) @ scene.extrinsics[:, :, 3:])[..., 0]
        np.testing.assert_allclose(places, centres[:, [0, 2]], atol=1e-4)
        assert [text.get_text() for text in axis.texts] == ["0", "1", "2"]


def test_depth_errors_of_the_truth_are_drawn_black(scene, truth):
    axes = plots.show_depth(scene, truth).axes
    errors = [axis.images[0].get_array() for axis in axes[9:12]]
    assert all(np.abs(error).max() < 1e-6 for error in errors)


def test_the_training_curve_is_that_of_the_shipped_model():
    curve = plots.training_curve()
    assert curve.step.is_monotonic_increasing and set(curve.frames) == {2, 4}
    axes = plots.show_training_curve().axes
    np.testing.assert_allclose(axes[1].lines[0].get_ydata(), curve.auc30)


def test_the_fisher_map_sorts_the_channels_of_each_block():
    values = torch.rand(3, 2, 5, generator=torch.Generator().manual_seed(0)) + 0.1
    table = FisherTable(values, TASKS, ("F0", "G0"), "sum_of_outputs")
    shown = plots.show_fisher(table).axes[0].collections[0].get_array().reshape(2, 5)
    expected = np.log10(np.sort(values[0].numpy(), axis=1)[:, ::-1] / values[0].mean().item())
    np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-5)


def test_bars_of_deviation_have_the_height_of_the_mean_and_the_reach_of_the_interval():
    rows = [
        {"recipe": recipe, "metric": metric, "mean": mean, "low": mean - 1, "high": mean + 2}
        for metric in plots.DEVIATION_LABELS
        for recipe, mean in (("rtn", 5.0), ("fgq", 3.0))
    ]
    for axis in plots.show_deviations(pd.DataFrame(rows), "a title").axes:
        assert [bar.get_height() for bar in axis.patches] == [5.0, 3.0]
        reach = axis.containers[0].lines[2][0].get_segments()
        np.testing.assert_allclose([segment[:, 1] for segment in reach], [[4, 7], [2, 5]])


def test_a_verdict_needs_an_interval_on_one_side_of_zero():
    rows = pd.DataFrame(
        {"metric": ["a", "b", "c"], "difference": [1.23456, 0, 0], "better": [1, 0, 0], "worse": [0, 1, 0]}
    )
    html = plots.show_comparison(rows, ["metric", "difference"], digits=2).to_html()
    assert re.findall(r"<td[^>]*>(.*?)</td>", html) == [
        "a",
        "1.23",
        "better",
        "b",
        "0.00",
        "worse",
        "c",
        "0.00",
        "unclear",
    ]
