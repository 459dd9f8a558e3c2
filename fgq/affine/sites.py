"""The table of sites: where in a block an activation is transformed, which linear reads it, and what folds where."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.kronecker import balanced_factors
from fgq.vggt.attention import Block
from fgq.vggt.rotary import RotaryTable


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


SITE_OF_LINEAR = {site.linear: site for site in SITES}


def site_named(name: str) -> Site:
    return next(site for site in SITES if site.name == name)


def linear_of(block: nn.Module, site: Site) -> nn.Module:
    return block.get_submodule(site.linear)


def linear_inputs(
    block: Block, x: Float[Tensor, "batch tokens channels"], rotary: RotaryTable | None = None
) -> tuple[Float[Tensor, "batch tokens channels"], dict[str, Tensor]]:
    """A block's output, and by site the input of its linear layer: behind the transform, before clip and grid.

    In a quantized block each includes what rounding did earlier in the same block.
    """
    seen = {}

    def linear(path: str, values: Tensor) -> Sequence[Tensor]:
        seen[SITE_OF_LINEAR[path].name] = prepared = block.prepare(path, values)
        return block.multiply(path, prepared, rotary)

    return block.run(x, rotary, linear), seen
