"""What the weights of a model take under every recipe: codes at their bits, what belongs to them, and the rest."""

import pandas as pd
import torch

from fgq.affine import empty_quantized_block
from fgq.calibrate import Recipe, find_recipe
from fgq.calibrate.recipes import RECIPES
from fgq.quant import QuantizedLinear
from fgq.vggt import VGGTConfig
from fgq.vggt.weights import empty_model

MEGABYTE = 10**6


def recipe_sizes(
    config: VGGTConfig,
    dtype: torch.dtype = torch.float32,
    weight_bits: int | None = None,
    weight_group: int | None = None,
) -> pd.DataFrame:
    """Megabytes (10^6 bytes) of a quantized model of this size, a row a recipe.

    The columns "codes" (at `weight_bits`, or the recipe's own, without gaps), "scales" (one for an output channel, or
    for `weight_group` of its weights; with zero points and clipping factors), "transforms" and "not quantized"
    (encoder, heads, norms and biases) add up to "packed", which is what `model.save` writes where it packs, but for
    gaps at the ends of rows; "saved now" is what it writes otherwise: a byte a code. All but the codes are in `dtype`.
    """
    rest = bytes_outside_blocks(config, dtype)
    rows = {}
    for name in RECIPES:
        recipe = find_recipe(name, weight_bits, overrides={"weight_group": weight_group})
        sizes = weigh_blocks(config, recipe, dtype)
        sizes["not quantized"] += rest
        codes = sizes["codes"]
        sizes["codes"] = codes * recipe.weight_bits / 8
        packed = sum(sizes.values())
        label = f"{name} w{recipe.weight_bits}a{recipe.activation_bits}"
        rows[label] = sizes | {"packed": packed, "saved now": packed - sizes["codes"] + codes}
    return (pd.DataFrame(rows).T / MEGABYTE).round(2)


def bytes_outside_blocks(config: VGGTConfig, dtype: torch.dtype) -> int:
    """Of encoder, heads and special tokens: everything but the aggregator's blocks."""
    state = empty_model(config).to(dtype).state_dict()
    blocks = ("aggregator.frame_blocks.", "aggregator.global_blocks.")
    return sum(tensor.nbytes for name, tensor in state.items() if not name.startswith(blocks))


def weigh_blocks(config: VGGTConfig, recipe: Recipe, dtype: torch.dtype) -> dict[str, float]:
    """Bytes of all quantized blocks, a byte a code, by what they are for; all blocks of a recipe are alike."""
    with torch.device("meta"):
        block = empty_quantized_block(config, recipe.block_spec()).to(dtype)
    linears = tuple(f"{name}." for name, module in block.named_modules() if isinstance(module, QuantizedLinear))
    sizes = {"codes": 0.0, "scales": 0.0, "transforms": 0.0, "not quantized": 0.0}
    for name, tensor in block.state_dict().items():
        if name.startswith(linears) and name.endswith(".codes"):
            kind = "codes"
        elif name.startswith(linears) and not name.endswith((".bias", ".weight")):
            kind = "scales"
        elif name.startswith("transforms."):
            kind = "transforms"
        else:
            kind = "not quantized"
        sizes[kind] += config.num_blocks * tensor.nbytes
    return sizes
