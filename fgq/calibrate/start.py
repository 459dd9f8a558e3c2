"""A block as its calibration starts: the recipe's transforms, set by what the calibration scenes show."""

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.affine.learnable_block import LearnableBlock, Maxima
from fgq.affine.sites import SITES, linear_inputs, linear_of
from fgq.affine.wush import wush_factors
from fgq.calibrate.problem import BlockProblem


@torch.no_grad()
def start_block(problem: BlockProblem) -> LearnableBlock:
    """The learnable block before its first step, with its transforms set by what the calibration scenes show.

    Diagonals before the matrices start at the full-precision maxima. Those behind rotations need maxima of rotated
    inputs, which these cannot tell, and closed-form matrices need second moments: the scenes run through the block once
    more.
    """
    recipe = problem.recipe
    started = LearnableBlock(
        problem.block, recipe.block_spec(), problem.input_max, recipe.smooth_alpha, problem.generator
    )
    if recipe.start == "wush":
        balance(started, moments(problem), problem.generator)
    if recipe.transforms != "rotation_smoothing":
        return started
    highest: Maxima = {}
    for (inputs,) in problem.stream(problem.inputs):
        arguments = problem.calibration.layouts.of(len(inputs)).arguments(problem.name, inputs)
        for site, values in started.transformed_inputs(*arguments).items():
            largest = values.abs().flatten(0, -2).amax(0)
            highest[site] = torch.maximum(highest.get(site, largest), largest)
    started.smooth(highest, recipe.smooth_alpha)
    return started


@torch.no_grad()
def balance(
    block: LearnableBlock, moments: dict[str, Float[Tensor, "width width"]], generator: torch.Generator
) -> None:
    """Learnable transforms start where WUSH has them (fgq.affine.wush), and their diagonals at 1.

    `moments` are Σ x xᵀ of what the full-precision layers read, by site.
    """
    for site in SITES:
        transform, weight = block.transforms[site.name], linear_of(block.block, site).weight.double()
        sizes = site.factors(weight.shape[1], block.block.attn.num_heads)
        factors = wush_factors(moments[site.name], weight.T @ weight, *sizes, generator)
        for side, factor in zip((transform.left, transform.right), factors, strict=True):
            side.become(factor)
        if transform.diagonal is not None:
            transform.diagonal.fill_(1)


def moments(problem: BlockProblem) -> dict[str, Float[Tensor, "width width"]]:
    """Σ x xᵀ of what each layer reads in the full-precision block, by site, float64."""
    found: dict[str, Tensor] = {}
    for (inputs,) in problem.stream(problem.inputs):
        arguments = problem.calibration.layouts.of(len(inputs)).arguments(problem.name, inputs)
        for site, values in linear_inputs(problem.block, *arguments)[1].items():
            flat = values.flatten(0, -2).double()
            found[site] = found.get(site, 0.0) + flat.T @ flat
    return found
