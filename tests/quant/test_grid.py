from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fgq.errors import FgqError
from fgq.quant import BITS, Grid, decode

GOLDEN = load_file(Path(__file__).parents[1] / "data" / "quantized_blocks.safetensors")
NAMES = {True: "sym", False: "asym"}


def values(rows=5, width=40, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_are_rounded_as_by_the_reference(bits, symmetric):
    ours = Grid(bits, symmetric).fake_quantize(GOLDEN["prim.x"])
    assert torch.equal(ours, GOLDEN[f"prim.weight.b{bits}.{NAMES[symmetric]}"])


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_clipped_activations_are_rounded_as_by_the_reference(bits, symmetric):
    x, grid = GOLDEN["prim.x"], Grid(bits, symmetric, per="token")
    low, high = grid.find_range(x)
    ours = grid.fake_quantize(x, 0.9 * low, 0.9 * high)
    assert torch.equal(ours, GOLDEN[f"prim.act_clip0.9.b{bits}.{NAMES[symmetric]}"])


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_every_value_goes_to_its_nearest_grid_point(bits, symmetric):
    x, grid = values(), Grid(bits, symmetric)
    scale, zero = grid.find_scale(*grid.find_range(x))
    rounded = grid.fake_quantize(x)
    for row, ours, step, shift in zip(
        x, rounded, scale, zero if zero is not None else torch.zeros(len(x)), strict=True
    ):
        points = [(code - shift.item()) * step.item() for code in range(grid.lowest, grid.highest + 1)]
        nearest = [min(points, key=lambda point, value=value: abs(point - value)) for value in row.tolist()]
        assert torch.allclose(ours, torch.tensor(nearest, dtype=ours.dtype), atol=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_fit_int8_and_stand_for_the_rounded_values(bits, symmetric):
    x, grid = values(), Grid(bits, symmetric)
    codes, scale, zero = grid.encode(x)
    assert codes.dtype == torch.int8
    assert codes.min() >= grid.lowest - grid.storage_offset and codes.max() <= grid.highest - grid.storage_offset
    assert torch.allclose(decode(codes, scale, zero), grid.fake_quantize(x), atol=1e-12)


@pytest.mark.parametrize("per", ["channel", "token"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_row_of_zeros_stays_zero(symmetric, per):
    x = torch.zeros(2, 8)
    x[1] = 1.0
    rounded = Grid(4, symmetric, per=per).fake_quantize(x)
    assert torch.allclose(rounded, x, atol=1e-6)


def test_sixteen_bits_are_off():
    x = values()
    assert Grid(16).is_off and Grid(16).fake_quantize(x) is x
    assert BITS == (2, 3, 4, 5, 6, 7, 8, 16)


@pytest.mark.parametrize("bits", [0, 1, 9, 15, 32, -4, True])
def test_other_bits_are_an_error_that_says_which_exist(bits):
    with pytest.raises(FgqError, match="2 to 8, or 16"):
        Grid(bits)


def test_an_unknown_granularity_is_an_error():
    with pytest.raises(FgqError, match="per 'channel' or per 'token'"):
        Grid(4, per="group")


@pytest.mark.parametrize("per", ["channel", "token"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [1, 5, 8, 40])
def test_each_group_is_rounded_as_a_row_of_its_own(group, bits, symmetric, per):
    x, whole, grid = values(), Grid(bits, symmetric, per), Grid(bits, symmetric, per, group)
    x[2, 7:20] = 0  # a group of zeros, too
    parts = [x[:, start : start + group].contiguous() for start in range(0, 40, group)]
    assert torch.equal(grid.fake_quantize(x), torch.cat([whole.fake_quantize(part) for part in parts], dim=1))
    codes, scale, zero = grid.encode(x)
    of_parts = [whole.encode(part) for part in parts]
    assert torch.equal(codes, torch.cat([part[0] for part in of_parts], dim=1))
    assert torch.equal(scale, torch.cat([part[1] for part in of_parts], dim=1)) and scale.shape == (5, 40 // group)
    assert symmetric == (zero is None)
    if zero is not None:
        assert torch.equal(zero, torch.cat([part[2] for part in of_parts], dim=1)) and zero.dtype == torch.int8
    assert torch.allclose(decode(codes, scale, zero), grid.fake_quantize(x), atol=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
def test_small_groups_keep_an_outlier_to_themselves(symmetric):
    x = values()
    x[:, 3] = 100
    errors = [(Grid(4, symmetric, group=group).fake_quantize(x) - x)[:, 8:].square().mean() for group in (None, 8)]
    assert errors[1] < 0.05 * errors[0]


def test_a_group_that_does_not_fit_is_an_error():
    with pytest.raises(FgqError, match="a group of 7 does not divide 40 channels"):
        Grid(4, group=7).fake_quantize(values())
    for group in (0, -4):
        with pytest.raises(FgqError, match="choose a whole number above 0"):
            Grid(4, group=group)
