"""Every recipe is exact where it rounds nothing: transforms cancel, and what is folded gives what was there before."""

import pytest
import torch

from fgq.affine import LearnableBlock, linear_inputs
from fgq.calibrate import RECIPES, find_recipe
from fgq.vggt.attention import Block
from fgq.vggt.rotary import RotaryTable, patch_positions

DIM, HEADS = 24, 3  # neither has a Hadamard matrix of its own
TURNING = [name for name, recipe in RECIPES.items() if recipe.transforms != "none"]
FOLDING = [name for name in TURNING if RECIPES[name].transforms in ("diagonal", "kronecker")]


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def block():
    """Every parameter random: LayerNorms with a weight and a bias, too."""
    made = Block(DIM, HEADS, qk_norm=True, layer_scale=1.0)
    for number, parameter in enumerate(made.parameters()):
        parameter.data = random(*parameter.shape, seed=number).float() * 0.5
    return made


@pytest.fixture
def tokens():
    positions = patch_positions(2, 3, 2, None)
    return 3 * random(2, len(positions), DIM, seed=100), RotaryTable(positions, DIM // HEADS)


def unrounded(block: Block, recipe: str, tokens) -> LearnableBlock:
    """The recipe's block in float64 without rounding, its transforms far from their start."""
    spec = find_recipe(recipe, 16, 16).block_spec()
    seen = linear_inputs(block.double(), *tokens)[1]
    maxima = {name: values.abs().flatten(0, 1).amax(0).float() for name, values in seen.items()}
    moved = LearnableBlock(block, spec, maxima, generator=torch.Generator().manual_seed(7)).double()
    with torch.no_grad():
        for number, parameter in enumerate(moved.transform_parameters()):
            parameter.mul_(1 + 0.3 * random(*parameter.shape, seed=200 + number))
        for name, values in moved.transforms.named_buffers():
            if name.endswith(("left", "right")):  # made in float32: orthogonal to its precision only
                values.copy_(torch.linalg.qr(values)[0])
            else:
                values.mul_(random(len(values), seed=300).exp())
    return moved


@pytest.mark.parametrize("recipe", RECIPES)
def test_folding_is_exact(block, tokens, recipe, relative_error):
    learnable = unrounded(block, recipe, tokens)
    with torch.no_grad():
        folded, unfolded, truth = (module(*tokens) for module in (learnable.freeze(), learnable, block.double()))
    assert folded.dtype == torch.float64
    assert relative_error(folded, unfolded) < 1e-12
    assert relative_error(folded, truth) < 1e-6 and relative_error(unfolded, truth) < 1e-6


@pytest.mark.parametrize("recipe", TURNING)
def test_the_transforms_that_cancel_are_no_small_ones(block, tokens, recipe):
    learnable, seen = unrounded(block, recipe, tokens), linear_inputs(block.double(), *tokens)[1]["fc1_in"]
    turned = learnable.quantized_inputs(*tokens)["fc1_in"][0]
    assert (turned - seen.flatten(0, 1)).abs().mean() > 0.3 * seen.abs().mean()


@pytest.mark.parametrize("part", ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"])
@pytest.mark.parametrize("recipe", FOLDING)
def test_each_half_of_a_layer_norm_carries_the_diagonal(block, tokens, recipe, part, relative_error):
    folded = unrounded(block, recipe, tokens).freeze()
    folded.get_parameter(part).data = block.double().get_parameter(part).data
    with torch.no_grad():
        assert relative_error(folded(*tokens), block(*tokens)) > 1e-2


@pytest.mark.parametrize("recipe", [name for name in FOLDING if RECIPES[name].transforms == "kronecker"])
def test_the_diagonal_behind_gelu_stays_at_run_time(block, tokens, recipe, relative_error):
    learnable = unrounded(block, recipe, tokens)
    folded = learnable.freeze()
    kept = folded.transforms["fc2_in"].diagonal
    assert torch.equal(kept, learnable.transforms["fc2_in"].diagonal) and kept.max() > 2 * kept.min()
    kept.fill_(1)
    with torch.no_grad():
        assert relative_error(folded(*tokens), block.double()(*tokens)) > 1e-2
