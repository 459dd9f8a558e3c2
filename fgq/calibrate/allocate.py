"""Which layer gets how many bits: the Fisher compares blocks, which the calibration loss cannot."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.sites import SITES, linear_of
from fgq.calibrate.layouts import SceneTokens, TokenLayouts
from fgq.calibrate.loop import block_problems
from fgq.calibrate.problem import BlockProblem, Calibration
from fgq.calibrate.recipe import Recipe
from fgq.calibrate.start import start_block
from fgq.calibrate.token_store import TokenStore
from fgq.fisher import FisherTable
from fgq.fisher.damage import kind_shares, mean_by_kind, predict_damage
from fgq.fisher.merge import task_shares
from fgq.quant import bit_budget
from fgq.quant.bits import BIT_CHOICES, OFF_BITS
from fgq.vggt import VGGT
from fgq.vggt.aggregator import count_tokens, run_block


@torch.no_grad()
def allocate_bits(
    model: VGGT, inputs: SceneTokens, fisher: FisherTable, calibration: Calibration, store: TokenStore
) -> Recipe:
    """The recipe with bits for every linear layer: the least predicted damage within its budgets.

    The damage of a layer of block l at b bits is ½ Σ F[l] E[Δ²], by kind of token, where Δ is what rounding that layer
    alone does to the block's output, before anything is learnt and with unquantized activations. With an
    `operation_budget` the same is predicted of rounding the patches, or the special tokens, in front of that layer
    alone, and bits are dealt to all three. Tasks are divided by the mean of their Fisher and added up with the recipe's
    task weights, as for the block loss, but nothing is divided by a block's own mean. The best choice within the budget
    is found exactly (fgq.quant.bit_budget).
    """
    recipe, errors, sizes = calibration.recipe, [], []
    names, plans = set(model.config.block_names), trial_plans(calibration.recipe)
    unmixed = replace(calibration, recipe=replace(recipe, block_inputs="full_precision"))
    for problem in block_problems(model, inputs, inputs, names, unmixed, store, {}):
        sizes += [linear_of(problem.block, site).weight.numel() for site in SITES]
        for plan in plans:
            trial = replace(problem, calibration=replace(calibration, recipe=plan))
            errors.append(output_error(start_block(trial).freeze(), problem))
    rows = [name for name in model.config.block_names for _ in plans]
    damage = predict_damage(fisher, rows, torch.stack(errors))
    shares = task_shares(fisher.values.double(), torch.tensor(recipe.task_weights, dtype=torch.float64))
    merged = (damage @ shares).view(model.config.num_blocks, -1, len(SITES), len(BIT_CHOICES))
    by_layer = merged.transpose(1, 2).flatten(0, 1).numpy()  # [layers, parts, choices]
    if recipe.operation_budget is None:
        bits, _ = bit_budget.allocate_bits(by_layer[:, 0], sizes, BIT_CHOICES, recipe.bit_budget)
        return replace(recipe, block_weight_bits=by_block(bits))
    share = special_share(calibration.layouts)
    budgets = recipe.operation_budget, recipe.bit_budget
    dealt, _ = bit_budget.allocate_operations(by_layer, sizes, share, BIT_CHOICES, *budgets)
    weights, activations = [own.weight for own in dealt], [(own.patch, own.special) for own in dealt]
    return replace(recipe, block_weight_bits=by_block(weights), block_activation_bits=by_block(activations))


def trial_plans(recipe: Recipe) -> list[Recipe]:
    """Recipes of a block in which one layer's weights alone are rounded, in the order of sites and of BIT_CHOICES.

    With an `operation_budget`, after them those where one site's patches alone are, and its special tokens alone.
    """
    none = dict.fromkeys(("bit_budget", "operation_budget", "special_activation_bits", "site_activation_bits"))
    whole = (OFF_BITS,) * len(SITES)
    silent = replace(recipe, activation_bits=OFF_BITS, layer_weight_bits=whole, layer_activation_bits=None, **none)
    alone = [(site, bits) for site in range(len(SITES)) for bits in BIT_CHOICES]

    def one(bits: object, site: int, rest: object) -> tuple:
        return (*[rest] * site, bits, *[rest] * (len(SITES) - site - 1))

    plans = [replace(silent, layer_weight_bits=one(bits, site, OFF_BITS)) for site, bits in alone]
    if recipe.operation_budget is None:
        return plans
    off = (OFF_BITS, OFF_BITS)
    plans += [replace(silent, layer_activation_bits=one((bits, OFF_BITS), site, off)) for site, bits in alone]
    return plans + [replace(silent, layer_activation_bits=one((OFF_BITS, bits), site, off)) for site, bits in alone]


def special_share(layouts: TokenLayouts) -> float:
    """Camera tokens and registers among all tokens of the calibration scenes' frames."""
    special = layouts.config.num_special_tokens * sum(frames for frames, _, _ in layouts.shapes)
    return special / sum(count_tokens(shape, layouts.config) for shape in layouts.shapes)


def by_block(of_layers: list) -> tuple[tuple, ...]:
    """What layers have, in running order, as one tuple a block."""
    starts = range(0, len(of_layers), len(SITES))
    return tuple(tuple(of_layers[start : start + len(SITES)]) for start in starts)


def output_error(block: nn.Module, problem: BlockProblem) -> Float[Tensor, "kinds channels"]:
    """E[Δ²] of the block's output over all tokens of each kind, of all scenes, float64."""
    layouts = problem.calibration.layouts
    special = layouts.config.num_special_tokens
    shares = dict(zip(layouts.shapes, kind_shares(layouts.shapes, special), strict=True))
    total = torch.zeros(3, problem.inputs.shape[-1], dtype=torch.float64)
    for inputs, targets in problem.stream(problem.inputs, problem.targets):
        output = run_block(block, problem.name, inputs, layouts.of(len(inputs)))
        squares = (output.double() - targets.double()).square()
        for shape, scenes, frames in layouts.by_shape(squares, inputs):
            total += scenes * shares[shape][:, None] * mean_by_kind(frames, special).cpu()
    return total / layouts.count_scenes(problem.inputs)
