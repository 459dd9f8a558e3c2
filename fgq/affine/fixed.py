"""The part of a transform that stays at run time once everything that can be folded has been."""

from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.kronecker import apply_kronecker, apply_left


class FixedKronecker(nn.Module):
    """x -> x (left ⊗ right): its diagonal sits in the LayerNorm before it."""

    def __init__(self, left: Float[Tensor, "l l"], right: Float[Tensor, "r r"]):
        super().__init__()
        self.register_buffer("left", left.detach().clone())
        self.register_buffer("right", right.detach().clone())

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        return apply_kronecker(x, self.left.to(x.dtype), self.right.to(x.dtype))


class FixedScaledKronecker(FixedKronecker):
    """x -> (x ⊙ d)(left ⊗ right): nothing before it can take the diagonal."""

    def __init__(self, left: Float[Tensor, "l l"], right: Float[Tensor, "r r"], diagonal: Float[Tensor, " width"]):
        super().__init__(left, right)
        self.register_buffer("diagonal", diagonal.detach().clone())

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        return super().forward(x * self.diagonal.to(x.dtype))


class FixedSmoothedKronecker(FixedKronecker):
    """x -> x (left ⊗ right) ⊙ e: the matrices lie between the diagonal and the LayerNorm, so it stays."""

    def __init__(self, left: Float[Tensor, "l l"], right: Float[Tensor, "r r"], smoothing: Float[Tensor, " width"]):
        super().__init__(left, right)
        self.register_buffer("smoothing", smoothing.detach().clone())

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        return super().forward(x) * self.smoothing.to(x.dtype)


class FixedHeads(nn.Module):
    """x -> x (left ⊗ I): mixes the attention heads; the per-head factor sits in the value weight."""

    def __init__(self, left: Float[Tensor, "l l"]):
        super().__init__()
        self.register_buffer("left", left.detach().clone())

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        return apply_left(x, self.left.to(x.dtype))


class FixedSmoothedHeads(FixedHeads):
    """x -> x (left ⊗ I) ⊙ e: the mixing of heads and a diagonal behind it."""

    def __init__(self, left: Float[Tensor, "l l"], smoothing: Float[Tensor, " width"]):
        super().__init__(left)
        self.register_buffer("smoothing", smoothing.detach().clone())

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        return super().forward(x) * self.smoothing.to(x.dtype)


class NoTransform(nn.Identity):
    """Where a recipe transforms nothing."""
