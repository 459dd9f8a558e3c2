import matplotlib.pyplot as plt
import pytest
import torch

from fgq.data import playroom
from fgq.geometry import encode_pose
from fgq.vggt import Predictions


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def rooms():
    return playroom.load("test", count=3, frames=2, size=16)


@pytest.fixture(scope="session")
def answer():
    """Predictions of a scene that are right, but for factors on the depth [S, H, W] and a scale of the whole world."""

    def build(scene, depth_factor=1.0, scale=1.0):
        sure = torch.ones_like(scene.depth)[None]
        pose = encode_pose(scene.extrinsics, scene.intrinsics, scene.images.shape[-2:])[None]
        return Predictions(
            pose_enc=torch.cat([scale * pose[..., :3], pose[..., 3:]], dim=-1),
            depth=(scale * scene.depth * depth_factor)[None, ..., None],
            depth_conf=sure,
            world_points=scale * scene.points[None],
            world_points_conf=sure,
        )

    return build
