"""Grids and rounding, clipping, and the linear layer that stores codes."""

from fgq.quant.bits import BITS, OFF_BITS, BitMap, Bits
from fgq.quant.clipping import FixedClip, LearnableClip, clip_range, clip_weight
from fgq.quant.grid import Grid, decode
from fgq.quant.linear import QuantizedLinear, join_parts, multiply_parts, quantize_kinds, quantize_tokens

__all__ = [
    "BITS",
    "BitMap",
    "Bits",
    "OFF_BITS",
    "FixedClip",
    "Grid",
    "LearnableClip",
    "QuantizedLinear",
    "clip_range",
    "clip_weight",
    "decode",
    "join_parts",
    "multiply_parts",
    "quantize_kinds",
    "quantize_tokens",
]
