import pytest
import torch

from fgq.data import playroom
from fgq.data.playroom_world import BASELINE_RANGE, NUM_BOXES, NUM_OBJECTS, SPLITS, build_world, turned, uniform_rows
from fgq.errors import FgqError
from fgq.geometry import project
from fgq.geometry.camera import pixel_centres


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_every_point_projects_onto_its_pixel_and_depth(size):
    scenes = playroom.render_scenes("validation", list(range(12)), 3, size)
    pixels, depth = project(scenes["points"], scenes["extrinsics"], scenes["intrinsics"])
    assert (pixels - pixel_centres(*size)).abs().max() < 1e-3  # of a pixel: float32 at 80 pixels
    assert ((depth - scenes["depth"]).abs() / scenes["depth"]).max() < 1e-4
    assert scenes["valid"].all() and scenes["depth"].min() > 0.2


def inside_something(points, world):
    """Whether room points [rays, 3] of scene 0 lie outside the room or strictly inside an object; a plain loop."""
    bad = (points.abs() > world.room_half[0] + 1e-3).any(-1)
    for k in range(NUM_OBJECTS):
        if not world.present[0, k]:
            continue
        local = turned(points - world.centre[0, k], world.yaw[0, k].expand(len(points)))
        if k < NUM_BOXES:
            bad |= (local.abs() < world.half[0, k] - 1e-3).all(-1)
        else:
            bad |= local.norm(dim=-1) < world.half[0, k, 0] - 1e-3
    return bad


def test_rays_stop_at_the_first_surface():
    """Marching along every ray by small steps meets nothing before its depth, and something just behind it."""
    for index in range(4):
        draws = uniform_rows("validation", 3, [index], 2)
        world = build_world(draws, 2, 24, 24)
        depth = playroom.render(world, 24, 24)["depth"][0, 1].flatten()
        focal = world.intrinsics[0, 1, 0, 0]
        rays = torch.cat([(pixel_centres(24, 24).view(-1, 2) - 12) / focal, torch.ones(576, 1)], dim=1)
        pose = world.world_from_camera[0, 1]
        directions = rays @ pose[:, :3].T
        for fraction in torch.linspace(0.02, 0.995, 60):
            assert not inside_something(pose[:, 3] + fraction * depth[:, None] * directions, world).any()
        behind = inside_something(pose[:, 3] + (depth[:, None] + 0.02) * directions, world)
        assert behind.float().mean() > 0.97  # all but rays that graze an edge


def test_scenes_depend_on_split_seed_and_index_alone():
    alone = playroom.render_scenes("test", [5], 4, (64, 64))
    among = playroom.render_scenes("test", [3, 5, 9], 4, (64, 64))
    for name, value in alone.items():
        assert torch.equal(value[0], among[name][1]), name
    images = {
        (split, seed, index): playroom.render_scenes(split, [index], 1, (16, 16), seed)["images"].numpy().tobytes()
        for split in SPLITS
        for seed in (0, 1)
        for index in range(8)
    }
    assert len(set(images.values())) == len(images)
    draws = {row.numpy().tobytes() for split in SPLITS for row in uniform_rows(split, 0, list(range(500)), 2)}
    assert len(draws) == 500 * len(SPLITS)


def test_frames_see_common_surface_from_afar():
    """Share of a frame's pixels whose surface frame 0 sees too, occlusion included."""
    scenes = playroom.render_scenes("validation", list(range(48)), 4, (64, 64))
    first = {
        name: scenes[name][:, :1].expand(-1, 3, *scenes[name].shape[2:])
        for name in ("extrinsics", "intrinsics", "depth")
    }
    pixels, depth = project(scenes["points"][:, 1:], first["extrinsics"], first["intrinsics"])
    inside = (pixels > 0).all(-1) & (pixels < 64).all(-1) & (depth > 0)
    index = pixels.long().clamp(0, 63)
    surface = torch.gather(first["depth"].flatten(2), 2, (index[..., 1] * 64 + index[..., 0]).flatten(2)).view_as(depth)
    common = (inside & ((depth - surface).abs() < 0.05 * depth)).float().mean((-1, -2)).flatten()
    assert 0.4 < common.median() < 0.65
    assert ((common > 0.25) & (common < 0.8)).float().mean() > 0.9
    distance = scenes["points"][:, 0].norm(dim=-1).mean((-1, -2))
    baseline = scenes["extrinsics"][:, 1:, :, 3].norm(dim=-1) / distance[:, None]
    assert ((baseline > 0.7 * BASELINE_RANGE[0]) & (baseline < 1.4 * BASELINE_RANGE[1])).float().mean() > 0.9


def test_scenes_carry_their_truth_and_bad_requests_are_named():
    scene = playroom.load("test", count=2, frames=3, seed=7, size=(32, 48))[1]
    assert scene.name == "playroom-test-7-00001" and scene.unit == "metre"
    assert scene.images.shape == (3, 3, 32, 48) and scene.points.shape == (3, 32, 48, 3)
    assert 0 <= scene.images.min() and scene.images.max() <= 1
    assert torch.allclose(scene.extrinsics[0], torch.eye(3, 4), atol=1e-6)
    with pytest.raises(FgqError, match="no split 'holdout'"):
        playroom.load("holdout")
    with pytest.raises(FgqError, match="frames"):
        playroom.load("test", frames=0)
