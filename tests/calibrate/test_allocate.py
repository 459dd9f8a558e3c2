"""Bits dealt to blocks by their Fisher: against every allocation, with damages from plain loops."""

from itertools import product

import pytest
import torch

import fgq
from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.spec import BlockSpec
from fgq.calibrate import RecipeError
from fgq.calibrate.recipe import BIT_CHOICES, find_recipe
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher import FisherTable, estimate_fisher
from fgq.quant.grid import Grid
from fgq.vggt.aggregator import run_block


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(3)]


@pytest.fixture
def fisher(toy_model, scenes):
    return estimate_fisher(toy_model, scenes, estimator="hutchinson", probes=2, progress=False)


def bits_of(model):
    return [block.spec.weight.bits for _, block in model.aggregator.blocks()]


@torch.no_grad()
def plain_damage(model, scenes, fisher, task_weights):
    """[blocks][choices], by loops over clips, kinds of tokens and tasks."""
    special = model.config.num_special_tokens
    kinds = (slice(0, 1), slice(1, special), slice(special, None))
    damage = []
    for index, (name, block) in enumerate(model.aggregator.blocks()):
        row = []
        for bits in BIT_CHOICES:
            rounded = LearnableBlock(block, BlockSpec(Grid(bits), Grid(16, per="token"))).freeze()
            total = 0.0
            for scene in scenes:
                images = scene.images[None]
                tokens = [model.aggregator.embed(images), *model.aggregator(images)]
                layout = model.aggregator.layout(images)
                error = run_block(rounded, name[0], tokens[index], layout) - tokens[index + 1]
                for k, weight in enumerate(task_weights):
                    scale = fisher.values[k].double().mean()
                    for kind, rows in enumerate(kinds):
                        mean = error[:, rows].double().square().mean((0, 1))
                        total += weight / scale * (fisher.by_kind[k, kind, index].double() @ mean) / len(scenes)
            row.append(float(total))
        damage.append(row)
    return damage


@pytest.mark.parametrize("task_weights", [(1.0, 1.0, 1.0), (1.0, 0.0, 0.0)])
def test_the_bits_are_those_of_least_predicted_damage(toy_model, scenes, fisher, task_weights):
    small = fgq.quantize(
        toy_model, scenes, recipe="rtn", fisher=fisher, bit_budget=3.5, task_weights=task_weights, progress=False
    )
    damage = plain_damage(toy_model, scenes, fisher, task_weights)
    fits = [c for c in product(range(len(BIT_CHOICES)), repeat=4) if sum(BIT_CHOICES[i] for i in c) <= 3.5 * 4]
    best = min(fits, key=lambda choice: sum(row[i] for row, i in zip(damage, choice, strict=True)))
    assert bits_of(small) == [BIT_CHOICES[i] for i in best] == list(small.quantization.recipe.block_weight_bits)
    assert len(set(bits_of(small))) > 1  # else there would have been nothing to find


def test_what_was_dealt_is_saved_and_can_be_stated(toy_model, scenes, fisher, tmp_path):
    small = fgq.quantize(toy_model, scenes, recipe="rtn", fisher=fisher, bit_budget=3.0, progress=False)
    small.save(tmp_path / "small")
    loaded = fgq.load_model(tmp_path / "small")
    assert loaded.quantization.recipe == small.quantization.recipe and bits_of(loaded) == bits_of(small)
    images = scenes[0].images
    assert torch.equal(loaded(images).depth, small(images).depth)
    stated = fgq.quantize(toy_model, recipe="rtn", block_weight_bits=bits_of(small))
    assert torch.equal(stated(images).depth, small(images).depth)
    again = find_recipe(small.quantization.recipe)
    assert not again.deals_bits and again.of_block(2).weight_bits == bits_of(small)[2]


def test_learned_recipes_calibrate_every_block_at_its_own_bits(toy_model, scenes, fisher):
    options = dict(recipe="fgq", fisher=fisher, epochs=1, progress=False)
    mixed = fgq.quantize(toy_model, scenes, block_weight_bits=(8, 2, 4, 3), **options)
    assert bits_of(mixed) == [8, 2, 4, 3]
    at_two = fgq.quantize(toy_model, scenes, weight_bits=2, **options)
    mine, theirs = (dict(model.aggregator.blocks())["G0"].state_dict() for model in (mixed, at_two))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)  # blocks do not know of one another


def test_the_block_loss_merges_tasks_by_the_recipe_s_weights(toy_model, scenes, fisher):
    options = dict(recipe="fgq", epochs=1, progress=False)
    by_recipe = fgq.quantize(toy_model, scenes, fisher=fisher, task_weights=(0, 0, 1), **options)
    by_hand = fgq.quantize(toy_model, scenes, fisher=fisher.calibration_weights({"points": 1.0}), **options)
    images = scenes[0].images
    assert torch.equal(by_recipe(images).depth, by_hand(images).depth)


def test_what_cannot_be_dealt_is_refused(toy_model, scenes, fisher):
    def refused(**options):
        with pytest.raises(RecipeError) as caught:
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
    without_kinds = FisherTable(fisher.values, fisher.tasks, fisher.block_names, "hutchinson")
    with pytest.raises(FgqError, match="kinds of tokens"):
        fgq.quantize(toy_model, scenes, recipe="rtn", bit_budget=4.0, fisher=without_kinds, progress=False)
