import numpy as np
import torch

from fgq import plots


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
