"""Rounding that is learnt, against all roundings of a tiny block and against its published form."""

import itertools
from dataclasses import replace

import pytest
import torch

from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.sites import SITES, linear_of
from fgq.calibrate import learned_rounding
from fgq.calibrate.calibrate import quantize
from fgq.calibrate.learned_rounding import SoftBlock, SoftWeight, errors, learn_rounding, undecided
from fgq.calibrate.problem import BlockProblem, Calibration
from fgq.calibrate.recipes import find_recipe
from fgq.calibrate.tokens import TokenLayouts
from fgq.data.scene import Scene
from fgq.fisher.output_factors import BLOCK_OUTPUT, FactorPlan, output_factors
from fgq.fisher.token_squares import output_squares
from fgq.quant import Grid
from fgq.quant.grid import decode
from fgq.quant.rounders import UpOrDown
from fgq.vggt.aggregator import run_block


@pytest.fixture
def model(build_toy):
    return build_toy(embed_dim=16)


@pytest.fixture
def problem(model):
    generator = torch.Generator().manual_seed(1)
    layouts = TokenLayouts(model.config, torch.zeros(2, 3, 16, 16), "cpu")
    block = model.aggregator.global_blocks[0]
    inputs = torch.randn(4, 2, 4 + model.config.num_special_tokens, 16, generator=generator)
    with torch.no_grad():
        targets = torch.stack([run_block(block, "G0", x[None], layouts.of(1))[0] for x in inputs])
    squares = {BLOCK_OUTPUT: torch.rand(4, inputs[0].shape[:2].numel(), 16, generator=generator)}
    recipe = replace(find_recipe("brecq", 3, 16), rounding_steps=300)
    weights = torch.ones(model.config.num_blocks, 16)
    return BlockProblem(1, "G0", block, inputs, targets, {}, Calibration(recipe, weights, 0, layouts), squares)


@pytest.mark.parametrize("grid", [Grid(3), Grid(4, symmetric=False), Grid(4, group=4)])
def test_it_starts_where_the_weight_is_and_ends_on_a_code_beside_it(grid):
    weight = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    soft = SoftWeight(weight, grid)
    # The largest weights of a range lie on its last code, and one whose upper code is beyond it has no place to go.
    inside = (soft.below >= grid.lowest) & (soft.below < grid.highest)
    torch.testing.assert_close(soft().detach()[inside], weight[inside], rtol=1e-5, atol=1e-6)
    codes, scale, zero = soft.decided()(weight, grid)
    nearest = grid.encode(weight)[0]
    assert torch.equal(codes[inside], nearest[inside])  # undisturbed, it is the nearest
    for end, moved in ((-50.0, 0), (50.0, 1)):
        with torch.no_grad():
            soft.place.fill_(end)
        decided = decode(*soft.decided()(weight, grid))
        torch.testing.assert_close(decided, soft().detach(), rtol=1e-5, atol=1e-6)
        between = (decided - weight)[inside]
        assert (between >= 0).all() if moved else (between <= 0).all()


def test_the_error_weighs_every_token_and_channel_by_itself(problem):
    block = LearnableBlock(problem.block, problem.recipe.block_spec()).freeze()
    squares = problem.output_fisher[BLOCK_OUTPUT]
    found = sum(error.item() for error in errors(problem, block)) / 2
    total = 0.0
    for inputs, targets, weights in zip(problem.inputs, problem.targets, squares, strict=True):
        output = run_block(block, "G0", inputs[None], problem.calibration.layouts.of(1))[0]
        total += ((output - targets).flatten(0, 1).square() * weights / squares.mean()).mean().item() / 4
    assert found == pytest.approx(total, rel=1e-4)


def test_of_few_free_weights_it_finds_nearly_the_best_rounding(problem, monkeypatch):
    """Six weights of fc2, midway between codes, are free; all 64 roundings are tried. The rest stays nearest."""
    block = LearnableBlock(problem.block, problem.recipe.block_spec())
    nearest = block.freeze()
    weight, grid = linear_of(problem.block, SITES[3]).weight, problem.recipe.weight_grid
    places = weight / grid.find_scales(weight)[0]
    up = linear_of(nearest, SITES[3]).codes - places.floor()
    midway = (places - places.floor() - 0.5).abs().flatten().argsort()[:6]
    chosen = [divmod(index.item(), weight.shape[1]) for index in midway]

    def measured(rounders):
        return sum(error.item() for error in errors(problem, block.freeze(rounders)))

    tried = []
    for choice in itertools.product([0.0, 1.0], repeat=len(chosen)):
        ups = up.clone()
        for (row, column), value in zip(chosen, choice, strict=True):
            ups[row, column] = value
        tried.append(measured({"fc2_in": UpOrDown(ups > 0.5)}))

    free = torch.zeros_like(weight, dtype=torch.bool)
    for row, column in chosen:
        free[row, column] = True
    build = SoftBlock.__init__

    def only_some(self, block):
        build(self, block)
        for name, soft in self.soft.items():
            held = torch.full_like(soft.place, False, dtype=torch.bool) if name != "fc2_in" else free
            settled = soft.place.detach().sign() * 50
            soft.place.data = torch.where(held, soft.place.data, settled)
            soft.place.register_hook(lambda gradient, held=held: gradient * held)

    monkeypatch.setattr(SoftBlock, "__init__", only_some)
    found = measured(learn_rounding(block, problem))
    assert found <= sorted(tried)[3] and found < measured({})


def test_learning_lowers_the_weighted_error_and_decides_every_weight(problem):
    block = LearnableBlock(problem.block, problem.recipe.block_spec())
    rounders = learn_rounding(block, problem)
    before, after = (sum(e.item() for e in errors(problem, block.freeze(each))) for each in (None, rounders))
    assert after < 0.8 * before
    for site in SITES:
        weight, grid = linear_of(problem.block, site).weight, problem.recipe.weight_grid
        steps = decode(*rounders[site.name](weight, grid)) / grid.find_scales(weight)[0]
        inside = steps.abs() < grid.highest
        assert ((steps - weight / grid.find_scales(weight)[0])[inside].abs() < 1 + 1e-5).all()  # up or down, no further


def test_the_term_is_free_at_first_then_sharp_then_blunt(problem, monkeypatch):
    monkeypatch.setattr(learned_rounding, "DECISIVENESS", 1.0)
    soft = SoftBlock(LearnableBlock(problem.block, problem.recipe.block_spec()))
    assert undecided(soft, 0.1) == 0.0
    for weight in soft.soft.values():
        weight.place.data.fill_(torch.log(torch.tensor((0.75 + 0.1) / (1.2 - 0.85))))  # h = 3/4
    for progress, power in ((0.2, 20.0), (0.6, 11.0), (1.0, 2.0)):
        assert undecided(soft, progress).item() == pytest.approx(1 - 0.5**power, rel=1e-4)
    for weight in soft.soft.values():
        weight.place.data.fill_(50.0)
    assert undecided(soft, 0.6).item() == 0.0


def test_squares_of_a_block_s_output_are_those_of_its_matrix(model):
    generator = torch.Generator().manual_seed(3)
    scenes = [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(3)]
    squares = output_squares(model, scenes, FactorPlan(2, seed=1), progress=False)
    whole = output_factors(model, scenes, FactorPlan(2, seed=1), progress=False)
    for name, sites in squares.items():
        diagonal = whole[name][BLOCK_OUTPUT].blocks[0].diagonal()
        torch.testing.assert_close(sites[BLOCK_OUTPUT].sum((0, 1)), diagonal, rtol=1e-4, atol=1e-9)
    options = dict(recipe="brecq", weight_bits=3, activation_bits=16, rounding_steps=40, progress=False)
    small = quantize(model, scenes, **options)
    assert all(log.final_loss > 0 for log in small.quantization.blocks)


def test_layers_that_keep_their_weights_are_left_alone(model):
    scenes = [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(i))) for i in range(3)]
    bits = dict(layer_weight_bits=(16, 3, 16, 4), activation_bits=16, rounding_steps=20)
    small = quantize(model, scenes, recipe="brecq", progress=False, **bits)
    for (_, block), (_, before) in zip(small.aggregator.blocks(), model.aggregator.blocks(), strict=True):
        kept, exact = (linear_of(each, SITES[2]) for each in (block, before))
        assert torch.equal(kept.weight, exact.weight)
        assert linear_of(block, SITES[1]).codes.abs().max() <= 4
