"""Which layer gets how many bits: the Fisher compares blocks, which the calibration loss cannot."""

import copy
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.sites import SITES, linear_of
from fgq.calibrate.block_loop import block_generator
from fgq.calibrate.recipe import BIT_CHOICES, Recipe
from fgq.calibrate.start import start_block
from fgq.calibrate.token_store import TokenStore
from fgq.calibrate.tokens import Clips, TokenLayouts, batches, run_full_precision
from fgq.fisher import FisherTable
from fgq.fisher.damage import mean_by_kind, predict_damage
from fgq.quant import bit_budget
from fgq.quant.grid import OFF_BITS
from fgq.vggt import VGGT
from fgq.vggt.aggregator import run_block


@torch.no_grad()
def allocate_bits(
    model: VGGT,
    inputs: Clips,
    layouts: TokenLayouts,
    recipe: Recipe,
    fisher: FisherTable,
    seed: int,
    store: TokenStore,
) -> Recipe:
    """The recipe with bits for every linear layer: the least predicted damage at `bit_budget` bits a weight.

    The damage of a layer of block l at b bits is ½ Σ F[l] E[Δ²], by kind of token, where Δ is what rounding that layer
    alone does to the block's output, before anything is learnt and with unquantized activations. Tasks are divided by
    the mean of their Fisher and added up with the recipe's task weights, as for the block loss, but nothing is divided
    by a block's own mean. The best choice within the budget is found exactly (fgq.quant.bit_budget).
    """
    errors, sizes = [], []
    for index, (name, resting) in enumerate(model.aggregator.blocks()):
        block = copy.deepcopy(resting).to(layouts.device)
        targets, input_max = run_full_precision(block, name, inputs, layouts, recipe, store)
        for position, site in enumerate(SITES):
            sizes.append(linear_of(block, site).weight.numel())
            for bits in BIT_CHOICES:
                alone = [OFF_BITS] * len(SITES)
                alone[position] = bits
                plan = replace(recipe, layer_weight_bits=tuple(alone), activation_bits=OFF_BITS)
                generator = block_generator(seed, index)
                rounded = start_block(block, name, inputs, input_max, layouts, plan, generator).freeze()
                errors.append(output_error(rounded, name, inputs, targets, layouts, recipe.clips_per_step))
        inputs = targets
    rows = [name for name in model.config.block_names for _ in SITES for _ in BIT_CHOICES]
    damage = predict_damage(fisher, rows, torch.stack(errors))
    weights = torch.tensor(recipe.task_weights, dtype=torch.float64)
    scale = fisher.values.double().mean((1, 2))
    merged = torch.where(weights > 0, weights * damage / scale, 0.0).sum(1).view(-1, len(BIT_CHOICES))
    bits, _ = bit_budget.allocate_bits(merged.numpy(), sizes, BIT_CHOICES, recipe.bit_budget)
    return replace(recipe, block_weight_bits=tuple(map(tuple, np.reshape(bits, (-1, len(SITES))).tolist())))


def output_error(
    block: nn.Module, name: str, inputs: Clips, targets: Clips, layouts: TokenLayouts, clips_per_step: int
) -> Float[Tensor, "kinds channels"]:
    """E[Δ²] of the block's output over all clips, by kind of token, float64."""
    special = layouts.config.num_special_tokens
    total = torch.zeros(3, inputs.shape[-1], dtype=torch.float64)
    for batch in batches(len(inputs), clips_per_step):
        clips = layouts.bring(inputs[batch]).float()
        output = run_block(block, name, clips, layouts.of(len(clips)))
        squares = (output.double() - layouts.bring(targets[batch]).double()).square()
        total += len(output) * mean_by_kind(squares.flatten(0, 1), special).cpu()
    return total / len(inputs)
