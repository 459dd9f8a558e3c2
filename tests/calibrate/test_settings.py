"""Every setting of bits, symmetry and granularity, through `quantize`."""

import pytest
import torch

import fgq
from fgq.calibrate import RECIPES, RecipeError, quantize
from fgq.data.scene import Scene

pytestmark = pytest.mark.filterwarnings("ignore:.*so its start was kept")  # too few steps here to always gain
FIELDS = ("pose_enc", "depth", "world_points")


def make_scenes(count=4):
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(count)]


@pytest.fixture
def run(toy_model):
    def quantized(recipe, weight_bits, activation_bits, **changes):
        blocks, channels = toy_model.config.num_blocks, toy_model.config.embed_dim
        fixed = dict(fisher=torch.ones(blocks, channels), epochs=1, warmup_steps=0, rounding_steps=4, progress=False)
        return quantize(toy_model, make_scenes(), recipe, weight_bits, activation_bits, **(fixed | changes))

    return quantized


@pytest.mark.parametrize("groups", [(None, None), (8, 4)])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    "bits", [(8, 8), (4, 8), (4, 4), (3, 8), (2, 16), (4, 16), (16, 4)], ids=lambda bits: "w{}a{}".format(*bits)
)
def test_every_recipe_runs_at_every_setting_and_comes_back(run, recipe, bits, groups, tmp_path):
    options = dict(weight_group=groups[0], activation_group=groups[1])
    small = run(recipe, *bits, weight_symmetric=bits[0] != 4, activation_symmetric=bits[1] != 8, **options)
    for block in small.aggregator.frame_blocks:
        layers = (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)
        assert all((layer.weight_grid.bits, layer.activation_grid.bits) == bits for layer in layers)
        assert all((layer.weight_grid.group, layer.activation_grid.group) == groups for layer in layers)
    small.save(tmp_path)
    loaded, images = fgq.load_model(tmp_path), make_scenes()[0].images
    assert loaded.quantization == small.quantization
    with torch.no_grad():
        ours, theirs = loaded(images), small(images)
    assert all(torch.equal(ours[field], theirs[field]) and torch.isfinite(ours[field]).all() for field in FIELDS)


@pytest.mark.parametrize("recipe", ["rtn", "smoothquant", "quarot", "gptq", "quantvggt"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_more_bits_and_smaller_groups_round_less(run, recipe, symmetric):
    def loss(*bits, **options):
        options |= dict(weight_symmetric=symmetric, activation_symmetric=symmetric, scene_choice="all")
        return sum(block.final_loss for block in run(recipe, *bits, **options).quantization.blocks)

    assert loss(8, 8) < loss(4, 8) < loss(3, 8) and loss(4, 8) < loss(4, 4)
    assert loss(16, 8) < loss(4, 8) and loss(3, 16) < loss(3, 3)
    assert loss(3, 16, weight_group=4) < 0.8 * loss(3, 16)
    assert loss(16, 3, activation_group=4) < 0.8 * loss(16, 3)


@pytest.mark.parametrize("field", ["weight_group", "activation_group"])
def test_a_group_that_does_not_divide_a_width_names_the_layer(run, field):
    with pytest.raises(RecipeError, match=f"{field} 12 does not divide the 16 input channels of attn.qkv in block F0"):
        run("rtn", 4, 4, **{field: 12})
    with pytest.raises(RecipeError, match=f"{field} 64 does not divide the 16 input channels of attn.qkv"):
        run("rtn", 4, 4, **{field: 64})
