"""The named recipes: the published method, its rivals and what proved itself, each with its source."""

from dataclasses import replace
from typing import Any

from fgq.calibrate.recipe import Recipe, RecipeError, check_fields, with_tuples

RECIPES = {
    "rtn": Recipe("rtn"),
    "smoothquant": Recipe("smoothquant", transforms="diagonal"),
    "quarot": Recipe("quarot", transforms="rotation"),
    "gptq": Recipe("gptq", rounding="gptq"),
    "gptaq": Recipe("gptaq", rounding="gptaq", block_inputs="quantized"),
    "guidedquant": Recipe("guidedquant", rounding="guided"),
    "brecq": Recipe("brecq", rounding="learned", block_inputs="quantized"),
    "quantvggt": Recipe("quantvggt", transforms="rotation_smoothing", scene_choice="filtered_diverse"),
    "quantvggt-clips": Recipe(
        "quantvggt-clips", transforms="rotation_smoothing", scene_choice="filtered_diverse", clipping="learned"
    ),
    "wush": Recipe("wush", transforms="kronecker", start="wush", epochs=0),
    "flatquant": Recipe("flatquant", transforms="kronecker", clipping="learned"),
    "fgq": Recipe("fgq", transforms="kronecker", clipping="learned", weighting="fisher", estimator="sum_of_outputs"),
    # What proved itself: the Fisher across output channels where weights are rounded, and 8 bits where it is largest.
    "fgq+": Recipe(
        "fgq+",
        transforms="kronecker",
        clipping="learned",
        rounding="two_sided",
        special_activation_bits=8,
    ),
}
# Where each is from, and what of it is otherwise here or left out.
ORIGINS = {
    "rtn": ("", "round to nearest: scales from the largest magnitude, nothing learnt"),
    "smoothquant": ("arXiv:2211.10438", "only where a LayerNorm can take the diagonal"),
    "quarot": ("arXiv:2404.00456", "rotations of this model's four sites; weights to nearest, which GPTQ may replace"),
    "gptq": ("arXiv:2210.17323", "columns in their given order"),
    "gptaq": (
        "arXiv:2504.02692",
        "columns in their given order; a quarter of a drift is made up for, as in its release",
    ),
    "guidedquant": ("arXiv:2505.07004", "gradients of the tasks' outputs; on uniform grids in place of codebooks"),
    "brecq": ("arXiv:2102.05426", "1,600 steps in place of 20,000; step sizes of activations are not learnt"),
    "quantvggt": ("arXiv:2509.21302", "without the learnt clips that its release can add"),
    "quantvggt-clips": ("arXiv:2509.21302", "with learnt clips of weights and activations, by FlatQuant's loop"),
    "wush": ("arXiv:2512.00956", "a Kronecker product in place of one matrix for each run of neighbouring channels"),
    "flatquant": ("arXiv:2410.09426", "transforms of the four sites as in FGQ's release"),
    "fgq": ("arXiv:2605.15828", "the release's learning rate 5e-3, where the paper has 1e-2"),
    "fgq+": ("", "flatquant, two-sided rounding after YAQA (arXiv:2505.22988), special tokens at 8 bits"),
}
DEALT = ("operation_budget", "layer_activation_bits", "block_activation_bits")  # state what special tokens keep


def find_recipe(
    recipe: str | Recipe,
    weight_bits: int | None = None,
    activation_bits: int | None = None,
    overrides: dict[str, Any] | None = None,
) -> Recipe:
    """A recipe by name or as a value, with bits (None keeps the recipe's own) and other fields replaced.

    Of a named recipe the special tokens' own bits give way to a deal of all activation bits, and to as many for all.
    """
    named = isinstance(recipe, str)
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise RecipeError(f"recipe {recipe!r} is unknown: choose {', '.join(RECIPES)}, or pass a Recipe")
        recipe = RECIPES[recipe]
    bits = {"weight_bits": weight_bits, "activation_bits": activation_bits}
    changes = dict(overrides or {}) | {name: value for name, value in bits.items() if value is not None}
    check_fields(changes)
    if named and recipe.special_activation_bits is not None:
        has_as_many = changes.get("activation_bits", recipe.activation_bits) >= recipe.special_activation_bits
        if has_as_many or any(changes.get(name) is not None for name in DEALT):
            changes = {"special_activation_bits": None} | changes
    return replace(recipe, **with_tuples(changes))
