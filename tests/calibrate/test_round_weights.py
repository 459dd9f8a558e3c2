"""Rounding inside a calibration: which matrices reach which layer, what a block is judged by, which damping is kept."""

from dataclasses import replace

import pytest
import torch

import fgq
from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.sites import SITES, linear_of
from fgq.calibrate import RecipeError, round_weights
from fgq.calibrate.calibrate import quantize
from fgq.calibrate.problem import BlockProblem, Calibration
from fgq.calibrate.recipes import find_recipe
from fgq.calibrate.tokens import TokenLayouts
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher.output_factors import BLOCK_OUTPUT, FactorPlan, linear_gradients, output_factors
from fgq.fisher.token_squares import token_squares
from fgq.quant import Grid
from fgq.quant.gptq import round_by_hessian
from fgq.quant.grid import decode
from fgq.quant.output_matrix import InBlocks
from fgq.quant.two_sided import round_two_sided
from fgq.vggt.aggregator import run_block

pytestmark = pytest.mark.filterwarnings("ignore:.*so its start was kept")
QUICK = dict(epochs=2, warmup_steps=2, progress=False)
DIM = 8  # of a head


@pytest.fixture
def model(build_toy):
    return build_toy(embed_dim=16)


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(3)]


@pytest.fixture
def make_problem(model):
    """A problem of block G0 with random tokens; `matrices` maps sites and BLOCK_OUTPUT to H_O."""

    def build(recipe, matrices=None):
        generator = torch.Generator().manual_seed(1)
        layouts = TokenLayouts(model.config, torch.zeros(2, 3, 16, 16), "cpu")
        block = model.aggregator.global_blocks[0]
        tokens = 4 + model.config.num_special_tokens
        inputs = torch.randn(3, 2, tokens, 16, generator=generator)
        with torch.no_grad():
            targets = torch.stack([run_block(block, "G0", x[None], layouts.of(1))[0] for x in inputs])
        weights = torch.ones(model.config.num_blocks, 16)
        return BlockProblem(1, "G0", block, inputs, targets, {}, Calibration(recipe, weights, 0, layouts), matrices)

    return build


def random_matrices(block, seed=0):
    """H_O of a few directions for every layer and for the block's output, as those of a trained model are."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {site.name: linear_of(block, site).out_features for site in SITES} | {BLOCK_OUTPUT: 16}
    draws = {name: torch.randn(4, size, generator=generator) for name, size in sizes.items()}
    return {name: InBlocks((draw.T @ draw + 0.1 * torch.eye(draw.shape[1]))[None]) for name, draw in draws.items()}


def related_matrices(problem):
    """Of gradients in two directions of the block's output, taken back to its layers as autograd does."""
    generator, found = torch.Generator().manual_seed(2), {}
    directions = torch.randn(2, 16, generator=generator)
    for x in problem.inputs:
        gradient = torch.randn(*x.shape[:2], 2, generator=generator) @ directions
        for seen in linear_gradients(problem.block, "G0", x, problem.calibration.layouts.of(1), [gradient]):
            for name, values in seen.items():
                flat = values.flatten(0, -2).double()
                found[name] = found.get(name, 0) + flat.T @ flat
    return {name: InBlocks(matrix.float()[None]) for name, matrix in found.items()}


def codes_of(block):
    return {site.name: linear_of(block, site).codes for site in SITES}


def test_without_relations_between_outputs_it_is_gptq(model, scenes, monkeypatch):
    """H_O = 1 makes rows independent, whatever the damping: codes, scales and files are equal."""
    ones = {
        name: {site.name: InBlocks(torch.eye(linear_of(block, site).out_features)[None]) for site in SITES}
        | {BLOCK_OUTPUT: InBlocks(torch.eye(16)[None])}
        for name, block in model.aggregator.blocks()
    }
    monkeypatch.setattr("fgq.calibrate.round_weights.output_factors", lambda *args, **options: ones)
    for transforms in ("none", "rotation"):
        options = dict(recipe="rtn", weight_bits=3, transforms=transforms, progress=False)
        gptq = quantize(model, scenes, rounding="gptq", **options)
        two_sided = quantize(model, scenes, rounding="two_sided", output_damping=0.5, **options)
        for (name, one), (_, other) in zip(gptq.aggregator.blocks(), two_sided.aggregator.blocks(), strict=True):
            for site, codes in codes_of(one).items():
                assert torch.equal(codes, codes_of(other)[site]), (name, site)


@pytest.mark.parametrize("symmetric, group", [(True, None), (False, 8)])
def test_every_layer_is_rounded_with_its_own_two_matrices(model, scenes, symmetric, group):
    """Without transforms H_I is Σ x xᵀ over the layers' plain inputs, which hooks collect here."""
    options = dict(weight_symmetric=symmetric, weight_group=group, output_probes=3, output_block=8, seed=4)
    plain = dict(recipe="rtn", weight_bits=3, activation_bits=16, rounding="two_sided", output_damping=0.3)
    small = quantize(model, scenes, progress=False, **plain, **options)
    seen = {}
    for name, block in model.aggregator.blocks():
        for site in SITES:

            def add(module, inputs, output, key=(name, site.name)):
                x = inputs[0].flatten(0, -2).double()
                seen[key] = seen.get(key, 0) + x.T @ x

            linear_of(block, site).register_forward_hook(add)
    with torch.no_grad():
        for scene in scenes:
            model.aggregator(scene.images[None])
    fisher = output_factors(model, scenes, FactorPlan(3, 4, size=8), progress=False)
    for (name, fixed), (_, block) in zip(small.aggregator.blocks(), model.aggregator.blocks(), strict=True):
        for site in SITES:
            layer, weight = linear_of(fixed, site), linear_of(block, site).weight
            codes, scale, _ = round_two_sided(
                weight, seen[name, site.name], fisher[name][site.name], layer.weight_grid, output_damping=0.3
            )
            assert torch.equal(layer.scale, scale)
            assert (layer.codes != codes).float().mean() < 0.01, (
                name,
                site.name,
            )  # sums in another order: ties may tip


def test_values_are_rounded_where_the_transform_puts_them(make_problem):
    """A gradient at v P is P⁻¹ times that at v, head by head: H_O at attn_in turns with it, and nothing else does."""
    recipe = find_recipe("rtn", 3, 8, dict(transforms="rotation", rounding="two_sided", output_damping=0.3))
    problem = make_problem(recipe)
    matrices = random_matrices(problem.block)
    block = LearnableBlock(problem.block, recipe.block_spec(), generator=problem.generator)
    transform = block.matrices()["attn_out"].right.forward
    turn = torch.eye(48)
    for start in range(32, 48, len(transform)):
        turn[start : start + len(transform), start : start + len(transform)] = torch.linalg.inv(transform)
    (rounders,) = round_weights.ways_to_round(block, replace(problem, output_fisher=matrices))
    expected = turn.double() @ matrices["attn_in"].blocks[0].double() @ turn.double().T
    torch.testing.assert_close(rounders["attn_in"].output_fisher.blocks[0].double(), expected, rtol=1e-4, atol=1e-4)
    for site in ("attn_out", "fc1_in", "fc2_in"):
        assert torch.equal(rounders[site].output_fisher.blocks, matrices[site].blocks)
    assert {rounder.damping for rounder in rounders.values()} == {0.3}


def test_a_block_is_judged_by_the_form_of_its_output_matrix(make_problem):
    """Against Δᵀ H Δ token by token, and `judged` is the weighted loss where no matrix is."""
    recipe = find_recipe("rtn", 3, 8)
    problem = make_problem(recipe)
    fixed = LearnableBlock(problem.block, recipe.block_spec()).freeze()
    without = problem.measure(fixed)
    assert without.output is None and without.judged == without.weighted
    matrices = random_matrices(problem.block)
    found = replace(problem, output_fisher=matrices).measure(fixed)
    assert found.plain == without.plain
    forms = []
    for x, target in zip(problem.inputs, problem.targets, strict=True):
        with torch.no_grad():
            errors = (run_block(fixed, "G0", x[None], problem.calibration.layouts.of(1))[0] - target).flatten(0, 1)
        forms += [(error.double() @ matrices[BLOCK_OUTPUT].blocks[0].double() @ error.double()) for error in errors]
    assert found.judged == pytest.approx(torch.stack(forms).mean().item(), rel=1e-5)


def test_the_damping_with_the_smallest_judged_error_is_kept(make_problem):
    recipe = find_recipe("rtn", 3, 8, dict(rounding="two_sided"))
    problem = make_problem(recipe)
    problem = replace(problem, output_fisher=random_matrices(problem.block))
    block = LearnableBlock(problem.block, recipe.block_spec())
    kept, losses = round_weights.round_weights(block, problem)
    judged = []
    for damping in round_weights.OUTPUT_DAMPINGS:
        alone = replace(problem.calibration, recipe=replace(recipe, output_damping=damping))
        fixed, found = round_weights.round_weights(block, replace(problem, calibration=alone))
        judged.append(found.judged)
        if found == losses:
            assert all(torch.equal(codes, codes_of(fixed)[site]) for site, codes in codes_of(kept).items())
    assert losses.judged == min(judged) and len(set(judged)) > 1


def test_rounding_may_raise_the_plain_error_where_it_lowers_the_judged_one(make_problem):
    """Two directions of the output matter here, and they are what falls."""
    plain = make_problem(find_recipe("rtn", 3, 16))
    matrices = related_matrices(plain)
    gptq = replace(plain, calibration=replace(plain.calibration, recipe=find_recipe("gptq", 3, 16)))
    recipe = find_recipe("rtn", 3, 16, dict(rounding="two_sided"))
    two_sided = replace(plain, calibration=replace(plain.calibration, recipe=recipe))
    losses = []
    for problem in (gptq, two_sided):
        problem = replace(problem, output_fisher=matrices)
        losses.append(round_weights.round_weights(LearnableBlock(plain.block, recipe.block_spec()), problem)[1])
    assert losses[1].judged < losses[0].judged and losses[1].plain > losses[0].plain


@pytest.mark.parametrize(
    "changes", [{"layer_weight_bits": (4, 16, 2, 3)}, {"bit_budget": 4.0}], ids=["layers", "dealt"]
)
def test_bits_of_layers_reach_two_sided_rounding(model, scenes, changes, tmp_path):
    fisher = fgq.estimate_fisher(model, scenes, progress=False)
    small = quantize(model, scenes, "flatquant", rounding="two_sided", fisher=fisher, **changes, **QUICK)
    small.save(tmp_path)
    loaded = fgq.load_model(tmp_path)
    stated = small.quantization.recipe
    for index, (_, block) in enumerate(loaded.aggregator.blocks()):
        bits = [linear_of(block, site).weight_grid.bits for site in SITES]
        assert tuple(bits) == stated.of_block(index).layer_weight_bits
    with torch.no_grad():
        assert torch.equal(loaded(scenes[0].images[None])["depth"], small(scenes[0].images[None])["depth"])


def test_it_makes_the_predicted_damage_smaller_than_gptq_does(model, scenes):
    """Layer by layer tr(H_O E H_I Eᵀ), summed: on the model's own matrices rather than made-up ones."""
    fisher = output_factors(model, scenes, progress=False)
    options = dict(recipe="rtn", weight_bits=3, activation_bits=16, progress=False)
    gptq, two_sided = (quantize(model, scenes, rounding=way, **options) for way in ("gptq", "two_sided"))
    judged = []
    for small in (gptq, two_sided):
        form = 0.0
        for (name, fixed), (_, block) in zip(small.aggregator.blocks(), model.aggregator.blocks(), strict=True):
            for site in SITES:
                layer = linear_of(fixed, site)
                error = decode(layer.codes, layer.scale, None) - linear_of(block, site).weight.detach()
                form += (fisher[name][site.name].apply(error) * error).sum().item()
        judged.append(form)
    assert judged[1] < judged[0]


def test_what_cannot_be_followed_is_said(model, scenes):
    with pytest.raises(RecipeError, match="output_damping must be a positive number, or None, not 0"):
        quantize(model, scenes, "rtn", rounding="two_sided", output_damping=0)
    with pytest.raises(RecipeError, match="output_probes must be at least 1"):
        quantize(model, scenes, "rtn", rounding="two_sided", output_probes=0)
    with pytest.raises(FgqError, match="blocks of 7 rows do not divide"):
        quantize(model, scenes, "rtn", rounding="two_sided", output_block=7, progress=False)
    with pytest.raises(RecipeError, match="0 calibration scenes are too few"):
        quantize(model, (), "rtn", rounding="two_sided")


def layer_inputs(model, scenes, site):
    """By block, what hooks see in front of a site's layer, [tokens, width] scene by scene."""
    seen, handles = {}, []
    for name, block in model.aggregator.blocks():

        def keep(module, inputs, name=name):
            seen.setdefault(name, []).append(inputs[0].detach().flatten(0, -2).double())

        handles.append(linear_of(block, site).register_forward_pre_hook(keep))
    for scene in scenes:
        with torch.no_grad():
            model.aggregator(scene.images[None])
    for handle in handles:
        handle.remove()
    return seen


def test_guided_rounding_is_gptq_of_each_group_with_weighted_inputs(model, scenes):
    """Groups of rows, each with Σ s x xᵀ over what hooks see; q, k and v have groups of their own."""
    plain = dict(recipe="rtn", weight_bits=3, activation_bits=16, progress=False)
    small = quantize(model, scenes, rounding="guided", output_groups=2, output_probes=3, seed=4, **plain)
    squares = token_squares(model, scenes, FactorPlan(3, seed=4), 2, progress=False)
    for site, groups in zip(SITES, (6, 2, 2, 2), strict=True):
        for name, inputs in layer_inputs(model, scenes, site).items():
            weight = linear_of(dict(model.aggregator.blocks())[name], site).weight
            codes = []
            for group, rows in enumerate(weight.chunk(groups)):
                shares = zip(squares[name][site.name][..., group].double(), inputs, strict=True)
                hessian = sum((s[:, None] * x).T @ x for s, x in shares)
                codes.append(round_by_hessian(rows, hessian, Grid(3))[0])
            found = linear_of(dict(small.aggregator.blocks())[name], site).codes
            assert (found == torch.cat(codes)).float().mean() > 0.99, (name, site)  # batches add in another order


def test_equal_squares_guide_nothing(model, scenes, monkeypatch):
    def ones(*arguments):
        return {name: {site: torch.ones_like(x) for site, x in each.items()} for name, each in squares.items()}

    squares = token_squares(model, scenes, FactorPlan(1), 4, progress=False)
    for values in (ones, lambda *arguments: {n: {s: 0 * x for s, x in e.items()} for n, e in squares.items()}):
        monkeypatch.setattr("fgq.calibrate.round_weights.token_squares", values)
        options = dict(recipe="rtn", weight_bits=3, transforms="rotation", progress=False)
        guided, gptq = (quantize(model, scenes, rounding=rounding, **options) for rounding in ("guided", "gptq"))
        for (name, one), (_, other) in zip(guided.aggregator.blocks(), gptq.aggregator.blocks(), strict=True):
            for site, codes in codes_of(one).items():
                assert torch.equal(codes, codes_of(other)[site]), (name, site)


def test_asymmetric_rounding_aims_at_what_exact_inputs_would_give(model, scenes):
    """Layer after layer: hooks see exact inputs in the full model, and the rounded model's in front of each layer."""
    plain = dict(recipe="gptaq", weight_bits=4, activation_bits=16, progress=False)
    small = quantize(model, scenes, **plain)
    for site in SITES:
        exact = layer_inputs(model, scenes, site)
        drifted = layer_inputs(small, scenes, site)  # what lies behind a layer does not change what it reads
        for name, block in model.aggregator.blocks():
            x, wanted = torch.cat(drifted[name]), torch.cat(exact[name])
            codes, *_ = round_by_hessian(linear_of(block, site).weight, x.T @ x, Grid(4), drift=(wanted - x).T @ x)
            found = linear_of(dict(small.aggregator.blocks())[name], site).codes
            assert (found == codes).float().mean() > 0.98, (name, site)


def test_without_drift_asymmetric_rounding_is_gptq(model, scenes):
    """The first block's first layer reads the same in both models."""
    plain = dict(weight_bits=3, activation_bits=16, progress=False)
    one, other = (quantize(model, scenes, recipe=recipe, **plain) for recipe in ("gptaq", "gptq"))
    (_, mine), (_, theirs) = next(one.aggregator.blocks()), next(other.aggregator.blocks())
    assert torch.equal(mine.attn.qkv.codes, theirs.attn.qkv.codes)
