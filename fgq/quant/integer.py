"""Fake quantization without the pretence: activations as codes, and products of codes instead of products of values.

With value = scale (code - zero) on both sides, a layer's output is, for token t and output channel o,

    s_t s_o ( sum c_t c_o  -  z_o sum c_t  -  z_t sum c_o  +  n z_t z_o ),

whole numbers inside the brackets. Where scales belong to groups of neighbours the sum is one a group.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor

from fgq.quant.clipping import HIGH, LOW, Clip, FixedClip, clip_range
from fgq.quant.grid import Grid


@dataclass(frozen=True)
class Coded:
    """Rows of codes, int8 [clips, *rows, width], with value = scale * (code - zero).

    scale [clips, *rows, groups] in the dtype of what was coded; zero in int16 (it may lie outside of int8), or None.
    """

    codes: Int8[Tensor, "clips *rows width"]
    scale: Float[Tensor, "clips *rows groups"]
    zero: Tensor | None

    def values(self) -> Float[Tensor, "clips *rows width"]:
        """What the codes stand for."""
        size = self.codes.shape[-1] // self.scale.shape[-1]
        codes = self.codes.unflatten(-1, (-1, size)).to(self.scale.dtype)
        if self.zero is not None:
            codes = codes - self.zero[..., None].to(self.scale.dtype)
        return (codes * self.scale[..., None]).flatten(-2)


def encode_tokens(x: Float[Tensor, "*rows width"], grid: Grid, clip: Clip) -> Coded:
    """The codes of `fgq.quant.linear.quantize_tokens`, the same to the last one: once for each pair of factors."""
    if grid.symmetric:
        return encode_symmetric(grid.split(x), grid, clip.factors())
    ranges = clip_range(*grid.find_range(x), clip.factors())
    scale, zero = grid.find_scale(*ranges)
    kept = torch.clamp((grid.split(x) / scale).round_(), grid.lowest - zero, grid.highest - zero)
    codes = kept.add_(zero - grid.storage_offset).to(torch.int8)
    return whole_rows(codes, scale, (zero - grid.storage_offset).to(torch.int16), grid)


def encode_symmetric(x: Tensor, grid: Grid, factors: Float[Tensor, "clips 2"]) -> Coded:
    low, high = x.amin(-1, keepdim=True).clamp_(max=0), x.amax(-1, keepdim=True).clamp_(min=0)
    table = factors.view(-1, 2, *(1 for _ in x.shape))
    extent = torch.maximum(low * -table[:, LOW], high * table[:, HIGH])
    scale = torch.where(extent == 0, 1.0, extent / grid.highest)
    codes = (x / scale).round_().clamp_(grid.lowest, grid.highest).to(torch.int8)
    return whole_rows(codes, scale, None, grid)


def whole_rows(codes: Tensor, scale: Tensor, zero: Tensor | None, grid: Grid) -> Coded:
    """From [..., groups, group] with one scale each to [..., width] with [..., groups]."""
    if grid.group is None:
        return Coded(codes, scale, zero)
    return Coded(codes.flatten(-2), scale.squeeze(-1), None if zero is None else zero.squeeze(-1))


def encode_kinds(
    x: Float[Tensor, "*batch tokens width"],
    grid: Grid,
    clip: Clip,
    special_grid: Grid | None,
    special: Int64[Tensor, " special"] | None,
) -> Coded:
    """`encode_tokens`, where the special tokens, at the rows `special`, have a grid of their own."""
    coded = encode_tokens(x, grid, clip)
    if special_grid is None:
        return coded
    own = encode_tokens(x.index_select(-2, special), special_grid, FixedClip.whole(1).to(x.device, x.dtype))
    zero = None
    if coded.zero is not None or own.zero is not None:
        zero = replaced(*(zeros_of(part) for part in (coded, own)), special)
    return Coded(replaced(coded.codes, own.codes, special), replaced(coded.scale, own.scale, special), zero)


def zeros_of(coded: Coded) -> Tensor:
    return torch.zeros_like(coded.scale, dtype=torch.int16) if coded.zero is None else coded.zero


def replaced(all_tokens: Tensor, own: Tensor, special: Int64[Tensor, " special"]) -> Tensor:
    return all_tokens.index_copy(-2, special, own.expand(len(all_tokens), *own.shape[1:]))


@dataclass(frozen=True)
class CodedWeight:
    """A weight as `Grid.encode` gives it: codes [out, width]; scale and zero [out, groups], no zero when symmetric."""

    codes: Int8[Tensor, "out width"]
    scale: Float[Tensor, "out groups"]
    zero: Int8[Tensor, "out groups"] | None

    def rows(self, start: int, stop: int) -> "CodedWeight":
        return CodedWeight(
            *(None if part is None else part[start:stop] for part in (self.codes, self.scale, self.zero))
        )


def multiply_parts(
    x: Coded, weight: CodedWeight, product: Callable[[Tensor, Tensor], Tensor]
) -> Float[Tensor, "clips *tokens part"]:
    """`fgq.quant.linear.multiply_parts` of what the codes stand for, every output multiplied by its scales too.

    `product` multiplies codes [rows, size] with codes [part, size], with exact sums.
    """
    clips, part = len(x.codes), len(weight.codes) // len(x.codes)
    outputs = [
        multiply(
            x.codes[clip].flatten(0, -2),
            x.scale[clip].flatten(0, -2),
            None if x.zero is None else x.zero[clip].flatten(0, -2),
            weight.rows(clip * part, (clip + 1) * part),
            product,
        )
        for clip in range(clips)
    ]
    return torch.stack(outputs).unflatten(1, x.codes.shape[1:-1])


def multiply(
    codes: Int8[Tensor, "rows width"],
    scale: Float[Tensor, "rows x_groups"],
    zero: Tensor | None,
    weight: CodedWeight,
    product: Callable[[Tensor, Tensor], Tensor],
) -> Float[Tensor, "rows out"]:
    """The formula at the head of this file, one term a run of columns whose scales are common."""
    width = codes.shape[-1]
    of_x, of_weight = (width // part.shape[-1] for part in (scale, weight.scale))  # columns that share a scale
    size, total = gcd(of_x, of_weight), None
    for start in range(0, width, size):
        columns, group, own = slice(start, start + size), start // of_x, start // of_weight
        left, right = codes[:, columns], weight.codes[:, columns]
        sums = product(left, right)
        if weight.zero is not None:
            sums = sums - weight.zero[:, own].int() * left.sum(-1, keepdim=True, dtype=torch.int32)
        if zero is not None:
            shift = zero[:, group, None].int()
            sums = sums - shift * right.sum(-1, dtype=torch.int32)
            if weight.zero is not None:
                sums = sums + size * shift * weight.zero[:, own].int()
        term = sums.to(scale.dtype) * scale[:, group, None] * weight.scale[:, own].to(scale.dtype)
        total = term if total is None else total + term
    return total
