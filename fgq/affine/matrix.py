"""One small invertible matrix P = U diag(s) V^T with orthogonal U and V, whose inverse costs nothing extra."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.orthogonal import cayley, random_orthogonal


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
    def become_identity(self) -> None:
        self.free.zero_()
        self.stretch.fill_(1)
