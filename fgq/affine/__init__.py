"""Invertible transforms that make values easier to round: diagonal, orthogonal, Kronecker; the table of sites."""

from fgq.affine.diagonal import smooth_start
from fgq.affine.hadamard import flat_orthogonal, random_flat_orthogonal
from fgq.affine.kronecker import GivenKronecker, LearnableKronecker, apply_kronecker, apply_left, balanced_factors
from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.matrix import LearnableMatrix
from fgq.affine.orthogonal import cayley, random_orthogonal
from fgq.affine.quantized_block import QuantizedBlock, empty_quantized_block
from fgq.affine.sites import SITES, Site, linear_inputs, site_named
from fgq.affine.spec import BlockSpec

__all__ = [
    "SITES",
    "BlockSpec",
    "GivenKronecker",
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
    "flat_orthogonal",
    "linear_inputs",
    "random_flat_orthogonal",
    "random_orthogonal",
    "site_named",
    "smooth_start",
]
