"""How even the inputs of a model's linear layers are, block by block: before rounding, as each quantizer finds them."""

import pandas as pd
import torch

from fgq.affine.sites import linear_inputs
from fgq.affine.transplant import Images, block_inputs
from fgq.quant.flatness import crest, decibels, kurtosis, outlier_ratio
from fgq.quant.grid import Grid
from fgq.vggt.model import VGGT


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
        for site, x in linear_inputs(blocks[name], tokens, rotary)[1].items():
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
