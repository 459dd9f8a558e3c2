"""Post-training quantization: recipes, the block loss, the loop over blocks."""

from fgq.calibrate.calibrate import quantize, replace_with_empty_blocks
from fgq.calibrate.log import BlockLog, PartLog, Quantization
from fgq.calibrate.objective import block_loss
from fgq.calibrate.recipe import Recipe, RecipeError
from fgq.calibrate.recipes import ORIGINS, RECIPES, find_recipe

__all__ = [
    "ORIGINS",
    "RECIPES",
    "BlockLog",
    "PartLog",
    "Quantization",
    "Recipe",
    "RecipeError",
    "block_loss",
    "find_recipe",
    "quantize",
    "replace_with_empty_blocks",
]
