"""Which layer gets how many bits: the Fisher compares blocks, which the calibration loss cannot."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.sites import SITES, linear_of
from fgq.calibrate.loop import block_problems
from fgq.calibrate.problem import BlockProblem, Calibration
from fgq.calibrate.recipe import Recipe
from fgq.calibrate.start import start_block
from fgq.calibrate.token_store import TokenStore
from fgq.calibrate.tokens import SceneTokens
from fgq.fisher import FisherTable
from fgq.fisher.damage import mean_by_kind, predict_damage
from fgq.fisher.merge import task_shares
from fgq.quant import bit_budget
from fgq.quant.bits import BIT_CHOICES, OFF_BITS
from fgq.vggt import VGGT
from fgq.vggt.aggregator import run_block


@torch.no_grad()
def allocate_bits(
    model: VGGT, inputs: SceneTokens, fisher: FisherTable, calibration: Calibration, store: TokenStore
) -> Recipe:
    """The recipe with bits for every linear layer: the least predicted damage at `bit_budget` bits a weight.

    The damage of a layer of block l at b bits is ½ Σ F[l] E[Δ²], by kind of token, where Δ is what rounding that layer
    alone does to the block's output, before anything is learnt and with unquantized activations. Tasks are divided by
    the mean of their Fisher and added up with the recipe's task weights, as for the block loss, but nothing is divided
    by a block's own mean. The best choice within the budget is found exactly (fgq.quant.bit_budget).
    """
    recipe, errors, sizes = calibration.recipe, [], []
    names = set(model.config.block_names)
    unmixed = replace(calibration, recipe=replace(recipe, block_inputs="full_precision"))
    for problem in block_problems(model, inputs, inputs, names, unmixed, store, {}):
        for position, site in enumerate(SITES):
            sizes.append(linear_of(problem.block, site).weight.numel())
            for bits in BIT_CHOICES:
                alone = [OFF_BITS] * len(SITES)
                alone[position] = bits
                plan = replace(recipe, bit_budget=None, layer_weight_bits=tuple(alone), activation_bits=OFF_BITS)
                trial = replace(problem, calibration=replace(calibration, recipe=plan))
                errors.append(output_error(start_block(trial).freeze(), problem))
    rows = [name for name in model.config.block_names for _ in SITES for _ in BIT_CHOICES]
    damage = predict_damage(fisher, rows, torch.stack(errors))
    shares = task_shares(fisher.values.double(), torch.tensor(recipe.task_weights, dtype=torch.float64))
    merged = (damage @ shares).view(-1, len(BIT_CHOICES))
    bits, _ = bit_budget.allocate_bits(merged.numpy(), sizes, BIT_CHOICES, recipe.bit_budget)
    return replace(recipe, block_weight_bits=tuple(map(tuple, np.reshape(bits, (-1, len(SITES))).tolist())))


def output_error(block: nn.Module, problem: BlockProblem) -> Float[Tensor, "kinds channels"]:
    """E[Δ²] of the block's output over all scenes, by kind of token, float64."""
    layouts = problem.calibration.layouts
    total = torch.zeros(3, problem.inputs.shape[-1], dtype=torch.float64)
    for inputs, targets in problem.stream(problem.inputs, problem.targets):
        output = run_block(block, problem.name, inputs, layouts.of(len(inputs)))
        squares = (output.double() - targets.double()).square()
        total += len(output) * mean_by_kind(squares.flatten(0, 1), layouts.config.num_special_tokens).cpu()
    return total / len(problem.inputs)
