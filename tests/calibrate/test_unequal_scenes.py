"""Scenes of several frame counts and sizes calibrate together, each against what it is alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.sites import SITES, linear_of
from fgq.calibrate import quantize
from fgq.calibrate.allocate import output_error, special_share
from fgq.calibrate.layouts import UnequalLayouts, layouts_of
from fgq.calibrate.loop import block_problems
from fgq.calibrate.problem import Calibration
from fgq.calibrate.recipes import find_recipe
from fgq.calibrate.round_weights import input_hessians, layer_after_layer
from fgq.calibrate.scene_choice import of_one_length
from fgq.calibrate.start import moments
from fgq.calibrate.token_store import TokenStore
from fgq.calibrate.tokens import embed_scenes
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.quant.gptq import round_by_hessian
from fgq.vggt.aggregator import run_block
from fgq.vggt.weights import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore:block .*(rate was lowered|start was kept|rounded to nearest)")
SHAPES = ((3, 16, 16), (2, 16, 24), (2, 16, 24), (1, 24, 16))  # frames, height, width
QUICK = dict(epochs=2, warmup_steps=2, progress=False)
ROUNDINGS = {
    "nearest": {},
    "gptq": {},
    "gptaq": {},
    "guided": {},
    "learned": {"rounding_steps": 4},
    "two_sided": {"output_damping": 0.3},
}


def make_scenes(shapes=SHAPES):
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(f, 3, h, w, generator=generator)) for i, (f, h, w) in enumerate(shapes)]


@pytest.fixture
def model(build_toy):
    return build_toy(seed=3)


@pytest.fixture
def problems_of(model):
    """The problems of some blocks on some scenes, by name."""

    def build(scenes, recipe="fgq", names=("F0", "G0"), **fields):
        recipe = find_recipe(recipe, 4, 4, fields)
        weights = torch.rand(model.config.num_blocks, 16, generator=torch.Generator().manual_seed(4)) + 0.01
        calibration = Calibration(recipe, weights, 0, layouts_of(model.config, scenes, "cpu"))
        inputs = embed_scenes(model, scenes, recipe, torch.device("cpu"))
        found = block_problems(model, inputs, inputs, set(names), calibration, TokenStore(), {})
        return {problem.name: problem for problem in found}

    return build


def token_counts(problems):
    return torch.tensor([float(problem.inputs[..., 0].numel()) for problem in problems], dtype=torch.float64)


def started(problem):
    recipe = problem.recipe
    return LearnableBlock(problem.block, recipe.block_spec(), problem.input_max, generator=problem.generator)


def test_every_block_gives_each_scene_what_it_gives_it_alone(model, problems_of):
    """Frames see their frame and global blocks their clip, whatever lies beside them."""
    scenes = make_scenes()
    problems = problems_of(scenes, names=model.config.block_names)
    assert isinstance(problems["F0"].calibration.layouts, UnequalLayouts)
    alone = []
    for scene in scenes:
        with torch.no_grad():
            alone.append([output.flatten(0, 1) for output in model.aggregator(scene.images[None])])
    for problem, outputs in zip(problems.values(), zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(problem.targets[0], torch.cat(outputs), rtol=1e-4, atol=1e-5)
        assert [step[1].stop for step in problem.steps()][-1] == problem.targets.shape[1]


def test_maxima_moments_and_hessians_are_those_of_the_scenes_together(problems_of):
    scenes = make_scenes()
    whole, parts = problems_of(scenes), [problems_of([scene]) for scene in scenes]
    for name, problem in whole.items():
        alone = [each[name] for each in parts]
        block = started(problem)
        for site in problem.input_max:
            highest = torch.stack([each.input_max[site] for each in alone]).amax(0)
            torch.testing.assert_close(problem.input_max[site], highest, rtol=1e-4, atol=1e-6)
        for found, expected in (
            (moments(problem), [moments(each) for each in alone]),
            (input_hessians(block, problem), [input_hessians(block, each) for each in alone]),
        ):
            for site, matrix in found.items():
                summed = sum(each[site] for each in expected)
                # A value at the border of two codes may round to the other one.
                assert (matrix - summed).norm() < 0.02 * summed.norm()


@pytest.mark.parametrize("special", [None, 8])
def test_the_loss_of_a_pair_is_the_mean_over_its_tokens(problems_of, special):
    """And so are its gradients, where frames, clips and special tokens are told apart as in a scene of its own."""
    scenes = make_scenes(((3, 16, 16), (2, 16, 24)))
    options = {"special_activation_bits": special, "activation_bits": 4 if special else 16}
    pair, parts = problems_of(scenes, **options), [problems_of([scene], **options) for scene in scenes]
    for name, problem in pair.items():
        alone = [each[name] for each in parts]
        shares = token_counts(alone) / token_counts(alone).sum()
        block = started(problem)
        ((inputs, targets),) = problem.stream(problem.inputs, problem.targets)
        loss = problem.loss(block, inputs, targets)
        by_hand = sum(
            share * each.loss(block, each.inputs, each.targets) for share, each in zip(shares, alone, strict=True)
        )
        tolerance = 0.02 if special else 1e-4
        assert loss.item() == pytest.approx(by_hand.item(), rel=tolerance)
        parameters = [*block.transform_parameters(), *block.clip_parameters()]
        found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
        expected = torch.autograd.grad(by_hand, parameters, allow_unused=True)
        if special is None:
            for gradient, truth in zip(found, expected, strict=True):
                if truth is not None:
                    assert (gradient - truth).norm() <= 1e-3 * truth.norm() + 1e-7


def test_losses_over_all_scenes_weigh_tokens(problems_of):
    scenes = make_scenes()
    whole, parts = problems_of(scenes, "rtn"), [problems_of([scene], "rtn") for scene in scenes]
    for name, problem in whole.items():
        alone = [each[name] for each in parts]
        shares = token_counts(alone) / token_counts(alone).sum()
        block = started(problem).freeze()
        found, expected = problem.measure(block), [each.measure(block) for each in alone]
        for field in ("plain", "weighted"):
            by_hand = sum(s * getattr(e, field) for s, e in zip(shares.tolist(), expected, strict=True))
            assert getattr(found, field) == pytest.approx(by_hand, rel=0.01)  # a code may tip


def test_errors_by_kind_of_token_are_means_over_all_tokens(problems_of, model):
    """By hand: every scene through the block on its own, its squares sorted by where the token stands in its frame."""
    scenes = make_scenes()
    problem, parts = problems_of(scenes, "rtn")["G0"], [problems_of([scene], "rtn")["G0"] for scene in scenes]
    block, special = started(problem).freeze(), model.config.num_special_tokens
    kinds = {0: [], 1: [], 2: []}
    for each in parts:
        layout = each.calibration.layouts.of(1)
        with torch.no_grad():
            squares = (run_block(block, "G0", each.inputs, layout) - each.targets).double().square().flatten(0, 1)
        for kind, rows in enumerate((slice(0, 1), slice(1, special), slice(special, None))):
            kinds[kind].append(squares[:, rows].flatten(0, 1))
    expected = torch.stack([torch.cat(squares).mean(0) for squares in kinds.values()])
    with torch.no_grad():
        found = output_error(block, problem)
    assert (found - expected).norm() < 0.02 * expected.norm()
    patches = sum(f * h * w // 64 for f, h, w in SHAPES)
    frames = sum(f for f, _, _ in SHAPES)
    share = special_share(problem.calibration.layouts)
    assert share == pytest.approx(special * frames / (special * frames + patches))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_way_to_round_takes_them_in_any_order(model, rounding):
    """What is summed over scenes does not ask for their order; a learnt choice of codes does, and is only run."""
    scenes, options = make_scenes(), dict(recipe="rtn", weight_bits=3, rounding=rounding, blocks=["F0", "G1"])
    options |= dict(output_probes=1, seed=4, progress=False) | ROUNDINGS[rounding]
    small = quantize(model, scenes, **options)
    other = quantize(model, scenes[::-1], **options)
    for name in options["blocks"]:
        for site in SITES:
            layers = [linear_of(dict(each.aggregator.blocks())[name], site) for each in (small, other)]
            assert torch.equal(layers[0].scale, layers[1].scale)
            if rounding != "learned":
                assert (layers[0].codes != layers[1].codes).float().mean() < 0.02, (name, site.name)
    logs = zip(small.quantization.blocks, other.quantization.blocks, strict=True)
    if rounding != "learned":
        assert all(a.final_loss == pytest.approx(b.final_loss, rel=0.1) for a, b in logs)


def test_gptq_sees_the_inputs_of_all_scenes(model):
    """H_I is Σ x xᵀ over the layers' plain inputs, which hooks collect here, scene by scene."""
    scenes = make_scenes()
    plain = dict(recipe="rtn", weight_bits=3, activation_bits=16, progress=False)
    small = quantize(model, scenes, rounding="gptq", **plain)
    seen, hooks = {}, []
    for name, block in model.aggregator.blocks():
        for site in SITES:

            def add(module, inputs, output, key=(name, site.name)):
                x = inputs[0].flatten(0, -2).double()
                seen[key] = seen.get(key, 0) + x.T @ x

            hooks.append(linear_of(block, site).register_forward_hook(add))
    with torch.no_grad():
        for scene in scenes:
            model.aggregator(scene.images[None])
    for hook in hooks:
        hook.remove()
    for (name, fixed), (_, block) in zip(small.aggregator.blocks(), model.aggregator.blocks(), strict=True):
        for site in SITES:
            layer, weight = linear_of(fixed, site), linear_of(block, site).weight
            codes, scale, _ = round_by_hessian(weight, seen[name, site.name], layer.weight_grid)
            assert torch.equal(layer.scale, scale)
            assert (layer.codes != codes).float().mean() < 0.01, (name, site.name)  # ties may tip


def test_gptaq_sums_each_layer_over_all_scenes(problems_of):
    scenes, options = make_scenes(), dict(rounding="gptaq", activation_bits=16)
    whole = problems_of(scenes, "rtn", **options)["G0"]
    alone = [problems_of([scene], "rtn", **options)["G0"] for scene in scenes]
    found = layer_after_layer(started(whole), whole)["attn_in"]
    expected = [layer_after_layer(started(each), each)["attn_in"] for each in alone]
    hessian = sum(each.hessians for each in expected)
    torch.testing.assert_close(found.hessians, hessian, rtol=1e-4, atol=1e-6)
    assert (found.drifts - sum(each.drifts for each in expected)).norm() < 1e-4 * hessian.norm()


def test_files_workers_and_a_stop_give_the_same_bits(model, tmp_path):
    """A worker gets its problem as a pickle, in whatever process it is."""
    scenes, options = make_scenes(), dict(recipe="flatquant", token_dtype="bfloat16", blocks=["F0", "G0"], **QUICK)
    whole = fingerprint(quantize(model, scenes, **options))
    assert fingerprint(quantize(model, scenes, **options, token_budget=0, token_dir=tmp_path / "tokens")) == whole
    with ThreadPoolExecutor(1) as pool:
        assert fingerprint(quantize(model, scenes, **options, executor=pool, resume_dir=tmp_path / "kept")) == whole
    (tmp_path / "kept" / "G0.safetensors").unlink()
    assert fingerprint(quantize(model, scenes, **options, resume_dir=tmp_path / "kept")) == whole
    with pytest.raises(FgqError, match="it differs in scenes"):
        quantize(model, scenes[::-1], **options, resume_dir=tmp_path / "kept")


def test_encoder_and_camera_head_are_measured_over_all_numbers(model):
    scenes = make_scenes()
    options = dict(recipe="rtn", encoder="nearest", camera_head="nearest", blocks=["F0"], progress=False)
    whole = quantize(model, scenes, **options).quantization.parts
    alone = [quantize(model, [scene], **options).quantization.parts for scene in scenes]
    patches, frames = [f * h * w for f, h, w in SHAPES], [f for f, _, _ in SHAPES]
    for part, sizes in enumerate((patches, frames)):
        by_hand = sum(n * parts[part].output_error for n, parts in zip(sizes, alone, strict=True)) / sum(sizes)
        assert whole[part].output_error == pytest.approx(by_hand, rel=0.05)


def test_scenes_are_chosen_among_unequal_ones(model):
    scenes = make_scenes(((3, 16, 16), (2, 16, 24), (5, 16, 16), (4, 16, 16)))
    options = dict(recipe="rtn", scene_choice="filtered_diverse", num_scenes=2, blocks=["F0"], progress=False)
    small = quantize(model, scenes, **options)
    assert fingerprint(small) == fingerprint(quantize(model, scenes, **options))
    long, short = np.arange(6.0), np.array([7.0, 8.0])
    assert of_one_length([long, short]).tolist() == [[0, 3], [7, 8]]
    assert of_one_length([short, short]).tolist() == [[7, 8], [7, 8]]
    assert of_one_length([long, short[:0]]).shape == (2, 0)


def test_a_scene_that_patches_do_not_tile_is_named(model):
    scenes = [*make_scenes(), Scene("odd one", torch.rand(2, 3, 16, 20))]
    with pytest.raises(FgqError, match="scene odd one: images are 16 × 20 pixels"):
        quantize(model, scenes, recipe="flatquant", **QUICK)
