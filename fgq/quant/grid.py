"""Integer grids: how many bits, where a code may lie, and the scale that joins a range of values to the codes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from fgq.errors import FgqError
from fgq.quant.bits import OFF_BITS, check_bits
from fgq.quant.rounding import Extremes, RoundToGrid
from fgq.quant.symmetric import RoundSymmetrically

SMALLEST_WEIGHT_RANGE = 1e-5  # FlatQuant's floor, so that a row of zeros still has a scale

Range = Float[Tensor, "*ranges 1"]


@dataclass(frozen=True)
class Grid:
    """What a quantizer may say: `bits`, symmetric or with a zero point, one scale a channel or one a token.

    `Grid(4)` quantizes a weight [out, in] with a scale [out, 1]; `Grid(4, per="token")` an activation
    [..., tokens, channels] with a scale [..., tokens, 1], found anew for every input (dynamic). Both reduce the last
    axis; with `group` it is cut into runs of so many neighbours, each with a scale of its own: [out, in / group].
    Symmetric codes run from -2^(b-1) to 2^(b-1) - 1 with scale = largest magnitude / (2^(b-1) - 1); asymmetric
    ones from 0 to 2^b - 1 with scale = (high - low) / (2^b - 1) and zero = round(-low / scale); a range always holds 0.
    16 bits mean no quantization. Raises FgqError for other numbers of bits. Source: FlatQuant (arXiv:2410.09426).
    """

    bits: int
    symmetric: bool = True
    per: str = "channel"  # or "token"
    group: int | None = None  # values that share a scale within a row or token; None for all of them

    def __post_init__(self):
        check_bits(self.bits)
        if self.per not in ("channel", "token"):
            raise FgqError(f"a grid is per 'channel' or per 'token', not per {self.per!r}")
        if self.group is not None and (not isinstance(self.group, int) or self.group < 1):
            raise FgqError(f"a group of {self.group!r} values: choose a whole number above 0, or None for whole rows")

    @property
    def is_off(self) -> bool:
        return self.bits == OFF_BITS

    @property
    def lowest(self) -> int:
        return -(2 ** (self.bits - 1)) if self.symmetric else 0

    @property
    def highest(self) -> int:
        return 2 ** (self.bits - 1) - 1 if self.symmetric else 2**self.bits - 1

    @property
    def storage_offset(self) -> int:
        """Taken off a code (and its zero point) so that every grid fits int8."""
        return 0 if self.symmetric else 2 ** (self.bits - 1)

    def num_groups(self, width: int) -> int:
        """Scales of a row. Raises FgqError when the group does not divide the width."""
        if self.group is not None and width % self.group:
            raise FgqError(f"a group of {self.group} does not divide {width} channels: choose a divisor")
        return 1 if self.group is None else width // self.group

    def split(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*ranges size"]:
        """Values that share a scale along the last axis: as they come, or [..., groups, group]."""
        return x if self.group is None else x.unflatten(-1, (self.num_groups(x.shape[-1]), self.group))

    def join(self, x: Float[Tensor, "*ranges size"]) -> Float[Tensor, "*rows width"]:
        """The inverse of `split`."""
        return x if self.group is None else x.flatten(-2)

    def find_range(self, x: Float[Tensor, "*rows width"]) -> tuple[Range, Range]:
        """Lowest and highest value along the last axis, 0 included: two tensors [..., 1], or [..., groups, 1]."""
        low, high = Extremes.apply(self.split(x))
        return low.clamp(max=0), high.clamp(min=0)

    def find_scale(self, low: Range, high: Range) -> tuple[Range, Range | None]:
        """Scale and zero point (None when symmetric) of a range low <= 0 <= high."""
        extent = torch.maximum(-low, high) if self.symmetric else high - low
        if self.per == "channel":
            extent = extent.clamp(min=SMALLEST_WEIGHT_RANGE)
        elif self.symmetric:
            extent = torch.where(extent == 0, float(self.highest), extent)  # a token of zeros gets scale 1
        else:
            # FlatQuant gives a token of zeros the range -1 … 1.
            low = torch.where(extent == 0, -1.0, low)
            extent = torch.where(extent == 0, 2.0, extent)
        scale = extent / self.highest
        return scale, None if self.symmetric else (-low / scale).round().detach()

    def fake_quantize(self, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        """Values rounded to the grid, in the dtype of `x`; the gradient passes straight through the rounding.

        The range defaults to that of `x`; `low` and `high` may have more leading axes than `x`, which is then
        quantized once for each. Gradients reach `low` and `high` through the scale.
        """
        if self.is_off:
            return x
        if low is None or high is None:
            if self.symmetric:
                smallest = SMALLEST_WEIGHT_RANGE if self.per == "channel" else 0.0
                return self.join(RoundSymmetrically.apply(self.split(x), None, self.highest, smallest))
            low, high = self.find_range(x)
        scale, zero = self.find_scale(low, high)
        return self.join(RoundToGrid.apply(self.split(x), scale, zero, self.lowest, self.highest))

    def find_scales(
        self, x: Float[Tensor, "*rows width"]
    ) -> tuple[Float[Tensor, "*rows groups"], Float[Tensor, "*rows groups"] | None]:
        """Scale and zero point (None when symmetric) of every row's own range, or of each of its groups."""
        scale, zero = self.find_scale(*self.find_range(x))
        if self.group is not None:
            scale, zero = scale.squeeze(-1), None if zero is None else zero.squeeze(-1)
        return scale, zero

    def encode(
        self, x: Float[Tensor, "*rows width"]
    ) -> tuple[Int8[Tensor, "*rows width"], Float[Tensor, "*rows groups"], Int8[Tensor, "*rows groups"] | None]:
        """Codes, scale and zero point; value = (code - zero) * scale. Asymmetric codes are stored less 2^(b-1)."""
        scale, zero = self.find_scales(x)
        codes = (x / over_columns(scale, x)).round()
        if zero is not None:
            codes = codes + over_columns(zero, x)
            zero = (zero - self.storage_offset).to(torch.int8)
        codes = codes.clamp(self.lowest, self.highest) - self.storage_offset
        return codes.to(torch.int8), scale, zero


def decode(
    codes: Int8[Tensor, "*rows width"],
    scale: Float[Tensor, "*rows groups"],
    zero: Int8[Tensor, "*rows groups"] | None,
) -> Float[Tensor, "*rows width"]:
    """The values that codes stand for, in the dtype of the scale."""
    shifted = codes.to(scale.dtype)
    if zero is not None:
        shifted = shifted - over_columns(zero.to(scale.dtype), codes)
    return over_columns(scale, codes) * shifted


def over_columns(groups: Tensor, like: Tensor) -> Tensor:
    """One value a group, [..., groups], as something that multiplies [..., width] column by column."""
    if groups.shape[-1] == 1:
        return groups
    return groups.repeat_interleave(like.shape[-1] // groups.shape[-1], dim=-1)
