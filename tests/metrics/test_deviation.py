import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from fgq.errors import FgqError
from fgq.metrics.deviation import deviations
from fgq.vggt import Predictions


def clip(pose_translation, quaternion, depth, points):
    pose = torch.cat([pose_translation, quaternion, torch.full((3, 2), 1.0)], dim=-1)[None]
    return Predictions(pose_enc=pose, depth=depth, world_points=points)


@pytest.fixture
def reference():
    generator = torch.Generator().manual_seed(0)
    return clip(
        torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 6, 0]]),
        torch.tensor([0.0, 0, 0, 1]).expand(3, 4),
        torch.rand(1, 3, 4, 5, 1, generator=generator) + 1,
        torch.randn(1, 3, 4, 5, 3, generator=generator),
    )


def test_no_move_is_no_deviation(reference):
    assert set(deviations(reference, reference).values()) == {0.0}


def test_known_moves_are_measured(reference):
    turn = torch.from_numpy(Rotation.from_rotvec([[a, 0, 0] for a in (0, 3, 9)], degrees=True).as_quat()).float()
    moved = clip(
        reference.pose_enc[0, :, :3] + torch.tensor([0.0, 0, 0.6]),
        turn,
        1.1 * reference.depth,
        1.2 * reference.world_points,
    )
    found = deviations(moved, reference)
    assert found["deviation_rotation"] == pytest.approx(4, rel=1e-4)  # mean of 0, 3 and 9 degrees
    assert found["deviation_translation"] == pytest.approx(0.6 / 3, rel=1e-5)  # the mean length is (0 + 3 + 6) / 3
    assert found["deviation_depth"] == pytest.approx(0.1, rel=1e-4)
    assert found["deviation_points"] == pytest.approx(0.2, rel=1e-4)
    assert all(math.isfinite(value) for value in found.values())


def test_a_move_from_nowhere_has_no_measure(reference):
    still = clip(torch.zeros(3, 3), reference.pose_enc[0, :, 3:7], reference.depth, reference.world_points)
    assert deviations(still, still)["deviation_translation"] == 0
    with pytest.raises(FgqError, match="at the origin"):
        deviations(reference, still)
