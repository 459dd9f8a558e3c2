"""The table of sites: where in a block an activation is transformed, which linear reads it, and what folds where."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fgq.affine.kronecker import balanced_factors
from fgq.vggt.attention import Block, RotaryTable


@dataclass(frozen=True)
class Site:
    """One input of a linear layer.

    `linear` is the layer's path in a block and `projections` the matrices stacked in its weight. `diagonal` names the
    LayerNorm whose weight and bias take the diagonal, "run time" if nothing can, or None if there is no diagonal.
    """

    name: str
    linear: str
    projections: tuple[str, ...]
    diagonal: str | None
    factors: Callable[[int, int], tuple[int, int]]  # of (width, heads)

    @property
    def has_diagonal(self) -> bool:
        return self.diagonal is not None


def by_width(width: int, num_heads: int) -> tuple[int, int]:
    return balanced_factors(width)


def by_heads(width: int, num_heads: int) -> tuple[int, int]:
    """Left: across heads, before the output projection. Right: in each head, folded into the value projection."""
    return num_heads, width // num_heads


RUN_TIME = "run time"  # GELU lies between fc1 and fc2: a diagonal cannot move through it

SITES = (
    Site("attn_in", "attn.qkv", ("q", "k", "v"), "norm1", by_width),
    Site("attn_out", "attn.proj", ("o",), None, by_heads),
    Site("fc1_in", "mlp.fc1", ("fc1",), "norm2", by_width),
    Site("fc2_in", "mlp.fc2", ("fc2",), RUN_TIME, by_width),
)


def site_named(name: str) -> Site:
    return next(site for site in SITES if site.name == name)


def linear_of(block: nn.Module, site: Site) -> nn.Module:
    return block.get_submodule(site.linear)


def trace_block(
    block: Block, x: Float[Tensor, "batch tokens channels"], rotary: RotaryTable | None = None
) -> tuple[Float[Tensor, "batch tokens channels"], dict[str, Tensor]]:
    """A full-precision block's output, and the input of the linear layer at every site."""
    attn_in = block.norm1(x)
    attn_out = block.attn.mix(*block.attn.qkv(attn_in).chunk(3, dim=-1), rotary)
    x = x + block.ls1(block.attn.proj(attn_out))
    fc1_in = block.norm2(x)
    fc2_in = functional.gelu(block.mlp.fc1(fc1_in))
    x = x + block.ls2(block.mlp.fc2(fc2_in))
    return x, {"attn_in": attn_in, "attn_out": attn_out, "fc1_in": fc1_in, "fc2_in": fc2_in}
