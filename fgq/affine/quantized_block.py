"""The block that inference runs: integer codes, fixed transforms, folded diagonals."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from fgq.affine.fixed import FixedTransform
from fgq.affine.sites import RUN_TIME, SITE_OF_LINEAR, SITES, Site
from fgq.affine.spec import AT_RUN_TIME, BlockSpec
from fgq.quant.linear import QuantizedLinear
from fgq.vggt.attention import Block, LayerScale, projections
from fgq.vggt.config import VGGTConfig
from fgq.vggt.rotary import RotaryTable


class QuantizedBlock(Block):
    """Same call as `fgq.vggt.attention.Block`; nothing in it learns.

    norm1 and norm2 hold the diagonals of the transforms behind them. Comes from `LearnableBlock.freeze()`, or empty
    from `empty_quantized_block` to have a state dict loaded.
    """

    def __init__(self, dim: int, num_heads: int, spec: BlockSpec):
        with torch.device("meta"):  # only its sizes are wanted: no memory, and no random numbers are drawn
            super().__init__(dim, num_heads, qk_norm=True)
        self.spec = spec
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn.q_norm, self.attn.k_norm = nn.LayerNorm(dim // num_heads), nn.LayerNorm(dim // num_heads)
        self.ls1, self.ls2 = LayerScale(dim, 1.0), LayerScale(dim, 1.0)
        self.transforms = nn.ModuleDict()
        for site in SITES:
            linear = self.get_submodule(site.linear)
            width, out = linear.in_features, linear.out_features
            clips = spec.num_clips(site.projections)
            grids = spec.weight_at(site), spec.activation_at(site)
            self.set_submodule(site.linear, QuantizedLinear(width, out, *grids, clips, spec.special_at(site)))
            self.transforms[site.name] = empty_transform(site, width, num_heads, spec.transforms)
        self.requires_grad_(False)

    def description(self) -> dict[str, Any]:
        said = asdict(self.spec)
        if self.spec.activation_bits is None:  # as it was before there were any
            del said["activation_bits"]
        return said

    def prepare(self, path: str, x: Tensor) -> Tensor:
        return self.transforms[SITE_OF_LINEAR[path].name](x)

    def multiply(self, path: str, x: Tensor, rotary: RotaryTable | None = None) -> Sequence[Tensor]:
        return projections(path, self.get_submodule(path)(x, rotary.special if rotary is not None else None))


def empty_transform(site: Site, width: int, num_heads: int, transforms: str) -> FixedTransform:
    """What a transform of that kind leaves at run time, as the identity."""
    if transforms not in AT_RUN_TIME:
        return FixedTransform()
    left, right = (torch.eye(size) for size in site.factors(width, num_heads))
    smooths, scales = transforms == "rotation_smoothing", site.diagonal == RUN_TIME
    return FixedTransform(
        left,
        right if site.has_diagonal else None,
        torch.ones(width) if scales and not smooths else None,
        torch.ones(width) if smooths else None,
    )


def empty_quantized_block(config: VGGTConfig, spec: BlockSpec) -> QuantizedBlock:
    """A block of the model's size whose buffers have the shapes and dtypes of a saved one's."""
    return QuantizedBlock(config.embed_dim, config.num_heads, spec)
