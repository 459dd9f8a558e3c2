"""A block as its calibration starts: the recipe's transforms, set by what the calibration clips show."""

import torch

from fgq.affine.learnable_block import LearnableBlock, Maxima
from fgq.calibrate.recipe import Recipe
from fgq.calibrate.tokens import Clips, TokenLayouts, batches
from fgq.vggt.attention import Block


@torch.no_grad()
def start_block(
    block: Block,
    name: str,
    inputs: Clips,
    input_max: Maxima,
    layouts: TokenLayouts,
    recipe: Recipe,
    generator: torch.Generator,
) -> LearnableBlock:
    """The learnable block of a recipe, before its first step.

    Diagonals before the matrices start at `input_max`, the full-precision maxima. Those behind rotations need maxima of
    rotated inputs, which `input_max` cannot tell: the clips `inputs` run through the block once more.
    """
    started = LearnableBlock(block, recipe.block_spec(), input_max, recipe.smooth_alpha, generator)
    if recipe.transforms != "rotation_smoothing":
        return started
    highest: Maxima = {}
    for batch in batches(len(inputs), recipe.clips_per_step):
        clips = layouts.bring(inputs[batch]).float()
        arguments = layouts.of(len(clips)).arguments(name, clips)
        for site, values in started.transformed_inputs(*arguments).items():
            largest = values.abs().flatten(0, -2).amax(0)
            highest[site] = torch.maximum(highest.get(site, largest), largest)
    started.smooth(highest, recipe.smooth_alpha)
    return started
