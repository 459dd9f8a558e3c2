"""The fast path against its slow twin."""

import pytest
import torch

import fgq
from fgq.fisher import estimate_fisher
from tests.fisher.straightforward import straightforward_fisher


def assert_equal_to_the_twin(model, scenes, **options):
    values = estimate_fisher(model, scenes, "sum_of_outputs", progress=False, **options).values
    for ours, truth in zip(values.flatten(0, 1), straightforward_fisher(model, scenes).flatten(0, 1), strict=True):
        assert (ours - truth).abs().max() <= 1e-3 * truth.abs().max()  # every task and block in its own units
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_toy_gives_what_the_published_procedure_gives(toy_model, toy_images, batch_size):
    scenes = [fgq.data.Scene(f"clip-{index}", clip) for index, clip in enumerate(toy_images)]
    assert_equal_to_the_twin(toy_model, scenes, batch_size=batch_size)


def test_the_trained_model_gives_what_the_published_procedure_gives():
    scenes = fgq.load_scenes("playroom", split="calibration", count=2, frames=4, seed=5)
    assert_equal_to_the_twin(fgq.load_model("vggt-tiny"), scenes)


def test_the_twin_goes_back_through_every_part_of_the_model(toy_model, toy_images):
    asked = []
    for name in ("aggregator.patch_embed", "aggregator.frame_blocks.0", "camera_head", "depth_head", "point_head"):
        part = toy_model.get_submodule(name)
        parameter = max(part.parameters(), key=torch.Tensor.numel)
        parameter.register_hook(lambda gradient, name=name: asked.append(name))
    straightforward_fisher(toy_model, [fgq.data.Scene("clip", toy_images[0])])
    assert asked.count("aggregator.patch_embed") == asked.count("aggregator.frame_blocks.0") == 3
    assert {"camera_head", "depth_head", "point_head"} < set(asked)
