"""What bits cost when a model runs: multiplications of so many bits by so many, by layer and kind of token."""

import pandas as pd

from fgq.affine import SITES, BlockSpec, QuantizedBlock
from fgq.errors import FgqError
from fgq.quant import Grid
from fgq.vggt import VGGT
from fgq.vggt.token_kinds import count_kinds

UNROUNDED = BlockSpec(Grid(16), Grid(16, per="token"))
COLUMNS = ["block", "site", "kind", "tokens", "macs", "weight_bits", "activation_bits", "bit_operations"]


def bit_operations(model: VGGT, frames: int, height: int, width: int) -> pd.DataFrame:
    """A row for every block, site and kind of token, for one clip of `frames` images of height × width pixels.

    `tokens` are those of all frames, `macs` the multiplications (each with an addition) that the linear layer behind
    the site does for them, `bit_operations` those times the bits of both factors: 16 where nothing is rounded. The
    products inside attention, which no recipe rounds, encoder, heads and transforms are not among them. Values are not
    read: the model may be one without storage. Raises FgqError for a size that is no multiple of the patch size and for
    no frames.
    """
    config = model.config
    patch, special = config.patch_size, config.num_special_tokens
    if frames < 1 or min(height, width) < patch or height % patch or width % patch:
        raise FgqError(
            f"{frames} frames of {height} × {width} pixels: give at least one frame, and sides that are multiples of "
            f"the patch size {patch}"
        )
    counts = count_kinds(special + (height // patch) * (width // patch), special)
    rows = []
    for name, block in model.aggregator.blocks():
        spec = block.spec if isinstance(block, QuantizedBlock) else UNROUNDED
        for site in SITES:
            linear = block.get_submodule(site.linear)
            weight_bits, patch_bits = spec.weight_at(site).bits, spec.activation_at(site).bits
            own = spec.special_at(site)
            for kind, count in counts.items():
                macs = frames * count * linear.in_features * linear.out_features
                bits = patch_bits if own is None or kind == "patch" else own.bits
                cost = macs * weight_bits * bits
                rows.append([str(name), site.name, kind, frames * count, macs, weight_bits, bits, cost])
    return pd.DataFrame(rows, columns=COLUMNS)


def average_bits(operations: pd.DataFrame) -> pd.DataFrame:
    """Of a table of `bit_operations`, by kind of token and for all: macs, average bits, bit-operations, those a mac.

    Averages are over macs: every weight and every activation counts as often as it is multiplied, which for weights is
    equally often.
    """
    parts = {kind: part for kind, part in operations.groupby("kind", sort=False)} | {"all": operations}
    rows = {}
    for kind, part in parts.items():
        macs, cost = part.macs.sum(), part.bit_operations.sum()
        if not macs:  # a model without registers
            continue
        weight, activation = ((part.macs * part[side]).sum() / macs for side in ("weight_bits", "activation_bits"))
        rows[kind] = [macs, weight, activation, cost, cost / macs]
    columns = ["macs", "weight bits", "activation bits", "bit-operations", "a mac"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)
