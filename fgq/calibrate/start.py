"""A block as its calibration starts: the recipe's transforms, set by what the calibration clips show."""

import torch

from fgq.affine.learnable_block import LearnableBlock, Maxima
from fgq.calibrate.recipe import Recipe
from fgq.calibrate.tokens import Clips, TokenLayouts, batches, block_arguments
from fgq.vggt.attention import Block


@torch.no_grad()
def start_block(
    block: Block,
    kind: str,
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
        for name, values in started.transformed_inputs(*block_arguments(kind, clips, layouts)).items():
            largest = values.abs().flatten(0, -2).amax(0)
            highest[name] = torch.maximum(highest.get(name, largest), largest)
    started.smooth(highest, recipe.smooth_alpha)
    return started
