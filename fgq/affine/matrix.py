"""One small invertible matrix P = U diag(s) V^T with orthogonal U and V, whose inverse costs nothing extra."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.orthogonal import cayley, inverse_cayley, random_orthogonal, reachable_signs

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
        return pairs_of([self])[0]

    @torch.no_grad()
    def condition(self) -> float:
        """Condition number of P in the spectral norm: U and V are orthogonal, so |s| are its singular values."""
        return spread(self.stretch)

    @torch.no_grad()
    def keep_invertible(self) -> None:
        """Moves every s into 1/32 <= |s| <= 32, its sign kept; nothing moves where it is inside already."""
        limit_magnitude(self.stretch, LARGEST_STRETCH)

    @torch.no_grad()
    def become(self, p: Float[Tensor, "size size"]) -> None:
        """Sets P; its singular values are bounded as by `keep_invertible`."""
        u, s, vh = torch.linalg.svd(p.double())
        for row, side in enumerate((u, vh.T)):
            signs = reachable_signs(side)
            self.free[row] = inverse_cayley(side * signs).to(self.free)
            s = s * signs
        self.stretch.copy_(s)
        self.keep_invertible()

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


def pairs_of(matrices: Sequence[LearnableMatrix]) -> list[MatrixPair]:
    """`pair` of each. Matrices of one size are computed together, since small ones cost by the number of operations."""
    found: dict[int, MatrixPair] = {}
    for size in {len(matrix.stretch) for matrix in matrices}:
        alike = [index for index, matrix in enumerate(matrices) if len(matrix.stretch) == size]
        free = torch.stack([matrices[index].free for index in alike])
        stretch = torch.stack([matrices[index].stretch for index in alike])
        sides = StretchedRotations.apply(free, stretch)
        found |= {
            index: MatrixPair(*pair) for index, *pair in zip(alike, *(side.unbind() for side in sides), strict=True)
        }
    return [found[index] for index in range(len(matrices))]


class StretchedRotations(torch.autograd.Function):
    """U diag(s) V^T and U diag(1/s) V^T of free [many, 2, size, size] and s [many, size], with a gradient by hand.

    Q = 2 M^-1 - I with M = I - A/2 gives dQ = M^-1 dA M^-1: the inverse that the way forward found is all it takes.
    """

    @staticmethod
    def forward(ctx, free: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(free.device.type, enabled=False):  # in half precision they would not be inverse enough
            orthogonal = cayley(free)
            u, v = orthogonal.unbind(1)
            ctx.save_for_backward(orthogonal, stretch)
            columns, rows = stretch.unsqueeze(1), v.mT
            return (u * columns) @ rows, (u / columns) @ rows

    @staticmethod
    def backward(ctx, of_forward: Tensor, of_inverse: Tensor):
        orthogonal, stretch = ctx.saved_tensors
        (u, v), columns = orthogonal.unbind(1), stretch.unsqueeze(1)
        through, back = of_forward @ v, of_inverse @ v
        of_stretch = (u * through).sum(1) - (u * back).sum(1) / stretch.square()
        of_u = through * columns + back / columns
        of_v = of_forward.mT @ (u * columns) + of_inverse.mT @ (u / columns)
        half = (orthogonal + torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)).mT / 2  # M^-T
        of_skew = half @ torch.stack([of_u, of_v], dim=1) @ half
        return (of_skew - of_skew.mT).tril(-1), of_stretch
