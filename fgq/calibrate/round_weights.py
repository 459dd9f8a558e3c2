"""A block's weights, rounded as its recipe says once its transforms and clips are fixed.

nearest      to the nearest code
gptq         each column makes up for those before it, as far as the layer's inputs allow (fgq.quant.gptq)
gptaq        the same, towards the outputs of the full-precision model, one layer after another (arXiv:2504.02692)
guided       GPTQ for each group of output channels with inputs weighted by what the tasks feel (arXiv:2505.07004)
learned      up or down, by gradient descent on the block's error (fgq.calibrate.learned_rounding)
two_sided    rows make up for each other too, as far as the tasks feel their errors together (fgq.quant.two_sided)
"""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.quantized_block import QuantizedBlock
from fgq.affine.sites import SITES, linear_inputs
from fgq.calibrate.learned_rounding import learn_rounding
from fgq.calibrate.problem import BlockProblem, Calibration, Losses
from fgq.data.scene import Scene
from fgq.fisher.output_factors import FactorPlan, in_value_basis, output_factors
from fgq.fisher.token_squares import TokenSquares, output_squares, token_squares
from fgq.quant.output_matrix import InBlocks
from fgq.quant.rounders import ByInputs, Rounder, TwoSided
from fgq.quant.two_sided import column_factors
from fgq.vggt import VGGT

FromGradients = dict[str, dict[str, InBlocks]] | dict[str, TokenSquares]  # by block and site
OUTPUT_DAMPINGS = (0.1, 0.3, 1.0)  # tried where the recipe leaves the choice to the calibration scenes


def find_output_fisher(
    model: VGGT, scenes: Sequence[Scene], calibration: Calibration, blocks: set[str], progress: bool
) -> FromGradients:
    """Which errors of the outputs of the blocks' layers the tasks feel, and which together, by block and site."""
    recipe = calibration.recipe
    plan = FactorPlan(
        recipe.output_probes,
        calibration.seed,
        recipe.task_weights,
        blocks,
        size=recipe.output_block,
        autocast=recipe.autocast == "bfloat16",
    )
    if recipe.rounding == "learned":
        return output_squares(model, scenes, plan, recipe.scenes_per_step, progress)
    if recipe.rounding == "guided":
        return token_squares(model, scenes, plan, recipe.output_groups, recipe.scenes_per_step, progress)
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
    if recipe.rounding == "gptaq":
        yield layer_after_layer(block, problem)
        return
    if recipe.rounding == "learned":
        yield learn_rounding(block, problem)
        return
    hessians = input_hessians(block, problem)
    if recipe.rounding in ("gptq", "guided"):
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
    """Σ x xᵀ of what each layer multiplies, [shares, width, width] by site, float64.

    A share of the layer's rows for each clip; in guided rounding for each group of output channels, with Σ s x xᵀ.
    """
    squares = dict(problem.output_fisher) if problem.recipe.rounding == "guided" else {}
    for site, each in squares.items():  # what no task feels is rounded as its inputs alone say
        squares[site] = torch.where(each.sum((0, 1)) > 0, each, 1.0)
    hessians: dict[str, Tensor] = {}
    for step, (inputs,) in zip(problem.steps(), problem.stream(problem.inputs), strict=True):
        arguments = problem.calibration.layouts.of(len(inputs)).arguments(problem.name, inputs)
        for site, x in block.quantized_inputs(*arguments).items():
            weights = squares[site][step].to(x).flatten(0, 1).double() if squares else None
            product = products_of(x.double(), weights)
            hessians[site] = hessians[site] + product if site in hessians else product
    return hessians


def products_of(
    x: Float[Tensor, "clips tokens width"], weights: Float[Tensor, "tokens shares"] | None
) -> Float[Tensor, "shares width width"]:
    """Σ x xᵀ under each clip, or for each share of the weights, of which as many as any belong to a clip."""
    if weights is None:
        return x.transpose(1, 2) @ x
    shares = weights.shape[1]
    each = (x[share * len(x) // shares] for share in range(shares))
    return torch.stack([(values * weights[:, share, None]).T @ values for share, values in enumerate(each)])


@torch.no_grad()
def layer_after_layer(block: LearnableBlock, problem: BlockProblem) -> dict[str, Rounder]:
    """GPTAQ: each layer reads what those before it make of it, and aims at what it would make of exact inputs."""
    rounders: dict[str, Rounder] = {}
    for site in SITES:
        so_far, hessian, drift = block.freeze(rounders), 0.0, 0.0
        for inputs, exact in problem.stream(problem.inputs, problem.exact):
            layout = problem.calibration.layouts.of(len(inputs))
            wanted = block.transformed_inputs(*layout.arguments(problem.name, exact))[site.name]
            tokens, rotary = layout.arguments(problem.name, inputs)
            seen = linear_inputs(so_far, tokens, rotary)[1][site.name]
            x = block.quantize_input(site, seen, rotary).flatten(1, -2).double()
            hessian = hessian + x.transpose(1, 2) @ x
            drift = drift + (wanted.flatten(0, -2).double() - x).transpose(1, 2) @ x
        rounders[site.name] = ByInputs(hessian, drift)
    return rounders
