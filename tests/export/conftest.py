"""A scene whose cameras, depth and points are known exactly, as a perfect model would predict it from photos."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from fgq.data.photos import Photos, find_sources, read_photos
from fgq.data.playroom import render
from fgq.data.playroom_world import build_world, uniform_rows
from fgq.export import Reconstruction
from fgq.export.reconstruction import build_reconstruction
from fgq.geometry import encode_pose, relative_to_first
from fgq.vggt import Predictions

FRAMES, PHOTO, MODEL = 3, (60, 40), 32  # photos of 60 × 40 pixels; the model sees 48 × 32, cut to 32 × 32
SCALE, TOP = 0.8, 8  # what that does to pixels


@dataclass(frozen=True)
class Truth:
    folder: Path  # of the photos
    photos: Photos
    predictions: Predictions
    extrinsics: Tensor  # [S, 3, 4]
    photo_intrinsics: Tensor  # [S, 3, 3]
    depth: Tensor  # [S, 32, 32] of the model's pixels
    points: Tensor  # [S, 32, 32, 3]

    def reconstruct(self, points: str = "depth") -> Reconstruction:
        return build_reconstruction(self.predictions, self.photos, points)


@pytest.fixture(scope="session")
def truth(tmp_path_factory) -> Truth:
    folder = tmp_path_factory.mktemp("room")
    world = build_world(uniform_rows("test", 0, [0], FRAMES), FRAMES, *PHOTO)
    for frame, image in enumerate(render(world, *PHOTO)["images"][0]):
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{'cab'[frame]} {frame}.png")
    order = [1, 2, 0]  # of the frames, when files are read by name: "a 1", "b 2", "c 0"
    seen = world.intrinsics.clone()
    seen[..., :2, :] *= SCALE
    seen[..., 1, 2] -= TOP
    exact = {name: value[0, order] for name, value in render(replace(world, intrinsics=seen), MODEL, MODEL).items()}
    extrinsics = relative_to_first(exact["extrinsics"].double())
    depth, generator = exact["depth"], torch.Generator().manual_seed(0)
    inverse_rotation = extrinsics[:, None, None, :, :3].transpose(-2, -1)
    y, x = torch.meshgrid(*(torch.arange(MODEL, dtype=torch.float64) + 0.5,) * 2, indexing="ij")
    focal = seen[0, 0, 0, 0].double()
    rays = torch.stack([(x - MODEL / 2) / focal, (y - MODEL / 2) / focal, torch.ones_like(x)], dim=-1)
    local = rays * depth.double()[..., None] - extrinsics[:, None, None, :, 3]
    points = (inverse_rotation @ local[..., None])[..., 0]
    predictions = Predictions(
        pose_enc=encode_pose(extrinsics, exact["intrinsics"].double(), (MODEL, MODEL))[None],
        depth=depth[None, ..., None],
        depth_conf=1 + torch.rand(1, *depth.shape, generator=generator),
        world_points=points[None] + 0.01,
        world_points_conf=1 + torch.rand(1, *depth.shape, generator=generator),
    )
    photos = read_photos(find_sources([folder]), MODEL, patch_size=8)
    return Truth(folder, photos, predictions, extrinsics, world.intrinsics[0].double(), depth, points)


@pytest.fixture
def seeing_model(toy_model):
    """A random model whose cameras differ a little and have view angles of about 1 radian, added in four iterations."""
    with torch.no_grad():
        toy_model.camera_head.pose_branch.fc2.weight.mul_(0.01)
        toy_model.camera_head.pose_branch.fc2.bias.copy_(torch.tensor([0, 0, 0, 0, 0, 0, 0.25, 0.25, 0.25]))
    return toy_model
