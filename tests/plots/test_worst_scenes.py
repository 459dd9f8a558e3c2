import numpy as np
import pytest
import torch

from fgq import plots
from fgq.errors import FgqError
from fgq.metrics.measure import measure
from fgq.plots.worst import depth_error_maps


def test_scenes_are_ranked_by_what_they_lost(report_of):
    base, mine = np.array([[1.0, 2, 3, 4]]), np.array([[1.5, 2.1, 6.0, 3.0], [1.5, 2.1, 4.0, 3.0]])
    reports = report_of(mine), report_of(base, "full precision")
    assert plots.worst_scenes(*reports, "depth_abs_rel", 3) == ["s2", "s0", "s1"]
    name = "pose_auc@30"
    higher = report_of(mine, metric=name), report_of(base, "full precision", metric=name)
    assert plots.worst_scenes(*higher, name, 1) == ["s3"]
    with pytest.raises(FgqError, match="s1 has no depth_abs_rel"):
        plots.worst_scenes(report_of([[1.0, np.nan]]), report_of([[1.0, 1.0]]), "depth_abs_rel", 1)


def test_the_maps_average_to_the_metric_and_leave_out_what_is_invalid(rooms, answer):
    factor = torch.exp(0.2 * torch.randn(rooms[0].depth.shape, generator=torch.Generator().manual_seed(0)))
    found = depth_error_maps(rooms[0], answer(rooms[0], factor))
    expected = measure(answer(rooms[0], factor), rooms[0])["depth_abs_rel"]
    valid = rooms[0].valid.numpy() if rooms[0].valid is not None else np.ones(found.shape, bool)
    assert np.nanmean(found) == pytest.approx(expected, rel=1e-6) and (np.isnan(found) == ~valid).all()


def test_the_frame_that_lost_most_is_shown_with_its_maps(rooms, answer):
    wrong = torch.ones_like(rooms[0].depth)
    wrong[1, :8] = 1.5
    pair = answer(rooms[0]), answer(rooms[0], wrong)
    axes = [axis for axis in plots.show_worst_scenes([rooms[0]], [pair]).axes if axis.images][:4]
    assert axes[0].get_ylabel() == f"{rooms[0].name}\nframe 1"
    np.testing.assert_allclose(axes[0].images[0].get_array(), rooms[0].images[1].permute(1, 2, 0).clamp(0, 1))
    np.testing.assert_allclose(axes[1].images[0].get_array(), rooms[0].depth[1])
    full, small = (axis.images[0].get_array() for axis in axes[2:])
    assert np.max(full) < 1e-6 and np.min(small[:8]) > 0.2
    assert axes[2].images[0].get_clim() == axes[3].images[0].get_clim()
