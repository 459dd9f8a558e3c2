"""A linear layer whose weight is stored as integer codes and whose input is quantized token by token."""

from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor, nn

from fgq.errors import FgqError
from fgq.quant.clipping import Clip, FixedClip, clip_range
from fgq.quant.grid import Grid, decode
from fgq.quant.packing import pack_codes
from fgq.quant.rounders import Codes, Rounder, to_nearest
from fgq.quant.symmetric import RoundSymmetrically
from fgq.vggt.described import Described


def quantize_tokens(x: Float[Tensor, "*tokens width"], grid: Grid, clip: Clip) -> Float[Tensor, "clips *tokens width"]:
    """Fake-quantizes an input once for each pair of clipping factors: q, k and v read the same input in three ways."""
    if grid.is_off:
        return x[None]
    if grid.symmetric:
        return grid.join(RoundSymmetrically.apply(grid.split(x), clip.factors(), grid.highest, 0.0))
    return grid.fake_quantize(x, *clip_range(*grid.find_range(x), clip.factors()))


def quantize_kinds(
    x: Float[Tensor, "*batch tokens width"],
    grid: Grid,
    clip: Clip,
    special_grid: Grid | None,
    special: Int64[Tensor, " special"] | None,
) -> Float[Tensor, "clips *batch tokens width"]:
    """`quantize_tokens`, where the special tokens, at the rows `special`, may have a grid of their own.

    There they use their whole range: the clip is learnt for patches, which are nearly all tokens. Raises FgqError where
    nobody says where the special tokens lie.
    """
    quantized = quantize_tokens(x, grid, clip)
    if special_grid is None:
        return quantized
    if special is None:
        raise FgqError(
            "special tokens have activation bits of their own here, but nobody says where they lie: call the block as "
            "fgq.vggt.aggregator.run_block does"
        )
    own = special_grid.fake_quantize(x.index_select(-2, special))
    return quantized.index_copy(-2, special, own.expand(len(quantized), *own.shape))


def multiply_parts(
    x: Float[Tensor, "clips *tokens width"], weight: Float[Tensor, "out width"]
) -> Float[Tensor, "clips *tokens part"]:
    """Each version of the input times its share of the stacked weight's rows (part = out / clips)."""
    if len(x) == 1:
        return nn.functional.linear(x, weight)
    stacked = weight.unflatten(0, (len(x), -1)).transpose(1, 2)
    return torch.bmm(x.flatten(1, -2), stacked).unflatten(1, x.shape[1:-1])


def join_parts(parts: Float[Tensor, "clips *tokens part"]) -> Float[Tensor, "*tokens out"]:
    return parts.squeeze(0) if len(parts) == 1 else torch.cat(tuple(parts), dim=-1)


class QuantizedLinear(Described):
    """Fixed: weight codes [out, in] int8 with scale [out, groups], and the input's clipping factors [clips, 2].

    Several clips mean that the output's channels come in as many equal parts, each of which reads the input through
    its own clip (q, k and v). With a weight grid that is off, `weight` [out, in] is stored in floating point instead.
    The bias is never quantized. With a `special_grid` the special tokens of the input have a grid of their own.
    """

    def __init__(
        self,
        width: int,
        out: int,
        weight_grid: Grid,
        activation_grid: Grid,
        clips: int = 1,
        special_grid: Grid | None = None,
    ):
        super().__init__()
        self.in_features = width
        self.out_features = out
        self.weight_grid = weight_grid
        self.activation_grid = activation_grid
        self.special_grid = special_grid
        if weight_grid.is_off:
            self.register_buffer("weight", torch.zeros(out, width))
        else:
            self.reserve()
        self.register_buffer("bias", torch.zeros(out))
        self.clip = FixedClip.whole(clips)

    def reserve(self) -> None:
        """Buffers for codes, scales and zero points."""
        out, width, groups = self.out_features, self.in_features, self.weight_grid.num_groups(self.in_features)
        self.register_buffer("codes", torch.zeros(out, width, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(out, groups))
        if not self.weight_grid.symmetric:
            self.register_buffer("zero", torch.zeros(out, groups, dtype=torch.int8))

    @torch.no_grad()
    def store(
        self,
        weight: Float[Tensor, "out width"],
        bias: Float[Tensor, " out"],
        clip: FixedClip,
        rounder: Rounder = to_nearest,
    ) -> None:
        """Rounds a weight, already transformed and clipped, and keeps its codes."""
        if self.weight_grid.is_off:
            self.weight = weight.detach().clone()
        else:
            self.keep(*rounder(weight.detach(), self.weight_grid))
        self.bias = bias.detach().clone()
        self.clip = clip

    def keep(self, codes: Tensor, scale: Tensor, zero: Tensor | None) -> None:
        self.codes, self.scale = codes, scale
        if zero is not None:
            self.zero = zero

    def kept(self) -> Codes:
        """Codes [out, in] and zero points [out, groups] int8, scales [out, groups]; no zero points where symmetric."""
        return self.codes, self.scale, None if self.weight_grid.symmetric else self.zero

    def forward(
        self, x: Float[Tensor, "*tokens width"], special: Int64[Tensor, " special"] | None = None
    ) -> Float[Tensor, "*tokens out"]:
        """`special`: the rows of the special tokens along the last axis but one, where these have their own grid."""
        x = quantize_kinds(x, self.activation_grid, self.clip, self.special_grid, special)
        if self.weight_grid.is_off:
            return join_parts(multiply_parts(x, self.weight.to(x.dtype))) + self.bias
        products = join_parts(multiply_parts(x, self.multipliers(x.dtype)))
        if self.weight_grid.group is not None:
            return (products + self.bias).to(x.dtype)
        # The scale belongs to an output channel, so it can wait until after the product.
        return torch.addcmul(self.bias, products, self.scale[:, 0]).to(x.dtype)

    def multipliers(self, dtype: torch.dtype) -> Float[Tensor, "out width"]:
        """What the input is multiplied by."""
        return multipliers(*self.kept(), self.weight_grid, dtype)

    def packed_state(self) -> dict[str, Tensor] | None:
        if self.weight_grid.is_off:
            return None
        codes, scale, zero = self.kept()
        bits, shape = self.weight_grid.bits, codes.new_tensor(codes.shape, dtype=torch.int64)
        state = {"weight_packed": pack_codes(codes, bits), "weight_scale": scale, "weight_shape": shape}
        if zero is not None:
            state["weight_zero_point"] = pack_codes(zero.T.contiguous(), bits).T.contiguous()
        own = ("codes", "scale", "zero")
        return state | {name: tensor for name, tensor in self.state_dict().items() if name not in own}

    def description(self) -> dict[str, Any]:
        return {"weight": asdict(self.weight_grid), "activation": asdict(self.activation_grid)}

    def extra_repr(self) -> str:
        special = f", special tokens={self.special_grid}" if self.special_grid is not None else ""
        return f"weight={self.weight_grid}, activation={self.activation_grid}{special}"


def multipliers(
    codes: Int8[Tensor, "rows width"], scale: Tensor, zero: Tensor | None, grid: Grid, dtype: torch.dtype
) -> Float[Tensor, "rows width"]:
    """The weight's values where groups have scales of their own, else whole numbers, whose scale waits."""
    if grid.group is not None:
        return decode(codes, scale, zero).to(dtype)
    return codes.to(dtype) if zero is None else codes.to(dtype) - zero.to(dtype)
