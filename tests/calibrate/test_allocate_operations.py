"""Bits dealt to weights, patches and special tokens under one budget, with damages from plain loops."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

import fgq
from fgq.affine.sites import SITES
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher import estimate_fisher
from fgq.memory.bit_operations import average_bits, bit_operations
from fgq.quant import BitMap
from fgq.quant.bit_budget import allocate_operations
from fgq.quant.bits import BIT_CHOICES
from fgq.vggt.weights import fingerprint

FRAMES, HEIGHT, WIDTH = 2, 16, 24
PARTS = ("weights", "patches", "special tokens")


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=generator)) for i in range(3)]


@pytest.fixture
def fisher(toy_model, scenes):
    return estimate_fisher(toy_model, scenes, estimator="hutchinson", probes=2, progress=False)


@pytest.fixture
def dealt(toy_model, scenes, fisher):
    def run(recipe="rtn", **options):
        options = {"fisher": fisher, "progress": False, "operation_budget": 16.0} | options
        return fgq.quantize(toy_model, scenes, recipe, **options)

    return run


def rows_rounded(values, bits):
    highest = 2 ** (bits - 1) - 1
    step = values.abs().amax(-1, keepdim=True).clamp(min=1e-5) / highest
    return (values / step).round().clamp(-highest - 1, highest) * step


@torch.no_grad()
def tokens_of(model, scenes):
    """Of each scene before the first block and behind every one."""
    clips = [scene.images[None] for scene in scenes]
    return [[model.aggregator.embed(images), *model.aggregator(images)] for images in clips]


@torch.no_grad()
def damage_of(model, clips, fisher, task_weights, index, site, part, bits):
    """½ Σ F E[Δ²] of one part of one layer, by loops over clips, kinds of tokens and tasks."""
    special = model.config.num_special_tokens
    name, block = list(model.aggregator.blocks())[index]
    layout = model.aggregator.layout(torch.empty(1, FRAMES, 3, HEIGHT, WIDTH))
    total = 0.0
    for tokens in clips:

        def linear(path, values):
            layer = block.get_submodule(path)
            weight = layer.weight
            if path == site.linear and part == "weights":
                weight = rows_rounded(weight, bits)
            elif path == site.linear:
                led = torch.arange(values.shape[1]) % (special + 6) < special  # 2 × 3 patches a frame
                values = torch.where((led == (part != "patches"))[:, None], rows_rounded(values, bits), values)
            return functional.linear(values, weight, layer.bias).chunk(3 if path == "attn.qkv" else 1, -1)

        called = layout.arguments(name, tokens[index])
        error = (block.run(*called, linear).reshape(tokens[index].shape) - tokens[index + 1]).double()
        for k, preference in enumerate(task_weights):
            scale = fisher.values[k].double().mean()
            for kind, rows in enumerate((slice(0, 1), slice(1, special), slice(special, None))):
                mean = error[:, rows].square().mean((0, 1))
                total += 0.5 * preference / scale * (fisher.by_kind[k, kind, index].double() @ mean) / len(clips)
    return float(total)


@pytest.mark.parametrize("task_weights, bit_budget", [((1.0, 1.0, 1.0), None), ((1.0, 0.0, 0.0), 3.5)])
def test_the_deal_is_that_of_least_predicted_damage(toy_model, scenes, fisher, dealt, task_weights, bit_budget):
    recipe = dealt(task_weights=task_weights, bit_budget=bit_budget).quantization.recipe
    layers = [(index, site) for index in range(toy_model.config.num_blocks) for site in SITES]
    clips = tokens_of(toy_model, scenes)
    damage = [
        [
            [damage_of(toy_model, clips, fisher, task_weights, *layer, part, bits) for bits in BIT_CHOICES]
            for part in PARTS
        ]
        for layer in layers
    ]
    block = toy_model.aggregator.frame_blocks[0]
    sizes = [block.get_submodule(site.linear).weight.numel() for _, site in layers]
    best, _ = allocate_operations(np.array(damage), sizes, 3 / 9, BIT_CHOICES, 16.0, bit_budget)
    weights = [bits for own in recipe.block_weight_bits for bits in own]
    activations = [pair for own in recipe.block_activation_bits for pair in own]
    assert weights == [own.weight for own in best] and activations == [(own.patch, own.special) for own in best]
    assert len(set(weights)) > 1 and len(set(activations)) > 1  # else there would have been nothing to find


def test_the_budgets_hold_in_the_model_that_comes_out(dealt):
    operations = {}
    for budgets in ({}, {"bit_budget": 3.0}, {"operation_budget": 40.0, "bit_budget": 3.0}):
        means = average_bits(bit_operations(dealt(**budgets), FRAMES, HEIGHT, WIDTH)).loc["all"]
        limit = budgets.get("operation_budget", 16.0)
        assert means["a mac"] <= limit + 1e-6 and means["weight bits"] <= budgets.get("bit_budget", 8) + 1e-6
        operations[limit] = means["a mac"]
    assert operations[16.0] > 14 and operations[40.0] > 20  # and are made use of: three bits times eight is all


def test_a_deal_is_saved_stated_and_taken_up_again(dealt, toy_model, scenes, tmp_path):
    small = dealt(resume_dir=tmp_path / "blocks")
    recipe = small.quantization.recipe
    small.save(tmp_path / "small")
    loaded, images = fgq.load_model(tmp_path / "small"), scenes[0].images
    assert loaded.quantization.recipe == recipe and recipe.label == "rtn + activations by layer"
    stated = fgq.quantize(
        toy_model,
        recipe="rtn",
        block_weight_bits=recipe.block_weight_bits,
        block_activation_bits=recipe.block_activation_bits,
        progress=False,
    )
    (tmp_path / "blocks" / "G0.safetensors").unlink()
    resumed = dealt(resume_dir=tmp_path / "blocks")
    for other in (loaded, stated, resumed):
        assert fingerprint(other) == fingerprint(small) and torch.equal(other(images).depth, small(images).depth)
    plan = json.loads((tmp_path / "blocks" / "plan.json").read_text())["recipe"]
    assert [[tuple(pair) for pair in own] for own in plan["block_activation_bits"]] == [
        list(own) for own in recipe.block_activation_bits
    ]


@pytest.mark.filterwarnings("ignore:.*so its start was kept")
def test_learned_recipes_calibrate_every_block_at_its_own_bits(dealt, toy_model, scenes):
    options = dict(recipe="flatquant", epochs=1, progress=False)
    pairs = ((4, 8), (8, None), (16, 4), (3, 16))
    mixed = fgq.quantize(toy_model, scenes, block_activation_bits=(pairs, pairs[::-1], pairs, pairs[::-1]), **options)
    alone = fgq.quantize(toy_model, scenes, layer_activation_bits=pairs[::-1], **options)
    mine, theirs = (dict(model.aggregator.blocks())["G1"] for model in (mixed, alone))
    assert mine.spec == theirs.spec and mine.spec.activation_bits == pairs[::-1]
    assert all(torch.equal(mine.state_dict()[name], value) for name, value in theirs.state_dict().items())
    assert dealt(**options).quantization.recipe.block_activation_bits is not None  # behind transforms as they start


def test_what_cannot_be_dealt_or_stated_is_refused(dealt, toy_model):
    pair = ((4, 8),) * 4
    for options, told in (
        ({"operation_budget": 3.0}, "operation_budget must lie between 4 and 64, not 3.0"),
        ({"operation_budget": "16"}, "operation_budget must be of type"),
        ({"fisher": None}, "deals bits to blocks by their Fisher information: pass fisher="),
        ({"special_activation_bits": 8}, "stated twice"),
        ({"site_activation_bits": {"attn_in": 8}}, "stated twice"),
        ({"block_weight_bits": (4,) * 4}, "state both block_weight_bits and block_activation_bits, or neither"),
        ({"operation_budget": None, "block_activation_bits": (pair,) * 3}, "states 3 blocks, the model has 4"),
        ({"operation_budget": None, "layer_activation_bits": pair[:3]}, r"activation_bits are .*: state 4"),
        ({"operation_budget": None, "layer_activation_bits": (4, 4, 4, 4)}, r"hold pairs, .*, not 4: write \(4, 8\)"),
        ({"operation_budget": None, "layer_activation_bits": ((4, 9),) * 4}, "9 bits: choose"),
    ):
        with pytest.raises(FgqError, match=told):
            dealt(**options)


def test_what_is_rounded_is_known_from_the_deal():
    silent = dict(weight_bits=16, activation_bits=4)
    off, some = (((16, None),) * 4), ((16, None),) * 3 + ((16, 8),)
    assert not BitMap(layer_activation_bits=off, **silent).rounds_activations
    assert BitMap(layer_activation_bits=some, **silent).rounds_activations
    mixed = BitMap(block_activation_bits=(off, some), **silent)
    assert mixed.rounds_activations and not mixed.of_block(0).rounds_activations
    assert mixed.of_block(1).layer_activation_bits == some and not mixed.of_block(1).deals_bits
    assert BitMap(operation_budget=16.0, **silent).deals_bits
