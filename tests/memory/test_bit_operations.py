"""Bit-operations against a count by hand, at the toy's and at VGGT-1B's size."""

import pytest
import torch

import fgq
from fgq.calibrate import find_recipe, replace_with_empty_blocks
from fgq.errors import FgqError
from fgq.memory.bit_operations import average_bits, bit_operations
from fgq.vggt import VGGTConfig
from fgq.vggt.weights import empty_model


def counted(bits_of, dim, blocks, frames, special, patches):
    """Σ over blocks, layers and tokens, one token at a time."""
    shapes = {"attn_in": 3 * dim * dim, "attn_out": dim * dim, "fc1_in": 4 * dim * dim, "fc2_in": 4 * dim * dim}
    macs = total = 0
    for block in range(blocks):
        for site, size in shapes.items():
            for token in range(frames * (special + patches)):
                weight_bits, activation_bits = bits_of(block, site, token % (special + patches) < special)
                macs += size
                total += size * weight_bits * activation_bits
    return macs, total


@pytest.mark.parametrize("frames", [1, 3])
def test_every_token_of_every_layer_is_counted(toy_model, frames):
    own = {"special_activation_bits": 8, "site_activation_bits": {"fc2_in": 6}}
    small = fgq.quantize(toy_model, recipe="rtn", layer_weight_bits=(4, 3, 8, 2), progress=False, **own)
    small.aggregator.replace_block("G1", dict(toy_model.aggregator.blocks())["G1"])
    weights = {"attn_in": 4, "attn_out": 3, "fc1_in": 8, "fc2_in": 2}

    def bits_of(block, site, special):
        if block == 3:
            return 16, 16
        return weights[site], 8 if special else 6 if site == "fc2_in" else 4

    table = bit_operations(small, frames, 16, 24)
    special, patches = toy_model.config.num_special_tokens, 6
    macs, total = counted(bits_of, 16, 4, frames, special, patches)
    assert (table.macs.sum(), table.bit_operations.sum()) == (macs, total)
    assert table[table.block == "F0"].groupby("kind").tokens.first().to_dict() == {
        "camera": frames, "register": 2 * frames, "patch": 6 * frames,
    }  # fmt: skip
    means = average_bits(table)
    assert means.loc["all", "a mac"] == pytest.approx(total / macs)
    linears = [m for n, b in small.aggregator.blocks() for p, m in b.named_modules() if hasattr(m, "weight_grid")]
    mean = (sum(m.codes.numel() * m.weight_grid.bits for m in linears) + 16 * 12 * 16**2) / (4 * 12 * 16**2)
    assert means["weight bits"].tolist() == pytest.approx([mean] * 4)  # all kinds of tokens read the same weights
    assert means.loc["camera", "activation bits"] == means.loc["register", "activation bits"] == (3 * 8 + 16) / 4


def test_special_tokens_of_vggt_1b_cost_next_to_nothing():
    """5 of 1,041 tokens a frame at 518 × 392: twice their bits are 5 / 1041 more operations."""
    config = VGGTConfig()
    tables = {}
    for own in (None, 8):
        model = empty_model(config)
        with torch.device("meta"):
            replace_with_empty_blocks(model, find_recipe("rtn", overrides={"special_activation_bits": own}))
        tables[own] = bit_operations(model, 2, 392, 518)
    first = tables[8][(tables[8].block == "F0") & (tables[8].site == "attn_in")]
    assert first.tokens.tolist() == [2, 8, 2 * 1036]
    plain, ours = (average_bits(table).loc["all"] for table in tables.values())
    assert plain["a mac"] == 16 and plain["macs"] == 48 * 12 * 1024**2 * 2 * 1041
    assert ours["a mac"] == pytest.approx(16 * (1 + 5 / 1041)) and ours["activation bits"] == pytest.approx(
        4 + 20 / 1041
    )


@pytest.mark.parametrize("frames, height, width", [(0, 16, 16), (1, 12, 16), (1, 16, 0)])
def test_sizes_that_the_model_does_not_take_are_refused(toy_model, frames, height, width):
    with pytest.raises(FgqError, match="multiples of the patch size 8"):
        bit_operations(toy_model, frames, height, width)
