"""The named recipes: the published method, its rivals and what proved itself, each with its source."""

from dataclasses import replace
from typing import Any

from fgq.calibrate.recipe import Recipe, RecipeError, check_fields, with_tuples

RECIPES = {
    "rtn": Recipe("rtn"),
    "smoothquant": Recipe("smoothquant", transforms="diagonal"),  # arXiv:2211.10438
    "quarot": Recipe("quarot", transforms="rotation"),  # arXiv:2404.00456, with weights rounded to nearest
    "gptq": Recipe("gptq", rounding="gptq"),  # arXiv:2210.17323
    "gptaq": Recipe("gptaq", rounding="gptaq", block_inputs="quantized"),  # arXiv:2504.02692
    # arXiv:2505.07004, on uniform grids in place of the codebooks that its release adds
    "guidedquant": Recipe("guidedquant", rounding="guided"),
    # arXiv:2102.05426, without the step sizes of activations that it learns too
    "brecq": Recipe("brecq", rounding="learned", block_inputs="quantized"),
    # arXiv:2509.21302, without the training of clips that its release adds
    "quantvggt": Recipe("quantvggt", transforms="rotation_smoothing", scene_choice="filtered_diverse"),
    # arXiv:2512.00956, as a Kronecker product in place of one matrix for each run of neighbouring channels
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
