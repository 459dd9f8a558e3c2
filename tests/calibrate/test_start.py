import pytest
import torch

from fgq.affine import LearnableBlock, linear_inputs
from fgq.affine.sites import SITES, linear_of
from fgq.affine.wush import wush_factors
from fgq.calibrate import RECIPES, find_recipe, quantize
from fgq.calibrate.problem import BlockProblem, Calibration
from fgq.calibrate.start import start_block
from fgq.calibrate.tokens import TokenLayouts
from fgq.data.scene import Scene
from fgq.randomness import derived_generator


@pytest.fixture
def clips(toy_model):
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randn(5, 2, 7, toy_model.config.embed_dim, generator=generator)
    return tokens * torch.linspace(0.5, 3, 5)[:, None, None, None]  # the last batch holds the maxima


def start(model, clips, recipe, **changes):
    layouts = TokenLayouts(model.config, torch.zeros(2, 3, 16, 16), "cpu")
    block, plan = model.aggregator.frame_blocks[0], find_recipe(recipe, overrides=changes)
    seen = linear_inputs(block, clips.flatten(0, 1), layouts.of(5).of_frame)[1]
    maxima = {name: values.abs().flatten(0, -2).amax(0).detach() for name, values in seen.items()}
    calibration = Calibration(plan, torch.ones(4, clips.shape[-1]), 3, layouts)
    problem = BlockProblem(0, "F0", block, clips, clips, maxima, calibration)
    return start_block(problem), seen, problem


@pytest.mark.parametrize("scenes_per_step", [1, 2, 5])
@pytest.mark.parametrize("alpha", [0.5, 0.7])
def test_smoothing_sees_the_rotated_values_of_all_clips(toy_model, clips, alpha, scenes_per_step):
    block, seen, _ = start(toy_model, clips, "quantvggt", scenes_per_step=scenes_per_step, smooth_alpha=alpha)
    linears = {"attn_in": "attn.qkv", "attn_out": "attn.proj", "fc1_in": "mlp.fc1", "fc2_in": "mlp.fc2"}
    for name, path in linears.items():
        transform = block.transforms[name]
        rotation = torch.kron(transform.left, transform.right)
        inputs = (seen[name].flatten(0, -2) @ rotation).abs().amax(0)
        weight = (toy_model.aggregator.frame_blocks[0].get_submodule(path).weight @ rotation).abs().amax(0)
        expected = (weight ** (1 - alpha) / inputs**alpha).detach()
        torch.testing.assert_close(transform.smoothing, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name not in ("quantvggt", "quantvggt-clips", "wush")])
def test_other_recipes_start_as_their_block_does(toy_model, clips, recipe):
    block, _, problem = start(toy_model, clips, recipe)
    spec = find_recipe(recipe).block_spec()
    plain = LearnableBlock(toy_model.aggregator.frame_blocks[0], spec, problem.input_max, 0.5, derived_generator(3, 0))
    state = plain.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in block.state_dict().items())


def test_smoothing_helps_where_channels_differ(toy_model):
    """Rotations spread a channel of outliers; what they leave uneven, smoothing evens out."""
    scenes = [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(i))) for i in range(4)]
    with torch.no_grad():
        for _, block in toy_model.aggregator.blocks():
            block.mlp.fc1.weight[:, 3] *= 20
            block.norm2.weight[7] *= 20
    losses = []
    for transforms in ("none", "rotation", "rotation_smoothing"):
        logs = [
            quantize(toy_model, scenes, "rtn", 8, 4, seed=seed, transforms=transforms, progress=False).quantization
            for seed in range(3)
        ]
        losses.append(sum(block.final_loss for log in logs for block in log.blocks))
    assert losses[2] < losses[1] < losses[0]


def test_the_closed_form_start_follows_from_what_the_layers_read(toy_model, clips):
    """The transforms are those of moments that are summed up here, and the block still computes the same."""
    block, seen, problem = start(toy_model, clips, "wush", weight_bits=16, activation_bits=16)
    generator = derived_generator(3, 0)
    for site in SITES:
        flat, weight = seen[site.name].detach().flatten(0, -2).double(), linear_of(problem.block, site).weight.double()
        sizes = site.factors(weight.shape[1], problem.block.attn.num_heads)
        factors = wush_factors(flat.T @ flat, weight.T @ weight, *sizes, generator)
        transform = block.transforms[site.name]
        for side, factor in zip((transform.left, transform.right), factors, strict=True):
            torch.testing.assert_close(side.pair().forward.detach(), factor.float(), rtol=1e-3, atol=1e-3)
        assert transform.diagonal is None or (transform.diagonal == 1).all()
    frame, layout = clips[0], problem.calibration.layouts.of(1)
    arguments = layout.arguments("F0", frame)
    torch.testing.assert_close(block(*arguments), problem.block(*arguments), rtol=1e-3, atol=1e-3)


def test_without_epochs_a_start_is_the_result(toy_model):
    scenes = [Scene(f"s{i}", torch.rand(2, 3, 16, 16)) for i in range(3)]
    small = quantize(toy_model, scenes, recipe="wush", progress=False)
    assert all(log.steps == 0 and log.kept_epoch is None for log in small.quantization.blocks)
