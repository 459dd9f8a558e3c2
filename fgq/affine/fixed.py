"""The part of a transform that stays at run time once everything that can be folded has been."""

from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.kronecker import apply_kronecker, apply_left


class FixedTransform(nn.Module):
    """x -> (x ⊙ d)(left ⊗ right) ⊙ e, without what is not given.

    Without `right` it is left ⊗ I, which mixes the attention heads: the per-head factor sits in the value weight. The
    diagonal d is here where nothing before it can take it, the smoothing e where matrices lie between it and the
    LayerNorm. Without anything it is the identity.
    """

    def __init__(
        self,
        left: Float[Tensor, "l l"] | None = None,
        right: Float[Tensor, "r r"] | None = None,
        diagonal: Float[Tensor, " width"] | None = None,
        smoothing: Float[Tensor, " width"] | None = None,
    ):
        super().__init__()
        for name, value in (("left", left), ("right", right), ("diagonal", diagonal), ("smoothing", smoothing)):
            self.register_buffer(name, value)

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        if self.diagonal is not None:
            x = x * self.diagonal.to(x.dtype)
        if self.left is not None:
            left = self.left.to(x.dtype)
            x = apply_left(x, left) if self.right is None else apply_kronecker(x, left, self.right.to(x.dtype))
        return x if self.smoothing is None else x * self.smoothing.to(x.dtype)

    @property
    def is_identity(self) -> bool:
        return not list(self.buffers())
