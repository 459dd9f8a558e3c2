import json
import math

import numpy as np
import pytest
import torch

from fgq.affine import QuantizedBlock
from fgq.affine.spec import AT_RUN_TIME
from fgq.calibrate import (
    RECIPES,
    Quantization,
    Recipe,
    RecipeError,
    find_recipe,
    quantize,
    replace_with_empty_blocks,
)
from fgq.calibrate import loop as calibration_loop
from fgq.calibrate.problem import BlockProblem, Losses
from fgq.data.scene import Scene
from fgq.vggt import VGGT
from fgq.vggt.aggregator import run_block
from fgq.vggt.weights import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore:.*so its start was kept")  # too few steps here to always gain
QUICK = dict(epochs=2, warmup_steps=2, progress=False)


def make_scenes(count=4, frames=2):
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(frames, 3, 16, 16, generator=generator)) for i in range(count)]


def fisher_of(model):
    config = model.config
    weights = torch.rand(config.num_blocks, config.embed_dim, generator=torch.Generator().manual_seed(6)) ** 4
    return (weights / weights.mean(1, keepdim=True)).clamp(min=0.01)


def blocks_of(model):
    return [block for _, block in model.aggregator.blocks()]


@pytest.fixture
def model(build_toy):
    return build_toy(embed_dim=32)


@pytest.fixture
def calibrated(model):
    def run(recipe, count=4, **changes):
        return quantize(model, make_scenes(count), recipe, fisher=fisher_of(model), **(QUICK | changes))

    return run


@pytest.mark.parametrize("recipe, bits", [("flatquant", (4, 4)), ("fgq", (4, 4)), ("fgq", (3, 8))])
def test_learning_beats_rounding_to_nearest_in_every_block(calibrated, recipe, bits):
    log = calibrated(recipe, count=12, weight_bits=bits[0], activation_bits=bits[1], epochs=20).quantization.blocks
    assert [block.name for block in log] == ["F0", "G0", "F1", "G1"]
    for block in log:
        assert block.final_weighted_loss < block.rtn_weighted_loss
        assert block.final_weighted_loss <= block.initial_weighted_loss
        assert block.steps == 120 and block.kept_epoch <= 20
        if recipe == "flatquant":
            assert block.final_loss == pytest.approx(block.final_weighted_loss)
            assert block.final_loss < block.rtn_loss
    # Most blocks gain by learning, beyond what their transforms' start gives.
    assert sum(block.final_weighted_loss < 0.95 * block.initial_weighted_loss for block in log) >= 3


def test_logged_losses_are_those_of_the_blocks_that_were_kept(model, calibrated):
    small, scenes, weights = calibrated("fgq"), make_scenes(), fisher_of(model)
    images = torch.stack([scene.images for scene in scenes])
    with torch.no_grad():
        targets, inputs = model.aggregator(images), model.aggregator.embed(images)
        layout = model.aggregator.layout(images)
        for (name, block), log, target, row in zip(
            small.aggregator.blocks(), small.quantization.blocks, targets, weights, strict=True
        ):
            error = (run_block(block, name, inputs, layout) - target).square()
            assert log.final_loss == pytest.approx(error.mean().item(), rel=1e-3)
            assert log.final_weighted_loss == pytest.approx((error * row).mean().item(), rel=1e-3)
            inputs = target


def test_with_quantized_inputs_a_block_makes_up_for_those_before_it(model, calibrated):
    bits = dict(weight_bits=3, activation_bits=3, epochs=20)
    apart, sequential = calibrated("flatquant", **bits), calibrated("flatquant", block_inputs="quantized", **bits)
    images = torch.stack([scene.images for scene in make_scenes()])
    with torch.no_grad():
        targets = model.aggregator(images)
        found = {name: small.aggregator(images) for name, small in (("apart", apart), ("sequential", sequential))}
    # Logged losses are those of the model as it will run, block after block.
    for log, output, target in zip(sequential.quantization.blocks, found["sequential"], targets, strict=True):
        assert log.final_loss == pytest.approx((output - target).square().mean().item(), rel=1e-3)
    # The first block has nothing before it.
    assert apart.quantization.blocks[0].final_loss == sequential.quantization.blocks[0].final_loss
    errors = {name: (outputs[-1] - targets[-1]).square().mean().item() for name, outputs in found.items()}
    assert errors["sequential"] < errors["apart"]


def test_rounding_by_gptq_behind_learnt_transforms_helps_most_blocks(calibrated):
    """The Hessian is that of the inputs as they will be: transformed, clipped and rounded."""
    options = dict(count=8, epochs=8, weight_bits=3, activation_bits=8)
    roundings = {"nearest": {}, "gptq": {"rounding": "gptq", "estimator": "hutchinson"}}
    plain, better = (calibrated("fgq", **options, **own).quantization.blocks for own in roundings.values())
    gains = [
        1 - mine.final_weighted_loss / theirs.final_weighted_loss for mine, theirs in zip(better, plain, strict=True)
    ]
    assert sum(gain > 0.05 for gain in gains) >= 3 and sum(gains) / len(gains) > 0.1


@pytest.mark.parametrize("recipe", RECIPES)
def test_sixteen_bits_predict_as_the_full_model(model, calibrated, recipe, relative_error):
    small = calibrated(recipe, weight_bits=16, activation_bits=16)
    kept = [transform for _, block in small.aggregator.blocks() for transform in block.transforms.values()]
    stays = RECIPES[recipe].transforms in AT_RUN_TIME
    assert all(transform.is_identity != stays for transform in kept)  # none is skipped for want of work
    images = make_scenes()[0].images
    with torch.no_grad():
        ours, theirs = small(images), model(images)
    for field in ("pose_enc", "depth", "world_points"):
        assert relative_error(ours[field], theirs[field]) < 2e-5


def test_bits_of_single_layers_decide_whether_there_is_anything_to_round(model, calibrated):
    """Stated bits of layers override weight_bits, for GPTQ and for learning too."""
    first = model.aggregator.frame_blocks[0]
    alone = calibrated("gptq", weight_bits=16, activation_bits=16, layer_weight_bits=(16, 16, 3, 16))
    fc1 = alone.aggregator.frame_blocks[0].mlp.fc1
    assert isinstance(first.mlp.fc1.weight, torch.nn.Parameter) and fc1.codes.unique().numel() > 2
    nearest = fc1.weight_grid.encode(first.mlp.fc1.weight.detach())[0]
    assert not torch.equal(fc1.codes, nearest)
    assert torch.equal(alone.aggregator.frame_blocks[0].attn.qkv.weight, first.attn.qkv.weight)
    assert find_recipe("fgq", 16, 16, {"layer_weight_bits": (16, 16, 3, 16)}).learns
    assert not find_recipe("fgq", 4, 16, {"block_weight_bits": (16, (16, 16, 16, 16))}).learns


def test_the_log_says_how_well_conditioned_the_kept_transforms_are(model, calibrated):
    small = calibrated("flatquant", epochs=8)
    assert any(log.kept_epoch for log in small.quantization.blocks)
    for block, log in zip(blocks_of(small), small.quantization.blocks, strict=True):
        found = [
            np.linalg.cond(np.kron(part.left.double().numpy(), part.right.double().numpy()))
            for name, part in block.transforms.items()
            if name != "attn_out"  # half of whose matrices sits in the weight of the values
        ]
        assert log.condition >= max(found) * (1 - 1e-4) and (log.condition > 1.01) == (log.kept_epoch > 0)
        diagonal = block.transforms["fc2_in"].diagonal
        assert log.diagonal_ratio >= (diagonal.max() / diagonal.min()).item() * (1 - 1e-6) > 1
    for recipe, expected in (("rtn", None), ("quarot", 1.0)):
        logs = quantize(model, recipe=recipe, progress=False).quantization.blocks
        assert all((log.condition, log.diagonal_ratio) == (expected, expected) for log in logs)


def test_a_log_from_before_conditions_were_watched_still_loads(calibrated):
    record = calibrated("quarot").quantization.to_dict()
    for block in record["blocks"]:
        del block["condition"], block["diagonal_ratio"]
    assert all(block.condition is None for block in Quantization.from_dict(record).blocks)


@pytest.mark.filterwarnings("ignore:.*rounded to nearest", "ignore:.*learning rate was lowered")
def test_at_any_rate_transforms_stay_invertible(model, monkeypatch):
    seen = []
    fit = calibration_loop.fit

    def watched(block, *args):
        found = fit(block, *args)
        transforms = block.transforms.values()
        seen.extend(side.stretch.abs() for transform in transforms for side in (transform.left, transform.right))
        assert math.isfinite(block.condition()["diagonal_ratio"])
        return found

    monkeypatch.setattr(calibration_loop, "fit", watched)
    wild = dict(learning_rate=100.0, clip_rate_factor=1e-4, warmup_steps=0)
    quantize(model, make_scenes(), "flatquant", **(QUICK | wild))
    assert torch.cat(seen).max() == 32 and torch.cat(seen).min() >= 1 / 32


def test_the_full_model_is_left_as_it_was(model):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    blocks, randomness = [block for _, block in model.aggregator.blocks()], torch.random.get_rng_state()
    small = quantize(model, make_scenes(), "flatquant", **QUICK)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert flags == {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert all(parameter.grad is None for parameter in model.parameters())
    assert blocks == [block for _, block in model.aggregator.blocks()] and model.quantization is None
    assert torch.equal(randomness, torch.random.get_rng_state())
    shared = {value.data_ptr() for value in model.state_dict().values()}
    assert not shared & {value.data_ptr() for value in small.state_dict().values()}
    assert all(isinstance(block, QuantizedBlock) for _, block in small.aggregator.blocks())


def test_the_seed_alone_decides(calibrated):
    first, again, other = (calibrated("flatquant", epochs=1, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_any_whole_number_is_a_seed(calibrated):
    negative, other = (calibrated("quarot", seed=seed).state_dict() for seed in (-1, 2**70))
    assert any(not torch.equal(negative[name], other[name]) for name in negative)


def test_a_block_does_not_depend_on_the_others(model, calibrated):
    """Inputs are full-precision outputs and randomness is per block: other bits elsewhere would change nothing."""
    whole = calibrated("flatquant", epochs=1)
    for parameter in model.aggregator.global_blocks[1].parameters():
        parameter.data.mul_(1.5)
    changed = calibrated("flatquant", epochs=1)
    for (name, a), (_, b) in zip(whole.aggregator.blocks(), changed.aggregator.blocks(), strict=True):
        same = all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
        assert same == (name != "G1")


@pytest.mark.parametrize("option", ["token_dtype", "autocast"])
def test_half_precision_changes_losses_only_a_little(calibrated, option):
    exact, rough = (calibrated("fgq", epochs=10, **changes) for changes in ({}, {option: "bfloat16"}))
    totals = []
    for small in (exact, rough):
        assert all(block.final_weighted_loss < block.rtn_weighted_loss for block in small.quantization.blocks)
        totals.append(sum(block.final_weighted_loss for block in small.quantization.blocks))
    assert totals[0] != totals[1] == pytest.approx(totals[0], rel=0.3)
    assert {value.dtype for value in rough.state_dict().values()} == {torch.float32, torch.int8}


def test_a_saved_state_loads_strictly_into_an_empty_model(model, calibrated):
    small = calibrated("fgq", epochs=1, qkv_clip="shared", weight_symmetric=False)
    record = json.loads(json.dumps(small.quantization.to_dict()))
    again = Quantization.from_dict(record)
    assert again == small.quantization
    loaded = VGGT(model.config)
    replace_with_empty_blocks(loaded, again.recipe)
    loaded.load_state_dict(small.state_dict(), strict=True)
    images = make_scenes()[0].images
    with torch.no_grad():
        assert torch.equal(loaded.eval()(images).depth, small(images).depth)


def test_rounding_to_nearest_needs_no_scenes(model):
    with_scenes = quantize(model, make_scenes(), "rtn", progress=False)
    without = quantize(model, recipe="rtn", progress=False)
    for name, value in with_scenes.state_dict().items():
        assert torch.equal(value, without.state_dict()[name])
    assert all(block.rtn_loss is None for block in without.quantization.blocks)
    assert all(block.rtn_loss == block.final_loss > 0 for block in with_scenes.quantization.blocks)


@pytest.mark.filterwarnings("ignore:.*rounded to nearest")
def test_a_loss_that_is_not_finite_falls_back_to_rounding_and_says_so(model):
    with pytest.warns(UserWarning, match="block F0: the loss became .* rounded to nearest"):
        small = quantize(model, make_scenes(), "flatquant", **(QUICK | dict(learning_rate=1e38, warmup_steps=0)))
    for block in small.quantization.blocks:
        assert math.isfinite(block.final_loss) and block.warning is not None and block.kept_epoch is None
        assert block.final_loss == pytest.approx(block.rtn_loss, rel=0.05)


def test_after_one_bad_step_learning_goes_on_from_the_best_epoch_at_a_lower_rate(model, monkeypatch):
    sound, calls, starts = BlockProblem.loss, [], []

    def loss(self, block, inputs, targets):
        calls.append(inputs)
        starts.append(block.weight_clips["fc1_in"].logits.detach().clone())
        bad = len(calls) == 40  # the last step of epoch 20
        return sound(self, block, inputs, targets) * (float("nan") if bad else 1)

    monkeypatch.setattr(BlockProblem, "loss", loss)
    with pytest.warns(UserWarning, match="block F0: the loss diverged, so the learning rate was lowered to 0.005"):
        changes = QUICK | dict(epochs=20, learning_rate=0.05)
        log = quantize(model, make_scenes(), "flatquant", **changes).quantization.blocks
    assert log[0].final_loss < log[0].initial_loss and log[0].kept_epoch >= 1
    assert all(block.warning is None for block in log[1:])
    assert len(calls) == 40 + 4 * 40
    # The second attempt starts where an epoch of the first ended, not where it failed or began.
    ends = starts[2:40:2]
    assert any(torch.equal(starts[40], end) for end in ends) and not torch.equal(starts[40], starts[0])


def rounded_at_once(model, monkeypatch, factors, **changes):
    """The log of a calibration whose measured losses are multiplied: rounding to nearest, start, what was learnt."""
    sound, calls = BlockProblem.measure, []

    def measure(self, block):
        calls.append(block)
        factor = factors[min(len(calls) - 1, len(factors) - 1)]
        found = sound(self, block)
        return Losses(found.plain * factor, found.weighted * factor)

    monkeypatch.setattr(BlockProblem, "measure", measure)
    return quantize(model, make_scenes(), "flatquant", **(QUICK | dict(epochs=1) | changes)).quantization.blocks


def test_learning_that_only_harms_keeps_the_start(model, monkeypatch):
    """Three attempts end above the start, which is still better than rounding to nearest."""
    with pytest.warns(UserWarning, match="block F0: learning raised the loss at every rate tried, so its start was"):
        log = rounded_at_once(model, monkeypatch, [1e3, 1e-3, 1, 1, 1, 1e-3])
    assert log[0].kept_epoch == 0 and log[0].final_loss == log[0].initial_loss < log[0].rtn_loss


def test_what_ends_above_rounding_to_nearest_is_rounded_to_nearest(model):
    with pytest.warns(UserWarning, match="times as high as that of rounding to nearest, so it was rounded to nearest"):
        changes = QUICK | dict(learning_rate=3.0, warmup_steps=0, epochs=1)
        log = quantize(model, make_scenes(), "flatquant", 8, 8, **changes).quantization.blocks
    fell = [block for block in log if block.warning and "rounded to nearest" in block.warning]
    assert fell and all(block.kept_epoch is None and block.final_loss == block.rtn_loss for block in fell)


def test_broken_weights_are_an_error_that_names_the_block(model):
    model.aggregator.global_blocks[0].mlp.fc1.weight.data[0, 0] = float("nan")
    with pytest.raises(RecipeError, match="full-precision output of block G0 holds NaN"):
        quantize(model, make_scenes(), "flatquant", **QUICK)


def test_a_quantized_model_is_not_quantized_again(model):
    small = quantize(model, recipe="rtn", progress=False)
    with pytest.raises(RecipeError, match="block F0 is a QuantizedBlock"):
        quantize(small, recipe="rtn", progress=False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(recipe="awq"), "recipe 'awq' is unknown"),
        (dict(recipe="flatquant", epoch=3), "no field epoch"),
        (dict(recipe="fgq"), "pass fisher="),
        (dict(recipe="flatquant", scenes_per_step=5), "4 calibration scenes are too few for a step of 5 scenes"),
        (dict(recipe=Recipe("own", transforms="kronecker"), scenes=[]), "0 calibration scenes are too few"),
    ],
)
def test_arguments_that_cannot_be_followed_are_refused(model, arguments, message):
    with pytest.raises(RecipeError, match=message):
        quantize(model, **({"scenes": make_scenes(), "progress": False} | arguments))


def test_progress_shows_block_epoch_and_loss(model, capsys):
    quantize(model, make_scenes(), "flatquant", **(QUICK | dict(progress=True, epochs=1)))
    shown = capsys.readouterr()
    assert shown.out == "" and "G1 loss" in shown.err and "8/8" in shown.err


@pytest.mark.parametrize("recipe", ["rtn", "flatquant"])
def test_in_place_the_model_itself_becomes_the_quantized_one(model, recipe):
    other = quantize(model, make_scenes(), recipe, **QUICK)
    untouched = {name: value for name, value in model.named_parameters() if "_blocks." not in name}
    same = quantize(model, make_scenes(), recipe, in_place=True, **QUICK)
    assert same is model and fingerprint(same) == fingerprint(other)
    assert same.quantization.recipe == other.quantization.recipe
    assert all(value is dict(model.named_parameters())[name] for name, value in untouched.items())


def test_without_scenes_too_a_model_is_quantized_in_place(model):
    other = quantize(model, (), "rtn")
    assert quantize(model, (), "rtn", in_place=True) is model and fingerprint(model) == fingerprint(other)


def test_an_error_in_place_leaves_finished_blocks_and_a_model_that_runs(model):
    model.aggregator.frame_blocks[1].mlp.fc2.weight.data[0, 0] = float("nan")
    with pytest.raises(RecipeError, match="block F1 holds NaN"):
        quantize(model, make_scenes(), "rtn", in_place=True, progress=False)
    assert [isinstance(block, QuantizedBlock) for _, block in model.aggregator.blocks()] == [True, True, False, False]


def test_work_on_another_device_brings_one_block_at_a_time(model, monkeypatch):
    """The device cpu:0 is another device than cpu to torch, and computes the same."""
    here = quantize(model, make_scenes(), "flatquant", **QUICK)
    away, moved_in = torch.device("cpu:0"), []
    to = torch.nn.Module.to

    def watched(module, *args, **options):
        moved_in.extend([type(module).__name__] if args[:1] == (away,) else [])
        return to(module, *args, **options)

    monkeypatch.setattr(torch.nn.Module, "to", watched)
    there = quantize(model, make_scenes(), "flatquant", device=away, **QUICK)
    assert fingerprint(there) == fingerprint(here)
    assert moved_in == ["Encoder", "Block", "Block", "Block", "Block"]
    assert {parameter.device for parameter in there.parameters()} == {torch.device("cpu")}
