"""Products of codes: the same codes as fake quantization, sums as those of 64-bit integers, layers as in float64."""

import itertools

import pytest
import torch

from fgq.errors import FgqError
from fgq.quant import FixedClip, Grid, QuantizedLinear, quantize_kinds, quantize_tokens
from fgq.quant.integer import Coded, CodedWeight, encode_kinds, encode_tokens, multiply_parts
from fgq.quant.integer_linear import IntegerLinear
from fgq.quant.kernels import KERNELS, Kernel, available, check, findings, fits_float32, fits_int32, padded
from fgq.quant.packed_linear import PackedLinear

CPU = torch.device("cpu")
WIDTH, TOKENS = 24, 7


def numbers(*shape, seed=0, dtype=torch.float32):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values[..., 0, :] = 0  # a token, or a row, of zeros
    return values.to(dtype)


def clips(count):
    return FixedClip(torch.linspace(0.55, 1.0, 2 * count).reshape(count, 2))


GRIDS = [
    Grid(bits, symmetric, per="token", group=group)
    for bits, symmetric, group in itertools.product((2, 3, 4, 8), (True, False), (None, 8))
]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_codes_stand_for_the_very_values_of_fake_quantization(grid, dtype):
    x, clip = numbers(2, TOKENS, WIDTH, dtype=dtype), clips(3).to(dtype)
    coded = encode_tokens(x, grid, clip)
    assert coded.codes.dtype == torch.int8 and coded.codes.shape == (3, *x.shape)
    assert (
        coded.codes.min() >= grid.lowest - grid.storage_offset
        and coded.codes.max() <= grid.highest - grid.storage_offset
    )
    assert torch.equal(coded.values(), quantize_tokens(x, grid, clip))


def test_special_tokens_have_codes_of_their_own_grid():
    x, special, clip = numbers(2, TOKENS, WIDTH), torch.tensor([1, 4]), clips(1)
    for grid, own in itertools.product(GRIDS[:4], (Grid(8, per="token", group=None), Grid(8, False, "token", None))):
        if grid.group is None:
            coded = encode_kinds(x, grid, clip, own, special)
            assert torch.equal(coded.values(), quantize_kinds(x, grid, clip, own, special))


def exact_product(x: Coded, weight: CodedWeight) -> torch.Tensor:
    """What the codes stand for, value by value and in float64, multiplied as such."""
    of_x = Coded(x.codes, x.scale.double(), x.zero).values()
    zero = None if weight.zero is None else weight.zero.to(torch.int16)
    of_weight = Coded(weight.codes, weight.scale.double(), zero).values()
    parts = of_weight.unflatten(0, (len(of_x), -1))
    return torch.stack([one @ part.t() for one, part in zip(of_x, parts, strict=True)])


@pytest.mark.parametrize("activation", GRIDS, ids=str)
@pytest.mark.parametrize(
    "weight_grid", [Grid(4), Grid(3, False), Grid(4, True, group=6), Grid(8, False, group=12)], ids=str
)
def test_a_product_of_codes_is_that_of_their_values(activation, weight_grid):
    coded = encode_tokens(numbers(2, TOKENS, WIDTH), activation, clips(3))
    weight = CodedWeight(*weight_grid.encode(numbers(15, WIDTH, seed=1)))
    for name in ("int8", "float32"):
        found = multiply_parts(coded, weight, KERNELS[name].product)
        torch.testing.assert_close(found.double(), exact_product(coded, weight), rtol=1e-5, atol=1e-5)


def stored(weight_grid, activation_grid, num_clips=1, special_grid=None, seed=2):
    layer = QuantizedLinear(WIDTH, 15, weight_grid, activation_grid, num_clips, special_grid)
    layer.store(numbers(15, WIDTH, seed=seed), numbers(1, 15, seed=3).flatten() + 1, clips(num_clips))
    return layer


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("num_clips", [1, 3])
@pytest.mark.parametrize("weight_grid", [Grid(4), Grid(3, False), Grid(4, group=8)], ids=str)
def test_a_layer_gives_what_the_fake_one_gives(weight_grid, num_clips, kernel):
    special = torch.tensor([0, 3])
    fake = stored(weight_grid, Grid(4, per="token"), num_clips, Grid(8, per="token"))
    x = numbers(2, TOKENS, WIDTH, seed=5)
    found, expected = IntegerLinear(fake, kernel)(x, special), fake(x, special)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert IntegerLinear(fake, kernel).description() == fake.description()
    assert torch.equal(IntegerLinear(PackedLinear.of(fake), kernel)(x, special), found)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=lambda kernel: kernel.name)
def test_the_kernels_here_are_exact_or_left_out_with_a_reason(kernel):
    fault = findings(CPU)[kernel.name]
    assert fault is None or isinstance(fault, str)
    if fault is None:
        x, weight = (torch.randint(-128, 128, (37, 41), dtype=torch.int8) for _ in range(2))
        assert torch.equal(kernel.product(x, weight).long(), x.long() @ weight.long().t())


def saturating(x, weight):
    """Pairs of products are added in 16 bits, as vpmaddubsw does: right for most numbers, wrong at the ends."""
    pairs = (x[:, None].short() * weight.short()).int().unflatten(-1, (-1, 2)).sum(-1).clamp(-(2**15), 2**15 - 1)
    return pairs.sum(-1, dtype=torch.int32)


def test_a_kernel_that_saturates_on_the_way_is_found_out():
    broken = Kernel(
        "broken", lambda codes: codes, saturating, lambda width, *bits: width <= 256 and fits_int32(width, *bits), 1
    )
    x, weight = (torch.randint(-100, 100, (4, 64), dtype=torch.int8) for _ in range(2))
    assert torch.equal(broken.product(x, weight).long(), x.long() @ weight.long().t())
    assert check(broken, CPU) == "sums 256 products of 8- and 8-bit codes wrongly"


def test_a_kernel_that_is_not_there_is_left_out_in_words():
    def absent(x, weight):
        raise NotImplementedError("_int_mm has no kernel for this device\nand a trace")

    assert check(Kernel("absent", lambda codes: codes, absent, fits_int32, 1), CPU) == (
        "refuses its input: _int_mm has no kernel for this device"
    )


def test_float32_carries_whole_numbers_only_as_far_as_it_holds_them():
    assert fits_float32(4096, 4, 8) and not fits_float32(4096, 8, 8) and fits_int32(4096, 8, 8)
    # At the bound itself: 1,024 products of -128 and -128 are 2^24, and one more is past it.
    x = torch.full((1, 1025), -128, dtype=torch.int8)
    x[0, 1024] = 1
    carried = KERNELS["float32"].product(x, torch.where(x == 1, 1, x))
    assert carried.item() != 2**24 + 1 and not fits_float32(1025, 8, 8) and fits_float32(1024, 8, 8)


@pytest.mark.parametrize("rows, width", [(1, 8), (16, 9), (17, 24), (33, 41)])
def test_padding_reaches_the_sizes_that_cuda_takes_and_changes_no_sum(rows, width):
    codes = torch.randint(-8, 8, (rows, width), dtype=torch.int8)
    larger = padded(codes, max(rows, 17))
    assert len(larger) % 8 == 0 and len(larger) >= 17 and larger.shape[1] % 8 == 0
    assert torch.equal(
        larger.long() @ larger.long().t(),
        torch.nn.functional.pad(codes.long() @ codes.long().t(), (0, len(larger) - rows) * 2),
    )


def test_what_has_no_codes_is_refused_in_words():
    with pytest.raises(FgqError, match=r"layer \[15, 24\] cannot multiply integers: its weight has 16 bits"):
        IntegerLinear(stored(Grid(16), Grid(4, per="token")), "int8")
    with pytest.raises(FgqError, match="some of its activations have 16 bits"):
        IntegerLinear(stored(Grid(4), Grid(4, per="token"), special_grid=Grid(16, per="token")), "int8")
    with pytest.raises(FgqError, match="the kernel 'magic' is not exact here"):
        IntegerLinear(stored(Grid(4), Grid(4, per="token")), "magic")
    assert available(CPU, 10**9, 8, 8) == []
