import pytest
import torch
from torch.nn import functional

from fgq.quant import FixedClip, Grid, QuantizedLinear


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("weight_bits, activation_bits", [(4, 4), (3, 8), (8, 16), (16, 4), (16, 16)])
def test_codes_give_the_product_of_the_rounded_matrices(weight_bits, activation_bits, symmetric, clips):
    weight_grid, activation_grid = Grid(weight_bits, symmetric), Grid(activation_bits, symmetric, per="token")
    weight, bias, x = random(12, 16, seed=0), random(12, seed=1), random(2, 5, 16, seed=2)
    factors = torch.rand(clips, 2, generator=torch.Generator().manual_seed(3)) / 2 + 0.5
    layer = QuantizedLinear(16, 12, weight_grid, activation_grid, clips)
    layer.store(weight, bias, FixedClip(factors))
    parts = []
    for (shrink_low, shrink_high), rows, shift in zip(
        factors.tolist(), weight.chunk(clips), bias.chunk(clips), strict=True
    ):
        low, high = (None, None) if activation_grid.is_off else activation_grid.find_range(x)
        if low is not None:
            low, high = low * shrink_low, high * shrink_high
        parts.append(
            functional.linear(activation_grid.fake_quantize(x, low, high), weight_grid.fake_quantize(rows), shift)
        )
    assert torch.allclose(layer(x), torch.cat(parts, dim=-1), atol=1e-5)


@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("weight_group, activation_group", [(4, None), (None, 8), (8, 2)])
def test_groups_give_the_product_of_matrices_rounded_group_by_group(weight_group, activation_group, symmetric, clips):
    weight, bias, x = random(12, 16, seed=0), random(12, seed=1), random(2, 5, 16, seed=2)
    factors = torch.rand(clips, 2, generator=torch.Generator().manual_seed(3)) / 2 + 0.5
    grids = Grid(3, symmetric, group=weight_group), Grid(4, symmetric, "token", activation_group)
    layer = QuantizedLinear(16, 12, *grids, clips)
    layer.store(weight, bias, FixedClip(factors))
    assert layer.scale.shape == (12, 16 // (weight_group or 16))

    def by_group(values, size, bits, per, shrink=(1.0, 1.0)):
        grid, parts = Grid(bits, symmetric, per), []
        for part in values.split(size or 16, dim=-1):
            low, high = grid.find_range(part)
            parts.append(grid.fake_quantize(part, low * shrink[0], high * shrink[1]))
        return torch.cat(parts, dim=-1)

    rounded = by_group(weight, weight_group, 3, "channel")
    parts = [
        functional.linear(by_group(x, activation_group, 4, "token", shrink), rows, shift)
        for shrink, rows, shift in zip(factors.tolist(), rounded.chunk(clips), bias.chunk(clips), strict=True)
    ]
    assert torch.allclose(layer(x), torch.cat(parts, dim=-1), atol=1e-5)


def test_only_integers_and_scales_are_stored():
    layer = QuantizedLinear(16, 12, Grid(4), Grid(4, per="token"), clips=3)
    layer.store(random(12, 16, seed=0), torch.zeros(12), FixedClip.whole(3))
    stored = {name: (tuple(value.shape), value.dtype) for name, value in layer.state_dict().items()}
    assert stored == {
        "codes": ((12, 16), torch.int8),
        "scale": ((12, 1), torch.float32),
        "bias": ((12,), torch.float32),
        "clip.table": ((3, 2), torch.float32),
    }
    assert not list(layer.parameters())
