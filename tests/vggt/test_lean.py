"""The lean forward pass computes what the plain one does, and keeps less."""

import pytest
import torch

from fgq.errors import FgqError
from fgq.vggt.dense_head import POSITION_BASE, position_map

OUTPUTS = ("pose_enc", "depth", "depth_conf", "world_points", "world_points_conf")


def relative_error(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@pytest.mark.parametrize("frames, height, width", [(1, 16, 16), (2, 16, 40), (3, 40, 16), (20, 24, 24)])
def test_frames_one_after_another_give_what_all_at_once_give(toy_model, frames, height, width):
    images = torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(frames))
    calls = []
    hook = toy_model.depth_head.register_forward_hook(lambda _, args, __: calls.append(len(args[0][0])))
    with torch.no_grad():
        at_once = toy_model(images, head_budget=None)
        one_by_one = toy_model(images, head_budget=1)
        three = toy_model(images, head_budget=3 * toy_model.depth_head.bytes_per_frame(height, width))
    hook.remove()
    full, rest = divmod(frames, 3)
    assert calls == [frames] + [1] * frames + [3] * full + [rest] * (rest > 0)
    for name in OUTPUTS:
        assert at_once[name].shape[:2] == (1, frames)
        assert relative_error(one_by_one[name], at_once[name]) <= 1e-5
        assert relative_error(three[name], at_once[name]) <= 1e-5
    assert at_once.depth.shape[2:] == (height, width, 1)


def test_only_the_outputs_that_heads_read_are_kept(build_toy, toy_images):
    model = build_toy(depth=5, dpt_layers=[0, 1, 1, 3])
    with torch.no_grad():
        kept = model.aggregator(model.check_images(toy_images), keep=model.blocks_read())
        everything = model.aggregator(model.check_images(toy_images))
        lean, plain = model(toy_images), model(toy_images, return_tokens=True)
    assert [output is not None for output in kept] == [True] * 4 + [False] * 2 + [True] * 4
    assert all(torch.equal(a, b) for a, b in zip(kept, everything, strict=True) if a is not None)
    for name in OUTPUTS:
        assert torch.equal(lean[name], plain[name])
    assert lean.block_outputs is None and len(plain.block_outputs) == 10


def test_gradients_reach_the_images_through_frames_taken_apart(toy_model, toy_images):
    gradients = []
    for budget in (None, 1):
        images = toy_images.clone().requires_grad_()
        toy_model(images, head_budget=budget).depth.sum().backward()
        gradients.append(images.grad)
    assert relative_error(gradients[1], gradients[0]) <= 1e-4


def test_half_precision_stays_near(toy_model, toy_images):
    """bfloat16 has 8 significant bits, so outputs agree to some percent; maps come in float32 all the same."""
    with torch.no_grad():
        plain = toy_model(toy_images)
        half = toy_model.bfloat16()(toy_images.bfloat16())
    for name in ("depth", "world_points", "depth_conf"):
        assert half[name].dtype == torch.float32
    assert relative_error(half.depth, plain.depth) < 0.05
    assert relative_error(half.pose_enc.float(), plain.pose_enc) < 0.05


@pytest.mark.parametrize("height, width", [(15, 16), (16, 17), (17, 16)])
def test_one_pixel_off_is_refused(toy_model, height, width):
    with pytest.raises(FgqError, match=f"{height} × {width} pixels; both sides must be multiples of the patch size 8"):
        toy_model(torch.zeros(2, 3, height, width))


def test_the_position_map_is_the_written_out_one():
    """Against a loop over pixels and channels."""
    channels, rows, columns, aspect = 8, 3, 5, 5 / 3
    made = position_map(channels, rows, columns, aspect)
    diagonal = (aspect**2 + 1) ** 0.5
    for row in range(rows):
        for column in range(columns):
            x = aspect / diagonal * (2 * column + 1 - columns) / columns
            y = 1 / diagonal * (2 * row + 1 - rows) / rows
            angles = [[p * POSITION_BASE ** -(k / (channels / 4)) for k in range(channels // 4)] for p in (x, y)]
            expected = torch.cat(
                [f(torch.tensor(a, dtype=torch.float64)) for a in angles for f in (torch.sin, torch.cos)]
            )
            torch.testing.assert_close(made[:, row, column], expected.float())
