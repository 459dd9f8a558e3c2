"""Bits dealt to layers by their Fisher, with damages from plain loops and weights rounded by hand."""

import copy

import numpy as np
import pytest
import torch

import fgq
from fgq.affine.sites import SITES
from fgq.calibrate import find_recipe
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher import FisherTable, estimate_fisher
from fgq.quant.bit_budget import allocate_bits
from fgq.quant.bits import BIT_CHOICES
from fgq.vggt.aggregator import run_block


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(3)]


@pytest.fixture
def fisher(toy_model, scenes):
    return estimate_fisher(toy_model, scenes, estimator="hutchinson", probes=2, progress=False)


def bits_of(model):
    """Of each layer, from its codes' grid."""
    linears = [block.get_submodule(site.linear) for _, block in model.aggregator.blocks() for site in SITES]
    return [linear.weight_grid.bits for linear in linears]


def flat(nested):
    return [bits for block in nested for bits in block]


@torch.no_grad()
def plain_damage(model, scenes, fisher, task_weights):
    """[layers][choices] and sizes, by loops over clips, kinds of tokens and tasks; weights are rounded in place."""
    special = model.config.num_special_tokens
    kinds = (slice(0, 1), slice(1, special), slice(special, None))
    damage, sizes = [], []
    layers = [(i, name, block, site) for i, (name, block) in enumerate(model.aggregator.blocks()) for site in SITES]
    for index, name, block, site in layers:
        row = []
        for bits in BIT_CHOICES:
            rounded = copy.deepcopy(block)
            weight = rounded.get_submodule(site.linear).weight
            step = weight.abs().amax(1, keepdim=True).clamp(min=1e-5) / (2 ** (bits - 1) - 1)
            weight.copy_((weight / step).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step)
            total = 0.0
            for scene in scenes:
                images = scene.images[None]
                tokens = [model.aggregator.embed(images), *model.aggregator(images)]
                layout = model.aggregator.layout(images)
                error = run_block(rounded, name, tokens[index], layout) - tokens[index + 1]
                for k, preference in enumerate(task_weights):
                    scale = fisher.values[k].double().mean()
                    for kind, rows in enumerate(kinds):
                        mean = error[:, rows].double().square().mean((0, 1))
                        total += preference / scale * (fisher.by_kind[k, kind, index].double() @ mean) / len(scenes)
            row.append(float(total))
        damage.append(row)
        sizes.append(weight.numel())
    return damage, sizes


@pytest.mark.parametrize("task_weights", [(1.0, 1.0, 1.0), (1.0, 0.0, 0.0)])
def test_the_bits_are_those_of_least_predicted_damage(toy_model, scenes, fisher, task_weights):
    small = fgq.quantize(
        toy_model, scenes, recipe="rtn", fisher=fisher, bit_budget=3.5, task_weights=task_weights, progress=False
    )
    damage, sizes = plain_damage(toy_model, scenes, fisher, task_weights)
    best, _ = allocate_bits(np.array(damage), sizes, BIT_CHOICES, 3.5)
    assert bits_of(small) == best == flat(small.quantization.recipe.block_weight_bits)
    assert np.dot(best, sizes) <= 3.5 * sum(sizes)
    assert len(set(best)) > 1  # else there would have been nothing to find


def test_what_was_dealt_is_saved_and_can_be_stated(toy_model, scenes, fisher, tmp_path):
    small = fgq.quantize(toy_model, scenes, recipe="rtn", fisher=fisher, bit_budget=3.0, progress=False)
    small.save(tmp_path / "small")
    loaded = fgq.load_model(tmp_path / "small")
    assert loaded.quantization.recipe == small.quantization.recipe and bits_of(loaded) == bits_of(small)
    images = scenes[0].images
    assert torch.equal(loaded(images).depth, small(images).depth)
    stated = fgq.quantize(toy_model, recipe="rtn", block_weight_bits=small.quantization.recipe.block_weight_bits)
    assert torch.equal(stated(images).depth, small(images).depth)
    again = find_recipe(small.quantization.recipe)
    assert not again.deals_bits and list(again.of_block(1).layer_weight_bits) == bits_of(small)[4:8]


def test_learned_recipes_calibrate_every_block_at_its_own_bits(toy_model, scenes, fisher):
    options = dict(recipe="fgq", fisher=fisher, epochs=1, progress=False)
    mixed = fgq.quantize(toy_model, scenes, block_weight_bits=(8, 2, (4, 3, 2, 16), 3), **options)
    assert bits_of(mixed) == [8] * 4 + [2] * 4 + [4, 3, 2, 16] + [3] * 4
    at_two = fgq.quantize(toy_model, scenes, weight_bits=2, **options)
    mine, theirs = (dict(model.aggregator.blocks())["G0"].state_dict() for model in (mixed, at_two))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)  # blocks do not know of one another


def test_the_block_loss_merges_tasks_by_the_recipe_s_weights(toy_model, scenes, fisher):
    options = dict(recipe="fgq", epochs=1, progress=False)
    by_recipe = fgq.quantize(toy_model, scenes, fisher=fisher, task_weights=(0, 0, 1), **options)
    by_hand = fgq.quantize(toy_model, scenes, fisher=fisher.calibration_weights({"points": 1.0}), **options)
    images = scenes[0].images
    assert torch.equal(by_recipe(images).depth, by_hand(images).depth)
    stated = [small.quantization.recipe.estimator for small in (by_recipe, by_hand)]
    assert stated == [fisher.estimator, None]  # of plain weights nobody knows where they come from


def test_what_cannot_be_dealt_is_refused(toy_model, scenes, fisher):
    def refused(**options):
        with pytest.raises(FgqError) as caught:
            fgq.quantize(toy_model, scenes, recipe="rtn", progress=False, **options)
        return str(caught.value)

    assert "pass fisher= a table" in refused(bit_budget=4.0)
    assert "pass fisher= a table" in refused(bit_budget=4.0, fisher=torch.ones(4, toy_model.config.embed_dim))
    assert "between 2 and 8" in refused(bit_budget=1.5, fisher=fisher)
    assert "3 numbers, for camera, depth, points" in refused(task_weights=(1.0, 2.0))
    assert "one above 0" in refused(task_weights=(0.0, 0.0, 0.0))
    assert "block_weight_bits states 2 blocks, the model has 4" in refused(block_weight_bits=(4, 4))
    assert "of type" in refused(bit_budget="4")
    with pytest.raises(FgqError, match="9 bits"):
        fgq.quantize(toy_model, recipe="rtn", block_weight_bits=(4, 4, 4, 9))
    with pytest.raises(FgqError, match="state 4, for q/k/v"):
        fgq.quantize(toy_model, recipe="rtn", layer_weight_bits=(4, 4))
    without_kinds = FisherTable(fisher.values, fisher.tasks, fisher.block_names, "hutchinson")
    with pytest.raises(FgqError, match="kinds of tokens"):
        fgq.quantize(toy_model, scenes, recipe="rtn", bit_budget=4.0, fisher=without_kinds, progress=False)
