"""One small invertible matrix P = U diag(s) V^T with orthogonal U and V, whose inverse costs nothing extra."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.orthogonal import cayley, random_orthogonal

# Bound of |s| and of 1/|s|. A product of two such factors then has a condition number of at most 32^4 = 2^20, which the
# 24 bits of float32 still resolve in every direction; learnt factors stay far below it.
LARGEST_STRETCH = 32.0


class MatrixPair(NamedTuple):
    forward: Float[Tensor, "size size"]  # P, for activations
    inverse: Float[Tensor, "size size"]  # P^-T, for weights


class LearnableMatrix(nn.Module):
    """P and its inverse transpose, differentiable in U, V (by the Cayley map) and s (FlatQuant, arXiv:2410.09426).

    U and V start at the Cayley map of the lower triangle of a random orthogonal matrix, as FlatQuant's do: a rotation
    by less than a right angle in every plane.
    """

    def __init__(self, size: int, generator: torch.Generator | None = None):
        super().__init__()
        self.free = nn.Parameter(random_orthogonal(2, size, generator))  # of U and of V
        self.stretch = nn.Parameter(torch.ones(size))  # s

    def pair(self) -> MatrixPair:
        u, v = cayley(self.free)
        return MatrixPair((u * self.stretch) @ v.T, (u / self.stretch) @ v.T)

    @torch.no_grad()
    def condition(self) -> float:
        """Condition number of P in the spectral norm: U and V are orthogonal, so |s| are its singular values."""
        return spread(self.stretch)

    @torch.no_grad()
    def keep_invertible(self) -> None:
        """Moves every s into 1/32 <= |s| <= 32, its sign kept; nothing moves where it is inside already."""
        limit_magnitude(self.stretch, LARGEST_STRETCH)

    @torch.no_grad()
    def become_identity(self) -> None:
        self.free.zero_()
        self.stretch.fill_(1)


def spread(values: Float[Tensor, " size"]) -> float:
    """Largest over smallest magnitude: the condition number of a diagonal matrix."""
    magnitude = values.detach().abs()
    return (magnitude.max() / magnitude.min()).item()


def limit_magnitude(values: Float[Tensor, " size"], largest: float) -> None:
    """Magnitudes into [1 / largest, largest], in place."""
    torch.copysign(values.abs().clamp_(1 / largest, largest), values, out=values)
