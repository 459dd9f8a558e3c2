"""How even the inputs of a model's linear layers are, block by block: before rounding, as each quantizer finds them."""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fgq.affine.quantized_block import QuantizedBlock
from fgq.affine.sites import trace_block
from fgq.affine.transplant import Images, block_inputs
from fgq.quant.flatness import crest, decibels, kurtosis, outlier_ratio
from fgq.quant.grid import Grid
from fgq.vggt.attention import Block, RotaryTable
from fgq.vggt.model import VGGT


def quantizer_inputs(
    block: Block | QuantizedBlock, x: Float[Tensor, "batch tokens channels"], rotary: RotaryTable | None = None
) -> dict[str, Tensor]:
    """By site, what stands before the rounding of activations: with the transforms, without clip and grid.

    In a quantized block each includes what rounding did earlier in the same block.
    """
    if not isinstance(block, QuantizedBlock):
        return trace_block(block, x, rotary)[1]
    transforms, attn, mlp = block.transforms, block.attn, block.mlp
    attn_in = transforms["attn_in"](block.norm1(x))
    attn_out = transforms["attn_out"](attn.mix(*attn.qkv(attn_in).chunk(3, dim=-1), rotary))
    x = x + block.ls1(attn.proj(attn_out))
    fc1_in = transforms["fc1_in"](block.norm2(x))
    fc2_in = transforms["fc2_in"](functional.gelu(mlp.fc1(fc1_in)))
    return {"attn_in": attn_in, "attn_out": attn_out, "fc1_in": fc1_in, "fc2_in": fc2_in}


@torch.no_grad()
def measure_flatness(model: VGGT, images: Images, reference: VGGT | None = None, bits: int = 4) -> pd.DataFrame:
    """One row for each block and site of what its quantizer reads, transforms included.

    Columns: `block`, `site`; `kurtosis` and `range` (highest less lowest value) of all values; `outlier_ratio`, the
    largest channel's magnitude over the median one's; `token_ratio`, the same for tokens; `crest`, the median over
    tokens of largest magnitude over root mean square; `decibels`, what a symmetric grid of `bits` with one scale a
    token leaves. Every block reads what it would get in `reference`, a full-precision model (`model` itself unless
    told), so that models are compared on the same tokens.
    """
    blocks = dict(model.aggregator.blocks())
    grid = Grid(bits, per="token")
    rows = []
    for name, _, tokens, rotary in block_inputs(reference if reference is not None else model, images):
        for site, x in quantizer_inputs(blocks[name], tokens, rotary).items():
            rows.append(
                {
                    "block": name,
                    "site": site,
                    "kurtosis": kurtosis(x),
                    "range": float(x.max() - x.min()),
                    "outlier_ratio": outlier_ratio(x),
                    "token_ratio": outlier_ratio(x.flatten(0, -2).T),
                    "crest": float(crest(x).median()),
                    "decibels": decibels(x, grid.fake_quantize(x)),
                }
            )
    return pd.DataFrame(rows)
