import pytest
import torch
from safetensors.torch import load_file

import fgq
from fgq.calibrate import find_recipe
from fgq.memory.recipes import bytes_outside_blocks, recipe_sizes, weigh_blocks
from fgq.vggt import VGGTConfig


@pytest.mark.parametrize("recipe", ["rtn", "quarot"])
@pytest.mark.parametrize("bits, group", [(4, None), (3, 8), (16, None)])
def test_what_is_weighed_is_what_is_saved(toy_model, tmp_path, recipe, bits, group):
    fgq.quantize(toy_model, recipe=recipe, weight_bits=bits, weight_group=group).save(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    config = toy_model.config
    kinds = weigh_blocks(config, find_recipe(recipe, bits, overrides={"weight_group": group}), torch.float32)
    rest = bytes_outside_blocks(config, torch.float32)
    assert rest + sum(kinds.values()) == sum(tensor.nbytes for tensor in stored.values())
    assert kinds["codes"] == sum(tensor.numel() for name, tensor in stored.items() if name.endswith(".codes"))
    assert (kinds["transforms"] > 0) == (recipe == "quarot") and (kinds["codes"] > 0) == (bits < 16)


def test_packed_codes_take_their_bits():
    """VGGT-1B: 12 C² weights a block of the aggregator, 48 blocks, at four bits (arXiv:2503.11651)."""
    config = VGGTConfig()
    table = recipe_sizes(config)
    codes = 48 * 12 * 1024**2
    assert (table.codes == round(codes / 2 / 1e6, 2)).all()
    assert (table["saved now"] - table.packed - codes / 2 / 1e6).abs().max() < 0.02
    eight = recipe_sizes(config, torch.bfloat16, weight_bits=8)
    assert (eight.codes == round(codes / 1e6, 2)).all() and (eight.packed == eight["saved now"]).all()
    parts = table[["codes", "scales", "transforms", "not quantized"]].sum(axis=1)
    assert (parts - table.packed).abs().max() < 0.03
    assert abs(eight["not quantized"].to_numpy() / table["not quantized"].to_numpy() - 0.5).max() < 1e-4


def test_groups_of_128_weights_have_a_scale_each():
    """VGGT-1B: 12 C² weights a block, 48 blocks; in rows alone, one scale for each of 9 C output channels."""
    whole, grouped = (recipe_sizes(VGGTConfig(), weight_group=group) for group in (None, 128))
    more = 48 * 4 * (12 * 1024**2 / 128 - 9 * 1024) / 1e6
    assert (grouped.scales - whole.scales)["rtn w4a4"] == pytest.approx(more, abs=0.02)
    assert (grouped.codes == whole.codes).all()
