"""A block's weights, rounded as its recipe says once its transforms and clips are fixed."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.quantized_block import QuantizedBlock
from fgq.calibrate.problem import BlockProblem, Calibration, Losses
from fgq.data.scene import Scene
from fgq.fisher.output_factors import FactorPlan, in_value_basis, output_factors
from fgq.quant.output_matrix import InBlocks
from fgq.quant.rounders import ByInputs, Rounder, TwoSided
from fgq.quant.two_sided import column_factors
from fgq.vggt import VGGT

OUTPUT_DAMPINGS = (0.1, 0.3, 1.0)  # tried where the recipe leaves the choice to the calibration scenes


def find_output_fisher(
    model: VGGT, scenes: Sequence[Scene], calibration: Calibration, blocks: set[str], progress: bool
) -> dict[str, dict[str, InBlocks]]:
    """Which errors of the outputs of the blocks' layers the tasks feel together, by block and site."""
    recipe = calibration.recipe
    plan = FactorPlan(
        recipe.output_probes,
        calibration.seed,
        recipe.task_weights,
        blocks,
        size=recipe.output_block,
        autocast=recipe.autocast == "bfloat16",
    )
    return output_factors(model, scenes, plan, recipe.scenes_per_step, progress=progress)


def round_weights(block: LearnableBlock, problem: BlockProblem) -> tuple[QuantizedBlock, Losses]:
    """The block with fixed codes, and its losses: of the ways to round that are tried, the one with the lowest."""
    fixed = [block.freeze(rounders) for rounders in ways_to_round(block, problem)]
    found = [(each, problem.measure(each)) for each in fixed]
    return min(found, key=lambda pair: pair[1].judged if math.isfinite(pair[1].judged) else math.inf)


def ways_to_round(block: LearnableBlock, problem: BlockProblem) -> Iterator[dict[str, Rounder]]:
    """By site, how its layer's weight is rounded; what is left out goes to the nearest code."""
    recipe = problem.recipe
    if recipe.rounding == "nearest" or not recipe.rounds_weights:
        yield {}
        return
    hessians = input_hessians(block, problem)
    if recipe.rounding == "gptq":
        yield {site: ByInputs(hessian) for site, hessian in hessians.items()}
        return
    fisher, matrices = dict(problem.output_fisher), block.matrices()
    if matrices:  # the values are rounded in the basis that attn_out's transform gives them
        fisher["attn_in"] = in_value_basis(fisher["attn_in"], matrices["attn_out"].right.forward)
    columns = {site: column_factors(hessian) for site, hessian in hessians.items()}
    for damping in OUTPUT_DAMPINGS if recipe.output_damping is None else (recipe.output_damping,):
        yield {site: TwoSided(columns[site], fisher[site], damping) for site in columns}


@torch.no_grad()
def input_hessians(block: LearnableBlock, problem: BlockProblem) -> dict[str, Tensor]:
    """Σ x xᵀ of what each layer multiplies, [clips, width, width] by site, float64."""
    hessians: dict[str, Tensor] = {}
    for (inputs,) in problem.stream(problem.inputs):
        arguments = problem.calibration.layouts.of(len(inputs)).arguments(problem.name, inputs)
        for site, x in block.quantized_inputs(*arguments).items():
            product = x.transpose(1, 2).double() @ x.double()
            hessians[site] = hessians[site] + product if site in hessians else product
    return hessians
