"""A quantized linear layer that multiplies integers."""

from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from fgq.errors import FgqError
from fgq.quant.bits import OFF_BITS
from fgq.quant.integer import CodedWeight, encode_kinds, multiply_parts
from fgq.quant.kernels import KERNELS, available
from fgq.quant.linear import QuantizedLinear, join_parts
from fgq.vggt.described import Described


class IntegerLinear(Described):
    """A `QuantizedLinear` whose product is one of codes, by a kernel of `fgq.quant.kernels`.

    It computes what the layer inside it computes, with the same codes of weight and input; the sums are exact, where
    those of floating point are rounded, so that outputs agree to about 1e-6. The layer keeps its buffers: packed codes
    stay packed, and are unpacked at each call. Raises FgqError where one side is not quantized, and for a kernel that
    is not exact here.
    """

    def __init__(self, layer: QuantizedLinear, kernel: str):
        super().__init__()
        reason = obstacle(layer)
        if reason is None and kernel not in [found.name for found in available(layer.bias.device, *sums_of(layer))]:
            reason = f"the kernel {kernel!r} is not exact here: choose one that fgq.quant.kernels.available lists"
        if reason is not None:
            raise FgqError(f"a layer [{layer.out_features}, {layer.in_features}] cannot multiply integers: {reason}")
        self.layer, self.kernel = layer, KERNELS[kernel]

    def forward(
        self, x: Float[Tensor, "*tokens width"], special: Int64[Tensor, " special"] | None = None
    ) -> Float[Tensor, "*tokens out"]:
        layer = self.layer
        coded = encode_kinds(x, layer.activation_grid, layer.clip, layer.special_grid, special)
        products = multiply_parts(coded, CodedWeight(*layer.kept()), self.kernel.product)
        return (join_parts(products) + layer.bias).to(x.dtype)

    def description(self) -> dict[str, Any]:
        return self.layer.description()

    def extra_repr(self) -> str:
        return f"kernel={self.kernel.name}"


def activation_bits(layer: QuantizedLinear) -> int:
    """The most that any token of the layer's input has."""
    special = layer.special_grid
    return max(layer.activation_grid.bits, special.bits if special is not None else 0)


def sums_of(layer: QuantizedLinear) -> tuple[int, int, int]:
    """What decides how large the layer's sums become: width, bits of the weight, bits of the activations."""
    return layer.in_features, layer.weight_grid.bits, activation_bits(layer)


def obstacle(layer: QuantizedLinear) -> str | None:
    """Why a layer has no product of integers, or None."""
    if layer.weight_grid.is_off:
        return f"its weight has {OFF_BITS} bits, which is none at all"
    if activation_bits(layer) == OFF_BITS:
        return f"some of its activations have {OFF_BITS} bits, which is none at all"
    return None
