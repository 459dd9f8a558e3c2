"""Blocks on some frames at a time against the same on all at once."""

import pytest
import torch

import fgq
from fgq.data import playroom
from fgq.errors import FgqError
from fgq.vggt import aggregator as module
from fgq.vggt.aggregator import run_block, run_block_in_parts
from fgq.vggt.attention import Assembled


@pytest.fixture
def special(build_toy):
    """Blocks of codes in which the special tokens have a grid of their own, so that rows of parts must be found."""
    scenes = playroom.load("calibration", count=2, frames=2, size=16)
    return fgq.quantize(build_toy(), scenes, "rtn", special_activation_bits=8, activation_bits=4, progress=False)


def clips(frames=5):
    return torch.rand(2, frames, 3, 16, 24, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("frames_chunk", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("kind", ["full", "codes"])
def test_a_block_in_parts_is_the_block(toy_model, special, kind, frames_chunk, relative_error):
    model = toy_model if kind == "full" else special
    images = clips()
    layout = model.aggregator.layout(images)
    with torch.no_grad():
        tokens = model.aggregator.embed(images)
        assert relative_error(model.aggregator.embed(images, frames_chunk), tokens) <= 1e-5
        for name, block in model.aggregator.blocks():
            whole = run_block(block, name, tokens, layout)
            assert relative_error(run_block_in_parts(block, name, tokens, layout, frames_chunk), whole) <= 1e-5
            tokens = whole


def test_many_tokens_are_taken_in_parts_unless_gradients_are_recorded(toy_model, monkeypatch, relative_error):
    seen, images = [], clips(4)
    monkeypatch.setattr(module, "TOKENS_AT_A_TIME", 30)  # three frames of 9 tokens
    for _, block in toy_model.aggregator.blocks():
        block.register_forward_hook(lambda block, inputs, output: seen.append((len(inputs[0]), len(inputs) == 3)))
    with torch.no_grad():
        parts = toy_model(images)
    assert seen[:4] == [(3, False), (3, False), (2, False), (2, True)]  # F0 on 3 of 8 frames, then G0 on both clips
    seen.clear()
    whole = toy_model(images)
    assert seen[:2] == [(8, False), (2, False)]
    for name, value in parts.items():
        if name != "pose_enc_list":
            assert relative_error(value, whole[name].detach()) <= 1e-5


def test_gradients_through_parts_are_those_of_the_whole(toy_model, relative_error):
    found = []
    for frames_chunk in (1, 100):
        images = clips(3).requires_grad_()
        toy_model(images, frames_chunk=frames_chunk).depth.sum().backward()
        found.append(images.grad)
    assert relative_error(*found) <= 1e-4


def test_no_frames_at_a_time_are_refused(toy_model):
    with pytest.raises(FgqError, match="frames_chunk is 0"):
        list(toy_model.aggregator.outputs(clips(), 0))


def test_parts_are_assembled_along_any_axis():
    truth = torch.arange(24.0).view(2, 3, 4)
    for axis in range(3):
        whole = Assembled(truth.shape[axis], axis)
        for part in truth.split(2, dim=axis):
            whole.append(part)
        assert torch.equal(whole.values, truth)
