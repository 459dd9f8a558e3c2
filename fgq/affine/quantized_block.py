"""The block that inference runs: integer codes, fixed transforms, folded diagonals."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fgq.affine.fixed import (
    FixedHeads,
    FixedKronecker,
    FixedScaledKronecker,
    FixedSmoothedHeads,
    FixedSmoothedKronecker,
    NoTransform,
)
from fgq.affine.sites import RUN_TIME, SITES
from fgq.affine.spec import AT_RUN_TIME, BlockSpec
from fgq.quant.linear import QuantizedLinear
from fgq.vggt.attention import Block, LayerScale, RotaryTable
from fgq.vggt.config import VGGTConfig


class QuantizedBlock(nn.Module):
    """Same call as `fgq.vggt.attention.Block`; nothing in it learns.

    norm1 and norm2 hold the diagonals of the transforms behind them. Comes from `LearnableBlock.freeze()`, or empty
    from `empty_quantized_block` to have a state dict loaded.
    """

    def __init__(self, dim: int, num_heads: int, spec: BlockSpec):
        super().__init__()
        self.spec = spec
        with torch.device("meta"):  # only its sizes are wanted: no memory, and no random numbers are drawn
            shell = Block(dim, num_heads, qk_norm=True)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = shell.attn, shell.mlp
        self.attn.q_norm, self.attn.k_norm = nn.LayerNorm(dim // num_heads), nn.LayerNorm(dim // num_heads)
        self.ls1, self.ls2 = LayerScale(dim, 1.0), LayerScale(dim, 1.0)
        self.transforms = nn.ModuleDict()
        for site in SITES:
            linear = self.get_submodule(site.linear)
            width, out = linear.in_features, linear.out_features
            clips = spec.num_clips(site.projections)
            self.set_submodule(site.linear, QuantizedLinear(width, out, spec.weight_at(site), spec.activation, clips))
            left, right = (torch.eye(size) for size in site.factors(width, num_heads))
            if spec.transforms not in AT_RUN_TIME:
                self.transforms[site.name] = NoTransform()
            elif spec.transforms == "rotation_smoothing":
                ones = torch.ones(width)
                whole = FixedSmoothedKronecker(left, right, ones)
                self.transforms[site.name] = whole if site.has_diagonal else FixedSmoothedHeads(left, ones)
            elif site.diagonal == RUN_TIME:
                self.transforms[site.name] = FixedScaledKronecker(left, right, torch.ones(width))
            elif site.has_diagonal:
                self.transforms[site.name] = FixedKronecker(left, right)
            else:
                self.transforms[site.name] = FixedHeads(left)
        self.requires_grad_(False)

    def forward(
        self, x: Float[Tensor, "batch tokens channels"], rotary: RotaryTable | None = None
    ) -> Float[Tensor, "batch tokens channels"]:
        transforms, attn, mlp = self.transforms, self.attn, self.mlp
        qkv = attn.qkv(transforms["attn_in"](self.norm1(x)))
        mixed = attn.mix(*qkv.chunk(3, dim=-1), rotary)
        x = x + self.ls1(attn.proj(transforms["attn_out"](mixed)))
        hidden = functional.gelu(mlp.fc1(transforms["fc1_in"](self.norm2(x))))
        return x + self.ls2(mlp.fc2(transforms["fc2_in"](hidden)))


def empty_quantized_block(config: VGGTConfig, spec: BlockSpec) -> QuantizedBlock:
    """A block of the model's size whose buffers have the shapes and dtypes of a saved one's."""
    return QuantizedBlock(config.embed_dim, config.num_heads, spec)
