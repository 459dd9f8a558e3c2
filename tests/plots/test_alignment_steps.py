import numpy as np
import torch

from fgq import plots


def test_depth_before_and_after_is_drawn_against_the_truth():
    truth = torch.linspace(1, 4, 500, dtype=torch.float64)
    before = 1.1 * truth
    depth, aligned, residuals = plots.show_depth_alignment(before, truth, truth, ("raw", "scaled"), "metre").axes
    np.testing.assert_allclose(depth.lines[0].get_xdata(), truth)
    np.testing.assert_allclose(depth.lines[0].get_ydata(), before)
    np.testing.assert_allclose(aligned.lines[0].get_ydata(), truth)
    labels = [text.get_text() for text in residuals.get_legend().get_texts()]
    assert labels == ["raw: mean 0.1000", "scaled: mean 0.0000"]


def test_clouds_lie_on_the_true_one_and_residuals_are_told():
    generator = np.random.default_rng(0)
    truth = generator.uniform(-1, 1, (300, 3))
    moved = truth + [0.3, 0, 0]
    distances = np.full(300, 0.3), np.zeros(300)
    left, right, residuals = plots.show_point_alignment(moved, truth, truth, distances, ("raw", "Sim(3)"), "metre").axes
    for axis, cloud in ((left, moved), (right, truth)):
        np.testing.assert_allclose(axis.lines[0].get_xydata(), truth[:, [0, 2]])
        np.testing.assert_allclose(axis.lines[1].get_xydata(), cloud[:, [0, 2]])
    labels = [text.get_text() for text in residuals.get_legend().get_texts()]
    assert labels == ["raw: mean 0.3000", "Sim(3): mean 0.0000"]
