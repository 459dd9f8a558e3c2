"""Grids and rounding, clipping, and the linear layers that store codes, a byte each or packed."""

from fgq.quant.bits import BITS, OFF_BITS, BitMap, Bits
from fgq.quant.clipping import FixedClip, LearnableClip, clip_range, clip_weight
from fgq.quant.grid import Grid, decode
from fgq.quant.kernel_choice import with_integers
from fgq.quant.linear import QuantizedLinear, join_parts, multiply_parts, quantize_kinds, quantize_tokens
from fgq.quant.packed_linear import PackedLinear, pack_layers, unpack_layers
from fgq.quant.packing import PackedCodes

__all__ = [
    "BITS",
    "BitMap",
    "Bits",
    "OFF_BITS",
    "FixedClip",
    "Grid",
    "LearnableClip",
    "PackedCodes",
    "PackedLinear",
    "QuantizedLinear",
    "clip_range",
    "clip_weight",
    "decode",
    "join_parts",
    "multiply_parts",
    "pack_layers",
    "quantize_kinds",
    "quantize_tokens",
    "unpack_layers",
    "with_integers",
]
