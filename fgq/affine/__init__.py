"""Invertible transforms that make values easier to round: diagonal, orthogonal, Kronecker; the table of sites."""

from fgq.affine.diagonal import smooth_start
from fgq.affine.kronecker import LearnableKronecker, apply_kronecker, apply_left, balanced_factors
from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.matrix import LearnableMatrix
from fgq.affine.orthogonal import cayley, random_orthogonal
from fgq.affine.quantized_block import QuantizedBlock, empty_quantized_block
from fgq.affine.sites import SITES, Site, site_named, trace_block
from fgq.affine.spec import BlockSpec

__all__ = [
    "SITES",
    "BlockSpec",
    "LearnableBlock",
    "LearnableKronecker",
    "LearnableMatrix",
    "QuantizedBlock",
    "Site",
    "apply_kronecker",
    "apply_left",
    "balanced_factors",
    "cayley",
    "empty_quantized_block",
    "random_orthogonal",
    "site_named",
    "smooth_start",
    "trace_block",
]
